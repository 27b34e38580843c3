"""``python -m dataflows backup`` and ``restore``: copy a store, even during a run, and put it back.

The files of a store are written one after the other, so copies made at different times would not form a
store. A read transaction on every file keeps all of them unchanged for the copy, while the run continues to
write (SQLite in WAL mode). The files are then checked to be of one moment, and the transactions repeated if
not.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.filesize import decimal

from dataflows import steps
from dataflows.connectors.file_sink import (
    OutputFile,
    StoredFile,
    all_parts,
    end_of,
    open_part,
    part_name,
    parts_of,
)
from dataflows.connectors.order_journal import files_of_journal
from dataflows.disk import replace_file
from dataflows.outputs import OUTPUTS
from dataflows.recovery.kinds import describe
from dataflows.recovery.manifest import (
    LAST_BACKUP,
    Copy,
    Manifest,
    crc_of,
    read_manifest,
    utc,
    write_manifest,
)
from dataflows.recovery.sqlite_files import (
    Partition,
    StoreError,
    check_files,
    check_moment,
    locked,
    opened,
    part_files,
    read_partition,
    resume_epoch,
    snapshots,
)
from dataflows.recovery.store import check_store
from dataflows.tools.tables import command

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from typing import BinaryIO

    from rich.console import Console

__all__ = ["backup", "backup_into", "caught", "restore"]

#: Name of a backup that is one of a row.
_STAMP = re.compile(r"\d{8}T\d{6}Z")
_JOURNAL, _OUTPUTS, _LINEAGE = "journal", "outputs", "lineage"
_STEP = f"{steps.FLOW}.{steps.OUTPUTS}"
#: Seconds to find one moment of all files of a running store.
_PATIENCE = 60.0
_PAUSE = 0.01
_CHUNK = 1 << 20


def backup(store: Path, to: Path, console: Console, *, outputs: bool) -> None:
    """Copy a store, even during a run, with its order journal and the positions of outputs.

    Args:
        store: folder of the store.
        to: a new folder, created atomically.
        console: console for the report.
        outputs: copy the outputs too, up to their length in the copied state.

    Raises:
        StoreError: there is no sound store, its epochs are too short to catch it, or ``to`` exists.
    """
    manifest = read_manifest(store)
    if manifest is None:
        msg = f"{store} is no recovery store: it has no manifest.json; a run makes one (--recovery)"
        raise StoreError(msg)
    if to.exists():
        msg = f"{to} is there already; name a new folder for the backup"
        raise StoreError(msg)
    work = to.with_name(f"{to.name}.part")
    shutil.rmtree(work, ignore_errors=True)
    (work / _JOURNAL).mkdir(parents=True)
    if (store / _LINEAGE).exists():
        # Without it, the rows of its runs in topics would look like those of another run.
        shutil.copyfile(store / _LINEAGE, work / _LINEAGE)
    parts = _copy_files(store, manifest, work)
    resume = check_moment(parts, manifest.run.lag)
    positions = _positions(work, resume)
    if outputs:
        _copy_outputs(Path(manifest.run.outputs), positions, work / _OUTPUTS)
    write_manifest(work, manifest)
    check_store(work, None)
    files = {name: crc_of(work / name) for name in _names(work)}
    epochs = {part.path.name: part.committed for part in parts}
    copy = Copy(taken=utc(), resume=resume, epochs=epochs, positions=positions, files=files)
    write_manifest(work, msgspec.structs.replace(manifest, copy=copy))
    os.sync()
    work.rename(to)
    # For the metric of its age, and for people: the store has the time of its last backup.
    # A store on a read-only volume is copied all the same; no program that serves metrics runs on it.
    if os.access(store, os.W_OK):
        replace_file(store / LAST_BACKUP, f"{copy.taken}\n".encode())
    size = decimal(sum(size for size, _ in files.values()))
    console.print(f"{to}: {len(files)} files, {size}, resumes from epoch {resume:,}.", highlight=False)
    if not positions:
        console.print("Its outputs are topics, which are no part of it.", highlight=False)
    elif not outputs:
        lengths = ", ".join(f"{name} {length:,}" for name, length in positions.items())
        console.print(f"Outputs are not in it; it needs their first bytes: {lengths}.", highlight=False)


def backup_into(store: Path, folder: Path, console: Console, *, outputs: bool, keep: int) -> None:
    """Make a backup named by its time in UTC, such as 20261127T021700Z, and delete the oldest ones.

    Args:
        store: folder of the store.
        folder: folder of the backups, created if missing; it may hold other things, which stay.
        console: console for the report.
        outputs: copy the outputs too.
        keep: number of backups that remain, this one included.

    Raises:
        StoreError: as `backup`; then nothing is deleted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    backup(store, folder / _stamp(), console, outputs=outputs)
    taken = sorted(path for path in folder.iterdir() if _STAMP.fullmatch(path.name))
    for path in (*taken[:-keep], *folder.glob("????????T??????Z.part")):
        shutil.rmtree(path)


