"""Problems of a ``fleet.toml``: reported all at once, each with its key and the nearest valid name."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["FleetError", "Loc", "Problem", "dotted", "listed", "nearest", "shown"]

#: A place in the document: keys of tables and indices of lists.
Loc = tuple[str | int, ...]

_BARE_KEY = re.compile(r"[\w-]+", re.ASCII)
_LONGEST_SHOWN = 60
_SHORT = 3


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that has to change before the fleet can run.

    Attributes:
        key: the place, such as ``classes.engine.windows[0].statistics[1]``, ``line 3`` or ``FLEET_BATCH``.
        expected: the valid values.
        got: the value in the file, as TOML writes it; None if there is none.
        hint: the valid name nearest to that value.
    """

    key: str
    expected: str
    got: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        """One line: key, expected, got and hint."""
        came = "nothing" if self.got is None else self.got
        hint = "" if self.hint is None else f"; did you mean {self.hint}?"
        return f"{self.key}: expected {self.expected}, got {came}{hint}"


class FleetError(ValueError):
    """A ``fleet.toml`` that cannot be run, with all its problems.

    Attributes:
        path: the file.
        problems: at least one, in the order of checking.
    """

    def __init__(self, path: str, problems: Sequence[Problem]) -> None:
        super().__init__(path, tuple(problems))
        self.path = path
        self.problems = tuple(problems)

    def __str__(self) -> str:
        """The file and one line a problem."""
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        return "\n  ".join([f"{self.path}: {count}", *map(str, self.problems)])


def dotted(loc: Loc) -> str:
    """The place as text: ``("classes", "engine", "windows", 0)`` is ``classes.engine.windows[0]``."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = part if _BARE_KEY.fullmatch(part) else f'"{part}"'
            text += f".{key}" if text else key
    return text


def nearest(name: object, valid: Iterable[str]) -> str | None:
    """Find the valid name most like this one, whatever its case; None if none is like it."""
    if not isinstance(name, str):
        return None
    folded: dict[str, str] = {}
    for other in valid:
        folded.setdefault(other.casefold(), other)
    likeness = 0.5 if len(name) <= _SHORT else 0.6  # one wrong letter of two is half of them
    matches = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=likeness)
    return folded[matches[0]] if matches else None


def listed(names: Iterable[str], most: int = 12) -> str:
    """``one of a, b, c``, cut after ``most`` names; ``nothing, since there is none`` of no names."""
    every = list(names)
    if not every:
        return "nothing, since there is none"
    if len(every) == 1:
        return every[0]
    rest = f", ... ({len(every)} in all)" if len(every) > most else ""
    return "one of " + ", ".join(every[:most]) + rest


def shown(value: object) -> str:
    """A value from the document, short enough for one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        text = "a table with " + (", ".join(map(str, value)) or "nothing in it")
    elif isinstance(value, str):
        text = f'"{value}"'
    else:
        text = str(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
