"""The Python API does what the commands do, and returns it as data."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import narwhals as nw
import orjson
import pytest

import highwater as hw
from dataflows.evaluation.columns import Field, fields_of_output
from dataflows.evaluation.frames import Backend, frame
from tests.leaking_pump import leaking_pump

if TYPE_CHECKING:
    from pathlib import Path


_ALWAYS = Field(str, always=True)
PRIOR = """[models.prior]
pipeline = [{ estimator = "dataflows.estimators.Prior" }]"""


@pytest.fixture
def fleet(tmp_path: Path) -> hw.Fleet:
    """A pump that leaks, with alerts and two models."""
    return hw.load(leaking_pump(tmp_path, 500, target="alert = { open = 0.5 }", models=PRIOR))


def test_a_run_returns_its_summary_and_its_rows_as_frames(fleet: hw.Fleet) -> None:
    """The figures are those of summary.json, the rows those of the files, and times are times in UTC."""
    result = hw.run(fleet)
    assert result.records == 509
    assert result.summary["targets"]["pump/leak/12h"]["learned"] > 400
    predictions = nw.from_native(result.outputs.predictions())
    assert predictions.shape[0] == 499
    assert predictions.schema["time"] == nw.Datetime("us", "UTC")
    evaluations = nw.from_native(result.outputs.evaluations())
    assert {"label", "lead", "scores.linear", "scores.prior"} <= set(evaluations.columns)
    metrics = nw.from_native(result.outputs.metrics())
    assert set(metrics["model"].to_list()) == {"linear", "prior"}
    assert "log_loss" in metrics.columns


def test_an_alert_is_one_row_with_its_outcome(fleet: hw.Fleet) -> None:
    """Opening, updates and clearing are one row, with the lead from the opening to the failure."""
    alerts = nw.from_native(hw.run(fleet).outputs.alerts())
    assert alerts.shape[0] > 3
    assert alerts["id"].n_unique() == alerts.shape[0]
    last = alerts.rows(named=True)[-1]
    assert last["outcome"] == "failure"
    assert 0 < last["lead"] < 12
    assert last["why"] == "failure"


def test_features_are_those_that_are_served(fleet: hw.Fleet) -> None:
    """The training set holds the feature vectors of the run, to the last bit."""
    table = nw.from_native(hw.features(fleet))
    served = nw.from_native(hw.run(fleet).outputs.examples())
    column = "features.pressure:mean:6h"
    mine = dict(zip(table["example"].to_list(), table[column].to_list(), strict=True))
    assert len(mine) > 400
    theirs = dict(zip(served["id"].to_list(), served[column].to_list(), strict=True))
    assert mine == {key: theirs[key] for key in mine}


@pytest.mark.usefixtures("fleet")
def test_a_run_in_the_background_is_stopped_and_returns_its_result(tmp_path: Path) -> None:
    """A live input never ends by itself; `stop` ends it at an epoch boundary."""
    lines = (tmp_path / "events.jsonl").read_bytes().splitlines()
    stamped = [orjson.dumps(event | {"arrived": event["time"]}) for event in map(orjson.loads, lines)]
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(stamped) + b"\n")
    live = hw.load(tmp_path / "fleet.toml", {"input": {"follow": True}})
    going = hw.start(live, epoch="100ms")
    for _ in range(600):
        if going.records == 509:
            break
        time.sleep(0.1)
    assert going.running
    with pytest.raises(TimeoutError, match="stop"):
        going.wait(0.01)
    assert going.stop().records == 509
    assert not going.running


@pytest.mark.usefixtures("fleet")
def test_an_error_in_the_background_is_raised_by_wait(tmp_path: Path) -> None:
    """Nothing is lost in a thread."""
    (tmp_path / "events.jsonl").write_bytes(b"a,b\n1,2\n")
    with pytest.raises(RuntimeError, match="No record"):
        hw.start(tmp_path / "fleet.toml").wait()


def test_check_returns_the_problems(tmp_path: Path) -> None:
    """Each problem is one text; a fleet that can run has none."""
    good = leaking_pump(tmp_path, 2)
    (tmp_path / "bad.toml").write_text(good.read_text().replace("champion", "champoin"), encoding="utf-8")
    assert hw.check(good) == []
    assert any("champoin" in problem for problem in hw.check(tmp_path / "bad.toml"))


@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])
def test_a_frame_is_of_the_library_that_was_asked_for(backend: str) -> None:
    """Rows with different fields make one frame; missing fields are null."""
    pytest.importorskip(backend)
    rows = [{"time": "2020-01-01T00:00:00Z", "n": 1}, {"time": None, "n": 2, "scores": {"a": 1, "b": 0.5}}]
    found = nw.from_native(frame(rows, backend))  # type: ignore[arg-type]
    assert found.implementation.value == backend
    assert found.columns == ["time", "n", "scores.a", "scores.b"]
    assert found.schema["time"] == nw.Datetime("us", "UTC")
    assert found["n"].to_list() == [1, 2]


@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])
def test_a_frame_without_rows_has_its_columns_with_types(tmp_path: Path, backend: Backend) -> None:
    """A program that reads a run without predictions finds the same columns as in any other run."""
    pytest.importorskip(backend)
    toml = leaking_pump(tmp_path, 500, target="alert = { open = 0.5 }")
    some = hw.run(toml, backend=backend).outputs
    (tmp_path / "none").mkdir()
    (tmp_path / "none/summary.json").write_text("{}", encoding="utf-8")
    none = hw.read(tmp_path / "none", backend)
    for method in ("predictions", "evaluations", "examples", "metrics", "alerts"):
        full = nw.from_native(getattr(some, method)()).schema
        empty = nw.from_native(getattr(none, method)())
        assert (empty.shape[0], empty.implementation.value) == (0, backend)
        by_name = {name for name in full if name.partition(".")[0] in {"scores", "features", "censored"}}
        # Figures are absent from a period without examples.
        figures = {name for name in full if fields_of_output("metrics").get(name, _ALWAYS).always is False}
        expected = {name: kind for name, kind in full.items() if name not in by_name | figures}
        assert {name: kind for name, kind in empty.schema.items() if name in expected} == expected
    changes = nw.from_native(none.changes())
    assert changes.schema["known"] == nw.Datetime("us", "UTC")
    assert {"change", "target", "model", "asset", "sensors"} <= set(changes.columns)


def test_a_column_without_values_has_the_type_of_its_field() -> None:
    """`lead` is a number also where no failure has come yet."""
    rows = [{"id": "a", "lead": None, "matured": None}]
    found = nw.from_native(frame(rows, "pyarrow", fields_of_output("evaluations")))
    assert found.schema["lead"] == nw.Float64
    assert found.schema["matured"] == nw.Datetime("us", "UTC")


def test_another_package_called_dataflows_is_named(tmp_path: Path) -> None:
    """The name is common; the error says where the other one is."""
    (tmp_path / "dataflows").mkdir()
    (tmp_path / "dataflows" / "__init__.py").write_text('"""Mine."""\n', encoding="utf-8")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import highwater"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another package called `dataflows`" in done.stderr
    assert str(tmp_path) in done.stderr
