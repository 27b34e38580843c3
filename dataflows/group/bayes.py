"""Scores of a `BayesianLogistic` from arrays, and former paths of estimators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dataflows.estimators import BayesianLogistic, Calibration

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Files of users and pickles in stores name the estimators here: dataflows.group.bayes.Calibration.
__all__ = ["BayesianLogistic", "BayesianReader", "Calibration"]


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
        """Nothing is copied, so nothing is outdated."""

    def score(self, features: bytes) -> float | None:
        """Probability of a failure; never None.

        Args:
            features: float64 array (features of the class) as bytes.
        """
        if len(self._places) != len(self._estimator.names):
            found = [self._picks.get(name, -1) for name in self._estimator.names]
            self._places = np.array(found, dtype=np.int64)
        return self._estimator.score(np.frombuffer(features), self._places)
