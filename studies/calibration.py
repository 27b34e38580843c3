"""Whether scores hold: of the examples with a score of 0.3, do 30 % fail?

``python -m studies.calibration OUT/evaluations.jsonl --fleet FLEET`` prints, for each target and model,
the reliability table over 10 bins of equal mass and the expected calibration error (M. P. Naeini, G. F.
Cooper and M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015): the
mean gap between mean score and share of positives, by examples.

That error is never 0, not even for scores that are true probabilities, since outcomes are few: the examples
of one machine within one horizon are before the same failure, or not. So beside it stands what a *perfect
predictor* has with the same scores and the same blocks. Its labels are drawn from the scores: each asset's
examples are cut into blocks of one horizon, each block gets one number u, uniform in [0, 1], and an example
of it is positive where u < score. So every example is positive with exactly the probability that its score
says, and examples of one block share their outcome as far as their scores allow. The cut of the blocks is
moved in each draw. Given are the mean and the 95th percentile of the draws. A u that all models share makes
the comparison of models fair; blocks that are independent of each other are kind to the model that is
judged, never to the perfect one.

Of the last stretch of a recording only positives are known yet: negatives wait until their horizon and the
label delay have passed. So examples later than the last negative one are left out.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from dataflows.evaluation.figures import instant_from
from dataflows.evaluation.reading import Evaluations, labelled, load_evaluations
from dataflows.fleet import load as load_fleet
from dataflows.instants import shown_instant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Bin", "Judged", "decided", "judge", "main", "perfect", "reliability"]

BINS = 10
DRAWS = 400
#: The bar: a model's error is at most so many times that of the perfect predictor.
BAR = 2.0


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin of a reliability table."""

    examples: int
    mean_score: float
    share_positive: float


@dataclass(frozen=True, slots=True)
class Judged:
    """A model's calibration beside that of a perfect predictor with the same scores and blocks.

    Attributes:
        error: expected calibration error.
        perfect: its mean over draws of the perfect predictor's labels.
        perfect_high: their 95th percentile.
    """

    table: tuple[Bin, ...]
    error: float
    perfect: float
    perfect_high: float

    @property
    def times_perfect(self) -> float:
        """The error as a multiple of the perfect predictor's."""
        return self.error / self.perfect if self.perfect else float("inf")


