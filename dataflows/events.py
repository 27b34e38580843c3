"""Input: decode each JSON object into a typed event, or into a reject with its reason."""

from __future__ import annotations

import codecs
import math
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec
import orjson
import structlog

from dataflows.instants import parse_instant

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "MAX_ATTRIBUTES",
    "MAX_BYTES",
    "MAX_READING",
    "MAX_SENSORS",
    "REASONS",
    "Action",
    "AssetEvent",
    "Command",
    "Event",
    "Failure",
    "Fault",
    "Maintenance",
    "Registration",
    "Reject",
    "Retraction",
    "Telemetry",
    "TimedEvent",
    "Weather",
    "decode",
    "kind_of",
]

#: A record larger than this is malformed.
MAX_BYTES = 1_000_000
#: A reading beyond this, in either direction, is malformed.
MAX_READING = 1e15
_LEAST = -MAX_READING
#: A telemetry record with more readings than this is malformed.
MAX_SENSORS = 4_096
#: A registry row with more attributes than this is malformed.
MAX_ATTRIBUTES = 256
_MAX_NAME = 256
_log = structlog.get_logger()

#: Why a record could not be used: stable codes of the rejects and late outputs.
REASONS = {
    "malformed": "not JSON, a missing field, a wrong type, a time without offset, a reading beyond ±1e15",
    "mixed_arrivals": "`arrived` is missing where the first record has it, or is there where it has none",
    "wrong_arrival": "`arrived` lies more than max_arrival_jump ahead, and nothing else confirms it",
    "unknown_asset": "no registry row names the asset, and the fleet rejects unknown assets or is full",
    "unknown_class": "a registry row names a class that the fleet does not have",
    "unknown_target": "a command or a verdict names a target that the fleet does not have",
    "future": "its time, or the issue of weather, lies more than max_future after its arrival: a wrong clock",
    "wrong_clock": "the clock of its asset was found wrong, and the fleet has `quarantine` on",
    "other_lane": "its asset lives in another of several lanes, or it came in an input that all lanes share",
    "no_room": "weather: max_weather rows are held already",
    "duplicate": "the same id, or the same asset, kind, time and content, was seen before",
    "too_late": "below the watermark: later than the allowed lateness; weather: older than what is kept",
    "unmatched": "a failure, maintenance, retraction or verdict that no remembered example or record matches",
    "internal_error": "a stage failed on it: the traceback is in the log, the state of its asset was reset",
}


class Telemetry(msgspec.Struct, frozen=True, gc=False):
    """Readings of one asset at one time; None is a missing reading.

    Attributes:
        site: of the asset at that time; None: that of the registry.
        unusable: by sensor, the error of each reading that is not a number; None without any. If the class of
            the asset declares such a sensor, the record is malformed.
        raw: the record, if a reading is unusable.
    """

    asset: str
    time: int
    readings: dict[str, float | None]
    id: str | None
    arrived: int | None
    site: str | None = None
    unusable: dict[str, str] | None = None
    raw: bytes | None = None


class Failure(msgspec.Struct, frozen=True, gc=False):
    """A failure of one mode, reported with any delay: the source of labels."""

    asset: str
    time: int
    mode: str
    id: str | None
    arrived: int | None


class Maintenance(msgspec.Struct, frozen=True, gc=False):
    """Work on an asset, or on one of its components."""

    asset: str
    time: int
    component: str | None
    id: str | None
    arrived: int | None


Finding = Literal["confirmed", "healthy", "unclear"]


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """A person's finding about an asset after an alert.

    Attributes:
        time: of the finding.
        target: name of the target that warned.
        verdict: ``confirmed``: it would have failed by that mode; ``healthy``: it would not; ``unclear``.
        by: name of the person.
        since: when the target began to warn, as `opened` of the alert; None: a horizon before.
        alert: id of the alert, for information only.
        note: text, for information only.
        fails: when the asset would have failed, by the person's estimate; None without one.
    """

    asset: str
    time: int
    target: str
    verdict: Finding
    by: str
    since: int | None
    alert: str | None
    note: str | None
    id: str | None
    arrived: int | None
    fails: int | None = None


