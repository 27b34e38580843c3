"""Status of a running program: counters and gauges, the log, and a line of progress a minute.

Nothing here reaches an output; clocks are read only for people. Stages log while they work, so a log that
cannot be written, on a full disk or without a reader, is not an error: its lines are lost, and nothing else
changes.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TextIO, TypeVar, cast

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "METRICS",
    "Counted",
    "Histogram",
    "Intake",
    "Metric",
    "ProgressLog",
    "Refused",
    "RunStatus",
    "ScoreTimes",
    "Serving",
    "Value",
    "log_restored",
    "logged_to",
    "silenced",
    "to_stderr_unless_configured",
    "to_stream",
]

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")
#: Seconds between two lines of progress.
PROGRESS_EVERY = 60.0
#: Records without a usable one after which a run ends: they do not fit the fleet.
_HOPELESS = 1_000
#: Most kinds of refusals with an example.
_EXAMPLES = 32
_NUMBERS = re.compile(r"[\d.,]+|'[^']*'")
_log = structlog.get_logger()


@dataclass
class Refused:
    """Records that a lane refused for one reason.

    Attributes:
        reason: the code.
        detail: of the first one.
        position: of the first one: source, line, byte.
        count: their number.
    """

    reason: str
    detail: str
    position: tuple[str, int, int]
    count: int = 0


@dataclass
class Intake:
    """Counts of the records a lane used and refused in this process, registry rows apart.

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

    def absorb(self, other: Intake) -> None:
        """Add the counts of the lanes of another process."""
        self.before = self.before or other.before
        self.used += other.used
        self.registered += other.registered
        self.refused += other.refused
        for kind, refused in other._kinds.items():
            if kind in self._kinds:
                self._kinds[kind].count += refused.count
            elif len(self._kinds) < _EXAMPLES:
                self._kinds[kind] = refused

    def commonest(self, most: int) -> list[Refused]:
        """Return the most frequent kinds of refusals, in descending order."""
        return sorted(self._kinds.values(), key=lambda kind: -kind.count)[:most]

    def hopeless(self) -> bool:
        """Whether the run should end, since it refused many records and never used one."""
        return self.refused >= _HOPELESS and not self.used and not self.before


