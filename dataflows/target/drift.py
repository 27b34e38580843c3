"""Watch for drift of loss, positives and calibration, and without labels of scores and features.

A *block* is a day of event time of the whole fleet, for what follows from labels a horizon if that is longer.
`dataflows.target.detectors` looks at one value a block for each series.

A series of scores or features is free of changes in *which* assets are there: its value is the mean over
assets of the distance from the asset's own reference, its first five blocks. An asset without a reference
does not count yet; `maintenance` of ``sensor:NAME`` begins the asset's reference for that sensor again.
Blocks in which the data came otherwise than usual (`dataflows.target.movement`) are no evidence about the
world, and are left out of these series. Series of labels are means over examples.

With ``compare_with`` the value of a block is compared with that of the block so long before, so that what
comes back every week or year is no drift.

An alarm says where the change comes from (`dataflows.target.causes`), and what it costs: the log loss that
the champion would save on the latest examples if the feature had not shifted, by its own scores.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import structlog
from typing_extensions import override

from dataflows.instants import HOUR, format_instant
from dataflows.items import row_of
from dataflows.outputs import DataMovement, DriftAlarm, DriftMetrics, time_or_none
from dataflows.scoring import CLIP, log_loss
from dataflows.target.causes import CHANCE, CHANCE_OF_FURTHER, Place, cause_of, place_of, sensors_of
from dataflows.target.detectors import Detectors, beyond
from dataflows.target.evidence import losses
from dataflows.target.losses import expected_loss
from dataflows.target.monitors import Monitor
from dataflows.target.movement import MEASURES, LabelSilence, Moved, Movement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from dataflows.fleet.fleet import DriftPolicy
    from dataflows.items import Item, Row
    from dataflows.outputs import DriftSeries, Measure, OutputRow
    from dataflows.state.layouts import Refit
    from dataflows.target.causes import Cause
    from dataflows.target.detectors import Alarm
    from dataflows.target.examples import Example
    from dataflows.target.monitors import Context, Period, Served

    Floats = NDArray[np.float64]

__all__ = ["LABELLED", "UNLABELLED", "Drift"]

#: Series that follow from labels, and those of every target that do not; after these come the features. Each
#: has the least effect that is worth an alarm.
LABELLED = {"loss": 0.002, "positives": 0.002, "gap": 0.005}
UNLABELLED = {"score": 0.002, "alerts": 0.002, "missing": 0.02}
#: Series that depend on which model is champion.
_OF_CHAMPION = {"loss", "gap", "score", "alerts"}
_DAY, _YEAR = 24 * HOUR, 365.25 * 24 * HOUR
#: Blocks of an asset's reference.
_REFERENCE = 5
#: Weight of a block in the recent mean of an asset.
_RECENT = 0.3
#: Features in a row of the metrics: those that are furthest from their reference.
_SHOWN = 5
#: Latest blocks in which a series may have moved with another.
_LATEST = 14
#: Series of all assets that are looked at together, so that little memory is needed.
_AT_ONCE = 16
#: Latest examples from which the cost of a shift is estimated.
_ASKED = 200
_log = structlog.get_logger()


class _Board:
    """Series that are watched together, with one value of each a block.

    Args:
        names: of the series.
        cell: length of a block, in microseconds.
        alarms: false alarms a year of all its series.
        floors: least effects, by name.
        lag: blocks between a block and the one that it is compared with; None compares with the reference.
        state: what `state` returned, None for a new one.
        history: what `history` returned.
    """

    def __init__(
        self,
        names: Sequence[str],
        cell: int,
        alarms: float,
        floors: Mapping[str, float],
        lag: int | None,
        state: Mapping[str, Any] | None,
        history: Iterable[tuple[int, bytes]],
    ) -> None:
        kept: Mapping[str, Any] = state or {}
        self.names, self.cell = tuple(names), cell
        least = np.array([floors.get(name, 0.0) for name in names])
        self.detectors = Detectors(len(names), alarms * cell / _YEAR, kept.get("detectors"), least)
        self._lag = lag
        #: What the detectors were given of the latest blocks.
        self._recent = deque(
            ((cell, np.frombuffer(values)) for cell, values in kept.get("recent", ())), _LATEST
        )
        #: Values of former blocks, oldest first.
        self._history = {block: np.frombuffer(values).copy() for block, values in history}
        #: Blocks before this one have ended.
        self.next: int | None = kept.get("next")
        #: Subtracted from the latest value: the mean reference of its assets is its level.
        self._level = np.frombuffer(kept["level"]).copy() if kept else np.zeros(len(names))
        #: By series, the last block of an alarm; and the last cost in log loss.
        self.alarmed: dict[str, int] = dict(kept.get("alarmed", {}))
        self.costs: dict[str, float | None] = dict(kept.get("costs", {}))

    def ends(self, time: int, cells: Iterable[int]) -> list[int]:
        """Return the blocks that have ended where something of a time is known, in their order."""
        before = time // self.cell - 1
        if self.next is not None and before <= self.next:
            return []
        self.next = before
        return sorted(cell for cell in cells if cell < before)

    def is_over(self, cell: int) -> bool:
        """Whether a block has ended, so that what still comes of it is left out."""
        return self.next is not None and cell < self.next

    def add(self, cell: int, values: Floats, level: Floats) -> list[Alarm]:
        """Add the values of a block; return the alarms.

        Args:
            cell: the block.
            values: distances from ``level``; NaN where a series has none.
            level: what a value of 0 means.
        """
        self._level = np.where(np.isnan(level), self._level, level)
        given = values
        if self._lag is not None:
            before = self._history.get(cell - self._lag)
            given = np.full(len(values), np.nan) if before is None else values - before
            self._history[cell] = values
            for old in [block for block in self._history if block <= cell - self._lag]:
                del self._history[old]
        self._recent.append((cell, given))
        alarms = self.detectors.add(given)
        for alarm in alarms:
            for former in self._history.values():
                former[alarm.series] += alarm.effect  # what is usual now is compared with what is usual now
            self.alarmed[self.names[alarm.series]] = cell
        return alarms

    def onset(self, series: int, since: int) -> int:
        """The block, from ``since`` on, in which the shift of a series most likely began.

        The mean of the blocks from there to the latest is further from the reference, in its standard errors,
        than that from any other block. This is the likeliest change point of a normal mean.
        """
        rows = [(cell, float(values[series])) for cell, values in self._recent if cell >= since]
        given = [(cell, value) for cell, value in rows if not math.isnan(value)]
        if not given:
            return since
        blocks = np.arange(len(given), 0, -1)
        means = np.array([value for _, value in given])[::-1].cumsum()[::-1] / blocks
        cell, _ = given[int(np.abs(self.detectors.distance(series, means, blocks)).argmax())]
        return int(cell)

    def moved(self, since: int, far: float) -> dict[str, float]:
        """Series that moved in the blocks from one on, and by how many standard errors, the most first.

        These have half of the evidence that they need, or had an alarm, or are so far from their reference.

        Args:
            since: the first block.
            far: standard errors.
        """
        half, evidence = self.detectors.needed / 2, self.detectors.evidence()
        found = {name: 0.0 for name, each in zip(self.names, evidence, strict=True) if each >= half}
        found |= {name: 0.0 for name, at in self.alarmed.items() if at >= since}
        rows = [values for cell, values in self._recent if cell >= since] or [
            values for _, values in list(self._recent)[-1:]
        ]
        if rows:
            given = ~np.isnan(np.array(rows))
            with np.errstate(invalid="ignore"):
                means = np.where(given, rows, 0.0).sum(axis=0) / given.sum(axis=0)
            ready = self.detectors.ready()
            distances = np.nan_to_num(np.abs(self.detectors.distances(means, len(rows)))).tolist()
            found |= {
                name: distances[at]
                for at, name in enumerate(self.names)
                if name in found or (ready[at] and distances[at] >= far)
            }
        return dict(sorted(found.items(), key=lambda each: -each[1]))

    def level(self, series: int) -> float:
        """What a value of 0 of a series means."""
        return float(self._level[series])

    def shown(self, series: int) -> DriftSeries:
        """What the metrics show of a series."""
        found = self.detectors.shown(series)
        for field in ("value", "reference") if self._lag is None else ():
            distance = found[field]
            if distance is not None:
                found[field] = distance + self.level(series)
        name = self.names[series]
        return {"series": name, **found, "cost": self.costs.get(name)}  # type: ignore[typeddict-item]

    def history(self) -> list[tuple[int, bytes]]:
        """Plain data of former blocks."""
        return [(block, values.tobytes()) for block, values in sorted(self._history.items())]

    def state(self) -> dict[str, Any]:
        """Plain data, without the history."""
        return {
            "detectors": self.detectors.state(),
            "next": self.next,
            "level": self._level.tobytes(),
            "recent": [(cell, values.tobytes()) for cell, values in self._recent],
            "alarmed": self.alarmed,
            "costs": self.costs,
        }


class _Asset:
    """What is known of one asset: sums of its open blocks, its reference, its recent means.

    Args:
        width: number of series.
        state: what `state` returned, None for a new asset.

    Attributes:
        cells: by open block, sums and numbers of values, (2, width).
        reference: sums and numbers of block means, (2, width).
        recent: (width) recent means, NaN where there is none.
        site: where it is, None where nothing said so.
    """

    __slots__ = ("cells", "recent", "reference", "site")

    def __init__(self, width: int, state: Sequence[Any] | None = None) -> None:
        self.cells: dict[int, Floats] = {}
        self.reference = np.zeros((2, width))
        self.recent = np.full(width, np.nan)
        self.site: str | None = None
        if state is not None:
            cells, reference, recent, self.site = state
            self.cells = {cell: np.frombuffer(sums).reshape(2, -1).copy() for cell, sums in cells}
            self.reference = np.frombuffer(reference).reshape(2, -1).copy()
            self.recent = np.frombuffer(recent).copy()

    def add(self, cell: int, values: Floats) -> None:
        """Add the values of an example; NaN is none."""
        sums = self.cells.get(cell)
        if sums is None:
            sums = self.cells[cell] = np.zeros((2, len(values)))
        if math.isnan(values.sum()):
            missing = np.isnan(values)
            sums[0] += np.where(missing, 0.0, values)
            sums[1] += ~missing
        else:
            sums[0] += values
            sums[1] += 1.0

    def means(self) -> Floats:
        """Its reference, NaN where that is not complete."""
        sums, blocks = self.reference
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(blocks >= _REFERENCE, sums / blocks, np.nan)

    def learn(self, values: Floats) -> None:
        """Add the means of a block to reference and recent means."""
        given = ~np.isnan(values)
        learning = given & (self.reference[1] < _REFERENCE)
        if learning.any():
            self.reference[0, learning] += values[learning]
            self.reference[1, learning] += 1.0
        former = np.where(np.isnan(self.recent), values, self.recent)
        self.recent = np.where(given, (1.0 - _RECENT) * former + _RECENT * values, self.recent)

    def restart(self, columns: Sequence[int]) -> None:
        """Begin the reference of some series again, with what comes from now on."""
        self.reference[:, columns] = 0.0
        self.recent[columns] = np.nan
        for sums in self.cells.values():
            sums[:, columns] = 0.0

    def state(self) -> tuple[Any, ...]:
        """Plain data."""
        cells = [(cell, sums.tobytes()) for cell, sums in sorted(self.cells.items())]
        return cells, self.reference.tobytes(), self.recent.tobytes(), self.site


class Drift(Monitor):
    """Watches one target for drift.

    Args:
        context: what it may read.
        state: what `state` returned, None for a new target.
        policy: how the target is watched.
    """

    name: ClassVar[str] = "drift"

    def __init__(self, context: Context, state: Mapping[str, Any] | None, policy: DriftPolicy) -> None:
        self._context, self._policy = context, policy
        self._target = context.target
        self._sensors = max(1, len(sensors_of(context.features, context.sensors)))
        kept: Mapping[str, Any] = state or {}
        entries = dict(context.entries.get(self.name, {}))
        histories = entries.pop("", {})

        def board(key: str, floors: Mapping[str, float], names: Sequence[str], cell: int) -> _Board:
            lag = None if policy.compare_with is None else max(1, round(policy.compare_with / cell))
            half = policy.alarms / 2.0
            return _Board(names, cell, half, floors, lag, kept.get(key), histories.get(key, ()))

        columns = (*UNLABELLED, *context.features)
        self._served = board("served", UNLABELLED, columns, _DAY)
        self._settled = board("settled", LABELLED, [*LABELLED], max(_DAY, context.target.horizon))
        self._assets = {asset: _Asset(len(columns), entry) for asset, entry in entries.items()}
        self._touched: set[str] = set()
        self._champion: str | None = kept.get("champion")
        #: Knowledge time of the latest answer: what changed before it is answered.
        self._answered: int | None = kept.get("answered")
        self._movement = Movement(kept.get("movement"))
        self._silence = LabelSilence(kept.get("silence"))
        #: By block of scores, what moved in it.
        self._moved: dict[int, list[Moved]] = {
            cell: [Moved(*each) for each in moved] for cell, moved in kept.get("moved", ())
        }
        #: By open block: examples, revisions, sum of delays in hours, examples ahead of arrival.
        self._counts: dict[int, list[float]] = {cell: [*counts] for cell, counts in kept.get("counts", ())}
        #: By open block of labels: sums of loss, positives and gap, and number of values of each.
        self._labels: dict[int, list[float]] = {cell: [*sums] for cell, sums in kept.get("labels", ())}
        #: Alarms of this process, by rank.
        self.alarms: Counter[str] = Counter({"page": 0, "warn": 0, "note": 0})

    @override
    @classmethod
    def open(cls, context: Context, state: Any) -> Drift | None:
        """Return the watch of a target, None where its drift is not watched."""
        policy = context.target.drift
        return None if policy is None else cls(context, state, policy)

    @override
    @staticmethod
    def refitted(state: Any, refit: Refit) -> Any:
        """Begin with nothing: the features of the class are others."""
        return None

    @override
    def watches(self, assets: Sequence[str], scores: Sequence[float | None]) -> Iterable[int]:
        """Watch examples and revisions only."""
        return ()

    @override
    @staticmethod
    def refitted_entry(entry: Any, refit: Refit) -> Any:
        """Begin with nothing, as the state does."""
        return None

    @override
    def served(self, item: Item, served: Served) -> list[Row]:
        """Add the score and features of an example to its block; count a revision."""
        cell, board = served.time // _DAY, self._served
        if board.is_over(cell) or (served.example is None and not served.revision):
            return []
        self.changed = True
        rows: list[Row] = []
        if served.example is not None:
            self._follow_champion(served.champion)
            for ended in board.ends(served.time, self._counts):
                rows += self._end_served(item, ended)
        counts = self._counts.setdefault(cell, [0, 0, 0.0, 0])
        if served.example is None:
            counts[1] += 1
            return rows
        counts[0] += 1
        counts[2] += (item.known - served.time) / HOUR
        counts[3] += item.arrival is not None and served.time > item.arrival
        self._add_example(cell, served)
        return rows

    def _follow_champion(self, champion: str) -> None:
        if champion == self._champion:
            return
        self._champion = champion
        columns = [self._served.names.index(name) for name in UNLABELLED if name in _OF_CHAMPION]
        for board in (self._served, self._settled):
            for series, name in enumerate(board.names):
                if name in _OF_CHAMPION:
                    board.detectors.restart(series)
        for asset, known in self._assets.items():
            known.restart(columns)
            self._touched.add(asset)

    def _add_example(self, cell: int, served: Served) -> None:
        asset = self._assets.get(served.asset)
        if asset is None:
            asset = self._assets[served.asset] = _Asset(len(self._served.names))
        features = np.frombuffer(served.features)
        first = len(UNLABELLED)
        values = np.empty(first + len(features))
        values[first:] = features
        score = math.nan if served.score is None else served.score
        alerts = math.nan if served.score is None else float(score >= self._target.threshold)
        missing = np.count_nonzero(np.isnan(features)) / max(1, len(features))
        values[:first] = score, alerts, missing
        asset.add(cell, values)
        self._touched.add(served.asset)

    def _end_served(self, item: Item, cell: int) -> list[Row]:
        """Give the detectors a block of scores and features that ended."""
        there = sorted(asset for asset, known in self._assets.items() if cell in known.cells)
        sums = np.array([self._assets[asset].cells.pop(cell) for asset in there])
        self._touched.update(there)
        counts = self._counts.pop(cell)
        if not len(sums):
            return []
        with np.errstate(invalid="ignore", divide="ignore"):
            means = sums[:, 0] / sums[:, 1]
        rows = self._add_movement(item, cell, counts, means)
        references = np.array([self._assets[asset].means() for asset in there])
        level = _mean_over_assets(np.where(np.isnan(means), np.nan, references))
        values = _mean_over_assets(means - references)
        explained = self._moved.get(cell)
        if explained:  # only what is missing itself is looked at
            keep = self._served.names.index("missing")
            values[np.arange(len(values)) != keep] = np.nan
        for asset, mean in zip(there, means, strict=True):
            known = self._assets[asset]
            if explained:
                mean = np.full(len(mean), np.nan)  # noqa: PLW2901 - moved data is nobody's reference
            known.learn(mean)
        alarms = self._served.add(cell, values, level)
        if self._policy.compare_with is not None:
            self._touched.add("")
        return rows + [self._alarm(item, self._served, alarm, cell, values) for alarm in alarms]

    def _add_movement(self, item: Item, cell: int, counts: Sequence[float], means: Floats) -> list[Row]:
        """Note how the data of a block came; return a row for each measure that has just moved."""
        examples, revised, delay, ahead = counts
        missing = means[:, self._served.names.index("missing")]
        values: dict[Measure, float] = {
            "delay": delay / examples if examples else math.nan,
            "late": revised / (examples + revised),
            "missing": float(np.mean(missing)),
            "ahead": ahead / examples if examples else math.nan,
            "reporting": len(means) / len(self._assets),
        }
        moved = self._movement.add(values)
        if moved:
            self._moved[cell] = moved
        for old in [each for each in self._moved if each < cell - 2 * self._settled.cell // _DAY - 60]:
            del self._moved[old]
        return [
            self._movement_row(item, each, MEASURES[each.measure][1], cell * _DAY)
            for each in moved
            if self._movement.begun(each.measure)
        ]

    def _add_labels(self, item: Item, cell: int, *, positive: bool) -> list[Row]:
        """Note whether a block has a positive; return a row where positives have just stopped."""
        before = self._silence.silent
        if not self._silence.add(positive=positive) or before:
            return []
        moved = Moved("labels", self._silence.since, self._silence.usual)
        return [
            self._movement_row(item, moved, "no failures are reported any more", cell * self._settled.cell)
        ]

    def _movement_row(self, item: Item, moved: Moved, why: str, time: int) -> Row:
        row = DataMovement(
            target=self._target.name,
            measure=moved.measure,
            why=why,
            value=moved.value,
            usual=moved.usual,
            time=format_instant(time),
            **_place(item),
        )
        _log.warning("data movement", target=row.target, measure=row.measure, value=row.value)
        return row_of(row)

    @override
    def settled(self, item: Item, example: Example) -> list[Row]:
        """Add the loss of the champion and the label of an example to its block."""
        label, board = example.label, self._settled
        cell = example.time // board.cell
        if label not in {0, 1} or board.is_over(cell):
            return []
        self.changed = True
        rows: list[Row] = []
        for ended in board.ends(example.time, self._labels):
            of_block = np.array(self._labels.pop(ended)).reshape(2, -1)
            with np.errstate(invalid="ignore", divide="ignore"):
                values = of_block[0] / of_block[1]
            rows += self._add_labels(item, ended, positive=bool(of_block[0, 1]))
            alarms = board.add(ended, values, np.zeros(len(values)))
            if self._policy.compare_with is not None:
                self._touched.add("")
            rows += [self._alarm(item, board, alarm, ended, values) for alarm in alarms]
        score = example.scores.get(example.champion)
        sums = self._labels.setdefault(cell, [0.0] * 6)
        sums[1] += label
        sums[4] += 1.0
        if score is not None and example.champion == self._champion:
            sums[0] += losses(score, "brier")[label]
            sums[2] += log_loss(score, label) - expected_loss(score)
            sums[3] += 1.0
            sums[5] += 1.0
        return rows

    @override
    def forgotten(self, item: Item, asset: str) -> list[Row]:
        """Drop what is known of an asset."""
        if self._assets.pop(asset, None) is not None:
            self._touched.add(asset)
        return []

    @override
    def located(self, item: Item, asset: str, site: str) -> list[Row]:
        """Note the site of an asset."""
        known = self._assets.get(asset)
        if known is None:
            known = self._assets[asset] = _Asset(len(self._served.names))
        if known.site != site:
            known.site = site
            self._touched.add(asset)
        return []

    @override
    def replaced(self, item: Item, asset: str, sensor: str) -> list[Row]:
        """Begin the reference of one sensor of one asset again."""
        known = self._assets.get(asset)
        if known is not None:
            known.restart(self._columns(sensor))
            self._touched.add(asset)
        return []

    def _columns(self, sensor: str) -> list[int]:
        """Series of the features of a sensor."""
        names = self._served.names
        return [
            at for at, name in enumerate(names) if name.split(":")[0] == sensor and name not in UNLABELLED
        ]

    def _alarm(self, item: Item, board: _Board, alarm: Alarm, cell: int, values: Floats) -> Row:
        """Return the row of an alarm, with its cause and cost."""
        name = board.names[alarm.series]
        since = (cell - max(0, alarm.blocks - 1)) * board.cell
        cause, moved, beside = self._explain(board, alarm, since, cell)
        cost = None
        if board is self._served and name not in UNLABELLED:
            cost = self._cost(alarm.series - len(UNLABELLED), alarm.effect)
            board.costs[name] = cost
        level = board.level(alarm.series)
        row = DriftAlarm(
            target=self._target.name,
            series=name,
            rank=_rank(name, alarm),
            side=alarm.side,
            value=float(values[alarm.series]) + level,
            reference=alarm.reference + level,
            deviation=alarm.deviation,
            effect=alarm.effect,
            evidence=alarm.evidence,
            needed=board.detectors.needed,
            cause=cause.name,
            place={"asset": cause.place.asset, "site": cause.place.site, "share": cause.place.share},
            sensors=list(cause.sensors),
            moved=[each.measure for each in moved],
            beside=beside[:_SHOWN],
            cost=cost,
            answer=self._answer(item, cause, alarm, name, since),
            since=format_instant(since),
            time=format_instant(cell * board.cell),
            **_place(item),
        )
        _log.warning(
            "drift",
            target=row.target,
            series=name,
            rank=row.rank,
            side=row.side,
            effect=row.effect,
            cause=row.cause,
            place=row.place,
            sensors=row.sensors,
        )
        self.alarms[row.rank] += 1
        return row_of(row)

    def _answer(self, item: Item, cause: Cause, alarm: Alarm, name: str, since: int) -> str | None:
        """Adapt the models to a change of the world; return what was done, None for nothing."""
        policy, models = self._policy, self._context.models
        if policy.answer == "log" or cause.name in {"data movement", "labels", "asset"}:
            return None
        if _rank(name, alarm) == "note" or (self._answered is not None and since < self._answered):
            return None
        label = models.label(policy.model)
        why = f"drift of {name} since {format_instant(since)}"
        if policy.answer == "challenger":
            fresh = models.start_fresh(label, since, why, keep=self._context.champion.labels())
            done = f"{fresh} starts as a challenger"
        elif label in self._context.champion.labels():
            return f"nothing: {label} is champion, which is never reset"
        else:
            models.reset(label, since, why)
            done = f"{label} begins with nothing"
        self._answered = item.known
        return done

    def _explain(
        self, board: _Board, alarm: Alarm, since: int, cell: int
    ) -> tuple[Cause, list[Moved], list[str]]:
        """Return the cause of an alarm, and what moved in its blocks: measures of the data, and series."""
        name = board.names[alarm.series]
        first, last = since // _DAY, ((cell + 1) * board.cell - 1) // _DAY
        found = [each for day, moved in sorted(self._moved.items()) if first <= day <= last for each in moved]
        moved = list({each.measure: each for each in found}.values())
        onset = board.onset(alarm.series, since // board.cell) * board.cell
        beside = self._moved_since(onset)
        features = [each for each in beside if each not in UNLABELLED and each not in LABELLED]
        if board is self._served and name not in UNLABELLED and name not in features:
            features.append(name)
        sensors = sensors_of(sorted(features, key=self._served.names.index), self._context.sensors)
        if name == "missing" and not moved:
            moved = [Moved("missing", alarm.reference + alarm.effect, alarm.reference)]
        silent = self._silence.silent and board is self._settled
        place = Place() if moved or silent else self._place_of(features)
        return (
            cause_of(moved, sensors, place, silent=silent),
            moved,
            [each for each in beside if each != name],
        )

    def _moved_since(self, onset: int) -> dict[str, float]:
        """Series that moved from a time on, see `_Board.moved`.

        That a feature moved at all has to be beyond doubt; once one did, others may well have.
        """
        far = beyond(CHANCE / self._sensors)
        beside = self._settled.moved(onset // self._settled.cell, far)
        served = self._served.moved(onset // _DAY, far)
        if not served.keys() <= UNLABELLED.keys():
            served = self._served.moved(onset // _DAY, beyond(CHANCE_OF_FURTHER / self._sensors))
        return beside | served

    def _place_of(self, moved: Sequence[str]) -> Place:
        """Return where features shifted: the place that chance explains least, among all features.

        A few assets have no spread to speak of; there only those features count that moved.
        """
        assets = sorted(self._assets)
        known = [self._assets[asset] for asset in assets]
        sites = [each.site for each in known]
        usual, names, found = self._served.detectors.means(), self._served.names, []
        for first in range(len(UNLABELLED), len(names), _AT_ONCE):
            columns = slice(first, first + _AT_ONCE)
            shifts = _shifts(known, columns) - usual[columns]
            for name, values in zip(names[columns], shifts.T, strict=True):
                place = place_of(assets, values, sites)
                if place.chance or name in moved:
                    found.append(place)
        best = min(found, key=lambda place: (place.chance, -place.share), default=Place())
        return best if best.chance * self._sensors <= CHANCE else Place()

    def _cost(self, feature: int, effect: float) -> float | None:
        """Log loss that the champion would save on its latest examples without the shift of a feature."""
        latest = sorted(self._context.examples, key=lambda example: (example.time, example.asset))[-_ASKED:]
        saved = []
        for example in latest:
            values = np.frombuffer(example.features).copy()
            with_shift = self._context.champion.ask(example.features, example.asset)
            values[feature] -= effect
            without = self._context.champion.ask(values.tobytes(), example.asset)
            if with_shift is not None and without is not None:
                saved.append(_divergence(without, with_shift))
        return math.fsum(saved) / len(saved) if saved else None

    @override
    def period_rows(self, period: Period) -> Sequence[OutputRow]:
        """Return one row: the series of the target, and the features furthest from their reference."""
        served = [self._served.shown(series) for series in range(len(self._served.names))]
        settled = [self._settled.shown(series) for series in range(len(self._settled.names))]
        if all(each["value"] is None for each in (*served, *settled)):
            return []
        features = sorted(
            served[len(UNLABELLED) :], key=lambda each: (-abs(each["deviation"] or 0.0), each["series"])
        )
        latest = max(self._moved, default=None)
        moved = [] if latest is None or latest + 1 != self._served.next else self._moved[latest]
        return [
            DriftMetrics(
                target=period.target,
                series=[*settled, *served[: len(UNLABELLED)], *features[:_SHOWN]],
                needed=self._served.detectors.needed,
                moved=[each.measure for each in moved],
                **period.fields,
            )
        ]

    def evidence(self) -> dict[str, float]:
        """Share of the evidence for an alarm, by series; of features only the largest, as ``features``."""
        found: dict[str, float] = {}
        for board in (self._settled, self._served):
            shares = board.detectors.shares().tolist()
            own = [name for name in board.names if name in LABELLED or name in UNLABELLED]
            found |= dict(zip(own, shares, strict=False))
            if len(shares) > len(own):
                found["features"] = max(shares[len(own) :])
        return found

    @override
    def touched(self) -> set[str]:
        """Assets whose entry changed; the empty name holds the values of former blocks."""
        touched, self._touched = self._touched, set()
        return touched

    @override
    def entry(self, asset: str) -> Any:
        """Plain data of one asset, or of former blocks."""
        if not asset:
            history = {"served": self._served.history(), "settled": self._settled.history()}
            return history if any(history.values()) else None
        known = self._assets.get(asset)
        return None if known is None else known.state()

    @override
    def state(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "champion": self._champion,
            "answered": self._answered,
            "served": self._served.state(),
            "settled": self._settled.state(),
            "movement": self._movement.state(),
            "silence": self._silence.state(),
            "moved": [(cell, [tuple(each) for each in moved]) for cell, moved in sorted(self._moved.items())],
            "counts": sorted(self._counts.items()),
            "labels": sorted(self._labels.items()),
        }


def _shifts(assets: Sequence[_Asset], columns: slice) -> Floats:
    """Distances of recent means from references, (assets, columns); NaN without a whole reference."""
    recent = np.array([each.recent[columns] for each in assets])
    references = np.array([each.reference[:, columns] for each in assets])
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(references[:, 1] >= _REFERENCE, references[:, 0] / references[:, 1], np.nan)
    shifts: Floats = recent - means
    return shifts


def _mean_over_assets(values: Floats) -> Floats:
    """Mean over the rows that have a value, NaN where none has."""
    given = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Floats = np.where(given, values, 0.0).sum(axis=0) / given.sum(axis=0)
    return means


def _rank(name: str, alarm: Alarm) -> Any:  # noqa: ANN401 - one of three texts
    if name == "loss":
        return "page" if alarm.side == "up" else "note"
    return "warn" if name in LABELLED or name in UNLABELLED else "note"


def _divergence(right: float, served: float) -> float:
    """Mean log loss of a score beyond the least, where ``right`` is the probability: both clipped."""
    p, q = (min(max(each, CLIP), 1.0 - CLIP) for each in (right, served))
    return p * math.log(p / q) + (1.0 - p) * math.log((1.0 - p) / (1.0 - q))


def _place(item: Item) -> dict[str, Any]:
    """Fields of a row that say where it is in the order of effect."""
    return {
        "known": format_instant(item.known),
        "sequence": item.sequence,
        "arrival": time_or_none(item.arrival),
        "watermark": None,
    }
