"""How good the online models are: a run's evaluations beside classifiers retrained in batches.

``python -m studies.quality RECORDING`` runs the dataflow over a recording, then gives classifiers of
scikit-learn the very feature vectors that were served. Every 100 hours they are trained from nothing on all
examples whose labels were known by then, and score the examples of the next 100 hours: the usual "retrain in
batches" service at its best, since training takes no time. Both sides know the same at the same time: an
example can be learned once its label is known and its horizon has passed, whether it is positive or negative.

``--horizons 24h 48h`` runs every target with these horizons instead of its own; they agree.
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
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import tomlkit
from rich.console import Console
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from dataflows.evaluation.figures import Entry, bootstrap, compare, figures, instant_from, tables
from dataflows.evaluation.reading import Evaluations, labelled, load_evaluations
from dataflows.fleet import load as load_fleet
from dataflows.instants import HOUR
from dataflows.scoring import running_prior

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dataflows.fleet import Target

__all__ = ["BATCH", "batch_scores", "main", "run", "with_horizons"]

_EVERY = 100 * HOUR


def _filled() -> Any:  # noqa: ANN401 - scikit-learn has no types
    return SimpleImputer(keep_empty_features=True)


#: What makes a fresh batch model, by its name.
BATCH: dict[str, Callable[[], Any]] = {
    "boosting": lambda: HistGradientBoostingClassifier(random_state=0),
    "logistic": lambda: make_pipeline(_filled(), StandardScaler(), LogisticRegression(max_iter=300)),
    "forest": lambda: make_pipeline(
        _filled(), RandomForestClassifier(n_estimators=100, min_samples_leaf=5, random_state=0)
    ),
}


def with_horizons(fleet: Path, horizons: Sequence[str]) -> str:
    """Return the fleet.toml with these horizons, which agree, in every target."""
    document: Any = tomlkit.parse(fleet.read_text(encoding="utf-8"))
    for target in document["targets"]:
        target["horizon"], target["agree"] = [*horizons], True
    return tomlkit.dumps(document)


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


def batch_scores(
    rows: Evaluations, settle: int, every: int = _EVERY, build: Callable[[], Any] = BATCH["boosting"]
) -> NDArray[np.float64]:
    """Scores for the first labels of one target by a classifier retrained every ``every`` microseconds.

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
            model = build()
            # Its threads spin while they wait for each other, which makes it many times slower on busy cores.
            with threadpool_limits(limits=1):
                model.fit(known.features, known.labels)
                scores[asked] = model.predict_proba(examples.features[asked])[:, 1]
        else:
            scores[asked] = running_prior(positives, len(known))
    return scores


def baseline(
    evaluations: Evaluations,
    target: Target,
    start: str | None,
    batch: tuple[str, int],
    *,
    resamples: int,
    seed: int,
) -> Entry:
    """A baseline of one target, over the same examples and under the same labels as the run's models.

    ``batch`` is its name in `BATCH`, and the microseconds from one training to the next.
    """
    name, every = batch
    rows = evaluations.where(evaluations.targets == target.name)
    scores = batch_scores(rows, target.horizon + target.label_delay, every, BATCH[name])
    chosen = labelled(rows, "first")
    if start is not None:
        counted = chosen.times >= instant_from(rows.times, start)
        chosen, scores = chosen.where(counted), scores[counted]
    return Entry(
        target=target.name,
        labels="first",
        model=f"{name}, every {every / HOUR:g} h",
        figures=figures(chosen.labels, scores),
        intervals=bootstrap(chosen.labels, scores, chosen.assets, resamples=resamples, seed=seed),
    )


def main(arguments: list[str] | None = None) -> None:
    """Command line: one recording, one table."""
    parser = argparse.ArgumentParser(description="A run's models beside classifiers retrained in batches.")
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
    parser.add_argument("--batch", nargs="+", choices=[*BATCH], default=["boosting"])
    parser.add_argument("--every", type=float, default=_EVERY / HOUR, help="hours between two trainings")
    parser.add_argument("--horizons", nargs="+", help="of every target, instead of its own")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)

    seconds = None
    with tempfile.TemporaryDirectory() as folder:
        file, output = given.fleet, Path(folder) / "out"
        if given.horizons is not None:
            file = Path(folder) / given.fleet.name
            file.write_text(with_horizons(given.fleet, given.horizons), encoding="utf-8")
        fleet = load_fleet(file)
        if given.evaluations is None:
            seconds = run(file, given.recording, output)
        evaluations = load_evaluations(given.evaluations or output / "evaluations.jsonl", features=True)
    settings = {"resamples": given.resamples, "seed": given.seed}
    entries = [e for e in compare(evaluations, given.start, **settings) if e.labels == "first"]
    targets = sorted({entry.target for entry in entries})
    every = round(given.every * HOUR)
    entries += [
        baseline(evaluations, fleet.targets[name], given.start, (batch, every), **settings)
        for name in targets
        for batch in given.batch
    ]
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
