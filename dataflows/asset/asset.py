"""One asset: telemetry becomes features, records become labels."""

from __future__ import annotations

from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from dataflows.asset.attributes import AttributeFeatures
from dataflows.asset.fault_windows import identity_of
from dataflows.asset.labels import Decisions, Labels, RecordKind, from_version_4, pending_in
from dataflows.asset.panes import NewRows
from dataflows.asset.plan import ClassPlan
from dataflows.asset.recompute import RecomputedWindows
from dataflows.asset.score_on_complete import HeldReadings
from dataflows.asset.stuck import StuckReadings
from dataflows.asset.weather_features import WeatherFeatures
from dataflows.asset.windows import NEVER
from dataflows.event_time import Placement
from dataflows.events import (
    Failure,
    Fault,
    Maintenance,
    Registration,
    Reject,
    Retraction,
    Telemetry,
    Verdict,
    kind_of,
)
from dataflows.instants import format_instant
from dataflows.items import (
    Cleared,
    ClockMoved,
    Counted,
    Expiry,
    Forgotten,
    Item,
    Judged,
    Late,
    LateWeather,
    Located,
    Matured,
    Observation,
    Released,
    Replaced,
    ResolvedEvent,
    Row,
    ScoredRow,
    ScoredTable,
    ScoreRequest,
    Scores,
    Withdrawn,
    asset_part,
    reject_row,
    row_of,
)
from dataflows.outputs import AssetDropped, ServedExample, example_id, named, time_or_none
from dataflows.state.snapshots import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dataflows.asset.windows import Windows
    from dataflows.events import AssetEvent
    from dataflows.items import Compared, Effect

__all__ = ["ASSET", "Asset", "ClassPlan", "Made", "StoredAsset"]


def _with_latest(state: dict[str, Any]) -> dict[str, Any]:
    """Upgrade version 4: it placed telemetry by the latest telemetry or fault, so it lacks that of telemetry.

    An id stood for one mode or component, and ids alone identified copies.
    """
    windows, weather = state["windows"], state["weather"]
    times = [time for time in (state["scored"], windows.get("held"), *windows["ahead"]) if time is not None]
    windows |= {"latest": max(times, default=None), "unbegun": []}
    if weather is not None:
        weather["held_revised"] = False
    state["labels"]["records"] = from_version_4(state["labels"]["records"])
    return state


def _as_tombstone(left: list[Any]) -> dict[str, Any]:
    """Restore the state of a dropped asset from `Asset._tombstone`."""
    asset_class, layout, newest, *ago, cell, revision, ids, attributes = left
    base = newest or 0
    last_event, scored, *marks = (None if each is None else base - each for each in ago)
    return {
        "class": asset_class,
        "layout": layout,
        "cell": cell,
        "revision": revision,
        "scored": scored,
        "last_event": last_event,
        "background": {"attributes": attributes, "maintenance": {}, "earlier": {}},
        "left": ((newest, *marks), {digest: base - time for digest, time in ids.items()}),
    }


#: From older versions: those before version 4 gave layouts no numbers. A list is a tombstone. Version 5
#: knew no verdicts, version 6 no stuck sensors, version 7 no machines that stand, and no verdict that says
#: when the asset would have failed; all are stored only where there are any.
_OLDER: dict[int, Callable[[Any], Any]] = {
    3: lambda state: {**state, "layout": None},
    4: _with_latest,
    5: lambda state: state,
    6: lambda state: state,
    7: lambda state: state,
    8: lambda state: state,
}


class StoredAsset(NamedTuple):
    """Summary of a stored asset.

    Attributes:
        asset_class: name of its class.
        pending: number of examples that wait for their label, by target.
    """

    asset_class: str
    pending: dict[str, int]


def _stored(state: dict[str, Any] | list[Any]) -> StoredAsset:
    if isinstance(state, list):
        return StoredAsset(state[0], {})
    return StoredAsset(state["class"], pending_in(state["labels"]))


#: Snapshots of `Asset`.
ASSET: Kind[StoredAsset] = Kind("asset", 9, _OLDER, describe=_stored)


_NONE: Mapping[str, Any] = MappingProxyType({})


class _Ending(NamedTuple):
    """What a record ends.

    Attributes:
        cleared: why the alerts of a target are, by target.
        time: event time of that.
        forgotten: the state of the asset was dropped.
        judged: a person's verdict, which ends the doubt; it concerns the target that it names.
        withdrawn: time of the failure that never was, by target.
    """

    cleared: Mapping[str, str]
    time: int
    forgotten: bool = False
    judged: Verdict | None = None
    withdrawn: Mapping[str, int] = _NONE


_NO_ENDING = _Ending(_NONE, 0)


class _RareEffects(NamedTuple):
    """Effects of one record on the targets of an asset, other than a score.

    Attributes:
        clock: the label clock, where it has begun.
        at_once: label of the example that is being scored, where it is known already.
        forgotten: the state of the asset was dropped.
        judged: a person's verdict, for the target that it names.
        noted: its site, or a sensor that was replaced.
        withdrawn: time of the failure that never was, by target.
    """

    matured: Decisions
    clock: tuple[ClockMoved, ...]
    compared: tuple[Compared, ...]
    cleared: Mapping[str, Cleared]
    at_once: Mapping[str, Matured]
    released: Mapping[str, list[int]]
    forgotten: bool
    judged: Verdict | None
    noted: tuple[Effect, ...]
    withdrawn: Mapping[str, int]

    def concern(self, name: str) -> bool:
        """Whether one target has any of them but the clock."""
        return bool(
            self.forgotten
            or self.compared
            or (self.judged is not None and self.judged.target == name)
            or self.noted
            or name in self.matured
            or name in self.cleared
            or name in self.withdrawn
            or name in self.at_once
            or name in self.released
        )

    def of_target(self, name: str, scores: tuple[ScoreRequest, ...]) -> tuple[Effect, ...]:
        """Return the effects on one target, in their order."""
        effects: list[Effect] = [*self.matured.get(name, ()), *self.clock, *self.compared]
        if name in self.withdrawn:
            effects.append(Withdrawn(self.withdrawn[name]))
        if self.judged is not None and self.judged.target == name:
            effects.append(Judged(self.judged.verdict, self.judged.time))
        if name in self.cleared:
            effects.append(self.cleared[name])
        effects += (*self.noted, *scores)
        if name in self.at_once:
            effects += [self.at_once[name], *self.clock]
        if name in self.released:
            effects.append(Released(tuple(self.released[name])))
        if self.forgotten:
            effects.append(Forgotten())
        return tuple(effects)


