"""Sites and their weather: the true temperature, and the weather rows about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dataflows.instants import MICROSECONDS
from dataflows.simulator.chance import draw, stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataflows.simulator.scenario import Scenario, Weather

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = ["Report", "Sites"]

_DAY, _HOUR, _SECOND = (MICROSECONDS[unit] for unit in "dhs")
_REGIONAL = 0.8  # correlation of the weather of two sites
_FORECAST_STEP = 3 * _HOUR

#: A weather row: site, valid time, issued, arrival, °C, kind.
Report = tuple[int, int, int, int, float, str]


class Sites:
    """The sites of a scenario.

    Attributes:
        names: names of the sites.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        count = scenario.sites.count
        self.names = tuple(f"site-{number:02d}" for number in range(1, count + 1))
        spread = scenario.sites.spread
        self._climate = np.linspace(-spread, spread, count) if count > 1 else np.zeros(1)
        days = scenario.days + 40  # forecasts reach beyond the end
        random = stream(scenario, "weather")
        drawn = random.normal(0.0, 2.8, (days, 1 + count))
        shocks = np.sqrt(_REGIONAL) * drawn[:, :1] + np.sqrt(1 - _REGIONAL) * drawn[:, 1:]
        self._spells = np.zeros((days, count))  # warm and cold spells: °C off the season, at midnights
        for day in range(1, days):
            self._spells[day] = 0.75 * self._spells[day - 1] + shocks[day]

    def temperature(self, site: Any, time: Any) -> Floats:  # noqa: ANN401 - arrays or numbers
        """True air temperature in °C at sites (indices) and times (microseconds), which broadcast."""
        days = (np.asarray(time) - self._scenario.start) / _DAY
        date, hour = np.asarray(time) / _DAY, np.asarray(time) % _DAY / _HOUR
        year = np.cos(2 * np.pi * (date % 365.25 - 20) / 365.25)  # the coldest day is 21 January
        day = np.clip(np.floor(days).astype(np.int64), 0, len(self._spells) - 2)
        part = np.clip(days - day, 0.0, 1.0)  # beyond the last day its spell stays
        spell = self._spells[day, site] * (1 - part) + self._spells[day + 1, site] * part
        mean = 11.0 + self._climate[site] - 11.0 * year
        return np.asarray(mean + 6.0 * np.cos(2 * np.pi * (hour - 15) / 24) + spell)

    def reports(self) -> list[Report]:
        """Weather rows, ordered by arrival; none if the scenario has none."""
        weather = self._scenario.weather
        if weather is None:
            return []
        random = stream(self._scenario, "weather rows")
        rows = [*self._observations(weather, random), *self._forecasts(weather, random)]
        rows.sort(key=lambda row: (row[3], row[0], row[1]))
        return [row for row in rows if row[3] < self._scenario.end]

    def _observations(self, weather: Weather, random: np.random.Generator) -> list[Report]:
        """One observation an hour and site, issued after the hour, with an error of about a third of a °C."""
        scenario, count = self._scenario, len(self.names)
        hours = np.arange(scenario.start, scenario.end, _HOUR)
        time, site = np.repeat(hours, count), np.tile(np.arange(count), hours.size)
        heard = draw(random, weather.gaps, count, scenario).of(site, time) < 0
        time, site = time[heard], site[heard]
        values = self.temperature(site, time) + random.normal(0.0, 0.3, time.size)
        wait = random.exponential(weather.observed_after, time.size)
        issued = time + 60 * _SECOND + (wait // _SECOND).astype(np.int64) * _SECOND
        return self._sent(random, weather, site, time, issued, values, "observation")

    def _forecasts(self, weather: Weather, random: np.random.Generator) -> list[Report]:
        """Forecasts, issued before their hours; the error grows with the time ahead."""
        scenario, count = self._scenario, len(self.names)
        issues = np.arange(scenario.start, scenario.end, weather.forecasts)
        ahead = np.arange(_FORECAST_STEP, weather.ahead + 1, _FORECAST_STEP)
        shape = (issues.size, count, ahead.size)
        issued = np.broadcast_to(issues[:, None, None], shape).ravel()
        site = np.broadcast_to(np.arange(count)[:, None], shape).ravel()
        lead = np.broadcast_to(ahead, shape).ravel()
        slope = np.broadcast_to(random.normal(0.0, 0.05, (issues.size, count, 1)), shape).ravel()
        error = random.normal(0.0, 0.4, lead.size) + slope * lead / _HOUR
        # Valid on whole hours, so that observations and forecasts of one time meet.
        time = (issued + lead) // _HOUR * _HOUR
        values = self.temperature(site, time) + error
        return self._sent(random, weather, site, time, issued, values, "forecast")

    @staticmethod
    def _sent(
        random: np.random.Generator,
        weather: Weather,
        site: Integers,
        time: Integers,
        issued: Integers,
        values: Floats,
        what: str,
    ) -> list[Report]:
        late = random.random(time.size) < weather.late
        wait = np.where(late, random.exponential(weather.late_by, time.size), 0.0)
        wait += _SECOND + random.exponential(20.0 * _SECOND, time.size)
        arrival = issued + wait.astype(np.int64) // 1000 * 1000
        kinds = [f"late {what}" if each else what for each in late.tolist()]
        columns = (site, time, issued, arrival, np.round(values, 1) + 0.0)
        return list(zip(*(column.tolist() for column in columns), kinds, strict=True))
