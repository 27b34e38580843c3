"""The pooled study: targets are joined, machines are drawn whole."""

from __future__ import annotations

import pytest

from studies.azure import difference, pooled
from tests.studies.evaluations import rows

LABELS = [1, 0, 0, 0, 1, 0, 0, 0]
ASSETS = ["a"] * 4 + ["b"] * 4
FOUND = rows({"mine": [0.9, 0.1] * 4, "other": [0.5] * 8}, LABELS, ASSETS)


def test_the_targets_are_one_ranking() -> None:
    """Examples of both targets count together, for every model and for the published scores."""
    found = {entry.model: entry.figures for entry in pooled(FOUND, resamples=20)}
    assert list(found) == ["(champion)", "mine", "other"]
    assert (found["mine"].examples, found["mine"].positives) == (8, 2)
    assert found["mine"].roc_auc == pytest.approx(5 / 6)


def test_the_difference_is_that_of_means_and_machines_are_drawn_whole() -> None:
    """Two machines with the same rows differ in nothing, so their interval is a point."""
    gap, low, high = difference(FOUND, "mine", "other", resamples=50)["brier"]
    assert gap == pytest.approx((2 * 0.01 + 2 * 0.81 + 4 * 0.01) / 8 - 0.25)
    assert low == pytest.approx(gap)
    assert high == pytest.approx(gap)
