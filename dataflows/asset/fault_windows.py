"""Error codes of one asset, counted in the same event-time windows as its readings."""

from __future__ import annotations

from bisect import bisect_right, insort
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from dataflows.state.layouts import faults_alike
from dataflows.window_statistics import FAULT_STATISTICS, describe_faults, first_pane, pane_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataflows.events import Fault
    from dataflows.fleet.fleet import AssetClass

__all__ = ["Faults", "identity_of"]

#: So many of the latest faults are kept one by one, where a reset may have to part those of one pane.
_MOST_RECENT = 4_096
#: So many of the latest faults wait for telemetry that they overtook, however long it is under way.
_MOST_OVERTAKING = 256


class Faults:
    """How often each code occurred, by pane.

    Codes are rare beside readings, so panes are kept sparsely: an asset without faults keeps nothing.

    Args:
        asset_class: its codes and windows.
        state: what `state` returned, None for a new asset.
    """

    __slots__ = ("_ahead", "_class", "_depths", "_panes", "_reach", "_recent")

    def __init__(self, asset_class: AssetClass, state: dict[str, Any] | None = None) -> None:
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
    def is_empty(self) -> bool:
        """Whether nothing is counted."""
        return not (self._ahead or self._recent or self._panes)

    def add(self, time: int, code: str, scored: int | None) -> None:
        """Take a fault; codes that the class does not name are passed over.

        Args:
            time: microseconds.
            code: the code.
            scored: time that was scored last; a fault after it counts from the next telemetry on.
        """
        if code not in self._class.faults:
            return
        if scored is None or time > scored:
            self._ahead.append((time, code))
        else:
            self._count(time, code)

    def advance(self, scored: int) -> None:
        """Count what lay ahead of the telemetry that was scored before, up to that which is scored now."""
        if self._ahead:
            due = [fault for fault in self._ahead if fault[0] <= scored]
            self._ahead = [fault for fault in self._ahead if fault[0] > scored]
            for time, code in due:
                self._count(time, code)

    def forget_surplus(self, watermark: int | None) -> None:
        """Bound the faults that wait for telemetry, as `without_surplus` does."""
        if watermark is not None:
            self._ahead = without_surplus(self._ahead, watermark - self._reach)

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

    def reset(self, time: int) -> None:
        """Drop what lies not after an instant; of more faults than are kept, the oldest of its pane too."""
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

    def carry(self, asset_class: AssetClass) -> Faults:
        """The same faults under another class; windows of codes that it declares otherwise begin anew."""
        alike = faults_alike(self._class, asset_class)
        new = Faults(asset_class)
        new._ahead = [fault for fault in self._ahead if fault[1] in alike]
        if asset_class.reset_windows_on:
            new._recent = [fault for fault in self._recent if fault[1] in alike]
        new._panes = {key: panes for key, panes in self._panes.items() if key[1] in alike}
        return new

    def features(self, time: int) -> NDArray[np.float64]:
        """Statistics of all windows in their order: (windows x faults x fault statistics), NaN is missing.

        Args:
            time: that is scored, not before any fault that was counted.
        """
        out = []
        for window in self._class.windows:
            oldest = first_pane(time, window.hop, window.length // window.hop)
            for index in window.faults:
                panes = self._panes.get((window.hop, self._class.faults[index]), {})
                count, last = 0, None
                for number, (more, at) in panes.items():
                    if number >= oldest:
                        count += more
                        last = at if last is None else max(last, at)
                described = describe_faults(time, count, last)
                out += [described[FAULT_STATISTICS.index(name)] for name in window.fault_statistics]
        return np.array(out, dtype=np.float64)

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "ahead": self._ahead,
            "recent": self._recent,
            "panes": [
                (hop, code, [(number, *found) for number, found in panes.items()])
                for (hop, code), panes in self._panes.items()
                if panes
            ],
        }


def without_surplus(waiting: list[tuple[int, str]], oldest: int) -> list[tuple[int, str]]:
    """Faults without those that very many later ones have followed: telemetry may never come.

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
    # Ids are printable, so none of telemetry is like one of these, and no id like a content.
    content = f"\x1f{fault.code}\x1f{fault.time}"
    return content if fault.id is None else f"\x1e{fault.id}{content}"
