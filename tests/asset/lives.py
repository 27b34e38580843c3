"""Lives of an asset, and what its oracle expects of them."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import orjson
from hypothesis import strategies as st

from dataflows.asset import Asset
from dataflows.events import Failure, Maintenance, Telemetry
from dataflows.items import Counted, Item, Late, ResolvedEvent, Row, lane_part
from tests.asset.oracle import (
    AssetOracle,
    CompleteOracle,
    Decision,
    ExpectedObservation,
    LabelOracle,
    RunningOracle,
    TargetShape,
)
from tests.asset.streams import (
    HOUR,
    MINUTE,
    STARTING,
    STEPS,
    ClassLayout,
    Event,
    class_plan,
    layouts,
    next_event,
    sequences,
)
from tests.observations import parts_of, processed


class Setting(NamedTuple):
    """A class and its targets."""

    layout: ClassLayout
    targets: tuple[TargetShape, ...]
    example_every: int

    def asset(self, sealed: bytes | None = None) -> Asset:
        plan = class_plan(self.layout, self.targets, self.example_every)
        return Asset("pump 1", {"pump": plan}, "pump", sealed)

    def oracle(self) -> AssetOracle:
        parts = self.layout.oracle(), LabelOracle(self.targets), self.example_every
        required = self.layout.required
        if self.layout.running is not None:
            return RunningOracle(*parts, required or ())
        return AssetOracle(*parts) if required is None else CompleteOracle(*parts, required)


class Record(NamedTuple):
    """A failure or a maintenance record."""

    kind: str
    time: int
    what: str | None
    id: str | None


def item_of(number: int, happened: Event | Record) -> Item:
    """What the lane sends to the asset."""
    if isinstance(happened, Event):
        event = Telemetry("pump 1", happened.time, happened.readings, happened.id, 5)
    elif happened.kind == "failure":
        event = Failure("pump 1", happened.time, happened.what or "", happened.id, 5)
    else:
        event = Maintenance("pump 1", happened.time, happened.what, happened.id, 5)
    place = (number, lane_part(number % 3), 1_000_000 * number, 7 * number)
    return Item(*place, ("feed.jsonl", number, 100 * number), ResolvedEvent(event, "pump"))


def expected_of(oracle: AssetOracle, happened: Event | Record) -> str | list[ExpectedObservation]:
    if isinstance(happened, Event):
        return oracle.telemetry(*happened)
    return oracle.record(*happened)


def check_observed(observation: object, want: ExpectedObservation) -> None:
    got = parts_of(observation)
    assert got.asset == "pump 1"
    fields = ("target", "clock", "watermark", "time", "example", *(() if got.time is None else ("revision",)))
    assert {name: getattr(got, name) for name in fields} == {name: getattr(want, name) for name in fields}
    assert [Decision(*msgspec.structs.astuple(matured)[:6]) for matured in got.matured] == want.matured
    assert list(got.released) == want.released
    at_once = None if got.at_once is None else Decision(*msgspec.structs.astuple(got.at_once)[:6])
    assert at_once == want.at_once
    assert (got.features is None) == (want.features is None)
    if got.features is not None and want.features is not None:
        features = memoryview(got.features).cast("d").tolist()
        wrong = [pair for pair in zip(want.features, features, strict=True) if not pair[0].agrees(pair[1])]
        assert wrong == []


_RECORDS = st.tuples(
    st.sampled_from(
        [("failure", "seal"), ("failure", "motor"), ("maintenance", None), ("maintenance", "seal")]
    ),
    st.integers(-30, 10),
    st.sampled_from([-1, 0, 1]),
    st.sampled_from([None, None, "a", "b"]),
)
_STEPS = st.one_of(
    st.tuples(st.just(True), _RECORDS),
    st.tuples(st.just(False), STEPS),
    st.tuples(st.just(False), STEPS),
)
_TARGETS = st.tuples(
    st.sampled_from(["seal", "motor"]),
    st.sampled_from([10 * MINUTE, HOUR]),
    st.sampled_from([0, 5 * MINUTE]),
    st.sampled_from([0, HOUR]),
)


@st.composite
def lives(draw: st.DrawFn) -> tuple[Setting, list[Event | Record]]:
    """A class with targets, and telemetry, failures and maintenance of one of its assets."""
    layout = draw(layouts())
    targets = tuple(
        TargetShape(f"pump/{mode}/{index}", mode, "seal", horizon, delay, memory)
        for index, (mode, horizon, delay, memory) in enumerate(draw(st.lists(_TARGETS, max_size=2)))
    )
    setting = Setting(layout, targets, draw(st.sampled_from([MINUTE, 5 * MINUTE, HOUR])))
    start, scales = draw(STARTING)
    events: list[Event] = []
    life: list[Event | Record] = []
    for is_record, step in draw(sequences(_STEPS)):
        if is_record:
            (kind, what), amount, nudge, identity = step
            now = max((event.time for event in events), default=start)
            life.append(Record(kind, now + amount * 5 * MINUTE + nudge, what, identity))
        else:
            events.append(next_event(layout, start, scales, step, events))
            life.append(events[-1])
    return setting, life


def check_life(setting: Setting, life: list[Event | Record]) -> None:
    """Compare what an asset makes of each record with the brute force's."""
    asset, oracle = setting.asset(), setting.oracle()
    late = corrections = 0
    for number, happened in enumerate(life, start=1):
        item = item_of(number, happened)
        items = processed(asset, item)
        expected = expected_of(oracle, happened)
        if isinstance(expected, str):
            check_refused(item, items, expected)
            continue
        if oracle.corrections > corrections:
            corrections += 1
            *items, note = items
            assert (note.part, note.body) == (item.part + len(items) * 2**20, Counted("corrections"))
        if oracle.late > late:
            late += 1
            *items, note = items
            assert (note.part, note.body) == (item.part + len(items) * 2**20, Late())
        assert len(items) == len(expected)
        for index, (got, want) in enumerate(zip(items, expected, strict=True)):
            assert got.part == item.part + index * 2**20
            assert place_of(got) == place_of(item)
            check_observed(got.body, want)


def check_restored(setting: Setting, life: list[Event | Record], crashes: set[int]) -> None:
    """Compare an asset that is restored before some records with one that never stops, bit for bit."""
    steady, resumed = setting.asset(), setting.asset()
    for index, happened in enumerate(life):
        if index in crashes:
            resumed = setting.asset(resumed.to_bytes())
        want = msgspec.msgpack.encode(processed(steady, item_of(index + 1, happened)))
        assert msgspec.msgpack.encode(processed(resumed, item_of(index + 1, happened))) == want
    assert resumed.to_bytes() == steady.to_bytes()


def place_of(item: Item) -> tuple[object, ...]:
    return item.sequence, item.arrival, item.known, item.position


def check_refused(item: Item, items: list[Item], reason: str) -> None:
    (refused,) = items
    assert (*place_of(refused), refused.part) == (*place_of(item), item.part)
    assert isinstance(refused.body, Row)
    assert refused.body.output == ("late" if reason in {"too_late", "unmatched"} else "rejects")
    row = orjson.loads(refused.body.data)
    assert (row["reason"], row["asset"]) == (reason, "pump 1")
    assert (row["source"], row["line"], row["offset"]) == item.position
    assert row["sequence"] == item.sequence
    assert row["event"]["kind"] == type(item.body.event).__name__.lower()
    if isinstance(item.body.event, Telemetry):
        assert row["event"]["readings"] == item.body.event.readings
