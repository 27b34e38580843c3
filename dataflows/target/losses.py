"""Losses of the champion as counters, for the metrics of a run.

A mean log loss is fixed to one window. So the metrics hold two counters, the sum of losses and the number of
examples, whose rates give the log loss over any window: see docs/metrics.md.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from dataflows.scoring import CLIP, log_loss
from dataflows.target.monitors import Monitor

if TYPE_CHECKING:
    from dataflows.items import Item
    from dataflows.target.examples import Example, LabelChange
    from dataflows.target.monitors import Context, Rows

__all__ = ["Losses", "expected_loss"]

_LABELS = {1: "positive", 0: "negative", -1: "censored"}


def expected_loss(score: float) -> float:
    """Return the log loss of a score if it is calibrated: its entropy, in nats.

    >>> round(expected_loss(0.5), 4), round(expected_loss(0.1), 4)
    (0.6931, 0.3251)
    """
    clipped = min(max(score, CLIP), 1 - CLIP)
    return -clipped * math.log(clipped) - (1 - clipped) * math.log(1 - clipped)


class Losses(Monitor):
    """Sums of log loss by role, and numbers of examples by label, of this process; nothing is stored.

    Roles are ``champion``, the published score; ``expected``, the loss of that score if it is calibrated;
    ``prior``, the running prior, which is the share of positives so far.

    Attributes:
        sums: of log loss, by role.
        examples: number of examples, by label.
        last: knowledge time of the last label of each kind, microseconds.
    """

    name: ClassVar[str] = "losses"

    def __init__(self, context: Context) -> None:
        self._models = context.models
        self.sums = dict.fromkeys(("champion", "expected", "prior"), 0.0)
        self.examples: Counter[str] = Counter()
        self.last: dict[str, int] = {}

    @classmethod
    @override
    def open(cls, context: Context, state: Any) -> Losses:
        return cls(context)

    @override
    def matured(self, item: Item, change: LabelChange) -> Rows:
        label = change.matured.label
        if label is not None:
            self.last[_LABELS[label]] = item.known
        return ()

    @override
    def settled(self, item: Item, example: Example) -> Rows:
        label, prior = example.label, self._models.prior
        if label not in {0, 1}:
            return ()
        score = example.scores.get(example.champion)
        published = prior if score is None else score
        self.examples["positive" if label else "negative"] += 1
        self.sums["champion"] += log_loss(published, label)
        self.sums["expected"] += expected_loss(published)
        self.sums["prior"] += log_loss(prior, label)
        return ()
