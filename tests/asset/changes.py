"""What windows hold after a change of their class, by brute force."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.asset.oracle import Expected, WindowOracle

if TYPE_CHECKING:
    from tests.asset.streams import ClassLayout

__all__ = ["ChangedWindows"]


class ChangedWindows:
    """All telemetry of one asset, and from which event on the windows of each sensor hold it.

    Args:
        layout: its class, before any change.
    """

    def __init__(self, layout: ClassLayout) -> None:
        self.layout = layout
        self.all = layout.oracle()
        self.began = dict.fromkeys(layout.sensors, 0)

    def change(self, after: ClassLayout) -> list[tuple[int, int]]:
        """Go on in another layout; return the (old, new) index of each sensor whose windows go on."""
        before = self.layout
        alike = [
            name
            for name in before.sensors
            if name in after.sensors and _declared(before, name) == _declared(after, name)
        ]
        count = len(self.all.accepted)
        self.began = {name: self.began[name] if name in alike else count for name in after.sensors}
        self.all.floor = self.all.watermark
        self.all.lateness = after.lateness
        self.layout = after
        return [(before.sensors.index(name), after.sensors.index(name)) for name in alike]

    def features(self) -> list[Expected]:
        """Features at the latest time, of which each sensor sees the events since its windows began."""
        now, layout = self.all.largest, self.layout
        assert now is not None
        seen = {
            name: WindowOracle(
                (name,), (), layout.lateness, False, self.all.accepted[self.began[name] :], [], self.all.since
            )
            for name in layout.sensors
        }
        expected = []
        if layout.values:
            values = ((name, seen[name].merged().get(now, {}).get(name, math.nan)) for name in layout.sensors)
            expected += [Expected(value) for _, value in values]
        for window in layout.windows:
            for name in window.sensors:
                expected += replace(seen[name], windows=(window._replace(sensors=(name,)),)).features(now)
        return expected


def _declared(layout: ClassLayout, sensor: str) -> set[tuple[object, ...]]:
    return {window[:3] for window in layout.windows if sensor in window.sensors}
