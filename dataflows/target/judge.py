"""Which challenger is better than the champion: paired losses of the scores as served, in blocks.

The scores of one asset within a horizon share their labels, so an example is no unit of evidence. A *block*
is: the examples of one asset in one cell of event time, a horizon long and aligned to 1970-01-01. Examples of
neighbouring cells still share labels. So even and odd cells are two *chains*, each with an e-process of its
own (`dataflows.target.evidence`), and a challenger passes where one of them reaches ``2 / level``: by the
union bound, a challenger that is no better passes with a probability of at most ``level``, however often the
judge looks.

With ``blocks = "assets"`` this assumes that assets do not fail together within a horizon, given the scores.
With ``"calendar"`` a block is a cell of the whole fleet, the mean over its assets, which needs no such
assumption and gives far fewer blocks.

A model that is first better, then worse has to be found out soon, though the average since it became champion
still speaks for it. So the former champion is compared since later cells as well: 4, 8, 16, ... 128 horizons
after the change. These comparisons share half of its level, so they add nothing to the probability of a wrong
promotion; what they show is that it is better on average since they began.

The judge looks whenever the target clock has passed a quarter of a horizon. Blocks whose examples are all
settled then enter, in order of (cell, asset).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dataflows.target.evidence import RANGES, Loss, MeanInterval, Wealth, losses

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dataflows.outputs import Evidence, Gate

__all__ = ["ASSUMPTIONS", "LATER", "Comparison", "Judge", "Rule", "Verdict", "level_of", "levels_of_former"]

Verdict = Literal["better", "positives", "margin", "recall", "calibration", "cool_down"]

#: What a comparison assumes, by unit.
ASSUMPTIONS = {
    "assets": "assets do not fail together within a horizon, given the scores that were served",
    "calendar": "nothing about how assets fail together",
}
#: Horizons after a change of champion at which further comparisons with the former one begin.
LATER = (4, 8, 16, 32, 64, 128)
_LOOKS = 4
#: A verdict stands while its e-value is at least a tenth of what it had to reach.
_KEPT = math.log(10.0)
#: One-sided 95 % of the normal distribution.
_Z = 1.645
#: A challenger's calibration may be worse by this fraction of the share of positives.
_TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class Rule:
    """When a challenger is better.

    Attributes:
        horizon: of the target, in microseconds.
        wait: from the time of an example to its settling: horizon and label delay, in microseconds.
        threshold: the score from which on the champion warns.
        level: the probability of a wrong promotion that all comparisons of this target may spend together.
        blocks: see the module.
        loss: by which models are compared.
        least_positives: positive examples that have to be compared before a promotion.
        margin: the mean difference of the losses has to be at least this.
        cool_down: after a change of champion none is made for so long, in microseconds of event time.
    """

    horizon: int
    wait: int
    threshold: float
    level: float
    blocks: Literal["assets", "calendar"] = "assets"
    loss: Loss = "brier"
    least_positives: int = 10
    margin: float = 0.0
    cool_down: int = 0


def level_of(level: float, era: int, challengers: int) -> float:
    """The level of one comparison, of those that began together as the ``era``-th of a target.

    The levels of all comparisons of a target add up to at most ``level``, however many there will be:

    >>> [round(level_of(0.05, era, 2), 5) for era in (1, 2, 3)]
    [0.0125, 0.00417, 0.00208]
    """
    return level / (era * (era + 1)) / challengers


def levels_of_former(level: float) -> tuple[float, float]:
    """The level of the comparison with the former champion, and that of each of its `LATER` ones.

    >>> levels_of_former(0.012)
    (0.006, 0.001)
    """
    return level / 2.0, level / 2.0 / len(LATER)


class _Recall:
    """Positives and negatives by score, in 64 bins of the log-odds."""

    _EDGES = 8.0

    def __init__(self, state: Sequence[Sequence[int]] | None = None) -> None:
        self.counts = np.zeros((2, 64), dtype=np.int64)
        if state is not None:
            self.counts[:] = state

    def add(self, score: float, label: int) -> None:
        odds = math.log(max(score, 1e-9) / max(1.0 - score, 1e-9))
        self.counts[label, min(max(int((odds + self._EDGES) * 4.0), 0), 63)] += 1

    def at(self, budget: float) -> float:
        """Recall where this many examples with the highest scores are warned of."""
        left, hits = budget, 0.0
        for negatives, positives in self.counts[:, ::-1].T.tolist():
            share = min(1.0, left / (negatives + positives)) if negatives + positives else 0.0
            hits += share * positives
            left -= share * (negatives + positives)
        return hits / max(1, int(self.counts[1].sum()))


@dataclass(slots=True)
class _Block:
    """The examples of one asset in one cell.

    Attributes:
        waiting: examples that are not settled.
        examples: settled ones.
        sums: of the champion: labels, scores.
        challengers: by label of the challenger, sums of differences, worst and best ones, and scores.
    """

    waiting: int = 0
    examples: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0])
    challengers: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, state: Sequence[Any]) -> _Block:
        waiting, examples, sums, challengers = state
        return cls(waiting, examples, [*sums], {name: [*of] for name, of in challengers.items()})

    def state(self) -> tuple[Any, ...]:
        return self.waiting, self.examples, self.sums, self.challengers


@dataclass(frozen=True, slots=True)
class _Entry:
    """Means over the examples of one block, for one challenger."""

    difference: float
    worst: float
    best: float
    examples: int
    positives: float
    champion_bias: float
    challenger_bias: float

    @classmethod
    def of(cls, block: _Block, challenger: str) -> _Entry:
        n = block.examples
        labels, scores = block.sums
        difference, worst, best, others = block.challengers[challenger]
        return cls(
            difference / n, worst / n, best / n, n, labels, (scores - labels) / n, (others - labels) / n
        )

    @classmethod
    def mean(cls, entries: Sequence[_Entry]) -> _Entry:
        """The block of a whole fleet."""

        def mean(values: Iterable[float]) -> float:
            return math.fsum(values) / len(entries)

        return cls(
            mean(entry.difference for entry in entries),
            mean(entry.worst for entry in entries),
            mean(entry.best for entry in entries),
            sum(entry.examples for entry in entries),
            math.fsum(entry.positives for entry in entries),
            mean(entry.champion_bias for entry in entries),
            mean(entry.challenger_bias for entry in entries),
        )


class Comparison:
    """One challenger against the champion, since one cell.

    Args:
        rule: of the target.
        challenger: its label.
        version: of its configuration.
        since: number of the first cell whose examples count.
        level: see `level_of`.
        state: what `state` returned, None for a new one.

    Attributes:
        verdict: of the last look: ``better``; why a challenger with enough evidence is held back; None
            without enough of it.
    """

    def __init__(
        self,
        rule: Rule,
        challenger: str,
        version: int,
        since: int,
        level: float,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self._rule = rule
        self.challenger = challenger
        self.version = version
        self.since = since
        self.level = level
        span = RANGES[rule.loss]
        kept: Mapping[str, Any] = state or {}
        self.chains = [Wealth(of) for of in kept.get("chains", (None, None))]
        self._intervals = [MeanInterval(span, of) for of in kept.get("intervals", (None, None))]
        self._ranks = [_Recall(of) for of in kept.get("ranks", (None, None))]
        #: Examples, positives, sum of differences over blocks, blocks with positives, positives that the
        #: champion warned of, all that it warned of.
        self._sums: list[float] = [*kept.get("sums", [0, 0, 0.0, 0, 0, 0])]
        #: Sums and squares over blocks of mean score - mean label: of the champion, of the challenger.
        self._bias: list[float] = [*kept.get("bias", [0.0, 0.0, 0.0, 0.0])]
        self._cells: list[int] = [*kept.get("cells", [since, since])]
        self.verdict: Verdict | None = kept.get("verdict")

    @property
    def blocks(self) -> int:
        """Blocks so far."""
        return sum(chain.blocks for chain in self.chains)

    @property
    def needed(self) -> float:
        """The log e-value that one of the chains has to reach."""
        return math.log(2.0 / self.level)

    @property
    def log_e(self) -> float:
        """Log of the larger e-value of both chains."""
        return max(chain.log_e for chain in self.chains)

    @property
    def difference(self) -> float:
        """Mean difference of the losses; positive where the challenger's is smaller."""
        return self._sums[2] / self.blocks if self.blocks else 0.0

    def count(self, label: int, champion: float, challenger: float) -> None:
        """Count an example for the gate of recall."""
        self._ranks[0].add(champion, label)
        self._ranks[1].add(challenger, label)
        if champion >= self._rule.threshold:
            self._sums[4] += label
            self._sums[5] += 1

    def add(self, cell: int, entry: _Entry) -> None:
        """Add a block of a cell."""
        chain = cell % 2
        self.chains[chain].add(entry.difference, entry.worst)
        self._intervals[chain].add(entry.difference, entry.worst, entry.best)
        self._cells[1] = max(self._cells[1], cell)
        for index, value in enumerate((entry.examples, entry.positives, entry.difference)):
            self._sums[index] += value
        self._sums[3] += entry.positives > 0
        for index, bias in enumerate((entry.champion_bias, entry.challenger_bias)):
            self._bias[2 * index] += bias
            self._bias[2 * index + 1] += bias * bias

    def conclude(self) -> Verdict | None:
        """Give the verdict on the blocks so far.

        The needed evidence has to be reached once; a verdict stands while a tenth of it is left.
        """
        enough = self.needed if self.verdict is None else self.needed - _KEPT
        if self.log_e < enough or self.difference <= 0.0:
            return None
        if self._sums[1] < self._rule.least_positives:
            return "positives"
        if self.difference < self._rule.margin:
            return "margin"
        if self.recall()["worse"]:
            return "recall"
        return "calibration" if self.calibration()["worse"] else "better"

    def reason(self) -> str:
        """The verdict in words."""
        rule = self._rule
        recall, calibration = self.recall(), self.calibration()
        return {
            "better": f"better by {self.difference:.3g} ({rule.loss} loss) in {self.blocks} blocks",
            "positives": f"{self._sums[1]:.0f} of {rule.least_positives} positives were compared",
            "margin": f"the mean difference {self.difference:.3g} is below the margin {rule.margin:g}",
            "recall": f"recall at equal alerts is {recall['challenger']:.3g}, the champion's "
            f"{recall['champion']:.3g}",
            "calibration": f"mean score - share of positives is {calibration['challenger']:.3g}, the "
            f"champion's {calibration['champion']:.3g}",
            "cool_down": "the champion was replaced less than a cool_down ago",
            None: "not enough evidence",
        }[self.verdict]

    def recall(self) -> Gate:
        """Recall of both where the challenger warns of as many examples as the champion does."""
        positives = int(self._ranks[0].counts[1].sum())
        champion = self._sums[4] / max(1, positives)
        challenger = self._ranks[1].at(self._sums[5])
        # Labels within a block are the same failure's, so blocks are counted.
        variance = champion * (1.0 - champion) + challenger * (1.0 - challenger)
        error = math.sqrt(variance / max(1.0, self._sums[3]))
        worse = challenger < champion - _Z * error
        return {"champion": champion, "challenger": challenger, "error": error, "worse": worse}

    def calibration(self) -> Gate:
        """Mean score - share of positives, of both."""
        n = max(1, self.blocks)
        champion, challenger = self._bias[0] / n, self._bias[2] / n
        variance = sum(self._bias[2 * of + 1] / n - (self._bias[2 * of] / n) ** 2 for of in (0, 1))
        error = math.sqrt(max(0.0, variance) / n)
        share = self._sums[1] / max(1.0, self._sums[0])
        worse = abs(challenger) - abs(champion) > max(_Z * error, _TOLERANCE * share)
        return {"champion": champion, "challenger": challenger, "error": error, "worse": worse}

    def interval(self, alpha: float = 0.05) -> tuple[float, float]:
        """Confidence sequence of the mean difference: both chains, weighted by their blocks."""
        parts = [
            (chain.blocks, interval.bounds(alpha / 2.0))
            for chain, interval in zip(self.chains, self._intervals, strict=True)
            if chain.blocks
        ]
        if not parts:
            return -math.inf, math.inf
        low, high = (sum(n * bounds[side] for n, bounds in parts) / self.blocks for side in (0, 1))
        return low, high

    def horizons_left(self) -> float | None:
        """Horizons until the evidence suffices if it grows as so far; None where it does not grow."""
        cells = self._cells[1] - self.since + 1
        if self.log_e >= self.needed or self.verdict is not None:
            return 0.0
        if self.log_e <= 0.0 or not self.blocks:
            return None
        return (self.needed - self.log_e) * cells / self.log_e

    def evidence(self) -> Evidence:
        """What the rows and the tools show."""
        low, high = self.interval()
        return {
            "judge": self._rule.blocks,
            "assumes": ASSUMPTIONS[self._rule.blocks],
            "loss": self._rule.loss,
            "e_values": [math.exp(min(chain.log_e, 690.0)) for chain in self.chains],
            "needed": 2.0 / self.level,
            "level": self.level,
            "blocks": [chain.blocks for chain in self.chains],
            "examples": int(self._sums[0]),
            "positives": int(self._sums[1]),
            "difference": self.difference,
            "interval": [low if math.isfinite(low) else None, high if math.isfinite(high) else None],
            "recall": self.recall(),
            "calibration": self.calibration(),
            "horizons_left": self.horizons_left(),
        }

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "challenger": self.challenger,
            "version": self.version,
            "since": self.since,
            "level": self.level,
            "chains": [chain.state() for chain in self.chains],
            "intervals": [interval.state() for interval in self._intervals],
            "ranks": [ranks.counts.tolist() for ranks in self._ranks],
            "sums": list(self._sums),
            "bias": list(self._bias),
            "cells": list(self._cells),
            "verdict": self.verdict,
        }


