"""What a report says, as plain data: gathered from the outputs of a run and, if there is one, its fleet.

Outputs are read once. Nothing here knows how the page looks.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from dataflows.connectors.file_sink import files_of
from dataflows.evaluation.alert_lives import AlertLife, Labels, alert_lives
from dataflows.evaluation.reading import instants, read_summary, rows_as, whole_rows
from dataflows.evaluation.two_clocks import Age, Look, Revisions, Served, by_age, looks
from dataflows.evaluation.words import sensor_of
from dataflows.instants import MICROSECONDS, parse_duration, parse_instant
from dataflows.report.reliability import Bin, Gain, blocks_of, gain_over_constant, reliability
from dataflows.report.timelines import Grid, Recording, Series, read_recording, spans, standing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dataflows.fleet.fleet import Costs, Fleet, Target

__all__ = ["AssetFacts", "Facts", "Failure", "Lateness", "ReportError", "Risk", "TargetFacts", "gather"]

#: Sensors in the timeline of an asset, those that moved alerts first.
SENSORS = 4
#: Numbers in all timelines together: 4 bytes each, a third more as text.
_NUMBERS = 330_000
_LEAST_INTERVALS, _MOST_INTERVALS = 96, 900
_WEEK = MICROSECONDS["w"]


class ReportError(RuntimeError):
    """There is nothing to report; the message says what is missing."""


class Failure(NamedTuple):
    """One failure of an asset.

    Attributes:
        target: its name.
        time: when it happened, microseconds.
        visible: when its alert opened, or scores rose above the threshold for good; None: without a warning.
    """

    target: str
    time: int
    visible: int | None


class Risk(NamedTuple):
    """An asset that is at risk now.

    Attributes:
        target: name of the target.
        score: its latest score.
        time: of the telemetry of that score, microseconds.
        since: when the score rose above the threshold, microseconds.
        alert: the open alert; None without one.
    """

    asset: str
    target: str
    score: float
    time: int
    since: int
    alert: AlertLife | None


class Record(NamedTuple):
    """Numbers of alerts of a target: opened, with a failure, without one, and undecided."""

    opened: int
    failure: int
    none: int
    unknown: int
    median_lead: float | None


_NO_RECORD = Record(0, 0, 0, 0, None)


@dataclass(slots=True)
class TargetFacts:
    """Facts about one target.

    Attributes:
        horizon: microseconds.
        threshold: score from which an asset counts as at risk.
        bins: outcomes by the size of the score.
        gain: gain over a constant score; None without examples.
        examples: number with a known label, in the figures.
        positives: number of these that failed.
        record: outcomes of alerts.
        failures: number of failures.
        warned: number of these with a warning before.
        left_out: examples outside the figures, by reason.
        ages: error by the age of the score; the first score alone if late data revised none.
        looks: error before labels at the end of each period, and the error that it turned out to be.
        latest: number of assets with a score.
        down: number of these that failed after their latest score.
    """

    name: str
    horizon: int
    threshold: float
    advice: str | None
    costs: Costs | None
    champion: str = ""
    bins: list[Bin] = field(default_factory=list)
    gain: Gain | None = None
    examples: int = 0
    positives: int = 0
    record: Record = _NO_RECORD
    failures: int = 0
    warned: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    ages: list[Age] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    latest: int = 0
    down: int = 0


@dataclass(slots=True)
class AssetFacts:
    """Facts about one asset.

    Attributes:
        scores: latest by target, as (time, score).
        series: lines of its timeline, scores first.
        alerts: in the order in which they opened.
        failures: in the order in which they happened.
        late: spans of intervals with late data, as (first, one after the last).
        late_count: number of late messages.
        heard: event time of its latest telemetry; None if unknown.
    """

    name: str
    scores: dict[str, tuple[int, float]] = field(default_factory=dict)
    series: list[Series] = field(default_factory=list)
    alerts: list[AlertLife] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    late: list[tuple[int, int]] = field(default_factory=list)
    late_count: int = 0
    heard: int | None = None

    def failed_after(self, target: str) -> int | None:
        """Time of the first failure after the latest score for a target; None where it did not fail since."""
        time, _ = self.scores[target]
        after = (failure.time for failure in self.failures if failure.target == target)
        return next((failed for failed in after if failed > time), None)


class Lateness(NamedTuple):
    """Delays of the messages of the recording.

    Attributes:
        messages: number of telemetry messages.
        late: number that came after a newer one of their asset.
        delays: seconds from event to arrival at the quantiles 0.5, 0.9, 0.99 and 1; empty without arrivals.
        counts: number of messages by delay, in the bins of `DELAYS` and above.
    """

    messages: int
    late: int
    delays: tuple[float, ...]
    counts: tuple[int, ...]


#: Upper borders of the bins of a delay, in seconds.
DELAYS = (1.0, 10.0, 60.0, 600.0, 3600.0, 6 * 3600.0, 86400.0)


@dataclass(slots=True)
class Facts:
    """All facts of a report.

    Attributes:
        name: of the fleet, or of the folder.
        start: first event time with a score, microseconds.
        end: last one.
        known: knowledge time of the last row.
        summary: `summary.json`; empty without one.
        risks: assets at risk, the highest score first.
        assets: assets with a timeline, those at risk first.
        assets_in_all: number of assets with a score.
        metrics: rows of the metrics, by kind.
        changes: rows of the changes.
        grid: of the timelines.
        lateness: None without a recording.
        unread: why the recording was not read; empty if it was.
    """

    name: str
    folder: Path
    fleet: Fleet | None
    start: int
    end: int
    known: int
    summary: dict[str, Any]
    targets: dict[str, TargetFacts]
    risks: list[Risk]
    assets: list[AssetFacts]
    assets_in_all: int
    metrics: dict[str, list[dict[str, Any]]]
    changes: list[dict[str, Any]]
    grid: Grid
    lateness: Lateness | None
    unread: str
    lives: list[AlertLife]


class _Score(msgspec.Struct):
    asset: str
    target: str
    time: str
    score: float
    link: str
    revision: int
    arrival: str | None = None


class _Label(msgspec.Struct):
    asset: str
    target: str
    time: str
    label: str
    matured: str
    champion: str
    scores: dict[str, float | None]
    lead: float | None
    known: str


@dataclass(frozen=True, slots=True)
class _Scores:
    """Every published score, in the order of the output; NaN for scores of the prior.

    ``known`` is the arrival; in a recording without arrivals, the largest event time so far.
    """

    assets: NDArray[np.str_]
    targets: NDArray[np.str_]
    times: NDArray[np.int64]
    values: NDArray[np.float64]
    revisions: NDArray[np.int64]
    known: NDArray[np.int64]

    def groups(self) -> dict[tuple[str, str], NDArray[np.int64]]:
        """Return the rows of each asset and target, in order of time."""
        names, assets = np.unique(self.assets, return_inverse=True)
        tasks, targets = np.unique(self.targets, return_inverse=True)
        codes = assets * len(tasks) + targets
        order = np.lexsort((self.times, codes))
        starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
        found = {}
        for rows in np.split(order, starts[1:]):
            code = int(codes[rows[0]])
            found[str(names[code // len(tasks)]), str(tasks[code % len(tasks)])] = rows
        return found


def gather(folder: Path, fleet: Fleet | None, *, most: int = 100) -> Facts:
    """Gather the facts of a report.

    Args:
        folder: folder of the outputs.
        fleet: the fleet of the run; None reads the outputs alone: no readings, thresholds of 0.5.
        most: number of assets with a timeline.

    Raises:
        ReportError: the folder holds no predictions.
        RowError: a line is no row of its output.
    """
    scores = _read_scores(folder)
    labels, rows = _read_labels(folder)
    lives = alert_lives(whole_rows(folder, "alerts"), labels)
    names = [str(name) for name in np.unique(scores.targets)]
    targets = {name: _target(name, fleet) for name in names}
    groups = scores.groups()
    failures = _failures(labels, lives, scores, groups, targets)
    risks = _risks(scores, groups, failures, lives, targets)
    summary = read_summary(folder) or {}
    for target in targets.values():
        served = _judge(target, rows, fleet, summary)
        _count(target, lives, failures)
        if served is not None:
            target.ages = by_age(served, _revisions(target.name, served, scores, groups))
            target.looks = looks(served, target.horizon, _WEEK if fleet is None else fleet.metrics_every)
    metrics: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in whole_rows(folder, "metrics"):
        metrics[row.get("kind", "lane")].append(row)
    changes = list(whole_rows(folder, "changes"))
    facts = Facts(
        name=fleet.name if fleet is not None else folder.resolve().name,
        folder=folder,
        fleet=fleet,
        start=int(scores.times.min()),
        end=int(scores.times.max()),
        known=_known(scores, rows, metrics["lane"], changes),
        summary=summary,
        targets=targets,
        risks=risks,
        assets=[],
        assets_in_all=len(np.unique(scores.assets)),
        metrics=metrics,
        changes=changes,
        grid=Grid(0, 1, 1),
        lateness=None,
        unread="",
        lives=lives,
    )
    _add_assets(facts, scores, groups, failures, most)
    return facts


def _read_scores(folder: Path) -> _Scores:
    if not files_of(folder / "predictions.jsonl"):
        msg = f"{folder} holds no predictions; run a fleet with outputs in files first: run fleet.toml"
        raise ReportError(msg)
    found = list(rows_as(folder, "predictions", _Score))
    if not found:
        msg = f"{folder}/predictions.jsonl is empty: nothing was scored, so there is nothing to report"
        raise ReportError(msg)
    times = instants([row.time for row in found])
    return _Scores(
        np.array([row.asset for row in found]),
        np.array([row.target for row in found]),
        times,
        # The prior says nothing of an asset.
        np.array([row.score if row.link != "prior" else np.nan for row in found], dtype=np.float64),
        np.array([row.revision for row in found], dtype=np.int64),
        np.maximum.accumulate(
            times if found[0].arrival is None else instants([row.arrival or row.time for row in found])
        ),
    )


def _read_labels(folder: Path) -> tuple[Labels, list[_Label]]:
    """Labels, and the evaluations as they stand: the last row of each example."""
    labels, standing = Labels(), {}
    found = list(rows_as(folder, "evaluations", _Label))
    times, matured = instants([row.time for row in found]), instants([row.matured for row in found])
    for row, time, decided in zip(found, times.tolist(), matured.tolist(), strict=True):
        labels.add(row.asset, row.target, time, decided, row.lead if row.label == "positive" else None)
        standing[row.asset, row.target, time] = row
    return labels, list(standing.values())


def _known(
    scores: _Scores, rows: Sequence[_Label], metrics: Sequence[Mapping[str, Any]], changes: Sequence[Any]
) -> int:
    texts = [row.known for row in rows[-1:]]
    texts += [row["known"] for row in (*metrics[-1:], *changes[-1:]) if row.get("known")]
    return max([int(scores.times.max()), *map(parse_instant, texts)])


def _target(name: str, fleet: Fleet | None) -> TargetFacts:
    configured: Target | None = None if fleet is None else fleet.targets.get(name)
    if configured is None:
        return TargetFacts(name, parse_duration(name.rpartition("/")[2]), 0.5, None, None)
    opens = configured.threshold if configured.alert is None else configured.alert.open
    return TargetFacts(name, configured.horizon, opens, configured.advice, configured.costs)


Groups = dict[tuple[str, str], "NDArray[np.int64]"]
Failures = dict[tuple[str, str], list[Failure]]


def _failures(
    labels: Labels,
    lives: Sequence[AlertLife],
    scores: _Scores,
    groups: Groups,
    targets: Mapping[str, TargetFacts],
) -> Failures:
    """Failures by asset and target, each with when it became visible."""
    by_key: dict[tuple[str, str], list[AlertLife]] = defaultdict(list)
    for life in lives:
        by_key[life.asset, life.target].append(life)
    alerted = {life.target for life in lives}
    found: Failures = {}
    for (asset, target), times in labels.failures().items():
        if target not in targets:
            continue
        key = asset, target
        found[key] = []
        for time in times:
            if target in alerted:
                open_then = (life.opened for life in by_key[key] if _stood(life, time))
                visible = next(open_then, None)
            else:
                visible = _risen(scores, groups.get(key), targets[target].threshold, time)
            found[key].append(Failure(target, time, visible))
    return found


def _stood(life: AlertLife, time: int) -> bool:
    """Whether an alert was open when a failure happened; the failure itself clears it."""
    return life.opened < time and (life.cleared is None or life.cleared >= time)


def _risen(scores: _Scores, rows: NDArray[np.int64] | None, threshold: float, before: int) -> int | None:
    """Return the time from which every score up to an instant is at least the threshold."""
    if rows is None:
        return None
    times, values = scores.times[rows], scores.values[rows]
    last = int(np.searchsorted(times, before))
    below = np.flatnonzero(~(values[:last] >= threshold))
    first = int(below[-1]) + 1 if len(below) else 0
    return int(times[first]) if first < last else None


def _risks(
    scores: _Scores,
    groups: Groups,
    failures: Failures,
    lives: Sequence[AlertLife],
    targets: dict[str, TargetFacts],
) -> list[Risk]:
    """Find assets with an open alert, or with a latest score of at least the threshold."""
    open_now = {(life.asset, life.target): life for life in lives if life.cleared is None}
    found = []
    for (asset, target), rows in groups.items():
        time, score = int(scores.times[rows[-1]]), float(scores.values[rows[-1]])
        targets[target].latest += 1
        if any(failure.time > time for failure in failures.get((asset, target), ())):
            targets[target].down += 1  # or repaired, and not scored yet
            continue
        alert = open_now.get((asset, target))
        if np.isnan(score) or (alert is None and score < targets[target].threshold):
            continue
        risen = _risen(scores, rows, targets[target].threshold, time + 1)
        since = alert.opened if alert is not None else risen if risen is not None else time
        found.append(Risk(asset, target, score, time, since, alert))
    return sorted(found, key=lambda risk: (-risk.score, risk.asset, risk.target))


def _judge(
    target: TargetFacts, rows: Sequence[_Label], fleet: Fleet | None, summary: Mapping[str, Any]
) -> Served | None:
    """Judge the published scores of a target by the latest labels; return the judged examples."""
    section = summary.get("targets", {}).get(target.name, {})
    target.champion = section.get("champion", "")
    mine = [row for row in rows if row.target == target.name]
    if mine and not target.champion:
        target.champion = mine[-1].champion
    left = target.left_out
    counted, times = [], instants([row.time for row in mine])
    since = None if fleet is None else fleet.figures_from
    for row, time in zip(mine, times.tolist(), strict=True):
        if row.label not in {"positive", "negative"}:
            reason = "censored" if row.label == "censored" else "undecided again"
        elif since is not None and time < since:
            reason = "before the figures begin (figures_from)"
        elif row.scores.get(row.champion) is None:
            reason = "without a score"
        else:
            counted.append((row, time))
            continue
        left[reason] = left.get(reason, 0) + 1
    if section.get("pending"):
        left["waiting for their label"] = section["pending"]
    if not counted:
        return None
    labels = np.array([row.label == "positive" for row, _ in counted], dtype=np.int64)
    values = np.array([row.scores[row.champion] for row, _ in counted], dtype=np.float64)
    assets = np.array([row.asset for row, _ in counted])
    when = np.array([time for _, time in counted], dtype=np.int64)
    target.examples, target.positives = len(labels), int(labels.sum())
    target.bins = reliability(labels, values, blocks_of(assets, when, target.horizon))
    target.gain = gain_over_constant(labels, values, assets)
    known = np.maximum(
        instants([row.known for row, _ in counted]), instants([row.matured for row, _ in counted])
    )
    return Served(assets, when, labels, known, values)


def _count(target: TargetFacts, lives: Sequence[AlertLife], failures: Failures) -> None:
    """Count the outcomes of alerts and failures of a target."""
    mine = [life for life in lives if life.target == target.name]
    leads = [life.lead for life in mine if life.lead is not None]
    outcomes = [life.outcome for life in mine]
    target.record = Record(
        len(mine),
        outcomes.count("failure"),
        outcomes.count("none"),
        outcomes.count("unknown"),
        float(np.median(leads)) if leads else None,
    )
    came = [failure for (_, name), found in failures.items() if name == target.name for failure in found]
    target.failures = len(came)
    target.warned = sum(failure.visible is not None for failure in came)


def _revisions(target: str, served: Served, scores: _Scores, groups: Groups) -> Revisions:
    """Return the published revisions of examples, with their age since the first score of that time."""
    examples = {
        key: row for row, key in enumerate(zip(served.assets.tolist(), served.times.tolist(), strict=True))
    }
    found: list[tuple[int, int, float]] = []
    for (asset, name), group in groups.items():
        if name != target or not scores.revisions[group].any():
            continue
        # Rows of one time are in the order in which they were published.
        _, firsts, places = np.unique(scores.times[group], return_index=True, return_inverse=True)
        ages = scores.known[group] - scores.known[group[firsts]][places]
        for row, age in zip(group.tolist(), ages.tolist(), strict=True):
            example = examples.get((asset, int(scores.times[row])))
            if example is not None and scores.revisions[row] and np.isfinite(scores.values[row]):
                found.append((example, age, float(scores.values[row])))
    return Revisions(
        np.array([example for example, _, _ in found], dtype=np.int64),
        np.array([age for _, age, _ in found], dtype=np.int64),
        np.array([value for _, _, value in found], dtype=np.float64),
    )


def _add_assets(facts: Facts, scores: _Scores, groups: Groups, failures: Failures, most: int) -> None:
    """Choose the assets to show, and make their timelines."""
    shown = _chosen(facts, scores, groups, failures, most)
    sensors = {name: _sensors(facts, name, groups) for name in shown}
    paths = _recording(facts)
    max_future = 0 if facts.fleet is None else facts.fleet.assets.max_future
    recording = read_recording(paths, sensors, max_future) if paths else None
    if recording is not None and len(recording.times):
        facts.lateness = _lateness(recording)
    lines = max(1, sum(len(sensors[name]) for name in shown) + sum(key[0] in sensors for key in groups))
    count = min(_MOST_INTERVALS, max(_LEAST_INTERVALS, _NUMBERS // (2 * lines)))
    facts.grid = Grid(facts.start, facts.end, count)
    units = _units(facts.fleet)
    # A score that did not change enough was not published; the last one is valid until the next.
    stands = facts.fleet is not None and facts.fleet.output.publish == "changed"
    for (asset, target), rows in groups.items():
        if asset in shown:
            low, high = facts.grid.reduce(scores.times[rows], scores.values[rows])
            if stands:
                low, high = standing(low), standing(high)
            shown[asset].series.append(Series(target, "", low, high, is_score=True))
    for name in shown.values():
        if recording is not None:
            _add_readings(name, sensors[name.name], recording, facts.grid, units)
    if recording is not None:
        _add_late(shown, recording, facts.grid)
        _add_heard(shown, recording, facts.end)
    facts.assets = list(shown.values())


def _chosen(
    facts: Facts, scores: _Scores, groups: Groups, failures: Failures, most: int
) -> dict[str, AssetFacts]:
    """Return the assets to show: those at risk first, then by latest failure, then by score."""
    found: dict[str, AssetFacts] = {}
    for (asset, target), rows in groups.items():
        each = found.setdefault(asset, AssetFacts(asset))
        time = int(scores.times[rows[-1]])
        each.scores[target] = time, float(scores.values[rows[-1]])
        if facts.fleet is None or facts.fleet.output.publish == "all":
            each.heard = max(each.heard or time, time)
        each.failures += failures.get((asset, target), ())
    for life in facts.lives:
        if life.asset in found:
            found[life.asset].alerts.append(life)
    at_risk = {risk.asset: place for place, risk in reversed(list(enumerate(facts.risks)))}

    def rank(each: AssetFacts) -> tuple[int, int, float, str]:
        each.failures.sort(key=lambda failure: failure.time)
        latest = max((failure.time for failure in each.failures), default=0)
        score = max((score for _, score in each.scores.values() if not np.isnan(score)), default=0.0)
        recent = latest if latest > facts.known - 2 * _WEEK else 0
        return at_risk.get(each.name, len(at_risk)), -recent, -score, each.name

    return {each.name: each for each in sorted(found.values(), key=rank)[:most]}


def _sensors(facts: Facts, asset: str, groups: Groups) -> list[str]:
    """Return the sensors in the timeline of an asset: those with a part in alerts first."""
    if facts.fleet is None:
        return []
    target = next(target for name, target in groups if name == asset)
    configured = facts.fleet.targets.get(target)
    if configured is None:
        return []
    declared = facts.fleet.classes[configured.asset_class].sensors
    moved: dict[str, float] = defaultdict(float)
    for life in facts.lives:
        for move in life.moved_by:
            moved[sensor_of(move["feature"])] += move["raised_by"]
    return sorted(declared, key=lambda name: (-moved[name], declared.index(name)))[:SENSORS]


def _recording(facts: Facts) -> list[Path]:
    """Return the files of the recording; none, with the reason, if they cannot be read."""
    fleet = facts.fleet
    if fleet is None:
        facts.unread = "no fleet.toml was given, which names the recording"
    elif fleet.input.kafka is not None or fleet.input.connector is not None:
        facts.unread = "the input is no file"
    elif fleet.input.rules:
        made = sorted((facts.folder / "input").glob("events-*.jsonl"))
        as_they_came = "your rows became events as they came, in no file"
        gone = as_they_came if fleet.input.follow else "the events made of your files are gone"
        facts.unread = "" if made else gone
        return made
    else:
        import glob  # noqa: PLC0415 - patterns are absolute

        paths = [Path(path) for pattern in fleet.input.files for path in sorted(glob.glob(pattern))]  # noqa: PTH207
        facts.unread = "" if paths else f"{', '.join(fleet.input.files)} is not there"
        return paths
    return []


def _units(fleet: Fleet | None) -> dict[str, str]:
    classes = () if fleet is None else fleet.classes.values()
    return {limit.sensor: limit.unit for found in classes for limit in found.limits if limit.unit}


def _add_readings(
    each: AssetFacts,
    sensors: Sequence[str],
    recording: Recording,
    grid: Grid,
    units: Mapping[str, str],
) -> None:
    for sensor in sensors:
        rows, values = recording.readings.get((each.name, sensor), ([], []))
        times = recording.times[rows] if rows else np.empty(0, dtype=np.int64)
        inside = (times >= grid.start) & (times <= grid.end)
        low, high = grid.reduce(times[inside], np.array(values, dtype=np.float64)[inside])
        if np.isfinite(low).any():
            each.series.append(Series(sensor, units.get(sensor, ""), low, high))


def _add_late(shown: Mapping[str, AssetFacts], recording: Recording, grid: Grid) -> None:
    rows = np.flatnonzero(recording.late)
    codes, places = recording.codes[rows], grid.places(recording.times[rows])
    for code, name in enumerate(recording.assets):
        if name in shown:
            mine = places[codes == code]
            flags = np.zeros(grid.count, dtype=bool)
            flags[mine] = True
            shown[name].late, shown[name].late_count = spans(flags), len(mine)


def _add_heard(shown: Mapping[str, AssetFacts], recording: Recording, end: int) -> None:
    """Set the latest telemetry of each asset; telemetry after the last score was not accepted."""
    newest = np.zeros(len(recording.assets), dtype=np.int64)
    np.maximum.at(newest, recording.codes, np.where(recording.times > end, 0, recording.times))
    for code, name in enumerate(recording.assets):
        if name in shown and newest[code]:
            shown[name].heard = int(newest[code])


def _lateness(recording: Recording) -> Lateness:
    delays: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    if len(recording.arrivals):
        seconds = (recording.arrivals - recording.times) / MICROSECONDS["s"]
        delays = tuple(np.quantile(seconds, [0.5, 0.9, 0.99, 1.0]).tolist())
        counts = tuple(np.bincount(np.digitize(seconds, DELAYS), minlength=len(DELAYS) + 1).tolist())
    return Lateness(len(recording.times), int(recording.late.sum()), delays, counts)
