"""Whether the interval of the hours to failure covers 80 %, as served.

``python -m studies intervals --recording RECORDING --fleet FLEET`` runs the fleet with `hours` over a
recording; ``--trucks 60 --days 120 --seeds 11 12 13`` runs it over simulated trucks. The intervals of the
predictions are compared with what came: of every example whose label is known, the hours to the failure.
Intervals count that have both ends, after the first 20 % of the time span. Those of one failure are no
independent trials, so the interval of the coverage is a bootstrap over failures.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
import tomlkit
from rich.console import Console
from rich.table import Table

from dataflows.evaluation.figures import instant_from
from dataflows.evaluation.reading import EVALUATIONS
from dataflows.instants import HOUR, parse_duration
from dataflows.simulator import load_scenario, write
from studies.quality import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Covered", "covered", "json_row", "main", "shares", "with_hours"]

_HAZARD = "hours"


class Covered(NamedTuple):
    """Intervals with both ends of one failure, or of one warning without a failure.

    Attributes:
        inside: intervals that covered the failure.
        before: intervals with the failure before them.
        after: intervals with the failure after them, or without one.
    """

    inside: int
    before: int
    after: int


def with_hours(fleet: Path, features: Sequence[str]) -> str:
    """Return the fleet.toml with a hazard model for the hours, and of the others what the champion needs."""
    document: Any = tomlkit.parse(fleet.read_text(encoding="utf-8"))
    models = document["models"]
    for target in document["targets"]:
        needed, kept = [target["champion"]], ["prior"]
        while needed:
            name = needed.pop()
            if name not in kept:
                kept.append(name)
            needed += [each for each in models[name].get("scores", ()) if each not in kept]
        hours = parse_duration(target["horizon"]) / HOUR
        pipeline = [{"estimator": "dataflows.estimators.Hazard", "horizon": hours}]
        models[_HAZARD] = {"features": [*features], "pipeline": pipeline}
        target["models"], target["hours"] = [*kept, _HAZARD], _HAZARD
    return tomlkit.dumps(document)


def covered(output: Path, start: str = "20%") -> list[Covered]:
    """Return what the intervals of a finished run covered, by failure.

    Args:
        output: folder of the outputs.
        start: as of `instant_from`.
    """
    rows = [row for row in EVALUATIONS.rows(output / "evaluations.jsonl") if not row.correction]
    begin = instant_from(np.array([row.instant for row in rows]), start)
    leads = {
        row.id: (row.asset, row.instant, row.lead)
        for row in rows
        if row.instant >= begin and (row.label == "negative" or row.lead is not None)
    }
    found: dict[tuple[str, int | None], Counter[str]] = {}
    with (output / "predictions.jsonl").open("rb") as lines:
        for line in lines:
            row = orjson.loads(line)
            hours = row.get("hours")
            known = leads.get(row["id"])
            if known is None or hours is None or hours["low"] is None or hours["high"] is None:
                continue
            asset, time, lead = known
            failure = None if lead is None else time + round(lead * HOUR)
            counts = found.setdefault((asset, failure), Counter())
            ends = hours["low"], hours["high"]
            counts[("inside", "before", "after")[_side(lead, *ends)]] += 1
    return [Covered(of["inside"], of["before"], of["after"]) for _, of in sorted(found.items(), key=str)]


def _side(lead: float | None, low: float, high: float) -> int:
    """Return 0 for a failure within the interval, 1 for one before it, 2 for a later one or none."""
    if lead is None or lead > high:
        return 2
    return 0 if lead > low else 1


def shares(found: Sequence[Covered], resamples: int = 1_000, seed: int = 0) -> dict[str, float]:
    """Return how many intervals there are, the shares, and the 95 % interval of the coverage."""
    counts = np.array(found, dtype=np.float64).reshape(-1, 3)
    inside, before, after = map(float, counts.sum(axis=0))
    total = inside + before + after
    if not total:
        return {"failures": 0, "intervals": 0}
    draw = np.random.default_rng(seed)
    drawn = counts[draw.integers(0, len(counts), (resamples, len(counts)))].sum(axis=1)
    low, high = np.percentile(drawn[:, 0] / drawn.sum(axis=1), [2.5, 97.5])
    return {
        "failures": len(counts),
        "intervals": int(total),
        "coverage": inside / total,
        "low": float(low),
        "high": float(high),
        "before": before / total,
        "after": after / total,
    }


def _recordings(given: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Path]]:
    for recording in given.recording:
        yield recording.name, recording
    for seed in given.seeds:
        where = folder / f"simulated-{seed}"
        where.mkdir()
        scenario = load_scenario("plain", trucks=given.trucks, days=given.days, seed=seed)
        yield f"trucks, seed {seed}", write(scenario, where).events


def json_row(name: str, found: Sequence[Covered]) -> bytes:
    """Return a line of JSON: the shares of a recording, and the counts of each failure."""
    row = {"recording": name, **shares(found), "by_failure": [tuple(each) for each in found]}
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def _table(found: Mapping[str, list[Covered]]) -> Table:
    table = Table("recording", "failures", "intervals", "covered", "95 %", "before", "after")
    for name, of in found.items():
        row = shares(of)
        if not row["intervals"]:
            table.add_row(name, "0", "0")
            continue
        between = f"{row['low']:.3f} to {row['high']:.3f}"
        shown = (f"{row[key]:.3f}" for key in ("before", "after"))
        table.add_row(
            name, f"{row['failures']}", f"{row['intervals']:,}", f"{row['coverage']:.3f}", between, *shown
        )
    return table


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Whether the interval of hours covers 80 %, as served.")
    parser.add_argument("--recording", type=Path, nargs="+", default=[], help="events, JSON Lines")
    parser.add_argument("--fleet", type=Path, default=Path("examples/trucks/fleet.toml"))
    parser.add_argument("--features", nargs="+", default=["*"], help="globs of those of the hazard model")
    parser.add_argument("--seeds", type=int, nargs="+", default=[], help="of simulated recordings")
    parser.add_argument("--trucks", type=int, default=60)
    parser.add_argument("--days", type=int, default=120)
    parser.add_argument(
        "--from", dest="start", default="20%", help="as of `dataflows figures` (default 20%%)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)
    found: dict[str, list[Covered]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        fleet = folder / given.fleet.name
        fleet.write_text(with_hours(given.fleet, given.features), encoding="utf-8")
        for number, (name, recording) in enumerate(_recordings(given, folder)):
            output = folder / f"out-{number}"
            run(fleet, recording, output)
            found[name] = covered(output, given.start)
            if given.json:
                sys.stdout.buffer.write(json_row(name, found[name]))
                sys.stdout.buffer.flush()
    if not given.json:
        together = [each for of in found.values() for each in of]
        Console().print(_table({**found, "together": together} if len(found) > 1 else found))


if __name__ == "__main__":
    main()
