"""Outputs of a run as data frames: pandas, polars or Arrow, times typed in UTC.

A frame has a column a field. A field that is a table (`scores`, `features`) becomes a column for each of its
names, such as ``scores.linear``. Lists stay as they are. A frame of an output without rows has a column for
each field that every row has, other than tables by name.
"""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_origin

import narwhals as nw

from dataflows.connectors.file_sink import files_of
from dataflows.evaluation.alert_lives import Labels, alert_lives
from dataflows.evaluation.columns import Field, fields_of_output, named_type, object_fields
from dataflows.evaluation.reading import whole_rows
from dataflows.instants import format_instant, parse_instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

__all__ = ["Backend", "FrameError", "Outputs", "frame"]

#: Library that makes the frames; None takes the first that is installed: pandas, polars, pyarrow.
Backend: TypeAlias = Literal["pandas", "polars", "pyarrow"]
_BACKENDS: tuple[Backend, ...] = ("pandas", "polars", "pyarrow")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: Fields that are times, in every output.
_TIMES = frozenset(
    {"time", "arrival", "watermark", "known", "matured", "opened", "cleared", "from", "to", "due"}
)


_SIMPLE: Mapping[Any, Any] = {
    datetime: nw.Datetime("us", "UTC"),
    str: nw.String(),
    int: nw.Int64(),
    float: nw.Float64(),
    bool: nw.Boolean(),
}
#: Columns of `Outputs.alerts`.
_ALERTS: Mapping[str, Field] = {
    "id": Field(str, always=True),
    "asset": Field(str, always=True),
    "target": Field(str, always=True),
    "opened": Field(datetime, always=True),
    "cleared": Field(datetime, always=True),
    "why": Field(str, always=True),
    "score": Field(float, always=True),
    "lead": Field(float, always=True),
    "outcome": Field(str, always=True),
}


class FrameError(RuntimeError):
    """No library for data frames is installed, or the folder holds no outputs."""


def frame(
    rows: Iterable[Mapping[str, Any]],
    backend: Backend | None = None,
    fields: Mapping[str, Field] | None = None,
) -> Any:  # noqa: ANN401 - of any library
    """Return rows as a data frame; rows may have different fields.

    Args:
        rows: rows of an output, decoded.
        backend: library of the frame; None takes the first that is installed: pandas, polars, pyarrow.
        fields: types of the fields, where they are known; they give an empty frame, and a column without
            values, its type.

    Raises:
        FrameError: none of them is installed.
    """
    library = backend or next((name for name in _BACKENDS if importlib.util.find_spec(name)), None)
    if library is None:
        msg = "data frames need pandas, polars or pyarrow; install one of them"
        raise FrameError(msg)
    flat = [dict(_flat(row)) for row in rows]
    declared = dict(_declared(fields or {}))
    if not flat:
        empty = {name: _empty_type(field.type, library) for name, field in declared.items() if field.always}
        return nw.from_dict({name: [] for name in empty}, empty, backend=library).to_native()
    names = dict.fromkeys(name for row in flat for name in row)
    columns = {name: [row.get(name) for row in flat] for name in names}
    schema: dict[str, Any] = {}
    for name, values in columns.items():
        kind = _type_of(name, values, declared[name].type if name in declared else None)
        if kind is nw.Float64:
            columns[name] = [None if value is None else float(value) for value in values]
        elif isinstance(kind, nw.Datetime):
            columns[name] = [None if value is None else _datetime(value) for value in values]
        if kind is not None:
            schema[name] = kind
    return nw.from_dict(columns, schema if len(schema) == len(columns) else None, backend=library).to_native()


def _declared(fields: Mapping[str, Field], before: str = "") -> Iterator[tuple[str, Field]]:
    """Yield the columns whose names are known: all but those of tables by name."""
    for name, field in fields.items():
        inner = object_fields(field.type)
        if inner is not None:
            nested = {each: Field(kind, field.always) for each, kind in inner.items()}
            yield from _declared(nested, f"{before}{name}.")
        elif get_origin(field.type) is not dict and field.type is not Any:
            yield before + name, field


