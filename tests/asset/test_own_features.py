"""Features of kinds of your own: one file and an entry of the fleet.toml."""

from __future__ import annotations

import importlib
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from typing_extensions import override

from dataflows.asset import Asset
from dataflows.asset.plan import ClassPlan
from dataflows.events import Maintenance, Registration, Telemetry
from dataflows.features import FeatureBlock
from dataflows.fleet import FleetError
from dataflows.items import Item, Observation, ResolvedEvent
from dataflows.state.layouts import StateHistory, going_on
from dataflows.testing import pump_fleet
from tests.observations import processed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dataflows.events import Event
    from dataflows.features import AssetTimes
    from dataflows.fleet.fleet import AssetClass, Fleet

ROOT = Path(__file__).resolve().parents[2]
HERE = "tests.asset.test_own_features"


class Messages(FeatureBlock):
    """Number of messages, and of those since the last maintenance; a kind of feature in one file."""

    uses = (Telemetry, Maintenance)
    names = ("all", "since")

    def __init__(
        self,
        asset_class: AssetClass,  # noqa: ARG002 - what every kind gets
        state: Mapping[str, Any] | None = None,
        *,
        start: float = 0.0,
    ) -> None:
        if start < 0:
            msg = "start: expected 0 or more"
            raise ValueError(msg)
        self.counts = [start, start] if state is None else list(state["counts"])

    @property
    @override
    def is_empty(self) -> bool:
        return not any(self.counts)

    @override
    def add(self, accepted: ResolvedEvent, times: AssetTimes) -> bool:
        if isinstance(accepted.event, Maintenance):
            self.counts[1] = 0
        else:
            self.counts = [count + 1 for count in self.counts]
        return False

    @override
    def write(self, time: int, out: np.ndarray) -> None:
        out[:] = self.counts

    @override
    def state(self) -> dict[str, Any]:
        return {"counts": self.counts}


def fleet_of(entries: Mapping[str, Any], *classes: str) -> Fleet:
    table = {"sensors": ["flow"], "values": False, "features": entries}
    names = classes or ("pump",)
    targets = [{"class": name, "mode": "leak", "horizon": "12h", "champion": "prior"} for name in names]
    return pump_fleet(classes=dict.fromkeys(names, table), targets=targets)


def entry(**parameters: object) -> dict[str, object]:
    return {"block": f"{HERE}.Messages", **parameters}


EVENTS: tuple[Event, ...] = (
    Telemetry("a", 1, {"flow": 1.0}, None, None),
    Telemetry("a", 2, {"flow": 1.0}, None, None),
    Maintenance("a", 2, "seal", None, None),
    Telemetry("a", 2, {"flow": 1.0}, None, None),  # a copy
    Telemetry("a", 3, {"flow": 1.0}, None, None),
)


def served(asset: Asset, events: Sequence[Event], asset_class: str = "pump", start: int = 1) -> list[list]:
    """Features of each score that some events ask for."""
    found = []
    for sequence, event in enumerate(events, start):
        item = Item(sequence, 0, None, sequence, ("", 0, 0), ResolvedEvent(event, asset_class))
        bodies = [made.body for made in processed(asset, item)]
        scores = [body.score for body in bodies if isinstance(body, Observation) and body.score is not None]
        found += [np.frombuffer(score.features).tolist() for score in scores]
    return found


def plans_of(fleet: Fleet, past: StateHistory | None = None) -> dict[str, ClassPlan]:
    if past is None:
        return {name: ClassPlan(found, fleet.targets) for name, found in fleet.classes.items()}
    return {
        name: ClassPlan(
            found, fleet.targets, past.number(name), {n: past.layouts[n] for n in past.numbers(name)[:-1]}
        )
        for name, found in fleet.classes.items()
    }


def test_the_page_on_features_shows_a_test_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kind of feature and the test of docs/features.md, as they stand there: one file, and no other."""
    page = (ROOT / "docs/features.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", page, re.DOTALL))
    assert set(blocks) == {"my_features", "test_my_features"}
    for name, text in blocks.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("test_my_features").test_it_counts_hours_since_the_last_maintenance()


def test_a_block_goes_on_where_its_asset_is_stored() -> None:
    """Two entries of one class keep their own counts, and a resume before any event changes none."""
    plans = plans_of(fleet_of({"few": entry(), "many": entry(start=10)}))
    expected = [[1, 1, 11, 11], [2, 2, 12, 12], [3, 1, 13, 1]]
    assert plans["pump"].asset_class.features == ("few:all", "few:since", "many:all", "many:since")
    assert served(Asset("a", plans, "pump"), EVENTS) == expected
    for stop in range(len(EVENTS) + 1):
        asset = Asset("a", plans, "pump")
        first = served(asset, EVENTS[:stop])
        again = Asset("a", plans, "pump", asset.to_bytes())
        assert first + served(again, EVENTS[stop:], start=stop + 1) == expected


def test_an_equal_entry_goes_on_under_another_layout_or_class() -> None:
    """A new entry starts empty beside it; a changed one starts anew; one whose file is gone is dropped."""
    before = fleet_of({"few": entry(), "gone": entry(), "many": entry(start=10)})
    past, _ = going_on(StateHistory(), before)
    asset = Asset("a", plans_of(before, past), "pump")
    served(asset, EVENTS)
    after = fleet_of({"few": entry(), "many": entry(start=20), "new": entry()}, "pump", "fan")
    past, changes = going_on(past, after)
    assert [(change.name, change.why) for change in changes] == [
        ("pump", "features that are gone: gone:all, gone:since; another declaration of the features many")
    ]
    past = msgspec.json.decode(msgspec.json.encode(past), type=StateHistory)
    lost = tuple(
        replace(own, block="no.such.Block") if own.name == "gone" else own for own in past.layouts[0].own
    )
    past = msgspec.structs.replace(past, layouts=(replace(past.layouts[0], own=lost), *past.layouts[1:]))
    plans = plans_of(after, past)
    resumed = Asset("a", plans, "pump", asset.to_bytes())
    later = Telemetry("a", 4, {"flow": 1.0}, None, None)
    assert served(resumed, [later], start=10) == [[4, 2, 21, 21, 1, 1]]
    move = Registration("a", "fan", None, {}, False, None)
    last = Telemetry("a", 5, {"flow": 1.0}, None, None)
    assert served(resumed, [move, last], "fan", 11) == [[5, 3, 22, 22, 2, 2]]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({}, "features.odd.block: expected the dotted path of a class"),
        ({"block": "no.such.Block"}, "features.odd.block: expected an installed package, not no"),
        (
            {"block": "pathlib.Path"},
            "features.odd.block: expected a subclass of dataflows.features.FeatureBlock",
        ),
        (entry(begin=1), "features.odd.begin: expected a parameter of Messages: start, got an unknown key"),
        (entry(start=-1), "features.odd: expected parameters that Messages accepts, got ValueError: start"),
    ],
)
def test_an_entry_that_cannot_be_built_is_refused(table: dict[str, object], problem: str) -> None:
    """The problem names the place, what was expected and what came."""
    with pytest.raises(FleetError) as refused:
        fleet_of({"odd": table})
    assert f"classes.pump.{problem}" in str(refused.value)


def test_two_kinds_may_not_make_one_feature() -> None:
    """An entry named like a component makes no feature of that component."""
    table = {"sensors": ["flow"], "maintenance": ["few"], "features": {"few": entry()}}
    with pytest.raises(FleetError, match="few:since again"):
        pump_fleet(classes={"pump": table})
