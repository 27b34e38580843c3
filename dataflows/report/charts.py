"""Charts as inline SVG, written by Python: complete without a script, light or dark by the page's colours.

Lines differ by colour and by dashes, so that no one has to tell colours apart. The colours follow M. Okabe
and K. Ito, "Color Universal Design", 2008; the page's style sheet sets them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from markupsafe import Markup, escape

from dataflows.evaluation.words import day, number, percent, plain, target_in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from dataflows.report.facts import AssetFacts
    from dataflows.report.reliability import Bin
    from dataflows.report.timelines import Grid, Series

__all__ = ["Line", "bars", "lines", "reliability_chart", "standalone_bars", "timeline"]

_WIDTH = 640
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 30
#: Columns of a timeline that is drawn without the script.
_COLUMNS = 72
#: Height of the row of scores and of one sensor in a timeline, and of the row of alerts and failures.
SCORE_HEIGHT, SENSOR_HEIGHT, EVENT_HEIGHT = 90, 46, 24
_TIMELINE_LEFT, _TIMELINE_RIGHT = 6, 6


class Line(NamedTuple):
    """One line of a chart: its name, and its points as (x, y)."""

    name: str
    points: Sequence[tuple[float, float]]


def _svg(width: int, height: int, label: str, body: str, *, css: str = "chart") -> Markup:
    return Markup(  # noqa: S704 - every text in the body is escaped where it is put in
        f'<svg class="{css}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        f"{body}</svg>"
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", css: str = "") -> str:
    kind = f' class="{css}"' if css else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"{kind}>{escape(text)}</text>'


def _nice(low: float, high: float, count: int = 4) -> list[float]:
    """Return round values between two numbers, for an axis."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw)
    first = math.ceil(low / step)
    return [place * step for place in range(first, math.floor(high / step + 1e-9) + 1)]


def lines(
    found: Sequence[Line],
    label: str,
    *,
    unit: Callable[[float], str] = number,
    marks: Sequence[tuple[float, str]] = (),
    limit: tuple[float, str] | None = None,
    band: Sequence[tuple[float, float, float]] = (),
    bold: str = "",
    height: int = 200,
) -> Markup:
    """Return a chart of lines over time.

    Args:
        found: lines whose x are microseconds.
        label: what a screen reader says.
        unit: makes the text of a value on the axis.
        marks: instants with a vertical line and its text.
        limit: a horizontal line with its text.
        band: an interval that is shaded, as (x, lower end, upper end).
        bold: name of a line that is drawn thicker.
        height: pixels.
    """
    points = [point for line in found for point in line.points]
    xs = [x for x, _ in points] + [x for x, _ in marks]
    ys = [y for _, y in points] + ([limit[0]] if limit else []) + [high for _, _, high in band]
    left, right = min(xs), max(*xs, min(xs) + 1)
    bottom, top = min(0.0, *ys), max([*ys, 1e-9]) * 1.05

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - left) / (right - left) * (_WIDTH - _LEFT - _RIGHT)
        up = (y - bottom) / (top - bottom) * (height - _TOP - _BOTTOM)
        return _LEFT + across, height - _BOTTOM - up

    body = []
    for value in _nice(bottom, top):
        _, y = at(left, value)
        body.append(f'<path class="grid" d="M{_LEFT} {y:.0f}H{_WIDTH - _RIGHT}"/>')
        body.append(_text(_LEFT - 6, y + 4, unit(value), anchor="end"))
    body += _dates(left, right, height, at)
    if limit is not None:
        _, y = at(left, limit[0])
        body.append(f'<path class="limit" d="M{_LEFT} {y:.0f}H{_WIDTH - _RIGHT}"/>')
        body.append(_text(_WIDTH - _RIGHT, y - 4, limit[1], anchor="end"))
    for instant, text in marks:
        x, _ = at(instant, bottom)
        body.append(
            f'<path class="mark" d="M{x:.0f} {_TOP}V{height - _BOTTOM}"><title>{escape(text)}</title></path>'
        )
    if band:
        edge = [at(x, low) for x, low, _ in band] + [at(x, high) for x, _, high in reversed(band)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in edge)
        body.append(f'<path class="band" d="M{path}Z"/>')
    for place, line in enumerate(found):
        css = f"line s{place % 8}" + (" champion" if line.name == bold else "")
        body.append(f'<g class="{css}">{_line(line, at, unit)}</g>')
    return _svg(_WIDTH, height, label, "".join(body))


def _line(line: Line, at: Callable[[float, float], tuple[float, float]], unit: Callable[[float], str]) -> str:
    """Return a line, and a dot at each of its points with its date and value."""
    pixels = [at(*point) for point in line.points]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in pixels)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"><title>'
        f"{escape(line.name)}, {day(int(when))}: {escape(unit(value))}</title></circle>"
        for (x, y), (when, value) in zip(pixels, line.points, strict=True)
    )
    return f'<path d="{path}"/>{dots}'


