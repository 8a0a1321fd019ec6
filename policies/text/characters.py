"""Kinds of code points, and a text without case and width."""

from __future__ import annotations

from typing import Any

from policies.compiled import compiler

__all__ = ["DIGIT", "LETTER", "LINE", "MARK", "SPACE", "WIDE", "folded", "kind_of"]

kernel = compiler("policies/text")

Code = Any  # a whole number, of NumPy or of Python

SPACE, LETTER, DIGIT, WIDE, MARK, LINE = 0, 1, 2, 3, 4, 5


@kernel
def folded(c: Code) -> Code:
    """A code point without case and width: Latin, Greek, Cyrillic capitals; full-width ASCII; CJK stop and comma."""
    if 0xFF01 <= c <= 0xFF5E:
        c -= 0xFEE0
    if 65 <= c <= 90 or (0xC0 <= c <= 0xDE and c != 0xD7) or (0x391 <= c <= 0x3A9) or (0x410 <= c <= 0x42F):
        return c + 32
    if 0x400 <= c <= 0x40F:
        return c + 80
    if c == 0x3002:
        return 46
    if c == 0x3001:
        return 44
    return c


@kernel
def kind_of(c: Code) -> int:
    """Kind of a folded code point."""
    if c < 128:
        if 97 <= c <= 122:
            return LETTER
        if 48 <= c <= 57:
            return DIGIT
        if c == 10:
            return LINE
        return SPACE if c <= 32 or c == 127 else MARK
    if c == 0x85 or c == 0xA0 or 0x2000 <= c <= 0x200B or c == 0x2028 or c == 0x2029 or c == 0x3000 or c == 0xFEFF:
        return SPACE
    if 0x3040 <= c <= 0x30FF or 0x3400 <= c <= 0x9FFF or 0xF900 <= c <= 0xFAFF or 0x20000 <= c <= 0x3FFFF:
        return WIDE
    if c < 0xC0 or c == 0xD7 or c == 0xF7 or 0x2010 <= c <= 0x2BFF or 0x3003 <= c <= 0x303F or c >= 0xFE10:
        return MARK
    return LETTER
