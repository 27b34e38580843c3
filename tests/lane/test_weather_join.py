"""Weather in the lane: what is kept, what is refused, and who hears of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import structlog

from dataflows.events import Event, Fault, Registration, Telemetry
from dataflows.fleet.fleet import AssetClass, Fleet
from dataflows.fleet.fleet import Weather as Seen
from dataflows.instants import HOUR
from dataflows.items import Expiry, Item, LateWeather, ResolvedEvent, Row, by_order, lane_part
from dataflows.lane import Lane
from tests.lane.worlds import FLEET, START, at_site, counts, opened, rain, records

if TYPE_CHECKING:
    from dataflows.items import WeatherAsOf

DAY = 24 * HOUR
PUMP = AssetClass("pump", ("x",), True, (), ("x",), HOUR, HOUR, (), weather=Seen(("rain",), 2 * HOUR, DAY))
#: Weather is kept for max_age + allowed_lateness + memory + max_future: 28 hours.
KEPT = 28
OUTSIDE: Fleet = replace(FLEET, classes={"pump": PUMP})


def joined(item: Item) -> WeatherAsOf | None:
    assert isinstance(item.body, ResolvedEvent)
    return item.body.weather


def hours(item: Item) -> float | None:
    """Of the weather that telemetry got."""
    found = joined(item)
    return None if found is None or found.time is None else (found.time - START) / HOUR


def told(items: list[Item]) -> list[str]:
    """Assets that hear of late weather."""
    return [
        item.body.event.asset
        for item in items
        if isinstance(item.body, ResolvedEvent) and isinstance(item.body.event, LateWeather)
    ]


def reason(item: Item) -> str | None:
    return item.body.reason if isinstance(item.body, Row) else None


def after(*events: Event, fleet: Fleet = OUTSIDE) -> Lane:
    lane = opened(fleet)
    lane.process(records(*events))
    return lane


def resumed(lane: Lane, fleet: Fleet = OUTSIDE) -> Lane:
    """From snapshots of every part."""
    lane.changed()
    return Lane(fleet, lane.main_snapshot(), {part: lane.part_snapshot(part) for part in range(64)})


def test_the_site_is_the_events_own_or_that_of_the_latest_registry_row() -> None:
    """An own site wins; without any there is no weather, not even a missing one."""
    lane = after(rain(0), rain(0, site="south"))
    row = Registration("a", "pump", "south", {}, False, None)
    sites = [
        joined(item)
        for item in lane.process(
            records(at_site("a", 0.1, None), row, at_site("a", 0.2, None), at_site("a", 0.3), row, first=3)
        )
    ]
    assert sites[0] is None
    assert [found and found.site for found in sites[2:4]] == ["south", "north"]


def test_classes_without_weather_get_none_and_rows_are_only_counted() -> None:
    """A fleet that names no weather passes rows over: no reject, no part, nothing attached."""
    lane = opened()
    out = lane.process(records(rain(0), at_site("a", 0)))
    assert [item.body for item in out] == [ResolvedEvent(at_site("a", 0), "pump")]
    assert counts(lane)["by_kind"] == {"telemetry": 1, "weather": 1}
    assert all(part < 32 for part in lane.changed())


def test_a_row_that_no_class_reads_does_not_hide_another() -> None:
    """A later row with other values only leaves the earlier one in place."""
    lane = after(rain(0), rain(0.5, None, fog=1.0))
    (out,) = lane.process(records(at_site("a", 1), first=3))
    assert hours(out) == 0


def test_messages_of_one_time_and_issue_are_one_row() -> None:
    """What one message lacks the other has; a message that says nothing new is a duplicate."""
    both = replace(PUMP, weather=Seen(("rain", "wind"), HOUR, DAY))
    lane = opened(replace(FLEET, classes={"pump": both}))
    out = lane.process(records(rain(0), rain(0, None, wind=3.0), rain(0, None, wind=3.0), at_site("a", 0)))
    assert [reason(item) for item in out] == ["duplicate", None]
    found = joined(out[1])
    assert found is not None
    assert found.values == (1.0, 3.0)


def test_weather_of_a_wrong_clock_is_rejected() -> None:
    """An issue beyond max_future, and a time beyond a year ahead; a forecast for next week is none."""
    lane = opened(OUTSIDE)
    out = lane.process(
        records(
            rain(1, issued=1.1, arrived=0),
            rain(1, issued=0.9, arrived=0),
            rain(9_000, arrived=0),
            rain(168, arrived=0),
        )
    )
    assert [(item.sequence, reason(item)) for item in out] == [(1, "future"), (3, "future")]
    assert counts(lane)["by_kind"] == {"weather": 2}


def test_weather_is_let_go_behind_the_stream() -> None:
    """Rows older than what is kept find no event any more, take no memory, and go to the late output."""
    lane = opened(OUTSIDE)
    sequence = 0
    sizes = []
    for hour in range(400):
        sequence += 2
        out = lane.process(records(rain(hour), at_site("a", hour), first=sequence - 1))
        assert hours(out[-1]) == hour
        lane.changed()
        sizes.append(sum(len(lane.part_snapshot(part)) for part in range(32, 48)))
    assert max(sizes) < 2 * sizes[KEPT]
    out = lane.process(
        records(
            at_site("b", 399 - KEPT),
            at_site("b", 398 - KEPT),
            rain(398.9 - KEPT),
            rain(399 - KEPT, 9.0),
            first=900,
        )
    )
    assert [hours(item) for item in out[:2]] == [399 - KEPT, None]
    assert reason(out[2]) == "too_late"
    assert told(out) == ["b"]


def test_no_more_rows_are_held_than_max_weather() -> None:
    """Those that wait for their issue count too; room comes back as rows are let go, in any batches."""
    fleet = replace(OUTSIDE, assets=replace(FLEET.assets, max_weather=3))
    bodies = [rain(0), rain(1, issued=200), rain(2, site="south"), rain(3), at_site("a", 40), rain(41)]
    bodies += [at_site("a", 80), rain(41, 2.0), rain(90), at_site("a", 250), rain(250)]
    together = opened(fleet).process(records(*bodies))
    lane, alone = opened(fleet), []
    for number, body in enumerate(bodies, start=1):
        alone += lane.process(records(body, first=number))
        lane = resumed(lane, fleet)
    rejected = [item.sequence for item in alone if reason(item) == "no_room"]
    assert rejected == [item.sequence for item in together if reason(item) == "no_room"]
    assert rejected == [4, 6]
    assert told(alone[-1:]) == ["a"]


def test_one_wrong_clock_takes_the_weather_from_nobody() -> None:
    """Without arrivals nothing tells a wrong clock: weather goes when telemetry and weather are ahead."""
    lane = after(rain(0), at_site("broken", 24 * 365))
    assert hours(lane.process(records(at_site("a", 1), first=3))[0]) == 0
    lane = after(rain(0), rain(24 * 365, site="broken"), at_site("a", 0.5))
    assert hours(lane.process(records(at_site("a", 1), first=4))[0]) == 0


def test_telemetry_that_finds_none_is_counted_and_what_memory_costs_is_said_once() -> None:
    """The summary counts it; the log says which key keeps more."""
    lane = after(rain(0), rain(100), at_site("a", 100))
    with structlog.testing.capture_logs() as logs:
        lane.process(records(*(at_site(asset, 1) for asset in "bcd"), first=4))
    assert counts(lane)["without_weather"] == 3
    (log,) = logs
    assert log["event"].startswith("telemetry is older than the weather that is kept")
    assert log["event"].endswith("classes.pump.weather.memory keeps more")


def test_late_weather_goes_to_those_at_its_site_in_order_of_their_names() -> None:
    """Not to those that were seen elsewhere since, were scored before it, or have newer weather."""
    lane = after(
        at_site("d", 1),
        at_site("c", 1, "south"),
        at_site("b", 1),
        at_site("a", 0.4),
        fleet=replace(OUTSIDE, assets=replace(FLEET.assets, max_assets=9)),
    )
    out = lane.process(records(rain(0.5), first=5))
    assert told(out) == ["b", "d"]
    assert [by_order(item) for item in out] == [(5, lane_part(1)), (5, lane_part(2))]
    assert told(lane.process(records(rain(0.4), first=6))) == ["a"]
    assert told(lane.process(records(at_site("b", 2, "south"), rain(0.6), first=7))) == ["d"]


def test_a_row_ahead_of_its_issue_is_known_when_that_comes() -> None:
    """Before the first record that arrives then: at that instant, after silence that was due before it."""
    watched = replace(PUMP, idle_timeout=2 * HOUR)
    lane = opened(replace(OUTSIDE, classes={"pump": watched}))
    lane.process(records(at_site("a", 1, arrived=1), rain(0.5, issued=1.5, arrived=1)))
    lane = resumed(lane, replace(OUTSIDE, classes={"pump": watched}))
    out = lane.process(records(at_site("b", 4, arrived=4), first=3))
    bodies = [item.body.event for item in out if isinstance(item.body, ResolvedEvent)]
    assert [type(body) for body in bodies] == [LateWeather, Expiry, Telemetry]
    assert [(item.sequence, item.part) for item in out] == [(2, lane_part(1)), (2, lane_part(2)), (3, 0)]
    assert [(item.arrival, item.known) for item in out] == [
        (START + round(at * HOUR), START + round(at * HOUR)) for at in (1.5, 3, 4)
    ]


def test_arrival_goes_on_after_a_row_that_was_issued_before_it() -> None:
    """What a row revises has the instant of its issue as arrival; the record after it has its own."""
    lane = after(at_site("a", 1, arrived=1), rain(0.5, issued=1.5, arrived=1))
    out = lane.process(records(at_site("b", 4, arrived=4), first=3))
    assert told(out) == ["a"]
    assert [(item.arrival, item.known) for item in out] == [
        (START + round(at * HOUR), START + round(at * HOUR)) for at in (1.5, 4)
    ]
    assert lane.arrival == START + 4 * HOUR


def test_things_made_between_two_records_have_parts_of_their_own() -> None:
    """What a row sends out and the silence that follows it share a sequence, but no part."""
    watched = replace(PUMP, idle_timeout=HOUR)
    fleet = replace(OUTSIDE, classes={"pump": watched})
    lane = opened(fleet)
    first = lane.process(records(at_site("a", 1, arrived=1), at_site("b", 1, arrived=1), rain(1, arrived=1)))
    lane = resumed(lane, fleet)
    second = lane.process(records(rain(1, 2.0, issued=3.5, arrived=3.5), first=4))
    places = [by_order(item) for item in [*first, *second]]
    assert places == sorted(set(places))
    assert told(first) == told(second) == ["a", "b"]


@pytest.mark.parametrize("ttl", [2, 3])
def test_assets_that_were_dropped_hear_of_nothing(ttl: int) -> None:
    """Neither those that a tombstone remembers nor those that are forgotten; one that comes back does."""
    watched = replace(PUMP, idle_timeout=HOUR, asset_ttl=ttl * HOUR)
    fleet = replace(OUTSIDE, classes={"pump": watched}, assets=replace(FLEET.assets, max_tombstones=1))
    lane = opened(fleet)
    lane.process(records(*(at_site(asset, 1, arrived=1) for asset in "abc")))
    out = lane.process(records(at_site("d", 9, arrived=9), rain(1, arrived=9), first=4))
    assert (
        sum(isinstance(item.body, ResolvedEvent) and isinstance(item.body.event, Expiry) for item in out) > 3
    )
    assert told(out) == []
    back = lane.process(records(at_site("a", 9.1, arrived=9.1), rain(9, arrived=9.2), first=6))
    assert told(back) == ["a", "d"]


def test_a_fault_makes_telemetry_before_it_late() -> None:
    """Late telemetry is not what is scored last, so it moves the asset nowhere."""
    lane = after(at_site("a", 1), Fault("a", START + 2 * HOUR, "hot", None, None), at_site("a", 1.5, "south"))
    assert told(lane.process(records(rain(1), rain(1, site="south"), first=4))) == ["a"]


def test_another_class_may_bring_other_values() -> None:
    """Rows that were stored before a value was declared lack it, and keep the others."""
    lane = after(rain(0, 5.0, fog=1.0), rain(3, 6.0, issued=2.0), at_site("a", 0))
    more = replace(PUMP, name="fan", weather=Seen(("fog", "rain"), 4 * HOUR, DAY))
    fleet = replace(OUTSIDE, classes={"pump": PUMP, "fan": more})
    again = resumed(lane, fleet)
    row = Registration("b", "fan", None, {}, False, None)
    out = again.process(records(row, at_site("b", 1), at_site("b", 3), at_site("a", 3), first=4))
    seen: list[Any] = [joined(item) for item in out]
    assert [str(found.values) for found in seen[1:]] == ["(nan, 5.0)", "(nan, 6.0)", "(6.0,)"]
    assert orjson.dumps([found.time for found in seen[1:]]) == orjson.dumps(
        [START, START + 3 * HOUR, START + 3 * HOUR]
    )
