"""What a command prints: tables that fit a console of 78 columns, or one JSON object a line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from rich.box import SIMPLE_HEAD
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import Console

__all__ = ["WIDTH", "command", "plain_table", "show_either"]

#: Columns of a console whose own width is not known, such as a pipe.
WIDTH = 78


def command(words: str) -> str:
    """Return a command as its user can type it: in an installed environment `python` may be another one.

    >>> command("run fleet.toml")
    'python -m dataflows run fleet.toml'
    """
    return f"{'highwater' if Path(sys.argv[0]).stem == 'highwater' else 'python -m dataflows'} {words}"


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


def show_either(
    console: Console, rows: Iterable[object], as_text: Callable[[], None], *, as_json: bool
) -> None:
    """Print rows for a program, one JSON object a line, or their text for a person.

    Args:
        console: where to print.
        rows: plain values by name, or dataclasses; a number that is not finite becomes null.
        as_text: prints the same for a person.
        as_json: whether a program reads it.
    """
    if not as_json:
        as_text()
        return
    for row in rows:
        # Not through the console, which would wrap long lines.
        console.file.write(orjson.dumps(row).decode() + "\n")
