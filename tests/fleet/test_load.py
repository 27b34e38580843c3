from __future__ import annotations

import pickle
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dataflows.fleet import Fleet, Problem, load
from dataflows.fleet.reference import reference
from dataflows.instants import HOUR, parse_instant
from dataflows.window_statistics import STATISTICS

Expanded = Callable[..., Fleet]
Refused = Callable[..., dict[str, Problem]]

FilePosition = tuple[str | int, ...]

DAY = 24 * HOUR
ROOT = Path(__file__).parents[2]
TARGET = {"class": "pump", "mode": "seal", "horizon": "24h", "champion": "tree"}


def test_modes_and_horizons_expand_to_their_product(expanded: Expanded) -> None:
    """Two modes and two horizons are four targets, in configured order."""
    fleet = expanded()
    names = ["pump/seal/24h", "pump/seal/7d", "pump/bearing/24h", "pump/bearing/7d"]
    assert list(fleet.targets) == names
    assert fleet.classes["pump"].targets == tuple(names)
    assert fleet.targets["pump/bearing/7d"].horizon == 7 * DAY
    assert fleet.targets["pump/bearing/7d"].mode == "bearing"


def test_features_are_the_values_then_each_window_by_sensor_and_statistic(expanded: Expanded) -> None:
    """The order of features is fixed, whatever the order of names in the file."""
    assert expanded().classes["pump"].features == (
        *("pressure", "flow", "vibration"),
        *("pressure:mean:24h", "pressure:std:24h", "flow:mean:24h", "flow:std:24h"),
        *("vibration:mean:24h", "vibration:std:24h"),
        *("flow:slope:7d", "vibration:slope:7d"),
    )


def test_values_can_be_left_out_of_the_features(expanded: Expanded) -> None:
    """With values = false only windows make features."""
    fleet = expanded(
        {"classes": {"pump": {"values": False}}, "models": {"linear": {"features": ["*:mean:*"]}}}
    )
    assert fleet.classes["pump"].features[0] == "pressure:mean:24h"


def test_windows_are_resolved(expanded: Expanded) -> None:
    """Statistics and sensors come in the order of the class, the hop is a twelfth by default."""
    day, week = expanded().classes["pump"].windows
    assert (day.length, day.hop, day.statistics, day.sensors) == (DAY, HOUR, ("mean", "std"), (0, 1, 2))
    assert (week.length, week.hop, week.statistics, week.sensors) == (7 * DAY, 14 * HOUR, ("slope",), (1, 2))


def test_a_window_has_every_statistic_by_default(expanded: Expanded) -> None:
    """Without `statistics` a window keeps all ten."""
    assert (
        expanded({"classes": {"pump": {"windows": [{"length": "24h"}]}}})
        .classes["pump"]
        .windows[0]
        .statistics
        == STATISTICS
    )


def test_durations_in_names_have_one_form(expanded: Expanded) -> None:
    """However a duration is written, names of features and targets carry its shortest whole form."""
    week = {"length": "168h", "statistics": ["mean"], "sensors": ["flow"]}
    fleet = expanded({"classes": {"pump": {"windows": [week]}}, "targets": [TARGET | {"horizon": "1d"}]})
    assert fleet.classes["pump"].features[-1] == "flow:mean:7d"
    assert list(fleet.targets) == ["pump/seal/24h"]


def test_a_model_sees_what_its_globs_match(expanded: Expanded) -> None:
    """Feature indices are ascending and lead to the matched names; without globs a model sees all."""
    fleet = expanded()
    features = fleet.classes["pump"].features
    linear, tree = fleet.targets["pump/seal/24h"].models
    assert [features[index] for index in linear.features] == [
        "pressure",
        "pressure:mean:24h",
        "flow:mean:24h",
        "vibration:mean:24h",
    ]
    assert tree.features == tuple(range(len(features)))


def test_globs_tell_upper_from_lower_case(refused: Refused) -> None:
    """A glob in another case matches nothing."""
    assert "models.tree.features[0]" in refused({"models": {"tree": {"features": ["FLOW"]}}})


