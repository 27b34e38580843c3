"""An asset that throws in the middle of a record goes on as if that record had never come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from dataflows.asset import Asset
from dataflows.asset.attributes import AttributeFeatures
from dataflows.asset.fault_windows import FaultFeatures
from dataflows.asset.labels import Labels
from dataflows.asset.maintenance import MaintenanceFeatures
from dataflows.asset.panes import Panes
from dataflows.asset.windows import RowBuffer, Windows
from dataflows.events import Event, Failure, Maintenance, Registration, Retraction, Telemetry
from dataflows.items import Row
from dataflows.pipeline import InternalErrors, IsolatedAsset
from tests.asset.worlds import Shape, fault, item_of, plans_of, reading
from tests.observations import processed

if TYPE_CHECKING:
    from dataflows.items import Item

SHAPE = Shape("pump", ((4, 1), (60, 10)), 9, ("failure",))
PLANS = plans_of(SHAPE, SHAPE._replace(name="fan", lateness=3))
#: What an asset changes on its way through a record.
STEPS = [
    (Windows, "_advance"),
    (Windows, "_remember_telemetry"),
    (Windows, "add_fault"),
    (Windows, "reset"),
    (Windows, "carry"),
    (Windows, "place_run"),
    (Windows, "add_placed"),
    (RowBuffer, "append"),
    (RowBuffer, "add_placed"),
    (Panes, "insert"),
    (Panes, "extend"),
    (FaultFeatures, "add"),
    (FaultFeatures, "advance"),
    (Labels, "advance"),
    (Labels, "add"),
    (Labels, "record"),
    (Labels, "retract"),
    (Labels, "release"),
    (Labels, "retarget"),
    (AttributeFeatures, "add"),
    (MaintenanceFeatures, "add"),
    (MaintenanceFeatures, "withdraw"),
    (Asset, "_emit"),
]
BEFORE: list[Event] = [
    Registration("a", "pump", None, {"age": 3}, False, None),
    reading(10),
    Failure("a", 8, "seal", "f1", None),
    Telemetry("a", 20, {"speed": 2.0}, "r1", None),
    fault(18),
    reading(20, 3.0),
]
RECORDS: dict[str, Event] = {
    "newest": Telemetry("a", 24, {"speed": 5.0}, "r2", None),
    "merged": Telemetry("a", 20, {"speed": 5.0}, "r3", None),
    "late": reading(15, 5.0),
    "fault": fault(25),
    "failure": Failure("a", 22, "seal", "f2", None),
    "maintenance": Maintenance("a", 22, "belt", None, None),
    "retraction": Retraction("a", "f1", None),
    "row": Registration("a", "pump", None, {"age": 4, "colour": "red"}, False, None),
    "other class": Registration("a", "fan", None, {"age": 5}, False, None),
}


def guarded(sealed: bytes | None) -> IsolatedAsset:
    return IsolatedAsset("a", PLANS, "pump", sealed, InternalErrors(5))


def throwing(step: tuple[type, str], patched: pytest.MonkeyPatch, *, after: bool) -> list[str]:
    """From here on a step throws, before or after it took effect; the list tells whether it did."""
    owner, name = step
    original, thrown = getattr(owner, name), []

    def throws(*arguments: object, **named: object) -> None:
        if after:
            original(*arguments, **named)
        thrown.append(name)
        msg = "out of luck"
        raise ArithmeticError(msg)

    patched.setattr(owner, name, throws)
    return thrown


def outputs(items: list[Item]) -> list[str]:
    return [item.body.output for item in items if isinstance(item.body, Row)]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step[0].__name__}.{step[1]}")
def test_a_record_on_which_an_asset_throws_leaves_nothing(
    step: tuple[type, str], record: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marks, identities, revisions and attributes are those from before it, and it may be sent again."""
    asset = Asset("a", PLANS, "pump")
    for number, before in enumerate(BEFORE):
        processed(asset, item_of(number, before))
    sealed, event = asset.to_bytes(), RECORDS[record]
    asset_class = event.asset_class if isinstance(event, Registration) else "pump"
    found, item = guarded(sealed), item_of(50, event, asset_class)
    with monkeypatch.context() as patched, capture_logs():
        thrown = throwing(step, patched, after=after)
        out = processed(found, item)
    if not thrown:
        # The record takes another way.
        assert outputs(out).count("changes") == 0
        return
    assert outputs(out) == ["rejects", "changes"]
    expected = Asset("a", PLANS, "pump", sealed).restart(asset_class)
    assert found.to_bytes() == expected.to_bytes()
    again = item_of(51, event, asset_class)
    assert processed(found, again) == processed(expected, again)
    assert found.to_bytes() == expected.to_bytes()
