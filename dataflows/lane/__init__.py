"""The lane: all records pass it in sequence."""

from __future__ import annotations

from dataflows.lane.lane import Lane

__all__ = ["Lane"]
