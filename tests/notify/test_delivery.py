"""Delivery to a receiver: each alert once, whatever is killed and whoever is away."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from dataflows.notify import delivery as delivering
from dataflows.notify.delivery import MOST, Queue, delivered, queue_file, waiting
from dataflows.notify.receivers import Posted, RefusedError, Sender, UnreachedError
from dataflows.status import RunStatus
from tests.notify.worlds import (
    NOW,
    SECRET,
    alert,
    alertmanager,
    change,
    commit,
    drift,
    fleet_of,
    serving,
    verdict,
    webhook,
    world,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dataflows.fleet import Fleet


class Book(Sender):
    """A receiver in memory, which notifies of an alert as an Alertmanager does: when its state changes."""

    def __init__(self, *, together: int = 100, reposts: bool = True) -> None:
        self.together, self.reposts = together, reposts
        self.away = False
        self.refuses: set[str] = set()
        self.posts: list[list[tuple[str, str]]] = []
        self.states: dict[str, str] = {}
        self.notified: list[tuple[str, str]] = []
        self.ends: dict[str, float] = {}

    @override
    def post(self, alerts: Sequence[Posted], now: float) -> None:
        assert len(alerts) <= self.together
        if self.away:
            msg = "it is away"
            raise UnreachedError(msg)
        if refused := self.refuses & {each.notice.id for each in alerts}:
            raise RefusedError(*refused)
        self.posts.append([(each.notice.id, each.state) for each in alerts])
        for each in alerts:
            before, after = self.states.get(each.notice.id), each.state.replace("event", "firing")
            self.states[each.notice.id] = after
            self.ends[each.notice.id] = each.ends
            if before != after and not (before is None and after == "resolved"):
                self.notified.append((each.notice.id, after))


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setenv("PAGER_SECRET", SECRET)
    return fleet_of(tmp_path, main=alertmanager())


def test_an_alert_is_posted_when_its_row_is_committed(fleet: Fleet) -> None:
    """A row that a kill could take back is not posted; one end follows one beginning."""
    book = Book()
    found = world(fleet, book)
    commit(fleet, "alerts", alert("a", "opened"), final=False)
    found.settle()
    assert book.notified == []
    commit(fleet, "alerts")
    found.settle()
    commit(fleet, "alerts", alert("a", "cleared", 9))
    found.settle()
    assert book.notified == [("a", "firing"), ("a", "resolved")]
    assert found.status.notifications == {("main", "sent"): 2}


def test_a_beginning_leaves_the_queue_before_its_end_is_posted(fleet: Fleet) -> None:
    """So a beginning that is repeated after a kill never follows its end."""
    book = Book()
    found = world(fleet, book)
    commit(fleet, "alerts", alert("a", "opened"), alert("b", "opened"), alert("a", "cleared", 1))
    found.settle()
    assert book.posts[:2] == [[("a", "firing"), ("b", "firing")], [("a", "resolved")]]


class _Killed(BaseException):
    """A kill, as far as one process can show it."""


#: Mostly alerts of few assets, so that one opens and clears within a few rows.
ALERTS = st.tuples(
    st.just("alerts"),
    st.sampled_from("ab"),
    st.sampled_from(["opened", "opened", "cleared", "cleared", "updated"]),
)
CHANGES = st.tuples(st.just("changes"), st.sampled_from(["drift", "champion", "verdict", "undecided"]))
ROWS = st.lists(st.one_of(ALERTS, ALERTS, ALERTS, CHANGES), min_size=3, max_size=20)


def rows_of(steps: list[tuple[str, ...]]) -> list[tuple[str, dict[str, Any]]]:
    """Rows as a run writes them: an alert opens, is updated, and clears, under a new id each time."""
    lives: dict[str, int] = {}
    open_now: set[str] = set()
    rows: list[tuple[str, dict[str, Any]]] = []
    for number, step in enumerate(steps, start=1):
        if step[0] == "alerts":
            _, asset, state = step
            if (state == "opened") == (asset in open_now):
                continue
            if state == "opened":
                lives[asset] = lives.get(asset, 0) + 1
                open_now.add(asset)
            elif state == "cleared":
                open_now.discard(asset)
            rows.append(("alerts", alert(f"{asset}{lives[asset]}", state, number)))
        else:
            make = {"drift": drift, "verdict": verdict}
            row = make[step[1]](number) if step[1] in make else change("champion", number)
            rows.append(("changes", verdict(number, "undecided") if step[1] == "undecided" else row))
    return rows


@given(
    steps=ROWS,
    chunks=st.lists(st.integers(1, 4), min_size=1, max_size=20),
    kills=st.lists(st.booleans(), max_size=30),
    together=st.sampled_from([1, 2, 100]),
)
def test_kills_between_post_and_commit_repeat_no_notification(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, ...]],
    chunks: list[int],
    kills: list[bool],
    together: int,
) -> None:
    """However rows are committed and processes killed: each alert begins once and ends once, if it ended."""
    fleet = fleet_of(tmp_path_factory.mktemp("kills"), main=alertmanager())
    book, rows = Book(together=together), rows_of(steps)
    found = world(fleet, book)
    done = Queue.done
    fates = iter(kills)

    def killed(queue: Queue, *given: object) -> None:
        if next(fates, False):
            raise _Killed
        done(queue, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Queue, "done", killed)
        while rows or len(found.queue):
            size = chunks[len(rows) % len(chunks)]
            for output, row in rows[:size]:
                commit(fleet, output, row)
            rows = rows[size:]
            try:
                found.settle()
            except _Killed:
                found.delivery.close()
                found = world(fleet, book)
    found.delivery.close()
    assert max(Counter(book.notified).values(), default=1) == 1
    events = rows_of(steps)
    begun = {row["id"] for output, row in events if output == "alerts"}
    over = {row["id"] for output, row in events if output == "alerts" and row["state"] == "cleared"}
    notified = set(book.notified)
    assert {each for each, state in notified if state == "firing"} >= begun
    assert {each for each, state in notified if state == "resolved"} >= over
    assert all(book.states[each] == ("resolved" if each in over else "firing") for each in begun)


def test_a_webhook_gets_the_same_id_again_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it can leave out what it has got; body and id are the same, only the time differs."""
    monkeypatch.setenv("PAGER_SECRET", SECRET)
    with serving() as server:
        fleet = fleet_of(tmp_path, pager=webhook(server.url))
        found = world(fleet)
        commit(fleet, "alerts", alert("a", "opened"), alert("a", "cleared", 3))
        done = Queue.done
        monkeypatch.setattr(Queue, "done", lambda *_: (_ for _ in ()).throw(_Killed))
        with pytest.raises(_Killed):
            found.settle()
        found.delivery.close()
        monkeypatch.setattr(Queue, "done", done)
        found = world(fleet)
        found.settle()
        found.delivery.close()
    assert [post.headers["Webhook-Id"] for post in server.posts] == ["a.firing", "a.firing", "a.resolved"]
    assert server.posts[0].body == server.posts[1].body


