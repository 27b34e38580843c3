"""The latest readings of one asset, row by row: what a pane is made of again when one of them changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["NEVER", "Recent"]

#: Later than any time.
NEVER = 2**63
_LEAST = 2


class Recent:
    """Readings by time, in order of arrival.

    They stand in one array, since nearly every event adds a row at its end and nothing looks for one.

    Args:
        sensors: how many readings a row has.

    Attributes:
        oldest: time of the first row; `NEVER` where there is none.
    """

    __slots__ = ("_end", "_first", "_table", "oldest")

    def __init__(self, sensors: int) -> None:
        #: (capacity, 1 + sensors) the readings, after their time: a float64 holds it exactly until 2255.
        self._table: NDArray[np.float64] = np.empty((_LEAST, 1 + sensors))
        self._first = 0
        self._end = 0
        self.oldest = NEVER

    def __len__(self) -> int:
        return self._end - self._first

    def __contains__(self, time: int) -> bool:
        return bool((self._table[self._first : self._end, 0] == time).any())

    def __getitem__(self, time: int) -> NDArray[np.float64]:
        """The readings (sensors) of a time, NaN is missing.

        Raises:
            KeyError: none of this time are held.
        """
        return self._table[self._at(time), 1:]

    def __setitem__(self, time: int, row: NDArray[np.float64]) -> None:
        """Replace the readings of a time that is held.

        Raises:
            KeyError: none of this time are held.
        """
        self._table[self._at(time), 1:] = row

    def _at(self, time: int) -> int:
        found = np.flatnonzero(self._table[self._first : self._end, 0] == time)
        if not len(found):
            raise KeyError(time)
        return self._first + int(found[0])

    def append(self, time: int, row: NDArray[np.float64]) -> None:
        """Add the readings of a time that is not held yet."""
        end = self._end
        if end == len(self._table):
            self._make_room()
            end = self._end
        if end == self._first:
            self.oldest = time
        added = self._table[end]
        added[0] = time
        added[1:] = row
        self._end = end + 1

    def _make_room(self) -> None:
        """Move what is held to the front, of a larger table if it is more than half full."""
        held = self._table[self._first : self._end]
        table = self._table
        if 2 * len(held) > len(table):
            table = np.empty((2 * len(table), table.shape[1]))
        table[: len(held)] = held
        self._table, self._first, self._end = table, 0, len(held)

    def drop_oldest(self) -> None:
        """Let go of the first row."""
        self._first += 1
        self._find_oldest()

    def _find_oldest(self) -> None:
        self.oldest = int(self._table[self._first, 0]) if len(self) else NEVER

    def keep(self, times: set[int]) -> None:
        """Let go of all rows but those of some times."""
        held = self._table[self._first : self._end]
        kept = held[[int(time) in times for time in held[:, 0]]]
        self._table[: len(kept)] = kept
        self._first, self._end = 0, len(kept)
        self._find_oldest()

    def times(self) -> list[int]:
        """Of all rows."""
        return [int(time) for time in self._table[self._first : self._end, 0]]

    def items(self) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Time and readings of every row."""
        for row in self._table[self._first : self._end]:
            yield int(row[0]), row[1:]

    def within(self, first: int, last: int) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Time and readings of every row with first < time <= last."""
        held = self._table[self._first : self._end]
        for row in held[(held[:, 0] > first) & (held[:, 0] <= last)]:
            yield int(row[0]), row[1:]

    def state(self) -> bytes:
        """Plain data."""
        return self._table[self._first : self._end].tobytes()

    def restore(self, state: bytes) -> None:
        """Take back what `state` returned."""
        held = np.frombuffer(state).reshape(-1, self._table.shape[1])
        if len(held) > len(self._table):
            self._table = np.empty_like(held)
        self._table[: len(held)] = held
        self._first, self._end = 0, len(held)
        self._find_oldest()
