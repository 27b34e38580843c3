"""Figures of a target's models on matured examples, in bounded memory.

Sums are exact. What needs the order of the scores (ROC AUC, PR AUC) is computed from counts by score, which
are exact up to a limit of distinct scores (see `dataflows.target.ranking`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from typing_extensions import override

from dataflows.instants import HOUR
from dataflows.outputs import ModelMetrics
from dataflows.scoring import brier_score, log_loss
from dataflows.target.alerts import REPORTS
from dataflows.target.monitors import Monitor
from dataflows.target.ranking import Ranking

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dataflows.items import Item
    from dataflows.target.examples import Example, LabelChange
    from dataflows.target.models import ModelSet
    from dataflows.target.monitors import Context, Period, Rows, Served

__all__ = ["Leads", "Tally", "TargetFigures", "with_ranking"]

_LEAD_BINS = 64

#: 1, 0, -1 or None (undecided), and microseconds to the failure.
_Label = tuple[int | None, int | None]
#: Log loss and squared error.
_Measured = tuple[float, float]


def _measured(score: float, label: int) -> _Measured:
    return log_loss(score, label), brier_score(score, label)


class _Take(NamedTuple):
    """One example to be counted, or with ``sign`` -1 taken back, in the tally of a scope and model."""

    scope: str
    model: str
    score: float
    label: int
    lead: int | None
    measured: _Measured
    sign: int = 1


class Tally:
    """Figures of one model.

    Args:
        threshold: from which score on a prediction counts as a warning.
        horizon: microseconds, the largest lead.
        state: what `state` returned, None for a new tally.
    """

    __slots__ = (
        "_censored",
        "_horizon",
        "_leads",
        "_ranking",
        "_sums",
        "_threshold",
        "_warned",
    )

    def __init__(self, threshold: float, horizon: int, state: Mapping[str, Any] | None = None) -> None:
        self._threshold = threshold
        self._horizon = horizon
        self._ranking = Ranking(None if state is None else state["ranking"])
        self._leads = np.zeros(_LEAD_BINS, dtype=np.int64)
        #: Examples at or above the threshold that maintenance censored: perhaps the best warnings of all.
        self._censored = 0
        #: Log loss, Brier, scores.
        self._sums = [0.0, 0.0, 0.0]
        #: Negatives and positives at or above the threshold.
        self._warned = [0, 0]
        if state is not None:
            self._sums = list(state["sums"])
            self._censored = state["censored"]
            self._leads[:] = state["leads"]
            self._warned = list(state["warned"])

    def add(self, score: float, label: int, lead: int | None, sign: int = 1) -> None:
        """Count one example, or with ``sign`` -1 take it back."""
        self.take(score, label, lead, _measured(score, label), sign)

    def take(self, score: float, label: int, lead: int | None, measured: _Measured, sign: int = 1) -> None:
        """`add`, where the score was measured already."""
        loss, squared = measured
        warned = score >= self._threshold
        bin_of_lead = min(lead * _LEAD_BINS // self._horizon, _LEAD_BINS - 1) if lead is not None else None
        # First what may raise, so that it raises before anything is counted.
        self._ranking.add(score, label, sign)
        self._sums[0] += sign * loss
        self._sums[1] += sign * squared
        self._sums[2] += sign * score
        if warned:
            self._warned[label] += sign
            if bin_of_lead is not None:
                self._leads[bin_of_lead] += sign

    def sums(self) -> list[float]:
        """Log loss, Brier and scores, summed."""
        return list(self._sums)

    def take_back(self, take: _Take, sums: list[float]) -> None:
        """Undo a `take`, before which the sums were these."""
        self.take(take.score, take.label, take.lead, take.measured, -take.sign)
        self._sums = sums

    def add_censored(self, *, warned: bool) -> None:
        """Count an example that maintenance censored, and whether its score was a warning."""
        self._censored += warned

    def row(self) -> dict[str, Any]:
        """The figures; None where there are too few examples for one."""
        negatives, positives = (int(count) for count in self._ranking.table()[0].sum(axis=1))
        count = negatives + positives
        if not count:
            return {"examples": 0, "positives": 0}
        auc, average_precision = self._ranking.areas()
        false, true = self._warned
        return {
            "examples": count,
            "positives": positives,
            "log_loss": self._sums[0] / count,
            "brier": self._sums[1] / count,
            "roc_auc": auc,
            "pr_auc": average_precision,
            "precision": true / (true + false) if true + false else None,
            "recall": true / positives if positives else None,
            **self._bounds(positives),
            "calibration_error": calibration_error(self.reliability()),
            "mean_score": self._sums[2] / count,
            "base_rate": positives / count,
            "median_lead": self._median_lead(),
        }

    def _bounds(self, positives: int) -> dict[str, float | None]:
        """Precision and recall if all warned examples that maintenance censored were false, or all true.

        An alert that makes people repair the machine hides the failure that it prevented.
        """
        false, true = self._warned
        censored = self._censored
        warned = true + false + censored
        return {
            "precision_low": true / warned if warned else None,
            "precision_high": (true + censored) / warned if warned else None,
            "recall_low": true / positives if positives else None,
            "recall_high": (true + censored) / (positives + censored) if positives + censored else None,
            "censored_warned": censored,
        }

    def reliability(self, bins: int = 10) -> list[dict[str, float]]:
        """Mean score beside the share of positives, in bins of equal mass by score (to a step)."""
        by_label, scores = self._ranking.table()
        counts = by_label.sum(axis=0)
        total = int(counts.sum())
        if not total:
            return []
        # A step belongs to the bin in which its middle example lies.
        middle = np.cumsum(counts) - counts / 2
        of_step = np.minimum((middle * bins / total).astype(np.int64), bins - 1)
        rows = []
        for number in range(bins):
            mine = (of_step == number) & (counts > 0)
            count = int(counts[mine].sum())
            if count:
                positives = int(by_label[1, mine].sum())
                rows.append(
                    {
                        "examples": count,
                        "mean_score": float(scores[mine].sum()) / count,
                        "share_positive": positives / count,
                    }
                )
        return rows

    def _median_lead(self) -> float | None:
        """Hours, to a 64th of the horizon: half of the warned positives had a longer lead."""
        total = int(self._leads.sum())
        if not total:
            return None
        index = int(np.searchsorted(np.cumsum(self._leads), (total + 1) // 2))
        return (index + 0.5) / _LEAD_BINS * self._horizon / HOUR

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "sums": self._sums,
            "ranking": self._ranking.state(),
            "censored": self._censored,
            "leads": self._leads.tolist(),
            "warned": self._warned,
        }


def calibration_error(reliability: list[dict[str, float]]) -> float | None:
    """Expected calibration error: the mean gap of a reliability table, by its examples.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", 2015.
    """
    total = sum(row["examples"] for row in reliability)
    if not total:
        return None
    return (
        sum(row["examples"] * abs(row["mean_score"] - row["share_positive"]) for row in reliability) / total
    )


def with_ranking(tallies: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Tallies by scope and model as an older release kept them, with a histogram of 1,024 steps."""
    return {
        scope: {
            model: {
                **{key: value for key, value in kept.items() if key not in {"histogram", "scores"}},
                "ranking": Ranking.of_histogram(kept["histogram"], kept["scores"]).state(),
            }
            for model, kept in models.items()
        }
        for scope, models in tallies.items()
    }


