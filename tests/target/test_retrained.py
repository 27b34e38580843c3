"""Models of a target that are fitted in batch: the same rows through any crash, and few bytes an epoch."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier

from dataflows.estimators import Retrained
from dataflows.fleet import FleetError
from dataflows.instants import HOUR
from dataflows.target.models import ModelSet
from dataflows.testing import pump_fleet
from tests.target.fleets import FEATURES, PartStore, fleet, model, target
from tests.target.streams import _lines, observed
from tests.target.worlds import encoded, opened, recording

if TYPE_CHECKING:
    from dataflows.fleet.fleet import Fleet


def refit() -> Fleet:
    """Three models that are fitted: by examples, by time, and with few examples kept."""

    def tree() -> DecisionTreeClassifier:
        return DecisionTreeClassifier(max_depth=3, random_state=1)

    models = [
        model("counted", lambda: Retrained(tree(), every=6, keep=100, lag=3)),
        model("timed", lambda: Retrained(tree(), every="9h", lag="4h")),
        model("short", lambda: Retrained(tree(), every=5, keep=8, lag=0), features=(0, 2)),
        model("linear"),
    ]
    return fleet(target(models, label_memory=10_000 * HOUR), figures_from=None)


@pytest.mark.parametrize(("seed", "size"), [(1, 1), (2, 1), (3, 3), (4, 7), (5, 12)])
def test_crashes_change_no_row(seed: int, size: int) -> None:
    """A fit takes effect at the same record with the same scores, whatever was written before."""
    chance = random.Random(seed)
    items = observed(refit(), recording())
    whole = encoded(opened(refit()).process([*items]))
    assert sum(b'"refit"' in row[-1].data for row in whole) >= 4
    store, group, out = PartStore(), opened(refit()), []
    for start in range(0, len(items), size):
        out += encoded(group.process(items[start : start + size]))
        store.after_batch(group)
        if chance.random() < 0.7:
            store.end_epoch(group, chance)
            if chance.random() < 0.5:
                main, parts = store.crash()
                group = opened(refit(), main=main, parts=parts)
    assert out == whole


def test_an_example_between_two_fits_writes_neither_models_nor_older_examples() -> None:
    """Its kept copy is part 0 of the kept ones."""
    store, group, sizes = PartStore(), opened(refit()), []
    for item in observed(refit(), recording()):
        group.process([item])
        store.after_batch(group)
        sizes.append(store.end_epoch(group))
    quiet = [size for size in sizes if 66 in size and not {0, 1, 2} & {*size}]
    assert quiet
    assert not any(part > 66 for size in sizes for part in size)


def test_of_the_negatives_one_in_so_many_is_kept_and_weighs_as_much() -> None:
    """All positives are kept, the other models learn from all examples, and fits see the weights."""
    fitted = model("fitted", lambda: Retrained(DecisionTreeClassifier(max_depth=1), every=40, lag=0))
    models = ModelSet("pump", (fitted, model("linear")), FEATURES, None, {}, thin=8)
    draw = random.Random(3)
    for number in range(4_000):
        values = np.array([draw.random() for _ in FEATURES])
        models.learn("a", number, values.tobytes(), int(number % 50 == 0), {})
    kept = models.kept
    _, labels = kept.between(kept.first, kept.count)
    weights = kept.weights(kept.first, kept.count)
    assert labels.sum() == 80
    assert {*weights[labels == 1].tolist()} == {1}
    assert {*weights[labels == 0].tolist()} == {8}
    assert 3_920 * 0.9 < weights[labels == 0].sum() < 3_920 * 1.1
    assert models.learned == 4_000
    score, link = models.answer("fitted", np.full(len(FEATURES), 0.5).tobytes())
    assert link == "class"
    assert score is not None
    # Without weights it would be eight times as much.
    assert score < 0.06


def test_a_classifier_without_weights_is_refused_where_negatives_are_thinned() -> None:
    """So is a target that fits no model, where nothing would be thinned."""
    neighbours = {"pipeline": [{"estimator": "sklearn.neighbors.KNeighborsClassifier"}], "refit_every": 100}
    asked = {"class": "pump", "mode": "leak", "horizon": "12h", "thin_negatives": 10}
    with pytest.raises(FleetError, match="take the weights of examples"):
        pump_fleet({"near": neighbours}, targets=[{**asked, "champion": "near"}])
    with pytest.raises(FleetError, match="no model with refit_every"):
        pump_fleet({"linear": {"template": "linear"}}, targets=[{**asked, "champion": "linear"}])
    boosted = {"template": "boosting", "refit_every": 100}
    made = pump_fleet({"boosted": boosted}, targets=[{**asked, "champion": "boosted"}])
    assert made.targets["pump/leak/12h"].thin_negatives == 10


def test_a_model_without_a_fit_answers_with_the_prior() -> None:
    """Until both labels were fitted, its link says so."""
    rows = opened(refit()).process(
        observed(refit(), _lines([(hour, "a", "telemetry", 1.0, 0) for hour in range(9)]))
    )
    assert all(b'"link":"prior"' in row.body.data for row in rows if row.body.output == "predictions")
