"""Join events with weather, and find the assets whose latest prediction late weather revises."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import structlog

from dataflows.buckets import BUCKETS, Buckets
from dataflows.events import AssetEvent, Fault, Reject, Telemetry
from dataflows.events import Weather as Row
from dataflows.items import Expiry, Joined, LateWeather
from dataflows.lane.weather import Entry, Found, Issue, WeatherRows
from dataflows.lane.whereabouts import WHEREABOUTS_OLDER, WHEREABOUTS_VERSION, Whereabouts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from dataflows.fleet.plan import Fleet
    from dataflows.lane.registry import Registry

__all__ = ["SURROUNDINGS_PARTS", "Surroundings"]

_ROWS, _WHEREABOUTS = 0, BUCKETS
#: Weather by site and whereabouts by asset, each in buckets.
SURROUNDINGS_PARTS = 2 * BUCKETS
#: Weather further ahead of its arrival, in microseconds, has a wrong clock.
_FURTHEST = 366 * 86_400_000_000
_log = structlog.get_logger()


class _View(NamedTuple):
    """View of a class: indices of its values among those of the fleet, their largest age, and their time."""

    places: tuple[int, ...]
    max_age: int
    #: Whether a time is scored only when it is complete.
    waits: bool


class Surroundings:
    """Join telemetry with weather, as of the event's time and of present knowledge.

    Args:
        fleet: with at least one class that sees weather.
        registry: class and site of each asset.
        state: result of `state`, None for a new lane.
        parts: results of `part`, by number.
    """

    def __init__(
        self,
        fleet: Fleet,
        registry: Registry,
        state: Mapping[str, Any] | None,
        parts: Mapping[int, bytes],
    ) -> None:
        self._registry = registry
        self._names = fleet.weather
        self._max_future = fleet.assets.max_future
        self._views: dict[str, _View] = {}
        memory = 0
        for name, found in fleet.classes.items():
            if found.weather is not None:
                places = tuple(self._names.index(value) for value in found.weather.values)
                self._views[name] = _View(places, found.weather.max_age, found.required is not None)
                memory = max(memory, found.weather.max_age + found.allowed_lateness + found.weather.memory)
        rows = Buckets.read("weather", {p: s for p, s in parts.items() if p < _WHEREABOUTS})
        where = Buckets.read(
            "whereabouts",
            {p - _WHEREABOUTS: s for p, s in parts.items() if p >= _WHEREABOUTS},
            WHEREABOUTS_VERSION,
            WHEREABOUTS_OLDER,
        )
        clocks = WeatherRows.new_clocks()
        if state is None:
            # From a time before a pause without weather classes: the rows since then are unknown.
            rows, where = {}, {}
        else:
            clocks = tuple(state["clocks"])
            rows = _renamed(rows, state["names"], self._names)
        most = fleet.assets.max_weather
        self._rows = WeatherRows(memory + self._max_future, rows, clocks, most)
        self._where = Whereabouts(where)
        self._sites = Buckets("weather", self._rows.entry)
        self._sites.restore(rows)
        if state is not None and tuple(state["names"]) != self._names:
            # The main snapshot will have the present names for all of them.
            self._sites.touch_all()
        self._assets = Buckets("whereabouts", self._where.entry, WHEREABOUTS_VERSION)
        self._assets.restore(where)
        #: Parts to write again, since their stored content is not used.
        self._stale = sorted(parts) if state is None else []
        #: Number of telemetry records without weather, in classes that see weather.
        self.missed: int = 0 if state is None else state["missed"]
        self._warned = False

    def state(self) -> dict[str, Any]:
        """Plain data outside the parts."""
        return {"names": self._names, "clocks": self._rows.clocks, "missed": self.missed}

    def see(self, event: AssetEvent, asset_class: str) -> Joined | None:
        """Note an event; return the weather of telemetry, None if its class sees none or it has no site."""
        if isinstance(event, Telemetry):
            return self._join(event, asset_class)
        if isinstance(event, Fault):
            self._rows.see(event.time)
        return None

    def _join(self, event: Telemetry, asset_class: str) -> Joined | None:
        view = self._views.get(asset_class)
        self._rows.see(event.time)
        if view is None:
            return None
        site = event.site if event.site is not None else self._registry.site_of(event.asset)
        self._where.scored(event.asset, event.time, site, waits=view.waits)
        self._assets.touch(event.asset)
        found = None if site is None else self._rows.find(site, event.time, view.max_age)
        if found is None:
            self._miss(event.time, asset_class, view)
        return None if site is None else _joined(site, found, view)

    def _miss(self, time: int, asset_class: str, view: _View) -> None:
        self.missed += 1
        if not self._warned and time - view.max_age < self._rows.mark:
            self._warned = True
            _log.warning(
                "telemetry is older than the weather that is kept, so it may lack some; "
                f"classes.{asset_class}.weather.memory keeps more"
            )

    def expire(self, expiry: Expiry) -> None:
        """Note a dropped asset; it gets no weather revisions."""
        if expiry.what != "silent":
            self._where.dropped(expiry.asset, for_good=expiry.what == "buried")
            self._assets.touch(expiry.asset)

    def take(
        self, row: Row, sequence: int, arrival: int | None, known: int | None
    ) -> list[LateWeather] | Reject:
        """Add a row of weather; return the revisions that it causes, or why it cannot be used.

        Args:
            row: the row.
            sequence: sequence of its record.
            arrival: arrival of its record, None without arrivals.
            known: knowledge time, None if nothing is known yet.
        """
        given = tuple(row.values.get(name) for name in self._names)
        if all(value is None for value in given):
            return []
        if arrival is not None and row.issued is not None and row.issued > arrival + self._max_future:
            return Reject("future", "it was issued more than max_future after its arrival")
        if arrival is not None and row.time > arrival + _FURTHEST:
            return Reject("future", "its time lies more than 366 days after its arrival")
        for site in self._rows.sweep():
            self._sites.touch(site)
        values = tuple(math.nan if value is None else float(value) for value in given)
        # Without `issued` it is an observation, known from its place in the sequence on.
        issued, known = (row.time, row.time) if row.issued is None else (row.issued, known)
        taken = self._rows.add(Issue(issued, sequence, row.site, row.time, values), known)
        if isinstance(taken, Reject):
            return taken
        self._sites.touch(row.site)
        return list(self._late(row.site, row.time)) if taken else []

    def due(self, until: int) -> Iterator[tuple[int, list[LateWeather]]]:
        """Yield rows that came before their issue, with that instant and the revisions at it."""
        for row, news in self._rows.due(until):
            self._sites.touch(row.site)
            if news:
                yield row.issued, list(self._late(row.site, row.time))

    def _late(self, site: str, time: int) -> Iterator[LateWeather]:
        """Revisions of assets now at a site that would get the row of this time, if scored now."""
        for asset, scored in self._where.present(site):
            view = self._views.get(self._registry.class_of(asset) or "")
            if view is None:
                continue
            for at in scored:
                found = self._rows.find(site, at, view.max_age) if at >= time else None
                if found is not None and found.time == time:
                    yield LateWeather(asset, _joined(site, found, view))
                    break

    def changed(self) -> list[int]:
        """Parts to write."""
        stale, self._stale = self._stale, []
        return [
            *stale,
            *(_ROWS + bucket for bucket in self._sites.changed()),
            *(_WHEREABOUTS + bucket for bucket in self._assets.changed()),
        ]

    def part(self, part: int) -> bytes:
        """One bucket of the weather, or of the whereabouts."""
        if part < _WHEREABOUTS:
            return self._sites.bucket(part)
        return self._assets.bucket(part - _WHEREABOUTS)


def _renamed(rows: dict[str, Entry], before: Sequence[str], names: tuple[str, ...]) -> dict[str, Entry]:
    """Reorder stored rows to the present names; new values are missing in them."""
    if tuple(before) == names:
        return rows
    places = [before.index(name) if name in before else None for name in names]

    def moved(values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(math.nan if place is None else values[place] for place in places)

    return {
        site: (
            [(time, issued, moved(values)) for time, issued, values in known],
            [(issued, sequence, time, moved(values)) for issued, sequence, time, values in unissued],
        )
        for site, (known, unissued) in rows.items()
    }


def _joined(site: str, found: Found | None, view: _View) -> Joined:
    if found is None:
        return Joined(site, None, 0, (math.nan,) * len(view.places))
    values = found.values
    return Joined(site, found.time, found.issued, tuple([values[place] for place in view.places]))
