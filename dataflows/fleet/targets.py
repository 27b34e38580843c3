"""Resolve the targets of a fleet, and the input of each of their models."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import product
from typing import TYPE_CHECKING

from dataflows.fleet.errors import Loc, dotted, listed, nearest, shown
from dataflows.fleet.models import Blueprint, blueprint
from dataflows.fleet.plan import CLEAR_SHARE, Alert, Model, Target
from dataflows.instants import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dataflows.fleet.draft import Draft
    from dataflows.fleet.layout import Layout
    from dataflows.fleet.schema import TargetTable

__all__ = ["Catalogue", "targets"]

# Later records correct nothing: the scores are forgotten by then.
_HORIZONS_REMEMBERED = 3


class Catalogue:
    """Models by name, each built once as a check, and their input for each class."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._seen: dict[tuple[str, str], Model | None] = {}
        self._users: dict[str, list[Layout]] = {}
        self.names = draft.names("models")
        self._tables = draft.document.models
        self._blueprints = {
            name: blueprint(name, table.pipeline, ("models", name, "pipeline"), draft.problems)
            for name, table in self._tables.items()
            if not draft.is_broken("models", name, "pipeline")
        }

    def below(self, name: str) -> Sequence[str]:
        """Names of the models whose scores are the input of a model."""
        table = self._tables.get(name)
        return () if table is None else table.scores

    def model(self, name: str, layout: Layout) -> Model | None:
        """Resolve a model for the targets of a class; None if something is wrong with it."""
        key = (name, layout.name)
        if key not in self._seen:
            self._users.setdefault(name, []).append(layout)
            self._seen[key] = self._model(name, layout)
        return self._seen[key]

    def _model(self, name: str, layout: Layout) -> Model | None:
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
        return Model(name, {"pipeline": table.pipeline}, seen, build)

    def _stacked(self, name: str, layout: Layout, build: Blueprint) -> Model | None:
        """Resolve a model of scores; its spec contains those of the models below: it depends on them."""
        table = self._tables[name]
        below = [self._seen_by(below, layout) for below in table.scores]
        known = [model for model in below if model is not None]
        if len(known) < len(below):
            return None
        spec = {
            "pipeline": table.pipeline,
            "scores": {model.name: {**model.spec, "features": model.features} for model in known},
        }
        features = sorted({index for model in known for index in model.features})
        return Model(name, spec, tuple(features), build, tuple(table.scores))

    def _seen_by(self, name: str, layout: Layout) -> Model | None:
        table = self._tables.get(name)
        return None if table is None or table.scores else self.model(name, layout)

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

    def check_globs(self, layouts: Sequence[Layout]) -> None:
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


def targets(draft: Draft, layouts: Mapping[str, Layout], catalogue: Catalogue) -> dict[str, Target]:
    """Expand every entry to the product mode x horizon, by name, in configured order."""
    made: dict[str, Target] = {}
    first: dict[str, Loc] = {}
    for loc, table in draft.numbered(("targets",), draft.document.targets):
        names = _model_names(draft, loc, table, catalogue)
        _check_named(draft, loc, table, names, catalogue, "champion")
        if table.successor is not None:
            _check_named(draft, loc, table, names, catalogue, "successor")
        _check_scores(draft, loc, names, catalogue)
        _check_alert(draft, loc, table)
        layout = _layout(draft, loc, table, layouts)
        if layout is None:
            continue
        models = tuple(
            model for name in names if (model := _sighted(draft, loc, layout, catalogue, name)) is not None
        )
        for target in _product(draft, loc, table, layout, models):
            if target.name in made:
                expected = f"a class, mode or horizon other than in {dotted(first[target.name])}"
                draft.refuse(loc, expected, f"{target.name} again")
            made[target.name] = target
            first.setdefault(target.name, loc)
    return made


def _product(
    draft: Draft, loc: Loc, table: TargetTable, layout: Layout, models: tuple[Model, ...]
) -> Iterator[Target]:
    if draft.is_broken(*loc, "mode") or draft.is_broken(*loc, "horizon"):
        return
    delay = layout.table.label_delay if table.label_delay is None else table.label_delay
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
            models=models,
            alert=_alert(table),
            successor=table.successor,
            downtime=layout.table.downtime,
        )


