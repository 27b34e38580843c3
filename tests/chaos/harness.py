"""What the tests of recovery share: a messy recording, its fleet, and runs that are killed."""

from __future__ import annotations

import os
import random
import secrets
import select
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from dataflows.fleet import load
from dataflows.instants import HOUR, format_instant, parse_instant
from dataflows.outputs import OUTPUTS
from dataflows.pipeline import run_lines
from dataflows.simulator import Scenario, simulate
from tests.processes import PATIENCE, environment, run, start
from tests.tables import PRIOR

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.processes import Process

FLEET = (
    """
name = "chaos"
figures_from = 2025-05-05T00:00:00Z
metrics_every = "3d"

[input]
files = ["events.jsonl"]

[output]
folder = "out"
features = "all"

[assets]
unknown = "adopt"
adopt_as = "truck"
max_assets = 18
clock = { tolerance = "2s" }   # so short that delays are taken for wrong clocks now and then

[classes.truck]
sensors = ["coolant_level", "engine_temperature", "fan_speed"]
allowed_lateness = "2h"
label_delay = "12h"
example_every = "2h"
compare = 0.5

[[classes.truck.windows]]
length = "6h"
hop = "1h"
statistics = ["mean", "max", "slope", "missing"]

[[targets]]
class = "truck"
mode = "coolant_leak"
horizon = ["12h", "48h"]
champion = "linear"

[models.linear]
pipeline = [
  { estimator = "river.preprocessing.StandardScaler" },
  { estimator = "river.linear_model.LogisticRegression" },
]

[models.tree]
pipeline = [{ estimator = "river.tree.HoeffdingTreeClassifier", grace_period = 50 }]

[models.table]    # 128 KB: big, so between its snapshots what it learned is kept as a log
pipeline = [{ estimator = "tests.chaos.models.Table", cells = 16_384 }]
"""
    + PRIOR
)


def recording(days: int = 40, trucks: int = 20, seed: int = 3) -> list[bytes]:
    """Lines of a simulated fleet with everything that goes wrong in one: about 165 a day for 20 trucks."""
    chance = random.Random(seed)
    clean = list(simulate(Scenario(trucks=trucks, days=days, every="1h", seed=seed)).events())
    lines: list[bytes] = []
    for index, event in enumerate(clean):
        lines.append(orjson.dumps(event))
        if chance.random() < 0.06:
            lines.extend(_trouble(chance, clean, index))
    return lines


def _trouble(chance: random.Random, clean: list[dict[str, Any]], index: int) -> Iterator[bytes]:
    """Records that are malformed, twice, late, too late, or reports of failures and work after the fact."""
    event, arrived = clean[index], clean[index]["arrived"]
    kind = chance.randrange(6)
    if kind == 0:
        yield chance.choice([b"no JSON", b'{"kind":"telemetry"}', orjson.dumps(event)[:-9], b"\xff\xfe{}"])
    elif kind == 1:
        yield orjson.dumps(event)
    elif kind in {2, 3}:
        back = chance.randrange(1, 12) if kind == 2 else chance.randrange(200, 600)
        late = clean[max(0, index - back)]
        if late["kind"] == "telemetry":
            time = format_instant(parse_instant(late["time"]) - 60_000_000)
            yield orjson.dumps({**late, "time": time, "arrived": arrived})
    else:
        time = format_instant(parse_instant(event["time"]) - chance.randrange(0, 60) * HOUR)
        what = {"kind": "failure", "mode": "coolant_leak"} if kind == 4 else {"kind": "maintenance"}
        yield orjson.dumps({**what, "asset": event["asset"], "time": time, "arrived": arrived})


