"""Five estimates of one model's error over many fleets: how far off each is, and whether intervals cover.

A pool of simulated trucks, whose messages are late, lost and held up, and whose workshops report late, is run
once as it arrived and once in order of event time. What windows hold depends on no other truck. So each fleet
takes trucks of the pool with the features that they were served, and a model of its own learns from them, in
the order in which labels came. The truth is the loss that such fleets see on average, by every failure that
happened: an interval from one fleet should cover it, since what one wants to know about is the next fleet.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from dataflows.evaluation.estimates import Estimate, estimate, rescored, true_loss
from dataflows.fleet import load
from dataflows.instants import HOUR
from dataflows.report.charts import standalone_bars
from dataflows.simulator import load_scenario, write
from dataflows.tools.estimate import evaluations_of, failures_of, in_event_time, without_models
from dataflows.tools.tables import plain_table
from dataflows.tools.tradeoff import only

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataflows.evaluation.reading import Evaluations
    from dataflows.fleet import Fleet
    from dataflows.fleet.fleet import Model

__all__ = ["Pool", "Summary", "judged", "main", "pool", "summary"]

MODEL = "bayesian"
#: How messages travel; the workshops of the plain scenario report within hours to days.
DELIVERY = {
    "late": 0.1,
    "late_by": "1h",
    "late_at_most": "12h",
    "lost": 0.01,
    "duplicates": 0.01,
    "outages": {"every": "8d", "lasts": "6h"},
}


@dataclass(frozen=True, slots=True)
class Pool:
    """Trucks with what they were served, and what happened to them.

    Attributes:
        served: evaluations with features, as the recording arrived.
        complete: the same, in order of event time.
        failures: times of all failures by truck.
        features: that the model sees.
        model: learns.
        horizon: of the target, microseconds.
    """

    served: Evaluations
    complete: Evaluations
    failures: dict[str, NDArray[np.int64]]
    features: list[str]
    model: Model
    horizon: int


def fleet_of_trucks() -> Fleet:
    """The fleet of the example, with two examples a day."""
    fleet = load(Path(__file__).parent.parent / "examples/trucks/fleet.toml", environ={})
    return replace(
        fleet, classes={"truck": replace(fleet.classes["truck"], example_every=12 * HOUR, compare=0.0)}
    )


def pool(trucks: int, days: int, seed: int) -> Pool:
    """Simulate trucks, and run them twice."""
    fleet = fleet_of_trucks()
    [target] = fleet.targets.values()
    model = next(each for each in target.models if each.name == MODEL)
    idle = without_models(only(fleet, target.name), target.name)
    scenario = load_scenario("plain", trucks=trucks, days=days, every="1h", seed=seed, delivery=DELIVERY)
    with tempfile.TemporaryDirectory() as folder:
        files = write(scenario, Path(folder))
        lines = files.events.read_bytes().splitlines()
        failures = failures_of(files.truth, target.mode)
    names = fleet.classes["truck"].features
    return Pool(
        evaluations_of(idle, lines, target.name),
        evaluations_of(idle, in_event_time(lines), target.name),
        failures,
        [names[index] for index in model.features],
        model,
        target.horizon,
    )


def judged(found: Pool, trucks: int, seed: int) -> list[Estimate]:
    """Return the estimates of one fleet, and its truth.

    Args:
        found: the pool.
        trucks: that the fleet takes of it.
        seed: of the choice and the random split.
    """
    names = np.unique(found.served.assets)
    chosen = np.random.default_rng(seed).choice(names, trucks, replace=False)
    served, complete = (each.where(np.isin(each.assets, chosen)) for each in (found.served, found.complete))
    served = rescored(served, found.model.build, found.features, MODEL)
    made = estimate(served, complete, found.model.build, found.features, MODEL, found.horizon, seed=seed)
    return [*made, true_loss(served, MODEL, found.horizon, found.failures)]


@dataclass(frozen=True, slots=True)
class Summary:
    """One estimate over many fleets.

    Attributes:
        name: of the estimate.
        mean: of its log loss over the fleets, nats.
        off: by which share of the truth it is off on average; positive where it overstates the loss.
        margin: of ``off``, 95 %.
        covers: share of its intervals that cover the truth.
        above: share of the intervals that lie above it.
        below: share of those below.
    """

    name: str
    mean: float
    off: float
    margin: float
    covers: float
    above: float
    below: float


def summary(fleets: list[list[Estimate]]) -> list[Summary]:
    """Return how far each estimate is off over the fleets, and how often its interval covers the truth."""
    columns = {each[0].name: each for each in zip(*fleets, strict=True)}
    true = np.array([each.log_loss for each in columns["truth"]])
    found = []
    for name, each in columns.items():
        losses = np.array([one.log_loss for one in each])
        low, high = np.array([one.low for one in each]), np.array([one.high for one in each])
        off = (losses - true) / true.mean()
        margin = 1.96 * float(off.std()) / math.sqrt(len(off))
        above, below = float((low > true.mean()).mean()), float((high < true.mean()).mean())
        found.append(
            Summary(name, float(losses.mean()), float(off.mean()), margin, 1 - above - below, above, below)
        )
    return found


def _table(found: list[Summary], fleets: int, trucks: int) -> Any:  # noqa: ANN401 - a table of rich
    table = plain_table(
        f"{fleets} fleets of {trucks} trucks: estimates of the log loss that users see",
        "estimate",
        "mean",
        "off by",
        "interval\ncovers",
        "lies\nabove",
        "below",
    )
    for each in found:
        table.add_row(
            each.name,
            f"{each.mean:.4f}",
            f"{each.off:+.1%} ± {each.margin:.1%}",
            f"{each.covers:.1%}",
            f"{each.above:.1%}",
            f"{each.below:.1%}",
        )
    return table


def main(arguments: list[str] | None = None) -> None:
    """Command line: a table, and a plot."""
    parser = argparse.ArgumentParser(prog="studies estimates", description=__doc__)
    parser.add_argument("--fleets", type=int, default=200)
    parser.add_argument("--trucks", type=int, default=40, help="trucks of a fleet")
    parser.add_argument("--pool", type=int, default=600, help="trucks of all recordings")
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, help="an SVG file: mean log loss by estimate")
    given = parser.parse_args(arguments)
    found = pool(given.pool, given.days, given.seed)
    fleets = [judged(found, given.trucks, seed) for seed in range(given.fleets)]
    told = summary(fleets)
    Console().print(_table(told, given.fleets, given.trucks))
    if given.plot is not None:
        bars = [(each.name, each.mean) for each in told]
        given.plot.write_text(
            standalone_bars(bars, "Log loss by the way of estimating it, mean of all fleets")
        )


if __name__ == "__main__":
    main()
