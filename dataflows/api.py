"""The public Python API, which the package `highwater` re-exports: load, check, run, read, simulate.

The functions do what the commands do, and return what the commands print.
"""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console

from dataflows.evaluation.frames import Backend, Outputs, frame
from dataflows.fleet import Fleet
from dataflows.fleet import load as load_fleet
from dataflows.instants import parse_duration
from dataflows.mapping.recording import with_recordings
from dataflows.status import RunStatus, silenced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Outputs",
    "Result",
    "Run",
    "check",
    "estimate",
    "features",
    "init",
    "load",
    "read",
    "run",
    "simulate",
    "start",
]


@dataclass(frozen=True, slots=True)
class Result:
    """Result of a run.

    Attributes:
        records: number of records read, including earlier runs on the same store.
        summary: figures at the end, as in ``summary.json``.
        outputs: the rows, as data frames.
        text: the summary that the command prints.
    """

    records: int
    summary: Mapping[str, Any]
    outputs: Outputs
    text: str


def init(
    files: Sequence[str | Path],
    out: str | Path = "fleet.toml",
    *,
    force: bool = False,
    zone: str | None = None,
    failures: Sequence[str] = (),
    failures_in: Sequence[str | Path] = (),
) -> str:
    """Write a ``fleet.toml`` for files of any form, and return what `init` found in them.

    Args:
        files: paths and globs of CSV, text, JSON, Parquet or Arrow files.
        out: path of the ``fleet.toml``.
        force: replace an existing file.
        zone: time zone of times without offset, such as ``"Europe/Berlin"``; None takes them as UTC.
        failures: codes that are failures, in a column of codes.
        failures_in: files in which each row is a failure.

    Raises:
        InitError: the files hold no telemetry, or the file is there already.
    """
    from dataflows.tools.init import init as init_fleet  # noqa: PLC0415

    printed = io.StringIO()
    init_fleet(
        [str(path) for path in files],
        Path(out),
        Console(file=printed, width=78),
        force=force,
        zone=zone,
        failures=failures,
        failures_in=[str(path) for path in failures_in],
    )
    return printed.getvalue()


def load(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Fleet:
    """Load a ``fleet.toml``.

    Args:
        path: the file.
        overrides: tables that replace those of the file, such as ``{"output": {"folder": "trial"}}``.

    Raises:
        FleetError: it describes no valid fleet; the message lists every problem.
    """
    return load_fleet(path, overrides)


def check(path: str | Path) -> list[str]:
    """Return the problems of a ``fleet.toml``, one text each; an empty list if it can run.

    Every model is built and tried on one row.
    """
    from dataflows.fleet import FleetError  # noqa: PLC0415
    from dataflows.tools.trial import check_models  # noqa: PLC0415 - imports the models

    try:
        check_models(load_fleet(path))
    except FleetError as error:
        return [str(problem) for problem in error.problems]
    return []


def run(
    fleet: Fleet | str | Path,
    *,
    recovery: str | Path | None = None,
    epoch: str = "10s",
    fresh: bool = False,
    backend: Backend | None = None,
    status: RunStatus | None = None,
) -> Result:
    """Run a fleet to the end of its input, in this thread.

    Args:
        fleet: a fleet, or the path of its file.
        recovery: folder of the recovery store; None runs without.
        epoch: time between snapshots, such as ``"10s"``.
        fresh: delete the store and the outputs of earlier runs first.
        backend: library of the data frames of the outputs.
        status: counters of the run, which it raises while it runs.

    Raises:
        FleetError: the fleet cannot run.
        StoreError: the store, or the outputs of an earlier run, do not fit.
        InputError: the input cannot be read.
        UnusableInputError: no record could be used.
    """
    from datetime import timedelta  # noqa: PLC0415

    from dataflows.tools.run import run as run_fleet  # noqa: PLC0415 - imports the engine

    fleet = fleet if isinstance(fleet, Fleet) else load(fleet)
    status = RunStatus() if status is None else status
    printed = io.StringIO()
    run_fleet(
        fleet,
        Console(file=printed, width=78),
        store=None if recovery is None else Path(recovery),
        epoch=timedelta(microseconds=parse_duration(epoch)),
        fresh=fresh,
        status=status,
    )
    folder = fleet.output.folder
    summary = orjson.loads((folder / "summary.json").read_bytes())
    return Result(status.records, summary, Outputs(folder, backend), printed.getvalue())


class Run:
    """A run in a thread of its own, for notebooks and live input.

    Args:
        fleet: a fleet, or the path of its file.
        options: as of `run`.
    """

    def __init__(self, fleet: Fleet | str | Path, **options: Any) -> None:  # noqa: ANN401 - as of `run`
        self._status = RunStatus()
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(fleet, options), daemon=True)
        self._thread.start()

    def _run(self, fleet: Fleet | str | Path, options: dict[str, Any]) -> None:
        try:
            self._result = run(fleet, status=self._status, **options)
        except BaseException as error:  # noqa: BLE001 - `wait` raises it
            self._error = error

    @property
    def records(self) -> int:
        """Number of records read so far."""
        return self._status.records

    @property
    def running(self) -> bool:
        """Whether the run has not ended yet."""
        return self._thread.is_alive()

    def stop(self) -> Result:
        """End the run at the next epoch boundary, and return its result; errors as of `run`."""
        self._status.stop = True
        return self.wait()

    def wait(self, timeout: float | None = None) -> Result:
        """Wait for the end of the run.

        Args:
            timeout: seconds; None waits without limit.

        Raises:
            TimeoutError: the run has not ended; it goes on.
        """
        self._thread.join(timeout)
        if self._thread.is_alive():
            msg = f"the run goes on, at record {self.records:,}; `stop` ends it"
            raise TimeoutError(msg)
        if self._error is not None:
            raise self._error
        assert self._result is not None  # noqa: S101 - it ended without an error
        return self._result


