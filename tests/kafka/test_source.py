"""Reading topics: one order over all partitions, repeated on resume; what cannot be read is refused."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, TopicPartition

from dataflows.connectors.kafka.client import KafkaInputError, Patience
from dataflows.connectors.kafka.source import KafkaSource
from dataflows.events import Reject
from dataflows.items import Tick
from dataflows.status import RunStatus
from tests.kafka.topics import Cluster, drained, shown, taken, telemetry, until

if TYPE_CHECKING:
    from dataflows.connectors.source import LanePartition


def test_a_backlog_is_read_in_the_order_of_its_timestamps(cluster: Cluster) -> None:
    """Whatever partition the client gets first; where stamps run back, the partition's maximum counts."""
    cluster.make()
    chance = random.Random(1)
    stamps = {number: [chance.randrange(10_000, 20_000) for _ in range(700)] for number in range(4)}
    order = []
    for number, found in stamps.items():
        largest = 0
        for offset, stamp in enumerate(sorted(found, key=lambda stamp: stamp + chance.randrange(300))):
            largest = max(largest, stamp)
            order.append((largest, number, offset, stamp))
    by_partition = sorted(order, key=lambda each: (each[1], each[2]))
    cluster.send(*((number, telemetry("a", 1), stamp) for _, number, _, stamp in by_partition))
    items = drained(cluster.reading(follow="false"))
    expected = [
        (sequence, f"events/{number}", offset, stamp)
        for sequence, (_, number, offset, stamp) in enumerate(sorted(order), start=1)
    ]
    assert shown(items) == expected


def test_a_resume_repeats_what_was_chosen_though_more_has_come(cluster: Cluster) -> None:
    """What was read after the snapshot comes again, then what came in the meantime, older or not."""
    cluster.make()
    part = cluster.reading(journal=True)
    cluster.send((0, telemetry("a", 1), 1_000), (1, telemetry("b", 1), 2_000))
    first = taken(part, 2)
    resume = part.snapshot()
    cluster.send((1, telemetry("b", 2), 3_000))
    second = taken(part, 1)
    cluster.send((0, telemetry("a", 2), 2_500))
    part = cluster.reading(resume, journal=True)
    again = taken(part, 2)
    assert shown(again)[:1] == shown(second)
    assert [where for _, where, _, _ in shown(first + again)] == [
        "events/0",
        "events/1",
        "events/1",
        "events/0",
    ]


@pytest.mark.parametrize("start", ["beginning", "end"])
def test_a_run_killed_before_its_first_snapshot_begins_where_it_began(cluster: Cluster, start: str) -> None:
    """Also at the end as it was then: what came since is not skipped."""
    cluster.make(partitions=2)
    cluster.send((0, telemetry("a", 1), 1_000))
    reading = f'start = "{start}"'
    cluster.reading(journal=True, reading=reading)
    cluster.send((1, telemetry("b", 1), 2_000))
    items = taken(cluster.reading(journal=True, reading=reading), 1 if start == "end" else 2)
    expected = [("events/0", 0), ("events/1", 0)][start == "end" :]
    assert [(where, offset) for _, where, offset, _ in shown(items)] == expected


def test_what_is_no_event_is_rejected_with_its_place(cluster: Cluster) -> None:
    """Broken, empty and oversized messages become rejects; the next message is read as ever."""
    cluster.make(partitions=1)
    poison = [b"\xff\xfe", None, b"[]", b'{"kind":"telemetry"}', b"[" * 5_000]
    cluster.send(*((0, value, 1_000) for value in poison), (0, telemetry("a", 1), 1_000))
    items = drained(cluster.reading(follow="false"))
    assert [isinstance(item.body, Reject) for item in items] == [True] * 5 + [False]
    assert [item.position[1] for item in items] == list(range(6))


def test_offsets_are_told_to_the_group_after_the_snapshot_that_holds_them(cluster: Cluster) -> None:
    """For tools that show lag; the source itself knows it too."""
    cluster.make(partitions=2)
    cluster.send((0, telemetry("a", 1), 1_000), (1, telemetry("b", 1), 2_000))
    status = RunStatus()
    part = KafkaSource(cluster.fleet(reading='group = "mine"'), status).build_part("source", "lane-0", None)
    taken(part, 2)
    assert status.read("behind") == 0
    part.snapshot()
    part.snapshot()
    names = [TopicPartition(cluster.events, 0), TopicPartition(cluster.events, 1)]
    looking = Consumer({"bootstrap.servers": cluster.broker.bootstrap, "group.id": "mine"})
    until(
        lambda: [found.offset for found in looking.committed(names, timeout=10)] == [1, 1],
        "committed offsets",
    )
    looking.close()
    part.close()


def test_what_was_deleted_before_it_was_read_is_told(cluster: Cluster) -> None:
    """At a resume with the number of messages; no jump to where there are some."""
    cluster.make(partitions=1)
    cluster.send(*((0, telemetry("a", n), 1_000 + n) for n in range(10)))
    resume = cluster.reading(follow="false").snapshot()
    cluster.wait_for(cluster.admin.delete_records([TopicPartition(cluster.events, 0, 7)]))
    with pytest.raises(KafkaInputError, match=r"7 messages from offset 0 on were deleted .*--fresh"):
        cluster.reading(resume)


