"""The group: periods, order, what is published and what is remembered, through any crash."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from dataflows.estimators import Calibration
from dataflows.fleet.fleet import Model, Output
from dataflows.instants import HOUR, format_instant, parse_instant
from dataflows.items import Item, Matured, Observation, Row
from dataflows.outputs import example_id
from dataflows.state.snapshots import contents, seal
from dataflows.target import TargetStage
from dataflows.target.target import _EXAMPLES, TARGET_PARTS, ChampionError, OrderError
from tests.observations import parts_of
from tests.target.fleets import BUILDS, PartStore, fleet, model, target, vector
from tests.target.learners import Breaking, Hashed, Memory
from tests.target.streams import observed, recordings
from tests.target.worlds import KEY, Rows, decoded, encoded, of_models, opened, scored, seen, stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dataflows.fleet.fleet import Fleet, Target

WAIT = 5 * HOUR


def pumps(learn_positives: str = "together", **changes: object) -> Fleet:
    """Small models, and two that are big now and then."""
    models = [
        model("linear"),
        model("tree"),
        model("bayes", features=(0, 3)),
        model("hashed", lambda: Hashed(9_000)),
        model("memory", lambda: Memory(4)),
        model("breaking", lambda: Breaking(5)),
        model("prior"),
    ]
    return fleet(target(models, learn_positives=learn_positives), **changes)


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    """Logs are kept in memory: rendering them is most of a short run's time."""
    with structlog.testing.capture_logs():
        yield


def crashing(learn_positives: str) -> Fleet:
    """As `pumps`, comparing all assets, with few and long periods: closing one takes milliseconds a model."""
    models = [
        model("linear"),
        model("hashed", lambda: Hashed(9_000)),
        model("memory", lambda: Memory(4)),
        model("breaking", lambda: Breaking(5)),
    ]
    made = fleet(target(models, learn_positives=learn_positives), metrics_every=24 * HOUR)
    return replace(made, classes={"pump": replace(made.classes["pump"], compare=1.0)})


def matured(time: int, label: int, correction: int = 0) -> Matured:
    return Matured(time, label, "why", HOUR if label == 1 else None, time + WAIT + 1, correction)


@pytest.mark.parametrize("broken", [0, 1, 2, 3])
def test_an_effect_that_throws_leaves_the_others_of_its_record(
    monkeypatch: pytest.MonkeyPatch, broken: int
) -> None:
    """Of three labels and a score in one record, the one that throws is rejected, and the rest is whole."""
    rejected: list[str] = []

    def reject(item: Item, error: Exception, stage: str) -> Row:  # noqa: ARG001 - as the stages call it
        rejected.append(str(error))
        return Row("rejects", orjson.dumps({"why": str(error)}), "internal_error")

    group = TargetStage(pumps(), KEY, strict=True, on_error=reject, main=None, parts={})
    times = [HOUR, 2 * HOUR, 3 * HOUR]
    for sequence, time in enumerate(times, start=1):
        group.process([scored(sequence, time)])
    calls = iter(range(9))

    def throws_once(method: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **more: Any) -> Any:  # noqa: ANN401
            if next(calls) == broken:
                msg = f"call {broken}"
                raise ArithmeticError(msg)
            return method(*args, **more)

        return wrapped

    monkeypatch.setattr(group._ledger, "mature", throws_once(group._ledger.mature))
    monkeypatch.setattr(group._models, "answers", throws_once(group._models.answers))
    now = times[-1] + 2 * WAIT
    out = decoded(group.process([scored(4, now, matured=tuple(matured(time, 0) for time in times))]))
    assert rejected == [f"call {broken}"]
    assert [row["time"] for row in out["evaluations"]] == [
        format_instant(time) for number, time in enumerate(times) if number != broken
    ]
    assert len(out.get("predictions", [])) == (broken != 3)
    learned = group.finish()[0].body
    assert isinstance(learned, Row)
    assert orjson.loads(learned.data)["targets"][KEY]["learned"] == (3 if broken == 3 else 2)


