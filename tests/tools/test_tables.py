"""Tables for a person: nothing is cut off at 78 columns, and nothing is told by style alone."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from rich.console import Console

from dataflows.fleet import load
from dataflows.tools.check import report
from dataflows.tools.skew import skew_table
from dataflows.tools.summary import show
from dataflows.tools.tables import WIDTH
from dataflows.tools.thresholds import Outcome, Wish, in_words, table
from tests.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

EXAMPLES = sorted(path.parent.name for path in ROOT.glob("examples/*/fleet.toml"))
LONG = "linear_calibrated_on_everything_that_was_seen"
FLEET = f"""
name = "pumps"
figures_from = 2030-01-01T00:00:00Z
[input]
files = ["events.jsonl"]
[output]
folder = "out"
[classes.centrifugal_pump]
sensors = ["flow"]
[[targets]]
class = "centrifugal_pump"
mode = "mechanical_seal_leak"
horizon = "48h"
champion = "{LONG}"
[models.{LONG}]
pipeline = [{{ estimator = "dataflows.estimators.Prior" }}]
"""
TARGET = "centrifugal_pump/mechanical_seal_leak/2d"
FIGURES = {
    "examples": 12_345_678,
    "log_loss": 0.1234,
    "roc_auc": 0.9876,
    "pr_auc": 0.1234,
    "precision": 0.123,
    "recall": 0.987,
}


def printed(what: RenderableType) -> str:
    """Text of something, as a pipe gets it: without bold and colour."""
    console = Console(file=io.StringIO(), width=WIDTH)
    console.print(what)
    return console.file.getvalue()


def assert_whole(text: str, *words: str) -> None:
    """Nothing is cut off, no line is too long, and each word is there, in however many lines."""
    assert "…" not in text
    assert all(len(line) <= WIDTH for line in text.splitlines())
    letters = re.sub(r"\s", "", text)
    for word in words:
        assert re.sub(r"\s", "", word) in letters


def summary(examples: int, before: int) -> dict[str, Any]:
    target = {
        "champion": LONG,
        "learned": 1,
        "positives": 1,
        "pending": 1,
        "censored": {},
        "contradicted": 0,
        "lead": {"warned": 60, "median": 27.5},
        "left_out": {"before_figures_from": before},
        "final_labels": {
            LONG: {**FIGURES, "examples": examples},
            "prior": {**FIGURES, "examples": examples},
        },
    }
    return {"input": {"records": 5, "assets": 1, "by_kind": {"telemetry": 5}}, "targets": {TARGET: target}}


def shown(folder: Path, content: dict[str, Any]) -> str:
    """What `show` prints of a summary."""
    path = folder / "fleet.toml"
    path.write_text(FLEET, encoding="utf-8")
    (folder / "out").mkdir(exist_ok=True)
    (folder / "out" / "summary.json").write_bytes(orjson.dumps(content))
    console = Console(file=io.StringIO(), width=WIDTH)
    show(load(path, environ={}), None, console)
    return console.file.getvalue()


def test_the_figures_of_a_run_fit_with_long_names_and_large_numbers(tmp_path: Path) -> None:
    """Numbers stay in one piece, the champion has a mark; names go on in the next line."""
    text = shown(tmp_path, summary(12_345_678, 0))
    for number in ("12,345,678", "0.1234", "0.9876", "0.123", "0.987", "27.5"):
        assert number in text
    (line,) = (line for line in text.splitlines() if "0.9876" in line and "prior" in line)
    assert "*" not in line
    assert "* is the champion" in " ".join(text.split())
    # The target has no alert, and the default threshold.
    assert "to the failure: 27.5 h, the median of 60 failures" in " ".join(text.split())
    # Below stand paths, which a line end would break.
    assert_whole(text.split("Where it is:")[0], "preci-", "sion", "recall")


def test_figures_from_after_the_data_is_told(tmp_path: Path) -> None:
    """An empty table says nothing of why it is empty."""
    text = " ".join(shown(tmp_path, summary(0, 7)).split())
    assert "No figures: all 7 examples with a label lie before figures_from = 2030-01-01T00:00:00Z." in text
    assert "No figures yet" in shown(tmp_path, summary(0, 0))
    assert "No figures" not in shown(tmp_path, summary(3, 7))


def test_thresholds_mark_their_choice_with_a_sign(tmp_path: Path) -> None:
    """And say it in words below."""
    (tmp_path / "fleet.toml").write_text(FLEET, encoding="utf-8")
    target = load(tmp_path / "fleet.toml", environ={}).targets[TARGET]
    found = [Outcome(0.1 * number, 123_456, 12_345, 98_765, 43_210, 1e6) for number in range(1, 5)]
    text = printed(table(target, found, found[2]))
    assert_whole(text, TARGET, "false /", "asset-day")
    assert len([line for line in text.splitlines() if line.lstrip().startswith("> 0.3")]) == 1
    assert "chosen is open at 0.3" in in_words(TARGET, found[2], Wish(1.0, 9.0, None, 3_600_000_000))


def test_features_that_late_data_changed_are_named_whole() -> None:
    """However long an expression over a window is called."""
    feature = "outlet_over_inlet_pressure_and_temperature:mean:72h_of_the_whole_pump_with_its_motor"
    skew = {
        "compared": 10,
        "changed": 5,
        "given_up": {},
        "score": {"examples": 0},
        "log_loss_change": {"examples": 0},
        "features": {feature: {"share": 0.5, "mean": 1.25, "worst": 12.5}},
    }
    assert_whole(printed(skew_table(TARGET, skew)), feature[:40], feature[-30:], "50.0%", "1.250", "12.500")


@pytest.mark.parametrize("example", EXAMPLES)
def test_what_check_shows_of_the_examples_fits(example: str) -> None:
    """Every target, model and feature is named whole; the first champion has a mark."""
    fleet = load(ROOT / "examples" / example / "fleet.toml", environ={})
    names = [model.name for target in fleet.targets.values() for model in target.models]
    features = [feature for asset_class in fleet.classes.values() for feature in asset_class.features]
    text = printed(report(fleet))
    assert_whole(text)
    for name in (*names, *features):
        assert name in text
    assert "* is the first champion" in text


def test_a_pipe_gets_78_columns() -> None:
    """It has no width of its own, and whoever reads it may have no more."""
    environ = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-m", "dataflows", "check", "examples/trucks/fleet.toml"]
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True, timeout=100
    )
    assert max(map(len, done.stdout.splitlines())) == WIDTH
    assert_whole(done.stdout)
