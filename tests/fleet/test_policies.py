from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from dataflows.fleet import Alert, Fleet, Problem
from dataflows.instants import HOUR, MICROSECONDS

if TYPE_CHECKING:
    from pathlib import Path

Expanded = Callable[..., Fleet]
Refused = Callable[..., dict[str, Problem]]

DAY = 24 * HOUR
SECOND = MICROSECONDS["s"]
TARGET = {"class": "pump", "mode": "seal", "horizon": "24h", "champion": "tree"}


def target(**keys: object) -> dict[str, Any]:
    """Overrides with this one target."""
    return {"targets": [TARGET | keys]}


def pump(**keys: object) -> dict[str, Any]:
    """Overrides of the class; its longest example waits 7d + 2d."""
    return {"classes": {"pump": keys}}


def alert_of(fleet: Fleet) -> Alert | None:
    (one,) = fleet.targets.values()
    return one.alert


def test_a_small_file_has_the_defaults(expanded: Expanded) -> None:
    """No registry, an hour for clocks that run ahead, every prediction published, no alerts."""
    fleet = expanded()
    assert (fleet.assets.registry, fleet.assets.max_future) == ((), HOUR)
    assert fleet.assets.max_tombstones == 1_000_000
    assert fleet.max_internal_errors == 100
    assert (fleet.output.publish, fleet.output.changed_by) == ("all", 0.02)
    assert {one.alert for one in fleet.targets.values()} == {None}


def test_policies_are_taken_over(expanded: Expanded) -> None:
    """What the file says reaches the plan."""
    fleet = expanded(
        {
            "max_internal_errors": 3,
            "assets": {"max_future": "0s", "max_tombstones": 7},
            "output": {"publish": "changed", "changed_by": 0.5},
        }
    )
    assert (fleet.max_internal_errors, fleet.assets.max_future, fleet.assets.max_tombstones) == (3, 0, 7)
    assert (fleet.output.publish, fleet.output.changed_by) == ("changed", 0.5)


def test_input_is_recorded_unless_it_is_followed(expanded: Expanded) -> None:
    """A tick a second, five seconds behind, and a journal of a week; or as the file says."""
    given = expanded().input
    assert (given.follow, given.tick_every, given.tick_slack) == (False, SECOND, 5 * SECOND)
    assert given.journal_keep == 7 * DAY
    keys = {"follow": True, "tick_every": "100ms", "tick_slack": "0s", "journal_keep": "0s"}
    given = expanded({"input": keys}).input
    assert (given.follow, given.tick_every, given.tick_slack, given.journal_keep) == (
        True,
        SECOND // 10,
        0,
        0,
    )


def test_a_tick_without_a_step_is_refused(refused: Refused) -> None:
    """Time that passes in steps of nothing would fill the journal."""
    assert "input.tick_every" in refused({"input": {"tick_every": "0s"}})


def test_the_registry_belongs_to_the_files_folder(expanded: Expanded, tmp_path: Path) -> None:
    """Its paths are relative to the file, and FLEET_INPUT overrides the input alone."""
    overrides = {"assets": {"registry": ["data/pumps.jsonl", "/abs/more.jsonl.gz"]}}
    fleet = expanded(overrides, FLEET_INPUT="/x.jsonl")
    assert fleet.assets.registry == (str(tmp_path / "data/pumps.jsonl"), "/abs/more.jsonl.gz")
    assert fleet.input.files == ("/x.jsonl",)


def test_an_alert_is_as_written(expanded: Expanded) -> None:
    """All four keys reach the plan, durations in microseconds."""
    written = {"open": 0.5, "clear": 0.3, "dwell": "2h", "update_by": 0.05}
    assert alert_of(expanded(target(alert=written))) == Alert(0.5, 0.3, 2 * HOUR, 0.05)


def test_an_alert_opens_at_the_threshold_by_default(expanded: Expanded) -> None:
    """An empty table is enough: it opens where precision and recall are measured, and clears at 0.8 of it."""
    made = alert_of(expanded(target(threshold=0.25, alert={})))
    assert made == Alert(open=0.25, clear=0.8 * 0.25, dwell=0, update_by=0.1)


def test_an_alert_clears_at_four_fifths_of_its_opening(expanded: Expanded) -> None:
    """The default follows `open`, not the threshold."""
    made = alert_of(expanded(target(threshold=0.25, alert={"open": 0.9})))
    assert made is not None
    assert made.clear == pytest.approx(0.72)


def test_every_target_of_an_entry_has_its_alert(expanded: Expanded) -> None:
    """Lists of modes and horizons share one alert; other entries have none of it."""
    entry = TARGET | {"mode": ["seal", "bearing"], "alert": {"open": 0.7, "clear": 0.7}}
    fleet = expanded({"targets": [entry, TARGET | {"mode": "shaft"}]})
    assert [one.alert and one.alert.open for one in fleet.targets.values()] == [0.7, 0.7, None]


@pytest.mark.parametrize(
    ("idle", "ttl"), [("1d", None), ("26s", None), ("15d", "16d"), ("8s", "217h"), ("8d", "777600000001us")]
)
def test_silence_is_taken_over(expanded: Expanded, idle: str, ttl: str | None) -> None:
    """A state may be dropped one microsecond after the last example of the class was decided."""
    keys = {"idle_timeout": idle} | ({} if ttl is None else {"asset_ttl": ttl})
    made = expanded(pump(**keys)).classes["pump"]
    assert made.idle_timeout is not None
    assert (made.asset_ttl is None) == (ttl is None)
    assert made.asset_ttl is None or made.asset_ttl > max(9 * DAY, made.idle_timeout)