steps = st.lists(
    st.tuples(st.integers(1, 9), st.sampled_from(["", "", "epoch", "crash", "stop"])), max_size=20
)


@given(recordings(32), steps, st.sampled_from(["together", "at_once"]), st.integers(1, 6), st.integers(0, 99))
def test_a_group_that_crashes_writes_what_one_that_does_not_writes(
    lines: list[bytes], plan: list[tuple[int, str]], learn_positives: str, renew_after: int, seed: int
) -> None:
    """Rebuilt from what was written at any point, further rows are byte-identical, and figures equal."""
    sizes = {"renew_after": renew_after, "smallest": 600}
    pump = crashing(learn_positives)
    items = observed(pump, lines)
    unbroken = opened(pump, **sizes)
    expected = [row for item in items for row in unbroken.process([item])]

    shuffler = random.Random(seed)
    store, group = PartStore(), opened(pump, **sizes)
    out: list[Item] = []
    at, durable = 0, (0, 0)
    for size, what in [*plan, (len(items), "stop"), (len(items), "")]:
        batch = items[at : at + size]
        at += len(batch)
        if batch:
            out += group.process(shuffler.sample(batch, len(batch)))
            store.after_batch(group)
        if what in {"epoch", "stop"} and at:
            written = store.end_epoch(group, shuffler)
            assert all(0 <= part < TARGET_PARTS for part in written)
            durable = at, len(out)
        if what in {"crash", "stop"}:
            main, parts = store.crash()
            group = opened(pump, main=main, parts=parts, **sizes)
            at = durable[0]
            del out[durable[1] :]
    assert encoded(out) == encoded(expected)
    assert group._monitors.state() == unbroken._monitors.state()
    assert group._ledger.pending() == unbroken._ledger.pending()


@given(recordings(40))
def test_evaluations_hold_what_was_served(lines: list[bytes]) -> None:
    """Scores are those of the prediction of the same id, whatever was learned since."""
    pump = pumps(output=Output(pumps().output.folder, "all"), metrics_every=1_000 * HOUR)
    rows = decoded(opened(pump).process(observed(pump, lines)))
    served = {row["id"]: row for row in rows.get("predictions", [])}
    assert len(served) == len(rows.get("predictions", [])), "a prediction id never repeats"
    for row in rows.get("evaluations", []):
        prediction = served[row["id"]]
        assert row["example"] == example_id(row["asset"], parse_instant(row["time"]))
        assert row["scores"][row["champion"]] == prediction["score"]
        assert row["champion"] == prediction["model"]
        for field in ("asset", "target", "time"):
            assert row[field] == prediction[field]
        assert prediction["revision"] == 0
        assert row["sequence"] > prediction["sequence"] or row["correction"] == 0


@given(recordings(48), st.sampled_from(["together", "at_once"]))
def test_the_summary_counts_the_evaluations(lines: list[bytes], learn_positives: str) -> None:
    """First and final labels equal a recomputation from the rows, learned or not."""
    pump = fleet(target([model("linear")], learn_positives=learn_positives), metrics_every=1_000 * HOUR)
    items = observed(pump, lines)
    group = opened(pump)
    rows = decoded(group.process(items)).get("evaluations", [])
    labels: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        history = labels.setdefault(row["id"], [])
        assert row["correction"] == len(history)
        history.append(row)
    learned = [row for row in rows if row["learned"]]
    assert len({row["id"] for row in learned}) == len(learned), "without retractions nothing is learned twice"
    counted = [history for history in labels.values() if parse_instant(history[0]["time"]) >= 4 * HOUR]
    summary = decoded_summary(group)
    assert summary["pending"] == sum(
        isinstance(item.body, Observation) and parts_of(item.body).example for item in items
    ) - len(labels)
    for scope, which in (("first_labels", 0), ("final_labels", -1)):
        kept = [history[which] for history in counted if history[which]["label"] != "censored"]
        row = summary[scope].get("linear", {"examples": 0, "positives": 0})
        positives = [each["label"] == "positive" for each in kept]
        assert (row["examples"], row["positives"]) == (len(kept), sum(positives))
        if kept:
            brier = [
                (each["scores"]["linear"] - label) ** 2 for each, label in zip(kept, positives, strict=True)
            ]
            assert row["brier"] == pytest.approx(np.mean(brier), rel=1e-9, abs=1e-12)


