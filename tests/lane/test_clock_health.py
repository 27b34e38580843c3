"""Clock health: wrong clocks are found soon, whatever delays do, and honest ones are left in peace."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.events import Telemetry
from dataflows.fleet.fleet import AssetPolicy, ClockPolicy
from dataflows.items import Item, LanePeriod, ResolvedEvent, Row
from dataflows.lane import Lane
from dataflows.lane.clock_health import ClockHealth, Finding
from tests.lane.worlds import DAY, FLEET, START, records, row

if TYPE_CHECKING:
    from dataflows.fleet.fleet import Fleet

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
POLICY = ClockPolicy(10 * MINUTE)
#: (time by an honest clock, arrival) of a message every quarter of an hour.
Sent = list[tuple[int, int]]


def on_the_dot(count: int, start: int = 0) -> Sent:
    return [(start + n * 15 * MINUTE, start + n * 15 * MINUTE + 2 * SECOND) for n in range(count)]


def seen(sent: Sent, clocks: ClockHealth | None = None) -> list[tuple[int, Finding]]:
    """What is found, and after how many messages."""
    clocks = clocks or ClockHealth(POLICY, {})
    found = []
    for number, (time, arrival) in enumerate(sorted(sent, key=lambda message: message[1]), start=1):
        if (
            clocks.needs_check("a", time - arrival)
            and (finding := clocks.check("a", time, arrival)) is not None
        ):
            found.append((number, finding))
    return found


def off(sent: Sent, by: int) -> Sent:
    return [(time + by, arrival) for time, arrival in sent]


@pytest.mark.parametrize("by", [11 * MINUTE, HOUR, 5 * HOUR])
def test_a_clock_ahead_is_found_after_its_third_event(by: int) -> None:
    """The fourth closes the look at the third; its offset is the median's, less the way."""
    ((number, finding),) = seen(off(on_the_dot(20), by))
    assert (number, finding) == (4, Finding("ahead", by - 2 * SECOND, jumped=False))


@pytest.mark.parametrize("by", [11 * MINUTE, HOUR, 5 * HOUR])
def test_a_clock_behind_is_found_after_its_ninth_event(by: int) -> None:
    """It takes longer, since events are late for other reasons too."""
    ((number, finding),) = seen(off(on_the_dot(20), -by))
    assert (number, finding) == (10, Finding("behind", -by - 2 * SECOND, jumped=False))


def test_a_clock_within_the_tolerance_is_right() -> None:
    """Up to the tolerance itself nothing is doubted, and nothing is kept."""
    clocks = ClockHealth(POLICY, {})
    assert seen(off(on_the_dot(50), 10 * MINUTE), clocks) == []
    assert seen(off(on_the_dot(50, DAY), -9 * MINUTE), clocks) == []
    assert clocks.entry("a") == []


