"""Committed rows of outputs in topics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from confluent_kafka import KafkaError, TopicPartition
from typing_extensions import override

from dataflows.connectors.committed import Chunk, CommittedRows, OtherRowsError, Place
from dataflows.connectors.kafka.client import Clients, KafkaOutputError, is_passing
from dataflows.connectors.kafka.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import Consumer, Message

    from dataflows.connectors.kafka.topics import Name
    from dataflows.fleet.fleet import Kafka

__all__ = ["CommittedTopics"]

#: Seconds that one read may wait for messages.
_WAIT = 1.0
_log = structlog.get_logger()


class CommittedTopics(CommittedRows):
    """Committed rows of outputs in topics, read without a consumer group.

    The place of an output is the id of its topic with the next offset of each partition.

    Args:
        kafka: the cluster.
        prefix: of the names of the topics.
        outputs: their names.

    Raises:
        KafkaInputError: a secret is missing.
    """

    def __init__(self, kafka: Kafka, prefix: str, outputs: Sequence[str]) -> None:
        self._clients = Clients(kafka)
        self._outputs = {prefix + output: output for output in outputs}
        self._topics: Topics | None = None
        self._consumer: Consumer | None = None
        #: The next offset of each assigned partition.
        self._next: dict[Name, int] = {}
        self._ended: set[Name] = set()

    @override
    def read(self, place: Place, most: int) -> Chunk:
        begin, ids = self._begin(place)
        if not begin:
            return Chunk([], place, more=False)
        if begin != self._next or self._consumer is None:
            self._assign(begin)
        rows: list[tuple[str, bytes]] = []
        for message in self._consumer.consume(most, _WAIT) if self._consumer is not None else ():
            self._take(message, rows)
        after = {
            output: [ids[topic], {str(p): at for (name, p), at in self._next.items() if name == topic}]
            for topic, output in self._outputs.items()
            if topic in ids
        }
        return Chunk(rows, after, more=len(self._ended) < len(self._next))

    def _begin(self, place: Place) -> tuple[dict[Name, int], dict[str, str]]:
        """The next offset of each partition that is there, and the id of each topic.

        Raises:
            OtherRowsError: a topic was deleted and created again.
        """
        if self._topics is None:
            self._topics = Topics(self._clients, KafkaOutputError)
        found = {name: topic for name, topic in self._topics.find([*self._outputs]).items() if topic}
        known: dict[Name, int] = {}
        for name, topic in found.items():
            before, offsets = place.get(self._outputs[name]) or (topic.id, {})
            if before != topic.id:
                msg = f"the topic {name} was created again since its rows were read"
                raise OtherRowsError(msg)
            known |= {(name, int(number)): offset for number, offset in offsets.items()}
        names = [(name, number) for name, topic in found.items() for number in range(topic.partitions)]
        new = [name for name in names if name not in known]
        if new:
            known |= {name: first for name, (first, _) in self._topics.bounds(new).items()}
        return known, {name: topic.id for name, topic in found.items()}

    def _assign(self, begin: dict[Name, int]) -> None:
        if self._consumer is None:
            self._consumer = self._clients.consumer("highwater-notify")
        self._next, self._ended = dict(begin), set()
        self._consumer.assign([TopicPartition(*name, offset) for name, offset in begin.items()])

    def _take(self, message: Message, rows: list[tuple[str, bytes]]) -> None:
        name = (message.topic() or "", message.partition() or 0)
        error, data = message.error(), message.value()
        if error is None:
            self._next[name] = (message.offset() or 0) + 1
            self._ended.discard(name)
            if data is not None:
                rows.append((self._outputs[name[0]], data))
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - named so by the client
            self._next[name] = max(self._next[name], message.offset() or 0)
            self._ended.add(name)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - as above
            self._jump(name)
        elif not is_passing(error):
            msg = f"{name[0]}/{name[1]} cannot be read: {error.str()}"
            raise KafkaOutputError(msg)

    def _jump(self, name: Name) -> None:
        """Go on at the first row that is there, where those before it were deleted for their age."""
        assert self._topics is not None  # noqa: S101 - `_begin` made it
        first, _ = self._topics.bounds([name])[name]
        before = self._next[name]
        if first <= before:
            msg = f"{name[0]}/{name[1]} ends before offset {before:,}, up to which it was read"
            raise OtherRowsError(msg)
        _log.warning("rows were deleted before they were read", topic=name[0], rows=first - before)
        self._assign({**self._next, name: first})

    @override
    def close(self) -> None:
        consumer: Any = self._consumer
        self._consumer = None
        if consumer is not None:
            consumer.close()
