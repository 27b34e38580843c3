"""What is known of an asset beside its readings: its attributes, and the work that was done on it."""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from dataflows.events import MAX_ATTRIBUTES
from dataflows.instants import HOUR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dataflows.fleet.fleet import AssetClass

__all__ = ["AttributeFeatures"]

_KEPT = 256
#: Shared by the many assets without attributes or maintenance, so it cannot be written to.
_NONE: Mapping[str, Any] = MappingProxyType({})


class AttributeFeatures:
    """Attributes and maintenance of one asset, as features.

    Args:
        asset_class: which of them are features.
        state: what `state` returned, None for a new asset.
    """

    __slots__ = ("_attributes", "_class", "_earlier", "_maintenance")

    def __init__(self, asset_class: AssetClass, state: dict[str, Any] | None = None) -> None:
        self._class = asset_class
        self._attributes: Mapping[str, Any] = (state and state["attributes"]) or _NONE
        #: Times of maintenance by component, ascending, and how many earlier ones were let go.
        self._maintenance: Mapping[str, list[int]] = (state and state["maintenance"]) or _NONE
        self._earlier: Mapping[str, int] = (state and state["earlier"]) or _NONE

    def attributes(self, attributes: Mapping[str, Any]) -> None:
        """Take the attributes that a registry row names; the others stay as they were."""
        merged = {**self._attributes, **attributes}
        for name in list(merged)[: len(merged) - MAX_ATTRIBUTES] if len(merged) > MAX_ATTRIBUTES else ():
            del merged[name]
        self._attributes = merged or _NONE

    @property
    def known_attributes(self) -> Mapping[str, Any]:
        """The attributes by name; never changed, only replaced."""
        return self._attributes

    @property
    def has_maintenance(self) -> bool:
        """Whether any maintenance was noted."""
        return bool(self._maintenance or self._earlier)

    @classmethod
    def of_attributes(cls, asset_class: AssetClass, attributes: Mapping[str, Any]) -> AttributeFeatures:
        """Attributes without maintenance, for an asset whose state is dropped."""
        new = cls(asset_class)
        new._attributes = attributes
        return new

    def work(self, time: int, component: str | None) -> None:
        """Note maintenance of a component, or with None of all of them."""
        for name in self._class.maintenance if component is None else (component,):
            if name in self._class.maintenance:
                if name not in self._maintenance:
                    self._maintenance = {**self._maintenance, name: []}
                times = self._maintenance[name]
                insort(times, time)
                if len(times) > _KEPT:
                    del times[0]
                    self._earlier = {**self._earlier, name: self._earlier.get(name, 0) + 1}

    def undo(self, time: int, component: str | None) -> None:
        """Take back maintenance that was noted by mistake."""
        for name in self._class.maintenance if component is None else (component,):
            times = self._maintenance.get(name, [])
            if time in times:
                times.remove(time)

    def features(self, time: int, out: NDArray[np.float64]) -> None:
        """Write what was true at an event time.

        Args:
            time: microseconds; maintenance after it does not count.
            out: hours since and count of maintenance by component, attributes, categories.
        """
        at = 0
        for name in self._class.maintenance:
            times = self._maintenance.get(name, [])
            done = bisect_right(times, time)
            out[at] = (time - times[done - 1]) / HOUR if done else np.nan
            out[at + 1] = done + self._earlier.get(name, 0)
            at += 2
        for name in self._class.attributes:
            out[at] = _number(self._attributes.get(name))
            at += 1
        for name, values in self._class.categories:
            value = _text(self._attributes.get(name))
            for known in values:
                out[at] = np.nan if value is None else float(value == known)
                at += 1

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "attributes": dict(self._attributes),
            "maintenance": dict(self._maintenance),
            "earlier": dict(self._earlier),
        }


def _text(value: object) -> str | None:
    """A category as text, where a registry may give it as a number or a boolean: 2 and 2.0 are "2"."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: object) -> float:
    """An attribute as a number; anything else is missing."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return math.nan
    return float(value)
