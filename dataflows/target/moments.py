"""Running mean and variance of feature vectors.

B. P. Welford, "Note on a method for calculating corrected sums of squares and products", Technometrics 4(3),
1962.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["RunningMeans", "RunningMoments"]


class RunningMeans:
    """Mean of every feature over the vectors that have it.

    Args:
        width: number of features.
        state: what `state` returned, None for none.

    Attributes:
        counts: (features) vectors that have it.
        means: (features) 0 before the first.

    Example:
        >>> running = RunningMeans(2)
        >>> for values in ([1.0, np.nan], [4.0, 3.0]):
        ...     _ = running.add(np.array(values))
        >>> running.counts.tolist(), running.means.tolist()
        ([2.0, 1.0], [2.5, 3.0])
    """

    def __init__(self, width: int, state: Sequence[bytes] | None = None) -> None:
        self.counts: NDArray[np.float64] = np.zeros(width)
        self.means: NDArray[np.float64] = np.zeros(width)
        if state is not None:
            self.counts, self.means = (np.frombuffer(found).copy() for found in state[:2])

    def add(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add one vector (features), NaN is missing; return its distance from the means before it, else 0."""
        given = ~np.isnan(values)
        before = np.where(given, values - self.means, 0.0)
        self.counts += given
        self.means += before / np.maximum(self.counts, 1.0)
        return before

    def state(self) -> tuple[bytes, ...]:
        """Plain data."""
        return self.counts.tobytes(), self.means.tobytes()


class RunningMoments(RunningMeans):
    """Mean and standard deviation of every feature over the vectors that have it.

    Args:
        width: number of features.
        state: what `state` returned, None for none.

    Example:
        >>> running = RunningMoments(2)
        >>> for values in ([1.0, np.nan], [4.0, 3.0]):
        ...     _ = running.add(np.array(values))
        >>> running.deviations().tolist()
        [1.5, 0.0]
    """

    def __init__(self, width: int, state: Sequence[bytes] | None = None) -> None:
        super().__init__(width, state)
        self._squares: NDArray[np.float64] = np.zeros(width)
        if state is not None:
            self._squares = np.frombuffer(state[2]).copy()

    def add(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """As `RunningMeans.add`."""
        before = super().add(values)
        self._squares += before * np.where(np.isnan(values), 0.0, values - self.means)
        return before

    def deviations(self) -> NDArray[np.float64]:
        """(features) population standard deviation; 0 before the second value."""
        return np.sqrt(np.maximum(self._squares, 0.0) / np.maximum(self.counts, 1.0))

    def state(self) -> tuple[bytes, ...]:
        """Plain data."""
        return *super().state(), self._squares.tobytes()
