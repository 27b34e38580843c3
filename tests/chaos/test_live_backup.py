"""A live run that is backed up while it follows files, lost, and put back."""

from __future__ import annotations

import io
import shutil
import signal
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from dataflows.tools.backup import backup, restore
from tests.chaos.harness import eventually
from tests.chaos.live import (
    all_read,
    assert_replay_equals_live,
    begin,
    ended,
    following,
    is_silent,
    is_up,
    players,
    read,
    told,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.ci


def test_a_live_run_goes_on_from_its_backup(tmp_path: Path) -> None:
    """With the order journal of that moment, what it chooses from then on, and its outputs: as a replay."""
    (tmp_path / "live").mkdir()
    fleet, played = begin(tmp_path / "live", 600)
    folder, copy = fleet.parent, tmp_path / "copy"
    quiet = Console(file=io.StringIO())
    with players(played, 100) as running:
        told(running, signal.SIGSTOP)
        with following(fleet) as first:
            eventually(lambda: is_up(fleet, first), first)
            told(running, signal.SIGCONT)
            eventually(lambda: read(fleet) > 300, first)
            # Stopped, so that there is something left to read after the backup; ticks go on meanwhile.
            told(running, signal.SIGSTOP)
            eventually(lambda: is_silent(fleet), first)
            seen = read(fleet)
            backup(folder / "store", copy, quiet, outputs=True)
            told(running, signal.SIGCONT)
            eventually(lambda: read(fleet) > seen + 200, first)
        shutil.rmtree(folder / "store")
        shutil.rmtree(folder / "out")
        restore(copy, folder / "store", quiet, outputs=folder / "out")
        assert read(fleet) == seen, "what was read since is to be read again"
        with following(fleet) as second:
            all_read(fleet, played, running, second)
            ended(second, fleet)
    live = assert_replay_equals_live(fleet)
    assert all(live[name] for name in ("predictions", "alerts", "evaluations"))
