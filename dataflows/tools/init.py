"""``python -m dataflows init``: a first ``fleet.toml`` for a user's own files or topics.

It reads the files, finds out what their columns are, makes events of them and counts what is in the events.
Of topics it reads the latest messages, as if they were a file. From that it writes a ``fleet.toml`` that
runs, with comments, and says what a person has to decide.
"""

from __future__ import annotations

import re
import tempfile
import tomllib
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson
from rich.markup import escape

from dataflows.connectors.lines import InputError, expand
from dataflows.events import Reject, decode
from dataflows.instants import MICROSECONDS, format_duration, shown_instant
from dataflows.mapping.columns import RUN_TO_FAILURE, Known, propose
from dataflows.mapping.recording import Recording, events_of, line_of
from dataflows.mapping.rows import form_of
from dataflows.mapping.rules import Rule
from dataflows.tools.survey import ENOUGH, Survey, quantile, survey
from dataflows.tools.tables import command, plain_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console

    from dataflows.events import Event
    from dataflows.mapping.columns import Proposal

__all__ = ["Cluster", "InitError", "cluster_of", "init"]

#: Events of one file that are counted.
_EVENTS = 300_000
_NICE = (
    "1s",
    "5s",
    "10s",
    "30s",
    "1m",
    "5m",
    "15m",
    "30m",
    "1h",
    "2h",
    "3h",
    "6h",
    "12h",
    "24h",
    "2d",
    "3d",
    "4d",
    "5d",
    "7d",
    "14d",
    "30d",
    "60d",
    "90d",
    "180d",
    "365d",
    "730d",
    "1460d",
)
_NICE_US = tuple((text, round(float(text[:-1]) * MICROSECONDS[text[-1]])) for text in _NICE)
#: For machines that send at least this often (microseconds): the horizon, and the lengths of windows.
_REACHES = (
    (MICROSECONDS["m"], "6h", "15m", "6h"),
    (15 * MICROSECONDS["m"], "24h", "1h", "24h"),
    (3 * MICROSECONDS["h"], "24h", "24h", "7d"),
    (2 * MICROSECONDS["d"], "7d", "7d", "14d"),
    (2 * MICROSECONDS["w"], "60d", "30d", "90d"),
    (9 * MICROSECONDS["w"], "180d", "90d", "365d"),
    (1 << 62, "730d", "730d", "1460d"),
)
#: Examples of a machine in a horizon.
_A_HORIZON = 8
#: Sensors above which windows have fewer statistics: a model costs the square of its features.
_MANY = 40
_STATISTICS = ["mean", "std", "min", "max", "slope", "last"]
_FEW_STATISTICS = ["mean", "slope", "last"]
#: Least and largest share of positives that is written as the prior of a target.
_RAREST, _MOST_COMMON = 0.0001, 0.5
_NAME = re.compile(r"[^\w.+ -]+")


