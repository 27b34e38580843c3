"""Names that match nothing are counted, and told with the nearest name that would match."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dataflows.events import Event, Failure, Fault, Maintenance, Telemetry
from dataflows.fleet.fleet import AssetPolicy, Limits
from dataflows.lane import Lane
from dataflows.lane.names import Names, sentence
from dataflows.lane.registry import Registry
from tests.asset.oracle import TargetShape
from tests.asset.streams import target_of
from tests.lane.worlds import FLEET, PUMP, counts, records

PUMPS = replace(
    FLEET,
    assets=AssetPolicy("adopt", "pump", 10_000),
    classes={"pump": replace(PUMP, targets=("seal",), sensors=("flow", "load"), faults=("E1", "E2"))},
    targets={"seal": target_of(TargetShape("pump", "seal", "shaft", 10, 0, 10))},
)


def told(*events: Event, lane: Lane | None = None) -> list[tuple[Any, ...]]:
    """What the summary says: what, name, count, nearest."""
    lane = lane or Lane(PUMPS, None, {})
    lane.process(records(*events))
    return [(row["what"], row["name"], row["count"], row["nearest"]) for row in counts(lane)["names"]]


def reading(asset: str, time: int, **readings: float) -> Telemetry:
    return Telemetry(asset, time, dict(readings), None, None)


def test_names_that_match_nothing_are_told_with_the_nearest_that_would() -> None:
    """Of modes, components, assets, sensors and codes; what matches is not told."""
    found = told(
        reading("p", 1, Flow=1.0),
        Failure("p", 2, "Seal", None, None),
        Failure("p", 2, "seal", None, None),
        Failure("P", 2, "seal", None, None),
        Maintenance("p", 3, "shafts", None, None),
        Fault("p", 4, "e1", None, None),
        Fault("p", 4, "E2", None, None),
    )
    assert found == [
        ("asset", "P", 1, "p"),
        ("code", "e1", 1, "E1"),
        ("component", "shafts", 1, "shaft"),
        ("mode", "Seal", 1, "seal"),
        ("sensor", "Flow", 1, "flow"),
        ("missing_sensor", "flow", 0, "Flow"),
        ("missing_sensor", "load", 0, None),
        ("missing_code", "E1", 0, "e1"),
    ]


def test_an_alias_is_a_name_that_matches() -> None:
    """Neither is it undeclared, nor did its sensor never come; names like it are told with it."""
    pump = replace(PUMPS.classes["pump"], limits=(Limits("flow", -1e15, 1e15, aliases=("Q1",)),))
    fleet = replace(PUMPS, classes={"pump": pump})
    found = told(reading("p", 1, Q1=1.0), reading("p", 2, q1=1.0), lane=Lane(fleet, None, {}))
    assert found == [("sensor", "q1", 1, "Q1"), ("missing_sensor", "load", 0, None)] + [
        ("missing_code", code, 0, None) for code in ("E1", "E2")
    ]


def test_a_name_that_was_declared_since_is_told_no_more() -> None:
    """Whoever follows the advice to declare a sensor or mode, and starts again, is not told it again."""
    pump = PUMPS.classes["pump"]
    before = Lane(replace(PUMPS, classes={"pump": replace(pump, sensors=("flow",))}), None, {})
    before.process(records(reading("p", 1, flow=1.0, load=2.0, other=1.0)))
    assert ("sensor", "load", 1, None) in told(lane=before)
    parts = {part: before.part_snapshot(part) for part in before.changed()}
    after = Lane(PUMPS, before.main_snapshot(), parts)
    assert [row for row in told(lane=after) if row[0] == "sensor"] == [("sensor", "other", 1, None)]


def test_an_asset_whose_telemetry_comes_after_its_records_is_not_told() -> None:
    """Labels may arrive before the first telemetry; only what never comes is lost."""
    found = told(Failure("p", 2, "seal", None, None), reading("p", 1, flow=1.0, load=1.0))
    assert [row for row in found if row[0] == "asset"] == []


def test_counts_of_names_survive_a_restart() -> None:
    """Cut anywhere, the summary is the same."""
    events: list[Event] = [
        reading("p", 1, Flow=1.0),
        Failure("Q", 2, "Seal", None, None),
        reading("p", 3, load=1.0),
    ]
    expected = told(*events)
    for cut in range(4):
        lane = Lane(PUMPS, None, {})
        lane.process(records(*events[:cut]))
        parts = {part: lane.part_snapshot(part) for part in lane.changed()}
        again = Lane(PUMPS, lane.main_snapshot(), parts)
        again.process(records(*events[cut:], first=cut + 1))
        assert told(lane=again) == expected


def test_names_are_counted_in_bounded_memory() -> None:
    """A source that makes up a name for each message fills nothing; what is beyond is counted in one row."""
    names = Names(PUMPS)
    for number in range(5_000):
        names.add(Failure("p", 1, f"m{number}", None, None), "pump", sends=True)
    assert len(names.state()["unknown"][0][2]) == 256
    rows = names.report(Registry(PUMPS.assets, PUMPS.classes, {}))
    assert (len(rows), rows[-1]["name"], rows[-1]["count"]) == (21, None, 5_000 - 256)


def test_only_likely_mistakes_are_put_in_words() -> None:
    """Undeclared sensors are usual, unless a declared one is much like them."""
    row = {"what": "sensor", "class": "pump", "name": "Flow", "count": 3, "nearest": "flow"}
    assert sentence(row) == "sensor 'Flow' of class pump is not declared: in 3 messages (nearest: 'flow')"
    assert sentence({**row, "nearest": None}) is None
