"""Fast calls of an estimator: compiled scores from arrays for some, a shorter call for others.

`LinearReader` copies the weights of River's ``StandardScaler | LogisticRegression`` into arrays while the
model learns nothing. `BayesianReader` scores a `BayesianLogistic` from arrays. `calls_of` finds how to ask
any other estimator.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
from numba import njit
from river import base, compose
from river.compose import Pipeline
from river.utils.math import sigmoid

from dataflows.estimators import BayesianLogistic

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from river.linear_model import LogisticRegression
    from river.preprocessing import StandardScaler

__all__ = [
    "BayesianReader",
    "Calls",
    "LinearReader",
    "Probabilities",
    "Reader",
    "calls_of",
    "probabilities_of",
    "reader_of",
]

#: Filling the arrays costs as much as some scores of River's, so it waits until a few were asked for.
PATIENCE = 4
_log = structlog.get_logger()


def _river_classes(module: str, *names: str) -> tuple[Any, ...]:
    """Classes of one of River's modules; none if it is not imported, so that no value can be of them.

    ``river.preprocessing`` imports SciPy's statistics, which takes as long as all the rest of a start: only
    fleets that name it pay for it.
    """
    found = sys.modules.get(module)
    return () if found is None else tuple(getattr(found, name) for name in names)


@njit(cache=True)
def _logit(values: NDArray[np.float64], picks: NDArray[np.int64], known: NDArray[np.float64]) -> float:
    """Dot product of weights and scaled values; NaN where a value is given that the model never saw.

    ``known`` (3, features that the model sees) are means, deviations and weights.
    """
    total = 0.0
    for index in range(len(picks)):
        value = values[picks[index]]
        if not math.isnan(value):
            deviation = known[1, index]
            if deviation != 0.0:
                total += known[2, index] * ((value - known[0, index]) / deviation)
    return total


class LinearReader:
    """Scores of one linear model.

    Args:
        scaler: the first step of its pipeline, None where there is none.
        regression: the last one.
        names: of the features that the model sees.
        picks: their indices among the features of the class.
    """

    def __init__(
        self,
        scaler: StandardScaler | None,
        regression: LogisticRegression,
        names: tuple[str, ...],
        picks: NDArray[np.intp],
    ) -> None:
        # River's methods are partly untyped.
        self._scaler: Any = scaler
        self._regression: Any = regression
        loss: Any = regression.loss
        (binary,) = _river_classes("river.optim.losses", "BinaryLoss")
        self._mean = sigmoid if type(loss).mean_func is binary.mean_func else loss.mean_func
        self._names = names
        self._picks = picks.astype(np.int64)
        self._asked = 0
        self._known: NDArray[np.float64] | None = None
        self._differs = False

    @classmethod
    def of(cls, estimator: object, names: tuple[str, ...], picks: NDArray[np.intp]) -> LinearReader | None:
        """A reader of this estimator, None where it is of another kind."""
        steps: list[Any] = list(estimator.steps.values()) if type(estimator) is Pipeline else [estimator]
        scalers = _river_classes("river.preprocessing", "StandardScaler")
        scaler = steps[0] if len(steps) == 2 and type(steps[0]) in scalers else None  # noqa: PLR2004 - a pair
        regressions = _river_classes("river.linear_model", "LogisticRegression")
        if type(steps[-1]) not in regressions or len(steps) != (1 if scaler is None else 2):
            return None
        if scaler is not None and scaler.window_size is not None:
            return None
        return cls(scaler, steps[-1], names, picks)

    def learned(self) -> None:
        """Discard the arrays: the model learned since they were read."""
        self._known = None
        self._asked = 0

    def score(self, features: bytes) -> float | None:
        """Return the probability of a failure, None where River has to be asked.

        Args:
            features: float64 array (features of the class) as bytes.
        """
        values = np.frombuffer(features)
        if self._known is not None:
            return self._compute(values, self._known)
        self._asked += 1
        if self._asked < PATIENCE or self._differs:
            return None
        known = self._read()
        score = self._compute(values, known)
        self._differs = score != self._score_by_river(values)
        if self._differs:
            _log.warning("a linear model is read wrongly, so River is asked for every score")
            return None
        self._known = known
        return score

    def _compute(self, values: NDArray[np.float64], known: NDArray[np.float64]) -> float | None:
        logit = _logit(values, self._picks, known) + self._regression.intercept
        return float(self._mean(logit)) if math.isfinite(logit) else None

    def _score_by_river(self, values: NDArray[np.float64]) -> float | None:
        """Return the score that River computes; None in the cases in which `_compute` returns None."""
        given = values[self._picks].tolist()
        x = {name: value for name, value in zip(self._names, given, strict=True) if not math.isnan(value)}
        if not x.keys() <= self._regression.weights.keys():
            return None
        scaled = x if self._scaler is None else self._scaler.transform_one(x)
        return float(self._regression.predict_proba_one(scaled)[True])

    def _read(self) -> NDArray[np.float64]:
        """Means, deviations and weights as they are now; NaN for a feature that the model never saw."""
        weights = self._regression.weights
        scaler = self._scaler
        columns = [(math.nan,) * 3] * len(self._names)
        for index, name in enumerate(self._names):
            # A scaler that is asked before it learned holds zeros for a feature; a regression does not.
            if name in weights:
                mean = 0.0 if scaler is None else scaler.means[name]
                deviation = scaler.vars[name] ** 0.5 if scaler is not None and scaler.with_std else 1.0
                columns[index] = (mean, deviation, weights[name])
        return np.array(columns).reshape(-1, 3).T.copy()


class BayesianReader:
    """Scores of a `BayesianLogistic` from feature arrays, without making dicts of them.

    A feature that the model learned and no longer sees, since it was removed, is missing for it.

    Args:
        estimator: the model.
        names: of the features that the model sees.
        picks: their indices among the features of the class.
    """

    def __init__(self, estimator: BayesianLogistic, names: tuple[str, ...], picks: NDArray[np.intp]) -> None:
        self._estimator = estimator
        self._picks = dict(zip(names, picks.tolist(), strict=True))
        self._places = np.empty(0, dtype=np.int64)

    def learned(self) -> None:
        """Do nothing: no array is copied."""

    def score(self, features: bytes) -> float | None:
        """Return the probability of a failure; never None.

        Args:
            features: float64 array (features of the class) as bytes.
        """
        if len(self._places) != len(self._estimator.names):
            found = [self._picks.get(name, -1) for name in self._estimator.names]
            self._places = np.array(found, dtype=np.int64)
        return self._estimator.score(np.frombuffer(features), self._places)


Reader = BayesianReader | LinearReader


def reader_of(estimator: object, names: tuple[str, ...], picks: NDArray[np.intp]) -> Reader | None:
    """Return a reader that computes an estimator's scores from arrays; None where only the estimator can.

    Args:
        estimator: of one model.
        names: of the features that it sees.
        picks: their indices among the features of the class.
    """
    if type(estimator) is BayesianLogistic:
        return BayesianReader(estimator, names, picks)
    return LinearReader.of(estimator, names, picks)


#: Probability of each label that an estimator knows, from the features by name.
Probabilities = Callable[[dict[str, Any]], dict[Any, float]]


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of an estimator.

    Attributes:
        probabilities: asks it for the probability of each label.
        learn: gives it an example.
        supervised: it learns from labels, and knows nothing before it has seen both.
        pretrained: it knows enough before it has learned anything.
        with_none: a missing feature is given to it as None; to all others it is absent.
    """

    probabilities: Probabilities
    learn: Callable[[dict[str, Any], bool], None]
    supervised: bool
    pretrained: bool
    with_none: bool


