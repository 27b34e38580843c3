"""Mixtures of the models of a run, replayed on the scores that were served.

``python -m studies experts OUTPUT ...`` reads evaluations of finished runs. Each mixture sees the examples
in the order of a run: it scores an example when that was served, and learns it once the horizon (and label
delay) have passed, in order of (time, asset), positives and negatives together. So what it would have been
worth as champion is known without another run. Every figure is over the same examples.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from dataflows.estimators import Mixture
from dataflows.evaluation.figures import figures, instant_from
from dataflows.evaluation.reading import Evaluations, labelled, load_evaluations
from dataflows.fleet import load as load_fleet

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["MIXTURES", "known_examples", "main", "replayed"]

#: The mixtures that are compared, by name.
MIXTURES: dict[str, Callable[[], Mixture]] = {
    "stack": Mixture,
    "stack, calibeating": lambda: Mixture(calibeat=100.0),
    "aggregate": lambda: Mixture(method="aggregate"),
    "aggregate, share 0.001": lambda: Mixture(method="aggregate", share=0.001),
    "aggregate, share 0.01": lambda: Mixture(method="aggregate", share=0.01),
    "aggregate, share 0.05": lambda: Mixture(method="aggregate", share=0.05),
}
_PRIOR = 0.5


def known_examples(rows: Evaluations) -> Evaluations:
    """Examples whose first label was positive or negative."""
    first = labelled(rows, "first")
    return first.where(first.labels >= 0)


def replayed(rows: Evaluations, wait: int, mixture: Mixture) -> NDArray[np.float64]:
    """Scores that a mixture of all models would have had for the first labels of one target.

    Args:
        rows: evaluations of one target.
        wait: microseconds from the time of an example until it is learned.
        mixture: new; it learns.
    """
    examples = known_examples(rows)
    order = np.lexsort((examples.assets, examples.times))
    given = [
        {name: score for name, score in zip(examples.models, row, strict=True) if np.isfinite(score)}
        for row in examples.scores.tolist()
    ]
    found = np.full(len(examples), np.nan)
    waiting = 0
    for index in order.tolist():
        while examples.times[order[waiting]] + wait < examples.times[index]:
            due = int(order[waiting])
            mixture.learn_one(given[due], bool(examples.labels[due] == 1))
            waiting += 1
        found[index] = mixture.predict_proba_one(given[index]).get(True, _PRIOR)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Mixtures of the models of a run, on the scores served.")
    parser.add_argument("outputs", type=Path, nargs="+", help="folders of outputs, or evaluations")
    parser.add_argument("--fleet", type=Path, default=Path("examples/cmapss/fleet.toml"))
    parser.add_argument(
        "--from", dest="start", default="20%", help="as of `dataflows figures` (default 20%%)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)
    fleet = load_fleet(given.fleet)
    table = Table("run", "target", "model or mixture", "ROC AUC", "PR AUC", "log loss", title="Mixtures")
    for output in given.outputs:
        path = output / "evaluations.jsonl" if output.is_dir() else output
        evaluations = load_evaluations(path)
        for name in sorted({*evaluations.targets.tolist()}):
            rows = evaluations.where(evaluations.targets == name)
            target = fleet.targets[name]
            chosen = known_examples(rows)
            counted = chosen.times >= instant_from(rows.times, given.start)
            scores = dict(zip(chosen.models, chosen.scores.T, strict=True))
            for mixture, build in MIXTURES.items():
                scores[mixture] = replayed(rows, target.horizon + target.label_delay, build())
            for model, each in scores.items():
                found = figures(chosen.labels[counted], each[counted])
                row = {"run": output.name, "target": name, "model": model, "figures": found}
                if given.json:
                    sys.stdout.buffer.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
                numbers = (found.roc_auc, found.pr_auc, found.log_loss)
                table.add_row(output.name, name, model, *(f"{number:.4f}" for number in numbers))
    if not given.json:
        Console().print(table)


if __name__ == "__main__":
    main()
