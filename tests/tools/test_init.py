"""``init`` writes a fleet.toml that runs, from the files alone."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from dataflows.events import Failure, Fault, Telemetry, decode
from dataflows.fleet import load
from dataflows.instants import HOUR, parse_instant
from dataflows.mapping.recording import with_recordings
from dataflows.mapping.rows import RowsError
from dataflows.pipeline import run_inline
from dataflows.simulator import load_scenario, simulate
from dataflows.simulator.tables import write_tables
from dataflows.tools.init import InitError, init

if TYPE_CHECKING:
    from collections.abc import Sequence

START = datetime(2020, 1, 1, tzinfo=UTC)


def _init(*files: Path, out: Path, **wishes: Any) -> str:  # noqa: ANN401 - as of `init`
    """Run init; return what it printed."""
    printed = io.StringIO()
    init([str(path) for path in files], out, Console(file=printed, width=78), **wishes)
    return printed.getvalue()


def _recorded(out: Path) -> list[Any]:
    """The events of a fleet's rows."""
    return [decode(line) for line in _lines(out)]


def _lines(out: Path) -> list[bytes]:
    """The recording of a fleet's rows."""
    fleet, _ = with_recordings(load(out))
    return [line for path in fleet.input.files for line in Path(path).read_bytes().splitlines()]


def _run(out: Path) -> dict[str, dict[str, float]]:
    """Run the fleet; return the log loss of each model by target."""
    summary = run_inline(load(out), _lines(out))["summary"]
    targets = next(row["targets"] for row in summary if "targets" in row)
    return {
        name: {model: found["log_loss"] for model, found in target["first_labels"].items()}
        for name, target in targets.items()
    }


def _pumps(folder: Path, stamp: str = "%Y-%m-%d %H:%M:%S", hours: int = 600) -> list[Path]:
    """Four pumps whose pressure falls for a day before each leak, in two files of a historian."""
    chance = random.Random(1)
    readings: list[list[object]] = []
    leaks: list[list[object]] = []
    for number in range(4):
        left = chance.randint(60, 200)
        for hour in range(hours):
            at = (START + timedelta(hours=hour)).strftime(stamp)
            left -= 1
            pressure = 4 + chance.gauss(0, 0.1) - max(0, 24 - left) / 24
            readings.append([f"pump-{number}", at, round(pressure, 3), round(chance.gauss(50, 2), 2), 7])
            if left <= 0:
                leaks.append([f"pump-{number}", at, "leak"])
                left = chance.randint(60, 200)
    for name, header, rows in (
        ("readings.csv", ["pump", "timestamp", "pressure", "load", "firmware"], readings),
        ("failures.csv", ["pump", "timestamp", "what"], leaks),
    ):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])
    return [folder / "readings.csv", folder / "failures.csv"]


def test_a_fleet_of_two_files_runs_and_beats_the_prior(tmp_path: Path) -> None:
    """Readings and failures in files of their own: columns, times, modes and windows are found."""
    said = _init(*_pumps(tmp_path), out=tmp_path / "fleet.toml")
    assert "2,400 messages of 4 machines" in said
    assert "Not used, since constant or of no known meaning: firmware of readings.csv." in said.replace(
        "\n", " "
    )
    assert "`timestamp` has no offset: its times are taken as UTC." in said
    losses = _run(tmp_path / "fleet.toml")
    assert list(losses) == ["machine/leak/24h"]
    assert losses["machine/leak/24h"]["mixture"] < 0.7 * losses["machine/leak/24h"]["prior"]


def test_the_champion_is_no_worse_than_the_prior_where_sensors_tell_nothing(tmp_path: Path) -> None:
    """Few failures, by chance, beside counters that grow: a regression is worse than the prior."""
    chance = random.Random(3)
    lines = ["machine,timestamp,failure,counter,noise"]
    for number in range(12):
        counter = chance.randint(0, 10_000)
        for day in range(200):
            at = START + timedelta(days=day)
            counter += chance.randint(0, 50)
            failed = int(chance.random() < 0.01)
            lines.append(f"m{number},{at:%Y-%m-%d},{failed},{counter},{chance.gauss(0, 1):.3f}")
    (tmp_path / "days.csv").write_text("\n".join(lines) + "\n")
    _init(tmp_path / "days.csv", out=tmp_path / "fleet.toml")
    losses = _run(tmp_path / "fleet.toml")["machine/failure/7d"]
    assert losses["linear"] > 1.05 * losses["prior"]
    assert losses["mixture"] < 1.02 * losses["prior"]


def test_a_target_begins_at_the_share_of_failures_that_was_found(tmp_path: Path) -> None:
    """Before any label the score is that share and no half; examples are an eighth of a horizon apart."""
    _init(*_pumps(tmp_path), out=tmp_path / "fleet.toml")
    (target,) = load(tmp_path / "fleet.toml").targets.values()
    leaks = (tmp_path / "failures.csv").read_text().count("leak")
    hours = (tmp_path / "readings.csv").read_text().count("pump-")
    assert target.prior == pytest.approx(leaks * 24 / hours, rel=0.05)
    assert load(tmp_path / "fleet.toml").classes["machine"].example_every == 3 * HOUR
    rows = run_inline(load(tmp_path / "fleet.toml"), [*_lines(tmp_path / "fleet.toml")][:50])["predictions"]
    assert {row["score"] for row in rows} == {target.prior}


@pytest.mark.parametrize("stamp", ["%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M:%S %p", "%Y-%m-%dT%H:%M:%SZ", "%s"])
def test_times_of_many_forms_are_recognised(tmp_path: Path, stamp: str) -> None:
    """German, American, ISO with offset, and epoch seconds."""
    _init(*_pumps(tmp_path, stamp, 300), out=tmp_path / "fleet.toml")
    fleet, made = with_recordings(load(tmp_path / "fleet.toml"))
    with Path(fleet.input.files[0]).open("rb") as file:
        first = decode(file.readline())
    assert getattr(first, "time", None) == round(START.timestamp()) * 1_000_000
    assert made[0]["unusable"] == 0


