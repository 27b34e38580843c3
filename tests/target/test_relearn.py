"""Relearning: a corrected label reaches the models, as if the wrong one had never come."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows.estimators import BayesianLogistic
from dataflows.instants import HOUR, format_instant
from dataflows.items import Item, observations_of
from dataflows.pipeline import Inline
from dataflows.target.relearn import AT_ASSET, AT_TARGET, Checkpoint, Passed, Relearning
from dataflows.testing import failure, retraction, telemetry
from tests.target.fleets import FEATURES, PartStore, fleet, model, target
from tests.target.learners import Hashed
from tests.target.worlds import decoded, encoded, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflows.fleet.fleet import Fleet
    from dataflows.target import TargetStage

MINUTE = 60_000_000


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


def pumps(relearn: int | None = 10_000 * HOUR) -> Fleet:
    """Small models, one with a compiled form of its own, and one that is big."""
    models = [
        model("linear"),
        model("bayesian", BayesianLogistic),
        model("bayes", features=(0, 3)),
        model("tree"),
        model("hashed", lambda: Hashed(9_000)),
        model("prior"),
    ]
    of = target(models, label_memory=10_000 * HOUR, relearn=relearn)
    return fleet(of)


#: Minutes since the last record, asset, kind, reading, minutes back. A wrong failure is withdrawn later.
steps = st.lists(
    st.tuples(
        st.integers(0, 150),
        st.sampled_from("aaab"),
        st.sampled_from(["telemetry"] * 7 + ["failure", "wrong", "wrong", "withdrawal"]),
        st.floats(-3, 3).map(lambda value: round(value, 2)),
        st.integers(60, 500),
    ),
    min_size=20,
    max_size=60,
)


def stream(plan: list[tuple[int, str, str, float, int]]) -> list[tuple[bytes, bool]]:
    """Records, each with whether it is a wrong failure or its withdrawal; at the end all are withdrawn.

    A failure is before the watermark of its asset, so that it moves no clock. No example has two of them in
    its horizon, of which one would make the label of the other right.
    """
    now, made = 0, []
    latest: dict[str, int] = {}
    failed: list[tuple[str, int]] = []
    open_failures: list[tuple[str, str]] = []
    for number, (gap, asset, kind, value, back) in enumerate(plan):
        now += gap * MINUTE
        if kind == "telemetry":
            latest[asset] = now
            made.append((telemetry(asset, format_instant(now), {"x": value, "y": back / 100}), False))
        elif kind == "withdrawal" and open_failures:
            made.append((retraction(*open_failures.pop((value > 0 and -1) or 0)), True))
        elif kind in {"failure", "wrong"} and asset in latest and latest[asset] - back * MINUTE > 0:
            at = latest[asset] - back * MINUTE
            if any(of == asset and abs(at - other) <= 4 * HOUR for of, other in failed):
                continue
            failed.append((asset, at))
            made.append((failure(asset, format_instant(at), "leak", id=f"f{number}"), kind == "wrong"))
            if kind == "wrong":
                open_failures.append((asset, f"f{number}"))
    return made + [(retraction(*each), True) for each in open_failures]


def items_of(of: Fleet, lines: list[bytes | None]) -> list[Item]:
    """What reaches the target; None is a record that never came."""
    stages, items = Inline(of), []
    for number, line in enumerate(lines, start=1):
        if line is None:
            continue
        for known in stages.lane([Item(number, 0, None, 0, ("pumps", number, 0), line)]):
            made = [each for item in stages.asset(known) for each in observations_of(item)]
            items += [each for each in made if getattr(each.body, "target", None)]
    return items


PROBES = [np.random.default_rng(seed).normal(size=len(FEATURES)).tobytes() for seed in range(5)]


def knowledge(group: TargetStage) -> dict[str, Any]:
    """All that the models answer, and what they count."""
    models = group._models
    return {
        "answers": [models.answers(probe) for probe in PROBES],
        "learned": (models.learned, models.positives),
        "by model": {label: models.version(label).learned for label in models.names()},
    }


@settings(deadline=None, max_examples=50)
@given(steps)
def test_the_models_are_those_of_a_run_in_which_the_wrong_label_never_came(
    plan: list[tuple[int, str, str, float, int]],
) -> None:
    """Every model of features, the prior and the counts: equal to the last bit, since the checkpoint."""
    records = stream(plan)
    wrong = opened(pumps())
    wrong.process(items_of(pumps(), [line for line, _ in records]))
    clean = opened(pumps())
    clean.process(items_of(pumps(), [None if spoilt else line for line, spoilt in records]))
    assert knowledge(wrong) == knowledge(clean)
    assert {e.key: (e.label, e.learned) for e in wrong._examples} == {
        e.key: (e.label, e.learned) for e in clean._examples
    }


def spoilt() -> list[bytes]:
    """Ten hours of two pumps, of which one is said to have failed, and that is withdrawn much later."""
    made = []
    for hour in range(40):
        for asset in "ab":
            at = format_instant(hour * HOUR + (asset == "b") * MINUTE)
            made.append(telemetry(asset, at, {"x": float(hour % 7), "y": 1.0}))
        if hour == 12:
            made.append(failure("a", format_instant(10 * HOUR), "leak", id="f1"))
        if hour == 30:
            made.append(retraction("a", "f1"))
    return made


def test_without_relearn_what_was_learned_stays_learned() -> None:
    """The world of these tests is one in which the wrong label matters."""
    never, always = opened(pumps(None)), opened(pumps())
    for group in (never, always):
        rows = decoded(group.process(items_of(pumps(), [*spoilt()])))
        again = [row for row in rows["changes"] if row["change"] == "relearned"]
        assert len(again) == (group is always)
    assert never._models.positives == 4
    assert always._models.positives == 0
    assert knowledge(never)["answers"] != knowledge(always)["answers"]


def test_a_row_says_what_was_learned_again() -> None:
    """How many labels were put right, what that cost, and since when."""
    rows = decoded(opened(pumps()).process(items_of(pumps(), [*spoilt()])))
    (row,) = [row for row in rows["changes"] if row["change"] == "relearned"]
    assert row["examples"] == 4
    assert row["learned"] == 2 * 24
    assert orjson.loads(spoilt()[63])["kind"] == "retraction"
    assert row["sequence"] == 64
    corrected = [row for row in rows["evaluations"] if row["correction"]]
    assert [row["learned"] for row in corrected] == [True] * 4


@pytest.mark.parametrize(("every", "reached"), [(6, False), (10, True), (40, True)])
def test_a_correction_reaches_back_to_the_last_checkpoint_but_one(every: int, reached: bool) -> None:
    """What was learned before stays learned, and the log of examples does not grow beyond it."""
    group = opened(pumps(every * HOUR))
    rows = decoded(group.process(items_of(pumps(), [*spoilt()])))
    assert bool([row for row in rows["changes"] if row["change"] == "relearned"]) == reached
    assert group._relearning is not None
    assert len(group._relearning.checkpoints) <= 2
    assert len(group._relearning.state()["passed"]) <= 2 * 2 * 4 * every


@settings(deadline=None, max_examples=25)
@given(steps, st.sets(st.integers(0, 60)), st.sampled_from([3, 10, 10_000]))
def test_a_target_that_crashes_puts_labels_right_as_one_that_does_not(
    plan: list[tuple[int, str, str, float, int]], stops: set[int], every: int
) -> None:
    """The same rows in every order of epochs; big models, whose log is learned again, included."""
    of = pumps(every * HOUR)
    items = items_of(of, [line for line, _ in stream(plan)])
    whole = opened(of)
    expected = encoded([row for item in items for row in whole.process([item])])
    store, group, out = PartStore(), opened(of), []
    for number, item in enumerate(items):
        out += group.process([item])
        store.after_batch(group)
        if number % 3 == 0 or number in stops:
            store.end_epoch(group)
        if number in stops:
            main, parts = store.crash()
            group = opened(of, main=main, parts=parts)
    assert encoded(out) == expected
    assert knowledge(group) == knowledge(whole)


def test_a_changed_catalogue_begins_a_new_checkpoint() -> None:
    """A correction then reaches the models that learn since, and not beyond; nothing breaks."""
    items = items_of(pumps(), [*spoilt()])
    cut = next(number for number, item in enumerate(items) if item.sequence > 50)
    store, group = PartStore(), opened(pumps())
    group.process(items[:cut])
    store.after_batch(group)
    store.end_epoch(group)
    now = pumps()
    (of,) = now.targets.values()
    of = replace(of, models=(*of.models[:5], model("prior", l2=1)))
    group = opened(replace(now, targets={of.name: of}), main=store.main, parts=store.parts)
    rows = decoded(group.process(items[cut:]))
    assert not [row for row in rows["changes"] if row["change"] == "relearned"]
    assert group._relearning is not None
    kept = {label for each in group._relearning.checkpoints for label in each.models}
    assert kept == set(group._models.names())


def test_a_place_is_kept_until_both_clocks_have_passed() -> None:
    """A positive is learned where the target clock passes it, a negative where its asset's does."""
    places = Relearning(HOUR, HOUR)
    places.take(Checkpoint(0, 0, 0, 0, {}), alone=False)
    assert list(places.places([], {})) == []
    passed = [Passed("a", 1, AT_TARGET), Passed("b", 1, AT_TARGET | AT_ASSET), Passed("a", 1, AT_ASSET)]
    places._noted = {("a", 1): 3, ("b", 1): 3}
    assert list(places.places(passed, {("a", 1): 1, ("b", 1): 0})) == [("a", 1), ("b", 1)]
    assert list(places.places(passed, {("a", 1): 0, ("b", 1): 0})) == [("b", 1), ("a", 1)]
    assert list(places.places(passed, {("a", 1): -1, ("b", 1): None})) == []
