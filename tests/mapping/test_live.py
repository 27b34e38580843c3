"""Rows of growing files become events as they come: those of a recording of the same rows, through kills."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.connectors.files import FileSource
from dataflows.events import Reject, decode
from dataflows.fleet import FleetError, load
from dataflows.fleet.fleet import Input
from dataflows.instants import format_instant
from dataflows.mapping.live import LiveRows, rows_of_topic
from dataflows.mapping.recording import with_recordings, write_recording
from dataflows.mapping.rules import MappingError, Rule
from dataflows.status import RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataflows.connectors.source import LanePartition
    from dataflows.items import Item

SECOND = 1_000_000
START = 1_577_836_800 * SECOND
PLACE: dict[str, Any] = {
    "asset": "unit",
    "time": {"field": "ms", "unit": "ms"},
    "arrived": {"field": "got", "unit": "ms"},
}
MAKE: list[dict[str, Any]] = [
    {"kind": "telemetry", "readings": ["volt"], **PLACE},
    {"kind": "failure", "mode": "code", "where": {"code": "*"}, **PLACE},
]
RULES = [Rule(where={"unit": "*"}, make=MAKE)]


def _csv(rows: list[dict[str, Any]]) -> list[str]:
    names = ["unit", "ms", "got", "volt", "code"]
    return [";".join(names), *(";".join(str(row.get(name, "")) for name in names) for row in rows)]


def _json(rows: list[dict[str, Any]]) -> list[str]:
    return [orjson.dumps(row).decode() for row in rows]


def _text(rows: list[dict[str, Any]]) -> list[str]:
    return [
        line.replace(";", " ")
        for line in _csv([{"unit": "-", "volt": "-", "code": "-", **row} for row in rows])
    ]


@st.composite
def arrivals(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows of two machines in their order of arrival; some hold a failure, some no machine at all."""
    rows, got = [], START // 1_000
    for _ in range(draw(st.integers(0, 25))):
        got += draw(st.integers(0, 5_000))
        row: dict[str, Any] = {"ms": got - draw(st.integers(0, 9_000)), "got": got}
        row |= draw(st.fixed_dictionaries({}, optional={"volt": st.integers(0, 9), "code": st.just("leak")}))
        rows.append(row | ({"unit": draw(st.sampled_from("ab"))} if draw(st.integers(0, 4)) else {}))
    return rows


class Followed:
    """A file that is followed by rules, through kills."""

    def __init__(self, folder: Path, name: str, rules: list[Rule] = RULES) -> None:
        self.path = folder / name
        self.path.touch()
        self._journal = folder / "journal"
        self._rules = tuple(rules)
        self.status = RunStatus()
        self.part: LanePartition | None = None

    def start(self, resume: bytes | None = None) -> LanePartition:
        self.kill()
        follow = Input((str(self.path),), 3, follow=True, rules=self._rules)
        source = FileSource(follow, self.status, journal=self._journal)
        self.part = source.build_part("source", "lane-0", resume)
        return self.part

    def write(self, text: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text)

    def kill(self) -> None:
        if self.part is not None:
            self.part.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def _taken(part: LanePartition) -> list[Item]:
    """All items that are there now."""
    items: list[Item] = []
    while True:
        items += part.next_batch()
        if part.next_awake() is not None:
            return items


@pytest.mark.parametrize(("name", "write"), [("a.csv", _csv), ("a.jsonl", _json), ("a.txt", _text)])
@given(rows=arrivals(), data=st.data())
def test_followed_rows_are_the_events_of_their_recording(
    name: str,
    write: Callable[[list[dict[str, Any]]], list[str]],
    rows: list[dict[str, Any]],
    data: st.DataObject,
) -> None:
    """However the file grew, and wherever the run was killed: each event once, in one sequence."""
    with tempfile.TemporaryDirectory() as folder, Followed(Path(folder), name) as followed:
        text = "".join(f"{line}\n" for line in write(rows))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
        part, resume, kept, items = followed.start(), None, 0, []
        for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
            followed.write(text[start:end])
            items += _taken(part)
            if data.draw(st.booleans()):
                resume, kept = part.snapshot(), len(items)
            if data.draw(st.booleans()):
                before = items[kept:]
                part = followed.start(resume)
                items = items[:kept] + (again := _taken(part))
                assert [item.body for item in again] == [item.body for item in before]
        made = write_recording([str(followed.path)], RULES, Path(folder) / "events.jsonl")
        lines = made.path.read_bytes().splitlines()
        assert [item.body for item in items] == [decode(line) for line in lines]
        assert [item.sequence for item in items] == list(range(1, len(items) + 1))


