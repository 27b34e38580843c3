"""Make a `Fleet` of a document of valid form: resolve names, build products, refuse the impossible."""

from __future__ import annotations

import hashlib
import json
import math
import pkgutil
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

from dataflows.features import WEATHER_MORE, category_name, maintenance_names, weather_name
from dataflows.fleet.catalogue import grid_of
from dataflows.fleet.expressions import ExpressionError, parse
from dataflows.fleet.fleet import (
    CLEAR_SHARE,
    RESETS,
    Alert,
    AssetClass,
    AssetPolicy,
    Breaker,
    ClockPolicy,
    Connector,
    Costs,
    DriftPolicy,
    Fleet,
    Input,
    Kafka,
    KafkaInput,
    KafkaOutput,
    Limits,
    Model,
    Output,
    OwnFeatures,
    Promotion,
    Receiver,
    Relative,
    Secret,
    Target,
    Weather,
    Window,
)
from dataflows.fleet.models import (
    AssetBlueprint,
    Blueprint,
    SharedBlueprint,
    blueprint,
    from_folder,
    own_block,
)
from dataflows.fleet.problems import Loc, dotted, listed, nearest, shown
from dataflows.fleet.values import topic_name, url_problem
from dataflows.instants import HOUR, MICROSECONDS, format_duration
from dataflows.mapping.rules import problems_of
from dataflows.window_statistics import FAULT_STATISTICS, STATISTICS, feature_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from dataflows.fleet.document import CheckedDocument
    from dataflows.fleet.schema import ClassTable, ConnectorTable, ModelTable, TargetTable, WindowTable
    from dataflows.mapping.rules import Rule

__all__ = [
    "MOST_PANES",
    "Catalogue",
    "ClassLayout",
    "expand",
    "made_input",
    "made_kafka",
    "made_output",
    "targets",
]

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
    "conditions",
    "features",
)


@dataclass(frozen=True, slots=True)
class _Maker:
    """A place in the document, what it declares, and the features that it makes."""

    loc: Loc
    what: str
    features: tuple[str, ...]


