"""Detect the columns of a user's files (asset, time, readings, failure), and propose rules.

`propose` looks at the first rows of each file. Names and values alone can mislead, so each proposal
lists what a person has to confirm.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflows.mapping.rows import RowsError, encoding_of, first_cells, form_of, read_rows
from dataflows.mapping.rules import FILE, MISSING, THOUSANDS, Text, Time, value_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from dataflows.mapping.rows import Row

__all__ = ["ROWS", "RUN_TO_FAILURE", "Column", "Known", "Proposal", "propose"]

#: Number of rows of each file that are examined.
ROWS = 20_000
_DISTINCT = 5_000
_MOST = 0.95
_FEW = 40
_TWO = 2
#: Mean number of words from which texts are sentences.
_WORDS = 3

_ASSET = re.compile(
    r"asset|machine|unit|device|serial|equip|engine|truck|vehicle|pump|turbine|motor|disk|robot|station"
    r"|maschine|anlage|gerät|geraet|macchina|m(á|a)quina|pompe|bomba|équip|(?<!hum)(?<!flu)(?<!val)(?<!gr)(?<!sol)(?<!liqu)id$|^vin$|^name$",
    re.IGNORECASE,
)
_TIME = re.compile(
    r"time|date|stamp|^ts$|^at$|^t$|epoch|cycle|hour$|zeit|datum|horodat|fecha|heure|^data$", re.IGNORECASE
)
#: Columns of sensor names, of readings, and of the quality of readings.
_TAG = re.compile(
    r"tag|sensor|signal|variable|parameter|point|channel|metric|messstelle|kanal", re.IGNORECASE
)
_VALUE = re.compile(r"^(value|val|reading|wert|messwert|v)$", re.IGNORECASE)
_QUALITY = re.compile(r"quality|qualität|status", re.IGNORECASE)
_PARTS = (".", "/", ":", "|", "_")
#: Least share of all pairs of machine and sensor that the tags must have.
_FULL = 0.7
_ARRIVED = re.compile(
    r"arriv|receiv|ingest|inserted|report|notif|recv|^rx|rx$|gemeldet|meldung|eingang|erfasst", re.IGNORECASE
)
#: Names of a number that identifies a record.
_IDENTITY = re.compile(r"(nr|no|num|number|nummer|id|key|order|ticket|auftrag)\.?$", re.IGNORECASE)
_FAILURE = re.compile(
    r"fail|broke|breakdown|fault_?label|malfunction|outage|downtime|stoppage|ausfall|störung|stoerung"
    r"|stillst(a|ä|ae|a\u0308)nd|defekt|panne|d(é|e)faillance|aver(í|i)a|falla|fallo|guasto|falha|storing",
    re.IGNORECASE,
)
_FAULT = re.compile(r"error|alarm|fault|(?<!pr)event|code", re.IGNORECASE)
_MAINTENANCE = re.compile(
    r"maint|repair|service|work_?order|replac|inspect|overhaul|pr(e|é)venti|(?<!un)planned|^pp?m$|wartung|entretien|manten|manuten|instandhaltung",
    re.IGNORECASE,
)
_KINDS = {"failure": _FAILURE, "maintenance": _MAINTENANCE, "fault": _FAULT}
#: Names of columns of causes and of parts, and of people.
_CAUSE = re.compile(
    r"cause|mode|reason|component|^part|fault|failure|defect|symptom|code|ursache|grund|bauteil|schaden",
    re.IGNORECASE,
)
_PERSON = re.compile(
    r"engineer|technician|mechanic$|operator|worker|fitter|crew|team|shift|craft|author|user|who|(?<!\w)by$"
    r"|techniker|mechaniker|schlosser|bearbeiter|schicht|(?<!\w)von$|opérateur|technicien",
    re.IGNORECASE,
)
#: Field of an event that names its mode, code or component.
_ABOUT = {"failure": "mode", "fault": "code", "maintenance": "component"}
#: Names of columns with the kind of a row.
_TYPE = re.compile(r"type|kind|class|category|(?<!t)art$|typ$", re.IGNORECASE)
_LABEL = re.compile(r"^(is_?)?(machine_?)?(fail(ure|ed)?|broken?|breakdown|label|target)$", re.IGNORECASE)
#: A number with a decimal comma.
_COMMA = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+),\d+(e[+-]?\d+)?", re.IGNORECASE)
#: What no name in `fleet.toml` has, and its length there (less a number at its end).
_REPLACED = str.maketrans("[]/:*?", "()____")
_LONGEST = 110
#: Fewest distinct whole numbers by which a column with the name of a time is a count of steps.
_STEPS = 100
_COUNT = re.compile(r"cycle|step|index|^t$|^time$|hours?$|^n$", re.IGNORECASE)

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
#: Question about a file whose machines seem to run until they fail.
RUN_TO_FAILURE = (
    "No file says what failed: the last row of each machine is taken as its failure (run to failure). If "
    "that is not so, give a file of failures."
)
#: Note about files whose machines, by the name of the file, had not failed yet.
_CUT = "{}: the name says test, so its machines are taken as cut off before they failed."
#: Instant from which a count of cycles starts.
SINCE = "2020-01-01T00:00:00Z"


@dataclass(slots=True, eq=False)
class Column:
    """Statistics of one column over the examined rows.

    Attributes:
        name: its name.
        rows: rows with a value.
        missing: rows without one.
        numbers: values that are numbers, also with a decimal comma.
        commas: numbers with a comma that may be a decimal one.
        decimal: those of them whose comma is certainly a decimal one.
        thousands: numbers whose commas certainly part thousands.
        whole: values that are whole numbers.
        least: least number.
        largest: largest number.
        distinct: count of each text, up to a limit of texts.
        typed: whether values are times by their type (Parquet).
    """

    name: str
    rows: int = 0
    missing: int = 0
    numbers: int = 0
    commas: int = 0
    decimal: int = 0
    thousands: int = 0
    whole: int = 0
    least: float = float("inf")
    largest: float = float("-inf")
    distinct: Counter[str] = field(default_factory=Counter)
    typed: bool = False

    def add(self, value: Any) -> None:  # noqa: ANN401 - as it came
        """Add a value."""
        if value is None or (isinstance(value, str) and value.strip().lower() in MISSING) or value != value:  # noqa: PLR0124
            self.missing += 1
            return
        self.rows += 1
        if isinstance(value, datetime | date):
            self.typed = True
        text = str(value).strip()
        if text in self.distinct or len(self.distinct) < _DISTINCT:
            self.distinct[text] += 1
        text = text.removesuffix("%").rstrip()
        comma = _COMMA.fullmatch(text) is not None
        thousands = THOUSANDS.fullmatch(text)
        parted = thousands is not None and not comma
        text = text.replace(".", "").replace(",", ".") if comma else text
        try:
            number = float(text.replace(",", "") if parted else text)
        except ValueError:
            return
        self.numbers += 1
        self.commas += comma
        self.decimal += comma and thousands is None
        self.thousands += parted
        self.whole += number.is_integer()
        self.least, self.largest = min(self.least, number), max(self.largest, number)

    def missing_in(self, rows: int) -> int:
        """Return how many of some rows have no value: a JSON object may lack the field."""
        return rows - self.rows

    @property
    def numeric(self) -> bool:
        """Whether nearly all values are numbers."""
        clear = not self.commas or (self.decimal > 0) != (self.thousands > 0)
        return self.rows > 0 and self.numbers >= _MOST * self.rows and clear

    @property
    def source(self) -> str | dict[str, str]:
        """Source of the readings of this column, in the form of a rule."""
        sign = "." if self.thousands else "," if self.commas else None
        return self.name if sign is None else {"field": self.name, "decimal": sign}

    @property
    def constant(self) -> bool:
        """Whether there is at most one value."""
        return len(self.distinct) <= 1


@dataclass(slots=True)
class Proposal:
    """Rules for files of one form, and what a person has to confirm.

    Attributes:
        files: paths.
        rule: the rule, as a table of ``[[input.map]]``; empty where no event is known to be in the files.
        kind: main kind of event in the files.
        asked: questions for a person to confirm, one sentence each.
        ignored: columns that no event uses.
    """

    files: list[str]
    rule: dict[str, Any]
    kind: str
    asked: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Known:
    """A person's knowledge about the files.

    Attributes:
        zone: time zone of times without offset; None takes them as UTC, and says so.
        failures: codes that are failures, in columns of codes.
        failures_in: paths of files each of whose rows is a failure.
    """

    zone: str | None = None
    failures: Sequence[str] = ()
    failures_in: Sequence[str] = ()


def propose(files: Sequence[str], known: Known) -> list[Proposal]:
    """Propose a rule for each group of files with the same columns.

    Args:
        files: paths of files of rows; one without a row gets no rule.
        known: what a person knows of them.

    Raises:
        RowsError: a file cannot be read, or one of ``failures_in`` has no times, or is not among ``files``.
    """
    samples: dict[tuple[str, ...], dict[str, list[Row]]] = defaultdict(dict)
    for path in files:
        rows = _sample(path)
        if not any(row.fields for row in rows):
            continue
        names = tuple(dict.fromkeys(name for row in rows[:200] for name in row.fields or {}))
        found = samples[names]
        found[path] = rows[: max(1, ROWS - sum(map(len, found.values())))]
    tables = [table for group in samples.values() for table in _tables(group, known)]
    if known.failures and not any(table.fails for table in tables):
        named = ", ".join(known.failures)
        msg = f"no column of codes among readings is found with {named} as failures"
        raise RowsError(msg)
    for path in known.failures_in:
        _table_of(path, tables).take_as_failures()
    if any(table.arrived is not None for table in tables):
        for table in tables:
            table.take_as_received_at_once()
    for table in tables:
        table.take_columns_as_machines(
            {name for other in tables if other is not table for name in other.machines()}
        )
    machines = {name for table in tables if table.kind == "telemetry" for name in table.machines()}
    for table in tables:
        if table.kind != "telemetry":
            table.take_names_of(machines)
    labels = any(table.label is not None or table.fails or table.kind == "failure" for table in tables)
    return [table.proposal(labels=labels) for table in tables]


def _tables(samples: dict[str, list[Row]], known: Known) -> list[_Table]:
    """Return tables of files with the same columns: a single one, or one each for training and test files."""
    whole = _Table(samples, known)
    tests = {path: rows for path, rows in samples.items() if Path(path).name.lower().startswith("test")}
    if len(tests) in {0, len(samples)} or whole.kind != "telemetry":
        return [whole]
    rest = {path: rows for path, rows in samples.items() if path not in tests}
    by_file = whole.by_file
    return [
        _Table(rest, known, by_file=by_file),
        _Table(tests, known, by_file=by_file, cut=True),
    ]


def _table_of(path: str, tables: Sequence[_Table]) -> _Table:
    for table in tables:
        if Path(path).resolve() in {Path(each).resolve() for each in table.files}:
            return table
    msg = f"{path} is not among the files that can be read: give it as a file, too"
    raise RowsError(msg)


def _sample(path: str) -> list[Row]:
    """Return the first rows of a file.

    Raises:
        RowsError: its first line is no header.
    """
    rows = list(islice(read_rows(path, columns=_columns(path), encoding=_encoding(path)), ROWS))
    other = [row for row in rows if row.fields is None]
    if form_of(path) in {"csv", "text"} and 2 * len(other) > len(rows):
        number = (
            f"line {other[0].number} has another number of columns than line 1 ({len(first_cells(path))})"
        )
        msg = f"{path}: {number}. Delete what comes before the line with the names of the columns"
        raise RowsError(msg)
    return rows


def _encoding(path: str) -> str | None:
    """Return the encoding of a text file; None for UTF-8 and for other files."""
    return encoding_of(path) if form_of(path) in {"csv", "text", "json lines", "json"} else None


def _columns(path: str) -> list[str] | None:
    """Return names for the columns of a text file without a header; None if it has one."""
    if form_of(path) not in {"csv", "text"}:
        return None
    cells = first_cells(path)
    if not cells or not all(map(_is_number, cells)):
        return None
    return ["unit", "cycle", *(f"c{number:02}" for number in range(3, len(cells) + 1))][: len(cells)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Long:
    """Columns of files with one reading a row.

    Attributes:
        tag: names the sensor, perhaps with its machine.
        value: the reading.
        machine: regular expression that finds the machine in the tag; None if another column names it.
        sensor: regular expression that finds the sensor; None if the tag is its name.
    """

    tag: Column
    value: Column
    machine: str | None
    sensor: str | None

    def source(self) -> str | dict[str, Any]:
        """Source of the name of the sensor, in the form of a rule; the name is valid in `fleet.toml`."""
        source: dict[str, Any] = {"field": self.tag.name}
        if self.sensor is not None:
            source["match"] = self.sensor
        read = Text(**source).read
        found = sorted({name for text in self.tag.distinct if (name := read({self.tag.name: text}))})
        if names := _fit_for_names(found):
            source["names"] = {text: names.get(text, text) for text in found}
        return source if len(source) > 1 else self.tag.name


class _Table:
    """Files with the same columns.

    Args:
        samples: first rows of each file.
        known: what a person knows of them.
        by_file: whether the name of a machine needs that of its file; None finds out.
        cut: whether the machines were cut off before they failed.

    Attributes:
        by_file: as given, or found: no column names a machine, or files that count from one on name the same.
    """

    def __init__(
        self,
        samples: dict[str, list[Row]],
        known: Known,
        *,
        by_file: bool | None = None,
        cut: bool = False,
    ) -> None:
        self._zone = known.zone
        self.files = files = list(samples)
        rows = [row for each in samples.values() for row in each]
        self._cut = cut
        self.headless = _columns(files[0]) is not None
        self.columns: dict[str, Column] = {}
        self._rows = [row.fields for row in rows if row.fields is not None]
        for fields in self._rows:
            for name, value in _flat(fields):
                self.columns.setdefault(name, Column(name)).add(value)
        self.asked: list[str] = []
        #: Columns of times.
        self._timed: Collection[str] = ()
        self.time, self.arrived = self._times()
        self.label = next((c for c in self._left() if _LABEL.search(c.name) and _is_flag(c)), None)
        self.asset: Column | None = None
        self.asset = self._asset()
        self.code = self._code()
        #: Codes of failures.
        self.fails = [] if self.code is None else list(known.failures)
        self.type, self.kinds = self._types()
        self.kind = self._kind()
        self.long = self._long() if self.kind == "telemetry" and self.time is not None else None
        #: Columns of each machine, by sensor, where the names of columns say both.
        self._machine_columns: dict[str, dict[str, Column]] = {}
        #: Name that other files have for a machine, by the one of this file.
        self._names: dict[str, str] = {}
        self.by_file = self._needs_file(samples) if by_file is None else by_file
        self.encoding = _encoding(files[0])
        if self.encoding is not None:
            self.asked.append(
                f"{Path(files[0]).name} is not UTF-8: it is read as {self.encoding}. Set `encoding` in its "
                "rule if letters are wrong."
            )
        if self.kind == "unknown":
            # In place of the questions about its columns.
            self.asked = [self._left_out()]

    def _left_out(self) -> str:
        """Say why the files are left out, and what to do if they matter."""
        names = ", ".join(Path(each).name for each in self.files)
        what = (
            "neither times nor anything about a machine"
            if self.time is None
            else "times but no readings, and no name or value says failure, maintenance or fault"
        )
        said = f"{names}: {what}. It is left out. If it matters, add it to `files`, and a rule."
        if self.time is not None:
            said += f" If each of its rows is a failure, run `init` again with --failures-in {self.files[0]}."
        return said

    def _long(self) -> _Long | None:
        """Find the columns of sensor name and reading, if each row holds one reading."""
        readings = self._readings()
        if len(readings) != 1 or self.label is not None or self.code is not None:
            return None
        [value] = readings
        tags = [
            column
            for column in self._left()
            if column.numbers == 0
            and column.missing == 0
            and (_says(_TAG, column.name) or (_VALUE.search(value.name) and column is self.asset))
            and 1 < len(column.distinct) < min(_DISTINCT, len(self._rows) / 3)
        ]
        if not tags:
            return None
        tag = max(tags, key=lambda column: (bool(_says(_TAG, column.name)), len(column.distinct)))
        if self.asset is not None and tag is not self.asset:
            return _Long(tag, value, None, None)
        parts = _parts_of(tag.distinct)
        if parts is None:
            return None
        first = next(iter(tag.distinct))
        machine, sensor = (Text(field="tag", match=part).read({"tag": first}) for part in parts)
        self.asked.append(
            f"`{tag.name}` names machine and sensor: {first} is taken as {sensor} of {machine}."
        )
        return _Long(tag, value, *parts)

    def machines(self) -> set[str]:
        """Names of the machines in the events; empty if they are made from the name of the file."""
        if self._machine_columns:
            return {*self._machine_columns}
        if self.asset is None or self.by_file or self.headless:
            return set()
        if self.long is None or self.long.machine is None:
            return set(self.asset.distinct)
        name, source = self.asset.name, Text(field=self.asset.name, match=self.long.machine)
        return {machine for text in self.asset.distinct if (machine := source.read({name: text}))}

    def take_columns_as_machines(self, known: set[str]) -> None:
        """Split `PU01_FLOW` into machine PU01 and sensor FLOW, if other files have most of these machines.

        Args:
            known: names of machines in other files.
        """
        readings = [column for column in self._readings() if not column.constant]
        parts = _parts_of([column.name for column in readings])
        if self.kind != "telemetry" or self.asset is not None or self.by_file or parts is None or not known:
            return
        machine, sensor = (Text(field="name", match=part) for part in parts)
        found: dict[str, dict[str, Column]] = defaultdict(dict)
        for column in readings:
            name = {"name": column.name}
            found[str(machine.read(name))][str(sensor.read(name))] = column
        plain = tuple(map(_plain_name, found))
        if 2 * sum(_plain_name(name).endswith(plain) for name in known) < len(known):
            return
        self._machine_columns = found
        first = readings[0].name
        one, what = machine.read({"name": first}), sensor.read({"name": first})
        self.asked.append(f"Columns name machine and sensor: {first} is taken as {what} of {one}.")

    def take_as_failures(self) -> None:
        """Treat each row as a failure.

        Raises:
            RowsError: there are no times.
        """
        if self.time is None:
            msg = f"{self.files[0]} has no column of times, so its rows cannot be failures"
            raise RowsError(msg)
        self.kind, self.type, self.kinds = "failure", None, {}
        self.asked = [asked for asked in self.asked if "It is left out" not in asked]

    def take_names_of(self, machines: set[str]) -> None:
        """Map each name of a machine to its name in another file, if no name is the same in both."""
        if self.asset is None or self.by_file or machines & self.asset.distinct.keys():
            return
        plain = {_plain_name(name): name for name in machines}
        names = {
            name: plain[max(ends, key=len)]
            for name in self.asset.distinct
            if (ends := [end for end in plain if end and _plain_name(name).endswith(end)])
        }
        if len(names) < _MOST * len(self.asset.distinct) or len(set(names.values())) < len(names):
            return
        self._names = names
        one, other = next(iter(names.items()))
        self.asked.append(
            f"`{self.asset.name}` has other names for machines: {one} is taken as {other}, and so on."
        )

    def _needs_file(self, samples: dict[str, list[Row]]) -> bool:
        """Whether a machine is identified only together with the name of its file."""
        if len(samples) == 1:
            return False
        if self.asset is None:
            return True
        if self.time is None or "since" not in self.time:
            return False
        name = self.asset.name
        machines = ({value_of(row.fields or {}, name) for row in rows} for rows in samples.values())
        return max(Counter(machine for each in machines for machine in each).values()) > 1

    def _left(self) -> Iterable[Column]:
        """Columns other than times."""
        times = {source["field"] for source in (self.time, self.arrived) if source is not None}
        return [column for column in self.columns.values() if column.name not in times | {*self._timed}]

    def _times(self) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        clocks = self._clocks()
        found: dict[str, dict[str, Any]] = {}
        for name, column in self.columns.items():
            clock, joined = clocks.get(name, (None, column))
            if forms := _forms_of(joined):
                found[name] = {**({} if clock is None else {"clock": clock}), **self._settled(joined, forms)}
        self._timed = {*found, *(clock for clock, _ in clocks.values())}
        arrived = next((name for name in found if _says(_ARRIVED, name)), None) if len(found) > 1 else None
        names = [name for name in found if name != arrived]
        named = [name for name in names if _says(_TIME, name)] or names
        if named:
            source = {"field": named[0], **found[named[0]]}
            if source.get("zone") == "UTC" and self._zone is None:
                self.asked.append(
                    f"`{named[0]}` has no offset: its times are taken as UTC. If they are local, run `init` "
                    "again with their zone, such as --zone Europe/Berlin."
                )
            for form in found.values():
                if "zone" in form and self._zone is not None:
                    form["zone"] = self._zone
            source |= found[named[0]]
            return source, None if arrived is None else {"field": arrived, **found[arrived]}
        whole = [c for c in self.columns.values() if c.whole == c.rows > 0]
        counted = next((c for c in whole if _says(_COUNT, c.name)), None) or next(
            (c for c in whole if _says(_TIME, c.name) and len(c.distinct) >= _STEPS), None
        )
        if counted is None:
            unread = next((c for c in self.columns.values() if _says(_TIME, c.name) and c.rows), None)
            if unread is not None:
                self.asked.append(
                    f"`{unread.name}` has the name of a time, but {next(iter(unread.distinct))!r} "
                    "has no known form: give its `format` in a rule."
                )
            return None, None
        self.asked.append(f"`{counted.name}` counts: one of it is taken as an hour, from {SINCE[:10]} on.")
        return {"field": counted.name, "unit": "h", "since": SINCE}, None

    def _clocks(self) -> dict[str, tuple[str, Column]]:
        """Times of day in columns of their own, by the column of dates before each, and both texts joined."""
        found: dict[str, tuple[str, Column]] = {}
        day: Column | None = None
        for name, column in self.columns.items():
            if day is not None and column.rows and all(map(_CLOCK.fullmatch, column.distinct)):
                whole = Column(day.name)
                for fields in self._rows:
                    date, clock = (value_of(fields, each) for each in (day.name, name))
                    whole.add(None if date is None or clock is None else f"{str(date).strip()} {clock}")
                found[day.name], day = (name, whole), None
            elif column.rows and not any(":" in text for text in column.distinct):
                forms = _forms_of(column)
                day = column if forms and "unit" not in forms[0] and not column.typed else day
        return found

    def _settled(self, column: Column, forms: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the form of a time; where day and month may be swapped, a row with a 13th day tells."""
        if len(forms) == 1:
            return forms[0]
        for path in self.files:
            rows = read_rows(path, columns=_columns(path), encoding=_encoding(path))
            for row in islice(rows, _LONG_LOOK):
                found = _DAY_OR_MONTH.match(str(value_of(row.fields or {}, column.name)))
                if found is not None and max(int(found[1]), int(found[2])) > _MONTHS:
                    return forms[int(found[1]) > _MONTHS]
        # Swapped, the days of one month lie in as many months.
        form = min(forms, key=lambda form: _span(Time(field="x", **form), column.distinct))
        what = "the day" if form is forms[1] else "the month"
        self.asked.append(
            f"`{column.name}` does not say whether day or month comes first: {next(iter(column.distinct))!r} "
            f"is read with {what} first. If that is wrong, correct its `format`."
        )
        return form

    def _asset(self) -> Column | None:
        candidates = [
            column
            for column in self._left()
            if column is not self.label and column.missing == 0 and column.numbers in {0, column.whole}
        ]
        fitting = [column for column in candidates if _says(_ASSET, column.name)]
        # In a list of machines, what names a machine numbers the rows.
        named = [column for column in fitting if not self._is_identity(column)] or fitting
        many = [column for column in named if not column.constant] or named
        if many:
            # Several names may fit (`machine_id`, `model_name`): the one with the most values is the machine.
            return max(many, key=lambda column: len(column.distinct))
        texts = [c for c in candidates if c.numbers == 0 and 1 < len(c.distinct) < len(self._rows) / 3]
        return max(texts, key=lambda column: len(column.distinct)) if texts else None

    def _code(self) -> Column | None:
        """Find a column of codes that only a few rows have, next to readings."""
        for column in self._left():
            whole = column.numbers in {0, column.whole}
            few = 0 < column.rows <= column.missing_in(len(self._rows)) and len(column.distinct) <= _FEW
            if _says(_FAULT, column.name) and whole and few and column not in {self.asset, self.label}:
                return column
        return None

    def _is_identity(self, column: Column) -> bool:
        """Whether a column holds a number for each row, like the number of a work order."""
        each = column.whole == column.rows == len(column.distinct) > _FEW
        return each and column is not self.asset and _says(_IDENTITY, column.name)

    def take_as_received_at_once(self) -> None:
        """Take the times of rows without a time of receipt as times of receipt, as other files have some."""
        if self.time is not None and self.arrived is None and self.kind != "unknown":
            self.arrived = dict(self.time)
            self.asked.append(
                f"{Path(self.files[0]).name} has no times of receipt: its rows are taken as received at once."
            )

    def _types(self) -> tuple[Column | None, dict[str, str]]:
        """Find the column with the kind of each row, and the kind of event for each of its values.

        Several values of one kind are no types: they are modes, codes or components. A column that is called
        a type goes before one that tells of it, such as a description.
        """
        for column in sorted(self._texts(), key=lambda column: not _says(_TYPE, column.name)):
            if _is_prose(column):
                continue
            kinds = {text: kind for text in column.distinct if (kind := _kind_in(text)) is not None}
            if kinds and (
                column.constant or len(set(kinds.values())) > 1 or len(kinds) < len(column.distinct)
            ):
                return column, kinds
        return None, {}

    def _kind(self) -> str:
        if self.time is None:
            return "asset" if len(self.columns) > 1 else "unknown"
        if (self._readings() or self.label is not None) and not self._is_list_of_orders():
            return "telemetry"
        if self.type is not None:
            return "failure" if "failure" in self.kinds.values() else next(iter(self.kinds.values()))
        words = " ".join([Path(self.files[0]).stem, *self.columns])
        kind = _kind_in(words)
        return kind if kind == "failure" or (kind is not None and self._texts()) else "unknown"

    def _is_list_of_orders(self) -> bool:
        """Whether rows with numbers, such as hours and costs, are work orders: numbered or described."""
        described = any(self._is_identity(column) or _is_prose(column) for column in self._left())
        if not described or self.label is not None or self.code is not None:
            return False
        if self.type is None:
            return _kind_in(" ".join([Path(self.files[0]).stem, *self.columns])) in {"failure", "maintenance"}
        return 2 * sum(self.type.distinct[text] for text in self.kinds) >= self.type.rows

    def _readings(self) -> list[Column]:
        apart = {self.asset, self.label, self.code}
        numeric = [
            column
            for column in self._left()
            if column.numeric and column not in apart and not self._is_identity(column)
        ]
        if self.code is None:
            return numeric
        # What comes with a code alone says something of the code.
        present: set[str] = set()
        for fields in self._rows:
            if value_of(fields, self.code.name) is None:
                present |= {name for name, value in _flat(fields) if value is not None}
        return [column for column in numeric if column.name in present]

    def _texts(self) -> list[Column]:
        """Text columns with few values."""
        return [
            column
            for column in self._left()
            if column is not self.asset
            and column.rows
            and column.numbers == 0
            and len(column.distinct) <= _FEW
        ]

    def _place(self) -> dict[str, Any]:
        """Asset and time of an event."""
        place: dict[str, Any] = {}
        if self.by_file:
            inner = "" if self.asset is None else f"-{{{self.asset.name}}}"
            place["asset"] = {"text": f"{{{FILE}}}{inner}"}
            why = "each file numbers its machines from the start" if inner else "no column names a machine"
            others = f"{Path(self.files[0]).name} and others: {why}"
            self.asked.append(f"{others}, so the name of the file is part of the machine's.")
        elif self._machine_columns:
            place["asset"] = {}  # of each event its own
        elif self.asset is None:
            name = re.sub(r"[^\w-]+", "_", Path(self.files[0]).name.split(".")[0])
            self.asked.append(f"No column names a machine: all rows are of one, `{name}`.")
            place["asset"] = {"value": name}
        elif self.headless:
            place["asset"] = {"text": f"unit-{{{self.asset.name}}}"}
        elif self.long is not None and self.long.machine is not None:
            place["asset"] = {"field": self.asset.name, "match": self.long.machine}
        elif self._names:
            place["asset"] = {"field": self.asset.name, "names": self._names}
        else:
            place["asset"] = self.asset.name
        if self.time is not None:
            place["time"] = self.time["field"] if set(self.time) == {"field"} else self.time
        if self.arrived is not None:
            place["arrived"] = self.arrived
        return place

    def proposal(self, *, labels: bool) -> Proposal:
        """Propose the rule; ``labels``: whether some file lists failures."""
        place = self._place()
        if self.kind == "telemetry":
            make, used = self._telemetry(place, labels=labels)
        elif self.kind == "unknown":
            return Proposal(self.files, {}, self.kind, self.asked)
        elif self.kind == "asset":
            used = {column.name for column in self.columns.values() if column is not self.asset}
            make = [{"kind": "asset", **place, "class": {"value": "machine"}, "attributes": sorted(used)}]
        else:
            make, used = self._record(place)
        rule: dict[str, Any] = {"files": _globs(self.files)}
        if self.headless:
            rule["columns"] = list(self.columns)
        if self.encoding is not None:
            rule["encoding"] = self.encoding
        rule["make"] = make
        for source in (self.time, self.arrived):
            used |= {source[key] for key in ("field", "clock") if key in source} if source else set()
        asset = "" if self.asset is None else self.asset.name
        ignored = [name for name in self.columns if name not in used and name != asset]
        return Proposal(self.files, rule, self.kind, self.asked, ignored)

    def _record(self, place: dict[str, Any]) -> tuple[list[dict[str, Any]], set[str]]:
        """Propose rules of failures, faults and maintenance; a text of few values is their mode or part."""
        others = [column for column in self._texts() if column is not self.type]
        about = _cause_of(others)
        prose = next((c for c in self._left() if c not in {self.asset, self.type} and _is_prose(c)), None)
        if about is None and prose is not None and "failure" in {self.kind, *self.kinds.values()}:
            self.asked.append(
                f"`{prose.name}` is text for people, so all failures are of one mode. To tell modes apart, "
                f'make an event of each, such as with `where = {{ {prose.name} = "*bearing*" }}`.'
            )
        identity = next((column for column in self._left() if self._is_identity(column)), None)
        if identity is not None:
            place = {**place, "id": identity.name}
        used = {column.name for column in (about, identity) if column is not None}
        if self.type is None:
            return [self._event(self.kind, place, about)], used
        make = []
        for kind in dict.fromkeys(self.kinds.values()):
            texts = [text for text, each in self.kinds.items() if each == kind]
            where = {self.type.name: texts[0] if len(texts) == 1 else texts}
            make.append({**self._event(kind, place, about), "where": where})
        unknown = [text for text in self.type.distinct if text not in self.kinds]
        if unknown:
            self.asked.append(
                f"Rows whose `{self.type.name}` is {', '.join(map(repr, unknown[:5]))} make no event."
            )
        return make, {self.type.name, *used}

    def _event(self, kind: str, place: dict[str, Any], about: Column | None) -> dict[str, Any]:
        """Return the rule of a record whose mode, code or component is the text of a column."""
        if about is None:
            return {
                "kind": kind,
                **place,
                **({} if kind == "maintenance" else {_ABOUT[kind]: {"value": "failure"}}),
            }
        names = _fit_for_names(about.distinct)
        source: str | dict[str, Any] = about.name
        if names:
            source = {"field": about.name, "names": {text: names.get(text, text) for text in about.distinct}}
        return {"kind": kind, **place, _ABOUT[kind]: source}

    def _telemetry(self, place: dict[str, Any], *, labels: bool) -> tuple[list[dict[str, Any]], set[str]]:
        varying = [column for column in self._readings() if not column.constant]
        readings: list[str] | dict[str, Any] = [column.name for column in varying]
        make: list[dict[str, Any]] = []
        fixed = self._attributes()
        if fixed and self.asset is not None:
            known: dict[str, Any] = {"class": {"value": "machine"}, "attributes": fixed}
            # Rows without them, such as of codes, say nothing of the machine.
            gaps = any(self.columns[name].missing_in(len(self._rows)) for name in fixed)
            known |= {"where": dict.fromkeys(fixed, "*")} if gaps else {}
            make.append({"kind": "asset", "asset": place["asset"], **known})
        used = {*readings, *fixed}
        names = _fit_for_names(readings)
        if names or any(column.source != column.name for column in varying):
            readings = {names.get(column.name, column.name): column.source for column in varying}
        telemetry: dict[str, Any] = {"kind": "telemetry", **place, "readings": readings}
        if self.long is not None:
            del telemetry["readings"]
            telemetry |= {"tag": self.long.source(), "value": self.long.value.source}
            used.add(self.long.tag.name)
            if (good := self._good()) is not None:
                telemetry["where"] = good
                used |= good.keys()
        make += self._of_each_machine(telemetry) if self._machine_columns else [telemetry]
        if self.code is not None and varying:
            telemetry["where"] = {max(varying, key=lambda column: column.rows).name: "*"}
            make += self._codes(self.code, place)
            used.add(self.code.name)
        make += self._failures_among_readings(place, labels=labels)
        if self.label is not None:
            used.add(self.label.name)
        return make, used

    def _failures_among_readings(self, place: dict[str, Any], *, labels: bool) -> list[dict[str, Any]]:
        """Propose rules of failures that readings show: by a flag, or by their end."""
        failure = _later({"kind": "failure", **place, "mode": {"value": "failure"}})
        if self.label is not None:
            flag = next(text for text in self.label.distinct if text.lower() in {"1", "1.0", "true", "yes"})
            self.asked.append(f"`{self.label.name}` = {flag} is taken as a failure right after that row.")
            return [{**failure, "where": {self.label.name: _plain_flag(flag)}}]
        if self.fails or self.code is not None or labels:
            return []
        if self._cut:
            self.asked.append(_CUT.format(Path(self.files[0]).name))
            return []
        if self.asset is None and not self.by_file:
            return []
        self.asked.append(RUN_TO_FAILURE)
        return [{**failure, "when": "last"}]

    def _of_each_machine(self, telemetry: dict[str, Any]) -> list[dict[str, Any]]:
        """Events of the machines that have columns of their own; none of a machine whose cells are empty."""
        names = _fit_for_names({sensor: None for each in self._machine_columns.values() for sensor in each})
        return [
            {
                **telemetry,
                "asset": {"value": machine},
                "readings": {names.get(sensor, sensor): column.source for sensor, column in columns.items()},
                "unless": {column.name: "" for column in columns.values()},
            }
            for machine, columns in self._machine_columns.items()
        ]

    def _good(self) -> dict[str, str] | None:
        """Return the condition that only readings of good quality fulfil; None without such a column."""
        for column in self._texts():
            good = next((text for text in column.distinct if text.lower() == "good"), None)
            if _says(_QUALITY, column.name) and good is not None:
                if not column.constant:
                    self.asked.append(f"Only rows whose `{column.name}` is {good} are read.")
                return {column.name: good}
        return None

    def _codes(self, code: Column, place: dict[str, Any]) -> list[dict[str, Any]]:
        """Propose rules of faults by their codes, and of failures for the codes a person gave."""
        fault = {"kind": "fault", **place, "code": code.name, "where": {code.name: "*"}}
        if not self.fails:
            counted = ", ".join(f"{text} ({count:,})" for text, count in code.distinct.most_common(12))
            self.asked.append(
                f"`{code.name}` has codes, taken as faults: {counted}. For those that are failures, run "
                f"`init` again with --failure for each, such as --failure {min(code.distinct)}."
            )
            return [fault]
        failure = {"kind": "failure", **place, "mode": code.name, "where": {code.name: self.fails}}
        return [failure, {**fault, "unless": {code.name: self.fails}}]

    def _attributes(self) -> list[str]:
        """Text columns that are constant for each asset."""
        if self.asset is None:
            return []
        found = []
        for column in self._texts():
            if column.constant:
                continue
            values: dict[str, set[str]] = defaultdict(set)
            for fields in self._rows:
                if (text := value_of(fields, column.name)) is not None:
                    values[str(value_of(fields, self.asset.name))].add(str(text))
            # A text that each machine has for its own is another name of it.
            shared = len(values) <= _TWO or 2 * len(set().union(*values.values())) <= len(values)
            if shared and all(len(each) == 1 for each in values.values()):
                found.append(column.name)
        return found


