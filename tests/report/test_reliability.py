"""What came of scores, with intervals that know that examples overlap; timelines reduced to extremes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dataflows.report.reliability import blocks_of, gain_over_constant, reliability
from dataflows.report.timelines import Grid, Series, spans


def test_intervals_of_overlapping_examples_cover_the_true_share() -> None:
    """Ten examples of a block share a label: counted alone, their interval would be too short."""
    random, covered, naive = np.random.default_rng(1), 0, 0
    for _ in range(300):
        blocks = np.repeat(np.arange(60), 10)
        labels = np.repeat(random.random(60) < 0.15, 10).astype(np.int64)
        scores = np.full(600, 0.15)
        [each] = reliability(labels, scores, blocks)
        covered += each.least <= 0.15 <= each.most
        [alone] = reliability(labels, scores, np.arange(600))
        naive += alone.least <= 0.15 <= alone.most
    assert covered / 300 > 0.92
    assert naive / 300 < 0.6


def test_a_verdict_over_many_bins_is_rarely_wrong() -> None:
    """Scores that hold are called off in at most one of twenty reports, not once in every nine bins."""
    random, wrong = np.random.default_rng(2), 0
    for _ in range(200):
        scores = random.random(2000)
        labels = (random.random(2000) < scores).astype(np.int64)
        wrong += any(found.verdict for found in reliability(labels, scores, np.arange(2000)))
    assert wrong / 200 < 0.09


def test_scores_that_are_too_high_are_called_so() -> None:
    """Of examples with 60 % one in five fails."""
    labels = np.array([1] * 40 + [0] * 160)
    [found] = reliability(labels, np.full(200, 0.6), np.arange(200))
    assert found.verdict == "too high"


def test_the_gain_over_a_constant_is_none_for_the_constant() -> None:
    """And positive for scores that rank the failures first."""
    labels, assets = np.array([1, 0, 0, 0] * 25), np.repeat([f"a{number}" for number in range(20)], 5)
    constant = gain_over_constant(labels, np.full(100, 0.25), assets)
    better = gain_over_constant(labels, np.where(labels == 1, 0.6, 0.1), assets)
    assert constant is not None
    assert better is not None
    assert constant.share == 0
    assert better.least > 0.4
    assert gain_over_constant(np.zeros(5, dtype=np.int64), np.full(5, 0.1), assets[:5]) is None


def test_blocks_split_assets_and_horizons() -> None:
    """Neighbours of one asset within a horizon are one block."""
    assets, times = np.array(["a", "b", "a", "a"]), np.array([0, 1, 9, 10])
    found = blocks_of(assets, times, 10)
    assert found[0] == found[2]
    assert len(set(found.tolist())) == 3


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.floats(-5, 5, width=32)), min_size=1, max_size=60),
    st.integers(1, 40),
)
def test_each_interval_holds_the_extremes_of_its_values(values: list[tuple[int, float]], count: int) -> None:
    """Against a loop over intervals."""
    grid = Grid(0, 1000, count)
    times, numbers = np.array([time for time, _ in values]), np.array([number for _, number in values])
    low, high = grid.reduce(times, numbers)
    places = grid.places(times)
    for place in range(count):
        mine = numbers[places == place]
        if len(mine):
            assert (low[place], high[place]) == (np.float32(mine.min()), np.float32(mine.max()))
        else:
            assert np.isnan(low[place])
            assert np.isnan(high[place])


@given(st.lists(st.booleans(), max_size=30))
def test_spans_are_the_runs_of_true_flags(flags: list[bool]) -> None:
    """Put back, they give the flags."""
    found = np.zeros(len(flags), dtype=bool)
    for first, last in spans(np.array(flags, dtype=bool)):
        found[first:last] = True
    assert found.tolist() == flags


def test_a_coarse_line_keeps_the_extremes() -> None:
    """What is drawn without the script has the same smallest and largest value."""
    low = np.array([3.0, 1.0, np.nan, 2.0, 5.0], dtype=np.float32)
    series = Series("s", "", low, low + 1)
    least, most = series.coarse(2)
    assert least.tolist() == [1.0, 2.0]
    assert most.tolist() == [4.0, 6.0]
