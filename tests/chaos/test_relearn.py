"""Killed around labels that are put right, the outputs are those of a run that was never killed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import orjson
import pytest

from dataflows.testing import retraction
from tests.chaos.harness import Moment, assert_same, finish, inline_outputs, kill, prepare, rows
from tests.target.promotions import document, recording

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.ci

KILLS = 12


def with_withdrawals() -> list[bytes]:
    """Every third failure is withdrawn 200 records later, when most of its examples were learned."""
    lines: list[bytes] = []
    later: dict[int, bytes] = {}
    failures = 0
    for number, line in enumerate(recording()):
        row = orjson.loads(line)
        if row["kind"] == "failure":
            failures += 1
            row["id"] = f"f{failures}"
            if failures % 3 == 0:
                more = {"arrived": row["arrived"]} if "arrived" in row else {}
                later[number + 200] = retraction(row["asset"], row["id"], **more)
        lines.append(orjson.dumps(row))
        if number in later:
            lines.append(later[number])
    return lines


def test_kills_around_labels_that_are_put_right_change_no_byte(tmp_path: Path) -> None:
    """Predictions, changes and evaluations are the same after kills, byte for byte."""
    text = document().replace("judge_positives", 'relearn = "3d"\nlabel_memory = "20d"\njudge_positives')
    fleet = prepare(tmp_path / "killed", with_withdrawals(), text)
    expected = inline_outputs(fleet)
    again = [row for row in rows(expected["changes"]) if row["change"] == "relearned"]
    assert len(again) >= 10
    assert all(row["learned"] for row in again)

    chance = random.Random(3)
    around = [row["sequence"] for row in again]
    moments = sorted(max(1, chance.choice(around) + chance.randrange(-40, 60)) for _ in range(KILLS))
    killed = [kill(fleet, Moment(records=moment), pause=0.003, FLEET_BATCH="20") for moment in moments]
    assert len({each.resumed for each in killed}) >= KILLS // 2

    assert_same(finish(fleet), expected)
