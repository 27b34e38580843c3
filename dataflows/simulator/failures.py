"""Parts that wear, show it, and fail with a probability an hour: what all of them have in common.

Wear, which nobody measures, adds up until a fault opens; from then on the fault grows and shows. The hidden
state gives a hazard: the probability per hour of failing by this mode, given that the truck works. Failures
are drawn from it: a part fails when its hazard, integrated over the hours at work, reaches a threshold that
was drawn from the exponential distribution when the part was built in (the inversion method for a Poisson
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

__all__ = ["Duty", "Episode", "Part", "Sensor"]


class Sensor(NamedTuple):
    """A sensor: standard deviations of a reading's noise and of a truck's bias, least value, steps a unit."""

    name: str
    noise: float
    bias: float
    lowest: float
    steps: float


class Duty(NamedTuple):
    """What trucks do in one step of so many hours: one entry a truck; temperatures in °C, load of full."""

    driving: Booleans
    starting: Booleans
    load: Floats
    ambient: Floats
    engine: Floats
    hours: float
    now: int


@dataclass(frozen=True, slots=True)
class Episode:
    """One part of a truck, from built in to its end; times in microseconds, None where it never came.

    Attributes:
        truck: index of the truck.
        number: of the truck's parts of this mode, from 1.
        severity: scales how fast the fault grows.
        new: whether it is the part of the scenario's `NewPart`.
        began: when the truck worked with it first.
        onset: when the fault opened.
        failed: when it failed.
        reported: when the failure record arrives.
        replaced: when it was replaced before it failed.
        returned: when the truck came back from the workshop.
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
    """One part of every truck: arrays of one entry a truck.

    Attributes:
        mode: the failure mode.
        component: as maintenance names it.
        sensors: what the part brings.
        repair_hours: median and log-sigma of the time in the workshop, and its least.
        fails_at_start: it fails when a step begins, before a message is sent.
        exposure: hazard integrated since the part was built in.
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
        """Build in the first parts, of a fleet in the midst of its life."""
        self.renew(np.arange(scenario.trucks), scenario.start)
        self.wear += self.random.uniform(0.0, 0.98, scenario.trucks) * self.opens

    def renew(self, trucks: Integers, now: int) -> None:
        """Build new parts into some trucks."""
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
        """Live through one step; the hazard per hour of each truck, 0 where it rests."""
        hazard = self._live(duty)
        self.onset[(self.onset == 0) & (self.wear >= self.opens)] = duty.now
        return hazard if self.active else np.zeros_like(hazard)

    def episode(self, truck: int, **end: int) -> Episode:
        """The running episode of a truck, ended as given."""
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
        """Set what else is as new in some trucks."""

    @abstractmethod
    def _live(self, duty: Duty) -> Floats:
        """Wear and show over one step; the hazard per hour."""

    @abstractmethod
    def senses(self) -> tuple[Floats, ...]:
        """What each sensor would show without noise, at the end of the step."""

    @abstractmethod
    def hidden(self) -> dict[str, Floats]:
        """Hidden states at the end of the step, by name."""

    @abstractmethod
    def shows(self) -> Booleans:
        """Where a service could find the fault."""
