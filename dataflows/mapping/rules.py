"""Rules that make events from rows of any form: ``[[input.map]]`` of a ``fleet.toml``.

A rule names the files it is for, the rows it takes, and the events it makes of each. `Mapper` tries the rules
in order; the first one that takes a row makes its events. A row that no rule takes is counted.
"""

from __future__ import annotations

import codecs
import fnmatch
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dataflows.instants import MICROSECONDS, parse_duration, parse_instant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dataflows.mapping.rows import Row

__all__ = [
    "FILE",
    "MISSING",
    "SERIAL",
    "THOUSANDS",
    "EventRule",
    "Made",
    "Mapper",
    "MappingError",
    "Number",
    "Rule",
    "Text",
    "Time",
    "fields_of",
    "problems_of",
    "value_of",
]

#: Texts that mean a missing value, in upper or lower case.
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "nil", "-", "?", "inf", "-inf"})
#: A number whose commas part thousands.
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(?P<rest>\.\d*)?")
_ABSENT = object()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: Microseconds of the units of a number; a year is 365.25 days.
_UNITS = {"ns": 1e-3, **MICROSECONDS, "mo": 2_629_800_000_000, "y": 31_557_600_000_000}
#: The `format` of serial dates of spreadsheets: days since the end of 1899.
SERIAL = "excel"
_SERIAL_START = datetime(1899, 12, 30)  # noqa: DTZ001 - the zone comes after
_SERIAL_END = 110_000
#: Decimals of a serial date from which it is exact to a millisecond; with fewer, to a second.
_EXACT = 8
_FIELD = re.compile(r"\{([^{}]+)\}")
#: Field that every row has: the name of its file without suffix, or of its topic.
FILE = "file"


class MappingError(ValueError):
    """A rule does not fit the rows: the message names the field and the fields that there are."""


