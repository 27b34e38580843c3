"""Versions of what source and sink keep in the recovery store; it is read where there is no Kafka client."""

from __future__ import annotations

__all__ = ["SOURCE_VERSION", "TOPIC_VERSION"]

SOURCE_VERSION = 1
TOPIC_VERSION = 1
