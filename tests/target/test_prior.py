"""The prior of a target: what is expected before any example, and how examples move it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.scoring import running_prior
from dataflows.testing import failure, pump_fleet, run_inline, telemetry

HOUR = 3600


@given(st.integers(0, 50), st.integers(0, 5_000), st.floats(1e-6, 0.999))
def test_it_lies_between_what_is_expected_and_the_share_so_far(
    positives: int, more: int, assumed: float
) -> None:
    """And is what is expected before any example."""
    learned = positives + more
    assert running_prior(0, 0, assumed) == pytest.approx(assumed)
    if learned:
        low, high = sorted((assumed, positives / learned))
        assert low - 1e-12 <= running_prior(positives, learned, assumed) <= high + 1e-12


def served(**keys: object) -> list[dict[str, object]]:
    """Predictions for a pump of a class that nobody knows, which fails once in sixty hours."""
    target = {"class": "pump", "mode": "leak", "horizon": "12h", "champion": "bayes", **keys}
    fleet = pump_fleet(
        {"bayes": {"pipeline": [{"estimator": "river.naive_bayes.GaussianNB"}]}}, targets=[target]
    )
    lines = [telemetry("p", hour * HOUR, {"pressure": 4.0 + hour % 3, "flow": 1.0}) for hour in range(1, 120)]
    lines.insert(60, failure("p", 60 * HOUR + 60, "leak"))
    return run_inline(fleet, lines)["predictions"]


def test_a_new_class_is_served_what_is_expected_of_it_from_its_first_event() -> None:
    """Then what was seen counts: negatives lower it, until the model has seen both labels."""
    rows, blind = served(prior=0.02), served()
    assert (rows[0]["score"], rows[0]["link"]) == (0.02, "prior")
    assert (blind[0]["score"], blind[0]["link"]) == (0.5, "prior")
    priors = [row["score"] for row in rows if row["link"] == "prior"]
    assert priors == sorted(priors, reverse=True)
    assert 0.0 < priors[-1] < 0.02
    assert [row["score"] for row in rows if row["link"] == "class"] == [
        row["score"] for row in blind if row["link"] == "class"
    ]
