"""Files in and files out, both exact across a kill.

The source remembers the next unread byte of each file and the next sequence. When it follows growing files,
it writes each choice to the order journal before it emits it. The sink remembers its length, and cuts the
file back
to it on resume: the repeated epoch writes the rows of the interrupted one again.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import orjson
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from typing_extensions import override

from dataflows.connectors.clocks import Pace, Ticker
from dataflows.connectors.file_sink import RotatingPartition, RowsPartition, parts_of
from dataflows.connectors.lines import STDIN, InputError, expand, is_packed, size_of
from dataflows.connectors.merge import FilePosition, Merge
from dataflows.connectors.order_journal import Journal, entries_of
from dataflows.connectors.source import LanePartition, LaneSource, StoredInput
from dataflows.disk import replace_file, sync_folder
from dataflows.items import Item, Row
from dataflows.outputs import OUTPUTS
from dataflows.state.snapshots import Kind
from dataflows.status import RunStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataflows.fleet.fleet import Input

__all__ = ["FILES", "SUMMARY", "FileSink", "FileSource", "OutputSink", "SummaryPartition"]

SUMMARY = "summary"


def _without_fingerprints(payload: list[Any]) -> list[Any]:
    """Upgrade version 2: it has no digests of the files, so nothing is checked."""
    sequence, entry, begun = payload
    return [sequence, entry, [[*found, b""] for found in begun]]


def _stored(payload: list[Any]) -> StoredInput:
    records, entries, begun = payload
    return StoredInput(records, entries, [(path, place[0]) for path, place, _ in begun], {}, [])


#: Snapshots of a source of files.
FILES: Kind[StoredInput] = Kind("files", 3, {2: _without_fingerprints}, describe=_stored)
#: Bytes at the beginning of a file, and before the next unread one, that identify it.
_RECOGNISED = 4096


class _Files(Merge):
    """Files as a source reads them."""

    kind = FILES
    poll = timedelta(milliseconds=50)

    def __init__(self, source: FileSource, places: Sequence[FilePosition]) -> None:
        registry = len(source.groups) - 1
        super().__init__(source.groups, places, follow=source.follow, plain=source.plain, registry=registry)
        self._paths = source.paths
        self._endless = source.follow
        #: Registry files come first, and may be exported again.
        self._rewritable = registry
        #: Position and digest that identify each other file.
        self._fingerprints: dict[str, tuple[int, bytes]] = {}

    def ended(self) -> bool:
        return not self._endless

    def silent_since(self, asked: int) -> int:
        return asked

    def state(self) -> list[tuple[str, FilePosition, bytes]]:
        places = enumerate(zip(self._paths, self.places(), strict=False))
        return [
            (path, place, b"" if number < self._rewritable else self._fingerprint(path, place.offset))
            for number, (path, place) in places
        ]

    def _fingerprint(self, path: str, offset: int) -> bytes:
        known = self._fingerprints.get(path)
        if known is None or known[0] != offset:
            known = self._fingerprints[path] = offset, fingerprint(path, offset)
        return known[1]

    def committed(self, state: list[tuple[str, FilePosition, bytes]]) -> None:
        """Do nothing: only the recovery store needs the positions."""


class FileSource(LaneSource):
    """One lane: registry files first, then the input files merged by arrival, as one sequence.

    Args:
        given: paths and globs; ``-`` alone is standard input. Gzip is recognised by its first bytes. With
            ``follow`` they are read as they grow, and the run ends only when it is stopped.
        status: of the run; counts what is read, and requests the stop.
        registry: files of registry rows.
        ticks: put ticks into the sequence while nothing arrives.
        journal: folder of the order journal; None writes none.
        always_journal: write it for files that do not grow, too.
        replayed: folder of an order journal to repeat; the input ends with it.
        speed: multiple of real time for playing records, by arrival, else by their own time; None for as
            fast as possible.

    Raises:
        InputError: a file does not exist, or cannot be read in this way.
    """

    kind = FILES

    def __init__(
        self,
        given: Input,
        status: RunStatus,
        *,
        registry: tuple[str, ...] = (),
        ticks: bool = False,
        journal: Path | None = None,
        always_journal: bool = False,
        replayed: Path | None = None,
        speed: float | None = None,
    ) -> None:
        self.input = given
        self.status = status
        first, files = expand(registry) if registry else [], expand(given.files)
        self.groups = [*([path] for path in first), files]
        self.paths = [*first, *files]
        self.follow = given.follow and replayed is None
        self.ticks = ticks and self.follow
        self.replayed = replayed
        self.speed = speed
        self._journal = journal
        self._always_journal = always_journal
        for path in files if self.follow else ():
            if path == STDIN or is_packed(path):
                msg = f"{path!r} cannot be followed, only plain files can; set `follow = false` under [input]"
                raise InputError(msg)
        self.total = None if self.follow or STDIN in files else sum(map(size_of, self.paths))

    @property
    def plain(self) -> bool:
        """Whether records can be ordered without decoding."""
        return not self.follow and self.replayed is None and self.speed is None and not self._journaled

    @property
    def _journaled(self) -> bool:
        """Whether to use the journal: a store with followed input keeps its journal for any later input."""
        return self._journal is not None and (self.follow or self._always_journal or self._journal.exists())

    def open_journal(self) -> Journal | None:
        """Open the order journal; None if the input itself fixes the order."""
        if self._journal is None or not self._journaled or self.replayed is not None:
            return None
        return Journal(self._journal, self.paths, self.input.journal_keep)

    @override
    def begun(self, sequence: int, entry: int, state: Any) -> LanePartition:
        reading = _Files(self, () if state is None else self._places(state))
        # Opening already refused a file that was cut.
        self._check_read(state or [])
        return LanePartition(
            reading,
            self.status,
            self.input.batch,
            (sequence, entry),
            journal=self.open_journal(),
            replayed=None if self.replayed is None else entries_of(self.replayed, len(self.paths)),
            ticker=Ticker(self.input.tick_every, self.input.tick_slack) if self.ticks else None,
            pace=None if self.speed is None else Pace(self.speed),
        )

    def _places(self, begun: list[Any]) -> list[FilePosition]:
        """Position in each file, if the files are still those of the store."""
        read = [path for path, *_ in begun]
        if STDIN in {*read, *self.paths}:
            msg = "standard input cannot be resumed; give files, or run without recovery"
            raise InputError(msg)
        if self.paths[: len(read)] != read:
            msg = (
                f"the recovery store has read {read}, the input is now {self.paths}; files already read "
                "must stay, in their order (new ones may follow); or start with a new store"
            )
            raise InputError(msg)
        return [FilePosition(*place) for _, place, _ in begun]

    @staticmethod
    def _check_read(begun: list[Any]) -> None:
        """Check that the read part of each file is unchanged."""
        for path, place, before in begun:
            offset = FilePosition(*place).offset
            if before and fingerprint(path, offset) != before:
                msg = (
                    f"{path} is another file than the one of which {offset:,} bytes were read before: it was "
                    "written again under the same name. Put the former file back, give the new one another "
                    "name beside it, or read everything from the beginning (--fresh)"
                )
                raise InputError(msg)


def fingerprint(path: str, offset: int) -> bytes:
    """Digest that identifies the read part of a file; empty if nothing was read.

    Args:
        path: the file. A packed file does not grow, and counts as read as a whole.
        offset: offset of the next unread byte.

    Raises:
        OSError: the file cannot be read.
    """
    if path == STDIN or not offset:
        return b""
    packed = is_packed(path)
    end = size_of(path) if packed else offset
    with Path(path).open("rb") as file:
        head = file.read(min(_RECOGNISED, end))
        file.seek(max(0, end - _RECOGNISED))
        tail = file.read(min(_RECOGNISED, end))
    return hashlib.blake2b(b"%d %d " % (end, packed) + head + tail, digest_size=12).digest()


class SummaryPartition(StatefulSinkPartition[Item, None]):
    """``summary.json``: replaced at each end of the input."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._summary: dict[str, Any] = {}

    @override
    def write_batch(self, values: list[Item]) -> None:
        for item in values:
            _add(self._summary, orjson.loads(cast("Row", item.body).data))
        ordered = {key: self._summary[key] for key in sorted(self._summary)}
        replace_file(self._path, orjson.dumps(ordered, option=orjson.OPT_INDENT_2) + b"\n")

    @override
    def snapshot(self) -> None:
        return None


