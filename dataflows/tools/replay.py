"""``python -m dataflows replay``: play a recording by arrival, through the dataflow or into a file."""

from __future__ import annotations

import time
from datetime import timedelta
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dataflows.connectors.clocks import Pace
from dataflows.connectors.ends import source_of
from dataflows.connectors.lines import InputError, expand
from dataflows.connectors.merge import Merge
from dataflows.fleet import load
from dataflows.status import RunStatus
from dataflows.tools.run import bytes_of, progress, run, signals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from dataflows.connectors.source import LaneSource
    from dataflows.fleet.fleet import Fleet
    from dataflows.items import Item

__all__ = ["paced", "play", "replay", "speed_of"]

_BATCH = 1_000
_EPOCH = timedelta(seconds=10)
#: Seconds between looks at the clock, at most.
_NAP = 0.05


def speed_of(text: str) -> float | None:
    """A multiple of real time, such as ``100`` or ``0.5``; None for ``max``.

    Raises:
        ValueError: it is neither.
    """
    try:
        speed = None if text == "max" else float(text)
    except ValueError:
        speed = 0.0
    if speed is not None and not 0 < speed < float("inf"):
        msg = f"--speed: expected a number above 0, or max, got {text!r}"
        raise ValueError(msg)
    return speed


def replay(
    fleet: Path,
    recording: Sequence[str],
    console: Console,
    *,
    out: Path | None = None,
    speed: float | None = None,
    journal: Path | None = None,
    fresh: bool = False,
) -> None:
    """Run a fleet over a recording, without a recovery store, and show the summary.

    Args:
        fleet: its ``fleet.toml``.
        recording: files and globs, relative to the working directory; none for the fleet's own input.
        console: console for progress and summary.
        out: folder of the outputs instead of the fleet's own.
        speed: multiple of real time; None for as fast as possible.
        journal: folder of the order journal of a live run over the same files: its order and its ticks are
            repeated, so that the outputs are the same.
        fresh: delete the content of the outputs folder.

    Raises:
        FleetError: the configuration cannot be used.
        InputError: the recording cannot be read, or is not that of the journal.
        JournalError: the journal cannot be used, or does not begin at the first record.
        StoreError: the folder of the outputs holds those of another run.
    """
    if journal is not None and speed is not None:
        msg = "a journal says in which order records came, not when: leave out --speed, or --journal"
        raise InputError(msg)
    # A replay never writes to topics: their readers expect real events.
    overrides: dict[str, Any] = {"input": {}, "output": {"kafka": None}}
    if journal is None:
        # A journal has the places of rows in files that were followed; without one, rows are sorted.
        overrides["input"]["follow"] = False
    if recording:
        overrides["input"] |= {
            "files": [str(Path.cwd() / name) for name in recording],
            "kafka": None,
            "lanes": 1,
            "map": [],
            "shared": [],
        }
    if out is not None:
        overrides["output"]["folder"] = str(Path.cwd() / out)
    resolved = load(fleet, overrides)

    def source(recorded: Fleet, status: RunStatus) -> LaneSource:
        return source_of(recorded, status, replayed=journal, speed=speed)

    run(resolved, console, store=None, epoch=_EPOCH, fresh=fresh, source=source)


def play(recording: Sequence[str], into: Path, speed: float | None, console: Console) -> None:
    """Append a recording to a file in its order of arrival, as a live source would write it.

    Args:
        recording: files and globs.
        into: the file; it must be new or empty.
        speed: multiple of real time; None for as fast as possible.
        console: console for progress.

    Raises:
        InputError: the recording cannot be read, or the file holds something.
    """
    if into.exists() and into.stat().st_size:
        msg = f"{into} holds {into.stat().st_size:,} bytes already; delete it, or name a new file"
        raise InputError(msg)
    paths = expand(tuple(recording))
    merge = Merge([paths], plain=False, body=attrgetter("raw"))
    status = RunStatus()
    with (
        into.open("ab", buffering=0) as file,
        signals(status, console),
        progress(into.name, bytes_of(paths), status, console),
    ):
        for items in paced(merge, speed, status):
            file.write(b"".join(cast("bytes", item.body) + b"\n" for item in items))
    console.print(f"{status.records:,} records in {into}", highlight=False)


def paced(merge: Merge, speed: float | None, status: RunStatus) -> Iterator[list[Item]]:
    """Yield the records of a recording when they are due, until its end or that of the program.

    Args:
        merge: the recording, which is closed at the end.
        speed: multiple of real time; None for as fast as possible.
        status: counts the records; a request to stop in it ends the replay.
    """
    pace = None if speed is None else Pace(speed)
    while not status.stop:
        due = merge.due()
        until = None if pace is None else pace.until(due)
        items, _ = merge.read_batch(_BATCH, status.records, until)
        status.records += len(items)
        status.done = merge.read
        if items:
            yield items
        elif due is None:
            break
        else:
            time.sleep(_NAP if until is None else min(_NAP, (due - until) / 1e6 / (speed or 1.0)))
    merge.close()
