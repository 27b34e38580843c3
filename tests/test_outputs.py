"""Types of rows: what they hold, and the bytes that they become."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from dataflows.outputs import (
    IDENTIFIED,
    OUTPUTS,
    ROWS,
    AssetDropped,
    DriftAlarm,
    DriftMetrics,
    Evaluation,
    ModelLineage,
    OutputRow,
    Prediction,
    encode,
    fields_of,
    identity,
    named,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.floats()


def prediction(**more: Any) -> Prediction:  # noqa: ANN401 - any field
    fields = {
        "id": "a1",
        "asset": "pump-1",
        "target": "pump/leak/12h",
        "time": "2025-01-01T00:00:00.000000Z",
        "score": 0.25,
        "model": "linear",
        "version": 1,
        "link": "class",
        "revision": 0,
        "revises": None,
        "sequence": 7,
        "arrival": None,
        "watermark": None,
    }
    return Prediction(**{**fields, **more})


def test_every_output_has_a_type_and_every_type_an_output() -> None:
    """No row goes to an output that sinks do not know."""
    assert list(dict.fromkeys(row.output for row in ROWS)) == list(OUTPUTS)


def test_rows_with_an_identity_have_an_id() -> None:
    """A topic is read back by the fields from which the identity is made."""
    for row in ROWS:
        if row.output in IDENTIFIED:
            assert "id" in row.__struct_fields__
            assert row.identified
    assert {"predictions", "evaluations"} <= IDENTIFIED
    assert identity("a", 2) == "a/2"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
def test_the_key_of_a_message_is_a_field(row: type[OutputRow]) -> None:
    """A row is keyed by its asset or target, and by nothing where it has neither."""
    names = row.__struct_fields__
    expected = next((name for name in ("asset", "target") if name in names), None)
    assert row.key_field == expected


@given(numbers.filter(lambda x: not abs(x) >= 1e16), texts, st.none() | texts)
def test_a_row_without_wide_numbers_has_one_form(score: float, asset: str, arrival: str | None) -> None:
    """Both encoders write a row to the same byte, where no number reaches 1e16."""
    row = prediction(score=score, asset=asset, arrival=arrival)
    assert encode(row) == orjson.dumps(fields_of(row))


@given(st.dictionaries(texts, numbers | st.none(), max_size=4))
def test_numbers_of_any_size_are_written_as_orjson_does(features: dict[str, float | None]) -> None:
    """A feature of 1e16 and more is written as in rows of former releases."""
    row = prediction(features=features)
    assert encode(row) == orjson.dumps({**fields_of(prediction()), "features": features})


def test_what_a_row_lacks_is_no_field() -> None:
    """A row without features has no field for them, not a null."""
    assert "features" not in orjson.loads(encode(prediction()))
    assert prediction().features is UNSET


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
def test_numbers_without_bound_stand_in_the_field_that_says_so(row: type[OutputRow]) -> None:
    """Only one field of a type holds numbers of any size; all others are scores, counts and hours."""
    wide = {"features", "moved_by", "event"} & set(row.__struct_fields__)
    # Means of features are as large as readings.
    wide |= {DriftAlarm: {"value"}, DriftMetrics: {"series"}}.get(row, set())
    if row is ModelLineage:
        # Names of features, and parameters as configured.
        wide = {"pipeline"}
    assert ({row.unbounded} - {None}) == wide


def test_a_number_that_is_none_is_null() -> None:
    """JSON has no NaN; a missing feature is null."""
    features = named(("mean", "last"), bytes(memoryview(b"\x00" * 6 + b"\xf8\x7f" + b"\x00" * 6 + b"\xf0?")))
    assert encode(prediction(features=features)).endswith(b'"features":{"mean":null,"last":1.0}}')


def test_text_that_is_not_unicode_is_an_error() -> None:
    """No row with half a character is written."""
    with pytest.raises(ValueError, match="surrogates"):
        encode(AssetDropped(asset="\ud800", why="", sequence=1))


def test_rows_are_read_back_as_their_type() -> None:
    """The JSON of a row is that of its type, so that a reader may use it."""
    row = prediction(features={"flow": 1.0})
    assert msgspec.json.decode(encode(row), type=Prediction) == row
    assert Evaluation.__struct_config__.frozen
