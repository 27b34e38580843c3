"""The arrival clock of a lane is bounded: one wild arrival moves no time, and honest pauses cost little."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dataflows.events import Telemetry
from dataflows.fleet.fleet import AssetPolicy
from dataflows.items import Expiry, Item, ResolvedEvent, Row, Tick
from dataflows.lane import Lane
from tests.lane.worlds import DAY, FLEET, PUMP, START, records, row

if TYPE_CHECKING:
    from dataflows.events import Event

YEAR = 365 * DAY
WILD = 10 * YEAR


def sent(asset: str, at: int, arrived: int | None = None) -> Telemetry:
    """Telemetry of an instant that arrives at once, or when it says."""
    return Telemetry(asset, START + at, {"x": float(at)}, None, START + (at if arrived is None else arrived))


def fates(*events: Event) -> list[str]:
    """What became of each record: ``known``, or the reason."""
    out = Lane(FLEET, None, {}).process(records(*events))
    return [fate for item in out if (fate := fate_of(item))]


def fate_of(item: Item) -> str | None:
    if isinstance(item.body, Row):
        return str(row(item)["reason"])
    return (
        "known" if isinstance(item.body, ResolvedEvent) and not isinstance(item.body.event, Expiry) else None
    )


def test_one_wild_arrival_switches_off_no_check() -> None:
    """Its record is quarantined with its position; a time of the future is still told, honest ones go on."""
    out = Lane(FLEET, None, {}).process(
        records(sent("a", 0), sent("b", 1, WILD), sent("a", 2 * YEAR, 2), sent("a", 3))
    )
    assert [fate_of(item) for item in out] == ["known", "wrong_arrival", "future", "known"]
    told: dict[str, Any] = row(out[1])
    assert (told["source"], told["line"], told["offset"], told["asset"]) == ("pumps", 2, 20, "b")
    assert out[-1].arrival == START + 3


def test_a_second_asset_confirms_a_pause() -> None:
    """After the whole fleet paused for a year one record is quarantined, and time goes on with the next."""
    assert fates(sent("a", 0), sent("a", YEAR), sent("b", YEAR + 1), sent("a", YEAR + 2)) == [
        "known",
        "wrong_arrival",
        "known",
        "known",
    ]


def test_a_second_source_confirms_a_pause_of_the_same_asset() -> None:
    """Two files or partitions have two clocks."""
    items = records(sent("a", 0), sent("a", YEAR), sent("a", YEAR + 1))
    items[2].position = ("other", 1, 0)
    found = [fate_of(item) for item in Lane(FLEET, None, {}).process(items)]
    assert [fate for fate in found if fate] == [
        "known",
        "wrong_arrival",
        "known",
    ]


def test_a_lone_asset_is_not_locked_out_by_a_pause() -> None:
    """Nobody else sends, so its fifth record in a row is believed."""
    later = [sent("a", YEAR + n) for n in range(6)]
    assert fates(sent("a", 0), *later) == ["known", *["wrong_arrival"] * 4, "known", "known"]


def test_an_honest_arrival_in_between_contradicts_a_gateway_with_a_wrong_clock() -> None:
    """However often it repeats its claim, one that others contradict is never believed."""
    mixed = [event for n in range(9) for event in (sent("b", n, WILD + n), sent("a", n))]
    assert fates(*mixed[1:]) == ["known", *["wrong_arrival", "known"] * 8]


def test_claims_that_differ_confirm_nothing() -> None:
    """Two wild arrivals years apart do not speak for each other."""
    assert fates(sent("a", 0), sent("b", 1, WILD), sent("c", 2, 2 * WILD), sent("a", 3)) == [
        "known",
        "wrong_arrival",
        "wrong_arrival",
        "known",
    ]


def test_a_wild_first_arrival_is_told_by_its_event_time() -> None:
    """No record came before it, so its own time takes that place; an old backlog is confirmed by the next."""
    assert fates(sent("a", 0, WILD), sent("a", 1), sent("b", 2)) == ["wrong_arrival", "known", "known"]
    assert fates(sent("a", 0, YEAR), sent("a", 1, YEAR), sent("a", 2, YEAR)) == [
        "wrong_arrival",
        "known",
        "known",
    ]


def test_a_wild_arrival_makes_nobody_silent() -> None:
    """Neither the record nor a tick that a source made after it lets ten years pass."""
    fleet = replace(FLEET, classes={"pump": replace(PUMP, idle_timeout=DAY)})
    first, wild, last = records(sent("a", 0), sent("b", 1, WILD), sent("a", 2))
    tick = Item(2, 1, START + WILD, START + WILD, ("", 0, 0), Tick(START + WILD))
    out = Lane(fleet, None, {}).process([first, wild, tick, last])
    assert not [
        item for item in out if isinstance(item.body, ResolvedEvent) and isinstance(item.body.event, Expiry)
    ]


def test_claims_survive_a_restart() -> None:
    """A kill between a claim and its confirmation changes nothing."""
    lane = Lane(FLEET, None, {})
    lane.process(records(sent("a", 0), sent("a", YEAR)))
    parts = {part: lane.part_snapshot(part) for part in lane.changed()}
    again = Lane(FLEET, lane.main_snapshot(), parts)
    found = [fate_of(item) for item in again.process(records(sent("b", YEAR + 1), first=3))]
    assert [fate for fate in found if fate] == ["known"]


def test_a_clock_that_starts_at_1970_neither_poisons_nor_locks_out() -> None:
    """What it stamps is too late, the first record of an asset too; what comes after is taken."""
    boot = Telemetry("a", 7, {"x": 1.0}, None, START)
    found = fates(sent("b", 0), boot, sent("a", 1), boot, sent("a", 2))
    assert found == ["known", "too_late", "known", "too_late", "known"]
    patient = AssetPolicy("adopt", "pump", 4, max_past=60 * YEAR)
    (out,) = Lane(replace(FLEET, assets=replace(patient, max_arrival_jump=60 * YEAR)), None, {}).process(
        records(boot)
    )
    assert fate_of(out) == "known"
