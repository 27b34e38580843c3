"""Silence: time passes for an asset that sends nothing.

At each multiple of ``idle_timeout`` after its last arrival, an asset's label clock advances to that instant;
at ``asset_ttl`` its state is dropped. These expiries are due at exact instants of arrival time, so that a
replay repeats them: they read no clock.

Once an asset has been silent for so long that none of its examples waits or can be corrected (the reach of
its class), more expiries would only move the clock of its targets. So it rests: one wild arrival must not
make millions of expiries. Items for other assets of its class carry the label clock that its expiries would
have reached. Before its next record, the last missed expiry is applied, so its label clock is the same as
without the rest.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from typing import TYPE_CHECKING

import msgspec

from dataflows.items import Expiry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dataflows.fleet.fleet import AssetClass

__all__ = ["Silence"]

_NEVER = 2**63
#: Instead of a number of expiries: a tombstone; an asset of a class without silence.
_DROPPED, _UNWATCHED = -1, -2
#: Stale places of returned assets among the tombstones, allowed in addition to as many as there are.
_LEFT_BEHIND = 64


class _LastArrival(msgspec.Struct):
    """Last arrival of an asset, and its number of expiries since; negative: see below."""

    last: int
    fired: int


class Silence:
    """Expiries of all assets of a lane.

    Args:
        classes: by name.
        reaches: by class, microseconds of silence after which nothing is left to decide or to correct.
        max_tombstones: number of remembered dropped assets.
        kept: results of `entry`, by asset; empty for a new lane.
        counted_by: result of `counted_by` when ``kept`` was written.
        current: returns the class of an asset by the registry; None keeps the class of its last record. It
            is called again only after `leave`.
    """

    def __init__(
        self,
        classes: Mapping[str, AssetClass],
        reaches: Mapping[str, int],
        max_tombstones: int,
        kept: dict[str, tuple[str, int, int, int]],
        counted_by: Mapping[str, int] | None = None,
        current: Callable[[str], str | None] | None = None,
    ) -> None:
        self._classes = classes
        self._reaches = reaches
        self._max_tombstones = max_tombstones
        self._last_arrivals: dict[str, _LastArrival] = {}
        self._class_of: dict[str, str] = {}
        self._queue: list[tuple[int, str]] = []
        #: Place of an asset in the queue; its other places there are stale.
        self._queued: dict[str, int] = {}
        self._tombstones: list[tuple[int, str]] = []
        #: Number of tombstones of assets that did not return.
        self._dropped = 0
        #: Time up to which examples of former classes need expiries, by asset.
        self._former: dict[str, int] = {}
        #: Resting assets: class and place in `_phases`; None if they changed class since.
        self._resting: dict[str, tuple[str, int] | None] = {}
        #: Resting assets by class, as (last arrival modulo the timeout, asset), ascending: so the last to
        #: expire is found at once.
        self._phases: dict[str, list[tuple[int, str]]] = {}
        self._current = current or self._class_of.get
        self._counted_by = counted_by or {}
        for asset, found in kept.items():
            self._restore(asset, *found)
        heapq.heapify(self._tombstones)

    def _restore(self, asset: str, asset_class: str, last: int, fired: int, former: int) -> None:
        if former:
            self._former[asset] = former
        if fired == _UNWATCHED:
            return
        self._class_of[asset] = asset_class
        idle, before = self._classes[asset_class].idle_timeout, self._counted_by.get(asset_class)
        if fired > 0 and idle is not None and before is not None:
            # Past expiries stay: the next expiry is the next multiple of the present idle_timeout.
            fired = fired * before // idle
        self._last_arrivals[asset] = _LastArrival(last, fired)
        if fired == _DROPPED:
            self._tombstones.append((last, asset))
            self._dropped += 1
        else:
            self._push(asset)

    def restart(self, asset: str, asset_class: str, arrival: int) -> bool:
        """Note well-formed telemetry or a fault; False if nothing changes."""
        heard = self._last_arrivals.get(asset)
        changed = self._class_of.get(asset) != asset_class
        if heard is not None and heard.fired < 0:
            self._dropped -= 1
        elif heard is not None and changed:
            self._remember(asset, heard.last + self._reaches[self._class_of[asset]])
        if self._classes[asset_class].idle_timeout is None:
            self._wake(asset)
            return self._last_arrivals.pop(asset, None) is not None
        self._class_of[asset] = asset_class
        if heard is None:
            self._last_arrivals[asset] = _LastArrival(arrival, 0)
            self._push(asset)
            return True
        had_expiries = heard.fired != 0
        heard.last, heard.fired = arrival, 0
        if had_expiries or changed:
            self._wake(asset)
            self._push(asset)
        return True

    def leave(self, asset: str, asset_class: str, arrival: int) -> bool:
        """Note that an asset leaves a class; False if nothing changes.

        Only this object knows its remaining examples in a class without silence.
        """
        if asset in self._resting:
            self._wake(asset)
            self._rest(asset)
        if self._classes[asset_class].idle_timeout is not None or asset in self._last_arrivals:
            return False
        self._remember(asset, arrival + self._reaches[asset_class])
        return True

    def _remember(self, asset: str, until: int) -> None:
        self._former[asset] = max(until, self._former.get(asset, until))

    def missed(self, asset: str, arrival: int) -> Expiry | None:
        """Last expiry that a resting asset missed before its next arrival."""
        if asset not in self._resting:
            return None
        heard = self._last_arrivals[asset]
        idle = self._classes[self._class_of[asset]].idle_timeout
        passed = 0 if idle is None else (arrival - 1 - heard.last) // idle
        if idle is None or passed <= heard.fired:
            return None
        return Expiry(asset, heard.last + passed * idle, "silent")

    def resting_clock(self, asset_class: str, before: int | None, name: str = "") -> int | None:
        """Last expiry before (due, asset) of the resting assets of a class; None if none rests.

        An asset that changed class since its last record counts in none.

        Args:
            asset_class: its name.
            before: arrival time, None without arrivals.
            name: name of the asset, the smallest if empty.
        """
        phases = self._phases.get(asset_class)
        idle = self._classes[asset_class].idle_timeout if phases else None
        if before is None or not phases or idle is None:
            return None
        at = bisect_left(phases, (before % idle, name)) - 1
        ago = (before - phases[at][0]) % idle
        # If none is earlier in this round, it is the last of the round before.
        return before - (idle if at < 0 and ago == 0 else ago)

    def is_due(self, arrival: int) -> bool:
        """Whether `expiries` may have any at an arrival."""
        return bool(self._queue) and self._queue[0][0] < arrival

    def expiries(self, arrival: int) -> Iterator[Expiry]:
        """Expiries due before a record that arrives at an instant, in order of (due, asset)."""
        while self._queue and self._queue[0][0] < arrival:
            due, asset = self._queue[0]
            if self._queued.get(asset) != due:
                heapq.heappop(self._queue)
                continue
            actual = self._next_due(asset)
            if actual is not None and actual > due:
                # It sent records since; only now its place in the queue is updated.
                heapq.heapreplace(self._queue, (actual, asset))
                self._queued[asset] = actual
                continue
            heapq.heappop(self._queue)
            del self._queued[asset]
            if actual is not None:
                yield from self._expire(asset, due)

    def _expire(self, asset: str, due: int) -> Iterator[Expiry]:
        heard = self._last_arrivals[asset]
        ttl = self._classes[self._class_of[asset]].asset_ttl
        if ttl is None or due < heard.last + ttl:
            heard.fired += 1
            yield Expiry(asset, due, "silent")
            # Only now may it rest: its items carry the clock of those that rest before it.
            self._push(asset)
            return
        heard.last, heard.fired = due, _DROPPED
        self._former.pop(asset, None)
        self._wake(asset)
        heapq.heappush(self._tombstones, (due, asset))
        self._dropped += 1
        if len(self._tombstones) > 2 * self._dropped + _LEFT_BEHIND:
            self._tombstones = [
                (heard.last, name) for name, heard in self._last_arrivals.items() if heard.fired == _DROPPED
            ]
            heapq.heapify(self._tombstones)
        yield Expiry(asset, due, "ttl")
        while self._dropped > self._max_tombstones:
            since, oldest = heapq.heappop(self._tombstones)
            found = self._last_arrivals.get(oldest)
            # This place in the queue is stale if the asset returned, or was dropped again since.
            if found is not None and found.fired < 0 and found.last == since:
                del self._last_arrivals[oldest], self._class_of[oldest]
                self._dropped -= 1
                yield Expiry(oldest, due, "buried")

    def _next_due(self, asset: str) -> int | None:
        heard = self._last_arrivals.get(asset)
        asset_class = self._classes[self._class_of[asset]]
        if heard is None or heard.fired < 0 or asset_class.idle_timeout is None:
            return None
        end = None if asset_class.asset_ttl is None else heard.last + asset_class.asset_ttl
        if self._rests(asset, heard, asset_class.idle_timeout):
            return end
        due = heard.last + (heard.fired + 1) * asset_class.idle_timeout
        return due if end is None else min(due, end)

    def _rests(self, asset: str, heard: _LastArrival, idle: int) -> bool:
        """Whether the last expiry decided or dropped the last example, assuming that there was one."""
        if heard.fired <= 0:
            return False
        reach = heard.last + self._reaches[self._class_of[asset]]
        rests = heard.last + heard.fired * idle > max(reach, self._former.get(asset, reach))
        if rests and asset not in self._resting:
            self._rest(asset)
        return rests

    def _rest(self, asset: str) -> None:
        asset_class = self._class_of[asset]
        if self._current(asset) != asset_class:
            self._resting[asset] = None
            return
        phase = self._last_arrivals[asset].last % (self._classes[asset_class].idle_timeout or 1)
        self._resting[asset] = asset_class, phase
        insort(self._phases.setdefault(asset_class, []), (phase, asset))

    def _wake(self, asset: str) -> None:
        found = self._resting.pop(asset, None)
        if found is not None:
            asset_class, phase = found
            phases = self._phases[asset_class]
            del phases[bisect_left(phases, (phase, asset))]

    def _push(self, asset: str) -> None:
        due = self._next_due(asset)
        if due is not None and due < self._queued.get(asset, _NEVER):
            self._queued[asset] = due
            heapq.heappush(self._queue, (due, asset))

    def counted_by(self) -> dict[str, int]:
        """The ``idle_timeout`` of the counted expiries, by class."""
        idle = {name: found.idle_timeout for name, found in self._classes.items()}
        return {name: timeout for name, timeout in idle.items() if timeout is not None}

    def entry(self, asset: str) -> tuple[str, int, int, int] | None:
        """Plain data of one asset, None if nothing is known."""
        heard, former = self._last_arrivals.get(asset), self._former.get(asset, 0)
        if heard is not None:
            return self._class_of[asset], heard.last, heard.fired, former
        return ("", 0, _UNWATCHED, former) if former else None