@pytest.mark.usefixtures("topic_ids")
@pytest.mark.parametrize("again", [True, False], ids=["created again", "gone"])
def test_a_deleted_topic_is_refused_at_a_resume(cluster: Cluster, *, again: bool) -> None:
    """Even where another of its name has as many messages."""
    cluster.make(partitions=1)
    cluster.send((0, telemetry("a", 1), 1_000))
    part = cluster.reading()
    taken(part, 1)
    resume = part.snapshot()
    cluster.delete()
    if again:
        cluster.make(partitions=1)
        cluster.send((0, telemetry("a", 1), 1_000))
    with pytest.raises(KafkaInputError, match="created again" if again else "no topic"):
        cluster.reading(resume)


@pytest.fixture
def impatient(cluster: Cluster) -> None:
    """Topics are checked at once, and brokers may not be away for long."""
    cluster.patience = Patience(start=0.3, request=0.5, check=0.05)


def refusal(part: LanePartition) -> str:
    """What a running source ends with."""
    said: list[str] = []

    def ended() -> bool:
        try:
            part.next_batch()
        except KafkaInputError as error:
            said.append(str(error))
        return bool(said)

    until(ended, "a refusal")
    return said[0]


@pytest.mark.usefixtures("impatient")
def test_a_topic_deleted_while_it_is_read_ends_the_run(cluster: Cluster) -> None:
    """The client itself would wait for ever."""
    cluster.make(partitions=1)
    part = cluster.reading()
    cluster.delete()
    assert "does not exist" in refusal(part)


@pytest.mark.usefixtures("impatient")
def test_new_partitions_are_noticed_refused_and_read_when_told_to(cluster: Cluster) -> None:
    """While running, and at a resume; with ``new_partitions`` they follow, from their beginning."""
    cluster.make(partitions=1)
    cluster.send((0, telemetry("a", 1), 1_000))
    part = cluster.reading(journal=True)
    taken(part, 1)
    resume = part.snapshot()
    cluster.grow(3)
    assert "`new_partitions`" in refusal(part)
    with pytest.raises(KafkaInputError, match='new_partitions = "read"'):
        cluster.reading(resume, journal=True)
    cluster.send((2, telemetry("b", 1), 2_000))
    part = cluster.reading(resume, journal=True, reading='new_partitions = "read"')
    assert shown(taken(part, 1)) == [(2, "events/2", 0, 2_000)]


@pytest.mark.usefixtures("impatient")
def test_a_cluster_that_does_not_answer_is_named(cluster: Cluster) -> None:
    """After a while; what to do is said."""
    with pytest.raises(KafkaInputError, match=r"no answer from Kafka at 127.0.0.1:9\D.*Run again"):
        cluster.reading(bootstrap="127.0.0.1:9")


def test_a_topic_that_does_not_exist_is_named(cluster: Cluster) -> None:
    """At the start, with where it was looked for."""
    with pytest.raises(KafkaInputError, match=rf"no topic {cluster.events}"):
        cluster.reading()


def ticks(part: LanePartition) -> int:
    return sum(isinstance(item.body, Tick) for item in part.next_batch())


@pytest.mark.ci
def test_time_passes_only_while_the_cluster_says_that_nothing_is_there(cluster: Cluster) -> None:
    """No ticks while brokers are away, however long; then the messages that came first, then ticks."""
    cluster.broker.need("kill")
    cluster.make(partitions=2)
    part = cluster.reading(ticks=True)
    cluster.send((0, telemetry("a", 1), 1_000))
    taken(part, 1)
    until(lambda: ticks(part) > 0, "a tick")
    cluster.broker.kill()
    try:
        until(lambda: not ticks(part), "what was asked before")
        looks: list[int] = []
        until(lambda: looks.append(ticks(part)) or len(looks) > 100, "a hundred looks")
        assert sum(looks[5:]) == 0
    finally:
        cluster.broker.start()
    until(lambda: ticks(part) > 0, "a tick after the broker came back")


def test_a_lane_reads_its_partitions_and_all_of_shared_topics(cluster: Cluster) -> None:
    """Partition i belongs to lane i modulo lanes; what both read is merged into each by its stamp."""
    weather = f"{cluster.name}.weather"
    cluster.make()
    cluster.make(weather, 3)
    cluster.send(*((number, telemetry(f"pump-{number}", 1), 1_000 + number) for number in range(4)))
    cluster.send((0, telemetry("w", 1), 1_001), (2, telemetry("w", 2), 9_000), topic=weather)
    fleet = cluster.fleet(follow="false\nlanes = 2", reading=f'shared = ["{weather}"]')
    found = []
    for lane in ("lane-0", "lane-1"):
        part = KafkaSource(fleet, RunStatus()).build_part("source", lane, None)
        found.append(shown(drained(part)))
        part.close()
    assert found == [
        [
            (2, "events/0", 0, 1_000),
            (4, "weather/0", 0, 1_001),
            (6, "events/2", 0, 1_002),
            (8, "weather/2", 0, 9_000),
        ],
        [
            (3, "events/1", 0, 1_001),
            (5, "weather/0", 0, 1_001),
            (7, "events/3", 0, 1_003),
            (9, "weather/2", 0, 9_000),
        ],
    ]


def test_a_topic_that_lanes_cannot_share_is_refused(cluster: Cluster) -> None:
    """Else records of one asset could lie in different lanes in different topics."""
    cluster.make(partitions=3)
    fleet = cluster.fleet(follow="false\nlanes = 2")
    with pytest.raises(KafkaInputError, match=r"has 3 partitions, which 2 lanes cannot share.*`shared`"):
        KafkaSource(fleet, RunStatus()).build_part("source", "lane-0", None)