def _reject(item: Item, made: Made, event: AssetEvent, reason: str, detail: str) -> None:
    """Add the row that rejects an event which the lane had accepted."""
    row = cast("Row", reject_row(item, Reject(reason, detail, event.asset), event).body)
    made.add(item, msgspec.structs.replace(row, kind=kind_of(event)))


def _reject_placed(item: Item, made: Made, event: Telemetry | Fault, placed: Placement) -> None:
    """Add the row that rejects telemetry or a fault by its placement."""
    if placed is Placement.DUPLICATE:
        _reject(item, made, event, "duplicate", f"this {kind_of(event)} was seen before")
    else:
        _reject(item, made, event, "too_late", "below the watermark of its asset")


class Before(NamedTuple):
    """State of an asset before a record. An asset that throws continues from it; see `Asset.restart`."""

    plan: ClassPlan
    revision: int
    scored: int | None
    marks: tuple[int | None, ...]
    attributes: Mapping[str, Any]


class Made:
    """What assets make of their records of one activation: rows to score, and items.

    What one record makes is numbered from 0: an observation for each target, then rows of outputs.

    Attributes:
        done: number of records of the present asset that were processed.
    """

    __slots__ = ("_asset", "_blocks", "_items", "_number", "_plain", "_start", "_waiting", "done")

    def __init__(self) -> None:
        self._asset = ""
        self._items: list[Item] = []
        #: Rows, with the name of the asset of each.
        self._blocks: list[tuple[list[str], _Rows]] = []
        #: Rows whose readings wait to enter the panes, by class, and their assets.
        self._plain: dict[ClassPlan, tuple[NewRows, list[str], list[ScoredRow]]] = {}
        self._waiting: set[str] = set()
        #: Numbers of items and blocks before the present record, None between records; and how much it made.
        self._start: tuple[int, int] | None = None
        self._number = 0
        self.done = 0

    def begin_asset(self, asset: str) -> None:
        """Begin the records of an asset."""
        self._asset, self.done = asset, 0
        if asset in self._waiting:
            self.enter_plain()

    def begin(self) -> None:
        """Begin a record."""
        self._start, self._number = (len(self._items), len(self._blocks)), 0

    def end(self) -> None:
        """End a record: it is not taken back any more."""
        self._start = None

    def take_back(self) -> None:
        """Take back what a record made that did not end."""
        if self._start is not None:
            items, blocks = self._start
            del self._items[items:], self._blocks[blocks:]

    def add(self, item: Item, body: Observation | Row | Late | Counted) -> None:
        """Add an item that a record makes."""
        part = asset_part(item.part, self.number(1))
        self._items.append(Item(item.sequence, part, item.arrival, item.known, item.position, body))

    def pass_on(self, items: Iterable[Item]) -> None:
        """Add items that no asset changes."""
        self._items += items

    def number(self, count: int) -> int:
        """Return the first of some numbers of what the present record makes, and use them up."""
        self._number += count
        return self._number - count

    def new_rows(self, plan: ClassPlan) -> NewRows:
        """Return the readings of a class that enter the panes together; `add_plain` gets their rows."""
        plain = self._plain.get(plan)
        if plain is None:
            plain = self._plain[plan] = NewRows(plan.windows), [], []
        return plain[0]

    def add_plain(self, plan: ClassPlan, rows: list[ScoredRow]) -> None:
        """Add rows of the present asset, whose readings were added to `new_rows`."""
        _, assets, scored = self._plain[plan]
        assets += [self._asset] * len(rows)
        scored += rows
        self._waiting.add(self._asset)
        self.done += len(rows)

    def enter_plain(self) -> None:
        """Enter the readings that wait into their panes, if any are of the present asset."""
        if self._asset in self._waiting:
            self.settle()

    def settle(self) -> None:
        """Enter the readings of all assets that wait into their panes."""
        for plan, (new, assets, rows) in self._plain.items():
            # There is none where an asset threw on its first one.
            if not rows:
                continue
            features = new.enter()
            if not plan.only_readings:
                features = plan.with_readings(features)
            self._blocks.append((assets, _Rows(plan.target_names, rows, features)))
        self._plain.clear()
        self._waiting.clear()

    def add_rows(self, rows: _Rows) -> None:
        """Add rows of the present asset; all places are after those that were added before."""
        self._blocks.append(([self._asset] * len(rows.rows), rows))

    def items(self) -> list[Item]:
        """Return everything, the rows of all assets in one block for each target; in no order."""
        self.settle()
        by_targets: dict[tuple[str, ...], list[tuple[list[str], _Rows]]] = {}
        for assets, block in self._blocks:
            if block.observed is None:
                by_targets.setdefault(block.targets, []).append((assets, block))
            else:
                self._add_observed(assets, block, block.observed)
        for targets, blocks in by_targets.items():
            table = ScoredTable.merged(
                [asset for assets, _ in blocks for asset in assets],
                [row for _, block in blocks for row in block.rows],
                [block.features for _, block in blocks],
            )
            for index, target in enumerate(targets):
                self._add_block(target, index, table)
        return self._items

    def _add_observed(self, assets: list[str], block: _Rows, observed: list[frozenset[str]]) -> None:
        """Add a block for each target, without the rows that are observations of it."""
        for index, target in enumerate(block.targets):
            kept = [number for number, without in enumerate(observed) if target not in without]
            if kept:
                rows = [block.rows[number] for number in kept]
                table = ScoredTable(assets[: len(kept)], rows, block.features[kept])
                self._add_block(target, index, table)

    def _add_block(self, target: str, index: int, table: ScoredTable) -> None:
        first = table.rows[0]
        part = asset_part(first[1], index)
        block = Scores(target, index, table)
        self._items.append(Item(first[0], part, first[2], first[3], first[4], block))


