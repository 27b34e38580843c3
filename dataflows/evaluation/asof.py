"""What was known at an instant: the rows that a run had written by then, and what they amount to.

Every row says on what it was based. So the past can be asked without a store of its own: a row belongs to the
knowledge of an instant if the arrival on which it rests is not later. In recordings without arrivals the
knowledge time is the largest event time so far.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dataflows.evaluation.reading import whole_rows
from dataflows.instants import parse_instant
from dataflows.outputs import OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["Cut", "Known", "known_at", "rows_known"]

#: Outputs whose rows tell how knowledge went on.
_CLOCKS = ("predictions", "evaluations", "examples", "metrics", "late", "rejects", "changes")


@dataclass(frozen=True, slots=True)
class Cut:
    """Where knowledge ends: at an instant, or behind a record.

    Attributes:
        at: microseconds since 1970; None for a record.
        record: number of the last record; None for an instant.
    """

    at: int | None = None
    record: int | None = None


class _Clock:
    """Knowledge time by the number of a record."""

    def __init__(self, folder: Path) -> None:
        found: dict[int, int] = {}
        self.has_arrivals = True
        for output in _CLOCKS:
            for row in whole_rows(folder, output):
                arrival = row.get("arrival")
                if arrival is None and output == "predictions":
                    self.has_arrivals = False
                # Without arrivals a late event revises an earlier time, which the running maximum forgives.
                text = arrival or row.get("known") or (row.get("time") if output == "predictions" else None)
                if text is not None:
                    number = row["sequence"]
                    found[number] = max(found.get(number, 0), parse_instant(text))
        self._records = sorted(found)
        self._times, newest = [], 0
        for number in self._records:
            newest = max(newest, found[number])
            self._times.append(newest)

    def of(self, row: Mapping[str, Any]) -> int:
        """Knowledge time of a row."""
        text = row.get("arrival") or (row.get("known") if self.has_arrivals else None)
        if text is not None:
            return parse_instant(text)
        # The state of a silent asset is dropped between its record and the next.
        after = row.get("change") == "asset_dropped"
        place = bisect_right(self._records, row["sequence"]) - (0 if after else 1)
        return self._times[min(max(place, 0), len(self._times) - 1)] if self._times else 0


def rows_known(folder: Path, cut: Cut) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of every output that were written up to a cut, with the name of their output.

    Args:
        folder: folder of the outputs.
        cut: where knowledge ends.
    """
    clock = _Clock(folder) if cut.at is not None else None
    for output in OUTPUTS:
        for row in whole_rows(folder, output):
            if clock is not None and cut.at is not None:
                if clock.of(row) <= cut.at:
                    yield output, row
            elif row["sequence"] <= (cut.record or 0):
                yield output, row


@dataclass(slots=True)
class Known:
    """What the rows up to a cut amount to.

    Attributes:
        rows: number of rows by output.
        predictions: the latest of each asset and target, revisions included.
        labels: the row of each example that stands, by id of its prediction.
        champions: the latest change of champion of each target.
        challengers: names and versions of challengers, by target.
        alerts: the latest row of each alert that is open.
        alerts_opened: number of alerts that opened.
    """

    rows: dict[str, int] = field(default_factory=dict)
    predictions: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    labels: dict[str, dict[str, Any]] = field(default_factory=dict)
    champions: dict[str, dict[str, Any]] = field(default_factory=dict)
    challengers: dict[str, dict[str, int]] = field(default_factory=dict)
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)
    alerts_opened: int = 0


def known_at(folder: Path, cut: Cut) -> Known:
    """Return what was known at a cut.

    Args:
        folder: folder of the outputs.
        cut: where knowledge ends.
    """
    known = Known()
    for output, row in rows_known(folder, cut):
        known.rows[output] = known.rows.get(output, 0) + 1
        if output == "predictions":
            known.predictions[row["asset"], row["target"]] = row
        elif output == "evaluations":
            known.labels[row["id"]] = row
        elif output == "alerts":
            _add_alert(known, row)
        elif output == "changes" and row["change"] in {"champion", "challenger", "removed"}:
            _add_model(known, row)
    return known


def _add_alert(known: Known, row: dict[str, Any]) -> None:
    known.alerts_opened += row["state"] == "opened"
    if row["state"] == "cleared":
        known.alerts.pop(row["id"], None)
    else:
        known.alerts[row["id"]] = row


def _add_model(known: Known, row: dict[str, Any]) -> None:
    challengers = known.challengers.setdefault(row["target"], {})
    if row["change"] == "challenger":
        challengers[row["model"]] = row["version"]
        return
    challengers.pop(row["model"], None)
    if row["change"] == "champion":
        before = known.champions.get(row["target"])
        if before is not None:
            challengers[before["model"]] = before["version"]
        known.champions[row["target"]] = row
