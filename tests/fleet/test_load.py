from __future__ import annotations

import pickle
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflows.fleet import STATISTICS, Fleet, FleetError, Problem, load
from dataflows.fleet.reference import reference
from dataflows.instants import HOUR, parse_instant

Expanded = Callable[..., Fleet]
Refused = Callable[..., dict[str, Problem]]

Place = tuple[str | int, ...]

DAY = 24 * HOUR
ROOT = Path(__file__).parents[2]
TARGET = {"class": "pump", "mode": "seal", "horizon": "24h", "champion": "tree"}


def window(**keys: object) -> dict[str, Any]:
    """Overrides with this one window."""
    return {"classes": {"pump": {"windows": [keys]}}}


def target(**keys: object) -> dict[str, Any]:
    """Overrides with this one target."""
    return {"targets": [TARGET | keys]}


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
    assert expanded(window(length="24h")).classes["pump"].windows[0].statistics == STATISTICS


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
    given_keys = {"component": "shaft", "label_delay": "0s", "label_memory": "1h", "threshold": 0.25}
    one = expanded(target(**given_keys, models=["tree"], learn_positives="at_once")).targets["pump/seal/24h"]
    assert (one.component, one.label_delay, one.label_memory, one.threshold) == ("shaft", 0, HOUR, 0.25)
    assert [model.name for model in one.models] == ["tree"]
    assert one.learn_positives == "at_once"


def test_the_rest_has_its_defaults(expanded: Expanded) -> None:
    """Everything that the small file leaves out is filled in."""
    fleet = expanded()
    assert (fleet.figures_from, fleet.metrics_every) == (None, 7 * DAY)
    assert (fleet.input.batch, fleet.output.features) == (1000, "examples")
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


@pytest.mark.parametrize(
    "written",
    [datetime(2020, 1, 16), date(2020, 1, 16), "2020-01-16T00:00:00", "soon", 1579132800, True],  # noqa: DTZ001
)
def test_a_time_without_offset_is_refused(refused: Refused, written: object) -> None:
    """Local times, dates and bare numbers are no instants."""
    assert "offset" in refused({"figures_from": written})["figures_from"].expected


def test_a_fleet_can_be_sent_to_another_process(expanded: Expanded) -> None:
    """A fleet survives pickling, its models' builders too."""
    fleet = expanded()
    again = pickle.loads(pickle.dumps(fleet))  # noqa: S301 - our own bytes
    assert again == fleet
    assert again.targets["pump/seal/24h"].models[1].build().max_depth == 4


