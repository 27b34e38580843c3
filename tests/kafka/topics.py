"""What the tests of Kafka share: topics of their own, messages, and a fleet that reads and writes them."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

import orjson
from confluent_kafka import Consumer, KafkaError, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from typer.testing import CliRunner

from dataflows.__main__ import app
from dataflows.connectors.kafka.client import Patience
from dataflows.connectors.kafka.source import KafkaSource
from dataflows.fleet import load
from dataflows.items import Item, Tick
from dataflows.status import RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dataflows.connectors.source import LanePartition
    from dataflows.fleet import Fleet
    from tests.broker import Broker

FLEET = """
name = "pumps"

[kafka]
bootstrap = "{bootstrap}"
{security}

[input]
follow = {follow}
tick_every = "100ms"
tick_slack = "0s"

[input.kafka]
topics = ["{name}.events"]
{reading}

[output]
folder = "out"

[output.kafka]
prefix = "{name}."
{writing}

[classes.pump]
sensors = ["pressure"]
idle_timeout = "1s"
"""
PATIENCE = 30.0


def telemetry(asset: str, value: float, time: float = 0.0) -> bytes:
    return orjson.dumps({"kind": "telemetry", "asset": asset, "time": time, "readings": {"pressure": value}})


class Cluster:
    """Topics of one test, and the fleet that uses them."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self.broker = broker
        self.folder = folder
        self.name = f"t{uuid.uuid4().hex[:12]}"
        self.events = f"{self.name}.events"
        self.admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        self._parts: list[LanePartition] = []
        #: With brokers; a test may have less.
        self.patience = Patience()

    def make(self, topic: str | None = None, partitions: int = 4, **options: str) -> None:
        config = {"retention.ms": "-1"} | {name.replace("_", "."): value for name, value in options.items()}
        self.wait_for(
            self.admin.create_topics([NewTopic(topic or self.events, partitions, 1, config=config)])
        )
        deadline = time.monotonic() + PATIENCE
        while self.partitions(topic or self.events) != partitions:
            assert time.monotonic() < deadline

    def grow(self, partitions: int) -> None:
        self.wait_for(self.admin.create_partitions([NewPartitions(self.events, partitions)]))
        deadline = time.monotonic() + PATIENCE
        while self.partitions(self.events) != partitions:
            assert time.monotonic() < deadline

    def delete(self, topic: str | None = None) -> None:
        self.wait_for(self.admin.delete_topics([topic or self.events]))
        deadline = time.monotonic() + PATIENCE
        while self.partitions(topic or self.events):
            assert time.monotonic() < deadline

    def partitions(self, topic: str) -> int:
        try:
            found = self.admin.describe_topics(TopicCollection([topic]))[topic].result()
        except Exception:  # noqa: BLE001 - there is none
            return 0
        return len(found.partitions)

    @staticmethod
    def wait_for(futures: dict[Any, Any]) -> None:
        for future in futures.values():
            future.result()

    def send(self, *messages: tuple[int, bytes | None, int], topic: str | None = None) -> None:
        """Messages as (partition, value, milliseconds)."""
        producer = Producer({"bootstrap.servers": self.broker.bootstrap, "log_level": 0})
        for partition, value, milliseconds in messages:
            producer.produce(topic or self.events, value, partition=partition, timestamp=milliseconds)
        assert producer.flush(PATIENCE) == 0

    def fleet(self, **how: str) -> Fleet:
        filled = {
            "bootstrap": self.broker.bootstrap,
            "security": "",
            "follow": "true",
            "reading": "",
            "writing": "",
        }
        path = self.folder / "fleet.toml"
        path.write_text(FLEET.format(**(filled | {"name": self.name} | how)), encoding="utf-8")
        return load(path, environ={})

    def reading(
        self, resume: bytes | None = None, *, journal: bool = False, ticks: bool = False, **how: str
    ) -> LanePartition:
        """The source, new or resumed; the one before it is killed."""
        self.kill()
        folder = self.folder / "journal" if journal else None
        source = KafkaSource(
            self.fleet(**how), RunStatus(), ticks=ticks, journal=folder, patience=self.patience
        )
        part = source.build_part("source", "lane-0", resume)
        self._parts.append(part)
        return part

    def kill(self) -> None:
        for part in self._parts:
            part.close()
        self._parts.clear()

    def rows(self, topic: str, *, committed: bool = True) -> list[Any]:
        """Messages of a topic."""
        consumer = Consumer({
            "bootstrap.servers": self.broker.bootstrap, "group.id": "tests", "enable.auto.commit": False,
            "isolation.level": "read_committed" if committed else "read_uncommitted",
            "enable.partition.eof": True, "auto.offset.reset": "error", "log_level": 0,
        })  # fmt: skip
        left = set(range(self.partitions(topic)))
        consumer.assign([TopicPartition(topic, number, 0) for number in left])
        found = []
        deadline = time.monotonic() + PATIENCE
        while left:
            assert time.monotonic() < deadline
            for message in consumer.consume(1_000, 0.1):
                if message.error() is None:
                    found.append(message)
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
        consumer.close()
        return found


def sent(cluster: Cluster, *arguments: str) -> str:
    """What the command line says that sends a command to the topic."""
    fleet = cluster.folder / "fleet.toml"
    found = CliRunner().invoke(
        app, ["command", *arguments, "--fleet", str(fleet), "--topic", cluster.events], env={"COLUMNS": "200"}
    )
    assert found.exit_code == 0, found.output
    return found.output


def until(done: Callable[[], bool], what: str) -> None:
    """Try until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.005)


def taken(part: LanePartition, count: int) -> list[Item]:
    """The next items of a source, ticks left out."""
    items: list[Item] = []

    def enough() -> bool:
        items.extend(item for item in part.next_batch() if not isinstance(item.body, Tick))
        return len(items) >= count

    until(enough, f"{count} records")
    return items


def drained(part: LanePartition) -> list[Item]:
    """All items of a source that ends."""
    items: list[Item] = []

    def ended() -> bool:
        try:
            items.extend(part.next_batch())
        except StopIteration:
            return True
        return False

    until(ended, "the end of the input")
    return items


def shown(items: list[Item]) -> list[tuple[int, str, int, float]]:
    """Sequence, partition, offset and arrival in milliseconds."""
    return [
        (item.sequence, item.position[0].rpartition(".")[2], item.position[1], item.body.arrived / 1_000)
        for item in items
    ]
