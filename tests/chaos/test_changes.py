"""A fleet.toml changed under a live store: what was there goes on, what is new begins, what is lost asks."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from dataflows.engine.runtime import StoreLocks, find_runtime
from dataflows.fleet import load
from dataflows.recovery.store import past_in
from dataflows.state.layouts import FleetChangedError
from tests.chaos.harness import (
    FLEET,
    Moment,
    arguments,
    assert_same,
    dataflows,
    finish,
    inline_outputs,
    kill,
    outputs,
    prepare,
    rows,
    stop_before_the_first_record,
)

if TYPE_CHECKING:
    import subprocess

RECORDS, CUT, LATER = 1_500, 700, 1_100
#: Two sensors; what a model sees is all there is, but for one that names it.
BEFORE = FLEET.replace(', "fan_speed"]', "]").replace(
    "[models.tree]\n", '[models.tree]\nfeatures = ["engine*"]\n'
)
TARGETS = ("truck/coolant_leak/12h", "truck/coolant_leak/2d")
Rows = list[dict[str, Any]]


class Live(NamedTuple):
    """A run that was killed, and what it would have written."""

    folder: Path
    expected: dict[str, bytes]

    def changed(self, folder: Path, *edits: tuple[str, str]) -> Path:
        """The same store under a fleet.toml with other text; returns that."""
        for name in ("store", "out"):
            shutil.copytree(self.folder / name, folder / name)
        text = BEFORE
        for old, new in edits:
            assert old in text
            text = text.replace(old, new, 1)
        path = folder / "fleet.toml"
        path.write_text(text, encoding="utf-8")
        return path

    @property
    def input(self) -> dict[str, str]:
        return {"FLEET_INPUT": str(self.folder / "events.jsonl")}

    def go_on(self, fleet: Path, *more: str) -> dict[str, bytes]:
        """Run to the end of the recording."""
        return finish(fleet, *more, **self.input)

    def killed(self, fleet: Path, *more: str) -> None:
        """Run on for a while after the change, and kill it with -9 in the middle of an epoch."""
        killed = kill(fleet, Moment(records=CUT + 200), *more, FLEET_BATCH="50", **self.input)
        assert CUT < killed.records < LATER

    def refused(self, fleet: Path, *more: str) -> str:
        """Why a run is refused; outputs and store are left as they are."""
        before = outputs(fleet.parent / "out"), (fleet.parent / "store" / "manifest.json").read_bytes()
        ran: subprocess.CompletedProcess[str] = dataflows(*arguments(fleet, *more), **self.input)
        assert ran.returncode == 1, ran.stdout + ran.stderr
        after = outputs(fleet.parent / "out"), (fleet.parent / "store" / "manifest.json").read_bytes()
        assert after == before
        return ran.stderr


@pytest.fixture(scope="module")
def live(lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Live:
    """The fleet before any change, killed after half of the recording."""
    fleet = prepare(tmp_path_factory.mktemp("changes"), lines[:RECORDS], BEFORE)
    killed = kill(fleet, Moment(records=CUT), FLEET_BATCH="50")
    assert CUT <= killed.records < LATER
    return Live(fleet.parent, inline_outputs(fleet))


def of_targets(found: bytes, *targets: str) -> Rows:
    return [row for row in rows(found) if row["target"] in (targets or TARGETS)]


def without(key: str, found: Rows) -> Rows:
    return [{name: value for name, value in row.items() if name != key} for row in found]


def changes(found: dict[str, bytes], *kinds: str) -> list[tuple[Any, ...]]:
    """Rows of some kinds that were written since the change."""
    keys = ("change", "target", "name", "model", "version")
    said = [row for row in rows(found["changes"]) if row["change"] in kinds and row["sequence"] > CUT - 60]
    return [tuple(row[key] for key in keys if row.get(key) is not None) for row in said]


def assert_champion_goes_on(live: Live, found: dict[str, bytes]) -> None:
    """Every prediction is that of the unchanged fleet, and so is every label and what the champion said."""
    assert without("features", of_targets(found["predictions"])) == without(
        "features", rows(live.expected["predictions"])
    )
    said, expected = of_targets(found["evaluations"]), rows(live.expected["evaluations"])
    assert len(said) == len(expected)
    for row, other in zip(said, expected, strict=True):
        assert row["scores"]["linear"] == other["scores"]["linear"]
        for each in (row, other):
            del each["scores"]
        assert row == other


def test_an_added_sensor_begins_and_the_rest_goes_on(live: Live, tmp_path: Path) -> None:
    """Windows go on to the bit, predictions are the same; who sees the new sensor is a new version."""
    fleet = live.changed(tmp_path, ('"engine_temperature"]', '"fan_speed", "engine_temperature"]'))
    live.killed(fleet)
    found = live.go_on(fleet)
    assert_champion_goes_on(live, found)
    full = {row["id"]: row["features"] for row in rows(inline_outputs_of(live, fleet)["predictions"])}
    before = {row["id"]: row["features"] for row in rows(live.expected["predictions"])}
    later = 0
    for row in rows(found["predictions"]):
        features = row["features"]
        assert {name: features[name] for name in before[row["id"]]} == before[row["id"]]
        if row["sequence"] > LATER:
            later += 1
            assert features == pytest.approx(full[row["id"]], nan_ok=True), "windows are full again"
    assert later > 200
    assert compared(found) == compared(live.expected), "examples that waited for late data are compared"
    told = changes(found, "challenger", "migrated", "champion")
    for target in TARGETS:
        versions = {row[2]: row[3] for row in told if row[1] == target}
        assert versions == {"linear": 2, "table": 2, "prior": 2}, "the tree sees what it saw"
    last = of_targets(found["evaluations"])[-1]
    assert last["scores"].keys() == {"linear", "linear:2", "tree", "table", "prior"}
    trees = [row["scores"]["tree"] for row in of_targets(found["evaluations"])]
    assert trees == [row["scores"]["tree"] for row in rows(live.expected["evaluations"])]


def compared(found: dict[str, bytes]) -> list[tuple[Any, ...]]:
    """Of each period, how many examples were computed again, and how many not."""
    said = [row for row in rows(found["metrics"]) if row.get("kind") == "skew"]
    return [(row["target"], row["from"], row["compared"], row["given_up"]) for row in said]


def inline_outputs_of(live: Live, fleet: Path) -> dict[str, bytes]:
    """What a fleet makes of the whole recording without any change."""
    shutil.copy(live.folder / "events.jsonl", fleet.parent)
    return inline_outputs(fleet)


def test_added_classes_targets_and_models_begin(live: Live, tmp_path: Path) -> None:
    """Beside what is there, of which no byte changes but that more models score."""
    fleet = live.changed(
        tmp_path,
        ('horizon = ["12h", "48h"]', 'horizon = ["12h", "24h", "48h"]'),
        ("[models.linear]", '[classes.van]\nsensors = ["speed"]\n\n[models.linear]'),
        (
            "[models.tree]",
            '[models.bayes]\npipeline = [{ estimator = "river.naive_bayes.GaussianNB" }]\n\n[models.tree]',
        ),
    )
    found = live.go_on(fleet)
    assert_champion_goes_on(live, found)
    assert of_targets(found["predictions"]) == rows(live.expected["predictions"])
    new = of_targets(found["predictions"], "truck/coolant_leak/24h")
    assert len(new) > 300
    told = changes(found, "challenger", "champion")
    assert ("champion", "truck/coolant_leak/24h", "linear", 1) in told
    assert [row for row in told if row[0] == "challenger"] == [
        ("challenger", target, "bayes", 1) for target in TARGETS
    ]


def test_a_changed_model_is_a_new_version_and_a_challenger(live: Live, tmp_path: Path) -> None:
    """Also where it is the champion, which goes on as it was; after one more start nothing begins again."""
    fleet = live.changed(tmp_path, ('LogisticRegression"', 'LogisticRegression", l2 = 0.01'))
    found = live.go_on(fleet)
    assert_champion_goes_on(live, found)
    assert changes(found, "challenger") == [("challenger", target, "linear", 2) for target in TARGETS]
    last = of_targets(found["evaluations"])[-1]["scores"]
    assert last["linear:2"] is not None
    assert last["linear:2"] != last["linear"]
    assert live.go_on(fleet)["changes"] == found["changes"]


def test_changed_windows_ask_and_then_begin_anew(live: Live, tmp_path: Path) -> None:
    """The refusal says of how many assets what would be lost; `changes` says that it was accepted."""
    fleet = live.changed(tmp_path, ('length = "6h"', 'length = "7h"'))
    said = live.refused(fleet)
    assert (
        "- truck: other windows for coolant_level, engine_temperature (were 6h by 1h, now 7h by 1h)" in said
    )
    assert "What 18 assets of it hold of that is lost: those windows start empty, and for 7h of" in said
    assert '--migrate "truck"' in said
    assert "'van' is no class and no target of" in live.refused(fleet, "--migrate", "van")
    live.killed(fleet, "--migrate", "truck")
    found = live.go_on(fleet)
    assert changes(found, "migrated") == [("migrated", "truck")]
    full = {row["id"]: row["features"] for row in rows(inline_outputs_of(live, fleet)["predictions"])}
    later = [row for row in rows(found["predictions"]) if row["sequence"] > LATER]
    assert len(later) > 200
    for row in later:
        assert row["features"] == pytest.approx(full[row["id"]], nan_ok=True)
    labels = [(row["id"], row["label"], row["correction"]) for row in of_targets(found["evaluations"])]
    expected = [(row["id"], row["label"], row["correction"]) for row in rows(live.expected["evaluations"])]
    assert labels == expected, "pending examples wait on"


def test_a_changed_horizon_asks_and_its_examples_begin_anew(live: Live, tmp_path: Path) -> None:
    """The other target goes on; one that comes back later knows nothing of what it had learned."""
    fleet = live.changed(tmp_path, ('horizon = ["12h", "48h"]', 'horizon = ["12h", "36h"]'))
    said = live.refused(fleet)
    assert "- truck/coolant_leak/2d: the target is gone. " in said
    assert "examples that wait for their label would be lost, and what its models learned from" in said
    shutil.copytree(tmp_path, tmp_path / "again")
    found = live.go_on(fleet, "--migrate", "truck/coolant_leak/2d")
    assert of_targets(found["predictions"], TARGETS[0]) == of_targets(
        live.expected["predictions"], TARGETS[0]
    )
    assert changes(found, "migrated", "champion") == [
        ("migrated", TARGETS[1]),
        ("champion", "truck/coolant_leak/36h", "linear", 1),
    ]
    # Back again before anything else was read: the store still holds all of the old one.
    fleet = tmp_path / "again" / "fleet.toml"
    stopped = {"FLEET_INPUT": str(tmp_path / "none.jsonl")}
    Path(stopped["FLEET_INPUT"]).touch()
    ran = dataflows(*arguments(fleet, "--migrate", "truck/coolant_leak/2d"), **stopped)
    assert ran.returncode == 1, "another input is refused only once the store was opened"
    fleet.write_text(BEFORE, encoding="utf-8")
    found = live.go_on(fleet, "--migrate", "truck/coolant_leak/36h")
    assert ("champion", TARGETS[1], "linear", 1) in changes(found, "champion")
    back = [row for row in of_targets(found["predictions"], TARGETS[1]) if row["sequence"] > CUT]
    assert back[0]["link"] == "prior"


def test_a_removed_champion_asks_for_its_successor(live: Live, tmp_path: Path) -> None:
    """The message names both; the successor takes over with the next prediction."""
    edits = ('champion = "linear"', 'champion = "tree"\nmodels = ["tree", "prior"]')
    said = live.refused(live.changed(tmp_path, edits))
    assert "target 'truck/coolant_leak/12h': its champion 'linear', which has learned from" in said
    assert 'successor = "..." (tree, prior)' in said
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(fleet.read_text().replace("models = [", 'successor = "tree"\nmodels = ['))
    found = live.go_on(fleet)
    told = changes(found, "champion", "removed")
    for target in TARGETS:
        assert [row for row in told if row[1] == target] == [
            ("removed", target, "linear", 1),
            ("removed", target, "table", 1),
            ("champion", target, "tree", 1),
        ]
    assert {row["model"] for row in rows(found["predictions"]) if row["sequence"] > LATER} == {"tree"}
    trees = [row["scores"]["tree"] for row in of_targets(found["evaluations"])]
    assert trees == [row["scores"]["tree"] for row in rows(live.expected["evaluations"])]


#: Each kind of change: edits of fleet.toml, and what has to be named for it.
CHANGES: dict[str, tuple[list[tuple[str, str]], list[str]]] = {
    "sensor": ([('"engine_temperature"]', '"fan_speed", "engine_temperature"]')], []),
    "class, target and model": (
        [
            ('horizon = ["12h", "48h"]', 'horizon = ["12h", "24h", "48h"]'),
            ("[models.linear]", '[classes.van]\nsensors = ["speed"]\n\n[models.linear]'),
            (
                "[models.tree]",
                '[models.b]\npipeline = [{ estimator = "river.naive_bayes.GaussianNB" }]\n\n[models.tree]',
            ),
        ],
        [],
    ),
    "model": ([('LogisticRegression"', 'LogisticRegression", l2 = 0.01')], []),
    "windows": ([('length = "6h"', 'length = "7h"')], ["--migrate", "truck"]),
    "horizon": ([('horizon = ["12h", "48h"]', 'horizon = ["12h", "36h"]')], ["--migrate", TARGETS[1]]),
    "removed sensor": (
        [
            ('sensors = ["coolant_level", "engine_temperature"]', 'sensors = ["coolant_level"]'),
            ("engine*", "*"),
        ],
        ["--migrate", "truck"],
    ),
    "champion": (
        [('champion = "linear"', 'champion = "tree"\nsuccessor = "tree"\nmodels = ["tree", "prior"]')],
        [],
    ),
}


@pytest.mark.ci
@pytest.mark.parametrize("change", CHANGES)
def test_what_comes_between_a_change_and_its_first_record_changes_nothing(
    lines: list[bytes], tmp_path: Path, change: str
) -> None:
    """A run without records, a SIGTERM before the first, a kill: the outputs are those of one run."""
    edits, more = CHANGES[change]
    text = BEFORE
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    source = tmp_path / "source"
    given = {"FLEET_INPUT": str(source / "events.jsonl")}
    finish(prepare(source, lines[:CUT], BEFORE), **given)

    def changed(between: str) -> Path:
        folder = tmp_path / between
        for name in ("store", "out"):
            shutil.copytree(source / name, folder / name)
        (folder / "fleet.toml").write_text(text, encoding="utf-8")
        return folder / "fleet.toml"

    fleets = {between: changed(between) for between in ("nothing", "empty", "stopped", "killed")}
    finish(fleets["empty"], *more, **given)
    prepare(source, lines[:RECORDS], BEFORE)
    stop_before_the_first_record(fleets["stopped"], *more, **given)
    kill(fleets["killed"], Moment(records=CUT + 1), *more, FLEET_BATCH="1", **given)
    found = {between: finish(fleet, *more, **given) for between, fleet in fleets.items()}
    assert len(found["nothing"]["predictions"]) > 100_000
    for between in ("empty", "stopped", "killed"):
        assert_same(found[between], found["nothing"])


def test_a_class_with_assets_cannot_go(live: Live, tmp_path: Path) -> None:
    """Nobody would know what its assets are; the message says to keep it."""
    fleet = live.changed(tmp_path)
    fleet.write_text(BEFORE.replace("classes.truck", "classes.van").replace('"truck"', '"van"'))
    said = live.refused(fleet, "--migrate", f"truck {' '.join(TARGETS)}")
    assert "- truck: the class is gone. 18 assets of it would have no class; keep the class" in said


def test_the_engines_own_command_asks_too(live: Live, tmp_path: Path) -> None:
    """FLEET_MIGRATE accepts for it; once one process has, no other has to ask."""
    fleet = load(live.changed(tmp_path, ('length = "6h"', 'length = "7h"')), environ={})
    store = tmp_path / "store"
    command = ["flow", "-r", str(store), "-s", "1", "-b", "0"]
    consent = {"FLEET_MIGRATE": f"truck {TARGETS[0]}"}
    with closing(StoreLocks()) as locks:
        with pytest.raises(FleetChangedError, match="truck: other windows"):
            find_runtime(fleet, command, {}, locks)
        assert find_runtime(fleet, command, consent, locks).store == store
        others = [*command, "-i", "1", "-a", "here:1;here:2"]
        assert find_runtime(fleet, others, {}, locks).store == store
    assert [name for name, _ in past_in(store, fleet).migrated] == ["truck"]
