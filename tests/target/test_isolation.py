"""A throw anywhere in a target: of each effect of a record, either all is applied and written, or nothing."""

from __future__ import annotations

from collections import Counter
from types import FunctionType
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import structlog

from dataflows.instants import format_instant
from dataflows.items import Item, Observation, Row
from dataflows.state.tables import Buckets
from dataflows.target import TargetStage
from dataflows.target import target as module
from dataflows.target.alerts import AlertBook, Publisher
from dataflows.target.attribution import Attribution
from dataflows.target.examples import ExampleStore, Ledger
from dataflows.target.figures import Leads, TargetFigures
from dataflows.target.models import ModelSet
from dataflows.target.skew import Skew
from tests.observations import parts_of
from tests.target.fleets import PartStore
from tests.target.streams import observed
from tests.target.worlds import KEY, pumps, recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


#: What a target calls while it takes a record in. The figures of a target are one such call each.
OWNERS: dict[type, set[str]] = {
    Ledger: set(),
    ExampleStore: set(),
    ModelSet: set(),
    TargetFigures: {"count", "correct", "matured", "period_rows"},
    Leads: {"served", "cleared", "period_rows"},
    Attribution: {"learned", "add", "explain"},
    Skew: {"served", "compared", "matured", "period_rows", "_changes", "_give_up"},
    Publisher: set(),
    AlertBook: set(),
    Buckets: set(),
}
#: Part of putting back what was there before an error; and what a model's own errors are caught in.
SPARED = {"restore", "_learn", "_unscored", "_score_rows"}
FUNCTIONS = ("prediction", "alert", "evaluation", "row_of", "fields_of", "format_instant", "time_or_none")


class UnluckyError(ArithmeticError):
    """What is thrown."""


