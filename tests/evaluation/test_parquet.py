"""Parquet files of the outputs hold the rows of the outputs, whole or not at all."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import duckdb
import orjson
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

import highwater as hw
from dataflows.__main__ import app
from dataflows.connectors.file_sink import OutputGoneError
from dataflows.evaluation.parquet import ParquetError, parquet_outputs, write_parquet
from dataflows.instants import format_instant, parse_instant
from dataflows.outputs import OUTPUTS
from dataflows.tools.outputs import sample_rows
from tests.leaking_pump import leaking_pump

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs of a pump that leaks, and behind them a row of every kind that there is."""
    folder = tmp_path_factory.mktemp("parquet")
    toml = leaking_pump(folder, 300, target="alert = { open = 0.5 }")
    out = hw.run(toml).outputs
    read = hw.load(toml).output.folder
    assert len(out.rows("predictions")) > 200
    hours = {
        "hours": {"low": 1.5, "median": 4, "high": None},
        "within": {"6h": 0.25},
        "features": {"pressure": None},
    }
    rows = [(kind.output, line) for kind, line in sample_rows().items()]
    rows.append(("predictions", orjson.dumps({**out.rows("predictions")[0], **hours})))
    for output, line in rows:
        with (read / f"{output}.jsonl").open("ab") as file:
            file.write(line + b"\n")
        (read / f"{output}.committed").unlink(missing_ok=True)
    return read


def _plain(value: Any) -> Any:  # noqa: ANN401 - of any field
    """A value as JSON has it: times as text, without the fields that are absent or null."""
    if isinstance(value, datetime):
        return format_instant(parse_instant(value.isoformat()))
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items() if each is not None}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _rows(table: pa.Table) -> list[Any]:
    """Rows of a table, JSON text decoded."""
    text = [name for name in ("event", "evidence", "pipeline", "refit") if name in table.column_names]
    rows = table.to_pylist(maps_as_pydicts="strict")
    for row in rows:
        for name in text:
            if isinstance(row[name], str):
                row[name] = orjson.loads(row[name])
            elif isinstance(row[name], list):
                row[name] = [orjson.loads(each) for each in row[name]]
    return [_plain(row) for row in rows]


@pytest.mark.parametrize("output", OUTPUTS)
def test_parquet_holds_the_rows_of_the_output(outputs: Path, tmp_path: Path, output: str) -> None:
    """Every field of every kind of row is there with its value; what is absent is null."""
    written = {each.path.stem: each.rows for each in parquet_outputs(outputs, tmp_path)}
    table = parquet.read_table(tmp_path / f"{output}.parquet")
    rows = hw.read(outputs).rows(output)
    assert written[output] == len(rows) > 0
    assert _rows(table) == [_plain(row) for row in rows]


def test_times_are_timestamps_in_utc_for_duckdb_and_pandas(outputs: Path, tmp_path: Path) -> None:
    """The same instants and scores as in Python; names in a map, objects as structs."""
    list(parquet_outputs(outputs, tmp_path))
    frame = hw.read(outputs, "pandas").predictions()
    read = pd.read_parquet(tmp_path / "predictions.parquet")
    assert str(read["time"].dtype) == "datetime64[us, UTC]"
    assert (read["time"] == frame["time"]).all()
    assert (read["score"] == frame["score"]).all()
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    predictions = database.read_parquet(f"{tmp_path}/predictions.parquet")
    found = predictions.to_arrow_table()
    assert found.schema.field("time").type == pa.timestamp("us", "UTC")
    assert found["time"].to_pylist() == list(frame["time"])
    labels = hw.read(outputs).rows("evaluations")
    scores = database.read_parquet(f"{tmp_path}/evaluations.parquet").project("scores['linear'], label")
    assert scores.fetchall() == [(row["scores"].get("linear"), row["label"]) for row in labels]
    medians = [(row.get("hours") or {}).get("median") for row in hw.read(outputs).rows("predictions")]
    assert [median for (median,) in predictions.project("hours.median").fetchall()] == medians