class _UnusableError(ValueError):
    """A row cannot become an event; the message says why."""


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Text(_Spec):
    """Source of a text: a field, a constant, or a pattern of fields.

    >>> Text(text="engine-{unit}").read({"unit": "7"})
    'engine-7'
    >>> Text(field="code", names={"F01": "leak"}).read({"code": "F01"})
    'leak'
    >>> Text(field="tag", match=r"^plant1[.](.*)[.]flow$").read({"tag": "plant1.p-7.flow"})
    'p-7'
    """

    field: str | None = Field(default=None, description="Field of the row; `a.b` is `b` inside `a`.")
    match: str | None = Field(
        default=None,
        description="Regular expression that finds the text inside the field: its group, or all of it. Where "
        "it does not match, the text is missing.",
    )
    value: str | None = Field(default=None, description="A constant.")
    text: str | None = Field(
        default=None,
        description="A pattern, such as `engine-{unit}`; `{file}` is the name of the file without suffix, or "
        "of the topic, unless the row has such a field.",
    )
    names: dict[str, str] | None = Field(
        default=None,
        description='Name for each value of the field, such as `{ F01 = "leak" }`. A row with '
        "another value makes no event.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Text:
        given = [name for name in ("field", "value", "text") if getattr(self, name) is not None]
        if len(given) != 1:
            msg = "exactly one of `field`, `value` and `text`"
            raise ValueError(msg)
        if self.match is not None:
            if self.field is None:
                msg = "`match` needs a `field` to look in"
                raise ValueError(msg)
            try:
                groups = re.compile(self.match).groups
            except re.error as error:
                msg = f"`match` is no regular expression: {error}"
                raise ValueError(msg) from None
            if groups > 1:
                msg = f"`match` has {groups} groups; mark the text with one, and write the others as (?:...)"
                raise ValueError(msg)
        return self

    def read(self, fields: Mapping[str, Any]) -> str | None:
        """Return the text of a row, None where it is missing or has no name in ``names``.

        Raises:
            ValueError: the field holds an object or an array.
        """
        if self.value is not None:
            return self.value
        if self.text is not None:
            parts = {name: _text_in(fields, name) for name in _FIELD.findall(self.text)}
            if None in parts.values():
                return None
            return _FIELD.sub(lambda found: str(parts[found[1]]), self.text)
        text = _text_in(fields, self.field or "")
        if text is not None and self.match is not None:
            found = re.search(self.match, text)
            text = None if found is None else found[found.re.groups]
        return text if text is None or self.names is None else self.names.get(text)


class Number(_Spec):
    """Source of a reading, and the conversion of its unit: value * scale + offset.

    ``decimal`` is the decimal sign of a text; the other sign parts thousands. Without it, a dot is the
    decimal sign, and commas part thousands where they can be nothing else: `1,250` is refused.

    >>> Number(field="temp_f", scale=0.5, offset=-16.0).read({"temp_f": "100"})
    34.0
    """

    field: str
    scale: float = 1.0
    offset: float = 0.0
    decimal: Literal[".", ","] | None = None

    def read(self, fields: Mapping[str, Any]) -> float | str | None:
        """Return the number, None where it is missing, the text where it is no number."""
        value = _as_number(value_of(fields, self.field), self.decimal)
        if isinstance(value, str) or value is None or (self.scale == 1.0 and self.offset == 0.0):
            return value
        return value * self.scale + self.offset


class Time(_Spec):
    """Source of a time, and its form.

    >>> Time(field="at", format="%d.%m.%Y %H:%M", zone="Europe/Berlin").read({"at": "02.01.2020 15:00"})
    1577973600000000
    >>> Time(field="cycle", unit="h", since="2020-01-01T00:00:00Z").read({"cycle": "2"})
    1577844000000000
    >>> Time(field="day", clock="hour", zone="UTC").read({"day": "2020-01-01", "hour": "02:00"})
    1577844000000000
    >>> Time(field="at", format="excel", zone="UTC").read({"at": "43831.08333"})
    1577844000000000
    """

    field: str = Field(description="Field of the row.")
    clock: str | None = Field(
        default=None,
        description="Field of the time of day, where `field` has the date alone; a blank joins both.",
    )
    format: str | None = Field(
        default=None,
        description="Form of a text, as of strptime; `excel` for serial dates of a spreadsheet, such as "
        "45000.5.",
    )
    zone: str | None = Field(
        default=None, description="Time zone of a text without offset, such as `Europe/Berlin` or `UTC`."
    )
    unit: Literal["ns", "us", "ms", "s", "m", "h", "d", "w", "mo", "y"] | None = Field(
        default=None, description="Unit of a number; `y` is 365.25 days, `mo` a twelfth of it."
    )
    since: str | None = Field(default=None, description="Instant from which a number counts [1970].")
    add: str | None = Field(default=None, description="Duration to add, such as `1h`.")

    @model_validator(mode="after")
    def _known(self) -> Time:
        if self.zone is not None:
            try:
                ZoneInfo(self.zone)
            except (ZoneInfoNotFoundError, ValueError):
                msg = f"a `zone` such as UTC or Europe/Berlin; no time zone is called {self.zone!r}"
                raise ValueError(msg) from None
        try:
            if self.since is not None:
                parse_instant(self.since)
            if self.add is not None:
                parse_duration(self.add)
        except ValueError as error:
            msg = f"a time for `since` and a duration for `add`; {error}"
            raise ValueError(msg) from None
        if self.unit is not None and {self.format, self.zone, self.clock} != {None}:
            msg = "`unit` is for numbers, `format`, `zone` and `clock` are for texts"
            raise ValueError(msg)
        return self

    def read(self, fields: Mapping[str, Any]) -> int | None:
        """Return microseconds since 1970, None where the field is missing.

        Raises:
            ValueError: it is no time of this form, or a local time that occurs twice or never.
        """
        value = value_of(fields, self.field)
        if value is None or (isinstance(value, str) and value.strip().lower() in MISSING):
            return None
        if self.clock is not None:
            clock = _as_text(value_of(fields, self.clock))
            if clock is None:
                return None
            value = f"{str(value).strip()} {clock}"
        if isinstance(value, datetime):
            instant = _instant_of(value, self.zone, str(value))
        elif self.unit is not None:
            instant = self._number(value)
        elif self.format == SERIAL:
            instant = self._serial(value)
        elif isinstance(value, str):
            instant = _instant(value.strip(), self.format, self.zone)
        else:
            instant = parse_instant(value)
        return instant + (0 if self.add is None else parse_duration(self.add))

    def _number(self, value: Any) -> int:  # noqa: ANN401 - as it came
        number = _as_number(value)
        if number is None or isinstance(number, str):
            msg = f"{self.field}: {value!r} is no number"
            raise ValueError(msg)
        since = 0 if self.since is None else parse_instant(self.since)
        whole = isinstance(number, int) and self.unit != "ns"
        scaled = number * _UNITS[self.unit or "s"] if whole else round(number * _UNITS[self.unit or "s"])
        instant = since + int(scaled)
        parse_instant(instant / 1e6)  # refuses what lies outside 1900 to 2200
        return instant

    def _serial(self, value: Any) -> int:  # noqa: ANN401 - as it came
        """Return the instant of a serial date: of a text, as exact as its decimals are."""
        value = value.strip().replace(",", ".") if isinstance(value, str) else value
        number = _as_number(value)
        if number is None or isinstance(number, str) or not 1 <= number < _SERIAL_END:
            msg = f"{self.field}: {value!r} is no serial date such as 45000.5"
            raise ValueError(msg)
        rough = isinstance(value, str) and len(value.partition(".")[2]) < _EXACT
        step = MICROSECONDS["s" if rough else "ms"]
        since_start = round(number * MICROSECONDS["d"] / step) * step
        found = _SERIAL_START + timedelta(microseconds=since_start)
        return _instant_of(found, self.zone, str(value))


@lru_cache(maxsize=65_536)
def _instant(text: str, form: str | None, zone: str | None) -> int:
    if form is not None:
        return _instant_of(datetime.strptime(text, form), zone, text)  # noqa: DTZ007 - the zone comes after
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        form = "give its `format`, or the `unit` of a number"
        msg = f"{text[:40]!r} is no time such as 2020-01-02 14:00:00; {form}"
        raise ValueError(msg) from None
    return _instant_of(found, zone, text)


def _instant_of(found: datetime, zone: str | None, text: str) -> int:
    if found.tzinfo is None:
        if zone is None:
            msg = f"{text[:40]!r} has no offset; give the `zone` of the time, such as UTC or Europe/Berlin"
            raise ValueError(msg)
        place = ZoneInfo(zone)
        early, late = found.replace(tzinfo=place), found.replace(tzinfo=place, fold=1)
        if early.utcoffset() != late.utcoffset():
            # Both offsets give the same wall clock in a fold, neither does in a gap.
            twice = early.astimezone(UTC).astimezone(place).replace(tzinfo=None) == found
            what = "occurs twice" if twice else "does not exist"
            msg = f"{text[:40]!r} {what} in {zone}: clocks change there; send times with offset"
            raise ValueError(msg)
        found = early
    instant = (found - _EPOCH) // _MICROSECOND
    parse_instant(instant / 1e6)
    return instant


TextSource = str | Text
NumberSource = str | Number
TimeSource = str | Time


class EventRule(_Spec):
    """One event that a rule makes of each row it takes."""

    kind: Literal["telemetry", "failure", "maintenance", "fault", "weather", "asset", "retraction"]
    where: dict[str, Any] = {}
    unless: dict[str, Any] = Field(default={}, description="As `where`: of these rows, no event.")
    when: Literal["each", "last"] = Field(
        default="each",
        description="`last`: only of the last row of each asset in a file, such as the failure at the end of "
        "a run-to-failure recording.",
    )
    asset: TextSource | None = None
    time: TimeSource | None = None
    arrived: TimeSource | None = None
    issued: TimeSource | None = None
    id: TextSource | None = None
    site: TextSource | None = None
    mode: TextSource | None = None
    component: TextSource | None = None
    code: TextSource | None = None
    asset_class: Annotated[TextSource | None, Field(alias="class")] = None
    readings: dict[str, NumberSource] | list[str] | None = None
    tag: TextSource | None = None
    value: NumberSource | None = None
    values: dict[str, NumberSource] | list[str] | None = None
    attributes: dict[str, TextSource] | list[str] | None = None

    @model_validator(mode="after")
    def _complete(self) -> EventRule:
        missing = [name for name in _REQUIRED[self.kind] if getattr(self, name) is None]
        if missing:
            msg = f"an event of kind {self.kind} needs {', '.join(missing)}"
            raise ValueError(msg)
        if self.kind == "telemetry" and (self.readings is None) == (self.tag is None or self.value is None):
            msg = "telemetry needs either `readings`, or `tag` and `value`"
            raise ValueError(msg)
        return self


_REQUIRED = {
    "telemetry": ("asset", "time"),
    "failure": ("asset", "time", "mode"),
    "maintenance": ("asset", "time"),
    "fault": ("asset", "time", "code"),
    "weather": ("site", "time", "values"),
    "asset": ("asset", "asset_class"),
    "retraction": ("asset", "id"),
}


class Rule(_Spec):
    """A rule of ``[[input.map]]``.

    Attributes:
        files: globs of file names (without folders) that it is for.
        topics: globs of names of topics that it is for.
        columns: names of the columns, for files without a header.
        skip: lines before the header, such as the title of a report; before the first row, with `columns`.
        delimiter: text between two columns; None finds out.
        encoding: of text files, such as cp1252; None is UTF-8.
        where: fields and the values that they must have; ``*`` is any value that is not missing, and a value
            with ``*`` a glob, in upper or lower case.
        make: the events that it makes of a row, in order.
    """

    files: list[str] = ["*"]
    topics: list[str] = ["*"]
    columns: list[str] | None = None
    skip: Annotated[int, Field(ge=0)] = 0
    delimiter: str | None = None
    encoding: str | None = None
    where: dict[str, Any] = {}
    make: Annotated[list[EventRule], Field(min_length=1)]

    @model_validator(mode="after")
    def _known_encoding(self) -> Rule:
        try:
            codecs.lookup(self.encoding or "utf-8")
        except LookupError:
            msg = f"no encoding is called {self.encoding!r}; examples: utf-8, cp1252, latin-1"
            raise ValueError(msg) from None
        return self

    def is_for(self, path: str) -> bool:
        """Whether it is for this file."""
        name = Path(path).name
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.files)


