"""Files in and files out, both exact across a kill.

The source remembers the next unread byte and the next sequence. The sink remembers its length, and cuts the
file back to it on resume: rows of an epoch that a kill undid are written again by the epoch that redoes it.
"""

from __future__ import annotations

import glob
import gzip
import os
import sys
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from typing_extensions import override

from dataflows.connectors.pulse import Pulse
from dataflows.events import MAX_BYTES
from dataflows.items import OUTPUTS, Item, Row
from dataflows.snapshots import seal, unseal
from dataflows.watch import Watch

__all__ = ["SUMMARY", "FileSink", "FileSource", "InputError", "expand"]

SUMMARY = "summary"
_VERSION = 1
_CHUNK = 1 << 20
# A batch of lines that are all nearly oversized would be a gigabyte.
_BATCH_BYTES = 4 << 20
_STDIN = "-"


class InputError(RuntimeError):
    """The configured input cannot be read, or is not the one that the recovery store knows."""


def expand(patterns: tuple[str, ...]) -> list[str]:
    """Paths of files and globs, in the order given, each glob's matches by name.

    Raises:
        InputError: a file does not exist, a glob matches nothing, standard input beside other files.
    """
    paths: list[str] = []
    for pattern in patterns:
        found = [pattern] if pattern == _STDIN else sorted(glob.glob(pattern))  # noqa: PTH207 - absolute patterns too
        if not found:
            msg = f"input {pattern!r}: no such file; set `files` under [input] in fleet.toml, or FLEET_INPUT"
            raise InputError(msg)
        paths += found
    if _STDIN in paths and len(paths) > 1:
        msg = "standard input ('-') cannot be read beside other files"
        raise InputError(msg)
    if not paths:
        msg = "no input: set `files` under [input] in fleet.toml, or FLEET_INPUT"
        raise InputError(msg)
    return paths


class _Lines:
    """Lines of one file from a byte offset on; of an oversized line only its beginning is kept."""

    def __init__(self, path: str, offset: int) -> None:
        self._path = path
        self._file = _open(path, offset)
        self._chunk: list[bytes] = []
        self._next = 0
        self._rest = b""
        self._skipped = 0
        self._end = False
        self.offset = offset

    def read(self) -> tuple[bytes, int] | None:
        """The next line without its end, and its length in the file; None at the end of the file."""
        while self._next >= len(self._chunk):
            if self._end:
                return None
            self._fill()
        line = self._chunk[self._next]
        self._next += 1
        last = self._end and self._next == len(self._chunk)
        length = len(line) + self._skipped + (0 if last else 1)
        self._skipped = 0
        self.offset += length
        # How much of an oversized line was gathered depends on where reading began; what is kept must not.
        return line[: MAX_BYTES + 1], length

    def _fill(self) -> None:
        try:
            data = self._file.read(_CHUNK)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            msg = f"{self._path} is damaged somewhere after byte {self.offset:,} of its contents: {error}"
            raise InputError(msg) from error
        self._end = not data
        lines = (self._rest + data).split(b"\n")
        # What follows the last line end is the beginning of the next line, or nothing.
        self._rest = b"" if self._end else lines.pop()
        if self._end and lines == [b""]:
            lines = []
        if len(self._rest) > MAX_BYTES + _CHUNK:
            keep = MAX_BYTES + 1
            self._skipped += len(self._rest) - keep
            self._rest = self._rest[:keep]
        self._chunk, self._next = lines, 0

    def tell(self) -> int:
        """How many bytes of the file on disk were read, packed ones where it is packed."""
        file: Any = self._file.fileobj if isinstance(self._file, gzip.GzipFile) else self._file
        return 0 if file is sys.stdin.buffer else int(file.tell())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _size(path: str) -> int:
    return 0 if path == _STDIN else Path(path).stat().st_size


def _open(path: str, offset: int) -> BinaryIO | gzip.GzipFile:
    if path == _STDIN:
        return sys.stdin.buffer
    with Path(path).open("rb") as probe:
        packed = probe.read(2) == b"\x1f\x8b"
    file = gzip.GzipFile(path, "rb") if packed else Path(path).open("rb")  # noqa: SIM115 - closed by its reader
    file.seek(offset)
    end = file.tell() if packed else _size(path)
    if end < offset:
        file.close()
        msg = (
            f"{path} ends at byte {end:,}, but {offset:,} bytes of it were read before; restore it, "
            "or start with a new store"
        )
        raise InputError(msg)
    return file


