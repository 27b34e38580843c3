"""Maintenance as features: hours since the last record of each component, and their number."""

from __future__ import annotations

from bisect import bisect_right, insort
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from typing_extensions import override

from dataflows.events import Maintenance
from dataflows.features import FeatureBlock, maintenance_names
from dataflows.instants import HOUR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dataflows.features import AssetTimes
    from dataflows.fleet.fleet import AssetClass
    from dataflows.items import ResolvedEvent

__all__ = ["MaintenanceFeatures"]

#: Times kept of each component; earlier ones are only counted.
_KEPT = 256
#: Shared by the many assets without maintenance, so it cannot be written to.
_NONE: Mapping[str, Any] = MappingProxyType({})


class MaintenanceFeatures(FeatureBlock):
    """Maintenance of one asset.

    Args:
        asset_class: names the components.
        state: what `state` returned, None for a new asset.
    """

    __slots__ = ("_class", "_earlier", "_times")

    section = "background"
    uses: ClassVar[tuple[type, ...]] = (Maintenance,)
    recomputed = True

    def __init__(self, asset_class: AssetClass, state: Mapping[str, Any] | None = None) -> None:
        self._class = asset_class
        #: Times of maintenance by component, ascending, and the number of earlier ones that are not kept.
        self._times: Mapping[str, list[int]] = (state and state["maintenance"]) or _NONE
        self._earlier: Mapping[str, int] = (state and state["earlier"]) or _NONE

    @property
    @override
    def names(self) -> Sequence[str]:
        return [name for component in self._class.maintenance for name in maintenance_names(component)]

    @property
    @override
    def is_empty(self) -> bool:
        return not (self._times or self._earlier)

    @override
    def add(self, accepted: ResolvedEvent, times: AssetTimes) -> bool:
        event = accepted.event
        if isinstance(event, Maintenance):
            for name in self._components(event.component):
                self._add(name, event.time)
        return False

    def _add(self, component: str, time: int) -> None:
        if component not in self._times:
            self._times = {**self._times, component: []}
        times = self._times[component]
        insort(times, time)
        if len(times) > _KEPT:
            del times[0]
            self._earlier = {**self._earlier, component: self._earlier.get(component, 0) + 1}

    def _components(self, component: str | None) -> Sequence[str]:
        """Components of the class that a record concerns; all of them where it names none."""
        if component is None:
            return self._class.maintenance
        return (component,) if component in self._class.maintenance else ()

    @override
    def withdraw(self, kind: str, time: int, what: str | None) -> None:
        if kind != "maintenance":
            return
        for name in self._class.maintenance if what is None else (what,):
            times = self._times.get(name, [])
            if time in times:
                times.remove(time)

    @override
    def write(self, time: int, out: NDArray[np.float64]) -> None:
        """Write hours since and number of maintenance by component; later maintenance is left out."""
        at = 0
        for name in self._class.maintenance:
            times = self._times.get(name, [])
            done = bisect_right(times, time)
            out[at] = (time - times[done - 1]) / HOUR if done else np.nan
            out[at + 1] = done + self._earlier.get(name, 0)
            at += 2

    @override
    def state(self) -> dict[str, Any]:
        return {"maintenance": dict(self._times), "earlier": dict(self._earlier)}
