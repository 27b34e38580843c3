"""Whereabouts: at which site each asset was when it was last scored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Whereabouts"]


class _Seen(msgspec.Struct):
    """The largest time of telemetry or fault; time and site of the latest telemetry that was on time."""

    newest: int
    scored: int | None
    site: str | None


class Whereabouts:
    """The site of every asset's latest on-time telemetry.

    It follows the rule by which assets tell on time from late, but not what only they know: identities, and
    resets of their windows. So an asset has the last word on what is sent to it.

    Args:
        kept: what `entry` returned, by asset; empty for a new lane.
    """

    def __init__(self, kept: dict[str, tuple[int, int | None, str | None]]) -> None:
        self._seen: dict[str, _Seen] = {}
        self._at: dict[str, set[str]] = {}
        for asset, (newest, scored, site) in kept.items():
            self._seen[asset] = _Seen(newest, scored, site)
            if site is not None:
                self._at.setdefault(site, set()).add(asset)

    def scored(self, asset: str, time: int, site: str | None, lateness: int) -> None:
        """Note telemetry, and where the asset was; what is late, or too late to merge, moves it nowhere."""
        seen = self._seen.get(asset)
        if seen is None:
            seen = self._seen[asset] = _Seen(time, None, None)
        elif time < seen.newest and (time != seen.scored or time < seen.newest - lateness):
            return
        seen.newest = max(seen.newest, time)
        seen.scored = time
        if site != seen.site:
            self._leave(asset, seen)
            seen.site = site
            if site is not None:
                self._at.setdefault(site, set()).add(asset)

    def failing(self, asset: str, time: int) -> None:
        """Note a fault: telemetry before it is late from now on."""
        seen = self._seen.get(asset)
        if seen is None:
            self._seen[asset] = _Seen(time, None, None)
        else:
            seen.newest = max(seen.newest, time)

    def dropped(self, asset: str, *, for_good: bool) -> None:
        """Note that the state of an asset was dropped, and maybe its tombstone too."""
        seen = self._seen.get(asset)
        if seen is None:
            return
        self._leave(asset, seen)
        seen.scored = seen.site = None
        if for_good:
            del self._seen[asset]

    def present(self, site: str) -> Iterator[tuple[str, int]]:
        """Assets at a site, with the time at which they were scored there, by name."""
        for asset in sorted(self._at.get(site, ())):
            scored = self._seen[asset].scored
            if scored is not None:
                yield asset, scored

    def _leave(self, asset: str, seen: _Seen) -> None:
        if seen.site is None:
            return
        there = self._at[seen.site]
        there.discard(asset)
        if not there:
            del self._at[seen.site]

    def entry(self, asset: str) -> tuple[int, int | None, str | None] | None:
        """Plain data of one asset, None where nothing is known of it."""
        seen = self._seen.get(asset)
        return None if seen is None else (seen.newest, seen.scored, seen.site)
