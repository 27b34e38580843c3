"""Tables for a person: they fit a console of 78 columns, and cut nothing off."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table

__all__ = ["WIDTH", "plain_table"]

#: Columns of a console whose own width is not known, such as a pipe.
WIDTH = 78


def plain_table(title: str, *columns: str, text: int = 1, caption: str | None = None) -> Table:
    """Return an empty table that wraps long cells.

    Args:
        title: above it.
        columns: headings; one with a line end takes two lines, so that the column can be narrow.
        text: how many of the first columns hold text, on the left; the others hold numbers, on the right.
        caption: below it.
    """
    table = Table(
        title=title,
        caption=caption,
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
    )
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < text else "right", overflow="fold")
    return table
