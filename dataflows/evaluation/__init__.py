"""Figures of a run, computed from its outputs."""

from __future__ import annotations
