"""``python -m dataflows run``: the dataflow with recovery, progress and a summary."""

from __future__ import annotations

import errno
import re
import shutil
import signal
import threading
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from bytewax.recovery import RecoveryConfig
from bytewax.run import cli_main
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from dataflows import steps
from dataflows.breaker import check_commands, watched
from dataflows.connectors.ends import source_of
from dataflows.connectors.file_sink import committed_file, delete_output, end_of
from dataflows.connectors.lines import STDIN, InputError, expand, size_of
from dataflows.connectors.order_journal import delete_journal
from dataflows.connectors.sink import delete_lineage
from dataflows.engine.cluster import Cluster, counter, followed, repeated
from dataflows.engine.runtime import Runtime, collecting_rarely
from dataflows.exporter import address_of_process, served
from dataflows.failure_prediction import build
from dataflows.fleet import load
from dataflows.mapping.recording import delete_recordings, sentence, with_recordings
from dataflows.notify.delivery import delivered
from dataflows.outputs import OUTPUTS
from dataflows.recovery.store import (
    StoreError,
    moved_state,
    open_store,
    past_in,
    start_over,
    starts_over,
    stored_parts,
)
from dataflows.status import RunStatus, logged_to
from dataflows.target.models import ModelError
from dataflows.tools.intake import UnusableInputError, nothing_new, restarts, unusable
from dataflows.tools.summary import show
from dataflows.tools.tables import show_either
from dataflows.tools.trial import check_models

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from datetime import timedelta
    from pathlib import Path
    from types import FrameType

    from bytewax.dataflow import Dataflow

    from dataflows.connectors.source import LaneSource
    from dataflows.engine.cluster import Counter as EpochCounter
    from dataflows.fleet import Fleet
    from dataflows.status import Counted

__all__ = ["Deployment", "bytes_of", "progress", "run", "signals"]

#: The number of commits after which a length that a process without the source noted is final: it may have
#: noted it an epoch before the source's own snapshot, and hears of commits up to two calls too late.
_LAG = 4
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Deployment:
    """How a run is deployed on its machine.

    Attributes:
        processes: number of processes; targets and assets spread over them.
        existing: whether to refuse to create a store: its volume may have come back empty.
        metrics: host and port of metrics and probes, those of process i at port + i; None serves none.
        metrics_assets: number of assets that may be a label of metrics.
    """

    processes: int = 1
    existing: bool = False
    metrics: tuple[str, int] | None = None
    metrics_assets: int = 0


