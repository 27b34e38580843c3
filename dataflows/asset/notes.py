"""What an asset makes of a record beside observations: rows, places among the others, what it is known by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflows.events import Failure, Reject
from dataflows.items import Item, Late, Row, asset_part, encode, reject_row

if TYPE_CHECKING:
    from dataflows.asset.records import Kind
    from dataflows.events import Event, Fault, Maintenance

__all__ = ["dropped", "identity", "kind_of", "late", "rejected", "then"]


def rejected(item: Item, event: Event, reason: str, detail: str) -> Item:
    """The row of an event that cannot be used."""
    return reject_row(item, Reject(reason, detail, event.asset), event)


def late(item: Item, index: int) -> Item:
    """The note that an event came late and was merged, as the index-th thing that the asset made of it."""
    return Item(item.sequence, asset_part(item.part, index), item.arrival, item.known, item.position, Late())


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


def identity(fault: Fault) -> str:
    """What a fault is known again by."""
    # Ids are printable, so none of telemetry is like one of these, and no id like a content.
    return f"\x1f{fault.code}\x1f{fault.time}" if fault.id is None else f"\x1e{fault.id}"


def kind_of(record: Failure | Maintenance) -> Kind:
    """The kind of a record, by its name."""
    return "failure" if isinstance(record, Failure) else "maintenance"
