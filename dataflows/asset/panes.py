"""Panes of one asset: the slices of time that its event-time windows are made of.

Windows that share a hop share its panes. `WindowPlan` is the layout of a class, `Panes` the contents of an
asset; `dataflows.window_statistics` has their arithmetic.
"""

from __future__ import annotations

import math
import struct
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from dataflows.asset.running import RunningCondition
from dataflows.fleet.expressions import evaluator, parse
from dataflows.window_statistics import (
    EMPTY,
    STATISTICS,
    WIDTH,
    first_pane,
    observe,
    observe_run,
    observe_runs,
    pack,
    packed_size,
    pane_of,
    replace_missing,
    ring_sizes,
    statistics,
    unpack,
    with_ring,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from dataflows.fleet.fleet import AssetClass
    from dataflows.items import ResolvedEvent

__all__ = ["NewRows", "Panes", "WindowPlan", "row_packer"]


@cache
def row_packer(sensors: int) -> Callable[[int, Sequence[float | None]], bytes]:
    """Return what packs a time and so many readings into bytes of float64; None becomes NaN."""
    pack = struct.Struct(f"={1 + sensors}d").pack

    def packed(time: int, row: Sequence[float | None]) -> bytes:
        try:
            return pack(time, *row)
        except struct.error:
            # A reading is missing.
            return np.array((time, *row), dtype=np.float64).tobytes()

    return packed


class WindowPlan:
    """Panes of a class, and the place of each statistic.

    Args:
        asset_class: sensors, windows and lateness.
    """

    def __init__(self, asset_class: AssetClass) -> None:
        self.lateness = asset_class.allowed_lateness
        self._plan_rows(asset_class)
        self._plan_panes(asset_class)

    def _plan_rows(self, asset_class: AssetClass) -> None:
        """Find the place of each reading and expression in a row."""
        self.readings = asset_class.sensors
        #: Index of each channel: the sensors, the expressions, then the relative readings.
        self.sensors = {name: index for index, name in enumerate(asset_class.channels)}
        weather = asset_class.weather.values if asset_class.weather is not None else ()
        self._no_weather = (math.nan,) * len(weather)
        relative = () if asset_class.relative is None else asset_class.relative.channels
        self._no_relative = (math.nan,) * len(relative)
        places = {f"weather.{name}": index for index, name in enumerate(weather, len(self.readings))}
        places |= {name: index for index, name in enumerate(self.readings)}
        parsed = [parse(text) for _, text in asset_class.expressions]
        self._evaluate = evaluator(parsed, places) if parsed else None
        #: Gets all readings of an event at once; None with a single sensor, where it would make no tuple.
        self._pick = itemgetter(*self.readings) if len(self.readings) > 1 else None
        self._declared = frozenset(self.readings)
        #: When the machine runs; None: always.
        self.running = None
        if asset_class.running is not None:
            self.running = RunningCondition(asset_class.running, self.readings)
        self.values = len(self.sensors) if asset_class.values else 0
        #: Packs the time and the result of `read`.
        self.packed = row_packer(len(self.sensors))
        #: Sensors that a time waits for, where it is scored when it is complete.
        self.required = np.array(asset_class.required or (), dtype=np.intp)

    def _plan_panes(self, asset_class: AssetClass) -> None:
        """Find the panes of the windows, and the place of each of their statistics."""
        hops = sorted({window.hop for window in asset_class.windows})
        self.hops = np.array(hops, dtype=np.int64)
        self.longest_hop = max(hops, default=0)
        #: How far back a window reaches at most, where a record may drop part of it; 0 where none does.
        self._resettable = 0
        if asset_class.reset_windows_on:
            self._resettable = max((window.length + window.hop for window in asset_class.windows), default=0)
        # A pane lies within the panes of every hop that is a multiple of its own.
        self._widest = [hop for hop in hops if not any(other > hop and other % hop == 0 for other in hops)]
        self.windows = np.array(
            [(hops.index(window.hop), window.length // window.hop) for window in asset_class.windows],
            dtype=np.int64,
        ).reshape(-1, 2)
        self.depths = np.zeros(len(hops), dtype=np.int64)
        for hop, panes in self.windows:
            self.depths[hop] = max(self.depths[hop], panes)
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
        head = np.array([len(hops), len(self.windows)], dtype=np.int64)
        #: All of the above, as `observe_run` takes it.
        self.layout = np.concatenate([head, self.hops, self.depths, self.windows.ravel(), self.picks])

    def oldest(self, time: int) -> NDArray[np.int64]:
        """(hops) number of the oldest pane that a window at this time covers."""
        return first_pane(time, self.hops, self.depths)

    def pane_start(self, time: int) -> int:
        """Start of the pane of this time; with several hops, the earliest start."""
        start = time
        for hop in self._widest:
            start = min(start, pane_of(time, hop) * hop)
        return start

    def pane_end(self, time: int) -> int:
        """End of the pane of this time; with several hops, the latest end."""
        end = time
        for hop in self._widest:
            end = max(end, (pane_of(time, hop) + 1) * hop)
        return end

    def window_start(self, time: int) -> int:
        """Where the earliest window of this time begins, if a record may drop part of it; else the time."""
        return min(time, int((self.oldest(time) * self.hops).min())) if self._resettable else time

    def surely_unneeded(self, mark: int, scored: int) -> int:
        """Rows up to this time are neither in the pane of a mark nor in a window of a time that is scored.

        Quicker than `pane_start` and `window_start`, and a little earlier than both.
        """
        return min(mark - self.longest_hop, scored - self._resettable)

    def row(
        self, readings: dict[str, float | None], weather: tuple[float, ...] | None = None
    ) -> tuple[NDArray[np.float64], bytes | None]:
        """As `read`, with the readings and expressions as an array (channels)."""
        values, content = self.read(readings, weather)
        return np.array(values, dtype=np.float64), content

    def read(
        self, readings: dict[str, float | None], weather: tuple[float, ...] | None = None
    ) -> tuple[Sequence[float | None], bytes | None]:
        """Return readings and expressions in the order of the class, and the content of the event.

        The content is None where the readings hold all of it: the event names each sensor of the class and no
        other, as most events do.
        """
        values: Sequence[float | None] | None = None
        content = None
        if self._pick is not None:
            try:
                values = self._pick(readings)
            except KeyError:
                pass
            else:
                content = None if len(readings) == len(self.readings) else _content(readings)
        if values is None:
            values = [readings.get(name) for name in self.readings]
            content = None if readings.keys() == self._declared else _content(readings)
        if self._evaluate is not None or self._no_relative:
            numbers = [math.nan if value is None else float(value) for value in values]
            values = self._with_expressions(numbers, weather)
        return values, content

    def _with_expressions(self, readings: list[float], weather: tuple[float, ...] | None) -> list[float]:
        """Append the expressions and the relative readings to readings."""
        if weather is None:
            weather = self._no_weather
        of_weather = len(self._no_weather)
        row = readings
        if self._evaluate is not None:
            row = readings + self._evaluate([*readings, *weather[:of_weather]])
        if self._no_relative:
            row = [*row, *(weather[of_weather:] or self._no_relative)]
        return row

    def joined(self, accepted: ResolvedEvent) -> tuple[float, ...] | None:
        """Return what the lane joined to telemetry: weather, then relative readings; None for nothing."""
        weather = None if accepted.weather is None else accepted.weather.values
        if accepted.relative is None:
            return weather
        return (*(self._no_weather if weather is None else weather), *accepted.relative)

    def worked_out(self, row: NDArray[np.float64], weather: tuple[float, ...] | None) -> NDArray[np.float64]:
        """Compute the expressions of a row of readings and weather; return the row with them."""
        if self._evaluate is None:
            return row
        worked_out = np.array(self._with_expressions(row[: len(self.readings)].tolist(), weather))
        if self._no_relative:
            # They were joined when the event came.
            worked_out[-len(self._no_relative) :] = row[-len(self._no_relative) :]
        return worked_out

    def content(self, row: NDArray[np.float64]) -> bytes:
        """Content of an event whose row holds all of it."""
        return _content(dict(zip(self.readings, row.tolist(), strict=False)))

    def panes_of(self, time: int) -> NDArray[np.int64]:
        """(hops) number of the pane in which this time lies."""
        return pane_of(time, self.hops)


class Panes:
    """Contents of the panes of one asset.

    Each hop has a ring of slots; pane p is in slot p modulo the size of the ring, which grows with the
    data of the asset, up to the longest window.

    Args:
        plan: the layout of its class.
        state: what `state` returned, None for a new asset.

    Attributes:
        addresses: of the index and the cells, as `observe_runs` takes them.
    """

    __slots__ = ("_cells", "_index", "_plan", "addresses")

    def __init__(self, plan: WindowPlan, state: bytes | dict[str, Any] | None = None) -> None:
        self._plan = plan
        hops = len(plan.hops)
        rings = np.ones((hops, 2), dtype=np.int64)
        if isinstance(state, bytes):
            words = np.frombuffer(state, dtype=np.int64)
            rings[:, 1] = ring_sizes(words, hops)
            self._allocate(rings)
            unpack(plan.layout, len(plan.sensors), words, self._index, self._cells)
            return
        if state is not None:
            rings[:, 1] = state["rings"]
        self._allocate(rings)
        if state is not None:
            # Snapshots of assets before version 9 held every field.
            held = state["slots"]
            self._numbers[held] = state["numbers"]
            shape = (len(held), len(plan.sensors), WIDTH)
            self._panes[held] = np.frombuffer(state["panes"]).reshape(shape)

    def _allocate(self, rings: NDArray[np.int64]) -> None:
        """Allocate empty rings; their sizes are the second column of ``rings`` (hops, 2).

        One array of integers and one of numbers hold everything, as `observe_run` takes it: that is
        quicker to pass than one array a part, and takes less memory for an asset that sent little.
        """
        plan = self._plan
        rings[:, 0] = np.cumsum(rings[:, 1]) - rings[:, 1]
        slots = int(rings[:, 1].sum())
        self._index = np.full(rings.size + plan.windows.size + slots, EMPTY, dtype=np.int64)
        self._index[: rings.size] = rings.ravel()
        self._cells = np.zeros((len(plan.windows) + slots) * len(plan.sensors) * WIDTH)
        self._find()

    def _find(self) -> None:
        """Note where the arrays are."""
        self.addresses = self._index.ctypes.data, self._cells.ctypes.data

    @property
    def _rings(self) -> NDArray[np.int64]:
        return self._index[: 2 * len(self._plan.hops)].reshape(-1, 2)

    @property
    def _folded(self) -> NDArray[np.int64]:
        """Results that `statistics` keeps between calls; a resume computes them again."""
        first = 2 * len(self._plan.hops)
        return self._index[first : first + self._plan.windows.size].reshape(-1, 2)

    @property
    def _numbers(self) -> NDArray[np.int64]:
        return self._index[2 * len(self._plan.hops) + self._plan.windows.size :]

    @property
    def _folds(self) -> NDArray[np.float64]:
        shape = (len(self._plan.windows), len(self._plan.sensors), WIDTH)
        return self._cells[: math.prod(shape)].reshape(shape)

    @property
    def _panes(self) -> NDArray[np.float64]:
        shape = (len(self._plan.windows), len(self._plan.sensors), WIDTH)
        return self._cells[math.prod(shape) :].reshape(-1, *shape[1:])

    def insert(self, time: int, row: NDArray[np.float64], now: int) -> None:
        """Add the readings of a time that the panes do not hold yet.

        Args:
            time: microseconds.
            row: (sensors), NaN is missing.
            now: the time that is scored; panes that no window covers then are not kept.
        """
        self._folded[:] = EMPTY
        self._observe(time, row, self._plan.oldest(now))

    def _observe(self, time: int, row: NDArray[np.float64], oldest: NDArray[np.int64]) -> None:
        """Add a row to its pane of every hop, but to none before the oldest (hops), with room for it."""
        hops = self._plan.hops
        while (full := observe(time, row, oldest, hops, self._rings, self._numbers, self._panes)) >= 0:
            self.grow(full)

    def extend(self, table: NDArray[np.float64], first: int, out: NDArray[np.float64]) -> None:
        """Add rows at times after all others, in ascending order; write every feature of each time.

        Args:
            table: (capacity, 1 + sensors) time in microseconds, and readings, NaN is missing.
            first: index of the first of them.
            out: (rows, features of the readings) the values where they are features, then the statistics.
        """
        plan, rest = self._plan, out
        while (full := observe_run(table, first, plan.layout, self._index, self._cells, rest)) >= 0:
            added, hop = divmod(full, len(plan.hops))
            first, rest = first + added, rest[added:]
            self.grow(hop)

    def insert_newest(self, time: int, row: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        """Add the readings (sensors) of one time; see `extend`."""
        table = np.empty((1, 1 + len(row)))
        table[0, 0], table[0, 1:] = time, row
        self.extend(table, 0, out.reshape(1, -1))

    def complete(self, time: int, row: NDArray[np.float64], now: int) -> None:
        """Add readings that were missing from a time that the panes hold; NaN leaves a sensor as it is."""
        plan = self._plan
        replace_missing(time, row, plan.oldest(now), plan.hops, self._rings, self._numbers, self._panes)
        self._folded[:] = EMPTY

    def rebuild(self, time: int, rows: Mapping[int, NDArray[np.float64]], now: int) -> None:
        """Rebuild the panes of a time from rows by time: extremes and ends cannot be removed from a pane."""
        panes = self._plan.panes_of(time)
        slots = self._rings[:, 0] + panes % self._rings[:, 1]
        self._numbers[slots[self._numbers[slots] == panes]] = EMPTY
        self._fill(panes, rows, now)

    def drop_before(self, time: int, rows: Mapping[int, NDArray[np.float64]], now: int) -> None:
        """Drop the panes that begin before an instant; what rows hold after it stays."""
        for hop in range(len(self._plan.hops)):
            first, size = self._rings[hop]
            numbers = self._numbers[first : first + size]
            numbers[numbers <= pane_of(time, int(self._plan.hops[hop]))] = EMPTY
        self._fill(self._plan.panes_of(time + 1), rows, now)

    def _fill(self, panes: NDArray[np.int64], rows: Mapping[int, NDArray[np.float64]], now: int) -> None:
        """Fill one pane of each hop from the rows, where it is empty."""
        plan = self._plan
        slots = self._rings[:, 0] + panes % self._rings[:, 1]
        never = np.full(len(plan.hops), 2**62, dtype=np.int64)
        oldest = np.where(self._numbers[slots] == panes, never, plan.oldest(now))
        for at in sorted(rows):
            same = plan.panes_of(at) == panes
            if same.any():
                self._observe(at, rows[at], np.where(same, oldest, never))
        self._folded[:] = EMPTY

    def statistics(self, now: int, out: NDArray[np.float64]) -> None:
        """Write every configured statistic of every window at a time not before any that was inserted."""
        plan = self._plan
        held = plan.hops, self._rings, self._numbers, self._panes
        statistics(now, plan.windows, plan.picks, *held, self._folds, self._folded, out)

    def grow(self, hop: int) -> None:
        """Double the ring of one hop, up to what its longest window and the current pane need."""
        plan = self._plan
        size = min(2 * int(self._rings[hop, 1]), int(plan.depths[hop]) + 1)
        self._index, self._cells = with_ring(
            plan.layout, len(plan.sensors), self._index, self._cells, hop, size
        )
        self._find()

    def copy_from(self, other: Panes, old_at: list[int], new_at: list[int]) -> None:
        """Copy the panes of some sensors from another layout, for the hops that both have."""
        before = {int(hop): index for index, hop in enumerate(other._plan.hops)}
        for index, hop in enumerate(self._plan.hops):
            if int(hop) not in before or not new_at:
                continue
            first, size = other._rings[before[int(hop)]]
            while self._rings[index, 1] < min(size, self._plan.depths[index] + 1):
                self.grow(index)
            for slot in range(first, first + size):
                number = other._numbers[slot]
                target = self._rings[index, 0] + number % self._rings[index, 1]
                if number > self._numbers[target]:
                    self._numbers[target] = number
                    self._panes[target] = 0.0
                    self._panes[target][new_at] = other._panes[slot][old_at]

    def state(self, now: int | None) -> bytes:
        """Plain data, see `pack`.

        Args:
            now: the time that is scored, None before the first.
        """
        plan, index = self._plan, self._index
        hops, sensors = len(plan.hops), len(plan.sensors)
        out = np.empty(packed_size(len(index) - 2 * hops - plan.windows.size, hops, sensors), np.int64)
        first = EMPTY if now is None else now
        return out[: pack(plan.layout, sensors, index, self._cells, first, out)].tobytes()


class NewRows:
    """Readings of many assets of a class, which enter their panes in one compiled call.

    Args:
        plan: the layout of the class.
    """

    __slots__ = ("_counts", "_panes", "_plan", "_table")

    def __init__(self, plan: WindowPlan) -> None:
        self._plan = plan
        self._panes: list[Panes] = []
        self._counts: list[int] = []
        self._table = bytearray()

    def add(self, panes: Panes, rows: bytes, count: int) -> None:
        """Add readings of an asset at times after all others that it has, in ascending order.

        All of an asset are added before those of the next one.

        Args:
            panes: of the asset; nobody may ask what they hold before `enter`.
            rows: float64 (rows, 1 + sensors): time in microseconds, and readings, NaN is missing.
            count: number of rows.
        """
        self._table += rows
        if self._panes and self._panes[-1] is panes:
            self._counts[-1] += count
        else:
            self._panes.append(panes)
            self._counts.append(count)

    def enter(self) -> NDArray[np.float64]:
        """Enter all rows into their panes; return the features of the readings of each, as `Panes.extend`."""
        plan, panes = self._plan, self._panes
        table = np.frombuffer(self._table).reshape(-1, 1 + len(plan.sensors))
        runs = np.empty((len(panes), 3), dtype=np.int64)
        runs[:, :2] = [each.addresses for each in panes]
        runs[:, 2] = self._counts
        features = np.empty((len(table), plan.features))
        reached = np.zeros(2, dtype=np.int64)
        while (full := observe_runs(runs, table, plan.layout, reached, features)) >= 0:
            asset = int(reached[0])
            panes[asset].grow(full)
            runs[asset, :2] = panes[asset].addresses
        return features


def _content(readings: Mapping[str, float | None]) -> bytes:
    """Names and values in one order, a missing value as NaN: equal for equal readings only."""
    names = sorted(readings)
    return orjson.dumps(names) + np.fromiter(map(readings.get, names), np.float64, len(names)).tobytes()