def test_a_target_has_its_defaults(expanded: Expanded) -> None:
    """Component, label memory, threshold, models and the class's label delay are filled in."""
    one = expanded().targets["pump/seal/7d"]
    assert (one.component, one.threshold, one.learn_positives) == ("seal", 0.5, "together")
    assert (one.label_delay, one.label_memory) == (2 * DAY, 21 * DAY)
    assert [model.name for model in one.models] == ["linear", "tree"]


def test_a_target_can_say_otherwise(expanded: Expanded) -> None:
    """What a target gives itself comes before the defaults."""
    own = {"component": "shaft", "label_delay": "0s", "label_memory": "1h", "threshold": 0.25}
    entry = TARGET | own | {"models": ["tree"], "learn_positives": "at_once"}
    one = expanded({"targets": [entry]}).targets["pump/seal/24h"]
    assert (one.component, one.label_delay, one.label_memory, one.threshold) == ("shaft", 0, HOUR, 0.25)
    assert [model.name for model in one.models] == ["tree"]
    assert one.learn_positives == "at_once"


def test_the_rest_has_its_defaults(expanded: Expanded) -> None:
    """Everything that the small file leaves out is filled in."""
    fleet = expanded()
    assert (fleet.figures_from, fleet.metrics_every) == (None, 7 * DAY)
    assert (fleet.input.batch, fleet.output.features) == (None, "examples")
    pump = fleet.classes["pump"]
    assert (pump.allowed_lateness, pump.example_every, pump.values) == (0, HOUR, True)
    assert (fleet.assets.unknown, fleet.assets.max_assets) == ("adopt", 100_000)


def test_the_only_class_adopts(expanded: Expanded) -> None:
    """With one class `adopt_as` need not be said; who rejects adopts as nothing."""
    assert expanded().assets.adopt_as == "pump"
    assert expanded({"assets": {"unknown": "reject"}}).assets.adopt_as is None


def test_a_class_without_targets_is_allowed(expanded: Expanded) -> None:
    """A class may be kept, even without sensors, before anything of it is predicted."""
    fleet = expanded({"classes": {"fan": {}}, "assets": {"adopt_as": "pump"}})
    assert fleet.classes["fan"].targets == ()
    assert fleet.classes["fan"].features == ()


def test_relative_paths_belong_to_the_files_folder(expanded: Expanded, tmp_path: Path) -> None:
    """Standard input and absolute paths stay what they are."""
    fleet = expanded()
    assert fleet.input.files == (str(tmp_path / "data/*.jsonl"), "-", "/abs/one.jsonl.gz")
    assert fleet.output.folder == tmp_path / "out"


def test_the_environment_overrides_the_file(expanded: Expanded, tmp_path: Path) -> None:
    """Its relative paths belong to the working directory, and quotes keep spaces."""
    fleet = expanded(FLEET_INPUT="a.jsonl 'b c.jsonl' -", FLEET_OUTPUT="made", FLEET_BATCH="7")
    assert fleet.input.files == (str(Path.cwd() / "a.jsonl"), str(Path.cwd() / "b c.jsonl"), "-")
    assert fleet.output.folder == Path.cwd() / "made"
    assert fleet.output.folder != tmp_path / "made"
    assert fleet.input.batch == 7


def test_an_empty_variable_is_not_set(expanded: Expanded) -> None:
    """Empty values, as compose files leave them, change nothing."""
    assert expanded(FLEET_INPUT="", FLEET_OUTPUT=" ", FLEET_BATCH="") == expanded()


