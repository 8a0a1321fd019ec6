"""The text model, slow and obvious: pure Python, one step after the other, straight from its description."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

from policies.text.features import LIMIT
from policies.text.model import HEADS, TextModel

MASK = 0xFFFFFFFF
FNV_BASIS, FNV_PRIME = 2166136261, 16777619
UNIGRAM, PAIR, START, END, SHAPE = 0x1000193, 0x2B8F1A05, 0x3C6EF372, 0x51ED270B, 0x6A09E667
SPACES = {0x85, 0xA0, 0x2028, 0x2029, 0x3000, 0xFEFF, *range(0x2000, 0x200C)}


def folded(c: int) -> int:
    """Without case and width."""
    if 0xFF01 <= c <= 0xFF5E:
        c -= 0xFEE0
    if chr(c) in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" or (0xC0 <= c <= 0xDE and c != 0xD7):
        return c + 32
    if 0x391 <= c <= 0x3A9 or 0x410 <= c <= 0x42F:
        return c + 32
    if 0x400 <= c <= 0x40F:
        return c + 80
    return {0x3002: ord("."), 0x3001: ord(",")}.get(c, c)


def kind(c: int) -> str:
    """space, letter, digit, wide, mark or line, of a folded code point."""
    if c < 128:
        character = chr(c)
        if character == "\n":
            return "line"
        if character.isalpha():
            return "letter"
        if character.isdigit():
            return "digit"
        return "space" if c <= 32 or c == 127 else "mark"
    if c in SPACES:
        return "space"
    if 0x3040 <= c <= 0x30FF or 0x3400 <= c <= 0x9FFF or 0xF900 <= c <= 0xFAFF or 0x20000 <= c <= 0x3FFFF:
        return "wide"
    if c < 0xC0 or c in (0xD7, 0xF7) or 0x2010 <= c <= 0x2BFF or 0x3003 <= c <= 0x303F or c >= 0xFE10:
        return "mark"
    return "letter"


def fnv(codes: list[int]) -> int:
    h = FNV_BASIS
    for c in codes:
        h = ((h ^ c) * FNV_PRIME) & MASK
    return h


def joined(*parts: int) -> int:
    h = parts[0]
    for part in parts[1:]:
        h = (((h ^ 0x9E3779B1) * FNV_PRIME) + part) & MASK
    return h


def bucket(h: int, bits: int) -> int:
    for _ in range(2):
        h = ((h ^ (h >> 16)) * 0x45D9F3B) & MASK
    return (h ^ (h >> 16)) & ((1 << bits) - 1)


def tokens(text: str) -> list[tuple[list[int], int]]:
    """Folded code points and shape of each token."""
    found: list[tuple[list[int], int]] = []
    before = "space"
    for character in text:
        c = folded(ord(character))
        now = kind(c)
        if now == "letter" and before == "letter":
            found[-1][0].append(c)
        elif now != "space":
            capital = 2 if c != ord(character) else 1
            shape = {"letter": capital, "digit": 3, "wide": 4}.get(now, 16 + c)
            found.append(([c], shape))
        before = now
    return found


def features(text: str, bits: int) -> Counter[int]:
    """How often each bucket occurs."""
    cut = tokens(text)
    hashes, shapes = [fnv(codes) for codes, _ in cut], [shape for _, shape in cut]
    found: Counter[int] = Counter(bucket(joined(UNIGRAM, h), bits) for h in hashes)
    found.update(bucket(joined(PAIR, *two), bits) for two in pairwise(hashes))
    found.update(bucket(joined(SHAPE, *three), bits) for three in zip(shapes, shapes[1:], shapes[2:], strict=False))
    for size in range(1, min(3, len(hashes)) + 1):
        found[bucket(joined(START, *hashes[:size]), bits)] += 1
        found[bucket(joined(END, *hashes[::-1][:size]), bits)] += 1
    return found


def heads(model: TextModel, text: str, dense: list[float]) -> list[float]:
    """Near, far and log-length heads of a text whose plain figures are given."""
    arrays = model.arrays
    place = {int(b): i for i, b in enumerate(arrays["known"])}
    weights = {
        place[b]: (1.0 + math.log(n)) * float(arrays["idf"][place[b]])
        for b, n in features(text, model.header["bits"]).items()
        if b in place
    }
    length = math.sqrt(sum(w * w for w in weights.values())) or 1.0
    row = {i: w / length for i, w in weights.items()}
    topics = [sum(w * float(arrays["topics"][i, j]) for i, w in row.items()) for j in range(model.header["topics"])]
    size = math.sqrt(sum(t * t for t in topics)) or 1.0
    stretch = arrays["stretch"].tolist()
    point = [t / size * s for t, s in zip(topics, stretch, strict=False)]
    for figure, center, by in zip(dense, arrays["center"].tolist(), stretch[len(topics) :], strict=True):
        point.append(min(max((figure - center) * by, -LIMIT), LIMIT))
    found = []
    for h in range(HEADS):
        value = float(arrays["level"][h]) + sum(w * float(arrays["word_heads"][i, h]) for i, w in row.items())
        for landmark, weight in zip(arrays["landmarks"].tolist(), arrays["landmark_heads"][:, h].tolist(), strict=True):
            apart = sum((a - b) ** 2 for a, b in zip(point, landmark, strict=True))
            value += math.exp(-apart / 2.0) * weight
        found.append(value)
    return found
