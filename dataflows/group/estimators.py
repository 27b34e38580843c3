"""Former path of `Prior`: files of users and pickles in stores name it here."""

from __future__ import annotations

from dataflows.estimators import Prior

__all__ = ["Prior"]
