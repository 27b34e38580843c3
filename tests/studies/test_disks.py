"""The study of disks: its features are those served, it learns nothing early, and it misses nobody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from dataflows.asset.windows import WindowPlan, Windows
from dataflows.evaluation.reading import Evaluations, load_evaluations
from dataflows.fleet import load
from dataflows.instants import HOUR, format_instant, parse_instant
from examples.backblaze import reader
from studies import disks as study

if TYPE_CHECKING:
    from numpy.typing import NDArray

DAY = 24 * HOUR
START = parse_instant("2013-04-10T00:00:00Z")
HORIZON = 7 * DAY


def day(number: int) -> str:
    return format_instant(START + number * DAY)


def telemetry(disk: str, number: int, *values: float | None) -> dict[str, Any]:
    readings = dict(zip(reader.READINGS, values or (0.0,) * 5, strict=True))
    event = {"kind": "telemetry", "asset": disk, "time": day(number), "readings": readings}
    return event | {"arrived": day(number + 1)}


def registration(disk: str, capacity: float) -> dict[str, Any]:
    return {"kind": "asset", "asset": disk, "class": "disk", "attributes": {"capacity_tb": capacity}}


def failure(disk: str, number: int) -> dict[str, Any]:
    """As its row of the day before tells it."""
    event = {"kind": "failure", "asset": disk, "time": day(number), "mode": "failure"}
    return event | {"arrived": day(number)}


def recorded(path: Path, *events: dict[str, Any]) -> study.Recording:
    path.write_bytes(b"".join(orjson.dumps(event) + b"\n" for event in events))
    return study.read(path)


def evaluation(disk: str, number: int, label: str, known: int, score: float = 0.1) -> dict[str, Any]:
    """The example of one day, in the outward form; ``known`` is the day on which its label was."""
    return {
        "id": f"{disk}@{number}",
        "asset": disk,
        "target": "disk/failure/7d",
        "time": day(number),
        "label": label,
        "why": "",
        "matured": day(known),
        "known": day(known),
        "lead": None,
        "champion": "linear",
        "scores": {"linear": score},
        "correction": 0,
    }


def evaluated(path: Path, *rows: dict[str, Any]) -> Evaluations:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return load_evaluations(path)


def random_events(seed: int) -> list[dict[str, Any]]:
    """Three disks over 30 days, with days and values missing."""
    random = np.random.default_rng(seed)
    return [
        telemetry(
            disk, number, *(None if random.random() < 0.2 else float(random.random()) for _ in range(5))
        )
        for disk in "ABC"
        for number in range(30)
        if random.random() < 0.7
    ]


@pytest.mark.parametrize("seed", range(5))
def test_features_are_those_that_the_dataflow_serves(tmp_path: Path, seed: int) -> None:
    """Values and changes equal those of the windows in fleet.toml, with days and values missing.

    The models retrained every day see no largest values and no models of disks.
    """
    events = random_events(seed)
    recording = recorded(tmp_path / "disks.jsonl", *events)
    fleet = load(Path(reader.__file__).parent / "fleet.toml")
    plan = WindowPlan(fleet.classes["disk"])
    windows = {disk: Windows(plan) for disk in "ABC"}
    served = []
    for event in events:
        windows[event["asset"]].add(parse_instant(event["time"]), event["readings"], None)
        served.append(windows[event["asset"]].features().copy())
    names = fleet.classes["disk"].features[: len(served[0])]
    both = [place for place, name in enumerate(names) if ":max:" not in name]
    np.testing.assert_allclose(recording.features()[:, :15], np.array(served)[:, both], atol=1e-12)


def test_the_capacity_is_that_of_the_registry_row(tmp_path: Path) -> None:
    """The last feature; missing where no row told it."""
    events = (registration("A", 1.5), telemetry("A", 0), telemetry("A", 1), telemetry("B", 0))
    capacity = recorded(tmp_path / "disks.jsonl", *events).features()[:, -1]
    np.testing.assert_array_equal(capacity, [1.5, 1.5, np.nan])


def test_rows_are_found_by_disk_and_time(tmp_path: Path) -> None:
    """In the order of the question; what the recording does not hold is named."""
    recording = recorded(tmp_path / "disks.jsonl", *random_events(0))
    pick = np.random.default_rng(1).permutation(len(recording.day))
    assets, times = recording.disks[recording.disk[pick]], recording.day[pick] * DAY
    np.testing.assert_array_equal(recording.rows_of(assets, times), pick)
    for disk, time in (("D", START), ("A", START + 99 * DAY), ("", START)):
        with pytest.raises(ValueError, match=f"no telemetry of {disk} at 2013"):
            recording.rows_of(np.array([disk]), np.array([time]))


class Witness:
    """A model that remembers what it was taught, and scores by the first feature."""

    taught: list[tuple[list[float], list[int]]]

    def __init__(self) -> None:
        Witness.taught = getattr(Witness, "taught", [])

    def fit(self, x: NDArray[np.float64], y: NDArray[np.int64]) -> None:
        Witness.taught.append((x[:, 0].tolist(), y.tolist()))

    def predict_proba(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack([1 - x[:, 0], x[:, 0]], axis=1)


def test_a_batch_model_learns_what_was_known_and_over_by_the_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Day 9 is scored by what was known on day 10 of the examples whose horizon ended before day 9."""
    monkeypatch.setattr(Witness, "taught", [], raising=False)
    values = {("A", 0): 0.1, ("B", 0): 0.2, ("C", 0): 0.3, ("B", 1): 0.4, ("A", 9): 0.5, ("A", 2): 0.6}
    events = [telemetry(disk, number, value, 0, 0, 0, 0) for (disk, number), value in values.items()]
    rows = evaluated(
        tmp_path / "rows",
        evaluation("A", 0, "negative", 9),
        evaluation("B", 0, "positive", 5),
        evaluation("C", 0, "censored", 9),
        evaluation("B", 1, "positive", 5),
        evaluation("A", 2, "positive", 11),
        evaluation("A", 9, "negative", 18),
    )
    recording = recorded(tmp_path / "disks.jsonl", *events)
    asked = rows.times == START + 9 * DAY
    scores = study.batch_scores(rows, recording, Witness, HORIZON, asked)
    (x, y), *more = Witness.taught
    assert not more
    assert sorted(zip(x, y, strict=True)) == [(0.1, 0), (0.2, 1), (0.4, 1)]
    assert scores[asked].tolist() == [0.5]
    assert np.isnan(scores[~asked]).all()


