"""Detect the columns of a user's files (asset, time, readings, failure), and propose rules.

`propose` looks at the first rows of each file. Names and values alone can mislead, so each proposal
lists what a person has to confirm.
"""

from __future__ import annotations

import fnmatch
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflows.mapping.rows import RowsError
from dataflows.mapping.rules import FILE, Number, Text, value_of
from dataflows.mapping.samples import (
    DISTINCT,
    ROWS,
    Column,
    Layout,
    fixed_within,
    flat,
    layout_of,
    sample,
    says,
)
from dataflows.mapping.times import TIME, find_times

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from dataflows.mapping.rows import Row

__all__ = ["RUN_TO_FAILURE", "Known", "Proposal", "propose"]

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
#: Columns of sensor names, of readings, and of the quality of readings.
_TAG = re.compile(
    r"tag|sensor|signal|variable|parameter|point|channel|metric|messstelle|kanal", re.IGNORECASE
)
_VALUE = re.compile(r"^(value|val|reading|wert|messwert|v)$", re.IGNORECASE)
_QUALITY = re.compile(r"quality|qualität|status", re.IGNORECASE)
_PARTS = (".", "/", ":", "|", "_")
#: Least share of all pairs of machine and sensor that the tags must have.
_FULL = 0.7
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
#: Names of columns that say how a machine ended, and of those in which 0 says that it failed.
_OUTCOME = re.compile(
    r"status|event|outcome|death|dead|died|fail|censor|alive|broke|defect|^state$|end_?state", re.IGNORECASE
)
_INVERSE = re.compile(r"censor|alive", re.IGNORECASE)
#: Texts of such columns that say that it failed.
_ENDED = re.compile(rf"dead|death|died|deceased|defect|scrap|{_FAILURE.pattern}", re.IGNORECASE)
#: Names of columns that say when it ended.
_END = re.compile(
    rf"{TIME.pattern}|life|surviv|follow|end|until|duration|(hour|day|week|month|year)s?$", re.IGNORECASE
)
_OUTCOMES = 6
#: Least share of machines whose rows must lie before the end.
_BEFORE = 0.98
#: Names of columns that number the rows of a file: none, or as programs write it.
_ROW_NUMBER = re.compile(r"(column 1|unnamed: 0|row_?(names?|num(ber)?|id)?)_*", re.IGNORECASE)
#: What no name in `fleet.toml` has, and its length there (less a number at its end).
_REPLACED = str.maketrans("[]/:*?", "()____")
_LONGEST = 110
#: Question about a file whose machines seem to run until they fail.
RUN_TO_FAILURE = (
    "No file says what failed: the last row of each machine is taken as its failure (run to failure). If "
    "that is not so, give a file of failures."
)
#: Note about files whose machines, by the name of the file, had not failed yet.
_CUT = "{}: the name says test, so its machines are taken as cut off before they failed."


@dataclass(slots=True)
class Proposal:
    """Rules for files of one form, and what a person has to confirm.

    Attributes:
        files: paths.
        rule: the rule, as a table of ``[[input.map]]``; empty where no event is known to be in the files.
        kind: main kind of event in the files.
        asked: questions for a person to confirm, one sentence each.
        ignored: columns that no event uses.
        of_last: that of the questions about the failure at each machine's last row; empty without one.
    """

    files: list[str]
    rule: dict[str, Any]
    kind: str
    asked: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    of_last: str = ""


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
    samples: dict[tuple[Layout, tuple[str, ...]], dict[str, list[Row]]] = defaultdict(dict)
    for path in files:
        layout = layout_of(path)
        rows = sample(path, layout)
        if not any(row.fields for row in rows):
            continue
        names = tuple(dict.fromkeys(name for row in rows[:200] for name in row.fields or {}))
        found = samples[layout, names]
        found[path] = rows[: max(1, ROWS - sum(map(len, found.values())))]
    tables = [table for (layout, _), group in samples.items() for table in _tables(layout, group, known)]
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
    labels = any(table.tells_failures() for table in tables)
    return [table.proposal(files, labels=labels) for table in tables]


