"""Check arrivals: all records of a recording have one or none has, and one wild arrival moves no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflows.events import Command, Event, Fault, Reject, Telemetry, Weather

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dataflows.items import Item

__all__ = ["ArrivalClock", "unlike"]

#: Number of jumps in a row after which a lone asset is believed: it may be the only one that sends.
_INSISTS = 5
#: Largest number of remembered claims.
_MOST_CLAIMS = 16


def unlike(before: bool, event: Event) -> Reject | None:  # noqa: FBT001 - the two are alike or not
    """Reject a record with an arrival if the records before it had none, or the reverse.

    Args:
        before: whether the first record of the stream had ``arrived``.
        event: the record.

    Returns:
        The reject; None if the record is like those before it.
    """
    now = event.arrived is not None
    if now == before:
        return None
    detail = (
        f"{'has' if now else 'lacks'} `arrived`, unlike the first record of the stream; "
        "give it to all records of a recording or to none"
    )
    return Reject("mixed_arrivals", detail, getattr(event, "asset", None))


#: A claim of a later time: arrival, asset (for weather its site) and source.
Claim = tuple[int, str, str]


class ArrivalClock:
    """Decide which arrivals a lane believes.

    An arrival that lies further ahead of its predecessor than ``max_jump`` is a claim. It is believed once
    another asset or another source makes a similar claim, or once one asset has made five without
    contradiction. A believable arrival ends all claims. The first arrival of a stream has no predecessor: for
    telemetry and faults its own event time takes that place, and any second record confirms it.

    Args:
        max_jump: microseconds.
        claims: former value of `claims`, empty for a new lane.

    Attributes:
        claims: unconfirmed claims.
    """

    def __init__(self, max_jump: int, claims: Iterable[Claim] = ()) -> None:
        self._max_jump = max_jump
        self.claims: list[Claim] = [(arrival, who, source) for arrival, who, source in claims]

    def believes(self, item: Item, event: Event, before: int | None) -> bool:
        """Whether the arrival of a record counts.

        Args:
            item: the record.
            event: its event.
            before: arrival of the lane so far, microseconds; None before the first.
        """
        arrived = event.arrived
        if arrived is None or not self._jumps(event, arrived, before):
            self.claims.clear()
            return True
        who = _sender_of(event)
        source = item.position[0]
        like = [claim for claim in self.claims if abs(claim[0] - arrived) <= self._max_jump]
        confirmed = (
            len(like) + 1 >= _INSISTS
            or any(claim[1:] != (who, source) for claim in like)
            or (before is None and bool(like))
        )
        if confirmed:
            self.claims.clear()
            return True
        self.claims = [*self.claims[1 - _MOST_CLAIMS :], (arrived, who, source)]
        return False

    def believes_tick(self, arrival: int, before: int | None) -> bool:
        """Whether a tick counts: a tick further ahead was made after an arrival that did not count."""
        return before is None or arrival - before <= self._max_jump

    def _jumps(self, event: Event, arrived: int, before: int | None) -> bool:
        if before is None:
            return isinstance(event, Telemetry | Fault) and arrived - event.time > self._max_jump
        return arrived - before > self._max_jump


def _sender_of(event: Event) -> str:
    """Sender of an event: its asset, its site or a person."""
    if isinstance(event, Weather):
        return event.site
    return event.by if isinstance(event, Command) else event.asset
