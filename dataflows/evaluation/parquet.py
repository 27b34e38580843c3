"""Outputs of a run as Parquet, for those who read them with DuckDB, pandas or Spark.

A field has one type in all rows of an output. A time is a timestamp in UTC, a table by name (`scores`,
`features`) a map, an object with fields of its own (`hours`) a struct. An object of any form (`event` of a
reject), and a field whose type depends on the kind of row (`evidence` of the changes), is JSON text.
"""

from __future__ import annotations

import importlib.util
import os
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, get_origin

import orjson

from dataflows.connectors.file_sink import committed_length, files_of, lines_of
from dataflows.disk import locked_alone, sync_folder
from dataflows.evaluation.columns import fields_of_output, named_type, object_fields
from dataflows.evaluation.reading import rows_of
from dataflows.outputs import OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

__all__ = ["ParquetError", "Written", "parquet_outputs", "write_parquet"]

#: Values in a row group, which bounds the memory: about 15,000 predictions, or 200 MB above the start.
_GROUP = 250_000
#: What a file says of the rows that it was made of.
_BYTES, _DIGEST = b"highwater.bytes", b"highwater.blake2b"


class ParquetError(RuntimeError):
    """Parquet cannot be written; the message says why."""


class Written(NamedTuple):
    """A Parquet file of an output.

    Attributes:
        rows: number of its rows.
        new: whether it was written now; False where the output has not changed since.
    """

    path: Path
    rows: int
    new: bool


def parquet_outputs(folder: Path, to: Path) -> Iterator[Written]:
    """Write each output as ``<output>.parquet``: its committed rows, which no resume takes back.

    A file that was made of the same rows stays as it is. An output without a file gets none.

    Args:
        folder: folder of the outputs; a run may be writing them.
        to: folder of the Parquet files.

    Raises:
        ParquetError: pyarrow is missing, there are no outputs, another process writes into the folder, or a
            row has another form.
        OutputGoneError: files of an output were moved away, or cut.
        RowError: a line is no row.
    """
    found = [output for output in OUTPUTS if files_of(folder / f"{output}.jsonl")]
    if not found:
        msg = f"{folder} holds no outputs of a run; `highwater run fleet.toml` writes them"
        raise ParquetError(msg)
    to.mkdir(parents=True, exist_ok=True)
    msg = f"another process writes Parquet into {to}; wait for its end"
    with locked_alone(to, ParquetError(msg)):
        for output in found:
            path, committed = to / f"{output}.parquet", _CommittedLines(folder / f"{output}.jsonl")
            if _made_of(path, output, committed):
                yield Written(path, _parquet().read_metadata(path).num_rows, new=False)
            else:
                rows = rows_of(committed, folder / f"{output}.jsonl", output)
                yield Written(path, write_parquet(path, output, rows, committed.described), new=True)


def write_parquet(
    path: Path,
    output: str,
    rows: Iterable[Mapping[str, Any]],
    about: Callable[[], Mapping[bytes, bytes]] = dict,
) -> int:
    """Write rows of an output into a Parquet file, in row groups; return their number.

    The file is whole or absent: until it is on the disk it has another name, ``<name>.part``.

    Args:
        path: of the file; its folder exists.
        output: name of the output, which gives the type of each field; others are left out.
        rows: its rows, decoded.
        about: metadata of the file, asked after the last row.

    Raises:
        ParquetError: pyarrow is missing, or a row has another form.
    """
    parquet, schema = _parquet(), _schema(output)
    part, count = path.with_name(f"{path.name}.part"), 0
    try:
        with part.open("wb") as file:
            with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
                for group in _groups(rows):
                    writer.write_table(_table(output, schema, group))
                    count += len(group)
                writer.add_key_value_metadata(dict(about()))
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    part.replace(path)
    sync_folder(path.parent)
    return count