def decoded_summary(group: TargetStage) -> dict[str, Any]:
    """The target's section of the summary."""
    (item,) = group.finish()
    assert isinstance(item.body, Row)
    assert item.body.output == "summary"
    section: dict[str, Any] = orjson.loads(item.body.data)["targets"][KEY]
    return section


def test_a_restored_group_tells_the_same_summary() -> None:
    """The summary after a restart is byte-identical to that before it."""
    group, store = opened(pumps()), PartStore()
    items = [scored(number, number * HOUR) for number in range(1, 20)]
    labels = tuple(matured(number * HOUR, number % 2) for number in range(1, 9))
    group.process([*items, seen(20, 30 * HOUR, matured=labels)])
    store.after_batch(group)
    store.end_epoch(group)
    resumed = opened(pumps(), main=store.main, parts=store.parts)
    assert encoded(resumed.finish()) == encoded(group.finish())
    assert decoded_summary(resumed)["first_labels"]["linear"]["examples"] == 5


def test_the_end_of_input_changes_nothing() -> None:
    """Saying what there is does not decide or write anything."""
    group = opened(pumps())
    group.process([scored(1, HOUR)])
    list(group.changed())
    before = group.main_snapshot()
    assert decoded_summary(group) == decoded_summary(group)
    assert group.main_snapshot() == before
    assert list(group.changed()) == []


def test_a_period_closes_when_knowledge_time_has_passed_it() -> None:
    """The border itself belongs to the period; the first record beyond it writes the rows."""
    group = opened(fleet(target([model("prior")])))
    example = scored(1, HOUR)
    label = seen(2, 6 * HOUR + 2, clock=HOUR + WAIT + 1, matured=(matured(HOUR, 0),))
    assert "metrics" not in decoded(group.process([example]))
    assert "metrics" not in decoded(group.process([seen(3, 6 * HOUR, matured=())]))
    (row,) = decoded(group.process([seen(4, 6 * HOUR + 1)])).get("metrics", [None])
    assert row is None, "a period in which nothing was counted has no row"
    label.sequence = 5
    assert "metrics" not in decoded(group.process([label]))
    rows = decoded(group.process([seen(6, 12 * HOUR)]))
    assert "metrics" not in rows
    row, learned = decoded(group.process([seen(7, 31 * HOUR)]))["metrics"]
    assert (learned["kind"], learned["examples"], learned["models"]) == ("learned", 1, {"prior": 1})
    assert (row["from"], row["to"]) == ("1970-01-01T06:00:00.000000Z", "1970-01-01T12:00:00.000000Z")
    assert (row["examples"], row["positives"], row["pending"]) == (1, 0, 0)
    assert (row["target"], row["model"], row["champion"]) == (KEY, "prior", True)
    assert row["known"] == "1970-01-02T07:00:00.000000Z"


def test_a_straggler_counts_in_the_current_period() -> None:
    """Knowledge time that runs back opens no period again."""
    group = opened(fleet(target([model("prior")])))
    group.process([scored(1, HOUR), seen(2, 18 * HOUR, clock=HOUR)])
    late = seen(3, 7 * HOUR, clock=HOUR + WAIT + 1, matured=(matured(HOUR, 0),))
    assert "metrics" not in decoded(group.process([late]))
    row, _ = decoded(group.process([seen(4, 19 * HOUR)]))["metrics"]
    assert (row["from"], row["examples"]) == ("1970-01-01T12:00:00.000000Z", 1)


