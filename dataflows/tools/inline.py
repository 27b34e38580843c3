"""The stages without the engine: one process, one list of records, the same code and the same outputs.

Tests hold the dataflow to it, and offline tools use it where an engine would only be in the way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from dataflows.items import OUTPUTS, Item, Row, Tick
from dataflows.stages import LANE, Stages, asset_of, decoded, group_of, output_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dataflows.fleet.plan import Fleet
    from dataflows.group import Group
    from dataflows.group.passing import Gone, Passing
    from dataflows.guard import GuardedAsset

__all__ = ["run_inline", "run_lines"]


def run_lines(fleet: Fleet, lines: Iterable[bytes | Tick], source: str = "inline") -> dict[str, list[bytes]]:
    """Run records through the stages, one at a time.

    Args:
        fleet: the fleet.
        lines: JSON records, without line ends, and ticks where a live source put them.
        source: their name in the positions of rejects.

    Returns:
        Encoded rows by output, the summary's sections under ``summary``.
    """
    stages = Stages(fleet, strict=True)
    lane = stages.lane(LANE, None, {})
    assets: dict[str, GuardedAsset] = {}
    groups: dict[str, Group | Passing | Gone] = {}
    out: dict[str, list[bytes]] = {name: [] for name in (*OUTPUTS, "summary")}

    def write(items: Iterable[Item]) -> None:
        for item in items:
            if isinstance(item.body, Row):
                out[output_of(item)].append(item.body.data)

    for record in _numbered(lines, source):
        for known in lane.process(decoded([record])):
            for seen in _of_asset(stages, assets, known):
                key = group_of(seen)
                if key not in groups:
                    groups[key] = stages.group(key, None, {})
                write(groups[key].process([seen]))
    for stage in (lane, *groups.values()):
        write(stage.finish())
    return out


def _numbered(lines: Iterable[bytes | Tick], source: str) -> Iterator[Item]:
    """As a source would hand them on."""
    offset = sequence = number = 0
    for line in lines:
        if isinstance(line, Tick):
            yield Item(sequence, 1, None, 0, ("", 0, 0), line)
            continue
        start, offset, number = offset, offset + len(line) + 1, number + 1
        if line and not line.isspace():
            sequence += 1
            yield Item(sequence, 0, None, 0, (source, number, start), line)


def _of_asset(stages: Stages, assets: dict[str, GuardedAsset], item: Item) -> list[Item]:
    key = asset_of(item)
    asset = assets.get(key) or stages.asset(item, None)
    if asset is None:
        return [item]
    assets[key] = asset
    items = asset.process(item)
    if asset.finished:
        del assets[key]
    return items


def run_inline(fleet: Fleet, lines: Iterable[bytes]) -> dict[str, list[dict[str, Any]]]:
    """As `run_lines`, with the rows decoded."""
    return {output: [orjson.loads(row) for row in rows] for output, rows in run_lines(fleet, lines).items()}
