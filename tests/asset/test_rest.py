"""Assets that rest: after their reach, expiries that never come would have changed nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as replace_fields

from dataflows.asset import Asset
from dataflows.asset.asset import ClassPlan
from dataflows.events import Event, Failure, Fault, Registration, Retraction, Telemetry
from dataflows.items import Expiry, Item, Observation, ResolvedEvent, lane_part
from dataflows.lane import Lane
from tests.asset.oracle import TargetShape
from tests.asset.streams import target_of
from tests.asset.worlds import Rules
from tests.observations import parts_of, processed

if TYPE_CHECKING:
    from dataflows.fleet.fleet import Fleet

MAX_FUTURE = 3


class Step(NamedTuple):
    """A record: how long after the last one it arrives, and its time relative to its arrival."""

    kind: str
    asset: str
    after: int
    offset: int
    to: str


def event_of(step: Step, now: int) -> Event:
    time = now + step.offset
    kinds: dict[str, Event] = {
        "telemetry": Telemetry(step.asset, time, {"x": 1.0}, None, now),
        "fault": Fault(step.asset, time, "E1", None, now),
        "failure": Failure(step.asset, time, "seal", "f", now),
        "retraction": Retraction(step.asset, "f", now),
        "asset": Registration(step.asset, step.to, None, {}, step.offset < -20, now),
    }
    return kinds[step.kind]


_STEPS = st.builds(
    Step,
    st.sampled_from([*["telemetry"] * 5, "fault", "failure", "retraction", "asset", "asset"]),
    st.sampled_from("aab"),
    st.sampled_from([0, 1, 2, 3, 9, 20, 45, 150]),
    st.sampled_from([0, 0, 0, -1, -4, -9, -25, -60, -140, 2, MAX_FUTURE]),
    st.sampled_from(["pump", "fan"]),
)


@st.composite
def fleets(draw: st.DrawFn) -> tuple[Fleet, list[Event]]:
    """Two classes of short or long memory, of which one may know no silence, and records of two assets."""
    base = Rules(1, None, draw(st.sampled_from([0, 2, 30])), ()).fleet()
    classes, targets = {}, {}
    for name in ("pump", "fan"):
        shape = TargetShape(
            name, "seal", "seal", draw(st.integers(1, 6)), draw(st.integers(0, 3)), draw(st.integers(0, 40))
        )
        idle = draw(st.integers(1, 8)) if name == "pump" else draw(st.integers(1, 8) | st.none())
        classes[name] = replace(base.classes["pump"], name=name, targets=(name,), idle_timeout=idle)
        targets[name] = target_of(shape)
    now, events = 1_000, []
    for step in draw(st.lists(_STEPS, min_size=2, max_size=22)):
        now += step.after
        events.append(event_of(step, now))
    assets = replace(base.assets, max_future=MAX_FUTURE)
    return replace(base, classes=classes, targets=targets, assets=assets), events


class Restless:
    """Every asset has an expiry at every multiple of its class's timeout, for ever."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.arrival: int | None = None
        self.classes: dict[str, str] = {}
        self.last: dict[str, tuple[int, int]] = {}
        #: By asset: the identities of its telemetry and faults.
        self.accepted: dict[str, set[tuple[type, int]]] = {}

    def process(self, items: list[Item]) -> list[Item]:
        (item,) = items
        event = item.body
        now = event.arrived
        since = now if self.arrival is None else self.arrival
        ticks = [
            Expiry(asset, due, "silent")
            for due in range(since, now)
            for asset, (last, idle) in sorted(self.last.items())
            if due > last and not (due - last) % idle
        ]
        self.arrival = now
        before = [
            Item(item.sequence - 1, lane_part(index), tick.due, tick.due, ("", 0, 0), self.known(tick))
            for index, tick in enumerate(ticks, start=1)
        ]
        if isinstance(event, Registration):
            self.classes[event.asset] = event.asset_class
        known = self.known(event)
        if isinstance(event, Telemetry | Fault) and self.is_sign_of_life(event, known.asset_class):
            self.last.pop(event.asset, None)
            idle = self.fleet.classes[known.asset_class].idle_timeout
            if idle is not None:
                self.last[event.asset] = (now, idle)
        return [*before, Item(item.sequence, 0, now, now, item.position, known)]

    def is_sign_of_life(self, event: Telemetry | Fault, asset_class: str) -> bool:
        """Neither a copy nor what is too late is one."""
        accepted = self.accepted.setdefault(event.asset, set())
        lateness = self.fleet.classes[asset_class].allowed_lateness
        newest = max((time for _, time in accepted), default=event.time)
        scored = max((time for kind, time in accepted if kind is Telemetry), default=event.time)
        on_time = isinstance(event, Telemetry) and event.time >= scored
        if (type(event), event.time) in accepted or not (on_time or event.time >= newest - lateness):
            return False
        accepted.add((type(event), event.time))
        return True

    def known(self, event: Event | Expiry) -> ResolvedEvent:
        return ResolvedEvent(event, self.classes.setdefault(event.asset, "pump"))


