"""Whether `tradeoff` recommends a lateness that costs nearly as little as the best of a fine grid.

Simulated trucks in the field, one recording a seed: the cost of the recommended option against the least cost
of a fine grid of latenesses, scored on arrival.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from dataflows.evaluation.tradeoff import Option, recommend
from dataflows.fleet import load
from dataflows.instants import HOUR, parse_duration
from dataflows.simulator import load_scenario, write
from dataflows.status import silenced
from dataflows.tools.tradeoff import compare, only, options

FINE = ("0s", "5m", "10m", "20m", "40m", "1h", "90m", "2h", "4h", "8h")
LEAD = 12 * HOUR


def main(arguments: list[str] | None = None) -> None:
    """Command line: a line a seed."""
    parser = argparse.ArgumentParser(prog="studies tradeoff", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--trucks", type=int, default=10)
    parser.add_argument("--days", type=int, default=30)
    given = parser.parse_args(arguments)
    root = Path(__file__).parent.parent
    fleet = only(load(root / "examples/field/fleet.toml"), "truck/coolant_leak/2d")
    fleet = replace(fleet, figures_from=None)
    target = next(iter(fleet.targets.values()))
    every = fleet.classes["truck"].example_every
    assert target.costs is not None
    worst = 0.0
    for seed in range(given.first, given.first + given.seeds):
        with tempfile.TemporaryDirectory() as folder, silenced():
            write(load_scenario("field", trucks=given.trucks, days=given.days, seed=seed), Path(folder))
            lines = (Path(folder) / "events.jsonl").read_bytes().splitlines()
            offered = options(fleet, lines, (), (), ())
            fine = [Option("arrival", parse_duration(text), every, target.label_delay) for text in FINE]
            judged = compare(fleet, lines, list(dict.fromkeys([*offered, *fine])), target.costs, LEAD)
        costs = {outcome.option: outcome.cost for outcome in judged}
        best = recommend([outcome for outcome in judged if outcome.option in offered])
        least = min(costs[option] for option in fine)
        worst = max(worst, best.cost / least - 1)
        name, share = f"{best.option.serve} {best.option.lateness / HOUR:g} h", best.cost / least - 1
        print(f"seed {seed}: {name} costs {best.cost:,.0f}, the best {least:,.0f} ({share:+.2%})", flush=True)
    print(f"at most {worst:+.2%}")


if __name__ == "__main__":
    main()
