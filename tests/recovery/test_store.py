"""The recovery store: which one the engine's command line names, and what is found out about its files."""

from __future__ import annotations

import fcntl
import io
import os
import pickle
import shutil
import sqlite3
import subprocess
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import bytewax.operators as op
import msgspec
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, run_main
from rich.console import Console

from dataflows.engine.operators import keyed, stateful_in_parts
from dataflows.engine.runtime import StoreLocks, find_runtime, named_store, workers_of
from dataflows.fleet import Fleet, load
from dataflows.recovery import kinds
from dataflows.recovery.manifest import read_manifest, write_manifest
from dataflows.recovery.sqlite_files import (
    Partition,
    check_moment,
    opened,
    part_files,
    read_partition,
    resume_epoch,
)
from dataflows.recovery.store import MARKS, StoreError, open_store
from dataflows.state.layouts import FleetChangedError
from dataflows.state.snapshots import SnapshotError, seal
from dataflows.tools.backup import backup as back_up
from dataflows.tools.inspect import inspect
from dataflows.tools.run import run
from tests.engine.flows import AssetRecords, Tally, item
from tests.leaking_pump import leaking_pump
from tests.tables import LEAK

if TYPE_CHECKING:
    from collections.abc import Iterator

FLOW = "dataflows.failure_prediction"


@pytest.mark.parametrize(
    ("arguments", "variable", "store"),
    [
        ([FLOW, "-r", "one", "-s", "10", "-b", "0"], None, "one"),
        (["-w2", "--recovery-directory=one", FLOW], "two", "one"),
        ([FLOW, "-w", "2"], "two", "two"),
        ([FLOW], None, None),
        (["run", "fleet.toml", "--recovery", "one"], None, None),
        ([FLOW, "-r"], None, None),
    ],
)
def test_the_named_store_is_that_of_the_engine(
    arguments: list[str], variable: str | None, store: str | None
) -> None:
    """The option comes before the environment; without both there is none."""
    environ = {} if variable is None else {"BYTEWAX_RECOVERY_DIRECTORY": variable}
    assert named_store(arguments, environ) == (None if store is None else Path(store))


@pytest.mark.parametrize(
    ("arguments", "environ", "workers"),
    [
        ([FLOW], {}, 1),
        ([FLOW, "-w", "1"], {}, 1),
        ([FLOW, "-w3"], {}, 3),
        ([FLOW], {"BYTEWAX_WORKERS_PER_PROCESS": "2"}, 2),
        ([FLOW, "-w", "1"], {"BYTEWAX_WORKERS_PER_PROCESS": "2"}, 1),
        ([FLOW, "-i", "0", "-a", "here:1"], {}, 1),
        ([FLOW, "-w", "2", "-i", "1", "-a", "here:1;here:2"], {}, 4),
        ([FLOW], {"BYTEWAX_POD_NAME": "flow-0", "BYTEWAX_HOSTFILE_PATH": "hosts"}, 2),
    ],
)
def test_the_workers_are_counted_over_all_processes(
    arguments: list[str], environ: dict[str, str], workers: int
) -> None:
    """One worker is one, however that is said; a cluster of unknown size has several."""
    assert workers_of(arguments, environ) == workers


_SNAP = "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES (?, ?, ?, ?)"
_FRONT = "INSERT INTO fronts (ex_num, worker_index, worker_frontier) VALUES (1, 0, 5)"


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """A small fleet."""
    path = tmp_path / "fleet.toml"
    text = 'name = "pumps"\n[input]\nfiles = ["events.jsonl"]\n[classes.pump]\nsensors = ["pressure"]\n'
    path.write_text(text + LEAK, encoding="utf-8")
    return load(path)


def parts_of(store: Path) -> list[Partition]:
    found = []
    for path in part_files(store):
        with opened(path) as connection:
            found.append(read_partition(path, connection))
    return found


@pytest.mark.parametrize("files", [1, 2, 4, 8, 16])
def test_each_file_of_a_store_holds_a_mark(tmp_path: Path, files: int) -> None:
    """The engine's hash puts at least one of the lane's marks into each file, and one epoch marks all."""
    init_db_dir(tmp_path, files)
    flow = Dataflow("highwater")
    source = AssetRecords([item(number, "lane-0", b"0") for number in range(1, 5)], 1, set(), set())
    by_lane = keyed("by_lane", op.input("source", flow, source), lambda _: "lane-0", list)

    def build(key: str, main: bytes | None, parts: dict[int, bytes]) -> Tally:
        return Tally(key, main, parts)

    worked = stateful_in_parts("lane", by_lane, build, lambda _: "lane-0", 1, MARKS)
    op.output("outputs", worked, TestingSink([]))
    run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(tmp_path))
    parts = parts_of(tmp_path)
    resume = check_moment(parts)
    assert len({max(mark for mark in part.marks if mark < resume) for part in parts}) == 1
    assert {part.committed for part in parts} == {resume - 1}


