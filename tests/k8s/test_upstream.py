"""Values for Bytewax's own chart: each is one of its keys, and its pods start what our image has.

The chart is not ours to ship: HIGHWATER_UPSTREAM_CHART names a folder with it (charts/bytewax of
github.com/bytewax/helm-charts).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import helm_python
import pytest
import yaml

from tests.k8s.charts import only
from tests.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = ROOT / "k8s" / "upstream"
VALUES: dict[str, Any] = yaml.safe_load((FOLDER / "values.yaml").read_text(encoding="utf-8"))
#: Tables of the chart's values whose keys are free.
FREE = {"env", "affinity", "resources"}


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    named = os.environ.get("HIGHWATER_UPSTREAM_CHART")
    if not named:
        pytest.skip("HIGHWATER_UPSTREAM_CHART names no folder with Bytewax's own chart")
    copied = tmp_path / "bytewax"
    shutil.copytree(named, copied)
    # Its dependencies (Jaeger and others, off by default) are fetched from the net.
    described = yaml.safe_load((copied / "Chart.yaml").read_text(encoding="utf-8"))
    described.pop("dependencies", None)
    (copied / "Chart.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
    (copied / "Chart.lock").unlink(missing_ok=True)
    return copied


def unknown(values: dict[str, Any], known: dict[str, Any], path: str = "") -> list[str]:
    """Keys that a chart does not know."""
    found = []
    for key, value in values.items():
        if key not in known:
            found.append(f"{path}{key}")
        elif isinstance(value, dict) and key not in FREE:
            found += unknown(value, known[key] or {}, f"{path}{key}.")
    return found


def test_every_value_is_known_to_the_chart(chart: Path) -> None:
    """A misspelt one would be passed over in silence: the chart has no schema."""
    known = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8"))
    assert unknown(VALUES, known) == []


def test_its_pods_share_a_node_and_open_no_web_server(chart: Path) -> None:
    """The variables are those that the program reads; no side container, no capability."""
    with helm_python.Chart.load(chart) as loaded:
        files = loaded.render(VALUES, name="pumps", namespace="plant")
    texts = [text for path, text in files.items() if path.endswith(".yaml")]
    objects = [each for text in texts for each in yaml.safe_load_all(text) if each]
    spec = only(objects, "StatefulSet")["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    assert "BYTEWAX_DATAFLOW_API_ENABLED" not in variables
    assert variables["BYTEWAX_RECOVERY_BACKUP_INTERVAL"] == "0"
    assert variables["FLEET_CONFIG"] == "/var/bytewax/fleet.toml"
    assert spec["replicas"] == 2
    labels = spec["template"]["metadata"]["labels"]
    (term,) = spec["template"]["spec"]["affinity"]["podAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term["labelSelector"]["matchLabels"].items() <= labels.items()
    assert not container["securityContext"]["capabilities"].get("add")
    for each in (container, spec["template"]["spec"]["initContainers"][0]):
        script = each["command"][-1].removeprefix("sh ./")
        assert (FOLDER / script).exists(), each["command"]


def test_a_second_pod_creates_no_partitions_of_its_own(tmp_path: Path) -> None:
    """Of an existing store the script leaves every file as it is."""
    (tmp_path / "part-0.sqlite3").write_bytes(b"mine")
    env = {
        "PATH": os.environ["PATH"],
        "BYTEWAX_RECOVERY_DIRECTORY": str(tmp_path),
        "BYTEWAX_RECOVERY_PARTS": "4",
    }
    script = shutil.which("sh")
    assert script is not None
    subprocess.run([script, str(FOLDER / "entrypoint-recovery.sh")], env=env, check=True)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]
