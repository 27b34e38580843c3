"""The registry: rows from the stream and from files, what they refuse, and what a restart keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from dataflows.connectors.ends import source_of
from dataflows.events import MAX_ATTRIBUTES, Event, Registration, Reject, Telemetry, decode
from dataflows.fleet import load
from dataflows.fleet.plan import AssetClass, AssetPolicy, Fleet, Input, Output
from dataflows.instants import HOUR
from dataflows.items import Item, Known, Row
from dataflows.lane import Lane
from dataflows.stages import decoded
from dataflows.watch import Watch

PUMP = AssetClass("pump", ("x",), True, (), ("x",), 0, HOUR, ())
FLEET = Fleet(
    name="pumps",
    path=Path("fleet.toml"),
    figures_from=None,
    metrics_every=HOUR,
    input=Input(("-",), 1),
    output=Output(Path("out"), "none"),
    assets=AssetPolicy("reject", None, 2),
    classes={"pump": PUMP, "fan": replace(PUMP, name="fan")},
    targets={},
)


def reading(asset: str, arrived: int | None = None) -> Telemetry:
    return Telemetry(asset, 5, {"x": 1.0}, None, arrived)


def row(asset: str, asset_class: str = "pump", arrived: int | None = None) -> Registration:
    return Registration(asset, asset_class, None, {}, False, arrived)


def resolved(lane: Lane, *bodies: Event) -> list[str]:
    """Of each record the class, or the reason why it was rejected."""
    items = [
        Item(number, 0, None, 0, ("feed", number, number), body)
        for number, body in enumerate(bodies, start=1)
    ]
    return [
        item.body.asset_class if isinstance(item.body, Known) else rejected(item)["reason"]
        for item in lane.process(items)
    ]


def rejected(item: Item) -> dict[str, Any]:
    assert isinstance(item.body, Row)
    found: dict[str, Any] = orjson.loads(item.body.data)
    return found


def test_a_row_makes_an_asset_known_from_its_place_in_the_sequence_on() -> None:
    """What came before it stays rejected; a later row changes the class."""
    found = resolved(
        Lane(FLEET, None, {}), reading("a"), row("a"), reading("a"), row("a", "fan"), reading("a")
    )
    assert found == ["unknown_asset", "pump", "pump", "fan", "fan"]


def test_a_row_of_an_unknown_class_is_rejected_and_changes_nothing() -> None:
    """The classes that there are are named, and the asset keeps the one it had."""
    lane = Lane(FLEET, None, {})
    bad = Item(1, 0, None, 0, ("feed", 1, 1), row("a", "lamp"))
    (item,) = lane.process([bad])
    told = rejected(item)
    assert (told["reason"], told["detail"]) == (
        "unknown_class",
        "class: expected one of fan, pump, got 'lamp'",
    )
    assert told["event"]["class"] == "lamp"
    assert resolved(lane, reading("a"), row("a"), row("a", "lamp"), reading("a")) == [
        "unknown_asset",
        "pump",
        "unknown_class",
        "pump",
    ]


def test_rows_beyond_max_assets_are_rejected_and_rows_of_known_assets_are_not() -> None:
    """Two fit; the third is refused, and so is what it sends; a new class for the first is taken."""
    found = resolved(
        Lane(FLEET, None, {}), row("a"), row("b"), row("c"), reading("c"), row("a", "fan"), reading("a")
    )
    assert found == ["pump", "pump", "unknown_asset", "unknown_asset", "fan", "fan"]


def test_rows_without_arrival_go_with_either_kind_of_recording() -> None:
    """A file of rows has no arrivals; the records after it may have them, or not."""
    for arrived in (None, 7):
        assert resolved(Lane(FLEET, None, {}), row("a"), reading("a", arrived), row("b")) == ["pump"] * 3


def test_what_rows_said_survives_a_restart() -> None:
    """Classes come back from the parts, and the number of assets counts on."""
    lane = Lane(FLEET, None, {})
    resolved(lane, row("a"), row("b", "fan"))
    parts = {part: lane.part_snapshot(part) for part in lane.changed()}
    again = Lane(FLEET, lane.main_snapshot(), parts)
    assert resolved(again, reading("a"), reading("b"), row("c")) == ["pump", "fan", "unknown_asset"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"attributes": {str(number): 1 for number in range(MAX_ATTRIBUTES + 1)}}, "attributes"),
        ({"attributes": {"sizes": [1, 2]}}, "attributes.sizes"),
        ({"attributes": 3}, "attributes"),
        ({"class": ""}, "class"),
        ({"retired": "yes"}, "retired"),
    ],
)
def test_a_row_that_is_malformed_names_the_field(change: dict[str, Any], word: str) -> None:
    """Attributes are bounded in number and are plain values."""
    good = {
        "kind": "asset",
        "asset": "a",
        "class": "pump",
        "attributes": {str(n): 1 for n in range(MAX_ATTRIBUTES)},
    }
    assert isinstance(decode(orjson.dumps(good)), Registration)
    found = decode(orjson.dumps({**good, **change}))
    assert isinstance(found, Reject)
    assert (found.reason, found.detail.split(":")[0]) == ("malformed", word)


def test_files_of_rows_are_read_before_the_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`[assets] registry` names them, relative to fleet.toml; FLEET_INPUT leaves them alone."""
    (tmp_path / "rows.jsonl").write_bytes(b'{"kind":"asset","asset":"a","class":"pump"}\n')
    (tmp_path / "feed.jsonl").write_bytes(b'{"kind":"telemetry","asset":"a","time":5,"readings":{"x":1}}\n')
    (tmp_path / "other.jsonl").write_bytes(b'{"kind":"telemetry","asset":"b","time":5,"readings":{"x":1}}\n')
    (tmp_path / "fleet.toml").write_text(
        """
name = "pumps"
[input]
files = ["feed.jsonl"]
[assets]
unknown = "reject"
registry = ["rows.jsonl"]
[classes.pump]
sensors = ["x"]
example_every = "1h"
[[targets]]
class = "pump"
mode = "leak"
horizon = "1h"
champion = "prior"
[models.prior]
pipeline = [{ estimator = "dataflows.group.estimators.Prior" }]
"""
    )
    assert sequence_of(load(tmp_path / "fleet.toml")) == [("rows.jsonl", "pump"), ("feed.jsonl", "pump")]
    monkeypatch.setenv("FLEET_INPUT", str(tmp_path / "other.jsonl"))
    assert sequence_of(load(tmp_path / "fleet.toml")) == [
        ("rows.jsonl", "pump"),
        ("other.jsonl", "unknown_asset"),
    ]


def sequence_of(fleet: Fleet) -> list[tuple[str, str]]:
    """File and outcome of each record, in the order of the sequence."""
    source = source_of(fleet, Watch()).build_part("source", "lane-0", None)
    lane = Lane(fleet, None, {})
    found: list[tuple[str, str]] = []
    while True:
        try:
            items = list(source.next_batch())
        except StopIteration:
            source.close()
            return found
        for item in items:
            decoded([item])
            name = Path(item.position[0]).name
            (out,) = lane.process([item])
            what = out.body.asset_class if isinstance(out.body, Known) else rejected(out)["reason"]
            found.append((name, what))