def _stamp() -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def _copy_files(store: Path, manifest: Manifest, work: Path) -> list[Partition]:
    """Copy the files of a store at one moment, and all of the journal that they may need."""
    with ExitStack() as stack:
        # Opened first: a file of the journal that the run deletes meanwhile is still there for the copy.
        journal = _open_journal(store / _JOURNAL, stack)
        connections, parts = caught(store, manifest, stack)
        for path, connection in connections.items():
            with opened(work / path.name, mode="rwc") as target:
                connection.backup(target)
                # One file without a separate log; the engine turns the log on again.
                target.execute("PRAGMA journal_mode = DELETE")
        journal |= _open_journal(store / _JOURNAL, stack)
        for name, file in journal.items():
            file.seek(0)
            copied = work / _JOURNAL / name
            copied.parent.mkdir(exist_ok=True)
            with copied.open("wb") as target_file:
                shutil.copyfileobj(file, target_file)
    return parts


def _open_journal(folder: Path, stack: ExitStack) -> dict[str, BinaryIO]:
    opened_files: dict[str, BinaryIO] = {}
    for path in files_of_journal(folder):
        try:
            opened_files[str(path.relative_to(folder))] = stack.enter_context(path.open("rb"))
        except FileNotFoundError:
            # Deleted since it was listed: nothing needs it any more.
            continue
    return opened_files


def caught(
    store: Path, manifest: Manifest, stack: ExitStack
) -> tuple[dict[Path, sqlite3.Connection], list[Partition]]:
    """Open connections that see one moment of a store until the stack is closed, with each file's metadata.

    Raises:
        StoreError: files are missing, of another store or of another moment.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        with ExitStack() as attempt:
            # What was written everywhere before the first file is held is seen in each that is held later.
            before = resume_epoch(_each(store))
            connections = {path: attempt.enter_context(_heldcaught(path)) for path in part_files(store)}
            parts = [read_partition(path, connection) for path, connection in connections.items()]
            check_files(parts, manifest.store, manifest.partitions)
            try:
                if check_moment(parts, manifest.run.lag) == before:
                    stack.enter_context(attempt.pop_all())
                    return connections, parts
            except StoreError:
                if time.monotonic() > deadline:
                    raise
        if time.monotonic() > deadline:
            msg = (
                f"{store} could not be caught between two epochs within {_PATIENCE:g} s; stop the run, or "
                "give it longer epochs (--epoch)"
            )
            raise StoreError(msg)
        time.sleep(_PAUSE)


def _each(store: Path) -> list[Partition]:
    parts = []
    for path in part_files(store):
        with opened(path) as connection:
            parts.append(read_partition(path, connection))
    return parts


@contextmanager
def _heldcaught(path: Path) -> Iterator[sqlite3.Connection]:
    with opened(path) as connection:
        connection.isolation_level = None
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM parts").fetchone()
        yield connection


def _positions(store: Path, resume: int) -> dict[str, int]:
    """Length in bytes of each output at the epoch from which a store resumes."""
    found: dict[str, int] = {}
    for path in part_files(store):
        with opened(path) as connection:
            for snapshot in snapshots(path, connection, resume, _STEP):
                output = None if snapshot.state is None else describe(snapshot.state)
                if isinstance(output, StoredFile):
                    found[snapshot.key] = output.length
    return dict(sorted(found.items()))


def _copy_outputs(folder: Path, positions: dict[str, int], to: Path) -> None:
    """The outputs up to their positions, of rotated ones the files that are there."""
    to.mkdir()
    for name, length in positions.items():
        path = folder / f"{name}.jsonl"
        parts = [part for part in all_parts(path) if part.start < length or not part.start]
        end = 0
        for part, following in zip(parts, [*parts[1:], None], strict=True):
            kept = (
                part.path
                if part.path == path
                else part_name(path, part.start, part.day, finished=following is not None)
            )
            end = part.start + _copy(part, length - part.start, to / kept.name)
        if end < length:
            msg = f"{path} is shorter than the {length:,} bytes that the store counts on; nothing was copied"
            raise StoreError(msg)


def _copy(part: OutputFile, most: int, to: Path) -> int:
    """Copy a file of an output, at most so many bytes; returns how many there were."""
    with open_part(part) as source, to.open("wb") as target:
        left = most
        while left and (chunk := source.read(min(left, _CHUNK))):
            target.write(chunk)
            left -= len(chunk)
    return most - left


def _names(folder: Path) -> list[str]:
    """Every file below a folder but the manifest."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder)) for path in paths if path.name != "manifest.json")


