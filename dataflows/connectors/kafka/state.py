"""Versions of the state of source and sink in the recovery store, readable without a Kafka client."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataflows.state.snapshots import Older

__all__ = ["SOURCE_OLDER", "SOURCE_VERSION", "TOPIC_VERSION"]

SOURCE_VERSION = 2
#: Version 1 had no digests of registry files.
SOURCE_OLDER: Older = {1: lambda state: state}
TOPIC_VERSION = 1
