"""``python -m dataflows``: what a person runs."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from dataflows import __version__
from dataflows.deferred import defer_all
from dataflows.instants import parse_duration
from dataflows.tools.tables import WIDTH

if TYPE_CHECKING:
    from dataflows.evaluation.moving import Movement
    from dataflows.fleet import Fleet

__all__ = ["app"]

app = typer.Typer(
    help="Failure prediction on event streams.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
# A pipe has no width: what is written into one fits the narrowest console.
_console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH)
_errors = Console(stderr=True)

_DEMO = Path("examples/trucks/fleet.toml")
#: The same file, where Highwater was installed without its repository.
_INSTALLED_DEMO = Path(__file__).parent / "tools" / "demo" / "fleet.toml"
_STORES = Path("recovery")


def _version(asked: bool) -> None:  # noqa: FBT001 - as typer calls it
    if asked:
        _console.print(f"highwater {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def main(
    *,
    version: Annotated[  # noqa: ARG001 - its callback has answered
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Failure prediction on event streams."""
    defer_all()


FleetFile = Annotated[Path, typer.Argument(help="The fleet.toml.", envvar="FLEET_CONFIG")]
Epoch = Annotated[str, typer.Option(help="Time between snapshots, such as 500ms or 10s.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Delete the store and the outputs of earlier runs first.")
]

# What if data had moved in another way?
Late = Annotated[float, typer.Option(min=0.0, max=1.0, help="Move data: share of messages to delay.")]
LateBy = Annotated[str, typer.Option(help="Mean of that delay, exponential.")]
DelaysOf = Annotated[
    Path | None,
    typer.Option(help="Delay every message as those of this recording were.", show_default=False),
]
Lost = Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of messages to lose.")]
Offline = Annotated[str, typer.Option(help="Hours of each day without network, a gateway at a time.")]
ReportedAfter = Annotated[str, typer.Option(help="Mean delay of reports of failures, exponential.")]


@app.command()
def run(
    fleet: FleetFile,
    recovery: Annotated[
        Path | None,
        typer.Option(help="Folder of the recovery store \\[default: recovery/<name of the fleet>]."),
    ] = None,
    no_recovery: Annotated[bool, typer.Option("--no-recovery", help="Run without a store.")] = False,  # noqa: FBT002
    epoch: Epoch = "1s",
    fresh: Fresh = False,  # noqa: FBT002
    migrate: Annotated[
        str,
        typer.Option(
            help="Classes and targets whose stored state may start over where the fleet.toml was changed, "
            "with spaces between them.",
            envvar="FLEET_MIGRATE",
            show_default=False,
        ),
    ] = "",
    processes: Annotated[
        int, typer.Option(min=1, help="Processes on this machine; assets and targets spread over them.")
    ] = 1,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Serve metrics and probes at this [HOST:]PORT; the host is 127.0.0.1 unless given.",
            envvar="FLEET_METRICS",
            show_default=False,
        ),
    ] = None,
    metrics_assets: Annotated[
        int,
        typer.Option(
            min=0,
            max=1_000,
            help="Show the scores of so many assets with open alerts in the metrics, by name.",
            envvar="FLEET_METRICS_ASSETS",
        ),
    ] = 0,
    existing: Annotated[  # noqa: FBT002
        bool, typer.Option("--existing", help="Refuse to create a store: an emptied volume is no new start.")
    ] = False,
    as_json: Annotated[  # noqa: FBT002
        bool, typer.Option("--json", help="Print the summary as one JSON object; the rest goes to stderr.")
    ] = False,
) -> None:
    """Run the dataflow on the configured input, with recovery, progress and a summary."""
    # Imported here, so that the other commands start without the engine.
    from dataflows.exporter import address_of
    from dataflows.fleet import load
    from dataflows.tools.run import Deployment
    from dataflows.tools.run import run as run_fleet

    interval = timedelta(microseconds=_duration("--epoch", epoch))
    if not interval:
        msg = "the time between snapshots has to be longer than zero, such as 500ms or 10s"
        raise typer.BadParameter(msg, param_hint="--epoch")
    with _explained():
        resolved = load(fleet)
        store = None if no_recovery else recovery or _STORES / resolved.name
        address = None if metrics is None else address_of(metrics)
        run_fleet(
            resolved,
            _console,
            as_json=as_json,
            store=store,
            epoch=interval,
            fresh=fresh,
            migrate=shlex.split(migrate),
            deployment=Deployment(processes, existing, address, metrics_assets),
        )