def start(fleet: Fleet | str | Path, **options: Any) -> Run:  # noqa: ANN401 - as of `run`
    """Start a run in a thread of its own; options as of `run`."""
    return Run(fleet, **options)


def read(folder: str | Path, backend: Backend | None = None) -> Outputs:
    """Read the outputs of a run as data frames.

    Args:
        folder: folder of the outputs.
        backend: library of the frames; None takes the first that is installed: pandas, polars, pyarrow.

    Raises:
        FrameError: the folder holds no outputs.
    """
    return Outputs(Path(folder), backend)


def features(
    fleet: Fleet | str | Path, files: Sequence[str | Path] | None = None, backend: Backend | None = None
) -> Any:  # noqa: ANN401 - a frame of any library
    """Return the training set as served: one row for each example and label, with its features.

    The stages of the dataflow compute it, so a model sees the same features in training and in production.

    Args:
        fleet: a fleet, or the path of its file.
        files: recordings of events; None for the fleet's input.
        backend: library of the frame.
    """
    from dataclasses import replace  # noqa: PLC0415

    from dataflows.connectors.lines import expand  # noqa: PLC0415
    from dataflows.pipeline import run_inline  # noqa: PLC0415

    fleet = fleet if isinstance(fleet, Fleet) else load(fleet)
    if files is not None:
        fleet = replace(fleet, input=replace(fleet.input, files=tuple(map(str, files)), rules=()))
    fleet, _ = with_recordings(replace(fleet, output=replace(fleet.output, features="examples")))
    lines = (line for path in expand(fleet.input.files) for line in Path(path).read_bytes().splitlines())
    with silenced():
        rows = run_inline(fleet, lines)
    served = {row["id"]: row["features"] for row in rows["examples"]}
    first = (row for row in rows["evaluations"] if row["correction"] == 0)
    return frame(({**row, "features": served[row["example"]]} for row in first), backend)


def estimate(
    fleet: Fleet | str | Path,
    *,
    target: str | None = None,
    model: str | None = None,
    split: float = 0.5,
    seed: int = 0,
    truth: str | Path | None = None,
    backend: Backend | None = None,
) -> Any:  # noqa: ANN401 - a frame of any library
    """Return five estimates of the log loss of a model, one row each, like the command ``estimate``.

    Columns: `name`, `examples`, `positives`, `log_loss` and its 95 % interval, `low` and `high`.

    Args:
        fleet: a fleet, or the path of its file, whose input is a finished recording.
        target: name of the target; None for the only one.
        model: a model that learns from features; None for the champion.
        split: share of the time span for training.
        seed: of the random split.
        truth: truth of a simulated recording, ``truth.jsonl``.
        backend: library of the frame.

    Raises:
        EstimateError: target or model cannot be chosen.
    """
    from dataclasses import asdict  # noqa: PLC0415

    from dataflows.tools.estimate import Question, estimates_of  # noqa: PLC0415

    fleet = fleet if isinstance(fleet, Fleet) else load(fleet)
    question = Question(target, model, split, seed, None if truth is None else Path(truth))
    return frame(map(asdict, estimates_of(fleet, question)), backend)


def simulate(
    out: str | Path,
    scenario: str = "plain",
    *,
    trucks: int | None = None,
    days: int | None = None,
    every: str | None = None,
    seed: int | None = None,
    as_csv: bool = False,
) -> list[Path]:
    """Write the recording of a simulated fleet of trucks and the truth about it; return the files.

    Args:
        out: folder.
        scenario: ``plain``, ``field``, or the path of a TOML file.
        trucks: number of trucks.
        days: number of days.
        every: time between messages of a driving truck, such as ``"15m"``.
        seed: the same seed gives the same bytes.
        as_csv: write readings.csv and orders.csv instead, as companies do.
    """
    from dataflows.simulator import load_scenario, write  # noqa: PLC0415
    from dataflows.simulator import simulate as simulated  # noqa: PLC0415
    from dataflows.simulator.tables import write_tables  # noqa: PLC0415

    loaded = load_scenario(scenario, trucks=trucks, days=days, every=every, seed=seed)
    return list(write_tables(simulated(loaded), Path(out)) if as_csv else write(loaded, Path(out)))