def test_events_in_our_own_form_need_no_rules(tmp_path: Path) -> None:
    """A recording of events gives a fleet.toml without [[input.map]]."""
    _init(*_pumps(tmp_path), out=tmp_path / "first.toml")
    fleet, _ = with_recordings(load(tmp_path / "first.toml"))
    _init(Path(fleet.input.files[0]), out=tmp_path / "second.toml")
    second = load(tmp_path / "second.toml")
    assert not second.input.rules
    assert second.targets.keys() == load(tmp_path / "first.toml").targets.keys()


def test_files_without_telemetry_are_refused(tmp_path: Path) -> None:
    """What is missing is said."""
    (tmp_path / "names.csv").write_text("name,colour\na,red\nb,blue\n", encoding="utf-8")
    with pytest.raises(InitError, match="no telemetry"):
        _init(tmp_path / "names.csv", out=tmp_path / "fleet.toml")


def test_fault_codes_without_telemetry_are_refused(tmp_path: Path) -> None:
    """No machine sends anything, so there is nothing to show and nothing to score."""
    (tmp_path / "alarms.csv").write_text("machine,time,alarm\nm,2025-01-01T00:00:00Z,P1\n", encoding="utf-8")
    with pytest.raises(InitError, match="no telemetry"):
        _init(tmp_path / "alarms.csv", out=tmp_path / "fleet.toml")


@pytest.mark.parametrize(
    ("program", "typed"),
    [("/env/bin/highwater", "highwater run"), ("/src/dataflows/__main__.py", "python -m dataflows run")],
)
def test_the_next_command_is_typed_as_this_one_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, typed: str
) -> None:
    """Who installed the wheel has `highwater`; `python` may be another one."""
    monkeypatch.setattr("sys.argv", [program, "init"])
    assert f"Next:\n  {typed} " in _init(*_pumps(tmp_path, hours=200), out=tmp_path / "fleet.toml")


def test_a_fleet_file_is_never_replaced_unasked(tmp_path: Path) -> None:
    """It may hold an evening's work."""
    (tmp_path / "fleet.toml").write_text("name = 'mine'", encoding="utf-8")
    with pytest.raises(InitError, match="--force"):
        _init(*_pumps(tmp_path), out=tmp_path / "fleet.toml")


def _german(folder: Path, encoding: str = "utf-8") -> list[Path]:
    """The pumps as a German Excel writes them: semicolons, decimal commas, units in brackets."""
    readings, failures = _pumps(folder, "%d.%m.%Y %H:%M")
    rows = [line.split(",") for line in readings.read_text(encoding="utf-8").splitlines()[1:]]
    lines = [
        ";".join([pump, at, *(each.replace(".", ",") for each in cells[:2])]) for pump, at, *cells in rows
    ]
    header = "Maschine;Zeitstempel;Druck [bar];Öldurchfluss [l/min]"
    readings.write_text("\n".join([header, *lines]), encoding=encoding)
    text = failures.read_text(encoding="utf-8").replace(",", ";")
    failures.write_text(
        text.replace("pump;timestamp;what", "Maschine;Störungsbeginn;Ursache"), encoding=encoding
    )
    return [readings, failures]


def test_decimal_commas_and_units_in_brackets_make_a_fleet_that_loads(tmp_path: Path) -> None:
    """Readings with decimal commas are sensors, never machines, and their names are such as a fleet takes."""
    said = _init(*_german(tmp_path), out=tmp_path / "fleet.toml")
    assert "2,400 messages of 4 machines" in said
    assert "Druck (bar)" in said
    assert "UTF-8" not in said
    fleet, made = with_recordings(load(tmp_path / "fleet.toml"))
    assert fleet.classes["machine"].sensors == ("Druck (bar)", "Öldurchfluss (l_min)")
    assert made[0]["events"]["telemetry"] == 2400
    assert made[0]["unusable"] == 0
    assert list(fleet.targets) == ["machine/leak/24h"]


def test_commas_that_part_thousands_are_no_decimal_commas(tmp_path: Path) -> None:
    """`1,250` may be either, so such a column is not used."""
    rows = [f"m-1;2025-01-01T{hour:02}:00:00Z;{hour}.5;1,{hour + 100}" for hour in range(24)]
    (tmp_path / "a.csv").write_text("\n".join(["machine;time;heat;hours", *rows]), encoding="utf-8")
    said = _init(tmp_path / "a.csv", out=tmp_path / "fleet.toml")
    assert "hours of a.csv" in said


def test_a_file_that_is_not_utf_8_is_read_as_windows_writes_it(tmp_path: Path) -> None:
    """And that is said, since no file tells its encoding."""
    said = _init(*_german(tmp_path, "latin-1"), out=tmp_path / "fleet.toml")
    assert "readings.csv is not UTF-8: it is read as cp1252" in " ".join(said.split())
    assert "\ufffd" not in (tmp_path / "fleet.toml").read_text()
    assert load(tmp_path / "fleet.toml").input.rules[0].encoding == "cp1252"


def test_codes_that_are_no_names_get_one(tmp_path: Path) -> None:
    """A mode is a part of `machine/mode/24h`, so `leak/seal` is renamed by the rule."""
    readings, failures = _pumps(tmp_path)
    failures.write_text(failures.read_text(encoding="utf-8").replace(",leak", ",leak/seal"), encoding="utf-8")
    _init(readings, failures, out=tmp_path / "fleet.toml")
    assert list(load(tmp_path / "fleet.toml").targets) == ["machine/leak_seal/24h"]


def test_failures_of_machines_without_telemetry_are_named(tmp_path: Path) -> None:
    """Names that differ between files would leave every label negative."""
    readings, failures = _pumps(tmp_path)
    failures.write_text(failures.read_text(encoding="utf-8").replace("pump-", "P"), encoding="utf-8")
    said = " ".join(_init(readings, failures, out=tmp_path / "fleet.toml").split())
    assert "failures are of machines without telemetry, such as 'P" in said
    assert "A machine with telemetry is 'pump-0'" in said


@pytest.mark.parametrize("text", ["", "pump,timestamp,pressure,load\n"])
def test_a_file_without_rows_is_left_out(tmp_path: Path, text: str) -> None:
    """The others make a fleet that runs, and an export of such files alone is refused."""
    files = _pumps(tmp_path)
    (tmp_path / "empty.csv").write_text(text, encoding="utf-8")
    # A long path may be cut into lines anywhere.
    said = "".join(_init(tmp_path / "*.csv", out=tmp_path / "fleet.toml").split())
    assert "empty.csvhasnorows" in said
    _, made = with_recordings(load(tmp_path / "fleet.toml"))
    assert sorted(made[0]["files"]) == sorted(map(str, files))
    with pytest.raises(InitError, match="no rows that can be read in"):
        _init(tmp_path / "empty.csv", out=tmp_path / "other.toml")


