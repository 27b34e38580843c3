"""An alert's whole life through kills: opened once, never repeated, cleared once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from dataflows.instants import HOUR, format_instant
from tests.chaos.harness import Moment, assert_same, finish, inline_outputs, kill, outputs, prepare, rows
from tests.tables import pumps

if TYPE_CHECKING:
    from pathlib import Path

FLEET = pumps(
    "echo",
    '{ estimator = "tests.chaos.models.Echo" }',
    name="alerts",
    keys='metrics_every = "30d"',
    sensors=("heat",),
    horizon="4h",
    adopt=True,
    pump='example_every = "1h"',
    target='alert = { open = 0.6, clear = 0.4, dwell = "3h", update_by = 0.2 }',
    more='features = ["heat"]',
)
ASSETS = 6
HOURS = 600
#: Hours in which pump 0 is hot, and the one at which it fails.
HOT, HOTTER, FAILS = 100, 250, 400


def recording() -> list[bytes]:
    """Pump 0 gets hot, hotter, and fails; pump 1 gets hot and cools; the others stay cold."""
    lines = []
    for hour in range(HOURS):
        time = format_instant(hour * HOUR)
        for asset in range(ASSETS):
            if asset == 0 and HOT <= hour < FAILS:
                heat = 0.7 if hour < HOTTER else 0.95
            elif asset == 1 and HOT <= hour < HOTTER:
                heat = 0.7
            else:
                heat = 0.1
            event: dict[str, Any] = {"kind": "telemetry", "asset": f"pump-{asset}", "time": time}
            lines.append(orjson.dumps(event | {"readings": {"heat": heat}}))
        if hour == FAILS:
            failure = {"kind": "failure", "asset": "pump-0", "time": time, "mode": "leak"}
            lines.append(orjson.dumps(failure))
    return lines


@pytest.mark.ci
def test_an_alert_lives_once_through_two_kills(tmp_path: Path) -> None:
    """Killed while it is open, and again, each alert is opened, updated and cleared in just one row each."""
    lines = recording()
    fleet = prepare(tmp_path, lines, FLEET)
    opened = sum(len(line) + 1 for line in lines[: (HOT + 4) * ASSETS])
    killed = [kill(fleet, Moment(records=hour * ASSETS), FLEET_BATCH="12") for hour in (200, 300)]
    assert killed[1].resumed > opened, "the second run goes on with alerts that the first one opened"
    assert killed[0].records < HOTTER * ASSETS, "the first kill comes before anything was updated"
    assert killed[1].records < FAILS * ASSETS, "the second one comes before the failure"

    found = finish(fleet)
    assert_same(found, inline_outputs(fleet))
    alerts = rows(found["alerts"])
    told = [(row["asset"], row["state"], row["why"], row["time"]) for row in alerts]
    at = {hour: format_instant(hour * HOUR) for hour in (HOT + 3, HOTTER, HOTTER + 3, FAILS)}
    assert told == [
        ("pump-0", "opened", "score", at[HOT + 3]),
        ("pump-1", "opened", "score", at[HOT + 3]),
        ("pump-0", "updated", "score rose", at[HOTTER]),
        ("pump-1", "cleared", "score", at[HOTTER + 3]),
        ("pump-0", "cleared", "failure", at[FAILS]),
    ]
    for pump in ("pump-0", "pump-1"):
        mine = [row for row in alerts if row["asset"] == pump]
        assert len({row["id"] for row in mine}) == 1
        assert {row["opened"] for row in mine} == {at[HOT + 3]}
    assert outputs(fleet.parent / "out")["alerts"] == found["alerts"]
