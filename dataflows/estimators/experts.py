"""One probability from the scores of several models: online mixtures of experts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from numba import njit

from dataflows.estimators.online import probability, update
from dataflows.estimators.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Mixture"]

#: Scores are clipped to this in the weights of experts, so that no single error ends an expert for good.
_SURE = 1e-9
#: Logits of experts are clipped to this: 0.0025 and 0.9975.
_FURTHEST = 6.0
#: Bins of a score by its logit, from -10 to 10.
_BINS = 40


class Mixture(Stored):
    """One probability from the scores of several models, its experts, as they were served; River's protocol.

    When to use it: as the champion over all models of a target, in a model with ``scores = ["a", "b", ...]``,
    or, over all of them, by ``champion = "mixture"``. An expert without a score sleeps: the others answer.

    ``method = "stack"``, the default, combines logits: their mean over the experts awake (the logarithmic
    pool, C. Genest and J. V. Zidek, "Combining probability distributions", Statistical Science 1, 1986), plus
    what each expert's distance from that mean is worth, plus a slope and an offset that calibrate the whole.
    The weights have a normal posterior that starts at the plain mean, and are learned by the recursion of
    `dataflows.estimators.online` (stacking: D. H. Wolpert, "Stacked generalization", Neural Networks 5,
    1992). It may be better than every expert, and no bound holds for it.

    ``method = "aggregate"`` is the aggregating algorithm for the log loss, which is the Bayes mixture: a
    weighted mean of the scores, each weight multiplied by the probability that its expert gave to what came.
    Where all experts are awake and labels come at once, its total log loss is at most ln K above that of the
    best of K experts, on any sequence (V. Vovk, "Aggregating strategies", COLT 1990). Of experts that sleep,
    the same holds over the examples at which the best one was awake, since the total weight of those awake is
    kept (Y. Freund and others, "Using and combining predictors that specialize", STOC 1997). ``share`` moves
    this part of the weight to all experts evenly after each example, so that another expert can become the
    best (fixed share; M. Herbster and M. K. Warmuth, Machine Learning 32, 1998).

    Args:
        method: ``stack`` or ``aggregate``.
        share: for ``aggregate``; from 0 to below 1.
        variance: for ``stack``, the prior variance of the weight of an expert.
        memory: for ``stack``, about how many examples back it remembers.
        calibeat: above 0, the score is replaced by the running share of positives among the examples that had
            a score close to it (bins of half a logit), in which the score itself counts as so many examples;
            so it is calibrated in each bin on any sequence (C. Gupta and A. Ramdas, "Online Platt scaling
            with calibeating", ICML 2023). 0 leaves the score as it is.

    Raises:
        ValueError: a parameter is out of its range.

    Example:
        >>> mixture = Mixture(method="aggregate")
        >>> for number in range(100):
        ...     mixture.learn_one({"good": 0.9, "poor": 0.5}, number % 10 > 0)
        >>> round(mixture.predict_proba_one({"good": 0.9, "poor": 0.5})[True], 2)
        0.9
        >>> mixture.predict_proba_one({"poor": 0.25})[True]
        0.25
    """

    mixes = True
    _STATE = (
        "method",
        "share",
        "variance",
        "memory",
        "calibeat",
        "names",
        "learned",
        "prior",
        "weights",
        "covariance",
        "bins",
    )

    #: Prior variances of the offset and of the slope.
    _COMMON = (0.05, 0.05)
    #: As in `Calibration`.
    _PART = 0.3
    _EARLY = 4.0

    def __init__(
        self,
        method: Literal["stack", "aggregate"] = "stack",
        share: float = 0.0,
        variance: float = 0.03,
        memory: int = 20_000,
        calibeat: float = 0.0,
    ) -> None:
        if method not in {"stack", "aggregate"}:
            msg = f'expected method "stack" or "aggregate", got {method!r}'
            raise ValueError(msg)
        if not (0.0 <= share < 1.0 and variance > 0.0 and memory >= 2 and calibeat >= 0.0):  # noqa: PLR2004 - as above
            expected = "expected 0 <= share < 1, variance > 0, memory >= 2 and calibeat >= 0"
            msg = f"{expected}, got {share}, {variance}, {memory} and {calibeat}"
            raise ValueError(msg)
        self.method = method
        self.share = float(share)
        self.variance = float(variance)
        self.memory = memory
        self.calibeat = float(calibeat)
        #: Examples and positives by bin of the score.
        self.bins = np.zeros((2, _BINS if calibeat else 0))
        self.names: dict[str, int] = {}
        self.learned = 0
        #: Of a stack: offset, slope, and one weight an expert; of an aggregate: logs of the weights.
        start = [0.0, 1.0] if method == "stack" else []
        self.weights = np.array(start)
        self.prior = np.array(self._COMMON if start else ())
        self.covariance = np.diag(self.prior)

    def learn_one(self, x: Mapping[str, float], y: bool) -> None:  # noqa: FBT001 - River's signature
        """Learn what came of the scores of the experts; an example without any is passed over."""
        if not x:
            return
        if self.calibeat:
            place = _bin(self._mixed(x))
            self.bins[0, place] += 1.0
            self.bins[1, place] += float(y)
        self._meet(x)
        self.learned += 1
        if self.method == "aggregate":
            self._weigh(x, y)
            return
        forget = 1.0 - min(max(self._EARLY / self.learned, 1.0 / self.memory), 0.5)
        update(self.weights, self.covariance, self.prior, self._bases(x), float(y), self._PART, forget)

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        """The score of the mixture; empty where no expert has one."""
        if not x:
            return {}
        positive = self._mixed(x)
        if self.calibeat:
            examples, positives = self.bins[:, _bin(positive)].tolist()
            positive = (positives + self.calibeat * positive) / (examples + self.calibeat)
        return {False: 1.0 - positive, True: positive}

    def _mixed(self, x: Mapping[str, float]) -> float:
        if self.method == "stack":
            return float(probability(_dot(self.weights, self._bases(x))))
        weights = self.shares(x)
        return math.fsum(weights[name] * _inside(x[name]) for name in x)

    def shares(self, awake: Iterable[str]) -> dict[str, float]:
        """The part that each expert awake has in the score; they add up to 1.

        An aggregate's are its weights. A stack's are those of the logits, before slope and offset, and may be
        negative. An expert that it has not met has the part of a new one.
        """
        names = [*awake]
        if self.method == "stack":
            own = [self._weight(name) for name in names]
            mean = math.fsum(own) / len(names)
            slope = float(self.weights[1])
            return {name: 1.0 / len(names) + (own[i] - mean) / slope for i, name in enumerate(names)}
        logs = [self._weight(name) for name in names]
        most = max(logs)
        parts = [math.exp(log - most) for log in logs]
        total = math.fsum(parts)
        return {name: part / total for name, part in zip(names, parts, strict=True)}

    def answering(self, x: Mapping[str, float]) -> str:
        """Name of the expert with the largest part in the score; the first of equal ones."""
        shares = self.shares(x)
        return max(shares, key=shares.__getitem__)

    def _weight(self, name: str) -> float:
        place = self.names.get(name)
        return 0.0 if place is None else float(self.weights[place])

    def _meet(self, x: Mapping[str, float]) -> None:
        """Give experts that are new their weights."""
        new = [name for name in x if name not in self.names]
        if not new:
            return
        old, size = len(self.weights), len(self.weights) + len(new)
        self.names.update((name, old + place) for place, name in enumerate(new))
        self.weights = np.concatenate([self.weights, np.zeros(len(new))])
        if self.method == "stack":
            self.prior = np.concatenate([self.prior, np.full(len(new), self.variance)])
            covariance = np.diag(self.prior)
            covariance[:old, :old] = self.covariance
            self.covariance = covariance
        elif old:
            # A new expert begins with the mean weight of those that are known.
            most = float(self.weights[:old].max())
            mean = math.fsum(math.exp(log - most) for log in self.weights[:old].tolist()) / old
            self.weights[old:size] = most + math.log(mean)

    def _weigh(self, x: Mapping[str, float], y: bool) -> None:  # noqa: FBT001 - as above
        """Multiply each weight by what its expert gave to the label; keep the total of those awake."""
        shares = self.shares(x)
        came = {name: (p if y else 1.0 - p) for name in x for p in [_inside(x[name])]}
        whole = math.fsum(shares[name] * came[name] for name in x)
        logs = [self._weight(name) for name in x]
        most = max(logs)
        total = most + math.log(math.fsum(math.exp(log - most) for log in logs))
        for name in x:
            part = shares[name] * came[name] / whole
            part = (1.0 - self.share) * part + self.share / len(x)
            self.weights[self.names[name]] = total + math.log(max(part, 1e-300))

    def _bases(self, x: Mapping[str, float]) -> Floats:
        logits = {name: _held_logit(score) for name, score in x.items()}
        mean = math.fsum(logits.values()) / len(logits)
        bases = np.zeros(len(self.weights))
        bases[0], bases[1] = 1.0, mean
        for name, logit in logits.items():
            place = self.names.get(name)
            if place is not None:
                bases[place] = logit - mean
        return bases


@njit(cache=True)
def _dot(weights: Floats, bases: Floats) -> float:
    total = 0.0
    for i in range(len(weights)):
        total += weights[i] * bases[i]
    return total


def _inside(score: float) -> float:
    return min(max(score, _SURE), 1.0 - _SURE)


def _bin(score: float) -> int:
    held = _inside(score)
    return min(max(int(2.0 * math.log(held / (1.0 - held)) + _BINS / 2), 0), _BINS - 1)


def _held_logit(score: float) -> float:
    if not 0.0 < score < 1.0:
        return _FURTHEST if score > 0.5 else -_FURTHEST  # noqa: PLR2004 - either end
    return min(max(math.log(score / (1.0 - score)), -_FURTHEST), _FURTHEST)
