"""The dataflow: from recorded events to predictions that learn from failures.

    python -m bytewax.run "dataflows.failure_prediction:flow('examples/trucks/fleet.toml')"

Without an argument, ``flow`` reads the file that the environment variable ``FLEET_CONFIG`` names, else
``fleet.toml``. Every item keeps its place in one order, (sequence, part).

========  ==================  ===========================================================================
step      key                 what it does
========  ==================  ===========================================================================
source    -                   reads records, registry rows first, and numbers them; live, ticks between them
decode    -                   makes events of them, or rejects, which pass the following steps as rows
lane      the one lane        arrival and silence; finds the class, site and weather of each asset
asset     asset               windows and labels; an observation for every target of the asset
fan_out   -                   the observations one by one
group     target              evaluates, learns, scores; writes rows, alerts among them
order     output              sorts what arrives together by (sequence, part)
outputs   output              a file each, or a topic
========  ==================  ===========================================================================
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from dataflows.connectors.ends import sink_of, source_of
from dataflows.engine.operators import as_state, in_order, keyed, stateful_in_parts
from dataflows.engine.workers import one_worker
from dataflows.fleet import Fleet, load
from dataflows.lane.lane import LANE_PARTS
from dataflows.pipeline import Stages, asset_of, decoded, fanned_out, lane_of, output_of, target_of
from dataflows.recovery.store import MARKS, guard_named_store, past_in
from dataflows.status import RunStatus, to_stderr_unless_configured
from dataflows.target.target import TARGET_PARTS

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.connectors.source import LaneSource

__all__ = ["flow"]


def flow(
    fleet: Fleet | str | Path | None = None,
    *,
    status: RunStatus | None = None,
    source: LaneSource | None = None,
    store: Path | None = None,
) -> Dataflow:
    """The dataflow of a fleet.

    The names of the steps are frozen: the recovery store finds state by them.

    Args:
        fleet: a fleet, or the path of its ``fleet.toml``; None for the one that ``FLEET_CONFIG`` names.
        status: to follow the run from outside, and to stop it.
        source: where records come from instead of the configured input.
        store: folder of the recovery store; None for the one that Bytewax's own command line names, if any.

    Raises:
        FleetError: the configuration cannot be used.
    """
    if not isinstance(fleet, Fleet):
        fleet = load(fleet or os.environ.get("FLEET_CONFIG", "fleet.toml"))
    to_stderr_unless_configured()
    status = status or RunStatus()
    store = store or guard_named_store(fleet)
    stages = Stages(fleet, strict=one_worker(), status=status, past=past_in(store, fleet))

    dataflow = Dataflow("highwater")
    records = op.input("source", dataflow, source or source_of(fleet, status, store))

    by_lane = keyed("decode", records, lane_of, decoded)
    known = stateful_in_parts("lane", by_lane, stages.lane, lane_of, LANE_PARTS, MARKS)

    by_asset = keyed("by_asset", known, asset_of)
    observed = op.stateful_map("asset", by_asset, as_state(stages.asset))

    by_group = keyed("fan_out", observed, target_of, fanned_out)
    rows = stateful_in_parts("group", by_group, stages.group, target_of, TARGET_PARTS)

    by_output = keyed("by_output", rows, output_of)
    ordered = in_order("order", by_output)
    op.output("outputs", ordered, sink_of(fleet, status, store))
    return dataflow
