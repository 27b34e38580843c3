"""A model for these tests: as large as asked for, and quick."""

from __future__ import annotations

import math
import time
import zlib

import numpy as np


class Table:
    """Logistic regression on one cell of a large table, which the features choose.

    Args:
        cells: float64 numbers in the table: 524,288 make a pickle of 4 MB.
    """

    def __init__(self, cells: int = 524_288) -> None:
        self._weights = np.random.default_rng(7).normal(0.0, 0.1, cells)
        self._bias = 0.0

    def _cell(self, x: dict[str, float]) -> int:
        text = ",".join(f"{name}={value:.0f}" for name, value in sorted(x.items()))
        return zlib.crc32(text.encode()) % self._weights.size

    def _score(self, x: dict[str, float]) -> float:
        return 1.0 / (1.0 + math.exp(-self._bias - float(self._weights[self._cell(x)])))

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
        score = self._score(x)
        return {False: 1.0 - score, True: score}

    def learn_one(self, x: dict[str, float], y: bool) -> None:
        step = 0.1 * (float(y) - self._score(x))
        self._weights[self._cell(x)] += step
        self._bias += 0.1 * step


class Echo:
    """Its score is the one reading that it sees."""

    pretrained = True

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
        score = next(iter(x.values()), 0.0)
        return {False: 1.0 - score, True: score}

    def learn_one(self, x: dict[str, float], y: bool) -> None:
        """Nothing to learn."""


class Slow(Echo):
    """Takes 20 ms for a score."""

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
        time.sleep(0.02)
        return super().predict_proba_one({name: value / 100 for name, value in x.items()})
