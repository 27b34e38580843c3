"""What a class declares of its sensors is checked, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from dataflows.fleet import FleetError, load
from dataflows.pipeline import run_inline
from tests import tables

if TYPE_CHECKING:
    from pathlib import Path

FLEET = tables.pumps(
    "prior",
    tables.PRIOR_ALONE,
    files=["-"],
    sensors=["flow", "load"],
    mode="seal",
    horizon="2h",
    adopt=True,
    output='features = "all"',
    pump="""
limits = { flow = { range = [0, 40], unit = "l/min" }, load = { sentinels = [65535, -9999] } }
windows = [{ length = "4h", statistics = ["max", "missing"] }]
""",
)


def ran(tmp_path: Path, *readings: dict[str, Any], fleet: str = FLEET) -> dict[str, list[dict[str, Any]]]:
    """What comes of hourly telemetry of one pump."""
    path = tmp_path / "fleet.toml"
    path.write_text(fleet, encoding="utf-8")
    lines = [
        orjson.dumps(
            {"kind": "telemetry", "asset": "p", "time": 1_700_000_000 + 3_600 * hour, "readings": found}
        )
        for hour, found in enumerate(readings)
    ]
    return run_inline(load(path, environ={}), lines)


@pytest.mark.parametrize("value", ["running", True, None, {"a": [1]}, [1, 2], 3.4e38, -1e16])
def test_what_is_not_declared_is_ignored_whatever_it_is(tmp_path: Path, value: object) -> None:
    """Text, a boolean, an object or a huge number in another field costs neither the record nor a reading."""
    plain = ran(tmp_path, {"flow": 10.0, "load": 0.5})["predictions"]
    assert ran(tmp_path, {"flow": 10.0, "load": 0.5, "state": value})["predictions"] == plain


@pytest.mark.parametrize("value", ["10", True, {"a": 1}, 3.4e38])
def test_a_declared_reading_that_is_no_number_rejects_the_record(tmp_path: Path, value: object) -> None:
    """The reject names it, says what came, and holds the record as it was sent."""
    found = ran(tmp_path, {"flow": 10.0, "load": value}, {"flow": 11.0, "load": 0.5})
    (reject,) = found["rejects"]
    assert reject["reason"] == "malformed"
    assert reject["detail"].startswith("readings.load: ")
    assert orjson.loads(reject["raw"])["readings"] == {"flow": 10.0, "load": value}
    assert len(found["predictions"]) == 1


def test_readings_outside_their_limits_are_missing_and_counted(tmp_path: Path) -> None:
    """They are in no feature, and the summary says how many there were of which sensor."""
    found = ran(
        tmp_path,
        {"flow": 40.0, "load": 0.5},
        {"flow": 65535.0, "load": -9999},
        {"flow": -0.1, "load": 65535},
        {"flow": 1.0, "load": 65534},
    )
    assert found["rejects"] == []
    last = found["predictions"][-1]["features"]
    assert (last["flow:max:4h"], last["flow:missing:4h"]) == (40.0, 2)
    assert (last["load:max:4h"], last["load:missing:4h"]) == (65534.0, 2)
    assert [row["features"]["flow"] for row in found["predictions"]] == [40.0, None, None, 1.0]
    counted: dict[str, int] = {}
    for row in found["summary"]:
        counted |= row.get("input", {}).get("implausible", {})
    assert counted == {"pump/flow": 2, "pump/load": 2}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("limits = { flow =", "limits = { Flow =", "did you mean"),
        ("range = [0, 40]", "range = [40, 0]", "the least and then the largest"),
        ("range = [0, 40]", "range = [40]", "range"),
        ('unit = "l/min"', "unit = 3", "text"),
    ],
)
def test_limits_that_make_no_sense_are_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    """Before anything runs, with the place."""
    with pytest.raises(FleetError) as refused:
        ran(tmp_path, {"flow": 1.0}, fleet=FLEET.replace(old, new))
    assert "limits" in str(refused.value)
    assert said in str(refused.value).replace("\n", " ")


ALIASES = FLEET.replace('unit = "l/min" }', 'unit = "l/min", aliases = ["Flow_lpm", "q1"] }')


def test_an_alias_is_the_sensor(tmp_path: Path) -> None:
    """Its readings are those of the declared name, limits and refusals included."""
    given = [{"flow": 10.0, "load": 0.5}, {"flow": 12.0, "load": 0.5}, {"flow": 99.0, "load": 0.5}]
    plain = ran(tmp_path, *given)
    renamed = ran(
        tmp_path, given[0], *({"q1": each["flow"], "load": 0.5} for each in given[1:]), fleet=ALIASES
    )
    assert [row["features"] for row in renamed["predictions"]] == [
        row["features"] for row in plain["predictions"]
    ]
    (counted,) = (
        row["input"]["implausible"] for row in renamed["summary"] if "implausible" in row.get("input", {})
    )
    assert counted == {"pump/flow": 1}
    (rejected,) = ran(tmp_path, {"Flow_lpm": "ten", "load": 0.5}, fleet=ALIASES)["rejects"]
    assert rejected["reason"] == "malformed"


def test_the_own_name_of_a_sensor_counts_before_its_aliases(tmp_path: Path) -> None:
    """Where a message has several; without it the first alias in the order of the fleet.toml counts."""
    rows = ran(tmp_path, {"q1": 3.0, "flow": 1.0}, {"q1": 3.0, "Flow_lpm": 2.0}, fleet=ALIASES)
    assert [row["features"]["flow"] for row in rows["predictions"]] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("aliases", "expected"), [('["load"]', "the sensor 'load'"), ('["q", "q"]', "an alias of 'flow'")]
)
def test_an_alias_that_is_another_name_is_refused(tmp_path: Path, aliases: str, expected: str) -> None:
    """A name means one sensor."""
    with pytest.raises(FleetError, match=expected):
        ran(tmp_path, {}, fleet=FLEET.replace('unit = "l/min" }', f"aliases = {aliases} }}"))
