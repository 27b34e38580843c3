"""The lane: every record passes here in sequence, so what depends on the order of arrival is decided here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from dataflows.buckets import BUCKETS, Buckets
from dataflows.events import Event, Fault, Registration, Reject, Telemetry, TimedEvent
from dataflows.fleet.shape import check_shapes, shapes
from dataflows.instants import MICROSECONDS, format_instant
from dataflows.items import (
    Expiry,
    Item,
    Known,
    LanePeriod,
    Row,
    Tick,
    by_order,
    encode,
    lane_part,
    reject_row,
)
from dataflows.lane.clocks import Clocks, Finding
from dataflows.lane.counts import Counts
from dataflows.lane.registry import Registry
from dataflows.lane.silence import Silence
from dataflows.snapshots import seal, unseal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dataflows.fleet.plan import Fleet

__all__ = ["LANE_PARTS", "Lane", "MixedArrivalsError"]

_REGISTRY, _HEARD = 0, BUCKETS
#: The registry, and what was heard of assets (silence and clocks), each in buckets. Frozen: the store knows
#: them by number.
LANE_PARTS = 2 * BUCKETS
_VERSION = 2
_log = structlog.get_logger()


class MixedArrivalsError(RuntimeError):
    """One recording holds records with and without ``arrived``."""


class Lane:
    """Gives each record its arrival and knowledge time, resolves its asset, lets time pass for silent ones.

    Args:
        fleet: the fleet.
        main: what `main_snapshot` returned, None for a new lane.
        parts: what `part_snapshot` returned, by number.
        name: of the lane, in its rows.

    Raises:
        FleetChangedError: the snapshot is of another fleet, or of one that was laid out otherwise.

    Attributes:
        arrival: the last one, which never runs back; None without arrivals.
    """

    def __init__(
        self, fleet: Fleet, main: bytes | None, parts: dict[int, bytes], name: str = "lane-0"
    ) -> None:
        self._name = name
        self._max_future = fleet.assets.max_future
        self._waits = any(found.idle_timeout is not None for found in fleet.classes.values())
        self.arrival: int | None = None
        self._with_arrivals: bool | None = None
        self._largest: int | None = None
        self._sequence = 0
        #: What the lane made since the last record, expiries above all: several ticks may follow it.
        self._made = 0
        self._counts = Counts(fleet.metrics_every)
        #: Of clocks, in the open period.
        self._jumps = 0
        self._shapes = shapes(fleet)
        if main is not None:
            state = unseal("lane", _VERSION, main)
            check_shapes(fleet, state["shapes"])
            self._restore(state, fleet.metrics_every)
        registry = Buckets.read("registry", {p: s for p, s in parts.items() if p < _HEARD})
        heard = Buckets.read("heard", {p - _HEARD: s for p, s in parts.items() if p >= _HEARD})
        silences = {asset: silence for asset, (silence, _) in heard.items() if silence is not None}
        clocks = {asset: clock for asset, (_, clock) in heard.items() if clock is not None}
        self._registry = Registry(fleet.assets, fleet.classes, registry)
        reaches = {name: fleet.reach(name) for name in fleet.classes}
        self._silence = Silence(fleet.classes, reaches, fleet.assets.max_tombstones, silences)
        policy = fleet.assets.clock
        self._quarantine = policy is not None and policy.quarantine
        #: None where they are not checked.
        self._clocks = None if policy is None else Clocks(policy, clocks)
        self._registered = Buckets("registry", self._registry.entry)
        self._registered.restore(registry)
        self._heard = Buckets("heard", self._heard_of)
        self._heard.restore(heard)

    def _heard_of(self, asset: str) -> tuple[object, object] | None:
        """Plain data of an asset's silence and clock, None where there is neither."""
        silence = self._silence.entry(asset)
        clock = None if self._clocks is None else self._clocks.entry(asset)
        return None if silence is None and clock is None else (silence, clock)

    def _restore(self, state: dict[str, Any], metrics_every: int) -> None:
        self.arrival = state["arrival"]
        self._with_arrivals = state["with_arrivals"]
        self._largest = state["largest"]
        self._sequence = state["sequence"]
        self._made = state["made"]
        self._counts = Counts(metrics_every, state["counts"])
        self._jumps = state["jumps"]
        self._shapes = state["shapes"] | self._shapes

    def process(self, items: list[Item]) -> list[Item]:
        """Records in; each as a `Known` event or a row of the rejects, after the expiries due before it."""
        items.sort(key=by_order)
        out: list[Item] = []
        for item in items:
            body = item.body
            if isinstance(body, Reject):
                out.append(self._reject(item, body, None))
            elif isinstance(body, Event):
                self._take(item, body, out)
            elif isinstance(body, Tick):
                self._tick(body.arrival, out)
                continue
            else:
                msg = f"the lane takes events, rejects and ticks, not {type(body).__name__}"
                raise TypeError(msg)
            self._sequence = item.sequence
            self._made = 0
        return out

    def _take(self, item: Item, event: Event, out: list[Item]) -> None:
        self._watch_arrivals(item, event)
        self._expire(event.arrived, out)
        self._move_time(item, event)
        self._close_period(item, out)
        asset_class = self._resolve(event)
        if isinstance(asset_class, Reject):
            out.append(self._reject(item, asset_class, event))
            return
        if self._clocks is not None and self.arrival is not None and isinstance(event, Telemetry | Fault):
            self._look(self._clocks, item, event, self.arrival, out)
        if self._is_future(event):
            far = "its time lies more than max_future after its arrival"
            out.append(self._reject(item, Reject("future", far, event.asset), event))
            return
        if self._quarantine and self._is_quarantined(event):
            wrong = "the clock of its asset is wrong; `changes` tells since when and by how much"
            out.append(self._reject(item, Reject("wrong_clock", wrong, event.asset), event))
            return
        if self.arrival is not None and isinstance(event, Telemetry | Fault):
            missed = self._silence.missed(event.asset, self.arrival)
            if missed is not None:
                out.append(self._passed(missed, self.arrival))
            self._hear(event.asset, asset_class)
        self._counts.count(event)
        body = Known(event, asset_class)
        out.append(Item(item.sequence, lane_part(0), self.arrival, item.known, item.position, body))

    def _tick(self, arrival: int, out: list[Item]) -> None:
        """Time passed while nothing arrived; a record that arrived before that has come too late for it."""
        self._expire(arrival, out)
        if self.arrival is None or arrival > self.arrival:
            self.arrival = arrival

    def _look(
        self, clocks: Clocks, item: Item, event: Telemetry | Fault, arrival: int, out: list[Item]
    ) -> None:
        """What an event says of its asset's clock; of an honest one nearly always nothing."""
        if not clocks.doubts(event.asset, event.time - arrival):
            return
        found = clocks.look(event.asset, event.time, arrival)
        self._heard.touch(event.asset)
        if found is not None:
            self._jumps += found.jumped
            out.append(self._between_records(item, self._clock_row(item, event.asset, found)))

    def _clock_row(self, item: Item, asset: str, found: Finding) -> Row:
        row = {
            "change": "clock",
            "asset": asset,
            "state": found.state,
            "offset": found.offset / MICROSECONDS["s"],
            "jumped": found.jumped,
            "known": format_instant(item.known),
            "sequence": item.sequence,
        }
        _log.info("clock", asset=asset, state=found.state, offset=row["offset"], jumped=found.jumped)
        return Row("changes", encode(row))

    def _is_quarantined(self, event: Event) -> bool:
        clocks = self._clocks
        return clocks is not None and isinstance(event, Telemetry | Fault) and clocks.is_wrong(event.asset)

    def _close_period(self, item: Item, out: list[Item]) -> None:
        """What was counted goes out once knowledge time has passed the end of the period."""
        if self.arrival is None and self._largest is None:
            return
        closed = self._counts.close(item.known)
        if closed is None:
            return
        clocks = None if self._clocks is None else {**self._clocks.counts(), "jumped": self._jumps}
        self._jumps = 0
        out.append(self._between_records(item, LanePeriod(self._name, *closed, clocks)))

    def _between_records(self, item: Item, body: Row | LanePeriod) -> Item:
        """The next thing after the last record, made because of this one."""
        self._made += 1
        return Item(self._sequence, lane_part(self._made), self.arrival, item.known, ("", 0, 0), body)

    def _watch_arrivals(self, item: Item, event: Event) -> None:
        """All records of a recording have arrivals, or none; a file of registry rows may do without."""
        with_arrivals = event.arrived is not None
        if isinstance(event, Registration) and not with_arrivals:
            return
        if self._with_arrivals is None:
            self._with_arrivals = with_arrivals
            if not with_arrivals and self._waits:
                _log.warning("the records have no `arrived`, so idle_timeout and max_future have no effect")
        elif self._with_arrivals != with_arrivals:
            source, line, _ = item.position
            has = "has" if with_arrivals else "lacks"
            msg = (
                f"{source}, line {line} {has} `arrived`, unlike the records before it; "
                "give it to all records of a recording or to none"
            )
            raise MixedArrivalsError(msg)

    def _expire(self, arrival: int | None, out: list[Item]) -> None:
        """What was due before this arrival takes effect now, as of when it was due."""
        if arrival is None or not self._waits:
            return
        for expiry in self._silence.expiries(arrival):
            self._heard.touch(expiry.asset)
            if self._clocks is not None and expiry.what == "ttl":
                self._clocks.forget(expiry.asset)
            out.append(self._passed(expiry, expiry.due))
            self.arrival = expiry.due

    def _passed(self, expiry: Expiry, now: int) -> Item:
        """Time that passed for an asset, as the next thing after the last record."""
        self._made += 1
        body = Known(expiry, self._registry.class_of(expiry.asset) or "")
        return Item(self._sequence, lane_part(self._made), now, now, ("", 0, 0), body)

    def _move_time(self, item: Item, event: Event) -> None:
        """Arrival never runs back; without arrivals, knowledge follows the largest event time."""
        if event.arrived is not None and (self.arrival is None or event.arrived > self.arrival):
            self.arrival = event.arrived
        if isinstance(event, TimedEvent) and (self._largest is None or event.time > self._largest):
            self._largest = event.time
        item.known = self._known()

    def _known(self) -> int:
        if self.arrival is not None:
            return self.arrival
        return self._largest if self._largest is not None else 0

    def _resolve(self, event: Event) -> str | Reject:
        if isinstance(event, Registration):
            before = self._registry.class_of(event.asset)
            found = self._registry.register(event)
            if before is not None and not isinstance(found, Reject) and found != before:
                self._leave(event.asset, before)
        else:
            known = self._registry.class_of(event.asset)
            if known is not None:
                return known
            found = self._registry.adopt(event.asset)
        if not isinstance(found, Reject):
            self._registered.touch(event.asset)
        return found

    def _is_future(self, event: Event) -> bool:
        if self.arrival is None or not isinstance(event, TimedEvent):
            return False
        return event.time > self.arrival + self._max_future

    def _hear(self, asset: str, asset_class: str) -> None:
        if self.arrival is not None and self._silence.hear(asset, asset_class, self.arrival):
            self._heard.touch(asset)

    def _leave(self, asset: str, asset_class: str) -> None:
        if self.arrival is not None and self._silence.leave(asset, asset_class, self.arrival):
            self._heard.touch(asset)

    def _reject(self, item: Item, reject: Reject, event: Event | None) -> Item:
        item.arrival = self.arrival
        item.known = self._known()
        return reject_row(item, reject, event)

    def changed(self) -> Iterable[int]:
        """Parts to write."""
        registered = [_REGISTRY + bucket for bucket in self._registered.changed()]
        return registered + [_HEARD + bucket for bucket in self._heard.changed()]

    def main_snapshot(self) -> bytes:
        """Clocks and counts."""
        return seal(
            "lane",
            _VERSION,
            {
                "arrival": self.arrival,
                "with_arrivals": self._with_arrivals,
                "largest": self._largest,
                "sequence": self._sequence,
                "made": self._made,
                "counts": self._counts.state(self._known()),
                "jumps": self._jumps,
                "shapes": self._shapes,
            },
        )

    def part_snapshot(self, part: int) -> bytes:
        """One bucket of the registry, or of what was heard."""
        return self._registered.bucket(part) if part < _HEARD else self._heard.bucket(part - _HEARD)

    def finish(self) -> list[Item]:
        """What came in, for the summary."""
        counts = {
            "records": self._sequence,
            "assets": len(self._registry),
            "by_kind": self._counts.by_kind(),
            # By reason; whoever rejects something adds to it.
            "rejected": {},
        }
        body = Row("summary", encode({"input": counts}))
        return [Item(self._sequence, lane_part(0), self.arrival, self._known(), ("", 0, 0), body)]
