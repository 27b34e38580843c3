"""Fleets drawn from a pool are judged as if each had been run; what the table says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dataflows.evaluation.estimates import Estimate, rescored
from dataflows.fleet import load
from dataflows.scoring import log_losses
from dataflows.tools.estimate import evaluations_of, without_models
from dataflows.tools.tradeoff import only
from studies.estimates import judged, pool, summary
from tests.report.pumps import FLEET, recorded

if TYPE_CHECKING:
    from pathlib import Path


def test_a_part_of_the_pool_is_judged_as_a_fleet_that_was_run(tmp_path: Path) -> None:
    """Two of four pumps, run alone: same examples, and the same loss but for the order within one instant."""
    (tmp_path / "fleet.toml").write_text(FLEET)
    fleet = only(load(tmp_path / "fleet.toml"), None, "linear")
    [target] = fleet.targets.values()
    whole = recorded(["a", "b", "c", "d"], 16)
    of_pool = evaluations_of(without_models(fleet, target.name), whole, target.name)
    alone = evaluations_of(fleet, [line for line in whole if b'"a"' in line or b'"b"' in line], target.name)
    part = of_pool.where(np.isin(of_pool.assets, ["a", "b"]))
    made = rescored(part, target.models[0].build, fleet.classes["pump"].features, "linear")
    late = made.times >= np.median(made.times)
    run = dict(zip(alone.ids.tolist(), alone.scores[:, alone.models.index("linear")].tolist(), strict=True))
    as_run = np.array([run[each] for each in made.ids.tolist()])
    losses = [log_losses(made.labels[late], scores[late]).mean() for scores in (as_run, made.scores[:, 0])]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_the_table_says_how_far_off_and_how_often_covered() -> None:
    """Ten fleets, whose truth is 0.10 on average; one interval lies above it, and two below."""
    fleets = []
    for number in range(10):
        low = 0.11 if number == 0 else 0.05
        high = 0.09 if number in {1, 2} else 0.2
        true = 0.09 + 0.002 * number + 0.001
        fleets.append(
            [Estimate("immature", 9, 3, 0.8 * true, low, high), Estimate("truth", 9, 3, true, low, high)]
        )
    off, truth = summary(fleets)
    assert (off.name, off.off) == ("immature", pytest.approx(-0.2))
    assert (off.covers, off.above, off.below) == (pytest.approx(0.7), pytest.approx(0.1), pytest.approx(0.2))
    assert (truth.mean, truth.off) == (pytest.approx(0.1), 0.0)


def test_late_reports_flatter() -> None:
    """Two fleets of a small pool: immature labels understate the loss."""
    found = pool(24, 30, 3)
    told = {each.name: each for each in summary([judged(found, 16, seed) for seed in range(2)])}
    assert told["immature"].off < 0
    assert told["matured"].off == 0
    assert told["matured"].covers >= 0.5