# Each refusal: overrides, the key that is named, a part of what was expected, and the hint.
REFUSALS: list[tuple[dict[str, Any], str, str, str | None]] = [
    ({"nmae": "x"}, "nmae", "name", "name"),
    ({"zzz": 1}, "zzz", "one of name", None),
    ({"name": 3}, "name", "text", None),
    ({"name": "a/b"}, "name", "without any of /", None),
    ({"name": "x" * 121}, "name", "at most 120", None),
    ({"metrics_every": "7"}, "metrics_every", "such as '90s'", None),
    ({"metrics_every": 7}, "metrics_every", "a duration", None),
    ({"metrics_every": "0s"}, "metrics_every", "longer than zero", None),
    ({"input": {"files": []}}, "input.files", "at least one", None),
    ({"input": {"files": "x.jsonl"}}, "input.files", "a list", None),
    ({"input": {"files": [1]}}, "input.files[0]", "text", None),
    ({"input": {"batch": 0}}, "input.batch", "greater than 0", None),
    ({"input": {"batch": True}}, "input.batch", "a whole number", None),
    ({"input": {"batch": "9"}}, "input.batch", "a whole number", None),
    ({"input": 3}, "input", "a table", None),
    ({"output": {"folder": ""}}, "output.folder", "not empty", None),
    ({"output": {"features": "example"}}, "output.features", "none, examples, all", "examples"),
    ({"assets": {"unknown": "adpt"}}, "assets.unknown", "adopt, reject", "adopt"),
    ({"assets": {"adopt_as": "pmup"}}, "assets.adopt_as", "pump", "pump"),
    ({"assets": {"max_assets": 0}}, "assets.max_assets", "greater than 0", None),
    ({"classes": {"fan": {}}}, "assets.adopt_as", "one of pump, fan", None),
    ({"classes": {"fan:1": {}}, "assets": {"adopt_as": "pump"}}, 'classes."fan:1"', "a name", None),
    ({"classes": {"pump": {"values": "yes"}}}, "classes.pump.values", "true or false", None),
    ({"classes": {"pump": {"allowed_lateness": "-1s"}}}, "classes.pump.allowed_lateness", "a duration", None),
    ({"classes": {"pump": {"example_every": "0h"}}}, "classes.pump.example_every", "longer", None),
    (
        {"classes": {"pump": {"sensors": ["pressure", "flow", "vibration", "flow"]}}},
        "classes.pump.sensors[3]",
        "each name once",
        None,
    ),
    (window(length="24h", hop="7h"), "classes.pump.windows[0].hop", "divides the length, 24h", None),
    (window(length="24h", hop="25h"), "classes.pump.windows[0].hop", "divides", None),
    (window(length="24h", hop="0s"), "classes.pump.windows[0].hop", "longer than zero", None),
    (window(length="10s"), "classes.pump.windows[0].hop", "divides the length, 10s", None),
    (window(length="2001s", hop="1s"), "classes.pump.windows[0].hop", "at most 2000 hops", None),
    (window(hop="1h"), "classes.pump.windows[0].length", "no default", None),
    (window(length="1h", lenght="2h"), "classes.pump.windows[0].lenght", "length", "length"),
    (
        window(length="1h", statistics=["mean", "meen"]),
        "classes.pump.windows[0].statistics[1]",
        "mean, std",
        "mean",
    ),
    (
        window(length="1h", statistics=["mean", "mean"]),
        "classes.pump.windows[0].statistics[1]",
        "each name once",
        None,
    ),
    (window(length="1h", statistics=[]), "classes.pump.windows[0].statistics", "at least one", None),
    (
        window(length="1h", sensors=["flow", "presure"]),
        "classes.pump.windows[0].sensors[1]",
        "pressure",
        "pressure",
    ),
    (
        window(length="1h", sensors=["flow", "flow"]),
        "classes.pump.windows[0].sensors[1]",
        "each name once",
        None,
    ),
    (
        {
            "classes": {
                "pump": {
                    "windows": [
                        {"length": "24h"},
                        {"length": "1440m", "hop": "1h", "statistics": ["mean"], "sensors": ["flow"]},
                    ]
                }
            }
        },
        "classes.pump.windows[1]",
        "no feature of classes.pump.windows[0]",
        None,
    ),
    (target(**{"class": "pmup"}), "targets[0].class", "pump", "pump"),
    (target(mode=[]), "targets[0].mode", "at least one", None),
    (target(mode="a*"), "targets[0].mode", "a name", None),
    (target(mode=["a", "b/c"]), "targets[0].mode[1]", "a name", None),
    (target(horizon="0h"), "targets[0].horizon", "longer than zero", None),
    (target(horizon=["1h", "-2h"]), "targets[0].horizon[1]", "a duration", None),
    (target(horizon=24), "targets[0].horizon", "a list", None),
    (target(threshold=0), "targets[0].threshold", "above 0 and below 1", None),
    (target(threshold=1), "targets[0].threshold", "above 0 and below 1", None),
    (target(threshold=float("nan")), "targets[0].threshold", "above 0 and below 1", None),
    (target(threshold="0.5"), "targets[0].threshold", "a number", None),
    (target(learn_positives="atonce"), "targets[0].learn_positives", "together, at_once", "at_once"),
    (target(champion="tre"), "targets[0].champion", "linear, tree", "tree"),
    (target(models=["linear"]), "targets[0].champion", "linear", None),
    (target(models=["tree", "liner"]), "targets[0].models[1]", "linear, tree", "linear"),
    (target(models=["tree", "tree"]), "targets[0].models[1]", "each name once", None),
    (target(models=[]), "targets[0].models", "at least one", None),
    ({"targets": [TARGET, TARGET | {"horizon": "1440m"}]}, "targets[1]", "other than in targets[0]", None),
    ({"targets": [TARGET, 3]}, "targets[1]", "a table", None),
    (
        {"classes": {"fan": {}}, "assets": {"adopt_as": "pump"}, "targets": [TARGET | {"class": "fan"}]},
        "targets[0].class",
        "sensors",
        None,
    ),
    (
        {
            "classes": {"fan": {"sensors": ["rpm"], "values": False}},
            "assets": {"adopt_as": "pump"},
            "targets": [TARGET | {"class": "fan"}],
        },
        "targets[0].class",
        "features",
        None,
    ),
    (
        {
            "classes": {"fan": {"sensors": ["rpm"]}},
            "assets": {"adopt_as": "pump"},
            "targets": [TARGET, TARGET | {"class": "fan", "models": ["tree", "linear"]}],
        },
        "targets[1].models",
        "a feature of fan",
        None,
    ),
    ({"models": {"tree": {"features": ["flow:*", "flwo"]}}}, "models.tree.features[1]", "glob", "flow"),
    ({"models": {"tree": {"features": []}}}, "models.tree.features", "at least one", None),
    ({"models": {"tree": {"pipeline": []}}}, "models.tree.pipeline", "at least one", None),
    ({"models": {"tree": {"pipeline": ["x"]}}}, "models.tree.pipeline[0]", "a table", None),
]


