"""An output in several files: the same bytes as in one, and finished files that never change."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.connectors.file_sink import (
    OutputGoneError,
    committed_file,
    delete_output,
    end_of,
    files_of,
    lines_of,
    tail_of,
)
from dataflows.connectors.files import FileSink
from dataflows.connectors.lines import InputError
from dataflows.connectors.sink import SUMMARY
from dataflows.items import Item, Row
from dataflows.status import RunStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataflows.connectors.file_sink import RotatingPartition, RowsPartition

DAY = 86_400_000_000
NAME = "late"

Rotate = int | Literal["daily"] | None


def row(data: bytes, known: int = 0) -> Item:
    return Item(1, 0, None, known, ("", 0, 0), Row(NAME, data))


def sink(
    folder: Path, rotate: Rotate, resume: bytes | None = None, status: RunStatus | None = None
) -> RotatingPartition | RowsPartition:
    part = FileSink(folder, status or RunStatus(), rotate).build_part("outputs", NAME, resume)
    assert not isinstance(part, dict)
    return part


def epoch(part: RotatingPartition | RowsPartition, status: RunStatus, rows: Sequence[Item]) -> bytes:
    """Write rows, take the snapshot, commit it."""
    part.write_batch(list(rows))
    state = part.snapshot()
    status.committed()
    return state


def found(folder: Path) -> dict[str, bytes]:
    """Contents by name, of files but not of links."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.jsonl*")) if not path.is_symlink()}


def test_a_file_ends_before_the_row_that_would_make_it_too_large(tmp_path: Path) -> None:
    """Files are named by the bytes before them; a row that is larger than a file has one for itself."""
    status = RunStatus()
    part = sink(tmp_path, 10, status=status)
    epoch(part, status, [row(b"1234"), row(b"5678"), row(b"x" * 20), row(b"a"), row(b"b")])
    part.close()
    assert found(tmp_path) == {
        "late.000000000000000.jsonl": b"1234\n5678\n",
        "late.000000000000010.jsonl": b"x" * 20 + b"\n",
        "late.000000000000031.jsonl.open": b"a\nb\n",
    }
    assert (tmp_path / "late.jsonl").read_bytes() == b"a\nb\n"
    assert committed_file(tmp_path / "late.jsonl").read_text() == "35\n"


def test_a_day_of_knowledge_time_has_a_file(tmp_path: Path) -> None:
    """Days without rows have none; a row known earlier than its predecessor stays beside it."""
    status = RunStatus()
    part = sink(tmp_path, "daily", status=status)
    epoch(part, status, [row(b"a", 20_000 * DAY), row(b"b", 20_001 * DAY - 1), row(b"c", 20_003 * DAY)])
    epoch(part, status, [row(b"d", 20_002 * DAY), row(b"e", 20_003 * DAY + 5)])
    part.close()
    assert found(tmp_path) == {
        "late.000000000000000.2024-10-04.jsonl": b"a\nb\n",
        "late.000000000000004.2024-10-07.jsonl.open": b"c\nd\ne\n",
    }


def test_a_file_is_finished_only_when_no_kill_takes_rows_of_it_back(tmp_path: Path) -> None:
    """While a resume may still cut it, it keeps the name of an open file, though rows go on in the next."""
    status = RunStatus()
    part = sink(tmp_path, 4, status=status)
    epoch(part, status, [row(b"1"), row(b"2")])
    part.write_batch([row(b"3")])
    assert list(found(tmp_path)) == ["late.000000000000000.jsonl.open", "late.000000000000004.jsonl.open"]
    # All of the first file is final by now; but a resume from here would go on at its end.
    status.committed()
    assert "late.000000000000000.jsonl" not in found(tmp_path)
    part.snapshot()
    assert "late.000000000000000.jsonl" not in found(tmp_path)
    status.committed()
    assert list(found(tmp_path)) == ["late.000000000000000.jsonl", "late.000000000000004.jsonl.open"]
    part.close()


