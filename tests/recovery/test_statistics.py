"""Statistics for SQLite's planner: every store has them, and with them the engine's queries sort nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import bytewax._bytewax as engine
import pytest
from bytewax.recovery import init_db_dir

from dataflows.fleet import Fleet, load
from dataflows.recovery.sqlite_files import STATISTICS, part_files, set_statistics
from dataflows.recovery.store import open_store
from tests.tables import LEAK

if TYPE_CHECKING:
    from collections.abc import Iterator

LOADS, DELETES = (
    (b"WITH max_epoch_snaps AS", b"LIMIT ?4"),
    (b"WITH max_epoch_snapshots AS", b"IN garbage_snapshots"),
)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """A small fleet."""
    path = tmp_path / "fleet.toml"
    text = 'name = "pumps"\n[input]\nfiles = ["events.jsonl"]\n[classes.pump]\nsensors = ["pressure"]\n'
    path.write_text(text + LEAK, encoding="utf-8")
    return load(path)


def statistics(store: Path) -> Iterator[list[tuple[str, ...]]]:
    """Those of each file."""
    for path in part_files(store):
        with closing(sqlite3.connect(path)) as connection:
            yield connection.execute("SELECT tbl, idx, stat FROM sqlite_stat1").fetchall()


def engines(ends: tuple[bytes, bytes]) -> str:
    """A statement as it stands in the engine's library."""
    library = Path(engine.__file__).read_bytes()
    first = library.index(ends[0])
    return library[first : library.index(ends[1], first) + len(ends[1])].decode()


def plan(path: Path, query: str, *values: object) -> list[str]:
    """How SQLite carries a statement out, step by step."""
    with closing(sqlite3.connect(path)) as connection:
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", values)]


def test_a_new_store_and_one_of_before_have_the_statistics(tmp_path: Path, fleet: Fleet) -> None:
    """They are written with a new store, and into one that has none or others; else no file is written."""
    store = tmp_path / "store"
    with open_store(store, fleet):
        assert [*statistics(store)] == [[STATISTICS]] * 16
    for number, path in enumerate(part_files(store)):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("ANALYZE" if number % 2 else "DROP TABLE sqlite_stat1")
    with open_store(store, fleet):
        assert [*statistics(store)] == [[STATISTICS]] * 16
    before = [path.stat().st_mtime_ns for path in part_files(store)]
    set_statistics(store)
    assert [path.stat().st_mtime_ns for path in part_files(store)] == before


@pytest.mark.skipif(
    sqlite3.sqlite_version_info < (3, 44),
    reason=f"the engine has SQLite 3.44 in it; Python's, {sqlite3.sqlite_version}, plans in another way",
)
def test_with_the_statistics_loading_sorts_nothing_and_a_commit_reads_no_more(tmp_path: Path) -> None:
    """The query at a resume reads the table in the order of its index; the deletion stays as it was."""
    init_db_dir(tmp_path, 1)
    path = tmp_path / "part-0.sqlite3"
    loads, deletes = engines(LOADS), engines(DELETES)
    first, next_one = (9, None, None, 1_000), (9, "step", "key", 1_000)
    deleted = plan(path, deletes, 9)
    assert "USE TEMP B-TREE FOR ORDER BY" in plan(path, loads, *first)
    set_statistics(tmp_path)
    for values in (first, next_one):
        found = plan(path, loads, *values)
        assert f"SCAN snaps USING INDEX {STATISTICS[1]}" in found
        assert "USE TEMP B-TREE FOR ORDER BY" not in found
    assert plan(path, deletes, 9) == deleted
