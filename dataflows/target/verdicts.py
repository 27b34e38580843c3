"""Verdicts: count people's findings after alerts, and correct the champion's figures by them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from typing_extensions import override

from dataflows.scoring import log_loss
from dataflows.target.examples import Standing
from dataflows.target.monitors import Monitor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows.items import Item, Judged
    from dataflows.target.examples import Example, LabelChange
    from dataflows.target.monitors import Context, Rows

__all__ = ["JUDGED", "Verdicts", "corrected"]

#: Reasons of labels that come from a verdict.
JUDGED = frozenset({"confirmed", "healthy"})


class Sums(NamedTuple):
    """Sums over examples.

    Attributes:
        examples: their number.
        positives: number of them that failed or would have.
        loss: sum of the log losses.
    """

    examples: float = 0.0
    positives: float = 0.0
    loss: float = 0.0

    def plus(self, other: Sums, weight: float = 1.0) -> Sums:
        """Return the sums over both, the others counted ``weight`` times."""
        return Sums(*(mine + weight * more for mine, more in zip(self, other, strict=True)))


def corrected(sums: Mapping[str, Mapping[bool, Sums]]) -> dict[str, float | None]:
    """Return figures in which examples with a verdict also represent those without one.

    Maintenance does not hide a random part of the examples, but the part that is judged can be. So each
    judged example is weighted by the inverse of the share that was judged, separately for examples with and
    without a warning (D. G. Horvitz and D. J. Thompson, "A generalization of sampling without replacement
    from a finite universe", JASA 47, 1952; J. Hájek's ratio).

    Args:
        sums: of the examples whose label was ``seen``, of those that were ``judged`` and of those that stay
            ``hidden``; each by whether the score warned.

    Returns:
        Precision, recall and log loss, and the mean weight of a judged example; None if no hidden example was
        judged.

    Example:
        >>> sums = {"seen": {True: Sums(10, 6, 2.0), False: Sums(90, 2, 1.0)}}
        >>> sums["judged"] = {True: Sums(4, 3, 1.0), False: Sums(2, 1, 0.5)}
        >>> sums["hidden"] = {True: Sums(4), False: Sums(2)}
        >>> found = corrected(sums)
        >>> found["weight"], round(found["precision"], 3), round(found["recall"], 3)
        (2.0, 0.667, 0.75)
    """
    whole: dict[bool, Sums] = {}
    for warned in (False, True):
        seen, judged, hidden = (sums[kind][warned] for kind in ("seen", "judged", "hidden"))
        if hidden.examples and not judged.examples:
            return dict.fromkeys(("precision", "recall", "log_loss", "weight"))
        weight = 1.0 + hidden.examples / judged.examples if judged.examples else 1.0
        whole[warned] = seen.plus(judged, weight)
    all_of = whole[True].plus(whole[False])
    judged_in_all = sum(sums["judged"][warned].examples for warned in (False, True))
    hidden_in_all = sum(sums["hidden"][warned].examples for warned in (False, True))
    return {
        "precision": whole[True].positives / whole[True].examples if whole[True].examples else None,
        "recall": whole[True].positives / all_of.positives if all_of.positives else None,
        "log_loss": all_of.loss / all_of.examples if all_of.examples else None,
        "weight": 1.0 + hidden_in_all / judged_in_all if judged_in_all else None,
    }


class Verdicts(Monitor):
    """Count the verdicts of one target, and the examples with a label from one.

    If the judged alerts are chosen at random, the share of confirmed verdicts among the clear ones estimates
    the precision of alerts without the bias of repairs. So do the corrected figures of published scores
    (`corrected`), if verdicts say when an asset would have failed.
    """

    name: ClassVar[str] = "verdicts"

    def __init__(self, context: Context, state: Any) -> None:  # noqa: ANN401 - plain data of any shape
        kept: dict[str, Any] = state or {"found": {}, "examples": {}, "sums": {}}
        self._threshold = context.target.threshold
        self._from = context.figures_from
        self._found: Counter[str] = Counter(kept["found"])
        self._examples: Counter[str] = Counter(kept["examples"])
        #: By the origin of the label, then by whether the score warned.
        self._sums = {kind: {False: Sums(), True: Sums()} for kind in ("seen", "judged", "hidden")}
        for kind, (below, warned) in kept["sums"].items():
            self._sums[kind] = {False: Sums(*below), True: Sums(*warned)}

    @classmethod
    @override
    def open(cls, context: Context, state: Any) -> Verdicts:
        return cls(context, state)

    @override
    def judged(self, item: Item, judged: Judged) -> Rows:
        self._found[judged.verdict] += 1
        self.changed = True
        return ()

    @override
    def matured(self, item: Item, change: LabelChange) -> Rows:
        example, matured = change.example, change.matured
        for standing, sign in ((change.before, -1), (Standing(matured.label, None, matured.why), 1)):
            if standing is None:
                continue
            if standing.why in JUDGED:
                self._examples[standing.why] += sign
            self._count(example, standing, sign)
            self.changed = True
        return ()

    def _count(self, example: Example, standing: Standing, sign: int) -> None:
        """Count an example with a label, or with ``sign`` -1 remove it."""
        score = example.scores.get(example.champion)
        before = self._from is not None and example.time < self._from
        hidden = standing.label == -1 and standing.why == "maintenance"
        if score is None or before or not (hidden or standing.label in {0, 1}):
            return
        kind = "hidden" if hidden else "judged" if standing.why in JUDGED else "seen"
        label = standing.label if not hidden else 0
        loss = 0.0 if hidden or label is None else log_loss(score, label)
        of = self._sums[kind]
        warned = score >= self._threshold
        of[warned] = of[warned].plus(Sums(1, label or 0, loss), sign)

    @override
    def summary(self) -> dict[str, Any]:
        if not self._found:
            return {}
        clear = self._found["confirmed"] + self._found["healthy"]
        return {
            "verdicts": {
                **{name: self._found[name] for name in ("confirmed", "healthy", "unclear")},
                "precision": self._found["confirmed"] / clear if clear else None,
                "examples": {name: self._examples[name] for name in sorted(JUDGED)},
                "corrected": corrected(self._sums),
            }
        }

    @override
    def state(self) -> Any:
        sums = {kind: [list(of[False]), list(of[True])] for kind, of in self._sums.items()}
        return {"found": dict(self._found), "examples": dict(self._examples), "sums": sums}
