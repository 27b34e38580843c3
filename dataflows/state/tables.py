"""Tables kept in buckets of assets, so that a snapshot writes only the buckets that changed."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from dataflows.state.snapshots import seal, unseal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dataflows.state.snapshots import Older

__all__ = ["BUCKETS", "Buckets"]

BUCKETS = 16
_VERSION = 2


class Buckets:
    """Which assets of a table lie in which bucket, and which buckets changed.

    The table itself stays with its owner, who gives an asset's plain data when a bucket is written.

    Args:
        kind: what the table is, for its snapshots.
        entry: plain data of an asset, None where the table has nothing of it.
        version: of its entries.
    """

    def __init__(self, kind: str, entry: Callable[[str], Any], version: int = _VERSION) -> None:
        self._kind = kind
        self._version = version
        self._entry = entry
        self._assets: list[set[str]] = [set() for _ in range(BUCKETS)]
        self._changed: set[int] = set()

    @staticmethod
    def read(
        kind: str, sealed: Mapping[int, bytes], version: int = _VERSION, older: Older | None = None
    ) -> dict[str, Any]:
        """The whole table from its buckets, by asset.

        Args:
            kind: what the table is.
            sealed: its buckets by number.
            version: of its entries.
            older: how tables of older versions become newer ones.
        """
        table: dict[str, Any] = {}
        for number in sorted(sealed):
            table.update(unseal(kind, version, sealed[number], older))
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
        """One bucket, sealed; assets of which nothing is left are let go."""
        table = {}
        for asset in sorted(self._assets[number]):
            entry = self._entry(asset)
            if entry is None:
                self._assets[number].discard(asset)
            else:
                table[asset] = entry
        return seal(self._kind, self._version, table)


def _bucket(asset: str) -> int:
    return zlib.crc32(asset.encode()) % BUCKETS
