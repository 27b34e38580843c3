"""Examples that wait for their label, or may still be corrected, in segments that are written apart.

The store is a log in a fixed number of segments. A new example goes into the current segment; so does a
*mark*, the news about an example that was packed before (its label, or that it was dropped). So an
epoch writes one segment, however many examples wait, and packs an example once. When the current segment is
full the one with the fewest living bytes takes its place, keeping what lives; a segment is also written
again when half of its examples are dead. A mark is obsolete once the segment of its example has been written
after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from dataflows.snapshots import seal, unseal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dataflows.fleet.refit import Refit

__all__ = ["SEGMENTS", "Example", "ExampleStore"]

SEGMENTS = 16
_VERSION = 2
_SMALLEST = 64 * 1024
_OVERHEAD = 96

Key = tuple[str, int]


@dataclass(slots=True)
class Example:
    """One prediction kept for learning.

    Attributes:
        asset: its asset.
        time: of the telemetry that was scored.
        features: float64 array (features of the class) as bytes, as served.
        scores: by model, as served; None where a model gave none.
        champion: the model whose score was published.
        label: 1, 0, -1 (censored), None while it waits.
        first: the label it got first.
        correction: of the label.
        lead: microseconds to the failure.
        learned: the models learned it.
        counted: it is in the figures.
        compared: scores of its features as served and of complete ones, None where they were not compared.
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
    counted: bool = False
    compared: tuple[float | None, float | None] | None = None
    segment: int = -1
    mark: int = 0

    @property
    def key(self) -> Key:
        """Unique within a target."""
        return self.asset, self.time

    def news(self) -> tuple[Any, ...]:
        """What changes after the example was taken."""
        return (
            self.label,
            self.first,
            self.correction,
            self.lead,
            self.learned,
            self.counted,
            self.compared,
        )

    def apply(self, news: Iterable[Any]) -> None:
        """Set what `news` returned."""
        self.label, self.first, self.correction, self.lead, self.learned, self.counted, compared = news
        self.compared = None if compared is None else tuple(compared)

    def size(self) -> int:
        """Roughly the bytes it takes in a segment."""
        return len(self.features) + 12 * len(self.scores) + _OVERHEAD


@dataclass(slots=True)
class _Segment:
    examples: dict[Key, Example] = field(default_factory=dict)
    #: The examples as they are written, for the current segment; None where they have to be packed anew.
    packed: list[bytes] | None = None
    #: By key of an example that was packed before: number of the mark, its news (None: dropped), its segment.
    marks: dict[Key, tuple[int, tuple[Any, ...] | None, int]] = field(default_factory=dict)
    living: int = 0
    #: Examples that were dropped since this segment was last written, while another was the current one.
    dead: int = 0


