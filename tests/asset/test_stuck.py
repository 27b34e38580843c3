"""Stuck sensors, against their definition: every reading that is known, looked at again at each arrival."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from dataflows.asset.stuck import StuckReadings
from dataflows.fleet import load
from dataflows.instants import HOUR, format_instant
from dataflows.testing import run_inline, telemetry
from tests import tables

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.fleet import Fleet

AFTER, LATENESS = 5, 4

#: Event time (a late one is back from the newest), value.
readings = st.lists(st.tuples(st.integers(-6, 4), st.sampled_from([1.0, 1.0, 1.0, 2.0])), max_size=40)


def by_definition(known: dict[int, float], time: int) -> bool:
    """Whether the reading at a time is stuck, by all that is known, itself included."""
    value = known[time]
    if known[max(known)] != value:
        return False  # of a run that a newer reading has ended
    others = [at for at, other in known.items() if other != value]
    if any(at > time for at in others):
        return False  # before the present run
    begun = min(at for at in known if at > max((at for at in others), default=-1_000))
    return time - begun >= AFTER


@given(readings)
def test_a_reading_is_stuck_where_no_other_value_was_read_for_so_long(steps: list[tuple[int, float]]) -> None:
    """Late readings divide a run, belong to it, or come too late to change anything; none is judged twice."""
    stuck = StuckReadings({"x": AFTER}, LATENESS)
    known: dict[int, float] = {}
    for back, value in steps:
        newest = max(known, default=0)
        time = newest + back
        if time in known:
            continue
        too_late = bool(known) and time < newest - LATENESS
        if not too_late:
            known[time] = value
        expected = not too_late and by_definition(known, time)
        for _ in range(2):
            assert (stuck.checked(time, {"x": value})["x"] is None) == expected
        stuck = StuckReadings({"x": AFTER}, LATENESS, stuck.state())


TOML = tables.pumps(
    "prior",
    tables.PRIOR_ALONE,
    files=["-"],
    sensors=["flow", "load"],
    horizon="4h",
    adopt=True,
    output='features = "all"',
    pump="""
limits = { flow = { stuck_after = "6h" } }
allowed_lateness = "4h"
windows = [{ length = "12h", hop = "1h", statistics = ["count", "missing"] }]
""",
)


def pumps(folder: Path) -> Fleet:
    (folder / "fleet.toml").write_text(TOML)
    return load(folder / "fleet.toml", environ={})


def hourly(flows: list[float], start: int = 0) -> list[bytes]:
    return [
        telemetry("p", format_instant((start + hour) * HOUR), {"flow": flow, "load": float(hour)})
        for hour, flow in enumerate(flows)
    ]


def seen(rows: dict[str, list[dict[str, Any]]]) -> list[float | None]:
    return [row["features"]["flow"] for row in rows["predictions"] if row["revision"] == 0]


def test_a_stuck_sensor_is_missing_until_it_moves(tmp_path: Path) -> None:
    """In windows and as a value; the other sensors of the message count."""
    rows = run_inline(pumps(tmp_path), hourly([7.0] * 9 + [8.0, 8.0]))
    assert seen(rows) == [7.0] * 6 + [None] * 3 + [8.0, 8.0]
    last = rows["predictions"][-1]["features"]
    assert (last["flow:count:12h"], last["flow:missing:12h"]) == (8, 3)
    assert (last["load:count:12h"], last["load:missing:12h"]) == (11, 0)


def test_a_late_reading_of_another_value_lets_the_next_ones_count(tmp_path: Path) -> None:
    """Those that were missing stay missing: they were served so."""
    late = telemetry("p", format_instant(7 * HOUR + HOUR // 2), {"flow": 5.0})
    lines = hourly([7.0] * 9)
    rows = run_inline(pumps(tmp_path), [*lines, late, *hourly([7.0] * 8, start=9)])
    assert seen(rows) == [7.0] * 6 + [None] * 3 + [7.0] * 5 + [None] * 3


def test_a_sensor_that_may_stand_still_is_never_stuck(tmp_path: Path) -> None:
    """Only sensors with `stuck_after` are judged."""
    lines = [telemetry("p", format_instant(hour * HOUR), {"flow": 1.0, "load": 3.0}) for hour in range(20)]
    rows = run_inline(pumps(tmp_path), lines)
    assert {row["features"]["load"] for row in rows["predictions"]} == {3.0}
