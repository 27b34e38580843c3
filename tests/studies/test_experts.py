"""Mixtures replayed on served scores: nothing is learned before its label can be known."""

from __future__ import annotations

import numpy as np
import pytest

from dataflows.estimators import Mixture
from studies.experts import replayed
from tests.studies.evaluations import rows

SCORES = {"a": [0.9, 0.8, 0.9, 0.9, 0.8, 0.9], "b": [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]}
LABELS = [1, 1, -1, 1, 1, 1]


def test_a_replayed_mixture_learns_an_example_once_the_wait_has_passed() -> None:
    """Until then it is a new mixture; of censored examples it learns nothing, and scores none."""
    found = replayed(rows(SCORES, LABELS, list("xxxxxx")), 2, Mixture(method="aggregate"))
    known = Mixture(method="aggregate")
    assert found[:2] == pytest.approx([0.7, 0.65])  # at 0 and 1
    known.learn_one({"a": 0.9, "b": 0.5}, y=True)
    assert found[2] == known.predict_proba_one({"a": 0.9, "b": 0.5})[True]  # at 3, since 0 + 2 < 3
    assert len(found) == 5


def test_a_missing_score_is_an_expert_that_sleeps() -> None:
    """The other one answers."""
    scores = {"a": [np.nan, 0.9], "b": [0.25, np.nan]}
    found = replayed(rows(scores, [0, 1], list("xy")), 2, Mixture())
    assert found == pytest.approx([0.25, 0.9])
