"""Kafka in ``fleet.toml``: what is taken over, what the environment overrides, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from dataflows.fleet import Fleet, Kafka, KafkaInput, KafkaOutput, Problem, Secret
from dataflows.instants import MICROSECONDS

if TYPE_CHECKING:
    from pathlib import Path

Expanded = Callable[..., Fleet]
Refused = Callable[..., dict[str, Problem]]

TOPICS: dict[str, Any] = {"input": {"files": [], "kafka": {"topics": ["a.events", "b"]}}}
LOGIN = {"security": "sasl_tls", "user": "me"}


def kafka(**keys: object) -> dict[str, Any]:
    """Overrides of the cluster."""
    return {"kafka": keys}


def test_topics_and_cluster_are_taken_over(expanded: Expanded, tmp_path: Path) -> None:
    """With their defaults; paths belong to the folder of the file, secrets are only named."""
    login = LOGIN | {"ca_file": "ca.pem", "password_file": "secret"}
    written = {"prefix": "p.", "partitions": 6, "transaction_timeout": "2m"}
    fleet = expanded(TOPICS | kafka(**login) | {"output": {"kafka": written}})
    assert fleet.input.files == ()
    assert fleet.input.kafka == KafkaInput(("a.events", "b"), "highwater-pumps")
    assert fleet.output.kafka == KafkaOutput("p.", 6, 2 * MICROSECONDS["m"])
    secret = Secret(file=str(tmp_path / "secret"))
    expected = Kafka(security="sasl_tls", user="me", password=secret, ca_file=str(tmp_path / "ca.pem"))
    assert fleet.kafka == expected


def test_the_environment_names_files_instead_and_another_cluster(expanded: Expanded) -> None:
    """So one file serves any recording, and any cluster."""
    output = {"output": {"kafka": {"prefix": "p."}}}
    fleet = expanded(FLEET_KAFKA="elsewhere:9092", FLEET_INPUT="/x.jsonl", FLEET_OUTPUT="/out")
    assert (fleet.kafka.bootstrap, fleet.input.kafka, fleet.output.kafka) == ("elsewhere:9092", None, None)
    assert expanded(TOPICS | output).output.kafka is not None


REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    ({"input": {"kafka": {"topics": ["a"]}}}, "input.files", "one of the two"),
    ({"input": {"files": [], "kafka": {"topics": []}}}, "input.kafka.topics", "at least one"),
    ({"input": {"files": [], "kafka": {"topics": ["a b"]}}}, "input.kafka.topics[0]", "name of a topic"),
    ({"input": {"files": [], "kafka": {"topics": ["a"], "start": "now"}}}, "input.kafka.start", "beginning"),
    ({"output": {"kafka": {"prefix": "p/"}}}, "output.kafka.prefix", "238 at most"),
    ({"output": {"kafka": {"partitions": 0}}}, "output.kafka.partitions", "greater than 0"),
    (kafka(user="me"), "kafka.user", "no such key unless security is with sasl"),
    (kafka(ca_file="x"), "kafka.ca_file", "no such key unless security is with tls"),
    ({"kafka": {"security": "sasl", "password_env": "X"}}, "kafka.user", "this key"),
    (kafka(**LOGIN), "kafka.password_env", "this key or password_file"),
    ({"kafka": LOGIN | {"password_env": "X", "password_file": "y"}}, "kafka.password_file", "one of the two"),
    (kafka(security="tls", key_file="x"), "kafka.certificate_file", "belong together"),
    ({"kafka": LOGIN | {"password": "secret"}}, "kafka.password", "one of"),
]


@pytest.mark.parametrize(
    ("overrides", "key", "expected"), REFUSALS, ids=[f"{row[1]}-{n}" for n, row in enumerate(REFUSALS)]
)
def test_what_cannot_be_is_refused_with_its_key(
    refused: Refused, overrides: dict[str, Any], key: str, expected: str
) -> None:
    """One thing wrong is one problem; a password in the file is an unknown key."""
    problems = refused(overrides)
    assert list(problems) == [key]
    assert expected in problems[key].expected
