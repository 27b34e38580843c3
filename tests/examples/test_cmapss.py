"""The protocol under which C-MAPSS is read as a stream: figures compare only if every part of it holds."""

from __future__ import annotations

import gzip
import itertools
import os
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from dataflows.instants import HOUR, parse_instant
from examples.cmapss import choose, reader

EXAMPLE = Path(reader.__file__).parent


@pytest.fixture(scope="module")
def fd001() -> list[dict[str, Any]]:
    """Events of FD001; the recordings lie beside the repository unless HIGHWATER_DATA names their folder."""
    root = Path(__file__).resolve().parents[2]
    folder = Path(os.environ.get("HIGHWATER_DATA") or root / "../shared/data") / "cmapss"
    if not folder.is_dir():
        pytest.skip(f"no C-MAPSS files at {folder}; HIGHWATER_DATA names the folder that holds cmapss/")
    return list(reader.read(reader.find(folder, "FD001")))


def rows(*lengths: tuple[int, int]) -> str:
    """Lines in NASA's form: for each (unit, cycles), readings that tell unit, cycle and column."""
    lines = []
    for unit, cycles in lengths:
        for cycle in range(1, cycles + 1):
            readings = " ".join(f"{unit}{cycle:03}.{column:02}" for column in range(1, 25))
            lines.append(f"{unit} {cycle} {readings}  \n")
    return "".join(lines)


def test_fd001_has_20631_telemetry_events_and_100_failures(fd001: list[dict[str, Any]]) -> None:
    """Every row of NASA's file is an event, and every engine fails once."""
    assert Counter(event["kind"] for event in fd001) == {"telemetry": 20_631, "failure": 100}
    failed = [event["asset"] for event in fd001 if event["kind"] == "failure"]
    assert sorted(failed) == [f"engine-{unit:03}" for unit in range(1, 101)]


def test_fd001_is_ordered_by_time_then_failures_then_asset(fd001: list[dict[str, Any]]) -> None:
    """Failures come before telemetry of the same hour, and assets in the order of their names."""
    keys = [(parse_instant(e["time"]), e["kind"] == "telemetry", e["asset"]) for e in fd001]
    assert all(a < b for a, b in itertools.pairwise(keys))


def test_unit_1_of_fd001_lives_192_hours_from_its_start(fd001: list[dict[str, Any]]) -> None:
    """Unit 1 starts at hour 37, so its 192 cycles are hours 38 to 229 and it fails at hour 230."""
    events = [event for event in fd001 if event["asset"] == "engine-001"]
    hours = [
        (parse_instant(event["time"]) - parse_instant("2020-01-01T00:00:00Z")) / HOUR for event in events
    ]
    assert hours == list(range(38, 231))
    assert events[0]["time"] == "2020-01-02T14:00:00Z"
    assert events[-1] == {
        "kind": "failure",
        "asset": "engine-001",
        "time": "2020-01-10T14:00:00Z",
        "mode": "failure",
    }


def test_readings_of_fd001_have_the_values_of_the_file(fd001: list[dict[str, Any]]) -> None:
    """The first row of NASA's file, column by column."""
    readings = next(event for event in fd001 if event["asset"] == "engine-001")["readings"]
    assert list(readings) == [f"setting_{i}" for i in (1, 2, 3)] + [f"sensor_{i:02}" for i in range(1, 22)]
    assert readings["setting_1"] == -0.0007
    assert readings["sensor_01"] == 518.67
    assert readings["sensor_02"] == 641.82
    assert readings["sensor_21"] == 23.419


def test_figures_start_at_20_percent_of_the_span_of_fd001(fd001: list[dict[str, Any]]) -> None:
    """The instant in fleet.toml is first + 0.2 * (last - first) of the telemetry times."""
    times = [parse_instant(event["time"]) for event in fd001 if event["kind"] == "telemetry"]
    mark = min(times) + (max(times) - min(times)) // 5
    lines = (EXAMPLE / "fleet.toml").read_text().splitlines()
    (start,) = (line.split(" = ")[1] for line in lines if line.startswith("figures_from = "))
    assert parse_instant(start) == mark


