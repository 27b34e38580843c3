"""Simulated recording: its events as documents, ordered by arrival, and the changes of each line."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from dataflows.instants import MICROSECONDS, format_instant
from dataflows.simulator.delivery import Delivered, deliver
from dataflows.simulator.done import codes_of
from dataflows.simulator.fleet import Fleet, Lived, sensors_of
from dataflows.simulator.scenario import Scenario, ScenarioError
from dataflows.simulator.sensing import FAULT_CODES, WHOLE, Messages, Troubles, sense
from dataflows.simulator.sites import Sites

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dataflows.simulator.failures import Episode, Sensor

    Integers = NDArray[np.int64]

__all__ = ["Record", "Simulated", "simulate"]

_SECOND = MICROSECONDS["s"]
_PART = 50_000  # messages converted at once, to bound the memory of Python objects


class Record(NamedTuple):
    """A record that comes from no device: its document without arrival, and the changes made to it."""

    arrival: int
    document: dict[str, Any]
    time: int | None
    done: list[str]


@dataclass(frozen=True)
class Simulated:
    """A recording and the truth behind it.

    Attributes:
        names: names of the trucks, by index.
        sensors: sensors of the trucks, in the order of readings.
        lived: work of the trucks, and hidden states.
        messages: messages of the devices before delivery.
        troubles: troubles of sensors.
        delivered: messages after delivery; the first ``delivered.arrived`` are in the recording.
        records: records of the recording that come from no device, ordered by arrival.
    """

    scenario: Scenario
    names: tuple[str, ...]
    sites: tuple[str, ...]
    sensors: tuple[Sensor, ...]
    lived: Lived
    messages: Messages
    troubles: Troubles
    delivered: Delivered
    records: tuple[Record, ...]

    @property
    def episodes(self) -> tuple[Episode, ...]:
        """All episodes, by truck, mode and number."""
        return self.lived.episodes

    @cached_property
    def lines(self) -> Integers:
        """Line of the recording, from 1, of each message that arrived; 0 for lost ones."""
        made = self.delivered
        before = np.searchsorted([each.arrival for each in self.records], made.arrival, side="left")
        lines = np.arange(1, made.arrival.size + 1) + before
        lines[made.arrived :] = 0
        return lines

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of the recording as documents, ordered by ``arrived``."""
        messages = self._sent()
        for record in self._merged(messages):
            yield (
                record.document | {"arrived": _text(record.arrival)} if isinstance(record, Record) else record
            )

    def deliveries(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each line of the recording, in order, then one for each lost message."""
        messages = self._changes()
        for line, record in enumerate(self._merged(messages), start=1):
            if isinstance(record, Record):
                delay = None if record.time is None else (record.arrival - record.time) / _SECOND
                true, stamp = _text(record.time), record.document.get("time")
                yield {"line": line, "true_time": true, "time": stamp, "delay": delay, "done": record.done}
            else:
                yield record
        yield from messages

    def _merged(self, messages: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any] | Record]:
        """Merge messages that arrived with records; at equal arrivals messages come first."""
        done, arrivals = 0, self.delivered.arrival[: self.delivered.arrived]
        places = np.searchsorted(arrivals, [each.arrival for each in self.records], side="right")
        for place, record in zip(places.tolist(), self.records, strict=True):
            yield from islice(messages, place - done)
            done = place
            yield record
        yield from islice(messages, self.delivered.arrived - done)

    def _sent(self) -> Iterator[dict[str, Any]]:
        """Documents of the messages that arrived."""
        sensors, several = [sensor.name for sensor in self.sensors], len(self.sites) > 1
        for truck, site, what, time, arrived, row, missing in self._columns():
            event: dict[str, Any] = {"kind": "telemetry", "asset": self.names[truck], "time": time}
            if what == WHOLE:
                event["readings"] = dict(zip(sensors, row, strict=True))
                for sensor in missing:
                    del event["readings"][sensors[sensor]]
            elif what > WHOLE:
                event["readings"] = {sensors[what]: row[what]}
            else:
                event |= {"kind": "fault", "code": FAULT_CODES[-2 - what].name}
            if several and what >= WHOLE:
                event["site"] = self.sites[site]
            event["arrived"] = arrived
            yield event

    def _columns(self) -> Iterator[tuple[Any, ...]]:
        """Truck, site, kind, time, arrival, readings and missing readings of the messages that arrived."""
        made, sent = self.delivered, self.messages
        for first in range(0, made.arrived, _PART):
            part = slice(first, min(first + _PART, made.arrived))
            message = made.message[part]
            values, absent = sent.readings[sent.row[message]], sent.absent[sent.row[message]]
            shown = values.astype(object)
            shown[np.isnan(values)] = None
            gaps: list[bool] = np.any(absent, axis=1).tolist()
            missing = zip(absent, gaps, strict=True)
            yield from zip(
                sent.truck[message].tolist(),
                sent.site[message].tolist(),
                sent.what[message].tolist(),
                _texts(made.stamp[part], "s"),
                _texts(made.arrival[part], "ms"),
                shown.tolist(),
                [np.flatnonzero(row).tolist() if some else () for row, some in missing],
                strict=True,
            )

    def _changes(self) -> Iterator[dict[str, Any]]:
        """Yield a row of the changes of each message."""
        made, sent = self.delivered, self.messages
        sensors = [sensor.name for sensor in self.sensors]
        codes: dict[int, list[str]] = {}
        for first in range(0, made.arrival.size, _PART):
            part = slice(first, first + _PART)
            true, original = sent.time[made.message[part]], made.original[part]
            columns = (
                self.lines[part].tolist(),
                _texts(true, "s"),
                _texts(made.stamp[part], "s"),
                ((made.arrival[part] - true) / _SECOND).tolist(),
                made.done[part].tolist(),
                np.where(original < 0, 0, self.lines[original]).tolist(),
                sent.truck[made.message[part]].tolist(),
                (sent.what[made.message[part]] < WHOLE).tolist(),
            )
            for line, time, stamp, delay, done, of, truck, fault in zip(*columns, strict=True):
                if done not in codes:
                    codes[done] = codes_of(done, sensors)
                row = {
                    "line": line or None,
                    "true_time": time,
                    "time": stamp,
                    "delay": delay,
                    "done": codes[done],
                }
                if of:
                    row["of"] = of
                if not line:
                    row |= {"asset": self.names[truck], "kind": "fault" if fault else "telemetry"}
                yield row


def simulate(scenario: Scenario) -> Simulated:
    """Simulate the fleet, its devices and their networks.

    Raises:
        ScenarioError: the scenario names a sensor or part that its modes do not have.
    """
    sensors = sensors_of(scenario)
    known = [sensor.name for sensor in sensors]
    if scenario.firmware is not None and scenario.firmware.sensor not in known:
        msg = f"firmware.sensor: expected one of {', '.join(known)}, got {scenario.firmware.sensor!r}"
        raise ScenarioError(msg)
    if scenario.part is not None and scenario.part.mode not in scenario.modes:
        msg = f"part.mode: expected one of the modes {', '.join(scenario.modes)}, got {scenario.part.mode!r}"
        raise ScenarioError(msg)
    sites = Sites(scenario)
    fleet = Fleet(scenario, sites)
    lived = fleet.live()
    messages, troubles = sense(scenario, sensors, lived)
    delivered = deliver(scenario, messages)
    names = tuple(f"truck-{number:03d}" for number in range(1, scenario.trucks + 1))
    records = [*_registry(scenario, fleet, names, sites), *_records(scenario, lived, names), *_weather(sites)]
    within = sorted((each for each in records if each.arrival < scenario.end), key=lambda each: each.arrival)
    return Simulated(
        scenario, names, sites.names, sensors, lived, messages, troubles, delivered, tuple(within)
    )


def _registry(scenario: Scenario, fleet: Fleet, names: tuple[str, ...], sites: Sites) -> Iterator[Record]:
    """One registry row a truck, at the very beginning."""
    columns = (names, fleet.home.tolist(), fleet.age.tolist(), fleet.power.tolist())
    for name, home, age, power in zip(*columns, strict=True) if scenario.registry else ():
        attributes = {"age": age, "model": f"H{power}", "power": power}
        row = {"kind": "asset", "asset": name, "class": "truck", "site": sites.names[home]}
        yield Record(scenario.start, row | {"attributes": attributes}, None, [])


def _records(scenario: Scenario, lived: Lived, names: tuple[str, ...]) -> Iterator[Record]:
    """Failure records, and maintenance records if there are services."""
    for each in lived.episodes:
        if each.failed is not None and each.reported is not None:
            identity = f"{names[each.truck]}-{each.mode}-{each.number}"
            event = {"kind": "failure", "asset": names[each.truck], "time": _text(each.failed)}
            yield Record(each.reported, event | {"mode": each.mode, "id": identity}, each.failed, [])
    for number, work in enumerate(lived.work if scenario.service else (), start=1):
        event = {"kind": "maintenance", "asset": names[work.truck], "time": _text(work.time)}
        event |= {"component": work.component, "id": f"work-{number}"}
        yield Record(work.arrival, event, work.time, [])


def _weather(sites: Sites) -> Iterator[Record]:
    for site, time, issued, arrival, value, what in sites.reports():
        event = {"kind": "weather", "site": sites.names[site], "time": _text(time), "issued": _text(issued)}
        late, _, kind = what.rpartition(" ")
        yield Record(
            arrival, event | {"values": {"temperature": value}}, time, [kind, late] if late else [kind]
        )


def _text(instant: int | None) -> str | None:
    return None if instant is None else format_instant(instant)


def _texts(instants: Integers, grain: Literal["s", "ms"]) -> list[str]:
    """Format many instants at once, as `format_instant` does, cut to whole seconds or milliseconds."""
    moments: NDArray[np.datetime64] = instants.astype("datetime64[us]").astype(f"datetime64[{grain}]")
    return list(np.datetime_as_string(moments, unit="us", timezone="UTC").tolist())
