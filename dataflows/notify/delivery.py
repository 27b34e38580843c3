"""Delivery of alerts: one thread for each receiver reads the committed rows and posts their changes.

It cannot delay or change a score, since it depends on committed rows alone. Each receiver has a queue, a
SQLite file in the folder ``notify`` of the outputs.

1. A transaction queues the changes of the next rows and moves the place behind them. So each row is read
   once, whenever the process is killed.
2. The first changes of the queue are posted, no two of one alert at once, and then removed in one
   transaction. If the process is killed in between, the next one posts them again: an Alertmanager merges
   them with the alert that it has, and a webhook sees a known id. An end is posted only after its beginning
   was removed from the queue, so a repeated beginning never follows its end.
3. Open alerts are posted to an Alertmanager again every ``repost_every``.

A receiver that fails is tried again after 1, 2, 5, 10, 30 and then every 60 seconds. Meanwhile at most
`MOST` changes are queued; further rows are not read yet.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import orjson
import structlog

from dataflows.connectors.committed import OtherRowsError
from dataflows.connectors.ends import committed_of
from dataflows.notify.notices import OUTPUTS, Change, Notice, Notices, sites_of
from dataflows.notify.receivers import Posted, RefusedError, UnreachedError, sender_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dataflows.connectors.committed import CommittedRows, Place
    from dataflows.fleet.fleet import Fleet, Receiver
    from dataflows.notify.receivers import Sender
    from dataflows.status import RunStatus

__all__ = ["MOST", "Delivery", "Queue", "Waiting", "delivered", "queue_file", "waiting"]

#: Changes in a queue above which no more rows are read.
MOST = 1_000
#: Seconds from one failure to the next attempt.
_RETRY = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
#: Seconds between two looks at the outputs.
_LOOK = 1.0
#: Seconds of posts between two looks: reading takes a second where outputs are topics.
_AT_ONCE = 10.0
#: Seconds that a run waits at its end for its last alerts to be delivered.
_LAST = 5.0
_log = structlog.get_logger()


class Queue:
    """Queue of one receiver: changes to deliver, open alerts that it has, and the place of the next rows.

    Args:
        path: of the file; created if it is missing.
        change: whether to write it; False only reads an existing file.
    """

    def __init__(self, path: Path, *, change: bool = True) -> None:
        if not change:
            self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA synchronous = EXTRA")
        self._db.executescript(
            "CREATE TABLE IF NOT EXISTS known (name TEXT PRIMARY KEY, value BLOB);"
            "CREATE TABLE IF NOT EXISTS queue (number INTEGER PRIMARY KEY AUTOINCREMENT, change BLOB);"
            "CREATE TABLE IF NOT EXISTS open (slot TEXT PRIMARY KEY, notice BLOB, ends REAL);"
        )

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def place(self) -> Place | None:
        """Place behind the rows that were read; None for a new queue."""
        found = self._known("place")
        return None if found is None else dict(found)

    def _known(self, name: str) -> Any:  # noqa: ANN401 - plain data
        row = self._db.execute("SELECT value FROM known WHERE name = ?", (name,)).fetchone()
        return None if row is None else orjson.loads(row[0])

    def _know(self, name: str, value: object) -> None:
        self._db.execute("INSERT OR REPLACE INTO known VALUES (?, ?)", (name, orjson.dumps(value)))

    def take(self, changes: Sequence[Change], place: Place, *, again: bool = False) -> None:
        """Queue changes and move the place, in one transaction.

        Args:
            changes: of the rows up to the place.
            place: behind these rows.
            again: whether all rows were read again; then the former changes are dropped.
        """
        with self._all_or_nothing():
            if again:
                self._db.execute("DELETE FROM queue")
            rows = [(msgspec.json.encode(change),) for change in changes]
            self._db.executemany("INSERT INTO queue (change) VALUES (?)", rows)
            self._know("place", place)

    def first(self, most: int) -> list[tuple[int, Change]]:
        """Return the first changes with their numbers, up to the second one of any slot."""
        found: dict[str, tuple[int, Change]] = {}
        rows = self._db.execute("SELECT number, change FROM queue ORDER BY number LIMIT ?", (most,))
        for number, data in rows.fetchall():
            change = msgspec.json.decode(data, type=Change)
            if change.slot in found:
                break
            found[change.slot] = number, change
        return list(found.values())

    def done(self, taken: Sequence[tuple[int, Change]], ends: float | None) -> None:
        """Remove delivered changes from the queue, and update the open alerts.

        Args:
            taken: from `first`.
            ends: seconds since 1970 at which their events end; None: events are not posted again.
        """
        with self._all_or_nothing():
            for number, change in taken:
                self._db.execute("DELETE FROM queue WHERE number = ?", (number,))
                event = change.state == "event"
                if change.notice is None:
                    self._db.execute("DELETE FROM open WHERE slot = ?", (change.slot,))
                elif not event or ends is not None:
                    row = change.slot, msgspec.json.encode(change.notice), ends if event else None
                    self._db.execute("INSERT OR REPLACE INTO open VALUES (?, ?, ?)", row)
            self._know("failing", None)

    def failed(self, why: str, now: float) -> None:
        """Set since when the receiver fails, and why; only the first failure counts."""
        before = self._known("failing")
        with self._all_or_nothing():
            self._know("failing", {"since": now if before is None else before["since"], "why": why})

    def open(self, slot: str) -> Notice | None:
        """Return the open alert of a slot that the receiver has; None without one."""
        row = self._db.execute("SELECT notice FROM open WHERE slot = ?", (slot,)).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=Notice)

    def all_open(self, now: float) -> list[tuple[str, Notice, float | None]]:
        """Return slot, alert and end (of an event) of all open alerts; ended events are dropped."""
        with self._all_or_nothing():
            self._db.execute("DELETE FROM open WHERE ends <= ?", (now,))
        rows = self._db.execute("SELECT slot, notice, ends FROM open ORDER BY slot").fetchall()
        return [(slot, msgspec.json.decode(data, type=Notice), ends) for slot, data, ends in rows]

    def __len__(self) -> int:
        return int(self._db.execute("SELECT COUNT(*) FROM queue").fetchone()[0])

    def failing(self) -> dict[str, Any] | None:
        """Return since when and why the receiver fails; None if it does not."""
        found: dict[str, Any] | None = self._known("failing")
        return found

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class Delivery:
    """Deliver to one receiver, step by step; the process may be killed at any instant.

    Args:
        receiver: as configured.
        notices: makes changes of rows.
        rows: the committed rows.
        queue: of this receiver.
        status: of the run; counts what is sent.
        sender: posts changes; None: the sender of the receiver.
    """

    def __init__(
        self,
        receiver: Receiver,
        notices: Notices,
        rows: CommittedRows,
        queue: Queue,
        status: RunStatus,
        sender: Sender | None = None,
    ) -> None:
        self._receiver = receiver
        self._notices = notices
        self._rows = rows
        self._queue = queue
        self._status = status
        self._sender = sender or sender_of(receiver)
        self._failures = 0
        self._together = self._sender.together
        #: Seconds since 1970 of the last post of all open alerts.
        self._reposted = float("-inf")
        self.queued = len(queue)

    def begin(self) -> None:
        """Start a new queue after the existing rows: of the past, only open alerts are sent.

        Raises:
            OSError: the outputs cannot be read.
            RuntimeError: likewise.
        """
        if self._queue.place() is None:
            self._read_again()

    def step(self, now: float) -> float:
        """Read new rows and post due changes; return the seconds to wait before the next step.

        Args:
            now: seconds since 1970.
        """
        try:
            self.begin()
            more = self._take()
            self.queued = len(self._queue)
            posted = self._deliver_all(now)
            if not posted:
                self._repost(now)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again, and the run goes on
            return self._failed(error, now)
        self._failures = 0
        return 0.0 if more or posted else _LOOK

    def _failed(self, error: Exception, now: float) -> float:
        wait = _RETRY[min(self._failures, len(_RETRY) - 1)]
        self._failures += 1
        self._status.undelivered[self._receiver.name] += 1
        if self._failures == 1 or wait == _RETRY[-1]:
            known = isinstance(error, (UnreachedError, OSError))
            _log.warning(
                "alerts are not delivered",
                receiver=self._receiver.name,
                error=str(error),
                exc_info=None if known else error,
            )
        with suppress(sqlite3.Error):
            # Most errors that are not the receiver's are a full disk.
            self._queue.failed(str(error), now)
        return wait

    def _take(self) -> bool:
        """Queue the changes of new rows; return whether there are more of them."""
        room = MOST - len(self._queue)
        if room <= 0:
            return False
        before: Place = self._queue.place() or {}
        try:
            chunk = self._rows.read(before, room)
        except OtherRowsError as error:
            _log.warning("all rows are read again", receiver=self._receiver.name, why=str(error))
            self._read_again()
            return True
        if chunk.place != before:
            changes = [change for row in chunk.rows for change in self._notices.of(*row)]
            self._queue.take(changes, chunk.place)
        return chunk.more

    def _read_again(self) -> None:
        """Read all rows, and queue the changes that bring the receiver's open alerts up to date."""
        standing: dict[str, Change] = {}
        place: Place = {}
        more = True
        while more:
            chunk = self._rows.read(place, MOST)
            more, place = chunk.more, chunk.place
            for row in chunk.rows:
                for change in self._notices.of(*row):
                    if change.state == "firing":
                        standing[change.slot] = change
                    else:
                        standing.pop(change.slot, None)
        over = [
            Change(slot, "resolved", notice.starts, why="its rows are gone")
            for slot, notice, ends in self._queue.all_open(0.0)
            if ends is None and slot not in standing
        ]
        self._queue.take([*over, *standing.values()], place, again=True)

    def _deliver_all(self, now: float) -> bool:
        """Post queued changes, for some seconds at most; return whether there were any."""
        began, posted = time.monotonic(), False
        while time.monotonic() - began < _AT_ONCE and self._deliver(now):
            posted = True
        return posted

    def _deliver(self, now: float) -> bool:
        """Post the first changes of the queue; return whether there were any."""
        taken = self._queue.first(self._together)
        if not taken:
            self._together = self._sender.together
            return False
        hold = now + self._receiver.hold / 1e6
        posts = [post for _, change in taken for post in self._posts(change, now, hold)]
        try:
            for start in range(0, len(posts), self._sender.together):
                self._sender.post(posts[start : start + self._sender.together], now)
        except RefusedError as error:
            if len(taken) > 1:
                self._together = 1  # to find the one that is refused
                return True
            _log.error("an alert was refused", receiver=self._receiver.name, error=str(error))
            self._status.notifications[self._receiver.name, "refused"] += 1
        else:
            self._status.notifications[self._receiver.name, "sent"] += len(posts)
        self._queue.done(taken, hold if self._sender.reposts else None)
        return True

    def _posts(self, change: Change, now: float, hold: float) -> Iterator[Posted]:
        """Yield the posts of a change; none for an end whose beginning was never delivered."""
        before = self._queue.open(change.slot)
        new = change.notice
        if before is not None and (new is None or new.id != before.id):
            why = change.why or "another one takes its place"
            yield Posted(before, "resolved", change.time, now, why)
        if new is None or (before is not None and before.id == new.id and not self._sender.reposts):
            return
        ends = hold if change.state == "event" else now + self._receiver.expires_after / 1e6
        yield Posted(new, change.state, change.time, ends)

    def _repost(self, now: float) -> None:
        if not self._sender.reposts or now - self._reposted < self._receiver.repost_every / 1e6:
            return
        expires = now + self._receiver.expires_after / 1e6
        found = self._queue.all_open(now)
        posts = [Posted(notice, "firing", notice.starts, ends or expires) for _, notice, ends in found]
        for start in range(0, len(posts), self._sender.together):
            try:
                self._sender.post(posts[start : start + self._sender.together], now)
            except RefusedError as error:
                _log.error("open alerts were refused", receiver=self._receiver.name, error=str(error))
        self._reposted = now

    def run(self, ending: threading.Event) -> None:
        """Deliver until the event is set, and then once more."""
        wait = 0.0
        while not ending.wait(wait):
            wait = self.step(time.time())
        while self.step(time.time()) == 0.0:
            pass

    def close(self) -> None:
        """Close the queue and the rows."""
        self._rows.close()
        self._queue.close()


