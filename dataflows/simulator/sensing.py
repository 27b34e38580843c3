"""Turn readings into messages of devices: troubles of sensors, firmware, error codes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dataflows.instants import MICROSECONDS
from dataflows.simulator.chance import Drawn, draw, stream
from dataflows.simulator.done import mark, mark_sensor, only_sensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataflows.simulator.failures import Sensor
    from dataflows.simulator.fleet import Lived
    from dataflows.simulator.scenario import Scenario

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Booleans = NDArray[np.bool_]

__all__ = ["FAULT_CODES", "WHOLE", "Messages", "Troubles", "sense"]

_DAY = MICROSECONDS["d"]
#: `Messages.what` of telemetry with all sensors; lower values are faults, higher ones one sensor.
WHOLE = -1
_SCATTER = 3.0  # of a recalibrated offset, in standard deviations of a new sensor's


class _Code(NamedTuple):
    """Error code, set at the second message in a row beyond a limit; again once recovered or on a new day."""

    name: str
    sensor: str
    above: bool
    limit: float
    cause: str


#: Error codes of trucks.
FAULT_CODES = (
    _Code("low_coolant", "coolant_level", False, 0.4, "less than 40 % of full"),  # noqa: FBT003
    _Code("overheating", "engine_temperature", True, 105.0, "above 105 °C"),  # noqa: FBT003
    _Code("vibration_alarm", "vibration", True, 7.1, "above 7.1 mm/s"),  # noqa: FBT003
    _Code("undervoltage", "cranking_voltage", False, 17.5, "below 17.5 V at the last start"),  # noqa: FBT003
)


@dataclass(frozen=True, slots=True)
class Messages:
    """Messages of the devices before delivery: one entry a message.

    Attributes:
        time: true time, microseconds.
        what: `WHOLE`; from 0 on, the index of the only sensor; below, the fault ``FAULT_CODES[-2 - what]``.
        row: row of ``readings`` for telemetry.
        done: changes made to it, as bits.
        readings: rows x sensors as sent; NaN is null.
        absent: rows x sensors: missing from the message.
    """

    truck: Integers
    time: Integers
    site: Integers
    what: Integers
    row: Integers
    done: Integers
    readings: Floats
    absent: Booleans


@dataclass(frozen=True, slots=True)
class Troubles:
    """Spells and changes of sensors; ``who`` of spells is truck x number of sensors + sensor.

    Attributes:
        stuck, dropouts: spells.
        recalibrated: (truck, sensor, microseconds, change of the offset).
        updated: whether each truck gets the new firmware.
    """

    stuck: Drawn
    dropouts: Drawn
    recalibrated: tuple[tuple[int, int, int, float], ...]
    updated: Booleans


def sense(scenario: Scenario, sensors: tuple[Sensor, ...], lived: Lived) -> tuple[Messages, Troubles]:
    """Make the messages of all devices, ordered by truck and time."""
    random, width = stream(scenario, "sensors"), len(sensors)
    troubles = _troubles(scenario, sensors, lived, random)
    done = np.zeros(lived.truck.size, np.int64)
    readings = lived.readings.copy()
    _recalibrate(lived, troubles, readings, done)
    readings = _rounded(np.maximum(readings, [sensor.lowest for sensor in sensors]), sensors)
    _stick(lived, troubles.stuck, width, readings, done)
    # Codes are set inside the truck, so firmware that rescales the numbers does not change them.
    faults = _faults(sensors, lived, readings) if scenario.fault_codes else None
    _update(scenario, sensors, lived, troubles, readings, done)
    readings = _rounded(readings, sensors)
    absent = _lose(scenario, lived, troubles.dropouts, readings, done, random)
    messages = _split(scenario, lived, readings, absent, done, random)
    return messages if faults is None else _with_faults(messages, lived, *faults), troubles


def _rounded(readings: Floats, sensors: tuple[Sensor, ...]) -> Floats:
    steps = np.array([sensor.steps for sensor in sensors])
    return np.asarray(np.rint(readings * steps) / steps + 0.0)  # which makes 0.0 of -0.0


def _troubles(
    scenario: Scenario, sensors: tuple[Sensor, ...], lived: Lived, random: np.random.Generator
) -> Troubles:
    settings, count = scenario.sensors, scenario.trucks * len(sensors)
    stuck, dropouts = (
        draw(random, spells, count, scenario) for spells in (settings.stuck, settings.dropouts)
    )
    recalibrated = []
    for truck, time in lived.services:
        chosen = np.flatnonzero(random.random(len(sensors)) < _recalibrates(scenario)).tolist()
        steps = random.normal(0.0, _SCATTER, len(chosen)).tolist()
        found = zip(chosen, steps, strict=True)
        recalibrated += [(truck, index, time, step * sensors[index].bias) for index, step in found]
    share = 0.0 if scenario.firmware is None else scenario.firmware.share
    updated = random.random(scenario.trucks) < share
    return Troubles(stuck, dropouts, tuple(recalibrated), updated)


def _recalibrates(scenario: Scenario) -> float:
    return 0.0 if scenario.service is None else scenario.service.recalibrates


def _recalibrate(lived: Lived, troubles: Troubles, readings: Floats, done: Integers) -> None:
    ends = np.searchsorted(lived.truck, np.arange(int(lived.truck.max(initial=0)) + 2))
    for truck, sensor, time, step in troubles.recalibrated:
        if truck >= ends.size - 1:
            continue
        first, last = int(ends[truck]), int(ends[truck + 1])
        first += int(np.searchsorted(lived.time[first:last], time))
        readings[first:last, sensor] += step
        mark_sensor(done[first:last], "recalibrated", sensor, np.ones(last - first, bool))


def _update(
    scenario: Scenario,
    sensors: tuple[Sensor, ...],
    lived: Lived,
    troubles: Troubles,
    readings: Floats,
    done: Integers,
) -> None:
    firmware = scenario.firmware
    if firmware is None:
        return
    sensor = [each.name for each in sensors].index(firmware.sensor)
    where = troubles.updated[lived.truck] & (lived.time >= scenario.start + firmware.after)
    readings[where, sensor] = readings[where, sensor] * firmware.scale + firmware.offset
    mark_sensor(done, "firmware", sensor, where)


def _stick(lived: Lived, stuck: Drawn, width: int, readings: Floats, done: Integers) -> None:
    """Repeat, within a spell, the reading of a sensor's first message."""
    for sensor in range(width) if stuck.who.size else ():
        spell = stuck.of(lived.truck * width + sensor, lived.time)
        within = np.flatnonzero(spell >= 0)
        _, first, of = np.unique(spell[within], return_index=True, return_inverse=True)
        readings[within, sensor] = readings[within[first[of]], sensor]
        mark_sensor(done, "stuck", sensor, spell >= 0)


