"""Check a document against the schema, key by key, and keep the parts that can be checked further.

One wrong key must not hide the others. So a misspelt key is read as the nearest valid one. A value that the
schema refuses is left out, or replaced by a stand-in where the key is required, and its place is marked as
broken. `expand` checks everything else and reports no consequences of a broken place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from dataflows.fleet.problems import Loc, Problem, dotted, listed, nearest, shown
from dataflows.fleet.schema import Document, Table, key_of, nested

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pydantic_core import ErrorDetails

__all__ = ["CheckedDocument", "draft"]

# Stand-ins for required keys that are missing or wrong. No Fleet has them, since then there is a problem.
_STAND_INS: Mapping[str, Any] = {
    "name": "-",
    "input": {"files": ["-"]},
    "files": ["-"],
    "topics": ["-"],
    "classes": {"-": {}},
    "class": "-",
    "mode": "-",
    "horizon": "1h",
    "champion": "-",
    "length": "1h",
    "values": ["-"],
    "max_age": "1h",
    "pipeline": [{"estimator": "-"}],
    "kind": "alertmanager",
}

_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "too_short": "at least one",
    "string_too_short": "text that is not empty",
}


@dataclass(frozen=True, slots=True)
class CheckedDocument:
    """A document of valid form, and the places at which the original is not.

    Attributes:
        document: the valid parts.
        broken: places in the original document that are missing or were refused.
        origins: for each list, the indices in the original document of the remaining elements.
        source: the original document with corrected keys.
        problems: all problems found so far.
    """

    document: Document
    broken: frozenset[Loc]
    origins: Mapping[Loc, Sequence[int]]
    source: Mapping[str, Any]
    problems: list[Problem]

    def refuse(self, loc: Loc, expected: str, got: str | None = None, hint: str | None = None) -> None:
        """Add a problem at a place."""
        self.problems.append(Problem(dotted(loc), expected, got, hint))

    def numbered(self, loc: Loc, items: Iterable[Any]) -> Iterator[tuple[Loc, Any]]:
        """Each element of the list at a place, with its own place in the original document."""
        items = list(items)
        origin = self.origins.get(loc, ())
        if len(origin) != len(items):  # not written as a list: a default, or one text in place of a list
            return ((loc, item) for item in items)
        return (((*loc, index), item) for index, item in zip(origin, items, strict=True))

    def is_broken(self, *loc: str | int) -> bool:
        """Whether something at, below or above this place was refused."""
        return any(bad[: len(loc)] == loc[: len(bad)] for bad in self.broken)

    def is_refused(self, *loc: str | int) -> bool:
        """Whether this place, or a table or list around it, was refused as a whole."""
        return any(loc[:length] in self.broken for length in range(1, len(loc) + 1))

    def names(self, table: str) -> list[str]:
        """All names below ``classes`` or ``models``, valid or not."""
        value = self.source.get(table)
        return [name for name in value if isinstance(name, str)] if isinstance(value, dict) else []


def draft(source: Mapping[str, Any], problems: list[Problem]) -> CheckedDocument:
    """Check a document against the schema and add what is wrong to ``problems``."""
    corrected = _correct_keys(dict(source), Document, (), problems)
    broken: set[Loc] = set()
    missing: set[Loc] = set()
    while True:
        origins: dict[Loc, list[int]] = {}
        pruned = _prune(corrected, (), broken - missing, missing, origins)
        try:
            return CheckedDocument(
                Document.model_validate(pruned), frozenset(broken), origins, corrected, problems
            )
        except ValidationError as error:
            first = not broken
            for details in error.errors():
                loc = _place(details["loc"], corrected, origins)
                if details["type"] == "missing":
                    missing.add(loc)
                elif loc in broken:  # pragma: no cover - a place that was left out cannot be refused again
                    raise
                broken.add(loc)
                if first:
                    problems.append(_problem(details, loc, corrected))


def _correct_keys(value: Any, table: type[Table], at: Loc, problems: list[Problem]) -> Any:  # noqa: ANN401
    """Read misspelt keys as the nearest missing ones and drop the other unknown keys."""
    if not isinstance(value, dict):
        return value
    fields = {key_of(name, field): field for name, field in table.model_fields.items()}
    corrected = {key: inner for key, inner in value.items() if key in fields}
    for key, inner in value.items():
        if key in fields:
            continue
        free = [name for name in fields if name not in corrected]
        hint = nearest(key, fields)
        problems.append(Problem(dotted((*at, key)), listed(fields, most=len(fields)), "an unknown key", hint))
        if hint in free:
            corrected[hint] = inner
    for key, field in fields.items():
        below = nested(field)
        if below is None or key not in corrected:
            continue
        kind, inner_table = below
        inner, place = corrected[key], (*at, key)
        if kind == "table":
            corrected[key] = _correct_keys(inner, inner_table, place, problems)
        elif kind == "list" and isinstance(inner, list):
            corrected[key] = [
                _correct_keys(item, inner_table, (*place, index), problems)
                for index, item in enumerate(inner)
            ]
        elif kind == "map" and isinstance(inner, dict):
            corrected[key] = {
                name: _correct_keys(item, inner_table, (*place, name), problems)
                for name, item in inner.items()
            }
    return corrected


def _prune(value: Any, at: Loc, refused: set[Loc], missing: set[Loc], origins: dict[Loc, list[int]]) -> Any:  # noqa: ANN401
    """Copy without the refused places, with stand-ins at the missing ones; note the elements that stay."""
    if isinstance(value, dict):
        kept = {
            key: _prune(inner, (*at, key), refused, missing, origins)
            for key, inner in value.items()
            if (*at, key) not in refused
        }
        return kept | {str(loc[-1]): _STAND_INS[str(loc[-1])] for loc in missing if loc[:-1] == at}
    if isinstance(value, list):
        origins[at] = [index for index in range(len(value)) if (*at, index) not in refused]
        return [_prune(value[index], (*at, index), refused, missing, origins) for index in origins[at]]
    return value


def _place(loc: Loc, source: Any, origins: Mapping[Loc, Sequence[int]]) -> Loc:  # noqa: ANN401
    """The place in the original document of a place in the pruned one."""
    place: Loc = ()
    for part in loc:
        if isinstance(part, int):
            if not isinstance(source, list):  # one text in place of a list
                break
            original = origins[place][part]
            place, source = (*place, original), source[original]
        elif part == "[key]":
            break
        else:
            place, source = (*place, part), source.get(part) if isinstance(source, dict) else None
    return place


def _problem(details: ErrorDetails, loc: Loc, source: Any) -> Problem:  # noqa: ANN401
    """Describe what the schema refused in the words of the document."""
    kind, context = details["type"], details.get("ctx", {})
    if kind == "missing":
        return Problem(dotted(loc), "this key, which has no default")
    came, hint = _lookup(source, loc), None
    if details["loc"][-1] == "[key]":
        came = str(loc[-1])
    if kind == "literal_error":
        valid = re.findall(r"'([^']*)'", context["expected"])
        expected, hint = listed(valid, most=len(valid)), nearest(came, valid)
    elif kind == "value_error":
        expected = str(context["error"])
    elif kind == "greater_than":
        expected = f"a number greater than {context['gt']}"
    else:
        expected = _EXPECTED.get(kind, details["msg"])
    return Problem(dotted(loc), expected, shown(came), hint)


def _lookup(source: Any, loc: Loc) -> Any:  # noqa: ANN401
    for part in loc:
        source = source[part]
    return source
