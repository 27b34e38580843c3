"""Rows into files: one file an output, or a new one when a size is reached or a day begins.

A resume cuts an output back to the length in its snapshot. The rows alone decide where a file ends, so a run
that was killed, and a replay, end it at the same byte. A file gets the name of a finished one only when no
kill can take any of it back. Until then its name ends with ``.open``, while rows go on in the next file.

``<output>.committed`` holds the number of bytes that are final, for programs that follow the output. Where an
output is rotated, that is the length of all its files together.
"""

from __future__ import annotations

import os
import re
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple, cast

from bytewax.outputs import StatefulSinkPartition
from typing_extensions import override

from dataflows.connectors.lines import InputError
from dataflows.disk import replace_file, sync_folder
from dataflows.instants import MICROSECONDS, format_instant, parse_instant
from dataflows.items import Item
from dataflows.state.snapshots import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dataflows.items import Row
    from dataflows.status import RunStatus

__all__ = [
    "OUTPUT",
    "Committed",
    "OutputError",
    "OutputFile",
    "OutputGoneError",
    "RotatingPartition",
    "RowsPartition",
    "StoredFile",
    "all_parts",
    "committed_file",
    "committed_length",
    "delete_output",
    "end_of",
    "files_of",
    "length_of",
    "lines_of",
    "open_part",
    "part_name",
    "parts_of",
    "tail_of",
]

_OPEN = ".open"
_PART = re.compile(r"\.(\d{15,})(?:\.(\d{4}-\d\d-\d\d))?(\.open)?")


class OutputGoneError(RuntimeError):
    """Needed rows of an output are gone."""


class OutputFile(NamedTuple):
    """One file of an output.

    Attributes:
        start: number of bytes of the output before it.
        day: day of its rows, such as ``2025-06-14``; None if files do not begin with the day.
        finished: whether it will never change again.
    """

    start: int
    path: Path
    day: str | None
    finished: bool


def part_name(output: Path, start: int, day: str | None, *, finished: bool) -> Path:
    """Place of a part of an output."""
    of_day = "" if day is None else f".{day}"
    return output.with_name(f"{output.stem}.{start:015}{of_day}.jsonl{'' if finished else _OPEN}")


def parts_of(output: Path) -> list[OutputFile]:
    """Files made by rotation, in order; none if an output is one file, or missing."""
    found = []
    for path in output.parent.glob(f"{output.stem}.*.jsonl*"):
        match = _PART.fullmatch(path.name.removeprefix(output.stem).replace(".jsonl", "", 1))
        if match is not None:
            found.append(OutputFile(int(match[1]), path, match[2], match[3] is None))
    return sorted(found)


def all_parts(output: Path) -> list[OutputFile]:
    """Files with rows of an output, rotated or not."""
    if output.is_file() and not output.is_symlink():
        return [OutputFile(0, output, None, finished=False)]
    return parts_of(output)


def files_of(output: Path) -> list[Path]:
    """Files of an output, in order; none if it is missing."""
    return [part.path for part in all_parts(output)]


def end_of(output: Path) -> int:
    """Bytes of an output, including those of files moved away; 0 if it is missing."""
    parts = all_parts(output)
    return parts[-1].start + parts[-1].path.stat().st_size if parts else 0


def open_part(part: OutputFile) -> BinaryIO:
    """Open a file of an output, even if a run finished (renamed) it since it was found."""
    try:
        return part.path.open("rb")
    except FileNotFoundError:
        if part.finished:
            raise
        return part.path.with_name(part.path.name.removesuffix(_OPEN)).open("rb")


def lines_of(output: Path) -> Iterator[bytes]:
    """Yield the lines of an output with their ends, from all its files in order.

    Raises:
        FileNotFoundError: there is no such output.
        OutputGoneError: one of its files is gone, or its end is.
    """
    parts, final = all_parts(output), committed_length(output)
    if not parts:
        output.open("rb").close()
    place = 0
    for part in parts:
        with open_part(part) as file:
            if part.start != place:
                msg = (
                    f"{output}: the file with its bytes from {place:,} to {part.start:,} is not there any "
                    "more; put it back, unpacked, to read the output as a whole"
                )
                raise OutputGoneError(msg)
            for line in file:
                place += len(line)
                yield line
    if final is not None and place < final:
        msg = (
            f"{output} ends at byte {place:,}, {committed_file(output).name} says that {final:,} are final: "
            "rows are gone. Restore the file from a copy, or run again with --fresh"
        )
        raise OutputGoneError(msg)


def tail_of(output: Path, most: int) -> list[bytes]:
    """Last complete lines of an output, without their ends, up to a number of bytes."""
    data = b""
    for part in reversed(all_parts(output)):
        with open_part(part) as file:
            size = file.seek(0, os.SEEK_END)
            begin = max(0, size - (most - len(data)))
            file.seek(begin)
            data = file.read(size - begin) + data
        if begin:
            return data.split(b"\n")[1:-1]
        if len(data) == most:
            break
    return data.split(b"\n")[:-1]


