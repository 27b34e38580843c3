"""Signs of life: distinguish new records of an asset from copies and from records that are too late."""

from __future__ import annotations

import hashlib
from array import array
from math import nan
from typing import TYPE_CHECKING

import msgspec

from dataflows.event_time import Placement, place
from dataflows.events import Fault, Telemetry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows.fleet.fleet import AssetClass

__all__ = ["SignsOfLife"]

_DIGEST = 8
#: Remembered identities of an asset, and of a dropped one: with its times 64 bytes.
_KEPT, _BURIED = 32, 6
_NEVER = -(2**63)


class _Seen(msgspec.Struct):
    """Largest time of telemetry and faults, that of telemetry alone, and the latest identities."""

    newest: int
    scored: int
    recent: bytes


class SignsOfLife:
    """Distinguish telemetry and faults that an asset will accept from copies and from too late ones.

    Only the asset itself knows all identities, but silence is decided here, before it. So the latest 32
    identities (of id and content) of each asset are kept here too: a gateway repeats its latest messages.

    Args:
        classes: by name.
        kept: results of `entry`, by asset; empty for a new lane.
    """

    def __init__(self, classes: Mapping[str, AssetClass], kept: dict[str, tuple[int, int, bytes]]) -> None:
        self._classes = classes
        self._seen = {asset: _Seen(*found) for asset, found in kept.items()}

    def is_copy(self, event: Telemetry | Fault, asset_class: str) -> bool:
        """Whether a record with the same id, time and content was accepted recently."""
        seen = self._seen.get(event.asset)
        if seen is None or event.time > seen.newest:
            return False
        digest, recent = _digest(event, self._classes[asset_class]), seen.recent
        return any(recent[at : at + _DIGEST] == digest for at in range(0, len(recent), _DIGEST))

    def is_timely(self, event: Telemetry | Fault, asset_class: str) -> bool:
        """Whether a record that is not a copy is a sign of life: it is not too late."""
        seen = self._seen.get(event.asset)
        if seen is None:
            return True
        latest = seen.scored if isinstance(event, Telemetry) else seen.newest
        watermark = seen.newest - self._classes[asset_class].allowed_lateness
        return place(event.time, latest, watermark) is not Placement.TOO_LATE

    def add(self, event: Telemetry | Fault, asset_class: str) -> None:
        """Note a record that is a sign of life."""
        seen = self._seen.get(event.asset)
        if seen is None:
            seen = self._seen[event.asset] = _Seen(_NEVER, _NEVER, b"")
        digest = _digest(event, self._classes[asset_class])
        seen.recent = (digest + seen.recent)[: _KEPT * _DIGEST]
        seen.newest = max(seen.newest, event.time)
        if isinstance(event, Telemetry):
            seen.scored = max(seen.scored, event.time)

    def trim(self, asset: str) -> None:
        """Shorten the entry of an asset whose state was dropped."""
        seen = self._seen.get(asset)
        if seen is not None:
            seen.recent = seen.recent[: _BURIED * _DIGEST]

    def forget(self, asset: str) -> None:
        """Forget an asset."""
        self._seen.pop(asset, None)

    def entry(self, asset: str) -> tuple[int, int, bytes] | None:
        """Plain data of one asset, None if nothing is known."""
        seen = self._seen.get(asset)
        return None if seen is None else (seen.newest, seen.scored, seen.recent)


def _digest(event: Telemetry | Fault, asset_class: AssetClass) -> bytes:
    """Digest of id, time and content, eight bytes; it covers only declared readings."""
    named = b"" if event.id is None else event.id.encode()
    if isinstance(event, Fault):
        content = b"Fault\x1f%d\x1f%b\x1f%b" % (event.time, named, event.code.encode())
    else:
        get = event.readings.get
        # Adding 0.0 turns -0.0 into 0.0.
        values = [nan if (value := get(name)) is None else value + 0.0 for name in asset_class.sensors]
        content = b"Telemetry\x1f%d\x1f%b\x1f%b" % (event.time, named, array("d", values).tobytes())
    return hashlib.blake2b(content, digest_size=_DIGEST).digest()
