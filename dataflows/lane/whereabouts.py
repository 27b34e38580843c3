"""Whereabouts: site of each asset when it was last scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflows.snapshots import Older

__all__ = ["WHEREABOUTS_OLDER", "WHEREABOUTS_VERSION", "Whereabouts"]


_Entry: TypeAlias = tuple["int | None", "int | None", tuple[str, ...], "int | None", tuple[str, ...]]


class _Seen(msgspec.Struct):
    """Latest sites of an asset.

    Attributes:
        latest: largest time of its telemetry; None if there was none.
        scored: the same, None after the asset was dropped.
        sites: sites in its messages of this time, nearly always one.
        before: the time before it, for an asset that may still wait to score the latest.
        sites_before: sites in its messages of that time.
    """

    latest: int | None = None
    scored: int | None = None
    sites: tuple[str, ...] = ()
    before: int | None = None
    sites_before: tuple[str, ...] = ()


def _without_faults(table: dict[str, Any]) -> dict[str, Any]:
    """Upgrade version 2: it has the largest time of telemetry or fault, one site, and no time before."""
    return {
        asset: (scored, scored, () if site is None else (site,), None, ())
        for asset, (_, scored, site) in table.items()
    }


WHEREABOUTS_VERSION = 3
WHEREABOUTS_OLDER: Older = {2: _without_faults}


class Whereabouts:
    """Site of every asset's latest on-time telemetry.

    It applies the assets' rule for on time and late, but lacks their own knowledge: identities, resets of
    their windows, and complete times. So an asset decides finally about each revision.

    Args:
        kept: results of `entry`, by asset; empty for a new lane.
    """

    def __init__(self, kept: dict[str, _Entry]) -> None:
        self._seen: dict[str, _Seen] = {}
        self._at: dict[str, set[str]] = {}
        for asset, found in kept.items():
            latest, scored, sites, before, sites_before = found
            seen = _Seen(latest, scored, tuple(sites), before, tuple(sites_before))
            self._seen[asset] = seen
            self._enter(asset, seen)

    def scored(self, asset: str, time: int, site: str | None, *, waits: bool) -> None:
        """Note telemetry and the site of the asset; late telemetry does not move it.

        Args:
            asset: its name.
            time: time of the telemetry, microseconds.
            site: its site.
            waits: whether the asset may wait to score this time, so that the one before is still the latest.
        """
        seen = self._seen.get(asset)
        if seen is None:
            seen = self._seen[asset] = _Seen()
        named = () if site is None else (site,)
        if time == seen.before:
            seen.sites_before = tuple(dict.fromkeys(seen.sites_before + named))
        elif time == seen.scored:
            seen.sites = tuple(dict.fromkeys(seen.sites + named))
        elif seen.latest is None or time >= seen.latest:
            self._leave(asset, seen)
            seen.before, seen.sites_before = (seen.scored, seen.sites) if waits else (None, ())
            seen.latest = seen.scored = time
            seen.sites = named
        self._enter(asset, seen)

    def dropped(self, asset: str, *, for_good: bool) -> None:
        """Note that the state of an asset was dropped, and maybe its tombstone too."""
        seen = self._seen.get(asset)
        if seen is None:
            return
        self._leave(asset, seen)
        seen.scored = seen.before = None
        seen.sites = seen.sites_before = ()
        if for_good:
            del self._seen[asset]

    def present(self, site: str) -> Iterator[tuple[str, list[int]]]:
        """Assets at a site, by name, with the times at which they were scored there, latest first."""
        for asset in sorted(self._at.get(site, ())):
            seen = self._seen[asset]
            times = ((seen.scored, seen.sites), (seen.before, seen.sites_before))
            yield asset, [time for time, sites in times if time is not None and site in sites]

    def _enter(self, asset: str, seen: _Seen) -> None:
        for site in seen.sites + seen.sites_before:
            self._at.setdefault(site, set()).add(asset)

    def _leave(self, asset: str, seen: _Seen) -> None:
        for site in {*seen.sites, *seen.sites_before}:
            self._at[site].discard(asset)
            if not self._at[site]:
                del self._at[site]

    def entry(self, asset: str) -> _Entry | None:
        """Plain data of one asset, None if nothing is known."""
        seen = self._seen.get(asset)
        return None if seen is None else msgspec.structs.astuple(seen)
