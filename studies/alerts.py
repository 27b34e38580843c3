"""What alerts with a life save: rows of ``alerts`` beside rows of thresholding each score, at equal use.

``python -m studies.alerts [OUT --fleet FLEET]`` runs every score of a run's ``predictions.jsonl``, also
those between examples, through the alert book (two thresholds, a dwell, one open alert an asset), and
through the plain rule "a row for each score at or above a threshold". Which failures there were is taken from
``evaluations.jsonl``; scores of which it is not known what came are left out. Without a run, a fleet of
trucks is simulated and run first.

Equal use means: both warn of equally many failures, at least 12 h ahead, and both raise equally many false
alarms. A false alarm is a stretch of an asset that begins with no failure within the horizon; the plain
rule's stretch is an unbroken run of scores at or above its threshold, which is kind to it: a person who
gets its rows cannot know that they are one stretch. The plain rule has one threshold only, and so cannot in
general match both numbers: compared is the plain threshold with the fewest rows among those that warn of at
least as many failures with at most as many false alarms, and where there is none, the one with equally many
warnings and the false alarms that it then has, which is told.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from dataflows.evaluation.outcomes import CANDIDATES, Scored, read_labels, read_scores
from dataflows.fleet import load as load_fleet
from dataflows.fleet.fleet import Alert
from dataflows.instants import HOUR, format_duration, parse_duration
from dataflows.simulator import Scenario, write
from dataflows.target.alerts import AlertBook
from studies.quality import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Use", "booked", "compare", "main", "thresholded"]

_TRUCKS = Path(__file__).resolve().parents[1] / "examples/trucks/fleet.toml"
_LEAD = "12h"
_MORE_FALSE = "; no plain threshold has as few false alarms."


@dataclass(frozen=True, slots=True)
class Use:
    """What a rule did.

    Attributes:
        threshold: of the rule; of an alert that at which it opens.
        rows: that it wrote.
        stretches: alerts, or unbroken runs of scores at or above the threshold.
        false: those that began with no failure within the horizon.
        warned: failures before which one stood, long enough before.
    """

    threshold: float
    rows: int
    stretches: int
    false: int
    warned: int


def _walk(
    examples: Iterable[Scored], lead: int, step: Callable[[Scored, int | None], tuple[int, bool, bool]]
) -> list[int]:
    """Rows, stretches, false ones and failures warned of.

    ``step`` takes an example and when its asset failed since the one before; it gives the rows written,
    whether a stretch began, and whether one stands.
    """
    rows = stretches = false = 0
    warned: set[tuple[str, int]] = set()
    failed: dict[str, int | None] = {}
    for scored in examples:
        before = failed.get(scored.asset)
        ended = before if before is not None and scored.time >= before else None
        failed[scored.asset] = scored.failure
        written, began, stands = step(scored, ended)
        rows += written
        stretches += began
        false += began and scored.failure is None
        if stands and scored.failure is not None and scored.failure - scored.time >= lead:
            warned.add((scored.asset, scored.failure))
    return [rows, stretches, false, len(warned)]


def booked(alert: Alert, examples: Iterable[Scored], lead: int) -> Use:
    """The alert book; every move is a row."""
    book = AlertBook("", alert, {})

    def step(scored: Scored, ended: int | None) -> tuple[int, bool, bool]:
        moves = [] if ended is None else book.clear(scored.asset, ended, "failure")
        moves = [*moves, *book.score(scored.asset, scored.time, scored.score, scored.revision)]
        return len(moves), any(move.state == "opened" for move in moves), book.is_open(scored.asset)

    return Use(alert.open, *_walk(examples, lead, step))


def thresholded(threshold: float, examples: Iterable[Scored], lead: int) -> Use:
    """A row for each score at or above the threshold."""
    high: set[str] = set()

    def step(scored: Scored, ended: int | None) -> tuple[int, bool, bool]:
        if ended is not None:
            high.discard(scored.asset)
        above, was = scored.score >= threshold, scored.asset in high
        (high.add if above else high.discard)(scored.asset)
        return int(above), above and not was, above

    return Use(threshold, *_walk(examples, lead, step))


def compare(alert: Alert, examples: list[Scored], lead: int) -> tuple[Use, Use, bool]:
    """The alert book, the plain rule that matches it, and whether that one has no more false alarms."""
    mine = booked(alert, examples, lead)
    scores = np.array([scored.score for scored in examples])
    shares = 1 - np.geomspace(0.5, 1 / max(len(scores), 2), CANDIDATES)
    candidates = np.unique([alert.open, alert.clear, *np.quantile(scores, shares)])
    plain = [thresholded(float(at), examples, lead) for at in candidates]
    enough = [use for use in plain if use.warned >= mine.warned]
    equal = [use for use in enough if use.false <= mine.false]
    if equal:
        return mine, min(equal, key=lambda use: use.rows), True
    return mine, min(enough, key=lambda use: (use.false, use.rows)), False


def _table(name: str, mine: Use, plain: Use) -> Table:
    shown = Table(title=f"{name}: alert rows", title_justify="left")
    for heading in ("rule", "threshold", "rows", "stretches", "false", "failures warned"):
        shown.add_column(heading, justify="left" if heading == "rule" else "right")
    for rule, use in (("alerts with a life", mine), ("each score at or above", plain)):
        shown.add_row(
            rule,
            f"{use.threshold:.4f}",
            f"{use.rows:,}",
            f"{use.stretches:,}",
            f"{use.false:,}",
            f"{use.warned:,}",
        )
    return shown


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Rows of alerts beside rows of thresholding each score.")
    parser.add_argument(
        "output", type=Path, nargs="?", help='of a run that published "all"; default: a simulated fleet'
    )
    parser.add_argument("--fleet", type=Path, default=_TRUCKS, help="the fleet.toml of the run")
    parser.add_argument("--lead", default=_LEAD, help="how long before a failure a warning has to stand")
    parser.add_argument("--trucks", type=int, default=120, help="of the simulated fleet")
    parser.add_argument("--open", type=float, help="where alerts open and, at 0.8 of it, clear [the fleet's]")
    parser.add_argument(
        "--dwell", default="8h", help="of alerts, where --open is given or the fleet has none"
    )
    given = parser.parse_args(arguments)
    fleet, lead, console = load_fleet(given.fleet), parse_duration(given.lead), Console()
    with tempfile.TemporaryDirectory() as folder:
        output = given.output
        if output is None:
            events = write(Scenario(trucks=given.trucks, every="1h"), Path(folder)).events
            output = Path(folder) / "out"
            run(given.fleet, events, output)
        labels = read_labels(output / "evaluations.jsonl", fleet)
        scores = read_scores(output / "predictions.jsonl", fleet, labels)
    for name, served in scores.items():
        examples = [scored for scored in served if scored.known]
        target = fleet.targets[name]
        alert = target.alert
        if given.open is not None or alert is None:
            opens = target.threshold if given.open is None else given.open
            alert = Alert(opens, 0.8 * opens, parse_duration(given.dwell), 0.2)
        mine, plain, equal = compare(alert, examples, lead)
        console.print(_table(name, mine, plain))
        failures = len({(each.asset, each.failure) for each in examples if each.failure is not None})
        console.print(
            f"{len(examples):,} scores, {failures:,} failures; dwell {format_duration(alert.dwell)}, "
            f"warned at least {lead / HOUR:g} h ahead. {1 - mine.rows / max(plain.rows, 1):.1%} fewer rows "
            "at no fewer warnings" + (" and no more false alarms." if equal else _MORE_FALSE)
        )


if __name__ == "__main__":
    main()
