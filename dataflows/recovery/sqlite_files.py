"""Check that the files of a recovery store are undamaged, and of one moment.

A store is a few SQLite files that the engine calls partitions; it puts each snapshot into one of them by a
hash of its step and key. With one file of another time the engine would continue with a mixture of old and
new state. It detects that in some cases only, and damage in few. So before a run changes anything, the whole
store is read and compared:

- each file is a sound SQLite database, whose table and index hold the same keys;
- each snapshot is whole (CRC) and of a version that this release reads;
- each file has the number of this store, its index, and the number of files;
- the epoch from which the engine will resume follows the last committed epoch of each file;
- the marks (`dataflows.engine.operators`) that each file holds are of one epoch.
"""

from __future__ import annotations

import io
import os
import pickle
import shutil
import sqlite3
import struct
import tempfile
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from dataflows import steps
from dataflows.disk import locked_alone
from dataflows.placement import ONLY_LANE
from dataflows.recovery import kinds
from dataflows.state.snapshots import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

__all__ = [
    "RESTORE",
    "STATISTICS",
    "Partition",
    "Snapshot",
    "StoreError",
    "check_files",
    "check_log",
    "check_moment",
    "check_sound",
    "delete_unfinished",
    "locked",
    "opened",
    "part_files",
    "read_partition",
    "resume_epoch",
    "set_statistics",
    "snapshots",
]

RESTORE = (
    "Restore the whole store from one backup (python -m dataflows restore), or start over (--fresh), "
    "which reads the input from its beginning"
)
_ALL = "SELECT step_id, state_key, snap_epoch, created_at, ser_change FROM snaps"
_LATEST = (
    "SELECT step_id, state_key, snap_epoch, created_at, ser_change FROM snaps JOIN"
    " (SELECT step_id, state_key, max(snap_epoch) AS snap_epoch FROM snaps"
    " WHERE snap_epoch < ? GROUP BY step_id, state_key) USING (step_id, state_key, snap_epoch)"
)
_LATEST_OF_STEP = _LATEST.replace(" GROUP BY", " AND step_id = ? GROUP BY")
_MARKS = steps.marks_of(steps.LANE)
#: Table, index, and for the planner: rows, rows of a step, of a key in it, and of an epoch of that.
STATISTICS = ("snaps", "sqlite_autoindex_snaps_1", "100 30 5 2")
#: Bytes of the headers of SQLite's log, of a frame in it, and of its index; in the latter, the place of
#: the number of valid frames.
_LOG_HEADER, _FRAME_HEADER, _INDEX_HEADER, _INDEX_READ = 32, 24, 48, 16
#: Steps whose keys may be discarded; a row without a snapshot marks that.
_DISCARDED = (steps.ASSET, steps.TOGETHER, steps.FAN_OUT, steps.ORDER)


class StoreError(RuntimeError):
    """The recovery store cannot be used."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a store, so that no other run, and no restore, uses it.

    Raises:
        StoreError: another one holds it.
    """
    msg = f"{folder} is in use by another run; wait for its end, or name another store (--recovery)"
    with locked_alone(folder / "lock", StoreError(msg)):
        yield


@dataclass(frozen=True)
class Partition:
    """Metadata of one file of a store.

    Attributes:
        store: number of the store, 0 if only the engine wrote it.
        index: index of the file.
        count: number of files.
        executions: (number, workers, epoch from which it resumed) of each execution in this file.
        frontiers: (execution, worker, epoch that the worker has reached).
        committed: last final epoch, None in a new file.
        marks: epochs of its marks.
    """

    path: Path
    store: int
    index: int
    count: int
    executions: tuple[tuple[int, int, int], ...]
    frontiers: tuple[tuple[int, int, int], ...]
    committed: int | None
    marks: frozenset[int]


class Snapshot(NamedTuple):
    """One row of a store.

    Attributes:
        written: UTC, as ``YYYY-MM-DD HH:MM:SS``.
        state: plain data, most often sealed bytes; None if the key was discarded.
        size: bytes.
    """

    step: str
    key: str
    epoch: int
    written: str
    state: Any
    size: int


#: Names of SQLite's errors of a disk.
_DISK = ("SQLITE_IOERR", "SQLITE_FULL")


def part_files(folder: Path) -> list[Path]:
    """Paths of the SQLite files of a store."""
    return sorted(folder.glob("part-*.sqlite3"), key=lambda path: (len(path.name), path.name))


