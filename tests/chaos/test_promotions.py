"""Killed around promotions, rollbacks and commands, the outputs are those of a run that was never killed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.chaos.harness import Moment, assert_same, finish, inline_outputs, kill, prepare, rows
from tests.target.promotions import command, document, recording, with_commands

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.ci

KILLS = 20
#: After so many records; around them, and around the verdicts, the runs are killed.
COMMANDS = {
    150: command("freeze", why="while we look"),
    1_150: command("thaw"),
    1_700: command("rollback"),
    2_300: command("promote", model="bayes"),
    2_800: command("promote", model="nobody"),
}


def test_kills_around_promotions_and_commands_change_no_byte(tmp_path: Path) -> None:
    """Verdicts, commands and champions are the same after 20 kills, byte for byte, and so is the summary."""
    text = document(level=0.5).replace("judge_positives", 'drift = "log"\njudge_positives')
    fleet = prepare(tmp_path / "killed", with_commands(COMMANDS), text)
    expected = inline_outputs(fleet)
    told = rows(expected["changes"])
    assert [row["change"] for row in told].count("champion") >= 4
    assert {row["change"] for row in told} == {"champion", "command", "verdict"}

    assert any(row["kind"] == "drift" for row in rows(expected["metrics"]))

    chance = random.Random(5)
    around = [row["sequence"] for row in told]
    moments = sorted(max(1, chance.choice(around) + chance.randrange(-60, 60)) for _ in range(KILLS))
    killed = [kill(fleet, Moment(records=moment), pause=0.003, FLEET_BATCH="20") for moment in moments]
    assert len({each.resumed for each in killed}) >= KILLS // 2
    assert killed[-1].records < len(recording())

    assert_same(finish(fleet), expected)
    whole = prepare(tmp_path / "whole", with_commands(COMMANDS), text)
    finish(whole)
    summaries = [(folder.parent / "out" / "summary.json").read_text() for folder in (fleet, whole)]
    assert summaries[0] == summaries[1]
