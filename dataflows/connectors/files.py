"""Files in and files out, both exact across a kill.

The source remembers the next unread byte of each file and the next sequence; following files that grow, it
writes what it chose to the order journal before it emits it. The sink remembers its length, and cuts the
file back to it on resume: rows of an epoch that a kill undid are written again by the epoch that redoes it.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import orjson
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from typing_extensions import override

from dataflows.connectors.clocks import Pace, Ticker, now
from dataflows.connectors.committed import Committed, length_of, sealed_length
from dataflows.connectors.journal import Entry, Journal, Run, entries_of
from dataflows.connectors.lines import STDIN, InputError, expand, is_packed
from dataflows.connectors.merge import Merge, Place
from dataflows.connectors.pulse import Pulse
from dataflows.items import OUTPUTS, Item, Row, Tick
from dataflows.snapshots import seal, unseal
from dataflows.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dataflows.fleet.plan import Fleet, Input

__all__ = ["SUMMARY", "FileSink", "FileSource", "OutputError"]

SUMMARY = "summary"
_VERSION = 2
#: How long a source waits before it looks again into files that had nothing new.
_POLL = timedelta(milliseconds=50)


class _FilePartition(StatefulSourcePartition[Item, bytes]):
    def __init__(self, source: FileSource, resume: bytes | None) -> None:
        self._source = source
        self._watch = source.watch
        self._pulse = Pulse(source.watch)
        self._sequence = self._entry = self._ticks = 0
        self._snapped = 0
        places: list[Place] = []
        if resume is not None:
            places = self._restore(unseal("files", _VERSION, resume))
        self._journal = source.open_journal()
        self._merge = Merge(source.groups, places, follow=source.follow, plain=source.plain)
        self._repeated = self._entries()
        self._ticker = Ticker(source.input.tick_every, source.input.tick_slack) if source.ticks else None
        self._pace = None if source.speed is None else Pace(source.speed)
        self._idle = False

    def _restore(self, state: list[Any]) -> list[Place]:
        self._sequence, self._entry, begun = state
        self._snapped = self._entry
        read, paths = [path for path, _ in begun], self._source.paths
        if STDIN in {*read, *paths}:
            msg = "standard input cannot be resumed; give files, or run without recovery"
            raise InputError(msg)
        if paths[: len(read)] != read:
            msg = (
                f"the recovery store has read {read}, the input is now {paths}; files already read "
                "must stay, in their order (new ones may follow); or start with a new store"
            )
            raise InputError(msg)
        return [Place(*place) for _, place in begun]

    def _entries(self) -> Iterator[Entry]:
        """What was chosen before, and is repeated."""
        if self._source.replayed is not None:
            return entries_of(self._source.replayed, len(self._source.paths))
        return iter(()) if self._journal is None else self._journal.entries(self._entry)

    @override
    def next_batch(self) -> list[Item]:
        self._pulse.beat()
        if self._watch.stop:
            raise StopIteration
        entry = next(self._repeated, None)
        items = self._take() if entry is None else self._repeat(entry)
        self._idle = not items
        if self._idle and not self._source.follow and not self._waits():
            raise StopIteration
        self._watch.records = self._sequence
        self._watch.done = self._merge.read
        return items

    def _waits(self) -> bool:
        """Whether there is more, but not yet."""
        return self._pace is not None and self._merge.due() is not None

    def _repeat(self, entry: Entry) -> list[Item]:
        if entry.sequence != self._sequence or entry.number != self._entry:
            msg = (
                f"entry {entry.number:,} of the order journal follows record {entry.sequence:,}, the source "
                f"has read {self._sequence:,} records in {self._entry:,} entries: a part was read without "
                "this journal. Restore the journal and its store from one backup, or start over (--fresh)"
            )
            raise InputError(msg)
        self._entry += 1
        if isinstance(entry.chosen, int):
            return [self._tick(entry.chosen)]
        return self._taken(self._merge.repeat(entry.chosen, self._sequence))

    def _take(self) -> list[Item]:
        """What is there now; where nothing is, perhaps a tick."""
        if self._source.replayed is not None:
            return []
        # The clock comes before the look into the files: a process that was stopped in between, for
        # however long, must not take what is in them by now for silence.
        asked = now()
        until = None if self._pace is None else self._pace.until(self._merge.due())
        items, runs = self._merge.take(self._source.input.batch, self._sequence, until)
        if items:
            self._write(tuple(runs))
            if self._ticker is not None:
                self._ticker.read(self._merge.latest)
            return self._taken(items)
        arrival = None if self._ticker is None else self._ticker.tick(asked)
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
        return datetime.now(UTC) + _POLL if self._idle else None

    @override
    def snapshot(self) -> bytes:
        self._pulse.epoch()
        if self._journal is not None:
            self._journal.sync()
            # The epoch before this one is committed, so no resume goes back behind it.
            self._journal.forget(self._snapped)
            self._snapped = self._entry
        begun = list(zip(self._source.paths, self._merge.places(), strict=False))
        return seal("files", _VERSION, (self._sequence, self._entry, begun))

    @override
    def close(self) -> None:
        self._merge.close()
        if self._journal is not None:
            self._journal.close()


class FileSource(FixedPartitionedSource[Item, bytes]):
    """One lane: registry files first, then the input files merged by arrival, as one sequence.

    Args:
        given: paths and globs; ``-`` alone is standard input. Gzip is recognised by its first bytes. With
            ``follow`` they are read as they grow, and the run ends only when it is stopped.
        watch: told how far the source is; says when to stop.
        registry: files of registry rows.
        ticks: put ticks into the sequence where nothing arrives.
        journal: folder of the order journal; None keeps none.
        replayed: folder of an order journal to repeat; when it ends, so does the input.
        speed: multiple of real time at which records are played, by their arrival, else by their own time;
            None for as fast as possible.

    Raises:
        InputError: a file does not exist, or cannot be read in this way.
    """

    def __init__(
        self,
        given: Input,
        watch: Watch,
        *,
        registry: tuple[str, ...] = (),
        ticks: bool = False,
        journal: Path | None = None,
        replayed: Path | None = None,
        speed: float | None = None,
    ) -> None:
        self.input = given
        self.watch = watch
        first, files = expand(registry) if registry else [], expand(given.files)
        self.groups = [*([path] for path in first), files]
        self.paths = [*first, *files]
        self.follow = given.follow and replayed is None
        self.ticks = ticks and self.follow
        self.replayed = replayed
        self.speed = speed
        self._journal = journal
        for path in files if self.follow else ():
            if path == STDIN or is_packed(path):
                msg = f"{path!r} cannot be followed, only plain files can; set `follow = false` under [input]"
                raise InputError(msg)

    @classmethod
    def of(cls, fleet: Fleet, watch: Watch, store: Path | None) -> FileSource:
        """The source of a fleet's configured input.

        Args:
            fleet: the fleet.
            watch: see the class.
            store: folder of the recovery store, beside which the order journal is kept; None without one.
        """
        waits = any(found.idle_timeout is not None for found in fleet.classes.values())
        journal = None if store is None else store / "journal"
        return cls(fleet.input, watch, registry=fleet.assets.registry, ticks=waits, journal=journal)

    @property
    def plain(self) -> bool:
        """Whether records need not be decoded to be put in order."""
        return not self.follow and self.replayed is None and self.speed is None and not self._journaled

    @property
    def _journaled(self) -> bool:
        """A store that was once followed goes on with its journal, whatever it reads now."""
        return self._journal is not None and (self.follow or self._journal.exists())

    def open_journal(self) -> Journal | None:
        """The order journal, None where what is read is its own order."""
        if self._journal is None or not self._journaled or self.replayed is not None:
            return None
        return Journal(self._journal, self.paths, self.input.journal_keep)

    @override
    def list_parts(self) -> list[str]:
        return ["lane-0"]

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> _FilePartition:
        return _FilePartition(self, resume_state)


class OutputError(RuntimeError):
    """An output cannot be written."""


class _RowsPartition(StatefulSinkPartition[Item, bytes]):
    def __init__(self, path: Path, watch: Watch, resume: bytes | int | None) -> None:
        self._watch = watch
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        length = length_of(resume)
        found = path.stat().st_size if path.exists() else 0
        if found < length:
            msg = (
                f"{path} holds {found:,} bytes, the recovery store knows of {length:,}: rows are gone. "
                "Restore the file together with its store, or start with a new store and folder"
            )
            raise InputError(msg)
        self._file = path.open("ab")
        self._file.truncate(length)
        self._file.seek(length)
        self._committed = Committed(path, length, watch)

    @override
    def write_batch(self, values: list[Item]) -> None:
        rows = [cast("Row", item.body) for item in values]
        lines = [row.data for row in rows]
        self._watch.rejected.update(row.reason for row in rows if row.reason is not None)
        lines.append(b"")
        try:
            self._file.write(b"\n".join(lines))
        except OSError as error:
            raise self._full(error) from error

    @override
    def snapshot(self) -> bytes:
        # The store must never remember more than the disk holds, not even after a power cut.
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._full(error) from error
        length = self._file.tell()
        self._committed.snapshot(length)
        return sealed_length(length)

    def _full(self, error: OSError) -> OutputError:
        msg = (
            f"{self._path} cannot be written ({error.strerror}); make room on its disk and run again: "
            "the run goes on where it was, and no row is lost or twice"
        )
        return OutputError(msg)

    @override
    def close(self) -> None:
        self._file.close()


class _SummaryPartition(StatefulSinkPartition[Item, None]):
    """``summary.json``: written anew at each end of the input."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._summary: dict[str, Any] = {}

    @override
    def write_batch(self, values: list[Item]) -> None:
        for item in values:
            _add(self._summary, orjson.loads(cast("Row", item.body).data))
        ordered = {key: self._summary[key] for key in sorted(self._summary)}
        written = self._path.with_suffix(".json.part")
        written.write_bytes(orjson.dumps(ordered, option=orjson.OPT_INDENT_2) + b"\n")
        written.replace(self._path)

    @override
    def snapshot(self) -> None:
        return None