class ExampleStore:
    """Examples by (asset, time).

    Args:
        segments: what `segment` returned, by number; empty for a new store.
        refit: what makes their features those of the present layout; None where that is the same.
    """

    def __init__(self, segments: dict[int, bytes] | None = None, refit: Refit | None = None) -> None:
        self._segments = [_Segment() for _ in range(SEGMENTS)]
        self._index: dict[Key, Example] = {}
        self._current = 0
        self._mark = 0
        self._changed: set[int] = set()
        self._living = 0
        if segments:
            self._restore(segments, refit)
            if refit is not None:
                self._changed.update(segments)

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[Example]:
        return iter(self._index.values())

    def get(self, key: Key) -> Example | None:
        """The example, None if it is not remembered."""
        return self._index.get(key)

    def add(self, example: Example) -> None:
        """Add an example; a former one of the same key, of an asset that was dropped, gives way."""
        self.drop(example.key)
        # Later than the marks of a former example of this key, which a resume would else apply to it.
        self._mark += 1
        example.mark = self._mark
        size = example.size()
        segment = self._segments[self._current]
        if segment.living + size > max(_SMALLEST, self._living * 2 // SEGMENTS):
            segment = self._turn()
        example.segment = self._current
        if segment.packed is not None:
            segment.packed.append(_packed(example))
        segment.examples[example.key] = example
        segment.living += size
        self._living += size
        self._index[example.key] = example
        self._changed.add(self._current)

    def update(self, example: Example) -> None:
        """Record that the example's news changed."""
        self._note(example, example.news())

    def drop(self, key: Key) -> None:
        """Forget an example; unknown keys are passed over."""
        example = self._index.pop(key, None)
        if example is None:
            return
        home = self._segments[example.segment]
        del home.examples[key]
        size = example.size()
        home.living -= size
        self._living -= size
        self._note(example, None)
        if example.segment == self._current:
            home.packed = None
        else:
            home.dead += 1
            if home.dead > len(home.examples):
                self._rewrite(example.segment)

    def changed(self) -> list[int]:
        """Segments to write since this was last asked."""
        changed = sorted(self._changed)
        self._changed.clear()
        return changed

    def segment(self, number: int) -> bytes:
        """One segment, sealed."""
        segment = self._segments[number]
        packed = segment.packed
        if packed is None:
            packed = [_packed(example) for example in segment.examples.values()]
            for key in [key for key, (_, _, home) in segment.marks.items() if home == number]:
                del segment.marks[key]
        current = number == self._current
        segment.packed = packed if current else None
        marks = [(*key, mark, news) for key, (mark, news, _) in segment.marks.items()]
        return seal("examples", _VERSION, (current, self._mark, packed, marks))

    def _note(self, example: Example, news: tuple[Any, ...] | None) -> None:
        """Leave a mark in the current segment."""
        self._mark += 1
        example.mark = self._mark
        self._changed.add(self._current)
        self._segments[self._current].marks[example.key] = (self._mark, news, example.segment)

    def _turn(self) -> _Segment:
        """Make the segment with the fewest living bytes the current one."""
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
            for key in [key for key, (_, _, home) in segment.marks.items() if home == number]:
                del segment.marks[key]

    def _restore(self, segments: dict[int, bytes], refit: Refit | None) -> None:
        homes: dict[Key, int] = {}
        marks: list[tuple[int, Key, tuple[Any, ...] | None, int]] = []
        for number, sealed in sorted(segments.items()):
            current, mark, examples, noted = unseal("examples", _VERSION, sealed)
            if current:
                self._current = number
            self._mark = max(self._mark, mark)
            for packed in examples:
                asset, time, features, scores, champion, news, own = msgspec.msgpack.decode(packed)
                fitting = features if refit is None else refit(features)
                example = Example(asset, time, fitting, scores, champion, segment=number, mark=own)
                example.apply(news)
                former = self._index.get(example.key)
                if former is not None and former.mark > own:
                    continue
                self._index[example.key] = example
                homes[example.key] = number
            marks += [(m, (asset, time), news, number) for asset, time, m, news in noted]
        for mark, key, news, number in sorted(marks, key=lambda found: found[0]):
            self._apply(mark, key, news, number, homes)
        for example in self._index.values():
            segment = self._segments[example.segment]
            segment.examples[example.key] = example
            segment.living += example.size()
            self._living += example.size()

    def _apply(
        self, mark: int, key: Key, news: tuple[Any, ...] | None, number: int, homes: dict[Key, int]
    ) -> None:
        if key not in homes:
            return
        example = self._index.get(key)
        if example is not None and example.mark >= mark:
            return
        self._segments[number].marks[key] = (mark, news, homes[key])
        if news is None:
            self._index.pop(key, None)
            self._segments[homes[key]].dead += 1
        elif example is not None:
            example.mark = mark
            example.apply(news)


def _packed(example: Example) -> bytes:
    """One example as it is written."""
    e = example
    return msgspec.msgpack.encode(
        (e.asset, e.time, e.features, e.scores, e.champion, e.news(), e.mark),
    )
