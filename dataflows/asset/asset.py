"""One asset: telemetry into features, records into labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataflows.asset.labels import Labels
from dataflows.asset.windows import Placed, WindowPlan, Windows
from dataflows.events import Event, Failure, Maintenance, Reject, Telemetry
from dataflows.items import Item, Known, Matured, Observation, asset_part, reject_row
from dataflows.snapshots import seal, unseal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows.fleet.plan import AssetClass, Target

__all__ = ["Asset", "ClassPlan"]

_VERSION = 1


class ClassPlan:
    """What all assets of a class share.

    Args:
        asset_class: the class.
        targets: all targets of the fleet, by name.
    """

    def __init__(self, asset_class: AssetClass, targets: Mapping[str, Target]) -> None:
        self.windows = WindowPlan(asset_class)
        self.targets = tuple(targets[name] for name in asset_class.targets)
        self.example_every = asset_class.example_every


class Asset:
    """The windows, the examples and the labels of one asset.

    Args:
        name: of the asset.
        plan: of its class.
        sealed: what `to_bytes` returned, None for a new asset.
    """

    __slots__ = ("_cell", "_labels", "_name", "_plan", "_revision", "_windows")

    def __init__(self, name: str, plan: ClassPlan, sealed: bytes | None = None) -> None:
        self._name = name
        self._plan = plan
        self._cell: int | None = None
        self._revision = 0
        state: dict[str, Any] | None = None
        if sealed is not None:
            state = unseal("asset", _VERSION, sealed)
            self._cell = state["cell"]
            self._revision = state["revision"]
        self._windows = Windows(plan.windows, None if state is None else state["windows"])
        self._labels = Labels(plan.targets, None if state is None else state["labels"])

    def to_bytes(self) -> bytes:
        """The whole state, sealed."""
        return seal(
            "asset",
            _VERSION,
            {
                "cell": self._cell,
                "revision": self._revision,
                "windows": self._windows.state(),
                "labels": self._labels.state(),
            },
        )

    def process(self, item: Item) -> list[Item]:
        """What one record means for every target of the asset, or why it cannot be used."""
        body = item.body
        assert isinstance(body, Known)
        event = body.event
        if type(event) is Telemetry:
            return self._telemetry(item, event)
        assert isinstance(event, Failure | Maintenance)
        return self._record(item, event)

    def _telemetry(self, item: Item, event: Telemetry) -> list[Item]:
        placed = self._windows.add(event.time, event.readings, event.id)
        if placed is Placed.DUPLICATE:
            return [_rejected(item, event, "duplicate", "this telemetry was seen before")]
        if placed is Placed.TOO_LATE:
            return [_rejected(item, event, "too_late", "below the watermark of its asset")]
        matured = self._labels.advance(self._windows.watermark)
        if placed is Placed.LATE and not self._windows.covers(event.time):
            return []
        if placed is not Placed.ON_TIME:
            self._revision += 1
            return self._observations(item, matured, scored=True)
        self._revision = 0
        cell = event.time // self._plan.example_every
        example = cell != self._cell
        self._cell = cell
        at_once = self._labels.add(event.time) if example else {}
        return self._observations(item, matured, scored=True, example=example, at_once=at_once)

    def _record(self, item: Item, event: Failure | Maintenance) -> list[Item]:
        labels = self._labels
        if not labels.remembers(event.time):
            return [_rejected(item, event, "unmatched", "no example that it could label is remembered")]
        if isinstance(event, Failure):
            decided = labels.failure(event.time, event.mode, event.id)
        else:
            decided = labels.maintenance(event.time, event.component, event.id)
        if decided is None:
            return [_rejected(item, event, "duplicate", "this record was seen before")]
        return self._observations(item, decided)

    def _observations(
        self,
        item: Item,
        matured: dict[str, list[Matured]],
        *,
        scored: bool = False,
        example: bool = False,
        at_once: dict[str, Matured] | None = None,
    ) -> list[Item]:
        """One observation for each target of the class."""
        windows, labels = self._windows, self._labels
        features = windows.features().tobytes() if scored else None
        time = windows.largest if scored else None
        watermark = windows.watermark
        released = labels.release(windows.largest)
        clock = labels.clock
        assert clock is not None
        items = []
        for index, target in enumerate(self._plan.targets):
            name = target.name
            body = Observation(
                self._name,
                name,
                clock,
                watermark,
                tuple(matured[name]) if name in matured else (),
                tuple(released[name]) if name in released else (),
                time,
                features,
                self._revision,
                example,
                at_once.get(name) if at_once else None,
            )
            part = asset_part(item.part, index)
            items.append(Item(item.sequence, part, item.arrival, item.known, item.position, body))
        return items


def _rejected(item: Item, event: Event, reason: str, detail: str) -> Item:
    return reject_row(item, Reject(reason, detail, event.asset), event)
