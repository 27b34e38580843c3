"""The tables of ``fleet.toml`` that speak of Kafka: the cluster, the topics read, the topics written."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dataflows.fleet.tables import Table
from dataflows.fleet.values import FileName, Form, PositiveDuration, topic_name
from dataflows.instants import MICROSECONDS

__all__ = ["KafkaInputTable", "KafkaOutputTable", "KafkaTable"]

Topic = Annotated[str, AfterValidator(topic_name), Form("name of a topic")]


class KafkaTable(Table):
    """The Kafka cluster of `input.kafka` and `output.kafka`.

    Secrets never stand in this file: it names the environment variable or the file that holds one.
    """

    bootstrap: str = Field(
        default="localhost:9092",
        min_length=1,
        description="Addresses of some of its brokers, `host:port`, separated by commas. `FLEET_KAFKA` "
        "overrides it.",
    )
    security: Literal["none", "tls", "sasl", "sasl_tls"] = Field(
        default="none",
        description="How connections are made: plain text, TLS, or either with a login by SASL. `sasl` "
        "without TLS is only for networks that nobody else can listen to.",
    )
    ca_file: FileName | None = Field(
        default=None,
        description="With TLS, the authorities that a broker's certificate may come from, as PEM. Default: "
        "those of the system.",
    )
    certificate_file: FileName | None = Field(
        default=None, description="With TLS, the certificate by which this client is known, as PEM."
    )
    key_file: FileName | None = Field(
        default=None, description="The key of that certificate, as PEM; it belongs in a file of its own."
    )
    key_password_env: str | None = Field(
        default=None, min_length=1, description="Environment variable that holds the password of the key."
    )
    key_password_file: FileName | None = Field(
        default=None, description="File that holds the password of the key."
    )
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="The mechanism of SASL."
    )
    user: str | None = Field(default=None, min_length=1, description="With SASL, who logs in.")
    password_env: str | None = Field(
        default=None, min_length=1, description="Environment variable that holds the user's password."
    )
    password_file: FileName | None = Field(
        default=None, description="File that holds the user's password; a line end after it does not count."
    )


class KafkaInputTable(Table):
    """Topics to read instead of files.

    All partitions of all topics are merged by the timestamps of their messages, which are the arrivals of
    the records, whatever `arrived` a record has itself. With `follow = true` they are read until the run is
    stopped; without it, up to where they end when the run starts.
    """

    topics: Annotated[list[Topic], Form("list of names of topics")] = Field(
        min_length=1,
        description="All kinds of events in one topic, or spread over several. Records of one asset belong "
        "into one partition of each, so that their order is kept: give them its name as key.",
    )
    group: str | None = Field(
        default=None,
        min_length=1,
        description="The group under which offsets are committed, for tools that show lag. What a resume "
        "reads is in the recovery store. Default: `highwater-<name of the fleet>`.",
    )
    start: Literal["beginning", "end"] = Field(
        default="beginning", description="Where a new store begins to read, in every partition."
    )
    new_partitions: Literal["refuse", "read"] = Field(
        default="refuse",
        description="What a run does when a topic has more partitions than before. Records of an asset then "
        "go to another partition, and may overtake older ones: so stop the producers, let everything be "
        "read, add the partitions, set `read`, run, and start the producers again.",
    )


class KafkaOutputTable(Table):
    """Topics to write instead of files. `summary.json` and the log still go to the folder.

    A message's key is the asset (of metrics and changes the target), its value the row; its headers are
    `id` (of predictions, alerts and evaluations), `order` (sequence and part) and `run`. Rows are written in
    transactions, one an epoch: who reads with `isolation.level=read_committed` sees every row once.
    """

    prefix: str = Field(
        default="",
        description="Each output has a topic, whose name is this and the output's: with `plant1.`, "
        "`plant1.predictions`. Nobody else may write to them.",
    )
    partitions: int | None = Field(
        default=None,
        gt=0,
        description="Topics that do not exist are made, with so many partitions and the broker's other "
        "defaults. Default: they have to exist.",
    )
    transaction_timeout: PositiveDuration = Field(
        default=5 * MICROSECONDS["m"],
        description="How long brokers may be away before a run ends with an error, from which it can be "
        "resumed; and how long rows after those of a dead run stay invisible, unless it is resumed before. "
        "The brokers' `transaction.max.timeout.ms` is the most.",
    )
