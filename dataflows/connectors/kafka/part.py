"""One partition of a topic during reading: its fetched messages and its position."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from confluent_kafka import TopicPartition

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

    from dataflows.connectors.kafka.topics import Name

__all__ = ["NEVER", "Part"]

#: Before any arrival.
NEVER = -(1 << 62)


class Part:
    """One partition: its fetched messages and its position.

    Args:
        name: its topic and number.
        offset: offset of the next message to read.
        latest: largest timestamp read so far, in microseconds.
        stop: offset at which it ends for this run; None for a partition without end.
        known: whether an earlier run on the same store began it.

    Attributes:
        fetched: offset after the last message that was fetched.
        end: last known end offset, -1 if unknown.
        label: name of the partition in positions of records.
    """

    __slots__ = (
        "buffer",
        "bytes",
        "end",
        "fetched",
        "handle",
        "known",
        "label",
        "latest",
        "name",
        "offset",
        "paused",
        "stop",
    )

    def __init__(
        self, name: Name, offset: int, latest: int = NEVER, *, stop: int | None = None, known: bool = False
    ) -> None:
        self.name = name
        self.label = f"{name[0]}/{name[1]}"
        self.offset = self.fetched = offset
        self.latest = latest
        self.stop = stop
        self.known = known
        self.end = -1
        self.buffer: deque[tuple[int, int, bytes]] = deque()
        self.bytes = 0
        self.paused = False
        self.handle = TopicPartition(*name)

    def add(self, message: Message) -> None:
        """Add a message, or note that there is none now."""
        offset = message.offset() or 0
        if message.error() is not None:
            self.end = max(self.end, offset)
            return
        self.fetched = offset + 1
        if self.stop is not None and offset >= self.stop:
            return
        value = message.value() or b""
        kind, stamp = message.timestamp()
        self.buffer.append((offset, stamp * 1_000 if kind else NEVER, value))
        self.bytes += len(value)

    def pop(self) -> tuple[int, int, bytes]:
        """The next message."""
        found = self.buffer.popleft()
        self.bytes -= len(found[2])
        return found

    def order(self, number: int) -> tuple[int, int]:
        """Order of the next message among those of other partitions."""
        return max(self.latest, self.buffer[0][1]), number

    def is_known_to_end(self, consumer: Consumer) -> bool:
        """Whether nothing follows the fetched messages, as far as the client knows."""
        seen = max(self.fetched, self.end)
        if self.stop is not None:
            return seen >= self.stop
        if self.end >= self.fetched:
            return True
        return bool(consumer.get_watermark_offsets(self.handle, cached=True)[1] == self.fetched)