#: Field of a sampled message: the time of receipt, milliseconds.
_RECEIVED = "@received"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Topics of a Kafka cluster.

    Attributes:
        topics: their names.
        table: the table ``[kafka]`` of a ``fleet.toml``, which says how to reach the cluster.
    """

    topics: tuple[str, ...]
    table: Mapping[str, Any]


class InitError(RuntimeError):
    """No fleet can be made of the files; the message says what is missing."""


def init(
    files: Sequence[str],
    out: Path,
    console: Console,
    *,
    force: bool = False,
    zone: str | None = None,
    failures: Sequence[str] = (),
    failures_in: Sequence[str] = (),
    cluster: Cluster | None = None,
) -> None:
    """Write a ``fleet.toml`` for files or topics, and show what was found in them.

    Args:
        files: paths and globs.
        out: path of the ``fleet.toml``.
        console: for what was found.
        force: whether to replace a file that is there.
        zone: time zone of times without offset; None takes them as UTC.
        failures: codes that are failures.
        failures_in: those of the files each of whose rows is a failure.
        cluster: topics to read in place of files.

    Raises:
        InitError: the files hold no telemetry, the file is there already, or neither files nor topics are
            given, or both.
        FleetError: the table of the cluster is wrong.
        KafkaInputError: the topics cannot be read.
        RowsError: a file cannot be read.
        MappingError: a file does not hold what its first rows promise.
    """
    if out.exists() and not force:
        msg = f"{out} is there already; give another path with --out, or replace it with --force"
        raise InitError(msg)
    _check_zone(zone)
    if (cluster is None) != bool(files):
        msg = "give files, or topics (--topic): one of the two"
        raise InitError(msg)
    if cluster is None:
        try:
            paths = expand(tuple(files))
        except InputError as error:
            msg = f"no such file, or nothing that matches, among {', '.join(files)}"
            raise InitError(msg) from error
        known = Known(zone, failures, failures_in)
        _write(paths, _Files(files, out), out, console, known)
        return
    with tempfile.TemporaryDirectory() as folder:
        with console.status("Reading the topics ..."):
            paths = _sample(cluster, Path(folder))
        known = Known(zone, failures, [str(Path(folder) / f"{topic}.jsonl") for topic in failures_in])
        _write(paths, _Topics(cluster), out, console, known)


def _write(
    paths: Sequence[str],
    source: _Files | _Topics,
    out: Path,
    console: Console,
    known: Known,
) -> None:
    """Examine files, write the ``fleet.toml`` and show what was found."""
    with console.status("Reading ..."):
        ours = [path for path in paths if _holds_events(path)]
        proposals = propose([path for path in paths if path not in ours], known)
        if source.live:
            _drop_last(proposals)
        ruled = {*ours, *(path for proposal in proposals if proposal.rule for path in proposal.files)}
        found = survey(_events(ours, proposals))
        if found.end_together and _drop_last([each for each in proposals if each.of_last == RUN_TO_FAILURE]):
            found = survey(_events(ours, proposals))
    _check_found(found, paths, ours, proposals)
    seen = {*ours, *(path for proposal in proposals for path in proposal.files)}
    for path in paths:
        if path not in seen:
            console.print(f"{path} has no rows that can be read: left out.", highlight=False, markup=False)
    fleet = _Fleet(source, ruled, proposals, found)
    out.write_text(fleet.text(), encoding="utf-8")
    _show(found, console)
    _ask(found, proposals, fleet.horizon, console)
    _print_whole(console, f"\nWrote {out}. Next:\n  {command(f'run {out}')}")


def _check_found(
    found: Survey, paths: Sequence[str], ours: Sequence[str], proposals: Sequence[Proposal]
) -> None:
    """Refuse files without anything that could be a sensor."""
    if found.assets and (found.sensors or found.codes or found.components):
        return
    if not ours and not proposals:
        msg = f"no rows that can be read in {', '.join(paths)}: give files that have a header and rows"
        raise InitError(msg)
    asked = "".join(f" {each}" for proposal in proposals for each in proposal.asked)
    msg = (
        f"no telemetry in {', '.join(paths)}: no column holds numbers together with a time.{asked} "
        "docs/own-data.md explains how to write the rules by hand"
    )
    raise InitError(msg)


def _sample(cluster: Cluster, folder: Path) -> list[str]:
    """Write the latest messages of each topic into a file of its name, with their times of receipt."""
    from dataflows.connectors.kafka.sample import sample_topics  # noqa: PLC0415 - an optional client
    from dataflows.fleet import from_document  # noqa: PLC0415 - needed for topics alone

    document = {
        "name": "sample",
        "kafka": dict(cluster.table),
        "input": {"kafka": {"topics": [*cluster.topics]}},
        "classes": {"machine": {"sensors": ["sample"]}},
    }
    kafka = from_document(document, "fleet.toml").kafka
    paths = []
    for topic, messages in sample_topics(kafka, cluster.topics, _EVENTS).items():
        if not messages:
            msg = f"{topic} has no messages yet: nothing can be found out from it"
            raise InitError(msg)
        path = folder / f"{topic}.jsonl"
        lines = [line for message in messages if (line := _sampled_line(*message)) is not None]
        if not lines:
            msg = (
                f"the values of {topic} are no JSON objects, such as {messages[0].value[:60]!r}: write a "
                "rule by hand, with `columns` if they are CSV; docs/own-data.md explains how"
            )
            raise InitError(msg)
        path.write_bytes(b"".join(lines))
        paths.append(str(path))
    return paths


def _sampled_line(received: int, value: bytes) -> bytes | None:
    """Return a value with its time of receipt as a line; None if it is no JSON object."""
    try:
        fields = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(fields, dict):
        return None
    if isinstance(decode(value), Reject):
        fields = {_RECEIVED: received, **fields}
    else:
        fields["arrived"] = received / 1_000
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def cluster_of(topics: Sequence[str], kafka: str) -> Cluster:
    """Return topics of a cluster.

    Args:
        topics: their names.
        kafka: ``host:port``, or the path of a TOML file with a table ``[kafka]``, as in a ``fleet.toml``.

    Raises:
        InitError: the file cannot be read, or has no such table.

    >>> cluster_of(["plant.readings"], "broker-1:9092").table
    {'bootstrap': 'broker-1:9092'}
    """
    if not kafka.endswith(".toml"):
        return Cluster(tuple(topics), {"bootstrap": kafka})
    try:
        table = tomllib.loads(Path(kafka).read_text(encoding="utf-8"))["kafka"]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError) as error:
        msg = f"{kafka}: expected a TOML file with a table [kafka], as docs/kafka.md has one; found {error!r}"
        raise InitError(msg) from error
    folder = Path(kafka).resolve().parent
    absolute = {key: str(folder / value) if key.endswith("_file") else value for key, value in table.items()}
    return Cluster(tuple(topics), absolute)


def _check_zone(zone: str | None) -> None:
    try:
        ZoneInfo(zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        msg = f"no time zone is called {zone!r}; examples: UTC, Europe/Berlin, America/New_York"
        raise InitError(msg) from None


def _drop_last(proposals: Sequence[Proposal]) -> bool:
    """Drop the rules that make a failure of each machine's last row; return whether there were any."""
    changed = False
    for proposal in proposals:
        made = proposal.rule.get("make", [])
        kept = [event for event in made if event.get("when") != "last"]
        if len(kept) < len(made):
            changed = True
            proposal.rule["make"] = kept
            proposal.asked.remove(proposal.of_last)
    return changed


