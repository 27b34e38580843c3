"""Targets of one failure mode whose horizons agree: a longer one is never published as less probable.

Each target has models of its own, which know nothing of each other, so the probability of a failure within
24 hours may exceed that within 48 hours. Targets with ``agree`` therefore share a key of the group step, and
take each record together: every one scores it, then the nearest scores that do not fall are published
(`agreeing`). Models, examples and figures of a target go on with its own scores.
"""

from __future__ import annotations

import math
from itertools import accumulate, groupby
from typing import TYPE_CHECKING

from dataflows.items import by_lane_item, by_order
from dataflows.state.snapshots import Kind
from dataflows.target.rows import placed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from dataflows.items import Item, Row
    from dataflows.target.target import TargetStage, Unpublished

__all__ = ["AGREEING", "SHARED", "AgreeingTargets", "Published", "agreeing", "stored_apart"]

#: In place of the name of a target: the snapshots of what targets of one key share, see `SharingTargets`.
SHARED = "*"
#: Scores are clipped to this where they are pooled.
_SURE = 1e-9

#: Snapshots of targets that share a key, main and parts alike: the snapshot of each target, by its name.
AGREEING: Kind[dict[str, bytes]] = Kind(
    "agreeing", 1, describe=lambda payload: payload, holds=lambda payload: payload.values()
)


def agreeing(scores: Sequence[float]) -> list[float]:
    """Return the nearest probabilities that do not fall: neighbours that do share the mean of their logits.

    Of all that do not fall these minimise the sum of the Kullback-Leibler divergences from the scores, by the
    algorithm of pool adjacent violators (M. Ayer and others, "An empirical distribution function for sampling
    with incomplete information", Annals of Mathematical Statistics 26, 1955). A failure within a horizon is
    one within each longer horizon, so what comes does not fall either; and of such a projection the sum of
    the log losses over the horizons is never larger than that of the scores, whatever comes (L. M. Bregman,
    USSR Computational Mathematics and Mathematical Physics 7, 1967).

    Args:
        scores: by horizon, the shortest first.

    Example:
        >>> agreeing([0.1, 0.3, 0.7])
        [0.1, 0.3, 0.7]
        >>> [round(score, 3) for score in agreeing([0.4, 0.2, 0.7])]
        [0.29, 0.29, 0.7]
    """
    pools: list[tuple[float, int]] = []
    for score in scores:
        held = min(max(score, _SURE), 1.0 - _SURE)
        mean, size = math.log(held / (1.0 - held)), 1
        while pools and pools[-1][0] > mean:
            before, more = pools.pop()
            mean, size = (before * more + mean * size) / (more + size), size + more
        pools.append((mean, size))
    found: list[float] = []
    for mean, size in pools:
        alone = size == 1
        found += [scores[len(found)]] if alone else [1.0 / (1.0 + math.exp(-mean))] * size
    return [*accumulate(found, max)]


class Published:
    """What was published of one reading so far, by horizon.

    Example:
        >>> published = Published([(24, 0.4), (48, 0.6)])
        >>> published.between(12, 0.5), published.between(36, 0.1), published.between(36, 0.5)
        (0.4, 0.4, 0.5)
    """

    def __init__(self, known: Iterable[tuple[int, float]]) -> None:
        self._known = [*known]

    def add(self, horizon: int, score: float) -> None:
        """Add the probability of a failure within a horizon, microseconds."""
        self._known.append((horizon, score))

    def between(self, horizon: int, score: float) -> float:
        """Return the score, moved to between those of the shorter and of the longer horizons."""
        shorter = [p for span, p in self._known if span <= horizon]
        longer = [p for span, p in self._known if span >= horizon]
        return min([max([score, *shorter]), *longer])