#: Lines that programs write before the names of columns.
TITLES = [
    "Trend report of hall 3\n\n",
    "Plant;North\nExported;2020-03-01;by hand\n",
    "Trend report,,,,\nfrom 2020-01-01,,,,\n,,,,\n",
    "sep=,\nTrend report\n",
    "# Trend report of hall 3, one row an hour, all pumps, no gaps\n",
]


@pytest.mark.parametrize("title", TITLES, ids=range(len(TITLES)))
def test_lines_before_the_header_are_skipped(tmp_path: Path, title: str) -> None:
    """Titles of an export are no header: `init` says so, and the run reads the same rows."""
    files = _pumps(tmp_path, hours=200)
    readings = files[0].read_text()
    _init(*files, out=tmp_path / "plain.toml")
    plain = [event for event in _recorded(tmp_path / "plain.toml") if isinstance(event, Telemetry)]
    (tmp_path / "other").mkdir()
    files[0].write_text(title + readings)
    said = " ".join(_init(*files, out=tmp_path / "other" / "fleet.toml").split())
    lines = title.count("\n")
    assert (
        f"readings.csv has {lines} line{'s' * (lines > 1)} before the names of its columns: skipped" in said
    )
    events = _recorded(tmp_path / "other" / "fleet.toml")
    assert [event for event in events if isinstance(event, Telemetry)] == plain


def test_a_header_that_cannot_be_told_is_named(tmp_path: Path) -> None:
    """Rows with another number of columns than the first line; a workbook is no file of rows."""
    (tmp_path / "a.csv").write_text("Trend report\n\nm,2020-01-01,1.5\nm,2020-01-02,2.5\n")
    with pytest.raises(RowsError, match=r"line 3 has another number of columns than line 1\. Delete"):
        _init(tmp_path / "a.csv", out=tmp_path / "fleet.toml")
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(RowsError, match=r"is a workbook: save each sheet that matters as CSV"):
        _init(tmp_path / "a.xlsx", out=tmp_path / "fleet.toml")


def test_a_glob_of_some_files_takes_no_other_file(tmp_path: Path) -> None:
    """`d*.csv` would be readings and the failures of `d-failures.csv`: then each file is named."""
    readings, failures = _pumps(tmp_path, hours=200)
    header, *rows = readings.read_text().splitlines()
    for number in (0, 1):
        (tmp_path / f"d{number}.csv").write_text("\n".join([header, *rows[number::2], ""]))
    failures.rename(tmp_path / "d-failures.csv")
    _init(tmp_path / "d*.csv", out=tmp_path / "fleet.toml")
    events = _recorded(tmp_path / "fleet.toml")
    assert sum(isinstance(event, Telemetry) for event in events) == len(rows)
    assert any(isinstance(event, Failure) for event in events)


def _visits(folder: Path, names: str, ends: Sequence[str], per_day: float = 1.0, end: bool = True) -> Path:
    """Machines that are visited some times in eight years, each with its end on all of its rows.

    Args:
        folder: of the file.
        names: columns of the end, of the outcome and of the visit.
        ends: outcome of a machine that went on, and of one that failed.
        per_day: of the unit of the times.
        end: whether the column of the end is written.
    """
    chance, lines = random.Random(5), []
    last, outcome, visit = names.split(",")
    for number in range(80):
        failed = number % 2
        stop = chance.randint(900, 1_500) if failed else 3_000
        day = 0
        while day < stop - 20:
            wear = 10 * max(0, 1 - (stop - day) / 1_500) if failed else 0
            reading = round(5 + wear + chance.gauss(0, 0.3), 2)
            row = [number, *([stop * per_day] if end else []), ends[failed], day * per_day, reading]
            lines.append(",".join(map(str, row)))
            day += chance.randint(100, 300)
    header = ["unit", *([last] if end else []), outcome, visit, "wear"]
    (folder / "visits.csv").write_text("\n".join([",".join(header), *lines, ""]))
    return folder / "visits.csv"


OUTCOMES = {
    "codes": ("futime,status,day", ("0", "2"), 1.0, True),
    "texts": ("years,status,year", ("alive", "dead"), 1 / 365.25, True),
    "censored": ("life,censored,day", ("1", "0"), 1.0, True),
    "flag": ("-,failed,day", ("0", "1"), 1.0, False),
    "death": ("-,death,day", ("0", "1"), 1.0, False),
}


@pytest.mark.parametrize("form", OUTCOMES)
def test_an_outcome_on_every_row_of_a_machine_is_its_end(tmp_path: Path, form: str) -> None:
    """It fails once, at the time of its end, and no model sees how it ends; visits are months apart."""
    names, ends, per_day, end = OUTCOMES[form]
    path = _visits(tmp_path, names, ends, per_day, end)
    said = " ".join(_init(path, out=tmp_path / "fleet.toml").split())
    last, outcome, _ = names.split(",")
    assert f"`{outcome}` says in each row how a machine ended: {ends[1]} (40) are taken as failures" in said
    assert f"{ends[0]} (40) as none" in said
    assert ("at `" + last + "`" in said) == end
    fleet = load(tmp_path / "fleet.toml")
    assert fleet.classes["machine"].sensors == ("wear",)
    failed = [event for event in _recorded(tmp_path / "fleet.toml") if isinstance(event, Failure)]
    assert sorted(int(event.asset) for event in failed) == [*range(1, 80, 2)]
    if end:
        days = [(event.time - parse_instant("2020-01-01T00:00:00Z")) / (24 * HOUR) for event in failed]
        assert 899 < min(days) < max(days) < 1_501
    (target,) = fleet.targets.values()
    assert target.horizon == 730 * 24 * HOUR
    (losses,) = _run(tmp_path / "fleet.toml").values()
    assert losses["mixture"] < 0.9 * losses["prior"]


