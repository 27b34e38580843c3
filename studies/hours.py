"""Hours to failure on the examples of a run: whether horizons agree, and whether the intervals cover.

``python -m studies hours OUTPUT --fleet FLEET`` gives a new `Hazard` the features as served, in the order of
a run: it is asked at an example, and learns it once horizon and label delay have passed. Scores are those of
the champion as served. Beside it, each shorter horizon has a regression of its own, as a target of its own
would have, which learns as soon as that horizon has passed.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import deque
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from rich.console import Console
from rich.table import Table

from dataflows.estimators import BayesianLogistic, Hazard
from dataflows.estimators.hazard import IntervalLevels, TimeLeft
from dataflows.evaluation.reading import EVALUATIONS, EXAMPLES
from dataflows.fleet import load as load_fleet
from dataflows.instants import HOUR
from dataflows.scoring import log_loss

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Asked", "Found", "asked_in", "main", "replayed"]


class Asked(NamedTuple):
    """One example.

    Attributes:
        time: hours.
        asset: its name.
        features: as served, without those that are missing.
        label: whether it failed within the horizon.
        lead: hours to the failure, None without one.
        score: of the champion, as served.
    """

    time: float
    asset: str
    features: dict[str, float]
    label: bool
    lead: float | None
    score: float


class Found(NamedTuple):
    """What a replay found.

    Attributes:
        said: examples at which the model could say when.
        contradictory: those of them at which a longer horizon was less probable.
        contradictory_alone: the same, of regressions for each horizon alone.
        closed: examples with an interval that has both ends.
        covered: those of them whose failure came within it.
        before: those of them whose failure came before it.
        width: mean hours of these intervals.
        losses: by shorter horizon in hours: mean log loss, and that of a regression for it alone.
    """

    said: int
    contradictory: int
    contradictory_alone: int
    closed: int
    covered: int
    before: int
    width: float
    losses: dict[float, tuple[float, float]]


def asked_in(output: Path, target: str, globs: Sequence[str] = ("*",)) -> list[Asked]:
    """Examples of a finished run whose first label was positive or negative, in order of (time, asset).

    Args:
        output: folder of the outputs.
        target: its name.
        globs: of the features that are given to the model.
    """
    features = {row.id: row.features for row in EXAMPLES.rows(output / "examples.jsonl")}
    found = []
    chosen: set[str] = set()
    for row in EVALUATIONS.rows(output / "evaluations.jsonl"):
        score = row.scores[row.champion]
        if row.target != target or row.correction or row.label not in {"positive", "negative"}:
            continue
        if row.example is None or score is None or (row.label == "positive" and row.lead is None):
            continue
        named = features[row.example]
        if not chosen:
            chosen = {name for name in named for glob in globs if fnmatchcase(name, glob)}
        given = {name: value for name, value in named.items() if value is not None and name in chosen}
        found.append(Asked(row.instant / HOUR, row.asset, given, row.label == "positive", row.lead, score))
    return sorted(found, key=lambda each: each[:2])


class _Alone:
    """A regression for one shorter horizon."""

    def __init__(self, hours: float, delay: float) -> None:
        self.hours = hours
        self._wait = hours + delay
        self._model = BayesianLogistic(0.1, 30_000, 8.0)
        self._waiting: deque[Asked] = deque()
        self.losses: list[tuple[float, float]] = []

    def ask(self, example: Asked) -> float:
        """Learn what is known by now, then score."""
        while self._waiting and self._waiting[0].time + self._wait < example.time:
            known = self._waiting.popleft()
            self._model.learn_one(known.features, known.lead is not None and known.lead <= self.hours)
        self._waiting.append(example)
        return float(self._model.predict_proba_one(example.features)[True])


def replayed(
    examples: Sequence[Asked], horizon: float, delay: float, within: Sequence[float], start: float
) -> Found:
    """Ask and teach a hazard model.

    Args:
        examples: in order of time.
        horizon: hours.
        delay: hours that a label may come late.
        within: shorter horizons, hours, ascending.
        start: hours; earlier examples count in no figure.
    """
    model, alone = Hazard(horizon), [_Alone(hours, delay) for hours in within]
    levels = IntervalLevels()
    waiting: deque[tuple[Asked, TimeLeft | None]] = deque()
    said = contradictory = contradictory_alone = covered = before = 0
    widths: list[float] = []
    for example in examples:
        while waiting and waiting[0][0].time + horizon + delay < example.time:
            known, said_then = waiting.popleft()
            if said_then is not None and known.score >= levels.SURE:
                levels.add(said_then.reached(known.lead, known.score))
            model.learn_one(known.features, known.label, lead=known.lead)
        single = [each.ask(example) for each in alone]
        left = model.time_left(example.features)
        waiting.append((example, left))
        if left is None or example.time < start:
            continue
        said += 1
        mine = [left.within(hours, example.score) for hours in within]
        contradictory += sorted([*mine, example.score]) != [*mine, example.score]
        contradictory_alone += sorted([*single, example.score]) != [*single, example.score]
        for each, score, other in zip(alone, mine, single, strict=True):
            label = int(example.lead is not None and example.lead <= each.hours)
            each.losses.append((log_loss(score, label), log_loss(other, label)))
        low, _, high = levels.interval(left, example.score)
        if low is not None and high is not None:
            widths.append(high - low)
            covered += example.lead is not None and low < example.lead <= high
            before += example.lead is not None and example.lead <= low
    losses = {
        each.hours: (_mean([loss for loss, _ in each.losses]), _mean([loss for _, loss in each.losses]))
        for each in alone
    }
    counts = said, contradictory, contradictory_alone, len(widths), covered, before
    return Found(*counts, _mean(widths), losses)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _rows(found: Found) -> Mapping[str, str]:
    """What the table shows."""
    closed = max(1, found.closed)
    return {
        "examples at which the model could say when": f"{found.said:,}",
        "of these with a longer horizon less probable": f"{found.contradictory:,}",
        "the same, of regressions for each horizon alone": f"{found.contradictory_alone:,}",
        "intervals with both ends": f"{found.closed:,}",
        "of these with the failure within": f"{found.covered / closed:.3f}",
        "of these with the failure before": f"{found.before / closed:.3f}",
        "mean width, hours": f"{found.width:.1f}",
        **{
            f"log loss within {hours:g} h, and of a regression for it alone": f"{mine:.4f}, {other:.4f}"
            for hours, (mine, other) in found.losses.items()
        },
    }


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Hours to failure on the examples of a run.")
    parser.add_argument("output", type=Path, help="folder of the outputs, with features")
    parser.add_argument("--fleet", type=Path, default=Path("examples/cmapss/fleet.toml"))
    parser.add_argument("--target", help="default: the first of the fleet")
    parser.add_argument(
        "--within", type=float, nargs="+", help="hours (default: a sixth and 0.4 of the horizon)"
    )
    parser.add_argument("--features", nargs="+", default=["*"], help="globs of those of the model")
    parser.add_argument("--share", type=float, default=0.2, help="of the time span that is left out at first")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args(arguments)
    fleet = load_fleet(given.fleet)
    name = given.target or next(iter(fleet.targets))
    target = fleet.targets[name]
    horizon, delay = target.horizon / HOUR, target.label_delay / HOUR
    examples = asked_in(given.output, name, given.features)
    first, last = examples[0].time, examples[-1].time
    start = first + given.share * (last - first)
    within = sorted(given.within or (horizon / 6, 0.4 * horizon))
    found = replayed(examples, horizon, delay, within, start)
    if given.json:
        row: dict[str, Any] = {**found._asdict(), "losses": [*found.losses.items()]}
        sys.stdout.buffer.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        return
    table = Table("figure", "value", title=f"{given.output.name}, {name}")
    for row_name, value in _rows(found).items():
        table.add_row(row_name, value)
    Console().print(table)


if __name__ == "__main__":
    main()
