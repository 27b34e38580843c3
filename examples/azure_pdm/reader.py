"""Turn the Azure predictive maintenance files, as published, into one stream of events (JSON Lines).

The data set holds 100 simulated machines over the year 2015: hourly telemetry, error codes, failures of four
components, replacements of components, and each machine's model and age. As a stream:

- `PdM_machines.csv` becomes registry rows, which come first;
- `PdM_telemetry.csv`, `PdM_errors.csv`, `PdM_failures.csv` and `PdM_maint.csv` become telemetry, fault,
  failure and maintenance events, merged by time; at equal times failures come first, then maintenance, faults
  and telemetry, each in order of asset;
- the times of the files have no zone and are read as UTC; there is no ``arrived``.

The order at equal times matters. A failure and the replacement that repairs it have the same time, and so has
a reading of the machine: the reading comes last, so it is already that of the repaired machine, and the
features of every earlier reading know nothing of the repair.

Source: Microsoft, "Azure AI guide for predictive maintenance solutions" (2015 data of its modeling guide).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
import sys
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["READINGS", "find", "main", "read", "write"]

#: Columns of the telemetry, which are the names of the readings.
READINGS = ("volt", "rotate", "pressure", "vibration")
#: The files, and the columns each must have.
_COLUMNS = {
    "PdM_machines": ("machineID", "model", "age"),
    "PdM_failures": ("datetime", "machineID", "failure"),
    "PdM_maint": ("datetime", "machineID", "comp"),
    "PdM_errors": ("datetime", "machineID", "errorID"),
    "PdM_telemetry": ("datetime", "machineID", *READINGS),
}
#: At equal times.
_FAILURE, _MAINTENANCE, _FAULT, _TELEMETRY = range(4)
# Kaggle's copy writes 2015-01-01 06:00:00, Microsoft's own 1/1/2015 6:00:00 AM.
_AMERICAN = "%m/%d/%Y %I:%M:%S %p"

_T = TypeVar("_T")
# (time, kind, machine, mode or component or code): sorts as the stream is ordered; then the readings.
_Row = tuple[str, int, int, str, tuple[float | None, ...]]


def find(folder: Path, name: str) -> Path:
    """One of the five files in a folder, plain or gzipped.

    Raises:
        FileNotFoundError: the folder holds neither.
    """
    for path in (folder / f"{name}.csv", folder / f"{name}.csv.gz"):
        if path.is_file():
            return path
    msg = f"{folder} holds neither {name}.csv nor {name}.csv.gz"
    raise FileNotFoundError(msg)


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """Events of the five files of a folder in the order of the stream.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file lacks a column, or a line holds something else than the column should.
    """
    paths = {name: find(folder, name) for name in _COLUMNS}
    machines = sorted(_converted(paths["PdM_machines"], _machine))
    rows = itertools.chain(
        _records(paths["PdM_failures"], _FAILURE, "failure"),
        _records(paths["PdM_maint"], _MAINTENANCE, "comp"),
        _records(paths["PdM_errors"], _FAULT, "errorID"),
        _converted(paths["PdM_telemetry"], _telemetry),
    )
    # The files are sorted by machine; sorting also reads all of them before the first event leaves, so that a
    # bad line shows before half a recording is written.
    merged = sorted(rows, key=itemgetter(0, 1, 2, 3))
    for machine, model, age in machines:
        attributes = {"model": model, "age": age}
        yield {"kind": "asset", "asset": _asset(machine), "class": "machine", "attributes": attributes}
    yield from map(_event, merged)


def write(events: Iterator[dict[str, Any]], path: Path) -> dict[str, int]:
    """Write events as JSON Lines; returns how many there are of each kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    with path.open("wb") as out:
        for event in events:
            out.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
            counts[event["kind"]] = counts.get(event["kind"], 0) + 1
    return counts


def _converted(path: Path, convert: Callable[[dict[str, str]], _T]) -> Iterator[_T]:
    """What ``convert`` makes of each line; a ValueError gets the line's number."""
    expected = _COLUMNS[path.name.partition(".")[0]]
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as text:
        lines = csv.DictReader(text)
        missing = [column for column in expected if column not in (lines.fieldnames or ())]
        if missing:
            msg = f"{path}: expected the columns {', '.join(expected)}, but there is no {', '.join(missing)}"
            raise ValueError(msg)
        for line in lines:
            try:
                yield convert(_whole(line, expected))
            except ValueError as error:
                msg = f"{path}:{lines.line_num}: {error}"
                raise ValueError(msg) from error


def _whole(line: dict[str, str], columns: tuple[str, ...]) -> dict[str, str]:
    """The line, if it has every column; only readings may be empty, and are missing then."""
    for column in columns:
        if line[column] is None or not (line[column] or column in READINGS):
            msg = f"expected {', '.join(columns)}, but there is no {column}"
            raise ValueError(msg)
    return line


def _records(path: Path, kind: int, column: str) -> Iterator[_Row]:
    def row(line: dict[str, str]) -> _Row:
        return _instant(line["datetime"]), kind, int(line["machineID"]), line[column], ()

    return _converted(path, row)


def _machine(line: dict[str, str]) -> tuple[int, str, int]:
    return int(line["machineID"]), line["model"], int(line["age"])


def _telemetry(line: dict[str, str]) -> _Row:
    values = tuple(float(line[column]) if line[column] else None for column in READINGS)
    return _instant(line["datetime"]), _TELEMETRY, int(line["machineID"]), "", values


def _instant(text: str) -> str:
    """The time as RFC 3339, which also sorts as time does."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = datetime.strptime(text, _AMERICAN)  # noqa: DTZ007 - the files know no zone
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _asset(machine: int) -> str:
    return f"machine-{machine:03}"


def _event(row: _Row) -> dict[str, Any]:
    time, kind, machine, name, values = row
    asset = _asset(machine)
    if kind == _TELEMETRY:
        readings = dict(zip(READINGS, values, strict=True))
        return {"kind": "telemetry", "asset": asset, "time": time, "readings": readings}
    if kind == _FAULT:
        return {"kind": "fault", "asset": asset, "time": time, "code": name}
    what, field = ("failure", "mode") if kind == _FAILURE else ("maintenance", "component")
    # A retraction needs the id of a record; the files give none, so it is made of what tells records apart.
    identity = f"{what} {asset} {name} {time}"
    return {"kind": what, "asset": asset, "time": time, field: name, "id": identity}


def main(arguments: list[str] | None = None) -> None:
    """Command line: FOLDER with the five files in, one recording out."""
    parser = argparse.ArgumentParser(description="Turn the Azure PdM files into one stream of events.")
    parser.add_argument("folder", type=Path, help="where PdM_telemetry.csv (or .csv.gz) and the others lie")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data" / "machines.jsonl")
    given = parser.parse_args(arguments)
    try:
        counts = write(read(given.folder), given.out)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    listed = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    sys.stdout.write(f"{given.out}: {listed}\n")


if __name__ == "__main__":
    main()
