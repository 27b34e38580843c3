"""Targets of one failure mode whose horizons agree: a longer one is never published as less probable.

Each target has models of its own, which know nothing of each other, so the probability of a failure within
24 hours may exceed that within 48 hours. Targets with ``agree`` therefore share a key of the group step. They
take each activation one after the other, the shortest horizon first, and a target publishes at least what the
shorter ones published of the same reading: the running maximum over the horizons. Models, examples and
figures of a target go on with its own scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflows.items import Observation, Scores
from dataflows.state.snapshots import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from dataflows.items import Item
    from dataflows.target.target import TargetStage

__all__ = ["AGREEING", "AgreeingTargets", "Published", "stored_apart"]

#: Snapshots of agreeing targets, main and parts alike: the snapshot of each target, by its name.
AGREEING: Kind[dict[str, bytes]] = Kind(
    "agreeing", 1, describe=lambda payload: payload, holds=lambda payload: payload.values()
)


class Published:
    """What shorter horizons published of each reading, for the longer ones.

    Example:
        >>> published = Published()
        >>> published.add(("p-1", 0, 0), 24, 0.4)
        >>> published.at_least(("p-1", 0, 0), 48, 0.3), published.at_least(("p-1", 0, 0), 48, 0.6)
        (0.4, 0.6)
        >>> published.at_least(("p-2", 0, 0), 48, 0.3)
        0.3
        >>> published.between(("p-1", 0, 0), 12, 0.5), published.between(("p-1", 0, 0), 36, 0.1)
        (0.4, 0.4)
    """

    def __init__(self) -> None:
        self._of: dict[tuple[str, int, int], list[tuple[int, float]]] = {}

    def add(self, reading: tuple[str, int, int], horizon: int, score: float) -> None:
        """Add a probability.

        Args:
            reading: asset, time and revision.
            horizon: in microseconds.
            score: of a failure within the horizon.
        """
        self._of.setdefault(reading, []).append((horizon, score))

    def at_least(self, reading: tuple[str, int, int], horizon: int, score: float) -> float:
        """Return the score, or the largest one of a horizon that is not longer."""
        return max([score, *(p for span, p in self._of.get(reading, ()) if span <= horizon)])

    def between(self, reading: tuple[str, int, int], horizon: int, score: float) -> float:
        """Return the score, moved to between those of the shorter and of the longer horizons."""
        longer = [p for span, p in self._of.get(reading, ()) if span >= horizon]
        return min([self.at_least(reading, horizon, score), *longer])


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
        #: Of the last records, up to this sequence.
        self._published, self._last = Published(), 0
        self._stages: dict[str, TargetStage] = {}
        for name in names:
            of, own = stored.get(name, (None, {}))
            self._stages[name] = build(name, of, own)

    def process(self, items: list[Item]) -> list[Item]:
        """Return the rows of blocks and observations of all targets.

        What a record becomes for several targets comes together, or one after the other in the order of
        effect, in which the shortest horizon is first.
        """
        if min(item.sequence for item in items) > self._last:
            self._published = Published()
        self._last = max(self._last, *(item.sequence for item in items))
        out: list[Item] = []
        for name, stage in self._stages.items():
            mine = [
                item
                for item in items
                if isinstance(item.body, Observation | Scores) and item.body.target == name
            ]
            if mine:
                out += stage.process(mine, self._published)
        return out

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
        gone = {name: main for name, (main, _) in self._gone.items()}
        return AGREEING.seal(gone | {name: stage.main_snapshot() for name, stage in self._stages.items()})

    def part_snapshot(self, part: int) -> bytes:
        """Return the snapshots of one part, of all targets that have written it."""
        gone = {name: parts[part] for name, (_, parts) in self._gone.items() if part in parts}
        written = [name for name, parts in self._written.items() if part in parts]
        return AGREEING.seal(gone | {name: self._stages[name].part_snapshot(part) for name in written})

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
        yield name, own, {part: of[name] for part, of in by_part.items() if name in of}
