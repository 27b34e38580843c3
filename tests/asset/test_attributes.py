"""Faults, maintenance and attributes as features; resets; changes of the class."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.asset import Asset, attributes, maintenance
from dataflows.asset import labels as records
from dataflows.asset.asset import ClassPlan
from dataflows.asset.attributes import AttributeFeatures
from dataflows.asset.maintenance import MaintenanceFeatures
from dataflows.asset.windows import WindowPlan, Windows
from dataflows.events import (
    MAX_ATTRIBUTES,
    Event,
    Failure,
    Fault,
    Maintenance,
    Registration,
    Retraction,
    Telemetry,
)
from dataflows.items import Expiry, Item, Observation, ResolvedEvent, Row
from tests.asset.oracle import HOUR
from tests.asset.streams import target_of
from tests.asset.worlds import (
    CODES,
    COLOURS,
    COMPONENTS,
    LONG,
    Shape,
    fault,
    features_in,
    item_of,
    plans_of,
    reading,
    reason_in,
)
from tests.observations import parts_of, processed


@dataclass
class Oracle:
    """Everything that was accepted; features are computed anew from it."""

    shape: Shape
    scored: int | None = None
    newest: int | None = None
    #: The largest time of telemetry.
    latest: int | None = None
    since: int | None = None
    telemetry: dict[int, dict[str, float]] = field(default_factory=dict)
    known: list[tuple[int, object]] = field(default_factory=list)
    #: Event time, code.
    faults: list[tuple[int, str]] = field(default_factory=list)
    work: list[tuple[int, str | None]] = field(default_factory=list)
    seen: set[tuple[object, ...]] = field(default_factory=set)
    attributes: dict[str, object] = field(default_factory=dict)

    def take(self, event: Event) -> str | None:
        """Why a record cannot be used; None where it can."""
        if isinstance(event, Telemetry | Fault):
            return self.heard(event)
        if isinstance(event, Failure | Maintenance):
            what = event.mode if isinstance(event, Failure) else event.component
            key = (type(event), event.time, what)
            if key in self.seen:
                return "duplicate"
            self.seen.add(key)
            kind = "failure" if isinstance(event, Failure) else "maintenance"
            if kind == "maintenance":
                self.work.append((event.time, what))
            if kind in self.shape.resets:
                self.reset(event.time)
        elif isinstance(event, Registration):
            self.attributes = {**self.attributes, **event.attributes}
        return None

    def heard(self, event: Telemetry | Fault) -> str | None:
        time = event.time
        content = event.code if isinstance(event, Fault) else event.readings["speed"]
        on_time = isinstance(event, Telemetry) and (self.latest is None or time >= self.latest)
        below = self.newest is not None and time < self.newest - self.shape.lateness
        accepted = on_time or not below
        if accepted and (time, content) in self.known:
            return "duplicate"
        if not accepted or not self.survives(time):
            return "too_late"
        self.known.append((time, content))
        if isinstance(event, Fault):
            self.faults.append((time, event.code))
        else:
            self.telemetry.setdefault(time, {}).update({"speed": content})  # type: ignore[dict-item]
            if on_time:
                self.scored = self.latest = time
        self.newest = time if self.newest is None else max(self.newest, time)
        return None

    def reset(self, time: int) -> None:
        """Only what lies after it is left."""
        self.since = time if self.since is None else max(self.since, time)

    def survives(self, time: int) -> bool:
        return self.since is None or time > self.since

    def features(self) -> list[float]:
        assert self.scored is not None
        now = self.scored
        out = [self.telemetry[now]["speed"]]
        for length, hop in self.shape.windows:
            start = now // hop * hop - length
            inside = [t for t in sorted(self.telemetry) if start < t <= now and self.survives(t)]
            out += [len(inside), 0, self.telemetry[inside[-1]]["speed"]] if inside else [0, 0, math.nan]
            for code in CODES:
                times = [t for t, c in self.faults if c == code and start < t <= now and self.survives(t)]
                out += [len(times), (now - max(times)) / HOUR] if times else [0, math.nan]
        for name in COMPONENTS:
            done = [t for t, what in self.work if what in {None, name} and t <= now]
            out += [(now - max(done)) / HOUR if done else math.nan, len(done)]
        age = self.attributes.get("age")
        out.append(float(age) if type(age) in {int, float} else math.nan)  # type: ignore[arg-type]
        colour = self.attributes.get("colour")
        return out + [math.nan if colour is None else float(colour == known) for known in COLOURS]


def check(asset: Asset, oracle: Oracle, number: int, event: Event) -> None:
    items = processed(asset, item_of(number, event))
    assert reason_in(items) == oracle.take(event)
    got = features_in(items)
    if got is not None:
        assert dict(zip(oracle.shape.asset_class().features, got, strict=True)) == pytest.approx(
            dict(zip(oracle.shape.asset_class().features, oracle.features(), strict=True)), abs=0, nan_ok=True
        )


_WINDOW = st.tuples(st.integers(1, 4), st.sampled_from([1, 3, 5])).map(lambda w: (w[0] * w[1], w[1]))
_SHAPES = st.tuples(st.lists(_WINDOW, min_size=1, max_size=2).map(tuple), st.sampled_from([0, 0, 2, 9])).map(
    lambda drawn: Shape("pump", *drawn)
)
_DRAWN = st.lists(
    st.tuples(
        st.sampled_from(
            ["telemetry", "telemetry", "telemetry", "E1", "E1", "E2", "E9", "failure", "work", "asset"]
        ),
        st.sampled_from([0, 0, 1, 1, 2, 4, 11, -1, -2, -5, -9]),
        st.sampled_from([None, "seal", "belt", "hose"]),
        st.integers(-3, 3),
    ),
    min_size=1,
    max_size=25,
)


def life_of(drawn: list[tuple[str, int, str | None, int]], *, reported_late: int = 1) -> list[Event]:
    """The records that drawn steps mean, each relative to the newest time so far."""
    newest, life = 100, list[Event]()
    for kind, offset, what, value in drawn:
        time = newest + offset
        if kind == "asset":
            attributes = {
                "age": [3, 2.5, True, "old", None, 0, 7][value + 3],
                "colour": [None, *COLOURS, "grey"][value],
            }
            life.append(Registration("a", "pump", None, attributes, False, None))
            continue
        if kind in {"failure", "work"}:
            time = newest + offset * (reported_late if offset < 0 else 1)
            life.append(
                Failure("a", time, "motor", None, None)
                if kind == "failure"
                else Maintenance("a", time, what, None, None)
            )
            continue
        newest = max(newest, time)
        readings: dict[str, float | None] = {"speed": float(value)}
        life.append(
            Telemetry("a", time, readings, None, None)
            if kind == "telemetry"
            else Fault("a", time, kind, None, None)
        )
    return life


@given(_SHAPES, _DRAWN, st.sets(st.integers(0, 24)))
def test_features_are_what_all_records_so_far_give(
    shape: Shape, drawn: list[tuple[str, int, str | None, int]], crashes: set[int]
) -> None:
    """Faults, maintenance, attributes and readings, late and equal times and restarts included."""
    plans, oracle = plans_of(shape), Oracle(shape)
    asset = Asset("a", plans, "pump")
    for number, event in enumerate(life_of(drawn)):
        if number in crashes:
            asset = Asset("a", plans, "pump", asset.to_bytes())
        check(asset, oracle, number, event)


@given(
    _SHAPES,
    st.sampled_from(["failure", "maintenance"]),
    _DRAWN,
    st.sampled_from([1, 3, 5]),
    st.sets(st.integers(0, 24)),
)
def test_after_a_reset_windows_hold_all_that_lies_after_it_and_no_more(
    shape: Shape,
    on: str,
    drawn: list[tuple[str, int, str | None, int]],
    reported_late: int,
    crashes: set[int],
) -> None:
    """Records inside panes, reported when the watermark is far ahead; what comes from before is too late."""
    shape = shape._replace(resets=(on,))
    plans, oracle = plans_of(shape), Oracle(shape)
    asset = Asset("a", plans, "pump")
    for number, event in enumerate(life_of(drawn, reported_late=reported_late)):
        if number in crashes:
            asset = Asset("a", plans, "pump", asset.to_bytes())
        check(asset, oracle, number, event)


HOURLY = Shape("pump", ((6, 3),), 0)


def values(*events: Event, shape: Shape = HOURLY) -> dict[str, float] | None:
    """Features after the last record, by name."""
    asset = Asset("a", plans_of(shape), "pump")
    items: list[Item] = []
    for number, event in enumerate(events):
        items = processed(asset, item_of(number, event))
    found = features_in(items)
    return None if found is None else dict(zip(shape.asset_class().features, found, strict=True))


def test_a_fault_after_the_last_telemetry_counts_from_the_next_on() -> None:
    """The prediction that is out knows nothing of it, so nothing is published again."""
    assert values(reading(10), fault(11)) is None
    after = values(reading(10), fault(11), reading(12))
    assert after is not None
    assert after["E1:count:0"] == 1


def test_a_late_fault_in_a_window_revises_the_prediction() -> None:
    """It counts at once, with revision 1; one that no class names moves nothing but the watermark."""
    shape = HOURLY._replace(lateness=5)
    revised = values(reading(10), fault(9), shape=shape)
    assert revised is not None
    assert (revised["E1:count:0"], revised["E1:age:0"]) == (1, 1 / HOUR)
    assert values(reading(10), fault(9, "E9"), shape=shape) is None


def test_a_fault_moves_the_watermark_and_late_telemetry_below_it_is_too_late() -> None:
    """Faults are the asset's own events: what is older than they allow is too late, unless it is on time."""
    asset = Asset("a", plans_of(HOURLY._replace(lateness=5)), "pump")
    processed(asset, item_of(1, reading(17)))
    (seen,) = processed(asset, item_of(2, fault(20)))
    assert isinstance(seen.body, Observation)
    assert (seen.body.watermark, seen.body.score) == (15, None)
    assert reason_in(processed(asset, item_of(3, reading(15)))) is None
    assert reason_in(processed(asset, item_of(4, reading(14)))) == "too_late"
    assert reason_in(processed(asset, item_of(5, fault(20)))) == "duplicate"
    assert reason_in(processed(asset, item_of(6, reading(20)))) is None


