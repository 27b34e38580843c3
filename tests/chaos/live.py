"""Live files: a fleet of pumps that follows them, players that write them, and a replay beside the run."""

from __future__ import annotations

import contextlib
import random
import signal
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import libfaketime
import orjson

from dataflows.connectors.order_journal import Entry, entries_of
from dataflows.fleet import load
from dataflows.instants import MICROSECONDS, format_instant, parse_instant
from dataflows.items import Tick
from dataflows.pipeline import run_lines
from tests.chaos.harness import arguments, assert_same, dataflows, eventually, outputs
from tests.processes import PATIENCE, environment, start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.processes import Process

FLEET = """
name = "live"

[input]
files = ["telemetry.jsonl", "reports.jsonl"]
follow = true
tick_every = "100ms"
tick_slack = "100ms"

[output]
folder = "out"

[classes.pump]
sensors = ["pressure"]
allowed_lateness = "1s"
label_delay = "2s"
example_every = "2s"
idle_timeout = "1s"
asset_ttl = "14s"

[[classes.pump.windows]]
length = "12s"

[[targets]]
class = "pump"
mode = "seal"
horizon = "8s"
champion = "linear"
alert = { open = 0.3, clear = 0.2 }

[models.linear]
pipeline = [
  { estimator = "river.preprocessing.StandardScaler" },
  { estimator = "river.linear_model.LogisticRegression" },
]
"""


SECOND = MICROSECONDS["s"]
START = parse_instant("2025-01-01T00:00:00Z")
PUMPS = 30


def recorded(folder: Path, seconds: int, seed: int = 5) -> list[Path]:
    """Two files of what a gateway received: some 7 messages a second of telemetry, and reports."""
    chance = random.Random(seed)
    files: dict[str, list[tuple[int, bytes]]] = {"telemetry": [], "reports": []}
    for number in range(PUMPS):
        at, wear = START + chance.randrange(4 * SECOND), chance.random()
        while at < START + seconds * SECOND:
            # Now and then an asset is silent for so long that it is dropped.
            at += int(chance.choice([2, 3, 4, 5, 5, 5, 20]) * SECOND * chance.uniform(0.8, 1.2))
            arrived = at + chance.choice([10, 10, 20, 900, 2_500]) * MICROSECONDS["ms"]
            event = {
                "asset": f"pump-{number}",
                "time": format_instant(at),
                "arrived": format_instant(arrived),
            }
            readings = {"readings": {"pressure": round(9 - 5 * wear + chance.gauss(0, 0.5), 3)}}
            line = orjson.dumps({"kind": "telemetry", **event, **readings})
            copies = 1 + (chance.random() < 0.03)
            files["telemetry"] += [(arrived, line)] * copies
            if chance.random() < 0.02:
                files["telemetry"].append((arrived, line[:-9]))
            wear += 0.02
            if wear > 1 or chance.random() < 0.02:
                what = {"kind": "failure", "mode": "seal"} if wear > 1 else {"kind": "maintenance"}
                later = arrived + chance.randrange(4 * SECOND)
                row = orjson.dumps({**what, **event, "arrived": format_instant(later)})
                files["reports"].append((later, row))
                wear = 0.0
    paths = []
    for name, lines in files.items():
        path = folder / f"{name}.recorded"
        path.write_bytes(b"".join(line + b"\n" for _, line in sorted(lines)))
        paths.append(path)
    return paths


def begin(folder: Path, seconds: int) -> tuple[Path, list[Path]]:
    """A fleet whose live files are still empty, and the recordings that will be played into them."""
    fleet = folder / "fleet.toml"
    fleet.write_text(FLEET, encoding="utf-8")
    played = recorded(folder, seconds)
    for path in played:
        path.with_suffix(".jsonl").touch()
    return fleet, played


@contextmanager
def players(played: list[Path], speed: int) -> Iterator[list[Process]]:
    """Processes that write the live files at a multiple of real time."""
    with ExitStack() as stack:
        running = []
        for path in played:
            into = str(path.with_suffix(".jsonl"))
            command = ["replay", str(path), "--into", into, "--speed", str(speed)]
            process = start("dataflows", *command, env=environment(), out=path.with_suffix(".log"))
            stack.callback(process.wait)
            stack.callback(process.kill)
            running.append(process)
        yield running


def ahead_of(by: str) -> dict[str, str]:
    """What makes a process see the host's clock moved; the monotonic one stays."""
    return {**libfaketime.get_reload_information()[1], "FAKETIME": by}


