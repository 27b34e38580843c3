"""Keys, a batch at a time: a call for every item would cost more than finding its key."""

from __future__ import annotations

# The decorator reads the annotations when it is applied, so these are needed at run time.
from collections.abc import Callable  # noqa: TC003

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream  # noqa: TC002

from dataflows.items import Item  # noqa: TC001

__all__ = ["keyed"]


@operator
def keyed(step_id: str, up: Stream[Item], key_of: Callable[[Item], str]) -> KeyedStream[Item]:  # noqa: ARG001
    """Key items by what they are about; as `bytewax.operators.key_on`, for whole batches."""

    def with_keys(batch: list[Item]) -> list[tuple[str, Item]]:
        return [(key_of(item), item) for item in batch]

    return op.flat_map_batch("keys", up, with_keys)
