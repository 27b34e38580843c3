"""The reader of outputs: rows as types, of one file or of many, and lines that are no rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from dataflows.connectors.file_sink import OutputGoneError
from dataflows.evaluation.reading import (
    ALERTS,
    EVALUATIONS,
    PREDICTIONS,
    Output,
    RowError,
    load_evaluations,
)
from dataflows.instants import HOUR
from tests.evaluation.rows import START, evaluation, written

if TYPE_CHECKING:
    from pathlib import Path


def rows(count: int) -> list[dict[str, Any]]:
    return [evaluation("a", hour, "negative", {"good": 0.1}) for hour in range(count)]


def rotated(folder: Path, found: list[dict[str, Any]], each: int) -> Path:
    """Write rows as rotation does, so many a file."""
    start = 0
    for number in range(0, len(found), each):
        data = b"".join(orjson.dumps(row) + b"\n" for row in found[number : number + each])
        (folder / f"evaluations.{start:015}.jsonl").write_bytes(data)
        start += len(data)
    return folder / "evaluations.jsonl"


def test_the_files_of_a_rotated_output_are_read_as_one(tmp_path: Path) -> None:
    """Their rows are those of one file; where a file was moved away, nothing is read past the gap."""
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    one = written(tmp_path / "one" / "evaluations.jsonl", rows(10))
    many = rotated(tmp_path / "many", rows(10), 3)
    assert list(EVALUATIONS.rows(many)) == list(EVALUATIONS.rows(one))
    assert load_evaluations(many).times.tolist() == [START + hour * HOUR for hour in range(10)]
    assert EVALUATIONS.latest(many, 1_200) == EVALUATIONS.latest(one, 1_200)
    sorted((tmp_path / "many").iterdir())[1].unlink()
    with pytest.raises(OutputGoneError):
        list(EVALUATIONS.rows(many))


def test_a_row_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    """A last line counts once it is whole, with or without its end."""
    path = written(tmp_path / "evaluations.jsonl", rows(3))
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    assert len(list(EVALUATIONS.rows(path))) == 3
    path.write_bytes(data[:-20])
    assert len(list(EVALUATIONS.rows(path))) == 2


@pytest.mark.parametrize(
    ("output", "row"),
    [
        (EVALUATIONS, {**rows(1)[0], "label": "maybe"}),
        (EVALUATIONS, {**rows(1)[0], "time": "yesterday"}),
        (PREDICTIONS, rows(1)[0]),
        (ALERTS, rows(1)[0]),
    ],
)
def test_a_line_that_is_no_row_of_its_output_is_named(
    tmp_path: Path, output: Output[Any], row: dict[str, Any]
) -> None:
    """The message has the file and the number of the line; without the number where only the end is read."""
    path = written(tmp_path / "rows.jsonl", [row])
    with pytest.raises(RowError, match=r"rows\.jsonl, line 1: expected a row of the"):
        list(output.rows(path))
    with pytest.raises(RowError, match=r"rows\.jsonl: expected rows of the"):
        output.latest(path, 1_000_000)


def test_the_failure_of_a_positive_row_is_its_time_and_lead(tmp_path: Path) -> None:
    """In microseconds; of another label there is none."""
    found = [
        evaluation("a", 1, "positive", {"good": 0.1}, lead=1.5),
        evaluation("a", 2, "negative", {"good": 0.1}),
        evaluation("a", 3, "positive", {"good": 0.1}),
    ]
    read = list(EVALUATIONS.rows(written(tmp_path / "evaluations.jsonl", found)))
    assert [row.failure for row in read] == [START + 5 * HOUR // 2, None, None]
    assert [row.settled - row.instant for row in read] == [31 * HOUR] * 3
