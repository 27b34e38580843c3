"""A small fleet of pumps that is valid, to be spoilt in one way or another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dataflows.fleet import Fleet, FleetError, Problem, load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

PUMPS = """
name = "pumps"

[input]
files = ["data/*.jsonl", "-", "/abs/one.jsonl.gz"]

[classes.pump]
sensors = ["pressure", "flow", "vibration"]
label_delay = "2d"

[[classes.pump.windows]]
length = "24h"
hop = "1h"
statistics = ["std", "mean"]

[[classes.pump.windows]]
length = "7d"
sensors = ["vibration", "flow"]
statistics = ["slope"]

[[targets]]
class = "pump"
mode = ["seal", "bearing"]
horizon = ["24h", "7d"]
champion = "linear"

[models.linear]
features = ["pressure", "*:mean:*"]
pipeline = [
  { estimator = "river.preprocessing.StandardScaler" },
  { estimator = "river.linear_model.LogisticRegression", l2 = 0.001 },
]

[models.tree]
pipeline = [{ estimator = "river.tree.HoeffdingTreeClassifier", max_depth = 4 }]
"""


@pytest.fixture
def pumps(tmp_path: Path) -> Path:
    """The file."""
    path = tmp_path / "fleet.toml"
    path.write_text(PUMPS, encoding="utf-8")
    return path


@pytest.fixture
def expanded(pumps: Path) -> Callable[..., Fleet]:
    """The fleet, with overrides and environment."""

    def expand(overrides: Mapping[str, Any] | None = None, **environ: str) -> Fleet:
        return load(pumps, overrides, environ)

    return expand


@pytest.fixture
def refused(pumps: Path) -> Callable[..., dict[str, Problem]]:
    """The problems of the fleet with overrides, by key."""

    def refuse(overrides: Mapping[str, Any] | None = None, **environ: str) -> dict[str, Problem]:
        with pytest.raises(FleetError) as caught:
            load(pumps, overrides, environ)
        by_key = {problem.key: problem for problem in caught.value.problems}
        assert len(by_key) == len(caught.value.problems), "each place is named once"
        return by_key

    return refuse
