"""A lane that goes on under another configuration is written whole: main snapshot and parts agree."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dataflows.fleet.fleet import Weather as Seen
from dataflows.instants import HOUR
from dataflows.lane import Lane
from dataflows.lane.lane import LANE_PARTS
from tests.lane.worlds import DAY, WEATHER_PUMP, at_site, rain, records, telemetry, weather_fleet
from tests.lane.worlds import opened as lane_of
from tests.target.fleets import PartStore

CHANGES = {
    "nothing": WEATHER_PUMP,
    "idle_timeout": replace(WEATHER_PUMP, idle_timeout=5 * HOUR),
    "no silence": replace(WEATHER_PUMP, idle_timeout=None, asset_ttl=None),
    "another weather value": replace(WEATHER_PUMP, weather=Seen(("rain", "heat", "wind"), 2 * HOUR, DAY)),
    "a removed weather value": replace(WEATHER_PUMP, weather=Seen(("wind",), 2 * HOUR, DAY)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_resume_after_the_first_epoch_of_a_changed_fleet_finds_what_was_at_work(change: str) -> None:
    """Also what no record touched since: sites, and assets that stay silent."""
    before, after = weather_fleet(WEATHER_PUMP), weather_fleet(CHANGES[change])
    lane, store = lane_of(before), PartStore()
    sites = ("north", "south", "east")
    assets = [f"pump {number}" for number in range(12)]
    weather = [
        rain(0.5 * number, 1.0 + number, arrived=0.5 * number, site=site, wind=7.0 + number)
        for number, site in enumerate(sites)
    ]
    seen = [at_site(name, 2 + number / 9, arrived=2 + number / 9) for number, name in enumerate(assets)]
    late = telemetry("pump 0", 11 * HOUR, 11 * HOUR)
    lane.process(records(*weather, *seen, late))
    store.after_batch(lane)
    store.end_epoch(lane)

    lane = Lane(after, *store.crash())
    lane.process(records(telemetry("pump 1", 11 * HOUR + 1, 11 * HOUR + 1), first=17))
    store.after_batch(lane)
    store.end_epoch(lane)
    again = Lane(after, *store.crash())
    assert again.main_snapshot() == lane.main_snapshot()
    for part in range(LANE_PARTS):
        assert again.part_snapshot(part) == lane.part_snapshot(part), part
    later = [records(telemetry("pump 1", 90 * HOUR, 90 * HOUR), first=18) for _ in range(2)]
    assert again.process(later[0]) == lane.process(later[1])
