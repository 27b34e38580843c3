"""The proof at size: a million events, one in ten of them late, with weather, audited to the last bit.

``python -m studies audit`` simulates a fleet as it is in the field, runs the dataflow on it with all
features written, and audits that run: against its recording, against one from which one event was taken, and
against one of which one reading was altered by a thousandth. The first has to be equal, the others have to be
found, with asset, time and event.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from dataflows.evaluation.reading import SERVED
from dataflows.instants import format_instant, parse_instant, shown_instant
from dataflows.simulator import load_scenario, write

FLEET = """
name = "audited"
[input]
files = ["events.jsonl"]
[output]
features = "all"
[assets]
adopt_as = "truck"
[classes.truck]
sensors = ["coolant_level", "engine_temperature", "fan_speed", "load"]
faults = ["low_coolant", "overheating"]
maintenance = ["coolant_leak"]
allowed_lateness = "2h"
label_delay = "4d"
example_every = "4h"
compare = 0.1
expressions = { over_air = "engine_temperature - weather.temperature" }
[classes.truck.weather]
values = ["temperature"]
max_age = "6h"
[[classes.truck.windows]]
length = "6h"
hop = "30m"
statistics = ["count", "mean", "std", "max", "slope"]
[[targets]]
class = "truck"
mode = "coolant_leak"
horizon = "48h"
champion = "prior"
[models.prior]
pipeline = [{ estimator = "dataflows.estimators.Prior" }]
"""


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Audit a run over a million events, honest and tampered.")
    parser.add_argument("--trucks", type=int, default=150, help="of the simulated fleet")
    parser.add_argument("--days", type=int, default=180, help="that are recorded")
    parser.add_argument(
        "--least", type=int, default=1_000_000, help="messages of telemetry that there have to be"
    )
    parser.add_argument("--fleet", type=Path, help="another fleet.toml, whose input is events.jsonl")
    parser.add_argument("--folder", type=Path, help="where to work; default: one that is deleted afterwards")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        fleet = folder / "fleet.toml"
        fleet.write_text(FLEET if given.fleet is None else given.fleet.read_text())
        _audit(fleet, given.trucks, given.days, given.least)


def _audit(fleet: Path, trucks: int, days: int, least: int) -> None:
    console = Console()
    folder = fleet.parent
    table = Table("step", "seconds", "what came out", title="The audit")
    began = time.perf_counter()
    scenario = load_scenario("field", trucks=trucks, days=days)
    late = scenario.delivery.model_copy(update={"late": 0.1})
    events = write(scenario.model_copy(update={"delivery": late}), folder).events
    with events.open("rb") as file:
        count = sum(b'"kind":"telemetry"' in line for line in file)
    assert count >= least, (
        f"{count:,} messages of telemetry, fewer than {least:,}; give more --trucks or --days"
    )
    megabytes = events.stat().st_size / 1e6
    table.add_row("simulate", _since(began), f"{count:,} messages of telemetry, {megabytes:,.0f} MB")

    began = time.perf_counter()
    _command("run", str(fleet), "--no-recovery", "--fresh")
    size = (folder / "out" / "predictions.jsonl").stat().st_size / 1e6
    table.add_row("run", _since(began), f"{size:,.0f} MB of predictions with features")

    began = time.perf_counter()
    done = _command("audit", str(fleet))
    assert done.startswith("Equal to the last bit"), done
    table.add_row("audit", _since(began), done.splitlines()[0])

    line, event = _chosen(events, folder / "out" / "predictions.jsonl", count // 2)
    sensor = next(name for name, value in event["readings"].items() if value is not None)
    changed = event | {"readings": event["readings"] | {sensor: event["readings"][sensor] + 0.001}}
    told: list[str] = []
    for what, put in (("removed", None), ("altered", changed)):
        began = time.perf_counter()
        tampered = _tampered(events, line, put)
        done = _command("audit", str(fleet), str(tampered), status=1)
        tampered.unlink()
        at = shown_instant(parse_instant(event["time"]))
        first = next(row for row in done.splitlines() if row.startswith("First difference"))
        named = f"{at} has no event in the recording" if put is None else f"is made of {sensor}"
        assert event["asset"] in first, done
        assert at in first, done
        assert named in done, done
        assert put is None or f"line {line + 1} " in done, done
        table.add_row(f"one event {what}", _since(began), first)
        told.append(
            f"One event {what}: line {line + 1:,}, {event['asset']}, {at}.\n{done.partition('Events of')[0]}"
        )
    console.print(table, *told, sep="\n\n")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    console.print(f"At most {peak:,.0f} MB of memory.")


def _since(began: float) -> str:
    return f"{time.perf_counter() - began:,.0f}"


def _command(*arguments: str, status: int = 0) -> str:
    """What a command of the project prints, with tables wide enough for paths."""
    command = [sys.executable, "-m", "dataflows", *arguments]
    wide = {**os.environ, "COLUMNS": "300"}
    done = subprocess.run(command, env=wide, capture_output=True, text=True, check=False)
    assert done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def _chosen(events: Path, predictions: Path, after: int) -> tuple[int, dict[str, Any]]:
    """Line and content of telemetry that was scored at once, and came once, behind a line."""
    came: Counter[tuple[str, str]] = Counter()
    rows = []
    with events.open("rb") as file:
        for line, raw in enumerate(file):
            if b'"telemetry"' in raw and after - 20_000 < line < after + 20_000:
                event = orjson.loads(raw)
                came[event["asset"], event["time"]] += 1
                if line >= after and any(value is not None for value in event["readings"].values()):
                    rows.append((line, event))
    on_time = set()
    for row in SERVED.rows(predictions):
        if not row.revision and row.sequence >= after:
            on_time.add((row.asset, row.time))
        if row.sequence > after + 20_000:
            break
    for line, event in rows:
        key = event["asset"], format_instant(parse_instant(event["time"]))
        if came[event["asset"], event["time"]] == 1 and key in on_time and _known(event):
            return line, event
    msg = "no telemetry in the middle of the recording was scored at once"
    raise LookupError(msg)


def _known(event: dict[str, Any]) -> bool:
    """Whether the first reading that is given is a feature of the fleet above."""
    first = next(name for name, value in event["readings"].items() if value is not None)
    return f'"{first}"' in FLEET


def _tampered(events: Path, line: int, put: dict[str, Any] | None) -> Path:
    """The recording without a line, or with another in its place."""
    path = events.with_name("tampered.jsonl")
    with events.open("rb") as source, path.open("wb") as target:
        for number, raw in enumerate(source):
            if number != line:
                target.write(raw)
            elif put is not None:
                target.write(orjson.dumps(put) + b"\n")
    return path


if __name__ == "__main__":
    main()
