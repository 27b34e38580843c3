"""Metrics and probes over HTTP: what they say, where they listen, and that no client disturbs the run."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dataflows import exporter
from dataflows.engine import runtime as engine_runtime
from dataflows.engine.runtime import Runtime, serve_until_exit
from dataflows.exporter import STUCK, AddressError, address_of, assets_of, reference, served
from dataflows.fleet import load
from dataflows.pipeline import Stages
from dataflows.placement import ONLY_LANE
from dataflows.recovery.manifest import LAST_BACKUP
from dataflows.status import METRICS, RunStatus
from tests.chaos.harness import FLEET, arguments, dataflows, eventually, free_ports, prepare, recording
from tests.processes import PATIENCE, ROOT, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

ANY = ("127.0.0.1", 0)


@pytest.fixture
def status() -> RunStatus:
    return RunStatus()


@pytest.fixture
def port(status: RunStatus, tmp_path: Path) -> Iterator[int]:
    with served(ANY, status, tmp_path, tmp_path) as found:
        assert found is not None
        yield found


def ask(port: int, path: str, accept: str = "") -> tuple[int, str, str]:
    """Code, content type and body of an answer."""
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Accept": accept})
    try:
        with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:  # noqa: S310 - an address of ours
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


def samples(text: str) -> dict[str, float]:
    """Values of the series of a page, by name and labels."""
    return {
        sample.name + "".join(f"{{{k}={v}}}" for k, v in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_metric_is_served_in_base_units(status: RunStatus, port: int) -> None:
    """Microseconds become seconds, counters end with _total, labels tell values apart."""
    status.records, status.errors = 7, 1
    status.rejected.update(["too_late", "too_late", "malformed"])
    status.register("arrival", lambda: 1_700_000_000_500_000)
    status.latency.observe(0.03)
    found = samples(ask(port, "/metrics")[2])
    assert found["highwater_records_total"] == 7
    assert found["highwater_internal_errors_total"] == 1
    assert found["highwater_rejected_total{reason=too_late}"] == 2
    assert found["highwater_last_arrival_timestamp_seconds"] == 1_700_000_000.5
    assert found["highwater_score_latency_seconds_bucket{le=0.02}"] == 0
    assert found["highwater_score_latency_seconds_bucket{le=0.05}"] == 1
    assert found["highwater_score_latency_seconds_bucket{le=+Inf}"] == 1
    assert found["highwater_score_latency_seconds_sum"] == 0.03
    assert found["process_open_fds"] > 0


def test_what_is_not_known_is_absent(status: RunStatus, port: int) -> None:
    """A gauge that nobody registered has no series, not the value 0."""
    assert status.read("pending") is None
    assert "highwater_pending_examples" not in samples(ask(port, "/metrics")[2])


def test_the_store_the_disks_and_the_last_backup_are_measured(port: int, tmp_path: Path) -> None:
    """Bytes of partitions and journal, free space, and when `backup` was last at work."""
    (tmp_path / "part-0.sqlite3").write_bytes(b"x" * 100)
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "order-0.log").write_bytes(b"x" * 30)
    (tmp_path / LAST_BACKUP).write_text("2026-11-27T02:17:00Z\n", encoding="ascii")
    found = samples(ask(port, "/metrics")[2])
    assert found["highwater_store_bytes"] == 100
    assert found["highwater_journal_bytes"] == 30
    assert found["highwater_store_free_bytes"] == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.5)
    assert found["highwater_last_backup_timestamp_seconds"] == 1_795_745_820


def test_open_metrics_are_served_to_who_asks_for_them(port: int) -> None:
    """Prometheus asks for them, and older programs for text."""
    code, content, body = ask(port, "/metrics", "application/openmetrics-text; version=1.0.0")
    assert (code, content.partition(";")[0]) == (200, "application/openmetrics-text")
    assert body.endswith("# EOF\n")


def test_probes_tell_starting_running_stopping_and_stuck(
    status: RunStatus, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starting is alive, but not ready; stopping too; stuck is neither."""

    def codes() -> list[int]:
        return [ask(port, path)[0] for path in ("/startupz", "/readyz", "/livez")]

    assert codes() == [503, 503, 200]
    status.asked()
    assert codes() == [200, 200, 200]
    status.stop = True
    assert codes() == [200, 503, 200]
    status.stop = False
    now = time.monotonic()
    monkeypatch.setattr(exporter.time, "monotonic", lambda: now + STUCK + 1)
    assert codes() == [200, 503, 503]


