from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.items import Expiry, Item, Late, ResolvedEvent, Row
from dataflows.state.snapshots import SnapshotError, seal
from tests.asset.lives import Record, Setting, check_life, check_restored, item_of, lives
from tests.asset.oracle import (
    TargetShape,
    WindowShape,
)
from tests.asset.streams import (
    HOUR,
    ClassLayout,
    Event,
)
from tests.observations import Parts, parts_of, processed

if TYPE_CHECKING:
    from dataflows.asset import Asset


@given(lives())
def test_an_asset_says_of_each_record_what_all_records_so_far_say(
    drawn: tuple[Setting, list[Event | Record]],
) -> None:
    """Observations, revisions, examples, labels, releases and refusals equal the brute force's."""
    check_life(*drawn)


@given(lives(), st.sets(st.integers(0, 2), min_size=1))
def test_a_time_is_scored_once_when_its_sensors_or_a_newer_time_have_come(
    drawn: tuple[Setting, list[Event | Record]], required: set[int]
) -> None:
    """With score_on = "complete", all of the above; the example is the first scored of its cell."""
    setting, life = drawn
    names = setting.layout.sensors
    chosen = tuple(name for index, name in enumerate(names) if index in required) or names[:1]
    check_life(setting._replace(layout=setting.layout._replace(required=chosen)), life)


@given(lives(), st.sets(st.integers(0, 24)), st.booleans())
def test_an_asset_restored_at_any_points_goes_on_bit_for_bit(
    drawn: tuple[Setting, list[Event | Record]], crashes: set[int], complete: bool
) -> None:
    """A snapshot before any record, also before the first, changes no byte of what follows."""
    setting, life = drawn
    if complete:
        setting = setting._replace(layout=setting.layout._replace(required=setting.layout.sensors))
    check_restored(setting, life, crashes)


HOURLY = WindowShape(2 * HOUR, HOUR, ("mean",), ("speed",))
SEAL = TargetShape("pump/seal/2h", "seal", "seal", 2 * HOUR, 0, HOUR)
MOTOR = TargetShape("pump/motor/4h", "motor", "motor", 4 * HOUR, 0, HOUR)
PUMP = Setting(ClassLayout(("speed",), (HOURLY,), HOUR * 5, values=True), (SEAL, MOTOR), HOUR)


def sent(asset: Asset, *life: Event | Record) -> list[Item]:
    """What the asset makes of the last record."""
    items: list[Item] = []
    for number, happened in enumerate(life, start=1):
        items = processed(asset, item_of(number, happened))
    return items


def speed(time: int, value: float | None = 1.0, identity: str | None = None) -> Event:
    return Event(time, {"speed": value}, identity)


def observed(items: list[Item]) -> list[Parts]:
    return [parts_of(item.body) for item in items if not isinstance(item.body, Late)]


def test_the_first_on_time_arrival_of_a_cell_is_its_example() -> None:
    """Merged, late and later telemetry of the cell are none; each target gets the same example."""
    asset = PUMP.asset()
    arriving = [speed(60), speed(60, 2.0), speed(61), speed(2 * HOUR), speed(HOUR + 1), speed(2 * HOUR + 1)]
    seen = [observed(sent(asset, event)) for event in arriving]
    assert [[found.example for found in bodies] for bodies in seen] == [
        [True, True],
        [False, False],
        [False, False],
        [True, True],
        [False, False],
        [False, False],
    ]


def test_merged_and_covered_late_telemetry_revise_the_latest_prediction() -> None:
    """The revision counts on at the same time, and begins anew with the next time."""
    asset = PUMP.asset()
    arriving = [speed(4 * HOUR), speed(4 * HOUR, 3.0), speed(2 * HOUR + 1, 8.0), speed(4 * HOUR + 1)]
    seen = [observed(sent(asset, event))[0] for event in arriving]
    assert [(found.time, found.revision) for found in seen] == [
        (4 * HOUR, 0),
        (4 * HOUR, 1),
        (4 * HOUR, 2),
        (4 * HOUR + 1, 0),
    ]
    assert memoryview(seen[2].features or b"").cast("d").tolist() == [3.0, 5.5]


