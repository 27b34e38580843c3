"""Source and sink of a fleet, by kind: files, Kafka, or one that is added here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflows.connectors.committed import CommittedFiles
from dataflows.connectors.files import FileSink, FileSource
from dataflows.connectors.lines import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dataflows.connectors.committed import CommittedRows
    from dataflows.connectors.sink import Sink
    from dataflows.connectors.source import LaneSource
    from dataflows.fleet.fleet import Connector, Fleet
    from dataflows.status import RunStatus

__all__ = ["SINKS", "SOURCES", "committed_of", "sink_of", "source_of"]


def _kafka_source() -> type[LaneSource]:
    # Only fleets with Kafka need its client; likewise below.
    from dataflows.connectors.kafka.source import KafkaSource  # noqa: PLC0415

    return KafkaSource


def _kafka_sink() -> type[Sink]:
    from dataflows.connectors.kafka.sink import KafkaSink  # noqa: PLC0415

    return KafkaSink


#: Sources by kind. A new one is a file in this package and a line here.
SOURCES: dict[str, Callable[[], type[LaneSource]]] = {
    "files": lambda: FileSource,
    "kafka": _kafka_source,
}
#: Sinks by kind, likewise.
SINKS: dict[str, Callable[[], type[Sink]]] = {
    "files": lambda: FileSink,
    "kafka": _kafka_sink,
}


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
    kind = _kind_of("input", fleet.input.connector, kafka=fleet.input.kafka is not None, known=[*SOURCES])
    ticks = any(found.idle_timeout is not None for found in fleet.classes.values())
    journal = None if store is None else store / "journal"
    return SOURCES[kind]().of(fleet, status, ticks=ticks, journal=journal, replayed=replayed, speed=speed)


def sink_of(fleet: Fleet, status: RunStatus, store: Path | None = None, *, alone: bool = True) -> Sink:
    """Make the sink of a fleet's configured output.

    Args:
        fleet: the fleet.
        status: of the run; counts rejected rows.
        store: folder of the recovery store, None without one.
        alone: whether one worker writes every output.

    Raises:
        InputError: there is no such sink.
    """
    kind = _kind_of("output", fleet.output.connector, kafka=fleet.output.kafka is not None, known=[*SINKS])
    return SINKS[kind]().of(fleet, status, store, alone=alone)


def committed_of(fleet: Fleet, outputs: Sequence[str]) -> CommittedRows:
    """Make the reader of committed rows of a fleet's outputs, in files or topics.

    Raises:
        KafkaInputError: a secret is missing.
    """
    kafka = fleet.output.kafka
    if kafka is None:
        return CommittedFiles(fleet.output.folder, outputs)
    from dataflows.connectors.kafka.committed import CommittedTopics  # noqa: PLC0415 - as above

    return CommittedTopics(fleet.kafka, kafka.prefix, outputs)


def _kind_of(table: str, connector: Connector | None, *, kafka: bool, known: list[str]) -> str:
    if connector is None:
        return "kafka" if kafka else "files"
    if connector.kind not in known:
        msg = (
            f"[{table}.connector]: there is no kind {connector.kind!r}; expected one of {', '.join(known)}. "
            "A new one is a file in dataflows/connectors and a line in ends.py"
        )
        raise InputError(msg)
    return connector.kind
