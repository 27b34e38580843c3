"""Kept examples: stored in parts of which few change, and the same after a resume."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.estimators.kept import _BLOCK, KEPT_PARTS, KeptExamples
from dataflows.state.snapshots import SnapshotError, contents, seal

if TYPE_CHECKING:
    from collections.abc import Sequence


def add(kept: KeptExamples, number: int) -> None:
    """Add the example of a number, which can be told from all others."""
    kept.add(np.array([number, math.nan]), label=number % 2, time=3 * number, weight=1 + number % 5)


def write(kept: KeptExamples, store: dict[int, bytes]) -> int:
    """Write what changed; return the bytes."""
    changed = {part: kept.part(part) for part in kept.changed()}
    store.update(changed)
    return sum(map(len, changed.values()))


@given(
    st.lists(st.tuples(st.integers(0, 3 * _BLOCK), st.booleans(), st.booleans()), max_size=9),
    st.integers(1, 4 * _BLOCK),
)
def test_a_store_holds_what_is_kept_however_often_it_is_written(
    steps: Sequence[tuple[int, bool, bool]], keep: int
) -> None:
    """Examples added in any portions, written and read again between some of them."""
    kept, store = KeptExamples(2), dict[int, bytes]()
    for more, written, resumed in steps:
        for _ in range(more):
            add(kept, kept.count)
            kept.drop_before(kept.count - keep)
        if written or resumed:
            write(kept, store)
        if resumed:
            kept = KeptExamples.restored(2, store)
    assert kept.count - kept.first == min(kept.count, keep)
    values, labels = kept.between(kept.first, kept.count)
    expected = list(range(kept.first, kept.count))
    assert values[:, 0].tolist() == expected
    assert np.isnan(values[:, 1]).all()
    assert labels.tolist() == [number % 2 for number in expected]
    assert [kept.time(number) for number in expected] == [3 * number for number in expected]
    assert kept.weights(kept.first, kept.count).tolist() == [1 + number % 5 for number in expected]


def test_examples_that_were_stored_without_weights_stand_for_themselves() -> None:
    """Version 1 had none."""
    kept = KeptExamples(1)
    for number in range(3):
        kept.add(np.array([float(number)]), label=1, time=number, weight=7)
    _, _, payload = contents(kept.part(0))
    former = KeptExamples.restored(1, {0: seal("kept", 1, payload[:-1])})
    assert former.between(0, 3)[0].tolist() == [[0.0], [1.0], [2.0]]
    assert former.weights(0, 3).tolist() == [1, 1, 1]


def test_an_epoch_writes_little_however_many_are_kept() -> None:
    """Of 100,000 examples, written every hundred, each is written some ten times and not a thousand."""
    kept, store, written = KeptExamples(2), dict[int, bytes](), 0
    for number in range(100_000):
        add(kept, number)
        if number % 100 == 0:
            written += write(kept, store)
    assert written < 16 * 100_000 * 25
    assert not [*KeptExamples.restored(2, store).changed()]


def test_parts_of_two_moments_are_refused() -> None:
    """A part that is older than the others holds other examples."""
    kept, store = KeptExamples(2), dict[int, bytes]()
    for number in range(_BLOCK + 1):
        add(kept, number)
    write(kept, store)
    old = dict(store)
    for number in range(_BLOCK + 1, 2 * _BLOCK + 1):
        add(kept, number)
    write(kept, store)
    assert KeptExamples.restored(2, store).count == 2 * _BLOCK + 1
    with pytest.raises(SnapshotError, match="part 2 of the kept examples does not hold 0 to 1024"):
        KeptExamples.restored(2, {**store, 2: old[1]})
    with pytest.raises(SnapshotError, match="part 1"):
        KeptExamples.restored(2, {0: old[0]})
    assert len(store) <= KEPT_PARTS


def test_where_features_changed_the_examples_are_converted_and_written_again() -> None:
    """A new feature is missing in the old examples."""
    kept, store = KeptExamples(2), dict[int, bytes]()
    for number in range(_BLOCK + 5):
        add(kept, number)
    write(kept, store)
    wide = KeptExamples.restored(3, store, lambda rows: np.pad(rows, ((0, 0), (0, 1)), constant_values=7))
    assert {0, 1} <= {*wide.changed()}
    assert wide.between(3, 4)[0][0, [0, 2]].tolist() == [3, 7]


def test_examples_that_are_not_kept_are_no_range() -> None:
    """The message says what is kept."""
    kept = KeptExamples(2)
    add(kept, 0)
    with pytest.raises(ValueError, match="expected examples from 0 to 1, got 0 to 2"):
        kept.between(0, 2)
