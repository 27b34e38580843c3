"""A recording that is moved: other arrivals, the same events."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import orjson
import pytest

from dataflows.evaluation.moving import Movement, delays_of, moved
from dataflows.instants import HOUR, format_instant, parse_instant
from dataflows.testing import failure, maintenance, registration, telemetry

DAY = 24 * HOUR


def recording() -> list[bytes]:
    """Two pumps at two sites, hourly for ten days, without arrivals; one breaks, and is repaired at once."""
    lines = [registration(name, "pump", {}) for name in "ab"]
    for hour in range(240):
        time = format_instant(hour * HOUR)
        lines += [telemetry(name, time, {"n": float(hour)}, site=f"hall-{name}") for name in "ab"]
        if hour == 100:
            lines += [failure("a", time, "leak"), maintenance("a", time, "seal")]
    return lines


def rows(lines: list[bytes]) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in lines]


def bare(lines: list[bytes]) -> list[bytes]:
    """The events without their arrivals, in one order."""
    return sorted(orjson.dumps({k: v for k, v in row.items() if k != "arrived"}) for row in rows(lines))


@pytest.mark.parametrize(
    "movement",
    [
        Movement(),
        Movement(late=0.3, late_by=HOUR),
        Movement(delays=(0, HOUR, 5 * HOUR)),
        Movement(offline=6 * HOUR),
        Movement(reported_after=2 * DAY),
    ],
    ids=["not at all", "late", "by measured delays", "offline", "reported late"],
)
def test_events_stay_and_arrive_in_order(movement: Movement) -> None:
    """Nothing is changed but the arrival; no message comes before its time; equal seeds, equal bytes."""
    lines = recording()
    found = moved(lines, movement)
    assert bare(found) == bare(lines)
    arrivals = [parse_instant(row["arrived"]) for row in rows(found)]
    assert arrivals == sorted(arrivals)
    assert all(
        parse_instant(row["arrived"]) >= parse_instant(row["time"]) for row in rows(found) if "time" in row
    )
    assert moved(lines, movement) == found
    assert bool(movement) == (found != moved(lines, Movement()))


def test_a_gateway_that_is_back_sends_what_it_stored_in_order() -> None:
    """Six hours a day nothing of a site arrives; then all of it, in order; each site at its own hour."""
    found = rows(moved(recording(), Movement(offline=6 * HOUR, seed=2)))
    hours = defaultdict(set)
    for name in "ab":
        mine = [row for row in found if row["kind"] == "telemetry" and row["asset"] == name]
        times = [parse_instant(row["time"]) for row in mine]
        assert times == sorted(times)
        stored = [row for row in mine if parse_instant(row["arrived"]) > parse_instant(row["time"])]
        assert 5 * 9 <= len(stored) <= 6 * 11
        waits = [parse_instant(row["arrived"]) - parse_instant(row["time"]) for row in stored]
        assert max(waits) <= 6 * HOUR + 10_000_000
        hours[name] = {parse_instant(row["time"]) // HOUR % 24 for row in stored}
    assert hours["a"] != hours["b"]


def test_an_order_is_one_report() -> None:
    """The failure and its repair, of one asset and time, arrive together, after the drawn delay."""
    found = [
        row
        for row in rows(moved(recording(), Movement(reported_after=2 * DAY)))
        if row["kind"] != "telemetry"
    ]
    reports = [parse_instant(row["arrived"]) for row in found if row["kind"] in {"failure", "maintenance"}]
    assert len(reports) == 2
    assert reports[0] == reports[1] > 100 * HOUR


def test_messages_are_lost_and_delayed_in_the_share_that_is_asked_for() -> None:
    """Half are lost; of the others a third are late, by two hours on average; reports are not touched."""
    lines = recording() * 20
    found = rows(moved(lines, Movement(late=1 / 3, late_by=2 * HOUR, lost=0.5)))
    messages = [row for row in found if row["kind"] == "telemetry"]
    assert len(messages) / (480 * 20) == pytest.approx(0.5, abs=0.03)
    waits = np.array([parse_instant(row["arrived"]) - parse_instant(row["time"]) for row in messages])
    first = waits[: len(messages) // 20]
    assert (first > 0).mean() == pytest.approx(1 / 3, abs=0.1)
    assert first[first > 0].mean() == pytest.approx(2 * HOUR, rel=0.35)
    assert sum(row["kind"] == "failure" for row in found) == 20


def test_delays_are_measured_in_another_recording() -> None:
    """What is measured there, is drawn here."""
    came = moved(recording(), Movement(delays=(HOUR, 3 * HOUR)))
    assert set(delays_of(came)) == {HOUR, 3 * HOUR}
