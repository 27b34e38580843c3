"""Counts of negatives and positives by score, in bounded memory: ROC AUC and PR AUC are computed from them.

Up to `LIMIT` distinct scores the counts are exact. Beyond, scores are binned by their log-odds without any
clipping, in steps that double whenever more than `LIMIT` of them are occupied. A bin is a function of the
score alone, so that a count can be taken back.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["LIMIT", "Ranking"]

#: Distinct scores, or bins, that are held.
LIMIT = 4_096
#: The finest bins are 2 ** -40 wide on the scale of log-odds.
_FINEST = 40
#: Beyond the log-odds of the smallest positive float.
_CERTAIN = 746.0


class Ranking:
    """Negatives and positives by score.

    Args:
        state: what `state` returned, None for an empty one.
        limit: distinct scores, or bins, that are held.
    """

    __slots__ = ("_counts", "_level", "_limit")

    def __init__(self, state: Mapping[str, Any] | None = None, limit: int = LIMIT) -> None:
        self._limit = limit
        #: Bins are 2 ** -level wide; None while the scores themselves are the keys.
        self._level: int | None = None
        #: Negatives, positives and the sum of scores, by score or by number of the bin.
        self._counts: dict[float, list[Any]] = {}
        if state is not None:
            self._level = state["level"]
            keys = np.frombuffer(state["keys"], dtype=np.float64 if self.exact else np.int64).tolist()
            counts = np.frombuffer(state["counts"], dtype=np.int64).reshape(-1, 2).tolist()
            sums = np.frombuffer(state["sums"]).tolist()
            self._counts = {
                key: [*count, total] for key, count, total in zip(keys, counts, sums, strict=True)
            }

    @property
    def exact(self) -> bool:
        """Whether every distinct score has its own counts."""
        return self._level is None

    def add(self, score: float, label: int, sign: int = 1) -> None:
        """Count a score in [0, 1] under label 0 or 1, or with ``sign`` -1 remove it."""
        key: float = score if self._level is None else _bin(score, self._level)
        counts = self._counts.get(key)
        if sign < 0 and (counts is None or not counts[label]):
            key = self._nearest(key, label)
            counts = self._counts[key]
        if counts is None:
            counts = self._counts[key] = [0, 0, 0.0]
        counts[label] += sign
        counts[2] += sign * score
        if not counts[0] and not counts[1]:
            del self._counts[key]
        elif len(self._counts) > self._limit:
            self._coarsen()

    def _nearest(self, key: float, label: int) -> float:
        """The key next to one that holds nothing, as after an older release that knew bins only."""
        held = (other for other, counts in self._counts.items() if counts[label])
        return min(held, key=lambda other: (abs(other - key), other))

    def _coarsen(self) -> None:
        if self._level is None:
            self._level = _FINEST
            self._merge({score: _bin(score, _FINEST) for score in self._counts})
        while len(self._counts) > self._limit:
            self._level -= 1
            self._merge({key: int(key) >> 1 for key in self._counts})

    def _merge(self, into: Mapping[float, int]) -> None:
        merged: dict[float, list[Any]] = {}
        # In order of scores, so that sums do not depend on the order in which the scores came.
        for key in sorted(self._counts):
            mine, held = self._counts[key], merged.setdefault(into[key], [0, 0, 0.0])
            for index in range(3):
                held[index] += mine[index]
        self._counts = merged

    def table(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return counts (2, steps) of negatives and positives, and sums of scores (steps), by score."""
        keys = sorted(self._counts)
        counts = np.array([self._counts[key][:2] for key in keys], dtype=np.int64).reshape(-1, 2).T
        return counts, np.array([self._counts[key][2] for key in keys], dtype=np.float64)

    def areas(self) -> tuple[float | None, float | None]:
        """Return ROC AUC and average precision; scores of one step are ties. None without both labels."""
        counts, _ = self.table()
        if not counts.size or not counts.sum(axis=1).all():
            return None, None
        negatives, positives = counts[:, ::-1].astype(np.float64)
        true, false = np.cumsum(positives), np.cumsum(negatives)
        roc = (negatives * (true - positives / 2)).sum() / (true[-1] * false[-1])
        precision = (positives * true / (true + false)).sum() / true[-1]
        return float(roc), float(precision)

    def state(self) -> dict[str, Any]:
        """Return plain data."""
        keys = sorted(self._counts)
        counts, sums = self.table()
        return {
            "level": self._level,
            "keys": np.array(keys, dtype=np.float64 if self.exact else np.int64).tobytes(),
            "counts": counts.T.tobytes(),
            "sums": sums.tobytes(),
        }

    @classmethod
    def of_histogram(cls, histogram: list[tuple[int, int, int]], scores: list[tuple[int, float]]) -> Ranking:
        """Build it from counts of an older release: (label, bin, count), and the sum of scores by bin."""
        found = cls()
        counts: dict[int, list[int]] = {}
        for label, index, count in histogram:
            counts.setdefault(index, [0, 0])[label] = count
        sums = dict(scores)
        for index, (negatives, positives) in sorted(counts.items()):
            total = sums.get(index, 0.0)
            key = total / (negatives + positives)
            held = found._counts.setdefault(key, [0, 0, 0.0])
            for place, value in enumerate((negatives, positives, total)):
                held[place] += value
        return found


def _bin(score: float, level: int) -> int:
    if score <= 0.0:
        odds = -_CERTAIN
    elif score >= 1.0:
        odds = _CERTAIN
    else:
        odds = math.log(score) - math.log1p(-score)
    # One rounding only, so that bins of one level are halves of those of the next.
    return math.floor(odds * 2.0**_FINEST) >> (_FINEST - level)
