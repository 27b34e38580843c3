"""Error codes of one asset, counted in the same event-time windows as its readings."""

from __future__ import annotations

from bisect import bisect_right, insort
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from dataflows.events import Fault
from dataflows.features import FeatureBlock
from dataflows.state.layouts import faults_alike
from dataflows.window_statistics import (
    FAULT_STATISTICS,
    describe_faults,
    feature_name,
    first_pane,
    pane_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from dataflows.features import AssetTimes
    from dataflows.fleet.fleet import AssetClass
    from dataflows.items import ResolvedEvent

__all__ = ["FaultFeatures", "identity_of"]

#: Number of latest faults that are kept one by one: a reset may split a pane between them.
_MOST_RECENT = 4_096
#: Number of latest faults that wait for telemetry that they overtook, with no limit of time.
_MOST_OVERTAKING = 256


class FaultFeatures(FeatureBlock):
    """Faults of one asset, counted by pane.

    Codes are rarer than readings, so panes are stored sparsely: an asset without faults keeps nothing.

    Args:
        asset_class: its codes and windows.
        state: what `state` returned, None for a new asset.
    """

    __slots__ = ("_ahead", "_class", "_depths", "_panes", "_reach", "_recent")

    section = "faults"
    uses: ClassVar[tuple[type, ...]] = (Fault,)

    def __init__(self, asset_class: AssetClass, state: Mapping[str, Any] | None = None) -> None:
        self._class = asset_class
        #: Panes of the longest window of each hop.
        self._depths: dict[int, int] = {}
        for window in asset_class.windows:
            if window.faults:
                self._depths[window.hop] = max(self._depths.get(window.hop, 0), window.length // window.hop)
        #: By hop and code: pane number to [count, last time].
        self._panes: dict[tuple[int, str], dict[int, list[int]]] = {}
        #: Faults after the time that was scored last; they enter the panes with the next telemetry.
        self._ahead: list[tuple[int, str]] = []
        #: How far back a window reaches at most.
        self._reach = max((hop * (depth + 1) for hop, depth in self._depths.items()), default=0)
        #: The counted faults that a window may hold, by time; none in a class whose windows are never reset.
        self._recent: list[tuple[int, str]] = []
        if state is None:
            return
        self._recent = [(time, code) for time, code in state["recent"]]
        self._ahead = [(time, code) for time, code in state["ahead"]]
        for hop, code, panes in state["panes"]:
            self._panes[hop, code] = {number: [count, last] for number, count, last in panes}

    @property
    @override
    def names(self) -> Sequence[str]:
        """Names of all windows in their order; between them the vector has those of readings."""
        asset_class = self._class
        return [
            feature_name(asset_class.faults[index], statistic, window.length)
            for window in asset_class.windows
            for index in window.faults
            for statistic in window.fault_statistics
        ]

    @override
    @classmethod
    def is_needed(cls, asset_class: AssetClass) -> bool:
        return bool(asset_class.faults)

    @property
    @override
    def is_empty(self) -> bool:
        return not (self._ahead or self._recent or self._panes)

    @override
    def add(self, accepted: ResolvedEvent, times: AssetTimes) -> bool:
        """Add a fault; codes that the class does not name are ignored."""
        event = accepted.event
        if not isinstance(event, Fault):
            return False
        if event.code in self._class.faults:
            self.count(event.time, event.code, times.largest)
        if times.watermark is not None:
            self._ahead = without_surplus(self._ahead, times.watermark - self._reach)
        return event.code in self._class.faults and times.covers(event.time)

    def count(self, time: int, code: str, scored: int | None) -> None:
        """Count a fault of a code that the class names.

        Args:
            time: microseconds.
            code: the code.
            scored: time that was scored last; a fault after it counts from the next telemetry on.
        """
        if scored is None or time > scored:
            self._ahead.append((time, code))
        else:
            self._count(time, code)

    @override
    def advance(self, time: int) -> None:
        """Count the faults that came before the telemetry of a time that is not before them."""
        if self._ahead:
            due = [fault for fault in self._ahead if fault[0] <= time]
            self._ahead = [fault for fault in self._ahead if fault[0] > time]
            for at, code in due:
                self._count(at, code)

    def _count(self, time: int, code: str) -> None:
        for hop in self._depths:
            self._tally(hop, pane_of(time, hop), time, code)
        if self._class.reset_windows_on:
            insort(self._recent, (time, code))
            oldest = bisect_right(self._recent, self._recent[-1][0] - self._reach, key=itemgetter(0))
            del self._recent[: max(oldest, len(self._recent) - _MOST_RECENT)]

    def _tally(self, hop: int, number: int, time: int, code: str) -> None:
        panes = self._panes.setdefault((hop, code), {})
        found = panes.get(number)
        if found is None:
            panes[number] = [1, time]
            oldest = number - 2 * self._depths[hop]
            for old in [pane for pane in panes if pane < oldest]:
                del panes[old]
        else:
            found[0] += 1
            found[1] = max(found[1], time)

    @override
    def reset(self, time: int) -> None:
        """Drop faults up to an instant; of more faults than are kept, the oldest of its pane too."""
        self._ahead = [fault for fault in self._ahead if fault[0] > time]
        self._recent = [fault for fault in self._recent if fault[0] > time]
        for (hop, _), panes in self._panes.items():
            for number in [number for number in panes if number <= pane_of(time, hop)]:
                del panes[number]
        for hop in self._depths:
            for at, code in self._recent:
                number = pane_of(at, hop)
                if number <= pane_of(time, hop):
                    self._tally(hop, number, at, code)

    @override
    def carried(self, before: AssetClass, after: AssetClass) -> dict[str, Any]:
        """Return the state for another class; windows of codes that it declares otherwise start empty."""
        alike, state = faults_alike(before, after), self.state()
        return {
            "ahead": [fault for fault in state["ahead"] if fault[1] in alike],
            "recent": [fault for fault in state["recent"] if fault[1] in alike and after.reset_windows_on],
            "panes": [panes for panes in state["panes"] if panes[1] in alike],
        }

    @override
    def write(self, time: int, out: NDArray[np.float64]) -> None:
        """Write the statistics of all windows in their order: (windows x faults x fault statistics).

        Args:
            time: that is scored, not before any fault that was counted.
            out: to be written, NaN where a code has not occurred.
        """
        values: list[float] = []
        none = describe_faults(time, 0, None)
        for window in self._class.windows:
            oldest = first_pane(time, window.hop, window.length // window.hop)
            picks = [FAULT_STATISTICS.index(name) for name in window.fault_statistics]
            for index in window.faults:
                panes = self._panes.get((window.hop, self._class.faults[index]))
                described = none if panes is None else _described(panes, oldest, time)
                values += [described[pick] for pick in picks]
        out[:] = values

    @override
    def state(self) -> dict[str, Any]:
        return {
            "ahead": self._ahead,
            "recent": self._recent,
            "panes": [
                (hop, code, [(number, *found) for number, found in panes.items()])
                for (hop, code), panes in self._panes.items()
                if panes
            ],
        }


def _described(panes: Mapping[int, Sequence[int]], oldest: int, time: int) -> tuple[float, ...]:
    """Return the statistics at a time of the faults in panes from the oldest on."""
    count, last = 0, None
    for number, (more, at) in panes.items():
        if number >= oldest:
            count += more
            last = at if last is None else max(last, at)
    return describe_faults(time, count, last)


def without_surplus(waiting: list[tuple[int, str]], oldest: int) -> list[tuple[int, str]]:
    """Return waiting faults, except those that many later ones followed: their telemetry may never come.

    Args:
        waiting: (microseconds, code).
        oldest: no window that ends at the watermark holds a fault up to this time.

    Returns:
        The latest few hundred, and of those after ``oldest`` the latest few thousand.
    """
    if len(waiting) <= 2 * _MOST_OVERTAKING:
        return waiting
    ascending = sorted(waiting)
    at = min(bisect_right(ascending, oldest, key=itemgetter(0)), len(ascending) - _MOST_OVERTAKING)
    return ascending[max(at, len(ascending) - _MOST_RECENT) :]


def identity_of(fault: Fault) -> str:
    """Key that identifies a repeated fault: its content, and its id where it has one."""
    # Ids are printable, so no id of telemetry equals one of these, and no id equals a content.
    content = f"\x1f{fault.code}\x1f{fault.time}"
    return content if fault.id is None else f"\x1e{fault.id}{content}"
