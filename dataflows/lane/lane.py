"""The lane: every record passes here in sequence, so it decides what depends on the order of arrival.

It counts accepted events by kind and period (`Counts`), and reports state that begins from nothing after a
changed fleet (`Migrations`).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, cast, get_args

import structlog

from dataflows.events import (
    AssetEvent,
    Command,
    Event,
    Failure,
    Fault,
    Maintenance,
    Registration,
    Reject,
    Retraction,
    Telemetry,
    TimedEvent,
    Verdict,
    Weather,
    kind_of,
)
from dataflows.instants import format_instant, period_end
from dataflows.items import (
    Expiry,
    Item,
    LanePeriod,
    LateWeather,
    Observation,
    ResolvedEvent,
    Row,
    Tick,
    by_order,
    lane_part,
    reject_row,
    row_of,
    summary_row,
)
from dataflows.lane.arrival_clock import ArrivalClock, unlike
from dataflows.lane.clock_health import ClockHealth, clock_row
from dataflows.lane.conditions import Conditions
from dataflows.lane.names import Names, nearest, sentence
from dataflows.lane.plausibility import Plausible
from dataflows.lane.registry import REGISTRY, Registry
from dataflows.lane.shared_input import SharedInputs
from dataflows.lane.signs_of_life import SignsOfLife
from dataflows.lane.silence import Silence
from dataflows.lane.waiting import Waiting, WaitingRecord
from dataflows.lane.weather_join import WEATHER_PARTS, WeatherJoin
from dataflows.outputs import Migrated
from dataflows.placement import ONLY_LANE
from dataflows.state.snapshots import Kind
from dataflows.state.tables import BUCKETS, Buckets
from dataflows.status import Intake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dataflows.fleet.fleet import Fleet

__all__ = ["HEARD", "LANE", "LANE_PARTS", "Counts", "Lane", "Migrations", "lane_parts"]

_NEVER_BEGUN = -(2**63)
_EVENTS = frozenset(get_args(Event))
_TIMED: tuple[type[TimedEvent], ...] = get_args(TimedEvent)


class Counts:
    """Counts of accepted events by kind, and the periods of the metrics.

    Args:
        every: microseconds of knowledge time in one period.
        state: result of `state`, None for a new lane.

    Attributes:
        end: end of the open period; before all times if there is none.
    """

    def __init__(self, every: int, state: Mapping[str, Any] | None = None) -> None:
        self._every = every
        #: No `Counter`: to set an item of one takes longer than to decide that it counts.
        self._all: dict[str, int] = {} if state is None else dict(state["all"])
        #: Start and end of the open period, in knowledge time, and the counts before it.
        self._start = 0
        self.end = _NEVER_BEGUN
        self._before: Counter[str] = Counter()
        self._begun = state is not None and state["start"] is not None
        if state is not None and state["start"] is not None:
            # It ends at the next multiple, even if `every` changed since the period began.
            self._start, self.end = state["start"], period_end(state["known"], every)
            self._before.update(state["before"])

    def count(self, event: Event) -> None:
        """Count one accepted event."""
        kind = kind_of(event)
        self._all[kind] = self._all.get(kind, 0) + 1

    def by_kind(self) -> dict[str, int]:
        """Number of accepted events so far."""
        return dict(sorted(self._all.items()))

    def close(self, known: int) -> tuple[int, int, dict[str, int]] | None:
        """Begin the period of a knowledge time that has passed the `end` of the one before.

        Returns:
            Start, end and accepted events by kind of the period before, None if this is the first.
        """
        closed = None
        if self._begun:
            counts = Counter(self._all)
            closed = self._start, self.end, dict(sorted((counts - self._before).items()))
            self._before = counts
        self._begun = True
        self.end = period_end(known, self._every)
        self._start = self.end - self._every
        return closed

    def state(self, known: int) -> dict[str, Any]:
        """Plain data."""
        return {
            "all": dict(self._all),
            "start": self._start if self._begun else None,
            "known": known,
            "before": dict(self._before),
        }


_log = structlog.get_logger()


class Migrations:
    """Rows of the changes, one for each class or target whose state was restarted.

    Args:
        migrated: names, and the loss; in order.

    Attributes:
        published: number of published rows; includes all that are older than the store's lane.
    """

    def __init__(self, migrated: tuple[tuple[str, str], ...]) -> None:
        self._migrated = migrated
        self.published = len(migrated)

    def __bool__(self) -> bool:
        """Whether there are unpublished rows."""
        return self.published < len(self._migrated)

    def publish(self, item: Item) -> list[Row]:
        """Publish the remaining rows."""
        unpublished = self._migrated[self.published :]
        self.published = len(self._migrated)
        for name, why in unpublished:
            _log.info("migrated", name=name, why=why)
        known = format_instant(item.known)
        return [
            row_of(Migrated(name=name, why=why, known=known, sequence=item.sequence))
            for name, why in unpublished
        ]


_REGISTRY, _BY_ASSET, _WEATHER = 0, BUCKETS, 2 * BUCKETS
#: Registry, signs of assets (silence and clocks), and surroundings, each in buckets. Frozen: the store
#: identifies them by number.
LANE_PARTS = 2 * BUCKETS + WEATHER_PARTS

#: Places between two records after all effects of time and weather: the end of a period, a finding about a
#: clock, a restart of state.
_PERIOD, _CLOCK, _MIGRATED = 2**30, 2**30 + 1, 2**30 + 2
_OLDER = {
    # The manifest of the store has the layouts of the fleet.
    2: lambda state: {**state, "told": 0},
    # The idle_timeout of the expiries was not written: assume the present one.
    # Implausible readings and names were not counted, and arrivals had no claims. The largest time of
    # telemetry was not written: assume knowledge time, which is not smaller.
    3: lambda state: {
        **state,
        "idle": {},
        "implausible": {},
        "claims": (),
        "names": None,
        "waiting": (state["largest"], 0),
    },
    4: lambda state: {**state, "conditions": {}},
    # There was one lane.
    5: lambda state: {**state, "left_to_others": 0},
}
#: Snapshots of `Lane`. In a store without a manifest it has digests of the layouts, which `describe` returns.
LANE: Kind[dict[str, str] | None] = Kind("lane", 6, _OLDER, describe=lambda state: state.get("shapes"))
#: Buckets of silence, clock, signs of life, waiting records and held registry row of an asset. Version 2 had
#: no such rows.
HEARD: Kind[None] = Kind("heard", 3, {2: lambda entries: entries})


def lane_parts(fleet: Fleet) -> range:
    """Return the parts that a lane of a fleet may write: those of weather only where a class sees it."""
    return range(LANE_PARTS if fleet.weather else _WEATHER)


class Lane:
    """Give each record its arrival, asset and weather; advance time for silent assets.

    Args:
        fleet: the fleet.
        main: result of `main_snapshot`, None for a new lane.
        parts: results of `part_snapshot`, by number.
        name: name of the lane, in its rows.
        number: its number among the lanes.
        migrated: classes and targets whose state was restarted, and why; a new lane reports none.
        on_error: makes the reject of a record on which the lane raises; None: the lane raises.
        intake: counts used and refused records.

    Attributes:
        arrival: last arrival, which never runs back; None without arrivals.
    """

    def __init__(
        self,
        fleet: Fleet,
        main: bytes | None,
        parts: dict[int, bytes],
        name: str = ONLY_LANE,
        migrated: tuple[tuple[str, str], ...] = (),
        on_error: Callable[[Item, Exception, str], Row] | None = None,
        intake: Intake | None = None,
        number: int = 0,
    ) -> None:
        self._intake = Intake() if intake is None else intake
        self._name = name
        self._lanes = fleet.input.lanes
        self._on_error = on_error
        self._migrations = Migrations(migrated)
        self._max_future = fleet.assets.max_future
        self._max_past = fleet.assets.max_past
        self._registry_files = fleet.assets.registry
        self._arrivals = ArrivalClock(fleet.assets.max_arrival_jump)
        self._names = Names(fleet)
        self._waits = any(found.idle_timeout is not None for found in fleet.classes.values())
        self.arrival: int | None = None
        self._with_arrivals: bool | None = None
        self._largest: int | None = None
        self._sequence = number
        #: Records of shared inputs that the first lane counts.
        self._left_to_others = 0
        #: Whether the present record is one of them.
        self._leaves = False
        #: Number of items that the lane made after the record of this sequence, without the record itself.
        self._made = 0
        self._counts = Counts(fleet.metrics_every)
        #: Findings about clocks in the open period.
        self._jumps = 0
        state = {} if main is None else LANE.unseal(main)
        if state:
            self._restore(state, fleet)
        self._conditions = Conditions(fleet.classes, state.get("conditions"))
        self._relates = bool(self._conditions)
        self._plausible = Plausible(fleet.classes, state.get("implausible"))
        self._weather_values = frozenset(fleet.weather)
        policy = fleet.assets.clock
        self._quarantine = policy is not None and policy.quarantine
        self._build_tables(fleet, parts, state, number)

    def _build_tables(
        self, fleet: Fleet, parts: dict[int, bytes], state: Mapping[str, Any], number: int
    ) -> None:
        """Build the tables of registry, assets and weather; those of a new lane are empty."""
        registry = Buckets.read(REGISTRY, _between(parts, _REGISTRY, _BY_ASSET))
        heard = Buckets.read(HEARD, _between(parts, _BY_ASSET, _WEATHER))
        silences = {asset: found[0] for asset, found in heard.items() if found[0] is not None}
        clocks = {asset: found[1] for asset, found in heard.items() if found[1] is not None}
        signs = {asset: found[2] for asset, found in heard.items() if found[2:] and found[2] is not None}
        waiting = {asset: found[3] for asset, found in heard.items() if found[3:] and found[3] is not None}
        held = {asset: found[4] for asset, found in heard.items() if found[4:]}
        #: None if there is one lane, whose inputs are all its own.
        self._shared = SharedInputs(fleet, number, held) if self._lanes > 1 else None
        self._waiting = Waiting(fleet.assets.max_future, state.get("waiting"), waiting)
        self._registry = Registry(fleet.assets, fleet.classes, registry)
        reaches = {name: fleet.reach(name) for name in fleet.classes}
        most, current, idle = fleet.assets.max_tombstones, self._registry.class_of, state.get("idle")
        self._silence = Silence(fleet.classes, reaches, most, silences, idle, current)
        self._signs = SignsOfLife(fleet.classes, signs)
        #: None if clocks are not checked.
        self._clocks = None if fleet.assets.clock is None else ClockHealth(fleet.assets.clock, clocks)
        self._registered = Buckets(REGISTRY, self._registry.entry)
        self._registered.restore(registry)
        self._by_asset = Buckets(HEARD, self._state_of)
        self._by_asset.restore(heard)
        if idle is not None and idle != self._silence.counted_by():
            # The main snapshot will have the present one for all of them.
            self._by_asset.touch_all()
        #: None if no class sees weather. Then the parts of a time when one did stay as they are.
        self._weather: WeatherJoin | None = None
        weather = _between(parts, _WEATHER, LANE_PARTS)
        self._stored_weather = {} if fleet.weather else weather
        if fleet.weather:
            self._weather = WeatherJoin(fleet, self._registry, state.get("surroundings"), weather)

    def _state_of(self, asset: str) -> tuple[object, ...] | None:
        """Plain data of an asset's silence, clock, signs of life and waiting records, None without any."""
        silence = self._silence.entry(asset)
        clock = None if self._clocks is None else self._clocks.entry(asset)
        entry = silence, clock, self._signs.entry(asset), self._waiting.entry(asset)
        held = None if self._shared is None else self._shared.entry(asset)
        if held is not None:
            return (*entry, held)
        return None if all(each is None for each in entry) else entry

    def _restore(self, state: dict[str, Any], fleet: Fleet) -> None:
        self.arrival = state["arrival"]
        self._with_arrivals = state["with_arrivals"]
        self._largest = state["largest"]
        self._sequence = state["sequence"]
        self._left_to_others = state["left_to_others"]
        self._made = state["made"]
        self._counts = Counts(fleet.metrics_every, state["counts"])
        self._intake.before = bool(self._counts.by_kind().keys() - {"registration"})
        self._arrivals = ArrivalClock(fleet.assets.max_arrival_jump, state["claims"])
        self._names = Names(fleet, state["names"])
        self._jumps = state["jumps"]
        self._migrations.published = state["told"]

    def process(self, items: list[Item]) -> list[Item]:
        """Turn records into `ResolvedEvent` events or rejects, each after the expiries due before it."""
        items.sort(key=by_order)
        out: list[Item] = []
        unpublished = bool(self._migrations)
        for item in items:
            body: Any = item.body
            if self._shared is not None and item.position[0] in self._shared:
                self._process_shared(self._shared, item, out)
                self._sequence = item.sequence
                continue
            if type(body) in _EVENTS:
                self._process_or_reject(item, body, out)
                if unpublished:
                    rows = enumerate(self._migrations.publish(item), _MIGRATED)
                    out += [self._before_record(item, place, row) for place, row in rows]
                    unpublished = False
            elif isinstance(body, Reject):
                if body.reason == "internal_error" and self._on_error is not None:
                    # Counted here, since a source may decode a record twice. The row has the raw record.
                    self._on_error(item, RuntimeError(body.detail), "decode")
                out.append(self._reject(item, body, None))
                self._made = 0
            elif isinstance(body, Tick):
                self._tick(body.arrival, out)
                continue
            else:
                msg = f"the lane takes events, rejects and ticks, not {type(body).__name__}"
                raise TypeError(msg)
            self._sequence = item.sequence
        return out

    def _process_shared(self, shared: SharedInputs, item: Item, out: list[Item]) -> None:
        """Process a record of a shared input, of which every lane makes something, and the first the rest."""
        self._leaves = not shared.is_first
        self._left_to_others += self._leaves
        body = shared.body(cast("Event | Reject", item.body))
        made: list[Item] = []
        if isinstance(body, Reject):
            event = None if isinstance(item.body, Reject) else cast("Event", item.body)
            made.append(self._reject(item, body, event))
        if body is None or isinstance(body, Reject):
            self._made = 0
        else:
            self._process_or_reject(item, body, made)
        out += [each for each in made if not (self._leaves and _is_reject(each))]
        self._leaves = False

    def _process_or_reject(self, item: Item, event: Event, out: list[Item]) -> None:
        """Process a record; if that raises, the effects of time stay, and the record is rejected."""
        try:
            self._process(item, event, out)
        except Exception as error:
            if self._on_error is None:
                raise
            item.arrival, item.known, item.body = self.arrival, self._known(), event
            row = self._on_error(item, error, "lane")
            out.append(Item(item.sequence, lane_part(0), item.arrival, item.known, item.position, row))

    def _process(self, item: Item, event: Event, out: list[Item]) -> None:
        arrived = event.arrived
        # Each condition leaves out a call that would change nothing.
        if (arrived is not None) is not self._with_arrivals:
            mixed = self._check_arrivals(event)
            if mixed is not None:
                out.append(self._reject(item, mixed, event))
                self._made = 0
                return
        if (arrived is not None or self._arrivals.claims) and not self._arrivals.believes(
            item, event, self.arrival
        ):
            wild = (
                "`arrived` lies more than max_arrival_jump after that of the record before it, and no other "
                "asset or source has confirmed it"
            )
            asset = getattr(event, "asset", None)
            out.append(self._reject(item, Reject("wrong_arrival", wild, asset), event))
            self._made = 0
            return
        if arrived is not None and self._waits and self._silence.is_due(arrived):
            self._expire(arrived, out)
        self._move_time(item, event)
        if self._weather is not None and self._now is not None:
            self._issue(self._now, out)
        if item.known > self._counts.end:
            self._close_period(item, out)
        if isinstance(event, Telemetry):
            self._process_telemetry(item, event, out)
            self._made = 0
        elif isinstance(event, Weather):
            self._made = 0
            self._add_weather(item, event, out)
        elif isinstance(event, Command):
            self._made = 0
            self._send_command(item, event, out)
        else:
            self._process_of_asset(item, event, out)
            self._made = 0

    def _process_telemetry(self, item: Item, event: Telemetry, out: list[Item]) -> None:
        asset_class = self._registry.class_of(event.asset) or self._class_of(item, event, out)
        if asset_class is None:
            return
        checked: Telemetry | Reject = event
        if event.unusable is not None or self._plausible.has_limits:
            checked = self._plausible.check(event, asset_class)
        if isinstance(checked, Reject):
            out.append(self._reject(item, checked, None))
            return
        self._accept(item, event, checked, asset_class, out)

    def _process_of_asset(self, item: Item, event: AssetEvent, out: list[Item]) -> None:
        """Process a record of an asset that is no telemetry."""
        filed = isinstance(event, Registration) and item.position[0] in self._registry_files
        if filed and isinstance(event, Registration) and self._registry.is_filed(event):
            # A file that was exported again repeats unchanged rows: the stream may have newer ones.
            self._count_registration(event)
            return
        if isinstance(event, Verdict) and event.target not in self._names.targets:
            out.append(self._reject(item, self._unknown_target(event.target, event.asset), event))
            return
        before = self._registry.class_of(event.asset)
        known = None if isinstance(event, Registration) else before
        asset_class = known or self._class_of(item, event, out, filed=filed)
        if asset_class is None:
            return
        if isinstance(event, Registration) and self._holds(item, event, before):
            self._count_registration(event)
        elif not self._defers(item, event, asset_class, out):
            self._accept(item, event, event, asset_class, out)

    def _holds(self, item: Item, row: Registration, before: str | None) -> bool:
        """Hold a row of a shared input if its asset has no own record in this lane; return whether it is.

        Args:
            item: of the row.
            row: the row.
            before: class of the asset before it, None where it was unknown.
        """
        shared = self._shared
        if shared is None or item.position[0] not in shared:
            return False
        if before is not None and not shared.holds(row.asset):
            return False
        shared.hold(row)
        self._by_asset.touch(row.asset)
        return True

    def _release_held(self, asset: str, item: Item, out: list[Item]) -> None:
        """Send the registry row of an asset that has its first own record."""
        row = None if self._shared is None else self._shared.release(asset)
        if row is None:
            return
        self._by_asset.touch(asset)
        body = ResolvedEvent(row, self._registry.class_of(asset) or row.asset_class)
        out.append(Item(self._sequence, self._next_part(), self.arrival, item.known, item.position, body))

    def _count_registration(self, row: Registration) -> None:
        if not self._leaves:
            self._counts.count(row)
            self._intake.registered += 1

    def _class_of(self, item: Item, event: AssetEvent, out: list[Item], *, filed: bool = False) -> str | None:
        """Return the class of a registry row or of an unknown asset; None if it is rejected."""
        found = self._resolve(event, filed=filed)
        if not isinstance(found, Reject):
            return found
        if found.reason == "unknown_asset":
            self._names.unknown_asset(event.asset)
        out.append(self._reject(item, found, event))
        return None

    def _accept(
        self, item: Item, sent: AssetEvent, event: AssetEvent, asset_class: str, out: list[Item]
    ) -> None:
        """Process an event of a known asset, as sent and without the readings that its class excludes."""
        arrival = self.arrival
        # Telemetry or a fault that is not a copy.
        news: Telemetry | Fault | None = None
        if isinstance(event, (Telemetry, Fault)) and (
            arrival is None or not self._signs.is_copy(event, asset_class)
        ):
            news = event
        living = resting = None
        if arrival is not None:
            refused, living = self._check(item, event, news, asset_class, arrival, out)
            if refused is not None:
                out.append(self._reject(item, refused, event))
                return
            resting = self._silence.resting_clock(asset_class, arrival)
        if self._shared is not None:
            self._release_held(event.asset, item, out)
        withdrawn = self._with_arrivals is False and self._release_waiting(item, event, out)
        weather = None if self._weather is None else self._weather.join(event, asset_class)
        relative = None
        if self._relates and isinstance(event, Telemetry):
            relative = self._conditions.relative(asset_class, event.readings, learns=news is not None)
        body = ResolvedEvent(event, asset_class, weather, resting, withdrawn, relative)
        if living is not None:
            self._add_sign_of_life(living, asset_class, arrival)
        self._count(sent, asset_class)
        item.part, item.arrival, item.body = 0, arrival, body
        out.append(item)

    def _check(
        self,
        item: Item,
        event: AssetEvent,
        news: Telemetry | Fault | None,
        asset_class: str,
        arrival: int,
        out: list[Item],
    ) -> tuple[Reject | None, Telemetry | Fault | None]:
        """Check an event against its arrival.

        Args:
            item: its record.
            event: the event.
            news: it, if it is telemetry or a fault and not a copy.
            asset_class: class of its asset.
            arrival: of the lane.
            out: takes what the check finds, and the expiry that its asset missed.

        Returns:
            Why it is refused, None if it is not; and the event if it is a sign of life.
        """
        if news is not None and self._clocks is not None:
            self._check_clock(self._clocks, item, news, arrival, out)
        refused = self._refused(event, arrival)
        if refused is not None or news is None or not self._signs.is_timely(news, asset_class):
            return refused, None
        missed = self._silence.missed(event.asset, arrival)
        if missed is not None:
            self._emit(missed, arrival, out)
        return None, news

    def _defers(self, item: Item, event: AssetEvent, asset_class: str, out: list[Item]) -> bool:
        """Whether an event waits for telemetry, or is rejected since an equal one waits."""
        if self._with_arrivals is not False or not isinstance(event, Failure | Maintenance):
            return False
        before = self._waiting.replaced
        did = self._waiting.defer(WaitingRecord(item.sequence, item.position, event))
        if did == "full":
            full = (
                f"its time lies more than max_future after all telemetry, and {len(self._waiting):,} records "
                "wait for telemetry already"
            )
            out.append(self._reject(item, Reject("future", full, event.asset), event))
            return True
        if did == "copy":
            seen = "this record was seen before, and waits for telemetry to reach its time"
            out.append(self._reject(item, Reject("duplicate", seen, event.asset), event))
            return True
        if did == "waits" or self._waiting.replaced > before:
            self._by_asset.touch(event.asset)
        if did == "waits":
            self._count(event, asset_class)
        return did == "waits"

    def _release_waiting(self, item: Item, event: AssetEvent, out: list[Item]) -> bool:
        """Release the waiting records that telemetry reaches; return whether a retraction withdrew any."""
        if isinstance(event, Telemetry):
            for record in self._waiting.advance(event.time):
                asset = record.event.asset
                self._by_asset.touch(asset)
                self._release_held(asset, item, out)
                body = ResolvedEvent(record.event, self._registry.class_of(asset) or "")
                out.append(Item(self._sequence, self._next_part(), None, item.known, record.position, body))
        elif isinstance(event, Retraction) and self._waiting.withdraw(event.asset, event.id):
            self._by_asset.touch(event.asset)
            return True
        return False

    def _refused(self, event: AssetEvent, arrival: int) -> Reject | None:
        """Reason not to believe the clock of an event's asset; None if there is none."""
        if isinstance(event, TimedEvent) and event.time > arrival + self._max_future:
            return Reject("future", "its time lies more than max_future after its arrival", event.asset)
        if self._quarantine and self._is_quarantined(event):
            wrong = "the clock of its asset is wrong; `changes` tells since when and by how much"
            return Reject("wrong_clock", wrong, event.asset)
        if isinstance(event, Telemetry | Fault) and event.time < arrival - self._max_past:
            old = "its time lies more than max_past before its arrival: a clock that was reset"
            return Reject("too_late", old, event.asset)
        return None

    def _add_sign_of_life(self, event: Telemetry | Fault, asset_class: str, arrival: int | None) -> None:
        counts = self._waits or self._clocks is not None
        if counts:
            self._signs.add(event, asset_class)
        if arrival is not None and self._silence.restart(event.asset, asset_class, arrival):
            counts = True
        if counts:
            self._by_asset.touch(event.asset)

    def _count(self, event: AssetEvent, asset_class: str) -> None:
        """Count an accepted event, and its names that match nothing."""
        if isinstance(event, Registration):
            self._count_registration(event)
        else:
            self._counts.count(event)
            self._intake.used += 1
        registry = self._registry
        sends = registry.sends(event.asset)
        self._names.add(event, asset_class, sends=sends)
        if not sends and isinstance(event, Telemetry):
            registry.began_to_send(event.asset)
            self._registered.touch(event.asset)
            self._names.began_to_send(event.asset, asset_class)

    def _add_weather(self, item: Item, event: Weather, out: list[Item]) -> None:
        """Send weather to the assets at its site whose latest prediction it revises."""
        revisions: list[LateWeather] | Reject = []
        wrong = [why for name, why in (event.unusable or {}).items() if name in self._weather_values]
        if wrong:
            out.append(self._reject(item, Reject("malformed", wrong[0], raw=event.raw), None))
            return
        if self._weather is not None:
            revisions = self._weather.add(event, item.sequence, self.arrival, self._now)
        if isinstance(revisions, Reject):
            out.append(self._reject(item, revisions, event))
            return
        if not self._leaves:
            self._counts.count(event)
            self._intake.used += 1
        for late in revisions:
            known = self._made_known(late, self.arrival)
            out.append(Item(item.sequence, self._next_part(), self.arrival, item.known, item.position, known))

    def _unknown_target(self, target: str, asset: str | None) -> Reject:
        near = nearest(target, self._names.targets)
        detail = f"no target {target!r}" + (f"; did you mean {near!r}?" if near else "")
        return Reject("unknown_target", detail, asset)

    def _send_command(self, item: Item, event: Command, out: list[Item]) -> None:
        """Send a command to its target."""
        if event.target not in self._names.targets:
            out.append(self._reject(item, self._unknown_target(event.target, None), event))
            return
        self._counts.count(event)
        self._intake.used += 1
        body = Observation("", event.target, None, (event,))
        out.append(Item(item.sequence, lane_part(0), self.arrival, item.known, item.position, body))

    def _tick(self, arrival: int, out: list[Item]) -> None:
        """Advance time while nothing arrives; records with an earlier arrival come too late for that."""
        if not self._arrivals.believes_tick(arrival, self.arrival):
            return
        self._expire(arrival, out)
        if self.arrival is None or arrival > self.arrival:
            self.arrival = arrival
        self._issue(self.arrival, out)

    def _issue(self, until: int, out: list[Item]) -> None:
        """Make weather known at the instant of its issue, if it came before that."""
        if self._weather is None:
            return
        for issued, revisions in self._weather.due(until):
            for late in revisions:
                self._emit(late, issued, out)

    def _emit(self, what: Expiry | LateWeather, at: int, out: list[Item]) -> None:
        """Make an item that takes effect at an instant between the last record and the next."""
        arrival = None if self.arrival is None else at
        known = self._made_known(what, arrival)
        out.append(Item(self._sequence, self._next_part(), arrival, at, ("", 0, 0), known))

    def _made_known(self, what: Expiry | LateWeather, arrival: int | None) -> ResolvedEvent:
        asset_class = self._registry.class_of(what.asset) or ""
        name = what.asset if isinstance(what, Expiry) and what.due == arrival else ""
        return ResolvedEvent(what, asset_class, None, self._silence.resting_clock(asset_class, arrival, name))

    def _next_part(self) -> int:
        self._made += 1
        return lane_part(self._made)

    def _check_clock(
        self, clocks: ClockHealth, item: Item, event: Telemetry | Fault, arrival: int, out: list[Item]
    ) -> None:
        """Check the clock of an event's asset; for a right clock hardly any event needs it."""
        if not clocks.needs_check(event.asset, event.time - arrival):
            return
        found = clocks.check(event.asset, event.time, arrival)
        self._by_asset.touch(event.asset)
        if found is not None:
            self._jumps += found.jumped
            out.append(self._before_record(item, _CLOCK, clock_row(item, event.asset, found)))

    def _is_quarantined(self, event: Event) -> bool:
        clocks = self._clocks
        return clocks is not None and isinstance(event, Telemetry | Fault) and clocks.is_wrong(event.asset)

    def _close_period(self, item: Item, out: list[Item]) -> None:
        """Publish the counts of a period once knowledge time has passed its end."""
        if self.arrival is None and self._largest is None:
            return
        closed = self._counts.close(item.known)
        if closed is None:
            return
        clocks = None if self._clocks is None else {**self._clocks.counts(), "jumped": self._jumps}
        self._jumps = 0
        out.append(self._before_record(item, _PERIOD, LanePeriod(self._name, *closed, clocks)))

    def _before_record(self, item: Item, place: int, body: Row | LanePeriod) -> Item:
        """Make an item that this record causes, and that takes effect before it."""
        return Item(self._sequence, lane_part(place), self.arrival, item.known, ("", 0, 0), body)

    def _check_arrivals(self, event: Event) -> Reject | None:
        """Reject a record with `arrived` if the first had none, or the reverse; registry rows may omit it."""
        with_arrivals = event.arrived is not None
        if isinstance(event, Registration | Command) and not with_arrivals:
            return None
        if self._with_arrivals is None:
            self._with_arrivals = with_arrivals
            if not with_arrivals and self._waits:
                _log.warning(
                    "the records have no `arrived`, so idle_timeout has no effect, and max_future bounds "
                    "failure and maintenance records only"
                )
        return unlike(self._with_arrivals, event)

    def _expire(self, arrival: int | None, out: list[Item]) -> None:
        """Apply what was due before this arrival, as of the time at which it was due."""
        if arrival is None or not self._waits:
            return
        for expiry in self._silence.expiries(arrival):
            self._by_asset.touch(expiry.asset)
            try:
                self._issue(expiry.due, out)
            finally:
                self.arrival = expiry.due
                self._emit(expiry, expiry.due, out)
            if self._weather is not None:
                self._weather.expire(expiry)
            if self._clocks is not None and expiry.what == "ttl":
                self._clocks.forget(expiry.asset)
            if expiry.what == "ttl":
                self._signs.trim(expiry.asset)
            elif expiry.what == "buried":
                self._signs.forget(expiry.asset)

    def _move_time(self, item: Item, event: Event) -> None:
        """Arrival never runs back; without arrivals, knowledge follows the largest event time.

        The times of records that wait for telemetry are left out.
        """
        if event.arrived is not None and (self.arrival is None or event.arrived > self.arrival):
            self.arrival = event.arrived
        if isinstance(event, _TIMED) and (self._largest is None or event.time > self._largest):
            may_wait = self._with_arrivals is False and not isinstance(event, Telemetry)
            if not (may_wait and self._waiting.is_ahead(event)):
                self._largest = event.time
        item.known = (self._largest if self.arrival is None else self.arrival) or 0

    @property
    def newest(self) -> int | None:
        """Largest event time so far, None before the first."""
        return self._largest

    def accepted(self) -> dict[str, int]:
        """Number of accepted records by kind."""
        return self._counts.by_kind()

    def wrong_clocks(self) -> dict[str, int]:
        """Number of assets whose clock is ahead, behind or stopped."""
        counts = {} if self._clocks is None else self._clocks.counts()
        return {state: count for state, count in counts.items() if state != "wrong"}

    @property
    def _now(self) -> int | None:
        """Knowledge time, None if nothing is known yet."""
        return self._largest if self.arrival is None else self.arrival

    def _known(self) -> int:
        return self._now or 0

    def _resolve(self, event: AssetEvent, *, filed: bool) -> str | Reject:
        """Class of a registry row, or of an asset that is not known yet."""
        if isinstance(event, Registration):
            before = self._registry.class_of(event.asset)
            found = self._registry.register(event, filed=filed)
            if before is not None and not isinstance(found, Reject) and found != before:
                self._leave(event.asset, before)
        else:
            found = self._registry.adopt(event.asset)
        if not isinstance(found, Reject):
            self._registered.touch(event.asset)
        return found

    def _leave(self, asset: str, asset_class: str) -> None:
        if self.arrival is not None and self._silence.leave(asset, asset_class, self.arrival):
            self._by_asset.touch(asset)

    def _reject(self, item: Item, reject: Reject, event: Event | None) -> Item:
        item.arrival = self.arrival
        item.known = self._known()
        if not self._leaves:
            self._intake.refuse(reject.reason, reject.detail, item.position)
        return reject_row(item, reject, event)

    def changed(self) -> Iterable[int]:
        """Parts to write."""
        registered = [_REGISTRY + bucket for bucket in self._registered.changed()]
        registered += [_BY_ASSET + bucket for bucket in self._by_asset.changed()]
        if self._weather is not None:
            registered += [_WEATHER + part for part in self._weather.changed()]
        return registered

    def main_snapshot(self) -> bytes:
        """Clocks and counts."""
        return LANE.seal(
            {
                "arrival": self.arrival,
                "conditions": self._conditions.state(),
                "with_arrivals": self._with_arrivals,
                "largest": self._largest,
                "sequence": self._sequence,
                "made": self._made,
                "counts": self._counts.state(self._known()),
                "jumps": self._jumps,
                "surroundings": self._weather and self._weather.state(),
                "told": self._migrations.published,
                "idle": self._silence.counted_by(),
                "implausible": self._plausible.counts,
                "claims": self._arrivals.claims,
                "names": self._names.state(),
                "waiting": self._waiting.state(),
                "left_to_others": self._left_to_others,
            },
        )

    def part_snapshot(self, part: int) -> bytes:
        """One bucket of the registry, of the signs of assets or of the surroundings."""
        if part < _BY_ASSET:
            return self._registered.bucket(part)
        if part < _WEATHER:
            return self._by_asset.bucket(part - _BY_ASSET)
        if self._weather is None:
            return self._stored_weather[part - _WEATHER]
        return self._weather.part(part - _WEATHER)

    def finish(self) -> list[Item]:
        """Counts of the input, for the summary."""
        counts: dict[str, Any] = {
            "records": self._sequence // self._lanes - self._left_to_others,
            "assets": len(self._registry),
            "by_kind": self._counts.by_kind(),
            # By reason; every stage that rejects adds to it.
            "rejected": {},
            "names": self._names.report(self._registry),
        }
        for said in filter(None, map(sentence, counts["names"])):
            _log.warning("a name matches nothing", found=said)
        if self._lanes > 1:
            # Joined where the summary is written.
            counts["names"] = {self._name: {"rows": counts["names"], "classes": self._names.heard()}}
            held = self._shared
            assets = [name for name in self._registry.names() if held is None or not held.holds(name)]
            counts["assets"] = {self._name: assets}
        if len(self._waiting):
            counts["waiting"] = len(self._waiting)
        if self._waiting.replaced:
            # Where the summary is written, those that assets counted are added.
            counts["corrections"] = self._waiting.replaced
        if self._plausible.counts:
            counts["implausible"] = dict(sorted(self._plausible.counts.items()))
        if self._weather is not None:
            counts["without_weather"] = self._weather.missed
        body = summary_row({"input": counts})
        return [Item(self._sequence, lane_part(0), self.arrival, self._known(), ("", 0, 0), body)]


def _is_reject(item: Item) -> bool:
    return isinstance(item.body, Row) and item.body.reason is not None


def _between(parts: Mapping[int, bytes], first: int, stop: int) -> dict[int, bytes]:
    """Parts of one table, numbered from 0."""
    return {part - first: sealed for part, sealed in parts.items() if first <= part < stop}