def test_every_model_has_a_row_a_period() -> None:
    """One row a model, by name, the champion marked; the counts of the target stand in each."""
    group = opened(pumps())
    group.process([scored(1, 5 * HOUR)])
    group.process([seen(2, 11 * HOUR, matured=(matured(5 * HOUR, -1),))])
    rows = decoded(group.process([seen(3, 12 * HOUR + 1)]))["metrics"]
    names = ["bayes", "breaking", "hashed", "linear", "memory", "prior", "tree"]
    assert [row["model"] for row in rows] == names
    assert [row["champion"] for row in rows] == [name == "linear" for name in names]
    assert all((row["examples"], row["censored"]) == (0, {"why": 1}) for row in rows)


def test_what_arrives_together_takes_effect_in_order() -> None:
    """A batch in any order gives the rows of the order of effect."""
    items = [scored(number, number * HOUR) for number in range(1, 10)]
    expected = encoded(opened(pumps()).process(list(items)))
    assert encoded(opened(pumps()).process(items[::-1])) == expected


@pytest.mark.parametrize("after", [1, 2])
def test_with_one_worker_a_violated_order_is_an_error(after: int) -> None:
    """What has a place before, or at, one that took effect is refused with both places."""
    group = opened(pumps())
    group.process([scored(1, HOUR), scored(2, 2 * HOUR)])
    with pytest.raises(OrderError, match=rf"'pump/leak/4h': \({after}, 0\) came after \(2, 0\)"):
        group.process([scored(after, 3 * HOUR)])


def test_with_more_workers_a_violated_order_is_counted() -> None:
    """It takes effect as it comes, the summary tells how often, and a restart does not forget."""
    group = opened(pumps(), strict=False)
    group.process([scored(2, 2 * HOUR)])
    rows = decoded(group.process([scored(1, HOUR, asset="b")]))
    assert len(rows["predictions"]) == 1
    assert decoded_summary(group)["order_violations"] == 1
    store = PartStore()
    store.after_batch(group)
    store.end_epoch(group)
    resumed = opened(pumps(), strict=False, main=store.main, parts=store.parts)
    assert decoded_summary(resumed)["order_violations"] == 1


def test_the_order_is_watched_through_a_restart() -> None:
    """What already took effect is refused by the next process too."""
    store = stored(pumps().targets[KEY])
    group = opened(pumps(), main=store.main, parts=store.parts)
    with pytest.raises(OrderError):
        group.process([scored(1, HOUR)])


def test_a_champion_that_is_gone_is_refused() -> None:
    """The message names the target, the champion and what can be done."""
    store = stored(target([model("linear"), model("prior")]))
    expected = f"target '{KEY}': its champion 'linear' is no longer configured. .*successor"
    with pytest.raises(ChampionError, match=expected):
        opened(fleet(target([model("tree"), model("prior")])), main=store.main, parts=store.parts)


def test_a_successor_follows_a_champion_that_is_gone() -> None:
    """From the next prediction on, and `changes` says so; while the champion is there, none follows it."""
    store = stored(target([model("linear"), model("prior")]))
    now = target([model("tree"), model("prior")], successor="prior")
    rows = decoded(opened(fleet(now), main=store.main, parts=store.parts).process([scored(2, 2 * HOUR)]))
    assert rows["predictions"][0]["model"] == "prior"
    changes = [(row["change"], row["model"], row["version"]) for row in of_models(rows)]
    assert changes == [("challenger", "tree", 1), ("removed", "linear", 1), ("champion", "prior", 1)]
    assert "successor of linear" in of_models(rows)[-1]["why"]
    still = target([model("linear"), model("prior")], successor="prior")
    rows = decoded(opened(fleet(still), main=store.main, parts=store.parts).process([scored(2, 2 * HOUR)]))
    assert rows["predictions"][0]["model"] == "linear"
    assert "changes" not in rows


