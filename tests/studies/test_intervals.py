"""The study of intervals: which failures they cover, by failure, and the fleet that is run for it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import orjson
import pytest

from dataflows.fleet import load
from studies.intervals import Covered, covered, json_row, shares, with_hours
from tests.evaluation.rows import evaluation

TRUCKS = Path(__file__).resolve().parents[2] / "examples" / "trucks" / "fleet.toml"


def served(rows: list[tuple[str, int, float | None, float | None, float | None]], folder: Path) -> Path:
    """Outputs of examples: asset, hour, lead, and both ends of the interval."""
    evaluations, predictions = [], []
    for asset, hour, lead, low, high in rows:
        label = "negative" if lead is None else "positive"
        row: dict[str, Any] = {**evaluation(asset, hour, label, {"good": 0.95}), "lead": lead}
        evaluations.append(row)
        hours = {"low": low, "median": None, "high": high}
        predictions.append({"id": row["id"], "hours": hours})
    for name, of in (("evaluations", evaluations), ("predictions", predictions)):
        (folder / f"{name}.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in of))
    return folder


def test_intervals_are_counted_by_failure(tmp_path: Path) -> None:
    """Those with both ends; a failure at an end lies inside above, and before it below."""
    rows = [
        ("a", 1, 9.0, 2.0, 10.0),
        ("a", 2, 8.0, 8.0, 12.0),
        ("a", 3, 7.0, 2.0, 7.0),
        ("a", 4, 6.0, 2.0, None),
        ("b", 3, 9.0, 2.0, 8.0),
        ("c", 3, None, 2.0, 8.0),
    ]
    found = covered(served(rows, tmp_path), "0%")
    assert found == [Covered(2, 1, 0), Covered(0, 0, 1), Covered(0, 0, 1)]
    figures = shares(found)
    counts = [[2, 1, 0], [0, 0, 1], [0, 0, 1]]
    assert orjson.loads(json_row("r", found)) == {"recording": "r", **figures, "by_failure": counts}
    assert (figures["failures"], figures["intervals"]) == (3, 5)
    assert (figures["coverage"], figures["before"], figures["after"]) == pytest.approx((0.4, 0.2, 0.4))
    assert figures["low"] == 0.0
    assert figures["high"] == pytest.approx(2 / 3)


def test_a_run_without_intervals_has_no_coverage(tmp_path: Path) -> None:
    """Nothing is divided by nothing."""
    assert shares(covered(served([("a", 1, 9.0, 2.0, None)], tmp_path), "0%"))["intervals"] == 0


def test_the_fleet_keeps_what_its_champion_reads(tmp_path: Path) -> None:
    """And gets a model of the hours, with the horizon of the target."""
    path = tmp_path / "fleet.toml"
    path.write_text(with_hours(TRUCKS, ["*:mean:*"]))
    (target,) = load(path, environ={}).targets.values()
    assert target.hours == "hours"
    assert {*tomllib.loads(path.read_text())["targets"][0]["models"]} == {
        "prior",
        "calibrated",
        "bayesian",
        "hours",
    }
