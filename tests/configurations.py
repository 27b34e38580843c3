"""Configurations of a fleet of pumps, as tests of changed fleets make them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from dataflows.fleet.fleet import AssetPolicy, Fleet, Input, Model, Output, Target
from dataflows.window_statistics import feature_name
from tests.asset.streams import HOUR, MINUTE, ClassLayout
from tests.target.learners import Named

__all__ = ["FOREVER", "SENSORS", "Configuration"]

SENSORS = ("speed", "heat", "load", "warmth")
FOREVER = 10_000 * HOUR


class Configuration(NamedTuple):
    """What a ``fleet.toml`` says; of the model "some" only the features of its sensors are known."""

    layout: ClassLayout
    resets: bool = False
    idle: int | None = None
    some: tuple[str, ...] = SENSORS
    rate: int = 1
    more: bool = False
    hours: int = 2

    @property
    def names(self) -> tuple[str, ...]:
        """Of all features, as `dataflows.fleet.resolve` names them."""
        layout = self.layout
        windows = (
            feature_name(sensor, statistic, window.length)
            for window in layout.windows
            for sensor in window.sensors
            for statistic in window.statistics
        )
        return (*(layout.sensors if layout.values else ()), *windows)

    def fleet(self) -> Fleet:
        names = self.names
        every = tuple(range(len(names)))
        of_some = tuple(at for at in every if names[at].split(":")[0] in self.some)
        models = [
            Model("all", {"name": "all"}, every, Named),
            Model("some", {"name": "some", "rate": self.rate}, of_some or every, Named),
        ]
        if self.more:
            models.append(Model("more", {"name": "more"}, every, Named))
        target = Target(
            name=f"pump/seal/{self.hours}h",
            asset_class="pump",
            mode="seal",
            component="seal",
            horizon=self.hours * HOUR,
            label_delay=10 * MINUTE,
            label_memory=4 * HOUR,
            learn_positives="together",
            threshold=0.5,
            champion="all",
            models=tuple(models),
        )
        pump = replace(
            self.layout.asset_class(20 * MINUTE, (target.name,)),
            features=names,
            reset_windows_on=("failure",) if self.resets else (),
            idle_timeout=self.idle,
        )
        return Fleet(
            name="pumps",
            path=Path("fleet.toml"),
            figures_from=None,
            metrics_every=6 * HOUR,
            input=Input(("-",), 1),
            output=Output(Path("out"), "all"),
            assets=AssetPolicy(
                "adopt", "pump", 9, max_future=FOREVER, max_past=FOREVER, max_arrival_jump=FOREVER
            ),
            classes={"pump": pump},
            targets={target.name: target},
        )
