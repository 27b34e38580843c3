"""Simulate trucks with hidden wear and the messages of their devices, and record the truth about both."""

from __future__ import annotations

from dataflows.simulator.failures import Episode
from dataflows.simulator.recording import Simulated, simulate
from dataflows.simulator.scenario import Scenario, ScenarioError, load_scenario, shipped
from dataflows.simulator.truth import Files, write

__all__ = [
    "Episode",
    "Files",
    "Scenario",
    "ScenarioError",
    "Simulated",
    "load_scenario",
    "shipped",
    "simulate",
    "write",
]
