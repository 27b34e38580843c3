"""What there is in the cluster: topics, their partitions, where these begin and end."""

from __future__ import annotations

import time
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import NewTopic, OffsetSpec

from dataflows.connectors.kafka.client import code_of, patiently

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from concurrent.futures import Future

    from confluent_kafka.admin import AdminClient

    from dataflows.connectors.kafka.client import Clients

__all__ = ["Asked", "Name", "Topic", "Topics"]

#: Seconds that one request may take.
_TIMEOUT = 5.0
#: A partition: its topic and its number there.
Name = tuple[str, int]


class Topic(NamedTuple):
    """A topic as the cluster has it.

    Attributes:
        id: given when it was made; a topic that was deleted and made anew has another.
        partitions: how many.
    """

    id: str
    partitions: int


class Asked:
    """A question whose answers come in the background.

    Args:
        futures: the answers.

    Attributes:
        at: monotonic seconds when it was asked.
    """

    def __init__(self, futures: dict[Any, Future[Any]]) -> None:
        self.at = time.monotonic()
        self._futures = futures

    def done(self) -> bool:
        """Whether all answers are there."""
        return all(future.done() for future in self._futures.values())

    def offsets(self) -> dict[Name, int] | None:
        """Answers to `Topics.ask_ends`; None if one is an error."""
        try:
            return {(key.topic, key.partition): int(f.result().offset) for key, f in self._futures.items()}
        except KafkaException:
            return None

    def topics(self) -> dict[str, Topic | None]:
        """Answers to `Topics.ask`; without those that are not known, with None for what does not exist."""
        found: dict[str, Topic | None] = {}
        for name, future in self._futures.items():
            try:
                described = future.result()
            except KafkaException as error:
                if code_of(error) == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    found[name] = None
            else:
                found[name] = Topic(str(described.topic_id), len(described.partitions))
        return found


class Topics:
    """Asks a cluster about topics.

    Args:
        clients: makes the client that asks.
        error: what is raised where something is wrong.
    """

    def __init__(self, clients: Clients, error: type[RuntimeError]) -> None:
        self._clients = clients
        self._error = error
        self._admin: AdminClient = clients.admin()

    def ask(self, names: Iterable[str]) -> Asked:
        """Ask which topics there are."""
        return Asked(self._admin.describe_topics(TopicCollection([*names]), request_timeout=_TIMEOUT))

    def ask_ends(self, parts: Iterable[Name]) -> Asked:
        """Ask up to where partitions can be read by who reads what was committed."""
        wanted = {TopicPartition(*part): OffsetSpec.latest() for part in parts}
        found = self._admin.list_offsets(
            wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_TIMEOUT
        )
        return Asked(found)

    def ends(self, parts: Sequence[Name]) -> dict[Name, int]:
        """Where partitions end, what is not committed included; empty if there is no answer in a second."""
        wanted = {TopicPartition(*part): OffsetSpec.latest() for part in parts}
        asked = Asked(self._admin.list_offsets(wanted, request_timeout=1.0))
        return asked.offsets() or {}

    def find(self, names: Sequence[str]) -> dict[str, Topic | None]:
        """The topics; None for one that does not exist. Waits for brokers that are away."""

        def attempt() -> dict[str, Topic | None]:
            asked = self._admin.describe_topics(TopicCollection([*names]), request_timeout=_TIMEOUT)
            found: dict[str, Topic | None] = {}
            for name, future in asked.items():
                try:
                    described = future.result()
                except KafkaException as error:
                    if code_of(error) != KafkaError.UNKNOWN_TOPIC_OR_PART:
                        raise
                    found[name] = None
                else:
                    found[name] = Topic(str(described.topic_id), len(described.partitions))
            return found

        return patiently(self._clients, "find topics", attempt, self._error)

    def bounds(self, parts: Sequence[Name]) -> dict[Name, tuple[int, int]]:
        """First offset and end of each partition, the end of what was written, committed or not."""

        def attempt() -> dict[Name, tuple[int, int]]:
            specs = (OffsetSpec.earliest(), OffsetSpec.latest())
            asked = [
                self._admin.list_offsets(
                    {TopicPartition(*part): spec for part in parts}, request_timeout=_TIMEOUT
                )
                for spec in specs
            ]
            wait([future for each in asked for future in each.values()])
            first, end = (
                {(key.topic, key.partition): int(future.result().offset) for key, future in each.items()}
                for each in asked
            )
            return {part: (first[part], end[part]) for part in parts}

        return patiently(self._clients, "find where partitions begin and end", attempt, self._error)

    def make(self, name: str, partitions: int, *, keep: bool = False) -> None:
        """Make a topic, unless another did in the meantime.

        Args:
            name: of the topic.
            partitions: how many.
            keep: never delete messages for their age; else the brokers' default rules.
        """
        topic = NewTopic(name, partitions, -1, config={"retention.ms": "-1"} if keep else {})

        def attempt() -> None:
            try:
                self._admin.create_topics([topic], request_timeout=_TIMEOUT)[name].result()
            except KafkaException as error:
                if code_of(error) != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise

        patiently(self._clients, f"make the topic {name}", attempt, self._error)
        deadline = time.monotonic() + _TIMEOUT
        # Made is not yet known to every broker.
        while self.find([name])[name] is None and time.monotonic() < deadline:
            time.sleep(0.05)