@contextmanager
def opened(path: Path, mode: str = "ro") -> Iterator[sqlite3.Connection]:
    """Open a file of a store read-only; with the mode "rw" for writing too, with "rwc" also a new one.

    Raises:
        StoreError: it cannot be read, or its disk is full.
    """
    try:
        with (
            _readable(path, mode) as address,
            closing(sqlite3.connect(f"file:{address}", uri=True, timeout=10)) as connection,
        ):
            yield connection
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if getattr(error, "sqlite_errorname", "").startswith(_DISK):
            # To read a file, SQLite writes the index of its log into the same folder.
            msg = (
                f"{path} cannot be opened ({error}): is its disk full? If so, make room on it and run again; "
                f"the run goes on where it was. If the disk is damaged: {RESTORE}"
            )
        else:
            msg = f"{path} cannot be read as a part of a recovery store ({error}). {RESTORE}"
        raise StoreError(msg) from error


@contextmanager
def _readable(path: Path, mode: str) -> Iterator[str]:
    """Return the address of a file; of one in a folder that cannot be written, one that needs no other file.

    To read a file, SQLite writes the index of its log into the same folder. So a file without a log is opened
    as one that nobody changes, and a file with one is copied.
    """
    log = path.with_name(f"{path.name}-wal")
    if mode != "ro" or not path.exists() or os.access(path.parent, os.W_OK):
        yield f"{path}?mode={mode}"
    elif not log.exists() or not log.stat().st_size:
        yield f"{path}?mode=ro&immutable=1"
    else:
        with tempfile.TemporaryDirectory() as folder:
            for each in (path, log):
                shutil.copy(each, folder)
            yield f"{folder}/{path.name}?mode=ro"


def read_partition(path: Path, connection: sqlite3.Connection) -> Partition:
    """Read the metadata of a file.

    Raises:
        StoreError: it is not a file of a recovery store.
    """

    def rows(query: str) -> list[tuple[Any, ...]]:
        return connection.execute(query).fetchall()

    parts = rows("SELECT part_index, part_count FROM parts")
    if len(parts) != 1:
        msg = f"{path} says {len(parts)} times which part of a store it is. {RESTORE}"
        raise StoreError(msg)
    committed = rows("SELECT commit_epoch FROM commits")
    # Only the marks of this lane lie in every file; another one may have been awake in other epochs.
    marks = connection.execute(
        "SELECT snap_epoch FROM snaps WHERE step_id >= ? AND step_id < ? AND state_key = ?",
        (*_between(), ONLY_LANE),
    )
    return Partition(
        path,
        rows("PRAGMA application_id")[0][0],
        parts[0][0],
        parts[0][1],
        tuple(rows("SELECT ex_num, worker_count, resume_epoch FROM exs")),
        tuple(rows("SELECT ex_num, worker_index, worker_frontier FROM fronts")),
        committed[0][0] if committed else None,
        frozenset(epoch for (epoch,) in marks),
    )


def _between() -> tuple[str, str]:
    return _MARKS, f"{_MARKS}~"


def resume_epoch(parts: Iterable[Partition]) -> int:
    """Epoch from which the engine will resume: the first that not every worker has finished.

    As `ResumeFrom` in the engine's src/recovery.rs.
    """
    executions = {row for part in parts for row in part.executions}
    if not executions:
        return 1
    last, workers, begun = max(executions)
    reached = dict.fromkeys(range(workers), begun)
    for part in parts:
        for execution, worker, frontier in part.frontiers:
            if execution == last:
                reached[worker] = max(reached.get(worker, begun), frontier)
    return min(reached.values())


def check_files(parts: Sequence[Partition], store: int, count: int) -> None:
    """Check that all files of a store are there, once each, and no other.

    Raises:
        StoreError: some are missing, or of another store.
    """
    for part in parts:
        if part.store != store or part.count != count:
            msg = (
                f"{part.path} is of another recovery store (number {part.store} with {part.count} parts, "
                f"expected {store} with {count}). {RESTORE}"
            )
            raise StoreError(msg)
    missing = sorted({*range(count)} - {part.index for part in parts})
    twice = [part for part in parts if part.path.name != f"part-{part.index}.sqlite3"]
    copies = "; ".join(f"{part.path.name} is a copy of part {part.index}" for part in twice)
    if missing:
        names = ", ".join(f"part-{index}.sqlite3" for index in missing)
        lacks = f"{names} of {count} parts" if len(missing) < count else f"all of its {count} parts"
        msg = f"the recovery store lacks {lacks}{copies and '; '}{copies}. {RESTORE}"
        raise StoreError(msg)
    if len(parts) > count:
        msg = f"the recovery store has a part twice: {copies}. {RESTORE}"
        raise StoreError(msg)