def test_late_telemetry_that_no_window_covers_is_only_counted() -> None:
    """It is neither refused nor scored."""
    assert [item.body for item in sent(PUMP.asset(), speed(4 * HOUR), speed(2 * HOUR))] == [Late()]


def test_a_failure_before_any_telemetry_is_a_clock_and_nothing_to_score() -> None:
    """Each target hears of it, without watermark, time or features; the snapshot is one like any other."""
    asset = PUMP.asset()
    for found in observed(sent(asset, Record("failure", HOUR, "seal", None))):
        assert (found.clock, found.watermark, found.time, found.features) == (HOUR, None, None, None)
    resumed = PUMP.asset(asset.to_bytes())
    assert resumed.to_bytes() == asset.to_bytes()
    seal_target, motor_target = observed(sent(resumed, speed(0)))
    assert seal_target.at_once is not None
    assert (seal_target.at_once.label, seal_target.at_once.lead) == (1, HOUR)
    assert motor_target.at_once is None


@pytest.mark.parametrize(
    ("life", "output", "reason"),
    [
        ([speed(0), speed(0)], "rejects", "duplicate"),
        ([speed(0, 1.0, "a"), speed(HOUR), speed(0, 1.0, "a")], "rejects", "duplicate"),
        ([speed(9 * HOUR), speed(HOUR)], "late", "too_late"),
        ([Record("failure", 0, "seal", None), Record("failure", 0, "seal", None)], "rejects", "duplicate"),
        ([speed(20 * HOUR), Record("failure", 10 * HOUR, "seal", None)], "late", "unmatched"),
    ],
)
def test_what_cannot_be_used_goes_out_with_its_reason(
    life: list[Event | Record], output: str, reason: str
) -> None:
    """Duplicates go to the rejects, what comes too late to the late output."""
    (item,) = sent(PUMP.asset(), *life)
    assert isinstance(item.body, Row)
    assert (item.body.output, orjson.loads(item.body.data)["reason"]) == (output, reason)


def test_a_refused_record_keeps_its_position_and_its_event() -> None:
    """Nothing of it is lost: whoever reads the row can send the event again."""
    (item,) = sent(PUMP.asset(), speed(9 * HOUR), speed(HOUR + 1, None, "late one"))
    assert isinstance(item.body, Row)
    row = orjson.loads(item.body.data)
    assert row.pop("detail")
    assert row == {
        "reason": "too_late",
        "source": "feed.jsonl",
        "line": 2,
        "offset": 200,
        "sequence": 2,
        "arrival": "1970-01-01T00:00:02.000000Z",
        "asset": "pump 1",
        "event": {
            "kind": "telemetry",
            "asset": "pump 1",
            "time": "1970-01-01T01:00:00.000001Z",
            "readings": {"speed": None},
            "id": "late one",
            "arrived": "1970-01-01T00:00:00.000005Z",
        },
    }


def test_a_snapshot_of_something_else_is_refused() -> None:
    """An asset takes only what an asset of this release wrote."""
    with pytest.raises(SnapshotError, match="'group'"):
        PUMP.asset(seal("group", 1, {}))
    with pytest.raises(SnapshotError, match="version 99"):
        PUMP.asset(seal("asset", 99, {}))


def test_silence_does_not_censor_what_telemetry_of_a_run_saw_to_its_end() -> None:
    """The last event is that of the run, also where one before it came by another way."""
    layout = ClassLayout(("speed",), (), 0, values=True, required=None)
    shape = TargetShape("pump/seal", "seal", "seal", HOUR // 2, 5 * HOUR, 5 * HOUR)
    asset = Setting(layout, (shape,), HOUR).asset()
    # The second is merged into the time of the first.
    for number, (time, speed) in enumerate([(0, 1.0), (0, 2.0), (HOUR, 1.0)], start=1):
        processed(asset, item_of(number, Event(time, {"speed": speed}, None)))
    silent = ResolvedEvent(Expiry("pump 1", 10 * HOUR, "silent"), "pump")
    (seen,) = processed(asset, Item(4, 0, 10 * HOUR, 10 * HOUR, ("", 0, 0), silent))
    assert [(each.time, each.why) for each in parts_of(seen.body).matured] == [
        (0, "horizon passed"),
        (HOUR, "silent"),
    ]