@pytest.mark.parametrize(
    "changed", [model("linear", l2=0.1), model("linear", features=(0, 1))], ids=["pipeline", "features"]
)
def test_a_changed_champion_goes_on_beside_its_new_version(changed: Model) -> None:
    """What it published it would have published unchanged; the new version begins as a challenger."""
    of, store = target([model("linear"), model("prior")]), PartStore()
    group = opened(fleet(of))
    for number in range(1, 4):
        group.process([scored(number, number * HOUR)])
    store.after_batch(group)
    store.end_epoch(group)
    unchanged = decoded(group.process([scored(4, 4 * HOUR)]))
    now = fleet(target([changed, model("prior")]))
    for _ in range(2):  # a kill before the next epoch ends tells it again, exactly as before
        again = opened(now, main=store.main, parts=store.parts)
        rows = decoded(again.process([scored(4, 4 * HOUR)]))
        assert rows["predictions"] == unchanged["predictions"]
        (change,) = of_models(rows)
        assert (change["change"], change["model"], change["version"]) == ("challenger", "linear", 2)
    store.after_batch(again)
    store.end_epoch(again)
    rows = decoded(opened(now, main=store.main, parts=store.parts).process([scored(5, 5 * HOUR)]))
    assert (rows["predictions"][0]["model"], rows["predictions"][0]["version"]) == ("linear", 1)
    assert "changes" not in rows
    last = opened(now, main=store.main, parts=store.parts)
    assert last._models.names() == ["linear:2", "prior", "linear"]
    back = opened(fleet(of), main=store.main, parts=store.parts)
    assert back._models.names() == ["linear", "prior"], "taken back, the new version is let go"


def test_a_champion_of_scores_goes_on_with_the_models_below_it() -> None:
    """A change below it makes a new version of both; the former two go on together."""

    def pair(**spec: object) -> Target:
        below = model("linear", **spec)
        spec_above = {"scores": {"linear": {**below.spec, "features": below.features}}}
        above = Model("above", spec_above, below.features, Calibration, scores=("linear",))
        return target([above, below], champion="above")

    store = stored(pair())
    group = opened(fleet(pair(l2=0.1)), main=store.main, parts=store.parts)
    assert set(group._models.names()) == {"above:2", "linear:2", "above", "linear"}
    slots = group._models._versions
    assert slots["above"].sees == ("linear",)
    assert slots["above:2"].sees == ("linear:2",)


def test_the_stored_champion_rules() -> None:
    """Naming another champion later changes nothing; challengers may change, come and go."""
    store = stored(target([model("linear"), model("bayes"), model("prior")]))
    now = target([model("tree"), model("linear"), model("bayes", features=(0,))])
    group = opened(fleet(now), main=store.main, parts=store.parts)
    rows = decoded(group.process([scored(2, 2 * HOUR)]))
    changes = [(row["change"], row["model"], row["version"]) for row in of_models(rows)]
    assert changes == [("challenger", "tree", 1), ("challenger", "bayes", 2), ("removed", "prior", 1)]
    assert rows["predictions"][0]["model"] == "linear"
    assert decoded_summary(group)["champion"] == "linear"


def test_a_new_target_names_its_champion_once() -> None:
    """The first record of a target writes who scores; neither later ones nor a restart do."""
    group = opened(pumps())
    (row,) = of_models(decoded(group.process([scored(1, HOUR)])))
    assert (row["change"], row["model"], row["version"], row["why"]) == (
        "champion",
        "linear",
        1,
        "configured",
    )
    assert "changes" not in decoded(group.process([scored(2, 2 * HOUR)]))
    store = stored(pumps().targets[KEY])
    resumed = opened(pumps(), main=store.main, parts=store.parts)
    assert "changes" not in decoded(resumed.process([scored(2, 2 * HOUR)]))


def test_a_model_that_is_put_aside_is_a_change() -> None:
    """The row says which model and why; where it is the champion, the prior answers from then on."""
    group = opened(fleet(target([model("breaking", lambda: Breaking(1)), model("prior")])))
    items = [scored(number, number * HOUR) for number in range(1, 50)]
    labels = tuple(matured(number * HOUR, number % 2) for number in range(1, 50))
    items += [seen(50, 99 * HOUR, matured=labels)]
    rows = decoded(group.process([*items, scored(51, 100 * HOUR)]))
    assert [(row["change"], row["model"]) for row in of_models(rows)] == [
        ("champion", "breaking"),
        ("put_aside", "breaking"),
    ]
    assert of_models(rows)[1]["why"] == "ArithmeticError: cannot learn that"
    last = rows["predictions"][-1]
    assert (last["score"], last["link"]) == (pytest.approx(25.5 / 50), "prior")
    said = decoded_summary(group)
    assert said["set_aside"] == {"breaking": "ArithmeticError: cannot learn that"}
    assert said["model_errors"] == {"breaking": 35}


