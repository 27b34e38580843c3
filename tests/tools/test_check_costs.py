"""What `check` says of every model: what it sees and what it costs on this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.console import Console

from dataflows.testing import pump_fleet
from dataflows.tools.check import check, listed_as_json, show_json

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

MODELS = {
    "all": {"template": ["linear", "bayesian"]},
    "boosting": {"template": "boosting", "set": {"rounds": 2, "least": 2}, "keep": 1_000},
}
TARGET = {"class": "pump", "mode": ["leak", "jam"], "horizon": ["6h", "12h"], "champion": "all-bayesian"}


def test_every_model_of_every_target_is_listed_with_its_costs() -> None:
    """Four targets of four models; times are positive, and those fitted in batch say what they keep."""
    found = listed_as_json(pump_fleet(MODELS, targets=[TARGET]))
    assert (found["targets"], found["totals"]["models"], len(found["models"])) == (4, 16, 16)
    by_name = {each["model"]: each for each in found["models"]}
    assert by_name["all-bayesian"]["champion"]
    assert by_name["all-linear"]["estimator"].startswith("RobustScaler | LogisticRegression")
    assert all(
        each["score_us"] > 0 and each["learn_us"] > 0 and each["bytes"] > 0 for each in found["models"]
    )
    assert by_name["all-bayesian"]["features"] == 6
    assert (by_name["boosting"]["keep"], by_name["boosting"]["kept"]) == (1_000, 57_000)
    assert "kept" not in by_name["prior"]


def test_it_is_printed_as_a_table_or_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object; a refused fleet says why, in either form."""
    assert check(pump_fleet(MODELS, targets=[TARGET]), Console(width=120), with_costs=True)
    assert "µs" in capsys.readouterr().out
    path = tmp_path / "fleet.toml"
    path.write_text('name = "x"\n[input]\nfiles = ["x"]\n[classes.a]\nsensors = ["s"]\n')
    assert show_json(path, Console(width=120))
    assert json.loads(capsys.readouterr().out)["models"] == []
    path.write_text("name = 3\n")
    assert not show_json(path, Console(width=120))
    assert "problems, not run" in capsys.readouterr().out
