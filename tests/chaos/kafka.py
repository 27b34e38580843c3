"""Kafka under fire: a dataflow from topic to topics is killed, and so is the broker.

    python -m tests.chaos.kafka --seed 7 --kills 30 --broker-kills 3

Telemetry, failures and maintenance come at a steady rate in one topic, keyed by asset. The dataflow is killed
with -9 at moments drawn by chance, the broker is killed and started again. In the end the topics of the
outputs have to hold what an unbroken replay of the order journal gives, row by row, and nothing twice.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from dataflows.instants import parse_instant
from dataflows.items import OUTPUTS
from tests.broker import brokers
from tests.chaos.harness import PATIENCE, ROOT, arguments, dataflows, environment, eventually, outputs
from tests.chaos.test_live import FLEET, latest, read, recorded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.broker import Broker

__all__ = [
    "Message",
    "Producing",
    "Rig",
    "assert_topics_equal_replay",
    "chaos",
    "divergence",
    "messages",
    "raw_messages",
    "topic_rows",
]

_END = KafkaError._PARTITION_EOF
#: Records a second, of which one of the stream's own seconds has about seven.
RATE = 700


@dataclass(frozen=True)
class Message:
    """One record on its way into a topic."""

    key: bytes
    value: bytes
    milliseconds: int


def messages(folder: Path, seconds: int, seed: int) -> list[Message]:
    """What a fleet of pumps sends, telemetry and reports, broken records too, by arrival."""
    found = []
    arrived = 0
    for path in recorded(folder, seconds, seed):
        for line in path.read_bytes().splitlines():
            key = line.partition(b'"asset":"')[2].partition(b'"')[0]
            if line.endswith(b"}"):
                arrived = parse_instant(orjson.loads(line)["arrived"]) // 1_000
            found.append(Message(key, line, arrived))
    found.sort(key=lambda message: message.milliseconds)
    return found


class Producing(threading.Thread):
    """Sends messages at a steady rate, in the background.

    Attributes:
        sent: how many were handed to the client.
    """

    def __init__(self, bootstrap: str, topic: str, found: Sequence[Message], rate: float) -> None:
        super().__init__(daemon=True)
        self._topic = topic
        self._messages = found
        self._rate = rate
        self._producer = Producer({
            "bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 2, "log_level": 0
        })  # fmt: skip
        self.sent = 0
        self.failed: list[Any] = []

    def run(self) -> None:
        """Until all are delivered."""
        begun = time.monotonic()
        for number, message in enumerate(self._messages):
            ahead = number / self._rate - (time.monotonic() - begun)
            if ahead > 0.01:
                time.sleep(ahead)
            self._producer.produce(
                self._topic,
                message.value,
                message.key,
                timestamp=message.milliseconds,
                on_delivery=lambda error, _: self.failed.append(error) if error else None,
            )
            self._producer.poll(0)
            self.sent = number + 1
        if self._producer.flush(PATIENCE):
            self.failed.append("not delivered in time")


@dataclass
class Rig:
    """A fleet from topic to topics.

    Attributes:
        fleet: its ``fleet.toml``.
        bootstrap: address of the broker.
        name: prefix of its topics.
    """

    folder: Path
    bootstrap: str
    name: str
    partitions: int = 4
    settings: str = ""
    follow: bool = True
    more: dict[str, str] = field(default_factory=dict)

    @property
    def fleet(self) -> Path:
        return self.folder / "fleet.toml"

    @property
    def topic(self) -> str:
        return f"{self.name}.events"

    def make(self) -> None:
        """Write the fleet and make the topic of its input."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = FLEET.replace('files = ["telemetry.jsonl", "reports.jsonl"]\n', "")
        if not self.follow:
            text = text.replace("follow = true", "follow = false")
        kafka = f"""
[kafka]
bootstrap = "{self.bootstrap}"

[input.kafka]
topics = ["{self.topic}"]
{self.settings}

[output.kafka]
prefix = "{self.name}.out."
partitions = 3
"""
        self.fleet.write_text(text + kafka, encoding="utf-8")
        make_topic(self.bootstrap, self.topic, self.partitions)

    @contextmanager
    def running(self, *, batch: int = 100, module: str = "dataflows") -> Iterator[subprocess.Popen[bytes]]:
        """A run, killed at the end of the block if it still goes on."""
        command = [sys.executable, "-m", module, *arguments(self.fleet)]
        with (self.folder / "run.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=environment(FLEET_BATCH=str(batch), **self.more),
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def log(self) -> str:
        """What the runs said."""
        return (self.folder / "run.log").read_text()

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """End a run by SIGTERM, at an epoch boundary."""
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, self.log()

    def finish(self, total: int) -> None:
        """Run until all records were read and are in the recovery store, then stop."""
        with self.running() as process:
            eventually(lambda: read(self.fleet) + records_of_last(self.fleet) >= total, process)
            eventually(self.has_committed_all, process)
            self.stop(process)

    def has_committed_all(self) -> bool:
        """Whether the offsets of the group, told after the snapshot that holds them, are the ends."""
        consumer = _consumer(self.bootstrap, "highwater-live")
        parts = [TopicPartition(self.topic, number) for number in range(self.partitions)]
        ends = [consumer.get_watermark_offsets(part, timeout=10)[1] for part in parts]
        found = [part.offset for part in consumer.committed(parts, timeout=10)]
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


def records_of_last(fleet: Path) -> int:
    """Records of the last entry of the journal."""
    last = latest(fleet)
    if not last or isinstance(last[-1].chosen, int):
        return 0
    return sum(run[3] for run in last[-1].chosen)


def make_topic(bootstrap: str, topic: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for future in admin.create_topics(
        [NewTopic(topic, partitions, 1, config={"retention.ms": "-1"})]
    ).values():
        future.result()


def topic_rows(bootstrap: str, topic: str) -> list[tuple[tuple[int, int], bytes, str | None]]:
    """All committed rows of a topic."""
    rows = []
    for message in _read(bootstrap, topic):
        headers = dict(message.headers())
        sequence, _, part = headers["order"].decode().partition(".")
        found = headers.get("id")
        rows.append(((int(sequence), int(part)), message.value(), found and found.decode()))
    return sorted(rows)


def raw_messages(bootstrap: str, topic: str) -> list[tuple[bytes | None, bytes, int]]:
    """Key, value and timestamp of all messages of a topic."""
    return [(each.key(), each.value(), each.timestamp()[1]) for each in _read(bootstrap, topic)]


def _consumer(bootstrap: str, group: str = "tests") -> Consumer:
    return Consumer({
        "bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False,
        "isolation.level": "read_committed", "enable.partition.eof": True, "auto.offset.reset": "error",
        "log_level": 0,
    })  # fmt: skip


def _read(bootstrap: str, topic: str) -> list[Any]:
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


def assert_topics_equal_replay(rig: Rig) -> dict[str, int]:
    """Every topic holds exactly the rows of a replay of the journal; returns how many."""
    journal = str(rig.folder / "store" / "journal")
    ran = dataflows(
        "replay",
        "--fleet",
        str(rig.fleet),
        "--out",
        str(rig.folder / "again"),
        "--journal",
        journal,
        "--fresh",
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    expected = outputs(rig.folder / "again")
    counts = {}
    for name in OUTPUTS:
        rows = rig.written(name)
        places = [place for place, _, _ in rows]
        twice = {place for place, following in pairwise(places) if place == following}
        assert not twice, f"{name}: {len(twice)} rows are there twice, the first {min(twice)}"
        if name == "predictions":
            ids = [found for _, _, found in rows]
            assert None not in ids
            assert len(set(ids)) == len(ids), "a prediction id is there twice"
        lines = expected[name].splitlines()
        differing = next((n for n, (a, b) in enumerate(zip(rows, lines, strict=False)) if a[1] != b), None)
        assert differing is None, f"{name}, row {differing}:\n{rows[differing][1]!r}\n{lines[differing]!r}"
        assert len(rows) == len(lines), f"{name}: {len(rows)} rows in the topic, {len(lines)} of the replay"
        counts[name] = len(rows)
    return counts


def divergence(rig: Rig) -> dict[str, int]:
    """What the last run's summary says of rows that were there before."""
    summary: dict[str, Any] = orjson.loads((rig.folder / "out" / "summary.json").read_bytes())
    found: dict[str, int] = summary["output"]
    return found


def chaos(
    folder: Path, broker: Broker, *, seed: int, kills: int, broker_kills: int, rate: float = RATE
) -> dict[str, Any]:
    """Run, kill, compare; returns what happened."""
    chance = random.Random(seed)
    rig = Rig(folder, broker.bootstrap, f"chaos{seed}-{time.time_ns()}")
    rig.make()
    found = messages(folder, 60 + 60 * kills + 60 * broker_kills, seed)
    producing = Producing(broker.bootstrap, rig.topic, found, rate)
    producing.start()
    what = ["run"] * kills + ["broker"] * broker_kills
    chance.shuffle(what)
    begun = time.monotonic()
    while what:
        with rig.running(batch=chance.choice([1, 20, 200])) as process:
            goal = read(rig.fleet) + chance.randrange(20, 300)
            eventually(lambda goal=goal: read(rig.fleet) > min(goal, len(found) - 300), process)
            time.sleep(chance.random() / 5)
            while what and what[0] == "broker":
                what.pop(0)
                broker.kill()
                time.sleep(chance.random() * 2)
                broker.start()
                time.sleep(chance.random())
            assert process.poll() is None, rig.log()
            if what:
                what.pop(0)
    producing.join()
    assert not producing.failed, producing.failed[:3]
    rig.finish(len(found))
    seconds = time.monotonic() - begun
    counts = assert_topics_equal_replay(rig)
    told = divergence(rig)
    assert told["resume_divergence"] == 0, told
    return {
        "broker": broker.what,
        "seed": seed,
        "records": len(found),
        "rows": counts,
        "seconds": round(seconds),
        **told,
    }


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--broker-kills", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, brokers(Path(folder) / "broker") as broker:
        kills = {"kills": asked.kills, "broker_kills": asked.broker_kills}
        print(orjson.dumps(chaos(Path(folder) / "run", broker, seed=asked.seed, **kills)).decode())  # noqa: T201


if __name__ == "__main__":
    main()