def _without_empty(files: Sequence[str], ruled: set[str]) -> list[str]:
    """Paths and globs of the files that have rows; a glob that matches an empty file becomes paths."""
    kept: list[str] = []
    for given in files:
        matches = expand((given,))
        kept += [given] if ruled.issuperset(matches) else [path for path in matches if path in ruled]
    return kept


def _holds_events(path: str) -> bool:
    """Whether a file holds events in the form that the dataflow reads."""
    if form_of(path) != "json lines":
        return False
    with Path(path).open("rb") as file:
        line = next((line for line in file if line.strip()), b"")
    return not isinstance(decode(line), Reject)


def _events(ours: Sequence[str], proposals: Sequence[Proposal]) -> Iterator[Event | Reject]:
    for path in ours:
        with Path(path).open("rb") as file:
            for line in islice(file, _EVENTS):
                if line.strip():
                    yield decode(line.rstrip(b"\n"))
    for proposal in proposals:
        if not proposal.rule:
            continue
        rule = Rule.model_validate(proposal.rule)
        for path in proposal.files:
            for event in islice(events_of(path, [rule], Recording(Path(path))), _EVENTS):
                yield decode(line_of(event))


def _nice(least: float) -> str:
    """The shortest usual duration that is at least this long.

    >>> _nice(20 * 3_600_000_000)
    '24h'
    """
    return next((text for text, size in _NICE_US if size >= least), _NICE[-1])


