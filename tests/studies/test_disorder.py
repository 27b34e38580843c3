"""How far the vectors of one run are from those of another."""

from __future__ import annotations

import pytest

from studies.disorder import Vectors, against

PROMPT: Vectors = {
    ("a", "1"): {"load": 1.0, "heat": 5.0, "fan": None},
    ("a", "2"): {"load": 3.0, "heat": 5.0, "fan": 2.0},
    ("b", "1"): {"load": 1.0, "heat": None, "fan": 4.0},
    ("b", "2"): {"load": 3.0, "heat": 7.0, "fan": 4.0},
}


def test_only_what_changed_counts_in_standard_deviations() -> None:
    """What only one run has is passed over; a value that is there in one run only has no distance."""
    served: Vectors = {
        ("a", "1"): {"load": 1.0, "heat": 5.0, "fan": 1.0},
        ("a", "2"): {"load": 2.5, "heat": 5.0, "fan": 2.0},
        ("b", "1"): {"load": 3.0, "heat": None, "fan": 4.0},
        ("c", "9"): {"load": 9.0, "heat": 9.0, "fan": 9.0},
    }
    found = against(served, PROMPT)
    assert (found["compared"], found["changed"]) == (3, 3)
    assert found["features"].keys() == {"load", "fan"}
    assert found["features"]["fan"] == {"share": 1 / 3, "mean": None, "worst": None}
    load = found["features"]["load"]
    deviation = (8 / 9) ** 0.5  # of 1, 3 and 1
    assert load["share"] == 2 / 3
    assert load["mean"] == pytest.approx((0.5 + 2.0) / 2 / deviation)
    assert load["worst"] == pytest.approx(2.0 / deviation)