@pytest.mark.parametrize("lateness", [0, 5, 100])
def test_telemetry_that_codes_overtake_is_scored(lateness: int) -> None:
    """Readings are 40 under way, codes none: each reading is a prediction all the same, and an example."""
    asset = Asset("a", plans_of(HOURLY._replace(lateness=lateness)), "pump")
    scored, codes = [], []
    for number, time in enumerate(range(100, 200, 10)):
        processed(asset, item_of(2 * number, fault(time)))
        codes.append(time)
        (seen,) = processed(asset, item_of(2 * number + 1, reading(time - 40)))
        score = parts_of(seen.body)
        assert score.features is not None
        named = dict(zip(HOURLY.asset_class().features, np.frombuffer(score.features).tolist(), strict=True))
        # A code counts from its own time on, whenever it came.
        assert named["E1:count:0"] == sum((time - 40) // 3 * 3 - 6 < at <= time - 40 for at in codes)
        scored.append((score.time, score.revision, score.example))
        assert reason_in(processed(asset, item_of(2 * number + 1, reading(time - 40)))) == "duplicate"
    assert scored == [(time - 40, 0, True) for time in range(100, 200, 10)]


def test_a_fault_with_an_id_is_known_by_it() -> None:
    """The same id is the same fault; two ids are two faults, though all else is equal."""
    found = values(fault(9, "E1", "x"), fault(9, "E1", "y"), fault(9, "E1", "x"), reading(9))
    assert found is not None
    assert found["E1:count:0"] == 2


def test_ids_are_compared_within_a_kind() -> None:
    """Telemetry and a fault of one id are two events; neither can be taken for the content of a fault."""
    asset = Asset("a", plans_of(HOURLY), "pump")
    events: list[Event] = [
        Telemetry("a", 9, {"speed": 1.0}, "x", None),
        fault(9, "E1", "x"),
        fault(9, "E1", "fault E1 9"),
        Telemetry("a", 9, {"speed": 2.0}, "fault E1 9", None),
        fault(9, "E1"),
    ]
    assert [reason_in(processed(asset, item_of(number, event))) for number, event in enumerate(events)] == [
        None
    ] * 5
    again = [reason_in(processed(asset, item_of(number, event))) for number, event in enumerate(events)]
    assert again == ["duplicate"] * 5


def test_a_repair_is_no_feature_before_its_time_and_censors_no_positive() -> None:
    """Recorded before the failure that it repaired, it neither shows in features nor hides the failure."""
    asset = Asset("a", plans_of(HOURLY._replace(mode="seal")), "pump")
    processed(asset, item_of(1, reading(10)))
    early = processed(asset, item_of(2, Maintenance("a", 20, "seal", None, None)))
    assert [parts_of(item.body).matured for item in early if isinstance(item.body, Observation)] == [()]
    before = features_in(processed(asset, item_of(3, reading(19))))
    assert before is not None
    named = dict(zip(HOURLY.asset_class().features, before, strict=True))
    assert named["seal:count"] == 0
    assert math.isnan(named["seal:hours"])
    (found,) = processed(asset, item_of(4, Failure("a", 20, "seal", None, None)))
    assert [(one.time, one.label) for one in parts_of(found.body).matured] == [(10, 1), (19, 1)]


def test_maintenance_that_is_withdrawn_is_no_feature_any_more() -> None:
    """Hours and count are those of the records that stand."""
    work = [Maintenance("a", time, None, name, None) for time, name in ((3, "x"), (7, "y"))]
    found = values(*work, Retraction("a", "y", None), reading(10))
    assert found is not None
    assert [(found[f"{name}:hours"], found[f"{name}:count"]) for name in COMPONENTS] == [(7 / HOUR, 1)] * 2


def test_a_dropped_asset_has_empty_windows_and_its_attributes() -> None:
    """What the registry said stays known; readings and faults from before asset_ttl are gone."""
    asset = Asset("a", plans_of(HOURLY), "pump")
    row = Registration("a", "pump", None, {"age": 3}, False, None)
    for number, event in enumerate([row, fault(10), reading(10)]):
        processed(asset, item_of(number, event))
    items = processed(asset, Item(4, 0, 90, 90, ("", 0, 0), ResolvedEvent(Expiry("a", 90, "ttl"), "pump")))
    rows = [orjson.loads(item.body.data) for item in items if isinstance(item.body, Row)]
    assert [(found["change"], found["asset"]) for found in rows] == [("asset_dropped", "a")]
    assert [parts_of(item.body).forgotten for item in items if isinstance(item.body, Observation)] == [True]
    after = features_in(processed(asset, item_of(5, reading(11))))
    assert after is not None
    named = dict(zip(HOURLY.asset_class().features, after, strict=True))
    assert (named["speed:count:0"], named["E1:count:0"], named["age"]) == (1, 0, 3)


def test_an_asset_dropped_and_heard_at_the_time_scored_before_revises() -> None:
    """It is the same asset and time, so the prediction counts on: no id is given twice."""
    asset = Asset("a", plans_of(HOURLY), "pump")
    processed(asset, item_of(1, reading(10)))
    processed(asset, Item(2, 0, 90, 90, ("", 0, 0), ResolvedEvent(Expiry("a", 90, "ttl"), "pump")))
    asset = Asset("a", plans_of(HOURLY), "pump", asset.to_bytes())
    found = [processed(asset, item_of(number, reading(time, 5.0)))[0] for number, time in ((3, 10), (4, 11))]
    scores = [one.body.score for one in found if isinstance(one.body, Observation)]
    assert [(one.time, one.revision) for one in scores if one is not None] == [
        (10, 1),
        (11, 0),
    ]


def test_readings_after_a_reset_that_is_reported_late_are_all_counted() -> None:
    """A failure in the middle of a pane of 60, reported when the next pane is full: 20 and 60 are left."""
    shape = HOURLY._replace(windows=((240, 60),), resets=("failure",))
    events: list[Event] = [reading(time) for time in range(1, 181)]
    found = values(*events, Failure("a", 100, "seal", None, None), reading(181), shape=shape)
    assert found is not None
    assert found["speed:count:0"] == 81


def test_copies_from_before_a_reset_are_duplicates() -> None:
    """Also of equal content at several times; what was not sent before is too late."""
    plans = plans_of(HOURLY._replace(lateness=9, resets=("failure",)))
    asset = Asset("a", plans, "pump")
    before = [reading(8), reading(9), Telemetry("a", 10, {"speed": 1.0}, "x", None), fault(9)]
    for number, event in enumerate([*before, Failure("a", 11, "seal", None, None)]):
        processed(asset, item_of(number, event))
    for same in (asset, Asset("a", plans, "pump", asset.to_bytes())):
        copies = [
            reason_in(processed(same, item_of(number, event))) for number, event in enumerate(before, 9)
        ]
        assert copies == ["duplicate"] * 4
        assert reason_in(processed(same, item_of(20, reading(9, 5.0)))) == "too_late"


def test_copies_of_equal_readings_after_asset_ttl_are_duplicates() -> None:
    """Each time is remembered, not only the last with that content."""
    asset = Asset("a", plans_of(HOURLY._replace(lateness=9)), "pump")
    for time in (8, 9, 10):
        processed(asset, item_of(time, reading(time)))
    processed(asset, Item(4, 0, 90, 90, ("", 0, 0), ResolvedEvent(Expiry("a", 90, "ttl"), "pump")))
    copies = [reason_in(processed(asset, item_of(number, reading(number)))) for number in (8, 9, 10)]
    assert copies == ["duplicate"] * 3


def test_an_earlier_reset_that_comes_later_brings_nothing_back() -> None:
    """What the first one dropped stays dropped, the reading that is scored included."""
    shape = HOURLY._replace(lateness=9, resets=("failure",))
    failures = [Failure("a", time, "seal", None, None) for time in (12, 7)]
    found = values(reading(8), reading(12), *failures, reading(13), shape=shape)
    assert found is not None
    assert found["speed:count:0"] == 1


def test_a_failure_resets_what_it_repaired_and_served_examples_stay() -> None:
    """The window begins anew; the example from before it still gets its label."""
    asset = Asset("a", plans_of(HOURLY._replace(lateness=9, resets=("failure",))), "pump")
    for number, event in enumerate([reading(9), reading(10), fault(10)]):
        processed(asset, item_of(number, event))
    (found,) = processed(asset, item_of(4, Failure("a", 10, "seal", None, None)))
    assert [one.time for one in parts_of(found.body).matured] == [9]
    assert reason_in(processed(asset, item_of(5, reading(10, 5.0)))) == "too_late"
    after = features_in(processed(asset, item_of(6, reading(11))))
    assert after is not None
    named = dict(zip(HOURLY.asset_class().features, after, strict=True))
    assert (named["speed:count:0"], named["E1:count:0"]) == (1, 0)


PUMP = Shape("pump", ((12, 3),), 0, sensors=("speed", "heat"), mode="seal")
SHORT = LONG._replace(name="fan/blade", mode="blade", component="blade", horizon=5, memory=5)
FAN = Shape("fan", ((12, 3),), 0, sensors=("load", "speed"), mode="blade")


def both(time: int, value: float) -> Telemetry:
    return Telemetry("a", time, {"speed": value, "heat": value, "load": value}, None, None)


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=6),
    st.lists(st.integers(1, 3), min_size=1, max_size=6),
    st.booleans(),
)
def test_windows_of_sensors_alike_go_on_when_the_class_changes(
    before: list[int], after: list[int], restart: bool
) -> None:
    """Speed is declared alike, so its window holds both lives; that of load begins with the change."""
    plans = plans_of(PUMP, FAN)
    asset, time, times = Asset("a", plans, "pump"), 100, []
    for step in before:
        time += step
        times.append(time)
        processed(asset, item_of(time, both(time, float(time))))
    changed = time
    (told, new) = processed(asset, item_of(time, Registration("a", "fan", None, {}, False, None), "fan"))[
        ::-1
    ]
    for observed, cleared in ((new, None), (told, "class changed")):
        told = parts_of(observed.body)
        assert (told.target, told.cleared) == (
            "fan/blade" if cleared is None else "pump/seal",
            cleared,
        )
    if restart:
        asset = Asset("a", plans, "fan", asset.to_bytes())
    for step in after:
        time += step
        times.append(time)
        items = processed(asset, item_of(time, both(time, float(time)), "fan"))
        got = features_in(items)
        assert got is not None
        named = dict(zip(FAN.asset_class().features, got, strict=True))
        start = time // 3 * 3 - 12
        inside = [at for at in times if at > start]
        assert named["speed:count:0"] == len(inside)
        assert named["load:count:0"] == len([at for at in inside if at > changed])
        assert named["load:missing:0"] == 0
        assert [item.body.target for item in items if isinstance(item.body, Observation)] == [
            "fan/blade",
            "pump/seal",
        ]
    found = processed(asset, item_of(time, Failure("a", time + 1, "seal", None, None), "fan"))
    matured = {
        item.body.target: parts_of(item.body).matured for item in found if isinstance(item.body, Observation)
    }
    assert [one.time for one in matured["pump/seal"]] == times[: len(before)]
    assert matured["fan/blade"] == ()


