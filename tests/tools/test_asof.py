"""`asof` and `explain`: what was known at an instant, and why a score was what it was."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from dataflows.__main__ import app
from dataflows.evaluation.reading import whole_rows
from dataflows.fleet import load
from dataflows.instants import HOUR, format_instant, parse_instant
from dataflows.items import Tick
from dataflows.outputs import OUTPUTS
from dataflows.pipeline import run_lines
from dataflows.tools.asof import AsOfError, Cut, cut_at, known_at, rows_known
from dataflows.tools.explain import ExplainError, explain
from tests.report.pumps import FLEET, START, pumps, recorded, run_into

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.fleet.fleet import Fleet


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return pumps(tmp_path_factory.mktemp("pumps"), ["pump-1", "pump-2", "pump-3"], days=9)


def predictions_of(fleet: Fleet) -> list[dict[str, Any]]:
    """Every prediction of a run."""
    return list(whole_rows(fleet.output.folder, "predictions"))


def known_rows(folder: Path, cut: Cut) -> dict[str, list[dict[str, object]]]:
    """Rows of each output up to a cut."""
    found: dict[str, list[dict[str, object]]] = {name: [] for name in OUTPUTS}
    for output, row in rows_known(folder, cut):
        found[output].append(row)
    return found


@pytest.mark.parametrize("instants", [5, pytest.param(50, marks=pytest.mark.ci)])
def test_what_was_known_is_what_a_run_stopped_there_had_written(fleet: Fleet, instants: int) -> None:
    """At random instants, for every output, row by row."""
    lines = (fleet.path.parent / "events.jsonl").read_bytes().splitlines()
    arrivals = [parse_instant(orjson.loads(line)["arrived"]) for line in lines]
    draw = random.Random(5)
    for _ in range(instants):
        at = draw.randint(arrivals[0], arrivals[-1])
        stopped = run_lines(fleet, [line for line, when in zip(lines, arrivals, strict=True) if when <= at])
        written = {name: [orjson.loads(row) for row in stopped[name]] for name in OUTPUTS}
        assert known_rows(fleet.output.folder, Cut(at=at)) == written


def test_silence_is_known_when_its_time_has_come(tmp_path: Path) -> None:
    """Rows of an expiry belong to its instant, as a tick of a live run at that instant writes them."""
    (tmp_path / "fleet.toml").write_text(
        FLEET.replace('example_every = "2h"', 'example_every = "2h"\nidle_timeout = "6h"')
    )
    silent = load(tmp_path / "fleet.toml")
    lines = recorded(["pump-1"], 4)[:60] + recorded(["pump-2"], 8)[150:]
    run_into(silent, lines)
    arrivals = [parse_instant(orjson.loads(line)["arrived"]) for line in lines]
    draw = random.Random(7)
    censored = 0
    for _ in range(20):
        at = draw.randint(arrivals[0], arrivals[-1])
        before = [line for line, when in zip(lines, arrivals, strict=True) if when <= at]
        stopped = run_lines(silent, [*before, Tick(at)])
        known = known_rows(silent.output.folder, Cut(at=at))
        # A tick may end a period of the metrics that a record ends otherwise.
        for name in set(OUTPUTS) - {"metrics"}:
            assert known[name] == [orjson.loads(row) for row in stopped[name]]
        censored += sum(row["why"] == "silent" for row in known["evaluations"])
    assert censored


def test_a_recording_without_arrivals_is_cut_at_a_record(tmp_path: Path) -> None:
    """The number of a record is exact there; an instant means the largest event time so far."""
    (tmp_path / "fleet.toml").write_text(FLEET)
    plain = load(tmp_path / "fleet.toml")
    rows = [orjson.loads(line) for line in recorded(["pump-1", "pump-2"], 6)]
    lines = [orjson.dumps({key: row[key] for key in row if key != "arrived"}) for row in rows]
    run_into(plain, lines)
    for number in (40, 111, 250):
        stopped = run_lines(plain, lines[:number])
        known = known_rows(plain.output.folder, Cut(record=number))
        assert known == {name: [orjson.loads(row) for row in stopped[name]] for name in OUTPUTS}
    at = START + 30 * HOUR
    latest = [row["time"] for row in known_rows(plain.output.folder, Cut(at=at))["predictions"]]
    assert max(latest) == format_instant(at)


def test_the_knowledge_of_an_instant_holds_latest_scores_labels_and_alerts(fleet: Fleet) -> None:
    """One score of each asset, one label of each example, alerts that have not cleared."""
    folder, at = fleet.output.folder, START + 7 * 24 * HOUR
    known = known_at(folder, Cut(at=at))
    rows = known_rows(folder, Cut(at=at))
    assert len(known.predictions) == 3
    assert len(known.labels) == len({row["id"] for row in rows["evaluations"]})
    opened = {row["id"] for row in rows["alerts"] if row["state"] == "opened"}
    cleared = {row["id"] for row in rows["alerts"] if row["state"] == "cleared"}
    assert set(known.alerts) == opened - cleared
    assert known.champions["pump/leak/12h"]["model"] == "linear"


def test_the_command_shows_and_writes_what_was_known(fleet: Fleet, tmp_path: Path) -> None:
    """A table, the rows as JSON, and one Parquet file an output."""
    when = format_instant(START + 7 * 24 * HOUR)
    shown = CliRunner().invoke(app, ["asof", str(fleet.path), when])
    assert "Highest latest scores" in shown.output
    written = CliRunner().invoke(app, ["asof", str(fleet.output.folder), when, "--json"])
    rows = [orjson.loads(line) for line in written.stdout.splitlines()]
    expected = [{"output": output, **row} for output, row in rows_known(fleet.output.folder, cut_at(when))]
    assert rows == expected
    CliRunner().invoke(app, ["asof", str(fleet.path), when, "--parquet", str(tmp_path)])
    table = pyarrow.parquet.read_table(tmp_path / "predictions.parquet")
    assert len(table) == sum(row["output"] == "predictions" for row in expected)


def test_a_cut_is_an_instant_or_a_record() -> None:
    """Anything else is refused with both forms."""
    assert cut_at("2025-01-01T00:00:00Z") == Cut(at=START)
    assert cut_at("#7") == Cut(record=7)
    with pytest.raises(AsOfError, match="#1200"):
        cut_at("yesterday")


def test_an_explanation_adds_up_to_what_was_served(fleet: Fleet) -> None:
    """Features are those of the example, contributions those of the alert, windows hold what they cover."""
    folder = fleet.output.folder
    opened = [row for row in whole_rows(folder, "alerts") if row["state"] == "opened"][-1]
    predictions = predictions_of(fleet)
    [row] = [each for each in predictions if each["sequence"] == opened["sequence"]]
    found = explain(fleet, row["id"])
    raised = [move for move in found.contributions if move["raised_by"] > 0]
    assert sorted(raised, key=lambda move: -move["raised_by"])[:3] == opened["moved_by"]
    served = {(each["asset"], each["time"]): each["features"] for each in whole_rows(folder, "examples")}
    assert served.get((row["asset"], row["time"]), found.features) == found.features
    [window] = found.windows
    assert window.length == "6h"
    assert window.events + window.since == 6


def test_late_data_since_a_score_is_counted(fleet: Fleet) -> None:
    """A message comes two hours late into the window of a score, which is revised."""
    predictions = predictions_of(fleet)
    revised = next(row for row in predictions if row["revision"] == 1)
    first = explain(fleet, revised["revises"])
    assert [row["id"] for row in first.revisions] == [revised["id"]]
    assert first.windows[0].since == 1
    again = explain(fleet, revised["id"])
    assert (again.windows[0].since, again.windows[0].late) == (0, 1)


def test_an_explanation_is_refused_where_it_would_be_wrong(fleet: Fleet, tmp_path: Path) -> None:
    """An unknown id, and a recording or a fleet that is not that of the run."""
    with pytest.raises(ExplainError, match="take an `id` from it"):
        explain(fleet, "nothing")
    changed = pumps(tmp_path, ["pump-1"], days=6)
    rows = predictions_of(changed)
    penalised = '"river.linear_model.LogisticRegression", l2 = 0.5 }'
    (tmp_path / "fleet.toml").write_text(
        FLEET.replace('"river.linear_model.LogisticRegression" }', penalised)
    )
    last = next(row for row in rows[::-1] if row["link"] == "class")
    with pytest.raises(ExplainError, match="was changed since the run"):
        explain(load(tmp_path / "fleet.toml"), last["id"])


def test_the_command_explains_in_words(fleet: Fleet) -> None:
    """What the model saw, in sentences and tables, or as one object."""
    predictions = predictions_of(fleet)
    row = next(row for row in predictions[::-1] if row["link"] == "class")
    shown = CliRunner().invoke(app, ["explain", str(fleet.path), row["id"]])
    assert "What moved it most: " in shown.output
    written = CliRunner().invoke(app, ["explain", str(fleet.path), row["id"], "--json"])
    assert orjson.loads(written.stdout)["prediction"] == row


def test_a_mixture_is_explained_by_its_experts_and_by_the_features_that_they_see(tmp_path: Path) -> None:
    """The score of each expert; what every feature did, through a tree too; what a sensor did as a whole."""
    text = FLEET.replace('champion = "linear"', 'champion = "mixture"\nmodels = ["linear", "tree", "prior"]')
    tree = "river.tree.HoeffdingTreeClassifier"
    text += f'\n[models.tree]\npipeline = [{{ estimator = "{tree}", grace_period = 20, delta = 0.1 }}]\n'
    (tmp_path / "fleet.toml").write_text(text)
    lines = recorded(["pump-1", "pump-2", "pump-3"], 12)
    (tmp_path / "events.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    mixed = load(tmp_path / "fleet.toml")
    run_into(mixed, lines)
    row = max(
        (each for each in predictions_of(mixed) if each["link"] == "class"), key=lambda each: each["score"]
    )
    found = explain(mixed, row["id"])
    assert set(found.read) == {"linear", "tree", "prior"}
    assert all(score is not None and 0 <= score <= 1 for score in found.read.values())
    assert {move["feature"] for move in found.contributions} == set(mixed.classes["pump"].features)
    assert found.contributions[0]["raised_by"] > 0
    # One feature alone hides behind the others; the pressure as a whole does not.
    assert found.together["pressure"] >= found.contributions[0]["raised_by"]
    assert next(iter(found.together)) == "pressure"
    assert found.with_usual is not None
    assert found.with_usual < row["score"] / 2
    shown = CliRunner().invoke(app, ["explain", str(mixed.path), row["id"]], env={"COLUMNS": "300"}).output
    assert "It reads the scores of other models: " in shown
    assert "With the usual value of every feature the score would be" in shown
