"""Source of a lane: records of the input as one sequence, repeated exactly on resume.

The input is a `Reading`, which puts records of several files or partitions into one order. The source numbers
them, writes the order journal if that order cannot be found again, and puts ticks between them.
"""

from __future__ import annotations

from abc import abstractmethod
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from typing_extensions import override

from dataflows.connectors.clocks import Pace, Ticker, now
from dataflows.connectors.lines import InputError
from dataflows.items import Item, Tick
from dataflows.status import ProgressLog

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dataflows.connectors.order_journal import Entry, Journal, Run
    from dataflows.state.snapshots import Kind
    from dataflows.status import RunStatus

__all__ = ["LanePartition", "LaneSource", "Reading", "StoredInput"]


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


class Reading(Protocol):
    """Input of a source: several files or partitions, merged.

    Attributes:
        kind: kind of the snapshots: sequence of the last record, number of entries, and `state`.
        poll: pause before the next request after an empty one; zero for none.
    """

    kind: Kind[StoredInput]
    poll: timedelta

    @property
    def read(self) -> int:
        """Amount read so far, in the unit of `LaneSource.total`."""
        ...

    @property
    def latest(self) -> int | None:
        """Largest arrival read so far, None without any."""
        ...

    def take(self, batch: int, sequence: int, until: int | None = None) -> tuple[list[Item], list[Run]]:
        """Read the next available records, at most ``batch``, due until ``until``; return the choices too."""
        ...

    def repeat(self, runs: tuple[Run, ...], sequence: int) -> list[Item] | None:
        """Read the records of former choices again; None while they are still on their way."""
        ...

    def ended(self) -> bool:
        """Whether there will never be more, after `take` had nothing."""
        ...

    def silent_since(self, asked: int) -> int | None:
        """Confirm silence after `take`, called at an instant of `clocks.now`, had nothing.

        Returns:
            The latest instant at which surely nothing was left to read; None if unknown.
        """
        ...

    def due(self) -> int | None:
        """Time at which the next record plays, by arrival or its own time; None if any time or no record."""
        ...

    def state(self) -> Any:  # noqa: ANN401 - plain data of any shape
        """Positions of reading, as plain data for a snapshot."""
        ...

    def committed(self, state: Any) -> None:  # noqa: ANN401 - what `state` returned
        """Note that no resume goes back behind this state any more."""
        ...

    def close(self) -> None:
        """Close everything."""
        ...


class LanePartition(StatefulSourcePartition[Item, bytes]):
    """The one partition of a lane.

    Args:
        reading: the input.
        status: of the run; counts what is read, and requests the stop.
        batch: number of records at once.
        sequence: sequence of the last record read before.
        entry: number of the next entry of the journal.
        journal: order journal, if the order cannot be found again.
        replayed: entries of another run's journal; the input ends with them.
        ticker: makes ticks, None for none.
        pace: plays at a multiple of real time, None for as fast as possible.
    """

    def __init__(
        self,
        reading: Reading,
        status: RunStatus,
        batch: int,
        begun: tuple[int, int],
        *,
        journal: Journal | None = None,
        replayed: Iterator[Entry] | None = None,
        ticker: Ticker | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._reading = reading
        self._status = status
        self._progress = ProgressLog(status)
        self._batch = batch
        self._sequence, self._entry = begun
        status.began = status.records = self._sequence
        self._ticks = 0
        self._journal = journal
        self._replays = replayed is not None
        chosen: Iterable[Entry] = () if journal is None else journal.entries(self._entry)
        self._repeated = iter(chosen if replayed is None else replayed)
        self._next: Entry | None = None
        self._ticker = ticker
        self._pace = pace
        self._idle = False
        self._snapped = self._entry, reading.state()

    @override
    def next_batch(self) -> list[Item]:
        self._progress.write()
        if self._status.stop or self._status.intake.hopeless():
            raise StopIteration
        # An entry whose records are still on their way is tried again.
        entry = self._next = self._next or next(self._repeated, None)
        items = self._take() if entry is None else self._repeat(entry)
        self._idle = not items
        if self._idle and entry is None and (self._replays or self._reading.ended()) and not self._waits():
            raise StopIteration
        self._status.records = self._sequence
        self._status.done = self._reading.read
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
                return []
            items = self._taken(repeated)
        self._entry += 1
        self._next = None
        return items

    def _take(self) -> list[Item]:
        """Read the available records; if there are none, perhaps make a tick."""
        if self._replays:
            return []
        # Read the clock before the input: a process that was stopped in between, for however long, must not
        # treat that time as silence.
        asked = now()
        until = None if self._pace is None else self._pace.until(self._reading.due())
        items, runs = self._reading.take(self._batch, self._sequence, until)
        if items:
            self._write(tuple(runs))
            if self._ticker is not None:
                self._ticker.read(self._reading.latest)
            return self._taken(items)
        silent = None if self._ticker is None else self._reading.silent_since(asked)
        arrival = None if self._ticker is None or silent is None else self._ticker.tick(silent)
        if arrival is None:
            return []
        self._write(arrival)
        return [self._tick(arrival)]

    def _taken(self, items: list[Item]) -> list[Item]:
        self._sequence += len(items)
        self._ticks = 0
        return items

    def _tick(self, arrival: int) -> Item:
        self._ticks += 1
        return Item(self._sequence, self._ticks, arrival, arrival, ("", 0, 0), Tick(arrival))

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
        return self._reading.kind.seal((self._sequence, *self._snapped))

    @override
    def close(self) -> None:
        self._reading.close()
        if self._journal is not None:
            self._journal.close()


class LaneSource(FixedPartitionedSource[Item, bytes]):
    """A source with one lane.

    Attributes:
        total: amount to read, None if unknown.
        kind: kind of its snapshots, see `Reading`.
    """

    total: int | None = None
    kind: Kind[StoredInput]

    @override
    def list_parts(self) -> list[str]:
        return ["lane-0"]

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> LanePartition:
        if resume_state is None:
            return self.begun(0, 0, None)
        return self.begun(*self.kind.unseal(resume_state))

    @abstractmethod
    def begun(self, sequence: int, entry: int, state: Any) -> LanePartition:  # noqa: ANN401
        """Build the partition at its position: the last record, the next entry, and the input."""
