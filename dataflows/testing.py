"""For tests of your own: builders of fleets and events, a run in memory, and the contract of estimators.

A model of ``fleet.toml`` may be any estimator in River's protocol. `check_estimator` holds it to all that a
run relies on; our own tests hold every model of the example fleets to the same.

Example:
    >>> from dataflows.estimators import Prior
    >>> check_estimator(Prior())

docs/estimators.md has an estimator with its tests.
"""

from __future__ import annotations

import copy
import math
import pickle
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from dataflows.estimators import from_stored, to_stored
from dataflows.fleet import from_document
from dataflows.pipeline import run_inline, run_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dataflows.fleet import Fleet

__all__ = [
    "CHECKS",
    "Examples",
    "check_estimator",
    "failure",
    "fault",
    "maintenance",
    "pump_fleet",
    "registration",
    "retraction",
    "run_inline",
    "run_lines",
    "telemetry",
    "verdict",
]

Example = tuple[dict[str, float], bool]

# Events: one record of the input each, as JSON without line end. ``time`` is RFC 3339 or seconds since 1970;
# ``more`` are further fields, such as ``id``, ``arrived`` or ``site``.


def telemetry(asset: str, time: str | float, readings: Mapping[str, float | None], **more: object) -> bytes:
    """Readings of one asset at one time.

    >>> telemetry("pump-1", "2025-01-01T00:00:00Z", {"pressure": 4.0})
    b'{"kind":"telemetry","asset":"pump-1","time":"2025-01-01T00:00:00Z","readings":{"pressure":4.0}}'
    """
    return _record("telemetry", asset, time=time, readings=readings, **more)


def failure(asset: str, time: str | float, mode: str, **more: object) -> bytes:
    """A failure of one mode, whose time is when it happened.

    >>> failure("pump-1", 3600, "leak", id="order-7")
    b'{"kind":"failure","asset":"pump-1","time":3600,"mode":"leak","id":"order-7"}'
    """
    return _record("failure", asset, time=time, mode=mode, **more)


def maintenance(asset: str, time: str | float, component: str | None = None, **more: object) -> bytes:
    """Work on an asset, or on one of its components."""
    part = {} if component is None else {"component": component}
    return _record("maintenance", asset, time=time, **part, **more)


def fault(asset: str, time: str | float, code: str, **more: object) -> bytes:
    """A discrete error code."""
    return _record("fault", asset, time=time, code=code, **more)


def verdict(asset: str, time: str | float, target: str, verdict: str, **more: object) -> bytes:
    """What a person found who looked at an asset after an alert of a target.

    >>> verdict("pump-1", 7200, "pump/leak/24h", "healthy", since=3600)[:66]
    b'{"kind":"verdict","asset":"pump-1","time":7200,"target":"pump/leak'
    """
    more = {"by": "ada", **more}
    return _record("verdict", asset, time=time, target=target, verdict=verdict, **more)


def retraction(asset: str, identity: str, **more: object) -> bytes:
    """Withdraws the failure or maintenance record with this ``id``."""
    return _record("retraction", asset, id=identity, **more)


def registration(asset: str, asset_class: str, attributes: Mapping[str, object], **more: object) -> bytes:
    """A row of the registry."""
    return _record("asset", asset, **{"class": asset_class}, attributes=attributes, **more)


def _record(kind: str, asset: str, **fields: object) -> bytes:
    return orjson.dumps({"kind": kind, "asset": asset, **fields})


def pump_fleet(models: Mapping[str, Any] | None = None, **tables: object) -> Fleet:
    """Build a small fleet without a file: pumps with two sensors and one target, a leak within 12 hours.

    Args:
        models: tables of ``[models]`` beside ``prior``; the first is the champion.
        tables: other tables instead of those of this fleet, by name, such as ``classes`` or ``targets``.

    Raises:
        FleetError: it describes no valid fleet; it lists every problem.

    >>> fleet = pump_fleet({"mine": {"pipeline": [{"estimator": "river.naive_bayes.GaussianNB"}]}})
    >>> fleet.targets["pump/leak/12h"].champion
    'mine'
    """
    champion = next(iter(models or {}), "prior")
    document = {
        "name": "pumps",
        "input": {"files": ["events.jsonl"]},
        "output": {"folder": "out"},
        "assets": {"unknown": "adopt", "adopt_as": "pump"},
        "classes": {
            "pump": {
                "sensors": ["pressure", "flow"],
                "allowed_lateness": "1h",
                "example_every": "1h",
                "windows": [{"length": "6h", "hop": "1h", "statistics": ["mean", "std"]}],
            }
        },
        "targets": [{"class": "pump", "mode": "leak", "horizon": "12h", "champion": champion}],
        "models": {**(models or {}), "prior": {"pipeline": [{"estimator": "dataflows.estimators.Prior"}]}},
    }
    return from_document({**document, **tables}, "fleet.toml")


