"""Topics of the cluster, their partitions, and first and last offsets."""

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

#: A partition: its topic and its number there.
Name = tuple[str, int]


class Topic(NamedTuple):
    """A topic as the cluster has it.

    Attributes:
        id: id given at creation; a topic that was deleted and created again has another.
        partitions: number of partitions.
    """

    id: str
    partitions: int


class Asked:
    """A question with answers in the background.

    Args:
        futures: the answers.

    Attributes:
        at: monotonic seconds of the question.
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
        """Answers to `Topics.ask`; unknown ones are absent, missing topics are None."""
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
    """Ask a cluster about topics.

    Args:
        clients: makes the client for questions.
        error: class of the errors.
    """

    def __init__(self, clients: Clients, error: type[RuntimeError]) -> None:
        self._clients = clients
        self._error = error
        self._admin: AdminClient = clients.admin()
        self._timeout = clients.patience.request

    def ask(self, names: Iterable[str]) -> Asked:
        """Ask for the existing topics."""
        return Asked(self._admin.describe_topics(TopicCollection([*names]), request_timeout=self._timeout))

    def ask_ends(self, parts: Iterable[Name]) -> Asked:
        """Ask for the ends of partitions for a reader of committed messages."""
        wanted = {TopicPartition(*part): OffsetSpec.latest() for part in parts}
        found = self._admin.list_offsets(
            wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=self._timeout
        )
        return Asked(found)

    def ends(self, parts: Sequence[Name]) -> dict[Name, int]:
        """Ends of partitions, uncommitted messages included; empty without an answer in a second."""
        wanted = {TopicPartition(*part): OffsetSpec.latest() for part in parts}
        asked = Asked(self._admin.list_offsets(wanted, request_timeout=1.0))
        return asked.offsets() or {}

    def find(self, names: Sequence[str]) -> dict[str, Topic | None]:
        """Find topics; None for one that does not exist. Waits for absent brokers."""

        def attempt() -> dict[str, Topic | None]:
            asked = self._admin.describe_topics(TopicCollection([*names]), request_timeout=self._timeout)
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
        """First offset and end of each partition, uncommitted messages included."""

        def attempt() -> dict[Name, tuple[int, int]]:
            specs = (OffsetSpec.earliest(), OffsetSpec.latest())
            asked = [
                self._admin.list_offsets(
                    {TopicPartition(*part): spec for part in parts}, request_timeout=self._timeout
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
        """Create a topic, unless another process did in the meantime.

        Args:
            name: name of the topic.
            partitions: number of partitions.
            keep: never delete messages by age; else by the brokers' default rules.
        """
        topic = NewTopic(name, partitions, -1, config={"retention.ms": "-1"} if keep else {})

        def attempt() -> None:
            try:
                self._admin.create_topics([topic], request_timeout=self._timeout)[name].result()
            except KafkaException as error:
                if code_of(error) != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise

        patiently(self._clients, f"make the topic {name}", attempt, self._error)
        deadline = time.monotonic() + self._timeout
        # A new topic is not yet known to every broker.
        while self.find([name])[name] is None and time.monotonic() < deadline:
            time.sleep(0.05)