def test_labels_take_effect_before_the_score_of_the_same_record() -> None:
    """What a record decides is learned before that record is scored."""
    group = opened(fleet(target([model("prior")])))
    group.process([scored(1, HOUR)])
    (row,) = decoded(group.process([scored(2, 9 * HOUR, matured=(matured(HOUR, 0),))]))["predictions"]
    assert (row["score"], row["link"]) == (pytest.approx(0.25), "prior")


def test_a_revision_is_published_and_is_no_example() -> None:
    """It has an id of its own, names the one it revises, and leaves what was served to the example."""
    group = opened(pumps())
    group.process([scored(1, HOUR)])
    again = scored(2, HOUR, features=vector(9), revision=1, example=False)
    rows = decoded(group.process([again, seen(3, 9 * HOUR, matured=(matured(HOUR, 0),))]))
    (first,) = decoded(opened(pumps()).process([scored(1, HOUR)]))["predictions"]
    (second,) = rows["predictions"]
    assert (first["revision"], first["revises"]) == (0, None)
    assert (second["revision"], second["revises"]) == (1, first["id"])
    assert second["id"] != first["id"]
    (evaluation,) = rows["evaluations"]
    assert evaluation["id"] == first["id"]
    assert evaluation["example"] == example_id("a", HOUR)


def test_a_label_that_is_known_at_once_is_evaluated_after_the_score() -> None:
    """An example whose failure arrived before it has prediction and evaluation in one record."""
    group = opened(pumps())
    known = Matured(HOUR, 1, "failure", 2 * HOUR, HOUR, 0)
    rows = decoded(group.process([scored(1, HOUR, at_once=known)]))
    assert rows["predictions"][0]["id"] == rows["evaluations"][0]["id"]
    assert (rows["evaluations"][0]["label"], rows["evaluations"][0]["lead"]) == ("positive", 2.0)


def test_an_example_that_the_target_never_took_is_passed_over() -> None:
    """A target that is newer than the example has no row for its label."""
    rows = decoded(opened(pumps()).process([seen(1, 9 * HOUR, matured=(matured(HOUR, 1),))]))
    assert "evaluations" not in rows


@pytest.mark.parametrize("features", ["none", "examples", "all"])
def test_features_are_written_with_predictions_where_all_are_asked_for(features: str) -> None:
    """A missing one is null; no evaluation holds any."""
    pump = pumps(output=Output(pumps().output.folder, features))
    vector_with_gap = np.array([1.0, np.nan, 3, 4, 5, 6]).tobytes()
    items = [scored(1, HOUR, features=vector_with_gap), seen(2, 9 * HOUR, matured=(matured(HOUR, 0),))]
    rows = decoded(opened(pump).process(items))
    named = dict(zip(pump.classes["pump"].features, [1, None, 3, 4, 5, 6], strict=True))
    assert [row.get("features") for row in rows["predictions"]] == [named if features == "all" else None]
    (evaluation,) = rows["evaluations"]
    assert "features" not in evaluation
    assert evaluation["example"] == (None if features == "none" else example_id("a", HOUR))
    assert "examples" not in rows, "its asset writes them"


