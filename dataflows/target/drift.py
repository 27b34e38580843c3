"""Watch for drift of loss, share of positives, share of alerts, scores, missing values and features.

A block is a cell of event time, a horizon long, of the whole fleet; its value is a mean over the examples of
the target. Values of what is served (scores, features) are complete when an example of the cell after the
next is served; those of labels, when one is settled. `dataflows.target.detectors` looks at them.

An alarm that stands alone is one of its series. Where others have half of their evidence too, its row names
them: a loss that moves together with the share of missing values is hardly a change of the world.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import structlog
from typing_extensions import override

from dataflows.instants import HOUR, format_instant
from dataflows.items import row_of
from dataflows.outputs import DriftAlarm, DriftMetrics, time_or_none
from dataflows.target.detectors import Detectors
from dataflows.target.evidence import losses
from dataflows.target.monitors import Monitor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from dataflows.items import Item, Row
    from dataflows.outputs import DriftSeries, OutputRow
    from dataflows.state.layouts import Refit
    from dataflows.target.detectors import Alarm
    from dataflows.target.examples import Example
    from dataflows.target.monitors import Context, Period, Served

    Floats = NDArray[np.float64]

__all__ = ["SERIES", "Drift"]

#: Series of every target, before those of its features; the first two are known with the labels.
SERIES = ("loss", "positives", "alerts", "score", "missing")
#: Series that depend on which model is champion.
_OF_CHAMPION = (0, 2, 3)
#: How much an alarm of a series matters.
_RANK = {"loss": "page", "positives": "warn", "alerts": "warn", "score": "warn", "missing": "warn"}
_LABELS = 2
_YEAR = 365.25 * 24 * HOUR
#: Features in a row of the metrics: those that are furthest from their reference.
_SHOWN = 5
_log = structlog.get_logger()


class Drift(Monitor):
    """Watches one target for drift.

    Args:
        context: what it may read.
        state: what `state` returned, None for a new target.
        budget: false alarms a year.
    """

    name: ClassVar[str] = "drift"

    def __init__(self, context: Context, state: Mapping[str, Any] | None, budget: float) -> None:
        self._target = context.target
        self._series = (*SERIES, *context.features)
        kept: Mapping[str, Any] = state or {}
        alpha = budget * context.target.horizon / _YEAR
        self._detectors = Detectors(len(self._series), alpha, kept.get("detectors"))
        self._champion: str | None = kept.get("champion")
        #: By cell: sums, and number of values in each.
        self._served = _cells(kept.get("served", ()))
        self._settled = _cells(kept.get("settled", ()))
        #: Alarms of this process, by rank.
        self.alarms: Counter[str] = Counter({"page": 0, "warn": 0, "note": 0})
        #: Cells before these are complete.
        self._next: list[int | None] = [*kept.get("next", (None, None))]

    @override
    @classmethod
    def open(cls, context: Context, state: Any) -> Drift | None:
        """Return the watch of a target, None where its drift is not watched."""
        budget = context.target.drift_alarms
        return None if budget is None else cls(context, state, budget)

    @override
    @staticmethod
    def refitted(state: Any, refit: Refit) -> Any:
        """Begin with nothing: the features of the class are others."""
        return None

    @override
    def watches(self, assets: Sequence[str], scores: Sequence[float | None]) -> Iterable[int]:
        """Watch examples only."""
        return ()

    @override
    def served(self, item: Item, served: Served) -> list[Row]:
        """Add the score and features of an example to its cell."""
        if served.example is None:
            return []
        self.changed = True
        if served.champion != self._champion:
            self._champion = served.champion
            for series in _OF_CHAMPION:
                self._detectors.restart(series)
        cell = served.time // self._target.horizon
        rows = self._close(item, 0, self._served, cell)
        features = np.frombuffer(served.features)
        missing = np.isnan(features)
        values = np.full(len(self._series), np.nan)
        if served.score is not None:
            values[2:4] = served.score >= self._target.threshold, served.score
        values[4] = missing.mean() if len(missing) else np.nan
        values[len(SERIES) :] = features
        self._add(0, self._served, cell, values)
        return rows

    @override
    def settled(self, item: Item, example: Example) -> list[Row]:
        """Add the loss of the champion and the label of an example to its cell."""
        if example.label not in {0, 1}:
            return []
        self.changed = True
        cell = example.time // self._target.horizon
        rows = self._close(item, 1, self._settled, cell)
        values = np.full(_LABELS, np.nan)
        score = example.scores.get(example.champion)
        if score is not None and example.champion == self._champion:
            values[0] = losses(score, "brier")[example.label]
        values[1] = example.label
        self._add(1, self._settled, cell, values)
        return rows

    def _add(self, kind: int, cells: dict[int, Floats], cell: int, values: Floats) -> None:
        first = self._next[kind]
        if first is not None and cell < first:
            return  # its cell has ended
        sums = cells.setdefault(cell, np.zeros((2, len(values))))
        given = ~np.isnan(values)
        sums[0, given] += values[given]
        sums[1, given] += 1.0

    def _close(self, item: Item, kind: int, cells: dict[int, Floats], cell: int) -> list[Row]:
        """Give the detectors the cells that ended more than a cell ago, in their order."""
        rows: list[Row] = []
        first = self._next[kind]
        if first is not None and cell - 1 <= first:
            return rows
        self._next[kind] = cell - 1
        for ended in sorted(each for each in cells if each < cell - 1):
            sums = cells.pop(ended)
            values = np.full(len(self._series), np.nan)
            with np.errstate(invalid="ignore"):
                means = sums[0] / sums[1]
            if kind:
                values[:_LABELS] = means
            else:
                values[_LABELS:] = means[_LABELS:]
            evidence = [self._detectors.shown(series)["evidence"] for series in range(len(self._series))]
            rows += [
                self._alarm(item, alarm, ended, float(values[alarm.series]), evidence)
                for alarm in self._detectors.add(values)
            ]
        return rows

    def _alarm(
        self, item: Item, alarm: Alarm, cell: int, value: float, evidence: Sequence[float | None]
    ) -> Row:
        name, half = self._series[alarm.series], self._detectors.needed / 2
        beside = [
            self._series[series]
            for series, each in enumerate(evidence)
            if each is not None and each >= half and series != alarm.series
        ]
        row = DriftAlarm(
            target=self._target.name,
            series=name,
            rank=_RANK.get(name, "note"),  # type: ignore[arg-type]
            side=alarm.side,
            value=value,
            reference=alarm.reference,
            deviation=alarm.deviation,
            evidence=alarm.evidence,
            needed=self._detectors.needed,
            beside=beside[:_SHOWN],
            time=format_instant(cell * self._target.horizon),
            known=format_instant(item.known),
            sequence=item.sequence,
            arrival=time_or_none(item.arrival),
            watermark=None,
        )
        self.alarms[row.rank] += 1
        _log.warning("drift", target=self._target.name, series=name, side=alarm.side, beside=row.beside)
        return row_of(row)

    @override
    def period_rows(self, period: Period) -> Sequence[OutputRow]:
        """Return one row: the series of the target, and the features furthest from their reference."""
        shown = [self._shown(series) for series in range(len(self._series))]
        if all(each["value"] is None for each in shown):
            return []
        features = sorted(
            shown[len(SERIES) :], key=lambda each: (-abs(each["deviation"] or 0.0), each["series"])
        )
        return [
            DriftMetrics(
                target=period.target,
                series=[*shown[: len(SERIES)], *features[:_SHOWN]],
                needed=self._detectors.needed,
                **period.fields,
            )
        ]

    def evidence(self) -> dict[str, float]:
        """Share of the evidence for an alarm, by series; of features only the largest, as ``features``."""
        shares = self._detectors.shares()
        found = dict(zip(SERIES, shares.tolist(), strict=False))
        if len(shares) > len(SERIES):
            found["features"] = float(shares[len(SERIES) :].max())
        return found

    def _shown(self, series: int) -> DriftSeries:
        return {"series": self._series[series], **self._detectors.shown(series)}  # type: ignore[typeddict-item]

    @override
    def state(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "champion": self._champion,
            "detectors": self._detectors.state(),
            "served": [(cell, sums.tobytes()) for cell, sums in sorted(self._served.items())],
            "settled": [(cell, sums.tobytes()) for cell, sums in sorted(self._settled.items())],
            "next": list(self._next),
        }


def _cells(kept: Sequence[tuple[int, bytes]]) -> dict[int, Floats]:
    return {cell: np.frombuffer(sums).reshape(2, -1).copy() for cell, sums in kept}
