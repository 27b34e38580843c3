"""Estimates of error before labels, beside those of CBPE."""

from __future__ import annotations

import numpy as np
import pytest

from studies.before_labels import Scored, estimates

DAY = 86_400_000_000


def examples(power: float) -> Scored:
    """Seventy days of examples, whose scores are this power of their probability; labels come a day later."""
    rng = np.random.default_rng(1)
    probability = rng.beta(0.5, 2.0, 14_000)
    time = np.sort(rng.integers(0, 70 * DAY, 14_000))
    label = (rng.random(14_000) < probability).astype(np.int64)
    return Scored(time, time + DAY, probability**power, label)


def test_scores_that_are_probabilities_estimate_their_own_error() -> None:
    """Ours and CBPE are near to what came true, for log loss and recall."""
    rows = estimates(examples(1.0), 7 * DAY, 0.5)
    assert len(rows) == 9
    for name in ("ours", "CBPE"):
        for figure, most in (("log loss", 0.02), ("recall", 0.06)):
            off = [abs(row[name][figure] - row["realised"][figure]) for row in rows]
            assert np.mean(off) < most


def test_scores_that_are_none_are_found_out_by_calibration_alone() -> None:
    """CBPE corrects scores that were wrong in the same way before; ours take them at their word."""
    last = estimates(examples(2.0), 7 * DAY, 0.5)[-1]
    realised = last["realised"]["log loss"]
    assert last["CBPE"]["log loss"] == pytest.approx(realised, abs=0.03)
    assert last["ours"]["log loss"] < realised - 0.1


def test_a_period_uses_only_labels_that_were_known_when_it_began() -> None:
    """A label of the period, or one that came later, changes none of its estimates."""
    whole = examples(1.0)
    turned = whole._replace(label=np.where(whole.known > 63 * DAY, 1 - whole.label, whole.label))
    one, other = (estimates(each, 7 * DAY, 0.5)[-1] for each in (whole, turned))
    assert one["realised"] != other["realised"]
    assert (one["ours"], one["CBPE"]) == (other["ours"], other["CBPE"])
