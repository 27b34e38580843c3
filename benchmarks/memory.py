"""What an asset costs: memory while one asset sends for ever, memory and store where very many send once.

``python -m benchmarks memory`` runs the class of ``benchmarks.speed`` (four sensors, three windows, all
statistics) over two kinds of recordings, each in a process of its own:

- one asset that sends 100,000 events, then one that sends 1,000,000, a minute apart: the difference of the
  peaks is what 900,000 events left behind;
- 200,000 assets that send one event each, with recovery on: the store's bytes an asset, and the peak.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.speed import FLEET, SENSORS
from dataflows.instants import MICROSECONDS, format_instant, parse_instant

__all__ = ["main"]

#: The bars: MB that a million events of one asset may leave, and bytes of store an asset with one event.
LEFT_BEHIND, STORE = 50, 8 * 1024
_START = parse_instant("2024-01-01T00:00:00Z")
_RUN = """
import resource, sys
from dataflows.__main__ import app
try:
    app(sys.argv[1:], standalone_mode=False)
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def record(path: Path, assets: int, events: int) -> None:
    """Write events of each asset, a minute apart."""
    random = np.random.default_rng(5)
    with path.open("wb") as lines:
        for event in range(events):
            time = format_instant(_START + event * MICROSECONDS["m"])
            for asset in range(assets):
                values = np.round(random.normal(50.0, 5.0, len(SENSORS)), 3).tolist()
                readings = dict(zip(SENSORS, values, strict=True))
                row = {"kind": "telemetry", "asset": f"m-{asset:06}", "time": time, "readings": readings}
                lines.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


def measure(assets: int, events: int) -> tuple[float, float]:
    """Peak memory in MB of a run over such a recording, and the bytes of its store."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = FLEET.replace('features = "examples"', 'features = "none"\npublish = "grid"')
        (folder / "fleet.toml").write_text(text.replace("[assets]", "[assets]\nmax_assets = 1_000_000"))
        record(folder / "recording.jsonl", assets, events)
        command = [sys.executable, "-c", _RUN, "run", str(folder / "fleet.toml")]
        command += ["--recovery", str(folder / "recovery")]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        peak = int(done.stdout.split()[-1]) / 1024
        store = sum(file.stat().st_size for file in (folder / "recovery").rglob("*") if file.is_file())
        return peak, store


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Memory and store that an asset costs.")
    parser.add_argument("--events", type=int, default=1_000_000, help="of the one asset")
    parser.add_argument("--assets", type=int, default=200_000, help="that send one event each")
    given = parser.parse_args(arguments)
    console = Console()
    shown = Table(
        "assets", "events of each", "peak, MB", "store, bytes an asset", title="What an asset costs"
    )
    peaks = []
    runs = [(1, given.events // 10), (1, given.events), (given.assets, 1)]
    for assets, events in runs:
        with console.status(f"{assets:,} assets, {events:,} events of each"):
            peak, store = measure(assets, events)
        peaks.append(peak)
        shown.add_row(f"{assets:,}", f"{events:,}", f"{peak:,.0f}", f"{store / assets:,.0f}")
    console.print(shown)
    left = peaks[1] - peaks[0]
    console.print(f"{given.events * 9 // 10:,} more events of one asset left {left:,.1f} MB behind.")
    assert left < LEFT_BEHIND, f"more than {LEFT_BEHIND} MB"
    assert store / given.assets <= STORE, f"more than {STORE:,} bytes of store an asset"


if __name__ == "__main__":
    main()
