"""What serving patterns cost: score on arrival, score and revise, or wait until the data is complete.

One recording is run several times, as if it had been served in different ways. The same examples are judged
each time: whether anybody could have acted in time, by what was known when.

- *On arrival* with an allowed lateness L: telemetry is scored at once; what comes up to L late is merged
  and revises the score. What comes later is lost.
- *Wait*: telemetry of an asset is held back until its watermark, the largest event time minus L, has passed
  it, and is scored in order of event time. Nothing is revised, and scores come later.

Waiting is what windows with a watermark do in other systems: T. Akidau et al., "The dataflow model", VLDB
8(12), 2015.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import orjson

from dataflows.evaluation.alert_lives import Labels, alert_lives
from dataflows.instants import HOUR, format_instant, parse_duration, parse_instant
from dataflows.scoring import log_loss

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from dataflows.fleet.fleet import Costs

__all__ = [
    "ROUND",
    "Option",
    "Outcome",
    "Served",
    "candidates",
    "covered",
    "judge",
    "next_option",
    "recommend",
    "served",
    "waiting",
]

#: Costs that differ by less are alike, and the simpler option is taken.
_ALIKE = 0.005
#: Quantiles of the delays that become candidates for the lateness.
_QUANTILES = (0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0)
_ROUND = (
    "1m 2m 5m 10m 15m 20m 30m 40m 1h 90m 2h 150m 3h 4h 5h 6h 8h 10h 12h 15h 18h 1d 30h 36h 2d 3d 4d 5d 7d"
)
#: Latenesses that are proposed, microseconds.
ROUND = tuple(map(parse_duration, _ROUND.split()))

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Option:
    """One way to serve.

    Attributes:
        serve: score on arrival, or wait for the watermark.
        lateness: allowed lateness, microseconds.
        example_every: grid of the examples that models learn from, microseconds.
        label_delay: microseconds that a failure may be reported late.
    """

    serve: Literal["arrival", "wait"]
    lateness: int
    example_every: int
    label_delay: int


@dataclass(frozen=True, slots=True)
class Served:
    """What a run served for one target.

    Attributes:
        scores: of each example (asset, time): knowledge time and score, revisions in order.
        labels: of each example with a known label: 1 or 0, and time of the failure.
        failures: times of failures by asset.
        alerts: of each alert: asset, knowledge time of its opening, the time at which it ended, outcome.
        telemetry: messages that came.
        lost: messages that came too late.
        late: messages that were late when they were merged.
        added: microseconds from the arrival of each message to its score.
    """

    scores: Mapping[Key, Sequence[tuple[int, float]]]
    labels: Mapping[Key, tuple[int, int | None]]
    failures: Mapping[str, Sequence[int]]
    alerts: Sequence[tuple[str, int, int | None, str]]
    telemetry: int
    lost: int
    late: int
    added: Sequence[int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one option would have done.

    Attributes:
        used: share of the telemetry that came into windows.
        revisions: rows that revised a score, for each hundred scores.
        added: median and 99 % of the time from arrival to score, microseconds.
        examples: judged ones, the same for all options.
        log_loss: of the first score, nats.
        missed: failures without a warning in time.
        failures: all of them.
        lead: median hours from what was known of the opening of an alert to its failure.
        false: alerts that led to no failure.
        cost: mean price of a hundred examples.
    """

    option: Option
    used: float
    revisions: float
    added: tuple[int, int]
    examples: int
    log_loss: float
    missed: int
    failures: int
    lead: float | None
    false: int
    cost: float


def waiting(lines: Iterable[bytes], lateness: int, max_future: int) -> tuple[list[bytes], list[int], int]:
    """Return a recording as a system that waits for the watermark takes it.

    Telemetry and faults of an asset are held back until its watermark has passed them, and come in order of
    event time. All else comes as it came.

    Args:
        lines: of a recording with arrivals, in order of arrival.
        lateness: microseconds.
        max_future: a time later than its arrival by more moves no watermark.

    Returns:
        The lines, with new arrivals; microseconds that each telemetry message waited; and how many came too
        late.
    """
    held: dict[str, list[tuple[int, int, int, dict[str, Any]]]] = defaultdict(list)
    newest: dict[str, int] = {}
    out: list[bytes] = []
    added: list[int] = []
    lost = 0
    for number, line in enumerate(lines):
        record = _record(line)
        if record is None or record.get("kind") not in {"telemetry", "fault"}:
            out.append(line)
            continue
        time, arrival, asset = (
            parse_instant(record["time"]),
            parse_instant(record["arrived"]),
            record["asset"],
        )
        if time > arrival + max_future:
            out.append(line)
            continue
        newest[asset] = max(newest.get(asset, time), time)
        watermark = newest[asset] - lateness
        if time < watermark:
            lost += 1
            continue
        heapq.heappush(held[asset], (time, number, arrival, record))
        while held[asset] and held[asset][0][0] <= watermark:
            _, _, came, ready = heapq.heappop(held[asset])
            if ready["kind"] == "telemetry":
                added.append(arrival - came)
            out.append(orjson.dumps({**ready, "arrived": format_instant(arrival)}))
    return out, added, lost