def test_a_column_that_numbers_the_rows_is_no_sensor(tmp_path: Path) -> None:
    """Programs write one before the others, without a name; a sensor of that name that repeats is one."""
    readings, failures = _pumps(tmp_path, hours=200)
    header, *rows = readings.read_text().splitlines()
    readings.write_text("\n".join([f",{header}", *(f"{n},{row}" for n, row in enumerate(rows)), ""]))
    _init(readings, failures, out=tmp_path / "fleet.toml")
    assert load(tmp_path / "fleet.toml").classes["machine"].sensors == ("pressure", "load")


@pytest.mark.parametrize("sign", [".", ","])
def test_serial_dates_of_a_spreadsheet_are_times(tmp_path: Path, sign: str) -> None:
    """45000.5 in a column of times is noon of 2023-03-15, in the zone of the sheet."""
    readings, failures = _pumps(tmp_path, hours=200)
    zero = datetime(1899, 12, 30, tzinfo=UTC)
    for path in (readings, failures):
        header, *rows = path.read_text().splitlines()
        lines = [header.replace(",", ";")]
        for row in rows:
            pump, at, *rest = row.split(",")
            days = (datetime.fromisoformat(at + "Z") - zero) / timedelta(days=1)
            lines.append(";".join([pump, f"{days:.5f}".rstrip("0").rstrip(".").replace(".", sign), *rest]))
        path.write_text("\n".join([*lines, ""]))
    said = " ".join(_init(readings, failures, out=tmp_path / "fleet.toml", zone="Europe/Berlin").split())
    assert "`timestamp` has serial dates of a spreadsheet: 43831 is taken as 2020-01-01T00:00." in said
    times = {event.time for event in _recorded(tmp_path / "fleet.toml") if isinstance(event, Telemetry)}
    start = parse_instant("2020-01-01T00:00:00+01:00")
    assert times == {start + hour * HOUR for hour in range(200)}


@pytest.mark.ci
def test_visits_of_patients_as_survival_delivers_them(tmp_path: Path, data_folder: Path) -> None:
    """A data set whose times are days, a year apart, and whose outcome each row repeats: `pbcseq` of R."""
    path = data_folder / "survival" / "pbcseq.csv"
    if not path.exists():
        pytest.skip(f"no {path}: export pbcseq of R's package survival there, as docs/own-data.md says")
    _init(path, out=tmp_path / "fleet.toml")
    fleet, made = with_recordings(load(tmp_path / "fleet.toml"))
    assert made[0]["events"] == {"asset": 312, "telemetry": 1_945, "failure": 169}
    assert not {"futime", "status", "day", "id"} & {*fleet.classes["machine"].sensors}
    for losses in _run(tmp_path / "fleet.toml").values():
        assert losses["mixture"] < 0.95 * losses["prior"]


def test_a_time_of_unknown_form_is_named(tmp_path: Path) -> None:
    """The column and one of its values, so that a person can write the format."""
    (tmp_path / "a.csv").write_text("machine,timestamp,heat\nm,week 3 Monday,1.5\nm,week 3 Tuesday,2.5\n")
    with pytest.raises(InitError, match=r"`timestamp`.*'week 3 Monday'.*`format`"):
        _init(tmp_path / "a.csv", out=tmp_path / "fleet.toml")


def test_a_missing_file_is_refused_without_mention_of_a_fleet(tmp_path: Path) -> None:
    """There is no fleet.toml yet."""
    with pytest.raises(InitError, match=r"no such file.*none\.csv"):
        _init(tmp_path / "none.csv", out=tmp_path / "fleet.toml")


