"""Print the results of a run: figures by model, the assets most at risk, and the paths of the files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from dataflows.connectors.file_sink import files_of, parts_of
from dataflows.evaluation.reading import EVALUATIONS, PREDICTIONS, read_summary
from dataflows.instants import shown_instant
from dataflows.lane.names import sentence
from dataflows.outputs import OUTPUTS
from dataflows.tools.skew import skew_table
from dataflows.tools.tables import plain_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from dataflows.fleet import Fleet
    from dataflows.fleet.fleet import Target

__all__ = ["show", "troubles"]

_TAIL = 4_000_000
_RISKS = 5
#: Names shown that match nothing.
_NAMES = 10
#: Features shown that late data changed.
_CHANGED = 8
_COLUMNS = (
    ("log\nloss", "log_loss", ".4f"),
    ("ROC\nAUC", "roc_auc", ".4f"),
    ("PR\nAUC", "pr_auc", ".4f"),
    ("preci-\nsion", "precision", ".3f"),
    ("recall", "recall", ".3f"),
)


def show(fleet: Fleet, store: Path | None, console: Console) -> None:
    """Print the summary of a fleet's last run.

    Args:
        fleet: the fleet.
        store: its recovery store, None if it ran without one.
        console: where to print.
    """
    folder = fleet.output.folder
    summary = read_summary(folder)
    if summary is None:
        console.print("Nothing was read, so there is no summary.")
        return
    _input(summary.get("input", {}), console)
    for name, target in summary.get("targets", {}).items():
        console.print(_figures(fleet, name, target))
        if said := _no_figures(fleet, target):
            console.print(said, highlight=False)
        for line in troubles(target):
            console.print(line, highlight=False)
        skew = target.get("skew")
        if skew and skew["features"]:
            console.print(skew_table(name, skew, _CHANGED))
        elif skew:
            compared = f"{skew['compared']:,} examples compared"
            console.print(f"{name}: late data changed no feature, {compared}.", highlight=False)
    if not fleet.targets:
        console.print(
            "The fleet has no target, so nothing was predicted: add a file of failures and [[targets]].",
            highlight=False,
        )
    _risks(folder, console)
    _places(fleet, store, console)


def troubles(target: dict[str, Any]) -> list[str]:
    """Return a line for each model of a target that failed or is set aside.

    Args:
        target: its section of the summary.
    """
    aside: dict[str, str] = target.get("set_aside", {})
    lines = []
    for model, errors in target.get("model_errors", {}).items():
        which = f"the champion, {model}," if model == target["champion"] else model
        failed = f"{errors:,} error{'s' if errors > 1 else ''}"
        if model in aside:
            lines.append(
                f"SET ASIDE: {which} after {failed}, the latest {aside[model]}. "
                "The prior answers for it until it is tried again."
            )
        else:
            lines.append(f"Model errors: {which} had {failed}; the prior answered for it there.")
    return lines


def _input(counts: dict[str, Any], console: Console) -> None:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.get("by_kind", {}).items())
    line = f"{counts.get('records', 0):,} records of {counts.get('assets', 0):,} assets: {kinds}."
    rejected = counts.get("rejected", {})
    if rejected:
        line += " Rejected: " + ", ".join(f"{count:,} {reason}" for reason, count in rejected.items()) + "."
    if late := counts.get("late"):
        line += f" Late, and merged: {late:,}."
    if waiting := counts.get("waiting"):
        line += f" Dated ahead of all telemetry, so still waiting: {waiting:,}."
    console.print(line, highlight=False)
    sentences = [said for said in map(sentence, counts.get("names", ())) if said is not None]
    for said in sentences[:_NAMES]:
        console.print(f"Matches nothing: {said}.", highlight=False)
    if len(sentences) > _NAMES:
        console.print(f"... and {len(sentences) - _NAMES:,} more names, in summary.json.", highlight=False)


def _figures(fleet: Fleet, name: str, target: dict[str, Any]) -> Table:
    censored = sum(target["censored"].values())
    table = plain_table(
        f"{name}: what the models' scores, as served, were worth",
        "model",
        "exam-\nples",
        *(title for title, _, _ in _COLUMNS),
        caption=(
            f"{target['learned']:,} examples learned, {target['positives']:,} of them positive; "
            f"{target['pending']:,} wait for their label. In the time that counts in figures {censored:,} "
            f"were censored, {target['contradicted']:,} labels contradicted later. "
            f"{_left_out(target)}"
            f"{_lead(fleet.targets[name], target)}"
            f"Precision and recall at {fleet.targets[name].threshold:g}. * is the champion."
        ),
    )
    rows = target["final_labels"].items()
    for model, row in sorted(rows, key=lambda found: found[1].get("log_loss", 9.0)):
        champion = model == target["champion"]
        cells = [format(row[key], form) if row.get(key) is not None else "-" for _, key, form in _COLUMNS]
        label = f"{model} *" if champion else model
        table.add_row(label, f"{row['examples']:,}", *cells, style="bold" if champion else None)
    return table


def _no_figures(fleet: Fleet, target: dict[str, Any]) -> str | None:
    """Reason that no example counts; None if one does."""
    if any(row["examples"] for row in target["final_labels"].values()):
        return None
    before = target.get("left_out", {}).get("before_figures_from", 0)
    if before and fleet.figures_from is not None:
        since = shown_instant(fleet.figures_from)
        return f"No figures: all {before:,} examples with a label lie before figures_from = {since}."
    return "No figures yet: no example with a label has a score."


def _lead(of: Target, target: dict[str, Any]) -> str:
    """How long before a failure its warning stood, over the failures that had one."""
    lead = target.get("lead", {})
    if lead.get("median") is None:
        return ""
    start = "the opening of the alert"
    if of.alert is None:
        start = f"the first score since when all were at least {of.threshold:g}"
    warned = f"{lead['warned']:,} failure{'s' if lead['warned'] > 1 else ''}"
    return f"Lead from {start} to the failure: {lead['median']:.1f} h, the median of {warned}. "


def _left_out(target: dict[str, Any]) -> str:
    """Counts of labelled examples outside the figures, by reason."""
    found = target.get("left_out", {})
    reasons = [f"{count:,} without a score of {model}" for model, count in found.get("unscored", {}).items()]
    if before := found.get("before_figures_from"):
        reasons.insert(0, f"{before:,} before figures_from")
    return f"Left out: {', '.join(reasons)}. " if reasons else ""


def _risks(folder: Path, console: Console) -> None:
    """The assets whose latest score is highest, from the end of the predictions.

    An asset that has failed since is no longer at risk: it is down, or repaired and not scored yet.
    """
    path = folder / "predictions.jsonl"
    if not files_of(path):
        return
    latest = {(row.asset, row.target): row for row in PREDICTIONS.latest(path, _TAIL)}
    title = "Most at risk, by each asset's latest score"
    table = plain_table(title, "asset", "target", "at", "score", text=3)
    failures = _failures(folder / "evaluations.jsonl")
    working = [row for key, row in latest.items() if row.instant >= failures.get(key, 0)]
    for row in sorted(working, key=lambda row: -row.score)[:_RISKS]:
        table.add_row(row.asset, row.target, shown_instant(row.instant), f"{row.score:.3f}")
    if table.row_count:
        console.print(table)
    if failed := len(latest) - len(working):
        console.print(f"Left out, since they failed after their latest score: {failed:,}.", highlight=False)


def _failures(path: Path) -> dict[tuple[str, str], int]:
    """Time of the latest failure by asset and target, from the end of the evaluations."""
    # A later row of an example replaces an earlier one: a failure may have been withdrawn.
    standing = {(row.asset, row.target, row.time): row for row in EVALUATIONS.latest(path, _TAIL)}
    latest: dict[tuple[str, str], int] = {}
    for row in standing.values():
        failure = row.failure
        if failure is not None:
            key = row.asset, row.target
            latest[key] = max(failure, latest.get(key, failure))
    return latest


def _places(fleet: Fleet, store: Path | None, console: Console) -> None:
    folder = fleet.output.folder
    console.print("Where it is:", highlight=False, soft_wrap=True)
    for name in (*OUTPUTS, "log"):
        path = folder / f"{name}.jsonl"
        if size := sum(file.stat().st_size for file in files_of(path)):
            files = len(parts_of(path))
            where = "" if files <= 1 else f" in {files:,} files, {path.stem}.*.jsonl*, the newest of them"
            console.print(f"  {_shown(path)}  {decimal(size)}{where}", highlight=False, soft_wrap=True)
    console.print(f"  {_shown(folder / 'summary.json')}", highlight=False, soft_wrap=True)
    if fleet.output.kafka is not None:
        topics = ", ".join(fleet.output.kafka.prefix + name for name in OUTPUTS)
        console.print(f"  {topics}  topics at {fleet.kafka.bootstrap}", highlight=False, soft_wrap=True)
    if store is not None:
        console.print(f"  {_shown(store)}  recovery store", highlight=False, soft_wrap=True)


def _shown(path: Path) -> str:
    """Relative to the working directory where that is shorter."""
    try:
        # Of a rotated output, the link that is named, and not the file that it leads to.
        return str((path.parent.resolve() / path.name).relative_to(Path.cwd()))
    except ValueError:
        return str(path)
