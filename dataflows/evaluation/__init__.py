"""What a run was worth, from its outputs: figures with intervals, and alerts compared with failures."""

from __future__ import annotations