def _add(summary: dict[str, Any], said: dict[str, Any]) -> None:
    """Join tables, and add up the counts of several stages."""
    for key, value in said.items():
        before = summary.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            _add(before, value)
        elif isinstance(before, int) and isinstance(value, int):
            summary[key] = before + value
        else:
            summary[key] = value


class OutputSink(FixedPartitionedSink[Item, Any]):
    """A part for each output, and one for the summary; items are keyed by output."""

    def __init__(self) -> None:
        # The engine numbers the parts in the order of their names, and calls this for every row.
        self._numbers = {name: number for number, name in enumerate(sorted([*OUTPUTS, SUMMARY]))}

    @override
    def list_parts(self) -> list[str]:
        return [*OUTPUTS, SUMMARY]

    @override
    def part_fn(self, item_key: str) -> int:
        return self._numbers[item_key]


class FileSink(OutputSink):
    """``<output>.jsonl`` for each output, and ``summary.json``, in one folder; items are keyed by output.

    ``<output>.committed`` holds the final length of each.
    At the end of the input every output has its file, if only an empty one.

    Args:
        folder: created if missing.
        status: of the run; counts rejected rows.
        rotate: bytes of a file, or ``daily``, after which an output starts a new file, see
            `dataflows.connectors.file_sink`.
    """

    def __init__(
        self, folder: Path, status: RunStatus | None = None, rotate: int | Literal["daily"] | None = None
    ) -> None:
        self._folder = folder
        self._rotate = rotate
        self._status = status or RunStatus()
        super().__init__()

    @override
    def build_part(
        self, step_id: str, for_part: str, resume_state: bytes | int | None
    ) -> StatefulSinkPartition[Item, Any]:
        if for_part == SUMMARY:
            self._folder.mkdir(parents=True, exist_ok=True)
            # The engine asks for a part at its first row, and for the summary's at the end: an output without
            # rows by then gets an empty file, for programs that look for it.
            for name in OUTPUTS:
                (self._folder / f"{name}.jsonl").touch()
            sync_folder(self._folder)
            return SummaryPartition(self._folder / "summary.json")
        path = self._folder / f"{for_part}.jsonl"
        if self._rotate is None and not parts_of(path):
            return RowsPartition(path, self._status, resume_state)
        return RotatingPartition(path, self._status, resume_state, self._rotate)
