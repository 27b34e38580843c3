"""Records dated ahead of all telemetry: they wait, outside knowledge time, until telemetry reaches them.

Only a stream without arrivals needs this, since there only telemetry shows the present time. A failure
dated in the wrong year would end the labels of its asset, and planned maintenance has not happened yet.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from dataflows.events import Failure, Maintenance

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dataflows.events import Event

__all__ = ["Waiting", "WaitingRecord"]

#: Records that wait at once, of all assets. A hundred thousand take about 40 MB.
_MOST = 100_000
_KINDS: dict[str, type[Failure | Maintenance]] = {"failure": Failure, "maintenance": Maintenance}


class WaitingRecord(msgspec.Struct, frozen=True, gc=False):
    """A record that waits.

    Attributes:
        sequence: of the record.
        position: (source, line or offset, byte offset).
        event: its content.
    """

    sequence: int
    position: tuple[str, int, int]
    event: Failure | Maintenance


class Waiting:
    """The failure and maintenance records of a stream without arrivals that telemetry has not reached.

    A record waits if its time lies more than ``max_future`` after all telemetry. So every record waits before
    the first telemetry, which releases those that lie less far ahead. A waiting record is released just
    before the first telemetry that is not older.

    Args:
        max_future: microseconds.
        state: what `state` returned, None for a new lane.
        kept: what `entry` returned, by asset; empty for a new lane.
        most: how many records may wait.

    Attributes:
        replaced: number of waiting records that a correction replaced.
    """

    def __init__(
        self,
        max_future: int,
        state: tuple[int | None, int] | None = None,
        kept: dict[str, list[list[Any]]] | None = None,
        most: int = _MOST,
    ) -> None:
        self._max_future = max_future
        self._most = most
        #: The largest time of telemetry so far, None before the first.
        self._reach, self.replaced = (None, 0) if state is None else state
        #: By asset and identity.
        self._held: dict[str, dict[tuple[str, ...], WaitingRecord]] = {}
        #: (time, sequence, asset, identity); records that were withdrawn are passed over.
        self._order: list[tuple[int, int, str, tuple[str, ...]]] = []
        self._count = 0
        for asset, rows in (kept or {}).items():
            for sequence, position, kind, time, what, name in rows:
                source, line, offset = position
                event = _KINDS[kind](asset, time, what, name, None)
                self._add(WaitingRecord(sequence, (source, line, offset), event))

    def __len__(self) -> int:
        """Number of waiting records."""
        return self._count

    def is_ahead(self, event: Event) -> bool:
        """Whether an event is a failure or maintenance dated too far ahead of all telemetry."""
        if not isinstance(event, Failure | Maintenance):
            return False
        return self._reach is None or event.time > self._reach + self._max_future

    def defer(self, record: WaitingRecord) -> Literal["copy", "full", "waits", "now"]:
        """Decide whether a record waits; it replaces a waiting one of the same identity and another time.

        Returns:
            ``copy`` of a waiting record, or ``full`` where no more may wait: nothing changed. ``waits``; or
            ``now``: it need not wait, and no record of its identity waits any more.
        """
        event = record.event
        found = self._held.get(event.asset, {}).get(_identity(event))
        if found is not None and found.event.time == event.time:
            return "copy"
        ahead = self.is_ahead(event)
        if ahead and found is None and self._count >= self._most:
            return "full"
        if found is not None:
            self._remove(found.event)
            self.replaced += 1
        if not ahead:
            return "now"
        self._add(record)
        return "waits"

    def withdraw(self, asset: str, name: str) -> bool:
        """Remove the records of an asset with this id; return whether there was any."""
        found = [held.event for held in self._held.get(asset, {}).values() if held.event.id == name]
        for event in found:
            self._remove(event)
        return bool(found)

    def advance(self, time: int) -> Iterable[WaitingRecord]:
        """Note the time of telemetry; return the records that it reaches, by time, then by sequence."""
        until = time + self._max_future if self._reach is None else time
        if self._reach is None or time > self._reach:
            self._reach = time
        return self._reached(until) if self._order else ()

    def _reached(self, until: int) -> Iterator[WaitingRecord]:
        while self._order and self._order[0][0] <= until:
            _, sequence, asset, identity = heapq.heappop(self._order)
            found = self._held.get(asset, {}).get(identity)
            if found is not None and found.sequence == sequence:
                self._remove(found.event)
                yield found

    def state(self) -> tuple[int | None, int]:
        """Plain data of all assets together."""
        return self._reach, self.replaced

    def entry(self, asset: str) -> list[list[Any]] | None:
        """Plain data of one asset, None where none of its records waits."""
        held = self._held.get(asset)
        if held is None:
            return None
        return [
            [record.sequence, record.position, *_content(record.event), record.event.id]
            for record in sorted(held.values(), key=lambda record: record.sequence)
        ]

    def _add(self, record: WaitingRecord) -> None:
        event, identity = record.event, _identity(record.event)
        self._held.setdefault(event.asset, {})[identity] = record
        heapq.heappush(self._order, (event.time, record.sequence, event.asset, identity))
        self._count += 1

    def _remove(self, event: Failure | Maintenance) -> None:
        held = self._held[event.asset]
        del held[_identity(event)]
        self._count -= 1
        if not held:
            del self._held[event.asset]
        if len(self._order) > 2 * self._count + 64:
            self._order = [
                (record.event.time, record.sequence, asset, identity)
                for asset, records in self._held.items()
                for identity, record in records.items()
            ]
            heapq.heapify(self._order)


def _content(event: Failure | Maintenance) -> tuple[str, int, str | None]:
    """Kind and time of a record, and its mode or component."""
    if isinstance(event, Failure):
        return "failure", event.time, event.mode
    return "maintenance", event.time, event.component


def _identity(event: Failure | Maintenance) -> tuple[str, ...]:
    """Identity of a record: kind, mode or component, and id; without an id, its time."""
    kind, time, what = _content(event)
    # An id is not empty, so a record with one never equals a record without.
    return (kind, what or "", "", str(time)) if event.id is None else (kind, what or "", event.id)
