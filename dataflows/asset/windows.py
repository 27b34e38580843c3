"""Event-time windows of one asset: what is on time and what is late, and the features that follow."""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from dataflows.asset.panes import Panes, WindowPlan
from dataflows.asset.recent import NEVER, Recent

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Placed", "WindowPlan", "Windows"]


class Placed(Enum):
    """What became of a telemetry event or a fault."""

    ON_TIME = "on_time"
    MERGED = "merged"
    LATE = "late"
    HELD = "held"
    TOO_LATE = "too_late"
    DUPLICATE = "duplicate"


class Windows:
    """The windows of one asset, and its watermark.

    Args:
        plan: the layout of its class.
        state: what `state` returned, None for a new asset.
    """

    __slots__ = (
        "_ahead",
        "_contents",
        "_features",
        "_floor",
        "_ids",
        "_panes",
        "_plan",
        "_rows",
        "_since",
        "largest",
        "newest",
    )

    def __init__(self, plan: WindowPlan, state: dict[str, Any] | None = None) -> None:
        self._plan = plan
        self._panes = Panes(plan, None if state is None else state["panes"])
        #: Back to where a pane may need them.
        self._rows = Recent(len(plan.sensors))
        #: Digests of what came for a time where its row does not tell: several events, or other sensors.
        self._contents: dict[int, tuple[int, ...]] = {}
        self._ids: dict[int, int] = {}
        #: Times of late telemetry after the latest that was scored; they enter the panes with the next one.
        self._ahead: list[int] = []
        #: At the time that is scored, until something changes them or they are asked for.
        self._features: NDArray[np.float64] | None = None
        #: Below this the watermark never lies: where it stood under a former class.
        self._floor: int | None = None
        #: Where the windows begin, if something reset them.
        self._since: int | None = None
        #: The largest time of telemetry that was on time: what is scored.
        self.largest: int | None = None
        #: The largest time of telemetry and faults: what the watermark follows.
        self.newest: int | None = None
        if state is not None:
            self._restore(state)

    @property
    def watermark(self) -> int | None:
        """The largest event time minus the allowed lateness; None before the first event."""
        if self.newest is None:
            return None
        mark = self.newest - self._plan.lateness
        return mark if self._floor is None else max(mark, self._floor)

    def add(
        self,
        time: int,
        readings: dict[str, float | None],
        identity: str | None,
        weather: tuple[float, ...] | None = None,
    ) -> Placed:
        """Take one telemetry event, and say what became of it.

        Args:
            time: microseconds.
            readings: by sensor; unknown sensors are passed over.
            identity: the event's own id, if it has one.
            weather: what it was joined with, in the order of the class.
        """
        newest, since = self.newest, self._since
        if (newest is None or time > newest) and (since is None or time > since) and not self._saw(identity):
            row, content = self._plan.row(readings, weather)
            placed = self._take_newest(time, row)
            self._remember(identity, time, content)
            return placed
        return self._take_other(time, readings, identity, weather)

    def _take_newest(self, time: int, row: NDArray[np.float64]) -> Placed:
        """Take the first telemetry of a time after all others."""
        if self.newest is None or time > self.newest:
            self.newest = time
        self._forget(self.newest)
        self._rows.append(time, row)
        self._enter(time, row)
        return Placed.ON_TIME

    def _enter(self, time: int, row: NDArray[np.float64]) -> None:
        """Make this the time that is scored; what was ahead of the last one enters the panes first."""
        self.largest = time
        if self._ahead:
            for at in sorted(self._ahead):
                self._panes.insert(at, self._rows[at], time)
            self._ahead.clear()
        self._features = np.empty(self._plan.features)
        self._panes.insert_newest(time, row, self._features)

    def _take_other(
        self,
        time: int,
        readings: dict[str, float | None],
        identity: str | None,
        weather: tuple[float, ...] | None,
    ) -> Placed:
        """Take telemetry that is not newer than all that was seen."""
        placed = self._place(time)
        if placed is Placed.TOO_LATE:
            return Placed.DUPLICATE if self._saw(identity) else placed
        row, content = self._plan.row(readings, weather)
        digest = _digest(self._plan.content(row) if content is None else content)
        if self._is_duplicate(time, digest, identity):
            return Placed.DUPLICATE
        if placed is Placed.MERGED and time != self.largest and time not in self._rows:
            # A fault of the same time came first; this is its first telemetry.
            placed = self._take_newest(time, row)
            self._remember(identity, time, content)
            return placed
        if time in self._rows:
            self._contents[time] = (*self._contents_of(time), digest)
            self._merge(time, self._rows[time].copy(), row, weather)
            self._remember(identity, time)
            return placed
        self._rows.append(time, row)
        self._remember(identity, time, content)
        if self.largest is None or time > self.largest:
            self._ahead.append(time)
        else:
            self._panes.insert(time, row, self.largest)
            self._features = None
        return placed

    def add_fault(self, time: int, identity: str) -> Placed:
        """Take the time of a fault: it moves the watermark, and is remembered like telemetry.

        Args:
            time: microseconds.
            identity: its id, or what stands for its content.
        """
        if self._saw(identity):
            return Placed.DUPLICATE
        placed = self._place(time)
        if placed is Placed.TOO_LATE:
            return placed
        if placed is Placed.ON_TIME:
            self.newest = time
            self._forget(time)
        self._remember(identity, time)
        return placed

    def _place(self, time: int) -> Placed:
        """Where a new event of this time stands: on time, merged (as the newest), late or too late."""
        if self._since is not None and time <= self._since:
            return Placed.TOO_LATE
        if self.newest is None or time > self.newest:
            return Placed.ON_TIME
        if time == self.newest:
            return Placed.MERGED
        mark = self.watermark
        return Placed.LATE if mark is not None and time >= mark else Placed.TOO_LATE

    def covers(self, time: int) -> bool:
        """Whether an event at this time lies in a window at the time that is scored."""
        if self.largest is None or time > self.largest or not len(self._plan.hops):
            return False
        starts = self._plan.oldest(self.largest) * self._plan.hops
        return bool((time > starts).any())

    def features(self) -> NDArray[np.float64]:
        """Features of the readings (values, then statistics) at the time that is scored; NaN is missing.

        Raises:
            ValueError: there was no telemetry yet.
        """
        if self.largest is None:
            msg = "no telemetry yet, so no features"
            raise ValueError(msg)
        # Given away: to keep them would cost memory for each asset, and nearly no event asks twice.
        features, self._features = self._features, None
        if features is None:
            plan = self._plan
            features = np.empty(plan.features)
            features[: plan.values] = self._rows[self.largest][: plan.values]
            self._panes.statistics(self.largest, features[plan.values :])
        return features

    def values_with(self, weather: tuple[float, ...]) -> NDArray[np.float64]:
        """Values at the time that is scored, with expressions of other weather; windows stay as they are.

        Raises:
            ValueError: there was no telemetry yet.
        """
        if self.largest is None:
            msg = "no telemetry yet, so no values"
            raise ValueError(msg)
        return self._plan.worked_out(self._rows[self.largest], weather)[: self._plan.values]

    def row(self, time: int) -> NDArray[np.float64]:
        """The readings (sensors) of a time that was just accepted, merged where there were several events.

        Raises:
            KeyError: none of this time are held.
        """
        return self._rows[time]

    def rows_after(self, time: int) -> dict[int, NDArray[np.float64]]:
        """The readings (sensors) that are still held of times after an instant."""
        return {at: row for at, row in self._rows.items() if at > time}

    def reset(self, time: int) -> bool:
        """Begin anew after an instant: what the windows hold from before it is dropped.

        Returns:
            Whether they did; they did not where they began anew after a later one before.
        """
        if self._since is not None and time <= self._since:
            return False
        self._since = time
        self._features = None
        self._ahead = [at for at in self._ahead if at > time]
        kept = {at for at in self._rows.times() if at > time or at == self.largest}
        self._rows.keep(kept)
        self._contents = {at: found for at, found in self._contents.items() if at in kept}
        if self.largest is not None:
            rows = {at: row for at, row in self._rows.items() if at > time and at not in self._ahead}
            self._panes.drop_before(time, rows, self.largest)
        return True

    def tombstone(self, left: Windows) -> Windows:
        """What is left of a dropped asset: the watermark, and the identities that count at it.

        Args:
            left: new ones of the same class.
        """
        watermark = self.watermark
        ids = {found: at for found, at in self._ids.items() if watermark is not None and at >= watermark}
        for at in self._rows.times():
            if watermark is not None and at >= watermark:
                ids.update(dict.fromkeys(self._contents_of(at), at))
        left.newest, left._since, left._floor, left._ids = self.newest, self._since, self._floor, ids
        return left

    def carry(self, new: Windows, kept: list[tuple[int, int]]) -> Windows:
        """The same contents under another class, or another layout of the class.

        Args:
            new: of the other class, empty yet.
            kept: (old, new) index of the sensors whose windows go on; the others begin anew.
        """
        old_at, new_at = [old for old, _ in kept], [new for _, new in kept]
        plan = new._plan
        new.largest, new.newest, new._since = self.largest, self.newest, self._since
        new._floor = self.watermark
        new._ids, new._ahead = dict(self._ids), list(self._ahead)
        for time, row in self._rows.items():
            carried = np.full(len(plan.sensors), np.nan)
            carried[new_at] = row[old_at]
            new._rows.append(time, carried)
            new._contents[time] = self._contents_of(time)
        new._panes.take(self._panes, old_at, new_at)
        return new

    def _merge(
        self,
        time: int,
        old: NDArray[np.float64],
        new: NDArray[np.float64],
        weather: tuple[float, ...] | None,
    ) -> None:
        """Merge a second event of one time: what was missing is added, what differs is replaced."""
        before = ~np.isnan(old)
        merged = self._plan.worked_out(np.where(np.isnan(new), old, new), weather)
        self._rows[time] = merged
        self._features = None
        if time in self._ahead or self.largest is None:
            return
        if (merged[before] != old[before]).any():
            since = self._since
            rows = {
                at: row
                for at, row in self._rows.items()
                if at not in self._ahead and (since is None or at > since)
            }
            self._panes.rebuild(time, rows, self.largest)
        elif not np.isnan(merged[~before]).all():
            self._panes.complete(time, np.where(before, np.nan, merged), self.largest)

    def _is_duplicate(self, time: int, digest: int, identity: str | None) -> bool:
        if identity is not None:
            return self._saw(identity)
        if time in self._rows:
            return digest in self._contents_of(time)
        # Only a tombstone remembers contents as identities.
        return self._ids.get(digest) == time

    def _contents_of(self, time: int) -> tuple[int, ...]:
        """Digests of what came for a time that is known."""
        return self._contents.get(time) or (_digest(self._plan.content(self._rows[time])),)

    def _saw(self, identity: str | None) -> bool:
        """Whether an id is known; it counts while its time is not below the watermark."""
        if identity is None or self.newest is None:
            return False
        time = self._ids.get(_digest(identity.encode()))
        mark = self.watermark
        return time is not None and mark is not None and time >= mark

    def _remember(self, identity: str | None, time: int, content: bytes | None = None) -> None:
        """Keep what tells a copy: the id, and of the first telemetry of a time what its row does not hold."""
        if identity is not None:
            self._ids[_digest(identity.encode())] = time
        if content is not None:
            self._contents[time] = (_digest(content),)

    def _forget(self, time: int) -> None:
        """Drop rows that no pane may need, and identities below the watermark."""
        watermark = time - self._plan.lateness
        rows = self._rows
        if rows.oldest <= time - self._plan.kept:
            keep = self._plan.pane_start(watermark)
            while (at := rows.oldest) != NEVER:
                if at > keep or at >= watermark or at == self.largest or at in self._ahead:
                    break
                rows.drop_oldest()
        ids, contents = self._ids, self._contents
        while ids:
            first = next(iter(ids))
            if ids[first] >= watermark:
                break
            del ids[first]
        while contents and (first := next(iter(contents))) < watermark:
            del contents[first]

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "largest": self.largest,
            "newest": self.newest,
            "since": self._since,
            "floor": self._floor,
            "ahead": self._ahead,
            "panes": self._panes.state(),
            "rows": self._rows.state(),
            "contents": [(time, *digests) for time, digests in self._contents.items()],
            "ids": list(self._ids.items()),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.largest = state["largest"]
        self.newest = state["newest"]
        self._since = state["since"]
        self._floor = state["floor"]
        self._ahead = state["ahead"]
        self._rows.restore(state["rows"])
        self._contents = {time: tuple(digests) for time, *digests in state["contents"]}
        self._ids = dict(state["ids"])


def _digest(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())
