"""The recovery store: created on first use, locked by one run at a time, checked before a resume."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from bytewax.recovery import RecoveryConfig, init_db_dir

from dataflows import steps
from dataflows.disk import replace_file, sync_folder
from dataflows.engine.operators import MAIN
from dataflows.fleet.problems import nearest
from dataflows.recovery.manifest import (
    Manifest,
    changes_of,
    new_manifest,
    past_of,
    read_manifest,
    started,
    write_manifest,
)
from dataflows.recovery.migration_cost import check_champions, check_consent, stored_shapes
from dataflows.recovery.sqlite_files import (
    RESTORE,
    Partition,
    StoreError,
    check_files,
    check_log,
    check_moment,
    check_sound,
    delete_unfinished,
    locked,
    opened,
    part_files,
    read_partition,
    set_statistics,
    snapshots,
)
from dataflows.state.layouts import FleetChangedError, check_shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from dataflows.fleet.fleet import Fleet
    from dataflows.state.layouts import StateHistory

__all__ = [
    "MARKS",
    "PARTITIONS",
    "StoreError",
    "check_store",
    "moved_state",
    "open_store",
    "past_in",
    "start_over",
    "starts_over",
    "stored_parts",
]

#: SQLite files of a new store. Resuming many assets is several times faster from many files than from one.
PARTITIONS = 16
#: Marks of the lane, one for each of the 16 files: the engine's hash puts their step and key there in
#: turn (so that each of 1, 2, 4 and 8 files holds one, too). Frozen; a test checks that each file has one.
MARKS = (72, 22, 5, 10, 18, 3, 54, 25, 0, 9, 1, 11, 6, 26, 2, 35)
#: Content of `unfinished` while the outputs of earlier runs are deleted too.
_FRESH = b"fresh\n"
#: Larger than any epoch.
_EVERY_EPOCH = 1 << 62


def past_in(folder: Path | None, fleet: Fleet) -> StateHistory:
    """Configurations of a store, including the fleet that continues from it; without a store, that fleet."""
    return past_of(None if folder is None else read_manifest(folder), fleet)


def moved_state(folder: Path | None) -> bytes | None:
    """Read the state of the lane's metrics that former releases kept in the step ``group``, under no name.

    The step ``lane_metrics`` begins with it as long as the store has no state of its own for that step.

    Args:
        folder: folder of a store from which a run is about to resume; None for no store.
    """
    for path in () if folder is None else part_files(folder):
        with opened(path) as connection:
            for each in snapshots(path, connection, _EVERY_EPOCH, steps.main_of(steps.GROUP)):
                if each.key == "" and each.state is not None:
                    return MAIN.inner(MAIN.unseal(each.state))
    return None


def stored_parts(folder: Path | None, step: str) -> frozenset[int]:
    """Return the numbers of the parts of a step of which a store holds a snapshot.

    Args:
        folder: folder of the store, with all its files; None for no store.
        step: name of a step in parts.

    Raises:
        StoreError: a file cannot be read.
    """
    first = steps.parts_of(step)
    found: set[int] = set()
    for path in () if folder is None else part_files(folder):
        with opened(path) as connection:
            query = "SELECT DISTINCT step_id FROM snaps WHERE step_id >= ? AND step_id < ?"
            parts = (steps.part_of(step_id) for (step_id,) in connection.execute(query, (first, f"{first}~")))
            found.update(part[1] for part in parts if part is not None)
    return frozenset(found)


def check_store(
    folder: Path,
    fleet: Fleet | None,
    *,
    whole: bool = True,
    adopt: bool = False,
    migrate: Collection[str] = (),
) -> Manifest | None:
    """Read a whole store, and refuse one from which a run would resume wrongly. Nothing is changed.

    Args:
        folder: folder of the store.
        fleet: fleet that will continue from it; None for any.
        whole: whether all its files have to be here; in a cluster, other hosts may have some.
        adopt: write a manifest for a store without one, made by the engine or an older release.
        migrate: classes and targets that may lose state where the fleet changed them.

    Returns:
        Its manifest, None if it has none.

    Raises:
        StoreError: it is damaged, incomplete, mixed from several, or of a format that cannot be read.
        FleetChangedError: it is of another fleet, or state would be lost without consent.
    """
    manifest = read_manifest(folder)
    changes = [] if manifest is None or fleet is None else changes_of(manifest, fleet)
    if fleet is not None:
        known = {change.name for change in changes}
        if manifest is not None:
            known.update(name for name, _ in manifest.past.migrated)
        _check_names(fleet, known, migrate)
    parts: list[Partition] = []
    for path in part_files(folder):
        with opened(path) as connection:
            parts.append(read_partition(path, connection))
            check_log(path)
            check_sound(path, connection, None if fleet is None else fleet.store_key)
    if manifest is None:
        return _adopted(folder, fleet, parts) if adopt and fleet is not None else None
    if whole:
        check_files(parts, manifest.store, manifest.partitions)
        check_moment(parts, manifest.run.lag)
    if fleet is not None:
        check_consent(changes, parts, migrate, str(folder))
        check_champions(fleet, parts)
    return manifest


def _check_names(fleet: Fleet, known: Collection[str], migrate: Collection[str]) -> None:
    """Refuse names of ``--migrate`` that are neither in the fleet nor in the history of its store."""
    names = {*fleet.classes, *fleet.targets, *known}
    for name in migrate:
        if name not in names:
            near = nearest(name, names)
            hint = f"; did you mean {near!r}" if near else ""
            msg = (
                f"--migrate (or FLEET_MIGRATE): {name!r} is no class and no target of {fleet.path}, and "
                f"never was one in this store{hint}. Expected one of {', '.join(sorted(names))}"
            )
            raise FleetChangedError(msg)


def _adopted(folder: Path, fleet: Fleet, parts: Sequence[Partition]) -> Manifest:
    """Make the manifest for a store without one."""
    if any(part.store for part in parts):
        msg = f"{folder} lacks its manifest.json. {RESTORE}"
        raise StoreError(msg)
    manifest = new_manifest(fleet, parts[0].count)
    check_files(parts, 0, manifest.partitions)
    check_moment(parts, None)
    known = stored_shapes(parts)
    if known is not None:
        check_shapes(fleet, known)
    check_champions(fleet, parts)
    _number(folder, manifest)
    return manifest


def _number(folder: Path, manifest: Manifest) -> None:
    """Write a store's number into each of its files, then its manifest."""
    for path in part_files(folder):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA application_id = {manifest.store}")
    write_manifest(folder, manifest)


