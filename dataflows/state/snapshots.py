"""Snapshots: plain data in a sealed envelope that says what it is, in which version, and that it is whole.

A snapshot outlives the program that wrote it, so it holds no pickled class of this program: the payload is
msgpack (numbers, text, bytes, lists, maps).
"""

from __future__ import annotations

import hmac
import struct
import zlib
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["UNSIGNED", "Older", "SnapshotError", "contents", "is_signed_by", "seal", "sign", "unseal"]

_MAGIC = b"HWS1"
_HEADER = struct.Struct("<4sI")
#: Before a snapshot that is signed: this, then an HMAC-SHA256 of the snapshot.
_SIGNED = b"HWSS"
_SIGNED_LENGTH = len(_SIGNED) + 32
#: What to do where a key is set and a snapshot of models is not signed by it.
UNSIGNED = (
    "models of the recovery store are not signed by HIGHWATER_STORE_KEY. To load them could run code of "
    "whoever wrote them: name the key of the run that did, restore a backup that it signed, or begin anew "
    "with --fresh"
)
#: By version: what makes of its payload that of the next version.
Older: TypeAlias = "Mapping[int, Callable[[Any], Any]]"


class SnapshotError(RuntimeError):
    """A snapshot that cannot be used: damaged, of another kind, or of a version this release cannot read."""


def seal(kind: str, version: int, payload: object) -> bytes:
    """Envelope of a snapshot: magic, CRC-32 of what follows, then msgpack ``[kind, version, payload]``."""
    body = msgspec.msgpack.encode((kind, version, payload))
    return _HEADER.pack(_MAGIC, zlib.crc32(body)) + body


def sign(sealed: bytes, key: bytes) -> bytes:
    """The snapshot with a signature before it, which only who has the key can make.

    Example:
        >>> signed = sign(seal("models", 1, []), b"secret")
        >>> is_signed_by(signed, b"secret"), is_signed_by(signed, b"guess"), unseal("models", 1, signed)
        (True, False, [])
    """
    return _SIGNED + hmac.digest(key, sealed, "sha256") + sealed


def is_signed_by(signed: bytes, key: bytes) -> bool:
    """Whether a snapshot is signed, and with this key."""
    if not signed.startswith(_SIGNED):
        return False
    made = hmac.digest(key, signed[_SIGNED_LENGTH:], "sha256")
    return hmac.compare_digest(signed[len(_SIGNED) : _SIGNED_LENGTH], made)


def contents(sealed: object) -> tuple[str, int, Any]:
    """Kind, version and payload of a sealed snapshot, whatever it is of. Its signature is not checked.

    Raises:
        SnapshotError: not a snapshot, or damaged.
    """
    if isinstance(sealed, bytes) and sealed.startswith(_SIGNED):
        sealed = sealed[_SIGNED_LENGTH:]
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
