"""Fault features: equal to a count over every fault that came, through resets and changes of class."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.asset.fault_windows import FaultFeatures
from dataflows.fleet.fleet import AssetClass, Window
from tests.asset.oracle import HOUR

CODES = ("E1", "E2", "E3")


class Shape(NamedTuple):
    """A class: (length, hop, codes) of its windows, and whether records reset them."""

    windows: tuple[tuple[int, int, tuple[str, ...]], ...]
    codes: tuple[str, ...]
    resets: bool = True

    def asset_class(self) -> AssetClass:
        windows = tuple(
            Window(length, hop, ("count",), (), tuple(sorted(map(self.codes.index, codes))))
            for length, hop, codes in self.windows
        )
        resets = ("failure",) if self.resets else ()
        return AssetClass(
            "pump", (), False, windows, (), 0, 1, (), faults=self.codes, reset_windows_on=resets
        )

    def declared(self, code: str) -> set[tuple[int, int]]:
        return {(length, hop) for length, hop, codes in self.windows if code in codes}


@dataclass
class Oracle:
    """Every fault that came, with what dropped it since."""

    shape: Shape
    kept: list[tuple[int, str]] = field(default_factory=list)

    def reset(self, time: int) -> None:
        self.kept = [fault for fault in self.kept if fault[0] > time]

    def change(self, shape: Shape) -> None:
        same = {
            c for c in self.shape.codes if c in shape.codes and self.shape.declared(c) == shape.declared(c)
        }
        self.kept = [fault for fault in self.kept if fault[1] in same]
        self.shape = shape

    def features(self, now: int) -> list[float]:
        out: list[float] = []
        for length, hop, codes in self.shape.windows:
            for code in sorted(codes, key=self.shape.codes.index):
                start = now // hop * hop - length
                times = [time for time, found in self.kept if found == code and start < time <= now]
                out += [len(times), (now - max(times)) / HOUR if times else math.nan]
        return out


_WINDOW = st.tuples(
    st.integers(1, 3), st.sampled_from([1, 3, 5]), st.sets(st.sampled_from(CODES), min_size=1).map(tuple)
).map(lambda drawn: (drawn[0] * drawn[1], drawn[1], drawn[2]))


@st.composite
def shapes(draw: st.DrawFn, *, resets: bool = True) -> Shape:
    codes = tuple(draw(st.permutations(CODES)))
    return Shape(tuple(draw(st.lists(_WINDOW, min_size=1, max_size=3))), codes, resets)


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["fault"] * 5 + ["telemetry"] * 4 + ["reset", "change", "restart"]),
        st.integers(-9, 6),
        st.sampled_from(CODES),
        st.integers(0, 2),
    ),
    max_size=40,
)


def count(faults: FaultFeatures, shape: Shape, time: int, code: str, scored: int) -> None:
    """Count a fault as an asset does, of a code that its class names."""
    if code in shape.codes:
        faults.count(time, code, scored)


def features(faults: FaultFeatures, time: int) -> list[float]:
    out = np.empty(len(faults.names))
    faults.write(time, out)
    return out.tolist()


@given(st.lists(shapes(), min_size=3, max_size=3), _STEPS)
def test_counts_and_ages_are_those_of_every_fault_that_came(
    drawn: list[Shape], steps: list[tuple[str, int, str, int]]
) -> None:
    """Late faults, faults ahead of the telemetry, resets inside panes, changes of class, restarts."""
    faults, oracle = FaultFeatures(drawn[0].asset_class()), Oracle(drawn[0])
    now = 100
    since = -(10**9)
    for what, offset, code, which in steps:
        time = now + offset
        if what == "fault" and time > since:
            count(faults, oracle.shape, time, code, now)
            oracle.kept.append((time, code))
        elif what == "telemetry":
            # Faults may have overtaken it: those after it are not counted yet.
            now += max(offset, 0)
            faults.advance(now)
        elif what == "reset":
            faults.reset(time)
            oracle.reset(time)
            since = max(since, time)
        elif what == "change":
            before, after = oracle.shape.asset_class(), drawn[which].asset_class()
            faults = FaultFeatures(after, faults.carried(before, after))
            oracle.change(drawn[which])
        elif what == "restart":
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(faults.state()))
            faults = FaultFeatures(oracle.shape.asset_class(), state)
        assert features(faults, now) == pytest.approx(oracle.features(now), abs=0, nan_ok=True)


def test_single_faults_are_kept_for_resets_as_far_back_as_a_window_reaches() -> None:
    """Without resets counts of panes are enough; of a storm of faults the latest are kept."""
    for resets, length, kept in ((False, 9, 0), (True, 9, 12), (True, 9_000, 4_096)):
        faults = FaultFeatures(Shape(((length, 3, CODES),), CODES, resets).asset_class())
        for time in range(10_000):
            faults.count(time, "E1", 10_000)
        assert len(faults.state()["recent"]) == kept


def test_a_reset_leaves_every_fault_after_it_in_its_pane() -> None:
    """A thousand codes of one pane, of which the last six hundred come after the repair."""
    shape = Shape(((2_000, 1_000, CODES),), CODES)
    faults = FaultFeatures(shape.asset_class())
    for time in range(1, 1_001):
        faults.count(time, "E1", 1_000)
    faults.reset(400)
    assert features(faults, 1_000)[0] == 600
