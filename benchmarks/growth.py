"""What grows under a steady load, and what must not.

``python -m benchmarks growth --minutes 10`` writes 500 events a second of 50 assets into a file that a run
follows, with an epoch a second, and looks at what the run leaves on the disk. The events are so far apart in
event time that the run spans 72 hours of it, however long it takes: 20 in the windows and 4 in a horizon of
2 h with its memory of 6 h are soon over, so that after a quarter of it nothing has to grow any more but

- the outputs, evenly: a row of predictions for every event, in files of at most 1 MB (``rotate``);
- the order journal, by an entry of some 60 bytes for each look at the input that found something, at most 20
  a second;
- the log, by a line a minute and one for each change.

The recovery store has to stay as it is: of every key it holds the last two snapshots or so; older ones are
deleted, and their pages are used again. Beside each of its files lies SQLite's log, which grows up to 1,000
pages (4 MB) or the largest epoch, and is then written from its beginning again. The memory has to stay, too.
Figures are exact up to 4,096 distinct scores of each model, so their snapshot grows until then.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import orjson
from rich.console import Console
from rich.table import Table

from dataflows.connectors.file_sink import end_of, files_of, lines_of
from dataflows.instants import HOUR, format_instant, parse_instant
from dataflows.outputs import OUTPUTS
from dataflows.recovery.sqlite_files import opened, part_files
from dataflows.recovery.store import PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Sample", "check", "main"]

ASSETS = 50
SPAN = 72 * HOUR
FILE = 1_000_000
#: Bars: how much snapshots and memory (MB) may grow after the first quarter, and how uneven outputs may grow.
STATE_GROWTH, MEMORY_GROWTH, UNEVEN = 0.15, 25.0, 0.15
#: Figures of both models are exact up to 4,096 distinct scores: until so many events their snapshot grows, to
#: so many bytes.
RANKED_EVENTS, RANKED = 9_000, 530_000
#: Snapshots of a key; bytes of the store's files for each of them, and of a file without any; of a log.
ROWS, ROOM, EMPTY, LOG = 3.5, 3.0, 100_000, 5_000_000
#: Bytes of an entry of the journal, and entries a second.
ENTRY, ENTRIES = 90, 25
_START = parse_instant("2025-01-01T00:00:00Z")
_SAMPLES = 24
_NAP = 0.05

FLEET = """
name = "growth"
metrics_every = "6h"

[input]
files = ["live.jsonl"]
follow = true

[output]
folder = "out"
rotate = "1MB"

[assets]
unknown = "adopt"
adopt_as = "machine"

[classes.machine]
sensors = ["temperature", "pressure"]
example_every = "1h"
allowed_lateness = "10m"

[[classes.machine.windows]]
length = "1h"

[[classes.machine.windows]]
length = "6h"

[[targets]]
class = "machine"
mode = "wear"
horizon = "2h"
champion = "linear"
alert = { open = 0.2 }

[models.linear]
pipeline = [
  { estimator = "river.preprocessing.StandardScaler" },
  { estimator = "river.linear_model.LogisticRegression" },
]