def check_moment(parts: Sequence[Partition], lag: int | None = 0) -> int:
    """Check that the files of a store are of one moment; return the epoch from which to resume.

    A kill can leave the last epoch in some files only. That does no harm: the engine goes back to the last
    epoch that all files have.

    Args:
        parts: metadata of all files.
        lag: number of epochs by which commits lag, None if unknown.

    Raises:
        StoreError: at least one is older or newer than the rest.
    """
    resume = resume_epoch(parts)
    for part in parts:
        committed = 0 if part.committed is None else part.committed
        # The engine accepts a file that is one epoch ahead, though it lacks the rows of the epoch before.
        ahead = committed >= resume
        if ahead or (lag is not None and committed < resume - 2 - lag):
            which = "newer" if ahead else "older"
            msg = (
                f"{part.path.name} of the recovery store is {which} than the rest: it has committed epoch "
                f"{committed:,}, the rest would resume from epoch {resume:,}. {RESTORE}"
            )
            raise StoreError(msg)
    latest = {part.path.name: max((m for m in part.marks if m < resume), default=0) for part in parts}
    # Each of 1, 2, 4, 8 or 16 files holds a mark; with another number, some may hold none.
    some = latest if len(parts) in {1, 2, 4, 8, 16} else {name: m for name, m in latest.items() if m}
    if len({*some.values()}) > 1:
        newest = max(some.values())
        stale = ", ".join(f"{name} (epoch {mark:,})" for name, mark in some.items() if mark < newest)
        msg = (
            f"{stale} of the recovery store: older than the rest, which is of epoch {newest:,}, so the state "
            f"of some assets or models would be of then. {RESTORE}"
        )
        raise StoreError(msg)
    return resume


def check_sound(path: Path, connection: sqlite3.Connection, key: bytes | None = None) -> None:
    """Check that a file is undamaged, and that this release can read every snapshot in it.

    Args:
        path: of the file.
        connection: to it.
        key: key that has to have signed all models, before a run loads any; None checks no signature.

    Raises:
        StoreError: it is not.
    """
    found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        msg = f"{path} is damaged ({str(found).strip()}). {RESTORE}"
        raise StoreError(msg)
    for snapshot in snapshots(path, connection):
        if steps.step_of(snapshot.step) is None:
            msg = f"{path} holds state of {snapshot.step!r}: it is the store of another dataflow"
            raise StoreError(msg)
        if snapshot.state is None and not steps.is_of(snapshot.step, *_DISCARDED, steps.OUTPUTS):
            msg = f"{path} is damaged: {snapshot.step!r}, key {snapshot.key!r}, is empty. {RESTORE}"
            raise StoreError(msg)
        # The first stores held the bare length of an output.
        if snapshot.state is None or type(snapshot.state) is int:
            continue
        try:
            kinds.check(snapshot.state, key)
        except SnapshotError as error:
            msg = f"{path}, step {snapshot.step!r}, key {snapshot.key!r}: {error}"
            raise StoreError(msg) from error


def delete_unfinished(folder: Path) -> int:
    """Delete the snapshots of an epoch that a dead run did not finish; return their number.

    The engine keeps them. The next run repeats that epoch, but perhaps with other active keys. If that run
    dies as well, a later one would use the first run's snapshots as state of this epoch, and would see their
    records twice.

    Args:
        folder: folder of a store that no dataflow uses, with all its files: the epoch from which a run
            resumes depends on all of them.

    Raises:
        StoreError: a file cannot be read or written.
    """
    paths = part_files(folder)
    parts = []
    for path in paths:
        with opened(path) as connection:
            parts.append(read_partition(path, connection))
    if len(parts) != parts[0].count:
        return 0
    resume, deleted = resume_epoch(parts), 0
    for path in paths:
        with opened(path) as connection:
            found = connection.execute("SELECT EXISTS (SELECT 1 FROM snaps WHERE snap_epoch >= ?)", (resume,))
            if not found.fetchone()[0]:
                continue
        with opened(path, mode="rw") as connection, connection:
            deleted += connection.execute("DELETE FROM snaps WHERE snap_epoch >= ?", (resume,)).rowcount
    return deleted


