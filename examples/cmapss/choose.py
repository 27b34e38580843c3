"""Choose the hyperparameters of ``fleet.toml`` from the first 20 % of the time span, and nothing later.

``python examples/cmapss/choose.py RECORDING...`` cuts each recording at 20 % of its span of telemetry
times and ranks candidates by log loss on what is left. One catalogue serves every subset, so with several
recordings (FD001 and FD002) the mean of their log losses counts.

Scored as it comes, so early a stretch only tells which candidate learns fastest from nothing: when the
labels of the first failures come in, most of its examples have long been scored. So it is rehearsed
instead. Its engines are dealt into folds; for each fold the stream is the other folds' engines,
``--passes`` times one after the other under new names and later dates, and then the engines of the fold,
whose examples are scored before they are learned, as ever. What is ranked is the log loss over these. The
passes stand for the length of the stream to come: with a single one fast learners have the advantage.

Of candidates within 1 % of the best of their family, the one that sees the fewest features is chosen,
then the one listed first: the slowest learner, since the stream to come is longer still.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import logging
import math
import tomllib
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import structlog
from rich.console import Console
from rich.table import Table

from dataflows.fleet import Fleet, load
from dataflows.instants import HOUR, format_instant, parse_instant
from dataflows.pipeline import run_inline

__all__ = ["Candidate", "candidates", "early", "main", "rehearsals"]

SHARE = 0.2
#: Candidates this much worse than the best are still as good.
TIE = 1.01
#: Scores are clipped to [CLIP, 1 - CLIP] for the log loss.
CLIP = 1e-4

#: Every window and statistic that a candidate may see.
WINDOWS = [
    {"length": length, "hop": "1h", "statistics": ["mean", "std", "min", "max"]}
    for length in ("10h", "30h", "60h")
]
VALUES = "sensor_??"

Event = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """One entry of the catalogue that might be chosen: ``model`` is its table in ``fleet.toml``."""

    name: str
    family: str
    model: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Rehearsal:
    """One stream to run, and which of its examples count.

    Attributes:
        recording: which recording it is made from.
        lines: the events, JSON Lines.
        counted: names of the assets whose examples count.
        until: microseconds; their examples whose horizon ends before this instant count.
    """

    recording: str
    lines: list[bytes]
    counted: frozenset[str]
    until: int


def candidates() -> list[Candidate]:
    """The grid, each family from the slowest learner to the fastest."""
    sets: dict[str, list[list[str]]] = {
        "linear": [
            [VALUES, "*:mean:30h", "*:std:30h"],
            [VALUES, "*:mean:60h", "*:std:60h"],
            [VALUES, "*:mean:10h", "*:mean:30h", "*:std:30h"],
            [VALUES, "*:mean:10h", "*:std:60h", "*:min:60h", "*:max:60h"],
            [VALUES, "*:mean:10h", "*:30h"],
            ["*:mean:10h", "*:60h"],
            ["*:mean:10h", "*:min:10h", "*:max:10h", "*:60h"],
        ],
        "tree": [["*:mean:10h"], ["*:mean:60h"], ["*:mean:10h", "*:std:60h"], ["*:mean:60h", "*:std:60h"]],
        "bayes": [["*:mean:10h"], ["*:mean:60h"], ["*:mean:10h", "*:std:60h"], ["*:mean:10h", "*:60h"]],
    }
    sgd = "river.optim.SGD"
    optimizers = [
        ({"estimator": sgd, "lr": 0.001}, 0.0),
        ({"estimator": sgd, "lr": 0.003}, 0.0),
        ({"estimator": sgd, "lr": 0.003}, 0.001),
        ({"estimator": sgd, "lr": 0.005}, 0.0),
        ({"estimator": sgd, "lr": 0.01}, 0.0),
        ({"estimator": "river.optim.Adam", "lr": 0.001}, 0.0),
        ({"estimator": "river.optim.AdaGrad", "lr": 0.1}, 0.0),
    ]
    linear = [
        {"estimator": "river.linear_model.LogisticRegression", "optimizer": optimizer, "l2": l2}
        for optimizer, l2 in optimizers
    ]
    tree = [
        {"estimator": "river.tree.HoeffdingTreeClassifier", "grace_period": grace, "max_depth": depth}
        for grace, depth in itertools.product((400, 200, 50), (3, 6))
    ]
    bayesian = [
        {"estimator": "dataflows.estimators.BayesianLogistic", "variance": variance}
        for variance in (0.1, 1.0, 10.0)
    ]
    estimators: dict[str, list[dict[str, Any]]] = {
        "linear": linear,
        "bayesian": bayesian,
        "tree": tree,
        "bayes": [{"estimator": "river.naive_bayes.GaussianNB"}],
    }
    sets["bayesian"] = sets["linear"]
    found: list[Candidate] = []
    for family, steps in estimators.items():
        for features, step in itertools.product(sets[family], steps):
            scaler = [{"estimator": "river.preprocessing.StandardScaler"}] if family == "linear" else []
            model = {"features": features, "pipeline": [*scaler, step]}
            found.append(Candidate(f"{family}-{len(found):03}", family, model))
    return found


def early(recording: Path) -> tuple[list[Event], int]:
    """Events of the first 20 % of the span of telemetry times, and the instant at which they were cut."""
    with recording.open("rb") as lines:
        events = [orjson.loads(line) for line in lines]
    times = [parse_instant(event["time"]) for event in events if event["kind"] == "telemetry"]
    cut = min(times) + round(SHARE * (max(times) - min(times)))
    return [event for event in events if parse_instant(event["time"]) < cut], cut


def rehearsals(recording: Path, folds: int, passes: int, horizon: int) -> list[Rehearsal]:
    """One stream a fold: the other engines ``passes`` times, then the engines of the fold."""
    events, cut = early(recording)
    fold_of = {asset: i % folds for i, asset in enumerate(dict.fromkeys(event["asset"] for event in events))}
    # Long enough that every horizon of one pass has ended before the next begins.
    period = cut - parse_instant(events[0]["time"]) + horizon + 2 * HOUR
    made = []
    for fold in range(folds):
        others = [event for event in events if fold_of[event["asset"]] != fold]
        lines = [_moved(event, n * period, f"~{n}") for n in range(passes) for event in others]
        lines += [_moved(event, passes * period, "") for event in events if fold_of[event["asset"]] == fold]
        counted = frozenset(asset for asset, its in fold_of.items() if its == fold)
        made.append(Rehearsal(recording.name, lines, counted, cut + passes * period))
    return made


def _moved(event: Event, by: int, suffix: str) -> bytes:
    time = format_instant(parse_instant(event["time"]) + by)
    return orjson.dumps({**event, "asset": event["asset"] + suffix, "time": time})


def catalogue(fleet: Path, tried: list[Candidate]) -> dict[str, Any]:
    """What turns ``fleet.toml`` into a catalogue of candidates: overrides for `dataflows.fleet.load`."""
    (target,) = tomllib.loads(fleet.read_text())["targets"]
    names = [candidate.name for candidate in tried]
    return {
        "classes": {target["class"]: {"windows": WINDOWS}},
        "models": {candidate.name: candidate.model for candidate in tried},
        "targets": [{**target, "models": names, "champion": names[0]}],
    }


def losses(path: Path, overrides: dict[str, Any], rehearsal: Rehearsal) -> dict[str, list[float]]:
    """Log losses of each candidate on the examples that count, in order; infinite without a score.

    Of the last hours of the stretch only positives are known yet, which would flatter whoever cries wolf. So
    an example counts only if its whole horizon lies inside.
    """
    fleet: Fleet = load(path, overrides)
    (target,) = fleet.targets.values()
    found: dict[str, list[float]] = defaultdict(list)
    for row in run_inline(fleet, rehearsal.lines)["evaluations"]:
        inside = parse_instant(row["time"]) + target.horizon < rehearsal.until
        if (
            row["asset"] in rehearsal.counted
            and inside
            and row["label"] != "censored"
            and not row["correction"]
        ):
            for name, score in row["scores"].items():
                found[name].append(_loss(score, positive=row["label"] == "positive"))
    return found


def _loss(score: float | None, *, positive: bool) -> float:
    if score is None:
        return math.inf
    clipped = min(max(score, CLIP), 1 - CLIP)
    return -math.log(clipped if positive else 1 - clipped)


def ranked(
    tried: list[Candidate], results: dict[str, dict[str, list[float]]], width: dict[str, int]
) -> tuple[list[tuple[Candidate, dict[str, float], float]], dict[str, Candidate]]:
    """Candidates with the mean log loss of each recording and of all, best first; the chosen by family."""
    rows = []
    for candidate in tried:
        means = {recording: _mean(found[candidate.name]) for recording, found in results.items()}
        rows.append((candidate, means, _mean(list(means.values()))))
    rows.sort(key=lambda row: row[2])
    chosen: dict[str, Candidate] = {}
    for family in dict.fromkeys(candidate.family for candidate in tried):
        own = [(candidate, mean) for candidate, _, mean in rows if candidate.family == family]
        good = [candidate for candidate, mean in own if mean <= TIE * own[0][1]]
        chosen[family] = min(good, key=lambda candidate: (width[candidate.name], tried.index(candidate)))
    return rows, chosen


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def report(
    rows: list[tuple[Candidate, dict[str, float], float]], chosen: dict[str, Candidate], width: dict[str, int]
) -> Table:
    """The ranking as a table, what was chosen marked."""
    view = Table(title="Log loss on the engines of the fold, first 20 % only", title_justify="left")
    for heading in ("", "family", "features", "estimator"):
        view.add_column(heading)
    for heading in ("seen", *rows[0][1], "mean"):
        view.add_column(heading, justify="right")
    for candidate, means, mean in rows:
        view.add_row(
            "chosen" if chosen[candidate.family] == candidate else "",
            candidate.family,
            " ".join(candidate.model["features"]),
            _written(candidate.model["pipeline"][-1]),
            str(width[candidate.name]),
            *(f"{value:.4f}" for value in means.values()),
            f"{mean:.4f}",
            style="bold" if chosen[candidate.family] == candidate else None,
        )
    return view


def _written(step: dict[str, Any]) -> str:
    name = step["estimator"].rpartition(".")[2]
    settings = [
        f"{key} {_written(value) if isinstance(value, dict) else value}"
        for key, value in step.items()
        if key != "estimator"
    ]
    return f"{name}({', '.join(settings)})"


def _errors_only() -> None:
    """Hundreds of candidates would log their metrics otherwise."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def main(arguments: list[str] | None = None) -> None:
    """Command line: recordings in, the ranking out."""
    parser = argparse.ArgumentParser(
        description="Choose hyperparameters from the first 20 % of the time span."
    )
    parser.add_argument("recordings", type=Path, nargs="+", help="made by reader.py")
    parser.add_argument("--fleet", type=Path, default=Path(__file__).parent / "fleet.toml")
    parser.add_argument(
        "--only", action="append", choices=["linear", "bayesian", "tree", "bayes"], help="families to try"
    )
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    given = parser.parse_args(arguments)

    tried = [candidate for candidate in candidates() if not given.only or candidate.family in given.only]
    overrides = catalogue(given.fleet, tried)
    fleet = load(given.fleet, overrides)
    (target,) = fleet.targets.values()
    width = {model.name: len(model.features) for model in target.models}
    jobs = [
        job
        for path in given.recordings
        for job in rehearsals(path, given.folds, given.passes, target.horizon)
    ]
    results: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with ProcessPoolExecutor(given.workers, initializer=_errors_only) as pool:
        every = pool.map(losses, itertools.repeat(given.fleet), itertools.repeat(overrides), jobs)
        for job, found in zip(jobs, every, strict=True):
            for name, values in found.items():
                results[job.recording][name] += values
    rows, chosen = ranked(tried, results, width)
    Console(width=160).print(report(rows, chosen, width))


if __name__ == "__main__":
    main()
