"""Find the columns of times in a user's files, and how to parse them.

`find_times` chooses the time of the events and the time of receipt. Times are texts of many forms, epochs,
serial dates of spreadsheets, or counts such as cycles and days.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

from dataflows.instants import format_instant
from dataflows.mapping.rules import SERIAL, Time, value_of
from dataflows.mapping.samples import Column, says

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from dataflows.mapping.samples import Layout

__all__ = ["SINCE", "TIME", "Times", "find_times"]

#: Names of times.
TIME = re.compile(
    r"time|date|stamp|^ts$|^at$|^t$|epoch|cycle|hour$|zeit|datum|horodat|fecha|heure|^data$", re.IGNORECASE
)
_ARRIVED = re.compile(
    r"arriv|receiv|ingest|inserted|report|notif|recv|^rx|rx$|gemeldet|meldung|eingang|erfasst", re.IGNORECASE
)
#: Fewest distinct numbers by which a column with the name of a time is a count of steps.
_STEPS = 100
_COUNT = re.compile(r"cycle|step|index|^t$|^time$|hours?$|^n$", re.IGNORECASE)
#: Units in the last word of a name.
_UNITS = {
    unit: (re.compile(rf"(^|[^a-z])({names})$", re.IGNORECASE), said)
    for unit, names, said in (
        ("s", "seconds?|secs?", "a second"),
        ("m", "minutes?|mins?", "a minute"),
        ("h", "hours?|hrs?", "an hour"),
        ("d", "days?", "a day"),
        ("w", "weeks?", "a week"),
        ("mo", "months?", "a month"),
        ("y", "years?|yrs?", "a year"),
    )
}
#: Instant from which a count starts.
SINCE = "2020-01-01T00:00:00Z"
_MOST = 0.95

#: Forms of dates and of the times after them; both, if day and month could be swapped.
_DATES = (
    *("%d.%m.%Y", "%d.%m.%y", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%d-%m-%Y", "%m-%d-%Y"),
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%b %d %Y", "%b %d, %Y"),
)
_CLOCKS = (
    *("", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p", " %H:%M:%S.%f", " %H:%M:%S,%f"),
    *(", %H:%M:%S", ", %H:%M", ", %I:%M:%S %p", ", %I:%M %p", "T%H:%M:%S", "T%H:%M"),
)
_FORMATS = tuple(date + clock for date in _DATES for clock in _CLOCKS)
#: A time of day.
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[ap]m)?", re.IGNORECASE)
#: The first two numbers of a date, one of which is the day.
_DAY_OR_MONTH = re.compile(r"\s*(\d{1,2})[/.-](\d{1,2})[/.-]")
_MONTHS = 12
_SWAPPED = str.maketrans("dm", "md")
#: Rows that are read to tell a day from a month.
_LONG_LOOK = 300_000
#: Least and largest of numbers that are likely an epoch of this unit: 2001 to 2065.
_EPOCHS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_EPOCH_FROM, _EPOCH_TO = 9.8e8, 3.0e9
#: The same years as serial dates: days since the end of 1899.
_SERIAL_FROM, _SERIAL_TO = 36_892, 60_630


@dataclass(slots=True)
class Times:
    """Times of rows, in the form of a rule.

    Attributes:
        time: of the events; None where no column is one.
        arrived: of receipt; None where no column is one.
        columns: every column of times, or of times of day.
        asked: questions for a person to confirm, one sentence each.
    """

    time: dict[str, Any] | None = None
    arrived: dict[str, Any] | None = None
    columns: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)


def find_times(
    columns: Mapping[str, Column],
    rows: Sequence[dict[str, Any]],
    layouts: Mapping[str, Layout],
    zone: str | None,
    fixed: Collection[str],
) -> Times:
    """Find the times of rows.

    Args:
        columns: of the files, by name.
        rows: their first rows.
        layouts: how each file is read.
        zone: time zone of times without offset; None takes them as UTC, and says so.
        fixed: columns that have one value for each machine, such as its date of delivery; a time is none.
    """
    found = Times()
    clocks = _clocks(columns, rows)
    forms: dict[str, dict[str, Any]] = {}
    for name, column in columns.items():
        clock, joined = clocks.get(name, (None, column))
        if fitting := _forms_of(joined):
            settled = _settled(joined, fitting, layouts, found.asked)
            forms[name] = {**({} if clock is None else {"clock": clock}), **settled}
    found.columns = {*forms, *(clock for clock, _ in clocks.values())}
    arrived = next((name for name in forms if says(_ARRIVED, name)), None) if len(forms) > 1 else None
    names = sorted((name for name in forms if name != arrived), key=lambda name: name in fixed)
    named = [name for name in names if says(TIME, name)] or names
    if not named:
        found.time = _counted([c for c in columns.values() if c.name not in fixed], rows, found.asked)
        return found
    time = named[0]
    if forms[time].get("format") == SERIAL:
        text = next(iter(columns[time].distinct))
        read = format_instant(Time(field="x", format=SERIAL, zone="UTC").read({"x": text}) or 0)
        found.asked.append(f"`{time}` has serial dates of a spreadsheet: {text} is taken as {read[:16]}.")
    if forms[time].get("zone") == "UTC" and zone is None:
        found.asked.append(
            f"`{time}` has no offset: its times are taken as UTC. If they are local, run `init` "
            "again with their zone, such as --zone Europe/Berlin."
        )
    for form in forms.values():
        if "zone" in form and zone is not None:
            form["zone"] = zone
    found.time = {"field": time, **forms[time]}
    found.arrived = None if arrived is None else {"field": arrived, **forms[arrived]}
    return found


def _counted(
    columns: Sequence[Column], rows: Sequence[dict[str, Any]], asked: list[str]
) -> dict[str, Any] | None:
    """Return the time that a count gives, such as of cycles or days; None where no column counts."""
    whole = [column for column in columns if column.whole == column.rows > 0]
    many = [column for column in columns if len(column.distinct) >= _STEPS]
    counted = (
        next((column for column in whole if says(_COUNT, column.name)), None)
        or next((column for column in whole if column in many and says(TIME, column.name)), None)
        or next((c for c in many if c.numeric and _unit_of(c.name) and _rises(c.name, rows)), None)
    )
    if counted is None:
        unread = next((column for column in columns if says(TIME, column.name) and column.rows), None)
        if unread is not None:
            asked.append(
                f"`{unread.name}` has the name of a time, but {next(iter(unread.distinct))!r} "
                "has no known form: give its `format` in a rule."
            )
        return None
    unit = _unit_of(counted.name) or "h"
    asked.append(f"`{counted.name}` counts: one of it is taken as {_UNITS[unit][1]}, from {SINCE[:10]} on.")
    return {"field": counted.name, "unit": unit, "since": SINCE}


def _unit_of(name: str) -> str | None:
    """Return the unit in which a column counts, by the last word of its name.

    >>> _unit_of("day"), _unit_of("study_months"), _unit_of("holiday")
    ('d', 'mo', None)
    """
    return next((unit for unit, (pattern, _) in _UNITS.items() if says(pattern, name)), None)


def _rises(name: str, rows: Sequence[dict[str, Any]]) -> bool:
    """Whether a number mostly rises from row to row, as time does within a machine or over all of them."""
    numbers = [float(value) for fields in rows if (value := _plain(value_of(fields, name))) is not None]
    pairs = list(pairwise(numbers))
    return 2 * sum(one < other for one, other in pairs) > len(pairs)


def _plain(value: Any) -> float | None:  # noqa: ANN401 - as it came
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _clocks(columns: Mapping[str, Column], rows: Sequence[dict[str, Any]]) -> dict[str, tuple[str, Column]]:
    """Times of day in columns of their own, by the column of dates before each, and both texts joined."""
    found: dict[str, tuple[str, Column]] = {}
    day: Column | None = None
    for name, column in columns.items():
        if day is not None and column.rows and all(map(_CLOCK.fullmatch, column.distinct)):
            whole = Column(day.name)
            for fields in rows:
                date, clock = (value_of(fields, each) for each in (day.name, name))
                whole.add(None if date is None or clock is None else f"{str(date).strip()} {clock}")
            found[day.name], day = (name, whole), None
        elif column.rows and not any(":" in text for text in column.distinct):
            forms = _forms_of(column)
            day = column if forms and not column.numeric and not column.typed else day
    return found


def _settled(
    column: Column, forms: list[dict[str, Any]], layouts: Mapping[str, Layout], asked: list[str]
) -> dict[str, Any]:
    """Return the form of a time; where day and month may be swapped, a row with a 13th day tells."""
    if len(forms) == 1:
        return forms[0]
    for path, layout in layouts.items():
        for row in islice(layout.rows(path), _LONG_LOOK):
            found = _DAY_OR_MONTH.match(str(value_of(row.fields or {}, column.name)))
            if found is not None and max(int(found[1]), int(found[2])) > _MONTHS:
                return forms[int(found[1]) > _MONTHS]
    # Swapped, the days of one month lie in as many months.
    form = min(forms, key=lambda form: _span(Time(field="x", **form), column.distinct))
    what = "the day" if form is forms[1] else "the month"
    asked.append(
        f"`{column.name}` does not say whether day or month comes first: {next(iter(column.distinct))!r} "
        f"is read with {what} first. If that is wrong, correct its `format`."
    )
    return form


def _forms_of(column: Column) -> list[dict[str, Any]]:
    """Return how to parse the values of a column as times; empty if they are not times.

    Month first and day first, where both may be meant.
    """
    texts = list(column.distinct)
    if not texts:
        return []
    if column.typed:
        return [{} if "+" in texts[0][10:] else {"zone": "UTC"}]
    if column.numeric:
        return _epoch_of(column) if says(TIME, column.name) or says(_ARRIVED, column.name) else []
    return _written_forms(texts) if any(letter.isdigit() for letter in texts[0]) else []


def _written_forms(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return the forms of texts, as a rule of a time needs them."""
    iso: list[dict[str, Any]] = [{}, {"zone": "UTC"}]
    for form in iso:
        if _all_read(Time(field="x", **form), texts):
            return [form]
    fit = [form for form in _FORMATS if _all_read(Time(field="x", format=form, zone="UTC"), texts)]
    if not fit:
        return []
    both = {fit[0], *({fit[0].translate(_SWAPPED)} & {*fit})}
    return [{"format": form, "zone": "UTC"} for form in sorted(both, key=lambda form: form[:2] != "%m")]


def _epoch_of(column: Column) -> list[dict[str, Any]]:
    """Return the unit of numbers that count from 1970, or the form of serial dates; empty if neither."""
    for unit, scale in _EPOCHS.items():
        if _EPOCH_FROM * scale <= column.least and column.largest <= _EPOCH_TO * scale:
            return [{"unit": unit}]
    serial = column.least >= _SERIAL_FROM and column.largest <= _SERIAL_TO
    counts = _unit_of(column.name) not in {None, "d"} or re.search(r"cycle|step", column.name, re.IGNORECASE)
    return [{"format": SERIAL, "zone": "UTC"}] if serial and not counts else []


def _span(source: Time, texts: Iterable[str]) -> int:
    """Return the time from the earliest of texts to the latest, microseconds."""
    times = [source.read({"x": text}) or 0 for text in texts]
    return max(times) - min(times)


def _all_read(source: Time, texts: Sequence[str]) -> bool:
    """Whether every text is a time of this form."""
    try:
        return all(source.read({"x": text}) is not None for text in texts)
    except ValueError:
        return False