@pytest.mark.parametrize("restart", [False, True])
def test_a_former_target_is_forgotten_with_its_last_example(restart: bool) -> None:
    """Once its example is released, only the targets of the class say which records are too old."""
    targets = {"pump/seal": PUMP.target(), "fan/blade": target_of(SHORT)}
    plans = {shape.name: ClassPlan(shape.asset_class(), targets) for shape in (PUMP, FAN)}
    asset = Asset("a", plans, "pump")
    processed(asset, item_of(1, both(0, 1.0)))
    processed(asset, item_of(2, Registration("a", "fan", None, {}, False, None), "fan"))
    items = processed(asset, item_of(3, both(30_000, 1.0), "fan"))
    released = {
        item.body.target: parts_of(item.body).released for item in items if isinstance(item.body, Observation)
    }
    assert released == {"fan/blade": (), "pump/seal": (0,)}
    if restart:
        asset = Asset("a", plans, "fan", asset.to_bytes())
    assert (
        reason_in(processed(asset, item_of(4, Failure("a", 29_900, "blade", None, None), "fan")))
        == "unmatched"
    )


@pytest.mark.parametrize("restart", [False, True])
def test_a_former_target_without_examples_is_forgotten(restart: bool) -> None:
    """How long records are remembered follows from the class and its examples, restarted or not."""
    targets = {"pump/seal": PUMP.target(), "fan/blade": target_of(SHORT)}
    plans = {shape.name: ClassPlan(shape.asset_class(), targets) for shape in (PUMP, FAN)}
    asset = Asset("a", plans, "pump")
    processed(asset, item_of(1, Registration("a", "fan", None, {}, False, None), "fan"))
    processed(asset, item_of(2, both(1_000, 1.0), "fan"))
    if restart:
        asset = Asset("a", plans, "fan", asset.to_bytes())
    assert (
        reason_in(processed(asset, item_of(3, Failure("a", 900, "blade", None, None), "fan"))) == "unmatched"
    )


