"""The job written by hand gives what Highwater gives, and the comparison notices where it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks import by_hand
from benchmarks.by_hand import Outputs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.ci
def test_a_job_by_hand_gives_the_same_scores_and_labels(tmp_path: Path) -> None:
    """Record by record every score agrees to 1e-6, every label exactly; `check` asserts it."""
    found = by_hand.check(tmp_path, assets=20, hours=1)
    assert found.predictions == 20 * (46 + 60)
    assert found.examples > 100


def outputs(label: bool = True, score: float = 0.5, feature: float = 2.0) -> Outputs:
    """One prediction, which is an example."""
    return Outputs({("a", 1.0): score}, {("a", 1.0): (label, {"flow": feature})})


def test_scores_may_differ_and_the_comparison_says_by_how_much() -> None:
    """Learning in another order moves scores; it is a figure, not an error."""
    found = by_hand.agreement(outputs(score=0.5), outputs(score=0.25))
    assert (found.predictions, found.examples) == (1, 1)
    assert (found.score, found.mean_score, found.feature) == (0.25, 0.25, 0.0)
    assert found.losses == pytest.approx((0.693147, 1.386294), abs=1e-6)


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        (outputs(label=False), "other labels"),
        (outputs(feature=2.1), "a feature differs"),
        (Outputs({}, {}), "other predictions"),
        (Outputs({("a", 1.0): 0.5}, {}), "other examples"),
    ],
    ids=["label", "feature", "prediction", "example"],
)
def test_all_else_has_to_be_the_same(ours: Outputs, said: str) -> None:
    """Predictions, examples, labels and features as served."""
    with pytest.raises(AssertionError, match=said):
        by_hand.agreement(outputs(), ours)
