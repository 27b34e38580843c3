"""A fleet that is configured otherwise from run to run: nothing is garbled, and empty runs change nothing."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from hypothesis import given
from hypothesis import strategies as st

from dataflows.events import Event, Failure, Maintenance, Telemetry
from dataflows.window_statistics import STATISTICS
from tests.asset.changes import ChangedWindows
from tests.asset.oracle import Expected, WindowShape
from tests.asset.streams import HOUR, MINUTE, ClassLayout
from tests.configurations import SENSORS, Configuration
from tests.stored import MemoryStore
from tests.target.learners import Named

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dataflows.items import Row

LENGTHS = ((10 * MINUTE, MINUTE), (30 * MINUTE, 10 * MINUTE), (2 * HOUR, HOUR), (3 * HOUR, HOUR))
START = 1_577_836_800_000_000
#: What may change; options of the class most often, since few of them matter at once.
EDITS = ("add", "remove", "rename", "order", "window", "statistics", "option", "option", "model", "target")


@st.composite
def windows(
    draw: st.DrawFn, sensors: tuple[str, ...], spans: Iterable[tuple[int, int]]
) -> tuple[WindowShape, ...]:
    """Windows of some lengths over some sensors."""
    found = []
    for length, hop in spans:
        chosen = draw(st.sets(st.sampled_from(STATISTICS), min_size=1, max_size=3))
        seen = draw(st.sets(st.sampled_from(sensors), min_size=1) | st.just(set(sensors)))
        found.append(
            WindowShape(
                length,
                hop,
                tuple(each for each in STATISTICS if each in chosen),
                tuple(each for each in sensors if each in seen),
            )
        )
    return tuple(found)


_LATENESS = st.sampled_from([0, 90_000_000, 30 * MINUTE, 3 * HOUR])


@st.composite
def configurations(draw: st.DrawFn) -> Configuration:
    """Any first configuration."""
    sensors = tuple(draw(st.permutations(SENSORS))[: draw(st.integers(1, 3))])
    spans = draw(st.lists(st.sampled_from(LENGTHS), unique=True, max_size=2))
    drawn = draw(windows(sensors, spans))
    values = draw(st.booleans()) or not drawn
    return Configuration(ClassLayout(sensors, drawn, draw(_LATENESS), values))


@st.composite
def edited(draw: st.DrawFn, before: Configuration) -> Configuration:
    """A configuration with one thing changed: a sensor, a window, the class's options, a model."""
    layout = before.layout
    what = draw(st.sampled_from(EDITS))
    others = [name for name in SENSORS if name not in layout.sensors]
    if what == "model":
        return before._replace(
            some=tuple(draw(st.sets(st.sampled_from(SENSORS), min_size=1))),
            rate=draw(st.integers(1, 2)),
            more=draw(st.booleans()),
        )
    if what == "target":
        return before._replace(hours=draw(st.integers(1, 3)))
    if what == "option":
        values = draw(st.booleans()) or not layout.windows
        required = draw(st.none() | st.just(layout.sensors[:1]))
        layout = layout._replace(lateness=draw(_LATENESS), values=values, required=required)
        idle = draw(st.sampled_from([None, HOUR, 5 * HOUR]))
        return before._replace(layout=layout, resets=draw(st.booleans()), idle=idle)
    if what == "window":
        spans = {window[:2] for window in layout.windows}
        free = [span for span in LENGTHS if span not in spans]
        kept = tuple(window for window in layout.windows if draw(st.booleans()))
        added = draw(windows(layout.sensors, draw(st.lists(st.sampled_from(free), unique=True, max_size=1))))
        layout = layout._replace(windows=kept + added)
        return before._replace(layout=layout._replace(values=layout.values or not layout.windows))
    if what == "statistics" and layout.windows:
        first, *rest = layout.windows
        (other,) = draw(windows(layout.sensors, [first[:2]]))
        return before._replace(layout=layout._replace(windows=(other, *rest)))
    sensors = list(layout.sensors)
    at = draw(st.integers(0, len(sensors) - 1))
    renamed: dict[str, str] = {}
    if what == "add" and others:
        sensors.insert(at, draw(st.sampled_from(others)))
    elif what == "rename" and others:
        renamed = {sensors[at]: draw(st.sampled_from(others))}
    elif what == "remove" and len(sensors) > 1:
        del sensors[at]
    else:
        sensors = draw(st.permutations(sensors))
    return before._replace(layout=with_sensors(layout, tuple(sensors), renamed))


