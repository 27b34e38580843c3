"""The order journal: choices of a live source, written before they are emitted, so that they can be repeated.

A live source reads the records that are there at that moment; no second run would read the same. So each
choice
becomes an entry: either runs of records (partition, from, to), or a tick. After a kill the source repeats the
entries after its snapshot, and only then reads live; a replay repeats all entries.

The journal is a folder of text files, ``order-<number of its first entry>.log``. A line is a CRC-32 in hex
and a JSON text: first the head of the file, ``{"journal":1,"first":17,"partitions":[names]}``, then entries,
``[17,2000,[[0,81234,90210,40]]]`` (its number, records before it, runs) or ``[18,2040,1735689600000000]``
(the arrival of a tick). A kill may tear the end of the last file; a torn entry was never emitted.
"""

from __future__ import annotations

import os
import time
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from dataflows.disk import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = [
    "Entry",
    "Journal",
    "JournalError",
    "Run",
    "delete_journal",
    "entries_of",
    "files_of_journal",
    "journal_of",
    "partitions_of",
]

_VERSION = 1
_FILES = "order-*.log"
#: Bytes after which a new file begins, so that old ones can be deleted.
_FILE_BYTES = 8 << 20


class JournalError(RuntimeError):
    """The order journal cannot be used: damaged, of other inputs, or not of this store."""


class Run(NamedTuple):
    """Consecutive records of one partition.

    Attributes:
        partition: its number among the partitions of the journal.
        start: offset of the first.
        end: offset after the last.
        records: number of records; of rows that rules map, number of rows.
    """

    partition: int
    start: int
    end: int
    records: int


class Entry(NamedTuple):
    """One choice of a source.

    Attributes:
        number: number of the entry, from 0.
        sequence: sequence of the last record before it.
        chosen: runs of records, or the arrival of a tick in microseconds.
    """

    number: int
    sequence: int
    chosen: tuple[Run, ...] | int


class _File(NamedTuple):
    """A file of the journal, up to its last complete entry."""

    path: Path
    first: int
    partitions: tuple[str, ...]
    entries: list[Entry]
    length: int
    torn: bool


class Journal:
    """Journal of a live source, to repeat and to continue.

    Args:
        folder: created if missing.
        partitions: names of the partitions read; those of an older journal have to come first.
        keep: microseconds of the host's clock for which a file that no resume needs is kept.
        file_bytes: length after which another file is begun.

    Raises:
        JournalError: it is damaged, or its partitions are others.

    Attributes:
        next: number of the next entry.
    """

    def __init__(
        self, folder: Path, partitions: Sequence[str], keep: int, file_bytes: int = _FILE_BYTES
    ) -> None:
        self._file_bytes = file_bytes
        self._folder = folder
        self._partitions = tuple(partitions)
        self._keep = keep
        folder.mkdir(parents=True, exist_ok=True)
        self.next = 0
        self._file: int | None = None
        self._length = 0
        self._open_last()

    def _open_last(self) -> None:
        """Cut off a torn end, and continue at the end of the last file."""
        paths = _paths(self._folder)
        if not paths:
            return
        last = _read(paths[-1], last=True)
        if last is None:
            # Not even its head was written.
            paths[-1].unlink()
            self._open_last()
            return
        _check_partitions(last, self._partitions)
        self.next = last.first + len(last.entries)
        if last.torn:
            os.truncate(last.path, last.length)
        if last.partitions == self._partitions:
            self._file = os.open(last.path, os.O_WRONLY | os.O_APPEND)
            self._length = last.length

    def entries(self, since: int) -> Iterator[Entry]:
        """Choices from an entry on, up to now.

        Raises:
            JournalError: it does not reach from that entry on without a gap.
        """
        until = self.next
        if since > until:
            msg = (
                f"{self._folder} ends before entry {until:,}, the recovery store has read up to {since:,}; "
                "restore both from one backup, or start over (--fresh)"
            )
            raise JournalError(msg)
        if since < until:
            for file in _files(self._folder, since):
                _check_partitions(file, self._partitions)
                yield from (entry for entry in file.entries if since <= entry.number < until)

    def append(self, sequence: int, chosen: tuple[Run, ...] | int) -> None:
        """Write the next entry; when this returns, it survives the end of this process.

        Only after `sync` does it survive a power cut too. Outputs that a resume can take back need no `sync`
        before the snapshot; other outputs have to wait for it.
        """
        if self._file is None or self._length >= self._file_bytes:
            self._begin()
        plain = chosen if isinstance(chosen, int) else [[*run] for run in chosen]
        self._write([self.next, sequence, plain])
        self.next += 1

    def _begin(self) -> None:
        """Begin a new file."""
        self.close()
        path = self._folder / f"order-{self.next:012}.log"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC, 0o644)
        self._length = 0
        self._write({"journal": _VERSION, "first": self.next, "partitions": self._partitions})
        sync_folder(self._folder)

    def _write(self, content: object) -> None:
        body = orjson.dumps(content)
        line = b"%08x %s\n" % (zlib.crc32(body), body)
        assert self._file is not None  # noqa: S101 - opened before
        if os.write(self._file, line) != len(line):
            msg = f"{self._folder}: the disk is full; make room and run again"
            raise JournalError(msg)
        self._length += len(line)

    def sync(self) -> None:
        """Sync all entries to the disk."""
        if self._file is not None:
            os.fdatasync(self._file)

    def forget(self, before: int) -> None:
        """Delete old files with entries that no resume needs: all before a given one."""
        paths = _paths(self._folder)
        for path, following in pairwise(paths):
            # The host's clock decides only how long an unneeded file is kept.
            age = time.time() - path.stat().st_mtime
            if _first(following) > before or age * 1e6 < self._keep:
                break
            path.unlink()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self.sync()
            os.close(self._file)
            self._file = None


