"""Simulate the fleet: the work of trucks step by step, their readings, and the failures of their parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dataflows.instants import MICROSECONDS
from dataflows.simulator.chance import stream
from dataflows.simulator.failures import Battery, Bearing, Cooling, Duty, Episode, Part, Sensor
from dataflows.simulator.workshop import Work, Workshop

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataflows.simulator.scenario import Scenario
    from dataflows.simulator.sites import Sites

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Booleans = NDArray[np.bool_]
    Singles = NDArray[np.float32]

__all__ = ["Fleet", "Lived", "sensors_of"]

_DAY, _HOUR, _SECOND = (MICROSECONDS[unit] for unit in "dhs")
_SUNDAY = 3  # days since 1970-01-01, a Thursday, modulo 7
#: Sensors of every truck: fraction of full load, °C.
_OF_DUTY = (Sensor("load", 0.02, 0.01, 0.0, 100.0), Sensor("ambient_temperature", 0.5, 0.4, -60.0, 10.0))
_MORE: tuple[type[Part], ...] = (Bearing, Battery)
_LARGE = 0.95  # radiators above it belong to the larger engine
_JITTER = 20  # seconds, at most, from its truck's phase to a message


@dataclass(frozen=True, slots=True)
class Lived:
    """Readings of trucks, message by message, and their hidden states.

    Attributes:
        truck, time, site: one entry a message, ordered by truck and time; microseconds.
        readings: messages x sensors, with noise, not rounded.
        services: (truck, microseconds) of all services.
        exposed: steps x trucks: hours at work, up to a failure.
        hazard: steps x trucks x modes of the scenario, per hour at work.
        hidden: steps x trucks by name of the state.
    """

    truck: Integers
    time: Integers
    site: Integers
    readings: Floats
    episodes: tuple[Episode, ...]
    work: tuple[Work, ...]
    services: tuple[tuple[int, int], ...]
    exposed: Singles
    hazard: Singles
    hidden: dict[str, Singles]


@dataclass(slots=True)
class _Day:
    """One day of all trucks: arrays of steps x trucks, unless noted."""

    driving: Booleans
    load: Floats
    ambient: Floats
    times: Integers
    site: Integers  # trucks
    senses: Floats  # sensors x steps x trucks
    exposed: Singles
    hazard: Singles  # steps x trucks x modes
    hidden: list[dict[str, Floats]]  # a step: trucks


def sensors_of(scenario: Scenario) -> tuple[Sensor, ...]:
    """Sensors of a scenario's trucks, in the order of their readings."""
    more = [sensor for part in _MORE if part.mode in scenario.modes for sensor in part.sensors]
    return (*Cooling.sensors, *_OF_DUTY, *more)


