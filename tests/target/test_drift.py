"""Drift in the stream: series a block of the fleet, alarms in the changes, and figures in the metrics."""

from __future__ import annotations

import random
from typing import Any

import pytest

from dataflows.instants import HOUR, format_instant
from dataflows.pipeline import run_inline
from dataflows.target.drift import SERIES
from dataflows.testing import failure, pump_fleet, telemetry

PUMPS, HOURS, TURN = 8, 24 * 60, 24 * 40
TARGET = {"class": "pump", "mode": "leak", "horizon": "12h", "champion": "bayes", "promotion": "off"}
MODELS = {"bayes": {"features": ["flow"], "pipeline": [{"estimator": "river.naive_bayes.GaussianNB"}]}}


def fleet(drift: str = "log") -> Any:  # noqa: ANN401
    """Pumps whose drift is watched, with windows left out, so that series are few."""
    classes = {"pump": {"sensors": ["flow", "pressure"], "allowed_lateness": "1h", "example_every": "3h"}}
    return pump_fleet(MODELS, classes=classes, targets=[{**TARGET, "drift": drift}], metrics_every="10d")


def recording(change: str = "none") -> list[bytes]:
    """Sixty days of pumps that leak after high flow; after forty days something changes."""
    rows: list[tuple[int, bytes]] = []
    for number in range(PUMPS):
        chance, name, high = random.Random(number), f"pump-{number}", 0
        for hour in range(0, HOURS, 3):
            if not high and chance.random() < 0.05:
                high = 4
            changed = hour >= TURN
            flow: float | None = chance.gauss(9 if high else 2, 1) + 6 * (changed and change == "flow")
            if changed and change == "missing" and chance.random() < 0.6:
                flow = None
            time = hour * HOUR
            readings = {"flow": flow, "pressure": chance.gauss(5, 1)}
            rows.append((time, telemetry(name, format_instant(time), readings)))
            leaks = chance.random() < (0.9 if high == 1 else 0.0)
            if leaks and not (changed and change == "silent"):
                rows.append((time + HOUR, failure(name, format_instant(time + HOUR), "leak")))
            high = max(0, high - 1)
    return [line for _, line in sorted(rows, key=lambda row: row[0])]


def alarms(change: str) -> list[dict[str, Any]]:
    return [row for row in run_inline(fleet(), recording(change))["changes"] if row["change"] == "drift"]


def test_without_a_change_there_is_no_alarm() -> None:
    """A stationary world of sixty days raises none; its series are in the metrics with their reference."""
    rows = run_inline(fleet(), recording())
    assert not [row for row in rows["changes"] if row["change"] == "drift"]
    watched = [row for row in rows["metrics"] if row["kind"] == "drift"]
    shown = [each["series"] for each in watched[-1]["series"]]
    assert shown[: len(SERIES)] == [*SERIES]
    assert {*shown[len(SERIES) :]} == {"flow", "pressure"}
    assert all(each["reference"] is not None for each in watched[-1]["series"])


@pytest.mark.parametrize(
    ("change", "series", "side"),
    [("flow", "flow", "up"), ("missing", "missing", "up")],
)
def test_what_changes_is_named(change: str, series: str, side: str) -> None:
    """The series that moved raises an alarm on its side soon after the change, and none does before it."""
    found = alarms(change)
    assert all(row["time"] >= format_instant(TURN * HOUR - 12 * HOUR) for row in found)
    named = [row for row in found if row["series"] == series]
    assert [row["side"] for row in named] == [side]
    assert named[0]["time"] <= format_instant((TURN + 24 * 10) * HOUR)
    assert named[0]["evidence"] >= named[0]["needed"]


def test_drift_that_is_not_watched_leaves_no_row() -> None:
    """With ``off``, the default, there is neither an alarm nor a row of the metrics."""
    rows = run_inline(fleet("off"), recording("flow")[:2_000])
    assert not [row for row in rows["changes"] if row["change"] == "drift"]
    assert {row["kind"] for row in rows["metrics"]} == {"model", "lane"}
