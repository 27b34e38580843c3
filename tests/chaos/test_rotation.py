"""Rotated outputs, killed with -9 and put back from a backup: together the bytes of one file each."""

from __future__ import annotations

import io
import random
import shutil
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from dataflows.connectors.file_sink import end_of, lines_of, parts_of
from dataflows.outputs import OUTPUTS
from dataflows.tools.backup import backup, restore
from tests.chaos.harness import (
    FLEET,
    Moment,
    arguments,
    assert_same,
    dataflows,
    finish,
    inline_outputs,
    kill,
    prepare,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.ci

RECORDS = 2_000


def rotated(how: str) -> str:
    return FLEET.replace('folder = "out"', f'folder = "out"\nrotate = "{how}"')


def joined(folder: Path) -> dict[str, bytes]:
    """Each output, all its files as one."""
    return {name: b"".join(lines_of(folder / f"{name}.jsonl")) for name in OUTPUTS}


def finished(folder: Path) -> dict[str, bytes]:
    """Finished files by name."""
    parts = (part for name in OUTPUTS for part in parts_of(folder / f"{name}.jsonl"))
    return {part.path.name: part.path.read_bytes() for part in parts if part.finished}


def places(folder: Path, name: str) -> list[tuple[int, str | None]]:
    """Where the files of an output begin."""
    return [(part.start, part.day) for part in parts_of(folder / f"{name}.jsonl")]


@pytest.mark.parametrize(("how", "kills"), [("100kB", 4), ("daily", 2)])
def test_kills_change_no_byte_and_no_finished_file(
    lines: list[bytes], tmp_path: Path, how: str, kills: int
) -> None:
    """After kills at any instant, and a way back by a backup, the files are those of a run without."""
    chance = random.Random(5)
    whole = prepare(tmp_path / "whole", lines[:RECORDS], rotated(how))
    events = {"FLEET_INPUT": str(whole.parent / "events.jsonl")}
    fleet = prepare(tmp_path / "killed", lines[:RECORDS], rotated(how))
    out = fleet.parent / "out"
    kept: dict[str, bytes] = {}
    for number in range(kills):
        moment = Moment(records=(number + 1) * RECORDS // (kills + 2) + chance.randrange(100))
        if number % 2:
            moment = Moment(epochs=chance.randrange(1, 4), snapshots=chance.randrange(1, 12))
        kill(fleet, moment, FLEET_BATCH="40", **events)
        found = finished(out)
        assert found.items() >= kept.items()
        kept = found
        if number == kills // 2:
            console = Console(file=io.StringIO())
            backup(fleet.parent / "store", tmp_path / "copy", console, outputs=True)
    assert kept

    # Kills after the backup went on beyond it, in files that it does not know.
    shutil.rmtree(fleet.parent / "store")
    restore(tmp_path / "copy", fleet.parent / "store", console, outputs=out)
    assert "put it back" not in console.file.getvalue()
    finish(fleet, **events)
    assert_same(joined(out), inline_outputs(whole))
    ran = dataflows(*arguments(whole))
    files = len(parts_of(whole.parent / "out" / "predictions.jsonl"))
    assert f" in {files} files, predictions.*.jsonl*, the newest of them" in ran.stdout
    assert "Most at risk" in ran.stdout
    for name in OUTPUTS:
        assert places(out, name) == places(whole.parent / "out", name)
    assert int((out / "predictions.committed").read_text()) == end_of(out / "predictions.jsonl")
    assert len(parts_of(out / "predictions.jsonl")) > 5
    audited = dataflows("audit", str(fleet), **events)
    assert "Equal to the last bit" in audited.stdout, audited.stdout + audited.stderr
