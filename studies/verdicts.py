"""Repairs after alerts, and verdicts: what figures say and what models learn, beside the truth.

``python -m studies verdicts`` simulates trucks that nobody repairs, and runs them once: that gives the
alerts. Then mechanics come some hours after each alert and repair what leaks, so that the failure does not
happen: its record is gone, and so is the telemetry until the truck would have come back; a record of
maintenance says that they were there. A share of these visits is judged: *confirmed* where the truck leaked,
*healthy* where it did not. A confirmed verdict may say when the truck would have failed: the mechanics
misjudge the hours that were left, by a factor that varies. Each recording is run, and its figures are
compared with the truth: whether the failure lay within the horizon of an example if nobody had come.
Mechanics follow the alerts of the first run, whatever the later ones warn of, so that all recordings have the
same repairs.
"""

from __future__ import annotations

import argparse
import logging
import math
import random
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
import structlog
from rich.console import Console
from rich.table import Table

from dataflows.fleet import load as load_fleet
from dataflows.instants import HOUR, format_instant, parse_instant
from dataflows.pipeline import run_inline
from dataflows.scoring import log_losses
from dataflows.simulator import load_scenario, write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dataflows.fleet import Fleet

__all__ = ["Leak", "Visit", "figures_of", "leaks_of", "main", "repaired", "visits_after"]

_MODE = "coolant_leak"
#: Recordings: the share of visits that is judged, `verdict_weight`, whether verdicts say when it would fail.
_MADE = ((0.0, 1, False), (0.3, 1, False), (0.3, 1, True), (0.3, 3, True), (1.0, 1, False), (1.0, 1, True))
Rows = dict[str, list[dict[str, Any]]]


class Leak(NamedTuple):
    """A leak of the truth; times in microseconds."""

    asset: str
    onset: int
    failed: int
    returned: int


class Visit(NamedTuple):
    """Mechanics at a truck; times in microseconds.

    Attributes:
        time: of the visit.
        since: when the alert had opened.
        leak: that they repaired; None: nothing leaked.
    """

    asset: str
    time: int
    since: int
    leak: Leak | None


def leaks_of(truth: Path) -> list[Leak]:
    """Leaks that end in a failure, in order of time."""
    rows = [orjson.loads(line) for line in truth.read_bytes().splitlines()]
    found = [
        Leak(row["asset"], *(parse_instant(row[name]) for name in ("onset", "failed", "returned")))
        for row in rows
        if row["kind"] == "episode" and row["mode"] == _MODE and row["failed"] and row["returned"]
    ]
    return sorted(found, key=lambda leak: leak.failed)


def visits_after(alerts: Sequence[Mapping[str, Any]], leaks: Sequence[Leak], wait: int) -> list[Visit]:
    """A visit ``wait`` after each alert, unless the truck failed before or is in the workshop."""
    visits: list[Visit] = []
    busy: dict[str, int] = {}
    for alert in alerts:
        if alert["state"] != "opened":
            continue
        asset, since = alert["asset"], parse_instant(alert["opened"])
        time = since + wait
        mine = [leak for leak in leaks if leak.asset == asset]
        failed = any(since < leak.failed <= time for leak in mine)
        if failed or since < busy.get(asset, 0):
            continue
        leak = next((leak for leak in mine if leak.onset <= time < leak.failed), None)
        visits.append(Visit(asset, time, since, leak))
        busy[asset] = time if leak is None else leak.returned
    return visits


def repaired(
    events: Sequence[dict[str, Any]],
    visits: Sequence[Visit],
    judged: float,
    target: str,
    seed: int,
    error: float | None = None,
) -> list[bytes]:
    """The recording with the visits, a share of which is judged.

    Args:
        events: of the recording in which nobody came.
        visits: of the mechanics.
        judged: share of the visits that have a verdict.
        target: its name.
        seed: of what is judged, and how well.
        error: standard deviation of the logarithm of the hours left, as mechanics judge them; None: they do
            not say when a truck would have failed.
    """
    gone = [(visit.asset, visit.time, visit.leak) for visit in visits if visit.leak is not None]
    kept = [event for event in events if not any(_is_gone(event, *each) for each in gone)]
    draw, hours = random.Random(seed), random.Random(f"hours {seed}")
    for visit in visits:
        at, arrived = format_instant(visit.time), format_instant(visit.time + HOUR)
        common = {"asset": visit.asset, "time": at, "arrived": arrived}
        kept.append({"kind": "maintenance", "component": _MODE, **common})
        if draw.random() < judged:
            verdict = "healthy" if visit.leak is None else "confirmed"
            said = {"target": target, "verdict": verdict, "by": "study", "since": format_instant(visit.since)}
            if error is not None and visit.leak is not None:
                left = (visit.leak.failed - visit.time) * math.exp(hours.gauss(0.0, error))
                said["fails"] = format_instant(visit.time + max(1, round(left)))
            kept.append({"kind": "verdict", **said, **common})
    return [orjson.dumps(event) for event in sorted(kept, key=lambda event: parse_instant(event["arrived"]))]


