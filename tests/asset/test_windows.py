from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.asset.panes import Panes
from dataflows.asset.windows import WindowPlan, Windows
from dataflows.event_time import Placement
from dataflows.window_statistics import EMPTY, STATISTICS, WIDTH
from tests.asset.changes import ChangedWindows
from tests.asset.oracle import WindowShape
from tests.asset.streams import (
    HOUR,
    MINUTE,
    SCALES,
    SENSORS,
    STARTS,
    ClassLayout,
    Event,
    layouts,
    readings_of,
    streams,
)

if TYPE_CHECKING:
    import random


def restored(plan: WindowPlan, windows: Windows) -> Windows:
    """The same windows as a later process finds them in the recovery store."""
    return Windows(plan, msgspec.msgpack.decode(msgspec.msgpack.encode(windows.state())))


def one_window(
    length: int = HOUR, hop: int = MINUTE, lateness: int = HOUR, *, values: bool = False
) -> ClassLayout:
    window = WindowShape(length, hop, STATISTICS, ("speed",))
    return ClassLayout(("speed",), (window,), lateness, values)


def described(windows: Windows) -> dict[str, float]:
    """Statistics of the only sensor in the only window."""
    return dict(zip(STATISTICS, windows.features().tolist(), strict=True))


@given(streams())
def test_every_statistic_is_what_all_events_of_its_window_give(
    drawn: tuple[ClassLayout, list[Event]],
) -> None:
    """After each event the placing, the watermark, the coverage and each feature equal the brute force's."""
    layout, events = drawn
    windows, oracle = Windows(layout.plan()), layout.oracle()
    for event in events:
        placed = oracle.add(*event)
        assert windows.add(*event).value == placed
        assert (windows.largest, windows.watermark) == (oracle.largest, oracle.watermark)
        assert windows.covers(event.time) == oracle.covers(event.time)
        if placed not in {"duplicate", "too_late"}:
            check(layout, windows, oracle.features())


def check(layout: ClassLayout, windows: Windows, expected: list) -> None:
    names = layout.asset_class().features
    wrong = {
        name: (got, want)
        for name, got, want in zip(names, windows.features().tolist(), expected, strict=True)
        if not want.agrees(got)
    }
    assert wrong == {}


@given(streams(), st.sets(st.integers(0, 24)))
def test_windows_restored_at_any_points_go_on_bit_for_bit(
    drawn: tuple[ClassLayout, list[Event]], crashes: set[int]
) -> None:
    """A snapshot before any event, even the first, changes neither a placing nor a bit of a feature."""
    layout, events = drawn
    plan = layout.plan()
    steady = Windows(plan)
    resumed = Windows(plan)
    for index, event in enumerate(events):
        if index in crashes:
            resumed = restored(plan, resumed)
        assert resumed.add(*event) is steady.add(*event)
        assert resumed.features().tobytes() == steady.features().tobytes()
    assert restored(plan, resumed).state() == steady.state()


@given(streams())
def test_the_same_contents_in_the_same_order_are_bit_equal(drawn: tuple[ClassLayout, list[Event]]) -> None:
    """Duplicates and what is too late leave no trace: without them every bit of state is the same."""
    layout, events = drawn
    everything, accepted = Windows(layout.plan()), Windows(layout.plan())
    for event in events:
        if everything.add(*event) not in {Placement.DUPLICATE, Placement.TOO_LATE}:
            accepted.add(*event)
        assert accepted.state() == everything.state()
        assert accepted.features().tobytes() == everything.features().tobytes()


