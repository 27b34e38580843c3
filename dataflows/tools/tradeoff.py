"""``python -m dataflows tradeoff``: one recording, served in several ways, and what each would have cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, astuple, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import orjson

from dataflows.connectors.lines import expand
from dataflows.evaluation.moving import moved
from dataflows.evaluation.tradeoff import (
    Option,
    Outcome,
    candidates,
    judge,
    next_option,
    recommend,
    served,
    waiting,
)
from dataflows.evaluation.words import number, percent
from dataflows.fleet.fleet import Costs
from dataflows.instants import HOUR, MICROSECONDS, format_duration, parse_instant
from dataflows.mapping.recording import with_recordings
from dataflows.pipeline import run_lines
from dataflows.report.charts import standalone_bars
from dataflows.status import silenced
from dataflows.tools.tables import plain_table, show_either

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from rich.console import Console

    from dataflows.evaluation.moving import Movement
    from dataflows.evaluation.tradeoff import Served
    from dataflows.fleet.fleet import Fleet, Model

__all__ = ["Comparison", "TradeoffError", "late_by", "only", "options", "prices", "show_tradeoff"]

#: Prices where nobody gave any: a failure costs as much as twenty inspections in vain.
_ASSUMED = Costs(missed=20.0, false_alarm=1.0)
#: Latenesses to try in addition to the candidates.
_TRIES = 8


class TradeoffError(RuntimeError):
    """Options cannot be compared; the message says what is missing."""


def show_tradeoff(  # noqa: PLR0913 - one argument a wish of the command line
    fleet: Fleet,
    console: Console,
    *,
    target: str | None = None,
    lateness: Sequence[int] = (),
    example_every: Sequence[int] = (),
    label_delay: Sequence[int] = (),
    lead: int = 0,
    costs: Costs | None = None,
    movement: Movement | None = None,
    plot: Path | None = None,
    as_json: bool = False,
) -> Outcome:
    """Print what each way of serving would have done, and recommend one.

    Args:
        fleet: the fleet, whose input is a finished recording with arrivals.
        console: for the table.
        target: name of the target; None for the only one.
        lateness: allowed latenesses, microseconds; empty for some that fit the delays of the recording.
        example_every: grids of examples; empty for that of the class.
        label_delay: label delays; empty for that of the target.
        lead: microseconds that it takes to act.
        costs: prices; None for those of the target.
        movement: how the recording is moved before it runs; None for as it came.
        plot: an SVG file for the costs.
        as_json: print one JSON object an option.

    Raises:
        TradeoffError: the target cannot be chosen, or the recording has no arrivals or no labels.
    """
    with console.status("Running the recording once for each option ...") as shown, silenced():
        fleet, _ = with_recordings(fleet)
        lines = [line for path in expand(fleet.input.files) for line in Path(path).read_bytes().splitlines()]
        if movement:
            lines = moved(lines, movement)
        chosen = only(fleet, target)
        each = next(iter(chosen.targets.values()))
        weighed = costs or each.costs or _ASSUMED
        found = options(chosen, lines, lateness, example_every, label_delay)
        comparison = Comparison(chosen, lines, weighed, lead, max(option.lateness for option in found))
        for done, option in enumerate(found, start=1):
            shown.update(f"Option {done} of {len(found)} ...")
            comparison.run(option)
        if not lateness:
            shown.update("Options near the best ...")
            comparison.refine()
    outcomes = comparison.outcomes()
    best = recommend(outcomes)
    if as_json:
        rows = ({**asdict(outcome), "recommended": outcome is best} for outcome in outcomes)
        show_either(console, rows, lambda: None, as_json=True)
        return best
    if costs is None and each.costs is None:
        console.print(
            "No prices are given: a failure is taken to cost as much as twenty false alarms.", highlight=False
        )
    _print(console, each.name, outcomes, best, plot)
    return best


def _print(
    console: Console, name: str, outcomes: Sequence[Outcome], best: Outcome, plot: Path | None
) -> None:
    """Print the options of a target, why one is best, and where their costs are drawn."""
    console.print(_table(name, outcomes, best))
    for line in _reasons(outcomes, best):
        console.print(line, highlight=False)
    if plot is not None:
        bars = [(_name(outcome.option), outcome.cost) for outcome in outcomes]
        plot.write_text(standalone_bars(bars, "Cost of a hundred examples, by the way of serving"))
        console.print(f"{plot}", highlight=False, soft_wrap=True)


def prices(missed: float | None, false_alarm: float | None, repair: float) -> Costs | None:
    """Return prices as given; None for none.

    Raises:
        TradeoffError: only one of the two is given, or they do not fit.

    >>> prices(100, 5, 20)
    Costs(missed=100, false_alarm=5, repair=20)
    """
    if missed is None and false_alarm is None:
        return None
    if not missed or not false_alarm or repair >= missed:
        msg = "expected --missed-cost and --false-alarm-cost, both above 0, and a repair that costs less"
        raise TradeoffError(msg)
    return Costs(missed, false_alarm, repair)


def only(fleet: Fleet, name: str | None, model: str | None = None) -> Fleet:
    """Return the fleet with one target and its champion alone, every prediction published.

    Args:
        fleet: the fleet.
        name: of the target; None for the only one.
        model: a model that is made the champion; None for the champion.

    Raises:
        TradeoffError: the target cannot be chosen.
    """
    if name is None and len(fleet.targets) == 1:
        name = next(iter(fleet.targets))
    if name is None or name not in fleet.targets:
        msg = f"choose one target with --target: {', '.join(fleet.targets)}"
        raise TradeoffError(msg)
    target = fleet.targets[name]
    champion = model or target.champion
    models = {each.name: each for each in target.models}
    kept: list[Model] = []
    needed = [champion]
    while needed:
        found = models[needed.pop()]
        if found not in kept:
            kept.append(found)
            needed += found.scores
    ordered = tuple(each for each in target.models if each in kept)
    target = replace(target, champion=champion, models=ordered, promotion=None, drift=None)
    layout = replace(fleet.classes[target.asset_class], targets=(name,), compare=0.0)
    others = {each: replace(other, targets=()) for each, other in fleet.classes.items()}
    return replace(
        fleet,
        targets={name: target},
        classes={**others, layout.name: layout},
        output=replace(fleet.output, publish="all", features="none"),
    )


def options(
    fleet: Fleet,
    lines: Sequence[bytes],
    lateness: Sequence[int],
    example_every: Sequence[int],
    label_delay: Sequence[int],
) -> list[Option]:
    """Return the options to compare, on arrival first.

    Raises:
        TradeoffError: the recording has no arrivals.
    """
    target = next(iter(fleet.targets.values()))
    layout = fleet.classes[target.asset_class]
    late = lateness or candidates(late_by(lines, fleet.assets.max_future), layout.allowed_lateness)
    grids, delays = example_every or (layout.example_every,), label_delay or (target.label_delay,)
    serves: tuple[Literal["arrival", "wait"], ...] = ("arrival", "wait")
    every = [Option(*each) for each in product(serves, sorted({*late}), grids, delays)]
    # To wait for nothing is to score on arrival.
    return [option for option in every if option.serve == "arrival" or option.lateness]


def late_by(lines: Sequence[bytes], max_future: int) -> NDArray[np.int64]:
    """Return how far each late message came behind the newest of its asset, microseconds, in ascending order.

    Args:
        lines: a recording, in order of arrival.
        max_future: a time later than its arrival by more is no time.

    Raises:
        TradeoffError: the recording has no arrivals.
    """
    newest: dict[str, int] = {}
    behind = []
    for line in lines:
        try:
            record = orjson.loads(line)
            if record["kind"] != "telemetry":
                continue
            time, arrival = parse_instant(record["time"]), parse_instant(record["arrived"])
        except (ValueError, KeyError, TypeError):
            continue
        if time <= arrival + max_future:
            before = newest.get(record["asset"], time)
            newest[record["asset"]] = max(before, time)
            if time < before:
                behind.append(before - time)
    if not newest:
        msg = "the recording has no telemetry with `arrived`: nobody knows when it was known"
        raise TradeoffError(msg)
    return np.sort(np.array(behind, dtype=np.int64))


class Comparison:
    """One recording run under several options, which are judged on the examples that all of them have.

    Args:
        fleet: with one target, as of `only`.
        lines: the recording, in order of arrival.
        costs: prices.
        lead: microseconds that it takes to act.
        longest: lateness that is compared, microseconds.
    """

    def __init__(self, fleet: Fleet, lines: Sequence[bytes], costs: Costs, lead: int, longest: int) -> None:
        [target] = fleet.targets.values()
        self._fleet = fleet
        self._lines = lines
        self._costs = costs
        self._lead = lead
        self._common = min(longest, target.horizon)
        self._runs: dict[Option, Served] = {}

    def run(self, option: Option) -> None:
        """Run the recording under an option, unless that has been done.

        A label is decided once the watermark, which is a lateness behind, has passed horizon and label delay.
        So a longer lateness would also put off learning, and the order in which a model learns moves its cost
        by some per cent by chance. Here all options wait equally long for labels: as long as the label delay,
        or as the longest lateness up to one horizon. A lateness beyond both learns later.
        """
        if option not in self._runs:
            wait = max(option.label_delay, self._common)
            label_delay = max(0, wait - option.lateness)
            self._runs[option] = _run(self._fleet, self._lines, replace(option, label_delay=label_delay))

    def outcomes(self) -> list[Outcome]:
        """Return what each option would have done, on arrival first, by lateness.

        Raises:
            TradeoffError: no example has a label under every option.
        """
        order = sorted(self._runs, key=lambda option: (option.serve, *astuple(option)[1:]))
        outcomes = judge(
            {option: self._runs[option] for option in order},
            self._costs,
            self._lead,
            self._fleet.figures_from,
        )
        if not outcomes[0].examples:
            msg = (
                "no example has a label under every option: the recording is too short, or holds no failures"
            )
            raise TradeoffError(msg)
        return outcomes

    def refine(self, tries: int = _TRIES) -> None:
        """Try options near the best until no neighbour can be much cheaper, see `next_option`."""
        behind = late_by(self._lines, self._fleet.assets.max_future)
        for _ in range(tries):
            outcomes = self.outcomes()
            option = next_option(outcomes, behind)
            if option is None:
                return
            self.run(option)


def _run(fleet: Fleet, lines: Sequence[bytes], option: Option) -> Served:
    target = next(iter(fleet.targets.values()))
    waits = option.serve == "wait"
    layout = replace(
        fleet.classes[target.asset_class],
        allowed_lateness=0 if waits else option.lateness,
        example_every=option.example_every,
    )
    changed = replace(
        fleet,
        classes={**fleet.classes, layout.name: layout},
        targets={target.name: replace(target, label_delay=option.label_delay)},
        metrics_every=MICROSECONDS["d"],
    )
    added: list[int] = []
    lost = 0
    if waits:
        lines, added, lost = waiting(lines, option.lateness, fleet.assets.max_future)
    return served(run_lines(changed, lines, batch=1000), target.name, added, lost)


def _name(option: Option) -> str:
    serve = "on arrival" if option.serve == "arrival" else "wait"
    return f"{serve}, {format_duration(option.lateness)}"


def _table(target: str, outcomes: Sequence[Outcome], best: Outcome) -> Any:  # noqa: ANN401 - a table of rich
    varied = [
        (title, key)
        for title, key in (("grid", "example_every"), ("label\ndelay", "label_delay"))
        if len({getattr(outcome.option, key) for outcome in outcomes}) > 1
    ]
    table = plain_table(
        f"{target}: what each way of serving would have done",
        "serve",
        "late-\nness",
        *(title for title, _ in varied),
        "used",
        "revi-\nsions",
        "later\nby",
        "log\nloss",
        "missed",
        "lead,\nh",
        "false",
        "cost",
        text=1,
        caption=f"{outcomes[0].examples:,} examples, {outcomes[0].failures:,} failures. Later by: from "
        "arrival to score, 99 of 100. Cost of a hundred examples. > is recommended.",
    )
    for outcome in outcomes:
        extra = (format_duration(getattr(outcome.option, key)) for _, key in varied)
        table.add_row(
            f"{'> ' if outcome is best else ''}{'arrival' if outcome.option.serve == 'arrival' else 'wait'}",
            format_duration(outcome.option.lateness),
            *extra,
            f"{outcome.used:.1%}",
            f"{outcome.revisions:.1f}%",
            f"{outcome.added[1] / HOUR:.1f}h" if outcome.added[1] else "0",
            f"{outcome.log_loss:.4f}",
            f"{outcome.missed} of {outcome.failures}",
            "-" if outcome.lead is None else f"{outcome.lead:.1f}",
            f"{outcome.false:,}",
            number(outcome.cost),
            style="bold" if outcome is best else None,
        )
    return table


def _reasons(outcomes: Sequence[Outcome], best: Outcome) -> list[str]:
    """Say what is recommended, and why nothing else."""
    option = best.option
    how = "score on arrival and revise" if option.serve == "arrival" else "wait for the watermark"
    late = format_duration(option.lateness)
    said = [f'Recommended: {how}, with allowed_lateness = "{late}", at {number(best.cost)}.']
    other = [each for each in outcomes if each.option.serve != option.serve]
    if other:
        rival = min(other, key=lambda each: each.cost)
        name = _name(rival.option)
        said.append(f"The best of the other pattern, {name}, costs {_more(rival, best)}{_why(rival, best)}.")
    same = [each for each in outcomes if each.option.serve == option.serve and each is not best]
    same.sort(key=lambda each: each.option.lateness)
    for each in (*same[:1], *same[-1:]):
        if each.option.lateness != option.lateness:
            name = _name(each.option).capitalize()
            said += [f"{name} costs {_more(each, best)}{_why(each, best)}."]
    return list(dict.fromkeys(said))


def _more(each: Outcome, best: Outcome) -> str:
    if not best.cost:
        return number(each.cost)
    share = each.cost / best.cost - 1
    return "the same" if abs(share) < 0.005 else f"{abs(share):.1%} {'more' if share > 0 else 'less'}"  # noqa: PLR2004


def _why(each: Outcome, best: Outcome) -> str:
    """The largest difference between two options, in words."""
    parts = Counter[str]()
    if each.lead is not None and best.lead is not None and best.lead - each.lead >= 1:
        parts[f"alerts are known {best.lead - each.lead:.1f} hours later"] = 3
    if each.missed > best.missed:
        parts[f"{each.missed - best.missed} more failures are missed"] = 4
    if each.log_loss > best.log_loss * 1.01:
        parts[f"its log loss is {each.log_loss / best.log_loss - 1:.0%} higher"] = 2
    if best.used - each.used > 0.001:  # noqa: PLR2004 - a thousandth of the messages
        parts[f"{percent(best.used - each.used)} of the messages are lost"] = 1
    found = [text for text, _ in parts.most_common(2)]
    return f": {' and '.join(found)}" if found else ""