def _tables(layout: Layout, samples: dict[str, list[Row]], known: Known) -> list[_Table]:
    """Return tables of files with the same columns: a single one, or one each for training and test files."""
    whole = _Table(layout, samples, known)
    tests = {path: rows for path, rows in samples.items() if Path(path).name.lower().startswith("test")}
    if len(tests) in {0, len(samples)} or whole.kind != "telemetry":
        return [whole]
    rest = {path: rows for path, rows in samples.items() if path not in tests}
    by_file = whole.by_file
    return [
        _Table(layout, rest, known, by_file=by_file),
        _Table(layout, tests, known, by_file=by_file, cut=True),
    ]


def _table_of(path: str, tables: Sequence[_Table]) -> _Table:
    for table in tables:
        if Path(path).resolve() in {Path(each).resolve() for each in table.files}:
            return table
    msg = f"{path} is not among the files that can be read: give it as a file, too"
    raise RowsError(msg)


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


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Columns that say how and when each machine ended, in all of its rows.

    Attributes:
        status: the outcome.
        modes: failure mode by text; a machine with another text went on, or ended in another way.
        end: the time of the end, counted as the times of the rows are; None where the last row is the end.
        hidden: every column that tells the outcome.
    """

    status: Column
    modes: dict[str, str]
    end: Column | None
    hidden: frozenset[str]


class _Table:
    """Files with the same columns.

    Args:
        layout: how the files are read.
        samples: first rows of each file.
        known: what a person knows of them.
        by_file: whether the name of a machine needs that of its file; None finds out.
        cut: whether the machines were cut off before they failed.

    Attributes:
        by_file: as given, or found: no column names a machine, or files that count from one on name the same.
    """

    def __init__(
        self,
        layout: Layout,
        samples: dict[str, list[Row]],
        known: Known,
        *,
        by_file: bool | None = None,
        cut: bool = False,
    ) -> None:
        self.layout = layout
        self.files = list(samples)
        rows = [row for each in samples.values() for row in each]
        self._cut = cut
        self.headless = layout.columns is not None
        self.columns: dict[str, Column] = {}
        self._rows = [row.fields for row in rows if row.fields is not None]
        for fields in self._rows:
            for name, value in flat(fields):
                self.columns.setdefault(name, Column(name)).add(value)
        self.outcome: _Outcome | None = None
        self._of_last = ""
        self._row_numbers = [
            name
            for name, column in self.columns.items()
            if _ROW_NUMBER.fullmatch(name) and column.whole == len(column.distinct) == column.rows
        ]
        times = find_times(
            self.columns, self._rows, dict.fromkeys(samples, layout), known.zone, self._probably_fixed()
        )
        self.asked = times.asked
        self.time, self.arrived, self._timed = times.time, times.arrived, times.columns
        self.label = next((c for c in self._left() if _LABEL.search(c.name) and _is_flag(c)), None)
        self.asset: Column | None = None
        self.asset = self._asset()
        #: Columns with one value for each machine, by column and machine.
        self._fixed = {} if self.asset is None else fixed_within(self._rows, self.asset.name, self.columns)
        self.code = self._code()
        #: Codes of failures.
        self.fails = [] if self.code is None else list(known.failures)
        self.type, self.kinds = self._types()
        self.kind = self._kind()
        self.outcome = self._outcome() if self.kind == "telemetry" else None
        if self.outcome is not None and self.outcome.status is self.label:
            self.label = None
        self.long = self._long() if self.kind == "telemetry" and self.time is not None else None
        #: Columns of each machine, by sensor, where the names of columns say both.
        self._machine_columns: dict[str, dict[str, Column]] = {}
        #: Name that other files have for a machine, by the one of this file.
        self._names: dict[str, str] = {}
        self.by_file = self._needs_file(samples) if by_file is None else by_file
        first = Path(self.files[0]).name
        if layout.skip:
            lines = "1 line" if layout.skip == 1 else f"{layout.skip} lines"
            self.asked.append(f"{first} has {lines} before the names of its columns: skipped.")
        if layout.encoding is not None:
            self.asked.append(
                f"{first} is not UTF-8: it is read as {layout.encoding}. Set `encoding` in its rule if "
                "letters are wrong."
            )
        if self.kind == "unknown":
            # In place of the questions about its columns.
            self.asked = [self._left_out()]

    def tells_failures(self) -> bool:
        """Whether the files say what failed."""
        shown = self.label is not None or self.outcome is not None or bool(self.fails)
        return shown or self.kind == "failure"

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
            and (says(_TAG, column.name) or (_VALUE.search(value.name) and column is self.asset))
            and 1 < len(column.distinct) < min(DISTINCT, len(self._rows) / 3)
        ]
        if not tags:
            return None
        tag = max(tags, key=lambda column: (bool(says(_TAG, column.name)), len(column.distinct)))
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

    def _outcome(self) -> _Outcome | None:
        """Find the outcome of each machine, where all of its rows repeat it: no model may see it."""
        fixed = {name: set(texts.values()) for name, texts in self._fixed.items()}
        asset = "" if self.asset is None else self.asset.name
        told = [
            column
            for column in self._left()
            if 1 < len(fixed.get(column.name, ())) <= _OUTCOMES and says(_OUTCOME, column.name)
        ]
        end = self._end_of_machines()
        for column in told:
            modes = _modes_of(column, fixed[column.name], sure=end is not None or column is self.label)
            if modes and column.name != asset:
                hidden = {each.name for each in told} | ({end.name} if end is not None else set())
                return _Outcome(column, modes, end, frozenset(hidden))
        return None

    def _end_of_machines(self) -> Column | None:
        """Find the count at which each machine ended, where all of its rows repeat it."""
        if self.time is None or self.asset is None or "since" not in self.time:
            return None
        last: dict[str, float] = {}
        machine, time = Text(field=self.asset.name), self.time["field"]
        for fields in self._rows:
            name, count = machine.read(fields), Number(field=time).read(fields)
            if name is not None and isinstance(count, int | float):
                last[name] = max(count, last.get(name, count))
        for column in self._left():
            ends = self._fixed.get(column.name, {})
            if not (column.numeric and says(_END, column.name) and 3 * len(set(ends.values())) > len(ends)):
                continue
            after = sum(float(ends[name]) >= count for name, count in last.items() if name in ends)
            if after >= _BEFORE * len(last):
                return column
        return None

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
        """Columns other than times, outcomes of machines, and numbers of rows."""
        apart = {source["field"] for source in (self.time, self.arrived) if source is not None}
        apart |= {*self._timed, *self._row_numbers}
        apart |= set() if self.outcome is None else self.outcome.hidden
        return [column for column in self.columns.values() if column.name not in apart]

    def _probably_fixed(self) -> Collection[str]:
        """Columns with one value for each machine, as far as a name tells the machine before the times."""
        named = [c for c in self.columns.values() if says(_ASSET, c.name) and not says(TIME, c.name)]
        if not named:
            return ()
        asset = max(named, key=lambda column: len(column.distinct))
        return fixed_within(self._rows, asset.name, self.columns)

    def _asset(self) -> Column | None:
        candidates = [
            column
            for column in self._left()
            if column is not self.label and column.missing == 0 and column.numbers in {0, column.whole}
        ]
        fitting = [column for column in candidates if says(_ASSET, column.name)]
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
            if says(_FAULT, column.name) and whole and few and column not in {self.asset, self.label}:
                return column
        return None

    def _is_identity(self, column: Column) -> bool:
        """Whether a column holds a number for each row, like the number of a work order."""
        each = column.whole == column.rows == len(column.distinct) > _FEW
        return each and column is not self.asset and says(_IDENTITY, column.name)

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
        for column in sorted(self._texts(), key=lambda column: not says(_TYPE, column.name)):
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
                present |= {name for name, value in flat(fields) if value is not None}
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

    def proposal(self, files: Sequence[str], *, labels: bool) -> Proposal:
        """Propose the rule; ``files``: all that there are; ``labels``: whether some of them tell failures."""
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
        rule: dict[str, Any] = {"files": _globs(self.files, {*files} - {*self.files})}
        if self.headless:
            rule["columns"] = list(self.columns)
        if self.layout.skip:
            rule["skip"] = self.layout.skip
        if self.layout.encoding is not None:
            rule["encoding"] = self.layout.encoding
        rule["make"] = make
        for source in (self.time, self.arrived):
            used |= {source[key] for key in ("field", "clock") if key in source} if source else set()
        asset = "" if self.asset is None else self.asset.name
        ignored = [name for name in self.columns if name not in used and name != asset]
        return Proposal(self.files, rule, self.kind, self.asked, ignored, self._of_last)

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
        used = {*readings, *fixed, *(self.outcome.hidden if self.outcome is not None else ())}
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
        if self.outcome is not None:
            return [self._ends(self.outcome, place)]
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
        self._of_last = RUN_TO_FAILURE
        self.asked.append(self._of_last)
        return [{**failure, "when": "last"}]

    def _ends(self, outcome: _Outcome, place: dict[str, Any]) -> dict[str, Any]:
        """Propose the rule of the failures that the outcomes of machines tell, and ask about it."""
        name, end = outcome.status.name, outcome.end
        time = place["time"] if end is None else {**(self.time or {}), "field": end.name}
        counts = Counter(self._fixed[name].values())
        failed = ", ".join(f"{text} ({counts[text]:,})" for text in outcome.modes)
        others = ", ".join(f"{text} ({n:,})" for text, n in counts.items() if text not in outcome.modes)
        when = "right after the last row" if end is None else f"at `{end.name}`"
        self._of_last = (
            f"`{name}` says in each row how a machine ended: {failed} are taken as failures {when}, {others} "
            "as none. What is a failure, you know better: correct `names` in the rule."
        )
        self.asked.append(self._of_last)
        mode = {"field": name, "names": outcome.modes}
        return {**_later({"kind": "failure", **place, "time": time, "mode": mode}), "when": "last"}

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
            if says(_QUALITY, column.name) and good is not None:
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
    names = [column for column in columns if not _is_prose(column) and not says(_PERSON, column.name)]
    return next((column for column in names if says(_CAUSE, column.name)), next(iter(names), None))


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


def _modes_of(column: Column, texts: set[str], *, sure: bool) -> dict[str, str]:
    """Return the failure mode by the text of an outcome; empty where the texts are no outcomes.

    Args:
        column: the outcomes.
        texts: those of machines.
        sure: whether numbers are outcomes, since there is a time of the end, or a flag of failures; else two
            of them are, if the name says so.

    >>> status = Column("status", rows=3, numbers=3, whole=3)
    >>> _modes_of(status, {"0", "1", "2"}, sure=True), _modes_of(status, {"0", "1"}, sure=True)
    ({'1': 'status 1', '2': 'status 2'}, {'1': 'failure'})
    >>> _modes_of(Column("status", rows=2), {"alive", "dead"}, sure=False)
    {'dead': 'dead'}
    """
    if not column.numbers:
        failed = sorted(text for text in texts if _ENDED.search(text) or _is_yes(text))
        if len(failed) == len(texts):
            return {}
        return {**dict(zip(failed, failed, strict=True)), **_fit_for_names(failed)}
    named = len(texts) == _TWO and _ENDED.search(column.name) is not None
    if not (sure or named) or column.whole < column.rows:
        return {}
    ordered = sorted(texts, key=float, reverse=says(_INVERSE, column.name))
    if len(ordered) == _TWO:
        return {ordered[1]: "failure"}
    return {text: f"{column.name} {text}" for text in ordered[1:]}


def _is_yes(text: str) -> bool:
    return text.lower() in {"true", "yes"}


def _later(failure: dict[str, Any]) -> dict[str, Any]:
    """Shift a failure a moment after the row that shows it, so that the row itself precedes it."""
    time = failure["time"]
    source = {"field": time} if isinstance(time, str) else dict(time)
    return {**failure, "time": {**source, "add": "1h" if source.get("unit") == "h" else "1s"}}


def _plain_flag(flag: str) -> str:
    return "1" if flag == "1.0" else flag.lower()


def _is_flag(column: Column) -> bool:
    texts = {text.lower() for text in column.distinct}
    return texts <= {"0", "1", "0.0", "1.0", "true", "false", "yes", "no"} and bool(
        texts & {"1", "1.0", "true", "yes"}
    )


def _globs(files: Sequence[str], others: Collection[str]) -> list[str]:
    """Globs for files: one name, or the common beginning and suffix of several, if no other file has them.

    >>> _globs(["a/day1.csv", "a/day2.csv"], ["a/jobs.csv"]), _globs(["d1.csv", "d2.csv"], ["down.csv"])
    (['day*.csv'], ['d1.csv', 'd2.csv'])
    """
    names = sorted(Path(path).name for path in files)
    if len(names) == 1:
        return names
    start = 0
    while all(len(name) > start and name[start] == names[0][start] for name in names):
        start += 1
    suffixes = {"".join(Path(name).suffixes) for name in names}
    glob = f"{names[0][:start]}*{min(suffixes)}"
    taken = any(fnmatch.fnmatchcase(Path(path).name, glob) for path in others)
    return [glob] if start and len(suffixes) == 1 and not taken else names
