"""The wheel: what a user installs works in an empty folder, without the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.processes import ROOT

#: What a user types first, in this order.
STEPS = (
    ("simulate", "--out", "export", "--csv", "--trucks", "12", "--days", "40", "--every", "1h"),
    ("init", "export/readings.csv", "export/orders.csv"),
    ("check", "fleet.toml"),
    ("run", "fleet.toml"),
    ("thresholds", "fleet.toml", "--false-alarms-per-asset-day", "0.01"),
    ("audit", "fleet.toml"),
    ("doctor", "fleet.toml"),
)
READ = """
import time
import pandas
begun = time.perf_counter()
import highwater as hw
took = time.perf_counter() - begun
outputs = hw.read("out")
scores, labels = outputs.predictions(), outputs.evaluations()
assert isinstance(scores, pandas.DataFrame) and len(scores) > len(labels) > 0, (scores, labels)
assert str(scores["time"].dtype).endswith("UTC]"), scores.dtypes
print(hw.__file__, f"{took:.2f}")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the source."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w"]
    source = folder / "source"
    for name in ("dataflows", "highwater", "examples"):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "out", "data")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run([*command, str(folder), str(source)], check=True, timeout=200)
    [built] = folder.glob("highwater_ml-*.whl")
    return built


@pytest.mark.ci
def test_the_wheel_holds_all_that_the_commands_need(wheel: Path) -> None:
    """The demo's fleet, the scenarios, the package `highwater`, types, and the command; below a megabyte."""
    with zipfile.ZipFile(wheel) as held:
        names = set(held.namelist())
        demo = held.read("dataflows/tools/demo/fleet.toml")
        [points] = [held.read(name) for name in names if name.endswith("entry_points.txt")]
    assert demo == (ROOT / "examples" / "trucks" / "fleet.toml").read_bytes()
    assert b"highwater = dataflows.__main__:app" in points
    assert {
        "highwater/__init__.py",
        "highwater/py.typed",
        "dataflows/simulator/scenarios/field.toml",
    } <= names
    assert wheel.stat().st_size < 1_000_000


@pytest.mark.full
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("version", ["3.11", "3.12"])
def test_a_clean_environment_needs_the_wheel_alone(wheel: Path, tmp_path: Path, version: str) -> None:
    """Demo, simulate, init, run, status and read, in an empty folder; pandas is there to read with."""
    uv = Path(sys.executable).with_name("uv")
    find = [uv, "python", "find", "--no-project", version]
    found = subprocess.run(find, capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"no Python {version} on this machine: {found.stderr.strip()}")
    clean, work = tmp_path / "clean", tmp_path / "work"
    work.mkdir()
    ours = ("PYTHON", "FLEET_", "VIRTUAL_ENV", "HIGHWATER")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment["COLUMNS"] = "100"

    def run(*words: str | Path, codes: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(
            [*words], cwd=work, env=environment, capture_output=True, text=True, check=False, timeout=900
        )
        assert done.returncode in codes, (words, done.stdout[-2_000:], done.stderr[-2_000:])
        return done.stdout

    run(uv, "venv", "--quiet", "--python", found.stdout.strip(), clean)
    locked = ("--constraint", ROOT / "requirements.lock")
    run(uv, "pip", "install", "--quiet", "--python", clean / "bin" / "python", *locked, wheel, "pandas")
    highwater, python = clean / "bin" / "highwater", clean / "bin" / "python"
    assert run(highwater, "--version").startswith("highwater ")
    assert "* is the champion" in " ".join(run(highwater, "demo").split())
    said = {words[0]: run(highwater, *words) for words in STEPS}
    assert "No failures" not in said["init"]
    assert "mixture *" in said["run"]
    assert "Equal to the last bit" in said["audit"]
    assert "is it well?" in run(highwater, "status", "fleet.toml", codes=(0, 1))
    where, took = run(python, "-c", READ).split()
    assert Path(where).is_relative_to(clean)
    # Shown by `-s`, to be written down.
    print(f"Python {version}: wheel {wheel.stat().st_size:,} bytes, import {took} s")  # noqa: T201 - as above
