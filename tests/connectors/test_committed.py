"""Rows of files that no kill takes back, read from a place on."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from dataflows.connectors.committed import CommittedFiles, OtherRowsError
from dataflows.connectors.file_sink import part_name

if TYPE_CHECKING:
    from pathlib import Path


def commit(path: Path, length: int) -> None:
    path.with_suffix(".committed").write_text(f"{length}\n", encoding="ascii")


def test_a_row_that_is_not_committed_is_not_read(tmp_path: Path) -> None:
    """Nor half of one; what is there later is read from where the last chunk ended."""
    path = tmp_path / "alerts.jsonl"
    rows = CommittedFiles(tmp_path, ("alerts", "changes"))
    assert rows.read({}, 10).rows == []
    path.write_bytes(b"1\n22\n333\n")
    assert rows.read({}, 10).rows == []
    commit(path, 5)
    first = rows.read({}, 10)
    assert first.rows == [("alerts", b"1"), ("alerts", b"22")]
    assert not first.more
    commit(path, 9)
    assert rows.read(first.place, 10).rows == [("alerts", b"333")]


def test_rows_are_read_once_whatever_the_sizes_of_chunks(tmp_path: Path) -> None:
    """Over several outputs and over files that rotate."""
    chance = random.Random(5)
    lines = {
        output: [f"{output}-{n}-{'x' * chance.randrange(60)}".encode() for n in range(60)]
        for output in ("alerts", "changes")
    }
    for output, rows in lines.items():
        path, start = tmp_path / f"{output}.jsonl", 0
        for begin in range(0, 60, 7):
            data = b"".join(row + b"\n" for row in rows[begin : begin + 7])
            part_name(path, start, None, finished=begin + 7 < 60).write_bytes(data)
            start += len(data)
        commit(path, start)
    found: list[tuple[str, bytes]] = []
    reader, chunk = CommittedFiles(tmp_path, tuple(lines)), None
    while chunk is None or chunk.more:
        chunk = reader.read({} if chunk is None else chunk.place, chance.randrange(1, 20))
        found += chunk.rows
    assert {output: [row for of, row in found if of == output] for output in lines} == lines


def test_files_that_were_moved_away_are_left_out(tmp_path: Path) -> None:
    """The rows behind them are read."""
    path = tmp_path / "alerts.jsonl"
    first = part_name(path, 0, None, finished=True)
    first.write_bytes(b"1\n2\n")
    part_name(path, 4, None, finished=False).write_bytes(b"3\n")
    commit(path, 6)
    reader = CommittedFiles(tmp_path, ("alerts",))
    chunk = reader.read({}, 1)
    first.unlink()
    assert reader.read(chunk.place, 10).rows == [("alerts", b"3")]


@pytest.mark.parametrize("other", [b"1\n", b"1\nxx\n333\n", b""])
def test_rows_of_another_run_are_told_apart(tmp_path: Path, other: bytes) -> None:
    """By their length, or by the row before the place."""
    path = tmp_path / "alerts.jsonl"
    path.write_bytes(b"1\n22\n")
    commit(path, 5)
    reader = CommittedFiles(tmp_path, ("alerts",))
    place = reader.read({}, 10).place
    path.write_bytes(other)
    commit(path, len(other))
    with pytest.raises(OtherRowsError, match=r"alerts\.jsonl"):
        reader.read(place, 10)
