"""Parts that wear and fail: cooling, wheel bearing and starter battery, one for each failure mode.

Hidden wear adds up until a fault opens. From then on the fault grows, and sensors show it. The hidden state
gives a hazard: the probability per hour of failing by this mode while the truck works. Failures are drawn
from it. A part fails when its hazard, integrated over the hours at work, reaches a threshold; the threshold
is drawn from the exponential distribution when the part is installed (the inversion method for a Poisson
process of varying rate; L. Devroye, "Non-Uniform Random Variate Generation", Springer 1986, chapter VI).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from dataflows.simulator.chance import stream
from dataflows.simulator.scenario import MODES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataflows.simulator.scenario import Scenario

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Booleans = NDArray[np.bool_]

__all__ = ["Battery", "Bearing", "Cooling", "Duty", "Episode", "Part", "Sensor"]


class Sensor(NamedTuple):
    """A sensor: standard deviations of reading noise and of a truck's bias, least value, steps per unit."""

    name: str
    noise: float
    bias: float
    lowest: float
    steps: float


class Duty(NamedTuple):
    """Work of the trucks in one step: one entry a truck; temperatures in °C, load as a fraction of full."""

    driving: Booleans
    starting: Booleans
    load: Floats
    ambient: Floats
    engine: Floats
    hours: float
    now: int


@dataclass(frozen=True, slots=True)
class Episode:
    """Life of one part of a truck, from installation to its end; times in microseconds, None if never.

    Attributes:
        truck: index of the truck.
        number: number of the part among the truck's parts of this mode, from 1.
        severity: factor of the growth of the fault.
        new: whether it is a part of the scenario's `NewPart`.
        began: first time at which the truck worked with it.
        onset: time at which the fault opened.
        failed: time of the failure.
        reported: arrival of the failure record.
        replaced: time of a replacement before a failure.
        returned: time at which the truck came back from the workshop.
        exposure: hazard integrated over the hours at work.
    """

    truck: int
    mode: str
    number: int
    severity: float
    new: bool
    began: int
    onset: int | None
    exposure: float
    failed: int | None = None
    reported: int | None = None
    replaced: int | None = None
    returned: int | None = None


class Part(ABC):
    """One part of every truck, as arrays of one entry a truck.

    Attributes:
        mode: the failure mode.
        component: name of the component in maintenance records.
        sensors: sensors of the part.
        repair_hours: median and log-sigma of the time in the workshop, and its least.
        fails_at_start: whether it fails at the beginning of a step, before a message is sent.
        exposure: hazard integrated since the part was installed.
    """

    mode: ClassVar[str]
    sensors: ClassVar[tuple[Sensor, ...]]
    repair_hours: ClassVar[tuple[float, float, float]] = (30.0, 0.6, 4.0)
    fails_at_start: ClassVar[bool] = False
    _spread: ClassVar[float] = 0.9  # log-sigma of the severity

    def __init__(self, scenario: Scenario) -> None:
        self.random = stream(scenario, self.mode)
        self.active, count = self.mode in scenario.modes, scenario.trucks
        self.component = MODES[self.mode]
        self._new = scenario.part if scenario.part and scenario.part.mode == self.mode else None
        self._new_from = scenario.start + self._new.after if self._new else 0
        self.number, self.onset = np.zeros((2, count), np.int64)
        self.began = np.full(count, scenario.start)
        self.new = np.zeros(count, bool)
        self.wear, self.opens, self.severity, self.threshold, self.exposure = np.zeros((5, count))

    def settle(self, scenario: Scenario) -> None:
        """Install the first parts, with wear spread as in a fleet in the middle of its life."""
        self.renew(np.arange(scenario.trucks), scenario.start)
        self.wear += self.random.uniform(0.0, 0.98, scenario.trucks) * self.opens

    def renew(self, trucks: Integers, now: int) -> None:
        """Install new parts in some trucks."""
        size = trucks.size
        self.began[trucks] = now
        self.onset[trucks] = 0
        self.wear[trucks] = self.exposure[trucks] = 0.0
        self.number[trucks] += 1
        self.opens[trucks] = np.maximum(self.random.normal(1.0, 0.12, size), 0.5)
        self.severity[trucks] = self.random.lognormal(0.0, self._spread, size)
        self.threshold[trucks] = self.random.exponential(1.0, size)
        self.new[trucks] = self._new is not None and now >= self._new_from
        if self._new is not None and now >= self._new_from:
            self.opens[trucks] *= self._new.life
            self.severity[trucks] *= self._new.severity
        self._renewed(trucks)

    def step(self, duty: Duty) -> Floats:
        """Advance one step; return the hazard per hour of each truck, 0 where it rests."""
        hazard = self._live(duty)
        self.onset[(self.onset == 0) & (self.wear >= self.opens)] = duty.now
        return hazard if self.active else np.zeros_like(hazard)

    def episode(self, truck: int, **end: int) -> Episode:
        """End the running episode of a truck as given."""
        return Episode(
            truck,
            self.mode,
            int(self.number[truck]),
            float(self.severity[truck]),
            bool(self.new[truck]),
            int(self.began[truck]),
            int(self.onset[truck]) or None,
            float(self.exposure[truck]),
            **end,
        )

    def _beyond(self) -> Floats:
        """Wear since the fault opened."""
        return np.maximum(self.wear - self.opens, 0.0)

    @abstractmethod
    def _renewed(self, trucks: Integers) -> None:
        """Reset the further state of the part in some trucks."""

    @abstractmethod
    def _live(self, duty: Duty) -> Floats:
        """Advance wear and signs by one step; return the hazard per hour."""

    @abstractmethod
    def senses(self) -> tuple[Floats, ...]:
        """Reading of each sensor without noise, at the end of the step."""

    @abstractmethod
    def hidden(self) -> dict[str, Floats]:
        """Hidden states at the end of the step, by name."""

    @abstractmethod
    def shows(self) -> Booleans:
        """Trucks in which a service could find the fault."""


