"""The SQL views of docs/views.sql say what the Python API says."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import duckdb
import pytest

import highwater as hw
from dataflows.simulator import load_scenario, write
from tests.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs of a few trucks."""
    folder = tmp_path_factory.mktemp("views")
    write(load_scenario("plain", trucks=12, days=40, every="1h"), folder / "data")
    (folder / "fleet.toml").write_bytes((ROOT / "examples/trucks/fleet.toml").read_bytes())
    hw.run(folder / "fleet.toml")
    return folder / "out"


@pytest.fixture
def views(outputs: Path) -> duckdb.DuckDBPyConnection:
    """A database that has read the file of views, for these outputs."""
    connection = duckdb.connect()
    connection.execute(f"SET VARIABLE folder = '{outputs}'")
    connection.execute((ROOT / "docs/views.sql").read_text())
    return connection


def test_alerts_in_sql_are_those_of_python(outputs: Path, views: duckdb.DuckDBPyConnection) -> None:
    """Each alert with its outcome and its lead."""
    found = {
        row[0]: row[1:] for row in views.execute("SELECT id, outcome, lead, score FROM alerts").fetchall()
    }
    alerts = hw.read(outputs, "polars").alerts().to_dicts()
    assert len(alerts) == len(found) > 5
    for alert in alerts:
        outcome, lead, score = found[alert["id"]]
        assert (outcome, score) == (alert["outcome"], alert["score"])
        assert (lead is None) == (alert["lead"] is None)
        assert lead is None or math.isclose(lead, alert["lead"], rel_tol=1e-12)


def test_latest_scores_in_sql_are_the_last_published(outputs: Path, views: duckdb.DuckDBPyConnection) -> None:
    """Of the newest time, the last revision."""
    rows = sorted(hw.read(outputs).rows("predictions"), key=lambda row: (row["time"], row["revision"]))
    latest = {(row["asset"], row["target"]): row["score"] for row in rows}
    found = views.execute("SELECT asset, target, score FROM latest_scores").fetchall()
    assert {(asset, target): score for asset, target, score in found} == latest
    assert [score for *_, score in found] == sorted(latest.values(), reverse=True)


def test_the_confusion_table_counts_every_decided_example_once(
    outputs: Path, views: duckdb.DuckDBPyConnection
) -> None:
    """Under the label as it stands now."""
    last = {row["id"]: row for row in hw.read(outputs).rows("evaluations")}
    expected = Counter(
        (row["label"] == "positive", row["scores"][row["champion"]] >= 0.5)
        for row in last.values()
        if row["label"] in {"positive", "negative"}
    )
    found = views.execute(
        "SELECT sum(true_positives), sum(false_positives), sum(false_negatives), sum(true_negatives) "
        "FROM confusion_by_week"
    ).fetchone()
    cells = ((True, True), (False, True), (True, False), (False, False))
    assert found == tuple(expected[cell] for cell in cells)
