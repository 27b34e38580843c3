"""Resolve the sensors, expressions, faults, windows, weather and feature names of a class of assets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dataflows.fleet.errors import Loc, dotted, listed, nearest, shown
from dataflows.fleet.expressions import ExpressionError, parse
from dataflows.fleet.plan import FAULT_STATISTICS, RESETS, STATISTICS, AssetClass, Limits, Weather, Window
from dataflows.instants import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dataflows.fleet.draft import Draft
    from dataflows.fleet.plan import Target
    from dataflows.fleet.schema import ClassTable, WindowTable

__all__ = ["MOST_PANES", "Layout"]

#: Panes (length / hop) that a window may have, since every asset keeps that many for each sensor.
MOST_PANES = 2_000
_DEFAULT_PANES = 12
#: Keys of a class that make features.
_MAKERS = (
    "sensors",
    "values",
    "expressions",
    "windows",
    "faults",
    "maintenance",
    "attributes",
    "categories",
    "weather",
)
#: Further features of the weather that an event sees.
_OF_WEATHER = ("age", "forecast")


@dataclass(frozen=True, slots=True)
class _Maker:
    """A place in the document, what it declares, and the features that it makes."""

    loc: Loc
    what: str
    features: tuple[str, ...]


class Layout:
    """One resolved class; its problems are added to those of the draft."""

    def __init__(self, draft: Draft, name: str, table: ClassTable) -> None:
        self._draft = draft
        self._loc: Loc = ("classes", name)
        self.name = name
        self.table = table
        sensors = self._once((*self._loc, "sensors"), table.sensors)
        maintenance = self._once((*self._loc, "maintenance"), table.maintenance)
        attributes = self._once((*self._loc, "attributes"), table.attributes)
        categories = {
            name: self._once((*self._loc, "categories", name), values)
            for name, values in table.categories.items()
        }
        resets = self._once((*self._loc, "reset_windows_on"), table.reset_windows_on)
        weather = self._weather()
        self.sensors = tuple(sensors)
        self.expressions = tuple(self._expressions())
        self.channels = (*self.sensors, *(name for name, _ in self.expressions))
        self.faults = tuple(self._once((*self._loc, "faults"), table.faults))
        self.maintenance = tuple(maintenance)
        self.attributes = tuple(attributes)
        self.categories = tuple((name, tuple(values)) for name, values in categories.items())
        self.resets = tuple(kind for kind in RESETS if kind in resets)
        windows = [
            (loc, self._window(loc, window))
            for loc, window in draft.numbered((*self._loc, "windows"), table.windows)
        ]
        self.windows = tuple(window for _, window in windows)
        self._makers = [
            *(_Maker(loc, "a sensor", (name,)) for name, loc in sensors.items() if table.values),
            *(
                _Maker((*self._loc, "expressions", name), "an expression", (name,))
                for name, _ in self.expressions
                if table.values
            ),
            *(_Maker(loc, "a window", tuple(self._names(window))) for loc, window in windows),
            *(_Maker(loc, "a component", _work(name)) for name, loc in maintenance.items()),
            *(_Maker(loc, "an attribute", (name,)) for name, loc in attributes.items()),
            *(
                _Maker(loc, "a category", (f"{name}={value}",))
                for name, values in categories.items()
                for value, loc in values.items()
            ),
            *(_Maker(loc, "a weather value", (f"weather:{name}",)) for name, loc in weather.items()),
        ]
        if weather:
            known = tuple(f"weather:{name}" for name in _OF_WEATHER)
            self._makers.append(_Maker((*self._loc, "weather"), "weather", known))
        self._check_features_once()
        self._check_silence()
        self.required = self._required()

    @property
    def is_whole(self) -> bool:
        """Whether all features are known, so that any other name is wrong."""
        return not any(self._draft.is_broken(*self._loc, key) for key in _MAKERS)

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Names: values, windows (sensors, then faults), maintenance, attributes, categories, weather."""
        return tuple(feature for maker in self._makers for feature in maker.features)

    def asset_class(self, targets: Mapping[str, Target]) -> AssetClass:
        """Build the class of the fleet."""
        table = self.table.weather
        weather = None
        if table is not None:
            weather = Weather(tuple(dict.fromkeys(table.values)), table.max_age, table.memory)
        return AssetClass(
            name=self.name,
            sensors=self.sensors,
            values=self.table.values,
            windows=self.windows,
            features=self.features,
            allowed_lateness=self.table.allowed_lateness,
            example_every=self.table.example_every,
            targets=tuple(name for name, target in targets.items() if target.asset_class == self.name),
            faults=self.faults,
            maintenance=self.maintenance,
            attributes=self.attributes,
            categories=self.categories,
            reset_windows_on=self.resets,
            idle_timeout=self.table.idle_timeout,
            asset_ttl=self.table.asset_ttl,
            expressions=self.expressions,
            weather=weather,
            compare=self.table.compare,
            required=self.required,
            limits=tuple(self._limits()),
        )

    def _limits(self) -> Iterator[Limits]:
        """Resolve the limits of each sensor; names must exist, and ranges be in order."""
        for name, table in self.table.limits.items():
            loc = (*self._loc, "limits", name)
            if name not in self.sensors and not self._draft.is_broken(*self._loc, "sensors"):
                self._draft.refuse(
                    loc,
                    f"one of the sensors: {listed(self.sensors)}",
                    shown(name),
                    nearest(name, self.sensors),
                )
                continue
            least, most = table.range or (-math.inf, math.inf)
            if not least < most:
                self._draft.refuse(
                    (*loc, "range"), "the least and then the largest reading", shown(table.range)
                )
            yield Limits(name, least, most, tuple(table.sentinels), table.unit)

    def _weather(self) -> dict[str, Loc]:
        """Weather values with their places."""
        table = self.table.weather
        return {} if table is None else self._once((*self._loc, "weather", "values"), table.values)

    def _expressions(self) -> Iterator[tuple[str, str]]:
        """Name and text of each expression; the names in it must exist."""
        weather = self.table.weather
        known = [*self.table.sensors, *(f"weather.{name}" for name in (weather.values if weather else ()))]
        whole = not any(self._draft.is_broken(*self._loc, key) for key in ("sensors", "weather"))
        for name, text in self.table.expressions.items():
            loc = (*self._loc, "expressions", name)
            if name in self.table.sensors:
                self._draft.refuse(loc, "a name that no sensor has", shown(name))
                continue
            yield name, text
            try:
                names = parse(text).names
            except ExpressionError as error:
                self._draft.refuse(loc, error.expected, error.got, error.hint)
                continue
            unknown = next((found for found in names if found not in known), None)
            if whole and unknown is not None:
                expected = f"names of sensors, or weather.<value> of the class's weather: {listed(known)}"
                self._draft.refuse(loc, expected, shown(unknown), nearest(unknown, known))

    def _required(self) -> tuple[int, ...] | None:
        """Indices of the sensors that a time waits for; None if it waits for none."""
        names, at = self.table.required, (*self._loc, "required")
        if self.table.score_on == "arrival":
            if names is not None and not self._draft.is_broken(*self._loc, "score_on"):
                self._draft.refuse(at, 'no such key without score_on = "complete"')
            return None
        if names == []:
            self._draft.refuse(at, "at least one sensor", "none")
        return self._chosen(self._loc, "sensors", names, self.sensors, listed_as="required")

    def _check_silence(self) -> None:
        """Refuse an ``asset_ttl`` so short that silence would not have decided every example."""
        ttl, idle, at = self.table.asset_ttl, self.table.idle_timeout, (*self._loc, "idle_timeout")
        if ttl is None:
            return
        needed = dict(self._waits())
        if idle is not None:
            needed["idle_timeout"] = idle
        elif not self._draft.is_broken(*at):
            self._draft.refuse(at, "a duration, since asset_ttl needs it")
        what, longest = max(needed.items(), key=lambda item: item[1], default=("", 0))
        if ttl <= longest:
            expected = f"a duration longer than {format_duration(longest)}, {what}"
            self._draft.refuse((*self._loc, "asset_ttl"), expected, format_duration(ttl))

    def _waits(self) -> Iterator[tuple[str, int]]:
        """Longest wait for a label of each target of this class, where it is known."""
        for loc, target in self._draft.numbered(("targets",), self._draft.document.targets):
            delay, at = target.label_delay, loc
            if delay is None:
                delay, at = self.table.label_delay, self._loc
            broken = [(*loc, "class"), (*loc, "horizon"), (*loc, "label_delay"), (*at, "label_delay")]
            if target.asset_class == self.name and not any(self._draft.is_broken(*place) for place in broken):
                yield f"horizon and label delay of {dotted(loc)}", max(target.horizon) + delay

    def _names(self, window: Window) -> Iterator[str]:
        length = format_duration(window.length)
        for index in window.sensors:
            yield from (f"{self.channels[index]}:{statistic}:{length}" for statistic in window.statistics)
        for index in window.faults:
            yield from (f"{self.faults[index]}:{statistic}:{length}" for statistic in window.fault_statistics)

    def _once(self, loc: Loc, names: Sequence[str]) -> dict[str, Loc]:
        """Names with their places; a repeated name is a problem and left out."""
        seen: dict[str, Loc] = {}
        for place, name in self._draft.numbered(loc, names):
            if name in seen:
                self._draft.refuse(place, "each name once", f"{shown(name)} again")
            seen.setdefault(name, place)
        return seen

    def _window(self, loc: Loc, table: WindowTable) -> Window:
        self._check_panes(loc, table)
        self._check_not_empty(loc, table)
        statistics = self._once((*loc, "statistics"), table.statistics)
        fault_statistics = self._once((*loc, "fault_statistics"), table.fault_statistics)
        return Window(
            length=table.length,
            hop=table.hop or table.length // _DEFAULT_PANES,
            statistics=tuple(statistic for statistic in STATISTICS if statistic in statistics),
            sensors=self._chosen(loc, "sensors", table.sensors, self.channels),
            faults=self._chosen(loc, "faults", table.faults, self.faults),
            fault_statistics=tuple(name for name in FAULT_STATISTICS if name in fault_statistics),
        )

    def _chosen(
        self,
        loc: Loc,
        key: str,
        names: Sequence[str] | None,
        known: tuple[str, ...],
        *,
        listed_as: str | None = None,
    ) -> tuple[int, ...]:
        """Indices of the chosen sensors or faults of the class; by default of all."""
        if names is None:
            return tuple(range(len(known)))
        place = (*loc, listed_as or key)
        chosen = self._once(place, names)
        makers = (key, "expressions") if key == "sensors" else (key,)
        what = "sensor or expression" if known == self.channels != self.sensors else key.removesuffix("s")
        if not any(self._draft.is_broken(*self._loc, maker) for maker in makers):
            for at, name in self._draft.numbered(place, names):
                if name not in known:
                    expected = f"a {what} of the class, {listed(known)}"
                    self._draft.refuse(at, expected, shown(name), nearest(name, known))
        return tuple(index for index, name in enumerate(known) if name in chosen)

    def _check_not_empty(self, loc: Loc, table: WindowTable) -> None:
        sensors = self.channels if table.sensors is None else table.sensors
        faults = self.faults if table.faults is None else table.faults
        places = [(*at, key) for at in (self._loc, loc) for key in ("sensors", "faults", "expressions")]
        if not sensors and not faults and not any(self._draft.is_broken(*place) for place in places):
            self._draft.refuse(loc, "a window over at least one sensor or fault", "a window over none")

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
            got = f"{format_duration(table.hop)}, which makes {table.length // table.hop}"
            self._draft.refuse(at, f"at most {MOST_PANES} hops in the length, {length}", got)

    def _check_features_once(self) -> None:
        """Refuse a feature name that two makers share, such as windows of one length."""
        made: dict[str, Loc] = {}
        for maker in self._makers:
            if self._draft.is_broken(*maker.loc):
                continue
            twice = None
            for name in maker.features:
                twice = name if twice is None and name in made else twice
                made.setdefault(name, maker.loc)
            if twice is not None:
                other = "itself" if made[twice] == maker.loc else dotted(made[twice])
                expected = f"{maker.what} that makes no feature of {other}"
                self._draft.refuse(maker.loc, expected, f"{twice} again")


def _work(component: str) -> tuple[str, str]:
    return f"{component}:since", f"{component}:times"