class AgreeingTargets:
    """A stage in parts of several targets, see the module.

    Args:
        names: of the targets, the shortest horizon first.
        build: makes the stage of a target of its name, main snapshot and parts.
        main: return value of `main_snapshot`, None where they are new.
        parts: return values of `part_snapshot`, by number.
    """

    def __init__(
        self,
        names: Sequence[str],
        build: Callable[[str, bytes | None, dict[int, bytes]], TargetStage],
        main: bytes | None,
        parts: Mapping[int, bytes],
    ) -> None:
        stored = {} if main is None else {name: (of, own) for name, of, own in stored_apart("", main, parts)}
        #: Numbers of the parts that a target has ever written. A target that is gone keeps its snapshots.
        self._written = {name: {*own} for name, (_, own) in stored.items() if name in names}
        self._gone = {name: kept for name, kept in stored.items() if name not in names}
        self._stages: dict[str, TargetStage] = {}
        for name in names:
            of, own = stored.get(name, (None, {}))
            self._stages[name] = build(name, of, own)

    def process(self, items: list[Item]) -> list[Item]:
        """Return the rows of blocks and observations; targets take an item of the lane together."""
        # Not by record: a record can make an asset silent after weather that it corrects was scored again.
        by_item = groupby(self._taken(items), key=lambda each: by_lane_item(each[0]))
        return [row for _, of in by_item for row in self._together([*of])]

    def _taken(self, items: list[Item]) -> list[tuple[Item, TargetStage]]:
        """Return the observations of all targets in the order of effect, each with its target."""
        taken: list[tuple[Item, TargetStage]] = []
        for name, stage in self._stages.items():
            mine = [item for item in items if getattr(item.body, "target", None) == name]
            taken += [(item, stage) for item in stage.observations(mine)]
        taken.sort(key=lambda each: by_order(each[0]))
        return taken

    @staticmethod
    def _together(taken: list[tuple[Item, TargetStage]]) -> list[Item]:
        """Return the rows of an item of the lane: every target scores it, then the scores are published."""
        rows: list[list[Row]] = []
        waiting: dict[tuple[str, int, int], list[tuple[int, Unpublished]]] = {}
        for place, (item, stage) in enumerate(taken):
            made, unpublished = stage.take(item)
            rows.append(made)
            for each in unpublished:
                waiting.setdefault(each.reading, []).append((place, each))
        for of in waiting.values():
            of.sort(key=lambda each: each[1].horizon)
            scores = agreeing([each.own for _, each in of])
            published = Published((each.horizon, score) for (_, each), score in zip(of, scores, strict=True))
            for (place, each), score in zip(of, scores, strict=True):
                rows[place] += taken[place][1].publish(each, score, published)
        return [row for (item, _), made in zip(taken, rows, strict=True) for row in placed(item, made)]

    def target(self, name: str) -> TargetStage | None:
        """Return the stage of a target, None for one that is not of these."""
        return self._stages.get(name)

    def changed(self) -> Iterable[int]:
        """Return the parts to write: of any of the targets."""
        found: set[int] = set()
        for name, stage in self._stages.items():
            changed = {*stage.changed()}
            self._written.setdefault(name, set()).update(changed)
            found |= changed
        return sorted(found)

    def main_snapshot(self) -> bytes:
        """Return the main snapshots of all targets."""
        return AGREEING.seal(self._main_snapshots())

    def _main_snapshots(self) -> dict[str, bytes]:
        gone = {name: main for name, (main, _) in self._gone.items()}
        return gone | {name: stage.main_snapshot() for name, stage in self._stages.items()}

    def part_snapshot(self, part: int) -> bytes:
        """Return the snapshots of one part, of all targets that have written it."""
        return AGREEING.seal(self._part_snapshots(part))

    def _part_snapshots(self, part: int) -> dict[str, bytes]:
        gone = {name: parts[part] for name, (_, parts) in self._gone.items() if part in parts}
        written = [name for name, parts in self._written.items() if part in parts]
        return gone | {name: self._stages[name].part_snapshot(part) for name in written}

    def finish(self) -> list[Item]:
        """Return the sections of the summary."""
        return [item for stage in self._stages.values() for item in stage.finish()]


def stored_apart(
    key: str, main: bytes, parts: Mapping[int, bytes]
) -> Iterator[tuple[str, bytes, dict[int, bytes]]]:
    """Yield name, main snapshot and parts of each target that a key of the group step holds.

    Args:
        key: of the step; the name of the target, where it is one alone.
        main: the main snapshot of the key.
        parts: its parts, by number.

    Raises:
        SnapshotError: a snapshot is damaged.
    """
    if not AGREEING.is_of(main):
        yield key, main, dict(parts)
        return
    mains = AGREEING.describe(main)
    by_part = {part: AGREEING.describe(sealed) for part, sealed in parts.items()}
    for name, own in mains.items():
        if name != SHARED:
            yield name, own, {part: of[name] for part, of in by_part.items() if name in of}