def restore(
    copied: Path, store: Path, console: Console, *, outputs: Path | None = None, replace: bool = False
) -> None:
    """Restore a backup, for the next run to continue from it.

    Args:
        copied: folder of the backup.
        store: folder of the store, which must be new or hold none.
        console: console for the needs of the next run.
        outputs: folder into which the outputs of the backup are put back, over those that are there.
        replace: move a store that is there aside first, to ``<store>.replaced-<time>``.

    Raises:
        StoreError: the backup is damaged or incomplete, or there is a store already, or it is in use.
    """
    manifest = read_manifest(copied)
    if manifest is None or manifest.copy is None:
        msg = f"{copied} is no backup; `{command('backup')}` makes one"
        raise StoreError(msg)
    _check_copy(copied, manifest.copy)
    check_store(copied, None)
    if outputs is not None and not (copied / _OUTPUTS).is_dir():
        msg = (
            f"{copied} was taken without outputs; leave out --outputs, and put the output files back yourself"
        )
        raise StoreError(msg)
    if replace and store.exists():
        _move_aside(store, console)
    store.mkdir(parents=True, exist_ok=True)
    with locked(store):
        left = (store / "manifest.json", store / _LINEAGE, *(store / _JOURNAL).glob("*"))
        if part_files(store) or any(path.exists() for path in left):
            msg = f"{store} holds a store; move it away, or name another folder"
            raise StoreError(msg)
        for name in manifest.copy.files:
            if not name.startswith(f"{_OUTPUTS}/"):
                (store / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(copied / name, store / name)
        if outputs is not None:
            _put_back(copied / _OUTPUTS, outputs)
        os.sync()
        # Last, so that a restore that was killed leaves no valid store.
        write_manifest(store, msgspec.structs.replace(manifest, copy=None))
    console.print(f"{store}: as of {manifest.copy.taken}; run the fleet on it to continue.", highlight=False)
    _print_short_outputs(outputs or Path(manifest.run.outputs), manifest.copy.positions, console)


def _move_aside(store: Path, console: Console) -> None:
    """Rename a store that no run holds."""
    aside = store.with_name(f"{store.name}.replaced-{_stamp()}")
    with locked(store):
        store.rename(aside)
    console.print(
        f"The store that was there is {aside} now; delete it when it is not needed.", highlight=False
    )


def _check_copy(copied: Path, copy: Copy) -> None:
    """Check that every file of a backup is there, unchanged."""
    for name, expected in copy.files.items():
        path = copied / name
        if not path.is_file():
            msg = f"the backup {copied} lacks {name}; take another backup"
            raise StoreError(msg)
        if crc_of(path) != tuple(expected):
            msg = f"{path} is not as it was backed up (size or CRC differs); take another backup"
            raise StoreError(msg)


def _put_back(copied: Path, outputs: Path) -> None:
    outputs.mkdir(parents=True, exist_ok=True)
    for name in OUTPUTS:
        # A rotated output may have continued in other files since, and files may have been finished.
        parts = all_parts(copied / f"{name}.jsonl")
        for part in parts_of(outputs / f"{name}.jsonl"):
            if parts and part.start >= parts[0].start:
                part.path.unlink()
        if parts:
            (outputs / f"{name}.jsonl").unlink(missing_ok=True)
    for path in sorted(copied.iterdir()):
        written = outputs / f"{path.name}.part"
        shutil.copyfile(path, written)
        written.replace(outputs / path.name)


def _print_short_outputs(folder: Path, positions: dict[str, int], console: Console) -> None:
    """Print each output that is shorter than the restored store needs."""
    for name, length in positions.items():
        path = folder / f"{name}.jsonl"
        found = end_of(path)
        if found < length:
            console.print(
                f"{path} holds {found:,} bytes, the store counts on {length:,}: put it back before the run.",
                highlight=False,
            )
