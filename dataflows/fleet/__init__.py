"""``fleet.toml``: its typed form, the fleet that it describes, and the checks before a run."""

from __future__ import annotations

from dataflows.fleet.fleet import (
    Alert,
    AssetClass,
    AssetPolicy,
    Fleet,
    Input,
    Kafka,
    KafkaInput,
    KafkaOutput,
    Model,
    Output,
    Promotion,
    Receiver,
    Secret,
    Target,
    Weather,
    Window,
)
from dataflows.fleet.load import from_document, load
from dataflows.fleet.problems import FleetError, Problem

__all__ = [
    "Alert",
    "AssetClass",
    "AssetPolicy",
    "Fleet",
    "FleetError",
    "Input",
    "Kafka",
    "KafkaInput",
    "KafkaOutput",
    "Model",
    "Output",
    "Problem",
    "Promotion",
    "Receiver",
    "Secret",
    "Target",
    "Weather",
    "Window",
    "from_document",
    "load",
]
