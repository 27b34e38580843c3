"""Print the fleet of a ``fleet.toml``, or all problems of the file, for a human reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.columns import Columns
from rich.console import Console, Group
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from dataflows.breaker import check_commands
from dataflows.fleet import (
    Alert,
    AssetClass,
    Fleet,
    FleetError,
    Model,
    Target,
    Window,
    load,
)
from dataflows.fleet.fleet import SecretError
from dataflows.fleet.models import path_key
from dataflows.instants import format_duration, shown_instant
from dataflows.notify.receivers import sender_of
from dataflows.tools.tables import show_either
from dataflows.tools.trial import check_models, costs
from dataflows.window_statistics import FAULT_STATISTICS, STATISTICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from rich.console import RenderableType

__all__ = ["check", "listed_as_json", "models_of", "refusal", "report", "show_json"]


def check(fleet: Fleet | Path | str, console: Console | None = None, *, with_costs: bool = False) -> bool:
    """Print the fleet of a file; if it is refused, print the problems and return False.

    Every model is tried on a few rows, so that an accepted fleet runs.

    Args:
        fleet: the fleet, or its file.
        console: where to print.
        with_costs: measure every model, and add what it costs.
    """
    console = console or Console()
    try:
        resolved = fleet if isinstance(fleet, Fleet) else load(fleet)
        check_commands(resolved)
        trial = check_models(resolved)
    except FleetError as error:
        console.print(refusal(error))
        return False
    console.print(report(resolved))
    if with_costs:
        console.print(_cost_table(models_of(resolved)))
    for note in (*trial.notes, *_missing_secrets(resolved)):
        console.print(Text(f"Note: {note}"))
    return True


def _missing_secrets(fleet: Fleet) -> Iterator[str]:
    """Secrets of receivers without which a run would not start."""
    for receiver in fleet.notify.values():
        try:
            sender_of(receiver)
        except SecretError as error:
            yield f"{error}; a run needs it"


def models_of(fleet: Fleet) -> list[dict[str, Any]]:
    """List every model of every target, with what it sees and what it costs on this machine.

    Of a model that is fitted in batch the cost is that before its first fit; `kept` is the largest number of
    bytes of the examples that its target keeps.
    """
    measured = costs(fleet)
    found = []
    for target in fleet.targets.values():
        features = fleet.classes[target.asset_class].features
        for model in target.models:
            names = model.scores or tuple(features[index] for index in model.features)
            cost = measured[model.name, names]
            row: dict[str, Any] = {
                "target": target.name,
                "model": model.name,
                "champion": model.name == target.champion,
                "estimator": _pipeline(model),
                "features": 0 if model.scores else len(names),
                "scores": list(model.scores),
                "score_us": round(cost.score, 1),
                "learn_us": round(cost.learn, 1),
                "bytes": cost.size,
            }
            if "every" in model.spec:
                row |= {"refit_every": model.spec["every"], "keep": model.spec["keep"]}
                row["kept"] = model.spec["keep"] * (8 * len(features) + 9)
            found.append(row)
    return found


def _cost_table(models: list[dict[str, Any]]) -> Table:
    """Print models by what they cost, those of one name and cost once."""
    table = _table(
        "model", "features", "score", "learn", "stored", right=("features", "score", "learn", "stored")
    )
    seen: dict[tuple[Any, ...], None] = {}
    for each in models:
        cells = (
            f"{each['score_us']:,.1f} µs",
            f"{each['learn_us']:,.1f} µs",
            f"{each['bytes'] / 1e3:,.1f} kB",
        )
        seen[each["model"], each["features"], cells] = None
    for name, features, cells in seen:
        table.add_row(Text(name), str(features), *cells)
    return table


def show_json(fleet: Path | str, console: Console) -> bool:
    """Print the models of a fleet as one JSON object, or its problems; return whether it is accepted."""
    try:
        found = listed_as_json(fleet)
    except FleetError as error:
        console.print(refusal(error))
        return False
    show_either(console, [found], lambda: None, as_json=True)
    return True


def listed_as_json(fleet: Fleet | Path | str) -> dict[str, Any]:
    """Return the models of a fleet, with totals; see `models_of`.

    Raises:
        FleetError: the fleet is refused.
    """
    resolved = fleet if isinstance(fleet, Fleet) else load(fleet)
    check_commands(resolved)
    trial = check_models(resolved)
    models = models_of(resolved)
    return {
        "fleet": resolved.name,
        "classes": len(resolved.classes),
        "targets": len(resolved.targets),
        "models": models,
        "notes": trial.notes,
        "totals": {
            "models": len(models),
            "example_us": round(sum(each["score_us"] + each["learn_us"] for each in models), 1),
            "bytes": sum(each["bytes"] for each in models),
        },
    }


def report(fleet: Fleet) -> Group:
    """Print streams, classes with all feature names, targets, and models with their features."""
    return Group(
        Rule(Text(f"fleet {fleet.name}", style="bold")),
        _facts(_streams(fleet)),
        *(part for asset_class in fleet.classes.values() for part in _class(asset_class)),
        *_targets(fleet),
    )


def refusal(error: FleetError) -> Group:
    """Print every problem of a file: key, expected and given value, and the nearest valid name."""
    count = "1 problem" if len(error.problems) == 1 else f"{len(error.problems)} problems"
    parts: list[RenderableType] = [Text.assemble((error.path, "bold"), f": {count}, not run")]
    for problem in error.problems:
        facts = [("expected", problem.expected), ("got", problem.got or "nothing")]
        if problem.hint is not None:
            facts.append(("did you mean", f"{problem.hint}?"))
        parts += [Text(problem.key, style="bold red"), _facts(facts)]
    return Group(*parts)


def _facts(facts: Iterable[tuple[str, str]]) -> Padding:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", overflow="fold")
    grid.add_column(overflow="fold")
    for name, value in facts:
        grid.add_row(Text(name), Text(value))
    return Padding(grid, (0, 0, 0, 2))


def _table(*columns: str, right: Iterable[str] = ()) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def _streams(fleet: Fleet) -> Iterator[tuple[str, str]]:
    policy = fleet.assets
    adopted = f"adopted as {policy.adopt_as}, at most {policy.max_assets:,}"
    yield "file", str(fleet.path)
    kafka, source, sink = fleet.input.kafka, fleet.input.connector, fleet.output.connector
    topics = [] if kafka is None else [f"topic {name}" for name in kafka.topics]
    read = [source.kind] if source is not None else topics or fleet.input.files
    yield "input", "  ".join(read) + (", followed" if fleet.input.follow else "")
    yield "batch", "chosen by the backlog" if fleet.input.batch is None else f"{fleet.input.batch:,} records"
    written = fleet.output.folder if fleet.output.kafka is None else f"topics {fleet.output.kafka.prefix}*"
    written = written if sink is None else sink.kind
    yield "output", f"{written}, features in {_CARRIERS[fleet.output.features]}"
    if kafka is not None or fleet.output.kafka is not None:
        yield "kafka", f"{fleet.kafka.bootstrap}, security: {fleet.kafka.security}"
    yield "predictions", _PUBLISHED[fleet.output.publish].format(fleet.output.changed_by)
    if policy.registry:
        yield "registry", "  ".join(policy.registry)
    yield "unknown assets", "rejected" if policy.unknown == "reject" else adopted
    yield "wrong clocks", f"rejected from {format_duration(policy.max_future)} ahead of their arrival"
    if policy.clock is not None:
        kept = "; what such an asset sends is rejected" if policy.clock.quarantine else ""
        yield "clock health", f"a clock is wrong beyond {format_duration(policy.clock.tolerance)}{kept}"
    for name, receiver in fleet.notify.items():
        where = receiver.url or "a secret URL"
        yield f"notify {name}", f"{receiver.kind} at {where}: {', '.join(receiver.about)}"
    yield "figures", "all" if fleet.figures_from is None else f"from {shown_instant(fleet.figures_from)}"
    yield "metrics", f"every {format_duration(fleet.metrics_every)}"


_CARRIERS = {"none": "no rows", "examples": "examples", "all": "examples and predictions"}
_PUBLISHED = {
    "all": "every one",
    "grid": "those chosen as examples",
    "changed": "where the score moved by {:g}",
}


def _class(asset_class: AssetClass) -> Iterator[RenderableType]:
    yield Text()
    yield Rule(Text(f"class {asset_class.name}"), align="left", style="dim")
    yield _facts(_class_facts(asset_class))
    if asset_class.windows:
        yield Padding(_windows(asset_class), (1, 0, 0, 2))
    yield Padding(Text(f"{len(asset_class.features)} features", style="dim"), (1, 0, 0, 2))
    width = len(str(len(asset_class.features)))
    numbered = [
        Text.assemble((f"{number:>{width}} ", "dim"), name)
        for number, name in enumerate(asset_class.features, start=1)
    ]
    yield Padding(Columns(numbered, padding=(0, 2), column_first=True, equal=True), (0, 0, 0, 2))


def _class_facts(asset_class: AssetClass) -> Iterator[tuple[str, str]]:
    named = [
        ("sensors", asset_class.sensors),
        ("faults", asset_class.faults),
        ("maintenance", asset_class.maintenance),
        ("attributes", asset_class.attributes),
        *((f"values of {name}", values) for name, values in asset_class.categories),
        ("weather", asset_class.weather.values if asset_class.weather else ()),
    ]
    for what, names in named:
        if names or what == "sensors":
            yield what, f"{len(names)}: {'  '.join(names)}" if names else "none"
    if asset_class.weather is not None:
        age, memory = asset_class.weather.max_age, asset_class.weather.memory
        yield "its age", f"up to {format_duration(age)}, kept {format_duration(memory)} longer"
    for name, text in asset_class.expressions:
        yield f"expression {name}", text
    lateness = format_duration(asset_class.allowed_lateness)
    yield "lateness", f"up to {lateness} is merged" if asset_class.allowed_lateness else "none is merged"
    if asset_class.required is not None:
        yield "scored", "when there are " + "  ".join(asset_class.sensors[at] for at in asset_class.required)
    if asset_class.running is not None:
        yield "runs", f"where {asset_class.running}"
    yield "examples", f"every {format_duration(asset_class.example_every)}"
    if asset_class.reset_windows_on:
        yield "windows start empty", "after " + " and ".join(asset_class.reset_windows_on)
    if asset_class.idle_timeout is not None:
        yield "silence", f"moves the label clock every {format_duration(asset_class.idle_timeout)}"
    if asset_class.asset_ttl is not None:
        yield "forgotten", f"after {format_duration(asset_class.asset_ttl)} of silence"


def _windows(asset_class: AssetClass) -> Table:
    right = ("window", "hop", "panes", "sensors", "faults", "features")
    of_faults = ("faults", "of faults") if asset_class.faults else ()
    columns = ("window", "hop", "panes", "sensors", *of_faults[:1], "features", "statistics", *of_faults[1:])
    table = _table(*columns, right=right)
    for window in asset_class.windows:
        cells = {
            "window": format_duration(window.length),
            "hop": format_duration(window.hop),
            "panes": str(window.length // window.hop),
            "sensors": _part(window.sensors, asset_class.channels),
            "faults": _part(window.faults, asset_class.faults),
            "features": str(_width(window)),
            "statistics": _chosen(window.statistics, STATISTICS) if window.sensors else "",
            "of faults": _chosen(window.fault_statistics, FAULT_STATISTICS) if window.faults else "",
        }
        table.add_row(*(cells[column] for column in columns))
    return table


def _width(window: Window) -> int:
    of_sensors = len(window.sensors) * len(window.statistics)
    return of_sensors + len(window.faults) * len(window.fault_statistics)


def _part(chosen: tuple[int, ...], of: tuple[str, ...]) -> str:
    return "all" if of and len(chosen) == len(of) else str(len(chosen))


def _chosen(statistics: tuple[str, ...], of: tuple[str, ...]) -> str:
    return "all" if statistics == of else " ".join(statistics)


def _targets(fleet: Fleet) -> Iterator[RenderableType]:
    yield Text()
    runs = sum(len(target.models) for target in fleet.targets.values())
    title = f"{_count(len(fleet.targets), 'target')}, {_count(runs, 'model')} in all"
    yield Rule(Text(title), align="left", style="dim")
    if not fleet.targets:
        return
    right = ("horizon", "label\ndelay", "thresh-\nold")
    alerts = ("alert",) if any(target.alert is not None for target in fleet.targets.values()) else ()
    columns = ("target", "horizon", "label\ndelay", "thresh-\nold", *alerts, "models\n(features seen)")
    table = _table(*columns, right=right)
    for target in fleet.targets.values():
        table.add_row(
            Text(target.name),
            format_duration(target.horizon),
            format_duration(target.label_delay),
            f"{target.threshold:g}",
            *(_alert(target.alert) for _ in alerts),
            _models(target),
        )
    yield Padding(table, (0, 0, 0, 2))
    legend = "* is the first champion" + ("; alert: opens/clears/dwell" if alerts else "")
    yield Padding(Text(legend, style="dim"), (0, 0, 1, 2))
    catalogue = {model.name: model for target in fleet.targets.values() for model in target.models}
    yield _facts((name, _pipeline(model)) for name, model in catalogue.items())


def _alert(alert: Alert | None) -> str:
    if alert is None:
        return "none"
    return f"{alert.open:g}/{alert.clear:g}/{format_duration(alert.dwell)}"


def _models(target: Target) -> Text:
    parts = [
        Text(
            f"{model.name}{'*' if model.name == target.champion else ''} ({len(model.features)})",
            style="bold" if model.name == target.champion else "",
        )
        for model in target.models
    ]
    return Text("\n").join(parts)


def _pipeline(model: Model) -> str:
    return " | ".join(_written(step) for step in model.spec["pipeline"])


def _written(value: Any) -> str:  # noqa: ANN401 - any TOML value
    """A step as Python would write it, without the module."""
    if isinstance(value, dict) and (path := path_key(value)) is not None:
        name = value[path].rpartition(".")[2]
        given = [f"{key}={_written(inner)}" for key, inner in value.items() if key != path]
        return f"{name}({', '.join(given)})" if given else name
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_written(inner) for inner in value) + "]"
    return str(value)


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
