"""Kafka's client is only for who uses Kafka."""

from __future__ import annotations

import subprocess
import sys


def test_a_fleet_on_files_needs_no_kafka_client() -> None:
    """Everything but the Kafka connectors imports without it."""
    code = """
import sys
sys.modules["confluent_kafka"] = None
import dataflows.__main__, dataflows.failure_prediction, dataflows.tools.run, dataflows.tools.replay
assert not [name for name in sys.modules if name.startswith("dataflows.connectors.kafka")]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