def _lose(
    scenario: Scenario,
    lived: Lived,
    dropouts: Drawn,
    readings: Floats,
    done: Integers,
    random: np.random.Generator,
) -> Booleans:
    """Apply nulls, loose plugs and dropouts; return the readings that are missing from their message."""
    settings, width = scenario.sensors, readings.shape[1]
    day = (lived.time - scenario.start) // _DAY
    loose = random.random((scenario.days + 1, scenario.trucks, width)) < settings.loose
    absent = np.zeros(readings.shape, bool)
    for sensor in range(width):
        null, plug = random.random(lived.truck.size) < settings.null, loose[day, lived.truck, sensor]
        absent[:, sensor] = dropouts.of(lived.truck * width + sensor, lived.time) >= 0
        for what, where in (("null", null), ("loose", plug), ("dropout", absent[:, sensor])):
            readings[where, sensor] = np.nan
            mark_sensor(done, what, sensor, where)
    return absent


def _split(
    scenario: Scenario,
    lived: Lived,
    readings: Floats,
    absent: Booleans,
    done: Integers,
    random: np.random.Generator,
) -> Messages:
    """Make messages with all sensors, or one a sensor if the truck's gateway splits them."""
    width = readings.shape[1]
    split = random.random(scenario.trucks) < scenario.delivery.by_sensor
    row = np.repeat(np.arange(lived.truck.size), np.where(split[lived.truck], width, 1))
    within = np.arange(row.size) - np.searchsorted(row, row)
    what = np.where(split[lived.truck[row]], within, WHOLE)
    sent = (what == WHOLE) | ~absent[row, np.maximum(what, 0)]
    row, what = row[sent], what[sent]
    done = only_sensor(done[row], what)
    mark(done, "one_sensor", what != WHOLE)
    return Messages(lived.truck[row], lived.time[row], lived.site[row], what, row, done, readings, absent)


def _faults(sensors: tuple[Sensor, ...], lived: Lived, readings: Floats) -> tuple[Integers, Integers]:
    """Rows after which devices set an error code, and `Messages.what` of the code."""
    names, truck = [sensor.name for sensor in sensors], lived.truck
    same = np.append(False, truck[1:] == truck[:-1])
    same_day = np.append(False, lived.time[1:] // _DAY == lived.time[:-1] // _DAY)
    rows, whats = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for index, code in enumerate(FAULT_CODES):
        if code.sensor in names:
            values = readings[:, names.index(code.sensor)]
            beyond = values > code.limit if code.above else values < code.limit
            twice = beyond & same & np.append(False, beyond[:-1])
            lit = same & same_day & np.append(False, twice[:-1])
            rows.append(np.flatnonzero(twice & ~lit))
            whats.append(np.full(rows[-1].size, -2 - index))
    return np.concatenate(rows), np.concatenate(whats)


def _with_faults(messages: Messages, lived: Lived, row: Integers, what: Integers) -> Messages:
    """Insert error codes, each right after the telemetry that set it."""
    truck, time = np.append(messages.truck, lived.truck[row]), np.append(messages.time, lived.time[row])
    order = np.lexsort((np.arange(truck.size), time, truck))
    return replace(
        messages,
        truck=truck[order],
        time=time[order],
        site=np.append(messages.site, lived.site[row])[order],
        what=np.append(messages.what, what)[order],
        row=np.append(messages.row, row)[order],
        done=np.append(messages.done, np.zeros_like(row))[order],
    )
