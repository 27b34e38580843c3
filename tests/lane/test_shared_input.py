"""Inputs that every lane reads: what each lane makes of their records, and what the first does for all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from dataflows.connectors.sink import SummaryPartition
from dataflows.events import Command, Failure, Registration, Reject, Weather
from dataflows.fleet.fleet import AssetPolicy, Input
from dataflows.items import Item, ResolvedEvent, Row
from dataflows.lane import Lane
from tests.lane.worlds import FLEET, START, telemetry
from tests.target.fleets import model, target

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.events import Event

SHARED, OWN = "/data/weather.jsonl", "/data/pumps.jsonl"
TWO = replace(
    FLEET,
    input=Input((OWN, "/data/others.jsonl", SHARED), 1, lanes=2, shared=(SHARED,)),
    assets=AssetPolicy("adopt", "pump", 4, registry=("/data/registry.jsonl",)),
    targets={"pump/leak/4h": target([model("prior")])},
)


def opened(number: int, main: bytes | None = None, parts: dict[int, bytes] | None = None) -> Lane:
    return Lane(TWO, main, parts or {}, f"lane-{number}", number=number)


def reopened(lane: Lane, number: int) -> Lane:
    return opened(number, lane.main_snapshot(), {part: lane.part_snapshot(part) for part in lane.changed()})


def item(record: int, lane: int, body: Event | Reject, source: str = OWN) -> Item:
    return Item(record * 2 + lane, 0, None, 0, (source, record, 10 * record), body)


def registration(asset: str = "a", site: str = "north") -> Registration:
    return Registration(asset, "pump", site, {"age": 3.0}, False, None)


def events(items: list[Item]) -> list[object]:
    return [each.body.event for each in items if isinstance(each.body, ResolvedEvent)]


def test_a_registry_row_takes_effect_with_the_first_own_record_of_its_asset() -> None:
    """The latest row of the asset, before that record; where the asset has no own record it has none."""
    old, new = registration(site="south"), registration()
    for number in (0, 1):
        lane = opened(number)
        held = lane.process([item(1, number, old, "/data/registry.jsonl"), item(2, number, new, SHARED)])
        assert held == []
        lane = reopened(lane, number)
        made = lane.process([item(3, number, telemetry("b")), item(4, number, telemetry("a"))])
        assert events(made) == [telemetry("b"), new, telemetry("a")]
        assert [(each.sequence, each.part > 0) for each in made] == [
            (6 + number, False),
            (6 + number, True),
            (8 + number, False),
        ]
        assert events(lane.process([item(5, number, old, SHARED)])) == [old]


def test_shared_records_are_counted_by_the_first_lane_alone() -> None:
    """The summary has each of them once, whatever the number of lanes."""
    shared = [registration("a"), Weather("north", START, None, {}, None), Reject("malformed", "no JSON")]
    totals = []
    for number in (0, 1):
        lane = opened(number)
        made = lane.process([item(n, number, body, SHARED) for n, body in enumerate(shared, start=1)])
        assert [each.body.reason for each in made if isinstance(each.body, Row)] == ["malformed"][number:]
        lane.process([item(4, number, telemetry("a"))])
        totals.append(lane.finish()[0].body)
    counted = [orjson.loads(total.data)["input"] for total in totals]
    assert [each["records"] for each in counted] == [4, 1]
    assert [each["by_kind"] for each in counted] == [
        {"registration": 1, "telemetry": 1, "weather": 1},
        {"telemetry": 1},
    ]
    assert [each["assets"] for each in counted] == [{"lane-0": ["a"]}, {"lane-1": ["a"]}]


def test_an_asset_that_came_in_several_lanes_counts_once(tmp_path: Path) -> None:
    """The summary joins what the lanes say; a registry row that is held is no asset of a lane."""
    partition = SummaryPartition(tmp_path / "summary.json")
    for number, own in ((0, "ab"), (1, "bc")):
        lane = opened(number)
        lane.process([item(1, number, registration("d"), SHARED)])
        lane.process([item(n, number, telemetry(asset)) for n, asset in enumerate(own, start=2)])
        partition.write_batch(lane.finish())
    assert orjson.loads((tmp_path / "summary.json").read_bytes())["input"]["assets"] == 3


def test_a_record_of_an_asset_in_a_shared_input_is_rejected_once() -> None:
    """No lane can know whether the asset is its own."""
    failure = Failure("a", START, "leak", None, None)
    (row,) = opened(0).process([item(1, 0, failure, SHARED)])
    assert isinstance(row.body, Row)
    assert row.body.reason == "other_lane"
    assert b"only weather, registry rows and commands" in row.body.data
    assert opened(1).process([item(1, 1, failure, SHARED)]) == []


def test_a_shared_command_is_sent_once() -> None:
    """By the first lane; one in a lane's own input by that lane."""
    command = Command("pump/leak/4h", "freeze", None, "mel", None, None)
    sent = [opened(number).process([item(1, number, command, SHARED)]) for number in (0, 1)]
    assert [len(each) for each in sent] == [1, 0]
    assert len(opened(1).process([item(1, 1, command)])) == 1
