"""Small fleets, and what the engine does with a stage in parts, for the tests of the group."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from river import compose, linear_model, naive_bayes, preprocessing, tree

from dataflows.estimators import Prior
from dataflows.fleet.fleet import AssetClass, AssetPolicy, Fleet, Input, Model, Output, Target, Window
from dataflows.instants import HOUR

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["BUILDS", "FEATURES", "PartStore", "Parted", "fleet", "model", "target", "vector"]

FEATURES = ("x", "y", "x:mean:3h", "y:mean:3h", "x:max:3h", "y:max:3h")


def _linear() -> compose.Pipeline:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


BUILDS: dict[str, Callable[[], Any]] = {
    "prior": Prior,
    "linear": _linear,
    "bayes": naive_bayes.GaussianNB,
    "tree": lambda: tree.HoeffdingTreeClassifier(grace_period=5, max_depth=3),
}


def model(
    name: str,
    build: Callable[[], Any] | None = None,
    features: Sequence[int] = tuple(range(len(FEATURES))),
    **spec: object,
) -> Model:
    """A model of the catalogue; its spec is its name and what is given."""
    return Model(name, {"name": name, **spec}, tuple(features), build or BUILDS[name])


def target(models: Iterable[Model], **changes: object) -> Target:
    """A target of 4 h, labels 1 h late."""
    models = tuple(models)
    settings: dict[str, Any] = {
        "name": "pump/leak/4h",
        "asset_class": "pump",
        "mode": "leak",
        "component": "seal",
        "horizon": 4 * HOUR,
        "label_delay": HOUR,
        "label_memory": 8 * HOUR,
        "learn_positives": "together",
        "threshold": 0.5,
        "champion": models[0].name,
        "models": models,
    }
    return Target(**{**settings, **changes})


def fleet(of: Target, **changes: object) -> Fleet:
    """A fleet of pumps with one target."""
    pump = AssetClass(
        name="pump",
        sensors=("x", "y"),
        values=True,
        windows=(Window(3 * HOUR, HOUR, ("mean", "max"), (0, 1)),),
        features=("x", "y", "x:mean:3h", "x:max:3h", "y:mean:3h", "y:max:3h"),
        allowed_lateness=HOUR,
        example_every=HOUR,
        targets=(of.name,),
    )
    settings: dict[str, Any] = {
        "name": "pumps",
        "path": Path("fleet.toml"),
        "figures_from": 4 * HOUR,
        "metrics_every": 6 * HOUR,
        "input": Input(("-",), 1),
        "output": Output(Path("out"), "examples"),
        "assets": AssetPolicy("adopt", "pump", 100),
        "classes": {"pump": pump},
        "targets": {of.name: of},
    }
    return Fleet(**{**settings, **changes})


def vector(*values: float) -> bytes:
    """A feature vector, short of values filled up with zeros."""
    return np.array([*values, *[0.0] * (len(FEATURES) - len(values))], dtype=np.float64).tobytes()


class Parted(Protocol):
    """A stage in parts, as far as it is written."""

    def changed(self) -> Iterable[int]: ...
    def main_snapshot(self) -> bytes: ...
    def part_snapshot(self, part: int) -> bytes: ...


class PartStore:
    """What the recovery store holds of a stage: the main part, and the parts as they last changed."""

    def __init__(self) -> None:
        self.main: bytes | None = None
        self.parts: dict[int, bytes] = {}
        self.awake: set[int] = set()

    def after_batch(self, stage: Parted) -> None:
        """Ask what changed, as the engine's step does after each activation."""
        self.awake.update(stage.changed())

    def end_epoch(self, stage: Parted, shuffler: random.Random | None = None) -> dict[int, int]:
        """Write; the engine promises no order among parts. Returns the bytes written, by part."""
        order = sorted(self.awake)
        if shuffler is not None:
            shuffler.shuffle(order)
        main_first = shuffler is None or shuffler.random() < 0.5
        if main_first:
            self.main = stage.main_snapshot()
        for part in order:
            self.parts[part] = stage.part_snapshot(part)
        if not main_first:
            self.main = stage.main_snapshot()
        self.awake.clear()
        return {part: len(self.parts[part]) for part in order}

    def crash(self) -> tuple[bytes | None, dict[int, bytes]]:
        """What a new process finds."""
        self.awake.clear()
        return self.main, dict(self.parts)
