"""Try every model of a fleet before a run: it must score, learn both labels, and be storable."""

from __future__ import annotations

import gc
import importlib
import inspect
import math
import pickle
import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dataflows.estimators import FleetModel, Retrained, to_stored
from dataflows.fleet.models import path_key
from dataflows.fleet.problems import FleetError, Problem
from dataflows.target.compiled import calls_of, compiled_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflows.fleet import Fleet, Model
    from dataflows.target.compiled import Calls

__all__ = ["Cost", "Trial", "check_models", "costs", "try_models"]

#: Values of the rows that are tried: between 0 and 1, as scores and scaled readings are.
_LOW, _HIGH = 0.25, 0.75
#: Number of times that both labels are learned.
_ROUNDS = 3
#: Number of rows on which a model that is fitted in batch is tried.
_FITTED = 40


@dataclass(frozen=True, slots=True)
class Trial:
    """Result of a trial.

    Attributes:
        problems: of models that cannot run, at most one each.
        notes: of models that run, but fail on some rows; one line each.
    """

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_models(fleet: Fleet) -> Trial:
    """Try every model, and refuse a fleet with one that cannot run.

    Raises:
        FleetError: with one problem for each such model.
    """
    trial = try_models(fleet)
    if trial.problems:
        raise FleetError(str(fleet.path), trial.problems)
    return trial


def try_models(fleet: Fleet) -> Trial:
    """Build every model, and feed it rows with and without missing values, under both labels."""
    found = Trial()
    refused: set[str] = set()
    for name, model, features in _models(fleet):
        if name in refused:
            continue
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            problem, note = _try(model, features)
        if problem is not None:
            refused.add(name)
            found.problems.append(problem)
        elif note is not None and note not in found.notes:
            found.notes.append(note)
    return found


def _models(fleet: Fleet) -> Iterator[tuple[str, Model, tuple[str, ...]]]:
    """Each model once for each set of names that it sees."""
    known = set()
    for target in fleet.targets.values():
        features = fleet.classes[target.asset_class].features
        for model in target.models:
            names = model.scores or tuple(features[index] for index in model.features)
            if (model.name, names) not in known:
                known.add((model.name, names))
                yield model.name, model, names


@dataclass(frozen=True, slots=True)
class Cost:
    """What a model costs on this machine, measured on made-up examples.

    Attributes:
        score: microseconds of processor time a score.
        learn: the same to learn an example; a fit in batch is left out.
        size: bytes in the recovery store after the examples; trees, forests and neighbours grow.
    """

    score: float
    learn: float
    size: int


def costs(fleet: Fleet, examples: int = 60) -> dict[tuple[str, tuple[str, ...]], Cost]:
    """Measure every model once for each set of features that it sees; garbage collection is left out.

    Args:
        fleet: whose models can run, see `check_models`.
        examples: that are learned and scored, after as many that are not measured.

    Returns:
        By name, and names of its features.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return {
            (name, features): _cost(model, features, examples) for name, model, features in _models(fleet)
        }
    finally:
        if collects:
            gc.enable()


def _built(model: Model) -> Any:  # noqa: ANN401 - River's protocol is by method names
    """Build the estimator of a model; of one that classes share the estimator itself, for one class."""
    made = model.build()
    return made.of_one_class() if isinstance(made, FleetModel) else made


def _cost(model: Model, names: tuple[str, ...], examples: int) -> Cost:
    estimator = _built(model)
    calls, compiled = calls_of(estimator), compiled_of(estimator, names)
    chance = np.random.default_rng(0)
    rows = chance.random((2 * examples, len(names)))
    given = [dict(zip(names, row, strict=True)) for row in rows.tolist()]
    spent, taken = [0, 0], 0
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for number, (row, x) in enumerate(zip(rows, given, strict=True)):
            start = time.process_time_ns()
            scores = None if compiled is None else compiled.score_rows(row[np.newaxis])
            if scores is None or math.isnan(scores[0]):
                calls.probabilities(x)
            scored = time.process_time_ns()
            if compiled is None or not compiled.learn(row, number % 4 == 0):
                if compiled is not None:
                    compiled.flush()
                    compiled.learned()
                calls.learn(x, number % 4 == 0)
            learned = time.process_time_ns()
            if number >= examples:
                spent = [spent[0] + scored - start, spent[1] + learned - scored]
                taken += 1
    if compiled is not None:
        compiled.flush()
    size = len(to_stored(estimator))
    return Cost(spent[0] / taken / 1_000, spent[1] / taken / 1_000, size)


def _try(model: Model, names: tuple[str, ...]) -> tuple[Problem | None, str | None]:
    step, low, high = "be built", dict.fromkeys(names, _LOW), dict.fromkeys(names, _HIGH)
    try:
        estimator = _built(model)
        if isinstance(estimator, Retrained):
            step = "be fitted on a few rows"
            estimator = Retrained(estimator.classifier, every=_FITTED, keep=_FITTED, lag=0)
            for number in range(_FITTED):
                estimator.learn_one(dict.fromkeys(names, _LOW if number % 2 else _HIGH), not number % 2)
        calls = calls_of(estimator)
        if calls.pretrained:
            step = "score a row"
            _score(calls, low)
        for _ in range(_ROUNDS):
            for row, label in ((low, False), (high, True)):
                step = f"learn the label {label}"
                calls.learn(row, label)
                step = "score a row"
                _score(calls, row)
        step = "be stored (pickled) and read again"
        again = calls_of(pickle.loads(pickle.dumps(estimator, protocol=5)))  # noqa: S301 - our own bytes
        step = "score a row after that"
        _score(again, high)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - an estimator may raise anything
        key, expected = f"models.{model.name}.pipeline", f"a model that can {step}"
        return Problem(key, expected, _one_line(error), _class_meant(model.spec["pipeline"])), None
    return None, None if model.scores else _note_on_gaps(model.name, calls, names)


def _note_on_gaps(name: str, calls: Calls, names: tuple[str, ...]) -> str | None:
    """Return a note if the model cannot score or learn rows with half of the features, or with none."""
    for kept in (names[::2], names[1::2], ()):
        row = dict.fromkeys(kept, _LOW)
        given = {feature: row.get(feature) for feature in names} if calls.with_none else row
        try:
            _score(calls, given)
            calls.learn(given, False)  # noqa: FBT003 - River's signature
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - as above
            return (
                f"{name} cannot score or learn every row with missing values ({_one_line(error)}); "
                "the prior answers for those"
            )
    return None


def _score(calls: Calls, row: dict[str, Any]) -> None:
    probabilities = calls.probabilities(row)
    if probabilities:
        score = float(probabilities.get(True, 0.0))
        if not 0.0 <= score <= 1.0 or math.isnan(score):
            msg = f"its score {score:g} is no probability"
            raise ValueError(msg)


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _class_meant(value: object) -> str | None:
    """The estimator that is meant where a parameter is the bare name of one of River's classes."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == path_key(value):
                continue
            path = _river_path(inner) if isinstance(inner, str) else None
            hint = _class_meant(inner) if path is None else f'{key} = {{ estimator = "{path}" }}'
            if hint is not None:
                return hint
    elif isinstance(value, list):
        return next((hint for hint in map(_class_meant, value) if hint is not None), None)
    return None


def _river_path(name: str) -> str | None:
    for home, module in vars(importlib.import_module("river.api")).items():
        for known in dir(module) if inspect.ismodule(module) else ():
            if known.lower() == name.lower() and inspect.isclass(getattr(module, known, None)):
                return f"river.{home}.{known}"
    return None