def test_a_class_without_targets_may_forget_early(expanded: Expanded) -> None:
    """Horizons of other classes do not matter."""
    fan = {"idle_timeout": "1h", "asset_ttl": "2h"}
    fleet = expanded({"classes": {"fan": fan}, "assets": {"adopt_as": "pump"}})
    assert fleet.classes["fan"].asset_ttl == 2 * HOUR


# Each refusal: overrides, the key that is named, a part of what was expected, and the hint.
REFUSALS: list[tuple[dict[str, Any], str, str, str | None]] = [
    ({"max_internal_errors": 0}, "max_internal_errors", "greater than 0", None),
    ({"assets": {"max_weather": 0}}, "assets.max_weather", "greater than 0", None),
    ({"assets": {"max_tombstones": 0}}, "assets.max_tombstones", "greater than 0", None),
    ({"assets": {"max_future": "-1h"}}, "assets.max_future", "a duration", None),
    ({"assets": {"registry": "pumps.jsonl"}}, "assets.registry", "a list", None),
    ({"assets": {"registry": ["a.jsonl", "-"]}}, "assets.registry[1]", "path of a file", None),
    ({"assets": {"registry": [""]}}, "assets.registry[0]", "path of a file", None),
    ({"assets": {"registri": ["a"]}}, "assets.registri", "registry", "registry"),
    ({"output": {"publish": "change"}}, "output.publish", "all, grid, changed", "changed"),
    ({"output": {"changed_by": 0}}, "output.changed_by", "above 0 and below 1", None),
    ({"output": {"changed_by": 1.0}}, "output.changed_by", "above 0 and below 1", None),
    (target(alert=True), "targets[0].alert", "a table", None),
    (target(alert={"open": 0}), "targets[0].alert.open", "above 0 and below 1", None),
    (target(alert={"open": 1}), "targets[0].alert.open", "above 0 and below 1", None),
    (target(alert={"open": 1.5, "clear": 0.9}), "targets[0].alert.open", "above 0 and below 1", None),
    (target(alert={"clear": -0.1}), "targets[0].alert.clear", "above 0 and below 1", None),
    (target(alert={"update_by": 1}), "targets[0].alert.update_by", "above 0 and below 1", None),
    (target(alert={"dwell": 5}), "targets[0].alert.dwell", "a duration", None),
    (target(alert={"opens": 0.5}), "targets[0].alert.opens", "open, clear", "open"),
    (target(alert={"open": 0.5, "clear": 0.51}), "targets[0].alert.clear", "that opens, 0.5", None),
    (target(threshold=0.4, alert={"clear": 0.41}), "targets[0].alert.clear", "that opens, 0.4", None),
    (target(threshold=7, alert={"clear": 0.9}), "targets[0].threshold", "above 0 and below 1", None),
    (pump(asset_ttl="30d"), "classes.pump.idle_timeout", "asset_ttl needs it", None),
    (pump(asset_ttl="30d", idle_timeout="x"), "classes.pump.idle_timeout", "a duration", None),
    (pump(idle_timeout="0s"), "classes.pump.idle_timeout", "longer than zero", None),
    (pump(idle_timeout="30d", asset_ttl="30d"), "classes.pump.asset_ttl", "30d, idle_timeout", None),
    (
        pump(idle_timeout="1d", asset_ttl="9d"),
        "classes.pump.asset_ttl",
        "longer than 9d, horizon and label delay of targets[0]",
        None,
    ),
    (
        pump(idle_timeout="1d", asset_ttl="30h") | target(label_delay="7h"),
        "classes.pump.asset_ttl",
        "longer than 31h",
        None,
    ),
    (
        pump(idle_timeout="1s"),
        "classes.pump.idle_timeout",
        "at least 26s, since a silent asset is watched for 721h, in up to 100,000 steps",
        None,
    ),
]


@pytest.mark.parametrize(
    ("overrides", "key", "expected", "hint"),
    REFUSALS,
    ids=[f"{row[1]}-{n}" for n, row in enumerate(REFUSALS)],
)
def test_what_cannot_be_is_refused_with_key_and_hint(
    refused: Refused, overrides: dict[str, Any], key: str, expected: str, hint: str | None
) -> None:
    """One thing wrong is one problem: its place, what may stand there, and the nearest valid name."""
    problems = refused(overrides)
    assert list(problems) == [key]
    assert expected in problems[key].expected
    assert problems[key].hint == hint


@pytest.mark.parametrize(
    "overrides",
    [
        pump(idle_timeout="1h", asset_ttl="2h", label_delay="x") | target(label_delay="1h", horizon="30m"),
        pump(idle_timeout="1h", asset_ttl="2h") | target(label_delay="soon", horizon="30m"),
        pump(idle_timeout="1h", asset_ttl="2h", label_delay="0s") | target(horizon="x"),
    ],
)
def test_what_follows_from_a_refused_place_is_not_refused(
    refused: Refused, overrides: dict[str, Any]
) -> None:
    """Where a delay or horizon is wrong, nothing is said of an asset_ttl that depends on it."""
    assert not any("asset_ttl" in key for key in refused(overrides))
