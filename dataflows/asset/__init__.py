"""One asset: its windows, its features, its labels."""

from __future__ import annotations

from dataflows.asset.asset import Asset

__all__ = ["Asset"]