def test_what_a_spreadsheet_adds_to_a_file_that_is_followed_is_no_row(tmp_path: Path) -> None:
    """As in a recording: the line that names the delimiter, and blank rows."""
    with Followed(tmp_path, "a.csv") as followed:
        head, row = _csv([{"unit": "a", "ms": START // 1_000, "got": START // 1_000, "volt": 5}])
        followed.write(f"sep=;\n{head}\n;;;;\n{row}\n")
        items = _taken(followed.start())
        made = write_recording([str(followed.path)], RULES, tmp_path / "events.jsonl")
        (line,) = made.path.read_bytes().splitlines()
        assert [item.body for item in items] == [decode(line)]


def test_lines_before_the_header_of_a_file_that_is_followed_are_skipped(tmp_path: Path) -> None:
    """As in a recording, also while the header has not been written yet; resumed after it, rows are rows."""
    rules = [Rule(skip=2, where={"unit": "*"}, make=MAKE)]
    head, row = _csv([{"unit": "a", "ms": START // 1_000, "got": START // 1_000, "volt": 5}])
    with Followed(tmp_path, "a.csv", rules) as followed:
        followed.write("Trend of hall 3\n")
        part = followed.start()
        assert _taken(part) == []
        followed.write(f"\n{head}\n{row}\n")
        items = _taken(part)
        assert len(items) == 1
        resume = part.snapshot()
        followed.write(f"{row.replace(';5;', ';6;')}\n")
        items += _taken(followed.start(resume))
        made = write_recording([str(followed.path)], rules, tmp_path / "events.jsonl")
        assert [item.body for item in items] == [decode(line) for line in made.path.read_bytes().splitlines()]


def test_what_is_no_event_is_rejected_with_its_file_and_line(tmp_path: Path) -> None:
    """A row that is torn, lacks its machine, or tells no time; its neighbours are read as ever."""
    rows = ["unit,ms,got,volt,code", "a,1,1,5,", "a,2,2", ",3,3,5,", 'a,4,4,"5,', "a,soon,5,5,leak"]
    with Followed(tmp_path, "a.csv", [Rule(make=MAKE)]) as followed:
        followed.write("\n".join([*rows, "a,6,6,5,leak", ""]))
        items = _taken(followed.start())
    seen = [(item.position[1], getattr(item.body, "detail", None)) for item in items]
    assert seen[:4] == [
        (2, None),
        (3, "the row has another number of columns, or is not a JSON object"),
        (4, "telemetry: asset is missing"),
        (5, "the row has another number of columns, or is not a JSON object"),
    ]
    assert [line for line, _ in seen] == [2, 3, 4, 5, 6, 6, 7, 7]
    assert all(detail and "'soon'" in detail for _, detail in seen[4:6])
    assert {item.position[0] for item in items} == {str(followed.path)}
    body = items[1].body
    assert isinstance(body, Reject)
    assert (body.reason, body.raw) == ("malformed", b"a,2,2")


def test_a_rule_that_names_no_column_of_the_header_ends_the_run(tmp_path: Path) -> None:
    """With the nearest column, as for a recording."""
    with Followed(tmp_path, "a.csv") as followed:
        part = followed.start()
        followed.write("unit,ms,got,volts,code\n")
        with pytest.raises(MappingError, match=r"has no field 'volt'; did you mean 'volts'\?"):
            _taken(part)


def test_a_value_that_lacks_a_field_names_the_nearest(tmp_path: Path) -> None:
    """JSON has no header, so the reject says what the rule may have meant."""
    del tmp_path
    rows = LiveRows("a", [Rule(make=MAKE[:1])], "json lines")
    (reject,) = rows.read(b'{"units":"a","ms":1,"got":1,"volt":5}', 1, 0) or ()
    assert isinstance(reject, Reject)
    assert reject.detail == "telemetry: asset is missing, the row has no field 'unit'; did you mean 'units'?"


def test_rules_are_for_topics_by_name(tmp_path: Path) -> None:
    """`topics` are globs as `files` are; `{file}` is the name of the topic; `columns` make values CSV."""
    del tmp_path
    make = [{"kind": "telemetry", "asset": {"text": "{file}-{unit}"}, "readings": ["volt"]}]
    make = [{**make[0], "time": PLACE["time"]}]
    rules = [Rule(topics=["press*"], columns=["unit", "ms", "volt"], make=make)]
    (event,) = rows_of_topic("press.eu", rules).read(b"7,1000,5.5", 1, 0) or ()
    assert event == decode(b'{"kind":"telemetry","asset":"press.eu-7","time":1,"readings":{"volt":5.5}}')
    with pytest.raises(MappingError, match=r"pumps: no rule .* for this topic; they are for press\*"):
        rows_of_topic("pumps", rules)


FLEET = """
name = "own"
[input]
files = ["*.csv"]
follow = {follow}
[[input.map]]
make = [
  {{ kind = "telemetry", asset = "unit", time = {{ field = "ms", unit = "ms" }}, {more}readings = ["volt"] }},
]
[classes.machine]
sensors = ["volt"]
"""
ARRIVED = 'arrived = { field = "got", unit = "ms" }, '


def test_files_are_followed_after_the_recording_of_their_history(tmp_path: Path) -> None:
    """With `follow` set after a run, its recording is read first, then files that it does not hold."""
    (tmp_path / "history.csv").write_text("unit,ms,got,volt\na,1,2,3\n", encoding="utf-8")
    (tmp_path / "fleet.toml").write_text(FLEET.format(follow="false", more=ARRIVED), encoding="utf-8")
    before, _ = with_recordings(load(tmp_path / "fleet.toml"))
    (tmp_path / "fleet.toml").write_text(FLEET.format(follow="true", more=ARRIVED), encoding="utf-8")
    (tmp_path / "live.csv").write_text("unit,ms,got,volt\na,3,4,5\n", encoding="utf-8")
    fleet, _ = with_recordings(load(tmp_path / "fleet.toml"))
    assert fleet.input.files == (*before.input.files, str(tmp_path / "live.csv"))
    part = FileSource(fleet.input, RunStatus(), journal=tmp_path / "journal").build_part(
        "source", "lane-0", None
    )
    bodies: list[Any] = [item.body for item in _taken(part)]
    part.close()
    assert [format_instant(body.arrived)[20:23] for body in bodies] == ["002", "004"]


def test_rows_that_are_followed_need_an_arrival_and_have_no_last(tmp_path: Path) -> None:
    """Both are refused before the run, with the place in the file."""
    text = FLEET.format(follow="true", more='when = "last", ')
    (tmp_path / "fleet.toml").write_text(text, encoding="utf-8")
    with pytest.raises(
        FleetError, match="`arrived`: rows of followed files need a time of receipt"
    ) as refused:
        load(tmp_path / "fleet.toml")
    assert "of rows that still come, none is the last" in str(refused.value)


def test_a_batch_may_hold_rows_alone(tmp_path: Path) -> None:
    """Thousands of rows that no rule takes are read through; what comes after them is read."""
    with Followed(tmp_path, "a.csv") as followed:
        part = followed.start()
        followed.write("unit,ms,got,volt,code\n" + ",1,1,,\n" * 5_000 + "a,1,1,5,\n")
        assert [item.sequence for item in _taken(part)] == [1]
        assert followed.status.read("unmatched") == 5_000
        resume = part.snapshot()
        assert _taken(followed.start(resume)) == []
        assert followed.status.read("unmatched") == 0
