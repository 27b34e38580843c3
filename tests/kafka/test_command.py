"""Commands sent to a topic of the input: `python -m dataflows command --topic` reaches the target."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import orjson
import pytest
from typer.testing import CliRunner

from dataflows.__main__ import app
from dataflows.connectors.kafka.client import KafkaOutputError
from dataflows.tools.command import send_command
from tests.chaos.harness import finish
from tests.kafka.topics import sent, telemetry

if TYPE_CHECKING:
    from tests.kafka.topics import Cluster

NAME = "pump/leak/1h"
RECORD = {"kind": "command", "target": NAME, "action": "freeze", "by": "ada"}
TARGET = """
[[targets]]
class = "pump"
mode = "leak"
horizon = "1h"
champion = "prior"
promotion = "propose"

[models.prior]
pipeline = [{ estimator = "dataflows.estimators.Prior" }]

[models.bayes]
pipeline = [{ estimator = "river.naive_bayes.GaussianNB" }]

[assets]
unknown = "adopt"
adopt_as = "pump"
"""


def minute(begun: int, number: int) -> tuple[int, bytes, int]:
    """Telemetry of a minute, which arrives a second later."""
    return 0, telemetry("p1", number, begun + 60.0 * number), (begun + 60 * number + 1) * 1_000


@pytest.mark.ci
def test_a_command_sent_to_a_topic_takes_effect_at_its_place(cluster: Cluster) -> None:
    """The champion is the one that Ada named, for the records after her command and none before it."""
    cluster.make(partitions=1)
    fleet = cluster.fleet(follow="false", writing="partitions = 1").path
    fleet.write_text(fleet.read_text() + TARGET)
    begun = int(time.time()) - 3_600
    cluster.send(*(minute(begun, number) for number in range(40)))
    said = sent(cluster, "promote", NAME, "--model", "bayes", "--by", "ada", "--why", "we know it")
    assert cluster.events in said
    (message,) = [each for each in cluster.rows(cluster.events) if b'"command"' in each.value()]
    assert message.key() == NAME.encode()
    cluster.send(minute(begun, 61))
    finish(fleet)
    changes = [orjson.loads(each.value()) for each in cluster.rows(f"{cluster.name}.changes")]
    (command,) = [row for row in changes if row["change"] == "command"]
    assert (command["by"], command["why"], command["refused"]) == ("ada", "we know it", None)
    assert command["sequence"] == 41
    assert [row["model"] for row in changes if row["change"] == "champion"] == ["prior", "bayes"]
    rows = [orjson.loads(each.value()) for each in cluster.rows(f"{cluster.name}.predictions")]
    served = [row["model"] for row in sorted(rows, key=lambda row: row["sequence"])]
    assert served == ["prior"] * 40 + ["bayes"]


def test_a_command_for_a_topic_that_does_not_exist_is_refused_at_once(cluster: Cluster) -> None:
    """The topic is named, with the cluster; the exit code is that of a failure."""
    fleet = cluster.fleet(follow="false").path
    fleet.write_text(fleet.read_text() + TARGET)
    begun = time.monotonic()
    found = CliRunner().invoke(
        app, ["command", "freeze", NAME, "--by", "ada", "--fleet", str(fleet), "--topic", cluster.events]
    )
    assert found.exit_code == 1
    assert f"topic {cluster.events} does not exist" in " ".join(found.output.split())
    assert time.monotonic() - begun < 15.0


def test_a_command_that_the_brokers_refuse_says_why(cluster: Cluster) -> None:
    """A topic for small messages takes no long one."""
    cluster.make(partitions=1, max_message_bytes="100")
    with pytest.raises(
        KafkaOutputError, match=f"the command was not delivered to {cluster.events} .*too large"
    ):
        send_command({**RECORD, "why": "x" * 200}, cluster.fleet(), cluster.events)


def test_absent_brokers_are_named_once_the_patience_is_over(cluster: Cluster) -> None:
    """Whoever sends a command learns that nothing answers."""
    fleet = cluster.fleet(bootstrap="127.0.0.1:9")
    with pytest.raises(KafkaOutputError, match=r"no answer from Kafka at 127\.0\.0\.1:9"):
        send_command(RECORD, fleet, cluster.events, patience=0.3)
