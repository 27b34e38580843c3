"""Labels of whole fleets: lane and assets together, against one brute force that keeps everything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from dataflows.asset import Asset
from dataflows.asset.asset import ClassPlan
from dataflows.events import Event, Failure, Fault, Maintenance, Registration, Retraction, Telemetry
from dataflows.items import Expiry, Item, LanePeriod, Observation, ResolvedEvent, Row
from dataflows.lane import Lane
from tests.asset.oracle import CENSORED, NEGATIVE, POSITIVE, TargetShape
from tests.asset.worlds import Rules
from tests.observations import parts_of, processed


class Decided(NamedTuple):
    """One label that became known."""

    asset: str
    target: str
    time: int
    label: int | None
    why: str
    lead: int | None
    correction: int
    clock: int


class Subject:
    """Lane and assets, as the dataflow connects them."""

    def __init__(self, rules: Rules) -> None:
        self.fleet = rules.fleet()
        self.lane = Lane(self.fleet, None, {})
        self.parts: dict[int, bytes] = {}
        self.plans = {
            name: ClassPlan(found, self.fleet.targets) for name, found in self.fleet.classes.items()
        }
        self.assets: dict[str, Asset] = {}

    def restart(self) -> None:
        """Everything from what an epoch would have written."""
        main = self.lane.main_snapshot()
        self.parts.update({part: self.lane.part_snapshot(part) for part in self.lane.changed()})
        self.lane = Lane(self.fleet, main, dict(self.parts))
        self.assets = {
            name: Asset(name, self.plans, "pump", asset.to_bytes()) for name, asset in self.assets.items()
        }

    def take(self, number: int, event: Event) -> tuple[list[tuple[int, str, str]], list[Item]]:
        """The expiries before a record, and what the assets made of them and of it."""
        record = Item(number, 0, None, 0, ("feed", number, number), event)
        expiries, out = [], []
        for item in self.lane.process([record]):
            if isinstance(item.body, LanePeriod):
                continue
            assert isinstance(item.body, ResolvedEvent)
            found = item.body.event
            if isinstance(found, Expiry):
                expiries.append((found.due, found.asset, found.what))
            asset = self.assets.get(found.asset)
            if asset is None:
                asset = self.assets[found.asset] = Asset(found.asset, self.plans, item.body.asset_class)
            out += processed(asset, item)
        return expiries, out


def decided_by(items: list[Item]) -> list[Decided]:
    """Decisions of some items, those at once after the others of their record."""
    found: list[Decided] = []
    for item in items:
        if isinstance(item.body, Observation):
            body = parts_of(item.body)
            matured = (*body.matured, *([] if body.at_once is None else [body.at_once]))
            found += [
                Decided(body.asset, body.target, m.time, m.label, m.why, m.lead, m.correction, m.clock)
                for m in matured
            ]
    return found


@dataclass
class Waiting:
    """An example. ``passed``: its time came; ``cut``: why nobody saw its whole horizon."""

    target: TargetShape
    time: int
    passed: bool = False
    cut: str | None = None
    label: int | None = None
    lead: int | None = None
    correction: int = -1


@dataclass
class Machine:
    """All that an asset ever sent. ``heard``: what its events and records say of time, without silence."""

    name: str
    heard: int | None = None
    clock: int | None = None
    newest: int | None = None
    #: The largest time of telemetry.
    latest: int | None = None
    last_event: int | None = None
    telemetry: set[int] = field(default_factory=set)
    identities: set[tuple[object, ...]] = field(default_factory=set)
    records: list[tuple[str, int, str | None, str | None]] = field(default_factory=list)
    examples: list[Waiting] = field(default_factory=list)
    last_arrival: int | None = None


class Oracle:
    """The whole fleet by brute force."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.machines: dict[str, Machine] = {}
        self.arrival: int | None = None
        self.decided: list[Decided] = []
        self.expiries: list[tuple[int, str, str]] = []

    def take(self, event: Event) -> tuple[list[tuple[int, str, str]], list[Decided]]:
        assert event.arrived is not None
        self.decided, self.expiries = [], []
        if self.arrival is not None:
            for due in range(self.arrival, event.arrived):
                for name in sorted(self.machines):
                    self.expire(self.machines[name], due)
        self.arrival = event.arrived
        machine = self.machines.setdefault(event.asset, Machine(event.asset))
        if isinstance(event, Telemetry | Fault):
            self.heard(machine, event)
        elif isinstance(event, Failure | Maintenance):
            self.record(machine, event)
        elif isinstance(event, Retraction):
            machine.records = [record for record in machine.records if record[3] != event.id]
            self.settle(machine)
        elif event.retired:
            for example in machine.examples:
                if not example.passed and example.time + example.target.horizon > self.arrival:
                    example.cut = "retired"
            self.settle(machine)
        return self.expiries, self.decided

    def expire(self, machine: Machine, due: int) -> None:
        last, rules = machine.last_arrival, self.rules
        if last is None or due <= last:
            return
        ends = rules.ttl is not None and due == last + rules.ttl
        if not ends and (due - last) % rules.idle:
            return
        self.expiries.append((due, machine.name, "ttl" if ends else "silent"))
        machine.clock = due if machine.clock is None else max(machine.clock, due)
        for example in machine.examples:
            if not example.passed and due > example.time + example.target.wait:
                example.passed = True
                if example.time + example.target.horizon > (machine.last_event or 0):
                    example.cut = example.cut or "silent"
        self.settle(machine)
        if ends:
            fresh = Machine(
                machine.name, newest=machine.newest, latest=machine.latest, last_event=machine.last_event
            )
            watermark = None if machine.newest is None else machine.newest - rules.lateness
            fresh.telemetry = {
                time
                for time in machine.telemetry
                if time == machine.latest or (watermark is not None and time >= watermark)
            }
            fresh.identities = {
                key
                for key in machine.identities
                if key[0] == "fault" and key[2] >= watermark  # type: ignore[operator]
            }
            self.machines[machine.name] = fresh

    def heard(self, machine: Machine, event: Telemetry | Fault) -> None:
        before, latest, time = machine.newest, machine.latest, event.time
        on_time = isinstance(event, Telemetry) and (latest is None or time >= latest)
        if not on_time and before is not None and time < before - self.rules.lateness:
            return
        if isinstance(event, Fault):
            if ("fault", event.code, time) in machine.identities:
                return
            machine.identities.add(("fault", event.code, time))
        elif time in machine.telemetry:
            return
        else:
            machine.telemetry.add(time)
        # Neither a copy nor what is too late is a sign of life.
        machine.last_arrival = self.arrival
        machine.newest = time if before is None else max(before, time)
        machine.last_event = max(time, machine.last_event if machine.last_event is not None else time)
        self.advance(machine, machine.newest - self.rules.lateness)
        if on_time:
            machine.latest = time
            for target in self.rules.targets:
                passed = machine.heard is not None and machine.heard > time + target.wait
                machine.examples.append(Waiting(target, time, passed))
            self.settle(machine)

    def record(self, machine: Machine, event: Failure | Maintenance) -> None:
        kind = "failure" if isinstance(event, Failure) else "maintenance"
        what = event.mode if isinstance(event, Failure) else event.component
        record = (kind, event.time, what, event.id)
        if record in machine.records:
            return
        if event.id is not None:
            # Another record of this id and of the same mode or component is corrected by this one.
            machine.records = [r for r in machine.records if (r[0], r[2], r[3]) != (kind, what, event.id)]
        machine.records.append(record)
        machine.last_event = max(
            event.time, machine.last_event if machine.last_event is not None else event.time
        )
        self.advance(machine, event.time)

    def advance(self, machine: Machine, clock: int) -> None:
        """The asset's own events move the clock: their examples pass without being cut."""
        machine.heard = clock if machine.heard is None else max(machine.heard, clock)
        machine.clock = machine.heard if machine.clock is None else max(machine.clock, machine.heard)
        for example in machine.examples:
            example.passed = example.passed or machine.heard > example.time + example.target.wait
        self.settle(machine)

    def settle(self, machine: Machine) -> None:
        """Decide anew every example; what changed is a decision."""
        for example in machine.examples:
            label, why, lead = self.truth(machine, example)
            if not (example.passed or example.cut is not None or label == POSITIVE):
                label, why, lead = None, "withdrawn", None
            if (label, lead) == (example.label, example.lead):
                continue
            example.label, example.lead = label, lead
            example.correction += 1
            assert machine.clock is not None
            self.decided.append(
                Decided(
                    machine.name,
                    example.target.name,
                    example.time,
                    label,
                    why,
                    lead,
                    example.correction,
                    machine.clock,
                )
            )

    def truth(self, machine: Machine, example: Waiting) -> tuple[int, str, int | None]:
        """What the records that stand say, should nothing more come."""
        target, time = example.target, example.time
        inside = [
            (kind, at, what) for kind, at, what, _ in machine.records if time < at <= time + target.horizon
        ]
        failures = [at for kind, at, what in inside if kind == "failure" and what == target.mode]
        if failures:
            return POSITIVE, "failure", min(failures) - time
        if any(kind == "maintenance" and what in {None, target.component} for kind, _, what in inside):
            return CENSORED, "maintenance", None
        if example.cut is not None:
            return CENSORED, example.cut, None
        return NEGATIVE, "horizon passed", None


