"""Stuck sensors: a reading that has not changed for longer than its sensor may stand still is missing.

Whether a reading is stuck is decided once, when it arrives, from what is known then, and by event time: it is
stuck if a reading of the same value lies ``stuck_after`` or more before it, and no other value in between. A
late reading of another value breaks the run at its time, so the readings that arrive from then on count
again; those that were missing stay missing, as they were served. A late reading that lies in the present run
is judged by it; one from before it is not judged.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows.fleet.fleet import AssetClass

__all__ = ["StuckReadings"]


class _Run:
    """The readings of one sensor since it last had another value.

    Args:
        value: of all of them.
        times: of the first, and of those that late readings can still divide; ascending, the newest last.
        other: event time of the newest reading before them, of another value; None where there is none.
    """

    __slots__ = ("other", "times", "value")

    def __init__(self, value: float, times: list[int], other: int | None) -> None:
        self.value, self.times, self.other = value, times, other

    def add(self, time: int, value: float, lateness: int) -> bool:
        """Add a reading; return whether it belongs to the run, which a newer one of another value ends."""
        newest = self.times[-1]
        if time >= newest and value != self.value:
            self.value, self.times, self.other = value, [time], newest
        elif time < newest - lateness:
            return False
        elif value != self.value:
            self.times = self.times[bisect_right(self.times, time) :]
            self.other = time if self.other is None else max(self.other, time)
            return False
        elif self.other is not None and time <= self.other and time < newest:
            return False
        elif time not in self.times[-1:] and time not in self.times:
            insort(self.times, time)
            self._forget_before(self.times[-1] - lateness)
        return True

    def _forget_before(self, time: int) -> None:
        """Forget readings that no late one can divide any more, but for the first."""
        kept = bisect_right(self.times, time - 1, 1)
        del self.times[1:kept]


class StuckReadings:
    """The sensors of one asset that may get stuck.

    Args:
        after: microseconds after which a reading that does not change is stuck, by sensor.
        lateness: of the class, in microseconds; older readings change nothing.
        state: return value of `state`, None for a new asset.

    Example:
        >>> stuck = StuckReadings({"flow": 2}, lateness=0)
        >>> [stuck.checked(time, {"flow": flow})["flow"] for time, flow in enumerate([7.0, 7.0, 7.0, 8.0])]
        [7.0, 7.0, None, 8.0]
    """

    def __init__(
        self, after: Mapping[str, int], lateness: int, state: Mapping[str, Any] | None = None
    ) -> None:
        self._after = after
        self._lateness = lateness
        self._runs = {
            name: _Run(value, [*times], other)
            for name, (value, times, other) in (state or {}).items()
            if name in after
        }

    @classmethod
    def of(cls, asset_class: AssetClass, state: Mapping[str, Any] | None = None) -> StuckReadings | None:
        """Build those of an asset of a class; None where no sensor has ``stuck_after``."""
        after = {
            limit.sensor: limit.stuck_after for limit in asset_class.limits if limit.stuck_after is not None
        }
        return cls(after, asset_class.allowed_lateness, state) if after else None

    def checked(self, time: int, readings: dict[str, float | None]) -> dict[str, float | None]:
        """Return the readings of a message without those that are stuck; a second call changes nothing."""
        found = readings
        for name, after in self._after.items():
            value = readings.get(name)
            if value is None:
                continue
            run = self._runs.get(name)
            if run is None:
                self._runs[name] = _Run(value, [time], None)
            elif run.add(time, value, self._lateness) and time - run.times[0] >= after:
                found = {**found, name: None}
        return found

    def state(self) -> dict[str, Any]:
        """Return plain data: value, times and the time before, by sensor."""
        return {name: (run.value, run.times, run.other) for name, run in sorted(self._runs.items())}