@pytest.mark.parametrize("command", ["our own", "the engine's"])
def test_what_a_dead_run_did_not_finish_is_no_state_of_a_later_epoch(
    tmp_path: Path, fleet: Fleet, command: str
) -> None:
    """Killed within an epoch, and again before a key was awake: it has the state from before both."""
    with open_store(tmp_path / "store", fleet):
        pass
    for number, path in enumerate(part_files(tmp_path / "store")):
        with closing(sqlite3.connect(path)) as connection, connection:
            if number == 0:
                connection.execute("INSERT INTO exs (ex_num, worker_count, resume_epoch) VALUES (1, 1, 1)")
                connection.execute(_FRONT)
            connection.execute("INSERT INTO commits (part_index, commit_epoch) VALUES (?, 4)", (number,))
            # Epoch 4 is finished; 5 is written, but the worker did not come to say so.
            for epoch in (4, 5):
                state = pickle.dumps(seal("mark", 1, ("lane-0", epoch)))
                key = f"highwater.lane.mark_{MARKS[number]:02}", "lane-0", epoch, state
                connection.execute(_SNAP, key)
    if command == "our own":
        with open_store(tmp_path / "store", fleet):
            pass
    else:
        with closing(StoreLocks()) as locks:
            find_runtime(fleet, ["-r", str(tmp_path / "store")], {}, locks)
    assert {part.marks for part in parts_of(tmp_path / "store")} == {frozenset({4})}
    assert resume_epoch(parts_of(tmp_path / "store")) == 5


def test_a_new_store_has_a_number_in_each_file_and_a_manifest(tmp_path: Path, fleet: Fleet) -> None:
    """Made once; the second time the same store is opened, held by one at a time."""
    folder = tmp_path / "store"
    with open_store(folder, fleet):
        manifest = read_manifest(folder)
        assert manifest is not None
        assert manifest.fleet == "pumps"
        assert {part.store for part in parts_of(folder)} == {manifest.store}
        with pytest.raises(StoreError, match="in use by another run"), open_store(folder, fleet):
            pass
    with open_store(folder, fleet):
        again = read_manifest(folder)
        assert again is not None
        assert again.store == manifest.store


@pytest.mark.parametrize("version", [0, 3])
def test_a_store_of_another_format_is_refused(tmp_path: Path, fleet: Fleet, version: int) -> None:
    """An older and a newer format are named, with what to do."""
    with open_store(tmp_path / "store", fleet):
        manifest = read_manifest(tmp_path / "store")
    assert manifest is not None
    write_manifest(tmp_path / "store", msgspec.structs.replace(manifest, format=version))
    expected = f"of format {version}, this release reads up to format 2; run the release that wrote it"
    with pytest.raises(StoreError, match=expected), open_store(tmp_path / "store", fleet):
        pass


def test_the_engines_own_command_is_guarded_too(tmp_path: Path, fleet: Fleet) -> None:
    """A store that the engine made gets a manifest, is held by the first process and checked by all."""
    store = tmp_path / "store"
    store.mkdir()
    init_db_dir(store, 2)
    arguments = ["flow", "-r", str(store), "-s", "1", "-b", "0"]
    with closing(StoreLocks()) as locks:
        assert find_runtime(fleet, arguments, {}, locks).store == store
        manifest = read_manifest(store)
        assert manifest is not None
        assert manifest.partitions == 2
        with (store / "lock").open("a") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The second process of the cluster looks only.
        runtime = find_runtime(fleet, [*arguments, "-i", "1", "-a", "here:1;here:2"], {}, locks)
        assert (runtime.store, runtime.workers) == (store, 2)
        with closing(sqlite3.connect(store / "part-1.sqlite3")) as connection:
            connection.execute("PRAGMA application_id = 5")
        with pytest.raises(StoreError, match=r"part-1\.sqlite3 is of another recovery store"):
            find_runtime(fleet, arguments, {}, locks)


