"""Writing topics: rows are visible whole epochs at a time, each once, whoever died in between."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from dataflows.connectors.kafka.client import KafkaOutputError, Patience
from dataflows.connectors.kafka.sink import KafkaSink
from dataflows.events import Reject
from dataflows.items import Item, Row, reject_row
from dataflows.status import RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kafka.topics import Cluster

MADE = "partitions = 3"
#: Arrival of what is written, in seconds. Topics are made here with the broker's own retention, by which rows
#: that are long past may be deleted at once.
NOW = int(time.time())


def prediction(sequence: int, score: float = 0.5, part: int = 0, since: int = NOW) -> Item:
    row = {"id": f"id{sequence}", "asset": f"pump-{sequence % 5}", "target": "pump/seal/1d", "score": score}
    known = (since + sequence) * 1_000_000
    row_id, key = f"id{sequence}", f"pump-{sequence % 5}"
    body = Row("predictions", orjson.dumps(row), id=row_id, key=key)
    return Item(sequence, part, known, known, ("", 0, 0), body)


class Writer:
    """The partition of one output in a run; ``run`` begins another one."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.sink: Any = None

    def run(
        self, resume: bytes | None = None, *, lineage: str = "mine", output: str = "predictions", **how: str
    ) -> Any:  # noqa: ANN401
        fleet, patience = self.cluster.fleet(**({"writing": MADE} | how)), self.cluster.patience
        self.sink = KafkaSink(fleet, RunStatus(), lambda: lineage, patience=patience)
        return self.sink.build_part("outputs", output, resume)

    def rows(self, output: str = "predictions", *, committed: bool = True) -> list[int]:
        """Sequences of the rows of a topic, by partition."""
        found = self.cluster.rows(f"{self.cluster.name}.{output}", committed=committed)
        return sorted(int(dict(message.headers())["order"].split(b".")[0]) for message in found)


@pytest.fixture
def writer(cluster: Cluster) -> Iterator[Writer]:
    return Writer(cluster)


def test_a_row_is_a_message_with_key_headers_and_time(writer: Writer) -> None:
    """The asset is the key, the arrival the timestamp; ``id``, ``order`` and ``run`` are headers."""
    part = writer.run()
    part.write_batch([prediction(7, part=3)])
    part.snapshot()
    (message,) = writer.cluster.rows(f"{writer.cluster.name}.predictions")
    assert (message.key(), message.value()) == (b"pump-2", prediction(7).body.data)
    assert dict(message.headers()) == {"order": b"7.3", "run": b"mine", "id": b"id7"}
    assert message.timestamp()[1] == (NOW + 7) * 1_000


def test_rows_of_an_asset_stay_in_order(writer: Writer) -> None:
    """They share a partition, and a partition has them as they were written."""
    part = writer.run()
    part.write_batch([prediction(n) for n in range(500)])
    part.snapshot()
    last: dict[tuple[int, bytes], int] = {}
    for message in writer.cluster.rows(f"{writer.cluster.name}.predictions"):
        place = message.partition(), message.key()
        sequence = int(dict(message.headers())["order"].split(b".")[0])
        assert last.get(place, -1) < sequence
        last[place] = sequence
    assert len({key for _, key in last}) == len(last) == 5


def test_rows_are_committed_with_the_snapshot(writer: Writer) -> None:
    """What an epoch wrote is not visible before, and what a dead run left open never is."""
    part = writer.run()
    part.write_batch([prediction(1)])
    resume = part.snapshot()
    part.write_batch([prediction(2)])
    part._producer.flush(10)
    assert writer.rows() == [1]
    assert writer.rows(committed=False) == [1, 2]
    part = writer.run(resume)
    part.write_batch([prediction(2), prediction(3)])
    part.snapshot()
    assert writer.rows() == [1, 2, 3]


@pytest.mark.parametrize("first", [True, False], ids=["first epoch", "later epoch"])
def test_what_was_committed_after_the_snapshot_is_not_published_again(writer: Writer, *, first: bool) -> None:
    """Also if the next run dies again before it has come as far as the one before."""
    part, resume = writer.run(), None
    if not first:
        part.write_batch([prediction(n) for n in range(1, 11)])
        resume = part.snapshot()
    part.write_batch([prediction(n) for n in range(11, 31)])
    part.snapshot()
    part = writer.run(resume)
    part.write_batch([prediction(n) for n in range(11, 16)])
    resume = part.snapshot()
    part = writer.run(resume)
    part.write_batch([prediction(n) for n in range(16, 41)])
    resume = part.snapshot()
    assert part.repeated == 20
    assert part.divergent == 0
    assert writer.rows() == list(range(11 if first else 1, 41))
    part = writer.run(resume)
    assert part._written == {}