def _dates(
    left: float, right: float, height: int, at: Callable[[float, float], tuple[float, float]]
) -> Iterator[str]:
    for place in range(4):
        instant = left + (right - left) * place / 3
        x, _ = at(instant, 0)
        anchor = ("start", "middle", "middle", "end")[place]
        yield _text(x, height - 10, day(int(instant)), anchor=anchor)


def reliability_chart(bins: Sequence[Bin], label: str) -> Markup:
    """Return what came of scores against the scores; square roots stretch the small ones."""
    side, left, bottom = 300, 46, 34
    room = 38
    top = max(0.05, *(max(found.most, found.score) for found in bins))
    size = side - left - 20

    def at(share: float) -> float:
        return math.sqrt(max(share, 0.0) / top) * size

    body = [f'<path class="ideal" d="M{left} {side - bottom}L{left + size} {side - bottom - size}"/>']
    for tick in _ticks(top, lambda tick: at(tick) / room):
        x, y = left + at(tick), side - bottom - at(tick)
        body.append(f'<path class="grid" d="M{left} {y:.0f}h{size}M{x:.0f} {side - bottom}v-{size}"/>')
        body.append(_text(left - 6, y + 4, f"{tick * 100:g} %", anchor="end"))
        body.append(_text(x, side - bottom + 16, f"{tick * 100:g} %", anchor="middle"))
    body.append(_text(left + size / 2, side - 2, "score", anchor="middle"))
    body.append(_text(2, 11, "failed"))
    for found in bins:
        x = left + at(found.score)
        low, high, y = (side - bottom - at(each) for each in (found.least, found.most, found.share))
        said = (
            f"score {percent(found.score)}: {percent(found.share)} failed "
            f"({percent(found.least)} to {percent(found.most)}), {found.examples:,} examples"
        )
        off = " off" if found.verdict else ""
        body.append(
            f'<g class="bin{off}"><path d="M{x:.1f} {low:.1f}V{high:.1f}M{x - 4:.1f} {low:.1f}h8'
            f'M{x - 4:.1f} {high:.1f}h8"/><circle cx="{x:.1f}" cy="{y:.1f}" r="4.5">'
            f"<title>{escape(said)}</title></circle></g>"
        )
    return _svg(side, side, label, "".join(body), css="chart square")


def _ticks(top: float, place: Callable[[float], float]) -> list[float]:
    """Return shares for an axis from 0 to ``top``, at least one unit of ``place`` apart, the greatest first.

    >>> _ticks(1.0, lambda share: 6 * math.sqrt(share))
    [1.0, 0.6, 0.3, 0.1, 0.01, 0.0]
    """
    found: list[float] = []
    for tick in (1.0, 0.8, 0.6, 0.4, 0.3, 0.2, 0.1, 0.05, 0.01):
        if tick <= top and place(tick) >= 0.6 and (not found or place(found[-1]) - place(tick) >= 1):  # noqa: PLR2004 - room for 0
            found.append(tick)
    return [*found, 0.0]


def bars(
    counts: Sequence[tuple[str, float]],
    label: str,
    *,
    unit: Callable[[float], str] = number,
    full: float | None = None,
) -> Markup:
    """Return horizontal bars, one a row, with the value beside each.

    Args:
        counts: names and values.
        label: what a screen reader says.
        unit: makes the text of a value.
        full: value of the longest possible bar; None for the largest value.
    """
    row, left = 24, 150
    most = full or max([value for _, value in counts] + [1e-9])
    room = _WIDTH - left - 90
    body = []
    for place, (name, value) in enumerate(counts):
        y = place * row
        long = value / most * room
        body.append(_text(left - 8, y + 16, name, anchor="end"))
        body.append(
            f'<rect class="bar" x="{left}" y="{y + 5}" width="{max(long, 1):.1f}" height="14" rx="2"/>'
        )
        body.append(_text(left + long + 6, y + 16, unit(value)))
    return _svg(_WIDTH, row * len(counts) + 4, label, "".join(body))


#: Colours of a chart that stands alone; in the page its style sheet sets them.
_STYLE = (
    "<style>text{font:12px sans-serif;fill:#52606d}.bar{fill:#0072b2}@media(prefers-color-scheme:dark)"
    "{text{fill:#a8b5c2}.bar{fill:#56b4e9}}</style>"
)


def standalone_bars(counts: Sequence[tuple[str, float]], label: str) -> str:
    """Return `bars` as an SVG file of its own."""
    alone = str(bars(counts, label)).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return alone.replace(">", f">{_STYLE}", 1)