@st.composite
def shuffled(draw: st.DrawFn) -> tuple[ClassLayout, list[Event], list[Event]]:
    """Events in order of time, and in an order in which none comes later than the lateness allows."""
    layout = draw(layouts())
    start = draw(st.sampled_from(STARTS))
    scales = draw(st.tuples(*[st.sampled_from(SCALES)] * len(SENSORS)))
    code = st.one_of(st.none(), st.integers(-50, 50))
    step = st.tuples(st.integers(1, 60), st.tuples(*[code] * len(SENSORS)), st.integers(0, 16))
    events, delays, time = [], [], start
    for ahead, codes, delay in draw(st.lists(step, min_size=2, max_size=20)):
        time += ahead * MINUTE // 2
        readings = readings_of(codes, scales)
        late = layout.lateness * delay // 16
        if codes[0] is None:
            events.append(Event(time, readings, None))
            delays.append(time + late)
            continue
        # A gateway that sends one sensor a message: two messages of one time, with a delay each.
        parts = {"speed": readings["speed"]}, {**readings, "speed": None}
        events += [Event(time, part, None) for part in parts]
        delays += [time + late, time + layout.lateness - late]
    order = sorted(range(len(events)), key=lambda index: delays[index])
    return layout, events, [events[index] for index in order]


@given(shuffled())
def test_an_order_within_the_lateness_ends_in_the_same_contents(
    drawn: tuple[ClassLayout, list[Event], list[Event]],
) -> None:
    """Events that come late, but none too late, leave the windows that they would have left in order."""
    layout, events, arriving = drawn
    windows, oracle = Windows(layout.plan()), layout.oracle()
    for event in arriving:
        assert windows.add(*event) is not Placement.TOO_LATE
    for event in events:
        oracle.add(*event)
    check(layout, windows, oracle.features())


_INTERRUPTIONS = st.tuples(
    st.sampled_from(["fault", "fault", "reset"]), st.integers(0, 40), st.sampled_from([-1, 0, 1])
)


@given(streams(), st.dictionaries(st.integers(0, 24), _INTERRUPTIONS, max_size=8), st.booleans())
def test_resets_inside_panes_and_faults_that_overtake_leave_what_lies_after_the_reset(
    drawn: tuple[ClassLayout, list[Event]], interruptions: dict[int, tuple[str, int, int]], restart: bool
) -> None:
    """Every statistic, however late a record resets the windows and however far ahead faults are."""
    layout, events = drawn
    plan = WindowPlan(replace(layout.asset_class(), reset_windows_on=("failure",)))
    windows, oracle = Windows(plan), layout.oracle()
    for number, event in enumerate(events):
        placed = oracle.add(*event)
        assert windows.add(*event).value == placed
        if number in interruptions:
            kind, amount, nudge = interruptions[number]
            if kind == "fault":
                ahead = event.time + amount * MINUTE + nudge
                assert windows.add_fault(ahead, f"fault {number}").value == oracle.fault(ahead)
            else:
                hop = layout.windows[0].hop if layout.windows else MINUTE
                # From the time of the event back to before its windows, in steps that meet borders of panes.
                at = event.time - amount * hop // 4 + nudge
                windows.reset(at)
                oracle.reset(at)
        if restart:
            windows = restored(plan, windows)
        assert (windows.latest, windows.watermark) == (oracle.largest, oracle.watermark)
        if oracle.largest is not None:
            check(layout, windows, oracle.features())


class Changed(NamedTuple):
    """Events, and the layouts to which a class changes between them, by the number of the next event."""

    layouts: list[ClassLayout]
    changes: list[int]
    events: list[Event]


@st.composite
def changed(draw: st.DrawFn) -> Changed:
    """Windows, sensors and statistics that go on, are declared otherwise, or are new; another lateness."""
    layout, events = draw(streams())
    others = draw(st.lists(layouts(), min_size=1, max_size=2))
    found = [layout]
    for other in others:
        # Often some windows stay as they are.
        kept = draw(st.sets(st.sampled_from(layout.windows))) if layout.windows else set()
        stays = tuple(
            window._replace(sensors=seen)
            for window in layout.windows
            if window in kept and (seen := tuple(s for s in window.sensors if s in other.sensors))
        )
        found.append(other._replace(windows=stays + other.windows))
    changes = draw(st.lists(st.integers(0, len(events)), min_size=len(others), max_size=len(others)))
    return Changed(found, sorted(changes), events)