class Step(NamedTuple):
    """A record of an asset: how long after the last one it arrives, and its time relative to its arrival."""

    kind: str
    asset: str
    after: int
    offset: int
    what: str | None
    id: str | None


_STEPS = st.builds(
    Step,
    st.sampled_from(
        [*["telemetry"] * 5, "fault", "failure", "failure", "maintenance", "retraction", "retired"]
    ),
    st.sampled_from("aab"),
    st.sampled_from([0, 1, 1, 2, 3, 5, 9, 20, 45]),
    st.sampled_from([0, 0, 0, -1, -2, -4, -9, -25, 2, 7]),
    st.sampled_from([None, "seal", "motor"]),
    st.sampled_from([None, "x", "y"]),
)


@st.composite
def fleets(draw: st.DrawFn) -> tuple[Rules, list[Event]]:
    """Rules, and the arrivals of a few assets that fall silent, come back, retire and are corrected."""
    targets = tuple(
        TargetShape(f"pump/{index}", mode, mode, draw(st.integers(1, 10)), draw(st.integers(0, 3)), 10_000)
        for index, mode in enumerate(draw(st.sampled_from([("seal",), ("seal", "motor")])))
    )
    idle = draw(st.integers(1, 8))
    # A class whose assets are dropped before their examples are decided is refused when it is read.
    longest = max(target.wait for target in targets)
    lateness = draw(st.sampled_from([0, 0, 2, 30]))
    ttl = draw(st.none() | st.integers(1, 30).map(lambda more: max(idle, longest) + more))
    now = 1_000
    events: list[Event] = []
    for kind, asset, after, offset, what, identity in draw(st.lists(_STEPS, min_size=2, max_size=22)):
        now += after
        time = now + offset
        events.append(
            {
                "telemetry": Telemetry(asset, time, {"x": 1.0}, None, now),
                "fault": Fault(asset, time, "E1", None, now),
                "failure": Failure(asset, time, what or "seal", identity, now),
                "maintenance": Maintenance(asset, time, what, identity, now),
                "retraction": Retraction(asset, identity or "x", now),
                "retired": Registration(asset, "pump", None, {}, True, now),
            }[kind]
        )
    return Rules(idle, ttl, lateness, targets), events