def test_a_backlog_accuses_nobody() -> None:
    """What a device stored for 30 h comes in a burst, or over an hour: in both the clock is right."""
    for pace in (SECOND // 5, 30 * SECOND):
        stored = [(n * 15 * MINUTE, 30 * HOUR + n * pace) for n in range(120)]
        assert seen([*on_the_dot(20, -5 * HOUR), *stored, *on_the_dot(100, 32 * HOUR)]) == []


def test_uploads_once_a_day_accuse_nobody() -> None:
    """A day's messages at its end, for a month: the last of each burst says that the clock is right."""
    sent = [
        (day * DAY + n * 15 * MINUTE, (day + 1) * DAY + n * SECOND) for day in range(30) for n in range(96)
    ]
    assert seen(sent) == []


def test_two_events_of_the_future_accuse_nobody() -> None:
    """Nor do their copies, nor the messages that a gateway makes of one."""
    sent = on_the_dot(40)
    for number in (10, 14):
        time, arrival = sent[number]
        sent[number] = (time + 9 * DAY, arrival)
        sent += [(time + 9 * DAY, arrival + n * 7 * MINUTE) for n in range(5)]
    assert seen(sent) == []


_DELAYS = st.lists(st.integers(0, 6 * 60) | st.just(0) | st.just(0) | st.just(0), min_size=60, max_size=90)


@given(_DELAYS)
def test_delays_hide_no_clock_that_is_further_ahead_than_they_last(delays: list[int]) -> None:
    """Whatever is late, and by how much: it is found ahead, and neither right nor behind."""
    delayed = zip(on_the_dot(len(delays)), delays, strict=True)
    sent = [(time, arrival + delay * MINUTE) for (time, arrival), delay in delayed]
    assert {finding.state for _, finding in seen(off(sent, 7 * HOUR))} == {"ahead"}


@given(_DELAYS, st.integers(0, 3))
def test_whoever_is_quick_every_third_time_is_not_behind(delays: list[int], first: int) -> None:
    """Two of three messages of an honest clock may be late, by up to 6 h: it is never found wrong."""
    delayed = enumerate(zip(on_the_dot(len(delays)), delays, strict=True))
    sent = [
        (time, arrival + (delay * MINUTE if (n + first) % 3 else 0))
        for n, ((time, arrival), delay) in delayed
    ]
    assert seen(sent) == []


def test_a_jump_and_its_end_are_found() -> None:
    """Right, ahead by 3 h, right again: two findings, both of them jumps."""
    sent = [*on_the_dot(40), *off(on_the_dot(40, 10 * HOUR), 3 * HOUR), *on_the_dot(40, 20 * HOUR)]
    (found, ahead), (again, right) = seen(sent)
    assert (found, ahead) == (44, Finding("ahead", 3 * HOUR - 2 * SECOND, jumped=True))
    assert (right.state, right.jumped) == ("right", True)
    assert abs(right.offset) < MINUTE
    assert 80 < again <= 92


def test_a_wrong_clock_that_jumps_is_found_once_more() -> None:
    """From one wrong level to the other, without ever having been right."""
    sent = [*off(on_the_dot(20), 3 * HOUR), *off(on_the_dot(20, 5 * HOUR), HOUR)]
    assert [(finding.state, finding.jumped) for _, finding in seen(sent)] == [
        ("ahead", False),
        ("ahead", True),
    ]


def test_a_slow_drift_is_no_jump() -> None:
    """A second a message: ahead is found beyond the tolerance, and no jump is said of it."""
    sent = [(time + n * SECOND, arrival) for n, (time, arrival) in enumerate(on_the_dot(1000))]
    ((number, finding),) = seen(sent)
    assert (finding.state, finding.jumped) == ("ahead", False)
    assert 600 < number < 610


_MOVES = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.integers(-90, 90), st.integers(0, 30)), min_size=1, max_size=60
)


@given(_MOVES, st.sets(st.integers(0, 60)))
def test_clocks_restored_at_any_points_find_the_same(
    moves: list[tuple[str, int, int]], crashes: set[int]
) -> None:
    """What is kept of each asset is plain data, and all that matters."""
    steady, resumed, arrival = ClockHealth(POLICY, {}), ClockHealth(POLICY, {}), 0
    for index, (asset, offset, after) in enumerate(moves):
        if index in crashes:
            kept = {name: found for name in ("a", "b") if (found := resumed.entry(name)) is not None}
            resumed = ClockHealth(POLICY, msgspec.msgpack.decode(msgspec.msgpack.encode(kept)))
        arrival += after * MINUTE
        time = arrival + offset * MINUTE
        both = [
            clocks.check(asset, time, arrival) if clocks.needs_check(asset, offset * MINUTE) else None
            for clocks in (steady, resumed)
        ]
        assert both[0] == both[1]
        assert steady.is_wrong(asset) == resumed.is_wrong(asset)
    assert steady.counts() == resumed.counts()


def policed(*, quarantine: bool = False, every: int = 7 * DAY) -> Fleet:
    """A fleet whose lane takes an hour of the future."""
    assets = AssetPolicy("adopt", "pump", 10, clock=ClockPolicy(10 * MINUTE, quarantine))
    return replace(FLEET, assets=assets, metrics_every=every)


def passed(fleet: Fleet, sent: Sent) -> list[Item]:
    ordered = sorted(sent, key=lambda message: message[1])
    bodies = [Telemetry("a", START + time, {"x": 1.0}, None, START + arrival) for time, arrival in ordered]
    return Lane(fleet, None, {}).process(records(*bodies))


def rows(items: list[Item], output: str) -> list[dict[str, Any]]:
    return [row(item) for item in items if isinstance(item.body, Row) and item.body.output == output]


JUMP = [*on_the_dot(40), *off(on_the_dot(40, 10 * HOUR), 30 * MINUTE), *on_the_dot(40, 20 * HOUR)]


