"""What moved a score: each feature set back to its mean over the negatives."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.target.attribution import Attribution

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ("x", "y", "z", "w", "v")
PICKS = tuple(range(len(NAMES)))

values = st.floats(-1e6, 1e6) | st.just(math.nan)
vectors = st.lists(st.lists(values, min_size=5, max_size=5), min_size=1, max_size=20)


def taught(rows: list[list[float]], state: tuple[bytes, ...] | None = None) -> Attribution:
    usual = Attribution(NAMES, state)
    for row in rows:
        usual.add(np.array(row, dtype=np.float64))
    return usual


def weighing(*weights: float) -> Callable[[bytes], float]:
    """A model: the weighted sum of what is not missing."""
    return lambda features: float(np.nansum(np.frombuffer(features) * np.array(weights)))


def moved(
    usual: Attribution, row: list[float], ask: Callable[[bytes], float | None], picks: tuple[int, ...] = PICKS
) -> list[tuple[str, float, float, float]]:
    features = np.array(row, dtype=np.float64).tobytes()
    score = ask(features)
    assert score is not None
    found = usual.explain(features, picks, score, ask)
    return [(each["feature"], each["value"], each["usual"], each["raised_by"]) for each in found]


@given(vectors)
def test_the_usual_value_is_the_mean_of_what_is_given(rows: list[list[float]]) -> None:
    """Missing values count for nothing; a feature never given has no usual value, so it moves nothing."""
    usual = taught(rows)
    table = np.array(rows)
    for index, name in enumerate(NAMES):
        given_values = table[:, index][~np.isnan(table[:, index])]
        found = moved(usual, [2e6] * 5, weighing(1, 1, 1, 1, 1), (index,))
        if not len(given_values):
            assert found == []
        else:
            mean = pytest.approx(given_values.mean(), rel=1e-9, abs=1e-6)
            assert [(each[0], each[1], each[2]) for each in found] == [(name, 2e6, mean)]


@given(vectors, vectors)
def test_it_goes_on_from_its_state(before: list[list[float]], after: list[list[float]]) -> None:
    """Written and read in between, the state is bit-equal."""
    assert taught(after, taught(before).state()).state() == taught(before + after).state()


def test_the_three_that_raised_the_score_most_are_told() -> None:
    """Largest effect first, those that lowered it never, equal ones by their place."""
    usual = taught([[0, 0, 0, 0, 0], [2, 2, 2, 2, 2]])
    found = moved(usual, [3, 3, 3, 3, 3], weighing(1, 4, -9, 1, 2))
    assert found == [("y", 3, 1, 8), ("v", 3, 1, 4), ("x", 3, 1, 2)]


def test_only_what_the_model_sees_and_the_asset_gave_can_move_a_score() -> None:
    """A feature outside the model's, or missing in this vector, is passed over."""
    usual = taught([[1] * 5])
    assert moved(usual, [3, 3, math.nan, 3, 3], weighing(1, 1, 1, 1, 1), (1, 2)) == [("y", 3, 1, 2)]


def test_a_model_without_an_answer_tells_nothing() -> None:
    """Where the model is put aside on the changed vector, that feature is passed over."""
    usual = taught([[1] * 5])
    answers = iter([9.0, None, 1.0])
    found = moved(usual, [3] * 5, lambda _: next(answers), (0, 1))
    assert found == [("y", 3, 1, 8.0)]


def test_before_any_negative_nothing_is_usual() -> None:
    """A new target names no feature rather than guess."""
    assert moved(Attribution(NAMES), [3] * 5, weighing(1, 1, 1, 1, 1)) == []
