"""``python -m dataflows thresholds``: where alerts should open, from what served scores were worth.

The scores of matured examples are run through the very alert book of the stream, once for each candidate
threshold, and the alerts are compared with the failures that came. A person decides by cost, or by a budget
of false alarms; the stream never changes its thresholds by itself.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import tomlkit
from rich.table import Table

from dataflows.connectors.outputs import lines_of
from dataflows.fleet.plan import CLEAR_SHARE, Alert, Target
from dataflows.group.alerts import AlertBook
from dataflows.instants import HOUR, MICROSECONDS, parse_duration, parse_instant

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rich.console import Console

    from dataflows.fleet.plan import Fleet

__all__ = [
    "Outcome",
    "Scored",
    "ThresholdsError",
    "Wish",
    "best_by_budget",
    "best_by_cost",
    "choose",
    "outcomes",
    "read_scored",
    "table",
    "write",
]

_CANDIDATES = 60


#: What is read of an evaluation.
_NEEDED = {"id", "asset", "target", "time", "label", "lead", "champion", "scores", "correction"}


class ThresholdsError(ValueError):
    """Thresholds cannot be chosen from what was asked or given."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One matured example: asset, time, the published score, and the time of its failure if it has one."""

    asset: str
    time: int
    score: float
    failure: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one threshold would have done.

    Attributes:
        threshold: from which score on an alert opens.
        opened: alerts.
        false: alerts that opened with no failure within the horizon.
        failures: failures that any example lies before.
        warned: failures with an alert open at least ``lead`` before them.
        asset_days: days of examples, over all assets.
    """

    threshold: float
    opened: int
    false: int
    failures: int
    warned: int
    asset_days: float

    @property
    def false_per_asset_day(self) -> float:
        """False alarms an asset and day."""
        return self.false / self.asset_days if self.asset_days else 0.0

    def cost(self, false_alarm: float, missed: float) -> float:
        """What the threshold would have cost."""
        return self.false * false_alarm + (self.failures - self.warned) * missed


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks of a threshold: the least cost, or the most warnings within a budget.

    Attributes:
        false_alarm: cost of one.
        missed: cost of a failure that no alert warned of in time.
        budget: false alarms an asset and day, in place of the costs.
        lead: microseconds before its failure at which a warning has to stand.

    Raises:
        ThresholdsError: neither both costs nor a budget, or all of them.
    """

    false_alarm: float | None
    missed: float | None
    budget: float | None
    lead: int

    def __post_init__(self) -> None:
        costs = [cost is not None for cost in (self.false_alarm, self.missed)]
        if (self.budget is None) != all(costs) or any(costs) != all(costs):
            msg = "expected --false-alarm-cost and --missed-cost, or else --false-alarms-per-asset-day"
            raise ThresholdsError(msg)

    def best(self, found: list[Outcome]) -> Outcome | None:
        """The outcome that meets the wish best; None if none is within the budget."""
        if self.budget is not None:
            return best_by_budget(found, self.budget)
        return best_by_cost(found, self.false_alarm or 0.0, self.missed or 0.0) if found else None


def choose(
    fleet: Fleet, evaluations: Path, wish: Wish, console: Console, *, write_chosen: bool = False
) -> dict[str, Outcome]:
    """Print a table for each target, and the threshold chosen for it; write them where asked to.

    Raises:
        ThresholdsError: the evaluations are none, or have no scored example of any target of the fleet.
        OSError: the evaluations cannot be read.
    """
    chosen: dict[str, Outcome] = {}
    scored = read_scored(evaluations, fleet.figures_from)
    known = {name: found for name, found in scored.items() if name in fleet.targets}
    if not known:
        msg = f"{evaluations}: no scored example of a target of {fleet.path}"
        raise ThresholdsError(msg)
    for name, examples in known.items():
        target = fleet.targets[name]
        found = outcomes(target, examples, wish.lead)
        best = wish.best(found)
        if best is None:
            console.print(f"{name}: no threshold is within {wish.budget} false alarms an asset and day")
            continue
        chosen[name] = best
        console.print(table(target, found, best))
    if write_chosen:
        for line in write(fleet, chosen):
            console.print(line, highlight=False)
    return chosen


def read_scored(path: Path, since: int | None) -> dict[str, list[Scored]]:
    """Matured examples by target, in order of time, under their final labels.

    Args:
        path: the evaluations.
        since: examples before it are left out; None keeps all.

    Raises:
        ThresholdsError: a line is no evaluation.
    """
    final: dict[str, tuple[int, str, Scored | None]] = {}
    for number, line in enumerate(lines_of(path), start=1):
        row = _evaluation(line, path, number)
        known = final.get(row["id"])
        if known is not None and known[0] > row["correction"]:
            continue
        final[row["id"]] = (row["correction"], row["target"], _scored(row))
    targets: dict[str, list[Scored]] = defaultdict(list)
    for _, target, scored in final.values():
        if scored is not None and (since is None or scored.time >= since):
            targets[target].append(scored)
    return {
        name: sorted(found, key=lambda scored: (scored.time, scored.asset))
        for name, found in sorted(targets.items())
    }