def _is_gone(event: Mapping[str, Any], asset: str, time: int, leak: Leak) -> bool:
    if event.get("asset") != asset or event["kind"] not in {"telemetry", "failure", "maintenance"}:
        return False
    return time < parse_instant(event["time"]) <= max(leak.returned, leak.failed)


def figures_of(rows: Rows, leaks: Sequence[Leak], fleet: Fleet, target: str) -> dict[str, float]:
    """What a run says of its champion, and the truth of the same examples."""
    found = fleet.targets[target]
    summary = next(row["targets"][target] for row in rows["summary"] if target in row.get("targets", {}))
    said = summary["final_labels"][found.champion]
    failed: dict[str, list[int]] = {}
    for leak in leaks:
        failed.setdefault(leak.asset, []).append(leak.failed)
    scores, truth, confirmed, censored = [], [], [], []
    for row in rows["evaluations"]:
        time, score = parse_instant(row["time"]), row["scores"][row["champion"]]
        if row["correction"] or score is None or (fleet.figures_from or 0) > time:
            continue
        fails = any(time < at <= time + found.horizon for at in failed.get(row["asset"], ()))
        scores.append(score)
        truth.append(fails)
        if row["why"] == "confirmed":
            confirmed.append(fails)
        elif row["label"] == "censored":
            censored.append(fails)
    values, labels = np.array(scores), np.array(truth, dtype=np.int64)
    warned = values >= found.threshold
    correction = (summary.get("verdicts") or {}).get("corrected") or {}

    def mended(name: str) -> float:
        value = correction.get(name)
        return float("nan") if value is None else value

    return {
        "examples": float(len(labels)),
        "precision": said["precision"],
        "precision_low": said["precision_low"],
        "precision_high": said["precision_high"],
        "corrected precision": mended("precision"),
        "true precision": float(labels[warned].mean()) if warned.any() else float("nan"),
        "recall": said["recall"],
        "corrected recall": mended("recall"),
        "true recall": float(warned[labels == 1].mean()),
        "log loss": said["log_loss"],
        "corrected log loss": mended("log_loss"),
        "true log loss": float(log_losses(labels, values).mean()),
        # Why verdicts do not give the truth: what they call positive, and what nobody knows of.
        "confirmed": float(len(confirmed)),
        "true share of confirmed": _mean(confirmed),
        "censored": float(len(censored)),
        "true share of censored": _mean(censored),
        "mean score": float(values.mean()),
        "true share": float(labels.mean()),
        "weight of a judged example": mended("weight"),
        "judged precision": (summary.get("verdicts") or {}).get("precision") or float("nan"),
    }


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _with_weight(fleet: Fleet, target: str, weight: int) -> Fleet:
    changed = replace(fleet.targets[target], verdict_weight=weight)
    return replace(fleet, targets={**fleet.targets, target: changed})


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Repairs after alerts, and verdicts, beside the truth.")
    parser.add_argument("--fleet", type=Path, default=Path("examples/trucks/fleet.toml"))
    parser.add_argument("--trucks", type=int, default=40)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--wait", type=float, default=6.0, help="hours from an alert to the visit")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of what is judged")
    parser.add_argument("--trucks-seed", type=int, help="of the simulator")
    parser.add_argument(
        "--error", type=float, default=0.3, help="of the logarithm of the hours left, as mechanics judge them"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    fleet = load_fleet(given.fleet)
    target = next(iter(fleet.targets))
    with tempfile.TemporaryDirectory() as folder:
        changed = {} if given.trucks_seed is None else {"seed": given.trucks_seed}
        scenario = load_scenario("plain", trucks=given.trucks, days=given.days, **changed)
        files = write(scenario, Path(folder))
        events = [orjson.loads(line) for line in files.events.read_bytes().splitlines()]
        leaks = leaks_of(files.truth)
    first = run_inline(fleet, [orjson.dumps(event) for event in events])
    visits = visits_after(first["alerts"], leaks, round(given.wait * HOUR))
    found = {"nobody repairs": figures_of(first, leaks, fleet, target)}
    for judged, weight, error in _MADE:
        lines = repaired(events, visits, judged, target, given.seed, given.error if error else None)
        rows = run_inline(_with_weight(fleet, target, weight), lines)
        name = (
            f"{judged:.0%} judged"
            + (f", weight {weight}" if weight > 1 else "")
            + (", when" if error else "")
        )
        found[name] = figures_of(rows, leaks, fleet, target)
    if given.json:
        for name, figures in found.items():
            row = {"recording": name, **figures}
            sys.stdout.buffer.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        return
    true = sum(visit.leak is not None for visit in visits)
    table = Table("figure", *found, title=f"{len(visits)} visits, {true} of them to trucks that leaked")
    for figure in next(iter(found.values())):
        table.add_row(figure, *(f"{figures[figure]:.4g}" for figures in found.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
