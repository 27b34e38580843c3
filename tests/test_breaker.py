"""The breaker: when a champion is slow, what is written then, and where its commands are read."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dataflows.breaker import SlowChampion, Watched, check_commands
from dataflows.fleet import FleetError, from_document
from dataflows.fleet.fleet import Breaker
from dataflows.pipeline import Stages
from dataflows.status import RunStatus, ScoreTimes, Serving
from dataflows.target.models import ModelSet
from tests.target.bench import example
from tests.target.fleets import FEATURES, model
from tests.target.learners import Picky
from tests.target.promotions import NAME, document

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT, ROWS = 0.005, 100
KEY = 'breaker = { latency = "5ms", rows = 100, commands = "events.jsonl" }\njudge_positives'


class Room:
    """A breaker with what it measures, and the commands that it wrote."""

    def __init__(self, fail: bool = False) -> None:
        self.times, self.status, self.fail = ScoreTimes(), RunStatus(), fail
        self.written: list[tuple[str, str, str]] = []
        self._watched = Watched(NAME, Breaker(5_000, ROWS, "events.jsonl"), self._send, self.status)

    def _send(self, target: str, model: str, why: str) -> None:
        if self.fail:
            raise OSError
        self.written.append((target, model, why))

    def look(self, champion: str, former: str | None, seconds: float, frozen: str | None = None) -> None:
        """Score a block of rows, each in so many seconds, and look."""
        rows, spent = self.times.totals.get(champion, (0, 0.0))
        self.times.totals[champion] = rows + ROWS, spent + ROWS * seconds
        self._watched.look(self.times, Serving(champion, (champion,), former, frozen))


def test_one_slow_block_is_not_enough() -> None:
    """A pause of the machine makes one block slow; two, one after the other, are the model."""
    rule, total = SlowChampion(LIMIT, ROWS), 0.0
    assert rule.look(("tree",), {}) is None
    found = []
    for number, mean in enumerate((0.08, 0.001, 0.08, 0.08, 0.08, 0.001), start=1):
        total += ROWS * mean
        found.append(rule.look(("tree",), {"tree": (number * ROWS, total)}))
    assert found == [None, None, None, pytest.approx(0.08), pytest.approx(0.08), None]


def test_a_block_has_all_its_rows() -> None:
    """Few rows say little: nothing is found before the second block is whole."""
    rule = SlowChampion(LIMIT, ROWS)
    found = [rule.look(("tree",), {"tree": (rows, rows * 0.08)}) for rows in (0, 99, 100, 150, 199, 200)]
    assert found == [None] * 5 + [pytest.approx(0.08)]


def test_models_that_the_champion_sees_count() -> None:
    """A mixture is quick by itself; a row takes as long as its models and the mixture together."""
    rule, asked = SlowChampion(LIMIT, ROWS), ("mixture", "tree")
    totals = [{"mixture": (n, n * 0.001), "tree": (2 * n, 2 * n * 0.006)} for n in (0, 100, 200)]
    assert [rule.look(asked, each) for each in totals][-1] == pytest.approx(0.007)


def test_one_command_is_written_for_each_champion() -> None:
    """It names the former champion, and says what was measured; more blocks write nothing more."""
    room = Room()
    for _ in range(9):
        room.look("tree", "prior", 0.08)
    why = "scoring took 80 ms a row, above 5 ms, over 100 rows twice"
    assert room.written == [(NAME, "prior", why)]
    assert room.status.read("breakers") == {(NAME, "sent"): 1}


def test_two_slow_models_are_not_exchanged_for_ever() -> None:
    """Where the former champion was slow too, nobody is promoted; that is counted once."""
    room = Room()
    for champion, former in [("tree", "bayes"), ("bayes", "tree")] * 3:
        for _ in range(4):
            room.look(champion, former, 0.08)
    assert [model for _, model, _ in room.written] == ["bayes"]
    assert room.status.read("breakers") == {(NAME, "no_former"): 1, (NAME, "sent"): 1}


@pytest.mark.parametrize(
    ("look", "counted"),
    [
        (lambda room: room.look("tree", "prior", 0.004), {}),
        (lambda room: room.look("tree", "prior", 0.08, frozen="ada"), {}),
        (lambda room: room.look("tree", None, 0.08), {(NAME, "no_former"): 1}),
    ],
    ids=["quick enough", "frozen", "no former champion"],
)
def test_nothing_is_written(look: Callable[[Room], None], counted: dict[tuple[str, str], int]) -> None:
    """Below the limit, while a person froze the champion, and where there is no model to go back to."""
    room = Room()
    for _ in range(9):
        look(room)
    assert room.written == []
    assert room.status.read("breakers") == counted


def test_a_command_that_cannot_be_written_is_tried_again() -> None:
    """A broker that is away for a while does not keep the slow champion."""
    room = Room(fail=True)
    for _ in range(4):
        room.look("tree", "prior", 0.08)
    room.fail = False
    room.look("tree", "prior", 0.08)
    assert [model for _, model, _ in room.written] == ["prior"]
    assert room.status.read("breakers") == {(NAME, "failed"): 2, (NAME, "sent"): 1}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", None),
        ("follow = true", "", "`follow = true` in the input"),
        ('commands = "events.jsonl"', 'commands = "elsewhere.jsonl"', "one of the files of the input"),
        ('files = ["events.jsonl"]', 'kafka = { topics = ["pumps"] }', "a topic of the input, pumps"),
    ],
    ids=["followed", "not followed", "another file", "no topic"],
)
def test_commands_that_nobody_reads_are_refused(old: str, new: str, expected: str | None) -> None:
    """The commands of the breaker go to a file or topic that the run reads until it is stopped."""
    text = document().replace("judge_positives", KEY).replace("[output]", "follow = true\n\n[output]")
    fleet = from_document(tomllib.loads(text.replace(old, new)), Path("fleet.toml"))
    if expected is None:
        check_commands(fleet)
        return
    with pytest.raises(FleetError) as refused:
        check_commands(fleet)
    (problem,) = refused.value.problems
    assert NAME in problem.key
    assert expected in problem.expected


@pytest.mark.parametrize("configured", [True, False])
def test_times_are_measured_only_for_a_breaker(*, configured: bool) -> None:
    """Without the key no clock is read when a model scores."""
    text = document().replace("judge_positives", KEY) if configured else document()
    status = RunStatus()
    stages = Stages(from_document(tomllib.loads(text), Path("fleet.toml")), strict=True, status=status)
    stages.group(NAME, None, {})
    assert [*status.scoring] == ([NAME] if configured else [])


def test_rows_are_counted_whether_they_are_scored_in_runs_or_alone() -> None:
    """Measured or not, the scores are the same; a compiled model gets a run in one call, others are asked."""
    found = []
    for times in (None, ScoreTimes()):
        models = ModelSet("pump", (model("linear"), model("picky", Picky)), FEATURES, None, {})
        models.times = times
        for number in range(60):
            models.learn("a", number, *example(number), {})
        rows = np.array([np.frombuffer(example(number)[0]) for number in range(9)])
        run = models.score_run("linear", rows, [])
        assert run is not None
        alone = [models.answer("picky", row.tobytes()) for row in rows[:4]]
        found.append((run, alone))
    assert found[0] == found[1]
    assert times is not None
    assert {label: rows for label, (rows, _) in times.totals.items()} == {"linear": 9, "picky": 4}
    assert all(seconds > 0 for _, seconds in times.totals.values())


def test_the_time_of_a_call_that_fails_counts() -> None:
    """A model that waits for something and then gives up is slow too."""
    times = ScoreTimes()
    with pytest.raises(ZeroDivisionError):
        times.call("tree", 1, lambda row: row / 0, 1.0)
    assert times.totals["tree"][0] == 1
