"""The lane: every record passes here in sequence, so what depends on the order of arrival is decided here."""

from __future__ import annotations

import zlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from dataflows.events import Event, Reject
from dataflows.items import Item, Known, Row, by_order, encode, lane_part, reject_row
from dataflows.snapshots import seal, unseal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dataflows.fleet.plan import Fleet

__all__ = ["LANE_PARTS", "Lane", "MixedArrivalsError"]

#: The registry is kept in this many buckets of assets.
LANE_PARTS = 16
_VERSION = 1


class MixedArrivalsError(RuntimeError):
    """One recording holds records with and without ``arrived``."""


class Lane:
    """Gives each record its arrival and knowledge time, resolves its asset, or rejects it.

    State: the last arrival, the largest event time, what was counted (main); the registry of assets in
    buckets (parts).
    """

    def __init__(self, fleet: Fleet, main: bytes | None, parts: dict[int, bytes]) -> None:
        self._policy = fleet.assets
        self._classes: list[dict[str, str]] = [{} for _ in range(LANE_PARTS)]
        self._changed: set[int] = set()
        self._arrival: int | None = None
        self._with_arrivals: bool | None = None
        self._largest: int | None = None
        self._sequence = 0
        self._counts: Counter[str] = Counter()
        if main is not None:
            self._restore(unseal("lane", _VERSION, main))
        for part, sealed in parts.items():
            self._classes[part] = unseal("registry", _VERSION, sealed)
        self._assets = sum(map(len, self._classes))

    def _restore(self, state: dict[str, Any]) -> None:
        self._arrival = state["arrival"]
        self._with_arrivals = state["with_arrivals"]
        self._largest = state["largest"]
        self._sequence = state["sequence"]
        self._counts.update(state["counts"])

    def process(self, items: list[Item]) -> list[Item]:
        """Records in, each as a `Known` event or as a row of the rejects; in sequence."""
        items.sort(key=by_order)
        return [self._one(item) for item in items]

    def _one(self, item: Item) -> Item:
        self._sequence = item.sequence
        body = item.body
        if isinstance(body, Reject):
            return self._reject(item, body)
        assert isinstance(body, Event)
        self._time(item, body)
        asset_class = self._resolve(body.asset)
        if isinstance(asset_class, Reject):
            return self._reject(item, asset_class)
        self._counts[type(body).__name__.lower()] += 1
        return Item(
            item.sequence, lane_part(0), self._arrival, item.known, item.position, Known(body, asset_class)
        )

    def _time(self, item: Item, event: Event) -> None:
        """Arrival never runs back; without arrivals, knowledge follows the largest event time."""
        with_arrivals = event.arrived is not None
        if self._with_arrivals is None:
            self._with_arrivals = with_arrivals
        elif self._with_arrivals != with_arrivals:
            source, line, _ = item.position
            has = "has" if with_arrivals else "lacks"
            msg = (
                f"{source}, line {line} {has} `arrived`, unlike the records before it; "
                "give it to all records of a recording or to none"
            )
            raise MixedArrivalsError(msg)
        if self._largest is None or event.time > self._largest:
            self._largest = event.time
        if event.arrived is not None and (self._arrival is None or event.arrived > self._arrival):
            self._arrival = event.arrived
        item.known = self._known()

    def _known(self) -> int:
        if self._arrival is not None:
            return self._arrival
        return self._largest if self._largest is not None else 0

    def _resolve(self, asset: str) -> str | Reject:
        bucket = zlib.crc32(asset.encode()) % LANE_PARTS
        found = self._classes[bucket].get(asset)
        if found is not None:
            return found
        if self._policy.unknown == "reject" or self._policy.adopt_as is None:
            return Reject("unknown_asset", "no registry row names it", asset)
        if self._assets >= self._policy.max_assets:
            return Reject("unknown_asset", f"max_assets = {self._policy.max_assets:,} is reached", asset)
        self._classes[bucket][asset] = self._policy.adopt_as
        self._changed.add(bucket)
        self._assets += 1
        return self._policy.adopt_as

    def _reject(self, item: Item, reject: Reject) -> Item:
        self._counts[f"rejected: {reject.reason}"] += 1
        item.arrival = self._arrival
        item.known = self._known()
        return reject_row(item, reject)

    def changed(self) -> Iterable[int]:
        """Buckets with assets that are new."""
        changed = sorted(self._changed)
        self._changed.clear()
        return changed

    def main_snapshot(self) -> bytes:
        """Everything but the registry."""
        return seal(
            "lane",
            _VERSION,
            {
                "arrival": self._arrival,
                "with_arrivals": self._with_arrivals,
                "largest": self._largest,
                "sequence": self._sequence,
                "counts": dict(self._counts),
            },
        )

    def part_snapshot(self, part: int) -> bytes:
        """One bucket of the registry."""
        return seal("registry", _VERSION, self._classes[part])

    def finish(self) -> list[Item]:
        """What came in, for the summary."""
        counts = {
            "records": self._sequence,
            "assets": self._assets,
            "by_kind": {k: v for k, v in sorted(self._counts.items()) if not k.startswith("rejected: ")},
            "rejected": {
                k.removeprefix("rejected: "): v
                for k, v in sorted(self._counts.items())
                if k.startswith("rejected: ")
            },
        }
        body = Row("summary", encode({"input": msgspec.to_builtins(counts)}))
        return [Item(self._sequence, lane_part(0), self._arrival, self._known(), ("", 0, 0), body)]
