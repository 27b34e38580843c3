"""The registry: which assets there are, and of which class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflows.events import Registration, Reject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows.fleet.plan import AssetClass, AssetPolicy

__all__ = ["Registry"]


class Registry:
    """Class and site of every asset.

    Args:
        policy: what happens to assets that no row names.
        classes: of the fleet, by name.
        kept: what `entry` returned, by asset; empty for a new lane.
    """

    def __init__(
        self,
        policy: AssetPolicy,
        classes: Mapping[str, AssetClass],
        kept: dict[str, tuple[str, str | None]],
    ) -> None:
        self._policy = policy
        self._classes = classes
        #: One for all that are adopted.
        self._adopted = (policy.adopt_as or "", None)
        self._assets = {
            asset: self._adopted if (name, site) == self._adopted else (str(name), site)
            for asset, (name, site) in kept.items()
        }

    def __len__(self) -> int:
        return len(self._assets)

    def class_of(self, asset: str) -> str | None:
        """The class of an asset, None if it is not known."""
        found = self._assets.get(asset)
        return None if found is None else found[0]

    def site_of(self, asset: str) -> str | None:
        """Where the latest registry row of an asset says that it is."""
        found = self._assets.get(asset)
        return None if found is None else found[1]

    def adopt(self, asset: str) -> str | Reject:
        """The class that an unknown asset is given, or why it is given none."""
        policy = self._policy
        if policy.unknown == "reject" or policy.adopt_as is None:
            return Reject("unknown_asset", "no registry row names it", asset)
        if full := self._full(asset):
            return full
        self._assets[asset] = self._adopted
        return policy.adopt_as

    def register(self, row: Registration) -> str | Reject:
        """Take a registry row; the asset's class, or why the row cannot be used."""
        if row.asset_class not in self._classes:
            known = ", ".join(sorted(self._classes))
            return Reject(
                "unknown_class", f"class: expected one of {known}, got {row.asset_class!r}", row.asset
            )
        if row.asset not in self._assets and (full := self._full(row.asset)):
            return full
        self._assets[row.asset] = (row.asset_class, row.site)
        return row.asset_class

    def _full(self, asset: str) -> Reject | None:
        if len(self._assets) < self._policy.max_assets:
            return None
        return Reject("unknown_asset", f"max_assets = {self._policy.max_assets:,} is reached", asset)

    def entry(self, asset: str) -> tuple[str, str | None]:
        """Plain data of one asset."""
        return self._assets[asset]
