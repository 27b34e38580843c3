"""What an asset makes of a record beside observations: rows, and the place of each thing among the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec

from dataflows.events import Reject, kind_of
from dataflows.items import Item, Late, Row, asset_part, encode, reject_row

if TYPE_CHECKING:
    from dataflows.events import AssetEvent
    from dataflows.items import Counted

__all__ = ["counted", "dropped", "late", "rejected", "then"]


def rejected(item: Item, event: AssetEvent, reason: str, detail: str) -> Item:
    """The row of an event that cannot be used, though the lane had accepted it."""
    row = reject_row(item, Reject(reason, detail, event.asset), event)
    row.body = msgspec.structs.replace(cast("Row", row.body), kind=kind_of(event))
    return row


def late(item: Item, index: int) -> Item:
    """The note that an event came late and was merged, as the index-th thing that the asset made of it."""
    return Item(item.sequence, asset_part(item.part, index), item.arrival, item.known, item.position, Late())


def counted(item: Item, what: Counted, index: int) -> Item:
    """Something that the summary counts, as the index-th thing that the asset made of a record."""
    return Item(item.sequence, asset_part(item.part, index), item.arrival, item.known, item.position, what)


def dropped(item: Item, asset: str, index: int) -> Item:
    """The row that tells that an asset's state was dropped, as the index-th thing made of an expiry."""
    row = {
        "change": "asset_dropped",
        "asset": asset,
        "why": "silent for asset_ttl",
        "sequence": item.sequence,
    }
    body = Row("changes", encode(row))
    return Item(item.sequence, asset_part(item.part, index), item.arrival, item.known, item.position, body)


def then(first: list[Item], second: list[Item]) -> list[Item]:
    """What an asset made of a record in two steps, each numbered from its beginning."""
    for item in second:
        item.part = asset_part(item.part, len(first))
    return first + second
