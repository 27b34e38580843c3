"""Estimates of an error by the way data moved: prequential ones as River's, wrong ones as they must be."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from rich.console import Console
from river import base, compose, datasets, evaluate, linear_model, metrics, naive_bayes, preprocessing, tree

from dataflows import testing
from dataflows.estimators import Prior
from dataflows.evaluation.estimates import prequential
from dataflows.fleet import load
from dataflows.instants import format_instant, parse_instant
from dataflows.pipeline import run_inline
from dataflows.tools.estimate import EstimateError, Question, estimates_of, in_event_time, show_estimates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOUR = 3_600
MODELS: dict[str, Callable[[], Any]] = {
    "linear": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    "bayes": naive_bayes.GaussianNB,
    "tree": lambda: tree.HoeffdingTreeClassifier(grace_period=50),
}
DATA: dict[str, Callable[[], list[tuple[dict[str, Any], bool]]]] = {
    "phishing": lambda: [(x, bool(y)) for x, y in datasets.Phishing()],
    "bananas": lambda: [(x, bool(y)) for x, y in datasets.Bananas().take(1500)],
    "segments": lambda: [(x, y == "sky") for x, y in datasets.ImageSegments().take(1500)],
}


class Clipped(metrics.LogLoss):  # type: ignore[misc] # River has no types
    """The log loss of our figures: scores clipped to [1e-4, 1 - 1e-4]."""

    def works_with(self, model: Any) -> bool:  # noqa: ANN401, ARG002 - River's signature
        return True

    def _eval(self, y_true: bool, y_pred: Any) -> float:  # noqa: ANN401 - River's signature
        score = float(y_pred.get(True, 0.0)) if isinstance(y_pred, dict) else float(y_pred)
        score = min(max(score, 1e-4), 1 - 1e-4)
        return -math.log(score if y_true else 1 - score)


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("delay", [0, 7, 200])
def test_prequential_scores_are_those_of_river(data: str, model: str, delay: int) -> None:
    """With a fixed delay the mean loss equals River's progressive_val_score to the last digit."""
    rows = DATA[data]()
    stream = [({**x, "at": time}, y) for time, (x, y) in enumerate(rows)]
    theirs = evaluate.progressive_val_score(
        iter(stream), _without("at") | MODELS[model](), Clipped(), moment="at", delay=delay
    )
    labels = [int(y) for _, y in rows]
    times = list(range(len(rows)))
    due = [time + delay for time in times]
    scores = prequential(MODELS[model](), [x for x, _ in rows], labels, times, due)
    ours = Clipped()
    # River leaves out what a model has no score for.
    for label, score in zip(labels, scores.tolist(), strict=True):
        if not math.isnan(score):
            ours.update(bool(label), {True: score})
    assert ours.get() == theirs.get()


def _without(name: str) -> Any:  # noqa: ANN401 - a transformer of River
    return compose.Discard(name)


class Held(base.Classifier):  # type: ignore[misc] # River has no types
    """A model under the rule of the product: until it has seen both labels the running prior answers."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - a model of River
        self._model = model
        self._prior = Prior()
        self._seen: set[bool] = set()

    def predict_proba_one(self, x: dict[str, Any]) -> dict[bool, float]:
        found: dict[bool, float] = (self._model if len(self._seen) == 2 else self._prior).predict_proba_one(x)
        return found

    def learn_one(self, x: dict[str, Any], y: bool) -> None:
        self._seen.add(y)
        self._prior.learn_one({}, y)
        self._model.learn_one(x, y)


FLEET = """
name = "pumps"
[input]
files = ["events.jsonl"]
[classes.pump]
sensors = ["pressure", "load"]
allowed_lateness = "0s"
label_delay = "DELAY"
[[classes.pump.windows]]
length = "6h"
statistics = ["mean", "min", "max", "last"]
[[targets]]
class = "pump"
mode = "leak"
horizon = "12h"
champion = "linear"
[models.linear]
pipeline = [
  { estimator = "river.preprocessing.StandardScaler" },
  { estimator = "river.linear_model.LogisticRegression" },
]
[models.bayes]
pipeline = [{ estimator = "river.naive_bayes.GaussianNB" }]
[models.tree]
pipeline = [{ estimator = "river.tree.HoeffdingTreeClassifier", grace_period = 50 }]
"""


def _pumps(seed: int, late: float = 0.0, unreported: int = 0, pumps: int = 3) -> list[bytes]:
    """Pumps that leak every few days; pressure falls before. Reports come ``late`` hours after a leak.

    Of every ``unreported`` leaks one is never reported.
    """
    chance = np.random.default_rng(seed)
    lines: list[tuple[float, bytes]] = []
    for number in range(pumps):
        left, leaks = int(chance.integers(40, 120)), 0
        for hour in range(1, 900):
            left -= 1
            noise = chance.normal(0, 0.3)
            read = {"pressure": 4.0 + noise - max(0, 14 - left) / 5, "load": chance.normal(50, 5)}
            at = hour * HOUR
            lines.append((at, testing.telemetry(f"pump-{number}", at, read, arrived=at)))
            if left <= 0:
                leaks += 1
                came = at + 60 + late * HOUR
                if not unreported or leaks % unreported:
                    lines.append((came, testing.failure(f"pump-{number}", at + 60, "leak", arrived=came)))
                left = int(chance.integers(40, 120))
    return [line for _, line in sorted(lines, key=lambda each: each[0])]


def _fleet(folder: Path, delay: str = "0s") -> Any:  # noqa: ANN401 - a fleet
    (folder / "fleet.toml").write_text(FLEET.replace("DELAY", delay), encoding="utf-8")
    return load(folder / "fleet.toml")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_figures_of_a_run_are_those_of_river_with_that_delay(tmp_path: Path, seed: int) -> None:
    """Without disorder each model's loss in the summary is River's, with moment and delay."""
    fleet = _fleet(tmp_path)
    # One pump: of several, each decides its own negatives, so labels of one time come one after the other.
    rows = run_inline(fleet, _pumps(seed, pumps=1))
    served = {row["id"]: row["features"] for row in rows["examples"]}
    labels = [row for row in rows["evaluations"] if row["label"] in {"positive", "negative"}]
    assert all(row["correction"] == 0 for row in labels)
    labels.sort(key=lambda row: (row["time"], row["asset"]))
    stream = []
    for row in labels:
        x = {name: value for name, value in served[row["example"]].items() if value is not None}
        stream.append(({**x, "at": parse_instant(row["time"])}, row["label"] == "positive"))
    summary = next(row["targets"] for row in rows["summary"] if "targets" in row)["pump/leak/12h"]
    # A label counts once the clock has *passed* the horizon: a microsecond later.
    delay = 12 * HOUR * 1_000_000 + 1
    for model, build in MODELS.items():
        theirs = evaluate.progressive_val_score(
            iter(stream), Held(_without("at") | build()), Clipped(), moment="at", delay=delay
        )
        assert summary["first_labels"][model]["log_loss"] == pytest.approx(theirs.get(), rel=1e-12)


def test_in_event_time_nothing_was_under_way() -> None:
    """Records are in order of their own time, a failure before the telemetry of its instant."""
    lines = [
        testing.telemetry("a", 20, {"x": 1.0}, arrived=30),
        testing.telemetry("a", 10, {"x": 1.0}, arrived=40),
        testing.failure("a", 20, "leak", arrived=99),
        testing.registration("a", "pump", {}),
        b"not json",
    ]
    found = [orjson.loads(line) for line in in_event_time(lines)]
    assert [(each["kind"], each.get("time")) for each in found] == [
        ("asset", None),
        ("telemetry", 10),
        ("failure", 20),
        ("telemetry", 20),
    ]
    assert not any("arrived" in each for each in found)


def _estimates(folder: Path, lines: list[bytes], delay: str, **options: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401
    fleet = _fleet(folder, delay)
    (folder / "events.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    printed = io.StringIO()
    show_estimates(fleet, Console(file=printed, width=300), Question(**options), as_json=True)
    rows = [orjson.loads(line) for line in printed.getvalue().splitlines() if line.startswith("{")]
    return {row["name"]: row for row in rows}


def test_the_log_of_a_run_is_not_printed_among_the_estimates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The standard output holds the estimates alone, so that another program can read them."""
    _estimates(tmp_path, _pumps(4, late=48.0), "72h")
    assert capsys.readouterr().out == ""


