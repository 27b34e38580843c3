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
        self._aliases = {
            name: {alias: limit.sensor for limit in found.limits for alias in limit.aliases}
            for name, found in classes.items()
        }
        self._sensors = {
            name: frozenset((*found.sensors, *self._aliases[name])) for name, found in classes.items()
        }
        self._limits = {name: found.limits for name, found in classes.items() if found.limits}
        self.has_limits = bool(self._limits)
        self.counts: Counter[str] = Counter(counts)

    def check(self, event: Telemetry, asset_class: str) -> Telemetry | Reject:
        """Name readings as declared and remove those outside their limits; reject what is no number.

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
        readings = self._renamed(event, asset_class)
        if readings is not None:
            event, readings = msgspec.structs.replace(event, readings=readings), None
        for limit in limits:
            value = event.readings.get(limit.sensor)
            if value is None or (limit.least <= value <= limit.most and value not in limit.sentinels):
                continue
            readings = {**(event.readings if readings is None else readings), limit.sensor: None}
            self.counts[f"{asset_class}/{limit.sensor}"] += 1
        return event if readings is None else msgspec.structs.replace(event, readings=readings)

    def _renamed(self, event: Telemetry, asset_class: str) -> dict[str, float | None] | None:
        """Return the readings with aliases replaced by the declared names; None where there is no alias."""
        aliases = self._aliases[asset_class]
        if not aliases or aliases.keys().isdisjoint(event.readings):
            return None
        readings = {name: value for name, value in event.readings.items() if name not in aliases}
        for alias, sensor in aliases.items():
            if alias in event.readings and readings.get(sensor) is None:
                readings[sensor] = event.readings[alias]
        return readings
