"""``python -m benchmarks`` lists the benchmarks; with a name it runs one, and with none the quick one."""

from __future__ import annotations
