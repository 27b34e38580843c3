"""Records of files, merged and seen as the tests of merging compare them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from dataflows.connectors.merge import FilePosition, Merge, NextRecord

if TYPE_CHECKING:
    from dataflows.items import Item

Seen = tuple[int, str, int, bytes]


def telemetry(arrived: object, mark: int = 0) -> bytes:
    row = {"kind": "telemetry", "asset": "a", "time": 0, "readings": {"x": mark}, "arrived": arrived}
    return json.dumps({k: v for k, v in row.items() if v is not None}).encode()


def seen(items: list[Item]) -> list[Seen]:
    assert all(isinstance(item.body, bytes) for item in items)
    return [(item.sequence, item.position[0], item.position[1], item.body) for item in items]  # type: ignore[misc]


def raw(head: NextRecord) -> bytes:
    return head.raw


def merged(paths: list[str], places: list[FilePosition] | None = None, **more: Any) -> Merge:  # noqa: ANN401
    return Merge([paths], places or [], plain=False, body=raw, **more)


def kept(merge: Merge) -> list[FilePosition]:
    """Where reading stands, through a store."""
    packed = msgspec.msgpack.encode(merge.places())
    return [FilePosition(*place) for place in msgspec.msgpack.decode(packed)]
