"""Tables kept in buckets of assets, so that a snapshot writes only the buckets that changed."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dataflows.state.snapshots import Kind

__all__ = ["BUCKETS", "Buckets"]

BUCKETS = 16


class Buckets:
    """Which assets of a table lie in which bucket, and which buckets changed.

    The table itself stays with its owner, who gives an asset's plain data when a bucket is written.

    Args:
        kind: kind of its snapshots.
        entry: plain data of an asset, None where the table has nothing of it.
    """

    def __init__(self, kind: Kind[Any], entry: Callable[[str], Any]) -> None:
        self._kind = kind
        self._entry = entry
        self._assets: list[set[str]] = [set() for _ in range(BUCKETS)]
        self._changed: set[int] = set()

    @staticmethod
    def read(kind: Kind[Any], sealed: Mapping[int, bytes]) -> dict[str, Any]:
        """The whole table from its buckets, by asset.

        Args:
            kind: kind of its snapshots.
            sealed: its buckets by number.
        """
        table: dict[str, Any] = {}
        for number in sorted(sealed):
            table.update(kind.unseal(sealed[number]))
        return table

    def restore(self, table: Mapping[str, Any]) -> None:
        """Sort in the assets of a table that was read."""
        for asset in table:
            self._assets[_bucket(asset)].add(asset)

    def touch(self, asset: str) -> None:
        """Note that the table changed for an asset."""
        bucket = _bucket(asset)
        self._assets[bucket].add(asset)
        self._changed.add(bucket)

    def touch_all(self) -> None:
        """Note that all of the table changed, since it was read under another configuration."""
        self._changed.update(number for number, assets in enumerate(self._assets) if assets)

    def changed(self) -> list[int]:
        """Buckets to write since this was last asked."""
        changed = sorted(self._changed)
        self._changed.clear()
        return changed

    def bucket(self, number: int) -> bytes:
        """One bucket, sealed; assets without an entry are dropped."""
        table = {}
        for asset in sorted(self._assets[number]):
            entry = self._entry(asset)
            if entry is None:
                self._assets[number].discard(asset)
            else:
                table[asset] = entry
        return self._kind.seal(table)


def _bucket(asset: str) -> int:
    return zlib.crc32(asset.encode()) % BUCKETS
