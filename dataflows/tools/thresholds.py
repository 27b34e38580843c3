"""``python -m dataflows thresholds``: where alerts should open, from what served scores were worth.

Every score that was served is run through the very alert book of the stream, once for each candidate
threshold, and the alerts are compared with the failures that came. Not the examples alone: alerts open on
every score, and the more scores there are, the more of them are high by chance. A person decides by cost, or
by a budget of false alarms; the stream never changes its thresholds by itself.
"""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import tomlkit
from rich.table import Table

from dataflows.connectors.outputs import files_of, lines_of
from dataflows.fleet.plan import CLEAR_SHARE, Alert, Target
from dataflows.group.alerts import AlertBook
from dataflows.instants import HOUR, MICROSECONDS, format_duration, parse_duration, parse_instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from dataflows.fleet.plan import Fleet

__all__ = [
    "Labels",
    "Outcome",
    "Scored",
    "ThresholdsError",
    "Wish",
    "best_by_budget",
    "best_by_cost",
    "choose",
    "in_words",
    "outcomes",
    "read_labels",
    "read_scored",
    "read_scores",
    "reason_against",
    "table",
    "write",
]

_CANDIDATES = 60


#: What is read of an evaluation.
_OF_LABELS = ("asset", "target", "time", "label", "lead")
_NEEDED = {"id", "asset", "target", "time", "label", "lead", "champion", "scores", "correction"}


class ThresholdsError(ValueError):
    """Thresholds cannot be chosen from what was asked or given."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One score that was served.

    Attributes:
        asset: its asset.
        time: of the telemetry.
        score: as it was published.
        failure: time of the failure within the horizon, None where there was none.
        known: whether it is known that there was or was none; False where maintenance came first, or where
            the recording ends too early.
        revision: of the prediction.
    """

    asset: str
    time: int
    score: float
    failure: int | None
    known: bool = True
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one threshold would have done.

    Attributes:
        threshold: from which score on an alert opens.
        opened: alerts at times of which it is known what came.
        false: those of them that opened with no failure within the horizon.
        failures: failures with a score within the horizon before them.
        warned: failures with an alert open at least ``lead`` before them.
        asset_days: days with scores of which it is known what came, over all assets.
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
    fleet: Fleet,
    evaluations: Path,
    wish: Wish,
    console: Console,
    *,
    predictions: Path | None = None,
    write_chosen: bool = False,
) -> dict[str, Outcome]:
    """Print a table for each target, and what was chosen for it or why nothing was; write it where asked to.

    Args:
        fleet: the fleet.
        evaluations: of a run: what came of its examples.
        wish: what is asked of a threshold.
        console: where to print.
        predictions: of the same run: every score; None for those beside the evaluations.
        write_chosen: the thresholds go into the fleet's file.

    Raises:
        ThresholdsError: the evaluations are none, or have no scored example of any target of the fleet; the
            predictions are none, or do not hold every score.
        OSError: a file cannot be read.
    """
    chosen: dict[str, Outcome] = {}
    labels = read_labels(evaluations, fleet)
    if not labels:
        msg = f"{evaluations}: no scored example of a target of {fleet.path}"
        raise ThresholdsError(msg)
    if fleet.output.publish == "grid":
        msg = (
            'publish = "grid" leaves most scores out of the predictions, and alerts open on every score; run '
            'once with publish = "all" under [output]'
        )
        raise ThresholdsError(msg)
    if fleet.output.publish == "changed":
        console.print(
            f"Only scores that moved by {fleet.output.changed_by:g} are in the predictions: what is between "
            "them is not seen here.",
            highlight=False,
        )
    source = predictions or evaluations.with_name("predictions.jsonl")
    scored = read_scores(source, fleet, labels)
    for name in labels:
        target = fleet.targets[name]
        found = [] if wish.lead > target.horizon else outcomes(target, scored.get(name, []), wish.lead)
        best = wish.best(found)
        why = reason_against(target, found, best, wish)
        if why is not None:
            console.print(f"{name}: nothing is chosen. {why}", highlight=False)
        if why is not None or best is None:
            continue
        chosen[name] = best
        console.print(table(target, found, best))
        console.print(in_words(name, best, wish.lead), highlight=False)
    if write_chosen:
        for line in write(fleet, chosen):
            console.print(line, highlight=False)
    return chosen


