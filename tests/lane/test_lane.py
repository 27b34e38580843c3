"""The lane: arrival, knowledge time and assets are decided in sequence, and survive any crash."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.events import Failure, Maintenance, Reject
from dataflows.fleet.fleet import AssetPolicy
from dataflows.items import ResolvedEvent
from dataflows.lane.lane import LANE_PARTS
from dataflows.state.snapshots import SnapshotError, seal
from dataflows.state.tables import BUCKETS
from tests.lane.worlds import FLEET, START, counts, opened, records, row, telemetry, visible

if TYPE_CHECKING:
    import random

CAREFUL = replace(FLEET, assets=AssetPolicy("reject", None, 4))


arrivals = st.lists(st.integers(0, 50), min_size=1, max_size=30)


@given(arrivals)
def test_arrival_never_runs_back(given_arrivals: list[int]) -> None:
    """Where an arrival is smaller than its predecessor, the predecessor's counts, for knowledge too."""
    out = opened().process(records(*(telemetry(time=0, arrived=arrived) for arrived in given_arrivals)))
    expected = [START + max(given_arrivals[: place + 1]) for place in range(len(given_arrivals))]
    assert [item.arrival for item in out] == expected
    assert [item.known for item in out] == expected


@given(arrivals)
def test_without_arrivals_knowledge_follows_event_time(times: list[int]) -> None:
    """Knowledge time is the largest event time so far, of any kind of event; there is no arrival."""
    kinds = (
        lambda time: telemetry(time=time),
        lambda time: Failure("a", START + time, "leak", None, None),
        lambda time: Maintenance("a", START + time, None, None, None),
    )
    # What comes before the first telemetry waits for it.
    times = [0, *times]
    out = opened().process(records(*(kinds[time % 3](time) for time in times)))
    assert [item.arrival for item in out] == [None] * len(times)
    assert [item.known for item in out] == [START + max(times[: place + 1]) for place in range(len(times))]


def test_an_event_goes_on_with_its_class_and_its_place() -> None:
    """The event itself is untouched; sequence and position are those of the record."""
    event = telemetry(arrived=5)
    (out,) = opened().process(records(event, first=7))
    assert out.body == ResolvedEvent(event, "pump")
    assert (out.sequence, out.position) == (7, ("pumps", 7, 70))


def test_what_arrives_together_is_put_into_sequence() -> None:
    """A batch in any order gives what it gives in sequence."""
    events = [
        telemetry(asset, time, arrived) for asset, time, arrived in (("a", 3, 9), ("b", 1, 5), ("c", 7, 7))
    ]
    expected = visible(opened().process(records(*events)))
    assert visible(opened().process(records(*events)[::-1])) == expected


def test_what_could_not_be_decoded_is_rejected_with_what_is_known() -> None:
    """A malformed record has no time of its own: the row carries the arrival before it, and moves nothing."""
    first, second, third = records(
        telemetry(arrived=5), Reject("malformed", "not JSON", raw=b"{"), telemetry(arrived=4)
    )
    out = opened().process([first, second, third])
    assert row(out[1])["arrival"] == "2020-01-01T00:00:00.000005Z"
    assert [item.known for item in out] == [START + 5] * 3
    assert (row(out[1])["output"], row(out[1])["reason"], row(out[1])["line"]) == ("rejects", "malformed", 2)


@pytest.mark.parametrize(("one", "other", "word"), [(None, 3, "has"), (3, None, "lacks")])
def test_records_with_and_without_arrival_do_not_mix(one: int | None, other: int | None, word: str) -> None:
    """A record that differs from the first is rejected with its line, also after a restart; others go on."""
    lane = opened()
    lane.process(records(telemetry(arrived=one)))
    for at_work in (lane, opened(main=lane.main_snapshot(), parts={})):
        unlike, like = at_work.process(records(telemetry(arrived=other), telemetry(arrived=one), first=2))
        found = row(unlike)
        assert (found["reason"], found["line"], found["asset"]) == ("mixed_arrivals", 2, "a")
        assert f"{word} `arrived`" in found["detail"]
        assert isinstance(like.body, ResolvedEvent)


