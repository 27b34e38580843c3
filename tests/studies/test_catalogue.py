"""The study of many models: its fleets are those that it names, and it measures both kinds of events."""

from __future__ import annotations

from studies.catalogue import CLASSES, FAMILIES, MODES, fleet_of, measure, recording


def test_the_fleet_has_a_target_for_each_class_and_mode() -> None:
    """With every family, and one example a day of each asset."""
    fleet = fleet_of({"all": {"template": [*FAMILIES]}}, CLASSES, MODES, "all-linear")
    assert len(fleet.targets) == 15
    assert sum(len(target.models) for target in fleet.targets.values()) == 150
    lines = [*recording(1, 2)]
    assert sum(example for _, example in lines) == 2 * len(CLASSES)


def test_an_event_and_an_example_are_measured() -> None:
    """Both take time; an example of one target and model takes more."""
    plain, example = measure(fleet_of({"m": {"template": "prior"}}, CLASSES, MODES[:1], "m"), 1, 3)
    assert 0 < plain < example
