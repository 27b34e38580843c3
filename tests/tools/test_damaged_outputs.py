"""What the tools say about outputs that were damaged: what is wrong, where, and what to do; never a trace."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import orjson
import pytest
from typer.testing import CliRunner

import highwater as hw
from dataflows.__main__ import app
from tests.leaking_pump import leaking_pump

if TYPE_CHECKING:
    from pathlib import Path

THRESHOLDS = "thresholds FLEET --missed-cost 10 --false-alarm-cost 1"
#: Commands that read outputs; FLEET, OUT, ID and ALERT stand for those of the run.
READERS = (
    "status FLEET",
    THRESHOLDS,
    "audit FLEET",
    "figures OUT",
    "report FLEET",
    "asof FLEET 2030-01-01T00:00:00Z",
    "parquet FLEET",
    "explain FLEET ID",
    "lineage FLEET ID",
    "export FLEET",
    "verdict ALERT confirmed --by ada --fleet FLEET --into EVENTS",
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ran")
    hw.run(hw.load(leaking_pump(folder, 200, target="alert = { open = 0.3 }")), fresh=True)
    return folder


@pytest.fixture
def world(ran: Path, tmp_path: Path) -> Path:
    shutil.copytree(ran, tmp_path, dirs_exist_ok=True)
    return tmp_path


def _said(world: Path, command: str) -> str:
    """Run a command that has to fail with a message; return it."""
    out = world / "out"
    names = {
        "FLEET": world / "fleet.toml",
        "EVENTS": world / "events.jsonl",
        "OUT": out,
        "ID": "0" * 24,
        "ALERT": "0" * 24,
    }
    words = [str(names.get(word, word)) for word in command.split()]
    said = CliRunner().invoke(app, words)
    assert isinstance(said.exception, SystemExit), said.exception
    assert said.exit_code == 1, said.output
    return " ".join(said.output.split())


@pytest.mark.parametrize("command", READERS)
def test_a_line_that_is_no_row_is_named(world: Path, command: str) -> None:
    """Every tool says which line of which file it is, and how the output becomes whole again."""
    for path in (world / "out").glob("*.jsonl"):
        first, *rest = path.read_bytes().splitlines(keepends=True) or [b""]
        path.write_bytes(b"".join([first, b'{"id":"\xff\x00\n', *rest]))
        path.with_suffix(".committed").unlink(missing_ok=True)
    said = _said(world, command)
    assert "line 2: expected a row of the" in said
    assert "Restore the file from a copy, or run again with --fresh" in said


@pytest.mark.parametrize("command", READERS)
def test_an_output_that_lost_its_end_is_no_smaller_output(world: Path, command: str) -> None:
    """Figures of what is left of it would be wrong, and nobody would notice."""
    for path in (world / "out").glob("*.jsonl"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    said = _said(world, command)
    assert "are final: rows are gone. Restore the file" in said


@pytest.mark.parametrize("command", ["status FLEET", "report FLEET", "report OUT", "skew OUT"])
@pytest.mark.parametrize("content", [b"", b'{"input":{', b"5\n"])
def test_a_summary_that_is_none_is_named(world: Path, command: str, content: bytes) -> None:
    """A disk that was full may have left a part of it."""
    (world / "out" / "summary.json").write_bytes(content)
    assert "summary.json: expected the summary of a run; delete the file" in _said(world, command)


def test_a_committed_length_that_is_none_counts_as_not_said(world: Path) -> None:
    """Then all whole rows count, as in an output that was copied without that file."""
    length = len((world / "out" / "predictions.jsonl").read_bytes().splitlines())
    (world / "out" / "predictions.committed").write_bytes(b"")
    said = CliRunner().invoke(app, ["parquet", str(world / "fleet.toml")])
    assert said.exit_code == 0, said.output
    assert f"predictions.parquet {length} rows" in " ".join(said.output.split())


@pytest.mark.parametrize("command", [THRESHOLDS, "export FLEET"])
def test_outputs_that_are_not_there_are_said_to_come_with_a_run(world: Path, command: str) -> None:
    """The message is no number of an error."""
    shutil.rmtree(world / "out")
    said = _said(world, command)
    assert "Errno" not in said
    assert "run" in said


def test_rows_of_an_open_epoch_are_read(world: Path) -> None:
    """A file that is longer than what is final is that of a run which is at work."""
    path = world / "out" / "predictions.jsonl"
    whole = path.read_bytes().splitlines(keepends=True)
    path.with_suffix(".committed").write_bytes(b"%d\n" % len(b"".join(whole[:-3])))
    path.write_bytes(b"".join(whole)[:-9])
    latest = orjson.loads(whole[-2])
    said = CliRunner().invoke(app, ["lineage", str(world / "fleet.toml"), latest["id"]])
    assert said.exit_code == 0, said.output
