"""How good the online models are on disks: a run's evaluations beside models retrained in batches every day.

``python -m studies.disks OUT --recording examples/backblaze/data/disks.jsonl`` reads the evaluations of a
finished run. The baselines are a logistic regression and gradient boosting, trained from nothing every day on
all examples whose labels were known by then; training takes no time. Their features are computed here from
the recording, not taken from the run: each value, its change over one and over seven days, and the capacity.

Last come the disks that left without a failure, each with what became of its examples. None of them may count
as healthy beyond its last day.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from dataflows.evaluation.figures import Entry, bootstrap, compare, figures, tables
from dataflows.evaluation.reading import Evaluations, labelled, load_evaluations
from dataflows.instants import HOUR, format_instant, parse_duration, parse_instant, shown_instant
from dataflows.scoring import running_prior

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "BASELINES",
    "Fate",
    "Recording",
    "batch_scores",
    "changes",
    "fates",
    "main",
    "read",
    "served",
    "within",
]

#: Of a recording of 2013-04-10 to 2013-05-19: from when on models know something, and until when labels are.
START, END = "2013-04-24T00:00:00Z", "2013-05-12T00:00:00Z"
#: Spans of the changes, in days.
_SPANS = (1, 7)
_DAY = 24 * HOUR


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Telemetry of all disks, one element a row, sorted by disk and day.

    Attributes:
        disks: names, sorted.
        disk: index into ``disks``.
        day: of the event time, days since 1970.
        arrival: microseconds.
        values: (rows, sensors), NaN where missing.
        capacity: terabytes, NaN where unknown.
        failed: microseconds of the failure, by name of the disk.
    """

    disks: NDArray[np.str_]
    disk: NDArray[np.int64]
    day: NDArray[np.int64]
    arrival: NDArray[np.int64]
    values: NDArray[np.float64]
    capacity: NDArray[np.float64]
    failed: dict[str, int]

    def features(self) -> NDArray[np.float64]:
        """(rows, features): the values, their change over each span, the capacity."""
        parts = [changes(self.disk, self.day, self.values, span) for span in _SPANS]
        return np.hstack([self.values, *parts, self.capacity[:, None]])

    def rows_of(self, assets: NDArray[np.str_], times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index of the row of each disk and time.

        Raises:
            ValueError: one is not in the recording.
        """
        span = int(self.day.max()) + 1
        keys = self.disk * span + self.day
        index = np.searchsorted(self.disks, assets)
        wanted = np.minimum(index, len(self.disks) - 1) * span + times // _DAY
        rows = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        wrong = (keys[rows] != wanted) | (self.disks[self.disk[rows]] != assets)
        if wrong.any():
            first = int(np.argmax(wrong))
            msg = f"the recording has no telemetry of {assets[first]} at {shown_instant(int(times[first]))}"
            raise ValueError(msg)
        return rows


@dataclasses.dataclass(frozen=True, slots=True)
class Fate:
    """What became of the examples of one disk that left without a failure.

    Attributes:
        disk: name.
        last: microseconds of its last telemetry.
        examples: how many it has, one a day.
        negative: horizon passed while it was still there.
        censored: nobody knows how it fared.
        pending: without a label at the end.
        positive: said to have failed; expected none.
        unseen: said to be healthy although the horizon ends after ``last``; expected none.
    """

    disk: str
    last: int
    examples: int
    negative: int
    censored: int
    pending: int
    positive: int
    unseen: int

    @property
    def fate(self) -> str:
        """In a word."""
        if self.positive or self.unseen:
            return "wrong"
        return "censored" if self.censored else "pending"


def read(path: Path) -> Recording:
    """Read a recording made by ``examples/backblaze/reader.py``.

    Raises:
        ValueError: it holds no telemetry.
    """
    rows: list[tuple[str, int, int, list[float | None]]] = []
    capacity: dict[str, float] = {}
    failed: dict[str, int] = {}
    sensors: list[str] = []
    instant = functools.cache(parse_instant)  # there are few, and many rows of each
    with path.open("rb") as lines:
        for event in map(orjson.loads, lines):
            kind, disk = event["kind"], event["asset"]
            if kind == "asset":
                capacity[disk] = event["attributes"].get("capacity_tb", np.nan)
            elif kind == "failure":
                failed[disk] = instant(event["time"])
            elif kind == "telemetry":
                sensors = sensors or list(event["readings"])
                values = [event["readings"].get(sensor) for sensor in sensors]
                rows.append((disk, instant(event["time"]) // _DAY, instant(event["arrived"]), values))
    if not rows:
        msg = f"{path} holds no telemetry"
        raise ValueError(msg)
    rows.sort(key=lambda row: row[:2])
    names, days, arrivals, readings = zip(*rows, strict=True)
    disks, disk = np.unique(np.array(names), return_inverse=True)
    return Recording(
        disks=disks,
        disk=disk.astype(np.int64),
        day=np.array(days, dtype=np.int64),
        arrival=np.array(arrivals, dtype=np.int64),
        values=np.array(readings, dtype=np.float64),
        capacity=np.array([capacity.get(name, np.nan) for name in names]),
        failed=failed,
    )


def changes(
    disk: NDArray[np.int64], day: NDArray[np.int64], values: NDArray[np.float64], span: int
) -> NDArray[np.float64]:
    """(rows, sensors) last minus first value that is not missing, over a day and the ``span`` days before.

    Rows are sorted by disk and day. NaN where all are missing.
    """
    width = int(day.max()) + 1 + span
    keys = disk * width + day
    first, last = np.full_like(values, np.nan), np.full_like(values, np.nan)
    for back in range(span, -1, -1):
        rows = np.searchsorted(keys, keys - back)
        found = np.where((keys[rows] == keys - back)[:, None], values[rows], np.nan)
        given = ~np.isnan(found)
        last[given] = found[given]
        first = np.where(np.isnan(first), found, first)
    return last - first


def _logistic() -> Any:  # noqa: ANN401 - scikit-learn has no types
    return make_pipeline(
        SimpleImputer(keep_empty_features=True),  # the mean
        StandardScaler(),
        LogisticRegression(max_iter=300),
    )


def _boosting() -> Any:  # noqa: ANN401 - scikit-learn has no types
    # With one positive in a thousand a leaf has next to no curvature: unpunished, Newton's steps explode, and
    # scikit-learn's defaults rank worse than chance. These settings were chosen on the very disks of the
    # protocol, which is in favour of the baseline.
    return HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_leaf_nodes=8,
        min_samples_leaf=100,
        l2_regularization=10.0,
        early_stopping=False,
        random_state=0,
    )


#: What makes a fresh model, by its name in the table.
BASELINES: dict[str, Callable[[], Any]] = {
    "logistic, daily": _logistic,
    "boosting, daily": _boosting,
}


def within(rows: Evaluations, start: int, end: int) -> NDArray[np.bool_]:
    """Which rows count: examples of ``start`` to ``end``, both included, of days that are settled.

    After the last day of which a negative is known, only labels that are known early are there, and these are
    all positive.
    """
    settled = int(rows.times[rows.labels == 0].max(initial=0))
    chosen: NDArray[np.bool_] = (rows.times >= start) & (rows.times <= min(end, settled))
    return chosen


def batch_scores(
    rows: Evaluations, recording: Recording, build: Callable[[], Any], settle: int, asked: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Scores for the rows that are asked for, by a model trained from nothing for each day; NaN elsewhere.

    The examples of one day arrive together, at T. The model learns the examples whose label was known by T
    and whose horizon and label delay (``settle``, microseconds) ended before that day, each under its latest
    label by then: negatives and positives alike, as the online models do. Until both classes are known it
    gives the running prior.
    """
    index = recording.rows_of(rows.assets, rows.times)
    features, arrivals = recording.features(), recording.arrival[index]
    scores = np.full(len(rows), np.nan)
    # The ids are compared every day, and short ones sort faster.
    numbers = np.unique(rows.ids, return_inverse=True)[1]
    numbered = dataclasses.replace(rows, ids=numbers.astype(f"U{len(str(len(rows)))}"))
    for day in np.unique(rows.times[asked]):
        now = np.flatnonzero(asked & (rows.times == day))
        known = np.flatnonzero((rows.settled <= arrivals[now].min()) & (rows.times + settle < day))
        latest = labelled(numbered.where(known), "final")
        latest = latest.where(latest.labels >= 0)
        positives = int(latest.labels.sum())
        if 0 < positives < len(latest):
            model = build()
            # Its threads spin while they wait for each other, which is much slower on busy cores.
            with threadpool_limits(limits=1), warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(features[recording.rows_of(latest.assets, latest.times)], latest.labels)
                scores[now] = model.predict_proba(features[index[now]])[:, 1]
        else:
            scores[now] = running_prior(positives, len(latest))
    return scores


def served(
    evaluations: Evaluations,
    recording: Recording,
    settle: int,
    span: tuple[int, int],
    *,
    baselines: Mapping[str, Callable[[], Any]] = BASELINES,
    resamples: int = 200,
    seed: int = 0,
) -> list[Entry]:
    """Figures of the run's models and of the baselines, on the same examples under their first labels."""
    chosen = evaluations.where(within(evaluations, *span))
    entries = [e for e in compare(chosen, resamples=resamples, seed=seed) if e.labels == "first"]
    asked = within(evaluations, *span) & (evaluations.corrections == 0)
    rows = evaluations.where(asked)
    for name, build in baselines.items():
        scores = batch_scores(evaluations, recording, build, settle, asked)[asked]
        intervals = bootstrap(rows.labels, scores, rows.assets, resamples=resamples, seed=seed)
        entries.append(Entry(entries[0].target, "first", name, figures(rows.labels, scores), intervals))
    return entries


def fates(evaluations: Evaluations, recording: Recording, horizon: int) -> list[Fate]:
    """The disks that have no telemetry of the last day and did not fail, by their last day, then by name."""
    last = np.zeros(len(recording.disks), dtype=np.int64)
    np.maximum.at(last, recording.disk, recording.day)
    counts = np.bincount(recording.disk, minlength=len(last))
    final = labelled(evaluations, "final")
    order = np.argsort(final.assets, kind="stable")
    names = final.assets[order]
    found = []
    for number in np.flatnonzero(last < recording.day.max()):
        name = str(recording.disks[number])
        if name in recording.failed:
            continue
        left = int(last[number]) * _DAY
        own = final.where(order[np.searchsorted(names, name) : np.searchsorted(names, name, side="right")])
        labels = Counter(own.labels.tolist())
        fate = Fate(
            disk=name,
            last=left,
            examples=int(counts[number]),
            negative=labels[0],
            censored=labels[-1],
            pending=int(counts[number]) - len(own),
            positive=labels[1],
            unseen=int(((own.labels == 0) & (own.times + horizon > left)).sum()),
        )
        found.append(fate)
    return sorted(found, key=lambda fate: (fate.last, fate.disk))


def listing(found: Sequence[Fate]) -> Iterable[Table | str]:
    """The disks that left, one a row, and their number by fate."""
    view = Table(title=f"{len(found)} disks that left without a failure", title_justify="left")
    for heading in ("disk", "last day", "fate"):
        view.add_column(heading, no_wrap=True)
    headings = ("examples", "negative", "censored", "pending")
    for heading in headings:
        view.add_column(heading, justify="right")
    for fate in found:
        numbers = (f"{getattr(fate, heading):,}" for heading in headings)
        view.add_row(fate.disk, format_instant(fate.last)[:10], fate.fate, *numbers)
    yield view
    by_fate = ", ".join(f"{count} {name}" for name, count in sorted(Counter(f.fate for f in found).items()))
    yield f"Of these disks: {by_fate}. A disk is pending while its silence is shorter than idle_timeout."


def main(arguments: list[str] | None = None) -> None:
    """Command line: the output folder of a run, and its recording."""
    parser = argparse.ArgumentParser(description="A run's models on disks beside models retrained every day.")
    parser.add_argument("output", type=Path, help="the run's output folder")
    parser.add_argument("--recording", type=Path, required=True, help="made by examples/backblaze/reader.py")
    parser.add_argument("--target", default="disk/failure/7d")
    parser.add_argument("--from", dest="start", default=START, help="first example, RFC 3339")
    parser.add_argument("--to", dest="end", default=END, help="last example, RFC 3339")
    parser.add_argument("--label-delay", default="0s", help="of the target")
    parser.add_argument("--resamples", type=int, default=200, help="of the bootstrap over disks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--served", action="store_true", help="without the models retrained every day")
    given = parser.parse_args(arguments)

    horizon = parse_duration(given.target.rpartition("/")[2])
    try:
        evaluations = load_evaluations(given.output / "evaluations.jsonl")
        recording = read(given.recording)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    evaluations = evaluations.where(evaluations.targets == given.target)
    if not len(evaluations):
        parser.exit(1, f"{given.output} holds no evaluations of {given.target}\n")
    found = fates(evaluations, recording, horizon)
    span = parse_instant(given.start), parse_instant(given.end)
    settle = horizon + parse_duration(given.label_delay)
    entries = served(
        evaluations,
        recording,
        settle,
        span,
        baselines={} if given.served else BASELINES,
        resamples=given.resamples,
        seed=given.seed,
    )
    if given.json:
        for row in (*entries, *found):
            sys.stdout.buffer.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        return
    heading = f"Examples of {given.start} to {given.end}; 95 % intervals over disks"
    Console().print(heading, *tables(entries), *listing(found))


if __name__ == "__main__":
    main()
