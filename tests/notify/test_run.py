"""Runs that deliver alerts: killed at any instant, with receivers that fail and that never answer."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import orjson
import pytest

from dataflows.fleet import load
from dataflows.notify.delivery import waiting
from tests.chaos.harness import (
    FLEET,
    arguments,
    assert_same,
    dataflows,
    eventually,
    inline_outputs,
    outputs,
    prepare,
    recording,
    rows,
)
from tests.notify.worlds import SECRET, serving
from tests.processes import environment, start

if TYPE_CHECKING:
    from pathlib import Path

    from tests.notify.worlds import Server

RECEIVERS = """
[notify.pager]
kind = "webhook"
url = "PAGER"
about = ["failures"]
secret_env = "PAGER_SECRET"

[notify.stuck]
kind = "webhook"
url = "STUCK"
secret_env = "PAGER_SECRET"
"""
ALERTING = FLEET.replace('champion = "linear"', 'champion = "linear"\nalert = { open = 0.05, clear = 0.04 }')


def with_receivers(pager: Server, stuck: Server) -> str:
    receivers = RECEIVERS.replace('"PAGER"', f'"{pager.url}"').replace('"STUCK"', f'"{stuck.url}"')
    return ALERTING + receivers


def expected(alerts: bytes) -> set[str]:
    """Ids of the webhooks that these rows of the alerts make."""
    states = {"opened": "firing", "cleared": "resolved"}
    return {f"{row['id']}.{states[row['state']]}" for row in rows(alerts) if row["state"] in states}


@pytest.mark.ci
def test_runs_that_are_killed_deliver_every_alert(tmp_path: Path) -> None:
    """The pager gets each beginning and end, though it fails now and then; one that hangs changes nothing."""
    with serving() as pager, serving() as stuck:
        stuck.open.clear()
        pager.codes = [503, 200, 200, 500, 200, 429]
        fleet = prepare(tmp_path, recording(days=12), with_receivers(pager, stuck))
        plain = prepare(tmp_path / "plain", recording(days=12), ALERTING)
        for seconds in (0.3, 0.5, 0.8):
            process = start(
                "dataflows",
                *arguments(fleet),
                env=environment(PAGER_SECRET=SECRET),
                out=tmp_path / "run.log",
            )
            out = tmp_path / "out" / "predictions.jsonl"
            eventually(lambda out=out: out.exists() and out.stat().st_size > 0, process)
            time.sleep(seconds)
            process.send_signal(signal.SIGKILL)
            process.wait()
        ran = dataflows(*arguments(fleet), PAGER_SECRET=SECRET)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        found = outputs(tmp_path / "out")
        told = expected(found["alerts"])
        resolved = load(fleet, environ={})
        for _ in range(5):
            if not any(each.changes for each in waiting(resolved) if each.receiver == "pager"):
                break
            assert dataflows(*arguments(fleet), PAGER_SECRET=SECRET).returncode == 0
        assert len(told) > 10
        assert {post.headers["Webhook-Id"] for post in pager.posts} == told
        bodies = {post.headers["Webhook-Id"]: set[bytes]() for post in pager.posts}
        for post in pager.posts:
            bodies[post.headers["Webhook-Id"]].add(post.body)
        assert {len(each) for each in bodies.values()} == {1}
    # Rejects name the file that they come from, which is another one here.
    assert_same(found, {**inline_outputs(plain), "rejects": found["rejects"], "late": found["late"]})


@pytest.mark.ci
def test_outputs_of_every_process_become_final_during_the_run(tmp_path: Path) -> None:
    """So alerts go out whichever process writes them: what `.committed` counts is what is there, at rest."""
    live = ALERTING.replace("[input]", "[input]\nfollow = true")
    fleet = prepare(tmp_path, recording(days=6), live)
    folder = tmp_path / "out"

    def started() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dataflows", *arguments(fleet, "--processes", "2")]
        with (tmp_path / "run.log").open("ab") as log:
            return subprocess.Popen(command, env=environment(), stdout=log, stderr=log)

    def final() -> bool:
        sizes = {path.stem: path.stat().st_size for path in folder.glob("*.jsonl") if path.stem != "log"}
        found = {path.stem: int(path.read_text() or 0) for path in folder.glob("*.committed")}
        return found == sizes and found.get("alerts", 0) > 0 and found.get("predictions", 0) > 0

    process = started()
    try:
        eventually(final, process)
        before = {path.name: path.read_bytes() for path in folder.glob("*.jsonl") if path.stem != "log"}
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    # What was final stays: the killed run is resumed.
    process = started()
    try:
        eventually(final, process)
        for name, data in before.items():
            assert (folder / name).read_bytes().startswith(data)
    finally:
        process.kill()
        process.wait()


def test_status_tells_of_a_receiver_that_fails(tmp_path: Path) -> None:
    """With the error, since when, and what to do; and the run ends as ever."""
    with serving() as pager, serving() as stuck:
        pager.codes = [503] * 10_000
        stuck.codes = [200] * 10_000
        fleet = prepare(tmp_path, recording(days=10), with_receivers(pager, stuck))
        ran = dataflows(*arguments(fleet), PAGER_SECRET=SECRET)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    told = dataflows("status", str(fleet), "--recovery", str(tmp_path / "store"), "--json")
    found = {each["about"]: each for each in map(orjson.loads, told.stdout.splitlines())}
    assert found["notify stuck"]["level"] == "ok"
    assert found["notify pager"]["level"] == "warning"
    assert "it fails since" in found["notify pager"]["what"]
    assert "it answered 503" in found["notify pager"]["what"]


@pytest.mark.parametrize("secret", ["", "hush-hush"])
def test_a_run_without_a_usable_secret_does_not_start(tmp_path: Path, secret: str) -> None:
    """The key that names it is told, and never its value; `check` says so, too."""
    with serving() as pager:
        fleet = prepare(tmp_path, [], with_receivers(pager, pager))
        ran = dataflows(*arguments(fleet), PAGER_SECRET=secret)
        checked = dataflows("check", str(fleet), PAGER_SECRET=secret)
    assert ran.returncode == 1
    for said in (ran.stderr, checked.stdout):
        assert "notify.pager" in said
        assert not secret or secret not in said
    assert checked.returncode == 0
