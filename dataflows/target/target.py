"""One target: its observations in the order of effect, and of each observation its effects in order.

Within a record, labels that its label clock decided are evaluated and learned first; only then the event is
scored.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import structlog
from msgspec import UNSET, UnsetType

from dataflows.instants import format_instant, period_end
from dataflows.items import (
    Cleared,
    ClockMoved,
    Compared,
    Effect,
    Forgotten,
    Item,
    Matured,
    Observation,
    Released,
    Row,
    ScoreRequest,
    by_order,
    row_of,
    summary_row,
    target_part,
)
from dataflows.outputs import ModelChange, example_id, fields_of, prediction_id, time_or_none
from dataflows.state.tables import BUCKETS
from dataflows.target.alerts import Publisher
from dataflows.target.attribution import Attribution
from dataflows.target.champion import (
    FIGURES,
    LOG,
    TARGET,
    Champion,
    ChampionError,
    between,
    layout_of,
)
from dataflows.target.error_rate import ErrorRate
from dataflows.target.examples import SEGMENTS, Example, ExampleStore, Ledger
from dataflows.target.figures import Leads, TargetFigures
from dataflows.target.models import MODEL_PARTS, ModelSet
from dataflows.target.monitors import Context, Monitor, Monitors, Period, Served
from dataflows.target.rows import alert, evaluation, prediction, served_example
from dataflows.target.skew import Skew

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dataflows.fleet.fleet import Fleet
    from dataflows.outputs import Link, ModelEvent, MovedBy, OutputRow
    from dataflows.state.layouts import Refit, StateHistory

__all__ = ["MONITORS", "TARGET_PARTS", "ChampionError", "OrderError", "TargetStage", "described"]

#: What watches a target, in the order in which each is called and has its place in the summary.
MONITORS: tuple[type[Monitor], ...] = (Leads, TargetFigures, Attribution, Skew)

_LOG = MODEL_PARTS
_FIGURES = MODEL_PARTS + 1
_EXAMPLES = MODEL_PARTS + 2
_PUBLISHED = _EXAMPLES + SEGMENTS
#: Models, the log of what was learned, the monitors, the examples, what was published of each asset. Frozen:
#: the store knows them by number.
TARGET_PARTS = _PUBLISHED + BUCKETS
_log = structlog.get_logger()


class OrderError(RuntimeError):
    """With one worker, something reached a group out of the order of effect."""


class TargetStage:
    """The models of one target at work.

    Args:
        fleet: the fleet.
        key: name of the target.
        strict: whether order is promised (one worker): then its violation is an error, else it is counted.
        on_error: makes the row that rejects an observation on which this stage throws.
        main: what `main_snapshot` returned, None for a new target.
        parts: what `part_snapshot` returned, by number.
        past: the layouts of the fleet's classes, and how often examples began anew; None: it has none.
        monitors: what watches it.

    Raises:
        ChampionError: the stored champion cannot go on, and no successor is named.
    """

    def __init__(
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
    ) -> None:
        self._target = fleet.targets[key]
        asset_class = fleet.classes[self._target.asset_class]
        self._features = asset_class.features
        self._write_features = fleet.output.features
        self._every = fleet.metrics_every
        self._strict = strict
        self._on_error = on_error
        state: dict[str, Any] | None = None if main is None else TARGET.unseal(main)
        self._begun = 0 if past is None else past.targets.get(key, 0)
        #: Parts that have to be written once more, since what they hold is not believed.
        self._stale: list[int] = []
        if state is not None and state["begun"] != self._begun:
            state, parts, self._stale = None, {}, sorted(parts)
        self._order: tuple[int, int] = (0, 0) if state is None else tuple(state["order"])
        self._violations = 0 if state is None else state["violations"]
        self._errors = 0 if state is None else state["errors"]
        self._known: int | None = None if state is None else state["known"]
        #: (start, end] of the open period of the metrics, in knowledge time. It ends at the next multiple of
        #: metrics_every, also where that was another one when the period began.
        self._period: tuple[int, int] | None = None
        if self._known is not None and state is not None:
            self._period = (state["period_from"], period_end(self._known, self._every))
        #: Changed models, which the next observation writes: change, model, version, why.
        self._news: list[Any] = [] if state is None else [*state["news"]]
        self._learned = 0 if state is None else state["scorer"]["learned"]
        self._layout, refit = layout_of(past, asset_class, state)
        self._open(fleet, state, parts, refit)
        compares = bool(asset_class.compared)
        context = Context(
            self._target,
            self._features,
            fleet.figures_from,
            compares,
            self._scorer,
            self._champion,
            self._ledger.unsettled(),
        )
        watched = FIGURES.unseal(parts[_FIGURES]) if _FIGURES in parts else {}
        self._monitors = Monitors(monitors, context, watched, refit, self._rejected)
        self._compares = compares
        if refit is not None:
            self._stale.append(_FIGURES)

    def _open(
        self, fleet: Fleet, state: dict[str, Any] | None, parts: dict[int, bytes], refit: Refit | None
    ) -> None:
        target = self._target
        self._examples = ExampleStore(between(parts, _EXAMPLES, _PUBLISHED), refit)
        self._publisher = Publisher(target, fleet.output, between(parts, _PUBLISHED, TARGET_PARTS))
        stored = None if state is None else Champion.stored(target, self._features, state)
        self._scorer = ModelSet(
            target.name,
            target.models,
            self._features,
            None if state is None else state["scorer"],
            between(parts, 0, MODEL_PARTS),
            champion=stored,
            refit=refit,
            key=fleet.store_key,
        )
        self._news += self._scorer.news
        self._champion = Champion(target, self._scorer, None if state is None else state["champion"], stored)
        clock = None if state is None else state["ledger"]["clock"]
        self._ledger = Ledger(target, self._examples, clock)
        if state is not None:
            self._ledger.restore_released(state["ledger"]["released"])
        if _LOG in parts:
            log, start = LOG.unseal(parts[_LOG])
            served = {example.key: (example.features, example.scores) for example in self._examples}
            self._scorer.replay([tuple(line) for line in log], start, served)

    def process(self, items: list[Item]) -> list[Item]:
        """Observations in, rows out; what arrives together is put into the order of effect first."""
        items.sort(key=by_order)
        out: list[Item] = []
        for item in items:
            order = by_order(item)
            if order > self._order:
                self._order = order
            else:
                self._out_of_order(order)
            seen = item.body
            if isinstance(seen, Observation):
                rows = self._observe(item, seen)
                part = item.part
                for index, row in enumerate(rows):
                    at = target_part(part, index) if index else part
                    out.append(Item(item.sequence, at, item.arrival, item.known, item.position, row))
        return out

    def _out_of_order(self, order: tuple[int, int]) -> None:
        self._violations += 1
        if self._strict:
            msg = (
                f"target {self._target.name!r}: {order} came after {self._order}; with one worker this "
                "cannot happen, and outputs would not be reproducible. Please report it"
            )
            raise OrderError(msg)

    def _observe(self, item: Item, seen: Observation) -> list[Row]:
        """The rows of one observation, effect by effect.

        An effect that raises is rejected by itself: it leaves neither a row nor a trace in the state, and the
        effects before and after it stand. So an effect encodes its rows before it changes anything, or undoes
        what it changed. Monitors are called after what they watch; what one raises is rejected by itself.
        """
        learned = self._scorer.learned
        rows: list[Row] = []
        if self._news or self._champion.change:
            rows += self._attempt(item, partial(self._write_news, item))
        if seen.resting is not None and (self._ledger.clock is None or seen.resting > self._ledger.clock):
            rows += self._attempt(item, partial(self._rest, item, seen.resting))
        if self._known is None or item.known > self._known:
            rows += self._attempt(item, partial(self._pass_known, item, item.known))
        for effect in seen.effects:
            try:
                rows += self._HANDLERS[type(effect)](self, item, seen, effect)
            except Exception as error:  # noqa: BLE001 - the rest of the record and of the fleet goes on
                rows.append(self._rejected(item, error))
        if self._scorer.moves:
            rows += self._attempt(item, partial(self._write_moves, item))
        if self._scorer.learned != learned:
            rows += self._attempt(item, self._trim)
        return rows

    def _attempt(self, item: Item, effect: Callable[[], list[Row] | None]) -> list[Row]:
        """The rows of an effect within another, or the row that rejects it."""
        try:
            return effect() or []
        except Exception as error:  # noqa: BLE001 - as in `_observe`
            return [self._rejected(item, error)]

    def _rejected(self, item: Item, error: Exception) -> Row:
        self._errors += 1
        return self._on_error(item, error, "group")

    def _rest(self, item: Item, clock: int) -> list[Row]:
        """Assets that rest move the target clock, as of when they would have expired."""
        rows = self._pass_known(item, clock)
        return rows + self._pass_clock(item, clock)

    def _pass_known(self, item: Item, known: int) -> list[Row]:
        if self._known is not None and known <= self._known:
            return []
        self._known = known
        return self._close_period(item, known)

    def _move_clock(self, item: Item, _: Observation, moved: ClockMoved) -> list[Row]:
        return self._pass_clock(item, moved.clock)

    def _pass_clock(self, item: Item, clock: int) -> list[Row]:
        """Learn the examples that the target clock passes; one that raises is not tried again."""
        rows: list[Row] = []
        self._ledger.advance(clock)
        while True:
            try:
                due = self._ledger.next_due()
            except Exception as error:  # noqa: BLE001 - as in `_observe`
                rows.append(self._rejected(item, error))
                continue
            if due is None:
                return rows
            if due.learns:
                rows += self._attempt(item, partial(self._learn, item, due.example))
            if due.settles:
                rows += self._monitors.settled(item, due.example)

    def _learn(self, item: Item, example: Example) -> list[Row]:
        label = example.label or 0
        self._scorer.learn(example.asset, example.time, example.features, label, example.scores)
        return self._monitors.learned(item, example)

    def _learn_at_once(self, item: Item, example: Example) -> list[Row]:
        return self._learn(item, example) if self._ledger.learns_at_once(example) else []

    def _trim(self) -> list[Row]:
        self._ledger.trim((asset, time) for asset, time, _ in self._scorer.trim())
        return []

    def _clear(self, item: Item, seen: Observation, cleared: Cleared) -> list[Row]:
        before = self._publisher.entry(seen.asset)
        try:
            moves = self._publisher.end(seen.asset, cleared.time, cleared.why)
            rows = [row_of(alert(item, seen, move)) for move in moves]
        except Exception:
            self._publisher.put_back(seen.asset, before)
            raise
        opened = moves[0].opened if moves else None
        return rows + self._monitors.cleared(item, seen.asset, cleared.why, cleared.time, opened)

    def _release(self, _: Item, seen: Observation, released: Released) -> list[Row]:
        self._ledger.release(seen.asset, released.times, self._scorer.logged)
        return []

    def _forget(self, item: Item, seen: Observation, _: Forgotten) -> list[Row]:
        rows = self._attempt(item, partial(self._ledger.forget, seen.asset, self._scorer.logged))
        self._publisher.forget(seen.asset)
        return rows + self._monitors.forgotten(item, seen.asset)

    def _write_moves(self, item: Item) -> list[Row]:
        """Rows of models that were set aside, or are tried again."""
        moves = self._scorer.moves
        rows = [self._change(item, change, *self._scorer.named(label), why) for change, label, why in moves]
        moves.clear()
        return rows

    def _write_news(self, item: Item) -> list[Row]:
        """Rows of models that the configuration changed, and of a champion whose term begins."""
        change = self._champion.change
        news = self._news if change is None else [*self._news, change]
        rows = [self._change(item, *each) for each in news]
        self._news = []
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
        # Another lead alone leads to no more learning.
        learned = matured.label in {0, 1} and not example.learned and matured.label != example.label
        known = item.known if self._known is None else self._known
        features, served = self._served(item, seen, example)
        row = evaluation(item, seen, example, matured, known=known, learned=learned, served=served)
        rows = [*features, row_of(row)]
        change = self._ledger.mature(seen.asset, matured)
        if features:
            example.written = "target"
            self._examples.update(example)
        if change is not None:
            rows += self._monitors.matured(item, change)
        rows += self._attempt(item, partial(self._learn_at_once, item, example))
        if matured.correction:
            _log.info("label contradicted", target=seen.target, asset=seen.asset, time=row.time)
        return rows

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
        time, features, example = request.time, request.features, None
        before = self._publisher.entry(seen.asset)
        try:
            if request.example:
                answers = self._scorer.answers(features)
                score, link = answers[self._champion.label]
                rows = self._publish(item, seen, request, score, link)
                scores = {name: answer for name, (answer, _) in answers.items()}
                written: Literal["asset"] | None = None if self._write_features == "none" else "asset"
                example = Example(seen.asset, time, features, scores, self._champion.label, written=written)
                self._ledger.add(example)
            else:
                score, link = self._scorer.answer(self._champion.label, features)
                rows = self._publish(item, seen, request, score, link)
        except Exception:
            # An alert moves, and a prediction counts as written, only with its row.
            self._publisher.put_back(seen.asset, before)
            raise
        champion = self._champion.label
        served = Served(seen.asset, time, request.revision, features, score, link, champion, example)
        return rows + self._monitors.served(item, served)

    def _publish(
        self, item: Item, seen: Observation, request: ScoreRequest, score: float | None, link: Link
    ) -> list[Row]:
        """The prediction of the champion, and the alerts that follow from it."""
        time, features = request.time, request.features
        champion = self._champion.label
        if score is None:
            score = self._scorer.prior
        # The prior is the same for every asset: it warns of none.
        moves = self._publisher.score(seen.asset, time, score, request.revision) if link == "class" else []
        # Whatever moves an alert is published, so that every alert has the prediction that it follows from.
        if not self._publisher.publishes(seen.asset, score, example=request.example, moved=bool(moves)):
            return []
        revises = self._publisher.written(seen.asset, time, request.revision)
        shown = self._features if self._write_features == "all" else None
        row = prediction(item, seen, request, score, revises, self._scorer.named(champion), link, shown)
        rows = [row_of(row)]
        for move in moves:
            moved_by: list[MovedBy] | UnsetType = UNSET
            if move.state == "opened":
                moved_by = self._moved_by(features, score)
            rows.append(row_of(alert(item, seen, move, moved_by)))
        return rows

    def _moved_by(self, features: bytes, score: float) -> list[MovedBy]:
        attribution = self._monitors.of(Attribution)
        if attribution is None:
            return []
        picks = self._scorer.picks(self._champion.label)
        return attribution.moved(features, picks, score, self._champion.ask)

    def _compare(self, item: Item, seen: Observation, compared: Compared) -> list[Row]:
        """Score an example as served and from complete data, both by the champion of this moment."""
        if not self._compares:
            return []
        example = self._ledger.remembered(seen.asset, compared.time)
        if example is not None and compared.features is not None:
            before = after = self._champion.ask(example.features)
            if compared.features != example.features:
                after = self._champion.ask(compared.features)
            example.compared = before, after
            self._examples.update(example)
        return self._monitors.compared(item, example, compared)

    def _close_period(self, item: Item, known: int) -> list[Row]:
        """Rows of the metrics once knowledge time has passed the end of the period."""
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
        Compared: _compare,
        Cleared: _clear,
        ScoreRequest: _score,
        Released: _release,
        Forgotten: _forget,
    }

    def pending(self) -> int:
        """Examples that wait for their label."""
        return self._ledger.pending()

    def changed(self) -> Iterable[int]:
        """Parts to write."""
        changed, self._stale = [*self._stale, *self._scorer.changed()], []
        if self._scorer.learned != self._learned and self._scorer.log:
            changed.append(_LOG)
        self._learned = self._scorer.learned
        if self._monitors.changed():
            changed.append(_FIGURES)
        changed += [_EXAMPLES + segment for segment in self._examples.changed()]
        changed += [_PUBLISHED + bucket for bucket in self._publisher.changed()]
        return changed

    def main_snapshot(self) -> bytes:
        """Pointer, clocks and counts."""
        return TARGET.seal(
            {
                "order": self._order,
                "violations": self._violations,
                "errors": self._errors,
                "known": self._known,
                "period_from": None if self._period is None else self._period[0],
                "champion": self._champion.state(),
                "layout": self._layout,
                "begun": self._begun,
                "news": self._news,
                "scorer": self._scorer.main_state(),
                "ledger": self._ledger.state(),
            },
        )

    def part_snapshot(self, part: int) -> bytes:
        """One part: models, log, monitors, or a segment of the examples."""
        if part < MODEL_PARTS:
            return self._scorer.part(part)
        if part == _LOG:
            return LOG.seal((self._scorer.log, self._scorer.log_start))
        if part == _FIGURES:
            return FIGURES.seal(self._monitors.state())
        if part < _PUBLISHED:
            return self._examples.segment(part - _EXAMPLES)
        return self._publisher.part(part - _PUBLISHED)

    def finish(self) -> list[Item]:
        """The target's section of the summary, and what it could not use."""
        targets = {
            self._target.name: {
                "champion": self._champion.label,
                "learned": self._scorer.learned,
                "positives": self._scorer.positives,
                "pending": self._ledger.pending(),
                "open_alerts": self._publisher.open_alerts(),
                "model_errors": self._scorer.errors(),
                "set_aside": self._scorer.set_aside(),
                "order_violations": self._violations,
                **self._monitors.summary(),
            }
        }
        rejected = {"internal_error": self._errors} if self._errors else {}
        body = summary_row({"input": {"rejected": rejected}, "targets": targets})
        return [Item(*self._order, None, self._known or 0, ("", 0, 0), body)]


