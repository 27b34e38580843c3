"""Known vulnerabilities of what the package needs, and its bill of materials, in ``build/sbom.json``.

``python .ci/audit.py`` ends with 1 if a package of ``requirements-run.lock`` has a known vulnerability. What
cannot be asked, since PyPI or a part of it cannot be reached, is said and is no failure.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements-run.lock"
BILL = ROOT / "build" / "sbom.json"
#: Seconds for all packages.
PATIENCE = 120.0


class Audit(NamedTuple):
    """What an audit found.

    Attributes:
        asked: number of packages about which PyPI answered.
        skipped: reason by package, of those about which it did not.
        vulnerable: ids and fixed versions, by package and version.
    """

    asked: int
    skipped: dict[str, str]
    vulnerable: dict[str, list[str]]


def read(report: dict[str, Any]) -> Audit:
    """Read the report of pip-audit.

    >>> read({"dependencies": [{"name": "a", "skip_reason": "not found"}]})
    Audit(asked=0, skipped={'a': 'not found'}, vulnerable={})
    """
    packages = report["dependencies"]
    skipped = {each["name"]: each["skip_reason"] for each in packages if "skip_reason" in each}
    vulnerable = {
        f"{each['name']} {each['version']}": [
            f"{found['id']} (fixed in {', '.join(found['fix_versions']) or 'no version'})"
            for found in each["vulns"]
        ]
        for each in packages
        if each.get("vulns")
    }
    return Audit(len(packages) - len(skipped), skipped, vulnerable)


def audit() -> int:
    """Ask about each package of the lock; return the exit code."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--require-hashes"]
    command += ["--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "15"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        found = read(json.loads(ran.stdout))
    except (subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        said = error.stderr if isinstance(error, subprocess.TimeoutExpired) else ran.stderr
        last = (said if isinstance(said, str) else "").strip().splitlines()[-1:] or [type(error).__name__]
        print(f"audit: not done, since PyPI did not answer: {last[0]}")
        return 0
    for name, ids in found.vulnerable.items():
        print(f"audit: {name}: {'; '.join(ids)}")
    print(f"audit: {found.asked} packages asked about, {len(found.vulnerable)} with a known vulnerability")
    if found.skipped:
        name, reason = next(iter(found.skipped.items()))
        print(f"audit: {len(found.skipped)} packages not asked about, such as {name}: {reason}")
    return 1 if found.vulnerable else 0


def bill() -> None:
    """Write the bill of materials (CycloneDX 1.6), the same bytes for the same lock; needs no network."""
    BILL.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", str(LOCK)]
    command += ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible"]
    command += ["--spec-version", "1.6", "--output-format", "JSON", "--output-file", str(BILL)]
    subprocess.run(command, check=True, capture_output=True)
    packages = json.loads(BILL.read_text(encoding="utf-8"))["components"]
    print(f"audit: {BILL.relative_to(ROOT)} has {len(packages)} packages")


if __name__ == "__main__":
    bill()
    sys.exit(audit())