class _Rows(msgspec.Struct, frozen=True, gc=False):
    """Rows for the targets of a class.

    Attributes:
        targets: of the class.
        rows: ascending by (sequence, part).
        features: float64 (rows, features).
        observed: of each row, targets that get an observation instead; None where there are none at all.
    """

    targets: tuple[str, ...]
    rows: list[ScoredRow]
    features: NDArray[np.float64]
    observed: list[frozenset[str]] | None = None


_NOBODY: frozenset[str] = frozenset()


class _Run:
    """Telemetry of an asset, each newer than all before it, and the rows that it makes.

    Attributes:
        items: the records.
        times: event times (records).
        values: readings and expressions of each, as `WindowPlan.read` returns them.
        contents: what the readings of each do not show of its content; None where they show all.
        features: float64 (records, features).
        number: of the next record.
        rows: of the records before it that have one.
    """

    __slots__ = (
        "_observed",
        "_without_row",
        "contents",
        "features",
        "items",
        "number",
        "rows",
        "times",
        "values",
    )

    features: NDArray[np.float64]

    def __init__(self, items: list[Item]) -> None:
        self.items = items
        self.times: list[int] = []
        self.values: list[Sequence[float | None]] = []
        self.contents: list[bytes | None] = []
        self.number = 0
        self.rows: list[ScoredRow] = []
        #: Numbers of records without a row; and by number of the record, targets that get an observation
        #: instead. None where there are none, as nearly always.
        self._without_row: set[int] | None = None
        self._observed: dict[int, frozenset[str]] | None = None

    def add(self, row: ScoredRow | None, without: frozenset[str] = _NOBODY) -> None:
        """Add what the next record makes: its row, and the targets that get an observation instead."""
        if row is None:
            self._without_row = {*(self._without_row or ()), self.number}
        else:
            self.rows.append(row)
        if row is not None and without:
            self._observed = {**(self._observed or {}), self.number: without}
        self.number += 1

    def of_targets(self, targets: tuple[str, ...]) -> _Rows:
        """Return the rows for the targets of the class."""
        skipped, observed = self._without_row, self._observed
        if skipped is None and observed is None and self.number == len(self.features):
            return _Rows(targets, self.rows, self.features)
        numbers = [number for number in range(self.number) if number not in (skipped or ())]
        left_out = None if observed is None else [observed.get(number, _NOBODY) for number in numbers]
        return _Rows(targets, self.rows, self.features[numbers], left_out)


