"""``python -m dataflows thresholds``: propose thresholds of alerts from served scores and their outcomes.

Every served score passes through the same alert book as in the stream, once for each candidate threshold, and
the alerts are compared with the failures. All scores count, not only examples: alerts open on every score,
and more scores mean more high ones by chance. A person decides by cost, or by a budget of false alarms; the
stream never changes its thresholds by itself.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import tomlkit

from dataflows.evaluation.outcomes import Outcome, outcomes, read_labels, read_scores
from dataflows.fleet.fleet import CLEAR_SHARE, Target
from dataflows.instants import format_duration, parse_duration
from dataflows.tools.tables import plain_table, show_either

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

    from dataflows.fleet.fleet import Fleet

__all__ = [
    "ThresholdsError",
    "Wish",
    "best_by_budget",
    "best_by_cost",
    "best_by_inspections",
    "choose",
    "in_words",
    "priced",
    "reason_against",
    "table",
    "write",
]


class ThresholdsError(ValueError):
    """Thresholds cannot be chosen from these arguments or files."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Criterion for a threshold: the least cost, or the most warnings within a budget.

    Attributes:
        false_alarm: cost of one.
        missed: cost of a failure that no alert warned of in time.
        budget: false alarms an asset and day, in place of the costs.
        lead: microseconds before its failure by which a warning has to be open.
        repair: cost of a planned repair, beside the other costs.
        inspections: alerts a week, of the whole fleet, in place of the costs.

    Raises:
        ThresholdsError: neither both costs nor a budget, or more than one of them.
    """

    false_alarm: float | None
    missed: float | None
    budget: float | None
    lead: int
    repair: float = 0.0
    inspections: float | None = None

    def __post_init__(self) -> None:
        costs = [cost is not None for cost in (self.false_alarm, self.missed)]
        given = [all(costs), self.budget is not None, self.inspections is not None]
        if sum(given) != 1 or any(costs) != all(costs):
            msg = (
                "expected --false-alarm-cost and --missed-cost, or else --false-alarms-per-asset-day, or "
                "--inspections-per-week"
            )
            raise ThresholdsError(msg)

    @property
    def break_even(self) -> float | None:
        """Precision from which acting on an alert pays; None without costs."""
        if self.false_alarm is None or self.missed is None or self.missed <= self.repair:
            return None
        return self.false_alarm / (self.false_alarm + self.missed - self.repair)

    def best(self, found: list[Outcome]) -> Outcome | None:
        """Return the best outcome by the criterion; None if none is within the budget."""
        if self.budget is not None:
            return best_by_budget(found, self.budget)
        if self.inspections is not None:
            return best_by_inspections(found, self.inspections)
        if not found:
            return None
        return best_by_cost(found, self.false_alarm or 0.0, self.missed or 0.0, self.repair)


def priced(target: Target, lead: int) -> Wish:
    """Return the wish that the prices of a target make.

    Raises:
        ThresholdsError: it has none.
    """
    if target.costs is None:
        msg = (
            f"{target.name} has no `costs`; give them, or --false-alarm-cost and --missed-cost, or "
            "--false-alarms-per-asset-day, or --inspections-per-week"
        )
        raise ThresholdsError(msg)
    return Wish(target.costs.false_alarm, target.costs.missed, None, lead, target.costs.repair)


def _check_published(fleet: Fleet, console: Console, *, as_json: bool) -> None:
    """Refuse predictions that lack most scores, and say where they lack some."""
    if fleet.output.publish == "grid":
        msg = (
            'publish = "grid" leaves most scores out of the predictions, and alerts open on every score; run '
            'once with publish = "all" under [output]'
        )
        raise ThresholdsError(msg)
    if fleet.output.publish == "changed" and not as_json:
        console.print(
            f"Only scores that moved by {fleet.output.changed_by:g} are in the predictions: what is between "
            "them is not seen here.",
            highlight=False,
        )


def choose(
    fleet: Fleet,
    evaluations: Path,
    wished: Wish | Callable[[Target], Wish],
    console: Console,
    *,
    predictions: Path | None = None,
    write_chosen: bool = False,
    as_json: bool = False,
) -> dict[str, Outcome]:
    """Print a table for each target, with its choice or the reason for none; write it if requested.

    Args:
        fleet: the fleet.
        evaluations: of a run, with the labels of its examples.
        wished: the criterion, or what makes that of a target.
        console: where to print.
        predictions: of the same run: every score; None for those in the folder of the evaluations.
        write_chosen: the thresholds go into the fleet's file.
        as_json: print one JSON object a target, with every candidate.

    Raises:
        ThresholdsError: no target of the fleet has an example, or the predictions do not hold every score.
        RowError: there are no predictions, or a line is no row of its output.
        OSError: a file cannot be read.
    """
    chosen: dict[str, Outcome] = {}
    labels = read_labels(evaluations, fleet)
    if not labels:
        msg = f"{evaluations}: no scored example of a target of {fleet.path}"
        raise ThresholdsError(msg)
    _check_published(fleet, console, as_json=as_json)
    source = predictions or evaluations.with_name("predictions.jsonl")
    scored = read_scores(source, fleet, labels)
    for name in labels:
        target = fleet.targets[name]
        wish = wished if isinstance(wished, Wish) else wished(target)
        found = [] if wish.lead > target.horizon else outcomes(target, scored.get(name, []), wish.lead)
        best = wish.best(found)
        why = reason_against(target, found, best, wish)
        if why is None and best is not None:
            chosen[name] = best
        row = {
            "target": name,
            "chosen": None if name not in chosen else _as_row(chosen[name]),
            "why_not": why,
            "break_even": wish.break_even,
            "candidates": [_as_row(outcome) for outcome in found],
        }
        show_either(console, [row], partial(_show, target, found, wish, best, why, console), as_json=as_json)
    for line in write(fleet, chosen) if write_chosen else ():
        if not as_json:
            console.print(line, highlight=False)
    return chosen


def _as_row(outcome: Outcome) -> dict[str, Any]:
    rates = ("false_per_asset_day", "opened_per_week", "precision")
    return {**asdict(outcome), **{name: getattr(outcome, name) for name in rates}}


def _show(
    target: Target, found: list[Outcome], wish: Wish, best: Outcome | None, why: str | None, console: Console
) -> None:
    if why is not None or best is None:
        console.print(f"{target.name}: nothing is chosen. {why}", highlight=False)
        return
    console.print(table(target, found, best))
    console.print(in_words(target.name, best, wish), highlight=False)


def reason_against(target: Target, found: list[Outcome], best: Outcome | None, wish: Wish) -> str | None:
    """Reason that no threshold can be chosen; None if one can.

    Args:
        target: the target.
        found: what each candidate would have done.
        best: the one that meets the wish best.
        wish: the criterion.
    """
    lead, why = format_duration(wish.lead), None
    if wish.lead > target.horizon:
        why = (
            f"Its horizon is {format_duration(target.horizon)}, so no warning can stand {lead} before a "
            "failure; ask for a shorter --lead"
        )
    elif not found:
        why = "No model has given it a score of its own yet"
    elif not found[0].failures:
        why = "No failure came after a score, so it is not known what an alert is worth"
    elif not any(outcome.warned for outcome in found):
        came = _failures(found[0].failures)
        why = f"No threshold warns of any of {came} {lead} before; ask for a shorter --lead"
    elif best is None and wish.inspections is not None:
        why = f"No threshold has so few as {wish.inspections:g} alerts a week"
    elif best is None:
        why = f"No threshold is within {wish.budget:g} false alarms an asset and day"
    elif not best.warned and wish.budget is not None:
        why = f"No threshold within {wish.budget:g} false alarms an asset and day warns of any failure"
    elif not best.warned and wish.inspections is not None:
        why = f"No threshold with {wish.inspections:g} alerts a week warns of any failure"
    elif not best.warned:
        why = "At these costs no warning is worth its false alarms"
    return why


def in_words(name: str, outcome: Outcome, wish: Wish) -> str:
    """The choice for a target, in sentences."""
    pays = ""
    if wish.break_even is not None and outcome.precision is not None:
        pays = f" Of its alerts {outcome.precision:.0%} are right; acting pays from {wish.break_even:.1%} on."
    before = format_duration(wish.lead)
    return (
        f"{name}: chosen is open at {outcome.threshold:.4f}, "
        f"clear below {outcome.threshold * CLEAR_SHARE:.4f}. "
        f"It warns of {outcome.warned:,} of {_failures(outcome.failures)} at least {before} "
        f"before, with {outcome.false:,} false alarm{'' if outcome.false == 1 else 's'} in "
        f"{outcome.asset_days:,.0f} asset-days ({outcome.false_per_asset_day:.5f} an asset and day). "
        f"That is {outcome.opened_per_week:.1f} alerts a week.{pays}"
    )


def _failures(count: int) -> str:
    return f"{count:,} failure{'' if count == 1 else 's'}"


def best_by_cost(found: list[Outcome], false_alarm: float, missed: float, repair: float = 0.0) -> Outcome:
    """The cheapest threshold; of equal ones the highest."""
    return min(found, key=lambda outcome: (outcome.cost(false_alarm, missed, repair), -outcome.threshold))


def best_by_inspections(found: list[Outcome], per_week: float) -> Outcome | None:
    """The threshold with so many alerts a week that warns of most failures; None if none has so few."""
    within = [outcome for outcome in found if outcome.opened_per_week <= per_week]
    return max(within, key=lambda outcome: (outcome.warned, outcome.threshold), default=None)


def best_by_budget(found: list[Outcome], false_per_asset_day: float) -> Outcome | None:
    """The threshold within a budget of false alarms that warns of most failures; None if none is within."""
    within = [outcome for outcome in found if outcome.false_per_asset_day <= false_per_asset_day]
    return max(within, key=lambda outcome: (outcome.warned, outcome.threshold), default=None)


def table(target: Target, found: list[Outcome], chosen: Outcome) -> Table:
    """The candidates around the chosen one, which a mark shows, for a person."""
    columns = ("open at", "alerts", "false", "false /\nasset-day", "failures", "warned")
    shown = plain_table(f"{target.name}: alerts by threshold", *columns, text=0, caption="> is chosen.")
    at = found.index(chosen)
    for outcome in found[max(0, at - 4) : at + 5]:
        shown.add_row(
            f"{'> ' if outcome is chosen else ''}{outcome.threshold:.4f}",
            f"{outcome.opened:,}",
            f"{outcome.false:,}",
            f"{outcome.false_per_asset_day:.5f}",
            f"{outcome.failures:,}",
            f"{outcome.warned:,}",
            style="bold" if outcome is chosen else None,
        )
    return shown


def _listed(value: object) -> list[str]:
    """Return one name or several as a list of plain text, without the formatting that TOML keeps."""
    return [str(each) for each in (value if isinstance(value, list) else [value])]


def write(fleet: Fleet, chosen: dict[str, Outcome]) -> list[str]:
    """Write the chosen thresholds into the fleet's file, leaving all else as it stands.

    A ``[[targets]]`` entry with lists of modes or horizons whose thresholds differ becomes one entry for each
    of them.

    Returns:
        One line for each entry that was changed.
    """
    document = tomlkit.parse(fleet.path.read_text())
    entries = document.get("targets", [])
    lines: list[str] = []
    index = 0
    while index < len(entries):
        wanted = _wanted(fleet, entries[index], chosen)
        if len(set(wanted.values())) > 1:
            _split(entries, index, list(wanted))
            continue
        opens = next(iter(wanted.values()))
        if opens is not None:
            alert = entries[index].setdefault("alert", tomlkit.inline_table())
            alert["open"] = opens
            alert["clear"] = round(opens * CLEAR_SHARE, 4)
            lines.append(f"targets[{index}].alert: open = {opens}, clear = {alert['clear']}")
        index += 1
    fleet.path.write_text(tomlkit.dumps(document))
    return lines


def _wanted(
    fleet: Fleet, entry: Mapping[str, Any], chosen: Mapping[str, Outcome]
) -> dict[tuple[str, str], float | None]:
    """The threshold of each mode and horizon of an entry, None where nothing is chosen for it."""
    found: dict[tuple[str, str], float | None] = {}
    for mode, horizon in product(_listed(entry["mode"]), _listed(entry["horizon"])):
        found[mode, horizon] = None
        for name, outcome in chosen.items():
            of = fleet.targets[name]
            if (of.asset_class, of.mode, of.horizon) == (entry["class"], mode, parse_duration(horizon)):
                found[mode, horizon] = round(outcome.threshold, 4)
    return found


def _split(entries: Any, index: int, parts: Sequence[tuple[str, str]]) -> None:  # noqa: ANN401 - an array of tomlkit
    """Replace an entry by one for each mode and horizon."""
    for place, (mode, horizon) in enumerate(parts):
        entry = copy.deepcopy(entries[index + place])
        entry["mode"], entry["horizon"] = mode, horizon
        entries.insert(index + place, entry)
    del entries[index + len(parts)]
