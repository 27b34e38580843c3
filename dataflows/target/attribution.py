"""Attribution of a score to features: the change of the score when one feature has its usual value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import override

from dataflows.target.moments import RunningMeans
from dataflows.target.monitors import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dataflows.items import Item
    from dataflows.outputs import MovedBy
    from dataflows.state.layouts import Refit
    from dataflows.target.examples import Example
    from dataflows.target.monitors import Context, Rows

__all__ = ["Attribution"]

_SHOWN = 3


class Attribution(Monitor):
    """Mean of every feature over the learned negatives: its usual value.

    Args:
        features: names of all features of the class.
        state: return value of `state`, None for a new target.
    """

    name = "usual"

    def __init__(self, features: tuple[str, ...], state: tuple[bytes, ...] | None = None) -> None:
        self._features = features
        self._usual = RunningMeans(len(features), state)

    @classmethod
    @override
    def open(cls, context: Context, state: tuple[bytes, ...] | None) -> Attribution:
        """As `Monitor.open`."""
        return cls(context.features, state)

    @override
    def learned(self, item: Item, example: Example) -> Rows:
        """Add a negative to the means."""
        if not example.label:
            self.add(np.frombuffer(example.features))
            self.changed = True
        return ()

    def add(self, values: NDArray[np.float64]) -> None:
        """Add one negative: values (features), NaN is missing."""
        self._usual.add(values)

    def explain(
        self, features: bytes, picks: tuple[int, ...], score: float, ask: Callable[[bytes], float | None]
    ) -> list[MovedBy]:
        """Return the features that raised a score most.

        Each feature in turn is set to its usual value, and the model is asked again.

        Args:
            features: float64 array (features of the class) as bytes, as served.
            picks: indices of the features that the model sees.
            score: as served.
            ask: the model's score of a feature vector.

        Returns:
            Up to three of name, value, usual value, and by how much it raised the score.
        """
        effects = [move for move in self.effects(features, picks, score, ask) if move["raised_by"] > 0]
        # Equal ones stay in the order of the features.
        return sorted(effects, key=lambda move: -move["raised_by"])[:_SHOWN]

    def effects(
        self, features: bytes, picks: tuple[int, ...], score: float, ask: Callable[[bytes], float | None]
    ) -> list[MovedBy]:
        """Return what every feature did to a score, in order of the features; arguments as of `explain`.

        What lowered the score has a negative ``raised_by``.
        """
        values = np.frombuffer(features)
        effects = []
        for index in picks:
            if math.isnan(values[index]) or not self._usual.counts[index]:
                continue
            changed = values.copy()
            changed[index] = self._usual.means[index]
            without = ask(changed.tobytes())
            if without is not None:
                effects.append((score - without, index))
        return [
            {
                "feature": self._features[index],
                "value": float(values[index]),
                "usual": float(self._usual.means[index]),
                "raised_by": effect,
            }
            for effect, index in effects
        ]

    @staticmethod
    @override
    def refitted(state: tuple[bytes, ...], refit: Refit) -> tuple[bytes, ...]:
        """Return a state under another layout of the class."""
        counts, means = (refit(found, 0.0) for found in state)
        return counts, means

    @override
    def state(self) -> tuple[bytes, ...]:
        """Return plain data."""
        return self._usual.state()
