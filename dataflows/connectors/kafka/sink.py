"""Write each output to a topic, in transactions, so that every row is there once.

By itself the engine repeats, after a kill, the rows since its last snapshot. Here

1. rows go into a transaction that is committed when the snapshot is taken, so a topic holds the rows of whole
   epochs, and of at most one epoch more than the recovery store;
2. a new run begins with ``init_transactions`` under the same transactional id: from then on its predecessor,
   if still alive, can commit nothing, and its open transaction is aborted; 3. it then reads back, as any
   reader of committed messages, the rows of the topic after the position of its snapshot, and 4. skips the
   rows that are there. With one process the same input gives the same rows, since the source repeats the
   order in its journal; so (sequence, part) identifies a row. With several processes the id of a prediction
   does, and the first publication wins: a row that is computed again, with another content, is counted as
   divergent.
"""

from __future__ import annotations

import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import msgspec
import structlog
from bytewax.outputs import StatefulSinkPartition
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from typing_extensions import override

from dataflows.connectors.kafka.client import (
    PATIENCE,
    Clients,
    KafkaOutputError,
    Patience,
    is_passing,
    patiently,
)
from dataflows.connectors.kafka.topics import Topics
from dataflows.connectors.sink import Sink, SummaryPartition, lineage_of
from dataflows.items import Item, Row
from dataflows.outputs import IDENTIFIED, OUTPUTS, identity
from dataflows.state.snapshots import Kind

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path

    from confluent_kafka import Message, Producer

    from dataflows.connectors.kafka.topics import Name, Topic
    from dataflows.fleet.fleet import Fleet, KafkaOutput
    from dataflows.status import RunStatus

__all__ = ["TOPIC", "KafkaSink", "StoredTopic", "Written", "identity_of", "read_back"]

_log = structlog.get_logger()
_FETCH = 1_000
#: Seconds without a message after which reading back fails.
_PATIENCE = 60.0
_WARN = 10.0


class _Identity(msgspec.Struct):
    id: str
    correction: int = 0


_identity = msgspec.json.Decoder(_Identity)


def identity_of(output: str, data: bytes, order: bytes) -> bytes:
    """Identity of a row that a topic holds: that of its type, see `OutputRow.identified`, else its place."""
    if output not in IDENTIFIED:
        return order
    found = _identity.decode(data)
    return identity(found.id, found.correction).encode()


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


#: Seconds that one attempt may block, and with it a signal.
_ATTEMPT = 2.0


class StoredTopic(NamedTuple):
    """What a store holds of an output topic.

    Attributes:
        id: id of the topic, None if it is not known.
        offsets: offset up to which its rows are known, by number of the partition.
        repeated: number of rows that were published before, and left out.
        divergent: number of those that differed.
    """

    id: str | None
    offsets: dict[int, int]
    repeated: int
    divergent: int


def _stored(payload: list[Any]) -> StoredTopic:
    known, offsets, _, repeated, divergent = payload
    return StoredTopic(known, offsets, repeated, divergent)


#: Snapshots of an output topic.
TOPIC: Kind[StoredTopic] = Kind("topic", 1, describe=_stored)


