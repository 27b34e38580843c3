"""One target: score, remember what was served, evaluate, learn, keep the figures."""

from __future__ import annotations

from dataflows.target.target import TargetStage

__all__ = ["TargetStage"]