def test_a_row_that_comes_out_otherwise_is_counted(writer: Writer) -> None:
    """The first publication stands."""
    part = writer.run()
    part.write_batch([prediction(1, 0.5), prediction(2, 0.5)])
    part.snapshot()
    part = writer.run()
    part.write_batch([prediction(1, 0.5), prediction(2, 0.6)])
    part.snapshot()
    assert (part.repeated, part.divergent) == (2, 1)
    found = writer.cluster.rows(f"{writer.cluster.name}.predictions")
    assert sorted(orjson.loads(message.value())["score"] for message in found) == [0.5, 0.5]


def test_a_dead_run_that_comes_back_can_commit_nothing(writer: Writer) -> None:
    """A process that hung while another went on in its place is refused, and told why."""
    zombie = writer.run()
    zombie.write_batch([prediction(1)])
    resume = zombie.snapshot()
    zombie.write_batch([prediction(2)])
    part = writer.run(resume)
    with pytest.raises(KafkaOutputError, match="Another run took over"):
        zombie.snapshot()
    part.write_batch([prediction(2)])
    part.snapshot()
    assert writer.rows() == [1, 2]


def test_rows_of_another_run_are_refused_by_a_new_store(writer: Writer) -> None:
    """A new store knows nothing of them, so it could not tell what is missing."""
    part = writer.run()
    part.write_batch([prediction(1)])
    part.snapshot()
    with pytest.raises(KafkaOutputError, match=r"rows of another run.*prefix"):
        writer.run(lineage="other")


def test_topics_are_made_only_when_that_is_asked_for(writer: Writer) -> None:
    """With as many partitions as ``partitions`` says; else one that is missing is named."""
    with pytest.raises(KafkaOutputError, match=r"no topic t\w+\.predictions.*`partitions`"):
        writer.run(writing="")
    writer.run()
    assert writer.cluster.partitions(f"{writer.cluster.name}.predictions") == 3


@pytest.mark.usefixtures("topic_ids")
def test_a_topic_that_lost_its_rows_is_refused(writer: Writer) -> None:
    """One that was deleted and made anew is not the one that the store knows."""
    part = writer.run()
    part.write_batch([prediction(1)])
    resume = part.snapshot()
    writer.cluster.delete(f"{writer.cluster.name}.predictions")
    with pytest.raises(KafkaOutputError, match="no topic"):
        writer.run(resume)
    writer.cluster.make(f"{writer.cluster.name}.predictions", 3)
    with pytest.raises(KafkaOutputError, match="created again"):
        writer.run(resume)


def test_a_reject_longer_than_a_message_may_be_is_cut(writer: Writer) -> None:
    """The run must not end for a record that was no good anyway; the row says that it was cut."""
    part = writer.run(output="rejects")
    reject = Reject("malformed", "not JSON", raw=b"\x00" * 1_000_000)
    part.write_batch([reject_row(Item(1, 0, 0, 0, ("", 0, 0), reject), reject)])
    part.snapshot()
    (message,) = writer.cluster.rows(f"{writer.cluster.name}.rejects")
    found = orjson.loads(message.value())
    assert (len(found["raw"]), found["cut"]["bytes"]) == (100_000, 1_000_000)


def test_rows_of_recorded_files_carry_the_time_of_writing(writer: Writer) -> None:
    """Those of years ago would be deleted at once by brokers that keep messages for a week."""
    fleet = writer.cluster.fleet(writing=MADE)
    files = writer.cluster.folder / "events.jsonl"
    files.touch()
    path = writer.cluster.folder / "fleet.toml"
    text = path.read_text().replace(f'[input.kafka]\ntopics = ["{writer.cluster.events}"]', "")
    path.write_text(text.replace("[input]", '[input]\nfiles = ["events.jsonl"]'))
    assert fleet.input.kafka is not None
    from dataflows.fleet import load  # noqa: PLC0415

    sink = KafkaSink(load(path, environ={}), RunStatus(), lambda: "mine")
    part = sink.build_part("outputs", "predictions", None)
    part.write_batch([prediction(1, since=1_735_689_600)])
    part.snapshot()
    (message,) = writer.cluster.rows(f"{writer.cluster.name}.predictions")
    assert message.timestamp()[1] >= NOW * 1_000


@pytest.mark.ci
def test_a_broker_that_dies_and_comes_back_delays_a_commit(writer: Writer) -> None:
    """Nothing is lost, nothing is there twice, and the run goes on."""
    writer.cluster.broker.need("kill")
    part = writer.run()
    part.write_batch([prediction(n) for n in range(100)])
    writer.cluster.broker.kill()
    part.write_batch([prediction(n) for n in range(100, 200)])
    writer.cluster.broker.start()
    part.snapshot()
    assert writer.rows() == list(range(200))


def test_a_cluster_that_does_not_answer_is_named(writer: Writer) -> None:
    """After a while, before anything is read."""
    writer.cluster.patience = Patience(start=0.3, request=0.5)
    with pytest.raises(KafkaOutputError, match=r"no answer from Kafka at 127.0.0.1:9\D"):
        writer.run(bootstrap="127.0.0.1:9")
