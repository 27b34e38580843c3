"""Detectors of drift: false alarms within the budget, and changes found."""

from __future__ import annotations

import numpy as np
import pytest

from dataflows.target.detectors import REFERENCE, Detectors
from studies.drift import series


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_false_alarms_stay_within_the_budget(correlation: float) -> None:
    """A hundred dependent series of stationary values have at most the alarms that are expected."""
    values = series(np.random.default_rng(1), 1_500, 100, correlation=correlation)
    detectors = Detectors(100, 1 / 100)
    assert sum(len(detectors.add(row)) for row in values) <= 15


@pytest.mark.parametrize("side", [1, -1])
def test_a_shift_is_found_on_its_side(side: int) -> None:
    """A shift by six standard deviations is found within ten blocks in nearly all series."""
    values = series(np.random.default_rng(2), 200, 50)
    values[100:] += side * 6
    detectors = Detectors(50, 1 / 365)
    found = [alarm for row in values[:110] for alarm in detectors.add(row)]
    assert len({alarm.series for alarm in found}) >= 45
    assert {alarm.side for alarm in found} == {"up" if side > 0 else "down"}
    assert all(alarm.evidence >= detectors.needed for alarm in found)


def test_a_shift_within_the_tolerance_is_none() -> None:
    """An effect below half a standard deviation is not worth an alarm, however long it lasts."""
    values = series(np.random.default_rng(3), 2_000, 20)
    values[100:] += 0.3
    detectors = Detectors(20, 1 / 365)
    assert not any(detectors.add(row) for row in values)


def test_a_series_gets_a_new_reference_after_its_alarm() -> None:
    """What is usual after a change raises no second alarm, and is the reference from then on."""
    values = series(np.random.default_rng(4), 300, 1)
    values[100:] += 8
    detectors = Detectors(1, 1 / 365)
    alarms = [alarm for row in values for alarm in detectors.add(row)]
    assert len(alarms) == 1
    assert detectors.shown(0)["reference"] == pytest.approx(8, abs=1)


def test_a_value_that_is_missing_changes_nothing() -> None:
    """A series without a value in a block stands still; the others go on."""
    values = series(np.random.default_rng(5), 120, 1)
    whole, gaps = Detectors(1, 0.01), Detectors(2, 0.02)
    for number, row in enumerate(values):
        whole.add(row)
        gaps.add(np.array([row[0], 0.0]))
        if number % 3 == 0:
            gaps.add(np.array([np.nan, 0.0]))
    assert gaps.shown(0) == whole.shown(0)


def test_detectors_go_on_from_their_snapshot() -> None:
    """Sealed and read again after every block, they give the same alarms and the same state."""
    values = series(np.random.default_rng(6), 3 * REFERENCE, 4)
    values[60:, 2] -= 7
    whole, resumed = Detectors(4, 0.01), Detectors(4, 0.01)
    for row in values:
        assert resumed.add(row) == whole.add(row)
        resumed = Detectors(4, 0.01, resumed.state())
    assert resumed.state() == whole.state()


def test_a_series_that_never_varied_raises_an_alarm_when_it_does() -> None:
    """A share that was always 0 has no deviation: its first changes are an alarm."""
    detectors = Detectors(1, 0.01)
    alarms = [detectors.add(np.array([value])) for value in [0.0] * 50 + [0.2] * 30]
    assert sum(map(len, alarms)) == 1


def test_many_series_keep_the_budget_as_soon_as_their_references_are_complete() -> None:
    """Of a hundred series some look less alike from day to day by chance; their fleets keep to the budget."""
    fleets, days, alarms = 60, 50, 0
    for fleet in range(fleets):
        values = series(np.random.default_rng([9, fleet]), REFERENCE + days, 100, correlation=0.7)
        detectors = Detectors(100, 1 / 365)
        alarms += sum(len(detectors.add(row)) for row in values)
    assert alarms <= fleets * days / 365


def test_series_of_independent_values_tell_each_other_that_they_are() -> None:
    """A shift by two standard deviations is found within 35 blocks in nine of ten series, or more."""
    values = series(np.random.default_rng(7), 2 * REFERENCE + 35, 120)
    values[2 * REFERENCE :] += 2
    detectors = Detectors(120, 1 / 365)
    found = {alarm.series for row in values for alarm in detectors.add(row)}
    assert len(found) >= 0.9 * 120


def test_what_never_varied_tells_nothing_of_others() -> None:
    """Constant series beside one change neither its reference nor its evidence."""
    values = series(np.random.default_rng(8), 80, 1, correlation=0.6)
    alone, beside = Detectors(1, 0.01), Detectors(4, 0.04)
    for row in values:
        alone.add(row)
        beside.add(np.array([row[0], 0.0, 1.0, np.nan]))
    assert beside.shown(0) == alone.shown(0)
