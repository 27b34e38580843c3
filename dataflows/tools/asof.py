"""``python -m dataflows asof``: what was known at an instant, from the outputs of a run."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from dataflows.evaluation.asof import Cut, Known, known_at, rows_known
from dataflows.evaluation.parquet import write_parquet
from dataflows.instants import parse_instant, shown_instant
from dataflows.tools.tables import plain_table, show_either

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

__all__ = ["AsOfError", "cut_at", "show_asof"]

_SHOWN = 12


class AsOfError(ValueError):
    """What was known cannot be shown; the message says why."""


def cut_at(when: str) -> Cut:
    """Return where knowledge ends.

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


def show_asof(
    folder: Path, cut: Cut, console: Console, *, as_json: bool = False, parquet: Path | None = None
) -> None:
    """Print what was known, or write the rows that were known.

    Args:
        folder: folder of the outputs.
        cut: where knowledge ends.
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
        model = row["model"] if row["link"] == "class" else row["link"]
        table.add_row(
            row["asset"] + mark,
            row["target"],
            row["time"][:16],
            f"{model} {row['version']}",
            f"{row['score']:.3f}",
            str(row["revision"]),
        )
    console.print(table)
