"""What many models cost: an event that is no example, and an example, with 5 models and with 500.

``python -m studies catalogue`` runs five classes with three modes in this process, without the engine and
without a recovery store, and measures processor time. The first days are left out: models are compiled, and
learn.
"""

from __future__ import annotations

import argparse
import gc
import logging
import statistics
import time
from typing import TYPE_CHECKING

import structlog

from dataflows.fleet import from_document
from dataflows.items import Item
from dataflows.pipeline import Inline
from dataflows.testing import failure, registration, telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dataflows.fleet import Fleet

__all__ = ["fleet_of", "main"]

FAMILIES = (
    *("linear", "bayesian", "naive_bayes", "hoeffding_tree", "adaptive_tree", "mondrian_forest"),
    *("bagging", "nearest_neighbours", "anomaly", "time_to_failure"),
)
CLASSES = ("pump", "fan", "motor", "valve", "gear")
MODES = ("leak", "jam", "burn")
DAY, MINUTE = 86_400, 60
#: Minutes from one event of an asset to the next.
_STEP = 15


def fleet_of(models: dict[str, object], classes: Sequence[str], modes: Sequence[str], champion: str) -> Fleet:
    """Build a fleet with one target a class and mode, an example a day."""
    window = {"length": "6h", "hop": "1h", "statistics": ["mean", "std", "min", "max"]}
    one = {"sensors": ["a", "b", "c"], "example_every": "1d", "windows": [window]}
    document = {
        "name": "many",
        "input": {"files": ["-"]},
        "assets": {"unknown": "reject"},
        "classes": dict.fromkeys(classes, one),
        "targets": [
            {"class": [*classes], "mode": [*modes], "horizon": "1d", "champion": champion, "promotion": "off"}
        ],
        "models": models,
    }
    return from_document(document, "fleet.toml")


def recording(assets: int, days: int) -> Iterator[tuple[bytes, bool]]:
    """Yield each record, and whether it is an example."""
    names = [(f"{kind}-{number}", kind) for kind in CLASSES for number in range(assets)]
    for name, kind in names:
        yield registration(name, kind, {}), False
    for step in range(days * DAY // (_STEP * MINUTE)):
        now = step * _STEP * MINUTE
        for place, (name, _) in enumerate(names):
            wear = (now // 3_600 + 31 * place) % 100
            if wear == 0 and now % 3_600 == 0:
                yield failure(name, now, MODES[place % 3]), False
            readings = {"a": float(wear), "b": float((step * 7 + place) % 13), "c": float(place)}
            yield telemetry(name, now, readings), now % DAY == 0


def measure(fleet: Fleet, assets: int, days: int) -> tuple[float, float]:
    """Return the median microseconds of an event that is no example, and the mean of an example."""
    stages = Inline(fleet)
    plain, examples = [], []
    gc.disable()
    for number, (line, example) in enumerate(recording(assets, days), start=1):
        start = time.process_time_ns()
        item = Item(number, 0, None, 0, ("-", number, 0), line)
        for known in stages.lane([item]):
            for together in stages.together(stages.asset(known)):
                stages.rows(together)
        spent = (time.process_time_ns() - start) / 1_000
        if number > assets * len(CLASSES) * (days - 1) * DAY // (_STEP * MINUTE) // 2:
            (examples if example else plain).append(spent)
    gc.enable()
    return statistics.median(plain), statistics.fmean(examples)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what an event and an example cost, with few models and with many."""
    parser = argparse.ArgumentParser(description="What many models cost.")
    parser.add_argument("--assets", type=int, default=4, help="of each class")
    parser.add_argument("--days", type=int, default=12)
    given = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    one = {"linear": {"template": "linear"}}
    all_of = {"all": {"template": [*FAMILIES]}, "tree": {"template": "hoeffding_tree"}}
    grid = {"lr": [0.0003, 0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007, 0.008, 0.01, 0.02]}
    many = {**all_of, "rate": {"template": "linear", "grid": {**grid, "features": [["*"], ["*:6h"]]}}}
    few = fleet_of(one, CLASSES, MODES[:1], "linear")
    same = fleet_of(one, CLASSES, MODES, "linear")
    hundreds = fleet_of(many, CLASSES, MODES, "all-linear")
    for fleet in (few, same, hundreds):
        models = sum(len(target.models) for target in fleet.targets.values())
        plain, example = measure(fleet, given.assets, given.days)
        daily = DAY * 1e6 / plain * len(fleet.targets) / len(CLASSES)
        print(
            f"{models} models of {len(fleet.targets)} targets: an event {plain:.0f} µs, "
            f"an example {example:,.0f} µs; {daily:,.0f} predictions a day"
        )
