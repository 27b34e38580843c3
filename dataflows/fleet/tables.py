"""Base class of every table of ``fleet.toml``, and the nesting of tables."""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

__all__ = ["Table", "key_of", "nested"]


class Table(BaseModel):
    """A table of the document; it refuses unknown keys and values of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def key_of(name: str, field: FieldInfo) -> str:
    """Key of a field in the document."""
    return field.alias or name


def nested(field: FieldInfo) -> tuple[Literal["table", "list", "map"], type[Table]] | None:
    """Table below a field, and whether the field holds one table, a list or a map by name."""
    annotation: Any = field.annotation
    choices = get_args(annotation)
    if choices[1:] == (NoneType,):  # an optional table
        annotation, choices = choices[0], ()
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return "table", annotation
    inner = choices[-1:]
    if not inner or not isinstance(inner[0], type) or not issubclass(inner[0], Table):
        return None
    return ("list" if get_origin(annotation) is list else "map"), inner[0]
