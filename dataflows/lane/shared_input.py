"""Shared inputs: files and topics that every lane reads, and what a lane does with their records.

Weather is needed by every lane, and so are registry rows, since a lane knows only from its own input which
assets are its own. So such a row is held until the first own record of its asset. Everything is counted, and
what cannot be used is rejected, by the first lane; a command is sent by it.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgspec

from dataflows.events import Command, Event, Registration, Reject, Weather, kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows.fleet.fleet import Fleet

__all__ = ["SharedInputs"]


class SharedInputs:
    """The shared inputs of a fleet, and the registry rows that are held.

    Args:
        fleet: the fleet.
        lane: number of the lane.
        held: results of `entry`, by asset.

    Attributes:
        is_first: whether the lane counts and rejects records of shared inputs.
    """

    def __init__(self, fleet: Fleet, lane: int, held: Mapping[str, dict[str, Any]]) -> None:
        kafka = fleet.input.kafka
        self._files = (*fleet.assets.registry, *fleet.input.shared)
        self._topics = frozenset(() if kafka is None else kafka.shared)
        self._known: dict[str, bool] = {}
        self.is_first = lane == 0
        self._held = {asset: msgspec.convert(row, Registration) for asset, row in held.items()}

    def __contains__(self, source: str) -> bool:
        """Whether the source in a record's position is shared."""
        found = self._known.get(source)
        if found is None:
            topic = source.rpartition("/")[0]
            found = topic in self._topics or any(fnmatchcase(source, each) for each in self._files)
            self._known[source] = found
        return found

    def body(self, body: Event | Reject) -> Event | Reject | None:
        """Return what the lane makes of a record of a shared input; None if another lane takes it."""
        if isinstance(body, Weather | Registration):
            return body
        if not self.is_first:
            return None
        if isinstance(body, Command | Reject):
            return body
        why = (
            f"a record of kind {kind_of(body)} in a shared input: only weather, registry rows and commands "
            "may be there, since every lane reads it and only one has the asset"
        )
        return Reject("other_lane", why, getattr(body, "asset", None))

    def __len__(self) -> int:
        return len(self._held)

    def holds(self, asset: str) -> bool:
        """Whether a row of an asset is held, which has no own record in the lane yet."""
        return asset in self._held

    def hold(self, row: Registration) -> None:
        """Hold the latest row of an asset until its first own record."""
        self._held[row.asset] = row

    def release(self, asset: str) -> Registration | None:
        """Return the row of an asset, which is held no longer; None without one."""
        return self._held.pop(asset, None)

    def entry(self, asset: str) -> dict[str, Any] | None:
        """Plain data of the row of an asset, None without one."""
        row = self._held.get(asset)
        return None if row is None else msgspec.structs.asdict(row)
