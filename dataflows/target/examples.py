"""Examples of one target: stored until their label is known, evaluated, and only then learned.

`ExampleStore` holds examples in segments that are written one by one. `Ledger` gives them labels, and returns
them in the order in which they are learned: that in which labels mature (test, then train).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from dataflows.state.snapshots import Kind

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from dataflows.fleet.fleet import Target
    from dataflows.items import Matured
    from dataflows.state.layouts import Refit

__all__ = [
    "EXAMPLES",
    "SEGMENTS",
    "SMALLEST",
    "Due",
    "Example",
    "ExampleStore",
    "Key",
    "LabelChange",
    "Ledger",
    "Standing",
]

SEGMENTS = 16
#: A segment holds at least this number of bytes before the next one is filled.
SMALLEST = 64 * 1024
_OVERHEAD = 96

Key = tuple[str, int]


class Standing(NamedTuple):
    """The label of an example at some time.

    Attributes:
        label: 1, 0, -1 (censored), None (undecided).
        lead: microseconds to the failure, None without one.
        why: record or rule that decided.
    """

    label: int | None
    lead: int | None
    why: str


def _from_version_2(state: list[Any]) -> list[Any]:
    """Version 2 is of releases that wrote features into evaluations, and kept no reasons of labels."""
    current, mark, packed, marks = state
    examples = []
    for asset, time, features, scores, champion, progress, own in map(msgspec.msgpack.decode, packed):
        packed_now = (asset, time, features, scores, champion, (*progress, None, ""), own)
        examples.append(msgspec.msgpack.encode(packed_now))
    marked = [(*place, None if progress is None else (*progress, None, "")) for *place, progress in marks]
    return [current, mark, examples, marked]


#: Snapshots of a segment of `ExampleStore`.
EXAMPLES: Kind[None] = Kind("examples", 3, {2: _from_version_2})


@dataclass(slots=True)
class Example:
    """One prediction that models learn from once its label is known.

    Attributes:
        asset: its asset.
        time: of the telemetry that was scored.
        features: float64 array (features of the class) as bytes, as served.
        scores: by model, as served; None where a model gave none.
        champion: label of the model whose score was published.
        label: 1, 0, -1 (censored), None while it waits.
        why: record or rule that decided the label; empty where a former release did not keep it.
        first: its first label.
        correction: of the label.
        lead: microseconds to the failure.
        learned: the models learned it.
        settled: the target clock passed it when it had a label.
        compared: scores of its features as served and of complete ones, None where they were not compared.
        written: who wrote its features to the output ``examples``: its asset when it took the example, or
            this target with an evaluation; None where nobody did yet.
    """

    asset: str
    time: int
    features: bytes
    scores: dict[str, float | None]
    champion: str
    label: int | None = None
    first: int | None = None
    correction: int = 0
    lead: int | None = None
    learned: bool = False
    settled: bool = False
    compared: tuple[float | None, float | None] | None = None
    written: Literal["asset", "target"] | None = None
    why: str = ""
    segment: int = -1
    mark: int = 0

    @property
    def key(self) -> Key:
        """Unique within a target."""
        return self.asset, self.time

    def progress(self) -> tuple[Any, ...]:
        """Return the fields that change after it was served."""
        return (
            self.label,
            self.first,
            self.correction,
            self.lead,
            self.learned,
            self.settled,
            self.compared,
            self.written,
            self.why,
        )

    def apply(self, progress: Iterable[Any]) -> None:
        """Set the fields that `progress` returned."""
        self.label, self.first, self.correction, self.lead, self.learned, self.settled, *rest = progress
        compared, written, self.why = rest
        self.compared = None if compared is None else tuple(compared)
        self.written = written

    def standing(self) -> Standing:
        """The label that stands now."""
        return Standing(self.label, self.lead, self.why)

    def size(self) -> int:
        """Estimate its bytes in a segment."""
        return len(self.features) + 12 * len(self.scores) + _OVERHEAD


@dataclass(slots=True)
class _Segment:
    examples: dict[Key, Example] = field(default_factory=dict)
    #: The encoded examples of the current segment; None where they have to be encoded again.
    packed: list[bytes] | None = None
    #: By key of an example packed before: number of the mark, its progress (None: dropped), and the segments
    #: in which a copy of it was packed.
    marks: dict[Key, tuple[int, tuple[Any, ...] | None, frozenset[int]]] = field(default_factory=dict)
    living: int = 0
    #: Examples that were dropped since this segment was last written, while another was the current one.
    dead: int = 0

    def forget(self, number: int) -> None:
        """Forget marks that concern only copies in a segment that is written again."""
        for key in [key for key, (_, _, homes) in self.marks.items() if number in homes]:
            mark, progress, homes = self.marks[key]
            if homes == {number}:
                del self.marks[key]
            else:
                self.marks[key] = (mark, progress, homes - {number})


class ExampleStore:
    """Examples by (asset, time).

    Args:
        segments: return values of `segment`, by number; empty for a new store.
        refit: converts their features to the present layout; None where that is the same.
        smallest: bytes that a segment holds before the next one is filled, at least.
    """

    def __init__(
        self,
        segments: dict[int, bytes] | None = None,
        refit: Refit | None = None,
        smallest: int = SMALLEST,
    ) -> None:
        self._smallest = smallest
        self._segments = [_Segment() for _ in range(SEGMENTS)]
        self._index: dict[Key, Example] = {}
        self._current = 0
        self._mark = 0
        self._changed: set[int] = set()
        self._living = 0
        #: Segments that hold a former copy of an example that was added again, until each is written again.
        self._stale: dict[Key, frozenset[int]] = {}
        #: Largest time of an example that was dropped: a later one has no key that was there before.
        self._dropped_until = -(2**63)
        if segments:
            self._restore(segments, refit)
            if refit is not None:
                self._changed.update(segments)

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[Example]:
        return iter(self._index.values())

    def get(self, key: Key) -> Example | None:
        """Return an example, None if it is not stored."""
        return self._index.get(key)

    def add(self, example: Example) -> None:
        """Add an example; it replaces one of the same key from before its asset was dropped."""
        key = example.key
        self.drop(key)
        if example.time <= self._dropped_until:
            former = [segment.marks[key] for segment in self._segments if key in segment.marks]
            stale = frozenset[int]().union(*(homes for _, progress, homes in former if progress is None))
            if stale - {self._current}:
                self._stale[key] = stale - {self._current}
        # Later than the marks of the example that it replaces: a resume must not apply those to it.
        self._mark += 1
        example.mark = self._mark
        size = example.size()
        segment = self._segments[self._current]
        if segment.living + size > max(self._smallest, self._living * 2 // SEGMENTS):
            segment = self._switch_segment()
        example.segment = self._current
        if segment.packed is not None:
            segment.packed.append(_packed(example))
        segment.examples[key] = example
        segment.living += size
        self._living += size
        self._index[key] = example
        self._changed.add(self._current)

    def update(self, example: Example) -> None:
        """Record that the progress of an example changed."""
        self._mark_progress(example, example.progress())

    def drop(self, key: Key) -> None:
        """Drop an example; unknown keys are ignored."""
        example = self._index.pop(key, None)
        if example is None:
            return
        home = self._segments[example.segment]
        del home.examples[key]
        size = example.size()
        home.living -= size
        self._living -= size
        self._mark_progress(example, None)
        if example.segment == self._current:
            home.packed = None
        else:
            home.dead += 1
            if home.dead > len(home.examples):
                self._rewrite(example.segment)

    def changed(self) -> list[int]:
        """Return the segments to write, and begin to collect the next ones."""
        changed = sorted(self._changed)
        self._changed.clear()
        return changed

    def segment(self, number: int) -> bytes:
        """Return the snapshot of one segment."""
        segment = self._segments[number]
        packed = segment.packed
        if packed is None:
            packed = [_packed(example) for example in segment.examples.values()]
            segment.forget(number)
        current = number == self._current
        segment.packed = packed if current else None
        marks = [(*key, mark, progress) for key, (mark, progress, _) in segment.marks.items()]
        return EXAMPLES.seal((current, self._mark, packed, marks))

    def _mark_progress(self, example: Example, progress: tuple[Any, ...] | None) -> None:
        """Write a mark into the current segment."""
        self._mark += 1
        example.mark = self._mark
        self._changed.add(self._current)
        homes = frozenset((example.segment,))
        if progress is None:
            homes |= self._stale.pop(example.key, frozenset())
            self._dropped_until = max(self._dropped_until, example.time)
        self._segments[self._current].marks[example.key] = (self._mark, progress, homes)

    def _switch_segment(self) -> _Segment:
        """Switch to the segment with the fewest live bytes, and return it."""
        others = (number for number in range(SEGMENTS) if number != self._current)
        # The old current segment is written once more, so that just one segment claims to be current.
        self._changed.add(self._current)
        self._current = min(others, key=lambda number: (self._segments[number].living, number))
        self._rewrite(self._current)
        return self._segments[self._current]

    def _rewrite(self, number: int) -> None:
        self._segments[number].dead = 0
        self._segments[number].packed = None
        self._changed.add(number)
        for segment in self._segments:
            segment.forget(number)
        for key in [key for key, homes in self._stale.items() if number in homes]:
            self._stale[key] -= {number}
            if not self._stale[key]:
                del self._stale[key]

    def _restore(self, segments: dict[int, bytes], refit: Refit | None) -> None:
        homes: dict[Key, int] = {}
        marks: list[tuple[int, Key, tuple[Any, ...] | None, int]] = []
        for number, sealed in sorted(segments.items()):
            current, mark, examples, marked = EXAMPLES.unseal(sealed)
            if current:
                self._current = number
            self._mark = max(self._mark, mark)
            for asset, time, features, scores, champion, progress, own in map(
                msgspec.msgpack.decode, examples
            ):
                key = asset, time
                fitting = features if refit is None else refit(features)
                example = Example(asset, time, fitting, scores, champion, segment=number, mark=own)
                example.apply(progress)
                former = self._index.get(key)
                if former is not None:
                    later = former.mark > own
                    lost = number if later else former.segment
                    self._stale[key] = self._stale.get(key, frozenset()) | {lost}
                    if later:
                        continue
                self._index[key] = example
                homes[key] = number
            marks += [(m, (asset, time), progress, number) for asset, time, m, progress in marked]
        for mark, key, progress, number in sorted(marks, key=lambda found: found[0]):
            self._apply(mark, key, progress, number, homes)
        for key, example in self._index.items():
            segment, size = self._segments[example.segment], example.size()
            segment.examples[key] = example
            segment.living += size
            self._living += size

    def _apply(
        self, mark: int, key: Key, progress: tuple[Any, ...] | None, number: int, homes: dict[Key, int]
    ) -> None:
        if key not in homes:
            return
        example = self._index.get(key)
        if example is not None and example.mark >= mark:
            return
        here = frozenset((homes[key],))
        if progress is None:
            here |= self._stale.pop(key, frozenset())
            self._dropped_until = max(self._dropped_until, key[1])
        self._segments[number].marks[key] = (mark, progress, here)
        if progress is None:
            self._index.pop(key, None)
            self._segments[homes[key]].dead += 1
        elif example is not None:
            example.mark = mark
            example.apply(progress)


def _packed(example: Example) -> bytes:
    """Encode one example."""
    e = example
    return msgspec.msgpack.encode(
        (e.asset, e.time, e.features, e.scores, e.champion, e.progress(), e.mark),
    )


class LabelChange(NamedTuple):
    """A label that became known, changed, or was withdrawn.

    Attributes:
        example: as it is now.
        matured: the decision.
        before: the label that stood; None where this is the first.
    """

    example: Example
    matured: Matured
    before: Standing | None


class Due(NamedTuple):
    """An example that the target clock passed.

    Attributes:
        example: marked already as learned and settled; a caller that fails does not get it again.
        learns: the models learn it now.
        settles: its first label was 1 or 0.
    """

    example: Example
    learns: bool
    settles: bool


class Ledger:
    """The examples of one target: their labels, and the order in which they are learned.

    A label is evaluated when it is known. Negatives are known later than the positives of their time. A model
    that learned each label at once would see positives only for that long, and predict far too many failures.
    So both wait until the target clock has passed t + horizon + label_delay, and are learned in order of
    (t, asset).

    Args:
        target: the target.
        examples: of the target.
        clock: the stored target clock, None for a new target.
    """

    def __init__(self, target: Target, examples: ExampleStore, clock: int | None) -> None:
        self._wait = target.horizon + target.label_delay
        self._at_once = target.learn_positives == "at_once"
        self._examples = examples
        self.clock = clock
        self._released: set[tuple[str, int]] = set()
        #: (time, asset) of examples with a label that are not learned or not settled yet.
        self._queue = [(example.time, example.asset) for example in examples if _waits(example)]
        heapq.heapify(self._queue)
        #: The same as a set, so that an example is in the queue once however often its label changes.
        self._queued = set(self._queue)
        #: Of them, those that are passed even if there is nothing to learn or to settle.
        self._watched: set[tuple[int, str]] = set()

    def watch(self, time: int, asset: str) -> None:
        """Let `next_due` return an example when the clock passes it, whatever its label is then."""
        place = time, asset
        self._watched.add(place)
        if place not in self._queued:
            self._queued.add(place)
            heapq.heappush(self._queue, place)

    def add(self, example: Example) -> None:
        """Add an example that was just served."""
        self._examples.add(example)

    def remembered(self, asset: str, time: int) -> Example | None:
        """Return an example; None where it was released, even if the log of a big model still needs it."""
        return None if (asset, time) in self._released else self._examples.get((asset, time))

    def mature(self, asset: str, matured: Matured) -> LabelChange | None:
        """Set the label of an example, its first or another one.

        Returns:
            The change; None where the example is not stored, as in a target that is newer than it.
        """
        example = self._examples.get((asset, matured.time))
        if example is None:
            return None
        before = example.progress()
        change = LabelChange(example, matured, None if example.first is None else example.standing())
        try:
            if example.first is None:
                example.first = matured.label
            example.label, example.lead, example.why = matured.label, matured.lead, matured.why
            example.correction = matured.correction
            self._examples.update(example)
            place = (example.time, asset)
            if _waits(example) and place not in self._queued:
                self._queued.add(place)
                heapq.heappush(self._queue, place)
        except Exception:
            # An example in the queue without a label is ignored.
            example.apply(before)
            self._examples.update(example)
            raise
        return change

    def learns_at_once(self, example: Example) -> bool:
        """Mark a positive as learned where positives do not wait for the target clock; return whether it was.

        It is not tried again where a model raises: it would raise again.
        """
        if not self._at_once or example.label != 1 or example.learned:
            return False
        example.learned = True
        self._examples.update(example)
        return True

    def advance(self, clock: int | None) -> None:
        """Move the target clock, never back."""
        if clock is not None and (self.clock is None or clock > self.clock):
            self.clock = clock

    @property
    def due(self) -> int | None:
        """The clock beyond which an example is learned or settled; None where none waits."""
        return self._queue[0][0] + self._wait if self._queue else None

    def next_due(self) -> Due | None:
        """Remove and return the next example that the target clock passed; None after the last."""
        if self.clock is None:
            return None
        while self._queue and self._queue[0][0] + self._wait < self.clock:
            time, asset = place = heapq.heappop(self._queue)
            self._queued.discard(place)
            watched = place in self._watched
            self._watched.discard(place)
            example = self._examples.get((asset, time))
            if example is not None and _waits(example):
                return self._passed(example)
            if example is not None and watched:
                return Due(example, learns=False, settles=False)
        return None

    def set_learned(self, example: Example, *, learned: bool) -> None:
        """Set whether the models learned an example under the label that stands."""
        if example.learned != learned:
            example.learned = learned
            self._examples.update(example)

    def _passed(self, example: Example) -> Due:
        learns = not example.learned and example.label is not None and example.label >= 0
        settles = not example.settled and example.first != -1
        example.learned, example.settled = example.learned or learns, True
        self._examples.update(example)
        return Due(example, learns, settles)

    def release(self, asset: str, times: Iterable[int], logged: Container[Key]) -> None:
        """Drop examples that no record can change; those in ``logged`` (asset, time) only after `trim`."""
        for time in times:
            if (asset, time) in logged:
                self._released.add((asset, time))
            else:
                self._examples.drop((asset, time))

    def forget(self, asset: str, logged: Container[Key]) -> None:
        """Drop every example of an asset whose state was dropped; see `release`."""
        self.release(asset, [example.time for example in self._examples if example.asset == asset], logged)

    def trim(self, trimmed: Iterable[Key]) -> None:
        """Drop released examples (asset, time) that the log of a big model no longer needs."""
        for asset, time in trimmed:
            if (asset, time) in self._released:
                self._released.discard((asset, time))
                self._examples.drop((asset, time))

    def unsettled(self) -> list[Example]:
        """Return the examples with a label that the target clock has not passed, by (time, asset)."""
        found = [each for each in self._examples if each.label is not None and each.first != -1]
        return sorted((each for each in found if not each.settled), key=lambda each: (each.time, each.asset))

    def pending(self) -> int:
        """Number of examples without a label."""
        return sum(example.label is None for example in self._examples)

    def state(self) -> dict[str, Any]:
        """Return plain data, without the examples."""
        return {"clock": self.clock, "released": sorted(self._released)}

    def restore_released(self, released: Iterable[tuple[str, int]]) -> None:
        """Restore the released examples (asset, time)."""
        self._released = {(asset, time) for asset, time in released}


def _waits(example: Example) -> bool:
    if example.label is None:
        return False
    return (example.first != -1 and not example.settled) or (example.label >= 0 and not example.learned)
