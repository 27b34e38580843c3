"""The status of a run: its metrics by name, its line of progress, and a log that disturbs nobody."""

from __future__ import annotations

import errno
import io
import os
from typing import TYPE_CHECKING

import orjson
import pytest
import structlog

from dataflows import status as module
from dataflows.status import METRICS, ProgressLog, RunStatus, logged_to, to_stream

if TYPE_CHECKING:
    from collections.abc import Iterator


class Full(io.StringIO):
    """A file on a disk that is full until there is room."""

    room = False

    def write(self, text: str) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(text)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_a_line_is_json() -> None:
    """With its level and time."""
    stream = io.StringIO()
    to_stream(stream)
    structlog.get_logger().info("progress", records=3)
    said = orjson.loads(stream.getvalue())
    assert (said["event"], said["level"], said["records"]) == ("progress", "info", 3)


def test_a_log_that_cannot_be_written_disturbs_nobody() -> None:
    """Stages log in the midst of their work: an error there would be taken for one of theirs."""
    stream = Full()
    to_stream(stream)
    log = structlog.get_logger()
    log.info("lost")
    stream.room = True
    log.info("kept")
    assert orjson.loads(stream.getvalue())["event"] == "kept"


def test_every_metric_is_declared_and_read_by_its_name() -> None:
    """What is counted is there from the start, the rest once a stage registered it; each has a help."""
    status = RunStatus()
    found = {metric.name: value for metric, value in status.collect()}
    assert found.keys() == METRICS.keys()
    counted = {name: value for name, value in found.items() if name in vars(status)}
    assert {name: counted[name] for name in ("records", "done", "epochs", "errors", "rejected", "rows")} == {
        "records": 0,
        "done": 0,
        "epochs": 0,
        "errors": 0,
        "rejected": {},
        "rows": {},
    }
    assert {found[name] for name in METRICS.keys() - counted.keys()} == {None}
    status.register("pending", lambda: 7)
    status.rejected.update(["too_late", "duplicate", "too_late"])
    assert (status.read("pending"), status.read("rejected")) == (7, {"duplicate": 1, "too_late": 2})
    assert all(metric.unit and metric.help.endswith(".") for metric in METRICS.values())


@pytest.mark.parametrize("name", ["pendings", "records"])
def test_only_a_declared_gauge_can_be_registered(name: str) -> None:
    """A wrong name, or that of a counter, is refused by name: nobody would ever read it."""
    with pytest.raises(ValueError, match=f"'{name}' is not a gauge"):
        RunStatus().register(name, lambda: 0)


def test_the_line_of_progress_reads_the_registered_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line has records, lag, rejects by reason, pending examples and epochs, at most once a minute."""
    stream = io.StringIO()
    to_stream(stream)
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(module.time, "time", lambda: 12.5)
    status = RunStatus()
    status.register("pending", lambda: 4)
    status.register("arrival", lambda: 10_000_000)
    status.records, status.rejected["too_late"] = 9, 2
    progress = ProgressLog(status)
    committed: list[int] = []
    status.on_commit(lambda: committed.append(status.epochs))
    progress.epoch()
    clock[0] += 59
    progress.write()
    assert stream.getvalue() == ""
    clock[0] += 1
    progress.write()
    progress.write()
    (line,) = stream.getvalue().splitlines()
    said = orjson.loads(line)
    assert committed == [0]
    assert {name: value for name, value in said.items() if name not in {"level", "timestamp"}} == {
        "event": "progress",
        "records": 9,
        "lag_seconds": 2.5,
        "behind": None,
        "unmatched": None,
        "rejected": {"too_late": 2},
        "pending": 4,
        "epochs": 1,
        "seconds_since_epoch": 60.0,
    }


def test_lines_after_a_run_go_where_they_went_before() -> None:
    """The file of a run is closed at its end; what is logged later in the same process is no error."""
    before = structlog.get_config()
    with io.StringIO() as stream:
        with logged_to(stream):
            structlog.get_logger().info("during")
        assert orjson.loads(stream.getvalue())["event"] == "during"
    assert structlog.get_config() == before
    structlog.get_logger().info("after")


def test_latency_is_from_reading_to_writing_of_the_oldest_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each batch of predictions; rows of other outputs are only counted."""
    status, now = RunStatus(), iter([10.0, 11.0, 11.5, 14.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    status.read_lane(0, 100, 0, new=True)
    status.read_lane(0, 200, 0, new=True)
    status.wrote("predictions", 40, 60)
    assert status.latency.sum == 1.5
    status.wrote("late", 110, 1)
    status.wrote("predictions", 101, 100)
    assert status.latency.sum == 1.5 + 3.0
    assert status.rows == {"predictions": 160, "late": 1}


def test_the_pause_for_a_snapshot_ends_with_the_next_request_for_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reading again ends the pause; requests without a snapshot between them count none."""
    status, now = RunStatus(), iter([1.0, 2.0, 2.25, 9.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    status.asked()
    status.paused()
    status.asked()
    status.asked()
    assert (status.pause.sum, sum(status.pause.counts)) == (0.25, 1)
