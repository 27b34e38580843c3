"""``python -m tests.k8s.manifests``: render k8s/manifests from the chart, for those without Helm."""

from __future__ import annotations

import helm_python

from tests.conftest import ROOT
from tests.k8s.charts import CHART, FLEET

FOLDER = ROOT / "k8s" / "manifests"
_VALUES = {
    "fleet": FLEET,
    "fullnameOverride": "highwater",
    "metrics": {"podMonitor": {"enabled": True}, "rules": {"enabled": True}},
    "backup": {"enabled": True},
}
_HEAD = "# Rendered from k8s/highwater by `make manifests`.\n"


def manifests() -> dict[str, str]:
    """Text of each file, by its name."""
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(_VALUES, name="highwater", namespace="default")
    found = {path.rpartition("/")[2]: text for path, text in files.items() if path.endswith(".yaml")}
    # Nothing manages these objects but whoever applies them.
    return {
        name: _HEAD + text.strip().replace('managed-by: "Helm"', 'managed-by: "kubectl"') + "\n"
        for name, text in found.items()
        if text.strip()
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in manifests().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
