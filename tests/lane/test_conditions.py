"""Readings relative to the operating condition: against moments of the past, and at the borders."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from dataflows.fleet import FleetError
from dataflows.fleet.fleet import Relative
from dataflows.lane.conditions import ConditionsOfClass
from dataflows.testing import pump_fleet, run_inline, telemetry

DECLARED = Relative((("load", 1.0), ("speed", 100.0)), ("flow", "heat"), 3)
HOUR = 3600


def drawn(count: int, seed: int = 1) -> list[dict[str, float | None]]:
    """Readings under three conditions, some of them missing."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        load, speed = draw.choice([(0.0, 500.0), (5.0, 500.0), (5.0, 2000.0)])
        flow = None if draw.random() < 0.1 else load * 10 + speed / 100 + draw.gauss(0, 1)
        heat = load + draw.gauss(0, 0.1)
        speed += draw.uniform(-40, 40)
        found.append({"load": load + draw.uniform(-0.4, 0.4), "speed": speed, "flow": flow, "heat": heat})
    return found


def usual(readings: list[dict[str, float | None]], number: int, sensor: str) -> float:
    """The reading in deviations from the earlier ones under the same condition, from nothing."""

    def condition(of: dict[str, float | None]) -> tuple[bool, bool]:
        return (of["load"] or 0.0) > 2.5, (of["speed"] or 0.0) > 1_000

    mine = readings[number][sensor]
    past = [
        value
        for earlier in readings[:number]
        if condition(earlier) == condition(readings[number]) and (value := earlier[sensor]) is not None
    ]
    if mine is None or len(past) < 2:
        return math.nan
    return float((mine - np.mean(past)) / np.std(past))


def test_readings_are_in_deviations_from_earlier_ones_under_the_same_condition() -> None:
    """The reading itself, and those under other conditions, count for nothing."""
    readings, found = drawn(300), ConditionsOfClass(DECLARED)
    for number, each in enumerate(readings):
        relative = found.relative(each)
        assert relative == pytest.approx(
            [usual(readings, number, name) for name in ("flow", "heat")], rel=1e-6, nan_ok=True
        )


def test_without_a_sensor_that_tells_the_condition_nothing_is_relative() -> None:
    """And nothing is learned of the event."""
    found = ConditionsOfClass(DECLARED)
    before = found.state()
    relative = found.relative({"load": 1.0, "speed": None, "flow": 2.0, "heat": 1.0})
    assert all(map(math.isnan, relative))
    assert found.state() == before


def test_beyond_the_most_conditions_the_nearest_counts() -> None:
    """Three are told apart here; a fourth reading is near the first of them."""
    found = ConditionsOfClass(DECLARED)
    for number in range(10):
        for load in (0.0, 50.0, 100.0):
            found.relative({"load": load, "speed": 0.0, "flow": load + number % 2, "heat": 0.0})
    assert found.state()["known"] == 3
    assert found.relative({"load": 10.0, "speed": 0.0, "flow": 1.5, "heat": 0.0})[0] == pytest.approx(2.0)
    assert found.state()["known"] == 3


def test_one_wild_reading_does_not_hide_what_comes_after() -> None:
    """It counts as one at eight deviations."""
    found = ConditionsOfClass(DECLARED)
    for number in range(200):
        flow = 65535.0 if number == 100 else float(number % 2)
        found.relative({"load": 0.0, "speed": 0.0, "flow": flow, "heat": 0.0})
    assert found.relative({"load": 0.0, "speed": 0.0, "flow": 3.0, "heat": 0.0})[0] > 4.0


def test_copies_teach_nothing() -> None:
    """An event that is no news has its relative readings, and leaves the conditions as they are."""
    found = ConditionsOfClass(DECLARED)
    for each in drawn(50):
        found.relative(each)
    before = found.state()
    assert not any(map(math.isnan, found.relative(drawn(60)[3], learns=False)))
    assert found.state() == before