@pytest.mark.parametrize(
    ("overrides", "key", "expected", "hint"),
    REFUSALS,
    ids=[f"{row[1]}-{n}" for n, row in enumerate(REFUSALS)],
)
def test_what_cannot_be_is_refused_with_key_and_hint(
    refused: Refused, overrides: dict[str, Any], key: str, expected: str, hint: str | None
) -> None:
    """One thing wrong is one problem: its place, what may stand there, and the nearest valid name."""
    problems = refused(overrides)
    assert list(problems) == [key]
    assert expected in problems[key].expected
    assert problems[key].hint == hint


@pytest.mark.parametrize("keys", [("name",), ("input",), ("input", "files"), ("classes",)])
def test_a_required_key_that_is_missing_is_named(pumps: Path, tmp_path: Path, keys: tuple[str, ...]) -> None:
    """One missing key is one problem; nothing that follows from it is added."""
    lines = {
        ("name",): ('name = "pumps"\n', ""),
        ("input",): ('[input]\nfiles = ["data/*.jsonl", "-", "/abs/one.jsonl.gz"]\n', ""),
        ("input", "files"): ('files = ["data/*.jsonl", "-", "/abs/one.jsonl.gz"]\n', ""),
        ("classes",): ("classes.", "output.classes."),
    }
    path = tmp_path / "other.toml"
    path.write_text(pumps.read_text(encoding="utf-8").replace(*lines[keys]), encoding="utf-8")
    with pytest.raises(FleetError) as caught:
        load(path, environ={})
    named = [problem.key for problem in caught.value.problems if problem.key != "output.classes"]
    assert named == [".".join(keys)]
    assert "no default" in caught.value.problems[-1].expected


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


def test_every_problem_is_reported_at_once(refused: Refused) -> None:
    """Unknown keys, wrong types, unknown names and estimators stand together, each at its own place."""
    problems = refused(
        {
            "metric_every": "1d",
            "input": {"batch": "many"},
            "classes": {
                "pump": {
                    "windows": [{"length": "x"}, 7, {"length": "24h", "hop": "7h", "statistics": ["men"]}]
                }
            },
            "targets": [
                {"class": "pumpe", "mode": "a", "champion": "tree"},
                TARGET | {"horizon": "0s", "models": ["tree", "oak"]},
            ],
            "models": {"tree": {"pipeline": [{"estimator": "river.tree.HoeffdingTreeClasifier"}]}},
        },
        FLEET_BATCH="-1",
    )
    assert set(problems) == {
        "metric_every",
        "FLEET_BATCH",
        "input.batch",
        "classes.pump.windows[0].length",
        "classes.pump.windows[1]",
        "classes.pump.windows[2].hop",
        "classes.pump.windows[2].statistics[0]",
        "targets[0].class",
        "targets[0].horizon",
        "targets[1].horizon",
        "targets[1].models[1]",
        "models.tree.pipeline[0].estimator",
    }


