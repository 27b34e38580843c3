"""Deliver messages: clocks stamp them, networks delay, store, lose and repeat them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dataflows.instants import MICROSECONDS
from dataflows.simulator.chance import Drawn, draw, stream
from dataflows.simulator.done import LOST, mark

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataflows.simulator.scenario import ClockHealth, Delivery, Scenario
    from dataflows.simulator.sensing import Messages

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Booleans = NDArray[np.bool_]

__all__ = ["Delivered", "deliver"]

_DAY, _SECOND, _MILLISECOND = (MICROSECONDS[unit] for unit in ("d", "s", "ms"))
_BACKLOG_PACE = 200 * _MILLISECOND  # between two stored messages once the network is back
_FUTURE = (_DAY, 30 * _DAY)
_ORIGINAL = -1


@dataclass(frozen=True, slots=True)
class Delivered:
    """Delivered messages, ordered by arrival; then lost ones, ordered by true time.

    Attributes:
        message: index into the messages; a duplicate has that of its original.
        stamp: time by the device's clock, microseconds, whole seconds.
        arrival: microseconds; for a lost message, the time at which it would have arrived.
        done: changes made to it, as bits.
        original: index of the original among these; -1 for an original.
        arrived: number of messages that arrived.
        outages: spells, by truck.
        jumps: spells, by truck.
        jumped: microseconds that the clock is ahead in each.
        offset, drift: of each truck's clock: microseconds, millionths.
    """

    message: Integers
    stamp: Integers
    arrival: Integers
    done: Integers
    original: Integers
    arrived: int
    outages: Drawn
    jumps: Drawn
    jumped: Integers
    offset: Integers
    drift: Floats


def deliver(scenario: Scenario, messages: Messages) -> Delivered:
    """Stamp, send and receive all messages."""
    done = messages.done.copy()
    clocks = stream(scenario, "clocks")
    offset, drift = _wrong(clocks, scenario.clocks, scenario.trucks)
    jumps = draw(clocks, scenario.clocks.jumps, scenario.trucks, scenario)
    jumped = _jumped(clocks, scenario.clocks, jumps.who.size)
    stamp = _stamp(scenario, messages, (offset, drift), (jumps, jumped), done, clocks)
    random, settings = stream(scenario, "delivery"), scenario.delivery
    outages = draw(random, settings.outages, scenario.trucks, scenario)
    arrival = _travel(random, settings, messages, outages, done)
    lost = random.random(arrival.size) < settings.lost
    mark(done, "lost", lost)
    twice = np.flatnonzero((random.random(arrival.size) < settings.duplicates) & ~lost)
    wait = random.exponential(settings.duplicates_after, twice.size).astype(np.int64)
    copies = done[twice]
    mark(copies, "duplicate", np.ones(twice.size, bool))
    message = np.append(np.arange(arrival.size), twice)
    again = (arrival[twice] + _MILLISECOND + wait) // _MILLISECOND * _MILLISECOND
    stamp, arrival = np.append(stamp, stamp[twice]), np.append(arrival, again)
    done = np.append(done, copies)
    original = np.append(np.full(messages.time.size, _ORIGINAL), twice)
    mark(done, "after_end", (arrival >= scenario.end) & (done & LOST == 0))
    away = done & LOST != 0
    order = np.lexsort((np.where(away, messages.time[message], arrival), away))
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    original = np.where(original < 0, _ORIGINAL, place[original])[order]
    parts = message[order], stamp[order], arrival[order], done[order], original
    return Delivered(*parts, int((~away).sum()), outages, jumps, jumped, offset, drift)


def _wrong(random: np.random.Generator, settings: ClockHealth, count: int) -> tuple[Integers, Floats]:
    """Offset and drift of each truck's clock."""
    wrong = random.random(count) < settings.wrong
    offset = np.rint(random.normal(0.0, settings.offset / _SECOND, count)).astype(np.int64) * _SECOND
    return np.where(wrong, offset, 0), np.where(wrong, random.normal(0.0, settings.drift, count), 0.0)


def _jumped(random: np.random.Generator, settings: ClockHealth, count: int) -> Integers:
    """Microseconds by which each jump puts the clock ahead; negative if behind."""
    by = 0 if settings.jumps is None else settings.jumps.by
    size = random.uniform(0.5, 1.5, count) * by * random.choice((-1, 1), count)
    return np.asarray(np.rint(size / _SECOND).astype(np.int64) * _SECOND)


def _stamp(
    scenario: Scenario,
    messages: Messages,
    wrong: tuple[Integers, Floats],
    jumping: tuple[Drawn, Integers],
    done: Integers,
    random: np.random.Generator,
) -> Integers:
    """Stamp each message by its clock, to whole seconds; messages of one time keep one stamp."""
    (offset, drift), (jumps, jumped) = wrong, jumping
    slow = (messages.time - scenario.start) * drift[messages.truck] * 1e-6
    error = offset[messages.truck] + np.rint(slow / _SECOND).astype(np.int64) * _SECOND
    mark(done, "clock_offset", error != 0)
    spell = jumps.of(messages.truck, messages.time)
    jump = np.where(spell >= 0, np.append(jumped, 0)[spell], 0)
    mark(done, "clock_jump", jump != 0)
    # Messages of one truck and time get one stamp.
    starts = np.append(True, (np.diff(messages.truck) != 0) | (np.diff(messages.time) != 0))
    of = np.cumsum(starts) - 1
    count = int(of[-1]) + 1 if of.size else 0
    ahead = random.integers(_FUTURE[0] // _SECOND, _FUTURE[1] // _SECOND, count) * _SECOND
    future = (random.random(count) < scenario.clocks.future)[of]
    mark(done, "future", future)
    return np.asarray(messages.time + error + jump + np.where(future, ahead[of], 0))


def _travel(
    random: np.random.Generator, settings: Delivery, messages: Messages, outages: Drawn, done: Integers
) -> Integers:
    """Arrival of each message: seconds after its time, or after a delay, or after an outage."""
    count = messages.time.size
    delay = 800 * _MILLISECOND + random.exponential(3_000.0, count).astype(np.int64) * _MILLISECOND
    # Exponential distribution, truncated at `late_at_most`, by inversion.
    most = -np.expm1(-settings.late_at_most / settings.late_by)
    wait = -settings.late_by * np.log1p(-random.random(count) * most)
    spell = outages.of(messages.truck, messages.time)
    late = (random.random(count) < settings.late) & (spell < 0)
    mark(done, "late", late)
    delay += np.where(late, wait.astype(np.int64) // _MILLISECOND * _MILLISECOND, 0)
    mark(done, "stored", spell >= 0)
    # Messages are ordered by truck and time, so those of a spell are consecutive.
    stored = np.flatnonzero(spell >= 0)
    rank = np.arange(stored.size) - np.searchsorted(spell[stored], spell[stored])
    arrival = messages.time + delay
    arrival[stored] = np.append(outages.ended, 0)[spell[stored]] + 800 * _MILLISECOND + rank * _BACKLOG_PACE
    return np.asarray(arrival)
