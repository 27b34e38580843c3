"""Topics of its own for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kafka.topics import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.broker import Broker


@pytest.fixture
def cluster(broker: Broker, tmp_path: Path) -> Iterator[Cluster]:
    found = Cluster(broker, tmp_path)
    yield found
    found.kill()


@pytest.fixture
def topic_ids(broker: Broker) -> None:
    """For what is known by the id of a topic."""
    broker.need("topic ids")
