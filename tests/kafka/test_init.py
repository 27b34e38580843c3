"""``init --topic`` writes a fleet from the messages of a topic, and it runs."""

from __future__ import annotations

import random
import tomllib
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from typer.testing import CliRunner

from dataflows.__main__ import app
from dataflows.fleet import load
from tests.chaos.harness import finish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kafka.topics import Cluster

#: 2026-02-01, milliseconds.
BEGUN = 1_769_904_000_000
HOUR = 3_600_000


def _messages() -> Iterator[tuple[int, dict[str, Any], dict[str, Any] | None]]:
    """Readings of four pumps whose pressure falls for a day before each leak, and the leaks."""
    chance = random.Random(1)
    left = [chance.randint(60, 200) for _ in range(4)]
    for hour in range(600):
        for pump in range(4):
            left[pump] -= 1
            pressure = 4 + chance.gauss(0, 0.1) - max(0, 24 - left[pump]) / 12
            head = {"id": f"pump-{pump}", "ts": BEGUN + HOUR * hour}
            leak = None if left[pump] > 0 else {"head": head, "order": {"type": "breakdown", "part": "seal"}}
            yield pump % 2, {"head": head, "body": {"p": round(pressure, 3), "load": chance.random()}}, leak
            if leak:
                left[pump] = chance.randint(60, 200)


def _init(cluster: Cluster, *topics: str, kafka: str | None = None) -> tuple[int, str]:
    """Return the exit code and what was printed; the fleet is `made.toml`."""
    words = ["--out", str(cluster.folder / "made.toml"), "--kafka", kafka or cluster.broker.bootstrap]
    words += [word for topic in topics for word in ("--topic", topic)]
    found = CliRunner().invoke(app, ["init", *words], env={"COLUMNS": "200"})
    return found.exit_code, found.output


def test_a_fleet_of_two_topics_runs_and_beats_the_prior(cluster: Cluster) -> None:
    """Nested JSON in the user's own form; readings come up to a minute late, and orders a day."""
    cluster.make(partitions=2)
    orders = f"{cluster.name}.orders"
    cluster.make(orders, partitions=1)
    readings, leaks = [], []
    for number, (part, reading, leak) in enumerate(_messages()):
        received = int(reading["head"]["ts"]) + 1_000 * (number % 60)
        readings.append((part, orjson.dumps(reading), received))
        if leak:
            leaks.append((0, orjson.dumps(leak), received + 24 * HOUR))
    cluster.send(*readings, (0, b"no json", BEGUN))
    cluster.send(*leaks, topic=orders)
    code, said = _init(cluster, cluster.events, orders)
    assert code == 0, said
    assert "2,400 messages of 4 machines" in said
    assert f"Failures: seal {len(leaks)}." in said
    path = cluster.folder / "made.toml"
    document = tomllib.loads(path.read_text())
    assert document["input"]["kafka"]["topics"] == [cluster.events, orders]
    assert [rule["topics"] for rule in document["input"]["map"]] == [[cluster.events], [orders]]
    assert document["classes"]["machine"]["label_delay"] == "2d"
    finish(path)
    summary = orjson.loads((cluster.folder / "out" / "summary.json").read_bytes())
    (target,) = load(path, environ={}).targets
    losses = {model: row["log_loss"] for model, row in summary["targets"][target]["first_labels"].items()}
    assert losses["mixture"] < 0.8 * losses["prior"]


def test_events_in_our_own_form_need_no_rules(cluster: Cluster) -> None:
    """Their arrival is the timestamp of the message."""
    cluster.make(partitions=1)
    event = {"kind": "telemetry", "asset": "p1", "time": BEGUN / 1_000, "readings": {"volt": 1.0}}
    values = [{**event, "time": BEGUN / 1_000 + 60 * n, "readings": {"volt": float(n)}} for n in range(50)]
    cluster.send(*((0, orjson.dumps(value), BEGUN + 60_000 * n + 500) for n, value in enumerate(values)))
    code, said = _init(cluster, cluster.events)
    assert code == 0, said
    fleet = load(cluster.folder / "made.toml", environ={})
    assert fleet.input.rules == ()
    assert fleet.classes["machine"].sensors == ("volt",)
    assert fleet.classes["machine"].allowed_lateness == 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], "has no messages yet"),
        ([b"a;1;2"], "are no JSON objects, such as b'a;1;2'"),
        ([b'{"a": 1}'] * 30, "no telemetry"),
    ],
    ids=["empty", "csv", "no-time"],
)
def test_a_topic_that_cannot_be_used_is_refused(cluster: Cluster, values: list[bytes], expected: str) -> None:
    """The message says what the topic has, and what to do; no file is written."""
    cluster.make(partitions=1)
    cluster.send(*((0, value, BEGUN) for value in values))
    code, said = _init(cluster, cluster.events)
    assert code == 1
    assert expected in " ".join(said.split())
    assert not (cluster.folder / "made.toml").exists()


def test_a_topic_that_does_not_exist_is_named(cluster: Cluster) -> None:
    """The cluster is asked, and nothing is created."""
    path = cluster.folder / "kafka.toml"
    path.write_text(f'[kafka]\nbootstrap = "{cluster.broker.bootstrap}"\n')
    code, said = _init(cluster, cluster.events, kafka=str(path))
    assert code == 1
    assert f"no topic {cluster.events} at {cluster.broker.bootstrap}" in " ".join(said.split())
    assert cluster.partitions(cluster.events) == 0
