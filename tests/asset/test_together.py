"""Assets that work in one call: telemetry enters their windows together, and means what it means alone."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from dataflows.asset import Asset
from dataflows.asset.asset import ClassPlan, Made
from dataflows.asset.panes import NewRows, Panes
from dataflows.asset.windows import Windows
from dataflows.events import Failure, Fault, Telemetry
from dataflows.items import Row, Scores, by_order, observations_of
from dataflows.pipeline import InternalErrors, IsolatedAsset
from tests.asset.oracle import TargetShape, WindowShape
from tests.asset.streams import HOUR, MINUTE, SENSORS, ClassLayout, target_of
from tests.asset.worlds import item_of

if TYPE_CHECKING:
    from dataflows.events import Event
    from dataflows.items import Item

STATISTICS = ("mean", "std", "min", "slope", "delta", "age", "missing")
TARGET = target_of(TargetShape("seal", "seal", "seal", 2 * HOUR, 0, HOUR))
LAYOUT = ClassLayout(
    SENSORS,
    tuple(
        WindowShape(length, hop, STATISTICS, SENSORS)
        for length, hop in ((10 * MINUTE, MINUTE), (HOUR, 10 * MINUTE), (6 * HOUR, 10 * MINUTE))
    ),
    lateness=5 * MINUTE,
    values=True,
)
PLANS = {"pump": ClassPlan(LAYOUT.asset_class(HOUR, ("seal",)), {"seal": TARGET})}
ASSETS = ("a", "b", "c")
VALUES = st.none() | st.floats(-100, 100)


@st.composite
def records(draw: st.DrawFn) -> list[Item]:
    """Records of a few assets: nearly all telemetry newer than before, some of it late or with an id."""
    now = dict.fromkeys(ASSETS, 0)
    events: list[Event] = []
    for _ in range(draw(st.integers(1, 60))):
        asset = draw(st.sampled_from(ASSETS))
        now[asset] += draw(st.sampled_from((1, MINUTE, 7 * MINUTE, 3 * HOUR)))
        readings = {name: draw(VALUES) for name in SENSORS}
        kind = draw(st.sampled_from(["plain"] * 12 + ["id", "late", "few", "fault", "failure"]))
        time = now[asset] - draw(st.integers(1, 8)) * MINUTE if kind == "late" else now[asset]
        if kind == "fault":
            events.append(Fault(asset, time, "E1", None, None))
        elif kind == "failure":
            events.append(Failure(asset, time, "seal", None, None))
        else:
            if kind == "few":
                del readings["heat"]
            events.append(Telemetry(asset, time, readings, str(time) if kind == "id" else None, None))
    return [item_of(number, event) for number, event in enumerate(events, 1)]


def by_asset(items: list[Item]) -> dict[str, list[Item]]:
    return {name: [item for item in items if item.body.event.asset == name] for name in ASSETS}


def flat(made: list[Item]) -> list[Item]:
    for item in made:
        if isinstance(item.body, Scores):
            assert item.body.table.rows == sorted(item.body.table.rows, key=itemgetter(0, 1))
    return sorted((each for item in made for each in observations_of(item)), key=by_order)


@settings(max_examples=40, deadline=None)
@given(records(), st.lists(st.integers(1, 25), min_size=1, max_size=20))
def test_assets_that_work_together_make_what_each_makes_record_by_record(
    items: list[Item], sizes: list[int]
) -> None:
    """Features are equal to the last bit, however the records are cut; snapshots are as of an asset alone."""
    together, alone, by_record = ({name: Asset(name, PLANS, "pump") for name in ASSETS} for _ in range(3))
    found: list[Item] = []
    expected: list[Item] = []
    at = 0
    for size in [*sizes, len(items)]:
        made = Made()
        for name, own in by_asset(items[at : at + size]).items():
            made.begin_asset(name)
            together[name].process_into(own, made)
            alone[name].process(own)
        found += flat(made.items())
        for item in items[at : at + size]:
            expected += flat(by_record[item.body.event.asset].process([item]))
        assert {name: asset.to_bytes() for name, asset in together.items()} == {
            name: asset.to_bytes() for name, asset in alone.items()
        }
        at += size
    assert found == sorted(expected, key=by_order)


def test_rows_that_enter_together_fill_the_panes_as_one_by_one() -> None:
    """Rings that are too small grow in between, each with the rows of its asset that are left."""
    plan = PLANS["pump"].windows
    rows = [(number * 4 * MINUTE, [float(number), None, number / 3]) for number in range(1, 90)]
    alone, together = [Panes(plan) for _ in range(3)], [Panes(plan) for _ in range(3)]
    new = NewRows(plan)
    expected = []
    for asset, panes in enumerate(together):
        for time, row in rows[asset:]:
            new.add(panes, plan.packed(time, row), 1)
    entered = new.enter()
    for asset, panes in enumerate(alone):
        for time, row in rows[asset:]:
            one = NewRows(plan)
            one.add(panes, plan.packed(time, row), 1)
            expected.append(one.enter().tobytes())
    assert [row.tobytes() for row in entered] == expected
    last = rows[-1][0]
    assert [panes.state(last) for panes in together] == [panes.state(last) for panes in alone]


@pytest.mark.parametrize("asset", ASSETS)
def test_an_asset_that_comes_twice_in_a_call_finds_its_readings_in_the_windows(asset: str) -> None:
    """What waits to enter the panes enters them before the asset is asked again."""
    events = [Telemetry(asset, time * MINUTE, dict.fromkeys(SENSORS, 1.0), None, None) for time in (1, 2, 3)]
    found, expected, made = Asset(asset, PLANS, "pump"), Asset(asset, PLANS, "pump"), Made()
    for number, event in enumerate(events, 1):
        made.begin_asset(asset)
        found.process_into([item_of(number, event)], made)
    alone = [
        each for number, event in enumerate(events, 1) for each in expected.process([item_of(number, event)])
    ]
    assert flat(made.items()) == flat(alone)
    assert found.to_bytes() == expected.to_bytes()


def test_an_asset_that_throws_on_plain_telemetry_leaves_no_empty_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only that record is rejected, where it would have been the only row of the call."""
    asset = IsolatedAsset("a", PLANS, "pump", None, InternalErrors(9))
    first, plain = (
        item_of(number, Telemetry("a", number * MINUTE, dict.fromkeys(SENSORS, 1.0), None, None))
        for number in (1, 2)
    )
    asset.process([first])

    def throws(*_: object) -> int:
        msg = "out of luck"
        raise ArithmeticError(msg)

    monkeypatch.setattr(Windows, "add_placed", throws)
    with capture_logs():
        made = asset.process([plain])
    rows = [item.body.output for item in made if isinstance(item.body, Row)]
    assert rows == ["rejects", "changes"]
