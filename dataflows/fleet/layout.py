"""The sensors, windows and feature names of a class of assets."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from dataflows.fleet.errors import Loc, dotted, listed, nearest, shown
from dataflows.fleet.plan import STATISTICS, AssetClass, Window
from dataflows.instants import format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dataflows.fleet.draft import Draft
    from dataflows.fleet.plan import Target
    from dataflows.fleet.schema import ClassTable, WindowTable

__all__ = ["MOST_PANES", "Layout"]

#: Panes (length / hop) that a window may have, since every asset keeps that many for each sensor.
MOST_PANES = 2_000
_DEFAULT_PANES = 12


class Layout:
    """One class, resolved; what is wrong with it goes to the problems of the draft."""

    def __init__(self, draft: Draft, name: str, table: ClassTable) -> None:
        self._draft = draft
        self._loc: Loc = ("classes", name)
        self.name = name
        self.table = table
        self.sensors = self._once((*self._loc, "sensors"), table.sensors)
        self.windows = tuple(
            self._window(loc, window)
            for loc, window in draft.numbered((*self._loc, "windows"), table.windows)
        )
        self._check_features_once()

    @property
    def is_whole(self) -> bool:
        """Whether the features are all known, so that a name that is not among them is wrong."""
        return not any(self._draft.is_broken(*self._loc, key) for key in ("sensors", "values", "windows"))

    @cached_property
    def features(self) -> tuple[str, ...]:
        """The readings themselves, then for each window, for each of its sensors, its statistics."""
        values = self.sensors if self.table.values else ()
        return (*values, *(name for window in self.windows for name in self._names(window)))

    def asset_class(self, targets: Mapping[str, Target]) -> AssetClass:
        """The class as the plan has it."""
        return AssetClass(
            name=self.name,
            sensors=self.sensors,
            values=self.table.values,
            windows=self.windows,
            features=self.features,
            allowed_lateness=self.table.allowed_lateness,
            example_every=self.table.example_every,
            targets=tuple(name for name, target in targets.items() if target.asset_class == self.name),
        )

    def _names(self, window: Window) -> list[str]:
        length = format_duration(window.length)
        sensors = [self.sensors[index] for index in window.sensors]
        return [f"{sensor}:{statistic}:{length}" for sensor in sensors for statistic in window.statistics]

    def _once(self, loc: Loc, names: Sequence[str]) -> tuple[str, ...]:
        """The names without repetitions, each of which is a problem."""
        seen: dict[str, None] = {}
        for place, name in self._draft.numbered(loc, names):
            if name in seen:
                self._draft.refuse(place, "each name once", f"{shown(name)} again")
            seen[name] = None
        return tuple(seen)

    def _window(self, loc: Loc, table: WindowTable) -> Window:
        self._check_panes(loc, table)
        sensors: Sequence[str] = self.sensors
        if table.sensors is not None:
            sensors = self._once((*loc, "sensors"), table.sensors)
            self._check_sensors((*loc, "sensors"), table.sensors)
        statistics = self._once((*loc, "statistics"), table.statistics)
        return Window(
            length=table.length,
            hop=table.hop or table.length // _DEFAULT_PANES,
            statistics=tuple(statistic for statistic in STATISTICS if statistic in statistics),
            sensors=tuple(index for index, name in enumerate(self.sensors) if name in sensors),
        )

    def _check_sensors(self, loc: Loc, names: Sequence[str]) -> None:
        if self._draft.is_broken(*self._loc, "sensors"):
            return
        for place, name in self._draft.numbered(loc, names):
            if name not in self.sensors:
                expected = f"a sensor of the class, {listed(self.sensors)}"
                self._draft.refuse(place, expected, shown(name), nearest(name, self.sensors))

    def _check_panes(self, loc: Loc, table: WindowTable) -> None:
        if self._draft.is_broken(*loc, "length") or self._draft.is_broken(*loc, "hop"):
            return
        length, at = format_duration(table.length), (*loc, "hop")
        if table.hop is None:
            if table.length % _DEFAULT_PANES:
                why = f"length / {_DEFAULT_PANES} is not a whole number of microseconds"
                self._draft.refuse(at, f"a hop that divides the length, {length}, since {why}")
        elif table.length % table.hop:
            self._draft.refuse(at, f"a hop that divides the length, {length}", format_duration(table.hop))
        elif table.length // table.hop > MOST_PANES:
            got = f"{format_duration(table.hop)}, of which it has {table.length // table.hop}"
            self._draft.refuse(at, f"at most {MOST_PANES} hops in the length, {length}", got)

    def _check_features_once(self) -> None:
        """Two windows of one length may share neither a sensor's statistic nor, with it, a feature's name."""
        made: dict[str, Loc] = {}
        places = self._draft.numbered((*self._loc, "windows"), self.windows)
        for loc, window in places:
            if self._draft.is_broken(*loc):
                continue
            names = self._names(window)
            twice = next((name for name in names if name in made), None)
            if twice is not None:
                expected = f"a window that makes no feature of {dotted(made[twice])}"
                self._draft.refuse(loc, expected, f"{twice} again")
            made |= {name: loc for name in names if name not in made}
