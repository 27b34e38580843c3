"""Models that see the scores of others: asked after them, taught what was served."""

from __future__ import annotations

from dataflows.fleet.fleet import Model
from dataflows.target.models import ModelSet
from tests.target.bench import Bench, example
from tests.target.fleets import FEATURES, model
from tests.target.learners import Breaking


class Echo:
    """Says the one score that it sees, and remembers what it learned."""

    def __init__(self) -> None:
        self.learned: list[dict[str, float]] = []

    def learn_one(self, x: dict[str, float], y: bool) -> None:  # noqa: ARG002 - River's signature
        self.learned.append(dict(x))

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
        (score,) = x.values()
        return {True: score, False: 1 - score}


def stacked() -> list[Model]:
    """A model below, and a running mean of what it said."""
    below = model("linear")
    return [below, Model("above", {"name": "above"}, below.features, Echo, scores=("linear",))]


def test_a_model_of_scores_sees_what_the_other_one_says() -> None:
    """Whether it is asked alone or with all; with nothing to see, the prior answers."""
    bench = Bench(stacked())
    features = example(7)[0]
    assert bench.scorer.answers(features)["above"] == (0.5, "prior")
    for number in range(20):
        bench.learn(number)
    below = bench.scorer.answers(features)["linear"][0]
    assert bench.scorer.answers(features)["above"] == (below, "class")
    assert bench.scorer.answer("above", features) == (below, "class")


def test_a_model_of_scores_learns_them_as_they_were_served() -> None:
    """Not as the model below would score the same example now; a score that was not there is absent."""
    scorer = ModelSet("pump/leak/4h", tuple(stacked()), FEATURES, None, {})
    estimator = scorer._versions["above"].estimator
    scorer.learn("a", 1, *example(1), {"linear": 0.125, "above": 0.9})
    scorer.learn("a", 2, *example(2), {"linear": None})
    scorer.learn("a", 3, *example(3), {})
    assert estimator.learned == [{"linear": 0.125}, {}, {}]


def test_a_model_of_scores_is_silent_with_the_one_below() -> None:
    """When the model below was put aside, the prior answers for both."""
    below = model("broken", lambda: Breaking(after=1, how="score"))
    above = Model("above", {"name": "above"}, below.features, Echo, scores=("broken",))
    bench = Bench([below, above])
    for number in range(60):
        bench.learn(number)
        bench.scores(1)
    answers = bench.scorer.answers(example(2)[0])
    assert answers["broken"] == (None, "prior")
    assert answers["above"] == (bench.scorer.prior, "prior")