class _Files:
    """Files as the input of a ``fleet.toml``.

    Args:
        files: paths and globs, as given.
        out: path of the ``fleet.toml``.
    """

    live = False

    def __init__(self, files: Sequence[str], out: Path) -> None:
        self._files = files
        self._out = out
        self.name = Path(files[0]).resolve().parent.name

    def tables(self, ruled: set[str]) -> str:
        """The table ``[input]``; ``ruled``: paths of the files that have rules, or events."""
        paths = [_relative(path, self._out) for path in _without_empty(self._files, ruled)]
        return f"[input]\nfiles = {_toml(paths)}\n"

    def rule(self, rule: dict[str, Any]) -> dict[str, Any]:
        """A rule as it was proposed."""
        return rule


class _Topics:
    """Topics as the input of a ``fleet.toml``; each was sampled into a file of its name."""

    live = True

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.name = cluster.topics[0]

    def tables(self, ruled: set[str]) -> str:
        """The tables of cluster and input; ``ruled``: paths of the samples that have rules, or events."""
        topics = [topic for topic in self._cluster.topics if topic in {Path(path).stem for path in ruled}]
        kafka = "".join(f"{key} = {_toml(value)}\n" for key, value in self._cluster.table.items())
        return (
            f"[kafka]\n{kafka}\n[input]\n"
            "# false: read up to where the topics end now, and show figures. true: go on until stopped.\n"
            f"follow = false\n\n[input.kafka]\ntopics = {_toml(topics)}\n"
        )

    def rule(self, rule: dict[str, Any]) -> dict[str, Any]:
        """A rule for topics; the timestamp of a message is its arrival, so no event names one."""
        made = [
            {key: value for key, value in event.items() if key != "arrived"} for event in rule.get("make", [])
        ]
        return {"topics": [Path(file).stem for file in rule["files"]], "make": made}