def _evaluation(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        row = None
    if not isinstance(row, dict) or not row.keys() >= _NEEDED:
        msg = f"{path}, line {number}: expected a row of the evaluations, got something else"
        raise ThresholdsError(msg)
    return row


def _scored(row: dict[str, object]) -> Scored | None:
    scores = row["scores"]
    score = scores.get(row["champion"]) if isinstance(scores, dict) else None
    if row["label"] == "censored" or score is None:
        return None
    time = parse_instant(row["time"])
    lead = row["lead"]
    failure = time + round(lead * HOUR) if isinstance(lead, float | int) else None
    return Scored(str(row["asset"]), time, float(score), failure)


def outcomes(target: Target, examples: list[Scored], lead: int) -> list[Outcome]:
    """What each candidate threshold would have done, ascending.

    Args:
        target: its alert gives dwell; candidates are quantiles of the scores.
        examples: in order of time.
        lead: microseconds that a warning must come before its failure.
    """
    scores = np.array([scored.score for scored in examples])
    shares = 1 - np.geomspace(0.5, 1 / max(len(examples), 2), _CANDIDATES)
    candidates = np.unique(np.round(np.quantile(scores, shares), 4))
    alert = target.alert or Alert(target.threshold, target.threshold * CLEAR_SHARE, 0, 1.0)
    return [
        _outcome(target.name, replace(alert, open=float(at), clear=float(at) * CLEAR_SHARE), examples, lead)
        for at in candidates
        if 0 < at < 1
    ]


def _outcome(name: str, alert: Alert, examples: Iterable[Scored], lead: int) -> Outcome:
    book = AlertBook(name, alert, {})
    opened = false = 0
    warned: set[tuple[str, int]] = set()
    failures: set[tuple[str, int]] = set()
    days: set[tuple[str, int]] = set()
    last: dict[str, int | None] = {}
    for scored in examples:
        days.add((scored.asset, scored.time // MICROSECONDS["d"]))
        ended = last.get(scored.asset)
        if ended is not None and scored.time >= ended:
            book.end(scored.asset, ended, "failure")
        last[scored.asset] = scored.failure
        moves = book.score(scored.asset, scored.time, scored.score)
        if any(move.state == "opened" for move in moves):
            opened += 1
            false += scored.failure is None
        if scored.failure is not None:
            failures.add((scored.asset, scored.failure))
            if book.is_open(scored.asset) and scored.failure - scored.time >= lead:
                warned.add((scored.asset, scored.failure))
    return Outcome(alert.open, opened, false, len(failures), len(warned), float(len(days)))


def best_by_cost(found: list[Outcome], false_alarm: float, missed: float) -> Outcome:
    """The cheapest threshold; of equal ones the highest."""
    return min(found, key=lambda outcome: (outcome.cost(false_alarm, missed), -outcome.threshold))


def best_by_budget(found: list[Outcome], false_per_asset_day: float) -> Outcome | None:
    """The threshold within a budget of false alarms that warns of most failures; None if none is within."""
    within = [outcome for outcome in found if outcome.false_per_asset_day <= false_per_asset_day]
    return max(within, key=lambda outcome: (outcome.warned, outcome.threshold), default=None)


def table(target: Target, found: list[Outcome], chosen: Outcome) -> Table:
    """The candidates around the chosen one, for a person."""
    shown = Table(title=f"{target.name}: alerts by threshold", title_justify="left")
    for title in ("open at", "alerts", "false", "false / asset-day", "failures", "warned"):
        shown.add_column(title, justify="right")
    at = found.index(chosen)
    for outcome in found[max(0, at - 4) : at + 5]:
        shown.add_row(
            f"{outcome.threshold:.4f}",
            f"{outcome.opened:,}",
            f"{outcome.false:,}",
            f"{outcome.false_per_asset_day:.5f}",
            f"{outcome.failures:,}",
            f"{outcome.warned:,}",
            style="bold" if outcome is chosen else None,
        )
    return shown


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else [value]


def write(fleet: Fleet, chosen: dict[str, Outcome]) -> list[str]:
    """Write the chosen thresholds into the fleet's file, leaving all else as it stands.

    A ``[[targets]]`` entry that expands to several targets gets one threshold: the lowest of theirs.

    Returns:
        One line for each entry that was changed.
    """
    document = tomlkit.parse(fleet.path.read_text())
    lines = []
    for index, entry in enumerate(document.get("targets", [])):
        modes = _listed(entry["mode"])
        horizons = [parse_duration(str(horizon)) for horizon in _listed(entry["horizon"])]
        mine = [
            outcome.threshold
            for name, outcome in chosen.items()
            if (target := fleet.targets[name]).asset_class == entry["class"]
            and target.mode in modes
            and target.horizon in horizons
        ]
        if not mine:
            continue
        opens = round(min(mine), 4)
        alert = entry.setdefault("alert", tomlkit.inline_table())
        alert["open"] = opens
        alert["clear"] = round(opens * CLEAR_SHARE, 4)
        lines.append(f"targets[{index}].alert: open = {opens}, clear = {alert['clear']}")
    fleet.path.write_text(tomlkit.dumps(document))
    return lines
