"""From code points to hashed features and on to a model's outputs, compiled.

A text is an array of Unicode code points. It is cut into tokens (a run of letters, one digit, one Chinese or Japanese
character, one mark, one line break); features are single tokens, pairs, the first and last one to three, and the shapes
of three tokens in a row, each hashed to one of 2^bits buckets. Beside them stand `DENSE` plain figures of layout.
The slow, obvious version is in the tests; both must agree to the bit for buckets.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from policies.compiled import compiler
from policies.text.characters import DIGIT, LETTER, SPACE, WIDE, folded, kind_of
from policies.text.layout import DENSE, layout

__all__ = ["FEATURES_PER_CODE_POINT", "SPARE_FEATURES", "buckets_and_layout", "outputs"]

kernel = compiler("policies/text")

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

FEATURES_PER_CODE_POINT = 3
SPARE_FEATURES = 8

_MASK = 0xFFFFFFFF
_BASIS, _PRIME = 2166136261, 16777619  # FNV-1a, 32 bits
_UNIGRAM, _PAIR, _START, _END, _SHAPE = 0x1000193, 0x2B8F1A05, 0x3C6EF372, 0x51ED270B, 0x6A09E667


@kernel
def _mixed(h: int) -> int:
    """Spread 32 bits, so that the low ones can be taken as a bucket."""
    h = ((h ^ (h >> 16)) * 0x45D9F3B) & _MASK
    h = ((h ^ (h >> 16)) * 0x45D9F3B) & _MASK
    return h ^ (h >> 16)


@kernel
def _joined(a: int, b: int) -> int:
    """Hash of an ordered pair of hashes."""
    return (((a ^ 0x9E3779B1) * _PRIME) + b) & _MASK


@kernel
def _tokens(codes: NDArray[np.uint32], hashes: Ints, shapes: Ints) -> int:
    """Fill hashes and shapes (as long as `codes`) with one entry a token; returns how many.

    A shape is 1 for a word in small letters, 2 for one that begins with a capital, 3 for a digit, 4 for a wide
    character, and 16 plus its code point for a mark or line break.
    """
    count = 0
    inside = False
    for at in range(len(codes)):
        raw = np.int64(codes[at])
        c = folded(raw)
        kind = kind_of(c)
        if kind == SPACE:
            inside = False
            continue
        if kind == LETTER and inside:
            hashes[count - 1] = ((hashes[count - 1] ^ c) * _PRIME) & _MASK
            continue
        hashes[count] = ((_BASIS ^ c) * _PRIME) & _MASK
        if kind == LETTER:
            shapes[count] = 2 if raw != c else 1
        elif kind == DIGIT:
            shapes[count] = 3
        else:
            shapes[count] = 4 if kind == WIDE else 16 + c
        count += 1
        inside = kind == LETTER
    return count


@kernel
def _grams(hashes: Ints, shapes: Ints, count: int, bits: int, buckets: Ints) -> int:
    """Fill `buckets` with every feature of the tokens, repeated as often as it occurs; returns how many."""
    low = (1 << bits) - 1
    n = 0
    for t in range(count):
        buckets[n] = _mixed(_joined(_UNIGRAM, hashes[t])) & low
        n += 1
        if t >= 1:
            buckets[n] = _mixed(_joined(_joined(_PAIR, hashes[t - 1]), hashes[t])) & low
            n += 1
        if t >= 2:
            h = _joined(_joined(_joined(_SHAPE, shapes[t - 2]), shapes[t - 1]), shapes[t])
            buckets[n] = _mixed(h) & low
            n += 1
    start, end = _START, _END
    for t in range(min(3, count)):
        start = _joined(start, hashes[t])
        end = _joined(end, hashes[count - 1 - t])
        buckets[n] = _mixed(start) & low
        buckets[n + 1] = _mixed(end) & low
        n += 2
    return n


@kernel
def _distinct(values: Ints, n: int, counts: Ints) -> int:
    """Move the distinct ones of values[:n] to the front, in order of first sight, with their counts; returns how many.

    Open addressing: a slot holds the place of a distinct value plus one.
    """
    size = 16
    while size < 2 * n:
        size *= 2
    slots = np.zeros(size, np.int32)
    distinct = 0
    for i in range(n):
        value = values[i]
        slot = (value * 0x9E3779B1 >> 7) & (size - 1)
        while slots[slot] > 0 and values[slots[slot] - 1] != value:
            slot = (slot + 1) & (size - 1)
        if slots[slot] > 0:
            counts[slots[slot] - 1] += 1
            continue
        values[distinct] = value
        counts[distinct] = 1
        distinct += 1
        slots[slot] = distinct
    return distinct


@kernel
def buckets_and_layout(codes: NDArray[np.uint32], bits: int, buckets: Ints, counts: Ints, dense: Floats) -> int:
    """Distinct features of a text, with how often each occurs, and its plain figures; returns how many features.

    `buckets` and `counts` need room for FEATURES_PER_CODE_POINT * len(codes) + SPARE_FEATURES, `dense` for DENSE.
    """
    hashes = np.empty(len(codes) + 1, np.int64)
    shapes = np.empty(len(codes) + 1, np.int64)
    tokens = _tokens(codes, hashes, shapes)
    n = _distinct(buckets, _grams(hashes, shapes, tokens, bits, buckets), counts)
    layout(codes, tokens, _distinct(hashes, tokens, shapes), dense)
    return n


@kernel
def _gather(
    codes: NDArray[np.uint32],
    bits: int,
    rows: NDArray[np.int32],
    idf: Singles,
    table: Singles,
    total: Singles,
    dense: Floats,
) -> float:
    """Sum the table's rows of a text, weighted as TF-IDF of length 1; returns the share of features with a row."""
    room = FEATURES_PER_CODE_POINT * len(codes) + SPARE_FEATURES
    buckets = np.empty(room, np.int64)
    counts = np.empty(room, np.int64)
    n = buckets_and_layout(codes, bits, buckets, counts, dense)
    squares = np.float32(0.0)
    known = 0
    for i in range(n):
        row = rows[buckets[i]]
        if row >= 0:
            known += 1
            weight = np.float32(1.0 + math.log(counts[i])) * idf[row]
            squares += weight * weight
            for j in range(len(total)):
                total[j] += weight * table[row, j]
    if known > 0:
        length = np.float32(1.0 / math.sqrt(squares))
        for j in range(len(total)):
            total[j] *= length
    return known / n if n > 0 else 0.0