class ClassLayout:
    """One resolved class; its problems are added to those of the draft."""

    def __init__(self, draft: CheckedDocument, name: str, table: ClassTable) -> None:
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
        self.relative = self._relative()
        relative = () if self.relative is None else self.relative.channels
        self.channels = (*self.sensors, *(name for name, _ in self.expressions), *relative)
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
            *self._makers_of_readings(sensors, relative),
            *(_Maker(loc, "a window", tuple(self._names(window))) for loc, window in windows),
            *self._makers_of_records(maintenance, attributes, categories),
            *self._makers_of_weather(weather),
        ]
        self.required = self._required()
        self.running = self._running()
        self._has_unbuilt = False
        self.own = tuple(self._own_features()) if self.is_whole else ()
        self._has_unbuilt = len(self.own) < len(table.features)
        self._makers += [
            _Maker((*self._loc, "features", own.name), "an entry of features", own.names) for own in self.own
        ]
        self._check_features_once()
        self._check_silence()

    def _makers_of_readings(self, sensors: Mapping[str, Loc], relative: Iterable[str]) -> list[_Maker]:
        """Return what makes features of the values of an event; none where the class has no values."""
        if not self.table.values:
            return []
        expressions, conditions = (*self._loc, "expressions"), (*self._loc, "conditions")
        return [
            *(_Maker(loc, "a sensor", (name,)) for name, loc in sensors.items()),
            *(_Maker((*expressions, name), "an expression", (name,)) for name, _ in self.expressions),
            *(_Maker(conditions, "a relative reading", (name,)) for name in relative),
        ]

    @staticmethod
    def _makers_of_records(
        maintenance: Mapping[str, Loc],
        attributes: Mapping[str, Loc],
        categories: Mapping[str, Mapping[str, Loc]],
    ) -> list[_Maker]:
        """Return what makes features of maintenance records and of the registry."""
        return [
            *(_Maker(loc, "a component", maintenance_names(name)) for name, loc in maintenance.items()),
            *(_Maker(loc, "an attribute", (name,)) for name, loc in attributes.items()),
            *(
                _Maker(loc, "a category", (category_name(name, value),))
                for name, values in categories.items()
                for value, loc in values.items()
            ),
        ]

    def _makers_of_weather(self, weather: Mapping[str, Loc]) -> list[_Maker]:
        """Return what makes features of weather: its values, and how old and of what kind they are."""
        if not weather:
            return []
        known = tuple(weather_name(name) for name in WEATHER_MORE)
        return [
            *(_Maker(loc, "a weather value", (weather_name(name),)) for name, loc in weather.items()),
            _Maker((*self._loc, "weather"), "weather", known),
        ]

    @property
    def is_whole(self) -> bool:
        """Whether all features are known, so that any other name is wrong."""
        return not self._has_unbuilt and not any(self._draft.is_broken(*self._loc, key) for key in _MAKERS)

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Names, in the order of the kinds of features."""
        return tuple(feature for maker in self._makers for feature in maker.features)

    def asset_class(self, targets: Mapping[str, Target]) -> AssetClass:
        """Build the class of the fleet."""
        of_class = tuple(name for name, target in targets.items() if target.asset_class == self.name)
        whole = replace(self._without_own(), features=self.features, own=self.own, targets=of_class)
        return replace(whole, limits=tuple(self._limits()))

    def _without_own(self) -> AssetClass:
        """Build the class without its targets, limits and features of kinds of your own."""
        table = self.table.weather
        weather = None
        if table is not None:
            weather = Weather(tuple(dict.fromkeys(table.values)), table.max_age, table.memory)
        return AssetClass(
            name=self.name,
            sensors=self.sensors,
            values=self.table.values,
            windows=self.windows,
            features=tuple(feature for maker in self._makers for feature in maker.features),
            allowed_lateness=self.table.allowed_lateness,
            example_every=self.table.example_every,
            targets=(),
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
            relative=self.relative,
            running=self.running,
        )

    def _own_features(self) -> Iterator[OwnFeatures]:
        """Resolve the features of kinds of your own; their classes are built once as a check."""
        known = self._without_own()
        for name, table in self.table.features.items():
            loc = (*self._loc, "features", name)
            found = own_block(table, loc, self._draft.problems)
            if found is None:
                continue
            block, parameters = found
            try:
                json.dumps(parameters)
                names = tuple(f"{name}:{feature}" for feature in block(known, None, **parameters).names)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - a constructor may raise anything
                came = f"{type(error).__name__}: {error}"
                self._draft.refuse(loc, f"parameters that {block.__name__} accepts", came)
                continue
            yield OwnFeatures(name, table["block"], parameters, names)

    def _limits(self) -> Iterator[Limits]:
        """Resolve the limits of each sensor; names must exist, ranges be in order, and aliases be its own."""
        taken: dict[str, str] = {}
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
            for place, alias in self._draft.numbered((*loc, "aliases"), table.aliases):
                if alias in self.sensors or alias in taken:
                    owner = (
                        f"the sensor {alias!r}" if alias in self.sensors else f"an alias of {taken[alias]!r}"
                    )
                    self._draft.refuse(place, "a name that no other sensor has", owner)
                taken[alias] = name
            names = tuple(table.aliases)
            yield Limits(name, least, most, tuple(table.sentinels), table.unit, names, table.stuck_after)

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

    def _relative(self) -> Relative | None:
        """Resolve the operating conditions; their sensors must exist, and widths be positive."""
        table, loc = self.table.conditions, (*self._loc, "conditions")
        if table is None or self._draft.is_broken(*loc):
            return None
        whole = not self._draft.is_broken(*self._loc, "sensors")
        for name, width in table.by.items():
            if whole and name not in self.sensors:
                expected = f"a sensor of the class, {listed(self.sensors)}"
                self._draft.refuse((*loc, "by", name), expected, shown(name), nearest(name, self.sensors))
            if not 0.0 < width < math.inf:
                self._draft.refuse((*loc, "by", name), "a width above 0", shown(width))
        others = [name for name in self.sensors if name not in table.by]
        for place, name in self._draft.numbered((*loc, "sensors"), table.sensors or ()):
            if whole and name not in others:
                expected = f"a sensor that tells no condition, {listed(others)}"
                self._draft.refuse(place, expected, shown(name), nearest(name, others))
        chosen = others if table.sensors is None else [name for name in others if name in table.sensors]
        return Relative(tuple(table.by.items()), tuple(chosen), table.most)

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

    def _running(self) -> str | None:
        """Condition at which a machine runs; the names in it must be sensors."""
        text, at = self.table.running, (*self._loc, "running")
        if text is None:
            return None
        try:
            names = parse(text).names
        except ExpressionError as error:
            self._draft.refuse(at, error.expected, error.got, error.hint)
            return None
        unknown = next((name for name in names if name not in self.sensors), None)
        if unknown is None:
            # Spaces make no other condition, so that they cost no windows.
            return " ".join(text.split())
        if not self._draft.is_broken(*self._loc, "sensors"):
            expected = f"sensors of the class, {listed(self.sensors)}"
            self._draft.refuse(at, expected, shown(unknown), nearest(unknown, self.sensors))
        return None

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
            if self.name in target.asset_class and not any(self._draft.is_broken(*place) for place in broken):
                yield f"horizon and label delay of {dotted(loc)}", max(target.horizon) + delay

    def _names(self, window: Window) -> Iterator[str]:
        for index in window.sensors:
            yield from (feature_name(self.channels[index], name, window.length) for name in window.statistics)
        for index in window.faults:
            yield from (
                feature_name(self.faults[index], name, window.length) for name in window.fault_statistics
            )

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


def _digest_of(pipeline: object) -> str:
    """Digest of a pipeline: of another one a shared model starts from nothing."""
    return hashlib.blake2b(
        json.dumps(pipeline, sort_keys=True, default=str).encode(), digest_size=8
    ).hexdigest()


def refit_of(table: ModelTable) -> dict[str, Any]:
    """Return the keys by which a model is fitted in batch; empty where it learns example by example."""
    if table.refit_every is None:
        return {}
    lag = {} if table.refit_lag is None else {"lag": table.refit_lag}
    return {"every": table.refit_every, "keep": table.keep, **lag}


#: The model that a target may name without an entry in the catalogue: a mixture of all its models.
MIXTURE = "mixture"
# Later records correct nothing: the scores are forgotten by then.
_HORIZONS_REMEMBERED = 3


class Catalogue:
    """Models by name, each built once as a check, and their input for each class."""

    def __init__(self, draft: CheckedDocument, folder: Path) -> None:
        self._draft = draft
        self._seen: dict[tuple[str, str], Model | None] = {}
        self._users: dict[str, list[ClassLayout]] = {}
        #: By shared model and sensor: a class that gives it, and the unit there.
        self._units: dict[tuple[str, str], tuple[str, str]] = {}
        self.names = draft.names("models")
        self._tables = draft.document.models
        self._blueprints = {
            name: blueprint(
                name,
                from_folder(table.pipeline, folder),
                ("models", name, "pipeline"),
                draft.problems,
                refit_of(table),
            )
            for name, table in self._tables.items()
            if table.pipeline and not draft.is_broken("models", name, "pipeline")
        }
        for name, table in self._tables.items():
            if not table.pipeline and not draft.is_broken("models", name, "pipeline"):
                draft.refuse(("models", name, "pipeline"), "this key, which has no default")

    def below(self, name: str) -> Sequence[str]:
        """Names of the models whose scores are the input of a model."""
        table = self._tables.get(name)
        return () if table is None else table.scores

    def model(self, name: str, layout: ClassLayout) -> Model | None:
        """Resolve a model for the targets of a class; None if something is wrong with it."""
        key = (name, layout.name)
        if key not in self._seen:
            self._users.setdefault(name, []).append(layout)
            self._seen[key] = self._model(name, layout)
        return self._seen[key]

    def _model(self, name: str, layout: ClassLayout) -> Model | None:
        build = self._blueprints.get(name)
        if build is None:
            return None
        table = self._tables[name]
        if table.scores:
            return self._stacked(name, layout, build)
        seen = tuple(
            index
            for index, feature in enumerate(layout.features)
            if any(fnmatchcase(feature, glob) for glob in table.features)
        )
        if build.names_features:
            seen = self._named(name, layout, build, seen)
        spec = {"pipeline": table.pipeline, **refit_of(table)}
        if table.scope == "class":
            return Model(name, spec, seen, build, least_positives=table.least_positives)
        if table.scope == "asset":
            of_assets = AssetBlueprint(build, table.least_positives)
            return Model(
                name, {**spec, "scope": "asset"}, seen, of_assets, least_positives=table.least_positives
            )
        self._check_units(name, layout, seen)
        shared = SharedBlueprint(f"{name}:{_digest_of(table.pipeline)}", build)
        return Model(
            name, {**spec, "scope": "fleet"}, seen, shared, shared=True, least_positives=table.least_positives
        )

    def _check_units(self, name: str, layout: ClassLayout, seen: Sequence[int]) -> None:
        """Refuse a sensor that two classes give a shared model under one name and in different units."""
        for sensor, table in layout.table.limits.items():
            features = (layout.features[index] for index in seen)
            if table.unit is None or not any(sensor in feature.split(":") for feature in features):
                continue
            owner, unit = self._units.setdefault((name, sensor), (layout.name, table.unit))
            if unit != table.unit:
                place = ("classes", layout.name, "limits", sensor, "unit")
                expected = f"{shown(unit)}, as in the class {owner}, since both share the model {name}"
                self._draft.refuse(place, expected, shown(table.unit))

    def _named(
        self, name: str, layout: ClassLayout, build: Blueprint, seen: tuple[int, ...]
    ) -> tuple[int, ...]:
        """Resolve the features of an estimator that names them itself; an unknown name is refused."""
        known = [layout.features[index] for index in seen]
        needed = build.features()
        if layout.is_whole:
            for feature in needed:
                if feature not in known:
                    expected = f"features of {layout.name} that it sees, {listed(known, most=6)}"
                    place = ("models", name, "pipeline")
                    self._draft.refuse(place, expected, shown(feature), nearest(feature, known))
        return tuple(index for index in seen if layout.features[index] in needed)

    def _stacked(self, name: str, layout: ClassLayout, build: Blueprint) -> Model | None:
        """Resolve a model of scores; its spec contains those of the models below: it depends on them."""
        table = self._tables[name]
        below = [self._seen_by(below, layout) for below in table.scores]
        known = [model for model in below if model is not None]
        if len(known) < len(below):
            return None
        links = getattr(build(), "links", None)
        if links is not None and {*links} != {*table.scores}:
            expected = f"links of the models in its scores, {', '.join(table.scores)}"
            self._draft.refuse(("models", name, "pipeline"), expected, ", ".join(links) or "none")
        return replace(_over(name, table.pipeline, known, build), least_positives=table.least_positives)

    def _seen_by(self, name: str, layout: ClassLayout) -> Model | None:
        table = self._tables.get(name)
        return None if table is None or table.scores else self.model(name, layout)

    def mixture(self, experts: Sequence[Model]) -> Model | None:
        """The model `MIXTURE` of a target that names it and finds none of that name in the catalogue.

        Args:
            experts: models of the target that see features.
        """
        pipeline = [{"estimator": "dataflows.estimators.Mixture"}]
        build = blueprint(MIXTURE, pipeline, ("models", MIXTURE, "pipeline"), self._draft.problems)
        return None if build is None else _over(MIXTURE, pipeline, experts, build)

    def check_refits(self) -> None:
        """Refuse keys of a fit in batch where there is none, or with scores as features."""
        for name, table in self._tables.items():
            for key in ("keep", "refit_lag"):
                if key in table.model_fields_set and table.refit_every is None:
                    self._draft.refuse(("models", name, key), "no such key without refit_every")
            if table.refit_every is not None and table.scores:
                self._draft.refuse(("models", name, "refit_every"), "a model of features", "one of scores")
            if table.scope != "class" and (table.scores or table.refit_every is not None):
                found = "one of scores" if table.scores else "one with refit_every"
                expected = "a model of features that learns example by example"
                self._draft.refuse(("models", name, "scope"), expected, found)

    def check_scores(self) -> None:
        """Refuse scores of unknown models, scores of models of scores, and globs together with scores."""
        for name, table in self._tables.items():
            if table.scores and "features" in table.model_fields_set:
                found = "both"
                self._draft.refuse(("models", name, "features"), "features or scores", found)
            plain = [
                other for other in self.names if other in self._tables and not self._tables[other].scores
            ]
            for loc, other in self._draft.numbered(("models", name, "scores"), table.scores):
                if other in self.names and other not in self._tables:
                    continue
                if other not in plain:
                    expected = f"a model that sees features, {listed(plain)}"
                    self._draft.refuse(loc, expected, shown(other), nearest(other, plain))

    def check_globs(self, layouts: Sequence[ClassLayout]) -> None:
        """Refuse globs that match nothing in the classes whose targets use the model (if none: in all)."""
        for name, table in self._tables.items():
            if table.scores:
                continue
            users = self._users.get(name, layouts)
            if not all(layout.is_whole for layout in users):
                continue
            features = list(dict.fromkeys(feature for layout in users for feature in layout.features))
            for loc, glob in self._draft.numbered(("models", name, "features"), table.features):
                if features and not any(fnmatchcase(feature, glob) for feature in features):
                    expected = f"a glob that matches a feature, {listed(features, most=6)}"
                    self._draft.refuse(loc, expected, shown(glob), nearest(glob, features))


def _over(
    name: str, pipeline: Sequence[Mapping[str, object]], below: Sequence[Model], build: Blueprint
) -> Model:
    """A model of the scores of others; its spec contains theirs: it depends on them."""
    spec = {
        "pipeline": pipeline,
        "scores": {model.name: {**model.spec, "features": model.features} for model in below},
    }
    features = sorted({index for model in below for index in model.features})
    return Model(name, spec, tuple(features), build, tuple(model.name for model in below))


def _has_mixture(table: TargetTable, catalogue: Catalogue) -> bool:
    """Whether a target names the mixture of all its models, and the catalogue has no model of that name."""
    return MIXTURE not in catalogue.names and MIXTURE in (
        table.champion,
        table.successor,
        *(table.models or ()),
    )


def _with_mixture(
    draft: CheckedDocument, loc: Loc, models: tuple[Model, ...], catalogue: Catalogue
) -> tuple[Model, ...]:
    """Add the mixture of all models of a target that see features."""
    experts = [model for model in models if not model.scores]
    if len(experts) < 2 and not draft.is_broken(*loc, "models") and not draft.is_refused("models"):  # noqa: PLR2004 - one is no mixture
        expected = f"at least two models that see features, for the {MIXTURE}"
        draft.refuse((*loc, "models"), expected, listed([model.name for model in experts]))
    mixture = catalogue.mixture(experts)
    return models if mixture is None else (*models, mixture)


def targets(
    draft: CheckedDocument, layouts: Mapping[str, ClassLayout], catalogue: Catalogue
) -> dict[str, Target]:
    """Expand every entry to the product class x mode x horizon, by name, in configured order."""
    made: dict[str, Target] = {}
    first: dict[str, Loc] = {}
    for loc, table in draft.numbered(("targets",), draft.document.targets):
        names = _model_names(draft, loc, table, catalogue)
        _check_named(draft, loc, table, names, catalogue, "champion")
        if table.successor is not None:
            _check_named(draft, loc, table, names, catalogue, "successor")
        _check_scores(draft, loc, names, catalogue)
        _check_alert(draft, loc, table)
        _check_costs(draft, loc, table)
        for layout in _layouts(draft, loc, table, layouts):
            models = tuple(
                model
                for name in names
                if (model := _sighted(draft, loc, layout, catalogue, name)) is not None
            )
            if _has_mixture(table, catalogue):
                models = _with_mixture(draft, loc, models, catalogue)
            for target in _product(draft, loc, table, layout, models):
                if target.name in made:
                    expected = f"a class, mode or horizon other than in {dotted(first[target.name])}"
                    draft.refuse(loc, expected, f"{target.name} again")
                made[target.name] = target
                first.setdefault(target.name, loc)
    return made


def _within(
    draft: CheckedDocument, loc: Loc, table: TargetTable, horizon: int, models: Sequence[Model]
) -> tuple[int, ...]:
    """Resolve the shorter horizons of a target, and refuse a model that tells no hours to failure."""
    within = tuple(sorted({*(table.within or ())}))
    if table.hours is None:
        if within:
            draft.refuse((*loc, "hours"), "the model that tells the hours to failure, for `within`")
        return within
    named = {model.name: model.build() for model in models}
    telling = {name: made.horizon * HOUR for name, made in named.items() if hasattr(made, "time_left")}
    if draft.is_broken(*loc, "models") or draft.is_refused("models"):
        return within
    if table.hours not in telling:
        expected = (
            "a model of the target that tells the hours to failure, as dataflows.estimators.Hazard does"
        )
        draft.refuse((*loc, "hours"), expected, shown(table.hours), nearest(table.hours, telling))
    elif telling[table.hours] != horizon:
        hours = f"horizon = {horizon / HOUR:g} in the model {table.hours}, as of the target"
        draft.refuse((*loc, "hours"), hours, f"{telling[table.hours] / HOUR:g}")
    if within and within[-1] >= horizon:
        expected = f"durations below the horizon, {format_duration(horizon)}"
        draft.refuse((*loc, "within"), expected, format_duration(within[-1]))
    return within


def _thinned(draft: CheckedDocument, loc: Loc, table: TargetTable, models: Sequence[Model]) -> int:
    """Resolve the thinning of negatives, and refuse a fitted model that cannot weigh what is left."""
    if table.thin_negatives > 1 and not draft.is_broken(*loc, "models"):
        # It needs the libraries of estimators, which few fleets load here.
        from dataflows.estimators.retrained import weight_parameter  # noqa: PLC0415

        fitted = {
            model.name: made.classifier for model in models if hasattr(made := model.build(), "classifier")
        }
        unable = [name for name, each in fitted.items() if weight_parameter(each) is None]
        expected = "models with refit_every whose classifiers take the weights of examples"
        if unable or not fitted:
            draft.refuse((*loc, "thin_negatives"), expected, ", ".join(unable) or "no model with refit_every")
    return table.thin_negatives


def _check_shared(draft: CheckedDocument, loc: Loc, table: TargetTable, models: Sequence[Model]) -> None:
    """Refuse what a target with a model of the fleet cannot have."""
    shared = [model.name for model in models if model.shared]
    if not shared:
        return
    if table.agree:
        draft.refuse((*loc, "agree"), f"no horizons that agree beside the shared model {shared[0]}")
    if table.relearn is not None:
        draft.refuse((*loc, "relearn"), f"no such key beside the shared model {shared[0]}")
    if table.drift == "reset" and (table.drift_model or table.champion) in shared:
        expected = "a model of one class for `reset`, since other classes need what it learned"
        draft.refuse((*loc, "drift_model"), expected, shown(table.drift_model or table.champion))


def _product(
    draft: CheckedDocument, loc: Loc, table: TargetTable, layout: ClassLayout, models: tuple[Model, ...]
) -> Iterator[Target]:
    if draft.is_broken(*loc, "mode") or draft.is_broken(*loc, "horizon"):
        return
    delay = layout.table.label_delay if table.label_delay is None else table.label_delay
    _check_shared(draft, loc, table, models)
    if table.relearn is not None and table.learn_positives == "at_once":
        draft.refuse((*loc, "relearn"), 'learn_positives = "together", which fixes the order of learning')
    for mode, horizon in product(table.mode, table.horizon):
        memory = _HORIZONS_REMEMBERED * horizon if table.label_memory is None else table.label_memory
        yield Target(
            name=f"{layout.name}/{mode}/{format_duration(horizon)}",
            asset_class=layout.name,
            mode=mode,
            component=table.component or mode,
            horizon=horizon,
            label_delay=delay,
            label_memory=memory,
            learn_positives=table.learn_positives,
            threshold=table.threshold,
            champion=table.champion,
            models=tuple(_of_horizon(model, layout.table.example_every, horizon) for model in models),
            alert=_alert(table),
            successor=table.successor,
            downtime=layout.table.downtime,
            promotion=_promotion(table, horizon),
            breaker=_breaker(table),
            drift=_drift(draft, loc, table, models),
            advice=table.advice,
            costs=_costs(table),
            verdict_weight=table.verdict_weight,
            prior=table.prior,
            hours=table.hours,
            relearn=table.relearn,
            within=_within(draft, loc, table, horizon, models),
            agrees=table.agree,
            thin_negatives=_thinned(draft, loc, table, models),
        )


def _of_horizon(model: Model, example_every: int, horizon: int) -> Model:
    """Let an example count, for the offset of its asset, for the share of the horizon that is its own."""
    if not isinstance(model.build, AssetBlueprint):
        return model
    return replace(model, build=replace(model.build, share=min(1.0, example_every / horizon)))


def _breaker(table: TargetTable) -> Breaker | None:
    """Resolve when a slow champion is replaced."""
    given = table.breaker
    return None if given is None else Breaker(given.latency, given.rows, given.commands)


def _promotion(table: TargetTable, horizon: int) -> Promotion | None:
    """Resolve how a champion is replaced; its level is that of the fleet until all targets are known."""
    if table.promotion == "off":
        return None
    return Promotion(
        auto=table.promotion == "auto",
        judge=table.judge,
        loss=table.judge_loss,
        positives=table.judge_positives,
        margin=table.judge_margin,
        cool_down=horizon if table.cool_down is None else table.cool_down,
        level=1.0,
    )


def _shared_level(made: Mapping[str, Target], level: float) -> dict[str, Target]:
    """Share the probability of a wrong promotion among the targets that promote."""
    sharing = sum(target.promotion is not None for target in made.values())
    return {
        name: target
        if target.promotion is None
        else replace(target, promotion=replace(target.promotion, level=level / sharing))
        for name, target in made.items()
    }


def _shared_alarms(made: Mapping[str, Target], alarms: float) -> dict[str, Target]:
    """Share the false alarms of drift among the targets that are watched."""
    sharing = sum(target.drift is not None for target in made.values())
    return {
        name: target
        if target.drift is None
        else replace(target, drift=replace(target.drift, alarms=alarms / sharing))
        for name, target in made.items()
    }


def _drift(
    draft: CheckedDocument, loc: Loc, table: TargetTable, models: tuple[Model, ...]
) -> DriftPolicy | None:
    """Resolve how a target is watched for drift; its budget is the fleet's until all targets are known."""
    if table.drift == "off":
        return None
    name, names = table.drift_model or table.champion, [model.name for model in models]
    place = (*loc, "drift_model")
    if table.drift_model is not None and name not in names:
        draft.refuse(place, f"a model of this target, {listed(names)}", shown(name), nearest(name, names))
    if table.drift == "reset" and name == table.champion:
        found = "no `drift_model`" if table.drift_model is None else shown(name)
        draft.refuse(place, "a challenger for `reset`, since a champion is never reset", found)
    detectors = _drift_detectors(draft, loc, table)
    return DriftPolicy(1.0, table.drift, name, table.compare_with, detectors)


