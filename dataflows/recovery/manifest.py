"""Manifest of a recovery store, ``manifest.json``: its fleet, layouts and writer."""

from __future__ import annotations

import hashlib
import importlib.metadata
import secrets
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

import dataflows
from dataflows.disk import replace_file
from dataflows.placement import lane_names
from dataflows.recovery.sqlite_files import StoreError
from dataflows.state.layouts import (
    Change,
    FleetChangedError,
    StateHistory,
    check_shapes,
    going_on,
    other_fleet,
)

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.fleet.fleet import Fleet

__all__ = [
    "LAST_BACKUP",
    "Copy",
    "Manifest",
    "Run",
    "changes_of",
    "crc_of",
    "new_manifest",
    "past_of",
    "read_manifest",
    "started",
    "utc",
    "write_manifest",
]

#: File in a store with the time of its last backup.
LAST_BACKUP = "last_backup"

_NAME = "manifest.json"
#: Version of the store as a whole: its files and their relations. Snapshots have versions of
#: their own (`dataflows.state.snapshots.Kind`).
FORMAT = 2
#: Format 1 had digests of the layouts, not the layouts.
_READABLE = (1, FORMAT)


class Copy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Part of a manifest that marks a backup: its time and content.

    Attributes:
        taken: UTC.
        resume: the epoch from which a run on it resumes.
        epochs: last committed epoch of each partition.
        positions: length in bytes of each output at that state.
        files: bytes and CRC-32 of every other file of the backup.
    """

    taken: str
    resume: int
    epochs: dict[str, int | None]
    positions: dict[str, int]
    files: dict[str, tuple[int, int]]


class Run(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The latest run on a store.

    Attributes:
        fleet_file: the fleet.toml.
        configuration: digest of that file's contents.
        outputs: folder of the outputs.
        program, engine, river: versions.
        started: UTC.
        lag: number of epochs by which commits lag, None if unknown.
    """

    fleet_file: str
    configuration: str
    outputs: str
    program: str
    engine: str
    river: str
    started: str
    lag: int | None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Manifest of a store.

    Attributes:
        format: version of the store as a whole.
        store: number of the store, also in each of its files (SQLite's ``application_id``).
        partitions: number of files.
        lanes: names of its lanes.
        fleet: name of the fleet.
        past: configurations that it has seen, see `dataflows.state.layouts`.
        created: UTC.
        run: the latest run.
        copy: in a backup, its time and content.
        shapes: in format 1, digests of the layouts; no ``past`` then.
    """

    format: int
    store: int
    partitions: int
    lanes: tuple[str, ...]
    fleet: str
    created: str
    run: Run
    past: StateHistory = StateHistory()
    copy: Copy | None = None
    shapes: dict[str, str] | None = None


class _Sealed(msgspec.Struct, forbid_unknown_fields=True):
    """Content of the file: the manifest, and the CRC-32 of its text."""

    crc: int
    manifest: msgspec.Raw


class _Format(msgspec.Struct):
    """Fields of every format of a manifest."""

    format: int


def new_manifest(fleet: Fleet, partitions: int) -> Manifest:
    """Make the manifest of a new store."""
    return Manifest(
        format=FORMAT,
        # Not 0: that is the number of an unnumbered file.
        store=secrets.randbelow((1 << 31) - 1) + 1,
        partitions=partitions,
        lanes=tuple(lane_names(fleet.input.lanes)),
        fleet=fleet.name,
        created=utc(),
        run=_run(fleet, 0),
        past=going_on(StateHistory(), fleet)[0],
    )


def past_of(manifest: Manifest | None, fleet: Fleet) -> StateHistory:
    """Configurations of a store, including the fleet that continues from it."""
    return going_on(StateHistory() if manifest is None else manifest.past, fleet)[0]


def changes_of(manifest: Manifest, fleet: Fleet) -> list[Change]:
    """Find differences between a store and a fleet.

    Raises:
        FleetChangedError: the store is of another fleet, or it changed and has a format without layouts.
    """
    if manifest.fleet != fleet.name:
        raise FleetChangedError(other_fleet(manifest.fleet, fleet.name))
    lanes = fleet.input.lanes
    if len(manifest.lanes) != lanes:
        msg = (
            f"the recovery store has {len(manifest.lanes)} lanes, `lanes` under [input] is {lanes}: which "
            f"asset lives in which lane cannot change. Set `lanes` to {len(manifest.lanes)} again; or start "
            "over (--fresh), which reads the whole input again and learns from it in other lanes"
        )
        raise FleetChangedError(msg)
    if manifest.shapes is not None:
        check_shapes(fleet, manifest.shapes)
    return going_on(manifest.past, fleet)[1]


def started(manifest: Manifest, fleet: Fleet, lag: int | None) -> Manifest:
    """Make the manifest of a run that continues from a store, at any cost."""
    return msgspec.structs.replace(
        manifest,
        format=FORMAT,
        shapes=None,
        past=past_of(manifest, fleet),
        run=_run(fleet, lag),
        copy=None,
    )


def _run(fleet: Fleet, lag: int | None) -> Run:
    return Run(
        fleet_file=str(fleet.path.resolve()),
        configuration=hashlib.blake2b(fleet.path.read_bytes(), digest_size=12).hexdigest(),
        outputs=str(fleet.output.folder.resolve()),
        program=dataflows.__version__,
        engine=importlib.metadata.version("bytewax"),
        river=importlib.metadata.version("river"),
        started=utc(),
        lag=lag,
    )


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of a store; None if it has none.

    Raises:
        StoreError: it is damaged, or of a format that this release does not read.
    """
    path = folder / _NAME
    if not path.exists():
        return None
    data = path.read_bytes()
    if not data.strip(b"\0 \n"):
        msg = (
            f"{path} is empty, as a power cut under an older release may leave it. Which layouts the "
            "snapshots in the store name is written nowhere else, so they cannot be read without it. If "
            "fleet.toml is as it was when a backup of this very store was taken, copy manifest.json from "
            "that backup to this place; else restore the store from the backup, or start over (--fresh)"
        )
        raise StoreError(msg)
    try:
        sealed = msgspec.json.decode(data, type=_Sealed)
        _check_crc(sealed)
        found = msgspec.json.decode(sealed.manifest, type=_Format).format
        if found in _READABLE:
            return msgspec.json.decode(sealed.manifest, type=Manifest)
    except ValueError as error:
        msg = f"{path} is damaged ({error}); restore the store from a backup, or start over (--fresh)"
        raise StoreError(msg) from error
    msg = (
        f"{folder} is a recovery store of format {found}, this release reads up to format {FORMAT}; run the "
        "release that wrote it, or start over (--fresh)"
    )
    raise StoreError(msg)


def _check_crc(sealed: _Sealed) -> None:
    if sealed.crc != zlib.crc32(sealed.manifest):
        msg = "its CRC differs"
        raise ValueError(msg)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a store atomically."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    replace_file(folder / _NAME, b'{"crc": %d, "manifest": %s}\n' % (zlib.crc32(text), text))


def crc_of(path: Path) -> tuple[int, int]:
    """Bytes and CRC-32 of a file."""
    size = crc = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            size += len(chunk)
            crc = zlib.crc32(chunk, crc)
    return size, crc


def utc() -> str:
    """Current time, for human readers; no decision depends on it."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
