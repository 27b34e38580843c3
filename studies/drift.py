"""Drift: false alarms, what moved data does, how soon changes are found, and whether their cause is right.

``python -m studies drift`` has these parts, each with its table:

- ``null``: 300 series of one value a day that depend on each other and on their own past, over twenty
  stationary years: every alarm is a false one. The same of NASA's engines while they are healthy, and of
  Azure's machines, in bootstrapped years, where ``--data`` has them;
- ``quiet``: worlds without any change through the whole monitor, ``--days`` each: all alarms are false;
- ``movement``: worlds (`studies.drift_world`) in which only the data moves: late, missing, wrongly stamped;
- ``found``: worlds that change: days until the first alarm, and share of worlds in which there is one within
  35 days, beside ADWIN and Page-Hinkley with as many false alarms, and the causes that first alarms give;
- ``causes``: these causes alone.
"""

from __future__ import annotations

import argparse
import gzip
import io
import logging
import math
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import structlog
from rich.console import Console
from rich.table import Table
from river import drift
from scipy import stats

from dataflows.target.detectors import REFERENCE, Detectors
from studies.drift_world import CAUSES, MOVEMENTS, World, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["delays", "false_alarms", "found", "main", "series"]

DAYS = 365
#: Seeds of worlds without any change begin here.
_QUIET = 5_000
#: Seeds of the worlds of two changes are so far apart, so that no chance is counted twice.
_APART = 1_000
#: Correlation of each value with the one before it, and the degrees of freedom of Student's t, if not normal.
KINDS: dict[str, tuple[float, int | None]] = {
    "independent days": (0.0, None),
    "correlation of 0.5 from day to day": (0.5, None),
    "correlation of 0.8": (0.8, None),
    "correlation of 0.5, heavy tails (t, 5 degrees)": (0.5, 5),
}


def series(
    rng: np.random.Generator, days: int, count: int, *, correlation: float = 0.0, degrees: int | None = None
) -> Floats:
    """Stationary series of mean 0 and variance 1, (days, count); half of the variance is common to all."""

    def noise(columns: int) -> Floats:
        if degrees is None:
            return rng.standard_normal((days, columns))
        return rng.standard_t(degrees, (days, columns)) * math.sqrt((degrees - 2) / degrees)

    shocks = math.sqrt(0.5) * noise(1) + math.sqrt(0.5) * noise(count)
    values = np.empty((days, count))
    values[0] = shocks[0]
    for day in range(1, days):
        values[day] = correlation * values[day - 1] + math.sqrt(1 - correlation**2) * shocks[day]
    return values


def false_alarms(kind: str, count: int, years: int, seed: int = 0) -> int:
    """Alarms of series that never change, under a budget of one a year."""
    correlation, degrees = KINDS[kind]
    rng = np.random.default_rng(seed)
    values = series(rng, years * DAYS, count, correlation=correlation, degrees=degrees)
    detectors = Detectors(count, 1 / DAYS)
    return sum(len(detectors.add(row)) for row in values)


def found(shift: float, count: int, streams: int, seed: int = 1) -> tuple[float, float]:
    """Median days until a shift of all series is found in one, and the share of series found in 60 days."""
    delays = []
    for number in range(streams):
        rng = np.random.default_rng([seed, number])
        values = series(rng, REFERENCE + 90, count, correlation=0.5)
        values[REFERENCE + 30 :] += shift
        detectors = Detectors(count, 1 / DAYS)
        first = np.full(count, np.inf)
        for day, row in enumerate(values):
            for alarm in detectors.add(row):
                first[alarm.series] = min(first[alarm.series], day - REFERENCE - 30)
        delays.append(first)
    whole = np.array(delays)
    return float(np.median(whole)), float((whole < 60).mean())


