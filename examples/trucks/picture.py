"""The picture of docs/index.md: one truck of the demo, from the first signs to the label.

Run it from the repository's root after ``make run``: ``python -m examples.trucks.picture``. It writes
``docs/pictures/alert.svg`` from the recording and the outputs, nothing else.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from dataflows.instants import MICROSECONDS, format_instant, parse_instant

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

TRUCK, SENSOR = "truck-024", "coolant_level"
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "June", "July", "Aug", "Sep", "Oct", "Nov", "Dec"]
DAY = MICROSECONDS["d"]
#: Size of the picture, and its panels: top and height.
WIDTH, HEIGHT, LEFT, RIGHT = 772, 330, 74, 26
LEVEL, SCORE = (34, 110), (182, 110)
STYLE = """
text { font: 14px system-ui, sans-serif; fill: #333 } .small { font-size: 12.5px; fill: #666 }
.axis { stroke: #bbb; fill: none } .level { stroke: #2b6ca3; fill: none; stroke-width: 1.6 }
.score { stroke: #b4530a; fill: none; stroke-width: 1.8 } .open { fill: #b4530a; opacity: .13 }
.mark { stroke: #333; stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) { text { fill: #ddd } .small { fill: #aaa } .axis { stroke: #666 }
.level { stroke: #6db3ee } .score { stroke: #f0a04b } .open { fill: #f0a04b; opacity: .2 }
.mark { stroke: #ddd } }
@media (max-width: 500px) { text { font-size: 22px } .small { font-size: 18px } }
"""


def rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a file about the truck."""
    marker = f'"asset":"{TRUCK}"'.encode()
    return [orjson.loads(line) for line in path.read_bytes().splitlines() if marker in line]


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("examples/trucks/data/events.jsonl"))
    parser.add_argument("--outputs", type=Path, default=Path("examples/trucks/out"))
    options = parser.parse_args()
    events, alerts = rows(options.data), rows(options.outputs / "alerts.jsonl")
    failure = max((each for each in events if each["kind"] == "failure"), key=lambda each: each["time"])
    failed, reported = parse_instant(failure["time"]), parse_instant(failure["arrived"])
    opened = max(
        parse_instant(each["time"])
        for each in alerts
        if each["state"] == "opened" and parse_instant(each["time"]) < failed
    )
    start, end = failed - 5 * DAY, reported + DAY // 2
    levels = [
        (parse_instant(each["time"]), each["readings"][SENSOR])
        for each in events
        if each["kind"] == "telemetry" and each["readings"].get(SENSOR) is not None
    ]
    scores = [
        (parse_instant(each["time"]), each["score"])
        for each in rows(options.outputs / "predictions.jsonl")
        if each["revision"] == 0
    ]
    picture = draw(
        [(at, level) for at, level in levels if start <= at < failed],
        [(at, score) for at, score in scores if start <= at < failed],
        {"start": start, "opened": opened, "failed": failed, "reported": reported, "end": end},
    )
    path = Path("docs/pictures/alert.svg")
    path.write_text(picture)
    print(path, f"alert {(failed - opened) / 3.6e9:.1f} h before the failure")


def draw(levels: Sequence[tuple[int, float]], scores: Sequence[tuple[int, float]], at: dict[str, int]) -> str:
    """Draw two panels over one axis of time."""

    def x(time: int) -> float:
        return LEFT + (time - at["start"]) / (at["end"] - at["start"]) * (WIDTH - LEFT - RIGHT)

    bottom = SCORE[0] + SCORE[1]
    width = x(at["failed"]) - x(at["opened"])
    parts = [
        f'<rect class="open" x="{x(at["opened"]):.1f}" y="{SCORE[0]}" width="{width:.1f}" height="110"/>',
        *panel("coolant level", "of full", LEVEL, 1.1, (0.0, 1.0)),
        *panel("score", "P(leak within 48 h)", SCORE, 1.0, (0.0, 0.3, 1.0)),
        curve("level", [(time, x(time), value / 1.1) for time, value in levels], LEVEL),
        curve("score", [(time, x(time), value) for time, value in scores], SCORE),
    ]
    for name, said, anchor, height in (
        ("opened", "alert opens", "end", LEVEL[0] + 14),
        ("failed", "it fails", "start", LEVEL[0] + 14),
        ("reported", "reported", "end", SCORE[0] + 56),
    ):
        shift = -5 if anchor == "end" else 5
        parts.append(f'<path class="mark" d="M{x(at[name]):.1f} {LEVEL[0]}V{bottom}"/>')
        parts.append(text(said, x(at[name]) + shift, height, anchor))
    parts.append(text("and learned", x(at["reported"]) - 5, SCORE[0] + 80, "end"))
    for day in range(at["start"] - at["start"] % DAY + DAY, at["end"], DAY):
        month, number = map(int, format_instant(day)[5:10].split("-"))
        date = f"{number} {MONTHS[month - 1]}"
        parts.append(text(date, x(day), bottom + 18, "middle", "small"))
        parts.append(f'<path class="axis" d="M{x(day):.1f} {bottom}v4"/>')
    label = "Coolant level and score of one truck until it fails, and the later report"
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">'
    return f"{head}<title>{label}</title><style>{STYLE}</style>{''.join(parts)}</svg>\n"


def panel(name: str, unit: str, place: tuple[int, int], top: float, marks: Sequence[float]) -> list[str]:
    """Axes and texts of a panel, whose upper edge is at the value ``top``."""
    upper, height = place
    found = [
        f'<path class="axis" d="M{LEFT} {upper}v{height}H{WIDTH - RIGHT}"/>',
        text(f'{name}, <tspan class="small">{unit}</tspan>', LEFT, upper - 8, "start"),
    ]
    heights = [upper + height * (1 - value / top) for value in marks]
    found += [
        text(f"{value:g}", LEFT - 8, y + 4, "end", "small") for value, y in zip(marks, heights, strict=True)
    ]
    return found


def curve(name: str, points: Sequence[tuple[int, float, float]], place: tuple[int, int]) -> str:
    """Draw points of time, x and share of the panel's height; a gap of hours parts the line."""
    gaps = [DAY, *(b[0] - a[0] for a, b in pairwise(points))]
    steps = " ".join(
        f"{'M' if gap > DAY // 6 else 'L'}{x:.1f} {place[0] + place[1] * (1 - share):.1f}"
        for gap, (_, x, share) in zip(gaps, points, strict=True)
    )
    return f'<path class="{name}" d="{steps}"/>'


def text(said: str, x: float, y: float, anchor: str, name: str = "") -> str:
    """A text at a place."""
    return f'<text class="{name}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{said}</text>'


if __name__ == "__main__":
    main()
