"""`check --debt`: what a fleet carries that nobody needs, with what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
from typer.testing import CliRunner

import highwater as hw
from dataflows.__main__ import app
from dataflows.fleet import load
from dataflows.tools.debt import debt
from tests.report.pumps import FLEET, recorded, run_into

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.tools.health import Finding

_NAMES = ["pump-1", "pump-2", "pump-3"]
#: A model that learns upside down beats nobody.
_REVERSED = """
[models.reversed]
[[models.reversed.pipeline]]
estimator = "river.linear_model.LogisticRegression"
optimizer = { estimator = "river.optim.SGD", lr = -0.5 }
"""


def fleet_of(folder: Path, text: str, days: int = 20, lines: list[bytes] | None = None) -> hw.Fleet:
    """Write a fleet and the outputs of its run."""
    (folder / "fleet.toml").write_text(text)
    fleet = load(folder / "fleet.toml")
    run_into(fleet, recorded(_NAMES, days) if lines is None else lines)
    return fleet


def about(found: list[Finding], word: str) -> Finding:
    (only,) = [each for each in found if word in each.what]
    assert only.level in {"warning", "failure"}
    assert only.todo
    return only


def test_a_fleet_that_needs_all_that_it_has_owes_nothing(tmp_path: Path) -> None:
    """One finding, and exit code 0."""
    fleet = fleet_of(tmp_path, FLEET)
    assert [each.level for each in debt(fleet, tmp_path / "store")] == ["ok"]
    ended = CliRunner().invoke(
        app, ["check", str(fleet.path), "--debt", "--recovery", str(tmp_path / "store")]
    )
    assert ended.exit_code == 0, ended.output


def test_a_model_that_beats_nobody_is_named(tmp_path: Path) -> None:
    """Its loss is above that of the base rate and of every other model; the prior is there to be beaten."""
    found = debt(fleet_of(tmp_path, FLEET + _REVERSED), tmp_path / "store")
    finding = about(found, "beats nobody")
    assert (finding.about, "model reversed" in finding.what) == ("pump/leak/12h", True)
    assert "models" in finding.todo


def test_features_without_a_model_and_sensors_without_a_feature_are_named(tmp_path: Path) -> None:
    """Those of windows that no glob matches; a sensor in no window whose value is no feature."""
    text = FLEET.replace('sensors = ["pressure", "flow"]', 'sensors = ["pressure", "flow"]\nvalues = false')
    text = text.replace('length = "6h", hop', 'length = "6h", sensors = ["pressure"], hop')
    text = text.replace("[models.linear]", '[models.linear]\nfeatures = ["*:mean:*"]')
    text = text.replace("[models.prior]", '[models.prior]\nfeatures = ["*:mean:*"]')
    found = debt(fleet_of(tmp_path, text), tmp_path / "store")
    assert "pressure:slope:6h" in about(found, "features that no model sees").what
    assert about(found, "sensors without a feature").what.endswith("flow")


def test_an_expression_is_a_use_of_its_sensors(tmp_path: Path) -> None:
    """A sensor that only an expression reads makes features."""
    text = FLEET.replace(
        'sensors = ["pressure", "flow"]',
        'sensors = ["pressure", "flow"]\nvalues = false\nexpressions = { both = "pressure * flow" }',
    ).replace('length = "6h", hop', 'length = "6h", sensors = ["both"], hop')
    found = debt(fleet_of(tmp_path, text), tmp_path / "store")
    assert not [each for each in found if "sensors" in each.what]


def test_a_target_without_labels_for_long_is_named(tmp_path: Path) -> None:
    """No failure for more than ten horizons and thirty days of the stream."""
    lines = [line for line in recorded(_NAMES, 60) if b'"failure"' not in line or b"2025-01-0" in line]
    found = debt(fleet_of(tmp_path, FLEET, lines=lines), tmp_path / "store")
    assert "no failure labelled since 2025-01-" in about(found, "no failure labelled").what


def test_thresholds_from_before_their_model_are_named(tmp_path: Path) -> None:
    """A promotion makes them old; thresholds that are set afterwards are not."""
    command = {
        "kind": "command",
        "target": "pump/leak/12h",
        "action": "promote",
        "model": "prior",
        "by": "ada",
    }
    lines = recorded(_NAMES)
    half = len(lines) // 2
    promote = orjson.dumps(command | {"arrived": orjson.loads(lines[half])["arrived"]})
    fleet = fleet_of(tmp_path, FLEET, lines=[*lines[:half], promote, *lines[half:]])
    finding = about(debt(fleet, tmp_path / "store"), "its thresholds stand since")
    assert "before prior, version 1, became champion" in finding.what
    fleet.path.write_text(FLEET.replace("alert = { open = 0.3 }", "alert = { open = 0.4 }"))
    assert not [each for each in debt(load(fleet.path), tmp_path / "store") if "stand since" in each.what]


@pytest.mark.parametrize(
    ("before", "after", "levels", "word"),
    [
        ("threshold = 0.3", "threshold = 0.4", ["warning"], "not the one of the last run"),
        ("LogisticRegression", "Perceptron", ["warning"], "new or changed models: linear of pump/leak/12h"),
        ('length = "6h"', 'length = "8h"', ["warning", "failure"], "cannot go on"),
    ],
    ids=["threshold", "model", "window"],
)
def test_a_configuration_other_than_the_stores_is_named(
    tmp_path: Path, before: str, after: str, levels: list[str], word: str
) -> None:
    """What a resume takes over is a warning; what it would refuse is a failure."""
    (tmp_path / "fleet.toml").write_text(FLEET)
    (tmp_path / "events.jsonl").write_bytes(b"".join(line + b"\n" for line in recorded(_NAMES)))
    store = tmp_path / "store"
    hw.run(hw.load(tmp_path / "fleet.toml"), recovery=store)
    assert [each.level for each in debt(load(tmp_path / "fleet.toml"), store)] == ["ok"]
    (tmp_path / "fleet.toml").write_text(FLEET.replace(before, after))
    found = [each for each in debt(load(tmp_path / "fleet.toml"), store) if each.about == "store"]
    assert [each.level for each in found] == levels
    assert any(word in each.what for each in found)
