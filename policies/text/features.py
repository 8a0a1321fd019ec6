"""Texts as matrices: hashed counts, TF-IDF, topics and plain figures, as `kernels.outputs` sees them one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.text.kernels import FEATURES_PER_CODE_POINT, SPARE_FEATURES, buckets_and_layout
from policies.text.layout import DENSE

__all__ = ["BITS", "LIMIT", "TOPICS", "Basis", "Counts", "code_points", "count_features", "learn_basis"]

BITS = 18
"""Features are hashed to 2^18 buckets."""
TOPICS = 48
LIMIT = 4.0 * DENSE**-0.5
"""Where a plain figure of a point is cut: four standard deviations."""
_LANDMARKS = 512
_TOPIC_STRETCH = 3.0**0.5
_SEED = 20240917

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]


def code_points(text: str) -> NDArray[np.uint32]:
    """The Unicode code points of a text; lone surrogates, as broken JSON may hold, are kept as they are."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


@dataclass(frozen=True, slots=True)
class Counts:
    """How often each bucket occurs in each of n texts (a sparse n x 2^bits matrix), and plain figures (n x DENSE)."""

    matrix: Any
    dense: Floats

    def __len__(self) -> int:
        return len(self.dense)

    def __getitem__(self, which: NDArray[np.int64]) -> Counts:
        return Counts(self.matrix[which], self.dense[which])


def count_features(texts: Sequence[str], bits: int = BITS) -> Counts:
    """Cut and count texts."""
    from scipy.sparse import csr_matrix

    buckets, counts, starts = [], [], [0]
    dense = np.zeros((len(texts), DENSE))
    for i, text in enumerate(texts):
        codes = code_points(text)
        room = FEATURES_PER_CODE_POINT * len(codes) + SPARE_FEATURES
        found, often = np.empty(room, np.int64), np.empty(room, np.int64)
        n = buckets_and_layout(codes, bits, found, often, dense[i])
        buckets.append(found[:n].astype(np.int32))
        counts.append(often[:n].astype(np.float32))
        starts.append(starts[-1] + n)
    matrix = csr_matrix(
        (np.concatenate(counts), np.concatenate(buckets), np.asarray(starts)), shape=(len(texts), 1 << bits)
    )
    matrix.sort_indices()
    return Counts(matrix, dense)


@dataclass(frozen=True, slots=True)
class Basis:
    """What turns counts into points: learned from prompts alone, without labels.

    `known` holds the K buckets that count, ascending, `idf` their weights, `topics` K x TOPICS, `center` DENSE,
    `stretch` TOPICS + DENSE; `landmarks` are points.
    """

    known: NDArray[np.int64]
    idf: Singles
    topics: Singles
    center: Floats
    stretch: Floats
    landmarks: Singles

    def sparse(self, counts: Counts) -> Any:
        """TF-IDF rows of length 1 (n x K, sparse)."""
        return _tf_idf(counts, self.known, self.idf)

    def points(self, sparse: Any, counts: Counts) -> Singles:
        """n x (TOPICS + DENSE)."""
        return _points(sparse, counts, self.topics, self.center, self.stretch)

    def likeness(self, points: Singles) -> Singles:
        """Gaussian likeness of points to landmarks (n x M)."""
        alike: Singles = np.exp(-0.5 * _squared_distances(points, self.landmarks))
        return alike


def learn_basis(counts: Counts) -> Basis:
    """Learn which buckets count (those of two texts or more, if there are any), their rarity, topics and landmarks."""
    n = len(counts)
    random = np.random.default_rng(_SEED)
    frequency = np.asarray((counts.matrix > 0).sum(axis=0)).ravel()
    known = np.flatnonzero(frequency >= 2)
    if len(known) < 2:  # no two prompts share anything
        known = np.flatnonzero(frequency >= 1)
    idf = (np.log((1 + n) / (1 + frequency[known])) + 1.0).astype(np.float32)
    sparse = _tf_idf(counts, known, idf)
    topics = _topics(sparse, random)
    center, spread = counts.dense.mean(axis=0), counts.dense.std(axis=0)
    plain = np.where(spread > 1e-9, DENSE**-0.5 / np.maximum(spread, 1e-9), 0.0)
    stretch = np.r_[np.full(TOPICS, _TOPIC_STRETCH), plain]
    points = _points(sparse, counts, topics, center, stretch)
    chosen = np.sort(random.permutation(n)[:_LANDMARKS])
    return Basis(known, idf, topics, center, stretch, points[chosen])


def _tf_idf(counts: Counts, known: NDArray[np.int64], idf: Singles) -> Any:
    from sklearn.preprocessing import normalize

    matrix = counts.matrix[:, known].astype(np.float32)
    matrix.data = (1.0 + np.log(matrix.data)) * idf[matrix.indices]
    return normalize(matrix, copy=False)


def _topics(sparse: Any, random: np.random.Generator) -> Singles:
    """The leading right singular vectors (K x TOPICS); columns of zeros where there are fewer."""
    from scipy.sparse.linalg import svds

    wanted = min(TOPICS, min(sparse.shape) - 1)
    topics = np.zeros((sparse.shape[1], TOPICS), np.float32)
    start = random.standard_normal(min(sparse.shape))
    topics[:, :wanted] = svds(sparse.astype(np.float64), k=wanted, v0=start, tol=1e-3)[2][::-1].T
    return topics


def _points(sparse: Any, counts: Counts, topics: Singles, center: Floats, stretch: Floats) -> Singles:
    found = np.asarray(sparse @ topics)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    found = found / np.where(length > 0.0, length, 1.0) * stretch[:TOPICS]
    plain = np.clip((counts.dense - center) * stretch[TOPICS:], -LIMIT, LIMIT)
    return np.hstack([found, plain]).astype(np.float32)


def _squared_distances(a: Singles, b: Singles) -> Singles:
    squares: Singles = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * (a @ b.T)
    return np.maximum(squares, 0.0)
