"""A stage as the state of `stateful_map`, which snapshots itself as versioned bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataflows.items import Item

__all__ = ["Freezing", "Thawed", "as_state"]


class Freezing(Protocol):
    """A stage for one item at a time that can be written as bytes."""

    def process(self, item: Item) -> list[Item]:
        """Take one item; return what follows from it."""
        ...

    def to_bytes(self) -> bytes:
        """The state, sealed."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the state can be let go."""
        ...


class Thawed:
    """Holds a stage while it is at work.

    `stateful_map` deep-copies its state at the end of an epoch, and pickles the copy into the recovery store.
    A pickled stage would tie the store to this release's classes; so the deep copy of a stage is its bytes,
    and the first item after a resume thaws them.
    """

    __slots__ = ("stage",)

    def __init__(self, stage: Freezing) -> None:
        self.stage = stage

    def __deepcopy__(self, memo: dict[int, Any]) -> bytes:
        return self.stage.to_bytes()


def as_state(
    build: Callable[[Item, bytes | None], Freezing | None],
) -> Callable[[Thawed | bytes | None, Item], tuple[Thawed | None, list[Item]]]:
    """A mapper for `stateful_map` that runs one stage a key.

    Args:
        build: makes the stage for an item's key, from its bytes after a resume; None for an item that passes.
    """

    def mapper(state: Thawed | bytes | None, item: Item) -> tuple[Thawed | None, list[Item]]:
        if not isinstance(state, Thawed):
            stage = build(item, state)
            if stage is None:
                return None, [item]
            state = Thawed(stage)
        items = state.stage.process(item)
        return (None if state.stage.finished else state), items

    return mapper
