"""The operations guide: every command of it runs, and leads back to the outputs before the disaster."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.chaos.harness import FLEET, prepare, recording
from tests.commands import commands
from tests.processes import PATIENCE, ROOT, environment

if TYPE_CHECKING:
    from pathlib import Path


def run(folder: Path, *words: str, codes: tuple[int, ...] = (0,)) -> str:
    """Run a command of the guide in a folder; returns what it said."""
    ran = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode in codes, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.ci
def test_every_command_of_the_guide_runs_in_its_order(tmp_path: Path) -> None:
    """After a disaster the backup is put back, and the run goes on to the same outputs."""
    found = [
        words[2:] for words in commands("docs/operations.md") if words[:3] == ["python", "-m", "dataflows"]
    ]
    steps = {words[1]: words for words in found}
    assert list(steps) == ["backup", "restore", "inspect", "run", "status"]
    prepare(tmp_path, recording(days=8), FLEET.replace('name = "chaos"', 'name = "pumps"'))
    run(tmp_path, "dataflows", "run", "fleet.toml")
    expected = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.jsonl")}
    run(tmp_path, *steps["backup"])
    (taken,) = (tmp_path / "backups").iterdir()
    shutil.rmtree(tmp_path / "recovery" / "pumps")
    shutil.rmtree(tmp_path / "out")
    restore = [re.sub(r"backups/\w+", f"backups/{taken.name}", word) for word in steps["restore"]]
    run(tmp_path, *restore)
    assert "sound" in run(tmp_path, *steps["inspect"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    run(tmp_path, *(port if word == "9464" else word for word in steps["run"]))
    said = run(tmp_path, *steps["status"], codes=(0, 1, 2))  # what it finds depends on the machine's disk
    assert "is it well?" in said
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.jsonl")}.items() >= (
        {name: data for name, data in expected.items() if name != "log.jsonl"}.items()
    )


@pytest.mark.ci
def test_a_live_run_stops_by_sigterm_as_the_guide_says(tmp_path: Path) -> None:
    """Stop, install, start: the metrics answer again, and nothing is read twice."""
    text = FLEET.replace('name = "chaos"', 'name = "pumps"').replace("[input]", "[input]\nfollow = true")
    prepare(tmp_path, recording(days=4), text)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "dataflows", "run", "fleet.toml", "--metrics", str(port)]
    for _ in range(2):
        with (tmp_path / "run.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + PATIENCE
            while not ready(port):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.wait()


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_the_guide_names_only_what_is_there() -> None:
    """Files of the repository that it points to, and metrics."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / "docs" / link).exists(), link
    metrics = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    for name in re.findall(r"`((?:highwater|process)_\w+)`", text):
        assert name.replace("process_resident_memory_bytes", "process_") in metrics
