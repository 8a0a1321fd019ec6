"""Ridge regression on words and on likeness to landmarks, both at once, folded to plain weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.text.features import Basis, Counts

__all__ = ["Design", "Heads", "solve"]

_WORDS = 0.7  # share of the words in the kernel, beside 1 for likeness
_TOLERANCE = 1e-3
_STEPS = 200

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Design:
    """n prompts in a basis: words (sparse, n x K) and smooth (n x M: likeness to landmarks, times `whitening`)."""

    words: Any
    smooth: Singles
    whitening: Singles

    @classmethod
    def of(cls, basis: Basis, counts: Counts) -> Design:
        words = basis.sparse(counts)
        values, vectors = np.linalg.eigh(basis.likeness(basis.landmarks).astype(np.float64))
        kept = values > 1e-5 * values[-1]
        whitening = (vectors[:, kept] / np.sqrt(values[kept])).astype(np.float32)
        return cls(words, basis.likeness(basis.points(words, counts)) @ whitening, whitening)

    def __getitem__(self, which: NDArray[np.int64]) -> Design:
        return Design(self.words[which], self.smooth[which], self.whitening)


@dataclass(frozen=True, slots=True)
class Heads:
    """H linear heads: weights of words K x H and of the smooth columns M x H, and the level H."""

    words: Floats
    smooth: Floats
    level: Floats

    def predict(self, design: Design) -> Floats:
        """n x H."""
        found: Floats = design.words @ self.words + design.smooth @ self.smooth + self.level
        return found


def solve(design: Design, wanted: Floats, penalty: float) -> Heads:
    """Heads for targets `wanted` (n x H): kernel ridge by conjugate gradients, all heads side by side.

    The penalty is in units of the kernel's diagonal, so that one value suits tables of every kind.
    """
    level = wanted.mean(axis=0)
    ridge = penalty * (1.0 + _WORDS)
    transposed = design.words.T.tocsr()

    def weights(alpha: Singles) -> tuple[Singles, Singles]:
        return _WORDS * (transposed @ alpha), design.smooth.T @ alpha

    def applied(alpha: Singles) -> Singles:
        words, smooth = weights(alpha)
        found: Singles = design.words @ words + design.smooth @ smooth + ridge * alpha
        return found

    words, smooth = weights(_conjugate_gradients(applied, (wanted - level).astype(np.float32)))
    return Heads(words.astype(np.float64), smooth.astype(np.float64), level)


def _conjugate_gradients(applied: Any, right: Singles) -> Singles:
    """Solve for every column of `right` on its own, at the cost of one."""
    found = np.zeros_like(right)
    residual, direction = right.copy(), right.copy()
    size = (residual**2).sum(axis=0)
    goal = _TOLERANCE**2 * np.maximum(size, 1e-30)
    for _ in range(_STEPS):
        image = applied(direction)
        step = size / np.maximum((direction * image).sum(axis=0), 1e-30)
        found += step * direction
        residual -= step * image
        before, size = size, (residual**2).sum(axis=0)
        if (size <= goal).all():
            break
        direction = residual + size / np.maximum(before, 1e-30) * direction
    return found
