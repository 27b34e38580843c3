"""Weather joined as of event time: the row that an event gets, and the assets that a late row revises.

`WeatherRows` holds the rows of each site and finds the one that was valid at an event's time and known at
its arrival. `AssetSites` holds where each asset was when it was last scored. `WeatherJoin` uses both.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec
import structlog

from dataflows.event_time import Placement, is_current, place
from dataflows.events import AssetEvent, Fault, Reject, Telemetry
from dataflows.events import Weather as Row
from dataflows.items import Expiry, LateWeather, WeatherAsOf, supersedes
from dataflows.state.snapshots import Kind
from dataflows.state.tables import BUCKETS, Buckets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dataflows.fleet.fleet import Fleet
    from dataflows.lane.registry import Registry

__all__ = [
    "WEATHER",
    "WEATHER_PARTS",
    "WHEREABOUTS",
    "AssetSites",
    "Entry",
    "Issue",
    "WeatherJoin",
    "WeatherRow",
    "WeatherRows",
]

#: Rows are dropped in sweeps over all sites, each after this share of the memory has passed.
_SWEEPS = 16
_NEVER = -(2**63)


class WeatherRow(NamedTuple):
    """A row: valid time, issue time, values in the order of the fleet, NaN if missing."""

    time: int
    issued: int
    values: tuple[float, ...]


class Issue(NamedTuple):
    """A row as it came; ordered by (issued, sequence)."""

    issued: int
    sequence: int
    site: str
    time: int
    values: tuple[float, ...]


class _Site:
    """Known rows of one site, one for each valid time, ascending; and rows not issued yet."""

    __slots__ = ("rows", "times", "unissued")

    def __init__(self) -> None:
        self.times: list[int] = []
        self.rows: list[WeatherRow] = []
        self.unissued: dict[int, Issue] = {}


#: Known rows, then unissued ones with their sequence; plain data.
Entry = tuple[list[tuple[int, int, tuple[float, ...]]], list[tuple[int, int, int, tuple[float, ...]]]]


class WeatherRows:
    """Rows of all sites of a lane.

    A row is known from its place in the sequence on, and from ``issued`` on if that is later. Of several for
    one valid time only the one issued last can ever be chosen, so only that one is kept.

    Args:
        memory: microseconds that a row is kept behind the stream, see `mark`.
        kept: results of `entry`, by site; empty for a new lane.
        clocks: result of `clocks`.
        most: largest number of rows.
    """

    def __init__(self, memory: int, kept: dict[str, Entry], clocks: tuple[int, int, int], most: int) -> None:
        self._memory = memory
        self._most = most
        self._seen, self._issued, self._swept = clocks
        #: Number of rows, including those not issued yet.
        self._held = sum(len(known) for known, _ in kept.values())
        self._sites: dict[str, _Site] = {}
        self._unissued: list[Issue] = []
        for name, (known, unissued) in kept.items():
            site = self._sites[name] = _Site()
            for time, issued, values in known:
                site.times.append(time)
                site.rows.append(WeatherRow(time, issued, tuple(values)))
            for issued, sequence, time, values in unissued:
                self._defer(Issue(issued, sequence, name, time, tuple(values)))

    @staticmethod
    def new_clocks() -> tuple[int, int, int]:
        """Clocks of a new lane."""
        return _NEVER, _NEVER, _NEVER

    @property
    def clocks(self) -> tuple[int, int, int]:
        """Largest time of telemetry or fault, largest ``issued`` of known rows, last sweep."""
        return self._seen, self._issued, self._swept

    @property
    def mark(self) -> int:
        """Time before which rows are dropped: ``memory`` behind the smaller of both clocks.

        With two clocks, one wrong record cannot drop the weather of all assets.
        """
        return min(self._seen, self._issued) - self._memory

    def advance(self, time: int) -> None:
        """Note the time of telemetry or of a fault."""
        self._seen = max(self._seen, time)

    def add(self, row: Issue, known: int | None) -> bool | Reject:
        """Add a row; return whether it is new and known, or why it cannot be used.

        Args:
            row: the row.
            known: knowledge time, None if nothing is known yet.
        """
        if row.time < self.mark:
            return Reject("too_late", "weather from before what is kept; classes.*.weather.memory keeps more")
        waits = known is None or row.issued > known
        if not waits:
            # Also where there is no room for the row: this drops older rows.
            self._issued = max(self._issued, row.issued)
        if self._held >= self._most:
            return Reject("no_room", f"max_weather = {self._most:,} rows are held already")
        if waits:
            self._defer(row)
            return False
        return self._insert(row)

    def due(self, until: int) -> Iterator[tuple[Issue, bool]]:
        """Make rows issued up to an instant known; yield each, and whether it is new."""
        while self._unissued and self._unissued[0].issued <= until:
            row = heapq.heappop(self._unissued)
            del self._sites[row.site].unissued[row.sequence]
            self._held -= 1
            yield row, row.time >= self.mark and self._insert(row) is True

    def as_of(self, site: str, time: int, max_age: int) -> WeatherRow | None:
        """Find the row of an event at a site, None if no known row is young enough.

        Args:
            site: its name.
            time: time of the event, microseconds.
            max_age: microseconds.
        """
        held = self._sites.get(site)
        if held is None:
            return None
        index = bisect_right(held.times, time) - 1
        if index < 0:
            return None
        row = held.rows[index]
        return row if row.time >= self.mark and is_current(row.time, time, max_age) else None

    def _defer(self, row: Issue) -> None:
        self._sites.setdefault(row.site, _Site()).unissued[row.sequence] = row
        heapq.heappush(self._unissued, row)
        self._held += 1

    def _insert(self, row: Issue) -> bool | Reject:
        self._issued = max(self._issued, row.issued)
        site = self._sites.setdefault(row.site, _Site())
        index = bisect_left(site.times, row.time)
        if index == len(site.times) or site.times[index] != row.time:
            self._held += 1
            site.times.insert(index, row.time)
            site.rows.insert(index, WeatherRow(row.time, row.issued, row.values))
            return True
        held, values = site.rows[index], row.values
        again = row.issued == held.issued
        if again:
            # Messages of one time and one issue are one row: NaN is a value that a message lacks.
            pairs = zip(held.values, values, strict=True)
            values = tuple(old if new != new else new for old, new in pairs)  # noqa: PLR0124 - NaN
        found = WeatherRow(row.time, row.issued, values)
        if supersedes(found, held):
            site.rows[index] = found
            return True
        return Reject("duplicate", "this weather was seen before") if again else False

    def sweep(self) -> list[str]:
        """Drop rows before the mark, at intervals; return the changed sites."""
        if self.mark < self._swept + self._memory // _SWEEPS:
            return []
        self._swept = max(self.mark, _NEVER)
        changed = []
        for name, site in list(self._sites.items()):
            gone = bisect_left(site.times, self.mark)
            if gone:
                self._held -= gone
                del site.times[:gone], site.rows[:gone]
                changed.append(name)
            if not site.times and not site.unissued:
                del self._sites[name]
        return changed

    def entry(self, name: str) -> Entry | None:
        """Plain data of one site, None if nothing is known."""
        site = self._sites.get(name)
        if site is None:
            return None
        waiting = [(row.issued, row.sequence, row.time, row.values) for row in site.unissued.values()]
        return [(row.time, row.issued, row.values) for row in site.rows], waiting


_Entry: TypeAlias = tuple["int | None", "int | None", tuple[str, ...], "int | None", tuple[str, ...]]


class _Seen(msgspec.Struct):
    """Latest sites of an asset.

    Attributes:
        latest: largest time of its telemetry; None if there was none.
        scored: the same, None after the asset was dropped.
        sites: sites in its messages of this time, nearly always one.
        before: the time before it, for an asset that may still wait to score the latest.
        sites_before: sites in its messages of that time.
    """

    latest: int | None = None
    scored: int | None = None
    sites: tuple[str, ...] = ()
    before: int | None = None
    sites_before: tuple[str, ...] = ()


def _without_faults(table: dict[str, Any]) -> dict[str, Any]:
    """Upgrade version 2: it has the largest time of telemetry or fault, one site, and no time before."""
    return {
        asset: (scored, scored, () if site is None else (site,), None, ())
        for asset, (_, scored, site) in table.items()
    }


#: Buckets of `WeatherRows.entry` and of `AssetSites.entry`.
WEATHER: Kind[None] = Kind("weather", 2)
WHEREABOUTS: Kind[None] = Kind("whereabouts", 3, {2: _without_faults})


class AssetSites:
    """Site of every asset's latest on-time telemetry.

    It applies the assets' rule for on time and late, but lacks their own knowledge: identities, resets of
    their windows, and complete times. So an asset decides finally about each revision.

    Args:
        kept: results of `entry`, by asset; empty for a new lane.
    """

    def __init__(self, kept: dict[str, _Entry]) -> None:
        self._seen: dict[str, _Seen] = {}
        self._at: dict[str, set[str]] = {}
        for asset, found in kept.items():
            latest, scored, sites, before, sites_before = found
            seen = _Seen(latest, scored, tuple(sites), before, tuple(sites_before))
            self._seen[asset] = seen
            self._enter(asset, seen)

    def add(self, asset: str, time: int, site: str | None, *, waits: bool) -> None:
        """Note telemetry and the site of the asset; late telemetry does not move it.

        Args:
            asset: its name.
            time: time of the telemetry, microseconds.
            site: its site.
            waits: whether the asset may wait to score this time, so that the one before is still the latest.
        """
        seen = self._seen.get(asset)
        if seen is None:
            seen = self._seen[asset] = _Seen()
        named = () if site is None else (site,)
        if time == seen.before:
            seen.sites_before = tuple(dict.fromkeys(seen.sites_before + named))
        elif time == seen.scored:
            seen.sites = tuple(dict.fromkeys(seen.sites + named))
        elif place(time, seen.latest, None) is not Placement.TOO_LATE:
            self._leave(asset, seen)
            seen.before, seen.sites_before = (seen.scored, seen.sites) if waits else (None, ())
            seen.latest = seen.scored = time
            seen.sites = named
        self._enter(asset, seen)

    def drop(self, asset: str, *, for_good: bool) -> None:
        """Note that the state of an asset was dropped, and maybe its tombstone too."""
        seen = self._seen.get(asset)
        if seen is None:
            return
        self._leave(asset, seen)
        seen.scored = seen.before = None
        seen.sites = seen.sites_before = ()
        if for_good:
            del self._seen[asset]

    def assets_at(self, site: str) -> Iterator[tuple[str, list[int]]]:
        """Assets at a site, by name, with the times at which they were scored there, latest first."""
        for asset in sorted(self._at.get(site, ())):
            seen = self._seen[asset]
            times = ((seen.scored, seen.sites), (seen.before, seen.sites_before))
            yield asset, [time for time, sites in times if time is not None and site in sites]

    def _enter(self, asset: str, seen: _Seen) -> None:
        for site in seen.sites + seen.sites_before:
            self._at.setdefault(site, set()).add(asset)

    def _leave(self, asset: str, seen: _Seen) -> None:
        for site in {*seen.sites, *seen.sites_before}:
            self._at[site].discard(asset)
            if not self._at[site]:
                del self._at[site]

    def entry(self, asset: str) -> _Entry | None:
        """Plain data of one asset, None if nothing is known."""
        seen = self._seen.get(asset)
        return None if seen is None else msgspec.structs.astuple(seen)


_ROWS, _WHEREABOUTS = 0, BUCKETS
#: Weather by site and whereabouts by asset, each in buckets.
WEATHER_PARTS = 2 * BUCKETS
#: Weather further ahead of its arrival, in microseconds, has a wrong clock.
_FURTHEST = 366 * 86_400_000_000
_log = structlog.get_logger()


class _View(NamedTuple):
    """View of a class: indices of its values among those of the fleet, their largest age, and their time."""

    places: tuple[int, ...]
    max_age: int
    #: Whether a time is scored only when it is complete.
    waits: bool


class WeatherJoin:
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
        memory = self._max_future + self._build_views(fleet)
        rows = Buckets.read(WEATHER, {p: s for p, s in parts.items() if p < _WHEREABOUTS})
        placed = {p - _WHEREABOUTS: s for p, s in parts.items() if p >= _WHEREABOUTS}
        where = Buckets.read(WHEREABOUTS, placed)
        clocks = WeatherRows.new_clocks()
        if state is None:
            # Stored before a time without weather classes: the rows of that time are unknown.
            rows, where = {}, {}
        else:
            clocks = tuple(state["clocks"])
            rows = _renamed(rows, state["names"], self._names)
        most = fleet.assets.max_weather
        self._rows = WeatherRows(memory, rows, clocks, most)
        self._asset_sites = AssetSites(where)
        self._sites = Buckets(WEATHER, self._rows.entry)
        self._sites.restore(rows)
        if state is not None and tuple(state["names"]) != self._names:
            # The main snapshot will have the present names for all of them.
            self._sites.touch_all()
        self._assets = Buckets(WHEREABOUTS, self._asset_sites.entry)
        self._assets.restore(where)
        #: Parts to write again, since their stored content is not used.
        self._stale = sorted(parts) if state is None else []
        #: Number of telemetry records without weather, in classes that see weather.
        self.missed: int = 0 if state is None else state["missed"]
        self._warned = False

    def _build_views(self, fleet: Fleet) -> int:
        """Build the view of each class; return how long rows are kept for them, in microseconds."""
        memory = 0
        for name, found in fleet.classes.items():
            if found.weather is not None:
                places = tuple(self._names.index(value) for value in found.weather.values)
                self._views[name] = _View(places, found.weather.max_age, found.required is not None)
                memory = max(memory, found.weather.max_age + found.allowed_lateness + found.weather.memory)
        return memory

    def state(self) -> dict[str, Any]:
        """Plain data outside the parts."""
        return {"names": self._names, "clocks": self._rows.clocks, "missed": self.missed}

    def join(self, event: AssetEvent, asset_class: str) -> WeatherAsOf | None:
        """Note an event; return the weather of telemetry, None if its class sees none or it has no site."""
        if isinstance(event, Telemetry):
            return self._join(event, asset_class)
        if isinstance(event, Fault):
            self._rows.advance(event.time)
        return None

    def _join(self, event: Telemetry, asset_class: str) -> WeatherAsOf | None:
        view = self._views.get(asset_class)
        self._rows.advance(event.time)
        if view is None:
            return None
        site = event.site if event.site is not None else self._registry.site_of(event.asset)
        self._asset_sites.add(event.asset, event.time, site, waits=view.waits)
        self._assets.touch(event.asset)
        found = None if site is None else self._rows.as_of(site, event.time, view.max_age)
        if found is None:
            self._count_missed(event.time, asset_class, view)
        return None if site is None else _joined(site, found, view)

    def _count_missed(self, time: int, asset_class: str, view: _View) -> None:
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
            self._asset_sites.drop(expiry.asset, for_good=expiry.what == "buried")
            self._assets.touch(expiry.asset)

    def add(
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
        added = self._rows.add(Issue(issued, sequence, row.site, row.time, values), known)
        if isinstance(added, Reject):
            return added
        self._sites.touch(row.site)
        return list(self._revisions(row.site, row.time)) if added else []

    def due(self, until: int) -> Iterator[tuple[int, list[LateWeather]]]:
        """Yield rows that came before their issue, with that instant and the revisions at it."""
        for row, news in self._rows.due(until):
            self._sites.touch(row.site)
            if news:
                yield row.issued, list(self._revisions(row.site, row.time))

    def _revisions(self, site: str, time: int) -> Iterator[LateWeather]:
        """Yield revisions for assets at a site whose latest score would now use the row of this time."""
        for asset, scored in self._asset_sites.assets_at(site):
            view = self._views.get(self._registry.class_of(asset) or "")
            if view is None:
                continue
            for at in scored:
                found = self._rows.as_of(site, at, view.max_age) if at >= time else None
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


def _joined(site: str, found: WeatherRow | None, view: _View) -> WeatherAsOf:
    if found is None:
        return WeatherAsOf(site, None, 0, (math.nan,) * len(view.places))
    values = found.values
    return WeatherAsOf(site, found.time, found.issued, tuple([values[place] for place in view.places]))
