"""Versions of snapshots that this release reads, so that a store is refused before anything runs."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from dataflows.state.snapshots import SnapshotError, contents

__all__ = ["KINDS", "check_version", "readable"]

_BUCKETS = "dataflows.state.tables"
_KAFKA = "dataflows.connectors.kafka.state"
#: Kinds of snapshots, and where the version of each stands: in ``_VERSION`` of a module, and in ``_OLDER``
#: the versions before that it reads; or, after a colon, in names that begin otherwise. A test finds one that
#: is missing here.
KINDS = {
    "asset": "dataflows.asset.asset",
    "estimator": "dataflows.estimators",
    "examples": "dataflows.target.examples",
    "figures": "dataflows.target.champion",
    "files": "dataflows.connectors.files",
    "group": "dataflows.target.champion",
    "lane": "dataflows.lane.lane",
    "kafka": f"{_KAFKA}:SOURCE",
    "log": "dataflows.target.champion",
    "main": "dataflows.engine.operators",
    "mark": "dataflows.engine.operators:_MARK",
    "models": "dataflows.target.models",
    "output": "dataflows.connectors.file_sink",
    "part": "dataflows.engine.operators:_PART",
    "passing": "dataflows.lane.metrics",
    "published": _BUCKETS,
    "topic": f"{_KAFKA}:TOPIC",
    "registry": _BUCKETS,
    "heard": _BUCKETS,
    "weather": _BUCKETS,
    "whereabouts": "dataflows.lane.weather_join:WHEREABOUTS",
}
#: Snapshots that hold another one, and where in their payload.
_INNER = {"main": 2, "part": 2}


@cache
def readable(kind: str) -> tuple[int, ...]:
    """Versions of a kind of snapshot that this release reads; empty for an unknown kind."""
    if kind not in KINDS:
        return ()
    module, _, prefix = KINDS[kind].partition(":")
    names: dict[str, Any] = vars(importlib.import_module(module))
    return (*sorted(names.get(f"{prefix}_OLDER", ())), names[f"{prefix}_VERSION"])


def check_version(sealed: object) -> None:
    """Refuse a snapshot, or one inside it, that cannot be read.

    Raises:
        SnapshotError: it is damaged, or of a version that this release does not read.
    """
    kind, version, payload = contents(sealed)
    known = readable(kind)
    if known and version not in known:
        msg = (
            f"its snapshot of {kind!r} has version {version}, this release reads {_listed(known)}; "
            "run the release that wrote it, or begin anew with --fresh"
        )
        raise SnapshotError(msg)
    place = _INNER.get(kind)
    if place is not None and payload[place]:
        check_version(payload[place])


def _listed(versions: tuple[int, ...]) -> str:
    return "version " + " and ".join(map(str, versions))
