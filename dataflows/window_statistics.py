"""Statistics of event-time windows: their names, and the compiled arithmetic that computes them.

Pane p of hop h covers (p * h, (p + 1) * h]. A pane holds the moments of its readings, per channel. So an
event costs one update of one pane per hop, and a window one merge per pane, however many events they hold.

A statistic is added here and nowhere else: its name in `MEANINGS`, its arithmetic in `describe`. It costs
no memory where it follows from `FIELDS`. A new field costs 8 bytes a pane and channel, and an addition in
`_add` and `_merge`. The statistics of fault codes are in `describe_faults`.

Compiled functions update and merge means, squared deviations and co-moments by the formulas of Chan, Golub
and LeVeque ("Updating formulae and a pairwise algorithm for computing sample variances", 1979), which do not
cancel as sums of squares do. Times enter as hours since the start of the pane, computed from integers. All
compiled functions are in this file, since the cache of numba compiles them again where their file changed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic

from dataflows.instants import HOUR, format_duration

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "EMPTY",
    "FAULT_MEANINGS",
    "FAULT_STATISTICS",
    "FIELDS",
    "MEANINGS",
    "NOT_COUNTED",
    "STATISTICS",
    "WIDTH",
    "describe",
    "describe_faults",
    "feature_name",
    "first_pane",
    "observe",
    "observe_run",
    "observe_runs",
    "pack",
    "packed_size",
    "pane_of",
    "replace_missing",
    "ring_sizes",
    "statistics",
    "unpack",
    "with_ring",
]

#: Statistics of a channel over a window, in the order in which features are laid out, and what they are.
MEANINGS = {
    "count": "number of readings",
    "missing": "number of times without a reading",
    "mean": "their mean",
    "std": "their standard deviation, of the population",
    "min": "the smallest",
    "max": "the largest",
    "slope": "by least squares, per hour",
    "delta": "the last minus the first",
    "last": "the last",
    "age": "hours since the last",
}
STATISTICS = tuple(MEANINGS)
(
    _COUNT_OF,
    _MISSING_OF,
    _MEAN_OF,
    _STD_OF,
    _MIN_OF,
    _MAX_OF,
    _SLOPE_OF,
    _DELTA_OF,
    _LAST_OF,
    _AGE_OF,
) = range(len(STATISTICS))
#: The same of a fault code.
FAULT_MEANINGS = {"count": "number of faults", "age": "hours since the last"}
FAULT_STATISTICS = tuple(FAULT_MEANINGS)
#: Numbers kept per pane and sensor.
FIELDS = (
    "count",
    "missing",
    "mean",
    "squares",
    "minimum",
    "maximum",
    "time_mean",
    "time_squares",
    "products",
    "first_time",
    "first",
    "last_time",
    "last",
)
WIDTH = len(FIELDS)
(
    _COUNT,
    _MISSING,
    _MEAN,
    _SQUARES,
    _MIN,
    _MAX,
    _TIME_MEAN,
    _TIME_SQUARES,
    _PRODUCTS,
    _FIRST_TIME,
    _FIRST,
    _LAST_TIME,
    _LAST,
) = range(WIDTH)
#: Pane number of a slot that holds nothing.
EMPTY = -(2**62)
#: In place of a reading that is neither counted nor missing, since the windows of its channel began later.
NOT_COUNTED = math.inf
_HOUR = float(HOUR)
#: A length or a number of panes: of one hop, or (hops) of each.
PerHop = TypeVar("PerHop", int, "NDArray[np.int64]")


def pane_of(time: int, hop: PerHop) -> PerHop:
    """Number of the pane of a hop in which a time lies.

    >>> pane_of(7_200, 3_600), pane_of(7_201, 3_600)
    (1, 2)
    """
    return (time - 1) // hop


def first_pane(time: int, hop: PerHop, panes: PerHop) -> PerHop:
    """Number of the oldest pane that a window of so many panes covers at a time.

    >>> first_pane(7_201, 3_600, 2)
    0
    """
    return time // hop - panes


_pane_of: Any = njit(cache=True, inline="always")(pane_of)
_first_pane: Any = njit(cache=True, inline="always")(first_pane)


@njit(cache=True)
def _add(cell: NDArray[np.float64], value: float, hours: float, time: int) -> None:
    count = cell[_COUNT] + 1.0
    deviation = value - cell[_MEAN]
    time_deviation = hours - cell[_TIME_MEAN]
    mean = cell[_MEAN] + deviation / count
    time_mean = cell[_TIME_MEAN] + time_deviation / count
    cell[_SQUARES] += deviation * (value - mean)
    cell[_TIME_SQUARES] += time_deviation * (hours - time_mean)
    cell[_PRODUCTS] += deviation * (hours - time_mean)
    cell[_MEAN] = mean
    cell[_TIME_MEAN] = time_mean
    if count == 1.0 or value < cell[_MIN]:
        cell[_MIN] = value
    if count == 1.0 or value > cell[_MAX]:
        cell[_MAX] = value
    if count == 1.0 or time < cell[_FIRST_TIME]:
        cell[_FIRST_TIME] = time
        cell[_FIRST] = value
    if count == 1.0 or time > cell[_LAST_TIME]:
        cell[_LAST_TIME] = time
        cell[_LAST] = value
    cell[_COUNT] = count


@njit(cache=True)
def _add_row(
    time: int,
    row: NDArray[np.float64],
    hours: float,
    number: int,
    slot: int,
    numbers: NDArray[np.int64],
    panes: NDArray[np.float64],
) -> None:
    if numbers[slot] != number:
        numbers[slot] = number
        panes[slot] = 0.0
    for sensor in range(len(row)):
        if math.isnan(row[sensor]):
            panes[slot, sensor, _MISSING] += 1.0
        elif row[sensor] != NOT_COUNTED:
            _add(panes[slot, sensor], row[sensor], hours, time)


@njit(cache=True)
def observe(
    time: int,
    row: NDArray[np.float64],
    oldest: NDArray[np.int64],
    hops: NDArray[np.int64],
    rings: NDArray[np.int64],
    numbers: NDArray[np.int64],
    panes: NDArray[np.float64],
) -> int:
    """Add one row of readings, at a time that no pane holds yet, to its pane of every hop.

    Args:
        time: microseconds.
        row: readings (sensors), NaN where missing, or `NOT_COUNTED`.
        oldest: (hops) number of the oldest pane that any window of the hop still covers.
        hops: (hops) microseconds.
        rings: (hops, 2) offset and size of each hop's ring of panes.
        numbers: (slots) pane number in each slot, or `EMPTY`.
        panes: (slots, sensors, `WIDTH`).

    Returns:
        -1, or the index of the first hop whose ring is too small; then nothing was changed.
    """
    for hop in range(len(hops)):
        number = _pane_of(time, hops[hop])
        held = numbers[rings[hop, 0] + number % rings[hop, 1]]
        if number >= oldest[hop] and held != number and held >= oldest[hop]:
            return hop
    for hop in range(len(hops)):
        number = _pane_of(time, hops[hop])
        if number < oldest[hop]:
            continue
        slot = rings[hop, 0] + number % rings[hop, 1]
        hours = (time - number * hops[hop]) / _HOUR
        _add_row(time, row, hours, number, slot, numbers, panes)
    return -1


@njit(cache=True)
def replace_missing(
    time: int,
    row: NDArray[np.float64],
    oldest: NDArray[np.int64],
    hops: NDArray[np.int64],
    rings: NDArray[np.int64],
    numbers: NDArray[np.int64],
    panes: NDArray[np.float64],
) -> None:
    """Add readings that were missing from a time the panes hold already; NaN leaves a sensor as it is.

    Arguments are those of `observe`.
    """
    for hop in range(len(hops)):
        number = _pane_of(time, hops[hop])
        slot = rings[hop, 0] + number % rings[hop, 1]
        if number < oldest[hop] or numbers[slot] != number:
            continue
        hours = (time - number * hops[hop]) / _HOUR
        for sensor in range(len(row)):
            if not math.isnan(row[sensor]):
                if panes[slot, sensor, _MISSING] > 0.0:
                    panes[slot, sensor, _MISSING] -= 1.0
                _add(panes[slot, sensor], row[sensor], hours, time)


@njit(cache=True)
def _merge(total: NDArray[np.float64], cell: NDArray[np.float64], shift: float) -> None:
    """Add a later cell to a total; shift is the later pane's start in hours since the total's."""
    total[_MISSING] += cell[_MISSING]
    if cell[_COUNT] == 0.0:
        return
    if total[_COUNT] == 0.0:
        missing = total[_MISSING]
        total[:] = cell
        total[_MISSING] = missing
        total[_TIME_MEAN] += shift
        return
    count = total[_COUNT] + cell[_COUNT]
    weight = total[_COUNT] * cell[_COUNT] / count
    deviation = cell[_MEAN] - total[_MEAN]
    time_deviation = cell[_TIME_MEAN] + shift - total[_TIME_MEAN]
    total[_SQUARES] += cell[_SQUARES] + deviation * deviation * weight
    total[_TIME_SQUARES] += cell[_TIME_SQUARES] + time_deviation * time_deviation * weight
    total[_PRODUCTS] += cell[_PRODUCTS] + deviation * time_deviation * weight
    total[_MEAN] += deviation * cell[_COUNT] / count
    total[_TIME_MEAN] += time_deviation * cell[_COUNT] / count
    total[_MIN] = min(total[_MIN], cell[_MIN])
    total[_MAX] = max(total[_MAX], cell[_MAX])
    total[_LAST_TIME] = cell[_LAST_TIME]
    total[_LAST] = cell[_LAST]
    total[_COUNT] = count


@njit(cache=True)
def describe(time: int, total: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Write every statistic of a window of one channel, NaN where it has too few points.

    Args:
        time: microseconds, not before any reading of the window.
        total: (`WIDTH`) its panes, merged.
        out: (statistics).
    """
    count = total[_COUNT]
    out[:] = np.nan
    out[_COUNT_OF] = count
    out[_MISSING_OF] = total[_MISSING]
    if count >= 1.0:
        out[_MEAN_OF] = total[_MEAN]
        out[_MIN_OF] = total[_MIN]
        out[_MAX_OF] = total[_MAX]
        out[_DELTA_OF] = total[_LAST] - total[_FIRST]
        out[_LAST_OF] = total[_LAST]
        out[_AGE_OF] = (time - total[_LAST_TIME]) / _HOUR
    if count >= 2.0:  # noqa: PLR2004 - a spread and a slope need two points
        # The merged mean may round past the extremes, and squares below zero.
        out[_STD_OF] = math.sqrt(max(total[_SQUARES], 0.0) / count)
        if total[_TIME_SQUARES] > 0.0:
            out[_SLOPE_OF] = total[_PRODUCTS] / total[_TIME_SQUARES]