def with_sensors(layout: ClassLayout, sensors: tuple[str, ...], renamed: dict[str, str]) -> ClassLayout:
    """The same windows of other sensors: new ones are in each, the rest only where they were."""
    sensors = tuple(renamed.get(name, name) for name in sensors)
    found = []
    for window in layout.windows:
        seen = {renamed.get(name, name) for name in window.sensors}
        seen |= {name for name in sensors if name not in layout.sensors and not renamed}
        names = tuple(name for name in sensors if name in seen)
        if names:
            found.append(window._replace(sensors=names))
    required = None if layout.required is None else sensors[:1]
    values = layout.values or not found
    return ClassLayout(sensors, tuple(found), layout.lateness, values, required)


_READING = st.none() | st.integers(-9, 9).map(float)
_STEPS = st.tuples(
    st.sampled_from("aaab"),
    st.sampled_from(["telemetry"] * 6 + ["late", "late", "again", "failure", "maintenance"]),
    st.integers(1, 50),
    st.tuples(*[_READING] * len(SENSORS)),
)


class History(NamedTuple):
    """Configurations, the records that each one reads, and where its runs end in the disturbed store."""

    parts: list[tuple[Configuration, list[Event]]]
    #: By configuration: empty runs before its records, and the numbers of records after which a run ends.
    empty: list[int]
    ends: list[set[int]]