def _add(summary: dict[str, Any], said: dict[str, Any]) -> None:
    """Join tables, and add up the counts that several stages tell."""
    for key, value in said.items():
        before = summary.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            _add(before, value)
        elif isinstance(before, int) and isinstance(value, int):
            summary[key] = before + value
        else:
            summary[key] = value


class FileSink(FixedPartitionedSink[Item, Any]):
    """``<output>.jsonl`` for each output, and ``summary.json``, in one folder; items are keyed by output.

    Beside each, ``<output>.committed`` tells its length that is final.
    At the end of the input every output has its file, if only an empty one.

    Args:
        folder: made if it is new.
        watch: told what was rejected.
    """

    def __init__(self, folder: Path, watch: Watch | None = None) -> None:
        self._folder = folder
        self._watch = watch or Watch()
        # The engine numbers the parts in the order of their names, and asks for the number of every row.
        self._numbers = {name: number for number, name in enumerate(sorted([*OUTPUTS, SUMMARY]))}

    @override
    def list_parts(self) -> list[str]:
        return [*OUTPUTS, SUMMARY]

    @override
    def part_fn(self, item_key: str) -> int:
        return self._numbers[item_key]

    @override
    def build_part(
        self, step_id: str, for_part: str, resume_state: bytes | int | None
    ) -> StatefulSinkPartition[Item, Any]:
        if for_part == SUMMARY:
            self._folder.mkdir(parents=True, exist_ok=True)
            # The engine asks for a part with its first row, for the summary's at the end: an output that had
            # none by then is an empty file, for whoever looks for it.
            for name in OUTPUTS:
                (self._folder / f"{name}.jsonl").touch()
            return _SummaryPartition(self._folder / "summary.json")
        return _RowsPartition(self._folder / f"{for_part}.jsonl", self._watch, resume_state)
