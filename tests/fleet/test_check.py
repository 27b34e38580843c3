from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from dataflows.tools.check import check

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.fleet import Fleet

Printed = Callable[..., str]


def lines_of(source: Fleet | Path | str, width: int = 120) -> tuple[bool, str]:
    """The verdict and the text that is printed, without colours."""
    out = io.StringIO()
    verdict = check(source, Console(file=out, width=width, force_terminal=False))
    return verdict, out.getvalue()


@pytest.fixture
def printed(expanded: Callable[..., Fleet]) -> Printed:
    """What is printed of the small fleet with overrides."""

    def show(overrides: dict[str, Any] | None = None, width: int = 120) -> str:
        verdict, text = lines_of(expanded(overrides), width)
        assert verdict
        return text

    return show


@pytest.mark.parametrize("width", [60, 80, 200])
def test_every_feature_is_named_once_with_its_number(
    printed: Printed, expanded: Callable[..., Fleet], width: int
) -> None:
    """Whatever the width, the numbered names are the features in their order."""
    text = printed(width=width)
    features = expanded().classes["pump"].features
    block = text[text.index(f"{len(features)} features") :].split("targets")[0].split("\n", 1)[1]
    found = dict(re.findall(r"(\d+) ((?:pressure|flow|vibration)\S*)", block))
    assert found == {str(number): name for number, name in enumerate(features, start=1)}


def test_streams_and_policies_are_told(printed: Printed, tmp_path: Path) -> None:
    """Input, output, unknown assets, figures and metrics each have a line."""
    text = printed({"figures_from": "2020-02-01T00:00:00Z"}, width=400)
    facts = dict(re.findall(r"^  (\w+(?: \w+)?)  +(\S.*?) *$", text, flags=re.MULTILINE))
    assert facts["input"] == f"{tmp_path}/data/*.jsonl  -  /abs/one.jsonl.gz"
    assert facts["output"] == f"{tmp_path}/out, features in examples"
    assert facts["unknown assets"] == "adopted as pump, at most 100,000"
    assert facts["figures"] == "from 2020-02-01T00:00:00Z"
    assert facts["metrics"] == "every 7d"


def test_windows_are_told_with_their_panes(printed: Printed) -> None:
    """Length, hop, panes, sensors and statistics of each window stand in its row."""
    rows = [line.split() for line in printed().splitlines()]
    assert ["24h", "1h", "24", "all", "6", "mean", "std"] in rows
    assert ["7d", "14h", "12", "2", "2", "slope"] in rows


def test_targets_are_told_with_what_their_models_see(printed: Printed) -> None:
    """Horizon, label delay, threshold, the champion and each model's number of features stand in the row."""
    text = printed()
    rows = [line.split() for line in text.splitlines()]
    first = rows.index(["pump/seal/7d", "7d", "2d", "0.5", "linear*", "(4)"])
    assert rows[first + 1] == ["tree", "(11)"]
    assert "4 targets, 8 models in all" in text


def test_models_are_told_as_python_would_write_them(printed: Printed) -> None:
    """Nested estimators, lists and tables are written out."""
    union = {
        "estimator": "river.compose.TransformerUnion",
        "transformers": [{"estimator": "river.compose.Select", "keys": ["pressure"]}],
    }
    linear = {
        "estimator": "river.linear_model.LogisticRegression",
        "optimizer": {"estimator": "river.optim.SGD"},
    }
    text = printed({"models": {"linear": {"pipeline": [union, linear]}}})
    expected = "TransformerUnion(transformers=[Select(keys=[pressure])]) | LogisticRegression(optimizer=SGD)"
    assert f"linear  {expected}" in text
    assert "tree    HoeffdingTreeClassifier(max_depth=4)" in text


def test_a_class_without_windows_and_targets_is_told(printed: Printed) -> None:
    """What is not there makes no empty table."""
    overrides = {
        "classes": {"pump": {"windows": []}},
        "targets": [],
        "models": {"linear": {"features": ["flow"]}},
    }
    text = printed(overrides)
    assert "panes" not in text
    assert "threshold" not in text
    assert "0 targets, 0 models in all" in text


def test_a_rejecting_fleet_says_so(printed: Printed) -> None:
    """Unknown assets are rejected, all examples count."""
    text = printed({"assets": {"unknown": "reject"}})
    assert re.search(r"unknown assets +rejected", text)
    assert re.search(r"figures +all", text)


