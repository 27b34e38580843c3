"""What a dataflow runs on, and how it is found where Bytewax's own command starts the run."""

from __future__ import annotations

import argparse
import atexit
import gc
import re
import shlex
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dataflows import steps
from dataflows.breaker import check_commands, watched
from dataflows.exporter import address_of, address_of_process, assets_of, served
from dataflows.notify.delivery import delivered
from dataflows.recovery.manifest import started, write_manifest
from dataflows.recovery.sqlite_files import delete_unfinished, locked, part_files, set_statistics
from dataflows.recovery.store import check_store, moved_state, past_in, stored_parts
from dataflows.status import RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dataflows.fleet.fleet import Fleet
    from dataflows.state.layouts import StateHistory

__all__ = [
    "Runtime",
    "StoreLocks",
    "collecting_rarely",
    "find_runtime",
    "named_store",
    "serve_until_exit",
    "workers_of",
]


class StoreLocks:
    """Locks of stores, held until `close`; a store that is held already is not locked again."""

    def __init__(self) -> None:
        self._held = ExitStack()
        self._stores: set[Path] = set()

    def hold(self, store: Path) -> None:
        """Lock a store.

        Raises:
            StoreError: another run holds it.
        """
        if store.resolve() not in self._stores:
            self._held.enter_context(locked(store))
            self._stores.add(store.resolve())

    def close(self) -> None:
        """Release all of them."""
        self._held.close()
        self._stores.clear()


#: Of Bytewax's own command: held until this process ends.
_LOCKS = StoreLocks()
#: Endpoints of metrics, open until this process ends.
_serving = ExitStack()


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Look for cycles of garbage rarely while a dataflow runs in this process: what flows in it makes none.

    Every record makes objects that live until the end of their batch. At Python's own thresholds, the search
    through them, and through the state of all assets, took an eighth of the time of a run.
    """
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a dataflow runs on.

    Attributes:
        workers: workers of all processes together; the order of effect is checked where there is one.
        store: folder of the recovery store, None without recovery.
        status: of the run.
        past: configurations that the store has seen, this fleet included; None without a store.
        moved: state of the lane's metrics where a former release kept it in the store, see `moved_state`.
        process: number of this process among those of the run.
        stored: parts of the lane of which the store holds a snapshot; None where some of its files may be on
            other hosts. All processes of a run have to build the same steps.
    """

    workers: int = 1
    store: Path | None = None
    status: RunStatus = field(default_factory=RunStatus)
    past: StateHistory | None = None
    moved: bytes | None = None
    process: int = 0
    stored: frozenset[int] | None = None


def find_runtime(
    fleet: Fleet, arguments: Sequence[str], environ: Mapping[str, str], locks: StoreLocks = _LOCKS
) -> Runtime:
    """Find what Bytewax's own command line and environment say, and prepare the store that they name.

    For ``python -m bytewax.run``, which opens the store by itself after the dataflow was built. The first
    process locks the store until it ends; the others of its cluster only check it.

    Args:
        fleet: that goes on from the store.
        arguments: of the command, without its name.
        environ: environment variables; FLEET_MIGRATE names classes and targets that may lose state.
        locks: hold the store; by default until this process ends.

    Raises:
        StoreError: another run holds the store, or it cannot be used.
        FleetChangedError: the store is of another fleet, or FLEET_MIGRATE does not accept a loss.
    """
    named, store = _named(arguments, environ), named_store(arguments, environ)
    number, alone = _place(named, environ)
    # The engine reports missing files.
    if store is not None and part_files(store):
        first = number == 0
        if first:
            locks.hold(store)
        migrate = shlex.split(environ.get("FLEET_MIGRATE", ""))
        manifest = check_store(store, fleet, whole=alone, adopt=first, migrate=migrate)
        if first and manifest is not None:
            # The other processes of the cluster do not start before this one.
            delete_unfinished(store)
            write_manifest(store, started(manifest, fleet, _lag(named)))
            set_statistics(store)
    return Runtime(
        workers_of(arguments, environ),
        store,
        past=past_in(store, fleet),
        moved=moved_state(store),
        process=number,
        stored=stored_parts(store, steps.LANE) if alone else None,
    )


def serve_until_exit(fleet: Fleet, runtime: Runtime, address: str | None, assets: str = "") -> None:
    """Serve metrics and probes until this process ends, at the port of the address plus its number.

    The first process delivers alerts too. Each one watches how long its champions take.

    Args:
        fleet: that runs.
        runtime: on which it runs.
        address: ``[HOST:]PORT``; None serves nothing.
        assets: number of assets that may be a label of metrics; empty for none.

    Raises:
        AddressError: nothing can listen there.
        FleetError: no run reads the commands of a breaker.
        SecretError: a secret of a receiver of alerts is not there, or cannot be used.
    """
    if any(target.breaker is not None for target in fleet.targets.values()):
        check_commands(fleet)
        _serving.enter_context(watched(fleet, runtime.status))
    if runtime.process == 0 and fleet.notify:
        _serving.enter_context(delivered(fleet, runtime.status))
        atexit.register(_serving.close)
    if address:
        place = address_of_process(address_of(address), runtime.process)
        folder = fleet.output.folder
        _serving.enter_context(served(place, runtime.status, runtime.store, folder, assets_of(assets)))


def named_store(arguments: Sequence[str], environ: Mapping[str, str]) -> Path | None:
    """Store of Bytewax's own command line or environment, None without recovery."""
    named: str | None = _named(arguments, environ).recovery_directory
    return Path(named) if named else None


def workers_of(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Count the workers of all processes together; what cannot be counted is taken for two.

    >>> workers_of([], {}), workers_of(["-w", "1"], {}), workers_of(["-w2", "-a", "here:1;there:1"], {})
    (1, 1, 4)
    """
    named = _named(arguments, environ)
    try:
        each = int(named.workers_per_process or 1)
    except ValueError:
        each = 2
    if named.addresses:
        return each * len(named.addresses.split(";"))
    cluster = named.process_id or environ.get("BYTEWAX_POD_NAME") or environ.get("BYTEWAX_HOSTFILE_PATH")
    return max(2, each) if cluster else each


def _named(arguments: Sequence[str], environ: Mapping[str, str]) -> argparse.Namespace:
    """Settings of store and cluster from the engine's command line, else from its environment."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for options, variable in (
        (("-r", "--recovery-directory"), "RECOVERY_DIRECTORY"),
        (("-b", "--backup-interval"), "RECOVERY_BACKUP_INTERVAL"),
        (("-w", "--workers-per-process"), "WORKERS_PER_PROCESS"),
        (("-i", "--process-id"), "PROCESS_ID"),
        (("-a", "--addresses"), "ADDRESSES"),
    ):
        default = environ.get(f"BYTEWAX_{variable}") or None
        parser.add_argument(*options, dest=variable.lower(), nargs="?", default=default)
    return parser.parse_known_args(list(arguments))[0]


def _place(named: argparse.Namespace, environ: Mapping[str, str]) -> tuple[int, bool]:
    """Number of this process in its cluster, and whether it is the only one."""
    pod = re.search(r"-(\d+)$", environ.get("BYTEWAX_POD_NAME", ""))
    number = named.process_id or (pod and pod[1])
    several = named.addresses or environ.get("BYTEWAX_HOSTFILE_PATH") or pod
    return int(number or 0), not several


def _lag(named: argparse.Namespace) -> int | None:
    """Number of epochs by which commits lag; None if the engine would have to compute it."""
    kept: str = named.recovery_backup_interval or ""
    return 0 if kept == "0" else None
