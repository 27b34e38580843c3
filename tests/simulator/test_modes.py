"""How trucks fail: drawn from the hazard, by physics that a mechanic would accept; repairs and services."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from dataflows.instants import HOUR, MICROSECONDS
from dataflows.simulator import Episode, Simulated, load_scenario, simulate

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = MICROSECONDS["d"]
MODES = ("coolant_leak", "bearing_wear", "battery_ageing")


@cache
def many(**changes: object) -> Simulated:
    """Many trucks over a winter, hourly, with all modes."""
    settings = {
        "trucks": 250,
        "days": 120,
        "every": "1h",
        "start": "2025-10-15T00:00:00Z",
        "modes": list(MODES),
    }
    return simulate(load_scenario("plain", **(settings | changes)))


@cache
def serviced() -> Simulated:
    """As `many`, smaller, with services, and from the 40th day on with bearings that wear otherwise."""
    part = {"after": "40d", "mode": "bearing_wear", "life": 0.3, "severity": 5.0, "retrofit": 0.5}
    service = {"every": "30d", "finds": 0.9}
    scenario = load_scenario(
        "plain", trucks=150, days=100, every="1h", modes=["bearing_wear"], part=part, service=service
    )
    return simulate(scenario)


def failed(fleet: Simulated, mode: str) -> list[Episode]:
    return [each for each in fleet.episodes if each.mode == mode and each.failed is not None]


def step_of(fleet: Simulated, each: Episode) -> int:
    """The last step that the truck was at work in before a failure."""
    latest = ((each.failed or 0) - fleet.scenario.start) // fleet.scenario.every
    steps = np.flatnonzero(fleet.lived.exposed[: latest + 1, each.truck])
    return int(steps[-1])


@pytest.mark.parametrize("mode", MODES)
def test_failures_are_as_many_as_the_integrated_hazard(mode: str) -> None:
    """Count minus integrated hazard is a martingale with the latter as variance: within four of its roots."""
    fleet = many()
    expected = float((fleet.lived.hazard[:, :, MODES.index(mode)] * fleet.lived.exposed).sum())
    count = len(failed(fleet, mode))
    assert expected > 10
    assert abs(count - expected) < 4 * np.sqrt(expected)


@pytest.mark.parametrize("mode", MODES)
def test_failures_come_at_the_rate_of_the_hazard_that_was(mode: str) -> None:
    """Of steps with low, middle and high hazard each, as many end in a failure as their hazard says."""
    fleet, column = many(), MODES.index(mode)
    hazard = fleet.lived.hazard[:, :, column]
    rates = np.array([hazard[step_of(fleet, each), each.truck] for each in failed(fleet, mode)])
    risk = hazard * fleet.lived.exposed
    borders = [0.0, *np.quantile(rates, (0.33, 0.67)), np.inf]
    for low, high in pairwise(borders):
        expected = risk[(hazard > low) & (hazard <= high)].sum()
        assert abs(((rates > low) & (rates <= high)).sum() - expected) < 4 * np.sqrt(expected) + 1


@pytest.mark.parametrize("mode", MODES)
def test_the_exposure_of_episodes_is_the_integrated_hazard(mode: str) -> None:
    """What episodes tell and what the arrays tell is one thing."""
    fleet = many()
    total = sum(each.exposure for each in fleet.episodes if each.mode == mode)
    column = fleet.lived.hazard[:, :, MODES.index(mode)].astype(float)
    assert (column * fleet.lived.exposed).sum() == pytest.approx(total, rel=1e-4)


def test_a_resting_truck_does_not_fail() -> None:
    """Hazard and exposure are zero where a truck rests or stands in the workshop."""
    lived = many().lived
    assert (lived.hazard[lived.exposed == 0] == 0).all()
    assert 0.2 < (lived.exposed > 0).mean() < 0.6


@pytest.mark.parametrize(
    ("mode", "sensor", "worst", "much"),
    [
        ("coolant_leak", "coolant_level", np.nanmin, -0.5),
        ("bearing_wear", "vibration", np.nanmax, 3.0),
        ("battery_ageing", "cranking_voltage", np.nanmin, -1.5),
    ],
)
def test_a_fault_shows_before_the_failure(
    mode: str, sensor: str, worst: Callable[[Any], float], much: float
) -> None:
    """In its last three days a truck's sensor has been far off where the fleet's usually is."""
    fleet = many()
    column = [each.name for each in fleet.sensors].index(sensor)
    truck, time, readings = fleet.messages.truck, fleet.messages.time, fleet.messages.readings[:, column]
    found = []
    for each in failed(fleet, mode)[:60]:
        lead = (each.failed or 0) - time
        last = readings[(truck == each.truck) & (lead > 0) & (lead < 3 * DAY)]
        if np.isfinite(last).any():
            found.append(worst(last))
    assert (np.median(found) - np.nanmedian(readings)) / much > 1


def test_batteries_fail_in_the_cold() -> None:
    """The mean temperature at failing starts is below that of all starts by more than chance."""
    fleet = many()
    ambient = [sensor.name for sensor in fleet.sensors].index("ambient_temperature")
    first = np.append(True, np.diff(fleet.messages.time) > 6 * HOUR)
    every = fleet.messages.readings[first, ambient]
    cold = []
    for each in failed(fleet, "battery_ageing"):
        near = np.abs(fleet.messages.time - (each.failed or 0)) < 2 * HOUR
        cold.append(np.nanmean(fleet.messages.readings[near, ambient]))
    assert np.mean(cold) < np.nanmean(every) - 2.0


def test_a_warm_winter_spares_batteries() -> None:
    """The same fleet from spring on has far fewer battery failures."""
    summer = many(start="2025-05-01T00:00:00Z", modes=("battery_ageing",))
    assert len(failed(summer, "battery_ageing")) < 0.5 * len(failed(many(), "battery_ageing"))


def test_a_repaired_truck_keeps_its_other_parts() -> None:
    """The wear of the bearing goes on through a repair of the cooling."""
    fleet = many()
    wear, coolant = fleet.lived.hidden["bearing_wear"], fleet.lived.hidden["coolant_wear"]
    renewed = (np.diff(coolant, axis=0) < -0.2) & (np.abs(np.diff(wear, axis=0)) < 0.1)
    assert renewed.sum() > 50


def test_services_replace_worn_parts_in_time() -> None:
    """Some episodes end in a replacement, recorded as maintenance of the component; the next begins there."""
    fleet = serviced()
    replaced = [each for each in fleet.episodes if each.replaced is not None]
    assert len(replaced) > 20
    following = {(each.truck, each.number): each.began for each in fleet.episodes}
    work = {(work.truck, work.time) for work in fleet.lived.work if work.component == "bearing"}
    for each in replaced:
        assert each.failed is None
        assert following[each.truck, each.number + 1] == each.replaced
        assert (each.truck, each.replaced) in work


def test_maintenance_is_recorded_with_components() -> None:
    """Repairs name their component, services that replaced nothing an inspection, each with its own id."""
    rows = [row for row in serviced().events() if row["kind"] == "maintenance"]
    assert {row["component"] for row in rows} == {"bearing", "inspection"}
    assert len({row["id"] for row in rows}) == len(rows)
    assert all(row["arrived"] >= row["time"] for row in rows)


def test_some_repairs_are_recorded_before_their_failures() -> None:
    """The order in which records arrive is not that in which things happened."""
    failures, repairs = {}, {}
    for row in serviced().events():
        if row["kind"] == "failure":
            failures[row["asset"], row["time"][:10]] = row["arrived"]
        elif row["kind"] == "maintenance":
            repairs[row["asset"], row["time"][:10]] = row["arrived"]
    both = failures.keys() & repairs.keys()
    assert 0 < sum(repairs[key] < failures[key] for key in both) < len(both)


def test_new_parts_fail_otherwise_from_their_instant_on() -> None:
    """Parts built in from then on, and only they, fail sooner after less wear."""
    fleet = serviced()
    at = fleet.scenario.start + 40 * DAY
    assert all(each.new == (each.began >= at) for each in fleet.episodes)
    assert sum(each.new and each.number == 2 and each.began < at + DAY for each in fleet.episodes) > 50
    took = {
        new: np.median(
            [(e.failed or 0) - e.onset for e in failed(fleet, "bearing_wear") if e.onset and e.new is new]
        )
        for new in (False, True)
    }
    assert took[True] < 0.6 * took[False]


def test_only_one_mode_fails_a_truck_at_a_time() -> None:
    """No truck fails while it stands in the workshop."""
    spans: dict[int, list[tuple[int, int]]] = {}
    for each in many().episodes:
        if each.failed is not None and each.returned is not None:
            spans.setdefault(each.truck, []).append((each.failed, each.returned))
    for stays in spans.values():
        stays.sort()
        assert all(one[1] <= other[0] for one, other in pairwise(stays))
    assert len(spans) > 100