def _empty_type(kind: Any, library: Backend) -> Any:  # noqa: ANN401 - a type of narwhals
    """Type of a column without rows."""
    if get_origin(kind) is list:
        # pandas holds lists as objects.
        inner = _SIMPLE.get(named_type(kind), nw.String())
        return nw.Object() if library == "pandas" else nw.List(inner)
    return _SIMPLE[kind]


def _datetime(text: str) -> datetime:
    return _EPOCH + parse_instant(text) * _MICROSECOND


def _type_of(name: str, values: list[Any], declared: Any) -> Any:  # noqa: ANN401 - a type of narwhals
    """Type of a column; None where its values are lists."""
    kinds = {type(value) for value in values if value is not None}
    if (declared is datetime or name.rpartition(".")[2] in _TIMES) and kinds <= {str}:
        return nw.Datetime("us", "UTC")
    if kinds == {bool}:
        return nw.Boolean
    if kinds == {int}:
        # Without nulls: pandas has none among whole numbers.
        return nw.Float64 if None in values else nw.Int64
    if kinds and kinds <= {int, float}:
        return nw.Float64
    if not kinds and declared in {int, float}:
        return nw.Float64
    return nw.String if kinds <= {str} else None


def _flat(row: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value


class Outputs:
    """The outputs of a run, as data frames.

    Args:
        folder: folder of the outputs.
        backend: as of `frame`.

    Raises:
        FrameError: the folder holds no outputs.
    """

    def __init__(self, folder: Path, backend: Backend | None = None) -> None:
        if not (files_of(folder / "predictions.jsonl") or (folder / "summary.json").exists()):
            msg = f"{folder} holds no outputs of a run; `highwater run fleet.toml` writes them"
            raise FrameError(msg)
        self._folder = folder
        self._backend = backend

    def rows(self, output: str) -> list[dict[str, Any]]:
        """Return the rows of an output, decoded; none where it has no file."""
        return list(whole_rows(self._folder, output))

    def predictions(self) -> Any:  # noqa: ANN401 - of any library
        """Return a row a published score."""
        return self._frame("predictions")

    def evaluations(self) -> Any:  # noqa: ANN401
        """Return a row a label of an example: `scores.MODEL` as served, `label`, `lead` in hours."""
        return self._frame("evaluations")

    def examples(self) -> Any:  # noqa: ANN401
        """Return a row an example: `features.NAME` as served; its `id` is `example` of the evaluations."""
        return self._frame("examples")

    def metrics(self, kind: str = "model") -> Any:  # noqa: ANN401
        """Return a row a period (and model) of the metrics of one kind: model, skew, lane, ..."""
        rows = (row for row in self.rows("metrics") if row.get("kind", "lane") == kind)
        return frame(rows, self._backend, fields_of_output("metrics", kind))

    def changes(self) -> Any:  # noqa: ANN401
        """Return a row a change: of a model, of an asset, of a clock."""
        return self._frame("changes")

    def alerts(self) -> Any:  # noqa: ANN401
        """Return one row an alert, with what came of it.

        Columns: `id`, `asset`, `target`, `opened`, `cleared` (null while open), `why` it cleared, `score`
        (the highest), `outcome` (``failure`` within the horizon or while it was open, ``none``, or
        ``unknown`` yet) and `lead`, hours from the opening to the failure.
        """
        labels = Labels()
        for row in self.rows("evaluations"):
            time, matured = parse_instant(row["time"]), parse_instant(row["matured"])
            lead = row["lead"] if row["label"] == "positive" else None
            labels.add(row["asset"], row["target"], time, matured, lead)
        lives = alert_lives(self.rows("alerts"), labels)
        rows = [
            {
                "id": life.id,
                "asset": life.asset,
                "target": life.target,
                "opened": format_instant(life.opened),
                "cleared": None if life.cleared is None else format_instant(life.cleared),
                "why": life.why,
                "score": life.score,
                "lead": life.lead,
                "outcome": life.outcome,
            }
            for life in lives
        ]
        return frame(rows, self._backend, _ALERTS)

    def _frame(self, output: str) -> Any:  # noqa: ANN401
        return frame(whole_rows(self._folder, output), self._backend, fields_of_output(output))