@given(changed(), st.booleans())
def test_after_a_change_windows_hold_what_came_since_they_were_declared(
    drawn: Changed, restart: bool
) -> None:
    """Late, merged and replaced readings too: of a sensor declared alike all of them, else the later ones."""
    oracle, windows = ChangedWindows(drawn.layouts[0]), Windows(drawn.layouts[0].plan())
    for number, event in enumerate([*drawn.events, None]):
        for at, after in zip(drawn.changes, drawn.layouts[1:], strict=True):
            if at != number:
                continue
            windows = windows.carry(Windows(after.plan()), oracle.change(after))
            if restart:
                windows = restored(after.plan(), windows)
        if event is None:
            break
        placed = oracle.all.add(*event)
        assert windows.add(*event).value == placed
        if placed not in {"duplicate", "too_late"}:
            check(oracle.layout, windows, oracle.features())


def test_a_late_reading_after_a_change_enters_its_own_pane() -> None:
    """With a window of another hop, what came before has no pane; 100 is a reading of before the change."""
    hourly, short = (
        ClassLayout(("speed",), (WindowShape(3 * hop, hop, ("count", "max"), ("speed",)),), 4 * HOUR, False)
        for hop in (HOUR, MINUTE)
    )
    windows = Windows(hourly.plan())
    for minute in (0, 10):
        windows.add(minute * MINUTE, {"speed": 100.0}, None)
    windows = windows.carry(Windows(short.plan()), [])
    windows.add(12 * MINUTE, {"speed": 1.0}, None)
    windows.add(10 * MINUTE, {"speed": 3.0}, None)
    windows.add(10 * MINUTE, {"speed": 2.0}, None)
    assert windows.features().tolist() == [2.0, 2.0]


def test_a_window_begins_after_its_start_and_ends_with_its_time() -> None:
    """At t the window holds a < time <= t, where a is the last hop's border minus the length."""
    windows = Windows(one_window().plan())
    start = -3 * HOUR  # 1969-12-31T21:00Z
    for time in (start, start + 1, start + HOUR - 1, start + HOUR):
        windows.add(time, {"speed": 1.0}, None)
    assert described(windows)["count"] == 3.0
    windows.add(start + HOUR + MINUTE - 1, {"speed": 1.0}, None)
    assert described(windows)["count"] == 4.0
    windows.add(start + HOUR + MINUTE, {"speed": 1.0}, None)
    assert described(windows)["count"] == 4.0


def test_a_late_event_counts_only_where_a_window_still_covers_it() -> None:
    """One on the border of the oldest pane lies outside, one a microsecond later inside."""
    windows = Windows(one_window(lateness=5 * HOUR).plan())
    windows.add(10 * HOUR, {"speed": 1.0}, None)
    assert windows.add(9 * HOUR, {"speed": 2.0}, None) is Placement.LATE
    assert not windows.covers(9 * HOUR)
    assert described(windows)["count"] == 1.0
    assert windows.add(9 * HOUR + 1, {"speed": 2.0}, None) is Placement.LATE
    assert windows.covers(9 * HOUR + 1)
    assert described(windows)["count"] == 2.0


def test_the_lateness_itself_is_not_too_late() -> None:
    """An event on the watermark is late, one below it too late."""
    windows = Windows(one_window(lateness=MINUTE).plan())
    windows.add(0, {"speed": 1.0}, None)
    assert windows.add(-MINUTE, {"speed": 1.0}, None) is Placement.LATE
    assert windows.add(-MINUTE - 1, {"speed": 1.0}, None) is Placement.TOO_LATE


def test_of_two_values_of_one_time_the_later_in_sequence_stands() -> None:
    """A replaced extreme, first or last value is gone from every statistic."""
    windows = Windows(one_window(values=True).plan())
    for time, value in ((0, 5.0), (1, 6.0), (0, 900.0), (1, -900.0)):
        windows.add(time * MINUTE, {"speed": value}, None)
    windows.add(0, {"speed": 1.0}, None)
    assert windows.add(MINUTE, {"speed": 3.0}, None) is Placement.MERGED
    value, *statistics = windows.features().tolist()
    expected = (2.0, 0.0, 2.0, 1.0, 1.0, 3.0, 120.0, 2.0, 3.0, 0.0)
    assert value == 3.0
    assert statistics == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("late", [0, MINUTE])
