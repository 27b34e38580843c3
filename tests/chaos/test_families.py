"""Every family of the catalogue goes on after kill -9 as if nothing had happened."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from dataflows.fleet import load
from dataflows.fleet.catalogue import families
from tests.chaos.harness import Moment, assert_same, finish, inline_outputs, kill, prepare, rows
from tests.target.promotions import document, recording

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.ci

KILLS = 8
#: Smaller than by default, so that it takes seconds; fitted in batch five times.
_SMALL = """
[models.online]
template = [{online}]
[models.forests]
template = ["adaptive_forest", "mondrian_forest"]
set = {{ trees = 2 }}
[models.anomaly]
template = "anomaly"
set = {{ trees = 2, height = 3 }}
[models.neighbours]
template = "nearest_neighbours"
set = {{ neighbours = 3, window = 50 }}
[models.fitted]
template = ["boosting", "light_boosting"]
set = {{ rounds = 3, least = 5 }}
refit_every = 200
refit_lag = 50
[models.forest]
template = "forest"
set = {{ trees = 3 }}
refit_every = 200
refit_lag = 50
[models.logistic]
template = "logistic"
refit_every = 200
refit_lag = 50
[models.limit]
template = "rule"
set = {{ score = '"flow" > 5' }}
"""
_ONLINE = [
    *("linear", "bayesian", "naive_bayes", "hoeffding_tree", "adaptive_tree", "bagging"),
    "time_to_failure",
]
HOURS = 110


def test_kills_change_no_score_of_any_family(tmp_path: Path) -> None:
    """Scores of every model, example by example, and what each publishes: the same bytes after kills."""
    online = ", ".join(f'"{name}"' for name in _ONLINE)
    text = document(promotion="off", more=_SMALL.format(online=online)).replace("judge_positives = 5", "")
    lines = [*recording(HOURS)]
    fleet = prepare(tmp_path / "killed", lines, text)
    (target,) = load(fleet, environ={}).targets.values()
    used = {
        *_ONLINE,
        *("adaptive_forest", "mondrian_forest", "anomaly", "nearest_neighbours", "prior", "rule"),
        *("boosting", "light_boosting", "forest", "logistic"),
    }
    assert used == {*families()}
    expected = inline_outputs(fleet)
    last = rows(expected["evaluations"])[-1]["scores"]
    assert set(last) == {model.name for model in target.models}
    assert len(set(last.values())) > len(last) // 2, "the models have learned different things"
    fits = [row for row in rows(expected["changes"]) if row["change"] == "refit"]
    assert len({row["model"] for row in fits}) == 4

    chance = random.Random(2)
    moments = sorted(chance.sample(range(len(lines) // 4, len(lines)), KILLS))
    killed = [kill(fleet, Moment(records=moment), pause=0.003, FLEET_BATCH="20") for moment in moments]
    assert len({each.resumed for each in killed}) >= KILLS // 2
    assert_same(finish(fleet), expected)
