"""Values of ``fleet.toml`` with a form of their own: names, durations, instants."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from dataflows.instants import parse_duration, parse_instant

__all__ = [
    "DURATION_PATTERN",
    "Category",
    "Duration",
    "Durations",
    "FileName",
    "Form",
    "Instant",
    "Name",
    "Names",
    "PipelineStep",
    "PositiveDuration",
    "RefitEvery",
    "RefitLag",
    "Rotation",
    "Share",
    "label_name",
    "topic_name",
    "url_problem",
]


@dataclass(frozen=True, slots=True)
class Form:
    """Form of a value, as the reference names it."""

    text: str


#: Form of a duration, for the JSON Schema.
DURATION_PATTERN = r"^\s*\d+(\.\d+)?(us|ms|s|m|h|d|w)\s*$"
_NAME = re.compile(r"[^\s/:*?\[\]]+(?: [^\s/:*?\[\]]+)*")
_LONGEST_NAME = 120
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kMG]B)", re.ASCII)
_BYTES = {"kB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,119}")
_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")


def _name(value: str) -> str:
    if len(value) > _LONGEST_NAME or _NAME.fullmatch(value) is None:
        # Names are parts of `engine/failure/30h` and `sensor:mean:30h`, and globs match them.
        msg = f"a name of at most {_LONGEST_NAME} characters without any of / : * ? [ ]"
        raise ValueError(msg)
    return value


def _duration(value: object) -> int:
    try:
        return parse_duration(value if isinstance(value, str) else "")
    except ValueError as error:
        msg = "a duration of at most a century, such as '90s', '15m', '30h' or '7d'"
        raise ValueError(msg) from error


def _positive_duration(value: object) -> int:
    duration = _duration(value)
    if duration <= 0:
        msg = "a duration longer than zero, such as '30h'"
        raise ValueError(msg)
    return duration


def _instant(value: object) -> int:
    try:
        if isinstance(value, datetime):
            value = value.isoformat()
        return parse_instant(value if isinstance(value, str) else "")
    except ValueError as error:
        msg = "a time with offset between 1900 and 2200, such as 2020-01-16T00:00:00Z"
        raise ValueError(msg) from error


def _inside_0_1(value: float) -> float:
    if not 0 < value < 1:
        msg = "a number above 0 and below 1"
        raise ValueError(msg)
    return value


def _from_0_to_1(value: float) -> float:
    if not 0 <= value <= 1:
        msg = "a number from 0 to 1"
        raise ValueError(msg)
    return value


def _file_name(value: str) -> str:
    if value in {"", "-"}:
        msg = "the path of a file; standard input has none"
        raise ValueError(msg)
    return value


def _category(value: str) -> str:
    if not value.isprintable() or value != value.strip() or not 0 < len(value) <= _LONGEST_NAME:
        # It comes from the data and is part of a feature's name: refuse only text that cannot be read there.
        msg = f"text of 1 to {_LONGEST_NAME} printable characters, without spaces around it"
        raise ValueError(msg)
    return value


def _rotation(value: object) -> object:
    if value == "daily":
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    size = int(float(match[1]) * _BYTES[match[2]]) if match else 0
    if size <= 0:
        msg = "'daily', or a size such as '500kB', '100MB' or '2GB'"
        raise ValueError(msg)
    return size


def _refit(value: object) -> object:
    if isinstance(value, str):
        _positive_duration(value)
    elif not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        msg = "a number of examples, or a duration of event time such as '100h'"
        raise ValueError(msg)
    return value


def _refit_lag(value: object) -> object:
    if isinstance(value, str):
        _duration(value)
    elif value != 0 or value is False:
        _refit(value)
    return value


def label_name(value: str) -> str:
    """Return the value if it is a valid name of a label of an alert.

    Raises:
        ValueError: it is not.
    """
    if _LABEL.fullmatch(value) is None:
        msg = "the name of a label: letters, digits and '_', at most 120, and no digit first"
        raise ValueError(msg)
    return value


def topic_name(value: str) -> str:
    """Return the value if it is a valid name of a Kafka topic.

    Raises:
        ValueError: it is not.
    """
    if _TOPIC.fullmatch(value) is None or value in {".", ".."}:
        msg = "the name of a topic: at most 249 of letters, digits, '.', '_' and '-'"
        raise ValueError(msg)
    return value


def url_problem(value: str, *, secret: bool) -> str | None:
    """Return what a URL of a receiver has to be, None if this one is fine.

    Args:
        value: the URL.
        secret: whether a token is sent there, which nobody on the way may read.

    >>> url_problem("http://127.0.0.1:9093", secret=True)
    >>> url_problem("http://pager.example/hook", secret=True)
    'https, since a token is sent there, or a loopback address'
    """
    expected = "a URL, such as http://127.0.0.1:9093"
    try:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
            return expected
    except ValueError:
        return expected
    if parts.username is not None or parts.password is not None:
        return "a URL without user and password: use token_env, or url_env for all of it"
    if secret and parts.scheme == "http" and parts.hostname not in {"127.0.0.1", "::1", "localhost"}:
        return "https, since a token is sent there, or a loopback address"
    return None


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


_NAME_SCHEMA = WithJsonSchema(
    {"type": "string", "pattern": f"^{_NAME.pattern}$", "minLength": 1, "maxLength": _LONGEST_NAME}
)
_DURATION_SCHEMA = WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN})
_ROTATION_SCHEMA = WithJsonSchema({"type": "string", "pattern": f"^(daily|{_SIZE.pattern})$"})
# TOML has times of its own; tools that read it hand them on as text.
_INSTANT_SCHEMA = WithJsonSchema({"type": "string", "format": "date-time"})


def _one_or_list(item: dict[str, object]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]})


Name = Annotated[str, AfterValidator(_name), Form("name"), _NAME_SCHEMA]
Duration = Annotated[int, BeforeValidator(_duration), Form("duration"), _DURATION_SCHEMA]
PositiveDuration = Annotated[int, BeforeValidator(_positive_duration), Form("duration"), _DURATION_SCHEMA]
Instant = Annotated[int, BeforeValidator(_instant), Form("time with offset"), _INSTANT_SCHEMA]
PipelineStep = Annotated[
    float,
    AfterValidator(_inside_0_1),
    Form("number above 0 and below 1"),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
]
Share = Annotated[
    float,
    AfterValidator(_from_0_to_1),
    Form("number from 0 to 1"),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1}),
]
FileName = Annotated[
    str, AfterValidator(_file_name), Form("path"), WithJsonSchema({"type": "string", "pattern": "^(?!-?$)"})
]
Rotation = Annotated[
    int | Literal["daily"],
    BeforeValidator(_rotation),
    Form('`"daily"`, or size such as `"100MB"`'),
    _ROTATION_SCHEMA,
]
_REFIT_SCHEMA = WithJsonSchema(
    {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": DURATION_PATTERN}]}
)
RefitEvery = Annotated[
    int | str, BeforeValidator(_refit), Form("number of examples, or duration"), _REFIT_SCHEMA
]
RefitLag = Annotated[
    int | str, BeforeValidator(_refit_lag), Form("number of examples, or duration"), _REFIT_SCHEMA
]
Category = Annotated[str, AfterValidator(_category), Form("text")]
Names = Annotated[
    list[Name],
    BeforeValidator(_one_or_more),
    Field(min_length=1),
    Form("name, or list of names"),
    _one_or_list(_NAME_SCHEMA.json_schema or {}),
]
Durations = Annotated[
    list[PositiveDuration],
    BeforeValidator(_one_or_more),
    Field(min_length=1),
    Form("duration, or list of durations"),
    _one_or_list(_DURATION_SCHEMA.json_schema or {}),
]
