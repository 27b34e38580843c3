"""The recovery store: made on first use, held by one run at a time, checked before one goes on from it."""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import shlex
import sqlite3
import sys
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bytewax.recovery import RecoveryConfig, init_db_dir

from dataflows.disk import replace_file, sync_folder
from dataflows.engine.holdings import check_champions, check_consent, stored_shapes
from dataflows.engine.manifest import (
    Manifest,
    changes_of,
    new_manifest,
    past_of,
    read_manifest,
    started,
    write_manifest,
)
from dataflows.engine.partitions import (
    RESTORE,
    Partition,
    StoreError,
    check_files,
    check_log,
    check_moment,
    check_signed,
    check_sound,
    forget_unfinished,
    opened,
    part_files,
    read_partition,
)
from dataflows.fleet.errors import nearest
from dataflows.fleet.shape import FleetChangedError, check_shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from dataflows.fleet.plan import Fleet
    from dataflows.fleet.shape import Past

__all__ = [
    "MARKS",
    "PARTITIONS",
    "StoreError",
    "begin_again",
    "begins_again",
    "check_store",
    "guard_named_store",
    "held",
    "named_store",
    "open_store",
    "past_in",
]

#: SQLite files of a new store. Resuming many assets is several times faster from many files than from one.
PARTITIONS = 16
#: Marks of the lane, one for each of the 16 files: those whose step and key the engine's hash puts there in
#: turn (so that each of 1, 2, 4 and 8 files holds one, too). Frozen; a test watches that each file has one.
MARKS = (72, 22, 5, 10, 18, 3, 54, 25, 0, 9, 1, 11, 6, 26, 2, 35)
#: What `unfinished` holds while the outputs of earlier runs are deleted too.
_FRESH = b"fresh\n"
#: Locks of stores that are guarded until this process ends.
_guarded: dict[Path, ExitStack] = {}


def guard_named_store(fleet: Fleet) -> Path | None:
    """The store that Bytewax's own command line or environment names, checked; None without recovery.

    For ``python -m bytewax.run``, which opens the store by itself after the dataflow was built. The first
    process holds the store until it ends; the others of its cluster only look at it.

    Raises:
        StoreError: another run holds it, or it cannot be used.
        FleetChangedError: it is of another fleet, or what would be lost is not named by FLEET_MIGRATE.
    """
    named, folder = _named(sys.argv[1:]), named_store()
    if folder is None or not part_files(folder):
        # Where there should be files and there are none, the engine says so.
        return folder
    first, alone = _place(named)
    if first and folder.resolve() not in _guarded:
        lock = ExitStack()
        lock.enter_context(held(folder))
        _guarded[folder.resolve()] = lock
    migrate = shlex.split(os.environ.get("FLEET_MIGRATE", ""))
    manifest = check_store(folder, fleet, whole=alone, adopt=first, migrate=migrate)
    if first and manifest is not None:
        # The others of the cluster are not at work before this one is.
        forget_unfinished(folder)
        write_manifest(folder, started(manifest, fleet, _lag(named)))
    return folder


def past_in(folder: Path | None, fleet: Fleet) -> Past:
    """What a store has seen, the fleet that goes on from it included; without a store, that fleet alone."""
    return past_of(None if folder is None else read_manifest(folder), fleet)


def named_store() -> Path | None:
    """The store that Bytewax's own command line or environment names, None without recovery."""
    named: str | None = _named(sys.argv[1:]).recovery_directory
    return Path(named) if named else None