def test_the_command_draws_the_estimates(tmp_path: Path) -> None:
    """An SVG file of its own, with a bar for each way of estimating."""
    fleet = _fleet(tmp_path, "72h")
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(_pumps(4, late=48.0)) + b"\n")
    picture = tmp_path / "estimates.svg"
    printed = io.StringIO()
    show_estimates(fleet, Console(file=printed, width=300), Question(), plot=picture)
    drawn = picture.read_text()
    assert drawn.startswith("<svg xmlns=")
    assert drawn.count('class="bar"') == 5
    assert str(picture) in printed.getvalue()


def test_late_reports_make_the_immature_estimate_too_good(tmp_path: Path) -> None:
    """Failures reported two days later count as healthy where an example is judged after its horizon."""
    found = _estimates(tmp_path, _pumps(4, late=48.0), "72h")
    assert found["immature"]["positives"] == 0
    assert found["immature"]["log_loss"] < 0.5 * found["matured"]["log_loss"]
    assert found["matured"]["positives"] == found["served"]["positives"] > 50


def test_unreported_failures_are_in_the_truth_alone(tmp_path: Path) -> None:
    """Where every second leak is never reported, the truth has more positives than any label says."""
    every, half = _pumps(5), _pumps(5, unreported=2)
    truth = tmp_path / "truth.jsonl"
    failures = [orjson.loads(line) for line in every if b'"failure"' in line]
    rows = [
        {"kind": "episode", "asset": f["asset"], "mode": "leak", "failed": _text(f["time"])} for f in failures
    ]
    truth.write_bytes(b"\n".join(map(orjson.dumps, rows)) + b"\n")
    found = _estimates(tmp_path, half, "0s", truth=truth)
    assert found["truth"]["positives"] > 1.3 * found["matured"]["positives"]
    assert found["truth"]["examples"] == found["matured"]["examples"]


def _text(seconds: float) -> str:
    return format_instant(round(seconds * 1e6))


def test_the_target_and_model_must_be_clear(tmp_path: Path) -> None:
    """A model that does not exist is refused with those that do."""
    with pytest.raises(EstimateError, match="linear, bayes, tree"):
        _estimates(tmp_path, _pumps(6), "0s", model="none")


def test_a_champion_that_reads_scores_stands_for_the_model_below_it(tmp_path: Path) -> None:
    """Its estimates are those of the model that learns from features."""
    calibrated = FLEET.replace('champion = "linear"', 'champion = "calibrated"').replace("DELAY", "0s") + (
        '[models.calibrated]\nscores = ["linear"]\n'
        'pipeline = [{ estimator = "dataflows.estimators.Calibration" }]\n'
    )
    (tmp_path / "fleet.toml").write_text(calibrated, encoding="utf-8")
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(_pumps(6)) + b"\n")
    fleet = load(tmp_path / "fleet.toml")
    assert estimates_of(fleet, Question()) == estimates_of(fleet, Question(model="linear"))
