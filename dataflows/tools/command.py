"""``python -m dataflows command`` and ``verdict``: append a decision or a finding to a file, or send it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

import orjson

from dataflows.connectors.file_sink import files_of
from dataflows.evaluation.reading import ALERTS
from dataflows.events import Action, Finding
from dataflows.fleet.problems import listed, nearest
from dataflows.instants import parse_instant

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.fleet import Fleet

__all__ = ["CommandError", "append", "command_of", "send_command", "verdict_of"]


class CommandError(ValueError):
    """A command that the fleet cannot obey."""


def command_of(
    fleet: Fleet, action: str, target: str, by: str, model: str | None = None, why: str | None = None
) -> dict[str, Any]:
    """Make the record of a command.

    Raises:
        CommandError: the fleet has no such target or model, or there is no such action.
    """
    actions = get_args(Action)
    if action not in actions:
        raise CommandError(_unknown("action", action, actions))
    if target not in fleet.targets:
        raise CommandError(_unknown("target", target, tuple(fleet.targets)))
    names = tuple(each.name for each in fleet.targets[target].models)
    if model is not None and model not in names:
        raise CommandError(_unknown(f"model of {target}", model, names))
    if action == "promote" and model is None:
        msg = f"promote needs the model: --model, {listed(names)}"
        raise CommandError(msg)
    record = {"kind": "command", "target": target, "action": action, "model": model, "by": by, "why": why}
    return {name: value for name, value in record.items() if value is not None}


def verdict_of(
    fleet: Fleet,
    alert: str,
    verdict: str,
    by: str,
    time: str | None = None,
    note: str | None = None,
    fails: str | None = None,
) -> dict[str, Any]:
    """Make the record of a verdict on an alert, which is looked up in the outputs of the fleet.

    Args:
        fleet: the fleet; its outputs are files.
        alert: id of the alert.
        verdict: ``confirmed``, ``healthy`` or ``unclear``.
        by: who looked at the asset.
        time: when, RFC 3339; None: now.
        note: in words.
        fails: when the asset would have failed, RFC 3339; None: nobody knows.

    Raises:
        CommandError: there is no such alert or verdict, or a time is none.
    """
    verdicts = get_args(Finding)
    if verdict not in verdicts:
        raise CommandError(_unknown("verdict", verdict, verdicts))
    for name, given in (("time", time), ("fails", fails)):
        try:
            parse_instant(given or 0)
        except ValueError as error:
            msg = f"{name}: {error}"
            raise CommandError(msg) from None
    if fails is not None and verdict != "confirmed":
        msg = f"fails: expected in a verdict that is confirmed, got {verdict}; leave it out"
        raise CommandError(msg)
    path = fleet.output.folder / "alerts.jsonl"
    row = next((row for row in ALERTS.rows(path) if row.id == alert), None) if files_of(path) else None
    if row is None:
        msg = f"no alert {alert!r} in {path}; expected the id of one of its rows"
        raise CommandError(msg)
    record = {
        "kind": "verdict",
        "asset": row.asset,
        "target": row.target,
        "verdict": verdict,
        "by": by,
        "time": time or datetime.now(UTC).isoformat(),
        "since": row.opened,
        "alert": alert,
        "note": note,
        "fails": fails,
    }
    return {name: value for name, value in record.items() if value is not None}


def append(record: dict[str, Any], path: Path) -> None:
    """Append a record to a file of the input, with an arrival where the first record of the file has one.

    Raises:
        CommandError: the file does not exist: a run would not read another one.
    """
    if not path.exists():
        msg = f"{path} does not exist; name a file of the input that a run follows"
        raise CommandError(msg)
    # Whatever several writers do at once, each line goes to the end.
    with path.open("ab+") as file:
        file.seek(0)
        first = file.readline()
        if b'"arrived"' in first:
            record = {**record, "arrived": datetime.now(UTC).isoformat()}
        file.seek(0, 2)
        if file.tell():
            file.seek(-1, 2)
            whole = file.read(1) == b"\n"
        else:
            whole = True
        # One write: a process that follows the file reads the whole line or nothing.
        file.write((b"" if whole else b"\n") + orjson.dumps(record) + b"\n")


def send_command(record: dict[str, Any], fleet: Fleet, topic: str, patience: float = 30.0) -> None:
    """Send a record to a topic of the input.

    Args:
        record: record, whose key is its asset or its target.
        fleet: fleet with the connection to the cluster.
        topic: topic that exists.
        patience: seconds to wait for absent brokers, and again for the delivery.

    Raises:
        KafkaOutputError: there is no such topic, or the record cannot be delivered.
    """
    # A fleet on files needs no client, and its breaker uses this module too.
    from dataflows.connectors.kafka.client import Clients, KafkaOutputError, Patience  # noqa: PLC0415
    from dataflows.connectors.kafka.topics import Topics  # noqa: PLC0415

    clients = Clients(fleet.kafka, Patience(start=patience, request=min(patience, 5.0)))
    if Topics(clients, KafkaOutputError).find([topic])[topic] is None:
        msg = f"topic {topic} does not exist at {clients.bootstrap}; name a topic of the input"
        raise KafkaOutputError(msg)
    producer = clients.sender()
    failed: list[str] = []

    def note(error: object, _: object) -> None:
        if error is not None:
            failed.append(str(error))

    producer.produce(topic, orjson.dumps(record), record.get("asset", record["target"]), on_delivery=note)
    if producer.flush(patience) or failed:
        why = failed[0] if failed else clients.away()
        msg = f"the {record['kind']} was not delivered to {topic} at {clients.bootstrap}: {why}"
        raise KafkaOutputError(msg)


def _unknown(what: str, name: str, choices: tuple[str, ...]) -> str:
    near = nearest(name, choices)
    hint = f"; did you mean {near!r}?" if near else ""
    return f"no {what} {name!r}: expected {listed(choices)}{hint}"
