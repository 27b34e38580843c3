"""Rows that were finished before the groups, on their way to the outputs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from dataflows.items import Item, Row, encode
from dataflows.snapshots import seal, unseal

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Passing"]

_VERSION = 1


class Passing:
    """A stage that hands on what it is given, and counts by reason what lane and assets could not use.

    Args:
        main: what `main_snapshot` returned, None for a new stage.
    """

    def __init__(self, main: bytes | None) -> None:
        self._rejected: Counter[str] = Counter({} if main is None else unseal("passing", _VERSION, main))

    def process(self, items: list[Item]) -> list[Item]:
        """The same items."""
        for item in items:
            if isinstance(item.body, Row) and item.body.reason is not None:
                self._rejected[item.body.reason] += 1
        return items

    def changed(self) -> Iterable[int]:
        """Nothing ever: there are no parts."""
        return ()

    def main_snapshot(self) -> bytes:
        """The counts."""
        return seal("passing", _VERSION, self._rejected)

    def part_snapshot(self, part: int) -> bytes:  # noqa: ARG002 - the protocol of a stage in parts
        """Nothing."""
        return b""

    def finish(self) -> list[Item]:
        """What could not be used, for the summary."""
        body = Row("summary", encode({"input": {"rejected": dict(sorted(self._rejected.items()))}}))
        return [Item(0, 0, None, 0, ("", 0, 0), body)]
