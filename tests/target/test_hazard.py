"""Hours to failure: probabilities that ascend with the horizon, intervals that cover, and their rows."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.estimators import BayesianLogistic, Hazard, from_stored, to_stored
from dataflows.fleet import FleetError
from dataflows.testing import CHECKS, Examples, failure, pump_fleet, run_inline, run_lines, telemetry

HOUR = 3600
FEATURES = st.dictionaries(st.sampled_from("abc"), st.floats(-1e6, 1e6), max_size=3)


def lived(count: int, seed: int = 1) -> list[tuple[dict[str, float], bool, float | None]]:
    """Features that tell the hours left, which are within 30 of a failure in half of the examples."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        left = draw.uniform(0, 60)
        found.append(({"wear": -left + draw.gauss(0, 4), "noise": draw.gauss(0, 1)}, left <= 30, left))
    return found


def taught(count: int = 2_000) -> Hazard:
    model = Hazard(horizon=30.0)
    for x, label, left in lived(count):
        model.learn_one(x, label, lead=left if label else None)
    return model


@given(st.lists(FEATURES, max_size=5), st.floats(0, 1))
def test_a_longer_horizon_is_never_less_probable(asked: list[dict[str, float]], score: float) -> None:
    """For any features, also such as were never seen."""
    model = taught(100)
    for x in asked:
        left = model.time_left(x)
        assert left is not None
        assert left.shares[0] == 0.0
        assert left.shares[-1] == 1.0
        assert all(a <= b for a, b in pairwise(left.shares))
        low, median, high = left.interval(score)
        ends = [end for end in (low, median, high) if end is not None]
        assert ends == sorted(ends)


def test_the_interval_covers_eighty_percent_or_more() -> None:
    """Of the intervals with both ends; where no failure comes within the horizon it did not cover."""
    model = taught(6_000)
    inside = closed = 0
    for x, label, left in lived(4_000, seed=2):
        found = model.time_left(x)
        assert found is not None
        assert left is not None
        score = model.predict_proba_one(x)[True]
        low, median, high = found.interval(score)
        if low is not None and high is not None and median is not None:
            assert low < median < high
            closed += 1
            inside += label and low < left <= high
    assert closed > 1_000
    assert 0.78 < inside / closed < 0.92


def test_it_is_the_regression_within_the_horizon() -> None:
    """As a model it scores as `BayesianLogistic`, to the last bit, and from rows as from dicts."""
    model, plain = taught(300), BayesianLogistic(0.1, 30_000, 8.0)
    for x, label, _ in lived(300):
        plain.learn_one(x, label)
    for x, _, _ in lived(20, seed=3):
        assert model.predict_proba_one(x) == plain.predict_proba_one(x)


def test_it_goes_on_from_its_bytes_to_the_last_bit() -> None:
    """Regressions and the levels of the interval."""
    model = taught(500)
    again = from_stored(to_stored(model))
    for x, label, left in lived(200, seed=4):
        for each in (model, again):
            each.learn_one(x, label, lead=left if label else None)
        assert again.time_left(x) == model.time_left(x)
    assert again.to_bytes() == model.to_bytes()


def test_without_a_failure_it_says_nothing() -> None:
    """Nor with failures whose hours nobody knows, as of a verdict."""
    model = Hazard(horizon=30.0)
    model.learn_one({"wear": 1.0}, y=False)
    model.learn_one({"wear": 1.0}, y=True)
    assert model.time_left({"wear": 1.0}) is None


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_the_contract_of_models(check: Any) -> None:  # noqa: ANN401 - a check
    """What a run relies on."""
    check(Hazard(horizon=12.0), Examples(("a", "b", "c", "d")))


def fleet(**keys: object) -> Any:  # noqa: ANN401 - a fleet
    hazard = {"pipeline": [{"estimator": "dataflows.estimators.Hazard", "horizon": 12.0}]}
    target = {
        "class": "pump",
        "mode": "leak",
        "horizon": "12h",
        "champion": "hazard",
        "hours": "hazard",
        **keys,
    }
    return pump_fleet({"hazard": hazard}, targets=[target])


def stream() -> list[bytes]:
    """Pumps that fail every 40 hours, and whose pressure falls before."""
    lines = []
    for number in range(1, 160):
        for pump in range(3):
            left = (number + 13 * pump) % 40
            lines.append(telemetry(f"p-{pump}", number * HOUR, {"pressure": 40.0 - left, "flow": 1.0}))
            if left == 39:
                lines.append(failure(f"p-{pump}", number * HOUR + 1800, "leak"))
    return lines


def test_predictions_have_hours_and_shorter_horizons() -> None:
    """Null while the prior answers; then ascending, and at most the score."""
    rows = run_inline(fleet(within=["6h", "3h"]), stream())["predictions"]
    assert (rows[0]["hours"], rows[0]["within"], rows[0]["link"]) == (None, None, "prior")
    said = [row for row in rows if row["hours"] is not None]
    assert len(said) > 100
    assert all(0.0 <= row["within"]["3h"] <= row["within"]["6h"] <= row["score"] for row in said)
    sure = [row["hours"] for row in said if row["hours"]["high"] is not None]
    assert sure
    assert all(0.0 < each["low"] < each["median"] < each["high"] <= 12.0 for each in sure)


def test_a_target_without_hours_writes_rows_as_before() -> None:
    """No field more."""
    rows = run_lines(pump_fleet(), stream()[:5])["predictions"]
    assert b"hours" not in rows[0]
    assert b"within" not in rows[0]


@pytest.mark.parametrize(
    ("keys", "key", "expected"),
    [
        ({"hours": "prior"}, "targets[0].hours", "a model of the target that tells the hours to failure"),
        ({"within": ["12h"]}, "targets[0].within", "durations below the horizon, 12h"),
        ({"horizon": "24h"}, "targets[0].hours", "horizon = 24 in the model hazard"),
        ({"hours": None, "within": ["6h"]}, "targets[0].hours", "for `within`"),
    ],
)
def test_what_cannot_be_is_refused(keys: dict[str, object], key: str, expected: str) -> None:
    """With the key, and what was expected."""
    with pytest.raises(FleetError) as refused:
        fleet(**keys)
    assert key in str(refused.value)
    assert expected in str(refused.value)
