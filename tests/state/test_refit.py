"""Feature vectors of a former layout as those of the present one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.state.layouts import Refit
from dataflows.state.snapshots import SnapshotError


def test_a_vector_of_another_layout_is_refused() -> None:
    """It would be read as other features; the message says how it came about, and what to do."""
    refit = Refit("abc", "acd")
    with pytest.raises(SnapshotError, match=r"has 4 values where its layout has 3.*restore a backup"):
        refit(np.zeros(4).tobytes())


NAMES = st.lists(st.sampled_from("abcdefgh"), unique=True)


@given(NAMES, NAMES)
def test_each_feature_keeps_its_value_by_name(before: list[str], after: list[str]) -> None:
    """What is new is missing, or holds what was asked for; what is gone is gone."""
    refit = Refit(before, after)
    stored = np.array([float(ord(name)) for name in before])
    found = np.frombuffer(refit(stored.tobytes()))
    expected = [float(ord(name)) if name in before else np.nan for name in after]
    assert found == pytest.approx(expected, nan_ok=True)
    counts = np.frombuffer(refit(stored.tobytes(), 0.0))
    assert list(counts) == [float(ord(name)) if name in before else 0.0 for name in after]
    picks = refit.picks(range(len(before)))
    assert [after[index] for index in picks] == [name for name in before if name in after]
