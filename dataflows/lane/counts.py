"""Counts of a lane by kind of record, in total and by period of the metrics."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from dataflows.events import kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows.events import Event

__all__ = ["Counts"]

_NEVER_BEGUN = -(2**63)


class Counts:
    """Counts of accepted events by kind, and the periods of the metrics.

    Args:
        every: microseconds of knowledge time in one period.
        state: result of `state`, None for a new lane.

    Attributes:
        end: end of the open period; before all times if there is none.
    """

    def __init__(self, every: int, state: Mapping[str, Any] | None = None) -> None:
        self._every = every
        self._all: Counter[str] = Counter({} if state is None else state["all"])
        #: Start and end of the open period, in knowledge time, and the counts before it.
        self._start = 0
        self.end = _NEVER_BEGUN
        self._before: Counter[str] = Counter()
        self._begun = state is not None and state["start"] is not None
        if state is not None and state["start"] is not None:
            # It ends at the next multiple, even if `every` changed since the period began.
            self._start, self.end = state["start"], -(-state["known"] // every) * every
            self._before.update(state["before"])

    def count(self, event: Event) -> None:
        """Count one accepted event."""
        self._all[kind_of(event)] += 1

    def by_kind(self) -> dict[str, int]:
        """Number of accepted events so far."""
        return dict(sorted(self._all.items()))

    def close(self, known: int) -> tuple[int, int, dict[str, int]] | None:
        """Begin the period of a knowledge time that has passed the `end` of the one before.

        Returns:
            Start, end and accepted events by kind of the period before, None if this is the first.
        """
        closed = None
        if self._begun:
            closed = self._start, self.end, dict(sorted((self._all - self._before).items()))
            self._before = self._all.copy()
        self._begun = True
        self.end = -(-known // self._every) * self._every
        self._start = self.end - self._every
        return closed

    def state(self, known: int) -> dict[str, Any]:
        """Plain data."""
        return {
            "all": dict(self._all),
            "start": self._start if self._begun else None,
            "known": known,
            "before": dict(self._before),
        }
