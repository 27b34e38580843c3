"""Estimators of our own in River's protocol, for the ``pipeline`` of a model in ``fleet.toml``.

- `Prior`: the share of failures so far, which every model must beat.
- `BayesianLogistic`: logistic regression without a step size, for a few hundred features.
- `Calibration`: makes the scores of another model hold.
- `RobustScaler`: scales features, and recovers from wild values by itself.

The regression and the calibration learn by one recursion (`update`): the posterior of the weights is kept
as a normal distribution, and each example moves its mean and covariance by Laplace's approximation (D. J.
Spiegelhalter and S. L. Lauritzen, "Sequential updating of conditional probabilities on directed graphical
structures", Networks 20, 1990). There is no step size to choose, and features that go together are told
apart, for which gradient descent needs many passes. To follow a changing world the covariance is divided by
a forgetting factor below 1, but no weight's variance grows beyond its prior's, so a feature that is long
missing does not blow up.

The sums are written out instead of left to a BLAS, whose last bits depend on where arrays lie in memory: a
resumed run gives the very scores of one that was never stopped.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from river import base

from dataflows.estimators.stored import Stored
from dataflows.scoring import running_prior

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["BayesianLogistic", "Calibration", "Prior", "RobustScaler"]


class Prior(Stored):
    """The share of positives so far: (positives + 0.5) / (learned + 1). What every model must beat.

    When to use it: in every fleet, as the yardstick beside real models.

    Example:
        >>> prior = Prior()
        >>> for label in (False, False, True):
        ...     prior.learn_one({}, label)
        >>> prior.predict_proba_one({})[True]
        0.375
    """

    _STATE = ("positives", "learned")

    def __init__(self) -> None:
        self.positives = 0
        self.learned = 0

    def learn_one(self, x: Mapping[str, Any], y: bool) -> None:  # noqa: ARG002, FBT001 - River's signature
        """Count one label."""
        self.positives += int(y)
        self.learned += 1

    def predict_proba_one(self, x: Mapping[str, Any]) -> dict[bool, float]:  # noqa: ARG002 - River's signature
        """The same probability for everything."""
        positive = running_prior(self.positives, self.learned)
        return {False: 1.0 - positive, True: positive}

    def score_rows(self, rows: Floats, names: tuple[str, ...]) -> Floats:  # noqa: ARG002 - the protocol
        """Probability of True of each row (n, features named so)."""
        return np.full(len(rows), running_prior(self.positives, self.learned))


#: Logits are clipped to this before a probability is made of them.
_STEEPEST = 30.0
_INTERCEPT_VARIANCE = 4.0
#: An update counts at least so much certainty, or saturated scores would leave the covariance as it is.
_LEAST = 1e-6
#: So many first values of a feature are kept, until their median tells what is wild.
_EARLY_VALUES = 32
#: The deviation of a normal distribution is its median absolute deviation times this.
_NORMAL = 1.4826


@njit(cache=True)
def probability(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-min(max(logit, -_STEEPEST), _STEEPEST)))


@njit(cache=True)
def update(
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
    p = probability(logit)
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
def _clipped(value: float, limit: float) -> float:
    return min(max(value, -limit), limit)


@njit(cache=True)
def _middle(ordered: Floats) -> float:
    half = len(ordered) // 2
    return float(ordered[half] if len(ordered) % 2 else 0.5 * (ordered[half - 1] + ordered[half]))


@njit(cache=True)
def _early_moments(early: Floats, limit: float) -> tuple[float, float]:
    """Mean and variance of the first values, each held within ``limit`` deviations of their median.

    The deviation is that of a normal distribution with their median absolute deviation.
    """
    middle = _middle(np.sort(early))
    spread = _NORMAL * _middle(np.sort(np.abs(early - middle)))
    mean = 0.0
    variance = 0.0
    for i in range(len(early)):
        value = early[i]
        if spread > 0.0:
            value = middle + _clipped(value - middle, limit * spread)
        before = mean
        mean += (value - before) / (i + 1)
        variance += ((value - before) * (value - mean) - variance) / (i + 1)
    return mean, variance


@njit(cache=True)
def scale_robustly(
    values: Floats,
    counts: Floats,
    means: Floats,
    variances: Floats,
    early: Floats,
    scaled: Floats,
    limit: float,
    memory: float,
) -> None:
    """Take values (NaN: missing) into running means and variances that a wild one does not spoil.

    Args:
        values: (k,) of one example.
        counts: (k,) how many were taken.
        means: (k,) running means.
        variances: (k,) running variances.
        early: (k, _EARLY_VALUES) the first ones of each.
        scaled: (k,) set to the scaled values, within ``limit``; 0 where missing.
        limit: deviations from the mean; what is further away counts as if it were there.
        memory: about how many values back the moments remember.
    """
    for i in range(len(values)):
        value = values[i]
        scaled[i] = 0.0
        if math.isnan(value):
            continue
        count = int(counts[i])
        counts[i] += 1.0
        if count < _EARLY_VALUES:
            early[i, count] = value
            means[i], variances[i] = _early_moments(early[i, : count + 1], limit)
        else:
            taken = value
            if variances[i] > 0.0:
                taken = means[i] + _clipped(value - means[i], limit * math.sqrt(variances[i]))
            weight = 1.0 / min(counts[i], memory)
            before = means[i]
            means[i] += (taken - before) * weight
            variances[i] += ((taken - before) * (taken - means[i]) - variances[i]) * weight
        if variances[i] > 0.0:
            scaled[i] = _clipped((value - means[i]) / math.sqrt(variances[i]), limit)


@njit(cache=True)
def _probabilities(
    rows: Floats,
    places: NDArray[np.int64],
    means: Floats,
    variances: Floats,
    weights: Floats,
    limit: float,
) -> Floats:
    """(n) probability of each row: of the last weight, which is the intercept, and weighted scaled values.

    ``places`` below 0 are missing; ``limit`` 0 is none.
    """
    found = np.empty(rows.shape[0])
    for row in range(rows.shape[0]):
        total = float(weights[-1])
        for i in range(len(places)):
            if places[i] >= 0:
                value = rows[row, places[i]]
                if variances[i] > 0.0 and not math.isnan(value):
                    scaled = (value - means[i]) / math.sqrt(variances[i])
                    total += weights[i] * (_clipped(scaled, limit) if limit > 0.0 else scaled)
        found[row] = probability(total)
    return found


class BayesianLogistic(Stored):
    """Logistic regression that scales its features and learns by second-order updates; River's protocol.

    When to use it: as the first model to try on up to a few hundred numeric features, also where they go
    together. An example costs k**2 operations and the model k**2 numbers for k features, so it is not made
    for thousands. A missing feature counts as its mean. Source: see the top of this module.

    Args:
        variance: prior variance of a weight, of scaled features; smaller shrinks more.
        memory: about how many examples back it remembers.
        limit: a feature further than so many deviations from its mean counts as if it were there, when it is
            scaled and when it is learned, so that a wild value is soon forgotten; 0 sets no limit.

    Raises:
        ValueError: ``variance`` is not positive, ``memory`` is below 2, or ``limit`` is negative.

    Example:
        >>> model = BayesianLogistic(variance=1.0, limit=8)
        >>> for number in range(200):
        ...     model.learn_one({"pressure": 10.0 + number % 10}, number % 10 > 6)
        >>> score = model.predict_proba_one({"pressure": 19.0})[True]
        >>> round(score, 1), round(model.predict_proba_one({"pressure": 11.0})[True], 1)
        (0.9, 0.0)
        >>> BayesianLogistic.from_bytes(model.to_bytes()).predict_proba_one({"pressure": 19.0})[True] == score
        True
    """

    _STATE = (
        "variance",
        "memory",
        "limit",
        "names",
        "counts",
        "means",
        "variances",
        "early",
        "weights",
        "prior",
        "covariance",
    )
    #: Names of columns, and where in them the features of the model stand; see `score_rows`.
    _columns: tuple[tuple[str, ...], NDArray[np.int64]] | None = None

    def __init__(self, variance: float = 0.1, memory: int = 30_000, limit: float = 0.0) -> None:
        if not (variance > 0 and memory >= 2 and limit >= 0):  # noqa: PLR2004 - one would forget all at once
            msg = f"expected variance > 0, memory >= 2 and limit >= 0, got {variance}, {memory} and {limit}"
            raise ValueError(msg)
        self.limit = float(limit)
        self.early = np.zeros((0, _EARLY_VALUES))
        self.variance = variance
        self.memory = memory
        self.names: dict[str, int] = {}
        self.counts, self.means, self.variances = np.zeros((3, 0))
        self.weights = np.zeros(1)
        self.prior = np.array([_INTERCEPT_VARIANCE])
        self.covariance = np.diag(self.prior)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state of a pickle; those of former releases know no limit."""
        self.limit = 0.0
        self.early = np.zeros((len(state["names"]), _EARLY_VALUES))
        self.__dict__.update(state)

    def learn_one(self, x: Mapping[str, float], y: bool) -> None:  # noqa: FBT001 - River's signature
        """Learn one example; a feature not seen before is added."""
        new = [name for name in x if name not in self.names]
        if new:
            self._add(new)
        values = np.full(len(self.names), np.nan)
        for name, value in x.items():
            values[self.names[name]] = value
        scaled = np.ones(len(values) + 1)
        moments = self.counts, self.means, self.variances
        if self.limit:
            scale_robustly(values, *moments, self.early, scaled[:-1], self.limit, self.memory)
        else:
            _scale(values, *moments, scaled[:-1])
        forget = 1.0 - 1.0 / self.memory
        update(self.weights, self.covariance, self.prior, scaled, float(y), 1.0, forget)

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        """Probability of either label; features that were never learned are passed over."""
        (positive,) = self._score_rows(
            np.array([[*x.values()]], dtype=np.float64), self._places_in(x)
        ).tolist()
        return {False: 1.0 - positive, True: positive}

    def score_rows(self, rows: Floats, names: tuple[str, ...]) -> Floats:
        """Probability of True of each row, the same as that of a dict with its features.

        Args:
            rows: (n, features); NaN is missing.
            names: of the features.
        """
        known = self._columns
        if known is None or known[0] is not names or len(known[1]) != len(self.names):
            self._columns = known = (names, self._places_in(names))
        return self._score_rows(rows, known[1])

    def _score_rows(self, rows: Floats, places: NDArray[np.int64]) -> Floats:
        moments = self.means, self.variances
        found: Floats = _probabilities(rows, places, *moments, self.weights, self.limit)
        return found

    def _places_in(self, names: Iterable[str]) -> NDArray[np.int64]:
        """Where each feature of the model stands among some names, -1 where it does not."""
        given = {name: place for place, name in enumerate(names)}
        return np.array([given.get(name, -1) for name in self.names], dtype=np.int64)

    def _add(self, names: list[str]) -> None:
        old, size = len(self.names), len(self.names) + len(names)
        self.names.update((name, old + i) for i, name in enumerate(names))
        more = np.zeros(len(names))
        self.counts, self.means, self.variances = (
            np.concatenate([kept, more]) for kept in (self.counts, self.means, self.variances)
        )
        self.early = np.concatenate([self.early, np.zeros((len(names), _EARLY_VALUES))])
        # The intercept stays last.
        kept = [*range(old), size]
        for_all = np.full(size + 1, float(self.variance))
        for_all[-1] = _INTERCEPT_VARIANCE
        weights, covariance = np.zeros(size + 1), np.diag(for_all)
        weights[kept] = self.weights
        covariance[np.ix_(kept, kept)] = self.covariance
        self.weights, self.covariance, self.prior = weights, covariance, for_all


