"""A user's own files become one recording, equal to the events that they were written from."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.fleet import load
from dataflows.instants import format_instant
from dataflows.mapping.recording import with_recordings, write_recording
from dataflows.mapping.rules import MappingError, Rule

Event = dict[str, Any]
Writer = "Callable[[Path, list[Event]], list[Rule]]"
HOUR = 3_600_000_000
START = 1_577_836_800_000_000
SENSORS = ("volt", "heat")
readings = st.dictionaries(
    st.sampled_from(SENSORS), st.none() | st.floats(-1e6, 1e6, allow_nan=False), min_size=1
)
times = st.integers(0, 200).map(lambda hours: START + hours * HOUR)


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Events of a few machines in the order of a recording: by time, failures before telemetry."""
    found = draw(st.dictionaries(st.tuples(times, st.sampled_from("ab")), readings, min_size=1, max_size=30))
    failures = draw(st.sets(st.tuples(times, st.sampled_from("ab")), max_size=5))
    events = [
        (time, 0, {"kind": "failure", "asset": asset, "time": time, "mode": "leak"})
        for time, asset in failures
    ]
    events += [
        (time, 1, {"kind": "telemetry", "asset": asset, "time": time, "readings": values})
        for (time, asset), values in found.items()
    ]
    return [event for _, _, event in sorted(events, key=lambda each: (*each[:2], each[2]["asset"]))]


