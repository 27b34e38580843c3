from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dataflows.fleet import Fleet, load
from dataflows.fleet.shape import FleetChangedError, check_shapes, shapes
from dataflows.lane import Lane
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


def test_the_same_fleet_goes_on(fleet: Fleet) -> None:
    """A lane resumes from what it wrote."""
    assert Lane(fleet, Lane(fleet, None, {}).main_snapshot(), {}).arrival is None


def test_another_fleets_store_is_refused(fleet: Fleet) -> None:
    """The store of a fleet of another name is refused by both names."""
    with pytest.raises(FleetChangedError, match="'pumps', not of 'fans'"):
        Lane(replace(fleet, name="fans"), Lane(fleet, None, {}).main_snapshot(), {})


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ('"pressure", "flow"', '"flow", "pressure"', "class pump"),
        ('"pressure", "flow"', '"pressure", "flow", "heat"', "class pump"),
        ('length = "6h"', 'length = "7h"', "class pump"),
        ("flow * weather.rain", "flow - weather.rain", "class pump"),
        ('max_age = "2h"', 'max_age = "3h"', "class pump"),
        ('["rain"]', '["rain", "wind"]', "class pump"),
    ],
)
def test_a_class_laid_out_otherwise_is_refused(
    fleet: Fleet, tmp_path: Path, before: str, after: str, what: str
) -> None:
    """Reordered or added sensors, other windows, expressions or weather are refused, with what to do."""
    path = tmp_path / "changed.toml"
    path.write_text(FLEET.replace(before, after), encoding="utf-8")
    with pytest.raises(FleetChangedError, match=f"{what}.*--fresh"):
        check_shapes(load(path), shapes(fleet))


def test_weather_may_be_kept_for_longer(fleet: Fleet, tmp_path: Path) -> None:
    """How long it is kept changes no feature, so a live store goes on."""
    path = tmp_path / "longer.toml"
    path.write_text(FLEET.replace('"2h" }', '"2h", memory = "30d" }'), encoding="utf-8")
    check_shapes(load(path), shapes(fleet))


def test_a_new_target_is_no_harm(fleet: Fleet, tmp_path: Path) -> None:
    """Targets and models may be added to a live store."""
    path = tmp_path / "more.toml"
    path.write_text(FLEET.replace('horizon = "24h"', 'horizon = ["24h", "48h"]'), encoding="utf-8")
    check_shapes(load(path), shapes(fleet))
    assert len(load(path).targets) == 2
