"""What goes from one process to another: few large objects, which arrive as they were."""

from __future__ import annotations

import pickle
import random
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from dataflows.connectors.files import FileSink
from dataflows.items import Item, Items, Late, Row, ScoredTable, Scores
from dataflows.pipeline import in_lines
from dataflows.status import RunStatus

if TYPE_CHECKING:
    from pathlib import Path


def row(sequence: int, output: str = "predictions", reason: str | None = None) -> Item:
    return Item(sequence, 5, None, 7, ("a", sequence, 0), Row(output, b"%d" % sequence, reason))


def test_rows_of_an_output_are_lines_of_one_row() -> None:
    """They are in the order of effect, at the place of the first; some rows stay alone."""
    late, reject, summary = (
        Item(2, 0, None, 7, ("a", 2, 0), Late()),
        row(3, "late", "late"),
        row(9, "summary"),
    )
    rows = [row(number) for number in range(1, 20)]
    alerts = [row(4, "alerts"), row(6, "alerts")]
    batch = [late, reject, summary, *alerts, *rows]
    random.Random(3).shuffle(batch)
    made = [*in_lines([batch[:9], batch[9:]])]
    alone = {id(late), id(reject), id(summary)}
    assert {id(item) for item in made} >= alone
    lines = {item.body.output: item for item in made if id(item) not in alone and isinstance(item.body, Row)}
    assert [*sorted(lines)] == ["alerts", "predictions"]
    assert lines["alerts"] == Item(4, 5, None, 7, ("a", 4, 0), Row("alerts", b"4\n6"))
    assert lines["predictions"].body == Row("predictions", b"\n".join(b"%d" % n for n in range(1, 20)))
    assert lines["predictions"].sequence == 1


class Counting:
    """Counts how often it is pickled."""

    pickled = 0

    def __reduce__(self) -> tuple[Any, ...]:
        type(self).pickled += 1
        return Counting, ()


def test_what_the_engine_pickles_twice_is_packed_once() -> None:
    """It asks for the bytes of a list once for their length, and once to send them."""
    items = Items([Item(1, 0, None, 7, ("a", 1, 0), cast("Any", Counting()))])
    first, second = pickle.dumps(items), pickle.dumps(items)
    assert first == second
    assert Counting.pickled == 1


def test_targets_share_a_table_in_another_process_too() -> None:
    """The rows of a class cross once for all its targets there, which share their columns."""
    row = (1, 0, None, 7, ("a", 1, 0), None, None, None, 7, 0, False)
    table = ScoredTable(["pump-1"], [row], np.array([[1.0, np.nan]]))
    sent = Items([Item(1, n, None, 7, ("a", 1, 0), Scores(f"target-{n}", n, table)) for n in range(2)])
    first, second = (item.body for item in pickle.loads(pickle.dumps(sent)))  # noqa: S301 - just made
    assert (first.target, second.target) == ("target-0", "target-1")
    assert first.table is second.table
    assert (first.table.assets, first.table.rows) == (["pump-1"], [row])
    assert first.table.features.tobytes() == table.features.tobytes()


@pytest.mark.parametrize("rotated", [False, True])
def test_a_file_counts_the_lines_of_a_row(rotated: bool, tmp_path: Path) -> None:
    """Bytes and number of rows are those of the rows alone, in an output once rotated too."""
    if rotated:
        (tmp_path / "predictions.000000000000000.jsonl.open").touch()
    status, sink = RunStatus(), FileSink(tmp_path)
    assert sink.takes_lines
    part = FileSink(tmp_path, status).build_part("outputs", "predictions", None)
    part.write_batch([*in_lines([[row(1), row(2)]]), row(3)])
    part.close()
    assert (tmp_path / "predictions.jsonl").read_bytes() == b"1\n2\n3\n"
    assert status.rows["predictions"] == 3


def test_a_sink_that_looks_at_each_row_gets_it_alone(tmp_path: Path) -> None:
    """A file that ends at a size or a day does."""
    assert not FileSink(tmp_path, rotate="daily").takes_lines
    assert not FileSink(tmp_path, rotate=1_000).takes_lines
