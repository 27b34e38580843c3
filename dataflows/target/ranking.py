"""Counts of negatives and positives by score, in bounded memory: ROC AUC and PR AUC are computed from them.

Up to `LIMIT` distinct scores the counts are exact. Beyond, scores are binned by their log-odds without any
clipping, in steps that double whenever more than `LIMIT` of them are occupied. A bin is a function of the
score alone, so that a count can be taken back.
"""

from __future__ import annotations

import math
from array import array
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

    __slots__ = ("_counts", "_keys", "_level", "_limit", "_rows", "_sums")

    def __init__(self, state: Mapping[str, Any] | None = None, limit: int = LIMIT) -> None:
        self._limit = limit
        #: Bins are 2 ** -level wide; None while the scores themselves are the keys.
        self._level: int | None = None if state is None else state["level"]
        #: By row: the score or the number of the bin; negatives and positives; the sum of scores.
        self._keys: array[Any] = array("d" if self.exact else "q")
        self._counts = array("q")
        self._sums = array("d")
        #: Row of each key.
        self._rows: dict[float, int] = {}
        if state is not None:
            of_keys, of_counts = state["types"]
            keys = np.frombuffer(state["keys"], of_keys)
            counts = np.frombuffer(state["counts"], of_counts).reshape(-1, 2).T.astype(np.int64)
            sums = np.frombuffer(state["sums"]) if state["sums"] else _sums_of(keys, counts)
            self._hold(keys if self.exact else keys.astype(np.int64), counts, sums)

    @property
    def exact(self) -> bool:
        """Whether every distinct score has its own counts."""
        return self._level is None

    def add(self, score: float, label: int, sign: int = 1) -> None:
        """Count a score in [0, 1] under label 0 or 1, or with ``sign`` -1 remove it."""
        key: float = score if self._level is None else _bin(score, self._level)
        row = self._rows.get(key)
        counts = self._counts
        if sign < 0 and (row is None or not counts[2 * row + label]):
            row = self._nearest(key, label)
        if row is None:
            row = self._add_row(key)
        counts[2 * row + label] += sign
        self._sums[row] += sign * score
        if sign < 0 and not counts[2 * row] and not counts[2 * row + 1]:
            self._remove(row)
        elif len(self._keys) > self._limit:
            self._coarsen()

    def _add_row(self, key: float) -> int:
        """Add a row that counts nothing yet, and return it."""
        row = self._rows[key] = len(self._keys)
        self._keys.append(key)
        self._counts.extend((0, 0))
        self._sums.append(0.0)
        return row

    def _nearest(self, key: float, label: int) -> int:
        """The row next to a key that holds nothing, as after an older release that knew bins only."""
        held = ((other, row) for other, row in self._rows.items() if self._counts[2 * row + label])
        return min(held, key=lambda found: (abs(found[0] - key), found[0]))[1]

    def _remove(self, row: int) -> None:
        """Remove a row that counts nothing; the last one takes its place."""
        del self._rows[self._keys[row]]
        last, sums = self._keys.pop(), self._sums.pop()
        positives, negatives = self._counts.pop(), self._counts.pop()
        if row < len(self._keys):
            self._keys[row], self._sums[row], self._rows[last] = last, sums, row
            self._counts[2 * row], self._counts[2 * row + 1] = negatives, positives

    def _coarsen(self) -> None:
        """Double the bins until no more of them are occupied than are held."""
        keys: NDArray[Any] = np.sort(np.array(self._keys))
        counts, sums = self.table()
        if self._level is None:
            self._level = _FINEST
            keys = np.array([_bin(score, _FINEST) for score in keys.tolist()], dtype=np.int64)
            order = np.argsort(keys, kind="stable")  # a logarithm may round next to a bin's end
            keys, counts, sums = keys[order], counts[:, order], sums[order]
        else:
            self._level -= 1
            keys >>= 1
        while True:
            first = np.concatenate([[True], keys[1:] != keys[:-1]])
            if not first.all():
                # In order of scores, so that sums do not depend on the order in which the scores came.
                into = np.cumsum(first) - 1
                keys, sums = keys[first], np.bincount(into, weights=sums).astype(np.float64)
                counts = np.stack([np.bincount(into, weights=each) for each in counts]).astype(np.int64)
            if len(keys) <= self._limit:
                break
            self._level -= 1
            keys >>= 1
        self._hold(keys, counts, sums)

    def _hold(self, keys: NDArray[Any], counts: NDArray[np.int64], sums: NDArray[np.float64]) -> None:
        """Hold these rows: keys, counts (2, rows) and sums."""
        self._keys = array("d" if self.exact else "q", keys.tobytes())
        self._counts = array("q", counts.T.tobytes())
        self._sums = array("d", sums.tobytes())
        self._rows = {key: row for row, key in enumerate(self._keys)}

    def table(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return counts (2, steps) of negatives and positives, and sums of scores (steps), by score."""
        order = np.argsort(np.array(self._keys))
        counts = np.array(self._counts, dtype=np.int64).reshape(-1, 2)
        return counts[order].T, np.array(self._sums)[order]

    def areas(self, counts: NDArray[np.int64] | None = None) -> tuple[float | None, float | None]:
        """Return ROC AUC and average precision; scores of one step are ties. None without both labels.

        Args:
            counts: of `table`, where it is known.
        """
        if counts is None:
            counts, _ = self.table()
        if not counts.size or not counts.sum(axis=1).all():
            return None, None
        negatives, positives = counts[:, ::-1].astype(np.float64)
        true, false = np.cumsum(positives), np.cumsum(negatives)
        roc = (negatives * (true - positives / 2)).sum() / (true[-1] * false[-1])
        precision = (positives * true / (true + false)).sum() / true[-1]
        return float(roc), float(precision)

    def state(self) -> dict[str, Any]:
        """Return plain data.

        With hundreds of models this is of megabytes, and written in every epoch in which a label came. So
        numbers are as narrow as they can be, and sums that follow from scores and counts are left out.
        """
        keys: NDArray[Any] = np.array(self._keys)
        sums, counts = np.array(self._sums), np.array(self._counts, dtype=np.int64)
        narrow = counts.astype(np.min_scalar_type(int(counts.max(initial=0))))
        if not self.exact:
            keys = keys.astype(np.min_scalar_type(-1 - int(np.abs(keys).max(initial=0))))
        implied = self.exact and np.array_equal(sums, _sums_of(keys, counts.reshape(-1, 2).T))
        return {
            "level": self._level,
            "types": [keys.dtype.str, narrow.dtype.str],
            "keys": keys.tobytes(),
            "counts": narrow.tobytes(),
            "sums": b"" if implied else sums.tobytes(),
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
            held = found._rows.get(key)
            row = found._add_row(key) if held is None else held
            found._counts[2 * row] += negatives
            found._counts[2 * row + 1] += positives
            found._sums[row] += total
        return found


def _sums_of(keys: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the sum of scores of each row, if all of its scores are the key."""
    return np.asarray(keys * counts.sum(axis=0))


def _bin(score: float, level: int) -> int:
    if score <= 0.0:
        odds = -_CERTAIN
    elif score >= 1.0:
        odds = _CERTAIN
    else:
        odds = math.log(score) - math.log1p(-score)
    # One rounding only, so that bins of one level are halves of those of the next.
    return math.floor(odds * 2.0**_FINEST) >> (_FINEST - level)
