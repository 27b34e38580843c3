"""Past failures that a model learns again: which are kept, what becomes of probabilities, and state."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from river import naive_bayes, tree

from dataflows.estimators import Prior, Rehearsal, from_stored, to_stored
from dataflows.pipeline import run_inline
from dataflows.testing import CHECKS, Examples, pump_fleet
from tests.target.moving import TARGET, recording

if TYPE_CHECKING:
    from collections.abc import Callable


class Notes:
    """A classifier that notes what it learns."""

    def __init__(self) -> None:
        self.learned: list[tuple[float, bool]] = []

    def learn_one(self, x: dict[str, float], y: bool) -> None:
        self.learned.append((x["number"], y))

    def predict_proba_one(self, _: dict[str, float]) -> dict[bool, float]:
        return {}


def fleet_of(estimator: dict[str, Any]) -> Any:  # noqa: ANN401 - as the builder of the tests
    """Pumps with one model."""
    classes = {"pump": {"sensors": ["flow", "pressure"], "allowed_lateness": "1h", "example_every": "3h"}}
    return pump_fleet({"bayes": {"pipeline": [estimator]}}, classes=classes, targets=[TARGET])


def test_a_failure_is_learned_again_after_so_many_examples_without_one() -> None:
    """In turn, those that are kept; nothing is repeated before the first failure."""
    notes = Notes()
    model = Rehearsal(notes, failures=2, every=3)
    for number in range(12):
        model.learn_one({"number": number}, number in {4, 5})
    expected = [(0, False), (1, False), (2, False), (3, False), (4, True), (5, True), (6, False), (4, True)]
    expected += [(7, False), (8, False), (9, False), (5, True), (10, False), (11, False)]
    assert notes.learned == expected


def test_every_failure_is_kept_as_often_as_any_other() -> None:
    """Over many reservoirs of 20 of 200 failures, the first, the middle and the last hundreds are alike."""
    kept: Counter[int] = Counter()
    for length in range(200, 1_200, 50):
        model = Rehearsal(Notes(), failures=20)
        for number in range(length):
            model.learn_one({"number": number}, y=True)
        assert len(model.kept) == 20
        kept.update(int(4 * each["number"] / length) for each in model.kept)
    assert all(70 <= kept[quarter] <= 130 for quarter in range(4))


def test_a_probability_is_not_raised_by_what_is_learned_again() -> None:
    """The share of failures, which is all that a running prior knows, stays what it was."""
    plain, again = Prior(), Rehearsal(Prior(), every=10)
    for number in range(5_000):
        for model in (plain, again):
            model.learn_one({"a": 1.0}, number % 100 == 0)
    assert again.repeated > 400
    expected = plain.predict_proba_one({})[True]
    assert again.predict_proba_one({})[True] == pytest.approx(expected, rel=0.02)
    assert sum(again.predict_proba_one({}).values()) == pytest.approx(1.0)


def test_it_goes_on_from_its_bytes_to_the_last_bit() -> None:
    """Stored in the middle, it keeps, repeats and scores as one that was not."""
    chance = random.Random(3)
    rows = [({"a": chance.gauss(), "b": chance.gauss()}, chance.random() < 0.05) for _ in range(3_000)]
    for build in (naive_bayes.GaussianNB, tree.HoeffdingTreeClassifier):
        whole = Rehearsal(build(), failures=5, every=7)
        parted = Rehearsal(build(), failures=5, every=7)
        for number, (x, y) in enumerate(rows):
            whole.learn_one(x, y)
            parted.learn_one(x, y)
            if number % 500 == 0:
                parted = from_stored(to_stored(parted))
        assert parted.kept == whole.kept
        assert [parted.predict_proba_one(x) for x, _ in rows] == [whole.predict_proba_one(x) for x, _ in rows]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_the_contract_of_models(check: Callable[[object, Examples], None]) -> None:
    """Each check of `dataflows.testing`, over a classifier of River's, with many repetitions."""
    check(Rehearsal(naive_bayes.GaussianNB(), every=5), Examples(("load", "speed", "heat")))


def test_a_fleet_declares_it_around_another_estimator() -> None:
    """It serves, learns, and is stored as any other model."""
    model = {"estimator": "dataflows.estimators.Rehearsal", "every": 5}
    model |= {"model": {"estimator": "river.naive_bayes.GaussianNB"}}
    rows = run_inline(fleet_of(model), recording("none", days=6))
    assert not rows.get("rejects")
    scores = [row["score"] for row in rows["predictions"] if row["link"] == "class"]
    assert max(scores) > 0.9
    assert min(scores) < 0.01


@pytest.mark.parametrize("how", [{"failures": 0}, {"every": 0}])
def test_a_reservoir_of_nothing_is_refused(how: dict[str, int]) -> None:
    """It says what was expected."""
    with pytest.raises(ValueError, match="failures >= 1 and every >= 1"):
        Rehearsal(Prior(), **how)