#: The times of an asset without telemetry.
NOTHING_SCORED = Windows(WindowPlan(Shape("pump", (), 0).asset_class()))


def register(block: AttributeFeatures, attributes: dict[str, str | float | bool | None]) -> None:
    """Give a block a registry row with some attributes."""
    row = Registration("a", "pump", None, attributes, False, None)
    block.add(ResolvedEvent(row, "pump"), NOTHING_SCORED)


def test_many_works_on_one_asset_after_a_resume_leave_the_other_assets_alone() -> None:
    """More maintenance than is kept one by one counts for its asset only, however often that was stored."""
    shape = Shape("pump", ((4, 1),), 0).asset_class()

    def counted(block: MaintenanceFeatures) -> float:
        out = np.full(len(COMPONENTS) * 2, np.nan)
        block.write(10_000, out)
        return float(out[1])

    busy, other = MaintenanceFeatures(shape), MaintenanceFeatures(shape)
    for time in range(900):
        busy.add(ResolvedEvent(Maintenance("a", time, "belt", None, None), "pump"), NOTHING_SCORED)
        if time % 256 == 250:
            busy, other = MaintenanceFeatures(shape, busy.state()), MaintenanceFeatures(shape, other.state())
    assert counted(busy) == 900
    assert counted(other) == counted(MaintenanceFeatures(shape)) == 0


