"""Visits after alerts: whom mechanics find, and what a recording becomes by it."""

from __future__ import annotations

import orjson

from dataflows.instants import HOUR, format_instant
from studies.verdicts import Leak, Visit, repaired, visits_after

LEAK = Leak("t-1", onset=10 * HOUR, failed=40 * HOUR, returned=50 * HOUR)


def alert(asset: str, hour: int) -> dict[str, str]:
    return {"state": "opened", "asset": asset, "opened": format_instant(hour * HOUR)}


def telemetry(asset: str, hour: int) -> dict[str, str]:
    at = format_instant(hour * HOUR)
    return {"kind": "telemetry", "asset": asset, "time": at, "arrived": at}


def test_mechanics_find_a_leak_between_onset_and_failure() -> None:
    """Before it they find nothing; an alert shortly before a failure, or in the workshop, has no visit."""
    alerts = [alert("t-1", 1), alert("t-1", 12), alert("t-1", 20), alert("t-2", 36), alert("t-1", 60)]
    assert visits_after(alerts, [LEAK], 6 * HOUR) == [
        Visit("t-1", 7 * HOUR, HOUR, None),
        Visit("t-1", 18 * HOUR, 12 * HOUR, LEAK),
        Visit("t-2", 42 * HOUR, 36 * HOUR, None),
        Visit("t-1", 66 * HOUR, 60 * HOUR, None),
    ]
    assert visits_after([alert("t-1", 36)], [LEAK], 6 * HOUR) == []


def test_a_repair_takes_the_failure_and_the_telemetry_until_the_return() -> None:
    """Of that truck alone; every visit is maintenance, and each one that is judged has a verdict."""
    at = format_instant(LEAK.failed)
    failure = {"kind": "failure", "asset": "t-1", "time": at, "arrived": format_instant(60 * HOUR)}
    events = [*(telemetry(asset, hour) for hour in (5, 30, 55) for asset in ("t-1", "t-2")), failure]
    visits = [Visit("t-1", 18 * HOUR, 12 * HOUR, LEAK), Visit("t-2", 42 * HOUR, 36 * HOUR, None)]
    rows = [orjson.loads(line) for line in repaired(events, visits, 1.0, "truck/leak", seed=1)]
    assert [(row["kind"], row["asset"]) for row in rows] == [
        ("telemetry", "t-1"),
        ("telemetry", "t-2"),
        ("maintenance", "t-1"),
        ("verdict", "t-1"),
        ("telemetry", "t-2"),
        ("maintenance", "t-2"),
        ("verdict", "t-2"),
        ("telemetry", "t-1"),
        ("telemetry", "t-2"),
    ]
    assert [row["verdict"] for row in rows if row["kind"] == "verdict"] == ["confirmed", "healthy"]
    unjudged = [orjson.loads(line)["kind"] for line in repaired(events, visits, 0.0, "truck/leak", seed=1)]
    assert "verdict" not in unjudged
