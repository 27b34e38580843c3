"""The scorer: through any crash every model learns once, and writing costs what was learned."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import anomaly, compose, linear_model

from dataflows.state.snapshots import SnapshotError, seal, unseal
from dataflows.target.error_rate import ErrorRate
from dataflows.target.models import (
    MODEL_PARTS,
    MODELS,
    RENEW_AFTER,
    RIVER,
    SMALL,
    ModelSet,
    sealed_models,
    spec_digest,
)
from tests.target.bench import Bench, example
from tests.target.fleets import BUILDS, FEATURES, model, vector
from tests.target.learners import Breaking, Hashed, Memory, Picky, Ready, Undecided

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dataflows.fleet.fleet import Model


def chosen() -> compose.Pipeline:
    """A model that cannot bear a missing feature."""
    return compose.Select("x") | linear_model.LogisticRegression()


def all_models() -> list[Model]:
    return [*(model(name) for name in BUILDS), model("hashed", Hashed), model("memory", Memory)]


def untouched(models: Sequence[Model], examples: Iterable[int]) -> list[dict[str, tuple[float | None, str]]]:
    """Scores of a scorer that learned the examples and was never written."""
    scorer = ModelSet("pump/leak/4h", tuple(models), FEATURES, None, {})
    for number in examples:
        scorer.learn("a", number, *example(number), {})
    return [scorer.answers(example(-1 - number)[0]) for number in range(5)]


def test_small_models_are_written_when_they_learned() -> None:
    """An epoch without learning writes no model; one with learning writes each, in its own part."""
    bench = Bench(model(name) for name in BUILDS)
    assert sorted(bench.end_epoch()) == [0, 1, 2, 3]
    assert bench.end_epoch() == {}
    bench.learn(1)
    bench.scores()
    sizes = bench.end_epoch()
    assert sorted(sizes) == [0, 1, 2, 3]
    assert all(0 < size < SMALL for size in sizes.values())
    bench.scores()
    assert bench.end_epoch() == {}


def test_a_big_model_that_learned_nothing_costs_nothing() -> None:
    """Scoring does not write it, however often."""
    bench = Bench([model("hashed", Hashed)])
    assert bench.end_epoch()[0] > SMALL
    for _ in range(10):
        bench.scores()
        assert bench.end_epoch() == {}


def test_a_big_model_is_written_now_and_then_and_its_log_in_between() -> None:
    """Until RENEW_AFTER examples only the log is written; then the model, once, and the log starts anew."""
    bench = Bench([model("hashed", Hashed)])
    bench.end_epoch()
    for number in range(RENEW_AFTER - 1):
        bench.learn(number)
        if number % 100 == 0:
            sizes = bench.end_epoch()
            assert set(sizes) == {-1}
            assert sizes[-1] < 100 + 20 * (number + 1)
    assert set(bench.end_epoch()) == {-1}
    bench.learn(RENEW_AFTER)
    assert bench.end_epoch()[0] > SMALL
    bench.learn(RENEW_AFTER + 1)
    assert bench.end_epoch() == {-1: len(seal("log", 1, ([("a", RENEW_AFTER + 1, 1, None)], RENEW_AFTER)))}
    assert len(bench.features) == 1, "examples that no model needs again are given back"
    bench.open()
    assert bench.scores() == untouched(bench.models, [*range(RENEW_AFTER - 1), RENEW_AFTER, RENEW_AFTER + 1])


def test_a_big_and_a_small_model_do_not_write_each_other() -> None:
    """Learning writes the small model and the log, not the big model."""
    bench = Bench([model("hashed", Hashed), model("linear")])
    bench.end_epoch()
    bench.learn(1)
    assert set(bench.end_epoch()) == {1, -1}


def test_many_small_models_are_written_now_and_then_and_their_log_in_between() -> None:
    """Together they are bigger than a big one; so every hundred examples, and exact at a stop in between."""
    models = [model(f"hashed-{number}", lambda: Hashed(2_000)) for number in range(20)]
    bench = Bench(models)
    assert sum(bench.end_epoch().values()) > 2 * SMALL
    assert max(len(bench.scorer.version(each.name).pickled) for each in models) < SMALL
    written = []
    for number in range(250):
        bench.learn(number)
        sizes = bench.end_epoch()
        assert sizes.pop(-1, 0) < 100 + 20 * 100
        written.append(len(sizes))
        if number % 60 == 59:
            bench.open()
    assert [number for number, parts in enumerate(written) if parts] == [99, 199]
    bench.open()
    assert bench.scores() == untouched(models, range(250))
    assert len(bench.features) == 50, "examples that no model needs again are given back"


def test_what_a_big_model_learned_before_it_was_first_written_is_not_learned_again() -> None:
    """A stop right after the first epoch, then learning and another stop, loses and doubles nothing."""
    bench = Bench([model("hashed", Hashed)])
    for number in range(3):
        bench.learn(number)
    bench.end_epoch()
    bench.open()
    bench.learn(3)
    bench.end_epoch()
    bench.open()
    assert bench.scores() == untouched(bench.models, range(4))


@pytest.mark.parametrize("renew_after", [1, 2, RENEW_AFTER])
def test_a_model_that_becomes_small_again_leaves_no_stale_log(renew_after: int) -> None:
    """Big, small and big once more, with a stop after every epoch: the log fits at each restart."""
    bench = Bench([model("memory", lambda: Memory(full=3)), model("linear")], renew_after)
    for number in range(14):
        bench.learn(number)
        bench.end_epoch()
        before = bench.scores()
        bench.open()
        assert bench.scores() == before
    assert before == untouched(bench.models, range(14))
    assert len(bench.scorer.logged) == len(bench.scorer.log) <= 14


@given(
    st.lists(st.sampled_from(["learn", "learn", "epoch", "crash", "stop", "score"]), max_size=40),
    st.integers(1, 6),
    st.integers(2, 5),
    st.sampled_from([0, 1, 9]),
)
def test_crashes_change_no_score(steps: list[str], renew_after: int, full: int, hashed: int) -> None:
    """Learning with any epochs and crashes in between gives scores bit-equal to those without."""
    models = [model("memory", lambda: Memory(full)), model("linear")]
    # One is big, and nine are many.
    size = 9_000 if hashed == 1 else 1_000
    models += [model(f"hashed-{number}", lambda: Hashed(size)) for number in range(hashed)]
    bench = Bench(models, renew_after)
    learned: list[int] = []
    durable: list[int] = []
    kept = dict(bench.features)
    for number, step in enumerate(steps):
        if step == "learn":
            bench.learn(number)
            learned.append(number)
        elif step == "score":
            bench.scores()
        if step in {"epoch", "stop"}:
            bench.end_epoch()
            durable, kept = list(learned), dict(bench.features)
        if step in {"crash", "stop"}:
            learned, bench.features = list(durable), dict(kept)
            bench.open()
    assert bench.scores() == untouched(models, learned)
    assert bench.scorer.learned == len(learned)
    assert bench.scorer.positives == sum(example(number)[1] for number in learned)


def test_another_river_is_refused() -> None:
    """A pickle of another River version is refused, with both versions and what to install."""
    bench = Bench([model("linear")])
    bench.end_epoch()
    written = MODELS.unseal(bench.parts[0])
    bench.parts[0] = sealed_models(
        {name: (at, "0.99.0", version, pickled) for name, (at, _, version, pickled) in written.items()}
    )
    with pytest.raises(SnapshotError, match=r"'linear' was written by River 0\.99\.0, .*river==0\.99\.0"):
        bench.open()


def test_before_anything_is_learned_the_prior_answers() -> None:
    """The prior of nothing is one half, and the link says that it was the prior."""
    bench = Bench([model("linear"), model("tree")])
    assert bench.scorer.answers(vector()) == {"linear": (0.5, "prior"), "tree": (0.5, "prior")}


@pytest.mark.parametrize("label", [0, 1])
def test_a_classifier_that_knows_one_label_answers_with_its_prior(label: int) -> None:
    """River's say 0 or 1 then, as if nothing else could ever come, and others come close to it."""
    bench = Bench([model("bayes"), model("tree"), model("linear")])
    for number in range(3):
        bench.scorer.learn("a", number, vector(1.0, float(number)), label, {})
    bench.awake.update(bench.scorer.changed())
    bench.features |= {("a", number): vector(1.0, float(number)) for number in range(3)}
    prior = (3 * label + 0.5) / 4
    for _ in range(2):
        found = bench.scorer.answers(vector(1.0, 1.0))
        assert found["bayes"] == found["tree"] == found["linear"] == (prior, "prior")
        bench.end_epoch()
        bench.open()
    bench.scorer.learn("a", 9, vector(-1.0, 5.0), 1 - label, {})
    assert {link for _, link in bench.scorer.answers(vector(1.0, 1.0)).values()} == {"class"}


