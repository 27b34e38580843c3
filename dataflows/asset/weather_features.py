"""The weather of an asset's latest event, and the fresher weather that revises it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from dataflows.instants import HOUR
from dataflows.items import WeatherAsOf, same_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataflows.fleet.fleet import Weather

__all__ = ["LatestWeather"]


class LatestWeather:
    """What the latest on-time event of one asset got of the weather, as features.

    Args:
        plan: what the class sees.
        state: what `state` returned, None for a new asset.
    """

    __slots__ = ("_held", "_held_revised", "_joined", "_plan", "revised")

    def __init__(self, plan: Weather, state: dict[str, Any] | None = None) -> None:
        self._plan = plan
        #: None where the event has no site.
        self._joined: WeatherAsOf | None = None
        #: What the latest message of a time that waits for sensors was joined with.
        self._held: WeatherAsOf | None = None
        #: Whether this is fresher weather than the event was joined with when it came.
        self.revised = False
        #: The same of the time that waits.
        self._held_revised = False
        if state is not None:
            same = tuple(state["names"]) == plan.values
            self._joined = self._again(state["joined"], state["names"])
            self._held = self._again(state["held"], state["names"])
            self.revised = state["revised"] and same
            self._held_revised = state["held_revised"] and same

    def _again(self, kept: list[Any] | None, names: list[str]) -> WeatherAsOf | None:
        """A row that was kept; after a change of class some values may be new to the asset."""
        if kept is None:
            return None
        site, time, issued, values = kept
        given = dict(zip(names, values, strict=True))
        return WeatherAsOf(site, time, issued, tuple(given.get(name, math.nan) for name in self._plan.values))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known."""
        return self._joined is None and self._held is None and not (self.revised or self._held_revised)

    @property
    def values(self) -> tuple[float, ...]:
        """In the order of the class, NaN is missing."""
        return (math.nan,) * len(self._plan.values) if self._joined is None else self._joined.values

    def take(self, joined: WeatherAsOf | None) -> None:
        """Note what the latest event was joined with; None where it has no site."""
        self._joined = joined
        self.revised = False

    def hold(self, joined: WeatherAsOf | None) -> None:
        """Note what a message was joined with whose time is not scored yet."""
        self._held = joined
        self._held_revised = False

    def take_held(self) -> None:
        """The time that was held is scored."""
        self._joined, self.revised = self._held, self._held_revised

    def offer(self, late: WeatherAsOf, time: int | None) -> bool:
        """Take weather that became known after the latest event, if that would now be joined with it.

        Args:
            late: the row.
            time: of the latest event, None where there is none.

        Returns:
            Whether it was taken.
        """
        if not self._would_join(late, time, self._joined):
            return False
        self._joined = late
        self.revised = True
        return True

    def offer_held(self, late: WeatherAsOf, time: int | None) -> None:
        """Take the same weather for the time that waits, which is then scored with it.

        Args:
            late: the row.
            time: that waits, None where none does.
        """
        if self._would_join(late, time, self._held):
            self._held = late
            self._held_revised = True

    def _would_join(self, late: WeatherAsOf, time: int | None, before: WeatherAsOf | None) -> bool:
        """Whether an event of this time, joined with other weather before, would now get this row."""
        if before is None or time is None or late.time is None or before.site != late.site:
            return False
        if not late.time <= time <= late.time + self._plan.max_age:
            return False
        if before.time is not None and (late.time, late.issued) < (before.time, before.issued):
            return False
        equal = (late.time, late.issued) == (before.time, before.issued)
        return not (equal and same_values(late.values, before.values))

    def features(self, time: int, out: NDArray[Any]) -> None:
        """Write the values, the age in hours and whether it is a forecast; all NaN where there is none.

        Args:
            time: of the latest event.
            out: (values + 2).
        """
        joined = self._joined
        if joined is None or joined.time is None:
            out[:] = math.nan
            return
        out[:-2] = joined.values
        out[-2] = (time - joined.time) / HOUR
        out[-1] = joined.issued < joined.time

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "names": self._plan.values,
            "joined": None if self._joined is None else msgspec.structs.astuple(self._joined),
            "held": None if self._held is None else msgspec.structs.astuple(self._held),
            "revised": self.revised,
            "held_revised": self._held_revised,
        }
