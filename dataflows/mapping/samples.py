"""Read the first rows of a user's files, and count what is in their columns.

`layout_of` finds out how a file is to be read: where its header is, and in which encoding.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import islice
from statistics import mode
from typing import TYPE_CHECKING, Any

from dataflows.mapping.rows import (
    DELIMITERS,
    RowsError,
    cells_of,
    delimiter_of,
    encoding_of,
    first_lines,
    form_of,
    names_delimiter,
    read_rows,
)
from dataflows.mapping.rules import MISSING, THOUSANDS, Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dataflows.mapping.rows import Row

__all__ = ["DISTINCT", "ROWS", "Column", "Layout", "fixed_within", "flat", "layout_of", "sample", "says"]

#: Number of rows of each file that are examined.
ROWS = 20_000
#: Lines among which the header of a file is sought.
_HEAD = 60
#: Texts of a column that are counted.
DISTINCT = 5_000
_MOST = 0.95
_TWO = 2
#: A number with a decimal comma.
_COMMA = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+),\d+(e[+-]?\d+)?", re.IGNORECASE)
#: A cell of a row rather than of a header: a number, a date or a time of day.
_DATUM = re.compile(r"[+-]?[\d.,]*\d[\d.,:/T\s+-]*(e[+-]?\d+)?(z|[ap]m|%)?", re.IGNORECASE)


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
        if text in self.distinct or len(self.distinct) < DISTINCT:
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


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows of a file are read.

    Attributes:
        columns: names of the columns of a text file without a header; None if it has one.
        skip: lines before the header, such as titles.
        encoding: of a text file; None for UTF-8, and for other files.
    """

    columns: tuple[str, ...] | None = None
    skip: int = 0
    encoding: str | None = None

    def rows(self, path: str) -> Iterator[Row]:
        """Yield the rows of a file.

        Raises:
            RowsError: the file cannot be read.
        """
        return read_rows(path, columns=self.columns, skip=self.skip, encoding=self.encoding)


def layout_of(path: str) -> Layout:
    """Find out how the rows of a file are to be read.

    Raises:
        RowsError: its form is unknown, or it is damaged.
    """
    form = form_of(path)
    if not form.startswith("json") and form not in {"csv", "text"}:
        return Layout()
    encoding = encoding_of(path)
    if form.startswith("json"):
        return Layout(encoding=encoding)
    lines = first_lines(path, _HEAD, encoding)
    named = names_delimiter(lines[0]) if lines and form == "csv" else None
    lines = lines[named is not None :]
    skip = _lines_before_header(form, lines, DELIMITERS if named is None else [named])
    first = next((line for line in lines[skip:] if line.strip()), "")
    cells = cells_of(form, first, (named or delimiter_of(first)) if form == "csv" else None)
    if cells and all(map(_is_number, cells)):
        numbered = (f"c{number:02}" for number in range(3, len(cells) + 1))
        return Layout(tuple(["unit", "cycle", *numbered][: len(cells)]), encoding=encoding)
    # A line that names the delimiter is read as such without a word.
    return Layout(skip=skip + (skip > 0 and named is not None), encoding=encoding)


def _lines_before_header(form: str, lines: Sequence[str], delimiters: Sequence[str] = DELIMITERS) -> int:
    """Count the lines before the header, which fills more cells than titles do; 0 where that is not clear.

    >>> _lines_before_header("csv", ["Trend of hall 3", "", "pump,at,bar", "p1,2020-01-01,4.5"])
    2
    >>> _lines_before_header("csv", ["pump,at,bar", ",,mbar", "p1,2020-01-01,4.5"])
    0
    """
    for delimiter in delimiters if form == "csv" else (None,):
        cells = [cells_of(form, line, delimiter) for line in lines]
        filled = [sum(map(bool, map(str.strip, each))) for each in cells]
        most = max(filled, default=0)
        # The first row of values: it fills most cells, one of them with a number or a date.
        row = next(
            (
                number
                for number, each in enumerate(cells)
                if 3 * filled[number] > _TWO * most and any(_DATUM.fullmatch(cell.strip()) for cell in each)
            ),
            0,
        )
        if row < _TWO:
            continue
        header = max(range(row), key=lambda number: filled[number])
        same = mode(len(each) for each in cells[row:] if any(each))
        found = form != "csv" or len(delimiters) == 1 or delimiter_of(lines[header]) == delimiter
        if found and len(cells[header]) == same > 1:
            return header
    return 0


def sample(path: str, layout: Layout) -> list[Row]:
    """Return the first rows of a file.

    Raises:
        RowsError: most of them have another number of columns than the header.
    """
    rows = list(islice(layout.rows(path), ROWS))
    other = [row for row in rows if row.fields is None]
    if form_of(path) in {"csv", "text"} and 2 * len(other) > len(rows):
        msg = (
            f"{path}: line {other[0].number} has another number of columns than line {layout.skip + 1}. "
            "Delete what comes before the line with the names of the columns"
        )
        raise RowsError(msg)
    return rows


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def fixed_within(
    rows: Sequence[dict[str, Any]], asset: str, columns: Iterable[str]
) -> dict[str, dict[str, str]]:
    """Return the columns that have one text for each machine in all of its rows, with the text by machine.

    Empty where most machines have a single row.

    >>> rows = [{"m": "a", "age": 7, "volt": 1}, {"m": "a", "age": 7, "volt": 2}]
    >>> fixed_within(rows, "m", ["age", "volt"])
    {'age': {'a': '7'}}
    """
    machine = Text(field=asset).read
    machines = [machine(fields) or "" for fields in rows]
    counts = Counter(machines)
    if 2 * sum(count > 1 for count in counts.values()) < len(counts):
        return {}
    found: dict[str, dict[str, str]] = {}
    for name in columns:
        texts: dict[str, str] = {}
        read = Text(field=name).read
        for each, fields in zip(machines, rows, strict=True):
            text = read(fields)
            if text is not None and texts.setdefault(each, text) != text:
                break
        else:
            if texts:
                found[name] = texts
    return found


def says(pattern: re.Pattern[str], name: str) -> bool:
    """Whether the name of a column, or of a nested field, matches a pattern.

    >>> says(re.compile("^ts$"), "meta.ts"), says(re.compile("^ts$"), "tele.oil")
    (True, False)
    """
    return pattern.search(name) is not None or pattern.search(name.rsplit(".", 1)[-1]) is not None


def flat(fields: dict[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    """Yield the values of a row by path; lists are left out."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from flat(value, f"{before}{name}.")
        elif not isinstance(value, list):
            yield before + name, value