def test_a_model_without_an_opinion_leaves_the_answer_to_the_prior() -> None:
    """An empty answer of a model that learned becomes (positives + 0.5) / (learned + 1)."""
    bench = Bench([model("undecided", Undecided)])
    bench.scorer.learn("a", 1, vector(), 0, {})
    assert bench.scorer.answers(vector()) == {"undecided": (0.25, "prior")}
    bench.scorer.learn("a", 2, vector(), 1, {})
    assert bench.scorer.prior == 0.5
    assert bench.scorer.answers(vector()) == {"undecided": (0.75, "class")}


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("learn", "ArithmeticError: cannot learn that"),
        ("score", "ArithmeticError: cannot score that"),
        ("nan", "its score nan is no probability"),
        ("inf", "its score inf is no probability"),
        ("high", "its score 1.7 is no probability"),
        ("exit", "SystemExit: 3"),
        ("cancelled", "CancelledError: no loop"),
    ],
)
def test_a_model_that_keeps_failing_is_set_aside_and_the_rest_go_on(how: str, why: str) -> None:
    """It is named once and scores None, after a restart too; to the others it is as if it were not there."""
    others = [model("linear"), model("bayes")]
    bench = Bench([others[0], model("breaking", lambda: Breaking(3, how)), others[1]])
    for number in range(60):
        bench.learn(number)
        bench.scores(1)
    assert bench.scorer.events == [("put_aside", "breaking", why)]
    bench.end_epoch()
    for _ in range(2):
        scores = bench.scores()
        assert [each.pop("breaking") for each in scores] == [(None, "prior")] * 5
        assert scores == untouched(others, range(60))
        assert bench.scorer.set_aside() == {"breaking": why}
        bench.open()
    assert bench.scorer.events == []


