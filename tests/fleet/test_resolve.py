from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflows.fleet import Fleet, FleetError, Problem
from dataflows.instants import HOUR
from dataflows.window_statistics import FAULT_STATISTICS

Expanded = Callable[..., Fleet]
Refused = Callable[..., dict[str, Problem]]

DAY = 24 * HOUR
MACHINE: dict[str, Any] = {
    "sensors": ["volt", "rotate"],
    "faults": ["error1", "error2"],
    "maintenance": ["comp1", "comp2"],
    "attributes": ["age", "power"],
    "categories": {"model": ["model1", "V90/2 MW"], "site": ["north"]},
    "windows": [
        {"length": "24h", "statistics": ["std", "mean"], "fault_statistics": ["age", "count"]},
        {"length": "3h", "sensors": [], "faults": ["error2"], "fault_statistics": ["count"]},
        {"length": "7d", "statistics": ["slope"], "sensors": ["rotate"], "faults": []},
    ],
}


def machine(**keys: object) -> dict[str, Any]:
    """Overrides with a second class, of which nothing is predicted."""
    return {"classes": {"machine": MACHINE | keys}, "assets": {"adopt_as": "pump"}}


def test_features_come_in_the_one_order(expanded: Expanded) -> None:
    """Values, each window's sensors and then its faults, maintenance, attributes, categories."""
    assert expanded(machine()).classes["machine"].features == (
        *("volt", "rotate"),
        *("volt:mean:24h", "volt:std:24h", "rotate:mean:24h", "rotate:std:24h"),
        *("error1:count:24h", "error1:age:24h", "error2:count:24h", "error2:age:24h"),
        "error2:count:3h",
        "rotate:slope:7d",
        *("comp1:since", "comp1:times", "comp2:since", "comp2:times"),
        *("age", "power"),
        *("model=model1", "model=V90/2 MW", "site=north"),
    )


def test_a_class_carries_what_makes_its_features(expanded: Expanded) -> None:
    """Faults, maintenance, attributes and categories are in the plan, in configured order."""
    made = expanded(machine()).classes["machine"]
    assert (made.faults, made.maintenance) == (("error1", "error2"), ("comp1", "comp2"))
    assert made.attributes == ("age", "power")
    assert made.categories == (("model", ("model1", "V90/2 MW")), ("site", ("north",)))


def test_windows_name_faults_by_index(expanded: Expanded) -> None:
    """A window has all faults of the class by default, with both statistics; `[]` are none."""
    day, short, week = expanded(machine()).classes["machine"].windows
    assert (day.sensors, day.faults, day.fault_statistics) == ((0, 1), (0, 1), FAULT_STATISTICS)
    assert (short.sensors, short.faults, short.fault_statistics) == ((), (1,), ("count",))
    assert (week.sensors, week.faults, week.fault_statistics) == ((1,), (), FAULT_STATISTICS)


def test_a_class_without_any_of_it_is_as_before(expanded: Expanded) -> None:
    """All of it is optional; an old file makes the same features as ever."""
    pump = expanded().classes["pump"]
    assert (pump.faults, pump.maintenance, pump.attributes, pump.categories) == ((), (), (), ())
    assert (pump.reset_windows_on, pump.idle_timeout, pump.asset_ttl) == ((), None, None)
    assert [window.faults for window in pump.windows] == [(), ()]
    assert all(name.partition(":")[0] in pump.sensors for name in pump.features)


def test_models_see_the_new_features_by_globs(expanded: Expanded) -> None:
    """Globs match features of faults, maintenance, attributes and categories like any other."""
    target = {"class": "machine", "mode": "comp1", "horizon": "24h", "champion": "tree", "models": ["tree"]}
    globs = ["error?:count:*", "comp1:*", "age", "model=*"]
    fleet = expanded(machine() | {"targets": [target], "models": {"tree": {"features": globs}, "linear": {}}})
    features = fleet.classes["machine"].features
    (tree,) = fleet.targets["machine/comp1/24h"].models
    assert [features[index] for index in tree.features] == [
        *("error1:count:24h", "error2:count:24h", "error2:count:3h"),
        *("comp1:since", "comp1:times", "age", "model=model1", "model=V90/2 MW"),
    ]


