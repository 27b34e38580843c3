"""What a recovery store costs: how long a snapshot holds the input up, and how long a resume takes.

``python -m benchmarks recovery`` runs the class of ``benchmarks.speed`` (four sensors, three windows, all
statistics, three models) over 1,000, 10,000 and 100,000 assets, each in processes of their own, with the
partitions that the product chooses. The assets send in turn, an hour apart.

- *Pause*: the longest time in which the source is not asked for records at the end of an epoch. With small
  batches that is the snapshot and its commit. First that of an epoch of 10 s, the engine's default, in which
  as many assets sent as could in that time, and all of those are written; then, on the same store, the
  median of epochs of a second in which 1,000 sent.
- *Resume*: from the start of a process on the store to the first row that it writes, with what that
  consists of: starting Python and checking the whole store before anything is touched, and the engine's
  loading of it up to that row. The process imports what ``python -m dataflows run`` does, compiled by an
  earlier start. On a busy machine its processor time tells more.

The store is in the page cache, as after a kill; after a restart of the host it has to be read from the disk.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from bytewax.run import cli_main
from rich.console import Console
from rich.table import Table

from benchmarks.speed import FLEET, SENSORS
from dataflows import steps
from dataflows.connectors.file_sink import RowsPartition
from dataflows.connectors.source import LanePartition
from dataflows.deferred import defer_all
from dataflows.engine.runtime import Runtime, collecting_rarely
from dataflows.failure_prediction import build
from dataflows.fleet import load
from dataflows.instants import MICROSECONDS, format_instant, parse_instant
from dataflows.recovery.store import open_store, stored_parts
from dataflows.status import RunStatus

__all__ = ["Pauses", "main", "measure", "record"]

#: The bar: seconds in which a run on a store of so many assets has written its first row.
ASSETS, RESUME = 100_000, 20.0
AWAKE = 1_000
_START = parse_instant("2025-01-01T00:00:00Z")

Measured = dict[str, Any]


def record(path: Path, assets: int, records: int) -> None:
    """Append records of assets that send in turn, an hour apart, to a recording."""
    random = np.random.default_rng(7)
    with path.open("a+b") as lines:
        lines.seek(0)
        begun = sum(1 for _ in lines)
        for number in range(begun, begun + records):
            round_, asset = divmod(number, assets)
            time = _START + round_ * MICROSECONDS["h"] + asset
            readings = dict(
                zip(SENSORS, np.round(random.normal(50.0, 5.0, len(SENSORS)), 3).tolist(), strict=True)
            )
            event = {"kind": "telemetry", "asset": f"m-{asset:06}", "time": format_instant(time)}
            lines.write(orjson.dumps(event | {"readings": readings}, option=orjson.OPT_APPEND_NEWLINE))


class Pauses:
    """Times in which the source was not asked for records, at each end of an epoch.

    Attributes:
        seconds: by epoch; the last, in which the input ends, is not among them.
        processor: seconds of the processor in each of them.
        records: read by each of those ends.

    Args:
        status: of the run: its records, and the request to stop.
        epochs: after which it stops.
        most: records in an epoch.
    """

    def __init__(self, status: RunStatus, epochs: int, most: int) -> None:
        self.seconds: list[float] = []
        self.processor: list[float] = []
        self.records: list[int] = []
        self._status = status
        self._epochs = epochs
        self._returned: tuple[float, float] | None = None
        self._snapped = False
        self._longest = 0.0, 0.0
        self._most = most
        self._begun: int | None = None

    def full(self) -> bool:
        """Whether there are to be no more records in this epoch."""
        return self._begun is not None and self._status.records - self._begun >= self._most

    def asked(self) -> None:
        """The source is asked for records."""
        if self._returned is not None:
            wall, used = self._returned
            gap = time.perf_counter() - wall, time.process_time() - used
            self._longest = max(self._longest, gap)

    def answered(self) -> None:
        """It has given some."""
        self._returned = time.perf_counter(), time.process_time()
        if self._snapped or self._begun is None:
            self._begun = self._status.records
        if self._snapped:
            self._snapped = False
            self.seconds.append(self._longest[0])
            self.processor.append(self._longest[1])
            self.records.append(self._status.records)
            self._status.stop = len(self.seconds) >= self._epochs
        self._longest = 0.0, 0.0

    def snapped(self) -> None:
        """It has taken its snapshot."""
        self._snapped = True


def run(folder: Path, epoch: float, epochs: int, most: int) -> Measured:
    """Run the fleet in a folder on its store until so many epochs have ended, or the input."""
    status = RunStatus()
    pauses = Pauses(status, epochs, most)
    first: list[tuple[float, float]] = []
    ask, snapshot, write = LanePartition.next_batch, LanePartition.snapshot, RowsPartition.write_batch

    def next_batch(self: LanePartition) -> Any:  # noqa: ANN401
        pauses.asked()
        try:
            return [] if pauses.full() else ask(self)
        finally:
            pauses.answered()

    def snapped(self: LanePartition) -> bytes:
        pauses.snapped()
        return snapshot(self)

    def write_batch(self: RowsPartition, values: list[Any]) -> None:
        write(self, values)
        if not first:
            first.append((time.time(), time.process_time()))

    LanePartition.next_batch = next_batch
    LanePartition.snapshot = snapped
    RowsPartition.write_batch = write_batch
    fleet = load(folder / "fleet.toml")
    with open_store(folder / "recovery", fleet) as recovery, collecting_rarely():
        checked = time.time()
        stored = stored_parts(folder / "recovery", steps.LANE)
        cli_main(
            build(fleet, Runtime(status=status, stored=stored)),
            epoch_interval=timedelta(seconds=epoch),
            recovery_config=recovery,
        )
    return {
        "checked": checked,
        "first": first[0][0],
        "processor": first[0][1],
        "pauses": pauses.seconds,
        "paused": pauses.processor,
        "records": pauses.records,
    }


def compiling() -> dict[str, str]:
    """Return an environment in which Python keeps what it compiles, as it does where nobody forbids it."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _child(folder: Path, epoch: float, epochs: int, most: int) -> Measured:
    """One run in a process of its own, with what it took from its start."""
    command = [sys.executable, "-m", "benchmarks.recovery", "--child", str(folder)]
    command += ["--epoch", str(epoch), "--epochs", str(epochs), "--most", str(most)]
    began = time.time()
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=compiling()
    )
    found = orjson.loads(done.stdout.splitlines()[-1])
    return {**found, "checked": found["checked"] - began, "first": found["first"] - began}


