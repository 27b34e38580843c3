"""The store of examples: equal to a plain dict after any crash, at the cost of what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dataflows.state.snapshots import unseal
from dataflows.target.examples import SEGMENTS, Example, ExampleStore

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Segments turn after a few examples, so that short runs see many turns.
SMALLEST = 700
FEATURES = b"features of 32 bytes, as served."


def stored(segments: dict[int, bytes] | None = None, smallest: int = SMALLEST) -> ExampleStore:
    """A store of small segments."""
    return ExampleStore(segments, smallest=smallest)


def content(example: Example) -> tuple[Any, ...]:
    """All of an example that is not bookkeeping of the store."""
    return (*example.key, example.features, example.scores, example.champion, *example.progress())


def contents(store: ExampleStore) -> dict[tuple[str, int], tuple[Any, ...]]:
    return {example.key: content(example) for example in store}


class Written:
    """The segments as the recovery store has them, and what was unchanged since."""

    def __init__(self) -> None:
        self.segments: dict[int, bytes] = {}
        self.awake: set[int] = set()

    def end_epoch(self, store: ExampleStore) -> dict[int, int]:
        """Write what changed; return the bytes by segment."""
        self.awake.update(store.changed())
        written = {number: store.segment(number) for number in self.awake}
        self.segments.update(written)
        self.awake.clear()
        return {number: len(data) for number, data in written.items()}


class CrashingStore(RuleBasedStateMachine):
    """Any use, any batches, epochs and crashes, against a dict that is copied at the ends of epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.store = stored()
        self.written = Written()
        self.model: dict[tuple[str, int], tuple[Any, ...]] = {}
        self.durable: dict[tuple[str, int], tuple[Any, ...]] = {}
        self.clock = self.durable_clock = 0

    @initialize()
    def begin(self) -> None:
        assert len(self.store) == 0

    @rule(count=st.integers(1, 12), asset=st.sampled_from("ab"), score=st.none() | st.floats(0, 1))
    def add(self, count: int, asset: str, score: float | None) -> None:
        """Examples of one asset, each later than all before."""
        for _ in range(count):
            self.clock += 1
            example = Example(asset, self.clock, FEATURES, {"m": score, "n": 0.5}, "m")
            self.store.add(example)
            self.model[example.key] = content(example)

    @precondition(lambda self: self.clock)
    @rule(data=st.data(), asset=st.sampled_from("ab"), score=st.floats(0, 1))
    def add_again(self, data: st.DataObject, asset: str, score: float) -> None:
        """A time that was taken before, and was dropped or not, is taken again."""
        time = data.draw(st.integers(1, self.clock))
        example = Example(asset, time, FEATURES, {"m": score, "n": 0.25}, "n")
        self.store.add(example)
        self.model[example.key] = content(example)

    def pick(self, data: st.DataObject) -> tuple[str, int]:
        return data.draw(st.sampled_from(sorted(self.model, key=lambda key: key[1])))

    @precondition(lambda self: self.model)
    @rule(data=st.data(), label=st.sampled_from([-1, 0, 1]), learned=st.booleans())
    def update(self, data: st.DataObject, label: int, learned: bool) -> None:
        """News of one example."""
        example = self.store.get(self.pick(data))
        assert example is not None
        example.first = label if example.first is None else example.first
        example.correction += example.label is not None
        example.label, example.learned, example.why = label, learned, f"reason {label}"
        example.lead = 3 if label == 1 else None
        self.store.update(example)
        self.model[example.key] = content(example)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        """One example is forgotten."""
        key = self.pick(data)
        self.store.drop(key)
        del self.model[key]

    @precondition(lambda self: self.model)
    @rule(count=st.integers(1, 40))
    def drop_oldest(self, count: int) -> None:
        """The oldest are forgotten, as it goes when time passes."""
        for key in sorted(self.model, key=lambda key: key[1])[:count]:
            self.store.drop(key)
            del self.model[key]

    @rule(time=st.integers(-5, -1))
    def drop_unknown(self, time: int) -> None:
        """What nobody remembers is passed over."""
        self.store.drop(("a", time))
        assert self.store.get(("a", time)) is None

    @rule()
    def end_batch(self) -> None:
        self.written.awake.update(self.store.changed())

    @rule()
    def end_epoch(self) -> None:
        self.written.end_epoch(self.store)
        self.durable = dict(self.model)
        self.durable_clock = self.clock
        assert contents(stored(self.written.segments)) == self.durable

    @rule()
    def crash(self) -> None:
        """A new process knows what was written at the last epoch's end, and goes on."""
        self.store = stored(self.written.segments)
        self.written.awake.clear()
        self.model = dict(self.durable)
        self.clock = self.durable_clock

    @invariant()
    def holds_what_the_dict_holds(self) -> None:
        assert len(self.store) == len(self.model)
        assert contents(self.store) == self.model

    @invariant()
    def counts_what_lives_right(self) -> None:
        """Sums kept along the way equal those made anew."""
        segments = self.store._segments
        assert [s.living for s in segments] == [sum(e.size() for e in s.examples.values()) for s in segments]
        assert self.store._living == sum(s.living for s in segments)

    @invariant()
    def dead_space_is_bounded(self) -> None:
        """No segment but the current one has more dead examples than living ones."""
        for number, segment in enumerate(self.store._segments):
            if number != self.store._current:
                assert segment.dead <= len(segment.examples)


CrashingStore.TestCase.settings = settings(stateful_step_count=30)


class TestCrashingStore(CrashingStore.TestCase):
    """See `CrashingStore`; unittest needs a class."""


