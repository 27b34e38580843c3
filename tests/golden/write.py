"""Write a golden store: ``python -m tests.golden.write NAME``, when the version of a snapshot was raised.

It makes ``tests/golden/NAME.tar.xz``: a fleet, its recording, and the store of a run that has read the first
half of it. With ``--kafka`` the run reads and writes topics, of the broker that the tests would use, and
there is no recording. Golden stores that are there are never written again: they are what former releases
left.
"""

from __future__ import annotations

import io
import sys
import tarfile
import tempfile
from pathlib import Path

import orjson
from rich.console import Console

from dataflows.tools.backup import backup
from tests.broker import brokers
from tests.chaos.harness import FLEET, finish, prepare, recording
from tests.chaos.surroundings import SEEN, with_weather
from tests.kafka.topics import Cluster
from tests.tables import LEAK

GOLDEN = Path(__file__).parent


def write(name: str) -> Path:
    """Write the golden store of this name; returns its path."""
    text = FLEET.replace("[[classes.truck.windows]]", SEEN + "[[classes.truck.windows]]", 1)
    text = text.replace('label_delay = "12h"', 'label_delay = "12h"\nidle_timeout = "6h"')
    text = text.replace(
        'champion = "linear"', 'champion = "linear"\nalert = { open = 0.5, clear = 0.4 }\ndrift = "log"'
    )
    text = text.replace(
        'drift = "log"', 'drift = "log"\nagree = true\nmodels = ["linear", "tree", "table", "prior"]'
    )
    # What it learned is kept by checkpoints; by the targets above as logs of big models.
    text += (
        '[[targets]]\nclass = "truck"\nmode = "coolant_leak"\nhorizon = "24h"\nchampion = "linear"\n'
        'models = ["linear", "refit"]\nrelearn = "2d"\n'
    )
    text += (
        "[models.refit]\nrefit_every = 60\nrefit_lag = 30\n"
        'pipeline = [{ estimator = "sklearn.tree.DecisionTreeClassifier", max_depth = 3, '
        "random_state = 0 }]\n"
    )
    # Two targets would share a model of the fleet; one has the same key, and its state, alone.
    text += (
        '[[targets]]\nclass = "truck"\nmode = "coolant_leak"\nhorizon = "36h"\nchampion = "chain"\n'
        'models = ["chain", "linear", "common"]\n'
        '[models.common]\nscope = "fleet"\n'
        'pipeline = [{ estimator = "dataflows.estimators.BayesianLogistic" }]\n'
        '[models.chain]\nscores = ["linear", "common"]\n'
        'pipeline = [{ estimator = "dataflows.estimators.Chain", links = ["linear", "common"] }]\n'
    )
    text = text.replace("cells = 16_384", "cells = 8_300")
    lines = with_weather(recording(days=11, trucks=6, seed=7))
    with tempfile.TemporaryDirectory() as folder:
        fleet = prepare(Path(folder) / "run", lines[: len(lines) // 2], text)
        # Many epochs, so that there is a log of what the big model learned since it was written.
        finish(fleet, FLEET_BATCH="10")
        prepare(fleet.parent, lines, text)
        return _packed(name, fleet.parent, "fleet.toml", "events.jsonl")


def write_kafka(name: str) -> Path:
    """Write the golden store of this name, of a run that read and wrote topics; returns its path."""
    with tempfile.TemporaryDirectory() as folder, brokers(Path(folder) / "broker") as broker:
        cluster = Cluster(broker, Path(folder))
        cluster.make(partitions=2)
        events = [
            orjson.dumps({"kind": "telemetry", "asset": f"pump {number % 3}", "time": 60 * number,
                          "readings": {"pressure": number % 7}})
            for number in range(100)
        ]  # fmt: skip
        # A timestamp of 0 would be the time of the broker.
        cluster.send(*((number % 3 % 2, event, 60_000 * number + 1) for number, event in enumerate(events)))
        fleet = cluster.fleet(follow="false", writing="partitions = 1").path
        fleet.write_text(fleet.read_text() + LEAK.replace("12h", "1h"))
        finish(fleet)
        return _packed(name, fleet.parent, "fleet.toml")


def _packed(name: str, folder: Path, *beside: str) -> Path:
    """The store of a run, as a backup takes it, with what else is in its folder."""
    path = GOLDEN / f"{name}.tar.xz"
    if path.exists():
        msg = f"{path} is there already; a golden store is never written again"
        raise FileExistsError(msg)
    backup(folder / "store", folder / "copy", Console(file=io.StringIO()), outputs=False)
    with tarfile.open(path, "x:xz") as tar:
        for each in (*beside, "copy"):
            tar.add(folder / each, "store" if each == "copy" else each)
    return path


if __name__ == "__main__":
    *_, named = sys.argv
    print(write_kafka(named) if "--kafka" in sys.argv else write(named))  # noqa: T201 - says what it made
