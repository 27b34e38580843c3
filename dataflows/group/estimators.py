"""Estimators of our own, in River's protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Prior"]


class Prior:
    """The share of positives so far: (positives + 0.5) / (learned + 1). What every model must beat."""

    def __init__(self) -> None:
        self.positives = 0
        self.learned = 0

    def learn_one(self, x: Mapping[str, Any], y: bool) -> None:  # noqa: ARG002, FBT001 - River's signature
        """Count one label."""
        self.positives += int(y)
        self.learned += 1

    def predict_proba_one(self, x: Mapping[str, Any]) -> dict[bool, float]:  # noqa: ARG002 - River's signature
        """The same probability for everything."""
        positive = (self.positives + 0.5) / (self.learned + 1)
        return {False: 1.0 - positive, True: positive}
