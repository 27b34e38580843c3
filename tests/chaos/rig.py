"""A fleet from topic to topics, a load that goes into them at a steady rate, and what then lies in them."""

from __future__ import annotations

import random
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from dataflows.fleet import load
from dataflows.instants import format_instant, parse_instant
from dataflows.outputs import OUTPUTS
from dataflows.recovery.store import open_store
from tests.chaos.harness import arguments, eventually, free_ports
from tests.chaos.live import FLEET, SECOND, START, latest, recorded
from tests.processes import PATIENCE, environment, start

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.processes import Process

__all__ = [
    "LAYOUTS",
    "Message",
    "Producing",
    "Rig",
    "consumed",
    "make_topic",
    "messages",
    "raw_messages",
    "send",
    "topic_rows",
]

#: Topics of the input: all kinds of records in one, or failures and weather in topics of their own.
LAYOUTS = {"one": ("events",), "many": ("events", "failures", "weather")}
_END = KafkaError._PARTITION_EOF
_HALLS = 3
_SEEN = """
[classes.pump.weather]
values = ["temperature"]
max_age = "20s"

"""


@dataclass(frozen=True)
class Message:
    """One record on its way into a topic, one of those of its `LAYOUTS`."""

    key: bytes
    value: bytes
    milliseconds: int
    topic: str = "events"


def messages(folder: Path, seconds: int, seed: int, layout: str = "one") -> list[Message]:
    """What a fleet of pumps sends, telemetry and reports, broken records too, by arrival."""
    found = []
    arrived = 0
    for path in recorded(folder, seconds, seed):
        for line in path.read_bytes().splitlines():
            key = line.partition(b'"asset":"')[2].partition(b'"')[0]
            if line.endswith(b"}"):
                arrived = parse_instant(orjson.loads(line)["arrived"]) // 1_000
            found.append(Message(key, line, arrived))
    if layout == "many":
        found = [_apart(message) for message in found] + _weather(seconds, seed)
    found.sort(key=lambda message: message.milliseconds)
    return found


def _apart(message: Message) -> Message:
    """A failure in the topic of failures; telemetry says where the pump is."""
    if b'"kind":"failure"' in message.value:
        return replace(message, topic="failures")
    hall = b'"site":"hall-%d","readings"' % (int(message.key.rpartition(b"-")[2] or 0) % _HALLS)
    return replace(message, value=message.value.replace(b'"readings"', hall))


