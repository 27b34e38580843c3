"""Files of an output: one, or several made by rotation; readers need not know which.

An output is named by ``<output>.jsonl``. Without rotation that is a file. With rotation, its rows are in
files
named by the number of bytes before them, and by the day if a file begins every day:

- ``predictions.000000000000000.jsonl``: finished, and final;
- ``predictions.000000104857391.2025-06-14.jsonl.open``: the rest; a resume may take back some of its
  rows, so for moments there are several of these;
- ``predictions.jsonl``: a symbolic link to the newest, for programs that follow it by name.

Finished files may be moved away; no run needs them.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "OutputGoneError",
    "Part",
    "all_parts",
    "delete_output",
    "end_of",
    "files_of",
    "lines_of",
    "open_part",
    "part_name",
    "parts_of",
    "tail_of",
]

_OPEN = ".open"
_PART = re.compile(r"\.(\d{15,})(?:\.(\d{4}-\d\d-\d\d))?(\.open)?")


class OutputGoneError(RuntimeError):
    """Files with needed rows of an output are gone."""


class Part(NamedTuple):
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


def parts_of(output: Path) -> list[Part]:
    """Files made by rotation, in order; none if an output is one file, or missing."""
    found = []
    for path in output.parent.glob(f"{output.stem}.*.jsonl*"):
        match = _PART.fullmatch(path.name.removeprefix(output.stem).replace(".jsonl", "", 1))
        if match is not None:
            found.append(Part(int(match[1]), path, match[2], match[3] is None))
    return sorted(found)


def all_parts(output: Path) -> list[Part]:
    """Files with rows of an output, rotated or not."""
    if output.is_file() and not output.is_symlink():
        return [Part(0, output, None, finished=False)]
    return parts_of(output)


def files_of(output: Path) -> list[Path]:
    """Files of an output, in order; none if it is missing."""
    return [part.path for part in all_parts(output)]


def end_of(output: Path) -> int:
    """Bytes of an output, including those of files moved away; 0 if it is missing."""
    parts = all_parts(output)
    return parts[-1].start + parts[-1].path.stat().st_size if parts else 0


def open_part(part: Part) -> BinaryIO:
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
        OutputGoneError: one of its files is gone.
    """
    parts = all_parts(output)
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
