"""Rows about state that was restarted by a change of the fleet, published with the next event."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from dataflows.instants import format_instant
from dataflows.items import Row, encode

if TYPE_CHECKING:
    from dataflows.items import Item

__all__ = ["Migrations"]

_log = structlog.get_logger()


class Migrations:
    """Rows of the changes, one for each class or target whose state was restarted.

    Args:
        migrated: names, and the loss; in order.

    Attributes:
        told: number of published rows; includes all that are older than the store's lane.
    """

    def __init__(self, migrated: tuple[tuple[str, str], ...]) -> None:
        self._migrated = migrated
        self.told = len(migrated)

    def __bool__(self) -> bool:
        """Whether there are unpublished rows."""
        return self.told < len(self._migrated)

    def tell(self, item: Item) -> list[Row]:
        """Publish the remaining rows."""
        untold = self._migrated[self.told :]
        self.told = len(self._migrated)
        for name, why in untold:
            _log.info("migrated", name=name, why=why)
        told = {"known": format_instant(item.known), "sequence": item.sequence}
        rows = ({"change": "migrated", "name": name, "why": why, **told} for name, why in untold)
        return [Row("changes", encode(row)) for row in rows]
