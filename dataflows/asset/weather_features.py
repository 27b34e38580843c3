"""Weather as features: that of the latest event, and the later weather that revises it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from typing_extensions import override

from dataflows.event_time import is_current
from dataflows.events import Telemetry
from dataflows.features import WEATHER_MORE, FeatureBlock, weather_name
from dataflows.instants import HOUR
from dataflows.items import LateWeather, WeatherAsOf, supersedes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dataflows.features import AssetTimes
    from dataflows.fleet.fleet import AssetClass
    from dataflows.items import ResolvedEvent

__all__ = ["WeatherFeatures"]


class WeatherFeatures(FeatureBlock):
    """Weather of one asset: what its latest on-time event was joined with.

    Args:
        asset_class: names the values, and their largest age; it sees weather.
        state: what `state` returned, None for a new asset.

    Attributes:
        revised: later weather replaced the weather that the event was joined with.
    """

    __slots__ = ("_held", "_held_revised", "_joined", "_max_age", "_names", "revised")

    section = "weather"
    uses: ClassVar[tuple[type, ...]] = (Telemetry, LateWeather)

    def __init__(self, asset_class: AssetClass, state: Mapping[str, Any] | None = None) -> None:
        weather = asset_class.weather
        self._names = () if weather is None else weather.values
        self._max_age = 0 if weather is None else weather.max_age
        #: None where the event has no site.
        self._joined: WeatherAsOf | None = None
        #: Weather of the latest message of a time that waits for sensors.
        self._held: WeatherAsOf | None = None
        self.revised = False
        #: As `revised`, for the time that waits.
        self._held_revised = False
        if state is not None:
            same = tuple(state["names"]) == self._names
            self._joined = self._restored(state["joined"], state["names"])
            self._held = self._restored(state["held"], state["names"])
            self.revised = state["revised"] and same
            self._held_revised = state["held_revised"] and same

    def _restored(self, stored: list[Any] | None, names: list[str]) -> WeatherAsOf | None:
        """Restore a row; after a change of class some values may be new to the asset."""
        if stored is None:
            return None
        site, time, issued, values = stored
        given = dict(zip(names, values, strict=True))
        return WeatherAsOf(site, time, issued, tuple(given.get(name, math.nan) for name in self._names))

    @property
    @override
    def names(self) -> Sequence[str]:
        return [weather_name(name) for name in (*self._names, *WEATHER_MORE)]

    @override
    @classmethod
    def is_needed(cls, asset_class: AssetClass) -> bool:
        return asset_class.weather is not None

    @property
    @override
    def is_empty(self) -> bool:
        return self._joined is None and self._held is None and not (self.revised or self._held_revised)

    @property
    def values(self) -> tuple[float, ...]:
        """Values in the order of the class, NaN is missing."""
        return (math.nan,) * len(self._names) if self._joined is None else self._joined.values

    @override
    def add(self, accepted: ResolvedEvent, times: AssetTimes) -> bool:
        """Add the weather that telemetry was joined with, or weather that became known later."""
        event = accepted.event
        if isinstance(event, LateWeather):
            if self._would_join(event.weather, times.held, self._held):
                self._held, self._held_revised = event.weather, True
            if not self._would_join(event.weather, times.largest, self._joined):
                return False
            self._joined, self.revised = event.weather, True
            return True
        if isinstance(event, Telemetry):
            if event.time == times.largest:
                self._joined, self.revised = accepted.weather, False
            elif event.time == times.held:
                self._held, self._held_revised = accepted.weather, False
        return False

    @override
    def advance(self, time: int) -> None:
        """Use the weather of the latest message of the time that waited: it is scored now."""
        self._joined, self.revised = self._held, self._held_revised

    def _would_join(self, late: WeatherAsOf, time: int | None, before: WeatherAsOf | None) -> bool:
        """Whether an event of this time, joined with other weather before, would now get this row."""
        if before is None or time is None or late.time is None or before.site != late.site:
            return False
        if not is_current(late.time, time, self._max_age):
            return False
        return supersedes(late, before)

    @override
    def write(self, time: int, out: NDArray[Any]) -> None:
        """Write the values, the age in hours and whether it is a forecast; all NaN where there is none."""
        joined = self._joined
        if joined is None or joined.time is None:
            out[:] = math.nan
            return
        out[:-2] = joined.values
        out[-2] = (time - joined.time) / HOUR
        out[-1] = joined.issued < joined.time

    @override
    def state(self) -> dict[str, Any]:
        return {
            "names": self._names,
            "joined": None if self._joined is None else msgspec.structs.astuple(self._joined),
            "held": None if self._held is None else msgspec.structs.astuple(self._held),
            "revised": self.revised,
            "held_revised": self._held_revised,
        }
