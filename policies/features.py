"""φ and its score, compiled: what the data plane does for every action of every request.

Features, order and limits are those of `policies.layout.FEATURES`; the tests hold the two together. Nothing here
allocates; the functions work from plain Python as well.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from policies.compiled import kernel

__all__ = ["FEATURE_COUNT", "cascade_release", "fill", "normal_cdf", "normal_quantile", "score", "sigmoid"]

FEATURE_COUNT = 20  # of layout version 1
MAX_TTFT_S = 600.0
MAX_E2E_S = 3600.0
MAX_TTFT_OVER_SLO = 10.0

_SQRT_HALF = math.sqrt(0.5)


# -- φ -----------------------------------------------------------------------------------------------------------------


@kernel
def fill(
    phi: NDArray[np.float64],
    kind: int,
    quality: float,
    ttft_s: float,
    e2e_s: float,
    energy_j: float,
    cost_usd: float,
    egress_bytes: float,
    load: float,
    noise: float,
    difficulty: float,
    prompt_tokens: int,
    battery: float,
    heat: float,
    metered: int,
    slo_ttft_s: float,
) -> None:
    """Write the features of one action to phi[0] ... phi[19].

    `kind` is an index into `policies.layout.KINDS`; `battery` and `heat` are shares (rule V4), `metered` is 0 or 1,
    `slo_ttft_s` is infinite without a limit. Times in seconds, energy in joules, cost in USD.
    """
    for i in range(5):
        phi[i] = 0.0
    phi[kind] = 1.0
    phi[5] = quality
    phi[6] = min(ttft_s, MAX_TTFT_S)
    phi[7] = min(e2e_s, MAX_E2E_S)
    phi[8] = min(ttft_s / slo_ttft_s, MAX_TTFT_OVER_SLO) if slo_ttft_s < math.inf else 0.0
    phi[9] = energy_j
    phi[10] = cost_usd
    phi[11] = egress_bytes / 1e6
    phi[12] = load
    phi[13] = noise
    if kind == 0:
        phi[14] = difficulty
        phi[15] = math.log2(1.0 + prompt_tokens)
        phi[16] = battery
        phi[17] = heat
    else:
        for i in range(14, 18):
            phi[i] = 0.0
    phi[18] = phi[11] if metered != 0 else 0.0
    phi[19] = energy_j * (1.0 - battery)


@kernel
def score(phi: NDArray[np.float64], weights: NDArray[np.float64], scene: float) -> float:
    """Rule W4: the products added in the order of the layout, then the scene's own term."""
    total = 0.0
    for i in range(FEATURE_COUNT):
        total += weights[i] * phi[i]
    return total + scene


# -- the normal distribution and the logistic curve --------------------------------------------------------------------


@kernel
def normal_cdf(x: float) -> float:
    """Φ(x): the chance that a standard normal is at most x."""
    return 0.5 * math.erfc(-x * _SQRT_HALF)


@kernel
def normal_quantile(p: float) -> float:
    """Φ⁻¹(p) for 0 < p < 1, to about 1e-16 relative: algorithm AS 241 (Wichura 1988), as in Python's `statistics`."""
    q = p - 0.5
    if math.fabs(q) <= 0.425:
        r = 0.180625 - q * q
        num = 2.5090809287301226727e3
        num = num * r + 3.3430575583588128105e4
        num = num * r + 6.7265770927008700853e4
        num = num * r + 4.5921953931549871457e4
        num = num * r + 1.3731693765509461125e4
        num = num * r + 1.9715909503065514427e3
        num = num * r + 1.3314166789178437745e2
        num = (num * r + 3.3871328727963666080e0) * q
        den = 5.2264952788528545610e3
        den = den * r + 2.8729085735721942674e4
        den = den * r + 3.9307895800092710610e4
        den = den * r + 2.1213794301586595867e4
        den = den * r + 5.3941960214247511077e3
        den = den * r + 6.8718700749205790830e2
        den = den * r + 4.2313330701600911252e1
        return num / (den * r + 1.0)
    r = math.sqrt(-math.log(p if q <= 0.0 else 1.0 - p))
    if r <= 5.0:
        r -= 1.6
        num = 7.74545014278341407640e-4
        num = num * r + 2.27238449892691845833e-2
        num = num * r + 2.41780725177450611770e-1
        num = num * r + 1.27045825245236838258e0
        num = num * r + 3.64784832476320460504e0
        num = num * r + 5.76949722146069140550e0
        num = num * r + 4.63033784615654529590e0
        num = num * r + 1.42343711074968357734e0
        den = 1.05075007164441684324e-9
        den = den * r + 5.47593808499534494600e-4
        den = den * r + 1.51986665636164571966e-2
        den = den * r + 1.48103976427480074590e-1
        den = den * r + 6.89767334985100004550e-1
        den = den * r + 1.67638483018380384940e0
        den = den * r + 2.05319162663775882187e0
        den = den * r + 1.0
    else:
        r -= 5.0
        num = 2.01033439929228813265e-7
        num = num * r + 2.71155556874348757815e-5
        num = num * r + 1.24266094738807843860e-3
        num = num * r + 2.65321895265761230930e-2
        num = num * r + 2.96560571828504891230e-1
        num = num * r + 1.78482653991729133580e0
        num = num * r + 5.46378491116411436990e0
        num = num * r + 6.65790464350110377720e0
        den = 2.04426310338993978564e-15
        den = den * r + 1.42151175831644588870e-7
        den = den * r + 1.84631831751005468180e-5
        den = den * r + 7.86869131145613259100e-4
        den = den * r + 1.48753612908506148525e-2
        den = den * r + 1.36929880922735805310e-1
        den = den * r + 5.99832206555887937690e-1
        den = den * r + 1.0
    return -num / den if q < 0.0 else num / den


@kernel
def sigmoid(x: float) -> float:
    """σ(x) = 1 / (1 + e^-x), without overflow."""
    return 1.0 / (1.0 + math.exp(min(-x, 700.0)))


# -- predictions of composite actions ----------------------------------------------------------------------------------


@kernel
def cascade_release(q: float, delta: float, tau: float) -> tuple[float, float]:
    """(ρ, kept) of a near answer that is right with chance q (rules W5, G5).

    ρ is the chance that it is released, kept that it is released and right; `delta` separates the confidences of right
    and wrong answers, in standard deviations, and `tau` is the confidence from which one is released.
    """
    kept = q * normal_cdf(delta - tau)
    return kept + (1.0 - q) * normal_cdf(-tau), kept
