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
from dataflows.fleet.fleet import AssetClass, AssetPolicy, Fleet, Input, Output
from dataflows.instants import HOUR
from dataflows.items import Item, ResolvedEvent, Row
from dataflows.lane import Lane
from dataflows.lane.registry import Registry
from dataflows.pipeline import decoded
from dataflows.status import RunStatus

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
        item.body.asset_class if isinstance(item.body, ResolvedEvent) else rejected(item)["reason"]
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
    source = source_of(fleet, RunStatus()).build_part("source", "lane-0", None)
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
            what = out.body.asset_class if isinstance(out.body, ResolvedEvent) else rejected(out)["reason"]
            found.append((name, what))


def test_a_row_without_a_site_keeps_the_site() -> None:
    """A row changes what it names; a partial one wipes nothing."""
    registry = Registry(FLEET.assets, FLEET.classes, {})
    for site in ("north", None):
        registry.register(Registration("a", "pump", site, {}, False, None))
    assert registry.site_of("a") == "north"


State = tuple[bytes | None, bytes | None, dict[int, bytes]]


def read_on(folder: Path, state: State) -> tuple[State, list[tuple[Any, ...]]]:
    """Run source and lane of a fleet to the end of the input; the new state, and what came out."""
    source, main, parts = state
    fleet = replace(
        FLEET,
        input=Input((str(folder / "events.jsonl"),), 2),
        assets=replace(FLEET.assets, max_assets=9, registry=(str(folder / "registry.jsonl"),)),
    )
    partition = source_of(fleet, RunStatus()).build_part("source", "lane-0", source)
    lane = Lane(fleet, main, parts)
    items: list[Item] = []
    try:
        while True:
            items += lane.process(decoded(partition.next_batch()))
    except StopIteration:
        snapshot = partition.snapshot()
        partition.close()
    parts = {**parts, **{part: lane.part_snapshot(part) for part in lane.changed()}}
    found = [
        (item.sequence, item.body.event.asset, item.body.asset_class)
        if isinstance(item.body, ResolvedEvent)
        else (item.sequence, rejected(item)["reason"])
        for item in items
    ]
    return (snapshot, lane.main_snapshot(), parts), found


def write_rows(path: Path, *assets: str, pump: str = "pump") -> None:
    rows = [{"kind": "asset", "asset": name, "class": "fan" if name == "f" else pump} for name in assets]
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))


def test_a_registry_written_anew_is_read_whole_and_only_what_changed_takes_effect(tmp_path: Path) -> None:
    """A row in the middle is found; rows that say what the file said before do not overrule the stream."""
    feed = tmp_path / "events.jsonl"
    told = b'{"kind":"telemetry","asset":"%s","time":5,"readings":{"x":1}}\n'
    write_rows(tmp_path / "registry.jsonl", "p1", "p3")
    feed.write_bytes(told % b"p1" + b'{"kind":"asset","asset":"p3","class":"fan"}\n' + told % b"p2")
    state, first = read_on(tmp_path, (None, None, {}))
    assert [row[1:] for row in first] == [
        ("p1", "pump"),
        ("p3", "pump"),
        ("p1", "pump"),
        ("p3", "fan"),
        ("unknown_asset",),
    ]
    assert read_on(tmp_path, state)[1] == []
    write_rows(tmp_path / "registry.jsonl", "p1", "p2", "p3")
    with feed.open("ab") as file:
        file.write(told % b"p2" + told % b"p3")
    expected = [(7, "p2", "pump"), (9, "p2", "pump"), (10, "p3", "fan")]
    # A run that is killed before its first snapshot starts from the same state, and does the same.
    assert read_on(tmp_path, state)[1] == expected
    state, second = read_on(tmp_path, state)
    assert second == expected
    write_rows(tmp_path / "registry.jsonl", "p1", "p2", "p3", pump="fan")
    state, third = read_on(tmp_path, state)
    assert third == [(11, "p1", "fan"), (12, "p2", "fan"), (13, "p3", "fan")]
    assert read_on(tmp_path, state)[1] == []