_FAN_BAND = 3.0  # °C above the thermostat's at which the fan runs at full speed
_BOILING, _TOO_HOT = 130.0, 110.0  # °C
_ENDURED, _BREAKS = 0.5, 2.0  # hours in a row too hot, and the hazard per hour then
_EMPTY, _DRY_EDGE = (
    0.12,
    0.012,
)  # of full: the hazard of a pump that draws air is 1 an hour there, e-fold of it
_COOLING_MOST = 60.0  # per hour: largest hazard
_PUDDLE = 1e-3  # of full per hour
_LAMP, _LOW = 0.4, 0.75  # of full: the lamp is lit; a check tops up


class Cooling(Part):
    """Cooling of the engine: coolant leaks until the pump runs dry or the engine overheats.

    Wear opens a leak. The level falls, faster with more wear and, as pressure rises, in the heat. Less
    coolant carries less heat. First the fan compensates; at its limit the engine gets hotter, most on hot
    days and under heavy load. Drivers top up now and then; the leak is hidden, and stays open. All trucks
    have cooling; it leaks only if the scenario has the mode.
    """

    mode: ClassVar[str] = "coolant_leak"
    sensors: ClassVar[tuple[Sensor, ...]] = (
        Sensor("coolant_level", 0.03, 0.02, 0.0, 1000.0),  # fraction of full
        Sensor("engine_temperature", 0.8, 0.8, -60.0, 10.0),  # °C
        Sensor("fan_speed", 60.0, 25.0, 0.0, 1.0),  # revolutions a minute
    )

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        random, count = self.random, scenario.trucks
        self._rate = random.lognormal(np.log(1 / 620), 0.75, count)  # wear per hour of driving
        if not self.active:
            self._rate[:] = 0.0
        self.radiator = random.uniform(0.85, 1.05, count)
        self._thermostat = 86.0 + random.normal(0.0, 1.2, count)
        self._seep = random.lognormal(np.log(5e-4), 0.8, count)  # of full per hour: no system is quite tight
        self.temperature, self._hot, self._fan = np.full(count, 15.0), np.zeros(count), np.zeros(count)
        self.level = np.ones(count)
        self.settle(scenario)

    def _renewed(self, trucks: Integers) -> None:
        self._hot[trucks] = 0.0
        self.level[trucks] = self.random.uniform(0.9, 1.0, trucks.size)

    def top_up(self) -> None:
        """Top up before the day's work: a check about once a week; half of the drivers react to the lamp."""
        random, count = self.random, self.level.size
        chance = np.where(self.level < _LAMP, 0.5, np.where(self.level < _LOW, 1 / 6, 0.0))
        full = random.uniform(0.85, 1.0, count)
        self.level = np.where(random.random(count) < chance, full, self.level)

    def fill(self, trucks: Integers) -> None:
        """Fill the coolant, as a service does."""
        self.level[trucks] = 1.0

    def _leak(self) -> Floats:
        """Fraction of full lost per hour at working pressure; grows with the wear since the leak opened."""
        return np.asarray(1.1 * self.severity * self._beyond() ** 1.5)

    def _live(self, duty: Duty) -> Floats:
        """Advance wear, leak and heat; a standing engine only cools, but drips while it is under pressure."""
        driving, hours = duty.driving, duty.hours
        heat, gap = 0.2 + 0.8 * duty.load, np.maximum(self._thermostat - duty.ambient, 5.0)
        # Full coolant and fan hold full load at 40 °C with a quarter to spare; wind alone gives 45 % of that.
        flow = self.radiator * 1.25 / 46.0 * np.minimum(self.level / 0.75, 1.0)
        need = (heat / gap / np.maximum(flow, 1e-4) - 0.45) / 0.55
        self._fan = np.where(driving, np.clip(need, 0.0, 1.0), 0.0)
        free = duty.ambient + heat / np.maximum(flow * (0.45 + 0.55 * self._fan), 1e-3)
        aim = np.clip(free, self._thermostat + _FAN_BAND * self._fan, _BOILING)
        aim, pace = np.where(driving, aim, duty.ambient), np.where(driving, 0.25, 1.5)
        self.temperature += (aim - self.temperature) * -np.expm1(-hours / pace)
        self._hot = np.where(driving & (self.temperature > _TOO_HOT), self._hot + hours, 0.0)
        strain = 0.5 + duty.load + 0.02 * np.maximum(self.temperature - 90.0, 0.0)
        self.wear += np.where(driving, self._rate * strain * hours, 0.0)
        pressure = np.clip((self.temperature - 40.0) / 50.0, 0.0, 2.0)
        lost = np.where(driving, self._seep, 0.0) + self._leak() * pressure
        self.level = np.maximum(self.level - lost * hours, 0.0)
        dry = np.exp(np.minimum((_EMPTY - self.level) / _DRY_EDGE, 10.0))
        hazard = np.minimum(dry + _BREAKS * (self._hot / _ENDURED) ** 4, _COOLING_MOST)
        return np.where(driving, hazard, 0.0)

    def senses(self) -> tuple[Floats, ...]:
        """Level, temperature and fan speed."""
        return self.level, self.temperature, 600.0 + 1700.0 * self._fan

    def hidden(self) -> dict[str, Floats]:
        """Wear, 1 where the leak opens; leak per hour; level; °C; hours in a row too hot."""
        return {
            "coolant_wear": self.wear / self.opens,
            "coolant_leak": self._leak(),
            "coolant_level": self.level,
            "engine_temperature": self.temperature,
            "hours_too_hot": self._hot,
        }

    def shows(self) -> Booleans:
        """Trucks with a puddle under them."""
        return np.asarray(self._leak() > _PUDDLE)