@pytest.mark.parametrize("name", ["a.parquet", "a.feather", "a.csv.gz"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    """The message says which file to export again."""
    (tmp_path / name).write_bytes(b"\x1f\x8b\x08\x00 cut off")
    with pytest.raises(RowsError, match=rf"{name} .*export it again"):
        _init(tmp_path / name, out=tmp_path / "fleet.toml")


def test_json_that_is_no_list_is_refused(tmp_path: Path) -> None:
    """It has no rows; the message says what the file holds."""
    (tmp_path / "a.json").write_text(json.dumps(5))
    with pytest.raises(RowsError, match="holds no list of objects, but '5'"):
        _init(tmp_path / "a.json", out=tmp_path / "fleet.toml")


def test_without_failures_what_is_missing_is_said(tmp_path: Path, data_folder: Path) -> None:
    """One series without machines or failures, as NAB's: the fleet loads, and says what to add."""
    path = data_folder / "nab" / "ambient_temperature_system_failure.csv.gz"
    said = _init(path, out=tmp_path / "fleet.toml")
    assert "No failures were found" in said
    assert load(tmp_path / "fleet.toml").targets == {}


@pytest.mark.ci
def test_engines_as_nasa_delivers_them_run_to_failure(tmp_path: Path, data_folder: Path) -> None:
    """C-MAPSS is text without a header; cycles count as hours, the last row of each engine is its failure."""
    path = data_folder / "cmapss" / "train_FD001.txt.gz"
    said = _init(path, out=tmp_path / "fleet.toml")
    assert "100 machines" in said
    assert "run to failure" in " ".join(said.split())
    fleet, made = with_recordings(load(tmp_path / "fleet.toml"))
    assert made[0]["events"] == {"telemetry": 20_631, "failure": 100}
    assert made[0]["unusable"] == 0
    assert list(fleet.targets) == ["machine/failure/24h"]


def test_engines_of_several_files_are_not_mixed_up(tmp_path: Path, data_folder: Path) -> None:
    """Each file of C-MAPSS numbers its engines from 1; those of a test file had not failed when it ends."""
    for name in ("train_FD001", "test_FD001", "RUL_FD001", "train_FD002"):
        lines = gzip.decompress((data_folder / "cmapss" / f"{name}.txt.gz").read_bytes()).splitlines(True)
        (tmp_path / f"{name}.txt").write_bytes(b"".join(lines[:300]))
    said = " ".join(_init(*sorted(tmp_path.glob("*.txt")), out=tmp_path / "fleet.toml").split())
    assert "RUL_FD001.txt: neither times nor anything about a machine. It is left out." in said
    assert "test_FD001.txt: the name says test" in said
    fleet, _ = with_recordings(load(tmp_path / "fleet.toml"))
    events = [decode(line) for line in Path(fleet.input.files[0]).read_bytes().splitlines()]
    failed = {event.asset for event in events if isinstance(event, Failure)}
    assert failed == {"train_FD001-1", "train_FD001-2", "train_FD002-1", "train_FD002-2"}
    assert {event.asset for event in events} - failed == {f"test_FD001-{number}" for number in range(1, 5)}
    assert fleet.classes["machine"].allowed_lateness == 0


def test_a_file_for_each_machine_needs_no_column_of_machines(tmp_path: Path) -> None:
    """Where no column names a machine, and there are several files, each file is one; its steps count."""
    chance = random.Random(1)
    for name, length in (("press A", 400), ("press B", 250)):
        rows = [[step, chance.gauss(4, 1), chance.gauss(50, 2)] for step in range(length)]
        with (tmp_path / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["Timestamp", "volt", "heat"], *rows])
    said = " ".join(_init(*sorted(tmp_path.glob("*.csv")), out=tmp_path / "fleet.toml").split())
    assert "no column names a machine, so the name of the file is part of the machine's" in said
    fleet, _ = with_recordings(load(tmp_path / "fleet.toml"))
    events = [decode(line) for line in Path(fleet.input.files[0]).read_bytes().splitlines()]
    failures = [(event.asset, event.time) for event in events if isinstance(event, Failure)]
    start = parse_instant("2020-01-01T00:00:00Z")
    assert failures == [("press B", start + 250 * HOUR), ("press A", start + 400 * HOUR)]


@pytest.mark.ci
def test_machines_as_microsoft_delivers_them(tmp_path: Path, data_folder: Path) -> None:
    """Five CSV files become telemetry, faults, failures, maintenance and what is known of each machine."""
    files = sorted((data_folder / "azure_pdm_20x90d").glob("PdM_*.csv.gz"))
    _init(*files, out=tmp_path / "fleet.toml")
    fleet, made = with_recordings(load(tmp_path / "fleet.toml"))
    expected = {"telemetry": 43_200, "fault": 211, "failure": 42, "maintenance": 208, "asset": 20}
    assert made[0]["events"] == expected
    assert len(fleet.targets) == 4
    assert fleet.classes["machine"].attributes == ("age",)


def test_tables_of_a_company_make_a_fleet(tmp_path: Path) -> None:
    """Work orders whose type says failure or service: each kind of row makes its kind of event."""
    scenario = load_scenario("field", trucks=6, days=40, every="1h")
    tables = write_tables(simulate(scenario), tmp_path)
    said = _init(*tables, out=tmp_path / "fleet.toml")
    assert "Failures: " in said
    assert "Maintenance: " in said
    rules = {rule["files"][0]: rule["make"] for rule in _document(tmp_path)["input"]["map"]}
    assert [(event["kind"], event["where"]) for event in rules["orders.csv"]] == [
        ("failure", {"type": "failure"}),
        ("maintenance", {"type": "maintenance"}),
    ]
    assert rules["orders.csv"][0]["mode"] == rules["orders.csv"][1]["component"] == "part"
    load(tmp_path / "fleet.toml")


def _document(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "fleet.toml").read_text())


def test_types_that_say_nothing_make_no_event(tmp_path: Path) -> None:
    """They are named, so that a person can add a rule."""
    readings, failures = _pumps(tmp_path)
    rows = failures.read_text().splitlines()
    typed = [f"{row},{'type' if not n else 'note' if n == 2 else 'breakdown'}" for n, row in enumerate(rows)]
    failures.write_text("\n".join(typed))
    assert "Rows whose `type` is 'note' make no event." in _init(
        readings, failures, out=tmp_path / "fleet.toml"
    )
    (made,) = _document(tmp_path)["input"]["map"][1]["make"]
    assert (made["kind"], made["mode"], made["where"]) == ("failure", "what", {"type": "breakdown"})


def test_failures_are_not_made_up_of_running_machines(tmp_path: Path) -> None:
    """Machines that send until the end of the data did not all fail then."""
    readings, _ = _pumps(tmp_path)
    said = _init(readings, out=tmp_path / "fleet.toml")
    assert "run to failure" not in said
    assert "No failures were found" in said
    assert "targets" not in _document(tmp_path)


def test_a_file_of_no_known_kind_is_left_out(tmp_path: Path) -> None:
    """Times and texts alone are no readings, so no telemetry is made of them."""
    readings, failures = _pumps(tmp_path)
    visits = tmp_path / "visits.csv"
    visits.write_text(
        "pump,timestamp,who\n"
        + "".join(f"pump-{n % 4},2020-01-0{n + 1} 00:00:00,w{n % 3}\n" for n in range(8))
    )
    said = _init(readings, failures, visits, out=tmp_path / "fleet.toml").replace("\n", " ")
    assert "visits.csv: times but no readings" in said
    assert str(_document(tmp_path)["input"]["files"]) == "['readings.csv', 'failures.csv']"


def test_the_label_delay_follows_from_the_reports(tmp_path: Path) -> None:
    """Nearly all failures are reported within it."""
    readings, failures = _pumps(tmp_path)
    for path, hours in ((readings, 0), (failures, 30)):
        head, *rows = path.read_text().splitlines()
        times = [datetime.fromisoformat(row.split(",")[1]) + timedelta(hours=hours) for row in rows]
        path.write_text(
            "\n".join([f"{head},received", *(f"{row},{at}" for row, at in zip(rows, times, strict=True))])
        )
    _init(readings, failures, out=tmp_path / "fleet.toml")
    assert _document(tmp_path)["classes"]["machine"]["label_delay"] == "2d"


def test_a_wild_stamp_makes_no_later_message_late(tmp_path: Path) -> None:
    """Messages after a stamp far in the future are in order all the same."""
    readings, failures = _pumps(tmp_path)
    head, *rows = readings.read_text().splitlines()
    times = [row.split(",")[1] for row in rows]
    received = [f"{row},{at}" for row, at in zip(rows, times, strict=True)]
    received[300] = received[300].replace(times[300], "2020-09-01 00:00:00", 1)
    readings.write_text("\n".join([f"{head},received", *received]))
    head, *rows = failures.read_text().splitlines()
    failures.write_text("\n".join([f"{head},received", *(f"{row},{row.split(',')[1]}" for row in rows)]))
    _init(readings, failures, out=tmp_path / "fleet.toml")
    assert _document(tmp_path)["classes"]["machine"]["allowed_lateness"] == "0s"


