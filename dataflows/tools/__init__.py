"""What a person runs."""

from __future__ import annotations
