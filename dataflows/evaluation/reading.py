"""Reads the outputs of a run: their rows as types, whether files rotate or not, and evaluations as arrays."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import msgspec
import numpy as np
import orjson

from dataflows.connectors.file_sink import files_of, lines_of, tail_of
from dataflows.instants import HOUR, parse_instant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "ALERTS",
    "EVALUATIONS",
    "EXAMPLES",
    "PREDICTIONS",
    "PUBLISHED",
    "SERVED",
    "AlertRow",
    "EvaluationRow",
    "Evaluations",
    "ExampleRow",
    "Output",
    "PredictionRow",
    "RowError",
    "ServedRow",
    "instants",
    "labelled",
    "load_evaluations",
    "read_summary",
    "rows_as",
    "rows_of",
    "whole_rows",
]

#: The name under which the scores of whichever model was champion at the time are reported.
PUBLISHED = "(champion)"

_LABELS = {"positive": 1, "negative": 0, "censored": -1, "undecided": -2}


class RowError(ValueError):
    """An output has no rows, or a line that is no row of it."""


class EvaluationRow(msgspec.Struct, frozen=True):
    """One label of one example, with the scores that were served.

    Attributes:
        id: of the prediction.
        time: of the example, RFC 3339.
        label: as it is known with this row.
        matured: label clock at which the label was decided, RFC 3339.
        known: when the label was known, RFC 3339.
        lead: hours until the failure; None where there is none.
        champion: model whose score was published.
        scores: by model; None where a model gave none.
        correction: 0 for the first label of an id.
        example: id of the row of the examples with its features; None where none were written.
    """

    id: str
    asset: str
    target: str
    time: str
    label: Literal["positive", "negative", "censored", "undecided"]
    matured: str
    known: str
    lead: float | None
    champion: str
    scores: dict[str, float | None]
    correction: int
    learned: bool = False
    example: str | None = None

    def __post_init__(self) -> None:
        for text in (self.time, self.matured, self.known):
            parse_instant(text)

    @property
    def instant(self) -> int:
        """Time of the example, microseconds since 1970."""
        return parse_instant(self.time)

    @property
    def settled(self) -> int:
        """When the label was both decided and known, microseconds since 1970."""
        return max(parse_instant(self.matured), parse_instant(self.known))

    @property
    def failure(self) -> int | None:
        """Time of the failure, microseconds since 1970; None where the label is not positive."""
        if self.label != "positive" or self.lead is None:
            return None
        return self.instant + round(self.lead * HOUR)


class _FeaturesRow(EvaluationRow, frozen=True):
    """An evaluation of a release that wrote the feature vector into it."""

    features: dict[str, float | None] | None = None


class ExampleRow(msgspec.Struct, frozen=True):
    """The feature vector of an example, as served; ``id`` is ``example`` of its evaluations."""

    id: str
    features: dict[str, float | None]


class PredictionRow(msgspec.Struct, frozen=True):
    """One published score.

    Attributes:
        time: of the telemetry, RFC 3339.
        link: how the champion answered; ``prior`` where it had no opinion of its own.
        revision: 0 for the first score of a time.
    """

    asset: str
    target: str
    time: str
    score: float
    link: str
    revision: int

    def __post_init__(self) -> None:
        parse_instant(self.time)

    @property
    def instant(self) -> int:
        """Time of the telemetry, microseconds since 1970."""
        return parse_instant(self.time)


class AlertRow(msgspec.Struct, frozen=True):
    """One change of an alert.

    Attributes:
        id: of the alert.
        state: what it is now, such as ``opened``.
        why: of the change; None where the state says it.
        opened: when the alert opened, RFC 3339.
        time: of the change, RFC 3339.
    """

    id: str
    asset: str
    target: str
    state: str
    why: str | None
    opened: str
    time: str
    score: float | None
    threshold: float | None

    def __post_init__(self) -> None:
        for text in (self.opened, self.time):
            parse_instant(text)

    @property
    def instant(self) -> int:
        """Time of the change, microseconds since 1970."""
        return parse_instant(self.time)


class ServedRow(msgspec.Struct, frozen=True, rename={"asset_class": "class"}):
    """A feature vector as it was served: of a prediction, of an example, or in older releases an evaluation.

    Attributes:
        target: of a prediction or an evaluation.
        asset_class: of an example, which is served to all targets of the class.
        time: of the telemetry, RFC 3339.
        sequence: of the record that the row followed.
        features: by name, None where a value is missing; None where the output holds no features.
        revision: of a prediction.
        correction: of an evaluation; the vector is that of its first row.
    """

    asset: str
    time: str
    sequence: int
    target: str | None = None
    asset_class: str | None = None
    features: dict[str, float | None] | None = None
    revision: int = 0
    correction: int = 0

    def __post_init__(self) -> None:
        parse_instant(self.time)

    @property
    def instant(self) -> int:
        """Time of the telemetry, microseconds since 1970."""
        return parse_instant(self.time)


_Row = TypeVar("_Row", EvaluationRow, ExampleRow, PredictionRow, AlertRow, ServedRow)


class Output(Generic[_Row]):
    """Reader of one output; fields of a row that its type does not name are skipped.

    Args:
        name: of the output.
        row: type of its rows.
    """

    def __init__(self, name: str, row: type[_Row]) -> None:
        self._name = name
        self._decode: Callable[[bytes], _Row] = msgspec.json.Decoder(row).decode

    def rows(self, path: Path) -> Iterator[_Row]:
        """Rows in the order of the file, or of the files that rotation made.

        A last line without its end is left out unless it is a whole row: a run may still be writing it.

        Args:
            path: ``<output>.jsonl``.

        Raises:
            RowError: a line is no row of this output; names file and line.
            FileNotFoundError: there is no such output.
            OutputGoneError: one of its files was moved away, or cut.
        """
        for number, line in enumerate(lines_of(path), start=1):
            try:
                row = self._decode(line)
            except (ValueError, msgspec.MsgspecError) as error:
                if not line.endswith(b"\n"):
                    continue
                raise _no_row(path, number, self._name, error) from None
            yield row

    def latest(self, path: Path, most: int) -> list[_Row]:
        """The last whole rows, of at most so many bytes; none where there is no such output.

        Raises:
            RowError: a line is no row of this output; names the file.
        """
        try:
            return [self._decode(line) for line in (tail_of(path, most) if files_of(path) else ())]
        except (ValueError, msgspec.MsgspecError) as error:
            msg = f"{path}: expected rows of the {self._name}, got {error}"
            raise RowError(msg) from None


def whole_rows(folder: Path, output: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of an output, decoded; none where it has no file.

    A last line without its end is left out: a run may still be writing it.

    Args:
        folder: folder of the outputs.
        output: name of the output.

    Raises:
        RowError: a line is no row; names file and line.
        OutputGoneError: one of its files was moved away, or cut.
    """
    path = folder / f"{output}.jsonl"
    yield from rows_of(lines_of(path) if files_of(path) else (), path, output)


