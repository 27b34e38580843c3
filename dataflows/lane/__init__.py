"""The lane: one place where everything passes in sequence."""

from __future__ import annotations

from dataflows.lane.lane import Lane

__all__ = ["Lane"]
