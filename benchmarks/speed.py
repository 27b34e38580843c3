"""How fast the dataflow is, as a multiple of what the engine itself costs on the same events.

``python -m benchmarks.speed`` runs in turn, five times:

- *floor*, the least that a keyed Bytewax program does: lines read in batches of 1,000, decoded (orjson),
  keyed by asset, one trivial ``stateful_map`` (a counter), encoded (orjson), written to a file, with
  recovery on. It reads and writes with the same source and sink as ours, so the ratio tells what lies
  between them; a source that yields bare lines, without position and sequence, would save it about 2 µs.
- *ours*, this dataflow: 1,000 assets that send four sensors a minute; ten statistics of each over windows of
  1 h, 6 h and 24 h, with the readings 124 features; a score for every event, an example an hour, a horizon
  of 24 h; labels and learning on; features written with the examples; the same batches, the same recovery.
  The champion is StandardScaler | LogisticRegression on all 124 features. The challengers are GaussianNB, on
  the means and deviations of the last day, and the running prior.

An example matures 24 h after it was taken, and a day of this fleet is 1.44 million events. So the recording
begins with 30 hours in which the fleet sends less, which are not timed: an event an hour, then one in 30
minutes, then one in 5. Thereby every pane of every window holds something when the timed part begins, and
what a window costs depends on how many of its panes hold something, not on the events in them. So each timed
event costs what it costs in a fleet that has run for long. That examples matured, and were learned, in the
timed part at the rate of such a fleet (one an asset and hour) is asserted.

Each run has a process of its own, and is timed from when its source read the first timed batch until
everything is committed. An epoch is 10 s, the engine's default, in both; ``--epoch`` changes it. On a busy
machine the ratio of processor times is steadier than that of the wall clock, which is the one that counts on
an idle one.

``--profile`` tells where the time goes instead, by step. ``--targets 100`` gives the class so many targets,
of up to ten modes and ten horizons, each with these three models; a failing asset has one of the modes.

``--watched`` compares, instead of the floor with ours, ours as above with ours that compares its models
(``promotion = "auto"``) and watches for drift, in turn.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bytewax.operators as op
import numpy as np
import orjson
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main
from rich.console import Console
from rich.table import Table

from benchmarks.stopwatch import Stopwatch
from dataflows.connectors.files import FileSink, FileSource
from dataflows.engine.runtime import Runtime, collecting_rarely
from dataflows.failure_prediction import build
from dataflows.fleet import load
from dataflows.fleet.fleet import Input
from dataflows.instants import MICROSECONDS, format_instant, parse_instant
from dataflows.items import Item, Row
from dataflows.recovery.store import open_store
from dataflows.status import RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["floor", "main", "ours", "record", "summary"]

#: What one run measured: events, seconds, processor seconds, and for ours what was learned, and its steps.
Measured = dict[str, Any]

ASSETS = 1_000
SENSORS = ("temperature", "pressure", "vibration", "current")
BATCH = 1_000
_MINUTE = MICROSECONDS["m"]
_START = parse_instant("2025-01-01T00:00:00Z")
#: Minutes before the timed part at which the fleet sends: hourly, then half-hourly, then every five minutes.
_WARM = (*range(-30 * 60, -6 * 60, 60), *range(-6 * 60, -60, 30), *range(-60, 0, 5))

#: Its input and output lie beside it.
FLEET = """
name = "speed"
metrics_every = "7d"

[input]
files = ["recording.jsonl"]
batch = 1000

[output]
folder = "out"
features = "examples"

[assets]
unknown = "adopt"
adopt_as = "machine"

[classes.machine]
sensors = ["temperature", "pressure", "vibration", "current"]
example_every = "1h"

[[classes.machine.windows]]
length = "1h"

[[classes.machine.windows]]
length = "6h"

[[classes.machine.windows]]
length = "24h"

[[targets]]
class = "machine"
mode = "wear"
horizon = "24h"
champion = "linear"
models = ["linear", "bayes", "prior"]

[models.linear]
pipeline = [
  { estimator = "river.preprocessing.StandardScaler" },
  { estimator = "river.linear_model.LogisticRegression" },
]

[models.bayes]
features = ["*:mean:24h", "*:std:24h"]
pipeline = [{ estimator = "river.naive_bayes.GaussianNB" }]