def test_what_else_a_class_has_is_told(printed: Printed) -> None:
    """Faults, maintenance, attributes, weather, resets and silence each have a line, if there are any."""
    more = {
        "faults": ["hot", "dry"],
        "maintenance": ["shaft"],
        "attributes": ["power"],
        "categories": {"model": ["P1", "P2"]},
        "reset_windows_on": ["maintenance", "failure"],
        "idle_timeout": "5d",
        "asset_ttl": "30d",
        "weather": {"values": ["rain"], "max_age": "90m"},
        "expressions": {"wet": "flow * weather.rain"},
    }
    lines = {" ".join(line.split()) for line in printed({"classes": {"pump": more}}).splitlines()}
    assert {
        "faults 2: hot dry",
        "maintenance 1: shaft",
        "attributes 1: power",
        "values of model 2: P1 P2",
        "windows start empty after failure and maintenance",
        "silence moves the label clock every 5d",
        "forgotten after 30d of silence",
        "weather 1: rain",
        "its age up to 90m, kept 7d longer",
        "expression wet flow * weather.rain",
    } <= lines
    words = printed()
    absent = ("faults", "maintenance", "anew", "silence", "forgotten", "weather", "its age", "expression")
    assert not any(word in words for word in absent)


def test_windows_over_faults_are_told(printed: Printed) -> None:
    """How many faults a window counts, by which statistics, and the features of both kinds together."""
    windows = [
        {"length": "24h", "statistics": ["mean"]},
        {"length": "7d", "sensors": [], "faults": ["dry"], "fault_statistics": ["age"]},
        {"length": "2h", "statistics": ["max"], "faults": []},
    ]
    text = printed({"classes": {"pump": {"faults": ["hot", "dry"], "windows": windows}}})
    rows = [line.split() for line in text.splitlines()]
    assert ["24h", "2h", "12", "all", "all", "7", "mean", "all"] in rows
    assert ["7d", "14h", "12", "0", "1", "1", "age"] in rows
    assert ["2h", "10m", "12", "all", "0", "3", "max"] in rows


def test_registry_clocks_and_publishing_are_told(printed: Printed, tmp_path: Path) -> None:
    """The files of the registry, max_future and which predictions are written have their lines."""
    overrides = {
        "assets": {"registry": ["pumps.jsonl"], "max_future": "5m"},
        "output": {"publish": "changed", "changed_by": 0.25},
    }
    lines = [" ".join(line.split()) for line in printed(overrides, width=400).splitlines()]
    assert not any(line.startswith(("clock health", "scored when")) for line in lines)
    assert f"registry {tmp_path}/pumps.jsonl" in lines
    assert "wrong clocks rejected from 5m ahead of their arrival" in lines
    assert "predictions where the score moved by 0.25" in lines
    assert "predictions every one" in [" ".join(line.split()) for line in printed().splitlines()]


def test_alerts_are_told_where_there_are_any(printed: Printed) -> None:
    """A column appears with the first alert; targets without one say so."""
    entry = {"class": "pump", "mode": "seal", "horizon": "7d", "champion": "tree"}
    alert = {"open": 0.6, "clear": 0.25, "dwell": "2h"}
    targets = [entry | {"alert": alert}, entry | {"horizon": "24h"}]
    rows = [line.split() for line in printed({"targets": targets}).splitlines()]
    for told in (
        ["pump/seal/7d", "7d", "2d", "0.5", "0.6/0.25/2h"],
        ["pump/seal/24h", "24h", "2d", "0.5", "none"],
    ):
        first = rows.index([*told, "linear", "(4)"])
        assert rows[first + 1] == ["tree*", "(11)"]
    assert "opens/clears/dwell" not in printed()


def test_a_file_is_read_and_reported(pumps: Path) -> None:
    """A path does as well as a fleet."""
    verdict, text = lines_of(pumps)
    assert verdict
    assert "fleet pumps" in text


def test_brackets_in_paths_are_no_markup(printed: Printed) -> None:
    """A glob such as [ab].jsonl is printed as it is."""
    assert "/x/[bold].jsonl" in printed({"input": {"files": ["/x/[bold].jsonl"]}})


def test_a_refused_file_is_told_problem_by_problem(pumps: Path) -> None:
    """Each problem has its key, expectation, what came and the hint; the verdict is no."""
    text = pumps.read_text(encoding="utf-8")
    text = text.replace('champion = "linear"', 'champion = "liner"').replace('name = "pumps"', "")
    pumps.write_text(text, encoding="utf-8")
    verdict, told = lines_of(pumps, width=400)
    assert not verdict
    lines = [line.strip() for line in told.splitlines()]
    assert lines[0] == f"{pumps}: 2 problems, not run"
    assert re.fullmatch(r"expected +this key, which has no default", lines[lines.index("name") + 1])
    at = lines.index("targets[0].champion")
    assert [re.sub(" +", " ", line) for line in lines[at + 1 : at + 4]] == [
        "expected a model of the target, one of linear, tree",
        'got "liner"',
        "did you mean linear?",
    ]


def test_clock_health_and_required_sensors_are_told(printed: Printed) -> None:
    """The tolerance, what quarantine does, and the sensors that a time waits for."""
    overrides = {
        "assets": {"clock": {"quarantine": True}},
        "classes": {"pump": {"score_on": "complete", "required": ["flow", "pressure"]}},
    }
    lines = [" ".join(line.split()) for line in printed(overrides, width=400).splitlines()]
    assert "clock health a clock is wrong beyond 10m; what such an asset sends is rejected" in lines
    # In the order of the class.
    assert "scored when there are pressure flow" in lines
