"""The commands: what a user did wrong is one message, what we did wrong is a traceback."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

import dataflows.fleet
from dataflows.__main__ import app
from dataflows.simulator import load_scenario
from tests.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages in one line, and nothing of this machine's own settings."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.delenv("FLEET_OUTPUT", raising=False)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--epoch", "0s", "longer than zero"),
        ("--epoch", "0.1us", "longer than zero"),
        ("--epoch=-1s", None, "not a duration"),
        ("--epoch", "soon", "'soon' is not a duration"),
    ],
)
def test_an_epoch_that_is_none_is_refused(option: str, value: str | None, said: str, tmp_path: Path) -> None:
    """Before anything is read: the option is named, and what it takes."""
    told = CliRunner().invoke(app, ["run", str(tmp_path / "no.toml"), option, *([value] if value else [])])
    assert told.exit_code == 2
    assert "--epoch" in told.output
    assert said in told.output


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["run", "no.toml"], "no.toml: 1 problem"),
        (["simulate", "--out", "out", "--trucks", "0"], "trucks: expected greater than 0, got 0"),
        (["thresholds", "no.toml", "--lead", "soon"], "'soon' is not a duration"),
    ],
)
def test_what_a_user_can_mend_is_one_message(
    command: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback, and an exit code that a script sees."""
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(app, command)
    assert told.exit_code in {1, 2}
    assert said in told.output
    assert "Traceback" not in told.output


@pytest.mark.parametrize("bug", [ValueError("not enough values to unpack"), OSError(9, "Bad descriptor")])
def test_a_bug_is_no_message(bug: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the project did not raise by itself keeps its traceback, so that it can be reported."""

    def load(path: Path) -> None:  # noqa: ARG001 - as the command calls it
        raise bug

    monkeypatch.setattr(dataflows.fleet, "load", load)
    told = CliRunner().invoke(app, ["run", str(tmp_path / "fleet.toml")])
    assert told.exception is bug


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own message names the file."""

    def load(path: Path) -> None:
        path.open()

    monkeypatch.setattr(dataflows.fleet, "load", load)
    told = CliRunner().invoke(app, ["run", str(tmp_path / "gone.toml")])
    assert told.exit_code == 1
    assert "gone.toml" in told.output
    assert "check the path" in told.output


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_message(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a write names no file; it is no bug, and the user can make room."""

    def load(path: Path) -> None:  # noqa: ARG001 - as the command calls it
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(dataflows.fleet, "load", load)
    told = CliRunner().invoke(app, ["report", str(tmp_path / "fleet.toml")])
    assert told.exit_code == 1
    assert "make room on the disk" in " ".join(told.output.split())


@pytest.mark.parametrize("command", ["run", "replay", "thresholds", "audit", "inspect"])
def test_help_tells_where_things_are_looked_for(command: str) -> None:
    """Defaults in brackets are text, not markup that vanishes."""
    shown = CliRunner().invoke(app, [command, "--help"]).output
    assert "[default: " in shown
    assert any(said in shown for said in ("recovery/<name of the fleet>", "the fleet's", "latest run]"))
    assert "fleet.toml ." not in shown


def test_a_demo_works_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Highwater was installed without its repository, it writes into a folder of its own."""
    monkeypatch.chdir(tmp_path)
    short = load_scenario("plain", trucks=6, days=40)
    monkeypatch.setattr("dataflows.simulator.load_scenario", lambda *_, **__: short)
    shown = CliRunner().invoke(app, ["demo"])
    assert shown.exit_code == 0, shown.output
    assert {path.name for path in tmp_path.iterdir()} == {"highwater-demo", "recovery"}
    assert (tmp_path / "highwater-demo" / "out" / "summary.json").exists()


HEAVY = (
    "pandas",
    "river.datasets",
    "river.feature_extraction.agg",
    "scipy.linalg._basic",
    "scipy.ndimage._filters",
    "scipy.sparse._base",
    "scipy.stats._stats_py",
    "sklearn",
)


@pytest.mark.parametrize(
    ("estimators", "loaded"),
    [
        ([], []),
        (["preprocessing.StandardScaler", "linear_model.LogisticRegression"], ["preprocessing"]),
        pytest.param(["naive_bayes.GaussianNB"], ["naive_bayes"], marks=pytest.mark.ci),
        pytest.param(["tree.HoeffdingTreeClassifier"], ["tree"], marks=pytest.mark.ci),
    ],
    ids=["own", "linear", "bayes", "tree"],
)
def test_a_start_imports_no_more_than_its_fleet_names(estimators: list[str], loaded: list[str]) -> None:
    """Packages that River imports for models which the fleet does not name are not loaded, nor are those.

    They cost more than all the rest of a start; pandas and scikit-learn are among them where they are
    installed.
    """
    code = f"""
import contextlib, sys
import dataflows.__main__
with contextlib.suppress(SystemExit):
    dataflows.__main__.app(["run", "none.toml"])
from dataflows.testing import pump_fleet
from dataflows.tools.trial import check_models
pipeline = [{{"estimator": "river." + path}} for path in {estimators}]
check_models(pump_fleet({{"asked": {{"pipeline": pipeline}}}} if pipeline else None))
asked = ("river.preprocessing", "river.tree", "river.naive_bayes")
print(*(name for name in (*asked, *{HEAVY}) if name in sys.modules))
"""
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, check=True, timeout=100, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert done.stdout.split() == [f"river.{name}" for name in loaded]
