"""One target: observations in the order of effect, and the effects of each observation in their order.

Within a record, labels that its label clock decided are evaluated and learned first; only then the event is
scored. Models learn, monitors watch, and every row is encoded here once.
"""

from __future__ import annotations

from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, cast

import msgspec
import structlog
from msgspec import UNSET, UnsetType

from dataflows.estimators.kept import KEPT_PARTS
from dataflows.events import Command
from dataflows.instants import HOUR, format_duration, format_instant, period_end
from dataflows.items import (
    Cleared,
    ClockMoved,
    Compared,
    Effect,
    Forgotten,
    Item,
    Judged,
    Located,
    Matured,
    Observation,
    Released,
    Replaced,
    Row,
    ScoreRequest,
    Scores,
    Withdrawn,
    by_order,
    row_of,
    rows_of,
    summary_row,
)
from dataflows.outputs import ModelChange, Relearned, example_id, fields_of, prediction_id, time_or_none
from dataflows.state.layouts import Refit
from dataflows.state.snapshots import Kind
from dataflows.state.tables import BUCKETS
from dataflows.status import Serving
from dataflows.target import promotion
from dataflows.target.alerts import Publisher
from dataflows.target.attribution import Attribution, Reasons
from dataflows.target.champion import Champion, ChampionError, Term
from dataflows.target.coverage import Coverage
from dataflows.target.drift import Drift
from dataflows.target.error_rate import ErrorRate
from dataflows.target.examples import SEGMENTS, SMALLEST, Example, ExampleStore, Ledger
from dataflows.target.expected import Expected
from dataflows.target.figures import FIGURES, Leads, TargetFigures
from dataflows.target.lineage import Lineage
from dataflows.target.losses import Losses
from dataflows.target.models import LOG, MODEL_PARTS, RENEW_AFTER, ModelSet
from dataflows.target.monitors import Context, Monitor, Monitors, Period, Served
from dataflows.target.promotion import Promotions
from dataflows.target.relearn import Checkpoint, Relearning
from dataflows.target.river_detectors import RiverDetectors
from dataflows.target.rows import alert, evaluation, placed, prediction, served_example
from dataflows.target.runs import ScoredRows
from dataflows.target.skew import Skew
from dataflows.target.verdicts import JUDGED, Verdicts

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from dataflows.estimators.chain import FleetModels
    from dataflows.fleet.fleet import AssetClass, Fleet
    from dataflows.outputs import Link, ModelEvent, MovedBy, OutputRow
    from dataflows.state.layouts import StateHistory
    from dataflows.status import ScoreTimes
    from dataflows.target.examples import LabelChange
    from dataflows.target.horizons import Published
    from dataflows.target.models import Answer

__all__ = [
    "MONITORS",
    "TARGET",
    "TARGET_PARTS",
    "ChampionError",
    "OrderError",
    "StoredTarget",
    "TargetStage",
    "described",
]

#: Monitors of every target, in the order of their calls and of their sections in the summary.
MONITORS: tuple[type[Monitor], ...] = (
    Leads,
    TargetFigures,
    Attribution,
    Skew,
    Promotions,
    Losses,
    Drift,
    Verdicts,
    RiverDetectors,
    Expected,
    Lineage,
    Coverage,
)

_LOG = MODEL_PARTS
_FIGURES = MODEL_PARTS + 1
_EXAMPLES = MODEL_PARTS + 2
_PUBLISHED = _EXAMPLES + SEGMENTS
_WATCHED = _PUBLISHED + BUCKETS
_KEPT = _WATCHED + BUCKETS
#: Parts of a target: models, the log of learned examples, monitors, examples, last publications by asset,
#: what monitors hold by asset, and examples on which models are fitted. Frozen: the store knows them by
#: number.
TARGET_PARTS = _KEPT + KEPT_PARTS
_log = structlog.get_logger()


class StoredTarget(NamedTuple):
    """State of a target in a store, for those who only read it.

    Attributes:
        begun: how often its examples started from nothing.
        champion: name of its champion.
        learned: number of examples that its models learned.
        positives: number of positive ones among them.
    """

    begun: int
    champion: str
    learned: int
    positives: int


def _stored(state: Mapping[str, Any]) -> StoredTarget:
    label, models = state["champion"]["label"], state["scorer"]
    champion = models["models"].get(label, {}).get("name", label)
    return StoredTarget(state["begun"], champion, models["learned"], models["positives"])


def _with_labels(state: dict[str, Any]) -> dict[str, Any]:
    """Version 2 knew neither layouts nor labels: each model was stored by its name."""
    models = {
        name: {"name": name, "picks": None, "sees": (), **model}
        for name, model in state["scorer"]["models"].items()
    }
    return {**state, "scorer": {**state["scorer"], "models": models}, "layout": None, "begun": 0, "news": []}


def _with_errors(state: dict[str, Any]) -> dict[str, Any]:
    """Version 3 set a model aside for ever at its first error, and counted none."""
    models = {
        label: {
            **{key: value for key, value in model.items() if key != "failed"},
            "errors": None if model["failed"] is None else ErrorRate.set_aside_for(model["failed"]).state(),
        }
        for label, model in state["scorer"]["models"].items()
    }
    return {**state, "scorer": {**state["scorer"], "models": models}}


def _with_history(state: dict[str, Any]) -> dict[str, Any]:
    """Version 4 had the label of the champion alone."""
    return {**state, "champion": {"label": state["champion"], "history": [], "next": None}}


def _with_starts(state: dict[str, Any]) -> dict[str, Any]:
    """Version 5 knew no model that starts at a drift."""
    models = {label: {"since": None, **model} for label, model in state["scorer"]["models"].items()}
    return {**state, "scorer": {**state["scorer"], "models": models}}


