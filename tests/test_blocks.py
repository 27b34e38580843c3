"""How a recording is cut into blocks, and where a run is killed and resumed, changes no byte."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from dataflows.asset import Asset
from dataflows.asset.panes import WindowPlan
from tests.block_runs import check
from tests.block_worlds import KILLS, MINUTE, POISON, RARE, RECORDINGS, SIZES, UNLUCKY, fleet, lines


@settings(max_examples=10, deadline=None)
@given(RECORDINGS, SIZES, KILLS)
def test_blocks_of_any_size_and_kills_change_no_byte(
    recording: list[bytes], sizes: list[int], kills: set[int]
) -> None:
    """With late data, failures, retractions, resets, weather, faults and silence."""
    check(fleet(), recording, sizes, kills)


@settings(max_examples=6, deadline=None)
@given(RECORDINGS, SIZES, KILLS)
def test_blocks_of_sensors_that_get_stuck_change_no_byte(
    recording: list[bytes], sizes: list[int], kills: set[int]
) -> None:
    """Whether a reading is stuck depends on the readings before it, not on what came together."""
    check(
        fleet(limits={"pressure": {"stuck_after": "30m"}, "flow": {"stuck_after": "1h"}}),
        recording,
        sizes,
        kills,
    )


@settings(max_examples=8, deadline=None)
@given(RECORDINGS, SIZES, KILLS)
def test_blocks_of_targets_whose_horizons_agree_change_no_byte(
    recording: list[bytes], sizes: list[int], kills: set[int]
) -> None:
    """Two targets under one key are scored as record by record, and resumed from parts of both."""
    check(fleet(agree=True), recording, sizes, kills)


@settings(max_examples=6, deadline=None)
@given(RECORDINGS, SIZES, KILLS)
def test_blocks_of_times_that_wait_for_their_sensors_change_no_byte(
    recording: list[bytes], sizes: list[int], kills: set[int]
) -> None:
    """The same with score_on = "complete"."""
    check(fleet(score_on="complete", compare=0.0), recording, sizes, kills)


@settings(max_examples=8, deadline=None)
@given(RECORDINGS, SIZES)
def test_a_record_on_which_an_asset_raises_costs_itself_alone_in_any_block(
    recording: list[bytes], sizes: list[int]
) -> None:
    """Whether it raises before the windows of its run move or after, the records around it go on as alone."""
    with pytest.MonkeyPatch.context() as patched:
        read, begin = WindowPlan.read, Asset._begin_score

        def poisoned(plan: WindowPlan, readings: dict[str, float | None], *rest: Any) -> Any:  # noqa: ANN401
            if readings.get("pressure") == POISON:
                raise ArithmeticError
            return read(plan, readings, *rest)

        def unlucky(asset: Asset, time: int) -> bool:
            if time // MINUTE % 60 == UNLUCKY:
                raise ArithmeticError
            return begin(asset, time)

        patched.setattr(WindowPlan, "read", poisoned)
        patched.setattr(Asset, "_begin_score", unlucky)
        check(fleet(), recording, sizes, set())


@pytest.mark.parametrize("sizes", [[1], [7], [1_000]])
def test_a_long_recording_in_equal_blocks_gives_equal_bytes(sizes: list[int]) -> None:
    """The recording has rows of every output that blocks pass."""
    kinds, values = ["telemetry"] * 20 + RARE, [1.0, -3.0, None]
    steps: list[tuple[int, str, str, float | None, int]] = [
        (20 if n % 5 else 1, "abc"[n % 3], kinds[n * 7 % len(kinds)], values[n % 3 - n % 2], n * 11 % 90)
        for n in range(240)
    ]
    rows = check(fleet(), lines(steps), sizes, {3, 50})
    assert {"predictions", "evaluations", "examples", "metrics", "late"} <= rows.keys()
    assert rows["predictions"] > 150
