"""All records of a recording say when they arrived, or none does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataflows.items import Item

__all__ = ["MixedArrivalsError", "check_alike"]


class MixedArrivalsError(RuntimeError):
    """One recording holds records with and without ``arrived``."""


def check_alike(item: Item, before: bool, now: bool) -> None:  # noqa: FBT001 - the two are alike or not
    """Refuse a record that says when it arrived where those before it did not, or the other way round.

    Raises:
        MixedArrivalsError: it does.
    """
    if now != before:
        source, line, _ = item.position
        has = "has" if now else "lacks"
        msg = (
            f"{source}, line {line} {has} `arrived`, unlike the records before it; "
            "give it to all records of a recording or to none"
        )
        raise MixedArrivalsError(msg)
