"""What the same prediction costs, written by hand on Bytewax and River.

``python -m benchmarks.by_hand`` runs three programs in turn over one recording of `benchmarks.speed`, with
50 and with 1,000 assets, each in a process of its own, with recovery on:

- *by hand*: `benchmarks.by_hand_job`, as a careful user writes it: features as dicts, River for every event;
- *ours*: the same class, windows, target and model (StandardScaler | LogisticRegression on 124 features), in
  batches as the source chooses them;
- *floor*: the least that a keyed Bytewax program does, of `benchmarks.speed`.

Both predict the same, and that is checked. First on a short recording in source batches of one record, where
models learn in one order: every score agrees to 1e-6. Then on every recording that is timed: assets and times
of predictions, the examples and their labels are equal, features as served agree to 1e-6 of the largest
reading in their window or its slope. Scores must differ there, and the figures say by how much: by hand, the
records of a source batch reach the model asset by asset, so that it learns in another order at every batch
size, while ours follows the order of the records.

Times are those of the processor, from when the source read the first timed batch until everything is
committed. Ratios are of runs of one pair; the median of pairs is shown.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from bytewax.connectors.files import FileSource
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from rich.console import Console
from rich.table import Table

from benchmarks import speed
from benchmarks.by_hand_job import job
from dataflows.instants import parse_instant
from dataflows.recovery.store import PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bytewax.inputs import StatefulSourcePartition

__all__ = ["Agreement", "agreement", "by_hand", "check", "main"]

#: Numbers of assets; an asset sends a record a minute, and a recording has so many timed records.
ASSETS, RECORDS = (50, 1_000), 180_000
#: What agrees in one order of learning: scores, and features relative to their largest value.
SAME = 1e-6
#: One model and no challengers; a positive is learned when it is known, as the job does.
FLEET = (
    speed.FLEET.replace("batch = 1000\n", "")
    .replace('models = ["linear", "bayes", "prior"]', 'models = ["linear"]\nlearn_positives = "at_once"')
    .replace('features = ["*:mean:24h", "*:std:24h"]\n', "")
)

#: What one example was: its label and its features.
Example = tuple[bool, dict[str, float]]


class _CountedSource(FileSource):
    """Bytewax's own source of lines, whose batches a clock counts."""

    def __init__(self, path: Path, batch: int, clock: speed.Clock) -> None:
        super().__init__(path, batch)
        self._clock = clock

    def build_part(
        self, step_id: str, for_part: str, resume_state: int | None
    ) -> StatefulSourcePartition[str, int]:
        """Open the file; each batch is counted."""
        part = super().build_part(step_id, for_part, resume_state)
        read, clock = part.next_batch, self._clock

        def next_batch() -> list[str]:
            lines = list(read())
            clock.records += len(lines)
            return lines

        part.next_batch = next_batch  # type: ignore[method-assign]
        return part


def by_hand(folder: Path, warm: int, epoch: timedelta, batch: int = speed.BATCH) -> speed.Measured:
    """Time the job by hand over ``recording.jsonl`` in a folder."""
    clock = speed.Clock(warm)
    out, store = folder / "out", folder / "recovery"
    out.mkdir()
    store.mkdir()
    init_db_dir(store, PARTITIONS)
    dataflow = job(_CountedSource(folder / "recording.jsonl", batch, clock), out)
    cli_main(dataflow, epoch_interval=epoch, recovery_config=RecoveryConfig(store))
    return clock.result()


class Outputs(NamedTuple):
    """What a run gave, by asset and time in seconds."""

    scores: dict[tuple[str, float], float]
    examples: dict[tuple[str, float], Example]


class Agreement(NamedTuple):
    """How two runs over one recording agree, whose predictions, examples and labels are the same.

    Attributes:
        predictions: number of them.
        examples: number of labels.
        score: largest difference of two scores.
        mean_score: mean difference of two scores, without sign.
        feature: largest difference of a feature, relative to its largest value.
        losses: mean log loss of the scores as served, of both.
    """

    predictions: int
    examples: int
    score: float
    mean_score: float
    feature: float
    losses: tuple[float, float]