def _bin_of(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number of each example's bin: equal mass by rank; equal scores lie in one bin."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2
    numbers = np.minimum((middle * BINS / len(scores)).astype(np.int64), BINS - 1)
    return np.asarray(numbers[inverse])


def _error(scores: NDArray[np.float64], labels: NDArray[np.bool_], bins: NDArray[np.int64]) -> float:
    gaps = np.bincount(bins, weights=scores - labels, minlength=BINS)
    return float(np.abs(gaps).sum() / len(scores))


def reliability(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """Mean score beside the share of positives, in bins of equal mass."""
    bins = _bin_of(scores)
    return tuple(
        Bin(int(mine.sum()), float(scores[mine].mean()), float(labels[mine].mean()))
        for mine in (bins == number for number in range(BINS))
        if mine.any()
    )


def perfect(
    scores: NDArray[np.float64],
    assets: NDArray[np.int64],
    times: NDArray[np.int64],
    *,
    horizon: int,
    draws: int = DRAWS,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Calibration errors (draws) of labels that are drawn from the scores, one number a block.

    Args:
        scores: of the examples, taken for the truth.
        assets: number of each example's asset.
        times: microseconds.
        horizon: length of a block.
        draws: how many.
        seed: the same draws for the same seed.
    """
    random = np.random.default_rng(seed)
    bins = _bin_of(scores)
    errors = np.empty(draws)
    start = int(times.min())
    for draw in range(draws):
        cut = int(random.integers(horizon))
        blocks = (times - start + cut) // horizon
        drawn = random.random((int(assets.max()) + 1, int(blocks.max()) + 1))[assets, blocks]
        errors[draw] = _error(scores, drawn < scores, bins)
    return errors


def judge(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    assets: NDArray[np.str_],
    times: NDArray[np.int64],
    *,
    horizon: int,
    draws: int = DRAWS,
) -> Judged:
    """A model's calibration, beside the perfect predictor's."""
    _, numbers = np.unique(assets, return_inverse=True)
    positive = labels == 1
    errors = perfect(scores, numbers.astype(np.int64), times, horizon=horizon, draws=draws)
    return Judged(
        reliability(scores, positive),
        _error(scores, positive, _bin_of(scores)),
        float(errors.mean()),
        float(np.quantile(errors, 0.95)),
    )


def decided(rows: Evaluations) -> Evaluations:
    """Labelled rows up to the last negative one, without those that are censored."""
    negatives = rows.times[rows.labels == 0]
    last = int(negatives.max()) if len(negatives) else 0
    return rows.where((rows.labels >= 0) & (rows.times <= last))


def _tables(target: str, found: dict[str, Judged], shown: Sequence[str]) -> list[Table]:
    errors = Table(title=f"{target}: calibration error", title_justify="left")
    for heading in ("model", "error", "perfect", "95 % of perfect <", "error / perfect"):
        errors.add_column(heading, justify="left" if heading == "model" else "right")
    for model, judged in found.items():
        met = judged.times_perfect <= BAR
        errors.add_row(
            model,
            f"{judged.error:.5f}",
            f"{judged.perfect:.5f}",
            f"{judged.perfect_high:.5f}",
            f"{judged.times_perfect:.2f}",
            style=None if met else "red",
        )
    bins = Table(title=f"{target}: reliability", title_justify="left")
    for heading in ("model", "examples", "mean score", "share positive"):
        bins.add_column(heading, justify="left" if heading == "model" else "right")
    for model in shown:
        for row in found[model].table:
            bins.add_row(model, f"{row.examples:,}", f"{row.mean_score:.4f}", f"{row.share_positive:.4f}")
        bins.add_section()
    return [errors, bins]


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Reliability and calibration error of a run.")
    parser.add_argument("evaluations", type=Path)
    parser.add_argument("--fleet", type=Path, required=True, help="the fleet.toml of the run")
    parser.add_argument("--from", dest="start", help="RFC 3339, or a share of the span [figures_from]")
    parser.add_argument("--labels", choices=("first", "final"), default="final")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument(
        "--all", action="store_true", help="reliability of every model, not the published one"
    )
    given = parser.parse_args(arguments)
    try:
        fleet, rows = load_fleet(given.fleet), load_evaluations(given.evaluations)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    console = Console()
    for name in sorted(set(rows.targets)):
        mine = rows.where(rows.targets == name)
        since = fleet.figures_from if given.start is None else instant_from(mine.times, given.start)
        if since is not None:
            mine = mine.where(mine.times >= since)
            console.print(f"{name}: examples from {shown_instant(since)} on, {given.labels} labels")
        mine = decided(labelled(mine, given.labels))
        horizon = fleet.targets[str(name)].horizon
        found = {}
        for model, scores in mine.by_model().items():
            has = ~np.isnan(scores)
            kept = mine.where(has)
            found[model] = judge(
                scores[has], kept.labels, kept.assets, kept.times, horizon=horizon, draws=given.draws
            )
        failures = len(set(_failures(mine.assets, mine.times, mine.labels, horizon)))
        console.print(
            f"{len(mine):,} examples, {int((mine.labels == 1).sum()):,} positive, {failures:,} failures"
        )
        console.print(*_tables(str(name), found, list(found) if given.all else list(found)[:1]))


def _failures(
    assets: NDArray[np.str_], times: NDArray[np.int64], labels: NDArray[np.int64], horizon: int
) -> list[tuple[str, int]]:
    """Runs of positives of one asset, no longer than a horizon: each is before one failure."""
    found: list[tuple[str, int]] = []
    order = np.lexsort((times, assets))
    for index in order[labels[order] == 1]:
        asset, time = str(assets[index]), int(times[index])
        if not found or found[-1][0] != asset or time - found[-1][1] > horizon:
            found.append((asset, time))
    return found


if __name__ == "__main__":
    main()
