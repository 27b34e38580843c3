"""Turn Backblaze's daily drive statistics, as published, into one stream of events (JSON Lines).

One row is one disk on one day. As a stream:

- a row of day d is telemetry at d 00:00Z; with ``failure`` 1 a failure at d+1 00:00Z follows it;
- everything of day d has ``arrived`` d+1 00:00Z, in order of serial number: a day is known when it is over;
- before a disk's first telemetry comes its registry row, with its model and its capacity in terabytes.

Readings are log1p of five raw SMART values, `log1p_smart_5` and so on: most are counters that reach from 0
into the billions. A value that is missing, negative, or all ones in 16, 32 or 48 bits (65535, 4294967295 and
281474976710655: "no value" in a vendor's coding) is null. Everything else is left as it is, also
power-on hours that step back and read error rates that are coded by the vendor.

Source: Backblaze, "Hard Drive Data and Stats", https://www.backblaze.com/cloud-storage/resources/hard-drive-test-data
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
import math
import re
import sys
from datetime import date, timedelta
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["COLUMNS", "READINGS", "SENTINELS", "days", "main", "read", "write"]

#: SMART attributes that become readings: read error rate, reallocated sectors, power-on hours, temperature in
#: degrees Celsius, pending sectors.
_SMART = (1, 5, 9, 194, 197)
READINGS = tuple(f"log1p_smart_{number}" for number in _SMART)
#: Columns that are read; the files have more.
COLUMNS = (
    *("date", "serial_number", "model", "capacity_bytes", "failure"),
    *(f"smart_{number}_raw" for number in _SMART),
)
#: Raw values that mean "no value": all ones in 16, 32 or 48 bits.
SENTINELS = frozenset({2**16 - 1, 2**32 - 1, 2**48 - 1})

_DAILY = re.compile(r"\d{4}-\d{2}-\d{2}\.csv(\.gz)?")
# In order of `COLUMNS`; texts from CSV, numbers from Parquet.
_Row = tuple[Any, ...]


def days(path: Path) -> Iterator[tuple[str, list[_Row]]]:
    """Each day (2013-04-10) with its rows in order of serial number.

    Args:
        path: a folder of daily files (YYYY-MM-DD.csv or .csv.gz), or a Parquet file of the same columns.

    Raises:
        FileNotFoundError: no such file, or a folder without daily files.
        ValueError: a file lacks a column or holds another day than its name says.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*.csv*") if _DAILY.fullmatch(file.name))
        if not files:
            msg = f"{path} holds no daily files (YYYY-MM-DD.csv or .csv.gz)"
            raise FileNotFoundError(msg)
        files.sort(key=lambda file: file.name)
        yield from map(_daily, files)
    else:
        yield from _parquet(path)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Events of a folder of daily files, or of a Parquet file, in the order of the stream.

    Raises:
        FileNotFoundError: as `days`.
        ValueError: as `days`, or a value is no number; names day and disk.
    """
    known: set[str] = set()
    for day, rows in days(path):
        arrived = f"{date.fromisoformat(day) + timedelta(days=1)}T00:00:00Z"
        for row in rows:
            try:
                events = _events(row, f"{day}T00:00:00Z", arrived)
            except ValueError as error:
                msg = f"{path}: disk {row[1]} on {day}: {error}"
                raise ValueError(msg) from error
            yield from itertools.islice(events, row[1] in known, None)
            known.add(row[1])


def write(events: Iterable[dict[str, Any]], path: Path) -> dict[str, int]:
    """Write events as JSON Lines, gzipped if the name ends so; returns how many there are of each kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    counts = {"asset": 0, "telemetry": 0, "failure": 0}
    with gzip.open(path, "wb", compresslevel=1) if path.suffix == ".gz" else path.open("wb") as out:
        for event in events:
            out.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
            counts[event["kind"]] += 1
    return counts


def _events(row: _Row, time: str, arrived: str) -> list[dict[str, Any]]:
    """What one row says: which disk it is, what it measured, whether it failed."""
    _, disk, model, capacity, failed, *raw = row
    attributes: dict[str, Any] = {"model": model}
    if int(capacity) > 0:  # a disk that does not answer is listed with -1
        attributes["capacity_tb"] = int(capacity) / 1e12
    readings = {name: _reading(value) for name, value in zip(READINGS, raw, strict=True)}
    events: list[dict[str, Any]] = [
        {"kind": "asset", "asset": disk, "class": "disk", "attributes": attributes, "arrived": arrived},
        {"kind": "telemetry", "asset": disk, "time": time, "readings": readings, "arrived": arrived},
    ]
    if int(failed):
        failure = {"kind": "failure", "asset": disk, "time": arrived, "mode": "failure", "arrived": arrived}
        events.append(failure)
    return events


def _reading(raw: str | float | None) -> float | None:
    """The log1p of a raw value, None where it is none."""
    if raw is None or raw == "":
        return None
    value = float(raw)
    return None if value in SENTINELS or not 0 <= value < math.inf else math.log1p(value)


def _daily(path: Path) -> tuple[str, list[_Row]]:
    """The day of one daily file, and its rows."""
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as text:
        lines = csv.reader(text)
        header = next(lines, [])
        missing = [column for column in COLUMNS if column not in header]
        if missing:
            msg = f"{path}: there is no column {', '.join(missing)}"
            raise ValueError(msg)
        pick = itemgetter(*map(header.index, COLUMNS))
        rows = []
        for line in lines:
            if len(line) != len(header):
                msg = f"{path}:{lines.line_num}: expected {len(header)} columns, got {len(line)}"
                raise ValueError(msg)
            rows.append(pick(line))
    day = path.name.partition(".")[0]
    other = next((row for row in rows if row[0] != day), None)
    if other is not None:
        msg = f"{path}: disk {other[1]} has the date {other[0]}"
        raise ValueError(msg)
    rows.sort(key=itemgetter(1))
    return day, rows


def _parquet(path: Path) -> Iterator[tuple[str, list[_Row]]]:
    """Each day of a Parquet file, and its rows."""
    # Only this needs pyarrow, which is in the extra `bench`.
    from pyarrow import compute, parquet  # noqa: PLC0415

    table = parquet.read_table(path, columns=list(COLUMNS))
    table = table.set_column(0, "date", compute.strftime(table["date"], format="%Y-%m-%d"))
    columns = [column.to_pylist() for column in table.columns]
    rows = sorted(zip(*columns, strict=True), key=itemgetter(0, 1))
    for day, of_day in itertools.groupby(rows, key=itemgetter(0)):
        yield day, list(of_day)


def main(arguments: list[str] | None = None) -> None:
    """Command line: a folder of daily files, or a Parquet file, in; one recording out."""
    parser = argparse.ArgumentParser(
        description="Turn Backblaze's drive statistics into one stream of events."
    )
    parser.add_argument("path", type=Path, help="folder with YYYY-MM-DD.csv (or .csv.gz), or a Parquet file")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data" / "disks.jsonl")
    given = parser.parse_args(arguments)
    try:
        counts = write(read(given.path), given.out)
    except ModuleNotFoundError as error:
        parser.exit(1, f"{error}; Parquet is read with pyarrow\n")
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    listed = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    sys.stdout.write(f"{given.out}: {listed}\n")


if __name__ == "__main__":
    main()
