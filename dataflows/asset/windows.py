"""Event-time windows of one asset: they place readings as on time or late, and compute the features.

`RowBuffer` keeps the latest readings, from which a pane is rebuilt when one of them changes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from dataflows.asset.panes import NewRows, Panes, WindowPlan, row_packer
from dataflows.asset.running import RunningStates
from dataflows.event_time import Placement, place
from dataflows.window_statistics import NOT_COUNTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["MOST_ROWS", "NEVER", "RowBuffer", "WindowPlan", "Windows"]

#: Later than any time.
NEVER = 2**63
_LEAST = 2


class RowBuffer:
    """Readings by time, in order of arrival.

    They stand in one array, since nearly every event adds a row at its end and nothing looks for one.

    Args:
        sensors: how many readings a row has.

    Attributes:
        oldest: time of the first row; `NEVER` where there is none.
        first: number of the first row in the table.
        end: number after that of the last row.
    """

    __slots__ = ("_bytes", "_packed", "_size", "_table", "end", "first", "oldest")

    def __init__(self, sensors: int) -> None:
        self._packed = row_packer(sensors)
        self._size = 8 * (1 + sensors)
        self._allocate(_LEAST)
        self.first = 0
        self.end = 0
        self.oldest = NEVER

    def _allocate(self, rows: int) -> None:
        """Make an empty table with room for some rows."""
        self._bytes = bytearray(rows * self._size)
        #: (capacity, 1 + sensors) the readings, after their time: a float64 holds it exactly until 2255. It
        #: is a view of the bytes, since a row is packed into those four times as fast as it is assigned.
        self._table: NDArray[np.float64] = np.ndarray((rows, self._size // 8), buffer=self._bytes)

    def __len__(self) -> int:
        return self.end - self.first

    def __contains__(self, time: int) -> bool:
        return bool((self._table[self.first : self.end, 0] == time).any())

    def __getitem__(self, time: int) -> NDArray[np.float64]:
        """Return the readings (sensors) of a time, NaN is missing.

        Raises:
            KeyError: none of this time are held.
        """
        return self._table[self._at(time), 1:]

    def __setitem__(self, time: int, row: NDArray[np.float64]) -> None:
        """Replace the readings of a time that is held.

        Raises:
            KeyError: none of this time are held.
        """
        self._table[self._at(time), 1:] = row

    def _at(self, time: int) -> int:
        found = np.flatnonzero(self._table[self.first : self.end, 0] == time)
        if not len(found):
            raise KeyError(time)
        return self.first + int(found[0])

    def append(self, time: int, row: NDArray[np.float64]) -> None:
        """Add the readings of a time that is not held yet."""
        end = self.end
        if end == len(self._table):
            self._make_room()
            end = self.end
        if end == self.first:
            self.oldest = time
        added = self._table[end]
        added[0] = time
        added[1:] = row
        self.end = end + 1

    def place(self, times: list[int], rows: list[Sequence[float | None]]) -> tuple[NDArray[np.float64], int]:
        """Write the readings of some times after the last row, without adding them; see `add_placed`.

        Returns:
            The table (capacity, 1 + sensors), and the index of the first of them.
        """
        self.place_packed(b"".join(map(self._packed, times, rows)), len(rows))
        return self._table, self.end

    def place_packed(self, rows: bytes, count: int) -> None:
        """Write some rows after the last one, without adding them, as `place` does.

        Args:
            rows: results of `WindowPlan.packed`, one after the other.
            count: number of them.
        """
        if self.end + count > len(self._table):
            self._make_room(count)
        first = self.end * self._size
        self._bytes[first : first + len(rows)] = rows

    def add_placed(self, time: int, rows: int = 1) -> None:
        """Add the next rows that `place` wrote, the first of which is of this time."""
        if self.end == self.first:
            self.oldest = time
        self.end += rows

    @property
    def last(self) -> NDArray[np.float64]:
        """Readings (sensors) of the last row."""
        return self._table[self.end - 1, 1:]

    def latest(self, rows: int) -> NDArray[np.float64]:
        """Readings (rows, sensors) of so many last rows."""
        return self._table[self.end - rows : self.end, 1:]

    def _make_room(self, rows: int = 1) -> None:
        """Move what is held to the front, of a larger table if it is more than half full."""
        held = self._table[self.first : self.end]
        before = size = len(self._table)
        if 2 * len(held) > size:
            size *= 2
        while size < len(held) + rows:
            size *= 2
        if size > before:
            self._allocate(size)
        self._table[: len(held)] = held
        self.first, self.end = 0, len(held)

    def drop_until(self, time: int, kept: int | None) -> list[int]:
        """Drop the first rows that are of times up to an instant, one time apart; return their times."""
        times = self._table[self.first : self.end, 0]
        stop = times > time
        if kept is not None:
            stop |= times == kept
        dropped: list[int] = times[: int(stop.argmax()) if stop.any() else len(times)].astype(int).tolist()
        self.first += len(dropped)
        self._find_oldest()
        return dropped

    def drop_oldest(self) -> None:
        """Drop the first row."""
        self.first += 1
        self._find_oldest()

    def _find_oldest(self) -> None:
        self.oldest = int(self._table[self.first, 0]) if len(self) else NEVER

    def keep(self, times: set[int]) -> None:
        """Drop all rows but those of some times."""
        held = self._table[self.first : self.end]
        kept = held[[int(time) in times for time in held[:, 0]]]
        self._table[: len(kept)] = kept
        self.first, self.end = 0, len(kept)
        self._find_oldest()

    def times(self) -> list[int]:
        """Times of all rows."""
        return [int(time) for time in self._table[self.first : self.end, 0]]

    def items(self) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Time and readings of every row."""
        for row in self._table[self.first : self.end]:
            yield int(row[0]), row[1:]

    def within(self, first: int, last: int) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Time and readings of every row with first < time <= last."""
        held = self._table[self.first : self.end]
        for row in held[(held[:, 0] > first) & (held[:, 0] <= last)]:
            yield int(row[0]), row[1:]

    def state(self) -> bytes:
        """Plain data."""
        return self._table[self.first : self.end].tobytes()

    def restore(self, state: bytes) -> None:
        """Restore what `state` returned."""
        held = np.frombuffer(state).reshape(-1, self._table.shape[1])
        if len(held) > len(self._table):
            self._allocate(len(held))
        self._table[: len(held)] = held
        self.first, self.end = 0, len(held)
        self._find_oldest()


#: Number of readings that are kept one by one for a late reset; it bounds the state of an asset.
MOST_ROWS = 16_384
#: Number of identities that a dropped asset keeps, since a gateway repeats its latest messages; and the limit
#: where more messages had the latest time, as from a gateway that sends one sensor a message.
_LEFT, _LEFT_OF_LATEST = 4, 16


class Windows:
    """The windows of one asset, and its watermark.

    Args:
        plan: the layout of its class.
        state: what `state` returned, None for a new asset.
    """

    __slots__ = (
        "_ahead",
        "_contents",
        "_features",
        "_floor",
        "_ids",
        "_panes",
        "_plan",
        "_rows",
        "_since",
        "_unbegun",
        "altered",
        "held",
        "largest",
        "latest",
        "newest",
        "running",
    )

    def __init__(self, plan: WindowPlan, state: dict[str, Any] | None = None) -> None:
        self._plan = plan
        self._panes = Panes(plan, None if state is None else state["panes"])
        #: Readings that a pane may still need.
        self._rows = RowBuffer(len(plan.sensors))
        #: Digests of events whose row does not show their content: several of a time, or other sensors.
        self._contents: dict[int, tuple[int, ...]] = {}
        self._ids: dict[int, int] = {}
        #: Times after the latest that was scored, of late telemetry and of a machine that stands; they enter
        #: the panes with the next one that is scored.
        self._ahead: list[int] = []
        #: Of times from before a change of class or layout: channels whose windows began with that change.
        self._unbegun: dict[int, tuple[int, ...]] = {}
        #: At the time that is scored, until something changes them or they are asked for.
        self._features: NDArray[np.float64] | None = None
        #: The watermark is never below this: its value under a former class.
        self._floor: int | None = None
        #: Where the windows begin, if something reset them.
        self._since: int | None = None
        #: The time that is scored: the largest of telemetry, except one that waits for sensors.
        self.largest: int | None = None
        #: The time that waits for sensors, after all that were scored; see `HeldReadings`.
        self.held: int | None = None
        #: The largest time of accepted telemetry: what is not before it is on time.
        self.latest: int | None = None
        #: The largest time of telemetry and faults: what the watermark follows.
        self.newest: int | None = None
        #: When the machine runs; None where its class declares no condition.
        self.running = None if plan.running is None else RunningStates(plan.running)
        #: Where there is a condition: the latest time that the last late telemetry changed in the panes.
        self.altered: int | None = None
        if state is not None:
            self._restore(state)

    @property
    def watermark(self) -> int | None:
        """The largest event time minus the allowed lateness; None before the first event."""
        if self.newest is None:
            return None
        mark = self.newest - self._plan.lateness
        return mark if self._floor is None else max(mark, self._floor)

    @property
    def settled(self) -> int | None:
        """Telemetry before this time can no longer be accepted; None before the first telemetry.

        Faults may move the watermark past the latest telemetry, but more of its time is still accepted.
        """
        mark = self.watermark
        return None if mark is None or self.latest is None else min(mark, self.latest)

    def add(
        self,
        time: int,
        readings: dict[str, float | None],
        identity: str | None,
        weather: tuple[float, ...] | None = None,
    ) -> Placement:
        """Add one telemetry event; return its placement.

        Args:
            time: microseconds.
            readings: by sensor; unknown sensors are ignored.
            identity: the event's own id, if it has one.
            weather: what it was joined with, in the order of the class.
        """
        end = self.end
        if end is None or time > end:
            values, content = self._plan.read(readings, weather)
            return self._add_newest(time, values, identity, content)
        return self._add_other(time, readings, identity, weather)

    @property
    def end(self) -> int | None:
        """Telemetry after this is the first of its time and on time; None before the first."""
        latest, since = self.latest, self._since
        return latest if since is None or (latest is not None and latest > since) else since

    def _add_newest(
        self, time: int, values: Sequence[float | None], identity: str | None, content: bytes | None
    ) -> Placement:
        """Add the first telemetry of a time after all others: a run of one, unless the machine stands."""
        if self.running is not None and not self.would_run(values):
            return self._put_off(time, np.array(values, dtype=np.float64), identity, content)
        features = self.place_run([time], [values])
        self.add_placed(time, identity, content)
        self._features = features[0]
        return Placement.ON_TIME

    def would_run(self, values: Sequence[float | None]) -> bool:
        """Whether the machine runs at the time of readings (sensors) after all others."""
        if self.running is None:
            return True
        runs = self.running.condition(values)
        return self.running.newest if runs is None else runs

    def _put_off(
        self, time: int, row: NDArray[np.float64], identity: str | None, content: bytes | None
    ) -> Placement:
        """Add the first telemetry of a time after all others, which is not scored, or not yet."""
        self._advance(time)
        self._drop_standing()
        self._rows.append(time, row)
        self._ahead.append(time)
        if self.running is not None:
            self.running.add(time, row.tolist())
        self._remember_telemetry(identity, time, row, content)
        return Placement.HELD

    def place_run(self, times: list[int], rows: list[Sequence[float | None]]) -> NDArray[np.float64]:
        """Enter telemetry of times after all others into the panes; return its features, a row a time.

        Rows, watermark and identities follow with `add_placed`, one time after the other, so that what a
        record finds, and what outlives an error on it, is the same for a run of any length.

        Args:
            times: microseconds, ascending, all after `end`.
            rows: (sensors) of each time, as `WindowPlan.read` returns them.
        """
        table, first = self._rows.place(times, rows)
        if self._ahead:
            for at in sorted(self._ahead):
                self._panes.insert(at, self._counted(at, self._rows[at]), times[0])
        features = np.empty((len(times), self._plan.features))
        self._panes.extend(table, first, features)
        return features

    def add_placed(self, time: int, identity: str | None, content: bytes | None) -> int:
        """Add the next time of a run: it is the one that is scored. Return the watermark."""
        mark = self._advance(time)
        self._rows.add_placed(time)
        self.largest = time
        if self.running is not None:
            self.running.add(time, self._rows.last.tolist())
        if self._ahead:
            self._ahead.clear()
        if self._features is not None:
            self._features = None
        if identity is not None or content is not None:
            self._remember_telemetry(identity, time, self._rows.last, content)
        return mark

    def unseen_until(self, mark: int) -> int:
        """Return the last time of telemetry that only moves the watermark, and no further than a mark.

        That is before all times where identities are kept, of which one may be forgotten, or late telemetry
        waits for the next.
        """
        if self._ids or self._contents or self._ahead:
            return -NEVER
        until = mark + self._plan.lateness
        if (self.newest or 0) > until or (self._floor or 0) > mark:
            return -NEVER
        return until

    def add_plain(self, times: list[int], table: bytes, new: NewRows) -> None:
        """Add telemetry of times after all others, up to `unseen_until`.

        What no pane needs is dropped once, at the last.

        Args:
            times: microseconds, ascending, all after `end`.
            table: readings and expressions of each, as `WindowPlan.packed` returns them.
            new: enters them into the panes, with those of other assets.
        """
        rows, earlier = self._rows, len(times) - 1
        rows.place_packed(table, len(times))
        if earlier:
            rows.add_placed(times[0], earlier)
            self.largest = times[-2]
            if self.running is not None:
                for time, row in zip(times, rows.latest(earlier).tolist(), strict=False):
                    self.running.add(time, row)
        self.add_placed(times[-1], None, None)
        new.add(self._panes, table, len(times))

    def _score_latest(self, time: int) -> Placement:
        """Score the latest time, whose readings were merged before it was scored; not of one that stands."""
        if not self.runs_at(time):
            return Placement.HELD
        self._ahead.remove(time)
        self._enter(time, self._rows[time].copy())
        return Placement.ON_TIME

    def _advance(self, time: int) -> int:
        """Make this the latest time of telemetry; return the watermark."""
        self.latest = time
        newest = self.newest
        if newest is None or time > newest:
            self.newest = newest = time
        mark = self._forget(newest)
        return mark if self._floor is None else max(mark, self._floor)

    def _enter(self, time: int, row: NDArray[np.float64]) -> None:
        """Make this the time that is scored; late telemetry that waited for it enters the panes first."""
        self.largest = time
        if self._ahead:
            for at in sorted(self._ahead):
                self._panes.insert(at, self._counted(at, self._rows[at]), time)
            self._ahead.clear()
        self._features = np.empty(self._plan.features)
        self._panes.insert_newest(time, self._counted(time, row), self._features)
        if time in self._unbegun:
            self._features[: self._plan.values] = row[: self._plan.values]

    @property
    def stands(self) -> bool:
        """Whether the machine stands now."""
        return self.running is not None and not self.running.newest

    def runs_at(self, time: int) -> bool:
        """Whether the machine runs at a time; always where its class declares no condition."""
        return self.running is None or self.running.at(time)

    def _counted(self, time: int, row: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a row as panes count it.

        It is `NOT_COUNTED` where the windows of a channel began after it, and where the machine stands.
        """
        if not self.runs_at(time):
            return np.full(len(row), NOT_COUNTED)
        unbegun = self._unbegun.get(time)
        if unbegun is None:
            return row
        counted = row.copy()
        counted[list(unbegun)] = NOT_COUNTED
        return counted

    def _add_other(
        self,
        time: int,
        readings: dict[str, float | None],
        identity: str | None,
        weather: tuple[float, ...] | None,
    ) -> Placement:
        """Add telemetry that is not newer than all before it."""
        self.altered = None
        placed = self._place(time)
        row, content = self._plan.row(readings, weather)
        digest = _digest(self._plan.content(row) if content is None else content)
        if self._is_duplicate(time, digest, identity):
            return Placement.DUPLICATE
        if placed is Placement.TOO_LATE:
            return placed
        if placed is Placement.MERGED and time not in self._rows:
            # Its windows were dropped with the asset; this is the first telemetry of the new ones.
            return self._add_newest(time, row.tolist(), identity, content)
        if time in self._rows:
            self._contents[time] = (*self._contents_of(time), digest)
            self._remember_telemetry(identity, time, row, content, first=False)
            self._merge(time, self._rows[time].copy(), row, weather)
            return self._score_latest(time) if placed is Placement.MERGED and time in self._ahead else placed
        self._rows.append(time, row)
        self._remember_telemetry(identity, time, row, content)
        until = None if self.running is None else self.running.add(time, row.tolist())
        if self.largest is None or time > self.largest:
            self._ahead.append(time)
        elif self.runs_at(time):
            self._panes.insert(time, row, self.largest)
            self._features, self.altered = None, time
        if until is not None:
            self._recount(time + 1, until)
        return placed

    def _recount(self, time: int, until: int) -> None:
        """Rebuild the panes of times from one on and before another, at which the machine's state changed."""
        if self.largest is None:
            return
        rows = self._rows.within(time - 1, min(until - 1, self.largest))
        changed = [at for at, _ in rows if at not in self._ahead]
        if not changed:
            return
        # One rebuild is enough for times that share their panes of every hop.
        for at in {tuple(self._plan.panes_of(at).tolist()): at for at in changed}.values():
            self._panes.rebuild(at, self._pane_rows(at), self.largest)
        self._features, self.altered = None, max(changed)

    def add_fault(self, time: int, identity: str) -> Placement:
        """Add the time of a fault: it moves the watermark, and its identity is kept like that of telemetry.

        Args:
            time: microseconds.
            identity: its id, or a key of its content.
        """
        key, mark = _digest(identity.encode()), self.watermark
        if mark is not None and time >= mark and self._ids.get(key) == time:
            return Placement.DUPLICATE
        placed = self._place(time, self.newest)
        if placed is Placement.TOO_LATE:
            return placed
        if placed is Placement.ON_TIME:
            self.newest = time
            self._forget(time)
        self._ids[key] = time
        return placed

    def _place(self, time: int, last: int | None = None) -> Placement:
        """Place a new event; what a reset dropped is too late.

        Args:
            time: microseconds.
            last: the time from which on an event is on time; that of the latest telemetry if None.
        """
        if self._since is not None and time <= self._since:
            return Placement.TOO_LATE
        return place(time, self.latest if last is None else last, self.watermark)

    def covers(self, time: int) -> bool:
        """Whether an event at this time lies in a window at the time that is scored."""
        if self.largest is None or time > self.largest or not len(self._plan.hops):
            return False
        starts = self._plan.oldest(self.largest) * self._plan.hops
        return bool((time > starts).any())

    def altered_by(self, time: int) -> bool:
        """Whether late telemetry of this time, added last, lies in a window or changed what one counts."""
        if self.running is None:
            return self.covers(time)
        return self.altered is not None and self.covers(self.altered)

    def features(self) -> NDArray[np.float64]:
        """Features of the readings (values, then statistics) at the time that is scored; NaN is missing.

        Raises:
            ValueError: there was no telemetry yet.
        """
        if self.largest is None:
            msg = "no telemetry yet, so no features"
            raise ValueError(msg)
        # Not kept: that would cost memory for each asset, and hardly any event asks twice.
        features, self._features = self._features, None
        if features is None:
            plan = self._plan
            features = np.empty(plan.features)
            features[: plan.values] = self._rows[self.largest][: plan.values]
            self._panes.statistics(self.largest, features[plan.values :])
        return features

    def values_with(self, weather: tuple[float, ...]) -> NDArray[np.float64]:
        """Values at the time that is scored, with expressions of other weather; windows stay as they are.

        Raises:
            ValueError: there was no telemetry yet.
        """
        if self.largest is None:
            msg = "no telemetry yet, so no values"
            raise ValueError(msg)
        return self._plan.worked_out(self._rows[self.largest], weather)[: self._plan.values]

    def row(self, time: int) -> NDArray[np.float64]:
        """Return the merged readings (sensors) of a time that was just accepted.

        Raises:
            KeyError: none of this time are held.
        """
        return self._rows[time]

    def rows_after(self, time: int) -> dict[int, NDArray[np.float64]]:
        """Return the readings (sensors) that are held of times after an instant."""
        return {at: self._counted(at, row) for at, row in self._rows.items() if at > time}

    def reset(self, time: int) -> bool:
        """Drop what the windows hold up to an instant.

        Returns:
            Whether anything was dropped: not where an earlier reset was of a later instant.
        """
        if self._since is not None and time <= self._since:
            return False
        self._since = time
        self._features = None
        self._ahead = [at for at in self._ahead if at > time]
        kept = {at for at in self._rows.times() if at > time or at == self.largest}
        # A copy of what is dropped is still a copy.
        self._ids.update(self._content_ids(at for at in self._rows.times() if at not in kept))
        self._rows.keep(kept)
        self._contents = {at: found for at, found in self._contents.items() if at in kept}
        self._unbegun = {at: found for at, found in self._unbegun.items() if at in kept}
        if self.largest is not None:
            self._panes.drop_before(time, self._pane_rows(time + 1), self.largest)
        return True

    def _pane_rows(self, time: int) -> dict[int, NDArray[np.float64]]:
        """Rows that are scored, by time, of the panes in which this time lies."""
        first, last = self._plan.pane_start(time), self._plan.pane_end(time)
        first = first if self._since is None else max(first, self._since)
        rows = self._rows.within(first, last)
        return {at: self._counted(at, row) for at, row in rows if at not in self._ahead}

    def _content_ids(self, times: Iterable[int]) -> dict[int, int]:
        """Return the identities of telemetry at some times, for when its rows are gone: time by digest."""
        mark = self.settled
        known: dict[int, int] = {}
        for at in times:
            if mark is not None and at >= mark:
                known.update((_content_id(at, digest), at) for digest in self._contents_of(at))
        return known

    def tombstone(self, left: Windows, *, few: bool = True) -> Windows:
        """Fill new windows with what a dropped asset keeps: watermark, and identities that count at it.

        Args:
            left: new ones of the same class.
            few: whether only the latest identities are kept.
        """
        mark = self.watermark
        ids = {
            found: at
            for found, at in self._ids.items()
            if at == self.latest or (mark is not None and at >= mark)
        }
        identified = Counter(ids.values()) if few else Counter()
        # A copy of a message with an id has that id.
        times = [at for at in self._rows.times() if identified[at] < len(self._contents_of(at))]
        ids |= self._content_ids(times)
        if few:
            of_latest = sum(at == self.latest for at in ids.values())
            most = max(_LEFT, min(of_latest, _LEFT_OF_LATEST))
            ids = dict(sorted(ids.items(), key=itemgetter(1))[-most:])
        left._ids = ids
        left.move_marks(*self.marks())
        return left

    def marks(self) -> tuple[int | None, int | None, int | None, int | None]:
        """Newest and latest time, start of the windows, and floor of the watermark."""
        return self.newest, self.latest, self._since, self._floor

    def move_marks(
        self, newest: int | None, latest: int | None, since: int | None, floor: int | None
    ) -> None:
        """Set what `marks` returns."""
        self.newest, self.latest, self._since, self._floor = newest, latest, since, floor

    def remains(self) -> dict[int, int] | None:
        """Identities (time by digest) of a dropped asset, which holds only these and its marks; else None."""
        if self.largest is not None or len(self._rows) or self._contents or self._ahead or self._unbegun:
            return None
        return self._ids

    def restore_remains(self, ids: dict[int, int]) -> None:
        """Restore what `remains` returned."""
        self._ids = ids

    def forget_identity(
        self,
        time: int,
        readings: dict[str, float | None],
        identity: str | None,
        weather: tuple[float, ...] | None = None,
    ) -> None:
        """Forget telemetry that was rejected after all, so that it may be sent again; see `add`."""
        row, content = self._plan.row(readings, weather)
        digest = _digest(self._plan.content(row) if content is None else content)
        self._ids.pop(_content_id(time, digest), None)
        if identity is not None:
            self._ids.pop(_content_id(time, digest, identity), None)

    def forget_fault(self, identity: str) -> None:
        """Forget a fault that was rejected after all; see `add_fault`."""
        self._ids.pop(_digest(identity.encode()), None)

    def carry(self, new: Windows, kept: list[tuple[int, int]]) -> Windows:
        """Move the contents into windows of another class, or of another layout of the class.

        Args:
            new: of the other class, empty yet.
            kept: (old, new) index of the sensors whose windows are kept; the others start empty.
        """
        old_at, new_at = [old for old, _ in kept], [new for _, new in kept]
        plan = new._plan
        new.largest, new.latest, new.newest, new._since = self.largest, self.latest, self.newest, self._since
        new._floor = self.watermark
        new._ids, new._ahead = dict(self._ids), list(self._ahead)
        for time, row in self._rows.items():
            carried = np.full(len(plan.sensors), np.nan)
            carried[new_at] = row[old_at]
            new._rows.append(time, carried)
            new._contents[time] = self._contents_of(time)
            gone_on = {to for at, to in kept if at not in self._unbegun.get(time, ())}
            unbegun = tuple(at for at in range(len(plan.sensors)) if at not in gone_on)
            if unbegun:
                new._unbegun[time] = unbegun
        new._panes.copy_from(self._panes, old_at, new_at)
        old, now = self.running, plan.running
        if old is not None and now is not None and old.condition.text == now.text:
            new.running = RunningStates(now, old.state())
        return new

    def _merge(
        self,
        time: int,
        old: NDArray[np.float64],
        new: NDArray[np.float64],
        weather: tuple[float, ...] | None,
    ) -> None:
        """Merge a second event of one time: what was missing is added, what differs is replaced."""
        before = ~np.isnan(old)
        merged = self._plan.worked_out(np.where(np.isnan(new), old, new), weather)
        self._rows[time] = merged
        self._features = None
        # Windows that began with a change count all later readings, so this time too from now on.
        begins = self._unbegun.pop(time, None) is not None
        until = None if self.running is None else self.running.add(time, merged.tolist())
        if until is not None:
            self._recount(time, until)
        if time in self._ahead or self.largest is None or until is not None:
            return
        if not self.runs_at(time):
            return
        self.altered = time
        if begins or (merged[before] != old[before]).any():
            self._panes.rebuild(time, self._pane_rows(time), self.largest)
        elif not np.isnan(merged[~before]).all():
            self._panes.complete(time, np.where(before, np.nan, merged), self.largest)

    def _is_duplicate(self, time: int, digest: int, identity: str | None) -> bool:
        mark = self.settled
        if mark is None or time < mark:
            return False
        if identity is not None:
            key = _content_id(time, digest, identity)
            # Releases before snapshot version 5 kept the id alone.
            return key in self._ids or self._ids.get(_digest(identity.encode())) == time
        if time in self._rows:
            return digest in self._contents_of(time)
        # Dropped by a reset or by asset_ttl; releases before snapshot version 5 left the time out.
        return _content_id(time, digest) in self._ids or self._ids.get(digest) == time

    def _contents_of(self, time: int) -> tuple[int, ...]:
        """Digests of the telemetry of a time that is held."""
        return self._contents.get(time) or (_digest(self._plan.content(self._rows[time])),)

    def _remember_telemetry(
        self,
        identity: str | None,
        time: int,
        row: NDArray[np.float64],
        content: bytes | None,
        *,
        first: bool = True,
    ) -> None:
        """Keep the identity of telemetry: id and content, and of the first of a time what its row lacks."""
        if identity is not None:
            digest = _digest(self._plan.content(row) if content is None else content)
            self._ids[_content_id(time, digest, identity)] = time
        if first and content is not None:
            self._contents[time] = (_digest(content),)

    def _forget(self, newest: int) -> int:
        """Drop rows that no pane needs, and identities that are too late to be accepted.

        Returns:
            The newest time minus the allowed lateness.
        """
        plan, rows, ids, contents = self._plan, self._rows, self._ids, self._contents
        mark = watermark = newest - plan.lateness
        if self.latest is not None and self.latest < mark:
            mark = self.latest
        scored = mark if self.largest is None else min(mark, self.largest)
        if self.running is not None:
            self.running.settle(mark, plan.surely_unneeded(mark, scored), self._ahead)
        if rows.oldest <= mark - plan.longest_hop or rows.end - rows.first > MOST_ROWS:
            self._drop_rows(mark, scored)
        if not ids and not contents:
            return watermark
        for _ in range(len(ids)):
            first = next(iter(ids))
            if ids[first] >= watermark:
                break
            at = ids.pop(first)
            if at == self.latest:
                # More may come at this time; at the end, it does not keep older ones from being dropped.
                ids[first] = at
        while contents and (first := next(iter(contents))) < mark:
            del contents[first]
        return watermark

    def _drop_standing(self) -> None:
        """Drop, now and then, readings of a standing machine that no late one can let a window count.

        None may be placed and not added yet, see `place_run`.
        """
        running, mark = self.running, self.settled
        if running is None or mark is None or not self._ahead:
            return
        if (
            running.tidied is not None
            and mark - running.tidied < self._plan.longest_hop + self._plan.lateness
        ):
            return
        running.tidied = mark
        gone = {at for at in self._ahead if at < mark and not running.at(at)}
        if gone:
            self._ahead = [at for at in self._ahead if at not in gone]
            self._rows.keep({*self._rows.times()} - gone)
            for at in gone:
                self._unbegun.pop(at, None)

    def _drop_rows(self, mark: int, scored: int) -> None:
        """Drop the oldest rows that neither late telemetry nor, unless they are many, a reset needs."""
        rows, plan = self._rows, self._plan
        if rows.oldest > plan.surely_unneeded(mark, scored) and len(rows) <= MOST_ROWS:
            return
        merges, resets = plan.pane_start(mark), plan.window_start(scored)
        if not self._ahead:
            # Nearly always that is all, and most of the table at once.
            for at in rows.drop_until(min(merges, mark - 1, resets), self.largest):
                self._unbegun.pop(at, None)
        while (at := rows.oldest) != NEVER:
            if at > merges or at >= mark or at == self.largest or at in self._ahead:
                break
            if at > resets and len(rows) <= MOST_ROWS:
                break
            rows.drop_oldest()
            self._unbegun.pop(at, None)

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "largest": self.largest,
            "latest": self.latest,
            "newest": self.newest,
            "since": self._since,
            "floor": self._floor,
            "ahead": self._ahead,
            "unbegun": list(self._unbegun.items()),
            "panes": self._panes.state(self.largest),
            "rows": self._rows.state(),
            "contents": [(time, *digests) for time, digests in self._contents.items()],
            "ids": list(self._ids.items()),
            **({} if self.running is None else {"running": self.running.state()}),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.largest = state["largest"]
        self.latest = state["latest"]
        self.newest = state["newest"]
        self._since = state["since"]
        self._floor = state["floor"]
        self._ahead = state["ahead"]
        self._unbegun = {time: tuple(channels) for time, channels in state["unbegun"]}
        self._rows.restore(state["rows"])
        self._contents = {time: tuple(digests) for time, *digests in state["contents"]}
        self._ids = dict(state["ids"])
        if self._plan.running is not None:
            self.running = RunningStates(self._plan.running, state.get("running"))


def _content_id(time: int, digest: int, identity: str = "") -> int:
    """Identity of telemetry: time, content and id; without an id it counts once the row is gone."""
    return _digest(b"%d %d" % (time, digest) + identity.encode())


def _digest(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())