def timeline(asset: AssetFacts, grid: Grid, thresholds: dict[str, float]) -> Markup:
    """Return the timeline of an asset: scores, readings, alerts, failures, late data.

    The script of the page draws the same again, finer, when it is opened.
    """
    scores = [series for series in asset.series if series.is_score]
    sensors = [series for series in asset.series if not series.is_score]
    height = EVENT_HEIGHT + SCORE_HEIGHT + SENSOR_HEIGHT * len(sensors) + 18
    width = _WIDTH - _TIMELINE_LEFT - _TIMELINE_RIGHT
    body = [_late(asset, grid, width, height)]
    top = EVENT_HEIGHT
    limit = min(thresholds[series.name] for series in scores)
    y = top + SCORE_HEIGHT * (1 - limit)
    body.append(f'<path class="limit" d="M{_TIMELINE_LEFT} {y:.0f}h{width}"/>')
    body.append(_text(_TIMELINE_LEFT, top + 10, "score", css="name"))
    body.append(_text(_TIMELINE_LEFT + width, y - 3, percent(limit), anchor="end"))
    for place, series in enumerate(scores):
        path = band(series, 0.0, 1.0, top, SCORE_HEIGHT, width)
        body.append(f'<g class="line s{place % 8}"><path d="{path}"/></g>')
    for place, series in enumerate(sensors):
        base = top + SCORE_HEIGHT + place * SENSOR_HEIGHT
        low, high = float(np.nanmin(series.low)), float(np.nanmax(series.high))
        unit = f" in {series.unit}" if series.unit else ""
        said = f"{plain(series.name)}{unit}, {number(low)} to {number(high)}"
        path = band(series, low, high, base + 14, SENSOR_HEIGHT - 18, width)
        body.append(f'<g class="line reading"><path d="{path}"/></g>')
        body.append(_text(_TIMELINE_LEFT, base + 10, said, css="name"))
    body.append(_events(asset, grid, width, height))
    body.append(_text(_TIMELINE_LEFT, height - 3, day(grid.start)))
    body.append(_text(_TIMELINE_LEFT + width, height - 3, day(grid.end), anchor="end"))
    return _svg(_WIDTH, height, _said(asset), "".join(body), css="chart")


def band(series: Series, low: float, high: float, top: float, height: float, width: float) -> str:
    """Return a path through the smallest and the largest value of each column."""
    lows, highs = series.coarse(_COLUMNS)
    span = high - low or 1.0
    parts, before = [], -3
    for place in np.flatnonzero(np.isfinite(lows)).tolist():
        x = round(_TIMELINE_LEFT + (place + 0.5) / len(lows) * width)
        ends = [round(top + height * (1 - (float(end[place]) - low) / span)) for end in (lows, highs)]
        # A gap of two columns may be chance; a longer one is shown.
        parts.append(f"{'L' if place - before <= 2 else 'M'}{x} {ends[0]}")  # noqa: PLR2004
        parts.append(f"V{ends[1]}" if ends[1] != ends[0] else "h1")
        before = place
    return "".join(parts)


def _across(instant: int, grid: Grid, width: float) -> float:
    share = (instant - grid.start) / max(1, grid.end - grid.start)
    return _TIMELINE_LEFT + min(max(share, 0.0), 1.0) * width


def _late(asset: AssetFacts, grid: Grid, width: float, height: float) -> str:
    """One path for all spans: a page of many elements is slow to draw."""
    tall = height - EVENT_HEIGHT - 18
    path = "".join(
        f"M{_TIMELINE_LEFT + first / grid.count * width:.1f} {EVENT_HEIGHT}"
        f"h{max(1.5, (last - first) / grid.count * width):.1f}v{tall:.0f}"
        f"h-{max(1.5, (last - first) / grid.count * width):.1f}z"
        for first, last in asset.late
    )
    return f'<path class="late" d="{path}"/>' if path else ""


def _events(asset: AssetFacts, grid: Grid, width: float, height: float) -> str:
    body = []
    for life in asset.alerts:
        first = _across(life.opened, grid, width)
        last = _across(grid.end if life.cleared is None else life.cleared, grid, width)
        body.append(
            f'<rect class="alert {life.outcome}" x="{first:.1f}" y="8" width="{max(2.0, last - first):.1f}" '
            'height="9" rx="2"/>'
        )
    for failure in asset.failures:
        x = _across(failure.time, grid, width)
        body.append(
            f'<path class="failure" d="M{x:.1f} {EVENT_HEIGHT}V{height - 18}M{x - 4:.1f} 4l8 8m0 -8l-8 8"/>'
        )
    return "".join(body)


def _said(asset: AssetFacts) -> str:
    """What the timeline shows, for a screen reader."""
    latest = ", ".join(
        f"{target_in_words(target)}: {percent(score)}" for target, (_, score) in asset.scores.items()
    )
    unseen = sum(failure.visible is None for failure in asset.failures)
    return (
        f"{asset.name}. Latest score, {latest}. {len(asset.alerts)} alerts, {len(asset.failures)} failures, "
        f"{unseen} of them without a warning, {asset.late_count} late messages."
    )


def packed(asset: AssetFacts) -> NDArray[np.float32]:
    """Return the numbers of a timeline: of each series the smallest values, then the largest."""
    sides = [side for series in asset.series for side in (series.low, series.high)]
    return np.concatenate(sides) if sides else np.empty(0, dtype=np.float32)
