"""Numbers made into probabilities: anomaly scores, hours to failure and rules."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from river import anomaly, linear_model, preprocessing

from dataflows.estimators import AnomalyProbability, RobustScaler, Rule, TimeToFailure, from_stored, to_stored
from dataflows.fleet.expressions import ExpressionError
from dataflows.testing import check_estimator

if TYPE_CHECKING:
    from collections.abc import Callable

MAKERS: dict[str, Callable[[], Any]] = {
    "half-space trees": lambda: (
        preprocessing.MinMaxScaler() | AnomalyProbability(anomaly.HalfSpaceTrees(n_trees=2, height=4, seed=1))
    ),
    "one-class SVM": lambda: RobustScaler() | AnomalyProbability(anomaly.OneClassSVM()),
    "time to failure": lambda: RobustScaler() | TimeToFailure(linear_model.LinearRegression()),
    "rule": lambda: Rule("max(a, b) > 60"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_each_keeps_the_contract_of_estimators(name: str) -> None:
    """Probabilities, storing, missing features."""
    check_estimator(MAKERS[name]())


class Distance:
    """How far a reading is from what it has seen on average; counts what it learned."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def learn_one(self, x: dict[str, float]) -> None:
        self.seen.append(x["reading"])

    def score_one(self, x: dict[str, float]) -> float:
        return abs(x["reading"] - sum(self.seen) / len(self.seen)) if self.seen else 0.0


def test_a_detector_learns_what_is_healthy_and_its_score_becomes_a_probability() -> None:
    """Of readings beyond three nine in ten fail, of others one in a hundred: that is what it says."""
    chance, model = random.Random(1), AnomalyProbability(Distance())
    for _ in range(4_000):
        far = chance.random() < 0.1
        model.learn_one({"reading": 4.0 if far else 0.0}, chance.random() < (0.9 if far else 0.01))
    assert model.predict_proba_one({"reading": 4.0})[True] == pytest.approx(0.9, abs=0.05)
    assert model.predict_proba_one({"reading": 0.0})[True] == pytest.approx(0.01, abs=0.01)
    assert model.detector.seen.count(4.0) < 100


def test_hours_to_failure_become_the_probability_of_a_failure_within_the_horizon() -> None:
    """Wear tells the hours that are left; it is certain well before and well after the horizon of ten."""
    chance, model = random.Random(1), TimeToFailure(linear_model.LinearRegression())
    for _ in range(3_000):
        left = chance.uniform(0, 40)
        wear = (20 - left + chance.gauss(0, 2)) / 10
        model.learn_one({"wear": wear}, left <= 10, lead=left if left <= 10 else None)
    scores = [model.predict_proba_one({"wear": (20 - left) / 10})[True] for left in (1, 10, 30)]
    assert scores[0] > 0.9
    assert 0.2 < scores[1] < 0.8
    assert scores[2] < 0.05


def test_a_rule_is_a_limit_that_learns_what_it_is_worth() -> None:
    """Its names are those of features; it comes back from its bytes; what is no expression is refused."""
    rule = Rule('"level:min:6h" < 20')
    for number in range(1_000):
        rule.learn_one({"level:min:6h": float(number % 40)}, number % 40 < 20 and number % 10 < 7)
    assert rule.features == ("level:min:6h",)
    again = from_stored(to_stored(rule))
    for model in (rule, again):
        assert model.predict_proba_one({"level:min:6h": 3.0})[True] == pytest.approx(0.7, abs=0.05)
    assert Rule("x / 4", calibrate=False).predict_proba_one({"x": 9.0}) == {False: 0.0, True: 1.0}
    assert Rule("x / 4", calibrate=False).predict_proba_one({}) == {}
    with pytest.raises(ExpressionError, match="numbers, names"):
        Rule("level <")
