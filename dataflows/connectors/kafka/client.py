"""Clients of a Kafka cluster: their configuration, their logs, and errors that a user can act on."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from typing_extensions import override

from dataflows.fleet.fleet import SecretError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataflows.fleet.fleet import Kafka, Secret

__all__ = [
    "PATIENCE",
    "Clients",
    "KafkaInputError",
    "KafkaOutputError",
    "Patience",
    "code_of",
    "is_passing",
    "patiently",
]

_log = structlog.get_logger()
_Result = TypeVar("_Result")
_Client = TypeVar("_Client", AdminClient, Producer)


class Patience(NamedTuple):
    """Seconds to wait for brokers.

    Attributes:
        start: how long they may be away when a run starts.
        request: for the answer to one question.
        check: between two checks of the topics that are read.
    """

    start: float = 60.0
    request: float = 5.0
    check: float = 5.0


#: As long as a person would wait.
PATIENCE = Patience()


#: Seconds between two equal log lines.
_REMIND = 10.0
_PROTOCOLS = {"none": "PLAINTEXT", "tls": "SSL", "sasl": "SASL_PLAINTEXT", "sasl_tls": "SASL_SSL"}
#: Errors of absent or unready brokers: waiting is enough.
_PASSING = frozenset({
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - the client's names of its own errors begin so
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._RESOLVE,  # noqa: SLF001
    KafkaError._WAIT_COORD,  # noqa: SLF001
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.KAFKA_STORAGE_ERROR,
})  # fmt: skip
_REFUSALS = {
    KafkaError._AUTHENTICATION: "the login was refused: see user, password and mechanism",  # noqa: SLF001
    KafkaError._SSL: "TLS failed: see ca_file, certificate_file and key_file",  # noqa: SLF001
}


class KafkaInputError(RuntimeError):
    """Topics cannot be read, or are not those of the recovery store."""


class KafkaOutputError(RuntimeError):
    """Topics cannot be written, or are not those of the recovery store."""


def code_of(error: KafkaError | KafkaException) -> int:
    """Code of an error."""
    found = error.args[0] if isinstance(error, KafkaException) else error
    return int(found.code())


def is_passing(error: KafkaError | KafkaException) -> bool:
    """Whether another attempt may succeed."""
    found = error.args[0] if isinstance(error, KafkaException) else error
    if found.fatal() or found.txn_requires_abort():
        return False
    return code_of(found) in _PASSING or bool(found.retriable())


class _ToStructlog(logging.Handler):
    """Log messages of librdkafka."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        _log.info("kafka client", said=record.getMessage())


