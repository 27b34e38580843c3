"""What a run relies on, held by every model of every example fleet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dataflows.estimators.retrained import Retrained
from dataflows.fleet import load
from dataflows.testing import CHECKS, Examples

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataflows.fleet import Model

ROOT = Path(__file__).resolve().parents[2]


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


def test_every_example_fleet_is_held_to_the_contract() -> None:
    """No fleet file of the examples is left out."""
    fleets = {path.parent.name for path in ROOT.glob("examples/*/fleet.toml")}
    assert len(fleets) >= 2
    assert len({key.partition(":")[0] for key in CATALOGUE}) == len(fleets)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("key", CATALOGUE)
def test_every_model_of_the_examples_keeps_the_contract(
    key: str, check: Callable[[object, Examples], None]
) -> None:
    """Each check of `dataflows.testing`, on what the model sees; what is fitted by time, by count."""
    model, seen = CATALOGUE[key]
    estimator = model.build()
    if isinstance(estimator, Retrained):
        # The examples of the checks have no times, and are fewer than a fit takes in an example fleet.
        estimator = Retrained(estimator.classifier, every=100, lag=10)
    check(estimator, Examples(seen, scores=bool(model.scores)))
