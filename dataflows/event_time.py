"""Rules of event time that the lane and the assets share.

The lane decides before an asset does (which weather revises it, what is a sign of its life), so both have to
decide alike.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["Placement", "is_current", "place"]


class Placement(Enum):
    """Place of an accepted telemetry event or fault among those before it, or why it was not accepted."""

    ON_TIME = "on_time"
    #: Of the latest time, which an earlier event has too.
    MERGED = "merged"
    LATE = "late"
    #: On time, and waits until its time is complete.
    HELD = "held"
    TOO_LATE = "too_late"
    DUPLICATE = "duplicate"


def place(time: int, latest: int | None, watermark: int | None) -> Placement:
    """Decide whether an event is on time, merged, late or too late.

    Args:
        time: of the event, microseconds.
        latest: the largest accepted time so far, None before the first: of telemetry for telemetry, of
            telemetry and faults for a fault.
        watermark: of the asset, None if late events do not matter.

    >>> place(12, 10, 7).value, place(10, 10, 7).value, place(7, 10, 7).value, place(6, 10, 7).value
    ('on_time', 'merged', 'late', 'too_late')
    """
    if latest is None or time > latest:
        return Placement.ON_TIME
    if time == latest:
        return Placement.MERGED
    return Placement.LATE if watermark is not None and time >= watermark else Placement.TOO_LATE


def is_current(valid: int, time: int, max_age: int) -> bool:
    """Whether weather that was valid at one instant may be joined with an event at another.

    >>> is_current(5, 8, max_age=3), is_current(5, 9, max_age=3), is_current(5, 4, max_age=3)
    (True, False, False)
    """
    return valid <= time <= valid + max_age
