"""Counts by score: exact while distinct scores are few, and within .001 in bounded memory beyond."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from dataflows.target.ranking import _FINEST, LIMIT, Ranking, _bin

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


#: Negatives, positives and the sum of scores, by key.
Counts = dict[float, list[Any]]


def halved(counts: Counts, level: int | None, limit: int) -> tuple[Counts, int]:
    """Double bins until they fit, one step after the other, and add up their sums by score."""
    while level is None or len(counts) > limit:
        into = {key: _bin(key, _FINEST) if level is None else int(key) >> 1 for key in counts}
        level = _FINEST if level is None else level - 1
        merged: Counts = {}
        for key in sorted(counts):
            held = merged.setdefault(into[key], [0, 0, 0.0])
            for index in range(3):
                held[index] += counts[key][index]
        counts = merged
    return counts, level


@pytest.mark.parametrize(("rate", "shift", "scale"), CASES)
def test_bins_are_doubled_to_the_last_bit_of_their_sums(rate: float, shift: float, scale: float) -> None:
    """As if they were doubled one step after the other, each sum in the order of scores."""
    labels, scores = served(4, 3_000, rate, shift, scale)
    expected: Counts = {}
    level: int | None = None
    for score, label in zip(scores.tolist(), labels.tolist(), strict=True):
        held = expected.setdefault(score if level is None else _bin(score, level), [0, 0, 0.0])
        held[label] += 1
        held[2] += score
        if len(expected) > 256:
            expected, level = halved(expected, level, 256)
    counts, sums = ranked(labels, scores, limit=256).table()
    right = [expected[key] for key in sorted(expected)]
    assert counts.T.tolist() == [held[:2] for held in right]
    assert sums.tolist() == [held[2] for held in right]


@pytest.mark.parametrize("count", [0, 1, 300, 4_000, 6_000])
def test_a_snapshot_is_small_and_exact(count: int) -> None:
    """Ten bytes a distinct score, some more in bins; what is counted after it is counted as without it."""
    labels, scores = served(5, count + 1_000, 0.3, -3.0, 2.0)
    labels[:400], scores[:400] = labels[400:800], scores[400:800]  # some come more than once
    whole, stored = ranked(labels[:count], scores[:count]), ranked(labels[:count], scores[:count]).state()
    size = sum(len(part) for part in stored.values() if isinstance(part, bytes))
    assert size <= (10 if whole.exact and count < 400 else 18) * whole.table()[0].shape[1]
    again = Ranking(msgspec.msgpack.decode(msgspec.msgpack.encode(stored), type=dict[str, Any]))
    for score, label in zip(scores[count:].tolist(), labels[count:].tolist(), strict=True):
        whole.add(score, label)
        again.add(score, label)
    for mine, right in zip(again.table(), whole.table(), strict=True):
        assert mine.tolist() == right.tolist()
