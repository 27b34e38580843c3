"""Models whose scores are computed from arrays, without the dicts that their estimators take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflows.group.bayes import BayesianLogistic, BayesianReader
from dataflows.group.linear import LinearReader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Reader", "reader_of"]

Reader = BayesianReader | LinearReader


def reader_of(estimator: object, names: tuple[str, ...], picks: NDArray[np.intp]) -> Reader | None:
    """What computes an estimator's scores from arrays, None where only the estimator itself can.

    Args:
        estimator: of one model.
        names: of the features that it sees.
        picks: their indices among the features of the class.
    """
    if type(estimator) is BayesianLogistic:
        return BayesianReader(estimator, names, picks)
    return LinearReader.of(estimator, names, picks)
