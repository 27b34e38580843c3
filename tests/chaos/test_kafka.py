"""From topic to topics through kills: what is published equals the unbroken replay of the order journal."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.chaos.account import assert_topics_equal_replay, divergence
from tests.chaos.harness import dataflows
from tests.chaos.kafka import chaos
from tests.chaos.live import recorded
from tests.chaos.rig import Rig, messages, raw_messages, send
from tests.processes import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.broker import Broker


@pytest.mark.ci
@pytest.mark.parametrize(
    ("seed", "kills", "broker_kills"),
    [(1, 5, 1), pytest.param(2, 30, 3, marks=pytest.mark.full)],
    ids=["5 kills", "30 kills"],
)
def test_kills_of_run_and_broker_lose_and_repeat_nothing(
    broker: Broker, tmp_path: Path, seed: int, kills: int, broker_kills: int
) -> None:
    """At moments drawn by chance, under a steady load; `python -m tests.chaos.kafka` does it from a shell."""
    broker.need("abort")
    broker_kills = 0 if "kill" in broker.lacks else broker_kills
    found = chaos(tmp_path, broker, seed=seed, kills=kills, broker_kills=broker_kills)
    rows = found["rows"]
    assert all(rows[name] for name in ("predictions", "alerts", "evaluations", "changes", "late", "rejects"))


@pytest.mark.ci
@pytest.mark.parametrize(
    ("seed", "kills", "broker_kills"),
    [(3, 3, 0), pytest.param(4, 30, 3, marks=pytest.mark.full)],
    ids=["3 kills", "30 kills"],
)
def test_processes_come_and_go(
    broker: Broker, tmp_path: Path, seed: int, kills: int, broker_kills: int
) -> None:
    """Over 2, 1 and 2 processes: every message is accounted for, ids and labels are those of one process."""
    broker.need("abort")
    broker_kills = 0 if "kill" in broker.lacks else broker_kills
    found = chaos(tmp_path, broker, seed=seed, kills=kills, broker_kills=broker_kills, processes=(2, 1, 2))
    assert found["messages"]["scored"] > 100
    assert all(found["rows"][name] for name in ("predictions", "evaluations", "late", "rejects"))


@pytest.mark.full
@pytest.mark.parametrize("processes", [(1,), (2, 1, 2)], ids=["one process", "2, 1 and 2 processes"])
def test_weather_and_failures_may_have_topics_of_their_own(
    broker: Broker, tmp_path: Path, processes: tuple[int, ...]
) -> None:
    """With one process each row is that of the replay, with several ids and final labels are."""
    broker.need("abort")
    broker_kills = 0 if "kill" in broker.lacks else 1
    how = {"kills": 10, "broker_kills": broker_kills, "processes": processes, "layout": "many"}
    found = chaos(tmp_path, broker, seed=5, **how)
    assert all(found["rows"][name] for name in ("predictions", "evaluations", "late", "rejects"))


@pytest.mark.ci
def test_a_kill_at_a_commit_publishes_nothing_twice(broker: Broker, tmp_path: Path) -> None:
    """Before it, when half of the topics are committed, and when all are but the recovery store is not."""
    broker.need("abort")
    rig = Rig(tmp_path, broker.bootstrap, f"cut-{time.time_ns()}")
    rig.make()
    found = messages(tmp_path, 150, 3)
    send(rig, found[:-1])
    for cut, commit in [("after", 1), ("among", 2), ("before", 1), ("after", 2)]:
        rig.more = {"CHAOS_CUT": cut, "CHAOS_COMMIT": str(commit)}
        with rig.running(module="tests.chaos.cut", batch=50) as process:
            assert process.wait(PATIENCE) == -signal.SIGKILL, rig.log()
    rig.more = {}
    rig.finish(found)
    assert_topics_equal_replay(rig)
    told = divergence(rig)
    assert told["resume_divergence"] == 0
    assert told["resume_repeated"] > 0


@pytest.mark.ci
def test_topics_are_a_recording_too(broker: Broker, tmp_path: Path) -> None:
    """Without `follow` a run ends with what is there, and the next goes on with what came since."""
    rig = Rig(tmp_path, broker.bootstrap, f"recorded-{time.time_ns()}", follow=False)
    rig.make()
    found = messages(tmp_path, 60, 4)
    for half in (found[:200], found[200:]):
        send(rig, half)
        with rig.running() as process:
            assert process.wait(PATIENCE) == 0, rig.log()
    counts = assert_topics_equal_replay(rig)
    assert counts["predictions"] > 100


def test_outputs_of_another_store_are_refused(broker: Broker, tmp_path: Path) -> None:
    """--fresh deletes files, not topics: it says what to do instead."""
    rig = Rig(tmp_path, broker.bootstrap, f"fresh-{time.time_ns()}", follow=False)
    rig.make()
    send(rig, messages(tmp_path, 10, 5))
    with rig.running() as process:
        assert process.wait(PATIENCE) == 0, rig.log()
    ran = dataflows("run", str(rig.fleet), "--recovery", str(tmp_path / "store"), "--fresh")
    assert ran.returncode == 1
    assert "`prefix` under [output.kafka]" in ran.stderr


def test_a_recording_is_sent_to_a_topic_as_a_producer_would(broker: Broker, tmp_path: Path) -> None:
    """`replay --topic` makes the topic; keys are assets, timestamps arrivals, values the records."""
    rig = Rig(tmp_path, broker.bootstrap, f"sent-{time.time_ns()}")
    rig.make()
    paths = [str(path) for path in recorded(tmp_path, 20)]
    topic = f"{rig.name}.copy"
    ran = dataflows("replay", *paths, "--fleet", str(rig.fleet), "--topic", topic)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    sent = {(m.key, m.value, m.milliseconds) for m in messages(tmp_path, 20, 5) if m.value.endswith(b"}")}
    got = {(key, value, stamp) for key, value, stamp in raw_messages(broker.bootstrap, topic) if key}
    assert got == sent
