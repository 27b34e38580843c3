"""A live run that is backed up while it follows files, lost, and put back."""

from __future__ import annotations

import io
import shutil
from typing import TYPE_CHECKING

from rich.console import Console

from dataflows.tools.backup import backup, restore
from tests.chaos.harness import eventually
from tests.chaos.test_live import (
    all_read,
    assert_replay_equals_live,
    begin,
    ended,
    following,
    is_silent,
    players,
    read,
    silence,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_a_live_run_goes_on_from_its_backup(tmp_path: Path) -> None:
    """With the order journal of that moment, what it chooses from then on, and its outputs: as a replay."""
    (tmp_path / "live").mkdir()
    fleet, played = begin(tmp_path / "live", 300)
    folder, copy = fleet.parent, tmp_path / "copy"
    quiet = Console(file=io.StringIO())
    with players(played, 100) as running:
        with following(fleet) as first:
            eventually(lambda: read(fleet) > 300, first)
            silence(fleet, running, first)
            eventually(lambda: not is_silent(fleet), first)
            backup(folder / "store", copy, quiet, outputs=True)
            seen = read(fleet)
            eventually(lambda: read(fleet) > seen + 200, first)
        shutil.rmtree(folder / "store")
        shutil.rmtree(folder / "out")
        restore(copy, folder / "store", quiet, outputs=folder / "out")
        assert 300 < read(fleet) < seen + 200, "what was read since is to be read again"
        with following(fleet) as second:
            all_read(fleet, played, second)
            ended(second, fleet)
    live = assert_replay_equals_live(fleet)
    assert all(live[name] for name in ("predictions", "alerts", "evaluations"))