def records(steps: list[tuple[str, str, int, tuple[float | None, ...]]], now: int) -> tuple[list[Event], int]:
    """Records of two assets, each after the one before, but for late telemetry and reports of people."""
    out: list[Event] = []
    for asset, what, amount, values in steps:
        readings = dict(zip(SENSORS, values, strict=True))
        if what == "telemetry":
            now += amount * MINUTE
            out.append(Telemetry(asset, now, readings, None, now))
        elif what in {"late", "again"}:
            time = now - (amount * MINUTE if what == "late" else 0)
            out.append(Telemetry(asset, time, readings, None, now))
        elif what == "failure":
            out.append(Failure(asset, now - amount * MINUTE // 2, "seal", None, now))
        else:
            out.append(Maintenance(asset, now - amount * MINUTE // 2, "seal", None, now))
    return out, now


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Two or three configurations, the later ones often without a record."""
    configuration, now = draw(configurations()), START
    parts, empty, ends = [], [], []
    for number in range(draw(st.integers(2, 3))):
        if number:
            for _ in range(draw(st.integers(1, 2))):
                configuration = draw(edited(configuration))
        size = draw(st.integers(4, 14) if not number else st.sampled_from([0, 3, 8, 12]))
        found, now = records(draw(st.lists(_STEPS, min_size=size, max_size=size)), now)
        parts.append((configuration, found))
        empty.append(draw(st.integers(0, 2)))
        ends.append(draw(st.sets(st.integers(1, 12), max_size=2)))
    return History(parts, empty, ends)


def at_once(history: History) -> list[Row]:
    """Rows of a store that each configuration with records reads in one run."""
    store, rows = MemoryStore(), list[Any]()
    for configuration, events in history.parts:
        rows += store.run(configuration.fleet(), events)
    return rows


@given(histories())
def test_runs_without_records_and_more_runs_than_one_change_no_row(history: History) -> None:
    """After a change, empty runs and a run that ends after each few records leave what one run leaves."""
    store, found = MemoryStore(), list[Any]()
    for (configuration, events), empty, ends in zip(*history, strict=True):
        fleet = configuration.fleet()
        for _ in range(empty):
            found += store.run(fleet, [])
        for start, stop in pairwise([0, *sorted(end for end in ends if end < len(events)), len(events)]):
            found += store.run(fleet, events[start:stop])
    assert of(found) == of(at_once(history))


def of(rows: list[Row]) -> list[tuple[str, bytes]]:
    """Output and content of each row; the summary is of each run."""
    return [(row.output, row.data) for row in rows if row.output != "summary"]


class Truth:
    """One asset: what its windows hold, and the revision of its latest prediction."""

    def __init__(self, layout: ClassLayout) -> None:
        self.windows = ChangedWindows(layout)
        self.revision = 0

    def telemetry(self, event: Telemetry) -> bool:
        """Whether it is scored, or revises what was."""
        placed = self.windows.all.add(event.time, event.readings, None)
        if placed in {"duplicate", "too_late"}:
            return False
        largest, layout = self.windows.all.largest, self.windows.layout
        if placed == "late" and not any(event.time > window.start(largest) for window in layout.windows):
            return False
        self.revision = 0 if placed == "on_time" else self.revision + 1
        return True


class Truths:
    """The assets of a fleet, and the names of features that its first champion knows."""

    def __init__(self, first: Configuration) -> None:
        self.assets: dict[str, Truth] = {}
        self.created = self.known = {*first.names}
        #: Features of each asset and time as they were first served, without missing ones.
        self.served: dict[tuple[str, str], dict[str, float]] = {}

    def configure(self, configuration: Configuration) -> None:
        """A champion that is configured otherwise goes on with the names that are left."""
        self.configuration, names = configuration, {*configuration.names}
        self.known = names if names == self.created else self.known & names

    def check(self, event: Event, row: dict[str, Any] | None, *, refused: bool) -> None:
        """Compare the prediction that a record made, if any, with all records so far."""
        layout = self.configuration.layout
        truth = self.assets.setdefault(event.asset, Truth(layout))
        if truth.windows.layout != layout:
            truth.windows.change(layout)
        if not isinstance(event, Telemetry):
            if isinstance(event, Failure) and self.configuration.resets and not refused:
                truth.windows.all.reset(event.time)
            assert row is None
        elif truth.telemetry(event):
            assert row is not None
            assert row["revision"] == truth.revision
            self.check_features(row, truth.windows.features())
        else:
            assert row is None

    def check_features(self, row: dict[str, Any], expected: list[Expected]) -> None:
        """And the score, which a champion of before makes of the features that it knows."""
        seen = {name: value for name, value in row["features"].items() if value is not None}
        names = self.configuration.names
        assert row["features"].keys() <= {*names}
        wrong = {
            name: (seen.get(name), want)
            for name, want in zip(names, expected, strict=True)
            if not want.agrees(seen.get(name, math.nan))
        }
        assert wrong == {}
        assert (row["model"], row["version"]) == ("all", 1)
        assert row["score"] == Named().score({name: seen[name] for name in seen.keys() & self.known})
        if not row["revision"]:
            self.served[row["asset"], row["time"]] = seen


@given(histories())
def test_predictions_after_changes_hold_what_was_declared_and_what_came_since(history: History) -> None:
    """Features by name, what the champion makes of those it knows, and what it learns, by brute force."""
    Named.taught.clear()
    store, truths = MemoryStore(), Truths(history.parts[0][0])
    for changed, events in history.parts:
        # Times that wait for their sensors, and other targets, have oracles of their own.
        configuration = changed._replace(layout=changed.layout._replace(required=None), hours=2)
        truths.configure(configuration)
        first, rows = store.read + 1, store.run(configuration.fleet(), events)
        made = {
            output: {
                each["sequence"]: each
                for row in rows
                if row.output == output
                for each in [orjson.loads(row.data)]
            }
            for output in ("predictions", "rejects", "late")
        }
        for sequence, event in enumerate(events, first):
            refused = sequence in made["rejects"] or sequence in made["late"]
            truths.check(event, made["predictions"].get(sequence), refused=refused)
    for x in Named.taught:
        assert any(x.items() <= seen.items() for seen in truths.served.values()), "no example was like this"
