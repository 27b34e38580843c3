"""The audit of dependencies: it fails on a known vulnerability, and says what it could not ask."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

CLEAN = {"name": "a", "version": "1", "vulns": []}
FOUND = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "not found on PyPI"}


@pytest.fixture
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [
        (json.dumps({"dependencies": [CLEAN]}), 0, "1 packages asked about, 0 with a known"),
        (json.dumps({"dependencies": [CLEAN, FOUND]}), 1, "b 2: PYSEC-1 (fixed in 3)"),
        (
            json.dumps({"dependencies": [SKIPPED]}),
            0,
            "1 packages not asked about, such as c: not found",
        ),
        ("", 0, "not done, since PyPI did not answer: no route"),
    ],
)
def test_only_a_known_vulnerability_is_a_failure(
    audit: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    said: str,
    code: int,
    told: str,
) -> None:
    """What could not be asked is told, with the reason."""

    def ran(*given: Any, **_: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401 - of `subprocess.run`
        return subprocess.CompletedProcess(given, 1, said, "traceback\nno route")

    monkeypatch.setattr(audit.subprocess, "run", ran)
    assert audit.audit() == code
    assert told in capsys.readouterr().out


@pytest.mark.ci
def test_the_bill_of_materials_has_every_package_with_its_hashes(
    audit: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CycloneDX, of the lock of what the package needs; the same bytes each time."""
    made = []
    for number in range(2):  # a bill that tells when it was made would differ
        monkeypatch.setattr(audit, "BILL", ROOT / "build" / f"sbom-{tmp_path.name}-{number}.json")
        audit.bill()
        made.append(audit.BILL.read_bytes())
        audit.BILL.unlink()
    assert made[0] == made[1]
    bill = json.loads(made[0])
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "highwater-ml"
    lock = (ROOT / "requirements-run.lock").read_text(encoding="utf-8")
    pinned = set(re.findall(r"^([\w.-]+)==([\w.]+)", lock, re.MULTILINE))
    assert {(each["name"], each["version"]) for each in bill["components"]} >= pinned
    for each in bill["components"]:
        assert each["externalReferences"][0]["hashes"]
