"""Numbers that are no probabilities made into ones: anomaly scores, hours to failure, rules.

Each estimator here computes one number of the features, and a logistic regression of that number alone gives
the probability (`BayesianLogistic`, which scales it and forgets what is wild). It learns from the number that
the estimator gave before it learned the example itself: test, then train.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dataflows.estimators.online import BayesianLogistic
from dataflows.estimators.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["AnomalyProbability", "Rule", "TimeToFailure"]

#: Prior variance of the slope: one feature needs little shrinking.
_VARIANCE = 4.0
_LIMIT = 8.0
_NAME = "score"


def _calibration(memory: int) -> BayesianLogistic:
    return BayesianLogistic(variance=_VARIANCE, memory=memory, limit=_LIMIT)


def _given(number: float | None) -> dict[str, float]:
    """Return the number as a feature; where there is none, the probability is that of all examples."""
    return {} if number is None or not math.isfinite(number) else {_NAME: number}


class AnomalyProbability(Stored):
    """Turns the score of one of River's anomaly detectors into the probability of a failure.

    When to use it: where failures are so rare that little can be learned from them, and what is healthy can
    be learned from everything else. The detector learns from negatives alone, unless told otherwise.

    Args:
        detector: with ``learn_one(x)`` and ``score_one(x)``.
        healthy: the detector learns from negatives alone.
        memory: about how many examples back the probability remembers.

    Example:
        >>> class Distance:
        ...     def learn_one(self, x): pass
        ...     def score_one(self, x): return abs(x["pressure"] - 5.0)
        >>> model = AnomalyProbability(Distance())
        >>> for number in range(200):
        ...     model.learn_one({"pressure": float(number % 10)}, number % 10 == 0)
        >>> far, near = ({"pressure": pressure} for pressure in (0.0, 5.0))
        >>> model.predict_proba_one(far)[True] > model.predict_proba_one(near)[True]
        True
    """

    _STATE = ("detector", "healthy", "calibration")

    def __init__(self, detector: Any, *, healthy: bool = True, memory: int = 30_000) -> None:  # noqa: ANN401 - River's protocol
        self.detector = detector
        self.healthy = healthy
        self.calibration = _calibration(memory)

    def learn_one(self, x: Mapping[str, float], y: bool) -> None:  # noqa: FBT001 - River's signature
        """Learn what came of the present score, then the features."""
        self.calibration.learn_one(_given(self._number(x)), y)
        if x and not (y and self.healthy):
            self.detector.learn_one(dict(x))

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        """Probability of either label."""
        return self.calibration.predict_proba_one(_given(self._number(x)))

    def _number(self, x: Mapping[str, float]) -> float | None:
        return float(self.detector.score_one(dict(x))) if x else None


class TimeToFailure(Stored):
    """Turns a regressor of the hours to failure into the probability of a failure within the horizon.

    When to use it: where wear is steady, so that the time left tells more than the two labels do. Of a
    positive the regressor learns the logarithm of its hours to failure. Of a negative it is known only that
    more than the horizon is left: where the regressor expects less than twice the longest time of a positive
    so far, it learns that (censored regression in its simplest form).

    Args:
        regressor: River's, with ``learn_one(x, y)`` and ``predict_one(x)``.
        memory: about how many examples back the probability remembers.

    Example:
        >>> from river.linear_model import LinearRegression
        >>> model = TimeToFailure(LinearRegression())
        >>> for number in range(300):
        ...     left = 30 - number % 30
        ...     model.learn_one({"wear": (30 - left) / 30}, left <= 10, lead=left if left <= 10 else None)
        >>> model.predict_proba_one({"wear": 0.9})[True] > model.predict_proba_one({"wear": 0.2})[True]
        True
    """

    _STATE = ("regressor", "longest", "calibration")
    #: `learn_one` gets the hours to failure.
    learns_lead = True

    def __init__(self, regressor: Any, memory: int = 30_000) -> None:  # noqa: ANN401 - River's protocol
        self.regressor = regressor
        self.calibration = _calibration(memory)
        #: Hours of the positive that was known longest before its failure.
        self.longest = 0.0

    def learn_one(self, x: Mapping[str, float], y: bool, lead: float | None = None) -> None:  # noqa: FBT001 - River's signature
        """Learn what came of the present number, then the hours to failure.

        Args:
            x: features.
            y: whether it failed within the horizon.
            lead: hours to the failure, None where they are not known.
        """
        expected = self._expected(x)
        self.calibration.learn_one(_given(expected), y)
        if y:
            hours = self.longest / 2 if lead is None else lead
            self.longest = max(self.longest, hours)
            self.regressor.learn_one(dict(x), math.log1p(hours))
        else:
            least = math.log1p(2 * self.longest)
            if expected < least:
                self.regressor.learn_one(dict(x), least)

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        """Probability of either label."""
        return self.calibration.predict_proba_one(_given(self._expected(x)))

    def _expected(self, x: Mapping[str, float]) -> float:
        """Logarithm of the hours to failure; far beyond any horizon it is all the same."""
        expected = float(self.regressor.predict_one(dict(x)) or 0.0)
        most = math.log1p(8 * self.longest)
        return min(max(expected, -most), most) if math.isfinite(expected) else most


class Rule(Stored):
    """An expression of features as a score, such as a limit that an engineer knows.

    When to use it: as what a model must beat, and where experience has a rule. The number of the expression
    becomes a probability as labels come. See "Expressions" in docs/fleet.md for the language; a name of a
    feature is quoted: ``"coolant_level:min:6h" < 20``.

    Args:
        score: the expression; a comparison is 1 or 0.
        calibrate: the number is made a probability; else it is one already, from the first record on.
        memory: about how many examples back the probability remembers.

    Raises:
        ExpressionError: the expression is not in the language.

    Example:
        >>> rule = Rule('"level:min:6h" < 20')
        >>> for number in range(100):
        ...     rule.learn_one({"level:min:6h": float(number)}, number < 20)
        >>> rule.predict_proba_one({"level:min:6h": 5.0})[True] > 0.9
        True
        >>> Rule("load / 100", calibrate=False).predict_proba_one({"load": 30.0})[True]
        0.3
    """

    _STATE = ("expression", "pretrained", "calibration")
    #: It sees exactly its `features`.
    names_features = True

    def __init__(self, score: str, *, calibrate: bool = True, memory: int = 30_000) -> None:
        self.expression = score
        #: It scores before it has learned anything.
        self.pretrained = not calibrate
        self.calibration = _calibration(memory)
        self._compile()

    def _compile(self) -> None:
        from dataflows.fleet.expressions import evaluator, parse  # noqa: PLC0415 - fleets import estimators

        parsed = parse(self.expression)
        self._names: tuple[str, ...] = parsed.names
        self._evaluate: Callable[[Sequence[float]], list[float]] = evaluator(
            [parsed], {name: place for place, name in enumerate(parsed.names)}
        )

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features in the expression."""
        if not hasattr(self, "_names"):  # read from bytes
            self._compile()
        return self._names

    def learn_one(self, x: Mapping[str, float], y: bool) -> None:  # noqa: FBT001 - River's signature
        """Learn what came of the number."""
        if not self.pretrained:
            self.calibration.learn_one(_given(self._number(x)), y)

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        """Probability of either label; empty where it is one already and a feature is missing."""
        number = self._number(x)
        if not self.pretrained:
            return self.calibration.predict_proba_one(_given(number))
        if math.isnan(number):
            return {}
        positive = min(max(number, 0.0), 1.0)
        return {False: 1.0 - positive, True: positive}

    def _number(self, x: Mapping[str, float]) -> float:
        operands = [x.get(name, math.nan) for name in self.features]
        return self._evaluate(operands)[0]
