"""The JSON Schema of fleet.toml takes every example, and refuses what a person mistypes."""

from __future__ import annotations

import copy
import random
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import tomlkit

from dataflows.fleet.json_schema import json_schema
from tests.processes import ROOT

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

SCHEMA = ROOT / "dataflows" / "fleet" / "fleet.schema.json"
EXAMPLES = sorted((ROOT / "examples").glob("*/fleet.toml"))
#: Tables whose keys are names of the user's own, and lists of estimators with parameters of their own.
OPEN = {"classes", "models", "expressions", "categories", "limits", "pipeline", "where", "names"}
#: Keys that take a number as well as a text.
EITHER = {"refit_every", "refit_lag"}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    """Validator of the program's schema, which is valid itself."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - takes 1.5 s, in the one worker of these tests

    Draft202012Validator.check_schema(json_schema())
    return Draft202012Validator(json_schema())


def _document(path: Path) -> dict[str, Any]:
    """A TOML document as tools hand it on: times as text."""
    found: dict[str, Any] = orjson.loads(orjson.dumps(tomllib.loads(path.read_text(encoding="utf-8"))))
    return found


def _places(value: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:  # noqa: ANN401
    """Places of keys that the schema knows by name."""
    if isinstance(value, list):
        return [place for index, each in enumerate(value) for place in _places(each, (*at, index))]
    if not isinstance(value, dict):
        return []
    named = at and at[-1] in OPEN
    found = [] if named else [(*at, key) for key in value]
    for key, inner in value.items():
        if key not in {"pipeline", "expressions", "categories", "where", "names", "set", "grid"}:
            found += _places(inner, (*at, key))
    return found


def _mutated(document: dict[str, Any], chance: random.Random) -> tuple[dict[str, Any], str]:
    """A document with one key misspelt, or one value of another type."""
    document = copy.deepcopy(document)
    *above, key = chance.choice(_places(document))
    table: Any = document
    for step in above:
        table = table[step]
    value = table.pop(key)
    if chance.random() < 0.5:
        table[f"{key}x"] = value
        return document, f"{[*above, key]} misspelt"
    if key in EITHER:
        table[key] = True
        return document, f"{[*above, key]} = true instead of {value!r}"
    table[key] = 5 if isinstance(value, str) else "five" if isinstance(value, int | float | bool) else 7
    return document, f"{[*above, key]} = {table[key]!r} instead of {value!r}"


def test_the_shipped_schema_is_that_of_the_program() -> None:
    """`python -m dataflows.fleet.json_schema > dataflows/fleet/fleet.schema.json` renews it."""
    assert orjson.loads(SCHEMA.read_bytes()) == json_schema()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_every_example_is_valid_and_names_the_schema(path: Path, validator: Draft202012Validator) -> None:
    """An editor finds the schema from the first line of the file."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert (path.parent / first.removeprefix("#:schema ")).resolve() == SCHEMA
    assert list(validator.iter_errors(_document(path))) == []


@pytest.mark.parametrize("seed", range(50))
def test_what_a_person_mistypes_is_refused(seed: int, validator: Draft202012Validator) -> None:
    """Fifty examples, each with one misspelt key or one value of another type."""
    chance = random.Random(seed)
    path = chance.choice(EXAMPLES)
    document, what = _mutated(_document(path), chance)
    assert list(validator.iter_errors(document)), f"{path}: {what}"


@pytest.mark.ci
def test_the_tools_of_editors_agree(tmp_path: Path) -> None:
    """Both taplo and check-jsonschema take the examples, and refuse each of fifty mistyped ones."""
    wrong = []
    for seed in range(50):
        chance = random.Random(seed)
        document, _ = _mutated(_document(chance.choice(EXAMPLES)), chance)
        wrong.append(tmp_path / f"wrong-{seed:02}.toml")
        wrong[-1].write_text(tomlkit.dumps(document), encoding="utf-8")
    bin_folder = Path(sys.executable).parent
    for command in (
        [str(bin_folder / "check-jsonschema"), "--schemafile", str(SCHEMA)],
        [str(bin_folder / "taplo"), "lint", "--schema", SCHEMA.as_uri()],
    ):
        good, bad = (
            subprocess.run([*command, *map(str, files)], capture_output=True, check=False, text=True)
            for files in (EXAMPLES, wrong)
        )
        assert good.returncode == 0, good.stderr
        assert bad.returncode != 0
        accepted = [path.name for path in wrong if path.name not in bad.stdout + bad.stderr]
        assert accepted == []
