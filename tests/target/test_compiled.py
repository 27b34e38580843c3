"""Asking an estimator says what River's own method says."""

from __future__ import annotations

import numpy as np
import pytest
from river import base, compose, linear_model, naive_bayes, preprocessing

from dataflows.target.compiled import probabilities_of

LEARNED = 200


@pytest.mark.parametrize("estimator", [naive_bayes.GaussianNB(), naive_bayes.BernoulliNB()])
@pytest.mark.parametrize("labels", [1, 2, 3])
def test_naive_bayes_says_what_river_says(estimator: base.Classifier, labels: int) -> None:
    """Probabilities from its log likelihoods, near and far from what it learned, are River's."""
    estimator = estimator.clone()
    random = np.random.default_rng(labels)
    assert probabilities_of(estimator)({"a": 1.0}) == {}
    for number in range(LEARNED):
        x = dict(zip("abc", random.normal(number % labels, 1, 3).tolist(), strict=True))
        estimator.learn_one(x, number % labels)
    # From likely to so far away that a likelihood is nothing but the least that River adds to each.
    for scale in (0, 1, 10, 1_000):
        x = dict(zip("abc", (scale * random.normal(size=3)).tolist(), strict=True))
        found = probabilities_of(estimator)(x)
        assert found == pytest.approx(estimator.predict_proba_one(x), rel=1e-9, abs=1e-300)
        assert found.keys() == set(range(labels))


def test_a_pipeline_is_asked_itself() -> None:
    """What is no naive Bayes by itself answers by its own method."""
    pipeline = compose.Pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression())
    pipeline.learn_one({"a": 1.0}, True)
    pipeline.learn_one({"a": 3.0}, False)
    assert probabilities_of(pipeline)({"a": 2.5}) == pipeline.predict_proba_one({"a": 2.5})
