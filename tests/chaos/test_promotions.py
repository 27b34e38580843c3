"""Killed around promotions, rollbacks and commands, the outputs are those of a run that was never killed."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from dataflows.instants import HOUR, parse_instant
from dataflows.target.judge import Comparison, Judge, Rule
from tests.chaos.harness import Moment, arguments, assert_same, finish, inline_outputs, kill, prepare, rows
from tests.processes import environment
from tests.target.promotions import NAME, command, document, recording, with_commands

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
    told = [row for row in rows(expected["changes"]) if row["change"] not in {"lineage", "threshold"}]
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


def judged_again(folder: Path, since: int) -> Comparison:
    """The comparison of one process that is given the examples of a run, in order of (time, asset)."""
    evaluations = rows((folder / "evaluations.jsonl").read_bytes())
    marks = [row["watermark"] for row in rows((folder / "predictions.jsonl").read_bytes())]
    clock = max(parse_instant(time) for time in [*marks, *(row["matured"] for row in evaluations)])
    found = sorted(
        (parse_instant(row["time"]), row["asset"], int(row["label"] == "positive"), row["scores"])
        for row in evaluations
        if parse_instant(row["time"]) + 12 * HOUR < clock and not row["correction"]
    )
    rule = Rule(horizon=12 * HOUR, wait=12 * HOUR, threshold=0.5, level=0.05, least_positives=5)
    judge = Judge(rule)
    judge.begin("prior", {"bayes": 1}, since)
    for time, asset, *_ in found:
        judge.served(asset, time)
    for time, asset, label, scores in found:
        judge.look(time + rule.wait)
        judge.settled(asset, time, label, scores, 0.5)
    return judge.comparisons["bayes"]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_verdicts_of_several_processes_are_those_of_one_for_the_same_examples(
    tmp_path: Path, processes: str
) -> None:
    """What two processes serve may differ by what models had learned; the verdict on it does not.

    One process reads the last quarter, so that the judge has looked at all that the others left.
    """
    lines = [*recording()]
    fleet = prepare(tmp_path, lines[: len(lines) * 3 // 4], document("propose"))
    command = [sys.executable, "-m", "dataflows", *arguments(fleet, "--processes", processes)]
    subprocess.run(command, env=environment(), check=True, capture_output=True)
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b"\n".join([*lines[len(lines) * 3 // 4 :], b""]))
    finish(fleet)
    summary: dict[str, Any] = orjson.loads((tmp_path / "out" / "summary.json").read_bytes())
    told = summary["targets"][NAME]["promotion"]
    (verdict,) = [
        row
        for row in rows((tmp_path / "out" / "changes.jsonl").read_bytes())
        if row["change"] == "verdict" and row["verdict"] == "better"
    ]
    assert (verdict["model"], told["proposal"]) == ("bayes", "bayes")
    again = judged_again(tmp_path / "out", 0)
    assert again.verdict == "better"
    evidence, expected = told["challengers"]["bayes"], again.evidence()
    for exact in ("blocks", "examples", "positives", "level"):
        assert evidence[exact] == expected[exact]
    for close in ("e_values", "difference"):
        assert evidence[close] == pytest.approx(expected[close], rel=1e-9)