def churn(store: ExampleStore, assets: int, hours: int, memory: int) -> Iterator[int]:
    """Each hour an example an asset, labelled after half the memory and dropped after all of it."""
    for hour in range(hours):
        for asset in range(assets):
            store.add(Example(f"asset-{asset:03}", hour, FEATURES * 4, {"m": 0.5}, "m"))
            example = store.get((f"asset-{asset:03}", hour - memory // 2))
            if example is not None:
                example.label = example.first = 0
                store.update(example)
                example.learned = True
                store.update(example)
            store.drop((f"asset-{asset:03}", hour - memory))
        yield hour


def test_an_epoch_costs_what_changed_and_not_what_waits() -> None:
    """With 6,000 examples waiting, an hour's epoch writes a small share, and the store stays small."""
    store, written = stored(smallest=4_096), Written()
    costs, sizes = [], []
    for hour in churn(store, 100, 240, 60):
        cost = written.end_epoch(store)
        if hour > 120:
            costs.append(sum(cost.values()))
            sizes.append(sum(map(len, written.segments.values())))
    alive = sum(example.size() for example in store)
    assert len(store) == 100 * 60
    assert max(sizes) < 3 * alive
    assert sum(costs) / len(costs) < 0.25 * alive
    assert max(costs) < 0.5 * alive


def test_marks_do_not_pile_up() -> None:
    """In steady state there are at most a few marks a living example, in memory and in the written bytes."""
    store, written = stored(smallest=4_096), Written()
    for _ in churn(store, 50, 400, 40):
        written.end_epoch(store)
    held = sum(len(segment.marks) for segment in store._segments)
    on_disk = sum(len(unseal("examples", 3, sealed)[3]) for sealed in written.segments.values())
    assert held < 2 * len(store)
    assert on_disk < 3 * len(store)


def test_quiet_news_write_one_segment() -> None:
    """News about an example in any segment writes only the current one, which holds it as a mark."""
    store, written = stored(), Written()
    for time in range(60):
        store.add(Example("a", time, FEATURES, {"m": 0.5}, "m"))
    written.end_epoch(store)
    assert len(written.segments) > SEGMENTS // 2
    oldest = store.get(("a", 0))
    assert oldest is not None
    oldest.label = oldest.first = 1
    store.update(oldest)
    assert list(written.end_epoch(store)) == [store._current]
    assert written.end_epoch(store) == {}
    restored = stored(written.segments).get(("a", 0))
    assert restored is not None
    assert restored.label == 1


def test_stale_news_do_not_come_back() -> None:
    """A mark that was written before the example's own segment was, in another one, is not believed."""
    store, written = stored(), Written()
    for time in range(6):
        store.add(Example("a", time, FEATURES, {"m": 0.5}, "m"))
    found = store.get(("a", 0))
    assert found is not None
    found.label = found.first = 0
    store.update(found)
    for time in range(6, 12):
        store.add(Example("a", time, FEATURES, {"m": 0.5}, "m"))
    written.end_epoch(store)
    for time in range(1, 5):
        store.drop(("a", time))
    time = 11
    while found.segment != store._current:
        time += 1
        store.add(Example("a", time, FEATURES, {"m": 0.5}, "m"))
    found.label = 1
    store.update(found)
    written.end_epoch(store)
    assert any(unseal("examples", 3, sealed)[3] for sealed in written.segments.values()), (
        "a stale mark is there"
    )
    restored = stored(written.segments).get(("a", 0))
    assert restored is not None
    assert restored.label == 1


def test_just_one_segment_claims_to_be_current() -> None:
    """After any number of turns the written bytes say where writing goes on."""
    store, written = stored(), Written()
    for time in range(200):
        store.add(Example("a", time, FEATURES, {}, "m"))
        store.drop(("a", time - 50))
        if time % 7 == 0:
            written.end_epoch(store)
            current = [n for n, sealed in written.segments.items() if unseal("examples", 3, sealed)[0]]
            assert current == [store._current]


@given(st.lists(st.integers(0, 59), max_size=80), st.integers(0, 79))
def test_a_restored_store_goes_on_like_the_old_one(dropped: list[int], crash_at: int) -> None:
    """After a restore in between, the contents at the end are the same as without."""
    ends = []
    for crashes in (False, True):
        store, written = stored(), Written()
        for time in range(60):
            store.add(Example("a", time, FEATURES, {"m": time / 60}, "m"))
        for step, time in enumerate(dropped):
            if step % 3 == 0 and (found := store.get(("a", time))) is not None:
                found.label = found.first = step % 2
                store.update(found)
            else:
                store.drop(("a", time))
            written.end_epoch(store)
            if crashes and step == crash_at:
                store = stored(written.segments)
        ends.append(contents(store))
    assert ends[0] == ends[1]


def test_an_example_that_was_added_again_and_dropped_does_not_come_back() -> None:
    """Its first copy, in a segment that is not written anew, is dead for every resume."""
    store, written = stored(), Written()
    for time in range(1, 6):
        store.add(Example("a", time, FEATURES, {"m": None, "n": 0.5}, "m"))
    written.end_epoch(store)
    store.add(Example("a", 1, FEATURES, {"m": 0.0, "n": 0.25}, "n"))
    store.drop(("a", 1))
    written.end_epoch(store)
    again = stored(written.segments)
    assert sorted(contents(again)) == [("a", time) for time in range(2, 6)]
    again.add(Example("a", 9, FEATURES, {"m": 0.0, "n": 0.25}, "n"))
    written.end_epoch(again)
    assert sorted(contents(stored(written.segments))) == [("a", time) for time in (2, 3, 4, 5, 9)]
