"""Snapshots: plain data in a sealed envelope that says what it is, in which version, and that it is whole.

A snapshot outlives the program that wrote it, so it holds no pickled class of this program: the payload is
msgpack (numbers, text, bytes, lists, maps).
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Older", "SnapshotError", "contents", "seal", "unseal"]

_MAGIC = b"HWS1"
_HEADER = struct.Struct("<4sI")
#: By version: what makes of its payload that of the next version.
Older: TypeAlias = "Mapping[int, Callable[[Any], Any]]"


class SnapshotError(RuntimeError):
    """A snapshot that cannot be used: damaged, of another kind, or of a version this release cannot read."""


def seal(kind: str, version: int, payload: object) -> bytes:
    """Envelope of a snapshot: magic, CRC-32 of what follows, then msgpack ``[kind, version, payload]``."""
    body = msgspec.msgpack.encode((kind, version, payload))
    return _HEADER.pack(_MAGIC, zlib.crc32(body)) + body


def contents(sealed: object) -> tuple[str, int, Any]:
    """Kind, version and payload of a sealed snapshot, whatever it is of.

    Raises:
        SnapshotError: not a snapshot, or damaged.
    """
    if not isinstance(sealed, bytes) or len(sealed) < _HEADER.size or sealed[:4] != _MAGIC:
        msg = "expected a snapshot, found other bytes; restore the recovery store from a backup"
        raise SnapshotError(msg)
    body = memoryview(sealed)[_HEADER.size :]
    if zlib.crc32(body) != _HEADER.unpack_from(sealed)[1]:
        msg = "a snapshot is damaged (CRC differs); restore the recovery store from a backup"
        raise SnapshotError(msg)
    kind, version, payload = msgspec.msgpack.decode(body)
    return kind, version, payload


def unseal(kind: str, version: int, sealed: bytes, older: Older | None = None) -> Any:  # noqa: ANN401 - plain data of any shape
    """Payload of a sealed snapshot.

    Args:
        kind: that is expected.
        version: that this release writes.
        sealed: the snapshot.
        older: how payloads of older versions become newer ones; versions without are refused.

    Raises:
        SnapshotError: not a snapshot, damaged, of another kind, or of a version that cannot be read.
    """
    try:
        found_kind, found_version, payload = contents(sealed)
    except SnapshotError as error:
        msg = f"{kind!r}: {error}"
        raise SnapshotError(msg) from None
    if found_kind != kind:
        msg = f"expected a snapshot of {kind!r}, found one of {found_kind!r}: the store of another dataflow"
        raise SnapshotError(msg)
    while found_version < version and older is not None and found_version in older:
        payload = older[found_version](payload)
        found_version += 1
    if found_version != version:
        msg = (
            f"the snapshot of {kind!r} has version {found_version}, this release reads version {version}; "
            "resume with the release that wrote it, or start with a new store"
        )
        raise SnapshotError(msg)
    return payload
