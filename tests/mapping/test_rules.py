"""Rules make events of the rows of a user's own files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from dataflows.events import Reject, decode
from dataflows.fleet.load import from_document
from dataflows.fleet.problems import FleetError
from dataflows.instants import format_instant, parse_instant
from dataflows.mapping.recording import Recording, events_of
from dataflows.mapping.rows import RowsError, encoding_of, read_rows
from dataflows.mapping.rules import MappingError, Rule, Time

if TYPE_CHECKING:
    from pathlib import Path


def _rule(**table: object) -> Rule:
    return Rule.model_validate(table)


def _events(path: object, *rules: Rule) -> list[dict[str, object]]:
    return list(events_of(str(path), rules, Recording(None)))  # type: ignore[arg-type]


TELEMETRY = {"kind": "telemetry", "asset": "machine", "time": {"field": "at", "zone": "UTC"}}


def test_a_semicolon_file_with_decimal_commas_is_read(tmp_path: Path) -> None:
    """Excel in Europe writes semicolons and decimal commas."""
    path = tmp_path / "export.csv"
    path.write_text("machine;at;volt\n7;2020-01-01 00:00:00;1.234,5\n", encoding="utf-8-sig")
    rule = _rule(make=[TELEMETRY | {"readings": {"volt": {"field": "volt", "decimal": ","}}}])
    assert _events(path, rule)[0]["readings"] == {"volt": 1234.5}


def test_commas_part_thousands_where_they_can_be_nothing_else(tmp_path: Path) -> None:
    """`1,250` may have a decimal comma, so it needs `decimal`; a percent sign ends a number."""
    path = tmp_path / "export.csv"
    path.write_text(
        'machine,at,bar,oee\n7,2020-01-01 00:00:00,"1,250.5",97 %\n7,2020-01-02 00:00:00,"1,250",\n'
    )
    rule = _rule(make=[TELEMETRY | {"readings": ["bar", "oee"]}])
    assert [each["readings"] for each in _events(path, rule)] == [
        {"bar": 1250.5, "oee": 97},
        {"bar": "1,250", "oee": None},
    ]
    rule = _rule(make=[TELEMETRY | {"readings": {"bar": {"field": "bar", "decimal": "."}}}])
    assert [each["readings"] for each in _events(path, rule)] == [{"bar": 1250.5}, {"bar": 1250}]


@pytest.mark.parametrize("first", ["", "sep=;\r\n", '"sep=;"\r\n'])
def test_what_a_spreadsheet_adds_is_no_row(tmp_path: Path, first: str) -> None:
    """A line that names the delimiter, blank rows of delimiters, and a delimiter more at the end of a row."""
    path = tmp_path / "export.csv"
    path.write_text(
        f"{first}machine;at;volt;volt\r\n;;;\r\n7;2020-01-01 00:00:00;5;6;\r\n;;;\r\n", encoding="utf-8-sig"
    )
    rule = _rule(make=[TELEMETRY | {"readings": ["volt", "volt (4)"]}])
    assert [each["readings"] for each in _events(path, rule)] == [{"volt": 5.0, "volt (4)": 6.0}]
    assert [row.number for row in read_rows(str(path))] == [3 + bool(first)]


def test_lines_before_a_header_keep_their_numbers(tmp_path: Path) -> None:
    """`skip` leaves them out, before rows without a header too; a row has the line that an editor shows."""
    path = tmp_path / "a.csv"
    path.write_text("Report\n\nmachine;at;volt\n7;2020-01-01;5\n")
    assert [(row.number, row.fields) for row in read_rows(str(path), skip=2)] == [
        (4, {"machine": "7", "at": "2020-01-01", "volt": "5"})
    ]
    text = tmp_path / "a.txt"
    text.write_text("Report of hall 3\n1 2\n3 4\n")
    assert [row.number for row in read_rows(str(text), columns=["a", "b"], skip=1)] == [2, 3]
    assert [row.fields for row in read_rows(str(text), skip=1)] == [{"1": "3", "2": "4"}]


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        ("43831", "2020-01-01T00:00:00Z"),
        ("43831.52083", "2020-01-01T12:30:00Z"),
        ("43831,52083", "2020-01-01T12:30:00Z"),
        ("43831.520833345", "2020-01-01T12:30:00.001Z"),
        (43831.5208333449, "2020-01-01T12:30:00.001Z"),
        (43831, "2020-01-01T00:00:00Z"),
    ],
)
def test_a_serial_date_is_as_exact_as_its_decimals(value: object, instant: str) -> None:
    """A spreadsheet shows five decimals, which are a second; with all of them it is a millisecond."""
    assert Time(field="at", format="excel", zone="UTC").read({"at": value}) == parse_instant(instant)


@pytest.mark.parametrize("value", ["noon", "-1", "0", "1e9"])
def test_what_is_no_serial_date_is_refused(value: str) -> None:
    """The row is rejected with its value."""
    with pytest.raises(ValueError, match=r"is no serial date such as 45000\.5"):
        Time(field="at", format="excel", zone="UTC").read({"at": value})


def test_a_serial_date_needs_a_zone() -> None:
    """A sheet holds local times; one that clocks skip is refused, not guessed."""
    with pytest.raises(ValueError, match="has no offset; give the `zone`"):
        Time(field="at", format="excel").read({"at": "43831"})
    with pytest.raises(ValueError, match="does not exist in Europe/Berlin"):
        Time(field="at", format="excel", zone="Europe/Berlin").read({"at": "43919.1042"})


def test_weeks_months_and_years_are_units_of_numbers() -> None:
    """A year has 365.25 days, a month is a twelfth of it."""
    day = 86_400_000_000
    for unit, days in (("w", 7), ("mo", 30.4375), ("y", 365.25)):
        assert Time(field="t", unit=unit).read({"t": "2"}) == 2 * days * day


def test_an_empty_value_is_a_missing_one(tmp_path: Path) -> None:
    """So `unless` leaves out the machine whose cells are all empty."""
    path = tmp_path / "trend.csv"
    path.write_text("at,a_volt,a_heat\n2020-01-01 00:00:00,,\n2020-01-02 00:00:00,,7\n")
    made = TELEMETRY | {"asset": {"value": "a"}, "readings": {"volt": "a_volt", "heat": "a_heat"}}
    rule = _rule(make=[made | {"unless": {"a_volt": "", "a_heat": ""}}])
    assert [each["readings"] for each in _events(path, rule)] == [{"volt": None, "heat": 7.0}]


def test_a_row_makes_several_events(tmp_path: Path) -> None:
    """One row of a disk is its registry row, its telemetry and, on its last day, its failure."""
    path = tmp_path / "day.csv"
    path.write_text(
        "serial,date,model,failure,smart_5\nA,2020-01-01,X,0,1\nB,2020-01-01,Y,1,\n", encoding="utf-8"
    )
    time = {"field": "date", "zone": "UTC"}
    rule = _rule(
        make=[
            {"kind": "asset", "asset": "serial", "class": {"value": "disk"}, "attributes": ["model"]},
            {"kind": "telemetry", "asset": "serial", "time": time, "readings": ["smart_5"]},
            {
                "kind": "failure",
                "where": {"failure": "1"},
                "asset": "serial",
                "time": time | {"add": "1d"},
                "mode": {"value": "dead"},
            },
        ]
    )
    events = _events(path, rule)
    assert [event["kind"] for event in events] == ["asset", "telemetry", "asset", "telemetry", "failure"]
    assert events[3]["readings"] == {"smart_5": None}
    assert events[4]["time"] == parse_instant("2020-01-02T00:00:00Z")


def test_the_last_row_of_each_asset_makes_an_event(tmp_path: Path) -> None:
    """A run-to-failure recording has no failure records: each engine fails after its last cycle."""
    path = tmp_path / "train.txt"
    path.write_text("1 1 0.5\n1 2 0.6\n2 1 0.7\n2 2 0.8\n2 3 0.9\n", encoding="utf-8")
    time = {"field": "cycle", "unit": "h", "since": "2020-01-01T00:00:00Z"}
    rule = _rule(
        columns=["unit", "cycle", "s1"],
        make=[
            {"kind": "telemetry", "asset": {"text": "engine-{unit}"}, "time": time, "readings": ["s1"]},
            {
                "kind": "failure",
                "when": "last",
                "asset": {"text": "engine-{unit}"},
                "time": time | {"add": "1h"},
                "mode": {"value": "failure"},
            },
        ],
    )
    failures = [event for event in _events(path, rule) if event["kind"] == "failure"]
    assert [(event["asset"], event["time"]) for event in failures] == [
        ("engine-1", parse_instant("2020-01-01T03:00:00Z")),
        ("engine-2", parse_instant("2020-01-01T04:00:00Z")),
    ]


def test_the_first_rule_that_takes_a_row_makes_its_events(tmp_path: Path) -> None:
    """A work order is a failure or a repair by its type; an order of another type is counted."""
    path = tmp_path / "orders.csv"
    path.write_text(
        "machine,at,type\n1,2020-01-01,broken\n1,2020-01-02,service\n1,2020-01-03,cleaning\n",
        encoding="utf-8",
    )
    place = {"asset": "machine", "time": {"field": "at", "zone": "UTC"}}
    rules = [
        _rule(where={"type": "broken"}, make=[{"kind": "failure", "mode": {"value": "any"}, **place}]),
        _rule(where={"type": ["broken", "service"]}, make=[{"kind": "maintenance", **place}]),
    ]
    recording = Recording(None)  # type: ignore[arg-type]
    kinds = [event["kind"] for event in events_of(str(path), rules, recording)]
    assert kinds == ["failure", "maintenance"]
    assert recording.unmatched == {str(path): 1}


def test_a_code_without_a_name_makes_no_event(tmp_path: Path) -> None:
    """Codes become modes by a table; a code that is not in it is no failure of interest."""
    path = tmp_path / "codes.csv"
    path.write_text("machine,at,code\n1,2020-01-01,F01\n1,2020-01-02,F99\n", encoding="utf-8")
    mode = {"field": "code", "names": {"F01": "leak"}}
    rule = _rule(
        make=[{"kind": "failure", "asset": "machine", "time": {"field": "at", "zone": "UTC"}, "mode": mode}]
    )
    assert [event["mode"] for event in _events(path, rule)] == ["leak"]


def test_a_part_of_a_field_is_found_by_a_regular_expression(tmp_path: Path) -> None:
    """A tag of a historian names machine and sensor; one that does not match is a reject with its reason."""
    path = tmp_path / "tags.csv"
    path.write_text("at,tag,value\n2020-01-01,a.p-7.flow,3\n2020-01-01,oops,4\n", encoding="utf-8")
    telemetry = {
        "kind": "telemetry",
        "asset": {"field": "tag", "match": "[.]([^.]*)[.]"},
        "time": {"field": "at", "zone": "UTC"},
        "tag": {"field": "tag", "match": "[^.]*$", "names": {"flow": "Flow"}},
        "value": "value",
    }
    found, unusable = _events(path, _rule(make=[telemetry]))
    assert (found["asset"], found["readings"]) == ("p-7", {"Flow": 3.0})
    assert unusable["why"] == "telemetry: asset is missing"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ({"field": "a", "match": "("}, "no regular expression"),
        ({"field": "a", "match": "(.)(.)"}, "has 2 groups"),
        ({"value": "a", "match": "."}, "needs a `field`"),
    ],
    ids=["broken", "groups", "no-field"],
)
def test_a_regular_expression_that_finds_nothing_is_refused(source: dict[str, str], why: str) -> None:
    """Before any row is read."""
    with pytest.raises(ValueError, match=why):
        _rule(make=[{"kind": "maintenance", "asset": source, "time": "at"}])


@pytest.mark.parametrize(
    ("text", "why"),
    [("2021-10-31 02:30:00", "occurs twice"), ("2021-03-28 02:30:00", "does not exist")],
)
def test_a_local_time_that_clocks_repeat_or_skip_is_refused(text: str, why: str) -> None:
    """In the hour in which clocks change a local time says nothing: a reject, never a guess."""
    with pytest.raises(ValueError, match=why):
        Time(field="at", zone="Europe/Berlin").read({"at": text})


@pytest.mark.parametrize(
    ("unit", "value"),
    [("s", "1577973600"), ("ms", 1577973600000), ("us", "1577973600000000"), ("ns", 1577973600000000000)],
)
def test_epoch_numbers_of_every_unit_are_read(unit: str, value: object) -> None:
    """Seconds to nanoseconds, as text or number."""
    assert Time(field="at", unit=unit).read({"at": value}) == parse_instant("2020-01-02T14:00:00Z")


def test_a_row_that_cannot_be_used_ends_in_the_rejects_with_its_own_line(tmp_path: Path) -> None:
    """A bad time, a short row and a missing asset lose nothing: each has its file, line, reason and text."""
    path = tmp_path / "bad.csv"
    path.write_text("machine,at,volt\n1,yesterday,2\n1,2020-01-01\n,2020-01-01,3\n", encoding="utf-8")
    rule = _rule(make=[TELEMETRY | {"readings": ["volt"]}])
    rejects = [decode(orjson.dumps(event)) for event in _events(path, rule)]
    assert all(isinstance(reject, Reject) and reject.reason == "malformed" for reject in rejects)
    assert ["line 2" in rejects[0].detail, "line 3" in rejects[1].detail, "line 4" in rejects[2].detail] == [
        True
    ] * 3
    assert "yesterday" in rejects[0].detail
    assert rejects[2].raw == b",2020-01-01,3"


def test_a_misspelt_field_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    """Names that match nothing are never silent."""
    path = tmp_path / "a.csv"
    path.write_text("machine,at,voltage\n1,2020-01-01,2\n", encoding="utf-8")
    with pytest.raises(MappingError, match="no field 'voltag'; did you mean 'voltage'"):
        _events(path, _rule(make=[TELEMETRY | {"readings": {"volt": "voltag"}}]))


def test_a_file_without_a_rule_is_refused(tmp_path: Path) -> None:
    """A file that no rule is for must not be left out in silence."""
    path = tmp_path / "other.csv"
    path.write_text("a\n", encoding="utf-8")
    with pytest.raises(MappingError, match="no rule of"):
        _events(path, _rule(files=["telemetry*"], make=[TELEMETRY | {"readings": ["volt"]}]))


def test_a_file_of_unknown_form_is_refused(tmp_path: Path) -> None:
    """The suffix says what a file holds; another one is refused with those that are known."""
    with pytest.raises(RowsError, match=r"\.parquet"):
        list(read_rows(str(tmp_path / "a.dat")))


def test_what_is_wrong_with_a_rule_is_said_with_its_key() -> None:
    """A rule is refused before anything runs, by key, with what was expected."""
    document = {
        "name": "f",
        "input": {
            "files": ["a.csv"],
            "map": [
                {"make": [{"kind": "failure", "asset": "m", "time": "at"}]},
                {
                    "make": [
                        {"kind": "fault", "asset": "m", "time": {"field": "at", "zone": "Mars"}, "code": "c"}
                    ]
                },
                {"file": ["a"], "make": [TELEMETRY | {"readings": ["volt"]}]},
            ],
        },
        "classes": {"m": {"sensors": ["volt"]}},
    }
    with pytest.raises(FleetError) as error:
        from_document(document, "fleet.toml")
    text = str(error.value)
    assert "input.map[0].make[0]: expected an event of kind failure needs mode" in text
    assert "input.map[1].make[0].time: expected a `zone` such as UTC or Europe/Berlin" in text
    assert "Mars" in text
    assert "function" not in text
    assert "valid string" not in text
    assert "input.map[2].file: expected no such key" in text


def test_texts_of_people_are_chosen_by_a_word_in_them(tmp_path: Path) -> None:
    """A value with `*` is a glob in upper or lower case; `unless` leaves rows out."""
    path = tmp_path / "orders.csv"
    path.write_text(
        "machine,at,text\n"
        "7,2020-01-01 00:00:00,Bearing worn - replaced\n"
        "7,2020-01-02 00:00:00,hydraulic BEARING leaks\n"
        "7,2020-01-03 00:00:00,oil change\n",
        encoding="utf-8",
    )
    place = {"kind": "failure", "asset": "machine", "time": {"field": "at", "zone": "UTC"}}
    of_bearings = {**place, "mode": {"value": "bearing"}, "where": {"text": ["*bearing*", "*spindle*"]}}
    rule = _rule(make=[{**of_bearings, "unless": {"text": "*leak*"}}])
    assert [format_instant(int(str(each["time"])))[:10] for each in _events(path, rule)] == ["2020-01-01"]


def test_a_file_of_windows_is_read_in_its_encoding(tmp_path: Path) -> None:
    """Letters beyond ASCII are those that were written; an encoding that there is none of is refused."""
    path = tmp_path / "a.csv"
    path.write_bytes("machine;at;Öl\nPümpe;2020-01-01 00:00:00;5\n".encode("cp1252"))
    (event,) = _events(path, _rule(encoding="cp1252", make=[TELEMETRY | {"readings": ["Öl"]}]))
    assert (event["asset"], event["readings"]) == ("Pümpe", {"Öl": 5.0})
    with pytest.raises(ValueError, match=r"no encoding is called 'cp12'; examples: utf-8, cp1252"):
        _rule(encoding="cp12", make=[TELEMETRY | {"readings": ["Öl"]}])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_file_in_utf_16_is_read(tmp_path: Path, suffix: str, encoding: str) -> None:
    """Excel writes "Unicode text" so; the mark at its beginning tells it, and no rule has to."""
    text = "machine;at;Öl\nPümpe;2020-01-01 00:00:00;5\n"
    if suffix == "jsonl":
        text = '{"machine":"Pümpe","at":"2020-01-01 00:00:00","Öl":5}\n'
    mark = "" if encoding == "utf-16" else "\ufeff"
    path = tmp_path / f"a.{suffix}"
    path.write_bytes((mark + text).encode(encoding))
    (event,) = _events(path, _rule(make=[TELEMETRY | {"readings": ["Öl"]}]))
    assert (event["asset"], event["readings"]) == ("Pümpe", {"Öl": 5.0})
    assert encoding_of(str(path)) == "utf-16"


@pytest.mark.parametrize("value", ['{"plant":"north","unit":7}', "[7]"])
def test_an_object_is_no_text(tmp_path: Path, value: str) -> None:
    """No machine is called as Python shows an object; the reject says which fields are inside."""
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"machine":{value},"at":"2020-01-01","volt":1}}\n')
    (event,) = _events(path, _rule(make=[TELEMETRY | {"readings": ["volt"]}]))
    assert event["kind"] == "unusable"
    assert str(event["why"]).startswith("telemetry: machine: expected a text, got an ") or str(
        event["why"]
    ).startswith("machine: expected a text, got an ")
    (inside,) = _events(
        path,
        _rule(where={"machine": "*"}, make=[TELEMETRY | {"asset": {"value": "m"}, "readings": ["volt"]}]),
    )
    assert inside["asset"] == "m"
