"""Uses of a clock by a source: advance time in silence, and play at a multiple of real time.

Only the monotonic clock is read here, and the result is data from then on: a place in the sequence.
"""

from __future__ import annotations

import time

__all__ = ["Pace", "Ticker", "now"]

#: Before any instant.
_NEVER = -(1 << 62)


def now() -> int:
    """Microseconds of a clock that never runs back, and continues while the process is stopped."""
    return time.monotonic_ns() // 1_000


class Ticker:
    """Advance time when nothing arrives, but never beyond the time that has surely passed.

    A tick's arrival is that of the last record plus the time since it was read, minus a slack for records
    that are still on their way. The wall clock plays no part; nor do records that an earlier process read.

    Args:
        every: least microseconds from one tick, or a record's arrival, to the next.
        slack: microseconds.
    """

    def __init__(self, every: int, slack: int) -> None:
        self._every = every
        self._slack = slack
        self._last: int | None = None
        self._read = 0
        self._ticked = 0

    def read(self, arrival: int | None) -> None:
        """Note that new records were read, with the largest arrival so far."""
        # Read the clock after the records, so that less time seems to have passed, not more.
        self._last, self._read = arrival, now()

    def tick(self, asked: int) -> int | None:
        """Arrival of the tick that is due, if any, after no file had anything new since an instant."""
        if self._last is None:
            return None
        arrival = self._last + asked - self._read - self._slack
        if arrival < max(self._last, self._ticked) + self._every:
            return None
        self._ticked = arrival
        return arrival


class Pace:
    """Play a recording at a multiple of real time.

    Args:
        speed: the multiple.
    """

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._begin: tuple[int, int] | None = None

    def until(self, due: int | None) -> int:
        """Time up to which records are due now.

        Args:
            due: time of the next record; None if it is due at any time.
        """
        if self._begin is None:
            if due is None:
                return _NEVER
            self._begin = due, now()
        first, since = self._begin
        return first + int((now() - since) * self._speed)
