"""Random numbers by counting, not by state: equal draws for equal questions, whatever happened before.

That is what makes two policies face the same luck (common random numbers) and two processes agree.
"""

from __future__ import annotations

import numpy as np

from policies.compiled import kernel


@kernel
def mix(state: np.uint64, word: int) -> np.uint64:
    """Stir one word into the state: SplitMix64's finalizer (Steele, Lea, Flood 2014)."""
    state = (state ^ np.uint64(word)) + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


@kernel
def uniform(seed: int, request: int, attempt: int, draw: int) -> float:
    """A uniform number in [0, 1) that depends on nothing but its arguments."""
    state = mix(mix(mix(mix(np.uint64(0x9E3779B97F4A7C15), seed), request), attempt), draw)
    return float(state >> np.uint64(11)) * (1.0 / 9007199254740992.0)
