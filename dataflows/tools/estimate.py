"""``python -m dataflows estimate``: estimate one model's error in five ways, and say which one users see."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from dataflows.connectors.lines import expand
from dataflows.estimators import Prior
from dataflows.evaluation.estimates import Estimate, estimate, true_loss
from dataflows.evaluation.moving import Movement, moved
from dataflows.evaluation.reading import Evaluations, load_evaluations
from dataflows.fleet.fleet import Model
from dataflows.instants import parse_instant
from dataflows.mapping.recording import ORDER, with_recordings
from dataflows.outputs import OUTPUTS
from dataflows.pipeline import run_lines
from dataflows.report.charts import standalone_bars
from dataflows.status import silenced
from dataflows.tools.tables import plain_table, show_either
from dataflows.tools.tradeoff import only

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from rich.console import Console

    from dataflows.fleet.fleet import Fleet, Target

__all__ = [
    "EstimateError",
    "Question",
    "estimates_of",
    "evaluations_of",
    "failures_of",
    "in_event_time",
    "show_estimates",
    "without_models",
]

_WHY = {
    "random": "rows of one failure are in training and in test",
    "hindsight": "features with data that came after the score, labels before they were known",
    "served": "labels before they were known",
    "immature": "late reports count as no failure",
    "matured": "as served, labels as they came: what users see",
    "truth": "the same scores, by every failure, reported or not",
}


class EstimateError(RuntimeError):
    """The estimates cannot be made; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Question:
    """Model whose error is estimated, and how.

    Attributes:
        target: name of the target; None for the only one.
        model: a model that learns from features; None for the champion, or the model below it.
        split: share of the span of time that is for training.
        seed: of the random split.
        truth: truth of a simulated recording, ``truth.jsonl``.
        movement: how the recording is moved before it runs; None for as it came.
    """

    target: str | None = None
    model: str | None = None
    split: float = 0.5
    seed: int = 0
    truth: Path | None = None
    movement: Movement | None = None


def show_estimates(
    fleet: Fleet, console: Console, question: Question, *, plot: Path | None = None, as_json: bool = False
) -> None:
    """Print five estimates of the log loss of a model; errors as of `estimates_of`.

    Args:
        fleet: the fleet, whose input is a finished recording.
        console: for the table.
        question: what is estimated.
        plot: an SVG file for the log losses.
        as_json: print one JSON object an estimate.
    """
    with console.status("Running the recording as it arrived, and in order of event time ..."):
        estimates = estimates_of(fleet, question)
    if plot is not None:
        bars = [(each.name, each.log_loss) for each in estimates]
        plot.write_text(standalone_bars(bars, "Log loss by the way of estimating it"))

    def as_text() -> None:
        chosen = _target(fleet, question.target)
        console.print(_table(chosen.name, _model(chosen, question.model).name, estimates))
        console.print(_sentence(estimates), highlight=False)
        if plot is not None:
            console.print(f"{plot}", highlight=False, soft_wrap=True)

    show_either(console, map(asdict, estimates), as_text, as_json=as_json)


def estimates_of(fleet: Fleet, question: Question) -> list[Estimate]:
    """Return five estimates of the log loss of a model, and the true one where the truth is given.

    Args:
        fleet: the fleet, whose input is a finished recording. It runs twice in memory.
        question: what is estimated.

    Raises:
        EstimateError: target or model cannot be chosen.
        MappingError: the rules of the input do not fit its files.
    """
    fleet, _ = with_recordings(fleet)
    lines = [line for path in expand(fleet.input.files) for line in Path(path).read_bytes().splitlines()]
    chosen = _target(fleet, question.target)
    found = _model(chosen, question.model)
    if question.movement:
        lines = moved(lines, question.movement)
    one = only(fleet, chosen.name, found.name)
    served = evaluations_of(one, lines, chosen.name)
    complete = evaluations_of(without_models(one, chosen.name), in_event_time(lines), chosen.name)
    features = [fleet.classes[chosen.asset_class].features[index] for index in found.features]
    estimates = estimate(
        served,
        complete,
        found.build,
        features,
        found.name,
        chosen.horizon,
        split=question.split,
        seed=question.seed,
    )
    if question.truth is not None:
        failures = failures_of(question.truth, chosen.mode)
        estimates.append(true_loss(served, found.name, chosen.horizon, failures, split=question.split))
    return estimates


