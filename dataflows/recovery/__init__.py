"""The recovery store: its files, its manifest, and what a changed fleet costs it."""

from __future__ import annotations
