"""``python -m benchmarks``: the list of benchmarks, then those that need no recording of yours.

``python -m benchmarks NAME ...`` runs one, with its own arguments.
"""

from __future__ import annotations

import importlib
import sys

from rich.console import Console
from rich.table import Table

BENCHMARKS = {
    "speed": "events a second, as a multiple of the engine's own cost; --profile tells it by step",
    "kafka": "events a second from Kafka to Kafka, and how long one takes, beside the engine's floor",
    "quality": "a recording's online models beside gradient boosting retrained in batches",
    "disks": "how well failures of hard disks are foretold, from a recording of their SMART values",
    "alerts": "rows of alerts beside rows of thresholding each score, at equal use",
    "calibration": "a run's reliability, and its calibration error beside a perfect predictor's",
    "audit": "a million events, features served against those of the recording; honest, and tampered with",
    "disorder": "what late data changes in features, merged and thrown away; counts held to a brute force",
    "clocks": "how soon wrong clocks are found, and how many honest ones are accused",
    "simulator": "events a minute that the simulator writes on one core, with their truth",
    "memory": "memory and store that an asset costs: one that sends a million events, many that send one",
    "recovery": "how long a snapshot holds the input up, and a resume takes, for 1,000 to 100,000 assets",
    "growth": "what grows under a steady load: store, order journal, outputs, memory",
    "azure": "the four components of Azure's machines pooled, beside a model that only counts errors",
    "figures": "figures of a run's evaluations.jsonl, with intervals",
}
#: They make their own input.
ALONE = ("speed", "simulator", "clocks", "disorder", "memory")


def main() -> None:
    """Command line."""
    if len(sys.argv) > 1:
        name, *arguments = sys.argv[1:]
        if name not in BENCHMARKS:
            sys.exit(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
        importlib.import_module(f"benchmarks.{name}").main(arguments)
        return
    table = Table("python -m benchmarks ...", "what it tells", title="Benchmarks")
    for name, what in BENCHMARKS.items():
        table.add_row(name, what)
    Console().print(table)
    for name in ALONE:
        importlib.import_module(f"benchmarks.{name}").main([])


if __name__ == "__main__":
    main()
