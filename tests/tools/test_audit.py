"""The audit: equal to the last bit on an honest recording; on a tampered one, who, when and what."""

from __future__ import annotations

import io
import subprocess
import sys
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from rich.console import Console

from dataflows.connectors.order_journal import Journal, Run
from dataflows.fleet import load
from dataflows.instants import HOUR, format_instant, parse_instant, shown_instant
from dataflows.pipeline import run_lines
from dataflows.simulator import load_scenario, write
from dataflows.tools.audit import Audit, AuditError, Report, audit
from tests.processes import environment
from tests.tables import PRIOR

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Event = dict[str, Any]
FLEET = """
name = "trucks"
[input]
files = ["events.jsonl"]
batch = 200
[output]
features = "{features}"
publish = "{publish}"
[assets]
max_future = "1h"
[classes.truck]
sensors = ["coolant_level", "engine_temperature", "fan_speed"]
faults = ["low_coolant", "overheating"]
allowed_lateness = "2h"
example_every = "4h"
maintenance = ["cooling"]
[[classes.truck.windows]]
length = "6h"
hop = "1h"
statistics = ["count", "mean", "slope"]
[[targets]]
class = "truck"
mode = "coolant_leak"
horizon = "24h"
champion = "prior"
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    """Ten days of eight trucks, whose messages are late, twice, lost or stored."""
    scenario = load_scenario("field", trucks=8, days=10, every="30m")
    delivery = scenario.delivery.model_copy(update={"late": 0.1})
    changes = {"weather": None, "delivery": delivery}
    files = write(scenario.model_copy(update=changes), tmp_path_factory.mktemp("field"))
    return [orjson.loads(line) for line in files.events.read_bytes().splitlines()]


class Served:
    """A folder with a run of a recording, and how to audit another recording against it."""

    def __init__(
        self, folder: Path, events: list[Event], features: str, publish: str, fleet: str = FLEET
    ) -> None:
        self.folder = folder
        self.events = events
        self.path = folder / "fleet.toml"
        self.path.write_text(fleet.format(features=features, publish=publish) + PRIOR)
        self.record(events)
        self.fleet = load(self.path, environ={})
        out = run_lines(self.fleet, [orjson.dumps(event) for event in events])
        self.fleet.output.folder.mkdir()
        for name, rows in out.items():
            (self.fleet.output.folder / f"{name}.jsonl").write_bytes(b"".join(row + b"\n" for row in rows))
        self.examples = [orjson.loads(row) for row in out["examples"]]
        self.predictions = [orjson.loads(row) for row in out["predictions"]]

    def record(self, events: list[Event]) -> None:
        (self.folder / "events.jsonl").write_bytes(b"".join(orjson.dumps(e) + b"\n" for e in events))

    def audited(self, events: list[Event], chosen: Callable[[str], bool] = lambda _: True) -> Report:
        self.record(events)
        try:
            return Audit(self.fleet, chosen).run(Console(file=io.StringIO()))
        finally:
            self.record(self.events)

    def shown(self, events: list[Event], **options: Any) -> tuple[bool, str]:  # noqa: ANN401 - those of audit
        self.record(events)
        console = Console(file=io.StringIO(), width=200)
        try:
            equal = audit(self.path, [], console, **options)
        finally:
            self.record(self.events)
        return equal, console.file.getvalue()


@pytest.fixture(scope="module")
def run_with(recorded: list[Event], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Served]:
    """A run that wrote the features of every prediction, or of examples alone; each is made once."""
    return cache(lambda features: Served(tmp_path_factory.mktemp("run"), recorded, features, "all"))


@pytest.fixture(params=["all", "examples"])
def served(request: pytest.FixtureRequest, run_with: Callable[[str], Served]) -> Served:
    return run_with(request.param)


@pytest.fixture
def everything(run_with: Callable[[str], Served]) -> Served:
    """A run that wrote the features of every prediction."""
    return run_with("all")


def on_time(run: Served, number: int) -> tuple[int, Event]:
    """Index and content of telemetry that came once, was scored at once, and lies in an example's window."""
    times = {(row["asset"], row["time"]) for row in run.predictions if not row["revision"]}
    examples: dict[str, list[int]] = {}
    for row in run.examples:
        examples.setdefault(row["asset"], []).append(parse_instant(row["time"]))
    came = Counter((event["asset"], event.get("time")) for event in run.events)
    found = [
        (index, event)
        for index, event in enumerate(run.events)
        if event["kind"] == "telemetry"
        and (event["asset"], format_instant(parse_instant(event["time"]))) in times
        and came[event["asset"], event["time"]] == 1
        and any(0 <= time - parse_instant(event["time"]) < 3 * HOUR for time in examples[event["asset"]])
        and len(event["readings"]) > 2
    ]
    return found[len(found) // 2 + number]


def without(events: list[Event], index: int) -> list[Event]:
    return events[:index] + events[index + 1 :]


def altered(events: list[Event], index: int, sensor: str) -> list[Event]:
    event = events[index]
    readings = event["readings"] | {sensor: event["readings"][sensor] + 0.001}
    return [*events[:index], event | {"readings": readings}, *events[index + 1 :]]


def test_an_honest_recording_is_equal_to_the_last_bit(served: Served) -> None:
    """Every vector that was served is computed again, with late data, copies and lost messages."""
    report = served.audited(served.events)
    assert report.difference is None
    if served.fleet.output.features == "all":
        assert report.compared == len(served.predictions) > 2_000
        assert any(row["revision"] for row in served.predictions)
    else:
        assert report.compared == len(served.examples) > 100
    assert report.records <= len(served.events)
    assert report.assets == 8


@pytest.mark.parametrize("number", [0, 7, 40])
def test_a_removed_event_is_named(served: Served, number: int) -> None:
    """Asset and time of the event that the recording lacks, also where only examples have features."""
    index, event = on_time(served, number)
    report = served.audited(without(served.events, index))
    assert report.difference is not None
    assert report.why is not None
    assert report.difference.asset == event["asset"]
    assert parse_instant(event["time"]) in report.why.gone
    if served.fleet.output.features == "all":
        assert report.difference.what == "missing"
        assert report.difference.time == parse_instant(event["time"])
        assert report.why.gone == (parse_instant(event["time"]),)


@pytest.mark.parametrize("number", [0, 7, 40])
def test_an_altered_reading_is_named(everything: Served, number: int) -> None:
    """Asset, time, sensor and the very record, though it differs by a thousandth only."""
    index, event = on_time(everything, number)
    sensor = next(name for name in ("fan_speed", "coolant_level") if event["readings"].get(name) is not None)
    report = everything.audited(altered(everything.events, index, sensor))
    assert report.difference is not None
    assert report.why is not None
    assert report.difference.what == "differs"
    assert (report.difference.asset, report.difference.time) == (event["asset"], parse_instant(event["time"]))
    assert report.why.sensors == (sensor,)
    assert report.difference.sequence == index + 1
    assert [near.sequence for near in report.why.events][-1] == index + 1
    assert not report.why.gone


def test_an_altered_reading_between_examples_is_among_the_events_named(
    run_with: Callable[[str], Served],
) -> None:
    """With features of examples only, the events since the last equal example are named."""
    run = run_with("examples")
    index, event = on_time(run, 3)
    report = run.audited(altered(run.events, index, "engine_temperature"))
    assert report.difference is not None
    assert report.why is not None
    assert report.difference.asset == event["asset"]
    assert "engine_temperature" in report.why.sensors
    assert index + 1 in [near.sequence for near in report.why.events]


def test_a_removed_late_event_is_noticed(everything: Served) -> None:
    """The prediction that it revised is named: asset and time."""
    first = next(row for row in everything.predictions[1_000:] if row["revision"] == 1)
    index = first["sequence"] - 1
    report = everything.audited(without(everything.events, index))
    assert report.difference is not None
    assert (report.difference.asset, format_instant(report.difference.time)) == (
        first["asset"],
        first["time"],
    )


def test_an_event_that_the_run_never_saw_is_noticed(everything: Served) -> None:
    """A second event a minute later makes a prediction that was not served."""
    index, event = on_time(everything, 11)
    more = event | {"time": format_instant(parse_instant(event["time"]) + 1_000_000)}
    more.pop("id", None)
    report = everything.audited([*everything.events[: index + 1], more, *everything.events[index + 1 :]])
    assert report.difference is not None
    assert report.difference.what == "extra"
    assert (report.difference.asset, report.difference.time) == (event["asset"], parse_instant(more["time"]))


@pytest.mark.parametrize("number", [3, -3])
def test_a_missing_row_of_the_examples_is_named(run_with: Callable[[str], Served], number: int) -> None:
    """A served example without its row is a difference, wherever the row was."""
    run = run_with("examples")
    path = run.fleet.output.folder / "examples.jsonl"
    rows = (before := path.read_bytes()).splitlines(keepends=True)
    removed = orjson.loads(rows.pop(number))
    path.write_bytes(b"".join(rows))
    try:
        report = run.audited(run.events)
    finally:
        path.write_bytes(before)
    assert report.difference is not None
    assert report.difference.what == "extra"
    found = report.difference.asset, format_instant(report.difference.time)
    assert found == (removed["asset"], removed["time"])


def test_an_event_after_the_last_of_its_asset_is_noticed(everything: Served) -> None:
    """Also where nothing of that asset is served afterwards, but something of others."""
    last = {row["asset"]: row for row in everything.predictions if not row["revision"]}
    asset = min(last, key=lambda name: last[name]["sequence"])
    index = max(row["sequence"] for row in everything.predictions if row["asset"] == asset) - 1
    assert index < len(everything.events) - 5
    event = next(e for e in reversed(everything.events[: index + 1]) if e["asset"] == asset)
    time = parse_instant(last[asset]["time"])
    more = {
        "kind": "telemetry",
        "asset": asset,
        "readings": {"load": 0.5},
        "time": format_instant(time + 60_000_000),
        "arrived": event["arrived"],
    }
    report = everything.audited([*everything.events[: index + 1], more, *everything.events[index + 1 :]])
    assert report.difference is not None
    assert (report.difference.what, report.difference.asset) == ("extra", asset)
    assert report.difference.time == time + 60_000_000


def test_what_lies_beyond_the_outputs_is_not_held_against_them(everything: Served) -> None:
    """A recording that has grown since the run is as good as the one that it was."""
    asset = everything.events[-1]["asset"]
    now = max(parse_instant(event["arrived"]) for event in everything.events)
    more = [
        {
            "kind": "telemetry",
            "asset": asset,
            "readings": {"load": 0.5},
            "time": format_instant(now + n * 60_000_000),
            "arrived": format_instant(now + n * 60_000_000),
        }
        for n in range(1, 500)
    ]
    report = everything.audited([*everything.events, *more])
    assert report.difference is None
    assert report.compared == len(everything.predictions)


def test_a_recording_that_ends_early_is_noticed(everything: Served) -> None:
    """What was served after its end has no event."""
    report = everything.audited(everything.events[:-300])
    assert report.difference is not None
    assert report.difference.what == "missing"


def test_a_sample_compares_its_assets_only(everything: Served) -> None:
    """What was done to another asset is not its business; the named one has all its predictions compared."""
    index, event = on_time(everything, 0)
    other = next(row["asset"] for row in everything.predictions if row["asset"] != event["asset"])
    report = everything.audited(without(everything.events, index), {other}.__contains__)
    assert report.difference is None
    assert report.compared == sum(row["asset"] == other for row in everything.predictions)
    assert report.assets == 1


def test_the_report_names_asset_time_and_event(everything: Served) -> None:
    """In sentences that a person can act on, and the verdict as a result."""
    index, event = on_time(everything, 5)
    at = shown_instant(parse_instant(event["time"]))
    equal, text = everything.shown(everything.events)
    assert equal
    assert text.startswith(
        f"Equal to the last bit: {len(everything.predictions):,} feature vectors of 8 assets"
    )
    equal, text = everything.shown(without(everything.events, index), assets=[event["asset"]])
    assert not equal
    assert f"The prediction of {at} has no event in the recording" in text
    equal, text = everything.shown(altered(everything.events, index, "engine_temperature"))
    assert not equal
    assert "made of engine_temperature." in text
    assert f"line {index + 1}" in text


def test_log_lines_are_no_part_of_the_report(everything: Served) -> None:
    """Of an audit that lasts for minutes, standard output holds the verdict, standard error how far it is."""
    code = "from dataflows import status; status.PROGRESS_EVERY = 0; import dataflows.__main__ as m; m.app()"
    command = [sys.executable, "-c", code, "audit", str(everything.path)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Equal to the last bit")
    assert "progress" not in done.stdout
    assert '"event": "progress"' in done.stderr


def test_the_order_of_a_live_run_is_that_of_its_journal(recorded: list[Event], tmp_path: Path) -> None:
    """Two files, taken in turns of fifty lines: equal in the order of the journal, and in no other."""
    lines = [orjson.dumps(event) + b"\n" for event in recorded[:2_000]]
    halves = lines[::2], lines[1::2]
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path, half in zip(paths, halves, strict=True):
        path.write_bytes(b"".join(half))
    journal = Journal(tmp_path / "journal", [str(path) for path in paths], 0)
    taken: list[bytes] = []
    offsets = [0, 0]
    for turn in range(0, 1_000, 50):
        for number, half in enumerate(halves):
            some = half[turn : turn + 50]
            end = offsets[number] + sum(map(len, some))
            journal.append(len(taken), (Run(number, offsets[number], end, len(some)),))
            offsets[number] = end
            taken += some
    journal.close()
    run = Served(tmp_path, [orjson.loads(line) for line in taken], "all", "all")
    files = [str(path) for path in paths]
    console = Console(file=io.StringIO(), width=200)
    assert audit(run.path, files, console, journal=tmp_path / "journal")
    assert not audit(run.path, files, console)


def test_an_altered_row_of_weather_is_named(tmp_path: Path) -> None:
    """What differs is made of weather, and the row is among those told."""
    files = write(load_scenario("field", trucks=4, days=8, every="30m"), tmp_path / "field")
    events = [orjson.loads(line) for line in files.events.read_bytes().splitlines()]
    weather = '[classes.truck.weather]\nvalues = ["temperature"]\nmax_age = "3h"\n[[targets]]'
    run = Served(tmp_path, events, "all", "all", FLEET.replace("[[targets]]", weather))
    assert run.audited(events).difference is None
    observed = [
        (index, event)
        for index, event in enumerate(events)
        if event["kind"] == "weather" and "T12" in event["time"] and event["issued"] > event["time"]
    ]
    for index, event in observed[:: len(observed) // 4]:
        values = {"temperature": event["values"]["temperature"] + 0.5}
        report = run.audited([*events[:index], event | {"values": values}, *events[index + 1 :]])
        if report.why is not None:
            assert report.why.sensors == ("weather",)
            assert index + 1 in [near.sequence for near in report.why.events]
            break
    else:
        pytest.fail("no prediction was served on any of the altered rows")


def test_predictions_that_were_published_in_part_are_compared(recorded: list[Event], tmp_path: Path) -> None:
    """With publish = grid only the examples are served, and each of them is found."""
    run = Served(tmp_path, recorded, "all", "grid")
    report = run.audited(run.events)
    assert report.difference is None
    assert report.compared == len(run.predictions) > 200
    index = next(n for n, e in enumerate(run.events) if n > 2_000 and e["kind"] == "telemetry")
    asset = run.events[index]["asset"]
    tampered = [e for n, e in enumerate(run.events) if n < index or e["asset"] != asset]
    report = run.audited(tampered)
    assert report.difference is not None
    assert report.difference.asset == asset


def test_without_features_there_is_nothing_to_audit(recorded: list[Event], tmp_path: Path) -> None:
    """An audit that compares nothing is an error, not a pass."""
    run = Served(tmp_path, recorded[:300], "none", "all")
    with pytest.raises(AuditError, match="holds features; run with `features`"):
        run.audited(run.events)


def test_an_audit_of_no_asset_is_an_error(everything: Served) -> None:
    """A misspelt name does not pass."""
    with pytest.raises(AuditError, match="nothing was compared"):
        everything.audited(everything.events, lambda _: False)


def test_outputs_of_another_configuration_are_refused(everything: Served, tmp_path: Path) -> None:
    """Other features cannot be compared, and the message says so."""
    other = tmp_path / "fleet.toml"
    other.write_text(everything.path.read_text().replace('"slope"]', '"slope", "max"]'))
    (tmp_path / "events.jsonl").write_bytes((everything.folder / "events.jsonl").read_bytes())
    with pytest.raises(AuditError, match="audit a run with the fleet"):
        audit(other, [], Console(file=io.StringIO()), out=everything.fleet.output.folder)