def test_a_replaced_value_leaves_the_other_readings_of_its_panes(late: int) -> None:
    """What shares a pane with it stays, be the pane long or short, and also if it ends at the watermark."""
    short = WindowShape(10 * MINUTE, MINUTE, ("count", "max"), ("speed",))
    longer = WindowShape(HOUR, 5 * MINUTE, ("count", "max"), ("speed",))
    windows = Windows(ClassLayout(("speed",), (short, longer), late, values=False).plan())
    for minute in (1, 2, 3, 4):
        windows.add(minute * MINUTE, {"speed": 7.0}, None)
    windows.add(5 * MINUTE, {"speed": 99.0}, None)
    if late:
        windows.add(5 * MINUTE + late, {"speed": 7.0}, None)
    assert windows.add(5 * MINUTE, {"speed": 8.0}, None) in {Placement.MERGED, Placement.LATE}
    count = 6.0 if late else 5.0
    assert windows.features().tolist() == [count, 8.0, count, 8.0]


def test_messages_of_one_time_are_merged_sensor_by_sensor() -> None:
    """A sensor that a time lacked is missing until its message comes, and null takes nothing away."""
    windows = Windows(one_window().plan())
    windows.add(0, {}, None)
    assert (described(windows)["count"], described(windows)["missing"]) == (0.0, 1.0)
    assert windows.add(0, {"speed": 4.0}, None) is Placement.MERGED
    assert windows.add(0, {"speed": None}, "other") is Placement.MERGED
    assert (described(windows)["count"], described(windows)["missing"]) == (1.0, 0.0)
    assert described(windows)["last"] == 4.0


def test_statistics_without_enough_points_are_missing_and_never_zero() -> None:
    """One point has no spread and no slope; none has nothing but its counts."""
    windows = Windows(one_window().plan())
    windows.add(0, {"speed": 4.0}, None)
    missing = [name for name, value in described(windows).items() if math.isnan(value)]
    assert missing == ["std", "slope"]
    windows.add(3 * HOUR, {"speed": None}, None)
    missing = [name for name, value in described(windows).items() if math.isnan(value)]
    assert missing == [name for name in STATISTICS if name not in {"count", "missing"}]


