"""Mixtures of experts: bounds that hold on any sequence, what they learn, and what a kill leaves of them."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.estimators import Mixture
from dataflows.fleet.fleet import Model
from dataflows.testing import CHECKS, Examples
from tests.target.bench import Bench
from tests.target.fleets import model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

NAMES = ("a", "b", "c", "d")
SURE = 1e-9
SCORES = st.floats(0.0, 1.0)
Rounds = list[tuple[dict[str, float], bool]]


def loss(score: float, *, label: bool) -> float:
    """Log loss, of scores held as the mixture holds them."""
    held = min(max(score, SURE), 1.0 - SURE)
    return -math.log(held if label else 1.0 - held)


def losses(mixture: Mixture, rounds: Iterable[tuple[Mapping[str, float], bool]]) -> list[float]:
    """Test, then learn: the loss of each round."""
    found = []
    for scores, label in rounds:
        found.append(loss(mixture.predict_proba_one(scores)[True], label=label))
        mixture.learn_one(scores, label)
    return found


def drawn(count: int, seed: int = 1) -> Rounds:
    """Rounds in which two experts see one half of what matters each, and a third sees nothing."""
    draw = random.Random(seed)
    rounds = []
    for _ in range(count):
        one, other = draw.gauss(0, 1.5), draw.gauss(0, 1.5)
        label = draw.random() < 1.0 / (1.0 + math.exp(-(one + other)))
        scores = {"a": 1 / (1 + math.exp(-one)), "b": 1 / (1 + math.exp(-other)), "c": 0.5}
        rounds.append((scores, label))
    return rounds


@given(st.lists(st.tuples(st.fixed_dictionaries(dict.fromkeys(NAMES, SCORES)), st.booleans()), max_size=60))
def test_the_aggregate_loses_at_most_ln_k_more_than_the_best_expert(rounds: Rounds) -> None:
    """On any sequence, and whatever the experts say, 0 and 1 included."""
    best = min(sum(loss(scores[name], label=label) for scores, label in rounds) for name in NAMES)
    assert sum(losses(Mixture(method="aggregate"), rounds)) <= best + math.log(len(NAMES)) + 1e-6


@given(
    st.lists(
        st.tuples(st.dictionaries(st.sampled_from(NAMES), SCORES, min_size=1), st.booleans()), max_size=60
    )
)
def test_the_bound_holds_where_experts_sleep(rounds: Rounds) -> None:
    """Over the examples at which an expert was awake, those at which it slept count for nobody."""
    mixture = Mixture(method="aggregate")
    mixture.learn_one(dict.fromkeys(NAMES, 0.5), y=True)  # all are known, and equal
    found = losses(mixture, rounds)
    for name in NAMES:
        awake = [
            (mine, scores[name], label)
            for mine, (scores, label) in zip(found, rounds, strict=True)
            if name in scores
        ]
        regret = sum(mine - loss(score, label=label) for mine, score, label in awake)
        assert regret <= math.log(len(NAMES)) + 1e-6


@given(
    st.lists(
        st.tuples(st.fixed_dictionaries(dict.fromkeys(NAMES, SCORES)), st.booleans()), min_size=2, max_size=40
    ),
    st.data(),
)
def test_a_fixed_share_follows_a_change_of_the_best_expert(rounds: Rounds, data: st.DataObject) -> None:
    """Against one expert up to a round and another from there on, at the price of one change."""
    share, at = 0.05, data.draw(st.integers(1, len(rounds) - 1))
    total = sum(losses(Mixture(method="aggregate", share=share), rounds))
    best = sum(
        min(sum(loss(scores[name], label=label) for scores, label in part) for name in NAMES)
        for part in (rounds[:at], rounds[at:])
    )
    stay, leave = 1.0 - share + share / len(NAMES), share / len(NAMES)
    price = math.log(len(NAMES)) - (len(rounds) - 2) * math.log(stay) - math.log(leave)
    assert total <= best + price + 1e-6


def test_a_stack_begins_as_the_mean_of_the_logits() -> None:
    """And an expert that sleeps leaves the mean of the others."""
    mixture = Mixture()
    logit = 0.5 * (math.log(0.9 / 0.1) + math.log(0.2 / 0.8))
    assert mixture.predict_proba_one({"a": 0.9, "b": 0.2})[True] == pytest.approx(1 / (1 + math.exp(-logit)))
    assert mixture.predict_proba_one({"b": 0.2})[True] == pytest.approx(0.2)
    assert mixture.predict_proba_one({}) == {}


def test_a_stack_is_better_than_its_best_expert_where_each_knows_a_half() -> None:
    """The sum of two logits is the truth here; the aggregate cannot do better than one of both."""
    rounds = drawn(4_000)
    best = min(sum(loss(scores[name], label=label) for scores, label in rounds) for name in "ab")
    stacked, aggregated = (sum(losses(Mixture(method=method), rounds)) for method in ("stack", "aggregate"))
    assert stacked < best - 200
    assert best - 5 <= aggregated <= best + math.log(3)


def test_the_shares_of_a_stack_are_those_of_its_logits() -> None:
    """They add up to 1, and the expert that sees nothing has less than the others."""
    mixture = Mixture()
    losses(mixture, drawn(4_000))
    shares = mixture.shares("abc")
    assert math.fsum(shares.values()) == pytest.approx(1.0)
    assert shares["c"] < min(shares["a"], shares["b"])


def test_an_expert_that_joins_gets_the_mean_weight_of_the_others() -> None:
    """It can become the best from there on, and does not begin at once as the best."""
    mixture = Mixture(method="aggregate")
    losses(mixture, drawn(200))
    rounds = [({**scores, "new": 0.999 if label else 0.001}, label) for scores, label in drawn(200, seed=2)]
    assert mixture.shares((*"abc", "new"))["new"] < 0.5
    losses(mixture, rounds)
    assert mixture.shares((*"abc", "new"))["new"] > 0.99


def test_calibeating_repairs_a_score_that_means_something_else() -> None:
    """Experts that say 0.9 where 30 % are positive, for a while after they were right for long."""
    rounds = [({"a": 0.9, "b": 0.9}, number % 10 < (9 if number < 1_000 else 3)) for number in range(8_000)]
    plain, beaten = Mixture(method="aggregate"), Mixture(method="aggregate", calibeat=20)
    losses(plain, rounds)
    losses(beaten, rounds)
    assert plain.predict_proba_one({"a": 0.9, "b": 0.9})[True] == pytest.approx(0.9)
    share = sum(label for _, label in rounds) / len(rounds)
    assert beaten.predict_proba_one({"a": 0.9, "b": 0.9})[True] == pytest.approx(share, abs=0.01)


def over(name: str, mixture: Callable[[], Mixture]) -> list[Model]:
    """Two models, and a mixture of them."""
    below = [model("linear"), model("bayes")]
    return [*below, Model(name, {"name": name}, below[0].features, mixture, scores=("linear", "bayes"))]


@pytest.mark.parametrize("method", ["stack", "aggregate"])
def test_a_mixture_goes_on_from_its_snapshot_to_the_last_bit(method: str) -> None:
    """Killed after every seventh example, it scores as one that never was."""

    def mixed() -> Mixture:
        return Mixture(method=method, share=0.01, calibeat=10.0)  # type: ignore[arg-type]

    never, killed = Bench(over("mixture", mixed)), Bench(over("mixture", mixed))
    for number in range(60):
        draw = random.Random(number)
        scores: dict[str, float | None] = {
            "linear": draw.random(),
            "bayes": draw.random() if number % 5 else None,
        }
        never.learn(number, scores)
        killed.learn(number, scores)
        if number % 7 == 0:
            killed.end_epoch()
            killed.open()
        assert never.scores(3) == killed.scores(3)


@pytest.mark.parametrize("method", ["stack", "aggregate"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_mixture_keeps_the_contract_of_models(
    method: str, check: Callable[[object, Examples], None]
) -> None:
    """What a run relies on."""
    check(Mixture(method=method, calibeat=20.0), Examples(NAMES, scores=True))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [{"method": "median"}, {"share": 1.0}, {"variance": 0.0}, {"calibeat": -1.0}]
)
def test_parameters_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    """The message says what was expected."""
    with pytest.raises(ValueError, match="expected"):
        Mixture(**wrong)  # type: ignore[arg-type]
