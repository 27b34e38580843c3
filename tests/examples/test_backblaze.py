"""How Backblaze's daily files become a stream: what is known when, and which raw values are no values."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import math
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from dataflows.events import Reject, decode
from dataflows.fleet import load
from dataflows.instants import HOUR, parse_instant
from examples.backblaze import reader

FLEET = Path(reader.__file__).parent / "fleet.toml"
HEADER = (
    "date,serial_number,model,capacity_bytes,failure,smart_1_normalized,smart_1_raw,smart_5_raw,"
    "smart_9_raw,smart_194_raw,smart_197_raw"
)


@dataclasses.dataclass
class Disks:
    """What the tests ask of the real recording, without its million of readings.

    Attributes:
        events: kind, asset, time (empty for registry rows) and arrival of each.
        missing: how often each reading is null.
    """

    events: list[tuple[str, str, str, str]]
    missing: Counter[str]


@pytest.fixture(scope="module")
def disks(data_folder: Path) -> Disks:
    """The 40 days that lie beside the repository."""
    pytest.importorskip("pyarrow", reason="Parquet is read with pyarrow")
    path = data_folder / "backblaze_2013" / "daily_2013-04-10_2013-05-19.parquet"
    if not path.is_file():
        pytest.skip(f"no disks at {path}; HIGHWATER_DATA names the folder that holds backblaze_2013/")
    found = Disks([], Counter())
    for event in reader.read(path):
        found.events.append((event["kind"], event["asset"], event.get("time", ""), event["arrived"]))
        found.missing.update(name for name, value in event.get("readings", {}).items() if value is None)
    return found


def line(day: str, disk: str, *raw: object, failure: int = 0, capacity: int = 2_000_398_934_016) -> str:
    """A row in Backblaze's form, with a column that is not read."""
    values = ",".join(map(str, raw or (1, 2, 3, 4, 5)))
    return f"{day},{disk},ST2000DL003,{capacity},{failure},117,{values}"


def written(folder: Path, *lines: str) -> Path:
    """One file a day that occurs in the lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for day in sorted({text[:10] for text in lines}):
        own = [text for text in lines if text.startswith(day)]
        (folder / f"{day}.csv").write_text("\n".join([HEADER, *own]) + "\n")
    return folder


def readings(folder: Path, *raw: object) -> list[float | None]:
    """The readings of a disk with these raw values."""
    (event,) = (e for e in reader.read(written(folder, line("2013-04-10", "A", *raw))) if "readings" in e)
    return list(event["readings"].values())


@pytest.mark.ci
def test_every_row_of_the_real_files_is_a_telemetry_event(disks: Disks) -> None:
    """868,524 rows and 120 failures of 22,892 disks, 137 of which leave without one."""
    kinds = Counter(kind for kind, *_ in disks.events)
    assert kinds == {"asset": 22_892, "telemetry": 868_524, "failure": 120}
    last = {asset: time for kind, asset, time, _ in disks.events if kind == "telemetry"}
    failed = {asset for kind, asset, *_ in disks.events if kind == "failure"}
    left = {disk for disk, time in last.items() if time < "2013-05-19T00:00:00Z"} - failed
    assert len(left) == 137


@pytest.mark.ci
def test_a_real_day_is_known_when_it_is_over(disks: Disks) -> None:
    """Telemetry arrives a day after its time, a failure at its time, and no arrival runs back."""
    spans = {(kind, time, arrived) for kind, _, time, arrived in disks.events if kind != "asset"}
    delays = {(kind, parse_instant(arrived) - parse_instant(time)) for kind, time, arrived in spans}
    assert delays == {("telemetry", 24 * HOUR), ("failure", 0)}
    arrivals = [arrived for *_, arrived in disks.events]
    assert arrivals == sorted(arrivals)
    assert len(set(arrivals)) == 40


@pytest.mark.ci
def test_real_days_are_in_order_of_serial_number(disks: Disks) -> None:
    """Within an arrival: by disk, and of a disk its registry row, its telemetry, its failure."""
    rank = {"asset": 0, "telemetry": 1, "failure": 2}
    keys = [(arrived, asset, rank[kind]) for kind, asset, _, arrived in disks.events]
    assert all(a < b for a, b in itertools.pairwise(keys))


@pytest.mark.ci
def test_real_sentinels_are_missing(disks: Disks) -> None:
    """The 6 read error rates of 4294967295 and the 43 pending sectors of 65535 are null, nothing else is."""
    assert disks.missing == {"log1p_smart_1": 6, "log1p_smart_197": 43}


def test_a_disk_is_registered_before_its_first_telemetry_and_once(tmp_path: Path) -> None:
    """The registry row arrives with the disk's first day and tells model and capacity."""
    folder = written(tmp_path, line("2013-04-10", "A"), line("2013-04-11", "A"), line("2013-04-11", "B"))
    events = list(reader.read(folder))
    assert [(event["kind"], event["asset"], event["arrived"][:10]) for event in events] == [
        ("asset", "A", "2013-04-11"),
        ("telemetry", "A", "2013-04-11"),
        ("telemetry", "A", "2013-04-12"),
        ("asset", "B", "2013-04-12"),
        ("telemetry", "B", "2013-04-12"),
    ]
    assert events[0]["class"] == "disk"
    assert events[0]["attributes"] == {"model": "ST2000DL003", "capacity_tb": 2.000398934016}


