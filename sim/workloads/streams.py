"""Named streams of random numbers: one seed, one independent generator per purpose.

Changing one distribution of a workload must not move the numbers of another (common random numbers), so every
purpose draws from its own stream. A stream depends on the seed and the purpose's name alone, on every machine
alike.
"""

from __future__ import annotations

import hashlib

import numpy as np

from profiles.errors import UserError

__all__ = ["stream"]


def stream(seed: int, purpose: str) -> np.random.Generator:
    """The generator of a purpose, from its start. Raises UserError for a negative seed."""
    if seed < 0:
        raise UserError("the seed must not be negative", got=seed, allowed="0, 1, 2, ...")
    digest = hashlib.sha256(purpose.encode()).digest()
    words = tuple(int.from_bytes(digest[i : i + 4], "little") for i in range(0, 32, 4))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=words)))
