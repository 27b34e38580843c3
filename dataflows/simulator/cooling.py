"""The engine and its cooling: coolant leaks away until the pump runs dry or the engine overheats.

Wear opens a leak. The level falls, faster with more wear and, as pressure rises, in the heat. Less coolant
carries less heat: first the fan makes up for it; when it can do no more, the engine gets hotter, most on hot
days and under heavy load. Drivers top up now and then, which hides the leak but leaves it open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from dataflows.simulator.failures import Duty, Part, Sensor

if TYPE_CHECKING:
    from dataflows.simulator.failures import Booleans, Floats, Integers
    from dataflows.simulator.scenario import Scenario

__all__ = ["Cooling"]

_FAN_BAND = 3.0  # °C above the thermostat's at which the fan runs at full speed
_BOILING, _TOO_HOT = 130.0, 110.0  # °C
_ENDURED, _BREAKS = 0.5, 2.0  # hours in a row too hot, and the hazard per hour then
_EMPTY, _EDGE = 0.12, 0.012  # of full: the hazard of a pump that draws air is 1 an hour there, e-fold of it
_CERTAIN = 60.0  # per hour: the most that a hazard gets to
_PUDDLE = 1e-3  # of full per hour
_LAMP, _LOW = 0.4, 0.75  # of full: the lamp is lit; a check tops up


class Cooling(Part):
    """Coolant, fan and engine temperature, of all trucks; it leaks where the scenario has the mode."""

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
        """Before the day's work: a check about once a week, and half of the drivers heed the lamp."""
        random, count = self.random, self.level.size
        chance = np.where(self.level < _LAMP, 0.5, np.where(self.level < _LOW, 1 / 6, 0.0))
        full = random.uniform(0.85, 1.0, count)
        self.level = np.where(random.random(count) < chance, full, self.level)

    def fill(self, trucks: Integers) -> None:
        """A service leaves the level full."""
        self.level[trucks] = 1.0

    def _leak(self) -> Floats:
        """Fraction of full lost per hour at working pressure; grows with the wear since the leak opened."""
        return np.asarray(1.1 * self.severity * self._beyond() ** 1.5)

    def _live(self, duty: Duty) -> Floats:
        """Wear, leak and heat; a standing engine only cools, but drips while it is under pressure."""
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
        dry = np.exp(np.minimum((_EMPTY - self.level) / _EDGE, 10.0))
        hazard = np.minimum(dry + _BREAKS * (self._hot / _ENDURED) ** 4, _CERTAIN)
        return np.where(driving, hazard, 0.0)

    def senses(self) -> tuple[Floats, ...]:
        """Level, temperature and fan."""
        return self.level, self.temperature, 600.0 + 1700.0 * self._fan

    def hidden(self) -> dict[str, Floats]:
        """Wear relative to that at which the leak opens; leak per hour; level; °C; hours in a row too hot."""
        return {
            "coolant_wear": self.wear / self.opens,
            "coolant_leak": self._leak(),
            "coolant_level": self.level,
            "engine_temperature": self.temperature,
            "hours_too_hot": self._hot,
        }

    def shows(self) -> Booleans:
        """A puddle under the truck."""
        return np.asarray(self._leak() > _PUDDLE)