def _factory(folder: Path) -> list[Path]:
    """Readings and work orders as a German factory exports them, over the end of summer time."""
    chance, zone = random.Random(3), ZoneInfo("Europe/Berlin")
    begin = datetime(2026, 10, 20, 6, tzinfo=UTC)
    readings = ["Anlage;Zeitstempel;Druck [bar];Drehzahl [1/min];Seriennr"]
    orders = ["Auftragsnr;Anlage;Gemeldet am;Störungsbeginn;Auftragsart;Kurztext"]
    words = ("Lagerschaden Spindel, getauscht", "Hydraulik leckt, Dichtung neu", "Maschine steht: Lager fest")
    for hour in range(200):
        local = (begin + timedelta(hours=hour)).astimezone(zone)
        for press in range(4):
            speed = f"{1_480 + chance.gauss(0, 300):,.1f}".translate(str.maketrans(",.", ".,"))
            pressure = f"{chance.gauss(180, 3):.1f}".replace(".", ",")
            readings.append(f"Presse {press};{local:%d.%m.%Y %H:%M:%S};{pressure};{speed};SN-{press}")
            if (hour + 7 * press) % 16 == 15:
                reported = f"{local + timedelta(hours=5):%d.%m.%Y %H:%M}"
                text = f"{chance.choice(words)} (Schicht {chance.choice('ABC')})"
                what = "Wartung" if hour % 3 == 0 else "Störung"
                number = 4_000_100 + len(orders)
                begun = f"{local:%d.%m.%Y %H:%M}"
                orders.append(f"{number};Presse {press};{reported};{begun};{what};{text}")
    paths = [folder / "Messwerte.csv", folder / "Auftraege.csv"]
    for path, lines in zip(paths, (readings, orders), strict=True):
        path.write_bytes("\r\n".join([*lines, ""]).encode("cp1252"))
    return paths


def test_a_german_factory_needs_its_zone_alone(tmp_path: Path) -> None:
    """Numbers such as 1.480,5, local times, work orders with numbers, reports and free text."""
    said = _init(*_factory(tmp_path), out=tmp_path / "fleet.toml", zone="Europe/Berlin")
    said = " ".join(said.split())
    assert "`Kurztext` is text for people" in said
    assert "Messwerte.csv has no times of receipt" in said
    assert "a value occurs twice in Europe/Berlin" in said
    fleet = load(tmp_path / "fleet.toml")
    assert set(fleet.classes["machine"].sensors) == {"Druck (bar)", "Drehzahl (1_min)"}
    assert list(fleet.targets) == ["machine/failure/24h"]
    assert fleet.targets["machine/failure/24h"].label_delay >= 5 * HOUR
    failures = [event for event in _recorded(tmp_path / "fleet.toml") if isinstance(event, Failure)]
    assert len(failures) > 20
    assert {event.arrived - event.time for event in failures if event.arrived} >= {5 * HOUR}
    assert len({event.id for event in failures}) == len(failures)


def test_a_zone_that_is_none_is_refused(tmp_path: Path) -> None:
    """Before anything is read."""
    with pytest.raises(InitError, match="no time zone is called 'Europe/Berlinn'"):
        _init(*_factory(tmp_path), out=tmp_path / "fleet.toml", zone="Europe/Berlinn")


def _telematics(folder: Path) -> Path:
    """Nested JSON lines: ids as numbers, epoch milliseconds, codes of faults and failures in one stream."""
    chance, lines = random.Random(4), []
    for step in range(400):
        for vehicle in (40_017, 40_030, 40_043):
            at = 1_769_904_000_000 + step * 900_000
            meta = {"vid": vehicle, "ts": at, "rx": at + chance.choice([400, 900, 7_200_000]), "fw": "4.1"}
            row = {"oil": {"p": round(chance.gauss(4, 0.2), 3)}, "rpm": chance.randrange(700, 2_300)}
            lines.append({"meta": meta, "tele": row})
            if chance.random() < 0.05:
                code = {"code": chance.choice([112, 205, 9001]), "sev": 2}
                lines.append({"meta": {**meta, "fw": None}, "dtc": code})
    path = folder / "telematics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_codes_among_telemetry_are_faults_until_a_person_says_which_fail(tmp_path: Path) -> None:
    """`init` lists them; `--failure` makes failures of some, and takes these out of the faults."""
    path = _telematics(tmp_path)
    said = " ".join(_init(path, out=tmp_path / "first.toml").split())
    assert "`dtc.code` has codes, taken as faults" in said
    assert "run `init` again with --failure for each" in said
    _init(path, out=tmp_path / "fleet.toml", failures=["9001"])
    fleet = load(tmp_path / "fleet.toml")
    layout = fleet.classes["machine"]
    assert set(layout.sensors) == {"tele.oil.p", "tele.rpm"}
    assert set(layout.faults) == {"112", "205"}
    assert [target.mode for target in fleet.targets.values()] == ["9001"]
    assert layout.allowed_lateness >= 2 * HOUR
    events = _recorded(tmp_path / "fleet.toml")
    assert {event.asset for event in events} == {"40017", "40030", "40043"}
    codes = {event.code for event in events if isinstance(event, Fault)}
    assert codes == {"112", "205"}
    assert sum(isinstance(event, Telemetry) for event in events) == 1_200


def test_failures_that_no_column_could_hold_are_refused(tmp_path: Path) -> None:
    """Rather than left out without a word."""
    with pytest.raises(RowsError, match="no column of codes among readings is found with 9001"):
        _init(*_pumps(tmp_path), out=tmp_path / "fleet.toml", failures=["9001"])


def test_a_list_of_many_machines_is_no_list_of_orders(tmp_path: Path) -> None:
    """Its numbers are the machines', though each occurs once."""
    (tmp_path / "machines.csv").write_text(
        "machineID,model,age\n" + "".join(f"{n},model{n % 3},{n % 20}\n" for n in range(1, 61))
    )
    rows = "".join(f"2020-01-01 {h:02}:00:00,{n},{n * h % 7}\n" for h in range(12) for n in range(1, 61))
    (tmp_path / "telemetry.csv").write_text("datetime,machineID,volt\n" + rows)
    (tmp_path / "failures.csv").write_text("datetime,machineID,failure\n2020-01-01 05:00:00,7,comp1\n")
    _init(*sorted(tmp_path.glob("*.csv")), out=tmp_path / "fleet.toml")
    layout = load(tmp_path / "fleet.toml").classes["machine"]
    assert layout.attributes == ("age",)
    assert set(layout.sensors) == {"volt"}


