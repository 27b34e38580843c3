"""Azure's four components pooled: how much more than recent errors do the models know?

``python -m studies.azure OUT`` takes the evaluations of a run of ``examples/azure_pdm`` and gives ROC AUC,
PR AUC, log loss and Brier score over the examples of all four targets together, with 95 % intervals by
bootstrap over machines: a machine is drawn with all its examples of all components. Beside the published
scores stands ``errors_only``, which sees nothing but how often each error code came in the last 24 hours, and
the difference between the two in log loss and Brier score, under the same resamples.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from dataflows.evaluation.figures import Entry, bootstrap, figures, tables
from dataflows.evaluation.reading import PUBLISHED, Evaluations, labelled, load_evaluations
from dataflows.fleet import load as load_fleet
from dataflows.scoring import log_losses

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["difference", "main", "pooled"]

_FLEET = Path(__file__).resolve().parents[1] / "examples/azure_pdm/fleet.toml"
ERRORS = "errors_only"


def pooled(rows: Evaluations, *, resamples: int = 1000, seed: int = 0) -> list[Entry]:
    """Figures of every model over the rows of all targets, first labels."""
    chosen = labelled(rows, "first")
    title = f"{len(set(chosen.targets))} targets pooled"
    return [
        Entry(
            target=title,
            labels="first",
            model=model,
            figures=figures(chosen.labels, scores),
            intervals=bootstrap(chosen.labels, scores, chosen.assets, resamples=resamples, seed=seed),
        )
        for model, scores in chosen.by_model().items()
    ]


def difference(
    rows: Evaluations, mine: str, other: str, *, resamples: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float, float]]:
    """Log loss and Brier score of one model minus another's: over all, and the 95 % interval over assets."""
    chosen = labelled(rows, "first")
    by_model = chosen.by_model()
    has = (chosen.labels >= 0) & ~np.isnan(by_model[mine]) & ~np.isnan(by_model[other])
    labels = chosen.labels[has]
    _, codes = np.unique(chosen.assets[has], return_inverse=True)
    machines = int(codes.max()) + 1
    draws = np.random.default_rng(seed).multinomial(machines, [1 / machines] * machines, size=resamples)
    size = np.bincount(codes)
    found = {}
    for metric, loss in (("log_loss", log_losses), ("brier", _brier)):
        gaps = loss(labels, by_model[mine][has]) - loss(labels, by_model[other][has])
        sums = np.bincount(codes, weights=gaps)
        low, high = np.quantile(draws @ sums / (draws @ size), [0.025, 0.975])
        found[metric] = float(gaps.mean()), float(low), float(high)
    return found


def _brier(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((scores - labels) ** 2)


def main(arguments: list[str] | None = None) -> None:
    """Command line: the output folder of a run."""
    parser = argparse.ArgumentParser(description="The four components of Azure's machines, pooled.")
    parser.add_argument("output", type=Path, help="of a run of examples/azure_pdm")
    parser.add_argument("--fleet", type=Path, default=_FLEET, help="the fleet.toml of the run")
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstrap over machines")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        fleet, rows = load_fleet(given.fleet), load_evaluations(given.output / "evaluations.jsonl")
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    if ERRORS not in rows.models:
        parser.exit(1, f"{given.output} holds no scores of {ERRORS!r}; run {given.fleet} again\n")
    rows = rows.where(rows.times >= (fleet.figures_from or 0))
    settings = {"resamples": given.resamples, "seed": given.seed}
    console = Console()
    console.print(*tables(pooled(rows, **settings)))
    against = Table(title=f"{PUBLISHED} minus {ERRORS}; below 0 it is better", title_justify="left")
    for heading in ("", "difference", "95 % over machines"):
        against.add_column(heading, justify="right")
    for metric, (gap, low, high) in difference(rows, PUBLISHED, ERRORS, **settings).items():
        against.add_row(metric.replace("_", " "), f"{gap:+.5f}", f"{low:+.5f} to {high:+.5f}")
    console.print(against)


if __name__ == "__main__":
    main()
