"""`export`: examples for training elsewhere are those that the models of the stream learned. Warm start."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow.parquet
import pytest
from rich.console import Console
from typer.testing import CliRunner

from dataflows.__main__ import app
from dataflows.evaluation.reading import whole_rows
from dataflows.fleet import load
from dataflows.instants import HOUR, parse_instant
from dataflows.outputs import OUTPUTS
from dataflows.tools.export import ExportError, export
from examples.cmapss.reader import main as read
from tests.processes import ROOT
from tests.report.pumps import FLEET, pumps, recorded

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.fleet.fleet import Fleet

FD001 = ROOT.parent / "shared" / "data" / "cmapss"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return pumps(tmp_path_factory.mktemp("pumps"), ["pump-1", "pump-2", "pump-3"], days=12)


def table_of(folder: Path) -> list[dict[str, Any]]:
    """Rows of the exported table of the pumps."""
    return pyarrow.parquet.read_table(folder / "pump_leak_12h.parquet").to_pylist()


def test_a_model_that_learns_the_export_is_the_model_of_the_run(tmp_path: Path) -> None:
    """Fed what was learned by then, row by row, it gives the newest example the very score that was served.

    With one asset, so that its own clock is the clock of the target, by which models learn.
    """
    fleet = pumps(tmp_path, ["pump-1"], days=24)
    export(fleet, tmp_path, Console(quiet=True))
    folder = fleet.output.folder
    newest = max(whole_rows(folder, "examples"), key=lambda row: row["sequence"])
    before = [row for row in whole_rows(folder, "predictions") if row["sequence"] <= newest["sequence"]]
    served = before[-1]
    # A label is learned once the clock of the target, the largest of its assets', has passed it.
    clocks = [row["watermark"] for row in before]
    labels = [row for row in whole_rows(folder, "evaluations") if row["sequence"] <= newest["sequence"]]
    clock = max(map(parse_instant, [*clocks, *(row["matured"] for row in labels)]))
    estimator = next(each for each in fleet.targets["pump/leak/12h"].models if each.name == "linear").build()
    learned, known = 0, {row["id"] for row in labels}
    for row in table_of(tmp_path):
        names = (name for name in row if name.startswith("feature.") and row[name] is not None)
        if parse_instant(row["time"].isoformat()) + 12 * HOUR < clock and row["id"] in known:
            estimator.learn_one(
                {name.removeprefix("feature."): row[name] for name in names}, bool(row["label"])
            )
            learned += 1
    assert learned > 200
    seen = {name: value for name, value in newest["features"].items() if value is not None}
    assert estimator.predict_proba_one(seen)[True] == served["score"]


def test_the_export_holds_labels_scores_and_times_as_they_were_written(fleet: Fleet, tmp_path: Path) -> None:
    """Row by row those of the evaluations, in order of time and asset."""
    export(fleet, tmp_path, Console(quiet=True))
    latest = {row["id"]: row for row in whole_rows(fleet.output.folder, "evaluations")}
    rows = table_of(tmp_path)
    assert [(row["time"], row["asset"]) for row in rows] == sorted(
        (row["time"], row["asset"]) for row in rows
    )
    for row in rows:
        was = latest[str(row["id"])]
        assert row["label"] == (was["label"] == "positive")
        assert row["score.linear"] == was["scores"]["linear"]
        assert (row["champion"], row["lead"], row["correction"]) == (
            was["champion"],
            was["lead"],
            was["correction"],
        )


def test_the_manifest_says_what_the_tables_are(fleet: Fleet, tmp_path: Path) -> None:
    """Digest, counts, features in their order, and the models of the run."""
    path = export(fleet, tmp_path, Console(quiet=True))
    [table] = orjson.loads(path.read_bytes())["tables"]
    rows = table_of(tmp_path)
    assert table["sha256"] == hashlib.sha256((tmp_path / table["file"]).read_bytes()).hexdigest()
    assert (table["examples"], table["positives"]) == (len(rows), sum(row["label"] == 1 for row in rows))
    assert table["features"] == list(fleet.classes["pump"].features)
    assert table["models"]["linear"]["features"] == table["features"]


def test_an_export_without_features_is_refused(tmp_path: Path) -> None:
    """The message names the key."""
    (tmp_path / "fleet.toml").write_text(FLEET.replace('folder = "out"', 'folder = "out"\nfeatures = "none"'))
    bare = load(tmp_path / "fleet.toml")
    with pytest.raises(ExportError, match="run the fleet first"):
        export(bare, tmp_path, Console(quiet=True))


def outputs_of(fleet: Path, folder: Path, parts: list[list[bytes]]) -> dict[str, bytes]:
    """Outputs of a run over the first part, that goes on with each further part as it comes."""
    folder.mkdir()
    for number, part in enumerate(parts):
        (folder / f"part-{number}.jsonl").write_bytes(b"".join(part))
        env = {"FLEET_INPUT": str(folder / "part-*.jsonl"), "FLEET_OUTPUT": str(folder / "out")}
        done = CliRunner().invoke(app, ["run", str(fleet), "--recovery", str(folder / "store")], env=env)
        assert done.exit_code == 0, done.output
    paths = {name: folder / "out" / f"{name}.jsonl" for name in OUTPUTS}
    return {
        name: path.read_bytes().replace(str(folder).encode(), b"") if path.exists() else b""
        for name, path in paths.items()
    }


@pytest.mark.parametrize(
    "every",
    [
        pytest.param(10, marks=pytest.mark.ci, id="10 engines"),
        pytest.param(1, marks=[pytest.mark.full, pytest.mark.timeout(1_800)], id="100 engines"),
    ],
)
@pytest.mark.skipif(not FD001.exists(), reason=f"C-MAPSS is not at {FD001}")
def test_a_backfill_hands_over_to_the_live_run_without_gap_or_double_count(
    tmp_path: Path, every: int
) -> None:
    """70 % of FD001's records as history, the rest live: every output equals that of one unbroken run."""
    recording = tmp_path / "all.jsonl"
    read([str(FD001), "--subset", "FD001", "--out", str(recording)])
    lines = recording.read_bytes().splitlines(keepends=True)
    keep = {f"engine-{number:03}" for number in range(1, 101, every)}
    lines = [line for line in lines if orjson.loads(line)["asset"] in keep]
    cut = len(lines) * 7 // 10

    fleet = ROOT / "examples/cmapss/fleet.toml"
    backfilled = outputs_of(fleet, tmp_path / "handed", [lines[:cut], lines[cut:]])
    unbroken = outputs_of(fleet, tmp_path / "unbroken", [lines])
    assert len(unbroken["evaluations"]) > 100_000
    for name in OUTPUTS:
        assert backfilled[name] == unbroken[name], name


