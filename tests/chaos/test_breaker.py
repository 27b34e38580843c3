"""A slow champion in a run that follows files: the program writes a command, which is repeated like any."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.chaos.harness import assert_same, eventually, outputs, rows
from tests.chaos.live import ended, following, found, replayed
from tests.tables import PRIOR_ALONE, model, pumps

if TYPE_CHECKING:
    from pathlib import Path

    from tests.processes import Process

pytestmark = pytest.mark.ci

NAME = "pump/seal/8s"
FLEET = pumps(
    "prior",
    PRIOR_ALONE,
    name="slow",
    files=("telemetry.jsonl", "commands.jsonl"),
    mode="seal",
    horizon="8s",
    adopt=True,
    source="follow = true",
    target='breaker = { latency = "5ms", rows = 20, commands = "commands.jsonl" }',
    more=model("slow", '{ estimator = "tests.chaos.models.Slow" }'),
)


def now() -> str:
    return datetime.now(UTC).isoformat()


def send(fleet: Path, count: int) -> None:
    """Append so many readings as a gateway does, one each 5 ms."""
    for number in range(count):
        at = now()
        row = {"kind": "telemetry", "asset": f"pump-{number % 5}", "time": at, "arrived": at}
        with (fleet.parent / "telemetry.jsonl").open("ab") as file:
            file.write(orjson.dumps({**row, "readings": {"pressure": 9.0}}) + b"\n")
        time.sleep(0.005)


def commands(fleet: Path) -> list[dict[str, str]]:
    return rows((fleet.parent / "commands.jsonl").read_bytes())


def champions(fleet: Path) -> list[tuple[str, str]]:
    """Who became champion, and why."""
    changes = rows(outputs(fleet.parent / "out")["changes"])
    return [(row["model"], row["why"]) for row in changes if row["change"] == "champion"]


def lines(fleet: Path) -> int:
    return (fleet.parent / "telemetry.jsonl").read_bytes().count(b"\n")


def scored(fleet: Path) -> int:
    return outputs(fleet.parent / "out")["predictions"].count(b"\n")


def send_until_demoted(fleet: Path, process: Process) -> None:
    while len(champions(fleet)) < 3:
        assert process.poll() is None
        assert lines(fleet) < 5_000, "the slow champion stays"
        send(fleet, 20)


def test_a_slow_champion_is_demoted_by_a_command_that_kills_and_replays_repeat(tmp_path: Path) -> None:
    """The program writes one command, by `breaker`; after a kill, and in a replay, all bytes are the same."""
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(FLEET, encoding="utf-8")
    promote = {"kind": "command", "target": NAME, "action": "promote", "model": "slow", "by": "ada"}
    (tmp_path / "telemetry.jsonl").touch()
    (tmp_path / "commands.jsonl").touch()
    with following(fleet) as first:
        send(fleet, 5)
        eventually(lambda: len(champions(fleet)) == 1, first)
        (tmp_path / "commands.jsonl").write_bytes(orjson.dumps({**promote, "arrived": now()}) + b"\n")
        send_until_demoted(fleet, first)
        first.kill()
        first.wait()
    written = commands(fleet)
    assert [(each["action"], each["model"], each["by"]) for each in written] == [
        ("promote", "slow", "ada"),
        ("promote", "prior", "breaker"),
    ]
    assert written[1]["why"].endswith("ms a row, above 5 ms, over 20 rows twice")
    with following(fleet) as second:
        send(fleet, 50)
        eventually(lambda: scored(fleet) == lines(fleet), second)
        ended(second, fleet)
    assert commands(fleet) == written, "the champion that came back is not slow"
    (_, first_why), (_, second_why), (model, why) = champions(fleet)
    assert (first_why, second_why, model) == ("configured", "promote by ada", "prior")
    assert why == f"promote by breaker: {written[1]['why']}"
    live, summary = found(fleet, "out")
    again, of_replay = replayed(fleet, "again", "--journal", str(tmp_path / "store" / "journal"))
    assert_same(again, live)
    assert of_replay == summary
    assert commands(fleet) == written, "a replay writes no command"
