"""What `check` accepts runs: every model is built and fed a few rows before a fleet starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
from typer.testing import CliRunner

from dataflows.__main__ import app
from tests.tables import pumps

if TYPE_CHECKING:
    from pathlib import Path

IMPUTED = """
  { estimator = "river.preprocessing.PreviousImputer" },
  { estimator = "river.linear_model.LogisticRegression" },
"""
SELECTED = """
  { estimator = "river.compose.Select", keys = ["flow"] },
  { estimator = "river.naive_bayes.GaussianNB" },
"""
SGD = '{ estimator = "sklearn.linear_model.SGDClassifier", loss = "log_loss" }'
WRAPPED = f'{{ class = "river.compat.SKL2RiverClassifier", classes = [false, true], estimator = {SGD} }}'
OURS = """
import threading

class Locked:
    \"\"\"Cannot be pickled once it learned.\"\"\"
    def __init__(self, after=0):
        self.after, self.learned = after, 0
    def learn_one(self, x, y):
        self.learned += 1
        if self.learned > self.after:
            self.lock = threading.Lock()
    def predict_proba_one(self, x):
        return {True: 0.5, False: 0.5}

class Loud:
    \"\"\"Its scores are no probabilities.\"\"\"
    def learn_one(self, x, y):
        pass
    def predict_proba_one(self, x):
        return {True: 1.7}

class Leaving(Loud):
    \"\"\"Ends the program where it cannot learn, as scripts do.\"\"\"
    def learn_one(self, x, y):
        raise SystemExit("no licence")

class Pretrained(Loud):
    pretrained = True
    def predict_proba_one(self, x):
        return {True: 0.9 if x.get("flow", 0) > 5 else 0.1}

class Detector:
    def learn_one(self, x):
        pass
    def score_one(self, x):
        return 0.25
"""


def invoked(folder: Path, command: str, pipeline: str) -> tuple[int, str]:
    """Exit code and words of a command on a fleet with one model, and a recording with a gap."""
    path = folder / "fleet.toml"
    text = pumps("m", pipeline, sensors=("flow", "pressure"), mode="seal", horizon="1h")
    path.write_text(text, encoding="utf-8")
    (folder / "trial_models.py").write_text(OURS, encoding="utf-8")
    events = []
    for hour in range(24):
        readings = {"flow": None if hour == 5 else float(hour), "pressure": 2.0}
        time = f"2025-05-01T{hour:02}"
        events.append({"kind": "telemetry", "asset": "p", "time": f"{time}:00:00Z", "readings": readings})
        if hour in {3, 9}:
            events.append({"kind": "failure", "asset": "p", "time": f"{time}:30:00Z", "mode": "seal"})
    (folder / "events.jsonl").write_bytes(b"".join(orjson.dumps(event) + b"\n" for event in events))
    arguments = [command, str(path)] + (["--recovery", str(folder / "store")] if command == "run" else [])
    said = CliRunner().invoke(app, arguments, env={"COLUMNS": "400"})
    return said.exit_code, said.output


@pytest.fixture(autouse=True)
def _importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The models of this test are found in its folder, under a name of its own."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "trial_models", raising=False)


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(
    ("pipeline", "words"),
    [
        (
            '{ estimator = "river.linear_model.LogisticRegression", optimizer = "Adam" }',
            ("a model that can learn the label", 'optimizer = { estimator = "river.optim.Adam" }'),
        ),
        ('{ estimator = "trial_models.Locked" }', ("be stored (pickled)", "cannot pickle")),
        ('{ estimator = "trial_models.Loud" }', ("score a row", "1.7 is no probability")),
        ('{ estimator = "trial_models.Leaving" }', ("learn the label False", "SystemExit: no licence")),
    ],
)
def test_what_cannot_run_is_refused_by_name(
    tmp_path: Path, command: str, pipeline: str, words: tuple[str, ...]
) -> None:
    """Before anything is read or written, in a few lines, with what it could not do and what is meant."""
    code, said = invoked(tmp_path, command, pipeline)
    assert code == 1
    assert "models.m.pipeline" in said
    assert all(word in said for word in words), said
    assert len(said.splitlines()) < 10
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("pipeline", "note"),
    [
        ('{ estimator = "trial_models.Pretrained" }', False),
        ('{ estimator = "trial_models.Detector" }', False),
        ('{ estimator = "river.anomaly.HalfSpaceTrees" }', False),
        (IMPUTED, False),
        (SELECTED, True),
        (WRAPPED, True),
    ],
)
def test_what_check_accepts_runs(tmp_path: Path, pipeline: str, note: bool) -> None:
    """Without an error, or with a note that rows with missing values go to the prior; a gap ends no run."""
    code, said = invoked(tmp_path, "check", pipeline)
    assert code == 0, said
    assert ("the prior answers for those" in said) is note
    code, said = invoked(tmp_path, "run", pipeline)
    assert code == 0, said
    rows = [orjson.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_bytes().splitlines()]
    assert len(rows) == 24
    assert rows[-1]["link"] == "class"


def test_a_pretrained_model_serves_from_the_first_record(tmp_path: Path) -> None:
    """It is not held back until there are labels."""
    invoked(tmp_path, "run", '{ estimator = "trial_models.Pretrained" }')
    lines = (tmp_path / "out" / "predictions.jsonl").read_bytes().splitlines()
    assert {orjson.loads(line)["link"] for line in lines} == {"class"}
    assert orjson.loads(lines[0])["score"] == 0.1


def test_a_model_that_can_no_longer_be_stored_is_named_in_one_line(tmp_path: Path) -> None:
    """Where it fails later than in the trial, the run ends with its name, and without a traceback."""
    code, said = invoked(tmp_path, "run", '{ estimator = "trial_models.Locked", after = 6 }')
    assert code == 1
    assert "model 'm' cannot be written to the recovery store" in said
    assert "Traceback" not in said
