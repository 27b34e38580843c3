"""Attribution of a score to features: the change of the score when one feature has its usual value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

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

__all__ = ["Attribution", "Reasons"]

_SHOWN = 3


class Reasons(NamedTuple):
    """Why a champion gave a score.

    Attributes:
        features: what each one did, the largest first.
        together: what all features of a sensor, code or attribute did, by its name; ``""`` for all of them.
        read: scores of the models that the champion reads, by name; empty for a model of features.
    """

    features: list[MovedBy]
    together: dict[str, float]
    read: dict[str, float | None]


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
        for index in self._known(values, picks):
            without = self._without(values, [index], ask)
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

    def together(
        self, features: bytes, picks: tuple[int, ...], score: float, ask: Callable[[bytes], float | None]
    ) -> dict[str, float]:
        """Return what all features of a sensor, code or attribute did together; arguments as of `explain`.

        Features that tell the same, and the branches of a tree, hide each other when one alone is changed.
        The key ``""`` stands for all features.

        >>> usual = Attribution(("level:mean:6h", "level:min:6h", "speed:max:6h"))
        >>> usual.add(np.array([0.9, 0.8, 5.0]))
        >>> either = lambda given: 0.9 if np.frombuffer(given)[:2].min() < 0.5 else 0.1
        >>> row = np.array([0.3, 0.2, 5.0]).tobytes()
        >>> [move["raised_by"] for move in usual.effects(row, (0, 1, 2), 0.9, either)]
        [0.0, 0.0, 0.0]
        >>> usual.together(row, (0, 1, 2), 0.9, either)
        {'level': 0.8, 'speed': 0.0, '': 0.8}
        """
        values = np.frombuffer(features)
        groups: dict[str, list[int]] = {}
        for index in self._known(values, picks):
            groups.setdefault(self._features[index].partition(":")[0], []).append(index)
        groups[""] = [index for found in groups.values() for index in found]
        found = {}
        for name, indices in groups.items():
            without = self._without(values, indices, ask)
            if without is not None:
                found[name] = score - without
        return found

    def _known(self, values: NDArray[np.float64], picks: tuple[int, ...]) -> list[int]:
        """Features that have a value and a usual one."""
        return [index for index in picks if not math.isnan(values[index]) and self._usual.counts[index]]

    def _without(
        self, values: NDArray[np.float64], indices: list[int], ask: Callable[[bytes], float | None]
    ) -> float | None:
        """The score with the usual values of these features."""
        changed = values.copy()
        for index in indices:
            changed[index] = self._usual.means[index]
        return ask(changed.tobytes())

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
