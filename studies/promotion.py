"""How often a challenger is promoted wrongly, and how soon a better one is promoted.

``python -m studies promotion`` simulates streams of fifty assets, each with a hidden probability of failure
that changes from one horizon to the next, 5 % on average. A label is whether the asset fails within a horizon
of 24 examples. Champion and challenger score every example; their blocks go through the test of
`dataflows.target.evidence` in two chains, as in the judge, and it is looked at after each block.

A promotion is wrong where the challenger is no better on average up to then, which is known here: both models
are compared with the true probability. Power is compared with a t test over assets that looks once, which a
judge that looks after each block cannot be; with the empirical-Bernstein e-process; and with adaptive bets,
which test a stronger hypothesis.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table
from scipy import stats

from dataflows.target.evidence import (
    STAKES,
    best_rho,
    log_empirical_bernstein,
    log_wealth,
    loss_difference,
)
from dataflows.target.judge import LATER, level_of, levels_of_former

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "KINDS",
    "Blocks",
    "judged",
    "main",
    "null",
    "passes",
    "power",
    "rollback",
    "stream",
    "upper_bound",
]

ASSETS, EXAMPLES, CELLS = 50, 24, 60
ALPHA = 0.05
#: The horizon in which a challenger that was better becomes worse.
TURN = 30
#: Wrong streams whose numbers are shown.
_SHOWN = 5
#: Share of the way to 0 or 1 by which a score is wrong.
ERROR = 0.8
#: By how much the first champion is wrong where the challenger is promoted, and then equal.
BETTER = 0.08
#: Kind of stream: what it is.
KINDS = {
    "equal": "equal in loss, and different: both wrong by as much, in directions drawn for each block",
    "autocorrelated": "as equal, with probabilities and directions that persist for many horizons",
    "delays": "as equal, with labels that come 0 to 3 horizons late, asset by asset",
    "worse, then better": "the challenger is worse at first, then better by as much",
    "reacting": "as equal, with scores that change at each failure, within a block",
    "replaced": "as equal, going on after each promotion with the models in each other's place",
    "promoted, then equal": "better at first, and promoted; then equal, in each other's place as above",
    "shocks, calendar": "rates of the whole fleet jump together, unknown to both; blocks of the whole fleet",
    "shocks, assets": "the same with blocks of assets, whose assumption does not hold",
}


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of one stream, (cells, assets).

    Attributes:
        difference: mean of loss(champion) - loss(challenger).
        worst: smallest difference that the labels could have given.
        expected: mean of the expected difference, given the scores.
    """

    difference: Floats
    worst: Floats
    expected: Floats

    def reversed(self, best: Floats) -> Blocks:
        """The same with the models in each other's place."""
        return Blocks(-self.difference, -best, -self.expected)


def upper_bound(wrong: int, streams: int) -> float:
    """The upper 95 % bound of a share, by Clopper and Pearson."""
    return 1.0 if wrong == streams else float(stats.beta.ppf(0.95, wrong + 1, streams - wrong))


def _rates(rng: np.random.Generator, cells: int, *, persistent: bool, shocks: bool) -> tuple[Floats, Floats]:
    """Probability of a failure within a horizon, (assets, cells + 1): what models can know, and the truth."""
    if persistent:
        steps = rng.normal(0, 1, (ASSETS, cells + 1))
        state = np.empty_like(steps)
        state[:, 0] = steps[:, 0]
        for cell in range(1, cells + 1):
            state[:, cell] = 0.95 * state[:, cell - 1] + math.sqrt(1 - 0.95**2) * steps[:, cell]
        known = stats.beta.ppf(stats.norm.cdf(state), 0.5, 9.5)
    else:
        known = rng.beta(0.5, 9.5, (ASSETS, cells + 1))
    known = np.minimum(known, 0.98)
    if not shocks:
        return known, known
    # The rates of all assets are multiplied in one cell of ten; models know the average only.
    shock = np.where(rng.random(cells + 1) < 0.1, 5.0, 5.0 / 9.0)
    return known, np.minimum(known * shock, 0.98)


