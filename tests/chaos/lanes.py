"""A recording divided among two lanes, and what the stages alone make of each lane's part of it."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import orjson

from dataflows.connectors.files import FileSource
from dataflows.fleet import load
from dataflows.items import Row
from dataflows.outputs import OUTPUTS
from dataflows.pipeline import Inline
from dataflows.status import RunStatus
from dataflows.tools.audit import records_of
from tests.chaos.harness import rows, settled, unplaced
from tests.chaos.surroundings import SILENT_AND_SEEN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LANES = 2
#: Trucks of the registry file, which every lane reads; the sixth never sends.
REGISTRY = b"".join(
    orjson.dumps(
        {"kind": "asset", "asset": f"truck-{number:03}", "class": "truck", "attributes": {"age": number}}
    )
    + b"\n"
    for number in (1, 2, 3, 4, 5, 999)
)
FLEET = SILENT_AND_SEEN.replace(
    'files = ["events.jsonl"]',
    'files = ["first.jsonl", "second.jsonl"]\nshared = ["weather.jsonl"]\nlanes = 2',
    1,
).replace("[assets]", '[assets]\nregistry = ["registry.jsonl"]', 1)


def lane_of(asset: str) -> int:
    """The lane of an asset: any rule will do."""
    return zlib.crc32(asset.encode()) % LANES


def divided(lines: Sequence[bytes]) -> dict[str, list[bytes]]:
    """Lines by file: those of an asset in one, weather in a third; what has no asset goes to either."""
    files: dict[str, list[bytes]] = {"first.jsonl": [], "second.jsonl": [], "weather.jsonl": []}
    for number, line in enumerate(lines):
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            event = {}
        if event.get("kind") == "weather":
            files["weather.jsonl"].append(line)
        else:
            lane = lane_of(event["asset"]) if "asset" in event else number % LANES
            files[[*files][lane]].append(line)
    return files


def prepare(folder: Path, lines: Sequence[bytes]) -> Path:
    """Write files, registry and fleet.toml into a folder; return the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, own in divided(lines).items():
        (folder / name).write_bytes(b"".join(line + b"\n" for line in own))
    (folder / "registry.jsonl").write_bytes(REGISTRY)
    path = folder / "fleet.toml"
    path.write_text(FLEET, encoding="utf-8")
    return path


def of_stages(fleet: Path, lane: int) -> dict[str, list[dict[str, Any]]]:
    """What the stages make of one lane's files alone, as a fleet of one lane; sequences as in that lane."""
    own = ["first.jsonl", "second.jsonl"][lane]
    alone = load(fleet, {"input": {"files": [own], "lanes": 1}}, environ={})
    stages = Inline(alone)
    items = [
        item
        for batch in records_of(
            FileSource.of(alone, RunStatus(), ticks=False, journal=None, replayed=None, speed=None)
        )
        for item in stages.run(batch)
    ]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in OUTPUTS}
    for item in items:
        assert isinstance(item.body, Row)
        row = orjson.loads(item.body.data)
        if "sequence" in row:
            row["sequence"] = row["sequence"] * LANES + lane
        found[item.body.output].append(row)
    if lane:
        # The first lane reports what is wrong with shared files.
        found["rejects"] = [row for row in found["rejects"] if row["source"].endswith(own)]
    return found


def expected(fleet: Path) -> dict[str, bytes]:
    """Outputs of both lanes, each by itself."""
    of_lanes = [of_stages(fleet, lane) for lane in range(LANES)]
    return {
        name: b"".join(orjson.dumps(row) + b"\n" for found in of_lanes for row in found[name])
        for name in OUTPUTS
    }


def of_lane(data: bytes, lane: int) -> bytes:
    """The rows of an output that records of one lane made."""
    return b"".join(
        line + b"\n" for line in data.splitlines() if orjson.loads(line)["sequence"] % LANES == lane
    )


#: What depends on the clock of the target, which follows the lane that is ahead.
_BY_TARGET_CLOCK = {"learned"}


def assert_same_but_scores(found: dict[str, bytes], wanted: dict[str, bytes]) -> None:
    """The same ids, features, examples, labels, late records, rejects and changes, in any order."""
    for name, key in (("predictions", ("id",)), ("examples", ("id",)), ("evaluations", ("id", "correction"))):
        here, there = settled(found[name], *key), settled(wanted[name], *key)
        for row in (*here.values(), *there.values()):
            for open_field in _BY_TARGET_CLOCK:
                row.pop(open_field, None)
        assert here.keys() == there.keys(), f"{name}: {len(here.keys() ^ there.keys())} ids differ"
        assert here == there, name
    for name in ("late", "rejects"):
        assert unplaced(found[name]) == unplaced(wanted[name])
    dropped = [
        sorted(row["asset"] for row in rows(each["changes"]) if row["change"] == "asset_dropped")
        for each in (found, wanted)
    ]
    assert dropped[0] == dropped[1]
