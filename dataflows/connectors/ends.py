"""Source and sink of a fleet: files, or Kafka."""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

from dataflows.connectors.files import FileSink, FileSource

if TYPE_CHECKING:
    from pathlib import Path

    from bytewax.outputs import FixedPartitionedSink

    from dataflows.connectors.source import LaneSource
    from dataflows.fleet.fleet import Fleet
    from dataflows.items import Item
    from dataflows.status import RunStatus

__all__ = ["delete_lineage", "sink_of", "source_of"]


def source_of(
    fleet: Fleet,
    status: RunStatus,
    store: Path | None = None,
    *,
    replayed: Path | None = None,
    speed: float | None = None,
) -> LaneSource:
    """Make the source of a fleet's configured input.

    Args:
        fleet: the fleet.
        status: of the run; counts what is read, and requests the stop.
        store: folder of the recovery store, for the order journal; None without one.
        replayed: folder of an order journal to repeat; the input ends with it.
        speed: multiple of real time for playing records; None for as fast as possible.

    Raises:
        InputError: the configured input does not exist, or cannot be read in this way.
    """
    ticks = any(found.idle_timeout is not None for found in fleet.classes.values())
    journal = None if store is None else store / "journal"
    if fleet.input.kafka is None:
        registry = fleet.assets.registry
        return FileSource(
            fleet.input,
            status,
            registry=registry,
            ticks=ticks,
            journal=journal,
            # Rows in a topic cannot be taken back, so the order that made them has to be repeated.
            always_journal=fleet.output.kafka is not None,
            replayed=replayed,
            speed=speed,
        )
    # Only fleets with Kafka need its client.
    from dataflows.connectors.kafka.source import KafkaSource  # noqa: PLC0415

    return KafkaSource(fleet, status, ticks=ticks, journal=journal, replayed=replayed, speed=speed)


def sink_of(
    fleet: Fleet, status: RunStatus, store: Path | None = None, *, alone: bool = True
) -> FixedPartitionedSink[Item, Any]:
    """Make the sink of a fleet's configured output.

    Args:
        fleet: the fleet.
        status: of the run; counts rejected rows.
        store: folder of the recovery store, None without one.
        alone: whether one worker writes every output.
    """
    if fleet.output.kafka is None:
        return FileSink(fleet.output.folder, status, fleet.output.rotate)
    from dataflows.connectors.kafka.sink import KafkaSink  # noqa: PLC0415 - as above

    return KafkaSink(fleet, status, partial(_lineage, store), alone=alone)


def delete_lineage(store: Path) -> None:
    """Delete the lineage, so that later rows of a store are unrelated to its earlier rows."""
    (store / "lineage").unlink(missing_ok=True)


def _lineage(store: Path | None) -> str:
    """Name of all runs on one store, which identifies their own rows in a topic."""
    made = uuid.uuid4().hex
    if store is None:
        return made
    path, own = store / "lineage", store / f"lineage.{made}"
    own.write_text(made, encoding="ascii")
    try:
        # Atomic, and only once: several processes may run on one store.
        path.hardlink_to(own)
    except FileExistsError:
        return path.read_text(encoding="ascii")
    finally:
        own.unlink()
    return made