@dataclass(frozen=True, slots=True)
class Metric:
    """A counter, gauge or histogram of a run.

    Attributes:
        name: by which it is registered and read.
        kind: ``counter`` never falls within a process; ``gauge`` may; ``histogram`` counts by size.
        unit: what it counts.
        help: what it says, in one sentence.
        exported: its name for Prometheus, after ``highwater_``, in base units.
        labels: what tells its values apart, none for a metric of one value.
        scale: factor from its unit to the base unit.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    help: str
    exported: str
    labels: tuple[str, ...] = ()
    scale: float = 1.0


class Histogram:
    """Counts of measured values up to each of some bounds.

    Args:
        bounds: in rising order.

    >>> pauses = Histogram(0.1, 1.0)
    >>> for seconds in (0.05, 0.1, 3.0):
    ...     pauses.observe(seconds)
    >>> pauses.counts, pauses.sum
    ([2, 0, 1], 3.15)
    """

    def __init__(self, *bounds: float) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Serving(NamedTuple):
    """Champion of a target, and its former one.

    Attributes:
        champion: label of the champion.
        asked: labels of the models that score a row for it, itself among them.
        former: name of the former champion that can serve; None without one.
        frozen: name of the person who froze the champion; None if it is not frozen.
    """

    champion: str
    asked: tuple[str, ...]
    former: str | None
    frozen: str | None


class ScoreTimes:
    """Time that the models of a target take to score, for the breaker; no stage reads it.

    Attributes:
        totals: rows and seconds of each model, by its label.
    """

    def __init__(self) -> None:
        self.totals: dict[str, tuple[int, float]] = {}

    def call(self, label: str, rows: int, score: Callable[[_Given], _Made], given: _Given) -> _Made:
        """Let a model score some rows, and add its time, even if it fails."""
        began = time.perf_counter()
        try:
            return score(given)
        finally:
            before, seconds = self.totals.get(label, (0, 0.0))
            self.totals[label] = before + rows, seconds + time.perf_counter() - began


#: Value of a metric; by label, or by labels, where it has them; None where it is not known.
Value = float | None | Mapping[str, float] | Mapping[tuple[str, ...], float] | Histogram

#: Every metric by its name.
METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "records",
            "counter",
            "records",
            "Records read, also by earlier runs on the same store.",
            "records_total",
        ),
        Metric(
            "done", "counter", "bytes", "Bytes read of the files as they lie on disk.", "input_bytes_total"
        ),
        Metric("epochs", "counter", "snapshots", "Snapshots taken by this process.", "snapshots_total"),
        Metric(
            "rejected",
            "counter",
            "rows",
            "Rows of the rejects and late outputs that this process wrote.",
            "rejected_total",
            ("reason",),
        ),
        Metric(
            "unmatched",
            "counter",
            "rows",
            "Rows of followed files and of topics that no rule of `[[input.map]]` takes.",
            "unmatched_rows_total",
        ),
        Metric(
            "events",
            "counter",
            "records",
            "Records that the lane accepted, by kind, also in earlier runs on the same store.",
            "events_total",
            ("kind",),
        ),
        Metric(
            "rows", "counter", "rows", "Rows that this process wrote, by output.", "rows_total", ("output",)
        ),
        Metric(
            "errors",
            "counter",
            "errors",
            "Records on which a stage of this process failed.",
            "internal_errors_total",
        ),
        Metric(
            "latency",
            "histogram",
            "seconds",
            "Time from reading a record to writing its prediction: of the oldest of each batch of rows.",
            "score_latency_seconds",
        ),
        Metric(
            "pause",
            "histogram",
            "seconds",
            "Pause of reading at an epoch's end: the last batch runs, then snapshots are written.",
            "snapshot_pause_seconds",
        ),
        Metric(
            "committed_at",
            "gauge",
            "seconds",
            "Time of the last commit, by the host's clock; unknown before the first.",
            "last_commit_timestamp_seconds",
        ),
        Metric(
            "arrival",
            "gauge",
            "microseconds",
            "The last arrival; unknown without arrivals.",
            "last_arrival_timestamp_seconds",
            scale=1e-6,
        ),
        Metric(
            "newest",
            "gauge",
            "microseconds",
            "Largest event time of accepted telemetry and faults.",
            "last_event_timestamp_seconds",
            scale=1e-6,
        ),
        Metric("clocks", "gauge", "assets", "Assets whose clock is found wrong.", "wrong_clocks", ("state",)),
        Metric("alerts", "gauge", "alerts", "Alerts that are open.", "open_alerts", ("target",)),
        Metric(
            "examples",
            "counter",
            "examples",
            "Examples with a label that the target clock passed, since the start of this process.",
            "examples_total",
            ("target", "label"),
        ),
        Metric(
            "losses",
            "counter",
            "nats",
            "Sum of the log loss of these examples by role: the published score (champion), what that score "
            "expects of itself (expected), the running prior (prior).",
            "log_loss_total",
            ("target", "role"),
        ),
        Metric(
            "notifications",
            "counter",
            "alerts",
            "Beginnings, updates and ends of alerts that a receiver took (`sent`) or refused (`refused`).",
            "notifications_total",
            ("receiver", "result"),
        ),
        Metric(
            "undelivered",
            "counter",
            "attempts",
            "Attempts to deliver alerts that failed, and are repeated.",
            "notification_failures_total",
            ("receiver",),
        ),
        Metric(
            "queued",
            "gauge",
            "changes",
            "Changes of alerts that a receiver has not got yet; counted up to 1,000.",
            "queued_notifications",
            ("receiver",),
        ),
        Metric(
            "breakers",
            "counter",
            "commands",
            "Commands of the breaker against slow champions that were written (`sent`), could not be "
            "(`failed`) or had no former champion to name (`no_former`).",
            "breaker_commands_total",
            ("target", "result"),
        ),
        Metric(
            "labels",
            "gauge",
            "microseconds",
            "Knowledge time of the last label, by label; unknown until this process has seen one.",
            "last_label_timestamp_seconds",
            ("target", "label"),
            scale=1e-6,
        ),
        Metric(
            "champions",
            "gauge",
            "models",
            "The model whose scores are published; always 1.",
            "champion_info",
            ("target", "model"),
        ),
        Metric(
            "evidence",
            "gauge",
            "ratio",
            "Evidence that the best challenger is better than the champion, as a share of what is needed: "
            "from 1 on it is enough.",
            "challenger_evidence_ratio",
            ("target", "model"),
        ),
        Metric(
            "advantage",
            "gauge",
            "loss",
            "Mean loss of the champion minus that of the best challenger, on the same examples.",
            "challenger_advantage",
            ("target", "model"),
        ),
        Metric(
            "drift",
            "gauge",
            "ratio",
            "Evidence of drift of a series, as a share of what raises an alarm; of features the largest.",
            "drift_evidence_ratio",
            ("target", "series"),
        ),
        Metric(
            "alarms",
            "counter",
            "alarms",
            "Alarms of drift of this process, by rank: `page`, `warn`, `note`.",
            "drift_alarms_total",
            ("target", "rank"),
        ),
        Metric(
            "riskiest",
            "gauge",
            "score",
            "Score in the last row of the open alerts with the highest scores; only with `--metrics-assets`.",
            "alert_score",
            ("target", "asset"),
        ),
        Metric("pending", "gauge", "examples", "Examples that wait for their label.", "pending_examples"),
        Metric(
            "behind",
            "gauge",
            "messages",
            "Messages of the topics that were not read yet.",
            "input_lag_messages",
        ),
    )
}


class Counted(NamedTuple):
    """Counts of one process of a run.

    Attributes:
        intake, rejected: as of `RunStatus`.
        begun: records that earlier runs read, by lane of this process.
        read: records read in all, and `RunStatus.done`, likewise.
    """

    intake: Intake
    rejected: Counter[str]
    begun: dict[int, int]
    read: dict[int, tuple[int, int]]


class RunStatus:
    """Status of the run of one process: its metrics, and the request to stop.

    A counter or histogram is an attribute with the name of its metric; the step that measures adds to it. A
    stage registers a reader for a metric that it keeps itself.

    Attributes:
        stop: set it to end the input before its next batch, at an epoch boundary.
        lanes: number of lanes of the input, in all processes.
        records, done, epochs, rejected, rows, errors, latency, pause, committed_at, notifications,
            undelivered, breakers: see `METRICS`.
        scoring: of each target with a breaker: what its models took, and who serves.
        alive: instant at which the source was last asked for records, by the monotonic clock; None before.
        began: records that earlier runs on the same store read.
        commits: how often `committed` was called.
        raises: whether whoever started the run raises `error`, so that the source ends the run without
            the engine's note of a panic.
        error: the error of the source that ended the run; None without one.
        lag: commits by which this process hears of a snapshot too early to know that it is committed; 0 where
            the source of the first lane is in this process.
        intake: what the lane used and refused.
    """

    def __init__(self) -> None:
        self.stop = False
        self.lanes = 1
        self.records = 0
        self.began = 0
        self.done = 0
        self.epochs = 0
        self.rejected: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()
        self.errors = 0
        self.latency = Histogram(0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
        self.pause = Histogram(0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
        self.committed_at: float | None = None
        self.notifications: Counter[tuple[str, str]] = Counter()
        self.undelivered: Counter[str] = Counter()
        self.breakers: Counter[tuple[str, str]] = Counter()
        self.scoring: dict[str, tuple[ScoreTimes, Callable[[], Serving]]] = {}
        self.alive: float | None = None
        self.intake = Intake()
        self._paused: float | None = None
        #: By lane: records of earlier runs; records read so far, and `done`; the last record of each of the
        #: latest batches, and when it was read.
        self._begun: dict[int, int] = {}
        self._read: dict[int, tuple[int, int]] = {}
        self._reads: dict[int, deque[tuple[int, float]]] = {}
        self.commits = 0
        self.raises = False
        self.error: Exception | None = None
        self.lag = 0
        self._gauges: dict[str, Callable[[], Value]] = {}
        self._parts: dict[str, dict[int, Callable[[], Value]]] = {}
        self._on_commit: list[Callable[[], None]] = []

    def register(self, name: str, read: Callable[[], Value]) -> None:
        """Register the reader of a metric that a stage knows; it takes the place of an earlier one.

        Raises:
            ValueError: no metric of `METRICS` has this name, or it is counted in an attribute.
        """
        if name not in METRICS or name in vars(self):
            msg = f"{name!r} is not a gauge; declare it in dataflows.status.METRICS, without an attribute"
            raise ValueError(msg)
        self._gauges[name] = read

    def register_part(self, name: str, lane: int, read: Callable[[], Value]) -> None:
        """Register the reader of a metric of one lane; the metric is the sum over the lanes of this process.

        >>> status = RunStatus()
        >>> status.register_part("behind", 0, lambda: 2)
        >>> status.register_part("behind", 1, lambda: 3)
        >>> status.read("behind")
        5
        """
        parts = self._parts.setdefault(name, {})
        parts[lane] = read
        self.register(name, lambda: _added([each() for each in parts.values()]))

    def read(self, name: str) -> Value:
        """Read a metric; None of a gauge that nobody registered.

        >>> status = RunStatus()
        >>> status.records += 3
        >>> status.register("pending", lambda: 2)
        >>> status.read("records"), status.read("pending"), status.read("behind")
        (3, 2, None)
        """
        if name in self._gauges:
            return self._gauges[name]()
        value: float | Counter[Any] | Histogram | None = getattr(self, name, None)
        return dict(sorted(value.items())) if isinstance(value, Counter) else value

    def collect(self) -> Iterator[tuple[Metric, Value]]:
        """Read every metric, for an exporter."""
        for name, metric in METRICS.items():
            yield metric, self.read(name)

    def asked(self) -> None:
        """Note that the source is asked for records: reading goes on."""
        self.alive = time.monotonic()
        if self._paused is not None:
            self.pause.observe(self.alive - self._paused)
            self._paused = None

    def paused(self) -> float:
        """Note that reading pauses for a snapshot; returns the instant by the monotonic clock."""
        self._paused = time.monotonic()
        return self._paused

    def begin_lane(self, lane: int, records: int) -> None:
        """Note that a lane is about to be read by this process, with the records that earlier runs read."""
        self._begun[lane] = records
        self.began = sum(self._begun.values())
        self.read_lane(lane, records, 0, new=False)

    def read_lane(self, lane: int, records: int, done: int, *, new: bool) -> None:
        """Note what was read of a lane so far; of new records also the instant, for their latency.

        Args:
            lane: its number.
            records: number of its records, those of earlier runs included.
            done: see `METRICS`; of this lane.
            new: whether there are new records.
        """
        self._read[lane] = records, done
        self.records = sum(count for count, _ in self._read.values())
        self.done = sum(amount for _, amount in self._read.values())
        if new:
            self._reads.setdefault(lane, deque(maxlen=256)).append((records, time.monotonic()))

    def wrote(self, output: str, sequence: int, count: int) -> None:
        """Count rows that were written, the oldest of them made by the record of a sequence."""
        self.rows[output] += count
        record, lane = divmod(sequence, self.lanes)
        reads = self._reads.get(lane)
        if output != "predictions" or reads is None:
            return
        while len(reads) > 1 and reads[0][0] < record:
            reads.popleft()
        if reads[0][0] >= record:
            self.latency.observe(time.monotonic() - reads[0][1])

    def counted(self) -> Counted:
        """Return the counts of this process, for the first process."""
        return Counted(self.intake, self.rejected, self._begun, self._read)

    def absorb(self, counted: Counted) -> None:
        """Add the counts of another process of the run."""
        self.intake.absorb(counted.intake)
        self.rejected.update(counted.rejected)
        for lane, (records, done) in counted.read.items():
            self.begin_lane(lane, counted.begun[lane])
            self.read_lane(lane, records, done, new=False)

    def on_commit(self, call: Callable[[], None]) -> None:
        """Call a function at each commit of the snapshots of all steps."""
        self._on_commit.append(call)

    def committed(self) -> None:
        """Call every function of `on_commit`: all snapshots so far are committed."""
        self.commits += 1
        if self.epochs:
            self.committed_at = time.time()
        for call in self._on_commit:
            call()


def _added(values: Sequence[Value]) -> Value:
    """Add up the values of lanes; None where one of them is unknown."""
    if len(values) == 1:
        return values[0]
    total: Counter[Any] = Counter()
    for value in values:
        if value is None or isinstance(value, Histogram):
            return None
        total.update(value if isinstance(value, Mapping) else {None: value})
    return total[None] if None in total else dict(total)


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
        if not self._status.lag:
            self._status.committed()
        self._status.epochs += 1
        self._epoch = self._status.paused()

    def write(self) -> None:
        """Write the line if a minute has passed since the last."""
        now = time.monotonic()
        if now - self._last < PROGRESS_EVERY:
            return
        self._last = now
        _log.info("progress", **self._line(now))

    def _line(self, now: float) -> Mapping[str, Value]:
        read = self._status.read
        arrival = cast("float | None", read("arrival"))
        return {
            "records": read("records"),
            "lag_seconds": None if arrival is None else round(time.time() - arrival / 1e6, 1),
            "behind": read("behind"),
            "rejected": read("rejected"),
            "unmatched": read("unmatched"),
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
def log_restored() -> Iterator[None]:
    """Configure the log after the block as it was before it."""
    configured, before = structlog.is_configured(), structlog.get_config()
    try:
        yield
    finally:
        if configured:
            structlog.configure(**before)
        else:
            structlog.reset_defaults()


@contextmanager
def logged_to(stream: TextIO) -> Iterator[None]:
    """Write log lines to a stream while the block runs, then as before: the stream may be closed by then."""
    with log_restored():
        to_stream(stream)
        yield


def to_stderr_unless_configured() -> None:
    """Log to standard error, unless the program that embeds the dataflow configured structlog itself."""
    if not structlog.is_configured():
        to_stream(sys.stderr)


@contextmanager
def silenced() -> Iterator[None]:
    """Keep the log of a run in memory off the standard output, which holds what a tool says."""
    with log_restored():
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        yield