class _Fleet:
    """The text of a ``fleet.toml``.

    Args:
        source: its input.
        ruled: paths that have rules, or events.
        proposals: rules.
        found: what is in the events.

    Attributes:
        horizon: how far ahead failures are predicted.
    """

    def __init__(
        self, source: _Files | _Topics, ruled: set[str], proposals: Sequence[Proposal], found: Survey
    ) -> None:
        self._source = source
        self._ruled = ruled
        self._proposals = proposals
        self._found = found
        self._name = _NAME.sub("-", source.name) or "fleet"
        self.horizon, *self._lengths = next(row for most, *row in _REACHES if found.cadence <= most)
        self._horizon = dict(_NICE_US)[self.horizon]
        # Examples of one machine within a horizon share their outcome: more of them add cost and no evidence.
        self._every = _nice(max(found.cadence, self._horizon / _A_HORIZON))
        # Constant sensors and attributes carry no information.
        self._sensors = [name for name, sensor in found.sensors.items() if sensor.least < sensor.largest]

    def text(self) -> str:
        """Return the whole file."""
        parts = [self._head(), *map(self._rule, self._proposals), self._class(), self._targets(), _MODELS]
        return "\n".join(parts)

    def _head(self) -> str:
        return (
            "# Written by `init` from the input below. Every key: docs/fleet.md. Rules: docs/own-data.md.\n"
            f"name = {_quoted(self._name)}\n\n{self._source.tables(self._ruled)}"
        )

    def _rule(self, proposal: Proposal) -> str:
        lines = [f"# To confirm: {asked}" for asked in proposal.asked]
        if proposal.ignored:
            lines.append(f"# Not used: {', '.join(proposal.ignored)}")
        lines += ["[[input.map]]"] if proposal.rule else []
        for key, value in (self._source.rule(proposal.rule) if proposal.rule else {}).items():
            if key == "make":
                events = "".join(f"  {_toml(event)},\n" for event in value)
                lines.append(f"make = [\n{events}]")
            else:
                lines.append(f"{key} = {_toml(value)}")
        return "\n".join(lines) + "\n"

    def _class(self) -> str:
        found = self._found
        # Rows without times of receipt are sorted by time before the run, so none of them is late.
        disorder = found.disorder if found.lateness or not self._proposals else []
        lines = [
            "[classes.machine]",
            f"sensors = {_toml(self._sensors)}",
            "# How late a message may come and still correct its windows.",
            f"allowed_lateness = {_quoted(_covering(disorder, 0.999))}",
            "# How long after a failure its report may come.",
            f"label_delay = {_quoted(_covering(found.reported, 0.95))}",
            f"# One example a machine and {self._every} is kept for learning; every message is scored.",
            f"example_every = {_quoted(self._every)}",
        ]
        if found.codes:
            lines.append(f"faults = {_toml(sorted(found.codes))}")
        components = sorted(name for name in found.components if name)
        if components:
            lines.append(f"maintenance = {_toml(components)}")
        numbers = [
            name for name, values in found.attributes.items() if _all_numbers(values) and len(values) > 1
        ]
        if numbers:
            lines.append(f"attributes = {_toml(numbers)}")
        texts = {
            name: sorted(str(value) for value in values)
            for name, values in found.attributes.items()
            if not _all_numbers(values) and 1 < len(values) < ENOUGH
        }
        if texts:
            lines.append(f"categories = {_toml(texts)}")
        statistics = _toml(_STATISTICS if len(self._sensors) <= _MANY else _FEW_STATISTICS)
        lines += [
            f"\n[[classes.machine.windows]]\nlength = {_quoted(length)}\nstatistics = {statistics}"
            for length in self._lengths
        ]
        return "\n".join(lines) + "\n"

    def _targets(self) -> str:
        modes = self._found.modes
        target = ["[[targets]]", 'class = "machine"', f"mode = {_toml(sorted(modes) or ['failure'])}"]
        target += [
            "# How far ahead a failure is predicted.",
            f"horizon = {_quoted(self.horizon)}",
            'champion = "mixture"',
        ]
        if share := self._found.share(self._horizon):
            target += [
                "# Share of examples with a failure ahead, as found: the score until a model has learned.",
                f"prior = {min(max(float(f'{share:.1e}'), _RAREST), _MOST_COMMON)}",
            ]
        if modes:
            counts = ", ".join(f"{mode} {count}" for mode, count in modes.most_common())
            return "\n".join([f"# Failures found: {counts}.", *target, ""])
        why = [
            "# No failures were found, so nothing can be predicted yet. Add a file of failures to `files`",
            "# and a rule for it; then take the # from these lines.",
        ]
        return "\n".join([*why, *(line if line.startswith("#") else f"# {line}" for line in target), ""])


_MODELS = """\
# The champion: a mean of the scores of three models, weighted by how well each has predicted so far.
# The prior, which knows the share of failures alone, is one of them: the mean does not stay worse than it.
# `share` of the weight goes to all evenly after each example, so that another one can become the best.
[models.mixture]
scores = ["linear", "cautious", "prior"]
pipeline = [{ estimator = "dataflows.estimators.Mixture", method = "aggregate", share = 0.0001 }]

# Logistic regression, and the same with weights that stay closer to zero, for few failures.
[models.linear]
template = "bayesian"

[models.cautious]
template = "bayesian"
set = { variance = 0.01 }

[models.prior]
template = "prior"

# A challenger: it scores the same examples, and is proposed as champion if it is better beyond doubt.
[models.tree]
template = "hoeffding_tree"
"""


def _covering(delays: Sequence[int], share: float) -> str:
    """The shortest usual duration that this share of delays do not exceed.

    >>> _covering([0, 40_000_000, 3_000_000_000], 0.6), _covering([], 0.95)
    ('1m', '0s')
    """
    longest = quantile(delays, share)
    return _nice(longest) if longest > 0 else "0s"


def _all_numbers(values: set[Any]) -> bool:
    return all(
        isinstance(value, int | float) and not isinstance(value, bool)
        for value in values
        if value is not None
    )


def _relative(path: str, out: Path) -> str:
    there, here = Path(path).resolve(), out.resolve().parent
    return str(there.relative_to(here)) if there.is_relative_to(here) else str(there)