def reason_against(target: Target, found: list[Outcome], best: Outcome | None, wish: Wish) -> str | None:
    """Why no threshold can be chosen; None where one can.

    Args:
        target: the target.
        found: what each candidate would have done.
        best: the one that meets the wish best.
        wish: what is asked.
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
    elif best is None:
        why = f"No threshold is within {wish.budget:g} false alarms an asset and day"
    elif not best.warned and wish.budget is not None:
        why = f"No threshold within {wish.budget:g} false alarms an asset and day warns of any failure"
    elif not best.warned:
        why = "At these costs no warning is worth its false alarms"
    return why


def in_words(name: str, outcome: Outcome, lead: int) -> str:
    """The choice for a target, in a sentence."""
    return (
        f"{name}: chosen is open at {outcome.threshold:.4f}, "
        f"clear below {outcome.threshold * CLEAR_SHARE:.4f}. "
        f"It warns of {outcome.warned:,} of {_failures(outcome.failures)} at least {format_duration(lead)} "
        f"before, with {outcome.false:,} false alarm{'' if outcome.false == 1 else 's'} in "
        f"{outcome.asset_days:,.0f} asset-days ({outcome.false_per_asset_day:.5f} an asset and day)."
    )


def _failures(count: int) -> str:
    return f"{count:,} failure{'' if count == 1 else 's'}"


class Labels:
    """What came of the examples of one target, by asset.

    Args:
        examples: asset, time, final label and time of the failure, of each example.
        every: microseconds of a cell of the example grid.
    """

    def __init__(self, examples: Iterable[tuple[str, int, str, int | None]], every: int) -> None:
        self._every = every
        self._labels: dict[tuple[str, int], str] = {}
        failures: dict[str, set[int]] = defaultdict(set)
        for asset, time, label, failure in examples:
            self._labels[asset, time // every] = label
            if failure is not None:
                failures[asset].add(failure)
        self._failures = {asset: sorted(found) for asset, found in failures.items()}

    def of(self, asset: str, time: int, horizon: int) -> tuple[int | None, bool]:
        """The failure in (time, time + horizon], and whether it is known that there was or was none.

        Without a failure a score is what the example of its cell is; after a failure in its cell, what the
        next example is.
        """
        failures = self._failures.get(asset, [])
        after = bisect_right(failures, time)
        if after < len(failures) and failures[after] <= time + horizon:
            return failures[after], True
        cell = time // self._every
        label = self._labels.get((asset, cell))
        if label == "positive":
            return None, self._labels.get((asset, cell + 1), "censored") in {"positive", "negative"}
        return None, label == "negative"


def read_labels(path: Path, fleet: Fleet) -> dict[str, Labels]:
    """What came of the examples under final labels, by target of the fleet.

    Args:
        path: the evaluations.
        fleet: the fleet.

    Raises:
        ThresholdsError: a line is no evaluation.
    """
    final: dict[str, tuple[int, dict[str, Any]]] = {}
    for number, line in enumerate(lines_of(path), start=1):
        row = _evaluation(line, path, number)
        known = final.get(row["id"])
        if known is None or known[0] <= row["correction"]:
            final[row["id"]] = (row["correction"], {key: row[key] for key in _OF_LABELS})
    targets: dict[str, list[tuple[str, int, str, int | None]]] = defaultdict(list)
    for _, row in final.values():
        time, lead = parse_instant(row["time"]), row["lead"]
        failure = time + round(lead * HOUR) if row["label"] == "positive" and lead is not None else None
        targets[row["target"]].append((row["asset"], time, row["label"], failure))
    return {
        name: Labels(found, fleet.classes[fleet.targets[name].asset_class].example_every)
        for name, found in sorted(targets.items())
        if name in fleet.targets
    }


def read_scores(path: Path, fleet: Fleet, labels: Mapping[str, Labels]) -> dict[str, list[Scored]]:
    """Every score of a model, published or revised, by target, in the order in which it was served.

    What a prior answered is left out, as it opens no alert.

    Args:
        path: the predictions.
        fleet: what is before its ``figures_from`` is left out.
        labels: what came of the examples, by target.

    Raises:
        ThresholdsError: a line is no prediction, or there are none.
    """
    targets: dict[str, list[Scored]] = defaultdict(list)
    number = 0
    for number, line in enumerate(lines_of(path) if files_of(path) else (), start=1):
        try:
            row = orjson.loads(line)
            asset, name, link = row["asset"], row["target"], row["link"]
            time, score, revision = parse_instant(row["time"]), float(row["score"]), row["revision"]
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            msg = f"{path}, line {number}: expected a row of the predictions, got something else"
            raise ThresholdsError(msg) from None
        if link == "prior" or name not in labels:
            continue
        if fleet.figures_from is None or time >= fleet.figures_from:
            failure, known = labels[name].of(asset, time, fleet.targets[name].horizon)
            targets[name].append(Scored(asset, time, score, failure, known, revision))
    if not number:
        msg = f"{path}: no predictions; alerts open on every score, so those of the same run are needed"
        raise ThresholdsError(msg)
    return targets


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
    if row["label"] in {"censored", "undecided"} or score is None:
        return None
    time = parse_instant(row["time"])
    lead = row["lead"]
    failure = time + round(lead * HOUR) if isinstance(lead, float | int) else None
    return Scored(str(row["asset"]), time, float(score), failure)


def outcomes(target: Target, scored: list[Scored], lead: int) -> list[Outcome]:
    """What each candidate threshold would have done, ascending.

    Args:
        target: its alert gives dwell; candidates are quantiles of the scores.
        scored: every score, those of one asset in the order in which they were served.
        lead: microseconds that a warning must come before its failure.
    """
    if not scored:
        return []
    scores = np.array([each.score for each in scored])
    shares = 1 - np.geomspace(0.5, 1 / max(len(scored), 2), _CANDIDATES)
    candidates = np.unique(np.round(np.quantile(scores, shares), 4))
    alert = target.alert or Alert(target.threshold, target.threshold * CLEAR_SHARE, 0, 1.0)
    assets: dict[str, list[Scored]] = defaultdict(list)
    for each in scored:
        assets[each.asset].append(each)
    failures = {(each.asset, each.failure) for each in scored if each.failure is not None}
    days = {(each.asset, each.time // MICROSECONDS["d"]) for each in scored if each.known}
    highest = {asset: max(each.score for each in lived) for asset, lived in assets.items()}
    found = []
    for at in candidates:
        if 0 < at < 1:
            book = AlertBook(target.name, replace(alert, open=float(at), clear=float(at) * CLEAR_SHARE), {})
            opened = false = warned = 0
            for asset, lived in assets.items():
                if highest[asset] >= at:
                    alerts = _alerts(book, lived, lead)
                    opened, false, warned = opened + alerts[0], false + alerts[1], warned + alerts[2]
            found.append(Outcome(float(at), opened, false, len(failures), warned, float(len(days))))
    return found


def _alerts(book: AlertBook, lived: Iterable[Scored], lead: int) -> tuple[int, int, int]:
    """Alerts, false ones, and failures warned of in time, of one asset."""
    opened = false = 0
    warned: set[int] = set()
    failure: int | None = None
    for scored in lived:
        if failure is not None and scored.time >= failure:
            book.end(scored.asset, failure, "failure")
        failure = scored.failure
        moves = book.score(scored.asset, scored.time, scored.score, scored.revision)
        if scored.known and any(move.state == "opened" for move in moves):
            opened += 1
            false += failure is None
        if failure is not None and failure - scored.time >= lead and book.is_open(scored.asset):
            warned.add(failure)
    return opened, false, len(warned)


def best_by_cost(found: list[Outcome], false_alarm: float, missed: float) -> Outcome:
    """The cheapest threshold; of equal ones the highest."""
    return min(found, key=lambda outcome: (outcome.cost(false_alarm, missed), -outcome.threshold))


def best_by_budget(found: list[Outcome], false_per_asset_day: float) -> Outcome | None:
    """The threshold within a budget of false alarms that warns of most failures; None if none is within."""
    within = [outcome for outcome in found if outcome.false_per_asset_day <= false_per_asset_day]
    return max(within, key=lambda outcome: (outcome.warned, outcome.threshold), default=None)


def table(target: Target, found: list[Outcome], chosen: Outcome) -> Table:
    """The candidates around the chosen one, which a mark shows, for a person."""
    shown = Table(title=f"{target.name}: alerts by threshold", title_justify="left")
    for title in ("open at", "alerts", "false", "false / asset-day", "failures", "warned"):
        shown.add_column(title, justify="right")
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
    """Of one name or several; as plain text, without what TOML keeps of how it was written."""
    return [str(each) for each in (value if isinstance(value, list) else [value])]


def write(fleet: Fleet, chosen: dict[str, Outcome]) -> list[str]:
    """Write the chosen thresholds into the fleet's file, leaving all else as it stands.

    A ``[[targets]]`` entry with lists of modes or horizons, of which the thresholds differ, becomes one entry
    for each of them.

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
