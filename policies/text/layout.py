"""Plain figures of a text: how long it is, how it is laid out, what it is made of."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from policies.compiled import compiler
from policies.text.characters import DIGIT, LETTER, LINE, MARK, SPACE, WIDE, folded, kind_of

__all__ = ["DENSE", "layout"]

kernel = compiler("policies/text")

DENSE = 28
"""How many figures there are."""

_OPTION_FIRST, _OPTION_LAST = 65, 74  # A to J


@kernel
def layout(codes: NDArray[np.uint32], tokens: int, distinct: int, dense: NDArray[np.float64]) -> None:
    """Write the plain figures of a text to dense[0] ... dense[27]; an empty text gives zeros."""
    length = len(codes)
    for i in range(DENSE):
        dense[i] = 0.0
    if length == 0:
        return
    digits = upper = marks = wide = foreign = letters = words = lines = numbers = 0
    backslashes = dollars = equals = questions = underscores = brackets = commas = stops = operators = indents = 0
    run = longest_run = longest_line = line_start = last = 0
    options = option_sum = option_most = with_digit = option_start = 0
    option_least = length
    stem = length
    option_digit = False
    before = SPACE
    for at in range(length):
        raw = np.int64(codes[at])
        c = folded(raw)
        kind = kind_of(c)
        if kind == DIGIT:
            digits += 1
            run += 1
            longest_run = max(longest_run, run)
            numbers += 1 if run == 1 else 0
            option_digit = True
        else:
            run = 0
        if kind == LETTER:
            letters += 1
            upper += 1 if raw != c else 0
            words += 1 if before != LETTER else 0
        elif kind == WIDE:
            wide += 1
        elif kind == MARK:
            marks += 1
        foreign += 1 if raw > 127 else 0
        backslashes += 1 if c == 92 else 0
        dollars += 1 if c == 36 else 0
        equals += 1 if c == 61 else 0
        questions += 1 if c == 63 else 0
        underscores += 1 if c == 95 else 0
        commas += 1 if c == 44 else 0
        stops += 1 if c == 46 else 0
        brackets += 1 if c == 40 or c == 91 or c == 123 else 0
        operators += 1 if c == 42 or c == 43 or c == 45 or c == 47 or c == 60 or c == 62 or c == 94 else 0
        if kind != SPACE and kind != LINE:
            last = c
        starts = (at == 0 or codes[at - 1] == 10) and at + 1 < length
        if starts and raw == 32:
            indents += 1
        ends = kind == LINE or at == length - 1
        if starts and _OPTION_FIRST <= raw <= _OPTION_LAST and (codes[at + 1] == 46 or codes[at + 1] == 41):
            stem = min(stem, at)
            option_start = at + 1
            option_digit = False
        if ends:
            lines += 1
            longest_line = max(longest_line, at - line_start)
            line_start = at + 1
            if option_start > 0:
                size = at - option_start
                options += 1
                option_sum += size
                option_most = max(option_most, size)
                option_least = min(option_least, size)
                with_digit += 1 if option_digit else 0
                option_start = 0
        before = kind
    dense[0] = math.log(length)
    dense[1] = math.log1p(words + wide)
    dense[2] = math.log1p(lines)
    dense[3] = options
    dense[4] = math.log1p(stem)
    if options > 0:
        dense[5] = math.log1p(option_sum / options)
        dense[6] = math.log1p(option_most)
        dense[7] = math.log1p(option_least)
        dense[8] = with_digit / options
    dense[9] = digits / length
    dense[10] = math.log1p(digits)
    dense[11] = upper / length
    dense[12] = marks / length
    dense[13] = math.log1p(backslashes)
    dense[14] = math.log1p(dollars)
    dense[15] = math.log1p(equals)
    dense[16] = math.log1p(questions)
    dense[17] = 1.0 if last == 63 else 0.0
    dense[18] = math.log1p(underscores)
    dense[19] = math.log1p(brackets)
    dense[20] = letters / max(words, 1)
    dense[21] = distinct / max(tokens, 1)
    dense[22] = math.log1p(numbers)
    dense[23] = math.log1p(longest_run)
    dense[24] = foreign / length
    dense[25] = (commas + stops) / max(words + wide, 1)
    dense[26] = math.log1p(operators)
    dense[27] = math.log1p(indents) + 0.1 * math.log1p(longest_line)
