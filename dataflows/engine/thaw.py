"""Run a stage as the state of `stateful_map`, with snapshots of versioned bytes."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataflows.items import Item

__all__ = ["Freezing", "as_state"]


class Freezing(Protocol):
    """A stage for one item at a time that can be written as bytes."""

    def process(self, item: Item) -> list[Item]:
        """Process one item; return the outputs."""
        ...

    def __deepcopy__(self, memo: dict[int, Any]) -> bytes:
        """Sealed state.

        `stateful_map` deep-copies its state at the end of an epoch, and pickles the copy into the recovery
        store. A pickled stage would tie the store to this release's classes; so the deep copy of a stage is
        its bytes, and the first item after a resume thaws them.
        """
        ...

    @property
    def finished(self) -> bool:
        """Whether the state can be discarded."""
        ...

    @property
    def dormant(self) -> bool:
        """Whether the state is so small that only its bytes are kept until the next item."""
        ...


def as_state(
    build: Callable[[Item, bytes | None], Freezing | None],
) -> Callable[[Any, Item], tuple[Any, list[Item]]]:
    """Make a mapper for `stateful_map` that runs one stage a key.

    Args:
        build: builds the stage for an item's key, from its bytes after a resume; None for a passing item.
    """

    def mapper(state: Freezing | bytes | None, item: Item) -> tuple[Freezing | bytes | None, list[Item]]:
        if state is None or isinstance(state, bytes):
            state = build(item, state)
            if state is None:
                return None, [item]
        items = state.process(item)
        if state.finished:
            return None, items
        return (deepcopy(state) if state.dormant else state), items

    return mapper