@pytest.mark.parametrize("value", ["0", "-3", "1.5", "many", "²"])
def test_a_batch_from_the_environment_has_to_be_a_number(refused: Refused, value: str) -> None:
    """The variable is named, not the key that it overrides."""
    assert refused(FLEET_BATCH=value)["FLEET_BATCH"].got == f'"{value}"'


def test_an_open_quote_in_the_environment_is_refused(refused: Refused) -> None:
    """A path list that cannot be split is named."""
    assert "quotes" in refused(FLEET_INPUT="a 'b")["FLEET_INPUT"].expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b'name = "a"\nfiles = [\n\nx', 4),
        (b'name = "a"\nname = "b"\n', 2),
        (b'a = 1\nb = "\xff"\n', 2),
        (b"a =", 1),
    ],
)
def test_what_is_not_toml_is_refused_with_its_line(tmp_path: Path, text: bytes, line: int) -> None:
    """Syntax errors and bytes that are not UTF-8 name the line."""
    path = tmp_path / "fleet.toml"
    path.write_bytes(text)
    with pytest.raises(FleetError, match=f"line {line}: expected"):
        load(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """It is a FleetError too, so that callers have one thing to catch."""
    with pytest.raises(FleetError, match="file: expected a file that can be read, got No such file"):
        load(tmp_path / "none.toml")


def test_the_message_has_one_line_a_problem(refused: Refused, pumps: Path) -> None:
    """Key, expectation, what came and the hint are all in the text, which survives pickling."""
    del refused
    with pytest.raises(FleetError) as caught:
        load(pumps, {"asset": {}, "name": 3}, {})
    error = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert str(error).splitlines() == [
        f"{pumps}: 2 problems",
        (
            "  asset: expected one of name, figures_from, metrics_every, input, output, assets, classes, "
            "targets, models, got an unknown key; did you mean assets?"
        ),
        "  name: expected text, got 3",
    ]


KEYS = {
    (): ["metrics_every", "output", "assets"],
    ("input",): ["batch"],
    ("classes", "pump"): ["values", "label_delay", "example_every", "windows"],
    ("classes", "pump", "windows", 0): ["length", "statistics", "hop"],
    ("targets", 0): ["class", "mode", "horizon", "champion", "threshold", "component"],
    ("models", "linear"): ["features", "pipeline"],
}
PLACES = [(*place, key) for place, keys in KEYS.items() for key in keys]


@st.composite
def misspelt(draw: st.DrawFn) -> dict[Place, str]:
    """Some keys of the file with one letter doubled, so that the schema knows none of them."""
    places = draw(st.lists(st.sampled_from(PLACES), min_size=1, unique=True))
    made = {}
    for place in places:
        key = str(place[-1])
        at = draw(st.integers(0, len(key) - 1))
        made[place] = key[: at + 1] + key[at] + key[at + 1 :]
    return made


def renamed(value: object, wrong: dict[Place, str], at: Place = ()) -> Any:  # noqa: ANN401 - as given
    """The document with some keys misspelt."""
    if isinstance(value, dict):
        return {wrong.get((*at, key), key): renamed(inner, wrong, (*at, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [renamed(inner, wrong, (*at, index)) for index, inner in enumerate(value)]
    return value


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wrong=misspelt())
def test_each_of_any_misspelt_keys_is_named_with_its_right_form(pumps: Path, wrong: dict[Place, str]) -> None:
    """However many keys are misspelt, each is named with the key meant, and nothing else is."""
    document = tomllib.loads(pumps.read_text(encoding="utf-8"))
    document |= {"metrics_every": "1d", "output": {"folder": "o"}, "assets": {"max_assets": 9}}
    document["input"]["batch"] = 10
    document["classes"]["pump"] |= {"values": True, "example_every": "1h"}
    document["targets"][0] |= {"threshold": 0.4, "component": "seal"}
    empty = pumps.with_name("empty.toml")
    empty.touch()
    assert load(empty, document, {}).metrics_every == DAY
    with pytest.raises(FleetError) as caught:
        load(empty, renamed(document, wrong), {})
    named = {
        (problem.key.replace("]", "").replace("[", ".").split(".")[-1], problem.hint)
        for problem in caught.value.problems
    }
    assert named == {(key, str(place[-1])) for place, key in wrong.items()}
    assert len(caught.value.problems) == len(wrong)


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
