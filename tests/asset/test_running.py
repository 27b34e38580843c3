"""Machines that stand: what windows hold, what is scored and what is learned, against the brute force."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dataflows.asset.panes import WindowPlan
from dataflows.asset.windows import Windows
from dataflows.event_time import Placement
from dataflows.events import Telemetry
from dataflows.fleet import load
from dataflows.fleet.problems import FleetError
from dataflows.instants import format_instant
from dataflows.state.layouts import StateHistory, going_on
from dataflows.testing import run_inline
from dataflows.testing import telemetry as telemetry_line
from tests import tables
from tests.asset.lives import Record, Setting, check_life, check_restored, lives
from tests.asset.oracle import Expected, WindowOracle, WindowShape
from tests.asset.recomputed import plan_of, run, telemetry
from tests.asset.streams import HOUR, MINUTE, ClassLayout, Event, streams
from tests.block_runs import check
from tests.block_worlds import KILLS, RECORDINGS, SIZES, fleet
from tests.configurations import Configuration
from tests.stored import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dataflows.fleet import Fleet


def wrong(expected: list[Expected], got: list[float]) -> list[tuple[Expected, float]]:
    """The values that are not the expected ones."""
    return [pair for pair in zip(expected, got, strict=True) if not pair[0].agrees(pair[1])]


def gated(layout: ClassLayout, events: Iterable[Any], number: int) -> ClassLayout:
    """A layout whose machines run above the speed of one of the events."""
    found = {0.0} | {
        float(event.readings["speed"])
        for event in events
        if isinstance(event, Event) and event.readings.get("speed") is not None
    }
    return layout._replace(running=("speed", sorted(found)[number % len(found)]))


_NUMBER = st.integers(0, 100)


@given(lives(), _NUMBER, st.sets(st.integers(0, 2)))
def test_an_asset_that_stands_is_neither_scored_nor_learned(
    drawn: tuple[Setting, list[Event | Record]], number: int, required: set[int]
) -> None:
    """Observations, revisions, examples, labels and features equal the brute force's, late data included."""
    setting, life = drawn
    layout = gated(setting.layout, life, number)
    chosen = tuple(name for index, name in enumerate(layout.sensors) if index in required)
    check_life(setting._replace(layout=layout._replace(required=chosen or None)), life)


@given(lives(), _NUMBER, st.sets(st.integers(0, 24)), st.booleans())
def test_an_asset_that_stands_is_restored_bit_for_bit(
    drawn: tuple[Setting, list[Event | Record]], number: int, crashes: set[int], complete: bool
) -> None:
    """A snapshot before any record changes no byte of what follows."""
    setting, life = drawn
    layout = gated(setting.layout, life, number)
    setting = setting._replace(layout=layout._replace(required=layout.sensors if complete else None))
    check_restored(setting, life, crashes)


_INTERRUPTIONS = st.tuples(
    st.sampled_from(["fault", "fault", "reset"]), st.integers(0, 40), st.sampled_from([-1, 0, 1])
)


@given(streams(), _NUMBER, st.dictionaries(st.integers(0, 24), _INTERRUPTIONS, max_size=8), st.booleans())
def test_resets_and_faults_leave_what_ran_in_the_windows(
    drawn: tuple[ClassLayout, list[Event]],
    number: int,
    interruptions: dict[int, tuple[str, int, int]],
    restart: bool,
) -> None:
    """Every statistic at the time that is scored, however late a record resets the windows."""
    layout, events = drawn
    layout = gated(layout, events, number)
    plan = WindowPlan(replace(layout.asset_class(), reset_windows_on=("failure",)))
    windows, oracle, scored = Windows(plan), layout.oracle(), None
    for at, event in enumerate(events):
        placed = oracle.add(*event)
        last = event.time == oracle.largest and event.time != scored
        if placed in {"on_time", "merged"} and last:
            placed = "on_time" if oracle.runs(event.time) else "held"
            scored = event.time if placed == "on_time" else scored
        assert windows.add(*event).value == placed
        if at in interruptions:
            kind, amount, nudge = interruptions[at]
            if kind == "fault":
                ahead = event.time + amount * MINUTE + nudge
                assert windows.add_fault(ahead, f"fault {at}").value == oracle.fault(ahead)
            else:
                hop = layout.windows[0].hop if layout.windows else MINUTE
                instant = event.time - amount * hop // 4 + nudge
                windows.reset(instant)
                oracle.reset(instant)
        if restart:
            windows = Windows(plan, msgspec.msgpack.decode(msgspec.msgpack.encode(windows.state())))
        assert (windows.largest, windows.latest, windows.watermark) == (
            scored,
            oracle.largest,
            oracle.watermark,
        )
        if scored is not None:
            assert wrong(oracle.features(scored), windows.features().tolist()) == []


