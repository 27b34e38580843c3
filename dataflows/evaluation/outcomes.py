"""Compare alerts with failures: the effect of other thresholds on the scores of a run.

Every published score is replayed through the alert book of the stream, since alerts open on every score, not
only on those of examples.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dataflows.connectors.file_sink import files_of
from dataflows.evaluation.reading import EVALUATIONS, PREDICTIONS, RowError
from dataflows.fleet.fleet import CLEAR_SHARE, Alert
from dataflows.instants import MICROSECONDS
from dataflows.target.alerts import AlertBook

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from dataflows.fleet.fleet import Fleet, Target

__all__ = ["CANDIDATES", "Labels", "Outcome", "Scored", "outcomes", "read_labels", "read_scores"]

#: Number of thresholds to try, quantiles of the scores.
CANDIDATES = 60


@dataclass(frozen=True, slots=True)
class Scored:
    """One score that was served.

    Attributes:
        asset: its asset.
        time: of the telemetry.
        score: as it was published.
        failure: time of the failure within the horizon; None without one.
        known: whether the outcome is known; False if maintenance came first, or the recording ends too early.
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
    """Effect of one threshold.

    Attributes:
        threshold: least score at which an alert opens.
        opened: number of alerts with a known outcome.
        false: number of these without a failure within the horizon.
        failures: failures with a score within the horizon before them.
        warned: failures with an alert open at least ``lead`` before them.
        asset_days: days with scores of known outcome, over all assets.
        days: the same, each day of the calendar once.
    """

    threshold: float
    opened: int
    false: int
    failures: int
    warned: int
    asset_days: float
    days: float = 0.0

    @property
    def false_per_asset_day(self) -> float:
        """False alarms an asset and day."""
        return self.false / self.asset_days if self.asset_days else 0.0

    @property
    def opened_per_week(self) -> float:
        """Alerts a week in the whole fleet: the number of inspections.

        >>> Outcome(0.3, 20, 11, 12, 9, asset_days=700.0, days=70.0).opened_per_week
        2.0
        """
        return self.opened / self.days * 7 if self.days else 0.0

    @property
    def precision(self) -> float | None:
        """Share of alerts followed by a failure; None without alerts."""
        return 1 - self.false / self.opened if self.opened else None

    def cost(self, false_alarm: float, missed: float, repair: float = 0.0) -> float:
        """Return the cost of the threshold, with a planned repair for each failure that it warned of."""
        return self.false * false_alarm + self.warned * repair + (self.failures - self.warned) * missed


class Labels:
    """Outcomes of the examples of one target, by asset.

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
    """Read what came of the examples under final labels, by target of the fleet.

    Args:
        path: the evaluations.
        fleet: the fleet.

    Raises:
        RowError: a line is no evaluation.
        FileNotFoundError: there are no evaluations.
    """
    final: dict[str, tuple[int, str, tuple[str, int, str, int | None]]] = {}
    for row in EVALUATIONS.rows(path):
        known = final.get(row.id)
        if known is None or known[0] <= row.correction:
            final[row.id] = row.correction, row.target, (row.asset, row.instant, row.label, row.failure)
    targets: dict[str, list[tuple[str, int, str, int | None]]] = defaultdict(list)
    for _, target, example in final.values():
        targets[target].append(example)
    return {
        name: Labels(found, fleet.classes[fleet.targets[name].asset_class].example_every)
        for name, found in sorted(targets.items())
        if name in fleet.targets
    }


def read_scores(path: Path, fleet: Fleet, labels: Mapping[str, Labels]) -> dict[str, list[Scored]]:
    """Read every score of a model, published or revised, by target, in the order in which it was served.

    What a prior answered is left out, as it opens no alert.

    Args:
        path: the predictions.
        fleet: what is before its ``figures_from`` is left out.
        labels: what came of the examples, by target.

    Raises:
        RowError: a line is no prediction, or there are none.
    """
    targets: dict[str, list[Scored]] = defaultdict(list)
    row = None
    for row in PREDICTIONS.rows(path) if files_of(path) else ():
        if row.link == "prior" or row.target not in labels:
            continue
        if fleet.figures_from is None or row.instant >= fleet.figures_from:
            horizon = fleet.targets[row.target].horizon
            failure, known = labels[row.target].of(row.asset, row.instant, horizon)
            targets[row.target].append(
                Scored(row.asset, row.instant, row.score, failure, known, row.revision)
            )
    if row is None:
        msg = f"{path}: no predictions; alerts open on every score, so those of the same run are needed"
        raise RowError(msg)
    return targets


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
    shares = 1 - np.geomspace(0.5, 1 / max(len(scored), 2), CANDIDATES)
    candidates = np.unique(np.round(np.quantile(scores, shares), 4))
    alert = target.alert or Alert(target.threshold, target.threshold * CLEAR_SHARE, 0, 1.0)
    assets: dict[str, list[Scored]] = defaultdict(list)
    for each in scored:
        assets[each.asset].append(each)
    failures = {(each.asset, each.failure) for each in scored if each.failure is not None}
    days = {(each.asset, each.time // MICROSECONDS["d"]) for each in scored if each.known}
    calendar = float(len({day for _, day in days}))
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
            found.append(Outcome(float(at), opened, false, len(failures), warned, float(len(days)), calendar))
    return found


def _alerts(book: AlertBook, lived: Iterable[Scored], lead: int) -> tuple[int, int, int]:
    """Alerts, false ones, and failures warned of in time, of one asset."""
    opened = false = 0
    warned: set[int] = set()
    failure: int | None = None
    for scored in lived:
        if failure is not None and scored.time >= failure:
            book.clear(scored.asset, failure, "failure")
        failure = scored.failure
        moves = book.score(scored.asset, scored.time, scored.score, scored.revision)
        if scored.known and any(move.state == "opened" for move in moves):
            opened += 1
            false += failure is None
        if failure is not None and failure - scored.time >= lead and book.is_open(scored.asset):
            warned.add(failure)
    return opened, false, len(warned)
