"""Additions to Bytewax: order, state in parts, sealed snapshots, the recovery store."""

from __future__ import annotations