def test_a_batch_model_gives_the_prior_until_it_knows_both_classes(tmp_path: Path) -> None:
    """Two negatives: (0 + 0.5) / (2 + 1); a correction known by then replaces the first label."""
    rows = [
        evaluation("A", 0, "negative", 9),
        evaluation("B", 0, "positive", 5),
        evaluation("B", 0, "negative", 6) | {"correction": 1},
        evaluation("A", 8, "negative", 17),
    ]
    events = [telemetry("A", 0), telemetry("B", 0), telemetry("A", 8)]
    evaluations = evaluated(tmp_path / "rows", *rows)
    recording = recorded(tmp_path / "disks.jsonl", *events)
    asked = evaluations.times == START + 8 * DAY
    scores = study.batch_scores(evaluations, recording, Witness, HORIZON, asked)
    assert scores[asked].tolist() == pytest.approx([0.5 / 3])


def test_days_of_which_only_positives_are_known_do_not_count(tmp_path: Path) -> None:
    """A positive is known early; at the end of a recording the last days hold nothing else."""
    rows = evaluated(
        tmp_path / "rows",
        evaluation("A", 13, "negative", 22),
        evaluation("A", 14, "negative", 23),
        evaluation("B", 15, "positive", 16),
        evaluation("C", 16, "negative", 25),
        evaluation("B", 17, "positive", 18),
    )
    start, end = START + 14 * DAY, START + 32 * DAY
    assert study.within(rows, start, end).tolist() == [False, True, True, True, False]
    assert study.within(rows, start, START + 15 * DAY).tolist() == [False, True, True, False, False]


def test_every_disk_that_left_without_a_failure_is_listed_with_its_fate(tmp_path: Path) -> None:
    """Those that stay or fail are not; a healthy verdict beyond the last day is called wrong."""
    recording = recorded(
        tmp_path / "disks.jsonl",
        *(telemetry("stays", number) for number in range(40)),
        *(telemetry("fails", number) for number in range(5)),
        failure("fails", 5),
        *(telemetry("left", number) for number in range(9)),
        *(telemetry("late", number) for number in range(35)),
        *(telemetry("told", number) for number in range(3)),
    )
    rows = evaluated(
        tmp_path / "rows",
        *(evaluation("left", number, "negative" if number < 2 else "censored", 24) for number in range(9)),
        *(evaluation("late", number, "negative", number + 9) for number in range(27)),
        *(evaluation("told", number, "negative", 10) for number in range(3)),
        evaluation("stays", 0, "negative", 9),
        evaluation("fails", 0, "positive", 5),
    )
    found = study.fates(rows, recording, HORIZON)
    told, left, late = found
    assert (told.disk, told.fate, told.unseen, told.last) == ("told", "wrong", 3, START + 2 * DAY)
    assert (left.disk, left.fate, left.examples, left.negative, left.censored) == (
        "left",
        "censored",
        9,
        2,
        7,
    )
    assert (late.disk, late.fate, late.negative, late.pending, late.unseen) == ("late", "pending", 27, 8, 0)


def test_the_command_reads_an_output_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """One entry a model and baseline on the same examples, then the disks that left."""
    monkeypatch.setattr(study, "BASELINES", {"logistic, daily": study.BASELINES["logistic, daily"]})
    disks = [f"disk-{number:02}" for number in range(12)]
    events = [telemetry(disk, n, *[float(disk < "disk-04")] * 5) for disk in disks for n in range(25)]
    events += [telemetry("gone", 0), *(failure(disk, 25) for disk in disks[:4])]
    rows = [evaluation("gone", 0, "censored", 16)]
    for disk in disks:
        for number in range(16):
            label = "positive" if disk < "disk-04" and number % 2 else "negative"
            rows.append(evaluation(disk, number, label, number + 9, 0.9 if label == "positive" else 0.1))
    recorded(tmp_path / "disks.jsonl", *events)
    evaluated(tmp_path / "evaluations.jsonl", *rows)
    study.main(
        [
            str(tmp_path),
            "--recording",
            str(tmp_path / "disks.jsonl"),
            "--from",
            day(14),
            "--to",
            day(15),
            "--json",
        ]
    )
    *entries, gone = map(orjson.loads, capfdbinary.readouterr().out.splitlines())
    assert [entry["model"] for entry in entries] == ["(champion)", "linear", "logistic, daily"]
    assert {(entry["figures"]["examples"], entry["figures"]["positives"]) for entry in entries} == {(24, 4)}
    assert entries[0]["figures"]["roc_auc"] == 1.0
    assert entries[2]["figures"]["roc_auc"] > 0.8
    assert gone["disk"] == "gone"
    assert gone["censored"] == 1
