"""Silence: expiries come when the brute force says, in its order, and survive any crash."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.events import Event, Fault, Maintenance, Registration, Telemetry
from dataflows.items import Expiry, Item, ResolvedEvent, Row, by_order, lane_part
from dataflows.lane import Lane
from dataflows.lane.silence import Silence
from tests.lane.silences import BASE, MAX_FUTURE, Rule, Step, bodies_of, fleet_of, histories, without_periods

if TYPE_CHECKING:
    import random


@dataclass
class Silent:
    """An asset since it was heard. ``ticks``: how many expiries it had; ``until``: while it needs any."""

    last: int
    rule: Rule
    until: int
    ticks: int = 0
    ended: bool = False


@dataclass
class Oracle:
    """Remembers of each asset when it was last heard, and looks for expiries between any two arrivals."""

    rules: dict[str, Rule]
    most: int
    arrival: int | None = None
    classes: dict[str, str] = field(default_factory=dict)
    heard: dict[str, Silent] = field(default_factory=dict)
    #: Until when examples of former classes matter.
    former: dict[str, int] = field(default_factory=dict)
    tombstones: list[tuple[int, str]] = field(default_factory=list)
    #: Expiries that take effect only when the asset is heard.
    made_up: set[tuple[int, str]] = field(default_factory=set)
    #: What was accepted of each asset; buried ones are forgotten.
    accepted: dict[str, list[Telemetry | Fault]] = field(default_factory=dict)

    def is_sign_of_life(self, body: Telemetry | Fault) -> bool:
        """Whether an asset with allowed_lateness = 0 accepts it: no copy, and not behind what it knows."""
        before = self.accepted.setdefault(body.asset, [])
        if any(type(body) is type(old) and body.time == old.time for old in before):
            return False
        alike = [old.time for old in before if isinstance(body, Fault) or isinstance(old, Telemetry)]
        if body.time < max(alike, default=body.time):
            return False
        before.append(body)
        return True

    def take(self, body: Event) -> list[tuple[int, str, str]]:
        """(due, asset, what) of what comes before a record."""
        assert body.arrived is not None
        before = self.arrival
        now = self.arrival = body.arrived if before is None else max(before, body.arrived)
        expired = [] if before is None else self.expiries(before, now)
        asset = body.asset
        if isinstance(body, Registration):
            left = self.rules[self.classes.get(asset, body.asset_class)]
            away = asset not in self.heard and all(asset != name for _, name in self.tombstones)
            if self.classes.get(asset, body.asset_class) != body.asset_class and left.idle is None and away:
                self.former[asset] = max(self.former.get(asset, 0), now + left.reach)
            self.classes[asset] = body.asset_class
            return expired
        rule = self.rules[self.classes.setdefault(asset, "pump")]
        timely = isinstance(body, Telemetry | Fault) and body.time <= now + MAX_FUTURE
        if timely and self.is_sign_of_life(body):
            was = self.heard.pop(asset, None)
            if was is not None and was.rule is not rule:
                self.former[asset] = max(self.former.get(asset, 0), was.last + was.rule.reach)
            missed = (
                [] if was is None else [due for due in range(was.last + 1, now) if self.skipped(was, due)]
            )
            expired += [(due, asset, "silent") for due in missed[-1:]]
            self.made_up |= {(due, asset) for due in missed[-1:]}
            self.tombstones = [found for found in self.tombstones if found[1] != asset]
            if rule.idle is not None:
                self.heard[asset] = Silent(now, rule, max(now + rule.reach, self.former.get(asset, 0)))
        return expired

    def skipped(self, asset: Silent, due: int) -> bool:
        idle = asset.rule.idle
        return (
            idle is not None and (due - asset.last) % idle == 0 and (due - asset.last) // idle > asset.ticks
        )

    def expiries(self, since: int, until: int) -> list[tuple[int, str, str]]:
        found = []
        for due in range(since, until):
            for name, asset in sorted(self.heard.items()):
                last, rule = asset.last, asset.rule
                if rule.ttl is not None and due == last + rule.ttl:
                    found.append((due, name, "ttl"))
                    del self.heard[name]
                    self.former.pop(name, None)
                    self.tombstones.append((due, name))
                    while len(self.tombstones) > self.most:
                        oldest = min(self.tombstones)
                        self.tombstones.remove(oldest)
                        self.accepted.pop(oldest[1], None)
                        found.append((due, oldest[1], "buried"))
                elif (
                    rule.idle is not None and due > last and (due - last) % rule.idle == 0 and not asset.ended
                ):
                    found.append((due, name, "silent"))
                    asset.ticks += 1
                    asset.ended = due > asset.until
        return found


def records(bodies: list[Event], first: int = 1) -> list[Item]:
    return [
        Item(number, 0, None, 0, ("pumps", number, number), body)
        for number, body in enumerate(bodies, start=first)
    ]


def expiries_in(items: list[Item]) -> list[tuple[int, str, str]]:
    return [
        (item.body.event.due, item.body.event.asset, item.body.event.what)
        for item in items
        if isinstance(item.body, ResolvedEvent) and isinstance(item.body.event, Expiry)
    ]


def visible(items: list[Item]) -> list[tuple[Any, ...]]:
    return [(*by_order(item), item.arrival, item.known, item.position, item.body) for item in items]


@given(histories())
def test_expiries_are_those_of_the_brute_force(drawn: tuple[dict[str, Rule], int, list[Step]]) -> None:
    """Each comes before the first record that arrives later, as of its instant, in order of (due, asset)."""
    rules, most, steps = drawn
    lane, oracle = Lane(fleet_of(rules, most), None, {}), Oracle(rules, most)
    for number, body in enumerate(bodies_of(steps), start=1):
        classes = dict(oracle.classes)
        expected = oracle.take(body)
        *before, last = without_periods(lane.process(records([body], number)))
        assert expiries_in(before) == expected
        assert (last.sequence, last.part, last.arrival) == (number, lane_part(0), oracle.arrival)
        for index, (item, (due, asset, _)) in enumerate(zip(before, expected, strict=True), start=1):
            assert (item.sequence, item.part) == (number - 1, lane_part(index))
            at = oracle.arrival if (due, asset) in oracle.made_up else due
            assert (item.arrival, item.known) == (at, at)
            assert isinstance(item.body, ResolvedEvent)
            assert item.body.asset_class == classes[asset]


def merged_order(rules: dict[str, Rule], most: int, steps: list[Step]) -> list[tuple[Any, ...]]:
    return visible(Lane(fleet_of(rules, most), None, {}).process(records(bodies_of(steps))))


@given(histories(), st.randoms(use_true_random=False))
def test_a_lane_restored_at_any_point_has_the_same_expiries(
    drawn: tuple[dict[str, Rule], int, list[Step]], shuffler: random.Random
) -> None:
    """Rebuilt from the parts that changed, whatever the batches, every later item is the same."""
    rules, most, steps = drawn
    bodies, fleet = bodies_of(steps), fleet_of(rules, most)
    lane = Lane(fleet, None, {})
    main: bytes | None = None
    parts: dict[int, bytes] = {}
    out: list[tuple[Any, ...]] = []
    at = 0
    while at < len(bodies):
        size = shuffler.randint(1, 4)
        out += visible(lane.process(records(bodies[at : at + size], at + 1)))
        at += size
        if shuffler.random() < 0.6:
            main = lane.main_snapshot()
            parts.update({part: lane.part_snapshot(part) for part in lane.changed()})
            lane = Lane(fleet, main, dict(parts))
    assert out == merged_order(rules, most, steps)


def lived(rule: Rule, *steps: Step, most: int = 100) -> list[tuple[int, str, str]]:
    """All expiries of some records; arrivals begin at the first step's `after`."""
    return expiries_in(
        Lane(fleet_of({"pump": rule}, most), None, {}).process(records(bodies_of(list(steps))))
    )


