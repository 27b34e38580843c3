"""How the cost of an event grows with assets, targets and processes, and with what is stored.

``python -m benchmarks.scale`` measures, each in processes of its own, with the fleet of `benchmarks.speed`
(124 features, a champion and two challengers for each target) and recovery on:

- *assets*: the time of an event at 50, 1,000 and 100,000 assets, in equal source batches of 1,000 records;
- *targets*: the same at 1, 10 and 100 targets of one class with 1,000 assets, and the step where it goes;
- *processes*: events a second with 1 and 2, four targets, and with a lane for each of 2; and the processor
  of the busiest process, which bounds the rate where each has a core of its own;
- *topic*: the same from a topic with two partitions, each a lane of its own where there are two, and the
  processor of the broker; only measured if it is asked for, since it needs a broker (`tests.broker`);
- *store*: how long a resume takes with 100,000 assets, and how long a snapshot with 1,000 of them awake
  holds the input up (`benchmarks.recovery`).

``--parts assets topic`` measures some of them. ``--plot FILE`` draws what was measured, as SVG.

In the recordings of assets and targets every asset sends seven times in the day before, and a few fail, so
that every window holds something and the models have learned both labels, and every feature: a linear model
would be asked one by one for features that it has never seen. None of that is timed, so no timed event makes
the state of an asset. The timed events are scored by the champion; no example is among them, and none
matures: `benchmarks.speed` has those, which cost the same whatever the number of assets. With 100,000 assets
each sends once in the timed part, with 1,000 each sixty times. Timed is up to the read of the last batch: the
snapshot at the end, of every asset, would be divided among few events. Times are those of the processor,
which other programs on the machine disturb less; events a second of processes are by the clock on the wall,
less the time of a start.
"""

from __future__ import annotations

import argparse
import html
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from rich.console import Console
from rich.table import Table

from benchmarks import recovery, speed
from dataflows.instants import MICROSECONDS, format_instant, parse_instant
from tests.broker import brokers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.broker import Broker

__all__ = ["PARTS", "main", "plot", "record", "used_by", "write_fleet", "write_topic"]

ASSETS, TARGETS = (50, 1_000, 100_000), (1, 10, 100)
#: Numbers of processes and lanes.
PROCESSES = ((1, 1), (2, 1), (2, 2))
#: Of the topic: as many as lanes, at most.
PARTITIONS = 2
#: Bars: an event of the largest fleet against one of 1,000 assets; seconds of a resume and of a snapshot.
LARGE, RESUME, PAUSE = 1.6, 8.0, 0.3
#: Hours before the timed part in which every asset sends; the first two have their labels before that part,
#: and the second has a spread and a slope in every window. Some assets fail after the hour `_FAILING`.
_WARM = (-26.25, -25.5, -12.0, -6.0, -3.0, -1.0, 0.0)
_FAILING = -12.0
#: Minutes in which the timed events lie: within one hour, so that none of them is an example. The first of
#: them are not timed, since a program first loads what it has compiled.
_TIMED, _LEAD = 58, 10_000
#: Events of the run whose time is taken off a longer one.
_FEW = 1_000
_START = parse_instant("2025-01-01T00:00:00Z")