ROWS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, DAY // 2)), max_size=20)


@given(
    rows=ROWS,
    rotate=st.one_of(st.integers(2, 30), st.just("daily")),
    seed=st.integers(0, 1 << 30),
    kills=st.integers(0, 5),
)
def test_files_are_the_same_bytes_however_often_a_run_is_killed(
    rows: list[tuple[int, int]], rotate: Rotate, seed: int, kills: int
) -> None:
    """Cut into any epochs, killed at any: the files of one run, whose finished ones nothing touched."""
    chance = random.Random(seed)
    known = 0
    items = []
    for number, (size, step) in enumerate(rows):
        known += step
        items.append(row(b"%d" % (number % 10) * size, known))
    # What a power cut leaves is not asked here.
    with tempfile.TemporaryDirectory() as name, mock.patch("os.fsync"):
        once, often, plain = (Path(name) / which for which in ("once", "often", "plain"))
        for folder, how in ((once, rotate), (plain, None)):
            part = sink(folder, how)
            part.write_batch(items)
            part.close()
        state, place = None, 0
        kept: dict[str, bytes] = {}
        for left in range(kills, -1, -1):
            status = RunStatus()
            part = sink(often, rotate, state, status)
            saved = place
            while place < len(items) and (not left or chance.random() < 0.7):
                more = chance.randrange(1, 6)
                part.write_batch(items[place : place + more])
                place += more
                if chance.random() < 0.5:
                    taken, at = part.snapshot(), place
                    if not left or chance.random() < 0.7:
                        state, saved = taken, at
                        status.committed()
                    else:
                        break
                finished = {path: data for path, data in found(often).items() if path.endswith(".jsonl")}
                assert finished.items() >= kept.items()
                kept = finished
            part.close()
            place = place if not left else saved
        data = b"".join(lines_of(often / "late.jsonl")) if items else b""
        assert data == (plain / "late.jsonl").read_bytes()
        assert named(often) == named(once)
        for most in (1, 7, 1_000):
            last = b"".join(line + b"\n" for line in tail_of(often / "late.jsonl", most))
            assert data.endswith(last)
            before = data.removesuffix(last).splitlines(keepends=True)
            assert len(last) <= most
            assert not before or len(before[-1] + last) >= most


def named(folder: Path) -> dict[str, bytes]:
    """Contents by name, whether the file is finished or not."""
    return {path.removesuffix(".open"): data for path, data in found(folder).items()}


def test_an_output_that_was_not_rotated_goes_on_rotated_and_back(tmp_path: Path) -> None:
    """What is there becomes the first file; without `rotate` the last one grows from then on."""
    status = RunStatus()
    part = sink(tmp_path, None, status=status)
    state = epoch(part, status, [row(b"1"), row(b"2")])
    part.close()
    status = RunStatus()
    part = sink(tmp_path, 3, state, status)
    state = epoch(part, status, [row(b"3"), row(b"4")])
    part.close()
    part = sink(tmp_path, None, state, status)
    epoch(part, status, [row(b"5"), row(b"6")])
    part.close()
    assert found(tmp_path) == {
        "late.000000000000000.jsonl": b"1\n2\n",
        "late.000000000000004.jsonl": b"3\n",
        "late.000000000000006.jsonl.open": b"4\n5\n6\n",
    }
    assert end_of(tmp_path / "late.jsonl") == 12


def test_finished_files_may_be_moved_away(tmp_path: Path) -> None:
    """A run goes on without them; who needs all rows is told which are missing."""
    status = RunStatus()
    part = sink(tmp_path, 3, status=status)
    state = epoch(part, status, [row(b"1"), row(b"2"), row(b"3")])
    part.close()
    (tmp_path / "late.000000000000000.jsonl").unlink()
    part = sink(tmp_path, 3, state, status)
    epoch(part, status, [row(b"4")])
    part.close()
    output = tmp_path / "late.jsonl"
    assert end_of(output) == 8
    assert tail_of(output, 100) == [b"2", b"3", b"4"]
    with pytest.raises(OutputGoneError, match="bytes from 0 to 2 is not there any more; put it back"):
        list(lines_of(output))