def run(  # noqa: PLR0913 - one argument a wish of the command line
    fleet: Fleet,
    console: Console,
    *,
    store: Path | None,
    epoch: timedelta,
    fresh: bool = False,
    migrate: Sequence[str] = (),
    deployment: Deployment | None = None,
    source: Callable[[Fleet, RunStatus], LaneSource] | None = None,
    status: RunStatus | None = None,
    as_json: bool = False,
) -> None:
    """Run a fleet to the end of its input, or until Ctrl-C or SIGTERM, and show the summary.

    Args:
        fleet: the fleet.
        console: console for progress and summary.
        store: folder of the recovery store, created if missing; None runs without recovery.
        epoch: time between snapshots.
        fresh: delete the store and the outputs of earlier runs first.
        migrate: classes and targets that may lose state where the fleet changed them.
        deployment: processes, metrics, and whether a store may be created; None for its defaults.
        source: makes the source from the fleet, whose files hold events, instead of the configured input;
            only with one process.
        status: counters and gauges of the run, for a caller in another thread.
        as_json: print the summary as one JSON object on standard output, and nothing else there.

    Raises:
        FleetError: a model cannot run, or no run reads the commands of a breaker.
        StoreError: the store is in use, or new with outputs of an earlier run, or a model cannot be stored.
        ProcessError: one of several processes failed.
        AddressError: nothing can listen at the address of the metrics.
        SecretError: a secret of a receiver of alerts is not there, or cannot be used.
        InputError: the input cannot be read, or cannot be resumed.
        UnusableInputError: no record could be used, or too many mix arrivals.
    """
    where = deployment or Deployment()
    out, console = console, Console(stderr=True) if as_json else console
    if source is None:
        check_commands(fleet)
    _check_start(fleet, store, where, fresh=fresh)
    status = RunStatus() if status is None else status
    folder = fleet.output.folder
    folder.mkdir(parents=True, exist_ok=True)
    with (
        served(where.metrics, status, store, folder, where.metrics_assets),
        _explain_write_errors(fleet, store),
        _opened(fleet, store, fresh=fresh, migrate=migrate) as recovery,
        (folder / "log.jsonl").open("a", buffering=1) as log,
        logged_to(log),
        delivered(fleet, status),
        # A caller's own source plays what was recorded: there nothing is to be decided any more.
        watched(fleet, status) if source is None else nullcontext(),
    ):
        fleet = _recorded(fleet, console)
        reading = source_of(fleet, status, store) if source is None else source(fleet, status)
        runtime = _runtime(fleet, store, status, where.processes)
        dataflow = build(fleet, runtime, reading)
        with (
            signals(status, console),
            progress(fleet.name, reading.total, status, console),
        ):
            _run_processes(fleet, dataflow, runtime, epoch, where, recovery)
        # A run that was stopped has not seen its input to the end.
        why = None if status.stop else unusable(fleet, store, status)
        if why is not None and store is not None and restarts(fleet, status.intake):
            start_over(store)
    if as_json and why is None:
        show_either(out, [_result(fleet, store, status)], lambda: None, as_json=True)
        return
    _show_result(fleet, store, status, why, console)


def _runtime(fleet: Fleet, store: Path | None, status: RunStatus, workers: int, process: int = 0) -> Runtime:
    """Find what a process runs on; all processes of a run have the whole store."""
    past, moved, stored = past_in(store, fleet), moved_state(store), stored_parts(store, steps.LANE)
    return Runtime(workers, store, status, past, moved, process, stored)


def _check_start(fleet: Fleet, store: Path | None, where: Deployment, *, fresh: bool) -> None:
    """Refuse a run whose models, input, store or outputs cannot be used, before anything is written."""
    check_models(fleet)
    _check_input(fleet, store)
    if where.existing:
        _check_existing(store)
    if not fresh:
        _check_outputs(fleet, store)


def _result(fleet: Fleet, store: Path | None, status: RunStatus) -> dict[str, Any]:
    """The result of a run for a program: how it ended, and the summary of all runs into the folder."""
    path = fleet.output.folder / "summary.json"
    return {
        "fleet": fleet.name,
        "outputs": str(fleet.output.folder),
        "store": None if store is None else str(store),
        "stopped": status.stop,
        "records": status.records,
        "new_records": status.records - status.began,
        "summary": orjson.loads(path.read_bytes()) if path.exists() else None,
    }


def _opened(
    fleet: Fleet, store: Path | None, *, fresh: bool, migrate: Sequence[str]
) -> AbstractContextManager[RecoveryConfig | None]:
    """Return the recovery store for a ``with`` statement; `fresh` deletes the outputs of earlier runs."""

    def delete_outputs() -> None:
        _delete_outputs(fleet.output.folder)
        if store is not None:
            delete_journal(store / "journal")
            delete_lineage(store)

    if store is not None:
        # The outputs are deleted once this run holds the store: another run could be writing these files.
        return open_store(store, fleet, fresh=fresh, migrate=migrate, delete_outputs=delete_outputs)
    if fresh:
        delete_outputs()
    return nullcontext()


