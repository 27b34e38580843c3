"""The starter battery: heat ages it, the cold finds it out.

Ageing doubles with every 10 °C, and raises the inner resistance. Cold raises it too, and stiffens the oil of
a cold engine, so the starter draws more. What is left of the voltage while cranking decides whether the
engine starts: the battery fails at a start, most often on the first cold morning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from dataflows.simulator.failures import Duty, Part, Sensor

if TYPE_CHECKING:
    from dataflows.simulator.failures import Booleans, Floats, Integers
    from dataflows.simulator.scenario import Scenario

__all__ = ["Battery"]

_OPEN_CIRCUIT, _DROP = 25.2, 3.0  # volts of a 24 V system: at rest, and lost by a new battery in the warm
_NEEDED, _EDGE = 15.5, 0.35  # volts at which half of the starts fail, and the width of that edge
_WARM = 20.0  # °C, from which cold counts
_WEAK = 1.7  # multiple of a new battery's resistance that a tester finds
_LIFE = 1.5 * 365.25 * 24  # hours at 20 °C until the fault opens, median


class Battery(Part):
    """Inner resistance, and the voltage at the last start."""

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
        """Wear and fault are all there is."""

    def _resistance(self) -> Floats:
        """In multiples of a new battery's in the warm."""
        return np.asarray(1.0 + 0.5 * self.wear / self.opens + 4.0 * self.severity * self._beyond())

    def _live(self, duty: Duty) -> Floats:
        self.wear += self._rate * 2.0 ** ((duty.ambient - _WARM) / 10.0) * duty.hours
        cold = 1.0 + 0.012 * np.maximum(_WARM - duty.ambient, 0.0)
        oil = 1.0 + 0.014 * np.maximum(_WARM - duty.engine, 0.0)
        volts = np.maximum(_OPEN_CIRCUIT - _DROP * self._resistance() * cold * oil, 0.0)
        self._cranking = np.where(duty.starting, volts, self._cranking)
        # The chance p that this start fails, as a rate over the step: 1 - exp(-rate * hours) = p.
        rate = np.logaddexp(0.0, (_NEEDED - volts) / _EDGE) / duty.hours
        return np.where(duty.starting, rate, 0.0)

    def senses(self) -> tuple[Floats, ...]:
        """The lowest voltage at the last start."""
        return (self._cranking,)

    def hidden(self) -> dict[str, Floats]:
        """Ageing relative to that at which the fault opens; resistance in multiples of a new battery's."""
        return {"battery_wear": self.wear / self.opens, "battery_resistance": self._resistance()}

    def shows(self) -> Booleans:
        """A tester finds it weak."""
        return np.asarray(self._resistance() > _WEAK)
