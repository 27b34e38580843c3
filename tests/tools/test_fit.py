"""``check --against`` finds what of a fleet does not fit its data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import highwater as hw
from dataflows import testing
from dataflows.tools.fit import fit
from tests.tables import PRIOR_ALONE, pumps

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.tools.health import Finding

HOUR = 3600
FLEET = pumps(
    "prior",
    PRIOR_ALONE,
    sensors=("pressure", "heat"),
    pump="""
allowed_lateness = "5m"
label_delay = "1h"
limits = { pressure = { range = [0, 10] } }
[[classes.pump.windows]]
length = "6h"
""",
)


@pytest.fixture
def fleet(tmp_path: Path) -> hw.Fleet:
    """A fleet of pumps."""
    (tmp_path / "fleet.toml").write_text(FLEET)
    return hw.load(tmp_path / "fleet.toml")


def _found(fleet: hw.Fleet, folder: Path, *lines: bytes) -> list[Finding]:
    (folder / "events.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return fit(fleet, [str(folder / "events.jsonl")])


def _hours(count: int, **readings: float) -> list[bytes]:
    return [testing.telemetry("pump-1", hour * HOUR, readings, arrived=hour * HOUR) for hour in range(count)]


def test_a_fleet_that_fits_has_no_finding(fleet: hw.Fleet, tmp_path: Path) -> None:
    """Its names and times are those of the sample."""
    leaks = [
        testing.failure("pump-1", hour * HOUR, "leak", arrived=hour * HOUR + 60) for hour in range(10, 40)
    ]
    found = _found(fleet, tmp_path, *_hours(50, pressure=4.0, heat=20.0), *leaks)
    assert [each for each in found if each.level != "ok"] == []


def test_names_that_match_nothing_are_found_on_both_sides(fleet: hw.Fleet, tmp_path: Path) -> None:
    """With the name that was probably meant."""
    said = _found(
        fleet, tmp_path, *_hours(50, presure=4.0, heat=1.0), testing.failure("pump-1", HOUR, "Leak")
    )
    named = {each.what: each.todo for each in said if each.about == "names"}
    assert named["sensor 'presure' is not in the fleet"] == "did you mean 'pressure'?"
    assert named["sensor 'pressure' is not in the data"] == "did you mean 'presure'?"
    assert named["mode 'leak' is not in the data"] == "did you mean 'Leak'?"
    assert "sensor 'heat' is not in the data" not in named


def test_readings_outside_of_a_range_are_found(fleet: hw.Fleet, tmp_path: Path) -> None:
    """They would count as missing."""
    (found,) = (
        each for each in _found(fleet, tmp_path, *_hours(9, pressure=400.0)) if each.about == "ranges"
    )
    assert found.what == "pressure is 400 to 400, its range 0 to 10"


def test_an_alias_is_its_sensor(tmp_path: Path) -> None:
    """A sample in which devices send another name lacks nothing, and its readings are held to the range."""
    aliased = FLEET.replace("range = [0, 10] }", 'range = [0, 10], aliases = ["P1"] }')
    (tmp_path / "fleet.toml").write_text(aliased)
    found = _found(hw.load(tmp_path / "fleet.toml"), tmp_path, *_hours(50, P1=400.0, heat=1.0))
    assert [each.what for each in found if each.about == "names" and "sensor" in each.what] == []
    assert [each.what for each in found if each.about == "ranges"] == ["P1 is 400 to 400, its range 0 to 10"]


def test_lateness_and_reports_beyond_the_fleet_are_found(fleet: hw.Fleet, tmp_path: Path) -> None:
    """Two hours out of order, and reports after three hours."""
    late = testing.telemetry("pump-1", 47 * HOUR, {"pressure": 4.0}, arrived=49 * HOUR)
    leak = testing.failure("pump-1", 5 * HOUR, "leak", arrived=8 * HOUR)
    found = {each.about: each.what for each in _found(fleet, tmp_path, *_hours(50, pressure=4.0), late, leak)}
    assert "up to 2h late" in found["lateness"]
    assert "within 3h" in found["reports"]
    assert found["labels"] == "1 failure of 'leak'"


def test_windows_shorter_than_the_cadence_are_found(fleet: hw.Fleet, tmp_path: Path) -> None:
    """A window of 6 h over messages that come every 4 h."""
    lines = [testing.telemetry("pump-1", hour * HOUR, {"pressure": 4.0}) for hour in range(0, 200, 4)]
    (found,) = (each for each in _found(fleet, tmp_path, *lines) if each.about == "windows")
    assert "window of 6h of pump holds less than two messages, one every 4h" in found.what


def test_records_that_cannot_be_used_are_counted_by_reason(fleet: hw.Fleet, tmp_path: Path) -> None:
    """A sample without telemetry is a failure."""
    found = _found(fleet, tmp_path, b"{}", b"[]", b"{}")
    assert found[0].level == "failure"
    assert sum(int(each.what.split()[0]) for each in found if each.about == "rejects") == 3


def test_rows_of_any_form_are_read_by_the_rules_of_the_fleet(tmp_path: Path) -> None:
    """A CSV file whose failures have another code."""
    rules = """[[input.map]]
make = [
  { kind = "telemetry", asset = "pump", time = "time", readings = ["pressure"], where = { what = "r" } },
  { kind = "failure", asset = "pump", time = "time", mode = "mode", where = { what = "f" } },
]
"""
    (tmp_path / "fleet.toml").write_text(
        FLEET.replace("events.jsonl", "rows.csv").replace("[classes.pump]", f"{rules}[classes.pump]", 1)
    )
    rows = [
        "pump,time,what,pressure,mode",
        "p1,2020-01-01T00:00:00Z,r,4,",
        "p1,2020-01-01T01:00:00Z,f,,crack",
    ]
    (tmp_path / "rows.csv").write_text("\n".join(rows))
    found = fit(hw.load(tmp_path / "fleet.toml"), [str(tmp_path / "rows.csv")])
    assert "mode 'crack' is not in the fleet" in {each.what for each in found}
