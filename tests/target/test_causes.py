"""Causes of an alarm: where a shift is, and which explanation comes first."""

from __future__ import annotations

import pytest

from dataflows.target.causes import Place, cause_of, place_of
from dataflows.target.movement import LabelSilence, Moved, Movement


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
    ],
)
def test_a_shift_has_a_place(shifts: dict[str, float], place: tuple[str | None, str | None]) -> None:
    """One asset, or the assets of one site, if the others shift by at most a third as much."""
    found = place_of(shifts, {"a": "north", "b": "north", "c": "south", "d": "south"})
    assert (found.asset, found.site) == place


def test_the_first_explanation_that_holds_is_the_cause() -> None:
    """Moved data comes before labels, an asset, a site, a sensor and the world."""
    moved, place = [Moved("delay", 6.0, 0.1)], Place(asset="a")
    assert cause_of(moved, ("s",), place, silent=True, features=True).name == "data movement"
    assert cause_of([], ("s",), place, silent=True, features=True).name == "labels"
    assert cause_of([], ("s",), place, silent=False, features=True).name == "asset"
    assert cause_of([], ("s",), Place(site="n"), silent=False, features=True).name == "site"
    assert cause_of([], ("s",), Place(), silent=False, features=False).name == "sensor"
    assert cause_of([], ("s", "t"), Place(), silent=False, features=False).name == "world"


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