def test_a_second_ctrl_c_ends_the_run_also_inside_a_model() -> None:
    """It is a person's, and no error of the model that is scoring just then."""
    bench = Bench([model("breaking", lambda: Breaking(3, "interrupt"))])
    for number in range(4):
        bench.learn(number)
    with pytest.raises(KeyboardInterrupt):
        bench.scores(1)


def test_an_error_costs_one_score_and_one_example() -> None:
    """River's Select needs every feature it names: the prior answers there, and the next score is its own."""
    bench = Bench([model("chosen", chosen), model("linear")])
    for number, label in enumerate((0, 1, 0, 1)):
        bench.scorer.learn("a", number, vector(float(label), 1.0), label, {})
    before, link = bench.scorer.answer("chosen", vector(1.0, 1.0))
    assert link == "class"
    gap = vector(math.nan, 1.0)
    served = bench.scorer.answers(gap)
    assert served["chosen"] == (None, "prior")
    assert served["linear"][1] == "class"
    bench.scorer.learn("a", 9, gap, 1, {name: score for name, (score, _) in served.items()})
    assert bench.scorer.answer("chosen", vector(1.0, 1.0)) == (before, "class")
    assert bench.scorer.errors() == {"chosen": 1}
    assert bench.scorer.set_aside() == {}
    assert bench.scorer.main_state()["models"]["chosen"]["learned"] == 4
    assert bench.scorer.main_state()["models"]["linear"]["learned"] == 5


