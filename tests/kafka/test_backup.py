"""A backup of a run on topics: put back, it knows its own rows, and publishes none twice."""

from __future__ import annotations

import io
import shutil
from typing import TYPE_CHECKING

import orjson
import pytest
from rich.console import Console

from dataflows.tools.backup import backup, restore
from tests.chaos.harness import arguments, dataflows, finish
from tests.kafka.topics import telemetry
from tests.tables import LEAK

if TYPE_CHECKING:
    from tests.kafka.topics import Cluster

pytestmark = pytest.mark.ci


def test_rows_since_the_backup_are_known_again(cluster: Cluster) -> None:
    """Published after what is put back was written, they are told by the name that the runs go by."""
    cluster.broker.need("topic ids", "abort")
    cluster.make(partitions=1)
    fleet = cluster.fleet(follow="false", writing="partitions = 1").path
    fleet.write_text(fleet.read_text() + LEAK.replace("12h", "1h"))
    events = [
        (0, telemetry(f"p{number % 3}", number, 60.0 * number), 60_000 * number + 1) for number in range(80)
    ]
    quiet = Console(file=io.StringIO(), width=300)
    cluster.send(*events[:40])
    finish(fleet)
    backup(fleet.parent / "store", fleet.parent / "copy", quiet, outputs=False)
    cluster.send(*events[40:])
    finish(fleet)
    shutil.rmtree(fleet.parent / "store")
    restore(fleet.parent / "copy", fleet.parent / "store", quiet)
    finish(fleet)
    rows = [orjson.loads(message.value()) for message in cluster.rows(f"{cluster.name}.predictions")]
    assert [row["sequence"] for row in rows] == list(range(1, 81))
    assert len({row["id"] for row in rows}) == 80
    assert "topics, which are no part of it" in quiet.file.getvalue()
    shutil.rmtree(fleet.parent / "store")
    restore(fleet.parent / "copy", fleet.parent / "store", quiet)
    (fleet.parent / "store" / "lineage").unlink()
    ran = dataflows(*arguments(fleet))
    assert ran.returncode == 1, "without that name they are a stranger's"
