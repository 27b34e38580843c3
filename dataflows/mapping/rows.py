"""Read the rows of files in their original form: CSV, text in columns, JSON, Parquet, Arrow.

A row is a dict from field to value. In text files every value is text. `Row.number` counts rows as an editor
counts lines, so that a person finds a row again.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import importlib.util
import re
import zlib
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator, Sequence

__all__ = [
    "DELIMITERS",
    "LineReader",
    "Row",
    "RowsError",
    "cells_of",
    "delimiter_of",
    "encoding_of",
    "first_lines",
    "form_of",
    "names_delimiter",
    "read_rows",
]

_GZIP = b"\x1f\x8b"
#: How a file in UTF-16 begins, as Excel writes "Unicode text".
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_FORMS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "text",
    ".jsonl": "json lines",
    ".ndjson": "json lines",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
#: Bytes whose encoding is examined.
_PROBED = 4 << 20
DELIMITERS = (",", ";", "\t", "|")
#: First line with which some programs name the delimiter for Excel; it is no header.
_SEPARATOR = re.compile(r'"?sep=(.)"?')


class RowsError(ValueError):
    """A file cannot be read as rows; the message says what to do."""


class Row(NamedTuple):
    """One row of a file.

    Attributes:
        number: line of a text file, from 1; row of a binary file, from 1.
        fields: values by field; None where the row cannot be read, and ``raw`` has its text.
        raw: its text, empty in binary files.
    """

    number: int
    fields: dict[str, Any] | None
    raw: str = ""


def form_of(path: str) -> str:
    """Return the form of a file by its suffix: csv, text, json lines, json, parquet or arrow.

    Raises:
        RowsError: the suffix is unknown.

    >>> form_of("plant/telemetry.csv.gz"), form_of("train_FD001.txt"), form_of("day.parquet")
    ('csv', 'text', 'parquet')
    """
    suffixes = [suffix.lower() for suffix in Path(path).suffixes if suffix.lower() != ".gz"]
    form = _FORMS.get(suffixes[-1]) if suffixes else None
    if form is None and suffixes[-1:] in ([".xlsx"], [".xls"], [".ods"]):
        msg = f"{path} is a workbook: save each sheet that matters as CSV, and give those files"
        raise RowsError(msg)
    if form is None:
        msg = f"{path}: what it holds is not clear from its name; rename it to one of {', '.join(_FORMS)}"
        raise RowsError(msg)
    return form


def encoding_of(path: str) -> str | None:
    """Return None for a text file in UTF-8, utf-16 where it begins so, else cp1252, as Windows writes it.

    Raises:
        RowsError: the file is damaged.
    """
    try:
        with _opener(path)(path, "rb") as file:
            data = file.read(_PROBED)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path, error) from error
    if data[:2] in _UTF_16:
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return "cp1252"
    return None


def _opener(path: str) -> Any:  # noqa: ANN401 - `open`, or that of gzip
    with Path(path).open("rb") as file:
        return gzip.open if file.read(2) == _GZIP else open


def _damaged(path: str, error: Exception) -> RowsError:
    return RowsError(f"{path} is packed by gzip, and damaged or cut off: {error}; export it again")


def first_lines(path: str, count: int, encoding: str | None = None) -> list[str]:
    """Return the first lines of a text file, without their ends.

    Raises:
        RowsError: the form of the file is unknown, or it is damaged.
    """
    with _opened(path, encoding) as file:
        return [line.rstrip("\r\n") for line in islice(file, count)]


def cells_of(form: str, line: str, delimiter: str | None) -> list[str]:
    """Return the cells of a line of CSV, or of text in columns.

    >>> cells_of("csv", '"a;b";c', ";"), cells_of("text", "1  2", None)
    (['a;b', 'c'], ['1', '2'])
    """
    if form == "text":
        return line.split(delimiter)
    return next(csv.reader([line], delimiter=delimiter or ","), [])


def read_rows(
    path: str,
    *,
    columns: Sequence[str] | None = None,
    skip: int = 0,
    delimiter: str | None = None,
    encoding: str | None = None,
) -> Iterator[Row]:
    """Yield the rows of a file.

    Args:
        path: the file; a text file may be packed by gzip.
        columns: names of the columns of a file without a header; None reads the names from its header.
        skip: lines before the header of a CSV or text file, or before the first row of one without a header.
        delimiter: text between two columns; None finds out: one of ``, ; tab |`` in the header of a CSV file,
            blanks in a text file.
        encoding: of a text file; None is UTF-8, in which what is no text becomes U+FFFD.

    Raises:
        RowsError: the file cannot be read; Parquet and Arrow need the extra ``parquet``.
    """
    form = form_of(path)
    if form == "csv":
        yield from _csv(path, columns, skip, delimiter, encoding)
    elif form == "text":
        yield from _text(path, columns, skip, delimiter, encoding)
    elif form == "json lines":
        yield from _json_lines(path, encoding)
    elif form == "json":
        yield from _json(path, encoding)
    else:
        yield from _arrow(path, form)


@contextmanager
def _opened(path: str, encoding: str | None) -> Iterator[io.TextIOBase]:
    """Open a text file, packed or not; a byte order mark is skipped, and tells UTF-16."""
    opener = _opener(path)
    try:
        if encoding is None:
            with opener(path, "rb") as file:
                encoding = "utf-16" if file.read(2) in _UTF_16 else "utf-8-sig"
        with opener(path, "rt", encoding=encoding, errors="replace", newline="") as text:
            yield text
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path, error) from error


def names_delimiter(line: str) -> str | None:
    """Return the delimiter that a line names for Excel; None for any other line.

    >>> names_delimiter("sep=;"), names_delimiter("separator;volt")
    (';', None)
    """
    found = _SEPARATOR.fullmatch(line.strip())
    return None if found is None else found[1]


def delimiter_of(header: str) -> str:
    """Return the delimiter that occurs most often in a header.

    >>> delimiter_of("unit;volt;heat, mean")
    ';'
    """
    return max(DELIMITERS, key=header.count)


def _csv(
    path: str, columns: Sequence[str] | None, skip: int, delimiter: str | None, encoding: str | None
) -> Iterator[Row]:
    with _opened(path, encoding) as file:
        head = file.readline()
        named = names_delimiter(head)
        before = max(skip, int(named is not None))
        for _ in range(before):
            head = file.readline()
        delimiter = delimiter or named or delimiter_of(head)
        reader = csv.reader(chain([head], file), delimiter=delimiter)
        names = list(columns) if columns else _names(next(reader, []))
        try:
            for values in reader:
                # A spreadsheet writes a blank line with its delimiters.
                if any(values):
                    yield _row(before + reader.line_num, names, values, delimiter)
        except csv.Error as error:
            msg = f"{path}, line {before + reader.line_num}: {error}"
            raise RowsError(msg) from error


def _names(cells: Sequence[str]) -> list[str]:
    """Return the names of columns, all different: one that occurs again, or is empty, gets its place.

    >>> _names(["unit", "temp", " temp ", ""])
    ['unit', 'temp', 'temp (3)', 'column 4']
    """
    names: list[str] = []
    given = {name.strip() for name in cells}
    for place, cell in enumerate(cells, start=1):
        name = cell.strip() or f"column {place}"
        if name in names:
            name = f"{name} ({place})"
        while name in names or (name != cell.strip() and name in given):
            name += "_"
        names.append(name)
    return names


class LineReader:
    """Reads lines that come one at a time as rows; a line is a row.

    Args:
        form: ``csv``, ``text`` or ``json lines``.
        columns: names of the columns; None for those of a header, see `read_names`.
        delimiter: text between two columns; None takes the one that the header has most of, in text blanks.

    Attributes:
        names: names of the columns, None while unknown, and of JSON.

    >>> lines = LineReader("csv", None, None)
    >>> lines.read_names("unit;volt")
    ['unit', 'volt']
    >>> lines.row(2, "p1;3,5").fields
    {'unit': 'p1', 'volt': '3,5'}
    """

    def __init__(self, form: str, columns: Sequence[str] | None, delimiter: str | None) -> None:
        self._form = form
        self._delimiter = delimiter or ("," if form == "csv" and columns else None)
        self.names = None if columns is None else list(columns)

    @property
    def needs_names(self) -> bool:
        """Whether rows cannot be read before a header."""
        return self._form != "json lines" and self.names is None

    def read_names(self, header: str) -> list[str]:
        """Read the names of the columns, and return them."""
        if self._form == "csv" and self._delimiter is None:
            self._delimiter = delimiter_of(header)
        self.names = _names(self._cells(header))
        return self.names

    def row(self, number: int, line: str) -> Row:
        """Return a line as a row; a quoted cell that does not end on its line makes it unreadable."""
        line = line.rstrip("\r\n")
        if self._form == "json lines":
            return _json_row(number, line)
        if self._form == "csv" and line.count('"') % 2:
            return Row(number, None, line)
        return _row(number, self.names or [], self._cells(line), self._delimiter or " ")

    def _cells(self, line: str) -> list[str]:
        return cells_of(self._form, line, self._delimiter)


def _text(
    path: str, columns: Sequence[str] | None, skip: int, delimiter: str | None, encoding: str | None
) -> Iterator[Row]:
    with _opened(path, encoding) as file:
        lines = islice(enumerate(file, start=1), skip, None)
        names = list(columns) if columns else _names(next(lines, (0, ""))[1].split(delimiter))
        for number, line in lines:
            if line.strip():
                yield _row(number, names, line.split(delimiter), delimiter or " ")


def _row(number: int, names: list[str], values: list[str], delimiter: str) -> Row:
    if len(values) > len(names) and not any(values[len(names) :]):
        values = values[: len(names)]
    if len(values) != len(names):
        return Row(number, None, delimiter.join(values))
    return Row(number, dict(zip(names, values, strict=True)), delimiter.join(values))


def _json_lines(path: str, encoding: str | None) -> Iterator[Row]:
    with _opened(path, encoding) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _json_row(number, line)


def _json_row(number: int, line: str) -> Row:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        found = None
    return Row(number, found if isinstance(found, dict) else None, line.rstrip("\n"))


def _json(path: str, encoding: str | None) -> Iterator[Row]:
    """Rows of one JSON array of objects; of a single object, the only list of objects in it."""
    with _opened(path, encoding) as file:
        try:
            found = orjson.loads(file.read())
        except orjson.JSONDecodeError as error:
            msg = f"{path} is not JSON: {error}; a file with one object a line is called .jsonl"
            raise RowsError(msg) from error
    if isinstance(found, dict):
        lists = [value for value in found.values() if isinstance(value, list)]
        found = lists[0] if len(lists) == 1 else [found]
    if not isinstance(found, list):
        msg = f"{path} holds no list of objects, but {str(found)[:40]!r}; write one object for each row"
        raise RowsError(msg)
    for number, each in enumerate(found, start=1):
        yield Row(number, each if isinstance(each, dict) else None, orjson.dumps(each).decode())


def _arrow(path: str, form: str) -> Iterator[Row]:
    if importlib.util.find_spec("pyarrow") is None:
        msg = f"{path}: reading Parquet and Arrow needs pyarrow: pip install 'highwater-ml[parquet]'"
        raise RowsError(msg)
    number = 0
    for batch in _batches(path, form):
        for fields in batch.to_pylist():
            number += 1
            yield Row(number, fields)


def _batches(path: str, form: str) -> Iterator[Any]:
    import pyarrow.feather  # noqa: PLC0415 - an extra
    import pyarrow.parquet  # noqa: PLC0415

    try:
        if form == "parquet":
            yield from pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=16_384)
        else:
            yield from pyarrow.feather.read_table(path).to_batches(max_chunksize=16_384)
    except pyarrow.ArrowInvalid as error:
        msg = f"{path} is no {form} file, or damaged: {error}; export it again"
        raise RowsError(msg) from error