def test_the_environment_of_the_process_is_the_default(pumps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `environ` the process's variables count."""
    monkeypatch.setenv("FLEET_BATCH", "33")
    assert load(pumps).input.batch == 33


def test_input_from_the_environment_is_enough(tmp_path: Path) -> None:
    """A file without [input] runs on what FLEET_INPUT names."""
    path = tmp_path / "fleet.toml"
    path.write_text('name = "n"\n[classes.a]\n', encoding="utf-8")
    assert load(path, environ={"FLEET_INPUT": "/x.jsonl"}).input.files == ("/x.jsonl",)


def test_overrides_win_over_the_environment(expanded: Expanded) -> None:
    """Tables merge, lists replace lists, and what the caller says comes last."""
    overrides = {"input": {"batch": 5}, "targets": [TARGET]}
    fleet = expanded(overrides, FLEET_BATCH="7", FLEET_INPUT="/x.jsonl")
    assert (fleet.input.batch, fleet.input.files) == (5, ("/x.jsonl",))
    assert list(fleet.targets) == ["pump/seal/24h"]
    assert overrides == {"input": {"batch": 5}, "targets": [TARGET]}


@pytest.mark.parametrize(
    "written",
    [
        datetime(2020, 1, 16, tzinfo=UTC),
        "2020-01-16T00:00:00Z",
        "2020-01-16T01:00:00+01:00",
        tomllib.loads("t = 2020-01-15T19:00:00-05:00")["t"],
    ],
)
def test_a_time_is_a_toml_date_time_or_rfc_3339(expanded: Expanded, written: object) -> None:
    """Both forms, with any offset, are the same instant."""
    assert expanded({"figures_from": written}).figures_from == parse_instant("2020-01-16T00:00:00Z")


def test_a_fleet_can_be_sent_to_another_process(expanded: Expanded) -> None:
    """A fleet survives pickling, its models' builders too."""
    fleet = expanded()
    again = pickle.loads(pickle.dumps(fleet))  # noqa: S301 - our own bytes
    assert again == fleet
    assert again.targets["pump/seal/24h"].models[1].build().max_depth == 4


def test_a_glob_has_to_match_in_one_of_the_classes_that_use_the_model(expanded: Expanded) -> None:
    """A model shared by two classes may name sensors that only one of them has."""
    fleet = expanded(
        {
            "classes": {"fan": {"sensors": ["rpm"]}},
            "assets": {"unknown": "reject"},
            "targets": [TARGET, TARGET | {"class": "fan"}],
            "models": {"tree": {"features": ["rpm", "flow"]}, "linear": {"features": ["rpm", "flow"]}},
        }
    )
    assert fleet.targets["pump/seal/24h"].models[1].features == (1,)
    assert fleet.targets["fan/seal/24h"].models[1].features == (0,)


def test_the_reference_is_up_to_date() -> None:
    """docs/fleet.md is what the schema says."""
    written = (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8")
    assert written == reference(), "run python -m dataflows.fleet.reference > docs/fleet.md"


def test_the_reference_is_printed_by_its_command() -> None:
    """The command in the documentation makes the page."""
    command = [sys.executable, "-m", "dataflows.fleet.reference"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert done.stdout.decode() == reference()


def test_the_example_of_the_reference_does_what_the_reference_says(tmp_path: Path) -> None:
    """The TOML on the page loads, and makes four targets with two models each."""
    path = tmp_path / "fleet.toml"
    path.write_text(reference().split("```toml\n")[1].split("```")[0], encoding="utf-8")
    fleet = load(path, environ={})
    assert list(fleet.targets) == ["pump/seal/24h", "pump/seal/7d", "pump/bearing/24h", "pump/bearing/7d"]
    assert {len(one.models) for one in fleet.targets.values()} == {2}


def test_a_fleet_shares_nothing_with_the_overrides(expanded: Expanded) -> None:
    """What the caller does with its overrides later does not change a model's specification."""
    optimizer = {"estimator": "river.optim.SGD", "lr": 0.5}
    step = {"estimator": "river.linear_model.LogisticRegression", "optimizer": optimizer}
    fleet = expanded({"models": {"tree": {"pipeline": [step]}}})
    optimizer["lr"] = 99
    model = fleet.targets["pump/seal/24h"].models[1]
    assert model.spec["pipeline"][0]["optimizer"]["lr"] == 0.5
    assert model.build().optimizer.learning_rate == 0.5
