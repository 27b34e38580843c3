"""Make events of rows that come one at a time: lines of a file that grows, and values of a topic.

The rules are those of recordings. A source makes the events of a row before it numbers them, so a resumed
run makes them again of the same row, and everything after the source sees events alone.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING

from dataflows.events import MAX_BYTES, Reject, decode
from dataflows.mapping.recording import Examined, line_of
from dataflows.mapping.rows import LineReader, RowsError, form_of, names_delimiter
from dataflows.mapping.rules import FILE, Mapper, MappingError, fields_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataflows.events import Event
    from dataflows.mapping.rules import Rule

__all__ = ["LiveRows", "rows_of_file", "rows_of_topic"]

#: Bytes of a line without anything in its cells.
_BLANK = b"\"',;|\t \r\n"
_LINES = frozenset({"csv", "text", "json lines"})


class LiveRows:
    """Events of the rows of one file or topic.

    Args:
        name: name of the rows for `{file}`.
        rules: the rules that are for them, in order; at least one.
        form: ``csv``, ``text`` or ``json lines``.
        path: the file, whose first line names the columns where no rule does; None for a topic.
    """

    def __init__(self, name: str, rules: Sequence[Rule], form: str, path: str | None = None) -> None:
        self._name = name
        self._named = any(FILE in fields_of(rule) for rule in rules)
        self._rules = rules
        self._mapper = Mapper(rules)
        self._path = path
        self._encoding = rules[0].encoding or "utf-8"
        self._lines = LineReader(form, rules[0].columns, rules[0].delimiter)
        #: Offset of the first row: after the header, where there is one.
        self._first = 0

    @property
    def unmatched(self) -> int:
        """Number of rows that no rule took."""
        return self._mapper.unmatched

    def read(self, raw: bytes, number: int, offset: int) -> tuple[Event | Reject, ...] | None:
        """Return the events of a row.

        Args:
            raw: the line without its end, or the value of the message.
            number: number of the line, or offset of the message.
            offset: offset of its first byte.

        Returns:
            The events, and a reject for each event that could not be made; nothing for a row that no rule
            takes. None for the header of a file, and for lines before it.

        Raises:
            MappingError: a rule names a column that the file does not have.
        """
        if self._path is not None and number <= self._rules[0].skip:
            return None
        if self._lines.names is None and self._path is not None and self._lines.needs_names:
            self._read_header(self._path)
        if offset < self._first:
            return None
        if len(raw) > MAX_BYTES:
            return (decode(raw),)
        if not raw.strip(_BLANK):
            return ()
        row = self._lines.row(number, raw.decode(self._encoding, errors="replace"))
        if self._named and row.fields is not None:
            row = row._replace(fields={FILE: self._name, **row.fields})
        made = self._mapper.make(row)
        events = [decode(line_of(event)) for event in made.events]
        return (*events, *(Reject("malformed", why[:1_000], raw=raw) for why in made.unusable))

    def _read_header(self, path: str) -> None:
        """Read the names of the columns from the first line of the file that is neither blank nor `sep=;`."""
        with Path(path).open("rb") as file:
            lines = (line.decode(self._rules[0].encoding or "utf-8-sig", errors="replace") for line in file)
            after = islice(lines, self._rules[0].skip, None)
            header = next(line for line in after if line.strip() and not names_delimiter(line))
            self._first = file.tell()
        names = self._lines.read_names(header)
        examined = Examined(path, self._rules)
        examined.add({**dict(zip(names, repeat(None))), **({FILE: None} if self._named else {})})


def rows_of_file(path: str, rules: Sequence[Rule]) -> LiveRows:
    """Return the rows of a file that grows.

    Raises:
        MappingError: no rule is for the file, or it has no form whose lines are rows.
    """
    try:
        form = form_of(path)
    except RowsError as error:
        raise MappingError(str(error)) from None
    if form not in _LINES:
        msg = f"{path} cannot be followed: of {form}, no line is a row; follow CSV, text or JSON lines"
        raise MappingError(msg)
    fitting = [rule for rule in rules if rule.is_for(path)]
    if not fitting:
        patterns = sorted({pattern for rule in rules for pattern in rule.files})
        msg = f"{path}: no rule of [[input.map]] is for this file; they are for {', '.join(patterns)}"
        raise MappingError(msg)
    return LiveRows(Path(path).name.split(".")[0], fitting, form, path)


def rows_of_topic(topic: str, rules: Sequence[Rule]) -> LiveRows:
    """Return the values of a topic: JSON objects, or CSV where the first rule names `columns`.

    Raises:
        MappingError: no rule is for the topic.
    """
    fitting = [rule for rule in rules if any(fnmatchcase(topic, pattern) for pattern in rule.topics)]
    if not fitting:
        patterns = sorted({pattern for rule in rules for pattern in rule.topics})
        msg = f"{topic}: no rule of [[input.map]] is for this topic; they are for {', '.join(patterns)}"
        raise MappingError(msg)
    return LiveRows(topic, fitting, "csv" if fitting[0].columns else "json lines")
