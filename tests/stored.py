"""Runs of the stages on a recovery store in memory: those of the dataflow, by the engine's own rules.

Steps wake, open, finish and write as in `dataflows.engine.operators`, so that a run with nothing new costs a
millisecond here, and what it writes is what a process would find.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs

from dataflows.asset.asset import Made
from dataflows.engine.operators import _as_state, _Awake, _Collected, _Main, _Mark, _Part, _Shelf
from dataflows.items import Item, Row, by_order
from dataflows.lane.lane import LANE_PARTS
from dataflows.pipeline import Stages, asset_of, output_of
from dataflows.placement import ONLY_LANE
from dataflows.state.layouts import StateHistory, going_on
from dataflows.target.target import TARGET_PARTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dataflows.events import Event
    from dataflows.fleet.fleet import Fleet

__all__ = ["MemoryStore"]

#: In place of the number of a part: the main snapshot, and the marks.
_MAIN_SNAPSHOT, _MARKS = -2, -1


class _Step:
    """A step in parts, for all of its keys."""

    def __init__(
        self,
        name: str,
        build: Callable[..., Any],
        key_of: Callable[[Item], str | None],
        parts: int,
        stored: dict[tuple[str, int], bytes],
    ) -> None:
        self._stored = stored
        self._shelf = _Shelf()
        self._mains: dict[str, _Main] = {}
        self._woken: dict[tuple[str, int], _Part | _Mark] = {}
        self._build: Callable[[], _Main] = lambda: _Main(
            name, self._shelf, build, key_of, parts, used=range(parts), marks=True, apart=False
        )
        #: What is written at the end of the epoch.
        self._awake: set[tuple[str, int]] = set()
        for (key, part), sealed in stored.items():
            if part == _MAIN_SNAPSHOT:
                self._mains[key] = self._build()
                self._mains[key].resume(sealed)
            else:
                self._woken[key, part] = self._new(part, sealed)

    def _new(self, part: int, sealed: bytes | None) -> _Part | _Mark:
        return _Mark(self._shelf, sealed) if part == _MARKS else _Part(self._shelf, part, sealed)

    def process(self, key: str, items: list[Item]) -> list[Item]:
        """One activation."""
        main = self._mains.get(key) or self._mains.setdefault(key, self._build())
        return self._sorted(key, main.on_batch([items])[0])

    def finish(self) -> list[Item]:
        """The end of the input, which wakes every key."""
        return [item for key, main in self._mains.items() for item in self._sorted(key, main.on_eof()[0])]

    def _sorted(self, key: str, out: Iterable[Any]) -> list[Item]:
        self._awake.add((key, _MAIN_SNAPSHOT))
        items: list[Item] = []
        for each in out:
            if isinstance(each, list):
                items += each
                continue
            _, part = each
            woken = self._woken.get((key, part)) or self._woken.setdefault((key, part), self._new(part, None))
            woken.on_batch([each])
            self._awake.add((key, part))
        return items

    def write(self) -> None:
        """The end of the epoch."""
        for key, part in sorted(self._awake):
            step = self._mains[key] if part == _MAIN_SNAPSHOT else self._woken[key, part]
            self._stored[key, part] = step.snapshot()
        self._awake.clear()


@dataclass
class MemoryStore:
    """The state of a fleet between its runs."""

    past: StateHistory = field(default_factory=StateHistory)
    steps: dict[str, dict[tuple[str, int], bytes]] = field(default_factory=dict)
    assets: dict[str, bytes] = field(default_factory=dict)
    read: int = 0

    def run(self, fleet: Fleet, events: Iterable[Event]) -> list[Row]:
        """Read records to their end and write the state; every loss by a changed fleet is accepted."""
        with capture_logs():
            return self._run(fleet, events)

    def _run(self, fleet: Fleet, events: Iterable[Event]) -> list[Row]:
        self.past = going_on(self.past, fleet)[0]
        stages = Stages(fleet, strict=True, past=self.past)
        lane, target, metrics = (
            _Step(name, build, key_of, parts, self.steps.setdefault(name, {}))
            for name, build, key_of, parts in (
                ("lane", stages.lane, stages.lane_of, LANE_PARTS),
                ("group", stages.group, stages.group_of, TARGET_PARTS),
                ("lane_metrics", stages.lane_metrics, stages.lane_of, 0),
            )
        )
        collected = _Collected(Made)
        process = _as_state(_Awake(), stages.asset, asset_of, collected)
        assets: dict[str, Any] = dict(self.assets)
        rows: list[Row] = []

        def send(item: Item) -> None:
            key = stages.group_of(item)
            if key is not None:
                out = target.process(key, [item])
            else:
                # What leaves early is counted, and a row as well.
                out = [] if output_of(item) is None else [item]
                out += metrics.process(ONLY_LANE, [item])
            rows.extend(each.body for each in out if isinstance(each.body, Row))

        for event in events:
            self.read += 1
            for item in lane.process(ONLY_LANE, [Item(self.read, 0, None, 0, ("feed", self.read, 0), event)]):
                key = asset_of(item)
                if key is None:
                    send(item)
                    continue
                asset, _ = process(assets.pop(key, None), [item])
                if asset is not None:
                    assets[key] = asset
                for each in sorted(collected.take(), key=by_order):
                    send(each)
        for step in (lane, target, metrics):
            step.finish()
            step.write()
        self.assets = {key: deepcopy(asset) for key, asset in assets.items()}
        return rows
