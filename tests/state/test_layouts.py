from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dataflows.fleet import Fleet, load
from dataflows.state.layouts import FleetChangedError, StateHistory, check_shapes, going_on, shapes
from tests.tables import PRIOR

if TYPE_CHECKING:
    from pathlib import Path

FLEET = (
    """
name = "pumps"

[input]
files = ["events.jsonl"]

[classes.pump]
sensors = ["pressure", "flow"]
expressions = { wet = "flow * weather.rain" }
weather = { values = ["rain"], max_age = "2h" }

[[classes.pump.windows]]
length = "6h"
hop = "1h"

[[targets]]
class = "pump"
mode = "seal"
horizon = "24h"
champion = "prior"
"""
    + PRIOR
)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """A small fleet."""
    path = tmp_path / "fleet.toml"
    path.write_text(FLEET, encoding="utf-8")
    return load(path)


def changes(fleet: Fleet, before: str, after: str) -> list[tuple[str, str]]:
    """What a store of the fleet holds otherwise than one whose text was changed."""
    path = fleet.path.with_name("changed.toml")
    text = FLEET.replace(before, after).replace("fans", "pumps")
    path.write_text(text, encoding="utf-8")
    past, _ = going_on(StateHistory(), fleet)
    now, found = going_on(past, load(path))
    assert now.migrated == tuple((change.name, change.why) for change in found)
    assert going_on(now, load(path)) == (now, []), "what was accepted once is known"
    return [(change.name, change.why) for change in found]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"pressure", "flow"', '"flow", "pressure"'),
        ('"pressure", "flow"', '"pressure", "flow", "heat"'),
        ('["rain"]', '["rain", "wind"]'),
        ('"2h" }', '"2h", memory = "30d" }'),
        ("expressions = {", 'expressions = { half = "flow / 2",'),
        ('horizon = "24h"', 'horizon = ["24h", "48h"]'),
        ("[[targets]]", '[classes.fan]\nsensors = ["speed"]\n[assets]\nadopt_as = "pump"\n[[targets]]'),
        ("[[classes.pump.windows]]", 'faults = ["E1"]\nattributes = ["age"]\n[[classes.pump.windows]]'),
    ],
)
def test_what_is_added_costs_nothing(fleet: Fleet, before: str, after: str) -> None:
    """Sensors, expressions, weather, faults, attributes, targets and classes may come, and change places."""
    assert changes(fleet, before, after) == []


@pytest.mark.parametrize(
    ("before", "after", "name", "why"),
    [
        ('"pressure", "flow"', '"flow"', "pump", "no longer there: pressure"),
        (
            'length = "6h"',
            'length = "7h"',
            "pump",
            "other windows for pressure, flow, wet (were 6h by 1h, now 7h by 1h)",
        ),
        ('hop = "1h"', 'hop = "2h"', "pump", "other windows for pressure, flow, wet"),
        ("flow * weather.rain", "flow - weather.rain", "pump", "another expression: wet"),
        ('max_age = "2h"', 'max_age = "3h"', "pump", "max_age of the weather is another (2h, now 3h)"),
        ('horizon = "24h"', 'horizon = "48h"', "pump/seal/24h", "the target is gone"),
        ("pump", "fan", "pump", "the class is gone"),
    ],
)
def test_what_is_gone_or_declared_otherwise_is_named(
    fleet: Fleet, before: str, after: str, name: str, why: str
) -> None:
    """With what it was and what it is."""
    told = dict(changes(fleet, before, after))
    assert told[name].startswith(why)


def test_a_layout_is_known_by_its_number(fleet: Fleet) -> None:
    """One that comes back is another one, since what lay under it meanwhile was carried over."""
    path = fleet.path.with_name("changed.toml")
    path.write_text(FLEET.replace('"6h"', '"7h"'), encoding="utf-8")
    past = going_on(StateHistory(), fleet)[0]
    for each in (load(path), fleet):
        past = going_on(past, each)[0]
    assert past.numbers("pump") == (0, 1, 2)
    assert past.layouts[0] == past.layouts[2] != past.layouts[1]


def test_a_target_that_comes_back_begins_anew(fleet: Fleet) -> None:
    """Its examples are of another time by then."""
    path = fleet.path.with_name("changed.toml")
    path.write_text(FLEET.replace('"24h"', '"48h"'), encoding="utf-8")
    past = going_on(StateHistory(), fleet)[0]
    gone = going_on(past, load(path))[0]
    assert (gone.targets, gone.gone) == ({"pump/seal/2d": 0}, {"pump/seal/24h": 1})
    assert going_on(gone, fleet)[0].targets == {"pump/seal/24h": 1}


def test_a_store_of_the_first_format_is_refused_where_anything_changed(fleet: Fleet) -> None:
    """It tells only that something did; the message says how to get further."""
    path = fleet.path.with_name("changed.toml")
    path.write_text(FLEET.replace('"6h"', '"7h"'), encoding="utf-8")
    check_shapes(fleet, shapes(fleet))
    with pytest.raises(FleetChangedError, match=r"class pump.*run once.*--fresh"):
        check_shapes(load(path), shapes(fleet))
    with pytest.raises(FleetChangedError, match="'pumps', not of 'fans'"):
        check_shapes(replace(fleet, name="fans"), shapes(fleet))
