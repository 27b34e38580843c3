"""The stages of the dataflow, by key, and how they run without the engine.

The dataflow, the tools and the tests compose the stages here, so that all of them run the same code: the key
of each step, the stage of each key (`Stages`), and what happens where a stage throws (`InternalErrors`,
`IsolatedAsset`). `Inline` and `run_lines` run the stages in one process without the engine.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import msgspec
import orjson
import structlog

from dataflows.asset.asset import Asset, ClassPlan, Made
from dataflows.events import Event, Reject, decode, kind_of
from dataflows.items import (
    Cleared,
    Counted,
    Expiry,
    Forgotten,
    Item,
    LanePeriod,
    Late,
    LateWeather,
    Observation,
    ResolvedEvent,
    Row,
    Scores,
    Tick,
    by_order,
    in_words,
    reject_row,
    row_of,
)
from dataflows.lane import Lane
from dataflows.lane.metrics import LaneMetrics
from dataflows.outputs import OUTPUTS, AssetReset
from dataflows.placement import ONLY_LANE, lane_keys, lane_names, name_of, placed, worker_of
from dataflows.state.layouts import StateHistory, going_on
from dataflows.status import RunStatus, ScoreTimes
from dataflows.target import TargetStage
from dataflows.target.horizons import AgreeingTargets
from dataflows.target.sharing import SharedModels, SharingTargets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from dataflows.events import AssetEvent
    from dataflows.fleet.fleet import Fleet

__all__ = [
    "Inline",
    "InternalErrors",
    "IsolatedAsset",
    "RemovedTarget",
    "Stages",
    "TooManyErrors",
    "asset_of",
    "decoded",
    "early",
    "output_of",
    "run_inline",
    "run_lines",
    "target_of",
]

_log = structlog.get_logger()


def asset_of(item: Item) -> str | None:
    """Key of the asset step; None for an item that leaves early.

    A command to a target takes the same path, so that it keeps its place in the order; its key is no name.
    """
    body = item.body
    if isinstance(body, ResolvedEvent):
        return body.event.asset
    return f"\n{body.target}" if isinstance(body, Observation) else None


def target_of(item: Item) -> str | None:
    """Name of the target of an item; None for an item that leaves early."""
    body = item.body
    return body.target if isinstance(body, (Scores, Observation)) else None


def output_of(item: Item) -> str | None:
    """Key of the output step; None for a count, which only the lane's metrics need.

    Raises:
        TypeError: the item is neither a row nor a count.
    """
    body = item.body
    if isinstance(body, Row):
        return body.output
    if isinstance(body, LanePeriod | Late | Counted):
        return None
    msg = f"{type(body).__name__} reached the outputs; only rows may"
    raise TypeError(msg)


def decoded(batch: list[Item]) -> list[Item]:
    """The decode step: raw bytes into an event or a reject."""
    for item in batch:
        raw = item.body
        if isinstance(raw, bytes):
            item.body = decode(raw)
    return batch


#: What goes on to the step that is keyed by it; all else leaves early.
_KEYED = frozenset({ResolvedEvent, Observation, Scores})


def early(batch: Iterable[list[Item]]) -> list[list[Item]]:
    """Items of lane or assets that leave early: rows that are finished, and counts."""
    left = [item for items in batch for item in items if type(item.body) not in _KEYED]
    return [left] if left else []


class TooManyErrors(RuntimeError):  # noqa: N818 - says what it is
    """More internal errors than ``max_internal_errors``."""


class InternalErrors:
    """Rejects the records on which a stage throws, and counts the errors of this process.

    Args:
        most: number of errors that do not end the run (``max_internal_errors``).
        status: of the run, which counts them.
    """

    def __init__(self, most: int, status: RunStatus | None = None) -> None:
        self._most = most
        self._status = status or RunStatus()

    @property
    def count(self) -> int:
        """Errors of this process so far."""
        return self._status.errors

    def reject(self, item: Item, error: BaseException, stage: str) -> Row:
        """Log an error with its traceback and return the row that rejects its record.

        Raises:
            TooManyErrors: this is one more than ``most``.
        """
        self._status.errors += 1
        source, line, _ = item.position
        _log.error("internal error", stage=stage, source=source, line=line, exc_info=error)
        if self.count > self._most:
            msg = (
                f"{self.count} internal errors, more than max_internal_errors = {self._most}; the last one: "
                f"{type(error).__name__}: {error}. The log has the tracebacks"
            )
            raise TooManyErrors(msg) from error
        body = item.body
        asset = None
        event: Event | None = None
        if isinstance(body, ResolvedEvent):
            asset = body.event.asset
            event = None if isinstance(body.event, Expiry | LateWeather) else body.event
        elif isinstance(body, Observation):
            asset = body.asset
        elif isinstance(body, Event):
            asset, event = getattr(body, "asset", None), body
        rejected = Reject("internal_error", in_words(error), asset)
        return cast("Row", reject_row(item, rejected, event).body)


class IsolatedAsset:
    """An asset whose state is reset where it throws, so that the rest of the fleet goes on.

    Args:
        name: of the asset.
        plans: of every class.
        asset_class: name of its class.
        sealed: its snapshot, None for a new asset.
        errors: rejects the record of an error.
        lanes: number of lanes.
    """

    __slots__ = ("_asset", "_errors", "_lanes", "_name", "_plans")

    def __init__(
        self,
        name: str,
        plans: Mapping[str, ClassPlan],
        asset_class: str,
        sealed: bytes | None,
        errors: InternalErrors,
        lanes: int = 1,
    ) -> None:
        self._name = name
        self._plans = plans
        self._errors = errors
        self._lanes = lanes
        self._asset = Asset(name, plans, asset_class, sealed)

    def process(self, items: list[Item]) -> list[Item]:
        """Return what the asset makes of items, in no order."""
        made = Made()
        self.process_into(items, made)
        return made.items()

    def process_into(self, items: list[Item], made: Made) -> None:
        """Run `Asset.process`; an error rejects its record, resets the asset, and is a row of the changes."""
        made.begin_asset(self._name)
        if self._lanes > 1:
            items = self._of_its_lane(items, made)
        while made.done < len(items):
            if self._asset.finished:
                body, lane = cast("ResolvedEvent", items[made.done].body), self._asset.lane
                self._asset = Asset(self._name, self._plans, body.asset_class)
                self._asset.lane = lane
            try:
                self._asset.process_into(items, made)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever it is, the rest of the fleet goes on
                made.take_back()
                made.begin()
                self._reset(items[made.done], error, made)
                made.end()
                made.done += 1

    def _of_its_lane(self, items: list[Item], made: Made) -> list[Item]:
        """Return the items of the lane in which the asset lives, that of its first record; reject the others.

        What another lane makes of time and weather for the asset means nothing to it.
        """
        mine = []
        for item in items:
            event = cast("ResolvedEvent", item.body).event
            lane = item.sequence % self._lanes
            own = isinstance(event, Expiry | LateWeather)
            if self._asset.lane is None and not own:
                self._asset.lane = lane
            if self._asset.lane in (None, lane):
                mine.append(item)
            elif not own:
                made.begin()
                made.add(item, self._of_another_lane(item, cast("AssetEvent", event), lane))
                made.end()
        return mine

    def _of_another_lane(self, item: Item, event: AssetEvent, lane: int) -> Row:
        why = f"its asset lives in lane {self._asset.lane}, that of its first record; it came in lane {lane}"
        row = cast("Row", reject_row(item, Reject("other_lane", why, event.asset), event).body)
        return msgspec.structs.replace(row, kind=kind_of(event))

    def _reset(self, item: Item, error: BaseException, made: Made) -> None:
        rejected = self._errors.reject(item, error, "asset")
        if isinstance(item.body, ResolvedEvent) and not isinstance(item.body.event, Expiry | LateWeather):
            rejected = msgspec.structs.replace(rejected, kind=kind_of(item.body.event))
        asset_class = (
            item.body.asset_class if isinstance(item.body, ResolvedEvent) else next(iter(self._plans))
        )
        held = self._asset.targets()
        dropped = self._asset.give_up("internal error")
        self._asset = self._asset.restart(asset_class, self._asset.before, item.body)
        why = f"internal error: {in_words(error)}"
        made.add(item, rejected)
        made.add(item, row_of(AssetReset(asset=self._name, why=why, sequence=item.sequence)))
        cleared = Cleared("internal error", item.known)
        for target in dict.fromkeys((*self._asset.targets(), *held)):
            made.add(item, Observation(self._name, target, None, (*dropped, cleared, Forgotten())))

    @property
    def finished(self) -> bool:
        """As `Asset.finished`."""
        return self._asset.finished

    @property
    def dormant(self) -> bool:
        """As `Asset.dormant`."""
        return self._asset.dormant

    def to_bytes(self) -> bytes:
        """As `Asset.to_bytes`."""
        return self._asset.to_bytes()


class PassedOn:
    """What the asset step does to a command: nothing."""

    finished = property(lambda _: True)
    dormant = property(lambda _: True)

    def process(self, items: list[Item]) -> list[Item]:
        """Return the items."""
        return items

    def process_into(self, items: list[Item], made: Made) -> None:
        """Add the items to what is made."""
        made.pass_on(items)

    def to_bytes(self) -> bytes:
        """No state: it is finished after each item."""
        return b""


def _best(stage: TargetStage, figure: int) -> dict[str, float]:
    """A figure of the best challenger, by its name."""
    best = stage.best_challenger()
    return {} if best is None else {best[0]: float(best[figure])}


def _drift(stage: TargetStage) -> Mapping[str, float]:
    watch = stage.drift()
    return {} if watch is None else watch.evidence()


def _alarms(stage: TargetStage) -> Mapping[str, float]:
    watch = stage.drift()
    return {} if watch is None else watch.alarms


#: Metrics by target and one more label: how a target knows them.
_BY_TARGET: dict[str, Callable[[TargetStage], Mapping[str, float]]] = {
    "champions": lambda stage: {stage.champion(): 1},
    "evidence": lambda stage: _best(stage, 1),
    "advantage": lambda stage: _best(stage, 2),
    "drift": _drift,
    "alarms": _alarms,
    "labels": lambda stage: stage.losses().last,
    "riskiest": lambda stage: stage.open_scores(),
}


class Stages:
    """Builds the stages of a fleet.

    Args:
        fleet: the fleet.
        strict: whether one worker runs it, so that order is promised.
        status: of the run, to which the stages register their gauges.
        past: configurations that the recovery store has seen, this fleet included; None without a store.
        moved: snapshot of the lane's metrics where a former release kept it, None without one.
        workers: on which they are built; an asset lives on that of its name.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        strict: bool,
        status: RunStatus | None = None,
        past: StateHistory | None = None,
        moved: bytes | None = None,
        workers: int = 1,
    ) -> None:
        self._fleet = fleet
        self._worker_keys = [placed("worker", number, workers) for number in range(workers)]
        #: Key of the worker of each asset and group, where there are several.
        self._placed: dict[str, str] = {}
        self._moved = moved
        self._past = going_on(StateHistory(), fleet)[0] if past is None else past
        self._strict = strict
        self._status = status or RunStatus()
        self._targets: list[TargetStage] = []
        self._status.register("pending", self._pending)
        self._status.register("alerts", lambda: {each.name: each.open_alerts() for each in self._targets})
        self._status.register("losses", self._losses)
        self._status.register("examples", self._examples)
        for name, of_target in _BY_TARGET.items():
            self._status.register(name, partial(self._by_target, of_target))
        self._errors = InternalErrors(fleet.max_internal_errors, self._status)
        self._lanes = fleet.input.lanes
        self._status.lanes = self._lanes
        #: Names and keys of the lanes by number.
        self._lane_names, self._lane_keys = lane_names(self._lanes), lane_keys(self._lanes)
        self._built: dict[int, Lane] = {}
        groups = {name: target.group for name, target in fleet.targets.items()}
        spread = {group: number for number, group in enumerate(dict.fromkeys(groups.values()))}
        self._groups = {
            name: group if self._lanes == 1 else placed(group, spread[group], self._lanes)
            for name, group in groups.items()
        }
        self._plans = {
            name: ClassPlan(
                asset_class,
                fleet.targets,
                self._past.number(name),
                {number: self._past.layouts[number] for number in self._past.numbers(name)[:-1]},
                write_examples=fleet.output.features != "none",
            )
            for name, asset_class in fleet.classes.items()
        }

    def _by_target(
        self, of_target: Callable[[TargetStage], Mapping[str, float]]
    ) -> dict[tuple[str, ...], float]:
        """A metric by target and one more label."""
        return {
            (each.name, label): value for each in self._targets for label, value in of_target(each).items()
        }

    def _pending(self) -> int:
        return sum(target.pending() for target in self._targets)

    def _losses(self) -> dict[tuple[str, ...], float]:
        return {(each.name, role): x for each in self._targets for role, x in each.losses().sums.items()}

    def _examples(self) -> dict[tuple[str, ...], float]:
        return {
            (each.name, label): n for each in self._targets for label, n in each.losses().examples.items()
        }

    def lane(self, key: str, main: bytes | None, parts: dict[int, bytes]) -> Lane:
        """A lane, new or resumed."""
        number = self._lane_keys.index(key)
        # A restart of state is reported once.
        migrated = () if number else self._past.migrated
        lane = Lane(
            self._fleet,
            main,
            parts,
            self._lane_names[number],
            migrated,
            self._errors.reject,
            self._status.intake,
            number,
        )
        self._built[number] = lane
        self._status.register("arrival", lambda: self._of_lanes(min, "arrival"))
        self._status.register("newest", lambda: self._of_lanes(max, "newest"))
        self._status.register_part("clocks", number, lane.wrong_clocks)
        self._status.register_part("events", number, lane.accepted)
        return lane

    def _of_lanes(self, chosen: Callable[[list[int]], int], name: str) -> int | None:
        """A time of the lanes of this process, None where none knows it."""
        known = [time for lane in self._built.values() if (time := getattr(lane, name)) is not None]
        return chosen(known) if known else None

    @property
    def only_lane(self) -> str | None:
        """Key of the one lane, None where there are several."""
        return self._lane_keys[0] if self._lanes == 1 else None

    @property
    def only_worker(self) -> str | None:
        """As `worker_of` where one worker runs all assets; None where there are several."""
        return self._worker_keys[0] if len(self._worker_keys) == 1 else None

    def lane_of(self, item: Item) -> str:
        """Key of the lane step and of the lane's metrics."""
        return self._lane_keys[item.sequence % self._lanes]

    def lane_metrics(
        self,
        key: str,
        main: bytes | None,
        parts: dict[int, bytes],  # noqa: ARG002 - it has none
    ) -> LaneMetrics:
        """The metrics of a lane, new or resumed."""
        return LaneMetrics(self._moved if main is None and key == self._lane_keys[0] else main)

    def worker_of(self, item: Item) -> str | None:
        """Key of the worker on which the asset of an item lives; None for an item that leaves early."""
        asset = asset_of(item)
        return None if asset is None else self._worker_key(asset)

    def worker_of_group(self, item: Item) -> str | None:
        """Key of the worker on which the group of an item is; None for an item that leaves early."""
        group = self.group_of(item)
        return None if group is None else self._worker_key(group)

    def _worker_key(self, key: str) -> str:
        """Key of the worker of an asset or a group."""
        found = self._placed.get(key)
        if found is None:
            found = self._placed[key] = self._worker_keys[worker_of(key, len(self._worker_keys))]
        return found

    def asset(self, item: Item, sealed: bytes | None) -> IsolatedAsset | PassedOn:
        """The asset of an item, new or resumed."""
        if isinstance(item.body, Observation):
            return PassedOn()
        body = cast("ResolvedEvent", item.body)
        return IsolatedAsset(
            body.event.asset, self._plans, body.asset_class, sealed, self._errors, self._lanes
        )

    def group_of(self, item: Item) -> str | None:
        """Key of the group step: the target, or the mode whose horizons agree; None as `target_of`."""
        name = target_of(item)
        return None if name is None else self._groups.get(name, name)

    def group(
        self, key: str, main: bytes | None, parts: dict[int, bytes]
    ) -> TargetStage | AgreeingTargets | RemovedTarget:
        """The target or targets of a key, new or resumed."""
        names = [name for name, group in self._groups.items() if group == key]
        if not names:
            return RemovedTarget(main)
        if names == [name_of(key)]:
            return self._target(names[0], main, parts)
        if self._fleet.targets[names[0]].shares:
            return SharingTargets(names, self._target, main, parts, self._fleet.store_key)
        names.sort(key=lambda name: self._fleet.targets[name].horizon)
        return AgreeingTargets(names, self._target, main, parts)

    def _target(
        self, key: str, main: bytes | None, parts: dict[int, bytes], shared: SharedModels | None = None
    ) -> TargetStage:
        times = None if self._fleet.targets[key].breaker is None else ScoreTimes()
        target = TargetStage(
            self._fleet,
            key,
            strict=self._strict,
            on_error=self._errors.reject,
            main=main,
            parts=parts,
            past=self._past,
            times=times,
            shared=shared,
        )
        self._targets.append(target)
        if times is not None:
            self._status.scoring[key] = times, target.serving
        return target

    def stage(self, name: str) -> TargetStage | None:
        """Return the stage of a target that was built; None before that."""
        return next((each for each in self._targets if each.name == name), None)