def _labels(rng: np.random.Generator, rates: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Labels and their true probabilities, (assets, examples), and when assets failed."""
    hazard = _hazard(rates)
    failed = rng.random(hazard.shape) < -np.expm1(-hazard)
    labels = (_ahead(failed.astype(float)) > 0).astype(float)
    return labels, -np.expm1(-_ahead(hazard)), failed[:, : labels.shape[1]]


def _hazard(rates: Floats) -> Floats:
    """Rate of failures at each example."""
    return np.repeat(-np.log1p(-rates) / EXAMPLES, EXAMPLES, axis=1)


def _ahead(values: Floats) -> Floats:
    """Sum over the horizon that follows each example, but those of the last cell."""
    padded = np.concatenate([values, values[:, -1:]], axis=1)
    total = np.concatenate([np.zeros((ASSETS, 1)), np.cumsum(padded, axis=1)], axis=1)
    count = values.shape[1] - EXAMPLES
    return total[:, EXAMPLES + 1 : EXAMPLES + 1 + count] - total[:, 1 : count + 1]


def _known_ahead(known: Floats) -> Floats:
    """Probability of a failure within the horizon, as models know it."""
    return -np.expm1(-_ahead(_hazard(known)))


def _directions(rng: np.random.Generator, kind: str, cells: int, failed: NDArray[np.bool_]) -> Floats:
    """In which direction the champion is wrong, and the challenger against it; (assets, examples)."""
    if kind == "reacting":
        drawn = rng.choice([-1.0, 1.0], failed.shape)
        last = np.maximum.accumulate(np.where(failed, np.arange(failed.shape[1]), 0), axis=1)
        return np.take_along_axis(drawn, last, axis=1)
    if kind == "autocorrelated":
        turns = rng.random((ASSETS, cells)) < 0.05
        signs = rng.choice([-1.0, 1.0], (ASSETS, 1)) * np.where(np.cumsum(turns, axis=1) % 2, -1.0, 1.0)
    elif kind.startswith("shocks"):
        signs = np.broadcast_to(rng.choice([-1.0, 1.0], (1, cells)), (ASSETS, cells))
    else:
        signs = rng.choice([-1.0, 1.0], (ASSETS, cells))
    return np.repeat(signs, EXAMPLES, axis=1)


def _blocks(champion: Floats, challenger: Floats, labels: Floats, truth: Floats) -> tuple[Blocks, Floats]:
    """The blocks of one stream, and the best difference of each."""
    difference, worst = loss_difference(champion, challenger, labels, "brier")
    other, _ = loss_difference(champion, challenger, 1 - labels, "brier")
    expected = (champion - truth) ** 2 - (challenger - truth) ** 2

    def mean(values: Floats) -> Floats:
        return values.reshape(ASSETS, -1, EXAMPLES).mean(axis=2).T

    return Blocks(mean(difference), mean(worst), mean(expected)), mean(np.maximum(difference, other))


def stream(
    rng: np.random.Generator, kind: str, cells: int = CELLS, size: float = 0.0
) -> tuple[Blocks, Floats]:
    """One stream of a kind; of ``better`` and ``turning`` the champion is wrong by ``size``.

    Returns:
        Its blocks, and the best difference of each.
    """
    shocks = kind.startswith("shocks")
    known, rates = _rates(rng, cells, persistent=kind == "autocorrelated", shocks=shocks)
    labels, truth, failed = _labels(rng, rates)
    if shocks:
        truth = _known_ahead(known)
    sign = _directions(rng, kind, cells, failed)
    if kind in {"better", "turning"}:
        off = np.clip(truth + size * sign, 0.0, 1.0)
        if kind == "better":
            return _blocks(off, truth, labels, truth)
        turned = np.arange(cells * EXAMPLES) >= TURN * EXAMPLES
        return _blocks(np.where(turned, truth, off), np.where(turned, off, truth), labels, truth)
    if kind == "promoted, then equal":
        later = np.arange(cells * EXAMPLES) >= cells * EXAMPLES // 2
        apart = ERROR * np.minimum(truth, 1.0 - truth) * sign
        wrong = np.clip(truth + BETTER * sign, 0.0, 1.0)
        return _blocks(
            np.where(later, truth + apart, wrong), np.where(later, truth - apart, truth), labels, truth
        )
    off = ERROR * np.minimum(truth, 1.0 - truth) * sign
    if shocks:
        blocks, best = _blocks(truth + off, truth - off, labels, truth)
        # Directions are drawn for each cell, so that neither is better on average.
        return Blocks(blocks.difference, blocks.worst, np.zeros_like(blocks.worst)), best
    if kind == "worse, then better":
        late = np.arange(cells * EXAMPLES) >= cells * EXAMPLES // 3
        exact = np.zeros_like(off)
        return _blocks(truth + np.where(late, off, exact), truth + np.where(late, exact, off), labels, truth)
    return _blocks(truth + off, truth - off, labels, truth)


def _chain(blocks: Floats, parity: int, order: NDArray[np.intp] | None) -> Floats:
    """The blocks of the even or the odd cells, one after the other."""
    chosen = blocks[parity::2].reshape(-1)
    return chosen if order is None else chosen[order]


def passes(
    blocks: Blocks,
    level: float = ALPHA,
    test: Callable[[Floats, Floats], Floats] = log_wealth,
    delays: NDArray[np.intp] | None = None,
) -> tuple[float, float]:
    """When a challenger passes.

    Args:
        blocks: of the stream.
        level: of the comparison; a chain passes at 2 / level.
        test: log e-values of one chain.
        delays: by asset, how many horizons later its blocks enter.

    Returns:
        Horizons until then, infinite where it never passes, and the sum of expected differences up to then.
    """
    first = (math.inf, math.nan)
    cells, assets = blocks.difference.shape
    for parity in (0, 1):
        enters = np.repeat(np.arange(parity, cells, 2), assets)
        if delays is not None:
            enters = enters + np.tile(delays[:assets], len(range(parity, cells, 2)))
        order = np.argsort(enters, kind="stable")
        difference, worst = (_chain(each, parity, order) for each in (blocks.difference, blocks.worst))
        passed = test(difference, worst) >= math.log(2.0 / level)
        if passed.any():
            at = int(passed.argmax())
            when = float(enters[order][at] + 1)
            expected = float(_chain(blocks.expected, parity, order)[: at + 1].sum())
            first = min(first, (when, expected))
    return first


def passes_again(blocks: Blocks, level: float) -> tuple[float, float]:
    """When the former champion passes, by any of its comparisons; see `passes`.

    Args:
        blocks: since the change of champion.
        level: of all its comparisons together.

    Returns:
        Horizons until then, and the largest sum of expected differences of those that passed first.
    """
    whole, later = levels_of_former(level)
    found = [(0, *passes(blocks, whole))]
    for since in LATER:
        if since < len(blocks.difference):
            rest = Blocks(blocks.difference[since:], blocks.worst[since:], blocks.expected[since:])
            found.append((since, *passes(rest, later)))
    first = min(since + when for since, when, _ in found)
    return first, max((expected for since, when, expected in found if since + when == first), default=0.0)


def _calendar(blocks: Blocks) -> Blocks:
    return Blocks(
        *(each.mean(axis=1, keepdims=True) for each in (blocks.difference, blocks.worst, blocks.expected))
    )


def _replaced(blocks: Blocks, best: Floats) -> tuple[bool, bool]:
    """Whether models that change places at each promotion have one, and whether one is wrong."""
    start, era, swapped = 0, 1, False
    while start < len(blocks.difference) - 2:
        rest = Blocks(blocks.difference[start:], blocks.worst[start:], blocks.expected[start:])
        rest = rest.reversed(best[start:]) if swapped else rest
        level = level_of(ALPHA, era, 1)
        when, expected = passes(rest, level) if era == 1 else passes_again(rest, level)
        if math.isinf(when):
            break
        if expected <= 1e-12:
            return True, True
        start, era, swapped = start + int(when) + 2, era + 1, not swapped
    return era > 1, False


def judged(kind: str, number: int, cells: int = CELLS, seed: int = 0) -> tuple[bool, bool]:
    """Return whether stream ``number`` of a kind has a promotion, and whether one is wrong."""
    rng = np.random.default_rng([seed, number])
    blocks, best = stream(rng, kind, cells)
    if kind in {"replaced", "promoted, then equal"}:
        return _replaced(blocks, best)
    if kind == "shocks, calendar":
        blocks = _calendar(blocks)
    delays = rng.integers(0, 4, ASSETS) if kind == "delays" else None
    when, expected = passes(blocks, delays=delays)
    return math.isfinite(when), math.isfinite(when) and expected <= 1e-12


def null(kind: str, streams: int, cells: int = CELLS, seed: int = 0) -> tuple[int, list[int]]:
    """Return how many streams of a kind have a promotion, and the numbers of those that have a wrong one."""
    found = [judged(kind, number, cells, seed) for number in range(streams)]
    return sum(promoted for promoted, _ in found), [at for at, (_, wrong) in enumerate(found) if wrong]


def _bernstein(difference: Floats, _: Floats) -> Floats:
    """The empirical-Bernstein e-process, for differences of the whole range."""
    sums = np.cumsum(difference)
    predicted = np.minimum(np.concatenate([[0.0], sums[:-1] / np.arange(1, len(sums))]), 0.25)
    return log_empirical_bernstein(
        sums, np.cumsum((difference - predicted) ** 2), 1.25, best_rho(10 * 1.25**2, ALPHA)
    )


def _adaptive(difference: Floats, worst: Floats) -> Floats:
    """Bets by the mean and mean square so far: a test of "no better in any block"."""
    count = np.arange(1, len(difference) + 1)
    mean = np.concatenate([[0.0], (np.cumsum(difference) / (count + 1))[:-1]])
    square = np.concatenate([[0.01], ((np.cumsum(difference**2) + 0.01) / (count + 1))[:-1]])
    most = 0.5 / np.maximum(np.maximum.accumulate(-worst), 1e-12)
    result: Floats = np.cumsum(np.log1p(np.clip(mean / square, 0.0, most) * difference))
    return result


#: Tests of one chain, by name; and whether blocks are cells of the whole fleet.
TESTS: dict[str, tuple[Callable[[Floats, Floats], Floats], bool]] = {
    "fixed stakes (the judge)": (log_wealth, False),
    "fixed stakes, calendar blocks": (lambda d, w: log_wealth(d, w, STAKES), True),
    "empirical Bernstein": (_bernstein, False),
    "adaptive bets (stronger null)": (_adaptive, False),
}


@dataclass(frozen=True, slots=True)
class Power:
    """Horizons until a better challenger is promoted.

    Attributes:
        size: by how much the champion's scores are wrong.
        looked_once: horizons after which a t test over assets that looks once has a power of 80 %.
        median: by test, the median of the horizons; infinite where fewer than half are promoted.
        share: by test, of the streams in which the challenger is promoted.
    """

    size: float
    looked_once: float
    median: dict[str, float]
    share: dict[str, float]


def _looks_once(found: Iterable[Blocks], cells: int) -> float:
    differences = np.array([blocks.difference for blocks in found])
    for count in range(2, cells + 1):
        means = differences[:, :count].mean(axis=1)
        t = means.mean(axis=1) / (means.std(axis=1, ddof=1) / math.sqrt(ASSETS))
        if (t > stats.t.ppf(0.95, ASSETS - 1)).mean() >= 0.8:
            return count
    return math.inf


def power(size: float, streams: int, cells: int, seed: int = 1) -> Power:
    """Horizons until a challenger that is exact is promoted over a champion that is wrong by ``size``."""
    found = [
        stream(np.random.default_rng([seed, number]), "better", cells, size)[0] for number in range(streams)
    ]
    median, share = {}, {}
    for name, (test, calendar) in TESTS.items():
        whens = [passes(_calendar(blocks) if calendar else blocks, test=test)[0] for blocks in found]
        median[name] = float(np.median(whens))
        share[name] = float(np.isfinite(whens).mean())
    return Power(size, _looks_once(found, cells), median, share)


@dataclass(frozen=True, slots=True)
class Rollback:
    """A challenger that is better at first and then as much worse.

    Attributes:
        streams: in all.
        before: streams in which it was promoted before the turn.
        after: streams in which it was promoted by blocks after the turn.
        back: of those promoted before the turn, horizons from it until the former champion was back.
    """

    streams: int
    before: int
    after: int
    back: list[float]


def rollback(size: float, streams: int, cells: int, seed: int = 2) -> Rollback:
    """Promotions of a challenger that is better by ``size`` up to `TURN`, then worse."""
    before = after = 0
    back = []
    for number in range(streams):
        blocks, best = stream(np.random.default_rng([seed, number]), "turning", cells, size)
        when, _ = passes(blocks, level_of(2 * ALPHA, 1, 1))
        if math.isinf(when):
            continue
        if when > TURN:
            after += 1
            continue
        before += 1
        # Labels are known a horizon after the cell has ended; comparisons begin with the next cell.
        start = int(when) + 2
        rest = Blocks(blocks.difference[start:], blocks.worst[start:], blocks.expected[start:])
        again, _ = passes_again(rest.reversed(best[start:]), level_of(2 * ALPHA, 2, 1))
        back.append(start + again - TURN)
    return Rollback(streams, before, after, back)


def _null_records(kinds: Iterable[str], streams: int) -> list[dict[str, object]]:
    records: list[dict[str, object]] = []
    for kind in kinds:
        promoted, wrong = null(kind, streams)
        records.append(
            {
                "kind": kind,
                "streams": streams,
                "promoted": promoted,
                "wrong": len(wrong),
                "upper 95 % bound": upper_bound(len(wrong), streams),
                "first wrong ones": wrong[:_SHOWN],
            }
        )
    return records


def _power_records(sizes: Iterable[float], streams: int, cells: int) -> list[dict[str, object]]:
    records: list[dict[str, object]] = []
    for size in sizes:
        found = power(size, streams, cells)
        for name, median in found.median.items():
            records.append(
                {
                    "champion wrong by": size,
                    "test": name,
                    "median horizons": median,
                    "promoted": found.share[name],
                    "t test, one look": found.looked_once,
                    "ratio": median / found.looked_once,
                }
            )
    return records


def _rollback_records(sizes: Iterable[float], streams: int, cells: int) -> list[dict[str, object]]:
    records: list[dict[str, object]] = []
    for size in sizes:
        turned = rollback(size, streams, cells)
        back = float(np.median(turned.back)) if turned.back else math.nan
        records.append(
            {
                "better, then worse by": size,
                "streams": turned.streams,
                "promoted before the turn": turned.before,
                "after it": turned.after,
                "upper 95 % bound": upper_bound(turned.after, turned.streams),
                "back, median horizons": back,
            }
        )
    return records


def _show(records: list[dict[str, object]], title: str) -> Table:
    table = Table(*records[0], title=title, title_justify="left")
    for record in records:
        table.add_row(*(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in record.values()))
    return table


def main(arguments: list[str] | None = None) -> None:
    """Command line: three tables."""
    parser = argparse.ArgumentParser(description="Wrong promotions, and horizons until a right one.")
    parser.add_argument("--streams", type=int, default=1_000, help="of each kind")
    parser.add_argument("--power-streams", type=int, default=200)
    parser.add_argument("--power-cells", type=int, default=200, help="horizons of the streams for power")
    parser.add_argument("--turning-cells", type=int, default=150, help="horizons of the streams that turn")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--sizes", nargs="*", type=float, default=[0.02, 0.04, 0.08])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)
    tables = [
        (f"Wrong promotions at a level of {ALPHA}", _null_records(given.kinds, given.streams)),
        (
            "Horizons until a better challenger is promoted",
            _power_records(given.sizes, given.power_streams, given.power_cells),
        ),
        (
            f"A challenger that turns worse after {TURN} horizons",
            _rollback_records(given.sizes, given.streams, given.turning_cells),
        ),
    ]
    tables = [(title, records) for title, records in tables if records]
    if given.json:
        for title, rows in tables:
            for row in rows:
                line = {"table": title, **row}
                sys.stdout.buffer.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        return
    Console().print(*(_show(rows, title) for title, rows in tables), sep="\n")


if __name__ == "__main__":
    main()