class _Reminder:
    """Lets a message pass once in a while."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def due(self, what: str) -> bool:
        now = time.monotonic()
        if now - self._said.get(what, -_REMIND) < _REMIND:
            return False
        self._said[what] = now
        return True


class Clients:
    """Make clients of one cluster; secrets are read at construction, and kept nowhere else.

    Args:
        kafka: connection to the cluster.
        patience: with its brokers.

    Raises:
        KafkaInputError: a secret is missing.
    """

    def __init__(self, kafka: Kafka, patience: Patience = PATIENCE) -> None:
        self.patience = patience
        self.bootstrap = kafka.bootstrap
        self._reminder = _Reminder()
        self._made: list[AdminClient | Producer] = []
        #: Refusals of the cluster, for messages about later failures.
        self.refusal: str | None = None
        logger = logging.Logger("librdkafka")  # noqa: LOG001 - not one of the program's tree
        logger.addHandler(_ToStructlog())
        self._config: dict[str, Any] = {
            "bootstrap.servers": kafka.bootstrap,
            "client.id": "highwater",
            "security.protocol": _PROTOCOLS[kafka.security],
            "error_cb": self._on_error,
            "logger": logger,
            "log_level": 2,  # what brokers being away looks like comes to `error_cb` too
            "log.connection.close": False,
            "socket.keepalive.enable": True,
            "reconnect.backoff.max.ms": 1_000,
            "topic.metadata.refresh.interval.ms": 5_000,
        }
        named = {
            "ssl.ca.location": kafka.ca_file,
            "ssl.certificate.location": kafka.certificate_file,
            "ssl.key.location": kafka.key_file,
            "ssl.key.password": _read(kafka.key_password, "key_password"),
        }
        if kafka.security.startswith("sasl"):
            named |= {
                "sasl.mechanism": kafka.mechanism,
                "sasl.username": kafka.user,
                "sasl.password": _read(kafka.password, "password"),
            }
        self._config.update({name: value for name, value in named.items() if value is not None})

    def admin(self) -> AdminClient:
        """Make a client that asks about topics and creates them."""
        return self._noted(AdminClient(self._config))

    def consumer(self, group: str) -> Consumer:
        """Make a reader of committed messages that never jumps to another offset by itself."""
        own: dict[str, Any] = {
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "allow.auto.create.topics": False,
            # Delay of an empty answer: for so long a new partition is not known to be at its end.
            "fetch.wait.max.ms": 100,
            "fetch.error.backoff.ms": 100,
            "queued.max.messages.kbytes": 16_384,
        }
        return Consumer({**self._config, **own})

    def producer(self, transactional_id: str, timeout_ms: int) -> Producer:
        """Make a writer of transactions, in order."""
        own = {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": timeout_ms,
            "compression.type": "lz4",
            "linger.ms": 5,
            "queue.buffering.max.kbytes": 65_536,
            "partitioner": "murmur2_random",
        }
        return self._noted(Producer({**self._config, **own}))

    def sender(self) -> Producer:
        """Make a writer without transactions, in order, each message once."""
        return self._noted(Producer({**self._config, "enable.idempotence": True, "compression.type": "lz4"}))

    def _noted(self, client: _Client) -> _Client:
        self._made.append(client)
        return client

    def _on_error(self, error: KafkaError) -> None:
        """Log that brokers come and go; the client reconnects by itself."""
        refusal = _REFUSALS.get(error.code())
        self.refusal = refusal or self.refusal
        if self._reminder.due(error.name()):
            _log.warning("kafka", bootstrap=self.bootstrap, error=error.name(), detail=refusal or error.str())

    def away(self) -> str:
        """Describe that nothing answered."""
        for client in self._made:
            # A client reports news of brokers only when polled.
            client.poll(0)
        because = f": {self.refusal}" if self.refusal else ""
        return f"no answer from Kafka at {self.bootstrap}{because}"


def patiently(
    clients: Clients,
    what: str,
    attempt: Callable[[], _Result],
    error: type[RuntimeError],
    patience: float | None = None,
) -> _Result:
    """Repeat an attempt while brokers are away.

    Args:
        clients: clients that may know the reason.
        what: description of the attempt, for the log and the error.
        attempt: makes one attempt, of at most a few seconds.
        error: raised after ``patience``.
        patience: seconds; None for those of a start.
    """
    deadline = time.monotonic() + (clients.patience.start if patience is None else patience)
    reminder = _Reminder()
    while True:
        try:
            result = attempt()
        except KafkaException as failed:
            if not is_passing(failed):
                msg = f"Kafka at {clients.bootstrap}: cannot {what}: {failed.args[0].str()}"
                raise error(msg) from failed
            if time.monotonic() > deadline:
                msg = f"{clients.away()}; could not {what}. Run again when it is back"
                raise error(msg) from failed
            if reminder.due(what):
                _log.warning(
                    "waiting for kafka", bootstrap=clients.bootstrap, to=what, error=failed.args[0].name()
                )
            time.sleep(0.1)
        else:
            clients.refusal = None
            return result


def _read(secret: Secret | None, what: str) -> str | None:
    try:
        return None if secret is None else secret.read(what, "kafka")
    except SecretError as failed:
        raise KafkaInputError(str(failed)) from failed
