"""The reference of the outputs is made of their types, and the types are those of real rows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, get_args, get_type_hints

import msgspec
import orjson
import pytest
from msgspec import UnsetType

from dataflows.evaluation import reading
from dataflows.outputs import ROWS, About, Evaluation, Prediction, ServedExample
from dataflows.tools.outputs import kind_of, reference, sample_rows

if TYPE_CHECKING:
    from dataflows.outputs import OutputRow

ROOT = Path(__file__).resolve().parents[2]


def with_fields_only(page: str) -> str:
    """The page, with the names of fields in place of each row: another machine may round otherwise."""
    return re.sub(r"```json\n(.*?)\n```", lambda found: str([*orjson.loads(found[1])]), page)


def test_the_reference_of_outputs_is_up_to_date() -> None:
    """docs/outputs.md is what the types say, and what a run writes."""
    written = (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8")
    assert with_fields_only(written) == with_fields_only(reference()), (
        "run python -m dataflows.tools.outputs > docs/outputs.md"
    )


def test_there_is_a_real_row_of_every_kind() -> None:
    """Each is read back as its type, to the same byte."""
    samples = sample_rows()
    assert samples.keys() == {*ROWS}
    for kind, row in samples.items():
        assert kind_of(kind.output, orjson.loads(row)) is kind


@pytest.mark.parametrize("kind", ROWS, ids=lambda kind: kind.__name__)
def test_a_field_says_when_it_is_null_or_absent(kind: type[OutputRow]) -> None:
    """A field whose type allows it, and no other."""
    hints = get_type_hints(kind, include_extras=True)
    for field in msgspec.structs.fields(kind):
        hint = hints[field.name]
        about = next((mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, About)), None)
        if about is None:
            assert field.name in {"kind", "change"}
            continue
        assert about.meaning
        options = get_args(get_type_hints(kind)[field.name]) or (get_type_hints(kind)[field.name],)
        assert (type(None) in options) == bool(about.null), field.name
        assert (UnsetType in options) == bool(about.absent), field.name


def test_a_row_with_another_form_has_no_type() -> None:
    """A field too many, one too few, one out of its place, or a value of another type is found."""
    row = orjson.loads(sample_rows()[Prediction])
    (first, second, *rest) = row
    for wrong in (
        {**row, "more": 1},
        {name: value for name, value in row.items() if name != "link"},
        {second: row[second], first: row[first], **{name: row[name] for name in rest}},
        {**row, "score": "0.5"},
        {**row, "score": None},
    ):
        with pytest.raises(ValueError, match="no type of predictions"):
            kind_of("predictions", wrong)


@pytest.mark.parametrize(
    ("reader", "kind"),
    [
        (reading.EvaluationRow, Evaluation),
        (reading.PredictionRow, Prediction),
        (reading.ExampleRow, ServedExample),
    ],
    ids=lambda kind: kind.__name__,
)
def test_readers_ask_for_fields_that_rows_have(reader: type[msgspec.Struct], kind: type[OutputRow]) -> None:
    """A reader of outputs decodes some of the fields, under their names."""
    names = {field.encode_name for field in msgspec.structs.fields(kind)}
    assert {field.encode_name for field in msgspec.structs.fields(reader)} <= names
