"""Outputs as a data frame reads them: one type a field, and one form of time."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from dataflows.fleet import load
from dataflows.outputs import OUTPUTS
from dataflows.pipeline import run_inline
from dataflows.tools.outputs import kind_of
from tests.chaos.harness import FLEET, prepare, recording

if TYPE_CHECKING:
    from collections.abc import Iterator

TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z")
#: What looks like a time in any form, so that none of another form passes unseen.
LIKE_A_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}")
ALERTS = FLEET.replace(
    'champion = "linear"\n', 'champion = "linear"\nalert = { open = 0.2, clear = 0.1, dwell = "1h" }\n'
)
#: Texts of a record as it came, and what is said for a person.
FREE = {"raw", "detail", "why", "source"}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Rows of every output of a small messy fleet, with alerts, lateness skew and changes."""
    fleet = prepare(tmp_path_factory.mktemp("forms"), recording(days=8), ALERTS)
    found = run_inline(load(fleet, environ={}), (fleet.parent / "events.jsonl").read_bytes().splitlines())
    assert all(found[output] for output in OUTPUTS), {output: len(found[output]) for output in OUTPUTS}
    assert {row["kind"] for row in found["metrics"]} == {"model", "lane", "skew", "learned"}
    return found


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Every value of a row with its path, also of what lies in objects and arrays."""
    yield path, value
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, f"{path}[]")


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_field_has_one_type(output: str, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Over all rows of an output, a field is null or of one type, however deep it lies."""
    types: dict[str, set[str]] = defaultdict(set)
    for row in rows[output]:
        for path, value in leaves(row):
            if value is not None:
                types[path].add(type(value).__name__)
    assert {path: found for path, found in types.items() if len(found) > 1} == {}


@pytest.mark.parametrize("output", OUTPUTS)
def test_every_row_has_the_form_of_a_type(output: str, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Its fields in order, null and absent only where docs/outputs.md says so."""
    assert all(kind_of(output, row).output == output for row in rows[output])


@pytest.mark.parametrize("output", OUTPUTS)
def test_times_have_one_form(output: str, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Every time of every row is in UTC, with six digits and Z, also where it falls on a whole second."""
    times = 0
    for row in rows[output]:
        for path, value in leaves(row):
            field = path.rsplit(".", 1)[-1]
            if field in FREE or not isinstance(value, str) or not LIKE_A_TIME.match(value):
                continue
            times += 1
            assert TIME.fullmatch(value), f"{path}: {value}"
    assert times


def test_rows_of_metrics_say_their_kind(rows: dict[str, list[dict[str, Any]]]) -> None:
    """Rows of models, of the lane and of lateness skew are told apart by one field, the first of each."""
    for row in rows["metrics"]:
        assert next(iter(row)) == "kind"
        assert (row["kind"] == "model") == ("model" in row)
        assert (row["kind"] == "lane") == ("lane" in row)


def test_the_features_of_an_example_are_written_once_for_all_targets(
    rows: dict[str, list[dict[str, Any]]],
) -> None:
    """Each evaluation of each target names the one row of its asset and time, with the features as served."""
    examples = {row["id"]: row for row in rows["examples"]}
    assert len(examples) == len(rows["examples"])
    assert len({(row["asset"], row["time"]) for row in rows["examples"]}) == len(examples)
    evaluated = {row["example"] for row in rows["evaluations"]}
    assert len({row["target"] for row in rows["evaluations"]}) == 2
    assert len(rows["evaluations"]) > 1.5 * len(evaluated)
    assert evaluated <= examples.keys()
    for row in rows["evaluations"]:
        example = examples[row["example"]]
        assert (row["asset"], row["time"]) == (example["asset"], example["time"])
        assert row["target"].startswith(f"{example['class']}/")
    served = {(row["asset"], row["time"]): row for row in rows["predictions"] if not row["revision"]}
    for row in rows["examples"]:
        prediction = served[row["asset"], row["time"]]
        for field in ("features", "sequence", "arrival", "watermark"):
            assert row[field] == prediction[field]