class Leads(Monitor):
    """How long before a failure its warning stood, over the failures that a standing warning preceded.

    A warning stands from the opening of the alert, or in a target without alerts from the first score at or
    above the threshold since when none was below it.

    Args:
        figures_from: warnings that stood before it are not counted; None: all are.
        state: what `state` returned, None for a new target.
        threshold: from which score on a warning stands, in a target without alerts; None in one with alerts:
            then no score is noted, nor any from before it had them.
        horizon: a report from longer than this before a warning is not about it.
    """

    name = "leads"
    #: Leads are counted by their leading bits: to 1 %, and in a bounded number of steps.
    _BITS = 7

    def __init__(
        self,
        figures_from: int | None,
        state: Mapping[str, Any] | None = None,
        *,
        threshold: float | None = None,
        horizon: int = 0,
    ) -> None:
        self._from = figures_from
        self._threshold = threshold
        self._horizon = horizon
        self._counts: Counter[int] = Counter({} if state is None else state["counts"])
        #: Time since when the score has stayed at or above the threshold, by asset.
        self._since: dict[str, int] = {}
        if state is not None and threshold is not None:
            self._since.update(state["since"])

    @classmethod
    @override
    def open(cls, context: Context, state: Mapping[str, Any] | None) -> Leads:
        """As `Monitor.open`."""
        target = context.target
        threshold = target.threshold if target.alert is None else None
        return cls(context.figures_from, state, threshold=threshold, horizon=target.horizon)

    @override
    def served(self, item: Item, served: Served) -> Rows:
        """Note a score of the model at or above the threshold, or not any more."""
        score, threshold = served.score, self._threshold
        if score is None or threshold is None or served.link != "class":
            return ()
        if score < threshold:
            self._end(served.asset)
        elif served.asset not in self._since:
            self._since[served.asset] = served.time
            self.changed = True
        return ()

    @override
    def cleared(self, item: Item, asset: str, why: str, time: int, opened: int | None) -> Rows:
        """End the warning of an asset; a failure after it counts. A report from long before it does not."""
        if self._threshold is not None:
            opened = self._since.get(asset)
            if opened is None or (why in REPORTS and time <= opened - self._horizon):
                return ()
            self._end(asset)
        if opened is not None and why == "failure":
            self.count(opened, time)
        return ()

    @override
    def forgotten(self, item: Item, asset: str) -> Rows:
        """End the warning of an asset whose state was dropped."""
        self._end(asset)
        return ()

    def _end(self, asset: str) -> None:
        if self._since.pop(asset, None) is not None:
            self.changed = True

    def count(self, since: int, failure: int) -> None:
        """Count a failure whose warning stood since a time; one that was not before it warned of nothing."""
        lead = failure - since
        if lead > 0 and (self._from is None or since >= self._from):
            self._counts[lead >> self._shift(lead) << self._shift(lead)] += 1
            self.changed = True

    @override
    def summary(self, waiting: Sequence[Example]) -> dict[str, Any]:
        """Return `row`."""
        return {"lead": self.row()}

    def row(self) -> dict[str, Any]:
        """Failures that a standing warning preceded, and the median of their leads in hours."""
        total, passed = self._counts.total(), 0
        for step in sorted(self._counts):
            passed += self._counts[step]
            if 2 * passed >= total:
                middle = step + ((1 << self._shift(step)) - 1) / 2
                return {"warned": total, "median": middle / HOUR}
        return {"warned": 0, "median": None}

    @override
    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {"counts": dict(sorted(self._counts.items())), "since": dict(self._since)}

    @classmethod
    def _shift(cls, lead: int) -> int:
        return max(lead.bit_length() - cls._BITS, 0)