def _table(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def _wide(folder: Path, events: list[Event]) -> list[Rule]:
    """One file, a row an event, a column a sensor; times as local text."""
    rows = [
        [
            e["kind"],
            e["asset"],
            format_instant(e["time"])[:19].replace("T", " "),
            e.get("mode", ""),
            *(
                repr(value) if (value := e.get("readings", {}).get(name)) is not None else ""
                for name in SENSORS
            ),
        ]
        for e in events
    ]
    _table(folder / "wide.csv", ["what", "unit", "at", "mode", *SENSORS], rows)
    place = {"asset": "unit", "time": {"field": "at", "zone": "UTC"}}
    return [
        Rule(where={"what": "failure"}, make=[{"kind": "failure", "mode": "mode", **place}]),
        Rule(make=[{"kind": "telemetry", "readings": list(SENSORS), **place}]),
    ]


def _long(folder: Path, events: list[Event]) -> list[Rule]:
    """A file of readings with one sensor a row, and a file of failures; times as epoch milliseconds."""
    telemetry = [
        [
            e["asset"],
            e["time"] // 1000,
            name,
            "" if (value := e["readings"].get(name)) is None else repr(value),
        ]
        for e in events
        if e["kind"] == "telemetry"
        for name in SENSORS
    ]
    _table(folder / "a_readings.csv", ["asset", "ms", "tag", "value"], telemetry)
    _table(
        folder / "failures.csv",
        ["asset", "ms"],
        [[e["asset"], e["time"] // 1000] for e in events if e["kind"] == "failure"],
    )
    place = {"asset": "asset", "time": {"field": "ms", "unit": "ms"}}
    return [
        Rule(files=["a_readings.csv"], make=[{"kind": "telemetry", "tag": "tag", "value": "value", **place}]),
        Rule(files=["failures.csv"], make=[{"kind": "failure", "mode": {"value": "leak"}, **place}]),
    ]


def _nested(folder: Path, events: list[Event]) -> list[Rule]:
    """JSON Lines with nested fields; times as epoch seconds."""
    lines = [
        json.dumps(
            {
                "header": {"machine": e["asset"], "t": e["time"] // 1_000_000},
                "body": {"mode": e.get("mode"), "is": e["kind"], **e.get("readings", {})},
            }
        )
        for e in events
    ]
    (folder / "nested.jsonl").write_text("\n".join(lines), encoding="utf-8")
    place = {"asset": "header.machine", "time": {"field": "header.t", "unit": "s"}}
    return [
        Rule(where={"body.is": "failure"}, make=[{"kind": "failure", "mode": "body.mode", **place}]),
        Rule(make=[{"kind": "telemetry", "readings": {name: f"body.{name}" for name in SENSORS}, **place}]),
    ]


def _parquet(folder: Path, events: list[Event]) -> list[Rule]:
    """Parquet with typed columns."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.table(
        {
            "kind": [e["kind"] for e in events],
            "unit": [e["asset"] for e in events],
            "at": arrow.array([e["time"] for e in events], arrow.timestamp("us", "UTC")),
            "mode": arrow.array([e.get("mode") for e in events], arrow.string()),
            **{
                name: arrow.array([e.get("readings", {}).get(name) for e in events], arrow.float64())
                for name in SENSORS
            },
        }
    )
    parquet.write_table(table, folder / "typed.parquet")
    place = {"asset": "unit", "time": "at"}
    return [
        Rule(where={"kind": "failure"}, make=[{"kind": "failure", "mode": "mode", **place}]),
        Rule(make=[{"kind": "telemetry", "readings": list(SENSORS), **place}]),
    ]


def _full(event: Event) -> Event:
    """An event with every sensor, as a table has it: a cell that is empty is a missing value."""
    if event["kind"] != "telemetry":
        return event | {"time": format_instant(event["time"])}
    values = {name: event["readings"].get(name) for name in SENSORS}
    return event | {"time": format_instant(event["time"]), "readings": values}


@pytest.mark.parametrize("write", [_wide, _long, _nested, _parquet])
@given(events=histories())
def test_a_history_written_in_any_form_comes_back(write: Writer, events: list[Event]) -> None:
    """Wide CSV, long CSV, nested JSON and Parquet give the events that were written, in their order."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rules = write(folder, events)
        files = sorted(str(path) for path in folder.iterdir())
        made = write_recording(files, rules, folder / "events.jsonl")
        lines = made.path.read_bytes().splitlines()
    assert [orjson.loads(line) for line in lines] == [_full(event) for event in events]
    assert made.unusable == 0
    assert not made.unmatched


def test_more_events_than_fit_into_memory_are_sorted_in_files(tmp_path: Path) -> None:
    """Chunks that were sorted in files give the same recording as one in memory."""
    rows = [["a", (n * 7919) % 1000, n] for n in range(1000)]
    _table(tmp_path / "a.csv", ["asset", "s", "volt"], rows)
    rule = Rule(
        make=[
            {"kind": "telemetry", "asset": "asset", "time": {"field": "s", "unit": "s"}, "readings": ["volt"]}
        ]
    )
    whole = write_recording([str(tmp_path / "a.csv")], [rule], tmp_path / "whole.jsonl").path.read_bytes()
    parts = write_recording([str(tmp_path / "a.csv")], [rule], tmp_path / "parts.jsonl", in_memory=90)
    assert parts.path.read_bytes() == whole


FLEET = """
name = "own"
[input]
files = ["*.csv"]
[[input.map]]
make = [{ kind = "telemetry", asset = "asset", time = { field = "s", unit = "s" }, readings = ["volt"] }]
[classes.machine]
sensors = ["volt"]
"""


def test_new_files_make_a_recording_of_their_own(tmp_path: Path) -> None:
    """Files of the next day are read after those of the days before, which stay as they were recorded."""
    (tmp_path / "fleet.toml").write_text(FLEET, encoding="utf-8")
    _table(tmp_path / "day1.csv", ["asset", "s", "volt"], [["a", 10, 1], ["a", 5, 2]])
    first, _ = with_recordings(load(tmp_path / "fleet.toml"))
    before = Path(first.input.files[0]).read_bytes()
    _table(tmp_path / "day2.csv", ["asset", "s", "volt"], [["a", 20, 3]])
    second, made = with_recordings(load(tmp_path / "fleet.toml"))
    assert second.input.files[:1] == first.input.files
    assert Path(first.input.files[0]).read_bytes() == before
    assert len(second.input.files) == 2
    assert [each["rows"] for each in made] == [2, 1]


def test_a_file_that_changed_after_it_was_recorded_is_refused(tmp_path: Path) -> None:
    """Rows that were read must not change: what to do is said."""
    (tmp_path / "fleet.toml").write_text(FLEET, encoding="utf-8")
    _table(tmp_path / "day1.csv", ["asset", "s", "volt"], [["a", 10, 1]])
    with_recordings(load(tmp_path / "fleet.toml"))
    _table(tmp_path / "day1.csv", ["asset", "s", "volt"], [["a", 10, 2]])
    with pytest.raises(MappingError, match=r"day1\.csv changed .*new files, or start over \(--fresh\)"):
        with_recordings(load(tmp_path / "fleet.toml"))


@pytest.mark.parametrize("content", [b"", b'[{"recording"', b"5"])
def test_a_damaged_index_of_recordings_is_a_message(content: bytes, tmp_path: Path) -> None:
    """It says what to do; nothing is read twice without a word."""
    (tmp_path / "fleet.toml").write_text(FLEET, encoding="utf-8")
    _table(tmp_path / "day1.csv", ["asset", "s", "volt"], [["a", 10, 1]])
    with_recordings(load(tmp_path / "fleet.toml"))
    (index,) = (tmp_path / "out" / "input").glob("recordings.json")
    index.write_bytes(content)
    with pytest.raises(MappingError, match=r"recordings\.json is damaged; restore it from a copy"):
        with_recordings(load(tmp_path / "fleet.toml"))


def test_a_recording_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    """Keys that rules got since count only where they are set: the digest is that of version 0.1.0."""
    (tmp_path / "fleet.toml").write_text(FLEET, encoding="utf-8")
    _table(tmp_path / "day1.csv", ["asset", "s", "volt"], [["a", 10, 1]])
    _, [made] = with_recordings(load(tmp_path / "fleet.toml"))
    assert made["rules"] == "1b695eef292e2a8b2133899018062043"
    asset = 'asset = { field = "asset", match = "a" }'
    (tmp_path / "fleet.toml").write_text(FLEET.replace('asset = "asset"', asset), encoding="utf-8")
    with pytest.raises(MappingError, match="changed since"):
        with_recordings(load(tmp_path / "fleet.toml"))


def test_changed_rules_are_refused(tmp_path: Path) -> None:
    """A recording holds events of the rules it was made by."""
    (tmp_path / "fleet.toml").write_text(FLEET, encoding="utf-8")
    _table(tmp_path / "day1.csv", ["asset", "s", "volt"], [["a", 10, 1]])
    with_recordings(load(tmp_path / "fleet.toml"))
    (tmp_path / "fleet.toml").write_text(FLEET.replace('unit = "s"', 'unit = "ms"'), encoding="utf-8")
    with pytest.raises(MappingError, match=r"changed since events-0000\.jsonl was made"):
        with_recordings(load(tmp_path / "fleet.toml"))
