"""Groups that may differ: how much they do, and what to believe of each.

    pooled = pool(values, variances)      # of k groups: their means, and how far chance may have moved these
    pooled.centre, pooled.believed

Empirical Bayes: the groups' true values scatter around a common centre with variance τ²; each measured one is pulled
towards the centre, the more the less it was measured: believed = centre + τ² / (τ² + variance) x (value - centre)
(C. N. Morris, "Parametric Empirical Bayes Inference: Theory and Applications", JASA 78(381), 1983). τ² by moments (R.
DerSimonian and N. Laird, "Meta-Analysis in Clinical Trials", Controlled Clinical Trials 7(3), 1986): 0 when the groups
differ no more than chance makes them, and then nothing is left of their differences.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc, ndtri, stdtrit

__all__ = ["Pooled", "normal", "pool", "students_t", "surprising"]

Floats = NDArray[np.float64]


class Pooled(NamedTuple):
    """k groups, together."""

    centre: float
    between: float
    """τ²: the variance of the true values."""
    believed: Floats
    """(k,): pulled towards the centre."""
    error: Floats
    """(k,): standard error of value - centre, by chance alone."""


def pool(values: Floats, variances: Floats) -> Pooled:
    """(k,) measured values with their variances, all above 0; k may be 1."""
    fixed = 1.0 / variances
    middle = float(np.average(values, weights=fixed))
    scatter = float(fixed @ (values - middle) ** 2)
    spread = float(fixed.sum() - (fixed**2).sum() / fixed.sum())
    between = max(0.0, (scatter - (len(values) - 1)) / spread) if len(values) > 1 else 0.0
    share = 1.0 / (between + variances)
    share /= share.sum()
    centre = float(share @ values)
    error = np.sqrt(np.maximum(variances * (1.0 - 2.0 * share) + float(share**2 @ variances), 0.0))
    return Pooled(centre, between, centre + between / (between + variances) * (values - centre), error)


def normal(chance: float) -> float:
    """The distance in known standard errors that chance alone exceeds, to either side, with this chance."""
    return float(ndtri(1.0 - chance / 2.0))


def students_t(chance: float, freedom: float) -> float:
    """The same in standard errors that were estimated, with so many degrees of freedom, at least 1."""
    return float(stdtrit(max(freedom, 1.0), 1.0 - chance / 2.0))


def surprising(total: float, n: int, expected: float, chance: float) -> bool:
    """Whether `total` of n outcomes, each 0 to 1, is further from n x `expected` than chance explains.

    Exact for outcomes that are 0 or 1 with one and the same expectation; when expectations differ, or outcomes are
    shares, chance explains less, and the answer is on the safe side (W. Hoeffding, "On the Distribution of the Number
    of Successes in Independent Trials", Annals of Mathematical Statistics 27(3), 1956).
    """
    if total > n * expected:
        tail = float(bdtrc(np.floor(total + 1e-9) - 1.0, n, expected)) if total >= 1.0 else 1.0
    else:
        tail = float(bdtr(np.ceil(total - 1e-9), n, expected))
    return tail < chance / 2.0
