"""The dataflow: from recorded events to predictions that learn from failures.

    python -m bytewax.run "dataflows.failure_prediction:flow('examples/trucks/fleet.toml')"

Without an argument, ``flow`` reads the file that the environment variable ``FLEET_CONFIG`` names, else
``fleet.toml``. A list of items for each key travels between two steps, and every item keeps its place in one
order, (sequence, part)::

    source - decode - lane --- asset --- fan_out - group --- order - outputs
                          |          |                    |
                          +----------+--- lane_metrics ---+
                          |          |                    |
                          +----------+--------------------+

============  ==============  ===========================================================================
step          key             what it does
============  ==============  ===========================================================================
source        -               reads records, registry rows first, and numbers them; live, ticks between them
decode        -               makes events of them, or rejects
lane          the one lane    arrival and silence; finds the class, site and weather of each asset
asset         asset           windows and labels; for each target a block of rows to score, and observations
                              (`stateful_map`; the assets it woke take their records in one call)
fan_out       -               blocks and observations by target
group         target (*)      evaluates, learns, scores; writes rows, alerts among them
lane_metrics  the one lane    counts rejects and late events; writes the lane's rows of the metrics
order         output          sorts what arrives together by (sequence, part)
outputs       output          a file each, or a topic
============  ==============  ===========================================================================

Where there are several workers, what is for the targets of one crosses in one list (`fan_out`).

(*) Targets of one mode whose horizons agree (``agree``) share the key class/mode.

Rows that lane and assets finish (rejects, late events, changes) leave early: they go straight to the outputs.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from dataflows import steps
from dataflows.asset.asset import Made
from dataflows.connectors.ends import sink_of, source_of
from dataflows.crossing import in_lines
from dataflows.deferred import defer_all
from dataflows.engine.operators import (
    Unlisted,
    in_order,
    keyed,
    keyed_by_worker,
    stateful_in_parts,
    stateful_sealed,
)
from dataflows.engine.runtime import Runtime, collecting_rarely, find_runtime, serve_until_exit
from dataflows.fleet import Fleet, load
from dataflows.lane.lane import LANE_PARTS, lane_parts
from dataflows.mapping.recording import with_recordings
from dataflows.pipeline import (
    Stages,
    asset_of,
    decoded,
    early,
    output_of,
)
from dataflows.recovery.store import MARKS
from dataflows.status import to_stderr_unless_configured
from dataflows.target.target import TARGET_PARTS
from dataflows.tools.intake import unusable

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.connectors.source import LaneSource

__all__ = ["build", "flow"]


def flow(fleet: str | Path | None = None) -> Dataflow:
    """Build the dataflow of a fleet for ``python -m bytewax.run``, on the store that this command names.

    Args:
        fleet: path of the ``fleet.toml``; None for the one that ``FLEET_CONFIG`` names.

    Raises:
        FleetError: the configuration cannot be used.
        MappingError: the rules of the input do not fit its files.
        StoreError: the store is in use, or it cannot be used.
        AddressError: nothing can listen at FLEET_METRICS.
    """
    is_command = getattr(sys.modules["__main__"].__spec__, "name", None) == "bytewax.run"
    if is_command:
        defer_all()
    loaded, _ = with_recordings(load(fleet or os.environ.get("FLEET_CONFIG", "fleet.toml")))
    to_stderr_unless_configured()
    runtime = find_runtime(loaded, sys.argv[1:], os.environ)
    asked = os.environ.get("FLEET_METRICS"), os.environ.get("FLEET_METRICS_ASSETS", "")
    serve_until_exit(loaded, runtime, *asked)
    if is_command:
        atexit.register(_exit_if_unusable, loaded, runtime)
        until_exit = ExitStack()
        until_exit.enter_context(collecting_rarely())
        atexit.register(until_exit.close)
    return build(loaded, runtime)


def _exit_if_unusable(fleet: Fleet, runtime: Runtime) -> None:
    """End this process with code 1 if no record of the input could be used, once everything is committed.

    The engine ends with 0 at the end of any input; a source that raised would lose the rows of the rejects.
    """
    why = None if runtime.status.stop else unusable(fleet, runtime.store, runtime.status)
    if why is not None:
        sys.stdout.flush()
        sys.stderr.write(f"Error: {why}\n")
        sys.stderr.flush()
        os._exit(1)


def build(fleet: Fleet, runtime: Runtime, source: LaneSource | None = None) -> Dataflow:
    """Build the dataflow of a fleet; nothing is locked, written or deleted before it runs.

    Args:
        fleet: the fleet.
        runtime: what it runs on.
        source: of the records, instead of the configured input.

    Raises:
        InputError: the configured input does not exist, or cannot be read in this way.
    """
    status, store, alone = runtime.status, runtime.store, runtime.workers == 1
    strict = alone and fleet.input.lanes == 1
    stages = Stages(
        fleet,
        strict=strict,
        status=status,
        past=runtime.past,
        moved=runtime.moved,
        workers=runtime.workers,
    )

    dataflow = Dataflow(steps.FLOW)
    records = op.input(steps.SOURCE, dataflow, source or source_of(fleet, status, store))

    by_lane = keyed("decode", records, stages.lane_of, decoded, stages.only_lane)
    used = None if runtime.stored is None else runtime.stored.union(lane_parts(fleet))
    known = stateful_in_parts(steps.LANE, by_lane, stages.lane, stages.lane_of, LANE_PARTS, MARKS, used=used)

    by_worker = keyed("by_worker", known, stages.worker_of, only=stages.only_worker)
    observed = stateful_sealed(steps.ASSET, steps.TOGETHER, by_worker, stages.asset, asset_of, Made)

    if alone:
        by_group = keyed(steps.FAN_OUT, observed, stages.group_of)
    else:
        by_group = keyed_by_worker(steps.FAN_OUT, observed, stages.worker_of_group, stages.group_of)
    scored = stateful_in_parts(
        steps.GROUP, by_group, stages.group, stages.group_of, TARGET_PARTS, apart=not alone
    )

    left_early = op.flat_map_batch("left_early", op.merge("made", known, observed), early)
    counted = keyed("counted", left_early, stages.lane_of)
    periods = stateful_in_parts(steps.LANE_METRICS, counted, stages.lane_metrics, stages.lane_of, 0)

    sink = sink_of(fleet, status, store, alone=alone)
    in_one_list = chain.from_iterable if alone or not sink.takes_lines else in_lines
    by_output = keyed("by_output", op.merge("rows", scored, left_early, periods), output_of, in_one_list)
    ordered = in_order(steps.ORDER, by_output)
    op.output(steps.OUTPUTS, ordered, Unlisted(sink))
    return dataflow
