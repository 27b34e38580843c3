"""How ``python -m benchmarks`` and ``python -m studies`` list their scripts, and run one by its name."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ran_by_name", "show_list"]


def ran_by_name(package: str, one: str, listed: Mapping[str, str]) -> bool:
    """Run the script that the command line names, with its own arguments; False if it names none.

    Args:
        package: of the scripts; each has a ``main`` that takes arguments.
        one: what a script of it is called, such as "study".
        listed: what each script shows, by name.
    """
    if len(sys.argv) < 2:
        return False
    name, *arguments = sys.argv[1:]
    if name not in listed:
        sys.exit(f"no {one} {name!r}; there are {', '.join(listed)}")
    importlib.import_module(f"{package}.{name}").main(arguments)
    return True


def show_list(package: str, listed: Mapping[str, str]) -> None:
    """Print what each script shows, by name."""
    table = Table(f"python -m {package} ...", "what it shows", title=package.capitalize())
    for name, what in listed.items():
        table.add_row(name, what)
    Console().print(table)
