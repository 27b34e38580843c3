"""Runs of a recording that is cut into blocks, with kills, compared with one record after the other."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs

from dataflows.items import Item, Row, by_order
from dataflows.pipeline import Stages, asset_of, decoded, early, output_of, run_lines
from dataflows.placement import ONLY_LANE
from tests.target.fleets import PartStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dataflows.fleet.fleet import Fleet

__all__ = ["check"]


class Run:
    """The stages of a fleet as the engine runs them: a block at a time, the keys of a step by name."""

    def __init__(self, of: Fleet) -> None:
        self.fleet = of
        self.out: dict[str, list[bytes]] = {}
        self.lane_store = PartStore()
        self.target_stores = {target.group: PartStore() for target in of.targets.values()}
        self.asset_store: dict[str, bytes] = {}
        self.metrics_store: bytes | None = None
        self.open()

    def open(self) -> None:
        """Begin, or go on as a process does that finds what `kill` left."""
        self.stages = Stages(self.fleet, strict=True)
        self.lane = self.stages.lane(ONLY_LANE, self.lane_store.main, self.lane_store.parts)
        self.metrics = self.stages.lane_metrics(ONLY_LANE, self.metrics_store, {})
        self.targets = {
            name: self.stages.group(name, store.main, store.parts)
            for name, store in self.target_stores.items()
        }
        self.assets: dict[str, Any] = {}

    def process(self, block: list[Item]) -> None:
        known = self.lane.process(decoded(block))
        made = [each for name, items in grouped(known, asset_of) for each in self._asset(name, items)]
        left = [each for items in early([known, made]) for each in items]
        by_group = grouped(made, self.stages.group_of)
        rows = [row for name, items in by_group for row in self.targets[name].process(items)]
        rows += left + self.metrics.process([*left])
        self._write(rows)

    def _asset(self, name: str, items: list[Item]) -> list[Item]:
        asset = self.assets.get(name) or self.stages.asset(items[0], self.asset_store.get(name))
        self.assets[name] = asset
        made = asset.process(items)
        if asset.finished:
            del self.assets[name]
            self.asset_store.pop(name, None)
        return made

    def _write(self, rows: Iterable[Item]) -> None:
        for item in sorted(rows, key=by_order):
            if output_of(item) is not None and isinstance(item.body, Row):
                self.out.setdefault(item.body.output, []).append(item.body.data)

    def kill(self) -> None:
        """Write all state, and go on in a new process."""
        stores = [(self.targets[name], store) for name, store in self.target_stores.items()]
        for stage, store in [(self.lane, self.lane_store), *stores]:
            store.after_batch(stage)
            store.end_epoch(stage)
        self.metrics_store = self.metrics.main_snapshot()
        self.asset_store |= {name: asset.to_bytes() for name, asset in self.assets.items()}
        self.open()

    def finish(self) -> dict[str, list[bytes]]:
        for stage in (self.lane, *self.targets.values(), self.metrics):
            self._write(stage.finish())
        return self.out


def grouped(items: Iterable[Item], key_of: Callable[[Item], str | None]) -> list[tuple[str, list[Item]]]:
    groups: dict[str, list[Item]] = {}
    for item in items:
        key = key_of(item)
        if key is not None:
            groups.setdefault(key, []).append(item)
    return sorted(groups.items())


def in_blocks(of: Fleet, recording: list[bytes], sizes: list[int], kills: set[int]) -> dict[str, list[bytes]]:
    """Outputs of a recording that is cut into blocks, with a kill after some of them."""
    run, offset, items = Run(of), 0, []
    for number, line in enumerate(recording, start=1):
        items.append(Item(number, 0, None, 0, ("inline", number, offset), line))
        offset += len(line) + 1
    at = turn = 0
    while at < len(items):
        size = sizes[turn % len(sizes)]
        run.process(items[at : at + size])
        at, turn = at + size, turn + 1
        if turn in kills:
            run.kill()
    return run.finish()


def check(of: Fleet, recording: list[bytes], sizes: list[int], kills: set[int]) -> Counter[str]:
    """Compare blocks with the stages run record by record; return how many rows each output has."""
    with capture_logs():
        whole = {name: rows for name, rows in run_lines(of, recording).items() if rows}
        assert run_lines(of, recording, batch=max(sizes)).items() >= whole.items()
        cut = in_blocks(of, recording, sizes, kills)
    whole.pop("summary")
    cut.pop("summary")
    for name in whole.keys() | cut.keys():
        assert cut.get(name, []) == whole.get(name, []), name
    return Counter({name: len(rows) for name, rows in whole.items()})