def record(path: Path, assets: int, events: int, modes: Sequence[str] = ("wear",), seed: int = 13) -> int:
    """Write a recording in which assets send in turn; return the number of records before the timed ones."""
    random = np.random.default_rng(seed)
    lead = min(_LEAD, events)
    minute, failing = MICROSECONDS["m"], {*random.permutation(assets)[: min(assets // 5, 20)].tolist()}
    warm = 0
    with path.open("wb") as lines:

        def send(asset: int, at: int) -> None:
            readings = dict(zip(speed.SENSORS, random.normal(50.0, 5.0, 4).round(3).tolist(), strict=True))
            event = {"kind": "telemetry", "asset": f"machine-{asset:06}", "time": format_instant(at)}
            lines.write(orjson.dumps(event | {"readings": readings}, option=orjson.OPT_APPEND_NEWLINE))

        for hour in _WARM:
            at = _START + round(hour * 60) * minute
            for asset in range(assets):
                send(asset, at)
            warm += assets
            if hour == _FAILING:
                for asset in sorted(failing):
                    mode = modes[asset % len(modes)]
                    event = {"kind": "failure", "asset": f"machine-{asset:06}", "mode": mode}
                    event["time"] = format_instant(at + minute)
                    lines.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
                warm += len(failing)
        for number in range(lead + events):
            send(number % assets, _START + minute + number * _TIMED * minute // (lead + events))
    return warm + lead


def _run(recording: Path, warm: int, targets: int, epoch: float, *, profile: bool = False) -> speed.Measured:
    """Run ours over a recording in a process of its own."""
    with tempfile.TemporaryDirectory(dir=recording.parent) as name:
        folder = Path(name)
        (folder / "recording.jsonl").symlink_to(recording)
        text = speed.fleet_of(targets).replace("[assets]", "[assets]\nmax_assets = 1_000_000")
        (folder / "fleet.toml").write_text(text)
        command = [sys.executable, "-m", "benchmarks.scale", "--child", str(folder), "--warm", str(warm)]
        command += ["--epoch", str(epoch), *(["--profile"] if profile else [])]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        return orjson.loads(done.stdout.splitlines()[-1])


def _child(folder: Path, warm: int, epoch: float, *, profile: bool) -> speed.Measured:
    found = speed.ours(folder, warm, timedelta(seconds=epoch), profile=profile, matures=False)
    return {**found, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024}


def by_assets(folder: Path, epoch: float, events: int) -> list[dict[str, Any]]:
    """Measure the time of an event by the number of assets."""
    found = []
    for assets in ASSETS:
        recording = folder / f"assets-{assets}.jsonl"
        warm = record(recording, assets, max(events, assets))
        run = _run(recording, warm, 1, epoch)
        recording.unlink()
        found.append({"assets": assets, "time": _microseconds(run), "memory": run["memory"]})
    return found


def by_targets(folder: Path, epoch: float, events: int) -> list[dict[str, Any]]:
    """Measure the time of an event by the number of targets, and its share by step at the largest."""
    found = []
    for targets in TARGETS:
        recording = folder / f"targets-{targets}.jsonl"
        warm = record(recording, 1_000, max(3_000, events // targets), speed.modes_of(targets))
        run = _run(recording, warm, targets, epoch)
        profiled = _run(recording, warm, targets, epoch, profile=True)
        recording.unlink()
        timed = profiled["events"]
        steps = {step: seconds / timed * 1e6 for step, seconds in profiled["steps"].items()}
        steps["engine, and the rest"] = profiled["seconds"] / timed * 1e6 - sum(steps.values())
        used = _microseconds(run)
        found.append(
            {
                "targets": targets,
                "time": used,
                "each": used / targets,
                "memory": run["memory"],
                "steps": steps,
            }
        )
    return found


def by_processes(folder: Path, epoch: float, events: int) -> list[dict[str, Any]]:
    """Measure events a second by processes and lanes, four targets; the time of a start is taken off."""
    return [
        _by_split(Split(folder, epoch, events, processes, lanes), partial(write_fleet, folder, lanes))
        for processes, lanes in PROCESSES
    ]


def by_topic(folder: Path, epoch: float, events: int) -> list[dict[str, Any]]:
    """Measure the same from a topic with two partitions, and the processor of its broker."""
    with brokers(folder) as broker:
        return [
            _by_split(
                Split(folder, epoch, events, processes, lanes),
                partial(write_topic, folder, lanes, broker),
                broker.pid,
            )
            for processes, lanes in PROCESSES
        ]


class Split(NamedTuple):
    """A run divided among processes and lanes.

    Attributes:
        folder: of the run.
        epoch: seconds between snapshots.
        events: that are timed.
        processes: number.
        lanes: number.
    """

    folder: Path
    epoch: float
    events: int
    processes: int
    lanes: int


def _by_split(split: Split, write: Callable[[], None], broker: int | None = None) -> dict[str, Any]:
    """Measure a run over many events, less one over few.

    Args:
        split: how it is divided.
        write: writes the fleet and its input, from the recording in the folder.
        broker: process whose processor is measured too.
    """
    folder, epoch, timed, processes, lanes = split
    took, used, served, counts = [], [], [], []
    for count in (_FEW, timed):
        counts.append(count + record(folder / "recording.jsonl", 1_000, count, speed.modes_of(4)))
        write()
        command = [sys.executable, "-m", "dataflows", "run", str(folder / "fleet.toml"), "--fresh"]
        command += ["--recovery", str(folder / "store"), "--processes", str(processes)]
        command += ["--epoch", f"{epoch * 1_000:.0f}ms"]
        before, began = used_by(broker), time.perf_counter()
        used.append(_processor(command))
        took.append(time.perf_counter() - began)
        served.append(used_by(broker) - before)
    events = counts[1] - counts[0]
    each = [(after - before) / events * 1e6 for before, after in zip(*used, strict=True)]
    of_broker = {} if broker is None else {"broker": (served[1] - served[0]) / events * 1e6}
    return {
        "processes": processes,
        "lanes": lanes,
        "split": f"{processes}, {lanes} lanes" if lanes > 1 else f"{processes}",
        "rate": events / (took[1] - took[0]),
        "processor": sum(each),
        "busiest": max(each),
        **of_broker,
    }


def _lane_of(event: dict[str, Any], lanes: int) -> int:
    return int(event["asset"].rpartition("-")[2]) % lanes


def write_fleet(folder: Path, lanes: int) -> None:
    """Write a fleet of four targets over the recording, divided among lanes by asset."""
    names = [f"lane-{lane}.jsonl" for lane in range(lanes)]
    with ExitStack() as stack:
        files = [stack.enter_context((folder / name).open("wb")) for name in names]
        for line in stack.enter_context((folder / "recording.jsonl").open("rb")):
            files[_lane_of(orjson.loads(line), lanes)].write(line)
    _write_fleet(folder, f"files = {names}\nlanes = {lanes}\n".replace("'", '"'))


def write_topic(folder: Path, lanes: int, broker: Broker) -> None:
    """Send the recording to a new topic, divided among its two partitions by asset, and write its fleet."""
    topic = f"scale-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    for made in admin.create_topics([NewTopic(topic, PARTITIONS)]).values():
        made.result(30)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 50, "log_level": 0})
    for number, line in enumerate((folder / "recording.jsonl").read_bytes().splitlines()):
        event = orjson.loads(line)
        stamp = parse_instant(event["time"]) // MICROSECONDS["ms"]
        producer.produce(topic, line, event["asset"], partition=_lane_of(event, PARTITIONS), timestamp=stamp)
        if number % 1_000 == 0:
            producer.flush(60)
    assert not producer.flush(60), "events were not delivered"
    kafka = f'[kafka]\nbootstrap = "{broker.bootstrap}"\n\n[input.kafka]\ntopics = ["{topic}"]\n'
    _write_fleet(folder, f"lanes = {lanes}\n", kafka)


def _write_fleet(folder: Path, own: str, more: str = "") -> None:
    """Write the fleet of four targets with its own lines under ``[input]``, and more tables."""
    text = speed.fleet_of(4).replace("batch = 1000\n", "")
    text = text.replace('files = ["recording.jsonl"]\n', own)
    (folder / "fleet.toml").write_text(f"{text}\n{more}")


def used_by(pid: int | None) -> float:
    """Return the seconds of processor that a process has used; 0 for none."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _processor(command: list[str]) -> list[float]:
    """Run a command to its end; return seconds of processor of its processes, itself first.

    They are read while it runs, so the last 20 ms of each are left out.
    """
    seen: dict[int, float] = {}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        while running.poll() is None:
            with suppress(OSError):
                for pid in (running.pid, *map(int, children.read_text().split())):
                    seen[pid] = used_by(pid)
            time.sleep(0.02)
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, command)
    # Python's own tracker of resources uses nothing.
    return [used for used in seen.values() if used >= 0.5]


def of_store(folder: Path, epoch: float, events: int) -> list[dict[str, Any]]:  # noqa: ARG001 - it has its own
    """Measure a resume, and a snapshot of few awake assets, in the largest fleet, whatever the events."""
    one = recovery.measure(ASSETS[-1], 2 * ASSETS[-1], epoch)
    return [
        {
            "assets": one["assets"],
            "resume": one["resume"],
            "processor": one["processor"],
            "pause": one["some"],
        }
    ]


PARTS: dict[str, Callable[[Path, float, int], list[dict[str, Any]]]] = {
    "assets": by_assets,
    "targets": by_targets,
    "processes": by_processes,
    "store": of_store,
    "topic": by_topic,
}
_WITHOUT_BROKER = [part for part in PARTS if part != "topic"]
#: Columns of the tables: what is measured, and how it is written.
COLUMNS = {
    "assets": ("assets", ",.0f"),
    "targets": ("targets", ",.0f"),
    "processes": ("processes", ",.0f"),
    "lanes": ("lanes", ",.0f"),
    "time": ("µs an event", ",.1f"),
    "each": ("µs an event and target", ",.2f"),
    "rate": ("events a second", ",.0f"),
    "processor": ("processor", ",.1f"),
    "busiest": ("of the busiest process", ",.1f"),
    "broker": ("of the broker", ",.1f"),
    "memory": ("peak memory, MB", ",.0f"),
    "resume": ("resume, s", ",.1f"),
    "pause": ("snapshot, s", ",.2f"),
    "paused": ("its processor, s", ",.2f"),
}


def _microseconds(run: speed.Measured) -> float:
    return run["steady"]["processor"] / run["steady"]["events"] * 1e6


def missed(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return what is beyond the bars, a sentence each."""
    wrong = []
    times = {one["assets"]: one["time"] for one in found.get("assets", ())}
    if times and times[ASSETS[-1]] > LARGE * times[1_000]:
        ratio = times[ASSETS[-1]] / times[1_000]
        wrong.append(f"an event of {ASSETS[-1]:,} assets takes {ratio:.2f} times one of 1,000; bar {LARGE:g}")
    for one in found.get("store", ()):
        if one["resume"] > RESUME:
            wrong.append(f"a resume takes {one['resume']:.1f} s; bar {RESUME:g}")
        if one["pause"] > PAUSE:
            wrong.append(f"a snapshot takes {one['pause']:.2f} s; bar {PAUSE:g}")
    return wrong


#: Panels of the picture: part, what is on its axes, and how the parts of the first axis are spaced.
_PANELS = (
    ("assets", "assets", "time", "µs an event, by assets"),
    ("targets", "targets", "each", "µs an event and target, by targets"),
    ("processes", "split", "rate", "events a second, by processes"),
    ("topic", "split", "rate", "events a second from a topic"),
)
_WIDTH, _HEIGHT = 230, 230


def plot(found: dict[str, list[dict[str, Any]]]) -> str:
    """Draw a panel for each part that was measured, as SVG: bars from zero, with their figures."""
    panels = [panel for panel in _PANELS if panel[0] in found]
    width = _WIDTH * len(panels)
    label = "; ".join(panel[3] for panel in panels)
    body = "".join(
        _panel(found[part], x, y, title, _WIDTH * n) for n, (part, x, y, title) in enumerate(panels)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" font-size="12" '
        f'font-family="sans-serif" role="img" aria-label="{html.escape(label)}">'
        f'<rect width="{width}" height="{_HEIGHT}" fill="#fff"/>{body}</svg>\n'
    )


def _panel(rows: list[dict[str, Any]], x: str, y: str, title: str, left: int) -> str:
    top, bottom, step = 40, _HEIGHT - 30, (_WIDTH - 40) / len(rows)
    most = max(row[y] for row in rows)
    parts = [f'<text x="{left + 20}" y="20">{html.escape(title)}</text>']
    for number, row in enumerate(rows):
        middle, height = left + 20 + step * (number + 0.5), (bottom - top - 10) * row[y] / most
        figure = f"{row[y]:,.0f}" if row[y] >= 100 else f"{row[y]:.{1 if row[y] >= 10 else 2}f}"
        parts.append(
            f'<rect x="{middle - step * 0.3:.1f}" y="{bottom - height:.1f}" width="{step * 0.6:.1f}" '
            f'height="{height:.1f}" fill="#0072b2"/>'
            f'<text x="{middle:.1f}" y="{bottom - height - 4:.1f}" text-anchor="middle">{figure}</text>'
            f'<text x="{middle:.1f}" y="{bottom + 16}" text-anchor="middle">{_label(row[x])}</text>'
        )
    return "".join([*parts, f'<path d="M{left + 20} {bottom}h{_WIDTH - 40}" stroke="#555"/>'])


def _label(value: int | str) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def machine() -> str:
    """Return what the figures were measured on."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    name = names[0].partition(":")[2].strip() if names else platform.machine()
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores of {name}, Python {platform.python_version()}, load {load:.1f} at the end"


def _tables(found: dict[str, list[dict[str, Any]]]) -> Iterator[Table]:
    for part, rows in found.items():
        shown = [name for name in COLUMNS if name in rows[0]]
        unit = "processor, s" if part == "store" else "processor, µs an event"
        table = Table(*(unit if name == "processor" else COLUMNS[name][0] for name in shown), title=part)
        for row in rows:
            table.add_row(*(format(row[name], COLUMNS[name][1]) for name in shown))
        yield table
    if "targets" in found:
        rows = found["targets"]
        columns = (f"{row['targets']:,} targets" for row in rows)
        table = Table("step", *columns, title="where it goes: µs an event, with a stopwatch on every step")
        for step in rows[0]["steps"]:
            table.add_row(step, *(f"{row['steps'][step]:,.1f}" for row in rows))
        yield table


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="How the cost of an event grows.")
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=_WITHOUT_BROKER)
    parser.add_argument("--epoch", type=float, default=10.0, help="seconds between snapshots (default 10)")
    parser.add_argument("--events", type=int, default=60_000, help="that are timed in a run (default 60,000)")
    parser.add_argument("--plot", type=Path, help="draw what was measured into this file, as SVG")
    parser.add_argument("--json", type=Path, help="figures by part; those of earlier runs in it are kept")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--warm", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--profile", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        sys.stdout.write(
            orjson.dumps(_child(given.child, given.warm, given.epoch, profile=given.profile)).decode() + "\n"
        )
        return
    console = Console()
    found = orjson.loads(given.json.read_bytes()) if given.json and given.json.exists() else {}
    for part in given.parts:
        with tempfile.TemporaryDirectory() as name, console.status(part):
            found[part] = PARTS[part](Path(name), given.epoch, given.events)
        if given.json:
            given.json.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    for table in _tables(found):
        console.print(table)
    console.print(machine(), highlight=False)
    if given.plot:
        given.plot.write_text(plot(found), encoding="utf-8")
    for sentence in missed(found):
        console.print(sentence, style="bold red", highlight=False)


if __name__ == "__main__":
    main()