def _drift_detectors(draft: CheckedDocument, loc: Loc, table: TargetTable) -> dict[str, Callable[[], Any]]:
    """Find the classes of the further detectors."""
    found: dict[str, Callable[[], Any]] = {}
    for place, path in draft.numbered((*loc, "drift_detectors"), table.drift_detectors):
        try:
            kind = pkgutil.resolve_name(path)
            detector = kind()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - foreign code, and any way in which it can fail
            expected = "the dotted path of a detector, such as `river.drift.ADWIN`"
            draft.refuse(place, expected, f"{shown(path)}: {error}")
            continue
        if not hasattr(detector, "update") or not hasattr(detector, "drift_detected"):
            draft.refuse(place, "a detector with `update` and `drift_detected`, as River's", shown(path))
        found[path] = kind
    return found


def _alert(table: TargetTable) -> Alert | None:
    """Resolve the thresholds of a target's alerts; None if it has no alerts."""
    if table.alert is None:
        return None
    opened = table.threshold if table.alert.open is None else table.alert.open
    cleared = CLEAR_SHARE * opened if table.alert.clear is None else table.alert.clear
    return Alert(opened, cleared, table.alert.dwell, table.alert.update_by)


def _costs(table: TargetTable) -> Costs | None:
    """Resolve the prices of a target; None if it has none."""
    given = table.costs
    return None if given is None else Costs(given.missed, given.false_alarm, given.repair)