def test_an_expiry_waits_for_a_record_that_arrives_strictly_later() -> None:
    """What is due at an arrival is not yet executed by it; the next instant executes it, once."""
    heard = Step("telemetry", "a", 0), Step("maintenance", "b", 10)
    assert lived(Rule(10, None), *heard) == []
    later = Step("maintenance", "b", 1)
    assert lived(Rule(10, None), *heard, later, later) == [(10, "a", "silent")]


def test_a_record_at_the_very_instant_of_an_expiry_is_heard_first() -> None:
    """Who reports at the instant that it was due was not silent."""
    assert (
        lived(Rule(10, None), Step("telemetry", "a", 0), Step("telemetry", "a", 10), Step("fault", "b", 9))
        == []
    )


@pytest.mark.parametrize("kind", ["failure", "maintenance", "asset"])
def test_only_telemetry_and_faults_are_heard(kind: str) -> None:
    """Records of people and registry rows do not break an asset's silence."""
    steps = Step("telemetry", "a", 0), Step(kind, "a", 8), Step("fault", "b", 8)
    assert lived(Rule(10, None), *steps) == [(10, "a", "silent")]


def test_copies_and_what_is_rejected_are_no_sign_of_life() -> None:
    """A gateway that repeats the last record, a record too late and a wrong clock keep no asset alive."""
    end = Step("maintenance", "b", 9)
    for offset in (-8, -1000, MAX_FUTURE + 1):
        steps = Step("telemetry", "a", 0), Step("telemetry", "a", 8, offset), end
        assert lived(Rule(10, None), *steps) == [(10, "a", "silent")]
    assert lived(Rule(10, None), Step("telemetry", "a", 0), Step("telemetry", "a", 8), end) == []