def test_a_model_that_was_set_aside_is_tried_again() -> None:
    """After 200 calls it answers once more; where it fails at once, it is set aside again, and for longer."""
    bench = Bench([model("chosen", chosen), model("linear")])
    for number in range(30):
        bench.scorer.learn("a", number, vector(float(number % 2), 1.0), number % 2, {})
    gap, whole = vector(math.nan, 1.0), vector(1.0, 1.0)

    def calls_until(change: str, features: bytes) -> int:
        for calls in range(1, 1_000):
            bench.scorer.answer("chosen", features)
            if [event for event, _, _ in bench.scorer.events] == [change]:
                bench.scorer.events.clear()
                return calls
        raise AssertionError(change)

    assert calls_until("put_aside", gap) == 35
    assert calls_until("tried_again", whole) == 200
    assert calls_until("put_aside", gap) == 10
    assert calls_until("tried_again", gap) == 400
    assert bench.scorer.answer("chosen", whole)[1] == "class"


class Sum:
    """A model whose state is a sum, so that one infinite value makes it NaN for ever."""

    def __init__(self) -> None:
        self.total = 0.0

    def learn_one(self, x: dict[str, float], y: bool) -> None:
        self.total += x["x"] if y else -x["x"]

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
        score = 0.5 + 0.0 * (self.total + x["x"])
        return {False: 1 - score, True: score}


def test_a_model_whose_weights_are_not_finite_starts_from_nothing_when_it_is_tried_again() -> None:
    """It is a change with its reason, learns again, and a crash repeats it at the same record."""
    bench = Bench([model("sum", Sum), model("linear")])
    for number, value in enumerate((1.0, 2.0, math.inf, 3.0)):
        bench.scorer.learn("a", number, vector(value), number % 2, {})
    events: list[tuple[str, str, str]] = []
    for call in range(1, 236):
        assert bench.scorer.answer("sum", vector(1.0)) == (None, "prior"), call
        events += bench.scorer.events
        bench.scorer.events.clear()
        if call % 50 == 0:
            bench.end_epoch()
            bench.open()
    why = "its score nan is no probability"
    assert events == [
        ("put_aside", "sum", why),
        ("rebuilt", "sum", f"its weights are not finite; {why}"),
    ]
    for _ in range(2):
        assert bench.scorer.answer("sum", vector(1.0)) == (0.5, "prior"), "it has learned nothing"
        bench.end_epoch()
        bench.open()
    for number in range(4, 8):
        bench.scorer.learn("a", number, vector(1.0), number % 2, {})
    assert bench.scorer.answer("sum", vector(1.0)) == (0.5, "class")
    assert bench.scorer.main_state()["models"]["sum"]["learned"] == 4
    assert bench.scorer.main_state()["models"]["linear"]["learned"] == 8


def test_an_anomaly_detector_is_a_model() -> None:
    """It learns without labels, so one label is enough for it; its score counts as a probability."""
    bench = Bench(
        [model("trees", lambda: anomaly.HalfSpaceTrees(n_trees=3, height=3, seed=1, window_size=5))]
    )
    assert bench.scorer.answer("trees", vector(0.5))[1] == "prior"
    for number in range(20):
        bench.scorer.learn("a", number, vector(number / 20, 0.5), 0, {})
    score, link = bench.scorer.answer("trees", vector(0.5))
    assert link == "class"
    assert score is not None
    assert 0 <= score <= 1
    assert bench.scorer.errors() == {}


def test_a_pretrained_model_serves_from_the_first_record() -> None:
    """It says of itself that it is; all others answer with the prior until they have learned both labels."""
    bench = Bench([model("ready", Ready), model("linear")])
    assert bench.scorer.answers(vector()) == {"ready": (0.8, "class"), "linear": (0.5, "prior")}


class Impatient(ModelSet):
    """Sets a model aside after few errors, and for few calls."""

    error_rate = staticmethod(partial(ErrorRate, memory=4, first_pause=4))


