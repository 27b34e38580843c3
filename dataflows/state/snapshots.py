"""Snapshots: plain data in a sealed envelope that says what it is, in which version, and that it is whole.

A snapshot outlives the program that wrote it, so it holds no pickled class of this program: the payload is
msgpack (numbers, text, bytes, lists, maps).
"""

from __future__ import annotations

import hmac
import struct
import zlib
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "UNSIGNED",
    "Heading",
    "Kind",
    "Older",
    "SnapshotError",
    "contents",
    "heading",
    "is_signed_by",
    "seal",
    "sign",
    "unseal",
]

_MAGIC = b"HWS1"
_HEADER = struct.Struct("<4sI")
#: Before a snapshot that is signed: this, then an HMAC-SHA256 of the snapshot.
_SIGNED = b"HWSS"
_SIGNED_LENGTH = len(_SIGNED) + 32
#: Remedy where a key is set and a snapshot is not signed by it.
UNSIGNED = (
    "models of the recovery store are not signed by HIGHWATER_STORE_KEY. To load them could run code of "
    "whoever wrote them: name the key of the run that did, restore a backup that it signed, or start over "
    "(--fresh)"
)
#: By version: the upgrade of its payload to that of the next version.
Older: TypeAlias = "Mapping[int, Callable[[Any], Any]]"
T = TypeVar("T")


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


class Heading(NamedTuple):
    """What a sealed snapshot is, with its payload not yet decoded."""

    kind: str
    version: int
    packed: msgspec.Raw

    def payload(self) -> Any:  # noqa: ANN401 - plain data of any shape
        """Decode the payload."""
        return msgspec.msgpack.decode(self.packed)


_heading = msgspec.msgpack.Decoder(Heading)


def heading(sealed: object) -> Heading:
    """Return kind and version of a sealed snapshot of any kind, without a check of its signature.

    A store holds a snapshot of every asset: decoding all of them took half of the check before a resume.

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
    return _heading.decode(body)


def contents(sealed: object) -> tuple[str, int, Any]:
    """Return kind, version and payload of a sealed snapshot of any kind, without a check of its signature.

    Raises:
        SnapshotError: not a snapshot, or damaged.
    """
    found = heading(sealed)
    return found.kind, found.version, found.payload()


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


class Kind(Generic[T]):
    """A kind of snapshot, declared beside the class whose state it is.

    `dataflows.recovery.kinds` lists all of them. What only reads a store (checks, migration, ``inspect``)
    asks the kind, and knows no payload of another package.

    Args:
        name: its name in the store; it never changes.
        version: the version that this release writes.
        older: upgrades of older versions; versions without one are refused.
        describe: makes plain content of a payload, for those who only read a store; None if nobody asks.
        inner: returns the snapshot that a payload holds, None if it holds none.
        holds: returns the snapshots that a payload holds, where there may be several.
        signed: whether a key signs it, since to load it is to run code.

    Attributes:
        readable: versions that this release reads, in order.
        nested: whether its payloads hold other snapshots.

    Example:
        >>> older = {1: lambda state: {"total": state}}
        >>> count = Kind("count", 2, older, describe=lambda state: state["total"])
        >>> count.unseal(seal("count", 1, 7)), count.describe(count.seal({"total": 8})), count.readable
        ({'total': 7}, 8, (1, 2))
    """

    def __init__(
        self,
        name: str,
        version: int,
        older: Older | None = None,
        *,
        describe: Callable[[Any], T] | None = None,
        inner: Callable[[Any], bytes | None] | None = None,
        holds: Callable[[Any], Iterable[bytes]] | None = None,
        signed: bool = False,
    ) -> None:
        self.name = name
        self.version = version
        self.older: Older = older or {}
        self.signed = signed
        # Every snapshot of a store is asked for both before a run.
        self.readable = (*sorted(self.older), version)
        self.nested = inner is not None or holds is not None
        self._describe = describe
        self._inner = inner
        self._holds = holds

    def is_of(self, sealed: bytes) -> bool:
        """Whether a snapshot is of this kind.

        Raises:
            SnapshotError: it is damaged.
        """
        return heading(sealed).kind == self.name

    def seal(self, payload: object) -> bytes:
        """Snapshot of a payload."""
        return seal(self.name, self.version, payload)

    def unseal(self, sealed: bytes) -> Any:  # noqa: ANN401 - plain data of any shape
        """Payload of a snapshot, in the present version.

        Raises:
            SnapshotError: not a snapshot, damaged, of another kind, or of a version that cannot be read.
        """
        return unseal(self.name, self.version, sealed, self.older)

    def describe(self, sealed: bytes) -> T:
        """Plain content of a snapshot.

        Raises:
            SnapshotError: as `unseal`.
            TypeError: the kind was declared without it.
        """
        if self._describe is None:
            msg = f"the kind {self.name!r} has no `describe`; declare it where the kind is"
            raise TypeError(msg)
        return self._describe(self.unseal(sealed))

    def upgrade(self, version: int, payload: Any) -> Any:  # noqa: ANN401 - as above
        """Payload in the present version, from one of a readable version."""
        while version < self.version:
            payload, version = self.older[version](payload), version + 1
        return payload

    def inner(self, payload: Any) -> bytes | None:  # noqa: ANN401 - as above
        """Snapshot that a payload of the present version holds, None if it holds none."""
        return None if self._inner is None else self._inner(payload) or None

    def held(self, payload: Any) -> tuple[bytes, ...]:  # noqa: ANN401 - as above
        """Snapshots that a payload of the present version holds."""
        inner = self.inner(payload)
        several = () if self._holds is None else self._holds(payload)
        return (*several, *(() if inner is None else (inner,)))
