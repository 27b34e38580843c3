"""Files in and files out, both exact across a kill.

The source remembers the next unread byte of each file and the next sequence. When it follows growing files,
it writes each choice to the order journal before it emits it. The sink remembers its length, and cuts the
file back
to it on resume: the repeated epoch writes the rows of the interrupted one again.
"""

from __future__ import annotations

import gzip
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from typing_extensions import override

from dataflows.connectors.arrivals import MAX_JUMP
from dataflows.connectors.file_sink import OUTPUT, RotatingPartition, RowsPartition, parts_of
from dataflows.connectors.lines import STDIN, InputError, expand, is_packed, size_of
from dataflows.connectors.merge import FilePosition, Merge
from dataflows.connectors.sink import Sink, SummaryPartition
from dataflows.connectors.source import LaneSource, Reading, StoredInput
from dataflows.disk import sync_folder
from dataflows.mapping.live import rows_of_file
from dataflows.outputs import OUTPUTS
from dataflows.state.snapshots import Kind
from dataflows.status import RunStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bytewax.outputs import StatefulSinkPartition

    from dataflows.connectors.source import LaneOptions
    from dataflows.fleet.fleet import Fleet, Input
    from dataflows.items import Item
    from dataflows.mapping.live import LiveRows

__all__ = ["FILES", "FileSink", "FileSource"]


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


class _Files(Merge, Reading):
    """Files as a source reads them."""

    poll = timedelta(milliseconds=50)

    def __init__(self, source: FileSource, places: Sequence[FilePosition]) -> None:
        registry = len(source.groups) - 1
        super().__init__(
            source.groups,
            places,
            follow=source.follow,
            plain=source.plain,
            registry=registry,
            max_jump=source.max_jump,
            rows=source.rows_of,
        )
        self.names = source.paths
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
        places = enumerate(zip(self.names, self.places(), strict=False))
        return [
            (path, place, b"" if number < self._rewritable else self._fingerprint(path, place.offset))
            for number, (path, place) in places
        ]

    def _fingerprint(self, path: str, offset: int) -> bytes:
        known = self._fingerprints.get(path)
        if known is None or known[0] != offset:
            known = self._fingerprints[path] = offset, fingerprint(path, offset)
        return known[1]


class FileSource(LaneSource):
    """Lanes of files: registry files first, then the input files merged by arrival, as one sequence.

    Of several lanes each has some of the entries of the input, with the files that they name, and the shared
    files.

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

    Attributes:
        max_jump: microseconds that an arrival may lie ahead, see `dataflows.connectors.arrivals`.

    Raises:
        InputError: a file does not exist, or cannot be read in this way.
    """

    kind = FILES
    max_jump: int = MAX_JUMP

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
        super().__init__(given, status, ticks=ticks, journal=journal, replayed=replayed, speed=speed)
        self._first, files = expand(registry) if registry else [], expand(given.files)
        self.groups, self.paths = self._merged(files)
        self._always_journal = always_journal
        for path in files if self.follow else ():
            if path == STDIN or is_packed(path):
                msg = f"{path!r} cannot be followed, only plain files can; set `follow = false` under [input]"
                raise InputError(msg)
        self.total = None if self.follow or STDIN in files else sum(map(size_of, self.paths))

    @classmethod
    @override
    def of(cls, fleet: Fleet, status: RunStatus, **lane: Unpack[LaneOptions]) -> Self:
        # Rows in a topic cannot be taken back, so the order that made them has to be repeated.
        always = fleet.output.kafka is not None
        source = cls(fleet.input, status, registry=fleet.assets.registry, always_journal=always, **lane)
        source.max_jump = fleet.assets.max_arrival_jump
        return source

    def _merged(self, files: list[str]) -> tuple[list[list[str]], list[str]]:
        """Groups of paths as `Merge` takes them, and all of these paths."""
        return [*([path] for path in self._first), files], [*self._first, *files]

    @override
    def of_lane(self, lane: int) -> Self:
        source = super().of_lane(lane)
        if self.input.lanes > 1:
            shared = self.input.shared
            own = [entry for entry in self.input.files if entry not in shared][lane :: self.input.lanes]
            source.groups, source.paths = self._merged(expand((*own, *shared)))
        return source

    @property
    def plain(self) -> bool:
        """Whether records can be ordered without decoding."""
        mapped = bool(self.input.rules)
        return not (self.follow or mapped or self.journaled) and self.replayed is None and self.speed is None

    def rows_of(self, path: str) -> LiveRows | None:
        """Return what makes events of the rows of a file, None for a file that holds events."""
        given = self.input
        return rows_of_file(path, given.rules) if given.rules and path not in given.recorded else None

    @property
    @override
    def journaled(self) -> bool:
        # A store with followed input keeps its journal for any later input.
        return self.journal is not None and (self.follow or self._always_journal or self.journal.exists())

    @override
    def open(self, state: Any) -> Reading:
        reading = _Files(self, () if state is None else self._places(state))
        if self.follow and self.input.rules:
            self.status.register_part("unmatched", self.lane, reading.unmatched)
        # Opening already refused a file that was cut.
        self._check_read(state or [])
        return reading

    def _places(self, begun: list[Any]) -> list[FilePosition]:
        """Position in each file, if the files are still those of the store."""
        read = [path for path, *_ in begun]
        if STDIN in {*read, *self.paths}:
            msg = "standard input cannot be resumed; give files, or run without recovery"
            raise InputError(msg)
        registry = len(self.groups) - 1
        before = read[: len(read) - len(self.paths) + registry]
        # Of registry files no fingerprint is kept.
        were_registry = not any(fingerprint for *_, fingerprint in begun[: len(before)])
        moved = before != self.paths[:registry] and read[len(before) :] == self.paths[registry:]
        if moved and were_registry:
            msg = (
                f"the recovery store has read the registry files {before}, `registry` under [assets] names "
                f"{self.paths[:registry]} now. A store keeps its registry files: add the rows to one of "
                "them, which may be written again, or send them with the input; or start with a new store"
            )
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
            # That of former releases reads the file once more, so it comes last.
            if before and before != fingerprint(path, offset) and before != _packed_fingerprint(path):
                msg = (
                    f"{path} is not the file whose first {offset:,} bytes were read before: it was "
                    "written again under the same name. Put the former file back, give the new one another "
                    "name, or read everything from the beginning (--fresh)"
                )
                raise InputError(msg)


