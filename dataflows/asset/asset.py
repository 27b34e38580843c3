"""One asset: telemetry becomes features, records become labels."""

from __future__ import annotations

from contextlib import suppress
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
from dataflows.events import Failure, Fault, Maintenance, Registration, Reject, Retraction, Telemetry, kind_of
from dataflows.instants import format_instant
from dataflows.items import (
    Cleared,
    ClockMoved,
    Counted,
    Expiry,
    Forgotten,
    Item,
    Late,
    LateWeather,
    Matured,
    Observation,
    Released,
    ResolvedEvent,
    Row,
    ScoreRequest,
    asset_part,
    reject_row,
    row_of,
)
from dataflows.outputs import AssetDropped, ServedExample, example_id, named, time_or_none
from dataflows.state.snapshots import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dataflows.asset.windows import Windows
    from dataflows.events import AssetEvent
    from dataflows.items import Compared, Effect

__all__ = [
    "ASSET",
    "Asset",
    "ClassPlan",
    "StoredAsset",
    "counted",
    "dropped",
    "late",
    "rejected",
    "then",
]


def rejected(item: Item, event: AssetEvent, reason: str, detail: str) -> Item:
    """Make the row that rejects an event which the lane had accepted."""
    row = reject_row(item, Reject(reason, detail, event.asset), event)
    row.body = msgspec.structs.replace(cast("Row", row.body), kind=kind_of(event))
    return row


def late(item: Item, index: int) -> Item:
    """Make the item that counts a merged late event, as the index-th item that the asset made of it."""
    return Item(item.sequence, asset_part(item.part, index), item.arrival, item.known, item.position, Late())


def counted(item: Item, what: Counted, index: int) -> Item:
    """Make an item that the summary counts, as the index-th item that the asset made of a record."""
    return Item(item.sequence, asset_part(item.part, index), item.arrival, item.known, item.position, what)


def dropped(item: Item, asset: str, index: int) -> Item:
    """Make the row of a dropped asset, as the index-th item that it made of an expiry."""
    body = row_of(AssetDropped(asset=asset, why="silent for asset_ttl", sequence=item.sequence))
    return Item(item.sequence, asset_part(item.part, index), item.arrival, item.known, item.position, body)


def then(first: list[Item], second: list[Item]) -> list[Item]:
    """Join the items of two steps, each numbered from 0; renumber those of the second."""
    for item in second:
        item.part = asset_part(item.part, len(first))
    return first + second


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


#: From older versions: those before version 4 gave layouts no numbers. A list is a tombstone.
_OLDER = {3: lambda state: {**state, "layout": None}, 4: _with_latest}


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
ASSET: Kind[StoredAsset] = Kind("asset", 5, _OLDER, describe=_stored)


class _RareEffects(NamedTuple):
    """Effects of one record on the targets of an asset, other than a score.

    Attributes:
        clock: the label clock, where it has begun.
        at_once: label of the example that is being scored, where it is known already.
        forgotten: the state of the asset was dropped.
    """

    matured: Decisions
    clock: tuple[ClockMoved, ...]
    compared: tuple[Compared, ...]
    cleared: Mapping[str, Cleared]
    at_once: Mapping[str, Matured]
    released: Mapping[str, list[int]]
    forgotten: bool

    def of_target(self, name: str, scores: tuple[ScoreRequest, ...]) -> tuple[Effect, ...]:
        """Return the effects on one target, in their order."""
        effects: list[Effect] = [*self.matured.get(name, ()), *self.clock, *self.compared]
        if name in self.cleared:
            effects.append(self.cleared[name])
        effects += scores
        if name in self.at_once:
            effects += [self.at_once[name], *self.clock]
        if name in self.released:
            effects.append(Released(tuple(self.released[name])))
        if self.forgotten:
            effects.append(Forgotten())
        return tuple(effects)


class Before(NamedTuple):
    """State of an asset before a record. An asset that throws continues from it; see `Asset.restart`."""

    plan: ClassPlan
    revision: int
    scored: int | None
    marks: tuple[int | None, ...]
    attributes: Mapping[str, Any]


