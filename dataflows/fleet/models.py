"""Models by name: an estimator from ``{ estimator = "river...", **parameters }``, and pipelines of them.

A class with a parameter called ``estimator`` is written ``{ class = "river...", estimator = ... }``.

Drawing a blueprint finds all faults: a path that cannot be imported, an unknown or missing parameter, a
constructor that refuses its values, an estimator that cannot learn or score. Each call of a blueprint builds
a fresh, equal estimator.

If a parameter ``seed`` (or ``random_state``) is not given and has no default but None, its value is computed
from the model's name and the place in its pipeline. So every run draws the same numbers.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import pkgutil
import re
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from river import base, compose

from dataflows.estimators import FORMER_PATHS, AssetModel, FleetModel, Frozen, Retrained
from dataflows.features import FeatureBlock
from dataflows.fleet.problems import Loc, Problem, dotted, listed, nearest, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import ModuleType

__all__ = [
    "AssetBlueprint",
    "Blueprint",
    "SharedBlueprint",
    "blueprint",
    "locate_block",
    "own_block",
    "path_key",
    "seed_of",
]

_PATH = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")
_SEEDS = ("seed", "random_state")
_Kind = inspect.Parameter


@dataclass(frozen=True, slots=True)
class PipelineStep:
    """An estimator to build: its class and its arguments, which may contain further parts."""

    estimator: type
    arguments: Mapping[str, Any]

    def build(self) -> Any:  # noqa: ANN401 - River's protocol is by method names, not by a class
        """Build a fresh instance that shares nothing with earlier ones."""
        bound = inspect.signature(self.estimator).bind_partial()
        bound.arguments.update({name: _fresh(value) for name, value in self.arguments.items()})
        bound.apply_defaults()  # a positional argument must not be left out before ``*arguments``
        return self.estimator(*bound.args, **bound.kwargs)


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A pipeline to build, as data that can be pickled; each call builds a fresh estimator.

    Attributes:
        parts: its steps.
        refit: keyword arguments of `Retrained`, empty for a model that learns example by example.
    """

    parts: tuple[PipelineStep, ...]
    refit: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self) -> Any:  # noqa: ANN401 - as above
        """Build the estimator itself if it is the only step, else the pipeline of the steps."""
        steps = [part.build() for part in self.parts]
        if self.refit:
            return Retrained(_batch(steps), **self.refit)
        return steps[0] if len(steps) == 1 else compose.Pipeline(*steps)

    @property
    def names_features(self) -> bool:
        """Whether its last step names the features that it sees."""
        return bool(getattr(self.parts[-1].estimator, "names_features", False))

    def features(self) -> tuple[str, ...]:
        """Names of the features that the last step sees; only with `names_features`."""
        names: tuple[str, ...] = self.parts[-1].build().features
        return names


@dataclass(frozen=True, slots=True)
class SharedBlueprint:
    """As `Blueprint`, of a model that several classes share.

    Attributes:
        key: of the estimator.
        blueprint: builds it.
    """

    key: str
    blueprint: Blueprint

    def __call__(self) -> FleetModel:
        """Build what a target has of it."""
        return FleetModel(self.key, self.blueprint)


@dataclass(frozen=True, slots=True)
class AssetBlueprint:
    """As `Blueprint`, of a model with an offset of each asset.

    Attributes:
        blueprint: builds what all assets of a class share.
        least: positives that an asset has to show before it has a score.
        share: of an example that counts for an offset.
    """

    blueprint: Blueprint
    least: int
    share: float = 1.0

    def __call__(self) -> AssetModel:
        """Build it."""
        return AssetModel(self.blueprint(), self.least, self.share)