def test_only_committed_rows_are_written_and_only_once(outputs: Path, tmp_path: Path) -> None:
    """A row that a resume may take back is left out; a file is written again when there are more."""
    lines = (outputs / "predictions.jsonl").read_bytes().splitlines(keepends=True)
    output, committed = tmp_path / "predictions.jsonl", tmp_path / "predictions.committed"
    output.write_bytes(b"".join(lines))
    committed.write_bytes(b"%d\n" % len(b"".join(lines[:5])))
    assert [tuple(each)[1:] for each in parquet_outputs(tmp_path, tmp_path)] == [(5, True)]
    before = (tmp_path / "predictions.parquet").stat()
    output.write_bytes(b"".join(lines[:6]))
    assert [tuple(each)[1:] for each in parquet_outputs(tmp_path, tmp_path)] == [(5, False)]
    after = (tmp_path / "predictions.parquet").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    committed.write_bytes(b"%d\n" % len(b"".join(lines[:6])))
    assert [tuple(each)[1:] for each in parquet_outputs(tmp_path, tmp_path)] == [(6, True)]
    other = lines[0].replace(b'"asset":"pump', b'"asset":"pumq')
    assert other != lines[0]
    output.write_bytes(b"".join([other, *lines[1:6]]))
    assert [tuple(each)[1:] for each in parquet_outputs(tmp_path, tmp_path)] == [(6, True)]


def test_rows_that_are_gone_are_an_error(outputs: Path, tmp_path: Path) -> None:
    """An output that is shorter than what is final makes no file."""
    (tmp_path / "predictions.jsonl").write_bytes((outputs / "predictions.jsonl").read_bytes()[:0])
    (tmp_path / "predictions.committed").write_bytes(b"100\n")
    with pytest.raises(OutputGoneError, match="rows are gone"):
        list(parquet_outputs(tmp_path, tmp_path))
    assert not list(tmp_path.glob("*.parquet*"))


_KILLED = """
import os, signal, sys
from pathlib import Path
from dataflows.evaluation.parquet import write_parquet

def rows():
    for number in range(300_000):
        yield {"reason": "too_late", "line": number}
    os.kill(os.getpid(), signal.SIGKILL)

write_parquet(Path(sys.argv[1]), "late", rows())
"""


@pytest.mark.ci
def test_a_kill_leaves_the_former_file_or_none(tmp_path: Path) -> None:
    """A process that is killed after a row group leaves no half file, and the next call is not in its way."""
    path = tmp_path / "late.parquet"
    for former in (0, 3):
        if former:
            assert write_parquet(path, "late", [{"line": number} for number in range(former)]) == former
        done = subprocess.run([sys.executable, "-c", _KILLED, str(path)], check=False)
        assert done.returncode == -signal.SIGKILL
        assert (tmp_path / "late.parquet.part").stat().st_size > 1_000
        assert path.exists() == bool(former)
    assert parquet.read_table(path)["line"].to_pylist() == [0, 1, 2]
    assert write_parquet(path, "late", [{"line": 9}]) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["late.parquet"]


def test_memory_is_that_of_a_row_group(tmp_path: Path) -> None:
    """Rows are asked for while earlier ones are in the file already."""
    sizes = []

    def rows() -> Iterator[dict[str, object]]:
        for number in range(600_000):
            if number % 100_000 == 0:
                sizes.append((tmp_path / "late.parquet.part").stat().st_size)
            yield {"reason": f"{number}", "line": number}

    write_parquet(tmp_path / "late.parquet", "late", rows())
    assert sizes[0] < sizes[3] < sizes[5]
    assert parquet.ParquetFile(tmp_path / "late.parquet").num_row_groups == 5


def test_a_row_of_another_form_is_an_error_that_names_the_field(tmp_path: Path) -> None:
    """Nothing is left behind."""
    with pytest.raises(ParquetError, match="late: line has another form"):
        write_parquet(tmp_path / "late.parquet", "late", [{"line": "seven"}])
    assert not list(tmp_path.iterdir())


def test_the_command_says_what_it_wrote(outputs: Path, tmp_path: Path) -> None:
    """A line a file; the second time, nothing has changed; a folder without outputs is an error."""
    command = ["parquet", str(outputs), "--to", str(tmp_path / "to")]
    first, second = (CliRunner().invoke(app, command).stdout for _ in range(2))
    assert first.count("rows") == first.count("\n") == len(OUTPUTS)
    assert second.count("rows, unchanged") == len(OUTPUTS)
    failed = CliRunner().invoke(app, ["parquet", str(tmp_path)])
    assert failed.exit_code == 1
    assert "holds no outputs" in failed.output


def test_a_fresh_run_deletes_the_files_of_the_former_one(tmp_path: Path) -> None:
    """Nobody reads old scores beside new outputs."""
    toml = leaking_pump(tmp_path, 20)
    hw.run(toml)
    folder = hw.load(toml).output.folder
    list(parquet_outputs(folder, folder))
    assert (folder / "predictions.parquet").exists()
    hw.run(toml, fresh=True)
    assert not list(folder.glob("*.parquet"))
