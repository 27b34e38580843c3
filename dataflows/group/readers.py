"""How estimators are asked: some from arrays, without the dicts that they take, some by a shorter way."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from river.naive_bayes.base import BaseNB

from dataflows.group.bayes import BayesianLogistic, BayesianReader
from dataflows.group.linear import LinearReader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Probabilities", "Reader", "probabilities_of", "reader_of"]

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


#: Of each label that an estimator knows, from the features by name.
Probabilities = Callable[[dict[str, float]], dict[Any, float]]


def probabilities_of(estimator: Any) -> Probabilities:  # noqa: ANN401 - River's protocol is by method names
    """What asks an estimator for the probability of each label."""
    if getattr(type(estimator), "predict_proba_one", None) is BaseNB.predict_proba_one:
        return lambda x: _of_logs(estimator.joint_log_likelihood(x))
    asked: Probabilities = estimator.predict_proba_one
    return asked


def _of_logs(logs: dict[Any, float]) -> dict[Any, float]:
    """Probabilities of labels from their joint log likelihoods.

    River's naive Bayes calls SciPy's ``logsumexp`` for this, which is made for arrays and takes longer, for
    two labels, than all the rest of a score.
    """
    most = max(logs.values(), default=0.0)
    shares = {label: math.exp(log - most) for label, log in logs.items()}
    total = sum(shares.values())
    return {label: share / total for label, share in shares.items()}
