"""Write rows to files: one an output, or a new one at a size or at the beginning of a day.

Both remember the length of the output, and cut it back to that on resume. The end of a file depends on the
rows alone, so a killed run, and a replay, end it at the same byte. But it gets the name of a finished file
only when no resume can take back any of it; so a finished file never changes after it was moved. Until then
its name ends with ``.open``, and rows continue in the next, see `dataflows.connectors.outputs`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

from bytewax.outputs import StatefulSinkPartition
from typing_extensions import override

from dataflows.connectors.committed import Committed, length_of, sealed_length
from dataflows.connectors.lines import InputError
from dataflows.connectors.outputs import Part, part_name, parts_of
from dataflows.disk import sync_folder
from dataflows.instants import MICROSECONDS, format_instant, parse_instant
from dataflows.items import Item

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.items import Row
    from dataflows.status import RunStatus

__all__ = ["OutputError", "RotatingPartition", "RowsPartition"]


_DAY = MICROSECONDS["d"]


class OutputError(RuntimeError):
    """An output cannot be written."""


class RowsPartition(StatefulSinkPartition[Item, bytes]):
    """An output in one file.

    Args:
        path: the file.
        status: of the run; counts rejected rows, and calls when an epoch is committed.
        resume: the snapshot, None for a new output.

    Raises:
        InputError: the file lacks rows of the snapshot.
    """

    def __init__(self, path: Path, status: RunStatus, resume: bytes | int | None) -> None:
        self._status = status
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        length = length_of(resume)
        self._check(path, path.stat().st_size if path.exists() else 0, length)
        self._file = path.open("ab")
        self._file.truncate(length)
        self._file.seek(length)
        sync_folder(path.parent)
        self._committed = Committed(path, length, status)

    @staticmethod
    def _check(path: Path, found: int, length: int) -> None:
        if found < length:
            msg = (
                f"{path} holds {found:,} bytes, the recovery store knows of {length:,}: rows are gone. "
                "Restore the file together with its store, or start with a new store and folder"
            )
            raise InputError(msg)

    @override
    def write_batch(self, values: list[Item]) -> None:
        rows = [cast("Row", item.body) for item in values]
        lines = [row.data for row in rows]
        self._status.rejected.update(row.reason for row in rows if row.reason is not None)
        lines.append(b"")
        try:
            self._file.write(b"\n".join(lines))
        except OSError as error:
            raise full(self._path, error) from error

    @override
    def snapshot(self) -> bytes:
        # The store must never remember more than the disk holds, not even after a power cut.
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise full(self._path, error) from error
        length = self._file.tell()
        self._committed.snapshot(length)
        return sealed_length(length)

    @override
    def close(self) -> None:
        self._file.close()


class RotatingPartition(StatefulSinkPartition[Item, bytes]):
    """An output in several files, one after the other.

    Args:
        path: the name of the output.
        status: of the run; counts rejected rows, and calls when an epoch is committed.
        resume: the snapshot, None for a new output.
        rotate: bytes of a file, which only a single row may exceed; or ``daily``, a file for each day of
            knowledge time in UTC that has rows; None continues the last file for ever.

    Raises:
        InputError: rows of the snapshot are gone.
    """

    def __init__(
        self, path: Path, status: RunStatus, resume: bytes | int | None, rotate: int | Literal["daily"] | None
    ) -> None:
        self._status = status
        self._path = path
        self._most = rotate if isinstance(rotate, int) else None
        self._daily = rotate == "daily"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._length = length_of(resume)
        self._start = self._length
        self._day: str | None = None
        #: End of the day of the open file; before all time if unknown.
        self._day_end = -1
        self._file: BinaryIO | None = None
        #: Ended files without their final name: path, and bytes of the output up to their end.
        self._ended: list[tuple[Part, int]] = []
        try:
            self._go_on()
        except OSError as error:
            raise full(path, error) from error
        self._committed = Committed(path, self._length, status)
        status.on_commit(self._finish)

    def _go_on(self) -> None:
        """Remove rows after the snapshot, and open the file with its last row."""
        parts = self._found()
        last = next((part for part in reversed(parts) if part.start < self._length), None)
        if self._length:
            found = 0 if last is None else last.start + last.path.stat().st_size
            RowsPartition._check(self._path, found, self._length)  # noqa: SLF001 - the same for both
        for part in reversed(parts):
            if last is None or part.start > last.start:
                part.path.unlink()
            elif part.start < last.start and not part.finished:
                part.path.rename(part_name(self._path, part.start, part.day, finished=True))
        if last is None:
            self._path.unlink(missing_ok=True)
        else:
            if last.finished:
                # The store was restored from an old backup.
                last = last._replace(
                    path=last.path.rename(part_name(self._path, last.start, last.day, finished=False))
                )
            self._open(last.start, last.day)
        sync_folder(self._path.parent)

    def _found(self) -> list[Part]:
        """Files of the output; one that was written without rotation becomes the first."""
        parts = parts_of(self._path)
        if self._path.is_file() and not self._path.is_symlink():
            if not parts:
                first = part_name(self._path, 0, None, finished=False)
                return [Part(0, self._path.rename(first), None, finished=False)]
            if self._path.stat().st_size:
                msg = (
                    f"{self._path} is a file, and {parts[-1].path.name} is there too: of which of them are "
                    "the outputs of this store? Move the others away"
                )
                raise InputError(msg)
        return parts

    def _open(self, start: int, day: str | None) -> None:
        """Open a file at the end of the output, and point the link to it."""
        path = part_name(self._path, start, day, finished=False)
        self._start, self._day = start, day
        self._day_end = -1 if day is None else parse_instant(f"{day}T00:00:00Z") + _DAY
        self._file = path.open("ab")
        self._file.truncate(self._length - start)
        self._file.seek(self._length - start)
        link = self._path.with_suffix(".jsonl.link")
        link.unlink(missing_ok=True)
        link.symlink_to(path.name)
        link.replace(self._path)

    @override
    def write_batch(self, values: list[Item]) -> None:
        try:
            lines: list[bytes] = []
            for item in values:
                row = cast("Row", item.body)
                if row.reason is not None:
                    self._status.rejected[row.reason] += 1
                if self._ends(item.known, len(row.data) + 1):
                    self._write(lines)
                    lines = []
                    self._begin(item.known)
                lines.append(row.data)
                self._length += len(row.data) + 1
            self._write(lines)
        except OSError as error:
            raise full(self._path, error) from error

    def _ends(self, known: int, size: int) -> bool:
        """Whether the file ends before a row."""
        if self._file is None:
            return True
        if self._daily:
            # Days never run back, since knowledge time does not.
            return known >= self._day_end
        return self._most is not None and self._start < self._length > self._start + self._most - size

    def _write(self, lines: list[bytes]) -> None:
        if lines and self._file is not None:
            lines.append(b"")
            self._file.write(b"\n".join(lines))

    def _begin(self, known: int) -> None:
        """Continue in a new file."""
        if self._file is not None:
            self._sync()
            self._file.close()
            path = part_name(self._path, self._start, self._day, finished=False)
            self._ended.append((Part(self._start, path, self._day, finished=False), self._length))
        self._open(self._length, _day(known) if self._daily else None)
        sync_folder(self._path.parent)

    def _sync(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def _finish(self) -> None:
        """Rename files whose rows can no longer be taken back to finished files."""
        # A resume at the very end of a file would open that file, so wait for a row of the next one.
        while self._ended and self._ended[0][1] < self._committed.told:
            part, _ = self._ended[0]
            try:
                part.path.rename(part_name(self._path, part.start, part.day, finished=True))
            except OSError as error:
                raise full(self._path, error) from error
            del self._ended[0]

    @override
    def snapshot(self) -> bytes:
        try:
            self._sync()
        except OSError as error:
            raise full(self._path, error) from error
        self._committed.snapshot(self._length)
        return sealed_length(self._length)

    @override
    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _day(known: int) -> str:
    """Day of an instant, in UTC."""
    return format_instant(known - known % _DAY)[:10]


def full(path: Path, error: OSError) -> OutputError:
    """Remedy if an output cannot be written."""
    msg = (
        f"{path} cannot be written ({error.strerror}); make room on its disk and run again: "
        "the run goes on where it was, and no row is lost or twice"
    )
    return OutputError(msg)