def _record(line: bytes) -> dict[str, Any] | None:
    """A record of an asset with time and arrival; None for any other line."""
    try:
        record = orjson.loads(line)
        if isinstance(record, dict) and isinstance(record.get("asset"), str):
            parse_instant(record.get("time"))
            parse_instant(record.get("arrived"))
            return record
    except ValueError:
        pass
    return None


def served(rows: Mapping[str, Sequence[bytes]], target: str, added: Sequence[int], lost: int) -> Served:
    """Return what a run served for a target.

    Args:
        rows: of its outputs, with every prediction.
        target: its name.
        added: as of `waiting`; empty where nothing waited.
        lost: as of `waiting`.
    """
    scores: dict[Key, list[tuple[int, float]]] = defaultdict(list)
    known: dict[int, int] = {}
    for row in map(orjson.loads, rows["predictions"]):
        if row["target"] == target:
            arrival = parse_instant(row["arrival"])
            known[row["sequence"]] = arrival
            scores[row["asset"], parse_instant(row["time"])].append((arrival, row["score"]))
    labels, standing = Labels(), {}
    for row in map(orjson.loads, rows["evaluations"]):
        if row["target"] == target:
            time, lead = parse_instant(row["time"]), row["lead"] if row["label"] == "positive" else None
            labels.add(row["asset"], target, time, parse_instant(row["matured"]), lead)
            failure = None if lead is None else time + round(lead * HOUR)
            standing[row["asset"], time] = (row["label"], failure)
    alerts = [row for row in map(orjson.loads, rows["alerts"]) if row["target"] == target]
    opened = {row["id"]: parse_instant(row["arrival"]) for row in alerts if row["state"] == "opened"}
    lives = alert_lives(alerts, labels)
    periods = [row for row in map(orjson.loads, rows["metrics"]) if row.get("kind") == "lane"]
    rejected = Counter(orjson.loads(row)["reason"] for row in rows["late"])
    telemetry = sum(row["by_kind"].get("telemetry", 0) for row in periods)
    return Served(
        scores,
        {
            key: (int(label == "positive"), failure)
            for key, (label, failure) in standing.items()
            if label in {"positive", "negative"}
        },
        {asset: times for (asset, _), times in labels.failures().items()},
        [(life.asset, opened[life.id], life.cleared, life.outcome) for life in lives],
        telemetry,
        lost + rejected["too_late"],
        sum(row["late"] for row in periods),
        added,
    )


def judge(found: Mapping[Option, Served], costs: Costs, lead: int, since: int | None = None) -> list[Outcome]:
    """Judge options on the examples that all of them have, in the order given.

    An example is acted on when a score of it first reaches the break-even precision. That costs `repair` if
    the failure is more than ``lead`` after the moment when the score was known, else the price of the
    failure; in a healthy asset it costs a false alarm.

    Args:
        found: what was served, by option.
        costs: prices.
        lead: microseconds that it takes to act.
        since: earlier examples do not count.
    """
    common = set.intersection(
        *({key for key in each.labels if key in each.scores} for each in found.values())
    )
    examples = sorted(key for key in common if since is None or key[1] >= since)
    return [_outcome(option, each, examples, costs, lead) for option, each in found.items()]


def _outcome(option: Option, each: Served, examples: list[Key], costs: Costs, lead: int) -> Outcome:
    prices, losses = [], []
    for key in examples:
        label, failure = each.labels[key]
        scores = each.scores[key]
        losses.append(log_loss(scores[0][1], label))
        acted = next((known for known, score in scores if score >= costs.break_even), None)
        prices.append(_price(label, failure, acted, costs, lead))
    warned, leads = _warnings(each, lead)
    failures = sum(map(len, each.failures.values()))
    count = sum(map(len, each.scores.values()))
    added = np.quantile(each.added, [0.5, 0.99]).astype(int).tolist() if each.added else [0, 0]
    return Outcome(
        option,
        1 - each.lost / max(1, each.telemetry + each.lost),
        100 * (count - len(each.scores)) / max(1, len(each.scores)),
        (added[0], added[1]),
        len(examples),
        float(np.mean(losses)) if losses else np.nan,
        failures - warned,
        failures,
        float(np.median(leads)) if leads else None,
        sum(outcome == "none" for *_, outcome in each.alerts),
        100 * float(np.mean(prices)) if prices else np.nan,
    )


