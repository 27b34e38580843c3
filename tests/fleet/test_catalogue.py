"""Short forms of a catalogue: a few lines are hundreds of models, and mistakes in them are named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dataflows.fleet import FleetError, load
from dataflows.fleet.catalogue import families
from dataflows.testing import check_estimator, failure, pump_fleet, run_lines, telemetry

if TYPE_CHECKING:
    from pathlib import Path

ONLINE = [
    *("linear", "bayesian", "naive_bayes", "hoeffding_tree", "adaptive_tree", "adaptive_forest"),
    *("mondrian_forest", "bagging", "nearest_neighbours", "anomaly", "time_to_failure", "prior"),
]
BATCH = ["boosting", "light_boosting", "forest", "logistic"]
RULE = {"template": "rule", "set": {"score": '"pressure:mean:6h" > 3'}}


def target(**more: object) -> dict[str, Any]:
    return {"class": "pump", "mode": "leak", "horizon": "12h", "champion": "prior", **more}


def names(models: dict[str, Any], **more: object) -> list[str]:
    fleet = pump_fleet(models, targets=[target(**more)])
    return [model.name for model in fleet.targets["pump/leak/12h"].models]


def test_every_family_is_a_template() -> None:
    """Those that learn online, those that are fitted in batch, and a rule."""
    assert {*families()} == {*ONLINE, *BATCH, "rule"}
    made = names({"all": {"template": [*ONLINE, *BATCH]}, "limit": RULE})
    assert made == [*(f"all-{name}" for name in [*ONLINE, *BATCH]), "limit", "prior"]


@pytest.mark.parametrize("name", [*ONLINE, *BATCH])
def test_every_family_keeps_the_contract_of_estimators(name: str) -> None:
    """Stored between any two examples too; small, so that it takes seconds."""
    small = {
        "adaptive_forest": {"trees": 2},
        "anomaly": {"trees": 2, "height": 3},
        "nearest_neighbours": {"neighbours": 3, "window": 50},
        "boosting": {"rounds": 3, "least": 5},
        "light_boosting": {"rounds": 3, "least": 5},
        "forest": {"trees": 3},
    }
    table = {"template": name, "set": small.get(name, {})}
    if name in BATCH:
        table |= {"refit_every": 150, "refit_lag": 50}
    fleet = pump_fleet({"m": table})
    check_estimator(fleet.targets["pump/leak/12h"].models[0].build())


def test_a_grid_is_every_combination_of_its_values() -> None:
    """Named by the values, or by their places where a name cannot hold them."""
    models = {
        "tree": {"template": "hoeffding_tree", "grid": {"max_depth": [2, 4], "features": [["*"], ["flow"]]}}
    }
    assert names(models) == [
        "tree-max_depth=2-features=1",
        "tree-max_depth=2-features=2",
        "tree-max_depth=4-features=1",
        "tree-max_depth=4-features=2",
        "prior",
    ]
    fleet = pump_fleet(models, targets=[target()])
    model = fleet.targets["pump/leak/12h"].models[3]
    assert model.build().max_depth == 4
    assert len(model.features) == 1


def test_a_few_lines_are_hundreds_of_models() -> None:
    """Classes x modes x horizons x estimators x values; a target may name a grid, and leave out others."""
    window = {"length": "6h", "hop": "1h", "statistics": ["mean"]}
    classes = {name: {"sensors": ["pressure", "flow"], "windows": [window]} for name in ("pump", "fan")}
    fleet = pump_fleet(
        {
            "all": {"template": ["linear", "naive_bayes", "bayesian"]},
            "tree": {
                "template": "hoeffding_tree",
                "grid": {"max_depth": [2, 3, 4], "grace_period": [50, 99]},
            },
        },
        classes=classes,
        assets={"unknown": "reject"},
        targets=[
            target(
                **{
                    "class": ["pump", "fan"],
                    "mode": ["leak", "jam", "burn"],
                    "horizon": ["6h", "12h", "24h"],
                },
                champion="all-linear",
                models=["all", "tree", "prior"],
            )
        ],
    )
    assert len(fleet.targets) == 18
    assert sum(len(each.models) for each in fleet.targets.values()) == 180


def test_a_written_out_model_and_the_same_by_a_template_are_one_model() -> None:
    """So a catalogue can be shortened under a recovery store."""
    written = {"pipeline": [{"estimator": "dataflows.estimators.BayesianLogistic", "variance": 0.5}]}
    templates = {
        "ours": {
            "parameters": {"v": 0.1},
            "pipeline": [{"estimator": "dataflows.estimators.BayesianLogistic", "variance": "$v"}],
        }
    }
    one = pump_fleet({"m": written})
    other = pump_fleet({"m": {"template": "ours", "set": {"v": 0.5}}}, templates=templates)
    assert one.targets == other.targets


def test_included_files_go_below_the_file_that_includes_them(tmp_path: Path) -> None:
    """Its own keys win, later files win over earlier ones, and targets of all count."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "models.toml").write_text(
        'include = ["trees.toml"]\n[models.prior]\ntemplate = "prior"\n[models.a]\ntemplate = "linear"\n'
    )
    (tmp_path / "more" / "trees.toml").write_text(
        '[models.a]\ntemplate = "hoeffding_tree"\n[models.b]\ntemplate = "hoeffding_tree"\n'
        '[[targets]]\nclass = "pump"\nmode = "jam"\nhorizon = "6h"\nchampion = "b"\n'
    )
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(
        'name = "pumps"\ninclude = ["more/models.toml"]\n[input]\nfiles = ["x"]\n'
        '[classes.pump]\nsensors = ["flow"]\n[models.b]\nset = { max_depth = 3 }\n'
        '[[targets]]\nclass = "pump"\nmode = "leak"\nhorizon = "6h"\nchampion = "a"\n'
    )
    found = load(fleet, environ={})
    assert [*found.targets] == ["pump/jam/6h", "pump/leak/6h"]
    built = {model.name: model.build() for model in found.targets["pump/leak/6h"].models}
    assert type(built["a"]).__name__ == "Pipeline"
    assert built["b"].max_depth == 3
    (tmp_path / "more" / "trees.toml").write_text('include = ["models.toml"]\n')
    with pytest.raises(FleetError, match="files that do not include each other"):
        load(fleet, environ={})


