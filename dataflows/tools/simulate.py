"""A small simulator: a fleet of trucks whose engines fail when the coolant has leaked away.

Wear, which nobody measures, opens a leak. The level falls, faster with more wear and, as pressure rises, in
the heat. Less coolant carries less heat: first the fan makes up for it; when it can do no more, the engine
gets hotter, most on hot days and under heavy load. Drivers top up now and then, which hides the leak but
leaves it open. An engine too hot for too long, or with too little coolant left to pump, fails; the truck
stands in the workshop, silent, and comes back repaired. The report comes hours to days after the failure.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import orjson

from dataflows.instants import MICROSECONDS, format_instant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Booleans = NDArray[np.bool_]

__all__ = ["MODE", "SENSORS", "Episode", "Simulated", "Simulation", "SimulationError", "simulate", "write"]

#: In fraction of full, °C, revolutions a minute, fraction of full load, °C.
SENSORS = ("coolant_level", "engine_temperature", "fan_speed", "load", "ambient_temperature")
MODE = "coolant_leak"

_DAY, _HOUR, _MINUTE, _SECOND = (MICROSECONDS[unit] for unit in "dhms")
# Of each sensor: noise of a reading, bias of a truck's sensor, least value, and steps per unit.
_NOISE, _BIAS = (0.03, 0.8, 60.0, 0.02, 0.5), (0.02, 0.8, 25.0, 0.01, 0.4)
_LOWEST, _SCALE = (0, -60, 0, 0, -60), np.array((1000.0, 10.0, 1.0, 100.0, 10.0))
_NULL, _LOOSE = 0.003, 0.004  # shares of readings that are null, and of days a sensor's plug is loose
_SUNDAY = 3  # days since 1970-01-01, a Thursday, modulo 7
_FAN_BAND = 3.0  # °C above the thermostat's at which the fan runs at full speed
_TOO_HOT, _ENDURED, _BOILING = 110.0, 0.5, 130.0  # °C, the hours of it that break an engine, °C
_EMPTY, _LAMP, _LOW = 0.12, 0.4, 0.75  # of full: the pump draws air; the lamp is lit; a check tops up


class SimulationError(ValueError):
    """What is asked for cannot be simulated."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What to simulate; equal settings give equal bytes.

    Attributes:
        days: what would arrive after them is in the truth, not in the recording.
        every_minutes: between two messages of a truck that drives; also the step of the physics.
        start: microseconds since 1970-01-01T00:00Z, a midnight; nights and Sundays are those of UTC.

    Raises:
        SimulationError: no truck, no day, minutes that do not divide an hour, or a start that is no midnight.
    """

    trucks: int = 60
    days: int = 90
    every_minutes: int = 15
    seed: int = 7
    start: int = 1_746_057_600_000_000  # 2025-05-01, so that summer comes while the models learn

    def __post_init__(self) -> None:
        small = min(self.trucks, self.days, self.every_minutes, self.start) < 1
        if small or 60 % self.every_minutes or self.start % _DAY:
            msg = f"expected trucks, days >= 1, minutes that divide 60, start at a midnight; got {self}"
            raise SimulationError(msg)


@dataclass(frozen=True, slots=True)
class Episode:
    """One truck from new or repaired to its failure; times in microseconds, None where it did not fail.

    ``severity`` scales how fast the opening grows; ``reported`` is when the failure record arrives.
    """

    truck: int
    number: int
    severity: float
    began: int
    leaked: int | None
    failed: int | None = None
    reported: int | None = None
    returned: int | None = None


@dataclass(frozen=True, slots=True)
class Simulated:
    """A recording and the truth behind it.

    Attributes:
        names: of the trucks; ``truck`` and `Episode.truck` are indices into it.
        truck, time, arrival: one entry a telemetry message, ordered by arrival.
        readings: messages x `SENSORS`, rounded as sent; NaN where a sensor was silent.
        failures: the episodes whose failure was reported within the recording, ordered by report.
        episodes: all of them, by truck and number.
        states: days x trucks x (wear, leak, level, workshop) at midnight: wear relative to that at which the
            leak opens, leak in fraction of full per hour at working pressure, and 1.0 in the workshop.
    """

    settings: Simulation
    names: tuple[str, ...]
    truck: Integers
    time: Integers
    arrival: Integers
    readings: Floats
    failures: tuple[Episode, ...]
    episodes: tuple[Episode, ...]
    states: Floats

    def events(self) -> Iterator[dict[str, Any]]:
        """Telemetry and failure events as documents, ordered by ``arrived``."""
        telemetry, done = self._telemetry(), 0
        for failure in self.failures:
            place = int(np.searchsorted(self.arrival, failure.reported or 0, side="right"))
            yield from islice(telemetry, place - done)
            done, asset = place, self.names[failure.truck]
            event = {"kind": "failure", "asset": asset, "time": _text(failure.failed), "mode": MODE}
            yield event | {"id": f"{asset}-{failure.number}", "arrived": _text(failure.reported)}
        yield from telemetry

    def _telemetry(self, size: int = 50_000) -> Iterator[dict[str, Any]]:
        for first in range(0, self.time.size, size):  # in parts, to bound what is held as Python objects
            part = slice(first, first + size)
            values = self.readings[part].astype(object)
            values[np.isnan(self.readings[part])] = None
            times, arrivals = _texts(self.time[part], "s"), _texts(self.arrival[part], "ms")
            rows = zip(self.truck[part].tolist(), times, values.tolist(), arrivals, strict=True)
            for truck, time, row, arrived in rows:
                event = {"kind": "telemetry", "asset": self.names[truck], "time": time}
                yield event | {"readings": dict(zip(SENSORS, row, strict=True)), "arrived": arrived}

    def truth(self) -> Iterator[dict[str, Any]]:
        """A row an episode, then a row a midnight and truck with what no sensor shows."""
        for each in self.episodes:
            row = {"kind": "episode", "asset": self.names[each.truck], "episode": each.number, "mode": MODE}
            times = ("began", "leaked", "failed", "reported", "returned")
            row |= {name: _text(getattr(each, name)) for name in times}
            yield row | {"severity": round(each.severity, 3)}
        for day, rows in enumerate(np.round(self.states, 4).tolist()):
            time = _text(self.settings.start + day * _DAY)
            for name, (wear, leak, level, workshop) in zip(self.names, rows, strict=True):
                state = {"wear": wear, "leak": leak, "level": level, "workshop": workshop > 0}
                yield {"kind": "state", "asset": name, "time": time, **state}


def simulate(settings: Simulation) -> Simulated:
    """Run the fleet through its days."""
    fleet, end = _Fleet(settings), settings.start + settings.days * _DAY
    weather, states, messages = 0.0, [], []
    for midnight in range(settings.start, end, _DAY):
        away = fleet.back > midnight
        states.append(np.stack((fleet.wear / fleet.opens, fleet.leak(), fleet.level, away), axis=1))
        weather = 0.75 * weather + fleet.random.normal(0.0, 2.8)
        messages.append(fleet.live(midnight, weather))
    truck, time, arrival, readings = map(np.concatenate, zip(*messages, strict=True))
    order = np.argsort(arrival, kind="stable")
    order = order[: np.searchsorted(arrival[order], end)]
    running = [fleet.episode(each) for each in np.flatnonzero(fleet.back == 0).tolist()]
    episodes = sorted(fleet.closed + running, key=lambda each: (each.truck, each.number))
    failures = [each for each in episodes if (each.reported or end) < end]
    failures.sort(key=lambda each: each.reported or 0)
    names = tuple(f"truck-{number:03d}" for number in range(1, settings.trucks + 1))
    telemetry = truck[order], time[order], arrival[order], readings[order]
    return Simulated(settings, names, *telemetry, tuple(failures), tuple(episodes), np.array(states))


def write(settings: Simulation, folder: Path) -> tuple[Path, Path]:
    """Simulate into ``events.jsonl`` and ``truth.jsonl``, returned, of the folder, made if need be."""
    simulated = simulate(settings)
    folder.mkdir(parents=True, exist_ok=True)
    events, truth = folder / "events.jsonl", folder / "truth.jsonl"
    for path, rows in ((events, simulated.events()), (truth, simulated.truth())):
        with path.with_suffix(".part").open("wb") as file:
            file.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
    truth.with_suffix(".part").rename(truth)
    events.with_suffix(".part").rename(events)
    return events, truth


class _Fleet:
    """What differs between trucks, and their hidden state: arrays of one entry a truck."""

    def __init__(self, settings: Simulation) -> None:
        self.random = random = np.random.Generator(np.random.PCG64(settings.seed))
        self.hours, self.count = settings.every_minutes / 60, (count := settings.trucks)
        self.wear_rate = random.lognormal(np.log(1 / 620), 0.75, count)  # per hour of driving
        self.radiator = random.uniform(0.85, 1.05, count)
        self.thermostat = 86.0 + random.normal(0.0, 1.2, count)
        self.seep = random.lognormal(np.log(5e-4), 0.8, count)  # of full per hour: no system is quite tight
        self.haul, self.climate = random.uniform(0.4, 0.65, count), random.normal(0.0, 2.0, count)
        self.bias = random.normal(0.0, _BIAS, (count, len(SENSORS)))
        self.phase = random.integers(0, settings.every_minutes * 60 - 20, count) * _SECOND
        self.number, self.leaked, self.back = np.zeros((3, count), np.int64)
        self.began = np.full(count, settings.start)
        self.wear, self.hot, self.fan, self.opens, self.severity = np.zeros((5, count))
        self.level, self.temperature = np.ones(count), np.full(count, 15.0)
        self.closed: list[Episode] = []
        self._renew(np.arange(count))
        self.wear += random.uniform(0.0, 0.98, count) * self.opens  # a fleet in the midst of its life

    def _renew(self, trucks: Integers) -> None:
        self.began[trucks] = np.maximum(self.began[trucks], self.back[trucks])
        for state in (self.back, self.leaked, self.wear, self.hot):
            state[trucks] = 0
        self.level[trucks] = self.random.uniform(0.9, 1.0, trucks.size)
        self.number[trucks] += 1
        self.opens[trucks] = self.random.normal(1.0, 0.12, trucks.size)
        self.severity[trucks] = self.random.lognormal(0.0, 0.9, trucks.size)

    def episode(self, truck: int, **end: int) -> Episode:
        """The running episode of a truck, ended as given."""
        leaked, severity = int(self.leaked[truck]) or None, float(self.severity[truck])
        return Episode(truck, int(self.number[truck]), severity, int(self.began[truck]), leaked, **end)

    def leak(self) -> Floats:
        """Fraction of full lost per hour at working pressure; grows with the wear since the leak opened."""
        return np.asarray(1.1 * self.severity * np.maximum(self.wear - self.opens, 0.0) ** 1.5)

    def live(self, midnight: int, weather: float) -> tuple[Integers, Integers, Integers, Floats]:
        """Live through one day: truck, time, arrival and readings of its messages."""
        random, count, steps = self.random, self.count, round(24 / self.hours)
        driving, load, ambient = self._plan(midnight, steps, weather)
        # Before the day's work: a check about once a week, and half of the drivers heed the lamp.
        chance = np.where(self.level < _LAMP, 0.5, np.where(self.level < _LOW, 1 / 6, 0.0))
        self.level = np.where(random.random(count) < chance, random.uniform(0.85, 1.0, count), self.level)
        senses = np.empty((len(SENSORS), steps, count))
        senses[3:] = load, ambient
        clock = midnight + np.arange(steps) * round(self.hours * _HOUR)
        times = clock[:, None] + self.phase + random.integers(0, 20, driving.shape) * _SECOND
        for step, now in enumerate(clock.tolist()):
            self._renew(np.flatnonzero((self.back > 0) & (self.back <= now)))
            driving[step] &= self.back == 0
            self._step(driving[step], load[step], ambient[step], now)
            senses[:3, step] = self.level, self.temperature, 600.0 + 1700.0 * self.fan
            broken = driving[step] & ((self.level < _EMPTY) | (self.hot >= _ENDURED))
            for truck in np.flatnonzero(broken).tolist():
                self._fail(truck, int(times[step, truck]))
        sent, trucks = np.nonzero(driving)
        readings = senses[:, sent, trucks].T + self.bias[trucks]
        readings = np.maximum(readings + random.normal(0.0, _NOISE, readings.shape), _LOWEST)
        readings = np.rint(readings * _SCALE) / _SCALE + 0.0  # which makes 0.0 of -0.0
        loose = random.random((count, len(SENSORS))) < _LOOSE
        readings[loose[trucks] | (random.random(readings.shape) < _NULL)] = np.nan
        delay = 800_000 + random.exponential(3_000.0, sent.size).astype(np.int64) * 1000
        return trucks, times[driving], times[driving] + delay, readings

    def _plan(self, midnight: int, steps: int, weather: float) -> tuple[Booleans, Floats, Floats]:
        """Who drives when, with what load and in what heat: steps x trucks each."""
        random, count = self.random, self.count
        hour, date = np.arange(steps)[:, None] * self.hours, midnight // _DAY
        works = random.random(count) < (0.1 if date % 7 == _SUNDAY else 0.95)
        starts, ends = random.normal(6.5, 0.8, count), random.normal(17.5, 1.3, count)
        pause = random.normal(12.0, 0.6, count)
        driving = works & (hour >= starts) & (hour < ends) & ((hour < pause) | (hour >= pause + 0.75))
        loaded = (hour < random.normal(12.0, 2.0, count)) == random.integers(0, 2, count, bool)
        load = self.haul * np.where(loaded, 1.3, 0.65) * random.lognormal(0.0, 0.25, (steps, count))
        year = np.cos(2 * np.pi * (date % 365.25 - 20) / 365.25)  # the coldest day is 21 January
        ambient = 11.0 - 11.0 * year + 6.0 * np.cos(2 * np.pi * (hour - 15) / 24) + weather + self.climate
        return driving, np.clip(load, 0.05, 1.0), ambient

    def _step(self, driving: Booleans, load: Floats, ambient: Floats, now: int) -> None:
        """Wear, leak and heat over one step; a standing engine only cools."""
        heat, gap = 0.2 + 0.8 * load, np.maximum(self.thermostat - ambient, 5.0)
        # Full coolant and fan hold full load at 40 °C with a quarter to spare; wind alone gives 45 % of that.
        flow = self.radiator * 1.25 / 46.0 * np.minimum(self.level / 0.75, 1.0)
        need = (heat / gap / np.maximum(flow, 1e-4) - 0.45) / 0.55
        self.fan = np.where(driving, np.clip(need, 0.0, 1.0), 0.0)
        free = ambient + heat / np.maximum(flow * (0.45 + 0.55 * self.fan), 1e-3)
        aim = np.clip(free, self.thermostat + _FAN_BAND * self.fan, _BOILING)
        aim, pace = np.where(driving, aim, ambient), np.where(driving, 0.25, 1.5)
        self.temperature += (aim - self.temperature) * -np.expm1(-self.hours / pace)
        self.hot = np.where(driving & (self.temperature > _TOO_HOT), self.hot + self.hours, 0.0)
        strain = 0.5 + load + 0.02 * np.maximum(self.temperature - 90.0, 0.0)
        self.wear += np.where(driving, self.wear_rate * strain * self.hours, 0.0)
        self.leaked[(self.leaked == 0) & (self.wear >= self.opens)] = now
        pressure = np.clip((self.temperature - 40.0) / 50.0, 0.0, 2.0)
        lost = np.where(driving, self.seep, 0.0) + self.leak() * pressure
        self.level = np.maximum(self.level - lost * self.hours, 0.0)

    def _fail(self, truck: int, seen: int) -> None:
        """End the episode minutes after the last message; report and repair take hours to days each."""
        failed = (seen // _MINUTE + int(self.random.integers(2, 12))) * _MINUTE
        hours = np.maximum(self.random.lognormal(np.log((18.0, 30.0)), (0.8, 0.6)), (1.0, 4.0))
        reported, returned = (failed + np.rint(hours * 60).astype(int) * _MINUTE).tolist()
        self.back[truck] = returned
        self.closed.append(self.episode(truck, failed=failed, reported=reported, returned=returned))


def _text(instant: int | None) -> str | None:
    return None if instant is None else format_instant(instant)


def _texts(instants: Integers, unit: Literal["s", "ms"]) -> list[str]:
    """Many instants at once, to whole seconds or milliseconds."""
    moments: NDArray[np.datetime64] = instants.astype("datetime64[us]")
    return list(np.datetime_as_string(moments, unit=unit, timezone="UTC").tolist())
