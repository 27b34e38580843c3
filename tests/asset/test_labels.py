from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.asset.labels import CENSORED, NEGATIVE, POSITIVE, AssetRecords, Labels
from tests.asset.oracle import Decision, LabelOracle, TargetShape
from tests.asset.streams import sequences, target_of

if TYPE_CHECKING:
    from dataflows.asset.labels import RecordKind
    from dataflows.items import Matured


class Step(NamedTuple):
    """Telemetry (what is None) or a record of an asset; times are small numbers, so that borders are met."""

    kind: str
    time: int
    what: str | None = None
    id: str | None = None


#: (kind, offset from the largest telemetry time, mode or component, id); "again" repeats an earlier record.
_DRAWN = st.one_of(
    st.tuples(st.just("telemetry"), st.integers(1, 4), st.none(), st.none()),
    st.tuples(st.just("telemetry"), st.integers(1, 20), st.none(), st.none()),
    st.tuples(st.just("quiet"), st.integers(1, 4), st.none(), st.none()),
    st.tuples(
        st.just("failure"),
        st.integers(-20, 12) | st.integers(1, 4),
        st.sampled_from(["seal", "motor", "unheard_of"]),
        st.sampled_from([None, None, None, "a", "b"]),
    ),
    st.tuples(
        st.just("maintenance"),
        st.integers(-20, 12),
        st.sampled_from([None, "seal", "belt"]),
        st.sampled_from([None, None, None, "a", "b"]),
    ),
    st.tuples(st.just("again"), st.integers(0, 2), st.none(), st.none()),
    st.tuples(st.just("retraction"), st.just(0), st.none(), st.sampled_from(["a", "b"])),
)


@st.composite
def target_shapes(draw: st.DrawFn) -> tuple[TargetShape, ...]:
    """One to three targets of two modes, which may share a component."""
    shapes = draw(
        st.lists(
            st.tuples(
                st.sampled_from([("seal", "seal"), ("motor", "belt"), ("motor", "seal")]),
                st.integers(1, 12),
                st.integers(0, 4),
                st.sampled_from([0, 1, 5, 30]),
            ),
            min_size=1,
            max_size=3,
        )
    )
    downtime = draw(st.sampled_from([0, 0, 1, 3, 8]))
    return tuple(
        TargetShape(f"target {index}", mode, component, horizon, delay, memory, downtime)
        for index, ((mode, component), horizon, delay, memory) in enumerate(shapes)
    )


@st.composite
def histories(draw: st.DrawFn) -> tuple[tuple[TargetShape, ...], int, list[Step]]:
    """Targets, a lateness, and a history; "quiet" telemetry is no example."""
    shapes = draw(target_shapes())
    lateness = draw(st.sampled_from([0, 0, 1, 6]))
    largest = draw(st.sampled_from([0, -50, 1_577_836_800_000_000]))
    steps: list[Step] = []
    for kind, number, what, identity in draw(sequences(_DRAWN, most=30)):
        records = [step for step in steps if step.kind in {"failure", "maintenance"}]
        if kind == "again":
            steps += records[-1 - number :][:1]
        elif kind in {"telemetry", "quiet"}:
            largest += number
            steps.append(Step(kind, largest))
        else:
            steps.append(Step(kind, largest + number, what, identity))
    return shapes, lateness, steps


class Subject:
    """Labels as an asset uses them."""

    def __init__(self, shapes: tuple[TargetShape, ...]) -> None:
        self.targets = tuple(target_of(shape) for shape in shapes)
        self.labels = Labels(self.targets)

    def restart(self) -> None:
        self.labels = Labels(self.targets, msgspec.msgpack.decode(self.frozen()))

    def frozen(self) -> bytes:
        return msgspec.msgpack.encode(self.labels.state())

    def advance(self, clock: int) -> dict[str, list[Decision]]:
        return many(self.labels.advance(clock))

    def record(self, step: Step) -> dict[str, list[Decision]] | None:
        kind: RecordKind = "failure" if step.kind == "failure" else "maintenance"
        recorded = self.labels.record(kind, step.time, step.what, step.id)
        return None if recorded is None else many(recorded[0])

    def retract(self, identity: str) -> dict[str, list[Decision]] | None:
        decided, withdrawn = self.labels.retract(identity)
        return many(decided) if withdrawn else None

    def add(self, time: int) -> dict[str, Decision]:
        return {name: decision(matured) for name, matured in self.labels.add(time).items()}


def decision(matured: Matured) -> Decision:
    return Decision(matured.time, matured.label, matured.why, matured.lead, matured.clock, matured.correction)


