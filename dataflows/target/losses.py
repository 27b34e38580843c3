"""Losses of the champion as counters, for the metrics of a run.

Log loss is a mean, and a mean cannot be taken over a time of one's choice. So the metrics hold two
counters, a sum and a number, whose rates give the log loss over any window: see docs/metrics.md.
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
    from dataflows.target.examples import Example
    from dataflows.target.monitors import Context, Rows

__all__ = ["Losses", "expected_loss"]


def expected_loss(score: float) -> float:
    """Log loss that a score expects of itself: the mean over labels that come true as often as it says.

    >>> round(expected_loss(0.5), 4), round(expected_loss(0.1), 4)
    (0.6931, 0.3251)
    """
    clipped = min(max(score, CLIP), 1 - CLIP)
    return -clipped * math.log(clipped) - (1 - clipped) * math.log(1 - clipped)


class Losses(Monitor):
    """Sums of log loss by role, and numbers of examples by label, of this process; nothing is stored.

    Roles are ``champion``, the published score; ``expected``, what that score expects of itself; ``prior``,
    the running prior, which knows only how often the target comes true.

    Attributes:
        sums: of log loss, by role.
        examples: number of examples, by label.
    """

    name: ClassVar[str] = "losses"

    def __init__(self, context: Context) -> None:
        self._models = context.models
        self.sums = dict.fromkeys(("champion", "expected", "prior"), 0.0)
        self.examples: Counter[str] = Counter()

    @classmethod
    @override
    def open(cls, context: Context, state: Any) -> Losses:
        return cls(context)

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