@contextmanager
def following(fleet: Path, *, ahead: str | None = None, batch: int = 200) -> Iterator[Process]:
    """A run that follows; in a process that sees the host's clock ahead, if asked."""
    env = environment(FLEET_BATCH=str(batch)) | ({} if ahead is None else ahead_of(ahead))
    log = fleet.parent / "run.log"
    process = start("dataflows", *arguments(fleet, "--epoch", "500ms"), env=env, out=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def latest(fleet: Path) -> list[Entry]:
    """The last entries of the journal, of which one may be half written."""
    paths = sorted((fleet.parent / "store" / "journal").glob("*.log"))
    if not paths:
        return []
    with paths[-1].open("rb") as file:
        file.seek(max(0, paths[-1].stat().st_size - 2_000))
        lines = file.read().split(b"\n")[1:-1]
    contents = [orjson.loads(line[9:]) for line in lines]
    return [Entry(*content) for content in contents if isinstance(content, list)]


def read(fleet: Path) -> int:
    """Records chosen so far, or a few less."""
    entries = latest(fleet)
    return entries[-1].sequence if entries else 0


def is_silent(fleet: Path) -> bool:
    """Whether time has gone on for a second and more since the last record."""
    last = latest(fleet)[-12:]
    return len(last) == 12 and all(isinstance(entry.chosen, int) for entry in last)


def told(running: list[Process], number: signal.Signals) -> None:
    for player in running:
        player.send_signal(number)


def silence(fleet: Path, running: list[Process], process: Process) -> None:
    """Stop the players until ticks have gone on for a while."""
    told(running, signal.SIGSTOP)
    eventually(lambda: is_silent(fleet), process)
    told(running, signal.SIGCONT)


def count(played: list[Path]) -> int:
    return sum(path.read_bytes().count(b"\n") for path in played)


def all_read(fleet: Path, played: list[Path], running: list[Process], process: Process) -> None:
    """Wait until this run has read everything, and time went on for a while after the last record.

    Runs before it may have chosen all there was, and the journal tells nothing of how much of that is
    repeated by now. So one record more is written when this run is up: only it can choose that, and it does
    so after everything before it.
    """
    eventually(lambda: is_up(fleet, process), process)
    for player in running:
        assert player.wait(PATIENCE) == 0
    recording = played[0].read_bytes()
    with played[0].with_suffix(".jsonl").open("ab") as file:
        file.write(recording[recording[:-1].rindex(b"\n") + 1 :])
    total = count(played) + 1
    eventually(lambda: read(fleet) == total and is_silent(fleet), process)


def is_up(fleet: Path, process: Process) -> bool:
    """Whether a run has opened its input."""
    folder = Path(f"/proc/{process.pid}/fd")
    found = []
    for link in folder.iterdir():
        # Descriptors come and go while they are looked at.
        with contextlib.suppress(OSError):
            found.append(link.resolve())
    return fleet.parent / "reports.jsonl" in found


def ended(process: Process, fleet: Path) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0, (fleet.parent / "run.log").read_text()


def replayed(fleet: Path, out: str, *more: str) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Outputs and summary of a replay at full speed."""
    ran = dataflows("replay", "--fleet", str(fleet), "--out", str(fleet.parent / out), *more)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return found(fleet, out)


def found(fleet: Path, out: str) -> tuple[dict[str, bytes], dict[str, Any]]:
    folder = fleet.parent / out
    return outputs(folder), orjson.loads((folder / "summary.json").read_bytes())


def assert_replay_equals_live(fleet: Path) -> dict[str, bytes]:
    """Byte by byte, with the journal; and the stages alone make the same of what it chose."""
    live, live_summary = found(fleet, "out")
    again, summary = replayed(fleet, "again", "--journal", str(fleet.parent / "store" / "journal"))
    assert_same(again, live)
    assert summary == live_summary
    inline = run_lines(load(fleet), chosen(fleet))
    for name in ("predictions", "alerts", "evaluations", "metrics", "changes"):
        assert live[name].splitlines() == inline[name], name
    return live


def chosen(fleet: Path) -> Iterator[bytes | Tick]:
    """Records and ticks as the journal has them, cut out of the files by hand."""
    contents = [(fleet.parent / f"{name}.jsonl").read_bytes() for name in ("telemetry", "reports")]
    for entry in entries_of(fleet.parent / "store" / "journal", 2):
        if isinstance(entry.chosen, int):
            yield Tick(entry.chosen)
            continue
        for run in entry.chosen:
            yield from contents[run.partition][run.start : run.end].splitlines()
