"""Matured examples that are kept to fit models on, stored in parts of which few change.

A part is a range of examples, and which range depends on the number of examples alone, as the digits of a
binary counter do: part 0 has the newest, each next one is empty or has twice as many. So an epoch writes
little however many are kept, and an example is written again about once for each doubling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dataflows.state.snapshots import Kind, SnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["KEPT", "KEPT_PARTS", "MOST_KEPT", "KeptExamples"]

#: Number of parts; a store knows them by number.
KEPT_PARTS = 16
#: Number of examples of the first part that is not the newest.
_BLOCK = 512
_LAST = KEPT_PARTS - 1
#: Largest number of examples that can be kept.
MOST_KEPT = _BLOCK << (_LAST - 2)


def _size(payload: Any) -> int:  # noqa: ANN401 - plain data
    """Return the number of examples of a part."""
    _, _, low, high, *_ = payload
    return int(high - low)


def _with_weights(payload: Sequence[Any]) -> list[Any]:
    """Version 1 knew no weights: each example stood for itself."""
    _, _, low, high, *_ = payload
    return [*payload, np.ones(high - low, dtype=np.int32).tobytes()]


#: Snapshots of a part: number of examples ever, first one kept, range, width, values, labels, times, weights.
KEPT: Kind[int] = Kind("kept", 2, {1: _with_weights}, describe=_size)


class KeptExamples:
    """Examples in the order in which they were learned, by number; the oldest are dropped.

    Args:
        width: number of values of an example.

    Attributes:
        count: number of examples ever added.
        first: number of the oldest that is kept.

    Example:
        >>> kept = KeptExamples(width=1)
        >>> for number in range(5):
        ...     kept.add(np.array([number / 10]), label=number % 2, time=number)
        >>> values, labels = kept.between(3, 5)
        >>> values.tolist(), labels.tolist()
        ([[0.3], [0.4]], [1, 0])
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.count = self.first = 0
        #: Number of the example in the first row of the arrays, which have room for more.
        self._base = 0
        self._values = np.empty((_BLOCK, width))
        self._labels = np.empty(_BLOCK, dtype=np.int8)
        self._times = np.empty(_BLOCK, dtype=np.int64)
        self._weights = np.empty(_BLOCK, dtype=np.int32)
        #: By part: the range that was written last.
        self._written: dict[int, tuple[int, int]] = {}

    @classmethod
    def restored(
        cls,
        width: int,
        parts: Mapping[int, bytes],
        converted: Callable[[Floats], Floats] | None = None,
    ) -> KeptExamples:
        """Read the parts of a store.

        Args:
            width: number of values of an example today.
            parts: return values of `part`, by number.
            converted: makes the values (n, width) of stored ones, where the features changed.

        Raises:
            SnapshotError: a part is damaged, or not of the same moment as the others.
        """
        kept = cls(width)
        if 0 not in parts:
            return kept
        kept.count, kept.first, *_ = KEPT.unseal(parts[0])
        kept._base = kept.first
        kept._make_room(kept.count - kept.first)
        for part in range(KEPT_PARTS):
            low, high = kept._range(part)
            if low == high:
                continue
            found = KEPT.unseal(parts[part]) if part in parts else None
            if found is None or found[3] != high or found[2] > low:
                msg = f"part {part} of the kept examples does not hold {low} to {high}; restore a backup"
                raise SnapshotError(msg)
            kept._put(found, low, high, converted)
            if converted is None:
                kept._written[part] = kept._range(part)
        return kept

    def add(self, values: Floats, label: int, time: int, weight: int = 1) -> None:
        """Add an example.

        Args:
            values: (width,) features as served, NaN where missing.
            label: 1 or 0.
            time: of the example, in microseconds.
            weight: number of examples for which it stands.
        """
        row = self.count - self._base
        if row == len(self._labels):
            self._make_room(1)
            row = self.count - self._base
        self._values[row], self._labels[row], self._times[row] = values, label, time
        self._weights[row] = weight
        self.count += 1

    def widen(self, width: int) -> None:
        """Add columns, whose values are missing so far."""
        more = np.full((len(self._values), width - self.width), np.nan)
        self._values = np.concatenate([self._values, more], axis=1)
        self.width = width
        self._written = {}

    def drop_before(self, number: int) -> None:
        """Drop the examples before this one."""
        self.first = max(self.first, min(number, self.count))

    def between(self, low: int, high: int) -> tuple[Floats, NDArray[np.int64]]:
        """Return values (n, width) and labels (n,) of some examples, as copies.

        Raises:
            ValueError: they are not kept.
        """
        if low < self.first or high > self.count:
            msg = f"expected examples from {self.first} to {self.count}, got {low} to {high}"
            raise ValueError(msg)
        rows = slice(low - self._base, high - self._base)
        return self._values[rows].copy(), self._labels[rows].astype(np.int64)

    def weights(self, low: int, high: int) -> NDArray[np.int32]:
        """Return the weights (n,) of some examples, as a copy."""
        return self._weights[low - self._base : high - self._base].copy()

    def positives(self, low: int, high: int) -> int:
        """Return how many of some examples are positive."""
        return int(self._labels[low - self._base : high - self._base].sum(dtype=np.int64))

    def time(self, number: int) -> int:
        """Return the time of one example."""
        return int(self._times[number - self._base])

    def changed(self) -> Iterator[int]:
        """Yield the parts to write; each once."""
        for part in range(KEPT_PARTS):
            found = self._range(part)
            if self._written.get(part, (0, 0)) != found:
                # A part whose oldest examples were dropped need not be written for that.
                if self._written.get(part, (0, -1))[1] != found[1] or part == 0:
                    yield part
                self._written[part] = found

    def part(self, number: int) -> bytes:
        """Return the snapshot of one part."""
        low, high = self._range(number)
        rows = slice(low - self._base, high - self._base)
        arrays = (self._values[rows], self._labels[rows], self._times[rows], self._weights[rows])
        counts = (self.count, self.first, low, high, self.width)
        return KEPT.seal((*counts, *(array.tobytes() for array in arrays)))

    def _range(self, part: int) -> tuple[int, int]:
        """Return the first example of a part, and the one after its last; both 0 where it is empty."""
        blocks = self.count // _BLOCK
        if part == 0:
            low, high = blocks * _BLOCK, self.count
        elif part == _LAST:
            low, high = 0, (blocks >> (part - 1) << (part - 1)) * _BLOCK
        elif blocks >> (part - 1) & 1:
            low = (blocks >> part << part) * _BLOCK
            high = low + (_BLOCK << (part - 1))
        else:
            return 0, 0
        low = max(low, self.first)
        return (low, high) if low < high else (0, 0)

    def _put(
        self,
        found: Sequence[Any],
        low: int,
        high: int,
        converted: Callable[[Floats], Floats] | None,
    ) -> None:
        """Copy the examples of a stored part, which may hold some that were dropped since."""
        _, _, start, stop, width, values, labels, times, weights = found
        skipped, rows = low - start, slice(low - self._base, high - self._base)
        read = np.frombuffer(values).reshape(stop - start, width)[skipped:]
        self._values[rows] = read if converted is None else converted(read)
        self._labels[rows] = np.frombuffer(labels, dtype=np.int8)[skipped:]
        self._times[rows] = np.frombuffer(times, dtype=np.int64)[skipped:]
        self._weights[rows] = np.frombuffer(weights, dtype=np.int32)[skipped:]

    def _make_room(self, more: int) -> None:
        """Move the kept examples to the front of arrays that have room for more."""
        kept = slice(self.first - self._base, self.count - self._base)
        needed = self.count - self.first + more
        size = max(_BLOCK, len(self._labels))
        while size < needed + needed // 4:
            size *= 2
        arrays = []
        for array in (self._values, self._labels, self._times, self._weights):
            moved = np.empty((size, *array.shape[1:]), dtype=array.dtype)
            found = array[kept]
            moved[: len(found)] = found
            arrays.append(moved)
        self._values, self._labels, self._times, self._weights = arrays
        self._base = self.first
