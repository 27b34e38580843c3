"""Causes of an alarm: where a shift is, and which explanation comes first."""

from __future__ import annotations

import numpy as np
import pytest

from dataflows.target.causes import CHANCE, Place, cause_of, place_of
from dataflows.target.movement import LabelSilence, Moved, Movement

SITES = {"a": "north", "b": "north", "c": "south", "d": "south"}
#: Twelve assets that differ by chance, four at each site.
MANY = [f"pump-{number}" for number in range(12)]
AT = ["east", "north", "south"] * 4
SPREAD = np.array([0.1, -0.4, 0.3, 0.6, -0.2, 0.0, -0.7, 0.5, 0.2, -0.3, -0.5, 0.4])


@pytest.mark.parametrize(
    ("shifts", "place"),
    [
        ({"a": 1.0, "b": 1.1, "c": 0.9, "d": 1.0}, (None, None)),
        ({"a": 5.0, "b": 0.1, "c": -0.1, "d": 0.0}, ("a", None)),
        ({"a": -5.0, "b": 0.1, "c": -0.1, "d": 0.0}, ("a", None)),
        ({"a": 2.0, "b": 2.1, "c": 0.1, "d": 0.0}, (None, "north")),
        ({"a": 2.0, "b": 2.1, "c": 1.5, "d": 1.4}, (None, None)),
        ({"a": 2.0}, (None, None)),
        ({}, (None, None)),
        ({"a": 0.0, "b": 0.0}, (None, None)),
        ({"a": 5.0, "b": np.nan, "c": 0.1, "d": 0.0}, ("a", None)),
    ],
)
def test_a_shift_of_few_assets_has_a_place(
    shifts: dict[str, float], place: tuple[str | None, str | None]
) -> None:
    """One asset, or the assets of one site, if the others shift by at most a third as much."""
    found = place_of([*shifts], np.array([*shifts.values()]), [SITES[name] for name in shifts])
    assert (found.asset, found.site) == place


def test_an_asset_has_to_differ_by_more_than_assets_do() -> None:
    """Two spreads of the others are chance; ten are not, though the mean of all moved less than a spread."""
    usual = place_of(MANY, SPREAD + 0.9 * (np.arange(12) == 4), AT)
    assert usual.chance > CHANCE
    found = place_of(MANY, SPREAD + 4.5 * (np.arange(12) == 4), AT)
    assert (found.asset, found.site) == ("pump-4", None)
    assert found.chance < CHANCE / 10


def test_a_site_has_to_differ_by_more_than_its_assets_do() -> None:
    """Half a spread is chance; four spreads are a shift of the site, and not of an asset."""
    at = np.array(AT) == "north"
    assert place_of(MANY, SPREAD + 0.25 * at, AT).chance > CHANCE
    found = place_of(MANY, SPREAD + 2.0 * at, AT)
    assert (found.asset, found.site) == (None, "north")
    assert found.chance < CHANCE / 10


def test_chance_rarely_names_a_place() -> None:
    """Of 2,000 fleets that all shift alike, at most twice as many have a place as `CHANCE` allows."""
    rng = np.random.default_rng(1)
    draws = rng.normal(3.0, 1.0, (2_000, 12))
    draws -= rng.choice([0.0, 3.0], (2_000, 1))
    named = [place_of(MANY, each, AT).chance <= CHANCE for each in draws]
    assert sum(named) <= 2 * 2 * CHANCE * len(draws)


def test_the_first_explanation_that_holds_is_the_cause() -> None:
    """Moved data comes before labels, an asset, a site, a sensor and the world."""
    moved, place = [Moved("delay", 6.0, 0.1)], Place(asset="a")
    assert cause_of(moved, ("s",), place, silent=True).name == "data movement"
    assert cause_of([], ("s",), place, silent=True).name == "labels"
    assert cause_of([], ("s",), place, silent=False).name == "asset"
    assert cause_of([], ("s",), Place(site="n"), silent=False).name == "site"
    assert cause_of([], ("s",), Place(), silent=False).name == "sensor"
    assert cause_of([], ("s", "t"), Place(), silent=False).name == "world"


def test_moved_data_becomes_usual_after_fourteen_blocks() -> None:
    """Less delay is no trouble; more is, until it has lasted for two weeks."""
    movement = Movement()
    for _ in range(20):
        assert not movement.add({"delay": 1.0})
    assert not movement.add({"delay": 0.1})
    assert [bool(movement.add({"delay": 5.0})) for _ in range(16)] == [True] * 14 + [False] * 2


def test_movement_and_silence_go_on_from_their_state() -> None:
    """Opened from their state after each block, they say the same."""
    whole, resumed = Movement(), Movement()
    quiet, opened = LabelSilence(), LabelSilence()
    for day in range(80):
        values = {"delay": 0.1 + (day % 3) / 100 + 5 * (40 <= day < 50), "missing": 0.0}
        assert whole.add(values) == resumed.add(values)  # type: ignore[arg-type]
        resumed = Movement(resumed.state())
        assert quiet.add(positive=day < 60) == opened.add(positive=day < 60)
        opened = LabelSilence(opened.state())
    assert quiet.silent