class Fault(msgspec.Struct, frozen=True, gc=False):
    """A discrete error code of one asset at one time."""

    asset: str
    time: int
    code: str
    id: str | None
    arrived: int | None


class Retraction(msgspec.Struct, frozen=True, gc=False):
    """Withdraws a wrong record, a failure, maintenance or verdict, by its id."""

    asset: str
    id: str
    arrived: int | None


class Registration(msgspec.Struct, frozen=True, gc=False):
    """A registry row: class, site and attributes of an asset, and whether it is retired."""

    asset: str
    asset_class: str
    site: str | None
    attributes: dict[str, str | float | bool | None]
    retired: bool
    arrived: int | None


class Weather(msgspec.Struct, frozen=True, gc=False):
    """The weather at one site at one time, observed or forecast.

    Attributes:
        time: when it is valid.
        issued: when it became known; None: an observation made at its time.
        values: by name; None is a missing value.
        unusable: as of `Telemetry`.
        raw: as of `Telemetry`.
    """

    site: str
    time: int
    issued: int | None
    values: dict[str, float | None]
    arrived: int | None
    unusable: dict[str, str] | None = None
    raw: bytes | None = None


Action = Literal["promote", "rollback", "freeze", "thaw", "accept", "refuse"]


class Command(msgspec.Struct, frozen=True, gc=False):
    """A person's decision about the champion of a target.

    Attributes:
        target: its name.
        action: ``promote`` a model, go back (``rollback``) to the champion before, ``freeze`` the champion so
            that no promotion happens by itself, or ``thaw`` it; ``accept`` or ``refuse`` what was proposed.
        model: the one to promote, or the one that was proposed.
        by: name of the person.
        why: the reason, as text.
    """

    target: str
    action: Action
    model: str | None
    by: str
    why: str | None
    arrived: int | None


#: Events of one asset.
AssetEvent = Telemetry | Failure | Maintenance | Fault | Retraction | Registration | Verdict
Event = AssetEvent | Weather | Command
#: Events with an event time of one asset.
TimedEvent = Telemetry | Failure | Maintenance | Fault


_KINDS: dict[type, str] = {kind: kind.__name__.lower() for kind in get_args(Event)}


def kind_of(event: Event) -> str:
    """Return the name under which an event is counted: its type, in lower case."""
    return _KINDS[type(event)]


class Reject(msgspec.Struct, frozen=True, gc=False):
    """A record that cannot be used, and why; ``raw`` if it could not be decoded."""

    reason: str
    detail: str
    asset: str | None = None
    raw: bytes | None = None


class _MalformedError(ValueError):
    pass


def decode(raw: bytes) -> Event | Reject:
    """Decode a record into an event, or into a reject that names the error; never raises.

    If the program itself fails, the reject is an `internal_error`, and the log has the traceback.
    """
    try:
        return _decode(raw)
    except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on
        _log.exception("a record cannot be decoded")
        return Reject("internal_error", f"{type(error).__name__}: {error}"[:1_000], raw=raw)


def _decode(raw: bytes) -> Event | Reject:
    if len(raw) > MAX_BYTES:
        return Reject("malformed", f"{len(raw):,} bytes, more than {MAX_BYTES:,}", raw=raw[:1000])
    try:
        document = _document(raw)
    except orjson.JSONDecodeError as error:
        return Reject("malformed", f"not JSON: {error}", raw=raw)
    if type(document) is not dict:
        return Reject("malformed", f"not a JSON object but {_json_type(document)}", raw=raw)
    kind = document.get("kind")
    reader = _READERS.get(kind) if type(kind) is str else None
    if reader is None:
        return _of_no_kind(document, kind, raw)
    try:
        return reader(document, raw)
    except _MalformedError as error:
        return Reject("malformed", str(error), raw=raw)


