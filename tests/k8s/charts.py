"""What the tests of the chart share: sets of values, and rendering without Helm."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import helm_python
import yaml

from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

CHART = ROOT / "k8s" / "highwater"
#: A fleet that reads topics, as in production.
FLEET = (ROOT / "examples" / "kafka" / "fleet.toml").read_text(encoding="utf-8")
#: Oldest and newest version of Kubernetes that the chart supports.
OLDEST, NEWEST = "1.31", "1.37"
CRDS = {"PodMonitor", "PrometheusRule"}

_MONITORED = {
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "rules": {"enabled": True, "labels": {"release": "prometheus"}, "runbooks": "https://wiki/runbooks"},
    "dashboards": {"enabled": True, "annotations": {"grafana_folder": "Highwater"}},
}
#: Name of the release and values, by what they try.
SETS: dict[str, tuple[str, dict[str, Any]]] = {
    "one process": ("pumps", {}),
    "many processes": ("pumps", {"processes": 4, "epoch": "10s"}),
    "recovery off": ("pumps", {"store": {"enabled": False}}),
    "monitoring": ("pumps", {"processes": 2, "metrics": _MONITORED}),
    "replay job": ("pumps", {"replay": {"enabled": True, "claim": "recordings"}, "running": False}),
    "backup and restore": (
        "pumps",
        {
            "backup": {"enabled": True, "storageClass": "slow"},
            "restore": {"backup": "20261127T021700Z"},
            "store": {"storageClass": ""},
        },
    ),
    "hardened": (
        "pumps",
        {
            "image": {"repository": "registry.plant/highwater", "digest": "sha256:" + "0a" * 32},
            "imagePullSecrets": [{"name": "registry"}],
            "secretEnv": ["kafka-login", "store-key"],
            "secretMounts": [{"name": "kafka-ca", "mountPath": "/etc/kafka"}],
            "claimMounts": [{"name": "registry", "mountPath": "/registry"}],
            "networkPolicy": {
                "metricsFrom": [{"namespaceSelector": {"matchLabels": {"team": "watch"}}}],
                "kafka": {"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}], "ports": [9093]},
            },
            "priorityClassName": "plant",
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "stateful", "operator": "Exists"}],
            "serviceAccount": {"annotations": {"owner": "plant"}},
            "migrate": "truck truck/coolant_leak/2d",
        },
    ),
    "numeric names": (
        "2026",
        {
            "nameOverride": "7",
            "commonLabels": {"cost-centre": "0815"},
            "podLabels": {"line": "12"},
            "podAnnotations": {"rotated": "20261127"},
            "env": {"FLEET_BATCH": "1000", "DEBUG": "true"},
            "image": {"tag": "1.10"},
        },
    ),
}


def values_of(case: str) -> dict[str, Any]:
    """Values of a set, with a fleet."""
    return {"fleet": FLEET, **SETS[case][1]}


def render(
    values: dict[str, Any], name: str = "pumps", *, chart: Path = CHART, upgrade: bool = False
) -> list[dict[str, Any]]:
    """Objects of a release."""
    with helm_python.Chart.load(chart) as loaded:
        files = loaded.render(
            values, name=name, namespace="plant", is_upgrade=upgrade, is_install=not upgrade
        )
    texts = [text for path, text in sorted(files.items()) if path.endswith(".yaml")]
    return [found for text in texts for found in yaml.load_all(text, StrictLoader) if found]


def parent_of(folder: Path) -> Path:
    """Make a chart of a plant that has the chart as a part, under the condition ``highwater.enabled``."""
    shutil.copytree(CHART, folder / "charts" / "highwater")
    chart = {
        "apiVersion": "v2",
        "name": "plant",
        "version": "1.0.0",
        "dependencies": [{"name": "highwater", "version": "0.1.0", "condition": "highwater.enabled"}],
    }
    (folder / "Chart.yaml").write_text(yaml.safe_dump(chart), encoding="utf-8")
    return folder


def rendered(case: str) -> list[dict[str, Any]]:
    """Objects of a set of values."""
    return render(values_of(case), SETS[case][0])


def only(objects: list[dict[str, Any]], kind: str, ending: str = "") -> dict[str, Any]:
    """The one object of a kind whose name has an ending."""
    (found,) = [
        each for each in objects if each["kind"] == kind and each["metadata"]["name"].endswith(ending)
    ]
    return found


def pod_templates(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every template of a pod."""
    found = []
    for each in objects:
        if each["kind"] in {"StatefulSet", "Job"}:
            found.append(each["spec"]["template"])
        elif each["kind"] == "CronJob":
            found.append(each["spec"]["jobTemplate"]["spec"]["template"])
    return found


def container(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """The container of the fleet."""
    (found,) = only(objects, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    return found


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that comes twice, of which the API server would take the last."""


def _mapping(loader: StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    assert len(set(keys)) == len(keys), f"a key comes twice: {sorted(keys)}"
    return dict(loader.construct_pairs(node, deep=True))


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
