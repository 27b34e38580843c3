"""Restore the order of effect, one activation at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic
from typing_extensions import override

from dataflows.items import Item, by_order

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["in_order"]


class _Sorter(StatefulBatchLogic[Item, Item, None]):
    @override
    def on_batch(self, values: list[Item]) -> tuple[Iterable[Item], bool]:
        values.sort(key=by_order)
        return values, StatefulBatchLogic.DISCARD

    @override
    def on_eof(self) -> tuple[Iterable[Item], bool]:
        return (), StatefulBatchLogic.DISCARD

    @override
    def snapshot(self) -> None:
        return None


@operator
def in_order(step_id: str, up: KeyedStream[Item]) -> KeyedStream[Item]:  # noqa: ARG001 - the decorator uses it
    """Sort the items of one activation and key by (sequence, part).

    The engine runs the keys of one activation in the order of their names, so the items that several keys
    made of one source batch arrive grouped by key. With one worker a source batch is one activation of each
    step, and sorting it restores the global order.
    """
    return op.stateful_batch("sort", up, lambda _resume: _Sorter())
