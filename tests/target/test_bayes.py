"""Second-order logistic regression and calibration: the recursion, what it finds, and what it withstands."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.linear_model import LogisticRegression

from dataflows.estimators.online import BayesianLogistic, Calibration, update
from dataflows.target.compiled import compiled_of

SIZE = 4
examples = st.lists(
    st.tuples(arrays(np.float64, SIZE, elements=st.floats(-3, 3)), st.booleans()), min_size=1, max_size=25
)


def by_inverses(
    learned: list[tuple[np.ndarray, bool]], prior: np.ndarray, share: float, forget: float
) -> tuple[np.ndarray, np.ndarray]:
    """The posterior by the textbook: precisions add up, and the mean takes a Newton step."""
    weights, covariance = np.zeros(len(prior)), np.diag(prior)
    for x, label in learned:
        p = 1 / (1 + math.exp(-min(max(weights @ x, -30), 30)))
        precision = forget * np.linalg.inv(covariance) + share * max(p * (1 - p), 1e-6) * np.outer(x, x)
        covariance = np.linalg.inv(precision)
        weights = weights + covariance @ x * share * (label - p)
        shrunk = np.sqrt(np.minimum(1.0, prior / np.diag(covariance)))
        covariance = covariance * np.outer(shrunk, shrunk)
    return weights, covariance


@given(learned=examples, share=st.sampled_from([0.3, 1.0]), forget=st.sampled_from([0.6, 0.99, 1.0]))
def test_an_update_is_the_textbooks(
    learned: list[tuple[np.ndarray, bool]], share: float, forget: float
) -> None:
    """Without a single inverse: the same mean and covariance, symmetric to the last bit."""
    prior = np.array([0.1, 1.0, 1.0, 4.0])
    weights, covariance = np.zeros(SIZE), np.diag(prior)
    for x, label in learned:
        update(weights, covariance, prior, x, float(label), share, forget)
    expected = by_inverses(learned, prior, share, forget)
    np.testing.assert_allclose(weights, expected[0], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(covariance, expected[1], rtol=1e-6, atol=1e-8)
    assert (covariance == covariance.T).all()
    assert (np.diag(covariance) <= prior).all()


def world(count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Five features of very different scales, two of them nearly the same; labels and their probabilities."""
    random = np.random.default_rng(seed)
    z = random.normal(size=(count, 5))
    z[:, 1] = z[:, 0] + 0.1 * z[:, 1]
    probabilities = 1 / (1 + np.exp(-(2 * (z[:, 0] - z[:, 1]) * 5 + z[:, 2] - 1)))
    return z * [1, 1, 1e3, 1e-3, 1] + 7, random.random(count) < probabilities, probabilities


def taught(values: np.ndarray, labels: np.ndarray, **settings: float) -> BayesianLogistic:
    estimator = BayesianLogistic(**settings)
    for row, label in zip(values.tolist(), labels.tolist(), strict=True):
        estimator.learn_one(dict(zip("abcde", row, strict=True)), label)
    return estimator


def asked(estimator: BayesianLogistic, values: np.ndarray) -> np.ndarray:
    rows = (dict(zip("abcde", row, strict=True)) for row in values.tolist())
    return np.array([estimator.predict_proba_one(x)[True] for x in rows])


def test_one_pass_finds_what_a_batch_fit_finds() -> None:
    """On two features that only tell something by their difference, where gradient descent takes long."""
    values, labels, truth = world(6_000)
    estimator = taught(values[:5_000], labels[:5_000], variance=100.0, memory=1_000_000)
    scaled = (values - values[:5_000].mean(axis=0)) / values[:5_000].std(axis=0)
    batch = LogisticRegression(C=100.0).fit(scaled[:5_000], labels[:5_000])
    mine, theirs = asked(estimator, values[5_000:]), batch.predict_proba(scaled[5_000:])[:, 1]
    assert np.abs(mine - theirs).mean() < 0.02
    assert np.abs(mine - truth[5_000:]).mean() < 0.04


def test_a_world_that_turned_is_forgotten() -> None:
    """With a short memory it follows labels that mean the opposite now; with a long one it does not."""
    values, labels, truth = world(4_000)
    labels = np.where(np.arange(4_000) < 3_000, labels, ~labels)
    short, long = (taught(values, labels, memory=memory) for memory in (300, 1_000_000))
    gaps = [np.abs(asked(each, values[3_500:]) - (1 - truth[3_500:])).mean() for each in (short, long)]
    assert gaps[0] < 0.2 < gaps[1] - 0.1


