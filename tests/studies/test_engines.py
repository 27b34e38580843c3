"""The study of engines: every subset is run by the same catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import orjson

from studies.engines import main

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

FLEET = """
name = "engines"
[input]
files = ["given by the study"]
[output]
folder = "out"
features = "examples"
[assets]
unknown = "adopt"
adopt_as = "engine"
[classes.engine]
sensors = ["sensor_02"]
example_every = "1h"
[[classes.engine.windows]]
length = "6h"
hop = "1h"
statistics = ["mean"]
[[targets]]
class = "engine"
mode = "failure"
horizon = "30h"
champion = "bayesian"
models = ["prior", "bayesian"]
[models.prior]
template = "prior"
[models.bayesian]
template = "bayesian"
"""


def engines(count: int) -> str:
    """Lines in NASA's form, of engines whose second sensor rises for their last 40 cycles."""
    draw, lines = np.random.default_rng(count), []
    for unit in range(1, count + 1):
        cycles = int(draw.integers(60, 90))
        for cycle in range(1, cycles + 1):
            readings = draw.normal(size=24)
            readings[4] += max(0, cycle - cycles + 40) / 4
            lines.append(f"{unit} {cycle} {' '.join(f'{value:.3f}' for value in readings)}")
    return "\n".join(lines)


def test_a_subset_is_run_by_the_catalogue(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Figures of what was published come first, and are over the examples after 20 % of the time span."""
    (tmp_path / "train_FD003.txt").write_text(engines(12))
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(FLEET)
    main([str(tmp_path), "--fleet", str(fleet), "--subsets", "FD003", "--resamples", "5", "--json"])
    rows = [orjson.loads(line) for line in capfdbinary.readouterr().out.splitlines() if line[:1] == b"{"]
    assert [(row["subset"], row["entry"]["model"]) for row in rows] == [
        ("FD003", "(champion)"),
        ("FD003", "bayesian"),
        ("FD003", "prior"),
    ]
    published, bayesian, prior = (row["entry"]["figures"] for row in rows)
    assert published == bayesian
    assert published["examples"] > 300
    assert published["roc_auc"] > prior["roc_auc"]
