"""What many models cost: an event that is no example, and an example, with 5 models and with 500.

``python -m studies catalogue`` runs five classes with three modes in this process, without the engine and
without a recovery store, and measures processor time. The first days are left out: models are compiled, and
learn.

``--engine MINUTES`` runs the dataflow itself, in one process with a recovery store. An event that is no
example costs the difference of two recordings with equal examples, one of which has five times the events.
Then come the costs of an example by family. The hundreds of models then run for so many minutes, in one
process or in several with a lane each, are stopped, and resume: how much memory they take, how long a
snapshot holds reading up, how big the store is, and how long a resume takes. Counted are the rows of
`predictions`: one for each event of an asset and target of its class, scored by the champion. The other
models score examples only, which are not counted.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import structlog
import tomlkit

from dataflows.fleet import from_document
from dataflows.items import Item
from dataflows.pipeline import Inline
from dataflows.testing import failure, registration, telemetry
from dataflows.tools.trial import costs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dataflows.fleet import Fleet

__all__ = ["fleet_of", "main"]

FAMILIES = (
    *("linear", "bayesian", "naive_bayes", "hoeffding_tree", "adaptive_tree", "mondrian_forest"),
    *("bagging", "nearest_neighbours", "anomaly", "time_to_failure"),
)
CLASSES = ("pump", "fan", "motor", "valve", "gear")
MODES = ("leak", "jam", "burn")
DAY, MINUTE = 86_400, 60
#: Minutes from one event of an asset to the next.
_STEP = 15


def document_of(
    models: dict[str, object], classes: Sequence[str], modes: Sequence[str], champion: str, lanes: int = 1
) -> dict[str, Any]:
    """Return the fleet.toml of a fleet with one target a class and mode, an example a day."""
    window = {"length": "6h", "hop": "1h", "statistics": ["mean", "std", "min", "max"]}
    one = {"sensors": ["a", "b", "c"], "example_every": "1d", "windows": [window]}
    return {
        "name": "many",
        "input": {"files": ["-"]} if lanes == 1 else {"files": _names(lanes), "lanes": lanes},
        "assets": {"unknown": "reject"},
        "classes": dict.fromkeys(classes, one),
        "targets": [
            {"class": [*classes], "mode": [*modes], "horizon": "1d", "champion": champion, "promotion": "off"}
        ],
        "models": models,
    }


def _names(lanes: int) -> list[str]:
    return [f"lane-{lane}.jsonl" for lane in range(lanes)]


def fleet_of(models: dict[str, object], classes: Sequence[str], modes: Sequence[str], champion: str) -> Fleet:
    """Build that fleet."""
    return from_document(document_of(models, classes, modes, champion), "fleet.toml")


def recording(assets: int, days: int, minutes: int = _STEP) -> Iterator[tuple[bytes, bool]]:
    """Yield each record, and whether it is an example; an asset has one every so many minutes."""
    names = [(f"{kind}-{number}", kind) for kind in CLASSES for number in range(assets)]
    for name, kind in names:
        yield registration(name, kind, {}), False
    for step in range(days * DAY // (minutes * MINUTE)):
        now = step * minutes * MINUTE
        for place, (name, _) in enumerate(names):
            wear = (now // 3_600 + 31 * place) % 100
            if wear == 0 and now % 3_600 == 0:
                yield failure(name, now, MODES[place % 3]), False
            readings = {"a": float(wear), "b": float((step * 7 + place) % 13), "c": float(place)}
            yield telemetry(name, now, readings), now % DAY == 0


class Measured(NamedTuple):
    """What the stages of a fleet cost, in time of the processor.

    Attributes:
        plain: median microseconds of an event that is no example.
        example: mean microseconds of an example.
        snapshot: seconds to make the snapshots of all targets after every model learned.
        megabytes: of these snapshots.
    """

    plain: float
    example: float
    snapshot: float
    megabytes: float


def measure(fleet: Fleet, assets: int, days: int) -> Measured:
    """Run the stages of a fleet on a recording, and measure what they cost."""
    stages = Inline(fleet)
    plain, examples = [], []
    gc.disable()
    for number, (line, example) in enumerate(recording(assets, days), start=1):
        start = time.process_time_ns()
        item = Item(number, 0, None, 0, ("-", number, 0), line)
        for known in stages.lane([item]):
            for together in stages.together(stages.asset(known)):
                stages.rows(together)
        spent = (time.process_time_ns() - start) / 1_000
        if number > assets * len(CLASSES) * (days - 1) * DAY // (_STEP * MINUTE) // 2:
            (examples if example else plain).append(spent)
    gc.enable()
    start, size = time.process_time(), 0
    for group in stages.groups().values():
        size += len(group.main_snapshot()) + sum(len(group.part_snapshot(part)) for part in group.changed())
    spent = time.process_time() - start
    return Measured(statistics.median(plain), statistics.fmean(examples), spent, size / 1e6)


class Ran(NamedTuple):
    """A run of the dataflow in a process of its own.

    Attributes:
        processor: seconds of the processor, start included.
        wall: seconds, from the start on.
        start: seconds until the first prediction was written.
        megabytes: of memory, at its peak.
        predictions: rows that are final.
        snapshots: how many were written.
        pause: mean seconds that one held reading up, of all processes.
        store: megabytes of the recovery store on disk.
    """

    processor: float
    wall: float
    start: float
    megabytes: float
    predictions: int
    snapshots: int = 0
    pause: float = 0.0
    store: float = 0.0


def ran(
    fleet: Path, records: Path | None, stop_after: float | None = None, processes: int = 1, epoch: str = "1s"
) -> Ran:
    """Run a fleet on a recording, with outputs and store beside it.

    Args:
        fleet: its file.
        records: the recording; None: the fleet names its own.
        stop_after: seconds from the first prediction on, after which it is ended with SIGTERM; None: it ends
            with the recording.
        processes: of this machine.
        epoch: time between snapshots.

    Raises:
        RuntimeError: the run failed.
    """
    output = fleet.with_suffix("")
    environment = {**os.environ, "FLEET_OUTPUT": str(output)}
    if records is not None:
        environment["FLEET_INPUT"] = shlex.quote(str(records))
    command = [sys.executable, "-m", "dataflows", "run", str(fleet), "--recovery", f"{output}-store"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command += ["--processes", str(processes), "--epoch", epoch, "--metrics", str(port)]
    predictions = output / "predictions.jsonl"
    before = predictions.stat().st_size if predictions.exists() else 0
    started = time.perf_counter()
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first: float | None = None
    pauses = 0, 0.0
    status = pid = 0
    while not pid:
        time.sleep(0.02)
        pid, status, used = os.wait4(child.pid, os.WNOHANG)
        spent = time.perf_counter() - started
        if first is None and predictions.exists() and predictions.stat().st_size > before:
            first = spent
        if stop_after is not None and first is not None and spent - first > stop_after:
            pauses = _pauses(range(port, port + processes))
            child.send_signal(signal.SIGTERM)
            stop_after = None
    if os.waitstatus_to_exitcode(status):
        msg = f"the run of {fleet} ended with {os.waitstatus_to_exitcode(status)}; see {output}/log.jsonl"
        raise RuntimeError(msg)
    rows = sum(1 for _ in predictions.open("rb"))
    store = sum(file.stat().st_size for file in Path(f"{output}-store").iterdir()) / 1e6
    processor = used.ru_utime + used.ru_stime
    return Ran(processor, spent, first or spent, used.ru_maxrss / 1_000, rows, *pauses, store)


def _pauses(ports: Iterable[int]) -> tuple[int, float]:
    """Return the number of snapshots so far and the mean seconds that one held reading up, by the metrics."""
    lines: list[tuple[str, str, str]] = []
    for port in ports:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
            lines += [line.rpartition(" ") for line in page.read().decode().splitlines()]
    name = "highwater_snapshot_pause_seconds"
    count, seconds = (
        sum(float(value) for metric, _, value in lines if metric.startswith(f"{name}_{kind}"))
        for kind in ("count", "sum")
    )
    return int(count), seconds / max(count, 1.0)


def by_family(fleet: Fleet) -> Iterator[str]:
    """Yield what a score and a learned example cost, by family, on the features of the first class."""
    found = costs(fleet)
    for family in FAMILIES:
        cost = next(cost for (name, _), cost in found.items() if name == f"all-{family}")
        yield f"{family}: a score {cost.score:.1f} µs, an example learned {cost.learn:.1f} µs"


def by_engine(documents: Sequence[dict[str, Any]], assets: int, days: int) -> Iterator[str]:
    """Yield what an event that is no example costs with the models of each document."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        counts: dict[Path, int] = {}
        for step in (_STEP, _STEP // 5):
            lines = [line for line, _ in recording(assets, days, step)]
            path = folder / f"every{step}.jsonl"
            path.write_bytes(b"\n".join([*lines, b""]))
            counts[path] = len(lines)
        few, many = counts
        warm = folder / "warm.toml"
        warm.write_text(tomlkit.dumps(documents[-1]))
        ran(warm, few)  # what is compiled is kept for later runs
        for number, document in enumerate(documents):
            spent = []
            for records in counts:
                fleet = folder / f"{number}-{records.stem}.toml"
                fleet.write_text(tomlkit.dumps(document))
                spent.append(ran(fleet, records).processor)
            plain = (spent[1] - spent[0]) / (counts[many] - counts[few]) * 1e6
            models = sum(len(target.models) for target in from_document(document, "f.toml").targets.values())
            yield f"{models} models: an event that is no example {plain:.0f} µs of the processor"


def lasting(
    document: dict[str, Any], assets: int, minutes: float, processes: int, epoch: str
) -> Iterator[str]:
    """Yield what a run of some minutes shows, with a lane for each process, and its resume."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        # So many days that it does not end before it is stopped.
        days = int(minutes * 60 * processes * 25_000 / (assets * len(CLASSES) * 96)) + 2
        files = [stack.enter_context((folder / each).open("wb")) for each in _names(processes)]
        for line, _ in recording(assets, days):
            files[lane_of(line, processes)].write(line + b"\n")
        for file in files:
            file.flush()
        fleet = folder / "long.toml"
        fleet.write_text(tomlkit.dumps(document))
        records = folder / _names(1)[0] if processes == 1 else None
        long = ran(fleet, records, minutes * 60, processes, epoch)
        yield (
            f"{processes} processes, {long.wall:.0f} s: {long.predictions:,} predictions of champions, "
            f"{long.predictions / (long.wall - long.start) * DAY:,.0f} a day by extrapolation; "
            f"{long.processor:.0f} s of the processor, {long.megabytes:,.0f} MB at the peak of the largest; "
            f"{long.snapshots} snapshots that held reading up for {long.pause:.2f} s each, in a store of "
            f"{long.store:,.0f} MB; load {os.getloadavg()[1]:.1f}"
        )
        again = ran(fleet, records, 5.0, processes, epoch)
        yield f"resumed: first prediction after {again.start:.1f} s, {again.megabytes:,.0f} MB at the peak"


def lane_of(line: bytes, lanes: int) -> int:
    """Lane of the asset of a record, such that each has assets of every class."""
    return int(orjson.loads(line)["asset"].rpartition("-")[2]) % lanes


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what an event and an example cost, with few models and with many."""
    parser = argparse.ArgumentParser(description="What many models cost.")
    parser.add_argument("--assets", type=int, default=4, help="of each class")
    parser.add_argument("--days", type=int, default=12)
    parser.add_argument("--engine", type=float, metavar="MINUTES", help="run the dataflow itself")
    parser.add_argument("--processes", type=int, default=1, help="of the run of so many minutes")
    parser.add_argument("--epoch", default="10s", help="time between its snapshots")
    parser.add_argument(
        "--lasting", action="store_true", help="with --engine: only the run of so many minutes"
    )
    given = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    one = {"linear": {"template": "linear"}}
    all_of = {"all": {"template": [*FAMILIES]}, "tree": {"template": "hoeffding_tree"}}
    grid = {"lr": [0.0003, 0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007, 0.008, 0.01, 0.02]}
    many = {**all_of, "rate": {"template": "linear", "grid": {**grid, "features": [["*"], ["*:6h"]]}}}
    documents = [
        document_of(one, CLASSES, MODES[:1], "linear"),
        document_of(one, CLASSES, MODES, "linear"),
        document_of(many, CLASSES, MODES, "all-linear"),
    ]
    if given.engine is not None:
        last = document_of(many, CLASSES, MODES, "all-linear", given.processes)
        long = lasting(last, given.assets, given.engine, given.processes, given.epoch)
        costs_of = chain(
            by_engine(documents, given.assets, given.days),
            by_family(from_document(documents[-1], "fleet.toml")),
        )
        for line in long if given.lasting else chain(costs_of, long):
            print(line, flush=True)
        return
    for fleet in (from_document(document, "fleet.toml") for document in documents):
        models = sum(len(target.models) for target in fleet.targets.values())
        cost = measure(fleet, given.assets, given.days)
        daily = DAY * 1e6 / cost.plain * len(fleet.targets) / len(CLASSES)
        print(
            f"{models} models of {len(fleet.targets)} targets: an event {cost.plain:.0f} µs, "
            f"an example {cost.example:,.0f} µs; {daily:,.0f} predictions a day; "
            f"a snapshot of all {cost.snapshot:.2f} s, {cost.megabytes:.1f} MB"
        )
