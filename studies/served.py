"""What promotions are worth: a recording run from the prior as champion, with ``promotion = "auto"``.

``python -m studies served RECORDING --fleet FLEET`` changes two keys of every target, runs the dataflow, and
shows when which model became champion, and the log loss of the scores that were served, beside that of each
model over the same examples. The best of these is known in hindsight only.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import tomlkit
from rich.console import Console
from rich.table import Table

from studies.quality import run

__all__ = ["Served", "changed", "main", "served"]

#: As in the figures of a run.
_CLIP = 1e-4
_PRIOR = "prior"


@dataclass
class Served:
    """One target.

    Attributes:
        examples: number that counts.
        terms: when which model became champion, and why.
        loss: mean log loss of the scores that were served.
        models: mean log loss of each model that scored all these examples.
    """

    examples: int = 0
    terms: list[tuple[str, str, str]] = field(default_factory=list)
    loss: float = math.nan
    models: dict[str, float] = field(default_factory=dict)


def changed(fleet: Path, level: float | None = None) -> str:
    """The fleet.toml with the prior as champion of every target, and promotion by itself."""
    document: Any = tomlkit.parse(fleet.read_text(encoding="utf-8"))
    document["models"].setdefault(_PRIOR, {"pipeline": [{"estimator": "dataflows.estimators.Prior"}]})
    for target in document["targets"]:
        target["champion"], target["promotion"] = _PRIOR, "auto"
        if "models" in target and _PRIOR not in target["models"]:
            target["models"].append(_PRIOR)
    if level is not None:
        document["wrong_promotions"] = level
    return tomlkit.dumps(document)


def served(output: Path, start: str | None = None) -> dict[str, Served]:
    """By target, what a run served, from an instant of example time on.

    Args:
        output: folder of the outputs.
        start: RFC 3339 as in the rows; None: all examples count.
    """
    found: dict[str, Served] = defaultdict(Served)
    for line in (output / "changes.jsonl").read_bytes().splitlines():
        row = orjson.loads(line)
        if row["change"] == "champion":
            found[row["target"]].terms.append((row["known"], row["model"], row["why"]))
    sums: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in (output / "evaluations.jsonl").read_bytes().splitlines():
        row = orjson.loads(line)
        if row["correction"] or row["label"] == "censored" or (start is not None and row["time"] < start):
            continue
        of, label = sums[row["target"]], row["label"] == "positive"
        for model, score in row["scores"].items():
            if score is not None:
                of[model].append(_loss(score, label=label))
        of[""].append(_loss(row["scores"][row["champion"]], label=label))
    for target, losses in sums.items():
        mine = losses.pop("")
        found[target].examples = len(mine)
        found[target].loss = math.fsum(mine) / len(mine)
        found[target].models = {
            model: math.fsum(each) / len(each) for model, each in losses.items() if len(each) == len(mine)
        }
    return dict(found)


def _loss(score: float | None, *, label: bool) -> float:
    clipped = min(max(0.5 if score is None else score, _CLIP), 1.0 - _CLIP)
    return -math.log(clipped if label else 1.0 - clipped)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="A run from the prior as champion, with promotions.")
    parser.add_argument("recording", type=Path)
    parser.add_argument("--fleet", type=Path, default=Path("examples/cmapss/fleet.toml"))
    parser.add_argument("--from", dest="start", help="examples before count in no loss, such as 2020-01-16")
    parser.add_argument("--wrong-promotions", type=float, help="instead of the fleet's")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        fleet = Path(folder) / "fleet.toml"
        fleet.write_text(changed(given.fleet, given.wrong_promotions), encoding="utf-8")
        seconds = run(fleet, given.recording, Path(folder) / "out")
        found = served(Path(folder) / "out", given.start)
    if given.json:
        for target, each in found.items():
            line = {"target": target, **vars(each)}
            sys.stdout.buffer.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        return
    table = Table("target", "examples", "served", "best model", "of all", "its loss", title="Log loss")
    terms = Table("target", "since", "champion", "why", title="Champions")
    for target, each in found.items():
        best = min(each.models, key=each.models.__getitem__)
        others = ", ".join(f"{model} {loss:.4f}" for model, loss in sorted(each.models.items()))
        table.add_row(
            target, f"{each.examples:,}", f"{each.loss:.4f}", best, others, f"{each.models[best]:.4f}"
        )
        for term in each.terms:
            terms.add_row(target, *term)
    Console().print(f"{given.recording.name}: the run took {seconds:.0f} s", table, terms)


if __name__ == "__main__":
    main()
