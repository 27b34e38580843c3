"""The fleet that a ``fleet.toml`` describes: resolved, immutable, and reduced to what a run needs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dataflows.instants import HOUR, MICROSECONDS
from dataflows.window_statistics import FAULT_STATISTICS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dataflows.mapping.rules import Rule

__all__ = [
    "CLEAR_SHARE",
    "RESETS",
    "Alert",
    "AssetClass",
    "AssetPolicy",
    "ClockPolicy",
    "Costs",
    "Fleet",
    "Input",
    "Kafka",
    "KafkaInput",
    "KafkaOutput",
    "Model",
    "Output",
    "OwnFeatures",
    "Receiver",
    "Relative",
    "Secret",
    "SecretError",
    "Target",
    "Weather",
    "Window",
]


class SecretError(RuntimeError):
    """A secret that ``fleet.toml`` names is not there."""


#: Records that can clear an asset's windows.
RESETS = ("failure", "maintenance")


@dataclass(frozen=True, slots=True)
class Window:
    """One event-time window; at time t it covers (floor(t / hop) * hop - length, t].

    Attributes:
        length: microseconds, a multiple of ``hop``.
        hop: microseconds.
        statistics: a subset of `STATISTICS`, in that order.
        sensors: indices into the channels of the class, ascending.
        faults: indices into the faults of the class, ascending.
        fault_statistics: a subset of `FAULT_STATISTICS`, in that order.
    """

    length: int
    hop: int
    statistics: tuple[str, ...]
    sensors: tuple[int, ...]
    faults: tuple[int, ...] = ()
    fault_statistics: tuple[str, ...] = FAULT_STATISTICS


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of the catalogue as a target uses it.

    Attributes:
        name: its name in the catalogue.
        spec: the pipeline as configured; two models with equal specs are the same model.
        features: indices into the feature names of the class, ascending; for a model of scores, the features
            of the models below it.
        build: builds a fresh estimator with River's protocol.
        scores: names of the models whose served scores are its input instead of features.
        shared: whether it learns from all classes whose targets of one mode and horizon have it.
        least_positives: positives that it has to learn before it scores.
    """

    name: str
    spec: Mapping[str, Any]
    features: tuple[int, ...]
    build: Callable[[], Any]
    scores: tuple[str, ...] = ()
    shared: bool = False
    least_positives: int = 0


#: By default an alert clears at this share of the score that opens it, so that a score that varies a little
#: does not open one alert after the other.
CLEAR_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Alert:
    """Thresholds at which an alert opens and clears; a score between them changes nothing.

    Attributes:
        open: the lowest score that opens it.
        clear: the score below which it clears, at most ``open``.
        dwell: microseconds of event time that a score has to stay there.
        update_by: change of the score after which an open alert is published again.
    """

    open: float
    clear: float
    dwell: int
    update_by: float


@dataclass(frozen=True, slots=True)
class Promotion:
    """How the champion of a target is replaced by a challenger that is better.

    Attributes:
        auto: it is replaced, not only proposed.
        judge: unit of the comparison.
        loss: by which models are compared.
        positives: so many positive examples have to be compared.
        margin: least mean difference of the losses.
        cool_down: microseconds after a change of champion without another one.
        level: probability of a wrong promotion that this target may spend.
    """

    auto: bool
    judge: Literal["assets", "calendar"]
    loss: Literal["brier", "log"]
    positives: int
    margin: float
    cool_down: int
    level: float


@dataclass(frozen=True, slots=True)
class Breaker:
    """When a slow champion is replaced by the former one, through a command of the running program.

    Attributes:
        latency: microseconds that it may take for a row, on average.
        rows: of so many rows; two such blocks one after the other have to be slower.
        commands: file or topic of the input to which the command is written.
    """

    latency: int
    rows: int
    commands: str


@dataclass(frozen=True, slots=True)
class Costs:
    """Prices, in one unit.

    Attributes:
        missed: of a failure that nobody acted on.
        false_alarm: of acting on a machine that would not have failed.
        repair: of a planned repair.
    """

    missed: float
    false_alarm: float
    repair: float = 0.0

    @property
    def break_even(self) -> float:
        """Precision from which acting on an alert is worth its price: the share of alerts that are right.

        >>> Costs(missed=5000, false_alarm=300, repair=800).break_even
        0.06666666666666667
        """
        return self.false_alarm / (self.false_alarm + self.missed - self.repair)

    def act_now(self, risk: float) -> float:
        """Expected price of acting on a machine that fails with this probability otherwise."""
        return risk * self.repair + (1 - risk) * self.false_alarm

    def wait(self, risk: float) -> float:
        """Expected price of doing nothing."""
        return risk * self.missed


