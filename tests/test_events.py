"""Decoding: what is accepted is exactly what was sent, what is not says why, and nothing raises."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.events import (
    MAX_ATTRIBUTES,
    MAX_BYTES,
    MAX_READING,
    MAX_SENSORS,
    REASONS,
    Command,
    Event,
    Failure,
    Fault,
    Maintenance,
    Registration,
    Reject,
    Retraction,
    Telemetry,
    decode,
)
from dataflows.instants import format_instant, parse_instant

TIME = "2020-01-02T14:00:00Z"
TELEMETRY: dict[str, Any] = {"kind": "telemetry", "asset": "a", "time": TIME, "readings": {"x": 1.5}}
FAILURE: dict[str, Any] = {"kind": "failure", "asset": "a", "time": TIME, "mode": "leak"}
MAINTENANCE: dict[str, Any] = {"kind": "maintenance", "asset": "a", "time": TIME}
FAULT: dict[str, Any] = {"kind": "fault", "asset": "a", "time": TIME, "code": "E1"}
RETRACTION: dict[str, Any] = {"kind": "retraction", "asset": "a", "id": "f-1"}
REGISTRATION: dict[str, Any] = {"kind": "asset", "asset": "a", "class": "pump"}
VALID = [TELEMETRY, FAILURE, MAINTENANCE, FAULT, RETRACTION, REGISTRATION]

names = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), min_size=1, max_size=256)
instants = st.integers(-2_208_988_800_000_000, 7_258_118_400_000_000)
readings = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.none() | st.floats(-MAX_READING, MAX_READING) | st.integers(-int(MAX_READING), int(MAX_READING)),
    max_size=6,
)
identities = st.none() | names
attributes = st.dictionaries(
    names,
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | names,
    max_size=4,
)
events = st.one_of(
    st.builds(Telemetry, names, instants, readings, identities, st.none() | instants),
    st.builds(Failure, names, instants, names, identities, st.none() | instants),
    st.builds(Maintenance, names, instants, identities, identities, st.none() | instants),
    st.builds(Fault, names, instants, names, identities, st.none() | instants),
    st.builds(Retraction, names, names, st.none() | instants),
    st.builds(
        Command,
        names,
        st.sampled_from(["promote", "rollback", "freeze", "thaw", "accept", "refuse"]),
        names,
        names,
        identities,
        st.none() | instants,
    ),
    st.builds(Registration, names, names, identities, attributes, st.booleans(), st.none() | instants),
)
json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=10,
)


def document(event: Event) -> dict[str, Any]:
    """The event as a sender would write it, with only what it has."""
    row: dict[str, Any] = {
        "kind": "asset" if isinstance(event, Registration) else type(event).__name__.lower()
    }
    for field in event.__struct_fields__:
        value = getattr(event, field)
        if value is not None:
            name = "class" if field == "asset_class" else field
            row[name] = format_instant(value) if field in {"time", "arrived"} else value
    return row


FIELDS = {"kind", "class"}.union(*(kind.__struct_fields__ for kind in Event.__args__))


def why(record: object) -> str:
    """The detail of the reject that the record, bytes or a document, becomes."""
    raw = record if isinstance(record, bytes) else orjson.dumps(record)
    found = decode(raw)
    assert isinstance(found, Reject)
    assert found.reason == "malformed"
    assert found.raw == raw[: len(found.raw or b"")]
    return found.detail


@given(events, st.dictionaries(names.filter(lambda name: name not in FIELDS), json, max_size=3))
def test_what_is_sent_is_what_is_decoded(event: Event, extra: dict[str, Any]) -> None:
    """Every field comes out as it was sent; fields that nobody knows are passed over."""
    assert decode(orjson.dumps({**extra, **document(event)})) == event


@given(events)
def test_readings_keep_their_order_and_their_type(event: Event) -> None:
    """Decoding neither sorts nor converts."""
    found = decode(orjson.dumps(document(event)))
    if isinstance(event, Telemetry):
        assert isinstance(found, Telemetry)
        sent = [(name, value, type(value)) for name, value in event.readings.items()]
        assert [(name, value, type(value)) for name, value in found.readings.items()] == sent


def test_null_stands_for_absent() -> None:
    """Optional fields may be null."""
    found = decode(orjson.dumps({**MAINTENANCE, "component": None, "id": None, "arrived": None}))
    assert found == Maintenance("a", parse_instant(TIME), None, None, None)
    nulls = dict.fromkeys(["site", "attributes", "retired", "arrived"])
    row = {name: value for name, value in REGISTRATION.items() if name not in nulls}
    assert decode(orjson.dumps({**row, **nulls})) == decode(orjson.dumps(row))
    assert isinstance(decode(orjson.dumps(row)), Registration)


@given(st.binary())
def test_no_bytes_make_it_raise(raw: bytes) -> None:
    """Whatever the bytes, the answer is an event or a reject that keeps them."""
    found = decode(raw)
    if isinstance(found, Reject):
        assert found.reason in REASONS
        assert found.raw == raw


@given(json)
def test_no_json_makes_it_raise(value: object) -> None:
    """Whatever the JSON, the answer is an event or a reject with a detail."""
    found = decode(orjson.dumps(value))
    assert isinstance(found, Event) or found.detail


@given(st.sampled_from(VALID), st.data())
def test_a_valid_event_with_one_field_spoilt_never_raises(valid: dict[str, Any], data: st.DataObject) -> None:
    """Any JSON in any field gives an event of the right types, or a reject that names that field."""
    field = data.draw(st.sampled_from(sorted(FIELDS - {"asset_class"})))
    found = decode(orjson.dumps({**valid, field: data.draw(json)}))
    if isinstance(found, Reject):
        assert found.detail.startswith(field)
    else:
        assert isinstance(found.asset, str)
        assert type(getattr(found, "time", 0)) is int


def test_a_byte_order_mark_before_the_first_record_is_no_part_of_it() -> None:
    """Editors on Windows begin a file with one; of several, only the first is taken."""
    record = orjson.dumps(VALID[0])
    assert decode(b"\xef\xbb\xbf" + record) == decode(record)
    assert decode(b"\xef\xbb\xbf" * 2 + record).detail.startswith("not JSON")


@pytest.mark.parametrize(
    ("record", "detail"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"kind":"telemetry","readings":{"x":NaN}}', "not JSON"),
        (b'{"kind":"telemetry","readings":{"x":1e999}}', "not JSON"),
        (b'{"asset":"\\ud800"}', "not JSON"),
        (b'{"kind":"failure"} {"kind":"failure"}', "not JSON"),
        (b"[" * 5_000 + b"]" * 5_000, "not JSON"),
        ([], "not a JSON object but an array"),
        ("text", "not a JSON object but a text"),
        (1, "not a JSON object but a number"),
        (True, "not a JSON object but a boolean"),
        (None, "not a JSON object but nothing"),
        (
            {},
            "kind: expected one of telemetry, failure, maintenance, fault, retraction, asset, weather, comm",
        ),
        ({**TELEMETRY, "kind": "Telemetry"}, "kind: expected one of"),
        ({**TELEMETRY, "kind": ["telemetry"]}, "kind: expected one of"),
        (
            {**TELEMETRY, "asset": None},
            "asset: expected a text of 1 to 256 printable characters, got nothing",
        ),
        ({**TELEMETRY, "asset": ""}, "asset: expected a text of 1 to 256 printable characters, got ''"),
        ({**TELEMETRY, "asset": 7}, "asset: expected a text of 1 to 256 printable characters, got 7"),
        (
            {**TELEMETRY, "asset": ["a"]},
            "asset: expected a text of 1 to 256 printable characters, got an array",
        ),
        ({**TELEMETRY, "asset": "a" * 257}, "asset: expected a text of 1 to 256 printable characters"),
        (
            {**TELEMETRY, "asset": "a\nb"},
            "asset: expected a text of 1 to 256 printable characters, got 'a\\nb'",
        ),
        ({**TELEMETRY, "asset": "\x1f"}, "asset: expected a text of 1 to 256 printable characters"),
        ({**TELEMETRY, "time": None}, "time: an instant is RFC 3339"),
        ({**TELEMETRY, "time": True}, "time: an instant is RFC 3339"),
        (
            {**TELEMETRY, "time": "2020-01-02T14:00:00"},
            "time: '2020-01-02T14:00:00' is not an RFC 3339 time with offset",
        ),
        (
            {**TELEMETRY, "time": "2020-02-30T14:00:00Z"},
            "time: '2020-02-30T14:00:00Z' is no time of the calendar: day is out of range",
        ),
        (
            {**TELEMETRY, "time": 1_577_973_600_000},
            "time: epoch seconds 1577973600000 lie outside 1900 to 2200",
        ),
        ({**TELEMETRY, "arrived": "soon"}, "arrived: 'soon' is not an RFC 3339 time"),
        ({**TELEMETRY, "id": 7}, "id: expected a text"),
        ({**TELEMETRY, "id": ""}, "id: expected a text"),
        ({**TELEMETRY, "readings": None}, "readings: expected an object, got nothing"),
        ({**TELEMETRY, "readings": [1.0]}, "readings: expected an object, got an array"),
        (
            {**TELEMETRY, "readings": {str(number): 0 for number in range(MAX_SENSORS + 1)}},
            "readings: 4,097 numbers, more than 4,096",
        ),
        ({**FAILURE, "mode": None}, "mode: expected a text"),
        ({**FAILURE, "mode": ""}, "mode: expected a text"),
        ({**MAINTENANCE, "component": 3}, "component: expected a text"),
        ({**FAULT, "code": None}, "code: expected a text"),
        ({**FAULT, "time": None}, "time: an instant is RFC 3339"),
        ({**RETRACTION, "id": None}, "id: expected a text"),
        ({**RETRACTION, "asset": 3}, "asset: expected a text"),
        ({**REGISTRATION, "class": ""}, "class: expected a text"),
        ({**REGISTRATION, "site": 3}, "site: expected a text"),
        ({**REGISTRATION, "retired": "yes"}, "retired: expected true or false, got a text"),
        ({**REGISTRATION, "attributes": [1]}, "attributes: expected an object of up to 256, got an array"),
        (
            {**REGISTRATION, "attributes": {"age": [1]}},
            "attributes.age: expected a text, a number or a boolean, got an array",
        ),
        (
            {**REGISTRATION, "attributes": dict.fromkeys(map(str, range(MAX_ATTRIBUTES + 1)), 0)},
            "attributes: expected an object of up to 256",
        ),
    ],
)
def test_what_is_malformed_says_what_and_where(record: object, detail: str) -> None:
    """Each way to be malformed has its own words: the field, what was expected, what came."""
    assert why(record).startswith(detail)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("1.0", "expected a number or null, got '1.0'"),
        (True, "expected a number or null, got True"),
        ({}, "expected a number or null, got an object"),
        ([1.0], "expected a number or null, got an array"),
        (1.1e15, "1100000000000000.0 lies beyond ±1e+15"),
        (-(10**15) - 1, "-1000000000000001 lies beyond ±1e+15"),
    ],
)
def test_a_reading_that_is_no_number_is_set_apart(value: object, why: str) -> None:
    """Whether it is declared is not known yet, so the others stand, and the record is kept."""
    raw = orjson.dumps({**TELEMETRY, "readings": {"x": value, "y": 2.0}})
    found = decode(raw)
    assert isinstance(found, Telemetry)
    assert (found.readings, found.unusable, found.raw) == ({"y": 2.0}, {"x": f"readings.x: {why}"}, raw)


def test_an_oversized_record_is_refused_unread() -> None:
    """A megabyte is the most; of what is more, the beginning is kept."""
    fits = orjson.dumps({**FAILURE, "note": ""})
    fits = orjson.dumps({**FAILURE, "note": "n" * (MAX_BYTES - len(fits))})
    assert len(fits) == MAX_BYTES
    assert isinstance(decode(fits), Failure)
    found = decode(fits + b" ")
    assert isinstance(found, Reject)
    assert found.detail == "1,000,001 bytes, more than 1,000,000"
    assert found.raw == fits[:1000]


def test_borders_of_readings_are_readings() -> None:
    """The largest reading, and as many sensors as are allowed, are accepted."""
    most = {**TELEMETRY, "readings": dict.fromkeys(map(str, range(MAX_SENSORS)), -MAX_READING)}
    found = decode(orjson.dumps(most))
    assert isinstance(found, Telemetry)
    assert found.readings == most["readings"]


def test_a_name_twice_in_one_object_means_the_later() -> None:
    """JSON leaves it open; here, as in most readers, the later value stands."""
    found = decode(b'{"kind":"failure","kind":"telemetry","asset":"a","time":0,"readings":{"x":1,"x":2}}')
    assert found == Telemetry("a", 0, {"x": 2}, None, None)
