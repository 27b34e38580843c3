"""What weather means, in plain words: every question is answered from the list of all rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

HOUR = 3_600_000_000
NAN = math.nan


class Row(NamedTuple):
    """A row of weather; ``issued`` is its time where it has none of its own."""

    site: str
    time: int
    issued: int
    values: dict[str, float | None]


class Got(NamedTuple):
    """The weather of an event, or of nothing."""

    time: int | None
    issued: int
    values: dict[str, float | None]


class Kind(NamedTuple):
    """A class of assets: what it sees of the weather, and its lateness."""

    values: tuple[str, ...]
    max_age: int
    lateness: int
    #: Whether it has the expressions and the window of the trucks.
    works_out: bool
    #: Whether a time waits for its coolant.
    waits: bool = False


@dataclass
class Machine:
    """One asset: its latest on-time event, and what its windows hold."""

    newest: int | None = None
    #: The largest time of telemetry.
    latest: int | None = None
    largest: int | None = None
    site: str | None = None
    got: Got | None = None
    coolant: dict[int, float | None] = field(default_factory=dict)
    air: dict[int, float] = field(default_factory=dict)
    revision: int = 0
    #: Values of the expressions of the latest event.
    over_air: float = NAN
    #: A time that waits, where its latest message came from, and the weather that it would get.
    held: int | None = None
    held_site: str | None = None
    held_got: Got | None = None
    air_now: float = NAN


class Published(NamedTuple):
    asset: str
    time: int
    revision: int
    features: tuple[float, ...]


NOTHING = Got(None, 0, {})


class World:
    """Every record so far, and what was published after each."""

    def __init__(self, kinds: dict[str, Kind], window: tuple[int, int], kept: int, max_future: int) -> None:
        self.kinds = kinds
        self.length, self.hop = window
        self.kept = kept
        self.max_future = max_future
        self.machines: dict[str, Machine] = {}
        self.registered: dict[str, str | None] = {}
        self.known: list[Row] = []
        self.waiting: list[Row] = []
        self.arrival: int | None = None
        self.latest: int | None = None
        self.seen: int | None = None

    def now(self) -> int | None:
        return self.latest if self.arrival is None else self.arrival

    def dead(self, row: Row) -> bool:
        """Whether a row lies too far behind the stream."""
        if self.seen is None or not self.known:
            return False
        return row.time < min(self.seen, max(other.issued for other in self.known)) - self.kept

    def weather(self, site: str, time: int, max_age: int) -> Got:
        """What an event at a site and time gets, of what is known."""
        fitting = [
            row
            for row in self.known
            if row.site == site and row.time <= time <= row.time + max_age and not self.dead(row)
        ]
        if not fitting:
            return NOTHING
        best = max((row.time, row.issued) for row in fitting)
        said: dict[str, float | None] = {}
        for row in fitting:
            if (row.time, row.issued) == best:
                said |= {name: value for name, value in row.values.items() if value is not None}
        return Got(*best, said)

    def arrive(self, arrived: int | None, time: int | None) -> list[Published]:
        """Time passes up to a record; rows that waited to be issued become known."""
        if arrived is not None:
            self.arrival = arrived if self.arrival is None else max(self.arrival, arrived)
        if time is not None:
            self.latest = time if self.latest is None else max(self.latest, time)
        out = []
        now = self.now()
        due = [row for row in self.waiting if now is not None and row.issued <= now]
        for row in sorted(due, key=lambda row: row.issued):
            self.waiting.remove(row)
            if not self.dead(row):
                out += self.learn(row)
        return out

    def learn(self, row: Row) -> list[Published]:
        """A row becomes known: who would now get it publishes again."""
        self.known.append(row)
        out = []
        for asset, machine in sorted(self.machines.items()):
            kind = self.kinds[asset]
            if machine.held is not None and machine.held_site == row.site:
                waiting = self.weather(row.site, machine.held, kind.max_age)
                # What it was joined with stays, also once that row is forgotten.
                machine.held_got = waiting if waiting.time == row.time else machine.held_got
            if machine.site != row.site or machine.largest is None:
                continue
            got = self.weather(row.site, machine.largest, kind.max_age)
            before = machine.got or NOTHING
            if got.time == row.time and self.seen_by(kind, got) != self.seen_by(kind, before):
                machine.got = got
                machine.revision += 1
                self.work_out(machine)
                out.append(self.publish(asset))
        return out

    @staticmethod
    def seen_by(kind: Kind, got: Got) -> tuple[object, ...]:
        return (got.time, got.issued, *(got.values.get(name) for name in kind.values))

    def weather_row(
        self, site: str, time: int, issued: int | None, values: dict[str, float | None], arrived: int | None
    ) -> list[Published]:
        out = self.arrive(arrived, None)
        if all(value is None for value in values.values()):
            return out
        if issued is not None and self.arrival is not None and issued > self.arrival + self.max_future:
            return out
        row = Row(site, time, time if issued is None else issued, values)
        now = self.now()
        if self.dead(row):
            return out
        if issued is not None and (now is None or issued > now):
            self.waiting.append(row)
            return out
        return out + self.learn(row)

    def registration(self, asset: str, site: str | None, arrived: int | None) -> list[Published]:
        out = self.arrive(arrived, None)
        # A row that names no site leaves the asset where it is.
        self.registered[asset] = self.registered.get(asset) if site is None else site
        return out

    def fault(self, asset: str, time: int, arrived: int | None) -> list[Published]:
        out = self.arrive(arrived, time)
        if self.arrival is not None and time > self.arrival + self.max_future:
            return out
        self.seen = time if self.seen is None else max(self.seen, time)
        machine = self.machines.setdefault(asset, Machine())
        if machine.held is not None and time - self.kinds[asset].lateness > machine.held:
            out.append(self.close(asset, machine))
        machine.newest = time if machine.newest is None else max(machine.newest, time)
        return out

    def close(self, asset: str, machine: Machine) -> Published:
        """Score the time that waits."""
        machine.largest, machine.revision, machine.held = machine.held, 0, None
        machine.site, machine.got = machine.held_site, machine.held_got
        self.work_out(machine)
        return self.publish(asset)

    def telemetry(
        self, asset: str, time: int, coolant: float | None, site: str | None, arrived: int | None
    ) -> list[Published]:
        out = self.arrive(arrived, time)
        if self.arrival is not None and time > self.arrival + self.max_future:
            return out
        self.seen = time if self.seen is None else max(self.seen, time)
        kind = self.kinds[asset]
        machine = self.machines.setdefault(asset, Machine())
        place = site if site is not None else self.registered.get(asset)
        got = NOTHING if place is None else self.weather(place, time, kind.max_age)
        newest, latest = machine.newest, machine.latest
        on_time = latest is None or time >= latest
        if not on_time and newest is not None and time < newest - kind.lateness:
            return out  # too late
        if machine.held is not None and time > machine.held:
            out.append(self.close(asset, machine))
        if coolant is not None or time not in machine.coolant:
            machine.coolant[time] = coolant
        air = got.values.get("temp")
        machine.air[time] = NAN if air is None else air
        machine.newest = time if newest is None else max(newest, time)
        if latest is None or time > latest or time == machine.held:
            machine.latest = machine.held = time
            machine.held_site, machine.held_got = place, got
            waits = kind.waits and machine.coolant[time] is None
            return out if waits else [*out, self.close(asset, machine)]
        # A late event revises if a window covers it, or if it is the one that is scored.
        if time != machine.largest and not self.covers(kind, time, machine.largest):
            return out
        machine.revision += 1
        if time == machine.largest:
            machine.site, machine.got = place, got
        self.work_out(machine)
        return [*out, self.publish(asset)]

    def covers(self, kind: Kind, time: int, largest: int | None) -> bool:
        """Whether a window at the time that is scored holds another time."""
        if largest is None or time > largest:
            return False
        return kind.works_out and time > largest // self.hop * self.hop - self.length

    def work_out(self, machine: Machine) -> None:
        got, largest = machine.got or NOTHING, machine.largest
        assert largest is not None
        air, coolant = got.values.get("temp"), machine.coolant[largest]
        machine.air_now = NAN if air is None else air
        machine.over_air = NAN if air is None or coolant is None else coolant - air

    def publish(self, asset: str) -> Published:
        kind, machine = self.kinds[asset], self.machines[asset]
        largest, got = machine.largest, machine.got or NOTHING
        assert largest is not None
        coolant = machine.coolant[largest]
        features = [NAN if coolant is None else coolant]
        if kind.works_out:
            start = largest // self.hop * self.hop - self.length
            held = {
                at: value
                for at, value in machine.air.items()
                if start < at <= largest and not math.isnan(value)
            }
            features += [
                machine.over_air,
                machine.air_now,
                len(held),
                sum(held.values()) / len(held) if held else NAN,
                held[max(held)] if held else NAN,
            ]
        values = [got.values.get(name) for name in kind.values]
        features += [NAN if value is None else value for value in values]
        if got.time is None:
            features += [NAN, NAN]
        else:
            features += [(largest - got.time) / HOUR, float(got.issued < got.time)]
        return Published(asset, largest, machine.revision, tuple(features))