@pytest.mark.parametrize("older", [False, True])
def test_features_that_no_asset_wrote_are_written_once_with_an_evaluation(*, older: bool) -> None:
    """Of an example taken with `features = "none"` or by an older release; restarts repeat nothing."""
    folder = pumps().output.folder
    group, store = opened(pumps(output=Output(folder, "examples" if older else "none"))), PartStore()
    group.process([scored(1, HOUR), scored(2, 2 * HOUR), scored(3, 3 * HOUR, asset="b")])
    store.after_batch(group)
    store.end_epoch(group)
    if older:
        store.parts |= {
            part: as_version_2(sealed)
            for part, sealed in store.parts.items()
            if contents(sealed)[0] == "examples"
        }
    written: Rows = {}
    for sequence, label, correction in ((4, 0, 0), (5, 1, 1), (6, 0, 2)):
        main, parts = store.crash()
        group = opened(pumps(output=Output(folder, "examples")), main=main, parts=parts)
        known = matured(HOUR, label, correction), matured(2 * HOUR, label, correction)
        for output, rows in decoded(
            group.process([seen(sequence, (sequence + 5) * HOUR, matured=known)])
        ).items():
            written.setdefault(output, []).extend(rows)
        store.after_batch(group)
        store.end_epoch(group)
    assert [(row["asset"], row["time"], row["class"]) for row in written["examples"]] == [
        ("a", format_instant(HOUR), "pump"),
        ("a", format_instant(2 * HOUR), "pump"),
    ], "what has no evaluation has no row"
    assert [row["features"]["x"] for row in written["examples"]] == [1.0, 2.0]
    of = {row["id"]: row["time"] for row in written["examples"]}
    assert len(written["evaluations"]) == 6
    assert all(of[row["example"]] == row["time"] for row in written["evaluations"])


def as_version_2(sealed: bytes) -> bytes:
    """A segment of examples as releases wrote it that wrote features into evaluations."""
    _, version, (current, mark, packed, marks) = contents(sealed)
    assert version == 3
    examples = []
    for *example, news, own in map(msgspec.msgpack.decode, packed):
        examples.append(msgspec.msgpack.encode((*example, news[:-2], own)))
    noted = [(*place, None if news is None else news[:-2]) for *place, news in marks]
    return seal("examples", 2, (current, mark, examples, noted))


def test_released_examples_are_forgotten() -> None:
    """What no record can change takes no room, also where a big model's log needed it for a while."""
    models = [model("linear", BUILDS["linear"]), model("hashed", lambda: Hashed(9_000))]
    group, store, most = opened(fleet(target(models)), renew_after=3), PartStore(), 0
    for number in range(1, 60):
        time = number * HOUR
        label = (matured(time - 6 * HOUR, number % 2),) if number > 6 else ()
        released = (time - 7 * HOUR,) if number > 7 else ()
        group.process([scored(number, time, matured=label, released=released)])
        store.after_batch(group)
        if number % 2:
            store.end_epoch(group)
            group = opened(fleet(target(models)), main=store.main, parts=store.parts, renew_after=3)
        most = max(most, len(group._ledger.state()["released"]))
    assert len(group._examples) <= 7 + 3 + 2
    assert 0 < most <= 3 + 2


def test_quiet_parts_are_not_written() -> None:
    """What decides nothing writes no model, log or figures; what is no example either writes nothing."""
    group, store = opened(pumps()), PartStore()
    group.process([scored(1, HOUR)])
    store.after_batch(group)
    store.end_epoch(group)
    group.process([scored(2, 2 * HOUR)])
    assert [part for part in group.changed() if part < _EXAMPLES] == []
    group.process([scored(3, 3 * HOUR, example=False, revision=1)])
    assert list(group.changed()) == []
    group.process([seen(4, 3 * HOUR)])
    assert list(group.changed()) == []


def test_times_are_told_in_rfc_3339() -> None:
    """Every row names its times as texts that parse."""
    rows = decoded(opened(pumps()).process([scored(1, HOUR), seen(2, 9 * HOUR, matured=(matured(HOUR, 1),))]))
    (evaluation,) = rows["evaluations"]
    assert evaluation["time"] == format_instant(HOUR)
    assert evaluation["matured"] == format_instant(HOUR + WAIT + 1)
    assert evaluation["known"] == evaluation["watermark"] == format_instant(9 * HOUR)
    assert evaluation["arrival"] is None
