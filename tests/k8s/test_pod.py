"""The contract with a pod: its command and variables, run here, through kills, stops and another size."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import structlog

from tests.chaos.harness import (
    assert_same_but_scores,
    dataflows,
    free_ports,
    inline_outputs,
    outputs,
    prepare,
    recording,
)
from tests.chaos.surroundings import SILENT_AND_SEEN, with_weather
from tests.k8s.charts import container, render
from tests.processes import ROOT, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.ci

RECORDS = 1_200
#: Seconds: several processes on a machine that is busy with other tests.
PATIENCE = 200.0


def eventually(condition: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until something is so, while a process goes on."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process is None or process.poll() is None, "the process ended before what was waited for"
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.01)


class World(NamedTuple):
    """A recording, and what the stages alone make of it."""

    lines: list[bytes]
    expected: dict[str, bytes]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    lines = with_weather(recording())[:RECORDS]
    expected = inline_outputs(prepare(tmp_path_factory.mktemp("inline"), lines, SILENT_AND_SEEN))
    structlog.reset_defaults()
    return World(lines, expected)


class Pod:
    """Runs the container of the rendered chart, with a folder in the place of its volumes.

    Args:
        folder: in the place of the root.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.volume = folder / "var/lib/highwater"
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, processes: int = 1, *, create: bool = False) -> subprocess.Popen[bytes]:
        """Start the container of a chart with so many processes."""
        (port,) = free_ports(1)
        values = {
            "fleet": (self.folder / "etc/highwater/fleet.toml").read_text(encoding="utf-8"),
            "processes": processes,
            "epoch": "300ms",
            "store": {"create": create},
            "metrics": {"port": max(port - processes, 1024)},
        }
        found = container(render(values, upgrade=not create))
        command = [self._here(word) for word in (*found["command"], *found["args"])]
        command[0] = sys.executable
        variables = {each["name"]: self._here(each["value"]) for each in found["env"]}
        env = environment(**variables, FLEET_BATCH="60")
        with (self.folder / "pod.log").open("ab") as log:
            process = subprocess.Popen(command, env=env, cwd=ROOT, stdout=log, stderr=log)
        self._running.append(process)
        return process

    def _here(self, text: str) -> str:
        text = re.sub(r"^/(etc|var|tmp)\b", rf"{self.folder}/\1", text)
        return text.replace("0.0.0.0:", "127.0.0.1:")

    def run_until(self, process: subprocess.Popen[bytes], size: int) -> None:
        """Wait until so many bytes of predictions are written."""
        predictions = self.volume / "out/predictions.jsonl"
        eventually(lambda: predictions.exists() and predictions.stat().st_size > size, process)

    def log(self) -> str:
        """What its containers printed."""
        return (self.folder / "pod.log").read_text(encoding="utf-8")

    def close(self) -> None:
        """End what still runs."""
        for process in self._running:
            process.kill()
            process.wait()


@pytest.fixture
def pod(world: World, tmp_path: Path) -> Iterator[Pod]:
    for folder in ("etc/highwater", "var/lib/highwater", "tmp"):
        (tmp_path / folder).mkdir(parents=True)
    prepare(tmp_path / "etc/highwater", world.lines, SILENT_AND_SEEN)
    found = Pod(tmp_path)
    yield found
    found.close()


def helpers_of(pid: int) -> list[int]:
    """Processes of the dataflow that a first process started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def is_gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return "Z" in Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split(")")[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until_gone(pids: list[int]) -> None:
    eventually(lambda: all(map(is_gone, pids)))


def test_a_killed_process_ends_all_and_a_restart_repeats_nothing(pod: Pod, world: World) -> None:
    """Kill -9 of a helper, then of the first process; the outputs are those of a run without kills."""
    size = len(world.expected["predictions"])
    first = pod.start(2, create=True)
    pod.run_until(first, size // 5)
    (helper,) = helpers_of(first.pid)
    os.kill(helper, signal.SIGKILL)
    assert first.wait(PATIENCE) == 1
    assert "process 1 of 2: ended by signal 9" in " ".join(pod.log().split())
    second = pod.start(2)
    pod.run_until(second, size // 2)
    helpers = helpers_of(second.pid)
    second.kill()
    second.wait()
    wait_until_gone(helpers)
    third = pod.start(2)
    assert third.wait(PATIENCE) == 0, pod.log()[-2000:]
    assert_same_but_scores(outputs(pod.volume / "out"), world.expected)


def test_sigterm_loses_nothing_and_another_number_of_processes_goes_on(pod: Pod, world: World) -> None:
    """One process, then two, then one: each stopped by SIGTERM in time, at the end of an epoch."""
    size = len(world.expected["predictions"])
    for processes, share in ((1, 5), (2, 2)):
        process = pod.start(processes, create=processes == 1)
        pod.run_until(process, size // share)
        helpers = helpers_of(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, pod.log()[-2000:]
        assert "everything before it is committed" in pod.log()
        wait_until_gone(helpers)
        assert len(helpers) == processes - 1
    last = pod.start(1)
    assert last.wait(PATIENCE) == 0, pod.log()[-2000:]
    assert_same_but_scores(outputs(pod.volume / "out"), world.expected)


def test_an_emptied_volume_is_no_new_beginning(pod: Pod) -> None:
    """The pod fails with what to do, and leaves the volume as it is."""
    process = pod.start()
    assert process.wait(PATIENCE) == 1
    assert "there is no recovery store, and --existing forbids a new one" in " ".join(pod.log().split())
    assert list(pod.volume.iterdir()) == []


def test_backups_are_kept_by_number_and_restored_in_the_place_of_a_store(pod: Pod, world: World) -> None:
    """The commands of the chart's jobs, on its paths: the restored store goes on to the same outputs."""
    running = pod.start(create=True)
    pod.run_until(running, len(world.expected["predictions"]) // 4)
    running.send_signal(signal.SIGTERM)
    assert running.wait(PATIENCE) == 0
    store, backups = pod.volume / "store", pod.folder / "backup"
    (backups / "20200101T000000Z").mkdir(parents=True)
    (backups / "notes").mkdir()
    taken = dataflows("backup", str(store), str(backups), "--keep", "1", "--outputs")
    assert taken.returncode == 0, taken.stderr
    (name,) = {path.name for path in backups.iterdir()} - {"notes"}
    assert name > "20200101T000000Z"
    assert (store / "last_backup").read_text(encoding="ascii").endswith("Z\n")
    longer = pod.start()
    assert longer.wait(PATIENCE) == 0, pod.log()[-2000:]
    out = str(pod.volume / "out")
    restored = dataflows("restore", str(backups / name), str(store), "--replace", "--outputs", out)
    assert restored.returncode == 0, restored.stderr
    assert len(list(pod.volume.glob("store.replaced-*/part-0.sqlite3"))) == 1
    again = pod.start()
    assert again.wait(PATIENCE) == 0, pod.log()[-2000:]
    assert_same_but_scores(outputs(pod.volume / "out"), world.expected)