@given(
    steps=st.lists(st.sampled_from(["learn", "learn", "ask", "epoch", "crash"]), max_size=60),
    renew_after=st.integers(1, 12),
    size=st.sampled_from([0, 100_000]),
    error=st.sampled_from([KeyError, SystemExit]),
)
def test_crashes_change_no_score_of_a_model_that_fails(
    steps: list[str], renew_after: int, size: int, error: type[BaseException]
) -> None:
    """Big or small, set aside or tried again: after a resume it is what it would have been without one."""
    models = [model("picky", lambda: Picky(size, error)), model("linear")]
    bench = Bench(models, renew_after, Impatient)
    done: list[tuple[str, int]] = []
    durable: list[tuple[str, int]] = []
    kept = dict(bench.features)
    for number, step in enumerate(steps):
        if step in {"learn", "ask"}:
            done.append((step, number))
            play(bench, step, number)
        elif step == "epoch":
            bench.end_epoch()
            durable, kept = list(done), dict(bench.features)
        else:
            done, bench.features = list(durable), dict(kept)
            bench.open()
    calm = Bench(models, renew_after, Impatient)
    for step, number in done:
        play(calm, step, number)
    assert bench.scorer.main_state() == calm.scorer.main_state()
    assert bench.scores() == calm.scores()


def play(bench: Bench, step: str, number: int) -> None:
    """Ask for scores, or serve and learn one example."""
    served = bench.scorer.answers(example(number)[0])
    if step == "learn":
        bench.learn(number, {name: score for name, (score, _) in served.items()})


def test_an_unchanged_model_goes_on_and_a_changed_one_starts_anew() -> None:
    """Another spec, or other features, is a new version that knows nothing; its part is written at once."""
    bench = Bench([model("linear"), model("bayes")])
    for number in range(30):
        bench.learn(number)
    bench.end_epoch()
    before = bench.scores()
    bench.open([model("linear", l2=0.1), model("bayes")])
    assert bench.scorer.named("linear")[1] == 2
    assert bench.scorer.named("bayes")[1] == 1
    assert [each["bayes"] for each in bench.scores()] == [each["bayes"] for each in before]
    assert bench.scorer.answers(vector())["linear"] == (bench.scorer.prior, "prior")
    assert set(bench.end_epoch()) == {0}
    bench.open([model("linear", features=(0, 1), l2=0.1), model("bayes")])
    assert bench.scorer.named("linear")[1] == 3
    bench.end_epoch()
    bench.open()
    assert bench.scorer.named("linear")[1] == 3


def test_a_version_that_was_opened_and_never_written_begins_at_the_next_start() -> None:
    """A run without a record writes the main state alone; no old pickle stands for the new model."""
    bench = Bench([model("linear"), model("tree")])
    for number in range(30):
        bench.learn(number)
    bench.end_epoch()
    bench.open([model("linear", l2=0.1), model("bayes"), model("tree")])
    bench.main = bench.scorer.main_state()
    bench.open()
    assert [bench.scorer.named(name)[1] for name in bench.scorer.names()] == [2, 1, 1]
    for number in range(30, 40):
        bench.learn(number)
    bench.end_epoch()
    bench.open()
    fresh = untouched([model("linear"), model("bayes")], range(30, 40))
    kept = untouched([model("tree")], range(40))
    for name, expected in (("linear", fresh), ("bayes", fresh), ("tree", kept)):
        assert [each[name] for each in bench.scores()] == [each[name] for each in expected]


def test_a_fresh_version_learns_only_what_comes_after_it() -> None:
    """A changed big model does not learn the log of the old one."""
    bench = Bench([model("hashed", Hashed), model("other", lambda: Hashed(20_000))])
    bench.end_epoch()
    for number in range(5):
        bench.learn(number)
    bench.end_epoch()
    bench.open([model("hashed", Hashed, rate=1), model("other", lambda: Hashed(20_000))])
    for number in range(5, 8):
        bench.learn(number)
    bench.end_epoch()
    bench.open()
    fresh = untouched([model("hashed", Hashed)], range(5, 8))
    assert [each["hashed"] for each in bench.scores()] == [each["hashed"] for each in fresh]
    kept = untouched([model("other", lambda: Hashed(20_000))], range(8))
    assert [each["other"] for each in bench.scores()] == [each["other"] for each in kept]


