"""What a ``fleet.toml`` expands to: resolved, frozen, and free of anything that is not needed to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = [
    "STATISTICS",
    "AssetClass",
    "AssetPolicy",
    "Fleet",
    "Input",
    "Model",
    "Output",
    "Target",
    "Window",
]

#: Statistics of a sensor over a window, in the order in which features are laid out.
STATISTICS = ("count", "missing", "mean", "std", "min", "max", "slope", "delta", "last", "age")


@dataclass(frozen=True, slots=True)
class Window:
    """One event-time window; at time t it covers (floor(t / hop) * hop - length, t].

    Attributes:
        length: microseconds, a multiple of ``hop``.
        hop: microseconds.
        statistics: a subset of `STATISTICS`, in that order.
        sensors: indices into the sensors of the class, ascending.
    """

    length: int
    hop: int
    statistics: tuple[str, ...]
    sensors: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of the catalogue as a target uses it.

    Attributes:
        name: its name in the catalogue.
        spec: the pipeline as configured; what makes two models the same model.
        features: indices into the feature names of the class, ascending.
        build: makes a fresh estimator with River's protocol.
    """

    name: str
    spec: Mapping[str, Any]
    features: tuple[int, ...]
    build: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Target:
    """What is predicted: "this mode within this horizon", for one class of assets.

    Attributes:
        name: ``class/mode/horizon``.
        horizon: microseconds.
        label_delay: microseconds that a failure record may come after the horizon has passed.
        label_memory: microseconds after maturing in which a record can still correct the label.
        component: whose maintenance censors.
        threshold: the score from which on an alert would be raised; precision and recall use it.
        champion: the model whose score is published when the target is new.
    """

    name: str
    asset_class: str
    mode: str
    component: str
    horizon: int
    label_delay: int
    label_memory: int
    learn_positives: Literal["together", "at_once"]
    threshold: float
    champion: str
    models: tuple[Model, ...]


@dataclass(frozen=True, slots=True)
class AssetClass:
    """Assets that share sensors, features and models.

    Attributes:
        sensors: names, in the order of the readings arrays.
        values: whether the event's own readings are features.
        windows: in configured order.
        features: names, in the order of the feature arrays: the values, then for each window, for each of
            its sensors, its statistics.
        allowed_lateness: microseconds below the largest event time up to which late events are merged.
        example_every: microseconds, the grid of examples.
        targets: names of the targets of this class.
    """

    name: str
    sensors: tuple[str, ...]
    values: bool
    windows: tuple[Window, ...]
    features: tuple[str, ...]
    allowed_lateness: int
    example_every: int
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AssetPolicy:
    """What happens to assets that no registry row named."""

    unknown: Literal["adopt", "reject"]
    adopt_as: str | None
    max_assets: int


@dataclass(frozen=True, slots=True)
class Input:
    """Where records come from: paths or globs, ``-`` for standard input; records a source batch."""

    files: tuple[str, ...]
    batch: int


@dataclass(frozen=True, slots=True)
class Output:
    """Where rows go, and which of them carry the feature vector."""

    folder: Path
    features: Literal["none", "examples", "all"]


@dataclass(frozen=True, slots=True)
class Fleet:
    """One fleet: its name, its streams, its classes and its targets.

    Attributes:
        path: the file it was read from.
        figures_from: examples before this instant count in no figure of the summary; None: all count.
        metrics_every: microseconds of knowledge time in one row of the metrics.
        classes: by name.
        targets: by name.
    """

    name: str
    path: Path
    figures_from: int | None
    metrics_every: int
    input: Input
    output: Output
    assets: AssetPolicy
    classes: Mapping[str, AssetClass]
    targets: Mapping[str, Target]
