"""Long columns piece by piece, so that what is done to ten million requests stays in the processor's caches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bools", "Codes", "Floats", "Ints", "column", "parts"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.int8]

_ROWS = 1 << 16


def parts(count: int, rows: int = _ROWS) -> Iterator[slice]:
    """Slices that cover `count` rows in order, of at most `rows` each."""
    for begin in range(0, count, rows):
        yield slice(begin, min(begin + rows, count))


def column(chosen: Bools, values: Callable[[slice, Bools], Any], dtype: type[np.generic] = np.float64) -> NDArray[Any]:
    """One number for each chosen row, in order: `values(part, mask)` gives those of a part."""
    whole = np.empty(np.count_nonzero(chosen), dtype)
    at = 0
    for part in parts(len(chosen)):
        mask = chosen[part]
        found = int(np.count_nonzero(mask))
        whole[at : at + found] = values(part, mask)
        at += found
    return whole