def test_a_partial_registry_row_wipes_nothing_that_it_does_not_name() -> None:
    """Attributes that a row leaves out stay, null takes one away, and made-up names fill no memory."""
    shape = Shape("pump", ((4, 1),), 0).asset_class()
    block = AttributeFeatures(shape)
    register(block, {"age": 3, "colour": "red"})
    register(block, {"colour": "blue"})
    assert block.state()["attributes"] == {"age": 3, "colour": "blue"}
    register(block, {})
    register(block, {"age": None})
    assert block.state()["attributes"] == {"age": None, "colour": "blue"}
    for number in range(2_000):
        register(block, {f"made up {number}": 1})
    assert len(block.state()["attributes"]) == MAX_ATTRIBUTES


def test_what_assets_share_cannot_be_written_to() -> None:
    """Tables that assets without attributes, maintenance or records have in common refuse every write."""
    for shared in (attributes._NONE, maintenance._NONE, records._NONE):
        with pytest.raises(TypeError):
            shared["a"] = 1  # type: ignore[index]


def test_a_category_given_as_a_number_is_that_of_its_text() -> None:
    """A registry exports 2, 2.0 or "2", and true or "true", for one thing."""
    shape = replace(Shape("pump", ((4, 1),), 0).asset_class(), categories=(("kind", ("2", "true")),))

    def features(value: object) -> list[float]:
        out = np.full(3, np.nan)
        found = AttributeFeatures(shape)
        register(found, {"kind": value})
        found.write(0, out)
        return out[-2:].tolist()

    assert features(2) == features(2.0) == features("2") == [1.0, 0.0]
    assert features(True) == features("true") == [0.0, 1.0]
    assert features(3) == [0.0, 0.0]


