"""How good the online models are: a run's evaluations beside gradient boosting retrained in batches.

``python -m studies.quality RECORDING`` runs the dataflow over a recording, then gives scikit-learn's
histogram gradient boosting the very feature vectors that were served. Every 100 hours it is trained from
nothing on all examples whose labels were known by then, and scores the examples of the next 100 hours: the
usual "retrain in batches" service at its best, since training takes no time. Both sides know the same at
the same time: an example can be learned once its label is known and its horizon has passed, whether it is
positive or negative.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson
from rich.console import Console
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from dataflows.evaluation.figures import Entry, bootstrap, compare, figures, instant_from, tables
from dataflows.evaluation.reading import Evaluations, labelled, load_evaluations
from dataflows.fleet import load as load_fleet
from dataflows.instants import HOUR
from dataflows.scoring import running_prior

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataflows.fleet import Target

__all__ = ["BATCH_MODEL", "batch_scores", "main", "run"]

#: The name of the batch baseline in the table.
BATCH_MODEL = "boosting, every 100 h"
_EVERY = 100 * HOUR


def run(fleet: Path, recording: Path, output: Path) -> float:
    """Run the dataflow over a recording; returns the seconds it took.

    Raises:
        subprocess.CalledProcessError: the run failed; its own message is on standard error.
    """
    environment = {
        **os.environ,
        "FLEET_INPUT": shlex.quote(str(recording.resolve())),
        "FLEET_OUTPUT": str(output.resolve()),
    }
    started = time.perf_counter()
    # A store of its own: a study neither resumes a user's run nor leaves one behind.
    store = str(output / "recovery")
    command = [sys.executable, "-m", "dataflows", "run", str(fleet), "--recovery", store]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def batch_scores(rows: Evaluations, settle: int, every: int = _EVERY) -> NDArray[np.float64]:
    """Scores for the first labels of one target by gradient boosting retrained every ``every`` microseconds.

    At T it learns, from nothing, the examples whose label was decided and known by T and whose time +
    ``settle`` (horizon and label delay) lies before T, each under its latest label of that time. It scores
    the examples in (T, T + every]. Until both classes are known it gives the running prior.
    """
    examples = labelled(rows, "first")
    learnable = np.maximum(rows.settled, rows.times + settle + 1)
    scores = np.full(len(examples), np.nan)
    for start in range(int(examples.times.min()) - 1, int(examples.times.max()), every):
        asked = np.flatnonzero((examples.times > start) & (examples.times <= start + every))
        if not len(asked):
            continue
        known = labelled(rows.where(learnable <= start), "final")
        known = known.where(known.labels >= 0)
        positives = int(known.labels.sum())
        if 0 < positives < len(known):
            model = HistGradientBoostingClassifier(random_state=0)
            # Its threads spin while they wait for each other, which makes it many times slower on busy cores.
            with threadpool_limits(limits=1):
                model.fit(known.features, known.labels)
                scores[asked] = model.predict_proba(examples.features[asked])[:, 1]
        else:
            scores[asked] = running_prior(positives, len(known))
    return scores


def baseline(
    evaluations: Evaluations, target: Target, start: str | None, *, resamples: int, seed: int
) -> Entry:
    """The baseline of one target, over the same examples and under the same labels as the run's models."""
    rows = evaluations.where(evaluations.targets == target.name)
    scores = batch_scores(rows, target.horizon + target.label_delay)
    chosen = labelled(rows, "first")
    if start is not None:
        counted = chosen.times >= instant_from(rows.times, start)
        chosen, scores = chosen.where(counted), scores[counted]
    return Entry(
        target=target.name,
        labels="first",
        model=BATCH_MODEL,
        figures=figures(chosen.labels, scores),
        intervals=bootstrap(chosen.labels, scores, chosen.assets, resamples=resamples, seed=seed),
    )


def main(arguments: list[str] | None = None) -> None:
    """Command line: one recording, one table."""
    parser = argparse.ArgumentParser(
        description="A run's models beside gradient boosting retrained in batches."
    )
    parser.add_argument("recording", type=Path, help="the events, JSON Lines")
    parser.add_argument("--fleet", type=Path, default=Path("examples/cmapss/fleet.toml"))
    parser.add_argument(
        "--evaluations", type=Path, help="of a finished run of this recording, instead of a new run"
    )
    parser.add_argument(
        "--from", dest="start", default="20%", help="as of `dataflows figures` (default 20%%)"
    )
    parser.add_argument("--resamples", type=int, default=200, help="of the bootstrap over assets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)

    fleet = load_fleet(given.fleet)
    seconds = None
    if given.evaluations is None:
        with tempfile.TemporaryDirectory() as folder:
            seconds = run(given.fleet, given.recording, Path(folder))
            evaluations = load_evaluations(Path(folder) / "evaluations.jsonl", features=True)
    else:
        evaluations = load_evaluations(given.evaluations, features=True)
    settings = {"resamples": given.resamples, "seed": given.seed}
    entries = [e for e in compare(evaluations, given.start, **settings) if e.labels == "first"]
    targets = sorted({entry.target for entry in entries})
    entries += [baseline(evaluations, fleet.targets[name], given.start, **settings) for name in targets]
    entries.sort(key=lambda entry: entry.target)
    if given.json:
        for entry in entries:
            sys.stdout.buffer.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
        return
    took = "" if seconds is None else f"; the run took {seconds:.1f} s"
    heading = (
        f"{given.recording.name}: examples before {given.start} left out; 95 % intervals over assets{took}"
    )
    Console().print(heading, *tables(entries))


if __name__ == "__main__":
    main()