def prepare(folder: Path, lines: list[bytes], fleet: str = FLEET) -> Path:
    """Write the recording and its fleet.toml into a folder; returns the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "events.jsonl").write_bytes(b"\n".join([*lines, b""]))
    path = folder / "fleet.toml"
    path.write_text(fleet, encoding="utf-8")
    return path


def outputs(folder: Path) -> dict[str, bytes]:
    """Contents of the output files; one without a row is made only at the end of the input."""
    files = {name: folder / f"{name}.jsonl" for name in OUTPUTS}
    return {name: path.read_bytes() if path.exists() else b"" for name, path in files.items()}


def rows(data: bytes) -> list[dict[str, Any]]:
    """Rows of one output."""
    return [orjson.loads(line) for line in data.splitlines()]


#: What the order in which models learned may change.
OPEN = {"score", "scores", "link"}


def settled(data: bytes, *key: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows by key, without what may differ; a key that comes twice is an error."""
    found = rows(data)
    by_key = {
        tuple(row[each] for each in key): {k: v for k, v in row.items() if k not in OPEN} for row in found
    }
    assert len(by_key) == len(found), f"{len(found) - len(by_key)} rows came twice"
    return by_key


#: Changes that rest on scores: who serves, and verdicts on challengers.
_BY_SCORES = {"champion", "verdict"}
#: Changes that are written with the first score of a target, whichever process sends one first.
_AT_FIRST_SCORE = {"lineage", "threshold"}
_PLACE = {"known", "sequence", "arrival", "watermark"}


def unplaced(data: bytes) -> list[bytes]:
    """Rows without what depends on the path of the recording and on the order of learning, sorted."""
    out = []
    for row in rows(data):
        if row.get("change") in _BY_SCORES:
            continue
        left_out = {"source", *(_PLACE if row.get("change") in _AT_FIRST_SCORE else ())}
        out.append(orjson.dumps({key: value for key, value in row.items() if key not in left_out}))
    return sorted(out)


