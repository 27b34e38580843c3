"""Source of a lane: records of the input as one sequence, repeated exactly on resume.

A source is a subclass of `LaneSource` that opens a `Reading`, which puts records of several files or
partitions into one order. The rest is here: the sequence, the order journal if that order cannot be found
again, ticks, and the pace of a replay.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypedDict, Unpack, cast

from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition
from typing_extensions import override

from dataflows.connectors.clocks import Pace, Ticker, now
from dataflows.connectors.lines import InputError
from dataflows.connectors.order_journal import Journal, entries_of, journal_of
from dataflows.items import Item, Tick
from dataflows.placement import lane_names
from dataflows.status import ProgressLog

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from dataflows.connectors.order_journal import Entry, Run
    from dataflows.fleet.fleet import Fleet, Input
    from dataflows.state.snapshots import Kind
    from dataflows.status import RunStatus

__all__ = ["LaneOptions", "LanePartition", "LaneSource", "Reading", "StoredInput"]


#: Most records of a batch: at first, and in a long backlog. What a step costs for a key is shared by all its
#: records in a batch, and what waits in a backlog waits anyway.
_FEWEST, _MOST = 1_000, 8_000
#: Seconds that the run may take for a batch, beyond the smallest: a snapshot waits for the batch before it.
_LONGEST = 1.0


def _batch_size(size: int, read: int, took: float) -> int:
    """Return the most records of the next batch.

    Args:
        size: most records of the last one.
        read: records of it; a full batch is a sign of a backlog.
        took: seconds that the run took for it.

    >>> [_batch_size(2_000, 2_000, took) for took in (0.1, 0.8, 3.0)], _batch_size(2_000, 1_999, 0.1)
    ([4000, 2500, 1000], 1000)
    """
    if read < size:
        return _FEWEST
    fitting = int(size * _LONGEST / max(took, 1e-6))
    return max(min(2 * size, fitting, _MOST), _FEWEST)


class LaneOptions(TypedDict):
    """How a source runs in its lane; see `LaneSource`."""

    ticks: bool
    journal: Path | None
    replayed: Path | None
    speed: float | None


class StoredInput(NamedTuple):
    """What a store holds of the input of a lane.

    Attributes:
        records: sequence of the last record read.
        entries: number of entries of the order journal.
        files: path, and offset of the next byte, of each file.
        topics: id of each topic.
        partitions: topic, number, next offset and largest timestamp of each partition.
    """

    records: int
    entries: int
    files: list[tuple[str, int]]
    topics: dict[str, str]
    partitions: list[tuple[str, int, int, int]]


class Reading(ABC):
    """Input of a source, opened: several files or partitions in one order.

    A subclass has `names`, `read`, `read_batch`, `ended` and `state`. The rest is for inputs that wait for
    more records, or whose order depends on the moment; the defaults suit one that is complete and in order.

    Attributes:
        names: names of the files and partitions, in their order in the journal.
        poll: pause before the next request after an empty one; zero for none.
    """

    names: Sequence[str]
    poll: timedelta = timedelta(0)

    @property
    @abstractmethod
    def read(self) -> int:
        """Amount read so far, in the unit of `LaneSource.total`."""

    @abstractmethod
    def read_batch(self, batch: int, sequence: int, until: int | None = None) -> tuple[list[Item], list[Run]]:
        """Read the next available records.

        Args:
            batch: largest number.
            sequence: sequence of the last record before them.
            until: latest time at which a record plays, see `due`; None for any time.

        Returns:
            The records as items, and the choices for the journal. A row that makes no event is a choice
            without an item.
        """

    @abstractmethod
    def ended(self) -> bool:
        """Whether there will never be more, after `read_batch` had nothing."""

    @abstractmethod
    def state(self) -> Any:  # noqa: ANN401 - plain data of any shape
        """Positions of reading, as plain data for a snapshot."""

    @property
    def latest(self) -> int | None:
        """Largest arrival read so far, None without any."""
        return None

    def begins(self) -> tuple[Run, ...]:
        """First choices in the journal of a new store, before any record: where partitions begin."""
        return ()

    def repeat(self, runs: tuple[Run, ...], sequence: int) -> list[Item] | None:
        """Read the records of former choices again; None while they are still on their way.

        Raises:
            InputError: the input does not hold them.
        """
        del runs, sequence
        msg = f"{', '.join(self.names)}: an input of this kind cannot be read in the order of a journal"
        raise InputError(msg)

    def silent_since(self, asked: int) -> int | None:
        """Confirm silence after `read_batch`, called at an instant of `clocks.now`, had nothing.

        Returns:
            The latest instant at which surely nothing was left to read; None if unknown.
        """
        del asked
        return None

    def due(self) -> int | None:
        """Time at which the next record plays, by arrival or its own time; None if any time or no record."""
        return None

    def committed(self, state: Any) -> None:  # noqa: ANN401, B027 - what `state` returned; most need nothing
        """Note that no resume goes back behind this state any more."""

    def close(self) -> None:  # noqa: B027 - as above
        """Close everything."""


class LanePartition(StatefulSourcePartition[Item, bytes]):
    """The one partition of a lane.

    Args:
        source: its source, of this lane.
        reading: the input, opened.
        begun: sequence of the last record read before, and number of the next entry of the journal.
        journal: order journal, if the order cannot be found again.
        replayed: entries of another run's journal; the input ends with them.
    """

    def __init__(
        self,
        source: LaneSource,
        reading: Reading,
        begun: tuple[int, int],
        journal: Journal | None = None,
        replayed: Iterator[Entry] | None = None,
    ) -> None:
        given, status = source.input, source.status
        self._reading = reading
        self._kind = source.kind
        self._status = status
        self._progress = ProgressLog(status)
        #: Most records of the next batch; and whether that was given.
        self._batch, self._fixed = given.batch or _FEWEST, given.batch is not None
        #: When the last batch was asked for, and its records.
        self._asked, self._had = monotonic(), 0
        #: Number of the last record, of which the sequence follows.
        self._sequence, self._entry = begun
        self._lane, self._lanes = source.lane, given.lanes
        status.begin_lane(self._lane, self._sequence)
        self._ticks = 0
        self._journal = journal
        self._replays = replayed is not None
        chosen: Iterable[Entry] = () if journal is None else journal.entries(self._entry)
        self._repeated = iter(chosen if replayed is None else replayed)
        self._next: Entry | None = None
        self._ticker = Ticker(given.tick_every, given.tick_slack) if source.ticks else None
        self._pace = None if source.speed is None else Pace(source.speed)
        self._idle = False
        self._snapped = self._entry, reading.state()

    @override
    def next_batch(self) -> list[Item]:
        try:
            return self._next_batch()
        except StopIteration:
            raise
        except Exception as error:
            if not self._status.raises:
                raise
            # The engine stops at once, as at any other error, but without its own words before ours.
            self._status.error = error
            raise AbortExecution from error

    def _next_batch(self) -> list[Item]:
        self._status.asked()
        self._progress.write()
        if self._status.stop or (self._lanes == 1 and self._status.intake.hopeless()):
            raise StopIteration
        # An entry whose records are still on their way is tried again.
        entry = self._next = self._next or next(self._repeated, None)
        self._idle = False
        items = self._read() if entry is None else self._repeat(entry)
        if self._idle and entry is None and (self._replays or self._reading.ended()) and not self._waits():
            raise StopIteration
        self._status.read_lane(self._lane, self._sequence, self._reading.read, new=bool(items))
        return items

    def _waits(self) -> bool:
        """Whether to wait: there is more, but not yet."""
        return self._pace is not None and self._reading.due() is not None

    def _repeat(self, entry: Entry) -> list[Item]:
        moves = isinstance(entry.chosen, int) or any(run.records for run in entry.chosen)
        if (moves and entry.sequence != self._sequence) or entry.number != self._entry:
            msg = (
                f"entry {entry.number:,} of the order journal follows record {entry.sequence:,}, the source "
                f"has read {self._sequence:,} records in {self._entry:,} entries: a part was read without "
                "this journal. Restore the journal and its store from one backup, or start over (--fresh)"
            )
            raise InputError(msg)
        if isinstance(entry.chosen, int):
            items = [self._tick(entry.chosen)]
        else:
            repeated = self._reading.repeat(entry.chosen, self._sequence)
            if repeated is None:
                self._idle = True
                return []
            items = self._advance(repeated)
        self._entry += 1
        self._next = None
        return items

    def _read(self) -> list[Item]:
        """Read the available records; if there are none, perhaps make a tick, else note that it is idle."""
        if self._replays:
            self._idle = True
            return []
        if not self._fixed:
            before, self._asked = self._asked, monotonic()
            self._batch = _batch_size(self._batch, self._had, self._asked - before)
        # Read the clock before the input: a process that was stopped in between, for however long, must not
        # treat that time as silence.
        asked = now()
        until = None if self._pace is None else self._pace.until(self._reading.due())
        items, runs = self._reading.read_batch(self._batch, self._sequence, until)
        self._had = len(items)
        if items or runs:
            self._write(tuple(runs))
            if self._ticker is not None:
                self._ticker.read(self._reading.latest)
            return self._advance(items)
        silent = None if self._ticker is None else self._reading.silent_since(asked)
        arrival = None if self._ticker is None or silent is None else self._ticker.tick(silent)
        if arrival is None:
            self._idle = True
            return []
        self._write(arrival)
        return [self._tick(arrival)]

    def _advance(self, items: list[Item]) -> list[Item]:
        self._sequence += len(items)
        self._ticks = 0
        if self._lanes > 1:
            for item in items:
                item.sequence = item.sequence * self._lanes + self._lane
        return items

    def _tick(self, arrival: int) -> Item:
        self._ticks += 1
        sequence = self._sequence * self._lanes + self._lane
        return Item(sequence, self._ticks, arrival, arrival, ("", 0, 0), Tick(arrival))

    def _write(self, chosen: tuple[Run, ...] | int) -> None:
        if self._journal is not None:
            self._journal.append(self._sequence, chosen)
            self._entry += 1

    @override
    def next_awake(self) -> datetime | None:
        return datetime.now(UTC) + self._reading.poll if self._idle and self._reading.poll else None

    @override
    def snapshot(self) -> bytes:
        self._progress.epoch()
        # The epoch before this one is committed, so no resume goes back behind it.
        entry, state = self._snapped
        if self._journal is not None:
            self._journal.sync()
            self._journal.forget(entry)
        self._reading.committed(state)
        self._snapped = self._entry, self._reading.state()
        return self._kind.seal((self._sequence, *self._snapped))

    @override
    def close(self) -> None:
        self._reading.close()
        if self._journal is not None:
            self._journal.close()


class _Refused(StatefulSourcePartition[Item, bytes]):
    """The partition of a lane whose input cannot be opened: it ends the run before its first record."""

    def __init__(self, resume_state: bytes | None) -> None:
        self._state = resume_state or b""

    @override
    def next_batch(self) -> list[Item]:
        raise AbortExecution

    @override
    def snapshot(self) -> bytes:
        return self._state


class LaneSource(FixedPartitionedSource[Item, bytes]):
    """Base of every source: a partition for each lane.

    A subclass has the `kind` of its snapshots (number of the last record, number of entries in the journal,
    and `Reading.state`), opens its `Reading`, and makes itself of a fleet (`of`). A line in
    `dataflows.connectors.ends.SOURCES` names it. One that several lanes can read makes the source `of_lane`.

    Args:
        given: the input.
        status: of the run; counts what is read, and requests the stop.
        ticks: put ticks into the sequence while nothing arrives, if the input has no end.
        journal: folder of the order journal; None writes none.
        replayed: folder of an order journal to repeat; the input ends with it.
        speed: multiple of real time for playing records, by arrival, else by their own time; None for as fast
            as possible.

    Attributes:
        kind: kind of the snapshots.
        total: amount to read, None if unknown.
        follow: whether the input has no end.
        lane: number of the lane that is opened.
    """

    kind: Kind[StoredInput]
    total: int | None = None
    lane: int = 0

    def __init__(
        self,
        given: Input,
        status: RunStatus,
        *,
        ticks: bool = False,
        journal: Path | None = None,
        replayed: Path | None = None,
        speed: float | None = None,
    ) -> None:
        self.input = given
        self.status = status
        self.follow = given.follow and replayed is None
        self.ticks = ticks and self.follow
        self.journal = None if replayed is not None else journal
        self.replayed = replayed
        self.speed = speed

    @classmethod
    @abstractmethod
    def of(cls, fleet: Fleet, status: RunStatus, **lane: Unpack[LaneOptions]) -> Self:
        """Make the source of a fleet's input.

        Raises:
            InputError: the input does not exist, or cannot be read in this way.
        """

    @abstractmethod
    def open(self, state: Any) -> Reading:  # noqa: ANN401 - plain data of any shape
        """Open the input at a state of its reading, None for the beginning.

        Raises:
            InputError: the input is not that of the state, or cannot be read.
        """

    @property
    def journaled(self) -> bool:
        """Whether to write the order journal, since the input itself does not fix the order."""
        return self.journal is not None and self.follow

    @override
    def list_parts(self) -> list[str]:
        return lane_names(self.input.lanes)

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> LanePartition:
        try:
            return self.of_lane(self.list_parts().index(for_part)).begin(resume_state)
        except Exception as error:
            if not self.status.raises:
                raise
            self.status.error = error
            return cast("LanePartition", _Refused(resume_state))

    def of_lane(self, lane: int) -> Self:
        """Return the source of a lane, with its part of the input and of the journal.

        Raises:
            InputError: the input has no part for it.
        """
        if self.input.lanes == 1:
            return self
        source = copy(self)
        source.lane = lane
        source.journal, source.replayed = (
            None if folder is None else journal_of(folder, lane) for folder in (self.journal, self.replayed)
        )
        return source

    def begin(self, resume_state: bytes | None) -> LanePartition:
        """Open the input of the lane at a snapshot of its partition, None for the beginning.

        Raises:
            InputError: as of `open`.
            JournalError: the journal cannot be used.
        """
        sequence, entry, state = (0, 0, None) if resume_state is None else self.kind.unseal(resume_state)
        reading = self.open(state)
        journal = None
        if self.journal is not None and self.journaled:
            journal = Journal(self.journal, reading.names, self.input.journal_keep)
            if begins := reading.begins():
                # A run that was killed before its first snapshot begins again at the same offsets.
                journal.append(sequence, begins)
                journal.sync()
        replayed = None if self.replayed is None else entries_of(self.replayed, len(reading.names))
        return LanePartition(self, reading, (sequence, entry), journal, replayed)
