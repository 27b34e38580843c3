"""No room on the disk: the run says what to do, and goes on from where it was once there is."""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.chaos.harness import PATIENCE, arguments, assert_same, environment, finish, inline_outputs, prepare

if TYPE_CHECKING:
    from pathlib import Path


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
