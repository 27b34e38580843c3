"""Random numbers: a stream for each purpose, and random spells."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dataflows.instants import MICROSECONDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataflows.simulator.scenario import Scenario, Spells

    Integers = NDArray[np.int64]

__all__ = ["Drawn", "draw", "stream"]

_SECOND = MICROSECONDS["s"]


def stream(scenario: Scenario, purpose: str) -> np.random.Generator:
    """Random numbers of one purpose, independent of draws for other purposes."""
    return np.random.Generator(np.random.PCG64([scenario.seed, zlib.crc32(purpose.encode())]))


@dataclass(frozen=True, slots=True)
class Drawn:
    """Spells, ordered by owner and beginning; spells of one owner never overlap.

    Attributes:
        who: index of the owner of each spell.
        began, ended: microseconds, whole seconds, [began, ended).
    """

    who: Integers
    began: Integers
    ended: Integers

    def of(self, who: Integers, time: Integers) -> Integers:
        """Index of the spell that contains each (who, time), -1 if none does."""
        if not self.who.size or not time.size:
            return np.full(who.size, -1)
        # In seconds, so that one number orders by who, then by time.
        first = min(int(self.began.min()), int(time.min())) // _SECOND
        span = max(int(self.ended.max()), int(time.max())) // _SECOND - first + 1
        keys = self.who * span + self.began // _SECOND - first
        found = np.searchsorted(keys, who * span + time // _SECOND - first, side="right") - 1
        known = np.maximum(found, 0)
        inside = (found >= 0) & (self.who[known] == who) & (time < self.ended[known])
        return np.where(inside, found, -1)


def draw(random: np.random.Generator, spells: Spells | None, count: int, scenario: Scenario) -> Drawn:
    """Draw the spells of ``count`` devices or sensors over a scenario's time: a Poisson process for each."""
    if spells is None:
        return Drawn(*np.zeros((3, 0), np.int64))
    seconds = (scenario.end - scenario.start) // _SECOND
    numbers = random.poisson(seconds * _SECOND / spells.every, count)
    who = np.repeat(np.arange(count), numbers)
    began = random.integers(0, seconds, who.size)
    order = np.lexsort((began, who))
    who, began = who[order], began[order]
    ended = began + 1 + random.exponential(spells.lasts / _SECOND, who.size).astype(np.int64)
    # A spell that begins within another ends it.
    same = np.append(who[1:] == who[:-1], False)
    ended = np.where(same, np.minimum(ended, np.append(began[1:], 0)), ended)
    lasting = ended > began
    parts = (who, scenario.start + began * _SECOND, scenario.start + ended * _SECOND)
    return Drawn(*(part[lasting] for part in parts))
