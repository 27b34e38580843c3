"""``python -m dataflows lineage``: what gave a prediction: estimator, parameters, libraries, examples.

Everything comes from the rows of the run, so it is there after the fleet.toml or the program was changed.
What a model had learned is written once a period of the metrics: a prediction lies between two such rows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from rich.text import Text

from dataflows.evaluation.reading import whole_rows
from dataflows.evaluation.words import moment, percent, target_in_words
from dataflows.instants import parse_instant
from dataflows.tools.tables import plain_table

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

__all__ = ["Learned", "LineageError", "LineageOf", "lineage", "show_lineage"]


class LineageError(RuntimeError):
    """The lineage of a prediction cannot be read; the message says what is missing."""


@dataclass(slots=True)
class Learned:
    """What a version had learned when a row was written.

    Attributes:
        examples: that it had learned.
        last_asset: asset of the last one, None without one.
        last_time: event time of the last one, None without one.
        known: knowledge time of the row.
        sequence: record after which the row was written.
    """

    examples: int
    last_asset: str | None
    last_time: str | None
    known: str
    sequence: int


@dataclass(slots=True)
class LineageOf:
    """The lineage of one prediction.

    Attributes:
        prediction: its row.
        version: the row `lineage` that held for it.
        below: those of the models whose scores its model sees.
        learned: at most at the record of the prediction; None where nothing was written before.
        learned_by: the next such row; None where the run has written none yet.
        history: changes of the version up to the prediction: champion, refit, reset, set aside.
    """

    prediction: dict[str, Any]
    version: dict[str, Any]
    below: list[dict[str, Any]] = field(default_factory=list)
    learned: Learned | None = None
    learned_by: Learned | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


def lineage(folder: Path, prediction: str) -> LineageOf:
    """Return the lineage of a prediction.

    Args:
        folder: of the outputs of the run.
        prediction: its id.

    Raises:
        LineageError: there is no such prediction, or its version began under a release without lineage.
    """
    row = next((row for row in whole_rows(folder, "predictions") if row["id"] == prediction), None)
    if row is None:
        msg = f"{folder}/predictions.jsonl has no prediction {prediction}; take an `id` from it"
        raise LineageError(msg)
    rows = [each for each in whole_rows(folder, "changes") if each.get("target") == row["target"]]
    before = [each for each in rows if each["sequence"] <= row["sequence"]]
    versions = {
        (each["model"], each["version"]): each for each in before if each["change"] == "lineage"
    }  # the latest of each
    version = versions.get((row["model"], row["version"]))
    if version is None:
        msg = (
            f"{folder}/changes.jsonl does not say what {row['model']}, version {row['version']}, of "
            f"{row['target']} was made of: that run was of a release that did not write it"
        )
        raise LineageError(msg)
    found = LineageOf(row, version)
    found.below = [each for (name, _), each in versions.items() if name in version["scores"]]
    found.history = [
        each
        for each in before
        if (each.get("model"), each.get("version")) == (row["model"], row["version"])
        and each["change"] not in {"lineage", "verdict"}
    ]
    _add_learned(found, folder)
    return found


def _add_learned(found: LineageOf, folder: Path) -> None:
    """Add what the version had learned, by the rows before and after the prediction."""
    row, began = found.prediction, found.version
    name = (row["model"], f"{row['model']}:{row['version']}")
    found.learned = _learned(began, began["learned"])
    for period in whole_rows(folder, "metrics"):
        if period.get("kind") != "learned" or period["target"] != row["target"]:
            continue
        examples = next(
            (period["models"][label] for label in reversed(name) if label in period["models"]), None
        )
        if examples is None or period["sequence"] < began["sequence"]:
            continue
        if period["sequence"] > row["sequence"]:
            found.learned_by = _learned(period, examples)
            return
        found.learned = _learned(period, examples)


def _learned(row: dict[str, Any], examples: int) -> Learned:
    asset, time = (row["last_asset"], row["last_time"]) if examples else (None, None)
    return Learned(examples, asset, time, row["known"], row["sequence"])


def show_lineage(folder: Path, prediction: str, console: Console, *, as_json: bool = False) -> None:
    """Print the lineage of a prediction; as `lineage`.

    Args:
        folder: of the outputs of the run.
        prediction: its id.
        console: where to print.
        as_json: print one JSON object.

    Raises:
        LineageError: as `lineage`.
    """
    found = lineage(folder, prediction)
    if as_json:
        console.print(orjson.dumps(asdict(found)).decode(), soft_wrap=True, highlight=False, markup=False)
        return
    row = found.prediction
    line = (
        f"{row['asset']}, {target_in_words(row['target'])}: {percent(row['score'])} at "
        f"{moment(parse_instant(row['time']))}, by {row['model']}, version {row['version']}"
    )
    prior = (
        " The prior answered, since the model knew too little or failed." if row["link"] == "prior" else ""
    )
    console.print(f"{line}.{prior}", highlight=False, markup=False)
    console.print(_table(found))


def _table(found: LineageOf) -> Table:
    version = found.version
    facts: list[tuple[str, str]] = [
        ("estimator", version["estimator"]),
        ("pipeline", _pipeline(version)),
        *([("fitted", _settings(version["refit"]))] if version["refit"] else []),
        ("configuration", version["digest"]),
        ("libraries", ", ".join(f"{name} {of}" for name, of in version["libraries"].items())),
    ]
    if version["features"]:
        facts.append(("features", f"{len(version['features'])}: {', '.join(version['features'])}"))
    facts += [
        ("sees", f"scores of {each['model']}, version {each['version']} ({each['digest']})")
        for each in found.below
    ]
    facts.append(("written", f"record {version['sequence']:,}, {_at(version['known'])}"))
    if version["learns_from"]:
        facts.append(("learns", f"examples from {_at(version['learns_from'])} on"))
    facts += [(each["change"], f"{_at(each['known'])}: {each.get('why') or ''}") for each in found.history]
    facts += list(_counts(found))
    table = plain_table("Its lineage", "what", "value", text=2)
    for name, value in facts:
        table.add_row(name, Text(value))
    return table


def _counts(found: LineageOf) -> Iterable[tuple[str, str]]:
    before, after = found.learned, found.learned_by
    if before is not None:
        yield "learned", f"{before.examples:,} examples by {_at(before.known)}{_last(before)}"
    if after is not None:
        yield "", f"{after.examples:,} examples by {_at(after.known)}{_last(after)}"


def _last(learned: Learned) -> str:
    if learned.last_time is None:
        return ""
    return f"; the last one of {learned.last_asset}, {_at(learned.last_time)}"


def _at(text: str) -> str:
    return moment(parse_instant(text))


def _pipeline(version: dict[str, Any]) -> str:
    if version["pipeline"] is None:
        return "not known: it is not configured any more"
    return " | ".join(_settings(step) for step in version["pipeline"])


def _settings(value: object) -> str:
    """A configured value as TOML writes it.

    >>> _settings({"estimator": "river.tree.HoeffdingTreeClassifier", "max_depth": 4})
    '{ estimator = "river.tree.HoeffdingTreeClassifier", max_depth = 4 }'
    """
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_settings(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_settings, value)) + "]"
    return orjson.dumps(value).decode()
