"""False alarms of the detectors of drift in twenty stationary years, and how soon a shift is found.

``python -m studies drift`` simulates 300 series of one value a day that depend on each other and on their own
past, of several kinds. In the first table no series ever changes, so every alarm is a false one.
"""

from __future__ import annotations

import argparse
import math
import sys
from typing import TYPE_CHECKING

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table
from scipy import stats

from dataflows.target.detectors import REFERENCE, Detectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["false_alarms", "found", "main", "series"]

DAYS = 365
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


def main(arguments: list[str] | None = None) -> None:
    """Command line: two tables."""
    parser = argparse.ArgumentParser(description="False alarms of drift, and how soon a shift is found.")
    parser.add_argument("--years", type=int, default=20)
    parser.add_argument("--series", type=int, default=300)
    parser.add_argument("--streams", type=int, default=20, help="for the delays")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)
    alarms = []
    for kind in KINDS:
        count = false_alarms(kind, given.series, given.years)
        bound = float(stats.chi2.ppf(0.95, 2 * (count + 1)) / 2)
        alarms.append({"series": kind, "alarms": count, "upper 95 % bound": bound, "budget": given.years})
    delays = []
    for shift in (1.5, 2.0, 3.0, 4.0, 6.0):
        median, share = found(shift, given.series, given.streams)
        delays.append({"shift, sd of a day": shift, "median days": median, "found in 60 days": share})
    if given.json:
        for record in [*alarms, *delays]:
            sys.stdout.buffer.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        return
    titles = f"False alarms of {given.series} series in {given.years} years", "Days until a shift is found"
    for title, records in zip(titles, (alarms, delays), strict=True):
        table = Table(*records[0], title=title, title_justify="left")
        for record in records:
            table.add_row(
                *(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in record.values())
            )
        Console().print(table)


if __name__ == "__main__":
    main()
