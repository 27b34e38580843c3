"""What many models cost: an event that is no example, and an example, with 5 models and with 500.

``python -m studies catalogue`` runs five classes with three modes in this process, without the engine and
without a recovery store, and measures processor time. The first days are left out: models are compiled, and
learn.

``--engine MINUTES`` runs the dataflow itself, one process with a recovery store. An event that is no example
costs the difference of two recordings with equal examples, one of which has five times the events. The
hundreds of models then run for so many minutes, are stopped, and resume.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
import tomlkit

from dataflows.fleet import from_document
from dataflows.items import Item
from dataflows.pipeline import Inline
from dataflows.testing import failure, registration, telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
    models: dict[str, object], classes: Sequence[str], modes: Sequence[str], champion: str
) -> dict[str, Any]:
    """Return the fleet.toml of a fleet with one target a class and mode, an example a day."""
    window = {"length": "6h", "hop": "1h", "statistics": ["mean", "std", "min", "max"]}
    one = {"sensors": ["a", "b", "c"], "example_every": "1d", "windows": [window]}
    return {
        "name": "many",
        "input": {"files": ["-"]},
        "assets": {"unknown": "reject"},
        "classes": dict.fromkeys(classes, one),
        "targets": [
            {"class": [*classes], "mode": [*modes], "horizon": "1d", "champion": champion, "promotion": "off"}
        ],
        "models": models,
    }


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


def measure(fleet: Fleet, assets: int, days: int) -> tuple[float, float]:
    """Return the median microseconds of an event that is no example, and the mean of an example."""
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
    return statistics.median(plain), statistics.fmean(examples)


class Ran(NamedTuple):
    """A run of the dataflow in a process of its own.

    Attributes:
        processor: seconds of the processor, start included.
        wall: seconds, from the start on.
        start: seconds until the first prediction was written.
        megabytes: of memory, at its peak.
        predictions: rows that are final.
    """

    processor: float
    wall: float
    start: float
    megabytes: float
    predictions: int


def ran(fleet: Path, records: Path, stop_after: float | None = None) -> Ran:
    """Run a fleet on a recording, with outputs and store beside it.

    Args:
        fleet: its file.
        records: the recording.
        stop_after: seconds from the first prediction on, after which it is ended with SIGTERM; None: it ends
            with the recording.

    Raises:
        RuntimeError: the run failed.
    """
    output = fleet.with_suffix("")
    environment = {**os.environ, "FLEET_INPUT": shlex.quote(str(records)), "FLEET_OUTPUT": str(output)}
    command = [sys.executable, "-m", "dataflows", "run", str(fleet), "--recovery", f"{output}-store"]
    predictions = output / "predictions.jsonl"
    before = predictions.stat().st_size if predictions.exists() else 0
    started = time.perf_counter()
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first: float | None = None
    status = pid = 0
    while not pid:
        time.sleep(0.02)
        pid, status, used = os.wait4(child.pid, os.WNOHANG)
        spent = time.perf_counter() - started
        if first is None and predictions.exists() and predictions.stat().st_size > before:
            first = spent
        if stop_after is not None and first is not None and spent - first > stop_after:
            child.send_signal(signal.SIGTERM)
            stop_after = None
    if os.waitstatus_to_exitcode(status):
        msg = f"the run of {fleet} ended with {os.waitstatus_to_exitcode(status)}; see {output}/log.jsonl"
        raise RuntimeError(msg)
    rows = sum(1 for _ in predictions.open("rb"))
    return Ran(used.ru_utime + used.ru_stime, spent, first or spent, used.ru_maxrss / 1_000, rows)


def by_engine(documents: Sequence[dict[str, Any]], assets: int, days: int, minutes: float) -> Iterator[str]:
    """Yield what the runs of the dataflow show, line by line; the last document is run for some minutes."""
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
        # So many days that it does not end before it is stopped.
        endless = folder / "endless.jsonl"
        with endless.open("wb") as out:
            for line, _ in recording(assets, max(days, int(minutes * 60 * 25_000 / (assets * 5 * 96)))):
                out.write(line + b"\n")
        fleet = folder / "long.toml"
        fleet.write_text(tomlkit.dumps(documents[-1]))
        long = ran(fleet, endless, minutes * 60)
        yield (
            f"{long.wall:.0f} s: {long.predictions:,} predictions of champions, "
            f"{long.predictions / (long.wall - long.start) * DAY:,.0f} a day by extrapolation, "
            f"{long.predictions / long.processor * DAY:,.0f} of a core that has nothing else to do; "
            f"{long.processor:.0f} s of the processor, {long.megabytes:,.0f} MB at the peak"
        )
        again = ran(fleet, endless, 5.0)
        yield f"resumed: first prediction after {again.start:.1f} s, {again.megabytes:,.0f} MB at the peak"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what an event and an example cost, with few models and with many."""
    parser = argparse.ArgumentParser(description="What many models cost.")
    parser.add_argument("--assets", type=int, default=4, help="of each class")
    parser.add_argument("--days", type=int, default=12)
    parser.add_argument("--engine", type=float, metavar="MINUTES", help="run the dataflow itself")
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
        for line in by_engine(documents, given.assets, given.days, given.engine):
            print(line, flush=True)
        return
    for fleet in (from_document(document, "fleet.toml") for document in documents):
        models = sum(len(target.models) for target in fleet.targets.values())
        plain, example = measure(fleet, given.assets, given.days)
        daily = DAY * 1e6 / plain * len(fleet.targets) / len(CLASSES)
        print(
            f"{models} models of {len(fleet.targets)} targets: an event {plain:.0f} µs, "
            f"an example {example:,.0f} µs; {daily:,.0f} predictions a day"
        )
