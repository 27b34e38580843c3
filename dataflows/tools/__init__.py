"""Commands of ``python -m dataflows``."""

from __future__ import annotations
