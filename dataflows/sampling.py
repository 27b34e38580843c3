"""Which assets belong to a sample: the same in every run, on every worker, before and after a resume."""

from __future__ import annotations

import hashlib

__all__ = ["in_sample"]


def in_sample(asset: str, share: float) -> bool:
    """Whether an asset is among a share of all, by a hash of its name.

    A smaller share's assets are among those of a larger one.

    Args:
        asset: its name.
        share: from 0 (none) to 1 (all).
    """
    digest = hashlib.blake2b(asset.encode(), digest_size=7).digest()
    return int.from_bytes(digest) < share * (1 << 56)
