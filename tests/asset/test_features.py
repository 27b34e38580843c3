"""Kinds of features: their names, and their places in the feature vector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataflows.asset.plan import BLOCKS, ClassPlan
from dataflows.fleet import load
from dataflows.testing import pump_fleet

ROOT = Path(__file__).resolve().parents[2]
EVERY_KIND = {
    "pump": {
        "sensors": ["pressure", "flow"],
        "expressions": {"over": "pressure - weather.air"},
        "faults": ["E1", "E2"],
        "maintenance": ["seal", "belt"],
        "attributes": ["age", "power"],
        "categories": {"model": ["a", "b"]},
        "weather": {"values": ["air", "wind"], "max_age": "2h"},
        "windows": [
            {"length": "6h", "hop": "1h", "fault_statistics": ["age"]},
            {"length": "1h", "hop": "1h", "sensors": ["over"], "statistics": ["mean"], "faults": ["E2"]},
        ],
    }
}


@pytest.mark.parametrize("path", [None, *sorted(ROOT.glob("examples/*/fleet.toml"))], ids=str)
def test_the_features_of_a_class_are_those_of_its_kinds(path: Path | None) -> None:
    """Each kind finds its own names at its places in the vector, and no place is left over or shared."""
    fleet = pump_fleet(classes=EVERY_KIND) if path is None else load(path)
    for asset_class in fleet.classes.values():
        plan = ClassPlan(asset_class, fleet.targets)
        names, places = np.array(asset_class.features), np.arange(len(asset_class.features))
        taken = plan.of_readings.tolist()
        for _, placed in plan.written:
            assert names[placed.places].tolist() == list(placed.new(asset_class, None).names)
            taken += places[placed.places].tolist()
        assert sorted(taken) == places.tolist()
        if path is None:
            assert [placed.kind for _, placed in plan.written] == list(BLOCKS)
