"""``python -m dataflows status``: is the run well? Findings for a person on call, with the next step.

It reads the outputs and the folder of the store, never the store itself, so it may look at any time. Each
finding is ``ok``, ``warning`` or ``failure``; the exit code is that of the worst: 0, 1 or 2.
"""

from __future__ import annotations

import math
import shutil
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from rich.text import Text

from dataflows.connectors.file_sink import files_of
from dataflows.evaluation.reading import read_summary, whole_rows
from dataflows.instants import parse_instant, shown_instant
from dataflows.notify.delivery import waiting
from dataflows.tools.tables import command, plain_table, show_either

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.console import Console

    from dataflows.fleet.fleet import Fleet

__all__ = ["Finding", "Level", "disk_findings", "findings", "show", "status"]

Level = Literal["ok", "warning", "failure"]
_LEVELS: tuple[Level, ...] = ("ok", "warning", "failure")
_MARKS = {"ok": "ok", "warning": "WARN", "failure": "FAIL"}

#: A live run that wrote nothing for this many seconds counts as stuck.
_STILL = 600
#: Shares of refused records.
_MANY, _MOST = 0.01, 0.2
#: Shares of the disk that are free.
_LOW, _FULL = 0.1, 0.02
#: Periods of the metrics that count, the last ones.
_PERIODS = 4
#: A gap without a positive label that has at most this probability is a finding.
_UNLIKELY = 0.01


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check.

    Attributes:
        level: ok, warning or failure.
        about: subject of the check: run, disk, rejects, a target, ...
        what: what was found.
        todo: what to do; empty where all is well.
    """

    level: Level
    about: str
    what: str
    todo: str = ""


def status(fleet: Fleet, store: Path, console: Console, *, as_json: bool = False) -> int:
    """Show whether a run is well.

    Args:
        fleet: the fleet.
        store: folder of its recovery store; it may be missing.
        console: for the findings.
        as_json: print one JSON object a finding instead of the table.

    Returns:
        0 if all is well, 1 with a warning, 2 with a failure.
    """
    return show(findings(fleet, store, time.time()), f"{fleet.name}: is it well?", console, as_json=as_json)


def show(found: Sequence[Finding], title: str, console: Console, *, as_json: bool) -> int:
    """Show findings as a table, or one JSON object each; return 0, 1 or 2, as the worst of them."""
    table = plain_table(title, "", "about", "found, and what to do", text=3)
    for each in found:
        todo = f"\n{each.todo}" if each.todo else ""
        table.add_row(_MARKS[each.level], Text(each.about), Text(each.what + todo))
    show_either(console, map(asdict, found), lambda: console.print(table), as_json=as_json)
    return max(_LEVELS.index(each.level) for each in found)


def findings(fleet: Fleet, store: Path, now: float) -> list[Finding]:
    """Return the findings, the run first.

    Args:
        fleet: the fleet.
        store: folder of its recovery store.
        now: seconds since 1970.
    """
    folder = fleet.output.folder
    if not files_of(folder / "predictions.jsonl"):
        todo = f"run it first: {command('run fleet.toml')}"
        return [Finding("failure", "run", f"{folder} holds no outputs", todo)]
    metrics = list(whole_rows(folder, "metrics"))
    return [
        *_run(fleet, now),
        *disk_findings({folder, store} if store.exists() else {folder}),
        *_notifications(fleet, now),
        *_rejects(metrics),
        *_clocks(metrics),
        *_models(metrics),
        *_labels(metrics),
    ]


def _run(fleet: Fleet, now: float) -> Iterator[Finding]:
    """When something was committed last. A finite run that ended has a summary newer than its rows."""
    folder = fleet.output.folder
    committed = [path.stat().st_mtime for path in folder.glob("*.committed")]
    written = max([*committed, *(path.stat().st_mtime for path in files_of(folder / "predictions.jsonl"))])
    ago = _in_words(max(0.0, now - written))
    live = fleet.input.follow
    if live and now - written > _STILL:
        todo = "look at log.jsonl: is it running, does input arrive, can it write?"
        yield Finding("failure", "run", f"nothing was committed for {ago}", todo)
    else:
        yield Finding("ok", "run", f"last committed {ago} ago" + ("" if live else "; its input is finite"))
    counts = (read_summary(folder) or {}).get("input", {})
    for name in counts.get("names", []):
        what = f"{name['what']} {name['name']!r} matches nothing: {name['count']:,} records"
        hint = f"did you mean {name['nearest']!r}?" if name.get("nearest") else "correct its name"
        yield Finding("warning", "names", what, hint)


def _in_words(seconds: float) -> str:
    """Return a duration in its largest unit.

    >>> _in_words(40), _in_words(3000), _in_words(200_000)
    ('40 seconds', '50 minutes', '2 days')
    """
    for unit, size, most in (("seconds", 1, 120), ("minutes", 60, 120), ("hours", 3600, 48)):
        if seconds < most * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def _shown(text: str) -> str:
    return shown_instant(parse_instant(text))


def disk_findings(folders: set[Path]) -> Iterator[Finding]:
    """Check the free space of the disks of folders that exist."""
    devices = {folder.stat().st_dev: folder for folder in folders}
    for folder in devices.values():
        usage = shutil.disk_usage(folder)
        free = usage.free / usage.total
        level: Level = "failure" if free < _FULL else "warning" if free < _LOW else "ok"
        todo = "" if level == "ok" else "make room, or move finished outputs (`rotate`) away"
        yield Finding(level, "disk", f"{usage.free / 1e9:,.1f} GB free ({free:.0%}) at {folder}", todo)


def _notifications(fleet: Fleet, now: float) -> Iterator[Finding]:
    """Check whether receivers have got all alerts."""
    for name, changes, since, why in waiting(fleet):
        if not changes and since is None:
            yield Finding("ok", f"notify {name}", "every alert is delivered")
            continue
        failing = "" if since is None else f"; it fails since {_in_words(max(0.0, now - since))}: {why}"
        level: Level = "warning" if since is None or now - since < _STILL else "failure"
        what = f"{changes:,} beginnings or ends of alerts are not delivered{failing}"
        yield Finding(level, f"notify {name}", what, "is the receiver there, and a run to deliver them?")


def _rejects(metrics: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    """The share of refused records in the last periods of the lane."""
    lanes = [row for row in metrics if "lane" in row][-_PERIODS:]
    if not lanes:
        return
    reasons: Counter[str] = Counter()
    for row in lanes:
        reasons.update(row.get("rejected", {}))
    refused = reasons.total()
    read = refused + sum(sum(row.get("by_kind", {}).values()) for row in lanes)
    share = refused / read if read else 0.0
    level: Level = "failure" if share > _MOST else "warning" if share > _MANY else "ok"
    since = f"from {_shown(lanes[0]['from'])} to {_shown(lanes[-1]['to'])}"
    each = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common())
    what = f"{refused:,} of {read:,} records refused {since}" + (f": {each}" if each else "")
    yield Finding(level, "rejects", what, "" if level == "ok" else "see rejects.jsonl and docs/rejects.md")


def _clocks(metrics: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    lanes = [row for row in metrics if row.get("clocks")]
    wrong = lanes[-1]["clocks"] if lanes else {}
    count = sum(wrong.get(name, 0) for name in ("ahead", "behind"))
    if count:
        what = f"{count} assets have a wrong clock"
        yield Finding("warning", "clocks", what, "set their clocks; changes.jsonl names them (clock_wrong)")


def _models(metrics: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    """Check whether the champion is better than the prior, and which models are set aside."""
    targets: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in metrics:
        if row.get("kind") == "model":
            targets[row["target"]].append(row)
    for target, rows in targets.items():
        ends = sorted({row["to"] for row in rows})[-_PERIODS:]
        recent = [row for row in rows if row["to"] in ends and row["examples"]]
        champion = _loss([row for row in recent if row["champion"]])
        base = sum(row["positives"] for row in recent if row["champion"])
        if champion is not None:
            examples = sum(row["examples"] for row in recent if row["champion"])
            prior = _entropy(base / examples)
            worse = champion > prior
            since = _shown(min(row["from"] for row in recent))
            what = f"log loss {champion:.4f} since {since}, of the base rate {prior:.4f}"
            todo = "let a challenger serve, or see what changed (drift, sensors)" if worse else ""
            yield Finding("warning" if worse else "ok", target, what, todo)
        for row in rows:
            if row["to"] == ends[-1] and row.get("set_aside"):
                level: Level = "failure" if row["champion"] else "warning"
                yield Finding(
                    level, target, f"model {row['model']} is set aside", "see log.jsonl for its error"
                )


def _loss(rows: Sequence[dict[str, Any]]) -> float | None:
    examples = sum(row["examples"] for row in rows)
    return sum(row["log_loss"] * row["examples"] for row in rows) / examples if examples else None


def _entropy(rate: float) -> float:
    """Log loss of a constant score that equals the base rate."""
    return -sum(p * math.log(p) for p in (rate, 1 - rate) if p > 0)


def _labels(metrics: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    """Check whether reports of failures stopped: a gap that their rate makes unlikely."""
    periods: dict[str, dict[str, int]] = defaultdict(dict)
    for row in metrics:
        if row.get("kind") == "model" and row["champion"]:
            periods[row["target"]][row["to"]] = row["positives"]
    for target, positives in periods.items():
        counts = [positives[end] for end in sorted(positives)]
        silent = next((n for n, count in enumerate(reversed(counts)) if count), len(counts))
        before = counts[: len(counts) - silent]
        if not before or not silent:
            continue
        # Examples of one failure come together: periods with any count, not examples.
        rate = sum(map(bool, before)) / len(before)
        chance = (1 - rate) ** silent if rate < 1 else 0.0
        if chance <= _UNLIKELY:
            end = sorted(positives)[len(before) - 1]
            what = (
                f"no failure labelled for {silent} periods, since {_shown(end)}; before, {rate:.0%} had one"
            )
            yield Finding("warning", target, what, "are failures still reported, by every site?")
