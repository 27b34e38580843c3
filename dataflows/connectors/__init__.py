"""Sources and sinks."""

from __future__ import annotations