def _check_costs(draft: CheckedDocument, loc: Loc, table: TargetTable) -> None:
    """Refuse a planned repair that costs as much as the failure: acting would never be worth it."""
    if table.costs is not None and table.costs.repair >= table.costs.missed:
        expected = f"less than a failure costs, {table.costs.missed:g}"
        draft.refuse((*loc, "costs", "repair"), expected, shown(table.costs.repair))


def _check_alert(draft: CheckedDocument, loc: Loc, table: TargetTable) -> None:
    alert = _alert(table)
    if alert is None or draft.is_broken(*loc, "threshold") or draft.is_broken(*loc, "alert", "open"):
        return
    if alert.clear > alert.open:
        expected = f"at most the score that opens, {alert.open:g}"
        draft.refuse((*loc, "alert", "clear"), expected, shown(alert.clear))


def _model_names(draft: CheckedDocument, loc: Loc, table: TargetTable, catalogue: Catalogue) -> list[str]:
    """Known models of a target, each once; unknown and repeated names are problems."""
    if table.models is None:
        return [] if draft.is_broken(*loc, "models") else catalogue.names
    names: dict[str, None] = {}
    for place, name in draft.numbered((*loc, "models"), table.models):
        if name in names:
            draft.refuse(place, "each name once", f"{shown(name)} again")
        elif name in catalogue.names:
            names[name] = None
        elif name == MIXTURE:
            continue
        elif grid := grid_of(catalogue.names, name):
            names.update(dict.fromkeys(grid))
        elif not draft.is_refused("models"):
            expected = f"a model, {listed(catalogue.names)}"
            draft.refuse(place, expected, shown(name), nearest(name, catalogue.names))
    return list(names)