class Fleet:
    """All trucks of a scenario.

    Args:
        scenario: settings of the simulation.
        sites: sites of the trucks and their weather.

    Attributes:
        home: index of each truck's site.
        power: power of each truck's engine, kW.
        age: age of each truck at the start, years.
    """

    def __init__(self, scenario: Scenario, sites: Sites) -> None:
        self._scenario, self._sites, count = scenario, sites, scenario.trucks
        self._sensors = sensors_of(scenario)
        random = stream(scenario, "trucks")
        self._haul, self._climate = random.uniform(0.4, 0.65, count), random.normal(0.0, 2.0, count)
        biases = [sensor.bias for sensor in self._sensors]
        self._bias = random.normal(0.0, biases, (count, len(biases)))
        slots = scenario.every // _SECOND - _JITTER
        self._phase = random.integers(0, slots, count) * _SECOND
        self.home = random.integers(0, scenario.sites.count, count)
        self._duty, self._noise, self._trips = (stream(scenario, name) for name in ("duty", "noise", "trips"))
        self._cooling = Cooling(scenario)
        more = (part(scenario) for part in _MORE if part.mode in scenario.modes)
        self._parts: tuple[Part, ...] = (self._cooling, *more)
        self._modes = [[part.mode for part in self._parts].index(mode) for mode in scenario.modes]
        self._workshop = Workshop(scenario, self._cooling, self._parts)
        self._steps, self._hours = _DAY // scenario.every, scenario.every / _HOUR
        worn = np.mean([part.wear / part.opens for part in self._parts if part.active], axis=0)
        self.age = np.round(np.maximum(8.0 * worn + random.normal(0.0, 0.7, count), 0.1), 1)
        self.power = np.where(self._cooling.radiator > _LARGE, 330, 260)

    def live(self) -> Lived:
        """Simulate all days."""
        scenario = self._scenario
        messages, days = [], []
        for midnight in range(scenario.start, scenario.end, _DAY):
            day = self._plan(midnight)
            self._workshop.night(midnight)
            self._cooling.top_up()
            self._drive(day, midnight)
            messages.append(self._measured(day))
            hidden = {name: np.stack([step[name] for step in day.hidden]) for name in day.hidden[0]}
            days.append((day.exposed, day.hazard, {n: v.astype(np.float32) for n, v in hidden.items()}))
        truck, time, site, readings = (np.concatenate(column) for column in zip(*messages, strict=True))
        order = np.lexsort((time, truck))
        shop = self._workshop
        episodes = [each for each in (*shop.closed, *shop.running()) if each.mode in scenario.modes]
        episodes.sort(key=lambda each: (each.truck, each.mode, each.number))
        return Lived(
            truck=truck[order],
            time=time[order],
            site=site[order],
            readings=readings[order],
            episodes=tuple(episodes),
            work=tuple(shop.work),
            services=tuple(shop.services),
            exposed=np.concatenate([day[0] for day in days]),
            hazard=np.concatenate([day[1] for day in days]),
            hidden={name: np.concatenate([day[2][name] for day in days]) for name in days[0][2]},
        )

    def _plan(self, midnight: int) -> _Day:
        """Plan a day: driving times, sites, loads and temperatures."""
        random, count, steps = self._duty, self._scenario.trucks, self._steps
        hour, date = np.arange(steps)[:, None] * self._hours, midnight // _DAY
        works = random.random(count) < (0.1 if date % 7 == _SUNDAY else 0.95)
        starts, ends = random.normal(6.5, 0.8, count), random.normal(17.5, 1.3, count)
        pause = random.normal(12.0, 0.6, count)
        driving = works & (hour >= starts) & (hour < ends) & ((hour < pause) | (hour >= pause + 0.75))
        loaded = (hour < random.normal(12.0, 2.0, count)) == random.integers(0, 2, count, bool)
        load = self._haul * np.where(loaded, 1.3, 0.65) * random.lognormal(0.0, 0.25, (steps, count))
        away = self._trips.random(count) < self._scenario.sites.away
        site = np.where(away, self._trips.integers(0, self._scenario.sites.count, count), self.home)
        clock = midnight + np.arange(steps) * self._scenario.every
        times = clock[:, None] + self._phase + random.integers(0, _JITTER, driving.shape) * _SECOND
        return _Day(
            driving,
            np.clip(load, 0.05, 1.0),
            self._sites.temperature(site, clock[:, None]) + self._climate,
            times,
            site,
            np.empty((len(self._sensors), steps, count)),
            np.zeros((steps, count), np.float32),
            np.zeros((steps, count, len(self._modes)), np.float32),
            [],
        )

    def _drive(self, day: _Day, midnight: int) -> None:
        """Simulate the steps of a day."""
        shop, parts, before = self._workshop, self._parts, np.zeros(self._scenario.trucks, bool)
        for step in range(self._steps):
            now = midnight + step * self._scenario.every
            shop.bring_back(now)
            driving = day.driving[step]
            driving &= shop.back == 0
            duty = Duty(
                driving,
                driving & ~before,
                day.load[step],
                day.ambient[step],
                self._cooling.temperature.copy(),
                self._hours,
                now,
            )
            before = driving.copy()
            hazard = np.stack([part.step(duty) for part in parts])
            day.hazard[step] = hazard[self._modes].T
            day.exposed[step] = self._expose(hazard, day, step, now)
            first, *more = parts
            shown = (*first.senses(), day.load[step], day.ambient[step])
            for row, value in enumerate((*shown, *(each for part in more for each in part.senses()))):
                day.senses[row, step] = value
            day.hidden.append({name: value.copy() for part in parts for name, value in part.hidden().items()})

    def _expose(self, hazard: Floats, day: _Day, step: int, now: int) -> Floats:
        """Add the step's hazard and fail parts at their threshold; return the hours at work."""
        left = np.stack([part.threshold - part.exposure for part in self._parts])
        risk = hazard * self._hours
        fractions = np.full(risk.shape, 2.0)
        np.divide(left, risk, out=fractions, where=risk > np.maximum(left, 0.0))
        first = fractions.argmin(axis=0)
        worked = np.minimum(fractions.min(axis=0), 1.0)
        for part, each in zip(self._parts, risk, strict=True):
            part.exposure += each * worked
        for truck in np.flatnonzero(worked < 1.0).tolist():
            index = int(first[truck])
            at_start = self._parts[index].fails_at_start
            moment = now if at_start else now + int(worked[truck] * self._scenario.every)
            # A standing truck sends nothing; messages sent before stay.
            day.driving[step, truck] = day.times[step, truck] < moment
            self._workshop.fail(truck, index, moment)
        return np.where(day.driving[step] | (worked < 1.0), worked * self._hours, 0.0)

    def _measured(self, day: _Day) -> tuple[Integers, Integers, Integers, Floats]:
        """Truck, time, site and readings of the day's messages."""
        sent, truck = np.nonzero(day.driving)
        readings = day.senses[:, sent, truck].T + self._bias[truck]
        readings += self._noise.normal(0.0, [sensor.noise for sensor in self._sensors], readings.shape)
        return truck, day.times[sent, truck], day.site[truck], readings
