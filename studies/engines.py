"""Every subset of C-MAPSS as a stream, each run once with the same catalogue: figures as served.

``python -m studies engines FOLDER`` reads ``train_FD001.txt`` to ``train_FD004.txt`` of a folder with NASA's
files, makes a recording of each under the rules of ``examples/cmapss/README.md``, runs
``examples/cmapss/fleet.toml`` over it and shows the figures of the models, those before 20 % of the time span
left out. Nothing is fitted to a subset beforehand.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from rich.console import Console
from rich.table import Table

from dataflows.evaluation.figures import compare
from dataflows.evaluation.reading import PUBLISHED, load_evaluations
from examples.cmapss import reader
from studies.quality import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dataflows.evaluation.figures import Entry

__all__ = ["SUBSETS", "figures_of", "main"]

SUBSETS = ("FD001", "FD002", "FD003", "FD004")


def figures_of(subset: str, source: Path, fleet: Path, folder: Path, resamples: int) -> list[Entry]:
    """Run a catalogue over a subset; return the figures under first labels, of what was published first.

    Args:
        subset: such as ``FD001``.
        source: folder with NASA's files, plain or gzipped.
        fleet: the ``fleet.toml``.
        folder: where the recording and the outputs go.
        resamples: of the bootstrap over engines.

    Raises:
        FileNotFoundError: the source has no such subset.
        subprocess.CalledProcessError: the run failed; its own message is on standard error.
    """
    recording, output = folder / f"{subset}.jsonl", folder / subset
    reader.write(reader.read(reader.find(source, subset)), recording)
    run(fleet, recording, output)
    entries = compare(load_evaluations(output / "evaluations.jsonl"), "20%", resamples=resamples)
    first = [entry for entry in entries if entry.labels == "first"]
    return sorted(first, key=lambda entry: (entry.model != PUBLISHED, entry.figures.log_loss))


def _cells(entry: Entry) -> Iterator[str]:
    found, intervals = entry.figures, entry.intervals
    for name in ("roc_auc", "pr_auc", "log_loss"):
        low, high = intervals[name]
        yield f"{getattr(found, name):.4f} ({low:.4f} to {high:.4f})"


def _table(found: Mapping[str, list[Entry]]) -> Table:
    table = Table("subset", "examples", "positive", "model", "ROC AUC", "PR AUC", "log loss", title="C-MAPSS")
    for subset, entries in found.items():
        for entry in entries:
            counts = f"{entry.figures.examples:,}", f"{entry.figures.positives:,}"
            table.add_row(subset, *counts, entry.model, *_cells(entry))
    return table


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="The subsets of C-MAPSS, each run with one catalogue.")
    parser.add_argument("folder", type=Path, help="where train_FD001.txt (or .txt.gz) and so on lie")
    parser.add_argument("--subsets", nargs="+", choices=SUBSETS, default=SUBSETS)
    parser.add_argument("--fleet", type=Path, default=Path("examples/cmapss/fleet.toml"))
    parser.add_argument("--resamples", type=int, default=200, help="of the bootstrap over engines")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)
    found: dict[str, list[Entry]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for subset in given.subsets:
            found[subset] = figures_of(subset, given.folder, given.fleet, Path(folder), given.resamples)
            for entry in found[subset] if given.json else ():
                row = {"subset": subset, "entry": entry}
                sys.stdout.buffer.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
                sys.stdout.buffer.flush()
    if not given.json:
        Console().print(_table(found))


if __name__ == "__main__":
    main()
