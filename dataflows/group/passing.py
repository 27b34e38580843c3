"""Rows that were finished before the groups, on their way to the outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dataflows.items import Item

__all__ = ["Passing"]


class Passing:
    """A stage without state that hands on what it is given."""

    def process(self, items: list[Item]) -> list[Item]:
        """The same items."""
        return items

    def changed(self) -> Iterable[int]:
        """Nothing ever."""
        return ()

    def main_snapshot(self) -> bytes:
        """Nothing."""
        return b""

    def part_snapshot(self, part: int) -> bytes:  # noqa: ARG002 - the protocol of a stage in parts
        """Nothing."""
        return b""

    def finish(self) -> list[Item]:
        """Nothing."""
        return []
