"""The pictures and the numbers of docs/event-time.md, from the recording and the outputs of this example.

Run it from the repository's root after the two commands of README.md: ``python -m examples.field.pictures``.
It prints the numbers and writes the pictures into ``docs/pictures``.
"""

from __future__ import annotations

import argparse
import io
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np
import orjson
from matplotlib import dates
from matplotlib import pyplot as plt
from rich.console import Console
from rich.table import Table

from dataflows.fleet import load
from dataflows.instants import HOUR, MICROSECONDS, parse_duration, parse_instant
from dataflows.pipeline import run_inline
from dataflows.status import to_stream
from dataflows.target.skew import log_loss

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["main"]

TRUCK = "truck-084"
TARGET = "truck/coolant_leak/2d"
#: What happens to the truck: a night without network, then a morning with a late message and more.
NIGHT, MORNING, NOON = "2025-10-13T12:00:00Z", "2025-10-14T07:45:00Z", "2025-10-14T09:45:00Z"
#: The prediction whose weather is drawn, and the site where the truck was.
WEATHER_OF, SITE = "2025-10-14T08:06:50Z", "site-01"
#: A failure and its reporting, with a margin: whose labels are drawn.
LEAK = "2025-11-28T00:00:00Z", "2025-12-06T00:00:00Z"
#: From the fleet, and when half of the trucks change to °F.
FIGURES_FROM, FIRMWARE = "2025-10-13T00:00:00Z", "2025-11-30T00:00:00Z"
LATENESSES = ("0s", "1m", "5m", "10m", "30m", "1h", "2h", "6h")
COLOURS = {
    "on time": "#2b6ca3",
    "late": "#e08214",
    "duplicate": "#7b3fa0",
    "future": "#c0392b",
    "too late": "#111111",
    "positive": "#c0392b",
    "negative": "#2b6ca3",
}
GREEN = "#3a9d5d"
#: Matplotlib counts days since 1970.
DAY = MICROSECONDS["d"]


class Message(NamedTuple):
    """Telemetry of the truck: when it arrived, when it happened, and what became of it."""

    line: int
    arrival: int
    time: int
    fate: str


class Found(NamedTuple):
    """What one pass over the recording gives.

    Attributes:
        behind: how far each telemetry lies below its asset's largest event time so far, microseconds.
        messages: telemetry of the truck.
        own: lines of the truck and of the weather up to `NOON`.
        weather: rows of `SITE` for the hours around the prediction: valid, known, temperature, is a forecast.
    """

    behind: np.ndarray
    messages: list[Message]
    own: list[bytes]
    weather: list[tuple[int, int, float, bool]]


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make the pictures and numbers of docs/event-time.md.")
    here = Path(__file__).parent
    parser.add_argument("--data", type=Path, default=here / "data", help="folder of the recording")
    parser.add_argument("--out", type=Path, default=here / "out", help="folder of the run's outputs")
    parser.add_argument("--pictures", type=Path, default=here.parents[1] / "docs" / "pictures")
    options = parser.parse_args(arguments)
    console = Console(width=110)
    options.pictures.mkdir(parents=True, exist_ok=True)
    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    found = read(options.data, options.out)
    draw = {
        "arrivals": arrivals(found.messages),
        "lateness": lateness(found.behind, console),
        "weather": weather(found.weather),
        "labels": labels(options.out, console),
    }
    morning(found.own, here / "fleet.toml", console)
    for name, figure in draw.items():
        figure.savefig(options.pictures / f"{name}.png", dpi=110, metadata={"Software": None})


def read(data: Path, out: Path) -> Found:
    """One pass over the recording, with what the run refused of it."""
    refused = {row["line"]: row["reason"] for row in _refused(out)}
    arrival, newest = 0, dict[str, int]()
    behind, messages, own, rows = [], list[Message](), list[bytes](), []
    with (data / "events.jsonl").open("rb") as events:
        for line, raw in enumerate(events, start=1):
            event = orjson.loads(raw)
            arrival = max(arrival, parse_instant(event["arrived"]))
            kind, asset = event["kind"], event.get("asset")
            if (kind == "weather" or asset == TRUCK) and arrival < parse_instant(NOON):
                own.append(raw.rstrip())
            if kind == "weather" and event["site"] == SITE:
                valid, issued = parse_instant(event["time"]), parse_instant(event["issued"])
                rows.append((valid, max(arrival, issued), event["values"]["temperature"], issued < valid))
            if kind != "telemetry":
                continue
            time, reason = parse_instant(event["time"]), refused.get(line)
            lag = max(0, newest.get(asset, time) - time)
            if reason not in {"future", "duplicate"}:
                behind.append(lag)
            if reason is None:
                newest[asset] = max(newest.get(asset, time), time)
            if asset == TRUCK:
                fate = reason.replace("_", " ") if reason else "late" if lag else "on time"
                messages.append(Message(line, arrival, time, fate))
    return Found(np.array(behind), messages, own, rows)


