"""Counts by score: exact while distinct scores are few, and within .001 in bounded memory beyond."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from dataflows.target.ranking import LIMIT, Ranking

if TYPE_CHECKING:
    from numpy.typing import NDArray


def served(
    seed: int, count: int, rate: float, shift: float, scale: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Labels at a base rate, and scores around some log-odds, with a few that are certain."""
    draw = np.random.default_rng(seed)
    labels = (draw.random(count) < rate).astype(int)
    labels[:2] = 0, 1
    odds = shift + scale * (draw.normal(size=count) + 2 * labels)
    scores = 1 / (1 + np.exp(-odds))
    scores[draw.integers(count, size=5)] = 0.0
    scores[draw.integers(count, size=5)] = 1.0
    return labels, scores


def ranked(labels: NDArray[Any], scores: NDArray[Any], limit: int = LIMIT) -> Ranking:
    found = Ranking(limit=limit)
    for score, label in zip(scores.tolist(), labels.tolist(), strict=True):
        found.add(score, label)
    return found


CASES = [
    (rate, shift, scale)
    for rate in (0.0005, 0.05, 0.5)
    for shift, scale in ((-3.0, 1.0), (-14.0, 3.0), (0.0, 0.001), (8.0, 6.0))
]


@pytest.mark.parametrize(("rate", "shift", "scale"), CASES)
def test_areas_of_a_short_run_are_exact(rate: float, shift: float, scale: float) -> None:
    """At any base rate, and far below the clip of the log loss, they are those of scikit-learn."""
    labels, scores = served(1, 4_000, rate, shift, scale)
    found = ranked(labels, scores)
    assert found.exact
    expected = roc_auc_score(labels, scores), average_precision_score(labels, scores)
    assert found.areas() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("rate", "shift", "scale"), CASES)
def test_areas_of_a_long_run_are_within_a_thousandth(rate: float, shift: float, scale: float) -> None:
    """Bins are bounded in number, and follow the scores to wherever they lie."""
    labels, scores = served(2, 60_000, rate, shift, scale)
    found = ranked(labels, scores)
    assert not found.exact
    assert found.table()[0].shape[1] <= LIMIT
    expected = roc_auc_score(labels, scores), average_precision_score(labels, scores)
    assert found.areas() == pytest.approx(expected, abs=1e-3)


def test_what_is_taken_back_and_stored_is_as_if_it_never_came() -> None:
    """Also where bins had doubled in between, and through a snapshot."""
    labels, scores = served(3, 400, 0.3, -3.0, 2.0)
    found = ranked(labels, scores, limit=64)
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(found.state()), type=dict[str, Any])
    found = Ranking(stored, limit=64)
    for score, label in zip(scores[200:].tolist(), labels[200:].tolist(), strict=True):
        found.add(score, label, -1)
    assert found.table()[0].sum(axis=1).tolist() == [(labels[:200] == 0).sum(), labels[:200].sum()]
    for score, label in zip(scores[:200].tolist(), labels[:200].tolist(), strict=True):
        found.add(score, label, -1)
    assert found.table()[0].size == 0