#: Snapshots of a target: clocks, counts, champion, and what models and ledger write in every epoch.
TARGET: Kind[StoredTarget] = Kind(
    "group",
    6,
    {2: _with_labels, 3: _with_errors, 4: _with_history, 5: _with_starts},
    describe=_stored,
)


class Unpublished(NamedTuple):
    """A score that was made, and is not published yet.

    Attributes:
        item: of the observation.
        seen: the observation.
        request: what was scored.
        horizon: of the target, microseconds.
        own: score of the champion, or of the prior that answers for it.
        link: source of the score.
        champion: label of the model.
    """

    item: Item
    seen: Observation
    request: ScoreRequest
    horizon: int
    own: float
    link: Link
    champion: str

    @property
    def reading(self) -> tuple[str, int, int]:
        """Asset, time and revision, alike for all targets of a mode."""
        return self.seen.asset, self.request.time, self.request.revision


class OrderError(RuntimeError):
    """With one worker, an observation reached its target out of the order of effect."""


class TargetStage:
    """Scores, evaluates and learns for one target.

    Args:
        fleet: the fleet.
        key: name of the target.
        strict: whether order is promised (one worker): then its violation is an error, else it is counted.
        on_error: makes the row that rejects an observation on which this stage raises.
        main: return value of `main_snapshot`, None for a new target.
        parts: return values of `part_snapshot`, by number.
        past: configurations that the store has seen; None without a store.
        monitors: kinds of monitors, see `dataflows.target.monitors`.
        renew_after: a big model is written again after this number of learned examples.
        smallest: bytes of examples that are written together, at least.
        times: adds up what the models take to score; None: nothing is measured.
        shared: models that it shares with targets of other classes.

    Raises:
        ChampionError: the stored champion cannot serve any more, and no successor is named.
    """

    def __init__(  # noqa: PLR0913 - the last four are for stages that differ from each other
        self,
        fleet: Fleet,
        key: str,
        *,
        strict: bool,
        on_error: Callable[[Item, Exception, str], Row],
        main: bytes | None,
        parts: dict[int, bytes],
        past: StateHistory | None = None,
        monitors: Iterable[type[Monitor]] = MONITORS,
        renew_after: int = RENEW_AFTER,
        smallest: int = SMALLEST,
        times: ScoreTimes | None = None,
        shared: FleetModels | None = None,
    ) -> None:
        self.name = key
        self._shared = shared
        self._target = fleet.targets[key]
        asset_class = fleet.classes[self._target.asset_class]
        self._features = asset_class.features
        self._write_features = fleet.output.features
        self._every = fleet.metrics_every
        self._strict = strict
        self._on_error = on_error
        state: dict[str, Any] | None = None if main is None else TARGET.unseal(main)
        self._begun = 0 if past is None else past.targets.get(key, 0)
        #: Parts to write once more, since their stored content is no longer valid.
        self._stale: list[int] = []
        if state is not None and state["begun"] != self._begun:
            state, parts, self._stale = None, {}, sorted(parts)
        self._lanes = fleet.input.lanes
        #: Place of the last observation of each lane; lanes have no order among each other.
        self._orders: list[tuple[int, int]] = [(0, 0)] * self._lanes
        if state is not None:
            orders = [state["order"]] if self._lanes == 1 else state["order"]
            self._orders = [(sequence, part) for sequence, part in orders]
        self._violations = 0 if state is None else state["violations"]
        #: Scores that wait, while an observation is taken whose horizon agrees with others.
        self._held: list[Unpublished] | None = None
        self._errors = 0 if state is None else state["errors"]
        self._known: int | None = None if state is None else state["known"]
        #: (start, end] of the open period of the metrics, in knowledge time. It ends at the next multiple of
        #: metrics_every, even if that was another one when the period began.
        self._period: tuple[int, int] | None = None
        if self._known is not None and state is not None:
            self._period = (state["period_from"], period_end(self._known, self._every))
        #: Changes of the configuration that the next observation writes: change, model, version, why.
        self._changes: list[Any] = [] if state is None else [*state["news"]]
        self._learned = 0 if state is None else state["scorer"]["learned"]
        self._layout, refit = _layout_of(past, asset_class, state)
        examples = _between(parts, _EXAMPLES, _PUBLISHED)
        self._examples = ExampleStore(examples, refit, smallest)
        self._open(fleet, state, parts, refit, renew_after)
        self._models.times = times
        self._compares = bool(asset_class.compared)
        self._open_monitors(fleet, monitors, parts, refit)
        if refit is not None:
            self._stale.append(_FIGURES)

    def _open_monitors(
        self, fleet: Fleet, monitors: Iterable[type[Monitor]], parts: dict[int, bytes], refit: Refit | None
    ) -> None:
        context = Context(
            self._target,
            self._features,
            fleet.figures_from,
            self._compares,
            self._models,
            self._champion,
            self._ledger.unsettled(),
            self._examples,
            sensors=fleet.classes[self._target.asset_class].sensors,
            store_key=fleet.store_key,
        )
        watched = FIGURES.unseal(parts[_FIGURES]) if _FIGURES in parts else {}
        buckets = _between(parts, _WATCHED, _KEPT)
        self._monitors = Monitors(monitors, context, watched, buckets, refit, self._rejected)

    def _open(
        self,
        fleet: Fleet,
        state: dict[str, Any] | None,
        parts: dict[int, bytes],
        refit: Refit | None,
        renew_after: int,
    ) -> None:
        target = self._target
        self._publisher = Publisher(target, fleet.output, _between(parts, _PUBLISHED, _WATCHED))
        stored = None if state is None else Champion.stored(target, self._features, state)
        self._models = ModelSet(
            target.name,
            target.models,
            self._features,
            None if state is None else state["scorer"],
            _between(parts, 0, MODEL_PARTS),
            champion=stored,
            refit=refit,
            key=fleet.store_key,
            renew_after=renew_after,
            assumed=target.prior,
            thin=target.thin_negatives,
            shared=self._shared,
        )
        if state is not None:
            self._models.restore_kept(_between(parts, _KEPT, TARGET_PARTS))
        self._changes += self._models.changes
        self._champion = Champion(target, self._models, None if state is None else state["champion"], stored)
        clock = None if state is None else state["ledger"]["clock"]
        self._ledger = Ledger(target, self._examples, clock)
        if state is not None:
            self._ledger.restore_released(state["ledger"]["released"])
        log, start, relearning = LOG.unseal(parts[_LOG]) if _LOG in parts else ([], 0, None)
        self._open_relearning(None if refit is not None else relearning)
        if _LOG in parts:
            kept = self._examples if refit is None else ExampleStore(_between(parts, _EXAMPLES, _PUBLISHED))
            served = {example.key: (example.features, example.scores) for example in kept}
            self._models.replay([tuple(line) for line in log], start, served)

    def _open_relearning(self, state: dict[str, Any] | None) -> None:
        target, clock = self._target, self._ledger.clock
        self._relearning: Relearning | None = None
        if target.relearn is None:
            return
        self._relearning = Relearning(target.relearn, target.horizon + target.label_delay, state)
        for time, asset in self._relearning.restore(self._examples, clock):
            self._ledger.watch(time, asset)

    def process(self, items: list[Item]) -> list[Item]:
        """Return the rows of blocks and observations, which are put into the order of effect first."""
        rows = ScoredRows(self.name, [item.body for item in items if isinstance(item.body, Scores)])
        observations = [item for item in items if isinstance(item.body, Observation)]
        observations.sort(key=by_order)
        out: list[Item] = []
        at = 0
        for item in observations:
            stop = rows.before(by_order(item))
            out += self._score_rows(rows, at, stop)
            out += self._take(item)
            at = stop
        return out + self._score_rows(rows, at, len(rows))

    def observations(self, items: Iterable[Item]) -> list[Item]:
        """Return blocks and observations as observations, in the order of effect."""
        items = [*items]
        rows = ScoredRows(self.name, [item.body for item in items if isinstance(item.body, Scores)])
        found = [item for item in items if isinstance(item.body, Observation)]
        return sorted([*found, *map(rows.item, range(len(rows)))], key=by_order)

    def take(self, item: Item) -> tuple[list[Row], list[Unpublished]]:
        """Return the rows of one observation, and the scores that wait for `publish`."""
        self._held = []
        rows = self._rows_of(item)
        held, self._held = self._held, None
        return rows, held

    def publish(self, waiting: Unpublished, score: float, published: Published) -> list[Row]:
        """Return the prediction of a score that waited, and the changes of alerts that it causes.

        Args:
            waiting: the score.
            score: that is published instead, see `dataflows.target.horizons`.
            published: of the same reading, by horizon; shorter horizons of this target are added.
        """
        asset = waiting.seen.asset
        before = self._publisher.entry(asset)
        try:
            return self._publish(waiting, score, published)
        except Exception as error:  # noqa: BLE001 - as in `_observe`
            self._publisher.restore(asset, before)
            return [self._rejected(waiting.item, error)]

    def _take(self, item: Item) -> list[Item]:
        """Return the rows of one observation, each with its place."""
        return placed(item, self._rows_of(item))

    def _rows_of(self, item: Item) -> list[Row]:
        seen, order = item.body, by_order(item)
        lane = order[0] % self._lanes
        if order > self._orders[lane]:
            self._orders[lane] = order
        else:
            self._out_of_order(order, self._orders[lane])
        return self._observe(item, seen) if isinstance(seen, Observation) else []

    def _score_rows(self, rows: ScoredRows, first: int, stop: int) -> list[Item]:
        """Return the rows of a part of an activation, scored in runs in which no model can change."""
        out: list[Item] = []
        alone = stop - first > 1 and self._models.asks_examples()
        while first < stop:
            end = self._end_of_run(rows, first, stop)
            if alone:
                end = rows.before_example(first, end)
            if end - first > 1:
                reached, written = self._score_run(rows, first, end)
                alone = alone or reached < end
                first = reached
                out += written
            else:
                out += self._take(rows.item(first))
                first += 1
        return out

    def _end_of_run(self, rows: ScoredRows, first: int, stop: int) -> int:
        if self._period is None or self._changes or self._champion.change:
            return first
        if self._relearning is not None and self._relearning.looks_ahead:
            return first
        # An example is learned when the clock is beyond it, a fit takes effect when the clock reaches it.
        fit = self._models.due
        dues = [due for due in (self._ledger.due, None if fit is None else fit - 1) if due is not None]
        due, clock = min(dues, default=None), self._ledger.clock
        # What several workers make of one lane comes in turns, so a place may be before the last one.
        after = self._orders[0] if self._strict else None
        return rows.run(first, stop, after, self._period[1], due, clock)

    def _score_run(self, rows: ScoredRows, first: int, stop: int) -> tuple[int, list[Item]]:
        """Score a run; return where it ended, and what is written of its rows.

        It ends early before an example at which a model has to be asked, and where something changed that the
        next row may see. Where a call for many rows raises, nothing has changed yet: each row is taken by
        itself, and the one that raises is rejected alone.
        """
        champion = self._champion.label
        try:
            examples = [row - first for row in rows.examples(first, stop)]
            scored = self._models.score_run(champion, rows.features[first:stop], examples)
            answers, every = scored or ([], {})
            special = self._special(rows, first, answers, every)
            plain = sorted({*range(first, first + len(answers))}.difference(special))
            predictions = rows.predictions(plain, answers, first, self._models.named(champion))
            published = rows.placed(plain, rows_of(predictions))
        except Exception as error:  # noqa: BLE001 - as in `_observe`
            _log.warning("rows are taken one by one", target=self.name, rows=stop - first, exc_info=error)
            scored = None
        if scored is None:
            return stop, [each for row in range(first, stop) for each in self._take(rows.item(row))]
        out: list[Item] = []
        written = 0
        for count, row in enumerate(special):
            until = row - first - count
            out += published[written:until]
            written = until
            self._pass(rows, row)
            item, answer = rows.item(row), {champion: answers[row - first]}
            rows_of_item, changed = self._serve_alone(item, every.get(row - first, answer))
            out += placed(item, rows_of_item)
            if changed:
                self._pass_order(rows, first, row + 1)
                return row + 1, out
        if answers:
            self._pass(rows, first + len(answers) - 1)
            self._pass_order(rows, first, first + len(answers))
        return first + len(answers), out + published[written:]

    def _special(
        self,
        rows: ScoredRows,
        first: int,
        answers: Sequence[Answer],
        every: Mapping[int, Mapping[str, Answer]],
    ) -> list[int]:
        """Return the rows of a run that are not just scored and written, in order."""
        if self._write_features == "all" or self._target.hours is not None:
            return [*range(first, first + len(answers))]
        scores = [score if link != "prior" else None for score, link in answers]
        assets = rows.assets[first : first + len(answers)]
        special = {*every, *self._publisher.watches(assets, scores), *self._monitors.watches(assets, scores)}
        revised = rows.revisions(first, first + len(answers))
        return sorted({*(first + number for number in special), *revised})

    def _pass_order(self, rows: ScoredRows, first: int, stop: int) -> None:
        """Move the last place of each lane through rows of a run."""
        if self._strict:
            self._orders[0] = rows.order(stop - 1)
        else:
            self._violations += rows.pass_lanes(first, stop, self._orders)

    def _pass(self, rows: ScoredRows, row: int) -> None:
        """Move knowledge time and target clock to a row of a run, at which nothing is due."""
        known, clock = rows.known(row), rows.clock(row)
        if self._known is None or known > self._known:
            self._known = known
        self._ledger.advance(clock)

    def _serve_alone(self, item: Item, answers: Mapping[str, Answer]) -> tuple[list[Row], bool]:
        """Return what one row of a run becomes, and whether a model or the champion changed with it.

        A row that raises is rejected.
        """
        seen = cast("Observation", item.body)
        try:
            rows = self._serve(item, seen, cast("ScoreRequest", seen.score), answers)
        except Exception as error:  # noqa: BLE001 - as in `_observe`
            rows = [self._rejected(item, error)]
        # With relearning an example is passed by the clock even without a label.
        changed = bool(self._models.events) or self._champion.change is not None
        changed = changed or self._relearning is not None
        if self._models.events:
            rows += self._attempt(item, partial(self._write_events, item))
        return rows, changed

    def _out_of_order(self, order: tuple[int, int], last: tuple[int, int]) -> None:
        self._violations += 1
        if self._strict:
            msg = (
                f"target {self._target.name!r}: {order} came after {last}; with one worker this "
                "cannot happen, and outputs would not be reproducible. Please report it"
            )
            raise OrderError(msg)

    def _observe(self, item: Item, seen: Observation) -> list[Row]:
        """Return the rows of one observation.

        An effect that raises is rejected alone: it leaves neither a row nor a change of state, and the
        effects before and after it stand. So an effect encodes its rows before it changes anything, or undoes
        its changes. Monitors are called afterwards; a call that raises is rejected alone too.
        """
        learned = self._models.learned
        relearning = self._relearning
        rows: list[Row] = []
        if self._changes or self._champion.change:
            rows += self._attempt(item, partial(self._write_changes, item))
        if seen.resting is not None and (self._ledger.clock is None or seen.resting > self._ledger.clock):
            rows += self._attempt(item, partial(self._pass_resting_clock, item, seen.resting))
        if self._known is None or item.known > self._known:
            rows += self._attempt(item, partial(self._pass_known, item, item.known))
        for effect in seen.effects:
            try:
                rows += self._HANDLERS[type(effect)](self, item, seen, effect)
            except Exception as error:  # noqa: BLE001 - the rest of the record and of the fleet goes on
                rows.append(self._rejected(item, error))
        if self._models.events:
            rows += self._attempt(item, partial(self._write_events, item))
        if relearning is not None and relearning.wrong:
            rows += self._attempt(item, partial(self._relearn, item, relearning))
        if self._models.learned != learned:
            rows += self._attempt(item, self._trim)
        return rows

    def _attempt(self, item: Item, effect: Callable[[], list[Row] | None]) -> list[Row]:
        """Return the rows of one step, or the row that rejects it."""
        try:
            return effect() or []
        except Exception as error:  # noqa: BLE001 - as in `_observe`
            return [self._rejected(item, error)]

    def _rejected(self, item: Item, error: Exception) -> Row:
        self._errors += 1
        return self._on_error(item, error, "group")

    def _pass_resting_clock(self, item: Item, clock: int) -> list[Row]:
        """Advance knowledge time and target clock to the label clock of the resting assets."""
        rows = self._pass_known(item, clock)
        return rows + self._pass_clock(item, clock)

    def _pass_known(self, item: Item, known: int) -> list[Row]:
        if self._known is not None and known <= self._known:
            return []
        self._known = known
        return self._close_period(item, known)

    def _move_clock(self, item: Item, seen: Observation, moved: ClockMoved) -> list[Row]:
        if self._relearning is not None:
            for time in self._relearning.reached(seen.asset, moved.clock):
                self._ledger.watch(time, seen.asset)
        return self._pass_clock(item, moved.clock)

    def _pass_clock(self, item: Item, clock: int) -> list[Row]:
        """Learn the examples that the target clock passes; one that raises is not tried again."""
        # Before what is due now is learned: positives come with the first asset that passes the clock, and
        # the negatives of their time with the others.
        rows = self._attempt(item, partial(self._models.reach, clock))
        before = self._ledger.clock
        if self._relearning is not None and self._ledger.due is not None and self._ledger.due < clock:
            rows += self._attempt(item, partial(self._take_checkpoint, self._relearning, clock))
        self._ledger.advance(clock)
        while True:
            try:
                due = self._ledger.next_due()
            except Exception as error:  # noqa: BLE001 - as in `_observe`
                rows.append(self._rejected(item, error))
                continue
            if due is None:
                return rows
            if self._relearning is not None:
                self._relearning.note_passed(due.example, before)
            if due.learns:
                rows += self._attempt(item, partial(self._learn, item, due.example))
            if due.settles:
                rows += self._monitors.settled(item, due.example)

    def _take_checkpoint(self, relearning: Relearning, clock: int, *, alone: bool = False) -> None:
        """Take a checkpoint of the models, before the target clock moves, where one is due."""
        models = self._models
        versions = {label: models.version(label) for label in models.names()}
        last = relearning.checkpoints[-1].models if relearning.checkpoints else {}
        known = {label: version for label, (version, *_) in last.items()}
        now = {label: model.version for label, model in versions.items() if model.retrained is None}
        alone = alone or known != now
        if not alone and not relearning.due(clock):
            return
        taken = models.take_checkpoint(relearning.number)
        checkpoint = Checkpoint(relearning.number, clock, models.learned, models.positives, taken)
        ended, dropped = relearning.take(checkpoint, alone=alone)
        models.end_checkpoints(ended)
        self._ledger.trim(key for key in dropped if key not in models.logged and key not in relearning)

    def _relearn(self, item: Item, relearning: Relearning) -> list[Row]:
        """Learn again what was learned since a checkpoint, with the labels that stand."""
        wrong, before = relearning.wrong, self._models.learned
        checkpoint, passed, ended = relearning.begin()
        self._models.end_checkpoints(ended)
        stored = {each.key: self._examples.get(each.key) for each in passed}
        labels = {key: None if example is None else example.label for key, example in stored.items()}
        again = [example for key in relearning.places(passed, labels) if (example := stored[key])]
        log = self._models.go_back(checkpoint)
        count = self._models.learn_again(checkpoint.number, again, self._weight)
        self._ledger.trim((asset, time) for asset, time, *_ in log if (asset, time) not in relearning)
        keys = {example.key for example in again}
        for key, example in stored.items():
            if example is not None and key in relearning:
                self._ledger.set_learned(example, learned=key in keys)
        _log.info("labels put right", target=self.name, examples=wrong, learned_again=count, before=before)
        row = Relearned(
            target=self.name,
            examples=wrong,
            learned=count,
            since=format_instant(checkpoint.clock),
            known=format_instant(item.known),
            sequence=item.sequence,
            arrival=time_or_none(item.arrival),
            watermark=None,
        )
        return [row_of(row)]

    def _weight(self, example: Example) -> int:
        """How often an example is learned."""
        return self._target.verdict_weight if example.why in JUDGED else 1

    def _learn(self, item: Item, example: Example) -> list[Row]:
        label = example.label or 0
        lead = example.lead if label else None
        for _ in range(self._weight(example)):
            self._models.learn(example.asset, example.time, example.features, label, example.scores, lead)
        return self._monitors.learned(item, example)

    def _learn_at_once(self, item: Item, example: Example) -> list[Row]:
        return self._learn(item, example) if self._ledger.learns_at_once(example) else []

    def _trim(self) -> list[Row]:
        trimmed = ((asset, time) for asset, time, *_ in self._models.trim())
        self._ledger.trim(key for key in trimmed if not self._relearns(key))
        return []

    def _relearns(self, key: tuple[str, int]) -> bool:
        """Whether an example is needed to learn again."""
        return self._relearning is not None and key in self._relearning

    def _clear(self, item: Item, seen: Observation, cleared: Cleared) -> list[Row]:
        before = self._publisher.entry(seen.asset)
        try:
            changes = self._publisher.clear(seen.asset, cleared.time, cleared.why)
            rows = [row_of(alert(item, seen, change)) for change in changes]
        except Exception:
            self._publisher.restore(seen.asset, before)
            raise
        opened = changes[0].opened if changes else None
        return rows + self._monitors.cleared(item, seen.asset, cleared.why, cleared.time, opened)

    def _withdraw(self, item: Item, seen: Observation, withdrawn: Withdrawn) -> list[Row]:
        return self._monitors.withdrawn(item, seen.asset, withdrawn.time)

    def _judge(self, item: Item, _: Observation, judged: Judged) -> list[Row]:
        return self._monitors.judged(item, judged)

    def _release(self, _: Item, seen: Observation, released: Released) -> list[Row]:
        self._ledger.release(seen.asset, released.times, _Either(self._models.logged, self._relearning))
        return []

    def _forget(self, item: Item, seen: Observation, _: Forgotten) -> list[Row]:
        needed = _Either(self._models.logged, self._relearning)
        rows = self._attempt(item, partial(self._ledger.forget, seen.asset, needed))
        self._publisher.forget(seen.asset)
        return rows + self._monitors.forgotten(item, seen.asset)

    def _locate(self, item: Item, seen: Observation, located: Located) -> list[Row]:
        return self._monitors.located(item, seen.asset, located.site)

    def _replace(self, item: Item, seen: Observation, replaced: Replaced) -> list[Row]:
        return self._monitors.replaced(item, seen.asset, replaced.sensor)

    def _write_events(self, item: Item) -> list[Row]:
        """Return a row for each model that was set aside, or is tried again."""
        events, self._models.events = self._models.events, []
        rows = [self._change(item, event, *self._models.named(label), why) for event, label, why in events]
        begun = {event for event, *_ in events} & {"rebuilt", "reset", "challenger", "removed"}
        if self._relearning is not None and begun and self._ledger.clock is not None:
            self._take_checkpoint(self._relearning, self._ledger.clock, alone=True)
        return rows + [row for event in events for row in self._monitors.model_changed(item, *event)]

    def _command(self, item: Item, _: Observation, command: Command) -> list[Row]:
        return self._monitors.commanded(item, command)

    def _write_changes(self, item: Item) -> list[Row]:
        """Return a row for each model that the configuration changed, and for a new champion."""
        champion = self._champion.change
        changes = self._changes if champion is None else [*self._changes, champion]
        rows = [self._change(item, *change) for change in changes]
        self._changes = []
        self._champion.begin(item)
        return rows

    def _change(self, item: Item, change: ModelEvent, model: str, version: int, why: str) -> Row:
        row = ModelChange(
            change=change,
            target=self._target.name,
            model=model,
            version=version,
            why=why,
            known=format_instant(item.known),
            sequence=item.sequence,
            arrival=time_or_none(item.arrival),
            watermark=None,
        )
        return row_of(row)

    def _evaluate(self, item: Item, seen: Observation, matured: Matured) -> list[Row]:
        example = self._examples.get((seen.asset, matured.time))
        if example is None:
            return []
        # A new lead under the same label is not learned.
        learned = matured.label in {0, 1} and matured.label != example.label
        learned = learned and (not example.learned or self._relearns(example.key))
        features, served = self._served(item, seen, example)
        row = evaluation(item, seen, example, matured, learned=learned, served=served)
        rows = [*features, row_of(row)]
        change = self._ledger.mature(seen.asset, matured)
        if features:
            example.written = "target"
            self._examples.update(example)
        if change is not None:
            self._note_label(change)
            rows += self._monitors.matured(item, change)
        rows += self._attempt(item, partial(self._learn_at_once, item, example))
        if matured.correction:
            _log.info("label contradicted", target=seen.target, asset=seen.asset, time=row.time)
        return rows

    def _note_label(self, change: LabelChange) -> None:
        """Note a label for relearning: that it stands, and whether another one was learned."""
        relearning, example = self._relearning, change.example
        if relearning is None:
            return
        if relearning.note_label(example, self._ledger.clock):
            self._ledger.watch(example.time, example.asset)
        before = example.label if change.before is None else change.before.label
        # An undecided example that is negative after all is learned where every negative is.
        if before != example.label and (before is not None or example.label == 1):
            relearning.note_correction(example.key)

    def _served(self, item: Item, seen: Observation, example: Example) -> tuple[list[Row], str | None]:
        """Id of the row of an example's features, and that row if nobody wrote it yet.

        Its asset wrote none if the example was taken by an older release, or with ``features = "none"``.
        """
        if example.written == "asset":
            return [], example_id(example.asset, example.time)
        if example.written == "target":
            return [], prediction_id(example.asset, seen.target, example.time, 0)
        if self._write_features == "none":
            return [], None
        row = served_example(item, seen, example, self._target.asset_class, self._features)
        return [row_of(row)], row.id

    def _score(self, item: Item, seen: Observation, request: ScoreRequest) -> list[Row]:
        champion, features = self._champion.label, request.features
        if request.example:
            return self._serve(item, seen, request, self._models.answers(features, seen.asset))
        answer = self._models.answer(champion, features, seen.asset)
        return self._serve(item, seen, request, {champion: answer})

    def _serve(
        self, item: Item, seen: Observation, request: ScoreRequest, answers: Mapping[str, Answer]
    ) -> list[Row]:
        """Publish the score of the champion; store an example with those of all models."""
        time, features, example = request.time, request.features, None
        before = self._publisher.entry(seen.asset)
        champion = self._champion.label
        score, link = answers[champion]
        try:
            own = self._models.prior if score is None else score
            waiting = Unpublished(item, seen, request, self._target.horizon, own, link, champion)
            rows = []
            if self._held is None:
                rows = self._publish(waiting, own)
            else:
                self._held.append(waiting)
            if request.example:
                scores = {label: answer for label, (answer, _) in answers.items()}
                written: Literal["asset"] | None = None if self._write_features == "none" else "asset"
                example = Example(seen.asset, time, features, scores, champion, written=written)
                self._ledger.add(example)
                if self._relearning is not None:
                    self._ledger.watch(time, seen.asset)
        except Exception:
            # An alert changes, and a prediction counts as written, only with its row.
            self._publisher.restore(seen.asset, before)
            raise
        served = Served(seen.asset, time, request.revision, features, score, link, champion, example)
        return rows + self._monitors.served(item, served)

    def _publish(self, waiting: Unpublished, score: float, published: Published | None = None) -> list[Row]:
        """Return the prediction of the champion, and the changes of alerts that it causes."""
        item, seen, request, _, own, link, champion = waiting
        time, features = request.time, request.features
        # The prior is the same for every asset: it warns of none.
        changes = self._publisher.score(seen.asset, time, score, request.revision) if link != "prior" else []
        # A score that changes an alert is published, so that every row of an alert has its prediction.
        if not self._publisher.publishes(seen.asset, score, example=request.example, alerts=bool(changes)):
            return []
        revises = self._publisher.written(seen.asset, time, request.revision)
        shown = self._features if self._write_features == "all" else None
        row = prediction(item, seen, request, score, revises, self._models.named(champion), link, shown)
        if self._target.hours is not None:
            row = msgspec.structs.replace(row, **self._outlook(features, score, link, published))
        if score != own:
            row = msgspec.structs.replace(row, own=own)
        rows = [row_of(row)]
        for change in changes:
            moved_by: list[MovedBy] | UnsetType = UNSET
            if change.state == "opened":
                moved_by = self._moved_by(features, own, seen.asset)
            rows.append(row_of(alert(item, seen, change, moved_by)))
        return rows

    def _outlook(
        self, features: bytes, score: float, link: Link, published: Published | None
    ) -> dict[str, Any]:
        """Return hours to failure, and probabilities within shorter horizons, as fields of a prediction."""
        target = self._target
        left = None
        if target.hours is not None and link != "prior":
            left = self._models.time_left(target.hours, features)
        if left is None:
            return {"hours": None, "within": None if target.within else UNSET}
        coverage = self._monitors.of(Coverage)
        of = left.interval(score) if coverage is None else coverage.interval(left, score)
        low, median, high = of
        within = [min(left.within(span / HOUR, score), score) for span in target.within]
        if published is not None:
            spans = zip(target.within, within, strict=True)
            within = [published.between(span, each) for span, each in spans]
        # Interpolation may round otherwise on either side of the end of a part.
        ascending = dict(zip(map(format_duration, target.within), accumulate(within, max), strict=True))
        if published is not None:
            for span, each in zip(target.within, ascending.values(), strict=True):
                published.add(span, each)
        return {"hours": {"low": low, "median": median, "high": high}, "within": ascending or UNSET}

    def _moved_by(self, features: bytes, score: float, asset: str) -> list[MovedBy]:
        attribution = self._monitors.of(Attribution)
        if attribution is None:
            return []
        picks = self._models.picks(self._champion.label)
        return attribution.explain(features, picks, score, partial(self._champion.ask, asset=asset))

    def reasons(self, features: bytes, score: float, asset: str) -> Reasons:
        """Return why the champion, as it is now, gave a score.

        Args:
            features: float64 array (features of the class) as bytes, as served.
            score: as served.
            asset: whose features they are.
        """
        attribution = self._monitors.of(Attribution)
        read = {
            self._models.named(label)[0]: self._models.answer(label, features, asset)[0]
            for label in self._models.sees(self._champion.label)
        }
        if attribution is None:
            return Reasons([], {}, read)
        ask = partial(self._champion.ask, asset=asset)
        asked = features, self._models.picks(self._champion.label), score, ask
        moves = sorted(attribution.effects(*asked), key=lambda move: -abs(move["raised_by"]))
        return Reasons(moves, attribution.together(*asked), read)

    def _compare(self, item: Item, seen: Observation, compared: Compared) -> list[Row]:
        """Score an example as served and from complete data, both by the present champion."""
        if not self._compares:
            return []
        example = self._ledger.remembered(seen.asset, compared.time)
        if example is not None and compared.features is not None:
            before = after = self._champion.ask(example.features, example.asset)
            if compared.features != example.features:
                after = self._champion.ask(compared.features, example.asset)
            example.compared = before, after
            self._examples.update(example)
        return self._monitors.compared(item, example, compared)

    def _close_period(self, item: Item, known: int) -> list[Row]:
        """Return rows of the metrics once knowledge time has passed the end of the period."""
        if self._period is not None and known <= self._period[1]:
            return []
        closed, end = self._period, period_end(known, self._every)
        self._period = (end - self._every, end)
        if closed is None:
            return []
        period = Period(
            self._target.name,
            self._champion.label,
            self._ledger.pending(),
            {
                "start": format_instant(closed[0]),
                "end": format_instant(closed[1]),
                "known": format_instant(item.known),
                "sequence": item.sequence,
                "arrival": time_or_none(item.arrival),
                "watermark": None,
            },
        )
        return self._monitors.close_period(item, period, _logged)

    _HANDLERS: ClassVar[dict[type[Effect], Callable[[TargetStage, Item, Observation, Any], list[Row]]]] = {
        Matured: _evaluate,
        ClockMoved: _move_clock,
        Command: _command,
        Compared: _compare,
        Cleared: _clear,
        Withdrawn: _withdraw,
        Judged: _judge,
        ScoreRequest: _score,
        Released: _release,
        Forgotten: _forget,
        Located: _locate,
        Replaced: _replace,
    }

    def pending(self) -> int:
        """Number of examples that wait for their label."""
        return self._ledger.pending()

    def open_alerts(self) -> int:
        """Number of alerts that are open."""
        return self._publisher.open_alerts()

    def open_scores(self) -> dict[str, float]:
        """Score in the last row of each open alert, by asset."""
        return self._publisher.open_scores()

    def champion(self) -> str:
        """Name of the model whose scores are published."""
        return self._models.named(self._champion.label)[0]

    def serving(self) -> Serving:
        """As `Promotions.serving`."""
        found = self._monitors.of(Promotions)
        label = self._champion.label
        return Serving(label, (label,), None, None) if found is None else found.serving()

    def best_challenger(self) -> tuple[str, float, float] | None:
        """As `Promotions.best`."""
        found = self._monitors.of(Promotions)
        return None if found is None else found.best()

    def drift(self) -> Drift | None:
        """The watch for drift, None where the target has none."""
        return self._monitors.of(Drift)

    def losses(self) -> Losses:
        """Log loss and examples of this process, as counters."""
        found = self._monitors.of(Losses)
        if found is None:
            msg = f"target {self._target.name!r} was opened without the monitor Losses"
            raise LookupError(msg)
        return found

    def changed(self) -> Iterable[int]:
        """Return the parts to write."""
        changed, self._stale = [*self._stale, *self._models.changed()], []
        passed = self._relearning is not None and self._relearning.changed
        if passed or (self._models.learned != self._learned and self._models.log):
            changed.append(_LOG)
        self._learned = self._models.learned
        if self._monitors.changed():
            changed.append(_FIGURES)
        changed += [_EXAMPLES + segment for segment in self._examples.changed()]
        changed += [_PUBLISHED + bucket for bucket in self._publisher.changed()]
        changed += [_WATCHED + bucket for bucket in self._monitors.changed_buckets()]
        changed += [_KEPT + part for part in self._models.kept.changed()]
        return changed

    def main_snapshot(self) -> bytes:
        """Return the main snapshot: champion, clocks and counts."""
        return TARGET.seal(
            {
                "order": self._orders[0] if self._lanes == 1 else self._orders,
                "violations": self._violations,
                "errors": self._errors,
                "known": self._known,
                "period_from": None if self._period is None else self._period[0],
                "champion": self._champion.state(),
                "layout": self._layout,
                "begun": self._begun,
                "news": self._changes,
                "scorer": self._models.main_state(),
                "ledger": self._ledger.state(),
            },
        )

    def part_snapshot(self, part: int) -> bytes:
        """Return the snapshot of one part."""
        if part == _LOG:
            relearning = None
            if self._relearning is not None:
                relearning, self._relearning.changed = self._relearning.state(), False
            return LOG.seal((self._models.log, self._models.log_start, relearning))
        if part == _FIGURES:
            return FIGURES.seal(self._monitors.state())
        writers = (
            (_KEPT, self._models.kept.part),
            (_WATCHED, self._monitors.bucket),
            (_PUBLISHED, self._publisher.part),
            (_EXAMPLES, self._examples.segment),
            (0, self._models.part),
        )
        first, write = next((first, write) for first, write in writers if part >= first)
        return write(part - first)

    def finish(self) -> list[Item]:
        """Return the target's section of the summary, with the number of records that it rejected."""
        targets = {
            self._target.name: {
                "champion": self._champion.label,
                "learned": self._models.learned,
                "positives": self._models.positives,
                "pending": self._ledger.pending(),
                "open_alerts": self._publisher.open_alerts(),
                "model_errors": self._models.errors(),
                "set_aside": self._models.set_aside(),
                "order_violations": self._violations,
                **self._monitors.summary(),
            }
        }
        rejected = {"internal_error": self._errors} if self._errors else {}
        body = summary_row({"input": {"rejected": rejected}, "targets": targets})
        return [Item(*max(self._orders), None, self._known or 0, ("", 0, 0), body)]