def from_folder(pipeline: Sequence[Mapping[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Return a pipeline in which the files of frozen models are those of a folder."""
    frozen = f"{Frozen.__module__.rpartition('.')[0]}.{Frozen.__name__}"
    return [
        {**step, "file": str(folder / step["file"])}
        if step.get("estimator") == frozen and isinstance(step.get("file"), str)
        else dict(step)
        for step in pipeline
    ]


def _batch(steps: list[Any]) -> Any:  # noqa: ANN401 - a classifier of any library
    """Join steps of scikit-learn."""
    if len(steps) == 1:
        return steps[0]
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415 - an extra

    return make_pipeline(*steps)


def blueprint(
    name: str,
    pipeline: Sequence[Mapping[str, Any]],
    at: Loc,
    problems: list[Problem],
    refit: Mapping[str, Any] | None = None,
) -> Blueprint | None:
    """Draw the blueprint of a model and try it once; None, and at least one problem, if that fails.

    Args:
        name: the model's name; seeds depend on it.
        pipeline: the steps as configured.
        at: the place of the pipeline in the document.
        problems: list to which problems are added.
        refit: keyword arguments of `Retrained`, for a model that is fitted in batch.
    """
    found = len(problems)
    reader = _Reader(name, at, problems)
    parts = [reader.part(step, (*at, index)) for index, step in enumerate(pipeline)]
    whole = tuple(part for part in parts if part is not None)
    if len(problems) > found:
        return None
    steps = [_try(part, (*at, index), problems) for index, part in enumerate(whole)]
    if len(problems) > found:
        return None
    if refit:
        _check_batch(steps, at, problems)
    else:
        _check_protocol(steps, at, problems)
    made = Blueprint(whole, refit or {})
    if refit and len(problems) == found:
        try:
            made()
        except ValueError as error:
            problems.append(Problem(dotted((*at[:-1], "refit_every")), str(error)))
    return made if len(problems) == found else None


def seed_of(name: str, place: str) -> int:
    """Compute a number below 2**31 from the model's name and the place in its pipeline alone."""
    return zlib.crc32(f"{name} {place}".encode()) & 0x7FFF_FFFF


def _fresh(value: Any) -> Any:  # noqa: ANN401 - any TOML value
    if isinstance(value, PipelineStep):
        return value.build()
    if isinstance(value, dict):
        return {key: _fresh(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_fresh(inner) for inner in value]
    return copy.deepcopy(value)


def own_block(
    table: Mapping[str, Any], at: Loc, problems: list[Problem]
) -> tuple[type[FeatureBlock], dict[str, Any]] | None:
    """Find the class of an entry of ``classes.<name>.features``, and check the names of its parameters.

    Args:
        table: the entry: ``block``, the dotted path, and the parameters.
        at: the place of the entry in the document.
        problems: list to which problems are added.

    Returns:
        The class and its parameters; None, and at least one problem, if it cannot be built from them.
    """
    found = len(problems)
    try:
        block = _locate(table.get("block"))
        if not issubclass(block, FeatureBlock):
            msg = "a subclass of dataflows.features.FeatureBlock"
            raise _NotFoundError(msg)  # noqa: TRY301 - one way to tell it
    except _NotFoundError as error:
        problem = Problem(dotted((*at, "block")), error.expected, shown(table.get("block")), error.hint)
        problems.append(problem)
        return None
    given = {name: value for name, value in table.items() if name != "block"}
    # The first two are the class and the stored state.
    named = dict([*inspect.signature(block).parameters.items()][2:])
    for name in given:
        if name not in named:
            expected = f"a parameter of {block.__name__}: {listed(named)}"
            problem = Problem(dotted((*at, name)), expected, "an unknown key", nearest(name, named))
            problems.append(problem)
    for name, one in named.items():
        if name not in given and one.default is _Kind.empty:
            problems.append(Problem(dotted((*at, name)), f"this parameter, which {block.__name__} needs"))
    return (block, given) if len(problems) == found else None


def locate_block(path: str) -> type[FeatureBlock]:
    """Import the class of features at a dotted path, which was checked when the fleet was loaded."""
    found = _locate(path)
    if not issubclass(found, FeatureBlock):
        msg = f"{path}: expected a subclass of dataflows.features.FeatureBlock"
        raise TypeError(msg)
    return found


class _Reader:
    """Reads the steps of one model."""

    def __init__(self, name: str, at: Loc, problems: list[Problem]) -> None:
        self._name = name
        self._depth = len(at)
        self._problems = problems

    def part(self, value: Mapping[str, Any], at: Loc) -> PipelineStep | None:
        """Read the estimator of a table; None, and a problem, if its class cannot be imported."""
        key = path_key(value)
        if key is None:
            expected, wrong = "estimator, the dotted path of a class", nearest("estimator", value)
            if wrong is None:
                self._problems.append(Problem(dotted(at), expected, shown(value)))
            else:
                place = dotted((*at, wrong))
                self._problems.append(Problem(place, expected, "an unknown key", "estimator"))
            return None
        estimator = self._class(value[key], (*at, key))
        given = {name: self._value(inner, (*at, name)) for name, inner in value.items() if name != key}
        if estimator is None:
            return None
        return PipelineStep(estimator, self._arguments(estimator, given, at))

    def _value(self, value: Any, at: Loc) -> Any:  # noqa: ANN401 - any TOML value
        if isinstance(value, dict):
            if path_key(value) is not None:
                return self.part(value, at)
            return {key: self._value(inner, (*at, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._value(inner, (*at, index)) for index, inner in enumerate(value)]
        return value

    def _class(self, path: object, at: Loc) -> type | None:
        try:
            return _locate(path)
        except _NotFoundError as error:
            self._problems.append(Problem(dotted(at), error.expected, shown(path), error.hint))
            return None

    def _arguments(self, estimator: type, given: dict[str, Any], at: Loc) -> dict[str, Any]:
        """Complete the arguments with seeds; unknown and missing ones are problems."""
        try:
            parameters = inspect.signature(estimator).parameters
        except ValueError:  # written in C, without a signature
            expected = "a class whose parameters can be known"
            self._problems.append(Problem(dotted(at), expected, estimator.__name__))
            return {}
        named = {name: one for name, one in parameters.items() if one.kind is not _Kind.VAR_KEYWORD}
        open_ended = len(named) < len(parameters)
        arguments: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for key, value in given.items():
            if key in named:
                arguments[key] = value
            elif open_ended:
                extra[key] = value
            else:
                hint = nearest(key, named)
                expected = f"a parameter of {estimator.__name__}: {listed(named)}"
                self._problems.append(Problem(dotted((*at, key)), expected, "an unknown key", hint))
        for key, one in named.items():
            if key in arguments:
                self._check_list(one, arguments[key], (*at, key))
            elif key in _SEEDS and (one.default is None or one.default is _Kind.empty):
                arguments[key] = seed_of(self._name, dotted((*at[self._depth :], key)))
            elif one.default is _Kind.empty and one.kind is not _Kind.VAR_POSITIONAL:
                self._problems.append(
                    Problem(dotted((*at, key)), f"this parameter, which {estimator.__name__} needs")
                )
        if extra:
            arguments[next(name for name in parameters if name not in named)] = extra
        return arguments

    def _check_list(self, parameter: inspect.Parameter, value: object, at: Loc) -> None:
        """Require a list for parameters such as the ``*keys`` of ``compose.Select``."""
        if parameter.kind is _Kind.VAR_POSITIONAL and not isinstance(value, list):
            self._problems.append(Problem(dotted(at), "a list", shown(value)))


def path_key(value: Mapping[str, Any]) -> str | None:
    """Key of an estimator's dotted path: with ``class``, ``estimator`` can be a parameter.

    ``class`` is a keyword of Python, so no parameter has that name.
    """
    path = value.get("class")
    if isinstance(path, str) and _PATH.fullmatch(path) is not None:
        return "class"
    return "estimator" if "estimator" in value else None


def _try(part: PipelineStep, at: Loc, problems: list[Problem]) -> Any:  # noqa: ANN401 - an estimator or None
    try:
        return part.build()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a constructor may raise anything
        expected = f"parameters that {part.estimator.__name__} accepts"
        problems.append(Problem(dotted(at), expected, f"{type(error).__name__}: {error}"))
        return None


def _check_protocol(steps: Sequence[Any], at: Loc, problems: list[Problem]) -> None:
    """Check that each step but the last transforms, and the last learns and gives probabilities or scores."""
    for index, step in enumerate(steps[:-1]):
        if not (hasattr(step, "transform_one") or isinstance(step, base.AnomalyFilter)):
            expected = "a transformer, since another step follows"
            problems.append(Problem(dotted((*at, index)), expected, type(step).__name__))
    if not _scores(steps[-1]):
        expected = "a model with learn_one and predict_proba_one or score_one as the last step"
        hint = "refit_every, which fits it in batch" if hasattr(steps[-1], "predict_proba") else None
        problems.append(Problem(dotted((*at, len(steps) - 1)), expected, type(steps[-1]).__name__, hint))


def _check_batch(steps: Sequence[Any], at: Loc, problems: list[Problem]) -> None:
    """Check that each step but the last transforms, and the last is fitted and gives probabilities."""
    for index, step in enumerate(steps):
        last = index == len(steps) - 1
        if hasattr(step, "fit") and hasattr(step, "predict_proba" if last else "transform"):
            continue
        expected = "a classifier with fit and predict_proba" if last else "a transformer with fit"
        expected += ", since refit_every fits it in batch"
        problems.append(Problem(dotted((*at, index)), expected, type(step).__name__))


def _scores(model: Any) -> bool:  # noqa: ANN401 - anything a dotted path names
    while isinstance(model, compose.Pipeline):  # which has every method, whatever its last step can do
        if not len(model):
            return False
        model = list(model.steps.values())[-1]
    # A River classifier without probabilities inherits a method that raises.
    refuses = getattr(type(model), "predict_proba_one", None) is base.Classifier.predict_proba_one
    probable = _takes_features(model, "predict_proba_one") and not refuses
    return hasattr(model, "learn_one") and (probable or _takes_features(model, "score_one"))


def _takes_features(model: object, method: str) -> bool:
    """Whether it has the method and needs only the features: a few anomaly scorers need the label."""
    bound = getattr(model, method, None)
    if not callable(bound):
        return False
    try:
        inspect.signature(bound).bind({})
    except TypeError:
        return False
    return True


class _NotFoundError(Exception):
    def __init__(self, expected: str, hint: str | None = None) -> None:
        super().__init__(expected)
        self.expected = expected
        self.hint = hint


def _locate(path: object) -> type:
    """Import the class at a dotted path.

    Raises:
        _NotFoundError: there is none; it names the nearest path that exists.
    """
    if not isinstance(path, str) or _PATH.fullmatch(path) is None:
        msg = 'the dotted path of a class, such as "river.tree.HoeffdingTreeClassifier"'
        raise _NotFoundError(msg)
    path = FORMER_PATHS.get(path, path)
    first, *rest = path.split(".")
    found: Any = _import(first)
    if found is None:
        top = nearest(first, ("river", "dataflows", "sklearn"))
        msg = f"an installed package, not {first}"
        raise _NotFoundError(msg, None if top is None else ".".join([top, *rest]))
    walked = first
    for name in rest:
        inner = getattr(found, name, None)
        if inner is None and inspect.ismodule(found) and hasattr(found, "__path__"):
            inner = _import(f"{walked}.{name}")
        if inner is None:
            msg = f"a class that exists; {walked} has no {name}"
            raise _NotFoundError(msg, _nearest_path(found, walked, path))
        found, walked = inner, f"{walked}.{name}"
    if not inspect.isclass(found):
        msg = f"a class, not a {type(found).__name__}"
        raise _NotFoundError(msg, _nearest_path(found, walked, f"{walked}.{rest[-1]}"))
    return found


def _import(name: str) -> ModuleType | None:
    """Import a module; None if there is none of that name.

    Raises:
        _NotFoundError: the module is there, but importing it fails.
    """
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may raise anything
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            return None
        msg = f"a module that can be imported; {name} raises {type(error).__name__}: {error}"
        raise _NotFoundError(msg) from error


def _nearest_path(found: object, walked: str, path: str) -> str | None:
    """Guess the class meant by a path that does not exist below ``walked``.

    The same name elsewhere in River (``river.linear_model.GaussianNB``) comes before a similar name here.
    """
    rest = path[len(walked) + 1 :].split(".")
    if walked.partition(".")[0] == "river":
        modules = vars(importlib.import_module("river.api"))
        homes = [home for home, module in modules.items() if inspect.isclass(getattr(module, rest[-1], None))]
        if homes:
            return f"river.{homes[0]}.{rest[-1]}"
    names = [
        name for name in dir(found) if not name.startswith("_") and _fits(getattr(found, name, None), rest)
    ]
    if hasattr(found, "__path__"):
        names += [module.name for module in pkgutil.iter_modules(found.__path__)]
    name = nearest(rest[0], names)
    return None if name is None else ".".join([walked, name, *rest[1:]])


def _fits(value: object, rest: Sequence[str]) -> bool:
    return inspect.isclass(value) if len(rest) == 1 else inspect.ismodule(value)