@pytest.mark.parametrize(
    ("models", "key", "what"),
    [
        ({"m": {"template": "linaer"}}, "models.m.template", "linear"),
        (
            {"m": {"template": "linear", "set": {"rate": 1}}},
            "models.m.set.rate",
            "a parameter that the model",
        ),
        ({"m": {"template": "linear", "grid": {"lr": 0.1}}}, "models.m.grid.lr", "a list of values"),
        ({"m": {"template": "rule"}}, "models.m.set", "a value of \\$score"),
        ({"m": {"features": ["*"]}}, "models.m.pipeline", "this key, which has no default"),
        ({"m": {"template": "linear", "keep": 5}}, "models.m.keep", "no such key without refit_every"),
        ({"m": {"template": "logistic", "refit_lag": "1h"}}, "models.m.refit_every", "in the same unit"),
    ],
)
def test_mistakes_are_named(models: dict[str, Any], key: str, what: str) -> None:
    """By the key, with what was expected."""
    with pytest.raises(FleetError, match=what) as found:
        pump_fleet(models)
    assert key in [problem.key for problem in found.value.problems]


def test_all_families_run_in_one_stream() -> None:
    """Each learns and scores; what is fitted in batch says so in the changes."""
    lines = []
    for hour in range(400):
        for asset in ("a", "b", "c"):
            wear = (hour + 17 * ord(asset)) % 60
            if wear == 0 and hour:
                lines.append(failure(asset, hour * 3600, "leak"))
            lines.append(telemetry(asset, hour * 3600, {"pressure": wear / 10, "flow": float(hour % 7)}))
    fast = {"set": {"rounds": 5}, "refit_every": 150, "refit_lag": 20}
    models = {
        "all": {"template": [name for name in ONLINE if name != "adaptive_forest"]},
        "light": {"template": "light_boosting", **fast},
        "timed": {"template": "boosting", **fast, "refit_every": "100h", "refit_lag": "5h"},
        "limit": RULE,
    }
    rows = run_lines(pump_fleet(models, targets=[target(champion="light")]), lines)
    assert not rows["rejects"]
    last = max(rows["evaluations"], key=len)
    assert b'"light":0.' in last
    changes = b"".join(rows["changes"])
    assert changes.count(b'"change":"refit"') > 4
    assert b"put_aside" not in changes
