"""`lineage`: from a prediction to what gave it, by rows alone."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import orjson
import pytest
from rich.console import Console
from typer.testing import CliRunner

from dataflows.__main__ import app
from dataflows.evaluation.reading import whole_rows
from dataflows.fleet import load
from dataflows.testing import run_inline
from dataflows.tools.lineage import LineageError, lineage, show_lineage
from dataflows.tools.tables import WIDTH
from tests.report.pumps import FLEET, pumps, recorded

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.fleet.fleet import Fleet


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return pumps(tmp_path_factory.mktemp("pumps"), ["pump-1", "pump-2", "pump-3"], days=9)


def test_what_a_model_had_learned_lies_between_two_rows(fleet: Fleet) -> None:
    """A run that stops at the record of a prediction has learned a number of examples in between."""
    rows = [row for row in whole_rows(fleet.output.folder, "predictions") if row["link"] == "class"]
    row = rows[len(rows) * 2 // 3]
    found = lineage(fleet.output.folder, row["id"])
    rows = run_inline(fleet, recorded(["pump-1", "pump-2", "pump-3"], 9)[: row["sequence"]])["summary"]
    (learned,) = (of["targets"][row["target"]]["learned"] for of in rows if of.get("targets"))
    assert found.learned is not None
    assert found.learned_by is not None
    assert 0 < found.learned.examples <= learned <= found.learned_by.examples
    assert found.learned.sequence <= row["sequence"] < found.learned_by.sequence


def test_the_lineage_outlives_the_configuration(fleet: Fleet, tmp_path: Path) -> None:
    """It comes from the rows: a fleet.toml of today with other models changes nothing."""
    (row,) = [*whole_rows(fleet.output.folder, "predictions")][-1:]
    before = lineage(fleet.output.folder, row["id"])
    assert before.version["pipeline"][-1]["estimator"] == "river.linear_model.LogisticRegression"
    changed = FLEET.replace("LogisticRegression", "Perceptron").replace(
        'folder = "out"', f'folder = "{fleet.output.folder}"'
    )
    (tmp_path / "fleet.toml").write_text(changed)
    assert lineage(load(tmp_path / "fleet.toml").output.folder, row["id"]) == before


def test_the_command_shows_it_in_78_columns(fleet: Fleet) -> None:
    """As a table, and as one JSON object."""
    (row,) = [*whole_rows(fleet.output.folder, "predictions")][-1:]
    shown = CliRunner().invoke(app, ["lineage", str(fleet.path), row["id"]])
    assert shown.exit_code == 0, shown.output
    narrow = io.StringIO()
    show_lineage(fleet.output.folder, row["id"], Console(file=narrow, width=WIDTH))
    assert max(map(len, narrow.getvalue().splitlines())) <= 78
    for word in ("LogisticRegression", "libraries", "river", "learned", "features", "configuration"):
        assert word in shown.output
    as_json = orjson.loads(CliRunner().invoke(app, ["lineage", str(fleet.path), row["id"], "--json"]).output)
    assert as_json["version"]["digest"] in shown.output
    assert as_json["prediction"] == row


def test_a_prediction_without_lineage_is_refused_with_the_reason(fleet: Fleet, tmp_path: Path) -> None:
    """An unknown id, and outputs of a release that did not write it."""
    with pytest.raises(LineageError, match="has no prediction no-such"):
        lineage(fleet.output.folder, "no-such")
    (row,) = [*whole_rows(fleet.output.folder, "predictions")][-1:]
    for output in ("predictions", "metrics"):
        name = f"{output}.jsonl"
        (tmp_path / name).write_bytes((fleet.output.folder / name).read_bytes())
    (tmp_path / "changes.jsonl").write_bytes(b"")
    with pytest.raises(LineageError, match="of a release that did not write it"):
        lineage(tmp_path, row["id"])
