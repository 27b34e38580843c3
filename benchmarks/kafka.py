"""How fast the dataflow is from Kafka to Kafka, and how long a prediction takes, beside the engine's floor.

``python -m benchmarks.kafka`` starts a broker as the tests do (``KAFKA_BOOTSTRAP`` names another). The fleet
is that of `benchmarks.speed`; events come from a topic of 4 partitions, and rows go to topics of 3, in
transactions, with recovery on. The *floor* is a Bytewax program with the same source (which decodes) and sink
as ours, which counts by asset in one ``stateful_map``, and encodes.

*Throughput*: the topic is full before the run starts. Timed is from when the first rows stand in the topic of
predictions until all do, seen from outside, so the start of the run costs nothing; an epoch is 10 s.

*Latency*: events are sent at a steady rate by one process, which also reads predictions as a consumer that
sees only what is committed. Timed is from an event's timestamp until its prediction is in that consumer's
hands. Rows become visible at the end of the epoch, so half an epoch is in each median, and nearly a whole one
in the high percentiles; ``--epochs`` sets the time between commits. ``--parts latency`` measures it alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import bytewax.operators as op
import numpy as np
import orjson
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from rich.console import Console
from rich.table import Table

from benchmarks.speed import FLEET, SENSORS
from dataflows.connectors.ends import sink_of, source_of
from dataflows.engine.runtime import Runtime
from dataflows.failure_prediction import build
from dataflows.fleet import load
from dataflows.items import Item, Row
from dataflows.recovery.store import open_store, past_in
from dataflows.status import RunStatus
from tests.broker import brokers
from tests.chaos.harness import free_ports
from tests.processes import ROOT, environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ASSETS = 1_000
_MINUTE = 60_000
_PARTITIONS = 4
_START_MS = 1_735_689_600_000
#: Seconds in which events are sent that are not counted, since a program first loads what it has compiled.
_WARM = 8.0
#: Events that are sent before that, until the run has begun.
_FIRST = 10


def floor(fleet_file: str) -> Dataflow:
    """The engine's floor, with the source and the sink of the dataflow."""
    fleet, status, store = load(Path(fleet_file)), RunStatus(), Path(fleet_file).parent / "store"
    dataflow = Dataflow("floor")
    records = op.input("source", dataflow, source_of(fleet, status, store))
    by_asset = op.key_on("by_asset", records, lambda item: item.body.asset)
    counted = op.stateful_map("count", by_asset, _count)
    op.output("rows", op.map("encode", counted, lambda keyed: keyed[1]), sink_of(fleet, status, store))
    return dataflow


def _count(count: int | None, item: Item) -> tuple[int, tuple[str, Item]]:
    asset = item.body.asset
    count = (count or 0) + 1
    told = {"id": f"{asset}.{count}", "asset": asset, "count": count}
    row = Row("predictions", orjson.dumps(told))
    return count, (row.output, Item(item.sequence, 0, item.arrival, item.arrival or 0, item.position, row))