def measure(assets: int, records: int, epoch: float) -> Measured:
    """Pauses and resume of a fleet.

    Args:
        assets: that send in turn.
        records: of the recording, more than are read in two epochs.
        epoch: seconds.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = FLEET.replace("[assets]", "[assets]\nmax_assets = 1_000_000")
        (folder / "fleet.toml").write_text(text.replace("batch = 1000", "batch = 100"))
        record(folder / "recording.jsonl", assets, records)
        filled = _child(folder, epoch, records, records)
        # All was read; what follows wakes some of the assets only.
        record(folder / "recording.jsonl", assets, 12 * AWAKE)
        resumed = _child(folder, 1.0, 8, AWAKE)
        ends = [0, *filled["records"]]
        epochs = zip(filled["pauses"], ends, ends[1:], strict=False)
        awake, pause = max(((min(assets, after - before), pause) for pause, before, after in epochs))
        return {
            "assets": assets,
            "awake": awake,
            "pause": pause,
            "some": statistics.median(resumed["pauses"][1:]),
            "some_processor": statistics.median(resumed["paused"][1:]),
            "checked": resumed["checked"],
            "resume": resumed["first"],
            "processor": resumed["processor"],
            "store": sum(path.stat().st_size for path in (folder / "recovery").glob("*.sqlite3")),
        }


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Pause of a snapshot and time of a resume.")
    parser.add_argument("--assets", type=int, nargs="*", default=[1_000, 10_000, ASSETS])
    parser.add_argument("--records", type=int, default=600_000, help="of each recording (default 600,000)")
    parser.add_argument("--epoch", type=float, default=10.0, help="seconds between snapshots (default 10)")
    parser.add_argument("--epochs", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--most", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        defer_all()
        sys.stdout.write(
            orjson.dumps(run(given.child, given.epoch, given.epochs, given.most)).decode() + "\n"
        )
        return
    console = Console()
    columns = (
        "assets",
        "awake",
        "pause, s",
        f"of {AWAKE:,}",
        "checked, s",
        "resume, s",
        "processor, s",
        "MB",
    )
    table = Table(*columns, title="What a recovery store costs")
    for column in table.columns:
        column.justify = "right"
    found = []
    for assets in given.assets:
        with console.status(f"{assets:,} assets: {given.records:,} records, then a resume"):
            one = measure(assets, given.records, given.epoch)
        found.append(one)
        times = (f"{one[what]:.1f}" for what in ("checked", "resume", "processor"))
        size = f"{one['store'] / 1e6:,.0f}"
        pauses = (f"{one['pause']:.2f}", f"{one['some']:.2f}")
        console.print(f"{assets:,} assets: resume {one['resume']:.1f} s", highlight=False)
        table.add_row(f"{assets:,}", f"{one['awake']:,}", *pauses, *times, size)
    console.print(table)
    console.print(f"Load of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")
    for one in found:
        assert one["assets"] > ASSETS or one["resume"] < RESUME, f"a resume takes {RESUME:g} s or more"


if __name__ == "__main__":
    main()
