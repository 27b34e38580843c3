from __future__ import annotations

import pickle
import tomllib
from collections.abc import Callable
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflows.fleet import FleetError, Problem, load
from dataflows.instants import HOUR

if TYPE_CHECKING:
    from pathlib import Path

Refused = Callable[..., dict[str, Problem]]
FilePosition = tuple[str | int, ...]

DAY = 24 * HOUR
TARGET = {"class": "pump", "mode": "seal", "horizon": "24h", "champion": "tree"}


def window(**keys: object) -> dict[str, Any]:
    """Overrides with this one window."""
    return {"classes": {"pump": {"windows": [keys]}}}


def target(**keys: object) -> dict[str, Any]:
    """Overrides with this one target."""
    return {"targets": [TARGET | keys]}


@pytest.mark.parametrize(
    "written",
    [datetime(2020, 1, 16), date(2020, 1, 16), "2020-01-16T00:00:00", "soon", 1579132800, True],  # noqa: DTZ001
)
def test_a_time_without_offset_is_refused(refused: Refused, written: object) -> None:
    """Local times, dates and bare numbers are no instants."""
    assert "offset" in refused({"figures_from": written})["figures_from"].expected


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
    ({"assets": {"clock": {"tolerance": "0s"}}}, "assets.clock.tolerance", "longer than zero", None),
    ({"assets": {"clock": {"quarantin": True}}}, "assets.clock.quarantin", "quarantine", "quarantine"),
    ({"assets": {"max_assets": 0}}, "assets.max_assets", "greater than 0", None),
    ({"classes": {"fan": {}}}, "assets.adopt_as", "one of pump, fan", None),
    ({"classes": {"fan:1": {}}, "assets": {"adopt_as": "pump"}}, 'classes."fan:1"', "a name", None),
    ({"classes": {"pump": {"score_on": "completion"}}}, "classes.pump.score_on", "complete", "complete"),
    ({"classes": {"pump": {"required": ["flow"]}}}, "classes.pump.required", 'score_on = "complete"', None),
    (
        {"classes": {"pump": {"score_on": "complete", "required": ["flwo"]}}},
        "classes.pump.required[0]",
        "a sensor of the class",
        "flow",
    ),
    (
        {"classes": {"pump": {"score_on": "complete", "required": []}}},
        "classes.pump.required",
        "at least one sensor",
        None,
    ),
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


@pytest.mark.parametrize("keys", [("name",), ("input",), ("classes",)])
def test_a_required_key_that_is_missing_is_named(pumps: Path, tmp_path: Path, keys: tuple[str, ...]) -> None:
    """One missing key is one problem; nothing that follows from it is added."""
    lines = {
        ("name",): ('name = "pumps"\n', ""),
        ("input",): ('[input]\nfiles = ["data/*.jsonl", "-", "/abs/one.jsonl.gz"]\n', ""),
        ("classes",): ("classes.", "output.classes."),
    }
    path = tmp_path / "other.toml"
    path.write_text(pumps.read_text(encoding="utf-8").replace(*lines[keys]), encoding="utf-8")
    with pytest.raises(FleetError) as caught:
        load(path, environ={})
    named = [problem.key for problem in caught.value.problems if problem.key != "output.classes"]
    assert named == [".".join(keys)]
    assert "no default" in caught.value.problems[-1].expected


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
            "  asset: expected one of name, figures_from, metrics_every, wrong_promotions, "
            "false_drift_alarms_per_year, max_internal_errors, kafka, input, output, assets, classes, "
            "targets, models, templates, include, notify, got an unknown key; did you mean assets?"
        ),
        "  name: expected text, got 3",
    ]


KEYS = {
    (): ["metrics_every", "output", "assets"],
    ("input",): ["batch"],
    ("output",): ["publish", "changed_by"],
    ("assets",): ["registry", "max_future"],
    ("classes", "pump"): ["values", "label_delay", "example_every", "windows", "faults", "asset_ttl"],
    ("classes", "pump", "windows", 0): ["length", "statistics", "hop"],
    ("targets", 0): ["class", "mode", "horizon", "champion", "threshold", "component", "alert"],
    ("targets", 0, "alert"): ["open", "clear", "dwell"],
    ("models", "linear"): ["features", "pipeline"],
}
MORE: dict[str, Any] = {
    "faults": ["hot"],
    "maintenance": ["shaft"],
    "attributes": ["power"],
    "categories": {"model": ["P1"]},
    "reset_windows_on": ["failure"],
    "idle_timeout": "1d",
    "asset_ttl": "30d",
}
PLACES = [(*place, key) for place, keys in KEYS.items() for key in keys]


