"""How a recording is cut into blocks, and where a run is killed and resumed, changes no byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows.asset import Asset
from dataflows.asset.panes import WindowPlan
from dataflows.instants import format_instant
from dataflows.testing import failure, fault, maintenance, pump_fleet, registration, retraction, telemetry
from tests.block_runs import check

if TYPE_CHECKING:
    from dataflows.fleet.fleet import Fleet

MINUTE = 60_000_000
#: A reading, and a minute of the hour, at which an asset of a poisoned fleet raises.
POISON, UNLUCKY = 13.0, 7
CLASS = {
    "sensors": ["pressure", "flow"],
    "expressions": {"over_air": "pressure - weather.air"},
    "faults": ["E1"],
    "maintenance": ["seal"],
    "attributes": ["age"],
    "weather": {"values": ["air"], "max_age": "6h"},
    "allowed_lateness": "1h",
    "example_every": "1h",
    "reset_windows_on": ["failure"],
    "idle_timeout": "3h",
    "asset_ttl": "40h",
    "compare": 0.7,
    "windows": [{"length": "6h", "hop": "1h", "statistics": ["mean", "std", "slope"]}],
}


def fleet(*, agree: bool = False, **changes: object) -> Fleet:
    """Pumps with weather, faults, resets and silence; two horizons, so that labels come at two times."""
    models = {"mine": {"pipeline": [{"estimator": "river.naive_bayes.GaussianNB"}]}}
    targets = [
        {"class": "pump", "mode": "leak", "component": "seal", "horizon": horizon, "champion": "mine"}
        for horizon in ("4h", "12h")
    ]
    targets = [{**target, "agree": agree} for target in targets]
    return pump_fleet(models, classes={"pump": {**CLASS, **changes}}, targets=targets)


RARE = ["late", "fault", "failure", "maintenance", "retraction", "weather", "row"]
#: Minutes since the last record; asset; kind; reading; minutes back.
_STEPS = st.tuples(
    st.sampled_from([0, 1, 3, 10, 20, 20, 20, 45, 200]),
    st.sampled_from("aaabbc"),
    st.sampled_from(["telemetry"] * 14 + RARE),
    st.sampled_from([1.0, 2.5, -3.0, 7.25, POISON, None]),
    st.integers(0, 90),
)


def lines(steps: list[tuple[int, str, str, float | None, int]]) -> list[bytes]:
    """JSON records of steps, in the order of arrival."""
    now, made = 0, [registration(name, "pump", {"age": 3}, site="hall", arrived=0.0) for name in "abc"]
    for number, (gap, asset, kind, value, back) in enumerate(steps):
        now += gap * MINUTE
        time, past = format_instant(now), format_instant(max(now - back * MINUTE, 0))
        more: dict[str, Any] = {"arrived": time}
        if kind == "telemetry":
            made.append(telemetry(asset, time, {"pressure": value, "flow": back / 10}, **more))
        elif kind == "late":
            made.append(telemetry(asset, past, {"pressure": value}, id=f"m{number}", **more))
        elif kind == "fault":
            made.append(fault(asset, past, "E1", **more))
        elif kind == "failure":
            made.append(failure(asset, past, "leak", id=f"f{back % 7}", **more))
        elif kind == "maintenance":
            made.append(maintenance(asset, past, "seal", id=f"s{back % 7}", **more))
        elif kind == "retraction":
            made.append(retraction(asset, f"f{back % 7}", **more))
        elif kind == "weather":
            row = {"kind": "weather", "site": "hall", "time": past, "values": {"air": value}, "arrived": time}
            made.append(orjson.dumps(row))
        else:
            made.append(registration(asset, "pump", {"age": back}, **more))
    return made


RECORDINGS = st.lists(_STEPS, min_size=20, max_size=50).map(lines)
SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=8)
KILLS = st.sets(st.integers(1, 12), max_size=4)


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
