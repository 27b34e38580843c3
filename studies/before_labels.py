"""Error before labels: how often the realised log loss lies in the interval that the scores expected.

``python -m studies before_labels RECORDING --fleet FLEET`` runs a recording with ``drift = "log"``, and
compares each period's realised log loss of the champion with the 95 % interval that its scores gave before
the labels were known.

A second table holds the same scores against CBPE, confidence-based performance estimation: it calibrates the
scores on the examples whose labels are known (isotonic regression), and takes the expectation of a figure
under these probabilities. Both estimate log loss and recall of the examples of each period, from what was
known when it began. Shown is the mean absolute error of the estimates.

Source: Bialek, Kuberski, Perrakis and Bifet, "Estimating model performance under covariate shift without
labels", arXiv 2401.08348, whose section 3 has CBPE; in the package nannyml.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
import tomlkit
from rich.console import Console
from rich.table import Table
from sklearn.isotonic import IsotonicRegression

from dataflows.instants import format_instant, parse_duration, parse_instant
from dataflows.scoring import CLIP
from studies.quality import run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Scored", "changed", "estimates", "main", "periods"]

#: Examples of a period, and positives among those known before it, at least.
_FEWEST, _POSITIVES = 20, 5


class Scored(NamedTuple):
    """Examples of one target, each field with one value an example.

    Attributes:
        time: of the example, in microseconds.
        known: when its label was known.
        score: of the champion, as served.
        label: 1 or 0.
    """

    time: NDArray[np.int64]
    known: NDArray[np.int64]
    score: Floats
    label: NDArray[np.int64]


def scored(output: Path) -> dict[str, Scored]:
    """Examples with labels of a run, by target."""
    found: dict[str, list[tuple[int, int, float, int]]] = {}
    for line in (output / "evaluations.jsonl").read_bytes().splitlines():
        row = orjson.loads(line)
        score = row["scores"].get(row["champion"])
        if score is not None and row["label"] != "censored" and not row["correction"]:
            times = parse_instant(row["time"]), parse_instant(row["known"])
            found.setdefault(row["target"], []).append((*times, score, int(row["label"] == "positive")))
    return {target: Scored(*map(np.array, zip(*rows, strict=True))) for target, rows in found.items()}


def estimates(of: Scored, every: int, threshold: float, start: int = 0) -> list[dict[str, Any]]:
    """Estimates of log loss and recall, by our rule and by CBPE, beside the realised ones, for each period.

    Args:
        of: examples of one target.
        every: length of a period, in microseconds.
        threshold: from which on a score is a warning.
        start: periods before this instant are left out.
    """
    rows = []
    for period in sorted({*(of.time // every).tolist()}):
        now, before = of.time // every == period, of.known <= period * every
        if period * every < start or now.sum() < _FEWEST or of.label[before].sum() < _POSITIVES:
            continue
        score, label = of.score[now], of.label[now]
        calibrate = IsotonicRegression(out_of_bounds="clip", y_min=0.0, y_max=1.0)
        calibrated = calibrate.fit(of.score[before], of.label[before]).predict(score)
        row: dict[str, Any] = {"from": format_instant(period * every), "examples": int(now.sum())}
        for name, p in (("realised", label), ("ours", score), ("CBPE", calibrated)):
            row[name] = _expected(score, p.astype(float), threshold)
        rows.append(row)
    return rows


def _expected(score: Floats, positive: Floats, threshold: float) -> dict[str, float]:
    """Log loss and recall of scores, if an example is positive with these probabilities."""
    clipped = np.clip(score, CLIP, 1.0 - CLIP)
    loss = -(positive * np.log(clipped) + (1.0 - positive) * np.log(1.0 - clipped))
    hits = positive[score >= threshold].sum()
    return {"log loss": float(loss.mean()), "recall": float(hits / max(positive.sum(), 1e-9))}


def _errors(found: dict[str, list[dict[str, Any]]]) -> Table:
    """Mean absolute errors of both, over periods with a positive where recall is meant."""
    table = Table("target", "periods", "figure", "ours", "CBPE", title="Mean absolute error of estimates")
    for target, rows in found.items():
        for figure in ("log loss", "recall"):
            off = {
                name: [abs(row[name][figure] - row["realised"][figure]) for row in rows]
                for name in ("ours", "CBPE")
            }
            means = (f"{np.mean(each):.4f}" if each else "-" for each in off.values())
            table.add_row(target, str(len(rows)), figure, *means)
    return table


def changed(fleet: Path, every: str) -> str:
    """The fleet.toml with drift watched, and periods of a length."""
    document: Any = tomlkit.parse(fleet.read_text(encoding="utf-8"))
    document["metrics_every"] = every
    for target in document["targets"]:
        target["drift"], target["promotion"] = "log", "off"
    return tomlkit.dumps(document)


def periods(output: Path, start: str | None) -> list[dict[str, Any]]:
    """Periods of a run that have realised losses, from an instant on."""
    rows = map(orjson.loads, (output / "metrics.jsonl").read_bytes().splitlines())
    return [
        row
        for row in rows
        if row["kind"] == "expected"
        and row["settled"]["examples"] >= 20
        and (start is None or row["from"] >= start)
    ]


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Realised log loss against the interval expected of scores.")
    parser.add_argument("recording", type=Path)
    parser.add_argument("--fleet", type=Path, default=Path("examples/cmapss/fleet.toml"))
    parser.add_argument("--from", dest="start", help="periods before count not, such as 2020-01-16")
    parser.add_argument("--every", default="7d", help="length of a period")
    parser.add_argument("--threshold", type=float, default=0.5, help="of warnings, for recall")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        fleet = Path(folder) / "fleet.toml"
        fleet.write_text(changed(given.fleet, given.every), encoding="utf-8")
        run(fleet, given.recording, Path(folder) / "out")
        found = periods(Path(folder) / "out", given.start)
        every, start = (
            parse_duration(given.every),
            0 if given.start is None else parse_instant(f"{given.start}T00:00:00Z"),
        )
        estimated = {
            target: estimates(each, every, given.threshold, start)
            for target, each in scored(Path(folder) / "out").items()
        }
    if given.json:
        for row in found:
            sys.stdout.buffer.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        return
    table = Table("period from", "examples", "expected", "95 % interval", "realised", "inside")
    inside = 0
    for row in found:
        each = row["settled"]
        fits = each["low"] <= each["realised"] <= each["high"]
        inside += fits
        interval = f"{each['low']:.4f} to {each['high']:.4f}"
        table.add_row(
            f"{row['target']} {row['from'][:10]}",
            str(each["examples"]),
            f"{each['expected']:.4f}",
            interval,
            f"{each['realised']:.4f}",
            "yes" if fits else "no",
        )
    Console().print(table, f"{inside} of {len(found)} periods inside", _errors(estimated))


if __name__ == "__main__":
    main()
