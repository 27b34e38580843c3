"""Turn NASA's C-MAPSS files, as downloaded, into one stream of events (JSON Lines).

The data set holds engines run to failure, one row an engine and cycle, without dates. As a stream: a cycle is
one hour, unit ``u`` starts at 2020-01-01T00:00Z + ((u * 37) mod 1500) h, its cycle ``c`` is at start + c
hours and its failure one hour after its last cycle. The engines overlap, as those of a fleet do, and the
factor 37 spreads their starts so that neighbours in the file are not neighbours in time. Published figures
compare only under these rules, so they are not options.

Source: A. Saxena, K. Goebel, D. Simon and N. Eklund, "Damage propagation modeling for aircraft engine
run-to-failure simulation", International Conference on Prognostics and Health Management, 2008.
"""

from __future__ import annotations

import argparse
import gzip
import heapq
import sys
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["READINGS", "find", "main", "read", "write"]

#: Names of the columns that follow unit and cycle.
READINGS = (*(f"setting_{i}" for i in range(1, 4)), *(f"sensor_{i:02}" for i in range(1, 22)))

_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
_START_FACTOR = 37
_START_HOURS = 1500
_FAILURE, _TELEMETRY = 0, 1  # failures come before telemetry of the same hour

# (hour, kind, asset, event): sorts as the stream is ordered.
_Entry = tuple[int, int, str, dict[str, Any]]


def find(folder: Path, subset: str) -> Path:
    """The training file of a subset in a folder, plain or gzipped.

    Raises:
        FileNotFoundError: the folder holds neither.
    """
    for name in (f"train_{subset}.txt", f"train_{subset}.txt.gz"):
        if (folder / name).is_file():
            return folder / name
    msg = f"{folder} holds neither train_{subset}.txt nor train_{subset}.txt.gz"
    raise FileNotFoundError(msg)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Events of one training file in the order of the stream: by time, failures first, then by asset.

    Raises:
        ValueError: a line is not unit, cycle and 24 numbers, or a unit's cycles do not count up from 1.
    """
    engines: dict[int, list[tuple[float, ...]]] = {}
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            unit, cycle, readings = _row(path, number, line)
            cycles = engines.setdefault(unit, [])
            if cycle != len(cycles) + 1:
                msg = f"{path}:{number}: unit {unit} goes on at cycle {cycle}; expected {len(cycles) + 1}"
                raise ValueError(msg)
            cycles.append(readings)
    streams = [_engine(unit, cycles) for unit, cycles in engines.items()]
    for *_, event in heapq.merge(*streams, key=itemgetter(0, 1, 2)):
        yield event


def write(events: Iterator[dict[str, Any]], path: Path) -> dict[str, int]:
    """Write events as JSON Lines; returns how many there are of each kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    with path.open("wb") as out:
        for event in events:
            out.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
            counts[event["kind"]] = counts.get(event["kind"], 0) + 1
    return counts


def _row(path: Path, number: int, line: str) -> tuple[int, int, tuple[float, ...]]:
    try:
        unit, cycle, *readings = line.split()
        row = int(unit), int(cycle), tuple(map(float, readings))
    except ValueError as error:
        msg = f"{path}:{number}: expected numbers separated by spaces, got {line[:60]!r}"
        raise ValueError(msg) from error
    if len(readings) != len(READINGS):
        columns = 2 + len(READINGS)
        msg = f"{path}:{number}: expected {columns} columns, got {2 + len(readings)}"
        raise ValueError(msg)
    return row


def _engine(unit: int, cycles: list[tuple[float, ...]]) -> Iterator[_Entry]:
    asset = f"engine-{unit:03}"
    start = unit * _START_FACTOR % _START_HOURS
    for hour, readings in enumerate(cycles, start=start + 1):
        event = {
            "kind": "telemetry",
            "asset": asset,
            "time": _instant(hour),
            "readings": dict(zip(READINGS, readings, strict=True)),
        }
        yield hour, _TELEMETRY, asset, event
    hour = start + len(cycles) + 1
    failure = {"kind": "failure", "asset": asset, "time": _instant(hour), "mode": "failure"}
    yield hour, _FAILURE, asset, failure


def _instant(hour: int) -> str:
    return (_EPOCH + timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%M:%SZ")


def main(arguments: list[str] | None = None) -> None:
    """Command line: FOLDER with NASA's files in, one recording out."""
    parser = argparse.ArgumentParser(description="Turn NASA's C-MAPSS files into one stream of events.")
    parser.add_argument("folder", type=Path, help="where train_FD001.txt (or .txt.gz) lies")
    parser.add_argument("--subset", default="FD001", choices=["FD001", "FD002", "FD003", "FD004"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data" / "engines.jsonl")
    given = parser.parse_args(arguments)
    try:
        counts = write(read(find(given.folder, given.subset)), given.out)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    sys.stdout.write(f"{given.out}: {counts['telemetry']:,} telemetry, {counts['failure']:,} failures\n")


if __name__ == "__main__":
    main()
