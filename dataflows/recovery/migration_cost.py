"""State of classes and targets in a recovery store, and the cost of a changed fleet."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dataflows import steps
from dataflows.asset.asset import ASSET
from dataflows.engine.operators import MAIN
from dataflows.instants import format_duration
from dataflows.lane.lane import LANE
from dataflows.placement import name_of
from dataflows.recovery.kinds import kind_of
from dataflows.recovery.sqlite_files import opened, resume_epoch, snapshots
from dataflows.state.layouts import Change, FleetChangedError
from dataflows.target.horizons import AGREEING, stored_apart
from dataflows.target.target import TARGET, StoredTarget

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from dataflows.fleet.fleet import Fleet
    from dataflows.recovery.sqlite_files import Partition

__all__ = ["StoredState", "check_champions", "check_consent", "stored_shapes", "stored_state"]

_GROUP, _LANE = steps.main_of(steps.GROUP), steps.main_of(steps.LANE)


@dataclass(slots=True)
class StoredState:
    """State that a resume would find.

    Attributes:
        assets: number of assets with state, by class.
        pending: number of examples of each target that wait for their label.
        targets: stored state of each target.
    """

    assets: Counter[str] = field(default_factory=Counter)
    pending: Counter[str] = field(default_factory=Counter)
    targets: dict[str, StoredTarget] = field(default_factory=dict)


def stored_state(parts: Iterable[Partition], *, assets: bool) -> StoredState:
    """Read the state of the targets and, more slowly, of the assets in a store."""
    parts = list(parts)
    found, resume = StoredState(), resume_epoch(parts)
    for part in parts:
        with opened(part.path) as connection:
            for each in snapshots(part.path, connection, resume, None if assets else _GROUP):
                if each.state is None:
                    continue
                if each.step == _GROUP:
                    main = MAIN.inner(MAIN.unseal(each.state))
                    # A removed target may have no snapshot, and former releases kept other counts here too.
                    if main is not None and kind_of(main) in {TARGET, AGREEING}:
                        for name, own, _ in stored_apart(name_of(MAIN.describe(each.state)), main, {}):
                            # A target that moved to another key has left its former state behind.
                            target = TARGET.describe(own)
                            if name not in found.targets or found.targets[name].begun <= target.begun:
                                found.targets[name] = target
                elif steps.is_of(each.step, steps.ASSET):
                    asset = ASSET.describe(each.state)
                    found.assets[asset.asset_class] += 1
                    found.pending.update(asset.pending)
    return found


def stored_shapes(parts: Iterable[Partition]) -> dict[str, str] | None:
    """Digests kept by the lane of a former release, before there were manifests."""
    for part in parts:
        with opened(part.path) as connection:
            for each in snapshots(part.path, connection, 1 << 62, _LANE):
                lane = MAIN.inner(MAIN.unseal(each.state))
                if lane is not None:
                    return LANE.describe(lane)
    return None


def check_consent(
    changes: Sequence[Change], parts: Iterable[Partition], migrate: Collection[str], store: str
) -> None:
    """Refuse a loss of state that the user did not accept by name.

    Args:
        changes: of classes and targets.
        parts: of the store.
        migrate: names of classes and targets that may lose state.
        store: for the message.

    Raises:
        FleetChangedError: it names the cost of each change, and the remedy.
    """
    if not changes:
        return
    stored = stored_state(parts, assets=True)
    costly = [(change, cost) for change in changes if (cost := _cost(change, stored))]
    refused = [
        (change, cost) for change, cost in costly if change.name not in migrate or _cannot_migrate(change)
    ]
    if not refused:
        return
    lines = "\n".join(f"- {change.name}: {change.why}. {cost}" for change, cost in refused)
    names = shlex.join(change.name for change, _ in refused if not _cannot_migrate(change))
    known = {change.name for change, _ in costly}
    stray = [name for name in migrate if name not in known]
    if stray:
        lines += f"\n(--migrate names {', '.join(stray)}, which would lose nothing.)"
    accept = f'start once with --migrate "{names}" (or FLEET_MIGRATE) to accept that, ' if names else ""
    msg = (
        f"the fleet was changed, and {store} holds state that does not fit it:\n{lines}\n"
        f"Take the change back, {accept}or start over (--fresh)"
    )
    raise FleetChangedError(msg)


def _cannot_migrate(change: Change) -> bool:
    """Whether --migrate cannot accept a change: assets with state would have no class."""
    return change.removed and change.asset_class is not None


def _cost(change: Change, stored: StoredState) -> str:
    """Describe the cost of a change to a user; empty without state."""
    if change.asset_class is not None:
        count = stored.assets[change.asset_class]
        if not count:
            return ""
        assets = f"{count:,} asset{'s' if count > 1 else ''} of it"
        if change.removed:
            return f"{assets} would have no class; keep the class, also without targets"
        loses = f"What {assets} hold of that is lost"
        if change.span:
            loses += (
                f": those windows start empty, and for {format_duration(change.span)} of an asset's time "
                "their features are missing, or know less than they say"
            )
        return (
            f"{loses}. Models that see them become new versions; a champion keeps its version, and "
            "features that are gone are missing for it"
        )
    kept, pending = stored.targets.get(change.name), stored.pending[change.name]
    if kept is None and not pending:
        return ""
    learned, positives = (kept.learned, kept.positives) if kept else (0, 0)
    return (
        f"{pending:,} examples that wait for their label would be lost, and what its models learned from "
        f"{learned:,} examples, {positives:,} of them failures"
    )


def check_champions(fleet: Fleet, parts: Iterable[Partition]) -> None:
    """Refuse a fleet that lacks the stored champion of a target, unless the target names a successor.

    Raises:
        FleetChangedError: a champion is missing.
    """
    for name, kept in sorted(stored_state(parts, assets=False).targets.items()):
        target = fleet.targets.get(name)
        if target is None or target.successor is not None:
            continue
        if kept.champion not in (model.name for model in target.models):
            models = ", ".join(model.name for model in target.models)
            msg = (
                f"target {name!r}: its champion {kept.champion!r}, which has learned from "
                f"{kept.learned:,} examples, is no longer one of its models. Put it back, or "
                f'name its successor in the target, as successor = "..." ({models})'
            )
            raise FleetChangedError(msg)
