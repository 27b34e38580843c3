"""Data movement: late, incomplete or wrongly stamped data, which looks like a change of the world.

`Movement` watches how the data of a block came, one value a block for each measure in `MEASURES`. A value is
*moved* where it is worse than its usual values by four of their standard deviations and by the floor of its
measure. The usual values are those of the last 30 blocks that had not moved; after 14 moved blocks in a row
the new state is the usual one. Nothing here is a test: it explains alarms, and raises none.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dataflows.outputs import Measure

__all__ = ["MEASURES", "LabelSilence", "Moved", "Movement"]

#: What is measured of a block, each with the change that is worth a word, negative where less is worse, and
#: what that is in words: mean hours from event to knowledge; share of revisions among examples and
#: revisions; shares of features that are missing, and of examples ahead of their arrival; share of assets
#: that sent any.
MEASURES: dict[Measure, tuple[float, str]] = {
    "delay": (0.1, "data comes later"),
    "late": (0.05, "more data is late"),
    "missing": (0.02, "more values are missing"),
    "ahead": (0.02, "clocks are ahead"),
    "reporting": (-0.3, "assets are silent"),
}
_USUAL, _NEW = 30, 14
#: So few usual values say nothing yet.
_FEWEST = 7
_DEVIATIONS = 4.0
#: Blocks without a positive are a silence if so few stationary streams had as many.
_SILENT = 1e-4


class Moved(NamedTuple):
    """A measure that is unusual.

    Attributes:
        measure: its name.
        value: of the block.
        usual: mean of its usual values.
    """

    measure: Measure
    value: float
    usual: float


class Movement:
    """Usual values of each measure.

    Args:
        state: what `state` returned, None for a new one.

    >>> movement = Movement()
    >>> for day in range(10):
    ...     _ = movement.add({"delay": 0.1 + day % 2 / 100, "missing": 0.0})
    >>> [moved.measure for moved in movement.add({"delay": 6.0, "missing": 0.0})]
    ['delay']
    """

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        kept: Mapping[str, Any] = state or {}
        self._usual = {name: deque(kept.get("usual", {}).get(name, ()), _USUAL) for name in MEASURES}
        #: Values that moved, since the last one that did not.
        self._moved = {name: list(kept.get("moved", {}).get(name, ())) for name in MEASURES}

    def add(self, values: Mapping[Measure, float]) -> list[Moved]:
        """Add the values of a block, and return those that moved; NaN is no value."""
        found = []
        for name, value in values.items():
            if math.isnan(value):
                continue
            usual, moved = self._usual[name], self._moved[name]
            mean = math.fsum(usual) / len(usual) if usual else value
            variance = math.fsum((each - mean) ** 2 for each in usual) / max(1, len(usual))
            floor = MEASURES[name][0]
            most = max(_DEVIATIONS * math.sqrt(variance), abs(floor))
            if len(usual) < _FEWEST or math.copysign(1.0, floor) * (value - mean) <= most:
                usual.append(value)
                moved.clear()
                continue
            found.append(Moved(name, value, mean))
            moved.append(value)
            if len(moved) == _NEW:
                self._usual[name] = deque(moved, _USUAL)
                self._moved[name] = []
        return found

    def begun(self, name: Measure) -> bool:
        """Whether a measure moved in the last block, and not in the one before it."""
        return len(self._moved[name]) == 1

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "usual": {name: list(values) for name, values in self._usual.items()},
            "moved": {name: list(values) for name, values in self._moved.items()},
        }


class LabelSilence:
    """Whether positives have stopped: the quietest way in which a prediction dies.

    A failure that nobody reports makes a negative. If a share q of all blocks has a positive, k blocks
    without one have the probability (1 - q)^k; below 1e-4 the labels are silent.

    Args:
        state: what `state` returned, None for a new one.

    >>> silence = LabelSilence()
    >>> [silence.add(positive=day % 2 == 0) for day in range(40)][-1]
    False
    >>> [silence.add(positive=False) for day in range(20)].index(True)
    12
    """

    def __init__(self, state: Sequence[int] | None = None) -> None:
        #: Blocks before the last positive, those with a positive among them, and blocks since.
        self._blocks, self._positive, self.since = state or (0, 0, 0)

    def add(self, *, positive: bool) -> bool:
        """Add a block; return whether labels are silent."""
        self.since += 1
        if positive:
            self._blocks += self.since
            self._positive += 1
            self.since = 0
        return self.silent

    @property
    def silent(self) -> bool:
        """Whether positives have stopped."""
        share = self._positive / (self._blocks + 1)
        return self._blocks >= _USUAL and (1.0 - share) ** self.since < _SILENT

    @property
    def usual(self) -> float:
        """Blocks between two with a positive."""
        return self._blocks / max(1, self._positive)

    def state(self) -> tuple[int, int, int]:
        """Plain data."""
        return self._blocks, self._positive, self.since
