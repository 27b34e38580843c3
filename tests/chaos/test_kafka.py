"""From topic to topics through kills: what is published equals the unbroken replay of the order journal."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.chaos.harness import PATIENCE, dataflows
from tests.chaos.kafka import Producing, Rig, assert_topics_equal_replay, chaos, divergence, messages

if TYPE_CHECKING:
    from pathlib import Path

    from tests.broker import Broker


@pytest.mark.parametrize(
    ("seed", "kills", "broker_kills"),
    [(1, 5, 1), pytest.param(2, 30, 3, marks=pytest.mark.full)],
    ids=["5 kills", "30 kills"],
)
def test_kills_of_run_and_broker_lose_and_repeat_nothing(
    broker: Broker, tmp_path: Path, seed: int, kills: int, broker_kills: int
) -> None:
    """At moments drawn by chance, under a steady load; `python -m tests.chaos.kafka` does it from a shell."""
    found = chaos(
        tmp_path, broker, seed=seed, kills=kills, broker_kills=broker_kills if broker.can_die else 0
    )
    rows = found["rows"]
    assert all(rows[name] for name in ("predictions", "alerts", "evaluations", "changes", "late", "rejects"))


def test_a_kill_at_a_commit_publishes_nothing_twice(broker: Broker, tmp_path: Path) -> None:
    """Before it, when half of the topics are committed, and when all are but the recovery store is not."""
    rig = Rig(tmp_path, broker.bootstrap, f"cut-{time.time_ns()}")
    rig.make()
    found = messages(tmp_path, 150, 3)
    producing = Producing(broker.bootstrap, rig.topic, found, rate=1_000_000)
    producing.start()
    producing.join()
    for cut, commit in [("after", 1), ("among", 2), ("before", 1), ("after", 2)]:
        rig.more = {"CHAOS_CUT": cut, "CHAOS_COMMIT": str(commit)}
        with rig.running(module="tests.chaos.cut", batch=50) as process:
            assert process.wait(PATIENCE) == -signal.SIGKILL, rig.log()
    rig.more = {}
    rig.finish(len(found))
    assert_topics_equal_replay(rig)
    told = divergence(rig)
    assert told["resume_divergence"] == 0
    assert told["resume_repeated"] > 0


def test_topics_are_a_recording_too(broker: Broker, tmp_path: Path) -> None:
    """Without `follow` a run ends with what is there, and the next goes on with what came since."""
    rig = Rig(tmp_path, broker.bootstrap, f"recorded-{time.time_ns()}", follow=False)
    rig.make()
    found = messages(tmp_path, 60, 4)
    for half in (found[:200], found[200:]):
        producing = Producing(broker.bootstrap, rig.topic, half, rate=1_000_000)
        producing.start()
        producing.join()
        with rig.running() as process:
            assert process.wait(PATIENCE) == 0, rig.log()
    counts = assert_topics_equal_replay(rig)
    assert counts["predictions"] > 100


def test_outputs_of_another_store_are_refused(broker: Broker, tmp_path: Path) -> None:
    """--fresh deletes files, not topics: it says what to do instead."""
    rig = Rig(tmp_path, broker.bootstrap, f"fresh-{time.time_ns()}", follow=False)
    rig.make()
    producing = Producing(broker.bootstrap, rig.topic, messages(tmp_path, 10, 5), rate=1_000_000)
    producing.start()
    producing.join()
    with rig.running() as process:
        assert process.wait(PATIENCE) == 0, rig.log()
    ran = dataflows("run", str(rig.fleet), "--recovery", str(tmp_path / "store"), "--fresh")
    assert ran.returncode == 1
    assert "`prefix` under [output.kafka]" in ran.stderr
