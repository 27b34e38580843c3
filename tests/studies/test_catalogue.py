"""The study of many models: its fleets are those that it names, and it measures both kinds of events."""

from __future__ import annotations

import orjson

from studies.catalogue import CLASSES, FAMILIES, MODES, fleet_of, lane_of, measure, recording


def test_the_fleet_has_a_target_for_each_class_and_mode() -> None:
    """With every family, and one example a day of each asset."""
    fleet = fleet_of({"all": {"template": [*FAMILIES]}}, CLASSES, MODES, "all-linear")
    assert len(fleet.targets) == 15
    assert sum(len(target.models) for target in fleet.targets.values()) == 150
    lines = [*recording(1, 2)]
    assert sum(example for _, example in lines) == 2 * len(CLASSES)


def test_recordings_with_more_events_have_equal_examples() -> None:
    """What they cost more, events cost that are no examples."""
    few, many = ([*recording(1, 2, minutes)] for minutes in (15, 3))
    assert len(many) - len(few) > 4 * 2 * 96 * len(CLASSES) * 0.9
    assert sum(example for _, example in few) == sum(example for _, example in many)


def test_an_event_and_an_example_are_measured() -> None:
    """Both take time; an example of one target and model takes more."""
    cost = measure(fleet_of({"m": {"template": "prior"}}, CLASSES, MODES[:1], "m"), 1, 3)
    assert 0 < cost.plain < cost.example
    assert cost.megabytes > 0


def test_assets_of_every_class_are_in_every_lane() -> None:
    """So that lanes have equal work."""
    lanes = {(orjson.loads(line)["asset"], lane_of(line, 2)) for line, _ in recording(2, 1)}
    assert {(asset.partition("-")[0], lane) for asset, lane in lanes} == {
        (kind, lane) for kind in CLASSES for lane in (0, 1)
    }
    assert len(lanes) == 2 * len(CLASSES)
