"""Resolve input and output: files or Kafka, and the connection to the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflows.fleet.errors import shown
from dataflows.fleet.plan import Input, Kafka, KafkaInput, KafkaOutput, Output, Secret
from dataflows.fleet.values import topic_name

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.fleet.draft import Draft

__all__ = ["made_input", "made_kafka", "made_output"]

_LOGINS = ("user", "password_env", "password_file")
_CERTIFICATES = ("ca_file", "certificate_file", "key_file", "key_password_env", "key_password_file")
#: Longest name of an output: a prefix of topics has to leave room for it.
_LONGEST_OUTPUT = "predictions"


def made_input(draft: Draft, folder: Path) -> Input:
    """Resolve the input: files or topics, not both."""
    table = draft.document.input
    kafka = None
    if table.kafka is not None:
        kafka = KafkaInput(
            tuple(dict.fromkeys(table.kafka.topics)),
            table.kafka.group or f"highwater-{draft.document.name}",
            table.kafka.start,
            table.kafka.new_partitions,
        )
    if not draft.is_broken("input", "files") and not draft.is_broken("input", "kafka"):
        if table.files and kafka is not None:
            draft.refuse(("input", "files"), "none together with `kafka`: one of the two", shown(table.files))
        elif not table.files and kafka is None:
            draft.refuse(("input", "files"), "at least one, or topics under `kafka`", shown(table.files))
    return Input(
        tuple(file if file == "-" else str(folder / file) for file in table.files),
        table.batch,
        table.follow,
        table.tick_every,
        table.tick_slack,
        table.journal_keep,
        kafka,
    )


def made_output(draft: Draft, folder: Path) -> Output:
    """Resolve the output: its destination and its rows."""
    table = draft.document.output
    kafka = None
    if table.kafka is not None:
        prefix = table.kafka.prefix
        try:
            topic_name(prefix + _LONGEST_OUTPUT)
        except ValueError:
            expected = "letters, digits, '.', '_' and '-', 238 at most"
            draft.refuse(("output", "kafka", "prefix"), expected, shown(prefix))
        kafka = KafkaOutput(prefix, table.kafka.partitions, table.kafka.transaction_timeout)
    return Output(
        folder=folder / table.folder,
        features=table.features,
        publish=table.publish,
        changed_by=table.changed_by,
        rotate=table.rotate,
        kafka=kafka,
    )


def made_kafka(draft: Draft, folder: Path) -> Kafka:
    """Resolve the connection; refuse keys that its security does not use, and keys that it lacks."""
    table = draft.document.kafka
    with_login, with_tls = table.security.startswith("sasl"), table.security.endswith("tls")
    for keys, wanted, where in ((_LOGINS, with_login, "sasl"), (_CERTIFICATES, with_tls, "tls")):
        for key in keys:
            if getattr(table, key) is not None and not wanted and not draft.is_broken("kafka", "security"):
                given = shown(table.security)
                draft.refuse(("kafka", key), f"no such key unless security is with {where}", given)
    password = _secret(draft, "password", table.password_env, table.password_file, folder)
    if with_login:
        for key, value in (("user", table.user), ("password_env", password)):
            if value is None and not draft.is_broken("kafka", key):
                other = " or password_file" if value is password and key != "user" else ""
                draft.refuse(("kafka", key), f"this key{other}, since security is {shown(table.security)}")
    if (table.certificate_file is None) != (table.key_file is None):
        missing = "key_file" if table.key_file is None else "certificate_file"
        draft.refuse(("kafka", missing), "this key: a certificate and its key belong together")
    return Kafka(
        bootstrap=table.bootstrap,
        security=table.security,
        ca_file=_path(folder, table.ca_file),
        certificate_file=_path(folder, table.certificate_file),
        key_file=_path(folder, table.key_file),
        key_password=_secret(draft, "key_password", table.key_password_env, table.key_password_file, folder),
        mechanism=table.mechanism,
        user=table.user,
        password=password,
    )


def _path(folder: Path, path: str | None) -> str | None:
    return None if path is None else str(folder / path)


def _secret(draft: Draft, what: str, env: str | None, file: str | None, folder: Path) -> Secret | None:
    if env is not None and file is not None:
        draft.refuse(("kafka", f"{what}_file"), f"none together with {what}_env: one of the two", shown(file))
    if env is None and file is None:
        return None
    return Secret(env, _path(folder, file))
