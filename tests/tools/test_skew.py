"""The table of what late data changed."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from rich.console import Console

from dataflows.tools.skew import SkewError, show_skew, skew_table

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

SKEW: dict[str, Any] = {
    "compared": 200,
    "changed": 30,
    "given_up": {"windows were reset": 4},
    "score": {"examples": 200, "mean": 0.001, "mean_absolute": 0.002, "worst": -0.25},
    "log_loss_change": {"examples": 150, "mean": -0.0005},
    "features": {
        "load": {"changed": 1, "share": 0.005, "mean": None, "worst": None},
        "load:mean:6h": {"changed": 20, "share": 0.1, "mean": 0.5, "worst": 2.0},
        "load:max:6h": {"changed": 2, "share": 0.01, "mean": 3.0, "worst": 4.0},
    },
}


def printed(shown: Table) -> str:
    console = Console(file=io.StringIO(), width=150)
    console.print(shown)
    text: str = console.file.getvalue()
    return text


def test_features_that_change_most_stand_first() -> None:
    """In the order of share times mean change, with what is unknown last and as a dash."""
    rows = [line.split() for line in printed(skew_table("t", SKEW)).splitlines() if "load" in line]
    assert rows == [
        ["load:mean:6h", "10.0%", "0.500", "2.000"],
        ["load:max:6h", "1.0%", "3.000", "4.000"],
        ["load", "0.5%", "-", "-"],
    ]


def test_the_caption_tells_examples_score_and_loss() -> None:
    """Counts, what was given up, changes with their sign, and how many features are not shown."""
    text = " ".join(printed(skew_table("t", SKEW, 2)).split())
    assert "200 examples compared, 30 of them changed, 4 given up" in text
    assert "Score: +0.00100 on average, 0.00200 either way, -0.2500 at worst" in text
    assert "Log loss: -0.000500 over 150 labels" in text
    assert "1 more features changed" in text


def test_a_folder_is_shown_by_target(tmp_path: Path) -> None:
    """Targets that compared something; a folder without any says what to set."""
    console = Console(file=io.StringIO(), width=150)
    with pytest.raises(SkewError, match="does not exist"):
        show_skew(tmp_path, console)
    summary = {
        "targets": {"pump/leak/4h": {"champion": "m", "skew": SKEW}, "pump/seal/4h": {"champion": "m"}}
    }
    (tmp_path / "summary.json").write_bytes(orjson.dumps(summary))
    show_skew(tmp_path, console)
    assert "pump/leak/4h" in console.file.getvalue()
    assert "pump/seal/4h" not in console.file.getvalue()
    (tmp_path / "summary.json").write_bytes(orjson.dumps({"targets": {"pump/seal/4h": {}}}))
    with pytest.raises(SkewError, match="set `compare`"):
        show_skew(tmp_path, console)