def calls_of(estimator: Any) -> Calls:  # noqa: ANN401 - River's protocol is by method names
    """Choose the calls of an estimator with River's protocol.

    A classifier has ``learn_one(x, y)`` and ``predict_proba_one(x)``. An anomaly detector has
    ``learn_one(x)`` and ``score_one(x)``, whose score is taken as the probability of a failure. An estimator
    with a true attribute ``pretrained`` is asked from the first record on.
    """
    steps = [*estimator.steps.values()] if isinstance(estimator, compose.Pipeline) else [estimator]
    last = steps[-1]
    supervised = not _scores_anomalies(last)
    chosen = (step for step in steps if not isinstance(step, compose.Select | compose.Discard))
    return Calls(
        probabilities_of(estimator) if supervised else lambda x: {True: estimator.score_one(x)},
        estimator.learn_one if supervised or len(steps) > 1 else lambda x, _: estimator.learn_one(x),
        supervised,
        bool(getattr(last, "pretrained", False)),
        isinstance(
            next(chosen, None), _river_classes("river.preprocessing", "StatImputer", "PreviousImputer")
        ),
    )


def _scores_anomalies(estimator: object) -> bool:
    """Whether an estimator, or the last step of a pipeline, gives anomaly scores and no probabilities."""
    if isinstance(estimator, compose.Pipeline):  # a pipeline has every method, even if its last step lacks it
        return bool(len(estimator)) and _scores_anomalies([*estimator.steps.values()][-1])
    method = getattr(type(estimator), "predict_proba_one", None)
    # A River classifier without probabilities inherits a method that raises.
    probable = method is not None and method is not base.Classifier.predict_proba_one
    return not probable and hasattr(estimator, "score_one")


def probabilities_of(estimator: Any) -> Probabilities:  # noqa: ANN401 - River's protocol is by method names
    """Return the shortest call for the probability of each label."""
    method = getattr(type(estimator), "predict_proba_one", None)
    if any(method is bayes.predict_proba_one for bayes in _river_classes("river.naive_bayes.base", "BaseNB")):
        return lambda x: _of_logs(estimator.joint_log_likelihood(x))
    asked: Probabilities = estimator.predict_proba_one
    return asked


def _of_logs(logs: dict[Any, float]) -> dict[Any, float]:
    """Return probabilities of labels from their joint log likelihoods.

    River's naive Bayes calls SciPy's ``logsumexp`` for this, which is made for arrays and takes longer, for
    two labels, than all the rest of a score.
    """
    most = max(logs.values(), default=0.0)
    shares = {label: math.exp(log - most) for label, log in logs.items()}
    total = sum(shares.values())
    return {label: share / total for label, share in shares.items()}