def test_added_and_removed_models_leave_the_rest_alone() -> None:
    """A model can be added in front of others and others be removed; what stays is bit-equal."""
    bench = Bench([model("linear"), model("bayes"), model("tree")])
    for number in range(30):
        bench.learn(number)
    bench.end_epoch()
    before = bench.scores()
    bench.open([model("prior"), model("bayes"), model("tree")])
    assert bench.scorer.names() == ["prior", "bayes", "tree"]
    for name in ("bayes", "tree"):
        assert [each[name] for each in bench.scores()] == [each[name] for each in before]


def test_each_model_has_a_part_of_its_own() -> None:
    """Up to so many models no two share a part, also where one was added in front of stored ones."""
    bench = Bench([model("linear"), model("hashed", Hashed)])
    bench.end_epoch()
    bench.open([model("prior"), model("hashed", Hashed), model("linear")])
    parts = [slot.part for slot in bench.scorer._versions.values()]
    assert sorted(set(parts)) == sorted(parts)


def test_more_models_than_parts_share_them_evenly() -> None:
    """Three times as many models as parts are three a part, and all come back."""
    bench = Bench([model(f"linear-{number:02}", BUILDS["linear"]) for number in range(3 * MODEL_PARTS)])
    for number in range(5):
        bench.learn(number)
    before = bench.scores()
    assert sorted(bench.end_epoch()) == list(range(MODEL_PARTS))
    assert {len(unseal("models", 1, part)) for part in bench.parts.values()} == {3}
    bench.open()
    assert bench.scores() == before


def test_a_model_sees_its_features_and_no_missing_one() -> None:
    """What is NaN is absent from the dict, what is not chosen too; the order is that of the class."""
    seen: list[dict[str, float]] = []

    class Watching(Breaking):
        def learn_one(self, x: dict[str, float], y: bool) -> None:  # type: ignore[override]
            seen.append(x)
            super().learn_one(x, y)

        def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:  # type: ignore[override]
            seen.append(x)
            return super().predict_proba_one(x)

    bench = Bench([model("watching", Watching, features=(0, 2, 5))])
    bench.scorer.learn("a", 1, np.array([1.0, 2, math.nan, 4, 5, 6]).tobytes(), 0, {})
    bench.scorer.learn("a", 2, np.array([math.nan] * 6).tobytes(), 1, {})
    bench.scorer.answers(np.array([math.nan, 2, 0.0, 4, 5, -0.0]).tobytes())
    assert [list(x.items()) for x in seen] == [
        [("x", 1.0), ("y:max:3h", 6.0)],
        [],
        [("x:mean:3h", 0.0), ("y:max:3h", 0.0)],
    ]


def test_one_model_can_be_asked_alone() -> None:
    """The champion's score alone is what it gives among all."""
    bench = Bench(all_models())
    for number in range(60):
        features, _ = example(-1 - number)
        together = bench.scorer.answers(features)
        for name in bench.scorer.names():
            assert bench.scorer.answer(name, features) == together[name]
        bench.learn(number)
        if number % 20 == 0:
            bench.end_epoch()
            bench.open()


def test_written_models_are_rivers_own() -> None:
    """A part is the estimator's pickle beside the River version, and nothing of this program's classes."""
    bench = Bench([model("linear")])
    bench.learn(1)
    bench.end_epoch()
    at, river, version, pickled = unseal("models", 1, bench.parts[0])["linear"]
    assert (at, river, version) == (1, RIVER, 1)
    assert type(pickle.loads(pickled)).__module__.startswith("river.")  # noqa: S301 - just written
    assert b"dataflows" not in pickled


def test_configuration_does_not_leak_between_versions() -> None:
    """The digest of a model depends on its pipeline and features, not on its name or builder."""
    one = model("linear")
    same = replace(one, name="other", build=BUILDS["bayes"])
    assert spec_digest(one, FEATURES) == spec_digest(same, FEATURES)
    assert spec_digest(one, FEATURES) == spec_digest(one, FEATURES[::-1]), "what is seen counts, not where"
    changed = replace(one, spec={"name": "linear", "l2": 0.1})
    assert spec_digest(one, FEATURES) != spec_digest(changed, FEATURES)
    assert spec_digest(one, FEATURES) != spec_digest(replace(one, features=(0,)), FEATURES)
