"""The workshop: repairs after failures, services, replaced parts, and their records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dataflows.instants import MICROSECONDS
from dataflows.simulator.chance import stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dataflows.simulator.failures import Cooling, Episode, Part
    from dataflows.simulator.scenario import Scenario

    Integers = NDArray[np.int64]

__all__ = ["Work", "Workshop"]

_DAY, _HOUR, _MINUTE = (MICROSECONDS[unit] for unit in "dhm")
_ROUTINE = "inspection"  # the component of a service that replaced nothing
_REPORT = (18.0, 0.8, 1.0)  # hours from failure to its report: median, log-sigma, least


@dataclass(frozen=True, slots=True)
class Work:
    """A maintenance record; times in microseconds."""

    truck: int
    time: int
    component: str
    arrival: int


class Workshop:
    """Repairs and services of all trucks.

    Args:
        scenario: settings of the services.
        cooling, parts: parts of the trucks; ``parts`` has all of them.

    Attributes:
        closed: ended episodes.
        work: maintenance, even if the scenario has no services and does not record it.
        services: (truck, microseconds) of all services.
        back: time until which each truck is in the workshop; 0 if it is not.
    """

    def __init__(self, scenario: Scenario, cooling: Cooling, parts: Sequence[Part]) -> None:
        self._scenario, self._cooling, self._parts = scenario, cooling, parts
        self._random, self._services = stream(scenario, "repairs"), stream(scenario, "services")
        count, service = scenario.trucks, scenario.service
        self._due = None
        if service is not None:
            self._due = scenario.start + self._services.integers(0, service.every, count)
        self.back, self._broken = np.zeros(count, np.int64), np.full(count, -1)
        self.closed: list[Episode] = []
        self.work: list[Work] = []
        self.services: list[tuple[int, int]] = []

    def running(self) -> list[Episode]:
        """Running episodes."""
        return [
            part.episode(truck)
            for index, part in enumerate(self._parts)
            if part.active
            for truck in np.flatnonzero(self._broken != index).tolist()
        ]

    def fail(self, truck: int, index: int, moment: int) -> None:
        """Fail a part of a truck; report and repair take hours to days each, in whole minutes."""
        part = self._parts[index]
        failed = -(-moment // _MINUTE) * _MINUTE
        (report, report_spread, report_least), (repair, spread, least) = _REPORT, part.repair_hours
        hours = self._random.lognormal(np.log((report, repair)), (report_spread, spread))
        hours = np.maximum(hours, (report_least, least))
        reported, returned = (failed + np.rint(hours * 60).astype(int) * _MINUTE).tolist()
        self.back[truck], self._broken[truck] = returned, index
        end = {"failed": failed, "reported": reported, "returned": returned}
        self.closed.append(part.episode(truck, **end))
        # The work is often recorded before the driver reports the failure.
        done, entered = self._random.random(), self._random.exponential(10.0)
        time = failed + round((returned - failed) * (0.3 + 0.7 * done) / _MINUTE) * _MINUTE
        self.work.append(Work(truck, time, part.component, time + round(entered * 60) * _MINUTE))

    def bring_back(self, now: int) -> None:
        """Return trucks that are repaired by now to work, with a new part."""
        returned = np.flatnonzero((self.back > 0) & (self.back <= now))
        for truck in returned.tolist():
            self._parts[self._broken[truck]].renew(np.array([truck]), int(self.back[truck]))
        self.back[returned], self._broken[returned] = 0, -1

    def night(self, midnight: int) -> None:
        """Do the services before the day's work."""
        part = self._scenario.part
        if part is not None and 0 <= midnight - self._scenario.start - part.after < _DAY:
            chosen = self._services.random(self.back.size) < part.retrofit
            index = next(i for i, each in enumerate(self._parts) if each.mode == part.mode)
            for truck in np.flatnonzero(chosen & (self.back == 0)).tolist():
                self._replace(truck, index, midnight + _HOUR)
        if self._due is None or self._scenario.service is None:
            return
        for truck in np.flatnonzero((self._due < midnight + _DAY) & (self.back == 0)).tolist():
            self._due[truck] += self._scenario.service.every
            self._serve(truck, midnight + int(self._services.integers(60, 4 * 60)) * _MINUTE)

    def _serve(self, truck: int, time: int) -> None:
        """Service a truck: fill the coolant and, by chance, find a visible fault."""
        service = self._scenario.service
        finds = 0.0 if service is None else service.finds
        self.services.append((truck, time))
        found = [
            index
            for index, part in enumerate(self._parts)
            if part.active and part.shows()[truck] and self._services.random() < finds
        ]
        self._cooling.fill(np.array([truck]))
        for index in found:
            self._replace(truck, index, time)
        if not found:
            self._enter(truck, time, _ROUTINE)

    def _replace(self, truck: int, index: int, time: int) -> None:
        part = self._parts[index]
        self.closed.append(part.episode(truck, replaced=time))
        part.renew(np.array([truck]), time)
        self._enter(truck, time, part.component)

    def _enter(self, truck: int, time: int, component: str) -> None:
        wait = round(self._services.exponential(8.0) * 60) * _MINUTE
        self.work.append(Work(truck, time, component, time + wait))
