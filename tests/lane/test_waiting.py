"""Records dated ahead of all telemetry, in streams without arrivals, wait until telemetry reaches them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.events import Event, Failure, Maintenance, Retraction, Telemetry
from dataflows.fleet import load
from dataflows.instants import HOUR
from dataflows.items import Item, ResolvedEvent
from dataflows.lane import Lane
from dataflows.lane.waiting import Waiting, WaitingRecord
from dataflows.pipeline import run_lines
from tests.lane.worlds import FLEET, START, counts, opened, records, row, visible

if TYPE_CHECKING:
    import random
    from pathlib import Path

YEAR = 365 * 24 * HOUR
FEW = replace(FLEET, assets=replace(FLEET.assets, max_assets=10))


def reading(hours: float, asset: str = "a", arrived: int | None = None) -> Telemetry:
    return Telemetry(asset, START + int(hours * HOUR), {"x": 1.0}, None, arrived)


def failure(hours: float, name: str | None = None, asset: str = "a", mode: str = "leak") -> Failure:
    return Failure(asset, START + int(hours * HOUR), mode, name, None)


def taken(items: list[Item]) -> list[Any]:
    """What went on to the assets, or why not."""
    return [
        item.body.event if isinstance(item.body, ResolvedEvent) else row(item)["reason"] for item in items
    ]


def test_a_record_dated_ahead_of_all_telemetry_is_taken_in_by_telemetry_that_reaches_it() -> None:
    """Just before it; up to `max_future` ahead none waits. Knowledge time does not follow what waits."""
    planned = Maintenance("a", START + 4 * HOUR, None, None, None)
    first, near, far, last = reading(0), failure(1), failure(3), reading(4, "b")
    out = opened().process(records(first, far, planned, near, reading(2), last))
    assert taken(out) == [first, near, reading(2), far, planned, last]
    assert [item.known - START for item in out] == [0, HOUR, 2 * HOUR, 4 * HOUR, 4 * HOUR, 4 * HOUR]
    assert [(item.sequence, item.position[1]) for item in out[-3:]] == [(5, 2), (5, 3), (6, 6)]


def test_records_before_the_first_telemetry_wait_for_it() -> None:
    """It takes in those that lie less than `max_future` ahead of it, as if they came after it."""
    out = opened().process(records(failure(0.5), failure(9), reading(0), reading(8), reading(9)))
    assert taken(out) == [failure(0.5), reading(0), reading(8), failure(9), reading(9)]


def test_a_retraction_removes_what_waits() -> None:
    """It goes on, since an earlier record of its id may have been taken in; that is no error if none was."""
    lane = opened()
    out = lane.process(records(reading(0), failure(9, "x"), Retraction("a", "x", None), reading(9)))
    assert taken(out) == [reading(0), Retraction("a", "x", None), reading(9)]
    assert [item.body.withdrawn for item in out if isinstance(item.body, ResolvedEvent)] == [
        False,
        True,
        False,
    ]
    assert "waiting" not in counts(lane)


def test_a_correction_takes_the_place_of_what_waits() -> None:
    """Whether it has to wait itself or not; it is counted, and a copy of what waits is a duplicate."""
    lane = opened()
    events = (
        failure(9, "x"),
        failure(8, "x"),
        failure(8, "x"),
        failure(9, "x", mode="seal"),
        failure(0.5, "x"),
    )
    out = lane.process(records(reading(0), *events, reading(9)))
    assert taken(out) == [
        reading(0),
        "duplicate",
        failure(0.5, "x"),
        failure(9, "x", mode="seal"),
        reading(9),
    ]
    assert counts(lane)["corrections"] == 2


def test_the_summary_counts_what_waits_at_the_end() -> None:
    """As long as any does; each record is counted by its kind once."""
    lane = opened()
    lane.process(records(reading(0), failure(9), failure(10), reading(9)))
    assert (counts(lane)["waiting"], counts(lane)["by_kind"]) == (1, {"failure": 2, "telemetry": 2})


def test_with_arrivals_none_waits() -> None:
    """There `max_future` is a bound from the arrival, and rejects."""
    far = Failure("a", START + YEAR, "leak", None, START)
    assert taken(opened().process(records(reading(0, arrived=START), far))) == [
        reading(0, arrived=START),
        "future",
    ]


def test_what_waits_is_bounded() -> None:
    """Beyond a number of records nothing changes; a correction of one that waits has a place."""
    waiting = Waiting(HOUR, most=2)
    waited = [
        waiting.defer(WaitingRecord(number, ("f", number, 0), failure(9, name)))
        for number, name in enumerate("xyz")
    ]
    assert waited == ["waits", "waits", "full"]
    assert waiting.defer(WaitingRecord(3, ("f", 3, 0), failure(10, "y"))) == "waits"
    assert [held.event.id for held in waiting.advance(START + 10 * HOUR)] == ["x", "y"]


def test_a_record_that_may_not_wait_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one of the future, with the number of those that wait."""
    lane = opened()
    monkeypatch.setattr(lane, "_waiting", Waiting(HOUR, most=1))
    out = lane.process(records(reading(0), failure(8), failure(9)))
    assert row(out[1])["reason"] == "future"
    assert "1 records wait" in row(out[1])["detail"]


