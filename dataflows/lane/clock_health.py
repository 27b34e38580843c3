"""Clock health: find assets with a wrong clock, and the offset of the clock.

A clock shows in the offset of each event, its time minus its arrival. A delay makes the offset smaller, never
larger, and may do so for hours. Events that a device stored without network come in a burst, with offsets
that shrink towards its end. So

- events that arrive within a tenth of the tolerance are one *sample* of the clock; the quickest counts,
- a sample whose events advanced more than twice as fast as their arrivals since the sample before shows
  the network and not the clock: it does not count, and removes one sample that seemed to lag,
- of the last 11 samples, 3 beyond the tolerance make a clock that is ahead: one event or two stamped into the
  future do not suffice; 9 that lag by more than it make one that is behind: delays seldom come in such rows,
- a clock that stands still shows one time while messages with other content continue to arrive: three samples
  at one time that lag, over more than the tolerance and with no other time between them, make a stopped
  clock. It runs again with the next new time. Copies are no samples: the lane leaves them out.

For a right clock without doubts, only that fact is kept.
"""

from __future__ import annotations

from statistics import median_low
from typing import TYPE_CHECKING, Literal

import msgspec
import structlog

from dataflows.instants import MICROSECONDS, format_instant
from dataflows.items import Row, row_of
from dataflows.outputs import ClockChange

if TYPE_CHECKING:
    from dataflows.fleet.fleet import ClockPolicy
    from dataflows.items import Item

__all__ = ["ClockHealth", "Finding", "clock_row"]

State = Literal["right", "ahead", "behind", "stopped"]
_SAMPLES, _AHEAD, _STEADY, _STOPPED = 11, 3, 9, 3
_SPANS = 10
_log = structlog.get_logger()


class Finding(msgspec.Struct, frozen=True, gc=False):
    """A finding about an asset's clock.

    Attributes:
        state: present state of the clock.
        offset: microseconds that it is ahead: median of the samples that support the state.
        jumped: whether it moved by more than the tolerance from its last known offset.
    """

    state: State
    offset: int
    jumped: bool


class _Sample(msgspec.Struct, array_like=True):
    """One sample of a clock: its beginning, and time and offset of its quickest event."""

    arrival: int
    time: int
    offset: int


class _Clock(msgspec.Struct, array_like=True):
    """A wrong or doubtful clock.

    Attributes:
        known: whether it was once right, or found wrong, so that a jump can be recognised.
        offset: last found offset.
        samples: samples that count.
        before: the last closed sample, whether it counts or not; None if there was none.
        open: the open sample.
        stood: number of samples in a row at the time of the open one; they are not among ``samples``.
        since: arrival of the first of these.
    """

    known: bool
    state: State
    offset: int
    samples: list[_Sample]
    before: _Sample | None
    open: _Sample
    stood: int = 0
    since: int = 0


