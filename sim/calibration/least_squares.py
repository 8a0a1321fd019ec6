"""Least squares with coefficients that cannot be negative: times are sums of what things cost.

    fit_shares(columns, times)      coefficients >= 0 of the columns, by the smallest relative error

Few columns (a handful at most): every subset is solved, the best one without a negative coefficient is taken. That is
the exact answer, whatever the columns.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from sim.numbers import Floats

__all__ = ["fit_shares"]

_MOST_COLUMNS = 8


def fit_shares(columns: Floats, times: Floats) -> Floats:
    """Coefficients c >= 0 that minimise the sum of (columns @ c / times - 1)^2; all 0 where nothing fits better.

    `columns` is (rows, coefficients), `times` (rows), all above 0. A subset of columns that depend on each other is
    passed over: there is a smaller one as good.
    """
    count = columns.shape[1]
    assert count <= _MOST_COLUMNS
    scaled = columns / times[:, None]
    best, least = np.zeros(count), float(len(times))
    for size in range(1, min(count, len(times)) + 1):
        for chosen in combinations(range(count), size):
            part = scaled[:, chosen]
            if np.linalg.matrix_rank(part / np.linalg.norm(part, axis=0).clip(1e-300)) < size:
                continue
            solved = np.linalg.lstsq(part, np.ones(len(times)), rcond=None)[0]
            loss = float(np.sum((part @ solved - 1.0) ** 2))
            if (solved >= 0.0).all() and loss < least - 1e-12:
                best, least = np.zeros(count), loss
                best[list(chosen)] = solved
    return best
