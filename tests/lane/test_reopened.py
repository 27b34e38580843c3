"""A lane that goes on under another configuration is written whole: main snapshot and parts agree."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dataflows.fleet.fleet import AssetClass, Fleet, Weather
from dataflows.instants import HOUR
from dataflows.lane import Lane
from dataflows.lane.lane import LANE_PARTS
from tests.lane.test_lane import FLEET, records, telemetry
from tests.lane.test_lane import opened as lane_of
from tests.lane.test_weather_join import rain
from tests.lane.test_weather_join import telemetry as at_site
from tests.target.fleets import PartStore, model, target

DAY = 24 * HOUR
#: Its examples can be corrected for long, so that silent assets do not rest.
TARGET = target([model("prior")], label_memory=9 * DAY)
PUMP = AssetClass(
    "pump",
    ("x",),
    True,
    (),
    ("x",),
    HOUR,
    HOUR,
    (TARGET.name,),
    idle_timeout=HOUR,
    asset_ttl=30 * DAY,
    weather=Weather(("rain", "wind"), 2 * HOUR, DAY),
)


def fleet(pump: AssetClass) -> Fleet:
    return replace(
        FLEET,
        classes={"pump": pump},
        targets={TARGET.name: TARGET},
        assets=replace(FLEET.assets, max_assets=99),
    )


CHANGES = {
    "nothing": PUMP,
    "idle_timeout": replace(PUMP, idle_timeout=5 * HOUR),
    "no silence": replace(PUMP, idle_timeout=None, asset_ttl=None),
    "another weather value": replace(PUMP, weather=Weather(("rain", "heat", "wind"), 2 * HOUR, DAY)),
    "a removed weather value": replace(PUMP, weather=Weather(("wind",), 2 * HOUR, DAY)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_resume_after_the_first_epoch_of_a_changed_fleet_finds_what_was_at_work(change: str) -> None:
    """Also what no record touched since: sites, and assets that stay silent."""
    before, after = fleet(PUMP), fleet(CHANGES[change])
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