def many(decided: dict[str, list[Matured]]) -> dict[str, list[Decision]]:
    return {name: [decision(matured) for matured in found] for name, found in decided.items()}


@given(histories())
def test_labels_are_what_all_records_known_so_far_say(
    drawn: tuple[tuple[TargetShape, ...], int, list[Step]],
) -> None:
    """Each decision, label at once, correction and release comes exactly when the brute force says."""
    shapes, lateness, steps = drawn
    subject, oracle = Subject(shapes), LabelOracle(shapes)
    largest = None
    for step in steps:
        if step.kind in {"telemetry", "quiet"}:
            largest = step.time
            assert subject.advance(largest - lateness) == oracle.advance(largest - lateness)
            if step.kind == "telemetry":
                assert subject.add(largest) == oracle.add(largest)
        elif step.kind == "retraction":
            assert step.id is not None
            assert subject.retract(step.id) == oracle.retract(step.id)
        else:
            remembered = oracle.remembers(step.time, largest)
            assert subject.labels.remembers(step.time, largest) == remembered
            if not remembered:
                continue
            before = subject.frozen()
            expected = oracle.record(step.kind, step.time, step.what, step.id)
            assert subject.record(step) == expected
            if expected is None:
                assert subject.frozen() == before
        assert subject.labels.release(largest) == oracle.release(largest)
        assert subject.labels.clock == oracle.clock
        assert subject.labels.pending() == oracle.pending()


@given(histories(), st.sets(st.integers(0, 29)))
def test_labels_restored_at_any_points_go_on_exactly(
    drawn: tuple[tuple[TargetShape, ...], int, list[Step]], crashes: set[int]
) -> None:
    """A snapshot before any step changes no later decision, release or state."""
    shapes, lateness, steps = drawn
    steady, resumed = Subject(shapes), Subject(shapes)
    largest = None
    for index, step in enumerate(steps):
        if index in crashes:
            resumed.restart()
        if step.kind in {"telemetry", "quiet"}:
            largest = step.time
            assert resumed.advance(largest - lateness) == steady.advance(largest - lateness)
            assert resumed.add(largest) == steady.add(largest)
        elif step.kind == "retraction":
            assert step.id is not None
            assert resumed.retract(step.id) == steady.retract(step.id)
        elif steady.labels.remembers(step.time, largest):
            assert resumed.record(step) == steady.record(step)
        assert resumed.labels.release(largest) == steady.labels.release(largest)
        assert resumed.frozen() == steady.frozen()