def _document(raw: bytes) -> object:
    """Return the JSON value of a record, without the byte order mark that some editors put first."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        if not raw.startswith(codecs.BOM_UTF8):
            raise
        return orjson.loads(raw[len(codecs.BOM_UTF8) :])


def _of_no_kind(document: dict[str, Any], kind: object, raw: bytes) -> Reject:
    if kind == "unusable":
        # A row of the user's own file that makes no event: `dataflows.mapping` wrote it.
        why = f"{document.get('source')}, line {document.get('line')}: {document.get('why')}"
        return Reject("malformed", why[:1_000], raw=str(document.get("raw")).encode())
    return Reject("malformed", f"kind: expected one of {', '.join(_READERS)}, got {_shown(kind)}", raw=raw)


def _telemetry(document: dict[str, Any], raw: bytes) -> Telemetry:
    get = document.get
    readings, unusable = _numbers(document, "readings")
    return Telemetry(
        _name(document, "asset"),
        _time(document),
        readings,
        None if get("id") is None else _name(document, "id"),
        None if get("arrived") is None else _time(document, "arrived"),
        None if get("site") is None else _name(document, "site"),
        unusable,
        # Only the lane knows whether what is no number is declared.
        None if unusable is None else raw,
    )


def _numbers(document: dict[str, Any], field: str) -> tuple[dict[str, float | None], dict[str, str] | None]:
    """Numbers by name, where None is a missing one; and what is wrong with what is no number, if anything."""
    numbers = document.get(field)
    if type(numbers) is not dict:
        msg = f"{field}: expected an object, got {_json_type(numbers)}"
        raise _MalformedError(msg)
    if len(numbers) > MAX_SENSORS:
        msg = f"{field}: {len(numbers):,} numbers, more than {MAX_SENSORS:,}"
        raise _MalformedError(msg)
    unusable: dict[str, str] | None = None
    for name, value in numbers.items():
        kind = type(value)
        if kind is float or kind is int:
            if _LEAST <= value <= MAX_READING:
                continue
            why = f"{field}.{name[:80]}: {value!r} lies beyond ±{MAX_READING:g}"
        elif value is None:
            continue
        else:
            why = f"{field}.{name[:80]}: expected a number or null, got {_shown(value)}"
        unusable = {} if unusable is None else unusable
        unusable[name] = why
    if unusable is None:
        return numbers, None
    return {name: value for name, value in numbers.items() if name not in unusable}, unusable


def _failure(document: dict[str, Any], _: bytes) -> Failure:
    return Failure(
        _name(document, "asset"),
        _time(document),
        _name(document, "mode"),
        _optional(document, "id"),
        _arrived(document),
    )


def _maintenance(document: dict[str, Any], _: bytes) -> Maintenance:
    return Maintenance(
        _name(document, "asset"),
        _time(document),
        _optional(document, "component"),
        _optional(document, "id"),
        _arrived(document),
    )


_FINDINGS: tuple[Finding, ...] = get_args(Finding)


def _verdict(document: dict[str, Any], _: bytes) -> Verdict:
    verdict = document.get("verdict")
    if verdict not in _FINDINGS:
        msg = f"verdict: expected one of {', '.join(_FINDINGS)}, got {_shown(verdict)}"
        raise _MalformedError(msg)
    time = _time(document)
    fails = None if document.get("fails") is None else _time(document, "fails")
    if fails is not None and (verdict != "confirmed" or fails <= time):
        msg = "fails: expected a time after `time`, in a confirmed verdict; leave it out where nobody knows"
        raise _MalformedError(msg)
    return Verdict(
        _name(document, "asset"),
        time,
        _name(document, "target"),
        verdict,
        _name(document, "by"),
        None if document.get("since") is None else _time(document, "since"),
        _optional(document, "alert"),
        _optional(document, "note"),
        _optional(document, "id"),
        _arrived(document),
        fails,
    )


def _fault(document: dict[str, Any], _: bytes) -> Fault:
    return Fault(
        _name(document, "asset"),
        _time(document),
        _name(document, "code"),
        _optional(document, "id"),
        _arrived(document),
    )


def _retraction(document: dict[str, Any], _: bytes) -> Retraction:
    return Retraction(_name(document, "asset"), _name(document, "id"), _arrived(document))


def _registration(document: dict[str, Any], _: bytes) -> Registration:
    attributes = document.get("attributes")
    attributes = {} if attributes is None else attributes
    if type(attributes) is not dict or len(attributes) > MAX_ATTRIBUTES:
        msg = f"attributes: expected an object of up to {MAX_ATTRIBUTES}, got {_json_type(attributes)}"
        raise _MalformedError(msg)
    for name, value in attributes.items():
        if isinstance(value, dict | list):
            msg = f"attributes.{name[:80]}: expected a text, a number or a boolean, got {_json_type(value)}"
            raise _MalformedError(msg)
        # Attributes stay in memory as long as their asset does.
        if len(name) > _MAX_NAME or (isinstance(value, str) and len(value) > _MAX_NAME):
            msg = f"attributes.{name[:80]}: its name or its text has more than {_MAX_NAME} characters"
            raise _MalformedError(msg)
    retired = document.get("retired")
    retired = False if retired is None else retired
    if type(retired) is not bool:
        msg = f"retired: expected true or false, got {_json_type(retired)}"
        raise _MalformedError(msg)
    return Registration(
        _name(document, "asset"),
        _name(document, "class"),
        _optional(document, "site"),
        attributes,
        retired,
        _arrived(document),
    )


def _weather(document: dict[str, Any], raw: bytes) -> Weather:
    values, unusable = _numbers(document, "values")
    return Weather(
        _name(document, "site"),
        _time(document),
        None if document.get("issued") is None else _time(document, "issued"),
        values,
        _arrived(document),
        unusable,
        None if unusable is None else raw,
    )


_ACTIONS: tuple[Action, ...] = get_args(Action)


def _command(document: dict[str, Any], _: bytes) -> Command:
    action = document.get("action")
    if action not in _ACTIONS:
        msg = f"action: expected one of {', '.join(_ACTIONS)}, got {_shown(action)}"
        raise _MalformedError(msg)
    model = _optional(document, "model")
    if action == "promote" and model is None:
        msg = "model: expected the name of the model to promote, got nothing"
        raise _MalformedError(msg)
    return Command(
        _name(document, "target"),
        action,
        model,
        _name(document, "by"),
        _optional(document, "why"),
        _arrived(document),
    )


#: Makes an event of a JSON object, and of the record that it is.
_READERS: dict[str, Callable[[dict[str, Any], bytes], Event]] = {
    "telemetry": _telemetry,
    "failure": _failure,
    "maintenance": _maintenance,
    "fault": _fault,
    "retraction": _retraction,
    "asset": _registration,
    "weather": _weather,
    "command": _command,
    "verdict": _verdict,
}


def _name(document: dict[str, Any], field: str) -> str:
    value = document.get(field)
    if type(value) is not str or not 0 < len(value) <= _MAX_NAME or not value.isprintable():
        msg = f"{field}: expected a text of 1 to {_MAX_NAME} printable characters, got {_shown(value)}"
        raise _MalformedError(msg)
    return value


def _optional(document: dict[str, Any], field: str) -> str | None:
    return None if document.get(field) is None else _name(document, field)


def _time(document: dict[str, Any], field: str = "time") -> int:
    value = document.get(field)
    try:
        return parse_instant(value)
    except ValueError as error:
        msg = f"{field}: {error}"
        raise _MalformedError(msg) from None


def _arrived(document: dict[str, Any]) -> int | None:
    return None if document.get("arrived") is None else _time(document, "arrived")


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a text", bool: "a boolean", type(None): "nothing"}
    return names.get(type(value), "a number")


def _shown(value: object) -> str:
    if type(value) is float and not math.isfinite(value):
        return "a number"
    return repr(value)[:80] if isinstance(value, str | int | float) else _json_type(value)
