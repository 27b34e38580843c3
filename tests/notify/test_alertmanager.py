"""A real Alertmanager: killed between post and commit, notifications are as many as alerts."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dataflows.fleet import load
from dataflows.instants import format_instant
from tests.chaos.harness import free_ports
from tests.notify.worlds import alert, commit, drift, serving, verdict
from tests.processes import PATIENCE, ROOT, environment, start
from tests.tables import pumps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dataflows.fleet import Fleet
    from tests.notify.worlds import Server

TOOL = Path.home() / ".cache/highwater-k8s-tools/bin/alertmanager"
FLEET = pumps(
    "linear",
    '{ estimator = "river.linear_model.LogisticRegression" }',
    mode="seal",
    horizon="24h",
    more="""
[notify.main]
kind = "alertmanager"
url = "URL"
repost_every = "1s"
""",
)
CONFIG = """
route:
  receiver: pager
  group_by: ["..."]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 12h
receivers:
  - name: pager
    webhook_configs:
      - {url: "URL/page", send_resolved: true}
"""


class Manager:
    """An Alertmanager whose notifications a server gets."""

    def __init__(self, folder: Path, pager: Server, config: str = CONFIG) -> None:
        self._folder, self._pager = folder, pager
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        (folder / "alertmanager.yml").write_text(config.replace("URL", pager.url), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            str(TOOL),
            f"--config.file={self._folder / 'alertmanager.yml'}",
            f"--storage.path={self._folder / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]
        with (self._folder / "alertmanager.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(lambda: self.ask("/-/ready", parse=False) is not None)

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(PATIENCE)

    def ask(self, path: str, body: object = None, *, parse: bool = True) -> Any:  # noqa: ANN401 - any JSON
        """An answer, None where there is none yet."""
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(  # noqa: S310 - an address of ours
            self.url + path, data=data, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310 - an address of ours
                said = answer.read()
        except OSError:
            return None
        return json.loads(said) if parse else said

    def active(self) -> set[str]:
        """Ids of the alerts that it holds as firing."""
        return {each["labels"]["id"] for each in self.ask("/api/v2/alerts?active=true") or ()}

    def notified(self) -> Counter[tuple[str, str]]:
        """How often it notified of each alert, by id and status."""
        return Counter(
            (each["labels"]["id"], each["status"])
            for post in self._pager.posts
            for each in post.json()["alerts"]
        )


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.05)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    if not TOOL.exists():
        pytest.skip("alertmanager is not built; bash tests/k8s/tools.sh build alertmanager")
    with running(tmp_path) as found:
        yield found


@contextmanager
def running(folder: Path, config: str = CONFIG) -> Iterator[Manager]:
    with serving() as pager:
        found = Manager(folder, pager, config)
        found.start()
        try:
            yield found
        finally:
            found.stop()


def fleet_of(folder: Path, manager: Manager) -> Fleet:
    path = folder / "fleet.toml"
    path.write_text(FLEET.replace("URL", manager.url), encoding="utf-8")
    return load(path, environ={})


def deliver(folder: Path, kill: int = 0) -> None:
    """Deliver in a process of its own; killed after so many posts."""
    process = start(
        "tests.notify.deliver", str(folder), str(kill), env=environment(), out=folder / "deliver.log"
    )
    code = process.wait(PATIENCE)
    assert code == (-9 if kill else 0), (folder / "deliver.log").read_text(encoding="utf-8")


def test_the_alertmanager_of_compose_groups_alerts_of_a_run(tmp_path: Path) -> None:
    """By name, fleet, site, class and mode, with the file that compose.yaml mounts."""
    if not TOOL.exists():
        pytest.skip("alertmanager is not built; bash tests/k8s/tools.sh build alertmanager")
    config = (ROOT / "k8s" / "compose" / "alertmanager.yml").read_text(encoding="utf-8")
    with running(tmp_path, config) as manager:
        fleet = fleet_of(tmp_path, manager)
        deliver(tmp_path)
        commit(fleet, "alerts", row("a", "opened"), row("b", "opened"))
        commit(fleet, "changes", drift(1))
        deliver(tmp_path)
        until(lambda: len(manager.ask("/api/v2/alerts/groups") or ()) == 2)
        found = [(each["labels"], len(each["alerts"])) for each in manager.ask("/api/v2/alerts/groups")]
    shared = {"fleet": "pumps", "class": "pump", "mode": "seal"}
    assert ({"alertname": "HighwaterFailurePredicted", **shared}, 2) in found
    assert ({"alertname": "HighwaterDriftAlarm", **shared}, 1) in found


def row(name: str, state: str, asset: str | None = None) -> dict[str, Any]:
    """A row of the alerts of now: an Alertmanager compares its times with the clock."""
    now = format_instant(int(time.time() * 1e6))
    return alert(name, state, asset=asset, opened=now, time=now)


@pytest.mark.ci
def test_killed_20_times_between_post_and_commit_each_alert_is_notified_once(
    tmp_path: Path, manager: Manager
) -> None:
    """Of its beginning, and of its end when it cleared; alerts that are still open stay open."""
    fleet = fleet_of(tmp_path, manager)
    deliver(tmp_path)  # from here on every row is news
    names = [f"a{number}" for number in range(10)]
    for name in names:
        commit(fleet, "alerts", row(name, "opened"))
        deliver(tmp_path, kill=1)
    deliver(tmp_path)
    until(lambda: manager.active() == {*names})
    until(lambda: len(manager.notified()) == len(names))
    for name in names[:-2]:
        commit(fleet, "alerts", row(name, "cleared"))
        deliver(tmp_path, kill=1)
    for number in range(2):
        commit(fleet, "changes", drift(number))
        deliver(tmp_path, kill=1)
    deliver(tmp_path)
    until(lambda: sum(manager.notified().values()) >= 2 * len(names))
    time.sleep(3.0)  # what would come twice would come within three intervals
    notified = manager.notified()
    assert set(notified.values()) == {1}
    assert {each for each, state in notified if state == "resolved"} == {*names[:-2]}
    assert len([each for each, state in notified if state == "firing"]) == len(names) + 2
    assert {*names[-2:]} <= manager.active()


@pytest.mark.ci
def test_a_silence_is_respected(tmp_path: Path, manager: Manager) -> None:
    """It is the Alertmanager's: the alert is there, suppressed, and nobody is paged."""
    fleet = fleet_of(tmp_path, manager)
    deliver(tmp_path)
    silence = {
        "matchers": [{"name": "asset", "value": "pump-quiet", "isRegex": False, "isEqual": True}],
        "startsAt": format_instant(int(time.time() * 1e6)),
        "endsAt": format_instant(int((time.time() + 3_600) * 1e6)),
        "createdBy": "test",
        "comment": "repaired tomorrow",
    }
    assert manager.ask("/api/v2/silences", silence)
    commit(fleet, "alerts", row("quiet", "opened", "pump-quiet"), row("loud", "opened", "pump-loud"))
    deliver(tmp_path)
    until(lambda: ("loud", "firing") in manager.notified())
    time.sleep(3.0)
    assert {*manager.notified()} == {("loud", "firing")}
    states = {each["labels"]["id"]: each["status"]["state"] for each in manager.ask("/api/v2/alerts")}
    assert states == {"quiet": "suppressed", "loud": "active"}


def test_an_alertmanager_that_is_started_anew_learns_what_is_open(tmp_path: Path, manager: Manager) -> None:
    """Alerts are posted again while a run goes on; it pages for none of them a second time."""
    fleet = fleet_of(tmp_path, manager)
    deliver(tmp_path)
    commit(fleet, "alerts", row("a", "opened"))
    commit(fleet, "changes", verdict(1))
    deliver(tmp_path)
    until(lambda: len(manager.notified()) == 2)
    before = manager.active()
    manager.stop()
    manager.start()
    assert manager.active() == set()
    deliver(tmp_path)
    until(lambda: manager.active() == before)
    time.sleep(2.0)
    assert set(manager.notified().values()) == {1}