def _price(label: int, failure: int | None, acted: int | None, costs: Costs, lead: int) -> float:
    """What acting, or not, on one example cost.

    >>> from dataflows.fleet.fleet import Costs
    >>> costs = Costs(missed=100, false_alarm=5, repair=20)
    >>> [_price(1, 50, acted, costs, 10) for acted in (30, 45, None)], _price(0, None, 30, costs, 10)
    ([20, 100, 100], 5)
    """
    if label and failure is not None:
        in_time = acted is not None and failure - acted >= lead
        return costs.repair if in_time else costs.missed
    return costs.false_alarm if acted is not None else 0.0


def _warnings(each: Served, lead: int) -> tuple[int, list[float]]:
    """Failures warned of in time, and the hours between knowing and failing, of all that had an alert."""
    warned, leads = 0, []
    for asset, times in each.failures.items():
        for failure in times:
            stood = [
                known
                for name, known, ended, _ in each.alerts
                if name == asset and known < failure and (ended is None or ended >= failure)
            ]
            if stood:
                leads.append((failure - min(stood)) / HOUR)
                warned += failure - min(stood) >= lead
    return warned, leads


def recommend(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the cheapest option; of those within half a per cent of it the simplest.

    Scoring on arrival is simpler than waiting, and a short lateness holds less state.
    """
    least = min(outcome.cost for outcome in outcomes)
    alike = [outcome for outcome in outcomes if outcome.cost <= least * (1 + _ALIKE) + 1e-12]
    return min(alike, key=lambda each: (each.option.serve != "arrival", each.option.lateness, each.cost))


def candidates(behind: NDArray[np.int64], configured: int) -> list[int]:
    """Return zero, the configured lateness, and round ones that cover the quantiles of the late messages.

    Of those that cover the same messages the shortest is a candidate: the others would do the same.

    Args:
        behind: how far each late message came behind the newest of its asset, microseconds, ascending.
        configured: microseconds.

    >>> [late // 60_000_000 for late in candidates(np.array([25, 26, 70]) * 60_000_000, 0)]
    [0, 30, 90]
    """
    quantiles = np.quantile(behind, _QUANTILES).tolist() if len(behind) else []
    rounded = {next((step for step in ROUND if step >= each), ROUND[-1]) for each in quantiles}
    shortest: dict[int, int] = {}
    for lateness in sorted({0, *rounded}):
        shortest.setdefault(covered(behind, lateness), lateness)
    return sorted({configured, *shortest.values()})


def covered(behind: NDArray[np.int64], lateness: int) -> int:
    """Return the number of late messages that a lateness allows.

    Args:
        behind: how far each late message came behind the newest of its asset, microseconds, ascending.
        lateness: microseconds.

    >>> covered(np.array([10, 20, 30]), 20)
    2
    """
    return int(np.searchsorted(behind, lateness, side="right"))


def next_option(outcomes: Sequence[Outcome], behind: NDArray[np.int64]) -> Option | None:
    """Return the option to try next, between the recommended one and a neighbour; None where none is left.

    Cost changes with the messages that a lateness covers: the round lateness that halves those between the
    best and its neighbour is tried. When none is left, no round lateness nearby is cheaper than the best.

    Args:
        outcomes: of what has been tried.
        behind: as of `covered`.
    """
    best = recommend(outcomes)
    tried = sorted(
        outcome.option.lateness
        for outcome in outcomes
        if replace(outcome.option, lateness=best.option.lateness) == best.option
    )
    place = tried.index(best.option.lateness)
    for neighbour in tried[max(0, place - 1) : place] + tried[place + 1 : place + 2]:
        low, high = sorted((neighbour, best.option.lateness))
        least, most = covered(behind, low), covered(behind, high)
        inside = [step for step in ROUND if low < step < high and least < covered(behind, step) < most]
        if inside:
            middle = min(inside, key=lambda step: abs(covered(behind, step) - (least + most) / 2))
            return replace(best.option, lateness=middle)
    return None