def entries_of(folder: Path, partitions: int) -> Iterator[Entry]:
    """All entries of a journal, from the first record on, as a replay repeats them.

    Args:
        folder: folder of the journal; nothing in it is changed.
        partitions: number of partitions of the replay, in the order of those of the journal.

    Raises:
        JournalError: there is none, it is damaged, its beginning was deleted, or its partitions are others.
    """
    paths = _paths(folder)
    if not paths:
        msg = f"{folder} holds no order journal; a live run keeps it in the folder `journal` of its store"
        raise JournalError(msg)
    if _first(paths[0]):
        msg = (
            f"{folder} begins with entry {_first(paths[0]):,}: what came before was deleted, so it cannot be "
            "replayed; `journal_keep` under [input] says how long it is kept"
        )
        raise JournalError(msg)
    for file in _files(folder, 0):
        if len(file.partitions) > partitions:
            msg = (
                f"{file.path} was written by a run that read {len(file.partitions)} files "
                f"({', '.join(file.partitions)}), this replay has {partitions}: name them all, in that order"
            )
            raise JournalError(msg)
        yield from file.entries


def partitions_of(folder: Path) -> tuple[str, ...]:
    """Names of all partitions of a journal, in its order; none for a new one."""
    for path in reversed(_paths(folder)):
        file = _read(path, last=True)
        if file is not None:
            return file.partitions
    return ()


def journal_of(folder: Path, lane: int) -> Path:
    """Return the folder of the journal of a lane: that of lane 0 is the folder itself."""
    return folder / f"lane-{lane}" if lane else folder


def files_of_journal(folder: Path) -> list[Path]:
    """Return the files of the journals of all lanes, those of lane 0 first."""
    return [*_paths(folder), *sorted(folder.glob(f"lane-*/{_FILES}"))]


def delete_journal(folder: Path) -> None:
    """Delete the journals of all lanes, and nothing else that the folder may hold."""
    for path in files_of_journal(folder):
        path.unlink()


def _paths(folder: Path) -> list[Path]:
    return sorted(folder.glob(_FILES))


def _first(path: Path) -> int:
    return int(path.stem.removeprefix("order-"))


def _files(folder: Path, since: int) -> Iterator[_File]:
    """Files with the entries from one on, without a gap."""
    paths = _paths(folder)
    expected = since
    for path, following in zip(paths, [*paths[1:], None], strict=True):
        if following is not None and _first(following) <= since:
            continue
        file = _read(path, last=following is None)
        if file is None:
            return
        if file.first > expected:
            msg = f"{path} begins with entry {file.first:,}, but entry {expected:,} is needed; {_RESTORE}"
            raise JournalError(msg)
        yield file
        expected = file.first + len(file.entries)


_RESTORE = "restore the journal together with its store, or start over (--fresh)"


def _read(path: Path, *, last: bool) -> _File | None:
    """Read a file of the journal; None for a last one without a head."""
    data = path.read_bytes()
    lines = data.split(b"\n")
    whole: list[Any] = []
    length = 0
    for line in lines[:-1]:
        content = _checked(line)
        if content is None:
            break
        whole.append(content)
        length += len(line) + 1
    rest = lines[len(whole) :]
    if rest != [b""] and (not last or any(_checked(line) is not None for line in rest[1:])):
        msg = f"{path} is damaged after byte {length:,}; {_RESTORE}"
        raise JournalError(msg)
    if not whole:
        return None
    head, *entries = whole
    if not isinstance(head, dict) or head.get("journal") != _VERSION:
        msg = f"{path} is no order journal of version {_VERSION}, the one that this release reads; {_RESTORE}"
        raise JournalError(msg)
    found = [_entry(entry) for entry in entries]
    if [entry.number for entry in found] != list(range(head["first"], head["first"] + len(found))):
        msg = f"{path} lacks entries; {_RESTORE}"
        raise JournalError(msg)
    return _File(path, head["first"], tuple(head["partitions"]), found, length, torn=rest != [b""])


def _checked(line: bytes) -> Any:  # noqa: ANN401 - JSON of any shape
    """Content of a line, None if it is torn."""
    code, _, body = line.partition(b" ")
    return orjson.loads(body) if code == b"%08x" % zlib.crc32(body) and body else None


def _entry(content: list[Any]) -> Entry:
    number, sequence, chosen = content
    return Entry(number, sequence, chosen if isinstance(chosen, int) else tuple(Run(*run) for run in chosen))


def _check_partitions(file: _File, partitions: tuple[str, ...]) -> None:
    if partitions[: len(file.partitions)] != file.partitions:
        msg = (
            f"{file.path} is of {list(file.partitions)}, the input is now {list(partitions)}; files already "
            "read must stay, in their order (new ones may follow); or start over (--fresh)"
        )
        raise JournalError(msg)