def test_conditions_go_on_from_their_state_and_begin_again_under_another_declaration() -> None:
    """To the last bit; a width or a sensor more makes other conditions."""
    one = ConditionsOfClass(DECLARED)
    for each in drawn(100):
        one.relative(each)
    other = ConditionsOfClass(DECLARED, one.state())
    for each in drawn(50, seed=2):
        assert str(one.relative(each)) == str(other.relative(each))
    assert one.state() == other.state()
    wider = Relative((("load", 2.0), ("speed", 100.0)), ("flow", "heat"), 3)
    assert ConditionsOfClass(wider, one.state()).state()["known"] == 0


def test_conditions_without_a_reading_yet_go_on_from_their_state() -> None:
    """A run may stop before the first message that tells a condition."""
    one = ConditionsOfClass(DECLARED)
    one.relative({"load": None, "speed": 500.0, "flow": 1.0, "heat": 1.0})
    other = ConditionsOfClass(DECLARED, one.state())
    for each in drawn(20):
        assert str(other.relative(each)) == str(one.relative(each))


def fleet(**conditions: object) -> Any:  # noqa: ANN401 - a fleet
    pump = {
        "sensors": ["load", "flow"],
        "conditions": {"by": {"load": 1.0}, **conditions},
        "allowed_lateness": "1h",
        "example_every": "1h",
        "windows": [{"length": "3h", "hop": "1h", "statistics": ["mean"]}],
    }
    return pump_fleet(classes={"pump": pump}, output={"folder": "out", "features": "all"})


def stream(count: int) -> list[bytes]:
    draw = random.Random(3)
    lines = []
    for number in range(count):
        load = draw.choice([0.0, 10.0])
        readings = {"load": load, "flow": 5 * load + draw.gauss(0, 1)}
        lines.append(telemetry(f"p-{number % 3}", number // 3 * HOUR, readings, id=str(number)))
    return lines


def test_relative_readings_are_values_and_channels_of_windows() -> None:
    """The mean over a window is that of the relative readings that its events got when they came."""
    rows = [row["features"] for row in run_inline(fleet(), stream(120))["predictions"]]
    assert {"load", "flow", "flow.relative", "flow:mean:3h", "flow.relative:mean:3h"} <= rows[0].keys()
    of_one = rows[::3]
    for number in range(20, 40):
        three = [row["flow.relative"] for row in of_one[number - 2 : number + 1]]
        assert of_one[number]["flow.relative:mean:3h"] == pytest.approx(np.mean(three))
    assert abs(np.mean([row["flow.relative"] for row in of_one[20:]])) < 0.5


def test_a_duplicate_is_one_although_its_condition_is_known_better_by_now() -> None:
    """What an event was joined with is no part of its content."""
    lines = stream(60)
    rows = run_inline(fleet(), [*lines, lines[-1], lines[-2]])
    assert [row["reason"] for row in rows["rejects"]] == ["duplicate", "duplicate"]


def test_a_message_of_the_same_time_leaves_the_relative_readings_that_were_there() -> None:
    """It has no sensor that tells the condition; a reading that it corrects stays relative to what came."""
    lines = stream(60)
    again = telemetry("p-0", 19 * HOUR, {"flow": 7.0}, id="more")
    *_, before, after = [
        row["features"]
        for row in run_inline(fleet(), [*lines, again])["predictions"]
        if row["asset"] == "p-0"
    ]
    assert (before["flow.relative"], after["flow"]) == (after["flow.relative"], 7.0)


@pytest.mark.parametrize(
    ("conditions", "key", "expected"),
    [
        ({"by": {"lod": 1.0}}, "classes.pump.conditions.by.lod", "a sensor of the class"),
        ({"by": {"load": 0.0}}, "classes.pump.conditions.by.load", "a width above 0"),
        ({"sensors": ["load"]}, "classes.pump.conditions.sensors[0]", "a sensor that tells no condition"),
    ],
)
def test_what_cannot_be_is_refused(conditions: dict[str, object], key: str, expected: str) -> None:
    """With the key, and what was expected."""
    with pytest.raises(FleetError) as refused:
        fleet(**conditions)
    assert key in str(refused.value)
    assert expected in str(refused.value)