def delete_output(output: Path) -> None:
    """Delete all files of an output."""
    output.unlink(missing_ok=True)
    for part in parts_of(output):
        part.path.unlink()


class StoredFile(NamedTuple):
    """What a store holds of an output in files.

    Attributes:
        length: bytes of the output.
    """

    length: int


#: Snapshots of an output: its length in bytes.
OUTPUT: Kind[StoredFile] = Kind("output", 1, describe=StoredFile)


def length_of(state: bytes | int | None) -> int:
    """Length in a snapshot; 0 for a new output.

    Raises:
        SnapshotError: it is damaged, or of a version that cannot be read.
    """
    # The first stores held the bare number.
    return (state or 0) if not isinstance(state, bytes) else OUTPUT.describe(state).length


def committed_file(output: Path) -> Path:
    """Path of the file with the committed length of an output."""
    return output.with_suffix(".committed")


def committed_length(output: Path) -> int | None:
    """Bytes of an output that are final; None where no run says so, as beside an output that was copied."""
    try:
        return int(committed_file(output).read_bytes())
    except (FileNotFoundError, ValueError):
        return None


class Committed:
    """Write the committed length of one output.

    The source takes its snapshot at the end of each epoch, and no epoch begins before the last is committed:
    the length in the output's snapshot by then is final. A process without the source hears of its snapshots
    with some delay (`RunStatus.lag`).

    Args:
        output: the file.
        length: length that is already final.
        status: calls at the end of each epoch.

    Attributes:
        written: the last written length.
    """

    def __init__(self, output: Path, length: int, status: RunStatus) -> None:
        self._path = committed_file(output)
        self.written = -1
        self._length = length
        self._status = status
        #: Noted lengths with the number of commits by which they are final.
        self._noted: deque[tuple[int, int]] = deque()
        status.on_commit(self.write)
        self.write()

    def snapshot(self, length: int) -> None:
        """Note a length that is final once its epoch is committed."""
        self._noted.append((self._status.commits + self._status.lag, length))

    def write(self) -> None:
        """Write the latest noted length that is final; call this only when an epoch is committed."""
        while self._noted and (not self._status.lag or self._noted[0][0] <= self._status.commits):
            self._length = self._noted.popleft()[1]
        if self._length == self.written:
            return
        # The former length is final too: a power cut may bring it back, and a full disk may leave it, until
        # the output itself, on the same disk, says that there is no room.
        with suppress(OSError):
            replace_file(self._path, b"%d\n" % self._length, at_once=False)
            self.written = self._length


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
        rows = cast("list[Row]", [item.body for item in values])
        lines = [row.data for row in rows]
        self._status.rejected.update([row.reason for row in rows if row.reason is not None])
        lines.append(b"")
        data = b"\n".join(lines)
        try:
            self._file.write(data)
        except OSError as error:
            raise full(self._path, error) from error
        if values:
            self._status.wrote(rows[0].output, values[0].sequence, data.count(b"\n"))

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
        return OUTPUT.seal(length)

    @override
    def close(self) -> None:
        # What a snapshot holds is on the disk. A second error here would abort the process.
        with suppress(OSError):
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
        self._ended: list[tuple[OutputFile, int]] = []
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

    def _found(self) -> list[OutputFile]:
        """Files of the output; one that was written without rotation becomes the first."""
        parts = parts_of(self._path)
        if self._path.is_file() and not self._path.is_symlink():
            if not parts:
                first = part_name(self._path, 0, None, finished=False)
                return [OutputFile(0, self._path.rename(first), None, finished=False)]
            if self._path.stat().st_size:
                msg = (
                    f"{self._path} is a file, and {parts[-1].path.name} is there too: only one of them has "
                    "the outputs of this store. Move the other away"
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
        written = 0
        try:
            lines: list[bytes] = []
            for item in values:
                row = cast("Row", item.body)
                written += 1 + row.data.count(b"\n")
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
        if values:
            self._status.wrote(cast("Row", values[0].body).output, values[0].sequence, written)

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
            self._ended.append((OutputFile(self._start, path, self._day, finished=False), self._length))
        self._open(self._length, _day(known) if self._daily else None)
        sync_folder(self._path.parent)

    def _sync(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def _finish(self) -> None:
        """Rename files whose rows can no longer be taken back to finished files."""
        # A resume at the very end of a file would open that file, so wait for a row of the next one.
        while self._ended and self._ended[0][1] < self._committed.written:
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
        return OUTPUT.seal(self._length)

    @override
    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


def _day(known: int) -> str:
    """Day of an instant, in UTC."""
    return format_instant(known - known % _DAY)[:10]


def full(path: Path, error: OSError) -> OutputError:
    """Remedy if an output cannot be written."""
    msg = (
        f"{path} cannot be written ({error.strerror}); make room on its disk and run again: "
        "the run goes on where it was, and no row is lost or duplicated"
    )
    return OutputError(msg)