def test_late_telemetry_that_is_accepted_is_a_sign_of_life() -> None:
    """Within the allowed lateness it is merged, so the asset still sends; its copy then is none."""
    fleet = fleet_of({"pump": Rule(10, None)})
    fleet = replace(fleet, classes={"pump": replace(fleet.classes["pump"], allowed_lateness=100)})
    late = Telemetry("a", -20, {"x": 2.0}, None, 8)
    end = Maintenance("b", 17, None, None, 17)
    first = Telemetry("a", 0, {"x": 1.0}, None, 0)
    assert expiries_in(Lane(fleet, None, {}).process(records([first, late, end]))) == []
    copied = [late, first, replace_arrival(late, 8), end]
    copied[0] = replace_arrival(late, 0)
    assert expiries_in(Lane(fleet, None, {}).process(records(copied))) == [(10, "a", "silent")]


def replace_arrival(event: Telemetry, arrived: int) -> Telemetry:
    return Telemetry(event.asset, event.time, event.readings, event.id, arrived)


def test_a_dropped_asset_comes_back_as_if_new() -> None:
    """After asset_ttl nothing more is due; what it sends then starts its silence anew."""
    life = Step("telemetry", "a", 0), Step("telemetry", "a", 100), Step("fault", "b", 11)
    assert lived(Rule(10, 25), *life) == [
        (10, "a", "silent"),
        (20, "a", "silent"),
        (25, "a", "ttl"),
        (110, "a", "silent"),
    ]


def test_an_asset_rests_once_nothing_waits_and_makes_up_for_the_last_expiry_when_it_is_heard() -> None:
    """With a reach of 6 + 2 + 7 = 15 the second expiry is the last, however late the next record arrives."""
    rule = Rule(10, None, memory=7)
    century = 3_155_760_000_000_000
    steps = Step("telemetry", "a", 0), Step("maintenance", "b", century), Step("maintenance", "a", century)
    assert lived(rule, *steps) == [(10, "a", "silent"), (20, "a", "silent")]
    again = Step("telemetry", "a", 5), Step("maintenance", "b", 11)
    assert lived(rule, *steps, *again)[2:] == [
        (2 * century, "a", "silent"),
        (2 * century + 15, "a", "silent"),
    ]


def test_a_resting_asset_is_dropped_when_its_time_has_come() -> None:
    """Between the end of its reach and asset_ttl nothing is due."""
    steps = Step("telemetry", "a", 0), Step("maintenance", "b", 10**15)
    assert lived(Rule(10, 10**9, memory=0), *steps) == [(10, "a", "silent"), (10**9, "a", "ttl")]


def test_the_oldest_tombstone_goes_and_one_that_came_back_does_not_count() -> None:
    """Of two dropped and one returned, another fits beside; one more takes the oldest."""
    steps = [
        Step("telemetry", "a", 0),
        Step("telemetry", "b", 1),
        Step("telemetry", "b", 20),
        Step("telemetry", "c", 0),
        Step("telemetry", "d", 0),
        Step("maintenance", "e", 40),
    ]
    found = [expiry for expiry in lived(Rule(10, 15), *steps, most=2) if expiry[2] != "silent"]
    assert found == [
        (15, "a", "ttl"),
        (16, "b", "ttl"),
        (36, "b", "ttl"),
        (36, "c", "ttl"),
        (36, "a", "buried"),
        (36, "d", "ttl"),
        (36, "b", "buried"),
    ]


