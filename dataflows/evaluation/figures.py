"""Figures of a run, computed from its evaluations alone, independently of the run's own metrics.

For each target and model: ROC AUC, PR AUC (average precision), log loss and Brier score under first and final
labels, with 95 % intervals.

Examples of one machine resemble each other, so the interval comes from resampling whole assets (the cluster
bootstrap; C. A. Field and A. H. Welsh, "Bootstrapping clustered data", Journal of the Royal Statistical
Society B 69(3), 2007). It tells how much the figures hang on which machines happened to be in the recording.

A few machines that fail make most of a loss, so its mean is skewed and its standard error rests on these few;
percentiles of resampled means cover too seldom. The interval of a mean loss is therefore that of t, on a
logarithmic scale, with as many degrees of freedom as there are assets that matter (A. V. Carter, K. T.
Schnepel and D. G. Steigerwald, "Asymptotic behavior of a t-test robust to cluster heterogeneity", Review of
Economics and Statistics 99(4), 2017). `python -m studies estimates` counts how often it covers.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from rich.table import Table
from scipy.special import stdtrit

from dataflows.evaluation.reading import labelled
from dataflows.instants import parse_instant
from dataflows.scoring import log_losses

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from dataflows.evaluation.reading import Evaluations

__all__ = [
    "METRICS",
    "Entry",
    "Figures",
    "bootstrap",
    "compare",
    "figures",
    "instant_from",
    "loss_interval",
    "tables",
]

METRICS = ("roc_auc", "pr_auc", "log_loss", "brier")

#: Least degrees of freedom of an interval: with less it would say nothing.
_LEAST_FREEDOM = 2.0

_HEADINGS = {"roc_auc": "ROC AUC", "pr_auc": "PR AUC", "log_loss": "log loss", "brier": "Brier"}


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one model over labelled, scored examples; NaN where undefined (a single class, no examples).

    Attributes:
        examples: how many count.
        positives: how many of them.
        unscored: labelled examples without a score of this model, left out.
    """

    examples: int
    positives: int
    unscored: int
    roc_auc: float
    pr_auc: float
    log_loss: float
    brier: float


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """Figures of one model of one target, with the interval of each metric."""

    target: str
    labels: Literal["first", "final"]
    model: str
    figures: Figures
    intervals: Mapping[str, tuple[float, float]]


def instant_from(times: NDArray[np.int64], start: str) -> int:
    """The instant from which examples count: RFC 3339, or a share of the span of example times (``20%``).

    Raises:
        ValueError: neither, or a share outside 0 to 100 %.
    """
    if not start.endswith("%"):
        return parse_instant(start)
    share = float(start[:-1]) / 100
    if not 0 <= share <= 1:
        msg = f"{start} lies outside 0% to 100%"
        raise ValueError(msg)
    first, last = int(times.min()), int(times.max())
    return first + round((last - first) * share)


