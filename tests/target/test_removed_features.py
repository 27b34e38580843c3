"""A champion goes on after a feature that it learned was removed: it is missing until it comes back."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from river import compose, ensemble, forest, linear_model, naive_bayes, preprocessing, tree

from dataflows.estimators import BayesianLogistic, Calibration, Prior
from dataflows.fleet.fleet import Model
from dataflows.state.layouts import Refit
from dataflows.target.models import ModelSet, dict_of

if TYPE_CHECKING:
    from collections.abc import Callable

BEFORE = ("x", "gone", "y", "z")
AFTER = ("z", "x", "new", "y")
BUILDS: dict[str, Callable[[], Any]] = {
    "prior": Prior,
    "bayesian": BayesianLogistic,
    "linear": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    "bare linear": linear_model.LogisticRegression,
    "discarded": lambda: (
        compose.Discard("gone") | preprocessing.StandardScaler() | linear_model.LogisticRegression()
    ),
    "imputed": lambda: (
        preprocessing.StatImputer() | preprocessing.StandardScaler() | linear_model.LogisticRegression()
    ),
    "naive Bayes": naive_bayes.GaussianNB,
    "tree": lambda: tree.HoeffdingTreeClassifier(grace_period=5, max_depth=3),
    "forest": lambda: forest.ARFClassifier(n_models=3, seed=1, grace_period=5),
    "bagged": lambda: ensemble.BaggingClassifier(linear_model.LogisticRegression(), n_models=3, seed=1),
    "min-max": lambda: preprocessing.MinMaxScaler() | linear_model.PAClassifier(),
}


def vector(chance: random.Random, names: tuple[str, ...]) -> bytes:
    return np.array([chance.uniform(-2, 2) for _ in names]).tobytes()


#: Features and scores as served, by asset and time.
Served = dict[tuple[str, int], tuple[bytes, dict[str, float | None]]]


def opened(model: str, features: tuple[str, ...], kept: ModelSet | None, served: Served) -> ModelSet:
    """A model and the calibration of its scores; where ``kept`` is given, as a resume finds them."""
    picks = tuple(range(len(features)))
    models = (
        Model(model, {"name": model}, picks, BUILDS[model]),
        Model("above", {"name": "above"}, picks, lambda: Calibration(3), scores=(model,)),
    )
    if kept is None:
        return ModelSet("target", models, features, None, {})
    refit = Refit(kept._features, features) if kept._features != features else None
    main, parts = kept.main_state(), {number: kept.part(number) for number in range(16)}
    scorer = ModelSet("target", models, features, main, parts, champion="above", refit=refit)
    scorer.replay(list(kept.log), kept.log_start, served)
    if refit is not None:
        served.update({key: (refit(values), scores) for key, (values, scores) in served.items()})
    return scorer


def learn(scorer: ModelSet, seed: int, count: int, served: Served) -> None:
    chance = random.Random(seed)
    for number in range(count):
        features = vector(chance, scorer._features)
        scores = {name: score for name, (score, _) in scorer.answers(features).items()}
        positive = int(np.frombuffer(features)[0] + chance.gauss(0, 0.5) > 1)
        served["a", seed * 1_000 + number] = features, scores
        scorer.learn("a", seed * 1_000 + number, features, positive, scores)


@pytest.mark.parametrize("model", BUILDS)
def test_what_is_learned_again_has_the_features_of_its_time(model: str) -> None:
    """Scores under other features do not depend on when models were last written, and all are written."""
    served: Served = {}
    kept = opened(model, BEFORE, None, served)
    learn(kept, 1, 60, served)
    early = {number: kept.part(number) for number in range(16)}
    learn(kept, 2, 40, served)
    late, main, picks = {number: kept.part(number) for number in range(16)}, kept.main_state(), range(4)
    models = (
        Model(model, {"name": model}, tuple(picks), BUILDS[model]),
        Model("above", {"name": "above"}, tuple(picks), lambda: Calibration(3), scores=(model,)),
    )
    chance, found = random.Random(3), []
    vectors = [vector(chance, AFTER) for _ in range(20)]
    for parts in (early, late):
        again = ModelSet("target", models, AFTER, main, parts, champion="above", refit=Refit(BEFORE, AFTER))
        again.replay(list(kept.log), kept.log_start, served)
        assert {again.version(label).part for label in again.names()} <= {*again.changed()}
        found.append([again.answer("above", values) for values in vectors])
        found.append([again.answer(model, values) for values in vectors])
    assert found[:2] == found[2:]


@pytest.mark.parametrize("model", BUILDS)
def test_a_champion_goes_on_without_a_feature_that_it_learned(model: str) -> None:
    """No error, the score of a dict without that feature, and learning; a resume changes nothing of it."""
    served: Served = {}
    before = opened(model, BEFORE, None, served)
    learn(before, 1, 120, served)
    after = opened(model, AFTER, before, served)
    estimator, names = after._versions[model].estimator, after._versions[model].names
    assert set(names) == {"x", "y", "z"}
    chance = random.Random(2)
    for _ in range(9):
        features = vector(chance, AFTER)
        x = dict_of(names, np.frombuffer(features)[[AFTER.index(name) for name in names]])
        if model == "imputed":
            x = {name: x.get(name) for name in names}
        score, link = after.answer(model, features)
        assert link == "class"
        assert score == pytest.approx(estimator.predict_proba_one(x)[True], abs=1e-12)
        assert after.answer("above", features)[1] == "class"
        assert after.answers(features)[model][0] == pytest.approx(score, abs=1e-12)
    learn(after, 3, 60, served)
    again = opened(model, AFTER, after, served)
    for scorer in (after, again):
        learn(scorer, 4, 60, served)
        assert scorer.errors() == {}
    features = vector(chance, AFTER)
    assert again.answers(features) == after.answers(features)


@pytest.mark.parametrize("learned", [0, 60])
@pytest.mark.parametrize("model", BUILDS)
def test_a_feature_that_comes_back_is_seen_again(model: str, learned: int) -> None:
    """A change that is taken back, at once or after examples, takes nothing from a champion."""
    served: Served = {}
    before = opened(model, BEFORE, None, served)
    learn(before, 1, 120, served)
    between = opened(model, AFTER, before, served)
    learn(between, 3, learned, served)
    back = opened(model, BEFORE, between, served)
    assert {*back._versions[model].names} == {*BEFORE}
    for number in range(9):
        features = vector(random.Random(number), BEFORE)
        if not learned:
            expected, _ = before.answer(model, features)
            assert back.answer(model, features)[0] == pytest.approx(expected, abs=1e-12)
    learn(back, 4, 60, served)
    assert back.errors() == {}
    again = opened(model, BEFORE, back, served)
    assert again.answers(features) == back.answers(features)


def test_a_model_that_insists_on_a_removed_feature_gives_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """River's Select raises where a key is not there: the prior answers, and the errors are counted."""
    monkeypatch.setitem(
        BUILDS, "selected", lambda: compose.Select("x", "gone") | linear_model.LogisticRegression()
    )
    served: Served = {}
    before = opened("selected", BEFORE, None, served)
    learn(before, 1, 120, served)
    after = opened("selected", AFTER, before, served)
    assert after.answer("selected", vector(random.Random(2), AFTER)) == (None, "prior")
    assert after.answer("above", vector(random.Random(2), AFTER))[1] == "prior"
    assert after.errors() == {"selected": 2}