def _refused(out: Path) -> Iterator[dict[str, Any]]:
    for name in ("rejects", "late"):
        yield from map(orjson.loads, (out / f"{name}.jsonl").read_bytes().splitlines())


def arrivals(messages: list[Message]) -> Figure:
    """Event time over arrival, with the watermark: the night, and the morning after it."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.9), layout="constrained")
    accepted = np.array([found[1:3] for found in messages if found.fate == "on time"])
    for axes, start, size, below in ((left, NIGHT, 3.5, 0), (right, MORNING, 5, HOUR)):
        low, high = parse_instant(start), parse_instant(NOON)
        axes.plot([low / DAY, high / DAY], [low / DAY, high / DAY], color="#bbbbbb", lw=0.8, label="at once")
        steps = accepted[(accepted[:, 0] > low - DAY) & (accepted[:, 0] < high)]
        marks = np.vstack([steps - (0, HOUR), (high, steps[-1, 1] - HOUR)]) / DAY
        axes.step(*marks.T, where="post", color=GREEN, label="watermark")
        for fate in ("on time", "late", "duplicate", "future"):
            shown = [found for found in messages if found.fate == fate and low <= found.arrival < high]
            points = np.array([(found.arrival, min(found.time, high)) for found in shown]) / DAY
            axes.plot(*points.T, "^" if fate == "future" else "o", color=COLOURS[fate], ms=size, label=fate)
        axes.set(xlim=(low / DAY, high / DAY), ylim=((low - below) / DAY, high / DAY), xlabel="arrival, UTC")
        _calendar(axes, "%H:%M")
    left.set(ylabel="event time, UTC", title="a night without network")
    right.set(title="the morning after")
    right.legend(loc="upper left", fontsize=8, frameon=False)
    return figure


def lateness(behind: np.ndarray, console: Console) -> Figure:
    """Share of telemetry that would be too late, by `allowed_lateness`."""
    table = Table("allowed_lateness", "too late", "share", title="Telemetry that would be too late")
    for text in LATENESSES:
        count = int((behind > parse_duration(text)).sum())
        table.add_row(text, f"{count:,}", f"{count / len(behind):.3%}")
    table.caption = f"of {len(behind):,} that are neither future nor duplicate"
    console.print(table)
    figure, axes = plt.subplots(figsize=(5.4, 3.1), layout="constrained")
    grid = np.geomspace(10 * MICROSECONDS["s"], 12 * HOUR, 200)
    shares = 1 - np.searchsorted(np.sort(behind), grid, side="right") / len(behind)
    axes.loglog(grid / MICROSECONDS["m"], 100 * shares, color=COLOURS["late"])
    axes.axvline(60, color=GREEN, lw=1)
    axes.text(55, 1e-3, "this fleet: 1 h", ha="right", color=GREEN)
    axes.set(xlabel="allowed_lateness, minutes", ylabel="too late, % of telemetry")
    return figure


def weather(rows: list[tuple[int, int, float, bool]]) -> Figure:
    """Rows by when they are valid and when they are known, and which of them one event may see."""
    time = parse_instant(WEATHER_OF)
    arrival = time + 4 * MICROSECONDS["s"]
    shown = [row for row in rows if time - 4 * HOUR < row[0] < time + 3 * HOUR and row[1] > time - 10 * HOUR]
    bottom = min(row[1] for row in shown) - HOUR
    figure, axes = plt.subplots(figsize=(6.6, 4.2), layout="constrained")
    for forecast, marker, name in ((True, "s", "forecast"), (False, "o", "observation")):
        points = np.array([row[:2] for row in shown if row[3] is forecast]) / DAY
        axes.plot(*points.T, marker, color="#8a8a8a" if forecast else COLOURS["on time"], label=name)
    for valid, known, temperature, _ in shown:
        place = valid / DAY, known / DAY
        axes.annotate(
            f"{temperature:.1f} °C", place, (0, 6), textcoords="offset points", ha="center", fontsize=8
        )
    seen = [(time - 3 * HOUR) / DAY, time / DAY]
    axes.fill_between(seen, bottom / DAY, arrival / DAY, color=GREEN, alpha=0.15, lw=0, label="may be seen")
    axes.plot(time / DAY, arrival / DAY, "*", ms=12, color=COLOURS["future"], label="telemetry of 08:06:50")
    axes.set(ylim=(bottom / DAY, None), xlabel="valid at, UTC", ylabel="known at, UTC")
    _calendar(axes, "%H:%M")
    axes.legend(loc="upper left", fontsize=8, frameon=False)
    return figure


def labels(out: Path, console: Console) -> Figure:
    """When the label of each example became known, for the days around one failure."""
    found = _evaluations(out, console)
    table = Table("time", "label", "lead, h", "known", "after, h", title=f"Examples of {TRUCK}, {TARGET}")
    for row in found:
        wait = (parse_instant(row["known"]) - parse_instant(row["time"])) / HOUR
        lead = "-" if row["lead"] is None else f"{row['lead']:.1f}"
        table.add_row(row["time"], row["label"], lead, row["known"][:19], f"{wait:.0f}")
    console.print(table)
    figure, axes = plt.subplots(figsize=(6.6, 3.9), layout="constrained")
    for label in ("negative", "positive"):
        chosen = [row for row in found if row["label"] == label]
        points = np.array([[parse_instant(row[key]) for key in ("time", "known")] for row in chosen]) / DAY
        axes.plot(*points.reshape(-1, 2).T, "o", ms=4, color=COLOURS[label], label=label)
    span = np.array([parse_instant(at) for at in LEAK]) / DAY
    axes.plot(span, span, color="#bbbbbb", lw=0.8, label="served")
    axes.plot(span, span + 6, color=GREEN, lw=0.8, ls="--", label="horizon + label_delay later")
    axes.set(xlabel="time of the example, UTC", ylabel="label known, UTC")
    _calendar(axes, "%d %b")
    axes.legend(loc="upper left", fontsize=8, frameon=False)
    return figure


def _evaluations(out: Path, console: Console) -> list[dict[str, Any]]:
    """Rows of the truck around its failure; prints what all say of labels and weather."""
    start, end = LEAK
    found, counts, losses = [], Counter[str](), dict[tuple[str, str], list[float]]()
    with (out / "evaluations.jsonl").open("rb") as file:
        for row in map(orjson.loads, file):
            if row["target"] == TARGET:
                counts[f"{row['label']}, correction {row['correction']}"] += 1
                if row["asset"] == TRUCK and start <= row["time"] < end:
                    found.append(row)
            if row["correction"] == 0 and row["label"] != "censored" and row["time"] >= FIGURES_FROM:
                span = "before the new firmware" if row["time"] < FIRMWARE else "after it"
                scores = (row["scores"][name] for name in ("bayesian", "no_weather"))
                loss = [log_loss(score, row["label"] == "positive") for score in scores]
                sums = losses.setdefault((row["target"], span), [0, 0.0, 0.0])
                losses[row["target"], span] = [
                    each + more for each, more in zip(sums, (1, *loss), strict=True)
                ]
    console.print(f"{TARGET}: " + "; ".join(f"{count:,} {name}" for name, count in sorted(counts.items())))
    table = Table("target", "examples", "number", "bayesian", "no_weather", title="Log loss, first labels")
    for (target, span), (count, *sums) in sorted(losses.items()):
        table.add_row(target, span, f"{count:,}", *(f"{each / count:.4f}" for each in sums))
    console.print(table)
    return found


def morning(lines: list[bytes], fleet: Path, console: Console) -> None:
    """Every prediction of the truck that morning, with the features that revisions changed.

    Windows hold nothing of other trucks, so the truck alone gives the features that were served; its scores
    are not those of the run, whose models learned from all trucks.
    """
    to_stream(io.StringIO())
    overrides = {"output": {"publish": "all", "features": "all"}}
    out = run_inline(load(fleet, overrides, environ={}), lines)
    names = ("weather:temperature", "weather:age", "over_air:mean:6h", "load:mean:6h")
    table = Table("arrival", "time", "revision", *names, title=f"{TRUCK}, the morning of 14 October")
    for row in out["predictions"]:
        if row["target"] == TARGET and row["time"] >= MORNING:
            cells = (f"{row['features'][name]:.3f}" for name in names)
            table.add_row(row["arrival"][11:19], row["time"][11:19], str(row["revision"]), *cells)
    console.print(table)


def _calendar(axes: Axes, form: str) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        locator = dates.DayLocator(interval=2) if "%d" in form else dates.AutoDateLocator(maxticks=8)
        axis.set_major_locator(locator)
        axis.set_major_formatter(dates.DateFormatter(form))


if __name__ == "__main__":
    main()