@kernel
def outputs(
    codes: NDArray[np.uint32],
    bits: int,
    rows: NDArray[np.int32],
    idf: Singles,
    table: Singles,
    center: Floats,
    stretch: Floats,
    landmarks: Singles,
    landmark_heads: Singles,
    limit: float,
    result: Floats,
) -> float:
    """Write the heads of a model to `result`; returns the share of the text's features that the model knows.

    rows[bucket] is a row of `idf` and `table`, or -1; a row of `table` holds the topics and then a weight per head. The
    topics (made one long) and the plain figures, each times its `stretch` and cut at `limit`, are a point; heads add
    what its Gaussian likeness to each landmark (a column of `landmarks`) is worth. Levels are the caller's to add.
    """
    heads = len(result)
    topics = table.shape[1] - heads
    dense = np.empty(DENSE, np.float64)
    total = np.zeros(topics + heads, np.float32)
    share = _gather(codes, bits, rows, idf, table, total, dense)
    point = np.zeros(topics + DENSE, np.float32)
    squares = 0.0
    for j in range(topics):
        squares += total[j] * total[j]
    for j in range(topics):
        point[j] = np.float32(total[j] / math.sqrt(squares) * stretch[j] if squares > 0.0 else 0.0)
    for j in range(DENSE):
        figure = (dense[j] - center[j]) * stretch[topics + j]
        point[topics + j] = np.float32(min(max(figure, -limit), limit))
    for h in range(heads):
        result[h] = total[topics + h]
    apart = np.zeros(landmarks.shape[1], np.float32)
    for j in range(len(point)):  # coordinate by coordinate: the inner loop then uses the whole width of the machine
        for m in range(len(apart)):
            difference = point[j] - landmarks[j, m]
            apart[m] += difference * difference
    for m in range(len(apart)):
        likeness = math.exp(-0.5 * apart[m])
        for h in range(heads):
            result[h] += likeness * landmark_heads[m, h]
    return share
