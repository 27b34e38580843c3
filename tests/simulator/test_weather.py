"""Sites and their weather: plausible, told when it can be known, and the same that trucks drive through."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest

from dataflows.instants import HOUR, MICROSECONDS, parse_instant
from dataflows.simulator import Scenario, Simulated, load_scenario, simulate
from dataflows.simulator.sites import Sites

DAY = MICROSECONDS["d"]


def scenario(**changes: object) -> Scenario:
    settings = {
        "trucks": 40,
        "days": 60,
        "every": "1h",
        "registry": True,
        "sites": {"count": 4, "spread": 8.0, "away": 0.2},
        "weather": {"late": 0.05, "gaps": {"every": "10d", "lasts": "12h"}},
    }
    return load_scenario("plain", **(settings | changes))


@cache
def fleet() -> Simulated:
    """Trucks at four sites."""
    return simulate(scenario())


@cache
def weather() -> list[tuple[str, int, int, int, float, str]]:
    """Site, time, issued, arrival, °C and kind of each weather row."""
    found = []
    for event, row in zip(fleet().events(), fleet().deliveries(), strict=False):
        if event["kind"] == "weather":
            times = (parse_instant(event[name]) for name in ("time", "issued", "arrived"))
            found.append((event["site"], *times, event["values"]["temperature"], " ".join(row["done"])))
    return found


def test_observations_are_issued_after_and_forecasts_before_their_time() -> None:
    """And nothing arrives before it is issued."""
    for _, time, issued, arrival, _, kind in weather():
        assert (issued > time) if kind.startswith("observation") else (issued < time)
        assert arrival > issued
    assert {kind for *_, kind in weather()} == {
        "observation",
        "forecast",
        "observation late",
        "forecast late",
    }


def test_a_site_is_observed_each_hour_but_for_gaps() -> None:
    """No hour twice, about the share of hours that the gaps leave, and all sites."""
    hours = Counter((site, time) for site, time, *_, kind in weather() if kind.startswith("observation"))
    assert set(hours.values()) == {1}
    assert all(time % HOUR == 0 for _, time in hours)
    assert 0.85 < len(hours) / (4 * 60 * 24) < 0.99
    assert {site for site, _ in hours} == set(fleet().sites)


def test_values_are_near_the_true_temperature() -> None:
    """Observations within their error; forecasts less so, the further ahead the less."""
    sites = Sites(fleet().scenario)
    errors: dict[str, list[float]] = {"observation": [], "near": [], "far": []}
    for site, time, issued, _, value, kind in weather():
        error = value - float(sites.temperature(fleet().sites.index(site), time))
        far = "far" if time - issued > 24 * HOUR else "near"
        errors["observation" if kind.startswith("observation") else far].append(error)
    spread = {name: np.std(found) for name, found in errors.items()}
    assert 0.25 < spread["observation"] < 0.35
    assert spread["observation"] < spread["near"] < spread["far"] < 4
    assert all(abs(np.mean(found)) < 0.4 for found in errors.values())


def test_some_rows_arrive_late() -> None:
    """About the configured share, by hours; the others within minutes of their issue."""
    late = np.array([kind.endswith("late") for *_, kind in weather()])
    wait = np.array([arrival - issued for _, _, issued, arrival, *_ in weather()])
    assert abs(late.mean() - 0.05) < 5 * np.sqrt(0.05 / late.size)
    assert wait[~late].max() < HOUR / 10
    assert 4 * HOUR < wait[late].mean() < 8 * HOUR


def test_several_forecasts_tell_of_one_time() -> None:
    """So that the latest that was known can be told from those before it, and from the observation."""
    times = Counter((site, time) for site, time, *_, kind in weather() if kind.startswith("forecast"))
    assert max(times.values()) >= 3
    observed = {(site, time) for site, time, *_, kind in weather() if kind.startswith("observation")}
    assert len(observed & set(times)) > 100


def test_trucks_drive_through_the_weather_of_the_site_they_name() -> None:
    """The ambient temperature of telemetry follows its own site's better than another's."""
    sites, made = Sites(fleet().scenario), fleet().messages
    column = [sensor.name for sensor in fleet().sensors].index("ambient_temperature")
    measured = made.readings[:, column]
    own = sites.temperature(made.site, made.time)
    other = sites.temperature((made.site + 1) % 4, made.time)
    assert np.nanstd(measured - own) < 2.5 < np.nanstd(measured - other)


def test_trucks_are_away_from_home_now_and_then() -> None:
    """The site of telemetry is that of the registry row but for about the configured share of days."""
    home = {event["asset"]: event["site"] for event in fleet().events() if event["kind"] == "asset"}
    days = {
        (event["asset"], event["time"][:10]): event["site"]
        for event in fleet().events()
        if event["kind"] == "telemetry"
    }
    away = np.mean([home[asset] != site for (asset, _), site in days.items()])
    assert abs(away - 0.2 * 3 / 4) < 0.03


def test_the_registry_comes_first_and_tells_of_each_truck() -> None:
    """Site, age, model and power, as attributes of the contract."""
    rows = [event for event, _ in zip(fleet().events(), range(41), strict=False)]
    assert [event["asset"] for event in rows[:40]] == list(fleet().names)
    assert rows[40]["kind"] != "asset"
    for event in rows[:40]:
        assert set(event) == {"kind", "asset", "class", "site", "attributes", "arrived"}
        assert set(event["attributes"]) == {"age", "model", "power"}
        assert 0 < event["attributes"]["age"] < 12
    assert len({event["attributes"]["model"] for event in rows[:40]}) == 2


def test_one_site_is_not_named_and_no_weather_is_none() -> None:
    """The plain scenario tells neither."""
    plain = simulate(load_scenario("plain", trucks=5, days=5))
    assert {event["kind"] for event in plain.events()} <= {"telemetry", "failure"}
    assert not any("site" in event for event in plain.events())


@pytest.mark.parametrize("month", ["2025-01", "2025-07"])
def test_the_climate_is_that_of_the_season(month: str) -> None:
    """A northern winter freezes now and then, a summer does not; afternoons are warmer than nights."""
    sites = Sites(scenario(start=f"{month}-01T00:00:00Z", days=31))
    hours = np.arange(parse_instant(f"{month}-01T00:00:00Z"), parse_instant(f"{month}-31T00:00:00Z"), HOUR)
    at = sites.temperature(np.arange(4), hours[:, None])
    assert ((at < 0).mean() > 0.2) == (month == "2025-01")
    assert (at > 20).mean() > 0.2 or month == "2025-01"
    assert at[hours % DAY == 15 * HOUR].mean() > at[hours % DAY == 3 * HOUR].mean() + 8
    assert at.mean(axis=0).tolist() == sorted(at.mean(axis=0).tolist())
