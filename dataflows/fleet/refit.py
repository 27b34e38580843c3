"""Convert feature vectors of a former layout of a class to the present one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dataflows.snapshots import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Refit"]


class Refit:
    """Move stored values to the present places of their features.

    Args:
        before: names of the features in the store.
        after: names of the features now.
    """

    def __init__(self, before: Sequence[str], after: Sequence[str]) -> None:
        self._before, self._width = len(before), len(after)
        places = {name: index for index, name in enumerate(after)}
        #: Present place of each stored feature; removed features have none.
        self._places = {index: places[name] for index, name in enumerate(before) if name in places}
        self._old = np.fromiter(self._places.keys(), np.intp)
        self._new = np.fromiter(self._places.values(), np.intp)

    def __call__(self, values: bytes, absent: float = math.nan) -> bytes:
        """Convert a float64 array (features) as bytes; new features hold ``absent``.

        Raises:
            SnapshotError: its length is not that of the stored layout.
        """
        stored = np.frombuffer(values)
        if len(stored) != self._before:
            msg = (
                f"a stored feature vector has {len(stored)} values where its layout has {self._before}: an "
                "earlier release wrote the store under two configurations at once; restore a backup from "
                "before fleet.toml was changed, or start over (--fresh)"
            )
            raise SnapshotError(msg)
        out = np.full(self._width, absent)
        out[self._new] = stored[self._old]
        return out.tobytes()

    def picks(self, stored: Sequence[int]) -> tuple[int, ...]:
        """Present indices of stored features, without removed ones."""
        return tuple(self._places[index] for index in stored if index in self._places)