[models.bayes]
features = ["*:mean:*"]
pipeline = [{ estimator = "river.naive_bayes.GaussianNB" }]
"""


class Sample(NamedTuple):
    """What there is at one time; all but the first three in bytes.

    Attributes:
        seconds: since the first event.
        events: written so far.
        rows: snapshots in the store, a key.
        state: all snapshots in it.
        store: its files.
        logs: SQLite's logs beside them.
        journal: files of the order journal.
        outputs: all of them.
        log: of the run.
        memory: of the process.
    """

    seconds: float
    events: int
    rows: float
    state: int
    store: int
    logs: int
    journal: int
    outputs: int
    log: int
    memory: int


def _sample(folder: Path, process: subprocess.Popen[bytes], seconds: float, events: int) -> Sample:
    rows = keys = state = 0
    for path in part_files(folder / "store"):
        with opened(path) as connection:
            count, distinct, size = connection.execute(
                "SELECT count(*), count(DISTINCT step_id || ' ' || state_key),"
                " ifnull(sum(length(ser_change)), 0) FROM snaps"
            ).fetchone()
            rows, keys, state = rows + count, keys + distinct, state + size
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").split()
    return Sample(
        seconds,
        events,
        rows / max(keys, 1),
        state,
        _size(folder / "store", "part-*.sqlite3"),
        _size(folder / "store", "part-*.sqlite3-wal"),
        _size(folder / "store" / "journal", "*"),
        sum(end_of(folder / "out" / f"{name}.jsonl") for name in OUTPUTS),
        (folder / "out" / "log.jsonl").stat().st_size,
        int(status[status.index("VmRSS:") + 1]) * 1_024,
    )


def _size(folder: Path, files: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(files))


class _Machines:
    """Events in order of arrival: readings, and a failure now and then, which wear foretells."""

    def __init__(self, total: int) -> None:
        self._chance = random.Random(3)
        self._step = SPAN // total
        self._worn = [self._chance.random() for _ in range(ASSETS)]
        self.events = self.telemetry = 0

    def line(self) -> bytes:
        """The next event."""
        asset, time = self.events % ASSETS, format_instant(_START + self.events * self._step)
        event = {"asset": f"m-{asset:02}", "time": time, "arrived": time}
        self._worn[asset] += self._step * ASSETS / (24 * HOUR)
        self.events += 1
        if self._worn[asset] > 1:
            self._worn[asset] = 0.0
            event |= {"kind": "failure", "mode": "wear"}
        else:
            self.telemetry += 1
            hot = self._chance.gauss(50.0 + 20.0 * (self._worn[asset] > 0.9), 5.0)
            readings = {"temperature": round(hot, 2), "pressure": round(self._chance.gauss(5.0, 1.0), 2)}
            event |= {"kind": "telemetry", "readings": readings}
        return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)


def _run(folder: Path, seconds: float, rate: int, console: Console) -> tuple[list[Sample], int]:
    """Samples at even distances, and how many events were telemetry."""
    machines = _Machines(int(seconds * rate))
    (folder / "fleet.toml").write_text(FLEET, encoding="utf-8")
    live = folder / "live.jsonl"
    live.touch()
    command = [sys.executable, "-m", "dataflows", "run", str(folder / "fleet.toml")]
    with (folder / "run.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--recovery", str(folder / "store")], stdout=log, stderr=subprocess.STDOUT
        )
    samples: list[Sample] = []
    try:
        with live.open("ab", buffering=0) as file, console.status("the run begins") as status:
            file.write(machines.line())
            while not (folder / "out" / "predictions.jsonl").exists():
                assert process.poll() is None, (folder / "run.log").read_text()
                time.sleep(_NAP)
            began = time.monotonic()
            while (passed := time.monotonic() - began) < seconds:
                due = int(passed * rate) - machines.events
                file.write(b"".join(machines.line() for _ in range(due)))
                if passed >= (len(samples) + 1) * seconds / _SAMPLES:
                    samples.append(_sample(folder, process, passed, machines.events))
                    status.update(f"{passed:,.0f} of {seconds:,.0f} s, {machines.events:,} events")
                assert process.poll() is None, (folder / "run.log").read_text()
                time.sleep(_NAP)
            status.update("the run catches up, and is stopped")
            _await_rows(folder / "out", machines.telemetry)
            samples.append(_sample(folder, process, seconds, machines.events))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (folder / "run.log").read_text()
    finally:
        process.kill()
        process.wait()
    return samples, machines.telemetry


def _await_rows(out: Path, telemetry: int) -> None:
    """Wait until there is a prediction for every event."""
    deadline = time.monotonic() + 120
    while sum(1 for _ in lines_of(out / "predictions.jsonl")) < telemetry:
        assert time.monotonic() < deadline, "the run does not keep up with this rate; give a smaller --rate"
        time.sleep(1.0)


def check(samples: Sequence[Sample]) -> list[str]:
    """What grew otherwise than documented; nothing is said of the first quarter, but of its rates."""
    quarter, half, last = (samples[round(part * (len(samples) - 1))] for part in (0.25, 0.5, 1.0))
    settled = samples[len(samples) // 4 :]
    wrong = []
    # How many snapshots of a key there are depends on the instant within an epoch.
    state = [sample.state / sample.rows for sample in settled]
    ranked = RANKED * max(0.0, 1.0 - settled[0].events / RANKED_EVENTS)
    if max(state) > state[0] * (1 + STATE_GROWTH) + ranked:
        wrong.append(f"snapshots grew by more than {STATE_GROWTH:.0%} after the first quarter")
    if last.store > max(sample.state for sample in settled) * ROOM + PARTITIONS * EMPTY:
        wrong.append(f"the store's files are larger than {ROOM:g} times what is in them")
    if max(sample.logs for sample in settled) > PARTITIONS * LOG:
        wrong.append(f"SQLite's logs are larger than {LOG:,} bytes each")
    if max(sample.rows for sample in settled) > ROWS:
        wrong.append(f"the store holds more than {ROWS:g} snapshots of a key: it is not compacted")
    if last.memory - quarter.memory > MEMORY_GROWTH * 1e6:
        wrong.append(f"memory grew by more than {MEMORY_GROWTH:g} MB after the first quarter")
    if last.journal > ENTRY * ENTRIES * last.seconds:
        wrong.append(f"the journal holds more than {ENTRIES} entries of {ENTRY} bytes a second")
    before, after = (
        (later.outputs - sooner.outputs) / (later.events - sooner.events)
        for sooner, later in ((quarter, half), (half, last))
    )
    if abs(after / before - 1) > UNEVEN:
        wrong.append(f"outputs grew by {before:,.0f} bytes an event, then by {after:,.0f}")
    return wrong


def _show(samples: Sequence[Sample], console: Console) -> None:
    columns = (
        "s",
        "events",
        "state, MB",
        "a key",
        "store, MB",
        "logs, MB",
        "journal, kB",
        "outputs, MB",
        "memory, MB",
    )
    table = Table(*columns, title="What there is")
    for column in table.columns:
        column.justify = "right"
    for sample in samples[:: max(1, len(samples) // 12)]:
        table.add_row(
            f"{sample.seconds:,.0f}",
            f"{sample.events:,}",
            f"{sample.state / 1e6:.2f}",
            f"{sample.rows:.1f}",
            f"{sample.store / 1e6:.1f}",
            f"{sample.logs / 1e6:.1f}",
            f"{sample.journal / 1e3:,.0f}",
            f"{sample.outputs / 1e6:,.2f}",
            f"{sample.memory / 1e6:,.0f}",
        )
    console.print(table)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="What grows under a steady load.")
    parser.add_argument("--minutes", type=float, default=1.0, help="of load (default 1)")
    parser.add_argument("--rate", type=int, default=500, help="events a second (default 500)")
    given = parser.parse_args(arguments)
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        samples, telemetry = _run(folder, given.minutes * 60, given.rate, console)
        _show(samples, console)
        predictions = folder / "out" / "predictions.jsonl"
        rows = sum(1 for _ in lines_of(predictions))
        largest = max(
            path.stat().st_size for name in OUTPUTS for path in files_of(predictions.with_stem(name))
        )
        files = len(files_of(predictions))
        console.print(
            f"{rows:,} predictions of {telemetry:,} events in {files:,} files; the largest output file has "
            f"{largest:,} bytes, the log {samples[-1].log:,}.",
            highlight=False,
        )
        assert rows == telemetry, "a prediction for each event is what is documented"
        assert largest <= FILE, f"a file is larger than {FILE:,} bytes"
        wrong = check(samples)
        assert not wrong, "; ".join(wrong)


if __name__ == "__main__":
    main()
