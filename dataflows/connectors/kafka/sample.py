"""Read a sample of topics: their latest messages, and nothing that comes while they are read."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import KafkaError, TopicPartition

from dataflows.connectors.kafka.client import Clients, KafkaInputError, is_passing
from dataflows.connectors.kafka.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import Consumer

    from dataflows.connectors.kafka.topics import Name
    from dataflows.fleet.fleet import Kafka

__all__ = ["Sampled", "sample_topics"]

_AT_ONCE = 1_000


class Sampled(NamedTuple):
    """A message.

    Attributes:
        received: its timestamp, milliseconds since 1970.
        value: its value.
    """

    received: int
    value: bytes


def sample_topics(kafka: Kafka, topics: Sequence[str], most: int) -> dict[str, list[Sampled]]:
    """Read the latest messages of topics, sorted by timestamp; those without a value are left out.

    Args:
        kafka: connection to the cluster.
        topics: names.
        most: number of messages of a topic, over all of its partitions.

    Raises:
        KafkaInputError: a topic does not exist, or no broker answers.
    """
    clients = Clients(kafka)
    asked = Topics(clients, KafkaInputError)
    found = asked.find(topics)
    missing = [name for name in topics if found[name] is None]
    if missing:
        msg = f"no topic {', '.join(missing)} at {kafka.bootstrap}: see the name, or create it"
        raise KafkaInputError(msg)
    sizes = {name: topic.partitions for name, topic in found.items() if topic is not None}
    bounds = asked.bounds([(name, number) for name, size in sizes.items() for number in range(size)])
    starts = {
        part: max(first, end - most // sizes[part[0]]) for part, (first, end) in bounds.items() if end > first
    }
    consumer = clients.consumer("highwater-init")
    try:
        consumer.assign([TopicPartition(*part, offset) for part, offset in starts.items()])
        read = _read(consumer, {part: bounds[part][1] for part in starts}, clients)
    finally:
        consumer.close()
    sampled: dict[str, list[Sampled]] = {name: [] for name in topics}
    for name, message in read:
        sampled[name].append(message)
    for messages in sampled.values():
        messages.sort(key=lambda message: message.received)
    return sampled


def _read(consumer: Consumer, ends: dict[Name, int], clients: Clients) -> list[tuple[str, Sampled]]:
    """Read every partition up to its end."""
    read: list[tuple[str, Sampled]] = []
    left = dict(ends)
    deadline = time.monotonic() + clients.patience.start
    while left:
        for message in consumer.consume(_AT_ONCE, 0.5):
            error = message.error()
            part = (str(message.topic()), int(message.partition() or 0))
            if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's name
                left.pop(part, None)
            elif error is not None:
                _refuse_lasting(error, clients)
            elif part in left:
                deadline = time.monotonic() + clients.patience.start
                if (value := message.value()) is not None:
                    read.append((part[0], Sampled(message.timestamp()[1], value)))
                if int(message.offset() or 0) + 1 >= left[part]:
                    del left[part]
        if left and time.monotonic() > deadline:
            msg = f"no broker at {clients.bootstrap} sent the messages of {next(iter(left))[0]}"
            raise KafkaInputError(msg)
    return read


def _refuse_lasting(error: KafkaError, clients: Clients) -> None:
    """Raise an error that waiting does not end."""
    if not is_passing(error):
        msg = f"the cluster at {clients.bootstrap} refuses to be read: {clients.refusal or error.str()}"
        raise KafkaInputError(msg)