def figures(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> Figures:
    """Figures over the rows that are not censored and have a score."""
    unscored = int(((labels >= 0) & np.isnan(scores)).sum())
    counted = (labels >= 0) & ~np.isnan(scores)
    labels, scores = labels[counted], scores[counted]
    once = np.ones((1, 1), dtype=np.int64)
    roc_auc, pr_auc = _ranked(labels, scores, np.zeros(len(labels), dtype=np.int64), once)
    return Figures(
        examples=len(labels),
        positives=int(labels.sum()),
        unscored=unscored,
        roc_auc=float(roc_auc[0]),
        pr_auc=float(pr_auc[0]),
        log_loss=float(np.mean(log_losses(labels, scores))) if len(labels) else math.nan,
        brier=float(np.mean((scores - labels) ** 2)) if len(labels) else math.nan,
    )


def bootstrap(
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    assets: NDArray[Any],
    *,
    resamples: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Intervals of each metric: `loss_interval`, and percentiles under resampling of whole assets.

    Resamples of a single class have no ROC AUC and PR AUC and are left out of these two. Rows are weighted by
    how often their asset was drawn, which equals repeating them, so scores are sorted once, not every time.
    """
    counted = (labels >= 0) & ~np.isnan(scores)
    labels, scores = labels[counted], scores[counted]
    if not len(labels):
        return dict.fromkeys(METRICS, (math.nan, math.nan))
    names, codes = np.unique(assets[counted], return_inverse=True)
    draws = np.random.default_rng(seed).multinomial(len(names), [1 / len(names)] * len(names), size=resamples)

    tails = [(1 - level) / 2, (1 + level) / 2]
    intervals = {}
    for metric, values in zip(METRICS[:2], _ranked(labels, scores, codes, draws), strict=True):
        defined = values[np.isfinite(values)]
        low, high = np.quantile(defined, tails) if len(defined) else (math.nan, math.nan)
        intervals[metric] = float(low), float(high)
    for metric, losses in (("log_loss", log_losses(labels, scores)), ("brier", (scores - labels) ** 2)):
        intervals[metric] = loss_interval(losses, codes, level=level)
    return intervals


def loss_interval(
    losses: NDArray[np.float64], assets: NDArray[Any], *, level: float = 0.95
) -> tuple[float, float]:
    """Return the interval of a mean loss, where the examples of an asset depend on each other.

    Args:
        losses: of the examples, 0 or more (n).
        assets: of the examples (n).
        level: share of such intervals that cover the mean over all assets of this kind.

    >>> losses, assets = np.array([0.1, 0.2] * 18 + [2.0, 1.0] * 2), np.repeat(np.arange(20), 2)
    >>> [round(end, 2) for end in loss_interval(losses, assets)]
    [0.09, 0.92]
    """
    if not len(losses):
        return math.nan, math.nan
    _, codes = np.unique(assets, return_inverse=True)
    size, sums = np.bincount(codes), np.bincount(codes, weights=losses)
    mean, count = float(losses.mean()), len(size)
    parts = (sums - mean * size) ** 2
    if count < 2 or not parts.any():  # noqa: PLR2004 - one asset has no spread
        return (mean, mean) if count > 1 else (0.0, math.inf)
    error = math.sqrt(parts.sum() * count / (count - 1)) / len(losses)
    freedom = min(count - 1.0, max(_LEAST_FREEDOM, parts.sum() ** 2 / (parts**2).sum()))
    width = float(stdtrit(freedom, (1 + level) / 2)) * error / mean
    return mean * math.exp(-width), mean * math.exp(width)


def _ranked(
    labels: NDArray[np.int64], scores: NDArray[np.float64], codes: NDArray[np.int64], draws: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """ROC AUC and average precision of each resample; equal scores are one threshold."""
    order = np.argsort(-scores, kind="stable")
    ranked, codes, positive = scores[order], codes[order], labels[order] == 1
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    roc, precision = np.full(len(draws), np.nan), np.full(len(draws), np.nan)
    for i, draw in enumerate(draws):
        weights = draw[codes]
        hits = np.add.reduceat(np.where(positive, weights, 0), starts)
        alarms = np.add.reduceat(np.where(positive, 0, weights), starts)
        all_hits, all_alarms = np.cumsum(hits), np.cumsum(alarms)
        if all_hits[-1] and all_alarms[-1]:
            roc[i] = (alarms * (all_hits - hits / 2)).sum() / (all_hits[-1] * all_alarms[-1])
            precision[i] = (hits * all_hits / np.maximum(all_hits + all_alarms, 1)).sum() / all_hits[-1]
    return roc, precision


def compare(
    evaluations: Evaluations, start: str | None = None, *, resamples: int = 200, seed: int = 0
) -> list[Entry]:
    """Entries of every target and model under both labels; examples before ``start`` are left out.

    ``start`` is read as by `instant_from`, a share over the examples of each target. All models of a target
    share their resamples.
    """
    entries = []
    for target in sorted(set(evaluations.targets)):
        rows = evaluations.where(evaluations.targets == target)
        if start is not None:
            rows = rows.where(rows.times >= instant_from(rows.times, start))
        labels: Literal["first", "final"]
        for labels in ("first", "final"):
            chosen = labelled(rows, labels)
            entries += [
                Entry(
                    target=str(target),
                    labels=labels,
                    model=model,
                    figures=figures(chosen.labels, scores),
                    intervals=bootstrap(chosen.labels, scores, chosen.assets, resamples=resamples, seed=seed),
                )
                for model, scores in chosen.by_model().items()
            ]
    return entries


def tables(entries: Sequence[Entry]) -> Iterator[Table]:
    """One table a target and kind of labels; a single one where no correction made a difference."""
    for target in dict.fromkeys(entry.target for entry in entries):
        first = [entry for entry in entries if entry.target == target and entry.labels == "first"]
        final = [entry for entry in entries if entry.target == target and entry.labels == "final"]
        if [entry.figures for entry in first] == [entry.figures for entry in final]:
            yield _table(f"{target}, first labels (the final ones are the same)", first)
        else:
            yield _table(f"{target}, first labels", first)
            if final:
                yield _table(f"{target}, final labels", final)


def _table(title: str, entries: Sequence[Entry]) -> Table:
    most = max(entries, key=lambda entry: entry.figures.examples).figures
    view = Table(
        title=f"{title}: {most.examples:,} examples, {most.positives:,} positive",
        title_justify="left",
        show_lines=True,
    )
    view.add_column("model")
    for heading in _HEADINGS.values():
        view.add_column(heading, justify="right", no_wrap=True)
    for entry in entries:
        missing = f"\n[red]{entry.figures.unscored:,} unscored[/red]" if entry.figures.unscored else ""
        cells = [
            f"{getattr(entry.figures, metric):.4f}\n[dim]{low:.4f}-{high:.4f}[/dim]"
            for metric, (low, high) in entry.intervals.items()
        ]
        view.add_row(entry.model + missing, *cells)
    return view
