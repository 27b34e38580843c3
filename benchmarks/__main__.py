"""``python -m benchmarks``: the list of benchmarks, then those that need no recording of yours.

``python -m benchmarks NAME ...`` runs one, with its own arguments.
"""

from __future__ import annotations

import importlib

from benchmarks.listing import ran_by_name, show_list

BENCHMARKS = {
    "speed": "events a second, as a multiple of the engine's own cost; --profile tells it by step",
    "by_hand": "processor time an event of a job written by hand on Bytewax and River, beside ours",
    "scale": "how the cost of an event grows with assets, targets and processes; resume; a picture of it",
    "kafka": "events a second from Kafka to Kafka, and how long one takes, beside the engine's floor",
    "simulator": "events a minute that the simulator writes on one core, with their truth",
    "memory": "memory and store that an asset costs: one that sends a million events, many that send one",
    "recovery": "how long a snapshot holds the input up, and a resume takes, for 1,000 to 100,000 assets",
    "growth": "what grows under a steady load: store, order journal, outputs, memory",
}
#: They make their own input.
ALONE = ("speed", "simulator", "memory")


def main() -> None:
    """Command line."""
    if not ran_by_name("benchmarks", "benchmark", BENCHMARKS):
        show_list("benchmarks", BENCHMARKS)
        for name in ALONE:
            importlib.import_module(f"benchmarks.{name}").main([])


if __name__ == "__main__":
    main()