@dataclass(frozen=True, slots=True)
class DriftPolicy:
    """How a target is watched for drift, and what an alarm does.

    Attributes:
        alarms: false alarms a year that this target may have.
        answer: to an alarm that is no data movement: ``log`` does nothing; ``challenger`` starts a fresh
            version of a model; ``reset`` lets a challenger begin with nothing.
        model: name of that model.
        compare_with: a block is compared with the one so many microseconds before; None: with the reference.
        detectors: further detectors, by name, whose statistics are reported: each builds one.
    """

    alarms: float
    answer: Literal["log", "challenger", "reset"] = "log"
    model: str = ""
    compare_with: int | None = None
    detectors: Mapping[str, Callable[[], Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """A prediction task: "this mode within this horizon", for one class of assets.

    Attributes:
        name: ``class/mode/horizon``.
        horizon: microseconds.
        label_delay: microseconds that a failure record may come after the horizon has passed.
        label_memory: microseconds after maturing in which a record can still correct the label.
        component: maintenance of this component censors examples.
        threshold: the lowest score that precision and recall count as a predicted failure.
        champion: the model that serves a new target.
        alert: None raises no alerts.
        successor: the next champion if the present one is no longer among the models.
        downtime: microseconds after a failure in which the machine is down, and the same mode is not new.
        promotion: how its champion is replaced; None: only by a command.
        breaker: when a slow champion is replaced; None: never.
        agrees: whether what it publishes agrees with the other horizons of the mode that do.
        thin_negatives: one in so many negatives is kept for fits, with that weight.
        prior: share of positives that is expected before any example; None: nothing is known.
        hours: model that gives predictions the hours to failure; None: they have none.
        within: shorter horizons whose probability predictions have too, microseconds, ascending.
        verdict_weight: how often models learn an example that has its label from a verdict.
        advice: where to look when an asset is at risk.
        costs: prices; None where nobody gave them.
        drift: how it is watched for drift; None: it is not.
        relearn: microseconds between checkpoints, to which models go back when a label is corrected; None:
            what was learned stays learned.
    """

    name: str
    asset_class: str
    mode: str
    component: str
    horizon: int
    label_delay: int
    label_memory: int
    learn_positives: Literal["together", "at_once"]
    threshold: float
    champion: str
    models: tuple[Model, ...]
    alert: Alert | None = None
    successor: str | None = None
    downtime: int = 0
    promotion: Promotion | None = None
    breaker: Breaker | None = None
    advice: str | None = None
    costs: Costs | None = None
    verdict_weight: int = 1
    prior: float | None = None
    hours: str | None = None
    within: tuple[int, ...] = ()
    drift: DriftPolicy | None = None
    relearn: int | None = None
    agrees: bool = False
    thin_negatives: int = 1

    @property
    def group(self) -> str:
        """Key of the target in the group step; targets that agree or share models have one together."""
        if self.shares:
            return f"*/{self.mode}/{self.name.rpartition('/')[2]}"
        return f"{self.asset_class}/{self.mode}" if self.agrees else self.name

    @property
    def shares(self) -> bool:
        """Whether it shares models with targets of other classes."""
        return any(model.shared for model in self.models)


@dataclass(frozen=True, slots=True)
class Weather:
    """Weather that a class sees.

    Attributes:
        values: names, each a feature.
        max_age: microseconds; largest age of the weather at the time of an event.
        memory: microseconds that weather is kept beyond that, for late telemetry and backlogs.
    """

    values: tuple[str, ...]
    max_age: int
    memory: int


@dataclass(frozen=True, slots=True)
class Relative:
    """Readings relative to the operating condition, as channels of their own.

    Attributes:
        by: sensors that tell the condition, each with the width within which readings are of one condition.
        sensors: that get a channel of relative readings, in the order of the class.
        most: number of conditions at most; a further one counts as the nearest of them.
    """

    by: tuple[tuple[str, float], ...]
    sensors: tuple[str, ...]
    most: int

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        return tuple(f"{name}.relative" for name in self.sensors)

    @property
    def text(self) -> str:
        """The declaration in words; other words are another channel."""
        return f"relative by {', '.join(f'{name} within {width:g}' for name, width in self.by)}; {self.most}"


@dataclass(frozen=True, slots=True)
class Limits:
    """Plausible readings of one sensor.

    Attributes:
        sensor: its name.
        least: a reading below it is missing; minus infinity where there is no range.
        most: a reading above it is missing.
        sentinels: readings by which the device reports that it has none.
        unit: for human readers.
        aliases: other names by which it is sent.
        stuck_after: microseconds after which a reading that does not change is missing; None: never.
    """

    sensor: str
    least: float
    most: float
    sentinels: tuple[float, ...] = ()
    unit: str | None = None
    aliases: tuple[str, ...] = ()
    stuck_after: int | None = None


@dataclass(frozen=True, slots=True)
class OwnFeatures:
    """Features of a kind of your own.

    Attributes:
        name: of the entry; its features are ``<name>:...``.
        block: dotted path of a subclass of `dataflows.features.FeatureBlock`.
        parameters: its keyword arguments.
        names: of its features.
    """

    name: str
    block: str
    parameters: dict[str, Any]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AssetClass:
    """Assets that share sensors, features and models.

    Attributes:
        sensors: names, in the order of the readings arrays.
        values: whether the event's own readings, and its expressions, are features.
        windows: in configured order.
        features: names, in the order of the feature arrays: the values; for each window, for each of its
            sensors, its statistics, then for each of its faults, its fault statistics; for each component
            of ``maintenance`` the hours since and the count; the attributes; the categories; the weather's
            values, its age in hours, and whether it is a forecast; those of kinds of your own.
        allowed_lateness: microseconds below the largest event time up to which late events are merged.
        example_every: microseconds, the grid of examples.
        targets: names of the targets of this class.
        faults: codes that windows can count.
        maintenance: components whose maintenance makes features.
        attributes: numeric attributes of the registry that are features.
        categories: text attributes, each with the values that are a feature of 0 or 1.
        reset_windows_on: a subset of `RESETS`, in that order.
        idle_timeout: microseconds of arrival time after which silence moves the label clock; None: never.
        asset_ttl: microseconds of arrival time after which a silent asset's state is dropped, longer than
            ``idle_timeout`` and than any example of its targets may wait; None: never.
        expressions: name and text of each channel computed from sensors and weather.
        weather: None if the class sees none.
        compare: share of its assets, from 0 to 1, whose examples are computed again.
        required: indices of the sensors that a time waits for until it is scored, ascending; None: it is
            scored with its first message.
        own: kinds of features of your own.
        relative: readings relative to the operating condition; None where the class declares none.
        running: condition on readings at which the machine runs; None: it always does.
        limits: of each sensor with limits: name, least and largest plausible reading, sentinels, unit.
    """

    name: str
    sensors: tuple[str, ...]
    values: bool
    windows: tuple[Window, ...]
    features: tuple[str, ...]
    allowed_lateness: int
    example_every: int
    targets: tuple[str, ...]
    faults: tuple[str, ...] = ()
    maintenance: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    categories: tuple[tuple[str, tuple[str, ...]], ...] = ()
    reset_windows_on: tuple[str, ...] = ()
    idle_timeout: int | None = None
    asset_ttl: int | None = None
    expressions: tuple[tuple[str, str], ...] = ()
    weather: Weather | None = None
    compare: float = 0.0
    required: tuple[int, ...] | None = None
    own: tuple[OwnFeatures, ...] = ()
    relative: Relative | None = None
    running: str | None = None
    # Not part of the stored digest of the class.
    limits: tuple[Limits, ...] = field(default=(), repr=False)

    def sent_names(self) -> dict[str, str]:
        """Return the sensor of each name under which devices send one: its own, and its aliases."""
        aliases = {alias: limits.sensor for limits in self.limits for alias in limits.aliases}
        return aliases | {name: name for name in self.sensors}

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels of windows: the sensors, the expressions, then the relative readings."""
        relative = () if self.relative is None else self.relative.channels
        return (*self.sensors, *(name for name, _ in self.expressions), *relative)

    @property
    def texts(self) -> dict[str, str]:
        """How each channel that is no sensor is made, by name."""
        relative = {} if self.relative is None else dict.fromkeys(self.relative.channels, self.relative.text)
        return dict(self.expressions) | relative

    @property
    def compared(self) -> float:
        """``compare`` if late events are merged, else 0, since no window changes after it was served."""
        return self.compare if self.allowed_lateness else 0.0


@dataclass(frozen=True, slots=True)
class ClockPolicy:
    """Rule for wrong clocks of assets, and its consequence.

    Attributes:
        tolerance: microseconds that events may be ahead of their arrival, or may steadily lag behind it.
        quarantine: telemetry and faults of an asset with a wrong clock are rejected.
    """

    tolerance: int
    quarantine: bool = False


@dataclass(frozen=True, slots=True)
class AssetPolicy:
    """Known assets, and the treatment of assets without a registry row.

    Attributes:
        adopt_as: the class of adopted assets; None if unknown ones are rejected.
        max_assets: unknown assets beyond this number are rejected.
        registry: files of registry rows, read before the input.
        max_future: microseconds that an event time may lie after its arrival.
        max_past: microseconds that the time of telemetry or of a fault may lie before its arrival.
        max_arrival_jump: microseconds that an arrival may lie after its predecessor until it is confirmed.
        max_tombstones: how many dropped assets are remembered.
        max_weather: how many rows of weather are held.
        clock: how clocks are checked; None: they are not.
    """

    unknown: Literal["adopt", "reject"]
    adopt_as: str | None
    max_assets: int
    registry: tuple[str, ...] = ()
    max_future: int = HOUR
    max_tombstones: int = 1_000_000
    max_weather: int = 1_000_000
    clock: ClockPolicy | None = None
    max_past: int = 3_650 * 24 * HOUR
    max_arrival_jump: int = 30 * 24 * HOUR


@dataclass(frozen=True, slots=True)
class Secret:
    """Place of a secret: the name of an environment variable, or the path of a file."""

    env: str | None = None
    file: str | None = None

    def read(self, key: str, table: str) -> str:
        """Read the secret; a line end at the end of a file does not count.

        Args:
            key: of ``fleet.toml`` that names it, without ``_env`` or ``_file``; for errors.
            table: of that key.

        Raises:
            SecretError: it is not there.
        """
        if self.env is not None:
            value = os.environ.get(self.env)
            if not value:
                msg = f"the environment variable {self.env} ({key}_env under [{table}]) is not set"
                raise SecretError(msg)
            return value
        try:
            return Path(self.file or "").read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, UnicodeDecodeError) as failed:
            why = getattr(failed, "strerror", None) or "it is not UTF-8"
            msg = f"{self.file} ({key}_file under [{table}]) cannot be read: {why}"
            raise SecretError(msg) from failed


@dataclass(frozen=True, slots=True)
class Kafka:
    """Connection to the Kafka cluster; secrets are named, never held.

    Attributes:
        bootstrap: addresses, separated by commas.
        ca_file: PEM; None for the system's authorities.
        mechanism: of SASL.
    """

    bootstrap: str = "localhost:9092"
    security: Literal["none", "tls", "sasl", "sasl_tls"] = "none"
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    key_password: Secret | None = None
    mechanism: str = "SCRAM-SHA-512"
    user: str | None = None
    password: Secret | None = None


@dataclass(frozen=True, slots=True)
class KafkaInput:
    """Topics to read.

    Attributes:
        topics: their names.
        group: consumer group that offsets are committed to, for tools that show lag.
        start: offset at which a new store begins to read.
        new_partitions: treatment of partitions that the store does not know.
        shared: those of the topics that every lane reads.
    """

    topics: tuple[str, ...]
    group: str
    start: Literal["beginning", "end"] = "beginning"
    new_partitions: Literal["refuse", "read"] = "refuse"
    shared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KafkaOutput:
    """Topics to write.

    Attributes:
        prefix: of the topic of each output.
        partitions: number of partitions of a new topic; None creates no topic.
        transaction_timeout: microseconds.
    """

    prefix: str
    partitions: int | None = None
    transaction_timeout: int = 5 * MICROSECONDS["m"]


@dataclass(frozen=True, slots=True)
class Connector:
    """A source or sink that is neither files nor Kafka.

    Attributes:
        kind: its name in `dataflows.connectors.ends`.
        settings: its own keys.
    """

    kind: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Input:
    """Source of the records.

    Attributes:
        files: paths or globs; ``-`` is standard input.
        batch: most records that the source emits at once; None where it chooses by its backlog.
        follow: read the files as they grow.
        tick_every: microseconds from one tick to the next, while nothing arrives.
        tick_slack: microseconds by which ticks lag behind, for records on their way.
        journal_keep: microseconds that the order journal keeps entries that no resume needs.
        kafka: topics, instead of files.
        rules: make events of the rows of files or topics; without rules they hold events.
        recorded: of the files, those that hold events in spite of the rules, which made them.
        connector: another source, instead of files.
        lanes: number of lanes.
        shared: those of the files that every lane reads.
    """

    files: tuple[str, ...]
    batch: int | None
    follow: bool = False
    tick_every: int = MICROSECONDS["s"]
    tick_slack: int = 5 * MICROSECONDS["s"]
    journal_keep: int = 7 * MICROSECONDS["d"]
    kafka: KafkaInput | None = None
    rules: tuple[Rule, ...] = ()
    connector: Connector | None = None
    recorded: tuple[str, ...] = ()
    lanes: int = 1
    shared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """Destination of the rows, which of them carry the feature vector, and which predictions are published.

    Attributes:
        publish: ``grid`` selects the examples, ``changed`` scores that moved by ``changed_by``.
        changed_by: difference to the last published score of that asset and target.
        rotate: bytes of a file, or ``daily``, after which an output starts another file; None: never.
        kafka: topics for the rows, instead of files.
        connector: another sink, instead of files.
    """

    folder: Path
    features: Literal["none", "examples", "all"]
    publish: Literal["all", "grid", "changed"] = "all"
    changed_by: float = 0.02
    rotate: int | Literal["daily"] | None = None
    kafka: KafkaOutput | None = None
    connector: Connector | None = None


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver of alerts; secrets are named, never held.

    Attributes:
        url: None where it is a secret.
        url_secret: holds the URL.
        about: subjects that it gets.
        labels: of every alert to it, besides its own.
        secret: key that signs webhooks.
        token: bearer token.
        ca_file: PEM; None for the system's authorities.
        repost_every: microseconds after which alerts that are open are posted again.
        expires_after: microseconds after the last post when an Alertmanager takes an open alert for resolved.
        hold: microseconds for which an event, such as a promotion, is an active alert.
    """

    name: str
    kind: Literal["alertmanager", "webhook"]
    url: str | None
    url_secret: Secret | None = None
    about: tuple[str, ...] = ("failures", "drift", "promotions", "proposals")
    labels: Mapping[str, str] = field(default_factory=dict)
    secret: Secret | None = None
    token: Secret | None = None
    ca_file: str | None = None
    repost_every: int = MICROSECONDS["m"]
    expires_after: int = 30 * MICROSECONDS["m"]
    hold: int = HOUR


@dataclass(frozen=True, slots=True)
class Fleet:
    """One fleet: its name, its streams, its classes and its targets.

    Attributes:
        path: the file it was read from.
        figures_from: instant; earlier examples count in no figure of the summary; None: all count.
        metrics_every: microseconds of knowledge time in one row of the metrics.
        classes: by name.
        targets: by name.
        max_internal_errors: number of records with a failed stage after which the run ends.
        kafka: connection to the cluster of Kafka inputs and outputs.
        notify: receivers of alerts, by name.
        store_key: key that signs the models in the recovery store; None: they are not signed.
    """

    name: str
    path: Path
    figures_from: int | None
    metrics_every: int
    input: Input
    output: Output
    assets: AssetPolicy
    classes: Mapping[str, AssetClass]
    targets: Mapping[str, Target]
    max_internal_errors: int = 100
    kafka: Kafka = field(default_factory=Kafka)
    notify: Mapping[str, Receiver] = field(default_factory=dict)
    store_key: bytes | None = field(default=None, repr=False)

    def reach(self, asset_class: str) -> int:
        """Microseconds of arrival time after which nothing of a silent asset is left to decide or correct."""
        targets = (self.targets[name] for name in self.classes[asset_class].targets)
        longest = max(
            (found.horizon + found.label_delay + found.label_memory for found in targets), default=0
        )
        return self.assets.max_future + longest

    @property
    def weather(self) -> tuple[str, ...]:
        """Names of all weather values that any class sees, ascending."""
        seen = (found.weather.values for found in self.classes.values() if found.weather is not None)
        return tuple(sorted({name for values in seen for name in values}))

    def in_one_lane(self) -> Fleet:
        """Return the fleet with an input in one lane."""
        return replace(self, input=replace(self.input, lanes=1))

    @property
    def files(self) -> tuple[str, ...]:
        """Files to read, in order: registry rows first."""
        return self.assets.registry + self.input.files