class _Either:
    """The keys of examples that the log of a big model, or relearning, still needs."""

    def __init__(self, logged: Container[tuple[str, int]], relearning: Relearning | None) -> None:
        self._logged, self._relearning = logged, relearning

    def __contains__(self, key: object) -> bool:
        return key in self._logged or (self._relearning is not None and key in self._relearning)


def _between(parts: Mapping[int, bytes], first: int, stop: int) -> dict[int, bytes]:
    """Parts from ``first`` to before ``stop``, numbered from 0."""
    return {part - first: sealed for part, sealed in parts.items() if first <= part < stop}


def _layout_of(
    past: StateHistory | None, asset_class: AssetClass, state: Mapping[str, Any] | None
) -> tuple[int, Refit | None]:
    """Return the number of the present layout, and the conversion of stored features to it, if any."""
    numbers = () if past is None else past.numbers(asset_class.name)
    if past is None or not numbers:
        return 0, None
    if state is None:
        return numbers[-1], None
    # A snapshot of a release that named no layout is of the first.
    before = numbers[0] if state["layout"] is None else state["layout"]
    if before == numbers[-1]:
        return before, None
    return numbers[-1], Refit(past.layouts[before].features, asset_class.features)


def described(fleet: Fleet, key: str, main: bytes, parts: Mapping[int, bytes]) -> dict[str, Any]:
    """Return the section of the summary of a stored target, as far as no model has to be loaded for it.

    Loading a model runs code from the store, so a command that only reads a store must not do it.

    Args:
        fleet: the fleet.
        key: name of the target.
        main: return value of `TargetStage.main_snapshot`.
        parts: return values of `TargetStage.part_snapshot`, by number.

    Raises:
        ChampionError: the stored champion cannot serve any more, and no successor is named.
        SnapshotError: it is damaged, or of a version that cannot be read.
    """
    target = fleet.targets[key]
    state = TARGET.unseal(main)
    scorer = state["scorer"]
    label = Champion.stored(target, fleet.classes[target.asset_class].features, state)
    errors = {name: ErrorRate(kept["errors"]) for name, kept in scorer["models"].items()}
    watched = FIGURES.unseal(parts[_FIGURES]) if _FIGURES in parts else {}
    return {
        "champion": label or target.successor,
        "history": [Term(*term) for term in state["champion"]["history"]],
        "promotion": promotion.described(target, watched.get(Promotions.name)),
        "learned": scorer["learned"],
        "positives": scorer["positives"],
        "pending": sum(
            example.label is None for example in ExampleStore(_between(parts, _EXAMPLES, _PUBLISHED))
        ),
        "open_alerts": Publisher(target, fleet.output, _between(parts, _PUBLISHED, _WATCHED)).open_alerts(),
        "model_errors": {name: found.total for name, found in errors.items() if found.total},
        "set_aside": {name: found.why or "" for name, found in errors.items() if found.aside},
    }


def _logged(row: OutputRow) -> Row:
    """Encode a row of the metrics, and log it."""
    encoded = row_of(row)
    _log.info("metrics", **fields_of(row))
    return encoded
