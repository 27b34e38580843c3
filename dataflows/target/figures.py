"""Figures of a target's models on matured examples, in bounded memory.

Sums are exact. Figures of the order of scores (ROC AUC, PR AUC) are computed from counts by score, which are
exact up to a limit of distinct scores (see `dataflows.target.ranking`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from typing_extensions import override

from dataflows.instants import HOUR
from dataflows.outputs import ModelMetrics
from dataflows.scoring import brier_score, log_loss
from dataflows.state.snapshots import Kind
from dataflows.target.alerts import REPORTS
from dataflows.target.examples import Standing
from dataflows.target.monitors import Monitor
from dataflows.target.ranking import Ranking

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from dataflows.items import Item
    from dataflows.target.examples import Example, LabelChange
    from dataflows.target.models import ModelSet
    from dataflows.target.monitors import Context, Period, Rows, Served

__all__ = ["FIGURES", "Leads", "Tally", "TargetFigures"]

_LEAD_BINS = 64

#: Label of examples that maintenance censored; a warning may have caused that maintenance.
_MAINTAINED = -1
#: Log loss and squared error.
_Measured = tuple[float, float]
#: Sums of log losses, squared errors and scores.
_Sums = tuple[float, float, float]


def _measured(score: float, label: int) -> _Measured:
    return log_loss(score, label), brier_score(score, label)


class _Entry(NamedTuple):
    """One example to count, or with ``sign`` -1 to remove, in the tally of a scope and model."""

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
        threshold: a prediction with at least this score counts as a warning.
        horizon: microseconds, the largest lead.
        state: return value of `state`, None for a new tally.
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
        #: Examples at or above the threshold that maintenance censored: their warning may have caused it.
        self._censored = 0
        #: Log loss, Brier, scores.
        self._sums: _Sums = (0.0, 0.0, 0.0)
        #: Negatives and positives at or above the threshold.
        self._warned = [0, 0]
        if state is not None:
            losses, squares, scores = state["sums"]
            self._sums = (losses, squares, scores)
            self._censored = state["censored"]
            self._leads[:] = state["leads"]
            self._warned = list(state["warned"])

    def add(self, score: float, label: int, lead: int | None, sign: int = 1) -> None:
        """Count one example, or with ``sign`` -1 remove it."""
        self.enter(score, label, lead, _measured(score, label), sign)

    def enter(self, score: float, label: int, lead: int | None, measured: _Measured, sign: int = 1) -> None:
        """`add`, where the score was measured already; label -1: maintenance censored the example."""
        loss, squared = measured
        warned = score >= self._threshold
        if label == _MAINTAINED:
            self._censored += sign * warned
            return
        bin_of_lead = min(lead * _LEAD_BINS // self._horizon, _LEAD_BINS - 1) if lead is not None else None
        # This may raise, so it comes before anything is counted.
        self._ranking.add(score, label, sign)
        losses, squares, scores = self._sums
        self._sums = (losses + sign * loss, squares + sign * squared, scores + sign * score)
        if warned:
            self._warned[label] += sign
            if bin_of_lead is not None:
                self._leads[bin_of_lead] += sign

    def sums(self) -> _Sums:
        """Return the sums of log loss, Brier score and scores."""
        return self._sums

    def undo(self, entry: _Entry, sums: _Sums) -> None:
        """Undo `enter`, before which the sums were these."""
        self.enter(entry.score, entry.label, entry.lead, entry.measured, -entry.sign)
        self._sums = sums

    def row(self) -> dict[str, Any]:
        """Return the figures; one is None where there are too few examples for it."""
        counts, scores = self._ranking.table()
        negatives, positives = (int(count) for count in counts.sum(axis=1))
        count = negatives + positives
        if not count:
            return {"examples": 0, "positives": 0}
        auc, average_precision = self._ranking.areas(counts)
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
            "calibration_error": calibration_error(_reliability(counts, scores)),
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
        """Return mean score and share of positives, in bins of equal mass by score (to a step)."""
        return _reliability(*self._ranking.table(), bins)

    def _median_lead(self) -> float | None:
        """Median lead of the warned positives in hours, to a 64th of the horizon."""
        total = int(self._leads.sum())
        if not total:
            return None
        index = int(np.searchsorted(np.cumsum(self._leads), (total + 1) // 2))
        return (index + 0.5) / _LEAD_BINS * self._horizon / HOUR

    def state(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "sums": self._sums,
            "ranking": self._ranking.state(),
            "censored": self._censored,
            "leads": self._leads.tolist(),
            "warned": self._warned,
        }


def _reliability(
    by_label: NDArray[np.int64], scores: NDArray[np.float64], bins: int = 10
) -> list[dict[str, float]]:
    """As `Tally.reliability`, of what `Ranking.table` returned."""
    counts = by_label.sum(axis=0)
    total = int(counts.sum())
    if not total:
        return []
    # A step belongs to the bin in which its middle example lies.
    middle = np.cumsum(counts) - counts / 2
    of_step = np.minimum((middle * bins / total).astype(np.int64), bins - 1)
    ends = np.searchsorted(of_step, np.arange(bins), "right").tolist()
    rows = []
    for start, end in pairwise([0, *ends]):
        count = int(counts[start:end].sum())
        if count:
            positives = int(by_label[1, start:end].sum())
            rows.append(
                {
                    "examples": count,
                    "mean_score": float(scores[start:end].sum()) / count,
                    "share_positive": positives / count,
                }
            )
    return rows


def calibration_error(reliability: list[dict[str, float]]) -> float | None:
    """Expected calibration error: the mean gap of a reliability table, weighted by examples.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", 2015.
    """
    total = sum(row["examples"] for row in reliability)
    if not total:
        return None
    return (
        sum(row["examples"] * abs(row["mean_score"] - row["share_positive"]) for row in reliability) / total
    )


def _with_rankings(states: dict[str, Any]) -> dict[str, Any]:
    """Version 3 had a histogram of 1,024 steps in each tally, and no lead times."""
    tallies = {
        scope: {
            model: {
                **{key: value for key, value in tally.items() if key not in {"histogram", "scores"}},
                "ranking": Ranking.of_histogram(tally["histogram"], tally["scores"]).state(),
            }
            for model, tally in models.items()
        }
        for scope, models in states["tallies"]["tallies"].items()
    }
    return {**states, "tallies": {**states["tallies"], "tallies": tallies}, "leads": None}


def _with_bounds(states: dict[str, Any]) -> dict[str, Any]:
    """Version 4 had no bounds of precision and recall under final labels.

    It did not keep why the label that stands is censored, so corrections are left out: the bounds begin with
    those of the first labels. It counted an example when the target clock passed it, so what waits is to be
    counted.
    """
    figures, empty = states["tallies"], Tally(1.0, 1).state()
    final = {**figures["tallies"]["final"]}
    for model, tally in figures["tallies"]["first"].items():
        final[model] = {**final.get(model, empty), "censored": tally["censored"]}
    tallies = {**figures["tallies"], "final": final}
    return {**states, "tallies": {**figures, "tallies": tallies, "waits": True}}


def _without_drift(states: dict[str, Any]) -> dict[str, Any]:
    """Version 5 watched means over assets, which nothing of today can go on from."""
    return {name: state for name, state in states.items() if name != "drift"}


def _with_sums(states: dict[str, Any]) -> dict[str, Any]:
    """Version 7 counted verdicts alone; corrected figures begin with the examples from now on."""
    verdicts = states.get("verdicts")
    return states if verdicts is None else {**states, "verdicts": {**verdicts, "sums": {}}}


def _with_types(states: dict[str, Any]) -> dict[str, Any]:
    """Version 8 held all counts by score in eight bytes each."""
    figures = states.get("tallies")
    if figures is None:
        return states
    tallies = {
        scope: {model: {**tally, "ranking": _typed(tally["ranking"])} for model, tally in models.items()}
        for scope, models in figures["tallies"].items()
    }
    return {**states, "tallies": {**figures, "tallies": tallies}}


def _typed(ranking: Mapping[str, Any]) -> dict[str, Any]:
    return {"types": ["<f8" if ranking["level"] is None else "<i8", "<i8"], **ranking}


#: Snapshots of the monitors of a target: the state of each, by its name.
FIGURES: Kind[None] = Kind(
    "figures",
    9,
    # Version 6 compared the former champion since one cell only.
    {
        2: lambda kept: kept,
        3: _with_rankings,
        4: _with_bounds,
        5: _without_drift,
        6: lambda kept: kept,
        7: _with_sums,
        8: _with_types,
    },
)


class Leads(Monitor):
    """Lead times: from the beginning of a warning to the failure after it.

    A warning begins with the alert. In a target without alerts it begins with the first score at or above the
    threshold, and ends with one below.

    Args:
        figures_from: warnings that began before it are not counted; None: all are.
        state: return value of `state`, None for a new target.
        threshold: of the warnings of a target without alerts; None for a target with alerts.
        horizon: microseconds; a report from longer than this before a warning does not end it.
        entries: return values of `entry`, by asset.
    """

    name = "leads"
    #: Number of failures of one asset that can still be withdrawn.
    _REMEMBERED = 16
    #: Leads are counted by their leading bits: to 1 %, and in a bounded number of steps.
    _BITS = 7

    def __init__(
        self,
        figures_from: int | None,
        state: Mapping[str, Any] | None = None,
        *,
        threshold: float | None = None,
        horizon: int = 0,
        entries: Mapping[str, Iterable[tuple[int, int]]] = MappingProxyType({}),
    ) -> None:
        self._from = figures_from
        #: Time and lead of the latest failures that were counted, by asset.
        self._counted = {asset: [tuple(each) for each in entry] for asset, entry in entries.items()}
        self._touched: set[str] = set()
        #: Sequence, asset and beginning of the warning of the failure that was withdrawn last.
        self._withdrawn: tuple[int, str, int] | None = None
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
        return cls(
            context.figures_from,
            state,
            threshold=threshold,
            horizon=target.horizon,
            entries=context.entries.get(cls.name, {}),
        )

    @override
    def watches(self, assets: Sequence[str], scores: Sequence[float | None]) -> list[int]:
        """Watch where a warning begins or ends."""
        threshold = self._threshold
        if threshold is None:
            return []
        warned: dict[str, bool] = {}
        found = []
        for number, (asset, score) in enumerate(zip(assets, scores, strict=True)):
            if score is not None and (score >= threshold) != warned.get(asset, asset in self._since):
                warned[asset] = score >= threshold
                found.append(number)
        return found

    @override
    def served(self, item: Item, served: Served) -> Rows:
        """Begin a warning at the first score at or above the threshold; end it at one below."""
        score, threshold = served.score, self._threshold
        if score is None or threshold is None or served.link == "prior":
            return ()
        if score < threshold:
            self._end(served.asset)
        elif served.asset not in self._since:
            self._since[served.asset] = served.time
            self.changed = True
        return ()

    @override
    def cleared(self, item: Item, asset: str, why: str, time: int, opened: int | None) -> Rows:
        """End the warning of an asset, and count it before a failure; ignore a report from long before it."""
        if why == "failure" and self._withdrawn is not None and self._withdrawn[:2] == (item.sequence, asset):
            # The record of a failure came again with another time.
            opened = self._withdrawn[2]
        elif self._threshold is not None:
            opened = self._since.get(asset)
            if opened is None or (why in REPORTS and time <= opened - self._horizon):
                return ()
            self._end(asset)
        if opened is not None and why == "failure" and (lead := self.count(opened, time)):
            self._counted[asset] = [*self._counted.get(asset, ()), (time, lead)][-self._REMEMBERED :]
            self._touched.add(asset)
        return ()

    @override
    def withdrawn(self, item: Item, asset: str, time: int) -> Rows:
        """Take back the lead of a failure that never was."""
        counted = self._counted.get(asset, [])
        lead = next((lead for failure, lead in counted if failure == time), None)
        if lead is not None:
            step = self._step(lead)
            self._counts[step] -= 1
            if not self._counts[step]:
                del self._counts[step]
            counted.remove((time, lead))
            if not counted:
                del self._counted[asset]
            self._touched.add(asset)
            self.changed = True
            self._withdrawn = item.sequence, asset, time - lead
        return ()

    @override
    def forgotten(self, item: Item, asset: str) -> Rows:
        """End the warning of an asset whose state was dropped; its failures stand."""
        self._end(asset)
        if self._counted.pop(asset, None) is not None:
            self._touched.add(asset)
        return ()

    def _end(self, asset: str) -> None:
        if self._since.pop(asset, None) is not None:
            self.changed = True

    def count(self, since: int, failure: int) -> int:
        """Count a failure whose warning began before it; return the lead, 0 if it is not counted."""
        lead = failure - since
        if lead <= 0 or (self._from is not None and since < self._from):
            return 0
        self._counts[self._step(lead)] += 1
        self.changed = True
        return lead

    @override
    def summary(self) -> dict[str, Any]:
        """Return `row`."""
        return {"lead": self.row()}

    def row(self) -> dict[str, Any]:
        """Return the number of failures after a warning, and the median of their leads in hours."""
        total, passed = self._counts.total(), 0
        for step in sorted(self._counts):
            passed += self._counts[step]
            if 2 * passed >= total:
                middle = step + ((1 << self._shift(step)) - 1) / 2
                return {"warned": total, "median": middle / HOUR}
        return {"warned": 0, "median": None}

    @override
    def state(self) -> dict[str, Any]:
        """Return plain data."""
        return {"counts": dict(sorted(self._counts.items())), "since": dict(self._since)}

    @override
    def entry(self, asset: str) -> list[tuple[int, ...]] | None:
        """Return time and lead of its failures that may be withdrawn."""
        return self._counted.get(asset)

    @override
    def touched(self) -> set[str]:
        """As `Monitor.touched`."""
        touched, self._touched = self._touched, set()
        return touched

    @classmethod
    def _step(cls, lead: int) -> int:
        return lead >> cls._shift(lead) << cls._shift(lead)

    @classmethod
    def _shift(cls, lead: int) -> int:
        return max(lead.bit_length() - cls._BITS, 0)


@dataclass
class _Counts:
    """Counts that do not depend on the model."""

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
        state: return value of `state`, None for a new target.
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
                    of = state["tallies"]["first"][model] if kept is None else kept
                    self._tallies[scope][model] = Tally(threshold, horizon, of)
            for scope, (censored, *numbers) in state["counts"].items():
                self._counts[scope] = _Counts(Counter(censored), *numbers)

    @classmethod
    @override
    def open(cls, context: Context, state: Mapping[str, Any] | None) -> TargetFigures:
        """As `Monitor.open`."""
        target = context.target
        figures = cls(target.threshold, target.horizon, context.figures_from, state, context.models)
        if state is not None and state.get("waits"):
            figures._count_waiting(context.unsettled)
        return figures

    def _count_waiting(self, examples: Iterable[Example]) -> None:
        """Count examples that a former release labelled, and had not counted yet."""
        for example in examples:
            now = example.standing()
            first = now if example.first == now.label else Standing(example.first, None, "")
            self.count(example.time, example.scores, first)
            if first is not now:
                self._move(example.time, example.scores, first, now)
            self.changed = True

    @override
    def matured(self, item: Item, change: LabelChange) -> Rows:
        """Count an example under its first label, or another label that it got."""
        self.changed = True
        example, before = change.example, change.before
        if before is not None:
            self.correct(example.time, example.scores, before, example.standing())
        elif example.label is not None:
            self.count(example.time, example.scores, example.standing())
        return ()

    def count(self, time: int, scores: Mapping[str, float | None], first: Standing) -> None:
        """Count an example under its first label, in the running period and in the summary."""
        before = self._before(time)
        self._enter(_entries(["period"] if before else self.SCOPES, scores, first))
        if first.label == -1:
            self._counts["period"].censored[first.why] += 1
            if not before:
                self._counts["first"].censored[first.why] += 1
        else:
            self._counts["first"].before += before
            self._counts["first"].labelled += not before

    def correct(self, time: int, scores: Mapping[str, float | None], old: Standing, new: Standing) -> None:
        """Count another label, lead or reason of an example: it moves in the figures under final labels.

        Another label contradicts the old one. Another lead or reason alone does not, nor does a label of an
        example that was undecided again.
        """
        self._move(time, scores, old, new)
        contradicted = old.label is not None and old.label != new.label
        # A failure of an asset that had fallen silent: the negatives of its time never come.
        after_silence = new.label == 1 and old.label == -1 and old.why == "silent"
        for scope in ("period",) if self._before(time) else ("period", "first"):
            self._counts[scope].contradicted += contradicted
            self._counts[scope].after_silence += after_silence

    def _move(self, time: int, scores: Mapping[str, float | None], old: Standing, new: Standing) -> None:
        if not self._before(time):
            self._enter([*_entries(["final"], scores, old, -1), *_entries(["final"], scores, new)])

    def _enter(self, entries: list[_Entry]) -> None:
        """Count in all tallies; where one raises, in none."""
        done: list[tuple[_Entry, _Sums | None]] = []
        try:
            for entry in entries:
                tally = self._tallies[entry.scope].get(entry.model)
                done.append((entry, None if tally is None else tally.sums()))
                tally = tally or self._tally(entry.scope, entry.model)
                tally.enter(*entry[2:])
        except Exception:
            # The last one raised, and changed nothing.
            for number, (entry, sums) in enumerate(reversed(done)):
                if sums is None:
                    self._tallies[entry.scope].pop(entry.model, None)
                elif number:
                    self._tally(entry.scope, entry.model).undo(entry, sums)
            raise

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
        """Begin with nothing; errors of a period without rows count in the next one."""
        if self._counted and self._models is not None:
            self._models.forget_recent_errors()
        self._tallies["period"] = {}
        self._counts["period"] = _Counts()
        self.changed = True

    @override
    def summary(self) -> dict[str, Any]:
        """Return figures since ``figures_from``, under first and under final labels."""
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
        """Count labelled examples that are not in the summary: too early, or without a score."""
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
        """Return plain data; None for a final tally that is as the first: no label was corrected."""
        tallies: dict[str, dict[str, Any]] = {
            scope: {model: tally.state() for model, tally in tallies.items()}
            for scope, tallies in self._tallies.items()
        }
        first = tallies["first"]
        tallies["final"] = {
            model: None if tally == first.get(model) else tally for model, tally in tallies["final"].items()
        }
        return {
            "tallies": tallies,
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


def _entries(
    scopes: Iterable[str], scores: Mapping[str, float | None], found: Standing, sign: int = 1
) -> list[_Entry]:
    """Return an entry for each scope and model with a score; none for a label that no tally counts."""
    label = found.label
    if label is None or (label == _MAINTAINED and found.why != "maintenance"):
        return []
    given = [
        (model, score, _measured(score, label) if label >= 0 else (0.0, 0.0))
        for model, score in scores.items()
        if score is not None
    ]
    return [
        _Entry(scope, model, score, label, found.lead, measured, sign)
        for scope in scopes
        for model, score, measured in given
    ]
