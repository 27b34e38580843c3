"""Highwater: failure prediction on event streams, as a Bytewax dataflow."""

from __future__ import annotations

__version__ = "0.1.0"
