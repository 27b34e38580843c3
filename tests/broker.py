"""A Kafka broker for tests: the one that KAFKA_BOOTSTRAP names, else Apache Kafka from Maven, else noida-db.

Apache Kafka needs Java 17 and, the first time, Maven: ``tests/kafka.sh`` keeps its jars in a cache folder.
noida-db is a broker from PyPI (``pip install noida-db``) with transactions; tests that need what it does not
do as Apache Kafka does are skipped, with the reason (`Broker.lacks`).
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PASSWORD", "USER", "Broker", "NoBrokerError", "apache_is_possible", "brokers"]

_SCRIPT = Path(__file__).with_name("kafka.sh")
_PATIENCE = 240.0
USER, PASSWORD = "tester", "tester-secret"


class NoBrokerError(RuntimeError):
    """None of the ways to a broker is open here."""


class Broker:
    """One that runs already: it can be used, not killed.

    Attributes:
        bootstrap: its address.
        what: it is, for the head of a test run.
        lacks: why it does not serve for some tests, by what they need: "kill" (that `kill` and `start` work,
            and lose nothing that was acknowledged), "topic ids" (that a topic made anew is told from the one
            before), "abort" (that who reads what is committed sees all that follows an aborted transaction).
        sasl: address where `USER` logs in with `PASSWORD` by SASL, None where there is none.
        tls: address of TLS, whose authority is in the file ``authority``; None where there is none.
    """

    lacks: ClassVar[dict[str, str]] = {"kill": "it is not ours to kill"}
    sasl: str | None = None
    tls: str | None = None
    authority: Path | None = None

    @property
    def pid(self) -> int | None:
        """Its process; None where it is not known."""
        return None

    def __init__(self, bootstrap: str, what: str) -> None:
        self.bootstrap = bootstrap
        self.what = what

    def need(self, *what: str) -> None:
        """Skip the test that needs what this broker lacks."""
        for each in what:
            if each in self.lacks:
                pytest.skip(f"{self.what}: {self.lacks[each]}")

    def start(self) -> None:
        """Start it, on the same address and data as before."""
        raise NotImplementedError

    def kill(self) -> None:
        """End it as kill -9 does; its data stays."""
        raise NotImplementedError

    def stop(self) -> None:
        """End it for good."""

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + _PATIENCE
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        while True:
            try:
                admin.list_topics(timeout=2)
            except KafkaException:
                assert time.monotonic() < deadline, f"no answer from {self.bootstrap}"
            else:
                return


class ApacheBroker(Broker):
    """Apache Kafka, one process in KRaft mode.

    Args:
        folder: for its data.
    """

    lacks: ClassVar[dict[str, str]] = {}

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        sasl, tls = _free_ports(2)
        self.sasl, self.tls = f"127.0.0.1:{sasl}", f"127.0.0.1:{tls}"
        self.authority = folder / "tls" / "ca.pem"
        self._env = {
            **os.environ,
            "HIGHWATER_KAFKA_SASL_PORT": str(sasl),
            "HIGHWATER_KAFKA_SSL_PORT": str(tls),
            "HIGHWATER_KAFKA_USER": USER,
            "HIGHWATER_KAFKA_PASSWORD": PASSWORD,
        }
        self._run("fetch")
        bootstrap = self._run("start", str(folder), "0")
        super().__init__(bootstrap, f"Apache Kafka, {bootstrap}")

    def _run(self, *arguments: str) -> str:
        ran = subprocess.run(
            [str(_SCRIPT), *arguments],
            env=self._env,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        if ran.returncode:
            raise NoBrokerError(ran.stderr.strip())
        return ran.stdout.strip()

    @property
    def pid(self) -> int | None:
        return int((self._folder / "broker.pid").read_text())

    def start(self) -> None:
        self._run("start", str(self._folder), self.bootstrap.rpartition(":")[2])

    def kill(self) -> None:
        self._run("kill", str(self._folder))

    def stop(self) -> None:
        with contextlib.suppress(NoBrokerError):
            self._run("kill", str(self._folder))


class NoidaBroker(Broker):
    """noida-db, a broker in one small binary.

    Args:
        folder: for its data.
    """

    # Of version 0.2.3.
    lacks: ClassVar[dict[str, str]] = {
        "kill": "killed with -9, it loses what it acknowledged in the last second, and open transactions",
        "topic ids": "its topics have no ids, so one made anew looks like the one before",
        "abort": "who begins to read behind an aborted transaction sees none of what was committed after it",
    }

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        (self._port,) = _free_ports(1)
        super().__init__(f"127.0.0.1:{self._port}", f"noida-db, 127.0.0.1:{self._port}")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        command = [sys.executable, "-m", "noida_db.cli", "start", "--only", "kafka"]
        command += ["--kafka-port", str(self._port), "--data-dir", str(self._folder)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self.wait()

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        self.kill()


def _free_ports(count: int) -> list[int]:
    """Below those that the kernel takes for outgoing connections, so that a restart finds them free."""
    chance = random.Random()
    found: list[int] = []
    while len(found) < count:
        port = chance.randrange(15_000, 20_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            if port not in found:
                found.append(port)
    return found


def apache_is_possible() -> bool:
    """Whether there are Java, and Maven or jars that it fetched before."""
    cache = Path(os.environ.get("HIGHWATER_KAFKA_CACHE") or Path.home() / ".cache/highwater-kafka")
    return shutil.which("java") is not None and (shutil.which("mvn") is not None or cache.is_dir())


@contextlib.contextmanager
def brokers(folder: Path) -> Iterator[Broker]:
    """The best broker there is, while the block runs.

    Args:
        folder: for its data.

    Raises:
        NoBrokerError: there is none, with what would make one.
    """
    broker = _opened(folder)
    try:
        yield broker
    finally:
        broker.stop()


def _opened(folder: Path) -> Broker:
    named = os.environ.get("KAFKA_BOOTSTRAP")
    if named:
        broker = Broker(named, f"KAFKA_BOOTSTRAP, {named}")
        broker.wait()
        return broker
    why = "there is no Java with Maven"
    if apache_is_possible():
        try:
            return ApacheBroker(folder / "apache")
        except (NoBrokerError, subprocess.TimeoutExpired) as error:
            why = f"Apache Kafka did not start: {error}"
    if importlib.util.find_spec("noida_db") is not None:
        return NoidaBroker(folder / "noida")
    msg = (
        f"no Kafka broker: {why}. Name one with KAFKA_BOOTSTRAP, or install Java 17 and Maven, or "
        "pip install noida-db"
    )
    raise NoBrokerError(msg)