class Calibration(Stored):
    """Turns the score of one other model, as it was served, into a probability that holds.

    When to use it: as the champion over a model whose order is good and whose probabilities are not, in a
    model with ``scores = ["other"]``.

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

    Example:
        >>> calibration = Calibration(after=0)
        >>> for number in range(1000):
        ...     calibration.learn_one({"other": 0.9}, number % 10 < 6)
        >>> round(calibration.predict_proba_one({"other": 0.9})[True], 1)
        0.6
    """

    _STATE = ("after", "memory", "learned", "positives", "prior", "weights", "covariance")

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
        if not x:
            return
        (score,) = self._only(x)
        bases = _bases(float(score), self._BENDS, self._WIDEST)
        self.learned += 1
        self.positives += int(y)
        if self.positives > self.after:
            forget = 1.0 - min(max(self._EARLY / self.learned, 1.0 / self.memory), 0.5)
            update(self.weights, self.covariance, self.prior, bases, float(y), self._SHARE, forget)

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        """The calibrated score; empty where there is none to calibrate.

        Raises:
            ValueError: several scores.
        """
        if not x:
            return {}
        (positive,) = self._only(x)
        if self.positives > self.after:
            scores = np.array([float(positive)])
            (positive,) = _calibrated(scores, self.weights, self._BENDS, self._WIDEST).tolist()
        return {False: 1.0 - positive, True: positive}

    def score_rows(self, rows: Floats, names: tuple[str, ...]) -> Floats | None:
        """The calibrated score of each row, NaN where there is none to calibrate.

        Args:
            rows: (n, 1) the scores of the model below; NaN is missing.
            names: of that model; with several, None: `predict_proba_one` refuses them.
        """
        if len(names) != 1:
            return None
        scores = np.ascontiguousarray(rows[:, 0])
        if self.positives > self.after:
            scores = _calibrated(scores, self.weights, self._BENDS, self._WIDEST)
        return scores

    @staticmethod
    def _only(x: Mapping[str, float]) -> Iterable[float]:
        if len(x) > 1:
            msg = f"expected the score of one model, got those of {', '.join(x)}"
            raise ValueError(msg)
        return x.values()