def rows_of(lines: Iterable[bytes], path: Path, output: str) -> Iterator[dict[str, Any]]:
    """Decode the lines of an output; a last one without its end is left out.

    Raises:
        RowError: a line is no row; names file and line.
    """
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise _no_row(path, number, output, error) from None
        if not isinstance(row, dict):
            raise _no_row(path, number, output, f"JSON that is {line[:40]!r}")
        yield row


def _no_row(path: Path, number: int, output: str, found: object) -> RowError:
    return RowError(
        f"{path}, line {number}: expected a row of the {output}, got {found}. "
        "Restore the file from a copy, or run again with --fresh"
    )


def read_summary(folder: Path) -> dict[str, Any] | None:
    """Read ``summary.json`` of a folder of outputs; None where no run has ended.

    Raises:
        RowError: it is not what a run wrote.
    """
    path = folder / "summary.json"
    if not path.exists():
        return None
    try:
        summary = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError:
        summary = None
    if not isinstance(summary, dict):
        msg = f"{path}: expected the summary of a run; delete the file, the next run writes it again"
        raise RowError(msg)
    return summary


_Struct = TypeVar("_Struct", bound=msgspec.Struct)


def rows_as(folder: Path, output: str, row: type[_Struct]) -> Iterator[_Struct]:
    """Yield the rows of an output as a type with the fields that a caller needs; none where it has no file.

    A last line without its end is left out: a run may still be writing it.

    Args:
        folder: folder of the outputs.
        output: name of the output.
        row: type of the rows; fields that it does not name are skipped.

    Raises:
        RowError: a line is no row of this output; names file and line.
    """
    path = folder / f"{output}.jsonl"
    decode = msgspec.json.Decoder(row).decode
    for number, line in enumerate(lines_of(path) if files_of(path) else (), start=1):
        if not line.endswith(b"\n"):
            continue
        try:
            yield decode(line)
        except (ValueError, msgspec.MsgspecError) as error:
            raise _no_row(path, number, output, error) from None


def instants(texts: Sequence[str]) -> NDArray[np.int64]:
    """Microseconds since 1970 of many times in the form of the outputs.

    Raises:
        ValueError: one of them is not in that form.

    >>> instants(["1970-01-01T00:00:01.500000Z"]).tolist()
    [1500000]
    """
    if not all(text.endswith("Z") for text in texts):
        return np.array([parse_instant(text) for text in texts], dtype=np.int64)
    return np.array([text[:-1] for text in texts], dtype="datetime64[us]").astype(np.int64)