def test_a_spread_far_from_zero_does_not_cancel() -> None:
    """Readings of 1e12 that alternate by 0.5 have std 0.25, over many panes too."""
    windows = Windows(one_window().plan())
    for index in range(120):
        windows.add(index * MINUTE // 2, {"speed": 1e12 + 0.5 * (index % 2)}, None)
    assert described(windows)["std"] == pytest.approx(0.25, rel=1e-3)


@given(
    st.sampled_from([MINUTE, HOUR, 24 * HOUR]),
    st.sampled_from([1, 30, 1_000, 20_000, 300_000, 999_999]),
    st.lists(st.integers(-50, 50), min_size=2, max_size=8),
    st.integers(0, 8),
    st.randoms(use_true_random=False),
)
def test_a_slope_of_readings_less_than_a_second_apart_holds_in_any_order(
    hop: int, gap: int, values: list[int], before: int, shuffler: random.Random
) -> None:
    """By 1e-6 of its largest term at 10 microseconds an hour of the hop; n times closer, by n times that."""
    closer = max(1.0, 10 * hop / HOUR / gap)
    windows = Windows(one_window(10 * hop, hop).plan())
    times = [83_900 * 24 * HOUR + (number - before) * gap for number in range(len(values))]
    readings = list(zip(times, values, strict=True))
    shuffler.shuffle(readings)
    for time, value in readings:
        windows.add(time, {"speed": float(value)}, None)
    offsets = [2 * (time - times[0]) - (times[-1] - times[0]) for time in times]
    parts = [offset * value for offset, value in zip(offsets, values, strict=True)]
    squares = sum(offset * offset for offset in offsets)
    largest = sum(map(abs, offsets)) * max(map(abs, values)) * 2 * HOUR / squares
    assert abs(described(windows)["slope"] - sum(parts) * 2 * HOUR / squares) <= 1e-6 * closer * largest


def test_a_slope_is_per_hour() -> None:
    """A reading that grows by 2 an hour has slope 2, over any number of panes."""
    windows = Windows(one_window(length=6 * HOUR, hop=HOUR).plan())
    for index in range(40):
        windows.add(index * 10 * MINUTE, {"speed": 7.0 + index / 3}, None)
    assert described(windows)["slope"] == pytest.approx(2.0, rel=1e-12)


def test_the_same_id_is_a_copy_only_with_the_same_time_and_content() -> None:
    """A counter that begins again at 1 locks nothing out, whatever the watermark."""
    windows = Windows(one_window(lateness=MINUTE).plan())
    assert windows.add(0, {"speed": 1.0}, "a") is Placement.ON_TIME
    assert windows.add(0, {"speed": 1.0}, "a") is Placement.DUPLICATE
    assert windows.add(0, {"speed": 2.0}, "a") is Placement.MERGED
    assert windows.add(0, {"speed": 2.0}, "b") is Placement.MERGED
    assert windows.add(MINUTE, {"speed": 2.0}, "a") is Placement.ON_TIME
    assert windows.add(0, {"speed": 2.0}, "a") is Placement.DUPLICATE
    assert windows.add(2 * MINUTE, {"speed": 2.0}, "a") is Placement.ON_TIME
    assert windows.add(0, {"speed": 2.0}, "a") is Placement.TOO_LATE


def test_without_windows_nothing_is_covered_and_the_values_remain() -> None:
    """A class may have its readings as the only features, and is restored like any other."""
    plan = ClassLayout(("speed",), (), HOUR, values=True).plan()
    windows = Windows(plan)
    windows.add(HOUR, {"speed": 1.0}, None)
    windows.add(0, {"speed": 2.0}, None)
    assert not windows.covers(0)
    assert restored(plan, windows).features().tolist() == [1.0]


def test_windows_without_an_event_have_no_features() -> None:
    """Before the first telemetry, restored or not, there is no time and nothing to score."""
    plan = one_window().plan()
    for windows in (Windows(plan), restored(plan, Windows(plan))):
        assert (windows.largest, windows.watermark) == (None, None)
        assert not windows.covers(0)
        with pytest.raises(ValueError, match="no telemetry yet"):
            windows.features()


def test_a_snapshot_does_not_grow_with_the_number_of_events() -> None:
    """What is kept is bounded by panes, lateness and the longest hop, not by the length of the stream."""
    windows = Windows(one_window(lateness=5 * MINUTE).plan())
    sizes = []
    for index in range(8_000):
        windows.add(index * 10_000_000, {"speed": float(index)}, str(index))
        windows.add(index * 10_000_000, {"speed": 0.5}, None)
        if index in {3_999, 7_999}:
            sizes.append(len(msgspec.msgpack.encode(windows.state())))
    assert sizes[1] <= sizes[0] * 1.05


@given(st.integers(1, 6), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=6 * WIDTH, max_size=6 * WIDTH))
def test_fields_of_any_bits_are_packed_and_unpacked_to_the_last_bit(sensors: int, bits: list[int]) -> None:
    """Minus zero, payloads of NaN and numbers that fit no reading come back as they were."""
    names = tuple(f"sensor {number}" for number in range(sensors))
    plan = ClassLayout(names, (WindowShape(HOUR, HOUR, ("mean",), names),), 0, False).plan()
    panes = Panes(plan)
    panes.insert(7, np.arange(float(sensors)), 7)
    panes._panes[:] = np.array(bits[: sensors * WIDTH]).view(np.float64).reshape(1, sensors, WIDTH)
    assert Panes(plan, panes.state(7))._panes.tobytes() == panes._panes.tobytes()