@dataclass
class _Counts:
    """What is counted once a target, not once a model."""

    censored: Counter[str] = field(default_factory=Counter)
    contradicted: int = 0
    #: Examples with a label before `figures_from`, and from it on.
    before: int = 0
    labelled: int = 0
    after_silence: int = 0


class TargetFigures(Monitor):
    """Tallies of every model: of the running period, and since ``figures_from`` under first and final labels.

    Args:
        threshold: see `Tally`.
        horizon: see `Tally`.
        figures_from: examples before it count in no summary; None: all count.
        state: what `state` returned, None for a new target.
        models: of the target: each has a row in every period, with its errors; None: those with a score do.
    """

    name = "tallies"
    SCOPES = ("period", "first", "final")

    def __init__(
        self,
        threshold: float,
        horizon: int,
        figures_from: int | None,
        state: Mapping[str, Any] | None = None,
        models: ModelSet | None = None,
    ) -> None:
        self._threshold = threshold
        self._horizon = horizon
        self._from = figures_from
        self._models = models
        self._tallies: dict[str, dict[str, Tally]] = {scope: {} for scope in self.SCOPES}
        self._counts = {scope: _Counts() for scope in ("period", "first")}
        if state is not None:
            for scope, tallies in state["tallies"].items():
                for model, kept in tallies.items():
                    self._tallies[scope][model] = Tally(threshold, horizon, kept)
            for scope, (censored, *numbers) in state["counts"].items():
                self._counts[scope] = _Counts(Counter(censored), *numbers)

    @classmethod
    @override
    def open(cls, context: Context, state: Mapping[str, Any] | None) -> TargetFigures:
        """As `Monitor.open`."""
        target = context.target
        return cls(target.threshold, target.horizon, context.figures_from, state, context.models)

    @override
    def matured(self, item: Item, change: LabelChange) -> Rows:
        """Count a censored example, and a label that changed; other labels wait until they are settled."""
        self.changed = True
        example, matured = change.example, change.matured
        if change.is_first:
            if matured.label == -1:
                self.censored(example.time, matured.why, example.scores)
            return ()
        # What was censored first waits for no clock; all else stands in the figures once it was settled.
        counted = example.counted or change.first == -1
        old = (change.label, change.lead) if counted else None
        relabelled = change.label is not None and change.label != matured.label
        new = (matured.label, matured.lead)
        self.contradicted(example.time, example.scores, old, new, relabelled=relabelled)
        if matured.after_silence and change.label == -1:
            self.positive_after_silence(example.time)
        return ()

    @override
    def settled(self, item: Item, example: Example) -> Rows:
        """Count an example under its first label, and under the label that stands now."""
        self.changed = True
        if example.first is not None and example.label is not None:
            self.count(example.time, example.scores, example.first, example.lead, example.label)
        return ()

    def count(
        self, time: int, scores: Mapping[str, float | None], label: int, lead: int | None, final: int
    ) -> None:
        """Count an example under its first label, and under the label that stands now and has this lead."""
        before = self._before(time)
        scopes = ("period",) if before else ("period", "first")
        first_lead = lead if label == final else None
        takes = []
        for model, score in scores.items():
            if score is None:
                continue
            measured = _measured(score, label)
            takes += [_Take(scope, model, score, label, first_lead, measured) for scope in scopes]
            if not before and final >= 0:
                measured = measured if label == final else _measured(score, final)
                takes.append(_Take("final", model, score, final, lead, measured))
        self._take(takes)
        self._counts["first"].before += before
        self._counts["first"].labelled += not before

    def _take(self, takes: list[_Take]) -> None:
        """Count in all tallies, or where one raises in none of them."""
        taken: list[tuple[_Take, list[float] | None]] = []
        try:
            for take in takes:
                held = self._tallies[take.scope].get(take.model)
                taken.append((take, None if held is None else held.sums()))
                self._tally(take.scope, take.model).take(*take[2:])
        except Exception:
            # The last one raised, and takes itself back.
            for number, (take, sums) in enumerate(reversed(taken)):
                if sums is None:
                    self._tallies[take.scope].pop(take.model, None)
                elif number:
                    self._tally(take.scope, take.model).take_back(take, sums)
            raise

    def censored(self, time: int, why: str, scores: Mapping[str, float | None]) -> None:
        """Count an example that is not learned, by reason; maintenance may have prevented its failure."""
        scopes = ["period"] if self._before(time) else ["period", "first"]
        given = {model: score for model, score in scores.items() if score is not None}
        warned = {model: score >= self._threshold for model, score in given.items()}
        for scope in scopes:
            self._counts[scope].censored[why] += 1
            if why == "maintenance":
                for model, is_warned in warned.items():
                    self._tally(scope, model).add_censored(warned=is_warned)

    def contradicted(
        self,
        time: int,
        scores: Mapping[str, float | None],
        old: _Label | None,
        new: _Label,
        *,
        relabelled: bool = True,
    ) -> None:
        """Count a corrected label, with leads.

        Args:
            time: of the example.
            scores: by model.
            old: None where the example was not counted yet.
            new: what stands now.
            relabelled: another label contradicts the old one; another lead alone does not.
        """
        before = self._before(time)
        if not before and old is not None:
            takes = [
                _Take("final", model, score, label, lead, _measured(score, label), sign)
                for (label, lead), sign in ((old, -1), (new, 1))
                if label is not None and label >= 0
                for model, score in scores.items()
                if score is not None
            ]
            self._take(takes)
        self._counts["period"].contradicted += relabelled
        if not before:
            self._counts["first"].contradicted += relabelled

    def positive_after_silence(self, time: int) -> None:
        """Count a failure of an asset whose example silence had censored; its negatives never come back."""
        self._counts["period"].after_silence += 1
        if not self._before(time):
            self._counts["first"].after_silence += 1

    def _before(self, time: int) -> bool:
        return self._from is not None and time < self._from

    def _tally(self, scope: str, model: str) -> Tally:
        tallies = self._tallies[scope]
        tally = tallies.get(model)
        if tally is None:
            tally = tallies[model] = Tally(self._threshold, self._horizon)
        return tally

    @property
    def _counted(self) -> bool:
        """Whether the running period counted anything."""
        counts = self._counts["period"]
        return bool(self._tallies["period"] or counts.censored or counts.contradicted)

    @override
    def period_rows(self, period: Period) -> list[ModelMetrics]:
        """Return a row for each model; none for a period in which nothing was counted."""
        models = self._models
        errors, aside = ({}, {}) if models is None else (models.recent_errors(), models.set_aside())
        return [
            ModelMetrics(
                target=period.target,
                model=model,
                champion=model == period.champion,
                errors=errors.get(model, 0),
                set_aside=model in aside,
                pending=period.pending,
                **figures,
                **period.fields,
            )
            for model, figures in self.running(() if models is None else models.names()).items()
        ]

    def running(self, models: Iterable[str] = ()) -> dict[str, dict[str, Any]]:
        """Return the figures of the running period by model; empty where nothing was counted.

        Args:
            models: those without a score in the period have a row too.
        """
        if not self._counted:
            return {}
        counts, tallies = self._counts["period"], self._tallies["period"]
        return {
            model: {
                **tallies.get(model, Tally(self._threshold, self._horizon)).row(),
                "censored": dict(sorted(counts.censored.items())),
                "contradicted": counts.contradicted,
                "positive_after_silence": counts.after_silence,
            }
            for model in sorted({*models, *tallies})
        }

    @override
    def begin_period(self) -> None:
        """Begin with nothing; errors that no row tells count in the next period."""
        if self._counted and self._models is not None:
            self._models.forget_recent_errors()
        self._tallies["period"] = {}
        self._counts["period"] = _Counts()
        self.changed = True

    @override
    def summary(self, waiting: Sequence[Example] = ()) -> dict[str, Any]:
        """Return figures since ``figures_from``, under first and under final labels.

        What is counted stays as it is, so that a run that goes on equals one that never ended.

        Args:
            waiting: examples that have a label and wait for the target clock: they count too.
        """
        if waiting:
            end = TargetFigures(self._threshold, self._horizon, self._from, self.state())
            for example in waiting:
                if example.first is not None and example.label is not None:
                    end.count(example.time, example.scores, example.first, example.lead, example.label)
            return end.summary()
        counts = self._counts["first"]
        return {
            "censored": dict(sorted(counts.censored.items())),
            "contradicted": counts.contradicted,
            "positive_after_silence": counts.after_silence,
            "left_out": self._left_out(),
            **{
                f"{scope}_labels": {
                    model: {**tally.row(), "reliability": tally.reliability()}
                    for model, tally in sorted(self._tallies[scope].items())
                }
                for scope in ("first", "final")
            },
        }

    def _left_out(self) -> dict[str, Any]:
        """Examples with a label that no figure of the summary counts: too early, or without a score."""
        counts = self._counts["first"]
        unscored = {
            model: counts.labelled - tally.row()["examples"]
            for model, tally in sorted(self._tallies["first"].items())
        }
        return {
            "before_figures_from": counts.before,
            "unscored": {model: number for model, number in unscored.items() if number > 0},
        }

    @override
    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "tallies": {
                scope: {model: tally.state() for model, tally in tallies.items()}
                for scope, tallies in self._tallies.items()
            },
            "counts": {
                scope: (
                    dict(counts.censored),
                    counts.contradicted,
                    counts.before,
                    counts.labelled,
                    counts.after_silence,
                )
                for scope, counts in self._counts.items()
            },
        }