class ClockHealth:
    """Clocks of all assets of a lane.

    Args:
        policy: the tolerance.
        kept: results of `entry`, by asset; empty for a new lane.
    """

    def __init__(self, policy: ClockPolicy, kept: dict[str, list[object]]) -> None:
        self._tolerance = policy.tolerance
        self._span = policy.tolerance // _SPANS
        #: None is a right clock without doubts.
        self._clocks: dict[str, _Clock | None] = {
            asset: msgspec.convert(found, _Clock) if found else None for asset, found in kept.items()
        }
        self._wrong: dict[str, State] = {
            asset: clock.state
            for asset, clock in self._clocks.items()
            if clock is not None and clock.state != "right"
        }

    def needs_check(self, asset: str, offset: int) -> bool:
        """Whether an event has to be checked; nearly no event of a right clock has to be."""
        if -self._tolerance <= offset <= self._tolerance:
            return self._clocks.get(asset, self) is not None
        return True

    def check(self, asset: str, time: int, arrival: int) -> Finding | None:
        """Process an event selected by `needs_check`; return the finding about the clock, if any.

        Args:
            asset: its name.
            time: of the event, microseconds.
            arrival: of the event, microseconds; it never runs back.
        """
        offset = time - arrival
        clock, found, sample = self._clocks.get(asset), None, _Sample(arrival, time, offset)
        if clock is not None:
            last = clock.open
            if arrival - last.arrival < self._span:
                if offset > last.offset:
                    last.time, last.offset = time, offset
                return None
            if time == last.time and self._side(offset) == "behind":
                return self._check_stopped(asset, clock, sample)
            clock.stood = 0
            # Later messages of one time from a gateway do not count against a clock again.
            if self._side(offset) != "right" and any(each.time == time for each in (*clock.samples, last)):
                return None
            found = self._judge(asset, clock)
            clock.open = sample
        if self._clocks.get(asset) is None:
            honest = self._side(offset) == "right"
            known = asset in self._clocks
            self._clocks[asset] = None if honest else _Clock(known, "right", 0, [], None, sample)
        return found

    def _check_stopped(self, asset: str, clock: _Clock, sample: _Sample) -> Finding | None:
        """Process a sample at the time of the last one."""
        if clock.stood == 0:
            clock.since = clock.open.arrival
        clock.stood += 1
        clock.open = sample
        long = sample.arrival - clock.since > self._tolerance
        if clock.state == "stopped" or clock.stood < _STOPPED or not long:
            return None
        found = Finding("stopped", sample.offset, jumped=False)
        clock.known, clock.state, clock.offset = True, "stopped", sample.offset
        self._wrong[asset] = "stopped"
        return found

    def _side(self, offset: int) -> State:
        if offset > self._tolerance:
            return "ahead"
        return "behind" if offset < -self._tolerance else "right"

    def _judge(self, asset: str, clock: _Clock) -> Finding | None:
        """Evaluate the samples after closing the open one."""
        samples = clock.samples
        self._close(clock)
        del samples[:-_SAMPLES]
        sides = [self._side(sample.offset) for sample in samples]
        state: State = "right"
        if sides.count("ahead") >= _AHEAD:
            state = "ahead"
        elif sides.count("behind") >= _STEADY:
            state = "behind"
        found = self._found(
            clock, state, [each.offset for each in samples if self._side(each.offset) == state]
        )
        if all(side == "right" for side in sides):
            self._clear_doubts(asset, clock)
        if found is not None:
            clock.known, clock.state, clock.offset = True, state, found.offset
            self._wrong[asset] = state
            if state == "right":
                del self._wrong[asset]
        return found

    def _clear_doubts(self, asset: str, clock: _Clock) -> None:
        """Clear the doubts about a clock; remember whether it was ever known."""
        if clock.known or clock.samples:
            self._clocks[asset] = None
        else:
            del self._clocks[asset]

    def _close(self, clock: _Clock) -> None:
        """Count the open sample. One of a backlog does not count, and removes one that seemed to lag."""
        samples, before, last = clock.samples, clock.before, clock.open
        clock.before = last
        hurried = before is not None and last.time - before.time > 2 * (last.arrival - before.arrival)
        if not hurried or self._side(last.offset) == "ahead":
            samples.append(last)
        elif clock.state == "right":
            lagging = (index for index, sample in enumerate(samples) if self._side(sample.offset) == "behind")
            index = next(lagging, None)
            if index is not None:
                del samples[index]

    def _found(self, clock: _Clock, state: State, offsets: list[int]) -> Finding | None:
        """Make a finding from the offsets of the samples that support the state of a clock."""
        tolerance = self._tolerance
        offset = median_low(offsets) if offsets else 0
        if state != clock.state:
            # The right offset is known only up to the tolerance: the move is at least from its border.
            before = max(-tolerance, min(tolerance, offset)) if clock.state == "right" else clock.offset
            after = max(-tolerance, min(tolerance, before)) if state == "right" else offset
            return Finding(state, offset, clock.known and abs(after - before) > tolerance)
        if state == "right":
            return None
        moved = sum(abs(each - clock.offset) > tolerance for each in offsets)
        return Finding(state, offset, jumped=True) if moved >= _STEADY else None

    def is_wrong(self, asset: str) -> bool:
        """Whether an asset's clock is found wrong at present."""
        return asset in self._wrong

    def forget(self, asset: str) -> None:
        """Forget an asset whose state was dropped."""
        self._clocks.pop(asset, None)
        self._wrong.pop(asset, None)

    def counts(self) -> dict[str, int]:
        """Number of wrong clocks."""
        states = list(self._wrong.values())
        return {
            "wrong": len(states),
            "ahead": states.count("ahead"),
            "behind": states.count("behind"),
            "stopped": states.count("stopped"),
        }

    def entry(self, asset: str) -> list[object] | None:
        """Plain data of one asset, None if nothing is known."""
        if asset not in self._clocks:
            return None
        clock = self._clocks[asset]
        return [] if clock is None else list(msgspec.to_builtins(clock))


def clock_row(item: Item, asset: str, found: Finding) -> Row:
    """Make the row of the changes for a finding, and log it."""
    row = ClockChange(
        asset=asset,
        state=found.state,
        offset=found.offset / MICROSECONDS["s"],
        jumped=found.jumped,
        known=format_instant(item.known),
        sequence=item.sequence,
    )
    _log.info("clock", asset=asset, state=found.state, offset=row.offset, jumped=found.jumped)
    return row_of(row)