def _says(pattern: re.Pattern[str], name: str) -> bool:
    """Whether the name of a column, or of a nested field, matches a pattern.

    >>> _says(_TIME, "meta.ts"), _says(_TIME, "tele.oil")
    (True, False)
    """
    return pattern.search(name) is not None or pattern.search(name.rsplit(".", 1)[-1]) is not None


def _parts_of(tags: Iterable[str]) -> tuple[str, str] | None:
    """Return regular expressions for machine and sensor in tags; None if the tags have no such parts.

    The sensor is the last part. The machine is the only other part that varies, else all before the last.

    >>> _parts_of([f"SITE.P-{number}.{sensor}" for number in range(3) for sensor in ("FLOW", "TEMP")])
    ('^[^.]*[.]([^.]*)[.]', '([^.]*)$')
    """
    tags = list(tags)
    for mark in _PARTS:
        parts = [tag.split(mark) for tag in tags]
        if len({len(each) for each in parts}) != 1 or len(parts[0]) < _TWO:
            continue
        counts = [len(set(column)) for column in zip(*parts, strict=True)]
        varying = [place for place, count in enumerate(counts[:-1]) if count > 1]
        machines = len({tuple(each[:-1]) for each in parts})
        # Nearly every machine has nearly every sensor.
        if not varying or machines * counts[-1] * _FULL > len(tags):
            continue
        other, one = f"[^{mark}]*", f"[{mark}]"
        if len(varying) == 1:
            return f"^{(other + one) * varying[0]}({other}){one}", f"({other})$"
        return f"^(.*){one}", f"({other})$"
    return None


