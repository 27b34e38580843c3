"""Values of topics in the user's own form become events as they come, through kills."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from dataflows.connectors.kafka.source import KafkaSource
from dataflows.events import Failure, Reject, Telemetry
from dataflows.fleet import load
from dataflows.status import RunStatus
from tests.kafka.topics import Cluster, drained, taken

if TYPE_CHECKING:
    from dataflows.connectors.source import LanePartition

MAP = """
[[input.map]]
where = { "head.type" = "reading" }
make = [
  { kind = "telemetry", PLACE, readings = { pressure = "body.p" } },
  { kind = "failure", PLACE, mode = { field = "body.code", names = { "17" = "leak" } } },
]
""".replace("PLACE", 'asset = "head.id", time = { field = "head.ts", unit = "ms" }')


def _value(number: int, *, code: int | None = None, **head: object) -> bytes:
    place = {"type": "reading", "id": 100 + number % 2, "ts": 1_000 * number, **head}
    return orjson.dumps({"head": place, "body": {"p": float(number), "code": code}})


def _reading(
    cluster: Cluster, resume: bytes | None = None, *, follow: str = "true", status: RunStatus | None = None
) -> LanePartition:
    cluster.kill()
    path = cluster.fleet(follow=follow).path
    path.write_text(path.read_text() + MAP)
    source = KafkaSource(load(path, environ={}), status or RunStatus(), journal=cluster.folder / "journal")
    part = source.build_part("source", "lane-0", resume)
    cluster._parts.append(part)
    return part


def _shown(items: list[Any]) -> list[tuple[int, int, str, Any]]:
    return [
        (item.sequence, item.position[1], type(item.body).__name__, getattr(item.body, "asset", None))
        for item in items
    ]


def test_values_become_events_with_the_timestamps_of_their_messages(cluster: Cluster) -> None:
    """Nested fields, ids that are numbers, failures as codes; messages of another type are no events."""
    cluster.make(partitions=1)
    values = [_value(1), _value(2, code=17), _value(3, type="hello"), b"[]", _value(4, code=9)]
    values.append(_value(5, id=None))
    cluster.send(*((0, value, 5_000 + number) for number, value in enumerate(values)))
    items = drained(_reading(cluster, follow="false"))
    assert _shown(items) == [
        (1, 0, "Telemetry", "101"),
        (2, 1, "Telemetry", "100"),
        (3, 1, "Failure", "100"),
        (4, 3, "Reject", None),
        (5, 4, "Telemetry", "100"),
        (6, 5, "Reject", None),
    ]
    bodies: list[Any] = [item.body for item in items]
    assert [(body.time, body.arrived) for body in bodies[:3]] == [
        (1_000_000, 5_000_000),
        (2_000_000, 5_001_000),
        (2_000_000, 5_001_000),
    ]
    assert isinstance(bodies[0], Telemetry)
    assert bodies[0].readings == {"pressure": 1.0}
    assert isinstance(bodies[2], Failure)
    assert bodies[2].mode == "leak"
    assert isinstance(bodies[5], Reject)
    assert bodies[5].detail == "telemetry: asset is missing"
    assert items[5].position[0] == f"{cluster.events}/0"


def test_a_resume_repeats_the_events_of_its_rows(cluster: Cluster) -> None:
    """Rows become events before the journal, so a killed run makes the same again, whatever came since."""
    cluster.make(partitions=2)
    values = [(n % 2, _value(n, code=None if n % 3 else 17), 1_000 + n) for n in range(40)]
    values += [(0, _value(n, type="hello"), 1_040 + n) for n in range(40)]
    cluster.send(*values)
    part = _reading(cluster)
    first = taken(part, 20)
    resume = part.snapshot()
    second = taken(part, 54 - len(first))
    cluster.send((1, _value(99), 900))
    part = _reading(cluster, resume)
    again = taken(part, len(second) + 1)
    assert _shown(again)[: len(second)] == _shown(second)
    assert _shown(again)[len(second) :] == [(55, 20, "Telemetry", "101")]


@pytest.mark.parametrize("follow", ["true", "false"])
def test_a_topic_of_other_values_alone_is_read_to_its_end(cluster: Cluster, follow: str) -> None:
    """Messages that no rule takes are read, so no tool sees a lag of them."""
    cluster.make(partitions=1)
    cluster.send(*((0, _value(n, type="hello"), 1_000) for n in range(3_000)), (0, _value(1), 2_000))
    status = RunStatus()
    part = _reading(cluster, follow=follow, status=status)
    assert _shown(taken(part, 1)) == [(1, 3_000, "Telemetry", "101")]
    assert status.read("unmatched") == 3_000
