"""Drift in the stream: what moved, where, what it costs, and what is done about it."""

from __future__ import annotations

import random
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from dataflows.instants import HOUR, format_instant
from dataflows.pipeline import run_inline
from dataflows.target.drift import LABELLED, UNLABELLED
from dataflows.target.target import TargetStage
from dataflows.testing import pump_fleet, telemetry
from tests.target.fleets import PartStore
from tests.target.moving import DAY, DAYS, MODELS, TARGET, TURN, fleet, recording
from tests.target.streams import observed
from tests.target.worlds import decoded, encoded, raised

if TYPE_CHECKING:
    from dataflows.fleet.fleet import Fleet


def opened(of: Fleet, *, main: bytes | None = None, parts: dict[int, bytes] | None = None) -> TargetStage:
    return TargetStage(of, *of.targets, strict=True, on_error=raised, main=main, parts=parts or {})


@cache
def rows_of(change: str, drift: str = "log", days: int = DAYS, arrivals: bool = False) -> Any:  # noqa: ANN401
    rows = run_inline(fleet(drift), recording(change, days, arrivals))
    assert not rows.get("rejects")
    return rows


def changes(change: str, *kinds: str, **more: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    rows = rows_of(change, **more)
    return [row for row in rows.get("changes", []) if row["change"] in (kinds or ("drift",))]


@pytest.mark.ci
def test_without_a_change_there_is_no_alarm() -> None:
    """A stationary world of sixty days raises none; its series are in the metrics with their reference."""
    rows = rows_of("none")
    assert not changes("none", "drift", "movement")
    watched = [row for row in rows["metrics"] if row["kind"] == "drift"]
    shown = [each["series"] for each in watched[-1]["series"]]
    own = [*LABELLED, *UNLABELLED]
    assert shown[: len(own)] == own
    assert {*shown[len(own) :]} == {"flow", "pressure"}
    assert all(each["reference"] is not None for each in watched[-1]["series"])


@pytest.mark.parametrize(
    ("change", "series", "cause", "where"),
    [
        ("flow", "flow", "sensor", (None, None, ["flow"])),
        ("both", "flow", "world", (None, None, ["flow", "pressure"])),
        ("one", "pressure", "asset", ("pump-3", None, ["pressure"])),
        ("north", "pressure", "site", (None, "north", ["pressure"])),
        ("missing", "missing", "data movement", (None, None, [])),
        ("silent", "gap", "labels", (None, None, [])),
    ],
)
def test_a_change_is_found_and_has_its_cause(
    change: str, series: str, cause: str, where: tuple[str | None, str | None, list[str]]
) -> None:
    """The series that moved raises an alarm soon after the change, with where it is, and none before it."""
    found = changes(change)
    assert all(row["time"] >= format_instant((TURN - 1) * DAY) for row in found)
    named = [row for row in found if row["series"] == series]
    assert [row["cause"] for row in named] == [cause]
    place = named[0]["place"]
    assert (place["asset"], place["site"], named[0]["sensors"]) == where
    assert named[0]["time"] <= format_instant((TURN + 10) * DAY)
    assert named[0]["evidence"] >= named[0]["needed"]
    assert format_instant((TURN - 3) * DAY) <= named[0]["since"] <= named[0]["time"]


def test_a_loss_pages_and_a_feature_is_a_note_with_its_cost() -> None:
    """What costs most ranks first: the loss grew, and the feature says how much of it is its own."""
    found = {row["series"]: row for row in changes("flow")}
    assert found["loss"]["rank"] == "page"
    assert found["score"]["rank"] == found["alerts"]["rank"] == "warn"
    assert found["flow"]["rank"] == "note"
    assert found["flow"]["cost"] > 0.1
    assert found["loss"]["cost"] is None


@pytest.mark.ci
def test_a_calibrated_sensor_restarts_its_reference_only() -> None:
    """The same step as of one asset raises no alarm where `maintenance` of ``sensor:NAME`` was recorded."""
    assert changes("one")
    assert not changes("maintained")


@pytest.mark.ci
def test_assets_that_are_gone_are_no_drift() -> None:
    """A site whose assets send nothing more moves no series: each asset is compared with itself."""
    assert not changes("gone", "drift")


def test_a_backlog_is_data_movement_and_no_drift() -> None:
    """Thirty hours that arrive at their end are reported once as data movement; nothing is called drift."""
    found = changes("backlog", "drift", "movement", arrivals=True)
    assert [(row["change"], row["measure"]) for row in found] == [("movement", "delay")]
    assert found[0]["time"] == format_instant(TURN * DAY)


def test_labels_that_stop_are_reported() -> None:
    """Where no failure is reported any more, a row says so long before a loss could."""
    (row,) = changes("silent", "movement")
    assert row["measure"] == "labels"
    assert row["time"] <= format_instant((TURN + 5) * DAY)


@pytest.mark.ci
def test_what_comes_back_each_week_is_no_drift() -> None:
    """Compared with the block a week before, one high week-day is none; a change still is."""

    def weekly(change: bool) -> list[bytes]:
        rows = []
        for day in range(100):
            for hour in (0, 6, 12, 18):
                for number in range(4):
                    chance = random.Random(f"{day} {hour} {number}")
                    flow = chance.gauss(2, 1) + 8 * (day % 7 > 3) + 6 * (change and day >= 80)
                    time = format_instant((day * 24 + hour) * HOUR)
                    rows.append(telemetry(f"pump-{number}", time, {"flow": flow, "pressure": 1.0}))
        return rows

    def alarms(*, change: bool, **more: object) -> list[str]:
        rows = run_inline(fleet(**more), weekly(change)).get("changes", [])
        return [row["series"] for row in rows if row["change"] == "drift"]

    assert not alarms(change=False, compare_with="7d")
    assert alarms(change=True, compare_with="7d") == ["flow"]


def test_a_fresh_challenger_starts_at_the_drift() -> None:
    """With `challenger` a fresh version of the champion's model learns what came since, and is better."""
    rows = rows_of("flow", "challenger", 90)
    answers = [row["answer"] for row in rows["changes"] if row["change"] == "drift" and row["answer"]]
    assert answers == ["bayes:2 starts as a challenger"]
    added = [row for row in rows["changes"] if row["change"] == "challenger" and row["version"] == 2]
    assert [row["model"] for row in added] == ["bayes"]
    models = {row["model"]: row for row in rows["metrics"] if row["kind"] == "model"}
    assert models["bayes"]["champion"]
    assert models["bayes:2"]["log_loss"] < 0.7 * models["bayes"]["log_loss"]


@pytest.mark.ci
def test_a_challenger_is_reset_and_the_champion_never() -> None:
    """With `reset` the named challenger begins with nothing, as a new version; the champion goes on."""
    models = {**MODELS, "other": {"features": ["flow"], "pipeline": MODELS["bayes"]["pipeline"]}}
    targets = [{**TARGET, "drift": "reset", "drift_model": "other", "models": ["bayes", "other"]}]
    classes = {"pump": {"sensors": ["flow", "pressure"], "allowed_lateness": "1h", "example_every": "3h"}}
    of = pump_fleet(models, classes=classes, targets=targets, metrics_every="10d")
    rows = run_inline(of, recording("flow", days=80))
    reset = [(row["model"], row["version"]) for row in rows["changes"] if row["change"] == "reset"]
    assert reset == [("other", 2)]
    last = {row["model"]: row for row in rows["metrics"] if row["kind"] == "model"}
    assert last["other"]["log_loss"] < last["bayes"]["log_loss"]


@pytest.mark.ci
def test_moved_data_starts_no_challenger() -> None:
    """An answer is for a change of the world: missing values have none."""
    assert not [row for row in changes("missing", drift="challenger") if row["answer"]]


def test_drift_that_is_not_watched_leaves_no_row() -> None:
    """With ``off``, the default, there is neither an alarm nor a row of the metrics."""
    rows = run_inline(fleet("off"), recording("flow")[:2_000])
    assert not [row for row in rows["changes"] if row["change"] == "drift"]
    assert {row["kind"] for row in rows["metrics"]} == {"model", "lane", "learned"}


@pytest.mark.ci
def test_further_detectors_report_their_statistics() -> None:
    """ADWIN sees the same losses: its changes and width are in the metrics, and raise no alarm."""
    names = ["river.drift.ADWIN", "river.drift.PageHinkley"]
    rows = run_inline(fleet(drift_detectors=names), recording("flow"))
    found = [row for row in rows["metrics"] if row["kind"] == "detector"]
    assert {row["detector"] for row in found} == {*names}
    last = {row["detector"]: row for row in found}["river.drift.ADWIN"]
    assert last["ever"] >= 1
    assert last["latest"] >= format_instant(TURN * DAY)
    assert last["statistics"]["width"] > 0


@pytest.mark.ci
def test_a_watch_goes_on_from_its_snapshots() -> None:
    """Killed every 40 records and opened from what was written, a target writes the same rows to the byte."""
    of = fleet("challenger", drift_detectors=["river.drift.ADWIN"], compare_with="7d", promotion="auto")
    items = observed(of, recording("flow"))
    whole = opened(of).process([*items])
    store, stage, out = PartStore(), opened(of), []
    for start in range(0, len(items), 40):
        out += stage.process(items[start : start + 40])
        store.after_batch(stage)
        store.end_epoch(stage)
        main, parts = store.crash()
        stage = opened(of, main=main, parts=parts)
    assert encoded(out) == encoded(whole)
    rows = decoded(out)
    assert "drift" in {row["change"] for row in rows["changes"]}
