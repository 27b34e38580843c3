"""Merge several files into one sequence: registry files first, then the input by arrival.

Among the next records of all files, the one with the earliest arrival comes first. If ``arrived`` runs back
inside a file, the running maximum counts; it also counts for a record without an arrival, and for one with a
wild arrival (see `dataflows.connectors.arrivals`). Ties follow the order of the files. So files without
arrivals are read one after the other.

A live source cannot repeat such a choice, since it depends on the moment; so every choice can be written as
`Run` s, and repeated from them.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dataflows.connectors.arrivals import LOOK_AHEAD, MAX_JUMP, NEVER, Arrivals
from dataflows.connectors.lines import InputError, Lines, size_of
from dataflows.connectors.order_journal import Run
from dataflows.events import Event, Registration, Reject, decode
from dataflows.items import Item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dataflows.mapping.live import LiveRows

__all__ = ["FilePosition", "Merge", "NextRecord"]

# A batch of lines that are all nearly oversized would be a gigabyte.
_BATCH_BYTES = 4 << 20
_NO_ARRIVAL = (
    "`arrived` is missing; followed records need it, since no clock of this machine may decide what they "
    "mean: let the gateway that writes them add it"
)


class FilePosition(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Position of reading in one file.

    Attributes:
        offset: offset of the next byte to read.
        line: number of the line that ends there, from 1; 0 before the first.
        latest: the largest ``arrived`` that was decoded before it and is not wild, in microseconds.
        size: bytes on disk when the file was read to its end; -1 before that.
        whole: digest of the whole file, for a registry file; empty for others.
    """

    offset: int = 0
    line: int = 0
    latest: int = NEVER
    size: int = -1
    whole: bytes = b""


class NextRecord(msgspec.Struct, frozen=True, gc=False):
    """The next record of a file.

    Attributes:
        order: its place among the records of other files, an arrival.
        due: time at which it plays: its arrival, else its own time, else None.
    """

    raw: bytes
    events: tuple[Event | Reject, ...]
    start: int
    end: int
    line: int
    order: int
    due: int | None


class _Line(msgspec.Struct, frozen=True, gc=False):
    """A line that is a record, and its events: one, or those that rules make of it, perhaps none."""

    raw: bytes
    events: tuple[Event | Reject, ...]
    start: int
    end: int
    number: int