def set_statistics(folder: Path) -> None:
    """Let SQLite read each file in the order of its index when the engine loads it.

    The engine loads 1,000 snapshots at a time, each time with a query that joins the table with the latest
    epoch of each key. By itself SQLite begins with the epochs, and sorts all snapshots of the file each time.
    With these statistics it begins with the table, in the order that is asked for, and sorts nothing.

    They are chosen, not counted: with what ANALYZE counts it still sorts, and with other numbers the engine's
    deletion at each commit would read the whole table. What they mean:
    https://www.sqlite.org/fileformat2.html#the_sqlite_stat1_table.

    Args:
        folder: folder of a store that no dataflow uses.

    Raises:
        StoreError: a file cannot be read or written.
    """
    for path in part_files(folder):
        with opened(path, mode="rw") as connection:
            if (
                connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_stat1'").fetchone()
                is None
            ):
                # Makes the table, and counts nothing.
                connection.execute("ANALYZE sqlite_master")
            if connection.execute("SELECT tbl, idx, stat FROM sqlite_stat1").fetchall() != [STATISTICS]:
                with connection:
                    connection.execute("DELETE FROM sqlite_stat1")
                    connection.execute("INSERT INTO sqlite_stat1 VALUES (?, ?, ?)", STATISTICS)


def snapshots(
    path: Path, connection: sqlite3.Connection, before: int | None = None, step: str | None = None
) -> Iterator[Snapshot]:
    """Read the snapshots in a file: all, or those that a resume from an epoch finds, perhaps of one step.

    Raises:
        StoreError: one is damaged.
    """
    if before is None:
        found = connection.execute(_ALL)
    elif step is None:
        found = connection.execute(_LATEST, (before,))
    else:
        found = connection.execute(_LATEST_OF_STEP, (before, step))
    for step_id, key, epoch, written, pickled in found:
        size = 0 if pickled is None else len(pickled)
        try:
            state = None if pickled is None else _plain(pickled)
        except Exception as error:
            # Damaged bytes of a pickle may raise anything.
            msg = f"{path} is damaged: step {step_id!r}, key {key!r} ({error}). {RESTORE}"
            raise StoreError(msg) from error
        yield Snapshot(step_id, key, epoch, written, state, size)


def check_log(path: Path) -> None:
    """Check that SQLite read the log of a file to its end.

    It stops at the first frame whose checksum differs, as if nothing followed. That is right for an
    unfinished transaction. But no transaction begins before the last one is on the disk: if two follow, bytes
    were changed. See https://www.sqlite.org/fileformat2.html, section 4.

    Raises:
        StoreError: the log is damaged.
    """
    log, index = (path.with_name(f"{path.name}-{end}") for end in ("wal", "shm"))
    if not log.exists() or not index.exists() or log.stat().st_size < _LOG_HEADER:
        return
    with log.open("rb") as file, index.open("rb") as shared:
        page, _, salts = struct.unpack(">8xII8s8x", file.read(_LOG_HEADER))
        read = struct.unpack_from("=I", shared.read(_INDEX_HEADER), _INDEX_READ)[0]
        follow = 0
        file.seek(_LOG_HEADER + read * (_FRAME_HEADER + page))
        while len(header := file.read(_FRAME_HEADER)) == _FRAME_HEADER:
            _, ends, found = struct.unpack(">II8s8x", header)
            follow += bool(ends) and found == salts
            file.seek(page, os.SEEK_CUR)
    if follow > 1:
        msg = f"{log} is damaged after frame {read:,}: {follow:,} transactions in it are lost. {RESTORE}"
        raise StoreError(msg)


class _Plain(pickle.Unpickler):
    """Unpickler of numbers, text and bytes, the only state here; it refuses classes."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - never returns
        msg = f"a pickled {module}.{name}"
        raise pickle.UnpicklingError(msg)


def _plain(pickled: bytes) -> Any:  # noqa: ANN401 - plain data of any shape
    return _Plain(io.BytesIO(pickled)).load()