def without_models(fleet: Fleet, target: str) -> Fleet:
    """Return a fleet with a prior as its only model: for its features and labels, in less time.

    Args:
        fleet: with one target, as of `only`.
        target: its name.
    """
    prior = Model("prior", {"pipeline": [{"estimator": "dataflows.estimators.Prior"}]}, (), Prior)
    return replace(
        fleet, targets={target: replace(fleet.targets[target], champion=prior.name, models=(prior,))}
    )


def _target(fleet: Fleet, name: str | None) -> Target:
    if name is None and len(fleet.targets) == 1:
        return next(iter(fleet.targets.values()))
    if name is None or name not in fleet.targets:
        msg = f"choose one target with --target: {', '.join(fleet.targets)}"
        raise EstimateError(msg)
    return fleet.targets[name]


def _model(target: Target, name: str | None) -> Model:
    """Return the model to estimate: for a champion that reads scores, the first model that it reads."""
    models = {each.name: each for each in target.models}
    found = models.get(name or target.champion)
    while name is None and found is not None and found.scores:
        found = models.get(found.scores[0])
    if found is None or found.scores:
        names = ", ".join(each.name for each in target.models if not each.scores)
        msg = f"{name or target.champion} does not learn from features; choose one with --model: {names}"
        raise EstimateError(msg)
    return found


def evaluations_of(fleet: Fleet, lines: Iterable[bytes], target: str) -> Evaluations:
    """Return the evaluations of one target with features, of a run in memory.

    Raises:
        EstimateError: no example got a label.
    """
    fleet = replace(fleet, output=replace(fleet.output, features="examples", publish="grid"))
    with silenced():
        rows = run_lines(fleet, lines, batch=1000)
    if not rows["evaluations"]:
        msg = "no example got a label: the recording is too short, or holds no failures"
        raise EstimateError(msg)
    with tempfile.TemporaryDirectory() as name:
        for output in OUTPUTS:
            (Path(name) / f"{output}.jsonl").write_bytes(b"".join(row + b"\n" for row in rows[output]))
        found = load_evaluations(Path(name) / "evaluations.jsonl", features=True)
    return found.where(found.targets == target)


def in_event_time(lines: Sequence[bytes]) -> list[bytes]:
    """Return a recording as if nothing had been under way: in order of event time, without arrivals.

    Records without a time, such as registry rows, come first. Lines that are no records are left out.
    """
    found: list[tuple[int, int, bytes]] = []
    for line in lines:
        try:
            record: Any = orjson.loads(line)
            time = parse_instant(record["time"]) if "time" in record else -(1 << 62)
            record.pop("arrived", None)
            found.append((time, ORDER[record["kind"]], orjson.dumps(record)))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    found.sort(key=lambda each: each[:2])
    return [line for _, _, line in found]


def failures_of(truth: Path, mode: str) -> dict[str, NDArray[np.int64]]:
    """Return times of all failures of a mode by asset, from the truth of a simulated recording."""
    found: dict[str, list[int]] = defaultdict(list)
    for line in truth.read_bytes().splitlines():
        row = orjson.loads(line)
        if row["kind"] == "episode" and row["mode"] == mode and row["failed"] is not None:
            found[row["asset"]].append(parse_instant(row["failed"]))
    return {asset: np.array(times, dtype=np.int64) for asset, times in found.items()}


def _table(target: str, model: str, estimates: Sequence[Estimate]) -> Any:  # noqa: ANN401 - a table of rich
    table = plain_table(
        f"{target}, {model}: its log loss, by the way of estimating it",
        "estimate",
        "log loss",
        "95 % interval",
        "examples",
        "posi-\ntive",
        "what is off",
    )
    table.columns[-1].justify = "left"
    for each in estimates:
        table.add_row(
            each.name,
            f"{each.log_loss:.4f}",
            f"{each.low:.4f} to {each.high:.4f}",
            f"{each.examples:,}",
            f"{each.positives:,}",
            _WHY[each.name],
        )
    return table


def _sentence(estimates: Sequence[Estimate]) -> str:
    """Say how far each estimate is from the one that users see."""
    by_name = {each.name: each.log_loss for each in estimates}
    seen = by_name["matured"]
    parts = []
    for name in ("random", "hindsight", "served", "immature"):
        off = (by_name[name] - seen) / seen
        parts.append(f"{name} {'under' if off < 0 else 'over'}states it by {abs(off):.0%}")
    said = f"Users see {seen:.4f}: {', '.join(parts)}."
    if "truth" in by_name:
        said += f" Failures that nobody reported make it {by_name['truth']:.4f}."
    return said