def test_a_webhook_is_not_told_of_updates(tmp_path: Path) -> None:
    """A message that an alert is still there is a page for nothing."""
    fleet = fleet_of(tmp_path, main=alertmanager())
    book = Book(together=1, reposts=False)
    found = world(fleet, book)
    rows = [alert("a", "opened"), alert("a", "updated", 1, score=0.9), alert("a", "cleared", 2)]
    commit(fleet, "alerts", *rows)
    commit(fleet, "changes", drift(3))
    found.settle()
    assert sorted(state for each in book.posts for _, state in each) == ["event", "firing", "resolved"]
    assert found.queue.all_open(0.0) == []


def test_a_new_receiver_gets_of_the_past_what_is_still_open(fleet: Fleet) -> None:
    """Not the thousands of alerts that opened and cleared before it was configured, nor old events."""
    commit(fleet, "alerts", alert("old", "opened"), alert("old", "cleared", 1), alert("open", "opened", 2))
    commit(fleet, "changes", drift(1), verdict(2))
    book = Book()
    found = world(fleet, book)
    found.settle()
    assert len(book.notified) == 2
    assert ("open", "firing") in book.notified


def test_open_alerts_are_posted_again_before_they_expire(fleet: Fleet) -> None:
    """An Alertmanager that was started anew knows them within a minute, and notifies of none again."""
    book = Book()
    found = world(fleet, book)
    commit(fleet, "alerts", alert("a", "opened"))
    commit(fleet, "changes", drift(1))
    now = NOW / 1e6
    found.settle(now)
    assert book.ends["a"] == now + 30 * 60
    posts = len(book.posts)
    found.settle(now + 59)
    assert len(book.posts) == posts
    found.settle(now + 61)
    assert {each for each, _ in book.posts[-1]} == {*book.states}
    assert book.ends["a"] == now + 61 + 30 * 60
    event = next(each for each in book.ends if each != "a")
    assert book.ends[event] == now + 3_600
    found.settle(now + 3_700)
    assert book.posts[-1] == [("a", "firing")]
    assert found.queue.open(event) is None