class _TopicPartition(StatefulSinkPartition[Item, bytes]):
    """One output, written to all partitions of its topic."""

    def __init__(self, sink: KafkaSink, output: str, resume: bytes | None) -> None:
        self._sink = sink
        self._output = output
        self.topic = sink.kafka.prefix + output
        #: Number of skipped rows since the store was new, and of those that differed.
        self.repeated = self.divergent = 0
        known, places, waiting = None, {}, {}
        if resume is not None:
            known, places, waiting, self.repeated, self.divergent = TOPIC.unseal(resume)
        found = sink.topic(self.topic, known)
        self._id = found.id
        self.parts = [(self.topic, number) for number in range(found.partitions)]
        self._producer = sink.fenced(output)
        #: Offset up to which a later resume need not read, by number of the partition.
        self.places: dict[int, int] = {}
        #: Rows of the topic that this run will compute again: checksum by identity.
        self._written = waiting | self._read_back(places, new=resume is None)
        self.is_open = False

    def _read_back(self, places: dict[int, int], *, new: bool) -> dict[bytes, int]:
        """Read rows written after the snapshot: checksum of each row by its identity."""
        bounds = self._sink.topics.bounds(self.parts)
        begin: dict[Name, int] = {}
        for name, (first, end) in bounds.items():
            place = places.get(name[1], first)
            if place > end:
                msg = (
                    f"{name[0]}/{name[1]} ends at offset {end:,}, the recovery store knows of {place:,}: "
                    "rows are gone. Restore the topic together with its store, or use new topics and start "
                    "over (--fresh)"
                )
                raise KafkaOutputError(msg)
            begin[name] = max(place, first)
        ends = {name: end for name, (_, end) in bounds.items()}
        written = Written(self._output, self._sink.lineage, strict=new)
        found = read_back(self._sink.clients, begin, ends, written)
        self.places = {number: end for (_, number), end in ends.items()}
        if found:
            _log.info("rows that were published before", topic=self.topic, rows=len(found))
        return found

    @override
    def write_batch(self, values: list[Item]) -> None:
        rejected = self._sink.status.rejected
        for item in values:
            reason = cast("Row", item.body).reason
            if reason is not None:
                rejected[reason] += 1
        if self._written:
            values = [item for item in values if not self._is_written(item)]
        if not values:
            return
        if not self.is_open:
            self._begin()
        for item in values:
            self._produce(item)
        self._producer.poll(0)
        self._sink.status.wrote(cast("Row", values[0].body).output, values[0].sequence, len(values))

    def _produce(self, item: Item) -> None:
        sink, row = self._sink, cast("Row", item.body)
        headers: list[tuple[str, str | bytes | None]] = [
            ("order", b"%d.%d" % (item.sequence, item.part)),
            sink.lineage_header,
        ]
        if row.id is not None:
            headers.append(("id", row.id))
        stamp = item.known // 1_000 if sink.with_arrival else 0
        while True:
            try:
                self._producer.produce(self.topic, row.data, row.key, timestamp=stamp, headers=headers)
            except BufferError:
                # Back-pressure: rows on their way have to arrive first.
                self._producer.poll(0.1)
            except KafkaException as error:
                raise self._failed(error) from error
            else:
                return

    def _is_written(self, item: Item) -> bool:
        """Whether an earlier run published the row; if so, forget it."""
        row = cast("Row", item.body)
        known = b"%d.%d" % (item.sequence, item.part) if row.identity is None else row.identity.encode()
        checksum = self._written.pop(known, None)
        if checksum is None:
            return False
        self.repeated += 1
        if checksum != zlib.crc32(row.data):
            self.divergent += 1
            _log.warning("resume_divergence", topic=self.topic, identity=known.decode())
        return True

    def _begin(self) -> None:
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            raise self._failed(error) from error
        self.is_open = True

    def commit(self) -> None:
        """Commit the transaction; wait for absent brokers.

        Raises:
            KafkaOutputError: a row cannot be written, another run took over, or brokers were away too long.
        """
        if not self.is_open:
            return
        what = f"commit rows of {self.topic}"
        try:
            patiently(
                self._sink.clients,
                what,
                self._try_to_commit,
                KafkaOutputError,
                patience=float("inf"),
            )
        except KafkaOutputError as error:
            if not isinstance(error.__cause__, KafkaException):
                raise
            raise self._failed(error.__cause__) from error
        self.is_open = False

    def _try_to_commit(self) -> None:
        if self._sink.given_up:
            msg = f"{self._sink.clients.away()}; given up"
            raise KafkaOutputError(msg)
        self._producer.commit_transaction(_ATTEMPT)

    def _failed(self, error: KafkaException) -> KafkaOutputError:
        """Make the error of a permanent failure, with its remedy."""
        found = error.args[0]
        where = (
            f"cannot write rows to the topic {self.topic} at {self._sink.clients.bootstrap}: {found.str()}"
        )
        if found.fatal():
            where += (
                ". Another run took over this topic, or brokers were away for longer than "
                "`transaction_timeout`; if no other run is meant to, run again: it goes on where this one "
                "stopped"
            )
        elif is_passing(found) or self._sink.clients.refusal:
            where += f"; {self._sink.clients.away()}. Run again when it is back: nothing is lost or repeated"
        else:
            where += ". Set it right and run again: nothing is lost or repeated"
        return KafkaOutputError(where)

    @override
    def snapshot(self) -> bytes:
        self._sink.commit()
        state = self._id, self.places, self._written, self.repeated, self.divergent
        return TOPIC.seal(state)

    @override
    def close(self) -> None:
        self._sink.commit()


class _Summary(SummaryPartition):
    """``summary.json``, with the counts of rows found in the topics at resumes."""

    def __init__(self, sink: KafkaSink) -> None:
        super().__init__(sink.folder / "summary.json")
        self._sink = sink

    @override
    def write_batch(self, values: list[Item]) -> None:
        found = {
            "resume_repeated": sum(part.repeated for part in self._sink.parts),
            "resume_divergence": sum(part.divergent for part in self._sink.parts),
        }
        self._summary["output"] = found
        super().write_batch(values)


