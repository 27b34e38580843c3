"""Error rate of a model; above a limit the model is set aside for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ErrorRate"]

#: Number of calls that a rate remembers.
_MEMORY = 50
#: A model is set aside when more than this share of its calls fail.
_LIMIT = 0.5
#: Rate of a model that is tried again, just below the limit: a few errors set it aside again.
_ON_TRIAL = 0.4
#: A rate below this counts as zero.
_SOUND = 0.01
#: Number of calls that a model misses when it is set aside; doubled each time that it fails again.
_FIRST_PAUSE = 200
_LONGEST_PAUSE = 51_200


class ErrorRate:
    """Errors of one model: it raised, or returned something that is no probability.

    One error costs one score or one example. A model that fails at more than half of its latest calls is set
    aside for a number of calls, which grows each time, and then tried again. Only calls are counted, no
    clock is read, so a replay sets aside the same model at the same record.

    Args:
        state: return value of `state`; None for a model that never failed.
        memory: number of calls that a rate remembers.
        first_pause: number of calls that a model misses when it is first set aside.

    Attributes:
        total: errors in all.
        recent: errors since the last row of the metrics.
        why: the latest error.
    """

    def __init__(
        self, state: Sequence[Any] | None = None, *, memory: int = _MEMORY, first_pause: int = _FIRST_PAUSE
    ) -> None:
        self._memory = memory
        self._first_pause = first_pause
        self.total: int = 0
        self.recent: int = 0
        self.why: str | None = None
        #: Shares of failed calls, of scores and of examples: a model has many more scores than examples.
        self._rates = [0.0, 0.0]
        self._left = 0
        self._pause = first_pause
        if state is not None:
            self.total, self.recent, self.why, rates, self._left, self._pause = state
            self._rates = [*rates]

    @classmethod
    def set_aside_for(cls, why: str) -> ErrorRate:
        """Build the error rate of a model that a former release set aside for good: it is tried again."""
        return cls((1, 0, why, (0.0, 0.0), _FIRST_PAUSE, 2 * _FIRST_PAUSE))

    @property
    def aside(self) -> bool:
        """Whether the model is set aside."""
        return self._left > 0

    @property
    def is_sound(self) -> bool:
        """Whether no error is remembered: then a successful call changes nothing."""
        return not self._left and not any(self._rates)

    def succeed(self, *, learning: bool) -> None:
        """Count a successful call."""
        rate = self._rates[learning]
        if rate:
            rate -= rate / self._memory
            self._rates[learning] = rate if rate > _SOUND else 0.0
            if not any(self._rates):
                self._pause = self._first_pause

    def fail(self, why: str, *, learning: bool) -> bool:
        """Count a call that failed; return whether the model is set aside by it."""
        self.total += 1
        self.recent += 1
        self.why = why
        self._rates[learning] += (1.0 - self._rates[learning]) / self._memory
        if self._rates[learning] <= _LIMIT:
            return False
        self._left, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
        return True

    def wait(self) -> bool:
        """Count a missed call; return whether the next one is made again."""
        self._left -= 1
        if self._left:
            return False
        self._rates = [_ON_TRIAL, _ON_TRIAL]
        return True

    def state(self) -> tuple[Any, ...]:
        """Return plain data."""
        return self.total, self.recent, self.why, tuple(self._rates), self._left, self._pause
