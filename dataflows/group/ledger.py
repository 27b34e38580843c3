"""Test, then train: examples wait here with what was served, are evaluated, and only then learned."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dataflows.fleet.plan import Target
    from dataflows.group.examples import Example, ExampleStore
    from dataflows.group.figures import TargetFigures
    from dataflows.group.scorer import Scorer
    from dataflows.group.usual import Usual
    from dataflows.items import Matured

__all__ = ["Ledger", "uncounted"]


class Ledger:
    """The examples of one target, and when its models may learn them.

    A label is evaluated when it is known. Negatives are known later than the positives of their time, so a
    model that learned each label at once would believe for that long that everything fails. Therefore both
    wait here until the target clock has passed t + horizon + label_delay, and are learned in order of
    (t, asset).

    Args:
        target: the target.
        scorer: its models.
        figures: its figures.
        usual: told of every negative that is learned.
        examples: what is remembered.
        clock: the target clock that `clock` had when the snapshot was taken, None for a new target.
    """

    def __init__(
        self,
        target: Target,
        scorer: Scorer,
        figures: TargetFigures,
        usual: Usual,
        examples: ExampleStore,
        clock: int | None,
    ) -> None:
        self._wait = target.horizon + target.label_delay
        self._at_once = target.learn_positives == "at_once"
        self._scorer = scorer
        self._figures = figures
        self._usual = usual
        self._examples = examples
        self.clock = clock
        self._released: set[tuple[str, int]] = set()
        #: (time, asset) of what is evaluated, and not learned or not counted yet.
        self._queue = [(example.time, example.asset) for example in examples if _waits(example)]
        heapq.heapify(self._queue)
        #: A label that comes and goes brings no second place there.
        self._queued = set(self._queue)

    def take(self, example: Example) -> None:
        """Remember a prediction that was just served."""
        self._examples.add(example)

    def remembered(self, asset: str, time: int) -> Example | None:
        """An example; None where it was released, though a big model may still hold on to it."""
        return None if (asset, time) in self._released else self._examples.get((asset, time))

    def mature(self, asset: str, matured: Matured) -> tuple[Example, bool] | None:
        """Give an example its label, or another one.

        Returns:
            The example, and whether this label leads to learning; None where the example is not
            remembered, as for a target that is newer than the example.
        """
        example = self._examples.get((asset, matured.time))
        if example is None:
            return None
        before = example.news()
        label = matured.label
        is_first = example.first is None and label is not None
        learns = label is not None and label >= 0 and not example.learned
        try:
            if is_first:
                example.first = label
                if label == -1:
                    self._figures.censored(matured.time, matured.why, example.scores)
            else:
                self._correct(example, matured)
            example.label, example.lead = label, matured.lead
            example.correction = matured.correction
            self._examples.update(example)
            place = (example.time, asset)
            if _waits(example) and place not in self._queued:
                self._queued.add(place)
                heapq.heappush(self._queue, place)
        except Exception:
            # What still stands in the queue has no label, and is passed over.
            example.apply(before)
            self._examples.update(example)
            raise
        return example, learns

    def _correct(self, example: Example, matured: Matured) -> None:
        """Count a label that changed, or a lead; what is undecided again and was not counted begins again."""
        # What was censored first waits for no clock; all else stands in the figures once it was counted.
        counted = example.counted or example.first == -1
        old = (example.label, example.lead) if counted else None
        new = (matured.label, matured.lead)
        relabelled = example.label is not None and example.label != matured.label
        self._figures.contradicted(example.time, example.scores, old, new, relabelled=relabelled)
        if matured.after_silence and example.label == -1:
            self._figures.positive_after_silence(example.time)
        if matured.label is None and not counted:
            example.first = None

    def learn_at_once(self, example: Example) -> None:
        """Learn a positive whose label became known, where positives do not wait for the target clock."""
        if self._at_once and example.label == 1 and not example.learned:
            example.learned = True
            self._examples.update(example)
            self._learn(example)

    def advance(self, clock: int | None) -> bool:
        """Move the target clock, never back; learn and count what it passes. Return whether there was any."""
        if clock is not None and (self.clock is None or clock > self.clock):
            self.clock = clock
        if self.clock is None:
            return False
        passed = False
        while self._queue and self._queue[0][0] + self._wait < self.clock:
            time, asset = place = heapq.heappop(self._queue)
            self._queued.discard(place)
            example = self._examples.get((asset, time))
            if example is not None and _waits(example):
                passed = True
                self._settle(example)
        return passed

    def _settle(self, example: Example) -> None:
        """Learn and count an example that the target clock passed.

        It is done with from then on, also where a model or a figure raises: it would raise again.
        """
        learns = not example.learned and example.label is not None and example.label >= 0
        counts = not example.counted and example.first is not None and example.label is not None
        example.learned, example.counted = example.learned or learns, example.counted or counts
        self._examples.update(example)
        try:
            if learns:
                self._learn(example)
        finally:
            if counts:
                self._count(example)

    def _learn(self, example: Example) -> None:
        label = example.label or 0
        self._scorer.learn(example.asset, example.time, example.features, label, example.scores)
        if not label:
            self._usual.learn(np.frombuffer(example.features))

    def _count(self, example: Example) -> None:
        first, label = example.first, example.label
        if first is not None and label is not None and first >= 0:
            self._figures.count(example.time, example.scores, first, example.lead, label)

    def release(self, asset: str, times: Iterable[int]) -> None:
        """Forget examples that no record can change, except those that a big model may need again."""
        for time in times:
            if (asset, time) in self._scorer.logged:
                self._released.add((asset, time))
            else:
                self._examples.drop((asset, time))

    def forget(self, asset: str) -> None:
        """Forget every example of an asset whose state was dropped."""
        self.release(asset, [example.time for example in self._examples if example.asset == asset])

    def trim(self) -> None:
        """Forget what was kept only for the log of a big model, once that model was written."""
        for asset, time, _ in self._scorer.trim():
            if (asset, time) in self._released:
                self._released.discard((asset, time))
                self._examples.drop((asset, time))

    def waiting(self) -> list[Example]:
        """Examples whose label is known, and which no figure counts yet; in order of (time, asset)."""
        return uncounted(self._examples)

    def pending(self) -> int:
        """Examples without a label."""
        return sum(example.label is None for example in self._examples)

    def state(self) -> dict[str, Any]:
        """What is not in the examples."""
        return {"clock": self.clock, "released": sorted(self._released)}

    def restore_released(self, released: Iterable[tuple[str, int]]) -> None:
        """Take back what `state` returned as released."""
        self._released = {(asset, time) for asset, time in released}


def uncounted(examples: Iterable[Example]) -> list[Example]:
    """Those whose label is known, and which no figure counts yet; in order of (time, asset)."""
    found = [
        example
        for example in examples
        if example.first is not None and example.first >= 0 and not example.counted
    ]
    return sorted(found, key=lambda example: (example.time, example.asset))


def _waits(example: Example) -> bool:
    if example.first is None or example.label is None:
        return False
    return (example.first >= 0 and not example.counted) or (example.label >= 0 and not example.learned)
