"""The registry: known assets and their classes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import orjson

from dataflows.events import Registration, Reject
from dataflows.state.snapshots import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dataflows.fleet.fleet import AssetClass, AssetPolicy

__all__ = ["REGISTRY", "Registry"]

#: Buckets of `Registry.entry`.
REGISTRY: Kind[None] = Kind("registry", 2)


class _Entry(NamedTuple):
    """Entry of an asset.

    Attributes:
        filed: digest of its latest row in a registry file, None without one.
        sends: whether it ever sent telemetry.
    """

    asset_class: str
    site: str | None
    filed: bytes | None = None
    sends: bool = False


class Registry:
    """Class and site of every asset.

    Args:
        policy: treatment of assets without a row.
        classes: of the fleet, by name.
        kept: results of `entry`, by asset; empty for a new lane.
    """

    def __init__(
        self,
        policy: AssetPolicy,
        classes: Mapping[str, AssetClass],
        kept: dict[str, list[object]],
    ) -> None:
        self._policy = policy
        self._classes = classes
        #: One entry for all adopted assets, before and after their first telemetry.
        self._adopted = _Entry(policy.adopt_as or "", None)
        self._adopted_sends = self._adopted._replace(sends=True)
        self._assets = {asset: self._shared(_restored(found)) for asset, found in kept.items()}

    def _shared(self, entry: _Entry) -> _Entry:
        """Share one entry among equal assets."""
        if entry == self._adopted:
            return self._adopted
        return self._adopted_sends if entry == self._adopted_sends else entry

    def __len__(self) -> int:
        return len(self._assets)

    def class_of(self, asset: str) -> str | None:
        """Class of an asset, None if it is unknown."""
        found = self._assets.get(asset)
        return None if found is None else found[0]

    def site_of(self, asset: str) -> str | None:
        """Site of the latest registry row of an asset."""
        found = self._assets.get(asset)
        return None if found is None else found[1]

    def adopt(self, asset: str) -> str | Reject:
        """Give an unknown asset a class, or return the reason for none."""
        policy = self._policy
        if policy.unknown == "reject" or policy.adopt_as is None:
            return Reject("unknown_asset", "no registry row names it", asset)
        if full := self._full(asset):
            return full
        self._assets[asset] = self._adopted
        return policy.adopt_as

    def sends(self, asset: str) -> bool:
        """Whether a known asset ever sent telemetry."""
        return self._assets[asset].sends

    def began_to_send(self, asset: str) -> None:
        """Note the first telemetry of a known asset."""
        self._assets[asset] = self._shared(self._assets[asset]._replace(sends=True))

    def sending(self) -> Iterator[str]:
        """Names of assets that ever sent telemetry."""
        return (asset for asset, entry in self._assets.items() if entry.sends)

    def names(self) -> Iterator[str]:
        """Names of all assets."""
        return iter(self._assets)

    def is_filed(self, row: Registration) -> bool:
        """Whether a row of a registry file is unchanged since the file was last read."""
        found = self._assets.get(row.asset)
        return found is not None and found.filed == _digest(row)

    def register(self, row: Registration, *, filed: bool = False) -> str | Reject:
        """Apply a registry row; return the asset's class, or the reason why the row cannot be used.

        Args:
            row: the row; without a site the asset keeps its site.
            filed: whether it comes from a registry file.
        """
        if row.asset_class not in self._classes:
            known = ", ".join(sorted(self._classes))
            return Reject(
                "unknown_class", f"class: expected one of {known}, got {row.asset_class!r}", row.asset
            )
        if row.asset not in self._assets and (full := self._full(row.asset)):
            return full
        before = self._assets.get(row.asset, self._adopted)
        self._assets[row.asset] = _Entry(
            row.asset_class,
            before.site if row.site is None else row.site,
            _digest(row) if filed else before.filed,
            before.sends,
        )
        return row.asset_class

    def _full(self, asset: str) -> Reject | None:
        if len(self._assets) < self._policy.max_assets:
            return None
        return Reject("unknown_asset", f"max_assets = {self._policy.max_assets:,} is reached", asset)

    def entry(self, asset: str) -> tuple[str, str | None, bytes | None, bool]:
        """Plain data of one asset."""
        name, site, filed, sends = self._assets[asset]
        return name, site, filed, sends


def _restored(kept: list[object]) -> _Entry:
    """Restore an entry from its plain data."""
    name, site, *rest = kept
    # A former release kept two: it is not known what such an asset sent, so it is not reported.
    filed, sends = rest or (None, True)
    return _Entry(
        str(name),
        None if site is None else str(site),
        filed if isinstance(filed, bytes) else None,
        bool(sends),
    )


def _digest(row: Registration) -> bytes:
    """Digest of a row, eight bytes."""
    content = (row.asset_class, row.site, row.attributes, row.retired)
    said = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(said, digest_size=8).digest()
