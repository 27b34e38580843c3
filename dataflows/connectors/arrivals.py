"""Order of records by arrival, which one wild arrival does not lead.

A gateway with a wrong clock writes an arrival that lies years ahead. Were it believed, the rest of its file
would be read after all other files, ticks would jump to it, and a paced replay would wait for it.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from dataflows.instants import HOUR

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LOOK_AHEAD", "MAX_JUMP", "NEVER", "Arrivals"]

#: Before any arrival.
NEVER = -(1 << 62)
#: Default of ``max_arrival_jump``, microseconds.
MAX_JUMP = 30 * 24 * HOUR
#: Number of records that may contradict a jump.
LOOK_AHEAD = 16


class Arrivals:
    """Running maximum of the arrivals of one file or partition.

    An arrival that lies more than ``max_jump`` ahead of the maximum is wild if one of the next 16 records has
    an arrival from before the jump. Otherwise it follows a pause, and the maximum moves once another record
    confirms it.

    Args:
        latest: the maximum so far, microseconds; `NEVER` before the first record.
        max_jump: microseconds.

    Attributes:
        latest: the maximum.

    Example:
        >>> arrivals = Arrivals(latest=1_000, max_jump=100)
        >>> arrivals.order(9_000, [1_010, 1_020]), arrivals.order(9_000, [9_010])
        (1000, 9000)
    """

    __slots__ = ("_claim", "_max_jump", "latest")

    def __init__(self, latest: int = NEVER, max_jump: int = MAX_JUMP) -> None:
        self.latest = latest
        self._max_jump = max_jump
        #: Arrival after a jump, which no other record has confirmed or contradicted.
        self._claim: int | None = None

    def jumps(self, arrival: int) -> bool:
        """Whether an arrival needs `after` to be judged; nearly none does."""
        return arrival - self.latest > self._max_jump

    def is_open(self, arrival: int, after: Iterable[int]) -> bool:
        """Whether records to come may still contradict an arrival."""
        return self._confirmed(arrival, after) is None

    def order(self, arrival: int, after: Iterable[int]) -> int:
        """Place of the next record among those of other files.

        Args:
            arrival: of the record; `NEVER` without one.
            after: arrivals of the records after it, as far as they are known.
        """
        if self._confirmed(arrival, after) is False:
            return self.latest
        return max(self.latest, arrival)

    def due(self, arrival: int, after: Iterable[int]) -> int:
        """Arrival at which the record plays: only a confirmed one lets a replay wait for it."""
        return arrival if self._confirmed(arrival, after) else self.latest

    def add(self, arrival: int, after: Iterable[int]) -> None:
        """Note that the record was read; arguments as of `order`."""
        confirmed = self._confirmed(arrival, after)
        if confirmed is False:
            return
        if self._claim == self.latest and arrival < self.latest - self._max_jump:
            # The first arrival of all was wild.
            self.latest = arrival
        if confirmed or self.latest == NEVER:
            self.latest = max(self.latest, arrival)
        self._claim = None if confirmed else arrival

    def _confirmed(self, arrival: int, after: Iterable[int]) -> bool | None:
        """Whether an arrival is right; None where nothing confirms or contradicts it."""
        if not self.jumps(arrival):
            return True
        before = arrival - self._max_jump
        known = list(islice(after, LOOK_AHEAD))
        if any(self.latest - self._max_jump <= each < before for each in known):
            return False
        if any(each >= before for each in known):
            return True
        claimed = self._claim is not None and abs(self._claim - arrival) <= self._max_jump
        return True if claimed else None
