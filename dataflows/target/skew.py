"""Lateness skew: the changes of features, score and log loss once all late data is in.

An example is served from the data that has arrived. Once the watermark has passed it, assets in a sample
compute its features again, from all data. The present champion scores both vectors, so that only the features
differ.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from dataflows.outputs import SkewMetrics
from dataflows.scoring import log_loss
from dataflows.target.moments import RunningMoments
from dataflows.target.monitors import Monitor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from dataflows.items import Compared, Item
    from dataflows.state.layouts import Refit
    from dataflows.target.examples import Example, LabelChange
    from dataflows.target.monitors import Context, Period, Rows, Served

__all__ = ["Skew"]


#: Readings in another order change a feature by at most this part of its size.
_ROUNDING = 1e-9


class _Tally:
    """Counts and sums over some time.

    Args:
        features: names of all features of the class.
        state: return value of `state`, None for a new tally.
    """

    def __init__(self, features: tuple[str, ...], state: Mapping[str, Any] | None = None) -> None:
        self._features = features
        width = len(features)
        self._compared = self._changed = self._scored = self._matured = 0
        self._given_up: Counter[str] = Counter()
        #: Changes of the score: sum, sum of absolute ones, the largest of these with its sign.
        self._scores = [0.0, 0.0, 0.0]
        self._loss = 0.0
        #: By feature: how often it changed; how often that is measured, the sum of it, and the largest.
        self._changes, self._measured, self._sums, self._worst = (np.zeros(width) for _ in range(4))
        if state is not None:
            self._compared, self._changed, self._scored, self._matured = state["counts"]
            self._given_up.update(state["given_up"])
            self._scores, self._loss = list(state["scores"]), state["loss"]
            arrays = (np.frombuffer(found).copy() for found in state["features"])
            self._changes, self._measured, self._sums, self._worst = arrays

    def __bool__(self) -> bool:
        """Whether anything was counted."""
        return bool(self._compared or self._given_up or self._matured)

    def compare(self, changed: NDArray[np.bool_], distances: NDArray[np.float64]) -> None:
        """Count one example: its changed features and their distances, NaN where unknown."""
        self._compared += 1
        self._changed += bool(changed.any())
        known = ~np.isnan(distances)
        self._changes += changed
        self._measured += known
        self._sums[known] += distances[known]
        self._worst[known] = np.maximum(self._worst[known], distances[known])

    def score(self, change: float) -> None:
        """Count the change of the score."""
        self._scored += 1
        self._scores[0] += change
        self._scores[1] += abs(change)
        if abs(change) > abs(self._scores[2]):
            self._scores[2] = change

    def mature(self, change: float) -> None:
        """Count the change of the log loss."""
        self._matured += 1
        self._loss += change

    def give_up(self, why: str) -> None:
        """Count an example that could not be compared."""
        self._given_up[why] += 1

    def row(self) -> dict[str, Any]:
        """Return the figures; one is None where there are too few examples for it."""
        scored, matured = self._scored, self._matured
        return {
            "compared": self._compared,
            "changed": self._changed,
            "given_up": dict(sorted(self._given_up.items())),
            "score": {
                "examples": scored,
                "mean": self._scores[0] / scored if scored else None,
                "mean_absolute": self._scores[1] / scored if scored else None,
                "worst": self._scores[2] if scored else None,
            },
            "log_loss_change": {"examples": matured, "mean": self._loss / matured if matured else None},
            "features": {
                self._features[index]: self._of(int(index)) for index in np.flatnonzero(self._changes)
            },
        }

    def _of(self, index: int) -> dict[str, Any]:
        measured = self._measured[index]
        return {
            "changed": int(self._changes[index]),
            "share": float(self._changes[index] / self._compared),
            "mean": float(self._sums[index] / measured) if measured else None,
            "worst": float(self._worst[index]) if measured else None,
        }

    def state(self) -> dict[str, Any]:
        """Return plain data."""
        arrays = (self._changes, self._measured, self._sums, self._worst)
        return {
            "counts": (self._compared, self._changed, self._scored, self._matured),
            "given_up": dict(self._given_up),
            "scores": self._scores,
            "loss": self._loss,
            "features": [found.tobytes() for found in arrays],
        }


class Skew(Monitor):
    """The lateness skew of one target, of the running period and since ``figures_from``.

    Args:
        features: names of all features of the class.
        figures_from: examples before it count in no summary; None: all count.
        state: return value of `state`, None for a new target.
    """

    name = "skew"

    def __init__(
        self, features: tuple[str, ...], figures_from: int | None, state: Mapping[str, Any] | None = None
    ) -> None:
        self._features = features
        self._from = figures_from
        kept: Mapping[str, Any] = state or {}
        self._spread = RunningMoments(len(features), kept.get("spread"))
        self._period = _Tally(features, kept.get("period"))
        self._total = _Tally(features, kept.get("total"))

    @classmethod
    @override
    def open(cls, context: Context, state: Mapping[str, Any] | None) -> Skew | None:
        """As `Monitor.open`; None where no asset of the class computes its features again."""
        return cls(context.features, context.figures_from, state) if context.compares else None

    @staticmethod
    @override
    def refitted(state: Mapping[str, Any], refit: Refit) -> dict[str, Any]:
        """Return a state under another layout of the class."""
        tallies = {
            scope: {**state[scope], "features": [refit(found, 0.0) for found in state[scope]["features"]]}
            for scope in ("period", "total")
        }
        return {"spread": [refit(found, 0.0) for found in state["spread"]], **tallies}

    @override
    def watches(self, assets: Sequence[str], scores: Sequence[float | None]) -> Iterable[int]:
        """Watch examples only."""
        return ()

    @override
    def served(self, item: Item, served: Served) -> Rows:
        """Add the features of an example: differences are given in units of their spread."""
        if served.example is not None:
            self._spread.add(np.frombuffer(served.features))
            self.changed = True
        return ()

    @override
    def compared(self, item: Item, example: Example | None, compared: Compared) -> Rows:
        """Count one example, or why it cannot be compared.

        A feature is unchanged where it is missing in both vectors, or differs only by the rounding that the
        order of readings causes. Its distance is unknown where it is missing in one of them, or where all
        values served so far are equal.

        Args:
            item: with which it came.
            example: as served, with both scores; None where it is not remembered.
            compared: its features from complete data.
        """
        complete = compared.features
        if example is None or complete is None:
            if example is not None or complete is not None:
                self._give_up(compared.time, "not remembered" if example is None else compared.why or "")
            return ()
        self.changed = True
        changed, distances = self._changes(np.frombuffer(example.features), np.frombuffer(complete))
        before, after = example.compared or (None, None)
        for tally in self._tallies(example.time):
            tally.compare(changed, distances)
            if before is not None and after is not None:
                tally.score(after - before)
        self._count_loss(example)
        return ()

    def _changes(
        self, served: NDArray[np.float64], complete: NDArray[np.float64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        spread = self._spread.deviations()
        missing = np.isnan(served), np.isnan(complete)
        # NaN where either is missing, and a NaN exceeds nothing.
        by = np.abs(complete - served)
        size = np.maximum(np.maximum(np.abs(served), np.abs(complete)), spread)
        changed = (by > _ROUNDING * size) | (missing[0] != missing[1])
        known = changed & (spread > 0) & ~missing[0] & ~missing[1]
        distances = np.full(len(served), np.nan)
        distances[known] = by[known] / spread[known]
        return changed, distances

    @override
    def matured(self, item: Item, change: LabelChange) -> Rows:
        """Count the change in log loss of an example that was compared before."""
        if not change.matured.correction:
            self._count_loss(change.example)
        return ()

    def _count_loss(self, example: Example) -> None:
        """Count the change in log loss of an example that has its first label and its comparison by now."""
        before, after = example.compared or (None, None)
        label = example.first
        if label is not None and label >= 0 and before is not None and after is not None:
            for tally in self._tallies(example.time):
                tally.mature(log_loss(after, label) - log_loss(before, label))
            self.changed = True

    def _give_up(self, time: int, why: str) -> None:
        """Count an example that cannot be compared, by reason."""
        self.changed = True
        for tally in self._tallies(time):
            tally.give_up(why)

    def _tallies(self, time: int) -> tuple[_Tally, ...]:
        if self._from is not None and time < self._from:
            return (self._period,)
        return self._period, self._total

    @override
    def period_rows(self, period: Period) -> list[SkewMetrics]:
        """Return one row; none for a period in which nothing was counted."""
        if not self._period:
            return []
        return [SkewMetrics(target=period.target, **self._period.row(), **period.fields)]

    @override
    def begin_period(self) -> None:
        """Begin with nothing."""
        self._period = _Tally(self._features)
        self.changed = True

    @override
    def summary(self) -> dict[str, Any]:
        """Return the figures since ``figures_from``."""
        return {"skew": self._total.row()}

    @override
    def state(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "spread": self._spread.state(),
            "period": self._period.state(),
            "total": self._total.state(),
        }
