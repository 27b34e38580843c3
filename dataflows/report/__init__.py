"""One page about a run: what is at risk, whether to believe it, each asset, models, data, and the gaps."""

from __future__ import annotations