def _plain_name(name: str) -> str:
    """Return letters and digits of a name.

    >>> _plain_name("P2-P-101")
    'p2p101'
    """
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _is_prose(column: Column) -> bool:
    """Whether a text column holds sentences rather than a few names."""
    words = sum(len(text.split()) for text in column.distinct)
    return column.numbers == 0 and words >= _WORDS * len(column.distinct) > 0 and len(column.distinct) > _TWO


def _cause_of(columns: Iterable[Column]) -> Column | None:
    """Return the column with mode, code or component of records; names of people are left out."""
    names = [column for column in columns if not _is_prose(column) and not _says(_PERSON, column.name)]
    return next((column for column in names if _says(_CAUSE, column.name)), next(iter(names), None))


def _fit_for_names(texts: Iterable[str]) -> dict[str, str]:
    """Return a name that is valid in `fleet.toml`, for each text that is not.

    >>> _fit_for_names(["flow", "pressure [bar]", "speed [mm/s]", "speed (mm_s)"])
    {'pressure [bar]': 'pressure (bar)', 'speed [mm/s]': 'speed (mm_s)_2'}
    """
    given = list(texts)
    taken, names = set(given), {}
    for text in given:
        name = " ".join(text.translate(_REPLACED).split())[:_LONGEST]
        if name == text:
            continue
        free = (each for number in count(2) if (each := f"{name}_{number}") not in taken)
        names[text] = name if name not in taken else next(free)
        taken.add(names[text])
    return names


