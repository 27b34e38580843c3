"""What of the stored state began anew since the fleet was changed: told with the first event after."""

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
    """Rows of the changes, one for each class or target that was allowed to begin anew.

    Args:
        migrated: names, and what was lost; in order.

    Attributes:
        told: how many of them were told; all of those that are older than the store's lane.
    """

    def __init__(self, migrated: tuple[tuple[str, str], ...]) -> None:
        self._migrated = migrated
        self.told = len(migrated)

    def __bool__(self) -> bool:
        """Whether there is something to tell."""
        return self.told < len(self._migrated)

    def tell(self, item: Item) -> list[Row]:
        """What was not told yet."""
        untold = self._migrated[self.told :]
        self.told = len(self._migrated)
        for name, why in untold:
            _log.info("migrated", name=name, why=why)
        told = {"known": format_instant(item.known), "sequence": item.sequence}
        rows = ({"change": "migrated", "name": name, "why": why, **told} for name, why in untold)
        return [Row("changes", encode(row)) for row in rows]