@pytest.mark.parametrize("left", [b"", bytes(512)])
def test_an_empty_manifest_is_refused_and_that_of_a_backup_takes_its_place(
    tmp_path: Path, fleet: Fleet, left: bytes
) -> None:
    """The refusal says what is lost and what to copy; one from another store is refused as well."""
    store, backup, other = (tmp_path / name for name in ("store", "backup", "other"))
    for folder in (store, other):
        with open_store(folder, fleet):
            pass
    back_up(store, backup, Console(quiet=True), outputs=False)
    (store / "manifest.json").write_bytes(left)
    with (
        pytest.raises(StoreError, match=r"manifest\.json is empty, .* copy manifest\.json from that backup"),
        open_store(store, fleet),
    ):
        pass
    (store / "manifest.json").write_bytes((other / "manifest.json").read_bytes())
    with pytest.raises(StoreError, match="of another recovery store"), open_store(store, fleet):
        pass
    (store / "manifest.json").write_bytes((backup / "manifest.json").read_bytes())
    with open_store(store, fleet):
        pass
    manifest = read_manifest(store)
    assert manifest is not None
    assert manifest.copy is None


def test_a_store_of_another_fleet_is_refused_before_the_engine_starts(tmp_path: Path, fleet: Fleet) -> None:
    """The manifest tells whose it is."""
    with open_store(tmp_path / "store", fleet):
        pass
    other = tmp_path / "other.toml"
    other.write_text(fleet.path.read_text().replace('"pumps"', '"fans"'))
    with (
        pytest.raises(FleetChangedError, match="'pumps', not of 'fans'"),
        open_store(tmp_path / "store", load(other)),
    ):
        pass


def test_what_is_newer_inside_a_snapshot_is_refused() -> None:
    """A version that this release does not read is found, also that of a snapshot within another."""
    inner = seal("lane", 99, {})
    for sealed in (inner, seal("main", 2, ("lane-0", [], inner, 0)), seal("part", 1, ("lane-0", 1, inner))):
        with pytest.raises(SnapshotError, match="'lane' has version 99, this release reads version 2"):
            kinds.check(sealed)


def test_a_name_that_is_none_of_the_fleet_cannot_begin_anew(tmp_path: Path, fleet: Fleet) -> None:
    """A slip of the keyboard is told with the nearest name, on a new store and on one that is there."""
    for _ in range(2):
        with (
            pytest.raises(FleetChangedError, match="did you mean 'pump'"),
            open_store(tmp_path / "store", fleet, migrate=["pumpe"]),
        ):
            pass
        with open_store(tmp_path / "store", fleet, migrate=["pump"]):
            pass


def test_a_store_of_many_epochs_is_sound_and_is_resumed(tmp_path: Path) -> None:
    """Whichever steps have discarded a key in them: none of what they leave is taken for damage."""
    fleet = load(leaking_pump(tmp_path, 200))
    store = tmp_path / "store"
    fleet = replace(fleet, input=replace(fleet.input, batch=20))
    console = Console(file=io.StringIO())
    for _ in range(2):
        run(fleet, console, store=store, epoch=timedelta(milliseconds=1))
    inspect(store, None, console)


@contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    """Make a folder one that cannot be written, also by root, to whom its mode says nothing."""
    as_root = os.geteuid() == 0
    if as_root:
        words = (
            ["mount", "--bind", str(folder), str(folder)],
            ["mount", "-o", "remount,bind,ro", str(folder)],
        )
        if any(subprocess.run(each, check=False, capture_output=True).returncode for each in words):
            pytest.skip("root cannot mount a folder read-only here")
    else:
        folder.chmod(0o555)
    try:
        yield
    finally:
        if as_root:
            subprocess.run(["umount", str(folder)], check=True)  # noqa: S607
        else:
            folder.chmod(0o755)


@pytest.mark.parametrize("log", [False, True], ids=["closed", "with a log"])
def test_a_store_that_cannot_be_written_can_be_inspected(tmp_path: Path, *, log: bool) -> None:
    """A backup on a read-only volume is sound, also with what a killed run left in the logs of SQLite."""
    fleet = load(leaking_pump(tmp_path, 50))
    store = tmp_path / "store"
    console = Console(file=io.StringIO())
    run(fleet, console, store=store, epoch=timedelta(milliseconds=1))
    with closing(sqlite3.connect(part_files(store)[0])) as connection:
        if log:
            connection.execute("PRAGMA journal_mode = wal")
            connection.execute("PRAGMA user_version = 1")
            shutil.copytree(store, tmp_path / "killed")
    store = tmp_path / "killed" if log else store
    assert any(path.stat().st_size for path in store.glob("*-wal")) == log
    with _read_only(store):
        inspect(store, None, console)
        back_up(store, tmp_path / "copy", console, outputs=False)
        with pytest.raises(OSError, match=r"Read-only|denied"):
            run(fleet, console, store=store, epoch=timedelta(seconds=1))
    inspect(store, None, console)