class _CommittedLines:
    """The committed lines of an output, and the digest of those that were read last."""

    def __init__(self, output: Path) -> None:
        self._output = output
        #: Bytes that are final; None for an output of a program that does not say, whose whole lines are.
        self._end = committed_length(output)
        self._described: dict[bytes, bytes] = {}

    def described(self) -> dict[bytes, bytes]:
        """Return length and digest of the lines, once they were read."""
        return self._described

    def __iter__(self) -> Iterator[bytes]:
        digest, place = blake2b(digest_size=16), 0
        for line in lines_of(self._output):
            if self._end is not None and place + len(line) > self._end:
                break
            if not line.endswith(b"\n"):
                continue
            place += len(line)
            digest.update(line)
            yield line
        self._described = {_BYTES: b"%d" % place, _DIGEST: digest.hexdigest().encode()}


def _made_of(path: Path, output: str, committed: _CommittedLines) -> bool:
    """Whether a file holds exactly the committed rows, with the types of this release."""
    import pyarrow as pa  # noqa: PLC0415 - optional

    try:
        found = _parquet().read_metadata(path)
    except (FileNotFoundError, pa.ArrowInvalid):
        return False
    if not found.schema.to_arrow_schema().equals(_schema(output)):
        return False
    for _ in committed:
        pass
    described = committed.described()
    return {name: (found.metadata or {}).get(name) for name in described} == described


def _parquet() -> Any:  # noqa: ANN401 - a module
    if importlib.util.find_spec("pyarrow") is None:
        msg = "Parquet needs pyarrow: pip install 'highwater-ml[parquet]'"
        raise ParquetError(msg)
    import pyarrow.parquet  # noqa: PLC0415 - optional

    return pyarrow.parquet


def _groups(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Yield the rows of one row group after the other."""
    group: list[Mapping[str, Any]] = []
    values = 0
    for row in rows:
        group.append(row)
        values += sum(len(value) if isinstance(value, dict | list) else 1 for value in row.values())
        if values >= _GROUP:
            yield group
            group, values = [], 0
    if group:
        yield group


def _schema(output: str) -> pa.Schema:
    import pyarrow as pa  # noqa: PLC0415 - optional

    return pa.schema([(name, _arrow(field.type)) for name, field in fields_of_output(output).items()])


def _table(output: str, schema: pa.Schema, rows: list[Mapping[str, Any]]) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415 - optional

    columns = []
    for place, (name, field) in enumerate(fields_of_output(output).items()):
        try:
            convert = _converter(field.type)
            values = [_made(convert, row.get(name)) for row in rows]
            columns.append(pa.array(values, schema.types[place]))
        except (ValueError, TypeError, AttributeError) as error:
            msg = f"{output}: {name} has another form than in docs/outputs.md: {error}"
            raise ParquetError(msg) from None
    return pa.table(columns, schema)


def _arrow(kind: Any) -> pa.DataType:  # noqa: ANN401 - any annotation
    """Arrow type of a field."""
    import pyarrow as pa  # noqa: PLC0415 - optional

    fields = object_fields(kind)
    if fields is not None:
        return pa.struct([(name, _arrow(each)) for name, each in fields.items()])
    if get_origin(kind) is dict:
        return pa.map_(pa.string(), _arrow(named_type(kind)))
    if get_origin(kind) is list:
        return pa.list_(_arrow(named_type(kind)))
    simple = {datetime: pa.timestamp("us", "UTC"), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    return simple.get(kind, pa.string())


def _converter(kind: Any) -> Callable[[Any], Any] | None:  # noqa: ANN401 - any annotation
    """Function that makes a value of a field one that pyarrow takes; None where it is one already."""
    if kind is datetime:
        return datetime.fromisoformat
    if kind is Any:
        return lambda value: orjson.dumps(value).decode()
    fields = object_fields(kind)
    if fields is not None:
        inner = {name: _converter(each) for name, each in fields.items()}
        return lambda value: {name: _made(to, value.get(name)) for name, to in inner.items()}
    if get_origin(kind) not in {dict, list}:
        return None
    of = _converter(named_type(kind))
    if get_origin(kind) is dict:
        return lambda value: list(
            (value if of is None else {n: _made(of, v) for n, v in value.items()}).items()
        )
    return None if of is None else lambda value: [_made(of, each) for each in value]


def _made(convert: Callable[[Any], Any] | None, value: Any) -> Any:  # noqa: ANN401 - of any field
    return value if value is None or convert is None else convert(value)
