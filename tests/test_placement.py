"""Where the engine does the work: the facts about it on which the placement of lanes and targets rests."""

from __future__ import annotations

import threading

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.testing import TestingSink, cluster_main
from typing_extensions import override

from dataflows.placement import lane_names, placed, worker_of

KEYS = ["", "truck-001", "pump/leak/24h", "Förderpumpe", "lane-0", "a" * 70]


class Part(StatefulSourcePartition[tuple[str, str], None]):
    """Emits its own name as a value of every key, once."""

    def __init__(self, name: str, keys: list[str], seen: dict[str, int]) -> None:
        self._name, self._left, self._seen = name, keys, seen

    @override
    def next_batch(self) -> list[tuple[str, str]]:
        if not self._left:
            raise StopIteration
        self._seen[self._name] = threading.get_ident()
        left, self._left = self._left, []
        return [(key, self._name) for key in left]

    @override
    def snapshot(self) -> None:
        return None


class Source(FixedPartitionedSource[tuple[str, str], None]):
    """A part for each lane."""

    def __init__(self, lanes: int, keys: list[str], seen: dict[str, int]) -> None:
        self._lanes, self._keys, self._seen = lanes, keys, seen

    @override
    def list_parts(self) -> list[str]:
        return lane_names(self._lanes)

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Part:
        return Part(for_part, self._keys, self._seen)


def threads(lanes: int, workers: int, keys: list[str]) -> tuple[dict[str, int], dict[str, int]]:
    """The thread that read each part, and the one that worked on each key."""
    parts: dict[str, int] = {}
    works: dict[str, int] = {}

    def work(_: None, key: str) -> tuple[None, str]:
        works[key] = threading.get_ident()
        return None, key

    dataflow = Dataflow("placement")
    read = op.input("source", dataflow, Source(lanes, keys, parts))
    keyed = op.map("keyed", read, lambda each: (each[0], each[0]))
    op.output("out", op.stateful_map("work", keyed, work), TestingSink([]))
    cluster_main(dataflow, [], 0, worker_count_per_proc=workers)
    return parts, works


@pytest.mark.parametrize(("lanes", "workers"), [(2, 2), (3, 3), (12, 5)])
def test_keys_and_parts_lie_on_the_workers_that_are_expected(lanes: int, workers: int) -> None:
    """Part i of the source on worker i modulo workers, a key on that of its hash; a placed key as wanted."""
    wanted = {placed(name, number, workers): number for number, name in enumerate(lane_names(lanes))}
    parts, works = threads(lanes, workers, [*KEYS, *wanted])
    of_parts = [parts[name] for name in lane_names(lanes)]
    worker = {thread: number for number, thread in enumerate(of_parts[:workers])}
    assert len(worker) == workers
    assert [worker[thread] for thread in of_parts] == [number % workers for number in range(lanes)]
    assert {key: worker[works[key]] for key in KEYS} == {key: worker_of(key, workers) for key in KEYS}
    assert {key: worker[works[key]] for key in wanted} == {
        key: number % workers for key, number in wanted.items()
    }
