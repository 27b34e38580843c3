"""Scenarios: what may be written, what is refused, and the command that simulates them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import orjson
import pytest

from dataflows.events import Reject, decode
from dataflows.instants import MICROSECONDS, parse_instant
from dataflows.simulator import Scenario, ScenarioError, load_scenario, shipped, simulate, write
from dataflows.simulator.reference import reference
from dataflows.simulator.truth import truth

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"trucks": 4, "days": 6, "every": "1h"}


def test_the_plain_scenario_is_the_default() -> None:
    """A file that says nothing is what the demo runs on."""
    assert load_scenario("plain") == Scenario()
    assert Scenario().modes == ("coolant_leak",)
    assert set(shipped()) == {"plain", "field"}


def test_the_field_scenario_has_all_there_is() -> None:
    """Each table of a scenario is in it, so that it shows what may be written."""
    written = tomllib.loads(shipped()["field"].read_text())
    tables = {"sites", "weather", "service", "delivery", "clocks", "sensors", "firmware", "part"}
    assert tables <= set(written)
    assert len(load_scenario("field").modes) == 3


def test_a_scenario_is_read_from_a_file_and_changed(tmp_path: Path) -> None:
    """What is given beside the file wins, None changes nothing."""
    path = tmp_path / "mine.toml"
    path.write_text('trucks = 5\ndays = 9\nevery = "30m"\n[delivery]\nlate = 0.5\n', encoding="utf-8")
    loaded = load_scenario(str(path), days=3, seed=None)
    assert (loaded.trucks, loaded.days, loaded.seed, loaded.delivery.late) == (5, 3, 7, 0.5)
    assert loaded.every == 30 * MICROSECONDS["m"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("trucks = 0", "trucks: expected greater than 0, got 0"),
        ("days = 0", "days: expected greater than 0, got 0"),
        ('every = "7m"', "every: expected whole minutes that divide an hour, such as '15m', got \"7m\""),
        ('every = "90s"', "every: expected whole minutes"),
        ("start = 2025-05-01T01:00:00Z", "start: expected a midnight in UTC"),
        ("modes = []", "modes: expected at least one mode, none twice"),
        ('modes = ["rust"]', "modes[0]: expected 'coolant_leak', 'bearing_wear' or 'battery_ageing'"),
        ("[delivery]\nlost = 1.5", "delivery.lost: expected a share from 0 to 1, got 1.5"),
        ('[delivery.outages]\nevery = "3d"', "delivery.outages.lasts: expected this key"),
        ("[clocks]\nfutur = 0.1", "clocks.futur: expected one of wrong, offset, drift, jumps, future"),
        ("[clocks]\nfutur = 0.1", "did you mean future?"),
        ("trucks =", "expected TOML"),
    ],
)
def test_impossible_settings_are_refused(tmp_path: Path, text: str, told: str) -> None:
    """The error says which key, what was expected and what came."""
    path = tmp_path / "wrong.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError) as refused:
        load_scenario(str(path))
    assert told in str(refused.value)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """One wrong key does not hide the others."""
    path = tmp_path / "wrong.toml"
    path.write_text("trucks = 0\ndayz = 3\n[sites]\ncount = 0\n", encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"3 problem\(s\)") as refused:
        load_scenario(str(path))
    assert all(key in str(refused.value) for key in ("trucks:", "dayz:", "sites.count:"))


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (
            {"firmware": {"after": "1d", "sensor": "vibration"}},
            "firmware.sensor: expected one of coolant_level",
        ),
        (
            {"part": {"after": "1d", "mode": "bearing_wear"}},
            "part.mode: expected one of the modes coolant_leak",
        ),
    ],
    ids=["firmware", "part"],
)
def test_a_drift_of_what_trucks_have_not_is_refused(table: dict[str, object], told: str) -> None:
    """A sensor or part that the scenario's modes do not bring."""
    with pytest.raises(ScenarioError, match=told):
        simulate(load_scenario("plain", **table))


@pytest.mark.parametrize("name", ["plain", "field"])
def test_each_scenario_repeats_its_bytes(name: str, tmp_path: Path) -> None:
    """Equal scenarios write equal files, another seed writes others."""
    one, other, seeded = (
        write(load_scenario(name, **SMALL, seed=seed), tmp_path / folder)
        for seed, folder in ((1, "a"), (1, "b"), (2, "c"))
    )
    for first, second, third in zip(one, other, seeded, strict=True):
        assert first.read_bytes() == second.read_bytes() != third.read_bytes()
    assert not list(tmp_path.rglob("*.part"))