@njit(cache=True)
def _bases(score: float, bends: tuple[float, ...], widest: float) -> Floats:
    """What a calibration learns of a score: 1, its logit, and by how much that is beyond each bend."""
    logit = widest if score > 0.5 else -widest  # noqa: PLR2004 - either end
    if 0.0 < score < 1.0:
        logit = min(max(math.log(score / (1.0 - score)), -widest), widest)
    bases = np.empty(2 + len(bends))
    bases[0] = 1.0
    bases[1] = logit
    for i in range(len(bends)):
        bases[2 + i] = max(logit - bends[i], 0.0)
    return bases


@njit(cache=True)
def _calibrated(scores: Floats, weights: Floats, bends: tuple[float, ...], widest: float) -> Floats:
    """(n) calibrated scores; NaN where a score is NaN."""
    found = np.empty(len(scores))
    for row in range(len(scores)):
        bases = _bases(scores[row], bends, widest)
        total = 0.0
        for i in range(len(weights)):
            total += weights[i] * bases[i]
        found[row] = math.nan if math.isnan(scores[row]) else probability(total)
    return found


class RobustScaler(Stored, base.Transformer):
    """Scales features to mean 0 and deviation 1, within a limit, and recovers from wild values by itself.

    When to use it: in place of River's ``StandardScaler`` before a linear model, where a device may send
    65535 or -9999 for "no reading" and no ``range`` is declared. One such value makes the deviation of a
    ``StandardScaler`` hundreds of times too large for good; here it counts as one at the limit.
    (`BayesianLogistic` scales by itself, in the same way where it has a ``limit``.) A feature that has been
    constant so far is learned as it comes.

    Winsorised moments: each value is held within ``limit`` deviations of the mean (of the median, among the
    first 32; P. J. Huber, "Robust Statistics", 1981) before it moves mean and variance, which forget what
    lies more than about ``memory`` values back.

    Args:
        limit: deviations, for what is learned and for what is returned.
        memory: about how many values back it remembers.

    Raises:
        ValueError: ``limit`` is not positive, or ``memory`` is below 32.

    Example:
        >>> scaler = RobustScaler()
        >>> for number in range(1000):
        ...     scaler.learn_one({"flow": 65535.0 if number == 500 else number % 10})
        >>> scaled = scaler.transform_one({"flow": 9.0})["flow"]
        >>> 1.4 < scaled < 1.6
        True
        >>> scaler.transform_one({"flow": 65535.0, "never seen": 1.0})
        {'flow': 8.0, 'never seen': 0.0}
    """

    _STATE = ("limit", "memory", "names", "counts", "means", "variances", "early")
    _supervised = False

    def __init__(self, limit: float = 8.0, memory: int = 10_000) -> None:
        if not (limit > 0 and memory >= _EARLY_VALUES):
            msg = f"expected limit > 0 and memory >= {_EARLY_VALUES}, got {limit} and {memory}"
            raise ValueError(msg)
        self.limit = float(limit)
        self.memory = memory
        self.names: dict[Hashable, int] = {}
        self.counts, self.means, self.variances = np.zeros((3, 0))
        self.early = np.zeros((0, _EARLY_VALUES))

    def learn_one(self, x: dict[Hashable, Any]) -> None:
        """Take the features of one example into the moments."""
        new = [name for name in x if name not in self.names]
        if new:
            old = len(self.names)
            self.names.update((name, old + place) for place, name in enumerate(new))
            more = np.zeros(len(new))
            self.counts, self.means, self.variances = (
                np.concatenate([kept, more]) for kept in (self.counts, self.means, self.variances)
            )
            self.early = np.concatenate([self.early, np.zeros((len(new), _EARLY_VALUES))])
        values = np.full(len(self.names), np.nan)
        for name, value in x.items():
            values[self.names[name]] = value
        moments = self.counts, self.means, self.variances
        scale_robustly(values, *moments, self.early, np.empty(len(values)), self.limit, self.memory)

    def transform_one(self, x: dict[Hashable, Any]) -> dict[Hashable, Any]:
        """Scaled features; 0 for one that has not varied yet."""
        return {name: self._scaled(name, value) for name, value in x.items()}

    def _scaled(self, name: Hashable, value: float) -> float:
        place = self.names.get(name)
        if place is None or not self.variances[place] > 0.0:
            return 0.0
        return float(_clipped((value - self.means[place]) / math.sqrt(self.variances[place]), self.limit))