def _run_processes(
    fleet: Fleet,
    dataflow: Dataflow,
    runtime: Runtime,
    epoch: timedelta,
    where: Deployment,
    recovery: RecoveryConfig | None,
) -> None:
    """Run the engine in all processes to the end of the input, and add up what they counted."""
    status, epochs, stops = runtime.status, counter(), counter()
    # The other processes of a run end with the engine's error alone.
    status.raises = where.processes == 1
    status.on_commit(partial(_raise, epochs))
    with (
        Cluster(
            where.processes, _run_helper, fleet.path, runtime.store, epoch, where, epochs, stops
        ) as cluster,
        repeated(lambda: _pass_stop(status, stops)),
    ):
        _execute(dataflow, 0, cluster.addresses, epoch, recovery)
        if status.error is not None:
            raise status.error
        status.committed()
        for helper in cluster.results():
            status.absorb(helper)


def _show_result(
    fleet: Fleet, store: Path | None, status: RunStatus, why: str | None, console: Console
) -> None:
    """Show the summary, or that the run was stopped; raise the reason why its input was unusable."""
    if status.stop:
        resume = "Run the same command again to go on." if store else "Without a store it cannot be resumed."
        console.print(f"Stopped after record {status.records:,}; everything before it is committed. {resume}")
    if why is not None:
        raise UnusableInputError(why)
    if nothing_new(status):
        _show_nothing_new(fleet, status, console)
        return
    show(fleet, store, console)


def _recorded(fleet: Fleet, console: Console) -> Fleet:
    """Make events of the rows of the user's own files, where the fleet has rules for them."""
    if not fleet.input.rules:
        return fleet
    with console.status("Making events of the rows ...") as shown:
        recorded, found = with_recordings(
            fleet, lambda rows: shown.update(f"Making events of the rows: {rows:,} ...")
        )
    if found:
        console.print(sentence(found), highlight=False)
    return recorded


def _raise(epochs: EpochCounter) -> None:
    epochs.value += 1


def _pass_stop(status: RunStatus, stops: EpochCounter) -> None:
    """Request the stop of the lanes of other processes."""
    if status.stop:
        stops.value = 1


def _stop(status: RunStatus) -> None:
    status.stop = True


def _run_helper(
    number: int,
    addresses: list[str],
    path: Path,
    store: Path | None,
    epoch: timedelta,
    where: Deployment,
    epochs: EpochCounter,
    stops: EpochCounter,
) -> Counted:
    """Run the dataflow as another process than the first, which opened the store; return what it counted."""
    fleet = load(path)
    if fleet.input.rules:
        fleet, _ = with_recordings(fleet, lambda _: None)
    status = RunStatus()
    recovery = None if store is None else RecoveryConfig(store)  # type: ignore[no-untyped-call]
    folder = fleet.output.folder
    address = where.metrics and address_of_process(where.metrics, number)
    with (
        served(address, status, store, folder, where.metrics_assets),
        (folder / "log.jsonl").open("a", buffering=1) as log,
        logged_to(log),
        watched(fleet, status),
    ):
        dataflow = build(fleet, _runtime(fleet, store, status, len(addresses), number))
        with ExitStack() as stack:
            stack.enter_context(followed(stops, partial(_stop, status)))
            # The engine gives the lanes to the processes in turn.
            if number >= fleet.input.lanes:
                status.lag = _LAG
                stack.enter_context(followed(epochs, status.committed))
            _execute(dataflow, number, addresses, epoch, recovery)
        status.lag = 0
        status.committed()
    return status.counted()


def _execute(
    dataflow: Dataflow, number: int, addresses: list[str] | None, epoch: timedelta, recovery: object
) -> None:
    with collecting_rarely():
        cli_main(  # type: ignore[no-untyped-call]
            dataflow,
            process_id=None if addresses is None else number,
            addresses=addresses,
            epoch_interval=epoch,
            recovery_config=recovery,
        )


def _show_nothing_new(fleet: Fleet, status: RunStatus, console: Console) -> None:
    """Show that nothing was read, in place of the figures of an earlier run."""
    console.print(f"No new records since record {status.records:,}.", highlight=False)
    console.print(
        f"What earlier runs found is in {fleet.output.folder}, the figures in summary.json. New records go "
        "behind those that were read, or into new files; --fresh reads everything from the beginning.",
        highlight=False,
    )


