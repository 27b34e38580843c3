"""The source of a lane: records of whatever is read, as one sequence, repeated exactly on resume.

What is read is a `Reading`: it knows how records of several files or partitions become one order. The source
numbers them, keeps the order journal where that order cannot be found again, and puts ticks between them.
"""

from __future__ import annotations

from abc import abstractmethod
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from typing_extensions import override

from dataflows.connectors.clocks import Pace, Ticker, now
from dataflows.connectors.lines import InputError
from dataflows.connectors.pulse import Pulse
from dataflows.items import Item, Tick
from dataflows.snapshots import Older, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dataflows.connectors.journal import Entry, Journal, Run
    from dataflows.snapshots import Older
    from dataflows.watch import Watch

__all__ = ["LanePartition", "LaneSource", "Reading"]


class Reading(Protocol):
    """What a source reads: several files or partitions, merged.

    Attributes:
        kind: of its snapshots.
        version: of its snapshots.
        poll: how long to wait before it is asked again, after it had nothing; zero for at once.
    """

    kind: str
    version: int
    poll: timedelta

    @property
    def read(self) -> int:
        """How much was read, in the unit of `LaneSource.total`."""
        ...

    @property
    def latest(self) -> int | None:
        """The largest arrival that was taken, None without any."""
        ...

    def take(self, batch: int, sequence: int, until: int | None = None) -> tuple[list[Item], list[Run]]:
        """The next records that are there, at most ``batch``, none due later than ``until``; how chosen."""
        ...

    def repeat(self, runs: tuple[Run, ...], sequence: int) -> list[Item] | None:
        """The records of runs that were chosen before; None while they are still on their way."""
        ...

    def ended(self) -> bool:
        """After `take` had nothing: whether there will never be more."""
        ...

    def silent_since(self, asked: int) -> int | None:
        """After `take`, called at an instant of `clocks.now`, had nothing.

        Returns:
            The latest instant at which nothing untaken was there, for sure; None if that is not known.
        """
        ...

    def due(self) -> int | None:
        """When the next record plays, by its arrival or its time; None if at any time or there is none."""
        ...

    def state(self) -> Any:  # noqa: ANN401 - plain data of any shape
        """Where reading stands, as plain data for a snapshot."""
        ...

    def committed(self, state: Any) -> None:  # noqa: ANN401 - what `state` returned
        """No resume goes back behind this state any more."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class LanePartition(StatefulSourcePartition[Item, bytes]):
    """The one partition of a lane.

    Args:
        reading: what is read.
        watch: told how far the source is; says when to stop.
        batch: records at once.
        sequence: of the last record that was read before.
        entry: number of the next entry of the journal.
        journal: kept where the order cannot be found again.
        replayed: entries of another run's journal; when they end, so does the input.
        ticker: makes ticks, None for none.
        pace: plays at a multiple of real time, None for as fast as possible.
    """

    def __init__(
        self,
        reading: Reading,
        watch: Watch,
        batch: int,
        begun: tuple[int, int],
        *,
        journal: Journal | None = None,
        replayed: Iterator[Entry] | None = None,
        ticker: Ticker | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._reading = reading
        self._watch = watch
        self._pulse = Pulse(watch)
        self._batch = batch
        self._sequence, self._entry = begun
        watch.began = watch.records = self._sequence
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
        self._pulse.beat()
        if self._watch.stop or self._watch.intake.hopeless():
            raise StopIteration
        # An entry whose records are still on their way is tried again.
        entry = self._next = self._next or next(self._repeated, None)
        items = self._take() if entry is None else self._repeat(entry)
        self._idle = not items
        if self._idle and entry is None and (self._replays or self._reading.ended()) and not self._waits():
            raise StopIteration
        self._watch.records = self._sequence
        self._watch.done = self._reading.read
        return items

    def _waits(self) -> bool:
        """Whether there is more, but not yet."""
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
        """What is there now; where nothing is, perhaps a tick."""
        if self._replays:
            return []
        # The clock comes before the look at what is read: a process that was stopped in between, for
        # however long, must not take what is there by now for silence.
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
        self._pulse.epoch()
        # The epoch before this one is committed, so no resume goes back behind it.
        entry, state = self._snapped
        if self._journal is not None:
            self._journal.sync()
            self._journal.forget(entry)
        self._reading.committed(state)
        self._snapped = self._entry, self._reading.state()
        return seal(self._reading.kind, self._reading.version, (self._sequence, *self._snapped))

    @override
    def close(self) -> None:
        self._reading.close()
        if self._journal is not None:
            self._journal.close()


class LaneSource(FixedPartitionedSource[Item, bytes]):
    """A source with one lane.

    Attributes:
        total: how much there is to read, None where that is not known.
        older: how snapshots of older versions become newer ones.
    """

    total: int | None = None
    kind: str
    version: int
    older: ClassVar[Older] = {}

    @override
    def list_parts(self) -> list[str]:
        return ["lane-0"]

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> LanePartition:
        if resume_state is None:
            return self.begun(0, 0, None)
        return self.begun(*unseal(self.kind, self.version, resume_state, self.older))

    @abstractmethod
    def begun(self, sequence: int, entry: int, state: Any) -> LanePartition:  # noqa: ANN401
        """The partition from where it stands: the last record, the next entry, and what is read."""
