"""Models that see the scores of other models: what they expand to, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataflows.fleet import Fleet, Problem

CALIBRATION = [{"estimator": "dataflows.group.bayes.Calibration"}]


def above(*scores: str, **more: object) -> dict[str, Any]:
    """Overrides with one more model, which sees these scores."""
    return {"models": {"above": {"scores": list(scores), "pipeline": CALIBRATION, **more}}}


def test_it_stands_on_the_model_below(expanded: Callable[..., Fleet]) -> None:
    """It has that one's features, by which an alert names what moved it, and a spec that changes with it."""
    fleet, changed = (
        expanded(above("tree") | {"models": {**above("tree")["models"], **tree}})
        for tree in ({}, {"tree": {"pipeline": [{"estimator": "river.naive_bayes.GaussianNB"}]}})
    )
    models = {model.name: model for model in next(iter(fleet.targets.values())).models}
    assert models["above"].scores == ("tree",)
    assert models["above"].features == models["tree"].features
    assert models["tree"].scores == ()
    other = {model.name: model for model in next(iter(changed.targets.values())).models}
    assert other["above"].spec != models["above"].spec
    assert other["linear"].spec == models["linear"].spec


@pytest.mark.parametrize(
    ("overrides", "key", "expected"),
    [
        (above("tre"), "models.above.scores[0]", "a model that sees features"),
        (above("above"), "models.above.scores[0]", "a model that sees features"),
        (above("tree", features=["*"]), "models.above.features", "features or scores"),
    ],
)
def test_what_it_cannot_see_is_refused(
    refused: Callable[..., dict[str, Problem]], overrides: dict[str, Any], key: str, expected: str
) -> None:
    """An unknown model, one that sees scores itself, and features beside scores."""
    assert expected in refused(overrides)[key].expected


def test_a_target_needs_the_model_below(refused: Callable[..., dict[str, Problem]]) -> None:
    """Its scores are kept with the examples of the target only if the target has it."""
    table = {"class": "pump", "mode": "seal", "horizon": "24h", "champion": "above", "models": ["above"]}
    problems = refused(above("tree") | {"targets": [table]})
    assert "also tree, whose scores above sees" in problems["targets[0].models"].expected


def test_a_mixture_is_made_of_all_models_of_its_target(expanded: Callable[..., Fleet]) -> None:
    """`champion = "mixture"` needs no entry in the catalogue; models of scores are no experts."""
    table = {"class": "pump", "mode": "seal", "horizon": "24h", "champion": "mixture"}
    fleet = expanded(above("tree") | {"targets": [table]})
    (target,) = fleet.targets.values()
    models = {model.name: model for model in target.models}
    assert target.champion == "mixture"
    assert models["mixture"].scores == tuple(name for name in models if name not in {"above", "mixture"})
    assert type(models["mixture"].build()).__name__ == "Mixture"


def test_a_mixture_of_the_catalogue_goes_before_the_one_that_is_made(expanded: Callable[..., Fleet]) -> None:
    """A model named mixture is what the catalogue says."""
    own = {"models": {"mixture": above("tree")["models"]["above"]}}
    table = {"class": "pump", "mode": "seal", "horizon": "24h", "champion": "mixture"}
    (target,) = expanded(own | {"targets": [table]}).targets.values()
    assert [model.scores for model in target.models if model.name == "mixture"] == [("tree",)]


def test_a_mixture_of_one_is_refused(refused: Callable[..., dict[str, Problem]]) -> None:
    """One model is no mixture; a model that is not listed is no expert."""
    table = {"class": "pump", "mode": "seal", "horizon": "24h", "champion": "mixture", "models": ["tree"]}
    problems = refused({"targets": [table]})
    assert problems["targets[0].models"].expected == "at least two models that see features, for the mixture"
