"""The wheel bearing: rolling fatigue opens a spall, which grows, shakes, heats, and at last seizes.

Fatigue adds up with load to the power 10/3, the exponent of roller bearings in ISO 281. The spall grows in
proportion to its size. Vibration rises with it from the beginning, heat only near the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from dataflows.simulator.failures import Duty, Part, Sensor

if TYPE_CHECKING:
    from dataflows.simulator.failures import Booleans, Floats, Integers
    from dataflows.simulator.scenario import Scenario

__all__ = ["Bearing"]

_EXPONENT = 10 / 3
_GROWTH, _SEED = 0.012, 0.05  # per hour at half load; size from which a spall grows
_HAZARD, _STEEP = 0.03, 6  # per hour at a spall of 1; exponent
_CERTAIN = 20.0  # per hour
_AUDIBLE = 0.25  # spall
_LARGEST = 4.0  # no spall outgrows the race


class Bearing(Part):
    """Spall, vibration and temperature of the bearing that wears most."""

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
        return np.where(duty.driving, np.minimum(_HAZARD * self._spall**_STEEP, _CERTAIN), 0.0)

    def senses(self) -> tuple[Floats, ...]:
        """Vibration and temperature."""
        return (0.8 + 1.2 * self._load) * (1.0 + 3.5 * self._spall), self._temperature

    def hidden(self) -> dict[str, Floats]:
        """Wear relative to that at which the spall opens; size of the spall, 1 where it is about to seize."""
        return {"bearing_wear": self.wear / self.opens, "bearing_spall": self._spall}

    def shows(self) -> Booleans:
        """It can be heard and felt."""
        return np.asarray(self._spall > _AUDIBLE)