def test_starts_wrap_at_1500_hours(tmp_path: Path) -> None:
    """Unit u starts at (u * 37) mod 1500 hours: unit 40 at hour 1480, unit 41 at hour 17."""
    path = tmp_path / "train_FD002.txt"
    path.write_text(rows((40, 1), (41, 2)))
    start = parse_instant("2020-01-01T00:00:00Z")
    hours = [((parse_instant(e["time"]) - start) // HOUR, e["asset"], e["kind"]) for e in reader.read(path)]
    assert hours == [
        (18, "engine-041", "telemetry"),
        (19, "engine-041", "telemetry"),
        (20, "engine-041", "failure"),
        (1481, "engine-040", "telemetry"),
        (1482, "engine-040", "failure"),
    ]


def test_a_failure_comes_before_telemetry_of_its_hour(tmp_path: Path) -> None:
    """Unit 1 fails in the hour of unit 41's first cycle after a wrap; the failure comes first."""
    path = tmp_path / "train_FD001.txt"
    path.write_text(rows((1, 3), (2, 40), (41, 30)))  # 41 runs in hours 18 to 47, 1 fails at hour 41
    at_41 = [e for e in reader.read(path) if e["time"] == "2020-01-02T17:00:00Z"]
    assert [(event["kind"], event["asset"]) for event in at_41] == [
        ("failure", "engine-001"),
        ("telemetry", "engine-041"),
    ]


def test_gzipped_and_plain_files_give_the_same_recording(tmp_path: Path) -> None:
    """The command line takes the official files as they come, and writes the same bytes for both."""
    for name in ("plain", "packed"):
        (tmp_path / name).mkdir()
    (tmp_path / "plain" / "train_FD001.txt").write_text(rows((1, 5), (2, 4)))
    with gzip.open(tmp_path / "packed" / "train_FD001.txt.gz", "wt") as packed:
        packed.write(rows((1, 5), (2, 4)))
    for name in ("plain", "packed"):
        reader.main([str(tmp_path / name), "--out", str(tmp_path / name / "data" / "engines.jsonl")])
    plain = (tmp_path / "plain" / "data" / "engines.jsonl").read_bytes()
    assert plain == (tmp_path / "packed" / "data" / "engines.jsonl").read_bytes()
    assert len([orjson.loads(line) for line in plain.splitlines()]) == 5 + 4 + 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 1 2 3\n", ":1: expected 26 columns, got 4"),
        (rows((1, 1)).replace("1001.05", "fast"), ":1: expected numbers"),
        (rows((1, 3)).replace("1 2 ", "1 7 ", 1), ":2: unit 1 goes on at cycle 7; expected 2"),
    ],
)
def test_a_line_that_is_not_of_the_format_is_refused_by_its_number(
    tmp_path: Path, text: str, says: str
) -> None:
    """A truncated or edited download must not become a shorter recording."""
    path = tmp_path / "train_FD001.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=says):
        list(reader.read(path))


def test_a_folder_without_the_subset_is_refused(tmp_path: Path) -> None:
    """The message names both files that were looked for."""
    with pytest.raises(FileNotFoundError, match=r"neither train_FD001\.txt nor train_FD001\.txt\.gz"):
        reader.find(tmp_path, "FD001")


def test_hyperparameters_are_chosen_from_the_first_20_percent_only(tmp_path: Path) -> None:
    """Of hours 0 to 100 the events before hour 20 are kept, whatever comes later."""
    made = []
    for reading in (1.0, 2.0):
        path = tmp_path / f"{reading}.jsonl"
        events = [
            {"kind": "telemetry", "asset": "a", "time": f"2020-01-0{1 + hour // 24}T{hour % 24:02}:00:00Z"}
            | {"readings": {"sensor_02": 1.0 if hour < 20 else reading}}
            for hour in range(101)
        ]
        path.write_bytes(b"".join(orjson.dumps(event) + b"\n" for event in events))
        made.append(choose.early(path))
    assert made[0] == made[1]
    kept, cut = made[0]
    assert [event["time"][11:13] for event in kept] == [f"{hour:02}" for hour in range(20)]
    assert cut == parse_instant("2020-01-01T20:00:00Z")
