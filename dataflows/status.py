"""What a running program says of itself: counters and gauges, the log, and a line of progress a minute.

Nothing here reaches an output: clocks are read only for people. Stages write log lines in the midst of their
work, so a log that cannot be written, on a full disk or without a reader, is no error of theirs: its
lines are lost, and nothing else changes.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TextIO, cast

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "METRICS",
    "Intake",
    "Metric",
    "ProgressLog",
    "Refused",
    "RunStatus",
    "Value",
    "logged_to",
    "to_stderr_unless_configured",
    "to_stream",
]

#: Seconds between two lines of progress.
PROGRESS_EVERY = 60.0
#: After so many records without a usable one a run ends: they are not what the fleet was made for.
_HOPELESS = 1_000
#: Kinds of refusals of which an example is kept.
_EXAMPLES = 32
_NUMBERS = re.compile(r"[\d.,]+|'[^']*'")
_log = structlog.get_logger()


@dataclass
class Refused:
    """Records that a lane refused for one reason.

    Attributes:
        reason: the code.
        detail: of the first of them.
        position: of the first of them: source, line, byte.
        count: how many there were.
    """

    reason: str
    detail: str
    position: tuple[str, int, int]
    count: int = 0


@dataclass
class Intake:
    """What a lane used and refused in this process, registry rows apart.

    Attributes:
        before: whether runs before this one used a record.
        used: records that were accepted.
        registered: registry rows that were accepted.
        refused: records that were not.
    """

    before: bool = False
    used: int = 0
    registered: int = 0
    refused: int = 0
    _kinds: dict[tuple[str, str], Refused] = field(default_factory=dict)

    def refuse(self, reason: str, detail: str, position: tuple[str, int, int]) -> None:
        """Count a refused record; of each kind the first is kept as an example."""
        self.refused += 1
        kind = reason, _NUMBERS.sub("", detail)[:80]
        found = self._kinds.get(kind)
        if found is None and len(self._kinds) < _EXAMPLES:
            found = self._kinds[kind] = Refused(reason, detail, position)
        if found is not None:
            found.count += 1

    def commonest(self, most: int) -> list[Refused]:
        """The commonest kinds of refusals, the most frequent first."""
        return sorted(self._kinds.values(), key=lambda kind: -kind.count)[:most]

    def hopeless(self) -> bool:
        """Whether so many records were refused, and none was ever used, that the run should end."""
        return self.refused >= _HOPELESS and not self.used and not self.before


@dataclass(frozen=True, slots=True)
class Metric:
    """A counter or gauge of a run.

    Attributes:
        name: by which it is registered and read.
        kind: ``counter`` never falls within a process; ``gauge`` may.
        unit: what it counts.
        help: what it says, in one sentence.
        label: what tells its values apart, None for a metric of one value.
    """

    name: str
    kind: Literal["counter", "gauge"]
    unit: str
    help: str
    label: str | None = None


#: Value of a metric; by label where it has one; None where it is not known.
Value = int | None | dict[str, int]

#: Every metric by its name.
METRICS = {
    metric.name: metric
    for metric in (
        Metric("records", "counter", "records", "Records read, also by earlier runs on the same store."),
        Metric("done", "counter", "bytes", "Bytes read of the files as they lie on disk."),
        Metric("epochs", "counter", "snapshots", "Snapshots taken by this process."),
        Metric(
            "rejected",
            "counter",
            "rows",
            "Rows of the rejects and late outputs that this process wrote.",
            "reason",
        ),
        Metric("arrival", "gauge", "microseconds", "The last arrival; unknown without arrivals."),
        Metric("pending", "gauge", "examples", "Examples that wait for their label."),
        Metric("behind", "gauge", "messages", "Messages of the topics that were not read yet."),
    )
}


class RunStatus:
    """Status of the run of one process: its metrics, and the request to stop.

    A counter is an attribute named as its metric, which the step that counts adds to. A gauge is registered
    by the stage that knows it.

    Attributes:
        stop: set it to end the input before its next batch, at an epoch boundary.
        records, done, epochs, rejected: the counters, see `METRICS`.
        began: records that earlier runs on the same store read.
        intake: what the lane used and refused.
    """

    def __init__(self) -> None:
        self.stop = False
        self.records = 0
        self.began = 0
        self.done = 0
        self.epochs = 0
        self.rejected: Counter[str] = Counter()
        self.intake = Intake()
        self._gauges: dict[str, Callable[[], int | None]] = {}
        self._on_commit: list[Callable[[], None]] = []

    def register(self, name: str, read: Callable[[], int | None]) -> None:
        """Register the reader of a gauge; it takes the place of an earlier one.

        Raises:
            ValueError: no gauge of `METRICS` has this name.
        """
        if name not in METRICS or METRICS[name].kind != "gauge":
            msg = f"{name!r} is not a gauge; declare it in dataflows.status.METRICS"
            raise ValueError(msg)
        self._gauges[name] = read

    def read(self, name: str) -> Value:
        """Read a metric; None of a gauge that nobody registered.

        >>> status = RunStatus()
        >>> status.records += 3
        >>> status.register("pending", lambda: 2)
        >>> status.read("records"), status.read("pending"), status.read("behind")
        (3, 2, None)
        """
        if METRICS[name].kind == "gauge":
            return self._gauges[name]() if name in self._gauges else None
        value: int | Counter[str] = getattr(self, name)
        return dict(sorted(value.items())) if isinstance(value, Counter) else value

    def collect(self) -> Iterator[tuple[Metric, Value]]:
        """Read every metric, for an exporter."""
        for name, metric in METRICS.items():
            yield metric, self.read(name)

    def on_commit(self, call: Callable[[], None]) -> None:
        """Call a function whenever all that was snapshotted so far, by any step, is committed."""
        self._on_commit.append(call)

    def committed(self) -> None:
        """Tell every function of `on_commit` that all that was snapshotted so far is committed."""
        for call in self._on_commit:
            call()


class ProgressLog:
    """Writes a log line of progress at most once a minute.

    Args:
        status: of the run.
    """

    def __init__(self, status: RunStatus) -> None:
        self._status = status
        self._last = self._epoch = time.monotonic()

    def epoch(self) -> None:
        """Count the snapshot of the source: the epoch before it is committed, its own is about to be."""
        self._status.committed()
        self._status.epochs += 1
        self._epoch = time.monotonic()

    def write(self) -> None:
        """Write the line if a minute has passed since the last."""
        now = time.monotonic()
        if now - self._last < PROGRESS_EVERY:
            return
        self._last = now
        _log.info("progress", **self._line(now))

    def _line(self, now: float) -> Mapping[str, Value | float]:
        read = self._status.read
        arrival = cast("int | None", read("arrival"))
        return {
            "records": read("records"),
            "lag_seconds": None if arrival is None else round(time.time() - arrival / 1e6, 1),
            "behind": read("behind"),
            "rejected": read("rejected"),
            "pending": read("pending"),
            "epochs": read("epochs"),
            "seconds_since_epoch": round(now - self._epoch, 1),
        }


class _Lossy:
    """A stream whose lines are lost where they cannot be written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def to_stream(stream: TextIO) -> None:
    """Write log lines to a stream, level INFO and above."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Lossy(stream))),
        cache_logger_on_first_use=False,
    )


@contextmanager
def logged_to(stream: TextIO) -> Iterator[None]:
    """Write log lines to a stream while the block runs, then as before: the stream may be closed by then."""
    configured, before = structlog.is_configured(), structlog.get_config()
    to_stream(stream)
    try:
        yield
    finally:
        if configured:
            structlog.configure(**before)
        else:
            structlog.reset_defaults()


def to_stderr_unless_configured() -> None:
    """Log to standard error, unless the program that embeds the dataflow configured structlog itself."""
    if not structlog.is_configured():
        to_stream(sys.stderr)
