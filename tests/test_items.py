"""Items: their place in the order of effect, and the rows of what could not be used."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.events import (
    REASONS,
    Event,
    Failure,
    Maintenance,
    Registration,
    Reject,
    Retraction,
    Telemetry,
    decode,
)
from dataflows.instants import parse_instant
from dataflows.items import (
    Item,
    Row,
    asset_part,
    by_order,
    lane_part,
    reject_row,
    target_part,
)
from dataflows.outputs import LATE_REASONS, OUTPUTS

if TYPE_CHECKING:
    import random

#: How many things the lane, the asset and the group can make of what they are given.
LIMITS = (1 << 31, 1 << 12, 1 << 20)
places = st.tuples(st.integers(1, 2**40), *(st.integers(0, limit - 1) for limit in LIMITS))
NOON = parse_instant("2020-01-01T12:00:00Z")


def item(sequence: int, part: int, body: bytes = b"") -> Item:
    return Item(sequence, part, NOON + 1_000_000, NOON, ("a.jsonl", 7, 812), body)


def placed(place: tuple[int, int, int, int]) -> Item:
    sequence, of_lane, of_asset, of_group = place
    return item(sequence, target_part(asset_part(lane_part(of_lane), of_asset), of_group))


@given(st.lists(places, max_size=30), st.randoms(use_true_random=False))
def test_parts_order_like_the_paths_that_made_them(
    paths: list[tuple[int, ...]], shuffler: random.Random
) -> None:
    """Sorting items gives the order of their paths (sequence, lane, asset, group), however they arrive."""
    items = [placed(path) for path in paths]
    shuffler.shuffle(items)
    expected = [by_order(placed(path)) for path in sorted(paths)]
    assert [by_order(each) for each in sorted(items, key=by_order)] == expected


@given(places, places)
def test_parts_are_unique(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    """Two paths have the same part only if they are the same."""
    assert (by_order(placed(one)) == by_order(placed(other))) == (one == other)


@given(places)
def test_parts_fit_into_a_signed_word(path: tuple[int, ...]) -> None:
    """A part can be written as a 64-bit integer."""
    assert 0 <= placed(path).part < 2**63


def test_a_record_that_becomes_too_much_is_an_error() -> None:
    """More items than a part can number would be silently out of order."""
    parts = (lane_part, lambda index: asset_part(0, index), lambda index: target_part(0, index))
    for number, limit in zip(parts, LIMITS, strict=True):
        assert number(limit - 1) >= 0
        with pytest.raises(OverflowError, match=f"{limit:,}"):
            number(limit)


@given(st.sampled_from(sorted(REASONS)), st.binary(max_size=40), st.text())
def test_a_reject_keeps_reason_position_and_bytes(reason: str, raw: bytes, detail: str) -> None:
    """The row has the reason, where the record stands, and its bytes as text."""
    out = reject_row(item(41, 0), Reject(reason, detail, raw=raw))
    assert by_order(out) == (41, 0)
    assert isinstance(out.body, Row)
    assert out.body.output == ("late" if reason in LATE_REASONS else "rejects")
    assert out.body.output in OUTPUTS
    assert orjson.loads(out.body.data) == {
        "reason": reason,
        "detail": detail,
        "source": "a.jsonl",
        "line": 7,
        "offset": 812,
        "sequence": 41,
        "arrival": "2020-01-01T12:00:01.000000Z",
        "asset": None,
        "raw": raw.decode("utf-8", "backslashreplace"),
    }


@pytest.mark.parametrize(
    ("event", "content"),
    [
        (
            Retraction("a", "f-1", None),
            {"kind": "retraction", "id": "f-1", "arrived": None},
        ),
        (
            Registration("a", "pump", "north", {"age": 3}, False, NOON),
            {
                "kind": "asset",
                "class": "pump",
                "site": "north",
                "attributes": {"age": 3},
                "retired": False,
                "arrived": "2020-01-01T12:00:00.000000Z",
            },
        ),
        (
            Telemetry("a", NOON, {"x": 1.5, "y": None}, None, None),
            {"kind": "telemetry", "readings": {"x": 1.5, "y": None}, "id": None, "arrived": None},
        ),
        (
            Failure("a", NOON, "leak", "f-1", NOON),
            {"kind": "failure", "mode": "leak", "id": "f-1", "arrived": "2020-01-01T12:00:00.000000Z"},
        ),
        (
            Maintenance("a", NOON, None, None, None),
            {"kind": "maintenance", "component": None, "id": None, "arrived": None},
        ),
    ],
)
def test_a_rejected_event_is_kept_in_the_form_it_came_in(event: Event, content: dict[str, Any]) -> None:
    """What was decoded before it was refused can be sent again from the row."""
    out = reject_row(item(3, 0), Reject("too_late", "late", "a"), event)
    assert isinstance(out.body, Row)
    row = orjson.loads(out.body.data)
    assert row["asset"] == "a"
    timed = {"time": "2020-01-01T12:00:00.000000Z"} if hasattr(event, "time") else {}
    assert row["event"] == {"asset": "a", **timed, **content}
    assert decode(orjson.dumps(row["event"])) == event
    assert "raw" not in row


def test_a_record_that_is_too_large_for_its_row_leaves_head_length_and_digest() -> None:
    """The copy of a legal record of 972 kB, an undecodable one and an endless error fit into a message."""
    readings = {f"{'x' * 230}{number:04}": 1.0 for number in range(3_970)}
    sent = orjson.dumps({"kind": "telemetry", "asset": "a", "time": 0, "readings": readings})
    event = decode(sent)
    assert isinstance(event, Telemetry)
    copy = reject_row(item(2, 0), Reject("duplicate", "seen before", "a"), event)
    wild = reject_row(item(3, 0), Reject("malformed", "not JSON", raw=b"\x00" * 1_000_000))
    long = reject_row(item(4, 0), Reject("internal_error", "y" * 2_000_000, "a"), event)
    rows = [orjson.loads(made.body.data) for made in (copy, wild, long) if isinstance(made.body, Row)]
    assert all(len(orjson.dumps(row)) <= 900_000 for row in rows)
    assert [row["cut"]["field"] for row in rows] == ["event", "raw", "event"]
    assert all("event" not in row and len(row["raw"]) == 100_000 for row in rows)
    whole = orjson.dumps({"kind": "telemetry", **_fields(event)})
    assert rows[0]["cut"] == {"field": "event", "bytes": len(whole), "blake2b": _digest(whole)}
    assert rows[1]["cut"] == {"field": "raw", "bytes": 1_000_000, "blake2b": _digest(b"\x00" * 1_000_000)}
    assert whole.startswith(rows[0]["raw"].encode())


def _fields(event: Telemetry) -> dict[str, Any]:
    return {
        "asset": event.asset,
        "time": "1970-01-01T00:00:00.000000Z",
        "readings": event.readings,
        "id": None,
        "arrived": None,
    }


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
