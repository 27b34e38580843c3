"""Kafka topics in and out, both exact across a kill of this program or of a broker."""

from __future__ import annotations
