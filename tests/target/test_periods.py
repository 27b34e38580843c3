"""Periods of the metrics: from one multiple of metrics_every to the next, also where it is changed."""

from __future__ import annotations

from dataclasses import replace

import orjson
from hypothesis import given
from hypothesis import strategies as st

from dataflows.instants import HOUR, parse_instant
from dataflows.items import Item, Row
from dataflows.target import TargetStage
from dataflows.target.examples import Standing
from dataflows.target.figures import TargetFigures
from tests.observations import observation
from tests.target.fleets import PartStore, fleet, model, target
from tests.target.worlds import raised

FLEET = fleet(target([model("prior")]))
(KEY,) = FLEET.targets


class Running:
    """A group whose store outlives its configuration."""

    def __init__(self, hours: int) -> None:
        self.store = PartStore()
        self.number = 0
        self.open(hours)

    def open(self, hours: int) -> None:
        main, parts = self.store.crash()
        changed = replace(FLEET, metrics_every=hours * HOUR)
        self.group = TargetStage(changed, KEY, strict=True, on_error=raised, main=main, parts=parts)

    def at(self, hour: int) -> list[tuple[int, int]]:
        """Hours from and to of the rows that an observation at an hour of knowledge time closes."""
        self.number += 1
        body = observation("a", KEY, None, None)
        items = self.group.process([Item(self.number, 0, None, hour * HOUR, ("", 0, 0), body)])
        # A period in which nothing is counted has no row.
        figures = self.group._monitors.of(TargetFigures)
        assert figures is not None
        figures.count(hour * HOUR, {"prior": 0.5}, Standing(-1, None, "some reason"))
        figures.changed = True
        self.store.after_batch(self.group)
        self.store.end_epoch(self.group)
        rows = [orjson.loads(item.body.data) for item in items if isinstance(item.body, Row)]
        return [
            (parse_instant(row["from"]) // HOUR, parse_instant(row["to"]) // HOUR)
            for row in rows
            if "from" in row
        ]


def test_a_change_begins_at_its_next_boundary() -> None:
    """From 6 h to 4 h to 24 h: the period that is open goes on to the first multiple of the new one."""
    run = Running(6)
    assert [run.at(hour) for hour in (1, 6, 7)] == [[], [], [(0, 6)]]
    run.open(4)
    assert [run.at(hour) for hour in (8, 9, 13)] == [[], [(6, 8)], [(8, 12)]]
    run.open(24)
    assert [run.at(hour) for hour in (24, 25, 60)] == [[], [(12, 24)], [(24, 48)]]


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from([None, None, 1, 4, 6, 24])), max_size=30))
def test_every_instant_counts_in_one_period(plan: list[tuple[int, int | None]]) -> None:
    """Rows follow each other without overlap, end at a multiple, and close what lies before them."""
    run, every, now, last = Running(6), 6, 100, None
    opened = None
    for gap, change in plan:
        if change is not None:
            run.open(change)
            every = change
        before, now = now, now + gap
        rows = run.at(now)
        if opened is None:
            assert rows == []
            opened = -(-now // every) * every - every
            continue
        end = -(-before // every) * every
        assert rows == ([] if now <= end else [(opened, end)])
        if rows:
            assert last is None or last <= opened < end
            last, opened = end, -(-now // every) * every - every