@pytest.mark.parametrize(
    "keys",
    [
        {"faults": ["hot"], "windows": [{"length": "24h"}]},
        {"maintenance": ["shaft"]},
        {"attributes": ["age"]},
        {"categories": {"model": ["P1"]}},
    ],
)
def test_a_class_without_sensors_can_have_targets(expanded: Expanded, keys: dict[str, Any]) -> None:
    """Whatever makes features is enough to predict from."""
    target = {"class": "fan", "mode": "stop", "horizon": "24h", "champion": "tree", "models": ["tree"]}
    fleet = expanded({"classes": {"fan": keys}, "assets": {"adopt_as": "pump"}, "targets": [target]})
    assert fleet.targets["fan/stop/24h"].models[0].features == tuple(
        range(len(fleet.classes["fan"].features))
    )


@pytest.mark.parametrize("written", [["failure"], ["maintenance", "failure"], []])
def test_windows_reset_in_one_order(expanded: Expanded, written: list[str]) -> None:
    """What resets windows is a subset of failure and maintenance, in that order."""
    made = expanded(machine(reset_windows_on=written)).classes["machine"].reset_windows_on
    assert made == tuple(sorted(written))


# Each refusal: what the class has, the key that is named, a part of what was expected, and the hint.
REFUSALS: list[tuple[dict[str, Any], str, str, str | None]] = [
    ({"faults": ["error1", "error2", "error1"]}, "faults[2]", "each name once", None),
    ({"maintenance": ["a", "a"]}, "maintenance[1]", "each name once", None),
    ({"attributes": ["age", "age"]}, "attributes[1]", "each name once", None),
    ({"categories": {"model": ["a", "b", "a"]}}, "categories.model[2]", "each name once", None),
    ({"categories": {"model": ["a "]}}, "categories.model[0]", "printable", None),
    ({"categories": {"model": [""]}}, "categories.model[0]", "printable", None),
    ({"categories": {"model": ["a\nb"]}}, "categories.model[0]", "printable", None),
    ({"categories": {"model": [3]}}, "categories.model[0]", "text", None),
    ({"categories": {"model": "a"}}, "categories.model", "a list", None),
    ({"categories": {"mo:del": ["a"]}}, 'categories."mo:del"', "a name", None),
    ({"categories": ["model"]}, "categories", "a table", None),
    ({"attributes": ["a*"]}, "attributes[0]", "a name", None),
    ({"reset_windows_on": ["failure", "failure"]}, "reset_windows_on[1]", "each name once", None),
    ({"reset_windows_on": ["failures"]}, "reset_windows_on[0]", "failure, maintenance", "failure"),
    ({"windows": [{"length": "1h", "faults": ["eror1"]}]}, "windows[0].faults[0]", "a fault", "error1"),
    ({"windows": [{"length": "1h", "faults": ["volt"]}]}, "windows[0].faults[0]", "error1, error2", None),
    (
        {"windows": [{"length": "1h", "faults": ["error1", "error1"]}]},
        "windows[0].faults[1]",
        "each name once",
        None,
    ),
    (
        {"windows": [{"length": "1h", "fault_statistics": ["counts"]}]},
        "windows[0].fault_statistics[0]",
        "count, age",
        "count",
    ),
    (
        {"windows": [{"length": "1h", "fault_statistics": []}]},
        "windows[0].fault_statistics",
        "at least one",
        None,
    ),
    ({"windows": [{"length": "1h", "sensors": [], "faults": []}]}, "windows[0]", "at least one sensor", None),
    ({"sensors": [], "faults": [], "windows": [{"length": "1h"}]}, "windows[0]", "at least one sensor", None),
    ({"attributes": ["volt"]}, "attributes[0]", "no feature of classes.machine.sensors[0]", None),
    (
        {"attributes": ["a=b"], "categories": {"a": ["b"]}},
        "categories.a[0]",
        "no feature of classes.machine.attributes[0]",
        None,
    ),
    ({"categories": {"a": ["b=c"], "a=b": ["c"]}}, 'categories."a=b"[0]', "machine.categories.a[0]", None),
    (
        {"faults": ["volt"], "windows": [{"length": "1h", "statistics": ["count"]}]},
        "windows[0]",
        "no feature of itself",
        None,
    ),
    (
        {"windows": [{"length": "24h", "statistics": ["mean"]}, {"length": "1440m", "sensors": []}]},
        "windows[1]",
        "no feature of classes.machine.windows[0]",
        None,
    ),
]


