"""Scores against labels: the running prior and the losses of a probability.

The log loss and the Brier score are strictly proper: in expectation the true probability, and no other, has
the smallest loss (T. Gneiting and A. E. Raftery, "Strictly proper scoring rules, prediction, and estimation",
Journal of the American Statistical Association 102(477), 2007).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CLIP", "brier_score", "log_loss", "log_losses", "running_prior"]

#: Scores are clipped to [CLIP, 1 - CLIP] for the log loss: one sure error costs 9.2, not infinity.
CLIP = 1e-4


def running_prior(positives: int, learned: int, assumed: float | None = None) -> float:
    """The share of positives among the examples learned so far, which is never 0 or 1.

    Args:
        positives: learned so far.
        learned: examples learned so far.
        assumed: share of positives that is expected before any example; it counts as one positive among as
            many examples as that takes. None: a half, which counts as one example.

    >>> running_prior(0, 0, 0.01), running_prior(1, 100, 0.01), running_prior(0, 900, 0.01)
    (0.01, 0.01, 0.001)
    >>> running_prior(0, 0), running_prior(1, 3), running_prior(0, 99)
    (0.5, 0.375, 0.005)
    """
    if assumed is not None:
        return (positives + 1) / (learned + 1 / assumed)
    return (positives + 0.5) / (learned + 1)


def log_loss(score: float, label: int) -> float:
    """Log loss of one score, a probability, under a label of 1 or 0.

    >>> round(log_loss(0.8, 1), 4), round(log_loss(0.8, 0), 4), round(log_loss(1.0, 0), 4)
    (0.2231, 1.6094, 9.2103)
    """
    clipped = min(max(score, CLIP), 1 - CLIP)
    return -math.log(clipped if label else 1 - clipped)


def log_losses(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """`log_loss` of each example: labels (n) of 1 and 0, scores (n).

    >>> log_losses(np.array([1, 0, 0]), np.array([0.8, 0.8, 1.0])).round(4).tolist()
    [0.2231, 1.6094, 9.2103]
    """
    clipped = np.clip(scores, CLIP, 1 - CLIP)
    return np.asarray(-np.log(np.where(labels == 1, clipped, 1 - clipped)))


def brier_score(score: float, label: int) -> float:
    """Squared error of one score, a probability, under a label of 1 or 0.

    >>> round(brier_score(0.8, 1), 4), round(brier_score(0.8, 0), 4)
    (0.04, 0.64)
    """
    return (score - label) ** 2
