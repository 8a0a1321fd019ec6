"""When requests arrive: the arrival processes, drawn from named streams.

Open-loop processes are functions of the stream alone, so a longer workload begins with the shorter one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from profiles.errors import UserError
from sim.workloads.spec import MAX_REQUESTS, Diurnal, Gamma, Poisson, Weibull
from sim.workloads.streams import stream
from sim.workloads.workload import Floats

__all__ = ["open_loop", "poisson_starts"]

OpenLoop = Poisson | Gamma | Weibull | Diurnal
BATCH = 1 << 16


def open_loop(arrivals: OpenLoop, *, seed: int, requests: int | None = None, duration_s: float | None = None) -> Floats:
    """Arrival instants in seconds, ascending: the first `requests`, or all up to `duration_s`."""
    if duration_s is not None and arrivals.rate_rps * duration_s > MAX_REQUESTS:
        raise UserError(
            "rate_rps times duration_s is too many requests",
            got=arrivals.rate_rps * duration_s,
            allowed=f"up to {MAX_REQUESTS}",
        )
    if isinstance(arrivals, Diurnal):
        return _thinned(arrivals, seed=seed, requests=requests, duration_s=duration_s)
    gaps = _gaps(arrivals, stream(seed, "arrivals"))
    mean_gap_s = 1.0 / arrivals.rate_rps
    if requests is not None:
        return np.cumsum(gaps(requests) * mean_gap_s)
    return _until(math.inf if duration_s is None else duration_s, lambda n: gaps(n) * mean_gap_s)


def poisson_starts(rate_rps: float, n: int, *, seed: int) -> Floats:
    """The first n instants of a Poisson process, in seconds."""
    return open_loop(Poisson(rate_rps=rate_rps), seed=seed, requests=n)


def _gaps(arrivals: Poisson | Gamma | Weibull, rng: np.random.Generator) -> Callable[[int], Floats]:
    """Draws gaps of mean 1, so that a change of rate only stretches time."""
    if isinstance(arrivals, Poisson):
        return lambda n: rng.exponential(size=n)
    if isinstance(arrivals, Gamma):
        shape = arrivals.shape if arrivals.shape is not None else 1.0 / (arrivals.cv or 1.0) ** 2
        return lambda n: rng.standard_gamma(shape, size=n) / shape
    mean = math.gamma(1.0 + 1.0 / arrivals.shape)
    return lambda n: rng.weibull(arrivals.shape, size=n) / mean


def _until(end_s: float, gaps: Callable[[int], Floats]) -> Floats:
    """Instants from 0 to `end_s`, both included, drawn a batch at a time."""
    parts: list[Floats] = []
    now_s = 0.0
    while now_s <= end_s:
        steps = gaps(BATCH)
        steps[0] += now_s
        times = np.cumsum(steps)
        now_s = float(times[-1])
        parts.append(times)
    times = np.concatenate(parts) if parts else np.empty(0)
    return times[: int(np.searchsorted(times, end_s, side="right"))]


def _thinned(arrivals: Diurnal, *, seed: int, requests: int | None, duration_s: float | None) -> Floats:
    """A Poisson process at the peak rate of which each instant is kept with probability rate(t) / peak.

    Lewis and Shedler, "Simulation of nonhomogeneous Poisson processes by thinning" (1979).
    """
    candidates, keep = stream(seed, "arrivals"), stream(seed, "thinning")
    amplitude = _amplitude(arrivals)
    peak_rps = arrivals.rate_rps * (1.0 + amplitude)
    end_s = math.inf if duration_s is None else duration_s
    wanted = math.inf if requests is None else requests
    parts: list[Floats] = []
    now_s, kept = 0.0, 0
    while now_s <= end_s and kept < wanted:
        steps = candidates.exponential(1.0 / peak_rps, size=BATCH)
        steps[0] += now_s
        times = np.cumsum(steps)
        now_s = float(times[-1])
        angle = 2.0 * np.pi * (times / arrivals.period_s + arrivals.phase)
        share = (1.0 + amplitude * np.sin(angle)) / (1.0 + amplitude)
        times = times[keep.random(BATCH) < share]
        parts.append(times)
        kept += len(times)
    times = np.concatenate(parts) if parts else np.empty(0)
    return times[: requests if requests is not None else int(np.searchsorted(times, end_s, side="right"))]


def _amplitude(arrivals: Diurnal) -> float:
    if arrivals.amplitude is not None:
        return arrivals.amplitude
    ratio = arrivals.peak_to_trough if arrivals.peak_to_trough is not None else 1.0
    return (ratio - 1.0) / (ratio + 1.0)
