"""Examples until a model is right again after the world changed, with a fresh challenger and without.

``python -m studies adaptation`` simulates pumps that leak after high flow. On one day all their flow sensors
are replaced, and show more from then on. A Bayes classifier, which never forgets, is the champion. The
recording is run with ``drift = "log"``, and with ``drift = "challenger"`` and ``promotion = "auto"``. For
comparison the same model learns only what came after the change.

Which examples are hard is chance, and the same for all three. So losses are compared in pairs: the excess of
what was served over the model of post-drift data only, on the same examples. Its mean over recordings has an
interval from their differences (Student's t). Adapted is who stays within 5 %: of the mean, and of the upper
end of the interval.
"""

from __future__ import annotations

import argparse
import logging
import math
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
import structlog
from rich.console import Console
from rich.table import Table
from scipy import stats

from dataflows.instants import HOUR, format_instant
from dataflows.pipeline import run_inline
from dataflows.testing import failure, pump_fleet, telemetry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Excess", "curves", "main", "recording"]

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


def curves(seeds: range, pumps: int, days: int, turn: int) -> dict[str, list[list[float]]]:
    """Losses after the change, by way and seed; the last way is the model of post-drift data only."""
    found: dict[str, list[list[float]]] = {name: [] for name in (*_WAYS, "post-drift data only")}
    for seed in seeds:
        whole = recording(seed, pumps, days, turn)
        for name, drift in _WAYS.items():
            found[name].append(_losses(whole, drift, turn))
        found["post-drift data only"].append(_losses(recording(seed, pumps, days, turn, turn), "off", turn))
    return found


class Excess(NamedTuple):
    """Excess of the log loss of what was served, as a share of that of the model of post-drift data only.

    Attributes:
        mean: over recordings, by number of examples since the change, of the latest ``window`` ones.
        off: half of its 95 % interval.
        window: examples.
    """

    mean: Floats
    off: Floats
    window: int

    @classmethod
    def of(cls, losses: Sequence[Sequence[float]], best: Sequence[Sequence[float]], window: int) -> Excess:
        """Compare the losses of recordings with those of the best model on the same examples.

        Its loss counts from the second half of the examples on, when it has learned.
        """
        count = min(map(len, losses))
        pairs = np.array([each[:count] for each in losses]), np.array([each[:count] for each in best])
        usual = float(pairs[1][:, count // 2 :].mean())
        whole = np.array(
            [np.convolve(each, np.ones(window) / window, "valid") for each in (pairs[0] - pairs[1]) / usual]
        )
        off = stats.t.ppf(0.975, len(whole) - 1) * whole.std(axis=0, ddof=1) / math.sqrt(len(whole))
        return cls(whole.mean(axis=0), off, window)

    def adapted(self, *, surely: bool = False, within: float = 0.05) -> int | None:
        """Examples after the change from which on the excess stays within a bound; None if it never does.

        Args:
            surely: the upper end of the interval, not the mean.
            within: the bound.
        """
        bad = np.flatnonzero(self.mean + (self.off if surely else 0.0) > within)
        if not len(bad):
            return self.window
        return None if bad[-1] + 1 >= len(self.mean) else int(bad[-1]) + 1 + self.window


def plot(found: dict[str, Excess]) -> str:
    """A picture of the excess with its interval, as SVG; above 100 % it is cut off."""
    longest = max(len(each.mean) for each in found.values())
    window = next(iter(found.values())).window
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 300" font-size="12">',
        '<rect width="640" height="300" fill="#fff"/>',
        f'<text x="50" y="16">excess log loss over post-drift data only, latest {window} examples</text>',
    ]

    def place(at: int, value: float) -> str:
        return f"{50 + 570 * at / longest:.0f} {225 - 185 * min(max(value, -0.15), 1.0):.0f}"

    for share in (0.0, 0.05, 0.5, 1.0):
        y = 225 - 185 * share
        label = f'<text x="8" y="{y + 4}">{share:.0%}</text>' if share != 0.05 else ""
        parts.append(f'<path d="M50 {y}H620" stroke="{"#ddd" if label else "#888"}"/>{label}')
    for number, (name, each) in enumerate(found.items()):
        colour = ("#d55e00", "#0072b2", "#009e73")[number]
        places = range(0, len(each.mean), max(1, len(each.mean) // 100))
        upper = [place(at, float(each.mean[at] + each.off[at])) for at in places]
        lower = [place(at, float(each.mean[at] - each.off[at])) for at in reversed(places)]
        parts.append(f'<path d="M{"L".join(upper + lower)}Z" fill="{colour}" opacity="0.2"/>')
        path = "L".join(place(at, float(each.mean[at])) for at in places)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="330" y="{40 + 18 * number}" fill="{colour}">{name}</text>')
    parts.append(f'<text x="50" y="290">examples after the change: {window} to {longest + window}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _row(name: str, losses: list[list[float]], excess: Excess) -> dict[str, Any]:
    late = slice(len(excess.mean) // 2, None)
    return {
        "way": name,
        "log loss after the change": float(np.mean([np.mean(each) for each in losses])),
        "of its second half": float(np.mean([np.mean(each[len(each) // 2 :]) for each in losses])),
        "excess there": float(excess.mean[late].mean()),
        "+-": float(excess.off[late].mean()),
        "examples until within 5 %": excess.adapted(),
        "surely": excess.adapted(surely=True),
    }


def main(arguments: list[str] | None = None) -> None:
    """Command line: a table, and a picture."""
    parser = argparse.ArgumentParser(description="Examples until a model is right again after a drift.")
    parser.add_argument("--seeds", type=int, default=5, help="recordings")
    parser.add_argument("--first", type=int, default=100, help="seed of the first one")
    parser.add_argument("--pumps", type=int, default=20)
    parser.add_argument("--days", type=int, default=140)
    parser.add_argument("--turn", type=int, default=60)
    parser.add_argument("--window", type=int, default=500, help="latest examples of a mean")
    parser.add_argument("--picture", type=Path, help="SVG file")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    found = curves(range(given.first, given.first + given.seeds), given.pumps, given.days, given.turn)
    best = found["post-drift data only"]
    excesses = {name: Excess.of(losses, best, given.window) for name, losses in found.items()}
    rows = [_row(name, found[name], excess) for name, excess in excesses.items()]
    if given.picture is not None:
        given.picture.write_text(plot({name: excesses[name] for name in _WAYS}), encoding="utf-8")
    if given.json:
        for row in rows:
            sys.stdout.buffer.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        return
    table = Table(*rows[0], title="After all flow sensors were replaced", title_justify="left")
    for row in rows:
        cells = (
            "-" if cell is None else f"{cell:.4g}" if isinstance(cell, float) else str(cell)
            for cell in row.values()
        )
        table.add_row(*cells)
    Console().print(table)


if __name__ == "__main__":
    main()
