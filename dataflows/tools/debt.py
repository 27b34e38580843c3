"""``python -m dataflows check fleet.toml --debt``: find what a fleet does not use, and what is out of date.

It reads the fleet.toml, the outputs of the run and the manifest of its store. Each finding says what to do.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from dataflows.connectors.file_sink import files_of
from dataflows.estimators import Prior
from dataflows.evaluation.reading import whole_rows
from dataflows.fleet.expressions import parse
from dataflows.instants import MICROSECONDS, format_duration, parse_instant, shown_instant
from dataflows.recovery.manifest import changes_of, read_manifest
from dataflows.state.layouts import FleetChangedError
from dataflows.target.models import spec_digest
from dataflows.tools.health import Finding
from dataflows.tools.tables import command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from dataflows.fleet.fleet import AssetClass, Fleet, Target

__all__ = ["debt"]

#: Fewest examples, and fewest positives among them, by which a model is judged.
_EXAMPLES, _POSITIVES = 200, 10
#: Horizons, and the least time, without a positive label before that is a finding.
_HORIZONS, _LONG = 10, 30 * MICROSECONDS["d"]
#: Most names in one finding.
_NAMED = 6


def debt(fleet: Fleet, store: Path) -> list[Finding]:
    """Return what a fleet does not use and what is out of date; one finding ``ok`` if there is nothing.

    Args:
        fleet: the fleet.
        store: folder of its recovery store; it may be missing.

    Raises:
        StoreError: the manifest of the store is damaged.
    """
    folder = fleet.output.folder
    metrics = list(whole_rows(folder, "metrics")) if files_of(folder / "metrics.jsonl") else []
    changes = list(whole_rows(folder, "changes")) if files_of(folder / "changes.jsonl") else []
    found = [
        *_models(fleet, [row for row in metrics if row.get("kind") == "model"]),
        *(each for asset_class in fleet.classes.values() for each in _unused(fleet, asset_class)),
        *_labels(fleet, [row for row in metrics if row.get("kind") == "model" and row["champion"]]),
        *_thresholds(fleet, changes),
        *_configuration(fleet, store, changes),
    ]
    if not metrics:
        what = f"{folder} holds no metrics: models, labels and thresholds were not looked at"
        found.append(Finding("warning", "run", what, f"run the fleet first: {command('run fleet.toml')}"))
    return found or [Finding("ok", "fleet", "nothing that it does not need")]


def _models(fleet: Fleet, rows: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    """Find models whose log loss is below neither that of the base rate nor that of another model."""
    by_target: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["examples"]:
            by_target[row["target"]][row["model"]].append(row)
    for target in fleet.targets.values():
        read = {name for model in target.models for name in model.scores}
        losses = {name: _loss(of) for name, of in by_target[target.name].items() if _enough(of)}
        for model in target.models:
            mine = losses.get(model.name)
            if mine is None or model.name == target.hours or isinstance(model.build(), Prior):
                continue
            base = _base_rate_loss(by_target[target.name][model.name])
            others = [loss for name, loss in losses.items() if name != model.name]
            if mine < base or any(mine < loss for loss in others):
                continue
            todo = "take it out of `models` of this target"
            if model.name == target.champion:
                todo = f"let another model serve: name it as champion, or `{command('command')}`"
            elif model.name in read:
                todo = "take it out of the models of scores that see it, or keep it as their expert"
            what = f"model {model.name} beats nobody: log loss {mine:.4f}, the base rate has {base:.4f}"
            yield Finding("warning", target.name, what, todo)


def _enough(rows: Iterable[dict[str, Any]]) -> bool:
    rows = list(rows)
    examples, positives = (sum(row[key] for row in rows) for key in ("examples", "positives"))
    return bool(examples >= _EXAMPLES and positives >= _POSITIVES)


def _loss(rows: Sequence[dict[str, Any]]) -> float:
    """Mean log loss over periods."""
    examples: int = sum(row["examples"] for row in rows)
    return math.fsum(row["log_loss"] * row["examples"] for row in rows) / examples


def _base_rate_loss(rows: Sequence[dict[str, Any]]) -> float:
    """Log loss of a constant score that equals the share of positives of all periods."""
    rate: float = sum(row["positives"] for row in rows) / sum(row["examples"] for row in rows)
    return -math.fsum(p * math.log(p) for p in (rate, 1 - rate) if p > 0)


def _unused(fleet: Fleet, asset_class: AssetClass) -> Iterator[Finding]:
    """Find features that no model sees, and sensors without a feature."""
    about = f"class {asset_class.name}"
    if not asset_class.targets:
        yield Finding("warning", about, "it has no target", "add one, or take the class out")
        return
    models = [model for name in asset_class.targets for model in fleet.targets[name].models]
    seen = {index for model in models for index in model.features}
    idle = [name for index, name in enumerate(asset_class.features) if index not in seen]
    if idle:
        what = f"{len(idle)} of {len(asset_class.features)} features that no model sees: {_some(idle)}"
        todo = "take their windows, sensors or statistics out, or let a model see them"
        yield Finding("warning", about, what, todo)
    useless = [sensor for sensor in asset_class.sensors if not _makes_features(asset_class, sensor)]
    if useless:
        what = f"{len(useless)} of {len(asset_class.sensors)} sensors without a feature: {_some(useless)}"
        yield Finding("warning", about, what, "add them to a window, or take them out of `sensors`")


def _makes_features(asset_class: AssetClass, sensor: str) -> bool:
    """Whether a sensor is a feature, or a window, expression, condition or feature of your own reads it."""
    channels = {sensor, f"{sensor}.relative"}
    channels |= {name for name, text in asset_class.expressions if sensor in parse(text).names}
    windows = {asset_class.channels[index] for window in asset_class.windows for index in window.sensors}
    relative = asset_class.relative
    return (
        asset_class.values
        or bool(channels & windows)
        or (relative is not None and sensor in {name for name, _ in relative.by})
        or any(sensor in str(own.parameters) for own in asset_class.own)
    )


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _labels(fleet: Fleet, rows: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    """Find targets that have had no positive label for a long time."""
    by_target: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_target[row["target"]].append(row)
    todo = "are failures still reported, under this mode? Else take the target out"
    for target in fleet.targets.values():
        periods = by_target[target.name]
        if not periods:
            continue
        last = max((row["to"] for row in periods if row["positives"]), default=None)
        since = last or min(row["from"] for row in periods)
        now = max(row["to"] for row in periods)
        if parse_instant(now) - parse_instant(since) <= max(_HORIZONS * target.horizon, _LONG):
            continue
        ago = format_duration(parse_instant(now) - parse_instant(since))
        what = f"no failure labelled since {shown_instant(parse_instant(since))}, {ago} of the stream"
        what += "" if last else "; there never was one"
        yield Finding("warning", target.name, what, todo)


def _thresholds(fleet: Fleet, rows: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    """Find thresholds that are older than the champion whose scores they divide."""
    for target in fleet.targets.values():
        of = [row for row in rows if row.get("target") == target.name]
        served = [row for row in of if row["change"] == "champion"]
        since = [row for row in of if row["change"] == "threshold"]
        if not served or not since or _sets(target) != (since[-1]["threshold"], since[-1]["open"]):
            continue
        if since[-1]["sequence"] >= served[-1]["sequence"]:
            continue
        model, version = served[-1]["model"], served[-1]["version"]
        what = (
            f"its thresholds stand since {_at(since[-1])}, before {model}, version {version}, became "
            f"champion at {_at(served[-1])}"
        )
        todo = f"choose them on the scores of this model: {command('thresholds')}"
        yield Finding("warning", target.name, what, todo)


def _sets(target: Target) -> tuple[float, float | None]:
    return target.threshold, None if target.alert is None else target.alert.open


def _at(row: dict[str, Any]) -> str:
    return shown_instant(parse_instant(row["known"]))


def _configuration(fleet: Fleet, store: Path, rows: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    """Compare the fleet.toml with that of the last run on the store."""
    manifest = read_manifest(store) if store.exists() else None
    if manifest is None:
        return
    now = hashlib.blake2b(fleet.path.read_bytes(), digest_size=12).hexdigest()
    if now == manifest.run.configuration:
        return
    try:
        lost = [f"{change.name}: {change.why}" for change in changes_of(manifest, fleet)]
    except FleetChangedError as error:
        yield Finding(
            "failure", "store", str(error), "use the fleet.toml of this store, or another --recovery"
        )
        return
    what = f"{fleet.path.name} is not the one of the last run on {store} ({manifest.run.started})"
    others = sorted(_otherwise(fleet, rows))
    what += f"; new or changed models: {_some(others)}" if others else ""
    todo = "the next run uses it: changed models start as challengers; or put the former file back"
    yield Finding("warning", "store", what, todo)
    for each in lost:
        yield Finding("failure", "store", f"it cannot go on: {each}", "put it back, or run with --migrate")


def _otherwise(fleet: Fleet, rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield models, of targets that ran, whose configuration no row of their lineage has."""
    known: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for row in rows:
        if row["change"] == "lineage":
            known[row["target"]].add((row["model"], row["digest"]))
    for target in fleet.targets.values():
        features = fleet.classes[target.asset_class].features
        if target.name in known:
            for model in target.models:
                if (model.name, spec_digest(model, features)) not in known[target.name]:
                    yield f"{model.name} of {target.name}"