@contextmanager
def delivered(fleet: Fleet, status: RunStatus) -> Iterator[None]:
    """Deliver alerts to every receiver of a fleet while the block runs, each in a thread of its own.

    Args:
        fleet: the fleet.
        status: of the run.

    Raises:
        SecretError: a secret of a receiver is not there, or cannot be used.
        InputError: a registry file is missing.
    """
    if not fleet.notify:
        yield
        return
    senders = [sender_of(receiver) for receiver in fleet.notify.values()]
    sites = sites_of(fleet)
    deliveries: dict[str, Delivery] = {}
    for receiver, sender in zip(fleet.notify.values(), senders, strict=True):
        rows = committed_of(fleet, OUTPUTS)
        queue = Queue(queue_file(fleet, receiver.name))
        notices = Notices(fleet, receiver.about, receiver.labels, sites)
        deliveries[receiver.name] = Delivery(receiver, notices, rows, queue, status, sender)
    for each in deliveries.values():
        with suppress(OSError, RuntimeError):
            each.begin()  # else the thread tries it again
    status.register("queued", lambda: {name: each.queued for name, each in deliveries.items()})
    ending = threading.Event()
    threads = [
        threading.Thread(target=_run, args=(each, ending), daemon=True) for each in deliveries.values()
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ending.set()
        deadline = time.monotonic() + _LAST
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def _run(delivery: Delivery, ending: threading.Event) -> None:
    try:
        delivery.run(ending)
    finally:
        delivery.close()


def queue_file(fleet: Fleet, receiver: str) -> Path:
    """File of the queue of a receiver."""
    return fleet.output.folder / "notify" / f"{receiver}.sqlite3"


class Waiting(NamedTuple):
    """Undelivered changes of a receiver.

    Attributes:
        receiver: its name.
        changes: number in its queue.
        since: seconds since 1970 from which it fails; None if it does not.
        why: reason of the failure.
    """

    receiver: str
    changes: int
    since: float | None
    why: str


def waiting(fleet: Fleet) -> list[Waiting]:
    """Return the undelivered changes of each receiver of a fleet; also while a run delivers."""
    found = []
    for name in fleet.notify:
        if not queue_file(fleet, name).exists():
            continue
        queue = Queue(queue_file(fleet, name), change=False)
        failing = queue.failing() or {"since": None, "why": ""}
        found.append(Waiting(name, len(queue), failing["since"], failing["why"]))
        queue.close()
    return found