def test_unknown_assets_are_adopted_up_to_a_number() -> None:
    """The fifth of four is rejected with the limit; those known go on."""
    out = opened().process(records(*(telemetry(asset) for asset in "abcdea")))
    assert [isinstance(item.body, ResolvedEvent) for item in out] == [True, True, True, True, False, True]
    refused = row(out[4])
    assert (refused["reason"], refused["asset"]) == ("unknown_asset", "e")
    assert "max_assets = 4" in refused["detail"]


def test_unknown_assets_are_rejected_where_the_fleet_says_so() -> None:
    """An asset that no row names is refused, and its event moves knowledge time all the same."""
    (out,) = opened(CAREFUL).process(records(telemetry(time=9)))
    assert row(out)["reason"] == "unknown_asset"
    assert out.known == START + 9


def test_a_part_is_written_only_when_its_assets_changed() -> None:
    """A new asset wakes one bucket, once; whatever known assets send wakes none."""
    lane = opened()
    lane.process(records(telemetry("a")))
    woken = list(lane.changed())
    assert len(woken) == 1
    assert 0 <= woken[0] < LANE_PARTS
    lane.process(records(telemetry("a", 1), telemetry("a", 2), first=2))
    assert list(lane.changed()) == []
    opened(CAREFUL).process(records(telemetry("a")))
    assert list(opened(CAREFUL).changed()) == []


def test_the_main_part_does_not_grow_with_assets() -> None:
    """Thousands of assets lie in the parts; the main snapshot stays small."""
    lane = opened(replace(FLEET, assets=AssetPolicy("adopt", "pump", 10_000)))
    lane.process(records(*(telemetry(f"asset-{number}") for number in range(5_000))))
    assert len(lane.main_snapshot()) < 500
    # Without arrivals and weather there is nothing else to write: the other parts stay asleep.
    assert list(lane.changed()) == list(range(BUCKETS))


def test_the_summary_tells_what_came_in() -> None:
    """Records, assets and kinds; rejects are counted where they pass; saying it changes nothing."""
    lane = opened()
    bodies = [telemetry(asset) for asset in "abcdea"]
    lane.process(records(*bodies, Failure("a", START, "leak", None, None), Reject("malformed", "no")))
    before = lane.main_snapshot()
    told = counts(lane)
    assert told == counts(lane)
    assert lane.main_snapshot() == before
    assert (told["records"], told["assets"]) == (8, 4)
    assert told["by_kind"] == {"failure": 1, "telemetry": 5}
    assert told["rejected"] == {}


events = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "d", "e", "f", "ü", ""]), st.integers(0, 99), st.integers(0, 99)
    ),
    max_size=30,
)


@given(events, st.booleans(), st.randoms(use_true_random=False))
def test_a_restored_lane_goes_on_like_the_old_one(
    stream: list[tuple[str, int, int]], with_arrivals: bool, shuffler: random.Random
) -> None:
    """Rebuilt at any point from what an epoch wrote, further items and the summary are equal."""
    bodies = [
        telemetry(asset, time, arrived if with_arrivals else None)
        if asset
        else Reject("malformed", "not JSON")
        for asset, time, arrived in stream
    ]
    unbroken = opened()
    expected = visible(unbroken.process(records(*bodies)))

    lane, at = opened(), 0
    main: bytes | None = None
    parts: dict[int, bytes] = {}
    awake: set[int] = set()
    durable = 0
    out: list[tuple[Any, ...]] = []
    while at < len(bodies):
        size = shuffler.randint(1, 5)
        out += visible(lane.process(records(*bodies[at : at + size], first=at + 1)))
        at = min(at + size, len(bodies))
        awake.update(lane.changed())
        what = shuffler.choice(["go on", "epoch", "epoch", "epoch", "crash"])
        if what == "epoch":
            main = lane.main_snapshot()
            parts.update({part: lane.part_snapshot(part) for part in awake})
            awake.clear()
            durable = at
        elif what == "crash":
            lane, at = opened(main=main, parts=dict(parts)), durable
            awake.clear()
            del out[durable:]
    assert out == expected
    assert counts(lane) == counts(unbroken)


def test_another_steps_snapshot_is_refused() -> None:
    """A store whose main part is no lane's is not taken for one."""
    with pytest.raises(SnapshotError, match="lane"):
        opened(main=seal("group", 1, {}))