def _rows(folder: Path, output: str) -> Iterator[dict[str, Any]]:
    with (folder / "out" / f"{output}.jsonl").open("rb") as lines:
        yield from map(orjson.loads, lines)


def outputs_by_hand(folder: Path) -> Outputs:
    """Read what the job gave."""
    scores = {(row["asset"], row["time"]): row["score"] for row in _rows(folder, "predictions")}
    examples = {
        (row["asset"], row["time"]): (row["label"], row["features"]) for row in _rows(folder, "evaluations")
    }
    return Outputs(scores, examples)


def outputs_of_ours(folder: Path) -> Outputs:
    """Read what our run gave."""

    def key(row: dict[str, Any]) -> tuple[str, float]:
        return row["asset"], parse_instant(row["time"]) / 1e6

    scores = {key(row): row["score"] for row in _rows(folder, "predictions")}
    features = {key(row): row["features"] for row in _rows(folder, "examples")}
    labels = {key(row): row["label"] == "positive" for row in _rows(folder, "evaluations")}
    return Outputs(scores, {at: (label, features[at]) for at, label in labels.items()})


def agreement(hand: Outputs, ours: Outputs) -> Agreement:
    """Compare two runs.

    Raises:
        AssertionError: predictions, examples, labels or features are not the same.
    """
    assert hand.scores.keys() == ours.scores.keys(), "other predictions"
    assert hand.examples.keys() == ours.examples.keys(), "other examples"
    wrong = [key for key, (label, _) in hand.examples.items() if ours.examples[key][0] is not label]
    assert not wrong, f"other labels: {wrong[:3]}"
    feature = _largest_difference(hand, ours)
    assert feature < SAME, f"a feature differs by {feature:.1e} of its largest value"
    differences = [abs(score - ours.scores[key]) for key, score in hand.scores.items()]
    return Agreement(
        len(differences),
        len(hand.examples),
        max(differences),
        statistics.fmean(differences),
        feature,
        (_loss(hand), _loss(ours)),
    )


def _largest_difference(hand: Outputs, ours: Outputs) -> float:
    apart: dict[str, float] = {}
    largest: dict[str, float] = {}
    for key, (_, features) in hand.examples.items():
        others = ours.examples[key][1]
        # Ours writes a missing value as null; by hand it is not there.
        given = {name for name, value in others.items() if value is not None}
        assert features.keys() == given, f"other features at {key}: {features.keys() ^ given}"
        for name, value in features.items():
            apart[name] = max(apart.get(name, 0.0), abs(value - others[name]))
            largest[name] = max(largest.get(name, 0.0), abs(value))
    return max((each / (largest[name] or 1.0) for name, each in apart.items()), default=0.0)


def _loss(run: Outputs) -> float:
    """Return the mean log loss of the examples' scores as served."""
    losses = [
        -math.log(min(max(run.scores[key] if label else 1 - run.scores[key], 1e-4), 1 - 1e-4))
        for key, (label, _) in run.examples.items()
    ]
    return statistics.fmean(losses)


def _prepare(folder: Path, recording: Path, fleet: str) -> Path:
    folder.mkdir()
    (folder / "recording.jsonl").symlink_to(recording)
    (folder / "fleet.toml").write_text(fleet)
    return folder


def check(folder: Path, assets: int = 40, hours: int = 3) -> Agreement:
    """Compare both on a short recording in source batches of one record.

    Args:
        folder: of its own.
        assets: of the recording.
        hours: of it after the warm-up.

    Raises:
        AssertionError: they do not give the same.
    """
    recording = folder / "recording.jsonl"
    warm = speed.record(recording, hours, assets=assets)
    fleet = FLEET.replace("[input]\n", "[input]\nbatch = 1\n")
    hand, ours = (_prepare(folder / what, recording, fleet) for what in ("by hand", "ours"))
    epoch = timedelta(seconds=10)
    by_hand(hand, warm, epoch, batch=1)
    speed.ours(ours, warm, epoch)
    found = agreement(outputs_by_hand(hand), outputs_of_ours(ours))
    assert found.score < SAME, f"a score differs by {found.score:.1e}"
    return found