def check_estimator(
    estimator: object, features: Sequence[str] = ("a", "b", "c", "d"), *, scores: bool = False
) -> None:
    """Hold an estimator to all that a run relies on: every check of `CHECKS`.

    Args:
        estimator: in River's protocol, with ``learn_one(x, y)`` and ``predict_proba_one(x)``; it has learned
            nothing. It is copied, and stays as it is.
        features: names of the features that it is given. Some are missing in some examples.
        scores: the features are scores of other models: between 0 and 1, none missing.

    Raises:
        AssertionError: a check fails; the message names the estimator, what was expected and what came.
    """
    examples = Examples(tuple(features), scores=scores)
    for check in CHECKS:
        check(estimator, examples)


@dataclass(frozen=True, slots=True)
class Examples:
    """Examples of two labels that a model can learn, the same for the same seed.

    Attributes:
        features: names.
        scores: the features are scores of other models.
    """

    features: tuple[str, ...]
    scores: bool = False

    def make(self, count: int = 400, seed: int = 1) -> list[Example]:
        """Make examples with gaps, a tenth of them positive; of scores no gaps, and most are positive."""
        draw = random.Random(seed)  # noqa: S311 - the same for each run, nothing secret
        made = []
        for _ in range(count):
            positive = draw.random() < (0.7 if self.scores else 0.1)
            if self.scores:
                x = {name: draw.betavariate(2 + positive, 3 - positive) for name in self.features}
            else:
                x = {
                    name: draw.gauss(50 + 30 * positive * (place % 3), 10 + place)
                    for place, name in enumerate(self.features)
                    if draw.random() > 0.05  # noqa: PLR2004 - the share of gaps
                }
            made.append((x, positive))
        return made


def check_scores_are_probabilities(estimator: object, examples: Examples) -> None:
    """Once it learned both labels, it gives finite numbers between 0 and 1, which add up to 1."""
    for answer in _scores(_taught(estimator, examples.make()), examples.make(100, 2)):
        fine = all(math.isfinite(share) and 0 <= share <= 1 for share in answer.values())
        if not fine or not math.isclose(sum(answer.values()), 1, rel_tol=1e-6):
            _fail(estimator, "probabilities of both labels that add up to 1", answer)


def check_it_learns(estimator: object, examples: Examples) -> None:
    """Its scores are not those of a model that learned nothing, unless it is ``pretrained``."""
    if getattr(estimator, "pretrained", False):
        return
    asked = examples.make(20, 2)
    if _scores(_taught(estimator, examples.make()), asked) == _scores(copy.deepcopy(estimator), asked):
        _fail(estimator, f"other scores after {len(examples.make())} examples than before", "the same")


def check_scoring_changes_nothing(estimator: object, examples: Examples) -> None:
    """Neither its bytes nor later answers: a snapshot without learning in between writes nothing."""
    learned, asked = examples.make(), examples.make(50, 2)
    quiet, often = copy.deepcopy(estimator), copy.deepcopy(estimator)
    for number, (x, y) in enumerate(learned):
        _score(often, asked[number % len(asked)][0])
        _learn(quiet, x, y)
        _learn(often, x, y)
    _compare(estimator, _scores(quiet, asked), _scores(often, asked), "that was asked between examples")
    before = to_stored(quiet)
    _scores(quiet, asked)
    if to_stored(quiet) != before:
        _fail(estimator, "the same bytes before and after scoring", "other ones")


def check_scoring_before_learning_changes_nothing(estimator: object, examples: Examples) -> None:
    """A model that was asked before it learned anything learns as one that was not."""
    early, asked = copy.deepcopy(estimator), examples.make(20, 2)
    _scores(early, asked)
    for x, y in examples.make():
        _learn(early, x, y)
    expected = _scores(_taught(estimator, examples.make()), asked)
    _compare(estimator, expected, _scores(early, asked), "that was asked before it learned")


def check_a_stored_copy_learns_on_equally(estimator: object, examples: Examples) -> None:
    """Stored and read back again and again, it answers bit by bit as one that was never stored."""
    asked = examples.make(50, 2)
    expected = _scores(_taught(estimator, examples.make()), asked)
    for every, copied in (
        (1, _through_store),
        (7, _through_store),
        (150, _through_store),
        (7, _through_pickle),
    ):
        stored = copy.deepcopy(estimator)
        for number, (x, y) in enumerate(examples.make()):
            if number % every == 0:
                stored = copied(stored)
            _learn(stored, x, y)
        _compare(estimator, expected, _scores(stored, asked), f"stored every {every} examples")


def check_two_of_it_are_alike(estimator: object, examples: Examples) -> None:
    """Two runs give the same numbers: it draws no random number without a seed, and reads no clock."""
    asked = examples.make(50, 2)
    one, other = _taught(estimator, examples.make()), _taught(estimator, examples.make())
    _compare(estimator, _scores(one, asked), _scores(other, asked), "that learned the same examples")


def check_the_order_of_features_does_not_matter(estimator: object, examples: Examples) -> None:
    """A feature vector in another order has the same score, but for the last digit of a sum."""
    taught = _taught(estimator, examples.make())
    draw = random.Random(3)  # noqa: S311 - as above
    orders: tuple[Callable[[Iterable[str]], list[str]], ...] = (
        sorted,
        lambda names: sorted(names, reverse=True),
        lambda names: draw.sample(known := [*names], len(known)),
    )
    for x, _ in examples.make(50, 2):
        expected = _score(taught, x)
        for order in orders:
            answer = _score(taught, {name: x[name] for name in order(x)})
            near = (math.isclose(answer[key], expected[key], rel_tol=1e-9, abs_tol=1e-12) for key in expected)
            if answer.keys() != expected.keys() or not all(near):
                _fail(estimator, f"{expected} for features in any order", answer)