class RemovedTarget:
    """A target that is no longer configured: its stored state stays as it is, and is not used.

    Args:
        main: its main snapshot.
    """

    def __init__(self, main: bytes | None) -> None:
        self._main = main or b""

    def process(self, items: list[Item]) -> list[Item]:  # noqa: ARG002 - the protocol of a stage in parts
        """Return nothing."""
        return []

    def changed(self) -> Iterable[int]:
        """Return no parts."""
        return ()

    def main_snapshot(self) -> bytes:
        """The main snapshot, unchanged."""
        return self._main

    def part_snapshot(self, part: int) -> bytes:  # noqa: ARG002 - as above
        """Return nothing: no part changes."""
        return b""

    def finish(self) -> list[Item]:
        """Return nothing."""
        return []


class Inline:
    """Runs the stages of a fleet in this process, without the engine and without a store.

    Args:
        fleet: the fleet.
    """

    def __init__(self, fleet: Fleet) -> None:
        fleet = fleet.in_one_lane()
        self._stages = Stages(fleet, strict=True)
        self._lane = self._stages.lane(ONLY_LANE, None, {})
        self._metrics = self._stages.lane_metrics(ONLY_LANE, None, {})
        self._assets: dict[str, IsolatedAsset | PassedOn] = {}
        self._groups: dict[str, TargetStage | AgreeingTargets | RemovedTarget] = {}

    def lane(self, records: list[Item]) -> list[Item]:
        """Run decode and lane on records, in order of sequence."""
        return self._lane.process(decoded(records))

    def asset(self, item: Item) -> list[Item]:
        """Run the asset step on one item of the lane; an item that leaves early is returned as it is."""
        key = asset_of(item)
        return [item] if key is None else sorted(self._of_asset(key, [item]), key=by_order)

    def together(self, items: Iterable[Item]) -> Iterator[list[Item]]:
        """Split what the asset step made of a record into what `rows` has to get at once.

        Targets whose horizons agree publish a record together.
        """
        groups: dict[str, list[Item]] = {}
        for item in items:
            key = self._stages.group_of(item)
            if key is None or key == target_of(item):
                yield [item]
            else:
                groups.setdefault(key, []).append(item)
        yield from groups.values()

    def rows(self, items: list[Item]) -> list[Item]:
        """Run the target step, or the lane's metrics, on items that belong `together`; return rows."""
        key = self._stages.group_of(items[0])
        if key is None:
            metrics = self._metrics.process(items)
            return metrics if output_of(items[0]) is None else [*items, *metrics]
        return self._of_group(key, items)

    def _of_asset(self, key: str, items: list[Item]) -> list[Item]:
        asset = self._assets[key] = self._assets.get(key) or self._stages.asset(items[0], None)
        made = asset.process(items)
        if asset.finished:
            del self._assets[key]
        return made

    def _of_group(self, key: str, items: list[Item]) -> list[Item]:
        if key not in self._groups:
            self._groups[key] = self._stages.group(key, None, {})
        return self._groups[key].process(items)

    def groups(self) -> Mapping[str, TargetStage | AgreeingTargets | RemovedTarget]:
        """Return the stages of the group step so far, by key."""
        return self._groups

    def run(self, records: list[Item]) -> list[Item]:
        """Run all stages on records, in order of sequence; return their rows in the order of effect."""
        assets: dict[str, list[Item]] = {}
        observed: list[Item] = []
        for item in self.lane(records):
            key = asset_of(item)
            if key is None:
                observed.append(item)
            else:
                assets.setdefault(key, []).append(item)
        for key, items in assets.items():
            observed += self._of_asset(key, items)
        groups: dict[str, list[Item]] = {}
        made = [item for left in early([observed]) for item in left]
        for item in observed:
            group = self._stages.group_of(item)
            if group is not None:
                groups.setdefault(group, []).append(item)
        rows = [*made, *self._metrics.process(made)]
        for key, items in groups.items():
            rows += self._of_group(key, items)
        return sorted((item for item in rows if isinstance(item.body, Row)), key=by_order)

    def target(self, name: str) -> TargetStage | None:
        """Return the stage of a target; None before its first item, or if it is not configured."""
        return self._stages.stage(name)

    def finish(self) -> list[Item]:
        """Return the rows of the end of the input."""
        stages = (self._lane, *self._groups.values(), self._metrics)
        return [item for stage in stages for item in stage.finish()]


