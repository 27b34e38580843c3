"""Scores of River's ``StandardScaler | LogisticRegression``, read off as arrays while nothing is learned.

The champion scores every event but learns only from examples, so between two of them River would build the
same dicts from the same numbers thousands of times. Here the numbers are copied into arrays instead, and the
score is computed in River's own order of operations: it is the same to the last bit. That is checked against
River each time the arrays are filled; should they ever differ, River is asked from then on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
from numba import njit
from river.compose import Pipeline
from river.linear_model import LogisticRegression
from river.optim.losses import BinaryLoss
from river.preprocessing import StandardScaler
from river.utils.math import sigmoid

if TYPE_CHECKING:
    from numpy.typing import NDArray


__all__ = ["LinearReader"]

#: Filling the arrays costs as much as some scores of River's, so it waits until a few were asked for.
PATIENCE = 4
_log = structlog.get_logger()


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
        self._mean = sigmoid if type(loss).mean_func is BinaryLoss.mean_func else loss.mean_func
        self._names = names
        self._picks = picks.astype(np.int64)
        self._asked = 0
        self._known: NDArray[np.float64] | None = None
        self._differs = False

    @classmethod
    def of(cls, estimator: object, names: tuple[str, ...], picks: NDArray[np.intp]) -> LinearReader | None:
        """A reader of this estimator, None where it is of another kind."""
        steps = list(estimator.steps.values()) if type(estimator) is Pipeline else [estimator]
        scaler = steps[0] if len(steps) == 2 and type(steps[0]) is StandardScaler else None  # noqa: PLR2004 - a pair
        if type(steps[-1]) is not LogisticRegression or len(steps) != (1 if scaler is None else 2):
            return None
        if scaler is not None and scaler.window_size is not None:
            return None
        return cls(scaler, steps[-1], names, picks)

    def learned(self) -> None:
        """The model is no longer what was read."""
        self._known = None
        self._asked = 0

    def score(self, features: bytes) -> float | None:
        """Probability of a failure, None where River has to be asked.

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
        self._differs = score != self._rivers(values)
        if self._differs:
            _log.warning("a linear model is read wrongly, so River is asked for every score")
            return None
        self._known = known
        return score

    def _compute(self, values: NDArray[np.float64], known: NDArray[np.float64]) -> float | None:
        logit = _logit(values, self._picks, known) + self._regression.intercept
        return float(self._mean(logit)) if math.isfinite(logit) else None

    def _rivers(self, values: NDArray[np.float64]) -> float | None:
        """The same by River; None where `_compute` leaves it to River."""
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
            # Asked before it learned, River's scaler holds zeros for a feature; its regression does not.
            if name in weights:
                mean = 0.0 if scaler is None else scaler.means[name]
                deviation = scaler.vars[name] ** 0.5 if scaler is not None and scaler.with_std else 1.0
                columns[index] = (mean, deviation, weights[name])
        return np.array(columns).reshape(-1, 3).T.copy()