def check_missing_features_are_tolerated(estimator: object, examples: Examples) -> None:
    """It learns and scores with any features absent, all of them too, and features that come later."""
    draw = random.Random(3)  # noqa: S311 - as above
    gappy, late = copy.deepcopy(estimator), copy.deepcopy(estimator)
    for number, (x, y) in enumerate(examples.make()):
        share = draw.choice([0.0, 0.2, 1.0])
        part = {name: value for name, value in x.items() if draw.random() < share}
        _learn(gappy, part, y)
        known = examples.features[: 1 + number // 20]
        _learn(late, {name: x[name] for name in known if name in x}, y)
        for asked in (part, x, {}):
            answer = _score(gappy, asked)
            if not all(map(math.isfinite, answer.values())):
                _fail(estimator, f"finite numbers for {asked}", answer)
    for answer in _scores(late, examples.make(20, 2)):
        if not all(0 <= share <= 1 for share in answer.values()):
            _fail(estimator, "probabilities where features came later", answer)


def check_what_it_is_given_stays_as_it_is(estimator: object, examples: Examples) -> None:
    """Models share one dict of features, so none may write into it."""
    given = copy.deepcopy(estimator)
    for x, y in examples.make(50):
        before = [*x.items()]
        _learn(given, x, y)
        _score(given, x)
        if [*x.items()] != before:
            _fail(estimator, f"features as they were, {before}", [*x.items()])


def check_one_label_alone_is_no_trouble(estimator: object, examples: Examples) -> None:
    """Before the first positive it may have no opinion, and whatever it has is a probability."""
    calm = copy.deepcopy(estimator)
    for x, _ in examples.make(50):
        _learn(calm, x, y=False)
        answer = _score(calm, x)
        if not 0 <= answer.get(True, 0.0) <= 1:
            _fail(estimator, "a probability, or no opinion, after negatives alone", answer)


def check_rows_score_like_dicts(estimator: object, examples: Examples) -> None:
    """``score_rows``, where it is, gives each row the probability of its dict, or NaN; rows in any cut."""
    if not hasattr(estimator, "score_rows"):
        return
    taught: Any = _taught(estimator, examples.make())
    asked = [x for x, _ in examples.make(50, 2)]
    rows = np.array([[x.get(name, math.nan) for name in examples.features] for x in asked])
    for size in (1, 7, len(rows)):
        for first in range(0, len(rows), size):
            scores = taught.score_rows(rows[first : first + size], examples.features)
            for score, x in zip(() if scores is None else scores, asked[first:], strict=False):
                expected = _score(taught, x).get(True)
                if not math.isnan(score) and score != expected:
                    _fail(estimator, f"{expected} or NaN for {x} in a run of {size} rows", score)


#: Every check; each takes an estimator that has learned nothing, and examples.
CHECKS: tuple[Callable[[object, Examples], None], ...] = (
    check_scores_are_probabilities,
    check_it_learns,
    check_scoring_changes_nothing,
    check_scoring_before_learning_changes_nothing,
    check_a_stored_copy_learns_on_equally,
    check_two_of_it_are_alike,
    check_the_order_of_features_does_not_matter,
    check_missing_features_are_tolerated,
    check_what_it_is_given_stays_as_it_is,
    check_one_label_alone_is_no_trouble,
    check_rows_score_like_dicts,
)


def _learn(estimator: Any, x: dict[str, float], y: bool) -> None:  # noqa: ANN401, FBT001 - River's protocol
    estimator.learn_one(x, y)


def _score(estimator: Any, x: dict[str, float]) -> dict[bool, float]:  # noqa: ANN401 - River's protocol
    return estimator.predict_proba_one(x) or {}


def _scores(estimator: object, asked: Iterable[Example]) -> list[dict[bool, float]]:
    return [_score(estimator, x) for x, _ in asked]


def _taught(estimator: object, learned: Iterable[Example]) -> object:
    """A copy that learned examples."""
    taught = copy.deepcopy(estimator)
    for x, y in learned:
        _learn(taught, x, y)
    return taught


def _through_store(estimator: object) -> object:
    return from_stored(to_stored(estimator))


def _through_pickle(estimator: object) -> object:
    """As it is stored inside a pipeline."""
    return pickle.loads(pickle.dumps(estimator, protocol=5))  # noqa: S301 - its own bytes


def _compare(
    estimator: object, expected: list[dict[bool, float]], came: list[dict[bool, float]], which: str
) -> None:
    for one, other in zip(expected, came, strict=True):
        if one != other:
            _fail(estimator, f"{one} of one {which}", other)


def _fail(estimator: object, expected: str, came: object) -> None:
    msg = f"{type(estimator).__name__}: expected {expected}, got {came}"
    raise AssertionError(msg)