[models.prior]
pipeline = [{ estimator = "dataflows.estimators.Prior" }]
"""


#: The steps of the profile, and the functions whose time each is, without that of others which they call.
STEPS = {
    "source": ["dataflows.connectors.source:LanePartition.next_batch"],
    "decode": ["dataflows.failure_prediction:decoded"],
    "lane": ["dataflows.lane.lane:Lane.process"],
    "asset: windows": [
        "dataflows.asset.windows:Windows.place_run",
        "dataflows.asset.windows:Windows.add_plain",
        "dataflows.asset.windows:Windows.add_placed",
        "dataflows.asset.panes:NewRows.enter",
        "dataflows.asset.windows:Windows.add",
        "dataflows.asset.windows:Windows.features",
    ],
    "asset: labels": [
        "dataflows.asset.labels:Labels.advance",
        "dataflows.asset.labels:Labels.add",
        "dataflows.asset.labels:Labels.release",
        "dataflows.asset.labels:Labels.record",
    ],
    "asset: rows": ["dataflows.pipeline:IsolatedAsset.process_into", "dataflows.asset.asset:Made.items"],
    "group: order": [
        "dataflows.target.target:TargetStage.process",
        "dataflows.target.runs:ScoredRows.__init__",
    ],
    "group: scores": [
        "dataflows.target.models:ModelSet.answer",
        "dataflows.target.models:ModelSet.answers",
        "dataflows.target.models:ModelSet.score_run",
    ],
    "group: learning": ["dataflows.target.models:ModelSet.learn"],
    "group: ledger": [
        "dataflows.target.examples:Ledger.add",
        "dataflows.target.examples:Ledger.mature",
        "dataflows.target.examples:Ledger.advance",
        "dataflows.target.examples:Ledger.next_due",
        "dataflows.target.examples:Ledger.release",
        "dataflows.target.examples:Ledger.trim",
    ],
    "group: rows": [
        "dataflows.target.target:prediction",
        "dataflows.target.target:evaluation",
        "dataflows.target.target:row_of",
        "dataflows.target.target:rows_of",
        "dataflows.target.runs:ScoredRows.predictions",
        "dataflows.target.runs:ScoredRows.placed",
    ],
    "group: monitors": [
        "dataflows.target.monitors:Monitors.watches",
        "dataflows.target.monitors:Monitors.served",
        "dataflows.target.monitors:Monitors.settled",
        "dataflows.target.monitors:Monitors.learned",
        "dataflows.target.monitors:Monitors.matured",
    ],
    "order": ["dataflows.engine.operators:_Sorter.on_batch"],
    "sink": ["dataflows.connectors.file_sink:RowsPartition.write_batch"],
    "snapshots": [
        "dataflows.asset.asset:Asset.to_bytes",
        "dataflows.engine.operators:_Main.snapshot",
        "dataflows.engine.operators:_Part.snapshot",
        "dataflows.connectors.source:LanePartition.snapshot",
        "dataflows.connectors.file_sink:RowsPartition.snapshot",
    ],
}


class Clock(RunStatus):
    """Starts when the source has read the first batch that goes beyond the warm-up.

    Attributes:
        untimed: records read before that batch.
        started: when; None before that.
    """

    def __init__(self, warm: int, on_start: Callable[[], None] = lambda: None) -> None:
        self._warm = warm
        self._on_start = on_start
        self.untimed = 0
        self.started: float | None = None
        self._processor = 0.0
        #: Records before the latest batch, and when it was read.
        self._latest = 0, 0.0, 0.0
        super().__init__()

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401 - whatever an attribute holds
        if name == "records" and self.started is None:
            if value > self._warm:
                self._on_start()
                self._processor = time.process_time()
                self.started = time.perf_counter()
            else:
                self.untimed = value
        elif name == "records" and value > self.records:
            self._latest = self.records, time.perf_counter(), time.process_time()
        super().__setattr__(name, value)

    def result(self) -> Measured:
        """Events that were timed, the seconds they took, and the processor's seconds."""
        assert self.started is not None, "the recording is no longer than its warm-up"
        return {
            "events": self.records - self.untimed,
            "seconds": time.perf_counter() - self.started,
            "processor": time.process_time() - self._processor,
        }

    def steady(self) -> Measured:
        """Return the same up to the read of the last batch, so without the snapshot at the end."""
        assert self.started is not None, "the recording is no longer than its warm-up"
        records, wall, used = self._latest
        return {
            "events": records - self.untimed,
            "seconds": wall - self.started,
            "processor": used - self._processor,
        }


