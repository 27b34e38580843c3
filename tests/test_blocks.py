"""How a recording is cut into blocks, and where a run is killed and resumed, changes no byte."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from dataflows.asset import Asset
from dataflows.asset.panes import WindowPlan
from dataflows.instants import format_instant
from dataflows.items import Item, Row, by_order
from dataflows.pipeline import LANE, Stages, asset_of, decoded, early, output_of, run_lines
from dataflows.testing import failure, fault, maintenance, pump_fleet, registration, retraction, telemetry
from tests.target.fleets import PartStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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


class Run:
    """The stages of a fleet as the engine runs them: a block at a time, the keys of a step by name."""

    def __init__(self, of: Fleet) -> None:
        self.fleet = of
        self.out: dict[str, list[bytes]] = {}
        self.lane_store = PartStore()
        self.target_stores = {target.group: PartStore() for target in of.targets.values()}
        self.asset_store: dict[str, bytes] = {}
        self.metrics_store: bytes | None = None
        self.open()

    def open(self) -> None:
        """Begin, or go on as a process does that finds what `kill` left."""
        self.stages = Stages(self.fleet, strict=True)
        self.lane = self.stages.lane(LANE, self.lane_store.main, self.lane_store.parts)
        self.metrics = self.stages.lane_metrics(LANE, self.metrics_store, {})
        self.targets = {
            name: self.stages.group(name, store.main, store.parts)
            for name, store in self.target_stores.items()
        }
        self.assets: dict[str, Any] = {}

    def process(self, block: list[Item]) -> None:
        known = self.lane.process(decoded(block))
        made = [each for name, items in grouped(known, asset_of) for each in self._asset(name, items)]
        left = [each for items in early([known, made]) for each in items]
        by_group = grouped(made, self.stages.group_of)
        rows = [row for name, items in by_group for row in self.targets[name].process(items)]
        rows += left + self.metrics.process([*left])
        self._write(rows)

    def _asset(self, name: str, items: list[Item]) -> list[Item]:
        asset = self.assets.get(name) or self.stages.asset(items[0], self.asset_store.get(name))
        self.assets[name] = asset
        made = asset.process(items)
        if asset.finished:
            del self.assets[name]
            self.asset_store.pop(name, None)
        return made

    def _write(self, rows: Iterable[Item]) -> None:
        for item in sorted(rows, key=by_order):
            if output_of(item) is not None and isinstance(item.body, Row):
                self.out.setdefault(item.body.output, []).append(item.body.data)

    def kill(self) -> None:
        """Write all state, and go on in a new process."""
        stores = [(self.targets[name], store) for name, store in self.target_stores.items()]
        for stage, store in [(self.lane, self.lane_store), *stores]:
            store.after_batch(stage)
            store.end_epoch(stage)
        self.metrics_store = self.metrics.main_snapshot()
        self.asset_store |= {name: asset.to_bytes() for name, asset in self.assets.items()}
        self.open()

    def finish(self) -> dict[str, list[bytes]]:
        for stage in (self.lane, *self.targets.values(), self.metrics):
            self._write(stage.finish())
        return self.out


def grouped(items: Iterable[Item], key_of: Callable[[Item], str | None]) -> list[tuple[str, list[Item]]]:
    groups: dict[str, list[Item]] = {}
    for item in items:
        key = key_of(item)
        if key is not None:
            groups.setdefault(key, []).append(item)
    return sorted(groups.items())


def in_blocks(of: Fleet, recording: list[bytes], sizes: list[int], kills: set[int]) -> dict[str, list[bytes]]:
    """Outputs of a recording that is cut into blocks, with a kill after some of them."""
    run, offset, items = Run(of), 0, []
    for number, line in enumerate(recording, start=1):
        items.append(Item(number, 0, None, 0, ("inline", number, offset), line))
        offset += len(line) + 1
    at = turn = 0
    while at < len(items):
        size = sizes[turn % len(sizes)]
        run.process(items[at : at + size])
        at, turn = at + size, turn + 1
        if turn in kills:
            run.kill()
    return run.finish()


def check(of: Fleet, recording: list[bytes], sizes: list[int], kills: set[int]) -> Counter[str]:
    """Compare blocks with the stages run record by record; return how many rows each output has."""
    with capture_logs():
        whole = {name: rows for name, rows in run_lines(of, recording).items() if rows}
        assert run_lines(of, recording, batch=max(sizes)).items() >= whole.items()
        cut = in_blocks(of, recording, sizes, kills)
    whole.pop("summary")
    cut.pop("summary")
    for name in whole.keys() | cut.keys():
        assert cut.get(name, []) == whole.get(name, []), name
    return Counter({name: len(rows) for name, rows in whole.items()})


_RECORDINGS = st.lists(_STEPS, min_size=20, max_size=50).map(lines)
_SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=8)
_KILLS = st.sets(st.integers(1, 12), max_size=4)


@settings(max_examples=10, deadline=None)
@given(_RECORDINGS, _SIZES, _KILLS)
def test_blocks_of_any_size_and_kills_change_no_byte(
    recording: list[bytes], sizes: list[int], kills: set[int]
) -> None:
    """With late data, failures, retractions, resets, weather, faults and silence."""
    check(fleet(), recording, sizes, kills)


@settings(max_examples=6, deadline=None)
@given(_RECORDINGS, _SIZES, _KILLS)
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
@given(_RECORDINGS, _SIZES, _KILLS)
def test_blocks_of_targets_whose_horizons_agree_change_no_byte(
    recording: list[bytes], sizes: list[int], kills: set[int]
) -> None:
    """Two targets under one key are scored as record by record, and resumed from parts of both."""
    check(fleet(agree=True), recording, sizes, kills)


@settings(max_examples=6, deadline=None)
@given(_RECORDINGS, _SIZES, _KILLS)
def test_blocks_of_times_that_wait_for_their_sensors_change_no_byte(
    recording: list[bytes], sizes: list[int], kills: set[int]
) -> None:
    """The same with score_on = "complete"."""
    check(fleet(score_on="complete", compare=0.0), recording, sizes, kills)


@settings(max_examples=8, deadline=None)
@given(_RECORDINGS, _SIZES)
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