def test_the_failure_of_a_disk_follows_its_last_telemetry(tmp_path: Path) -> None:
    """A row of day d with failure 1 is telemetry at d and a failure at d+1, both known at d+1."""
    folder = written(tmp_path, line("2013-04-30", "B"), line("2013-04-30", "A", failure=1))
    kinds = [(event["kind"], event["asset"]) for event in reader.read(folder)]
    assert kinds == [("asset", "A"), ("telemetry", "A"), ("failure", "A"), ("asset", "B"), ("telemetry", "B")]
    (failure,) = (event for event in reader.read(folder) if event["kind"] == "failure")
    assert failure == {
        "kind": "failure",
        "asset": "A",
        "time": "2013-05-01T00:00:00Z",
        "mode": "failure",
        "arrived": "2013-05-01T00:00:00Z",
    }


def test_readings_are_log1p_of_the_raw_values(tmp_path: Path) -> None:
    """In order of the SMART numbers; the normalized column is passed over."""
    assert readings(tmp_path, 234_000_000, 0, 1000, 26, 8) == [
        math.log1p(234_000_000),
        0.0,
        math.log1p(1000),
        math.log1p(26),
        math.log1p(8),
    ]


@pytest.mark.parametrize("raw", ["", 65535, 4294967295, 281474976710655, -1, "nan", "inf"])
def test_a_raw_value_that_is_no_value_is_null(tmp_path: Path, raw: object) -> None:
    """Empty, all ones in 16, 32 or 48 bits, negative or not finite; the other readings stay."""
    assert readings(tmp_path, raw, 0, 0, 0, raw) == [None, 0.0, 0.0, 0.0, None]


@pytest.mark.parametrize("raw", [65534, 65536, 4294967294, 4294967296])
def test_the_neighbours_of_a_sentinel_are_values(tmp_path: Path, raw: int) -> None:
    """Only the exact codes are cleaned; a large counter is what it is."""
    assert readings(tmp_path, raw, 0, 0, 0, 0)[0] == math.log1p(raw)


def test_power_on_hours_that_step_back_stay(tmp_path: Path) -> None:
    """The reader mends no history: a lower value than the day before is passed on."""
    folder = written(
        tmp_path, line("2013-04-10", "A", 0, 0, 900, 0, 0), line("2013-04-11", "A", 0, 0, 100, 0, 0)
    )
    hours = [event["readings"]["log1p_smart_9"] for event in reader.read(folder) if "readings" in event]
    assert hours == [math.log1p(900), math.log1p(100)]


def test_an_unknown_capacity_is_left_out(tmp_path: Path) -> None:
    """A disk that does not answer is listed with -1 bytes."""
    folder = written(tmp_path, line("2013-04-10", "A", capacity=-1))
    assert next(iter(reader.read(folder)))["attributes"] == {"model": "ST2000DL003"}


def test_every_event_can_be_decoded(tmp_path: Path) -> None:
    """What the reader writes, the dataflow takes."""
    folder = written(tmp_path, line("2013-04-10", "A", "", 0, 65535, 0, 0, failure=1))
    events = [decode(orjson.dumps(event)) for event in reader.read(folder)]
    assert [type(event).__name__ for event in events] == ["Registration", "Telemetry", "Failure"]
    assert not any(isinstance(event, Reject) for event in events)