class KafkaSink(Sink):
    """A topic for each output, and ``summary.json`` in the folder; items are keyed by output.

    Args:
        fleet: with topics as its output.
        status: of the run; counts rejected rows.
        lineage: returns the name of all runs on one recovery store, which identifies their rows; called when
            the sink first needs it.
        alone: whether one worker writes every output.
        patience: with the brokers.

    Raises:
        KafkaInputError: a secret is missing.
    """

    kind = TOPIC

    def __init__(
        self,
        fleet: Fleet,
        status: RunStatus,
        lineage: Callable[[], str],
        *,
        alone: bool = True,
        patience: Patience = PATIENCE,
    ) -> None:
        if fleet.output.kafka is None:
            msg = "the fleet's output is not Kafka"
            raise ValueError(msg)
        self.kafka: KafkaOutput = fleet.output.kafka
        self.folder = fleet.output.folder
        self.status = status
        self._find_lineage = lineage
        self._alone = alone
        # Arrivals of a recording are old: brokers would delete such messages by age.
        self.with_arrival = fleet.input.kafka is not None
        self.clients = Clients(fleet.kafka, patience)
        self.parts: list[_TopicPartition] = []
        #: Whether to stop waiting for absent brokers.
        self.given_up = False
        self._topics: Topics | None = None
        self._fenced: dict[str, Future[Producer]] = {}
        super().__init__()
        self._pool = ThreadPoolExecutor(len(OUTPUTS), "commit")

    @classmethod
    @override
    def of(cls, fleet: Fleet, status: RunStatus, store: Path | None, *, alone: bool) -> Self:
        return cls(fleet, status, partial(lineage_of, store), alone=alone)

    @cached_property
    def lineage(self) -> bytes:
        """Name of all runs on the recovery store."""
        return self._find_lineage().encode()

    @cached_property
    def lineage_header(self) -> tuple[str, str | bytes | None]:
        """Header of each message of the run."""
        return "run", self.lineage

    @property
    def topics(self) -> Topics:
        """Client made with the first topic, so that a process without topics needs no connection."""
        if self._topics is None:
            self._topics = Topics(self.clients, KafkaOutputError)
        return self._topics

    def topic(self, name: str, known: str | None) -> Topic:
        """Find a topic, or create it if that is allowed.

        Args:
            name: name of the topic.
            known: its id in the recovery store.

        Raises:
            KafkaOutputError: it does not exist, or is not that of the store.
        """
        found = self.topics.find([name])[name]
        if found is None and known is None and self.kafka.partitions is not None:
            self.topics.make(name, self.kafka.partitions)
            found = self.topics.find([name])[name]
        if found is None:
            msg = (
                f"there is no topic {name} at {self.clients.bootstrap}; make it, or set `partitions` under "
                "[output.kafka]"
            )
            raise KafkaOutputError(msg)
        if known is not None and known != found.id:
            msg = (
                f"the topic {name} was deleted and created again, so rows that the recovery store knows are "
                "gone; start over (--fresh)"
            )
            raise KafkaOutputError(msg)
        return found

    def fenced(self, output: str) -> Producer:
        """Make the writer of an output; earlier writers to its topic can commit nothing from now on."""
        if not self._fenced and self._alone:
            # Each takes a second, and no other worker could own one.
            self._fenced = {name: self._pool.submit(self._fence, name) for name in OUTPUTS}
        made = self._fenced.pop(output, None)
        return self._fence(output) if made is None else made.result()

    def _fence(self, output: str) -> Producer:
        topic, timeout = self.kafka.prefix + output, self.kafka.transaction_timeout // 1_000
        producer = self.clients.producer(f"highwater-{topic}", timeout)
        what = f"take over the topic {topic}"
        patiently(self.clients, what, lambda: producer.init_transactions(_ATTEMPT), KafkaOutputError)
        return producer

    def commit(self) -> None:
        """Commit the open transactions of all topics at once, since each waits for brokers' disks."""
        opened = [part for part in self.parts if part.is_open]
        if not opened:
            return
        try:
            list(self._pool.map(_TopicPartition.commit, opened))
        except BaseException:
            # A second Ctrl-C, or one of them failed permanently: do not wait for the others either.
            self.given_up = True
            raise
        # Without an answer a resume reads back more than it needs, and ignores it.
        ends = self.topics.ends([name for part in opened for name in part.parts])
        for part in opened if ends else ():
            part.places = {number: ends[topic, number] for topic, number in part.parts}

    @override
    def open(self, output: str, state: bytes | None) -> StatefulSinkPartition[Item, Any]:
        part = _TopicPartition(self, output, state)
        self.parts.append(part)
        return part

    @override
    def open_summary(self) -> SummaryPartition:
        self.folder.mkdir(parents=True, exist_ok=True)
        return _Summary(self)