_EXPONENT = 10 / 3
_GROWTH, _SEED = 0.012, 0.05  # per hour at half load; size from which a spall grows
_HAZARD, _STEEP = 0.03, 6  # per hour at a spall of 1; exponent
_BEARING_MOST = 20.0  # per hour
_AUDIBLE = 0.25  # spall
_LARGEST = 4.0  # no spall outgrows the race


class Bearing(Part):
    """The most worn wheel bearing: fatigue opens a spall, which grows, shakes, heats and at last seizes.

    Fatigue adds up with load to the power 10/3, the exponent of roller bearings in ISO 281. The spall grows
    in proportion to its size. It raises vibration from the beginning, temperature only near the end.
    """

    mode: ClassVar[str] = "bearing_wear"
    sensors: ClassVar[tuple[Sensor, ...]] = (
        Sensor("vibration", 0.12, 0.15, 0.0, 100.0),  # mm/s, root mean square
        Sensor("bearing_temperature", 0.8, 0.8, -60.0, 10.0),  # °C
    )
    _spread: ClassVar[float] = 0.6

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        count = scenario.trucks
        self._rate = self.random.lognormal(np.log(1 / 2000), 0.7, count)  # per hour of driving at half load
        self._spall, self._load = np.zeros((2, count))
        self._temperature = np.full(count, 15.0)
        self.settle(scenario)

    def _renewed(self, trucks: Integers) -> None:
        self._spall[trucks] = 0.0

    def _live(self, duty: Duty) -> Floats:
        hours = duty.hours
        stress = np.where(duty.driving, (0.5 + duty.load) ** _EXPONENT, 0.0)
        self.wear += self._rate * stress * hours
        growth = np.where(self.wear >= self.opens, _GROWTH * self.severity * stress * hours, 0.0)
        self._spall = np.minimum(self._spall + (_SEED + self._spall) * np.expm1(growth), _LARGEST)
        self._load = duty.load
        aim = duty.ambient + np.where(duty.driving, 12.0 + 25.0 * duty.load + 30.0 * self._spall**2, 0.0)
        pace = np.where(duty.driving, 0.5, 1.5)
        self._temperature += (aim - self._temperature) * -np.expm1(-hours / pace)
        return np.where(duty.driving, np.minimum(_HAZARD * self._spall**_STEEP, _BEARING_MOST), 0.0)

    def senses(self) -> tuple[Floats, ...]:
        """Vibration and temperature."""
        return (0.8 + 1.2 * self._load) * (1.0 + 3.5 * self._spall), self._temperature

    def hidden(self) -> dict[str, Floats]:
        """Wear, 1 where the spall opens; size of the spall, about to seize at 1."""
        return {"bearing_wear": self.wear / self.opens, "bearing_spall": self._spall}

    def shows(self) -> Booleans:
        """Trucks with a spall that can be heard and felt."""
        return np.asarray(self._spall > _AUDIBLE)