class Asset:
    """The windows, the examples and the labels of one asset.

    Args:
        name: of the asset.
        plans: of every class of the fleet.
        asset_class: name of its class.
        sealed: what `to_bytes` returned, None for a new asset.
    """

    __slots__ = (
        "_attributes",
        "_blocks",
        "_cell",
        "_complete",
        "_labels",
        "_last_event",
        "_name",
        "_plan",
        "_plans",
        "_revision",
        "_scored",
        "_weather",
        "_windows",
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
        #: The asset has no state left, so it can be deleted.
        self.finished = False
        #: Event time of the last accepted event of any kind.
        self._last_event: int | None = state.get("last_event")
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
                "windows": self._windows.state(),
                "labels": self._labels.state(),
                "complete": None if self._complete is None else self._complete.state(),
                **self._plan.block_states(self._blocks),
            },
        )

    def before(self) -> Before:
        """Save what `restart` restores, before a record on which the asset may throw."""
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
            before: what `before` returned before the record on which it threw; as it is now if None.
            body: of that record; no trace of it is kept.
        """
        before = before or self.before()
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
            weather = None if body.weather is None else body.weather.values
            # A record that throws here threw before, too, and its identity was never stored.
            with suppress(Exception):
                self._windows.forget_identity(event.time, event.readings, event.id, weather)
        elif isinstance(event, Fault):
            self._windows.forget_fault(identity_of(event))

    def targets(self) -> tuple[str, ...]:
        """Names of the targets of its class, and of former ones that still have examples."""
        return self._labels.targets()

    def process(self, item: Item) -> list[Item]:
        """Process one record, or time that passed; return an item for every target, or a reject."""
        body = item.body
        if not isinstance(body, ResolvedEvent):
            msg = f"an asset processes resolved events, not {type(body).__name__}"
            raise TypeError(msg)
        windows = self._windows
        if isinstance(windows, HeldReadings) and windows.ends_with(body.event, self._plan, self._plans):
            held = windows.close()
            self._advance_blocks(held)
            scored = self._first_score(item, held, {})
            return then(scored, self._handle(item, body))
        return self._handle(item, body)

    def _handle(self, item: Item, body: ResolvedEvent) -> list[Item]:
        return self._HANDLERS[type(body.event)](self, item, body, body.event)

    def _advance_blocks(self, time: int) -> None:
        for block in self._blocks:
            block.advance(time)

    def _add_to_blocks(self, accepted: ResolvedEvent) -> bool:
        """Give an accepted event to the blocks that use it; return whether that changes served features."""
        changes = False
        for index in self._plan.users.get(type(accepted.event), ()):
            changes = self._blocks[index].add(accepted, self._windows) or changes
        return changes

    def _telemetry(self, item: Item, body: ResolvedEvent, event: Telemetry) -> list[Item]:
        weather = None if body.weather is None else body.weather.values
        placed = self._windows.add(event.time, event.readings, event.id, weather)
        if placed is Placement.DUPLICATE:
            return [rejected(item, event, "duplicate", "this telemetry was seen before")]
        if placed is Placement.TOO_LATE:
            return [rejected(item, event, "too_late", "below the watermark of its asset")]
        self._note_time(event.time)
        if placed is Placement.ON_TIME:
            self._advance_blocks(event.time)
        self._add_to_blocks(body)
        if self._complete is not None:
            self._complete.add(event.time, self._windows.row(event.time))
        if placed is Placement.LATE and not self._windows.covers(event.time):
            return [late(item, 0)]
        matured = self._labels.advance(self._windows.watermark)
        if placed is Placement.ON_TIME:
            return self._first_score(item, event.time, matured)
        if placed is Placement.HELD:
            return self._observations(item, matured)
        self._revision += 1
        items = self._observations(item, matured, scored=True)
        return items if placed is Placement.MERGED else [*items, late(item, len(items))]

    def _first_score(self, item: Item, time: int, matured: Decisions) -> list[Item]:
        # An asset that asset_ttl dropped may come back at the very time that was scored before.
        self._revision = self._revision + 1 if time == self._scored else 0
        self._scored = time
        cell = time // self._plan.example_every
        # A revision is no example, even in windows that were dropped together with the cell.
        example = cell != self._cell and not self._revision
        at_once = {}
        if example:
            self._cell = cell
            at_once = self._labels.add(time)
        return self._observations(item, matured, scored=True, example=example, at_once=at_once)

    def _fault(self, item: Item, body: ResolvedEvent, event: Fault) -> list[Item]:
        windows = self._windows
        placed = windows.add_fault(event.time, identity_of(event))
        if placed is Placement.DUPLICATE:
            return [rejected(item, event, "duplicate", "this fault was seen before")]
        if placed is Placement.TOO_LATE:
            return [rejected(item, event, "too_late", "below the watermark of its asset")]
        self._note_time(event.time)
        if self._complete is not None:
            self._complete.add_fault(event.time, event.code, windows.watermark)
        revises = self._add_to_blocks(body)
        matured = self._labels.advance(windows.watermark)
        if revises:
            self._revision += 1
        items = self._observations(item, matured, scored=revises)
        return [*items, late(item, len(items))] if placed is Placement.LATE else items

    def _record(self, item: Item, body: ResolvedEvent, event: Failure | Maintenance) -> list[Item]:
        labels = self._labels
        kind = cast("RecordKind", kind_of(event))
        what = event.mode if isinstance(event, Failure) else event.component
        if not labels.remembers(event.time, self._windows.largest):
            return [rejected(item, event, "unmatched", "no example that it could label is remembered")]
        recorded = labels.record(kind, event.time, what, event.id)
        if recorded is None:
            return [rejected(item, event, "duplicate", "this record was seen before")]
        decided, replaced = recorded
        self._note_time(event.time)
        if replaced is not None:
            self._withdraw_from_blocks(kind, replaced.time, what)
        self._add_to_blocks(body)
        if kind in self._plan.resets:
            self._reset_windows(event.time)
        cleared = dict.fromkeys(labels.affected(kind, what), kind)
        items = self._observations(item, decided, cleared=cleared, cleared_at=event.time)
        return items if replaced is None else [*items, counted(item, Counted("corrections"), len(items))]

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

    def _retraction(self, item: Item, body: ResolvedEvent, event: Retraction) -> list[Item]:
        decided, withdrawn = self._labels.retract(event.id)
        if not withdrawn:
            if body.withdrawn:
                return []
            return [rejected(item, event, "unmatched", "no failure or maintenance record of this id stands")]
        for kind, time, what in withdrawn:
            self._withdraw_from_blocks(kind, time, what)
        return self._observations(item, decided)

    def _registration(self, item: Item, body: ResolvedEvent, event: Registration) -> list[Item]:
        self._add_to_blocks(body)
        plan = self._plans[event.asset_class]
        before = [target.name for target in self._plan.targets]
        cleared = {}
        if plan is not self._plan:
            self._labels.retarget(plan.targets)
            self._carry(plan)
            cleared = dict.fromkeys(before, "class changed")
        decided: Decisions = {}
        if event.retired:
            decided = self._labels.retire(item.known)
            cleared = dict.fromkeys([*before, *self._labels.targets()], "retired")
        if not decided and not cleared:
            return []
        return self._observations(item, decided, cleared=cleared, cleared_at=item.known)

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

    def _late_weather(self, item: Item, body: ResolvedEvent, _: LateWeather) -> list[Item]:
        if not self._add_to_blocks(body):
            return []
        self._revision += 1
        return self._observations(item, {}, scored=True)

    def _expiry(self, item: Item, _: ResolvedEvent, event: Expiry) -> list[Item]:
        if event.what == "buried":
            self._drop(self._plan.new_windows())
            self._cell = self._scored = self._last_event = None
            self._revision = 0
            # Attributes came in a registry row, which will not come again.
            self.finished = self._attributes.is_empty
            return []
        matured = self._labels.expire(event.due, self._last_event)
        cleared = dict.fromkeys(self._labels.targets(), "silent")
        forgotten = event.what == "ttl"
        if forgotten:
            self.give_up("asset dropped")
        items = self._observations(item, matured, cleared=cleared, cleared_at=event.due, forgotten=forgotten)
        if forgotten:
            items.append(dropped(item, self._name, len(items)))
            self._drop(self._windows.tombstone(self._plan.new_windows()))
        return items

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

    def _features(self) -> bytes:
        plan, windows = self._plan, self._windows
        if plan.only_readings:
            return windows.features().tobytes()
        out = np.empty(plan.width)
        out[plan.of_readings] = windows.features()
        time = windows.largest or 0
        for index, placed in plan.written:
            placed.write(self._blocks[index], time, out)
        if self._weather is not None and self._weather.revised:
            values = windows.values_with(self._weather.values)
            out[: len(values)] = values
        return out.tobytes()

    def _observations(
        self,
        item: Item,
        matured: Decisions,
        *,
        scored: bool = False,
        example: bool = False,
        at_once: dict[str, Matured] | None = None,
        cleared: Mapping[str, str] | None = None,
        cleared_at: int = 0,
        forgotten: bool = False,
    ) -> list[Item]:
        """Make an observation for each target, former ones with examples too; then features of an example."""
        windows, labels = self._windows, self._labels
        score = None
        if scored:
            score = ScoreRequest(windows.largest or 0, self._features(), self._revision, example)
        clock = () if labels.clock is None else (ClockMoved(labels.clock),)
        targets = labels.targets()
        released = labels.release(windows.largest)
        resting = item.body.resting if isinstance(item.body, ResolvedEvent) else None
        compared = self._recompute(score if example else None)
        scores = () if score is None else (score,)
        active = len(self._plan.targets)
        if len(targets) == active and not (
            matured or released or at_once or cleared or forgotten or compared
        ):
            # Nearly every event: a score and the label clock are the only effects.
            effects: tuple[Effect, ...] = (*clock, *scores)
            observations = [
                Observation(self._name, name, windows.watermark, effects, resting) for name in targets
            ]
        else:
            ends = {name: Cleared(why, cleared_at) for name, why in (cleared or {}).items()}
            rare = _RareEffects(matured, clock, compared, ends, at_once or {}, released, forgotten)
            observations = [
                Observation(
                    self._name,
                    name,
                    windows.watermark,
                    rare.of_target(name, scores if index < active else ()),
                    resting if index < active else None,
                )
                for index, name in enumerate(dict.fromkeys((*targets, *ends)))
            ]
        bodies: list[Observation | Row] = [*observations]
        if example and score is not None and self._plan.write_examples:
            bodies.append(self._served_example(item, score))
        return [
            Item(item.sequence, asset_part(item.part, index), item.arrival, item.known, item.position, body)
            for index, body in enumerate(bodies)
        ]

    def _recompute(self, example: ScoreRequest | None) -> tuple[Compared, ...]:
        """Advance the windows of complete data, with a new example; return the examples computed again."""
        if self._complete is None:
            return ()
        if example is not None:
            self._complete.expect(example.time, example.features)
        return self._complete.advance(self._windows.settled, self._blocks)

    def _served_example(self, item: Item, score: ScoreRequest) -> Row:
        """Make the row of an example's features, one for all targets that take it."""
        return row_of(
            ServedExample(
                id=example_id(self._name, score.time),
                asset=self._name,
                asset_class=self._plan.asset_class.name,
                time=format_instant(score.time),
                sequence=item.sequence,
                arrival=time_or_none(item.arrival),
                watermark=time_or_none(self._windows.watermark),
                features=named(self._plan.asset_class.features, score.features),
            )
        )

    _HANDLERS: ClassVar[dict[type, Callable[[Asset, Item, ResolvedEvent, Any], list[Item]]]] = {
        Telemetry: _telemetry,
        Fault: _fault,
        Failure: _record,
        Maintenance: _record,
        Retraction: _retraction,
        Registration: _registration,
        Expiry: _expiry,
        LateWeather: _late_weather,
    }
