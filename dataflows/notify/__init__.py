"""Alerts out: committed rows become alerts for an Alertmanager or webhooks, each one once."""

from __future__ import annotations
