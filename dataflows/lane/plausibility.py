"""Implausible readings: values of declared sensors that are no number or outside their limits."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from dataflows.events import Reject, Telemetry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows.fleet.fleet import AssetClass

__all__ = ["Plausible"]


class Plausible:
    """Check telemetry against the sensors of its asset's class; undeclared sensors are ignored.

    Args:
        classes: by name.
        counts: value of `counts` in the snapshot, None for a new lane.

    Attributes:
        counts: number of readings replaced by missing, by ``class/sensor``.
        has_limits: whether any sensor has limits.
    """

    def __init__(self, classes: Mapping[str, AssetClass], counts: Mapping[str, int] | None = None) -> None:
        self._sensors = {name: frozenset(found.sensors) for name, found in classes.items()}
        self._limits = {name: found.limits for name, found in classes.items() if found.limits}
        self.has_limits = bool(self._limits)
        self.counts: Counter[str] = Counter(counts)

    def check(self, event: Telemetry, asset_class: str) -> Telemetry | Reject:
        """Remove readings outside their limits from an event; reject it if a declared reading is no number.

        Example:
            With ``limits = { flow = { range = [0, 40] } }``, readings of ``{"flow": 65535.0, "load": 0.5}``
            become ``{"flow": None, "load": 0.5}``, and ``counts["pump/flow"]`` grows by 1.
        """
        if event.unusable is not None:
            why = next(
                (why for name, why in event.unusable.items() if name in self._sensors[asset_class]), None
            )
            if why is not None:
                return Reject("malformed", why, event.asset, event.raw)
        limits = self._limits.get(asset_class)
        if limits is None:
            return event
        readings = None
        for limit in limits:
            value = event.readings.get(limit.sensor)
            if value is None or (limit.least <= value <= limit.most and value not in limit.sentinels):
                continue
            readings = {**(event.readings if readings is None else readings), limit.sensor: None}
            self.counts[f"{asset_class}/{limit.sensor}"] += 1
        return event if readings is None else msgspec.structs.replace(event, readings=readings)
