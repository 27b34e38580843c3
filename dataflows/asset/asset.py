"""One asset: telemetry becomes features, records become labels."""

from __future__ import annotations

from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import msgspec
import numpy as np

from dataflows.asset.attributes import AttributeFeatures
from dataflows.asset.fault_windows import identity_of
from dataflows.asset.labels import Decisions, Labels, RecordKind, from_version_4, pending_in
from dataflows.asset.plan import ClassPlan
from dataflows.asset.recompute import RecomputedWindows
from dataflows.asset.score_on_complete import HeldReadings
from dataflows.asset.weather_features import WeatherFeatures
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
    ScoreRequest,
    Scores,
    asset_part,
    reject_row,
    row_of,
)
from dataflows.outputs import AssetDropped, ServedExample, example_id, named, time_or_none
from dataflows.state.snapshots import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

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
#: knew no verdicts, which are stored only where there are any.
_OLDER: dict[int, Callable[[Any], Any]] = {
    3: lambda state: {**state, "layout": None},
    4: _with_latest,
    5: lambda state: state,
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
ASSET: Kind[StoredAsset] = Kind("asset", 6, _OLDER, describe=_stored)


_NONE: Mapping[str, Any] = MappingProxyType({})


class _Ending(NamedTuple):
    """What a record ends.

    Attributes:
        cleared: why the alerts of a target are, by target.
        time: event time of that.
        forgotten: the state of the asset was dropped.
        judged: a person's verdict, which ends the doubt; it concerns the target that it names.
    """

    cleared: Mapping[str, str]
    time: int
    forgotten: bool = False
    judged: Verdict | None = None


_NO_ENDING = _Ending(_NONE, 0)


class _RareEffects(NamedTuple):
    """Effects of one record on the targets of an asset, other than a score.

    Attributes:
        clock: the label clock, where it has begun.
        at_once: label of the example that is being scored, where it is known already.
        forgotten: the state of the asset was dropped.
        judged: a person's verdict, for the target that it names.
        noted: its site, or a sensor that was replaced.
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

    def concern(self, name: str) -> bool:
        """Whether one target has any of them but the clock."""
        return bool(
            self.forgotten
            or self.compared
            or (self.judged is not None and self.judged.target == name)
            or self.noted
            or name in self.matured
            or name in self.cleared
            or name in self.at_once
            or name in self.released
        )

    def of_target(self, name: str, scores: tuple[ScoreRequest, ...]) -> tuple[Effect, ...]:
        """Return the effects on one target, in their order."""
        effects: list[Effect] = [*self.matured.get(name, ()), *self.clock, *self.compared]
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
    """What an asset makes of its records of one activation: rows to score, and items.

    What a record makes is numbered from 0: an observation for each target, then rows of outputs.

    Args:
        asset: its name.

    Attributes:
        done: number of records of the activation that were processed.
    """

    __slots__ = (
        "_asset",
        "_features",
        "_index",
        "_items",
        "_observed",
        "_rows",
        "_start",
        "_targets",
        "done",
    )

    def __init__(self, asset: str) -> None:
        self._asset = asset
        self._items: list[Item] = []
        #: Targets of the rows, and the rows with their features since the targets changed.
        self._targets: tuple[str, ...] = ()
        self._rows: list[ScoredRow] = []
        self._features: list[NDArray[np.float64]] = []
        #: Rows that a target gets as an observation instead, by target.
        self._observed: dict[str, set[int]] = {}
        #: Numbers of items, rows and arrays of features before the present record, and what it made so far.
        self._start = (0, 0, 0)
        self._index = 0
        self.done = 0

    def begin(self) -> None:
        """Begin a record."""
        self._start = len(self._items), len(self._rows), len(self._features)
        self._index = 0

    def take_back(self) -> None:
        """Take back what the record that was begun last made so far."""
        items, rows, arrays = self._start
        del self._items[items:], self._rows[rows:], self._features[arrays:]
        for observed in self._observed.values():
            observed.difference_update([row for row in observed if row >= rows])

    def add(self, item: Item, body: Observation | Row | Late | Counted) -> None:
        """Add an item that a record makes."""
        part = asset_part(item.part, self._index)
        self._items.append(Item(item.sequence, part, item.arrival, item.known, item.position, body))
        self._index += 1

    def rows(self, targets: tuple[str, ...]) -> list[ScoredRow]:
        """Return the rows for these targets, to which one can be appended; `add_features` follows."""
        if targets != self._targets:
            self._close()
            self._targets = targets
        return self._rows

    def add_features(self, features: NDArray[np.float64]) -> None:
        """Add the features (rows, features) of the rows that were appended."""
        if len(features):
            self._features.append(features)

    def leave_out(self, target: str) -> None:
        """Leave out the last row for a target, which gets an observation instead."""
        self._observed.setdefault(target, set()).add(len(self._rows) - 1)

    def number(self, count: int) -> int:
        """Return the first of some numbers of what the present record makes, and use them up."""
        self._index += count
        return self._index - count

    def items(self) -> list[Item]:
        """Return everything, the rows in a block for each target; in no order."""
        self._close()
        return self._items

    def _close(self) -> None:
        """Make blocks of the rows."""
        if not self._rows:
            return
        rows = self._rows
        features = self._features[0] if len(self._features) == 1 else np.concatenate(self._features)
        for index, target in enumerate(self._targets):
            observed = self._observed.get(target)
            if observed:
                kept = [row for row in range(len(rows)) if row not in observed]
                if kept:
                    self._add_block(target, index, [rows[row] for row in kept], features[kept])
            else:
                self._add_block(target, index, rows, features)
        self._rows, self._features = [], []
        self._observed.clear()
        self._start = len(self._items), 0, 0

    def _add_block(
        self, target: str, index: int, rows: list[ScoredRow], features: NDArray[np.float64]
    ) -> None:
        sequence, part, arrival, known, position, *_ = rows[0]
        block = Scores(self._asset, target, index, rows, features)
        self._items.append(Item(sequence, asset_part(part, index), arrival, known, position, block))


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
        "_plan",
        "_plans",
        "_revision",
        "_scored",
        "_site",
        "_weather",
        "_windows",
        "before",
        "finished",
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
        self.before: Before | None = None
        self.finished = False
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
        return self._windows.remains() is not None and self._tombstone() is not None

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
        made = Made(self._name)
        self.process_into(items, made)
        return made.items()

    def process_into(self, items: list[Item], made: Made) -> None:
        """Process the items of an activation from the first that was not processed yet.

        It returns early where the asset is `finished`. If it raises, ``made.done`` is the number of the item
        on which it did, and `before` the state before that.
        """
        while made.done < len(items):
            run = self._run(items, made.done)
            if run:
                self._process_run(run, made)
            else:
                made.begin()
                self.before = self._before()
                self._process_one(items[made.done], made)
                made.done += 1
                if self.finished:
                    return

    def _run(self, items: list[Item], first: int) -> list[Item]:
        """Return the telemetry from an item on, as far as each is newer than all before it."""
        windows = self._windows
        if isinstance(windows, HeldReadings):
            return []
        end = windows.end
        stop = first
        for item in items if first == 0 else items[first:]:
            body = item.body
            event = body.event if type(body) is ResolvedEvent else None
            if type(event) is not Telemetry or (end is not None and event.time <= end):
                break
            end = event.time
            stop += 1
        return items if stop - first == len(items) else items[first:stop]

    def _process_run(self, items: list[Item], made: Made) -> None:
        """Process telemetry, each newer than all before it: windows at once, then record by record."""
        windows, plan, labels = self._windows, self._plan, self._labels
        self.before = self._before()
        times, rows, contents = self._read(items)
        readings = windows.place_run(times, rows)
        features = readings if plan.only_readings else self._with_readings(readings)
        scored: list[int] = []
        try:
            for number, (item, time) in enumerate(zip(items, times, strict=False)):
                made.begin()
                body = cast("ResolvedEvent", item.body)
                if number:
                    self.before = self._before()
                windows.add_placed(time, cast("Telemetry", body.event).id, contents[number])
                self._note_time(time)
                if plan.watches_drift:
                    self._note_site(cast("Telemetry", body.event).site)
                for index in plan.advanced:
                    self._blocks[index].advance(time)
                if plan.sees_telemetry:
                    self._add_to_blocks(body)
                if self._complete is not None:
                    self._complete.add(time, windows.row(time))
                matured = labels.advance(windows.watermark)
                if plan.written:
                    self._write_blocks(time, features[number])
                if self._first_score(item, made, features[number], time, matured):
                    scored.append(number)
                made.done += 1
        finally:
            made.add_features(features if len(scored) == len(features) else features[scored])

    def _read(self, items: list[Item]) -> tuple[list[int], list[Sequence[float | None]], list[bytes | None]]:
        """Return time, row and content of each event of a run, up to one that cannot be read."""
        times: list[int] = []
        rows: list[Sequence[float | None]] = []
        contents: list[bytes | None] = []
        read = self._plan.windows.read
        for item in items:
            body = cast("ResolvedEvent", item.body)
            event = cast("Telemetry", body.event)
            weather = self._plan.windows.joined(body)
            try:
                values, content = read(event.readings, weather)
            except Exception:
                if not times:
                    raise
                # It begins the next run, and raises there.
                break
            times.append(event.time)
            rows.append(values)
            contents.append(content)
        return times, rows, contents

    def _process_one(self, item: Item, made: Made) -> None:
        """Process a record by the rules of its kind."""
        body = item.body
        if not isinstance(body, ResolvedEvent):
            msg = f"an asset processes resolved events, not {type(body).__name__}"
            raise TypeError(msg)
        windows = self._windows
        if isinstance(windows, HeldReadings) and windows.ends_with(body.event, self._plan, self._plans):
            held = windows.close()
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
        placed = self._windows.add(event.time, event.readings, event.id, weather)
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
        if placed is Placement.LATE and not self._windows.covers(event.time):
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

    def _note_site(self, site: str | None) -> None:
        """Tell the targets where the asset is, where they watch for drift and do not know it yet."""
        if site is not None and site != self._site and self._plan.watches_drift:
            self._site, self._noted = site, (Located(site),)

    def _score_first(self, item: Item, made: Made, time: int, matured: Decisions) -> None:
        """Score a time that was not scored before, outside of a run."""
        features = self._features()
        if self._first_score(item, made, features, time, matured):
            made.add_features(features.reshape(1, -1))

    def _first_score(
        self, item: Item, made: Made, features: NDArray[np.float64], time: int, matured: Decisions
    ) -> bool:
        """Score a time that was not scored before; return whether it made a row."""
        # An asset that asset_ttl dropped may come back at the very time that was scored before.
        self._revision = self._revision + 1 if time == self._scored else 0
        self._scored = time
        cell = time // self._plan.example_every
        # A revision is no example, even in windows that were dropped together with the cell.
        if cell == self._cell or self._revision:
            return self._emit(item, made, matured, features)
        self._cell = cell
        at_once = self._labels.add(time)
        return self._emit(item, made, matured, features, example=True, at_once=at_once)

    def _score_again(self, item: Item, made: Made, matured: Decisions) -> None:
        """Score the latest time again: something changed its features."""
        self._revision += 1
        features = self._features()
        if self._emit(item, made, matured, features):
            made.add_features(features.reshape(1, -1))

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
        cleared = dict.fromkeys(labels.affected(kind, what), kind)
        self._emit(item, made, decided, ending=_Ending(cleared, event.time))
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
        for kind, time, what in withdrawn:
            if kind != "verdict":
                self._withdraw_from_blocks(kind, time, what)
        self._emit(item, made, decided)

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
        self._set_blocks(states)
        given_up = self.give_up("class changed")
        self._complete = plan.complete_windows(self._name, self._windows.newest)
        if self._complete is not None:
            self._complete.given_up = given_up
            if complete is not None:
                self._complete = RecomputedWindows(before, None, complete).carry(plan)

    def _late_weather(self, item: Item, made: Made, body: ResolvedEvent, _: LateWeather) -> None:
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
        out: NDArray[np.float64] = self._with_readings(windows.features().reshape(1, -1))[0]
        self._write_blocks(windows.largest or 0, out)
        return out

    def _with_readings(self, readings: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return feature vectors that hold the features of the readings (times, features)."""
        out = np.empty((len(readings), self._plan.width))
        out[:, self._plan.of_readings] = readings
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
    ) -> bool:
        """Make what a record means for each target, former ones with examples too.

        That is a row for the targets on which a score and the label clock are its only effects, and an
        observation for each other one; and a row of the features of an example.

        Args:
            item: the record.
            made: takes what it makes.
            matured: labels that it decides.
            features: of the time to be scored, None where nothing is.
            example: whether that is an example.
            at_once: label of that example, by target, where it is known already.
            ending: what it ends.

        Returns:
            Whether there is a row: the caller adds its features.
        """
        windows, labels, plan = self._windows, self._labels, self._plan
        clock, targets = labels.clock, labels.targets()
        released = labels.release(windows.largest)
        compared: tuple[Compared, ...] = ()
        if self._complete is not None:
            compared = self._recompute(features if example else None)
        noted, self._noted = self._noted, ()
        rare = matured or released or at_once or compared or noted or ending is not _NO_ENDING
        if features is None or rare or len(targets) > len(plan.targets):
            cleared = {name: Cleared(why, ending.time) for name, why in ending.cleared.items()}
            moved = () if clock is None else (ClockMoved(clock),)
            ends = ending.forgotten, ending.judged, noted
            effects = _RareEffects(matured, moved, compared, cleared, at_once, released, *ends)
            score = None
            if features is not None:
                score = ScoreRequest(windows.largest or 0, features.tobytes(), self._revision, example)
            has_row = self._observe(item, made, targets, effects, score)
        else:
            self._add_row(item, made, len(targets), example=example)
            has_row = bool(targets)
        if example and features is not None and plan.write_examples:
            made.add(item, self._served_example(item, features))
        return has_row

    def _add_row(self, item: Item, made: Made, numbers: int, *, example: bool) -> None:
        """Add a row for the targets of the class; ``numbers`` of the items of its record are observations."""
        windows, first = self._windows, made.number(numbers)
        if self._plan.targets:
            made.rows(self._plan.target_names).append(
                (
                    item.sequence,
                    asset_part(item.part, first),
                    item.arrival,
                    item.known,
                    item.position,
                    windows.watermark,
                    self._labels.clock,
                    cast("ResolvedEvent", item.body).resting,
                    windows.largest or 0,
                    self._revision,
                    example,
                )
            )

    def _observe(
        self,
        item: Item,
        made: Made,
        targets: tuple[str, ...],
        effects: _RareEffects,
        score: ScoreRequest | None,
    ) -> bool:
        """Make observations, and a row where a score and the clock are all; return whether there is one."""
        names = (*dict.fromkeys((*targets, *effects.cleared)),)
        active = len(self._plan.targets)
        resting = cast("ResolvedEvent", item.body).resting
        plain = () if score is None else [name for name in names[:active] if not effects.concern(name)]
        if plain and score is not None:
            self._add_row(item, made, 0, example=score.example)
        for index, name in enumerate(names):
            if name in plain:
                made.number(1)
                continue
            own = score if index < active else None
            if plain and own is not None:
                made.leave_out(name)
            made.add(
                item,
                Observation(
                    self._name,
                    name,
                    self._windows.watermark,
                    effects.of_target(name, () if own is None else (own,)),
                    resting if index < active else None,
                ),
            )
        return bool(plain)

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
