"""Silence: an asset that sends nothing still lets time pass.

At each multiple of ``idle_timeout`` after its last arrival, an asset's label clock advances to that instant;
at ``asset_ttl`` its state is dropped. These expiries are due at exact instants of arrival time, so that a
replay repeats them: they read no clock.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import msgspec

from dataflows.items import Expiry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dataflows.fleet.plan import AssetClass

__all__ = ["Silence"]

_NEVER = 2**63


class _Heard(msgspec.Struct):
    """When an asset was last heard, and how many expiries it had since; -1 is a tombstone."""

    last: int
    fired: int


class Silence:
    """The expiries of all assets of a lane.

    Args:
        classes: by name.
        max_tombstones: how many dropped assets are remembered.
        kept: what `entry` returned, by asset; empty for a new lane.
    """

    def __init__(
        self,
        classes: Mapping[str, AssetClass],
        max_tombstones: int,
        kept: dict[str, tuple[str, int, int]],
    ) -> None:
        self._classes = classes
        self._max_tombstones = max_tombstones
        self._heard: dict[str, _Heard] = {}
        self._class_of: dict[str, str] = {}
        self._queue: list[tuple[int, str]] = []
        #: Where an asset stands in the queue; its other places there are left behind.
        self._queued: dict[str, int] = {}
        self._tombstones: list[tuple[int, str]] = []
        #: How many of the tombstones are of assets that did not come back.
        self._dropped = 0
        for asset, (asset_class, last, fired) in kept.items():
            self._class_of[asset] = asset_class
            self._heard[asset] = _Heard(last, fired)
            if fired < 0:
                self._tombstones.append((last, asset))
                self._dropped += 1
            else:
                self._push(asset)
        heapq.heapify(self._tombstones)

    def hear(self, asset: str, asset_class: str, arrival: int) -> bool:
        """Note a well-formed telemetry or fault; False where that changes nothing."""
        heard = self._heard.get(asset)
        dropped = heard is not None and heard.fired < 0
        self._dropped -= dropped
        if self._classes[asset_class].idle_timeout is None:
            return self._heard.pop(asset, None) is not None
        changed = self._class_of.get(asset) != asset_class
        self._class_of[asset] = asset_class
        if heard is None:
            self._heard[asset] = _Heard(arrival, 0)
        else:
            heard.last, heard.fired = arrival, 0
        if heard is None or dropped or changed:
            self._push(asset)
        return True

    def expiries(self, arrival: int) -> Iterator[Expiry]:
        """What is due before a record that arrives at an instant, in order of (due, asset)."""
        while self._queue and self._queue[0][0] < arrival:
            due, asset = self._queue[0]
            if self._queued.get(asset) != due:
                heapq.heappop(self._queue)
                continue
            actual = self._next_due(asset)
            if actual is not None and actual > due:
                # It was heard since; its place in the queue is brought up to date only here.
                heapq.heapreplace(self._queue, (actual, asset))
                self._queued[asset] = actual
                continue
            heapq.heappop(self._queue)
            del self._queued[asset]
            if actual is not None:
                yield from self._expire(asset, due)

    def _expire(self, asset: str, due: int) -> Iterator[Expiry]:
        heard = self._heard[asset]
        ttl = self._classes[self._class_of[asset]].asset_ttl
        if ttl is None or due < heard.last + ttl:
            heard.fired += 1
            self._push(asset)
            yield Expiry(asset, due, "silent")
            return
        heard.last, heard.fired = due, -1
        heapq.heappush(self._tombstones, (due, asset))
        self._dropped += 1
        yield Expiry(asset, due, "ttl")
        while self._dropped > self._max_tombstones:
            since, oldest = heapq.heappop(self._tombstones)
            found = self._heard.get(oldest)
            # One that came back, or was dropped again since, has left this place in the queue behind.
            if found is not None and found.fired < 0 and found.last == since:
                del self._heard[oldest]
                self._dropped -= 1
                yield Expiry(oldest, due, "buried")

    def _next_due(self, asset: str) -> int | None:
        heard = self._heard.get(asset)
        asset_class = self._classes[self._class_of[asset]]
        if heard is None or heard.fired < 0 or asset_class.idle_timeout is None:
            return None
        due = heard.last + (heard.fired + 1) * asset_class.idle_timeout
        return due if asset_class.asset_ttl is None else min(due, heard.last + asset_class.asset_ttl)

    def _push(self, asset: str) -> None:
        due = self._next_due(asset)
        if due is not None and due < self._queued.get(asset, _NEVER):
            self._queued[asset] = due
            heapq.heappush(self._queue, (due, asset))

    def entry(self, asset: str) -> tuple[str, int, int] | None:
        """Plain data of one asset, None where nothing is known of it."""
        heard = self._heard.get(asset)
        return None if heard is None else (self._class_of[asset], heard.last, heard.fired)