def _check_named(
    draft: CheckedDocument, loc: Loc, table: TargetTable, names: Sequence[str], catalogue: Catalogue, key: str
) -> None:
    """Refuse a champion or successor that is not a model of the target."""
    if draft.is_refused("models") or any(draft.is_broken(*loc, place) for place in (key, "models")):
        return
    named = getattr(table, key)
    # A name that the catalogue does not know is refused where it is listed; it may be the misspelt champion.
    misspelt = len(names) < len({*(table.models or ())} - {MIXTURE})
    if named in names or (misspelt and named in catalogue.names):
        return
    if named == MIXTURE and _has_mixture(table, catalogue):
        return
    expected = f"a model of the target, {listed(names)}"
    draft.refuse((*loc, key), expected, shown(named), nearest(named, names))


def _check_scores(draft: CheckedDocument, loc: Loc, names: Sequence[str], catalogue: Catalogue) -> None:
    for name in names:
        missing = [
            other for other in catalogue.below(name) if other in catalogue.names and other not in names
        ]
        if missing and not draft.is_broken(*loc, "models"):
            expected = f"also {', '.join(missing)}, whose scores {name} sees"
            draft.refuse((*loc, "models"), expected, listed(names))


def _layouts(
    draft: CheckedDocument, loc: Loc, table: TargetTable, layouts: Mapping[str, ClassLayout]
) -> Iterator[ClassLayout]:
    """Yield the classes of a target; one that is unknown or has no features is a problem."""
    if draft.is_broken(*loc, "class"):
        return
    known = draft.names("classes")
    for place, name in draft.numbered((*loc, "class"), table.asset_class):
        layout = layouts.get(name)
        if layout is None:
            if name not in known and not draft.is_refused("classes"):
                draft.refuse(place, f"a class, {listed(known)}", shown(name), nearest(name, known))
            continue
        if layout.is_whole and not layout.features:
            expected = "a class with features, as sensors, faults, maintenance and attributes make them"
            draft.refuse(place, expected, f"{layout.name}, which has none")
        yield layout