def test_rows_that_were_lost_are_refused(tmp_path: Path) -> None:
    """The file that is written on has to hold what the store knows of; nothing is touched otherwise."""
    status = RunStatus()
    part = sink(tmp_path, 3, status=status)
    state = epoch(part, status, [row(b"1"), row(b"2"), row(b"3")])
    part.close()
    last = tmp_path / "late.000000000000004.jsonl.open"
    last.write_bytes(b"")
    before = found(tmp_path)
    with pytest.raises(InputError, match="holds 4 bytes, the recovery store knows of 6"):
        sink(tmp_path, 3, state)
    assert found(tmp_path) == before
    last.unlink()
    with pytest.raises(InputError, match="rows are gone"):
        sink(tmp_path, 3, state)


def test_an_older_store_takes_finished_files_back(tmp_path: Path) -> None:
    """A store that was put back from long before opens the file again that holds its last row."""
    status = RunStatus()
    part = sink(tmp_path, 4, status=status)
    old = epoch(part, status, [row(b"1"), row(b"2"), row(b"3")])
    epoch(part, status, [row(b"4"), row(b"5"), row(b"6"), row(b"7")])
    part.close()
    assert list(found(tmp_path))[1] == "late.000000000000004.jsonl"
    part = sink(tmp_path, 4, old)
    part.close()
    assert found(tmp_path) == {
        "late.000000000000000.jsonl": b"1\n2\n",
        "late.000000000000004.jsonl.open": b"3\n",
    }


def test_a_file_beside_rotated_ones_is_refused(tmp_path: Path) -> None:
    """Rows in a file of the output's name, and rows in rotated ones: they are not of one run."""
    status = RunStatus()
    part = sink(tmp_path, 4, status=status)
    state = epoch(part, status, [row(b"1")])
    part.close()
    (tmp_path / "late.jsonl").unlink()
    (tmp_path / "late.jsonl").write_bytes(b"other\n")
    with pytest.raises(InputError, match=r"late.jsonl is a file, and late.0+.jsonl.open is there too"):
        sink(tmp_path, 4, state)


@pytest.fixture
def ended(tmp_path: Path) -> Path:
    """A folder in which a run with one row has ended."""
    part = sink(tmp_path, 4)
    part.write_batch([row(b"1")])
    part.close()
    FileSink(tmp_path, rotate=4).build_part("outputs", SUMMARY, None).close()
    return tmp_path


def test_the_end_leaves_rotated_outputs_as_they_are(ended: Path) -> None:
    """An output without rows is an empty file at the end, and begins anew from it."""
    assert found(ended)["late.000000000000000.jsonl.open"] == b"1\n"
    assert (ended / "alerts.jsonl").read_bytes() == b""
    part = FileSink(ended, RunStatus(), 4).build_part("outputs", "alerts", None)
    part.write_batch([Item(1, 0, None, 0, ("", 0, 0), Row("alerts", b"x"))])
    part.close()
    assert (ended / "alerts.jsonl").is_symlink()
    assert (ended / "alerts.jsonl").read_bytes() == b"x\n"


def test_all_of_an_output_is_deleted(ended: Path) -> None:
    """Files and link, and nothing of another output or of a user."""
    (ended / "late.notes.jsonl").write_bytes(b"mine")
    delete_output(ended / "late.jsonl")
    assert [name for name in found(ended) if name.startswith("late")] == ["late.notes.jsonl"]
    assert not (ended / "late.jsonl").is_symlink()
    assert files_of(ended / "late.jsonl") == []
    with pytest.raises(FileNotFoundError):
        list(lines_of(ended / "late.jsonl"))
