"""How many events a minute the simulator writes on one core, with their truth.

``python -m benchmarks simulator`` writes each shipped scenario into a folder that is deleted afterwards.
Counted is processor time, so that other work of the machine does not count.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dataflows.simulator import load_scenario, shipped, write

#: The bar: events a minute on one core.
BAR = 500_000


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Events a minute of the simulator, with their truth.")
    parser.add_argument("scenarios", nargs="*", default=list(shipped()), help="shipped ones, or TOML files")
    given = parser.parse_args(arguments)
    shown = Table("scenario", "events", "MB", "seconds", "events a minute", title="The simulator")
    for name in given.scenarios:
        with tempfile.TemporaryDirectory() as folder:
            began = time.process_time()
            files = write(load_scenario(name), Path(folder))
            took = time.process_time() - began
            with files.events.open("rb") as file:
                events = sum(1 for _ in file)
            size = sum(path.stat().st_size for path in files) / 1e6
        rate = events / took * 60
        assert rate >= BAR, f"{name}: {rate:,.0f} events a minute, fewer than {BAR:,}"
        shown.add_row(name, f"{events:,}", f"{size:,.0f}", f"{took:.1f}", f"{rate:,.0f}")
    console = Console()
    console.print(shown)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    console.print(f"At most {peak:,.0f} MB of memory.")


if __name__ == "__main__":
    main()