def _historian(folder: Path, mark: str, *, machine: bool = False) -> list[Path]:
    """One reading a row, as a historian exports them, and work orders with other names of the machines."""
    chance = random.Random(5)
    rows = ["TimeStamp,TagName,Value,Quality" if not machine else "TimeStamp,Machine,TagName,Value,Quality"]
    orders = ["Order,Functional Location,Description,Malfunction Start,Notification Date,Order Type"]
    for hour in range(400):
        for pump in range(101, 105):
            for second, tag in enumerate(("FLOW", "SEAL TEMP [C]")):
                at = f"{START + timedelta(hours=hour, seconds=second):%Y-%m-%dT%H:%M:%SZ}"
                names = f"P-{pump},{tag}" if machine else mark.join(("PLANT2", f"P-{pump}", tag))
                value, quality = (
                    (f"{chance.gauss(50, 3):.3f}", "Good") if hour % 40 else ("I/O Timeout", "Bad")
                )
                rows.append(f"{at},{names},{value},{quality}")
            if (hour + 20 * pump) % 60 == 59:
                begun, noted = (f"{START + timedelta(hours=hour + n):%m/%d/%Y %I:%M %p}" for n in (0, 20))
                what = "Preventive" if (hour + 20 * pump) % 120 == 59 else "Breakdown"
                orders.append(
                    f'{80_000 + len(orders)},P2-P-{pump},"Seal leak, replaced",{begun},{noted},{what}'
                )
    # As many orders as make their numbers no reading.
    late = f"{START:%m/%d/%Y %I:%M %p}"
    orders += [f'{90_000 + n},P2-P-101,"Greased, checked",{late},{late},Preventive' for n in range(40)]
    paths = [folder / "historian.csv", folder / "orders.csv"]
    for path, lines in zip(paths, (rows, orders), strict=True):
        path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return paths


@pytest.mark.parametrize("mark", [".", "|", ":", "column"])
def test_a_row_for_each_reading_makes_machines_and_sensors(tmp_path: Path, mark: str) -> None:
    """The tag names sensor and machine, or a column of its own does; orders say P2-P-101 for P-101."""
    said = _init(*_historian(tmp_path, mark, machine=mark == "column"), out=tmp_path / "fleet.toml")
    said = " ".join(said.split())
    assert "P2-P-101 is taken as P-101, and so on" in said or "P2-P-102 is taken as P-102" in said
    assert "Only rows whose `Quality` is Good are read" in said
    assert "one every 1h (median)" in said
    assert ("is taken as FLOW of P-101" in said) == (mark != "column")
    fleet = load(tmp_path / "fleet.toml")
    assert fleet.classes["machine"].sensors == ("FLOW", "SEAL TEMP (C)")
    assert [(target.horizon, target.label_delay) for target in fleet.targets.values()] == [
        (24 * HOUR, 24 * HOUR)
    ]
    events = _recorded(tmp_path / "fleet.toml")
    assert {event.asset for event in events} == {f"P-{number}" for number in range(101, 105)}
    assert sum(isinstance(event, Telemetry) for event in events) == 4 * 390 * 2
    failures = [event for event in events if isinstance(event, Failure)]
    assert len(failures) == 13
    assert {event.arrived - event.time for event in failures if event.arrived} == {20 * HOUR}


def test_a_file_whose_name_says_nothing_may_be_named_as_failures(tmp_path: Path) -> None:
    """`init` says how, and each row of the file becomes a failure."""
    deep = tmp_path / ("a folder whose name is longer than a line of a console is wide".replace(" ", "_"))
    deep.mkdir()
    readings, failures = _pumps(deep)
    stops = failures.rename(deep / "arrêts.csv")
    said = " ".join(_init(readings, stops, out=tmp_path / "first.toml").split())
    assert f"run `init` again with --failures-in {stops}" in said
    _init(readings, stops, out=tmp_path / "fleet.toml", failures_in=[str(stops)])
    assert list(load(tmp_path / "fleet.toml").targets) == ["machine/leak/24h"]
    with pytest.raises(RowsError, match=r"nowhere\.csv is not among the files"):
        _init(readings, stops, out=tmp_path / "other.toml", failures_in=["nowhere.csv"])


def test_stops_of_a_german_factory_are_failures(tmp_path: Path) -> None:
    """`Stillstände`, with a beginning and an end: the failure is at the beginning."""
    readings, failures = _pumps(tmp_path)
    stops = tmp_path / "Stillstände.csv"
    rows = [row.split(",") for row in failures.read_text().splitlines()[1:]]
    lines = [f"{pump};{at};{at[:-8]}23:59:00;Dichtung" for pump, at, _ in rows]
    stops.write_text("\n".join(["pump;Beginn;Ende;Ursache", *lines]))
    _init(readings, stops, out=tmp_path / "fleet.toml")
    assert list(load(tmp_path / "fleet.toml").targets) == ["machine/Dichtung/24h"]
    made = [event.time for event in _recorded(tmp_path / "fleet.toml") if isinstance(event, Failure)]
    assert sorted(made) == sorted(parse_instant(f"{at.replace(' ', 'T')}Z") for _, at, _ in rows)


def _excel(folder: Path, days: int, *, swapped: bool = False) -> list[Path]:
    """Presses and their job sheet as an English Excel saves them; `swapped` writes months first."""
    stamp = "%m/%d/%Y %H:%M" if swapped else "%d/%m/%Y %H:%M"
    rows = ["Machine No,Date/Time,Temp,Temp,Inj Press (bar),OEE,"]
    jobs = ["Job No,Machine No,Reported,Stopped at,Job type,Description of fault,Engineer,Hours"]
    for hour in range(days * 24):
        at = datetime(2026, 2, 1, tzinfo=UTC) + timedelta(hours=hour)
        for press in (401, 402):
            heat = f'{200 + hour % 9},{210 + hour % 7},"1,2{hour % 90 + 10}.5",9{hour % 10}%,'
            rows.append(f"{press},{at.strftime(stamp)},{heat}")
            if hour % 30 == 7:
                kind = "PM" if hour % 60 == 7 else "Breakdown"
                late = (at + timedelta(hours=2)).strftime(stamp)
                jobs.append(
                    f"{len(jobs)},{press},{late},{at.strftime(stamp)},{kind},"
                    f'"no heat on zone {hour}, band replaced",{"DW" if hour % 4 else "JP"},{hour % 5 + 0.5}'
                )
    paths = [folder / "Press readings.csv", folder / "Job sheet.csv"]
    for path, lines in zip(paths, ([*rows, ",,,,,,"], jobs), strict=True):
        path.write_text("\r\n".join([*lines, ""]), encoding="utf-8-sig", newline="")
    return paths


