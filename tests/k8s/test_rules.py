"""Alert rules, by Prometheus' own tool: each fires when it should, and is silent when not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.k8s.charts import CHART
from tests.processes import ROOT

RULES = CHART / "files" / "rules.yaml"
TESTS = [ROOT / "tests" / "k8s" / name for name in ("rules.yaml", "rules_of_days.yaml")]


@pytest.fixture
def promtool() -> str:
    cached = Path.home() / ".cache/highwater-k8s-tools/bin/promtool"
    found = shutil.which("promtool") or (str(cached) if cached.exists() else None)
    if found is None:
        pytest.skip("promtool is neither installed nor built; bash tests/k8s/tools.sh build promtool")
    return found


@pytest.mark.parametrize("arguments", [("check", "rules", str(RULES)), ("test", "rules", *map(str, TESTS))])
def test_promtool_agrees(promtool: str, arguments: tuple[str, ...]) -> None:
    """The rules are valid, and their tests pass."""
    ran = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_is_seen_to_fire_and_to_be_silent() -> None:
    """A test with an expected alert, and one without, for each rule."""
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for test in (
        test for path in TESTS for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
    ):
        for each in test["alert_rule_test"]:
            found[bool(each["exp_alerts"])].add(each["alertname"])
    assert found == {True: alerts, False: alerts}
