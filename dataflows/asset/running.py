"""Decide whether a machine runs, by its class's condition on readings, in event time.

The readings of a time set the state if they have every sensor of the condition; other times keep the state
before them. Before the first known state the machine runs. So a gateway may send one sensor a message, and
a late reading changes the state of later times up to the next one with a state of its own.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any

from dataflows.fleet.expressions import evaluator, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["RunningCondition", "RunningStates"]

#: Later than any time.
_NEVER = 2**63


class RunningCondition:
    """The ``running`` of a class.

    Args:
        text: an expression over sensors; the machine runs where it is not 0.
        sensors: of the class, in its order.

    Example:
        >>> runs = RunningCondition("rpm > 100", ("heat", "rpm"))
        >>> runs((20.0, 250.0)), runs((20.0, 0.0)), runs((20.0, None))
        (True, False, None)
    """

    def __init__(self, text: str, sensors: Sequence[str]) -> None:
        self.text = text
        expression = parse(text)
        self._used = [sensors.index(name) for name in expression.names]
        self._evaluate = evaluator([expression], {name: at for at, name in enumerate(expression.names)})

    def __call__(self, readings: Sequence[float | None]) -> bool | None:
        """Return whether the machine runs by its readings (sensors, or more); None if one is missing."""
        operands = [math.nan if (value := readings[at]) is None else float(value) for at in self._used]
        (found,) = self._evaluate(operands)
        return None if math.isnan(found) else found != 0.0


class RunningStates:
    """Known states of one asset.

    Args:
        condition: of its class.
        state: what `state` returned, None for a new asset.

    Attributes:
        tidied: watermark at which readings of a stopped machine were last dropped; see `Windows`.

    Example:
        >>> states = RunningStates(RunningCondition("rpm > 100", ("rpm",)))
        >>> for time, rpm in [(10, 900.0), (30, 0.0), (50, 900.0)]:
        ...     _ = states.add(time, (rpm,))
        >>> [states.at(time) for time in (5, 10, 29, 30, 49, 50)]
        [True, True, True, False, False, True]
        >>> states.add(20, (0.0,)), states.at(29)
        (30, False)
    """

    __slots__ = ("_settled", "_states", "_times", "condition", "tidied")

    def __init__(self, condition: RunningCondition, state: dict[str, Any] | None = None) -> None:
        self.condition = condition
        self._times: list[int] = [] if state is None else [*state["times"]]
        self._states: list[bool] = [] if state is None else [*state["states"]]
        #: Number of states before the watermark; each differs from the one before it.
        self._settled = 0
        self.tidied: int | None = None if state is None else state["tidied"]

    @property
    def newest(self) -> bool:
        """Whether the machine runs after the last known time."""
        return self._states[-1] if self._states else True

    def at(self, time: int) -> bool:
        """Return whether the machine runs at a time whose readings are still held, or later."""
        place = bisect_right(self._times, time)
        return self._states[place - 1] if place else True

    def add(self, time: int, readings: Sequence[float | None]) -> int | None:
        """Set the state of a time by its readings, in place of an earlier one.

        Args:
            time: microseconds, not before the watermark.
            readings: (sensors, or more) merged.

        Returns:
            End of the span from ``time`` on whose state changed; None if nothing changed.
        """
        runs = self.condition(readings)
        if runs is None:
            return None
        times, states = self._times, self._states
        before, place = self.at(time), bisect_left(times, time)
        if place < len(times) and times[place] == time:
            states[place] = runs
        else:
            times.insert(place, time)
            states.insert(place, runs)
        if runs == before:
            return None
        return times[place + 1] if place + 1 < len(times) else _NEVER

    def settle(self, mark: int, oldest: int, waiting: Sequence[int] = ()) -> None:
        """Forget times that late readings can no longer change, except those at which the state changes.

        Args:
            mark: nothing earlier is accepted any more.
            oldest: no state of an earlier time is asked for any more, except for those of ``waiting``.
            waiting: times whose readings no window has counted yet.
        """
        times, states = self._times, self._states
        while self._settled < len(times) and times[self._settled] < mark:
            if self._settled and states[self._settled] == states[self._settled - 1]:
                del times[self._settled], states[self._settled]
            else:
                self._settled += 1
        gone = 0
        while gone + 1 < self._settled and times[gone + 1] <= oldest:
            gone += 1
        if gone and waiting:
            gone = min(gone, max(bisect_right(times, min(waiting)) - 1, 0))
        if gone:
            del times[:gone], states[:gone]
            self._settled -= gone

    def state(self) -> dict[str, Any]:
        """Return plain data."""
        return {"times": self._times, "states": self._states, "tidied": self.tidied}
