"""A sixth class joins a fleet: its first examples with a chain of models, without it, and in hindsight.

``python -m studies cold_start`` simulates six classes of trucks. They fail alike, but each has gauges and
fans of its own: what they read is scaled and shifted by class. Five classes run from the start, the sixth
joins when half of the days are over. Every model scores every example before it learns it, so one run gives
the log loss of the first examples of the new class under each: its own model (with the prior until it has
learned both labels), the model that all classes share, their chain, and mixtures of both. The oracle is the
class's own kind of model, fitted on the examples of the class that come after the first ones, so it knows the
class in hindsight. A constant score, the share of positives of the other classes, is what a well-chosen
``prior`` would give.

``links`` is the chain with an offset of each truck as its first link. What that is worth is shown over the
examples of all classes at which it answered. ``--gauges 4`` gives each truck a gauge of its own, which reads
some degrees too high or too low, normally distributed.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import structlog
from rich.console import Console
from rich.table import Table

from dataflows.estimators import BayesianLogistic
from dataflows.fleet import load as load_fleet
from dataflows.instants import MICROSECONDS, parse_instant
from dataflows.pipeline import run_inline
from dataflows.scoring import log_losses
from dataflows.simulator import load_scenario, write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["losses_of", "main", "of_class"]

_MODE = "coolant_leak"
_CLASSES = tuple("abcdef")
_NEW = _CLASSES[-1]
_MODELS = ("own", "common", "chain", "links", "aggregate", "stack")
Rows = dict[str, list[dict[str, Any]]]

_FLEET = """
name = "trucks"
metrics_every = "30d"
[input]
files = ["-"]
[output]
features = "examples"
publish = "grid"
[assets]
unknown = "reject"
{classes}
[[targets]]
class = [{names}]
mode = "coolant_leak"
horizon = "48h"
champion = "links"
promotion = "off"
[models.own]
pipeline = [{{ estimator = "dataflows.estimators.BayesianLogistic", variance = 0.1 }}]
least_positives = {least}
[models.common]
scope = "fleet"
pipeline = [{{ estimator = "dataflows.estimators.BayesianLogistic", variance = 0.1 }}]
[models.alone]    # as own, from its first positive on: what there is without a chain
pipeline = [{{ estimator = "dataflows.estimators.BayesianLogistic", variance = 0.1 }}]
[models.chain]
scores = ["own", "common"]
pipeline = [{{ estimator = "dataflows.estimators.Chain", links = ["own", "common"] }}]
[models.machine]
scope = "asset"
pipeline = [{{ estimator = "dataflows.estimators.BayesianLogistic", variance = 0.1 }}]
[models.links]
scores = ["machine", "own", "common"]
pipeline = [{{ estimator = "dataflows.estimators.Chain", links = ["machine", "own", "common"] }}]
[models.aggregate]
scores = ["own", "common"]
pipeline = [{{ estimator = "dataflows.estimators.Mixture", method = "aggregate" }}]
[models.stack]
scores = ["own", "common"]
pipeline = [{{ estimator = "dataflows.estimators.Mixture" }}]
"""
_CLASS = """
[classes.{name}]
sensors = ["coolant_level", "engine_temperature", "fan_speed", "load", "ambient_temperature"]
allowed_lateness = "10m"
label_delay = "4d"
example_every = "4h"
[[classes.{name}.windows]]
length = "6h"
hop = "1h"
statistics = ["mean", "min", "slope"]
[[classes.{name}.windows]]
length = "48h"
hop = "4h"
statistics = ["mean", "min", "slope", "delta"]
"""


def of_class(
    events: Sequence[Mapping[str, Any]], name: str, draw: random.Random, since: int, gauges: float = 0.0
) -> Iterator[dict[str, Any]]:
    """Yield the records of a class: assets and readings of its own, from an arrival on.

    Args:
        events: of the simulator.
        name: of the class.
        draw: chooses how its gauges differ.
        since: microseconds; what arrives earlier is left out.
        gauges: degrees by which the thermometers of its trucks differ, a standard deviation.
    """
    gains = {"coolant_level": draw.uniform(0.8, 1.1), "fan_speed": draw.uniform(0.7, 1.3)}
    shift = draw.uniform(-6.0, 6.0)
    # By truck, how far its thermometer is off.
    known: dict[str, float] = {}
    for event in events:
        if "asset" not in event or parse_instant(event["arrived"]) < since:
            continue
        asset = f"{name}-{event['asset']}"
        if asset not in known:
            known[asset] = random.Random(f"{shift} {asset}").gauss(0.0, gauges)
            yield {
                "kind": "asset",
                "asset": asset,
                "class": name,
                "attributes": {},
                "arrived": event["arrived"],
            }
        changed = {**event, "asset": asset}
        if "readings" in event:
            readings = {
                sensor: value if value is None else value * gains.get(sensor, 1.0)
                for sensor, value in event["readings"].items()
            }
            if readings.get("engine_temperature") is not None:
                readings["engine_temperature"] += shift + known[asset]
            changed["readings"] = readings
        yield changed


def losses_of(rows: Rows, first: int) -> dict[str, float]:
    """Log loss of the first examples of the new class, by model, and how many of them are positive."""
    labels = {row["id"]: row for row in rows["evaluations"] if row["asset"].startswith(f"{_NEW}-")}
    known = [row for row in labels.values() if row["label"] in {"positive", "negative"}]
    known.sort(key=lambda row: (row["time"], row["asset"]))
    early, late = known[:first], known[first:]
    came = np.array([row["label"] == "positive" for row in early], dtype=np.int64)
    found = {"examples": float(len(early)), "positive": float(came.sum())}
    for model in ("alone", *_MODELS):
        found[model] = float(log_losses(came, np.array([row["scores"][model] for row in early])).mean())
    others = [row["label"] for row in rows["evaluations"] if not row["asset"].startswith(f"{_NEW}-")]
    share = others.count("positive") / (others.count("positive") + others.count("negative"))
    found["share of the others"] = float(log_losses(came, np.full(len(came), share)).mean())
    features = {row["id"]: row["features"] for row in rows["examples"]}
    oracle = BayesianLogistic(variance=0.1)
    for row in late:
        oracle.learn_one(_given(features[row["example"]]), row["label"] == "positive")
    scores = [oracle.predict_proba_one(_given(features[row["example"]]))[True] for row in early]
    found["oracle"] = float(log_losses(came, np.array(scores)).mean())
    links = [row["link"] for row in rows["predictions"] if row["asset"].startswith(f"{_NEW}-")]
    found |= {
        f"served by {link}": links.count(link) / len(links) for link in ("prior", "fleet", "class", "asset")
    }
    return found | _of_assets(rows)


def _of_assets(rows: Rows) -> dict[str, float]:
    """Log loss with and without offsets of trucks, over the examples of all classes that have one."""
    answered = {row["id"] for row in rows["predictions"] if row["link"] == "asset"}
    known = {
        row["id"]: row
        for row in rows["evaluations"]
        if row["id"] in answered and row["label"] in {"positive", "negative"}
    }
    came = np.array([row["label"] == "positive" for row in known.values()], dtype=np.int64)
    found = {"of trucks with an offset": float(len(came))}
    for name, model in (("without it", "chain"), ("with it", "links")):
        scores = np.array([row["scores"][model] for row in known.values()])
        found[name] = float(log_losses(came, scores).mean()) if len(came) else float("nan")
    return found


def _given(features: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in features.items() if value is not None}


def _recording(seed: int, trucks: int, days: int, gauges: float) -> list[bytes]:
    """Records of the six classes, in the order of their arrival."""
    draw, made = random.Random(seed), []
    for number, name in enumerate(_CLASSES):
        with tempfile.TemporaryDirectory() as folder:
            each = 100 * seed + number
            scenario = load_scenario("plain", trucks=trucks, days=days, seed=each, every="1h")
            files = write(scenario, Path(folder))
            events = [orjson.loads(line) for line in files.events.read_bytes().splitlines()]
        start = min(parse_instant(event["arrived"]) for event in events)
        joins = start + days * MICROSECONDS["d"] // 2 if name == _NEW else start
        made += of_class(events, name, draw, joins, gauges)
    made.sort(key=lambda event: (parse_instant(event["arrived"]), event["kind"] != "asset"))
    return [orjson.dumps(event) for event in made]


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="A sixth class joins a fleet.")
    parser.add_argument("--seeds", type=int, default=5, help="recordings")
    parser.add_argument("--first", type=int, default=1, help="seed of the first recording")
    parser.add_argument("--trucks", type=int, default=20, help="of each class")
    parser.add_argument("--days", type=int, default=80, help="of each recording")
    parser.add_argument("--examples", type=int, default=500, help="first examples of the new class")
    parser.add_argument("--least", type=int, default=20, help="positives before its own model answers")
    parser.add_argument("--gauges", type=float, default=0.0, help="degrees by which thermometers differ")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    names = ", ".join(f'"{name}"' for name in _CLASSES)
    classes = "".join(_CLASS.format(name=name) for name in _CLASSES)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fleet.toml"
        path.write_text(_FLEET.format(classes=classes, names=names, least=given.least), encoding="utf-8")
        fleet = load_fleet(path)
        for seed in range(given.first, given.first + given.seeds):
            rows = run_inline(fleet, _recording(seed, given.trucks, given.days, given.gauges))
            found.append({"seed": float(seed), **losses_of(rows, given.examples)})
            if given.json:
                sys.stdout.buffer.write(orjson.dumps(found[-1], option=orjson.OPT_APPEND_NEWLINE))
                sys.stdout.flush()
    if given.json:
        return
    table = Table("recording", *(str(int(each["seed"])) for each in found), "mean")
    for figure in [*found[0]][1:]:
        values = [each[figure] for each in found]
        table.add_row(figure, *(f"{value:.4g}" for value in values), f"{np.mean(values):.4g}")
    Console().print(table)


if __name__ == "__main__":
    main()