@given(fleets(), st.sets(st.integers(1, 22)))
def test_expiries_decisions_and_corrections_of_a_fleet_are_those_of_the_brute_force(
    drawn: tuple[Rules, list[Event]], crashes: set[int]
) -> None:
    """Silence, retirement, returns, late records and retractions, with restarts anywhere between records."""
    rules, events = drawn
    subject, oracle = Subject(rules), Oracle(rules)
    for number, event in enumerate(events, start=1):
        if number in crashes:
            subject.restart()
        expiries, items = subject.take(number, event)
        expected_expiries, expected = oracle.take(event)
        assert expiries == expected_expiries
        assert sorted(decided_by(items), key=repr) == sorted(expected, key=repr)


SEAL = TargetShape("pump/seal", "seal", "seal", horizon=10, delay=2, memory=30)
SILENT = Rules(idle=5, ttl=None, lateness=0, targets=(SEAL,))


def told(rules: Rules, *events: Event) -> list[list[tuple[int, int | None, str, int]]]:
    """(time, label, why, correction) of what each record decides, with the expiries before it."""
    subject = Subject(rules)
    return [
        [
            (found.time, found.label, found.why, found.correction)
            for found in decided_by(subject.take(number, event)[1])
        ]
        for number, event in enumerate(events, start=1)
    ]


def telemetry(time: int, arrived: int | None = None) -> Telemetry:
    return Telemetry("a", time, {"x": 1.0}, None, time if arrived is None else arrived)


def elsewhere(arrived: int) -> Telemetry:
    """Another asset's record, by which time passes."""
    return Telemetry("b", arrived, {"x": 1.0}, None, arrived)


