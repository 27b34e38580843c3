"""Evidence that one model is better than another, valid however often it is looked at.

The input is a sequence of *blocks*. A block has a ``difference``, the mean of loss(champion) -
loss(challenger) over its examples, and a ``worst``, the smallest difference that its labels could have given,
which follows from the scores alone. The null hypothesis is that the challenger is no better on average: the
mean of the expected differences of all blocks so far, given the scores that were served, is at most 0.

`Wealth` is the test. It bets on the challenger with fixed stakes; each stake ``s`` multiplies its wealth by
``1 + s * difference`` at each block, and the evidence is the mean wealth of all stakes. Since

    E[1 + s * difference] <= exp(s * E[difference]),

the wealth of a fixed stake is at most a supermartingale times ``exp(s * sum of expected differences)``, hence
at most a supermartingale while the null holds: an e-process of the *average*, which needs no better bound in
single blocks. By Ville's inequality it exceeds 1 / alpha with a probability of at most alpha, at any time.

A stake above 1 / -worst could lose more than it has. There the factor is the tangent of the same exponential
that is 0 at the worst difference, ``exp(s m) * (1 + s * (difference - m))`` with ``m = min(0, worst + 1/s)``;
its expectation is also at most ``exp(s * E[difference])``. So a large stake pays for blocks with much at
risk, and need not be given up for good.

`MeanInterval` is the confidence sequence of the mean difference: the empirical-Bernstein e-process with the
gamma-exponential mixture, as a mixture over scales.

Sources: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS-B 86,
2024; Choe and Ramdas, "Comparing sequential forecasters", Operations Research, doi 10.1287/opre.2021.0792;
Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences",
Annals of Statistics 49, 2021. That fixed stakes make an e-process of the average, and the tangent, are ours;
the proof is above.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "RANGES",
    "STAKES",
    "Loss",
    "MeanInterval",
    "Wealth",
    "best_rho",
    "log_empirical_bernstein",
    "log_wealth",
    "loss_difference",
    "losses",
]

Loss = Literal["brier", "log"]
#: Largest difference of two losses.
RANGES: dict[Loss, float] = {"brier": 1.0, "log": math.log(999.0)}
#: Scores are clipped so far from 0 and 1 for the log loss, so that it is bounded.
_CLIP = 1e-3
#: A calibrated challenger grows fastest at about 1 / (4 p (1 - p)) for the Brier loss, p the share of
#: positives, whatever the size of the difference: from 1 (p = 0.5) to 100 (p = 0.0025).
STAKES: Floats = 2.0 ** np.arange(-2.0, 8.0)


def losses(score: float, loss: Loss) -> tuple[float, float]:
    """Return the loss of a score under label 0, and under label 1.

    Args:
        score: probability of label 1.
        loss: ``brier``, or ``log`` of the score clipped to [0.001, 0.999].

    >>> losses(0.2, "brier")
    (0.04000000000000001, 0.6400000000000001)
    """
    if loss == "brier":
        return score**2, (1.0 - score) ** 2
    clipped = min(max(score, _CLIP), 1.0 - _CLIP)
    return -math.log(1.0 - clipped), -math.log(clipped)


def loss_difference(
    champion: Floats | float, challenger: Floats | float, label: Floats | int, loss: Loss
) -> tuple[Floats, Floats]:
    """Return loss(champion) - loss(challenger), and the worst it could be over both labels.

    Args:
        champion: scores.
        challenger: scores of the same examples.
        label: 1 or 0.
        loss: ``brier``, or ``log`` of scores clipped to [0.001, 0.999].

    >>> difference, worst = loss_difference(0.5, 0.2, 0, "brier")
    >>> round(float(difference), 2), round(float(worst), 2)
    (0.21, -0.39)
    """
    p, q = np.asarray(champion, dtype=float), np.asarray(challenger, dtype=float)
    if loss == "brier":
        positive, negative = (1.0 - p) ** 2 - (1.0 - q) ** 2, p**2 - q**2
    else:
        p, q = np.clip(p, _CLIP, 1.0 - _CLIP), np.clip(q, _CLIP, 1.0 - _CLIP)
        positive, negative = np.log(q / p), np.log((1.0 - q) / (1.0 - p))
    return np.where(np.asarray(label) > 0, positive, negative), np.minimum(positive, negative)


def _log_factors(difference: Floats, worst: Floats, stakes: Floats) -> Floats:
    """Log of what each stake's wealth is multiplied by, in a last axis of stakes."""
    shift = np.minimum(0.0, 1.0 + stakes * worst[..., None])
    with np.errstate(divide="ignore"):
        factors: Floats = shift + np.log1p(np.maximum(stakes * difference[..., None] - shift, -1.0))
    return factors