class Feed:
    """A lane and its assets."""

    def __init__(self, fleet: Fleet, lane: Lane | Restless) -> None:
        self.plans = {name: ClassPlan(found, fleet.targets) for name, found in fleet.classes.items()}
        self.lane = lane
        self.assets: dict[str, Asset] = {}
        #: The largest label clock among the assets of each target, and what it was before each observation.
        self.clocks: dict[str, int] = {}
        self.seen: list[tuple[str, str, int | None]] = []

    def take(self, number: int, event: Event) -> tuple[list[object], list[object]]:
        """What silence decided before a record, and all that the record itself made."""
        decided: list[object] = []
        made: list[object] = []
        for item in self.lane.process([Item(number, 0, None, 0, ("feed", number, number), event)]):
            assert isinstance(item.body, ResolvedEvent)
            name = item.body.event.asset
            if name not in self.assets:
                self.assets[name] = Asset(name, self.plans, item.body.asset_class)
            bodies = [found.body for found in processed(self.assets[name], item)]
            for body in bodies:
                if isinstance(body, Observation):
                    self.move(body, silent=isinstance(item.body.event, Expiry))
            bodies = [without_resting(body) for body in bodies]
            if isinstance(item.body.event, Expiry):
                for body in bodies:
                    matured = parts_of(body).matured
                    decided += [(name, parts_of(body).target, *matured)] if matured else []
            else:
                made += bodies
        return decided, made

    def move(self, observation: Observation, *, silent: bool) -> None:
        """Note where the clock of a target stands, and let an observation move it."""
        body = parts_of(observation)
        known = [self.clocks.get(body.target), body.resting]
        clock = max((found for found in known if found is not None), default=None)
        if body.matured or not silent:
            self.seen.append((body.asset, body.target, clock))
        if body.clock is not None:
            self.clocks[body.target] = body.clock if clock is None else max(clock, body.clock)


@given(fleets())
def test_an_asset_that_rests_gives_what_it_would_give_if_it_never_rested(
    drawn: tuple[Fleet, list[Event]],
) -> None:
    """The same labels, observations and clocks, through changes of class and returns."""
    fleet, events = drawn
    rests, never = Feed(fleet, Lane(fleet, None, {})), Feed(fleet, Restless(fleet))
    for number, event in enumerate(events, start=1):
        decided, made = rests.take(number, event)
        expected, expected_made = never.take(number, event)
        assert decided == expected
        if isinstance(event, Telemetry | Fault):
            assert made == expected_made
        else:
            # A record of people does not wake an asset: of what it makes, only the clock can lag.
            assert without_clock(made) == without_clock(expected_made)


@given(fleets())
def test_assets_that_rest_move_the_clock_of_their_targets(drawn: tuple[Fleet, list[Event]]) -> None:
    """Before each observation that decides, scores or corrects, it stands where it would if none rested."""
    fleet, events = drawn
    begin = [Registration(name, to, None, {}, False, 1_000) for name, to in (("a", "pump"), ("b", "fan"))]
    begin += [Registration("c", "pump", None, {}, False, 1_000)]
    # A third asset is heard once, and rests for nearly all of the time.
    begin += [Telemetry("c", 1_000, {"x": 1.0}, None, 1_000)]
    stays = [event for event in events if not isinstance(event, Registration)]
    rests, never = Feed(fleet, Lane(fleet, None, {})), Feed(fleet, Restless(fleet))
    for number, event in enumerate([*begin, *stays], start=1):
        rests.take(number, event)
        never.take(number, event)
        assert rests.seen == never.seen


def without_resting(body: object) -> object:
    return replace_fields(body, resting=None) if isinstance(body, Observation) else body


def without_clock(bodies: list[object]) -> list[object]:
    return [replaced(body) if isinstance(body, Observation) else body for body in bodies]


def replaced(observation: Observation) -> tuple[object, ...]:
    body = parts_of(observation)
    return body.asset, body.target, body.matured, body.released, body.at_once, body.cleared
