"""Whether to believe scores: what came of them, with intervals that know that examples overlap.

Examples of one asset within one horizon share their label. They count as one block; a share of failures rests
on as many observations as there are blocks, not examples. Its interval is Jeffreys' (L. D. Brown, T. T. Cai
and A. DasGupta, "Interval estimation for a binomial proportion", Statistical Science 16, 2001), in which no
failure at all still leaves room for some.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import betaincinv

from dataflows.scoring import log_losses

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Bin", "Gain", "bin_of", "blocks_of", "gain_over_constant", "reliability"]

#: Borders of the scores that are counted together: finer where failures are rare.
_EDGES = (0.0, 0.01, 0.03, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
_RESAMPLES = 400


class Bin(NamedTuple):
    """Examples with similar scores, and what came of them.

    Attributes:
        low: least score of the bin.
        high: its upper border, not in it.
        examples: how many.
        positives: how many of them failed within the horizon.
        blocks: assets times horizons that they come from.
        score: their mean score.
        share: share of failures, each block counting once.
        least: lower end of the 95 % interval of the share.
        most: its upper end.
        verdict: whether scores are ``too high`` or ``too low`` beyond chance, with all bins looked at; empty
            where they are not.
    """

    low: float
    high: float
    examples: int
    positives: int
    blocks: int
    score: float
    share: float
    least: float
    most: float
    verdict: str


class Gain(NamedTuple):
    """How much better the scores are than a constant guess, by log loss.

    Attributes:
        loss: mean log loss of the scores, nats.
        constant: of the share of failures, known in hindsight, as the score of every example.
        share: by which share of ``constant`` the loss is less.
        least: lower end of the 95 % interval of the share, under resampling of assets.
        most: its upper end.
    """

    loss: float
    constant: float
    share: float
    least: float
    most: float


def blocks_of(assets: NDArray[np.str_], times: NDArray[np.int64], horizon: int) -> NDArray[np.int64]:
    """Return the number of the block of each example: one asset in one horizon.

    >>> blocks_of(np.array(["a", "a", "b", "a"]), np.array([0, 5, 5, 12]), 10).tolist()
    [0, 0, 2, 1]
    """
    _, codes = np.unique(assets, return_inverse=True)
    periods = times // horizon
    both = codes.astype(np.int64) * (int(periods.max() - periods.min()) + 1) + (periods - periods.min())
    _, found = np.unique(both, return_inverse=True)
    return found.astype(np.int64)


def reliability(
    labels: NDArray[np.int64], scores: NDArray[np.float64], blocks: NDArray[np.int64]
) -> list[Bin]:
    """Return what came of scores, in bins; bins without examples are left out.

    Args:
        labels: 1 or 0 (n).
        scores: between 0 and 1 (n).
        blocks: of each example (n).

    >>> labels, scores, blocks = np.array([0, 0, 0, 1]), np.array([0.4, 0.4, 0.4, 0.4]), np.arange(4)
    >>> [found] = reliability(labels, scores, blocks)
    >>> found.share, round(found.least, 2), round(found.most, 2)
    (0.25, 0.03, 0.72)
    """
    places = np.digitize(scores, _EDGES[1:])
    found = []
    filled = np.unique(places).tolist()
    for place in filled:
        low, rows = _EDGES[place], places == place
        _, inverse, sizes = np.unique(blocks[rows], return_inverse=True, return_counts=True)
        failed = float((np.bincount(inverse, weights=labels[rows]) / sizes).sum())
        count = len(sizes)
        least, most = _interval(failed, count, 0.05)
        # Of many bins one is off by chance: a verdict takes all of them into account.
        lowest, highest = _interval(failed, count, 0.05 / len(filled))
        score = float(scores[rows].mean())
        high = 1.0 if place + 1 == len(_EDGES) else _EDGES[place + 1]
        found.append(
            Bin(
                low,
                high,
                int(rows.sum()),
                int(labels[rows].sum()),
                count,
                score,
                failed / count,
                least,
                most,
                "too high" if score > highest else "too low" if score < lowest else "",
            )
        )
    return found


def _interval(failed: float, count: int, error: float) -> tuple[float, float]:
    """Jeffreys' interval of a share; at its ends it reaches none and all."""
    tails = [error / 2, 1 - error / 2]
    least, most = betaincinv(failed + 0.5, count - failed + 0.5, tails).tolist()
    return 0.0 if failed == 0 else least, 1.0 if failed == count else most


def bin_of(bins: list[Bin], score: float) -> Bin | None:
    """Return the bin of a score; None where no example had such a score."""
    return next(
        (found for found in bins if found.low <= score < found.high or score == found.high == 1), None
    )


def gain_over_constant(
    labels: NDArray[np.int64], scores: NDArray[np.float64], assets: NDArray[np.str_], seed: int = 0
) -> Gain | None:
    """Return how much better scores are than the best constant guess; None if all have one label.

    The constant is the share of failures among the same examples, which nobody knew beforehand: a guess that
    is hard to beat. The interval comes from resampling whole assets.
    """
    if len(np.unique(labels)) < 2:  # noqa: PLR2004 - a guess without error
        return None
    losses = log_losses(labels, scores)
    constant = log_losses(labels, np.full(len(labels), labels.mean()))
    _, codes = np.unique(assets, return_inverse=True)
    sums = np.bincount(codes, weights=losses), np.bincount(codes, weights=constant)
    draws = np.random.default_rng(seed).multinomial(
        len(sums[0]), [1 / len(sums[0])] * len(sums[0]), size=_RESAMPLES
    )
    least, most = np.quantile(1 - draws @ sums[0] / (draws @ sums[1]), [0.025, 0.975]).tolist()
    loss, guess = float(losses.mean()), float(constant.mean())
    return Gain(loss, guess, 1 - loss / guess, least, most)
