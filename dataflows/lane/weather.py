"""Weather by site: choose the row of an event from the rows known at its arrival."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple

from dataflows.events import Reject
from dataflows.items import same_values

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Entry", "Found", "Issue", "WeatherRows"]

#: Rows are dropped in sweeps over all sites, each after this share of the memory has passed.
_SWEEPS = 16
_NEVER = -(2**63)


class Found(NamedTuple):
    """A row: valid time, issue time, values in the order of the fleet, NaN if missing."""

    time: int
    issued: int
    values: tuple[float, ...]


class Issue(NamedTuple):
    """A row as it came; ordered by (issued, sequence)."""

    issued: int
    sequence: int
    site: str
    time: int
    values: tuple[float, ...]


class _Site:
    """Known rows of one site, one for each valid time, ascending; and rows not issued yet."""

    __slots__ = ("rows", "times", "unissued")

    def __init__(self) -> None:
        self.times: list[int] = []
        self.rows: list[Found] = []
        self.unissued: dict[int, Issue] = {}


#: Known rows, then unissued ones with their sequence; plain data.
Entry = tuple[list[tuple[int, int, tuple[float, ...]]], list[tuple[int, int, int, tuple[float, ...]]]]


class WeatherRows:
    """Rows of all sites of a lane.

    A row is known from its place in the sequence on, and from ``issued`` on if that is later. Of several for
    one valid time only the one issued last can ever be chosen, so only that one is kept.

    Args:
        memory: microseconds that a row is kept behind the stream, see `mark`.
        kept: results of `entry`, by site; empty for a new lane.
        clocks: result of `clocks`.
        most: largest number of rows.
    """

    def __init__(self, memory: int, kept: dict[str, Entry], clocks: tuple[int, int, int], most: int) -> None:
        self._memory = memory
        self._most = most
        self._seen, self._issued, self._swept = clocks
        #: Number of rows, including those not issued yet.
        self._held = sum(len(known) for known, _ in kept.values())
        self._sites: dict[str, _Site] = {}
        self._unissued: list[Issue] = []
        for name, (known, unissued) in kept.items():
            site = self._sites[name] = _Site()
            for time, issued, values in known:
                site.times.append(time)
                site.rows.append(Found(time, issued, tuple(values)))
            for issued, sequence, time, values in unissued:
                self._defer(Issue(issued, sequence, name, time, tuple(values)))

    @staticmethod
    def new_clocks() -> tuple[int, int, int]:
        """Clocks of a new lane."""
        return _NEVER, _NEVER, _NEVER

    @property
    def clocks(self) -> tuple[int, int, int]:
        """Largest time of telemetry or fault, largest ``issued`` of known rows, last sweep."""
        return self._seen, self._issued, self._swept

    @property
    def mark(self) -> int:
        """Time before which rows are dropped: ``memory`` behind the smaller of both clocks.

        With two clocks, one wrong record cannot drop the weather of all assets.
        """
        return min(self._seen, self._issued) - self._memory

    def see(self, time: int) -> None:
        """Note the time of telemetry or of a fault."""
        self._seen = max(self._seen, time)

    def add(self, row: Issue, known: int | None) -> bool | Reject:
        """Add a row; return whether it is new and known, or why it cannot be used.

        Args:
            row: the row.
            known: knowledge time, None if nothing is known yet.
        """
        if row.time < self.mark:
            return Reject("too_late", "weather from before what is kept; classes.*.weather.memory keeps more")
        waits = known is None or row.issued > known
        if not waits:
            # Even without room: this drops older rows.
            self._issued = max(self._issued, row.issued)
        if self._held >= self._most:
            return Reject("no_room", f"max_weather = {self._most:,} rows are held already")
        if waits:
            self._defer(row)
            return False
        return self._insert(row)

    def due(self, until: int) -> Iterator[tuple[Issue, bool]]:
        """Make rows issued up to an instant known; yield each, and whether it is new."""
        while self._unissued and self._unissued[0].issued <= until:
            row = heapq.heappop(self._unissued)
            del self._sites[row.site].unissued[row.sequence]
            self._held -= 1
            yield row, row.time >= self.mark and self._insert(row) is True

    def find(self, site: str, time: int, max_age: int) -> Found | None:
        """Find the row of an event at a site, None if no known row is young enough.

        Args:
            site: its name.
            time: time of the event, microseconds.
            max_age: microseconds.
        """
        held = self._sites.get(site)
        if held is None:
            return None
        index = bisect_right(held.times, time) - 1
        if index < 0:
            return None
        row = held.rows[index]
        return row if row.time >= max(time - max_age, self.mark) else None

    def _defer(self, row: Issue) -> None:
        self._sites.setdefault(row.site, _Site()).unissued[row.sequence] = row
        heapq.heappush(self._unissued, row)
        self._held += 1

    def _insert(self, row: Issue) -> bool | Reject:
        self._issued = max(self._issued, row.issued)
        site = self._sites.setdefault(row.site, _Site())
        index = bisect_left(site.times, row.time)
        if index == len(site.times) or site.times[index] != row.time:
            self._held += 1
            site.times.insert(index, row.time)
            site.rows.insert(index, Found(row.time, row.issued, row.values))
            return True
        held, values = site.rows[index], row.values
        if row.issued < held.issued:
            return False
        if row.issued == held.issued:
            # Messages of one time and one issue are one row: NaN is a value that a message lacks.
            values = tuple(
                old if new != new else new  # noqa: PLR0124 - NaN
                for old, new in zip(held.values, values, strict=True)
            )
            if same_values(values, held.values):
                return Reject("duplicate", "this weather was seen before")
        site.rows[index] = Found(row.time, row.issued, values)
        return True

    def sweep(self) -> list[str]:
        """Drop rows before the mark, now and then; return the changed sites."""
        if self.mark < self._swept + self._memory // _SWEEPS:
            return []
        self._swept = max(self.mark, _NEVER)
        changed = []
        for name, site in list(self._sites.items()):
            gone = bisect_left(site.times, self.mark)
            if gone:
                self._held -= gone
                del site.times[:gone], site.rows[:gone]
                changed.append(name)
            if not site.times and not site.unissued:
                del self._sites[name]
        return changed

    def entry(self, name: str) -> Entry | None:
        """Plain data of one site, None if nothing is known."""
        site = self._sites.get(name)
        if site is None:
            return None
        waiting = [(row.issued, row.sequence, row.time, row.values) for row in site.unissued.values()]
        return [(row.time, row.issued, row.values) for row in site.rows], waiting