EVALUATIONS = Output("evaluations", EvaluationRow)
PREDICTIONS = Output("predictions", PredictionRow)
ALERTS = Output("alerts", AlertRow)
EXAMPLES = Output("examples", ExampleRow)
#: Predictions, examples or evaluations, whichever a run wrote with features.
SERVED = Output("predictions or examples", ServedRow)
_WITH_FEATURES = Output("evaluations", _FeaturesRow)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Evaluations:
    """Evaluation rows as arrays, one element a row, in the order of the file.

    Attributes:
        ids: of the predictions.
        assets: names.
        targets: names.
        times: of the examples, microseconds since 1970.
        settled: when the label was both decided (label clock) and known (knowledge time), microseconds.
        corrections: 0 for the first label of an id.
        labels: 1 positive, 0 negative, -1 censored, -2 undecided again.
        learned: whether the label led to learning.
        champions: names.
        models: names of the columns of ``scores``.
        scores: as served, (rows, models); NaN where a model gave none.
        feature_names: names of the columns of ``features``; empty unless they were asked for.
        features: as served, (rows, features); NaN where missing.
    """

    ids: NDArray[np.str_]
    assets: NDArray[np.str_]
    targets: NDArray[np.str_]
    times: NDArray[np.int64]
    settled: NDArray[np.int64]
    corrections: NDArray[np.int64]
    labels: NDArray[np.int64]
    learned: NDArray[np.bool_]
    champions: NDArray[np.str_]
    models: tuple[str, ...]
    scores: NDArray[np.float64]
    feature_names: tuple[str, ...]
    features: NDArray[np.float64]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.ids)

    def where(self, rows: NDArray[Any]) -> Evaluations:
        """Only these rows (a mask or indices)."""
        changes = {
            field.name: getattr(self, field.name)[rows]
            for field in dataclasses.fields(self)
            if field.name not in {"models", "feature_names"}
        }
        return dataclasses.replace(self, **changes)

    def by_model(self) -> dict[str, NDArray[np.float64]]:
        """Scores of each model, and first those that were published, whichever model's they were."""
        columns = {name: self.scores[:, i] for i, name in enumerate(self.models)}
        published = np.full(len(self), np.nan)
        for name, scores in columns.items():
            published = np.where(self.champions == name, scores, published)
        return {PUBLISHED: published, **columns}


def load_evaluations(path: Path, *, features: bool = False) -> Evaluations:
    """Read evaluations into arrays.

    Args:
        path: ``evaluations.jsonl``.
        features: read the feature vectors too, from ``examples.jsonl`` beside it.

    Raises:
        RowError: there are no rows, a line is no row of its output, or an example has no row; names which.
        FileNotFoundError: there is no such output.
        OutputGoneError: one of its files was moved away, or cut.
    """
    rows = list((_WITH_FEATURES if features else EVALUATIONS).rows(path))
    if not rows:
        msg = f"{path} holds no rows of the evaluations"
        raise RowError(msg)
    models, scores = _matrix([row.scores for row in rows])
    vectors = _vectors(path, rows) if features else [{} for _ in rows]
    feature_names, values = _matrix(vectors)
    return Evaluations(
        ids=np.array([row.id for row in rows]),
        assets=np.array([row.asset for row in rows]),
        targets=np.array([row.target for row in rows]),
        times=np.array([row.instant for row in rows], dtype=np.int64),
        settled=np.array([row.settled for row in rows], dtype=np.int64),
        corrections=np.array([row.correction for row in rows], dtype=np.int64),
        labels=np.array([_LABELS[row.label] for row in rows], dtype=np.int64),
        learned=np.array([row.learned for row in rows], dtype=bool),
        champions=np.array([row.champion for row in rows]),
        models=models,
        scores=scores,
        feature_names=feature_names,
        features=values,
    )


def _vectors(path: Path, rows: Sequence[EvaluationRow]) -> list[Mapping[str, float | None]]:
    """Feature vector of each evaluation; empty where none was written."""
    source = path.with_name("examples.jsonl")
    found: dict[str | None, Mapping[str, float | None]] = {None: {}}
    wanted = {row.example for row in rows} - {None}
    if wanted:
        found |= {row.id: row.features for row in EXAMPLES.rows(source) if row.id in wanted}
    for row in rows:
        if row.example not in found:
            msg = f"{source} has no row {row.example}, which is the example of evaluation {row.id}"
            raise RowError(msg)
    inside = (row.features if isinstance(row, _FeaturesRow) else None for row in rows)
    return [found[row.example] if own is None else own for row, own in zip(rows, inside, strict=True)]


def _matrix(rows: Sequence[Mapping[str, float | None]]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    columns: dict[str, int] = {}
    for row in rows:
        if row.keys() - columns.keys():
            for name in row:
                columns.setdefault(name, len(columns))
    names = tuple(columns)
    # float64 turns None into NaN.
    return names, np.array([[row.get(name) for name in names] for row in rows], dtype=np.float64)


def labelled(evaluations: Evaluations, labels: Literal["first", "final"]) -> Evaluations:
    """One row an example: its first label, or the one that the last correction left. Censored rows stay.

    Raises:
        ValueError: two rows have the same id and correction.
    """
    order = np.lexsort((evaluations.corrections, evaluations.ids))
    ids, corrections = evaluations.ids[order], evaluations.corrections[order]
    same = ids[1:] == ids[:-1]
    twice = same & (corrections[1:] == corrections[:-1])
    if twice.any():
        i = int(np.argmax(twice))
        msg = f"id {ids[i]} has two rows with correction {corrections[i]}; expected one"
        raise ValueError(msg)
    kept = np.append(~same, True)[: len(ids)] if labels == "final" else corrections == 0
    return evaluations.where(np.sort(order[kept]))
