"""Snapshots: plain data in a sealed envelope that says what it is, in which version, and that it is whole.

A snapshot outlives the program that wrote it, so it holds no pickled class of this program: the payload is
msgpack (numbers, text, bytes, lists, maps).
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import msgspec

__all__ = ["SnapshotError", "seal", "unseal"]

_MAGIC = b"HWS1"
_HEADER = struct.Struct("<4sI")


class SnapshotError(RuntimeError):
    """A snapshot that cannot be used: damaged, of another kind, or of a version this release cannot read."""


def seal(kind: str, version: int, payload: object) -> bytes:
    """Envelope of a snapshot: magic, CRC-32 of what follows, then msgpack ``[kind, version, payload]``."""
    body = msgspec.msgpack.encode((kind, version, payload))
    return _HEADER.pack(_MAGIC, zlib.crc32(body)) + body


def unseal(kind: str, version: int, sealed: bytes) -> Any:  # noqa: ANN401 - plain data of any shape
    """Payload of a sealed snapshot.

    Raises:
        SnapshotError: not a snapshot, damaged, of another kind, or of another version.
    """
    if len(sealed) < _HEADER.size or sealed[:4] != _MAGIC:
        msg = f"expected a snapshot of {kind!r}, found other bytes; restore the recovery store from a backup"
        raise SnapshotError(msg)
    body = memoryview(sealed)[_HEADER.size :]
    if zlib.crc32(body) != _HEADER.unpack_from(sealed)[1]:
        msg = f"the snapshot of {kind!r} is damaged (CRC differs); restore the recovery store from a backup"
        raise SnapshotError(msg)
    found_kind, found_version, payload = msgspec.msgpack.decode(body)
    if found_kind != kind:
        msg = f"expected a snapshot of {kind!r}, found one of {found_kind!r}: the store of another dataflow"
        raise SnapshotError(msg)
    if found_version != version:
        msg = (
            f"the snapshot of {kind!r} has version {found_version}, this release reads version {version}; "
            "resume with the release that wrote it, or start with a new store"
        )
        raise SnapshotError(msg)
    return payload
