"""Commands from the command line, and the page of models, over a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
from typer.testing import CliRunner

from dataflows.__main__ import app
from dataflows.events import Command, Verdict, decode
from dataflows.fleet import load
from dataflows.instants import parse_instant
from tests.chaos.harness import finish, prepare
from tests.target.promotions import NAME, command, document, recording, with_commands

if TYPE_CHECKING:
    from pathlib import Path


def ran(*arguments: str) -> tuple[int, str]:
    """Exit code and all that was printed, on lines without ends."""
    found = CliRunner().invoke(app, arguments, env={"COLUMNS": "100", "FLEET_CONFIG": ""})
    return found.exit_code, found.output


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store of a run with two champions, and a challenger that is compared."""
    fleet = prepare(
        tmp_path_factory.mktemp("models"),
        with_commands({1_500: command("promote", model="bayes"), 2_000: command("freeze")}),
        document("propose"),
    )
    finish(fleet)
    return fleet.parent / "store"


def test_a_command_is_appended_as_a_record(tmp_path: Path) -> None:
    """The line is what a run decodes, with an arrival where the records have one, after a whole line."""
    fleet, events = tmp_path / "fleet.toml", tmp_path / "events.jsonl"
    fleet.write_text(document())
    events.write_bytes(b'{"kind":"telemetry","arrived":0}\n{"cut')
    code, said = ran(
        *("command", "promote", NAME, "--by", "ada", "--model", "bayes", "--why", "better"),
        *("--fleet", str(fleet), "--into", str(events)),
    )
    assert code == 0, said
    *_, cut, line = events.read_bytes().splitlines()
    assert cut == b'{"cut'
    found = decode(line)
    assert isinstance(found, Command)
    assert (found.target, found.action, found.model, found.by, found.why) == (
        NAME,
        "promote",
        "bayes",
        "ada",
        "better",
    )
    assert found.arrived is not None


def test_records_without_arrivals_get_a_command_without_one(tmp_path: Path) -> None:
    """A recording has arrivals everywhere or nowhere."""
    fleet, events = tmp_path / "fleet.toml", tmp_path / "events.jsonl"
    fleet.write_text(document())
    events.write_bytes(recording()[0] + b"\n")
    code, said = ran("command", "freeze", NAME, "--by", "ada", "--fleet", str(fleet), "--into", str(events))
    assert code == 0, said
    assert orjson.loads(events.read_bytes().splitlines()[-1]) == {
        "kind": "command",
        "target": NAME,
        "action": "freeze",
        "by": "ada",
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("freeze", "pump/leak/24h"), "no target 'pump/leak/24h': expected pump/leak/12h; did you mean"),
        (("reboot", NAME), "no action 'reboot': expected one of promote"),
        (("promote", NAME), "promote needs the model: --model, one of bayes, prior"),
        (("promote", NAME, "--model", "bays"), "no model of pump/leak/12h 'bays': expected one of bayes"),
    ],
)
def test_what_the_fleet_cannot_obey_is_not_sent(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    """A command with a wrong name is refused before anything is written."""
    fleet, events = tmp_path / "fleet.toml", tmp_path / "events.jsonl"
    fleet.write_text(document())
    events.write_bytes(b"")
    code, found = ran("command", *arguments, "--by", "ada", "--fleet", str(fleet), "--into", str(events))
    assert code == 1
    assert said in " ".join(found.split())
    assert events.read_bytes() == b""


def test_a_verdict_names_the_asset_and_the_beginning_of_its_alert(tmp_path: Path) -> None:
    """They are looked up in the alerts of the fleet; an alert that is not there is refused."""
    fleet, events = tmp_path / "fleet.toml", tmp_path / "events.jsonl"
    fleet.write_text(document())
    events.write_bytes(b"")
    alerts = load(fleet).output.folder / "alerts.jsonl"
    alerts.parent.mkdir(parents=True)
    opened = {"id": "a1", "asset": "p-1", "target": NAME, "state": "opened", "why": "score", "score": 0.9}
    times = {"opened": "2025-01-01T00:00:00.000000Z", "time": "2025-01-01T00:00:00.000000Z", "threshold": 0.5}
    alerts.write_bytes(orjson.dumps({**opened, **times}) + b"\n")
    at = ("--by", "ada", "--time", "2025-01-01T06:00:00Z", "--fleet", str(fleet), "--into", str(events))
    code, said = ran("verdict", "a1", "healthy", *at)
    assert code == 0, said
    found = decode(events.read_bytes())
    assert isinstance(found, Verdict)
    assert (found.asset, found.target, found.verdict, found.alert) == ("p-1", NAME, "healthy", "a1")
    assert (found.since, found.fails) == (parse_instant("2025-01-01T00:00:00Z"), None)
    assert ran("verdict", "a1", "confirmed", "--fails", "2025-01-02T00:00:00Z", *at)[0] == 0
    later = decode(events.read_bytes().splitlines()[-1])
    assert isinstance(later, Verdict)
    assert later.fails == parse_instant("2025-01-02T00:00:00Z")
    for arguments, expected in (
        (("verdict", "a2", "healthy"), "no alert 'a2' in"),
        (("verdict", "a1", "ill"), "no verdict 'ill': expected one of confirmed"),
        (
            ("verdict", "a1", "healthy", "--fails", "2025-01-02T00:00:00Z"),
            "fails: expected in a verdict that is",
        ),
        (("verdict", "a1", "confirmed", "--fails", "soon"), "fails: "),
    ):
        code, said = ran(*arguments, *at)
        assert code == 1
        assert expected in " ".join(said.split())


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A new file would be read by no run."""
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(document())
    code, found = ran("command", "thaw", NAME, "--by", "a", "--fleet", str(fleet), "--into", "nowhere.jsonl")
    assert code == 1
    assert "nowhere.jsonl does not exist" in " ".join(found.split())


def test_the_models_of_a_store_are_shown_with_their_evidence(store: Path) -> None:
    """Champion, challengers with difference, evidence and what is left, who served when, and who froze it."""
    code, said = ran("models", str(store))
    assert code == 0, said
    text = " ".join(said.split())
    assert f"{NAME} bayes" in text
    assert f"{NAME} prior -0." in text
    assert "promote by ada" in text
    assert f"{NAME}: ada froze the champion." in text


def test_who_served_at_an_instant_is_shown(store: Path) -> None:
    """Before the change the first champion, after it the second."""
    for at, model in (("1970-01-02T00:00:00Z", "prior"), ("1970-01-13T00:00:00Z", "bayes")):
        code, said = ran("models", str(store), "--at", at)
        assert code == 0, said
        assert f"{NAME} {model} 1" in " ".join(said.split())
