"""Short forms of a catalogue of models: templates, parameters, grids, and files that are included.

`expanded` turns a document into one without short forms, before anything is checked: what a template and a
grid stand for is checked as if it had been written out.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflows.fleet.problems import FleetError, Loc, Problem, dotted, listed, nearest, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["expanded", "families", "grid_of", "included"]

_PARAMETER = re.compile(r"\$([A-Za-z_]\w*)")
#: Keys of a model that are no part of what it expands to.
_SHORT = ("template", "set", "grid")
#: Characters that a name of a model may not have.
_FORBIDDEN = re.compile(r"[\s/:*?\[\]]")
#: Files that include each other are a mistake; so deep is no honest nesting.
_DEEPEST = 8
#: More models of one entry are a mistake.
_MOST = 10_000


@cache
def families() -> dict[str, Any]:
    """Return the templates that every fleet may name."""
    return tomllib.loads((Path(__file__).parent / "families.toml").read_text(encoding="utf-8"))


def included(document: dict[str, Any], path: Path, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Merge the files of ``include`` under a document: its own tables win, later files over earlier ones.

    Args:
        document: of a ``fleet.toml``; without ``include`` it is returned as it is.
        path: its file; relative paths start at its folder.
        read: reads a file.

    Raises:
        FleetError: a file cannot be read, or files include each other.
    """
    return _included(document, path, read, ())


def _included(
    document: dict[str, Any], path: Path, read: Callable[[Path], dict[str, Any]], above: tuple[Path, ...]
) -> dict[str, Any]:
    names = document.get("include")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return document
    if path.resolve() in above or len(above) >= _DEEPEST:
        chain = " includes ".join(str(each) for each in (*above, path))
        raise FleetError(str(path), [Problem("include", "files that do not include each other", chain)])
    merged: dict[str, Any] = {}
    for name in names:
        file = path.parent / name
        merged = _over(merged, _included(read(file), file, read, (*above, path.resolve())))
    return _over(merged, {key: value for key, value in document.items() if key != "include"})


def _over(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge tables; of two lists of tables the second follows the first."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = _over(below, value)
        elif key == "targets" and isinstance(below, list) and isinstance(value, list):
            merged[key] = [*below, *value]
        else:
            merged[key] = value
    return merged


def grid_of(models: Iterable[str], name: str) -> list[str]:
    """Return the models that an entry of the catalogue expanded to, by its name.

    >>> grid_of({"tree-depth=4": {}, "tree-depth=8": {}, "trees": {}}, "tree")
    ['tree-depth=4', 'tree-depth=8']
    """
    return [each for each in models if each.startswith(f"{name}-")]


def expanded(document: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Replace templates and grids of ``models`` by what they stand for.

    Args:
        document: the tables of a ``fleet.toml``; it stays as it is.
        problems: list to which problems are added.
    """
    models = document.get("models")
    if not isinstance(models, dict):
        return dict(document)
    own = document.get("templates")
    templates = {**families(), **(own if isinstance(own, dict) else {})}
    made: dict[str, Any] = {}
    for name, table in models.items():
        if not isinstance(table, dict) or not any(key in table for key in _SHORT):
            made[name] = table
            continue
        made |= dict(_models(name, table, templates, problems))
    return {**document, "models": made}


def _models(
    name: str, table: Mapping[str, Any], templates: Mapping[str, Any], problems: list[Problem]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the table of each model that one entry stands for."""
    at: Loc = ("models", name)
    asked = table.get("template", [])
    several = isinstance(asked, list)
    for template in asked if several and asked else [None if several else asked]:
        base = {} if template is None else templates.get(template) if isinstance(template, str) else None
        if not isinstance(base, dict):
            hint = nearest(template, templates) if isinstance(template, str) else None
            expected = f"a template, {listed([*templates], most=len(templates))}"
            problems.append(Problem(dotted((*at, "template")), expected, shown(template), hint))
            continue
        own = {key: value for key, value in table.items() if key not in _SHORT}
        model = {**{key: value for key, value in base.items() if key != "parameters"}, **own}
        given = {**_table(base, "parameters", at, problems), **_table(table, "set", at, problems)}
        stem = f"{name}-{template}" if several and template is not None else name
        yield from _grid(stem, model, given, table, at, problems)


def _table(table: Mapping[str, Any], key: str, at: Loc, problems: list[Problem]) -> dict[str, Any]:
    found = table.get(key, {})
    if isinstance(found, dict):
        return found
    problems.append(Problem(dotted((*at, key)), "a table", shown(found)))
    return {}


def _grid(
    stem: str,
    model: dict[str, Any],
    given: dict[str, Any],
    table: Mapping[str, Any],
    at: Loc,
    problems: list[Problem],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield one model for each combination of the values of a grid."""
    grid = _table(table, "grid", at, problems)
    wrong = {key: values for key, values in grid.items() if not isinstance(values, list) or not values}
    for key, values in wrong.items():
        problems.append(Problem(dotted((*at, "grid", key)), "a list of values", shown(values)))
    axes = [list(enumerate(values, start=1)) for key, values in grid.items() if key not in wrong]
    keys = [key for key in grid if key not in wrong]
    used = _parameters(model) | _parameters({key: grid[key] for key in keys})
    for key in [*table.get("set", {}), *(key for key in keys if key not in _MODEL_KEYS)]:
        if key not in used:
            place = "set" if key in table.get("set", {}) else "grid"
            expected = f"a parameter that the model names as $..., {listed(sorted(used))}"
            problems.append(
                Problem(dotted((*at, place, key)), expected, "an unknown key", nearest(key, used))
            )
    for number, chosen in enumerate(product(*axes)):
        if number >= _MOST:
            problems.append(Problem(dotted((*at, "grid")), f"at most {_MOST:,} models of one entry", "more"))
            return
        values = {key: value for key, (_, value) in zip(keys, chosen, strict=True)}
        parts = [_part(key, place, value) for key, (place, value) in zip(keys, chosen, strict=True)]
        own = {key: value for key, value in values.items() if key in _MODEL_KEYS}
        parameters = {**given, **{key: value for key, value in values.items() if key not in _MODEL_KEYS}}
        unknown = sorted(_parameters({**model, **own}) - {*parameters})
        if unknown:
            expected = f"a value of ${unknown[0]}, in `set` or `grid`"
            problems.append(Problem(dotted((*at, "set")), expected))
            return
        yield "-".join([stem, *parts]), _filled({**model, **own}, parameters)


#: Keys of a model that a grid may vary beside parameters.
_MODEL_KEYS = ("features", "refit_every", "refit_lag", "keep", "scores")


def _part(key: str, place: int, value: Any) -> str:  # noqa: ANN401 - any TOML value
    """Return the part of a name that tells one value of a grid."""
    text = str(value) if isinstance(value, str | int | float) else str(place)
    return f"{key}={place if _FORBIDDEN.search(text) or '$' in text else text}"


def _parameters(value: Any) -> set[str]:  # noqa: ANN401 - any TOML value
    """Return the names of all parameters in a value."""
    if isinstance(value, str):
        return {*_PARAMETER.findall(value)}
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {name for each in inner for name in _parameters(each)}


def _filled(value: Any, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any TOML value
    """Return a value with its parameters; a text that is one parameter becomes its value, of any type."""
    if isinstance(value, dict):
        return {key: _filled(inner, parameters) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, parameters) for inner in value]
    if not isinstance(value, str):
        return value
    whole = _PARAMETER.fullmatch(value)
    if whole is not None:
        return parameters[whole[1]]
    return _PARAMETER.sub(lambda found: str(parameters[found[1]]), value)