def _sighted(
    draft: CheckedDocument, loc: Loc, layout: ClassLayout, catalogue: Catalogue, name: str
) -> Model | None:
    """Resolve a model, which must see at least one feature of the class."""
    model = catalogue.model(name, layout)
    if model is None or model.features or not layout.features or not layout.is_whole:
        return model
    if not draft.is_broken("models", name, "features"):
        expected = f"models that see a feature of {layout.name}"
        draft.refuse((*loc, "models"), expected, f"{name}, whose globs match none")
    return model


_LOGINS = ("user", "password_env", "password_file")
_CERTIFICATES = ("ca_file", "certificate_file", "key_file", "key_password_env", "key_password_file")
#: Longest name of an output: a prefix of topics has to leave room for it.
_LONGEST_OUTPUT = "predictions"


def made_input(draft: CheckedDocument, folder: Path) -> Input:
    """Resolve the input: files, topics, or another source."""
    table = draft.document.input
    kafka = None
    if table.kafka is not None:
        kafka = KafkaInput(
            tuple(dict.fromkeys([*table.kafka.topics, *table.kafka.shared])),
            table.kafka.group or f"highwater-{draft.document.name}",
            table.kafka.start,
            table.kafka.new_partitions,
            tuple(dict.fromkeys(table.kafka.shared)),
        )
    connector = _connector(draft, ("input", "connector"), table.connector, kafka=kafka is not None)
    other = "kafka" if kafka is not None else "connector" if connector is not None else None
    if not any(draft.is_broken("input", key) for key in ("files", "kafka", "connector")):
        if table.files and other is not None:
            draft.refuse(
                ("input", "files"), f"none together with `{other}`: one of the two", shown(table.files)
            )
        elif not table.files and other is None:
            draft.refuse(("input", "files"), "at least one, or topics under `kafka`", shown(table.files))
        _check_lanes(draft)
    shared = tuple(str(folder / file) for file in table.shared)
    return Input(
        (*(file if file == "-" else str(folder / file) for file in table.files), *shared),
        table.batch,
        table.follow,
        table.tick_every,
        table.tick_slack,
        table.journal_keep,
        kafka,
        _rules(draft),
        connector,
        lanes=table.lanes,
        shared=shared,
    )


