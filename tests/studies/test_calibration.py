"""The calibration study: true probabilities pass it, scores that do not hold fail it."""

from __future__ import annotations

import numpy as np
import pytest

from studies.calibration import BAR, decided, judge, perfect, reliability
from tests.studies.evaluations import rows

HORIZON = 24


def test_scores_that_hold_are_as_good_as_the_perfect_predictor() -> None:
    """Labels drawn from the scores block by block meet the bar; scores of half the odds do not."""
    random = np.random.default_rng(5)
    assets, times = np.divmod(np.arange(24_000), 240)
    scores = random.beta(0.5, 4.0, len(times))
    drawn = random.random((100, 10))[assets, times // HORIZON]
    labels = (drawn < scores).astype(np.int64)
    names = assets.astype(np.str_)
    assert judge(scores, labels, names, times, horizon=HORIZON, draws=50).times_perfect < BAR
    assert judge(scores**2, labels, names, times, horizon=HORIZON, draws=50).times_perfect > 2 * BAR


@pytest.mark.parametrize("horizon", [10, 100])
def test_longer_blocks_leave_a_perfect_predictor_more_error(horizon: int) -> None:
    """What shares its outcome is less evidence, so chance alone makes a larger error."""
    assets, times = np.divmod(np.arange(20_000), 1_000)
    scores = np.random.default_rng(3).uniform(0, 0.4, 20)[assets]
    alone = perfect(scores, assets, times, horizon=1, draws=30).mean()
    assert perfect(scores, assets, times, horizon=horizon, draws=30).mean() > 1.5 * alone


def test_the_reliability_table_has_bins_of_equal_mass() -> None:
    """Ten bins by rank; equal scores are never parted."""
    scores = np.arange(1_000) / 1_000
    table = reliability(scores, scores > 0.5)
    assert [row.examples for row in table] == [100] * 10
    assert table[0].share_positive == 0.0
    assert table[9].share_positive == 1.0
    assert len(reliability(np.full(50, 0.3), np.zeros(50, dtype=bool))) == 1


def test_the_stretch_of_which_only_positives_are_known_is_left_out() -> None:
    """After the last negative; censored examples count nowhere."""
    found = rows({"m": [0.1, 0.2, 0.3, 0.4, 0.5]}, [0, 1, -1, 0, 1], ["a"] * 5)
    assert decided(found).times.tolist() == [0, 1, 3]
