"""Examples until a model is right again after the world changed, with a fresh challenger and without.

``python -m studies adaptation`` simulates pumps that leak after high flow. On one day all their flow sensors
are replaced, and show more from then on. A Bayes classifier, which never forgets, is the champion. The
recording is run with ``drift = "log"``, and with ``drift = "challenger"`` and ``promotion = "auto"``. For
comparison the same model learns only what came after the change. Shown is the log loss of what was served,
over the latest examples, and how many examples it takes until that is within 5 % of the model that knows
nothing else.
"""

from __future__ import annotations

import argparse
import logging
import math
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import structlog
from rich.console import Console
from rich.table import Table

from dataflows.instants import HOUR, format_instant
from dataflows.pipeline import run_inline
from dataflows.testing import failure, pump_fleet, telemetry

__all__ = ["adapted", "curves", "main", "recording"]

_CLIP = 1e-4
_WAYS = {"champion never reset, nothing started": "log", "fresh challenger at the drift": "challenger"}


def recording(seed: int, pumps: int, days: int, turn: int, since: int = 0) -> list[bytes]:
    """Pumps that send every four hours; from day ``turn`` on their flow sensors show 4 more.

    Args:
        seed: of all chance.
        pumps: number.
        days: in all.
        turn: the day of the change.
        since: days before it are left out.
    """
    rows: list[tuple[int, bytes]] = []
    for number in range(pumps):
        chance, name, high = random.Random(f"{seed}/{number}"), f"pump-{number}", 0
        for hour in range(0, days * 24, 4):
            if not high and chance.random() < 0.06:
                high = 4
            flow, pressure = chance.gauss(6 if high else 2, 1.0), chance.gauss(2, 1.0)
            flow += 4 * (hour >= turn * 24)
            time = hour * HOUR
            leaks = high == 1 and chance.random() < 0.8
            high = max(0, high - 1)
            if hour < since * 24:
                continue
            rows.append((time, telemetry(name, format_instant(time), {"flow": flow, "pressure": pressure})))
            if leaks:
                rows.append((time + HOUR, failure(name, format_instant(time + HOUR), "leak")))
    return [line for _, line in sorted(rows, key=lambda row: row[0])]


def _fleet(drift: str) -> Any:  # noqa: ANN401
    models = {"bayes": {"pipeline": [{"estimator": "river.naive_bayes.GaussianNB"}]}}
    classes = {"pump": {"sensors": ["flow", "pressure"], "allowed_lateness": "1h", "example_every": "4h"}}
    target = {"class": "pump", "mode": "leak", "horizon": "12h", "champion": "bayes", "drift": drift}
    auto = {**target, "promotion": "auto" if drift == "challenger" else "off", "models": ["bayes"]}
    return pump_fleet(models, classes=classes, targets=[auto], metrics_every="30d")


def _losses(lines: list[bytes], drift: str, turn: int) -> list[float]:
    """Log loss of the published scores after the change, in the order of their time."""
    rows = run_inline(_fleet(drift), lines)["evaluations"]
    first = format_instant(turn * 24 * HOUR)
    served = sorted(
        (row["time"], row["asset"], row["label"] == "positive", row["scores"][row["champion"]])
        for row in rows
        if row["time"] >= first and row["label"] in {"positive", "negative"} and not row["correction"]
    )
    found = []
    for _, _, label, score in served:
        clipped = min(max(0.5 if score is None else score, _CLIP), 1 - _CLIP)
        found.append(-math.log(clipped if label else 1 - clipped))
    return found


def curves(seeds: int, pumps: int, days: int, turn: int) -> dict[str, list[list[float]]]:
    """Losses after the change, by way and seed; the last way is the model of post-drift data only."""
    found: dict[str, list[list[float]]] = {name: [] for name in (*_WAYS, "post-drift data only")}
    for seed in range(seeds):
        whole = recording(seed, pumps, days, turn)
        for name, drift in _WAYS.items():
            found[name].append(_losses(whole, drift, turn))
        found["post-drift data only"].append(_losses(recording(seed, pumps, days, turn, turn), "off", turn))
    return found


def adapted(losses: list[float], best: list[float], window: int) -> int | None:
    """Examples after the change until the mean of the latest ``window`` losses stays within 5 % of the best.

    The best is the model of post-drift data only, over the second half of the examples.
    """
    target = 1.05 * float(np.mean(best[len(best) // 2 :]))
    means = np.convolve(losses, np.ones(window) / window, "valid")
    bad = np.flatnonzero(means > target)
    if not len(bad):
        return window
    return None if bad[-1] + 1 >= len(means) else int(bad[-1]) + 1 + window


def plot(found: dict[str, list[list[float]]], window: int) -> str:
    """A picture of the log loss over the latest examples, as SVG."""
    means = {
        name: np.convolve(
            np.mean([each[: min(map(len, losses))] for each in losses], axis=0),
            np.ones(window) / window,
            "valid",
        )
        for name, losses in found.items()
    }
    most = max(float(each.max()) for each in means.values())
    longest = max(map(len, means.values()))
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 300" font-size="12">',
        '<rect width="640" height="300" fill="#fff"/>',
        f'<text x="50" y="16">log loss of what was served, mean of the latest {window} examples</text>',
    ]
    for share in (0.0, 0.5, 1.0):
        y = 260 - 220 * share
        parts.append(
            f'<path d="M50 {y}H620" stroke="#ddd"/><text x="10" y="{y + 4}">{share * most:.2f}</text>'
        )
    for number, (name, each) in enumerate(means.items()):
        colour = ("#d55e00", "#0072b2", "#009e73")[number]
        places = range(0, len(each), max(1, len(each) // 100))
        path = "L".join(f"{50 + 570 * at / longest:.0f} {260 - 220 * each[at] / most:.0f}" for at in places)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="330" y="{40 + 18 * number}" fill="{colour}">{name}</text>')
    parts.append(f'<text x="50" y="290">examples after the change: {window} to {longest + window}</text>')
    return "\n".join([*parts, "</svg>", ""])


def main(arguments: list[str] | None = None) -> None:
    """Command line: a table, and a picture."""
    parser = argparse.ArgumentParser(description="Examples until a model is right again after a drift.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pumps", type=int, default=20)
    parser.add_argument("--days", type=int, default=140)
    parser.add_argument("--turn", type=int, default=60)
    parser.add_argument("--window", type=int, default=1_000, help="latest examples of a mean")
    parser.add_argument("--picture", type=Path, help="SVG file")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    found = curves(given.seeds, given.pumps, given.days, given.turn)
    best = found["post-drift data only"]
    rows = []
    for name, losses in found.items():
        needed = [adapted(each, of, given.window) for each, of in zip(losses, best, strict=True)]
        reached = sorted(each for each in needed if each is not None)
        rows.append(
            {
                "way": name,
                "log loss after the change": float(np.mean([np.mean(each) for each in losses])),
                "of its second half": float(np.mean([np.mean(each[len(each) // 2 :]) for each in losses])),
                "within 5 %": f"{len(reached)} of {given.seeds}",
                "median examples": float(np.median(reached)) if reached else None,
            }
        )
    if given.picture is not None:
        given.picture.write_text(plot(found, given.window), encoding="utf-8")
    if given.json:
        for row in rows:
            sys.stdout.buffer.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        return
    table = Table(*rows[0], title="After all flow sensors were replaced", title_justify="left")
    for row in rows:
        cells = (
            "-" if cell is None else f"{cell:.4g}" if isinstance(cell, float) else cell
            for cell in row.values()
        )
        table.add_row(*cells)
    Console().print(table)


if __name__ == "__main__":
    main()
