"""Committed rows: what no kill takes back, read by a program that follows an output.

A place is plain data, so that a reader can store it and continue there.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import structlog
from typing_extensions import override

from dataflows.connectors.file_sink import OutputFile, all_parts, committed_length, open_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["Chunk", "CommittedFiles", "CommittedRows", "OtherRowsError", "Place", "committed_length"]

#: By output, where its next row begins; empty for the beginning of all.
Place: TypeAlias = dict[str, Any]
_log = structlog.get_logger()


class OtherRowsError(RuntimeError):
    """The outputs do not hold the rows that were read up to a place: they are those of another run."""


class Chunk(NamedTuple):
    """Some committed rows.

    Attributes:
        rows: output and JSON of each; the rows of one output in their order.
        place: behind them.
        more: whether more of them are there already.
    """

    rows: list[tuple[str, bytes]]
    place: Place
    more: bool


class CommittedRows(ABC):
    """The committed rows of some outputs of a fleet."""

    @abstractmethod
    def read(self, place: Place, most: int) -> Chunk:
        """Read rows from a place on.

        Args:
            place: of an earlier chunk, empty for the beginning.
            most: rows to read at most.

        Raises:
            OtherRowsError: the rows before the place are not there any more.
            OSError: a file cannot be read.
            RuntimeError: a topic cannot be read.
        """

    def close(self) -> None:  # noqa: B027 - a hook
        """Close what is open."""


class CommittedFiles(CommittedRows):
    """Committed rows of outputs in files.

    The place of an output is the number of bytes before it, with the length and checksum of the last row:
    they tell these rows from those of another run.

    Args:
        folder: of the outputs.
        outputs: their names.
    """

    def __init__(self, folder: Path, outputs: Sequence[str]) -> None:
        self._folder = folder
        self._outputs = outputs

    @override
    def read(self, place: Place, most: int) -> Chunk:
        rows: list[tuple[str, bytes]] = []
        after, more = dict(place), False
        for output in self._outputs:
            found, after[output] = self._read(output, place.get(output) or [0, 0, 0], most - len(rows))
            rows += [(output, line[:-1]) for line in found]
            end = committed_length(self._folder / f"{output}.jsonl") or 0
            more |= bool(found) and after[output][0] < end
        return Chunk(rows, after, more)

    def _read(self, output: str, mark: Sequence[int], most: int) -> tuple[list[bytes], list[int]]:
        """Rows of one output, and the mark behind them."""
        path = self._folder / f"{output}.jsonl"
        begin, length, checksum = mark
        end = committed_length(path) or 0
        if end < begin:
            msg = f"{path} has {end:,} committed bytes, of {begin:,} that were read before"
            raise OtherRowsError(msg)
        if end == begin or most <= 0:
            return [], [*mark]
        lines: list[bytes] = []
        place = begin
        for start, line in _lines_from(all_parts(path), begin - length):
            if start < begin:
                if zlib.crc32(line) != checksum:
                    msg = f"{path} has another row at byte {start:,} than the one that was read before"
                    raise OtherRowsError(msg)
                continue
            if start > place:
                _log.warning(
                    "rows were moved away before they were read", file=str(path), bytes=start - place
                )
            if start + len(line) > end or len(lines) == most:
                break
            lines.append(line)
            place = start + len(line)
        last = [len(lines[-1]), zlib.crc32(lines[-1])] if lines else [length, checksum]
        return lines, [place, *last]


def _lines_from(parts: Sequence[OutputFile], begin: int) -> Iterator[tuple[int, bytes]]:
    """Whole lines of the files of an output, each with its first byte in the output."""
    for index, part in enumerate(parts):
        if index + 1 < len(parts) and parts[index + 1].start <= begin:
            continue
        with open_part(part) as file:
            place = max(part.start, begin)
            file.seek(place - part.start)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                yield place, line
                place += len(line)