def test_events_of_the_field_are_those_of_the_contract(tmp_path: Path) -> None:
    """Every line but weather decodes into an event."""
    files = write(load_scenario("field", trucks=10, days=20, every="1h"), tmp_path)
    kinds = set()
    for line in files.events.read_bytes().splitlines():
        event = orjson.loads(line)
        kinds.add(event["kind"])
        assert event["kind"] == "weather" or not isinstance(decode(line), Reject), line
    assert kinds == {"telemetry", "fault", "failure", "maintenance", "asset", "weather"}


def test_hazards_are_written_by_step_asset_and_mode(tmp_path: Path) -> None:
    """The arrays have the documented names and shapes."""
    scenario = load_scenario("field", **SMALL)
    with np.load(write(scenario, tmp_path).hazard) as arrays:
        steps, trucks = 6 * 24, 4
        assert arrays["time"].tolist()[:2] == [scenario.start, scenario.start + MICROSECONDS["h"]]
        assert arrays["asset"].tolist() == ["truck-001", "truck-002", "truck-003", "truck-004"]
        assert tuple(arrays["mode"].tolist()) == scenario.modes
        assert arrays["hazard"].shape == (steps, trucks, 3)
        hidden = set(arrays) - {"time", "asset", "mode", "hazard"}
        assert {"exposed", "coolant_level", "bearing_spall", "battery_resistance"} <= hidden
        assert all(arrays[name].shape == (steps, trucks) for name in hidden)


@pytest.mark.parametrize(
    "extreme",
    [
        {"trucks": 1, "days": 1, "start": "2025-05-04T00:00:00Z"},
        {"delivery": {"lost": 1.0, "late": 1.0, "duplicates": 1.0, "by_sensor": 1.0}},
        {"delivery": {"duplicates": 1.0, "outages": {"every": "1h", "lasts": "30d"}}},
        {"clocks": {"future": 1.0, "wrong": 1.0, "jumps": {"every": "1h", "lasts": "30d", "by": "9d"}}},
        {"sensors": {"null": 1.0, "loose": 1.0, "dropouts": {"every": "1h", "lasts": "30d"}}},
        {"sensors": {"stuck": {"every": "1h", "lasts": "30d"}}, "delivery": {"by_sensor": 1.0}},
        {"service": {"every": "6h", "finds": 1.0, "recalibrates": 1.0}},
        {"weather": {"late": 1.0, "ahead": "60d", "gaps": {"every": "1h", "lasts": "30d"}}},
        {"every": "1m", "trucks": 2, "days": 2},
    ],
    ids=str,
)
def test_extreme_scenarios_hold_what_the_truth_says(extreme: dict[str, object]) -> None:
    """Where everything happens always, there is still a row of truth for each line, and arrival in order."""
    fleet = simulate(load_scenario("field", **(SMALL | extreme)))
    events, deliveries = list(fleet.events()), list(fleet.deliveries())
    arrivals = [parse_instant(event["arrived"]) for event in events]
    assert arrivals == sorted(arrivals)
    assert [row["line"] for row in deliveries[: len(events)]] == list(range(1, len(events) + 1))
    assert [row["time"] for row in deliveries[: len(events)]] == [event.get("time") for event in events]
    assert all(row["line"] is None for row in deliveries[len(events) :])
    assert all(isinstance(row, dict) for row in truth(fleet))


def test_the_page_is_up_to_date() -> None:
    """docs/simulator.md is what the code says."""
    written = (ROOT / "docs/simulator.md").read_text(encoding="utf-8")
    assert written == reference(), "run python -m dataflows.simulator.reference > docs/simulator.md"


def test_the_command_writes_the_files_and_names_them(tmp_path: Path) -> None:
    """With a scenario and options; a wrong one is told in one message, without a traceback."""
    command = [sys.executable, "-m", "dataflows", "simulate", "--out", str(tmp_path / "made")]
    options = ["--scenario", "field", "--trucks", "3", "--days", "2", "--every", "1h", "--seed", "5"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=True)
    names = ["deliveries.jsonl", "events.jsonl", "hazard.npz", "truth.jsonl"]
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == names
    told = done.stdout.replace("\n", "")
    assert all(name in told for name in names)
    wrong = subprocess.run(
        [*command, "--scenario", "fild"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 1
    assert "one of field, plain" in wrong.stderr
    assert "Traceback" not in wrong.stderr
