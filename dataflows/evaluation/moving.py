"""Moves a recording: what if messages were late, lost or held up, and failures reported later?

The events stay as they are; only their arrivals change. So every difference between the figures of a
recording and those of the moved one comes from the way the data moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from dataflows.instants import MICROSECONDS, format_instant, parse_instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Movement", "delays_of", "moved"]

_DAY = MICROSECONDS["d"]
#: Between two stored messages of a gateway that is back.
_PACE = 200_000
_MESSAGES = frozenset({"telemetry", "fault"})
_REPORTS = frozenset({"failure", "maintenance"})


@dataclass(frozen=True, slots=True)
class Movement:
    """How data is moved, beyond the way it moved already.

    Attributes:
        late: share of the messages (telemetry and fault codes) that are delayed.
        late_by: mean of that delay, exponential, microseconds.
        delays: delays to draw from instead, for every message; empty for none.
        lost: share of the messages that never arrive.
        offline: microseconds of each day in which a gateway (a site, else an asset) has no network, at an
            hour of its own. It stores its messages and sends them in order afterwards.
        reported_after: mean delay of reports of failures and maintenance, exponential, microseconds.
        seed: of all draws.
    """

    late: float = 0.0
    late_by: int = 0
    delays: tuple[int, ...] = ()
    lost: float = 0.0
    offline: int = 0
    reported_after: int = 0
    seed: int = 0

    def __bool__(self) -> bool:
        """Whether anything is moved."""
        delayed = (self.late and self.late_by) or self.delays
        return bool(delayed or self.lost or self.offline or self.reported_after)


def moved(lines: Iterable[bytes], movement: Movement) -> list[bytes]:
    """Return a recording with other arrivals, in order of arrival.

    A record without an arrival arrived at its time, one without a time with its predecessor. Reports of one
    asset and time arrive together, as one order does. Equal arguments give equal bytes.

    Args:
        lines: JSON records.
        movement: what changes.

    >>> line = b'{"kind":"telemetry","asset":"a","time":0,"readings":{"n":1.0}}'
    >>> moved([line], Movement(delays=(90_000_000,)))[0][-41:]
    b',"arrived":"1970-01-01T00:01:30.000000Z"}'
    """
    chance = _Chance(movement)
    found: list[tuple[int, bytes]] = []
    now = 0
    for line in lines:
        record = _record(line)
        if record is None:
            continue
        time = _instant(record.get("time"))
        given = (_instant(record.get(key)) for key in ("arrived", "issued"))
        came = next((each for each in given if each is not None), time)
        now = max(now, came) if came is not None else now
        at = chance.arrival(record, time, now)
        if at is not None:
            found.append((at, orjson.dumps({**record, "arrived": format_instant(at)})))
    found.sort(key=lambda each: each[0])
    return [line for _, line in found]


def delays_of(lines: Iterable[bytes]) -> tuple[int, ...]:
    """Return how long telemetry of a recording was under way, microseconds; none below 0.

    >>> delays_of([b'{"kind":"telemetry","asset":"a","time":0,"readings":{},"arrived":2}'])
    (2000000,)
    """
    found = []
    for line in lines:
        record = _record(line)
        if record is not None and record["kind"] == "telemetry":
            time, arrival = _instant(record.get("time")), _instant(record.get("arrived"))
            if time is not None and arrival is not None:
                found.append(max(0, arrival - time))
    return tuple(found)


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = orjson.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("kind"), str) else None


def _instant(value: object) -> int | None:
    try:
        return None if value is None else parse_instant(value)
    except ValueError:
        return None


class _Chance:
    """Draws the arrival of each record."""

    def __init__(self, movement: Movement) -> None:
        self._movement = movement
        self._random = np.random.default_rng(movement.seed)
        self._delays: Sequence[int] = movement.delays
        self._offline: dict[str, int] = {}
        self._stored: dict[tuple[str, int], int] = {}
        self._reports: dict[tuple[str, int], int] = {}

    def arrival(self, record: dict[str, Any], time: int | None, arrival: int) -> int | None:
        """When a record arrives now; None if never."""
        kind, asset = record["kind"], str(record.get("asset"))
        if time is None:
            return arrival
        if kind in _MESSAGES:
            return self._message(str(record.get("site") or asset), arrival)
        if kind in _REPORTS and self._movement.reported_after:
            key = asset, time
            if key not in self._reports:
                self._reports[key] = round(self._random.exponential(self._movement.reported_after))
            return arrival + self._reports[key]
        return arrival

    def _message(self, gateway: str, arrival: int) -> int | None:
        movement, random = self._movement, self._random
        if movement.lost and random.random() < movement.lost:
            return None
        if self._delays:
            arrival += self._delays[int(random.integers(len(self._delays)))]
        if movement.late and random.random() < movement.late:
            arrival += round(random.exponential(movement.late_by))
        return self._back(gateway, arrival) if movement.offline else arrival

    def _back(self, gateway: str, arrival: int) -> int:
        """When a gateway without network at this moment sends what it has stored."""
        if gateway not in self._offline:
            self._offline[gateway] = int(self._random.integers(_DAY))
        day, since = divmod(arrival - self._offline[gateway], _DAY)
        if since >= self._movement.offline:
            return arrival
        place = self._stored[gateway, day] = self._stored.get((gateway, day), -1) + 1
        return arrival - since + self._movement.offline + place * _PACE