def run_lines(
    fleet: Fleet, lines: Iterable[bytes | Tick], source: str = "inline", *, batch: int = 1
) -> dict[str, list[bytes]]:
    """Run records through the stages, in this process.

    Args:
        fleet: the fleet.
        lines: JSON records, without line ends, and ticks where a live source put them.
        source: their name in the positions of rejects.
        batch: records that are run together: the rows are the same for any number, and a thousand take a
            third of the time.

    Returns:
        Encoded rows by output, the summary's sections under ``summary``.
    """
    stages = Inline(fleet)
    out: dict[str, list[bytes]] = {name: [] for name in (*OUTPUTS, "summary")}

    def write(items: Iterable[Item]) -> None:
        for item in items:
            if isinstance(item.body, Row):
                out[item.body.output].append(item.body.data)

    records = _numbered(lines, source)
    while taken := list(islice(records, batch)):
        write(stages.run(taken))
    write(stages.finish())
    return out


def run_inline(fleet: Fleet, lines: Iterable[bytes]) -> dict[str, list[dict[str, Any]]]:
    """As `run_lines`, with the rows decoded."""
    return {output: [orjson.loads(row) for row in rows] for output, rows in run_lines(fleet, lines).items()}


def _numbered(lines: Iterable[bytes | Tick], source: str) -> Iterator[Item]:
    """As a source would hand them on."""
    offset = sequence = number = 0
    for line in lines:
        if isinstance(line, Tick):
            yield Item(sequence, 1, None, 0, ("", 0, 0), line)
            continue
        start, offset, number = offset, offset + len(line) + 1, number + 1
        if line and not line.isspace():
            sequence += 1
            yield Item(sequence, 0, None, 0, (source, number, start), line)