def _quoted(text: str) -> str:
    """Return a TOML string; JSON's form is one."""
    return orjson.dumps(text).decode()


def _toml(value: Any) -> str:  # noqa: ANN401 - any plain value
    """Return a value in TOML, on one line.

    >>> _toml({"kind": "failure", "mode": {"value": "leak"}, "a b": [1, True]})
    '{ kind = "failure", mode = { value = "leak" }, "a b" = [1, true] }'
    """
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return _quoted(value) if isinstance(value, str) else repr(value)


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _quoted(text)


def _show(found: Survey, console: Console) -> None:
    """Show what was found."""
    counts = sorted(found.assets.values())
    console.print(
        f"{sum(counts):,} messages of {len(counts):,} machines from {shown_instant(found.first)} to "
        f"{shown_instant(found.last)}, one every {_rounded(found.cadence)} (median), "
        f"{counts[0]:,} to {counts[-1]:,} a machine.",
        highlight=False,
        markup=False,
    )
    table = plain_table("Sensors", "sensor", "least", "largest", "missing", "note")
    for name, sensor in found.sensors.items():
        note = (
            "empty: not used" if not sensor.count else "constant: not used" * (sensor.least == sensor.largest)
        )
        share = sensor.missing / (sensor.count + sensor.missing)
        table.add_row(escape(name), f"{sensor.least:.6g}", f"{sensor.largest:.6g}", f"{share:.1%}", note)
    console.print(table)
    for what, counted in (
        ("Failures", found.modes),
        ("Faults", found.codes),
        ("Maintenance", found.components),
    ):
        if counted:
            each = ", ".join(
                f"{name or 'of no component'} {count:,}" for name, count in counted.most_common(12)
            )
            console.print(f"{what}: {each}.", highlight=False, markup=False)
    for reason, count in found.rejects.most_common(5):
        console.print(f"{count:,} rows cannot be used: {reason}", highlight=False, markup=False)


def _rounded(duration: int) -> str:
    """A duration for a person, to the second if it is longer than a minute.

    >>> _rounded(919_923_000)
    '920s'
    """
    second = MICROSECONDS["s"]
    return format_duration(round(duration / second) * second if duration > MICROSECONDS["m"] else duration)


def _print_whole(console: Console, text: str) -> None:
    """Print text in which no path is broken over two lines, so that it can be copied."""
    console.print(text, highlight=False, markup=False, overflow="ignore", crop=False)


def _ask(found: Survey, proposals: Sequence[Proposal], horizon: str, console: Console) -> None:
    """Show what a person has to decide."""
    questions = [asked for proposal in proposals for asked in proposal.asked]
    strange = {asset: count for asset, count in found.failed.items() if asset not in found.assets}
    if strange and found.assets.total() < _EVENTS:
        questions.append(
            f"{sum(strange.values()):,} of {found.failed.total():,} failures are of machines without "
            f"telemetry, such as {next(iter(strange))!r}: nothing is learned from them. "
            f"A machine with telemetry is {next(iter(found.assets))!r}; "
            "`names` or `text` in a rule makes names equal."
        )
    few = [mode for mode, count in found.modes.items() if count < ENOUGH]
    if few:
        questions.append(
            f"Fewer than {ENOUGH} failures of {', '.join(few)}: figures of such a mode say little."
        )
    if found.modes:
        questions.append(
            f"A failure is predicted {horizon} ahead: set `horizon` to the time you need to act."
        )
    else:
        codes = ", or name the codes that are failures (--failure)" if found.codes else ""
        questions.append(
            f"No failures were found: nothing can be learned without. Add a file that has them{codes}."
        )
    unused = [f"{name} of {Path(each.files[0]).name}" for each in proposals for name in each.ignored]
    if unused:
        console.print(
            f"Not used, since constant or of no known meaning: {', '.join(unused)}.",
            highlight=False,
            markup=False,
        )
    console.print("\nYou decide:")
    for asked in dict.fromkeys(questions):
        _print_whole(console, f"- {asked}")
