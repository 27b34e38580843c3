"""No room on the disk: the run says what to do, and goes on from where it was once there is."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from dataflows.connectors.file_sink import end_of, lines_of
from dataflows.outputs import OUTPUTS
from tests.chaos.harness import (
    FLEET,
    arguments,
    assert_same,
    dataflows,
    eventually,
    finish,
    inline_outputs,
    outputs,
    prepare,
)
from tests.processes import PATIENCE, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.ci


def test_a_full_disk_ends_the_run_and_costs_nothing(lines: list[bytes], tmp_path: Path) -> None:
    """Ever larger limits on the size of a file stop the store, an output or both; the outputs are whole."""
    fleet = prepare(tmp_path, lines[:800])
    for most in (20_000, 60_000, 250_000):
        command = [sys.executable, "-m", "dataflows", *arguments(fleet)]
        ran = subprocess.run(
            command,
            env=environment(FLEET_BATCH="20"),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            preexec_fn=lambda most=most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
        )
        assert ran.returncode == 1, ran.stdout + ran.stderr
        assert "cannot be written" in ran.stderr
        assert "make room on" in ran.stderr
        assert "run again" in ran.stderr
    assert_same(finish(fleet), inline_outputs(fleet))


@contextmanager
def small(folder: Path, size: str) -> Iterator[Path]:
    """A disk of its own for a folder; skips the test where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    if mounted.returncode:
        pytest.skip(f"this user may not mount a small disk: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607 - of the host


def mount(*args: str) -> subprocess.CompletedProcess[str]:
    """The host's command."""
    return subprocess.run(["mount", *args], capture_output=True, text=True, check=False)  # noqa: S607


def make_room(folder: Path) -> None:
    assert mount("-o", "remount,size=500m", str(folder)).returncode == 0


def assert_told(ran: subprocess.CompletedProcess[str]) -> None:
    """It ended with what to do."""
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "make room" in ran.stderr, ran.stderr
    assert "run again" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("what", "rotate", "sizes"),
    [
        ("store", "", ("600k", "3m")),
        ("out", "", ("200k",)),
        ("out", 'rotate = "50kB"', ("200k",)),
    ],
)
def test_a_small_disk_costs_nothing_once_there_is_room(
    lines: list[bytes], tmp_path: Path, what: str, rotate: str, sizes: tuple[str, ...]
) -> None:
    """A disk that is full of the store, or of outputs and log, ends the run; with room, it goes on."""
    fleet = prepare(tmp_path, lines[:800], FLEET.replace('folder = "out"', f'folder = "out"\n{rotate}'))
    with small(fleet.parent / what, sizes[0]) as disk:
        for size in sizes:
            assert mount("-o", f"remount,size={size}", str(disk)).returncode == 0
            assert_told(dataflows(*arguments(fleet), FLEET_BATCH="20"))
        make_room(disk)
        finish(fleet)
        found = {name: b"".join(lines_of(fleet.parent / "out" / f"{name}.jsonl")) for name in OUTPUTS}
        assert_same(found, inline_outputs(fleet))


def test_a_full_disk_of_the_order_journal_costs_nothing(lines: list[bytes], tmp_path: Path) -> None:
    """What could not be written there was never emitted; with room, the live run goes on and is exact."""
    fleet = prepare(tmp_path, lines[:300], FLEET.replace("[input]", "[input]\nfollow = true"))
    expected = inline_outputs(fleet)
    with small(fleet.parent / "store" / "journal", "4k") as disk:
        assert_told(dataflows(*arguments(fleet), FLEET_BATCH="1"))
        make_room(disk)
        command = [sys.executable, "-m", "dataflows", *arguments(fleet)]
        with (tmp_path / "run.log").open("wb") as log:
            process = subprocess.Popen(command, env=environment(), stdout=log, stderr=log)
        try:
            files = {fleet.parent / "out" / f"{name}.jsonl": len(data) for name, data in expected.items()}
            eventually(lambda: all(end_of(file) == size for file, size in files.items()), process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.wait()
    assert_same(outputs(fleet.parent / "out"), expected)
