"""Types of the fields of an output, from the types of its rows."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints, is_typeddict

import msgspec
from msgspec import UNSET, UnsetType

from dataflows.outputs import ROWS

__all__ = ["Field", "fields_of_output", "named_type", "object_fields"]


class Field(NamedTuple):
    """A field of an output.

    Attributes:
        type: `datetime`, `str`, `int`, `float`, `bool`, a list, a table by name, or an object with fields of
            its own; `Any` where it is an object of any form, or kinds of rows disagree.
        always: whether every row of the kinds that have the field has it.
    """

    type: Any
    always: bool


@cache
def fields_of_output(output: str, kind: str | None = None) -> dict[str, Field]:
    """Return the fields of an output by name, in the order of docs/outputs.md.

    Args:
        output: name of the output.
        kind: value of the first field, for rows of this kind alone, such as ``skew`` of the metrics.

    >>> fields_of_output("predictions")["time"]
    Field(type=<class 'datetime.datetime'>, always=True)
    """
    found: dict[str, Field] = {}
    for row in ROWS:
        hints = get_type_hints(row, include_extras=True)
        fields = msgspec.structs.fields(row)
        if row.output != output or (kind is not None and kind not in get_args(hints[fields[0].name])):
            continue
        for each in fields:
            name, there = each.encode_name, each.default is not UNSET
            of_row = _plain(hints[each.name])
            earlier = found.get(name, Field(of_row, there))
            agreed = of_row if of_row == earlier.type else Any
            found[name] = Field(agreed, there and earlier.always)
    return found


def object_fields(kind: Any) -> dict[str, Any] | None:  # noqa: ANN401 - any annotation
    """Types of the fields of an object by name; None where it has no fields of its own."""
    if not is_typeddict(kind):
        return None
    return {name: _plain(hint) for name, hint in get_type_hints(kind, include_extras=True).items()}


def named_type(kind: Any) -> Any:  # noqa: ANN401 - any annotation
    """Type of the values of a list, or of a table by name; `Any` where they are of any form."""
    return _plain(get_args(kind)[-1])


def _plain(hint: Any) -> Any:  # noqa: ANN401 - any annotation
    """Type of a value that is neither null nor absent."""
    origin = get_origin(hint)
    if origin is Annotated:
        return datetime if "time" in hint.__metadata__ else _plain(get_args(hint)[0])
    if origin is Literal:
        return type(get_args(hint)[0])
    if hint is type(None):
        # Only watermarks are always null, in rows that belong to no asset.
        return datetime
    if origin is dict and get_args(hint)[-1] is Any:
        return Any
    if origin in {dict, list} or not get_args(hint):
        return hint
    options = {_plain(each) for each in get_args(hint) if each not in {UnsetType, type(None)}}
    return options.pop() if len(options) == 1 else Any
