"""Partitions of topics as one sequence: registry files first, then all partitions merged by timestamp.

Of the next messages of all partitions the one with the smallest timestamp is taken; where timestamps run
back inside a partition, the running maximum counts, as it does for a wild timestamp; ties go by the order of
the partitions. That needs
the next message of every partition, or the knowledge that it has none now: so a backlog, read from
partitions at different speeds, comes in the order in which it was written, and no asset seems silent because
its partition lags. `PartitionBuffer` holds fetched messages. `TopicMonitor` watches the topics in the
background: whether they still exist, whether they grew, whether all messages were read.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from datetime import timedelta
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from msgspec.structs import force_setattr

from dataflows.connectors.arrivals import LOOK_AHEAD, MAX_JUMP, NEVER, Arrivals
from dataflows.connectors.clocks import now
from dataflows.connectors.kafka.client import KafkaInputError, code_of, is_passing
from dataflows.connectors.order_journal import Run
from dataflows.connectors.source import Reading, StoredInput
from dataflows.events import Reject, decode
from dataflows.items import Item
from dataflows.state.snapshots import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from confluent_kafka import Consumer, Message

    from dataflows.connectors.kafka.topics import Asked, Name, Topic, Topics
    from dataflows.connectors.merge import Merge
    from dataflows.mapping.live import LiveRows

__all__ = ["KAFKA", "KafkaReading", "PartitionBuffer", "TopicMonitor", "refuse_change"]


class PartitionBuffer:
    """One partition: its fetched messages and its position.

    Args:
        name: its topic and number.
        offset: offset of the next message to read.
        latest: largest timestamp read so far that is not wild, in microseconds.
        max_jump: see `Arrivals`.
        stop: offset at which it ends for this run; None for a partition without end.
        known: whether an earlier run on the same store began it.

    Attributes:
        fetched: offset after the last message that was fetched.
        end: last known end offset, -1 if unknown.
        label: name of the partition in positions of records.
    """

    __slots__ = (
        "arrivals",
        "buffer",
        "bytes",
        "end",
        "fetched",
        "handle",
        "known",
        "label",
        "name",
        "offset",
        "paused",
        "stop",
    )

    def __init__(
        self,
        name: Name,
        offset: int,
        latest: int = NEVER,
        *,
        max_jump: int = MAX_JUMP,
        stop: int | None = None,
        known: bool = False,
    ) -> None:
        self.name = name
        self.label = f"{name[0]}/{name[1]}"
        self.offset = self.fetched = offset
        self.arrivals = Arrivals(latest, max_jump)
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
        """Take the next message."""
        self.arrivals.add(self.buffer[0][1], self._after())
        found = self.buffer.popleft()
        self.bytes -= len(found[2])
        return found

    def order(self, number: int) -> tuple[int, int]:
        """Order of the next message among those of other partitions."""
        return self.arrivals.order(self.buffer[0][1], self._after()), number

    def due(self) -> int:
        """Time at which the next message plays."""
        return self.arrivals.due(self.buffer[0][1], self._after())

    @property
    def is_open(self) -> bool:
        """Whether messages that are still to come may change the order of the next one."""
        return bool(self.buffer) and self.arrivals.is_open(self.buffer[0][1], self._after())

    def _after(self) -> list[int]:
        """Timestamps of the messages after the next one, as far as its own has to be judged by them."""
        if not self.arrivals.jumps(self.buffer[0][1]):
            return []
        return [stamp for _, stamp, _ in islice(self.buffer, 1, 1 + LOOK_AHEAD) if stamp != NEVER]

    def is_known_to_end(self, consumer: Consumer) -> bool:
        """Whether nothing follows the fetched messages, as far as the client knows."""
        seen = max(self.fetched, self.end)
        if self.stop is not None:
            return seen >= self.stop
        if self.end >= self.fetched:
            return True
        return bool(consumer.get_watermark_offsets(self.handle, cached=True)[1] == self.fetched)


#: Seconds after which a missing topic is looked up again.
_AGAIN = 2.0


def refuse_change(name: str, before: Topic, found: Topic | None) -> None:
    """Refuse a topic that is gone or was replaced.

    Raises:
        KafkaInputError: it names the remedy.
    """
    if found is None:
        msg = f"the topic {name} does not exist (any more); make it again and start over (--fresh)"
        raise KafkaInputError(msg)
    if found.id != before.id:
        msg = (
            f"the topic {name} was deleted and created again: its offsets mean other messages than those "
            "that the recovery store knows; start over (--fresh)"
        )
        raise KafkaInputError(msg)


class TopicMonitor:
    """Ask the cluster now and then, without waiting for an answer.

    Args:
        topics: client for questions.
        expected: the topics at the start of the run.
        tick_every: microseconds between questions whether all was read.
        every: seconds between checks of the topics.
    """

    def __init__(self, topics: Topics, expected: dict[str, Topic], tick_every: int, every: float) -> None:
        self._topics = topics
        self._expected = expected
        self._every = every
        self._next = time.monotonic() + every
        self._looked: Asked | None = None
        self._missing: set[str] = set()
        self._probe_every = max(tick_every // 2, 20_000)
        self._probed_at = 0
        self._probe: Asked | None = None

    def check(self) -> None:
        """Process the answer to the last question, or ask the next.

        Raises:
            KafkaInputError: a topic is gone, was created again, or has more partitions.
        """
        if self._looked is None:
            if time.monotonic() >= self._next:
                self._looked = self._topics.ask(self._expected)
            return
        if not self._looked.done():
            return
        found, self._looked = self._looked.topics(), None
        missing = {name for name, topic in found.items() if topic is None}
        # A broker that has just returned may not know a topic yet.
        doubted, self._missing = missing - self._missing, missing
        self._next = time.monotonic() + (min(self._every, _AGAIN) if doubted else self._every)
        for name, topic in found.items():
            before = self._expected[name]
            if name in doubted:
                continue
            refuse_change(name, before, topic)
            if topic is not None and topic.partitions != before.partitions:
                msg = (
                    f"the topic {name} has {topic.partitions} partitions, this run reads "
                    f"{before.partitions}: records of one asset may now lie in two. See `new_partitions` "
                    'under [input.kafka]; set it to "read" and run again'
                )
                raise KafkaInputError(msg)

    def silent_since(self, asked: int, parts: Sequence[PartitionBuffer]) -> int | None:
        """See `Reading`: an instant at which all partitions ended at the read position."""
        if self._probe is None:
            if asked - self._probed_at >= self._probe_every:
                self._probed_at = now()
                self._probe = self._topics.ask_ends(part.name for part in parts)
            return None
        if not self._probe.done():
            return None
        ends, self._probe = self._probe.offsets(), None
        if ends is None or any(
            part.buffer or max(part.fetched, part.end) < ends[part.name] for part in parts
        ):
            return None
        return self._probed_at


_log = structlog.get_logger()
_FETCH = 1_000
# Buffered messages of a partition that is ahead of the others: just enough not to wait for it.
_AHEAD_BYTES = 8 << 20
_AHEAD = 20_000
# A batch of messages that are all nearly oversized would be a gigabyte.
_BATCH_BYTES = 4 << 20
_WARN = 10.0


def _stored(payload: list[Any]) -> StoredInput:
    records, entries, (files, topics, partitions) = payload
    return StoredInput(
        records,
        entries,
        [(path, place[0]) for path, place in files],
        dict(topics),
        [(topic, number, offset, latest) for topic, number, offset, latest in partitions],
    )


#: Snapshots of a source of topics. Version 1 had no digests of registry files.
KAFKA: Kind[StoredInput] = Kind("kafka", 2, {1: lambda payload: payload}, describe=_stored)


class KafkaReading(Reading):
    """Kafka input of a source.

    Args:
        consumer: unassigned consumer.
        parts: the partitions, in their order in the journal.
        files: merged registry files, read first.
        paths: paths of those files.
        topics: id of each topic.
        sentinel: monitor of the topics.
        follow: whether the input has no end.
        rows: makes events of the values of a topic, by topic; topics that are not in it hold events.
    """

    #: The engine's own pause after an empty batch, one millisecond, is short enough and costs little.
    poll = timedelta(0)

    def __init__(
        self,
        consumer: Consumer,
        parts: Sequence[PartitionBuffer],
        files: Merge,
        paths: Sequence[str],
        topics: dict[str, str],
        sentinel: TopicMonitor,
        *,
        follow: bool,
        rows: Mapping[str, LiveRows] = MappingProxyType({}),
    ) -> None:
        self._rows = rows
        self._consumer = consumer
        self._parts = list(parts)
        self._by_name = {part.name: part for part in parts}
        self._files: Merge | None = files if paths else None
        self._file_places = files
        self._paths = list(paths)
        self.names = [*paths, *(part.label for part in parts)]
        self._topics = topics
        self._sentinel = sentinel
        self._follow = follow
        self._committed: list[int] = []
        #: Partitions with a known next message, by (order, number), and partitions to examine.
        self._ready: list[tuple[int, int]] = []
        self._asked = list(range(len(parts)))
        self._waits_since: float | None = None
        consumer.assign([TopicPartition(*part.name, part.offset) for part in parts])

    @property
    def read(self) -> int:
        """Number of messages read or skipped, of all partitions."""
        return sum(part.offset for part in self._parts)

    @property
    def latest(self) -> int | None:
        """Largest timestamp read so far, None without any."""
        latest = max((part.arrivals.latest for part in self._parts), default=NEVER)
        return None if latest == NEVER else latest

    def unmatched(self) -> int:
        """Return the number of messages that no rule took, since the start of the process."""
        return sum(rows.unmatched for rows in self._rows.values())

    def lag(self) -> int | None:
        """Number of messages not yet read; None while unknown."""
        ends = [self._consumer.get_watermark_offsets(part.handle, cached=True)[1] for part in self._parts]
        if any(end < 0 for end in ends):
            return None
        return sum(max(0, end - part.offset) for part, end in zip(self._parts, ends, strict=True))

    def read_batch(self, batch: int, sequence: int, until: int | None = None) -> tuple[list[Item], list[Run]]:
        """See `Reading`; nothing while the next message is unknown."""
        if self._files is not None:
            items, runs = self._files.read_batch(batch, sequence)
            if items:
                return items, runs
            self._files.close()
            self._files = None
        self._sentinel.check()
        items, runs, room = [], [], _BATCH_BYTES
        known = self._stand()
        while len(items) < batch and room > 0 and known:
            number = self._ready[0][1]
            part = self._parts[number]
            if until is not None and part.due() > until:
                break
            heapq.heappop(self._ready)
            bound = self._ready[0] if self._ready else None
            start, records = part.offset, 0
            while part.buffer and len(items) < batch and room > 0:
                if (bound is not None and part.order(number) > bound) or (
                    until is not None and part.due() > until
                ):
                    break
                room -= len(part.buffer[0][2])
                items += self._items(part, sequence + len(items))
                records += 1
            runs.append(Run(len(self._paths) + number, start, part.offset, records))
            if part.buffer:
                heapq.heappush(self._ready, part.order(number))
            else:
                self._asked.append(number)
                known = self._stand()
        return items, runs

    def _stand(self) -> bool:
        """Whether the next message is known: then it is that of the first ready partition."""
        if any(not self._parts[number].buffer for number in self._asked):
            self._fetch()
        if any(self._parts[number].is_open for _, number in self._ready):
            self._fetch()
            self._ready = [self._parts[number].order(number) for _, number in self._ready]
            heapq.heapify(self._ready)
        left = []
        for number in self._asked:
            part = self._parts[number]
            if part.buffer:
                heapq.heappush(self._ready, part.order(number))
            else:
                left.append(number)
        self._asked = left
        unknown = [number for number in left if not self._parts[number].is_known_to_end(self._consumer)]
        self._note_waiting(unknown)
        return not unknown and bool(self._ready)

    def _note_waiting(self, unknown: list[int]) -> None:
        now = time.monotonic()
        if not unknown or self._waits_since is None:
            self._waits_since = now
        elif now - self._waits_since > _WARN:
            self._waits_since = now
            _log.warning(
                "waiting for partitions", partitions=[self._parts[number].label for number in unknown]
            )

    def _fetch(self) -> None:
        """Fetch the messages of the client."""
        for message in self._consumer.consume(_FETCH, 0):
            error = message.error()
            if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - named so by the client
                self._by_name[message.topic() or "", message.partition() or 0].add(message)
            else:
                self._refuse(error, message)
        for part in self._parts:
            ahead = part.bytes > _AHEAD_BYTES or len(part.buffer) > _AHEAD
            if ahead and not part.paused:
                self._consumer.pause([part.handle])
            elif part.paused and not part.buffer:
                self._consumer.resume([part.handle])
            else:
                continue
            part.paused = not part.paused

    def _refuse(self, error: KafkaError, message: Message) -> None:
        where = f"{message.topic()}/{message.partition()}"
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - named so by the client
            msg = (
                f"{where} has no offset {message.offset():,} any more: messages were deleted before they "
                "were read (retention), or the topic was created again. Start over with what is left "
                "(--fresh), and keep messages for longer than any stop lasts"
            )
            raise KafkaInputError(msg)
        if is_passing(error) or error.code() in {
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
            KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
        }:
            # The sentinel decides whether the topic is really gone.
            _log.warning("kafka", partition=where, error=error.name())
            return
        msg = f"{where} cannot be read: {error.str()}"
        raise KafkaInputError(msg)

    def _items(self, part: PartitionBuffer, sequence: int) -> list[Item]:
        """Take the next message of a partition as an item, or one of each event that rules make of it."""
        offset, stamp, value = part.pop()
        part.offset = offset + 1
        rows = self._rows.get(part.name[0])
        events = (decode(value),) if rows is None else rows.read(value, offset, offset) or ()
        for event in events:
            if isinstance(event, Reject):
                continue
            if stamp == NEVER:
                msg = f"{part.label}, offset {offset:,} has no timestamp, so nobody knows when it arrived"
                raise KafkaInputError(msg)
            force_setattr(event, "arrived", stamp)
        place = (part.label, offset, offset)
        return [Item(sequence + number, 0, None, 0, place, event) for number, event in enumerate(events, 1)]

    def repeat(self, runs: tuple[Run, ...], sequence: int) -> list[Item] | None:
        """See `Reading`."""
        own = [run for run in runs if run.partition >= len(self._paths)]
        if len(own) < len(runs):
            return self._file_places.repeat(runs, sequence)
        self._sentinel.check()
        if not self._has(own):
            self._fetch()
            if not self._has(own):
                return None
        items: list[Item] = []
        for run in own:
            part = self._parts[run.partition - len(self._paths)]
            for _ in range(run.records):
                items += self._items(part, sequence + len(items))
            # The last offsets may belong to messages that no reader sees.
            part.offset = run.end
        self._ready, self._asked = [], list(range(len(self._parts)))
        return items

    def _has(self, runs: Sequence[Run]) -> bool:
        """Whether all messages of runs were fetched.

        Raises:
            KafkaInputError: the partitions do not hold them.
        """
        wanted: dict[int, int] = {}
        for run in runs:
            number = run.partition - len(self._paths)
            part = self._parts[number]
            before = wanted.get(number, 0)
            wanted[number] = before + run.records
            if run.records == 0 or (
                len(part.buffer) >= wanted[number] and part.buffer[wanted[number] - 1][0] == run.end - 1
            ):
                continue
            if (before == 0 and part.offset != run.start) or max(part.fetched, part.end) >= run.end:
                msg = (
                    f"{part.label}: the order journal has {run.records:,} messages from offset "
                    f"{run.start:,} to {run.end:,}, which the partition does not hold any more (retention or "
                    "compaction)"
                )
                raise KafkaInputError(msg)
            return False
        return True

    def begins(self) -> tuple[Run, ...]:
        """First offsets of partitions new to this store, for the journal."""
        first = len(self._paths)
        return tuple(
            Run(first + number, part.offset, part.offset, 0)
            for number, part in enumerate(self._parts)
            if not part.known
        )

    def ended(self) -> bool:
        """See `Reading`."""
        return not self._follow and all(
            not part.buffer and part.is_known_to_end(self._consumer) for part in self._parts
        )

    def silent_since(self, asked: int) -> int | None:
        """See `Reading`; ask the cluster, since an absent broker looks like one without news."""
        if self._files is not None:
            return None
        return self._sentinel.silent_since(asked, self._parts)

    def due(self) -> int | None:
        """See `Reading`."""
        if self._files is not None or not self._stand():
            return None
        return self._parts[self._ready[0][1]].due()

    def state(self) -> Any:  # noqa: ANN401 - plain data
        """See `Reading`: places of files, ids of topics, offset and latest timestamp of each partition."""
        files = list(zip(self._paths, self._file_places.places(), strict=False)) if self._paths else []
        return files, self._topics, [(*part.name, part.offset, part.arrivals.latest) for part in self._parts]

    def committed(self, state: Any) -> None:  # noqa: ANN401 - what `state` returned
        """Commit the group's offsets to the cluster, for tools that show lag; a resume does not read them."""
        offsets = [place[2] for place in state[2]]
        if offsets == self._committed:
            return
        try:
            self._consumer.commit(
                offsets=[TopicPartition(topic, number, offset) for topic, number, offset, _ in state[2]],
                asynchronous=True,
            )
        except KafkaException as error:
            _log.warning("kafka: offsets of the group not committed", error=code_of(error))
        else:
            self._committed = offsets

    def close(self) -> None:
        """See `Reading`."""
        self._file_places.close()
        self._consumer.close()
