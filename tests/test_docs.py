"""README and docs: commands are those of the program, samples are what it reads and writes, figures agree."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from dataflows.events import Reject, decode
from dataflows.fleet import load
from dataflows.pipeline import run_lines
from dataflows.simulator import load_scenario, write
from tests.commands import assert_parses, commands, fenced, read
from tests.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted(
    {
        path.relative_to(ROOT).as_posix()
        for pattern in (
            "*.md",
            "docs/*.md",
            "examples/*/*.md",
            "recovery/*.md",
            "k8s/*.md",
            "studies/*.md",
            "benchmarks/*.md",
        )
        for path in ROOT.glob(pattern)
        if path.name != "CHANGELOG.md"
    }
)


@pytest.mark.parametrize(
    "words",
    [pytest.param(words, id=f"{page}: {shlex.join(words)}") for page in PAGES for words in commands(page)],
)
def test_every_command_of_a_page_is_taken_by_its_program(words: list[str]) -> None:
    """Names of commands, options and targets of make, in fenced blocks and in running text."""
    assert_parses(words)


def test_commands_are_found() -> None:
    """A pattern that finds nothing would make the test above pass."""
    found = [shlex.join(words) for page in PAGES for words in commands(page)]
    assert "python -m dataflows check fleet.toml" in found
    assert "make run" in found
    assert any(command.startswith("python -m bytewax.run") for command in found)
    assert len(found) > 40


@pytest.mark.parametrize("page", PAGES)
def test_no_paragraph_of_a_page_is_shown_as_code(page: str) -> None:
    """Markdown takes a line with four spaces after an empty one for code, unless it belongs to a list."""
    text = re.sub(r"^```.*?^```$", "", read(page), flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"(?:\A|\n)[ \t]*\n {4,}\S.*", text) == []


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Rows that the fleet of the demo makes of a small recording."""
    folder = tmp_path_factory.mktemp("trucks")
    write(load_scenario("plain", trucks=4, days=30, every="1h"), folder / "data")
    shutil.copy(ROOT / "examples/trucks/fleet.toml", folder)
    lines = (folder / "data" / "events.jsonl").read_bytes().splitlines()
    found = run_lines(load(folder / "fleet.toml", environ={}), lines, "events.jsonl")
    return {name: [orjson.loads(row) for row in rows] for name, rows in found.items()}


def samples(page: str, marker: str) -> list[dict[str, Any]]:
    """JSON objects of a page that have a field; one may go over several lines."""
    blocks = [block for language in ("json", "json lines") for block in fenced(read(page), language)]
    texts = [text for block in blocks for text in re.split(r"\n(?=\{)", block)]
    return [row for row in map(orjson.loads, texts) if marker in row]


@pytest.mark.parametrize(
    ("output", "marker"), [("predictions", "revises"), ("evaluations", "matured"), ("examples", "features")]
)
def test_sample_rows_have_the_fields_of_real_rows(
    written: dict[str, list[dict[str, Any]]], output: str, marker: str
) -> None:
    """Each field in its place, and of the type that it has in outputs."""
    found = samples("docs/records.md", marker)
    assert found
    for sample in found:
        assert list(sample) == list(written[output][0])
        kinds = {key: {type(row[key]) for row in written[output]} for key in sample}
        assert {key for key, value in sample.items() if type(value) not in kinds[key]} <= {"lead"}
        for key in ("time", "matured", "known", "arrival", "watermark"):
            assert key not in sample or re.fullmatch(r"[\d-]{10}T[\d:]{8}\.\d{6}Z", sample[key])


@pytest.mark.parametrize("page", ["docs/records.md", "docs/fleet.md"])
def test_sample_records_can_be_used(page: str) -> None:
    """Each is decoded into an event, as it stands."""
    found = samples(page, "kind")
    assert found
    for record in found:
        assert not isinstance(decode(orjson.dumps(record)), Reject), record


def test_figures_of_the_engines_agree_between_readme_and_example() -> None:
    """The README rounds those of the example to three places."""
    readme, example = read("README.md"), read("examples/cmapss/README.md")
    names = {
        "champion": "mixture, the champion",
        "River": "linear, by gradient descent",
        "gradient boosting": "gradient boosting",
        "the running prior": "prior",
    }
    for short, long in names.items():
        (quoted,) = re.findall(rf"^\| {short}[^|]*\|(.*0\.\d{{3}}.*)$", readme, re.MULTILINE)
        measured = re.findall(rf"^\| {long}(?:,[^|]*)? \|(.*)$", example, re.MULTILINE)[0]
        rounded, exact = (re.findall(r"\d\.\d+", text) for text in (quoted, measured))
        assert len(rounded) == len(exact)
        assert all(abs(float(a) - float(b)) < 0.00051 for a, b in zip(rounded, exact, strict=True)), short


def run(folder: Path, *arguments: str) -> str:
    """Standard output of a command of ours, which succeeds."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FLEET_")}
    environ |= {"PYTHONPATH": str(ROOT), "COLUMNS": "78"}
    command = [sys.executable, "-m", "dataflows", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert all(len(line) <= 78 for line in done.stdout.splitlines() if "/" not in line)
    assert "…" not in done.stdout
    return done.stdout


@pytest.mark.ci
def test_the_steps_of_the_readme_lead_from_a_recording_to_an_audit(tmp_path: Path) -> None:
    """As a new user types them, one after the other, on a small recording."""
    run(tmp_path, "simulate", "--out", "data", "--trucks", "4", "--days", "30", "--every", "1h")
    shutil.copy(ROOT / "examples/trucks/fleet.toml", tmp_path)
    assert "linear" in run(tmp_path, "check", "fleet.toml")
    assert "* is the champion" in " ".join(run(tmp_path, "run", "fleet.toml").split())
    assert "No new records" in run(tmp_path, "run", "fleet.toml")
    assert "sound" in run(tmp_path, "inspect", "recovery/trucks")
    assert "Equal to the last bit" in run(tmp_path, "audit", "fleet.toml")
    run(tmp_path, "replay", "data/events.jsonl", "--fleet", "fleet.toml", "--out", "trial")
    outputs = [(tmp_path / folder / "predictions.jsonl").read_bytes() for folder in ("out", "trial")]
    assert outputs[0] == outputs[1]


@pytest.mark.ci
def test_the_commands_of_the_tutorial_lead_to_alerts(tmp_path: Path) -> None:
    """Each command of the page, in its order, on fewer trucks than there."""
    words = [each[3:] for each in commands("docs/tutorial.md") if each[:3] == ["python", "-m", "dataflows"]]
    steps = list(dict.fromkeys(map(tuple, words)))
    names = "simulate init run status thresholds check audit estimate figures skew"
    assert " ".join(step[0] for step in steps) == names
    smaller = {"--trucks": "12", "--days": "40"}
    for step in steps:
        given = [smaller.get(before, word) for before, word in zip(("", *step), step, strict=False)]
        said = run(tmp_path, *given, *(["--every", "1h"] if step[0] == "simulate" else []))
        assert said
        if step[0] == "init":
            text = (tmp_path / "fleet.toml").read_text()
            compared = text.replace("[classes.machine]\n", "[classes.machine]\ncompare = 1.0\n")
            compared = compared.replace('allowed_lateness = "0s"', 'allowed_lateness = "10m"')
            (tmp_path / "fleet.toml").write_text(compared)
    rows = (tmp_path / "out" / "evaluations.jsonl").read_bytes().splitlines()
    assert any(b'"label":"positive"' in row for row in rows)
