"""`--json` of every command that answers a question: the documented form, alone on standard output."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pytest
from typer.testing import CliRunner

from dataflows.__main__ import app
from dataflows.instants import format_instant, parse_instant
from tests.processes import ROOT, environment, run
from tests.tables import PRIOR, pumps

if TYPE_CHECKING:
    from pathlib import Path

HOUR = 3_600_000_000
START = parse_instant("2025-01-01T00:00:00Z")
FLEET = pumps(
    "bayes",
    '{ estimator = "river.naive_bayes.GaussianNB" }',
    output='features = "all"',
    pump="""
allowed_lateness = "3h"
example_every = "1h"
compare = 1.0
[[classes.pump.windows]]
length = "6h"
statistics = ["mean"]
""",
    more=PRIOR,
)


class Ran(NamedTuple):
    """A finished run: its folder, and what `run --json` wrote to standard output and error."""

    folder: Path
    out: str
    err: str


def _events() -> list[dict[str, Any]]:
    """Three pumps whose pressure falls before each leak; one message in seven is late."""
    found: list[tuple[int, dict[str, Any]]] = []
    for pump in range(3):
        for hour in range(300):
            time, left = START + hour * HOUR, 48 - (hour + 16 * pump) % 48
            place = {"asset": f"pump-{pump}", "time": format_instant(time)}
            arrived = time + (2 * HOUR if hour % 7 == 3 else 1_000_000)
            event = {
                "kind": "telemetry",
                **place,
                "readings": {"pressure": 5 - 3 * (left < 8) + hour % 3 / 9},
            }
            found.append((arrived, event))
            if left == 1:
                found.append((arrived + 60_000_000, {"kind": "failure", **place, "mode": "leak"}))
    found.sort(key=lambda each: each[0])
    return [{**event, "arrived": format_instant(arrived)} for arrived, event in found]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("pumps")
    (folder / "fleet.toml").write_text(FLEET)
    (folder / "events.jsonl").write_bytes(b"".join(orjson.dumps(event) + b"\n" for event in _events()))
    done = run(
        "dataflows", "run", "fleet.toml", "--recovery", "store", "--json", cwd=folder, env=environment()
    )
    assert done.returncode == 0, done.stderr
    return Ran(folder, done.stdout, done.stderr)


def documented(command: str) -> set[str]:
    """Fields that the page names for a command."""
    page = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    section = page.split(f"\n## {command}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE))


def rows(*arguments: str) -> list[dict[str, Any]]:
    """What a command prints, each line an object."""
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_summary_of_a_run_is_one_object(ran: Ran) -> None:
    """Standard output holds it alone; it has the summary that the folder has."""
    (row,) = [json.loads(line) for line in ran.out.splitlines()]
    assert row.keys() == documented("run")
    assert row["summary"] == json.loads((ran.folder / "out" / "summary.json").read_bytes())
    assert (row["stopped"], row["new_records"], row["fleet"]) == (False, row["records"], "pumps")


def test_a_store_is_one_object(ran: Ran) -> None:
    """With its positions, sizes and targets."""
    (row,) = rows("inspect", str(ran.folder / "store"))
    assert row.keys() == documented("inspect")
    assert row["records"] == len(_events())
    assert row["files"] == {"events.jsonl": (ran.folder / "events.jsonl").stat().st_size}
    assert row["outputs"]["predictions"] == (ran.folder / "out" / "predictions.jsonl").stat().st_size
    (target,) = row["targets"]
    assert (target["target"], target["champion"]) == ("pump/leak/12h", "bayes")
    assert target["learned"] > 500
    assert set(target["model_bytes"]) == {"bayes", "prior"}


def test_models_are_an_object_for_each_target(ran: Ran) -> None:
    """Who serves, who served, and at an instant."""
    (row,) = rows("models", str(ran.folder / "store"))
    assert row.keys() == documented("models")
    assert row["champion"] == "bayes"
    assert [term["model"] for term in row["served"]] == ["bayes"]
    (at,) = rows("models", str(ran.folder / "store"), "--at", "2025-01-05T00:00:00Z")
    assert at == {"target": "pump/leak/12h", **row["served"][0]}


def test_an_audit_is_one_object(ran: Ran, tmp_path: Path) -> None:
    """Equal; and with the first difference where a served feature was changed since."""

    def audited(*more: str) -> tuple[int, dict[str, Any]]:
        # In a process of its own, since it sends the log to standard error for good.
        done = run("dataflows", "audit", "fleet.toml", *more, "--json", cwd=ran.folder, env=environment())
        return done.returncode, json.loads(done.stdout)

    code, row = audited()
    assert (code, row["equal"], row["assets"]) == (0, True, 3)
    assert row.keys() < documented("audit")
    served = (ran.folder / "out" / "predictions.jsonl").read_bytes().splitlines(keepends=True)
    changed = orjson.loads(served[200])
    changed["features"] = {name: value + 1 for name, value in changed["features"].items()}
    served[200] = orjson.dumps(changed) + b"\n"
    (tmp_path / "predictions.jsonl").write_bytes(b"".join(served))
    code, row = audited("--out", str(tmp_path))
    assert row.keys() == documented("audit")
    assert (code, row["equal"], row["difference"]["time"]) == (1, False, changed["time"])
    assert row["changed"][0]["served"] == pytest.approx(row["changed"][0]["made"] + 1)


def test_thresholds_are_an_object_for_each_target(ran: Ran) -> None:
    """The choice and every candidate; a target without a choice says why."""
    fleet = str(ran.folder / "fleet.toml")
    (row,) = rows("thresholds", fleet, "--false-alarms-per-asset-day", "0.5", "--lead", "2h")
    assert row.keys() == documented("thresholds")
    assert row["chosen"] in row["candidates"]
    assert row["why_not"] is None
    done = CliRunner().invoke(
        app, ["thresholds", fleet, "--inspections-per-week", "1", "--lead", "2d", "--json"]
    )
    assert done.exit_code == 1
    assert json.loads(done.stdout)["why_not"].startswith("Its horizon is 12h")


def test_skew_is_an_object_for_each_target(ran: Ran) -> None:
    """Each feature that late data changed, with its share and change."""
    (row,) = rows("skew", str(ran.folder / "out"))
    assert row.keys() == documented("skew")
    assert row["compared"] > 500
    assert row["features"]


def test_help_names_json_where_a_program_may_ask() -> None:
    """The page has a section for each such command, and no other."""
    page = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^## (\w+)$", page, re.MULTILINE))
    with_json = {
        command.name or command.callback.__name__
        for command in app.registered_commands
        if command.callback is not None and "as_json" in command.callback.__annotations__
    }
    assert sections == with_json
