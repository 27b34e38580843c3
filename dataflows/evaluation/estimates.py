"""How the estimate of a model's error depends on the way the data moved.

Five estimates of the log loss of one model, side by side, from one recording:

=============  ============================================================================================
estimate       how it is made
=============  ============================================================================================
``random``     random split of the collected table, features complete
``hindsight``  split by time, features complete: with all the data that came later
``served``     split by time, features as they were served
``immature``   prequential; each example is judged after one horizon, by the failures reported until then
``matured``    prequential, matured, as served: what this product reports
=============  ============================================================================================

All but ``random`` are judged on the examples after the split. The first four use labels or features that
a running system does not have at that moment; each is wrong in a direction of its own:

- ``random`` puts the neighbours of a test example, with the same failure, into the training set;
- ``hindsight`` sees readings that came too late for the score that users got, and trains on labels that
  were not known yet;
- ``served`` trains on labels that were not known yet;
- ``immature`` counts failures that are reported late as healthy.

Sources: A. P. Dawid, "Statistical theory: the prequential approach", JRSS A 147, 1984; M. Grzenda,
H. M. Gomes and A. Bifet, "Delayed labelling evaluation for data streams", Data Mining and Knowledge
Discovery 34, 2020.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dataflows.evaluation.figures import loss_interval
from dataflows.evaluation.reading import Evaluations, labelled
from dataflows.scoring import log_losses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["ESTIMATES", "Estimate", "estimate", "prequential", "rescored", "true_loss"]

ESTIMATES = ("random", "hindsight", "served", "immature", "matured")


@dataclass(frozen=True, slots=True)
class Estimate:
    """One estimate of the log loss.

    Attributes:
        name: one of `ESTIMATES`, or ``truth``.
        examples: judged examples.
        positives: positive ones among them, by the labels of this estimate.
        log_loss: mean, nats.
        low: lower end of the 95 % interval over assets, see `loss_interval`.
        high: its upper end.
    """

    name: str
    examples: int
    positives: int
    log_loss: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class _Table:
    """Examples with known labels, in order of (time, asset).

    Attributes:
        assets: names.
        times: of the examples, microseconds.
        labels: 1 or 0.
        settled: when its label was decided and known, microseconds.
        vectors: features of the model, (examples, features); NaN is missing.
        names: of the features.
    """

    assets: NDArray[np.str_]
    times: NDArray[np.int64]
    labels: NDArray[np.int64]
    settled: NDArray[np.int64]
    vectors: NDArray[np.float64]
    names: tuple[str, ...]

    def rows(self, chosen: NDArray[Any]) -> list[dict[str, float]]:
        """Features by name, without missing ones, as an estimator takes them."""
        return [
            {name: value for name, value in zip(self.names, row, strict=True) if not math.isnan(value)}
            for row in self.vectors[chosen].tolist()
        ]


def estimate(
    served: Evaluations,
    complete: Evaluations,
    build: Callable[[], Any],
    features: Sequence[str],
    model: str,
    horizon: int,
    *,
    split: float = 0.5,
    seed: int = 0,
) -> list[Estimate]:
    """Return the five estimates.

    Args:
        served: evaluations of one target with features, of a run on the recording as it arrived.
        complete: the same of a run on the recording in order of event time.
        build: builds a fresh estimator.
        features: names of the features that it sees.
        model: its name among the models of ``served``.
        horizon: of the target, microseconds.
        split: share of the span of time that is for training.
        seed: of the random split.
    """
    mine, full = _table(served, features), _table(complete, features)
    border = _border(mine.times, split)
    seen, scores = _judged(served, model, border)
    return [
        _random(full, build, split, seed),
        _by_time("hindsight", full, build, border),
        _by_time("served", mine, build, border),
        _immature(mine, build, horizon, border),
        _estimate("matured", seen.labels, scores, seen.assets),
    ]


def true_loss(
    served: Evaluations,
    model: str,
    horizon: int,
    failures: Mapping[str, NDArray[np.int64]],
    *,
    split: float = 0.5,
) -> Estimate:
    """Return the loss of the same scores by every failure that happened, reported or not.

    Args:
        served: as of `estimate`.
        model: as of `estimate`.
        horizon: as of `estimate`.
        failures: times of all failures by asset, microseconds.
        split: as of `estimate`.
    """
    seen, scores = _judged(served, model, _border(_known(served).times, split))
    labels = _true_labels(seen.assets, seen.times, horizon, failures)
    return _estimate("truth", labels, scores, seen.assets)


def rescored(
    served: Evaluations, build: Callable[[], Any], features: Sequence[str], model: str
) -> Evaluations:
    """Return the labelled examples with the scores of a model that learns from them alone, as labels came.

    So a part of the assets of a run is judged as a fleet of its own, without another run: the features of an
    asset depend on no other asset.

    Args:
        served: evaluations of one target with features.
        build: builds a fresh estimator.
        features: names of the features that it sees.
        model: its name.
    """
    known, table = _known(served), _table(served, features)
    rows = table.rows(np.arange(len(table.times)))
    scores = prequential(build(), rows, table.labels.tolist(), table.times, table.settled)
    return replace(known, models=(model,), scores=scores[:, np.newaxis])


def _border(times: NDArray[np.int64], split: float) -> int:
    return int(times.min() + split * (times.max() - times.min()))


def _judged(served: Evaluations, model: str, border: int) -> tuple[Evaluations, NDArray[np.float64]]:
    known = _known(served)
    seen = known.where(known.times >= border)
    return seen, seen.scores[:, seen.models.index(model)]


def _known(evaluations: Evaluations) -> Evaluations:
    """Final labels that are positive or negative, in order of (time, asset)."""
    final = labelled(evaluations, "final")
    final = final.where(final.labels >= 0)
    return final.where(np.lexsort((final.assets, final.times)))


def _table(evaluations: Evaluations, features: Sequence[str]) -> _Table:
    final = _known(evaluations)
    columns = [final.feature_names.index(name) for name in features]
    vectors = final.features[:, columns]
    return _Table(final.assets, final.times, final.labels, final.settled, vectors, tuple(features))


def _estimate(
    name: str, labels: NDArray[np.int64], scores: NDArray[np.float64], assets: NDArray[Any]
) -> Estimate:
    counted = ~np.isnan(scores)
    losses = log_losses(labels[counted], scores[counted])
    low, high = loss_interval(losses, assets[counted])
    mean = float(np.mean(losses)) if len(losses) else math.nan
    return Estimate(name, int(counted.sum()), int(labels[counted].sum()), mean, low, high)


def _trained(
    build: Callable[[], Any], table: _Table, order: NDArray[np.int64]
) -> Callable[[NDArray[np.int64]], NDArray[np.float64]]:
    """Train an estimator on rows in this order; return what scores other rows."""
    estimator = build()
    for row, label in zip(table.rows(order), table.labels[order].tolist(), strict=True):
        estimator.learn_one(row, bool(label))
    return lambda chosen: np.array([_score(estimator, row) for row in table.rows(chosen)])


def _score(estimator: Any, row: dict[str, float]) -> float:  # noqa: ANN401 - River's protocol
    """The score of a row, NaN where the estimator has none yet."""
    found = estimator.predict_proba_one(row)
    return float(found.get(True, 0.0)) if found else math.nan


def _random(table: _Table, build: Callable[[], Any], split: float, seed: int) -> Estimate:
    order = np.random.default_rng(seed).permutation(len(table.times))
    train, test = np.split(order, [round(split * len(order))])
    scores = _trained(build, table, train)(test)
    return _estimate("random", table.labels[test], scores, table.assets[test])


def _by_time(name: str, table: _Table, build: Callable[[], Any], border: int) -> Estimate:
    train, test = np.flatnonzero(table.times < border), np.flatnonzero(table.times >= border)
    scores = _trained(build, table, train)(test)
    return _estimate(name, table.labels[test], scores, table.assets[test])


def _immature(table: _Table, build: Callable[[], Any], horizon: int, border: int) -> Estimate:
    due = table.times + horizon
    # A failure that nobody had reported by then counts as none.
    labels = np.where((table.labels == 1) & (table.settled <= due), 1, 0)
    scores = prequential(build(), table.rows(np.arange(len(due))), labels.tolist(), table.times, due)
    test = table.times >= border
    return _estimate("immature", labels[test], scores[test], table.assets[test])


def prequential(
    estimator: Any,  # noqa: ANN401 - River's protocol
    rows: Sequence[dict[str, float]],
    labels: Sequence[int],
    times: Sequence[int] | NDArray[np.int64],
    due: Sequence[int] | NDArray[np.int64],
) -> NDArray[np.float64]:
    """Score each row, and learn it once its label is due: test, then train, with delay.

    It agrees with River's ``progressive_val_score(..., moment=, delay=)``: at one instant all due labels are
    learned before the row is scored, and labels are learned in order of when they are due.

    Args:
        estimator: learns.
        rows: features, in order of time.
        labels: 1 or 0.
        times: of the rows, ascending.
        due: when each label is known.

    Returns:
        The score of each row; NaN where the estimator had none.

    >>> from dataflows.estimators import Prior
    >>> prequential(Prior(), [{}, {}, {}], [1, 1, 1], [0, 1, 5], [2, 3, 9]).round(3).tolist()
    [0.5, 0.5, 0.833]
    """
    order = sorted(range(len(rows)), key=lambda row: (due[row], row))
    scores = np.empty(len(rows))
    learned = 0
    for row, time in enumerate(times):
        # A row never learns itself before it is scored, not even without delay.
        while learned < len(order) and due[order[learned]] <= time and order[learned] < row:
            which = order[learned]
            estimator.learn_one(rows[which], bool(labels[which]))
            learned += 1
        scores[row] = _score(estimator, rows[row])
    return scores


def _true_labels(
    assets: NDArray[np.str_], times: NDArray[np.int64], horizon: int, truth: Mapping[str, NDArray[np.int64]]
) -> NDArray[np.int64]:
    none = np.empty(0, dtype=np.int64)
    labels = np.zeros(len(times), dtype=np.int64)
    for asset in np.unique(assets):
        failures = np.sort(truth.get(str(asset), none))
        rows = np.flatnonzero(assets == asset)
        after = np.searchsorted(failures, times[rows], side="right")
        known = after < len(failures)
        labels[rows[known]] = failures[after[known]] <= times[rows[known]] + horizon
    return labels
