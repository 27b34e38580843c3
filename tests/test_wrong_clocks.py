"""Devices whose clock jumps or whose network is away, through lane, asset and group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows.fleet import Fleet, load
from dataflows.instants import HOUR, MICROSECONDS, format_instant, parse_instant
from dataflows.pipeline import run_inline
from tests import tables

if TYPE_CHECKING:
    from pathlib import Path

MINUTE = MICROSECONDS["m"]
START = parse_instant("2025-05-01T00:00:00Z")
QUARTER = 15 * MINUTE
FLEET = tables.pumps(
    "prior",
    tables.PRIOR_ALONE,
    files=["-"],
    sensors=["flow"],
    pump="""
allowed_lateness = "1h"
idle_timeout = "2h"
example_every = "1h"
windows = [{ length = "6h", hop = "1h", statistics = ["mean", "count"] }]
""",
    more="""
[assets]
max_future = "1h"
clock = { tolerance = "10m", quarantine = QUARANTINE }
""",
)


@pytest.fixture(scope="module")
def pumps(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Fleet]:
    """The fleet, with and without quarantine."""
    folder: Path = tmp_path_factory.mktemp("pumps")
    fleets = {}
    for quarantine in (False, True):
        path = folder / f"{quarantine}.toml"
        path.write_text(FLEET.replace("QUARANTINE", str(quarantine).lower()), encoding="utf-8")
        fleets[quarantine] = load(path, environ={})
    return fleets


def message(number: int, by: int = 0, arrived: int | None = None) -> dict[str, Any]:
    """The number-th quarter's, by a clock that is ahead by so much; it arrives two seconds later."""
    time = START + number * QUARTER
    arrival = time + 2 * MICROSECONDS["s"] if arrived is None else START + arrived
    return {
        "kind": "telemetry",
        "asset": "p",
        "time": format_instant(time + by),
        "readings": {"flow": float(number)},
        "arrived": format_instant(arrival),
    }


def out_of(fleet: Fleet, messages: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return run_inline(fleet, [orjson.dumps(sent) for sent in messages])


def served(out: dict[str, list[dict[str, Any]]]) -> list[tuple[str, int, str]]:
    return [(row["time"], row["revision"], row["watermark"]) for row in out["predictions"]]


@pytest.mark.parametrize("quarantine", [False, True])
def test_a_clock_that_jumps_beyond_max_future_changes_nothing_but_what_it_stamped(
    pumps: dict[bool, Fleet], quarantine: bool
) -> None:
    """Right, 3 h ahead for five hours, right again: the predictions are those of the right messages alone."""
    right = [*map(message, range(40)), *map(message, range(72, 120))]
    jumped = [message(number, 3 * HOUR) for number in range(40, 60)]
    out = out_of(pumps[quarantine], [*right[:40], *jumped, *right[40:]])
    alone = served(out_of(pumps[quarantine], right))
    # A quarantine lasts until the clock is seen to be right again.
    assert served(out) == [alone, alone[:40] + alone[-len(served(out)) + 40 :]][quarantine]
    assert len(alone) - len(served(out)) == (9 if quarantine else 0)
    assert {row["reason"] for row in out["rejects"]} == {"future", *(["wrong_clock"] if quarantine else [])}
    assert [row["state"] for row in out["changes"] if row["change"] == "clock"] == ["ahead", "right"]
    assert out["late"] == []


def test_a_clock_that_jumps_within_max_future_is_stopped_by_quarantine(pumps: dict[bool, Fleet]) -> None:
    """Four of its messages are taken before it is found; after it recovered none is too late."""
    jumped = [message(number, 50 * MINUTE) for number in range(40, 80)]
    out = out_of(pumps[True], [*map(message, range(40)), *jumped, *map(message, range(80, 120))])
    taken = [row["time"] for row in out["predictions"] if row["revision"] == 0]
    # The fourth closes the look at the third, and is rejected itself.
    ahead = [format_instant(START + number * QUARTER + 50 * MINUTE) for number in range(40, 43)]
    assert taken[40:43] == ahead
    assert set(taken[43:]) <= {message(number)["time"] for number in range(80, 120)}
    assert len(taken) == 40 + 3 + 40 - 9
    assert {row["reason"] for row in out["rejects"]} == {"wrong_clock"}
    assert out["late"] == []


@settings(max_examples=60)
@given(st.integers(-24 * 60, 24 * 60), st.integers(1, 60), st.booleans())
def test_a_clock_that_jumps_and_recovers_does_not_poison_its_asset(
    pumps: dict[bool, Fleet], by: int, lasts: int, quarantine: bool
) -> None:
    """However far it jumps and however long: from three hours after it recovered, all is served on time."""
    jumped = [message(number, by * MINUTE) for number in range(40, 40 + lasts)]
    after = range(40 + lasts, 80 + lasts)
    out = out_of(pumps[quarantine], [*map(message, range(40)), *jumped, *map(message, after)])
    times = {row["time"] for row in out["predictions"] if row["revision"] == 0}
    assert {message(number)["time"] for number in after[12:]} <= times
    for row in out["predictions"]:
        assert parse_instant(row["watermark"]) <= parse_instant(row["arrival"])


@pytest.mark.parametrize("pace", [1, 30])
def test_a_backlog_after_an_outage_is_not_late(pumps: dict[bool, Fleet], pace: int) -> None:
    """Thirty hours that a device stored arrive at once, in order: each is scored on time, none is rejected.

    Silence moved the label clock meanwhile, but not the watermark.
    """
    network = 160 * QUARTER
    stored = [
        message(number, arrived=network + (number - 40) * pace * MICROSECONDS["s"])
        for number in range(40, 160)
    ]
    back = 160 + -(-120 * pace * MICROSECONDS["s"] // QUARTER)
    messages = [*map(message, range(40)), *stored, *map(message, range(back, back + 40))]
    out = out_of(pumps[True], messages)
    assert [row["time"] for row in out["predictions"]] == [sent["time"] for sent in messages]
    assert {row["revision"] for row in out["predictions"]} == {0}
    assert (out["late"], out["rejects"]) == ([], [])
    assert [row for row in out["changes"] if row["change"] == "clock"] == []
    silent = {row["why"] for row in out["evaluations"]}
    assert "silent" in silent