def described(fleet: Fleet, key: str, main: bytes, parts: Mapping[int, bytes]) -> dict[str, Any]:
    """What is stored of a target, as its section of the summary has it, without loading a model.

    To load a model is to run code that the store holds, so who only looks at a store does not.

    Args:
        fleet: the fleet.
        key: name of the target.
        main: what `TargetStage.main_snapshot` returned.
        parts: what `TargetStage.part_snapshot` returned, by number.

    Raises:
        ChampionError: no run would go on from it.
        SnapshotError: it is damaged, or of a version that cannot be read.
    """
    target = fleet.targets[key]
    state = TARGET.unseal(main)
    scorer = state["scorer"]
    label = Champion.stored(target, fleet.classes[target.asset_class].features, state)
    errors = {name: ErrorRate(kept["errors"]) for name, kept in scorer["models"].items()}
    return {
        "champion": label or target.successor,
        "learned": scorer["learned"],
        "positives": scorer["positives"],
        "pending": sum(
            example.label is None for example in ExampleStore(between(parts, _EXAMPLES, _PUBLISHED))
        ),
        "open_alerts": Publisher(
            target, fleet.output, between(parts, _PUBLISHED, TARGET_PARTS)
        ).open_alerts(),
        "model_errors": {name: found.total for name, found in errors.items() if found.total},
        "set_aside": {name: found.why or "" for name, found in errors.items() if found.aside},
    }


def _logged(row: OutputRow) -> Row:
    """Encode a row of the metrics, and log it."""
    encoded = row_of(row)
    _log.info("metrics", **fields_of(row))
    return encoded