@pytest.mark.parametrize(("days", "swapped"), [(9, False), (9, True), (20, False), (20, True)])
def test_days_and_months_are_not_swapped(tmp_path: Path, days: int, swapped: bool) -> None:
    """A 13th day tells them apart; before it, the shorter span of time does, and that is said."""
    said = " ".join(_init(*_excel(tmp_path, days, swapped=swapped), out=tmp_path / "fleet.toml").split())
    assert f"from 2026-02-01T00:00:00Z to 2026-02-{days:02}T23:00:00Z" in said
    assert "cannot be used" not in said
    assert ("does not say whether day or month comes first" in said) == (days < 12)


@pytest.mark.parametrize("stamp", ["%d/%m/%Y,%H:%M", "%Y-%m-%d,%H:%M:%S", "%m/%d/%Y,%I:%M:%S %p"])
def test_a_date_and_a_time_of_day_in_two_columns_are_one_time(tmp_path: Path, stamp: str) -> None:
    """Of readings, and of stops that begin and end: each date goes with the time of day after it."""
    readings, failures = _pumps(tmp_path, stamp)
    lines = readings.read_text().replace('"', "").splitlines()[1:]
    readings.write_text("\n".join(["pump,Date,Time,pressure,load,firmware", *lines]))
    stops = [line.split(",", 1) for line in failures.read_text().replace('"', "").splitlines()[1:]]
    late = (START + timedelta(days=90)).strftime(stamp)
    lines = [f"{pump},{rest.removesuffix(',leak')},{late},leak" for pump, rest in stops]
    failures.write_text("\n".join(["pump,Start date,Start time,End date,End time,Failure", *lines]))
    said = " ".join(_init(readings, failures, out=tmp_path / "fleet.toml").split())
    assert "2,400 messages of 4 machines from 2020-01-01T00:00:00Z to 2020-01-25T23:00:00Z" in said
    assert "one every 1h (median)" in said
    events = _recorded(tmp_path / "fleet.toml")
    assert len({event.time for event in events if isinstance(event, Telemetry)}) == 600
    times = [datetime.strptime(rest.removesuffix(",leak"), stamp).replace(tzinfo=UTC) for _, rest in stops]
    assert sorted(event.time for event in events if isinstance(event, Failure)) == sorted(
        round(time.timestamp() * 1e6) for time in times
    )


def test_a_sheet_of_excel_is_read_as_it_is(tmp_path: Path) -> None:
    """Two columns of one name, commas between thousands, percents, a blank row, orders with hours of work."""
    said = " ".join(_init(*_excel(tmp_path, 20), out=tmp_path / "fleet.toml").split())
    assert "960 messages of 2 machines" in said
    assert "Failures: failure 16. Maintenance: of no component 16." in said
    assert load(tmp_path / "fleet.toml").classes["machine"].sensors == (
        *("Temp", "Temp (4)", "Inj Press (bar)", "OEE"),
    )
    first = next(event for event in _recorded(tmp_path / "fleet.toml") if isinstance(event, Telemetry))
    assert first.readings == {"Temp": 200, "Temp (4)": 210, "Inj Press (bar)": 1210.5, "OEE": 90}


def test_columns_that_name_machines_make_an_event_of_each_machine(tmp_path: Path) -> None:
    """A trend export has a column a tag; the file of failures knows the machines. Empty cells: no message."""
    trends, failures = tmp_path / "trends.csv", tmp_path / "pannes.csv"
    rows = []
    for hour in range(40):
        at = f"{START + timedelta(hours=hour):%Y-%m-%d %H:%M:%S}"
        second = ";" if hour in {7, 8} else f"4,{hour + 10};"
        rows.append(f"{at};3,{hour + 10};{hour};{second}{'' if hour == 7 else hour}")
    trends.write_text("\n".join(["Horodatage;PU01_DEBIT;PU01_P;PU02_DEBIT;PU02_P", *rows]))
    broken = ["2020-01-02 01:00:00;PU02;fuite", "2020-01-02 05:00:00;PU01;fuite"]
    failures.write_text("\n".join(["Date de panne;Pompe;Cause", *broken]))
    said = " ".join(_init(trends, failures, out=tmp_path / "fleet.toml").split())
    assert "PU01_DEBIT is taken as DEBIT of PU01" in said
    fleet = load(tmp_path / "fleet.toml")
    assert (fleet.classes["machine"].sensors, [*fleet.targets]) == (("DEBIT", "P"), ["machine/fuite/24h"])
    events = [event for event in _recorded(tmp_path / "fleet.toml") if isinstance(event, Telemetry)]
    assert [sum(event.asset == name for event in events) for name in ("PU01", "PU02")] == [40, 39]
    assert next(event.readings for event in events if event.asset == "PU02") == {"DEBIT": 4.1, "P": 0}


def test_columns_whose_names_have_parts_are_sensors_of_one_machine(tmp_path: Path) -> None:
    """`oil_temp` and `water_temp` are no machines: no other file knows machines of these names."""
    times = [START + timedelta(hours=hour) for hour in range(40)]
    rows = [f"{at:%Y-%m-%d %H:%M:%S},{n},{n + 1},{n + 2},{n + 3}" for n, at in enumerate(times)]
    (tmp_path / "engine.csv").write_text("\n".join(["time,oil_temp,oil_bar,water_temp,water_bar", *rows]))
    (tmp_path / "failures.csv").write_text("machine,time,mode\nengine,2020-01-02 01:00:00,leak\n")
    said = _init(tmp_path / "engine.csv", tmp_path / "failures.csv", out=tmp_path / "fleet.toml")
    assert "40 messages of 1 machines" in said