events = st.one_of(
    st.builds(reading, st.integers(0, 12), st.sampled_from("ab")),
    st.builds(failure, st.integers(0, 14), st.sampled_from((None, "x", "y")), st.sampled_from("ab")),
    st.builds(lambda hours: Maintenance("a", START + hours * HOUR, None, None, None), st.integers(0, 14)),
    st.builds(
        lambda asset, name: Retraction(asset, name, None), st.sampled_from("ab"), st.sampled_from("xy")
    ),
)


@given(st.lists(events, max_size=40), st.randoms(use_true_random=False))
def test_batches_and_restores_change_nothing(bodies: list[Event], shuffler: random.Random) -> None:
    """What waits survives any kill; knowledge never runs back, and no record takes effect too early."""
    whole = opened(FEW)
    expected = whole.process(records(*bodies))
    lane, parts, found, at = opened(FEW), {}, [], 0
    while at < len(bodies):
        size = shuffler.randint(1, 4)
        found += lane.process(records(*bodies[at : at + size], first=at + 1))
        at += size
        if shuffler.random() < 0.6:
            parts.update({part: lane.part_snapshot(part) for part in lane.changed()})
            lane = Lane(FEW, lane.main_snapshot(), dict(parts))
    assert visible(found) == visible(expected)
    assert counts(lane) == counts(whole)
    places = [(item.sequence, item.part) for item in expected]
    assert places == sorted(set(places))
    known = [item.known for item in expected]
    assert known == sorted(known)
    for item in expected:
        if isinstance(item.body, ResolvedEvent) and isinstance(item.body.event, Failure | Maintenance):
            assert item.body.event.time <= item.known + HOUR


CASE = """
name = "f15"
[input]
files = ["events.jsonl"]
[classes.pump]
sensors = ["flow"]
[[targets]]
class = "pump"
mode = "seal"
horizon = "1h"
champion = "prior"
[models.prior]
pipeline = [{ estimator = "dataflows.group.estimators.Prior" }]
"""


@pytest.mark.parametrize("withdrawn", [True, False])
@pytest.mark.parametrize("begins", [True, False])
def test_a_failure_dated_next_year_costs_no_later_label(
    tmp_path: Path, *, withdrawn: bool, begins: bool
) -> None:
    """Whether it is withdrawn or not, and even as the first record: the next failure is a positive."""
    path = tmp_path / "fleet.toml"
    path.write_text(CASE, encoding="utf-8")
    wrong = {"kind": "failure", "asset": "p", "time": "2026-05-01T00:00:00Z", "mode": "seal", "id": "x"}
    first, *rest = (
        {"kind": "telemetry", "asset": "p", "time": f"2025-05-01T{time}:00Z", "readings": {"flow": 1}}
        for time in ("00:00", "10:00", "14:00")
    )
    right = {"kind": "failure", "asset": "p", "time": "2025-05-01T10:30:00Z", "mode": "seal", "id": "y"}
    lines = [wrong, first] if begins else [first, wrong]
    lines += [{"kind": "retraction", "asset": "p", "id": "x"}] if withdrawn else []
    found = run_lines(
        load(path, environ={}), map(orjson.dumps, [*lines, rest[0], right, rest[1]]), "events.jsonl"
    )
    evaluated = [orjson.loads(line) for line in found["evaluations"]]
    assert [(each["time"][11:16], each["label"]) for each in evaluated] == [
        ("00:00", "negative"),
        ("10:00", "positive"),
    ]
    assert found["rejects"] == found["late"] == []