#: Modes and horizons of the fleet with the most targets.
_MODES, _HORIZONS = 10, [f"{hours}h" for hours in range(24, 4, -2)]


def modes_of(targets: int) -> list[str]:
    """Return the modes of a fleet with so many targets, at least one for each horizon."""
    return ["wear", *(f"mode-{number}" for number in range(1, min(targets, _MODES)))]


def fleet_of(targets: int, *, watched: bool = False) -> str:
    """Return the fleet with so many targets: 1 to 10, or a multiple of 10 up to 100.

    Args:
        targets: number.
        watched: whether models are compared and drift is watched.
    """
    fleet = FLEET
    if watched:
        fleet = "false_drift_alarms_per_year = 1\n" + fleet.replace(
            "[[targets]]\n", '[[targets]]\npromotion = "auto"\ndrift = "log"\n'
        )
    horizons = _HORIZONS[: max(1, targets // _MODES)]
    expanded = f"mode = {modes_of(targets)}\nhorizon = {horizons}\n".replace("'", '"')
    return fleet if targets == 1 else fleet.replace('mode = "wear"\nhorizon = "24h"\n', expanded)


def record(
    path: Path, hours: int, seed: int = 11, modes: Sequence[str] = ("wear",), assets: int = ASSETS
) -> int:
    """Write the recording; return the number of records in its warm-up.

    Each asset sends at its own second of the minute; one event of 200 lacks a reading. Sixty assets, or a
    tenth of fewer, wear from 24 h before they fail; the failures lie evenly over the whole recording, so some
    fall in the timed part.
    """
    random = np.random.default_rng(seed)
    minutes = np.array([*_WARM, *range(hours * 60)]) - _WARM[0]
    seconds = np.sort(random.integers(0, 60, assets))
    failing = random.permutation(assets)[: min(60, max(1, assets // 10))]
    fails = np.full(assets, np.inf)
    fails[failing] = np.linspace(60, minutes[-1], len(failing) + 2)[1:-1]
    base, spread = random.normal(50.0, 10.0, (assets, len(SENSORS))), np.array((2.0, 1.0, 0.3, 0.8))
    warm, last = 0, 0
    with path.open("wb") as lines:
        for minute in minutes.tolist():
            worn = np.clip(1 - (fails - minute) / (24 * 60), 0, 1) * (fails > minute)
            values = base + spread * (random.normal(size=base.shape) + 3 * worn[:, None])
            missing = random.random(assets) < 0.005
            for asset, row in enumerate(np.round(values, 3).tolist()):
                readings = dict(zip(SENSORS, row, strict=True))
                if missing[asset]:
                    readings[SENSORS[minute % len(SENSORS)]] = None
                lines.write(_line("telemetry", asset, _at(minute, seconds[asset]), readings=readings))
            failed = np.flatnonzero((fails > last) & (fails <= minute)).tolist()
            for asset in failed:
                lines.write(_line("failure", asset, _at(minute, 60), mode=modes[asset % len(modes)]))
            last = minute
            if minute < -_WARM[0]:
                warm += assets + len(failed)
    return warm


def _at(minute: int, second: int) -> int:
    return _START + minute * _MINUTE + int(second) * MICROSECONDS["s"]


def _line(kind: str, asset: int, time: int, **rest: object) -> bytes:
    event = {"kind": kind, "asset": f"machine-{asset:04}", "time": format_instant(time), **rest}
    return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)


def _loaded(item: Item) -> dict[str, Any]:
    return orjson.loads(item.body)


def _asset(event: dict[str, Any]) -> str:
    return event["asset"]


def _count(count: int | None, event: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    count = (count or 0) + 1
    return count, {"asset": event["asset"], "time": event["time"], "count": count}


def _encoded(keyed: tuple[str, dict[str, Any]]) -> tuple[str, Item]:
    row = Row("predictions", orjson.dumps(keyed[1]))
    return row.output, Item(0, 0, None, 0, ("", 0, 0), row)


def floor(folder: Path, warm: int, epoch: timedelta) -> Measured:
    """Time the engine's floor over ``recording.jsonl`` in a folder."""
    clock = Clock(warm)
    dataflow = Dataflow("floor")
    source = FileSource(Input((str(folder / "recording.jsonl"),), BATCH), clock)
    events = op.map("decode", op.input("source", dataflow, source), _loaded)
    counted = op.stateful_map("count", op.key_on("by_asset", events, _asset), _count)
    op.output("rows", op.map("encode", counted, _encoded), FileSink(folder / "out", clock))
    with open_store(folder / "recovery", load(folder / "fleet.toml")) as recovery:
        cli_main(dataflow, epoch_interval=epoch, recovery_config=recovery)
    return clock.result()


def ours(
    folder: Path, warm: int, epoch: timedelta, *, profile: bool = False, matures: bool = True
) -> Measured:
    """Time this dataflow over ``recording.jsonl`` in a folder, in steps if asked to.

    Raises:
        AssertionError: no examples matured in the timed part, although they should (``matures``).
    """
    watch = Stopwatch()
    if profile:
        for label, places in STEPS.items():
            for place in places:
                watch.put_on(label, place)
    clock = Clock(warm, watch.reset)
    fleet = load(folder / "fleet.toml")
    with open_store(folder / "recovery", fleet) as recovery, collecting_rarely():
        cli_main(build(fleet, Runtime(status=clock)), epoch_interval=epoch, recovery_config=recovery)
    result = clock.result()
    learned = 0
    with (folder / "out" / "evaluations.jsonl").open("rb") as rows:
        for row in map(orjson.loads, rows):
            learned += row["sequence"] > warm and row["learned"]
    # An example an asset and hour, but those of assets that failed were evaluated then.
    expected = result["events"] / 60 * 0.9 if matures else 0
    assert learned >= expected, f"{learned:,} examples matured and were learned, not {expected:,.0f}"
    return {
        **result,
        "learned": learned,
        "steps": watch.seconds,
        "calls": watch.calls,
        "watch": Stopwatch.own() if profile else 0.0,
        "steady": clock.steady(),
    }


def measured(module: str, program: str, folder: Path, warm: int, epoch: float, *more: str) -> Measured:
    """Run a program of a benchmark in a process of its own; return what it measured."""
    command = [sys.executable, "-m", module, "--child", program, str(folder)]
    command += ["--warm", str(warm), "--epoch", str(epoch), *more]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    # The engine may have written lines before.
    return orjson.loads(done.stdout.splitlines()[-1])


def _run(
    what: str, recording: Path, warm: int, epoch: float, *, targets: int = 1, profile: bool = False
) -> Measured:
    """One run in a fresh process and folder."""
    with tempfile.TemporaryDirectory(dir=recording.parent) as name:
        folder = Path(name)
        (folder / "recording.jsonl").symlink_to(recording)
        (folder / "fleet.toml").write_text(fleet_of(targets, watched=what == "watched"))
        child = "floor" if what == "floor" else "ours"
        return measured("benchmarks.speed", child, folder, warm, epoch, *(["--profile"] if profile else []))


def _rate(run: Measured) -> float:
    return run["events"] / run["seconds"]


def _processor(run: Measured) -> float:
    return run["processor"] / run["events"] * 1e6


def summary(pairs: list[tuple[Measured, Measured]]) -> dict[str, Any]:
    """Figures of pairs of runs (floor, ours): each ratio, and medians."""
    ratios = [_rate(floor) / _rate(ours) for floor, ours in pairs]
    return {
        "floor": statistics.median(_rate(floor) for floor, _ in pairs),
        "ours": statistics.median(_rate(ours) for _, ours in pairs),
        "ratios": ratios,
        "ratio": statistics.median(ratios),
        "processor_ratio": statistics.median(_processor(ours) / _processor(floor) for floor, ours in pairs),
        "learned": pairs[0][1]["learned"],
    }


def _show_pairs(
    pairs: list[tuple[Measured, Measured]], console: Console, names: tuple[str, str] = ("floor", "ours")
) -> None:
    one, other = names
    table = Table("", f"{one}, events/s", other, "ratio", f"{one}, µs of processor", other, "ratio")
    for column in table.columns[1:]:
        column.justify = "right"
    for number, (floor, ours) in enumerate(pairs, start=1):
        wall = (f"{_rate(floor):,.0f}", f"{_rate(ours):,.0f}", f"{_rate(floor) / _rate(ours):.1f}")
        used = _processor(floor), _processor(ours)
        table.add_row(str(number), *wall, f"{used[0]:.1f}", f"{used[1]:.1f}", f"{used[1] / used[0]:.1f}")
    medians = summary(pairs)
    wall = (f"{medians['floor']:,.0f}", f"{medians['ours']:,.0f}", f"{medians['ratio']:.1f}")
    table.add_section()
    table.add_row("median", *wall, "", "", f"{medians['processor_ratio']:.1f}", style="bold")
    console.print(table)
    console.print(f"{medians['learned']:,} examples matured and were learned in each timed part.")


def _show_profile(run: Measured, console: Console, targets: int) -> None:
    events = run["events"]
    title = f"{events:,.0f} events, {targets} target{'s' if targets > 1 else ''}"
    table = Table("step", "µs an event", "an event and target", "calls an event", title=title)
    for column in table.columns[1:]:
        column.justify = "right"

    def add(label: str, seconds: float, calls: str = "", **style: str) -> None:
        each = seconds / events * 1e6
        table.add_row(label, f"{each:.2f}", f"{each / targets:.2f}", calls, **style)

    for label, seconds in run["steps"].items():
        add(label, seconds, f"{run['calls'][label] / events:.2f}")
    add("engine, and the rest", run["seconds"] - sum(run["steps"].values()))
    table.add_section()
    add("all", run["seconds"], style="bold")
    console.print(table)
    watches = sum(run["calls"].values()) / events * run["watch"] * 1e6
    console.print(f"The stopwatches themselves take {watches:.1f} µs of that, most of it in the rest.")


def parser_of(description: str, pairs: int) -> argparse.ArgumentParser:
    """Options of a benchmark that measures each run in a process of its own, its child."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--pairs", type=int, default=pairs, help=f"runs of each, in turn (default {pairs})")
    parser.add_argument("--epoch", type=float, default=10.0, help="seconds between snapshots (default 10)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--warm", type=int, help=argparse.SUPPRESS)
    return parser


def print_json(result: object) -> None:
    """Write a result to standard output, as one line of JSON."""
    sys.stdout.write(orjson.dumps(result).decode() + "\n")


def main(arguments: list[str] | None = None) -> None:
    """Command line: pairs of runs and their ratio, or the profile of one run."""
    parser = parser_of("Events a second of the dataflow and of the engine's floor, and the ratio.", 5)
    parser.add_argument("--hours", type=int, default=5, help="of event time that are timed (default 5)")
    parser.add_argument("--profile", action="store_true", help="instead, one run of ours by step")
    parser.add_argument(
        "--watched", action="store_true", help="instead, ours against ours that judges and watches"
    )
    parser.add_argument("--targets", type=int, default=1, help="of the fleet: 1 to 10, 20, 30 ... 100")
    given = parser.parse_args(arguments)
    if given.child:
        what, folder = given.child
        settings = {"profile": True} if given.profile else {}
        measure = {"floor": floor, "ours": ours}[what]
        print_json(measure(Path(folder), given.warm, timedelta(seconds=given.epoch), **settings))
        return
    console = Console(stderr=given.json)
    with tempfile.TemporaryDirectory() as name:
        recording = Path(name) / "recording.jsonl"
        warm = record(recording, given.hours, modes=modes_of(given.targets))
        if given.profile:
            profiled = _run("ours", recording, warm, given.epoch, targets=given.targets, profile=True)
            _show_profile(profiled, console, given.targets)
            result = profiled
        else:
            names = ("ours", "watched") if given.watched else ("floor", "ours")
            pairs = []
            for number in range(given.pairs):
                with console.status(f"pair {number + 1} of {given.pairs}"):
                    both = [_run(what, recording, warm, given.epoch, targets=given.targets) for what in names]
                pairs.append((both[0], both[1]))
            _show_pairs(pairs, console, names)
            result = summary(pairs)
    if given.json:
        print_json(result)


if __name__ == "__main__":
    main()
