"""Key items in batches: a call for every item would cost more than finding its key."""

from __future__ import annotations

# The decorator reads the annotations when it is applied, so these are needed at run time.
from collections.abc import Callable  # noqa: TC003
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream  # noqa: TC002

from dataflows.items import Item  # noqa: TC001

__all__ = ["keyed"]


@operator
def keyed(
    step_id: str,  # noqa: ARG001 - the decorator uses it
    up: Stream[Any],
    key_of: Callable[[Item], str],
    made_of: Callable[[list[Any]], list[Item]] | None = None,
) -> KeyedStream[Item]:
    """Key items as `bytewax.operators.key_on`, but for whole batches.

    Args:
        step_id: unique id.
        up: items, or inputs of ``made_of``.
        key_of: returns the key of an item.
        made_of: makes items of a batch first, in the same step, since each step costs every item something.
    """

    def with_keys(batch: list[Any]) -> list[tuple[str, Item]]:
        return [(key_of(item), item) for item in (batch if made_of is None else made_of(batch))]

    return op.flat_map_batch("keys", up, with_keys)
