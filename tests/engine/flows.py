"""Small stages and a small flow with the order of the real one, for the tests of the engine's steps."""

from __future__ import annotations

import copy
import os
import random
import sqlite3
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import bytewax.operators as op
import msgspec
from bytewax.dataflow import Dataflow, Stream
from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import TestingSink

from dataflows.engine.operators import (
    in_order,
    keyed,
    keyed_by_worker,
    stateful_in_parts,
    stateful_sealed,
)
from dataflows.items import Item, asset_part, by_order, target_part
from dataflows.placement import placed, worker_of

if TYPE_CHECKING:
    from collections.abc import Collection

ASSETS = 300
GROUPS = 3


def item(sequence: int, key: str, body: bytes = b"") -> Item:
    return Item(sequence, 0, None, 0, (key, sequence, 0), body)


def key_of(item: Item) -> str:
    return item.position[0]


class AssetRecords(FixedPartitionedSource[Item, int]):
    """A list, with places before which the run crashes once, or ends for once.

    The engine's own testing source miscounts what it resumes from once it has passed a crash.
    """

    def __init__(self, items: list[Item], batch: int, crashes: set[int], ends: set[int]) -> None:
        self.items, self.batch, self.crashes, self.ends = items, batch, crashes, ends

    def list_parts(self) -> list[str]:
        return ["all"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> RecordsPart:  # noqa: ARG002
        return RecordsPart(self, resume_state or 0)


class RecordsPart(StatefulSourcePartition[Item, int]):
    def __init__(self, source: AssetRecords, at: int) -> None:
        self.source, self.at = source, at

    def next_batch(self) -> list[Item]:
        source = self.source
        if self.at in source.crashes:
            source.crashes.discard(self.at)
            raise AbortExecution
        if self.at in source.ends or self.at >= len(source.items):
            source.ends.discard(self.at)
            raise StopIteration
        places = [place for place in source.crashes | source.ends if place > self.at]
        until = min([self.at + source.batch, len(source.items), *places])
        # The stages change the items they are given; a run must not see what another did to them.
        batch, self.at = copy.deepcopy(source.items[self.at : until]), until
        return batch

    def snapshot(self) -> int:
        return self.at


class Tally:
    """A stage in parts that counts: the record's body is the number of the part."""

    def __init__(self, key: str, main: bytes | None, parts: dict[int, bytes], size: int = 0) -> None:
        self.key = key
        self.size = size
        self.total = 0 if main is None else int(main)
        self.parts = Counter({part: int(data.split()[0]) for part, data in parts.items()})
        self.news: set[int] = set()

    def process(self, items: list[Item]) -> list[Item]:
        for each in items:
            assert isinstance(each.body, bytes)
            part = int(each.body)
            self.total += 1
            self.parts[part] += 1
            self.news.add(part)
        return []

    def changed(self) -> list[int]:
        news, self.news = sorted(self.news), set()
        return news

    def main_snapshot(self) -> bytes:
        return b"%d" % self.total

    def part_snapshot(self, part: int) -> bytes:
        return b"%d %s" % (self.parts[part], b"x" * self.size)

    def finish(self) -> list[Item]:
        counts = sorted((part, count) for part, count in self.parts.items() if count)
        return [item(0, self.key, msgspec.json.encode((self.total, counts)))]


class Watchful:
    """A stage in parts that takes nothing out of order, and makes of each item what `groups` asks for."""

    def __init__(self, key: str, main: bytes | None, parts: dict[int, bytes]) -> None:
        self.key = key
        self.last = (0, 0) if main is None else tuple(msgspec.json.decode(main))
        assert set(parts) <= {0}
        self.news = False

    def process(self, items: list[Item]) -> list[Item]:
        items.sort(key=by_order)
        for each in items:
            if by_order(each) <= self.last:
                msg = f"{self.key}: {by_order(each)} after {self.last}"
                raise AssertionError(msg)
            self.last = by_order(each)
        self.news = True
        return [msgspec.structs.replace(each, part=target_part(each.part, 0)) for each in items]

    def changed(self) -> list[int]:
        news, self.news = [0] if self.news else [], False
        return news

    def main_snapshot(self) -> bytes:
        return msgspec.json.encode(self.last)

    def part_snapshot(self, part: int) -> bytes:  # noqa: ARG002
        return b""

    def finish(self) -> list[Item]:
        return []


class Periods(Watchful):
    """As `Watchful`, but makes an item of its own behind every third that it is given."""

    def process(self, items: list[Item]) -> list[Item]:
        passed = super().process(items)
        return [
            msgspec.structs.replace(each, part=target_part(each.part, 1))
            for each in passed
            if each.sequence % 3 == 0
        ]

    def changed(self) -> list[int]:
        return []


class Listed(list[Item]):
    """Outputs in a list."""

    def settle(self) -> None:
        pass

    def items(self) -> list[Item]:
        return self


class Fan:
    """An asset that takes nothing out of order, and makes several items of one."""

    finished = dormant = False

    def __init__(self, sealed: bytes | None, width: int) -> None:
        self.last = int(sealed or 0)
        self.width = width

    def process_into(self, items: list[Item], made: Listed) -> None:
        for each in items:
            if each.sequence <= self.last:
                msg = f"{each.position}: after {self.last}"
                raise AssertionError(msg)
            self.last = each.sequence
        made += [
            msgspec.structs.replace(
                each,
                part=asset_part(each.part, index),
                position=(f"group-{index % GROUPS}", each.sequence, 0),
            )
            for each in items
            for index in range(self.width)
        ]

    def to_bytes(self) -> bytes:
        return b"%d" % self.last


def records(count: int, seed: int = 3) -> list[Item]:
    chance = random.Random(seed)
    return [item(number, f"asset-{chance.randrange(ASSETS)}") for number in range(1, count + 1)]


def leaves_at_lane(each: Item) -> bool:
    return each.sequence % 7 == 0


def leaves_at_asset(each: Item) -> bool:
    return each.sequence % 5 == 0


def path(
    dataflow: Dataflow, source: AssetRecords, width: int, *, early: bool = False, workers: int = 1
) -> tuple[op.KeyedStream[list[Item]], Stream[list[Item]]]:
    """lane, asset, fan-out: as in the real dataflow; and the items that leave early, if any do."""
    keys = [placed("worker", number, workers) for number in range(workers)]
    stream = op.input("source", dataflow, source)
    by_lane = keyed("by_lane", stream, lambda _: "lane", list)
    known = stateful_in_parts("lane", by_lane, Watchful, lambda _: "lane", 1)
    by_worker = keyed(
        "by_worker",
        known,
        lambda each: None if early and leaves_at_lane(each) else keys[worker_of(key_of(each), workers)],
    )
    observed = stateful_sealed(
        "asset", "together", by_worker, lambda _, sealed: Fan(sealed, width), key_of, Listed
    )
    if workers == 1:
        by_group = keyed(
            "fan_out", observed, lambda each: None if early and leaves_at_asset(each) else key_of(each)
        )
    else:
        of_group = {f"group-{index}": keys[worker_of(f"group-{index}", workers)] for index in range(GROUPS)}
        by_group = keyed_by_worker("fan_out", observed, lambda each: of_group[key_of(each)], key_of)
    of_lane = op.map(
        "of_lane", known, lambda batch: [each for each in batch if early and leaves_at_lane(each)]
    )
    of_assets = op.map(
        "of_assets", observed, lambda batch: [each for each in batch if early and leaves_at_asset(each)]
    )
    return by_group, op.filter("left_early", op.merge("both", of_lane, of_assets), bool)


def ordered(source: AssetRecords, out: list[Item], *, width: int, early: bool = False) -> Dataflow:
    """The whole path, through groups that check the order, to one output."""
    dataflow = Dataflow("flow")
    by_group, left_early = path(dataflow, source, width, early=early)
    scored = stateful_in_parts("group", by_group, Watchful, key_of, 1)
    counted = keyed("counted", left_early, lambda _: "lane")
    periods = stateful_in_parts("periods", counted, Periods, lambda _: "lane", 0)
    by_output = keyed("by_output", op.merge("rows", scored, left_early, periods), lambda _: "rows")
    op.output("out", one_by_one(op.key_rm("bare", in_order("order", by_output))), TestingSink(out))
    return dataflow


def one_by_one(lists: Stream[list[Item]]) -> Stream[Item]:
    return op.flatten("one_by_one", lists)


def tally(
    source: AssetRecords,
    out: list[Item],
    *,
    parts: int = 8,
    size: int = 0,
    used: Collection[int] | None = None,
) -> Dataflow:
    """One step in parts that counts."""
    dataflow = Dataflow("flow")
    by_key = keyed("key", op.input("source", dataflow, source), key_of, list)

    def build(key: str, main: bytes | None, kept: dict[int, bytes]) -> Tally:
        return Tally(key, main, kept, size)

    worked = stateful_in_parts("step", by_key, build, key_of, parts, used=used)
    op.output("out", one_by_one(worked), TestingSink(out))
    return dataflow


def snapshots(store: Path, step: str) -> list[tuple[int, bytes | None]]:
    """Epoch and contents of each snapshot of a step, oldest first."""
    found = []
    for file in store.glob("part-*.sqlite3"):
        connection = sqlite3.connect(file)
        query = "SELECT snap_epoch, ser_change FROM snaps WHERE step_id LIKE ?"
        found += connection.execute(query, (f"flow.{step}%",)).fetchall()
        connection.close()
    return sorted(found, key=lambda row: row[0])


class Count(DynamicSink[list[Item]]):
    """Writes at the end how many items a worker received."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def build(self, step_id: str, worker_index: int, worker_count: int) -> CountPart:  # noqa: ARG002
        return CountPart(self.folder / f"worker-{worker_index}-of-{worker_count}")


class CountPart(StatelessSinkPartition[list[Item]]):
    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0

    def write_batch(self, items: list[list[Item]]) -> None:
        self.count += sum(map(len, items))

    def close(self) -> None:
        self.path.write_text(str(self.count))


def main() -> None:
    """For several processes: process number, addresses, folder for the counts, number of records."""
    number, addresses, folder, count = sys.argv[1:]
    from bytewax.testing import cluster_main  # noqa: PLC0415 - not for the tests in one process

    dataflow = Dataflow("flow")
    by_group, _ = path(dataflow, AssetRecords(records(int(count)), 100, set(), set()), 2, workers=2)
    op.output("out", op.key_rm("bare", by_group), Count(Path(folder)))
    cluster_main(dataflow, addresses.split(";"), int(number))
    os._exit(0)


if __name__ == "__main__":
    main()