class Bench:
    """Topics, a fleet and a recovery store for one run.

    Args:
        bootstrap: of the broker.
        folder: of its own.
        follow: whether the run goes on until it is stopped.
    """

    def __init__(self, bootstrap: str, folder: Path, *, follow: bool) -> None:
        self.bootstrap = bootstrap
        self.name = f"bench-{uuid.uuid4().hex[:8]}"
        self.fleet = folder / "fleet.toml"
        # The source chooses its batches, as it does by default.
        text = FLEET.replace('files = ["recording.jsonl"]', f"follow = {str(follow).lower()}")
        text = text.replace("batch = 1000\n", "")
        text += f"""
[kafka]
bootstrap = "{bootstrap}"

[input.kafka]
topics = ["{self.name}.events"]

[output.kafka]
prefix = "{self.name}."
partitions = 3
"""
        self.fleet.write_text(text, encoding="utf-8")
        topics = [NewTopic(f"{self.name}.events", _PARTITIONS), NewTopic(f"{self.name}.predictions", 3)]
        admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        for made in admin.create_topics(topics).values():
            made.result(30)
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 2, "log_level": 0})

    def send(self, number: int, stamp: int) -> None:
        """Send the number-th event of the fleet: each asset in turn, a minute apart."""
        asset, minute = f"machine-{number % ASSETS:04}", number // ASSETS
        time_ms = _START_MS + minute * _MINUTE
        readings = {sensor: 50.0 + (number * (index + 7)) % 13 for index, sensor in enumerate(SENSORS)}
        event = {"kind": "telemetry", "asset": asset, "time": time_ms / 1_000, "readings": readings}
        while True:
            try:
                self._producer.produce(
                    f"{self.name}.events", orjson.dumps(event), asset.encode(), timestamp=stamp
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                break
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until all is delivered."""
        assert not self._producer.flush(60), "events were not delivered"

    @contextmanager
    def running(self, what: str, *, processes: int, epoch: float) -> Iterator[list[subprocess.Popen[bytes]]]:
        """A run, of one process or several; ended when the block ends."""
        store = self.fleet.parent / "store"
        with open_store(store, load(self.fleet)):
            """Made, and let go of: the run opens it itself."""
        command = [sys.executable, "-m", "benchmarks.kafka", "--child", what, str(self.fleet)]
        command += ["--epoch", str(epoch)]
        commands = [command]
        if processes > 1:
            made = "benchmarks.kafka:floor" if what == "floor" else "dataflows.failure_prediction:flow"
            command = [sys.executable, "-m", "bytewax.run", f"{made}({str(self.fleet)!r})"]
            command += ["-r", str(store), "-s", f"{epoch:.0f}", "-b", "0"]
            addresses = ";".join(f"127.0.0.1:{port}" for port in free_ports(processes))
            commands = [[*command, "-i", str(each), "-a", addresses] for each in range(processes)]
        with (self.fleet.parent / "run.log").open("ab") as told:
            running = [
                subprocess.Popen(each, env=environment(), cwd=ROOT, stdout=told, stderr=told)
                for each in commands
            ]
            try:
                yield running
                assert not any(process.poll() for process in running), self.said()
            finally:
                for process in running:
                    process.terminate()
                for process in running:
                    process.wait()

    def wait(self, running: Sequence[subprocess.Popen[bytes]]) -> None:
        """Send the first events, and wait until the run has written a row.

        They are of several assets, since their arrival lies years after their time: one asset alone is not
        believed (`max_arrival_jump`).
        """
        for number in range(_FIRST):
            self.send(number, int(time.time() * 1_000))
        self.flush()
        consumer = self.consumer("read_uncommitted")
        while not self.written(consumer):
            assert not any(process.poll() for process in running), self.said()
            time.sleep(0.1)
        consumer.close()

    def said(self) -> str:
        """The log of the run."""
        return (self.fleet.parent / "run.log").read_text()

    def consumer(self, isolation: str) -> Consumer:
        """One that sees all rows, or with "read_committed" what is committed."""
        return Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": self.name,
                "auto.offset.reset": "earliest",
                "isolation.level": isolation,
                "fetch.wait.max.ms": 10,
                "log_level": 0,
            }
        )

    def written(self, consumer: Consumer) -> int:
        """Rows in the topic of predictions, and the few marks of transactions."""
        parts = [TopicPartition(f"{self.name}.predictions", number) for number in range(3)]
        return sum(consumer.get_watermark_offsets(part, timeout=10)[1] for part in parts)


def throughput(bootstrap: str, what: str, processes: int, events: int, console: Console) -> float:
    """Events a second of one run over a topic that is full."""
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(bootstrap, Path(name), follow=False)
        for number in range(events):
            bench.send(number, _START_MS + number // ASSETS * _MINUTE)
        bench.flush()
        consumer = bench.consumer("read_uncommitted")
        first: tuple[float, int] | None = None
        with (
            bench.running(what, processes=processes, epoch=10.0) as running,
            console.status(f"{what}, processes {processes}") as status,
        ):
            while True:
                written, now = bench.written(consumer), time.perf_counter()
                status.update(f"{what}, processes {processes}: {written:,} of {events:,} rows")
                if first is None and written:
                    first = now, written
                if first is not None and written >= events:
                    break
                assert not any(process.poll() for process in running), bench.said()
                time.sleep(0.05)
            for process in running:
                process.wait(120)
        consumer.close()
    return (written - first[1]) / (now - first[0])


def latency(bootstrap: str, what: str, rate: int, seconds: float, epoch: float) -> list[float]:
    """Milliseconds from each event's timestamp until its prediction is read, at a steady rate."""
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(bootstrap, Path(name), follow=True)
        #: Timestamp of each event, and milliseconds until its prediction was read.
        found: list[tuple[int, float]] = []
        done = threading.Event()

        def read() -> None:
            consumer = bench.consumer("read_committed")
            consumer.subscribe([f"{bench.name}.predictions"])
            while not done.is_set():
                messages = consumer.consume(1_000, 0.05)
                now = time.time() * 1_000
                stamps = [each.timestamp()[1] for each in messages if each.error() is None]
                found.extend((stamp, now - stamp) for stamp in stamps)
            consumer.close()

        reader = threading.Thread(target=read)
        with bench.running(what, processes=1, epoch=epoch) as running:
            bench.wait(running)
            reader.start()
            start, sent = time.perf_counter(), _FIRST
            began = (time.time() + _WARM) * 1_000
            while (passed := time.perf_counter() - start) < _WARM + seconds:
                while sent < passed * rate:
                    bench.send(sent, int(time.time() * 1_000))
                    sent += 1
                time.sleep(0.001)
            bench.flush()
            time.sleep(3 * epoch + 2)
            done.set()
            reader.join()
    waited = [milliseconds for stamp, milliseconds in found if stamp >= began]
    expected = seconds * rate
    assert abs(len(waited) - expected) < 0.05 * expected + rate, (
        f"{len(waited):,} predictions were read of {expected:,.0f}: the run did not keep up"
    )
    return waited


def _child(what: str, fleet: Path, epoch: float) -> None:
    """A run of one process, which unlike Bytewax's own command takes epochs below a second."""
    store = fleet.parent / "store"
    loaded = load(fleet)
    with open_store(store, loaded) as recovery:
        runtime = Runtime(store=store, past=past_in(store, loaded))
        dataflow = floor(str(fleet)) if what == "floor" else build(loaded, runtime)
        cli_main(dataflow, epoch_interval=timedelta(seconds=epoch), recovery_config=recovery)


def main(arguments: list[str] | None = None) -> None:
    """Command line: both tables."""
    parser = argparse.ArgumentParser(description="Throughput and latency from Kafka to Kafka.")
    parser.add_argument("--events", type=int, default=300_000, help="of a run of throughput")
    parser.add_argument("--seconds", type=float, default=20.0, help="of a run of latency")
    parser.add_argument(
        "--epochs", type=float, nargs="*", default=[0.25], help="seconds between commits, for latency"
    )
    parser.add_argument("--rates", type=int, nargs="*", default=[100, 1_000, 10_000], help="events a second")
    parser.add_argument(
        "--parts", nargs="*", choices=["throughput", "latency"], default=["throughput", "latency"]
    )
    parser.add_argument("--epoch", type=float, default=1.0, help=argparse.SUPPRESS)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        _child(given.child[0], Path(given.child[1]), given.epoch)
        return
    console = Console()
    with tempfile.TemporaryDirectory() as name, brokers(Path(name)) as broker:
        console.print(f"broker: {broker.what}", highlight=False)
        if "throughput" in given.parts:
            console.print(_throughputs(broker.bootstrap, given.events, console))
        if "latency" in given.parts:
            for epoch in given.epochs:
                console.print(_latencies(broker.bootstrap, given.rates, given.seconds, epoch, console))


def _throughputs(bootstrap: str, events: int, console: Console) -> Table:
    table = Table("run", "processes", "events a second", title="Kafka to Kafka")
    table.columns[1].justify = table.columns[2].justify = "right"
    for what, processes in (("floor", 1), ("floor", 2), ("ours", 1), ("ours", 2)):
        rate = throughput(bootstrap, what, processes, events, console)
        table.add_row(what, str(processes), f"{rate:,.0f}")
    return table


def _latencies(bootstrap: str, rates: Sequence[int], seconds: float, epoch: float, console: Console) -> Table:
    title = f"Latency, commits every {epoch:g} s; milliseconds"
    columns = ("run", "events a second", "events", "p50", "p99", "p99.9", "most", "p99 / floor")
    table = Table(*columns, title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for rate in rates:
        floor_p99 = 0.0
        for what in ("floor", "ours"):
            with console.status(f"{what} at {rate:,} events a second"):
                found = latency(bootstrap, what, rate, seconds, epoch)
            points = np.percentile(found, [50, 99, 99.9, 100])
            floor_p99 = floor_p99 or points[1]
            figures = [f"{each:,.0f}" for each in points]
            table.add_row(what, f"{rate:,}", f"{len(found):,}", *figures, f"{points[1] / floor_p99:.2f}")
    return table


if __name__ == "__main__":
    main()
