"""Logistic regression by second-order updates, and the calibration of another model's scores.

Both learn by the same recursion (`_update`): the posterior of the weights is kept as a normal distribution,
and each example moves its mean and covariance by Laplace's approximation (D. J. Spiegelhalter and S. L.
Lauritzen, "Sequential updating of conditional probabilities on directed graphical structures", Networks 20,
1990). There is no step size to choose, and features that go together are told apart, for which gradient
descent needs many passes. To follow a changing world the covariance is divided by a forgetting factor below
1, but no weight's variance grows beyond its prior's, so what is not heard of for long does not blow up.

The sums are written out instead of left to a BLAS, whose last bits depend on where arrays lie in memory: a
resumed run gives the very scores of one that was never stopped.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["BayesianLogistic", "BayesianReader", "Calibration"]

#: Logits are clipped to this before a probability is made of them.
_STEEPEST = 30.0
_INTERCEPT_VARIANCE = 4.0
#: An update counts at least so much certainty, or saturated scores would leave the covariance as it is.
_LEAST = 1e-6


@njit(cache=True)
def _probability(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-min(max(logit, -_STEEPEST), _STEEPEST)))


@njit(cache=True)
def _update(
    weights: Floats,
    covariance: Floats,
    prior: Floats,
    x: Floats,
    label: float,
    share: float,
    forget: float,
) -> None:
    """One example moves the posterior, in place.

    Args:
        weights: (k,) its mean.
        covariance: (k, k), symmetric to the last bit, and left so.
        prior: (k,) the variances that are never exceeded.
        x: (k,) the example.
        label: 1.0 or 0.0.
        share: the part of an example that it counts for.
        forget: the factor by which all that was learned before counts less.
    """
    size = len(weights)
    logit = 0.0
    for i in range(size):
        logit += weights[i] * x[i]
    p = _probability(logit)
    certainty = max(p * (1.0 - p), _LEAST) * share
    gain = np.zeros(size)
    spread = 0.0
    for i in range(size):
        total = 0.0
        for j in range(size):
            total += covariance[i, j] * x[j]
        gain[i] = total
        spread += total * x[i]
    whole = forget + certainty * spread
    for i in range(size):
        for j in range(i + 1):
            value = (covariance[i, j] - gain[i] * gain[j] * (certainty / whole)) / forget
            covariance[i, j] = value
            covariance[j, i] = value
    for i in range(size):
        if covariance[i, i] > prior[i]:
            factor = math.sqrt(prior[i] / covariance[i, i])
            for j in range(size):
                value = covariance[i, j] * factor
                covariance[i, j] = value
                covariance[j, i] = value
            covariance[i, i] = prior[i]
    step = share * (label - p) / whole
    for i in range(size):
        weights[i] += gain[i] * step


@njit(cache=True)
def _scale(values: Floats, counts: Floats, means: Floats, variances: Floats, scaled: Floats) -> None:
    """Take values (NaN: missing) into the running means and variances; scale them, 0 where missing."""
    for i in range(len(values)):
        value = values[i]
        scaled[i] = 0.0
        if not math.isnan(value):
            counts[i] += 1.0
            before = means[i]
            means[i] += (value - before) / counts[i]
            variances[i] += ((value - before) * (value - means[i]) - variances[i]) / counts[i]
            if variances[i] > 0.0:
                scaled[i] = (value - means[i]) / math.sqrt(variances[i])


@njit(cache=True)
def _logit(
    values: Floats, places: NDArray[np.int64], means: Floats, variances: Floats, weights: Floats
) -> float:
    """The last weight, which is the intercept, and weighted scaled values; ``places`` below 0: missing."""
    total = float(weights[-1])
    for i in range(len(places)):
        if places[i] >= 0:
            value = values[places[i]]
            if variances[i] > 0.0 and not math.isnan(value):
                total += weights[i] * ((value - means[i]) / math.sqrt(variances[i]))
    return total


class BayesianLogistic:
    """Logistic regression that scales its features and learns by second-order updates; River's protocol.

    An example costs k**2 operations and the model k**2 numbers for k features: made for hundreds of
    features, not for thousands.

    Args:
        variance: prior variance of a weight, of scaled features; smaller shrinks more.
        memory: about how many examples back it remembers.

    Raises:
        ValueError: ``variance`` is not positive, or ``memory`` is below 2.
    """

    def __init__(self, variance: float = 0.1, memory: int = 30_000) -> None:
        if not (variance > 0 and memory >= 2):  # noqa: PLR2004 - one would forget everything at once
            msg = f"expected variance > 0 and memory >= 2, got {variance} and {memory}"
            raise ValueError(msg)
        self.variance = variance
        self.memory = memory
        self.names: dict[str, int] = {}
        self.counts, self.means, self.variances = np.zeros((3, 0))
        self.weights = np.zeros(1)
        self.prior = np.array([_INTERCEPT_VARIANCE])
        self.covariance = np.diag(self.prior)

    def learn_one(self, x: Mapping[str, float], y: bool) -> None:  # noqa: FBT001 - River's signature
        """Learn one example; a feature not seen before is added."""
        new = [name for name in x if name not in self.names]
        if new:
            self._add(new)
        values = np.full(len(self.names), np.nan)
        for name, value in x.items():
            values[self.names[name]] = value
        scaled = np.ones(len(values) + 1)
        _scale(values, self.counts, self.means, self.variances, scaled[:-1])
        forget = 1.0 - 1.0 / self.memory
        _update(self.weights, self.covariance, self.prior, scaled, float(y), 1.0, forget)

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        """Probability of either label; features that were never learned are passed over."""
        given = {name: place for place, name in enumerate(x)}
        places = np.array([given.get(name, -1) for name in self.names], dtype=np.int64)
        positive = self.score(np.array(list(x.values()), dtype=np.float64), places)
        return {False: 1.0 - positive, True: positive}

    def score(self, values: Floats, places: NDArray[np.int64]) -> float:
        """Probability of True.

        Args:
            values: features, NaN where missing.
            places: where in ``values`` each of `names` stands, -1 where it does not.
        """
        return float(_probability(_logit(values, places, self.means, self.variances, self.weights)))

    def _add(self, names: list[str]) -> None:
        old, size = len(self.names), len(self.names) + len(names)
        self.names.update((name, old + i) for i, name in enumerate(names))
        more = np.zeros(len(names))
        self.counts, self.means, self.variances = (
            np.concatenate([kept, more]) for kept in (self.counts, self.means, self.variances)
        )
        # The intercept stays last.
        kept = [*range(old), size]
        for_all = np.full(size + 1, float(self.variance))
        for_all[-1] = _INTERCEPT_VARIANCE
        weights, covariance = np.zeros(size + 1), np.diag(for_all)
        weights[kept] = self.weights
        covariance[np.ix_(kept, kept)] = self.covariance
        self.weights, self.covariance, self.prior = weights, covariance, for_all


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


class Calibration:
    """Turns the score of one other model, as it was served, into a probability that holds.

    Platt's scaling with bends (J. C. Platt, "Probabilistic outputs for support vector machines", 1999): the
    new logit is a piecewise linear function of the old one, learned from the scores that were served and the
    labels that came of them. It starts as no change, which is also its prior, and stays so until ``after``
    positives: the first scores were those of a model that knew little, and tell nothing about it now.

    Args:
        after: positives before it begins to change scores.
        memory: at most so many examples back it remembers; early on, about a quarter of what there was, since
            a young model's scores improve.

    Raises:
        ValueError: ``after`` is negative, or ``memory`` is below 2.
    """

    #: Where the slope may change, in logits: 0.018, 0.12, 0.5 and 0.88.
    _BENDS = (-4.0, -2.0, 0.0, 2.0)
    #: Prior variances of the offset, the slope, and the change of slope at each bend.
    _PRIOR = (0.5, 0.25, 0.25, 0.25, 0.25, 0.25)
    #: Examples of one machine share their outcome: each counts for a part of an independent one.
    _SHARE = 0.3
    _EARLY = 4.0
    _WIDEST = 12.0

    def __init__(self, after: int = 200, memory: int = 20_000) -> None:
        if after < 0 or memory < 2:  # noqa: PLR2004 - as above
            msg = f"expected after >= 0 and memory >= 2, got {after} and {memory}"
            raise ValueError(msg)
        self.after = after
        self.memory = memory
        self.learned = self.positives = 0
        self.prior = np.array(self._PRIOR)
        self.weights = np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
        self.covariance = np.diag(self.prior)

    def learn_one(self, x: Mapping[str, float], y: bool) -> None:  # noqa: FBT001 - River's signature
        """Learn what came of a score; an example without one is passed over.

        Raises:
            ValueError: several scores.
        """
        bases = self._bases(x)
        if bases is None:
            return
        self.learned += 1
        self.positives += int(y)
        if self.positives > self.after:
            forget = 1.0 - min(max(self._EARLY / self.learned, 1.0 / self.memory), 0.5)
            _update(self.weights, self.covariance, self.prior, bases, float(y), self._SHARE, forget)

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        """The calibrated score; empty where there is none to calibrate.

        Raises:
            ValueError: several scores.
        """
        bases = self._bases(x)
        if bases is None:
            return {}
        if self.positives <= self.after:
            (positive,) = x.values()
        else:
            positive = float(_probability(_dot(self.weights, bases)))
        return {False: 1.0 - positive, True: positive}

    def _bases(self, x: Mapping[str, float]) -> Floats | None:
        if not x:
            return None
        if len(x) > 1:
            msg = f"expected the score of one model, got those of {', '.join(x)}"
            raise ValueError(msg)
        (score,) = x.values()
        logit = self._WIDEST if score > 0.5 else -self._WIDEST  # noqa: PLR2004 - either end
        if 0.0 < score < 1.0:
            logit = min(max(math.log(score / (1.0 - score)), -self._WIDEST), self._WIDEST)
        return np.array([1.0, logit, *(max(logit - bend, 0.0) for bend in self._BENDS)])


@njit(cache=True)
def _dot(weights: Floats, bases: Floats) -> float:
    total = 0.0
    for i in range(len(weights)):
        total += weights[i] * bases[i]
    return total
