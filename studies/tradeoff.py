"""Whether `tradeoff` recommends a way of serving that costs nearly as little as the best of a fine grid.

One recording a seed: simulated trucks in the field, or Azure's machines with drawn delays, hours without
network and late reports. The cost of the recommended option is compared with the least cost of a fine grid of
latenesses, scored on arrival. Latenesses that cover the same messages do the same; one of them is run, unless
``--all`` is given.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import orjson

from dataflows.evaluation.moving import Movement, moved
from dataflows.evaluation.tradeoff import Option, covered, recommend
from dataflows.fleet import load
from dataflows.fleet.fleet import Costs, Fleet
from dataflows.instants import HOUR, format_duration, parse_duration, parse_instant
from dataflows.simulator import load_scenario, write
from dataflows.status import silenced
from dataflows.tools.tradeoff import Comparison, late_by, only, options

FINE = ("0s", "5m", "12m", "25m", "45m", "75m", "2h", "200m", "7h", "20h")
#: What Azure's operators never said: prices, and how the data of their machines moves.
AZURE_COSTS = Costs(missed=5000.0, false_alarm=100.0, repair=600.0)
AZURE_DELAY = parse_duration("2d")
ROOT = Path(__file__).parent.parent


def of_trucks(seed: int, trucks: int, days: int, every: str) -> tuple[Fleet, list[bytes], int]:
    """Trucks in the field: the fleet with one target, the recording, and how long it takes to act."""
    fleet = only(load(ROOT / "examples/field/fleet.toml", environ={}), "truck/coolant_leak/2d")
    with tempfile.TemporaryDirectory() as folder:
        files = write(load_scenario("field", trucks=trucks, days=days, every=every, seed=seed), Path(folder))
        return fleet, files.events.read_bytes().splitlines(), 12 * HOUR


def of_azure(seed: int, recording: Path, target: str, days: int) -> tuple[Fleet, list[bytes], int]:
    """Azure's machines: a third of the messages late by two hours, four hours a day without network."""
    fleet = only(load(ROOT / "examples/azure_pdm/fleet.toml", environ={}), target)
    [found] = fleet.targets.values()
    layout = replace(fleet.classes["machine"], example_every=6 * HOUR)
    fleet = replace(
        fleet,
        classes={layout.name: layout},
        targets={target: replace(found, costs=AZURE_COSTS, label_delay=AZURE_DELAY)},
    )
    movement = Movement(1 / 3, 2 * HOUR, offline=4 * HOUR, reported_after=12 * HOUR, seed=seed)
    lines = recording.read_bytes().splitlines()
    rows = [orjson.loads(line) for line in lines]
    # Maintenance goes back to the year before.
    start = min(parse_instant(row["time"]) for row in rows if row["kind"] == "telemetry")
    end = start + days * 24 * HOUR
    times = [parse_instant(row["time"]) if "time" in row else start for row in rows]
    kept = [line for line, time in zip(lines, times, strict=True) if time < end]
    return fleet, moved(kept, movement), 6 * HOUR


def share_above(fleet: Fleet, lines: list[bytes], lead: int, *, every_one: bool) -> tuple[str, float, float]:
    """The option that is recommended, its cost, and the least cost of the fine grid.

    Args:
        fleet: with one target.
        lines: the recording.
        lead: microseconds that it takes to act.
        every_one: run latenesses that cover the same messages too.
    """
    fleet = replace(fleet, figures_from=None)
    [target] = fleet.targets.values()
    every = fleet.classes[target.asset_class].example_every
    assert target.costs is not None
    offered = options(fleet, lines, (), (), ())
    comparison = Comparison(fleet, lines, target.costs, lead, max(option.lateness for option in offered))
    for option in offered:
        comparison.run(option)
    comparison.refine()
    outcomes = comparison.outcomes()
    best = recommend(outcomes).option
    behind = late_by(lines, fleet.assets.max_future)
    run = [outcome.option for outcome in outcomes if outcome.option.serve == "arrival"]
    like = {covered(behind, option.lateness): option for option in run}
    fine = [Option("arrival", parse_duration(text), every, target.label_delay) for text in FINE]
    if not every_one:
        fine = [like.setdefault(covered(behind, option.lateness), option) for option in fine]
    for option in fine:
        comparison.run(option)
    costs = {outcome.option: outcome.cost for outcome in comparison.outcomes()}
    name = f"{best.serve} {format_duration(best.lateness)} of {len(outcomes)} options"
    return name, costs[best], min(costs[option] for option in fine)


def main(arguments: list[str] | None = None) -> None:
    """Command line: a line a seed."""
    parser = argparse.ArgumentParser(prog="studies tradeoff", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--trucks", type=int, default=10)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--every", default="1h", help="time between two messages of a truck")
    parser.add_argument("--azure", type=Path, help="machines.jsonl of Azure's machines, instead of trucks")
    parser.add_argument("--target", default="machine/comp2/24h", help="of Azure's machines")
    parser.add_argument("--all", action="store_true", help="run each lateness of the fine grid")
    given = parser.parse_args(arguments)
    worst = 0.0
    for seed in range(given.first, given.first + given.seeds):
        with silenced():
            if given.azure is None:
                made = of_trucks(seed, given.trucks, given.days, given.every)
            else:
                made = of_azure(seed, given.azure, given.target, given.days)
            name, cost, least = share_above(*made, every_one=given.all)
        share = cost / least - 1
        worst = max(worst, share)
        print(f"seed {seed}: {name} costs {cost:,.0f}, the best {least:,.0f} ({share:+.2%})", flush=True)
    print(f"at most {worst:+.2%}")


if __name__ == "__main__":
    main()