@dataclass(slots=True)
class Made:
    """Result of making events of rows.

    Attributes:
        events: documents of events, ready to be decoded.
        unusable: why an event could not be made, one text each.
    """

    events: list[dict[str, Any]] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)


class Mapper:
    """Makes events of the rows of one file.

    Args:
        rules: the rules that are for the file, in order.

    Attributes:
        unmatched: number of rows that no rule took.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = [(_condition(rule.where), [_Maker(made) for made in rule.make]) for rule in rules]
        self.unmatched = 0

    @property
    def last(self) -> bool:
        """Whether some event needs to know the last row of each asset."""
        return any(maker.last for _, makers in self._rules for maker in makers)

    def asset(self, fields: Mapping[str, Any]) -> str | None:
        """Return the asset of a row for events of its last row, None without one."""
        for takes, makers in self._rules:
            if takes(fields):
                for maker in makers:
                    if maker.last:
                        return maker.asset(fields)
                return None
        return None

    def make(self, row: Row, *, last: bool = False) -> Made:
        """Return the events of a row.

        Args:
            row: the row.
            last: whether it is the last of its asset.
        """
        made = Made()
        if row.fields is None:
            made.unusable.append("the row has another number of columns, or is not a JSON object")
            return made
        for takes, makers in self._rules:
            if takes(row.fields):
                for maker in makers:
                    maker.add(row.fields, made, last=last)
                return made
        self.unmatched += 1
        return made


def _condition(where: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], bool]:
    """Return the test of a row: each field has the value, or one of the values; "" is a missing one."""
    wanted = {
        name: [str(_as_text(each)).lower() if _is_glob(each) else _as_text(each) for each in _listed(value)]
        for name, value in where.items()
    }

    def takes(fields: Mapping[str, Any]) -> bool:
        for name, values in wanted.items():
            text = _as_text(value_of(fields, name))
            if text not in values and (text is None or not any(_matches(text, value) for value in values)):
                return False
        return True

    return takes


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _is_glob(value: object) -> bool:
    return isinstance(value, str) and "*" in value


def _matches(text: str, value: str | None) -> bool:
    return value is not None and "*" in value and fnmatch.fnmatchcase(text.lower(), value)


class _Maker:
    """Makes one event of a row."""

    def __init__(self, rule: EventRule) -> None:
        self._rule = rule
        self._takes = _condition(rule.where)
        self._leaves = _condition(rule.unless) if rule.unless else lambda _: False
        self.last = rule.when == "last"
        self._texts = {
            name: _text(getattr(rule, name))
            for name in ("asset", "site", "id", "mode", "component", "code", "asset_class")
            if getattr(rule, name) is not None
        }
        self._times = {
            name: _time(getattr(rule, name)) for name in ("time", "arrived", "issued") if getattr(rule, name)
        }
        self._tag = None if rule.tag is None else _text(rule.tag)
        self._value = None if rule.value is None else _number(rule.value)
        numbers = rule.readings if rule.kind == "telemetry" else rule.values
        self._numbers = _numbers(numbers) if numbers is not None else {}
        attributes = rule.attributes or {}
        if isinstance(attributes, list):
            attributes = dict(zip(attributes, attributes, strict=True))
        self._attributes = {name: _text(source) for name, source in attributes.items()}

    def asset(self, fields: Mapping[str, Any]) -> str | None:
        """Return the asset of a row."""
        return self._texts["asset"].read(fields)

    def add(self, fields: Mapping[str, Any], made: Made, *, last: bool) -> None:
        """Add the event of a row, or why there is none."""
        if (self.last and not last) or not self._takes(fields) or self._leaves(fields):
            return
        try:
            event = self._event(fields)
        except ValueError as error:
            if isinstance(error, MappingError):
                raise
            made.unusable.append(str(error))
            return
        if event is not None:
            made.events.append(event)

    def _event(self, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        rule = self._rule
        event: dict[str, Any] = {"kind": rule.kind}
        sources: dict[str, Text | Time] = {**self._texts, **self._times}
        if any(text.names is not None and text.read(fields) is None for text in self._texts.values()):
            return None
        for name, source in sources.items():
            found = source.read(fields)
            if found is not None:
                event["class" if name == "asset_class" else name] = found
            elif name in _REQUIRED[rule.kind]:
                msg = f"{rule.kind}: {name} is missing{_hint(source, fields)}"
                raise _UnusableError(msg)
        if rule.kind == "telemetry":
            event["readings"] = self._readings(fields)
        elif rule.kind == "weather":
            event["values"] = {name: number.read(fields) for name, number in self._numbers.items()}
        elif rule.kind == "asset":
            event["attributes"] = {name: _plain(text.read(fields)) for name, text in self._attributes.items()}
        return event

    def _readings(self, fields: Mapping[str, Any]) -> dict[str, float | str | None]:
        if self._tag is None or self._value is None:
            return {name: number.read(fields) for name, number in self._numbers.items()}
        tag = self._tag.read(fields)
        return {} if tag is None else {tag: self._value.read(fields)}


def _hint(source: Text | Time, fields: Mapping[str, Any]) -> str:
    """Say which field a row lacks, and the nearest that it has, where it lacks the one of a source."""
    name = source.field
    if name is None or value_of(fields, name, _ABSENT) is not _ABSENT:
        return ""
    # The modules of a fleet import the rules.
    from dataflows.fleet.problems import nearest  # noqa: PLC0415

    near = nearest(name, list(fields))
    return f", the row has no field {name!r}" + ("" if near is None else f"; did you mean {near!r}?")


def _text(source: TextSource) -> Text:
    return Text(field=source) if isinstance(source, str) else source


def _number(source: NumberSource) -> Number:
    return Number(field=source) if isinstance(source, str) else source


def _time(source: TimeSource) -> Time:
    return Time(field=source) if isinstance(source, str) else source


def _numbers(sources: dict[str, NumberSource] | list[str]) -> dict[str, Number]:
    if isinstance(sources, list):
        return {name: Number(field=name) for name in sources}
    return {name: _number(source) for name, source in sources.items()}


def value_of(fields: Mapping[str, Any], path: str, default: object = None) -> Any:  # noqa: ANN401 - as it came
    """Return the value of a field, the default where the row has none; `a.b` is `b` inside `a`.

    >>> value_of({"a": {"b": 7}}, "a.b"), value_of({"a.b": 8}, "a.b"), value_of({}, "a.b", "none")
    (7, 8, 'none')
    """
    if path in fields:
        return fields[path]
    found: Any = fields
    for step in path.split("."):
        if not isinstance(found, dict) or step not in found:
            return default
        found = found[step]
    return found


def _as_text(value: Any) -> str | None:  # noqa: ANN401 - as it came
    """Return a value as text, None where it is missing; 7.0 is ``7``, true is ``true``."""
    if isinstance(value, str):
        text = value.strip()
        return None if text.lower() in MISSING else text
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _text_in(fields: Mapping[str, Any], name: str) -> str | None:
    """Return the text of a field, None where it is missing.

    Raises:
        ValueError: it holds an object or an array.
    """
    value = value_of(fields, name)
    if isinstance(value, dict | list):
        found = f"an object with {', '.join(map(str, value))}" if isinstance(value, dict) else "an array"
        msg = f"{name}: expected a text, got {found:.80}; name a field inside it, as in `a.b`"
        raise ValueError(msg)  # noqa: TRY004 - callers turn every bad value into one reject reason
    return _as_text(value)


def _as_number(value: Any, decimal: str | None = None) -> float | str | None:  # noqa: ANN401 - as it came
    """Return a number, None where it is missing, the text where it is no number."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return None if value - value != 0 else value  # NaN and infinities
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in MISSING:
            return None
        try:
            return float(text.replace(".", "").replace(",", ".") if decimal == "," else text)
        except ValueError:
            return _written_number(text, decimal, value)
    return None if value is None else str(value)