@given(streams(), _NUMBER, st.sampled_from([MINUTE, 20 * MINUTE, HOUR]))
def test_complete_features_are_of_what_ran(
    drawn: tuple[ClassLayout, list[Event]], number: int, every: int
) -> None:
    """Examples that the watermark passed are computed again from all that came, states included."""
    layout, events = drawn
    layout = gated(layout, events, number)
    found = run(plan_of(layout.asset_class(every)), [telemetry(*event) for event in events])
    oracle = layout.oracle()
    for event in events:
        oracle.add(*event)
    passed = {time for time in found.served if layout.lateness and time < (oracle.watermark or 0)}
    assert set(found.complete) == passed
    for time, features in found.complete.items():
        until = replace(oracle, accepted=[event for event in oracle.accepted if event[0] <= time])
        assert wrong(until.features(), np.frombuffer(features).tolist()) == []


@settings(max_examples=12, deadline=None)
@given(RECORDINGS, SIZES, KILLS, st.booleans())
def test_blocks_of_machines_that_stand_change_no_byte(
    recording: list[bytes], sizes: list[int], kills: set[int], complete: bool
) -> None:
    """With late data, resets, weather, silence, complete data and kills, in blocks of any size."""
    more = {"score_on": "complete"} if complete else {}
    check(fleet(running="pressure > 1.5", **more), recording, sizes, kills)


class SinceChange(WindowOracle):
    """All telemetry of an asset, of which windows hold what came since the last change."""

    began: int = 0

    def merged(self) -> dict[int, dict[str, float]]:
        later = WindowOracle(self.sensors, (), self.lateness, False, self.accepted[self.began :])
        return WindowOracle.merged(later)


_PARTS = st.lists(
    st.tuples(
        st.sampled_from([None, ("speed", 0.0), ("speed", 0.0), ("speed", 3.0)]),
        st.lists(
            st.tuples(st.integers(-100, 50), st.none() | st.integers(-9, 9), st.integers(0, 9)),
            min_size=1,
            max_size=12,
        ),
    ),
    min_size=2,
    max_size=4,
)