@st.composite
def misspelt(draw: st.DrawFn) -> dict[FilePosition, str]:
    """Some keys of the file with one letter doubled, so that the schema knows none of them."""
    places = draw(st.lists(st.sampled_from(PLACES), min_size=1, unique=True))
    made = {}
    for place in places:
        key = str(place[-1])
        at = draw(st.integers(0, len(key) - 1))
        made[place] = key[: at + 1] + key[at] + key[at + 1 :]
    return made


def renamed(value: object, wrong: dict[FilePosition, str], at: FilePosition = ()) -> Any:  # noqa: ANN401 - as given
    """The document with some keys misspelt."""
    if isinstance(value, dict):
        return {wrong.get((*at, key), key): renamed(inner, wrong, (*at, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [renamed(inner, wrong, (*at, index)) for index, inner in enumerate(value)]
    return value


def full_document(pumps: Path) -> dict[str, Any]:
    """The document with more of its keys written out."""
    document = tomllib.loads(pumps.read_text(encoding="utf-8"))
    document |= {
        "metrics_every": "1d",
        "output": {"folder": "o", "publish": "changed", "changed_by": 0.1},
        "assets": {"max_assets": 9, "registry": ["pumps.jsonl"], "max_future": "2h"},
    }
    document["input"]["batch"] = 10
    document["classes"]["pump"] |= {"values": True, "example_every": "1h"} | MORE
    alert = {"open": 0.6, "clear": 0.3, "dwell": "1h"}
    document["targets"][0] |= {"threshold": 0.4, "component": "seal", "alert": alert}
    return document


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wrong=misspelt())
def test_each_of_any_misspelt_keys_is_named_with_its_right_form(
    pumps: Path, wrong: dict[FilePosition, str]
) -> None:
    """However many keys are misspelt, each is named with the key meant, and nothing else is."""
    document = full_document(pumps)
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


JUNK = st.sampled_from(
    ["", "x", "24h", -1, 0, 1.5, True, [], [1], ["flow"], {}, {"estimator": "x"}, [{}], date(2020, 1, 1)]
)
SPOTS = [
    *PLACES,
    *((*place[:-1],) for place in PLACES if len(place) > 1),
    *(("name",), ("input", "files"), ("input", "files", 0), ("classes", "pump", "sensors")),
    *(("classes", "pump", "sensors", 1), ("classes", "pump", "windows", 0, "statistics", 0)),
    *(("targets", 0, "mode", 1), ("targets", 0, "horizon", 0), ("models", "linear", "features", 0)),
    *(("classes", "pump", key) for key in MORE),
    *(("classes", "pump", "categories", "model", 0), ("classes", "pump", "categories", "model")),
    *(("models", "linear", "pipeline", 0), ("models", "linear", "pipeline", 1, "estimator")),
]


def replaced(value: object, spots: dict[FilePosition, object], at: FilePosition = ()) -> Any:  # noqa: ANN401 - as given
    """The document with other values in some places."""
    if at in spots:
        return spots[at]
    if isinstance(value, dict):
        return {key: replaced(inner, spots, (*at, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [replaced(inner, spots, (*at, index)) for index, inner in enumerate(value)]
    return value


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spots=st.dictionaries(st.sampled_from(SPOTS), JUNK, min_size=1, max_size=4))
def test_whatever_stands_in_a_file_is_a_fleet_or_a_fleet_error(
    pumps: Path, spots: dict[FilePosition, object]
) -> None:
    """Values of any type in any place never end in another exception, and no stand-in is ever reported."""
    document = full_document(pumps)
    empty = pumps.with_name("empty.toml")
    empty.touch()
    problems: tuple[Problem, ...] | None = None
    try:
        load(empty, replaced(document, spots), {})
    except FleetError as error:
        problems = error.problems
    if problems is not None:
        assert problems
        assert all(problem.got not in {'"-"', "-"} for problem in problems)