class _FilePartition(StatefulSourcePartition[Item, bytes]):
    def __init__(self, paths: list[str], batch: int, watch: Watch, resume: bytes | None) -> None:
        self._paths = paths
        self._batch = batch
        self._watch = watch
        self._pulse = Pulse(watch)
        self._before = 0
        self._room = 0
        self._index, self._offset, self._line, self._sequence = 0, 0, 0, 0
        self._ended = False
        self._lines: _Lines | None = None
        if resume is not None:
            self._restore(unseal("files", _VERSION, resume))
            self._lines = self._open()

    def _restore(self, state: list[Any]) -> None:
        read, self._index, self._offset, self._line, self._sequence = state
        if read == [_STDIN]:
            msg = "standard input cannot be resumed; give files, or run without recovery"
            raise InputError(msg)
        if self._paths[: len(read)] != read:
            msg = (
                f"the recovery store has read {read}, the input is now {self._paths}; files already read "
                "must stay, in their order (new ones may follow); or start with a new store"
            )
            raise InputError(msg)

    def _open(self) -> _Lines:
        self._before = sum(map(_size, self._paths[: self._index]))
        return _Lines(self._paths[self._index], self._offset)

    @override
    def next_batch(self) -> list[Item]:
        self._pulse.beat()
        if self._watch.stop:
            raise StopIteration
        items: list[Item] = []
        self._room = _BATCH_BYTES
        while len(items) < self._batch and self._room > 0 and not self._ended:
            self._lines = self._lines or self._open()
            self._read(self._lines, items)
        self._watch.records = self._sequence
        if not items:
            raise StopIteration
        if self._lines is not None:
            self._watch.done = self._before + self._lines.tell()
        return items

    def _read(self, lines: _Lines, items: list[Item]) -> None:
        path = self._paths[self._index]
        while len(items) < self._batch and self._room > 0:
            start = lines.offset
            found = lines.read()
            if found is None:
                lines.close()
                self._lines = None
                # A resume starts at the end of the last file: to read what has been added to it since.
                self._ended = self._index + 1 == len(self._paths)
                if not self._ended:
                    self._index += 1
                    self._offset = self._line = 0
                return
            self._line += 1
            self._offset = lines.offset
            line = found[0]
            if not line or (line.isspace() and len(line) <= MAX_BYTES):
                continue
            self._sequence += 1
            self._room -= len(line)
            items.append(Item(self._sequence, 0, None, 0, (path, self._line, start), line))

    @override
    def snapshot(self) -> bytes:
        self._pulse.epoch()
        read = self._paths[: self._index + 1]
        return seal("files", _VERSION, (read, self._index, self._offset, self._line, self._sequence))

    @override
    def close(self) -> None:
        if self._lines is not None:
            self._lines.close()


class FileSource(FixedPartitionedSource[Item, bytes]):
    """One lane: all files one after the other, as one sequence.

    Args:
        files: paths and globs; ``-`` alone is standard input. Gzip is recognised by its first bytes.
        batch: records handed to the engine at a time; fewer where they are long.
        watch: told how far the source is; says when to stop.
    """

    def __init__(self, files: tuple[str, ...], batch: int, watch: Watch) -> None:
        self._paths = expand(files)
        self._batch = batch
        self._watch = watch

    @override
    def list_parts(self) -> list[str]:
        return ["lane-0"]

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> _FilePartition:
        return _FilePartition(self._paths, self._batch, self._watch, resume_state)


class _RowsPartition(StatefulSinkPartition[Item, int]):
    def __init__(self, path: Path, watch: Watch, resume: int | None) -> None:
        self._watch = watch
        path.parent.mkdir(parents=True, exist_ok=True)
        length = resume or 0
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

    @override
    def write_batch(self, values: list[Item]) -> None:
        rows = [cast("Row", item.body) for item in values]
        lines = [row.data for row in rows]
        self._watch.rejected.update(row.reason for row in rows if row.reason is not None)
        lines.append(b"")
        self._file.write(b"\n".join(lines))

    @override
    def snapshot(self) -> int:
        # The store must never remember more than the disk holds, not even after a power cut.
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

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
        self, step_id: str, for_part: str, resume_state: int | None
    ) -> StatefulSinkPartition[Item, Any]:
        if for_part == SUMMARY:
            self._folder.mkdir(parents=True, exist_ok=True)
            # The engine asks for a part with its first row, for the summary's at the end: an output that had
            # none by then is an empty file, for whoever looks for it.
            for name in OUTPUTS:
                (self._folder / f"{name}.jsonl").touch()
            return _SummaryPartition(self._folder / "summary.json")
        return _RowsPartition(self._folder / f"{for_part}.jsonl", self._watch, resume_state)
