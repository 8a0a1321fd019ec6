"""Columns of Arrow tables as NumPy arrays: numbers with null filled in, lists one after another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = ["any_of", "flat", "is_null", "numbers", "starts"]


def starts(table: pa.Table) -> NDArray[np.int64]:
    """(n + 1,): where the actions of each decision begin, among all actions of the log."""
    lengths = numbers(pc.list_value_length(table["phi"]), 0)
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def any_of(bad: NDArray[np.bool_], start: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(n,): whether any of a decision's actions is marked."""
    return np.add.reduceat(bad.astype(np.int64), start[:-1]) > 0


def flat(lists: Any) -> pa.Array:
    """The items of lists, one after another."""
    array = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    if isinstance(array, pa.ChunkedArray):  # of no chunk, or of several that do not fit in one
        array = pa.concat_arrays(array.chunks)
    return array.flatten()


def numbers(values: Any, missing: float) -> NDArray[Any]:
    """Numbers with null filled in; flags as 0 and 1."""
    if pa.types.is_boolean(values.type):
        values = pc.cast(values, pa.int8())
    whole = not pa.types.is_floating(values.type)
    filled = pc.fill_null(values, pa.scalar(int(missing) if whole else float(missing), values.type))
    return np.asarray(filled)


def is_null(values: Any) -> NDArray[np.bool_]:
    """(n,): what is missing."""
    return np.asarray(numbers(pc.is_null(values), 1) != 0, np.bool_)
