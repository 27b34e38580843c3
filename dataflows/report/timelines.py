"""Readings and scores of each asset over time, reduced to the smallest and largest value of each interval.

A year of readings has more points than a screen has columns. What a chart of so many columns shows is the
smallest and the largest value of each, so that is all a page has to hold.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import orjson

from dataflows.connectors.lines import is_packed
from dataflows.instants import parse_instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

__all__ = ["Grid", "Recording", "Series", "read_recording", "spans", "standing", "to_json"]


@dataclass(frozen=True, slots=True)
class Grid:
    """Intervals of equal length over a span of time.

    Attributes:
        start: beginning of the first, microseconds.
        end: end of the last.
        count: number of intervals.
    """

    start: int
    end: int
    count: int

    def places(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the interval of each time; times outside fall into the first or the last.

        >>> Grid(0, 9, 5).places(np.array([0, 3, 9])).tolist()
        [0, 1, 4]
        """
        width = max(1, -(-(self.end - self.start + 1) // self.count))
        return np.clip((times - self.start) // width, 0, self.count - 1)

    def reduce(self, times: NDArray[np.int64], values: NDArray[np.float64]) -> tuple[Floats, Floats]:
        """Return the smallest and the largest value of each interval, NaN where it has none.

        >>> low, high = Grid(0, 9, 2).reduce(np.array([1, 2, 3]), np.array([5.0, 1.0, np.nan]))
        >>> low.tolist(), high.tolist()
        ([1.0, nan], [5.0, nan])
        """
        low = np.full(self.count, np.nan, dtype=np.float32)
        high = low.copy()
        known = np.isfinite(values)
        if known.any():
            places, values = self.places(times[known]), values[known]
            order = np.argsort(places, kind="stable")
            found, starts = np.unique(places[order], return_index=True)
            low[found] = np.minimum.reduceat(values[order], starts)
            high[found] = np.maximum.reduceat(values[order], starts)
        return low, high


@dataclass(frozen=True, slots=True)
class Series:
    """One line of an asset's timeline.

    Attributes:
        name: of a sensor, or of a target.
        unit: of a sensor; empty where it is not known.
        low: smallest value of each interval of the grid, NaN where there is none.
        high: the largest.
        is_score: whether it is a score, from 0 to 1.
    """

    name: str
    unit: str
    low: Floats
    high: Floats
    is_score: bool = False

    def coarse(self, most: int) -> tuple[Floats, Floats]:
        """Return the two over at most so many intervals."""
        step = -(-len(self.low) // most)
        padding = (-len(self.low)) % step
        low, high = (np.append(side, np.full(padding, np.nan)) for side in (self.low, self.high))
        columns = -1, step
        return (
            np.fmin.reduce(low.reshape(columns), axis=1).astype(np.float32),
            np.fmax.reduce(high.reshape(columns), axis=1).astype(np.float32),
        )


def standing(values: Floats) -> Floats:
    """Return the values with each gap filled by the value before it.

    >>> standing(np.array([np.nan, 1.0, np.nan, 2.0], dtype=np.float32)).tolist()
    [nan, 1.0, 1.0, 2.0]
    """
    known = np.where(np.isfinite(values), np.arange(len(values)), -1)
    last = np.maximum.accumulate(known)
    return np.where(last < 0, np.float32(np.nan), values[last])


def spans(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the runs of true flags as (first, one after the last).

    >>> spans(np.array([False, True, True, False, True]))
    [(1, 3), (4, 5)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


class _Telemetry(msgspec.Struct):
    kind: str = ""
    asset: str = ""
    time: str | float | None = None
    arrived: str | float | None = None
    readings: dict[str, Any] = {}


@dataclass(slots=True)
class Recording:
    """Telemetry of a recording, in its order of arrival.

    Attributes:
        assets: names, by code.
        codes: asset of each message.
        times: event time of each, microseconds.
        arrivals: arrival of each; empty where the recording has none.
        late: whether a newer message of the same asset came before.
        readings: by asset and sensor: indices of messages, and values.
        unreadable: lines that are no records.
    """

    assets: list[str]
    codes: NDArray[np.int64]
    times: NDArray[np.int64]
    arrivals: NDArray[np.int64]
    late: NDArray[np.bool_]
    readings: dict[tuple[str, str], tuple[list[int], list[float]]] = field(default_factory=dict)
    unreadable: int = 0


def read_recording(paths: Iterable[Path], sensors: Mapping[str, Sequence[str]], max_future: int) -> Recording:
    """Read the telemetry of a recording of events.

    Args:
        paths: its files.
        sensors: by asset, the sensors whose readings are kept; others are not.
        max_future: microseconds by which a time may lie after its arrival; a message beyond it is left out.
    """
    found = _Reader(sensors, max_future)
    for path in paths:
        found.read(path)
    return found.recording()


class _Reader:
    def __init__(self, sensors: Mapping[str, Sequence[str]], max_future: int) -> None:
        self._sensors = sensors
        self._max_future = max_future
        self._decode = msgspec.json.Decoder(_Telemetry).decode
        self._codes: dict[str, int] = {}
        self._rows: list[tuple[int, str | float, str | float | None]] = []
        self._readings: dict[tuple[str, str], tuple[list[int], list[float]]] = {}
        self._unreadable = 0

    def read(self, path: Path) -> None:
        """Read one file, plain or packed."""
        for line in _lines(path):
            try:
                record = self._decode(line)
            except (ValueError, msgspec.MsgspecError):
                self._unreadable += bool(line.strip())
                continue
            if record.kind == "telemetry" and record.time is not None:
                self._add(record)

    def _add(self, record: _Telemetry) -> None:
        assert record.time is not None  # noqa: S101 - the caller looked
        number = len(self._rows)
        code = self._codes.setdefault(record.asset, len(self._codes))
        self._rows.append((code, record.time, record.arrived))
        for sensor in self._sensors.get(record.asset, ()):
            value = record.readings.get(sensor)
            if isinstance(value, int | float):
                rows, values = self._readings.setdefault((record.asset, sensor), ([], []))
                rows.append(number)
                values.append(value)

    def recording(self) -> Recording:
        """Return what was read."""
        codes = np.array([row[0] for row in self._rows], dtype=np.int64)
        times = _instants([row[1] for row in self._rows])
        arrived = [row[2] for row in self._rows if row[2] is not None]
        # Records with and without an arrival do not mix in a recording that can run.
        arrivals = _instants(arrived) if len(arrived) == len(times) else np.empty(0, dtype=np.int64)
        return Recording(
            list(self._codes),
            codes,
            times,
            arrivals,
            _late(codes, times, arrivals, self._max_future),
            self._readings,
            self._unreadable,
        )


def _lines(path: Path) -> Iterable[bytes]:
    with gzip.open(path, "rb") if is_packed(str(path)) else path.open("rb") as lines:
        yield from lines


def _instants(values: Sequence[str | float]) -> NDArray[np.int64]:
    """Microseconds since 1970; the beginning of time where a value is no time."""
    try:
        if all(isinstance(value, str) and value.endswith("Z") for value in values):
            texts = [value[:-1] for value in values]  # type: ignore[index]
            return np.array(texts, dtype="datetime64[us]").astype(np.int64)
    except ValueError:
        pass
    return np.array([_instant(value) for value in values], dtype=np.int64)


def _instant(value: object) -> int:
    try:
        return parse_instant(value)
    except ValueError:
        return 0


def _late(
    codes: NDArray[np.int64], times: NDArray[np.int64], arrivals: NDArray[np.int64], max_future: int
) -> NDArray[np.bool_]:
    """Whether a newer message of the same asset came before; one with a time in the future is none."""
    if len(arrivals):
        times = np.where(times > arrivals + max_future, np.iinfo(np.int64).min, times)
    order = np.argsort(arrivals, kind="stable") if len(arrivals) else np.arange(len(times))
    order = order[np.argsort(codes[order], kind="stable")]
    late = np.zeros(len(times), dtype=bool)
    if len(times):
        starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
        for rows in np.split(order, starts[1:]):
            newest = np.maximum.accumulate(times[rows])
            late[rows[1:]] = times[rows[1:]] < newest[:-1]
    return late & (times > np.iinfo(np.int64).min)


def to_json(value: object) -> str:
    """Return JSON that may stand inside a ``script`` element: no text in it can end that element."""
    return orjson.dumps(value).decode().replace("<", "\\u003c").replace("\u2028", " ").replace("\u2029", " ")