def _log_mean(logs: Floats) -> Floats:
    """Log of the mean over the last axis."""
    top = logs.max(axis=-1)
    finite = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        mean: Floats = (
            np.log(np.exp(logs - finite[..., None]).sum(axis=-1)) + finite - math.log(logs.shape[-1])
        )
    return mean


def log_wealth(difference: Floats, worst: Floats, stakes: Floats = STAKES) -> Floats:
    """Log e-values after each block of many streams at once; `Wealth` gives the same, block by block.

    Args:
        difference: mean difference of each block, blocks in the last axis.
        worst: smallest difference that was possible, of each block.
        stakes: to bet with.

    >>> log_wealth(np.array([0.1, 0.1, -0.1]), np.full(3, -0.2), np.array([2.0])).round(3).tolist()
    [0.182, 0.365, 0.141]
    """
    factors = _log_factors(np.asarray(difference, dtype=float), np.asarray(worst, dtype=float), stakes)
    return _log_mean(np.cumsum(factors, axis=-2))


class Wealth:
    """An e-process of "the challenger is no better on average", block by block.

    Args:
        state: what `state` returned, None for a new one.

    Attributes:
        log_e: log of the e-value now.
        peak: log of the largest e-value so far.
        blocks: number of blocks.

    >>> wealth = Wealth()
    >>> for _ in range(40):
    ...     wealth.add(difference=0.05, worst=-0.1)
    >>> wealth.blocks, round(wealth.peak, 2)
    (40, 11.24)
    """

    def __init__(self, state: Sequence[object] | None = None) -> None:
        self._logs = np.zeros(len(STAKES))
        self.blocks = 0
        self.log_e = self.peak = 0.0
        if state is not None:
            logs, self.blocks, self.log_e, self.peak = state  # type: ignore[assignment]
            self._logs = np.array(logs, dtype=float)

    def add(self, difference: float, worst: float) -> None:
        """Add a block.

        Args:
            difference: mean of loss(champion) - loss(challenger).
            worst: the smallest that this could have been, given the scores.
        """
        self._logs = self._logs + _log_factors(np.array(difference), np.array(worst), STAKES)
        self.blocks += 1
        self.log_e = float(_log_mean(self._logs))
        self.peak = max(self.peak, self.log_e)

    def state(self) -> tuple[list[float], int, float, float]:
        """Plain data."""
        return self._logs.tolist(), self.blocks, self.log_e, self.peak


def best_rho(v_opt: float, alpha: float) -> float:
    """The parameter of the mixture that makes its bound tightest at the variance ``v_opt``.

    Proposition 3 of Howard et al. (2021), for a one-sided level ``alpha``.

    >>> round(best_rho(10.0, 0.05), 4)
    1.5801
    """
    twice = 2.0 * math.log(1.0 / (2.0 * alpha))
    return v_opt / (twice + math.log(1.0 + twice))


def log_empirical_bernstein(sums: Floats, variances: Floats, scale: float, rho: float) -> Floats:
    """Log of the empirical-Bernstein e-process with the gamma-exponential mixture.

    Args:
        sums: of the differences so far.
        variances: sum of (difference - prediction)^2, where prediction - difference is at most ``scale``.
        scale: see above.
        rho: see `best_rho`.

    >>> float(log_empirical_bernstein(np.array(20.0), np.array(10.0), 1.0, 1.5801).round(4))
    7.8431
    """
    from scipy.special import gammainc, gammaln  # noqa: PLC0415 - half a second, which only intervals need

    square = scale * scale
    r, v = rho / square, (variances + rho) / square
    exponent = (scale * sums + variances) / square
    x = exponent + r
    lead = r * math.log(r) - gammaln(r) - math.log(gammainc(r, r))
    positive = np.maximum(x, 1e-12)
    with np.errstate(divide="ignore"):
        mixed = lead + gammaln(v) + np.log(gammainc(v, positive)) - v * np.log(positive) + exponent
    result: Floats = np.where(x > 0.0, mixed, lead - r - np.log(v))
    return result


