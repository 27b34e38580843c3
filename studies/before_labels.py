"""Error before labels: how often the realised log loss lies in the interval that the scores expected.

``python -m studies before_labels RECORDING --fleet FLEET`` runs a recording with ``drift = "log"``, and
compares each period's realised log loss of the champion with the 95 % interval that its scores gave before
the labels were known.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import orjson
import tomlkit
from rich.console import Console
from rich.table import Table

from studies.quality import run

__all__ = ["changed", "main", "periods"]


def changed(fleet: Path, every: str) -> str:
    """The fleet.toml with drift watched, and periods of a length."""
    document: Any = tomlkit.parse(fleet.read_text(encoding="utf-8"))
    document["metrics_every"] = every
    for target in document["targets"]:
        target["drift"], target["promotion"] = "log", "off"
    return tomlkit.dumps(document)


def periods(output: Path, start: str | None) -> list[dict[str, Any]]:
    """Periods of a run that have realised losses, from an instant on."""
    rows = map(orjson.loads, (output / "metrics.jsonl").read_bytes().splitlines())
    return [
        row
        for row in rows
        if row["kind"] == "expected"
        and row["settled"]["examples"] >= 20
        and (start is None or row["from"] >= start)
    ]


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Realised log loss against the interval expected of scores.")
    parser.add_argument("recording", type=Path)
    parser.add_argument("--fleet", type=Path, default=Path("examples/cmapss/fleet.toml"))
    parser.add_argument("--from", dest="start", help="periods before count not, such as 2020-01-16")
    parser.add_argument("--every", default="7d", help="length of a period")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        fleet = Path(folder) / "fleet.toml"
        fleet.write_text(changed(given.fleet, given.every), encoding="utf-8")
        run(fleet, given.recording, Path(folder) / "out")
        found = periods(Path(folder) / "out", given.start)
    if given.json:
        for row in found:
            sys.stdout.buffer.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        return
    table = Table("period from", "examples", "expected", "95 % interval", "realised", "inside")
    inside = 0
    for row in found:
        each = row["settled"]
        fits = each["low"] <= each["realised"] <= each["high"]
        inside += fits
        interval = f"{each['low']:.4f} to {each['high']:.4f}"
        table.add_row(
            f"{row['target']} {row['from'][:10]}",
            str(each["examples"]),
            f"{each['expected']:.4f}",
            interval,
            f"{each['realised']:.4f}",
            "yes" if fits else "no",
        )
    Console().print(table, f"{inside} of {len(found)} periods inside")


if __name__ == "__main__":
    main()
