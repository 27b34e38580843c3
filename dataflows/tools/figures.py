"""``python -m dataflows figures``: figures of a run with intervals, from its evaluations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflows.connectors.file_sink import files_of
from dataflows.evaluation.figures import compare, tables
from dataflows.evaluation.reading import load_evaluations
from dataflows.instants import shown_instant
from dataflows.tools.tables import show_either

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

__all__ = ["FiguresError", "show_figures"]


class FiguresError(ValueError):
    """Figures cannot be computed from these arguments or files."""


def show_figures(
    folder: Path, console: Console, *, start: str | None, resamples: int, seed: int, as_json: bool
) -> None:
    """Print the figures of every target and model of a run, under first and final labels.

    Args:
        folder: of the outputs.
        console: where the tables are printed.
        start: examples before it are left out: RFC 3339, or a share of the span of example times (``20%``).
        resamples: of the bootstrap over assets.
        seed: of the bootstrap; the same seed gives the same intervals.
        as_json: write one JSON object a line to standard output instead of tables.

    Raises:
        FiguresError: the folder has no evaluations, ``start`` is neither, or an id has two rows with the same
            correction.
        RowError: a line is no evaluation, or there are none.
    """
    path = folder / "evaluations.jsonl"
    if not files_of(path):
        msg = f"{path} does not exist; name the folder of the outputs of a run"
        raise FiguresError(msg)
    evaluations = load_evaluations(path)
    try:
        entries = compare(evaluations, start, resamples=resamples, seed=seed)
    except ValueError as error:
        raise FiguresError(str(error)) from error

    def as_text() -> None:
        times = evaluations.times
        first, last = shown_instant(int(times.min())), shown_instant(int(times.max()))
        left_out = f", those before {start} left out" if start else ""
        console.print(
            f"Examples of {first} to {last}{left_out}; 95 % intervals over assets", *tables(entries)
        )

    show_either(console, entries, as_text, as_json=as_json)