class _Feed:
    """One file: its next record, and its position."""

    __slots__ = (
        "_ahead",
        "_arrivals",
        "_growing",
        "_lines",
        "_offset",
        "_open_lines",
        "_read",
        "_seen",
        "_times",
        "ended",
        "head",
        "path",
        "place",
        "rows",
    )

    def __init__(
        self,
        path: str,
        place: FilePosition,
        *,
        growing: bool,
        max_jump: int,
        lines: Callable[..., Lines],
        rows: LiveRows | None,
    ) -> None:
        self.path = path
        self._open_lines = lines
        self.rows = rows
        self.place = place
        self.head: NextRecord | None = None
        self._arrivals = Arrivals(place.latest, max_jump)
        #: The same for event times of records without arrivals, which pace a replay.
        self._times = Arrivals(max_jump=max_jump)
        #: The head, and records after it that were read to judge its arrival.
        self._ahead: deque[_Line] = deque()
        #: Whether the file was read to its end, for good.
        self.ended = False
        self._read = 0
        self._growing = growing
        self._lines: Lines | None = None
        # Offset of the line after the head, and the number of the last examined line.
        self._offset, self._seen = place.offset, place.line

    def opened(self) -> Lines | None:
        """Lines from the position on; None for a file that was read to its end."""
        if self.ended:
            return None
        if self._lines is None:
            if not self._growing and self.place.size >= 0 and size_of(self.path) == self.place.size:
                self._read, self.ended = self.place.size, True
                return None
            self._lines = self._open_lines(self.path, self._offset, growing=self._growing)
        return self._lines

    def check(self) -> None:
        """Refuse to wait for a growing file that will not grow."""
        if self._growing and self._lines is not None:
            self._lines.check_still_there()

    def sleep(self) -> None:
        """Close the file until the next record is requested."""
        if self._lines is not None:
            self._offset, self._read = self._lines.offset, self._lines.tell()
            self._lines.close()
            self._lines = None

    @property
    def read(self) -> int:
        """Number of bytes on disk that were read."""
        return self._read if self._lines is None else self._lines.tell()

    def peek(self) -> bool:
        """Find the next record, the head; return whether there is one."""
        if self.head is not None:
            return True
        if not self._ahead and not self._look_ahead():
            if self._lines is not None:
                self._end()
            return False
        self.head = self._head(self._ahead[0])
        return True

    def _look_ahead(self) -> bool:
        """Read one more record; return whether there was one."""
        lines = self.opened()
        if lines is None:
            return False
        while (found := lines.read()) is not None:
            self._seen += 1
            raw, start, end = found
            if not lines.is_record(raw):
                continue
            events = (decode(raw),) if self.rows is None else self.rows.read(raw, self._seen, start)
            if events is not None:
                checked = tuple(self._checked(event, raw) for event in events)
                self._ahead.append(_Line(raw, checked, start, end, self._seen))
                return True
        return False

    def _checked(self, event: Event | Reject, raw: bytes) -> Event | Reject:
        if self._growing and not isinstance(event, Reject | Registration) and event.arrived is None:
            return Reject("mixed_arrivals", _NO_ARRIVAL, getattr(event, "asset", None), raw)
        return event

    def _head(self, line: _Line) -> NextRecord:
        arrival, after = _arrival(line), self._after(line)
        order, due = self._arrivals.order(arrival, after), None
        if arrival != NEVER:
            due = self._arrivals.due(arrival, after)
        elif (time := _time(line)) is not None:
            due = self._times.due(time, ())
        due = None if due == NEVER else due
        return NextRecord(line.raw, line.events, line.start, line.end, line.number, order, due)

    def _after(self, line: _Line) -> list[int]:
        """Arrivals of the records after the next one, as far as its own has to be judged by them."""
        if not self._arrivals.jumps(_arrival(line)):
            return []
        while len(self._ahead) <= LOOK_AHEAD and self._look_ahead():
            pass
        after = [_arrival(each) for each in self._ahead if each is not line]
        return [arrival for arrival in after if arrival != NEVER]

    def renew(self) -> bool:
        """Judge the head once more by records that have come since; return whether it may still change."""
        if self.head is None:
            return False
        self.head = self._head(self._ahead[0])
        return self.is_open

    @property
    def is_open(self) -> bool:
        """Whether records that are still to come may change the order of the head."""
        line = self._ahead[0]
        return self._growing and self._arrivals.is_open(_arrival(line), self._after(line))

    def pop(self) -> NextRecord:
        """Return the head and advance."""
        head, self.head = self.head, None
        assert head is not None  # noqa: S101 - callers peek first
        line = self._ahead[0]
        arrival = _arrival(line)
        if arrival != NEVER:
            self._arrivals.add(arrival, self._after(line))
        elif (time := _time(line)) is not None:
            self._times.add(time, ())
        self._ahead.popleft()
        self.place = FilePosition(head.end, head.line, self._arrivals.latest, whole=self.place.whole)
        return head

    def straight(self, items: list[Item], batch: int, sequence: int, room: int) -> int:
        """Fill a batch with undecoded records of an unmerged file; return the remaining room."""
        lines = self.opened()
        if lines is None:
            return room
        path, seen, sequence = self.path, self._seen, sequence + len(items)
        while len(items) < batch and room > 0:
            found = lines.read()
            if found is None:
                self._end()
                break
            raw, start, _ = found
            seen += 1
            if not lines.is_record(raw):
                continue
            sequence += 1
            room -= len(raw)
            items.append(Item(sequence, 0, None, 0, (path, seen, start), raw))
        self._seen = seen
        size = self._read if self.ended else -1
        self.place = FilePosition(lines.offset, seen, self.place.latest, size, self.place.whole)
        return room

    def _end(self) -> None:
        """Note that there was nothing more: for now, or for good."""
        if not self._growing:
            self.sleep()
            self.place = msgspec.structs.replace(self.place, size=self._read)
            self.ended = True