def assert_same_but_scores(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    """The same ids, features, examples, labels, late records, rejects and changes, in any order."""
    for name, key in (("predictions", ("id",)), ("examples", ("id",)), ("evaluations", ("id", "correction"))):
        assert settled(found[name], *key) == settled(expected[name], *key)
    for name in ("late", "rejects", "changes"):
        assert unplaced(found[name]) == unplaced(expected[name])


def inline_outputs(fleet: Path) -> dict[str, bytes]:
    """What the stages make of the recording without the engine."""
    events = fleet.parent / "events.jsonl"
    found = run_lines(load(fleet, environ={}), events.read_bytes().splitlines(), str(events))
    return {name: b"".join(row + b"\n" for row in found[name]) for name in OUTPUTS}


def assert_same(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    """Byte-identical outputs; where not, the first differing line and not megabytes of difference."""
    for name in OUTPUTS:
        if found[name] != expected[name]:
            pairs = zip(found[name].splitlines(), expected[name].splitlines(), strict=False)
            differing = ((n, a, b) for n, (a, b) in enumerate(pairs, start=1) if a != b)
            lengths = len(found[name]), len(expected[name])
            number, a, b = next(differing, (0, b"one is longer", b"than the other"))
            msg = f"{name}, line {number}, {lengths} bytes:\n{a!r}\n{b!r}"
            raise AssertionError(msg)


def arguments(fleet: Path, *more: str, store: str = "store") -> list[str]:
    """Of ``python -m dataflows`` for a run with epochs well below a second."""
    return ["run", str(fleet), "--recovery", str(fleet.parent / store), "--epoch", "50ms", *more]


def dataflows(*args: str, limit: float = PATIENCE, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m dataflows`` to its end, which has to come within so many seconds."""
    return run("dataflows", *args, env=environment(**extra), limit=limit)


def finish(fleet: Path, *more: str, **extra: str) -> dict[str, bytes]:
    """Run a fleet to the end of its input; returns its outputs."""
    ran = dataflows(*arguments(fleet, *more), **extra)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return outputs(fleet.parent / "out")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, on this machine only; below those that outgoing connections take."""
    found: dict[int, socket.socket] = {}
    while len(found) < count:
        port = 10_000 + secrets.randbelow(10_000)
        with suppress(OSError):
            found[port] = socket.create_server(("127.0.0.1", port))
    for each in found.values():
        each.close()
    return list(found)


def eventually(condition: Callable[[], bool], process: Process) -> None:
    """Wait until something is so, while a process goes on."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, "the process ended before what was waited for"
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.005)


@dataclass(frozen=True)
class Moment:
    """When to kill a run.

    Attributes:
        seconds: after its second read, so after its first records; or, where None,
        epochs: after so many whole epochs,
        snapshots: at the so-manieth snapshot of the next; or, where given,
        records: as soon as so many records were read, by this run and those before it.
    """

    seconds: float | None = None
    epochs: int = 0
    snapshots: int = 0
    records: int | None = None


@dataclass(frozen=True)
class Killed:
    """What became of a run that was killed.

    Attributes:
        resumed: byte offset from which it went on, 0 for the beginning.
        within: whether it died between the first snapshot of an epoch and the source's next read.
        records: read in all, by it and the runs before it.
    """

    resumed: int
    within: bool
    records: int


def kill(fleet: Path, moment: Moment, *more: str, pause: float = 0.01, **extra: str) -> Killed:
    """Run a fleet, slowed down and traced, and kill it with -9 at a moment."""
    trace, told = os.pipe()
    env, log = environment(CHAOS_PAUSE=str(pause), **extra), fleet.parent / "killed.log"
    process = start("tests.chaos.traced", *arguments(fleet, *more), env=env, out=log, trace=told)
    os.close(told)
    try:
        lines = _follow(trace, moment)
        process.send_signal(signal.SIGKILL)
        lines += b"".join(iter(lambda: os.read(trace, 1 << 16), b""))
    finally:
        process.kill()
        process.wait()
        os.close(trace)
    assert process.returncode == -signal.SIGKILL, log.read_text()
    return _judged(lines.split(b"\n")[:-1])


def stop_before_the_first_record(fleet: Path, *more: str, **extra: str) -> None:
    """Run a fleet, and send it SIGTERM while its first read of records is under way."""
    trace, told = os.pipe()
    env, log = environment(CHAOS_PAUSE="0.3", **extra), fleet.parent / "stopped.log"
    process = start("tests.chaos.traced", *arguments(fleet, *more), env=env, out=log, trace=told)
    os.close(told)
    try:
        lines = _follow(trace, Moment(records=0))
        process.send_signal(signal.SIGTERM)
        lines += b"".join(iter(lambda: os.read(trace, 1 << 16), b""))
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
        os.close(trace)
    assert process.returncode == 0, log.read_text()
    read = {line for line in lines.splitlines() if line.startswith(b"read")}
    assert len(read) == 1, f"a record was read: {read}"


def _follow(trace: int, moment: Moment) -> bytes:
    """Read the trace until the moment has come, or the run has ended by itself."""
    lines, begun, deadline = b"", False, time.monotonic() + PATIENCE
    while not _has_come(lines, moment):
        if moment.seconds is not None and not begun and lines.count(b"read") > 1:
            begun, deadline = True, time.monotonic() + moment.seconds
        if not select.select([trace], [], [], max(0.0, deadline - time.monotonic()))[0]:
            break
        more = os.read(trace, 1 << 16)
        if not more:
            break
        lines += more
    return lines


def _has_come(lines: bytes, moment: Moment) -> bool:
    if moment.seconds is not None:
        return False
    if moment.records is not None:
        told = (line.split() for line in lines.split(b"\n")[:-1])
        return any(what == b"read" and int(number) >= moment.records for what, number in told)
    epochs = [epoch for epoch in lines.split(b"read") if b"snapshot" in epoch]
    after = epochs[moment.epochs :]
    return len(after) > 1 or (bool(after) and after[0].count(b"snapshot") >= moment.snapshots)


def _judged(lines: list[bytes]) -> Killed:
    told = [(what, int(number)) for what, number in (line.split() for line in lines)]
    resumed = next((number for what, number in told if what == b"resumed"), 0)
    records = max((number for what, number in told if what == b"read"), default=0)
    return Killed(resumed, told[-1][0] == b"snapshot", records)
