"""Ticks: time that passed while nothing arrived, as if the records after them had arrived no earlier."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dataflows.events import Event, Telemetry
from dataflows.items import Expiry, Item, ResolvedEvent, Row, Tick, by_order, lane_part
from dataflows.lane import Lane
from tests.lane.silences import Rule, Step, bodies_of, fleet_of, histories, without_periods

if TYPE_CHECKING:
    import random

Seen = tuple[Any, ...]


def seen(items: list[Item]) -> list[Seen]:
    """All that follows from records, but for when each said that it arrived."""
    found: list[Seen] = []
    for item in without_periods(items):
        body: Any = item.body
        if isinstance(body, ResolvedEvent) and not isinstance(body.event, Expiry):
            body = ResolvedEvent(msgspec.structs.replace(body.event, arrived=None), body.asset_class)
        if isinstance(body, Row):
            body = (body.output, body.reason)
        found.append((*by_order(item), item.arrival, item.known, body))
    return found


def inputs(bodies: list[Event], ticks: list[list[int]]) -> list[Item]:
    """Records, each after the ticks of its place; a tick has the sequence of the record before it."""
    items = []
    for sequence, (body, before) in enumerate(zip(bodies, ticks, strict=True)):
        items += [Item(sequence, part, at, at, ("", 0, 0), Tick(at)) for part, at in enumerate(before, 1)]
        items.append(Item(sequence + 1, 0, None, 0, ("pumps", sequence, 0), body))
    return items


@given(histories(), st.data())
def test_a_tick_is_as_if_what_follows_had_arrived_no_earlier(
    drawn: tuple[dict[str, Rule], int, list[Step]], data: st.DataObject
) -> None:
    """Expiries, their places and all clocks are those of records whose arrivals are raised to the ticks'."""
    rules, most, steps = drawn
    bodies, fleet = bodies_of(steps), fleet_of(rules, most)
    offsets = st.lists(st.integers(-5, 60), max_size=3)
    ticks = [[]] + [[(body.arrived or 0) + offset for offset in data.draw(offsets)] for body in bodies[:-1]]
    arrivals = [max([body.arrived or 0, *before]) for body, before in zip(bodies, ticks, strict=True)]
    raised = [
        msgspec.structs.replace(body, arrived=arrival)
        for body, arrival in zip(bodies, accumulate(arrivals, max), strict=True)
    ]
    expected = seen(Lane(fleet, None, {}).process(inputs(raised, [[] for _ in raised])))
    shuffler = data.draw(st.randoms(use_true_random=False))
    assert in_batches(fleet, inputs(bodies, ticks), shuffler) == expected


def in_batches(fleet: Any, items: list[Item], shuffler: random.Random) -> list[Seen]:  # noqa: ANN401
    """What a lane makes of items in batches of any size, restored from its snapshot now and then."""
    lane, parts, found, at = Lane(fleet, None, {}), {}, [], 0
    while at < len(items):
        size = shuffler.randint(1, 4)
        found += seen(lane.process(items[at : at + size]))
        at += size
        if shuffler.random() < 0.6:
            parts.update({part: lane.part_snapshot(part) for part in lane.changed()})
            lane = Lane(fleet, lane.main_snapshot(), dict(parts))
    return found


def test_expiries_of_several_ticks_have_places_of_their_own() -> None:
    """They count on from one tick to the next, and anew after a record."""
    lane = Lane(fleet_of({"pump": Rule(10, None)}), None, {})
    bodies: list[Event] = [Telemetry("a", 0, {"x": 1.0}, None, 0), Telemetry("a", 50, {"x": 1.0}, None, 50)]
    items = inputs(bodies, [[], [11, 21]])
    items.append(Item(2, 1, 61, 61, ("", 0, 0), Tick(61)))
    found = [
        (item.sequence, item.part, item.arrival)
        for item in lane.process(items)
        if isinstance(item.body, ResolvedEvent) and isinstance(item.body.event, Expiry)
    ]
    assert found == [(1, lane_part(n), 10 * n) for n in (1, 2, 3, 4)] + [(2, lane_part(1), 60)]


def test_a_tick_says_nothing_by_itself_and_never_moves_time_back() -> None:
    """Nothing comes of one where nothing is due; a smaller one than the last arrival changes nothing."""
    lane = Lane(fleet_of({"pump": Rule(10, None)}), None, {})
    lane.process(inputs([Telemetry("a", 0, {"x": 1.0}, None, 0)], [[]]))
    assert lane.process([Item(1, 1, 7, 7, ("", 0, 0), Tick(7))]) == []
    assert lane.process([Item(1, 2, 3, 3, ("", 0, 0), Tick(3))]) == []
    assert lane.arrival == 7