def _alert(table: TargetTable) -> Alert | None:
    """Resolve the thresholds of a target's alerts; None if it has no alerts."""
    if table.alert is None:
        return None
    opened = table.threshold if table.alert.open is None else table.alert.open
    cleared = CLEAR_SHARE * opened if table.alert.clear is None else table.alert.clear
    return Alert(opened, cleared, table.alert.dwell, table.alert.update_by)


def _check_alert(draft: Draft, loc: Loc, table: TargetTable) -> None:
    alert = _alert(table)
    if alert is None or draft.is_broken(*loc, "threshold") or draft.is_broken(*loc, "alert", "open"):
        return
    if alert.clear > alert.open:
        expected = f"at most the score that opens, {alert.open:g}"
        draft.refuse((*loc, "alert", "clear"), expected, shown(alert.clear))


def _model_names(draft: Draft, loc: Loc, table: TargetTable, catalogue: Catalogue) -> list[str]:
    """Known models of a target, each once; unknown and repeated names are problems."""
    if table.models is None:
        return [] if draft.is_broken(*loc, "models") else catalogue.names
    names: dict[str, None] = {}
    for place, name in draft.numbered((*loc, "models"), table.models):
        if name in names:
            draft.refuse(place, "each name once", f"{shown(name)} again")
        elif name in catalogue.names:
            names[name] = None
        elif not draft.is_refused("models"):
            expected = f"a model, {listed(catalogue.names)}"
            draft.refuse(place, expected, shown(name), nearest(name, catalogue.names))
    return list(names)


def _check_named(
    draft: Draft, loc: Loc, table: TargetTable, names: Sequence[str], catalogue: Catalogue, key: str
) -> None:
    """Refuse a champion or successor that is not a model of the target."""
    if draft.is_refused("models") or any(draft.is_broken(*loc, place) for place in (key, "models")):
        return
    named = getattr(table, key)
    # A name that the catalogue does not know is refused where it is listed; it may be the misspelt champion.
    misspelt = len(names) < len(set(table.models or ()))
    if named in (table.models or names) or (misspelt and named in catalogue.names):
        return
    expected = f"a model of the target, {listed(names)}"
    draft.refuse((*loc, key), expected, shown(named), nearest(named, names))


def _check_scores(draft: Draft, loc: Loc, names: Sequence[str], catalogue: Catalogue) -> None:
    for name in names:
        missing = [
            other for other in catalogue.below(name) if other in catalogue.names and other not in names
        ]
        if missing and not draft.is_broken(*loc, "models"):
            expected = f"also {', '.join(missing)}, whose scores {name} sees"
            draft.refuse((*loc, "models"), expected, listed(names))


def _layout(draft: Draft, loc: Loc, table: TargetTable, layouts: Mapping[str, Layout]) -> Layout | None:
    """Resolve the class of a target; None, and a problem, if it is unknown or has no features."""
    if draft.is_broken(*loc, "class"):
        return None
    place, known = (*loc, "class"), draft.names("classes")
    layout = layouts.get(table.asset_class)
    if layout is None:
        if table.asset_class not in known and not draft.is_refused("classes"):
            draft.refuse(
                place,
                f"a class, {listed(known)}",
                shown(table.asset_class),
                nearest(table.asset_class, known),
            )
        return None
    if layout.is_whole and not layout.features:
        expected = "a class with features, as sensors, faults, maintenance and attributes make them"
        draft.refuse(place, expected, f"{layout.name}, which has none")
    return layout


def _sighted(draft: Draft, loc: Loc, layout: Layout, catalogue: Catalogue, name: str) -> Model | None:
    """Resolve a model, which must see at least one feature of the class."""
    model = catalogue.model(name, layout)
    if model is None or model.features or not layout.features or not layout.is_whole:
        return model
    if not draft.is_broken("models", name, "features"):
        expected = f"models that see a feature of {layout.name}"
        draft.refuse((*loc, "models"), expected, f"{name}, whose globs match none")
    return model
