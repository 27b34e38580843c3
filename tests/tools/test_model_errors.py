"""Models that fail at some records: the rest of the fleet goes on, and a person is told."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import structlog
from rich.console import Console
from typer.testing import CliRunner

from dataflows.__main__ import app
from dataflows.fleet import load
from dataflows.pipeline import run_inline
from dataflows.tools.summary import show, troubles
from tests.evaluation.rows import evaluation, written
from tests.tables import pumps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

ALERT = 'alert = { open = 0.4, dwell = "0s" }'
SELECT = """
  { estimator = "river.compose.Select", keys = ["flow"] },
  { estimator = "river.linear_model.LogisticRegression" },
"""
IMPUTER = """
  { estimator = "river.preprocessing.PreviousImputer" },
  { estimator = "river.linear_model.LogisticRegression" },
"""


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    """Keep the log in memory, and leave it as it was configured: a run writes it to a file."""
    before = structlog.get_config()
    with structlog.testing.capture_logs():
        yield
    structlog.configure(**before)


def fleet_text(pipeline: str) -> str:
    return pumps("m", pipeline, sensors=("flow",), mode="seal", horizon="1h", target=ALERT)


def fleet_file(folder: Path, pipeline: str) -> Path:
    path = folder / "fleet.toml"
    path.write_text(fleet_text(pipeline))
    return path


def life(flows: Sequence[float | None], failures: Sequence[int]) -> list[bytes]:
    """A pump read every two hours; failures come half an hour after the reading of their number."""
    events: list[dict[str, Any]] = []
    for hour, flow in enumerate(flows):
        time = f"2025-05-{1 + hour // 12:02}T{hour % 12 * 2:02}"
        events.append(
            {"kind": "telemetry", "asset": "p", "time": f"{time}:00:00Z", "readings": {"flow": flow}}
        )
        if hour in failures:
            events.append({"kind": "failure", "asset": "p", "time": f"{time}:30:00Z", "mode": "seal"})
    return [orjson.dumps(event) for event in events]


def test_one_missing_reading_takes_one_score_from_a_champion_that_cannot_bear_it(tmp_path: Path) -> None:
    """The prior answers that record, and says so; the next record is scored by the champion as before."""
    rows = run_inline(load(fleet_file(tmp_path, SELECT), environ={}), life([1, 2, 3, 4, None, 5, 6, 7], [0]))
    links = [row["link"] for row in rows["predictions"]]
    assert links == ["prior", "prior", "class", "class", "prior", "class", "class", "class"]
    assert [row["change"] for row in rows["changes"]] == ["champion", "lineage", "threshold"]
    time = "2025-05-01T08:00:00.000000Z"
    scores = [row["scores"]["m"] for row in rows["evaluations"] if row["time"] == time]
    assert scores == [None]
    (target,) = next(row["targets"] for row in rows["summary"] if row.get("targets")).values()
    assert target["model_errors"] == {"m": 1}
    assert target["set_aside"] == {}
    assert target["learned"] == 7


def test_metrics_count_the_errors_of_a_period(tmp_path: Path) -> None:
    """Each error counts once, in the period in which it happened."""
    flows = [None if hour % 5 == 4 else float(hour % 7) for hour in range(60)]
    text = fleet_text(SELECT).replace("[input]", 'metrics_every = "1d"\n[input]')
    (tmp_path / "fleet.toml").write_text(text)
    rows = run_inline(load(tmp_path / "fleet.toml", environ={}), life(flows, [0, 20]))
    found = [(row["errors"], row["set_aside"]) for row in rows["metrics"] if row.get("model") == "m"]
    assert len(found) >= 3
    assert 2 <= max(errors for errors, _ in found) <= 6
    assert not any(aside for _, aside in found)


def test_an_imputer_is_given_what_is_missing(tmp_path: Path) -> None:
    """River's imputers fill in what is None; they cannot see what is absent."""
    flows = [1, 2, 3, 4, None, 5, None, 7]
    rows = run_inline(load(fleet_file(tmp_path, IMPUTER), environ={}), life(flows, [0]))
    assert [row["link"] for row in rows["predictions"]] == ["prior"] * 2 + ["class"] * 6
    filled = run_inline(load(fleet_file(tmp_path, IMPUTER), environ={}), life([1, 2, 3, 4, 4, 5, 5, 7], [0]))
    assert [row["score"] for row in rows["predictions"]][:5] == [
        row["score"] for row in filled["predictions"]
    ][:5]


def test_a_model_that_has_seen_one_label_opens_no_alert(tmp_path: Path) -> None:
    """After failures alone a classifier is sure that everything fails, so the prior answers."""
    rows = run_inline(load(fleet_file(tmp_path, IMPUTER), environ={}), life([1, 1, 1, 1, 1], [0, 1, 2, 3]))
    assert {row["link"] for row in rows["predictions"]} == {"prior"}
    assert rows["alerts"] == []


def test_console_and_inspect_name_a_model_that_is_set_aside(tmp_path: Path) -> None:
    """A line each, that says which model, how often it failed and why; the champion is called that."""
    flows = [1.0, 2.0, 3.0, 4.0] + [None] * 60
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(life(flows, [0])) + b"\n")
    path, store = str(fleet_file(tmp_path, SELECT)), str(tmp_path / "store")
    for arguments in (["run", path, "--recovery", store], ["inspect", store, "--fleet", path]):
        said = CliRunner().invoke(app, arguments, env={"COLUMNS": "400"})
        assert said.exit_code == 0, said.output
        assert "SET ASIDE: the champion, m, after" in said.output
        assert "KeyError: 'flow'" in " ".join(said.output.split())
    changes = [orjson.loads(line) for line in (tmp_path / "out" / "changes.jsonl").read_bytes().splitlines()]
    changes = [row["change"] for row in changes if row["change"] not in {"lineage", "threshold"}]
    assert changes == ["champion", "put_aside"]


def test_a_few_errors_are_told_in_one_line() -> None:
    """A model that goes on is not called set aside."""
    said = troubles({"champion": "a", "model_errors": {"b": 2}, "set_aside": {}})
    assert said == ["Model errors: b had 2 errors; the prior answered for it there."]


@pytest.mark.parametrize(("lead", "shown"), [(0.25, False), (-1.0, True)])
def test_an_asset_that_failed_is_no_longer_most_at_risk(tmp_path: Path, lead: float, shown: bool) -> None:
    """It leaves the table with its failure, and comes back with its first score after it."""
    said = told_of(tmp_path, evaluation("p", 0, "positive", {}, lead=lead))
    assert ("0.987" in said) is shown
    assert ("failed after their latest score: 1" in said) is not shown


def test_an_asset_whose_failure_was_withdrawn_is_still_at_risk(tmp_path: Path) -> None:
    """The latest row of an example tells what came of it, and not the failure that was wrong."""
    wrong = evaluation("p", 0, "positive", {}, lead=0.25)
    assert "0.987" in told_of(tmp_path, wrong, evaluation("p", 0, "undecided", {}, correction=1))


def told_of(folder: Path, *rows: dict[str, Any]) -> str:
    """What is shown of an asset with one prediction and these evaluations."""
    path, out = fleet_file(folder, SELECT), folder / "out"
    out.mkdir()
    scored = {key: rows[0][key] for key in ("asset", "target", "time")}
    scored |= {"score": 0.987, "link": "class", "revision": 0}
    written(out / "predictions.jsonl", [scored])
    written(out / "evaluations.jsonl", list(rows))
    (out / "summary.json").write_bytes(b"{}")
    console = Console(file=io.StringIO(), width=200)
    show(load(path, environ={}), None, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