def _named(arguments: Sequence[str]) -> argparse.Namespace:
    """What the engine's command line says of the store and of the cluster, else its environment."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for options, variable in (
        (("-r", "--recovery-directory"), "RECOVERY_DIRECTORY"),
        (("-b", "--backup-interval"), "RECOVERY_BACKUP_INTERVAL"),
        (("-i", "--process-id"), "PROCESS_ID"),
        (("-a", "--addresses"), "ADDRESSES"),
    ):
        default = os.environ.get(f"BYTEWAX_{variable}") or None
        parser.add_argument(*options, dest=variable.lower(), nargs="?", default=default)
    return parser.parse_known_args(list(arguments))[0]


def _place(named: argparse.Namespace) -> tuple[bool, bool]:
    """Whether this is the first process of its cluster, and whether it is the only one."""
    pod = re.search(r"-(\d+)$", os.environ.get("BYTEWAX_POD_NAME", ""))
    number = named.process_id or (pod and pod[1])
    several = named.addresses or os.environ.get("BYTEWAX_HOSTFILE_PATH") or pod
    return not number or int(number) == 0, not several


def _lag(named: argparse.Namespace) -> int | None:
    """Epochs by which the engine commits late, None where it would have to be computed as it does."""
    kept: str = named.recovery_backup_interval or ""
    return 0 if kept == "0" else None


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a store, so that no other run, and no restore, works on it.

    Raises:
        StoreError: another one holds it.
    """
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            msg = f"{folder} is in use by another run; wait for its end, or name another store (--recovery)"
            raise StoreError(msg) from None
        yield


def check_store(
    folder: Path,
    fleet: Fleet | None,
    *,
    whole: bool = True,
    adopt: bool = False,
    migrate: Collection[str] = (),
) -> Manifest | None:
    """Read all of a store, and refuse one from which a run would go on wrongly. Nothing is changed.

    Args:
        folder: of the store.
        fleet: that is to go on from it; None for any.
        whole: whether all of its files have to be here; in a cluster, other hosts may have some.
        adopt: give a store that has no manifest, since the engine or an older release made it, one.
        migrate: classes and targets that may begin anew where the fleet has them otherwise.

    Returns:
        Its manifest, None where it has none.

    Raises:
        StoreError: it is damaged, incomplete, mixed from several, or of a format that cannot be read.
        FleetChangedError: it is of another fleet, or something would be lost that may not begin anew.
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
            check_sound(path, connection)
            if fleet is not None and fleet.store_key is not None:
                check_signed(path, connection, fleet.store_key)
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
    """Refuse names of ``--migrate`` that neither the fleet nor what its store has seen knows."""
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
    """The manifest for a store that has none yet."""
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


def begins_again(folder: Path) -> bool:
    """Whether a run that began with ``--fresh`` was killed before the outputs of earlier runs were gone."""
    unfinished = folder / "unfinished"
    return unfinished.exists() and unfinished.read_bytes() == _FRESH


def begin_again(folder: Path) -> None:
    """Let the next run begin as with ``--fresh``; the store has to be held."""
    replace_file(folder / "unfinished", _FRESH)


@contextmanager
def open_store(
    folder: Path,
    fleet: Fleet,
    *,
    fresh: bool = False,
    migrate: Collection[str] = (),
    forget: Callable[[], None] = lambda: None,
) -> Iterator[RecoveryConfig]:
    """The recovery configuration of a folder, made if it is new, and locked while the block runs.

    Args:
        folder: of the store.
        fleet: that goes on from it.
        fresh: forget what earlier runs left in it.
        migrate: classes and targets that may begin anew where the fleet has them otherwise.
        forget: with ``fresh``, deletes the outputs of earlier runs. A kill in between is made up for by the
            next run, with or without ``fresh``.

    Raises:
        StoreError: another run holds it, or it cannot be used.
        FleetChangedError: it is of another fleet, or something would be lost that may not begin anew.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder):
        # A kill while the files are made leaves only some of them, which the engine would refuse for ever.
        unfinished = folder / "unfinished"
        fresh = fresh or begins_again(folder)
        if fresh or unfinished.exists() or not (part_files(folder) or read_manifest(folder)):
            _check_names(fleet, (), migrate)
            replace_file(unfinished, _FRESH if fresh else b"")
            for path in folder.glob("part-*.sqlite3*"):
                path.unlink()
            if fresh:
                forget()
            init_db_dir(folder, PARTITIONS)  # type: ignore[no-untyped-call]
            _number(folder, new_manifest(fleet, PARTITIONS))
            unfinished.unlink()
            sync_folder(folder)
        else:
            manifest = check_store(folder, fleet, adopt=True, migrate=migrate)
            if manifest is not None:
                forget_unfinished(folder)
                write_manifest(folder, started(manifest, fleet, 0))
        yield RecoveryConfig(folder)  # type: ignore[no-untyped-call]
