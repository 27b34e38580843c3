"""Error before labels: the loss and the confusion to expect by the champion's own scores.

If a score p is the probability of a positive, its log loss has the expectation -p ln p - (1-p) ln(1-p) and
the standard deviation sqrt(p (1-p)) |ln(p / (1-p))|. So the loss of examples without labels is known up to an
interval. If the realised loss leaves it, the scores are no longer probabilities.

Examples of one asset within a horizon share their labels, and form a *block*. Within a block standard
deviations add up; over blocks variances do. A failure makes positives in up to two neighbouring blocks, so
that variance is doubled.

An example that still has no label is less likely a positive than its score, since failures are reported with
a delay. An example of age a without a report is positive with probability

    p (1 - F(a)) / (1 - p F(a)),

where F is the share of positives whose label is known by that age, learned from the stream.

Sources: Chapelle, "Modeling delayed feedback in display advertising", KDD 2014; Bialek, Kuberski, Perrakis
and Bifet, "Estimating model performance under covariate shift without labels", arXiv 2401.08348.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from typing_extensions import override

from dataflows.outputs import Confusion, ExpectedLoss, ExpectedMetrics
from dataflows.scoring import CLIP, log_loss
from dataflows.target.losses import expected_loss
from dataflows.target.monitors import Monitor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dataflows.items import Item
    from dataflows.outputs import OutputRow
    from dataflows.target.examples import Example, LabelChange
    from dataflows.target.monitors import Context, Period, Rows, Served

__all__ = ["Expected", "Outlook", "positive_still"]

#: 95 % of the normal distribution.
_Z = 1.959964
#: Factor of the standard deviation, since neighbouring blocks share labels too.
_NEIGHBOURS = math.sqrt(2.0)
_BINS = 64
#: Fewest positives from which delays are estimated.
_FEWEST = 20


def positive_still(score: float, known: float) -> float:
    """Return the probability of a positive that has no label yet.

    Args:
        score: the probability when it was served.
        known: share of positives whose label is known at this age.

    >>> positive_still(0.5, 0.0), round(positive_still(0.5, 0.5), 4), positive_still(0.5, 1.0)
    (0.5, 0.3333, 0.0)
    """
    return score * (1.0 - known) / (1.0 - score * known)


class _Spread(NamedTuple):
    """A sum whose parts depend on each other within a block.

    Attributes:
        mean: expectation of the sum.
        deviation: its standard deviation.
    """

    mean: float
    deviation: float

    @classmethod
    def of(cls, parts: Iterable[tuple[object, float, float]]) -> _Spread:
        """Sum parts: block, expectation, standard deviation."""
        means, blocks = [], dict[object, float]()
        for block, mean, deviation in parts:
            means.append(mean)
            blocks[block] = blocks.get(block, 0.0) + deviation
        deviation = math.sqrt(math.fsum(each * each for each in blocks.values()))
        return cls(math.fsum(means), _NEIGHBOURS * deviation)


def _loss(score: float, positive: float) -> tuple[float, float]:
    """Expectation and standard deviation of the log loss of a score, for a probability of a positive."""
    clipped = min(max(score, CLIP), 1.0 - CLIP)
    of_positive, of_negative = -math.log(clipped), -math.log(1.0 - clipped)
    mean = positive * of_positive + (1.0 - positive) * of_negative
    return mean, math.sqrt(positive * (1.0 - positive)) * abs(of_positive - of_negative)


class Outlook:
    """Expected loss and confusion of examples without labels.

    Args:
        open_examples: asset, time, score and probability of a positive of each.
        horizon: of the target, in microseconds.
        threshold: least score of a warning.

    >>> outlook = Outlook([("a", 0, 0.9, 0.9), ("b", 0, 0.1, 0.1)], 3_600_000_000, 0.5)
    >>> round(outlook.loss()["expected"], 3)
    0.325
    >>> outlook.confusion()["hits"]["expected"]
    0.9
    """

    def __init__(
        self, open_examples: Iterable[tuple[str, int, float, float]], horizon: int, threshold: float
    ) -> None:
        self._examples = [
            ((asset, time // horizon), score, positive) for asset, time, score, positive in open_examples
        ]
        self._threshold = threshold

    def loss(self) -> ExpectedLoss:
        """Mean log loss with its interval."""
        parts = [(block, *_loss(score, positive)) for block, score, positive in self._examples]
        return _interval(_Spread.of(parts), len(parts), None)

    def confusion(self) -> dict[str, Confusion]:
        """Hits, false alarms and missed failures with their intervals."""
        found: dict[str, Confusion] = {}
        counted = {
            "hits": [(block, p) for block, score, p in self._examples if score >= self._threshold],
            "false_alarms": [
                (block, 1 - p) for block, score, p in self._examples if score >= self._threshold
            ],
            "missed": [(block, p) for block, score, p in self._examples if score < self._threshold],
        }
        for name, each in counted.items():
            spread = _Spread.of((block, p, math.sqrt(p * (1.0 - p))) for block, p in each)
            off = _Z * spread.deviation
            found[name] = {
                "expected": spread.mean,
                "low": max(0.0, spread.mean - off),
                "high": min(float(len(each)), spread.mean + off),
            }
        return found


def _interval(spread: _Spread, examples: int, realised: float | None) -> ExpectedLoss:
    if not examples:
        return {"examples": 0, "expected": None, "low": None, "high": None, "realised": None}
    mean, off = spread.mean / examples, _Z * spread.deviation / examples
    return {
        "examples": examples,
        "expected": mean,
        "low": max(0.0, mean - off),
        "high": mean + off,
        "realised": None if realised is None else realised / examples,
    }


class Expected(Monitor):
    """The error before labels of one target.

    Args:
        context: what it may read.
        state: what `state` returned, None for a new target.
    """

    name: ClassVar[str] = "expected"

    def __init__(self, context: Context, state: Mapping[str, Any] | None) -> None:
        self._context = context
        self._horizon = context.target.horizon
        self._longest = context.target.horizon + context.target.label_delay
        kept: Mapping[str, Any] = state or {}
        #: Positives by age at which their label was known, in 64ths of horizon and delay.
        self._ages = np.zeros(_BINS + 1, dtype=np.int64)
        self._ages[:] = kept.get("ages", 0)
        #: Examples, expected and realised loss of the period.
        self._sums: list[float] = [*kept.get("sums", (0, 0.0, 0.0))]
        #: Standard deviations of the period by block.
        self._blocks: dict[tuple[str, int], float] = {
            (asset, cell): deviation for asset, cell, deviation in kept.get("blocks", ())
        }
        self._clock: int | None = kept.get("clock")

    @classmethod
    @override
    def open(cls, context: Context, state: Any) -> Expected | None:
        """Return the monitor of a target, None where its drift is not watched."""
        return None if context.target.drift is None else cls(context, state)

    def _bin(self, age: int) -> int:
        return min(max(age, 0) * _BINS // self._longest, _BINS)

    def known_at(self, age: int) -> float:
        """Share of positives whose label is known at an age in microseconds, 0 while too few are known."""
        return self._shares()[self._bin(age)]

    def _shares(self) -> list[float]:
        """Share of positives whose label is known, by bin of ages."""
        total = int(self._ages.sum())
        if total < _FEWEST:
            return [0.0] * (_BINS + 1)
        return [count / total for count in [0, *np.cumsum(self._ages).tolist()][: _BINS + 1]]

    @override
    def served(self, item: Item, served: Served) -> Rows:
        """Advance the time at which the ages of examples are taken."""
        if served.example is not None and (self._clock is None or item.known > self._clock):
            self._clock = item.known
            self.changed = True
        return ()

    @override
    def watches(self, assets: Sequence[str], scores: Sequence[float | None]) -> Iterable[int]:
        """Watch examples only."""
        return ()

    @override
    def matured(self, item: Item, change: LabelChange) -> Rows:
        """Note the age at which the label of a positive was known."""
        if change.before is None and change.matured.label == 1:
            self._ages[self._bin(item.known - change.example.time)] += 1
            self.changed = True
        return ()

    @override
    def settled(self, item: Item, example: Example) -> Rows:
        """Add the expected and the realised loss of an example."""
        score = example.scores.get(example.champion)
        if example.label not in {0, 1} or score is None:
            return ()
        self.changed = True
        self._sums[0] += 1
        self._sums[1] += expected_loss(score)
        self._sums[2] += log_loss(score, example.label)
        block = (example.asset, example.time // self._horizon)
        self._blocks[block] = self._blocks.get(block, 0.0) + _loss(score, score)[1]
        return ()

    def outlook(self) -> Outlook:
        """What is expected of the open examples."""
        clock = self._clock or 0
        waiting = sorted(
            (each for each in self._context.examples if each.label is None),
            key=lambda each: (each.time, each.asset),
        )
        scored = [(each, each.scores.get(each.champion)) for each in waiting]
        shares = self._shares()
        return Outlook(
            (
                (each.asset, each.time, score, positive_still(score, shares[self._bin(clock - each.time)]))
                for each, score in scored
                if score is not None
            ),
            self._horizon,
            self._context.target.threshold,
        )

    @override
    def period_rows(self, period: Period) -> Sequence[OutputRow]:
        """Return one row."""
        outlook = self.outlook()
        examples, expected, realised = self._sums
        deviation = _NEIGHBOURS * math.sqrt(math.fsum(each * each for each in self._blocks.values()))
        opened = outlook.loss()
        if not opened["examples"] and not examples:
            return []
        return [
            ExpectedMetrics(
                target=period.target,
                open=opened,
                confusion=outlook.confusion(),
                settled=_interval(_Spread(expected, deviation), int(examples), realised),
                **period.fields,
            )
        ]

    @override
    def begin_period(self) -> None:
        """Begin the sums of the next period."""
        self._sums, self._blocks = [0, 0.0, 0.0], {}
        self.changed = True

    @override
    def state(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "ages": self._ages.tolist(),
            "sums": self._sums,
            "blocks": [(*place, deviation) for place, deviation in sorted(self._blocks.items())],
            "clock": self._clock,
        }
