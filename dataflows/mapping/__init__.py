"""From a user's own files to events: `rows` reads them, `rules` make events, `recording` sorts the events."""

from __future__ import annotations
