"""Live files, followed through kills, stops and wrong clocks: the outputs are those of a replay."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from dataflows.connectors.order_journal import entries_of
from dataflows.instants import HOUR, parse_instant
from tests.chaos.harness import assert_same, eventually, outputs, rows
from tests.chaos.live import (
    ahead_of,
    all_read,
    assert_replay_equals_live,
    begin,
    count,
    ended,
    following,
    found,
    is_up,
    players,
    read,
    replayed,
    silence,
    told,
)
from tests.processes import environment

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.ci


@pytest.mark.parametrize(
    "stopped", [3.0, pytest.param(30.0, marks=pytest.mark.full)], ids=["3 s stop", "30 s stop"]
)
def test_replay_equals_live(tmp_path: Path, stopped: float) -> None:
    """Through a stop of seconds, a kill, a clock an hour ahead and one that is right again, and silences."""
    fleet, played = begin(tmp_path, 500)
    with following(fleet) as first, players(played, 100) as running:
        eventually(lambda: read(fleet) > 300, first)
        silence(fleet, running, first)
        first.send_signal(signal.SIGSTOP)
        time.sleep(stopped)  # what it is stopped for is what is tested
        first.send_signal(signal.SIGCONT)
        eventually(lambda: read(fleet) > 900, first)
        first.kill()
        first.wait()
        told(running, signal.SIGSTOP)
        with following(fleet, ahead="+1h") as second:
            eventually(lambda: is_up(fleet, second), second)
            told(running, signal.SIGCONT)
            eventually(lambda: read(fleet) > 1_500, second)
            silence(fleet, running, second)
            ended(second, fleet)
        with following(fleet) as third:
            all_read(fleet, played, running, third)
            ended(third, fleet)
    ticks = [entry.chosen for entry in entries_of(tmp_path / "store" / "journal", 2)]
    ticks = [tick for tick in ticks if isinstance(tick, int)]
    arrivals = [parse_instant(row["arrival"]) for row in rows(outputs(tmp_path / "out")["predictions"])]
    assert max(ticks) < max(arrivals) + HOUR / 2, "a clock an hour ahead must not move time"
    live = assert_replay_equals_live(fleet)
    plain, _ = replayed(fleet, "plain")
    assert plain["evaluations"] != live["evaluations"], "the ticks must matter"
    assert all(live[name] for name in ("predictions", "alerts", "evaluations", "changes", "late", "rejects"))


@pytest.mark.parametrize(
    ("seed", "kills"), [(1, 3), *(pytest.param(n, 8, marks=pytest.mark.full) for n in range(2, 6))]
)
def test_kills_while_following_change_nothing(tmp_path: Path, seed: int, kills: int) -> None:
    """Killed with -9 at moments drawn by chance, some in silence, and gone on with each time."""
    chance = random.Random(seed)
    fleet, played = begin(tmp_path, 300 * kills)
    most, killed = count(played) - 500, 0
    with players(played, 300) as running:
        while killed < kills and read(fleet) < most:
            told(running, signal.SIGSTOP)
            with following(fleet, batch=chance.choice([100, 1_000])) as process:
                eventually(lambda process=process: is_up(fleet, process), process)
                told(running, signal.SIGCONT)
                goal = read(fleet) + chance.randrange(50, 400)
                eventually(lambda goal=goal: read(fleet) > goal, process)
                if chance.random() < 0.5:
                    silence(fleet, running, process)
                time.sleep(chance.random() / 10)
            killed += 1
        told(running, signal.SIGCONT)
        with following(fleet) as last:
            all_read(fleet, played, running, last)
            ended(last, fleet)
    assert killed >= 2
    assert_replay_equals_live(fleet)


ROWS = """
[[input.map]]
files = ["telemetry*"]
make = [{ kind = "telemetry", PLACE, readings = { pressure = "readings.pressure" } }]

[[input.map]]
files = ["reports*"]
make = [
  { kind = "failure", where = { kind = "failure" }, PLACE, mode = "mode" },
  { kind = "maintenance", where = { kind = "maintenance" }, PLACE },
]
""".replace("PLACE", 'asset = "asset", time = "time", arrived = "arrived"')


def test_kills_while_following_rows_change_nothing(tmp_path: Path) -> None:
    """Rows in a form of the user's own, killed with -9: the outputs are those of the same rows as events."""
    fleet, played = begin(tmp_path, 600)
    fleet.write_text(fleet.read_text().replace("[output]", f"{ROWS}\n[output]"))
    chance, killed = random.Random(3), 0
    with players(played, 300) as running:
        while killed < 3 and read(fleet) < count(played) - 500:
            with following(fleet, batch=chance.choice([100, 1_000])) as process:
                eventually(lambda process=process: is_up(fleet, process), process)
                goal = read(fleet) + chance.randrange(50, 400)
                eventually(lambda goal=goal: read(fleet) > goal, process)
            killed += 1
        with following(fleet) as last:
            all_read(fleet, played, running, last)
            ended(last, fleet)
    assert killed >= 2
    mapped, summary = found(fleet, "out")
    journal = str(tmp_path / "store" / "journal")
    again, _ = replayed(fleet, "again", "--journal", journal)
    assert_same(again, mapped)
    fleet.write_text(fleet.read_text().replace(ROWS, ""))
    plain, of_events = replayed(fleet, "plain", "--journal", journal)
    # A reject has the text of its row, and names what is wrong in the words of the rules.
    assert len(mapped.pop("rejects").splitlines()) == len(plain.pop("rejects").splitlines()) > 0
    assert mapped == plain
    assert summary["targets"] == of_events["targets"]


def test_the_clock_of_a_process_can_be_moved() -> None:
    """What the test above rests on: its second run sees the hour, and the same monotonic clock."""
    code = "import time; print(time.time(), time.monotonic())"
    moved = environment() | ahead_of("+1h")
    shown = [
        subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True).stdout
        for env in (environment(), moved)
    ]
    (wall, steady), (moved_wall, moved_steady) = (map(float, text.split()) for text in shown)
    assert moved_wall - wall == pytest.approx(3600, abs=60)
    assert moved_steady - steady == pytest.approx(0, abs=60)