def test_silence_censors_what_nobody_saw_to_its_end() -> None:
    """Of two examples, the one whose horizon ends with the last event is negative, the later unknown."""
    events = telemetry(0), telemetry(1), Fault("a", 10, "E1", None, 10), elsewhere(60)
    decided = told(SILENT, *events)[-1]
    assert [found for found in decided if found[0] < 10] == [
        (0, NEGATIVE, "horizon passed", 0),
        (1, CENSORED, "silent", 0),
    ]


def test_what_comes_back_changes_no_label_and_a_failure_corrects() -> None:
    """The censored example stays so under a backlog; a failure in its horizon makes it positive."""
    backlog = [telemetry(time, 60) for time in (4, 8, 11)]
    remembered = SILENT._replace(targets=(SEAL._replace(memory=100),))
    decided = told(remembered, telemetry(0), elsewhere(60), *backlog, Failure("a", 9, "seal", None, 60))
    assert decided[1][0] == (0, CENSORED, "silent", 0)
    assert all(found[0] != 0 for later in decided[2:-1] for found in later)
    assert (0, POSITIVE, "failure", 1) in decided[-1]


def test_records_of_an_outage_find_the_backlog_of_the_outage() -> None:
    """Silence that moved the label clock far ahead makes neither the telemetry nor its failure too old."""
    events = telemetry(0), elsewhere(500), telemetry(90, 500), Failure("a", 95, "seal", None, 500)
    assert told(SILENT, *events)[-1] == [(90, POSITIVE, "failure", 0)]


def test_a_dropped_asset_keeps_its_watermark_and_loses_its_examples() -> None:
    """What is below the watermark is too late after asset_ttl too; no record finds what was before."""
    subject = Subject(SILENT._replace(ttl=20))
    for number, event in enumerate([telemetry(100), elsewhere(130)], start=1):
        subject.take(number, event)
    _, late = subject.take(3, telemetry(99, 130))
    assert [type(item.body) for item in late] == [Row]
    _, again = subject.take(4, telemetry(100, 130))
    assert [type(item.body) for item in again] == [Row]
    _, failure = subject.take(5, Failure("a", 105, "seal", None, 130))
    assert decided_by(failure) == []


def test_retirement_censors_at_once_what_reaches_beyond_it() -> None:
    """At knowledge time 11 the horizon of an example at 1 is over and waits for its delay; 2 is cut."""
    retired = Registration("a", "pump", None, {}, True, 11)
    assert told(SILENT._replace(idle=40), telemetry(1), telemetry(2), retired)[-1] == [
        (2, CENSORED, "retired", 0)
    ]


def test_an_early_positive_of_a_retired_asset_is_cut_when_its_failure_is_withdrawn() -> None:
    """Nothing more will come for it, so no clock is waited for."""
    events = (
        telemetry(0),
        Failure("a", 5, "seal", "x", 5),
        Registration("a", "pump", None, {}, True, 6),
        Retraction("a", "x", 7),
    )
    assert told(SILENT._replace(idle=40), *events)[2:] == [[], [(0, CENSORED, "retired", 1)]]


def test_a_positive_whose_failure_is_withdrawn_early_is_undecided_again() -> None:
    """Before the label clock has passed nothing decides but a failure; what remains decides after it."""
    events = (
        telemetry(0),
        Failure("a", 5, "seal", "x", 5),
        Retraction("a", "x", 6),
        telemetry(12),
        telemetry(13),
    )
    assert told(SILENT._replace(idle=40), *events)[1:] == [
        [(0, POSITIVE, "failure", 0)],
        [(0, None, "withdrawn", 1)],
        [],
        [(0, NEGATIVE, "horizon passed", 2)],
    ]


def test_a_retraction_leaves_the_label_that_the_other_records_give() -> None:
    """Without the first of two failures the second gives label and lead; without both it is not positive."""
    events = (
        telemetry(0),
        Failure("a", 3, "seal", "x", 3),
        Failure("a", 5, "seal", "y", 5),
        Maintenance("a", 6, "seal", None, 6),
        telemetry(13),
        Retraction("a", "x", 13),
        Retraction("a", "y", 13),
        Retraction("a", "y", 13),
    )
    found = told(SILENT._replace(idle=40), *events)
    assert found[1] == [(0, POSITIVE, "failure", 0)]
    assert found[5:] == [
        [(0, POSITIVE, "failure", 1)],
        [(0, CENSORED, "maintenance", 2)],
        [],
    ]