_OPEN_CIRCUIT, _DROP = 25.2, 3.0  # volts of a 24 V system: at rest, and lost by a new battery in the warm
_NEEDED, _START_EDGE = 15.5, 0.35  # volts at which half of the starts fail, and the width of that edge
_WARM = 20.0  # °C, from which cold counts
_WEAK = 1.7  # multiple of a new battery's resistance that a tester finds
_LIFE = 1.5 * 365.25 * 24  # hours at 20 °C until the fault opens, median


class Battery(Part):
    """The starter battery: heat ages it, and cold reveals it.

    Ageing doubles with every 10 °C, and raises the inner resistance. Cold raises it too, and stiffens the oil
    of a cold engine, so the starter draws more current. The remaining voltage while cranking decides whether
    the engine starts: the battery fails at a start, most often on the first cold morning.
    """

    mode: ClassVar[str] = "battery_ageing"
    sensors: ClassVar[tuple[Sensor, ...]] = (
        Sensor("cranking_voltage", 0.08, 0.08, 0.0, 100.0),
    )  # lowest at the last start
    repair_hours: ClassVar[tuple[float, float, float]] = (5.0, 0.5, 2.0)
    fails_at_start: ClassVar[bool] = True
    _spread: ClassVar[float] = 0.6

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        count = scenario.trucks
        self._rate = self.random.lognormal(np.log(1 / _LIFE), 0.3, count)  # per hour at 20 °C
        self._cranking = np.full(count, _OPEN_CIRCUIT - _DROP)
        self.settle(scenario)

    def _renewed(self, trucks: Integers) -> None:
        """Do nothing: the part has no further state."""

    def _resistance(self) -> Floats:
        """Resistance, as a multiple of a new battery's in the warm."""
        return np.asarray(1.0 + 0.5 * self.wear / self.opens + 4.0 * self.severity * self._beyond())

    def _live(self, duty: Duty) -> Floats:
        self.wear += self._rate * 2.0 ** ((duty.ambient - _WARM) / 10.0) * duty.hours
        cold = 1.0 + 0.012 * np.maximum(_WARM - duty.ambient, 0.0)
        oil = 1.0 + 0.014 * np.maximum(_WARM - duty.engine, 0.0)
        volts = np.maximum(_OPEN_CIRCUIT - _DROP * self._resistance() * cold * oil, 0.0)
        self._cranking = np.where(duty.starting, volts, self._cranking)
        # The chance p that this start fails, as a rate over the step: 1 - exp(-rate * hours) = p.
        rate = np.logaddexp(0.0, (_NEEDED - volts) / _START_EDGE) / duty.hours
        return np.where(duty.starting, rate, 0.0)

    def senses(self) -> tuple[Floats, ...]:
        """The lowest voltage at the last start."""
        return (self._cranking,)

    def hidden(self) -> dict[str, Floats]:
        """Ageing, 1 where the fault opens; resistance as a multiple of a new battery's."""
        return {"battery_wear": self.wear / self.opens, "battery_resistance": self._resistance()}

    def shows(self) -> Booleans:
        """Trucks with a battery that a tester finds weak."""
        return np.asarray(self._resistance() > _WEAK)