def _written_number(text: str, decimal: str | None, value: str) -> float | str:
    """Return a number as people write it, such as 1,250.5 or 97 %; else the value.

    >>> _written_number("1,250.5", None, ""), _written_number("97 %", None, "")
    (1250.5, 97.0)
    >>> _written_number("1,250", ".", ""), _written_number("1,250", None, "1,250")
    (1250.0, '1,250')
    """
    text = text.removesuffix("%").rstrip()
    if decimal == ",":
        text = text.replace(".", "").replace(",", ".")
    elif (found := THOUSANDS.fullmatch(text)) is not None and (decimal == "." or found["rest"]):
        text = text.replace(",", "")
    try:
        return float(text)
    except ValueError:
        return value


def _plain(text: str | None) -> str | float | None:
    """Return an attribute as a number where it is one."""
    number = _as_number(text)
    return text if isinstance(number, str) else number


def problems_of(document: object) -> tuple[Rule | None, list[tuple[tuple[str | int, ...], str, object]]]:
    """Return the rule of a table of ``[[input.map]]``, or what is wrong with it: place, expected, given.

    >>> problems_of({"make": [{"kind": "failure", "asset": "unit", "time": "day"}]})
    (None, [(('make', 0), 'an event of kind failure needs mode', None)])
    """
    try:
        return Rule.model_validate(document), []
    except ValidationError as error:
        found: dict[tuple[str | int, ...], tuple[str, object]] = {}
        for details in error.errors():
            # A union adds the name of the type that it tried: no part of the document.
            place = tuple(
                part for part in details["loc"] if part not in _TRIED and not str(part).startswith(_CHECKED)
            )
            expected, given = details["msg"].removeprefix("Value error, "), details["input"]
            if details["type"] == "extra_forbidden":
                expected = "no such key"
            if details["type"] != "string_type" or not any(known[: len(place)] == place for known in found):
                found[place] = expected, None if isinstance(given, dict) else given
        return None, [(place, expected, given) for place, (expected, given) in found.items()]


#: How the name of a type begins that checks itself, which pydantic adds too.
_CHECKED = "function-after["
#: What pydantic adds to the place of a problem inside a union.
_TRIED = {
    "str",
    "Text",
    "Number",
    "Time",
    "list[str]",
    "dict[str,union[str,Number]]",
    "dict[str,union[str,Text]]",
}


def fields_of(rule: Rule) -> list[str]:
    """Return every field that a rule names, sorted."""
    named: set[str] = set(rule.where)
    for made in rule.make:
        named |= {*made.where, *made.unless}
        for source in _sources(made):
            if isinstance(source, str):
                named.add(source)
            elif isinstance(source, Text) and source.text is not None:
                named |= set(_FIELD.findall(source.text))
            elif getattr(source, "field", None) is not None:
                named |= {source.field, getattr(source, "clock", None) or source.field}
    return sorted(named)


def _sources(made: EventRule) -> list[Any]:
    one = [
        getattr(made, name)
        for name in EventRule.model_fields
        if name not in {"kind", "where", "unless", "when"}
    ]
    flat: list[Any] = []
    for source in one:
        if isinstance(source, dict):
            flat += source.values()
        elif isinstance(source, list):
            flat += source
        elif source is not None:
            flat.append(source)
    return flat