#: Scales of the confidence sequence, as shares of the range, and how far below its scale a worst must stay.
_SCALES: Floats = 2.0 ** -np.arange(8.0)
_MARGIN = 1.25
_V_OPT = 10.0


class _LowerBound:
    """A lower confidence sequence of a mean, from blocks with a known worst.

    A scale counts as long as no block could differ from its prediction by more; the widest one always does.
    """

    def __init__(self, span: float, state: Sequence[object] | None = None) -> None:
        self._scales = _SCALES * span * _MARGIN
        self._sum = 0.0
        self._count = 0
        self._largest = 0.0
        self._variances = np.zeros(len(self._scales))
        if state is not None:
            self._sum, self._count, self._largest, variances = state  # type: ignore[assignment]
            self._variances = np.array(variances, dtype=float)

    def add(self, difference: float, worst: float) -> None:
        mean = self._sum / self._count if self._count else 0.0
        predicted = np.minimum(mean, self._scales - self._scales / _MARGIN)
        self._variances = self._variances + (difference - predicted) ** 2
        self._sum += difference
        self._count += 1
        self._largest = max(self._largest, -worst)

    def bound(self, alpha: float) -> float:
        """The mean is at least this, with a probability of 1 - alpha for all times together."""
        if not self._count:
            return -math.inf
        alive = np.flatnonzero(self._largest <= self._scales / _MARGIN * (1.0 + 1e-12))
        target = math.log(len(self._scales) / alpha)
        widest = float(self._scales[0])
        low, high = 0.0, widest * (self._count + target)
        for _ in range(60):
            middle = (low + high) / 2.0
            logs = [self._log_e(middle, int(index), alpha) for index in alive]
            if np.logaddexp.reduce(logs) < target:
                low = middle
            else:
                high = middle
        return float((self._sum - high) / self._count)

    def _log_e(self, excess: float, index: int, alpha: float) -> float:
        scale = float(self._scales[index])
        rho = best_rho(_V_OPT * scale * scale, min(alpha, 0.4))
        return float(log_empirical_bernstein(np.array(excess), self._variances[index], scale, rho))

    def state(self) -> tuple[float, int, float, list[float]]:
        return self._sum, self._count, self._largest, self._variances.tolist()


class MeanInterval:
    """A confidence sequence of the mean difference: it holds for all times together.

    Args:
        span: the largest difference possible, see `RANGES`.
        state: what `state` returned, None for a new one.

    >>> interval = MeanInterval(1.0)
    >>> for block in range(400):
    ...     interval.add(0.01 if block % 2 else 0.03, worst=-0.05, best=0.05)
    >>> [round(bound, 4) for bound in interval.bounds(0.05)]
    [0.0171, 0.0228]
    """

    def __init__(self, span: float, state: Sequence[Sequence[object]] | None = None) -> None:
        below, above = (None, None) if state is None else state
        self._below, self._above = _LowerBound(span, below), _LowerBound(span, above)

    def add(self, difference: float, worst: float, best: float) -> None:
        """Add a block; ``worst`` and ``best`` are the smallest and largest difference that was possible."""
        self._below.add(difference, worst)
        self._above.add(-difference, -best)

    def bounds(self, alpha: float) -> tuple[float, float]:
        """The interval; it errs at any time with a probability of at most ``alpha``."""
        return self._below.bound(alpha / 2.0), -self._above.bound(alpha / 2.0)

    def state(self) -> tuple[tuple[float, int, float, list[float]], tuple[float, int, float, list[float]]]:
        """Plain data."""
        return self._below.state(), self._above.state()
