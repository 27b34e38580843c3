"""Spells and bits: what the truth rests on, against plain loops."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dataflows.instants import MICROSECONDS
from dataflows.simulator import load_scenario
from dataflows.simulator.chance import Drawn, draw, stream
from dataflows.simulator.done import OF_MESSAGES, OF_SENSORS, codes_of, mark, mark_sensor, only_sensor
from dataflows.simulator.fleet import sensors_of
from dataflows.simulator.scenario import MODES, Spells

SECOND, DAY = MICROSECONDS["s"], MICROSECONDS["d"]
SENSORS = ("first", "second", "third")

starts = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 40), st.integers(1, 9)), max_size=12)
asked = st.lists(st.tuples(st.integers(0, 5), st.integers(-5, 60)), min_size=1, max_size=20)


@given(starts, asked)
def test_a_time_lies_in_the_spell_that_holds_it(drawn: list[tuple[int, int, int]], times: list) -> None:
    """As looking at every spell tells, whatever order is asked in."""
    spells: list[tuple[int, int, int]] = []
    for who, began, lasts in sorted(drawn):
        if not spells or spells[-1][0] != who or spells[-1][2] <= began:
            spells.append((who, began, began + lasts))
    found = Drawn(
        *(
            np.array(column, np.int64) * unit
            for column, unit in zip(
                zip(*spells, strict=True) if spells else ((), (), ()), (1, SECOND, SECOND), strict=True
            )
        )
    )
    who, time = (np.array(column) for column in zip(*times, strict=True))
    expected = [
        next((i for i, (w, began, ended) in enumerate(spells) if w == a and began <= t < ended), -1)
        for a, t in times
    ]
    assert found.of(who, time * SECOND).tolist() == expected


def test_drawn_spells_have_their_rate_and_length_and_do_not_overlap() -> None:
    """A Poisson process for each, in order."""
    scenario = load_scenario("plain", days=100)
    spells = draw(stream(scenario, "test"), Spells(every="10d", lasts="3h"), 400, scenario)
    assert abs(spells.who.size - 4000) < 5 * np.sqrt(4000)
    assert abs((spells.ended - spells.began).mean() / MICROSECONDS["h"] - 3) < 0.25
    same = spells.who[1:] == spells.who[:-1]
    assert (np.diff(spells.who) >= 0).all()
    assert (spells.ended[:-1][same] <= spells.began[1:][same]).all()
    assert (spells.began >= scenario.start).all()
    assert draw(stream(scenario, "test"), None, 400, scenario).who.size == 0


def test_streams_depend_on_seed_and_purpose() -> None:
    """Equal seed and purpose give equal numbers, others give others."""
    one, other = load_scenario("plain"), load_scenario("plain", seed=8)
    first = stream(one, "a").random(4).tolist()
    assert first == stream(one, "a").random(4).tolist()
    assert first != stream(one, "b").random(4).tolist()
    assert first != stream(other, "a").random(4).tolist()


@given(
    st.sets(st.sampled_from(list(OF_MESSAGES))),
    st.sets(st.tuples(st.sampled_from(list(OF_SENSORS)), st.integers(0, 2))),
    st.integers(-1, 2),
)
def test_marks_are_read_back(things: set[str], of_sensors: set[tuple[str, int]], kept: int) -> None:
    """What was marked is told, and of a message with one sensor only what concerns it."""
    done, here = np.zeros(2, np.int64), np.array([True, False])
    for thing in things:
        mark(done, thing, here)
    for thing, sensor in of_sensors:
        mark_sensor(done, thing, sensor, here)
    expected = {f"{thing}:{SENSORS[sensor]}" for thing, sensor in of_sensors if kept in {-1, sensor}}
    marked, clean = only_sensor(done, np.array([kept, kept])).tolist()
    assert sorted(codes_of(marked, SENSORS)) == sorted(things | expected)
    assert clean == 0


def test_the_bits_of_all_sensors_fit_into_one_number() -> None:
    """The things done to all messages and to all sensors of the richest scenario."""
    sensors = sensors_of(load_scenario("plain", modes=list(MODES)))
    done = np.zeros(1, np.int64)
    for index in range(len(sensors)):
        for thing in OF_SENSORS:
            mark_sensor(done, thing, index, np.array([True]))
    for thing in OF_MESSAGES:
        mark(done, thing, np.array([True]))
    codes = codes_of(int(done[0]), [sensor.name for sensor in sensors])
    assert len(codes) == len(set(codes)) == len(OF_MESSAGES) + len(OF_SENSORS) * len(sensors)
    assert int(done[0]) > 0
