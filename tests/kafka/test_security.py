"""Logins and TLS by configuration, and secrets that are nowhere but where they belong."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import structlog
from structlog.testing import capture_logs

from dataflows.connectors.kafka.client import KafkaInputError, Patience
from tests.broker import PASSWORD, USER
from tests.kafka.topics import drained, telemetry

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka.topics import Cluster


@pytest.fixture
def filled(cluster: Cluster) -> Cluster:
    """A topic with one message."""
    if cluster.broker.sasl is None or cluster.broker.tls is None:
        pytest.skip("this broker has neither SASL nor TLS; Apache Kafka has")
    cluster.make(partitions=1)
    cluster.send((0, telemetry("a", 1), 1_000))
    return cluster


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_a_login_with_a_password_from_the_environment(
    filled: Cluster, monkeypatch: pytest.MonkeyPatch, mechanism: str
) -> None:
    """The file names the variable; the fleet that is made of it holds no secret."""
    monkeypatch.setenv("PUMPS_PASSWORD", PASSWORD)
    login = f'security = "sasl"\nmechanism = "{mechanism}"\nuser = "{USER}"\npassword_env = "PUMPS_PASSWORD"'
    how = {"bootstrap": str(filled.broker.sasl), "security": login, "follow": "false"}
    assert len(drained(filled.reading(**how))) == 1
    assert PASSWORD not in repr(filled.fleet(**how))


def test_tls_with_an_authority_of_our_own(filled: Cluster) -> None:
    """Its certificate is read from the file that is named."""
    security = f'security = "tls"\nca_file = "{filled.broker.authority}"'
    how = {"bootstrap": str(filled.broker.tls), "security": security, "follow": "false"}
    assert len(drained(filled.reading(**how))) == 1


def test_an_authority_that_is_not_known_is_said(filled: Cluster) -> None:
    """Not only that nothing answered."""
    filled.patience = Patience(start=1.0, request=0.5)
    with pytest.raises(KafkaInputError, match="TLS failed: see ca_file"):
        filled.reading(bootstrap=str(filled.broker.tls), security='security = "tls"')


def test_a_wrong_password_is_said_and_never_shown(
    filled: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in the error nor in any line of the log."""
    filled.patience = Patience(start=1.0, request=0.5)
    caplog.set_level(logging.DEBUG)
    (tmp_path / "secret").write_text("wrong-but-secret\n")
    login = f'security = "sasl"\nmechanism = "PLAIN"\nuser = "{USER}"\npassword_file = "secret"'
    structlog.reset_defaults()
    with capture_logs() as lines, pytest.raises(KafkaInputError, match="login was refused") as caught:
        filled.reading(bootstrap=str(filled.broker.sasl), security=login)
    said = f"{lines}{caplog.text}{caught.value}{filled.fleet(security=login)!r}"
    assert "login was refused" in said
    assert "wrong-but-secret" not in said


@pytest.mark.parametrize(("kind", "expected"), [("env", "PUMPS_NONE"), ("file", "secret")])
def test_a_secret_that_is_not_there_is_named(filled: Cluster, kind: str, expected: str) -> None:
    """The variable or the file, and the key that names it."""
    value = {"env": "PUMPS_NONE", "file": "secret"}[kind]
    login = f'security = "sasl"\nuser = "{USER}"\npassword_{kind} = "{value}"'
    with pytest.raises(KafkaInputError, match=rf"{expected}.*password_{kind}"):
        filled.reading(security=login)