def test_other_paths_and_methods_are_refused(port: int) -> None:
    """404 for a path, 501 for a method, and neither says what runs here."""
    assert ask(port, "/../etc/passwd")[0] == 404
    with pytest.raises(HTTPError) as refused:
        urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{port}/metrics", data=b"x", method="POST")
        )
    assert refused.value.code == 501
    assert "Python" not in refused.value.headers["Server"]
    refused.value.close()


def test_slow_clients_do_not_keep_others_out_for_long(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends nothing is cut off; those beyond the bound are dropped, and threads stay few."""
    monkeypatch.setattr(exporter._Handler, "timeout", 0.5)
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                assert ask(port, "/livez")[0] == 200
                break
            except OSError:
                assert time.monotonic() < deadline
    finally:
        for each in slow:
            each.close()


def test_a_metric_has_a_bounded_number_of_series(
    status: RunStatus, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels beyond the bound are left out, and counted."""
    monkeypatch.setattr(exporter, "SERIES", 10)
    status.rejected.update(f"reason-{number}" for number in range(25))
    found = samples(ask(port, "/metrics")[2])
    assert sum(name.startswith("highwater_rejected_total{") for name in found) == 10
    assert found["highwater_series_left_out_total"] == 15


@pytest.mark.parametrize("text", ["", "host", "localhost:", "9464x", "1:99999", "host:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """With what was expected."""
    with pytest.raises(AddressError, match=r"expected \[HOST:\]PORT"):
        address_of(text)


def test_a_taken_port_is_refused_before_the_run(tmp_path: Path) -> None:
    """By its number, with what to do; the store is not touched."""
    fleet = prepare(tmp_path, [])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = dataflows("run", str(fleet), "--recovery", str(tmp_path / "store"), "--metrics", str(port))
    assert ran.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in ran.stderr
    assert not (tmp_path / "store").exists()


def test_the_reference_is_that_of_the_metrics() -> None:
    """docs/metrics.md is what the exporter writes; one metric has assets as label, if that is asked for."""
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == reference()
    for metric in METRICS.values():
        assert f"`highwater_{metric.exported}`" in reference()
        assert metric.exported.endswith("_total") == (metric.kind == "counter")
        assert not re.search(r"micro|milli|_ms$|_us$", metric.exported)

    assert [metric.name for metric in METRICS.values() if "asset" in metric.labels] == ["riskiest"]


@pytest.mark.parametrize(("assets", "shown"), [(0, []), (2, ["b", "c"]), (9, ["a", "b", "c"])])
def test_names_of_assets_are_shown_only_as_asked_for(tmp_path: Path, assets: int, shown: list[str]) -> None:
    """As many as asked for, those with the highest scores."""
    status = RunStatus()
    scores = {("pump/seal/24h", "a"): 0.5, ("pump/seal/24h", "b"): 0.9, ("pump/seal/24h", "c"): 0.7}
    status.register("riskiest", lambda: scores)
    with served(ANY, status, tmp_path, tmp_path, assets) as port:
        assert port is not None
        found = samples(ask(port, "/metrics")[2])
    named = [name for name in found if name.startswith("highwater_alert_score")]
    assert sorted(re.findall(r"asset=(\w+)", " ".join(named))) == shown


@pytest.mark.parametrize("text", ["-1", "many", "1001"])
def test_what_is_no_number_of_assets_is_refused(text: str) -> None:
    """With what was expected."""
    with pytest.raises(AddressError, match="expected 0 to 1,000"):
        assets_of(text)


def listening(pid: int) -> set[str]:
    """Addresses on which a process listens, as /proc has them."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(str(link.readlink()))
        except OSError:
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                found.add(fields[1].partition(":")[0])
    return found


@pytest.mark.ci
@pytest.mark.parametrize("options", [[], ["--processes", "2"], ["--processes", "2", "--metrics", "0"]])
def test_a_run_listens_on_loopback_only(tmp_path: Path, options: list[str]) -> None:
    """Neither the engine nor the endpoint has a login; without --metrics one process listens nowhere."""
    fleet = prepare(tmp_path, recording(days=2), FLEET.replace("[input]", "[input]\nfollow = true"))
    command = [sys.executable, "-m", "dataflows", *arguments(fleet, *options)]
    with (tmp_path / "run.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment(), stdout=log, stderr=log)
    try:
        out = tmp_path / "out" / "predictions.jsonl"
        eventually(lambda: out.exists() and out.stat().st_size > 0, process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii")
        pids = [process.pid, *map(int, children.split())]
        found = {address for pid in pids for address in listening(pid)}
    finally:
        process.kill()
        process.wait()
    assert found <= {"0100007F"}
    # The engine listens only until its processes are connected.
    assert bool(found) == ("--metrics" in options)


@pytest.mark.parametrize(
    ("address", "expected"), [("", set()), ("PORT", {"0100007F"}), ("0.0.0.0:PORT", {"00000000"})]
)
def test_under_the_engines_command_only_what_is_configured_listens(
    tmp_path: Path, address: str, expected: set[str]
) -> None:
    """Nothing by itself, loopback with a port, and other addresses only where the setting names one."""
    path = prepare(tmp_path, recording(days=2), FLEET.replace("[input]", "[input]\nfollow = true"))
    command = [sys.executable, "-m", "bytewax.run", f"dataflows.failure_prediction:flow('{path}')"]
    (port,) = free_ports(1)
    metrics = address.replace("PORT", str(port))
    with (tmp_path / "run.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment(FLEET_METRICS=metrics), stdout=log, stderr=log)
    try:
        out = tmp_path / "out" / "predictions.jsonl"
        eventually(lambda: out.exists() and out.stat().st_size > 0, process)
        found = listening(process.pid)
    finally:
        process.kill()
        process.wait()
    assert found == expected


def test_every_metric_of_the_stages_can_be_read(status: RunStatus, port: int, tmp_path: Path) -> None:
    """Targets have open alerts, examples and losses before anything is known of them."""
    fleet = load(prepare(tmp_path, []), environ={})
    stages = Stages(fleet, strict=True, status=status)
    stages.lane(ONLY_LANE, None, {})
    for name in fleet.targets:
        stages.group(name, None, {})
    found = samples(ask(port, "/metrics")[2])
    for name in fleet.targets:
        assert found[f"highwater_open_alerts{{target={name}}}"] == 0
        for role in ("champion", "expected", "prior"):
            assert found[f"highwater_log_loss_total{{role={role}}}{{target={name}}}"] == 0
    registered = {name for name in METRICS if status.read(name) is None}
    assert registered == {"arrival", "newest", "behind", "committed_at", "queued", "unmatched"}


@pytest.mark.ci
def test_under_the_engines_command_each_process_has_a_port_of_its_own(tmp_path: Path) -> None:
    """FLEET_METRICS names the port of the first; the second serves at the next one, until it ends."""
    fleet = load(prepare(tmp_path, []), environ={})
    runtime = Runtime(workers=2, process=1)
    (port,) = free_ports(1)
    serve_until_exit(fleet, runtime, None)
    serve_until_exit(fleet, runtime, f"127.0.0.1:{port - 1}")
    try:
        assert ask(port, "/startupz")[0] == 503
        runtime.status.asked()
        assert ask(port, "/startupz")[0] == 200
    finally:
        engine_runtime._serving.close()
