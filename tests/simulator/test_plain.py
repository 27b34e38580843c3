"""The plain scenario: reproducible, valid by the event contract, and true to its own physics."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from dataflows.instants import HOUR, format_instant, parse_instant
from dataflows.simulator import Scenario, Simulated, simulate, write

if TYPE_CHECKING:
    from pathlib import Path

SMALL = Scenario(trucks=12, days=40, every="30m", seed=3)
WIDE = Scenario(trucks=60, days=60, every="30m", seed=5)
SENSORS = ("coolant_level", "engine_temperature", "fan_speed", "load", "ambient_temperature")
SPAN = SMALL.days * 24 * HOUR

Rows = list[dict[str, Any]]


@cache
def simulated(settings: Scenario) -> Simulated:
    """One run for all tests that only read it."""
    return simulate(settings)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rows, Rows]:
    """The rows of events and truth as written."""
    made = write(SMALL, tmp_path_factory.mktemp("fleet") / "made" / "here")
    paths = made.events, made.truth
    events, truth = ([orjson.loads(line) for line in path.read_bytes().splitlines()] for path in paths)
    return events, truth


def failures(rows: Rows) -> Rows:
    """The failure events among events."""
    return [row for row in rows if row["kind"] == "failure"]


def episodes(rows: Rows) -> Rows:
    """The episodes among rows of truth."""
    return [row for row in rows if row["kind"] == "episode"]


def aligned(sensor: str, first: float, last: float) -> float:
    """Mean of the episodes' mean readings between so many hours before failure and so many."""
    fleet, column = simulated(WIDE), SENSORS.index(sensor)
    truck, time, readings = fleet.messages.truck, fleet.messages.time, fleet.messages.readings
    means = []
    for each in fleet.episodes:
        if each.failed is not None:
            own = (truck == each.truck) & (time >= each.began)
            own &= (time >= each.failed - first * HOUR) & (time < each.failed - last * HOUR)
            if np.isfinite(readings[own, column]).any():
                means.append(np.nanmean(readings[own, column]))
    assert len(means) > 20, "too few episodes for a statistical statement"
    return float(np.mean(means))


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    """Two runs of equal settings write equal files."""
    small = Scenario(trucks=12, days=10, every="30m", seed=3)
    first, second = write(small, tmp_path / "first"), write(small, tmp_path / "second")
    assert [path.name for path in first] == ["events.jsonl", "deliveries.jsonl", "truth.jsonl", "hazard.npz"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_another_seed_gives_another_recording() -> None:
    """The seed reaches both the readings and the failures."""
    one, other = simulated(SMALL), simulated(Scenario(trucks=12, days=40, every="30m", seed=4))
    assert not np.array_equal(one.messages.readings[:100], other.messages.readings[:100])
    assert one.episodes != other.episodes


def test_events_are_ordered_by_arrival(files: tuple[Rows, Rows]) -> None:
    """Arrival never runs back, is never before the event and is always within the recording."""
    arrivals = [parse_instant(event["arrived"]) for event in files[0]]
    assert arrivals == sorted(arrivals)
    assert arrivals[-1] < SMALL.start + SPAN
    assert all(parse_instant(event["time"]) < at for event, at in zip(files[0], arrivals, strict=True))


def test_telemetry_arrives_within_a_minute_and_failures_after_an_hour_at_least(
    files: tuple[Rows, Rows],
) -> None:
    """Trucks report at once, workshops late."""
    delays: dict[str, list[int]] = {"telemetry": [], "failure": []}
    for event in files[0]:
        delays[event["kind"]].append(parse_instant(event["arrived"]) - parse_instant(event["time"]))
    assert max(delays["telemetry"]) < HOUR / 60
    assert min(delays["failure"]) >= HOUR


def test_events_have_the_fields_and_types_of_the_contract(files: tuple[Rows, Rows]) -> None:
    """Kinds, fields, RFC 3339 in canonical form, and finite readings or null."""
    for event in files[0]:
        assert format_instant(parse_instant(event["time"])) == event["time"]
        assert isinstance(parse_instant(event["arrived"]), int)
        if event["kind"] == "telemetry":
            assert set(event) == {"kind", "asset", "time", "readings", "arrived"}
            assert tuple(event["readings"]) == SENSORS
            values = [value for value in event["readings"].values() if value is not None]
            assert all(isinstance(value, float) and math.isfinite(value) for value in values)
        else:
            assert event["kind"] == "failure"
            assert set(event) == {"kind", "asset", "time", "mode", "id", "arrived"}
            assert event["mode"] == "coolant_leak"


def test_identities_never_repeat(files: tuple[Rows, Rows]) -> None:
    """No truck sends twice for one time, and no failure id is used twice."""
    telemetry = [(event["asset"], event["time"]) for event in files[0] if event["kind"] == "telemetry"]
    assert len(set(telemetry)) == len(telemetry)
    ids = [event["id"] for event in failures(files[0])]
    assert len(set(ids)) == len(ids) > 0


def test_sensors_are_null_now_and_then() -> None:
    """Every sensor misses some readings, and far fewer than it sends."""
    missing = np.isnan(simulated(WIDE).messages.readings).mean(axis=0)
    assert (missing > 0.001).all()
    assert (missing < 0.03).all()


def test_each_failure_event_is_an_episode_of_the_truth(files: tuple[Rows, Rows]) -> None:
    """Failure events are exactly the episodes that were reported before the recording ended."""
    told = {(row["asset"], row["time"], row["arrived"]) for row in failures(files[0])}
    true = {
        (row["asset"], row["failed"], row["reported"])
        for row in episodes(files[1])
        if row["failed"] is not None and parse_instant(row["reported"]) < SMALL.start + SPAN
    }
    assert told == true
    assert told


def test_what_arrives_after_the_end_is_in_the_truth_only() -> None:
    """A recording that ends between a failure and its report tells of the failure in the truth alone."""
    day = 24 * HOUR
    reported = [each for each in simulated(SMALL).episodes if each.reported]
    overnight = next(each for each in reported if (each.failed or 0) // day < (each.reported or 0) // day)
    days = ((overnight.failed or 0) - SMALL.start) // day + 1
    cut = simulate(Scenario(trucks=12, days=days, every="30m", seed=3))
    assert overnight in cut.episodes
    told = {(row["asset"], row["time"]) for row in failures(list(cut.events()))}
    assert (cut.names[overnight.truck], format_instant(overnight.failed or 0)) not in told


def test_an_episode_begins_opens_fails_and_returns_in_this_order(files: tuple[Rows, Rows]) -> None:
    """Each truck's episodes follow one another, the next beginning when the truck is back."""
    back: dict[str, str | None] = {}
    for row in episodes(files[1]):
        assert row["began"] == back.get(row["asset"], format_instant(SMALL.start))
        times = [row[name] for name in ("began", "onset", "failed", "returned")]
        reached = [parse_instant(time) for time in times if time is not None]
        assert times[len(reached) :] == [None] * (4 - len(reached))
        assert reached == sorted(set(reached))
        back[row["asset"]] = row["returned"]
    assert len(back) == SMALL.trucks


def test_a_truck_in_the_workshop_is_silent(files: tuple[Rows, Rows]) -> None:
    """No telemetry lies between a failure and the return, and the truck drove shortly before."""
    times: dict[str, list[int]] = {}
    for event in files[0]:
        if event["kind"] == "telemetry":
            times.setdefault(event["asset"], []).append(parse_instant(event["time"]))
    last = []
    for row in (row for row in episodes(files[1]) if row["failed"] is not None):
        failed, returned = parse_instant(row["failed"]), parse_instant(row["returned"])
        assert not [time for time in times[row["asset"]] if failed <= time < returned]
        last.append(failed - max(time for time in times[row["asset"]] if time < failed))
    assert 0 < min(last) <= sorted(last)[len(last) // 2] < HOUR  # a truck may fail before its day's first


def test_trucks_drive_by_day_mostly() -> None:
    """Hardly anything is sent between 21:00 and 03:00."""
    hours = simulated(WIDE).messages.time // HOUR % 24
    assert ((hours >= 21) | (hours < 3)).mean() < 0.003


def test_some_trucks_never_fail_and_some_fail_twice() -> None:
    """Trucks wear at their own pace."""
    failed = [each.truck for each in simulated(WIDE).episodes if each.failed is not None]
    assert len(set(failed)) < WIDE.trucks * 0.9
    assert len(set(failed)) < len(failed)


def test_the_level_falls_before_a_failure() -> None:
    """In the last day before a failure there is much less coolant than a fortnight before."""
    assert aligned("coolant_level", 24, 0) < aligned("coolant_level", 336, 240) - 0.25


def test_the_fan_rises_before_the_temperature_does() -> None:
    """Hours before the end the fan has gone a larger part of its way than the temperature has."""
    done = {}
    for sensor in ("fan_speed", "engine_temperature"):
        before, then, at_last = (aligned(sensor, *span) for span in ((336, 240), (24, 3), (1, 0)))
        assert then > before
        done[sensor] = (then - before) / (at_last - before)
    assert done["fan_speed"] > 2 * done["engine_temperature"]


@pytest.mark.parametrize("cause", ["load", "ambient_temperature"])
def test_heat_and_load_make_the_fan_work_harder(cause: str) -> None:
    """The fan follows load and weather, by more than its sensor's noise, so it alone tells of no leak."""
    fleet = simulated(WIDE)
    fan, by = (fleet.messages.readings[:, SENSORS.index(name)] for name in ("fan_speed", cause))
    low, high = np.nanquantile(by, (0.25, 0.75))
    assert np.nanmean(fan[by > high]) - np.nanmean(fan[by < low]) > 60


def test_drivers_top_up_leaking_trucks() -> None:
    """From one midnight to the next the level of a leaking truck sometimes jumps up."""
    hidden, steps = simulated(WIDE).lived.hidden, 48
    leak, level = hidden["coolant_leak"][::steps], hidden["coolant_level"][::steps]
    same = hidden["coolant_wear"][steps::steps] >= hidden["coolant_wear"][:-steps:steps]
    leaking = (leak[:-1] > 0) & (leak[1:] > 0) & same
    assert ((level[1:] - level[:-1] > 0.2) & leaking).sum() > 5


def test_a_leak_is_open_exactly_where_wear_has_passed_its_point() -> None:
    """Hidden states are told for each truck and step, and agree with each other."""
    hidden = simulated(WIDE).lived.hidden
    assert hidden["coolant_leak"].shape == (60 * 48, 60)
    assert ((hidden["coolant_leak"] > 0) <= (hidden["coolant_wear"] > 0.999)).all()
    assert ((hidden["coolant_level"] >= 0) & (hidden["coolant_level"] <= 1)).all()


def test_half_the_step_gives_twice_the_messages() -> None:
    """The step sets the pace of telemetry."""
    few, many = (
        simulate(Scenario(trucks=5, days=5, every=every, seed=1)).messages.time.size
        for every in ("1h", "30m")
    )
    assert 1.7 < many / few < 2.3