def fingerprint(path: str, offset: int) -> bytes:
    """Digest that identifies the read part of a file; empty if nothing was read.

    Of a packed file it is that of the beginning of its contents: if it was damaged, and is whole now, it is
    the same.

    Args:
        path: the file.
        offset: offset of the next unread byte of its contents.

    Raises:
        OSError: the file cannot be read.
    """
    if path == STDIN or not offset:
        return b""
    if is_packed(path):
        with gzip.open(path) as packed:
            head = packed.read(min(_RECOGNISED, offset))
        return hashlib.blake2b(b"contents " + head, digest_size=12).digest()
    return _digest_of_ends(path, offset, packed=False)


def _packed_fingerprint(path: str) -> bytes:
    """Digest by which former releases knew a packed file: of the file as a whole; empty for any other."""
    return _digest_of_ends(path, size_of(path), packed=True) if path != STDIN and is_packed(path) else b""


def _digest_of_ends(path: str, end: int, *, packed: bool) -> bytes:
    with Path(path).open("rb") as file:
        head = file.read(min(_RECOGNISED, end))
        file.seek(max(0, end - _RECOGNISED))
        tail = file.read(min(_RECOGNISED, end))
    return hashlib.blake2b(b"%d %d " % (end, packed) + head + tail, digest_size=12).digest()


class FileSink(Sink):
    """``<output>.jsonl`` for each output, and ``summary.json``, in one folder; items are keyed by output.

    ``<output>.committed`` holds the final length of each.
    At the end of the input every output has its file, if only an empty one.

    Args:
        folder: created if missing.
        status: of the run; counts rejected rows.
        rotate: bytes of a file, or ``daily``, after which an output starts a new file, see
            `dataflows.connectors.file_sink`.
    """

    kind = OUTPUT

    def __init__(
        self, folder: Path, status: RunStatus | None = None, rotate: int | Literal["daily"] | None = None
    ) -> None:
        self._folder = folder
        self._rotate = rotate
        self.takes_lines = rotate is None
        self._status = status or RunStatus()
        super().__init__()

    @classmethod
    @override
    def of(cls, fleet: Fleet, status: RunStatus, store: Path | None, *, alone: bool) -> Self:
        return cls(fleet.output.folder, status, fleet.output.rotate)

    @override
    def open(self, output: str, state: bytes | int | None) -> StatefulSinkPartition[Item, Any]:
        path = self._folder / f"{output}.jsonl"
        if self._rotate is None and not parts_of(path):
            return RowsPartition(path, self._status, state)
        return RotatingPartition(path, self._status, state, self._rotate)

    @override
    def open_summary(self) -> SummaryPartition:
        self._folder.mkdir(parents=True, exist_ok=True)
        # The engine asks for a part at its first row, and for the summary's at the end: an output without
        # rows by then gets an empty file, for programs that look for it.
        for name in OUTPUTS:
            (self._folder / f"{name}.jsonl").touch()
        sync_folder(self._folder)
        return SummaryPartition(self._folder / "summary.json")
