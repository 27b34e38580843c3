"""Additions to Bytewax: keys of a batch, order, state in parts; and what a dataflow runs on."""

from __future__ import annotations
