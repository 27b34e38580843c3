"""Changes made to a message: one bit for each, and its stable code in the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
    Booleans = NDArray[np.bool_]

__all__ = ["LOST", "OF_MESSAGES", "OF_SENSORS", "codes_of", "mark", "mark_sensor", "only_sensor"]

#: Changes of a whole message, one bit each from the lowest.
OF_MESSAGES = {
    "late": "delayed on the way",
    "stored": "stored by the device during an outage and sent after it",
    "lost": "never arrived",
    "duplicate": "a second copy; `of` is the line of the first",
    "one_sensor": "one of several messages of one time, each with one sensor",
    "clock_offset": "stamped by a clock with a constant offset or a drift",
    "clock_jump": "stamped by a clock that has jumped and not recovered yet",
    "future": "stamped days ahead, unlike its neighbours",
    "after_end": "arrived after the recording's end",
}
#: Changes of a reading, named with the sensor: `stuck:vibration`.
OF_SENSORS = {
    "null": "lost between sensor and device: null",
    "loose": "a loose plug, for a day: null",
    "stuck": "repeats the reading at which the sensor got stuck",
    "dropout": "missing from the message",
    "recalibrated": "has another offset than at first",
    "firmware": "scaled by new firmware",
}
_FIRST = 10  # bit of the first sensor's first change
_MESSAGES, _SENSORS = list(OF_MESSAGES), list(OF_SENSORS)
LOST = 1 << _MESSAGES.index("lost") | 1 << _MESSAGES.index("after_end")


def mark(done: Integers, what: str, where: Booleans) -> None:
    """Set the bit of a change of some messages."""
    done |= where.astype(np.int64) << _MESSAGES.index(what)


def mark_sensor(done: Integers, what: str, sensor: int, where: Booleans) -> None:
    """Set the bit of a change of a sensor's readings in some messages."""
    done |= where.astype(np.int64) << (_FIRST + sensor * len(_SENSORS) + _SENSORS.index(what))


def only_sensor(done: Integers, sensor: Integers) -> Integers:
    """Keep the bits of the one sensor (-1: of all) that each message carries."""
    width = len(_SENSORS)
    of_sensor = ((1 << width) - 1) << (_FIRST + np.maximum(sensor, 0) * width)
    return np.where(sensor < 0, done, done & (of_sensor | ((1 << _FIRST) - 1)))


def codes_of(done: int, sensors: Sequence[str]) -> list[str]:
    """Codes of a message's bits."""
    codes = [name for bit, name in enumerate(_MESSAGES) if done >> bit & 1]
    for index, sensor in enumerate(sensors):
        bits = done >> (_FIRST + index * len(_SENSORS))
        codes += [f"{name}:{sensor}" for bit, name in enumerate(_SENSORS) if bits >> bit & 1]
    return codes