_TREE = """
[models.tree]
pipeline = [{ estimator = "river.tree.HoeffdingTreeClassifier", grace_period = 20 }]
"""
_NEW = {
    "a challenger": (FLEET, FLEET + _TREE),
    # The models of before keep to the features of before.
    "a feature": (
        FLEET,
        FLEET.replace('"mean", "slope"', '"mean", "slope", "max"').replace(
            "[models.linear]", '[models.linear]\nfeatures = ["*:mean:*", "*:slope:*", "pressure", "flow"]'
        )
        + _TREE,
    ),
}


@pytest.mark.parametrize("new", _NEW)
def test_what_is_new_learns_from_history_and_the_champion_serves_as_before(tmp_path: Path, new: str) -> None:
    """The new fleet over history, then live, equals one run; its champion predicts what the old one did."""
    lines = [line + b"\n" for line in recorded(["pump-1", "pump-2", "pump-3"], 10)]
    cut = len(lines) * 7 // 10
    paths = tmp_path / "before.toml", tmp_path / "after.toml"
    for path, text in zip(paths, _NEW[new], strict=True):
        path.write_text(text)
    before = outputs_of(paths[0], tmp_path / "before", [lines[:cut], lines[cut:]])
    backfilled = outputs_of(paths[1], tmp_path / "handed", [lines[:cut], lines[cut:]])
    assert backfilled == outputs_of(paths[1], tmp_path / "unbroken", [lines])
    assert backfilled["predictions"] == before["predictions"]
    labels = [orjson.loads(line) for line in backfilled["evaluations"].splitlines()]
    assert len(labels) == len(before["evaluations"].splitlines()) > 100
    late = [row["scores"]["tree"] for row in labels if row["time"] > "2025-01-08T00:00:00Z"]
    assert len({score for score in late if score is not None}) > 1
