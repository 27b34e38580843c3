"""The how-to "a statistic of a window" of CONTRIBUTING.md, followed on a copy of the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "dataflows"
#: What the how-to asks for: text of `window_statistics.py`, and what comes before it.
STEPS = (
    ("}\nSTATISTICS = tuple(MEANINGS)", '    "range": "the largest minus the smallest",\n'),
    (") = range(len(STATISTICS))", "    _RANGE_OF,\n"),
    ("        out[_DELTA_OF] = ", "        out[_RANGE_OF] = total[_MAX] - total[_MIN]\n"),
)
RUN = """
import json
from dataflows.testing import pump_fleet, run_inline, telemetry
window = {"length": "6h", "hop": "1h", "statistics": ["range", "min", "max"], "sensors": ["flow"]}
table = {"sensors": ["flow"], "values": False, "windows": [window], "allowed_lateness": "1h"}
fleet = pump_fleet(classes={"pump": table}, output={"folder": "out", "features": "all"})
readings = [3.0, 5.5, None, -1.0, 4.0]
lines = [telemetry("p", 1800 * at, {"flow": value}) for at, value in enumerate(readings)]
rows = run_inline(fleet, lines)["predictions"]
print(json.dumps([fleet.classes["pump"].features, [row["features"] for row in rows]]))
"""


def extended(folder: Path) -> Path:
    """A copy of the package with one more statistic."""
    shutil.copytree(PACKAGE, folder / "dataflows", ignore=shutil.ignore_patterns("__pycache__"))
    changed = folder / "dataflows" / "window_statistics.py"
    text = changed.read_text(encoding="utf-8")
    for before, added in STEPS:
        assert text.count(before) == 1, before
        text = text.replace(before, added + before)
    changed.write_text(text, encoding="utf-8")
    return folder


@pytest.mark.ci
def test_a_new_statistic_is_three_lines_in_one_file(tmp_path: Path) -> None:
    """Named and computed in `window_statistics.py`, a statistic is a valid name in a fleet and a feature."""
    environment = {**os.environ, "PYTHONPATH": str(extended(tmp_path))}
    ran = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    names, rows = json.loads(ran.stdout.splitlines()[-1])
    assert names == ["flow:min:6h", "flow:max:6h", "flow:range:6h"]
    values = [[row.get(name) for name in names] for row in rows]
    assert values == [[3, 3, 0], [3, 5.5, 2.5], [3, 5.5, 2.5], [-1, 5.5, 6.5], [-1, 5.5, 6.5]]


def test_the_how_to_names_what_the_test_changes() -> None:
    """CONTRIBUTING.md sends a reader to the file and the names that a new statistic needs."""
    page = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = re.search(r"### ... a statistic of a window\n(.*?)\n### ", page, re.DOTALL)[1]
    assert {"`window_statistics.py`", "`MEANINGS`", "`describe`"} <= set(re.findall(r"`[^`]+`", section))
