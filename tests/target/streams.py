"""Small recordings of pumps, and what the stages before the group make of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from hypothesis import strategies as st

from dataflows.instants import format_instant
from dataflows.items import Item, Observation, observations_of
from dataflows.pipeline import Inline

if TYPE_CHECKING:
    from dataflows.fleet.fleet import Fleet

__all__ = ["observed", "recordings"]

MINUTE = 60_000_000

#: Minutes since the last record, asset, kind, reading, minutes back.
_steps = st.tuples(
    st.integers(0, 150),
    st.sampled_from("aaab"),
    st.sampled_from(["telemetry"] * 8 + ["late", "failure", "failure", "maintenance"]),
    st.floats(-3, 3).map(lambda value: round(value, 2)) | st.none(),
    st.integers(0, 500),
)


def _lines(steps: list[tuple[int, str, str, float | None, int]]) -> list[bytes]:
    now = 0
    lines = []
    for gap, asset, kind, value, back in steps:
        now += gap * MINUTE
        row: dict[str, Any] = {"kind": kind, "asset": asset, "time": format_instant(now)}
        if kind == "late":
            row |= {"kind": "telemetry", "time": format_instant(now - min(back, 100) * MINUTE)}
        if row["kind"] == "telemetry":
            row["readings"] = {"x": value, "y": back / 100}
        else:
            row["time"] = format_instant(now - back * MINUTE)
            row |= {"mode": "leak"} if kind == "failure" else {"component": "seal"}
        lines.append(orjson.dumps(row))
    return lines


def recordings(size: int) -> st.SearchStrategy[list[bytes]]:
    """Up to so many records of two assets: telemetry and records of failures and maintenance, some late."""
    return st.lists(_steps, min_size=size // 2, max_size=size).map(_lines)


def observed(fleet: Fleet, lines: list[bytes]) -> list[Item]:
    """What reaches the group of the fleet's one target."""
    stages = Inline(fleet)
    items: list[Item] = []
    for number, line in enumerate(lines, start=1):
        for known in stages.lane([Item(number, 0, None, 0, ("pumps", number, 0), line)]):
            items += [each for item in stages.asset(known) for each in observations_of(item)]
    return [item for item in items if isinstance(item.body, Observation)]