class Asset:
    """The windows, the examples and the labels of one asset.

    Args:
        name: of the asset.
        plans: of every class of the fleet.
        asset_class: name of its class.
        sealed: what `to_bytes` returned, None for a new asset.

    Attributes:
        before: the state before the record that was processed last, for `restart`; None before the first.
        finished: whether no state is left, so that it can be deleted.
        lane: number of the lane in which it lives; None with one lane, and before its first record.
    """

    __slots__ = (
        "_attributes",
        "_blocks",
        "_cell",
        "_complete",
        "_labels",
        "_last_event",
        "_name",
        "_noted",
        "_plain_until",
        "_plan",
        "_plans",
        "_revision",
        "_scored",
        "_site",
        "_stuck",
        "_weather",
        "_windows",
        "before",
        "finished",
        "lane",
    )

    def __init__(
        self, name: str, plans: Mapping[str, ClassPlan], asset_class: str, sealed: bytes | None = None
    ) -> None:
        self._name = name
        self._plans = plans
        found = {} if sealed is None else ASSET.unseal(sealed)
        state: dict[str, Any] = _as_tombstone(found) if isinstance(found, list) else found
        plan = plans[state.get("class", asset_class)]
        #: That of the snapshot, until it is carried over.
        self._plan = plan if sealed is None else plan.as_written(state["layout"])
        #: Cell of the example grid in which the last example lies.
        self._cell: int | None = state.get("cell")
        self._revision: int = state.get("revision", 0)
        #: Event time that was scored last, whose revisions are counted; it outlives the windows.
        self._scored: int | None = state.get("scored")
        #: Telemetry up to this time is plain, see `_process_plain`.
        self._plain_until = -NEVER
        self.before: Before | None = None
        self.finished = False
        self.lane: int | None = state.get("lane")
        #: Event time of the last accepted event of any kind.
        self._last_event: int | None = state.get("last_event")
        #: Its site, as far as targets know it, and what the next observations tell them.
        self._site: str | None = state.get("site")
        self._noted: tuple[Effect, ...] = ()
        self._windows = self._plan.new_windows(state.get("windows"))
        self._labels = Labels(plan.targets, state.get("labels"), plan.known)
        self._set_blocks(state)
        if "left" in state:
            marks, ids = state["left"]
            self._windows.move_marks(*marks)
            self._windows.restore_remains(ids)
            # The windows are empty too, so the recomputed ones miss nothing.
            if plan.complete_windows(name, None) is not None:
                state["complete"] = RecomputedWindows(self._plan).state()

        self._complete: RecomputedWindows | None = None
        self._stuck = StuckReadings.of(plan.asset_class, state.get("stuck"))
        if self._plan is plan:
            self._complete = plan.complete_windows(name, self._windows.newest, state.get("complete"))
        else:
            self._carry(plan, state.get("complete"))

    def _set_blocks(self, states: Mapping[str, Any]) -> None:
        """Build the blocks of the class from their states; those without one are new."""
        self._blocks = self._plan.new_blocks(states)
        self._attributes = next(block for block in self._blocks if isinstance(block, AttributeFeatures))
        self._weather = next((block for block in self._blocks if isinstance(block, WeatherFeatures)), None)

    def _tombstone(self) -> list[Any] | None:
        """Plain data of a dropped asset: what outlives `asset_ttl`; None if it holds more.

        Times are microseconds before the newest, so that they take few bytes.
        """
        ids = self._windows.remains()
        if ids is None or not self._holds_nothing():
            return None
        newest, *marks = self._windows.marks()
        base = newest or 0
        times = (self._last_event, self._scored, *marks)
        return [
            self._plan.asset_class.name,
            self._plan.number,
            newest,
            *(None if time is None else base - time for time in times),
            self._cell,
            self._revision,
            {digest: base - time for digest, time in ids.items()},
            dict(self._attributes.known),
        ]

    def _holds_nothing(self) -> bool:
        """Whether labels, blocks but for attributes, and recomputed windows are those of a new asset."""
        complete = self._complete
        return (
            self._labels.is_empty
            and all(block.is_empty for block in self._blocks if block is not self._attributes)
            and (complete is None or complete.state() == RecomputedWindows(self._plan).state())
        )

    @property
    def dormant(self) -> bool:
        """Whether the asset was dropped, so that memory may hold its bytes in place of the object."""
        windows = self._windows
        return windows.largest is None and windows.remains() is not None and self._tombstone() is not None

    def to_bytes(self) -> bytes:
        """Seal the whole state."""
        tombstone = self._tombstone()
        if tombstone is not None:
            return ASSET.seal(tombstone)
        return ASSET.seal(
            {
                "class": self._plan.asset_class.name,
                "layout": self._plan.number,
                "cell": self._cell,
                "revision": self._revision,
                "scored": self._scored,
                "last_event": self._last_event,
                "site": self._site,
                "windows": self._windows.state(),
                "labels": self._labels.state(),
                "complete": None if self._complete is None else self._complete.state(),
                **({} if self._stuck is None else {"stuck": self._stuck.state()}),
                **({} if self.lane is None else {"lane": self.lane}),
                **self._plan.block_states(self._blocks),
            },
        )

    def _before(self) -> Before:
        """Return what `restart` restores after a record on which the asset raises."""
        return Before(
            self._plan,
            self._revision,
            self._scored,
            self._windows.marks(),
            self._attributes.known,
        )

    def restart(self, asset_class: str, before: Before | None = None, body: object = None) -> Asset:
        """Build the asset without its state, but for its attributes and what keeps prediction ids unique.

        Args:
            asset_class: name of its class from now on.
            before: state before the record on which it raised; as it is now if None.
            body: of that record; no trace of it is kept.
        """
        before = before or self._before()
        new = Asset(self._name, self._plans, asset_class)
        new._revision, new._scored = before.revision, before.scored
        self._windows.move_marks(*before.marks)
        new._windows = self._windows.tombstone(new._windows, few=False)
        newest, latest, since, floor = before.marks
        if newest is not None and new._plan is not before.plan:
            mark = newest - before.plan.windows.lateness
            new._windows.move_marks(newest, latest, since, mark if floor is None else max(mark, floor))
        if isinstance(body, ResolvedEvent):
            new._forget_identity(body)
        new._attributes.known = before.attributes
        new.lane = self.lane
        return new

    def _forget_identity(self, body: ResolvedEvent) -> None:
        """Forget the identity of a record, so that it may be sent again."""
        event = body.event
        if isinstance(event, Telemetry):
            weather = self._plan.windows.joined(body)
            # A record that throws here threw before, too, and its identity was never stored.
            with suppress(Exception):
                self._windows.forget_identity(event.time, event.readings, event.id, weather)
        elif isinstance(event, Fault):
            self._windows.forget_fault(identity_of(event))

    def targets(self) -> tuple[str, ...]:
        """Names of the targets of its class, and of former ones that still have examples."""
        return self._labels.targets()

    def process(self, items: list[Item]) -> list[Item]:
        """Process records, and time that passed; return what they make, in no order.

        Args:
            items: resolved events of this asset, in the order of effect.
        """
        made = Made()
        made.begin_asset(self._name)
        self.process_into(items, made)
        return made.items()

    def process_into(self, items: list[Item], made: Made) -> None:
        """Process the items of an activation from the first that was not processed yet.

        It returns early where the asset is `finished`. If it raises, ``made.done`` is the number of the item
        on which it did, and `before` the state before that.
        """
        while made.done < len(items):
            if self._process_plain(items, made):
                continue
            # What follows may ask what the panes hold, and may change what is plain.
            self._plain_until = -NEVER
            made.enter_plain()
            if self._process_run(items, made):
                continue
            self.before = self._before()
            made.begin()
            self._process_one(items[made.done], made)
            made.end()
            made.done += 1
            if self.finished:
                return

    def _process_run(self, items: list[Item], made: Made) -> bool:
        """Process telemetry that is not plain, each newer than all before it: windows at once, then each.

        Returns:
            Whether the next item is such telemetry; the run goes as far as all are.
        """
        self.before = None
        run = self._read_run(items, made.done)
        if not run.times:
            return False
        readings = self._windows.place_run(run.times, run.values)
        run.features = readings if self._plan.only_readings else self._plan.with_readings(readings)
        first, records = made.done, len(run.times)
        try:
            while run.number < records:
                self._process_newest(run, made)
                made.done = first + run.number
        finally:
            if run.rows:
                made.add_rows(run.of_targets(self._plan.target_names))
        return True

    def _process_plain(self, items: list[Item], made: Made) -> bool:
        """Process the next records as far as each is telemetry that is just scored.

        Each is newer than all before it, has no identity that is to be kept, is no example and no revision,
        and moves the label clock to where nothing is decided and nothing is forgotten. They enter their panes
        together with those of other assets.

        Returns:
            Whether the next item is such telemetry.
        """
        windows, plan, stuck = self._windows, self._plan.windows, self._stuck
        running, end, mark, clock = windows.running, windows.latest, windows.watermark, self._labels.clock
        times: list[int] = []
        rows: list[ScoredRow] = []
        table = b""
        for item in items[made.done :] if made.done else items:
            body = item.body
            if not isinstance(body, ResolvedEvent) or not isinstance(body.event, Telemetry):
                break
            event = body.event
            time = event.time
            if time > self._plain_until and (times or time > self._find_plain_until(time)):
                break
            if event.id is not None or end is None or time <= end:
                break
            reached = time - plan.lateness
            if mark is None or reached > mark:
                mark = reached
            if clock is None or mark > clock:
                clock = mark
            try:
                readings = event.readings if stuck is None else stuck.checked(time, event.readings)
                joined = None if body.weather is None and body.relative is None else plan.joined(body)
                values, content = plan.read(readings, joined)
                row = self._row(item, item.part, mark, clock, body.resting, time, 0)
            except Exception:  # noqa: BLE001 - it is read again as the first of a run, and raises there
                break
            if content is not None or not (running is None or windows.would_run(values)):
                break
            end = time
            times.append(time)
            rows.append(row)
            table += plan.packed(time, values)
        if not times:
            return False
        self._add_plain(times, table, rows, made)
        return True

    def _find_plain_until(self, time: int) -> int:
        """Find up to which time telemetry is plain that is newer than all before it, see `_process_plain`.

        That stays so until anything else happens to the asset.

        Args:
            time: of the next telemetry.
        """
        plan, windows, labels = self._plan, self._windows, self._labels
        every = plan.example_every
        self._plain_until = -NEVER
        if (
            plan.scores_only
            and not plan.holds
            and time // every == self._cell
            and time != self._scored
            and windows.latest == windows.end
            and not self._noted
            and self._complete is None
            and labels.is_quiet
        ):
            until = windows.unseen_until(labels.quiet_until)
            self._plain_until = min(until, (self._cell + 1) * every - 1)
        return self._plain_until

    def _add_plain(self, times: list[int], table: bytes, rows: list[ScoredRow], made: Made) -> None:
        """Add the next records, which are plain.

        Args:
            times: of the records.
            table: their readings, as `WindowPlan.packed` returns them.
            rows: that they make.
            made: takes the rows.
        """
        windows = self._windows
        newest, latest = windows.newest, windows.latest
        try:
            self._labels.advance(rows[-1][5])
            windows.add_plain(times, table, made.new_rows(self._plan))
        except BaseException:
            self._remember_before(self._revision, self._scored, newest, latest)
            raise
        last = times[-1]
        if self._last_event is None or last > self._last_event:
            self._last_event = last
        self._scored, self._revision = last, 0
        made.add_plain(self._plan, rows)

    def _remember_before(
        self, revision: int, scored: int | None, newest: int | None, latest: int | None
    ) -> None:
        """Note the state before a record of a run that raises, for `restart`."""
        marks = newest, latest, *self._windows.marks()[2:]
        self.before = Before(self._plan, revision, scored, marks, self._attributes.known)

    def _process_newest(self, run: _Run, made: Made) -> None:
        """Process the next record of a run, whose readings are in the windows already."""
        plan, windows, labels = self._plan, self._windows, self._labels
        item, time, content = run.items[run.number], run.times[run.number], run.contents[run.number]
        body = cast("ResolvedEvent", item.body)
        event = cast("Telemetry", body.event)
        revision, scored, newest, latest = self._revision, self._scored, windows.newest, windows.latest
        try:
            mark = windows.add_placed(time, event.id, content)
            if self._last_event is None or time > self._last_event:
                self._last_event = time
            if plan.watches_drift:
                self._note_site(event.site)
            usual = bool(plan.targets) and self._complete is None
            if plan.follows or not usual:
                self._follow(body, time, run.features[run.number])
            matured, example = labels.advance(mark), self._begin_score(time)
            if usual and not (matured or example or self._noted) and labels.is_quiet:
                row = self._row(item, item.part, mark, labels.clock, body.resting, time, self._revision)
                run.add(row)
            else:
                made.begin()
                at_once, vector = labels.add(time) if example else _NONE, run.features[run.number]
                run.add(*self._emit(item, made, matured, vector, example=example, at_once=at_once))
                made.end()
        except BaseException:
            self._remember_before(revision, scored, newest, latest)
            raise

    def _follow(self, accepted: ResolvedEvent, time: int, vector: NDArray[np.float64]) -> None:
        """Add telemetry of a run to the blocks, and write their features into its vector."""
        plan = self._plan
        for index in plan.advanced:
            self._blocks[index].advance(time)
        if plan.sees_telemetry:
            self._add_to_blocks(accepted)
        if self._complete is not None:
            self._complete.add(time, self._windows.row(time))
        if plan.written:
            self._write_blocks(time, vector)

    def _begin_score(self, time: int) -> bool:
        """Begin to score a time that was not scored before; return whether it is an example."""
        # An asset that asset_ttl dropped may come back at the very time that was scored before.
        self._revision = self._revision + 1 if time == self._scored else 0
        self._scored = time
        cell = time // self._plan.example_every
        # A revision is no example, even in windows that were dropped together with the cell.
        if cell == self._cell or self._revision:
            return False
        self._cell = cell
        return True

    def _row(
        self,
        item: Item,
        part: int,
        watermark: int | None,
        clock: int | None,
        resting: int | None,
        time: int,
        revision: int,
        *,
        example: bool = False,
    ) -> ScoredRow:
        """Return the row of a score."""
        return (
            item.sequence,
            part,
            item.arrival,
            item.known,
            item.position,
            watermark,
            clock,
            resting,
            time,
            revision,
            example,
        )

    def _read_run(self, items: list[Item], first: int) -> _Run:
        """Read the run that begins with an item; it is empty where that is no telemetry, or not the newest.

        It ends before telemetry that may be plain.

        Args:
            items: of the activation.
            first: number of the item.
        """
        run = _Run(items[first:] if first else items)
        if self._plan.holds:
            return run
        times, plan, end = run.times, self._plan.windows, self._windows.end
        condition = plan.running
        runs = self._windows.running is None or self._windows.running.newest
        for item in run.items:
            body = item.body
            if not isinstance(body, ResolvedEvent):
                break
            event = body.event
            if not isinstance(event, Telemetry) or (end is not None and event.time <= end):
                break
            try:
                values, content = plan.read(self._readings(event), plan.joined(body))
            except Exception:
                if not times:
                    raise
                # It begins the next run, and raises there.
                break
            if times and self._plan.scores_only and event.id is None and content is None:
                break
            if condition is not None:
                known = condition(values)
                runs = runs if known is None else known
                if not runs:
                    break
            end = event.time
            times.append(end)
            run.values.append(values)
            run.contents.append(content)
        return run

    def _process_one(self, item: Item, made: Made) -> None:
        """Process a record by the rules of its kind."""
        body = item.body
        if not isinstance(body, ResolvedEvent):
            msg = f"an asset processes resolved events, not {type(body).__name__}"
            raise TypeError(msg)
        windows = self._windows
        if isinstance(windows, HeldReadings) and windows.ends_with(body.event, self._plan, self._plans):
            held = windows.close()
            if held is not None:
                self._advance_blocks(held)
                self._score_first(item, made, held, {})
        self._HANDLERS[type(body.event)](self, item, made, body, body.event)

    def _advance_blocks(self, time: int) -> None:
        for block in self._blocks:
            block.advance(time)

    def _add_to_blocks(self, accepted: ResolvedEvent) -> bool:
        """Give an accepted event to the blocks that use it; return whether that changes served features."""
        changes = False
        for index in self._plan.users.get(type(accepted.event), ()):
            changes = self._blocks[index].add(accepted, self._windows) or changes
        return changes

    def _telemetry(self, item: Item, made: Made, body: ResolvedEvent, event: Telemetry) -> None:
        weather = self._plan.windows.joined(body)
        placed = self._windows.add(event.time, self._readings(event), event.id, weather)
        if placed is Placement.DUPLICATE or placed is Placement.TOO_LATE:
            _reject_placed(item, made, event, placed)
            return
        self._note_time(event.time)
        if placed is Placement.ON_TIME:
            self._advance_blocks(event.time)
        if placed in {Placement.ON_TIME, Placement.HELD}:
            self._note_site(event.site)
        self._add_to_blocks(body)
        if self._complete is not None:
            self._complete.add(event.time, self._windows.row(event.time))
        if placed is Placement.LATE and not self._windows.altered_by(event.time):
            made.add(item, Late())
            return
        matured = self._labels.advance(self._windows.watermark)
        if placed is Placement.ON_TIME:
            self._score_first(item, made, event.time, matured)
        elif placed is Placement.HELD:
            self._emit(item, made, matured)
        else:
            self._score_again(item, made, matured)
            if placed is Placement.LATE:
                made.add(item, Late())

    def _readings(self, event: Telemetry) -> dict[str, float | None]:
        """Return the readings of telemetry without those of sensors that are stuck."""
        return event.readings if self._stuck is None else self._stuck.checked(event.time, event.readings)

    def _note_site(self, site: str | None) -> None:
        """Tell the targets where the asset is, where they watch for drift and do not know it yet."""
        if site is not None and site != self._site and self._plan.watches_drift:
            self._site, self._noted = site, (Located(site),)

    def _score_first(self, item: Item, made: Made, time: int, matured: Decisions) -> None:
        """Score a time that was not scored before, outside of a run."""
        example = self._begin_score(time)
        at_once = self._labels.add(time) if example else _NONE
        self._score(item, made, matured, example=example, at_once=at_once)

    def _score_again(self, item: Item, made: Made, matured: Decisions) -> None:
        """Score the latest time again: something changed its features."""
        self._revision += 1
        self._score(item, made, matured)

    def _score(
        self,
        item: Item,
        made: Made,
        matured: Decisions,
        *,
        example: bool = False,
        at_once: Mapping[str, Matured] = _NONE,
    ) -> None:
        """Score the time that is scored, outside of a run."""
        features = self._features()
        row, without = self._emit(item, made, matured, features, example=example, at_once=at_once)
        if row is not None:
            left_out = [without] if without else None
            made.add_rows(_Rows(self._plan.target_names, [row], features.reshape(1, -1), left_out))

    def _fault(self, item: Item, made: Made, body: ResolvedEvent, event: Fault) -> None:
        windows = self._windows
        placed = windows.add_fault(event.time, identity_of(event))
        if placed is Placement.DUPLICATE or placed is Placement.TOO_LATE:
            _reject_placed(item, made, event, placed)
            return
        self._note_time(event.time)
        if self._complete is not None:
            self._complete.add_fault(event.time, event.code, windows.watermark)
        revises = self._add_to_blocks(body)
        matured = self._labels.advance(windows.watermark)
        if revises:
            self._score_again(item, made, matured)
        else:
            self._emit(item, made, matured)
        if placed is Placement.LATE:
            made.add(item, Late())

    def _record(self, item: Item, made: Made, body: ResolvedEvent, event: Failure | Maintenance) -> None:
        labels = self._labels
        kind = cast("RecordKind", kind_of(event))
        what = event.mode if isinstance(event, Failure) else event.component
        if not labels.remembers(event.time, self._windows.largest):
            _reject(item, made, event, "unmatched", "no example that it could label is remembered")
            return
        recorded = labels.record(kind, event.time, what, event.id)
        if recorded is None:
            _reject(item, made, event, "duplicate", "this record was seen before")
            return
        decided, replaced = recorded
        self._note_time(event.time)
        if replaced is not None:
            self._withdraw_from_blocks(kind, replaced.time, what)
        self._add_to_blocks(body)
        if isinstance(event, Maintenance) and self._plan.watches_drift:
            head, _, sensor = (event.component or "").partition(":")
            if head == "sensor" and sensor:
                self._noted = (Replaced(sensor),)
        if kind in self._plan.resets:
            self._reset_windows(event.time)
        affected = labels.affected(kind, what)
        cleared, withdrawn = dict.fromkeys(affected, kind), _NONE
        if replaced is not None and kind == "failure":
            withdrawn = dict.fromkeys(affected, replaced.time)
        self._emit(item, made, decided, ending=_Ending(cleared, event.time, withdrawn=withdrawn))
        if replaced is not None:
            made.add(item, Counted("corrections"))

    def _reset_windows(self, time: int) -> None:
        restarted = self._windows.reset(time)
        for block in self._blocks:
            block.reset(time)
        if self._complete is not None and restarted:
            self._complete.reset(time, self._windows.rows_after(time))

    def give_up(self, why: str) -> tuple[Compared, ...]:
        """Give up every example that waits to be computed again, and return them."""
        return () if self._complete is None else self._complete.give_up(why)

    def _withdraw_from_blocks(self, kind: RecordKind, time: int, what: str | None) -> None:
        for block in self._blocks:
            block.withdraw(kind, time, what)

    def _retraction(self, item: Item, made: Made, body: ResolvedEvent, event: Retraction) -> None:
        decided, withdrawn = self._labels.retract(event.id)
        if not withdrawn:
            if not body.withdrawn:
                unmatched = "no failure or maintenance record of this id stands"
                _reject(item, made, event, "unmatched", unmatched)
            return
        failures: dict[str, int] = {}
        for kind, time, what in withdrawn:
            if kind != "verdict":
                self._withdraw_from_blocks(kind, time, what)
            if kind == "failure":
                failures |= dict.fromkeys(self._labels.affected(kind, what), time)
        self._emit(item, made, decided, ending=_Ending(_NONE, 0, withdrawn=failures))

    def _verdict(self, item: Item, made: Made, _: ResolvedEvent, event: Verdict) -> None:
        known = event.target in self._labels.targets()
        if not known or not self._labels.remembers(event.time, self._windows.largest):
            _reject(item, made, event, "unmatched", "no example that it could label is remembered")
            return
        decided = self._labels.judge(event)
        if decided is None:
            _reject(item, made, event, "duplicate", "this verdict was seen before")
            return
        self._emit(item, made, decided, ending=_Ending(_NONE, event.time, judged=event))

    def _registration(self, item: Item, made: Made, body: ResolvedEvent, event: Registration) -> None:
        self._add_to_blocks(body)
        plan = self._plans[event.asset_class]
        before = [target.name for target in self._plan.targets]
        cleared = {}
        if plan is not self._plan:
            self._labels.retarget(plan.targets)
            self._carry(plan)
            cleared = dict.fromkeys(before, "class changed")
            self._site = None
        decided: Decisions = {}
        if event.retired:
            decided = self._labels.retire(item.known)
            cleared = dict.fromkeys([*before, *self._labels.targets()], "retired")
        self._note_site(event.site)
        if decided or cleared or self._noted:
            self._emit(item, made, decided, ending=_Ending(cleared, item.known))

    def _carry(self, plan: ClassPlan, complete: dict[str, Any] | None = None) -> None:
        """Continue in another class or layout, with the windows that both declare alike."""
        before = self._plan
        self._windows = self._windows.carry(plan.new_windows(), before.carried(plan))
        states = before.block_states(self._blocks, plan)
        self._plan = plan
        self._stuck = StuckReadings.of(plan.asset_class, None if self._stuck is None else self._stuck.state())
        self._set_blocks(states)
        given_up = self.give_up("class changed")
        self._complete = plan.complete_windows(self._name, self._windows.newest)
        if self._complete is not None:
            self._complete.given_up = given_up
            if complete is not None:
                self._complete = RecomputedWindows(before, None, complete).carry(plan)

    def _late_weather(self, item: Item, made: Made, body: ResolvedEvent, _: LateWeather) -> None:
        if self._windows.stands:
            # The weather is that of a time that was not scored.
            return
        if self._add_to_blocks(body):
            self._score_again(item, made, {})

    def _expiry(self, item: Item, made: Made, _: ResolvedEvent, event: Expiry) -> None:
        if event.what == "buried":
            self._drop(self._plan.new_windows())
            self._cell = self._scored = self._last_event = None
            self._revision = 0
            # Attributes came in a registry row, which will not come again.
            self.finished = self._attributes.is_empty
            return
        matured = self._labels.expire(event.due, self._last_event)
        cleared = dict.fromkeys(self._labels.targets(), "silent")
        forgotten = event.what == "ttl"
        if forgotten:
            self.give_up("asset dropped")
        self._emit(item, made, matured, ending=_Ending(cleared, event.due, forgotten))
        if forgotten:
            row = AssetDropped(asset=self._name, why="silent for asset_ttl", sequence=item.sequence)
            made.add(item, row_of(row))
            self._drop(self._windows.tombstone(self._plan.new_windows()))

    def _drop(self, windows: Windows) -> None:
        """Drop the state; attributes and the contents of the given windows stay."""
        self._windows = windows
        attributes = self._attributes.known
        self._set_blocks({})
        self._attributes.known = attributes
        self._labels = Labels(self._plan.targets, None, self._plan.known)
        self._stuck = StuckReadings.of(self._plan.asset_class)
        # The windows begin empty too, so nothing is missing from these.
        self._complete = None if self._complete is None else RecomputedWindows(self._plan)

    def _note_time(self, time: int) -> None:
        if self._last_event is None or time > self._last_event:
            self._last_event = time

    def _features(self) -> NDArray[np.float64]:
        """Features of the time that is scored."""
        plan, windows = self._plan, self._windows
        if plan.only_readings:
            return windows.features()
        out: NDArray[np.float64] = self._plan.with_readings(windows.features().reshape(1, -1))[0]
        self._write_blocks(windows.largest or 0, out)
        return out

    def _write_blocks(self, time: int, out: NDArray[np.float64]) -> None:
        """Write the features of the blocks at the time that is scored into a feature vector."""
        for index, placed in self._plan.written:
            placed.write(self._blocks[index], time, out)
        if self._weather is not None and self._weather.revised:
            values = self._windows.values_with(self._weather.values)
            out[: len(values)] = values

    def _emit(
        self,
        item: Item,
        made: Made,
        matured: Decisions,
        features: NDArray[np.float64] | None = None,
        *,
        example: bool = False,
        at_once: Mapping[str, Matured] = _NONE,
        ending: _Ending = _NO_ENDING,
    ) -> tuple[ScoredRow | None, frozenset[str]]:
        """Make what a record means for each target, former ones with examples too.

        That is a row for the targets on which a score and the label clock are its only effects, and an
        observation for each other one; and a row of the features of an example.

        Args:
            item: the record.
            made: takes the observations, and the row of the example.
            matured: labels that it decides.
            features: of the time to be scored, None where nothing is.
            example: whether that is an example.
            at_once: label of that example, by target, where it is known already.
            ending: what it ends.

        Returns:
            The row, None where there is none; and the targets of the class that get an observation instead.
        """
        windows, labels, plan = self._windows, self._labels, self._plan
        clock, targets = labels.clock, labels.targets()
        resting = cast("ResolvedEvent", item.body).resting
        released = labels.release(windows.largest)
        compared: tuple[Compared, ...] = ()
        if self._complete is not None:
            compared = self._recompute(features if example else None)
        cleared = {name: Cleared(why, ending.time) for name, why in ending.cleared.items()}
        moved = () if clock is None else (ClockMoved(clock),)
        noted, self._noted = self._noted, ()
        ends = ending.forgotten, ending.judged, noted, ending.withdrawn
        effects = _RareEffects(matured, moved, compared, cleared, at_once, released, *ends)
        names = (*dict.fromkeys((*targets, *cleared)),)
        active, first = len(plan.targets), made.number(0)
        score, row = None, None
        without = frozenset(names[:active])
        if features is not None:
            without = frozenset(name for name in names[:active] if effects.concern(name))
            if len(without) < active:
                part = asset_part(item.part, first)
                at = resting, windows.largest or 0, self._revision
                row = self._row(item, part, windows.watermark, clock, *at, example=example)
            if without:
                score = ScoreRequest(windows.largest or 0, features.tobytes(), self._revision, example)
        for index, name in enumerate(names):
            if index < active and name not in without:
                made.number(1)
                continue
            told = effects.of_target(name, () if score is None or index >= active else (score,))
            own = resting if index < active else None
            made.add(item, Observation(self._name, name, windows.watermark, told, own))
        if example and features is not None and plan.write_examples:
            made.add(item, self._served_example(item, features))
        return row, without

    def _recompute(self, example: NDArray[np.float64] | None) -> tuple[Compared, ...]:
        """Advance the windows of complete data, with a new example; return the examples computed again."""
        if self._complete is None:
            return ()
        if example is not None:
            self._complete.expect(self._windows.largest or 0, example.tobytes())
        return self._complete.advance(self._windows.settled, self._blocks)

    def _served_example(self, item: Item, features: NDArray[np.float64]) -> Row:
        """Make the row of an example's features, one for all targets that take it."""
        time = self._windows.largest or 0
        return row_of(
            ServedExample(
                id=example_id(self._name, time),
                asset=self._name,
                asset_class=self._plan.asset_class.name,
                time=format_instant(time),
                sequence=item.sequence,
                arrival=time_or_none(item.arrival),
                watermark=time_or_none(self._windows.watermark),
                features=named(self._plan.asset_class.features, features.tobytes()),
            )
        )

    _HANDLERS: ClassVar[dict[type, Callable[[Asset, Item, Made, ResolvedEvent, Any], None]]] = {
        Telemetry: _telemetry,
        Fault: _fault,
        Failure: _record,
        Maintenance: _record,
        Retraction: _retraction,
        Verdict: _verdict,
        Registration: _registration,
        Expiry: _expiry,
        LateWeather: _late_weather,
    }
