"""Tables of the documentation, to hold against the figures that a study printed."""

from __future__ import annotations

from typing import Any

import orjson

from tests.processes import ROOT

__all__ = ["days", "figures", "percent", "table"]


def figures(name: str) -> list[dict[str, Any]]:
    """Rows of ``studies/figures/NAME.jsonl``, which a study printed with ``--json``."""
    path = ROOT / "studies/figures" / f"{name}.jsonl"
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def table(page: str, *head: str) -> list[list[str]]:
    """Rows of the table of ``docs/PAGE`` whose first row begins with these cells."""
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] if line[:1] == "|" else [] for line in lines
    ]
    start = next(at for at, row in enumerate(rows) if row[: len(head)] == [*head])
    end = next(at for at in range(start, len(rows) + 1) if at == len(rows) or not rows[at])
    return rows[start + 2 : end]


def percent(share: float) -> str:
    """A share as the documentation writes it.

    >>> percent(0.00913), percent(0.3949), percent(0.0), percent(1.0)
    ('0.9 %', '39 %', '0 %', '100 %')
    """
    return f"{share:.1%}".replace("%", " %") if 0.0 < share < 0.1 else f"{share:.0%}".replace("%", " %")


def days(count: float | None) -> str:
    """A median as the documentation writes it; - where there is none."""
    return "-" if count is None else f"{count:g}"