def bootstrapped(means: Floats, years: int, seed: int = 2, units: int = 20, block: int = 10) -> int:
    """False alarms of series that are made of real days, which are drawn in blocks.

    Args:
        means: (assets, days, sensors) of each asset, minus its own first days; NaN where there is none.
        years: stationary ones.
        seed: of the draws.
        units: assets that are drawn for each block of days.
        block: days.
    """
    rng = np.random.default_rng(seed)
    assets, days, count = means.shape
    detectors, alarms = Detectors(count, 1 / DAYS), 0
    for _ in range(years * DAYS // block):
        since = int(rng.integers(0, days - block + 1))
        drawn = means[rng.integers(0, assets, units), since : since + block]
        for row in np.nanmean(drawn, axis=0):
            alarms += len(detectors.add(row))
    return alarms


def engines(path: Path) -> Floats:
    """Sensors of NASA's engines in their cycles 5 to 50, while they are healthy, minus their first five."""
    table = np.loadtxt(io.BytesIO(gzip.decompress(path.read_bytes())))
    sensors = [column for column in range(5, 26) if table[:, column].std() > 1e-6]
    found = []
    for engine in np.unique(table[:, 0]):
        values = table[table[:, 0] == engine][:50, sensors]
        found.append(values[5:] - values[:5].mean(axis=0))
    return np.array(found)


def machines(path: Path) -> Floats:
    """Daily means of the sensors of Azure's machines, minus their first five days."""
    with gzip.open(path, "rt") as file:
        next(file)
        rows = [line.strip().replace('"', "").split(",") for line in file]
    by_day: dict[tuple[str, str], list[list[float]]] = {}
    for time, machine, *values in rows:
        by_day.setdefault((machine, time.split(" ")[0]), []).append([float(value) for value in values])
    days = sorted({day for _, day in by_day})
    found = np.full((len({machine for machine, _ in by_day}), len(days), len(rows[0]) - 2), np.nan)
    for number, machine in enumerate(sorted({machine for machine, _ in by_day})):
        for place, day in enumerate(days):
            if (machine, day) in by_day:
                found[number, place] = np.mean(by_day[machine, day], axis=0)
    return found[:, 5:] - np.nanmean(found[:, :5], axis=1, keepdims=True)


def nulls(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """False alarms, with the upper end of their 95 % interval."""
    kinds: dict[str, Callable[[], int]] = {
        kind: lambda kind=kind: false_alarms(kind, given.series, given.years)  # type: ignore[misc]
        for kind in KINDS
    }
    nasa, azure = (
        given.data / "cmapss/train_FD001.txt.gz",
        given.data / "azure_pdm_20x90d/PdM_telemetry.csv.gz",
    )
    if nasa.exists():
        kinds["NASA's engines, cycles 5 to 50"] = lambda: bootstrapped(engines(nasa), given.years)
    if azure.exists():
        kinds["Azure's machines"] = lambda: bootstrapped(machines(azure), given.years)
    for kind, count in kinds.items():
        alarms = count()
        bound = float(stats.chi2.ppf(0.95, 2 * (alarms + 1)) / 2)
        yield {"series": kind, "alarms": alarms, "upper 95 % bound": bound, "budget": given.years}


def quiet(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Alarms of worlds that never change, with the upper end of the 95 % interval of their number."""
    days = given.days
    runs = [run(World(days=days, turn=days, seed=_QUIET + seed)) for seed in range(given.seeds)]
    years = len(runs) * (days - REFERENCE - 5) / DAYS
    ranks = Counter(row["rank"] for each in runs for row in each.alarms)
    alarms = sum(ranks.values())
    yield {
        "worlds": len(runs),
        "years": years,
        "alarms": alarms,
        "upper 95 % bound": float(stats.chi2.ppf(0.95, 2 * (alarms + 1)) / 2),
        "budget": years,
        "by rank": dict(ranks),
    }


def movements(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Alarms of worlds in which only the data moves."""
    for kind in ("", *MOVEMENTS):
        runs = [run(World(kind, 1.0, seed=seed)) for seed in range(given.seeds)]
        alarms = Counter(row["cause"] for each in runs for row in each.alarms)
        moved = Counter(measure for each in runs for measure in {row["measure"] for row in each.moved})
        yield {
            "data": kind or "as usual",
            "worlds": given.seeds,
            "alarms named data movement": alarms.pop("data movement", 0),
            "alarms named otherwise": sum(alarms.values()),
            "of these the world": alarms["world"],
            "reported as moved": ", ".join(f"{name} {count}" for name, count in moved.most_common(3)),
        }


def _rivals(runs: Sequence[Any]) -> dict[str, Callable[[Floats], int | None]]:
    """ADWIN and Page-Hinkley over all series of a world, with as many false alarms as the budget allows.

    The least strict setting is taken at which the worlds without a change have at most one alarm a year.
    """
    years = sum(len(each.values) - REFERENCE - 5 for each in runs) / DAYS

    def first(values: Floats, make: Callable[[], Any]) -> int | None:
        """First block at which any series is said to have changed."""
        found = []
        for column in values.T:
            given = np.flatnonzero(~np.isnan(column))
            reference = column[given[:REFERENCE]]
            if len(reference) < REFERENCE or reference.std() < 1e-9:
                continue
            detector = make()
            for cell in given:
                z = (column[cell] - reference.mean()) / reference.std()
                detector.update(float(np.clip(z / 10 + 0.5, 0, 1)))
                if detector.drift_detected:
                    found.append(int(cell))
                    break
        return min(found, default=None)

    settings: dict[str, list[Callable[[], Any]]] = {
        "ADWIN": [
            lambda delta=10.0**-power: drift.ADWIN(delta=delta, clock=1, grace_period=5)  # type: ignore[misc]
            for power in (2, 3, 4, 6, 8, 11, 14)
        ],
        "Page-Hinkley": [
            lambda most=most: drift.PageHinkley(min_instances=REFERENCE, delta=0.02, threshold=most)  # type: ignore[misc]
            for most in (0.5, 0.8, 1.2, 1.6, 2.0, 2.5, 3.0, 4.0, 6.0)
        ],
    }
    chosen = {}
    for name, makes in settings.items():
        for make in makes:
            if sum(first(each.values, make) is not None for each in runs) <= max(1.0, years):
                break
        chosen[name] = lambda values, make=make: first(values, make)
    return chosen  # type: ignore[return-value]


def delays(kind: str, size: float, seeds: range, rivals: dict[str, Any]) -> dict[str, Any]:
    """How soon a change is found, in which share of worlds, and the cause of the first alarm."""
    found: list[float] = []
    others: dict[str, list[float]] = {name: [] for name in rivals}
    causes: Counter[str] = Counter()
    for seed in seeds:
        world = World(kind, size, seed=seed)
        each = run(world)
        day = 24 * 3_600_000_000
        turn = np.datetime64(world.turn * day, "us")
        times = [np.datetime64(row["time"][:-1], "us") for row in each.alarms]
        first = next((number for number, time in enumerate(times) if time >= turn), None)
        if first is not None:
            causes[each.alarms[first]["cause"]] += 1
            found.append(float((times[first] - turn).astype(np.int64)) / day)
        elif any(row["measure"] == "labels" for row in each.moved):
            causes["labels"] += 1
            row = next(row for row in each.moved if row["measure"] == "labels")
            found.append(float((np.datetime64(row["time"][:-1], "us") - turn).astype(np.int64)) / day)
        for name, rival in rivals.items():
            cell = rival(each.values)
            if cell is not None and cell >= world.turn:
                others[name].append(cell - world.turn)
    row: dict[str, Any] = {"change": kind, "size": size, "found": len(found) / len(seeds)}
    row["median days"] = float(np.median(found)) if found else None
    for name, times in others.items():
        row[f"{name}: found"] = len(times) / len(seeds)
        row[f"{name}: days"] = float(np.median(times)) if times else None
    return {**row, "causes": dict(causes)}


#: Sizes of each change: standard deviations of an asset's day; of a base rate, factors of the odds.
SIZES = {
    "sensor of all": (1.0, 2.0, 3.0),
    "two sensors": (1.0, 2.0, 3.0),
    "a site": (2.0, 4.0, 8.0),
    "sensor of one asset": (5.0, 15.0, 30.0),
    "other failures": (1.0, 2.0),
    "base rate": (2.0, 4.0, 8.0),
    "labels stop": (1.0,),
}


def changes(given: argparse.Namespace, rivals: dict[str, Any]) -> list[dict[str, Any]]:
    """Every change in every size, each with worlds of its own."""
    whole = [(kind, size) for kind in CAUSES for size in SIZES[kind]]
    firsts = range(given.first, given.first + _APART * len(whole), _APART)
    return [
        delays(kind, size, range(first, first + given.seeds), rivals)
        for (kind, size), first in zip(whole, firsts, strict=True)
    ]


def confusion(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """First alarms by change and cause."""
    names = ("data movement", "labels", "asset", "site", "sensor", "world")
    table = []
    together: Counter[bool] = Counter()
    for kind, right in CAUSES.items():
        counts: Counter[str] = Counter()
        for row in found:
            counts.update(row["causes"] if row["change"] == kind else {})
        share = counts[right] / max(1, sum(counts.values()))
        table.append({"change": kind, **{name: counts[name] for name in names}, "right": share})
        together.update({True: counts[right], False: sum(counts.values()) - counts[right]})
    share = together[True] / max(1, sum(together.values()))
    table.append({"change": "together", **dict.fromkeys(names), "right": share})
    return table


def plot(found: Sequence[dict[str, Any]]) -> str:
    """A picture of the share found by size of the change: one line a kind, as SVG."""
    colours = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 300" font-size="12">',
        '<rect width="640" height="300" fill="#fff"/>',
        '<text x="50" y="16">share of worlds in which the change is found within 35 days</text>',
    ]
    for share in (0.0, 0.5, 1.0):
        y = 260 - 220 * share
        parts.append(f'<path d="M50 {y}H440" stroke="#ddd"/><text x="20" y="{y + 4}">{share:g}</text>')
    kinds = [kind for kind in SIZES if len(SIZES[kind]) > 1]
    for number, kind in enumerate(kinds):
        rows = [row for row in found if row["change"] == kind]
        points = [(50 + 390 * math.log2(row["size"] + 1) / 5, 260 - 220 * row["found"]) for row in rows]
        path = "M" + "L".join(f"{x:.0f} {y:.0f}" for x, y in points)
        colour = colours[number % len(colours)]
        dots = "".join(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3" fill="{colour}"/>' for x, y in points)
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>{dots}')
        parts.append(f'<text x="460" y="{40 + 20 * number}" fill="{colour}">{kind}</text>')
    for size in (1, 2, 4, 8, 15, 30):
        x = 50 + 390 * math.log2(size + 1) / 5
        parts.append(f'<text x="{x:.0f}" y="278" text-anchor="middle">{size}</text>')
    parts.append(
        '<text x="50" y="295">size: standard deviations of an asset\'s day; of a base rate, a factor</text>'
    )
    return "\n".join([*parts, "</svg>", ""])


def _tables(given: argparse.Namespace) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    if given.part in {"null", "all"}:
        yield f"False alarms in {given.years} years", list(nulls(given))
        rows = []
        for shift in (1.5, 2.0, 3.0, 4.0, 6.0):
            median, share = found(shift, given.series, given.streams)
            rows.append({"shift, sd of a day": shift, "median days": median, "found in 60 days": share})
        yield "Days until a shift of one of all series is found", rows
    if given.part in {"quiet", "all"}:
        yield "Worlds without any change", list(quiet(given))
    if given.part in {"movement", "all"}:
        yield "Worlds in which only the data moves", list(movements(given))
    if given.part in {"found", "all"}:
        rivals = _rivals([run(World(seed=1_000 + seed)) for seed in range(given.seeds)])
        rows = changes(given, rivals)
        if given.picture is not None:
            given.picture.write_text(plot(rows), encoding="utf-8")
        yield "Changes", rows
        yield "Causes of first alarms", confusion(rows)
    if given.part == "causes":
        yield "Causes of first alarms", confusion(changes(given, {}))


def main(arguments: list[str] | None = None) -> None:
    """Command line: tables."""
    parser = argparse.ArgumentParser(description="False alarms of drift, and how soon changes are found.")
    parser.add_argument(
        "--part", choices=["null", "quiet", "movement", "found", "causes", "all"], default="all"
    )
    parser.add_argument("--years", type=int, default=20)
    parser.add_argument("--series", type=int, default=300)
    parser.add_argument("--streams", type=int, default=20, help="for the delays of bare series")
    parser.add_argument("--seeds", type=int, default=200, help="worlds of each kind")
    parser.add_argument("--days", type=int, default=400, help="of the worlds without any change")
    parser.add_argument("--first", type=int, default=0, help="seed of the first world that changes")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the data sets")
    parser.add_argument("--picture", type=Path, help="SVG file of the share found")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    for title, records in _tables(given):
        if given.json:
            for record in records:
                sys.stdout.buffer.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
            continue
        table = Table(*records[0], title=title, title_justify="left")
        for record in records:
            table.add_row(*map(_cell, record.values()))
        Console().print(table)


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items())
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