def _kind_in(text: str) -> str | None:
    """Return the kind of event that a text describes, failures first.

    >>> _kind_in("Breakdown"), _kind_in("oil service"), _kind_in("note")
    ('failure', 'maintenance', None)
    """
    return next((kind for kind, pattern in _KINDS.items() if pattern.search(text)), None)


def _later(failure: dict[str, Any]) -> dict[str, Any]:
    """Shift a failure a moment after the row that shows it, so that the row itself precedes it."""
    time = failure["time"]
    source = {"field": time} if isinstance(time, str) else dict(time)
    return {**failure, "time": {**source, "add": "1h" if source.get("unit") == "h" else "1s"}}


def _plain_flag(flag: str) -> str:
    return "1" if flag == "1.0" else flag.lower()


def _flat(fields: dict[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    """Yield the values of a row by path; lists are left out."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        elif not isinstance(value, list):
            yield before + name, value


def _is_flag(column: Column) -> bool:
    texts = {text.lower() for text in column.distinct}
    return texts <= {"0", "1", "0.0", "1.0", "true", "false", "yes", "no"} and bool(
        texts & {"1", "1.0", "true", "yes"}
    )


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
        return _epoch_of(column) if _says(_TIME, column.name) or _says(_ARRIVED, column.name) else []
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
    """Return the unit of numbers that count from 1970; empty if they do not."""
    for unit, scale in _EPOCHS.items():
        if _EPOCH_FROM * scale <= column.least and column.largest <= _EPOCH_TO * scale:
            return [{"unit": unit}]
    return []


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


def _globs(files: Sequence[str]) -> list[str]:
    """Globs for files: one name, or the common beginning and suffix of several."""
    names = sorted(Path(path).name for path in files)
    if len(names) == 1:
        return names
    start = 0
    while all(len(name) > start and name[start] == names[0][start] for name in names):
        start += 1
    suffixes = {"".join(Path(name).suffixes) for name in names}
    if start and len(suffixes) == 1:
        return [f"{names[0][:start]}*{suffixes.pop()}"]
    return names
