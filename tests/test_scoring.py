"""Losses of single scores and of many, against each other and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from dataflows.scoring import CLIP, brier_score, log_loss, log_losses, running_prior

examples = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=30)


@given(examples)
def test_losses_equal_those_of_scikit_learn(pairs: list[tuple[float, int]]) -> None:
    """One by one and as an array; a score beyond the clip counts as if it were there."""
    scores, labels = np.array([score for score, _ in pairs]), np.array([label for _, label in pairs])
    one_by_one = [log_loss(score, label) for score, label in pairs]
    assert log_losses(labels, scores) == pytest.approx(one_by_one, rel=1e-12)
    clipped = scores.clip(CLIP, 1 - CLIP)
    assert np.mean(one_by_one) == pytest.approx(metrics.log_loss(labels, clipped, labels=[0, 1]), rel=1e-9)
    brier = np.mean([brier_score(score, label) for score, label in pairs])
    assert brier == pytest.approx(metrics.brier_score_loss(labels, scores, pos_label=1), abs=1e-15)


@given(st.integers(0, 1_000), st.integers(0, 1_000))
def test_the_running_prior_lies_between_none_and_all(positives: int, negatives: int) -> None:
    """Strictly, so that no loss is infinite; of labels turned around it is the complement."""
    prior = running_prior(positives, positives + negatives)
    assert 0 < prior < 1
    assert running_prior(negatives, positives + negatives) == pytest.approx(1 - prior)
