"""What goes from one process to another: few large objects, which arrive as they were."""

from __future__ import annotations

import pickle
import random
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from dataflows.connectors.files import FileSink
from dataflows.crossing import Items, in_lines
from dataflows.events import Failure, Telemetry
from dataflows.items import (
    Item,
    Late,
    LateWeather,
    ResolvedEvent,
    Row,
    ScoredTable,
    Scores,
    WeatherAsOf,
)
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


@pytest.mark.parametrize("count", [0, 1, 3])
def test_items_that_go_to_another_process_arrive_as_they_were(count: int) -> None:
    """Rows alone, other bodies, and both together."""
    rows = [Item(n, n << 32, None, 7, ("a", n, 0), Row("late", b"{}", id=f"{n}")) for n in range(count)]
    others = [Item(n, 0, 5, 7, ("b", n, 9), Late()) for n in range(count)]
    for items in (Items(rows), Items(others), Items([*others, *rows])):
        arrived = pickle.loads(pickle.dumps(items))  # noqa: S301 - what was just made
        assert type(arrived) is Items
        assert arrived == items


WEATHER = WeatherAsOf("north", 5, 4, (1, float("inf")))
USUAL = [
    ResolvedEvent(Telemetry("a", 9, {"x": 1, "y": 1.0, "z": None, "ä": -0.0}, None, None), "pump"),
    ResolvedEvent(Telemetry("b", -1, {}, "id", 8, "north"), "pump", None, 12, withdrawn=True),
    ResolvedEvent(Telemetry("b", 1, {"x": 10**15, "y": 1e-300}, None, 2**62), "fan"),
]
RARE = [
    ResolvedEvent(Telemetry("a", 9, {"x": 1}, None, None, "north"), "pump", WEATHER),
    ResolvedEvent(Telemetry("a", 9, {"x": 1}, None, None), "pump", relative=(0.5, -0.0)),
    ResolvedEvent(Telemetry("a", 9, {}, None, None, None, {"w": "no number"}, b"{}"), "pump"),
    ResolvedEvent(Failure("a", 9, "leak", None, None), "pump"),
    ResolvedEvent(LateWeather("a", WEATHER), "pump"),
    ResolvedEvent(Telemetry("a", 9, {"x": 2**70}, None, None), "pump"),
]


@pytest.mark.parametrize("rare", [None, *range(len(RARE))])
def test_records_arrive_as_they_were_to_the_type_of_a_number(rare: int | None) -> None:
    """A whole number stays one, also beside a record that is not on the usual path, and beyond 64 bits."""
    bodies = [*USUAL, *([] if rare is None else [RARE[rare]])]
    items = Items(
        [Item(n, n << 32, None if n else 5, 7, (f"{n}", n, 0), body) for n, body in enumerate(bodies)]
    )
    arrived = pickle.loads(pickle.dumps(items))  # noqa: S301 - just made
    assert type(arrived) is Items
    assert arrived == items
    assert repr(arrived) == repr(items)


def test_a_file_whose_name_is_no_text_sends_its_records_too() -> None:
    """Python's name of such a file is no UTF-8."""
    position = ("plant-\udcff.jsonl", 1, 0)
    row = (1, 0, None, 7, position, None, None, None, 7, 0, False)
    table = ScoredTable(["pump-1"], [row], np.array([[1.0]]))
    for body in (USUAL[0], Scores("leak", 0, table)):
        (arrived,) = pickle.loads(pickle.dumps(Items([Item(1, 0, None, 7, position, body)])))  # noqa: S301
        assert arrived.position == position
        assert isinstance(arrived.body, ResolvedEvent) or arrived.body.table.rows == [row]


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
    blocks = [Item(1, n, None, 7, ("a", 1, 0), Scores(f"target-{n}", n, table)) for n in range(2)]
    sent = Items([blocks[0], Item(1, 3, 5, 7, ("a", 1, 0), Late()), blocks[1]])
    arrived = pickle.loads(pickle.dumps(sent))  # noqa: S301 - just made
    assert arrived[1] == sent[1]
    first, second = arrived[0].body, arrived[2].body
    assert (first.target, second.target) == ("target-0", "target-1")
    assert first.table is second.table
    assert (first.table.assets, first.table.rows) == (["pump-1"], [row])
    assert first.table.features.tobytes() == table.features.tobytes()
    assert first.table.features.flags.writeable


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
