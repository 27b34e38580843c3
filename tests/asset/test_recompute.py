"""Features from complete data: what the watermark has passed is computed again from all that came."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows.asset.asset import Asset
from dataflows.events import Failure, Fault, Maintenance, Registration, Telemetry
from dataflows.fleet.fleet import AssetClass, Window
from dataflows.items import Expiry
from tests.asset.recomputed import TARGET, asset_of, plan_of, run, telemetry, told
from tests.asset.streams import HOUR, MINUTE, ClassLayout, Event, streams

if TYPE_CHECKING:
    from collections.abc import Iterable


@given(streams(), st.sampled_from([MINUTE, 20 * MINUTE, HOUR]))
def test_complete_features_follow_from_all_events_that_were_accepted(
    stream: tuple[ClassLayout, list[Event]], every: int
) -> None:
    """Each example that the watermark passed says what an oracle computes from all that is not after it."""
    layout, events = stream
    found = run(plan_of(layout.asset_class(every)), [telemetry(*event) for event in events])
    oracle = layout.oracle()
    for event in events:
        oracle.add(*event)
    passed = {time for time in found.served if layout.lateness and time < (oracle.watermark or 0)}
    assert set(found.complete) == passed
    assert not found.given_up
    for time, features in found.complete.items():
        until = replace(oracle, accepted=[event for event in oracle.accepted if event[0] <= time])
        values = np.frombuffer(features).tolist()
        for value, expected in zip(values, until.features(), strict=True):
            assert expected.agrees(value)


@given(streams())
def test_complete_features_are_those_that_would_have_been_served_had_nothing_been_late(
    stream: tuple[ClassLayout, list[Event]],
) -> None:
    """Bit for bit: the same contents, each time at once and in order of time, are served so at once."""
    layout, events = stream
    plan = plan_of(layout.asset_class(MINUTE))
    found = run(plan, [telemetry(*event) for event in events])
    oracle = layout.oracle()
    for event in events:
        oracle.add(*event)
    # Every event an example: what is served does not depend on the grid.
    again = run(plan_of(layout.asset_class(1)), [telemetry(*row) for row in sorted(oracle.merged().items())])
    for time, features in found.complete.items():
        assert features == again.served[time]


@settings(max_examples=settings.default.max_examples // 5)
@given(streams())
def test_without_late_data_nothing_changes(stream: tuple[ClassLayout, list[Event]]) -> None:
    """Of a stream in which each time is newer than all before, served and complete are equal to the bit."""
    layout, events = stream
    newest: list[Event] = []
    for event in events:
        if not newest or event.time > newest[-1].time:
            newest.append(event._replace(id=None))
    found = run(plan_of(layout.asset_class(MINUTE)), [telemetry(*event) for event in newest])
    for time, features in found.complete.items():
        assert features == found.served[time]


PUMP = AssetClass(
    name="pump",
    sensors=("x",),
    values=True,
    windows=(Window(3 * HOUR, HOUR, ("count", "mean", "slope"), (0,), (0,)),),
    features=(
        "x",
        "x:count:3h",
        "x:mean:3h",
        "x:slope:3h",
        "hot:count:3h",
        "hot:age:3h",
        "seal:since",
        "seal:times",
    ),
    allowed_lateness=2 * HOUR,
    example_every=HOUR,
    targets=(TARGET.name,),
    faults=("hot",),
    maintenance=("seal",),
)
RESETTING = replace(PUMP, reset_windows_on=("failure", "maintenance"))
START = 400_000 * HOUR
_steps = st.lists(
    st.tuples(
        st.sampled_from(["telemetry"] * 5 + ["fault", "fault", "failure", "maintenance"]),
        st.integers(-130, 100),
        st.integers(-9, 9),
    ),
    min_size=5,
    max_size=40,
)


def life(steps: list[tuple[str, int, int]]) -> list[Any]:
    """Events of one pump, minutes before or after the newest telemetry or fault."""
    now, events = START, []
    for kind, minutes, value in steps:
        time = now + minutes * MINUTE
        if kind == "telemetry":
            events.append(telemetry(time, {"x": float(value)}))
        elif kind == "fault":
            events.append(Fault("pump 1", time, "hot", None, None))
        elif kind == "failure":
            events.append(Failure("pump 1", time, "leak", None, None))
        else:
            events.append(Maintenance("pump 1", time, "seal", None, None))
        if kind in {"telemetry", "fault"}:
            now = max(now, time)
    return events


@given(_steps)
def test_late_faults_are_in_complete_features(steps: list[tuple[str, int, int]]) -> None:
    """Counts of readings and of faults are those of all accepted ones in the window."""
    events = [event for event in life(steps) if isinstance(event, Telemetry | Fault)]
    found = run(plan_of(PUMP), events)
    newest: int | None = None
    times: set[int] = set()
    faults: set[int] = set()
    for event in events:
        on_time = isinstance(event, Telemetry) and event.time >= max(times, default=0)
        if on_time or newest is None or event.time >= newest - 2 * HOUR:
            (faults if isinstance(event, Fault) else times).add(event.time)
            newest = event.time if newest is None else max(newest, event.time)
    # At the latest time of telemetry more may come, even where faults moved the watermark past it.
    settled = min((newest or 0) - 2 * HOUR, max(times, default=0))
    assert set(found.complete) == {time for time in found.served if time < settled}
    for time, features in found.complete.items():
        start = time // HOUR * HOUR - 3 * HOUR
        values = np.frombuffer(features)
        assert values[1] == sum(start < at <= time for at in times)
        inside = [at for at in faults if start < at <= time]
        assert values[4] == len(inside)
        assert np.isnan(values[5]) if not inside else values[5] == (time - max(inside)) / HOUR


@given(_steps, st.booleans(), st.data())
def test_an_asset_restored_at_any_points_compares_the_same(
    steps: list[tuple[str, int, int]], resets: bool, data: st.DataObject
) -> None:
    """Snapshots between any two records change no observation."""
    plan = plan_of(RESETTING if resets else PUMP)
    events = life(steps)
    whole = told(asset_of(plan), events)
    asset, pieces = asset_of(plan), []
    for event in events:
        pieces += told(asset, [event])
        if data.draw(st.booleans()):
            asset = asset_of(plan, asset.to_bytes())
    assert pieces == whole


@given(_steps)
def test_records_that_come_in_time_change_nothing_though_windows_restart(
    steps: list[tuple[str, int, int]],
) -> None:
    """With everything in order of time, what is not given up is equal to the bit, maintenance included."""
    ordered = [(kind, abs(minutes) + 1, value) for kind, minutes, value in steps]
    now, events = START, []
    for step in ordered:
        (event,) = life([step])
        now += event.time - START
        events.append(msgspec.structs.replace(event, time=now))
    found = run(plan_of(RESETTING), events)
    assert not set(found.given_up) & set(found.complete)
    for time, features in found.complete.items():
        assert features == found.served[time]
    records = [event.time for event in events if isinstance(event, Failure | Maintenance)]
    for time, why in found.given_up.items():
        assert why == "windows were reset"
        assert any(time <= at for at in records)


def hourly(hours: Iterable[int]) -> list[Telemetry]:
    return [telemetry(START + hour * HOUR, {"x": float(hour)}) for hour in hours]


def test_a_reset_gives_up_the_examples_before_it_and_no_other() -> None:
    """Those up to the record's time are given up with the reason; later ones are compared."""
    failure = Failure("pump 1", START + 3 * HOUR, "leak", None, None)
    found = run(plan_of(RESETTING), [*hourly(range(5)), failure, *hourly(range(5, 10))])
    hours = {(time - START) // HOUR for time in found.given_up}
    # The watermark, at 4 h - 2 h, had passed those before 2 h.
    assert hours == {2, 3}
    assert {(time - START) // HOUR for time in found.complete} == {0, 1, 4, 5, 6}
    assert np.frombuffer(found.served[START + 4 * HOUR])[1] == 3
    assert np.frombuffer(found.complete[START + 4 * HOUR])[1] == 1, "the record came late, so this changed"
    assert found.complete[START + 5 * HOUR] == found.served[START + 5 * HOUR]


def test_only_a_sampled_asset_of_a_class_that_bears_late_data_compares() -> None:
    """Share 0, or no allowed lateness, compares nothing; a share takes about as many assets as it says."""
    assert not run(plan_of(PUMP, 0.0), hourly(range(9))).complete
    assert not run(plan_of(replace(PUMP, allowed_lateness=0)), hourly(range(9))).complete
    plan = plan_of(PUMP, 0.3)
    assets = [Asset(f"pump {number}", {"pump": plan}, "pump") for number in range(1_000)]
    assert 250 < sum(asset._complete is not None for asset in assets) < 350


def test_a_dropped_asset_gives_up_what_waits_and_starts_whole() -> None:
    """What asset_ttl drops is told; an asset that comes back is compared from its first example on."""
    events = [*hourly(range(4)), Expiry("pump 1", START + 90 * HOUR, "ttl"), *hourly(range(100, 106))]
    found = run(plan_of(PUMP), events)
    assert set(found.given_up.values()) == {"asset dropped"}
    assert {(time - START) // HOUR for time in found.given_up} == {1, 2, 3}
    assert {(time - START) // HOUR for time in found.complete} == {0, 100, 101, 102}
    assert all(found.complete[time] == found.served[time] for time in found.complete)


def test_after_a_change_of_class_only_whole_windows_are_compared() -> None:
    """What waits is given up; examples follow once their windows reach back no further than the change."""
    plan = plan_of(PUMP)
    other = plan_of(replace(PUMP, name="big pump"))
    asset = Asset("pump 1", {"pump": plan, "big pump": other}, "pump")
    change = Registration("pump 1", "big pump", None, {}, retired=False, arrived=None)
    observations = told(asset, [*hourly(range(6)), change, *hourly(range(6, 20))])
    found = [compared for seen in observations for compared in seen.compared]
    given_up = {(each.time - START) // HOUR for each in found if each.why == "class changed"}
    assert given_up == {3, 4, 5}
    hours = {(each.time - START) // HOUR for each in found if each.features is not None}
    # Windows of 3 h with hops of 1 h, from the change at 5 h on.
    assert hours == {0, 1, 2, *range(9, 17)}
    served = {seen.time: seen.features for seen in observations if seen.example}
    assert all(each.features == served[each.time] for each in found if each.features is not None)


def test_an_asset_that_begins_to_compare_does_not_call_its_own_past_a_change() -> None:
    """With `compare` set on a store that knew nothing of it, examples wait until their windows are whole."""
    plan, without = plan_of(PUMP), plan_of(PUMP, 0.0)
    asset = asset_of(without)
    told(asset, hourly(range(6)))
    observations = told(asset_of(plan, asset.to_bytes()), hourly(range(6, 20)))
    found = [compared for seen in observations for compared in seen.compared]
    assert {(each.time - START) // HOUR for each in found} == set(range(9, 17))
    served = {seen.time: seen.features for seen in observations if seen.example}
    assert all(each.features == served[each.time] for each in found)


def test_maintenance_that_is_told_late_changes_features() -> None:
    """The background is taken as of the example's time, with what is known when the watermark passes it."""
    late = Maintenance("pump 1", START + HOUR, "seal", None, None)
    found = run(plan_of(PUMP), [*hourly(range(4)), late, *hourly(range(4, 9))])
    time = START + 3 * HOUR
    assert np.frombuffer(found.served[time])[7] == 0
    assert np.frombuffer(found.complete[time])[7] == 1
    assert np.frombuffer(found.complete[time])[6] == 2.0