def test_collinear_constant_and_huge_values_leave_it_finite() -> None:
    """Over 20,000 examples all variances stay positive, though half of the features are copies."""
    random = np.random.default_rng(2)
    estimator = BayesianLogistic(variance=1.0, memory=200)
    for number in range(20_000):
        a, b = random.normal(), random.choice([-1e15, 0.0, 1e15])
        estimator.learn_one({"a": a, "b": b, "c": a, "d": b, "e": 3.0, "f": a + b}, y=number % 50 == 0)
    assert (np.diag(estimator.covariance) > 0).all()
    assert np.isfinite(estimator.weights).all()
    assert 0 < estimator.predict_proba_one({"a": 1e15, "b": -1e15, "e": 1e15})[True] < 1


def test_a_reader_says_what_the_model_says() -> None:
    """To the last bit, whatever order features have in the class, and also after new ones came."""
    random = np.random.default_rng(4)
    estimator, names = BayesianLogistic(), ("a", "b", "c", "d")
    picks = np.array([3, 0, 5, 2])
    reader = compiled_of(estimator, names)
    assert reader is not None
    for number in range(200):
        vector = np.where(random.random(6) < 0.2, np.nan, random.normal(size=6))
        known = names[: 2 + number // 60]
        given = zip(names, vector[picks].tolist(), strict=True)
        x = {name: value for name, value in given if not math.isnan(value)}
        assert reader.score_rows(vector[None, picks]) == [estimator.predict_proba_one(x)[True]]
        learned = {name: value for name, value in x.items() if name in known}
        estimator.learn_one(learned, bool(random.random() < 0.3))
        reader.learned()
    assert len(estimator.names) == len(names)


def served(count: int, seed: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores that are too timid, their labels, and the true probabilities."""
    random = np.random.default_rng(seed)
    logits = random.normal(-2, 2, count)
    truth = 1 / (1 + np.exp(-logits))
    return 1 / (1 + np.exp(-0.5 * logits)), random.random(count) < truth, truth


def test_timid_scores_are_made_to_hold() -> None:
    """Scores of half the log-odds become the probabilities that they came from."""
    scores, labels, truth = served(20_000)
    calibration = Calibration()
    for score, label in zip(scores[:18_000].tolist(), labels[:18_000].tolist(), strict=True):
        calibration.learn_one({"m": score}, label)
    made = np.array([calibration.predict_proba_one({"m": score})[True] for score in scores[18_000:].tolist()])
    assert np.abs(made - truth[18_000:]).mean() < 0.02 < np.abs(scores[18_000:] - truth[18_000:]).mean()


def test_nothing_changes_before_there_were_enough_positives() -> None:
    """The first scores tell nothing about those of the model that learned since."""
    calibration = Calibration(after=10)
    for number in range(1_000):
        calibration.learn_one({"m": 0.3}, y=number % 100 == 0)
    assert calibration.predict_proba_one({"m": 0.3}) == {False: 0.7, True: 0.3}
    for number in range(1_000):
        calibration.learn_one({"m": 0.3}, y=number % 100 == 0)
    assert calibration.predict_proba_one({"m": 0.3})[True] < 0.1


def test_without_a_score_there_is_no_opinion() -> None:
    """Nor is anything learned; and the scores of two models are refused."""
    calibration = Calibration(after=0)
    before = pickle.dumps(calibration)
    calibration.learn_one({}, y=True)
    assert pickle.dumps(calibration) == before
    assert calibration.predict_proba_one({}) == {}
    with pytest.raises(ValueError, match="the score of one model, got those of m, n"):
        calibration.predict_proba_one({"m": 0.1, "n": 0.2})


@pytest.mark.parametrize("score", [0.0, 1e-300, 1.0, 1 - 1e-16])
def test_certain_scores_stay_probabilities(score: float) -> None:
    """0 and 1 have no logit, and are taken for nearly so."""
    calibration = Calibration(after=0)
    for label in (True, False, True):
        calibration.learn_one({"m": score}, label)
    assert 0 < calibration.predict_proba_one({"m": score})[True] < 1


@pytest.mark.parametrize(
    "wrong",
    [lambda: BayesianLogistic(variance=0.0), lambda: BayesianLogistic(memory=1), lambda: Calibration(-1)],
)
def test_impossible_settings_are_refused(wrong: object) -> None:
    """When the blueprint is drawn, before anything runs."""
    assert callable(wrong)
    with pytest.raises(ValueError, match="expected"):
        wrong()


def test_a_removed_feature_is_missing_for_the_model_that_learned_it() -> None:
    """After a migration without it, arrays give the score that a dict without it gives."""
    model = BayesianLogistic()
    for number in range(50):
        model.learn_one({"a": number % 7, "gone": -number, "b": number % 3}, bool(number % 2))
    reader = compiled_of(model, ("b", "a"))
    assert reader is not None
    expected = model.predict_proba_one({"b": 2.0, "a": 5.0})[True]
    assert reader.score_rows(np.array([[2.0, 5.0]])) == [expected]