def test_gzipped_nested_and_plain_files_give_the_same_recording(tmp_path: Path) -> None:
    """Backblaze's archives unpack to folders within a folder; the order is that of days, not of paths."""
    lines = (line("2013-04-10", "A"), line("2013-04-11", "A"), line("2013-04-12", "A", failure=1))
    plain = written(tmp_path / "plain", *lines)
    nested = tmp_path / "nested"
    written(nested / "z", lines[0])
    written(nested / "a", lines[1])
    with gzip.open(nested / "2013-04-12.csv.gz", "wt") as packed:
        packed.write((plain / "2013-04-12.csv").read_text())
    (nested / "readme.csv").write_text("not a day\n")
    made = []
    for folder in (plain, nested):
        reader.main([str(folder), "--out", str(folder / "out" / "disks.jsonl")])
        made.append((folder / "out" / "disks.jsonl").read_bytes())
    assert made[0] == made[1]
    assert len(made[0].splitlines()) == 5
    reader.main([str(plain), "--out", str(tmp_path / "disks.jsonl.gz")])
    assert gzip.decompress((tmp_path / "disks.jsonl.gz").read_bytes()) == made[0]


def test_parquet_and_csv_give_the_same_recording(tmp_path: Path) -> None:
    """Whatever the order of the table's rows; a null is an empty field."""
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet is read with pyarrow")
    from datetime import datetime  # noqa: PLC0415 - only this test needs it

    from pyarrow import parquet  # noqa: PLC0415 - an extra

    folder = written(
        tmp_path,
        line("2013-04-10", "A", 1, "", 3, 4, 5),
        line("2013-04-10", "B"),
        line("2013-04-11", "A", failure=1),
    )
    columns: dict[str, list[Any]] = {name: [] for name in reader.COLUMNS}
    for day, rows in reversed(list(reader.days(folder))):
        for row in rows:
            columns["date"].append(datetime.fromisoformat(day))
            for name, value in zip(reader.COLUMNS[1:], row[1:], strict=True):
                number = name not in {"serial_number", "model"}
                columns[name].append((int(value) if value else None) if number else value)
    parquet.write_table(pyarrow.table(columns), tmp_path / "disks.parquet")
    assert list(reader.read(tmp_path / "disks.parquet")) == list(reader.read(folder))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{HEADER}\n2013-04-10,A,M,1,0,1,2\n", r":2: expected 11 columns, got 7"),
        (HEADER.replace("smart_5_raw", "smart_6_raw") + "\n", "no column smart_5_raw"),
        (f"{HEADER}\n{line('2013-04-11', 'A')}\n", "disk A has the date 2013-04-11"),
        (f"{HEADER}\n{line('2013-04-10', 'A', 'many', 0, 0, 0, 0)}\n", "disk A on 2013-04-10: .*many"),
        ("", "no column date"),
    ],
)
def test_a_file_that_is_not_of_the_format_is_refused(tmp_path: Path, text: str, says: str) -> None:
    """A truncated or mixed-up download must not become a shorter recording."""
    (tmp_path / "2013-04-10.csv").write_text(text)
    with pytest.raises(ValueError, match=says):
        list(reader.read(tmp_path))


def test_a_folder_without_daily_files_is_refused(tmp_path: Path) -> None:
    """Other CSV files are no days."""
    (tmp_path / "drives.csv").write_text(HEADER)
    with pytest.raises(FileNotFoundError, match="no daily files"):
        list(reader.read(tmp_path))


def test_the_fleet_keeps_the_protocol() -> None:
    """Horizon 7 days, idle timeout 15 days, an example a day, figures from 2013-04-24, nothing late."""
    fleet = load(FLEET)
    disk, (target,) = fleet.classes["disk"], fleet.targets.values()
    assert target.horizon == 7 * 24 * HOUR
    assert disk.idle_timeout == 15 * 24 * HOUR
    assert disk.example_every == 24 * HOUR
    assert disk.allowed_lateness == target.label_delay == 0
    assert fleet.figures_from == parse_instant("2013-04-24T00:00:00Z")
    assert list(disk.sensors) == list(reader.READINGS)
    assert len(disk.features) == 34