class Trap:
    """Counts the calls of everything that a target calls, and throws at one of them."""

    def __init__(self, patch: pytest.MonkeyPatch, throw: tuple[str, int] | None = None) -> None:
        self.calls: Counter[str] = Counter()
        self.throw = throw
        self.armed = False
        for owner, names in OWNERS.items():
            for name, found in list(vars(owner).items()):
                called = name in names if names else not name.startswith("__") and name not in SPARED
                if isinstance(found, FunctionType) and called:
                    patch.setattr(owner, name, self.wrapped(f"{owner.__name__}.{name}", found))
        for name in FUNCTIONS:
            patch.setattr(module, name, self.wrapped(name, getattr(module, name)))

    def wrapped(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:  # noqa: ANN401
            if self.armed:
                self.calls[name] += 1
                if (name, self.calls[name]) == self.throw:
                    raise UnluckyError(name)
            return original(*args, **more)

        return call


class Run:
    """One target that took in a whole recording, and what became of it."""

    def __init__(self, learn_positives: str, throw: tuple[str, int] | None = None) -> None:
        made = pumps(learn_positives)
        self.items = observed(made, recording())
        self.rows: dict[str, list[dict[str, Any]]] = {}
        with pytest.MonkeyPatch.context() as patch:
            trap = Trap(patch, throw)
            self.group = TargetStage(made, KEY, strict=True, on_error=_reject, main=None, parts={})
            store = PartStore()
            for number, item in enumerate(self.items):
                trap.armed = True
                out = self.group.process([item])
                trap.armed = False
                store.after_batch(self.group)
                if number % 7 == 0 or item is self.items[-1]:
                    store.end_epoch(self.group)
                for each in out:
                    assert isinstance(each.body, Row)
                    self.rows.setdefault(each.body.output, []).append(orjson.loads(each.body.data))
            self.calls = trap.calls
        self.resumed = TargetStage(
            made, KEY, strict=True, on_error=_reject, main=store.main, parts=store.parts
        )

    def of(self, output: str) -> list[dict[str, Any]]:
        return self.rows.get(output, [])

    def examples(self) -> dict[tuple[str, str], Any]:
        return {(each.asset, format_instant(each.time)): each for each in self.group._examples}


def _reject(item: Item, error: Exception, stage: str) -> Row:  # noqa: ARG001 - as the stages call it
    if not isinstance(error, UnluckyError):
        raise error
    return Row("rejects", orjson.dumps({"sequence": item.sequence, "why": str(error)}), "internal_error")


def _summary(group: TargetStage) -> dict[str, Any]:
    (item,) = group.finish()
    assert isinstance(item.body, Row)
    found: dict[str, Any] = orjson.loads(item.body.data)
    return found


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


def assert_labels_have_their_rows(run: Run) -> None:
    """A label stands in the state exactly where its evaluation was written."""
    last = {(row["asset"], row["time"]): row for row in run.of("evaluations")}
    names = {1: "positive", 0: "negative", -1: "censored"}
    stored = {
        key: (names[each.label], each.correction)
        for key, each in run.examples().items()
        if each.label is not None
    }
    assert stored == {key: (row["label"], row["correction"]) for key, row in last.items()}
    written = Counter((row["id"], row["correction"]) for row in run.of("evaluations"))
    assert not written or max(written.values()) == 1


def assert_examples_have_their_rows(run: Run) -> None:
    """An example is remembered exactly where its prediction was written."""
    written = {(row["asset"], row["time"]) for row in run.of("predictions") if row["revision"] == 0}
    asked = {
        (item.body.asset, format_instant(parts_of(item.body).time or 0))
        for item in run.items
        if isinstance(item.body, Observation) and parts_of(item.body).example
    }
    assert run.examples().keys() == written & asked


def assert_alerts_have_their_rows(run: Run) -> None:
    """An alert is open exactly where its rows say so."""
    told: dict[str, str] = {}
    for row in run.of("alerts"):
        if row["state"] == "opened":
            assert row["asset"] not in told
            told[row["asset"]] = row["id"]
        else:
            assert told[row["asset"]] == row["id"]
            if row["state"] == "cleared":
                del told[row["asset"]]
    book = run.group._publisher._book
    assert book is not None
    assert told == {asset: state.id for asset, state in book._states.items() if state.id is not None}


def assert_nothing_else_is_lost(run: Run, whole: Run) -> None:
    """Of the rows of a run without an error, at most those of one effect are missing."""
    for output, most in MOST.items():
        assert len(whole.of(output)) - len(run.of(output)) <= most, output
    learned = sum(each.learned for each in run.group._examples)
    assert learned - run.group._models.learned in {0, 1}
    if not run.of("rejects"):
        assert run.rows == whole.rows


def assert_a_resume_finds_the_same(run: Run) -> None:
    """What is stored is what is at work, down to the scores of every model."""
    assert _summary(run.resumed) == _summary(run.group)
    for example in run.group._examples:
        answers = [group._models.answers(example.features) for group in (run.group, run.resumed)]
        assert answers[0] == answers[1]


@pytest.mark.parametrize("learn_positives", ["together", pytest.param("at_once", marks=pytest.mark.ci)])
def test_a_throw_at_any_internal_call_leaves_all_or_nothing_of_an_effect(learn_positives: str) -> None:
    """State and rows agree, one reject says what was lost, nothing else is, and a resume finds the same."""
    whole = Run(learn_positives)
    assert_a_resume_finds_the_same(whole)
    assert len(whole.calls) > 40
    assert all(whole.of(output) for output in ("predictions", "alerts", "evaluations", "metrics"))
    for name, count in whole.calls.items():
        run = Run(learn_positives, (name, (count + 1) // 2))
        try:
            assert len(run.of("rejects")) == 1
            assert_labels_have_their_rows(run)
            assert_examples_have_their_rows(run)
            assert_alerts_have_their_rows(run)
            assert_nothing_else_is_lost(run, whole)
            assert_a_resume_finds_the_same(run)
        except AssertionError as error:
            msg = f"after a throw in {name}: {error}"
            raise AssertionError(msg) from error


#: At most so many rows are missing: an example that was not taken has no evaluations, corrections among them.
MOST = {"predictions": 1, "evaluations": 4, "changes": 0, "metrics": 6}
