"""A new source or sink is one file and one line: `tests/connectors/sqlite.py` adds both."""

from __future__ import annotations

import io
import sqlite3
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from bytewax.recovery import RecoveryConfig
from bytewax.testing import run_main
from rich.console import Console

from dataflows.connectors.ends import SINKS, SOURCES, sink_of, source_of
from dataflows.connectors.lines import InputError
from dataflows.engine.runtime import Runtime
from dataflows.failure_prediction import build
from dataflows.fleet import FleetError, load
from dataflows.outputs import OUTPUTS
from dataflows.pipeline import run_lines
from dataflows.recovery.kinds import kinds
from dataflows.recovery.store import check_store, open_store, past_in
from dataflows.status import RunStatus
from dataflows.tools.inspect import inspect
from tests.chaos.harness import recording
from tests.connectors.sqlite import TableSink, TableSource
from tests.tables import PRIOR

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRUCKS = (
    """
[assets]
adopt_as = "truck"

[classes.truck]
sensors = ["coolant_level"]
allowed_lateness = "30m"
example_every = "2h"

[[targets]]
class = "truck"
mode = "coolant_leak"
horizon = "12h"
champion = "prior"
"""
    + PRIOR
)
HEAD = """
name = "trucks"

[input]
batch = 50

[input.connector]
kind = "sqlite"
settings = { database = "events.db" }

[output.connector]
kind = "sqlite"
settings = { database = "rows.db" }
"""
EPOCH = timedelta(milliseconds=20)


@pytest.fixture
def lines() -> list[bytes]:
    """About 800 records of a simulated fleet, with late, broken and repeated ones."""
    return [line for line in recording(10, 8) if line]


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The two lines by which the source and the sink are added."""
    monkeypatch.setitem(SOURCES, "sqlite", lambda: TableSource)
    monkeypatch.setitem(SINKS, "sqlite", lambda: TableSink)
    kinds.cache_clear()
    yield
    kinds.cache_clear()


@pytest.fixture
def fleet(lines: list[bytes], tmp_path: Path) -> Path:
    """A fleet.toml that reads a table of records and writes tables of rows."""
    with sqlite3.connect(tmp_path / "events.db") as database:
        database.execute("CREATE TABLE records (event BLOB)")
        database.executemany("INSERT INTO records VALUES (?)", [(line,) for line in lines])
    database.close()
    path = tmp_path / "fleet.toml"
    path.write_text(HEAD + TRUCKS, encoding="utf-8")
    return path


def run(path: Path) -> None:
    """One execution on the recovery store beside the fleet, until its end or a crash."""
    found, store = load(path, environ={}), path.parent / "store"
    with open_store(store, found) as recovery:
        assert isinstance(recovery, RecoveryConfig)
        flow = build(found, Runtime(store=store, past=past_in(store, found)))
        run_main(flow, epoch_interval=EPOCH, recovery_config=recovery)


def rows(folder: Path) -> dict[str, list[bytes]]:
    database = sqlite3.connect(folder / "out" / "rows.db")
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    found = {
        name: [data for (data,) in database.execute(f"SELECT data FROM {name} ORDER BY rowid")]  # noqa: S608 - our own names
        for name in OUTPUTS
        if name in tables
    }
    database.close()
    return found


@pytest.mark.usefixtures("added")
def test_a_source_and_a_sink_of_one_file_survive_crashes(
    lines: list[bytes], fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three crashes the tables hold what the stages make of the records; the store is shown."""
    monkeypatch.setattr(TableSource, "crashes", {100, 350, 700})
    for _ in range(4):
        run(fleet)
    assert TableSource.crashes == set()
    expected = run_lines(load(fleet, environ={}), lines, str(tmp_path / "events.db"))
    found = rows(tmp_path)
    for name in ("predictions", "evaluations", "metrics", "changes", "alerts"):
        assert found.get(name, []) == expected[name], name
    # Their rows name the offset in the file, and a table has none.
    assert len(found["rejects"]) == len(expected["rejects"]) > 0
    assert len(found["late"]) == len(expected["late"]) > 0
    assert check_store(tmp_path / "store", load(fleet, environ={})) is not None
    console = Console(file=io.StringIO(), width=200)
    inspect(tmp_path / "store", fleet, console)
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert f"Read: {len(lines):,} records." in said
    assert f"records  {len(lines):,}" in said
    assert "Final bytes" not in said


def test_an_unknown_source_or_sink_is_refused(fleet: Path) -> None:
    """The message names the kinds there are, and where one is added."""
    found = load(fleet, environ={})
    expected = r"\[{}.connector\]: there is no kind 'sqlite'; expected one of files, kafka.*ends.py"
    with pytest.raises(InputError, match=expected.format("input")):
        source_of(found, RunStatus())
    with pytest.raises(InputError, match=expected.format("output")):
        sink_of(found, RunStatus())


def test_files_beside_another_source_are_refused(fleet: Path) -> None:
    """One input at a time: files, topics, or a connector."""
    text = fleet.read_text(encoding="utf-8").replace("batch = 50", 'batch = 50\nfiles = ["events.jsonl"]')
    fleet.write_text(text, encoding="utf-8")
    with pytest.raises(FleetError, match="none together with `connector`"):
        load(fleet, environ={})
