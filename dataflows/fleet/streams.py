"""Tables of ``fleet.toml`` about Kafka: the cluster, the topics to read, the topics to write."""

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

    The file never contains secrets: it names the environment variable or the file that holds one.
    """

    bootstrap: str = Field(
        default="localhost:9092",
        min_length=1,
        description="Addresses of some of its brokers, `host:port`, separated by commas. `FLEET_KAFKA` "
        "overrides it.",
    )
    security: Literal["none", "tls", "sasl", "sasl_tls"] = Field(
        default="none",
        description="Kind of connection: plain text, TLS, or either with a login by SASL. Use `sasl` "
        "without TLS only in networks that nobody else can listen to.",
    )
    ca_file: FileName | None = Field(
        default=None,
        description="With TLS, the authorities that may sign a broker's certificate, as PEM. Default: those "
        "of the system.",
    )
    certificate_file: FileName | None = Field(
        default=None, description="With TLS, the certificate of this client, as PEM."
    )
    key_file: FileName | None = Field(
        default=None, description="The key of that certificate, as PEM, in a file of its own."
    )
    key_password_env: str | None = Field(
        default=None, min_length=1, description="Environment variable that holds the password of the key."
    )
    key_password_file: FileName | None = Field(
        default=None, description="File that holds the password of the key."
    )
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="Mechanism of SASL."
    )
    user: str | None = Field(default=None, min_length=1, description="With SASL, the name of the user.")
    password_env: str | None = Field(
        default=None, min_length=1, description="Environment variable that holds the user's password."
    )
    password_file: FileName | None = Field(
        default=None, description="File that holds the user's password; a line end at its end does not count."
    )


class KafkaInputTable(Table):
    """Topics to read instead of files.

    All partitions of all topics are merged by the timestamps of their messages, which are the arrivals of
    the records, whatever `arrived` a record has itself. With `follow = true` they are read until the run is
    stopped; without it, up to where they end when the run starts.
    """

    topics: Annotated[list[Topic], Form("list of names of topics")] = Field(
        min_length=1,
        description="Topics of the input: one for all kinds of events, or several. Records of one asset "
        "belong into one partition of each topic, so that their order is kept: use its name as the key.",
    )
    group: str | None = Field(
        default=None,
        min_length=1,
        description="Consumer group that offsets are committed to, for tools that show lag. A resume reads "
        "its offsets from the recovery store. Default: `highwater-<name of the fleet>`.",
    )
    start: Literal["beginning", "end"] = Field(
        default="beginning", description="Offset at which a new store begins to read, in every partition."
    )
    new_partitions: Literal["refuse", "read"] = Field(
        default="refuse",
        description="What a run does if a topic has more partitions than before. Records of an asset then "
        "go to another partition, and may overtake older ones. So stop the producers, let the run read "
        "everything, add the partitions, set `read`, run, and start the producers again.",
    )


class KafkaOutputTable(Table):
    """Topics to write instead of files. `summary.json` and the log still go to the folder.

    A message's key is the asset (the target for metrics and changes), its value the row. Its headers are
    `id` (for predictions, alerts and evaluations), `order` (sequence and part) and `run`. Rows are written in
    transactions, one an epoch: a reader with `isolation.level=read_committed` sees every row once.
    """

    prefix: str = Field(
        default="",
        description="Each output has a topic, named by this prefix and the output: with `plant1.`, "
        "`plant1.predictions`. Nobody else may write to them.",
    )
    partitions: int | None = Field(
        default=None,
        gt=0,
        description="Number of partitions of topics that do not exist: they are created, with the broker's "
        "other defaults. Default: all topics have to exist.",
    )
    transaction_timeout: PositiveDuration = Field(
        default=5 * MICROSECONDS["m"],
        description="How long brokers may be away before a run ends with an error; it can then be resumed. "
        "Also how long rows after those of a killed run stay invisible, unless it is resumed before. At "
        "most the brokers' `transaction.max.timeout.ms`.",
    )
