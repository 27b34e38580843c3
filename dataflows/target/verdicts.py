"""Verdicts: what people found who looked at assets after alerts, as counts and as a precision of alerts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from dataflows.target.monitors import Monitor

if TYPE_CHECKING:
    from dataflows.items import Item, Judged
    from dataflows.target.examples import LabelChange
    from dataflows.target.monitors import Context, Rows

__all__ = ["JUDGED", "Verdicts"]

#: Reasons of labels that a verdict gave.
JUDGED = frozenset({"confirmed", "healthy"})


class Verdicts(Monitor):
    """Verdicts of one target, and the examples that have their label from one.

    The share of confirmed ones among those that are not unclear estimates the precision of alerts, without
    the bias that repairs cause, if the alerts that are judged are chosen at random.
    """

    name: ClassVar[str] = "verdicts"

    def __init__(self, state: Any) -> None:  # noqa: ANN401 - plain data of any shape
        self._found: Counter[str] = Counter({} if state is None else state["found"])
        self._examples: Counter[str] = Counter({} if state is None else state["examples"])

    @classmethod
    @override
    def open(cls, context: Context, state: Any) -> Verdicts:
        return cls(state)

    @override
    def judged(self, item: Item, judged: Judged) -> Rows:
        self._found[judged.verdict] += 1
        self.changed = True
        return ()

    @override
    def matured(self, item: Item, change: LabelChange) -> Rows:
        before = None if change.before is None else change.before.why
        for why, sign in ((before, -1), (change.matured.why, 1)):
            if why in JUDGED:
                self._examples[why] += sign
                self.changed = True
        return ()

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
            }
        }

    @override
    def state(self) -> Any:
        return {"found": dict(self._found), "examples": dict(self._examples)} if self._found else None
