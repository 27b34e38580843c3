"""Read back the rows of a topic, so that a resumed run does not publish them again."""

from __future__ import annotations

import time
import zlib
from typing import TYPE_CHECKING

import msgspec
import structlog
from confluent_kafka import KafkaError, TopicPartition

from dataflows.connectors.kafka.client import KafkaOutputError, is_passing

if TYPE_CHECKING:
    from confluent_kafka import Message

    from dataflows.connectors.kafka.client import Clients
    from dataflows.connectors.kafka.topics import Name

__all__ = ["Written", "identity_of", "read_back"]

_log = structlog.get_logger()
_FETCH = 1_000
#: Seconds without a message after which reading back fails.
_PATIENCE = 60.0
_WARN = 10.0


class _Identity(msgspec.Struct):
    id: str
    correction: int | None = None


_identity = msgspec.json.Decoder(_Identity)


def identity_of(output: str, data: bytes, order: bytes) -> bytes:
    """Identity of a row in its output, equal in every run on the same input.

    Predictions and evaluations have ids. Rows of the other outputs have their place in the order of effect.
    """
    if output not in {"predictions", "evaluations"}:
        return order
    found = _identity.decode(data)
    return f"{found.id}/{found.correction or 0}".encode()


class Written:
    """Collect the rows of a store's own runs.

    Args:
        output: output of the rows.
        lineage: lineage of the store.
        strict: refuse rows of other runs: the store is new, so the topic should be too.

    Attributes:
        rows: checksum of each row by its identity.
    """

    def __init__(self, output: str, lineage: bytes, *, strict: bool) -> None:
        self._output = output
        self._lineage = lineage
        self._strict = strict
        self.rows: dict[bytes, int] = {}

    def add(self, message: Message) -> None:
        """Note one message.

        Raises:
            KafkaOutputError: it is not one of the store's own, and ``strict`` refuses it.
        """
        headers = dict(message.headers() or ())
        order, data = headers.get("order"), message.value()
        if headers.get("run") == self._lineage and isinstance(order, bytes) and data is not None:
            self.rows[identity_of(self._output, data, order)] = zlib.crc32(data)
        elif self._strict:
            msg = (
                f"the topic {message.topic()} holds rows of another run, which the recovery store knows "
                "nothing of; set another `prefix` under [output.kafka], or delete the topic"
            )
            raise KafkaOutputError(msg)


def read_back(
    clients: Clients, begin: dict[Name, int], ends: dict[Name, int], written: Written
) -> dict[bytes, int]:
    """Read partitions from one offset up to another, as a reader of committed messages.

    Args:
        clients: makes the reader.
        begin: first offset to read, by partition.
        ends: end offset, by partition.
        written: collects the messages.

    Returns:
        Checksum of each row by its identity.

    Raises:
        KafkaOutputError: a partition cannot be read to its end.
    """
    left = {name for name, offset in begin.items() if offset < ends[name]}
    if not left:
        return {}
    consumer = clients.consumer("highwater-read-back")
    try:
        consumer.assign([TopicPartition(*name, begin[name]) for name in left])
        heard = warned = time.monotonic()
        while left:
            messages = consumer.consume(_FETCH, 0.2)
            now = time.monotonic()
            heard = now if messages else heard
            for message in messages:
                _take(message, left, ends, written)
            if now - heard > _PATIENCE:
                msg = f"{clients.away()}; could not read back {_shown(left)}. Run again when it is back"
                raise KafkaOutputError(msg)
            if now - max(heard, warned) > _WARN:
                warned = now
                _log.warning(
                    "reading back: waiting for a broker, or another producer's transaction", left=_shown(left)
                )
    finally:
        consumer.close()
    return written.rows


def _take(message: Message, left: set[Name], ends: dict[Name, int], written: Written) -> None:
    name, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
    error = message.error()
    if error is None:
        if offset < ends[name]:
            written.add(message)
        offset += 1
    elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - named so by the client
        if is_passing(error):
            return
        msg = f"{name[0]}/{name[1]} cannot be read back: {error.str()}"
        raise KafkaOutputError(msg)
    if offset >= ends[name]:
        left.discard(name)


def _shown(left: set[Name]) -> str:
    return ", ".join(f"{topic}/{number}" for topic, number in sorted(left))
