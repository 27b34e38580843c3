"""State that is stored: versioned snapshots, tables, and the layouts they were written by."""

from __future__ import annotations