@pytest.mark.parametrize(
    ("keys", "key", "expected", "hint"), REFUSALS, ids=[f"{row[1]}-{n}" for n, row in enumerate(REFUSALS)]
)
def test_what_cannot_be_is_refused_with_key_and_hint(
    refused: Refused, keys: dict[str, Any], key: str, expected: str, hint: str | None
) -> None:
    """One thing wrong is one problem: its place, what may stand there, and the nearest valid name."""
    problems = refused(machine(**keys))
    assert list(problems) == [f"classes.machine.{key}"]
    (problem,) = problems.values()
    assert expected in problem.expected
    assert problem.hint == hint


@pytest.mark.parametrize("statistics", [["mean"], ["last", "max"]])
def test_a_fault_may_be_named_as_a_sensor_if_no_feature_is(expanded: Expanded, statistics: list[str]) -> None:
    """Only equal names of features are refused, not equal names of what they are made from."""
    keys = {"faults": ["volt"], "windows": [{"length": "1h", "statistics": statistics}]}
    assert "volt:count:1h" in expanded(machine(**keys)).classes["machine"].features


def test_without_values_an_attribute_may_be_named_as_a_sensor(expanded: Expanded) -> None:
    """A reading that is no feature leaves its name free."""
    features = expanded(machine(attributes=["volt"], values=False)).classes["machine"].features
    assert features.count("volt") == 1


NAMES = st.lists(st.sampled_from(["a", "b", "a=b"]), unique=True, max_size=3)
WINDOWS = st.lists(
    st.fixed_dictionaries(
        {
            "length": st.sampled_from(["60m", "2h"]),
            "statistics": st.sampled_from([["count"], ["mean"], ["mean", "age"]]),
            "fault_statistics": st.sampled_from([["count"], ["count", "age"]]),
        },
        optional={"sensors": st.just([]), "faults": st.just([])},
    ),
    max_size=2,
)
CLASSES = st.fixed_dictionaries(
    {
        "sensors": NAMES,
        "faults": NAMES,
        "maintenance": NAMES,
        "attributes": NAMES,
        "categories": st.dictionaries(st.sampled_from(["a", "c"]), NAMES, max_size=2),
        "windows": WINDOWS,
        "values": st.booleans(),
    }
)


def names_of(keys: dict[str, Any], window: dict[str, Any]) -> list[str]:
    """The features of a window, as the documentation lists them."""
    length = {"60m": "1h", "2h": "2h"}[window["length"]]
    return [
        f"{name}:{statistic}:{length}"
        for kind, statistics in (("sensors", "statistics"), ("faults", "fault_statistics"))
        for name in window.get(kind, keys[kind])
        for statistic in window[statistics]
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=CLASSES)
def test_features_are_as_documented_or_refused(expanded: Expanded, keys: dict[str, Any]) -> None:
    """A class is refused exactly if two features have one name or a window holds nothing."""
    by_window = [names_of(keys, window) for window in keys["windows"]]
    documented = [
        *(keys["sensors"] if keys["values"] else []),
        *(name for names in by_window for name in names),
        *(f"{name}:{what}" for name in keys["maintenance"] for what in ("since", "times")),
        *keys["attributes"],
        *(f"{name}={value}" for name, values in keys["categories"].items() for value in values),
    ]
    overrides = {"classes": {"any": keys}, "assets": {"adopt_as": "pump"}}
    if all(by_window) and len(set(documented)) == len(documented):
        assert expanded(overrides).classes["any"].features == tuple(documented)
    else:
        with pytest.raises(FleetError):
            expanded(overrides)