class Judge:
    """Compares the champion of one target with its challengers.

    Args:
        rule: of the target.
        state: what `state` returned, None for a new target. Call `begin` in any case.
        entries: what `entry` returned, by asset.

    Attributes:
        touched: assets whose `entry` changed.
    """

    def __init__(
        self,
        rule: Rule,
        state: Mapping[str, Any] | None = None,
        entries: Mapping[str, Iterable[Sequence[Any]]] | None = None,
    ) -> None:
        self._rule = rule
        self.champion = ""
        self.era = 0
        #: The champion is not replaced before this instant.
        self.rests_until: int | None = None
        self._looked: int | None = None
        self.comparisons: dict[str, Comparison] = {}
        #: Comparisons with the former champion since later cells.
        self.later: list[Comparison] = []
        #: By asset and cell.
        self._blocks: dict[str, dict[int, _Block]] = {}
        self.touched: set[str] = {*(entries or ())}
        if state is not None:
            self.era = state["era"]
        # Blocks of another unit are no evidence in this one: all comparisons restart.
        if state is not None and state["unit"] == [rule.blocks, rule.loss]:
            self.champion = state["champion"]
            self.rests_until, self._looked = state["rests_until"], state["looked"]
            for kept in state["comparisons"]:
                name, version = kept["challenger"], kept["version"]
                self.comparisons[name] = Comparison(rule, name, version, kept["since"], kept["level"], kept)
            for kept in state.get("later", ()):
                name, version = kept["challenger"], kept["version"]
                self.later.append(Comparison(rule, name, version, kept["since"], kept["level"], kept))
            # A former release kept the blocks of all assets together.
            for cell, asset, block in state.get("blocks", ()):
                self._blocks.setdefault(asset, {})[cell] = _Block.of(block)
            self.touched = {*self._blocks}
            for asset, blocks in (entries or {}).items():
                self._blocks[asset] = {cell: _Block.of(block) for cell, block in blocks}

    def begin(self, champion: str, challengers: Mapping[str, int], known: int | None) -> None:
        """Compare a champion with its challengers, on examples of cells that begin after now.

        A comparison continues where both models are unchanged; all others start now, and share the level of
        an era.
        After another champion the cool-down begins.

        Args:
            champion: label of the model that serves.
            challengers: by label of the others, the version of their configuration.
            known: the latest time of anything so far, None before anything.
        """
        former = None
        if champion != self.champion:
            former = self.champion
            self.comparisons.clear()
            self.touched.update(self._blocks)
            self._blocks.clear()
            if self.champion and known is not None:
                self.rests_until = known + self._rule.cool_down
        self.champion = champion
        kept, new = {}, {}
        for name, version in challengers.items():
            found = self.comparisons.get(name)
            if found is not None and found.version == version:
                kept[name] = found
            elif name != champion:
                new[name] = version
        self.comparisons = kept
        self.later = [each for each in self.later if each.challenger in kept]
        if not new:
            return
        self.era += 1
        since = 0 if known is None else known // self._rule.horizon + 1
        level = level_of(self._rule.level, self.era, len(new))
        for name, version in new.items():
            whole, later = levels_of_former(level) if name == former else (level, 0.0)
            self.comparisons[name] = Comparison(self._rule, name, version, since, whole)
            if name == former:
                self.later = [Comparison(self._rule, name, version, since + after, later) for after in LATER]

    def restart(self, challenger: str, known: int) -> None:
        """Restart the comparison of one challenger, as after a proposal that was refused."""
        versions = {name: found.version for name, found in self.comparisons.items()}
        del self.comparisons[challenger]
        self.begin(self.champion, versions, known)

    def verdict(self, challenger: str) -> Verdict | None:
        """The latest verdict on a challenger, None where there is none."""
        if any(each.verdict == "better" for each in self._all_of(challenger)):
            return "better"
        found = self.comparisons.get(challenger)
        return None if found is None else found.verdict

    def better(self) -> list[Comparison]:
        """Return a comparison of each challenger that is better, as of the last look."""
        found = {each.challenger: each for each in self._every() if each.verdict == "better"}
        return list(found.values())

    def _every(self) -> list[Comparison]:
        return [*self.later, *self.comparisons.values()]

    def _all_of(self, challenger: str) -> list[Comparison]:
        return [each for each in self._every() if each.challenger == challenger]

    def _counts(self, cell: int) -> bool:
        for comparison in self.comparisons.values():  # noqa: SIM110 - called for each example; any() takes thrice as long
            if cell >= comparison.since:
                return True
        return False

    def served(self, asset: str, time: int) -> None:
        """Wait for the label of an example that was just served."""
        cell = time // self._rule.horizon
        if self._counts(cell):
            self._blocks.setdefault(asset, {}).setdefault(cell, _Block()).waiting += 1
            self.touched.add(asset)

    def _block(self, asset: str, time: int) -> _Block | None:
        return self._blocks.get(asset, {}).get(time // self._rule.horizon)

    def dropped(self, asset: str, time: int) -> None:
        """Stop waiting for the label of an example: it was censored."""
        block = self._block(asset, time)
        if block is not None and block.waiting:
            block.waiting -= 1
            self.touched.add(asset)

    def forgotten(self, asset: str) -> None:
        """Stop waiting for labels of an asset: its state was dropped."""
        for block in self._blocks.get(asset, {}).values():
            block.waiting = 0
        self.touched.add(asset)

    def settled(
        self, asset: str, time: int, label: int, scores: Mapping[str, float | None], prior: float
    ) -> None:
        """Compare the scores of an example whose label is known, and whose time has come.

        Args:
            asset: of the example.
            time: of the example.
            label: 1 or 0.
            scores: as served, by label of the model; None where a model gave none.
            prior: counts in place of a missing score, since it is published in its place.
        """
        cell = time // self._rule.horizon
        block = self._block(asset, time)
        if block is None or not block.waiting:
            return
        self.touched.add(asset)
        block.waiting -= 1
        served = scores.get(self.champion)
        champion = prior if served is None else served
        ours = losses(champion, self._rule.loss)
        block.examples += 1
        block.sums[0] += label
        block.sums[1] += champion
        for name, comparison in self.comparisons.items():
            if cell < comparison.since:
                continue
            found = scores.get(name)
            score = prior if found is None else found
            theirs = losses(score, self._rule.loss)
            if_negative, if_positive = ours[0] - theirs[0], ours[1] - theirs[1]
            sums = block.challengers.setdefault(name, [0.0, 0.0, 0.0, 0.0])
            sums[0] += if_positive if label else if_negative
            sums[1] += min(if_positive, if_negative)
            sums[2] += max(if_positive, if_negative)
            sums[3] += score
            comparison.count(label, champion, score)
            for each in self.later:
                if each.challenger == name and cell >= each.since:
                    each.count(label, champion, score)

    def look(self, clock: int) -> list[Comparison]:
        """Enter the blocks that the target clock has passed, and give verdicts.

        Args:
            clock: the target clock: every example whose time + wait it has passed was settled if its label
                is known.

        Returns:
            The comparisons whose verdict changed, the strongest evidence first.
        """
        step = self._rule.horizon // _LOOKS or 1
        now = (clock - self._rule.wait) // step
        if self._looked is not None and now <= self._looked:
            return []
        self._looked = now
        ended = (now * step) // self._rule.horizon
        if self._rule.blocks == "assets":
            self._enter_assets(ended)
        else:
            self._enter_cells(ended)
        moved = []
        for comparison in self.comparisons.values():
            verdict = comparison.conclude()
            if verdict == "better" and self.rests_until is not None and clock < self.rests_until:
                verdict = "cool_down"
            if verdict != comparison.verdict:
                comparison.verdict = verdict
                moved.append(comparison)
        moved += self._look_at_later(clock)
        return sorted(moved, key=lambda found: found.needed - found.log_e)

    def _look_at_later(self, clock: int) -> list[Comparison]:
        """Give verdicts of later comparisons; return one that decides where no other of its model did."""
        moved = []
        for each in self.later:
            before, others = each.verdict, [of for of in self._all_of(each.challenger) if of is not each]
            each.verdict = each.conclude()
            if each.verdict == "better" and self.rests_until is not None and clock < self.rests_until:
                each.verdict = "cool_down"
            changed = "better" in {before, each.verdict} and before != each.verdict
            if changed and all(of.verdict != "better" for of in others):
                moved.append(each)
        return moved

    def _add(self, cell: int, name: str, entry: _Entry) -> None:
        for each in self._all_of(name):
            if cell >= each.since:
                each.add(cell, entry)

    def _enter_assets(self, ended: int) -> None:
        ready = [
            (cell, asset)
            for asset, blocks in self._blocks.items()
            for cell, block in blocks.items()
            if cell < ended and not block.waiting
        ]
        for cell, asset in sorted(ready):
            block = self._pop(cell, asset)
            for name in block.challengers:
                self._add(cell, name, _Entry.of(block, name))

    def _pop(self, cell: int, asset: str) -> _Block:
        self.touched.add(asset)
        block = self._blocks[asset].pop(cell)
        if not self._blocks[asset]:
            del self._blocks[asset]
        return block

    def _enter_cells(self, ended: int) -> None:
        """A cell enters when all its blocks are ready, at the latest a horizon later, without the others."""
        cells = sorted({cell for blocks in self._blocks.values() for cell in blocks if cell < ended})
        for cell in cells:
            blocks = {asset: of[cell] for asset, of in sorted(self._blocks.items()) if cell in of}
            if cell + 1 >= ended and any(block.waiting for block in blocks.values()):
                continue
            for asset in blocks:
                self._pop(cell, asset)
            for name in self.comparisons:
                entries = [
                    _Entry.of(block, name)
                    for block in blocks.values()
                    if name in block.challengers and not block.waiting
                ]
                if entries:
                    self._add(cell, name, _Entry.mean(entries))

    def entry(self, asset: str) -> list[tuple[Any, ...]] | None:
        """Plain data of the blocks of one asset, None without any."""
        blocks = self._blocks.get(asset)
        return [(cell, block.state()) for cell, block in sorted(blocks.items())] if blocks else None

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "champion": self.champion,
            "era": self.era,
            "rests_until": self.rests_until,
            "unit": [self._rule.blocks, self._rule.loss],
            "looked": self._looked,
            "comparisons": [comparison.state() for comparison in self.comparisons.values()],
            "later": [comparison.state() for comparison in self.later],
        }
