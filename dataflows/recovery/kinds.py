"""Every kind of snapshot that a store may hold, to check and describe snapshots.

Each kind is declared next to the class whose state it holds; see `dataflows.state.snapshots.Kind`. A test
finds one that is missing here.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from dataflows.state.snapshots import UNSIGNED, Kind, SnapshotError, heading, is_signed_by

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check", "describe", "kind_of", "kinds"]


@cache
def kinds() -> Mapping[str, Kind[Any]]:
    """Every kind by its name.

    The modules are imported at the first call: a run without a store does not need all of them.
    """
    from dataflows.asset.asset import ASSET  # noqa: PLC0415 - as the docstring says, like the following
    from dataflows.connectors.ends import SINKS, SOURCES  # noqa: PLC0415
    from dataflows.engine.operators import MAIN, MARK, PART  # noqa: PLC0415
    from dataflows.estimators import ESTIMATOR  # noqa: PLC0415
    from dataflows.estimators.kept import KEPT  # noqa: PLC0415
    from dataflows.lane.lane import HEARD, LANE  # noqa: PLC0415
    from dataflows.lane.metrics import LANE_METRICS  # noqa: PLC0415
    from dataflows.lane.registry import REGISTRY  # noqa: PLC0415
    from dataflows.lane.weather_join import WEATHER, WHEREABOUTS  # noqa: PLC0415
    from dataflows.target.alerts import PUBLISHED  # noqa: PLC0415
    from dataflows.target.examples import EXAMPLES  # noqa: PLC0415
    from dataflows.target.figures import FIGURES  # noqa: PLC0415
    from dataflows.target.horizons import AGREEING  # noqa: PLC0415
    from dataflows.target.models import LOG, MODELS  # noqa: PLC0415
    from dataflows.target.monitors import WATCHED  # noqa: PLC0415
    from dataflows.target.sharing import SHARED_MODELS  # noqa: PLC0415
    from dataflows.target.target import TARGET  # noqa: PLC0415

    engine = (MAIN, PART, MARK)
    lane = (LANE, LANE_METRICS, REGISTRY, HEARD, WEATHER, WHEREABOUTS)
    target = (TARGET, AGREEING, SHARED_MODELS, LOG, FIGURES, EXAMPLES, PUBLISHED, WATCHED, MODELS)
    sources = [source().kind for source in SOURCES.values()]
    sinks = [sink().kind for sink in SINKS.values()]
    every: list[Kind[Any]] = [*engine, *lane, ASSET, *target, ESTIMATOR, KEPT, *sources, *sinks]
    return {kind.name: kind for kind in every}


def kind_of(sealed: object) -> Kind[Any]:
    """Kind of a snapshot.

    Raises:
        SnapshotError: it is damaged, or of a kind that this release does not know.
    """
    return _known(heading(sealed).kind)


def _known(name: str) -> Kind[Any]:
    found = kinds().get(name)
    if found is None:
        msg = (
            f"its snapshot is of the kind {name!r}, which this release does not know; "
            "run the release that wrote it, or start over (--fresh)"
        )
        raise SnapshotError(msg)
    return found


def describe(state: bytes | int) -> object:
    """Plain content of a snapshot, as its kind describes it.

    The first stores held the bare length of an output in files.

    Raises:
        SnapshotError: it is damaged, or this release cannot read it.
    """
    from dataflows.connectors.file_sink import StoredFile  # noqa: PLC0415 - as in `kinds`

    return StoredFile(state) if isinstance(state, int) else kind_of(state).describe(state)


def check(sealed: bytes, key: bytes | None = None) -> None:
    """Refuse a snapshot, or one inside it, that this release cannot read, or that a key should have signed.

    Args:
        sealed: the snapshot.
        key: key that signs the kinds that are signed; None checks no signature.

    Raises:
        SnapshotError: it is damaged, of a kind or version that this release does not read, or not signed.
    """
    found = heading(sealed)
    kind, version = _known(found.kind), found.version
    if version not in kind.readable:
        versions = " and ".join(map(str, kind.readable))
        msg = (
            f"its snapshot of {kind.name!r} has version {version}, this release reads version {versions}; "
            "run the release that wrote it, or start over (--fresh)"
        )
        raise SnapshotError(msg)
    if key is not None and kind.signed and not is_signed_by(sealed, key):
        raise SnapshotError(UNSIGNED)
    for held in kind.held(kind.upgrade(version, found.payload())) if kind.nested else ():
        check(held, key)