@app.command()
def replay(
    recording: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files or globs, merged by arrival \\[default: the fleet's input].", show_default=False
        ),
    ] = None,
    fleet: Annotated[Path, typer.Option(help="The fleet.toml.", envvar="FLEET_CONFIG")] = Path("fleet.toml"),
    speed: Annotated[str, typer.Option(help="A multiple of real time, such as 100, or max.")] = "max",
    journal: Annotated[
        Path | None,
        typer.Option(help="Repeat the order and the ticks of a live run: the folder journal of its store."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the outputs \\[default: the fleet's].", show_default=False)
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(help="Run nothing: append the recording to this file, as a live source would."),
    ] = None,
    topic: Annotated[
        str | None,
        typer.Option(
            help="Run nothing: send the recording to this topic; one that is new gets 4 partitions, "
            "and keeps messages of any age."
        ),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the outputs of earlier runs first.")] = False,  # noqa: FBT002
) -> None:
    """Play a recording in its order of arrival: through the dataflow, into a growing file, or to Kafka."""
    from dataflows.fleet import load
    from dataflows.tools.replay import play, speed_of
    from dataflows.tools.replay import replay as replay_fleet

    with _explained():
        times = speed_of(speed)
        if topic is not None:
            from dataflows.tools.send import send

            send(load(fleet), recording or [], topic, times, _console)
        elif into is not None:
            play(recording or [], into, times, _console)
        else:
            replay_fleet(fleet, recording or [], _console, out=out, speed=times, journal=journal, fresh=fresh)


@app.command()
def inspect(
    store: Annotated[Path, typer.Argument(help="Folder of the recovery store, or of a backup.")],
    fleet: Annotated[
        Path | None, typer.Option(help="The fleet.toml \\[default: the one of the store's latest run].")
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Show what is in a recovery store, and whether it is sound; also while a run writes to it."""
    from dataflows.tools.inspect import inspect as inspect_store

    with _explained():
        inspect_store(store, fleet, _console, as_json=as_json)


@app.command()
def models(
    store: Annotated[Path, typer.Argument(help="Folder of the recovery store, or of a backup.")],
    fleet: Annotated[
        Path | None, typer.Option(help="The fleet.toml \\[default: the one of the store's latest run].")
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="Show only which version served at this knowledge time.")
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Show champions, challengers and the evidence for them, and which version served when."""
    from dataflows.instants import parse_instant
    from dataflows.tools.models import models as show_models

    try:
        instant = None if at is None else parse_instant(at)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--at") from None
    with _explained():
        show_models(store, fleet, _console, instant, as_json=as_json)


InputFile = Annotated[
    Path | None, typer.Option(help="File of the input to append it to; one that a run follows.")
]
InputTopic = Annotated[str | None, typer.Option(help="Topic of the input to send it to.")]


def _check_one_place(into: Path | None, topic: str | None) -> None:
    """Refuse a record for no place, or for two."""
    if (into is None) == (topic is None):
        msg = "expected a file (--into) or a topic (--topic), and not both"
        raise typer.BadParameter(msg)


def _send(record: dict[str, Any], fleet: Fleet, into: Path | None, topic: str | None) -> None:
    """Append a record to a file of the input, or send it to a topic."""
    from dataflows.tools.command import append, send_command

    if into is not None:
        append(record, into)
    elif topic is not None:
        send_command(record, fleet, topic)


@app.command()
def command(
    action: Annotated[str, typer.Argument(help="promote, rollback, freeze, thaw, accept or refuse.")],
    target: Annotated[str, typer.Argument(help="The target, such as pump/leak/12h.")],
    by: Annotated[str, typer.Option(help="Who decides.")],
    model: Annotated[str | None, typer.Option(help="The model to promote.")] = None,
    why: Annotated[str | None, typer.Option(help="The reason, for the row of the changes.")] = None,
    fleet: Annotated[Path, typer.Option(help="The fleet.toml.", envvar="FLEET_CONFIG")] = Path("fleet.toml"),
    into: InputFile = None,
    topic: InputTopic = None,
) -> None:
    """Decide about a champion: append a command to a file of the input, or send it to a topic."""
    from dataflows.fleet import load
    from dataflows.tools.command import command_of

    _check_one_place(into, topic)
    with _explained():
        resolved = load(fleet)
        record = command_of(resolved, action, target, by, model, why)
        _send(record, resolved, into, topic)
    _console.print(f"{action} {target}: sent to {into or topic}", highlight=False)


@app.command()
def verdict(
    alert: Annotated[str, typer.Argument(help="Id of the alert.")],
    verdict: Annotated[str, typer.Argument(help="confirmed, healthy or unclear.")],
    by: Annotated[str, typer.Option(help="Who looked at the asset.")],
    time: Annotated[str | None, typer.Option(help="When, as 2025-05-19T08:00:00Z \\[default: now].")] = None,
    note: Annotated[str | None, typer.Option(help="What was found, in words.")] = None,
    fails: Annotated[str | None, typer.Option(help="When it would have failed, if somebody can say.")] = None,
    fleet: Annotated[Path, typer.Option(help="The fleet.toml.", envvar="FLEET_CONFIG")] = Path("fleet.toml"),
    into: InputFile = None,
    topic: InputTopic = None,
) -> None:
    """Say what was found after an alert: append a verdict to a file of the input, or send it to a topic."""
    from dataflows.fleet import load
    from dataflows.tools.command import verdict_of

    _check_one_place(into, topic)
    with _explained():
        resolved = load(fleet)
        record = verdict_of(resolved, alert, verdict, by, time, note, fails)
        _send(record, resolved, into, topic)
    asset, target = record["asset"], record["target"]
    _console.print(f"{verdict}: {asset}, {target}: sent to {into or topic}", highlight=False)


@app.command()
def status(
    fleet: FleetFile,
    recovery: Annotated[
        Path | None,
        typer.Option(help="Folder of the recovery store \\[default: recovery/<name of the fleet>]."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,  # noqa: FBT002
) -> None:
    """Show whether a run is well, and what to do; exit code 0 if so, 1 with a warning, 2 with a failure."""
    from dataflows.fleet import load
    from dataflows.tools.health import status as show_status

    with _explained():
        resolved = load(fleet)
        code = show_status(resolved, recovery or _STORES / resolved.name, _console, as_json=as_json)
    raise typer.Exit(code)


@app.command()
def backup(
    store: Annotated[Path, typer.Argument(help="Folder of the recovery store; a run may be writing to it.")],
    to: Annotated[
        Path, typer.Argument(help="A new folder for the backup; with --keep, the folder of all backups.")
    ],
    outputs: Annotated[bool, typer.Option("--outputs", help="Copy the outputs too.")] = False,  # noqa: FBT002
    keep: Annotated[
        int | None,
        typer.Option(min=1, help="Name the backup by its time, and delete the oldest beyond so many."),
    ] = None,
) -> None:
    """Copy a recovery store with its order journal and the positions of the outputs, all of one moment."""
    from dataflows.tools.backup import backup as take_backup
    from dataflows.tools.backup import backup_into

    with _explained():
        if keep is None:
            take_backup(store, to, _console, outputs=outputs)
        else:
            backup_into(store, to, _console, outputs=outputs, keep=keep)


@app.command()
def restore(
    backup: Annotated[Path, typer.Argument(help="Folder of the backup.")],
    store: Annotated[
        Path, typer.Argument(help="Folder of the recovery store; one that is there is left alone.")
    ],
    outputs: Annotated[
        Path | None, typer.Option(help="Put the outputs of the backup back into this folder.")
    ] = None,
    replace: Annotated[  # noqa: FBT002
        bool, typer.Option("--replace", help="Move a store that is there aside, to <store>.replaced-<time>.")
    ] = False,
) -> None:
    """Put a backup back, for the next run to go on from it."""
    from dataflows.tools.backup import restore as restore_backup

    with _explained():
        restore_backup(backup, store, _console, outputs=outputs, replace=replace)


@app.command()
def init(
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Your files, or globs: CSV, text, JSON, Parquet, Arrow.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where to write the fleet.toml.")] = Path("fleet.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,  # noqa: FBT002
    zone: Annotated[
        str | None,
        typer.Option(help="Time zone of times without offset, such as Europe/Berlin \\[default: UTC]."),
    ] = None,
    failure: Annotated[
        list[str] | None,
        typer.Option(
            help="A code that is a failure, in a column of codes; may be repeated.", show_default=False
        ),
    ] = None,
    failures_in: Annotated[
        list[str] | None,
        typer.Option(
            help="One of the files (or topics) each of whose rows is a failure; may be repeated.",
            show_default=False,
        ),
    ] = None,
    topic: Annotated[
        list[str] | None,
        typer.Option(
            help="Look at the latest messages of this Kafka topic instead; may be repeated.",
            show_default=False,
        ),
    ] = None,
    kafka: Annotated[
        str,
        typer.Option(
            help="Where the topics are: host:port, or a TOML file with a table \\[kafka] (TLS, login).",
            envvar="FLEET_KAFKA",
        ),
    ] = "localhost:9092",
) -> None:
    """Look at your own files or topics and write a first fleet.toml for them."""
    from dataflows.tools.init import cluster_of
    from dataflows.tools.init import init as write_fleet

    with _explained():
        cluster = cluster_of(topic, kafka) if topic else None
        write_fleet(
            files or (),
            out,
            _console,
            force=force,
            zone=zone,
            failures=failure or (),
            failures_in=failures_in or (),
            cluster=cluster,
        )


@app.command()
def check(
    fleet: FleetFile,
    against: Annotated[
        list[str] | None,
        typer.Option(help="Files or globs: compare the fleet with this sample instead.", show_default=False),
    ] = None,
    costs: Annotated[  # noqa: FBT002
        bool, typer.Option("--costs", help="Add the time and memory of every model, measured here.")
    ] = False,
    debt: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--debt", help="Look instead for what nobody needs or what grew old; ends as `status`."),
    ] = False,
    recovery: Annotated[
        Path | None,
        typer.Option(help="Store that --debt looks at \\[default: recovery/<name of the fleet>]."),
    ] = None,
    as_json: Annotated[  # noqa: FBT002
        bool, typer.Option("--json", help="Print every model with its costs, or every finding, as JSON.")
    ] = False,
) -> None:
    """Print what a fleet.toml expands to: sensors, features, targets, models. Runs nothing."""
    from dataflows.tools.check import check as check_fleet
    from dataflows.tools.check import show_json

    if debt:
        from dataflows.fleet import load
        from dataflows.tools.debt import debt as debt_of
        from dataflows.tools.health import show

        with _explained():
            resolved = load(fleet)
            found = debt_of(resolved, recovery or _STORES / resolved.name)
        raise typer.Exit(show(found, f"{resolved.name}: what could go?", _console, as_json=as_json))
    if as_json:
        raise typer.Exit(0 if show_json(fleet, _console) else 1)
    if against:
        from dataflows.fleet import load
        from dataflows.tools.fit import fit
        from dataflows.tools.health import show

        with _explained():
            found = fit(load(fleet), against)
        raise typer.Exit(show(found, "Does the fleet fit the sample?", _console, as_json=False))
    if not check_fleet(fleet, _console, with_costs=costs):
        raise typer.Exit(1)


@app.command()
def doctor(
    fleet: Annotated[
        Path | None,
        typer.Argument(help="The fleet.toml \\[default: fleet.toml, if it is here].", show_default=False),
    ] = None,
    recovery: Annotated[
        Path | None,
        typer.Option(help="Folder of the recovery store \\[default: recovery/<name of the fleet>]."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,  # noqa: FBT002
) -> None:
    """Check whether a fleet can run on this machine; end with 0 if it can, 1 with a warning, 2 if not."""
    from dataflows.tools.doctor import examine
    from dataflows.tools.health import show

    path = fleet or (Path("fleet.toml") if Path("fleet.toml").exists() else None)
    raise typer.Exit(show(examine(path, recovery), "Can it run here?", _console, as_json=as_json))


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder for the recording and the truth of it.")],
    scenario: Annotated[
        str, typer.Option(help="plain, field, or a TOML file; docs/simulator.md has its keys.")
    ] = "plain",
    trucks: Annotated[
        int | None, typer.Option(help="Trucks in the fleet, whatever the scenario says.")
    ] = None,
    days: Annotated[int | None, typer.Option(help="Days that are recorded.")] = None,
    every: Annotated[
        str | None, typer.Option(help="Time between messages of a driving truck, such as 15m.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same bytes.")] = None,
    as_csv: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--csv", help="Write readings.csv and orders.csv instead, as companies do."),
    ] = False,
) -> None:
    """Write the recording of a simulated fleet of trucks, and the truth that no sensor shows."""
    from dataflows.simulator import load_scenario, write
    from dataflows.simulator import simulate as simulated
    from dataflows.simulator.tables import write_tables

    with _explained():
        loaded = load_scenario(scenario, trucks=trucks, days=days, every=every, seed=seed)
        with _console.status(f"Simulating {loaded.trucks} trucks over {loaded.days} days ..."):
            files = tuple(write_tables(simulated(loaded), out) if as_csv else write(loaded, out))
    for path in files:
        _console.print(f"{path}  {path.stat().st_size / 1e6:,.1f} MB", highlight=False)


@app.command()
def thresholds(
    fleet: FleetFile,
    false_alarm_cost: Annotated[float | None, typer.Option(min=0.0, help="What a false alarm costs.")] = None,
    missed_cost: Annotated[
        float | None, typer.Option(min=0.0, help="What a failure without warning costs, in the same unit.")
    ] = None,
    false_alarms_per_asset_day: Annotated[
        float | None, typer.Option(min=0.0, help="Instead of costs: how many false alarms are acceptable.")
    ] = None,
    inspections_per_week: Annotated[
        float | None, typer.Option(min=0.0, help="Instead of costs: alerts a week, of the whole fleet.")
    ] = None,
    repair_cost: Annotated[float, typer.Option(min=0.0, help="What a planned repair costs.")] = 0.0,
    lead: Annotated[str, typer.Option(help="How long before a failure a warning has to stand.")] = "12h",
    evaluations: Annotated[
        Path | None,
        typer.Option(help="Evaluations of a run \\[default: those in the fleet's output folder]."),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Predictions of the same run \\[default: those in the folder of the evaluations]."),
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Write the thresholds into the fleet.toml.")] = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Choose where alerts open, by cost or within a budget, from scores that were served.

    Without a criterion, the `costs` of each target are taken.
    """
    from functools import partial

    from dataflows.fleet import load
    from dataflows.tools.thresholds import Wish, choose, priced

    before = _duration("--lead", lead)
    given = (false_alarm_cost, missed_cost, false_alarms_per_asset_day)
    with _explained():
        wish = (
            partial(priced, lead=before)
            if (*given, inspections_per_week) == (None,) * 4
            else Wish(*given, before, repair_cost, inspections_per_week)
        )
        resolved = load(fleet)
        source = evaluations or resolved.output.folder / "evaluations.jsonl"
        found = choose(
            resolved,
            source,
            wish,
            _console,
            predictions=predictions,
            write_chosen=write,
            as_json=as_json,
        )
    if not found:
        raise typer.Exit(1)


@app.command()
def audit(
    fleet: FleetFile,
    recording: Annotated[
        list[str] | None,
        typer.Argument(help="The recording of the run \\[default: the fleet's input].", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the outputs \\[default: the fleet's].", show_default=False)
    ] = None,
    sample: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the assets, by a hash.")] = 1.0,
    assets: Annotated[str, typer.Option(help="Assets by name instead, with commas between them.")] = "",
    journal: Annotated[
        Path | None, typer.Option(help="The order of a live run: the folder journal of its store.")
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Compute features again from the raw recording, and hold them against those served, bit by bit."""
    from dataflows.status import to_stderr_unless_configured
    from dataflows.tools.audit import audit as audit_fleet

    to_stderr_unless_configured()  # standard output holds the report alone
    named = [name.strip() for name in assets.split(",") if name.strip()]
    with _explained():
        equal = audit_fleet(
            fleet,
            recording or [],
            _console,
            out=out,
            sample=sample,
            assets=named,
            journal=journal,
            as_json=as_json,
        )
    if not equal:
        raise typer.Exit(1)


@app.command()
def figures(
    out: Annotated[Path, typer.Argument(help="Folder of the outputs of a run.")],
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Leave out examples before it: RFC 3339, or a share of their span of time, such as 20%.",
        ),
    ] = None,
    resamples: Annotated[int, typer.Option(min=1, help="Resamples of the bootstrap over assets.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same intervals.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,  # noqa: FBT002
) -> None:
    """Show figures of each model with 95 % intervals over assets, from the evaluations of a run."""
    from dataflows.tools.figures import show_figures

    with _explained():
        show_figures(out, _console, start=start, resamples=resamples, seed=seed, as_json=as_json)


@app.command()
def report(
    source: Annotated[
        Path, typer.Argument(help="The fleet.toml, or else the folder of the outputs of a run.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the outputs \\[default: the fleet's].", show_default=False)
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(help="The file \\[default: report.html in the folder].", show_default=False),
    ] = None,
    assets: Annotated[int, typer.Option(min=1, help="Assets with a timeline, those at risk first.")] = 100,
) -> None:
    """Write one page about a run: what is at risk, whether to believe it, assets, models, data, gaps."""
    from dataflows.fleet import load
    from dataflows.report.page import write_report

    with _explained():
        fleet = None if source.is_dir() else load(source)
        folder = out or (source if fleet is None else fleet.output.folder)
        path = write_report(folder, fleet, to, assets=assets)
    _console.print(f"{path}  {path.stat().st_size / 1e6:,.1f} MB", highlight=False, soft_wrap=True)


@app.command()
def asof(
    source: Annotated[
        Path, typer.Argument(help="The fleet.toml, or else the folder of the outputs of a run.")
    ],
    when: Annotated[str, typer.Argument(help="RFC 3339 with offset, or # and the number of a record.")],
    as_json: Annotated[bool, typer.Option("--json", help="The rows, one JSON object a line.")] = False,  # noqa: FBT002
    parquet: Annotated[
        Path | None, typer.Option(help="A folder for one Parquet file an output.", show_default=False)
    ] = None,
) -> None:
    """Show what was known at an instant: predictions with revisions, labels, models, alerts."""
    from dataflows.tools.asof import cut_at, show_asof

    with _explained():
        show_asof(_outputs_of(source), cut_at(when), _console, as_json=as_json, parquet=parquet)


@app.command()
def parquet(
    source: Annotated[
        Path, typer.Argument(help="The fleet.toml, or else the folder of the outputs of a run.")
    ],
    to: Annotated[
        Path | None,
        typer.Option(help="Folder of the files \\[default: that of the outputs].", show_default=False),
    ] = None,
) -> None:
    """Write each output as a Parquet file; one whose rows have not changed stays as it is."""
    from dataflows.evaluation.parquet import parquet_outputs

    with _explained():
        folder = _outputs_of(source)
        for path, rows, new in parquet_outputs(folder, to or folder):
            state = "" if new else ", unchanged"
            _console.print(f"{path}  {rows:,} rows{state}", highlight=False, soft_wrap=True)


@app.command()
def explain(
    fleet: FleetFile,
    prediction: Annotated[str, typer.Argument(help="Id of a prediction.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,  # noqa: FBT002
) -> None:
    """Explain one prediction: windows and their events, late data since, the model, each feature's part."""
    from dataflows.fleet import load
    from dataflows.tools.explain import show_explanation

    with _explained():
        show_explanation(load(fleet), prediction, _console, as_json=as_json)


@app.command()
def lineage(
    fleet: FleetFile,
    prediction: Annotated[str, typer.Argument(help="Id of a prediction.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,  # noqa: FBT002
) -> None:
    """Show what gave a prediction: estimator, parameters, libraries, and the examples it had learned."""
    from dataflows.fleet import load
    from dataflows.tools.lineage import show_lineage

    with _explained():
        show_lineage(load(fleet).output.folder, prediction, _console, as_json=as_json)


@app.command()
def tradeoff(
    fleet: FleetFile,
    target: Annotated[
        str | None, typer.Option(help="The target \\[default: the only one].", show_default=False)
    ] = None,
    lateness: Annotated[
        str,
        typer.Option(help="Allowed latenesses, with commas \\[default: some that fit].", show_default=False),
    ] = "",
    example_every: Annotated[
        str, typer.Option(help="Grids of examples \\[default: the class's].", show_default=False)
    ] = "",
    label_delay: Annotated[
        str, typer.Option(help="Label delays \\[default: the target's].", show_default=False)
    ] = "",
    lead: Annotated[str, typer.Option(help="How long it takes to act.")] = "12h",
    missed_cost: Annotated[
        float | None, typer.Option(min=0.0, help="What a failure costs \\[default: `costs` of the target].")
    ] = None,
    false_alarm_cost: Annotated[float | None, typer.Option(min=0.0, help="What a false alarm costs.")] = None,
    repair_cost: Annotated[float, typer.Option(min=0.0, help="What a planned repair costs.")] = 0.0,
    plot: Annotated[Path | None, typer.Option(help="An SVG file of the costs.", show_default=False)] = None,
    late: Late = 0.0,
    late_by: LateBy = "1h",
    delays_of: DelaysOf = None,
    lost: Lost = 0.0,
    offline: Offline = "0s",
    reported_after: ReportedAfter = "0s",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,  # noqa: FBT002
) -> None:
    """Serve one recording in several ways: latenesses, on arrival or waiting, and compare what each costs."""
    from dataflows.fleet import load
    from dataflows.tools.tradeoff import prices, show_tradeoff

    def listed(option: str, texts: str) -> list[int]:
        return [_duration(option, text) for text in texts.split(",") if text.strip()]

    with _explained():
        show_tradeoff(
            load(fleet),
            _console,
            target=target,
            lateness=listed("--lateness", lateness),
            example_every=listed("--example-every", example_every),
            label_delay=listed("--label-delay", label_delay),
            lead=_duration("--lead", lead),
            costs=prices(missed_cost, false_alarm_cost, repair_cost),
            movement=_movement(late, late_by, delays_of, lost, offline, reported_after),
            plot=plot,
            as_json=as_json,
        )


@app.command()
def export(
    fleet: FleetFile,
    to: Annotated[Path, typer.Option(help="Folder of the tables and their manifest.")] = Path("export"),
) -> None:
    """Write matured examples as Parquet, with features as served, for training elsewhere."""
    from dataflows.fleet import load
    from dataflows.tools.export import export as export_examples

    with _explained():
        export_examples(load(fleet), to, _console)


@app.command()
def estimate(
    fleet: FleetFile,
    target: Annotated[
        str | None, typer.Option(help="The target \\[default: the only one].", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A model that learns from features \\[default: the champion].", show_default=False),
    ] = None,
    split: Annotated[float, typer.Option(min=0.05, max=0.95, help="Share of the time for training.")] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same table.")] = 0,
    truth: Annotated[
        Path | None, typer.Option(help="truth.jsonl of a simulated recording.", show_default=False)
    ] = None,
    late: Late = 0.0,
    late_by: LateBy = "1h",
    delays_of: DelaysOf = None,
    lost: Lost = 0.0,
    offline: Offline = "0s",
    reported_after: ReportedAfter = "0s",
    plot: Annotated[
        Path | None, typer.Option(help="An SVG file of the log losses.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,  # noqa: FBT002
) -> None:
    """Estimate a model's error in five ways, and show what the way data moved does to each."""
    from dataflows.fleet import load
    from dataflows.tools.estimate import Question, show_estimates

    with _explained():
        movement = _movement(late, late_by, delays_of, lost, offline, reported_after)
        question = Question(target, model, split, seed, truth, movement)
        show_estimates(load(fleet), _console, question, plot=plot, as_json=as_json)


@app.command()
def skew(
    out: Annotated[Path, typer.Argument(help="Folder of the outputs of a run that has ended.")],
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Show what late data changed in features that were served, for classes with `compare`."""
    from dataflows.tools.skew import show_skew

    with _explained():
        show_skew(out, _console, as_json=as_json)


@app.command()
def demo(fresh: Fresh = False) -> None:  # noqa: FBT002
    """Simulate a fleet of trucks, run the dataflow on it, and show what it found."""
    fleet = _DEMO
    if not fleet.exists():
        fleet = Path("highwater-demo") / "fleet.toml"
        with _explained():
            fleet.parent.mkdir(exist_ok=True)
            if not fleet.exists():
                fleet.write_bytes(_INSTALLED_DEMO.read_bytes())
    data = fleet.parent / "data"
    if not (data / "events.jsonl").exists():
        simulate(data)
    run(fleet, fresh=fresh)
    report(fleet)


def _outputs_of(source: Path) -> Path:
    """Folder of the outputs: that of a fleet.toml, or the folder itself."""
    from dataflows.fleet import load

    return source if source.is_dir() else load(source).output.folder


#: The disk is full, or a quota is: the error of a write does not name its file.
_OF_A_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class _explained:  # noqa: N801 - reads as what it does
    """Turns errors that a user can do something about into one message, also out of the engine's wrapping."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        cause = error
        while cause is not None and not _is_ours(cause):
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            _fail(_of_a_file(cause) if isinstance(cause, OSError) else str(cause))


def _is_ours(error: BaseException) -> bool:
    """Whether it is one of the project's own, of a file, or of a full disk; all else is a bug."""
    of_a_file = isinstance(error, OSError) and (error.filename is not None or error.errno in _OF_A_DISK)
    return of_a_file or type(error).__module__.split(".")[0] == "dataflows"


def _of_a_file(error: OSError) -> str:
    """What is wrong with a file, and what to do."""
    todo = {
        errno.ENOENT: "check the path; outputs and stores are there after a run",
        errno.EACCES: "give the user of this program the right to use it, or name another place",
        errno.EPERM: "give the user of this program the right to use it, or name another place",
        errno.EROFS: "name a place that can be written",
        errno.EISDIR: "name a file, not a folder",
        errno.ENOTDIR: "a part of the path is a file; name a folder there",
        errno.EEXIST: "it is in the way; move it, or name another place",
    }
    what = f"{error.filename or 'a file'}: {error.strerror or error}"
    if error.errno in _OF_A_DISK:
        return f"{what}; make room on the disk that is written, or name another place, and start again"
    return f"{what}; {todo[error.errno]}" if error.errno in todo else what


def _movement(
    late: float, late_by: str, delays_of: Path | None, lost: float, offline: str, reported_after: str
) -> Movement:
    from dataflows.evaluation.moving import Movement
    from dataflows.evaluation.moving import delays_of as measured

    return Movement(
        late,
        _duration("--late-by", late_by),
        () if delays_of is None else measured(delays_of.read_bytes().splitlines()),
        lost,
        _duration("--offline", offline),
        _duration("--reported-after", reported_after),
    )


def _duration(option: str, text: str) -> int:
    """Microseconds of an option's value."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _fail(message: str) -> NoReturn:
    _errors.print(f"[bold red]Error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    app()