def test_a_wrong_clock_is_a_row_of_the_changes() -> None:
    """Asset, state, offset in seconds, whether it jumped, and what was known; the events go on."""
    items = passed(policed(), JUMP)
    wrong, right = rows(items, "changes")
    assert wrong == {
        "output": "changes",
        "change": "clock",
        "asset": "a",
        "state": "ahead",
        "offset": 1798.0,
        "jumped": True,
        "known": "2020-01-01T10:45:02.000000Z",
        "sequence": 44,
    }
    assert (right["state"], right["jumped"]) == ("right", True)
    assert sum(isinstance(item.body, ResolvedEvent) for item in items) == len(JUMP)


def test_a_quarantined_asset_is_rejected_until_its_clock_is_right_again() -> None:
    """From the event that found it to the one before that which found it right; every record has its row."""
    items = passed(policed(quarantine=True), JUMP)
    wrong, right = rows(items, "changes")
    rejected = rows(items, "rejects")
    assert {(found["reason"], found["asset"]) for found in rejected} == {("wrong_clock", "a")}
    assert [found["sequence"] for found in rejected] == [*range(wrong["sequence"], right["sequence"])]


def test_the_check_goes_on_with_what_is_rejected_as_future() -> None:
    """A clock 3 h ahead sends nothing that is taken, and is found all the same; future comes first."""
    items = passed(policed(quarantine=True), off(on_the_dot(20), 3 * HOUR))
    assert [found["state"] for found in rows(items, "changes")] == ["ahead"]
    assert {found["reason"] for found in rows(items, "rejects")} == {"future"}


def test_the_period_of_a_lane_tells_wrong_clocks_and_jumps() -> None:
    """How many are wrong at its end, and how often one jumped in it; then they count anew."""
    items = passed(policed(every=6 * HOUR), JUMP)
    periods = [item.body for item in items if isinstance(item.body, LanePeriod)]
    assert [(p.clocks["wrong"], p.clocks["ahead"], p.clocks["jumped"]) for p in periods if p.clocks] == [
        (0, 0, 0),
        (1, 1, 1),
        (1, 1, 0),
        (0, 0, 1),
    ]
    taken = sum(arrival <= 24 * HOUR for _, arrival in JUMP)
    assert sum(p.by_kind["telemetry"] for p in periods) == taken


def test_without_a_policy_or_arrivals_nothing_is_checked() -> None:
    """The periods then say nothing of clocks, or that none is wrong."""
    assert rows(passed(FLEET, JUMP), "changes") == []
    bodies = [Telemetry("a", START + time, {"x": 1.0}, None, None) for time, _ in JUMP]
    assert rows(Lane(policed(), None, {}).process(records(*bodies)), "changes") == []


def test_a_clock_that_stands_still_is_found_and_found_right_when_it_goes_again() -> None:
    """One time, new contents, arrivals that go on: the third look that lags tells."""
    frozen = [(0, n * HOUR) for n in range(24)]
    ((number, finding),) = seen(frozen)
    assert (number, finding) == (5, Finding("stopped", -4 * HOUR, jumped=False))
    again = seen([*frozen, *on_the_dot(4, 24 * HOUR)])
    assert [found.state for _, found in again] == ["stopped", "right"]


def test_messages_of_one_time_that_come_together_stop_no_clock() -> None:
    """After an outage a gateway sends one sensor a message, for each time within seconds or minutes."""
    sent = [(n * 15 * MINUTE, 5 * HOUR + n * MINUTE + k * 2 * SECOND) for n in range(20) for k in range(6)]
    assert [found.state for _, found in seen(sent)] == []


def test_copies_stop_no_clock() -> None:
    """What a gateway repeats for a day says nothing of the clock; the same with other readings does."""
    policy = replace(FLEET.assets, clock=ClockPolicy(10 * MINUTE, quarantine=True))
    for vary, expected in ((0.0, 0), (1.0, 20)):
        events = [Telemetry("a", START, {"x": vary * n}, None, START + n * HOUR) for n in range(24)]
        out = Lane(replace(FLEET, assets=policy), None, {}).process(records(*events))
        rejected = [item for item in out if isinstance(item.body, Row) and item.body.reason == "wrong_clock"]
        assert len(rejected) == expected
