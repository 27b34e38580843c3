"""Committed rows of outputs in topics: each once, and nothing of a transaction that is open or aborted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import orjson
import pytest
from confluent_kafka import Producer

from dataflows.connectors.committed import OtherRowsError
from dataflows.connectors.ends import committed_of
from dataflows.fleet import load
from dataflows.notify.delivery import waiting
from tests.chaos.harness import finish
from tests.kafka.topics import telemetry
from tests.notify.worlds import SECRET, serving
from tests.tables import LEAK

if TYPE_CHECKING:
    from dataflows.connectors.committed import CommittedRows, Place
    from tests.kafka.topics import Cluster

PATIENCE = 30.0


def read(rows: CommittedRows, place: Place, count: int) -> tuple[list[bytes], Place]:
    """At least so many rows from a place on, all that come within one look after them."""
    found: list[bytes] = []
    deadline = time.monotonic() + PATIENCE
    more = True
    while more or len(found) < count:
        assert time.monotonic() < deadline, found
        chunk = rows.read(place, 3)
        place, more = chunk.place, chunk.more
        found += [data for _, data in chunk.rows]
    return found, place


def test_each_committed_row_is_read_once(cluster: Cluster) -> None:
    """By several readers one after the other, each from the place of the one before."""
    topic = f"{cluster.name}.alerts"
    fleet = cluster.fleet(writing="partitions = 1")
    rows = committed_of(fleet, ("alerts", "changes"))
    assert rows.read({}, 10).rows == []  # there is no topic yet
    cluster.make(topic, partitions=2)
    found, place = read(rows, {}, 0)
    assert found == []
    cluster.send(*((n % 2, b"%d" % n, 1) for n in range(8)), topic=topic)
    first, place = read(rows, place, 8)
    rows.close()
    cluster.send((0, b"8", 1), (1, b"9", 1), topic=topic)
    again = committed_of(fleet, ("alerts", "changes"))
    second, place = read(again, place, 2)
    assert read(again, place, 0)[0] == []
    again.close()
    assert sorted(first) == [b"%d" % n for n in range(8)]
    assert sorted(second) == [b"8", b"9"]


@pytest.mark.ci
def test_rows_of_an_aborted_transaction_are_not_read(cluster: Cluster) -> None:
    """Nor those of one that is open; those that are committed later are."""
    cluster.broker.need("abort")
    topic = f"{cluster.name}.alerts"
    cluster.make(topic, partitions=1)
    rows = committed_of(cluster.fleet(writing="partitions = 1"), ("alerts",))
    settings = {
        "bootstrap.servers": cluster.broker.bootstrap,
        "transactional.id": cluster.name,
        "log_level": 0,
    }
    producer = Producer(settings)
    producer.init_transactions(PATIENCE)
    place: Place = {}
    for value, commit in ((b"1", False), (b"2", True), (b"3", False), (b"4", True)):
        producer.begin_transaction()
        producer.produce(topic, value, partition=0)
        producer.flush(PATIENCE)
        assert rows.read(place, 10).rows == []
        if not commit:
            producer.abort_transaction(PATIENCE)
            continue
        producer.commit_transaction(PATIENCE)
        found, place = read(rows, place, 1)
        assert found == [value]
    rows.close()


@pytest.mark.ci
def test_a_run_on_topics_delivers_each_alert(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the messages that are committed: those of the topic, once each."""
    cluster.make(partitions=1)
    fleet = cluster.fleet(follow="false", writing="partitions = 1").path
    alerting = LEAK.replace('horizon = "12h"', 'horizon = "1h"\nalert = { open = 0.3, clear = 0.2 }')
    monkeypatch.setenv("PAGER_SECRET", SECRET)
    with serving() as pager:
        receiver = f'[notify.pager]\nkind = "webhook"\nurl = "{pager.url}"\nsecret_env = "PAGER_SECRET"\n'
        fleet.write_text(fleet.read_text() + alerting + receiver + 'about = ["failures"]\n')
        events = [
            (0, telemetry(f"p{number % 3}", number, 60.0 * number), 60_000 * number + 1)
            for number in range(80)
        ]
        for number in (20, 50):
            failed = {"kind": "failure", "asset": "p1", "mode": "leak", "time": 60.0 * number}
            events.insert(number, (0, orjson.dumps(failed), 60_000 * number))
        cluster.send(*events)
        finish(fleet, PAGER_SECRET=SECRET)
        for _ in range(5):  # a run that ends waits a few seconds only; the next one delivers the rest
            finish(fleet, PAGER_SECRET=SECRET)
            if not any(each.changes for each in waiting(load(fleet, environ={}))):
                break
    rows = [orjson.loads(message.value()) for message in cluster.rows(f"{cluster.name}.alerts")]
    names = {"opened": "firing", "cleared": "resolved"}
    expected = [f"{row['id']}.{names[row['state']]}" for row in rows if row["state"] in names]
    assert expected
    assert sorted(post.headers["Webhook-Id"] for post in pager.posts) == sorted(expected)


def test_a_topic_that_was_made_anew_holds_other_rows(cluster: Cluster) -> None:
    """Its id is another one."""
    cluster.broker.need("topic ids")
    topic = f"{cluster.name}.alerts"
    cluster.make(topic, partitions=1)
    rows = committed_of(cluster.fleet(writing="partitions = 1"), ("alerts",))
    cluster.send((0, b"1", 1), topic=topic)
    _, place = read(rows, {}, 1)
    cluster.delete(topic)
    cluster.make(topic, partitions=1)
    with pytest.raises(OtherRowsError, match="was created again"):
        rows.read(place, 10)
    rows.close()
