"""Kafka topics as input and output, both exact across a kill of this program or of a broker."""

from __future__ import annotations
