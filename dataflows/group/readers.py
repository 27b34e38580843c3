"""How estimators are asked: some from arrays, without the dicts that they take, some by a shorter way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from river import base, compose, preprocessing
from river.naive_bayes.base import BaseNB

from dataflows.estimators import BayesianLogistic
from dataflows.group.linear import LinearReader

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BayesianReader", "Calls", "Probabilities", "Reader", "calls_of", "probabilities_of", "reader_of"]


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
Probabilities = Callable[[dict[str, Any]], dict[Any, float]]


@dataclass(frozen=True, slots=True)
class Calls:
    """How an estimator is called.

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
    """How an estimator of River's protocol is called.

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
        isinstance(next(chosen, None), preprocessing.StatImputer | preprocessing.PreviousImputer),
    )


def _scores_anomalies(estimator: object) -> bool:
    """Whether an estimator, the last of its pipeline, has ``score_one`` in place of probabilities."""
    if isinstance(estimator, compose.Pipeline):  # which has every method, whatever its last step can do
        return bool(len(estimator)) and _scores_anomalies([*estimator.steps.values()][-1])
    method = getattr(type(estimator), "predict_proba_one", None)
    # A River classifier without probabilities inherits a method that raises.
    probable = method is not None and method is not base.Classifier.predict_proba_one
    return not probable and hasattr(estimator, "score_one")


def probabilities_of(estimator: Any) -> Probabilities:  # noqa: ANN401 - River's protocol is by method names
    """What asks a classifier for the probability of each label."""
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