@given(histories())
def test_up_to_quiet_until_the_clock_decides_and_forgets_nothing(
    drawn: tuple[tuple[TargetShape, ...], int, list[Step]],
) -> None:
    """At that clock and at each before it, with the asset's records or without any."""
    shapes, lateness, steps = drawn
    subject, largest = Subject(shapes), None
    for step in steps:
        if step.kind in {"telemetry", "quiet"}:
            largest = step.time
            subject.advance(largest - lateness)
            if step.kind == "telemetry":
                subject.add(largest)
        elif step.kind == "retraction":
            subject.labels.retract(step.id or "")
        else:
            subject.record(step)
        subject.labels.release(largest)
        if not subject.labels.is_quiet:
            continue
        until = min(subject.labels.quiet_until, 1_000)
        moved = Labels(subject.targets, msgspec.msgpack.decode(subject.frozen()))
        before = moved.state()
        clocks = [moved.clock or 0, (until + (moved.clock or 0)) // 2, until]
        assert [moved.advance(clock) for clock in sorted(clocks)] == [{}, {}, {}]
        assert moved.clock == max(clocks)
        assert moved.is_quiet
        assert moved.release(until) == {}
        assert moved.state() == {**before, "clock": moved.clock, "heard": moved.state()["heard"]}


SEAL = TargetShape("seal", "seal", "seal", horizon=10, delay=2, memory=30)


def subject_at(*times: int, shapes: tuple[TargetShape, ...] = (SEAL,)) -> Subject:
    """Labels with an example at each time."""
    subject = Subject(shapes)
    for time in times:
        subject.labels.advance(time)
        assert subject.add(time) == {}
    return subject


def verdicts(decided: dict[str, list[Decision]] | None) -> list[tuple[int, int | None, int]]:
    """(time, label, correction) of the decisions for the seal."""
    assert decided is not None
    return [(found.time, found.label, found.correction) for found in decided.get("seal", [])]


def test_a_failure_makes_positive_what_lies_less_than_it_and_at_most_a_horizon_before() -> None:
    """A failure at f labels f - horizon <= t < f at once, with the time to it as lead."""
    subject = subject_at(0, 1, 9, 10, 11)
    decided = subject.record(Step("failure", 11, "seal"))
    assert verdicts(decided) == [(1, POSITIVE, 0), (9, POSITIVE, 0), (10, POSITIVE, 0)]
    assert [found.lead for found in decided["seal"]] == [10, 2, 1]


def test_the_earliest_of_several_failures_decides_the_lead() -> None:
    """Failures that arrive in any order give an example the lead to the first after it."""
    subject = subject_at(0)
    subject.record(Step("failure", 19, "seal", "x"))
    subject.record(Step("failure", 17, "seal", "y"))
    assert {name: found.lead for name, found in subject.add(12).items()} == {"seal": 5}


def test_a_negative_waits_until_the_clock_has_passed_horizon_and_delay() -> None:
    """Passed means greater: at t + horizon + label_delay nothing is decided, one later it is."""
    subject = subject_at(0)
    assert subject.advance(12) == {}
    assert subject.advance(13) == {"seal": [Decision(0, NEGATIVE, "horizon passed", None, 13, 0)]}


def test_maintenance_decides_nothing_when_it_arrives() -> None:
    """It censors when the clock passes, and only what a failure has not made positive by then."""
    subject = subject_at(0, 4)
    assert subject.record(Step("maintenance", 8, "seal")) == {}
    assert verdicts(subject.record(Step("failure", 3, "seal"))) == [(0, POSITIVE, 0)]
    assert verdicts(subject.advance(17)) == [(4, CENSORED, 0)]


def test_maintenance_of_another_component_censors_nothing() -> None:
    """Work on the belt says nothing of the seal, work on the whole asset does."""
    subject = subject_at(0, 1)
    subject.record(Step("maintenance", 1, "belt"))
    subject.record(Step("maintenance", 11, None))
    assert verdicts(subject.advance(14)) == [(0, NEGATIVE, 0), (1, CENSORED, 0)]


@pytest.mark.parametrize("order", [("failure", "maintenance"), ("maintenance", "failure")])
def test_at_equal_times_the_failure_wins(order: tuple[str, str]) -> None:
    """A repair at the very time of the failure leaves the example positive, whichever came first."""
    subject = subject_at(0)
    decided = [subject.record(Step(kind, 6, "seal")) for kind in order]
    assert [verdicts(found) for found in decided if found] == [[(0, POSITIVE, 0)]]
    assert subject.advance(13) == {}


def test_a_record_after_the_decision_corrects_it_each_time_the_label_changes() -> None:
    """Negative, then censored, then positive; an earlier failure gives another lead, a later one nothing."""
    subject = subject_at(0)
    assert verdicts(subject.advance(13)) == [(0, NEGATIVE, 0)]
    assert verdicts(subject.record(Step("maintenance", 5, None))) == [(0, CENSORED, 1)]
    assert verdicts(subject.record(Step("failure", 7, "seal"))) == [(0, POSITIVE, 2)]
    assert verdicts(subject.record(Step("failure", 6, "seal"))) == [(0, POSITIVE, 3)]
    assert subject.record(Step("failure", 8, "seal")) == {}


def test_an_example_behind_the_clock_is_decided_at_once() -> None:
    """A record may have moved the clock beyond an example's horizon before its telemetry came."""
    subject = Subject((SEAL,))
    subject.record(Step("failure", 40, "seal"))
    assert subject.add(27) == {"seal": Decision(27, NEGATIVE, "horizon passed", None, 40, 0)}
    assert subject.add(28) == {}
    assert subject.add(30) == {"seal": Decision(30, POSITIVE, "failure", 10, 40, 0)}


def test_a_record_ahead_of_the_telemetry_is_kept_for_what_it_will_label() -> None:
    """The clock may run far ahead; what telemetry still to come needs is not forgotten."""
    subject = subject_at(0)
    for time in (95, 200):
        subject.record(Step("failure", time, "seal"))
        subject.labels.release(0)
    assert subject.add(90) == {"seal": Decision(90, POSITIVE, "failure", 5, 200, 0)}


def test_an_example_is_released_when_no_remembered_record_can_change_it() -> None:
    """It goes when the clock has passed t + horizon + label_delay + label_memory, not at it."""
    subject = subject_at(0)
    subject.labels.advance(42)
    assert subject.labels.release(42) == {}
    assert subject.labels.remembers(1, 42)
    subject.labels.advance(43)
    assert subject.labels.release(43) == {"seal": [0]}
    assert not subject.labels.remembers(1, 43)


def test_a_mode_that_reads_like_an_id_is_no_duplicate() -> None:
    """Records with and without ids are told apart, whatever their texts."""
    subject = subject_at(0)
    assert subject.record(Step("failure", 5, "id 5")) is not None
    assert subject.record(Step("failure", 5, "seal", "5 5")) is not None


def test_a_record_that_is_not_forgotten_yet_leaves_an_asset_quiet() -> None:
    """Nearly every machine has a service record: its telemetry goes the quick way all the same."""
    subject = subject_at(0)
    assert subject.labels.quiet_until == 12
    subject.labels.advance(13)
    assert subject.add(30) == {}
    subject.record(Step("maintenance", 31, "belt"))
    assert subject.labels.is_quiet
    assert subject.labels.quiet_until == 42


def test_records_are_forgotten_with_the_examples_that_they_could_change() -> None:
    """A snapshot does not grow with the number of failures that an asset ever had."""
    subject = Subject((SEAL,))
    sizes = []
    for time in range(0, 4_000, 4):
        subject.advance(time)
        subject.add(time)
        subject.record(Step("failure", time + 1, "seal"))
        subject.record(Step("maintenance", time + 1, None))
        subject.labels.release(time)
        sizes.append(len(subject.frozen()))
    assert max(sizes[500:]) <= max(sizes[250:500])


def test_a_retracted_record_may_come_again_corrected() -> None:
    """Its id is free after the retraction, for the same content too."""
    subject = subject_at(0)
    assert verdicts(subject.record(Step("failure", 5, "seal", "W1"))) == [(0, POSITIVE, 0)]
    assert verdicts(subject.retract("W1")) == [(0, None, 1)]
    assert verdicts(subject.record(Step("failure", 5, "seal", "W1"))) == [(0, POSITIVE, 2)]
    assert subject.record(Step("failure", 5, "seal", "W1")) is None


def test_the_same_id_with_another_time_corrects_the_record() -> None:
    """The later one stands: the failure moved from 5 to 8, and its lead with it."""
    subject = subject_at(0, 1, 6)
    subject.record(Step("failure", 5, "seal", "W1"))
    decided = subject.record(Step("failure", 8, "seal", "W1"))
    assert verdicts(decided) == [(0, POSITIVE, 1), (1, POSITIVE, 1), (6, POSITIVE, 0)]
    assert verdicts(subject.retract("W1")) == [(0, None, 2), (1, None, 2), (6, None, 1)]


def test_one_order_may_name_several_modes() -> None:
    """A record is identified by its id and its mode; a retraction withdraws all records of the id."""
    shapes = (SEAL, SEAL._replace(name="motor", mode="motor"))
    subject = subject_at(0, shapes=shapes)
    assert subject.record(Step("failure", 5, "seal", "W1")).keys() == {"seal"}
    assert subject.record(Step("failure", 5, "motor", "W1")).keys() == {"motor"}
    assert subject.retract("W1").keys() == {"seal", "motor"}


def test_a_failure_state_that_is_repeated_while_the_machine_is_down_is_one_failure() -> None:
    """Examples while it is down are censored, and only the first report makes others positive."""
    shapes = (SEAL._replace(downtime=3),)
    subject = subject_at(*range(12), shapes=shapes)
    for time in (4, 6, 8):
        subject.record(Step("failure", time, "seal"))
    decided = [*subject.advance(40)["seal"]]
    assert {found.time: found.label for found in decided} == dict.fromkeys(range(4, 12), CENSORED)
    assert {found.why for found in decided} == {"down"}


def test_a_record_may_come_long_before_the_telemetry_that_it_labels() -> None:
    """Newer records move the label clock ahead, but telemetry that is behind may still be labelled."""
    subject = subject_at(0)
    subject.record(Step("failure", 500, "seal"))
    assert subject.labels.remembers(100, 0)
    assert not subject.labels.remembers(100, 500)


def test_a_record_whose_id_comes_again_is_forgotten_in_its_time() -> None:
    """It stands without an identity then: a restart does not change it, a retraction does not lose it."""
    records = AssetRecords()
    assert records.add("failure", 4, "seal", "a")
    assert records.add("failure", 6, "seal", "a", expired=5) is True
    assert records.withdraw("a") == [("failure", 6, "seal")]
    assert records.state()["failures"] == {"seal": [4]}
    again = AssetRecords(records.state())
    for each in (records, again):
        each.forget(5)
        assert each.state() == {"failures": {"seal": []}, "maintenance": {}, "seen": {}}
