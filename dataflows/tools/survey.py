"""Count what is in events: sensors, cadence, lateness, failures and their reports; for `init` and `check`."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING

from dataflows.events import Failure, Fault, Maintenance, Registration, Reject, Telemetry
from dataflows.instants import MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dataflows.events import Event

__all__ = ["ENOUGH", "Sensor", "Survey", "quantile", "survey"]

#: Characters of a reason for a reject, which begins with the path of a file.
_MOST = 500
#: What differs among rejects of one kind: the line, and a value.
_LINE, _VALUE = re.compile(r", line [\d,]+"), re.compile(r"'[^']*'")
#: Failures of a mode below which figures say little.
ENOUGH = 20
#: How far a clock may run ahead of the arrival, microseconds: `max_future` of a fleet.
_AHEAD = MICROSECONDS["h"]
#: Share of the span of time at its end in which running machines still send.
_SAME_END = 0.02


def quantile(values: Sequence[int], share: float) -> int:
    """Return the value that this share of the values does not exceed; 0 without any.

    >>> quantile([5, 1, 9], 0.5), quantile([], 0.95)
    (5, 0)
    """
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0


@dataclass(slots=True)
class Sensor:
    """Readings of one sensor.

    Attributes:
        count: readings.
        missing: missing ones, of the messages that name it.
        least: least reading.
        largest: largest reading.
    """

    count: int = 0
    missing: int = 0
    least: float = math.inf
    largest: float = -math.inf


@dataclass(slots=True)
class Survey:
    """What is in the events.

    Attributes:
        sensors: by name.
        assets: number of messages by asset.
        modes: number of failures by mode.
        failed: number of failures by asset.
        failures: asset and time of each failure.
        codes: number of faults by code.
        components: number of maintenance records by component.
        attributes: values by attribute.
        first: the earliest time, microseconds.
        last: the latest time.
        intervals: how often each interval between two messages of one asset and first sensor came,
            microseconds: in a message for each sensor, those of another sensor are no measure of the cadence.
        lateness: arrival minus time of telemetry, microseconds, where there are arrivals.
        reported: arrival minus time of failures.
        disorder: how far telemetry lies below the newest time of its asset in order of arrival.
        rejects: how often each reason for a reject came.
        oldest: the earliest time of telemetry by asset.
        newest: the latest time of telemetry by asset.
        received: arrival and time of each message of telemetry, by asset.
        previous: time of the latest message by asset and first sensor.
    """

    sensors: dict[str, Sensor] = field(default_factory=dict)
    assets: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, int]] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    components: Counter[str] = field(default_factory=Counter)
    attributes: dict[str, set[str | float | bool | None]] = field(default_factory=lambda: defaultdict(set))
    first: int = 1 << 62
    last: int = -(1 << 62)
    intervals: Counter[int] = field(default_factory=Counter)
    lateness: list[int] = field(default_factory=list)
    reported: list[int] = field(default_factory=list)
    disorder: list[int] = field(default_factory=list)
    rejects: Counter[str] = field(default_factory=Counter)
    oldest: dict[str, int] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)
    received: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    previous: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def cadence(self) -> int:
        """The median of the intervals, microseconds; an hour without any."""
        half, seen = sum(self.intervals.values()) / 2, 0
        for interval, count in sorted(self.intervals.items()):
            seen += count
            if seen >= half:
                return interval
        return MICROSECONDS["h"]

    def share(self, horizon: int) -> float:
        """The share of a machine's time that lies within a horizon before a failure, as a mean of the modes.

        Only failures count whose machine sent telemetry up to at most a horizon before; 0 without any.

        Args:
            horizon: microseconds.
        """
        watched = sum(newest - self.oldest[asset] for asset, newest in self.newest.items())
        counted = sum(
            self.oldest[asset] <= time <= self.newest[asset] + horizon
            for asset, time in self.failures
            if asset in self.newest
        )
        return counted * horizon / (len(self.modes) * watched) if counted and watched else 0.0

    @property
    def end_together(self) -> bool:
        """Whether most machines send until the end of the data, as running machines do."""
        late = self.last - _SAME_END * (self.last - self.first)
        return len(self.newest) > 1 and 2 * sum(time >= late for time in self.newest.values()) > len(
            self.newest
        )


def survey(events: Iterator[Event | Reject]) -> Survey:
    """Count what is in events.

    Args:
        events: in the order of their arrival, or of their time.
    """
    found = Survey()
    for event in events:
        if isinstance(event, Reject):
            found.rejects[_VALUE.sub("a value", _LINE.sub("", event.detail))[:_MOST]] += 1
        elif isinstance(event, Telemetry):
            _add_telemetry(found, event)
        elif isinstance(event, Failure):
            _add_failure(found, event)
        elif isinstance(event, Fault):
            found.codes[event.code] += 1
        elif isinstance(event, Maintenance):
            found.components[event.component or ""] += 1
        elif isinstance(event, Registration):
            for name, value in event.attributes.items():
                if len(found.attributes[name]) < ENOUGH:
                    found.attributes[name].add(value)
    found.disorder += chain.from_iterable(map(_disorder, found.received.values()))
    return found


def _disorder(messages: list[tuple[int, int]]) -> Iterator[int]:
    """How far messages lie below the newest time before them, in order of receipt and not of a file.

    >>> list(_disorder([(5, 4), (3, 3), (4, 9)]))
    [5]
    """
    ordered = sorted(messages, key=itemgetter(0))
    newest = ordered[0][1]
    for _, time in ordered:
        if time < newest:
            yield newest - time
        newest = max(newest, time)


def _add_failure(found: Survey, event: Failure) -> None:
    found.modes[event.mode] += 1
    found.failed[event.asset] += 1
    found.failures.append((event.asset, event.time))
    if event.arrived is not None:
        found.reported.append(event.arrived - event.time)


def _add_telemetry(found: Survey, event: Telemetry) -> None:
    newest = found.newest
    for name, value in event.readings.items():
        sensor = found.sensors.setdefault(name, Sensor())
        if value is None:
            sensor.missing += 1
        else:
            sensor.count += 1
            sensor.least, sensor.largest = min(sensor.least, value), max(sensor.largest, value)
    found.assets[event.asset] += 1
    if event.arrived is not None and event.time > event.arrived + _AHEAD:
        return  # a wrong clock; the dataflow rejects it
    found.first, found.last = min(found.first, event.time), max(found.last, event.time)
    sensor_of_asset = (event.asset, next(iter(event.readings), ""))
    previous = found.previous.get(sensor_of_asset)
    if previous is not None and event.time > previous:
        found.intervals[event.time - previous] += 1
    found.previous[sensor_of_asset] = event.time if previous is None else max(previous, event.time)
    before = newest.get(event.asset)
    if before is not None and event.time < before and event.arrived is None:
        found.disorder.append(before - event.time)
    newest[event.asset] = event.time if before is None else max(before, event.time)
    found.oldest[event.asset] = min(event.time, found.oldest.get(event.asset, event.time))
    if event.arrived is not None:
        found.lateness.append(event.arrived - event.time)
        found.received[event.asset].append((event.arrived, event.time))
