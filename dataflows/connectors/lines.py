"""Read lines of a file: from any byte on, packed or plain, complete or growing."""

from __future__ import annotations

import glob
import gzip
import os
import sys
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from dataflows.events import MAX_BYTES

__all__ = ["STDIN", "InputError", "Lines", "expand", "is_packed", "size_of"]

STDIN = "-"
_CHUNK = 1 << 20


class InputError(RuntimeError):
    """The configured input cannot be read, or is not that of the recovery store."""


def expand(patterns: tuple[str, ...]) -> list[str]:
    """Paths of files and globs, in the order given, each glob's matches by name.

    Raises:
        InputError: a file does not exist, a glob matches nothing, standard input together with other files.
    """
    paths: list[str] = []
    for pattern in patterns:
        found = [pattern] if pattern == STDIN else sorted(glob.glob(pattern))  # noqa: PTH207 - absolute patterns too
        if not found:
            msg = f"input {pattern!r}: no such file; set `files` under [input] in fleet.toml, or FLEET_INPUT"
            raise InputError(msg)
        paths += found
    if STDIN in paths and len(paths) > 1:
        msg = "standard input ('-') cannot be read together with other files"
        raise InputError(msg)
    if not paths:
        msg = "no input: set `files` under [input] in fleet.toml, or FLEET_INPUT"
        raise InputError(msg)
    return paths


class Lines:
    """Lines of one file from a byte offset on; only the beginning of an oversized line is kept.

    Args:
        path: the file; gzip is recognised by its first bytes.
        offset: byte of its unpacked contents at which a line begins, or at which the last one ended.
        growing: text without a line end is not yet a line, and the end of the file is not the end.
        most: bytes of the longest line that is kept whole.
        chunk: bytes that are read at once.

    Raises:
        InputError: the file is shorter than the offset.

    Attributes:
        offset: offset of the next line.
    """

    def __init__(
        self, path: str, offset: int, *, growing: bool = False, most: int = MAX_BYTES, chunk: int = _CHUNK
    ) -> None:
        self._path = path
        self._most, self._size = most, chunk
        self._growing = growing
        self._file, self._unended = _open(path, offset)
        self._chunk: list[bytes] = []
        self._next = 0
        self._rest = b""
        self._skipped = 0
        self._end = False
        self.offset = offset

    def read(self) -> tuple[bytes, int, int] | None:
        """Read the next line without its end, its offset, and the offset of the line after it.

        Returns:
            None at the end of the file; for a growing file, at its present end.

        Raises:
            InputError: the file is damaged, or its last line went on after it was read.
        """
        while self._next >= len(self._chunk):
            if self._end or not self._fill():
                return None
        line = self._chunk[self._next]
        self._next += 1
        last = self._end and self._next == len(self._chunk)
        start = self.offset
        self.offset = start + len(line) + self._skipped + (0 if last else 1)
        self._skipped = 0
        # The gathered length of an oversized line depends on the start of reading; the kept length must not.
        return line[: self._most + 1], start, self.offset

    def is_record(self, line: bytes) -> bool:
        """Whether a line that was read is a record: it is not blank, or too long to say so."""
        return bool(line) and not (line.isspace() and len(line) <= self._most)

    def _fill(self) -> bool:
        """Read more; False if a growing file has nothing new."""
        try:
            data = self._file.read(self._size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            msg = (
                f"{self._path} is damaged somewhere after byte {self.offset:,} of its contents: {error}; "
                "export or copy it again and start again: the run goes on behind what it has read"
            )
            raise InputError(msg) from error
        if not data and self._growing:
            return False
        if data and self._unended:
            data = self._after_unended(data)
        self._end = not data and not self._growing
        lines = (self._rest + data).split(b"\n")
        # After the last line end comes the beginning of the next line, or nothing.
        self._rest = b"" if self._end else lines.pop()
        if self._end and lines == [b""]:
            lines = []
        if len(self._rest) > self._most + self._size:
            keep = self._most + 1
            self._skipped += len(self._rest) - keep
            self._rest = self._rest[:keep]
        self._chunk, self._next = lines, 0
        return True

    def _after_unended(self, data: bytes) -> bytes:
        """Check that a last line read without its line end is followed by that end; else it was torn."""
        if not data.startswith(b"\n"):
            msg = (
                f"{self._path}: its last line, up to byte {self.offset:,}, was read although it had no line "
                "end; since then that line went on. Follow a file that is being written "
                "(`follow = true` under [input]), and start over (--fresh)"
            )
            raise InputError(msg)
        self._unended = False
        self.offset += 1
        return data[1:] or self._file.read(self._size)

    def check_still_there(self) -> None:
        """Refuse to wait for lines that will never come.

        Raises:
            InputError: the file was cut; or it was removed or replaced, and has been read to its end.
        """
        held = os.fstat(self._file.fileno())
        if held.st_size > self._file.tell():
            return
        try:
            named = Path(self._path).stat()
        except FileNotFoundError:
            named = None
        if named is None or (named.st_dev, named.st_ino) != (held.st_dev, held.st_ino):
            what = "was removed" if named is None else "was replaced by another file"
            msg = (
                f"{self._path} {what} while it was followed; all of the former file was read. Let the "
                "writer append to one file, or begin new ones that a glob under [input] finds at a restart"
            )
            raise InputError(msg)
        if held.st_size < self._file.tell():
            msg = (
                f"{self._path} was cut to {held.st_size:,} bytes while it was followed, "
                f"{self._file.tell():,} bytes of it were read; restore it, or start over (--fresh)"
            )
            raise InputError(msg)

    def tell(self) -> int:
        """Number of bytes on disk that were read; for a packed file, packed bytes."""
        file: Any = self._file.fileobj if isinstance(self._file, gzip.GzipFile) else self._file
        return 0 if file is sys.stdin.buffer else int(file.tell())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def size_of(path: str) -> int:
    """Bytes on disk; 0 for standard input."""
    return 0 if path == STDIN else Path(path).stat().st_size


def is_packed(path: str) -> bool:
    """Whether the file begins as gzip does."""
    with Path(path).open("rb") as probe:
        return probe.read(2) == b"\x1f\x8b"


def _open(path: str, offset: int) -> tuple[BinaryIO | gzip.GzipFile, bool]:
    """Open the file at an offset; also return whether the line before it has no line end."""
    if path == STDIN:
        return sys.stdin.buffer, False
    packed = is_packed(path)
    file = gzip.GzipFile(path, "rb") if packed else Path(path).open("rb")  # noqa: SIM115 - closed by its reader
    if offset == 0:
        return file, False
    file.seek(offset - 1)
    before = file.read(1)
    if not before:
        end = file.tell() if packed else size_of(path)
        file.close()
        msg = (
            f"{path} ends at byte {end:,}, but {offset:,} bytes of it were read before; restore it, "
            "or start with a new store"
        )
        raise InputError(msg)
    return file, before != b"\n"
