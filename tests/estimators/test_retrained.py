"""Batch classifiers that are fitted again at exact points of the stream, however often they are stored."""

from __future__ import annotations

import random
import threading
import time
from typing import Any, ClassVar

import pytest
from lightgbm import LGBMClassifier
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dataflows.estimators import Retrained, from_stored, to_stored
from dataflows.estimators.retrained import fitting_thread
from dataflows.instants import HOUR
from dataflows.testing import check_estimator

BOOSTING = HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=5, random_state=1)
LIGHT = LGBMClassifier(n_estimators=5, min_child_samples=5, random_state=1, verbosity=-1)
LOGISTIC = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), LogisticRegression())


@pytest.mark.parametrize(
    ("classifier", "every", "lag"),
    [(BOOSTING, 150, 40), (LIGHT, 180, 0), (LOGISTIC, 120, 120)],
    ids=["boosting", "light", "logistic"],
)
def test_a_retrained_model_keeps_the_contract_of_estimators(classifier: Any, every: int, lag: int) -> None:  # noqa: ANN401 - of any library
    """Stored between any two examples too, in the middle of a fit."""
    check_estimator(Retrained(classifier, every, 250, lag))


class Share(ClassifierMixin, BaseEstimator):
    """The share of positives of the examples that a fit saw; notes them, and waits for leave to end."""

    seen: ClassVar[list[list[float]]] = []
    leave = threading.Event()

    def fit(self, X: Any, y: Any) -> Share:  # noqa: ANN401, N803 - as scikit-learn
        self.leave.wait(10)
        self.seen.append(X[:, 0].tolist())
        self.classes_ = [0, 1]
        self.share_ = float(y.mean())
        return self

    def predict_proba(self, X: Any) -> Any:  # noqa: ANN401, N803 - as scikit-learn
        return (
            DummyClassifier(strategy="prior")
            .fit([[0.0]] * 1000, [1] * round(1000 * self.share_) + [0] * (1000 - round(1000 * self.share_)))
            .predict_proba(X)
        )


@pytest.fixture(autouse=True)
def _free() -> None:
    """No fit of another test is left: they run one after the other, so the last one has to end."""
    Share.leave.set()
    fitting_thread().submit(lambda: None).result()
    Share.seen.clear()


def learn(model: Retrained, numbers: range, every: int = HOUR) -> None:
    """Learn the examples of some numbers: every fourth is positive, one comes an hour."""
    for number in numbers:
        model.learn_one({"number": float(number)}, number % 4 == 0, number * every)


def test_a_fit_sees_the_latest_examples_and_takes_effect_after_the_lag() -> None:
    """Every tenth example, on the last 16, and five examples later."""
    model, scored = Retrained(Share(), every=10, keep=16, lag=5), []
    for number in range(40):
        learn(model, range(number, number + 1))
        scored.append(model.predict_proba_one({"number": 0.0}).get(True))
    assert [seen[0] for seen in Share.seen] == [0.0, 4.0, 14.0, 24.0][: len(Share.seen)]
    assert [len(seen) for seen in Share.seen[:3]] == [10, 16, 16]
    assert scored[:14] == [None] * 14
    assert scored[14] == scored[23] == pytest.approx(0.3)
    assert scored[24] == scored[39] == pytest.approx(0.25)


def test_by_time_a_fit_sees_what_was_known_at_the_multiple() -> None:
    """At each multiple of ten hours, on what came before it, and two hours later."""
    model = Retrained(Share(), every="10h", keep=100, lag="2h")
    learn(model, range(3, 12))
    assert model.predict_proba_one({"number": 0.0}) == {}
    learn(model, range(12, 13))
    assert Share.seen == [[3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]]
    assert model.predict_proba_one({"number": 0.0})[True] == pytest.approx(round(2000 / 7) / 1000)


def test_scoring_goes_on_while_a_fit_runs_and_waits_only_where_it_takes_effect() -> None:
    """The fit gets leave to end late; until its place the former scores are given at once."""
    model = Retrained(Share(), every=10, lag=8)
    learn(model, range(29))
    Share.leave.clear()
    learn(model, range(29, 37))
    before = model.predict_proba_one({"number": 0.0})
    assert model.pending is not None
    threading.Timer(0.2, Share.leave.set).start()
    start = time.monotonic()
    learn(model, range(37, 38))
    assert time.monotonic() - start > 0.1
    assert model.predict_proba_one({"number": 0.0}) != before or model.current is not None
    assert model.current is not None
    assert model.current.high == 30


def test_a_model_that_cannot_be_fitted_goes_on_with_the_former_fit() -> None:
    """The error is raised where the fit would take effect, once."""
    model = Retrained(LogisticRegression(), every=10, lag=0)
    learn(model, range(10))
    score = model.predict_proba_one({"number": 3.0})
    for number in range(10, 19):
        model.learn_one({"number": float("nan")}, number % 2 == 0)
    with pytest.raises(ValueError, match="NaN"):
        model.learn_one({"number": 1.0}, y=True)
    assert model.predict_proba_one({"number": 3.0}) == score
    model.learn_one({"number": 1.0}, y=True)


def test_a_copy_out_of_the_middle_of_a_fit_does_that_fit_again() -> None:
    """It is stored as what the fit sees, and takes effect at the same example."""
    chance = random.Random(1)
    rows = [({"x": chance.random()}, chance.random() < 0.5) for _ in range(60)]
    whole = Retrained(BOOSTING, every=20, keep=30, lag=15)
    for x, y in rows:
        whole.learn_one(x, y)
    for cut in (20, 21, 34, 35, 39, 55):
        model = Retrained(BOOSTING, every=20, keep=30, lag=15)
        for number, (x, y) in enumerate(rows):
            if number == cut:
                model = from_stored(to_stored(model))
            model.learn_one(x, y)
        asked = [model.predict_proba_one(x) for x, _ in rows]
        assert asked == [whole.predict_proba_one(x) for x, _ in rows]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"every": 0}, "every > 0"),
        ({"every": 10, "keep": 0}, "keep from 1"),
        ({"every": 10, "keep": 10**9}, "keep from 1"),
        ({"every": 10, "lag": 11}, "a lag from 0 to 10"),
        ({"every": "10h", "lag": 5}, "in the same unit"),
    ],
)
def test_spans_that_cannot_be_are_refused(arguments: dict[str, Any], why: str) -> None:
    """With what was expected and what came."""
    with pytest.raises(ValueError, match=why):
        Retrained(LOGISTIC, **arguments)