@contextmanager
def _explain_write_errors(fleet: Fleet, store: Path | None) -> Iterator[None]:
    """Raise an error with the remedy where the engine, or a step, cannot write."""
    try:
        yield
    except BaseException as error:
        unwritable = next((cause for cause in _causes(error) if isinstance(cause, ModelError)), None)
        if unwritable is not None:
            raise StoreError(str(unwritable)) from error
        # The engine has the error of SQLite as text, sometimes in a panic, and wraps the error of a step.
        failed = re.search(r"SqliteFailure\(.*, Some\(\"(.*?)\"\)\)", str(error))
        full = next((cause for cause in _causes(error) if getattr(cause, "errno", None) in _FULL), None)
        if failed is None and full is None:
            raise
        why = full.strerror if isinstance(full, OSError) else failed and failed[1]
        msg = (
            f"{store or fleet.output.folder} or a file next to it cannot be written ({why}); make room on "
            f"the disks of {store or 'the run'} and {fleet.output.folder}, and run again: with a store the "
            "run continues where it was, and no row is lost or duplicated"
        )
        raise StoreError(msg) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _check_input(fleet: Fleet, store: Path | None) -> None:
    """Refuse a resume that would be impossible."""
    of_files = fleet.input.kafka is None and fleet.input.connector is None
    if of_files and expand(fleet.input.files) == [STDIN] and store is not None:
        msg = "standard input cannot be read again after a stop; add --no-recovery, or give files"
        raise InputError(msg)


def _check_existing(store: Path | None) -> None:
    """Refuse to create a store: its volume may have come back empty."""
    if store is None or not any(store.glob("part-*.sqlite3")):
        msg = (
            f"{store or 'a run without recovery'}: there is no recovery store, and --existing forbids a "
            "new one. Was its volume replaced or emptied? Then restore a backup (`dataflows restore`). "
            "For the first start of a fleet, or to give up all that it learned, start once without --existing"
        )
        raise StoreError(msg)


def _check_outputs(fleet: Fleet, store: Path | None) -> None:
    """Refuse to overwrite outputs that the store does not know."""
    folder = fleet.output.folder
    new = store is None or not (any(store.glob("part-*.sqlite3")) or starts_over(store))
    if new and any(map(end_of, _outputs(folder))):
        msg = (
            f"{folder} holds outputs of an earlier run that {store or 'a run without recovery'} knows "
            "nothing of; set another folder with FLEET_OUTPUT, or delete them with --fresh"
        )
        raise StoreError(msg)


def _outputs(folder: Path) -> list[Path]:
    return [folder / f"{name}.jsonl" for name in OUTPUTS]


def _delete_outputs(folder: Path) -> None:
    for path in (*_outputs(folder), folder / "summary.json", folder / "log.jsonl"):
        delete_output(path)
        committed_file(path).unlink(missing_ok=True)
        path.with_suffix(".parquet").unlink(missing_ok=True)
    shutil.rmtree(folder / "notify", ignore_errors=True)
    delete_recordings(folder)


@contextmanager
def signals(status: RunStatus, console: Console) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the input at an epoch boundary; a second Ctrl-C ends the process at once."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        status.stop = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        console.print("Stopping at the next epoch boundary ...")

    # Only the main thread may handle signals: a run in another one is stopped by its status.
    heard = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def bytes_of(paths: Sequence[str]) -> int | None:
    """Bytes on disk of all files, None of standard input."""
    return None if STDIN in paths else sum(map(size_of, paths))


@contextmanager
def progress(name: str, total: int | None, status: RunStatus, console: Console) -> Iterator[None]:
    """Show a bar of the bytes read, on a terminal only.

    Args:
        name: shown before it.
        total: bytes there are, None where that is not known.
        status: of the run.
        console: where it is shown.
    """
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[records]:,} records"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=total, records=0)

        def follow() -> None:
            bar.update(task, completed=status.done, records=status.records)

        try:
            with repeated(follow):
                yield
        finally:
            follow()