def _check_lanes(draft: CheckedDocument) -> None:
    """Refuse lanes into which the input cannot be divided, and topics and files that are shared and not."""
    table = draft.document.input
    kafka = table.kafka
    of_files = kafka is None and table.connector is None
    if table.shared and not of_files:
        draft.refuse(("input", "shared"), "files together with `files`", shown(table.shared))
    doubled = [] if kafka is None else [topic for topic in kafka.topics if topic in kafka.shared]
    if doubled:
        draft.refuse(("input", "kafka", "shared"), "topics that `topics` does not name", shown(doubled))
    if table.lanes == 1:
        return
    if table.connector is not None:
        draft.refuse(("input", "lanes"), "1 together with `connector`", shown(table.lanes))
    elif of_files and table.map:
        draft.refuse(
            ("input", "lanes"), "1 together with `map`, which makes one recording", shown(table.lanes)
        )
    elif of_files and len(table.files) < table.lanes:
        draft.refuse(
            ("input", "lanes"),
            f"at most {len(table.files)}, the number of entries of `files`: a lane gets whole entries, and a "
            "glob is one entry",
            shown(table.lanes),
        )


def _connector(
    draft: CheckedDocument, loc: tuple[str, ...], table: ConnectorTable | None, *, kafka: bool
) -> Connector | None:
    """Resolve a source or sink of another kind; its own keys are checked by itself."""
    if table is None:
        return None
    if kafka:
        draft.refuse(loc, "none together with `kafka`: one of the two", shown(table.kind))
    return Connector(table.kind, table.settings)


def _rules(draft: CheckedDocument) -> tuple[Rule, ...]:
    """Check the rules that make events of the rows of files and topics."""
    table = draft.document.input
    if table.map and (table.connector or "-" in table.files):
        draft.refuse(("input", "map"), "files or topics: no `connector`, no standard input")
    live = table.kafka is not None or table.follow
    rules = []
    for loc, document in draft.numbered(("input", "map"), table.map):
        rule, problems = problems_of(document)
        for place, expected, given in problems:
            draft.refuse((*loc, *place), expected, None if given is None else shown(given))
        if rule is not None:
            rules.append(rule)
        for number, made in enumerate(rule.make if rule is not None and live else ()):
            place = (*loc, "make", number)
            if made.when == "last":
                draft.refuse((*place, "when"), "`each`: of rows that still come, none is the last", "'last'")
            if table.kafka is None and made.arrived is None and made.kind != "asset":
                draft.refuse(place, "`arrived`: rows of followed files need a time of receipt")
    return tuple(rules)


def made_output(draft: CheckedDocument, folder: Path) -> Output:
    """Resolve the output: its destination and its rows."""
    table = draft.document.output
    kafka = None
    if table.kafka is not None:
        prefix = table.kafka.prefix
        try:
            topic_name(prefix + _LONGEST_OUTPUT)
        except ValueError:
            expected = "letters, digits, '.', '_' and '-', 238 at most"
            draft.refuse(("output", "kafka", "prefix"), expected, shown(prefix))
        kafka = KafkaOutput(prefix, table.kafka.partitions, table.kafka.transaction_timeout)
    return Output(
        folder=folder / table.folder,
        features=table.features,
        publish=table.publish,
        changed_by=table.changed_by,
        rotate=table.rotate,
        kafka=kafka,
        connector=_connector(draft, ("output", "connector"), table.connector, kafka=table.kafka is not None),
    )


def made_kafka(draft: CheckedDocument, folder: Path) -> Kafka:
    """Resolve the connection; refuse keys that its security does not use, and keys that it lacks."""
    table = draft.document.kafka
    with_login, with_tls = table.security.startswith("sasl"), table.security.endswith("tls")
    for keys, wanted, where in ((_LOGINS, with_login, "sasl"), (_CERTIFICATES, with_tls, "tls")):
        for key in keys:
            if getattr(table, key) is not None and not wanted and not draft.is_broken("kafka", "security"):
                given = shown(table.security)
                draft.refuse(("kafka", key), f"no such key unless security is with {where}", given)
    password = _secret(draft, ("kafka", "password"), table.password_env, table.password_file, folder)
    if with_login:
        for key, value in (("user", table.user), ("password_env", password)):
            if value is None and not draft.is_broken("kafka", key):
                other = " or password_file" if value is password and key != "user" else ""
                draft.refuse(("kafka", key), f"this key{other}, since security is {shown(table.security)}")
    if (table.certificate_file is None) != (table.key_file is None):
        missing = "key_file" if table.key_file is None else "certificate_file"
        draft.refuse(("kafka", missing), "this key: a certificate and its key belong together")
    return Kafka(
        bootstrap=table.bootstrap,
        security=table.security,
        ca_file=_path(folder, table.ca_file),
        certificate_file=_path(folder, table.certificate_file),
        key_file=_path(folder, table.key_file),
        key_password=_secret(
            draft, ("kafka", "key_password"), table.key_password_env, table.key_password_file, folder
        ),
        mechanism=table.mechanism,
        user=table.user,
        password=password,
    )


def _path(folder: Path, path: str | None) -> str | None:
    return None if path is None else str(folder / path)


def _secret(
    draft: CheckedDocument, loc: Loc, env: str | None, file: str | None, folder: Path
) -> Secret | None:
    *table, what = loc
    if env is not None and file is not None:
        draft.refuse((*table, f"{what}_file"), f"none together with {what}_env: one of the two", shown(file))
    if env is None and file is None:
        return None
    return Secret(env, _path(folder, file))


