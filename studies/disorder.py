"""Much disorder: a fifth of all events held up, copies, wild stamps; what merging late data is worth.

``python -m studies disorder`` simulates a fleet of which 20 % of the messages are late (by 10 minutes on
average, by up to 6 hours), 2 % come twice and 0.1 % are stamped days ahead, and runs one ``fleet.toml`` over
it twice: with ``allowed_lateness`` as long as the longest delay, and with zero. What each run counts has to
be what a brute force makes of the lines by the rules alone.

Then it shows the skew of each. With ``allowed_lateness`` zero nothing is merged later that could change a
feature, so ``python -m dataflows skew`` has no table of it. Therefore both runs are also held against a
third, of the same messages delivered at once: the features that would be served if nothing were ever late.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from dataflows.instants import HOUR, parse_duration, parse_instant
from dataflows.simulator import Scenario, write
from dataflows.tools.skew import skew_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["REASONS", "Judged", "against", "judged", "main", "scenario"]

#: Why the rules refuse a message of a device in such a recording.
REASONS = ("future", "too_late", "duplicate")
#: What is compared: every delay is waited for, or none.
LATENESS = ("6h", "0s")
#: Features by asset and time.
Vectors = dict[tuple[str, str], dict[str, float | None]]
FLEET = """
name = "disorder"
[input]
files = ["events.jsonl"]
[output]
features = "all"
[assets]
adopt_as = "truck"
max_future = "1h"
[classes.truck]
sensors = ["coolant_level", "engine_temperature", "ambient_temperature", "fan_speed", "load"]
faults = ["low_coolant", "overheating"]
allowed_lateness = "{lateness}"
label_delay = "4d"
example_every = "4h"
compare = 1.0
[[classes.truck.windows]]
length = "6h"
hop = "15m"
statistics = ["count", "mean", "std", "max", "slope"]
[[targets]]
class = "truck"
mode = "coolant_leak"
horizon = "48h"
champion = "linear"
[models.linear]
pipeline = [
  {{ estimator = "river.preprocessing.StandardScaler" }},
  {{ estimator = "river.linear_model.LogisticRegression" }},
]
"""


class Judged(NamedTuple):
    """A line of telemetry or of a fault: when it was known, and what the rules of the contract make of it."""

    arrival: int
    asset: str
    kind: str
    verdict: str


def scenario(trucks: int, days: int, seed: int) -> Scenario:
    """Messages every quarter of an hour; delays, copies and wild stamps, and nothing else that is wrong."""
    return Scenario.model_validate(
        {
            "trucks": trucks,
            "days": days,
            "every": "15m",
            "seed": seed,
            "fault_codes": True,
            "delivery": {"late": 0.2, "late_by": "10m", "late_at_most": "6h", "duplicates": 0.02},
            "clocks": {"future": 0.001},
        }
    )


def judged(lines: Iterable[bytes], lateness: int) -> list[Judged]:
    """By brute force, from the lines alone; ``max_future`` is an hour, ``lateness`` microseconds."""
    arrival, found = 0, []
    newest: dict[str, int] = {}
    seen: set[tuple[Any, ...]] = set()
    for line in lines:
        event = orjson.loads(line)
        arrival = max(arrival, parse_instant(event["arrived"]))
        if event["kind"] not in {"telemetry", "fault"}:
            continue
        asset, time = event["asset"], parse_instant(event["time"])
        last = newest.get(asset, time)
        # A missing reading and a null are one.
        readings = {name: value for name, value in event.get("readings", {}).items() if value is not None}
        identity = (asset, time, event.get("code"), *sorted(readings.items()))
        if time > arrival + HOUR:
            verdict = "future"
        elif time < last - lateness:
            verdict = "too_late"
        elif identity in seen:
            verdict = "duplicate"
        else:
            seen.add(identity)
            newest[asset] = max(last, time)
            verdict = "late" if time < last else "on_time"
        found.append(Judged(arrival, asset, event["kind"], verdict))
    return found


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="What late data changes, merged and thrown away.")
    parser.add_argument("--trucks", type=int, default=60, help="of the simulated fleet")
    parser.add_argument("--days", type=int, default=60, help="that are recorded")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work; default: one that is deleted afterwards")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        _measure(given.folder or Path(temporary), scenario(given.trucks, given.days, given.seed))


def _measure(folder: Path, given: Scenario) -> None:
    console = Console()
    files = write(given, folder)
    lines = files.events.read_bytes().splitlines()
    rows = files.deliveries.read_bytes().splitlines()[: len(lines)]
    deliveries = [orjson.loads(row) for row in rows]
    wild = sum("future" in row["done"] for row in deliveries)
    console.print(f"{len(lines):,} events, {wild:,} of them stamped days ahead; no watermark followed one.")
    at_once = folder / "at_once"
    at_once.mkdir(exist_ok=True)
    (at_once / "events.jsonl").write_bytes(b"".join(line + b"\n" for line in _prompt(lines, deliveries)))
    prompt, _ = _run(at_once, LATENESS[0])

    counts = Table("allowed_lateness", "late", *REASONS, title="Each count is the brute force's")
    skews: list[Table | str] = []
    for lateness in LATENESS:
        served, told = _run(folder, lateness)
        verdicts = Counter(each.verdict for each in judged(lines, parse_duration(lateness)))
        found = {"late": told["late"]} | {reason: told["rejected"].get(reason, 0) for reason in REASONS}
        assert found == {name: verdicts[name] for name in found}, f"{found}, by the rules {verdicts}"
        assert found["future"] == wild, "as many as the truth tells of"
        counts.add_row(lateness, *(f"{count:,}" for count in found.values()))
        if parse_duration(lateness):
            skews.append(_command("skew", str(folder / "out")))
        skews.append(skew_table(f"{lateness}, beside delivery at once", against(served, prompt)))
    console.print(counts, *skews, sep="\n")


def _prompt(lines: list[bytes], deliveries: list[dict[str, Any]]) -> Iterator[bytes]:
    """The recording as it had been if every message had come at once, with its true time, and once."""
    rows = []
    for number, (line, delivery) in enumerate(zip(lines, deliveries, strict=True)):
        event, done = orjson.loads(line), delivery["done"]
        if "duplicate" in done:
            continue
        if event["kind"] in {"telemetry", "fault"}:
            event |= {"time": delivery["true_time"], "arrived": delivery["true_time"]}
        rows.append((parse_instant(event["arrived"]), number, event))
    return (orjson.dumps(event) for _, _, event in sorted(rows, key=lambda row: row[:2]))


def against(served: Vectors, prompt: Vectors) -> dict[str, Any]:
    """How far the vectors of a run are from those of delivery at once, as a summary tells its skew.

    Mean and worst change are in standard deviations of the latter, over the vectors that changed and have a
    value in both.
    """
    shared = served.keys() & prompt.keys()
    names = list(next(iter(prompt.values())))
    one, other = (np.array([[*run[key].values()] for key in shared], float) for run in (served, prompt))
    changed = ~np.isclose(one, other, rtol=1e-9, atol=0.0, equal_nan=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        deviations = np.ma.masked_invalid(other).std(axis=0).filled(np.nan)
        distances = np.abs(one - other) / deviations  # of a constant, unknown
    features = {}
    for index, name in enumerate(names):
        of = distances[changed[:, index], index]
        known = of[np.isfinite(of)]
        mean, worst = (float(known.mean()), float(known.max())) if known.size else (None, None)
        if of.size:
            features[name] = {"share": of.size / len(shared), "mean": mean, "worst": worst}
    return {
        "compared": len(shared),
        "changed": int(changed.any(axis=1).sum()),
        "given_up": {},
        "score": {"examples": 0},
        "log_loss_change": {"examples": 0},
        "features": features,
    }


def _run(folder: Path, lateness: str) -> tuple[Vectors, dict[str, Any]]:
    """Run the fleet over a folder's recording; the vectors as first served, and what it counted."""
    fleet = folder / "fleet.toml"
    fleet.write_text(FLEET.format(lateness=lateness), encoding="utf-8")
    _command("run", str(fleet), "--no-recovery", "--fresh")
    served: Vectors = {}
    with (folder / "out" / "predictions.jsonl").open("rb") as file:
        for row in map(orjson.loads, file):
            newest = parse_instant(row["watermark"]) + parse_duration(lateness)
            assert newest <= parse_instant(row["arrival"]), f"a watermark was poisoned: {row['id']}"
            if not row["revision"]:
                served[row["asset"], row["time"]] = row["features"]
    return served, orjson.loads((folder / "out" / "summary.json").read_bytes())["input"]


def _command(*arguments: str) -> str:
    """What a command of the project prints."""
    command = [sys.executable, "-m", "dataflows", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


if __name__ == "__main__":
    main()