@pytest.mark.parametrize("kind", ["fault", "failure", "maintenance"])
def test_what_comes_without_telemetry_takes_bounded_space(kind: str) -> None:
    """After 3,000 codes or records of an asset that never sent telemetry, its state is as after 1,500."""
    day = 24 * HOUR
    asset = Asset("a", plans_of(HOURLY), "pump")
    sizes = []
    for number in range(3_000):
        time = number * day
        event: Event = {
            "fault": Fault("a", time, "E1", None, None),
            "failure": Failure("a", time, "seal", None, None),
            "maintenance": Maintenance("a", time, "seal", None, None),
        }[kind]
        processed(asset, item_of(number, event))
        sizes.append(len(asset.to_bytes()) if number in (1_499, 2_999) else 0)
    before, after = (size for size in sizes if size)
    assert after < 40_000
    assert after < 1.2 * before


def test_a_dropped_asset_keeps_no_maintenance() -> None:
    """After asset_ttl 300 services take no more space than one."""

    def dropped(services: int) -> int:
        asset = Asset("a", plans_of(HOURLY), "pump")
        processed(asset, item_of(0, reading(10)))
        for number in range(services):
            processed(asset, item_of(1 + number, Maintenance("a", 11 + number, "seal", None, None)))
        processed(asset, Item(999, 0, 900, 900, ("", 0, 0), ResolvedEvent(Expiry("a", 900, "ttl"), "pump")))
        return len(asset.to_bytes())

    assert dropped(300) <= dropped(1) + 16


def test_attributes_outlive_an_internal_error() -> None:
    """The registry does not send its row again, so an asset that starts anew keeps it."""
    asset = Asset("a", plans_of(HOURLY), "pump")
    processed(asset, item_of(0, Registration("a", "pump", None, {"age": 3}, False, None)))
    found = features_in(processed(asset.restart("pump"), item_of(1, reading(10))))
    assert found is not None
    assert dict(zip(HOURLY.asset_class().features, found, strict=True))["age"] == 3
