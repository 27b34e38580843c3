"""The flow is built of what it is given: a fleet and a runtime."""

from __future__ import annotations

import os
import sys
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING

import pytest
import structlog
from bytewax.recovery import init_db_dir

from dataflows.engine.runtime import Runtime
from dataflows.failure_prediction import build, flow
from dataflows.fleet import load
from dataflows.pipeline import Stages
from tests.tables import LEAK

if TYPE_CHECKING:
    from pathlib import Path

    from bytewax.dataflow import Dataflow

TEXT = 'name = "pumps"\n[input]\nfiles = ["events.jsonl"]\n[classes.pump]\nsensors = ["pressure"]\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A fleet, an input and an empty store of the engine."""
    (tmp_path / "fleet.toml").write_text(TEXT + LEAK, encoding="utf-8")
    (tmp_path / "events.jsonl").touch()
    (tmp_path / "store").mkdir()
    init_db_dir(tmp_path / "store", 1)
    return tmp_path


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def built(monkeypatch: pytest.MonkeyPatch, fleet: Path, runtime: Runtime) -> tuple[Dataflow, list[bool]]:
    """The dataflow, and whether its stages are strict."""
    strict: list[bool] = []
    begin = Stages.__init__

    def spied(self: Stages, *args: object, **named: object) -> None:
        strict.append(named["strict"] is True)
        begin(self, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Stages, "__init__", spied)
    return build(load(fleet, environ={}), runtime), strict


def test_building_touches_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Command line and environment name a store and eight workers: it is not locked, no file changes."""
    monkeypatch.setattr(sys, "argv", ["other", "-r", str(folder / "store"), "-b", "0", "-w", "8"])
    monkeypatch.setenv("BYTEWAX_RECOVERY_DIRECTORY", str(folder / "store"))
    monkeypatch.setenv("BYTEWAX_WORKERS_PER_PROCESS", "8")
    monkeypatch.setenv("FLEET_CONFIG", str(folder / "nothing.toml"))
    # Imports of models set variables of their own threads.
    load(folder / "fleet.toml", environ={})
    before, configured, environ = contents(folder), structlog.get_config(), dict(os.environ)
    dataflow, strict = built(monkeypatch, folder / "fleet.toml", Runtime(store=folder / "store"))
    assert strict == [True]
    assert dataflow.flow_id == "highwater"
    assert contents(folder) == before
    assert (structlog.get_config(), dict(os.environ)) == (configured, environ)
    assert not (folder / "store" / "lock").exists()


def test_the_runtime_says_how_many_workers_there_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order is promised, and checked, where the runtime has one worker; nothing changes a runtime."""
    monkeypatch.setattr(sys, "argv", ["other"])
    runtime = Runtime(workers=2)
    assert built(monkeypatch, folder / "fleet.toml", runtime)[1] == [False]
    with pytest.raises(FrozenInstanceError):
        runtime.workers = 1  # type: ignore[misc]


@pytest.mark.parametrize(("option", "strict"), [(["-w", "1"], True), (["-w", "2"], False), ([], True)])
def test_the_entry_finds_the_workers_that_the_command_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch, option: list[str], strict: bool
) -> None:
    """``-w 1`` is one worker, like no option; the order is checked under both."""
    monkeypatch.setattr(sys, "argv", ["bytewax.run", "flow", *option])
    found: list[bool] = []
    begin = Stages.__init__

    def spied(self: Stages, *args: object, **named: object) -> None:
        found.append(named["strict"] is True)
        begin(self, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Stages, "__init__", spied)
    monkeypatch.setattr("dataflows.failure_prediction.to_stderr_unless_configured", lambda: None)
    flow(folder / "fleet.toml")
    assert found == [strict]