PROGRAMS = {"by hand": by_hand, "ours": speed.ours, "floor": speed.floor}


def measure(assets: int, records: int, pairs: int, epoch: float) -> dict[str, Any]:
    """Return µs of processor time an event of each program by pair, and how the first pair agrees."""
    used: dict[str, list[float]] = {what: [] for what in PROGRAMS}
    agreed: Agreement | None = None
    with tempfile.TemporaryDirectory() as name:
        recording = Path(name) / "recording.jsonl"
        warm = speed.record(recording, max(2, round(records / assets / 60)), assets=assets)
        for pair in range(pairs):
            with tempfile.TemporaryDirectory(dir=name) as place:
                # In turn, so that a drift of the machine favours neither.
                for what in sorted(PROGRAMS, reverse=bool(pair % 2)):
                    folder = _prepare(Path(place) / what, recording, FLEET)
                    run = speed.measured("benchmarks.by_hand", what, folder, warm, epoch)
                    used[what].append(run["processor"] / run["events"] * 1e6)
                if agreed is None:
                    agreed = agreement(
                        outputs_by_hand(Path(place) / "by hand"), outputs_of_ours(Path(place) / "ours")
                    )
    assert agreed is not None, "there was no pair"
    hand, ours, floor = (used[what] for what in ("by hand", "ours", "floor"))
    return {
        "assets": assets,
        "used": used,
        "median": {what: statistics.median(each) for what, each in used.items()},
        "by_hand_to_ours": statistics.median(a / b for a, b in zip(hand, ours, strict=True)),
        "ours_to_floor": statistics.median(a / b for a, b in zip(ours, floor, strict=True)),
        "agreement": agreed._asdict(),
    }


def _show(found: list[dict[str, Any]], console: Console) -> None:
    columns = ("assets", "by hand, µs", "ours, µs", "floor, µs", "by hand / ours", "ours / floor")
    table = Table(*columns, title="Processor time an event, medians of pairs")
    for column in table.columns:
        column.justify = "right"
    for one in found:
        times = [f"{one['median'][what]:.1f}" for what in ("by hand", "ours", "floor")]
        ratios = [f"{one[name]:.2f}" for name in ("by_hand_to_ours", "ours_to_floor")]
        table.add_row(f"{one['assets']:,}", *times, *ratios)
    console.print(table)
    for one in found:
        same = one["agreement"]
        console.print(
            f"{one['assets']:,} assets: {same['predictions']:,} predictions and {same['examples']:,} labels "
            f"are the same, features to {same['feature']:.0e}. Scores differ by {same['mean_score']:.4f} in "
            f"the mean, by the order of learning; log loss {same['losses'][0]:.4f} by hand, "
            f"{same['losses'][1]:.4f} ours.",
            highlight=False,
        )


def main(arguments: list[str] | None = None) -> None:
    """Command line: the check, then the table."""
    parser = speed.parser_of("Cost of a job written by hand, of ours, and of the floor.", 3)
    parser.add_argument("--assets", type=int, nargs="*", default=list(ASSETS))
    parser.add_argument("--records", type=int, default=RECORDS, help="that are timed (default 180,000)")
    given = parser.parse_args(arguments)
    if given.child:
        what, folder = given.child
        speed.print_json(PROGRAMS[what](Path(folder), given.warm, timedelta(seconds=given.epoch)))
        return
    console = Console(stderr=given.json)
    with tempfile.TemporaryDirectory() as name:
        same = check(Path(name))
    console.print(
        f"In batches of one record, {same.predictions:,} scores agree to {same.score:.0e}, "
        f"{same.examples:,} labels exactly.",
        highlight=False,
    )
    found = []
    for assets in given.assets:
        with console.status(f"{assets:,} assets"):
            found.append(measure(assets, given.records, given.pairs, given.epoch))
    _show(found, console)
    if given.json:
        speed.print_json(found)


if __name__ == "__main__":
    main()
