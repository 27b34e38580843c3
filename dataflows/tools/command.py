"""``python -m dataflows command``: append a decision about a champion to a file, or send it to a topic."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

import orjson

from dataflows.connectors.kafka.client import Clients, KafkaOutputError
from dataflows.events import Action
from dataflows.fleet.problems import listed, nearest

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.fleet import Fleet

__all__ = ["CommandError", "append", "command_of", "send_command"]

_PATIENCE = 30.0


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


def append(record: dict[str, Any], path: Path) -> None:
    """Append a command to a file of the input, with an arrival where the first record of the file has one.

    Raises:
        CommandError: the file does not exist: a run would not read another one.
    """
    if not path.exists():
        msg = f"{path} does not exist; name a file of the input that a run follows"
        raise CommandError(msg)
    with path.open("rb+") as file:
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


def send_command(record: dict[str, Any], fleet: Fleet, topic: str) -> None:
    """Send a command to a topic of the input.

    Raises:
        KafkaOutputError: it cannot be delivered.
    """
    clients = Clients(fleet.kafka)
    producer = clients.sender()
    failed: list[str] = []

    def note(error: object, _: object) -> None:
        if error is not None:
            failed.append(str(error))

    producer.produce(topic, orjson.dumps(record), record["target"], on_delivery=note)
    if producer.flush(_PATIENCE) or failed:
        why = failed[0] if failed else clients.away()
        msg = f"the command was not delivered to {topic} at {clients.bootstrap}: {why}"
        raise KafkaOutputError(msg)


def _unknown(what: str, name: str, choices: tuple[str, ...]) -> str:
    near = nearest(name, choices)
    hint = f"; did you mean {near!r}?" if near else ""
    return f"no {what} {name!r}: expected {listed(choices)}{hint}"
