"""Event-time windows of one asset: what they hold, and the features that follow.

The layout (`WindowPlan`) is made once for a class, the contents (`Windows`) once for an asset.
"""

from __future__ import annotations

import hashlib
import math
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from dataflows.asset.kernel import EMPTY, WIDTH, observe, observe_newest, replace_missing, statistics
from dataflows.fleet.plan import STATISTICS, AssetClass

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Placed", "WindowPlan", "Windows"]


class Placed(Enum):
    """What became of a telemetry event."""

    ON_TIME = "on_time"
    MERGED = "merged"
    LATE = "late"
    TOO_LATE = "too_late"
    DUPLICATE = "duplicate"


class WindowPlan:
    """Which panes a class needs and where each feature is read off.

    Args:
        asset_class: sensors, windows and lateness.
    """

    def __init__(self, asset_class: AssetClass) -> None:
        self.sensors = {name: index for index, name in enumerate(asset_class.sensors)}
        self.lateness = asset_class.allowed_lateness
        hops = sorted({window.hop for window in asset_class.windows})
        self.hops = np.array(hops, dtype=np.int64)
        # A pane lies within the panes of every hop that is a multiple of its own.
        self._widest = [hop for hop in hops if not any(other > hop and other % hop == 0 for other in hops)]
        self.windows = np.array(
            [(hops.index(window.hop), window.length // window.hop) for window in asset_class.windows],
            dtype=np.int64,
        ).reshape(-1, 2)
        self.depths = np.zeros(len(hops), dtype=np.int64)
        for hop, panes in self.windows:
            self.depths[hop] = max(self.depths[hop], panes)
        self.values = len(asset_class.sensors) if asset_class.values else 0
        width = len(STATISTICS)
        self.picks = np.array(
            [
                (number * len(self.sensors) + sensor) * width + STATISTICS.index(statistic)
                for number, window in enumerate(asset_class.windows)
                for sensor in window.sensors
                for statistic in window.statistics
            ],
            dtype=np.int64,
        )
        self.features = self.values + len(self.picks)

    def oldest(self, time: int) -> NDArray[np.int64]:
        """(hops) number of the oldest pane that a window at this time covers."""
        return time // self.hops - self.depths

    def pane_start(self, time: int) -> int:
        """Where the pane of this time begins; with several hops, the earliest of their panes."""
        start = time
        for hop in self._widest:
            start = min(start, (time - 1) // hop * hop)
        return start

    def row(self, readings: dict[str, float | None]) -> NDArray[np.float64]:
        """Readings (sensors) in the order of the class, NaN where missing."""
        given = map(readings.get, self.sensors)
        return np.array([math.nan if value is None else value for value in given], dtype=np.float64)


class Windows:
    """What the windows of one asset hold.

    Args:
        plan: the layout of its class.
        state: what `state` returned, None for a new asset.
    """

    __slots__ = (
        "_contents",
        "_folded",
        "_folds",
        "_ids",
        "_numbers",
        "_panes",
        "_plan",
        "_rings",
        "_rows",
        "largest",
    )

    def __init__(self, plan: WindowPlan, state: dict[str, Any] | None = None) -> None:
        self._plan = plan
        hops = len(plan.hops)
        self._rings = np.zeros((hops, 2), dtype=np.int64)
        self._rings[:, 0] = np.arange(hops)
        self._rings[:, 1] = 1
        self._numbers = np.full(hops, EMPTY, dtype=np.int64)
        self._panes = np.zeros((hops, len(plan.sensors), WIDTH))
        #: Kept by `statistics` between calls; made anew after a resume.
        self._folds = np.zeros((len(plan.windows), len(plan.sensors), WIDTH))
        self._folded = np.full((len(plan.windows), 2), EMPTY, dtype=np.int64)
        #: Readings by time, in order of arrival, back to where a pane may need them.
        self._rows: dict[int, NDArray[np.float64]] = {}
        #: Digests of what came for a time, where there was more than one event of it.
        self._contents: dict[int, tuple[int, ...]] = {}
        self._ids: dict[int, int] = {}
        self.largest: int | None = None
        if state is not None:
            self._restore(state)

    @property
    def watermark(self) -> int | None:
        """The largest event time minus the allowed lateness; None before the first event."""
        return None if self.largest is None else self.largest - self._plan.lateness

    def add(self, time: int, readings: dict[str, float | None], identity: str | None) -> Placed:
        """Take one telemetry event, and say what became of it.

        Args:
            time: microseconds.
            readings: by sensor; unknown sensors are passed over.
            identity: the event's own id, if it has one.
        """
        plan = self._plan
        if self.largest is not None and time < self.largest - plan.lateness:
            return Placed.DUPLICATE if self._seen_id(identity) else Placed.TOO_LATE
        row = plan.row(readings)
        known = self._rows.get(time)
        if identity is not None:
            if self._seen_id(identity):
                return Placed.DUPLICATE
        elif known is not None and _digest(row.tobytes()) in self._contents_of(time):
            return Placed.DUPLICATE
        placed = Placed.ON_TIME
        if self.largest is not None and time <= self.largest:
            placed = Placed.MERGED if time == self.largest else Placed.LATE
        else:
            self.largest = time
            self._forget(time)
        if identity is not None:
            self._ids[_digest(identity.encode())] = time
        if known is None:
            self._rows[time] = row
            self._insert(time, row)
        else:
            self._contents[time] = (*self._contents_of(time), _digest(row.tobytes()))
            self._merge(time, known, row)
        if placed is not Placed.ON_TIME:
            self._folded[:] = EMPTY
        return placed

    def covers(self, time: int) -> bool:
        """Whether an event at this time lies in a window at the largest time."""
        if self.largest is None or not len(self._plan.hops):
            return False
        starts = self._plan.oldest(self.largest) * self._plan.hops
        return bool((time > starts).any())

    def features(self) -> NDArray[np.float64]:
        """Features (features of the class) at the largest event time; NaN is missing.

        Raises:
            ValueError: there was no event yet.
        """
        if self.largest is None:
            msg = "no event yet, so no features"
            raise ValueError(msg)
        plan = self._plan
        out = np.empty(plan.features)
        if plan.values:
            out[: plan.values] = self._rows[self.largest]
        if len(plan.picks):
            statistics(
                self.largest,
                plan.windows,
                plan.picks,
                plan.hops,
                self._rings,
                self._numbers,
                self._panes,
                self._folds,
                self._folded,
                out[plan.values :],
            )
        return out

    def _insert(self, time: int, row: NDArray[np.float64]) -> None:
        plan = self._plan
        assert self.largest is not None
        while True:
            held = plan.hops, self._rings, self._numbers, self._panes
            if time == self.largest:
                full = observe_newest(time, row, plan.depths, *held)
            else:
                full = observe(time, row, plan.oldest(self.largest), *held)
            if full < 0:
                return
            self._grow(full)

    def _contents_of(self, time: int) -> tuple[int, ...]:
        """Digests of what came for a time that is known."""
        return self._contents.get(time) or (_digest(self._rows[time].tobytes()),)

    def _merge(self, time: int, old: NDArray[np.float64], new: NDArray[np.float64]) -> None:
        """Merge a second event of one time: what was missing is added, what differs is replaced."""
        given = ~np.isnan(new)
        before = ~np.isnan(old)
        merged = self._rows[time] = np.where(given, new, old)
        assert self.largest is not None
        arguments = (
            self._plan.oldest(self.largest),
            self._plan.hops,
            self._rings,
            self._numbers,
            self._panes,
        )
        if (merged[before] != old[before]).any():
            self._rebuild(time)
        elif (given & ~before).any():
            replace_missing(time, np.where(before, np.nan, merged), *arguments)

    def _rebuild(self, time: int) -> None:
        """Make the panes of a time anew from their rows: extremes and ends cannot be taken back."""
        plan = self._plan
        assert self.largest is not None
        panes = -((-time) // plan.hops) - 1
        oldest = plan.oldest(self.largest)
        for hop in range(len(plan.hops)):
            slot = self._rings[hop, 0] + panes[hop] % self._rings[hop, 1]
            if self._numbers[slot] == panes[hop]:
                self._numbers[slot] = EMPTY
        never = np.full(len(plan.hops), 2**62, dtype=np.int64)
        for at in sorted(self._rows):
            same = (-((-at) // plan.hops) - 1) == panes
            if same.any():
                only = np.where(same, oldest, never)
                observe(at, self._rows[at], only, plan.hops, self._rings, self._numbers, self._panes)

    def _grow(self, hop: int) -> None:
        """Double the ring of one hop, up to what its longest window and the current pane need."""
        rings = self._rings.copy()
        rings[hop, 1] = min(2 * rings[hop, 1], self._plan.depths[hop] + 1)
        rings[:, 0] = np.cumsum(rings[:, 1]) - rings[:, 1]
        slots = int(rings[:, 1].sum())
        numbers = np.full(slots, EMPTY, dtype=np.int64)
        panes = np.zeros((slots, len(self._plan.sensors), WIDTH))
        for ring, (old, size) in zip(rings, self._rings, strict=True):
            for slot in range(old, old + size):
                if self._numbers[slot] != EMPTY:
                    target = ring[0] + self._numbers[slot] % ring[1]
                    if self._numbers[slot] > numbers[target]:
                        numbers[target] = self._numbers[slot]
                        panes[target] = self._panes[slot]
        self._rings, self._numbers, self._panes = rings, numbers, panes

    def _seen_id(self, identity: str | None) -> bool:
        """Identities count while their time is not below the watermark, however long they are kept."""
        if identity is None or self.largest is None:
            return False
        time = self._ids.get(_digest(identity.encode()))
        return time is not None and time >= self.largest - self._plan.lateness

    def _forget(self, time: int) -> None:
        """Drop rows that no pane may need, and identities below the watermark."""
        watermark = time - self._plan.lateness
        keep = self._plan.pane_start(watermark)
        rows = self._rows
        while rows:
            at = next(iter(rows))
            if at > keep or at >= watermark:
                break
            del rows[at]
            self._contents.pop(at, None)
        ids = self._ids
        while ids:
            first = next(iter(ids))
            if ids[first] >= watermark:
                break
            del ids[first]

    def state(self) -> dict[str, Any]:
        """Plain data: only panes that hold something, and the rows that may be needed again."""
        held = np.flatnonzero(self._numbers != EMPTY)
        times = np.fromiter(self._rows, dtype=np.int64, count=len(self._rows))
        rows = list(self._rows.values())
        return {
            "largest": self.largest,
            "rings": self._rings[:, 1].tolist(),
            "slots": held.tolist(),
            "numbers": self._numbers[held].tolist(),
            "panes": self._panes[held].tobytes(),
            "times": times.tobytes(),
            "rows": np.concatenate(rows).tobytes() if rows else b"",
            "contents": [(time, *digests) for time, digests in self._contents.items()],
            "ids": list(self._ids.items()),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.largest = state["largest"]
        self._rings[:, 1] = state["rings"]
        self._rings[:, 0] = np.cumsum(self._rings[:, 1]) - self._rings[:, 1]
        slots = int(self._rings[:, 1].sum())
        self._numbers = np.full(slots, EMPTY, dtype=np.int64)
        self._panes = np.zeros((slots, len(self._plan.sensors), WIDTH))
        held = state["slots"]
        self._numbers[held] = state["numbers"]
        self._panes[held] = np.frombuffer(state["panes"]).reshape(len(held), len(self._plan.sensors), WIDTH)
        times = np.frombuffer(state["times"], dtype=np.int64).tolist()
        rows = np.frombuffer(state["rows"]).reshape(len(times), len(self._plan.sensors)).copy()
        self._rows = dict(zip(times, rows, strict=True))
        self._contents = {time: tuple(digests) for time, *digests in state["contents"]}
        self._ids = dict(state["ids"])


def _digest(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())