def starts_over(folder: Path) -> bool:
    """Whether a run with ``--fresh`` was killed before it had deleted the outputs of earlier runs."""
    unfinished = folder / "unfinished"
    return unfinished.exists() and unfinished.read_bytes() == _FRESH


def start_over(folder: Path) -> None:
    """Make the next run begin as with ``--fresh``; the store has to be locked."""
    replace_file(folder / "unfinished", _FRESH)


@contextmanager
def open_store(
    folder: Path,
    fleet: Fleet,
    *,
    fresh: bool = False,
    migrate: Collection[str] = (),
    delete_outputs: Callable[[], None] = lambda: None,
) -> Iterator[RecoveryConfig]:
    """Recovery configuration of a folder, created if missing, and locked while the block runs.

    Args:
        folder: folder of the store.
        fleet: fleet that continues from it.
        fresh: delete the state of earlier runs.
        migrate: classes and targets that may lose state where the fleet changed them.
        delete_outputs: with ``fresh``, deletes the outputs of earlier runs. After a kill in between, the next
            run finishes the deletion, with or without ``fresh``.

    Raises:
        StoreError: another run holds it, or it cannot be used.
        FleetChangedError: it is of another fleet, or state would be lost without consent.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        # A kill while the files are created leaves only some of them; the engine would always refuse those.
        unfinished = folder / "unfinished"
        fresh = fresh or starts_over(folder)
        if fresh or unfinished.exists() or not (part_files(folder) or read_manifest(folder)):
            _check_names(fleet, (), migrate)
            replace_file(unfinished, _FRESH if fresh else b"")
            for path in folder.glob("part-*.sqlite3*"):
                path.unlink()
            if fresh:
                delete_outputs()
            init_db_dir(folder, PARTITIONS)  # type: ignore[no-untyped-call]
            _number(folder, new_manifest(fleet, PARTITIONS))
            set_statistics(folder)
            unfinished.unlink()
            sync_folder(folder)
        else:
            manifest = check_store(folder, fleet, adopt=True, migrate=migrate)
            if manifest is not None:
                delete_unfinished(folder)
                write_manifest(folder, started(manifest, fleet, 0))
                set_statistics(folder)
        yield RecoveryConfig(folder)  # type: ignore[no-untyped-call]
