"""What the scorer relies on, held by every model of every example fleet."""

from __future__ import annotations

import math
import pickle
import random
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from dataflows.fleet import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dataflows.fleet import Model

ROOT = Path(__file__).resolve().parents[2]

Example = tuple[dict[str, float], bool]
Scores = list[dict[bool, float]]


class Estimator(Protocol):
    def learn_one(self, x: dict[str, float], y: bool) -> object: ...
    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]: ...


def catalogue() -> dict[str, tuple[Model, tuple[str, ...]]]:
    """Every model of every target, with the names of what it sees; once where targets use it alike."""
    found: dict[str, tuple[Model, tuple[str, ...]]] = {}
    for path in sorted(ROOT.glob("examples/*/fleet.toml")):
        fleet = load(path, environ={})
        for target in fleet.targets.values():
            names = fleet.classes[target.asset_class].features
            for model in target.models:
                seen = model.scores or tuple(names[index] for index in model.features)
                if (model.spec, seen) not in [(known.spec, kept) for known, kept in found.values()]:
                    found[f"{fleet.name}: {target.name}: {model.name}"] = model, seen
    return found


CATALOGUE = catalogue()
every_model = pytest.mark.parametrize("key", CATALOGUE)


def fresh(key: str) -> Estimator:
    """A new estimator of a model."""
    return CATALOGUE[key][0].build()


def examples(key: str, count: int = 400, seed: int = 1) -> list[Example]:
    """Examples with gaps, a tenth positive, that can be told apart; of scores no gaps, and most positive."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        if CATALOGUE[key][0].scores:
            positive = draw.random() < 0.7
            served = {name: draw.betavariate(2 + positive, 3 - positive) for name in CATALOGUE[key][1]}
            made.append((served, positive))
            continue
        positive = draw.random() < 0.1
        x = {
            name: draw.gauss(50 + 30 * positive * (place % 3), 10 + place)
            for place, name in enumerate(CATALOGUE[key][1])
            if draw.random() > 0.05
        }
        made.append((x, positive))
    return made


def taught(key: str, learned: Iterable[Example]) -> Estimator:
    """A new estimator that learned examples."""
    estimator = fresh(key)
    for x, y in learned:
        estimator.learn_one(x, y)
    return estimator


def scores(estimator: Estimator, asked: Iterable[Example]) -> Scores:
    return [estimator.predict_proba_one(x) for x, _ in asked]


def test_every_example_fleet_is_held_to_the_contract() -> None:
    """No fleet file of the examples is left out."""
    fleets = {path.parent.name for path in ROOT.glob("examples/*/fleet.toml")}
    assert len(fleets) >= 2
    assert len({key.partition(":")[0] for key in CATALOGUE}) == len(fleets)


@every_model
def test_scores_are_probabilities(key: str) -> None:
    """Once it learned both labels, it gives finite numbers between 0 and 1, which add up to 1."""
    for answer in scores(taught(key, examples(key)), examples(key, 100, 2)):
        assert all(math.isfinite(share) and 0 <= share <= 1 for share in answer.values())
        assert sum(answer.values()) == pytest.approx(1)


@every_model
def test_it_learns(key: str) -> None:
    """Its scores are not those of a model that learned nothing."""
    asked = examples(key, 20, 2)
    assert scores(taught(key, examples(key)), asked) != scores(fresh(key), asked)


@every_model
def test_scoring_changes_nothing(key: str) -> None:
    """Neither its pickle nor what it learns and says afterwards: an epoch without learning writes nothing."""
    learned, asked = examples(key), examples(key, 50, 2)
    quiet, asked_much = fresh(key), fresh(key)
    for number, (x, y) in enumerate(learned):
        asked_much.predict_proba_one(asked[number % len(asked)][0])
        quiet.learn_one(x, y)
        asked_much.learn_one(x, y)
    assert scores(asked_much, asked) == scores(quiet, asked)
    before = pickle.dumps(quiet, protocol=5)
    scores(quiet, asked)
    assert pickle.dumps(quiet, protocol=5) == before


@every_model
def test_scoring_before_learning_changes_nothing(key: str) -> None:
    """A model that was asked before it learned anything learns as one that was not."""
    estimator, asked = fresh(key), examples(key, 20, 2)
    scores(estimator, asked)
    for x, y in examples(key):
        estimator.learn_one(x, y)
    assert scores(estimator, asked) == scores(taught(key, examples(key)), asked)


@every_model
@pytest.mark.parametrize("every", [1, 7, 150])
def test_a_pickled_copy_learns_on_bit_equally(key: str, every: int) -> None:
    """Written and read back again and again, it says exactly what one says that was never written."""
    estimator, asked = fresh(key), examples(key, 50, 2)
    for number, (x, y) in enumerate(examples(key)):
        if number % every == 0:
            estimator = pickle.loads(pickle.dumps(estimator, protocol=5))  # noqa: S301 - its own
        estimator.learn_one(x, y)
    assert scores(estimator, asked) == scores(taught(key, examples(key)), asked)


@every_model
def test_two_builds_are_alike(key: str) -> None:
    """Two runs of one catalogue give the same numbers."""
    asked = examples(key, 50, 2)
    one, other = taught(key, examples(key)), taught(key, examples(key))
    assert scores(one, asked) == scores(other, asked)


@every_model
@pytest.mark.parametrize(
    "order", [sorted, lambda names: sorted(names, reverse=True), lambda names: sorted(names, key=hash)]
)
def test_the_order_of_features_does_not_matter(key: str, order: Callable[[Iterable[str]], list[str]]) -> None:
    """A feature vector in another order has the same score, but for the last digit of a sum."""
    estimator = taught(key, examples(key))
    for x, _ in examples(key, 50, 2):
        turned = {name: x[name] for name in order(x)}
        answer, expected = estimator.predict_proba_one(turned), estimator.predict_proba_one(x)
        assert answer.keys() == expected.keys()
        for label, share in expected.items():
            assert answer[label] == pytest.approx(share, rel=1e-9, abs=1e-12)


@every_model
def test_missing_features_are_tolerated(key: str) -> None:
    """It learns and scores with any features absent, all of them too, and features that come later."""
    names = CATALOGUE[key][1]
    estimator = fresh(key)
    draw = random.Random(3)
    for x, y in examples(key):
        share = draw.choice([0.0, 0.2, 1.0])
        part = {name: value for name, value in x.items() if draw.random() < share}
        estimator.learn_one(part, y)
        for asked in (part, x, {}):
            for value in (estimator.predict_proba_one(asked) or {}).values():
                assert math.isfinite(value)
    late = fresh(key)
    for number, (x, y) in enumerate(examples(key)):
        late.learn_one({name: x[name] for name in names[: 1 + number // 20] if name in x}, y)
    assert all(0 <= share <= 1 for answer in scores(late, examples(key, 20, 2)) for share in answer.values())


@every_model
def test_what_it_is_given_stays_as_it_is(key: str) -> None:
    """Models share one dict of features, so none may write into it."""
    estimator = fresh(key)
    for x, y in examples(key, 50):
        before = list(x.items())
        estimator.learn_one(x, y)
        estimator.predict_proba_one(x)
        assert list(x.items()) == before


@every_model
def test_one_label_alone_is_no_trouble(key: str) -> None:
    """Before the first positive it may have no opinion, and whatever it has is a probability."""
    estimator = fresh(key)
    for x, _ in examples(key, 50):
        estimator.learn_one(x, False)
        assert 0 <= (estimator.predict_proba_one(x) or {}).get(True, 0.0) <= 1