def _weather(seconds: int, seed: int) -> list[Message]:
    """What it is like in the halls: on time, late, forecast and observed."""
    chance = random.Random(seed)
    found = []
    for second in range(0, seconds, 3):
        for hall in range(_HALLS):
            valid = START + second * SECOND + chance.randrange(SECOND)
            arrived = valid + chance.choice([-4_000, 10, 10, 300, 2_500]) * SECOND // 1_000
            row = {
                "kind": "weather",
                "site": f"hall-{hall}",
                "time": format_instant(valid),
                "values": {"temperature": round(chance.gauss(20, 5), 2)},
                "arrived": format_instant(arrived),
            }
            if chance.random() < 0.5:
                row["issued"] = format_instant(arrived - SECOND // 100)
            found.append(Message(b"hall-%d" % hall, orjson.dumps(row), arrived // 1_000, "weather"))
    return found


class Producing(threading.Thread):
    """Sends messages to the topics of a rig at a steady rate, in the background.

    Attributes:
        sent: how many were handed to the client.
    """

    def __init__(self, rig: Rig, found: Sequence[Message], rate: float) -> None:
        super().__init__(daemon=True)
        self._rig = rig
        self._messages = found
        self._rate = rate
        self._producer = Producer({
            "bootstrap.servers": rig.bootstrap, "enable.idempotence": True, "linger.ms": 2, "log_level": 0
        })  # fmt: skip
        self._ending = threading.Event()
        self._failed: list[Any] = []
        self.sent = 0

    def run(self) -> None:
        """Until all are delivered, or those sent before the end."""
        begun = time.monotonic()
        for number, message in enumerate(self._messages):
            ahead = number / self._rate - (time.monotonic() - begun)
            if ahead > 0.01:
                self._ending.wait(ahead)
            if self._ending.is_set():
                break
            self._producer.produce(
                self._rig.topic(message.topic),
                message.value,
                message.key,
                timestamp=message.milliseconds,
                on_delivery=lambda error, _: self._failed.append(error) if error else None,
            )
            self._producer.poll(0)
            self.sent = number + 1
        if self._producer.flush(PATIENCE):
            self._failed.append("not delivered in time")

    def end(self) -> None:
        """Send no more."""
        self._ending.set()

    def done(self) -> None:
        """Wait until all are delivered.

        Raises:
            AssertionError: some are not.
        """
        self.join()
        assert not self._failed, self._failed[:3]


def send(rig: Rig, found: Sequence[Message]) -> None:
    """Send messages as fast as they go, and wait until they are delivered."""
    producing = Producing(rig, found, rate=1_000_000)
    producing.start()
    producing.done()


@dataclass
class Rig:
    """A fleet from topic to topics.

    Attributes:
        bootstrap: address of the broker.
        name: prefix of its topics.
        partitions: of each topic of its input.
        layout: one of `LAYOUTS`.
        follow: whether a run goes on until it is stopped.
        more: environment of its runs.
    """

    folder: Path
    bootstrap: str
    name: str
    partitions: int = 4
    layout: str = "one"
    follow: bool = True
    more: dict[str, str] = field(default_factory=dict)

    @property
    def fleet(self) -> Path:
        """Its ``fleet.toml``."""
        return self.folder / "fleet.toml"

    @property
    def topics(self) -> list[str]:
        """Those of its input."""
        return [self.topic(each) for each in LAYOUTS[self.layout]]

    def topic(self, name: str) -> str:
        """A topic of its input."""
        return f"{self.name}.{name}"

    def make(self) -> None:
        """Write the fleet and make the topics of its input."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = FLEET.replace('files = ["telemetry.jsonl", "reports.jsonl"]\n', "")
        if not self.follow:
            text = text.replace("follow = true", "follow = false")
        if "weather" in LAYOUTS[self.layout]:
            text = text.replace("[[classes.pump.windows]]", _SEEN + "[[classes.pump.windows]]")
        kafka = f"""
[kafka]
bootstrap = "{self.bootstrap}"

[input.kafka]
topics = {self.topics}

[output.kafka]
prefix = "{self.name}.out."
"""
        self.fleet.write_text(text + kafka, encoding="utf-8")
        for topic in self.topics:
            make_topic(self.bootstrap, topic, self.partitions)
        # The times of all rows are long past: brokers would delete topics of their own making.
        for output in OUTPUTS:
            make_topic(self.bootstrap, f"{self.name}.out.{output}", 3)

    @contextmanager
    def running(self, *, batch: int = 100, module: str = "dataflows") -> Iterator[Process]:
        """A run, killed at the end of the block if it still goes on."""
        process = self._begun([module, *arguments(self.fleet)], batch)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    @contextmanager
    def alone(self, *, batch: int) -> Iterator[list[Process]]:
        """As `running`, as a list of one."""
        with self.running(batch=batch) as process:
            yield [process]

    @contextmanager
    def cluster(self, processes: int, *, batch: int = 100, epoch: int = 0) -> Iterator[list[Process]]:
        """Processes of one run by Bytewax's own command, killed at the end of the block if they still go on.

        Args:
            processes: how many.
            batch: records at once.
            epoch: seconds from one snapshot to the next; 0 for one after every batch.
        """
        store = self.folder / "store"
        with open_store(store, load(self.fleet, environ={})):
            # Bytewax's own command wants one that is there.
            pass
        flow = f"dataflows.failure_prediction:flow({str(self.fleet)!r})"
        command = ["bytewax.run", flow, "-r", str(store), "-s", str(epoch), "-b", "0"]
        addresses = ";".join(f"127.0.0.1:{port}" for port in free_ports(processes))
        running = [
            self._begun([*command, "-i", str(number), "-a", addresses], batch) for number in range(processes)
        ]
        try:
            yield running
        finally:
            for process in running:
                process.kill()
            for process in running:
                process.wait()

    def _begun(self, command: list[str], batch: int) -> Process:
        env = environment(FLEET_BATCH=str(batch), **self.more)
        return start(*command, env=env, out=self.folder / "run.log")

    def log(self) -> str:
        """What the runs said."""
        return (self.folder / "run.log").read_text()

    def stop(self, process: Process) -> None:
        """End a run by SIGTERM, at an epoch boundary."""
        process.send_signal(signal.SIGTERM)
        code = process.wait(PATIENCE)
        assert code == 0, f"exit {code}\n{self.log()}"

    def finish(self, found: Sequence[Message]) -> None:
        """Run until all records were read and are in the recovery store, then stop.

        Args:
            found: all of them; the last is not yet in its topic. A run takes it only after it has repeated
                all that the journal holds, ticks too, which nothing else would tell from outside.
        """
        with self.running() as process:
            send(self, found[-1:])
            try:
                eventually(lambda: self.chosen() >= len(found), process)
                eventually(self.has_committed_all, process)
            except AssertionError as error:
                said = (self.folder / "out" / "log.jsonl").read_text()[-3_000:]
                msg = (
                    f"{error}: {self.chosen()} of {len(found)} records chosen\n{self.log()[-2_000:]}\n{said}"
                )
                raise AssertionError(msg) from error
            self.stop(process)

    def chosen(self) -> int:
        """Records that the journal has, those of its last entry too."""
        last = latest(self.fleet)
        if not last:
            return 0
        runs = () if isinstance(last[-1].chosen, int) else last[-1].chosen
        return last[-1].sequence + sum(run[3] for run in runs)

    def has_committed_all(self) -> bool:
        """Whether the offsets of the group, told after the snapshot that holds them, are the ends."""
        consumer = _consumer(self.bootstrap, "highwater-live")
        parts = [TopicPartition(topic, n) for topic in self.topics for n in range(self.partitions)]
        ends = {(p.topic, p.partition): consumer.get_watermark_offsets(p, timeout=10)[1] for p in parts}
        found = {(p.topic, p.partition): max(p.offset, 0) for p in consumer.committed(parts, timeout=10)}
        consumer.close()
        return found == ends

    def ends(self, output: str) -> int:
        """Where the partitions of a topic end, added up; 0 of one that does not exist yet."""
        consumer = _consumer(self.bootstrap)
        topic = f"{self.name}.out.{output}"
        known = consumer.list_topics(timeout=10).topics
        parts = [TopicPartition(topic, n) for n in known[topic].partitions] if topic in known else []
        total = sum(consumer.get_watermark_offsets(part, timeout=10)[1] for part in parts)
        consumer.close()
        return total

    def written(self, output: str) -> list[tuple[tuple[int, int], bytes, str | None]]:
        """Rows of a topic, by their place in the order of effect, with it and the header ``id``."""
        return topic_rows(self.bootstrap, f"{self.name}.out.{output}")


def make_topic(bootstrap: str, topic: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for future in admin.create_topics(
        [NewTopic(topic, partitions, 1, config={"retention.ms": "-1"})]
    ).values():
        future.result()


def topic_rows(bootstrap: str, topic: str) -> list[tuple[tuple[int, int], bytes, str | None]]:
    """All committed rows of a topic."""
    rows = []
    for message in consumed(bootstrap, topic):
        headers = dict(message.headers())
        sequence, _, part = headers["order"].decode().partition(".")
        found = headers.get("id")
        rows.append(((int(sequence), int(part)), message.value(), found and found.decode()))
    return sorted(rows)


def raw_messages(bootstrap: str, topic: str) -> list[tuple[bytes | None, bytes, int]]:
    """Key, value and timestamp of all messages of a topic."""
    return [(each.key(), each.value(), each.timestamp()[1]) for each in consumed(bootstrap, topic)]


def _consumer(bootstrap: str, group: str = "tests") -> Consumer:
    return Consumer({
        "bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False,
        "isolation.level": "read_committed", "enable.partition.eof": True, "auto.offset.reset": "error",
        "log_level": 0,
    })  # fmt: skip


def consumed(bootstrap: str, topic: str) -> list[Any]:
    """All committed messages of a topic; none of one that does not exist."""
    consumer = _consumer(bootstrap)
    known = consumer.list_topics(timeout=10).topics
    left = set(known[topic].partitions) if topic in known else set()
    consumer.assign([TopicPartition(topic, number, 0) for number in left])
    found = []
    deadline = time.monotonic() + PATIENCE
    while left:
        assert time.monotonic() < deadline, f"{topic}: no end of partitions {left}"
        for message in consumer.consume(1_000, 0.2):
            if message.error() is None:
                found.append(message)
            elif message.error().code() == _END:
                # Committed is visible a moment later: the end is where nothing is open any more.
                part = TopicPartition(topic, message.partition())
                if message.offset() >= consumer.get_watermark_offsets(part, timeout=10)[1]:
                    left.discard(message.partition())
    consumer.close()
    return found