def feature_name(channel: str, statistic: str, length: int) -> str:
    """Name of the feature of a statistic of a channel, or of a fault code, over a window.

    >>> feature_name("flow", "mean", 86_400_000_000)
    'flow:mean:24h'
    """
    return f"{channel}:{statistic}:{format_duration(length)}"


def describe_faults(time: int, count: int, last: int | None) -> tuple[float, ...]:
    """Return every statistic of a fault code in a window, NaN where it has none.

    Args:
        time: microseconds, not before any fault of the window.
        count: number of faults.
        last: time of the last one, None without one.

    >>> describe_faults(7_200_000_000, 3, 3_600_000_000)
    (3, 1.0)
    """
    return count, math.nan if last is None else (time - last) / HOUR


@njit(cache=True)
def statistics(
    time: int,
    windows: NDArray[np.int64],
    picks: NDArray[np.int64],
    hops: NDArray[np.int64],
    rings: NDArray[np.int64],
    numbers: NDArray[np.int64],
    panes: NDArray[np.float64],
    folds: NDArray[np.float64],
    folded: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Statistics of every window at a time not before any event that the panes hold.

    Panes are merged in order of time, so the merge of all but the newest stays as it is until the next pane
    begins, or a late event changes one of them. It is kept: an event then merges one pane a window.

    Args:
        time: microseconds.
        windows: (windows, 2) index of the hop, and length in panes.
        picks: (features) index into (windows, sensors, statistics) laid flat.
        hops: as in `observe`, and so are rings, numbers and panes.
        folds: (windows, sensors, `WIDTH`) all panes but the newest, merged; kept between calls.
        folded: (windows, 2) first and newest pane of that time; `EMPTY` where a pane changed since.
        out: (features) written; NaN where a statistic has too few points.
    """
    sensors = panes.shape[1]
    total = np.empty(WIDTH)
    described = np.empty((len(windows), sensors, len(STATISTICS)))
    for window in range(len(windows)):
        hop = hops[windows[window, 0]]
        offset = rings[windows[window, 0], 0]
        size = rings[windows[window, 0], 1]
        start = _first_pane(time, hop, windows[window, 1])
        stop = _pane_of(time, hop)
        if folded[window, 0] != start or folded[window, 1] != stop:
            folded[window, 0] = start
            folded[window, 1] = stop
            folds[window] = 0.0
            for number in range(start, stop):
                slot = offset + number % size
                if numbers[slot] == number:
                    for sensor in range(sensors):
                        _merge(folds[window, sensor], panes[slot, sensor], (number - start) * hop / _HOUR)
        slot = offset + stop % size
        for sensor in range(sensors):
            total[:] = folds[window, sensor]
            if numbers[slot] == stop:
                _merge(total, panes[slot, sensor], (stop - start) * hop / _HOUR)
            describe(time, total, described[window, sensor])
    flat = described.ravel()
    for feature in range(len(picks)):
        out[feature] = flat[picks[feature]]


@njit(cache=True)
def observe_run(
    table: NDArray[np.float64],
    first: int,
    layout: NDArray[np.int64],
    index: NDArray[np.int64],
    cells: NDArray[np.float64],
    out: NDArray[np.float64],
) -> int:
    """For each of some rows, at times after all others: `observe`, then `statistics` at that time.

    One call does all that nearly every event needs. Handing an array to compiled code costs as much as some
    arithmetic on it, so what the other functions take one by one is laid end to end here.

    Args:
        table: (rows, 1 + sensors) time in microseconds, and readings, NaN where missing, or `NOT_COUNTED`.
        first: index of the first row to add; one row for each row of ``out``.
        layout: number of hops H and of windows W; hops (H); panes of the longest window of each (H);
            ``windows`` (W, 2); ``picks`` (all the rest).
        index: ``rings`` (H, 2); ``folded`` (W, 2); ``numbers`` (all the rest).
        cells: ``folds`` (W, sensors, `WIDTH`); ``panes`` (slots, sensors, `WIDTH`).
        out: (rows, features) written: the readings if they are features too, then the statistics.

    Returns:
        -1 if all rows were added; else H times the number of rows that were, plus the index of the first hop
        whose ring is too small for the next one.
    """
    hops_end = 2 + layout[0]
    depths_end = hops_end + layout[0]
    windows_end = depths_end + 2 * layout[1]
    hops = layout[2:hops_end]
    depths = layout[hops_end:depths_end]
    windows = layout[depths_end:windows_end].reshape(-1, 2)
    picks = layout[windows_end:]
    rings_end = 2 * len(hops)
    folded_end = rings_end + 2 * len(windows)
    rings = index[:rings_end].reshape(-1, 2)
    folded = index[rings_end:folded_end].reshape(-1, 2)
    numbers = index[folded_end:]
    sensors = table.shape[1] - 1
    folds_end = len(windows) * sensors * WIDTH
    folds = cells[:folds_end].reshape(len(windows), sensors, WIDTH)
    panes = cells[folds_end:].reshape(len(numbers), sensors, WIDTH)
    values = out.shape[1] - len(picks)
    for added in range(len(out)):
        time = int(table[first + added, 0])
        row = table[first + added, 1:]
        for hop in range(len(hops)):
            number = _pane_of(time, hops[hop])
            held = numbers[rings[hop, 0] + number % rings[hop, 1]]
            if held != number and held >= _first_pane(time, hops[hop], depths[hop]):
                return len(hops) * added + hop
        for hop in range(len(hops)):
            number = _pane_of(time, hops[hop])
            slot = rings[hop, 0] + number % rings[hop, 1]
            hours = (time - number * hops[hop]) / _HOUR
            _add_row(time, row, hours, number, slot, numbers, panes)
        out[added, :values] = row[:values]
        statistics(time, windows, picks, hops, rings, numbers, panes, folds, folded, out[added, values:])
    return -1


def _typed_pointer(_: Any, address: Any) -> Any:  # noqa: ANN401 - types of numba
    """Compile the conversion of an address into a pointer: its type, and what generates it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401 - as above
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.voidptr(address), generate


_pointer: Any = intrinsic(_typed_pointer)


@njit(cache=True)
def observe_runs(
    runs: NDArray[np.int64],
    table: NDArray[np.float64],
    layout: NDArray[np.int64],
    reached: NDArray[np.int64],
    out: NDArray[np.float64],
) -> int:
    """`observe_run` for the rows of many assets of one class, one after the other, in one call.

    Args:
        runs: (assets, 3) of each the addresses of its index and its cells, see `observe_run`, and its number
            of rows. The arrays must be C-contiguous, and live until this returns.
        table: (rows, 1 + sensors) of all assets, those of one together.
        layout: as `observe_run` takes it.
        reached: (2) number of the asset to go on with, and of its first row; written where a ring is too
            small. The number of rows in ``runs`` is then that of the rows that are left.
        out: (rows, features) written.

    Returns:
        -1 if all rows were added; else the index of the first hop whose ring is too small for the next one.
    """
    hops, windows, sensors = layout[0], layout[1], table.shape[1] - 1
    first = reached[1]
    for asset in range(reached[0], len(runs)):
        slots = 0
        rings = carray(_pointer(runs[asset, 0]), (hops, 2), np.int64)
        for hop in range(hops):
            slots += rings[hop, 1]
        index = carray(_pointer(runs[asset, 0]), (2 * hops + 2 * windows + slots,), np.int64)
        cells = carray(_pointer(runs[asset, 1]), ((windows + slots) * sensors * WIDTH,), np.float64)
        stop = first + runs[asset, 2]
        full = observe_run(table, first, layout, index, cells, out[first:stop])
        if full >= 0:
            added = full // hops
            reached[0] = asset
            reached[1] = first + added
            runs[asset, 2] -= added
            return int(full % hops)
        first = stop
    return -1


@njit(cache=True)
def with_ring(
    layout: NDArray[np.int64],
    sensors: int,
    index: NDArray[np.int64],
    cells: NDArray[np.float64],
    hop: int,
    size: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return index and cells with a larger ring of one hop, and the same panes; nothing is folded in them.

    Args:
        layout: as `observe_run` takes it, and so are index and cells.
        sensors: number.
        index: rings and numbers of panes.
        cells: the panes.
        hop: its index.
        size: of its ring from now on.
    """
    hops = int(layout[0])
    numbers_at = 2 * hops + 2 * layout[1]
    width = sensors * WIDTH
    panes_at = layout[1] * width
    more = size - index[2 * hop + 1]
    new_index = np.full(len(index) + more, EMPTY)
    new_cells = np.zeros(len(cells) + more * width)
    offset = 0
    for ring in range(hops):
        before, held = index[2 * ring], index[2 * ring + 1]
        new_size = size if ring == hop else held
        new_index[2 * ring] = offset
        new_index[2 * ring + 1] = new_size
        for slot in range(before, before + held):
            number = index[numbers_at + slot]
            if number == EMPTY:
                continue
            target = offset + number % new_size
            if number > new_index[numbers_at + target]:
                new_index[numbers_at + target] = number
                to, at = panes_at + target * width, panes_at + slot * width
                new_cells[to : to + width] = cells[at : at + width]
        offset += new_size
    return new_index, new_cells


#: Bits of a cell in a word: which of its fields are stored.
_MARKED, _CELLS_A_WORD = 16, 4
_SIZE_BITS = 32


@njit(cache=True)
def _usual_first_time(cell: NDArray[np.float64], before: NDArray[np.float64]) -> float:
    """Return what the first time of a cell nearly always is: that of the sensor before.

    Args:
        cell: its count is known.
        before: cell of the sensor before; of the first sensor, one that says one reading.
    """
    return 0.0 if cell[_COUNT] == 0.0 else before[_FIRST_TIME]


@njit(cache=True)
def _usual_rest(
    cell: NDArray[np.float64], before: NDArray[np.float64], start: int, usual: NDArray[np.float64]
) -> None:
    """Write what other fields nearly always are: as of one reading, or with times as of the sensor before.

    Args:
        cell: its count, first time and first reading are known.
        before: as in `_usual_first_time`.
        start: of the pane, microseconds.
        usual: (`WIDTH`) written.
    """
    usual[_MISSING] = 0.0
    usual[_SQUARES] = 0.0
    usual[_PRODUCTS] = 0.0
    first = cell[_FIRST]
    usual[_MEAN] = first
    usual[_MIN] = first
    usual[_MAX] = first
    usual[_LAST] = first
    if cell[_COUNT] > 1.0:
        usual[_TIME_MEAN] = before[_TIME_MEAN]
        usual[_TIME_SQUARES] = before[_TIME_SQUARES]
        usual[_LAST_TIME] = before[_LAST_TIME]
    else:
        time = cell[_FIRST_TIME]
        usual[_TIME_MEAN] = (time - start) / _HOUR if cell[_COUNT] == 1.0 else 0.0
        usual[_TIME_SQUARES] = 0.0
        usual[_LAST_TIME] = time


#: Order in which a cell is packed: the fields from which those of `_usual_rest` follow, then these.
_HEAD = (_COUNT, _FIRST_TIME, _FIRST)
_PACKED = (*_HEAD, *(field for field in range(WIDTH) if field not in _HEAD))
_HEADS = len(_HEAD)


def packed_size(panes: int, hops: int, sensors: int) -> int:
    """Return the number of words that `pack` writes at most."""
    return hops + panes * (1 + -(-sensors // _CELLS_A_WORD) + sensors * WIDTH)


def ring_sizes(words: NDArray[np.int64], hops: int) -> NDArray[np.int64]:
    """Return the sizes of the rings (hops) of what `pack` wrote."""
    return words[:hops] & ((1 << _SIZE_BITS) - 1)


@njit(cache=True)
def pack(
    layout: NDArray[np.int64],
    sensors: int,
    index: NDArray[np.int64],
    cells: NDArray[np.float64],
    now: int,
    out: NDArray[np.int64],
) -> int:
    """Write panes in few words, to the last bit, for a snapshot.

    A pane holds `WIDTH` numbers a sensor. Those of one reading follow from its time and value, and most times
    are those of the sensor before. So only fields that are not as usual are written:

    - of each hop a word: the size of its ring, and from bit 32 on the number of its panes;
    - of each pane its number; then 16 bits a sensor, four in a word, that mark its written fields in the
      order of `_PACKED`; then these fields, sensor by sensor.

    Args:
        layout: as `observe_run` takes it, and so are index and cells.
        sensors: number.
        index: rings and numbers of panes.
        cells: the panes.
        now: the time that is scored; panes that no window covers from then on are left out.
        out: (`packed_size`) written.

    Returns:
        Number of words that were written.
    """
    hops = int(layout[0])
    numbers_at = 2 * hops + 2 * layout[1]
    panes_at = layout[1] * sensors * WIDTH
    bits = cells.view(np.int64)
    usual = np.empty(WIDTH)
    usual_bits = usual.view(np.int64)
    first = np.zeros(WIDTH)
    first[_COUNT] = 1.0
    at = hops
    for hop in range(hops):
        length = layout[2 + hop]
        oldest = _first_pane(now, length, layout[2 + hops + hop])
        held = 0
        for slot in range(index[2 * hop], index[2 * hop] + index[2 * hop + 1]):
            number = index[numbers_at + slot]
            if number == EMPTY or number < oldest:
                continue
            held += 1
            out[at] = number
            marks_at = at + 1
            at = marks_at + (sensors + _CELLS_A_WORD - 1) // _CELLS_A_WORD
            out[marks_at:at] = 0
            before = first
            for sensor in range(sensors):
                cell_at = panes_at + (slot * sensors + sensor) * WIDTH
                cell = cells[cell_at : cell_at + WIDTH]
                usual[_COUNT] = before[_COUNT]
                usual[_FIRST_TIME] = _usual_first_time(cell, before)
                usual[_FIRST] = 0.0
                _usual_rest(cell, before, number * length, usual)
                marks = 0
                for place in range(WIDTH):
                    field = _PACKED[place]
                    if usual_bits[field] != bits[cell_at + field]:
                        marks |= 1 << place
                        out[at] = bits[cell_at + field]
                        at += 1
                out[marks_at + sensor // _CELLS_A_WORD] |= marks << (sensor % _CELLS_A_WORD * _MARKED)
                before = cell
        out[hop] = index[2 * hop + 1] | held << _SIZE_BITS
    return at


@njit(cache=True)
def unpack(
    layout: NDArray[np.int64],
    sensors: int,
    words: NDArray[np.int64],
    index: NDArray[np.int64],
    cells: NDArray[np.float64],
) -> None:
    """Write what `pack` wrote into empty panes, whose rings have their sizes; arguments are as there."""
    hops = int(layout[0])
    numbers_at = 2 * hops + 2 * layout[1]
    panes_at = layout[1] * sensors * WIDTH
    bits = cells.view(np.int64)
    first = np.zeros(WIDTH)
    first[_COUNT] = 1.0
    at = hops
    for hop in range(hops):
        length = layout[2 + hop]
        for _ in range(words[hop] >> _SIZE_BITS):
            number = words[at]
            slot = index[2 * hop] + number % index[2 * hop + 1]
            index[numbers_at + slot] = number
            marks_at = at + 1
            at = marks_at + (sensors + _CELLS_A_WORD - 1) // _CELLS_A_WORD
            before = first
            for sensor in range(sensors):
                cell_at = panes_at + (slot * sensors + sensor) * WIDTH
                cell = cells[cell_at : cell_at + WIDTH]
                marks = words[marks_at + sensor // _CELLS_A_WORD] >> (sensor % _CELLS_A_WORD * _MARKED)
                cell[_COUNT] = before[_COUNT]
                for place in range(WIDTH):
                    if place == 1:
                        cell[_FIRST_TIME] = _usual_first_time(cell, before)
                    elif place == _HEADS:
                        _usual_rest(cell, before, number * length, cell)
                    if marks >> place & 1:
                        bits[cell_at + _PACKED[place]] = words[at]
                        at += 1
                before = cell