def test_a_receiver_that_is_away_is_tried_on_a_fixed_schedule(fleet: Fleet) -> None:
    """After 1, 2, 5, 10, 30 and then every 60 s; what waits is counted, and is told by `status`."""
    book = Book()
    found = world(fleet, book)
    commit(fleet, "alerts", alert("a", "opened"))
    book.away = True
    now = NOW / 1e6
    assert [found.delivery.step(now + n) for n in range(8)] == [1, 2, 5, 10, 30, 60, 60, 60]
    assert found.status.undelivered == {"main": 8}
    assert found.delivery.queued == 1
    assert waiting(fleet) == [("main", 1, now, "it is away")]
    book.away = False
    found.settle(now + 100)
    assert waiting(fleet) == [("main", 0, None, "")]
    assert book.notified == [("a", "firing")]


def test_a_queue_is_bounded(fleet: Fleet) -> None:
    """Rows beyond wait in the outputs, where they are anyway."""
    book = Book()
    found = world(fleet, book)
    book.away = True
    commit(fleet, "alerts", *(alert(f"a{n}", "opened", n) for n in range(3 * MOST)))
    for _ in range(5):
        found.delivery.step(NOW / 1e6)
    assert len(found.queue) == MOST
    book.away = False
    found.settle()
    assert len(book.notified) == 3 * MOST


def test_an_alert_that_is_refused_holds_up_no_other(fleet: Fleet) -> None:
    """It is found, logged, counted and dropped."""
    book = Book()
    book.refuses.add("a3")
    found = world(fleet, book)
    commit(fleet, "alerts", *(alert(f"a{n}", "opened", n) for n in range(7)))
    found.settle()
    assert {each for each, _ in book.notified} == {f"a{n}" for n in range(7) if n != 3}
    assert found.status.notifications["main", "refused"] == 1
    assert len(found.queue) == 0


def test_outputs_of_another_run_are_read_from_the_beginning(fleet: Fleet) -> None:
    """What is open by them is posted, and alerts of the rows that are gone end."""
    book = Book()
    found = world(fleet, book)
    commit(fleet, "alerts", alert("a", "opened"), alert("b", "opened"))
    found.settle()
    (fleet.output.folder / "alerts.jsonl").unlink()
    rows = [alert("b", "opened"), alert("c", "opened", 2), alert("d", "opened", 3), alert("d", "cleared", 4)]
    commit(fleet, "alerts", *rows)
    found.settle()
    assert book.states == {"a": "resolved", "b": "firing", "c": "firing"}
    assert Counter(book.notified).most_common(1)[0][1] == 1


def test_an_error_of_any_kind_is_tried_again(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the program ends no thread, and never the run."""
    book = Book()
    found = world(fleet, book)
    commit(fleet, "alerts", alert("a", "opened"))
    monkeypatch.setattr(book, "post", lambda *_: 1 // 0)
    assert found.delivery.step(NOW / 1e6) == 1
    monkeypatch.undo()
    found.settle()
    assert book.notified == [("a", "firing")]


def test_a_receiver_that_never_answers_holds_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block ends within its patience, others get their alerts, and the next run delivers the rest."""
    monkeypatch.setenv("PAGER_SECRET", SECRET)
    monkeypatch.setattr(delivering, "_LAST", 0.5)
    with serving() as stuck, serving() as well:
        fleet = fleet_of(tmp_path, stuck=webhook(stuck.url), well=webhook(well.url))
        stuck.open.clear()
        began = time.monotonic()
        with delivered(fleet, RunStatus()):
            commit(fleet, "alerts", alert("a", "opened"))
            until = time.monotonic() + 20
            while not well.posts and time.monotonic() < until:
                time.sleep(0.02)
        assert time.monotonic() - began < 10
        assert [post.headers["Webhook-Id"] for post in well.posts] == ["a.firing"]
        assert [each.changes for each in waiting(fleet)] == [1, 0]
        stuck.open.set()
        with delivered(fleet, RunStatus()):
            pass
        assert {post.headers["Webhook-Id"] for post in stuck.posts} == {"a.firing"}


def test_each_receiver_has_a_thread_that_ends_with_the_run(tmp_path: Path) -> None:
    """And a fleet without receivers has none."""
    before = threading.active_count()
    with delivered(fleet_of(tmp_path), RunStatus()):
        assert threading.active_count() == before
    fleet = fleet_of(tmp_path, one=alertmanager(), two=alertmanager())
    with delivered(fleet, RunStatus()):
        assert threading.active_count() == before + 2
    assert threading.active_count() == before
    assert queue_file(fleet, "one").exists()
