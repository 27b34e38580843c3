"""``python -m dataflows asof``: what was known at an instant, from the outputs of a run.

Every row holds the arrival of the record that caused it, so the outputs are enough: a row was known at an
instant if that arrival is not later. In recordings without arrivals, the largest event time so far counts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from dataflows.evaluation.parquet import write_parquet
from dataflows.evaluation.reading import whole_rows
from dataflows.instants import parse_instant, shown_instant
from dataflows.outputs import OUTPUTS
from dataflows.tools.tables import plain_table, show_either

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from rich.console import Console

__all__ = ["AsOfError", "Cut", "Known", "cut_at", "known_at", "rows_known", "show_asof"]

_SHOWN = 12
#: Outputs whose rows give the knowledge time of a record.
_CLOCKS = ("predictions", "evaluations", "examples", "metrics", "late", "rejects", "changes")


class AsOfError(ValueError):
    """The state at an instant cannot be shown; the message says why."""


@dataclass(frozen=True, slots=True)
class Cut:
    """End of what was known: an instant, or a record.

    Attributes:
        at: microseconds since 1970; None for a record.
        record: number of the last record; None for an instant.
    """

    at: int | None = None
    record: int | None = None


def cut_at(when: str) -> Cut:
    """Parse the end of what was known.

    Args:
        when: RFC 3339 with offset, or ``#`` and the number of a record.

    Raises:
        AsOfError: it is neither.

    >>> cut_at("#120")
    Cut(at=None, record=120)
    """
    if when.startswith("#") and when[1:].isdigit():
        return Cut(record=int(when[1:]))
    try:
        return Cut(at=parse_instant(when))
    except ValueError as error:
        msg = f"{error}; or the number of a record, such as #1200"
        raise AsOfError(msg) from None


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
                # Without arrivals a late event has an earlier time; the running maximum below corrects that.
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
        """Return the knowledge time of a row."""
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
        cut: end of what was known.
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
    """State that follows from the rows up to a cut.

    Attributes:
        rows: number of rows by output.
        predictions: the latest of each asset and target, revisions included.
        labels: the latest row of each example, by id of its prediction.
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
    """Return the state at a cut.

    Args:
        folder: folder of the outputs.
        cut: end of what was known.
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


def show_asof(
    folder: Path, cut: Cut, console: Console, *, as_json: bool = False, parquet: Path | None = None
) -> None:
    """Print the state at a cut, or write the rows up to it.

    Args:
        folder: folder of the outputs.
        cut: end of what was known.
        console: for the tables.
        as_json: write every row, one JSON object a line with its ``output``, to standard output.
        parquet: a folder for one Parquet file an output.

    Raises:
        AsOfError: the folder holds no outputs, or nothing was known yet.
        ParquetError: Parquet cannot be written.
    """
    if as_json:
        rows = ({"output": output, **row} for output, row in rows_known(folder, cut))
        show_either(console, rows, lambda: None, as_json=True)
        return
    if parquet is not None:
        _write_parquet(folder, cut, parquet, console)
        return
    known = known_at(folder, cut)
    if not known.rows:
        msg = f"{folder} holds no row that was written by then"
        raise AsOfError(msg)
    _show(known, cut, console)


def _write_parquet(folder: Path, cut: Cut, to: Path, console: Console) -> None:
    to.mkdir(parents=True, exist_ok=True)
    for output, found in groupby(rows_known(folder, cut), key=itemgetter(0)):
        path = to / f"{output}.parquet"
        count = write_parquet(path, output, map(itemgetter(1), found))
        console.print(f"{path}  {count:,} rows", highlight=False, soft_wrap=True)


def _show(known: Known, cut: Cut, console: Console) -> None:
    when = f"record {cut.record:,}" if cut.at is None else shown_instant(cut.at)
    counts = ", ".join(f"{count:,} {output}" for output, count in known.rows.items())
    console.print(f"Known at {when}: {counts}.", highlight=False)
    labels = Counter((row["target"], row["label"]) for row in known.labels.values())
    corrected = Counter(row["target"] for row in known.labels.values() if row["correction"])
    models = plain_table(
        "Models and labels",
        "target",
        "champion",
        "ver-\nsion",
        "since",
        "positive",
        "negative",
        "corrected",
        text=4,
    )
    for target in sorted({*known.champions, *(target for target, _ in labels)}):
        champion = known.champions.get(target)
        models.add_row(
            target,
            "-" if champion is None else champion["model"],
            "-" if champion is None else str(champion["version"]),
            "-" if champion is None else champion["known"][:16],
            f"{labels[target, 'positive']:,}",
            f"{labels[target, 'negative']:,}",
            f"{corrected[target]:,}",
        )
    console.print(models)
    _show_scores(known, console)


def _show_scores(known: Known, console: Console) -> None:
    alerted = {(row["asset"], row["target"]) for row in known.alerts.values()}
    caption = (
        f"{len(known.alerts):,} alerts open, of {known.alerts_opened:,} that had opened. ! is an open alert."
    )
    table = plain_table(
        "Highest latest scores",
        "asset",
        "target",
        "at",
        "model",
        "score",
        "revi-\nsion",
        text=4,
        caption=caption,
    )
    rows = sorted(known.predictions.values(), key=lambda row: -row["score"])
    for row in rows[:_SHOWN]:
        mark = " !" if (row["asset"], row["target"]) in alerted else ""
        model = row["model"] if row["link"] != "prior" else row["link"]
        table.add_row(
            row["asset"] + mark,
            row["target"],
            row["time"][:16],
            f"{model} {row['version']}",
            f"{row['score']:.3f}",
            str(row["revision"]),
        )
    console.print(table)
