"""``python -m dataflows doctor``: can a fleet run on this machine? Checks of two seconds, before a run.

`status` looks at what a run wrote; this looks at what a run needs: versions, folders, disk, clock, input,
broker, store. It changes nothing, but it writes and removes a file of one byte in each folder.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from dataflows.connectors.lines import InputError, expand
from dataflows.fleet import FleetError, load
from dataflows.recovery.manifest import changes_of, read_manifest
from dataflows.recovery.sqlite_files import StoreError, locked
from dataflows.tools.health import Finding, disk_findings
from dataflows.tools.tables import command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflows.fleet.fleet import Fleet, Kafka

__all__ = ["DISTRIBUTION", "examine"]

#: Name of the installed distribution.
DISTRIBUTION = "highwater-ml"
#: Seconds to wait for a broker.
_PATIENCE = 1.5
#: Least memory for a fleet of some hundred assets, bytes.
_MEMORY = 1 << 30
#: A clock before this instant (seconds since 1970, in 2026) is not set.
_BUILT = 1_780_000_000


def examine(path: Path | None, store: Path | None = None) -> list[Finding]:
    """Check a machine, and a fleet on it.

    Args:
        path: a ``fleet.toml``; None checks the machine alone.
        store: folder of the recovery store; None takes ``recovery/<name of the fleet>``.
    """
    found = [*_versions(), *_machine()]
    if path is None:
        return [*found, *disk_findings({Path.cwd()})]
    try:
        fleet = load(path)
    except (FleetError, OSError) as error:
        todo = f"{command(f'check {path}')} shows every problem"
        return [*found, Finding("failure", "fleet", str(error).splitlines()[0], todo)]
    folder, store = fleet.output.folder, store or Path("recovery") / fleet.name
    what = f"{path}: {len(fleet.classes)} classes, {len(fleet.targets)} targets"
    return [
        *found,
        Finding("ok", "fleet", what),
        *_folder(folder),
        *_folder(store),
        *disk_findings({_existing(folder), _existing(store)}),
        *_input(fleet),
        *_brokers(fleet),
        *_store(store, fleet),
    ]


def _existing(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists."""
    return next(each for each in (folder, *folder.absolute().parents) if each.exists())


def _versions() -> Iterator[Finding]:
    """Python and the packages that this release was tested with."""
    yield Finding("ok", "python", f"{platform.python_version()} at {sys.executable}")
    try:
        needed = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        what, todo = f"{DISTRIBUTION} is not installed, its files are read from a folder", "pip install it"
        yield Finding("warning", "packages", what, todo)
        return
    wrong = []
    for text in needed:
        need = Requirement(text)
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{need.name} is missing")
            continue
        if not need.specifier.contains(version, prereleases=True):
            wrong.append(f"{need.name} {version} is not {need.specifier}")
    if wrong:
        todo = "install from the lock file: pip install --require-hashes -r requirements.lock"
        yield Finding("failure", "packages", "; ".join(wrong), todo)
    else:
        own = importlib.metadata.version(DISTRIBUTION)
        yield Finding("ok", "packages", f"{DISTRIBUTION} {own}, and all it needs")


def _machine() -> Iterator[Finding]:
    """System, cores, memory and clock."""
    if sys.platform != "linux":
        yield Finding("failure", "system", sys.platform, "run it on Linux, or in its container")
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    what = f"{cores} cores, {memory / 1e9:.1f} GB of memory free"
    if memory < _MEMORY:
        yield Finding("warning", "machine", what, "a fleet of some hundred assets wants 1 GB")
    else:
        yield Finding("ok", "machine", what)
    now = time.time()
    if now < _BUILT:
        said = time.strftime("%Y-%m-%d", time.gmtime(now))
        yield Finding("failure", "clock", f"the date is {said}", "set the clock: live input is stamped by it")


def _folder(folder: Path) -> Iterator[Finding]:
    """Check that files can be made in a folder, or in the one where it will be made."""
    there = _existing(folder)
    try:
        with tempfile.NamedTemporaryFile(dir=there, prefix=".doctor-") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        todo = f"let the user {os.geteuid()} write there, or choose another folder"
        yield Finding("failure", "folders", f"{there} cannot be written: {error.strerror}", todo)
    else:
        yield Finding("ok", "folders", f"{folder} can be written")


def _input(fleet: Fleet) -> Iterator[Finding]:
    if fleet.input.kafka is not None or fleet.input.connector is not None or "-" in fleet.input.files:
        return
    try:
        files = expand(fleet.input.files)
    except InputError as error:
        yield Finding("failure", "input", str(error), "correct `files` under [input]")
        return
    unreadable = [path for path in files if not os.access(path, os.R_OK)]
    if unreadable:
        yield Finding("failure", "input", f"{unreadable[0]} cannot be read", "let this user read it")
        return
    size = sum(Path(path).stat().st_size for path in files)
    count = "1 file" if len(files) == 1 else f"{len(files):,} files"
    if size:
        yield Finding("ok", "input", f"{count}, {size / 1e6:,.1f} MB")
    else:
        yield Finding("warning", "input", f"{count} without any bytes", "nothing can be read yet")


def _brokers(fleet: Fleet) -> Iterator[Finding]:
    """Check that the brokers answer, and have the topics to read."""
    if fleet.input.kafka is None and fleet.output.kafka is None:
        return
    wanted = () if fleet.input.kafka is None else fleet.input.kafka.topics
    yield _broker(fleet.kafka, wanted)


def _broker(kafka: Kafka, wanted: tuple[str, ...]) -> Finding:
    from confluent_kafka import KafkaException  # noqa: PLC0415 - imported where there are topics

    from dataflows.connectors.kafka.client import Clients, KafkaInputError  # noqa: PLC0415

    try:
        topics = Clients(kafka).admin().list_topics(timeout=_PATIENCE).topics
    except (KafkaInputError, KafkaException) as error:
        todo = "check `bootstrap`, the network, and the secrets under [kafka]"
        return Finding("failure", "broker", f"{kafka.bootstrap} does not answer: {error}", todo)
    missing = [name for name in wanted if name not in topics]
    if missing:
        what = f"{kafka.bootstrap} has no topic {missing[0]!r} that this user may see"
        return Finding("failure", "broker", what, "create it, or correct `topics` under [input.kafka]")
    return Finding("ok", "broker", f"{kafka.bootstrap} answers, and has {len(wanted)} topics to read")


def _store(folder: Path, fleet: Fleet) -> Iterator[Finding]:
    """Check that a store is free and continues this fleet. `inspect` reads it whole."""
    if not folder.exists():
        yield Finding("ok", "store", f"{folder} will be made")
        return
    try:
        manifest = read_manifest(folder)
        with locked(folder):
            pass
    except StoreError as error:
        yield Finding("failure", "store", str(error), "see recovery/README.md")
        return
    changes = [] if manifest is None else changes_of(manifest, fleet)
    if changes:
        names = ", ".join(sorted({change.name for change in changes}))
        todo = "the next run says what would be lost, and asks"
        yield Finding("warning", "store", f"fleet.toml differs from the store's: {names}", todo)
    else:
        yield Finding("ok", "store", f"{folder} is free, and of this fleet")