class Merge:
    """All files of a lane as one sequence.

    Args:
        groups: paths; the files of a group are merged, one group is read after the other.
        places: positions, by number of the file over all groups; result of `places`.
        follow: the files of the last group are growing.
        plain: return records as undecoded bytes if nothing has to be merged; this is faster.
        body: makes the body of the one item of a record; None makes an item of each of its events.
        max_jump: see `Arrivals`.
        registry: number of groups of registry files, at the beginning. Such a file may be exported again: if
            it changed since its reading began, it is read again from its beginning.
        lines: opens the lines of a file.
        rows: makes events of the rows of a file; None for a file that holds events.

    Raises:
        InputError: a file is shorter than its position.
    """

    def __init__(  # noqa: PLR0913 - one argument a property of the files
        self,
        groups: Sequence[Sequence[str]],
        places: Sequence[FilePosition] = (),
        *,
        follow: bool = False,
        plain: bool = True,
        body: Callable[[NextRecord], bytes | Event | Reject] | None = None,
        registry: int = 0,
        max_jump: int = MAX_JUMP,
        lines: Callable[..., Lines] = Lines,
        rows: Callable[[str], LiveRows | None] = lambda _: None,
    ) -> None:
        self._feeds: list[_Feed] = []
        self._groups: list[list[int]] = []
        for index, group in enumerate(groups):
            growing = follow and index + 1 == len(groups)
            first = len(self._feeds)
            for number, path in enumerate(group, start=first):
                place = places[number] if number < len(places) else FilePosition()
                if index < registry:
                    place = _as_it_is(path, place)
                made = rows(path) if index >= registry else None
                self._feeds.append(
                    _Feed(path, place, growing=growing, max_jump=max_jump, lines=lines, rows=made)
                )
            self._groups.append(list(range(first, len(self._feeds))))
        self._follow = follow
        self._plain = plain
        #: Number of registry files.
        self._registry = sum(len(group) for group in groups[:registry])
        self._body = body
        self._begun = len(places)
        self._group = 0
        #: Feeds of the group with a known head, by (arrival, number), and feeds to examine.
        self._ready: list[tuple[int, int]] = []
        self._asked = self._groups[0]
        #: Feeds whose head has an arrival that records to come may contradict.
        self._open: set[int] = set()
        for feed in self._feeds:
            if feed.place.offset:
                feed.opened()

    @property
    def read(self) -> int:
        """Bytes on disk read so far, of all files."""
        return sum(feed.read for feed in self._feeds)

    @property
    def latest(self) -> int | None:
        """Largest ``arrived`` read so far, None without any."""
        latest = max(feed.place.latest for feed in self._feeds)
        return None if latest == NEVER else latest

    def due(self) -> int | None:
        """Time at which the next record plays (`NextRecord.due`); None for any time, or without a record."""
        self._ask()
        while not self._ready and self._next_group():
            self._ask()
        head = self._feeds[self._ready[0][1]].head if self._ready else None
        return None if head is None else head.due

    def unmatched(self) -> int:
        """Return the number of rows that no rule took, since the start of the process."""
        return sum(feed.rows.unmatched for feed in self._feeds if feed.rows is not None)

    def places(self) -> list[FilePosition]:
        """Position in each file that was begun."""
        return [feed.place for feed in self._feeds[: self._begun]]

    def read_batch(self, batch: int, sequence: int, until: int | None = None) -> tuple[list[Item], list[Run]]:
        """Read the next records.

        Args:
            batch: largest number; long records make it smaller.
            sequence: sequence of the last record before them.
            until: latest due time (`NextRecord.due`).

        Returns:
            The records as items, with the event as body, or its bytes if it was not decoded; and the choices.
            Nothing at the end, or if nothing is there now. Rows that make no event are choices without
            items.

        Raises:
            InputError: a file is damaged; or one that is followed was cut, removed or replaced, and all that
                it held was taken.
        """
        items: list[Item] = []
        runs: list[Run] = []
        room = _BATCH_BYTES
        while len(items) < batch and room > 0:
            group = self._groups[self._group]
            self._begun = max(self._begun, group[-1] + 1)
            if self._plain and len(group) == 1:
                room = self._feeds[group[0]].straight(items, batch, sequence, room)
            else:
                room = self._merged(items, runs, batch, sequence, room, until)
            if not self._next_group():
                break
        if self._follow and not items:
            for feed in self._feeds:
                feed.check()
        return items, runs

    def _next_group(self) -> bool:
        """Advance to the next group if this one was read to its end; False if there is none, or not yet."""
        group = self._groups[self._group]
        if not all(self._feeds[number].ended for number in group) or self._group + 1 == len(self._groups):
            return False
        self._group += 1
        self._asked = self._groups[self._group]
        return True

    def _ask(self) -> None:
        """Find the next records of files that had none, and judge again those whose arrival is in doubt."""
        if self._open:
            self._open = {number for number in self._open if self._feeds[number].renew()}
            self._ready = [(self._order(number), number) for _, number in self._ready]
            heapq.heapify(self._ready)
        asked, self._asked = self._asked, []
        for number in asked:
            feed = self._feeds[number]
            self._stand(number, feed)
            if not self._follow and feed.place.offset == 0:
                # Of a thousand files, only those with due records are open at once.
                feed.sleep()

    def _stand(self, number: int, feed: _Feed) -> None:
        if feed.peek() and feed.head is not None:
            heapq.heappush(self._ready, (feed.head.order, number))
            if feed.is_open:
                self._open.add(number)
        elif not feed.ended:
            self._asked.append(number)

    def _order(self, number: int) -> int:
        head = self._feeds[number].head
        return NEVER if head is None else head.order

    def _merged(
        self, items: list[Item], runs: list[Run], batch: int, sequence: int, room: int, until: int | None
    ) -> int:
        self._ask()
        ready = self._ready
        while ready and len(items) < batch and room > 0:
            number = ready[0][1]
            feed = self._feeds[number]
            start, records = feed.place.offset, 0
            if until is not None and _waits(feed, until):
                break
            heapq.heappop(ready)
            bound = ready[0] if ready else None
            while (head := feed.head) is not None and len(items) < batch and room > 0:
                if (bound is not None and (head.order, number) > bound) or (
                    until is not None and _waits(feed, until)
                ):
                    break
                feed.pop()
                records += 1
                room -= len(head.raw)
                items += self._items(feed.path, head, sequence + len(items))
                feed.peek()
            runs.append(Run(number, start, feed.place.offset, records))
            self._stand(number, feed)
        return room

    def _items(self, path: str, head: NextRecord, sequence: int) -> list[Item]:
        """Items of a record, each with a sequence of its own."""
        bodies = head.events if self._body is None else (self._body(head),)
        place = (path, head.line, head.start)
        return [Item(sequence + number, 0, None, 0, place, body) for number, body in enumerate(bodies, 1)]

    def repeat(self, runs: Iterable[Run], sequence: int) -> list[Item]:
        """Read the records of former choices again.

        Raises:
            InputError: the files do not hold them.
        """
        items: list[Item] = []
        for run in runs:
            feed = self._feeds[run.partition]
            self._begun = max(self._begun, run.partition + 1)
            fits = feed.place.offset == run.start
            for _ in range(run.records):
                fits = fits and feed.peek()
                if not fits:
                    break
                head = feed.pop()
                items += self._items(feed.path, head, sequence + len(items))
            if (not fits or feed.place.offset != run.end) and run.partition < self._registry:
                msg = (
                    f"{feed.path}: the order journal has rows of this registry file that it does not hold "
                    "any more, since it was exported again. Put the file of that time in its place to repeat "
                    "the journal; without --journal a replay reads it as it is now"
                )
                raise InputError(msg)
            if not fits or feed.place.offset != run.end:
                msg = (
                    f"{feed.path}: the order journal has {run.records:,} records from byte {run.start:,} to "
                    f"{run.end:,}, which the file does not hold; restore it together with its store"
                )
                raise InputError(msg)
        return items

    def close(self) -> None:
        """Close all files."""
        for feed in self._feeds:
            feed.sleep()


def _as_it_is(path: str, place: FilePosition) -> FilePosition:
    """Position to continue in a registry file: its beginning if it changed since reading began."""
    with Path(path).open("rb") as file:
        whole = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
    # Former releases had no digest, only the size.
    same = place.whole == whole or (not place.whole and place.size in (-1, size_of(path)))
    return msgspec.structs.replace(place, whole=whole) if same else FilePosition(whole=whole)


def _arrival(line: _Line) -> int:
    events = (event for event in line.events if not isinstance(event, Reject))
    return next((event.arrived for event in events if event.arrived is not None), NEVER)


def _time(line: _Line) -> int | None:
    events = (event for event in line.events if not isinstance(event, Reject))
    return next((time for event in events if (time := getattr(event, "time", None)) is not None), None)


def _waits(feed: _Feed, until: int) -> bool:
    head = feed.head
    return head is not None and head.due is not None and head.due > until