def of_classes(rules: dict[str, Rule], *steps: Step) -> list[tuple[int, str, str]]:
    return expiries_in(Lane(fleet_of(rules), None, {}).process(records(bodies_of(list(steps)))))


def test_silence_is_that_of_the_class_in_which_an_asset_was_heard_last() -> None:
    """A shorter timeout counts from the next record on, and a class without silence ends it."""
    to_fan = Step("telemetry", "a", 0), Step("asset", "a", 1, to="fan"), Step("telemetry", "a", 1)
    end = Step("maintenance", "b", 30)
    pump = Rule(20, None)
    assert of_classes({"pump": pump, "fan": Rule(15, None)}, *to_fan, end) == [(17, "a", "silent")]
    assert of_classes({"pump": pump, "fan": Rule(None, None)}, *to_fan, end) == []


def test_examples_of_a_former_class_keep_an_asset_awake() -> None:
    """They were made under a class that remembers longer, whether that class knew silence or not."""
    short, end = Rule(10, None, memory=0), Step("maintenance", "b", 500)
    for idle in (10, None):
        moved = Step("telemetry", "a", 0), Step("asset", "a", 0, to="fan"), Step("telemetry", "a", 0, 1)
        rules = {"pump": Rule(idle, None, memory=30), "fan": short}
        assert of_classes(rules, *moved, end) == [(due, "a", "silent") for due in (10, 20, 30, 40)]


def test_the_end_of_the_input_decides_nothing() -> None:
    """The summary tells what came in; no expiry comes with it, and no state moves."""
    lane = Lane(fleet_of({"pump": Rule(10, 20)}), None, {})
    lane.process(records(bodies_of([Step("telemetry", "a", 0)])))
    before = lane.main_snapshot()
    assert [type(item.body) for item in lane.finish()] == [Row]
    assert lane.main_snapshot() == before
    assert expiries_in(lane.process(records(bodies_of([Step("maintenance", "b", 11)]), 2))) == [
        (10, "a", "silent")
    ]


def test_without_arrivals_there_is_no_silence() -> None:
    """Event times are no clock of the dataflow's, however far they go."""
    bodies = [Telemetry("a", time, {"x": 1.0}, None, None) for time in (0, 10_000)]
    lane = Lane(fleet_of({"pump": Rule(10, 20)}), None, {})
    assert expiries_in(lane.process(records([*bodies, Telemetry("b", 99_999, {}, None, None)]))) == []


def silence_of(idle: int, ttl: int | None = None, kept: Silence | None = None) -> Silence:
    """The silence of pumps, new, or as another one was stored."""
    classes = {"pump": replace(BASE, idle_timeout=idle, asset_ttl=ttl)}
    entry = None if kept is None else kept.entry("a")
    counted = None if kept is None else kept.counted_by()
    return Silence(classes, {"pump": 1_000}, 10, {} if entry is None else {"a": entry}, counted)


@pytest.mark.parametrize(("idle", "due"), [(3, 9), (4, 8), (1, 8), (2, 8), (30, 30)])
def test_another_idle_timeout_expires_at_its_own_next_multiple(idle: int, due: int) -> None:
    """Of an asset that is silent since 0 and had expiries up to 7, the next is the first multiple after 7."""
    before = silence_of(7 if due == 30 else 1)
    before.restart("a", "pump", 0)
    assert [found.due for found in before.expiries(8)][-1] == 7
    after = silence_of(idle, kept=before)
    assert next(after.expiries(1_000)).due == due


def test_assets_that_come_back_leave_no_tombstones_behind() -> None:
    """Dropped and heard again a thousand times, one asset takes no more room than after the first time."""
    silence = silence_of(1, ttl=2)
    for round_ in range(1_000):
        silence.restart("a", "pump", 10 * round_)
        assert [found.what for found in silence.expiries(10 * round_ + 9)] == ["silent", "ttl"]
    assert len(silence._tombstones) < 100


def test_nothing_is_left_of_buried_assets() -> None:
    """A thousand assets that came once take the room of the ten that are remembered."""
    silence = silence_of(1, ttl=2)
    for number in range(1_000):
        silence.restart(f"pump {number}", "pump", 10 * number)
        assert "ttl" in [found.what for found in silence.expiries(10 * number + 9)]
    tables = (silence._last_arrivals, silence._class_of, silence._queued, silence._resting, silence._former)
    assert [len(table) for table in tables] == [10, 10, 0, 0, 0]