def test_a_pane_of_one_reading_a_sensor_is_stored_as_its_time_and_values() -> None:
    """Beside them it takes its number and its marks; a second reading adds what does not follow from one."""
    names = ("speed", "heat", "load", "flow")
    plan = ClassLayout(names, (WindowShape(3 * HOUR, HOUR, ("mean",), names),), 0, False).plan()
    windows = Windows(plan)
    readings = dict.fromkeys(names, 2.5)
    windows.add(HOUR // 2, readings, None)
    one = len(windows.state()["panes"])
    assert one == 8 * (1 + 1 + 1 + 1 + 4)
    windows.add(HOUR // 2 + HOUR, readings, None)
    assert len(windows.state()["panes"]) == 2 * one - 8


def test_panes_that_no_window_covers_any_more_are_not_stored() -> None:
    """They may stay in memory until others take their place; a snapshot leaves them out."""
    windows = Windows(one_window(HOUR, 10 * MINUTE, 0).plan())
    for time in (MINUTE, 12 * MINUTE, 200 * MINUTE):
        windows.add(time, {"speed": 1.0}, None)
    held = windows._panes._numbers
    again = restored(one_window(HOUR, 10 * MINUTE, 0).plan(), windows)._panes._numbers
    assert ((held != EMPTY).sum(), again[again != EMPTY].tolist()) == (2, [19])


def test_panes_of_older_snapshots_are_read_as_they_were_written() -> None:
    """Before version 9 of the snapshots of assets, every field of every pane was stored."""
    plan = one_window().plan()
    windows = Windows(plan)
    for minute in range(100):
        windows.add(minute * MINUTE, {"speed": minute % 7.5}, None)
    panes = windows._panes
    held = np.flatnonzero(panes._numbers != EMPTY)
    older = {
        "rings": panes._rings[:, 1].tolist(),
        "slots": held.tolist(),
        "numbers": panes._numbers[held].tolist(),
        "panes": panes._panes[held].tobytes(),
    }
    assert Panes(plan, older).state(windows.largest) == panes.state(windows.largest)


@pytest.mark.parametrize("sensors", [("speed",), ("speed", "heat")])
def test_the_same_content_is_the_same_readings_of_any_sensor(sensors: tuple[str, ...]) -> None:
    """Sensors that the class does not have, and nulls, tell messages of one time apart; a copy is a copy."""
    plan = ClassLayout(sensors, (), 0, values=True).plan()
    messages: list[dict[str, float | None]] = [
        {"oil": 5.0},
        {"oil": 6.0},
        {"oil": None},
        {"fuel": 5.0},
        {"speed": None},
        {"speed": 1.0},
        {"speed": 1.0, "oil": 5.0},
        {"speed": 1.0, "heat": 2.0},
        {"speed": 1.0, "heat": None},
        {},
    ]
    for first in range(len(messages)):
        ordered = messages[first:] + messages[:first]
        windows = Windows(plan)
        assert windows.add(HOUR, ordered[0], None) is Placement.ON_TIME
        assert {windows.add(HOUR, readings, None) for readings in ordered[1:]} == {Placement.MERGED}
        windows = restored(plan, windows)
        copies = [dict(reversed(readings.items())) for readings in ordered]
        assert {windows.add(HOUR, readings, None) for readings in copies} == {Placement.DUPLICATE}
        left = windows.tombstone(Windows(plan))
        assert {left.add(HOUR, readings, None) for readings in copies} == {Placement.DUPLICATE}


def test_a_copy_after_a_change_of_class_is_a_copy() -> None:
    """What came is remembered by the names it had, not by what the class of then kept of it."""
    before, after = ClassLayout(("speed", "heat"), (), 0, True), ClassLayout(("load", "speed"), (), 0, True)
    messages: list[dict[str, float | None]] = [{"speed": 1.0, "heat": 2.0}, {"load": 1.0}]
    for readings in messages:
        windows = Windows(before.plan())
        windows.add(HOUR, readings, None)
        carried = windows.carry(Windows(after.plan()), [(0, 1)])
        assert carried.add(HOUR, readings, None) is Placement.DUPLICATE
