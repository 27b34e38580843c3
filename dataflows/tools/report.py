"""``python -m dataflows report``: one page about a run, in a file that needs nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflows.report.facts import ReportError, gather
from dataflows.report.page import render

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.fleet.fleet import Fleet

__all__ = ["ReportError", "write_report"]


def write_report(
    folder: Path, fleet: Fleet | None = None, to: Path | None = None, *, assets: int = 100
) -> Path:
    """Write the report of a run, and return its path.

    Args:
        folder: folder of the outputs.
        fleet: the fleet of the run: names the recording, thresholds, advice and prices.
        to: the file; None for ``report.html`` in the folder.
        assets: number of assets with a timeline.

    Raises:
        ReportError: the folder holds no predictions.
        RowError: a line is no row of its output.
    """
    page = render(gather(folder, fleet, most=assets))
    path = folder / "report.html" if to is None else to
    path.write_text(page, encoding="utf-8")
    return path
