"""Assets that share a call: what each makes is what it makes alone."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from dataflows.asset.asset import Asset, Made
from dataflows.asset.panes import Panes
from dataflows.asset.windows import Windows
from dataflows.events import Event, Failure, Telemetry
from dataflows.items import Item, Row, by_order, observations_of
from dataflows.pipeline import InternalErrors, IsolatedAsset, process_together
from tests.asset.worlds import Shape, item_of, plans_of

if TYPE_CHECKING:
    from collections.abc import Iterable

SHAPE = Shape("pump", ((4, 1), (60, 10)), 3, ("failure",), sensors=("speed", "heat"))
PLANS = plans_of(SHAPE, SHAPE._replace(name="fan", lateness=0, windows=((7, 7),)))
NAMES = {"a": "pump", "b": "pump", "c": "fan"}
#: Windows grow through all sizes of their rings.
STEPS = st.integers(-4, 30)
VALUES = st.sampled_from([None, 0.5, 1.0, 3.25])


@st.composite
def records(draw: st.DrawFn) -> list[tuple[str, Event]]:
    """Telemetry of several assets, mostly newer than before, and some failures."""
    now, drawn = dict.fromkeys(NAMES, 100), []
    for _ in range(draw(st.integers(1, 40))):
        name = draw(st.sampled_from([*NAMES]))
        time = now[name] + draw(STEPS)
        now[name] = max(now[name], time)
        identity = draw(st.sampled_from([None, None, None, f"r{time}"]))
        event: Event = Telemetry(name, time, {"speed": draw(VALUES), "heat": draw(VALUES)}, identity, None)
        if draw(st.integers(0, 9)) == 0:
            event = Failure(name, time, "seal", None, None)
        drawn.append((name, event))
    return drawn


def assets() -> dict[str, IsolatedAsset]:
    return {
        name: IsolatedAsset(name, PLANS, of_class, None, InternalErrors(9))
        for name, of_class in NAMES.items()
    }


def apart(items: Iterable[Item]) -> list[Item]:
    """Each row of a block as the observation that it stands for."""
    return sorted((each for item in items for each in observations_of(item)), key=by_order)


@given(records(), st.sets(st.integers(1, 39)))
def test_assets_together_make_what_each_makes_alone(drawn: list[tuple[str, Event]], cuts: set[int]) -> None:
    """For any cut into activations the items and the states are equal, to the last bit."""
    items = [(name, item_of(number, event, NAMES[name])) for number, (name, event) in enumerate(drawn, 1)]
    alone, together = assets(), assets()
    expected = [made for name, item in items for made in alone[name].process([item])]
    found: list[Item] = []
    places = sorted({0, len(items), *(cut for cut in cuts if cut < len(items))})
    for first, stop in pairwise(places):
        of: dict[str, list[Item]] = {}
        for name, item in items[first:stop]:
            of.setdefault(name, []).append(item)
        made = Made()
        process_together([(together[name], taken) for name, taken in of.items()], made)
        found += made.items()
    assert apart(found) == apart(expected)
    assert {name: each.to_bytes() for name, each in together.items()} == {
        name: each.to_bytes() for name, each in alone.items()
    }


@pytest.mark.parametrize("step", [(Windows, "begin_run"), (Panes, "grow"), (Asset, "_process_newest")])
def test_an_asset_that_throws_leaves_the_others_alone(
    step: tuple[type, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only it is reset, and only its record is rejected."""
    owner, name = step
    original, thrown = getattr(owner, name), []

    def throws(*arguments: object) -> object:
        if not thrown:
            thrown.append(name)
            msg = "out of luck"
            raise ArithmeticError(msg)
        return original(*arguments)

    monkeypatch.setattr(owner, name, throws)
    here, made = assets(), Made()
    readings = {"speed": 1.0, "heat": 2.0}
    of = {
        each: [
            item_of(number, Telemetry(each, 100 + number, readings, None, None), NAMES[each])
            for number in (first, first + 9)
        ]
        for first, each in enumerate(NAMES, 1)
    }
    with capture_logs():
        process_together([(here[each], taken) for each, taken in of.items()], made)
    assert thrown
    items = apart(made.items())
    rows = [item for item in items if isinstance(item.body, Row)]
    assert sorted(row.body.output for row in rows if isinstance(row.body, Row)) == ["changes", "rejects"]
    scored = [item.sequence for item in items if getattr(item.body, "score", None) is not None]
    assert len(scored) == 2 * len(NAMES) - 1
    assert rows[0].sequence not in scored
