"""``doctor`` finds what would stop a run on this machine, before it starts."""

from __future__ import annotations

import fcntl
import io
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import orjson
import pytest
from rich.console import Console

import highwater as hw
from dataflows import testing
from dataflows.recovery.manifest import new_manifest, write_manifest
from dataflows.tools import doctor
from dataflows.tools.doctor import examine
from dataflows.tools.health import Finding, show
from tests.processes import ROOT
from tests.tables import PRIOR_ALONE, pumps

if TYPE_CHECKING:
    from pathlib import Path

FLEET = pumps("prior", PRIOR_ALONE, pump='[[classes.pump.windows]]\nlength = "6h"')


pytestmark = pytest.mark.usefixtures("roomy_disk")


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A fleet with one record."""
    (tmp_path / "fleet.toml").write_text(FLEET)
    (tmp_path / "events.jsonl").write_bytes(testing.telemetry("pump-1", 3600, {"pressure": 4.0}) + b"\n")
    return tmp_path / "fleet.toml"


def _worst(found: list[Finding], about: str) -> Finding:
    levels = {"ok": 0, "warning": 1, "failure": 2}
    return max((each for each in found if each.about == about), key=lambda each: levels[each.level])


def test_a_fleet_that_can_run_has_no_findings(fleet: Path, tmp_path: Path) -> None:
    """Every check is made, and nothing is left behind."""
    before = sorted(tmp_path.iterdir())
    found = examine(fleet, tmp_path / "store")
    about = {each.about for each in found}
    assert about >= {"python", "packages", "machine", "fleet", "folders", "disk", "input", "store"}
    assert [each for each in found if each.level == "failure"] == []
    assert sorted(tmp_path.iterdir()) == before


def test_a_fleet_that_is_refused_points_to_check(fleet: Path) -> None:
    """The problems themselves are what `check` prints."""
    fleet.write_text(FLEET.replace('mode = "leak"', ""))
    found = _worst(examine(fleet), "fleet")
    assert found.level == "failure"
    assert "check" in found.todo


def test_input_that_is_missing_or_empty_is_found(fleet: Path, tmp_path: Path) -> None:
    """A missing file is a failure, an empty one a warning."""
    (tmp_path / "events.jsonl").write_bytes(b"")
    assert _worst(examine(fleet), "input").level == "warning"
    (tmp_path / "events.jsonl").unlink()
    assert _worst(examine(fleet), "input").level == "failure"


def test_a_folder_that_cannot_be_made_is_found(fleet: Path, tmp_path: Path) -> None:
    """A file stands where the folder of the outputs should be."""
    (tmp_path / "out").write_text("")
    assert _worst(examine(fleet), "folders").level == "failure"


def test_a_store_in_use_is_found(fleet: Path, tmp_path: Path) -> None:
    """Its lock is held; once it is free, so is the store."""
    store = tmp_path / "store"
    store.mkdir()
    write_manifest(store, new_manifest(hw.load(fleet), 1))
    with (store / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "in use" in _worst(examine(fleet, store), "store").what
    assert _worst(examine(fleet, store), "store").level == "ok"


def test_a_changed_fleet_is_found_before_the_run(fleet: Path, tmp_path: Path) -> None:
    """Its names are those that the run would ask about."""
    store = tmp_path / "store"
    store.mkdir()
    write_manifest(store, new_manifest(hw.load(fleet), 1))
    fleet.write_text(FLEET.replace("6h", "9h"))
    found = _worst(examine(fleet, store), "store")
    assert (found.level, found.what) == ("warning", "fleet.toml differs from the store's: pump")


def test_a_broker_that_does_not_answer_is_found(fleet: Path) -> None:
    """A port where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        topics = f'[input]\nkafka = {{ topics = ["events"] }}\n[kafka]\nbootstrap = "127.0.0.1:{port}"'
        fleet.write_text(FLEET.replace('[input]\nfiles = ["events.jsonl"]', topics))
        found = _worst(examine(fleet), "broker")
    assert found.level == "failure"
    assert f"127.0.0.1:{port} does not answer" in found.what


def test_packages_of_other_versions_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed is compared with what the distribution needs."""
    needed = ["numpy<1", "rich>=15", "nonesuch>=1", 'pyarrow>=26; extra == "parquet"']
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda _: needed)
    found = _worst(examine(None), "packages")
    assert found.level == "failure"
    assert "numpy" in found.what
    assert "nonesuch is missing" in found.what
    assert "rich" not in found.what


def test_nothing_is_imported_that_a_run_alone_needs(fleet: Path) -> None:
    """A check of two seconds has no time for the stages of the dataflow, or for SciPy."""
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['dataflows', 'doctor', {str(fleet)!r}]\n"
        "try:\n    runpy.run_module('dataflows', run_name='__main__')\nexcept SystemExit:\n    pass\n"
        "seldom = {'dataflows.target.target', 'scipy.special._ufuncs', 'scipy.stats._stats_py'}\n"
        "print(sorted(seldom & {*sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]"


def test_findings_are_json_for_programs(fleet: Path) -> None:
    """One object a line; the exit code is that of the worst."""
    printed = io.StringIO()
    found = [*examine(fleet), Finding("warning", "disk", "little is free", "make room")]
    assert show(found, "", Console(file=printed, width=78), as_json=True) == 1
    rows = [orjson.loads(line) for line in printed.getvalue().splitlines()]
    assert [row["about"] for row in rows] == [each.about for each in found]
    assert rows[-1] == {"level": "warning", "about": "disk", "what": "little is free", "todo": "make room"}
