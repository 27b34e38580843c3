"""``python -m dataflows replay --topic``: send a recording in order of arrival to a Kafka topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from dataflows.connectors.kafka.client import Clients, KafkaOutputError
from dataflows.connectors.kafka.topics import Topics
from dataflows.connectors.lines import expand
from dataflows.connectors.merge import Merge, NextRecord
from dataflows.status import RunStatus
from dataflows.tools.replay import paced
from dataflows.tools.run import bytes_of, progress, signals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import KafkaError, Message, Producer
    from rich.console import Console

    from dataflows.fleet import Fleet

__all__ = ["send"]

_PATIENCE = 60.0
_PARTITIONS = 4


def send(fleet: Fleet, recording: Sequence[str], topic: str, speed: float | None, console: Console) -> None:
    """Send a recording: each record with its asset as key, and its arrival as timestamp.

    A record that cannot be decoded has no key, and the timestamp of the one before it.

    Args:
        fleet: fleet with the connection to the cluster.
        recording: files and globs.
        topic: created if missing, with 4 partitions and without a limit of age.
        speed: multiple of real time; None for as fast as possible.
        console: where progress is shown.

    Raises:
        InputError: the recording cannot be read.
        KafkaOutputError: the topic cannot be made, or a record cannot be delivered.
    """
    paths = expand(tuple(recording))
    clients = Clients(fleet.kafka)
    topics = Topics(clients, KafkaOutputError)
    if topics.find([topic])[topic] is None:
        # Old records would be deleted by age at once.
        topics.make(topic, _PARTITIONS, keep=True)
    sending = _Sending(clients, topic)
    merge = Merge([paths], plain=False, body=cast("Any", lambda head: head))
    status = RunStatus()
    with signals(status, console), progress(topic, bytes_of(paths), status, console):
        for items in paced(merge, speed, status):
            for item in items:
                sending.add(cast("NextRecord", item.body))
    sending.finish()
    console.print(f"{status.records:,} records in {topic} at {clients.bootstrap}", highlight=False)


class _Sending:
    """Messages on their way to one topic."""

    def __init__(self, clients: Clients, topic: str) -> None:
        self._clients = clients
        self._topic = topic
        self._producer: Producer = clients.sender()
        self._latest = 0
        self._failed: str | None = None

    def add(self, head: NextRecord) -> None:
        arrived = getattr(head.events[0], "arrived", None)
        self._latest = arrived or self._latest
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    head.raw,
                    getattr(head.events[0], "asset", None),
                    timestamp=self._latest // 1_000,
                    on_delivery=self._note,
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                break
        self._producer.poll(0)
        self._check()

    def _note(self, error: KafkaError | None, message: Message) -> None:  # noqa: ARG002 - as the client calls it
        if error is not None:
            self._failed = error.str()

    def _check(self) -> None:
        if self._failed is not None:
            msg = f"a record could not be sent to {self._topic} at {self._clients.bootstrap}: {self._failed}"
            raise KafkaOutputError(msg)

    def finish(self) -> None:
        """Wait until all is delivered."""
        left = self._producer.flush(_PATIENCE)
        self._check()
        if left:
            msg = f"{self._clients.away()}; {left:,} records were not delivered to {self._topic}"
            raise KafkaOutputError(msg)