@given(_PARTS)
@example([(None, [(0, None, 0)]), (("speed", 0.0), [(-1, 0, 0), (0, 1, 0)])])
@example([(("speed", 0.0), [(0, 0, 0), (42, 0, 0), (-41, 1, 0), (49, None, 0), (0, 1, 0)])])
def test_a_changed_condition_empties_the_windows_and_another_run_does_not(
    parts: list[tuple[tuple[str, float] | None, list[tuple[int, int | None, int]]]],
) -> None:
    """Added, altered, removed or left as it is between runs: features are of what came since the change."""
    shape = WindowShape(2 * HOUR, HOUR // 2, ("count", "missing", "mean", "last"), ("speed", "heat"))
    layout = ClassLayout(("speed", "heat"), (shape,), HOUR, False)
    oracle, before = SinceChange(layout.sensors, layout.windows, layout.lateness, False), parts[0][0]
    store, now, scored = MemoryStore(), 400_000 * HOUR, None
    for running, steps in parts:
        if running != before:
            oracle.began, before = len(oracle.accepted), running
        oracle.running = running
        events = []
        for minutes, speed, heat in steps:
            time = now + minutes * MINUTE
            now = max(now, time)
            readings: dict[str, float | None] = {"heat": float(heat)}
            if speed is not None:
                readings["speed"] = float(speed)
            events.append(Telemetry("a", time, readings, None, None))
        first = store.read + 1
        rows = store.run(Configuration(layout._replace(running=running)).fleet(), events)
        made = [orjson.loads(row.data) for row in rows if row.output == "predictions"]
        served = {row["sequence"]: row for row in made}
        for sequence, event in enumerate(events, first):
            placed = oracle.add(event.time, event.readings, None)
            row = served.get(sequence)
            if placed == "on_time" or (placed == "merged" and event.time != scored):
                runs = oracle.runs(event.time)
                assert (row is not None) == runs
                scored = event.time if runs else scored
            if placed in {"duplicate", "too_late"}:
                assert row is None
            if row is not None:
                values = [math.nan if each is None else each for each in row["features"].values()]
                assert wrong(oracle.features(scored), values) == []


TOML = tables.pumps(
    "hot",
    '{ estimator = "dataflows.estimators.Rule", score = "heat > 80", calibrate = false }',
    files=["-"],
    sensors=["rpm", "heat"],
    horizon="4h",
    adopt=True,
    output='features = "all"',
    pump="""
running = "rpm > 100"
allowed_lateness = "4h"
windows = [{ length = "12h", hop = "1h", statistics = ["count", "mean"] }]
""",
    target="alert = { open = 0.5 }",
)


def pumps(folder: Path, text: str = TOML) -> Fleet:
    (folder / "fleet.toml").write_text(text)
    return load(folder / "fleet.toml", environ={})


def at(hour: float, **readings: float) -> bytes:
    return telemetry_line("p", format_instant(int(hour * HOUR)), readings)


def scored(rows: dict[str, list[dict[str, Any]]]) -> list[tuple[str, int]]:
    return [(row["time"][11:16], row["revision"]) for row in rows["predictions"]]


def test_a_machine_that_stands_is_not_scored_and_its_windows_wait(tmp_path: Path) -> None:
    """Telemetry of one that stands moves the watermark and the label clock, and counts in no window."""
    steady = [at(hour, rpm=900, heat=50) for hour in range(3)]
    stands = [at(hour, rpm=0, heat=20) for hour in range(3, 9)]
    rows = run_inline(pumps(tmp_path), [*steady, *stands, at(9, rpm=900, heat=60)])
    assert scored(rows) == [("00:00", 0), ("01:00", 0), ("02:00", 0), ("09:00", 0)]
    last = rows["predictions"][-1]["features"]
    assert (last["heat:count:12h"], last["heat:mean:12h"]) == (4, 52.5)
    # The examples of 0, 1 and 2 h have their labels while it stands; hours on the calendar pass.
    assert [row["time"][11:16] for row in rows["evaluations"]] == ["00:00"]
    evaluated = run_inline(pumps(tmp_path), [*steady, *stands, *(at(hour, rpm=0) for hour in range(9, 13))])
    assert [row["label"] for row in evaluated["evaluations"]] == ["negative"] * 3


def test_a_reading_without_the_sensor_has_the_state_of_the_time_before(tmp_path: Path) -> None:
    """As from a gateway that sends one sensor a message; before any state the machine runs."""
    lines = [at(0, heat=50), at(1, rpm=0), at(2, heat=51), at(3, rpm=900), at(4, heat=52)]
    rows = run_inline(pumps(tmp_path), lines)
    assert scored(rows) == [("00:00", 0), ("03:00", 0), ("04:00", 0)]
    assert rows["predictions"][-1]["features"]["heat:count:12h"] == 2


def test_a_late_reading_that_changes_the_state_revises_the_prediction(tmp_path: Path) -> None:
    """The times after it, up to the next that tells its own state, leave the windows or enter them."""
    lines = [at(0, rpm=900, heat=50), at(2, heat=51), at(3, heat=52), at(4, rpm=900, heat=53)]
    rows = run_inline(pumps(tmp_path), [*lines, at(1, rpm=0, heat=49)])
    assert scored(rows)[-1] == ("04:00", 1)
    assert rows["predictions"][-1]["features"]["heat:mean:12h"] == 51.5
    # A late reading of a machine that stood then, and that changes no other time, changes nothing.
    again = run_inline(pumps(tmp_path), [*lines, at(1, rpm=0, heat=49), at(1.5, rpm=0, heat=1)])
    assert scored(again) == scored(rows)


def test_a_time_without_a_score_gets_none_later(tmp_path: Path) -> None:
    """A late reading says that it ran after all: the next prediction's windows hold it."""
    lines = [at(0, rpm=900, heat=50), at(1, rpm=0, heat=51), at(3, heat=52), at(2, rpm=900, heat=60)]
    rows = run_inline(pumps(tmp_path), lines)
    assert scored(rows) == [("00:00", 0)]
    rows = run_inline(pumps(tmp_path), [*lines, at(4, heat=53)])
    assert scored(rows) == [("00:00", 0), ("04:00", 0)]
    assert rows["predictions"][-1]["features"]["heat:count:12h"] == 4


def test_an_alert_stays_open_while_the_machine_stands(tmp_path: Path) -> None:
    """Nothing is scored, so nothing clears it: until it runs again, fails, is repaired or falls silent."""
    lines = [at(0, rpm=900, heat=90), *(at(hour, rpm=0, heat=20) for hour in range(1, 9))]
    assert [row["state"] for row in run_inline(pumps(tmp_path), lines)["alerts"]] == ["opened"]
    rows = run_inline(pumps(tmp_path), [*lines, at(9, rpm=900, heat=20)])
    assert [row["state"] for row in rows["alerts"]] == ["opened", "cleared"]


def test_a_machine_that_stands_for_long_keeps_few_readings() -> None:
    """What no late reading can change any more is dropped, though nothing is scored in between."""
    layout = ClassLayout(("speed",), (WindowShape(HOUR, MINUTE, ("count",), ("speed",)),), HOUR, True)
    windows = Windows(layout._replace(running=("speed", 1.0)).plan())
    windows.add(0, {"speed": 5.0}, None)
    windows.add(2, {"speed": 0.0}, None)
    windows.add(1, {"speed": 5.0}, None)
    for minute in range(1, 3_000):
        assert windows.add(minute * MINUTE, {"speed": 0.0}, None) is Placement.HELD
        assert len(msgspec.msgpack.encode(windows.state())) < 10_000
    assert windows.add(3_000 * MINUTE, {"speed": 5.0}, None) is Placement.ON_TIME


@pytest.mark.parametrize(
    ("now", "why"),
    [
        ("", "another `running` (rpm > 100, now always)"),
        ('running = "rpm > 200"', "another `running` (rpm > 100, now rpm > 200)"),
        ('running = "rpm  >  100"', None),
    ],
)
def test_another_condition_costs_the_windows(tmp_path: Path, now: str, why: str | None) -> None:
    """A restart refuses it until it is accepted; other spaces are no change."""
    past, _ = going_on(StateHistory(), pumps(tmp_path))
    _, changes = going_on(past, pumps(tmp_path, TOML.replace('running = "rpm > 100"', now)))
    assert [change.why for change in changes] == ([] if why is None else [why])
    assert all(change.span == 12 * HOUR for change in changes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rmp > 100", "sensors of the class, one of rpm, heat"),
        ("rpm >", "numbers, names"),
        ("1 > 0", "at least one sensor"),
        ("weather.rain > 0", "sensors of the class"),
    ],
)
def test_a_condition_names_sensors_of_the_class(tmp_path: Path, text: str, expected: str) -> None:
    """Anything else is refused before the start."""
    with pytest.raises(FleetError, match=expected):
        pumps(tmp_path, TOML.replace("rpm > 100", text))
