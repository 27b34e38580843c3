"""Names of the steps of the dataflow, by which the recovery store finds state. They never change.

The engine's id of a step is the dataflow's name, the step's own, and the names of the steps inside it.

>>> main_of(LANE), part_of("highwater.group.part_07")
('highwater.lane.main', ('group', 7))
"""

from __future__ import annotations

import re
from functools import cache

__all__ = [
    "ASSET",
    "FAN_OUT",
    "FLOW",
    "GROUP",
    "LANE",
    "LANE_METRICS",
    "ORDER",
    "OUTPUTS",
    "SOURCE",
    "TOGETHER",
    "is_of",
    "main_of",
    "marks_of",
    "part_of",
    "parts_of",
    "step_of",
]

FLOW = "highwater"
SOURCE, LANE, ASSET, GROUP = "source", "lane", "asset", "group"
LANE_METRICS, ORDER, OUTPUTS = "lane_metrics", "order", "outputs"
#: In which the assets of a worker that `ASSET` has woken take their records in one call; it keeps no state.
TOGETHER = f"{ASSET}_together"
#: In which several workers get what is for their targets; it keeps no state.
FAN_OUT = "fan_out"
_PART = re.compile(rf"{FLOW}\.(\w+)\.part_(\d+)")


@cache
def step_of(step_id: str) -> str | None:
    """Name of the step that an id belongs to; None for an id of another dataflow."""
    flow, _, rest = step_id.partition(".")
    return rest.partition(".")[0] if flow == FLOW and rest else None


def is_of(step_id: str, *steps: str) -> bool:
    """Whether an id belongs to one of some steps."""
    return step_of(step_id) in steps


def main_of(step: str) -> str:
    """Id of the main step of a stage in parts."""
    return f"{FLOW}.{step}.main"


def marks_of(step: str) -> str:
    """Beginning of the ids of the marks of a stage in parts."""
    return f"{FLOW}.{step}.mark_"


def parts_of(step: str) -> str:
    """Beginning of the ids of the parts of a stage in parts."""
    return f"{FLOW}.{step}.part_"


def part_of(step_id: str) -> tuple[str, int] | None:
    """Step and number of a part of a stage in parts; None for another id."""
    found = _PART.fullmatch(step_id)
    return None if found is None else (found[1], int(found[2]))
