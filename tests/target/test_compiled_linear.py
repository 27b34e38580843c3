"""Scores that are read off a linear model are those that River gives."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river.linear_model import LogisticRegression, Perceptron
from river.naive_bayes import GaussianNB
from river.preprocessing import MinMaxScaler, StandardScaler

from dataflows.estimators import RobustScaler
from dataflows.target import compiled as linear
from dataflows.target.compiled import PATIENCE, Compiled, compiled_of

if TYPE_CHECKING:
    from river.compose import Pipeline

NAMES = ("a", "b", "c", "d", "e")
PIPELINES = {
    "scaled": lambda: StandardScaler() | LogisticRegression(),
    "centred": lambda: StandardScaler(with_std=False) | LogisticRegression(),
    "plain": LogisticRegression,
    "robust": lambda: RobustScaler(limit=2.0) | LogisticRegression(),
    "penalised": lambda: StandardScaler() | LogisticRegression(l2=0.01),
}

values = st.one_of(
    st.just(math.nan), st.just(7.0), st.floats(-1e6, 1e6), st.floats(-1e-6, 1e-6), st.floats(-1e15, 1e15)
)
vectors = st.lists(values, min_size=6, max_size=6)
orders = st.permutations(range(6)).map(lambda order: np.array(order[: len(NAMES)], dtype=np.intp))


def given_to_river(vector: list[float], picks: np.ndarray) -> dict[str, float]:
    chosen = zip(NAMES, (vector[pick] for pick in picks), strict=True)
    return {name: value for name, value in chosen if not math.isnan(value)}


def answered(compiled: Compiled, vector: list[float], picks: np.ndarray) -> float | None:
    """The score of one row, None where River has to be asked."""
    scores = compiled.score_rows(np.array([vector])[:, picks])
    return None if scores is None or math.isnan(scores[0]) else float(scores[0])


def asked(compiled: Compiled, vector: list[float], picks: np.ndarray) -> float | None:
    """The answer once it has been asked often enough."""
    for _ in range(PATIENCE - 1):
        answered(compiled, vector, picks)
    return answered(compiled, vector, picks)


@given(
    kind=st.sampled_from(sorted(PIPELINES)),
    picks=orders,
    learned=st.lists(st.tuples(vectors, st.booleans()), min_size=1, max_size=6),
    served=vectors,
)
def test_a_read_score_is_rivers_to_the_last_bit(
    kind: str, picks: np.ndarray, learned: list[tuple[list[float], bool]], served: list[float]
) -> None:
    """Whatever was learned, is missing, in whatever order: the same bits, or the question goes to River."""
    estimator = PIPELINES[kind]()
    for vector, label in learned:
        estimator.learn_one(given_to_river(vector, picks), label)
    reader = compiled_of(estimator, NAMES)
    assert reader is not None
    x = given_to_river(served, picks)
    regression = estimator if kind == "plain" else estimator["LogisticRegression"]
    answer = asked(reader, served, picks)
    scaled = x if kind == "plain" else next(iter(estimator.steps.values())).transform_one(x)
    if x.keys() <= regression.weights.keys() and math.isfinite(regression._raw_dot_one(scaled)):
        assert answer == estimator.predict_proba_one(x)[True]
    else:
        assert answer is None


def learned_reader() -> tuple[Pipeline, Compiled, list[float]]:
    estimator = StandardScaler() | LogisticRegression()
    picks = np.arange(len(NAMES))
    random = np.random.default_rng(3)
    for _ in range(20):
        estimator.learn_one(
            given_to_river(random.normal(size=5).tolist(), picks), bool(random.random() < 0.5)
        )
    reader = compiled_of(estimator, NAMES)
    assert reader is not None
    return estimator, reader, random.normal(size=5).tolist()


def test_reading_waits_until_several_scores_were_asked_for() -> None:
    """A model that learns between any two scores is never copied."""
    _, reader, vector = learned_reader()
    answers = [answered(reader, vector, np.arange(5)) for _ in range(PATIENCE + 1)]
    assert [answer is None for answer in answers] == [True] * (PATIENCE - 1) + [False, False]


def test_what_was_read_is_forgotten_when_the_model_learns() -> None:
    """After an example the next read score is that of the new model."""
    estimator, reader, vector = learned_reader()
    before = asked(reader, vector, np.arange(5))
    estimator.learn_one(given_to_river(vector, np.arange(5)), y=True)
    reader.learned()
    assert answered(reader, vector, np.arange(5)) is None
    after = asked(reader, vector, np.arange(5))
    assert after != before
    assert after == estimator.predict_proba_one(given_to_river(vector, np.arange(5)))[True]


def test_a_feature_that_was_never_learned_is_rivers_to_judge() -> None:
    """Even after River was asked about it, which leaves zeros in its scaler."""
    estimator = StandardScaler() | LogisticRegression()
    for label in (True, False, True):
        estimator.learn_one({"a": 1.0 + label, "b": 2.0 - label}, label)
    reader = compiled_of(estimator, ("a", "b", "c"))
    assert reader is not None
    estimator.predict_proba_one({"a": 1.0, "b": 2.0, "c": 3.0})
    assert asked(reader, [1.0, 2.0, 3.0], np.arange(3)) is None
    assert (
        answered(reader, [1.0, 2.0, math.nan], np.arange(3))
        == estimator.predict_proba_one({"a": 1.0, "b": 2.0})[True]
    )


def test_a_reader_that_differs_from_river_is_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should River compute otherwise one day, its own answer stands."""
    _, reader, vector = learned_reader()
    with monkeypatch.context() as patched:
        patched.setattr(linear, "_logits", lambda rows, *_: np.full(len(rows), 0.123))
        assert asked(reader, vector, np.arange(5)) is None
    reader.learned()
    assert asked(reader, vector, np.arange(5)) is None


@pytest.mark.parametrize(
    "estimator",
    [
        Perceptron(),
        MinMaxScaler() | LogisticRegression(),
        StandardScaler() | GaussianNB(),
        StandardScaler() | StandardScaler() | LogisticRegression(),
        StandardScaler(window_size=10) | LogisticRegression(),
    ],
    ids=str,
)
def test_other_models_are_not_read(estimator: object) -> None:
    """Anything but the one pipeline is left to River."""
    assert compiled_of(estimator, NAMES) is None
