"""The ledger: evaluated and counted when known, learned when the target clock has passed, exactly once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.items import Item, Matured
from dataflows.target.attribution import Attribution
from dataflows.target.examples import SEGMENTS, Example, ExampleStore, Ledger
from dataflows.target.figures import TargetFigures
from dataflows.target.models import ModelSet
from tests.target.fleets import FEATURES, model, target, vector

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows.fleet.fleet import Target

HORIZON, DELAY = 10, 3
WAIT = HORIZON + DELAY
FROM = 20
SCORES = (0.1, 0.35, 0.6, 0.9)
ITEM = Item(1, 0, None, 0, ("", 0, 0), b"")

Learned = tuple[str, int, int]


class Listening(ModelSet):
    """A scorer that remembers the order in which it was taught."""

    taught: list[Learned]

    def learn(
        self, asset: str, time: int, features: bytes, label: int, scores: Mapping[str, float | None]
    ) -> None:
        self.taught.append((asset, time, label))
        super().learn(asset, time, features, label, scores)


def settings(learn_positives: str = "together") -> Target:
    return target(
        [model("prior")],
        horizon=HORIZON,
        label_delay=DELAY,
        learn_positives=learn_positives,
        label_memory=100,
    )


class Bench:
    """A ledger with all that it uses, which can be written and read back."""

    def __init__(self, learn_positives: str = "together") -> None:
        self.target = settings(learn_positives)
        self.taught: list[Learned] = []
        self._open({}, None, None, None, None, {})

    def _open(
        self,
        segments: dict[int, bytes],
        figures: dict[str, Any] | None,
        usual: tuple[bytes, ...] | None,
        ledger: dict[str, Any] | None,
        main: dict[str, Any] | None,
        parts: dict[int, bytes],
    ) -> None:
        self.examples = ExampleStore(segments)
        self.usual = Attribution(FEATURES, usual)
        self.figures = TargetFigures(0.5, HORIZON, FROM, figures)
        self.scorer = Listening(self.target.name, self.target.models, FEATURES, main, parts)
        self.scorer.taught = self.taught
        clock = None if ledger is None else ledger["clock"]
        self.ledger = Ledger(self.target, self.examples, clock)
        if ledger is not None:
            self.ledger.restore_released(ledger["released"])

    def restart(self) -> None:
        """Write everything, and go on from that in a new process."""
        state = (self.figures.state(), self.ledger.state(), self.scorer.main_state())
        figures, ledger, main = msgspec.msgpack.decode(msgspec.msgpack.encode(state))
        segments = {number: self.examples.segment(number) for number in range(SEGMENTS)}
        self._open(segments, figures, self.usual.state(), ledger, main, {0: self.scorer.part(0)})

    def take(self, asset: str, time: int) -> None:
        self.ledger.add(Example(asset, time, vector(time), {"prior": SCORES[time % 4]}, "prior"))

    def mature(self, asset: str, time: int, label: int | None, correction: int = 0) -> bool:
        """Give a label; whether it leads to learning."""
        lead = 1 + time % HORIZON if label == 1 else None
        matured = Matured(time, label, "silent" if label == -1 else "why", lead, 0, correction)
        change = self.ledger.mature(asset, matured)
        assert change is not None
        self.figures.matured(ITEM, change)
        learns = label is not None and label >= 0 and not change.example.learned
        if self.ledger.learns_at_once(change.example):
            self._learn(change.example)
        return learns

    def advance(self, clock: int) -> bool:
        """Move the target clock, as a target does; whether it passed an example."""
        self.ledger.advance(clock)
        passed = False
        while (due := self.ledger.next_due()) is not None:
            passed = True
            if due.learns:
                self._learn(due.example)
        return passed

    def _learn(self, example: Example) -> None:
        label = example.label or 0
        self.scorer.learn(example.asset, example.time, example.features, label, example.scores)
        self.usual.learned(ITEM, example)


@dataclass
class Told:
    """One example, as the brute-force model knows it."""

    asset: str
    time: int
    labels: list[int] = field(default_factory=list)
    learned: bool = False


class Slow:
    """What the ledger promises, told without any index: every step looks at every example."""

    def __init__(self, learn_positives: str) -> None:
        self.at_once = learn_positives == "at_once"
        self.examples: dict[tuple[str, int], Told] = {}
        self.history: list[Told] = []
        self.clock: int | None = None
        self.taught: list[Learned] = []

    def take(self, asset: str, time: int) -> None:
        self.examples[asset, time] = Told(asset, time)
        self.history.append(self.examples[asset, time])

    def learn(self, told: Told) -> None:
        if not told.learned and told.labels[-1] >= 0:
            told.learned = True
            self.taught.append((told.asset, told.time, told.labels[-1]))

    def mature(self, asset: str, time: int, label: int) -> bool:
        told = self.examples[asset, time]
        told.labels.append(label)
        learns = label >= 0 and not told.learned
        if self.at_once and label == 1:
            self.learn(told)
        return learns

    def advance(self, clock: int) -> None:
        self.clock = clock if self.clock is None else max(clock, self.clock)
        for _, told in sorted(self.examples.items(), key=lambda found: (found[0][1], found[0][0])):
            if told.labels and told.time + WAIT < self.clock:
                self.learn(told)

    def figures(self) -> dict[str, Any]:
        """First and final labels, and what was censored or contradicted."""
        seen = [told for told in self.history if told.labels and told.time >= FROM]
        first = [told for told in seen if told.labels[0] >= 0]
        final = [told for told in seen if told.labels[-1] >= 0]
        return {
            "censored": sum(told.labels[0] == -1 for told in seen),
            "contradicted": sum(len(told.labels) - 1 for told in seen),
            "first": (len(first), sum(told.labels[0] for told in first), _brier(first, 0)),
            "final": (len(final), sum(told.labels[-1] for told in final), _brier(final, -1)),
        }


def _brier(told: list[Told], which: int) -> object:
    if not told:
        return None
    return pytest.approx(
        sum((SCORES[each.time % 4] - each.labels[which]) ** 2 for each in told) / len(told),
        rel=1e-9,
        abs=1e-12,
    )


def summed(bench: Bench) -> dict[str, Any]:
    """The figures of the ledger, in the form of `Slow.figures`."""
    summary = bench.figures.summary()
    found: dict[str, Any] = {
        "censored": sum(summary["censored"].values()),
        "contradicted": summary["contradicted"],
    }
    for scope in ("first", "final"):
        row = summary[f"{scope}_labels"].get("prior", {"examples": 0, "positives": 0})
        found[scope] = (row["examples"], row["positives"], row.get("brier"))
    return found


operations = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 2), st.integers(1, 6)),
        st.tuples(st.just("mature"), st.integers(0, 30), st.sampled_from([-1, 0, 1])),
        st.tuples(st.just("advance"), st.integers(0, 2), st.integers(0, 25)),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@given(operations, st.sampled_from(["together", "at_once"]))
def test_learning_and_counting_equal_the_brute_force(
    steps: list[tuple[str, int, int]], learn_positives: Literal["together", "at_once"]
) -> None:
    """Clocks, labels, corrections and restarts of any kind: the same is learned, in the same order."""
    bench, slow = Bench(learn_positives), Slow(learn_positives)
    times, clocks = [0, 0, 0], [0, 0, 0]
    for what, which, number in steps:
        if what == "take":
            times[which] += number
            bench.take("abc"[which], times[which])
            slow.take("abc"[which], times[which])
        elif what == "mature" and slow.history:
            told = slow.history[which % len(slow.history)]
            if not told.labels or told.labels[-1] != number:
                correction = len(told.labels)
                learns = slow.mature(told.asset, told.time, number)
                assert bench.mature(told.asset, told.time, number, correction) == learns
        elif what == "advance":
            clocks[which] += number
            slow.advance(clocks[which])
            bench.advance(clocks[which])
        elif what == "restart":
            bench.restart()
        assert bench.taught == slow.taught
        assert bench.ledger.clock == slow.clock
    assert summed(bench) == slow.figures()
    assert bench.ledger.pending() == sum(not told.labels for told in slow.history)
    assert bench.scorer.learned == len(slow.taught)


def test_positives_wait_for_the_negatives_of_their_time() -> None:
    """A positive that is known early is learned when the clock passes its time, by (t, asset)."""
    bench = Bench()
    for asset in "abc":
        for time in (30, 31):
            bench.take(asset, time)
    assert bench.mature("b", 31, 1)
    assert bench.mature("b", 30, 1)
    bench.advance(30 + WAIT)
    assert bench.taught == [], "passed means more than t + horizon + label_delay"
    for asset in "ca":
        for time in (31, 30):
            bench.mature(asset, time, 0)
    bench.advance(30 + WAIT + 1)
    assert bench.taught == [("a", 30, 0), ("b", 30, 1), ("c", 30, 0)]
    bench.advance(30 + WAIT + 2)
    assert bench.taught[3:] == [("a", 31, 0), ("b", 31, 1), ("c", 31, 0)]


def test_at_once_learns_positives_when_known_and_once() -> None:
    """With ``at_once`` only positives come early; the target clock teaches the others."""
    bench = Bench("at_once")
    for time in (30, 31):
        bench.take("a", time)
    bench.mature("a", 31, 1)
    bench.mature("a", 30, 0)
    assert bench.taught == [("a", 31, 1)]
    assert bench.advance(31 + WAIT + 1)
    assert bench.taught == [("a", 31, 1), ("a", 30, 0)]
    assert not bench.advance(31 + WAIT + 2)


def test_the_target_clock_never_moves_back() -> None:
    """An asset that lags behind holds up nothing: what it matures late is learned at once."""
    bench = Bench()
    bench.take("a", 30)
    bench.advance(100)
    bench.advance(50)
    assert bench.ledger.clock == 100
    bench.mature("a", 30, 0)
    bench.advance(44)
    assert bench.taught == [("a", 30, 0)]


def test_what_was_censored_and_is_corrected_is_learned() -> None:
    """A failure that comes later makes it a positive: learned now, contradicted, in the final figures."""
    bench = Bench()
    bench.take("a", 30)
    assert not bench.mature("a", 30, -1)
    bench.advance(100)
    assert bench.taught == []
    assert bench.mature("a", 30, 1, 1)
    bench.advance(100)
    assert bench.taught == [("a", 30, 1)]
    found = summed(bench)
    assert (found["censored"], found["contradicted"]) == (1, 1)
    assert (found["first"], found["final"][:2]) == ((0, 0, None), (1, 1))


def test_what_was_learned_stays_learned() -> None:
    """A correction of a learned label is counted as contradicted, and nothing is learned twice."""
    bench = Bench()
    bench.take("a", 30)
    bench.mature("a", 30, 0)
    bench.advance(100)
    for correction, label in enumerate((1, -1, 0, 1), start=1):
        assert not bench.mature("a", 30, label, correction)
        bench.advance(100 + correction)
    assert bench.taught == [("a", 30, 0)]
    found = summed(bench)
    assert found["contradicted"] == 4
    assert (found["first"][:2], found["final"][:2]) == ((1, 0), (1, 1))


def test_an_example_that_is_not_remembered_is_passed_over() -> None:
    """A label for what this target never took, or released, changes nothing."""
    bench = Bench()
    bench.take("a", 30)
    bench.mature("a", 30, 0)
    bench.advance(100)
    bench.ledger.release("a", [30, 29], bench.scorer.logged)
    bench.ledger.trim((asset, time) for asset, time, *_ in bench.scorer.trim())
    for time in (30, 29):
        assert bench.ledger.mature("a", Matured(time, 1, "failure", 1, 100, 1)) is None
    assert len(bench.examples) == 0
    assert summed(bench)["contradicted"] == 0


def test_a_label_counts_as_soon_as_it_is_known() -> None:
    """A positive that waits for the target clock to be learned is in the figures already, once."""
    bench = Bench()
    bench.take("a", FROM)
    bench.mature("a", FROM, 1)
    assert bench.taught == []
    for clock in (FROM, FROM + WAIT + 1):
        bench.advance(clock)
        assert (summed(bench)["first"][:2], summed(bench)["final"][:2]) == ((1, 1), (1, 1))
    assert bench.taught == [("a", FROM, 1)]


def test_a_failure_that_is_withdrawn_before_the_clock_has_passed_is_not_learned() -> None:
    """The target clock passes an example that is undecided again; its next label is learned."""
    bench = Bench()
    bench.take("a", 30)
    bench.mature("a", 30, 1)
    bench.mature("a", 30, None, 1)
    bench.advance(100)
    assert bench.taught == []
    bench.restart()
    bench.mature("a", 30, 0, 2)
    bench.advance(100)
    assert bench.taught == [("a", 30, 0)]
    found = summed(bench)
    assert (found["contradicted"], found["first"][:2], found["final"][:2]) == (1, (1, 1), (1, 0))


def test_a_label_that_comes_and_goes_takes_no_more_memory() -> None:
    """A failure that is withdrawn and sent again a hundred times waits for the target clock once."""
    bench = Bench()
    bench.take("a", 30)
    for number in range(0, 200, 2):
        bench.mature("a", 30, 1, number)
        bench.mature("a", 30, None, number + 1)
    assert len(bench.ledger._queue) == 1
    bench.mature("a", 30, 1, 200)
    bench.advance(100)
    assert bench.taught == [("a", 30, 1)]