def _receivers(draft: CheckedDocument, folder: Path) -> Iterator[Receiver]:
    """Resolve the receivers of alerts; refuse keys that their kind does not use."""
    written = draft.document.output
    if draft.document.notify and written.connector is not None:
        draft.refuse(("notify",), "outputs in files or topics, since alerts are read from them")
    for name, table in draft.document.notify.items():
        loc = ("notify", name)
        known = not draft.is_broken(*loc, "kind")
        if known and table.kind == "alertmanager":
            for key in ("secret_env", "secret_file"):
                if getattr(table, key) is not None:
                    draft.refuse((*loc, key), 'no such key unless kind is "webhook"', shown(table.kind))
        secret = _secret(draft, (*loc, "secret"), table.secret_env, table.secret_file, folder)
        if known and table.kind == "webhook" and secret is None and not draft.is_broken(*loc, "secret_env"):
            draft.refuse((*loc, "secret_env"), "this key or secret_file: every webhook is signed")
        token = _secret(draft, (*loc, "token"), table.token_env, table.token_file, folder)
        hidden = _secret(draft, (*loc, "url"), table.url_env, table.url_file, folder)
        if (table.url is None) == (hidden is None) and not draft.is_broken(*loc):
            draft.refuse((*loc, "url"), "exactly one of url, url_env and url_file")
        if table.url is not None and (problem := url_problem(table.url, secret=token is not None)):
            draft.refuse((*loc, "url"), problem, shown(table.url))
        if table.expires_after < 3 * table.repost_every:
            expected = f"at least three times repost_every, {format_duration(3 * table.repost_every)}"
            draft.refuse((*loc, "expires_after"), expected, format_duration(table.expires_after))
        yield Receiver(
            name=name,
            kind=table.kind,
            url=table.url,
            url_secret=hidden,
            about=tuple(dict.fromkeys(table.about)),
            labels=table.labels,
            secret=secret,
            token=token,
            ca_file=_path(folder, table.ca_file),
            repost_every=table.repost_every,
            expires_after=table.expires_after,
            hold=table.hold,
        )


# One record after a long pause waits for all of them.
_MOST_EXPIRIES = 100_000


def expand(draft: CheckedDocument, path: Path) -> Fleet:
    """Expand a draft to a fleet, which is valid only if the draft has no problems afterwards.

    Args:
        draft: the document; unknown names and impossible combinations are added to its problems.
        path: the file; relative paths start at its folder.
    """
    document, folder = draft.document, path.parent
    layouts = {name: ClassLayout(draft, name, table) for name, table in document.classes.items()}
    assets = _asset_policy(draft, folder)
    catalogue = Catalogue(draft, folder)
    made = _shared_level(targets(draft, layouts, catalogue), document.wrong_promotions)
    made = _shared_alarms(made, document.false_drift_alarms_per_year)
    catalogue.check_globs(list(layouts.values()))
    catalogue.check_scores()
    catalogue.check_refits()
    fleet = Fleet(
        name=document.name,
        path=path,
        figures_from=document.figures_from,
        metrics_every=document.metrics_every,
        input=made_input(draft, folder),
        output=made_output(draft, folder),
        assets=assets,
        classes={name: layout.asset_class(made) for name, layout in layouts.items()},
        targets=made,
        max_internal_errors=document.max_internal_errors,
        kafka=made_kafka(draft, folder),
        notify={receiver.name: receiver for receiver in _receivers(draft, folder)},
    )
    _check_expiries(draft, fleet)
    return fleet


def _check_expiries(draft: CheckedDocument, fleet: Fleet) -> None:
    """Refuse an ``idle_timeout`` by which one record could cause too many expiries of one silent asset."""
    for name, found in fleet.classes.items():
        places = [("targets",), ("classes", name), ("assets", "max_future")]
        if found.idle_timeout is None or any(draft.is_broken(*place) for place in places):
            continue
        reach = fleet.reach(name)
        span = reach if found.asset_ttl is None else min(reach, found.asset_ttl)
        if span > _MOST_EXPIRIES * found.idle_timeout:
            # Whole seconds read better, and are never less than what is needed.
            second = MICROSECONDS["s"]
            least = -(-span // (_MOST_EXPIRIES * second)) * second
            expected = (
                f"at least {format_duration(least)}, since a silent asset is watched for "
                f"{format_duration(span)}, in up to {_MOST_EXPIRIES:,} steps"
            )
            got = format_duration(found.idle_timeout)
            draft.refuse(("classes", name, "idle_timeout"), expected, got)


def _asset_policy(draft: CheckedDocument, folder: Path) -> AssetPolicy:
    table, classes, loc = draft.document.assets, draft.names("classes"), ("assets", "adopt_as")
    adopt_as = table.adopt_as
    if adopt_as is not None:
        if adopt_as not in classes and not draft.is_refused("classes"):
            draft.refuse(loc, f"a class, {listed(classes)}", shown(adopt_as), nearest(adopt_as, classes))
    elif len(classes) == 1:
        adopt_as = classes[0]
    elif table.unknown == "adopt" and classes and not draft.is_broken("assets", "unknown"):
        draft.refuse(loc, f'the class of unknown assets, {listed(classes)}, or unknown = "reject"')
    return AssetPolicy(
        unknown=table.unknown,
        adopt_as=adopt_as if table.unknown == "adopt" else None,
        max_assets=table.max_assets,
        registry=tuple(str(folder / file) for file in table.registry),
        max_future=table.max_future,
        max_past=table.max_past,
        max_arrival_jump=table.max_arrival_jump,
        max_tombstones=table.max_tombstones,
        max_weather=table.max_weather,
        clock=None if table.clock is None else ClockPolicy(table.clock.tolerance, table.clock.quarantine),
    )
