"""A slow champion in a run that follows a topic: the program sends a command to it, read like any other."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.chaos.live import following
from tests.kafka.topics import sent, telemetry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.kafka.topics import Cluster
    from tests.processes import Process

pytestmark = pytest.mark.ci

NAME = "pump/leak/1h"
TARGET = """
[[targets]]
class = "pump"
mode = "leak"
horizon = "1h"
champion = "prior"
breaker = {{ latency = "5ms", rows = 20, commands = "{events}" }}

[models.prior]
pipeline = [{{ estimator = "dataflows.estimators.Prior" }}]

[models.slow]
pipeline = [{{ estimator = "tests.chaos.models.Slow" }}]

[assets]
unknown = "adopt"
adopt_as = "pump"
"""


def fleet_of(cluster: Cluster) -> Path:
    cluster.make(partitions=1)
    path = cluster.fleet(writing="partitions = 1").path
    path.write_text(path.read_text() + TARGET.format(events=cluster.events))
    return path


def send(cluster: Cluster, count: int) -> None:
    """Send so many readings, which are one microsecond apart so that none is a copy."""
    now = time.time()
    cluster.send(*((0, telemetry(f"p{n % 5}", 9.0, now + n * 1e-6), int(now * 1_000)) for n in range(count)))


def rows(cluster: Cluster, output: str) -> list[dict[str, Any]]:
    return [orjson.loads(each.value()) for each in cluster.rows(f"{cluster.name}.{output}")]


def champions(cluster: Cluster) -> list[tuple[str, str]]:
    """Who became champion, and why."""
    return [(row["model"], row["why"]) for row in rows(cluster, "changes") if row["change"] == "champion"]


def records(cluster: Cluster, kind: str) -> list[Any]:
    found = [(each.key(), orjson.loads(each.value())) for each in cluster.rows(cluster.events)]
    return [each for each in found if each[1]["kind"] == kind]


def send_until(cluster: Cluster, process: Process, done: Callable[[], bool]) -> None:
    for _ in range(200):
        send(cluster, 20)
        assert process.poll() is None
        if done():
            return
    pytest.fail("what was waited for did not happen")


def test_a_slow_champion_is_demoted_by_a_command_in_the_topic(cluster: Cluster) -> None:
    """One command, by `breaker` and keyed by its target, takes effect once; a killed run repeats none."""
    fleet = fleet_of(cluster)
    with following(fleet) as first:
        send_until(cluster, first, lambda: len(champions(cluster)) == 1)
        sent(cluster, "promote", NAME, "--model", "slow", "--by", "ada", "--why", "a trial")
        send_until(cluster, first, lambda: len(champions(cluster)) == 3)
        first.kill()
        first.wait()
    (_, ada), (key, command) = records(cluster, "command")
    assert (ada["model"], ada["by"]) == ("slow", "ada")
    assert key == NAME.encode()
    assert (command["action"], command["model"], command["by"]) == ("promote", "prior", "breaker")
    assert command["why"].endswith("ms a row, above 5 ms, over 20 rows twice")
    with following(fleet) as second:
        scored = len(rows(cluster, "predictions"))
        send_until(cluster, second, lambda: len(rows(cluster, "predictions")) > scored + 100)
    assert len(records(cluster, "command")) == 2, "the champion that came back is not slow"
    (_, configured), (_, by_ada), (model, why) = champions(cluster)
    assert (configured, by_ada, model) == ("configured", "promote by ada: a trial", "prior")
    assert why == f"promote by breaker: {command['why']}"
    sequences = [row["sequence"] for row in rows(cluster, "predictions")]
    assert len(sequences) == len({*sequences})
