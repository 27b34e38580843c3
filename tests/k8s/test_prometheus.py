"""A real Prometheus scrapes a run: its tool finds nothing wrong, and every expression of a rule has data."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.chaos.harness import FLEET, arguments, eventually, free_ports, prepare, recording
from tests.k8s.charts import CHART
from tests.k8s.dashboards import DASHBOARDS
from tests.notify.worlds import serving
from tests.processes import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.ci

TOOLS = Path.home() / ".cache/highwater-k8s-tools/bin"
PATIENCE = 200.0
#: Metrics that a recording from files without clocks or backups does not have.
ABSENT = {"highwater_input_lag_messages", "highwater_last_backup_timestamp_seconds"}


def fetched(url: str) -> bytes:
    """Body of an answer, empty where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - an address of ours
            return answer.read()
    except OSError:
        return b""


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """A run that follows its file, and a Prometheus that scrapes it; their ports."""
    if not (TOOLS / "prometheus").exists():
        pytest.skip("prometheus is not built; bash tests/k8s/tools.sh build prometheus promtool")
    folder = tmp_path_factory.mktemp("scraped")
    run_port, port = free_ports(2)
    watched = 'champion = "linear"\ndrift = "log"\nalert = { open = 0.05, clear = 0.04 }'
    drifting = FLEET.replace('champion = "linear"', watched)
    stack = ExitStack()
    pager = stack.enter_context(serving())
    receiver = f'[notify.main]\nkind = "alertmanager"\nurl = "{pager.url}"\n'
    fleet = prepare(
        folder, recording(days=20)[:1_500], drifting.replace("[input]", "[input]\nfollow = true") + receiver
    )
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "fleet", "static_configs": [{"targets": [f"127.0.0.1:{run_port}"]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
    commands = [
        [sys.executable, "-m", "dataflows", *arguments(fleet, "--metrics", str(run_port))],
        [
            str(TOOLS / "prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
    ]
    with stack:
        with (folder / "log").open("ab") as log:
            running = [subprocess.Popen(each, env=environment(), stdout=log, stderr=log) for each in commands]
        try:
            # All is read once the number of records has stood still.
            eventually(
                lambda: b"highwater_log_loss_total{" in fetched(f"http://127.0.0.1:{run_port}/metrics"),
                running[0],
            )
            yield run_port, port
        finally:
            for process in running:
                process.kill()
                process.wait()


def asked(port: int, expression: str) -> list[dict[str, Any]]:
    """Series of an instant query."""
    query = urllib.parse.urlencode({"query": expression})
    answer = json.loads(fetched(f"http://127.0.0.1:{port}/api/v1/query?{query}") or '{"status": "away"}')
    return answer["data"]["result"] if answer["status"] == "success" else []


def test_promtool_finds_nothing_wrong_with_the_metrics(scraped: tuple[int, int]) -> None:
    """Names, units, help and types."""
    text = fetched(f"http://127.0.0.1:{scraped[0]}/metrics")
    ran = subprocess.run(
        [str(TOOLS / "promtool"), "check", "metrics"], input=text, capture_output=True, check=False
    )
    said = (ran.stdout + ran.stderr).decode()
    assert [line for line in said.splitlines() if not line.startswith("process_")] == []


def test_every_metric_of_a_rule_has_data(scraped: tuple[int, int]) -> None:
    """Prometheus has at least one series of each; it was scraped from a run of trucks."""
    rules = yaml.safe_load((CHART / "files" / "rules.yaml").read_text(encoding="utf-8"))
    text = " ".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])
    names = set(re.findall(r"\b(?:highwater|process)_\w+", text)) - ABSENT
    assert len(names) > 10
    deadline = time.monotonic() + PATIENCE
    while missing := {name for name in names if not asked(scraped[1], name)}:
        assert time.monotonic() < deadline, missing
        time.sleep(1)


def test_loss_over_a_window_is_a_plausible_log_loss(scraped: tuple[int, int]) -> None:
    """The expression of docs/metrics.md, for each target and role."""
    expression = (
        "sum by (target, role) (highwater_log_loss_total) / on (target) group_left "
        "sum by (target) (highwater_examples_total)"
    )
    deadline = time.monotonic() + PATIENCE
    while not (answer := asked(scraped[1], expression)) and time.monotonic() < deadline:
        time.sleep(2)
    found = {tuple(sorted(each["metric"].items())): float(each["value"][1]) for each in answer}
    assert {dict(labels)["role"] for labels in found} == {"champion", "expected", "prior"}
    assert all(0 < loss < 10 for loss in found.values())


def test_every_query_of_every_dashboard_has_data(scraped: tuple[int, int]) -> None:
    """With its variables replaced; only what a recording from files cannot have is absent."""
    panels = [panel for _, panels in DASHBOARDS.values() for panel in panels]
    found = [expression for panel in panels for expression in panel.lines.values()]
    assert len(found) > 20
    queries = [each.replace("$job", ".+").replace("$window", "1h").replace("[5m]", "[1h]") for each in found]
    queries = [each for each in queries if not any(name in each for name in ABSENT)]
    deadline = time.monotonic() + PATIENCE
    while missing := [query for query in queries if not asked(scraped[1], query)]:
        assert time.monotonic() < deadline, missing
        time.sleep(2)
