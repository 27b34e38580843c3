"""Measure how often the intervals of the hours to failure hold the failure, and set their ends by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from typing_extensions import override

from dataflows.estimators.hazard import IntervalLevels, TimeLeft
from dataflows.instants import HOUR
from dataflows.target.monitors import Monitor

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from dataflows.items import Item
    from dataflows.target.examples import Example, LabelChange
    from dataflows.target.monitors import Context, Rows, Served

__all__ = ["Coverage"]


class _Pending(NamedTuple):
    """Hours and score that were served for an example whose failure was almost certain.

    Attributes:
        score: of the champion.
        hours: as in `TimeLeft`.
        shares: as in `TimeLeft`.
        low: level of the lower end.
        high: level of the upper end.
    """

    score: float
    hours: tuple[float, ...]
    shares: tuple[float, ...]
    low: float
    high: float


class Coverage(Monitor):
    """Compare the served intervals of the hours to failure of one target with the failures.

    An example counts when the models learn it, so positives and negatives are counted with the same delay.
    Censored examples do not count, nor do failures without a time (verdicts).
    """

    name: ClassVar[str] = "hours"

    def __init__(self, context: Context, model: str, state: Any) -> None:  # noqa: ANN401 - plain data of any shape
        kept: dict[str, Any] = state or {"reached": (), "closed": 0, "covered": 0, "before": 0}
        self._context = context
        self._model = model
        self._levels = IntervalLevels(kept["reached"])
        #: Intervals with both ends and a known outcome; failures inside them; failures before them.
        self._closed, self._covered, self._before = kept["closed"], kept["covered"], kept["before"]
        entries = context.entries.get(self.name, {})
        self._pending = {
            asset: {time: _Pending(*served) for time, served in of} for asset, of in entries.items()
        }
        self._touched: set[str] = set()

    @classmethod
    @override
    def open(cls, context: Context, state: Any) -> Coverage | None:
        model = context.target.hours
        return None if model is None else cls(context, model, state)

    def interval(self, left: TimeLeft, score: float) -> tuple[float | None, float | None, float | None]:
        """Return lower end, median and upper end of the hours to failure, see `IntervalLevels`."""
        return self._levels.interval(left, score)

    @override
    def served(self, item: Item, served: Served) -> Rows:
        score = served.score
        if served.example is None or score is None or score < self._levels.SURE:
            return ()
        low, high = self._levels.ends
        left = self._context.models.time_left(self._model, served.features)
        if left is not None:
            pending = _Pending(score, left.hours, left.shares, low, high)
            self._pending.setdefault(served.asset, {})[served.time] = pending
            self._touched.add(served.asset)
        return ()

    @override
    def watches(self, assets: Any, scores: Any) -> tuple[int, ...]:
        return ()

    @override
    def matured(self, item: Item, change: LabelChange) -> Rows:
        if change.matured.label not in {0, 1}:
            self._take(change.example.asset, change.example.time)
        return ()

    @override
    def learned(self, item: Item, example: Example) -> Rows:
        pending = self._take(example.asset, example.time)
        if pending is None or (example.label and example.lead is None):
            return ()
        score, hours, shares, low, high = pending
        lead = example.lead if example.label else None
        reached = TimeLeft(hours, shares).reached(None if lead is None else lead / HOUR, score)
        if score >= self._levels.SURE:
            self._levels.add(reached)
        if score >= high and example.time >= (self._context.figures_from or example.time):
            self._closed += 1
            self._covered += low < reached <= high
            self._before += reached <= low
        self.changed = True
        return ()

    @override
    def forgotten(self, item: Item, asset: str) -> Rows:
        if self._pending.pop(asset, None) is not None:
            self._touched.add(asset)
        return ()

    @override
    def summary(self) -> dict[str, Any]:
        """Count intervals with both ends and a known outcome; the goal is a coverage of 0.8."""
        if not self._closed:
            return {}
        counts = {"intervals": self._closed, "covered": self._covered, "before": self._before}
        return {"hours": {**counts, "coverage": self._covered / self._closed}}

    @override
    def state(self) -> Any:
        return {
            "reached": self._levels.reached,
            "closed": self._closed,
            "covered": self._covered,
            "before": self._before,
        }

    @override
    def entry(self, asset: str) -> Any:
        of = self._pending.get(asset)
        return [(time, tuple(served)) for time, served in of.items()] if of else None

    @override
    def touched(self) -> AbstractSet[str]:
        touched, self._touched = self._touched, set()
        return touched

    def _take(self, asset: str, time: int) -> _Pending | None:
        """Remove and return what was served at an example."""
        of = self._pending.get(asset, {})
        pending = of.pop(time, None)
        if pending is not None:
            self._touched.add(asset)
            if not of:
                del self._pending[asset]
        return pending
