"""Asking an estimator says what River's own method says."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import base, compose, linear_model, naive_bayes, optim, preprocessing, tree

from dataflows.estimators import BayesianLogistic, Calibration, Prior, RobustScaler, from_stored, to_stored
from dataflows.target import compiled as module
from dataflows.target.compiled import PATIENCE, calls_of, compiled_of, probabilities_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataflows.target.compiled import Compiled

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


NAMES = ("a", "b", "c", "d")
#: Estimators with a fast form; the calibration sees one score.
FORMS: dict[str, Callable[[], Any]] = {
    "linear": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    "AdaGrad": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.AdaGrad(0.03)),
    "Bayesian": lambda: BayesianLogistic(variance=1.0),
    "limited": lambda: BayesianLogistic(limit=3.0),
    "robust": lambda: RobustScaler(limit=2.0, memory=40) | linear_model.LogisticRegression(),
    "naive Bayes": naive_bayes.GaussianNB,
    "tree of shares": lambda: tree.HoeffdingTreeClassifier(20, delta=0.5, tau=0.5, leaf_prediction="mc"),
    "tree": lambda: tree.HoeffdingTreeClassifier(20, delta=0.5, tau=0.5, max_depth=1),
    "calibration": lambda: Calibration(after=5),
    "prior": Prior,
}


def learned(form: str, seed: int, examples: int) -> tuple[Any, tuple[str, ...], np.ndarray]:
    """An estimator that learned, what it sees, and rows to score; one in five values is missing."""
    chance = np.random.default_rng(seed)
    names = ("below",) if form == "calibration" else NAMES
    rows = chance.normal(size=(examples + 30, len(names))) * 10.0 ** chance.integers(-3, 4, len(names))
    if form == "calibration":
        rows = 1 / (1 + np.exp(-np.clip(rows, -30, 30)))
    rows[chance.random(rows.shape) < 0.2] = np.nan
    estimator = FORMS[form]()
    learn = calls_of(estimator).learn
    for number, (row, draw) in enumerate(zip(rows[:examples], chance.random(examples), strict=True)):
        learn(given_of(names, row), bool(draw < (0.6 if row[0] > 0 else 0.2)) if number > 1 else number == 1)
    return estimator, names, rows[examples:]


def given_of(names: tuple[str, ...], row: np.ndarray) -> dict[str, float]:
    return {name: value for name, value in zip(names, row.tolist(), strict=True) if not math.isnan(value)}


def positive(estimator: Any, x: dict[str, float]) -> float:  # noqa: ANN401 - River's protocol
    """What the estimator itself says; NaN where it says nothing."""
    probabilities = calls_of(estimator).probabilities(x)
    return probabilities.get(True, 0.0) if probabilities else math.nan


def scored(compiled: Compiled, rows: np.ndarray) -> list[float]:
    """Scores of rows, NaN where the estimator has to be asked."""
    found = compiled.score_rows(rows)
    return [math.nan] * len(rows) if found is None else found.tolist()


@settings(max_examples=60)
@given(
    form=st.sampled_from(sorted(FORMS)),
    seed=st.integers(0, 2**16),
    examples=st.sampled_from([5, 60, 300]),
    cuts=st.sets(st.integers(1, 29), max_size=6),
)
def test_rows_have_the_scores_of_the_estimator_however_they_are_cut(
    form: str, seed: int, examples: int, cuts: set[int]
) -> None:
    """To the last bit, with missing values, and through a snapshot; NaN leaves a row to the estimator."""
    estimator, names, rows = learned(form, seed, examples)
    wanted = [positive(estimator, given_of(names, row)) for row in rows]
    for each in (estimator, from_stored(to_stored(estimator))):
        whole, cut = compiled_of(each, names), compiled_of(each, names)
        assert whole is not None
        assert cut is not None
        for compiled in (whole, cut):
            scored(compiled, rows[:PATIENCE])
        found = scored(whole, rows)
        pieces = itertools.pairwise((0, *sorted(cuts), len(rows)))
        assert np.array_equal(found, [x for a, b in pieces for x in scored(cut, rows[a:b])], equal_nan=True)
        assert all(math.isnan(score) or score == want for score, want in zip(found, wanted, strict=True))
        assert form == "tree" or sum(map(math.isnan, found)) == sum(map(math.isnan, wanted))


@pytest.mark.parametrize("form", FORMS)
def test_a_model_that_learned_is_read_once_more(form: str) -> None:
    """After an example the scores of rows are those of the new model."""
    estimator, names, rows = learned(form, 7, 100)
    compiled = compiled_of(estimator, names)
    assert compiled is not None
    before = scored(compiled, rows)
    for row in rows[:20]:
        calls_of(estimator).learn(given_of(names, row), True)
        compiled.learned()
    scored(compiled, rows[:PATIENCE])
    after = scored(compiled, rows)
    assert before != after
    for score, row in zip(after, rows, strict=True):
        assert math.isnan(score) or score == calls_of(estimator).probabilities(given_of(names, row))[True]


#: Estimators that learn in their fast form.
LEARNERS: dict[str, Callable[[], Any]] = {
    "scaled": FORMS["linear"],
    "centred": lambda: preprocessing.StandardScaler(with_std=False) | linear_model.LogisticRegression(),
    "plain": lambda: linear_model.LogisticRegression(optim.SGD(0.003), intercept_init=-4.6),
    "robust": FORMS["robust"],
    "naive Bayes": naive_bayes.GaussianNB,
}


def content(estimator: Any) -> Any:  # noqa: ANN401 - of River
    """All numbers of an estimator."""
    if isinstance(estimator, naive_bayes.GaussianNB):
        gaussians = {
            label: {
                name: (each._var.mean.n, each._var.mean._mean, each._var._S) for name, each in known.items()
            }
            for label, known in estimator.gaussians.items()
        }
        return dict(estimator.class_counts), gaussians
    steps = [*estimator.steps.values()] if isinstance(estimator, compose.Pipeline) else [estimator]
    last = steps[-1]
    if isinstance(steps[0], RobustScaler):
        return [*last.weights.items()], last.intercept, last.optimizer.n_iterations, steps[0].to_bytes()
    scaler = [[*table.items()] for step in steps[:-1] for table in (step.counts, step.means, step.vars)]
    return [*last.weights.items()], last.intercept, last.optimizer.n_iterations, scaler


@settings(max_examples=40, deadline=None)
@given(form=st.sampled_from(sorted(LEARNERS)), seed=st.integers(0, 2**16))
def test_an_estimator_learns_in_its_fast_form_what_it_learns_itself(form: str, seed: int) -> None:
    """To the last bit, with missing, late and constant features, and through snapshots."""
    chance = np.random.default_rng(seed)
    itself, fast = LEARNERS[form](), LEARNERS[form]()
    compiled, count = compiled_of(fast, NAMES), 0
    for number in range(80):
        row = chance.normal(size=len(NAMES)) * 10.0 ** chance.integers(-3, 4, len(NAMES))
        row[3] = 5.0
        row[chance.random(len(NAMES)) < (0.2 if number > 5 else 0.6)] = np.nan
        x, label = given_of(NAMES, row), bool(chance.random() < 0.4)
        itself.learn_one(x, label)
        assert compiled is not None
        if compiled.learn(row, label):
            count += 1
        else:
            compiled.flush()
            compiled.learned()
            fast.learn_one(x, label)
        if chance.random() < 0.1:
            compiled.flush()
            assert content(fast) == content(itself)
            if chance.random() < 0.5:
                fast = from_stored(to_stored(fast))
                compiled = compiled_of(fast, NAMES)
    assert compiled is not None
    compiled.flush()
    assert content(fast) == content(itself)
    assert count > 50


@pytest.mark.parametrize(
    "estimator",
    [
        linear_model.LogisticRegression(l2=0.01),
        linear_model.LogisticRegression(optim.AdaGrad()),
        linear_model.LogisticRegression(optim.SGD(optim.schedulers.InverseScaling(0.1))),
        linear_model.LogisticRegression(loss=optim.losses.Hinge()),
        BayesianLogistic(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_an_estimator_that_learns_otherwise_learns_itself(estimator: Any) -> None:  # noqa: ANN401 - River's
    """Only plain gradient descent at a constant rate has a fast form of learning."""
    compiled = compiled_of(estimator, ("a",))
    assert compiled is not None
    estimator.learn_one({"a": 1.0}, True)
    assert not compiled.learn(np.array([1.0]), True)


def test_what_is_learned_wrongly_once_is_left_to_the_estimator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should River learn otherwise one day, its own numbers stand: the first example is learned twice."""
    itself, fast = FORMS["linear"](), FORMS["linear"]()
    compiled = compiled_of(fast, ("a",))
    assert compiled is not None
    for estimator in (itself, fast):
        estimator.learn_one({"a": 2.0}, True)
        estimator.learn_one({"a": 4.0}, False)
    monkeypatch.setattr(module, "_learn_linear", lambda *_: True)
    itself.learn_one({"a": 1.0}, True)
    assert compiled.learn(np.array([1.0]), True)
    assert content(fast) == content(itself)
    assert not compiled.learn(np.array([1.0]), True)


def test_a_row_of_one_label_or_of_a_kind_without_adapter_is_the_estimators() -> None:
    """What has no fast form is named by None, not scored."""
    one = naive_bayes.GaussianNB()
    one.learn_one({"a": 1.0}, False)
    compiled = compiled_of(one, ("a",))
    assert compiled is not None
    assert compiled.score_rows(np.ones((3, 1))) is None
    assert compiled_of(naive_bayes.BernoulliNB(), ("a",)) is None
    assert compiled_of(object(), ("a",)) is None
